//! The simulated thread's signals.
//!
//! **Invariants.** *INV-SIGNALS-1*: `blocked_here` holds the signals that the backend blocked and that were not blocked
//! before. *INV-SIGNALS-2*: what is pending is blocked.

#![forbid(unsafe_code)]

use linux_event_core::signal::{Signal, SignalCounts, SignalSet};

use super::bits::IN;

/// The last signal that is pending once at most, however often it came (`signal(7)`).
const LAST_STANDARD: i32 = 31;

#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) mask: SignalSet,
    pub(super) subscribed: SignalSet,
    pub(super) blocked_here: SignalSet,
    pub(super) is_open: bool,
    pending: SignalCounts,
    pub(super) struck: Vec<Signal>,
}

impl Signals {
    /// Whether the signalfd is readable.
    pub(super) fn state(&self) -> u32 {
        let readable = self.pending.set().intersection(self.subscribed);
        if readable.is_empty() { 0 } else { IN }
    }

    pub(super) fn is_blocked(&self, signal: Signal) -> bool {
        self.mask.contains(signal) && signal.can_be_caught()
    }

    /// A signal comes: it waits if it is blocked, else it strikes.
    pub(super) fn raise(&mut self, signal: Signal) {
        if !self.is_blocked(signal) {
            self.struck.push(signal);
        } else if signal.raw() > LAST_STANDARD || !self.pending.set().contains(signal) {
            self.pending.add(signal, 1);
        }
    }

    /// Takes signals out of the mask; those that are pending strike.
    pub(super) fn unblock(&mut self, set: SignalSet) {
        self.mask = self.mask.difference(set);
        for signal in self.pending.set().intersection(set) {
            let count = self.pending.take(signal);
            self.struck.extend((0..count).map(|_| signal));
        }
    }

    /// Reads the signalfd until it is empty.
    pub(super) fn take(&mut self, counts: &mut SignalCounts) {
        for signal in self.pending.set().intersection(self.subscribed) {
            counts.add(signal, self.pending.take(signal));
        }
    }

    pub(super) fn pending(&self) -> SignalSet {
        self.pending.set()
    }
}
