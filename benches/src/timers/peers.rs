//! Other people's timers.
//!
//! **What.** [`Tokio`] is `tokio::time::sleep_until` on a paused clock: a timer is a boxed `Sleep`, polled once so that it
//! is registered, cancelled by dropping it, fired by advancing the clock. [`TokioUtil`] is `tokio_util`'s `DelayQueue`
//! on the same clock. `Libev` is `ev_timer`, with deadlines that have passed, so that one turn fires them all.
//!
//! **Invariants.** INV-TIMERS-1, INV-TIMERS-2.
//!
//! **Why this shape.** Both of tokio's are wheels of 1 ms and round deadlines up to it; libev's is a heap of doubles.
//! Neither promises an order among equal deadlines.

#![forbid(unsafe_code)]

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::{SPREAD_NS, Timers};

/// Past the last deadline, rounding included.
const ADVANCE: Duration = Duration::from_nanos(SPREAD_NS + 1_000_000_000);

fn paused_runtime() -> io::Result<Rc<Runtime>> {
    let mut builder = Builder::new_current_thread();
    builder
        .enable_time()
        .start_paused(true)
        .build()
        .map(Rc::new)
}

/// Deadlines as tokio wants them, from now on.
fn from_now(instants: &mut Vec<Instant>, deadlines: &[u64]) {
    let now = Instant::now();
    let at = |&nanos: &u64| now + Duration::from_nanos(nanos);
    instants.clear();
    instants.extend(deadlines.iter().map(at));
}

pub(super) struct Tokio {
    sleeps: Vec<Option<Pin<Box<Sleep>>>>,
    instants: Vec<Instant>,
    deadlines: Vec<u64>,
    runtime: Rc<Runtime>,
}

impl Tokio {
    pub(super) fn new(deadlines: &[u64]) -> io::Result<Self> {
        Ok(Self {
            sleeps: deadlines.iter().map(|_| None).collect(),
            instants: Vec::with_capacity(deadlines.len()),
            deadlines: deadlines.to_vec(),
            runtime: paused_runtime()?,
        })
    }
}

impl Timers for Tokio {
    fn runtime(&self) -> Option<Rc<Runtime>> {
        Some(Rc::clone(&self.runtime))
    }

    fn prepare(&mut self) {
        from_now(&mut self.instants, &self.deadlines);
    }

    fn insert(&mut self, index: usize) {
        let mut sleep = Box::pin(sleep_until(self.instants[index]));
        let mut context = Context::from_waker(Waker::noop());
        let _ = sleep.as_mut().poll(&mut context);
        self.sleeps[index] = Some(sleep);
    }

    fn cancel(&mut self, _at: usize, index: usize) {
        self.sleeps[index] = None;
    }

    fn expire(&mut self) {
        self.runtime.block_on(tokio::time::advance(ADVANCE));
    }

    fn finish(&mut self) -> usize {
        let fired = |sleep: &Pin<Box<Sleep>>| sleep.is_elapsed();
        let sleeps = self.sleeps.iter_mut().filter_map(Option::take);
        sleeps.filter(fired).count()
    }
}

pub(super) struct TokioUtil {
    queue: DelayQueue<u32>,
    keys: Vec<Option<Key>>,
    cancels: Vec<Key>,
    instants: Vec<Instant>,
    deadlines: Vec<u64>,
    fired: usize,
    runtime: Rc<Runtime>,
}

impl TokioUtil {
    pub(super) fn new(deadlines: &[u64]) -> io::Result<Self> {
        let runtime = paused_runtime()?;
        let context = runtime.enter();
        let queue = DelayQueue::with_capacity(deadlines.len());
        drop(context);
        Ok(Self {
            queue,
            keys: vec![None; deadlines.len()],
            cancels: Vec::with_capacity(deadlines.len()),
            instants: Vec::with_capacity(deadlines.len()),
            deadlines: deadlines.to_vec(),
            fired: 0,
            runtime,
        })
    }
}

impl Timers for TokioUtil {
    fn runtime(&self) -> Option<Rc<Runtime>> {
        Some(Rc::clone(&self.runtime))
    }

    fn prepare(&mut self) {
        self.fired = 0;
        from_now(&mut self.instants, &self.deadlines);
    }

    fn insert(&mut self, index: usize) {
        let key = self.queue.insert_at(index as u32, self.instants[index]);
        self.keys[index] = Some(key);
    }

    fn lay_out(&mut self, indices: &[u32]) {
        self.cancels.clear();
        let keys = indices
            .iter()
            .filter_map(|&index| self.keys[index as usize]);
        self.cancels.extend(keys);
    }

    fn cancel(&mut self, at: usize, _index: usize) {
        self.queue.remove(&self.cancels[at]);
    }

    fn expire(&mut self) {
        self.runtime.block_on(tokio::time::advance(ADVANCE));
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(_)) = self.queue.poll_expired(&mut context) {
            self.fired += 1;
        }
    }

    fn finish(&mut self) -> usize {
        self.fired
    }
}

#[cfg(feature = "libev")]
pub(super) struct Libev {
    timers: crate::sys::libev::Timers,
    after_s: Vec<f64>,
}

#[cfg(feature = "libev")]
impl Libev {
    pub(super) fn new(deadlines: &[u64]) -> io::Result<Self> {
        let passed = |&nanos: &u64| (nanos as f64 - SPREAD_NS as f64 - 1.0) / 1e9;
        Ok(Self {
            timers: crate::sys::libev::Timers::new(deadlines.len())?,
            after_s: deadlines.iter().map(passed).collect(),
        })
    }
}

#[cfg(feature = "libev")]
impl Timers for Libev {
    fn insert(&mut self, index: usize) {
        self.timers.start(index, self.after_s[index]);
    }

    fn cancel(&mut self, _at: usize, index: usize) {
        self.timers.stop(index);
    }

    fn expire(&mut self) {
        self.timers.expire();
    }

    fn finish(&mut self) -> usize {
        self.timers.take_fired() as usize
    }
}
