//! The completion model: what a loop of operations is made over.
//!
//! **What.** [`Proactor`] is the model over a backend, io_uring or the fake. Submitting is in `submit`, with a method for
//! each common operation in `operations`; what becomes of an operation that nobody was told of yet is in `outcomes`;
//! descriptors are in `files`, registered memory in `resources`; how such loops are made is in `make`.
//!
//! **Why this shape.** The core's engine settles operations; the loop adds closures, one slot for each of the engine's.
//! Both models go through one [`Model`], so that time, signals, wakes and turns are the same code.

#![forbid(unsafe_code)]

pub(crate) mod callbacks;
mod files;
mod make;
mod operations;
mod outcomes;
mod resources;
mod submit;

use std::fmt;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::error::Error;
use linux_event_core::handle::{File, Handle, Op, ProcessWatch, Subscription, TimerId};
use linux_event_core::proactor::{self, Backend, Payload, Step, Storage};
use linux_event_core::reactor::{self, Event, Other, Stats};
use linux_event_core::signal::SignalSet;

use crate::buffer::Buffer;
use crate::error::BoxError;
use crate::model::{LoopBackend, Model, TIMERS_MAX, private};
use crate::net::{Owner, ProactorIo, ProactorShared, SocketCalls};
use crate::waker::Shared;
use crate::zeroed::zeroed_box;

pub use files::RefusedFd;
pub use make::Uring;
pub use outcomes::OpState;
pub use submit::{Member, Refused, RefusedVectors};

/// Operations that a loop has room for, adopted descriptors, and subscriptions with processes; each.
pub const OPERATIONS_MAX: usize = 65_536;

/// What came of an operation: see the core's [`Completion`](proactor::Completion).
pub type Completion<B = Uring> = proactor::Completion<(), B>;

/// The completion model over a backend: [`Uring`] or [`Fake`](crate::fake::Fake).
pub struct Proactor<B: ProactorBackend> {
    pub(crate) core: Core<B>,
}

#[doc(hidden)]
#[allow(unreachable_pub, reason = "a sealed trait's hidden method names it")]
pub type Tables<B> = Storage<
    (),
    OPERATIONS_MAX,
    TIMERS_MAX,
    <B as reactor::Backend>::Process,
    <B as proactor::Backend>::Fd,
>;
/// The core's engine with its tables in a box of zeroes: address space, not memory, until they are used.
#[doc(hidden)]
#[allow(unreachable_pub, reason = "a sealed trait's hidden method names it")]
pub type Core<B> = proactor::Proactor<Buffer, (), OPERATIONS_MAX, TIMERS_MAX, B, Box<Tables<B>>>;

/// A backend that a loop of operations can be made over.
pub trait ProactorBackend:
    Sized
    + Backend<Buf = Buffer>
    + LoopBackend<Calls: SocketCalls<Socket = <Self as proactor::Backend>::Fd>>
{
    /// The socket calls of the net layer.
    #[doc(hidden)]
    fn calls_of(core: &mut Core<Self>) -> &mut Self::Calls;
    /// Makes one on an adopted descriptor.
    #[doc(hidden)]
    fn with_descriptor<R>(
        core: &mut Core<Self>,
        file: File,
        call: impl FnOnce(&mut Self::Calls, &Self::Fd) -> R,
    ) -> Option<R>;
}

impl<B: ProactorBackend> Proactor<B> {
    pub(crate) fn new(backend: B) -> Result<Self, Error> {
        let core = Core::with_storage(backend, zeroed_box())?;
        Ok(Self { core })
    }
}

impl<B: ProactorBackend> fmt::Debug for Proactor<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl<B: ProactorBackend> private::Sealed for Proactor<B> {}

impl<B: ProactorBackend> Model for Proactor<B> {
    type Completion = Completion<B>;
    type Pipe = File;
    type Socket = B::Fd;
    type Io = ProactorIo;
    type NetShared = ProactorShared;

    #[inline(always)]
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.core.wait(timeout)
    }

    #[inline(always)]
    fn deliver_next<S>(event_loop: &mut crate::Loop<Self, S>) -> Option<Result<(), BoxError>> {
        Some(match event_loop.model.core.step() {
            Step::Plain {
                op, result, buffer, ..
            } => event_loop.dispatch_completion(Completion {
                op,
                data: (),
                result,
                more: false,
                payload: buffer.map_or(Payload::Nothing, Payload::Buffer),
            }),
            Step::Completion(completion) => event_loop.dispatch_rare(completion),
            Step::Other(other) => event_loop.dispatch(other),
            Step::End => return None,
        })
    }

    #[inline(always)]
    fn next_other(&mut self, other: Other) -> Option<Event<()>> {
        self.core.next_other(other)
    }

    fn now(&self) -> Instant {
        self.core.now()
    }

    fn read_clock(&self) -> Instant {
        self.core.read_clock()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.core.next_deadline()
    }

    #[inline(always)]
    fn live(&self) -> usize {
        self.core.live()
    }

    #[inline(always)]
    fn is_owner(&self) -> bool {
        self.core.backend().is_owner()
    }

    fn stats(&self) -> Stats {
        self.core.stats()
    }

    fn after(&mut self, delay: Duration) -> Result<TimerId, Error> {
        self.core.after(delay, ())
    }

    fn at(&mut self, deadline: Instant) -> Result<TimerId, Error> {
        self.core.at(deadline, ())
    }

    fn every(&mut self, period: Duration) -> Result<TimerId, Error> {
        self.core.every(period, ())
    }

    fn every_from(&mut self, first: Instant, period: Duration) -> Result<TimerId, Error> {
        self.core.every_from(first, period, ())
    }

    fn reschedule(&mut self, timer: TimerId, deadline: Instant) -> bool {
        self.core.reschedule(timer, deadline)
    }

    fn deadline(&self, timer: TimerId) -> Option<Instant> {
        self.core.deadline(timer)
    }

    fn signal(&mut self, set: SignalSet) -> Result<Subscription, Error> {
        self.core.signal(set, ())
    }

    fn process(&mut self, pid: i32, reap: bool) -> Result<ProcessWatch, Error> {
        self.core.process(pid, reap, ())
    }

    fn cancel(&mut self, handle: Handle) -> bool {
        self.core.cancel(handle)
    }

    fn detach(&mut self, op: Op) -> bool {
        self.core.detach(op)
    }

    fn contains(&self, handle: Handle) -> bool {
        self.core.contains(handle)
    }

    fn set_counted(&mut self, handle: Handle, counted: bool) -> bool {
        self.core.set_counted(handle, counted)
    }

    fn attend_net<S>(event_loop: &mut crate::Loop<Self, S>) -> Result<(), BoxError> {
        event_loop.attend_all()
    }

    fn net_timer<S>(event_loop: &mut crate::Loop<Self, S>, owner: Owner) -> Result<(), BoxError> {
        event_loop.net_timer(owner)
    }

    fn abort_net<S>(event_loop: &mut crate::Loop<Self, S>, owner: Owner) {
        event_loop.abort_net(owner);
    }

    #[inline(always)]
    fn shared(&self) -> Option<&Shared> {
        self.core.backend().shared()
    }
}
