//! The instruction: system calls by number, their results decoded.
//!
//! **What.** One wrapper for each number of arguments, over the crate `sc`, whose own call numbers stop at Linux
//! 5.12: numbers come from linux-raw-sys.
//!
//! **Invariants.** Those of the [parent](super); the wrappers add none.
//!
//! **Why this shape.** A function that returns after a system call costs 150 to 300 ns on virtual machines, because
//! the processor has lost its return predictions by then. So everything from here up to the user's loop is inlined.

use crate::errno::Errno;

macro_rules! call {
    ($($name:ident => $sc:ident($($argument:ident),*);)*) => {$(
        /// Issues the system call `number`.
        ///
        /// # Safety
        /// The arguments must be what that call expects: see INV-SYS-1.
        #[inline(always)]
        pub(crate) unsafe fn $name(number: u32, $($argument: usize),*) -> Result<usize, Errno> {
            // SAFETY: the caller vouches for the arguments.
            Errno::result(unsafe { sc::platform::$sc(number as usize, $($argument),*) })
        }
    )*};
}

call! {
    call1 => syscall1(a);
    call2 => syscall2(a, b);
    call3 => syscall3(a, b, c);
    call4 => syscall4(a, b, c, d);
    call5 => syscall5(a, b, c, d, e);
    call6 => syscall6(a, b, c, d, e, f);
}

/// A descriptor as a register.
#[inline(always)]
pub(crate) const fn fd(raw: i32) -> usize {
    raw as isize as usize
}
