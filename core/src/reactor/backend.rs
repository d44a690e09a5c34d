//! The contract between the reactor engine and what tells it of readiness.
//!
//! **What.** A [`Backend`] keeps a list of descriptors with what is asked of each, waits until one of them is ready
//! or a time has come, and hands out what it found. It also owns the mechanisms behind signals, wakeups and
//! processes. [`Epoll`](super::Epoll) is one; the fake of the std-shim is another.
//!
//! **Invariants.** *INV-BACKEND-1*: a backend is a safe trait. Whatever one answers, however false, the engine stays
//! memory-safe and never reports to the wrong watcher: it checks every token.
//!
//! **Why this shape.** Policy (replacement, order, what is stale, when to ask the kernel) is the engine's; a backend
//! decides nothing, which keeps it small enough to write another.

#![forbid(unsafe_code)]

use core::time::Duration;

use crate::clock::Instant;
use crate::errno::Errno;
use crate::error::Error;
use crate::handle::{Handle, Tag};
use crate::pid::ExitStatus;
use crate::signal::{SignalCounts, SignalSet};
use crate::sys::{AsRawFd, RawFd};

/// One entry of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The raw [`Handle`] given to [`Backend::add`] or [`Backend::modify`], or one of [`WAKEUP`] and [`SIGNAL`];
    /// anything at all from a backend that is wrong.
    pub token: u64,
    /// `EPOLLIN`, `EPOLLOUT` …
    pub events: u32,
}

/// The token that says: the wakeup was used, and its count waits in [`Backend::take_wakes`].
pub const WAKEUP: Handle = Handle::new(0, Tag::Internal, 0);
/// The token that says: a signal is pending, and [`Backend::take_signals`] has it.
pub const SIGNAL: Handle = Handle::new(1, Tag::Internal, 0);
/// The token of a timer that the backend uses to end its own waits. The engine ignores it.
pub const TIMER: Handle = Handle::new(2, Tag::Internal, 0);

/// What a reactor asks of the mechanism below it. See the [module](self).
pub trait Backend {
    /// Whether descriptors are watched through it. Without, as in a proactor, the code for watchers is left out, and
    /// [`watch`](super::Reactor::watch) refuses.
    const WATCHES: bool = true;

    /// Whether signals are taken through it. Without, the code for subscriptions is left out, and
    /// [`signal`](super::Reactor::signal) refuses.
    const SIGNALS: bool = true;

    /// A descriptor of a process, owned: see [`open_process`](Self::open_process). Dropping it closes it.
    type Process: AsRawFd;

    /// The time, read afresh: the kernel's, or whatever a backend takes for it (G-4).
    fn now(&self) -> Instant;

    /// Whether this process is the one that made the backend (G-1). In a forked child nothing else is called.
    fn is_owner(&self) -> bool;

    /// Registers `fd` with the `EPOLL*` bits `events`.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: EEXIST if it is registered, EPERM if it can't be polled, EBADF …
    fn add(&mut self, fd: RawFd, events: u32, token: Handle) -> Result<(), Errno>;

    /// Changes the bits and the token of a registered `fd`; if it is ready in the new sense, it is reported.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: ENOENT if it is not registered, EBADF …
    fn modify(&mut self, fd: RawFd, events: u32, token: Handle) -> Result<(), Errno>;

    /// Ends the registration of `fd`.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: ENOENT if it is not registered, EBADF.
    fn remove(&mut self, fd: RawFd) -> Result<(), Errno>;

    /// Ends the registration of a process's `fd`, which was added with `token`. Its number may be closed when this returns.
    ///
    /// # Errors
    /// As [`remove`](Self::remove). EBUSY if its number is named by what can't be taken back: then it stays open for good.
    fn remove_process(&mut self, fd: RawFd, token: Handle) -> Result<(), Errno> {
        let _ = token;
        self.remove(fd)
    }

    /// Starts over with nothing registered but the backend's own descriptors. The engine adds its watchers again.
    ///
    /// # Errors
    /// If no new interest list can be had; the old one is then still in force.
    fn rebuild(&mut self) -> Result<(), Error>;

    /// Waits until something is ready, `deadline` comes or `timeout` is over, and fetches a batch. Without either
    /// it waits for ever; a zero timeout does not wait. A batch that was not drained is dropped.
    ///
    /// # Errors
    /// [`Error::Os`] if the kernel refuses. A signal handler that ran (EINTR) is no error: the batch is empty.
    fn wait(&mut self, deadline: Option<Instant>, timeout: Option<Duration>) -> Result<(), Error>;

    /// The next entry of the batch.
    fn next(&mut self) -> Option<Report>;

    /// The engine has met [`TIMER`] in the batch.
    fn timer_expired(&mut self) {}

    /// Whether the batch has entries left.
    fn has_next(&self) -> bool;

    /// Sees to it that the descriptor of the backend itself becomes readable at `deadline`, for a loop that sits
    /// inside another (G-2).
    ///
    /// # Errors
    /// If the kernel refuses a timer.
    fn arm(&mut self, deadline: Option<Instant>) -> Result<(), Error>;

    /// How many wakes came since the last call.
    fn take_wakes(&mut self) -> u64;

    /// Subscribes to exactly `set`: what is new in it is blocked for the calling thread, what has left it gets the
    /// state back that it had before.
    ///
    /// # Errors
    /// If signalfd is refused; the old set is then still in force.
    fn set_signals(&mut self, set: SignalSet) -> Result<(), Error>;

    /// Takes every pending signal of the set and adds it to `counts`.
    ///
    /// # Errors
    /// If reading fails.
    fn take_signals(&mut self, counts: &mut SignalCounts) -> Result<(), Error>;

    /// Opens a descriptor that becomes readable when the process `pid` ends.
    ///
    /// # Errors
    /// ESRCH if there is no such process; [`Error::Unsupported`] where pidfds are not.
    fn open_process(&mut self, pid: i32) -> Result<Self::Process, Error>;

    /// How the process ended; `Ok(None)` if that can't be known.
    ///
    /// # Errors
    /// ECHILD if it is to be reaped and is not a child; EAGAIN if it lives.
    fn process_status(
        &mut self,
        process: &Self::Process,
        reap: bool,
    ) -> Result<Option<ExitStatus>, Errno>;
}
