//! What a reactor yields, and what it counts.

#![forbid(unsafe_code)]

use super::flags::Ready;
use crate::clock::Instant;
use crate::errno::Errno;
use crate::handle::{ProcessWatch, Subscription, TimerId, Watcher};
use crate::pid::ExitStatus;
use crate::signal::Signal;

/// Something happened. `data` is what was given at registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<D> {
    /// A watched descriptor is ready.
    Ready {
        /// Which watcher.
        watcher: Watcher,
        /// For what; never empty.
        ready: Ready,
        /// The watcher's data.
        data: D,
    },
    /// A timer is due (T-2, T-6).
    Timer {
        /// Which timer. Stale already, unless it is periodic.
        timer: TimerId,
        /// When it was due.
        deadline: Instant,
        /// How many periods have passed, at least 1; always 1 if it is not periodic.
        expirations: u64,
        /// The timer's data.
        data: D,
    },
    /// A signal came (S-1): one event a signal, subscription and turn.
    Signal {
        /// Which subscription.
        subscription: Subscription,
        /// Which signal.
        signal: Signal,
        /// How often, at least; the kernel merges what it can't queue (S-3).
        count: u32,
        /// The subscription's data.
        data: D,
    },
    /// Somebody woke the loop (W-1).
    Wakeup {
        /// How often since the last such event.
        count: u64,
    },
    /// A process ended (C-1). Its handle is stale already.
    Exit {
        /// Which watch.
        process: ProcessWatch,
        /// The process.
        pid: i32,
        /// How it ended; `Ok(None)` where that can't be known; ECHILD where it was to be reaped and could not be;
        /// what `epoll_ctl(2)` said where a rebuilt interest list would not take it.
        status: Result<Option<ExitStatus>, Errno>,
        /// The watch's data.
        data: D,
    },
}

/// What a loop has done since it was made (G-3). Always on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns begun.
    pub turns: u64,
    /// Waits: calls of the kernel that may block.
    pub waits: u64,
    /// Registrations added, changed and removed: `epoll_ctl` calls.
    pub controls: u64,
    /// Events delivered, of every kind.
    pub events: u64,
    /// Reports dropped because their watcher was gone.
    pub stale: u64,
    /// Times the interest list was rebuilt to be rid of a descriptor that was closed while a duplicate lived on.
    pub rebuilds: u64,
}
