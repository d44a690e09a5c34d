//! The smallest program on the core: three ticks, one every 10 ms, then it exits with 0. It takes less than 4 KiB.
//!
//! Without `std`, libc and allocator, linked statically. It prints `tick` three times. Its reactor has a backend of its own,
//! which can do nothing but sleep, so that the engine's code for descriptors and signals is left out.
#![cfg_attr(panic = "abort", no_std, no_main)]
#![deny(unsafe_code)]

#[cfg(panic = "abort")]
mod program;
#[cfg(panic = "abort")]
mod sleep;

#[cfg(not(panic = "abort"))]
fn main() {}
