//! What a test has arranged to happen, and when.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::pid::ExitStatus;
use linux_event_core::signal::Signal;

use super::{FakeFd, Name};

/// Something that happens at an instant of virtual time: see [`Fake::at`](super::Fake::at).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Bytes are written to a descriptor; it fails with EAGAIN if not all find room.
    Write(FakeFd, Vec<u8>),
    /// At most so many bytes are read from a descriptor and thrown away.
    Read(FakeFd, usize),
    /// The writing side of a socket is shut down.
    ShutdownWrite(FakeFd),
    /// A descriptor is closed.
    Close(FakeFd),
    /// A socket is closed so that its peer sees a reset.
    Reset(FakeFd),
    /// A socket connects; it fails with EAGAIN if the backlog has no room.
    Connect(FakeFd, Name),
    /// A signal comes.
    Raise(Signal),
    /// The process with this id ends.
    Exit(i32, ExitStatus),
    /// The loop is woken, as from another thread.
    Wake,
    /// A signal handler runs and interrupts the wait, which ends empty unless something is ready (EINTR).
    Interrupt,
}

/// An action that could not be done: see [`Fake::failed_actions`](super::Fake::failed_actions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAction {
    /// When it was to happen.
    pub at: Instant,
    /// What was to happen.
    pub action: Action,
    /// Why it did not.
    pub errno: Errno,
}

/// Actions in the order (instant, arranged).
#[derive(Debug, Default)]
pub(super) struct Schedule(VecDeque<(Instant, Action)>);

impl Schedule {
    pub(super) fn insert(&mut self, at: Instant, action: Action) {
        let behind = self.0.partition_point(|(other, _)| *other <= at);
        self.0.insert(behind, (at, action));
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.0.front().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Action)> {
        self.first().filter(|&at| at <= now)?;
        self.0.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
