//! What becomes of operations: cancelling, detaching, and outcomes that nobody was told of.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::Op;
use linux_event_core::pid::ExitStatus;
use linux_event_core::proactor::{Counters, Stat, Target, Vectors};
use linux_event_core::sys::sockaddr;

use super::callbacks::Claim;
use super::submit::boxed;
use super::{Completion, Proactor, ProactorBackend};
use crate::buffer::Buffer;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::net::Address;

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpState {
    /// It has not settled.
    Pending,
    /// It has not settled, and its end was asked for.
    Cancelling,
    /// It has settled, and its outcome is kept.
    Settled,
    /// It has settled and was told of, or its outcome was taken or detached; or there was never such an operation.
    Gone,
}

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// Where an operation stands. While its callback runs for the last time it is gone already.
    pub fn state(&self, op: Op) -> OpState {
        match self.model.core.is_cancelling(op) {
            Some(false) => OpState::Pending,
            Some(true) => OpState::Cancelling,
            None if self.callbacks.ops.has_kept(op) => OpState::Settled,
            None => OpState::Gone,
        }
    }

    /// Says whom to tell of an operation that was [started](Self::start) without. If it has settled, `callback` is called
    /// in the next turn, never inside this call (P-7).
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::{Loop, op};
    ///
    /// let mut event_loop = Loop::proactor_with(0)?;
    /// let op = event_loop.start(op::nop())?;
    /// event_loop.run()?; // it settles
    /// event_loop.on_complete(op, |event_loop, _| event_loop.state += 1)?;
    /// assert_eq!(event_loop.state, 0);
    /// event_loop.run()?;
    /// assert_eq!(event_loop.state, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`LoopError::Invalid`] if there is a callback already; [`LoopError::Stale`] if the operation is
    /// [gone](OpState::Gone), or was detached.
    pub fn on_complete<R: Outcome>(
        &mut self,
        op: Op,
        callback: impl FnMut(&mut Self, Completion<B>) -> R + 'static,
    ) -> Result<(), Error> {
        match self.callbacks.ops.claim(op, boxed(callback)) {
            Claim::Pending => Ok(()),
            Claim::Settled => {
                self.defer(move |this| this.deliver_kept(op));
                Ok(())
            }
            Claim::Refused => {
                Err(LoopError::Invalid("the operation has a callback already").into())
            }
            Claim::Stale => Err(LoopError::Stale.into()),
        }
    }

    /// The outcome of an operation that was [started](Self::start) without a callback and has settled. Of a multishot one
    /// each completion, in order; they are kept until they are taken.
    pub fn take_outcome(&mut self, op: Op) -> Option<Completion<B>> {
        self.callbacks.ops.take_outcome(op)
    }

    /// Drops an operation's callback, or its outcome. If it has not settled it goes on and settles without telling:
    /// what it brings is freed, closed and given back (P-7). False if it is [gone](OpState::Gone).
    ///
    /// A multishot one should be cancelled too: nothing else ends it.
    pub fn detach(&mut self, op: Op) -> bool {
        let is_pending = self.model.core.detach(op);
        let vacated = self.callbacks.ops.vacate(op);
        is_pending || vacated.had_outcome()
    }

    /// Asks for the end of everything in flight on `target`, as [`cancel`](Self::cancel) does for one; returns how much
    /// that is (P-4).
    pub fn cancel_on(&mut self, target: impl Into<Target>) -> usize {
        self.model.core.cancel_on(target)
    }

    /// Asks for the end of every operation; returns how many there are (P-4).
    pub fn cancel_all(&mut self) -> usize {
        self.model.core.cancel_all()
    }

    /// How many operations have not settled.
    pub fn live_op_count(&self) -> usize {
        self.model.core.operations()
    }

    /// What the backend has done so far (G-3); turns and events are in [`stats`](Self::stats).
    pub fn counters(&self) -> Counters {
        self.model.core.counters()
    }

    /// The buffers of the vectored operation that completed: in its callback, once.
    pub fn take_vectors(&mut self) -> Vectors<Buffer> {
        self.model.core.take_vectors()
    }

    /// The peer's address, of an accept or receive-message that completed: in its callback, until that submits.
    pub fn address(&self, op: Op) -> Option<SocketAddr> {
        self.model.core.address(op)
    }

    /// As [`address`](Self::address), with the names of unix sockets too: an empty path of one that has none.
    pub fn peer(&self, op: Op) -> Option<Address> {
        let mut name = [0; sockaddr::UNIX_SIZE_MAX];
        let length = self.model.core.name(op, &mut name)?;
        match name.get(..length)? {
            [] => Some(Address::from_path_bytes(b"")),
            name => Address::decode(name),
        }
    }

    /// The answer of a statx that completed: in its callback, until that submits.
    pub fn stat(&self, op: Op) -> Option<Stat> {
        self.model.core.stat(op)
    }

    /// How a child ended, of a waitid that completed: in its callback, until that submits.
    pub fn exit_info(&self, op: Op) -> Option<ExitStatus> {
        self.model.core.exit_info(op)
    }

    /// Tells of what was kept of an operation, in the turn after somebody said whom to tell.
    fn deliver_kept(&mut self, op: Op) -> Result<(), BoxError> {
        while let Some((callback, completion)) = self.callbacks.ops.take_kept(op) {
            let called = self.call_operation(callback, completion);
            if called.is_err() || self.is_stopping() {
                if self.callbacks.ops.has_kept(op) {
                    self.defer(move |this| this.deliver_kept(op));
                }
                return called;
            }
        }
        Ok(())
    }
}
