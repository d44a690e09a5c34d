//! The tables of a reactor, apart from its engine.
//!
//! **What.** [`Storage`] holds the watchers, timers and subscriptions of one reactor. It can lie in the reactor
//! itself, in a `static` ([`Place`](crate::place::Place)) or in a box of zeroes.
//!
//! **Invariants.** *INV-STORE-1*: an empty storage is all zeroes, and what was never used is never written.
//! *INV-STORE-2*: a slot's index is in its descriptor's chain exactly while a watcher of that descriptor occupies
//! the slot. *INV-STORE-3*: a slot is in the list of changes exactly while its `linked` is not 0.
//!
//! **Why this shape.** Finding the watcher of a descriptor is a hash chain through the slots: descriptor numbers are
//! small and dense, so the number itself is the hash. Lists run through the slots too: nothing here can overflow.

#![forbid(unsafe_code)]

use core::fmt;

use super::flags::{Interest, Mode};
use crate::clock::Instant;
use crate::handle::Handle;
use crate::signal::SignalSet;
use crate::sys::{AsRawFd, Fd, RawFd};
use crate::table::Table;
use crate::timer::Queue;

/// A registration that the kernel does not have.
pub(super) const UNREGISTERED: u32 = u32::MAX;

/// What occupies a slot of the table of watchers.
#[derive(Debug)]
pub(super) enum Kind<P> {
    /// A descriptor of the user's.
    Watcher,
    /// A signal subscription.
    Signals {
        set: SignalSet,
        /// Cancelled; waits for what had arrived before.
        closing: bool,
        /// The turn it was made in.
        turn: u32,
    },
    /// A process.
    Process { pidfd: P, pid: i32, reap: bool },
}

/// An occupant. The fields that every event touches come first.
#[derive(Debug)]
pub(super) struct Entry<D, P> {
    pub(super) interest: Interest,
    pub(super) state: State,
    pub(super) mode: Mode,
    pub(super) data: D,
    /// The `EPOLL*` bits that the kernel has, or [`UNREGISTERED`].
    pub(super) registered: u32,
    pub(super) fd: RawFd,
    /// Why the kernel refused the last change; 0 if it did not.
    pub(super) errno: u16,
    pub(super) kind: Kind<P>,
}

bitflags::bitflags! {
    /// Where a watcher stands.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct State: u8 {
        /// The next flush issues a MOD even if the bits are the same.
        const FORCE = 1;
        /// A report came that nobody takes: edges only, until the interest changes.
        const MASKED = 2;
        /// Oneshot: the event was fetched.
        const DISARMED = 4;
        /// An edge was fetched and not delivered: the next enable forces a MOD.
        const SUPPRESSED = 8;
        /// The kernel refused the registration; not tried again until the interest changes.
        const BROKEN = 16;
        /// The failure is still to be delivered.
        const FAILED = 32;
        /// Does not keep the loop running.
        const UNCOUNTED = 64;
    }
}

/// What is kept of a slot beside its occupant; survives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// The descriptor that the last occupant watched.
    pub(super) fd: RawFd,
    /// The batch in which the slot was last filled or vacated.
    pub(super) changed: u32,
    /// Index + 1 of the next slot of the same chain: of descriptors, or of signal subscriptions.
    next: u32,
    /// Index + 1 of the next slot in the list of changes, [`LAST`], or 0 when in no list.
    linked: u32,
}

impl Side {
    /// Of a slot that was never used: all zeroes.
    const NEW: Self = Self {
        fd: 0,
        changed: 0,
        next: 0,
        linked: 0,
    };
}

/// Ends the list of changes.
const LAST: u32 = u32::MAX;

/// A timer of the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimerEntry<D> {
    pub(super) data: D,
    /// Nanoseconds; 0 is once.
    pub(super) period: u64,
    /// The turn it was made in: it fires in a later one (T-4).
    pub(super) turn: u32,
    pub(super) counted: bool,
}

/// Room for `W` watchers, subscriptions and processes together, and for `T` timers; each at most 2²⁰.
///
/// All zeroes while empty, so that a `static` one lies in `.bss`. `P` is the backend's process descriptor.
pub struct Storage<D, const W: usize, const T: usize, P = Fd> {
    pub(super) watchers: Table<Entry<D, P>, W>,
    pub(super) timers: Queue<TimerEntry<D>, T>,
    sides: [Side; W],
    /// Index + 1 of the first slot of each chain of descriptors.
    buckets: [u32; W],
    /// Head of the list of changes.
    changes: u32,
    /// First and last signal subscription, index + 1.
    signals_first: u32,
    signals_last: u32,
}

impl<D, const W: usize, const T: usize, P> Storage<D, W, T, P> {
    /// An empty storage.
    pub const fn new() -> Self {
        const { assert!(W > 0, "a reactor needs room for a watcher") };
        Self {
            watchers: Table::new(),
            timers: Queue::new(),
            sides: [Side::NEW; W],
            buckets: [0; W],
            changes: 0,
            signals_first: 0,
            signals_last: 0,
        }
    }

    /// How many bytes a storage of these capacities takes when all of it is used.
    pub const fn size_bytes() -> usize {
        size_of::<Self>()
    }

    /// Takes out what an earlier reactor left. Writes nothing where there was none (INV-STORE-1); handles of then are
    /// stale, for the slots keep their generations.
    pub(super) fn clear(&mut self) {
        while let Some((timer, ..)) = self.timers.peek_due(Instant::MAX) {
            self.timers.cancel(timer);
        }
        let used = self.watchers.high_water();
        if used == 0 {
            return;
        }
        for index in 0..used {
            if let Some((handle, _)) = self.watchers.at(index as u32) {
                self.watchers.remove(handle);
            }
        }
        self.sides
            .iter_mut()
            .take(used)
            .for_each(|side| *side = Side::NEW);
        self.buckets.fill(0);
        (self.changes, self.signals_first, self.signals_last) = (0, 0, 0);
    }

    #[inline]
    const fn bucket(fd: RawFd) -> usize {
        fd as u32 as usize % W
    }

    #[inline]
    pub(super) fn side(&self, index: u32) -> Option<&Side> {
        self.sides.get(index as usize)
    }

    /// Index + 1 of the slot after one in its chain; 0 for none.
    #[inline]
    fn next(&self, index: u32) -> u32 {
        self.side(index).map_or(0, |side| side.next)
    }

    /// Lets a slot be followed by another in its chain.
    #[inline]
    fn set_next(&mut self, index: u32, next: u32) {
        if let Some(side) = self.sides.get_mut(index as usize) {
            side.next = next;
        }
    }

    /// Notes that the slot was filled or vacated in `batch`.
    #[inline]
    pub(super) fn touch(&mut self, index: u32, batch: u32) {
        if let Some(side) = self.sides.get_mut(index as usize) {
            side.changed = batch;
        }
    }

    /// The watcher of `fd`.
    pub(super) fn find(&self, fd: RawFd) -> Option<Handle> {
        let mut next = self.buckets[Self::bucket(fd)];
        loop {
            let index = next.checked_sub(1)?;
            let side = self.side(index)?;
            if side.fd == fd {
                return self.watchers.at(index).map(|(handle, _)| handle);
            }
            next = side.next;
        }
    }

    /// Whether `fd` is the number of a process. Takes time in proportion to the slots ever used.
    #[cold]
    pub(super) fn has_process(&self, fd: RawFd) -> bool
    where
        P: AsRawFd,
    {
        self.watchers.iter().any(|(_, entry)| match &entry.kind {
            Kind::Process { pidfd, .. } => pidfd.as_raw_fd() == fd,
            _ => false,
        })
    }

    /// Enters a slot into the chain of `fd` (INV-STORE-2).
    pub(super) fn enter(&mut self, index: u32, fd: RawFd) {
        let bucket = &mut self.buckets[Self::bucket(fd)];
        if let Some(side) = self.sides.get_mut(index as usize) {
            side.fd = fd;
            side.next = *bucket;
            *bucket = index + 1;
        }
    }

    /// Takes a slot out of the chain of its descriptor (INV-STORE-2).
    pub(super) fn leave(&mut self, index: u32) {
        let Some(&Side { fd, next, .. }) = self.side(index) else {
            return;
        };
        let (after, bucket) = (next, Self::bucket(fd));
        if self.buckets[bucket] == index + 1 {
            self.buckets[bucket] = after;
            return;
        }
        let mut next = self.buckets[bucket];
        while let Some(before) = next.checked_sub(1) {
            next = self.next(before);
            if next == index + 1 {
                self.set_next(before, after);
                return;
            }
        }
    }

    /// Puts a slot into the list of changes, if it is not in it (INV-STORE-3).
    #[inline]
    pub(super) fn note_change(&mut self, index: u32) {
        if let Some(side) = self.sides.get_mut(index as usize)
            && side.linked == 0
        {
            side.linked = if self.changes == 0 {
                LAST
            } else {
                self.changes
            };
            self.changes = index + 1;
        }
    }

    /// Takes a slot out of the list of changes (INV-STORE-3).
    #[inline]
    pub(super) fn next_change(&mut self) -> Option<u32> {
        let index = self.changes.checked_sub(1)?;
        let linked = &mut self.sides.get_mut(index as usize)?.linked;
        self.changes = if *linked == LAST { 0 } else { *linked };
        *linked = 0;
        Some(index)
    }

    /// Appends a signal subscription to the list that keeps their order.
    pub(super) fn append_signals(&mut self, index: u32) {
        self.set_next(index, 0);
        match self.signals_last.checked_sub(1) {
            None => self.signals_first = index + 1,
            Some(last) => self.set_next(last, index + 1),
        }
        self.signals_last = index + 1;
    }

    /// Takes a signal subscription out of the list.
    pub(super) fn unlink_signals(&mut self, index: u32) {
        let after = self.next(index);
        let mut before = 0;
        let mut next = self.signals_first;
        while let Some(at) = next.checked_sub(1)
            && at != index
        {
            before = next;
            next = self.next(at);
        }
        match before.checked_sub(1) {
            None => self.signals_first = after,
            Some(before) => self.set_next(before, after),
        }
        if self.signals_last == index + 1 {
            self.signals_last = before;
        }
    }

    /// The signal subscription after `index`, or the first.
    pub(super) fn signals_after(&self, index: Option<u32>) -> Option<u32> {
        match index {
            None => self.signals_first,
            Some(index) => self.next(index),
        }
        .checked_sub(1)
    }
}

impl<D, const W: usize, const T: usize, P> Default for Storage<D, W, T, P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D, const W: usize, const T: usize, P> fmt::Debug for Storage<D, W, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("watchers", &self.watchers.len())
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}

impl<D, P: AsRawFd> Entry<D, P> {
    /// Whether it keeps a loop running.
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        let is_counted = !self.state.contains(State::UNCOUNTED);
        match self.kind {
            Kind::Watcher => self.is_live_watcher(),
            // A closing subscription too: it has still to hear of something (S-3).
            Kind::Signals { .. } | Kind::Process { .. } => is_counted,
        }
    }

    /// As [`is_live`](Self::is_live), of what is known to be a watcher.
    #[inline(always)]
    pub(super) fn is_live_watcher(&self) -> bool {
        const QUIET: State = State::UNCOUNTED.union(State::DISARMED).union(State::BROKEN);
        !self.interest.is_empty() && !self.state.intersects(QUIET)
    }

    /// The `EPOLL*` bits that the kernel should have.
    #[inline]
    pub(super) fn wanted(&self) -> u32 {
        /// Registered, with nothing asked: errors and hang-ups are reported once, as edges.
        const NOTHING: u32 = Mode::EDGE.bits();
        if self.interest.is_empty() {
            return NOTHING;
        }
        // EPOLLERR is always reported; asking for it changes nothing.
        let bits = u32::from(self.interest.difference(Interest::ERROR).bits());
        let mode = if self.state.contains(State::MASKED) {
            // A oneshot stays armed for what it waits for; the engine sees to it that it is reported once.
            self.mode.union(Mode::EDGE).difference(Mode::ONESHOT)
        } else {
            self.mode
        };
        bits | mode.bits()
    }
}
