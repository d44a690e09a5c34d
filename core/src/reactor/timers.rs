//! The engine's timers: arming, moving, and what is due.
//!
//! **Invariants.** INV-ENGINE-3 of `engine`.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::time::Duration;

use super::backend::Backend;
use super::engine::{Pending, Reactor};
use super::event::Event;
use super::storage::{Storage, TimerEntry};
use crate::clock::{Instant, duration_nanos};
use crate::error::Error;
use crate::handle::TimerId;
use crate::table::Full;

impl<D, const W: usize, const T: usize, B, S> Reactor<D, W, T, B, S>
where
    D: Copy,
    B: Backend,
    S: BorrowMut<Storage<D, W, T, B::Process>>,
{
    /// Arms a timer that is due `delay` after this call, by a fresh reading of the clock (T-1, T-2).
    ///
    /// # Errors
    /// [`Error::Full`] when all `T` timers are armed; [`Error::Forked`].
    pub fn after(&mut self, delay: Duration, data: D) -> Result<TimerId, Error> {
        self.arm(self.backend.now() + delay, 0, data)
    }

    /// Arms a timer that is due at `deadline`; one in the past is due in the next turn (T-2).
    ///
    /// # Errors
    /// As [`after`](Self::after).
    pub fn at(&mut self, deadline: Instant, data: D) -> Result<TimerId, Error> {
        self.arm(deadline, 0, data)
    }

    /// Arms a timer that is due after every `period`, first one period from now (T-6).
    ///
    /// The rate is fixed: lateness does not add up, and periods that were missed come as one event with their count.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a period of zero; else as [`after`](Self::after).
    pub fn every(&mut self, period: Duration, data: D) -> Result<TimerId, Error> {
        self.every_from(self.backend.now() + period, period, data)
    }

    /// Arms a timer that is due at `first` and after every `period` from then on.
    ///
    /// # Errors
    /// As [`every`](Self::every).
    pub fn every_from(
        &mut self,
        first: Instant,
        period: Duration,
        data: D,
    ) -> Result<TimerId, Error> {
        match duration_nanos(period) {
            0 => Err(Error::Invalid("a period must be at least 1 ns")),
            period => self.arm(first, period, data),
        }
    }

    fn arm(&mut self, deadline: Instant, period: u64, data: D) -> Result<TimerId, Error> {
        if !self.backend.is_owner() {
            return Err(Error::Forked);
        }
        let entry = TimerEntry {
            data,
            period,
            turn: self.turn(),
            counted: true,
        };
        let deadline = deadline.max(self.clock.now()); // INV-ENGINE-3
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let armed = storage.timers.insert(deadline, entry);
        let timer = armed.map_err(|Full(_)| Error::Full { capacity: T })?;
        self.live += 1;
        self.pending |= Pending::ARMED;
        Ok(timer)
    }

    /// Moves a timer to `deadline`; among equals it comes last. False if the handle is stale.
    pub fn reschedule(&mut self, timer: TimerId, deadline: Instant) -> bool {
        let deadline = deadline.max(self.clock.now()); // INV-ENGINE-3
        let turn = self.turn();
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let Some(entry) = storage.timers.get_mut(timer) else {
            return false;
        };
        entry.turn = turn;
        storage.timers.reschedule(timer, deadline)
    }

    /// When a timer is due; `None` if the handle is stale.
    pub fn deadline(&self, timer: TimerId) -> Option<Instant> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        storage.timers.deadline(timer)
    }

    pub(super) fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        match storage.timers.cancel(timer) {
            Some(entry) => {
                self.live -= u32::from(entry.counted);
                true
            }
            None => false,
        }
    }

    /// The next timer that is due and is not of this turn (INV-ENGINE-3). It is taken only now, so that what was
    /// delivered before it could still cancel it (T-5).
    pub(super) fn next_timer(&mut self) -> Option<Event<D>> {
        if !self.pending.contains(Pending::TIMERS) {
            return None;
        }
        let (now, turn) = (self.clock.now(), self.turn());
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let due = storage
            .timers
            .peek_due(now)
            .map(|(timer, deadline, entry)| (timer, deadline, *entry));
        let Some((timer, deadline, entry)) = due.filter(|(_, _, entry)| entry.turn != turn) else {
            self.pending -= Pending::TIMERS;
            return None;
        };
        let late = now.as_nanos().saturating_sub(deadline.as_nanos());
        let missed = late.checked_div(entry.period);
        let expirations = missed.map_or(1, |missed| missed.saturating_add(1));
        if missed.is_some() {
            // Fixed rate, on the grid of the first deadline, and armed again before anybody hears of it (T-6).
            let next = deadline + Duration::from_nanos(entry.period.saturating_mul(expirations));
            storage.timers.reschedule(timer, next);
            // Only at the end of time: it must not be due in this turn again (T-4).
            if next <= now
                && let Some(entry) = storage.timers.get_mut(timer)
            {
                entry.turn = turn;
            }
        } else {
            storage.timers.cancel(timer);
            self.live -= u32::from(entry.counted);
        }
        Some(Event::Timer {
            timer,
            deadline,
            expirations,
            data: entry.data,
        })
    }
}
