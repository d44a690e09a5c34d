//! Descriptors between `std` and the core.
//!
//! **What.** The core has its own borrowed descriptor, because it knows no `std`; [`as_std`] turns one into the other.
//!
//! **Why this shape.** One of the three files of this crate with `unsafe` in it.

#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;

use linux_event_core::sys::{self, AsRawFd};

/// The same borrow, in the words of `std`.
pub(crate) fn as_std(fd: sys::BorrowedFd<'_>) -> BorrowedFd<'_> {
    // SAFETY: the core's borrow says that the number is open for as long as its lifetime, which the result has too.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

/// A bare number, for tests of the fake.
#[cfg(test)]
pub(crate) fn target_of(number: sys::RawFd) -> linux_event_core::proactor::Target {
    // SAFETY: a fake looks the number up among its own, which are no descriptors of the machine.
    unsafe { linux_event_core::proactor::Target::from_raw(number) }
}
