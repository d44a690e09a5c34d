//! Timers of a loop: `after`, `at`, `every`.

#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::handle::TimerId;

use crate::callbacks::TimerCallback;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;

impl<M: Model, S> Loop<M, S> {
    /// Calls `callback` once, `delay` from now (T-2). Zero is the next turn.
    ///
    /// # Errors
    /// [`Full`](linux_event_core::error::Error::Full) when [`TIMERS_MAX`](crate::TIMERS_MAX) timers are armed;
    /// [`Forked`](linux_event_core::error::Error::Forked).
    pub fn after<R: Outcome>(
        &mut self,
        delay: Duration,
        callback: impl FnOnce(&mut Self) -> R + 'static,
    ) -> Result<TimerId, Error> {
        let timer = self.model.after(delay)?;
        Ok(self.install_timer(timer, once(callback)))
    }

    /// Calls `callback` once, at `deadline`; a deadline in the past is the next turn (T-2).
    ///
    /// # Errors
    /// As [`after`](Self::after).
    pub fn at<R: Outcome>(
        &mut self,
        deadline: Instant,
        callback: impl FnOnce(&mut Self) -> R + 'static,
    ) -> Result<TimerId, Error> {
        let timer = self.model.at(deadline)?;
        Ok(self.install_timer(timer, once(callback)))
    }

    /// Calls `callback` after every `period`, first one period from now, with the number of periods that have passed:
    /// more than 1 when some were missed (T-6). The rate is fixed: lateness does not add up.
    ///
    /// # Errors
    /// [`Invalid`](linux_event_core::error::Error::Invalid) for a period of zero; else as [`after`](Self::after).
    pub fn every<R: Outcome>(
        &mut self,
        period: Duration,
        callback: impl FnMut(&mut Self, u64) -> R + 'static,
    ) -> Result<TimerId, Error> {
        let timer = self.model.every(period)?;
        Ok(self.install_timer(timer, again(callback)))
    }

    /// As [`every`](Self::every), first at `first`.
    ///
    /// # Errors
    /// As [`every`](Self::every).
    pub fn every_from<R: Outcome>(
        &mut self,
        first: Instant,
        period: Duration,
        callback: impl FnMut(&mut Self, u64) -> R + 'static,
    ) -> Result<TimerId, Error> {
        let timer = self.model.every_from(first, period)?;
        Ok(self.install_timer(timer, again(callback)))
    }

    /// Moves a timer to `deadline`. False if it is gone.
    pub fn reschedule(&mut self, timer: TimerId, deadline: Instant) -> bool {
        self.model.reschedule(timer, deadline)
    }

    /// When a timer is due; `None` if it is gone.
    pub fn deadline(&self, timer: TimerId) -> Option<Instant> {
        self.model.deadline(timer)
    }

    /// When the first timer is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.model.next_deadline()
    }

    fn install_timer(&mut self, timer: TimerId, callback: TimerCallback<M, S>) -> TimerId {
        drop(self.callbacks.fill_timer(timer, callback));
        timer
    }

    pub(crate) fn dispatch_timer(
        &mut self,
        timer: TimerId,
        expirations: u64,
    ) -> Result<(), BoxError> {
        let slot = self.callbacks.timer(timer);
        let (callback, owner) = slot.map_or((None, None), |slot| (slot.callback.take(), slot.net));
        let Some(mut callback) = callback else {
            let Some(owner) = owner else {
                return Ok(());
            };
            drop(self.callbacks.vacate_timer(timer));
            return M::net_timer(self, owner);
        };
        self.current = Some(timer.handle());
        let is_periodic = self.model.contains(timer.handle());
        if !is_periodic {
            drop(self.callbacks.vacate_timer(timer));
        }
        let called = callback(self, expirations);
        self.current = None;
        // Not there any more if it was cancelled: INV-SLOT-1.
        if is_periodic && let Some(slot) = self.callbacks.timer(timer) {
            slot.callback = Some(callback);
        }
        called
    }
}

/// A callback that is called once.
fn once<M: Model, S, R: Outcome>(
    callback: impl FnOnce(&mut Loop<M, S>) -> R + 'static,
) -> TimerCallback<M, S> {
    let mut callback = Some(callback);
    Box::new(move |event_loop, _| match callback.take() {
        Some(callback) => callback(event_loop).into_result(),
        None => Ok(()),
    })
}

/// A callback that is called again and again.
fn again<M: Model, S, R: Outcome>(
    mut callback: impl FnMut(&mut Loop<M, S>, u64) -> R + 'static,
) -> TimerCallback<M, S> {
    Box::new(move |event_loop, expirations| callback(event_loop, expirations).into_result())
}
