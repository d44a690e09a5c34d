//! The beginning and the end of a process.

use core::arch::naked_asm;
use core::ffi::{CStr, c_char};
use core::panic::PanicInfo;
use core::ptr;

use linux_event_core::sys::ring::IoVec;
use linux_event_core::sys::vdso;
use linux_raw_sys::general as linux;
use sc::platform::{syscall1, syscall3, syscall4};

/// A process's arguments, the program's own name first, and its environment.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    count: usize,
    /// INV-START-1.
    first: *const *const c_char,
}

impl Arguments {
    /// How many there are, the program's own name counted.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The argument at `index`; `None` past the last, and if it is not UTF-8.
    pub fn get(&self, index: usize) -> Option<&'static str> {
        self.raw(index)?.to_str().ok()
    }

    /// The argument at `index`, whatever its bytes are; `None` past the last.
    pub fn raw(&self, index: usize) -> Option<&'static CStr> {
        if index >= self.count {
            return None;
        }
        // SAFETY: INV-START-1: there are `count` pointers to strings that live as long as the process.
        Some(unsafe { CStr::from_ptr(*self.first.add(index)) })
    }

    /// The value of a variable of the environment; `None` if it is not there, or not UTF-8.
    pub fn variable(&self, name: &str) -> Option<&'static str> {
        let mut at = self.environment();
        loop {
            // SAFETY: INV-START-1: pointers to strings up to a null, all of which live as long as the process.
            let entry = unsafe {
                if (*at).is_null() {
                    return None;
                }
                CStr::from_ptr(*at)
            };
            let value = entry.to_bytes().strip_prefix(name.as_bytes());
            if let Some(value) = value.and_then(|rest| rest.strip_prefix(b"=")) {
                return str::from_utf8(value).ok();
            }
            // SAFETY: INV-START-1: this was not the null.
            at = unsafe { at.add(1) };
        }
    }

    /// The environment, as `execve(2)` takes it: pointers to strings, then a null.
    pub fn environment(&self) -> *const *const c_char {
        // SAFETY: INV-START-1: behind the arguments and their null.
        unsafe { self.first.add(self.count + 1) }
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

/// Ignores SIGPIPE (rule M-4), runs `main` and exits with what it returns.
///
/// # Safety
/// `stack` must be the stack pointer that the process was started with (INV-START-1).
pub unsafe fn begin(stack: *const usize, main: fn(Arguments) -> i32) -> ! {
    // SAFETY: INV-START-1: `argc`, then so many pointers and a null.
    let arguments = unsafe {
        Arguments {
            count: *stack,
            first: stack.add(1).cast(),
        }
    };
    ignore_broken_pipes();
    exit(main(arguments))
}

/// Shows the core the way to the vDSO, without which each reading of the clock is a system call.
///
/// # Safety
/// As [`begin`], before it.
pub unsafe fn find_vdso(stack: *const usize) {
    // SAFETY: INV-START-1: behind `argc`, the arguments and a null is the environment up to a null, then the vector.
    unsafe {
        let mut environment = stack.add(*stack + 2);
        while *environment != 0 {
            environment = environment.add(1);
        }
        vdso::provide_auxv(environment.add(1));
    }
}

/// A write to a pipe or socket whose reader is gone is EPIPE from here on, and no end of the process (`signal(7)`).
///
/// Programs that are started by `execve` inherit it.
fn ignore_broken_pipes() {
    /// `struct sigaction` as the kernel has it: handler, flags, restorer where there is one, mask.
    const IGNORE: [usize; 4] = [1, 0, 0, 0];
    let (number, set_bytes) = (linux::SIGPIPE as usize, size_of::<u64>());
    let call = linux::__NR_rt_sigaction as usize;
    // SAFETY: `IGNORE` is a `struct sigaction`, and the old one is not asked for.
    unsafe { syscall4(call, number, IGNORE.as_ptr() as usize, 0, set_bytes) };
}

/// The most parts that [`complain`] takes.
const PARTS_MAX: usize = 8;

/// Writes `parts`, 8 at most, to standard error, one after the other in one call (`writev(2)`).
///
/// That it may fail is of no matter: there is nobody else to tell.
pub fn complain(parts: &[&str]) {
    let mut vectors = [IoVec {
        start: ptr::null_mut(),
        length: 0,
    }; PARTS_MAX];
    let mut count = 0;
    for (vector, part) in vectors.iter_mut().zip(parts) {
        *vector = IoVec {
            start: part.as_ptr().cast_mut(),
            length: part.len(),
        };
        count += 1;
    }
    let (call, standard_error) = (linux::__NR_writev as usize, linux::STDERR_FILENO as usize);
    // SAFETY: the first `count` vectors are parts, which outlive the call and are only read.
    unsafe { syscall3(call, standard_error, vectors.as_ptr() as usize, count) };
}

/// Ends the process, all its threads, with `code` (`exit_group(2)`).
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: no pointer; it does not return.
        unsafe { syscall1(linux::__NR_exit_group as usize, code as usize) };
    }
}

/// A panic ends the process with 134, as SIGABRT would, and prints nothing: that would link all of formatting.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(134)
}
