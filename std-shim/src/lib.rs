//! linux-event: a Linux-native event loop with closures, over [`linux_event_core`].
#![deny(unsafe_code)]

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
mod signals;
mod timers;
mod waker;
mod watch;
mod zeroed;

pub use error::{BoxError, Error, Outcome};
pub use event_loop::Loop;
pub use linux_event_core as core;
pub use linux_event_core::clock::Instant;
pub use linux_event_core::errno::Errno;
pub use linux_event_core::error::Error as LoopError;
pub use linux_event_core::handle::{Handle, ProcessWatch, Subscription, TimerId, Watcher};
pub use linux_event_core::pid::ExitStatus;
pub use linux_event_core::reactor::{Interest, Mode, Ready, Stats};
pub use linux_event_core::signal::{Signal, SignalSet};
pub use mailbox::{SendError, Sender};
pub use make::Epoll;
pub use model::{LoopBackend, Model, Reactor, TIMERS_MAX, WATCHERS_MAX};
pub use signals::{Exit, SignalEvent, Signals};
pub use waker::{Shared, Waker};
pub use watch::{Source, Watch};
