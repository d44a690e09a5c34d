//! The fake against the kernel: random scripts run on both, step by step, and every answer must be the same.
//!
//! A script opens pipes, sockets, eventfds and regular files, registers them in every mode, moves bytes, duplicates,
//! shuts down and closes, with stale numbers among the arguments, and waits without waiting. Compared are the result
//! of each call and the sequence of (token, events) of each wait (INV-FAKE-2).
//!
//! Left out is only what depends on the kernel's configuration: how many bytes fill a socket.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linux_event::fake::{Fake, FakeFd};
use linux_event_core::errno::Errno;
use linux_event_core::handle::{Handle, Tag};
use linux_event_core::reactor::{Backend, Epoll};
use linux_event_core::sys::{AsRawFd, Fd, Kernel, Linux, RawFd};
use proptest::prelude::*;

const IN: u32 = 0x1;
const PRI: u32 = 0x2;
const OUT: u32 = 0x4;
const ERR: u32 = 0x8;
const HUP: u32 = 0x10;
const RDHUP: u32 = 0x2000;
const EXCLUSIVE: u32 = 1 << 28;
const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const O_NONBLOCK: i32 = 0o4000;
/// What fills a pipe or a socket, a piece at a time.
const PIECE: [u8; 4096] = [7; 4096];

/// The kernel gives out the lowest free number of the whole process: one test at a time may open any.
static NUMBERS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pipe,
    Sockets,
    Eventfd,
    Regular,
    Add(usize, u32),
    Modify(usize, u32),
    Remove(usize),
    Write(usize, usize),
    Read(usize, usize),
    Fill(usize),
    Drain(usize),
    ShutdownWrite(usize),
    Dup(usize),
    Close(usize),
    Wait,
}

enum Real {
    File(File),
    Socket(UnixStream),
    Eventfd(Fd<Linux>),
    Regular(File),
}

impl Real {
    fn number(&self) -> RawFd {
        match self {
            Self::File(file) | Self::Regular(file) => file.as_raw_fd(),
            Self::Socket(socket) => socket.as_raw_fd(),
            Self::Eventfd(fd) => AsRawFd::as_raw_fd(fd),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => file.read(buffer).map_err(|error| errno(&error)),
            Self::Socket(socket) => socket.read(buffer).map_err(|error| errno(&error)),
            Self::Eventfd(fd) => fd.read(buffer),
            Self::Regular(_) => Ok(0),
        }
    }

    fn write(&mut self, buffer: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => file.write(buffer).map_err(|error| errno(&error)),
            Self::Socket(socket) => socket.write(buffer).map_err(|error| errno(&error)),
            Self::Eventfd(fd) => fd.write(buffer),
            Self::Regular(_) => Ok(buffer.len()),
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0)).expect("an error of the kernel")
}

/// A real pipe whose ends don't block, at the two lowest numbers.
fn real_pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    let path = |number| format!("/proc/self/fd/{number}");
    let mut options = OpenOptions::new();
    options.custom_flags(O_NONBLOCK);
    let fresh_reader = options
        .clone()
        .read(true)
        .open(path(reader.as_raw_fd()))
        .unwrap();
    let fresh_writer = options.write(true).open(path(writer.as_raw_fd())).unwrap();
    let lowest = |old: OwnedFd, fresh: File| {
        let number = old.as_raw_fd();
        drop(old);
        let placed = File::from(fresh.as_fd().try_clone_to_owned().unwrap());
        assert_eq!(placed.as_raw_fd(), number, "another thread opens files");
        placed
    };
    let reader = lowest(reader.into(), fresh_reader);
    let writer = lowest(writer.into(), fresh_writer);
    (reader, writer)
}

/// An open number on both sides.
struct Slot {
    fake: FakeFd,
    real: Real,
    /// Which pipe or pair it is an end of, and which end.
    group: usize,
    end: usize,
}

struct Both {
    fake: Fake,
    epoll: Epoll,
    slots: Vec<Slot>,
    /// Every pair of numbers that ever went together: (fake, real).
    numbers: Vec<(RawFd, RawFd)>,
    groups: usize,
    /// The (group, writing end)s that were written until nothing more went in.
    full: BTreeSet<(usize, usize)>,
    tokens: u32,
}

impl Both {
    fn new() -> Self {
        Self {
            fake: Fake::new(),
            epoll: Epoll::new().unwrap(),
            slots: Vec::new(),
            numbers: Vec::new(),
            groups: 0,
            full: BTreeSet::new(),
            tokens: 0,
        }
    }

    fn open(&mut self, fake: FakeFd, real: Real, end: usize) {
        self.insert(fake, real, self.groups, end);
    }

    fn insert(&mut self, fake: FakeFd, real: Real, group: usize, end: usize) {
        let pair = (fake.as_raw_fd(), real.number());
        for known in &self.numbers {
            let (same_fake, same_real) = (known.0 == pair.0, known.1 == pair.1);
            assert_eq!(
                same_fake, same_real,
                "numbers are reused alike: {known:?} {pair:?}"
            );
        }
        if !self.numbers.contains(&pair) {
            self.numbers.push(pair);
        }
        self.slots.push(Slot {
            fake,
            real,
            group,
            end,
        });
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Pipe | Step::Sockets | Step::Eventfd | Step::Regular => {
                if self.slots.len() < 8 {
                    self.open_some(step);
                }
            }
            Step::Add(at, events) | Step::Modify(at, events) => {
                let Some((fake, real)) = self.number(at) else {
                    return Ok(());
                };
                self.tokens += 1;
                let token = Handle::new(self.tokens, Tag::Watcher, 1);
                let done = if matches!(step, Step::Add(..)) {
                    let real = self.epoll.add(real, events, token);
                    (self.fake.add(fake, events, token), real)
                } else {
                    let real = self.epoll.modify(real, events, token);
                    (self.fake.modify(fake, events, token), real)
                };
                prop_assert_eq!(done.0, done.1);
            }
            Step::Remove(at) => {
                if let Some((fake, real)) = self.number(at) {
                    prop_assert_eq!(self.fake.remove(fake), self.epoll.remove(real));
                }
            }
            Step::Wait => self.wait()?,
            Step::Dup(at) if self.slots.len() < 8 => self.dup(at),
            Step::Close(at) => {
                if let Some(at) = self.slot(at) {
                    let slot = self.slots.remove(at);
                    self.fake.close(slot.fake).unwrap();
                    drop(slot.real);
                }
            }
            Step::ShutdownWrite(at) => {
                if let Some(at) = self.slot(at)
                    && let Real::Socket(socket) = &self.slots[at].real
                {
                    // The kernel refuses to shut down twice what has no peer; so it says ENOTCONN or nothing.
                    let _ = socket.shutdown(Shutdown::Write);
                    self.fake.shutdown_write(self.slots[at].fake).unwrap();
                }
            }
            Step::Write(at, len) => self.write(at, len)?,
            Step::Read(at, len) => self.read(at, len)?,
            Step::Fill(at) => self.fill(at)?,
            Step::Drain(at) => self.drain(at)?,
            Step::Dup(_) => {}
        }
        Ok(())
    }

    fn open_some(&mut self, step: Step) {
        self.groups += 1;
        match step {
            Step::Pipe => {
                let (reader, writer) = real_pipe();
                let (fake_reader, fake_writer) = self.fake.pipe().unwrap();
                self.open(fake_reader, Real::File(reader), 1);
                self.open(fake_writer, Real::File(writer), 0);
            }
            Step::Sockets => {
                let (one, other) = UnixStream::pair().unwrap();
                one.set_nonblocking(true).unwrap();
                other.set_nonblocking(true).unwrap();
                let (fake_one, fake_other) = self.fake.socketpair().unwrap();
                self.open(fake_one, Real::Socket(one), 0);
                self.open(fake_other, Real::Socket(other), 1);
            }
            Step::Eventfd => {
                let eventfd = Linux.eventfd().unwrap();
                let fake = self.fake.eventfd().unwrap();
                self.open(fake, Real::Eventfd(eventfd), 0);
            }
            _ => {
                let file = File::open("/proc/self/exe").unwrap();
                let fake = self.fake.regular_file().unwrap();
                self.open(fake, Real::Regular(file), 0);
            }
        }
    }

    fn dup(&mut self, at: usize) {
        let Some(at) = self.slot(at) else {
            return;
        };
        let slot = &self.slots[at];
        let real = match &slot.real {
            Real::File(file) => Real::File(file.try_clone().unwrap()),
            Real::Regular(file) => Real::Regular(file.try_clone().unwrap()),
            Real::Socket(socket) => Real::Socket(socket.try_clone().unwrap()),
            Real::Eventfd(_) => return,
        };
        let (group, end) = (slot.group, slot.end);
        let fake = self.fake.dup(slot.fake).unwrap();
        self.insert(fake, real, group, end);
    }

    fn wait(&mut self) -> Result<(), TestCaseError> {
        self.epoll.wait(None, Some(Duration::ZERO)).unwrap();
        self.fake.wait(None, Some(Duration::ZERO)).unwrap();
        loop {
            let (fake, real) = (self.fake.next(), self.epoll.next());
            prop_assert_eq!(fake, real);
            if fake.is_none() {
                return Ok(());
            }
        }
    }

    fn write(&mut self, at: usize, len: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        if self.full.contains(&(slot.group, slot.end)) {
            return Ok(());
        }
        let bytes = if matches!(slot.real, Real::Eventfd(_)) {
            // 8 bytes of 0xff are refused, of 0x7f fill the eventfd in three.
            vec![if len > 48 { 0x7f } else { 1 }; len.clamp(7, 8)]
        } else {
            vec![1; len]
        };
        let real = slot.real.write(&bytes);
        prop_assert_eq!(self.fake.write(slot.fake, &bytes), real);
        Ok(())
    }

    fn read(&mut self, at: usize, len: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        let (mut fake, mut real) = (vec![0; len], vec![0; len]);
        let read = slot.real.read(&mut real);
        prop_assert_eq!(self.fake.read(slot.fake, &mut fake), read);
        prop_assert_eq!(fake, real);
        Ok(())
    }

    fn fill(&mut self, at: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        if !matches!(slot.real, Real::File(_) | Real::Socket(_))
            || !self.full.insert((slot.group, slot.end))
        {
            return Ok(());
        }
        let real = loop {
            if let Err(errno) = slot.real.write(&PIECE) {
                break errno;
            }
        };
        let fake = loop {
            if let Err(errno) = self.fake.write(slot.fake, &PIECE) {
                break errno;
            }
        };
        prop_assert_eq!(fake, real);
        Ok(())
    }

    fn drain(&mut self, at: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        let mut buffer = [0; 8192];
        let real = loop {
            let read = slot.real.read(&mut buffer);
            if !matches!(read, Ok(1..)) {
                break read;
            }
        };
        let fake = loop {
            let read = self.fake.read(slot.fake, &mut buffer);
            if !matches!(read, Ok(1..)) {
                break read;
            }
        };
        prop_assert_eq!(fake, real);
        self.full.remove(&(slot.group, 1 - slot.end));
        Ok(())
    }

    fn slot(&self, at: usize) -> Option<usize> {
        (!self.slots.is_empty()).then(|| at % self.slots.len())
    }

    /// A pair of numbers: mostly of what is open, sometimes any.
    fn number(&self, at: usize) -> Option<(RawFd, RawFd)> {
        if at % 8 == 7 || self.slots.is_empty() {
            return (!self.numbers.is_empty()).then(|| self.numbers[at / 8 % self.numbers.len()]);
        }
        let slot = &self.slots[self.slot(at)?];
        Some((slot.fake.as_raw_fd(), slot.real.number()))
    }
}

fn events() -> impl Strategy<Value = u32> {
    let asked = prop_oneof![
        4 => Just(IN),
        3 => Just(OUT),
        3 => Just(IN | OUT),
        1 => Just(0),
        1 => Just(RDHUP),
        1 => Just(IN | RDHUP),
        1 => Just(PRI),
        1 => Just(ERR),
        1 => Just(HUP | ERR),
        1 => Just(IN | OUT | PRI | RDHUP),
    ];
    let mode = prop_oneof![
        4 => Just(0),
        4 => Just(EDGE),
        2 => Just(ONESHOT),
        1 => Just(EDGE | ONESHOT),
        1 => Just(EXCLUSIVE),
        1 => Just(EXCLUSIVE | EDGE),
    ];
    (asked, mode).prop_map(|(asked, mode)| asked | mode)
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..64_usize;
    prop_oneof![
        2 => Just(Step::Pipe),
        2 => Just(Step::Sockets),
        1 => Just(Step::Eventfd),
        1 => Just(Step::Regular),
        8 => (at(), events()).prop_map(|(at, events)| Step::Add(at, events)),
        4 => (at(), events()).prop_map(|(at, events)| Step::Modify(at, events)),
        2 => at().prop_map(Step::Remove),
        8 => (at(), 0..64_usize).prop_map(|(at, len)| Step::Write(at, len)),
        6 => (at(), 1..64_usize).prop_map(|(at, len)| Step::Read(at, len)),
        2 => at().prop_map(Step::Fill),
        3 => at().prop_map(Step::Drain),
        1 => at().prop_map(Step::ShutdownWrite),
        3 => at().prop_map(Step::Dup),
        3 => at().prop_map(Step::Close),
        10 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]
    #[test]
    fn f1_the_fake_answers_as_the_kernel_does(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let _alone = alone();
        let mut both = Both::new();
        for step in steps {
            both.run(step)?;
        }
        both.wait()?;
        both.wait()?;
    }
}

/// A reset is asynchronous in principle, so this one waits, and asks for nothing that is there before it.
#[test]
fn f1_a_reset_looks_as_one_of_tcp() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    let (mut fake, mut epoll) = (Fake::new(), Epoll::new().unwrap());
    let (fake_one, fake_other) = fake.socketpair().unwrap();

    // Bytes both ways: those to `one` are read after the reset, those to `other` make its close a reset.
    other.write_all(b"abc").unwrap();
    assert_eq!(one.peek(&mut [0; 3]).unwrap(), 3);
    one.write_all(b"unread").unwrap();
    assert_eq!(other.peek(&mut [0; 6]).unwrap(), 6);
    drop(other);
    fake.write(fake_other, b"abc").unwrap();
    fake.reset(fake_other).unwrap();

    let token = Handle::new(1, Tag::Watcher, 1);
    let limit = Some(Duration::from_secs(60));
    epoll.add(one.as_raw_fd(), ERR, token).unwrap();
    epoll.wait(None, limit).unwrap();
    assert!(epoll.next().is_some(), "the reset has come");
    epoll
        .modify(one.as_raw_fd(), IN | OUT | RDHUP, token)
        .unwrap();
    fake.add(fake_one.as_raw_fd(), IN | OUT | RDHUP, token)
        .unwrap();
    epoll.wait(None, limit).unwrap();
    fake.wait(None, limit).unwrap();
    let report = fake.next();
    assert_eq!(report, epoll.next());
    assert_eq!(
        report.map(|report| report.events),
        Some(IN | OUT | RDHUP | ERR | HUP)
    );
    let (mut here, mut there) = ([0; 8], [0; 8]);
    for _ in 0..3 {
        let real = one.read(&mut there).map_err(|error| errno(&error));
        assert_eq!(fake.read(fake_one, &mut here), real);
    }
    assert_eq!(here, there);
}
