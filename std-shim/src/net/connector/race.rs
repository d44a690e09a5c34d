//! Which address is tried when, and how it ends: Happy Eyeballs (RFC 8305) without sockets, clock or resolver.
//!
//! **What.** [`Race`] is told what a name resolved to, what came of each attempt, and what time it is; it answers with the next
//! [`Step`]: begin an attempt, wait until, or it is over. It does nothing itself.
//!
//! **Invariants.** *INV-RACE-1*: families alternate, the first address' family first, each in the order that it came in.
//! *INV-RACE-2*: an attempt begins when none is under way, when one has failed since the last began, or when the last has had its
//! time; and never while [`ATTEMPTS_MAX`] are under way, or as many as there are descriptors for. *INV-RACE-3*: there is one verdict, and after it nothing begins. From the
//! first connection or the deadline on it is settled, whatever is reported later. *INV-RACE-4*: of every address that was tried and
//! failed before the verdict there is one [`Failure`], in the order of failing.
//!
//! **Why this shape.** What decides is one small machine in virtual time, which is compared with a model of the rules; sockets,
//! timers and threads only carry out what it says.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;

use super::super::address::Address;
use super::error::{ConnectError, Failure};

/// How many attempts of a connector are under way at a time, at most: a name may have any number of addresses.
pub(crate) const ATTEMPTS_MAX: usize = 16;

/// How long an attempt that found no descriptor waits at least, whatever the delay.
const STARVED: Duration = Duration::from_millis(10);

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Connect to this address; the attempts are numbered from 0.
    Begin(u32, Address),
    /// Nothing before this instant, unless something is reported.
    Wait(Instant),
    /// The verdict, once: the number of the attempt that won, or why none did. All others are to be closed.
    Over(Result<u32, ConnectError>),
}

/// Whether it is decided.
#[derive(Debug)]
enum Verdict {
    Open,
    Settled(Result<u32, ConnectError>),
    Told,
}

/// The order and the pace of attempts, and what came of them.
#[derive(Debug)]
pub(crate) struct Race {
    /// What is still to be tried; `None` while the name is not resolved.
    waiting: Option<VecDeque<Address>>,
    /// What is being tried, by number.
    under_way: Vec<(u32, Address)>,
    begun: u32,
    delay: Duration,
    deadline: Instant,
    /// Before this the next attempt does not begin, if one is under way and none fails.
    next_at: Instant,
    failures: Vec<Failure>,
    /// INV-RACE-3.
    verdict: Verdict,
}

impl Race {
    /// A race that is to end by `deadline`; the next address waits `delay` for the last.
    pub(crate) const fn new(deadline: Instant, delay: Duration) -> Self {
        Self {
            waiting: None,
            under_way: Vec::new(),
            begun: 0,
            delay,
            deadline,
            next_at: Instant::ZERO,
            failures: Vec::new(),
            verdict: Verdict::Open,
        }
    }

    /// What there is to try, or why nothing. Only the first answer counts.
    pub(crate) fn resolved(&mut self, answer: io::Result<Vec<Address>>) {
        if self.waiting.is_some() || !self.is_open() {
            return;
        }
        match answer {
            Ok(addresses) => self.waiting = Some(interleave(addresses)),
            Err(error) => self.verdict = Verdict::Settled(Err(ConnectError::Resolve(error))),
        }
    }

    /// An attempt has connected; true if it is the one that won.
    pub(crate) fn connected(&mut self, attempt: u32) -> bool {
        let is_first = self.end_attempt(attempt).is_some() && self.is_open();
        if is_first {
            self.verdict = Verdict::Settled(Ok(attempt));
        }
        is_first
    }

    /// An attempt has failed at the system call of this name: the next one begins at once.
    pub(crate) fn failed(&mut self, attempt: u32, call: &'static str, errno: Errno) {
        if let Some(address) = self.end_attempt(attempt)
            && self.is_open()
        {
            self.next_at = Instant::ZERO;
            self.failures.push(Failure {
                address,
                call,
                errno,
            });
        }
    }

    /// An attempt could not begin for want of descriptors or memory, of which those that are under way hold some: its address is
    /// tried again when one of them has failed, or when it is time for the next. With none under way it has failed.
    pub(crate) fn starved(&mut self, attempt: u32, call: &'static str, errno: Errno, now: Instant) {
        if self.under_way.len() == 1 {
            return self.failed(attempt, call, errno);
        }
        if let Some(address) = self.end_attempt(attempt)
            && let Some(waiting) = &mut self.waiting
        {
            waiting.push_front(address);
            self.next_at = now + self.delay.max(STARVED);
        }
    }

    /// Has it time out with the next step.
    pub(crate) const fn expire(&mut self) {
        self.deadline = Instant::ZERO;
    }

    /// What is to be done now. To be asked again until it is [`Step::Wait`] or [`Step::Over`].
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        if self.is_open()
            && let Some(step) = self.go_on(now)
        {
            return step;
        }
        match std::mem::replace(&mut self.verdict, Verdict::Told) {
            Verdict::Settled(verdict) => Step::Over(verdict),
            Verdict::Open | Verdict::Told => Step::Wait(Instant::MAX),
        }
    }

    /// The next step of a race that is open; `None` if it is settled by this.
    fn go_on(&mut self, now: Instant) -> Option<Step> {
        if self.deadline <= now {
            let failures = std::mem::take(&mut self.failures);
            self.verdict = Verdict::Settled(Err(ConnectError::TimedOut(failures)));
            return None;
        }
        let Some(waiting) = &mut self.waiting else {
            return Some(Step::Wait(self.deadline));
        };
        let is_idle = self.under_way.is_empty();
        let has_room = self.under_way.len() < ATTEMPTS_MAX;
        // INV-RACE-2.
        if (is_idle || (has_room && self.next_at <= now))
            && let Some(address) = waiting.pop_front()
        {
            let number = self.begun;
            self.begun += 1;
            self.next_at = now + self.delay;
            self.under_way.push((number, address.clone()));
            return Some(Step::Begin(number, address));
        }
        if is_idle {
            let failures = std::mem::take(&mut self.failures);
            self.verdict = Verdict::Settled(Err(if failures.is_empty() {
                ConnectError::NoAddress
            } else {
                ConnectError::Failed(failures)
            }));
            return None;
        }
        let is_next_timed = has_room && !waiting.is_empty();
        let next = if is_next_timed {
            self.next_at
        } else {
            self.deadline
        };
        Some(Step::Wait(next.min(self.deadline)))
    }

    const fn is_open(&self) -> bool {
        matches!(self.verdict, Verdict::Open)
    }

    fn end_attempt(&mut self, attempt: u32) -> Option<Address> {
        let mut under_way = self.under_way.iter();
        let index = under_way.position(|(number, _)| *number == attempt)?;
        Some(self.under_way.remove(index).1)
    }
}

/// INV-RACE-1.
fn interleave(addresses: Vec<Address>) -> VecDeque<Address> {
    let Some(first) = addresses.first().map(Address::domain) else {
        return VecDeque::new();
    };
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| address.domain() == first);
    let mut mixed = VecDeque::new();
    while let Some(address) = one.pop_front() {
        mixed.push_back(address);
        mixed.extend(other.pop_front());
    }
    mixed.extend(other);
    mixed
}

#[cfg(test)]
mod tests;
