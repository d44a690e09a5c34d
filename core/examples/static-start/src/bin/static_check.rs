//! Checks what a program without libc stands on, and says what is not so.
//!
//! It is started as `env -i A=1 KEY=value AB=2 static-check one two`, with its standard output a pipe that nobody reads. Exits
//! with 0, with 1 after it has written the names of what failed to standard error.
#![cfg_attr(panic = "abort", no_std, no_main)]

#[cfg(panic = "abort")]
mod program {
    use core::hint::black_box;

    use linux_event_core::clock::Instant;
    use linux_event_core::errno::Errno;
    use linux_event_core::sys::vdso::{ClockSource, clock_source};
    use linux_event_core::sys::{BorrowedFd, Kernel, Linux};
    use static_start::{Arguments, complain};

    static_start::main!(main);

    unsafe extern "C" {
        fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
        fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
        fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8;
        fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32;
        fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32;
        fn strlen(text: *const u8) -> usize;
    }
    type CopyFunction = unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8;
    type SetFunction = unsafe extern "C" fn(*mut u8, i32, usize) -> *mut u8;
    type CompareFunction = unsafe extern "C" fn(*const u8, *const u8, usize) -> i32;
    type MeasureFunction = unsafe extern "C" fn(*const u8) -> usize;

    /// Larger than any word, and odd.
    const SIZE: usize = 67;

    fn main(arguments: Arguments) -> i32 {
        let checks: [(&str, bool); 9] = [
            ("arguments", has_arguments(arguments)),
            ("environment", has_environment(arguments)),
            ("memcpy", copies()),
            ("memmove", moves()),
            ("memset", sets()),
            ("memcmp", compares()),
            ("strlen", measures()),
            ("clock", has_clock()),
            ("SIGPIPE", ignores_broken_pipes()),
        ];
        let mut failed = 0;
        for (name, is_so) in checks {
            if !is_so {
                complain(&["static-check: ", name, " is wrong\n"]);
                failed = 1;
            }
        }
        failed
    }

    fn has_arguments(arguments: Arguments) -> bool {
        arguments.count() == 3
            && arguments
                .get(0)
                .is_some_and(|name| name.ends_with("static-check"))
            && arguments.get(1) == Some("one")
            && arguments.raw(2) == Some(c"two")
            && arguments.get(3).is_none()
            && arguments.raw(usize::MAX).is_none()
    }

    fn has_environment(arguments: Arguments) -> bool {
        arguments.variable("KEY") == Some("value")
            && arguments.variable("A") == Some("1")
            && arguments.variable("AB") == Some("2")
            && arguments.variable("KE").is_none()
            && arguments.variable("B").is_none()
    }

    /// Bytes that all differ.
    fn pattern() -> [u8; SIZE] {
        core::array::from_fn(|at| at as u8 + 1)
    }

    /// Every length, and nothing beside it. `black_box` keeps the compiler from doing it itself.
    fn copies() -> bool {
        let (function, from) = (black_box(memcpy as CopyFunction), pattern());
        (0..=SIZE).all(|length| {
            let mut to = [0; SIZE];
            let start = to.as_mut_ptr();
            // SAFETY: both arrays have at least `length` bytes.
            let returned = unsafe { function(start, from.as_ptr(), length) };
            returned == start
                && (0..SIZE).all(|at| to[at] == if at < length { from[at] } else { 0 })
        })
    }

    /// Every overlap, in both directions.
    fn moves() -> bool {
        let (function, from) = (black_box(memmove as CopyFunction), pattern());
        (0..=SIZE).all(|source| {
            (0..=SIZE).all(|target| {
                let length = SIZE - source.max(target);
                let mut bytes = from;
                let start = bytes.as_mut_ptr();
                // SAFETY: from both places there are at least `length` bytes to the array's end.
                let is_target = unsafe {
                    let to = start.add(target);
                    function(to, start.add(source), length) == to
                };
                is_target
                    && (0..SIZE).all(|at| {
                        let is_moved = (target..target + length).contains(&at);
                        bytes[at]
                            == if is_moved {
                                from[at - target + source]
                            } else {
                                from[at]
                            }
                    })
            })
        })
    }

    fn sets() -> bool {
        let function = black_box(memset as SetFunction);
        (0..=SIZE).all(|length| {
            let mut bytes = [0; SIZE];
            let start = bytes.as_mut_ptr();
            // SAFETY: the array has at least `length` bytes.
            let returned = unsafe { function(start, 0x1A5, length) };
            returned == start && (0..SIZE).all(|at| (bytes[at] == 0xA5) == (at < length))
        })
    }

    /// They differ at every place, as bytes and not as signed ones; and what differs beyond the end does not count.
    fn compares() -> bool {
        let one = pattern();
        [memcmp as CompareFunction, bcmp]
            .map(black_box)
            .iter()
            .all(|function| {
                (0..SIZE).all(|at| {
                    let mut other = one;
                    other[at] = 0xF0;
                    let compare = |from: &[u8; SIZE], to: &[u8; SIZE], count| {
                        // SAFETY: both have at least `count` bytes.
                        unsafe { function(from.as_ptr(), to.as_ptr(), count) }
                    };
                    compare(&one, &other, at) == 0
                        && compare(&one, &other, SIZE) < 0
                        && compare(&other, &one, at + 1) > 0
                })
            })
    }

    /// Every length.
    fn measures() -> bool {
        let function = black_box(strlen as MeasureFunction);
        (0..SIZE).all(|length| {
            let mut text = pattern();
            text[length] = 0;
            // SAFETY: there is a zero in it.
            unsafe { function(text.as_ptr()) == length }
        })
    }

    fn has_clock() -> bool {
        let before = Linux.monotonic();
        let is_known = matches!(
            clock_source(),
            ClockSource::VdsoFromStart | ClockSource::Syscall
        );
        is_known && before > Instant::ZERO && Linux.monotonic() >= before
    }

    /// Standard output is a pipe that nobody reads.
    fn ignores_broken_pipes() -> bool {
        Linux.write(BorrowedFd::STDOUT, b"?") == Err(Errno::EPIPE)
    }
}

#[cfg(not(panic = "abort"))]
fn main() {}
