//! What the loop itself has to deliver: deferred calls, the rest of an event, wakes and mail.
//!
//! **Invariants.** INV-LOOP-3 and INV-LOOP-4 of the [parent](super).

#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::Watcher;
use linux_event_core::reactor::Ready;

use super::Loop;
use crate::error::{BoxError, Error, Outcome};
use crate::model::Model;
use crate::waker::Shared;

impl<M: Model, S> Loop<M, S> {
    /// Calls `callback` in the next turn, without a timer.
    pub fn defer<R: Outcome>(&mut self, callback: impl FnOnce(&mut Self) -> R + 'static) {
        self.kept = true;
        self.deferred
            .push_back(Box::new(move |this| callback(this).into_result()));
    }

    /// Whether the loop itself has something to deliver: INV-LOOP-3.
    pub(crate) fn has_kept(&self) -> bool {
        self.has_kept_events() || !self.net.attention.is_empty()
    }

    /// Whether something is to be delivered with the next turn, which then does not wait.
    fn has_kept_events(&self) -> bool {
        !self.deferred.is_empty() || self.rest.is_some() || self.wake_due
    }

    /// A stream or listener is to be seen to before the next wait.
    pub(crate) fn keep_attention(&mut self) {
        self.kept = true;
    }

    /// Begins a turn. Streams, listeners and connectors are seen to first: what they ask goes to the kernel with this wait. Then
    /// what was left over and what was deferred before is delivered, without waiting.
    ///
    /// Nor does it wait where a callback was called already, or nothing is left to wait for (R-1, R-2): who runs turns until
    /// something has happened looks again.
    #[cold]
    #[inline(never)]
    pub(super) fn wait_and_deliver_kept(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        // A callback of the last turn may have forked: nothing of the parent's is to be touched (G-1).
        if !self.model.is_owner() {
            return Err(LoopError::Forked.into());
        }
        let deferred = self.deferred.len();
        if !self.net.attention.is_empty() {
            self.net.has_told = false;
            M::attend_net(self).map_err(Error::Callback)?;
            self.kept = self.has_kept();
            if self.stopping {
                return Ok(());
            }
            if !self.kept {
                let is_over = self.net.has_told || !self.is_live();
                let timeout = if is_over {
                    Some(Duration::ZERO)
                } else {
                    timeout
                };
                return Ok(self.model.wait(timeout)?);
            }
        }
        self.model.wait(Some(Duration::ZERO))?;
        let (_, called) = self.deliver_kept_first(deferred);
        called.map_err(Error::Callback)
    }

    /// Delivers what was left over, and as many deferred calls; says how many callbacks that were.
    fn deliver_kept_first(&mut self, deferred: usize) -> (usize, Result<(), BoxError>) {
        let mut count = 0;
        let mut called = Ok(());
        if let Some((watcher, ready)) = self.rest.take() {
            count += 1;
            called = M::dispatch_ready(self, watcher, ready);
        }
        for _ in 0..deferred {
            if called.is_err() || self.stopping || !self.model.is_owner() {
                break;
            }
            if let Some(callback) = self.deferred.pop_front() {
                count += 1;
                called = callback(self);
            }
        }
        if called.is_ok() && self.wake_due && !self.stopping {
            count += 1;
            self.wake_turn = self.stats().turns;
            called = self.dispatch_wake();
        }
        self.kept = self.has_kept();
        (count, called)
    }

    /// Delivers what was fetched or deferred already, without asking the kernel for more; says how many callbacks that
    /// were. Nothing is to be drained after a turn, unless that was [stopped](Self::stop) or failed.
    ///
    /// What a callback submits, cancels or defers meanwhile is lost to nobody: it is the next turn's (P-8).
    ///
    /// ```
    /// let mut event_loop = linux_event::Loop::reactor_with(0)?;
    /// event_loop.defer(|event_loop| {
    ///     event_loop.state += 1;
    ///     event_loop.defer(|event_loop| event_loop.state += 10);
    /// });
    /// assert_eq!(event_loop.drain_callbacks()?, 1);
    /// assert_eq!(event_loop.state, 1);
    /// assert_eq!(event_loop.drain_callbacks()?, 1);
    /// assert_eq!(event_loop.state, 11);
    /// # Ok::<(), linux_event::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Callback`] with what a callback returned; [`LoopError::Reentrant`] from inside a
    /// callback; [`LoopError::Forked`].
    pub fn drain_callbacks(&mut self) -> Result<usize, Error> {
        let mut count = 0;
        let is_stopped = std::mem::take(&mut self.stopping);
        let drained = self.guarded(|this| this.drain(&mut count).map_err(Error::Callback));
        // That was meant for the next run.
        self.stopping = is_stopped;
        drained.map(|()| count)
    }

    fn drain(&mut self, count: &mut usize) -> Result<(), BoxError> {
        let (first, called) = self.deliver_kept_first(self.deferred.len());
        *count = first;
        called?;
        while !self.stopping {
            let (events, kept) = (self.stats().events, self.callbacks.ops.kept_total());
            let Some(called) = M::deliver_next(self) else {
                break;
            };
            called?;
            let events = self.stats().events - events;
            *count += (events + kept - self.callbacks.ops.kept_total()) as usize;
        }
        Ok(())
    }

    pub(super) fn dispatch_wake(&mut self) -> Result<(), BoxError> {
        self.wake_due = false;
        self.waking = true;
        let called = self.deliver_wake();
        self.waking = false;
        // Whoever stops the loop from outside wakes it after having said so: no turn need ask.
        self.stopping |= self.model.shared().is_some_and(Shared::take_stop);
        self.kept = self.has_kept();
        called
    }

    /// A wake: first the mail that came with it, then the callback.
    fn deliver_wake(&mut self) -> Result<(), BoxError> {
        for index in 0..self.mail.len() {
            let Some(mut callback) = self.mail.get_mut(index).and_then(Option::take) else {
                continue;
            };
            let open = callback(self);
            if !matches!(open, Ok(false)) {
                match self.mail.get_mut(index) {
                    Some(place @ None) => *place = Some(callback),
                    // It has made another mailbox, which got the place.
                    _ => self.mail.push(Some(callback)),
                }
            }
            if open.is_err() || self.stopping {
                self.wake_due = true; // the rest with the next turn
                return open.map(drop);
            }
        }
        let count = self.model.shared().map_or(0, Shared::take_wakes);
        if count > 0
            && let Some(mut callback) = self.on_wake.take()
        {
            let called = callback(self, count);
            self.on_wake.get_or_insert(callback);
            return called;
        }
        Ok(())
    }

    /// Has the next turn go on with what a stopped callback left of its watcher's event.
    #[cold]
    pub(crate) fn keep_rest(&mut self, watcher: Watcher, ready: Ready) {
        self.rest = Some((watcher, ready));
        self.kept = true;
    }

    /// Has the next turn look at the mail again: for a mailbox that was not emptied.
    pub(crate) fn keep_waking(&mut self) {
        self.wake_due = true;
        self.kept = true;
    }
}
