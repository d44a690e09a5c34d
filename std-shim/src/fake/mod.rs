//! A backend with no kernel under it, for tests: deterministic, in virtual time.
//!
//! **What.** [`Fake`] is a backend of both models, as `Epoll` is of the reactor and `Uring` of the proactor, over a small
//! simulated kernel that it owns: descriptors, pipes, sockets and a network, files, eventfds, signals, processes and a clock
//! that only moves when a wait passes time or the test says so. No thread, no descriptor of the machine, no sleep. Rule F-1.
//!
//! **Invariants.** *INV-FAKE-1*: the same calls give the same results, always: nothing here reads a clock, an address
//! or the order of a hash. *INV-FAKE-2*: whatever is reported, in whatever order, a real kernel reports for
//! the same calls (for epoll a test runs random scripts on both); what differs is said below.
//!
//! **Why this shape.** A loop is hard to test for what a real kernel shows once a year: a descriptor closed behind
//! its back, a reset between two events, a timer and a byte at the same nanosecond, a cancel that comes too late. Here each
//! is one line.
//!
//! # Readiness
//!
//! ```
//! use std::time::Duration;
//! use linux_event::fake::{Action, Fake};
//! use linux_event_core::reactor::{Event, Interest, Reactor};
//!
//! let mut fake = Fake::new();
//! let (reader, writer) = fake.pipe()?;
//! fake.after(Duration::from_secs(3600), Action::Write(writer, b"hello".to_vec()));
//!
//! let mut reactor: Reactor<&str, 8, 8, Fake> = Reactor::new(fake);
//! reactor.watch(reader, Interest::READ, "pipe")?;
//! reactor.after(Duration::from_secs(60), "minute")?;
//!
//! reactor.wait(None)?; // returns at once, a minute later
//! assert!(matches!(reactor.next(), Some(Event::Timer { data: "minute", .. })));
//! assert_eq!(reactor.next(), None); // the end of the turn
//! reactor.wait(None)?;
//! assert!(matches!(reactor.next(), Some(Event::Ready { data: "pipe", .. })));
//! let mut buffer = [0; 16];
//! assert_eq!(reactor.backend_mut().read(reader, &mut buffer)?, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Completion
//!
//! The fake performs operations itself, against its machine: a read waits until bytes are there, an accept until somebody
//! connects. [Linked timeouts](linux_event_core::proactor::op::Message::timeout) run in virtual time.
//!
//! ```
//! use std::net::SocketAddr;
//! use std::time::Duration;
//! use linux_event::{Buffer, Errno};
//! use linux_event::fake::Fake;
//! use linux_event_core::proactor::{Event, Proactor, op};
//!
//! let mut fake = Fake::new();
//! let address: SocketAddr = "127.0.0.1:80".parse()?;
//! let listener = fake.listener(address)?;
//! let client = fake.client(address)?;
//! let (server, _) = fake.accept(listener)?;
//! let server = fake.own(server);
//!
//! let mut proactor: Proactor<Buffer, u32, 8, 8, Fake> = Proactor::new(fake)?;
//! let server = proactor.adopt(server).unwrap();
//! let receive = || op::recv(server, Buffer::with_capacity(64)).timeout(Duration::from_secs(60));
//! proactor.submit(receive(), 1)?;
//! proactor.backend_mut().write(client, b"hello")?;
//! proactor.wait(None)?;
//! let Some(Event::Completion(received)) = proactor.next() else { unreachable!() };
//! assert_eq!(received.into_buffer(), Some(Buffer::from(b"hello")));
//!
//! proactor.submit(receive(), 2)?; // nothing comes
//! proactor.wait(None)?; // returns at once, a minute later
//! let Some(Event::Completion(timed_out)) = proactor.next() else { unreachable!() };
//! assert_eq!(timed_out.outcome(), Err(Errno::ECANCELED));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Or the test decides. [`hold`](Fake::hold) has operations wait in [`pending`](Fake::pending) until the test
//! [completes](Fake::complete), [fails](Fake::fail), [shortens](Fake::shorten) or [delays](Fake::delay) them, in any order.
//! [`script`](Fake::script) decides about each when it starts: by its own rules, or by the bytes of a fuzzer.
//! [`cancel_loses`](Fake::cancel_loses), [`refuse_next`](Fake::refuse_next), [`fail_next`](Fake::fail_next),
//! [`set_completions`](Fake::set_completions), [`set_supported`](Fake::set_supported) and
//! [`hold_notifications`](Fake::hold_notifications) make trouble. In the end [`pending_operations`](Fake::pending_operations),
//! [`buffers_out`](Fake::buffers_out), [`leases_out`](Fake::leases_out) and [`open_descriptors`](Fake::open_descriptors)
//! say whether anything is left.
//!
//! # How it differs from a kernel
//!
//! - A wait that nothing can end is [`Error::Os`](linux_event_core::error::Error::Os) with EDEADLK: a real one would
//!   hang. A [wakeup](Fake::wakeup) used by another thread is seen by the next wait, but ends none that is under way,
//!   because a wait takes no time.
//! - What a test does by hand never waits, what an operation does waits as long as it takes; descriptors have no mode of
//!   their own. A broken pipe is EPIPE without SIGPIPE; its own machinery takes no numbers.
//! - Pages have 4 KiB, a pipe 16 of them, a socket a send buffer of 208 KiB with Linux' charges for each segment. A TCP
//!   connection has the buffers of a unix socket.
//! - Names are those that it was [told](Fake::set_host), and take as long as it was told; nobody else is asked.
//! - Every address is the machine's own, IPv4 and IPv6 are two networks, every path may be opened by everybody, and datagrams
//!   are dropped only where a receiver's buffer is full.
//! - An operation is performed when it is submitted or woken, on the spot. In a kernel fsync, shutdown, splice, open and statx
//!   go to worker threads, so that what is submitted after them may come before. A connection over TCP is accepted a little
//!   before its connect completes, here a little after.
//! - A number is looked up when its operation starts: as in Linux 6.18, with the submission, but of a chain's later members
//!   when their turn has come.
//! - A cancel reaches what was submitted before it, in order, and finds it, but for what [`cancel_loses`](Fake::cancel_loses)
//!   and [`Decision::Stubborn`] arrange.
//! - A zero-copy send lets go of its buffer at once, unless the test [holds](Fake::hold_notifications) it.
//!
//! Sources: `epoll(7)`, `io_uring_enter(2)`, `pipe(7)`, `unix(7)`, `tcp(7)`, `udp(7)`, `eventfd(2)`, `signalfd(2)`,
//! `pidfd_open(2)`; Linux 6.18.

#![forbid(unsafe_code)]

mod backend;
mod bits;
mod datagrams;
mod files;
mod interest;
mod io;
mod machine;
mod names;
mod network;
mod numbers;
mod objects;
mod operations;
mod owned;
mod processes;
mod provided;
mod regular;
mod resolving;
mod schedule;
mod signals;
mod sockets;
#[cfg(test)]
mod tests;
mod time;
mod trouble;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Call;
use linux_event_core::pid::ExitStatus;
use linux_event_core::reactor::backend::{TIMER, WAKEUP};
use linux_event_core::reactor::{BATCH, Report};
use linux_event_core::signal::{Signal, SignalSet};
use linux_event_core::sys::{AsRawFd, RawFd};

use crate::waker::Shared;
use bits::{EDGE, IN};
use interest::InterestList;
use machine::{Machine, Notice, TIMER as TIMER_FILE, WAKES};
use operations::Operations;
use processes::Returned;

pub use names::Name;
pub use operations::{Answer, CompleteError, Decision, PendingOp};
pub use owned::FakeOwned;
pub use processes::FakeProcess;
pub use provided::FakeLease;
pub use schedule::{Action, FailedAction};

/// A descriptor number of a [`Fake`]. Like a number, it may be stale: nothing is closed when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FakeFd(RawFd);

impl FakeFd {
    /// The descriptor with this number, open or not.
    pub const fn new(number: RawFd) -> Self {
        Self(number)
    }
}

impl AsRawFd for FakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// What a reactor asked a [`Fake`] to do so far: what would have been system calls. A proactor's are its
/// [`counters`](linux_event_core::proactor::Backend::counters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Registrations added, changed or removed, refused ones too: `epoll_ctl`.
    pub controls: u64,
    /// Waits: `epoll_wait`.
    pub waits: u64,
    /// New interest lists: `epoll_create1`.
    pub rebuilds: u64,
}

/// A deterministic backend of both models in virtual time. See the [module](self).
pub struct Fake {
    machine: Machine,
    interest: InterestList,
    batch: VecDeque<Report>,
    batch_max: usize,
    now: Instant,
    armed: Option<Instant>,
    schedule: schedule::Schedule,
    failed_actions: Vec<FailedAction>,
    wakeup: Shared,
    /// The wakeup's count is above zero and its first wake was seen.
    is_woken: bool,
    is_interrupted: bool,
    interrupts_next: u32,
    failures: VecDeque<(Call, Errno)>,
    is_owner: bool,
    touched: Vec<&'static str>,
    counts: Counts,
    returned: Returned,
    operations: Operations,
    hosts: resolving::Hosts,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// When every fake begins: a second after the clock's zero, so that there is a past.
    pub const START: Instant = Instant::from_nanos(1_000_000_000);

    /// A fake with nothing open, at [`Fake::START`], with a wakeup of its own.
    pub fn new() -> Self {
        Self::with_wakeup(Shared::default())
    }

    /// A fake that `wakeup` wakes. Its eventfd is never opened here: only its count is looked at.
    pub fn with_wakeup(wakeup: Shared) -> Self {
        let mut fake = Self {
            machine: Machine::new(),
            interest: InterestList::default(),
            batch: VecDeque::new(),
            batch_max: BATCH,
            now: Self::START,
            armed: None,
            schedule: schedule::Schedule::default(),
            failed_actions: Vec::new(),
            wakeup,
            is_woken: false,
            is_interrupted: false,
            interrupts_next: 0,
            failures: VecDeque::new(),
            is_owner: true,
            touched: Vec::new(),
            counts: Counts::default(),
            returned: Rc::new(RefCell::new(Vec::new())),
            operations: Operations::new(),
            hosts: resolving::Hosts::default(),
        };
        fake.register_own(WAKES, IN | EDGE, WAKEUP.raw());
        fake.register_own(TIMER_FILE, IN | EDGE, TIMER.raw());
        fake
    }

    /// What wakes this loop. Clone it and wake from anywhere; the next wait reports it.
    ///
    /// ```
    /// use linux_event::fake::Fake;
    /// use linux_event_core::reactor::{Event, Reactor};
    ///
    /// let mut reactor: Reactor<(), 4, 4, Fake> = Reactor::new(Fake::new());
    /// let wakeup = reactor.backend().wakeup().clone();
    /// std::thread::spawn(move || wakeup.wake()).join().unwrap();
    /// reactor.wait(None)?;
    /// assert_eq!(reactor.next(), Some(Event::Wakeup { count: 1 }));
    /// # Ok::<(), linux_event_core::error::Error>(())
    /// ```
    pub fn wakeup(&self) -> &Shared {
        &self.wakeup
    }

    /// Counts of what was asked so far; take differences.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many reports one wait fetches at most, at least 1; [`BATCH`] until it is changed.
    pub fn set_batch_max(&mut self, reports: usize) {
        self.batch_max = reports.max(1);
    }

    /// How many descriptors are open, those of watched processes included.
    pub fn open_descriptors(&self) -> usize {
        let returned = self.returned.borrow();
        self.machine
            .numbers
            .iter()
            .filter(|number| !returned.contains(number))
            .count()
    }

    /// How many registrations there are, orphans included, those of signals and wakeups not.
    pub fn registrations(&self) -> usize {
        let closing: Vec<_> = self
            .returned
            .borrow()
            .iter()
            .filter_map(|&number| self.machine.sole_file(number))
            .collect();
        self.interest
            .count(|file| !machine::is_own(file) && !closing.contains(&file))
    }

    /// A child of this process, alive; its process id.
    ///
    /// ```
    /// use linux_event::fake::Fake;
    /// use linux_event_core::pid::ExitStatus;
    /// use linux_event_core::reactor::{Event, Reactor};
    ///
    /// let mut fake = Fake::new();
    /// let pid = fake.spawn();
    /// let mut reactor: Reactor<(), 4, 4, Fake> = Reactor::new(fake);
    /// reactor.process(pid, true, ())?;
    /// reactor.backend_mut().exit(pid, ExitStatus::Exited(7)).unwrap();
    /// reactor.wait(None)?;
    /// let Some(Event::Exit { status, .. }) = reactor.next() else { unreachable!() };
    /// assert_eq!(status, Ok(Some(ExitStatus::Exited(7))));
    /// assert_eq!(reactor.backend().zombies(), 0);
    /// # Ok::<(), linux_event_core::error::Error>(())
    /// ```
    pub fn spawn(&mut self) -> i32 {
        self.machine.processes.spawn(true)
    }

    /// A process whose parent is another, alive; its process id.
    pub fn spawn_stranger(&mut self) -> i32 {
        self.machine.processes.spawn(false)
    }

    /// Ends a process. Of a child SIGCHLD tells, if it is blocked; a stranger is reaped by its own parent at once.
    ///
    /// # Errors
    /// ESRCH if it is not alive.
    pub fn exit(&mut self, pid: i32, status: ExitStatus) -> Result<(), Errno> {
        self.settle();
        let is_child = self.machine.processes.exit(pid, status)?;
        self.machine.process_changed(pid);
        if is_child && self.machine.signals.is_blocked(Signal::CHLD) {
            self.machine.signals.raise(Signal::CHLD);
            self.machine.signals_changed();
        }
        self.hear();
        Ok(())
    }

    /// Waits for a child elsewhere than in the loop, as `waitpid(2)` in a library would.
    ///
    /// # Errors
    /// EAGAIN if it lives; ECHILD if it is not a child or was waited for; ESRCH if there was never such a process.
    pub fn reap(&mut self, pid: i32) -> Result<ExitStatus, Errno> {
        self.settle();
        let status = self.machine.processes.status(pid, true)?;
        self.machine.process_changed(pid);
        self.hear();
        status.ok_or(Errno::ECHILD)
    }

    /// How many children have ended and were not waited for.
    pub fn zombies(&self) -> usize {
        self.machine.processes.zombies()
    }

    /// Whether the status of a process that can't be waited for is known: true as from Linux 6.15, false as before.
    pub fn set_tells_status(&mut self, tells: bool) {
        self.machine.processes.tells_status = tells;
    }

    /// A signal comes. If it is blocked, by a subscription or by [`block`](Self::block), it is pending, signals below 32
    /// once at most; else it strikes: see [`struck`](Self::struck).
    pub fn raise(&mut self, signal: Signal) {
        self.settle();
        self.machine.signals.raise(signal);
        self.machine.signals_changed();
        self.hear();
    }

    /// Blocks signals for the thread, as a program may have done before it made the loop.
    pub fn block(&mut self, set: SignalSet) {
        self.machine.signals.mask = self.machine.signals.mask.union(set);
    }

    /// The signals that are blocked.
    pub fn mask(&self) -> SignalSet {
        self.machine.signals.mask
    }

    /// The signals that are pending.
    pub fn pending_signals(&self) -> SignalSet {
        self.machine.signals.pending()
    }

    /// The signals that came while they were not blocked, or were pending when they were unblocked, in order: those
    /// whose default action, or handler, was run.
    pub fn struck(&self) -> &[Signal] {
        &self.machine.signals.struck
    }

    fn register_own(&mut self, file: machine::FileId, events: u32, token: u64) {
        let state = self.machine.state(file);
        // Own files are registered once a list, with valid bits: it can't be refused.
        let _ = self
            .interest
            .add(file, machine::NO_NUMBER, events, token, state);
    }

    /// Does what was left undone by others: closes what was dropped, sees what was woken.
    fn settle(&mut self) {
        let returned = std::mem::take(&mut *self.returned.borrow_mut());
        for number in returned {
            let _ = self.machine.close(number);
        }
        if self.wakeup.pending() == 0 {
            self.is_woken = false;
        } else if !self.is_woken {
            self.is_woken = true;
            let _ = self.machine.count_up(WAKES, 1);
        }
        self.hear();
    }

    /// Tells the interest list what has changed.
    fn hear(&mut self) {
        for notice in self.machine.take_notices() {
            match notice {
                Notice::Changed(file, key) => {
                    self.interest.wake(file, key);
                    self.operations.file_changed(file, key);
                }
                Notice::Room(file) => self.operations.file_changed(file, 0),
                Notice::Exited(pid) => self.operations.process_ended(pid),
                Notice::Gone(file) => self.interest.forget_file(file),
            }
        }
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake")
            .field("now", &self.now)
            .field("open_descriptors", &self.open_descriptors())
            .field("registrations", &self.registrations())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
