//! What is asked of a descriptor, and what is reported.

#![forbid(unsafe_code)]

use bitflags::bitflags;
use linux_raw_sys::general as linux;

bitflags! {
    /// What a watcher asks for. The bits are epoll's own (`epoll_ctl(2)`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct Interest: u16 {
        /// Bytes, a connection or the end can be read. A hang-up counts as readable.
        #[doc(alias = "EPOLLIN")]
        const READ = linux::EPOLLIN as u16;
        /// There is room to write.
        #[doc(alias = "EPOLLOUT")]
        const WRITE = linux::EPOLLOUT as u16;
        /// Errors are reported as such. Without it an error counts as readable and writable.
        #[doc(alias = "EPOLLERR")]
        const ERROR = linux::EPOLLERR as u16;
        /// Something exceptional is there: out-of-band bytes of TCP, a change of a cgroup or sysfs file.
        #[doc(alias = "EPOLLPRI")]
        const PRIORITY = linux::EPOLLPRI as u16;
        /// The peer shut down its writing side.
        #[doc(alias = "EPOLLRDHUP")]
        const READ_CLOSED = linux::EPOLLRDHUP as u16;
    }
}

bitflags! {
    /// How a watcher is to be reported.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct Mode: u32 {
        /// Report a change once, not a state for as long as it lasts. Read until EAGAIN.
        #[doc(alias = "EPOLLET")]
        const EDGE = linux::EPOLLET;
        /// Report once, then not again until the interest is enabled again.
        #[doc(alias = "EPOLLONESHOT")]
        const ONESHOT = linux::EPOLLONESHOT;
        /// Of several epoll instances that watch the same file, wake one. Excludes oneshot, priority and
        /// read-closed.
        #[doc(alias = "EPOLLEXCLUSIVE")]
        const EXCLUSIVE = linux::EPOLLEXCLUSIVE;
    }
}

bitflags! {
    /// What is reported: always a part of the interest, and [`HANGUP`](Ready::HANGUP) beside it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct Ready: u16 {
        /// Reading will not block.
        const READ = linux::EPOLLIN as u16;
        /// Writing will not block.
        const WRITE = linux::EPOLLOUT as u16;
        /// An error waits on the descriptor, or its registration failed.
        const ERROR = linux::EPOLLERR as u16;
        /// Something exceptional is there.
        const PRIORITY = linux::EPOLLPRI as u16;
        /// The peer shut down its writing side.
        const READ_CLOSED = linux::EPOLLRDHUP as u16;
        /// Both sides are closed. Never alone: it comes with READ or ERROR.
        const HANGUP = linux::EPOLLHUP as u16;
    }
}

/// The bits that one direction of delivery is asked for with.
impl From<Interest> for Ready {
    #[inline(always)]
    fn from(interest: Interest) -> Self {
        Self::from_bits_retain(interest.bits())
    }
}
