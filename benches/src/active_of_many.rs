//! `active-1-of-many`, `active-100-of-many`: a few descriptors are busy among many that are watched.
//!
//! **What.** The shape of libevent's benchmark. All of `pairs` socket pairs are waited for; bytes are sent into 1 or 100 of
//! them, spread evenly. Whenever a pair has received its byte, one is sent into the next pair, so that as many chains run
//! through all the pairs. An operation is one byte received and the next one sent.
//!
//! **Invariants.** *INV-ACTIVE-1*: all systems use the same pairs, so a pair is waited for by the system whose round it is
//! and by no other, and no byte is in it between rounds. *INV-ACTIVE-2*: a round receives exactly the bytes that it sent,
//! one at a time: where a chain catches up with another, a pair holds two bytes, and they are received one after the other.
//!
//! **Why this shape.** With 9,000 pairs, one system's descriptors are all that a process may have by default; so they are
//! shared, and each round begins with all of them being watched and ends with none, unmeasured. The bytes that start a
//! round are sent before the clock is read, too, as libevent's are.

#![forbid(unsafe_code)]

mod floor;
mod ours;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::sys::crate_ring::CrateRing;
use crate::sys::ring::Bare;
use crate::sys::{self, Calls, RawSocket};
use crate::workload::{Case, Laps, Round, System, Workload};

/// The workload with so many chains.
pub(crate) struct Active<const CHAINS: usize>;

impl<const CHAINS: usize> Active<CHAINS> {
    pub(crate) const WORKLOAD: Workload = Workload {
        name: if CHAINS == 1 {
            "active-1-of-many"
        } else {
            "active-100-of-many"
        },
        about: if CHAINS == 1 {
            "one byte goes through many watched socketpairs; ns a byte received and sent on"
        } else {
            "100 bytes go through many watched socketpairs at once; ns a byte received and sent on"
        },
        size_name: "pairs",
        // An iteration is as many operations as there are chains.
        cases: if CHAINS == 1 {
            &[case(100, 1_000), case(1_000, 1_000), case(9_000, 1_000)]
        } else {
            &[case(100, 50), case(1_000, 50), case(9_000, 50)]
        },
        operations: |_| CHAINS as u64,
        columns: &[],
        rounds: 100,
        floors: &["floor", "floor-epoll"],
        systems: &[
            System {
                name: "floor",
                set_up: |pairs| Driver::boxed(pairs, CHAINS, floor::Operations::<Bare>::new),
            },
            System {
                name: "floor-epoll",
                set_up: |pairs| Driver::boxed(pairs, CHAINS, floor::Readiness::new),
            },
            System {
                name: "proactor",
                set_up: |pairs| Driver::boxed(pairs, CHAINS, |pairs| ours::Operations::new(&pairs)),
            },
            System {
                name: "proactor-multishot",
                set_up: |pairs| Driver::boxed(pairs, CHAINS, |pairs| ours::Multishot::new(&pairs)),
            },
            System {
                name: "floor-poll-first",
                set_up: |pairs| Driver::boxed(pairs, CHAINS, floor::Operations::<Bare<true>>::new),
            },
            System {
                name: "io-uring",
                set_up: |pairs| Driver::boxed(pairs, CHAINS, floor::Operations::<CrateRing>::new),
            },
        ],
    };
}

const fn case(size: usize, iterations: u64) -> Case {
    Case { size, iterations }
}

/// A pair: what is sent into one end is received from the other.
#[derive(Clone, Copy)]
struct Pair {
    receiver: BorrowedFd<'static>,
    sender: BorrowedFd<'static>,
}

/// Descriptors besides those of the pairs that a run may need.
const OTHER_DESCRIPTORS: u64 = 200;

static PAIRS: Mutex<Vec<Pair>> = Mutex::new(Vec::new());

/// `count` pairs, the same at every call (INV-ACTIVE-1).
fn pairs(count: usize) -> io::Result<Vec<Pair>> {
    let mut made = PAIRS.lock().unwrap_or_else(PoisonError::into_inner);
    if made.len() < count {
        sys::allow_descriptors(2 * count as u64 + OTHER_DESCRIPTORS)?;
    }
    while made.len() < count {
        let (receiver, sender) = sys::leaked_pair()?;
        made.push(Pair { receiver, sender });
    }
    Ok(made[..count].to_vec())
}

/// A way to wait for many pairs.
trait Waiting {
    /// Begins to wait for a byte in each pair; not measured.
    fn watch(&mut self) -> io::Result<()>;

    /// Receives `bytes` bytes and sends one into the next pair for each, except for the last of each chain: `sends` in
    /// all. The bytes that start the chains are under way already.
    fn run(&mut self, bytes: u64, sends: u64) -> io::Result<()>;

    /// Stops to wait, and sees that no byte is left; not measured.
    fn unwatch(&mut self) -> io::Result<()>;
}

struct Driver<W> {
    waiting: W,
    pairs: Vec<Pair>,
    chains: usize,
    /// The pair in which the first chain starts: where it ended, so that rounds go through all the pairs.
    first: usize,
}

impl<W: Waiting + 'static> Driver<W> {
    fn boxed(
        size: usize,
        chains: usize,
        make: impl FnOnce(Vec<Pair>) -> io::Result<W>,
    ) -> io::Result<Box<dyn Round>> {
        let pairs = pairs(size)?;
        Ok(Box::new(Self {
            waiting: make(pairs.clone())?,
            pairs,
            chains,
            first: 0,
        }))
    }
}

impl<W: Waiting + 'static> Round for Driver<W> {
    fn run(&mut self, iterations: u64) -> io::Result<Laps> {
        let chains = self.chains as u64;
        let bytes = iterations * chains;
        self.waiting.watch()?;
        for chain in 0..self.chains {
            let index = self.first + chain * self.pairs.len() / self.chains;
            let pair = self.pairs[index % self.pairs.len()];
            if RawSocket::write(pair.sender, &[1]) != 1 {
                return Err(lost());
            }
        }
        self.first = (self.first + iterations as usize) % self.pairs.len();
        let started = Instant::now();
        self.waiting.run(bytes, bytes - chains)?;
        let nanos = started.elapsed().as_nanos() as f64;
        self.waiting.unwatch()?;
        let mut laps = Laps::default();
        laps[0] = nanos / bytes as f64;
        Ok(laps)
    }
}

#[cold]
#[inline(never)]
fn lost() -> io::Error {
    io::Error::other("a byte was lost, or one came from nowhere")
}
