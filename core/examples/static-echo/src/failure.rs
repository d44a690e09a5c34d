//! What ends the server early, in sentences.
//!
//! **Why this shape.** Whatever fails ends the process, there and then: nothing is passed on, and nothing is dropped. The
//! kernel takes back what a process had, the ring with all that is under way included.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use static_start::{complain, exit};

/// What ends the server early.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The command line.
    Usage,
    /// A port that can't be had.
    Port(Errno),
    /// A call on a socket failed.
    Socket(Errno),
    /// The loop refused.
    Loop(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Loop(error)
    }
}

/// Goes on with what a call gave, or ends the program.
pub(crate) trait OrFail<T> {
    /// What it gave. A failure ends the program with 1, and a sentence.
    fn or_fail(self) -> T;
}

impl<T, E: Into<Failure>> OrFail<T> for Result<T, E> {
    #[inline(always)]
    fn or_fail(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => error.into().end(),
        }
    }
}

impl Failure {
    /// Says what is wrong, and ends the program.
    #[cold]
    #[inline(never)]
    fn end(self) -> ! {
        self.tell();
        exit(1)
    }

    /// Writes one sentence to standard error: what is wrong, and what to do about it.
    fn tell(self) {
        let mut call = "";
        let (what, errno) = match self {
            Self::Usage => (
                "usage: static-echo [--model reactor|proactor] [--idle SECONDS] PORT",
                None,
            ),
            Self::Port(Errno::EADDRINUSE) => (
                "static-echo: the port is in use: choose another, or 0 for any",
                None,
            ),
            Self::Port(Errno::EACCES) => (
                "static-echo: the port takes a privilege: choose one from 1024 on",
                None,
            ),
            Self::Loop(Error::NoRing { errno, .. }) => (
                "static-echo: io_uring is forbidden or missing here: allow it, or use --model reactor",
                Some(errno),
            ),
            Self::Loop(Error::RingTooOld) => (
                "static-echo: this kernel's io_uring is too old: use --model reactor",
                None,
            ),
            Self::Loop(Error::LockedMemory { .. }) => (
                "static-echo: the ring may lock no more memory: raise ulimit -l, or use --model reactor",
                None,
            ),
            Self::Socket(Errno::EMFILE)
            | Self::Loop(Error::Os {
                errno: Errno::EMFILE,
                ..
            }) => ("static-echo: too few descriptors: raise ulimit -n", None),
            Self::Port(errno) | Self::Socket(errno) => (
                "static-echo: a socket can't be had: see to what the network allows",
                Some(errno),
            ),
            Self::Loop(error) => {
                if let Error::Os { call: refused, .. }
                | Error::Denied { call: refused, .. }
                | Error::Unsupported { call: refused } = error
                {
                    call = refused.name();
                }
                (
                    "static-echo: the kernel refuses what it needs: allow it, or take another kernel: ",
                    error.errno(),
                )
            }
        };
        let Some(errno) = errno else {
            return complain(&[what, "\n"]);
        };
        let [hundreds, tens, ones] = digits(errno.raw().unsigned_abs());
        complain(&[what, call, " (errno ", hundreds, tens, ones, ")\n"]);
    }
}

/// The digits of an errno, of which Linux has three at most; without zeroes in front.
fn digits(number: u32) -> [&'static str; 3] {
    let (mut digits, mut rest) = ([""; 3], number);
    for place in digits.iter_mut().rev() {
        if rest > 0 {
            *place = digit_text(rest % 10);
        }
        rest /= 10;
    }
    digits
}

/// A digit, as text.
fn digit_text(digit: u32) -> &'static str {
    let at = digit as usize;
    "0123456789".get(at..=at).unwrap_or("")
}
