//! An event loop for Linux, with closures.
//!
//! A [`Loop`] is made over a model, and the model is chosen, never guessed:
//!
//! - [`Loop::reactor`] is readiness, by epoll: "tell me when this can be read". It [watches](Loop::watch) descriptors.
//! - [`Loop::proactor`] is completion, by io_uring: "read this for me and tell me when it is done". It
//!   [submits](Loop::submit) operations. Where io_uring is forbidden it says so, and the reactor is the way out.
//! - [`Loop::fake_reactor`] and [`Loop::fake_proactor`] are the same without a kernel, in virtual time, for tests.
//!
//! Both keep timers, take signals, wakes and mail from other threads, [start processes](process) and hear of their end; for
//! each they call what was registered, with the loop itself as `&mut`. Callbacks share a state that is a field of the loop.
//! They return nothing, or a `Result` whose error stops the loop and comes out of [`Loop::run`].
//!
//! ```
//! use std::time::Duration;
//! use linux_event::Loop;
//!
//! let mut event_loop = Loop::reactor_with(String::new())?;
//! event_loop.after(Duration::from_millis(1), |event_loop| event_loop.state.push_str("hello "))?;
//! event_loop.after(Duration::from_millis(2), |event_loop| event_loop.state.push_str("world"))?;
//! event_loop.run()?; // until nothing is left to wait for
//! assert_eq!(event_loop.state, "hello world");
//! # Ok::<(), linux_event::Error>(())
//! ```
//!
//! Operations work on descriptors that the loop [adopts](Loop::adopt), and own their buffers meanwhile:
//!
//! ```
//! use linux_event::Loop;
//! # if Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
//!
//! let mut event_loop = Loop::proactor_with(Vec::new())?;
//! let (reader, writer) = std::io::pipe()?;
//! let (reader, writer) = (event_loop.adopt(reader)?, event_loop.adopt(writer)?);
//!
//! event_loop.read(reader, Vec::with_capacity(64), |event_loop, completion| {
//!     completion.outcome()?; // what the kernel said
//!     event_loop.state = completion.into_buffer().unwrap_or_default().into();
//!     Ok::<(), linux_event::Errno>(())
//! })?;
//! event_loop.write(writer, "hello", |_, completion| assert_eq!(completion.outcome(), Ok(5)))?;
//! event_loop.run()?;
//! assert_eq!(event_loop.state, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What to know
//!
//! - **A turn** is one wait and what it delivers: due timers first, then what is ready or complete
//!   ([`linux_event_core::reactor`] and [`linux_event_core::proactor`] have the contracts, rule by rule).
//! - **A loop belongs to a thread**: it is neither `Send` nor `Sync`, for signal masks belong to threads. Run one a
//!   thread; hand descriptors over by [`Loop::mailbox`], or let the kernel spread connections with `SO_REUSEPORT`.
//! - **Re-entrancy.** A callback may do anything to the loop but run it: cancel itself, replace itself, register more.
//!   It is taken out of its slot while it runs.
//! - **A panic** in a callback goes through `run`, and cancels what was being called, nothing else.
//! - **Ownership.** The reactor never closes a descriptor that it watches; [unwatch](Loop::unwatch) before closing. The
//!   proactor owns what it adopts, until it is [closed](Loop::close) or [given back](Loop::release).
//! - **Cancelling** ends a watcher or timer at once, and its callback is dropped. Of an operation it is a request: the
//!   operation still settles, once, and its callback hears of it.
//! - **Allocation.** A registration boxes its closure; an event allocates nothing. An operation that is submitted
//!   [again](Loop::again) from its callback allocates nothing either.
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
pub mod net;
mod proactor;
pub mod process;
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
pub use linux_event_core::codec;
pub use linux_event_core::errno::Errno;
pub use linux_event_core::error::Error as LoopError;
pub use linux_event_core::handle::{
    File, Handle, Op, ProcessWatch, Subscription, TimerId, Watcher,
};
pub use linux_event_core::pid::ExitStatus;
pub use linux_event_core::proactor::{
    Capabilities, Counters, FixedBuffer, FixedFile, Group, How, MessageFlags, Options, Payload,
    PollEvents, RefusedChain, Request, Shutdown, Stat, Target, VectoredRequest, Vectors, op,
};
pub use linux_event_core::reactor::{Interest, Mode, Ready, Stats};
pub use linux_event_core::signal::{Signal, SignalSet};
pub use linux_event_core::sys::{Domain, SocketKind};
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
