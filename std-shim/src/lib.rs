//! An event loop for Linux, with closures.
//!
//! A [`Loop`] is made over a model, and the model is chosen, never guessed: [`Loop::reactor`] is readiness by epoll. It
//! watches descriptors, keeps timers, takes signals, wakes and mail from other threads, and hears of processes that
//! end; for each it calls what was registered, with the loop itself as `&mut`. Callbacks share a state that is a field
//! of the loop. They return nothing, or a `Result` whose error stops the loop and comes out of [`Loop::run`].
//!
//! ```
//! use std::time::Duration;
//! use linux_event::Loop;
//!
//! let mut event_loop = Loop::reactor_with(String::new())?;
//! event_loop.after(Duration::from_millis(2), |event_loop| event_loop.state.push_str("world"))?;
//! event_loop.after(Duration::from_millis(1), |event_loop| event_loop.state.push_str("hello "))?;
//! event_loop.run()?; // until nothing is left to wait for
//! assert_eq!(event_loop.state, "hello world");
//! # Ok::<(), linux_event::Error>(())
//! ```
//!
//! # What to know
//!
//! - **A turn** is one wait and what it delivers: due timers first, then what is ready ([`linux_event_core::reactor`]
//!   has the contract, rule by rule).
//! - **A loop belongs to a thread**: it is neither `Send` nor `Sync`, for signal masks belong to threads. Run one a
//!   thread; hand descriptors over by [`Loop::mailbox`], or let the kernel spread connections with `SO_REUSEPORT`.
//! - **Re-entrancy.** A callback may do anything to the loop but run it: cancel itself, replace itself, register more.
//!   It is taken out of its slot while it runs.
//! - **A panic** in a callback goes through `run`, and cancels what was being called, nothing else.
//! - **Nothing is owned.** The loop never closes a descriptor that it watches; [unwatch](Loop::unwatch) before closing.
//! - **Allocation.** A registration boxes its closure; an event allocates nothing.
//! - **Fork.** In a forked child the loop says [`Forked`](LoopError::Forked) and touches nothing of its parent's.

#![deny(unsafe_code)]

mod buffer;
mod callbacks;
mod cells;
mod error;
mod event_loop;
pub mod fake;
mod fake_loop;
mod fd;
mod mailbox;
mod make;
mod model;
mod proactor;
mod signals;
mod timers;
mod waker;
mod watch;
mod zeroed;

pub use buffer::Buffer;
pub use error::{BoxError, Error, Outcome};
pub use event_loop::Loop;
pub use fd::IntoOwnedFd;
pub use linux_event_core as core;
pub use linux_event_core::clock::Instant;
pub use linux_event_core::errno::Errno;
pub use linux_event_core::error::Error as LoopError;
pub use linux_event_core::handle::{
    File, Handle, Op, ProcessWatch, Subscription, TimerId, Watcher,
};
pub use linux_event_core::pid::ExitStatus;
pub use linux_event_core::proactor::{
    Counters, FixedBuffer, FixedFile, Group, How, MessageFlags, Payload, PollEvents, RefusedChain,
    Request, Shutdown, Stat, Target, VectoredRequest, Vectors, op,
};
pub use linux_event_core::reactor::{Interest, Mode, Ready, Stats};
pub use linux_event_core::signal::{Signal, SignalSet};
pub use mailbox::{SendError, Sender};
pub use make::Epoll;
pub use model::{LoopBackend, Model, Reactor, TIMERS_MAX, WATCHERS_MAX};
pub use proactor::{
    Completion, Member, OPERATIONS_MAX, OpState, Proactor, ProactorBackend, Refused, RefusedFd,
    RefusedVectors, Uring,
};
pub use signals::{Exit, SignalEvent, Signals};
pub use waker::{Shared, Waker};
pub use watch::{Source, Watch};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
