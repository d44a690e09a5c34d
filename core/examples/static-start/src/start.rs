//! The beginning and the end of a process.

use core::arch::naked_asm;
use core::ffi::CStr;
use core::panic::PanicInfo;

use linux_event_core::sys::vdso;

/// A process's arguments, the program's own name first.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    count: usize,
    first: *const *const u8,
}

impl Arguments {
    /// The argument at `index`; `None` past the last, and if it is not UTF-8.
    pub fn get(&self, index: usize) -> Option<&'static str> {
        if index >= self.count {
            return None;
        }
        // SAFETY: INV-START-1: there are `count` pointers to strings that live as long as the process.
        let string = unsafe { CStr::from_ptr((*self.first.add(index)).cast()) };
        string.to_str().ok()
    }
}

/// Where the kernel jumps to.
///
/// # Safety
/// Only the kernel may.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "xor ebp, ebp",
        "mov rdi, rsp",
        "and rsp, -16",
        "call static_start_main",
        "ud2"
    )
}

/// Where the kernel jumps to.
///
/// # Safety
/// Only the kernel may.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[cfg(target_arch = "aarch64")]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "mov x29, xzr",
        "mov x30, xzr",
        "mov x0, sp",
        "bl static_start_main",
        "udf #0"
    )
}

/// Where the kernel jumps to.
///
/// # Safety
/// Only the kernel may.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[cfg(target_arch = "riscv64")]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        ".option push",
        ".option norelax",
        "lla gp, __global_pointer$",
        ".option pop",
        "mv a0, sp",
        "andi sp, sp, -16",
        "call static_start_main",
        "unimp"
    )
}

/// Runs `main` and exits with what it returns.
///
/// # Safety
/// `stack` must be the stack pointer that the process was started with (INV-START-1).
pub unsafe fn begin(stack: *const usize, main: fn(Arguments) -> i32) -> ! {
    // SAFETY: INV-START-1: `argc`, `argc` pointers and a null, then the environment up to a null, then the vector.
    unsafe {
        let count = *stack;
        let first = stack.add(1);
        let mut environment = first.add(count + 1);
        while *environment != 0 {
            environment = environment.add(1);
        }
        vdso::provide_auxv(environment.add(1));
        exit(main(Arguments {
            count,
            first: first.cast(),
        }))
    }
}

/// Ends the process, all its threads, with `code` (`exit_group(2)`).
pub fn exit(code: i32) -> ! {
    #[cfg(target_arch = "x86_64")]
    const EXIT_GROUP: usize = 231;
    #[cfg(not(target_arch = "x86_64"))]
    const EXIT_GROUP: usize = 94;
    loop {
        // SAFETY: no pointer; it does not return.
        unsafe { sc::platform::syscall1(EXIT_GROUP, code as usize) };
    }
}

/// A panic ends the process with 134, as SIGABRT would, and prints nothing: that would link all of formatting.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(134)
}
