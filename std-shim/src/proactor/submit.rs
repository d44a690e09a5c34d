//! Submitting operations, and calling what was said to call.

#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "what was refused comes back as it went, off the hot path"
)]

use std::fmt;

use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::Op;
use linux_event_core::proactor::{self, RefusedChain, Request, VectoredRequest, Vectors};

use super::callbacks::OpCallback;
use super::{Completion, Proactor, ProactorBackend};
use crate::buffer::Buffer;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;

/// A refused operation: why, and the buffer that came with it (P-6).
pub type Refused = proactor::Refused<Buffer>;

/// A refused operation with several buffers: why, and the buffers (P-6).
#[derive(Debug)]
pub struct RefusedVectors {
    /// Why.
    pub error: LoopError,
    /// What the operation owned.
    pub buffers: Vectors<Buffer>,
}

impl fmt::Display for RefusedVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for RefusedVectors {}

impl From<RefusedVectors> for Error {
    fn from(refused: RefusedVectors) -> Self {
        refused.error.into()
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error.into()
    }
}

impl<const N: usize> From<RefusedChain<Buffer, N>> for Error {
    fn from(refused: RefusedChain<Buffer, N>) -> Self {
        refused.error.into()
    }
}

/// A member of a chain, with what to call for it: made by [`Loop::member`], for [`Loop::submit_chain`].
#[must_use = "nothing happens before its chain is submitted"]
pub struct Member<B: ProactorBackend, S> {
    request: Request<Buffer>,
    callback: OpCallback<Proactor<B>, S>,
}

impl<B: ProactorBackend, S> fmt::Debug for Member<B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.request.code()).finish()
    }
}

#[inline]
pub(super) fn boxed<B: ProactorBackend, S, R: Outcome>(
    mut callback: impl FnMut(&mut Loop<Proactor<B>, S>, Completion<B>) -> R + 'static,
) -> OpCallback<Proactor<B>, S> {
    Box::new(move |event_loop, completion| callback(event_loop, completion).into_result())
}

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// Submits an operation of [`op`](crate::op), and calls `callback` with what came of it: in a later turn, never inside
    /// this call (P-2), and once, but for multishot operations, whose last completion is the one without
    /// [`more`](proactor::Completion::more) (P-3).
    ///
    /// It goes to the kernel with the next wait, or with [`flush`](Self::flush). Its buffer belongs to it until the last
    /// completion brings it back, whatever came of it (P-6). The common operations have methods of their own, as
    /// [`read`](Self::read), which take vectors; here the buffer is a [`Buffer`] already.
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::{Buffer, Loop, op};
    ///
    /// let mut event_loop = Loop::proactor_with(Vec::new())?;
    /// let file = event_loop.adopt(std::fs::File::open("Cargo.toml")?)?;
    /// let head = op::read(file, Buffer::with_capacity(512)).at(0);
    /// event_loop.submit(head, |event_loop, completion| {
    ///     let count = completion.outcome()?;
    ///     event_loop.state.extend(completion.into_buffer().unwrap_or_default().drain(..));
    ///     assert_eq!(event_loop.state.len(), count as usize);
    ///     Ok::<(), linux_event::Errno>(())
    /// })?;
    /// event_loop.run()?; // until nothing is left to wait for
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A loop of the reactor model has no operations, and this one no watchers:
    ///
    /// ```compile_fail,E0599
    /// let mut event_loop = linux_event::Loop::reactor()?;
    /// event_loop.submit(linux_event::op::nop(), |_, _| ())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// ```compile_fail,E0599
    /// let mut event_loop = linux_event::Loop::proactor()?;
    /// let (reader, _writer) = std::io::pipe()?;
    /// event_loop.watch(&reader);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Refused`] with the buffer, and [`LoopError::Full`] when [`OPERATIONS_MAX`](crate::OPERATIONS_MAX) operations are
    /// under way; [`LoopError::Stale`] for a file that is gone or closing; [`LoopError::UnsupportedOperation`] where the
    /// kernel lacks it; [`LoopError::Invalid`]; [`LoopError::Forked`]; what the kernel says if the queue was full and could
    /// not be flushed.
    #[doc(alias = "io_uring_sqe")]
    #[inline(always)]
    pub fn submit<R: Outcome>(
        &mut self,
        request: impl Into<Request<Buffer>>,
        callback: impl FnMut(&mut Self, Completion<B>) -> R + 'static,
    ) -> Result<Op, Refused> {
        let op = self.model.core.submit(request, ())?;
        self.callbacks.ops.fill(op, boxed(callback));
        Ok(op)
    }

    /// Submits the next operation with the callback that is running, which is neither boxed again nor dropped: a
    /// connection that reads for ever allocates nothing.
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::{Loop, op};
    ///
    /// let mut event_loop = Loop::proactor_with(0)?;
    /// let file = event_loop.adopt(std::fs::File::open("Cargo.toml")?)?;
    /// event_loop.read(file, Vec::with_capacity(4096), move |event_loop, completion| {
    ///     let count = completion.outcome()?;
    ///     event_loop.state += count;
    ///     if count > 0 && let Some(buffer) = completion.into_buffer() {
    ///         event_loop.again(op::read(file, buffer))?; // the same callback, and the same buffer
    ///     }
    ///     Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// })?;
    /// event_loop.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Another callback of the same turn may have closed the file meanwhile: the answer is [`LoopError::Stale`] then, the
    /// buffer comes back, and the callback that meant to go on has nothing left to do.
    ///
    /// # Errors
    /// [`LoopError::Stale`] of a file that is gone or closing;
    /// [`LoopError::Invalid`] when no operation's callback is running, when its operation goes on
    /// ([`more`](proactor::Completion::more)), and for the second time in one call; else as [`submit`](Self::submit).
    #[inline(always)]
    pub fn again(&mut self, request: impl Into<Request<Buffer>>) -> Result<Op, Refused> {
        if !self.callbacks.ops.can_repeat() {
            return Err(not_again(request.into()));
        }
        let op = self.model.core.submit(request, ())?;
        self.callbacks.ops.fill_with_running(op);
        Ok(op)
    }

    /// As [`again`](Self::again), with several buffers.
    ///
    /// # Errors
    /// As [`again`](Self::again), with the buffers.
    pub fn again_vectored(
        &mut self,
        request: impl Into<VectoredRequest<Buffer>>,
    ) -> Result<Op, RefusedVectors> {
        let request = request.into();
        if !self.callbacks.ops.can_repeat() {
            return Err(RefusedVectors {
                error: LoopError::Invalid(NOT_AGAIN),
                buffers: request.buffers,
            });
        }
        let op = self.enqueue_vectored(request)?;
        self.callbacks.ops.fill_with_running(op);
        Ok(op)
    }

    /// Submits an operation with several buffers. In its callback, [`take_vectors`](Self::take_vectors) has them back.
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::{Buffer, Loop, Vectors, op};
    ///
    /// let mut event_loop = Loop::proactor()?;
    /// let (reader, writer) = std::io::pipe()?;
    /// let writer = event_loop.adopt(writer)?;
    /// let parts = Vectors::from_iter([Buffer::from("head"), Buffer::from("body")]);
    /// event_loop.submit_vectored(op::write_vectored(writer, parts), |event_loop, completion| {
    ///     assert_eq!(completion.outcome(), Ok(8));
    ///     assert_eq!(event_loop.take_vectors().len(), 2);
    /// })?;
    /// event_loop.run()?;
    /// # drop(reader);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit), with the buffers; [`LoopError::Invalid`] without a buffer.
    pub fn submit_vectored<R: Outcome>(
        &mut self,
        request: impl Into<VectoredRequest<Buffer>>,
        callback: impl FnMut(&mut Self, Completion<B>) -> R + 'static,
    ) -> Result<Op, RefusedVectors> {
        let op = self.enqueue_vectored(request.into())?;
        self.callbacks.ops.fill(op, boxed(callback));
        Ok(op)
    }

    fn enqueue_vectored(&mut self, request: VectoredRequest<Buffer>) -> Result<Op, RefusedVectors> {
        let submitted = self.model.core.submit_vectored(request, ());
        submitted.map_err(|(error, buffers)| RefusedVectors { error, buffers })
    }

    /// A member of a chain: an operation, and what is called with what came of it.
    pub fn member<R: Outcome>(
        &self,
        request: impl Into<Request<Buffer>>,
        callback: impl FnMut(&mut Self, Completion<B>) -> R + 'static,
    ) -> Member<B, S> {
        Member {
            request: request.into(),
            callback: boxed(callback),
        }
    }

    /// Submits a chain: each member starts when the one before it has succeeded in full, or, after a
    /// [`hard_link`](crate::op::Nop::hard_link), when it is over. All of it goes to the kernel in one call, or is refused (P-10).
    ///
    /// A member that does not start, because one before it failed or was cancelled, is cancelled: each is called for, once.
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::{Buffer, Loop, op};
    ///
    /// let mut event_loop = Loop::proactor()?;
    /// # let path = std::env::temp_dir().join(format!("linux-event-chain-{}", std::process::id()));
    /// let file = event_loop.adopt(std::fs::File::create(&path)?)?;
    /// let [written, synced] = event_loop.submit_chain([
    ///     event_loop.member(op::write(file, Buffer::from("entry\n")), |_, written| written.outcome().map(drop)),
    ///     event_loop.member(op::fsync(file), |_, synced| synced.outcome().map(drop)),
    /// ])?;
    /// event_loop.run()?;
    /// # assert_eq!(std::fs::read(&path)?, b"entry\n");
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit), with every member's request; [`LoopError::Full`] if it is longer than the queue.
    pub fn submit_chain<const N: usize>(
        &mut self,
        members: [Member<B, S>; N],
    ) -> Result<[Op; N], RefusedChain<Buffer, N>> {
        let mut callbacks = Vec::with_capacity(N);
        let requests = members.map(|member| {
            callbacks.push(member.callback);
            (member.request, ())
        });
        let ops = self.model.core.submit_chain(requests)?;
        for (op, callback) in ops.into_iter().zip(callbacks) {
            self.callbacks.ops.fill(op, callback);
        }
        Ok(ops)
    }

    /// Submits an operation without saying whom to tell. What comes of it is kept until [`on_complete`](Self::on_complete),
    /// [`take_outcome`](Self::take_outcome) or [`detach`](Self::detach): see there.
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::{Loop, OpState, op};
    ///
    /// let mut event_loop = Loop::proactor()?;
    /// let op = event_loop.start(op::nop())?;
    /// assert_eq!(event_loop.state(op), OpState::Pending);
    /// event_loop.run()?;
    /// assert_eq!(event_loop.state(op), OpState::Settled);
    /// assert_eq!(event_loop.take_outcome(op).unwrap().outcome(), Ok(0));
    /// assert_eq!(event_loop.state(op), OpState::Gone);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn start(&mut self, request: impl Into<Request<Buffer>>) -> Result<Op, Refused> {
        let op = self.model.core.submit(request, ())?;
        self.callbacks.ops.fill_keeping(op);
        Ok(op)
    }

    /// Hands what was submitted to the kernel at once, without waiting.
    ///
    /// # Errors
    /// [`LoopError::Forked`]; [`LoopError::Os`] if the kernel refuses.
    #[doc(alias = "io_uring_submit")]
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(self.model.core.flush()?)
    }

    /// What the engine says of an operation, told to whoever wants to hear of it.
    #[inline(always)]
    pub(crate) fn dispatch_completion(
        &mut self,
        completion: Completion<B>,
    ) -> Result<(), BoxError> {
        let (op, more) = (completion.op, completion.more);
        if let Some(callback) = self.callbacks.ops.take(op, more) {
            return self.call_operation(callback, completion);
        }
        if let Some(tag) = self.callbacks.ops.take_net(op, more) {
            return self.net_completed(tag, completion);
        }
        drop(self.callbacks.ops.keep(op, more, completion));
        Ok(())
    }

    /// As [`dispatch_completion`](Self::dispatch_completion), of one that brings what few do.
    #[inline(never)]
    pub(crate) fn dispatch_rare(&mut self, completion: Completion<B>) -> Result<(), BoxError> {
        self.dispatch_completion(completion)
    }

    /// Calls a callback that was taken out for it (INV-OP-SLOT-1).
    #[inline(always)]
    pub(super) fn call_operation(
        &mut self,
        mut callback: OpCallback<Proactor<B>, S>,
        completion: Completion<B>,
    ) -> Result<(), BoxError> {
        let op = completion.op;
        self.current = Some(op.handle());
        self.callbacks.ops.begin(op, completion.more);
        let called = callback(self, completion);
        self.current = None;
        if let Some(heir) = self.callbacks.ops.end() {
            drop(self.callbacks.ops.put_back(heir, callback));
        }
        called
    }
}

#[cold]
fn not_again(request: Request<Buffer>) -> Refused {
    Refused {
        error: LoopError::Invalid(NOT_AGAIN),
        buffer: request.buffer,
    }
}

const NOT_AGAIN: &str = "there is no callback to call again: it has an operation, or is none of an operation that settled";
