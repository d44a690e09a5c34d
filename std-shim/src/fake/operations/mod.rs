//! Operations: what makes the fake a proactor's backend.
//!
//! **What.** [`Operations`] is what an `io_uring` instance is: a queue of submissions, operations that are under way, what came
//! of them. `queue` takes them in and starts them, `perform`, `transfer`, `multishot` do what a kernel does for each,
//! `settle` ends them and carries on their chains, `manual` and `script` let a test decide instead, `contract` is the
//! [`Backend`](linux_event_core::proactor::Backend).
//!
//! **Invariants.** *INV-FOPS-1*: an operation is in one place: the queue, `running`, the `rest` of a chain before it, or gone
//! with its last report in `reports`. *INV-FOPS-2*: what is reported is seen by [`pop`](linux_event_core::proactor::Backend::pop)
//! after the next wait, never before (P-2): the first `visible` of `reports`. *INV-FOPS-3*: an operation in `running` holds
//! the open files it works on, in `by_file` as in the machine, also when their numbers are closed.
//!
//! **Why this shape.** An operation that can't go on is left alone until a file that it works on changes, a process ends or a
//! time comes. Then what waited is tried in the order in which a kernel wakes it: of one file who began to wait last comes
//! first, but for accepts, which take turns. No order is left to chance.

#![forbid(unsafe_code)]

mod contract;
mod manual;
mod multishot;
mod perform;
mod queue;
mod script;
mod settle;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::Handle;
use linux_event_core::pid::ExitStatus;
use linux_event_core::proactor::{Carried, Code, Counters, Report, Request, Stat, Vectors};
use linux_event_core::sys::RawFd;

use super::machine::FileId;
use super::names::Name;
use super::owned::FakeOwned;
use super::provided::{FakeLease, Groups};
use crate::buffer::Buffer;

pub(super) use contract::enter_error;
pub use manual::{Answer, CompleteError, PendingOp};
pub use script::Decision;

/// The order of submission: never used again.
type Serial = u64;

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing.
    None,
    /// An open file, held.
    File(FileId),
    /// Of close: a registered slot.
    Slot(u32),
    /// A number, or a registered slot, that led nowhere when the operation started.
    Closed,
}

/// What decides when an operation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The machine.
    Performed,
    /// The test.
    Held,
    /// Virtual time, then the machine.
    Delayed(Instant),
    /// A zero-copy send has told its result, and has its buffer still.
    Sent,
}

#[derive(Debug)]
struct Operation {
    token: Handle,
    /// With its own buffer, if it has one.
    request: Request<Buffer>,
    vectors: Vectors<Buffer>,
    /// The number that it was given, for tests to see.
    number: Option<RawFd>,
    place: Place,
    /// Of splice: where from.
    from: Place,
    /// Of close: the descriptor.
    closes: Option<FakeOwned>,
    /// Of accept and its like: the descriptor that was made.
    made: Option<RawFd>,
    phase: Phase,
    /// At most so many bytes.
    limit: Option<usize>,
    /// What a receive or send that waits for all has so far.
    received: Vec<u8>,
    sent: usize,
    /// Of a multishot receive: it was tried.
    has_begun: bool,
    fails: Option<Errno>,
    /// Of a zero-copy send: its result, which its last report repeats.
    told: i32,
    /// No request to cancel it comes in time.
    is_stubborn: bool,
    /// Of connect: the listener whose backlog is full.
    waits_for: Option<FileId>,
    /// When its linked timeout cancels it.
    expires: Option<Instant>,
    /// The members of its chain that have not started.
    rest: VecDeque<Operation>,
}

impl Operation {
    fn buffers(&self) -> usize {
        let own = usize::from(self.request.buffer.is_some()) + self.vectors.len();
        own + self.rest.iter().map(Self::buffers).sum::<usize>()
    }

    /// Whether a request to cancel it would come in time.
    fn can_cancel(&self) -> bool {
        // A descriptor that is being closed is closed (P-15): a ring is not asked not to.
        !self.is_stubborn && self.phase != Phase::Sent && self.closes.is_none()
    }

    /// Whether it waits exclusively: of those who do, the kernel wakes one after the other.
    fn is_accept(&self) -> bool {
        matches!(self.request.code(), Code::Accept | Code::AcceptMulti)
    }

    /// How many operations this one stands for, the rest of its chain included.
    fn members(&self) -> usize {
        1 + self.rest.len()
    }
}

#[derive(Debug)]
enum Entry {
    Operation(Box<Operation>),
    Cancel(Handle),
}

/// A report with what it carries.
#[derive(Debug)]
struct Told {
    report: Report<Buffer, FakeLease>,
    descriptor: Option<FakeOwned>,
    vectors: Vectors<Buffer>,
}

impl Told {
    fn buffers(&self) -> usize {
        let own = usize::from(matches!(self.report.carried, Carried::Buffer(_)));
        own + self.vectors.len()
    }
}

/// What can be asked about an operation that settled, until its slot is used again.
#[derive(Debug)]
struct Answers {
    token: Handle,
    name: Option<Name>,
    stat: Option<Stat>,
    exit: Option<ExitStatus>,
}

/// Submissions, operations under way, and reports.
#[derive(Debug)]
pub(super) struct Operations {
    /// Tokens have indices below this; 0 if there is no proactor.
    reserved: usize,
    queue: VecDeque<Entry>,
    /// How many entries the queue has.
    entries_max: usize,
    running: BTreeMap<Serial, Operation>,
    by_token: BTreeMap<Handle, Serial>,
    /// Who waits for a file, in the order in which they began to.
    by_file: BTreeMap<FileId, Vec<Serial>>,
    /// Of children that are waited for.
    by_pid: BTreeMap<i32, BTreeSet<Serial>>,
    /// Operations to be tried again, in order.
    awake: VecDeque<Serial>,
    /// For which bits they were woken: all, if that was not told.
    keys: BTreeMap<Serial, u32>,
    /// Delays and linked timeouts. What is stale is skipped.
    timers: BTreeSet<(Instant, Serial)>,
    started: Serial,
    /// INV-FOPS-2.
    reports: VecDeque<Told>,
    visible: usize,
    reports_max: usize,
    is_overflowing: bool,
    descriptor: Option<FakeOwned>,
    popped_vectors: Vectors<Buffer>,
    answers: BTreeMap<u32, Answers>,
    pub(super) groups: Groups,
    /// Registered slots, each holding its file.
    slots: Option<Vec<Option<FileId>>>,
    fixed: Vec<Buffer>,
    counters: Counters,
    holds: bool,
    holds_notifications: bool,
    cancels_lost: u32,
    refusals: VecDeque<Error>,
    cancel_refusals: VecDeque<Error>,
    lacking: Vec<Code>,
    script: script::Script,
}

impl Operations {
    /// Entries of the queue and of the completion queue, until a test sets others.
    const ENTRIES: usize = 256;
    const REPORTS: usize = 4096;

    pub(super) fn new() -> Self {
        Self {
            reserved: 0,
            queue: VecDeque::new(),
            entries_max: Self::ENTRIES,
            running: BTreeMap::new(),
            by_token: BTreeMap::new(),
            by_file: BTreeMap::new(),
            by_pid: BTreeMap::new(),
            awake: VecDeque::new(),
            keys: BTreeMap::new(),
            timers: BTreeSet::new(),
            started: 0,
            reports: VecDeque::new(),
            visible: 0,
            reports_max: Self::REPORTS,
            is_overflowing: false,
            descriptor: None,
            popped_vectors: Vectors::new(),
            answers: BTreeMap::new(),
            groups: Groups::default(),
            slots: None,
            fixed: Vec::new(),
            counters: Counters::default(),
            holds: false,
            holds_notifications: false,
            cancels_lost: 0,
            refusals: VecDeque::new(),
            cancel_refusals: VecDeque::new(),
            lacking: Vec::new(),
            script: script::Script::default(),
        }
    }

    /// Whether a proactor is over this fake.
    pub(super) fn is_used(&self) -> bool {
        self.reserved > 0
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.refusals.push_back(error);
    }

    pub(super) fn refuse_cancel(&mut self, error: Error) {
        self.cancel_refusals.push_back(error);
    }

    pub(super) fn lose_cancel(&mut self) {
        self.cancels_lost += 1;
    }

    pub(super) fn set_supported(&mut self, code: Code, is_supported: bool) {
        self.lacking.retain(|&lacking| lacking != code);
        if !is_supported {
            self.lacking.push(code);
        }
    }

    pub(super) fn set_entries(&mut self, entries: usize) {
        self.entries_max = entries;
    }

    pub(super) fn set_completions(&mut self, reports: usize) {
        self.reports_max = reports;
    }

    pub(super) fn count_enter(&mut self) {
        self.counters.enters += 1;
    }

    /// Whether there is something to pop.
    pub(super) fn has_visible(&self) -> bool {
        self.visible > 0
    }

    pub(super) fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// A file changed: for what, or 0.
    pub(super) fn file_changed(&mut self, file: FileId, key: u32) {
        let Some(waiting) = self.by_file.get(&file) else {
            return;
        };
        let accepts = |serial: &Serial| {
            let operation = self.running.get(serial);
            operation.is_some_and(Operation::is_accept)
        };
        let others = waiting.iter().rev().filter(|serial| !accepts(serial));
        let in_turn = waiting.iter().filter(|serial| accepts(serial));
        let woken: Vec<Serial> = others.chain(in_turn).copied().collect();
        for serial in woken {
            self.wake(serial, key);
        }
    }

    /// Has an operation tried again: something happened, for which it is told, or 0.
    fn wake(&mut self, serial: Serial, key: u32) {
        let key = if key == 0 { u32::MAX } else { key };
        let bits = self.keys.entry(serial).or_insert_with(|| {
            self.awake.push_back(serial);
            0
        });
        *bits |= key;
    }

    /// The next operation to be tried, and what it was woken for.
    fn next_awake(&mut self) -> Option<(Serial, u32)> {
        loop {
            let serial = self.awake.pop_front()?;
            if let Some(key) = self.keys.remove(&serial) {
                return Some((serial, key));
            }
        }
    }

    /// An operation that was tried in vain waits again, behind those that wait already.
    fn wait_again(&mut self, serial: Serial) {
        let Some(operation) = self.running.get(&serial) else {
            return;
        };
        if operation.request.code().is_multishot() {
            return; // it never ceased to
        }
        for place in [operation.place, operation.from] {
            if let Place::File(file) = place
                && let Some(waiting) = self.by_file.get_mut(&file)
            {
                waiting.retain(|&other| other != serial);
                waiting.push(serial);
            }
        }
    }

    /// An operation hears of a file no more.
    fn unregister(&mut self, serial: Serial, file: FileId) {
        if let Some(waiting) = self.by_file.get_mut(&file) {
            waiting.retain(|&other| other != serial);
            if waiting.is_empty() {
                self.by_file.remove(&file);
            }
        }
    }

    /// A process ended.
    pub(super) fn process_ended(&mut self, pid: i32) {
        let waiting = self.by_pid.get(&pid).into_iter().flatten();
        let waiting: Vec<Serial> = waiting.copied().collect();
        for serial in waiting {
            self.wake(serial, 0);
        }
    }

    /// When the next delay or linked timeout is over.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let of = |&(at, serial): &(Instant, Serial)| {
            let operation = self.running.get(&serial)?;
            let is_due = operation.phase == Phase::Delayed(at) || operation.expires == Some(at);
            is_due.then_some(at)
        };
        self.timers.iter().find_map(of)
    }

    /// Shows what was reported to the next pops, as far as the completion queue has room.
    pub(super) fn show(&mut self) {
        let overflows = self.reports.len() > self.reports_max;
        if overflows && !self.is_overflowing {
            self.counters.overflows += 1;
        }
        self.is_overflowing = overflows;
        self.visible = self.reports.len().min(self.reports_max);
    }

    fn answers_of(&mut self, token: Handle) -> &mut Answers {
        self.answers.entry(token.index()).or_insert(Answers {
            token,
            name: None,
            stat: None,
            exit: None,
        })
    }
}

/// An errno as a result.
const fn failure(errno: Errno) -> i32 {
    -errno.raw()
}
