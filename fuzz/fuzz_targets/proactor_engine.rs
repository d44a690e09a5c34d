//! The proactor engine on the fake against an oracle: a plain map of what was submitted.
//!
//! Whatever is submitted, chained, cancelled, detached, closed, held, failed, shortened, reordered and delayed: an operation
//! settles exactly once, and never inside a call (P-2, P-3); what is cancelled or detached still settles (P-4, P-7); a handle
//! never reaches a newer operation (P-4); the bytes that were written into a pipe come out in order, each once (P-5); every
//! buffer, descriptor and lease comes home (P-6, P-16); a chain is taken whole or refused whole (P-10).
#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use linux_event::Buffer;
use linux_event::fake::{Decision, Fake, FakeFd, FakeLease};
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{File, Op, TimerId};
use linux_event_core::proactor::{Event, Group, Payload, PollEvents, Proactor, Request, op};

const OPERATIONS: usize = 12;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Nop,
    /// From the socket that the test writes to.
    Recv,
    RecvMulti,
    /// Into the pipe that the test reads from.
    Write(u8),
    Poll,
    PollMulti,
    Timed(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Submit(Kind),
    Chain(Kind, Kind, Kind, u8),
    Cancel(u8),
    CancelStale(u8),
    CancelAll,
    CancelOn(u8),
    Detach(u8),
    Close(u8),
    Release(u8),
    Pair,
    /// The other end sends so many bytes.
    Send(u8, u8),
    HangUp(u8),
    DropLeases(u8),
    After(u8),
    CancelTimer(u8),
    Hold(bool),
    Complete(u8),
    Fail(u8),
    Flush,
    CancelLoses,
    Turn,
    /// A turn of which only so many events are taken.
    PartOfATurn(u8),
}

#[derive(Arbitrary, Debug)]
struct Input {
    steps: Vec<Step>,
    /// What becomes of operations, in the order in which they start.
    script: Vec<u8>,
}

/// A connection: the proactor's end, the test's, and what is still to be received of what the test sent.
#[derive(Clone, Copy)]
struct Pair {
    file: File,
    other: FakeFd,
}

struct World {
    proactor: Proactor<Buffer, u64, OPERATIONS, 8, Fake>,
    group: Group,
    pairs: Vec<Pair>,
    /// Operations that have not settled, by what the proactor told; true for detached ones, of which nothing is told.
    pending: BTreeMap<Op, bool>,
    settled: Vec<Op>,
    leases: Vec<FakeLease>,
    timers: Vec<TimerId>,
    next: u64,
}

fn pick<T: Copy>(items: &[T], index: u8) -> Option<T> {
    items.get(usize::from(index) % items.len().max(1)).copied()
}

impl World {
    fn new(script: Vec<u8>) -> Self {
        let mut fake = Fake::new();
        let mut script = script.into_iter();
        fake.script(move |_| match script.next() {
            None | Some(0..=119) => Decision::Perform,
            Some(count @ 120..=159) => Decision::Shorten(usize::from(count - 119)),
            Some(delay @ 160..=191) => {
                Decision::Delay(Duration::from_millis(u64::from(delay - 160)))
            }
            Some(192..=219) => Decision::Hold,
            Some(220..=234) => Decision::Stubborn,
            Some(_) => Decision::Fail(Errno::EIO),
        });
        let mut proactor = Proactor::new(fake).unwrap();
        let group = proactor.provide(4, 8).unwrap();
        Self {
            proactor,
            group,
            pairs: Vec::new(),
            pending: BTreeMap::new(),
            settled: Vec::new(),
            leases: Vec::new(),
            timers: Vec::new(),
            next: 0,
        }
    }

    fn pair(&mut self) {
        if self.pairs.len() >= 4 {
            return;
        }
        let (one, other) = self.proactor.backend_mut().socketpair().unwrap();
        let owned = self.proactor.backend().own(one);
        match self.proactor.adopt(owned) {
            Ok(file) => self.pairs.push(Pair { file, other }),
            Err((error, _)) => {
                assert!(matches!(error, Error::Full { .. }));
                self.proactor.backend_mut().close(other).unwrap();
            }
        }
    }

    fn request(&mut self, kind: Kind) -> Request<Buffer> {
        self.next += 1;
        let Some(pair) = pick(&self.pairs, self.next as u8) else {
            return op::nop().into();
        };
        match kind {
            Kind::Nop => op::nop().into(),
            Kind::Recv => op::recv(pair.file, Buffer::with_capacity(8)).into(),
            Kind::RecvMulti => op::recv_multi(pair.file, self.group).into(),
            Kind::Write(count) => {
                let bytes = vec![count; usize::from(count % 16) + 1];
                op::send(pair.file, Buffer::from(bytes)).into()
            }
            Kind::Poll => op::poll(pair.file, PollEvents::IN).into(),
            Kind::PollMulti => op::poll_multi(pair.file, PollEvents::IN).into(),
            Kind::Timed(millis) => op::recv(pair.file, Buffer::with_capacity(4))
                .timeout(Duration::from_millis(u64::from(millis)))
                .into(),
        }
    }

    fn submitted(&mut self, op: Op) {
        assert!(self.pending.insert(op, false).is_none(), "given out twice");
        assert!(!self.settled.contains(&op), "an old handle again");
        assert!(self.proactor.contains(op), "settled inside the call");
    }

    fn nth(&self, index: u8) -> Option<Op> {
        let ops: Vec<_> = self.pending.keys().copied().collect();
        pick(&ops, index)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit(kind) => {
                let request = self.request(kind);
                let has_buffer = request.buffer.is_some();
                match self.proactor.submit(request, self.next) {
                    Ok(op) => self.submitted(op),
                    Err(refused) => assert_eq!(refused.buffer.is_some(), has_buffer),
                }
            }
            Step::Chain(first, second, third, hard) => {
                let mut members = [first, second, third].map(|kind| (self.request(kind), 0));
                if hard & 1 != 0 {
                    members[0].0 = op::nop().hard_link().into();
                }
                match self.proactor.submit_chain(members) {
                    Ok(ops) => ops.into_iter().for_each(|op| self.submitted(op)),
                    Err(refused) => assert_eq!(refused.requests.len(), 3),
                }
            }
            Step::Cancel(index) => {
                if let Some(op) = self.nth(index) {
                    assert!(self.proactor.cancel(op), "it has not settled");
                    assert!(self.proactor.contains(op), "cancelled inside the call");
                }
            }
            Step::CancelStale(index) => {
                if let Some(op) = pick(&self.settled, index) {
                    assert!(!self.proactor.cancel(op) && !self.proactor.detach(op));
                    assert!(!self.proactor.contains(op) && !self.proactor.set_counted(op, false));
                }
            }
            Step::CancelAll => {
                assert_eq!(self.proactor.cancel_all(), self.proactor.operations());
            }
            Step::CancelOn(index) => {
                if let Some(pair) = pick(&self.pairs, index) {
                    self.proactor.cancel_on(pair.file);
                }
            }
            Step::Detach(index) => {
                if let Some(op) = self.nth(index)
                    && self.proactor.detach(op)
                {
                    self.pending.insert(op, true);
                }
            }
            Step::Close(index) => {
                if self.pairs.is_empty() {
                    return;
                }
                let pair = self.pairs[usize::from(index) % self.pairs.len()];
                match self.proactor.close(pair.file, 0) {
                    Ok(op) => {
                        self.submitted(op);
                        self.forget(pair);
                    }
                    Err(error) => assert!(matches!(error, Error::Full { .. })),
                }
            }
            Step::Release(index) => {
                if let Some(pair) = pick(&self.pairs, index) {
                    match self.proactor.release(pair.file) {
                        Ok(fd) => {
                            drop(fd);
                            self.forget(pair);
                        }
                        Err(error) => assert_eq!(error, Error::Busy),
                    }
                }
            }
            Step::Pair => self.pair(),
            Step::Send(index, count) => {
                if let Some(pair) = pick(&self.pairs, index) {
                    let bytes = vec![7; usize::from(count % 32) + 1];
                    let _ = self.proactor.backend_mut().write(pair.other, &bytes);
                }
            }
            Step::HangUp(index) => {
                if let Some(pair) = pick(&self.pairs, index) {
                    let _ = self.proactor.backend_mut().shutdown_write(pair.other);
                }
            }
            Step::DropLeases(keep) => self.leases.truncate(usize::from(keep % 4)),
            Step::After(millis) => {
                let delay = Duration::from_millis(u64::from(millis));
                if let Ok(timer) = self.proactor.after(delay, 0) {
                    self.timers.push(timer);
                }
            }
            Step::CancelTimer(index) => {
                if let Some(timer) = pick(&self.timers, index) {
                    assert!(self.proactor.cancel(timer) && !self.proactor.cancel(timer));
                    self.timers.retain(|&other| other != timer);
                }
            }
            Step::Hold(holds) => self.proactor.backend_mut().hold(holds),
            Step::Complete(index) => {
                let held = self.held();
                if let Some(op) = pick(&held, index) {
                    let _ = self.proactor.backend_mut().release(op);
                }
            }
            Step::Fail(index) => {
                let held = self.held();
                if let Some(op) = pick(&held, index) {
                    let _ = self.proactor.backend_mut().fail(op, Errno::ECONNRESET);
                }
            }
            Step::Flush => self.proactor.flush().unwrap(),
            Step::CancelLoses => self.proactor.backend_mut().cancel_loses(),
            Step::Turn => self.turn(usize::MAX),
            Step::PartOfATurn(count) => self.turn(usize::from(count % 3)),
        }
        assert_eq!(self.proactor.operations(), self.pending.len());
        let backend = self.proactor.backend();
        assert!(backend.leases_out() == self.leases.len() || backend.pending_operations() > 0);
    }

    fn held(&self) -> Vec<linux_event_core::handle::Handle> {
        let pending = self.proactor.backend().pending();
        pending
            .into_iter()
            .filter(|op| op.is_held)
            .map(Into::into)
            .collect()
    }

    fn forget(&mut self, pair: Pair) {
        self.pairs.retain(|other| other.file != pair.file);
        self.proactor.backend_mut().close(pair.other).unwrap();
    }

    fn turn(&mut self, events: usize) {
        match self.proactor.wait(Some(Duration::from_millis(5))) {
            Ok(()) => {}
            Err(error) => panic!("{error}"),
        }
        for _ in 0..events {
            let Some(event) = self.proactor.next() else {
                break;
            };
            self.heard(event);
        }
        // What was detached settles unheard: the table tells.
        let proactor = &self.proactor;
        let settled = &mut self.settled;
        self.pending.retain(|&op, detached| {
            let is_there = proactor.contains(op);
            assert!(is_there || *detached, "an operation was lost");
            if !is_there {
                settled.push(op);
            }
            is_there
        });
    }

    fn heard(&mut self, event: Event<u64, Fake>) {
        match event {
            Event::Completion(completion) => {
                let op = completion.op;
                assert_eq!(
                    self.pending.get(&op),
                    Some(&false),
                    "told twice, or detached"
                );
                assert_eq!(self.proactor.contains(op), completion.more, "P-3");
                if !completion.more {
                    self.pending.remove(&op);
                    self.settled.push(op);
                }
                match completion.payload {
                    Payload::Lease(lease) => {
                        assert_eq!(lease.len(), completion.result as usize);
                        self.leases.push(lease);
                    }
                    Payload::Buffer(buffer) => {
                        assert!(completion.result <= buffer.capacity() as i32);
                    }
                    _ => {}
                }
            }
            Event::Timer { timer, .. } => {
                assert!(self.timers.contains(&timer), "a timer that was cancelled");
                self.timers.retain(|&other| other != timer);
            }
            other => panic!("{other:?}"),
        }
    }

    fn end(mut self) {
        self.proactor.backend_mut().hold(false);
        self.proactor.backend_mut().end_script();
        for pair in std::mem::take(&mut self.pairs) {
            self.proactor.backend_mut().close(pair.other).unwrap();
            loop {
                match self.proactor.close(pair.file, 0) {
                    Ok(op) => break self.submitted(op),
                    Err(Error::Full { .. }) => {
                        self.proactor.cancel_all();
                        self.settle_held();
                        self.turn(usize::MAX);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        self.leases.clear();
        self.proactor.cancel_all();
        for _ in 0..100 {
            self.settle_held();
            self.turn(usize::MAX);
            if self.pending.is_empty() {
                break;
            }
        }
        assert!(self.pending.is_empty(), "{:?} never settle", self.pending);
        self.leases.clear();
        let backend = self.proactor.backend();
        assert_eq!(
            (backend.pending_operations(), backend.buffers_out()),
            (0, 0)
        );
        assert_eq!((backend.leases_out(), backend.open_descriptors()), (0, 0));
        assert_eq!((self.proactor.operations(), self.proactor.files()), (0, 0));
    }

    /// What the test holds and nobody has cancelled, or what would hear of no cancelling, is let go.
    fn settle_held(&mut self) {
        for op in self.held() {
            let _ = self.proactor.backend_mut().fail(op, Errno::EIO);
        }
        for op in self.proactor.backend().pending() {
            let _ = self.proactor.backend_mut().fail(op, Errno::EIO);
        }
    }
}

fuzz_target!(|input: Input| {
    let mut world = World::new(input.script);
    world.pair();
    for step in input.steps.into_iter().take(200) {
        world.step(step);
    }
    world.end();
});
