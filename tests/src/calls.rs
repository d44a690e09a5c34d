//! Calls of the ring's tests that `system` has not: bare numbers, default actions, privileges.
//!
//! **Why this shape.** What is `unsafe` in those tests is here. Test files include this one by `#[path]`.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test file uses its own part of this one")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use linux_event_core::proactor::Target;

/// A bare number, for tests about what becomes of operations when theirs is closed.
pub(crate) fn bare(number: RawFd) -> Target {
    // SAFETY: nothing breaks of a number that leads elsewhere but what the test owns; those that use this flush before
    // they close.
    unsafe { Target::from_raw(number) }
}

/// Has `signal` do what it does to a program that never said otherwise.
pub(crate) fn default_action(signal: i32) {
    // SAFETY: the default action runs no code of this program.
    let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
}

/// A TCP socket that is not connected.
pub(crate) fn tcp_socket() -> OwnedFd {
    // SAFETY: no pointer.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(raw >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the number is a fresh one, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Whether a program that is executed does not have the descriptor.
pub(crate) fn is_close_on_exec(fd: RawFd) -> bool {
    // SAFETY: no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    assert!(flags >= 0, "{}", io::Error::last_os_error());
    flags & libc::FD_CLOEXEC != 0
}
