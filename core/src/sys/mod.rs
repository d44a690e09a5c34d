//! The only home of system calls: the [`Kernel`] seam and [`Linux`], the kernel that is really there.
//!
//! **What.** [`Kernel`] is the narrow set of calls that the loops need, typed. [`Linux`] issues them as raw system
//! calls; it has no size and every method is inlined, so that the seam costs nothing. A wrapper around it can count,
//! refuse or distort calls (the tests do all three); a kernel made of plain memory can stand in for it.
//!
//! **Invariants.** *INV-SYS-1*: a pointer handed to the kernel comes from a reference that outlives the call, and
//! the length beside it is that reference's. *INV-SYS-2*: a descriptor is closed by the one [`Fd`] that owns it, and
//! by nobody else. *INV-SYS-3*: bytes that the kernel fills are of types for which every bit pattern is valid.
//!
//! **Why this shape.** Everything above this module is free of `unsafe` and of system calls, and can be run against
//! any kernel: that is what lets the same code be tested with faults that a real machine shows once a year.
//!
//! EINTR: [`Kernel::epoll_wait`] and [`Kernel::epoll_pwait2`] report it, since a signal handler that ran is a reason
//! to look around. Calls that can't block (`epoll_ctl`, `eventfd`, reads of non-blocking descriptors) don't
//! return it. [`Kernel::read`], [`Kernel::write`] and the socket calls report it to the caller, who may have a
//! handler to attend to. `close` is not repeated: Linux has released the number by then (`close(2)`).

#![allow(unsafe_code)]

mod datagram;
pub mod fd;
mod kernel;
mod linux;
mod memory;
mod pipe;
pub(crate) mod process;
mod raw;
pub mod ring;
mod socket;
pub mod uapi;
pub mod vdso;

pub use datagram::Datagrams;
pub use fd::{AsRawFd, BorrowedFd, Fd, RawFd};
pub use kernel::{ExitInfo, Kernel, MaskChange, SignalRecord};
pub use linux::Linux;
pub use process::never_forks;
pub use socket::{Domain, SocketKind, Sockets, sockaddr};
