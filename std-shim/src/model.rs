//! The execution models: what a loop is made over.
//!
//! **What.** [`Model`] is what every model can do (time, signals, processes, turns); a loop has it whatever its model.
//! [`Reactor`] is readiness, over epoll or over the fake; [`Proactor`](crate::Proactor) is completion. What only one model
//! can do is a method of a loop of that model, so that asking another for it does not compile.
//!
//! **Why this shape.** A sealed trait of plain delegation: no `dyn`, nothing to configure at run time.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::error::Error;
use linux_event_core::handle::{Handle, Op, ProcessWatch, Subscription, TimerId, Watcher};
use linux_event_core::reactor::{self, Backend, Event, Other, Ready, Stats, Step, Storage};
use linux_event_core::signal::SignalSet;
use linux_event_core::sys::AsRawFd;

use crate::error::BoxError;
use crate::net::{Owner, ReactorIo, SocketCalls};
use crate::process::ReactorPipe;
use crate::waker::Shared;
use crate::zeroed::zeroed_box;

/// Watchers, subscriptions and processes that a loop has room for together.
pub const WATCHERS_MAX: usize = 65_536;
/// Timers that a loop has room for.
pub const TIMERS_MAX: usize = 262_144;

/// The readiness model over a backend: [`Epoll`](crate::Epoll) or [`Fake`](crate::fake::Fake).
pub struct Reactor<B: Backend> {
    pub(crate) core: Core<B>,
}

type Tables<B> = Storage<(), WATCHERS_MAX, TIMERS_MAX, <B as Backend>::Process>;
/// The core's engine with its tables in a box of zeroes: address space, not memory, until they are used.
type Core<B> = reactor::Reactor<(), WATCHERS_MAX, TIMERS_MAX, B, Box<Tables<B>>>;

impl<B: Backend> Reactor<B> {
    pub(crate) fn new(backend: B) -> Self {
        Self {
            core: Core::with_storage(backend, zeroed_box()),
        }
    }
}

impl<B: Backend> fmt::Debug for Reactor<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

/// A backend that a [`Loop`](crate::Loop) can be made over.
pub trait LoopBackend: Backend + private::Sealed + 'static {
    /// The socket calls of the net layer.
    #[doc(hidden)]
    type Calls: SocketCalls;
    #[doc(hidden)]
    fn calls(&mut self) -> &mut Self::Calls;
    #[doc(hidden)]
    fn shared(&self) -> Option<&Shared>;
}

/// What every model can do. Sealed: models are this crate's.
pub trait Model: Sized + private::Sealed {
    /// What came of an operation; there is none where there are no operations.
    type Completion;
    /// An end of a child's pipe.
    #[doc(hidden)]
    type Pipe;
    /// A socket, owned, in the backend's terms.
    #[doc(hidden)]
    type Socket: AsRawFd + fmt::Debug;
    /// What the net layer keeps for a socket.
    #[doc(hidden)]
    type Io: Default + fmt::Debug;
    /// What it keeps for a loop.
    #[doc(hidden)]
    type NetShared: Default + fmt::Debug;
    #[doc(hidden)]
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error>;
    /// Delivers the next event of the turn; `None` if that is over.
    #[doc(hidden)]
    fn deliver_next<S>(event_loop: &mut crate::Loop<Self, S>) -> Option<Result<(), BoxError>>;
    #[doc(hidden)]
    fn next_other(&mut self, other: Other) -> Option<Event<()>>;
    #[doc(hidden)]
    fn now(&self) -> Instant;
    #[doc(hidden)]
    fn read_clock(&self) -> Instant;
    #[doc(hidden)]
    fn next_deadline(&self) -> Option<Instant>;
    #[doc(hidden)]
    fn live(&self) -> usize;
    /// Whether it is this process's, and not its parent's (G-1).
    #[doc(hidden)]
    fn is_owner(&self) -> bool;
    #[doc(hidden)]
    fn stats(&self) -> Stats;
    #[doc(hidden)]
    fn after(&mut self, delay: Duration) -> Result<TimerId, Error>;
    #[doc(hidden)]
    fn at(&mut self, deadline: Instant) -> Result<TimerId, Error>;
    #[doc(hidden)]
    fn every(&mut self, period: Duration) -> Result<TimerId, Error>;
    #[doc(hidden)]
    fn every_from(&mut self, first: Instant, period: Duration) -> Result<TimerId, Error>;
    #[doc(hidden)]
    fn reschedule(&mut self, timer: TimerId, deadline: Instant) -> bool;
    #[doc(hidden)]
    fn deadline(&self, timer: TimerId) -> Option<Instant>;
    #[doc(hidden)]
    fn signal(&mut self, set: SignalSet) -> Result<Subscription, Error>;
    #[doc(hidden)]
    fn process(&mut self, pid: i32, reap: bool) -> Result<ProcessWatch, Error>;
    #[doc(hidden)]
    fn cancel(&mut self, handle: Handle) -> bool;
    #[doc(hidden)]
    fn contains(&self, handle: Handle) -> bool;
    #[doc(hidden)]
    fn set_counted(&mut self, handle: Handle, counted: bool) -> bool;
    /// What an event of a descriptor does; only the reactor has such.
    #[doc(hidden)]
    fn dispatch_ready<S>(
        _event_loop: &mut crate::Loop<Self, S>,
        _watcher: Watcher,
        _ready: Ready,
    ) -> Result<(), BoxError> {
        Ok(())
    }
    /// Sees to the streams and listeners that have something to tell or to ask.
    #[doc(hidden)]
    fn attend_net<S>(event_loop: &mut crate::Loop<Self, S>) -> Result<(), BoxError>;
    /// A timer of theirs is due.
    #[doc(hidden)]
    fn net_timer<S>(event_loop: &mut crate::Loop<Self, S>, owner: Owner) -> Result<(), BoxError>;
    /// Ends the one of which a callback panicked.
    #[doc(hidden)]
    fn abort_net<S>(event_loop: &mut crate::Loop<Self, S>, owner: Owner);
    /// Lets an operation end without telling; only the proactor has such.
    #[doc(hidden)]
    fn detach(&mut self, _op: Op) -> bool {
        false
    }
    #[doc(hidden)]
    fn shared(&self) -> Option<&Shared>;
}

impl<B: LoopBackend> private::Sealed for Reactor<B> {}

impl<B: LoopBackend> Model for Reactor<B> {
    type Completion = Infallible;
    type Pipe = ReactorPipe;
    type Socket = <B::Calls as SocketCalls>::Socket;
    type Io = ReactorIo<Self::Socket>;
    type NetShared = ();

    #[inline(always)]
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.core.wait(timeout)
    }

    #[inline(always)]
    fn deliver_next<S>(event_loop: &mut crate::Loop<Self, S>) -> Option<Result<(), BoxError>> {
        Some(match event_loop.model.core.step() {
            Step::Ready { watcher, ready, .. } => event_loop.dispatch_ready(watcher, ready),
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

    fn contains(&self, handle: Handle) -> bool {
        self.core.contains(handle)
    }

    fn set_counted(&mut self, handle: Handle, counted: bool) -> bool {
        self.core.set_counted(handle, counted)
    }

    #[inline(always)]
    fn dispatch_ready<S>(
        event_loop: &mut crate::Loop<Self, S>,
        watcher: Watcher,
        ready: Ready,
    ) -> Result<(), BoxError> {
        event_loop.dispatch_ready(watcher, ready)
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

pub(crate) mod private {
    //! Keeps other crates from implementing models.

    /// Implemented by this crate's models and backends.
    pub trait Sealed {}
}
