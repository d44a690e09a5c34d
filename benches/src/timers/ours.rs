//! Our own timers.
//!
//! **What.** [`Queue`] is the core's queue, as the engines hold it: in memory of zeroes, room for the most timers that it
//! can have, whatever the size that is measured.
//!
//! **Invariants.** INV-TIMERS-1, INV-TIMERS-2.
//!
//! **Why this shape.** A timer is popped one at a time, with its handle and value, as a loop does it: nothing is cleared
//! wholesale.

#![forbid(unsafe_code)]

use std::io;

use linux_event_core::clock::Instant;
use linux_event_core::handle::{MAX_SLOTS, TimerId};
use linux_event_core::timer;

use super::{SPREAD_NS, Timers};
use crate::sys::zeroed_box;

pub(super) struct Queue {
    timers: Box<timer::Queue<u32, MAX_SLOTS>>,
    ids: Vec<Option<TimerId>>,
    cancels: Vec<TimerId>,
    deadlines: Vec<Instant>,
    fired: usize,
}

impl Queue {
    pub(super) fn new(deadlines: &[u64]) -> io::Result<Self> {
        if deadlines.len() > MAX_SLOTS {
            return Err(io::Error::other(format!(
                "the queue has room for {MAX_SLOTS} timers"
            )));
        }
        Ok(Self {
            timers: zeroed_box(),
            ids: vec![None; deadlines.len()],
            cancels: Vec::with_capacity(deadlines.len()),
            deadlines: deadlines.iter().copied().map(Instant::from_nanos).collect(),
            fired: 0,
        })
    }
}

impl Timers for Queue {
    fn prepare(&mut self) {
        self.fired = 0;
    }

    #[inline]
    fn insert(&mut self, index: usize) {
        let inserted = self.timers.insert(self.deadlines[index], index as u32);
        self.ids[index] = inserted.ok();
    }

    #[inline]
    fn lay_out(&mut self, indices: &[u32]) {
        self.cancels.clear();
        let ids = indices.iter().filter_map(|&index| self.ids[index as usize]);
        self.cancels.extend(ids);
    }

    #[inline]
    fn cancel(&mut self, at: usize, _index: usize) {
        self.timers.cancel(self.cancels[at]);
    }

    fn expire(&mut self) {
        let now = Instant::from_nanos(SPREAD_NS);
        while self.timers.pop_due(now).is_some() {
            self.fired += 1;
        }
    }

    fn finish(&mut self) -> usize {
        self.fired
    }
}
