//! `timers`: how fast a timer is made, cancelled and fired, from a thousand of them to a million.
//!
//! **What.** An iteration makes `n` timers with deadlines spread evenly over 10 s, in random order; cancels half of them,
//! in random order; then expires the rest. Each of the three is measured apart, in ns a timer.
//!
//! **Invariants.** *INV-TIMERS-1*: every system sees the same deadlines and the same cancels, in the same order.
//! *INV-TIMERS-2*: an iteration fires exactly the timers that were not cancelled, and leaves none behind.
//!
//! **Why this shape.** Time is given, not waited for: peers run on a paused clock, or with deadlines that have passed, so
//! that nothing but the timer structure is measured. Structures are kept from one iteration to the next, as programs do.

#![forbid(unsafe_code)]

mod heap;
mod ours;
mod peers;

use std::io;
use std::rc::Rc;
use std::time::Instant;

use ::tokio::runtime::Runtime;

use crate::random::Random;
use crate::workload::{Case, Laps, Round, System, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "timers",
    about: "insert, cancel half of, and expire n timers; ns a timer",
    size_name: "n",
    cases: &[
        Case {
            size: 1_000,
            iterations: 100,
        },
        Case {
            size: 10_000,
            iterations: 10,
        },
        Case {
            size: 100_000,
            iterations: 1,
        },
        Case {
            size: 1_000_000,
            iterations: 1,
        },
    ],
    operations: |size| size as u64,
    columns: &["insert", "cancel", "expire"],
    rounds: 15,
    floors: &["floor"],
    systems: &[
        System {
            name: "floor",
            set_up: |size| Driver::boxed(size, |deadlines| Ok(heap::Floor::new(deadlines))),
        },
        System {
            name: "queue",
            set_up: |size| Driver::boxed(size, ours::Queue::new),
        },
        System {
            name: "tokio",
            set_up: |size| Driver::boxed(size, peers::Tokio::new),
        },
        System {
            name: "tokio-util",
            set_up: |size| Driver::boxed(size, peers::TokioUtil::new),
        },
        #[cfg(feature = "libev")]
        System {
            name: "libev",
            set_up: |size| Driver::boxed(size, peers::Libev::new),
        },
    ],
};

/// Deadlines lie in the first ten seconds after an iteration's start.
const SPREAD_NS: u64 = 10_000_000_000;

/// A timer structure, driven by the index of a timer. It knows the deadlines from when it was made.
trait Timers {
    /// Before each iteration, and before [`Timers::runtime`] is entered; not measured.
    fn prepare(&mut self) {}

    /// The runtime to be inside of while timers are handled.
    fn runtime(&self) -> Option<Rc<Runtime>> {
        None
    }

    /// Makes timer `index`.
    fn insert(&mut self, index: usize);

    /// Lays handles out in the order in which they will be used; not measured. Whoever cancels a timer has its handle at
    /// hand: a connection that is being served, say.
    fn lay_out(&mut self, _indices: &[u32]) {}

    /// Cancels timer `index`, the one at `at` in the order.
    fn cancel(&mut self, at: usize, index: usize);

    /// Lets [`SPREAD_NS`] pass and fires what is due: all that is left.
    fn expire(&mut self);

    /// How many timers fired in this iteration; not measured.
    fn finish(&mut self) -> usize;
}

struct Driver<T> {
    timers: T,
    size: usize,
    cancels: Vec<u32>,
}

impl<T: Timers + 'static> Driver<T> {
    fn boxed(
        size: usize,
        make: impl FnOnce(&[u64]) -> io::Result<T>,
    ) -> io::Result<Box<dyn Round>> {
        let mut random = Random::new(size as u64);
        let deadlines: Vec<u64> = (0..size).map(|_| random.below(SPREAD_NS)).collect();
        let mut cancels: Vec<u32> = (0..size as u32).collect();
        random.shuffle(&mut cancels);
        cancels.truncate(size / 2);
        Ok(Box::new(Self {
            timers: make(&deadlines)?,
            size,
            cancels,
        }))
    }

    /// One iteration: the nanoseconds of each column.
    fn pass(&mut self) -> io::Result<[u64; 3]> {
        let runtime = self.timers.runtime();
        let context = runtime.as_ref().map(|runtime| runtime.enter());
        self.timers.prepare();
        let started = Instant::now();
        for index in 0..self.size {
            self.timers.insert(index);
        }
        let inserted = Instant::now();
        self.timers.lay_out(&self.cancels);
        let laid_out = Instant::now();
        for (at, &index) in self.cancels.iter().enumerate() {
            self.timers.cancel(at, index as usize);
        }
        let cancelled = Instant::now();
        self.timers.expire();
        let expired = Instant::now();
        drop(context);
        let (fired, due) = (self.timers.finish(), self.size - self.cancels.len());
        if fired != due {
            return Err(io::Error::other(format!("{fired} timers fired of {due}")));
        }
        let nanos = |to: Instant, from: Instant| (to - from).as_nanos() as u64;
        Ok([
            nanos(inserted, started),
            nanos(cancelled, laid_out),
            nanos(expired, cancelled),
        ])
    }
}

impl<T: Timers + 'static> Round for Driver<T> {
    fn run(&mut self, iterations: u64) -> io::Result<Laps> {
        let mut sums = [0; 3];
        for _ in 0..iterations {
            let pass = self.pass()?;
            sums.iter_mut()
                .zip(pass)
                .for_each(|(sum, nanos)| *sum += nanos);
        }
        let timers = [
            self.size,
            self.cancels.len(),
            self.size - self.cancels.len(),
        ];
        let lap = |column: usize| sums[column] as f64 / (timers[column] as u64 * iterations) as f64;
        Ok([lap(0), lap(1), lap(2)])
    }
}
