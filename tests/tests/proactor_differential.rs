//! F-1: the fake's operations against the kernel's: random programs run on both, and the same must come of each operation.
//!
//! A program makes pipes, sockets, files and listeners by operations, and reads, writes, sends, receives, splices, polls,
//! shuts down, opens, cancels and closes, alone and in chains. After every step both loops turn until nothing moves, and
//! are compared: what was told of which operation, with which result, in which order for the same one, and with which
//! bytes; what was refused; and what still waits.
//!
//! Left out is what a kernel leaves open: which of two that wait for one file is served first (one waits at a time), and
//! how many bytes fill a socket (none is filled); and listeners that are shut down, which the fake takes for sockets again.

#![allow(clippy::format_push_string, reason = "a test's notes")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use linux_event::core::proactor::{Code, Link};
use linux_event::core::sys::{Domain, SocketKind};
use linux_event::{
    Buffer, File, Group, How, MessageFlags, Op, Payload, PollEvents, Request, Vectors, op,
};
use linux_event_tests::both::World as _;
use linux_event_tests::proactor::{
    Done, FdOf, LoopOf, OnFake, OnRing, Outside, World, adopt, finish, path_buffer, room,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

const FILES_MAX: usize = 12;
/// Names of files; there is no folder for the last.
const NAMES: [&str; 4] = ["one", "two", "three", "none/at all"];
/// Sends are small, and few enough that no socket is filled.
const SEND_MAX: usize = 1500;
/// How long the ring may take to tell what the fake has told, before that is a difference.
const PATIENCE: Duration = Duration::from_secs(5);

/// A simple operation, on one file as a rule.
#[derive(Clone, Debug)]
enum Simple {
    Nop,
    Read(usize, usize, Option<u64>),
    Write(usize, usize, Option<u64>),
    Recv(usize, usize, u32),
    Send(usize, usize, u32),
    Poll(usize, u32),
    Fsync(usize),
    Shutdown(usize, How),
    Open(usize, u32),
    Statx(usize),
    Accept(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Simple(Simple),
    Chain(Vec<(Simple, bool)>),
    ReadVectored(usize, Vec<usize>, Option<u64>),
    WriteVectored(usize, Vec<usize>, Option<u64>),
    RecvMulti(usize),
    PollMulti(usize, u32),
    AcceptMulti(usize),
    Splice(usize, usize, usize),
    Pipe,
    Sockets,
    Listener,
    Connect(usize),
    Cancel(usize),
    CancelOn(usize),
    Close(usize),
}

fn flags_of_open() -> impl Strategy<Value = u32> {
    const CREATE: u32 = 0o100;
    const EXCLUSIVE: u32 = 0o200;
    const TRUNCATE: u32 = 0o1000;
    const APPEND: u32 = 0o2000;
    (0..3_u32, any::<[bool; 4]>()).prop_map(|(access, [create, exclusive, truncate, append])| {
        // What O_EXCL does without O_CREAT is undefined, and so is O_TRUNC without writing.
        let exclusive = exclusive && create;
        let truncate = truncate && access != 0;
        access
            | if create { CREATE } else { 0 }
            | if exclusive { EXCLUSIVE } else { 0 }
            | if truncate { TRUNCATE } else { 0 }
            | if append { APPEND } else { 0 }
    })
}

fn simple() -> impl Strategy<Value = Simple> {
    let at = || 0..64_usize;
    let offset = || prop::option::weighted(0.4, 0..6000_u64);
    let lengths = || prop_oneof![Just(0), 1..40_usize, 1000..6000_usize];
    let events = prop_oneof![
        Just(1),
        Just(4),
        Just(5),
        Just(2),
        Just(0x2000),
        Just(0x2001)
    ];
    let received =
        prop_oneof![4 => Just(0), 1 => Just(2), 1 => Just(0x40), 1 => Just(0x42), 1 => Just(0x100)];
    let sent = prop_oneof![4 => Just(0), 1 => Just(0x40), 1 => Just(0x8000), 1 => Just(0x100)];
    let how = prop_oneof![Just(How::Read), Just(How::Write), Just(How::Both)];
    prop_oneof![
        1 => Just(Simple::Nop),
        4 => (at(), lengths(), offset()).prop_map(|(f, n, o)| Simple::Read(f, n, o)),
        4 => (at(), prop_oneof![Just(0), 1..40_usize, 1000..6000_usize, Just(70_000)], offset())
            .prop_map(|(f, n, o)| Simple::Write(f, n, o)),
        4 => (at(), lengths(), received).prop_map(|(f, n, flags)| Simple::Recv(f, n, flags)),
        4 => (at(), 0..SEND_MAX, sent).prop_map(|(f, n, flags)| Simple::Send(f, n, flags)),
        2 => (at(), events).prop_map(|(f, events)| Simple::Poll(f, events)),
        1 => at().prop_map(Simple::Fsync),
        1 => (at(), how).prop_map(|(f, how)| Simple::Shutdown(f, how)),
        2 => (0..3_usize, flags_of_open()).prop_map(|(name, flags)| Simple::Open(name, flags)),
        1 => (0..4_usize).prop_map(Simple::Statx),
        2 => at().prop_map(Simple::Accept),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..64_usize;
    let offset = || prop::option::weighted(0.4, 0..3000_u64);
    let parts = || prop::collection::vec(prop_oneof![Just(0), 1..9_usize, 100..900_usize], 1..5);
    // A kernel tells what woke it, or, woken twice, what it finds: one kind at a time is the same.
    let events = prop_oneof![Just(1), Just(4), Just(0x2001)];
    prop_oneof![
        30 => simple().prop_map(Step::Simple),
        4 => prop::collection::vec((simple(), any::<bool>()), 2..5).prop_map(Step::Chain),
        3 => (at(), parts(), offset()).prop_map(|(f, parts, o)| Step::ReadVectored(f, parts, o)),
        3 => (at(), parts(), offset()).prop_map(|(f, parts, o)| Step::WriteVectored(f, parts, o)),
        2 => at().prop_map(Step::RecvMulti),
        2 => (at(), events).prop_map(|(f, events)| Step::PollMulti(f, events)),
        1 => at().prop_map(Step::AcceptMulti),
        3 => (at(), at(), 0..3000_usize).prop_map(|(from, to, n)| Step::Splice(from, to, n)),
        4 => Just(Step::Pipe),
        4 => Just(Step::Sockets),
        2 => Just(Step::Listener),
        4 => at().prop_map(Step::Connect),
        3 => at().prop_map(Step::Cancel),
        2 => at().prop_map(Step::CancelOn),
        4 => at().prop_map(Step::Close),
    ]
}

/// What callbacks note.
struct Notes<W: World> {
    /// Which operation, and what was told of it.
    lines: Vec<(usize, String)>,
    /// Descriptors that were made, and by which operation.
    made: Vec<(usize, FdOf<W>)>,
}

impl<W: World> Default for Notes<W> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            made: Vec::new(),
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u32, |sum, &byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let head = &bytes[..bytes.len().min(4)];
    format!("{} bytes {head:?} {sum:x}", bytes.len())
}

/// One of the two sides.
struct Side<W: World> {
    event_loop: LoopOf<W, Notes<W>>,
    files: Vec<Option<File>>,
    ops: BTreeMap<usize, Op>,
    group: Option<Group>,
    /// The names of listeners.
    names: Vec<Buffer>,
}

impl<W: World> Side<W> {
    fn new() -> Self {
        let mut event_loop = W::looping(Notes::<W>::default());
        drop(W::outside(&mut event_loop).folder());
        for name in NAMES {
            W::outside(&mut event_loop).remove(name);
        }
        let group = event_loop.provide(4, 16).ok();
        Self {
            event_loop,
            files: Vec::new(),
            ops: BTreeMap::new(),
            group,
            names: Vec::new(),
        }
    }

    fn file(&self, at: usize) -> Option<File> {
        self.files.get(at).copied().flatten()
    }

    /// The request of a simple operation; `None` if there is no such file.
    fn request(&mut self, id: usize, simple: &Simple) -> Option<Request<Buffer>> {
        let bytes = |length: usize| -> Buffer {
            (0..length)
                .map(|at| (id * 37 + at) as u8 | 1)
                .collect::<Vec<_>>()
                .into()
        };
        let path = |side: &mut Self, name: usize| {
            let name = NAMES[name];
            path_buffer(&W::outside(&mut side.event_loop).path(name))
        };
        let current = linux_event::Target::CURRENT_DIRECTORY;
        let flags = MessageFlags::from_bits_retain;
        Some(match *simple {
            Simple::Nop => op::nop().into(),
            Simple::Read(file, length, offset) => {
                let read = op::read(self.file(file)?, room(length)).limit(length as u32);
                match offset {
                    None => read.into(),
                    Some(offset) => read.at(offset).into(),
                }
            }
            Simple::Write(file, length, offset) => {
                let write = op::write(self.file(file)?, bytes(length));
                match offset {
                    None => write.into(),
                    Some(offset) => write.at(offset).into(),
                }
            }
            Simple::Recv(file, length, bits) => op::recv(self.file(file)?, room(length))
                .limit(length as u32)
                .flags(flags(bits))
                .into(),
            Simple::Send(file, length, bits) => op::send(self.file(file)?, bytes(length))
                .flags(flags(bits))
                .into(),
            Simple::Poll(file, events) => {
                op::poll(self.file(file)?, PollEvents::from_bits_retain(events)).into()
            }
            Simple::Fsync(file) => op::fsync(self.file(file)?).into(),
            Simple::Shutdown(file, how) => op::shutdown(self.file(file)?, how).into(),
            Simple::Open(name, flags) => {
                let path = path(self, name);
                op::open(current, path).flags(flags).mode(0o600).into()
            }
            Simple::Statx(name) => op::statx(current, path(self, name)).into(),
            Simple::Accept(file) => op::accept(self.file(file)?).into(),
        })
    }

    /// A callback that notes what is told of operation `id`.
    fn note(id: usize) -> impl FnMut(&mut LoopOf<W, Notes<W>>, Done<W>) + 'static {
        move |l, done| {
            let mut line = match done.outcome() {
                // The number of a descriptor is the machine's affair.
                Ok(_) if matches!(done.payload, Payload::Descriptor(_)) => "made".to_string(),
                outcome => format!("{outcome:?}"),
            };
            if done.more {
                line += " and more";
            }
            if let Some(stat) = l.stat(done.op) {
                let size = if stat.mode & 0o170_000 == 0o100_000 {
                    stat.size
                } else {
                    0
                };
                line.push_str(&format!(", {:o} of {size}", stat.mode & 0o170_000));
            }
            match done.payload {
                Payload::Nothing => {}
                // Where a path lies is the machine's affair.
                Payload::Buffer(buffer) if buffer.ends_with(b"\0") => line += ", a path",
                Payload::Buffer(buffer) => line.push_str(&format!(", {}", digest(&buffer))),
                Payload::Vectors => {
                    for buffer in l.take_vectors() {
                        line.push_str(&format!(", {}", digest(&buffer)));
                    }
                }
                Payload::Descriptor(fd) => l.state.made.push((id, fd)),
                Payload::Lease(lease) => line.push_str(&format!(", leased {}", digest(&lease))),
            }
            l.state.lines.push((id, line));
        }
    }

    fn told<T>(&mut self, id: usize, submitted: Result<T, linux_event::LoopError>) -> Option<T> {
        match submitted {
            Ok(submitted) => Some(submitted),
            Err(error) => {
                self.event_loop
                    .state
                    .lines
                    .push((id, format!("refused: {error:?}")));
                None
            }
        }
    }

    fn submit(&mut self, id: usize, request: impl Into<Request<Buffer>>) {
        let submitted = self.event_loop.submit(request, Self::note(id));
        if let Some(op) = self.told(id, submitted.map_err(|refused| refused.error)) {
            self.ops.insert(id, op);
        }
    }

    /// Does what a step says, as operations `id` and those after it.
    fn step(&mut self, id: usize, step: &Step) -> Option<()> {
        match step {
            Step::Simple(simple) => {
                let request = self.request(id, simple)?;
                self.submit(id, request);
            }
            Step::Chain(members) => {
                let mut requests = Vec::new();
                for (number, (simple, is_hard)) in members.iter().enumerate() {
                    let mut request = self.request(id + number, simple)?;
                    // Who wins, a cancel or a member that starts because the one before it was cancelled, is open.
                    if *is_hard && waits_on_one(simple).is_none() {
                        request.link = Link::Hard;
                    }
                    requests.push(request);
                }
                self.chain(id, requests);
            }
            Step::ReadVectored(file, parts, offset) => {
                let buffers: Vectors<_> = parts.iter().map(|&length| room(length)).collect();
                let read = op::read_vectored(self.file(*file)?, buffers);
                let read = match offset {
                    None => read,
                    Some(offset) => read.at(*offset),
                };
                let submitted = self.event_loop.submit_vectored(read, Self::note(id));
                if let Some(op) = self.told(id, submitted.map_err(|refused| refused.error)) {
                    self.ops.insert(id, op);
                }
            }
            Step::WriteVectored(file, parts, offset) => {
                let buffers = parts.iter().map(|&length| vec![id as u8; length].into());
                let write = op::write_vectored(self.file(*file)?, buffers.collect());
                let write = match offset {
                    None => write,
                    Some(offset) => write.at(*offset),
                };
                let submitted = self.event_loop.submit_vectored(write, Self::note(id));
                if let Some(op) = self.told(id, submitted.map_err(|refused| refused.error)) {
                    self.ops.insert(id, op);
                }
            }
            Step::RecvMulti(file) => {
                let request = op::recv_multi(self.file(*file)?, self.group?);
                self.submit(id, request);
            }
            Step::PollMulti(file, events) => {
                let events = PollEvents::from_bits_retain(*events);
                let request = op::poll_multi(self.file(*file)?, events);
                self.submit(id, request);
            }
            Step::AcceptMulti(file) => {
                let request = op::accept_multi(self.file(*file)?);
                self.submit(id, request);
            }
            Step::Splice(from, to, length) => {
                let request = op::splice(self.file(*from)?, self.file(*to)?, *length as u32);
                self.submit(id, request);
            }
            Step::Pipe | Step::Sockets => {
                let (one, other) = match step {
                    Step::Pipe => W::outside(&mut self.event_loop).pipe(),
                    _ => W::outside(&mut self.event_loop).socketpair(),
                };
                for fd in [one, other] {
                    let file = adopt::<W, _>(&mut self.event_loop, fd);
                    self.files.push(Some(file));
                }
            }
            Step::Listener => {
                let name = format!("\0linux-event-{}-{}", std::process::id(), self.names.len());
                let file = self.socket(id)?;
                self.submit(id + 1, op::bind_unix(file, name.clone().into()));
                self.settle(id + 1);
                self.submit(id + 2, op::listen(file, 3));
                self.settle(id + 2);
                self.names.push(name.into());
            }
            Step::Connect(listener) => {
                let name = self.names.get(listener % self.names.len().max(1))?.clone();
                let file = self.socket(id)?;
                self.submit(id + 1, op::connect_unix(file, name));
            }
            Step::Cancel(at) => {
                let op = *self.ops.values().nth(at % self.ops.len().max(1))?;
                let is_there = self.event_loop.cancel(op);
                self.event_loop
                    .state
                    .lines
                    .push((id, format!("cancel {is_there}")));
            }
            Step::CancelOn(file) => {
                let file = self.file(*file)?;
                let count = self.event_loop.cancel_on(file);
                self.event_loop
                    .state
                    .lines
                    .push((id, format!("cancel {count}")));
            }
            Step::Close(file) => {
                let closed = self.files.get_mut(*file)?.take()?;
                let submitted = self.event_loop.close(closed, Self::note(id));
                let op = submitted.expect("an open file");
                self.ops.insert(id, op);
            }
        }
        Some(())
    }

    fn chain(&mut self, id: usize, requests: Vec<Request<Buffer>>) {
        let members: Vec<_> = requests
            .into_iter()
            .enumerate()
            .map(|(number, request)| self.event_loop.member(request, Self::note(id + number)))
            .collect();
        let ops: Result<Vec<Op>, _> = match <[_; 2]>::try_from(members) {
            Ok(members) => self
                .event_loop
                .submit_chain(members)
                .map(Vec::from)
                .map_err(|refused| refused.error),
            Err(members) => match <[_; 3]>::try_from(members) {
                Ok(members) => self
                    .event_loop
                    .submit_chain(members)
                    .map(Vec::from)
                    .map_err(|refused| refused.error),
                Err(members) => {
                    let members = <[_; 4]>::try_from(members).expect("two to four members");
                    self.event_loop
                        .submit_chain(members)
                        .map(Vec::from)
                        .map_err(|refused| refused.error)
                }
            },
        };
        if let Some(ops) = self.told(id, ops) {
            self.ops.extend((id..).zip(ops));
        }
    }

    /// A unix socket, made by an operation.
    fn socket(&mut self, id: usize) -> Option<File> {
        self.submit(id, op::socket(Domain::Unix, SocketKind::Stream));
        let before = self.files.len();
        self.settle(id);
        self.take_in();
        self.files.get(before).copied().flatten()
    }

    /// Turns until operation `id` has settled, which does not wait for anybody.
    fn settle(&mut self, id: usize) {
        while let Some(op) = self.ops.get(&id)
            && self.event_loop.contains(*op)
        {
            self.turn(Duration::from_secs(1));
        }
    }

    fn turn(&mut self, timeout: Duration) {
        self.event_loop.run_once(Some(timeout)).expect("a turn");
    }

    /// Takes in the descriptors that were made, in the order of what made them.
    fn take_in(&mut self) {
        let mut made = std::mem::take(&mut self.event_loop.state.made);
        made.sort_by_key(|(id, _)| *id);
        for (_, fd) in made {
            let file = adopt::<W, _>(&mut self.event_loop, fd);
            self.files.push(Some(file));
        }
        let event_loop = &self.event_loop;
        self.ops.retain(|_, op| event_loop.contains(*op));
    }

    fn end(mut self) {
        self.event_loop.cancel_all();
        while self.event_loop.live_op_count() > 0 {
            self.turn(Duration::from_secs(1));
        }
        if let Some(group) = self.group {
            self.event_loop.withdraw(group).expect("an idle group");
        }
        self.files.clear();
        finish::<W, _>(self.event_loop);
    }
}

/// Both sides, and what waits on which file.
struct Pair {
    ring: Side<OnRing>,
    fake: Side<OnFake>,
    next: usize,
    /// Operations that wait, and the files that they wait on.
    busy: BTreeMap<usize, Vec<usize>>,
    listeners: BTreeSet<usize>,
}

/// The file that an operation may wait on.
fn waits_on_one(simple: &Simple) -> Option<usize> {
    match *simple {
        Simple::Read(file, ..)
        | Simple::Write(file, ..)
        | Simple::Recv(file, ..)
        | Simple::Send(file, ..)
        | Simple::Poll(file, ..)
        | Simple::Accept(file) => Some(file),
        _ => None,
    }
}

/// The files that a step may wait on.
fn waits_on(step: &Step) -> Vec<usize> {
    match step {
        Step::Simple(one) => waits_on_one(one).into_iter().collect(),
        Step::Chain(members) => members
            .iter()
            .filter_map(|(member, _)| waits_on_one(member))
            .collect(),
        Step::ReadVectored(file, ..)
        | Step::WriteVectored(file, ..)
        | Step::RecvMulti(file)
        | Step::PollMulti(file, _)
        | Step::AcceptMulti(file) => vec![*file],
        Step::Splice(from, to, _) => vec![*from, *to],
        _ => Vec::new(),
    }
}

/// The step with its files brought into the range of those that there are.
fn within(step: &Step, files: usize) -> Step {
    let at = |file: usize| file % files.max(1);
    let simple = |simple: &Simple| match *simple {
        Simple::Read(file, length, offset) => Simple::Read(at(file), length, offset),
        Simple::Write(file, length, offset) => Simple::Write(at(file), length, offset),
        Simple::Recv(file, length, flags) => Simple::Recv(at(file), length, flags),
        Simple::Send(file, length, flags) => Simple::Send(at(file), length, flags),
        Simple::Poll(file, events) => Simple::Poll(at(file), events),
        Simple::Fsync(file) => Simple::Fsync(at(file)),
        Simple::Shutdown(file, how) => Simple::Shutdown(at(file), how),
        Simple::Accept(file) => Simple::Accept(at(file)),
        ref other => other.clone(),
    };
    match step {
        Step::Simple(one) => Step::Simple(simple(one)),
        Step::Chain(members) => {
            let members = members
                .iter()
                .map(|(member, is_hard)| (simple(member), *is_hard));
            Step::Chain(members.collect())
        }
        Step::ReadVectored(file, parts, offset) => {
            Step::ReadVectored(at(*file), parts.clone(), *offset)
        }
        Step::WriteVectored(file, parts, offset) => {
            Step::WriteVectored(at(*file), parts.clone(), *offset)
        }
        Step::RecvMulti(file) => Step::RecvMulti(at(*file)),
        Step::PollMulti(file, events) => Step::PollMulti(at(*file), *events),
        Step::AcceptMulti(file) => Step::AcceptMulti(at(*file)),
        Step::Splice(from, to, length) => Step::Splice(at(*from), at(*to), *length),
        Step::CancelOn(file) => Step::CancelOn(at(*file)),
        Step::Close(file) => Step::Close(at(*file)),
        other => other.clone(),
    }
}

impl Pair {
    fn new() -> Self {
        Self {
            ring: Side::new(),
            fake: Side::new(),
            next: 0,
            busy: BTreeMap::new(),
            listeners: BTreeSet::new(),
        }
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let step = within(step, self.fake.files.len());
        if self.is_left_out(&step) {
            return Ok(());
        }
        let id = self.next;
        self.next += 8;
        let done = self.fake.step(id, &step);
        for _ in 0..4 {
            self.fake.turn(Duration::ZERO);
        }
        // A splice that has to wait is a thread that waits, in a kernel: cancelling it is a signal.
        if let (Step::Splice(..), Some(&op)) = (&step, self.fake.ops.get(&id))
            && self.fake.event_loop.contains(op)
        {
            self.fake.event_loop.cancel(op);
            self.fake.turn(Duration::ZERO);
            self.fake
                .event_loop
                .state
                .lines
                .retain(|(other, _)| *other != id);
            self.fake.take_in();
            return self.compare(&step);
        }
        prop_assert_eq!(self.ring.step(id, &step), done);
        if matches!(step, Step::Listener) {
            self.listeners.insert(self.fake.files.len() - 1);
        }
        for file in waits_on(&step) {
            self.busy.entry(id).or_default().push(file);
        }
        self.compare(&step)
    }

    /// What a kernel leaves open.
    fn is_left_out(&self, step: &Step) -> bool {
        let makes = matches!(
            step,
            Step::Pipe | Step::Sockets | Step::Listener | Step::Connect(_)
        );
        let waits_on = waits_on(step);
        let is_twice = (1..waits_on.len()).any(|at| waits_on[..at].contains(&waits_on[at]));
        let is_busy = self
            .busy
            .values()
            .flatten()
            .any(|file| waits_on.contains(file));
        let shuts = |simple: &Simple| matches!(simple, Simple::Shutdown(file, _) if self.listeners.contains(file));
        let shuts_listener = match step {
            Step::Simple(simple) => shuts(simple),
            Step::Chain(members) => members.iter().any(|(member, _)| shuts(member)),
            _ => false,
        };
        makes && self.fake.files.len() >= FILES_MAX
            || is_busy
            || shuts_listener
            || is_twice && matches!(step, Step::Splice(..))
    }

    /// Both loops have turned until nothing moves, and have told the same.
    fn compare(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let count = |lines: &[(usize, String)]| lines.len();
        let expected = count(&self.fake.event_loop.state.lines);
        // A kernel tries some operations again a hundred times before they wait where a cancel finds them, each in a turn
        // of its own, which takes no time.
        let patience = Instant::now();
        while count(&self.ring.event_loop.state.lines) < expected && patience.elapsed() < PATIENCE {
            self.ring.turn(Duration::from_millis(100));
        }
        for _ in 0..2 {
            self.ring.turn(Duration::ZERO);
        }
        let mut fake = std::mem::take(&mut self.fake.event_loop.state.lines);
        let mut ring = std::mem::take(&mut self.ring.event_loop.state.lines);
        fake.sort_by_key(|(id, _)| *id);
        ring.sort_by_key(|(id, _)| *id);
        prop_assert_eq!(ring, fake, "the ring, and the fake, at {:?}", step);
        self.ring.take_in();
        self.fake.take_in();
        prop_assert_eq!(self.ring.files.len(), self.fake.files.len());
        let fake: Vec<_> = self.fake.ops.keys().collect();
        let ring: Vec<_> = self.ring.ops.keys().collect();
        prop_assert_eq!(
            ring,
            fake,
            "what waits on the ring, and on the fake, at {:?}",
            step
        );
        let ops = &self.fake.ops;
        // A chain waits under the number of its first member.
        self.busy
            .retain(|id, _| (0..8).any(|member| ops.contains_key(&(id + member))));
        Ok(())
    }
}

fn programs(cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let program = prop::collection::vec(step(), 1..60);
    // The same programs in every run: what is random belongs into a fuzzer, or a longer run by hand.
    let random = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, random);
    let done = runner.run(&program, |steps| {
        let mut pair = Pair::new();
        for step in &steps {
            pair.run(step)?;
        }
        pair.ring.end();
        pair.fake.end();
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}

#[test]
fn f1_what_comes_of_operations_is_what_a_kernel_says() {
    OnRing::run("f1_what_comes_of_operations_is_what_a_kernel_says", || {
        // The youngest of the operations.
        let ring = OnRing::looping(());
        if !ring.capabilities().supports(Code::Bind) {
            eprintln!(
                "skipped: the kernel lacks {} ({})",
                Code::Bind.name(),
                Code::Bind.since()
            );
            return;
        }
        drop(ring);
        programs(150);
    });
}
