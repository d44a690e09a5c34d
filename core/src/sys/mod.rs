//! The only home of system calls.

#[allow(dead_code)]
pub mod process;
#[allow(dead_code)]
pub mod vdso;
