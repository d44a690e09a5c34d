//! The reactor: readiness. "Tell me when this descriptor can be read."
//!
//! **What.** A [`Reactor`] watches descriptors, keeps timers, takes signals, wakes and exits, and yields all of it as
//! [`Event`] values: no callbacks, no allocation. [`Epoll`] is its backend; the contract between the two is
//! [`Backend`].
//!
//! **Invariants.** They stand in the files: `engine` (policy), `epoll` (mechanism), `storage` (tables).
//!
//! **Why this shape.** The engine is pure: given the same answers from its backend it does the same thing. That is
//! what lets it be fuzzed, and run under Miri and in virtual time.
//!
//! # The contract, by rule
//!
//! - **A turn** (R-1) is one [`wait`](Reactor::wait) and the [`next`](Reactor::next)s after it. The wait ends at the
//!   first deadline, at the caller's timeout, or when something is ready. Due timers are delivered first, then the
//!   batch. EINTR ends it empty.
//! - **Spurious reports** do not happen by the engine's doing, but a file can change between report and read: use
//!   non-blocking descriptors.
//! - **Level-triggered** is the default: a state is reported for as long as it lasts. Edge, oneshot and exclusive are
//!   per watcher.
//! - **Errors and hang-ups** (R-3): an error nobody asked for counts as readable and writable, a hang-up as readable,
//!   so that reading tells. A report that nobody takes is masked, never spun on.
//! - **Stale** is harmless: an event of a cancelled or replaced watcher is dropped, whatever became of
//!   its slot or its descriptor's number.
//! - **Changes** (R-12) are gathered and flushed before the wait, one `epoll_ctl` a watcher at most.

pub mod backend;
mod engine;
mod epoll;
mod event;
mod flags;
mod orphans;
mod storage;
mod subscriptions;
mod timers;
mod watchers;

pub use backend::{Backend, Report};
pub use engine::{Other, Reactor, Step};
pub(crate) use engine::{Pending, new_salt};
pub use epoll::{BATCH, Epoll};
pub use event::{Event, Stats};
pub use flags::{Interest, Mode, Ready};
pub use storage::Storage;
