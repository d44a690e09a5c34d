//! What a program without libc needs to begin and to end.
//!
//! **What.** `_start`, which the kernel jumps to; the memory functions that the compiler calls by name; a panic handler;
//! arguments and environment; `complain`, for a sentence on standard error; and `exit`. A program says
//! `static_start::main!(main)` and has a `fn main(Arguments) -> i32`. SIGPIPE is ignored before it is called (rule M-4).
//!
//! **Invariants.** *INV-START-1*: at `_start` the stack pointer points at `argc`, after which come the arguments, a
//! null, the environment, a null, and the auxiliary vector (`ld.so(8)`, the ABI's process initialisation). *INV-START-2*:
//! the memory functions are written in assembly, for a loop in Rust would be compiled into a call of itself.
//!
//! **Why this shape.** Only what programs without libc need that the core does not have. How they are linked is in `link.rs`
//! and `link.ld` beside this: a program's own `build.rs` includes the first. All of it exists when panics abort, as in the
//! workspace's release profile, and is empty otherwise, so that the workspace builds and tests as a whole. `static-check`
//! holds it against what it promises.

#![no_std]

#[cfg(all(panic = "abort", target_arch = "x86_64"))]
core::arch::global_asm!(include_str!("memory/x86_64.s"));
#[cfg(all(panic = "abort", target_arch = "aarch64"))]
core::arch::global_asm!(include_str!("memory/aarch64.s"));
#[cfg(all(panic = "abort", target_arch = "riscv64"))]
core::arch::global_asm!(include_str!("memory/riscv64.s"));

#[cfg(panic = "abort")]
mod start;

#[cfg(panic = "abort")]
#[doc(hidden)]
pub use linux_event_core::sys::never_forks;
#[cfg(panic = "abort")]
pub use start::{Arguments, begin, complain, exit, find_vdso};

/// Makes `fn(Arguments) -> i32` the program: what it returns is the exit code.
///
/// After `main` a program can say what it does without: `never_forks`, and then a loop costs three system calls and a page
/// less; `without_vdso`, for one that reads the clock by
/// [`monotonic_by_call`](linux_event_core::sys::Linux::monotonic_by_call) alone, and then it is 3 kB smaller.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        $crate::main!(@ $main, |stack: *const usize| {
            // SAFETY: INV-START-1: as below.
            unsafe { $crate::find_vdso(stack) }
        });
    };
    ($main:path, never_forks) => {
        $crate::main!(@ $main, |stack: *const usize| {
            // SAFETY: INV-START-1: as below. The program says that it never forks.
            unsafe {
                $crate::find_vdso(stack);
                $crate::never_forks();
            }
        });
    };
    ($main:path, without_vdso) => {
        $crate::main!(@ $main, |_: *const usize| {});
    };
    (@ $main:path, $prepare:expr) => {
        #[cfg(panic = "abort")]
        #[unsafe(no_mangle)]
        #[allow(
            unsafe_code,
            reason = "`begin` is called by `_start` alone, with the stack as the kernel left it"
        )]
        unsafe extern "C" fn static_start_main(stack: *const usize) -> ! {
            ($prepare)(stack);
            // SAFETY: INV-START-1: `_start` passes the stack pointer that it was entered with.
            unsafe { $crate::begin(stack, $main) }
        }
    };
}
