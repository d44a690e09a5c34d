//! Our proactor, made as the floors make their rings.

use std::io;
use std::os::fd::AsRawFd;

use linux_event_core::error::Error;
use linux_event_core::proactor::{Options, Proactor, Refused, Storage, Uring};
use linux_event_core::sys::{BorrowedFd, Linux};

use super::ring::ENTRIES;

/// What operations own.
pub(crate) type Bytes = &'static mut [u8];

/// Timers that there is room for; none is armed.
const TIMERS: usize = 16;

/// A proactor with room for `OPS` operations, its tables in a box.
pub(crate) type Boxed<D, const OPS: usize> =
    Proactor<Bytes, D, OPS, TIMERS, Uring<Bytes>, Box<Storage<D, OPS, TIMERS>>>;

/// A proactor over a ring of the floors' size.
pub(crate) fn boxed<D: Copy, const OPS: usize>() -> io::Result<Boxed<D, OPS>> {
    let options = Options {
        entries: ENTRIES,
        ..Options::DEFAULT
    };
    let ring = Uring::with_options(Linux, options).map_err(unsupported)?;
    Proactor::with_storage(ring, super::zeroed_box()).map_err(io::Error::other)
}

/// A descriptor of the standard library's that is never closed, in the core's words.
pub(crate) fn borrowed(fd: std::os::fd::BorrowedFd<'static>) -> BorrowedFd<'static> {
    // SAFETY: it is borrowed for ever, so it stays open.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

/// A block of memory for the rest of the process.
pub(crate) fn leaked(bytes: usize) -> Bytes {
    Box::leak(vec![0; bytes].into_boxed_slice())
}

#[cold]
#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(crate) fn refused<Buf>(refused: Refused<Buf>) -> io::Error {
    io::Error::other(refused.error)
}

#[cold]
fn unsupported(error: Error) -> io::Error {
    match error {
        Error::NoRing { .. } | Error::RingTooOld => {
            io::Error::new(io::ErrorKind::Unsupported, error)
        }
        _ => io::Error::other(error),
    }
}
