//! What is no operation: timers, signals and processes, which are the reactor's engine's (W-2).

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::time::Duration;

use super::backend::Backend;
use super::engine::Proactor;
use super::storage::Storage;
use crate::clock::Instant;
use crate::error::Error;
use crate::handle::{ProcessWatch, Subscription, TimerId};
use crate::signal::SignalSet;

/// Timers, signals and processes: the reactor's, under their own names (W-2).
impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// Arms a timer that is due `delay` after this call: see [`Reactor::after`](crate::reactor::Reactor::after) (T-2). It takes no submission (P-9).
    ///
    /// # Errors
    /// [`Error::Full`] when all `T` timers are armed; [`Error::Forked`].
    pub fn after(&mut self, delay: Duration, data: D) -> Result<TimerId, Error> {
        self.base.after(delay, data)
    }

    /// Arms a timer that is due at `deadline` (T-2).
    ///
    /// # Errors
    /// As [`after`](Self::after).
    pub fn at(&mut self, deadline: Instant, data: D) -> Result<TimerId, Error> {
        self.base.at(deadline, data)
    }

    /// Arms a timer that is due after every `period` (T-6).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a period of zero; else as [`after`](Self::after).
    pub fn every(&mut self, period: Duration, data: D) -> Result<TimerId, Error> {
        self.base.every(period, data)
    }

    /// Arms a timer that is due at `first` and after every `period` from then on (T-6).
    ///
    /// # Errors
    /// As [`every`](Self::every).
    pub fn every_from(
        &mut self,
        first: Instant,
        period: Duration,
        data: D,
    ) -> Result<TimerId, Error> {
        self.base.every_from(first, period, data)
    }

    /// Moves a timer to `deadline`; among equals it comes last. False if the handle is stale.
    pub fn reschedule(&mut self, timer: TimerId, deadline: Instant) -> bool {
        self.base.reschedule(timer, deadline)
    }

    /// When a timer is due; `None` if the handle is stale.
    pub fn deadline(&self, timer: TimerId) -> Option<Instant> {
        self.base.deadline(timer)
    }

    /// Subscribes to signals: see [`Reactor::signal`](crate::reactor::Reactor::signal) (S-1, S-3).
    ///
    /// # Errors
    /// As there.
    pub fn signal(
        &mut self,
        signals: impl Into<SignalSet>,
        data: D,
    ) -> Result<Subscription, Error> {
        self.base.signal(signals, data)
    }

    /// Watches for the end of a process: see [`Reactor::process`](crate::reactor::Reactor::process) (C-1).
    ///
    /// # Errors
    /// As there.
    pub fn process(&mut self, pid: i32, reap: bool, data: D) -> Result<ProcessWatch, Error> {
        self.base.process(pid, reap, data)
    }
}
