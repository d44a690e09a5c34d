//! Descriptors between `std` and the core.
//!
//! **What.** The core has its own descriptors, because it knows no `std`; [`as_std`], [`from_std`] and [`IntoOwnedFd`] turn
//! one into the other.
//!
//! **Why this shape.** One of the few files of this crate with `unsafe` in it.

#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use linux_event_core::sys::{self, AsRawFd, Fd, Linux};

/// The same borrow, in the words of `std`.
pub(crate) fn as_std(fd: sys::BorrowedFd<'_>) -> BorrowedFd<'_> {
    // SAFETY: the core's borrow says that the number is open for as long as its lifetime, which the result has too.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

/// The same owner, in the words of the core.
pub(crate) fn from_std(fd: OwnedFd) -> Fd {
    // SAFETY: an owned descriptor of `std` is open, and gives its ownership up here.
    unsafe { Fd::from_raw(Linux, fd.into_raw_fd()) }
}

/// A descriptor of the core that turns into one of `std`: what a completion brings.
///
/// ```
/// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
/// use std::net::{TcpListener, TcpStream};
/// use linux_event::{IntoOwnedFd, Loop};
///
/// let mut event_loop = Loop::proactor()?;
/// let listener = event_loop.adopt(TcpListener::bind("127.0.0.1:0")?)?;
/// event_loop.accept(listener, |_, accepted| {
///     accepted.outcome()?;
///     let stream = accepted.into_descriptor().map(|fd| TcpStream::from(fd.into_owned_fd()));
///     # drop(stream);
///     Ok::<(), linux_event::Errno>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait IntoOwnedFd {
    /// The same owner, in the words of `std`.
    fn into_owned_fd(self) -> OwnedFd;
}

impl IntoOwnedFd for Fd {
    fn into_owned_fd(self) -> OwnedFd {
        // SAFETY: an owned descriptor of the core is open, and gives its ownership up here.
        unsafe { OwnedFd::from_raw_fd(self.into_raw()) }
    }
}

/// A bare number, for tests of the fake.
#[cfg(test)]
pub(crate) fn target_of(number: sys::RawFd) -> linux_event_core::proactor::Target {
    // SAFETY: a fake looks the number up among its own, which are no descriptors of the machine.
    unsafe { linux_event_core::proactor::Target::from_raw(number) }
}
