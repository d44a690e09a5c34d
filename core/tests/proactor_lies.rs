//! INV-PBACKEND-1: whatever a backend answers, the engine neither panics, nor settles an operation twice, nor loses what it
//! was given: buffers, descriptors, leases.

use core::net::SocketAddr;
use core::ops::Deref;
use core::time::Duration;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::handle::{File, Handle, Op, Tag};
use linux_event_core::pid::ExitStatus;
use linux_event_core::proactor::{
    self, Carried, Code, Counters, Event, FixedBuffer, FixedFile, Group, How, Link, Payload,
    PollEvents, Popped, Proactor, Refused, Report, Request, Shutdown, Simulated, Stat,
    VectoredRequest, Vectors, Vouched, op,
};
use linux_event_core::reactor;
use linux_event_core::reactor::backend::{SIGNAL, TIMER, WAKEUP};
use linux_event_core::signal::{SignalCounts, SignalSet};
use linux_event_core::sys::{AsRawFd, RawFd};

/// Small and the same everywhere: xorshift.
struct Random(Cell<u64>);

impl Random {
    fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Something that must come home: it counts itself in and out.
#[derive(Debug)]
struct Thing(Rc<Cell<usize>>);

impl Thing {
    fn new(out: &Rc<Cell<usize>>) -> Self {
        out.set(out.get() + 1);
        Self(Rc::clone(out))
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl AsRawFd for Thing {
    fn as_raw_fd(&self) -> RawFd {
        3
    }
}

impl Deref for Thing {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &[]
    }
}

/// Answers whatever comes to its mind.
struct Liar {
    random: Random,
    out: Rc<Cell<usize>>,
    /// Every token it was ever given, also those that are stale by now.
    tokens: RefCell<Vec<u64>>,
    held: Vec<Thing>,
    left: u64,
}

impl Liar {
    fn error(&self) -> Result<(), Error> {
        match self.random.below(12) {
            0 => Err(Error::from_call(Call::IoUringEnter, Errno::EAGAIN)),
            1 => Err(Error::Full { capacity: 1 }),
            2 => Err(Error::Invalid("a lie")),
            _ => Ok(()),
        }
    }

    fn token(&self) -> u64 {
        let tokens = self.tokens.borrow();
        match self.random.below(16) {
            0 => self.random.next(),
            1 => 0,
            2 => Handle::new(self.random.below(9) as u32, Tag::Operation, 7).raw(),
            3 => Handle::new(self.random.below(9) as u32, Tag::File, 7).raw(),
            _ if tokens.is_empty() => 1,
            _ => tokens[self.random.below(tokens.len() as u64) as usize],
        }
    }

    fn thing(&self) -> Thing {
        Thing::new(&self.out)
    }
}

impl reactor::Backend for Liar {
    type Process = Thing;

    fn now(&self) -> Instant {
        Instant::from_nanos(match self.random.below(40) {
            0 => u64::MAX,
            1 => 0,
            _ => self.random.below(100),
        })
    }
    fn is_owner(&self) -> bool {
        !self.random.one_in(300)
    }
    fn add(&mut self, _: RawFd, _: u32, token: Handle) -> Result<(), Errno> {
        self.tokens.borrow_mut().push(token.raw());
        self.error().map_err(|_| Errno::ENOMEM)
    }
    fn modify(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn remove(&mut self, _: RawFd) -> Result<(), Errno> {
        self.error().map_err(|_| Errno::ENOENT)
    }
    fn rebuild(&mut self) -> Result<(), Error> {
        self.error()
    }
    fn wait(&mut self, _: Option<Instant>, _: Option<Duration>) -> Result<(), Error> {
        self.left = self.random.below(12);
        self.error()
    }
    fn next(&mut self) -> Option<reactor::Report> {
        None
    }
    fn has_next(&self) -> bool {
        self.random.one_in(2)
    }
    fn arm(&mut self, _: Option<Instant>) -> Result<(), Error> {
        self.error()
    }
    fn take_wakes(&mut self) -> u64 {
        self.random.below(3)
    }
    fn set_signals(&mut self, _: SignalSet) -> Result<(), Error> {
        self.error()
    }
    fn take_signals(&mut self, _: &mut SignalCounts) -> Result<(), Error> {
        self.error()
    }
    fn open_process(&mut self, _: i32) -> Result<Thing, Error> {
        self.error().map(|()| self.thing())
    }
    fn process_status(&mut self, _: &Thing, _: bool) -> Result<Option<ExitStatus>, Errno> {
        self.error().map(|()| None).map_err(|_| Errno::EAGAIN)
    }
}

impl Simulated for Liar {}

impl proactor::Backend for Liar {
    type Buf = Thing;
    type Fd = Thing;
    type Lease = Thing;

    fn reserve(&mut self, _: usize) -> Result<(), Error> {
        Ok(())
    }
    fn check(&self, _: &Request<Thing>) -> Result<(), Error> {
        self.error()
    }
    fn push(
        &mut self,
        token: Handle,
        request: Request<Thing>,
        _: Vouched<Self>,
    ) -> Result<(), Refused<Thing>> {
        self.tokens.borrow_mut().push(token.raw());
        let buffer = request.buffer;
        match self.error() {
            Ok(()) => self.held.extend(buffer),
            Err(error) => return Err(Refused { error, buffer }),
        }
        Ok(())
    }
    fn push_vectored(
        &mut self,
        token: Handle,
        request: VectoredRequest<Thing>,
        _: Vouched<Self>,
    ) -> Result<(), (Error, Vectors<Thing>)> {
        self.tokens.borrow_mut().push(token.raw());
        match self.error() {
            Ok(()) => self.held.extend(request.buffers),
            Err(error) => return Err((error, request.buffers)),
        }
        Ok(())
    }
    fn push_close(&mut self, token: Handle, fd: Thing, _: Link) -> Result<(), (Error, Thing)> {
        self.tokens.borrow_mut().push(token.raw());
        match self.error() {
            Ok(()) => self.held.push(fd),
            Err(error) => return Err((error, fd)),
        }
        Ok(())
    }
    fn make_room(&mut self, _: usize) -> Result<(), Error> {
        self.error()
    }
    fn end_chain(&mut self) {}
    fn cancel(&mut self, _: Handle) -> Result<(), Error> {
        self.error()
    }
    fn flush(&mut self) -> Result<(), Error> {
        self.error()
    }
    fn pop(&mut self) -> Option<Popped<Thing, Thing>> {
        self.left = self.left.checked_sub(1)?;
        if self.random.one_in(6) {
            let token = match self.random.below(4) {
                0 => WAKEUP.raw(),
                1 => SIGNAL.raw(),
                2 => TIMER.raw(),
                _ => self.token(),
            };
            let events = self.random.next() as u32;
            return Some(Popped::Ready(reactor::Report { token, events }));
        }
        if self.random.one_in(3) {
            let buffer = self.random.one_in(2).then(|| self.thing());
            return Some(Popped::Plain {
                token: self.token(),
                result: self.random.next() as i32,
                buffer,
            });
        }
        Some(Popped::Report(Report {
            token: self.token(),
            result: self.random.next() as i32,
            more: self.random.one_in(3),
            carried: match self.random.below(5) {
                0 => Carried::Vectors,
                1 => Carried::Descriptor,
                2 => Carried::Lease(self.thing()),
                3 => Carried::Buffer(self.thing()),
                _ => Carried::Nothing,
            },
        }))
    }
    fn take_descriptor(&mut self) -> Option<Thing> {
        self.random.one_in(2).then(|| self.thing())
    }
    fn take_vectors(&mut self) -> Vectors<Thing> {
        (0..self.random.below(9)).map(|_| self.thing()).collect()
    }
    fn address(&self, _: Handle) -> Option<SocketAddr> {
        None
    }
    fn stat(&self, _: Handle) -> Option<Stat> {
        None
    }
    fn exit_info(&self, _: Handle) -> Option<ExitStatus> {
        None
    }
    fn provide(&mut self, _: u16, _: u32) -> Result<Group, Error> {
        self.error().map(|()| Group::new(self.random.next() as u16))
    }
    fn withdraw(&mut self, _: Group) -> Result<(), Error> {
        self.error()
    }
    fn register_files(&mut self, _: u32) -> Result<(), Error> {
        self.error()
    }
    fn install(&mut self, _: &Thing) -> Result<FixedFile, Error> {
        Err(Error::Invalid("there are no slots"))
    }
    fn uninstall(&mut self, _: FixedFile) -> Result<(), Error> {
        self.error()
    }
    fn register_buffers(&mut self, buffers: Vectors<Thing>) -> Result<(), (Error, Vectors<Thing>)> {
        self.error().map_err(|error| (error, buffers))
    }
    fn fixed(&mut self, _: FixedBuffer) -> Option<&mut [u8]> {
        None
    }
    fn unregister_buffers(&mut self) -> Result<Vectors<Thing>, Error> {
        self.error().map(|()| self.take_vectors())
    }
    fn shut_down(&mut self, _: Duration) -> Shutdown {
        Shutdown::default()
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// What the test knows: which operations have not settled, by what the proactor told.
struct World {
    proactor: Proactor<Thing, u64, 8, 4, Liar>,
    out: Rc<Cell<usize>>,
    pending: BTreeSet<Op>,
    detached: BTreeSet<Op>,
    files: Vec<File>,
}

impl World {
    fn new(seed: u64) -> Self {
        let out = Rc::new(Cell::new(0));
        let liar = Liar {
            random: Random(Cell::new(seed | 1)),
            out: Rc::clone(&out),
            tokens: RefCell::default(),
            held: Vec::new(),
            left: 0,
        };
        Self {
            proactor: Proactor::new(liar).unwrap(),
            out,
            pending: BTreeSet::new(),
            detached: BTreeSet::new(),
            files: Vec::new(),
        }
    }

    fn thing(&self) -> Thing {
        Thing::new(&self.out)
    }

    fn submitted(&mut self, result: Result<Op, Error>) {
        if let Ok(op) = result {
            assert!(self.pending.insert(op), "a handle was given out twice");
        }
    }

    fn submit(&mut self, random: &Random) {
        let file = |files: &[File]| match files.len() as u64 {
            0 => None,
            count => Some(files[random.below(count) as usize]),
        };
        let Some(first) = file(&self.files) else {
            let op = self.proactor.submit(op::nop(), 1).map_err(Error::from);
            return self.submitted(op);
        };
        let buffer = self.thing();
        let proactor = &mut self.proactor;
        let result = match random.below(12) {
            0 => proactor.submit(op::nop(), 2),
            1 => proactor.submit(op::read(first, buffer).at(3), 3),
            2 => proactor.submit(op::send(first, buffer), 4),
            3 => proactor.submit(op::accept_multi(first), 5),
            4 => proactor.submit(op::recv_multi(first, Group::new(1)), 6),
            5 => proactor.submit(op::poll(first, PollEvents::IN), 7),
            6 => proactor.submit(op::splice(first, self.files[0], 9), 8),
            7 => proactor.submit(op::shutdown(first, How::Both), 9),
            8 => proactor.submit(op::read_fixed(first, FixedBuffer::new(3), 0, 1), 10),
            9 => proactor.submit(op::read_fixed(first, FixedBuffer::new(99), 0, 1), 11),
            10 => {
                let result = proactor
                    .submit_vectored(op::read_vectored(first, [buffer].into_iter().collect()), 12);
                return self.submitted(result.map_err(|(error, _)| error));
            }
            _ => {
                let closing = random.one_in(2);
                let members = [
                    (op::write(first, buffer).link().into(), 13),
                    (op::fsync(first).hard_link().into(), 14),
                    if closing {
                        (op::close(first).into(), 15)
                    } else {
                        (op::nop().into(), 15)
                    },
                ];
                match proactor.submit_chain(members) {
                    Ok(ops) => ops.into_iter().for_each(|op| self.submitted(Ok(op))),
                    // What of it the liar took settles unheard.
                    Err(refused) => drop(refused),
                }
                return;
            }
        };
        self.submitted(result.map_err(Error::from));
    }

    fn turn(&mut self) {
        let _ = self.proactor.wait(Some(Duration::ZERO));
        for _ in 0..40 {
            let Some(event) = self.proactor.next() else {
                return;
            };
            let Event::Completion(completion) = event else {
                continue;
            };
            let op = completion.op;
            if completion.more {
                assert!(self.pending.contains(&op), "more of what has settled");
            } else {
                assert!(
                    self.pending.remove(&op),
                    "settled twice, or never submitted"
                );
            }
            assert!(!self.detached.contains(&op), "told of what was detached");
            if let Payload::Descriptor(fd) = completion.payload
                && let Ok(file) = self.proactor.adopt(fd)
            {
                self.files.push(file);
            }
        }
    }

    fn step(&mut self, random: &Random) {
        let op = self.pending.iter().nth(random.below(8) as usize).copied();
        match random.below(16) {
            0..5 => self.submit(random),
            5 => {
                if let Ok(file) = self.proactor.adopt(self.thing()) {
                    self.files.push(file);
                }
            }
            6 => {
                if let Some(op) = op {
                    self.proactor.cancel(op);
                }
            }
            7 => {
                if let Some(op) = op
                    && self.proactor.detach(op)
                {
                    self.detached.insert(op);
                    self.pending.remove(&op);
                }
            }
            8 => {
                let closed = self.files.pop().map(|file| self.proactor.close(file, 20));
                if let Some(result) = closed {
                    self.submitted(result);
                }
            }
            9 => {
                if let Some(file) = self.files.pop()
                    && matches!(self.proactor.release(file), Err(Error::Busy))
                {
                    self.files.push(file);
                }
            }
            10 => {
                self.proactor.cancel_all();
            }
            11 => {
                if let Some(&file) = self.files.first() {
                    self.proactor.cancel_on(file);
                }
            }
            12 => {
                let _ = self.proactor.after(Duration::from_nanos(5), 30);
                let _ = self.proactor.process(7, true, 31);
                let _ = self.proactor.fixed(FixedBuffer::new(3)).is_ok();
                let _ = self.proactor.unregister_buffers();
            }
            _ => self.turn(),
        }
        assert!(self.proactor.operations() <= 8);
        assert!(self.proactor.live() >= self.proactor.operations());
    }
}

#[test]
fn p3_an_operation_settles_once_whatever_the_backend_says() {
    let seeds = if cfg!(miri) { 3 } else { 400 };
    for seed in 1..=seeds {
        let mut world = World::new(seed * 0x9E37_79B9);
        let random = Random(Cell::new(seed * 77 + 1));
        for _ in 0..if cfg!(miri) { 60 } else { 500 } {
            world.step(&random);
        }
        let out = Rc::clone(&world.out);
        drop(world);
        assert_eq!(out.get(), 0, "seed {seed}: something did not come home");
    }
}

#[test]
fn p10_a_chain_that_is_refused_comes_back_whole() {
    let out = Rc::new(Cell::new(0));
    let mut world = World::new(3);
    let file = loop {
        if let Ok(file) = world.proactor.adopt(Thing::new(&out)) {
            break file;
        }
    };
    for _ in 0..200 {
        let members = [(); 9].map(|()| (op::write(file, Thing::new(&out)).into(), 0));
        let Err(refused) = world.proactor.submit_chain(members) else {
            panic!("nine members in eight slots");
        };
        assert_eq!(refused.requests.len(), 9);
        for request in refused.requests {
            assert!(request.code() == Code::Write && request.buffer.is_some());
        }
        assert_eq!(world.proactor.operations(), 0);
    }
}
