//! The fake against the kernel: random scripts run on both, step by step, and every answer must be the same.
//!
//! A script opens pipes, sockets, eventfds and regular files, registers them in every mode, moves bytes, duplicates,
//! shuts down and closes, with stale numbers among the arguments, and waits without waiting. Compared are the result
//! of each call and the sequence of (token, events) of each wait (INV-FAKE-2).
//!
//! Left out is only what depends on the kernel's configuration: how many bytes fill a socket.

#![forbid(unsafe_code)]

mod both;

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

use both::{Both, Step, errno};

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

/// Orders that random scripts seldom come to.
#[test]
fn f1_rare_orders_are_the_kernels() {
    let _alone = alone();
    // Who is told first: of those that are not exclusive the last, then the exclusive ones, the first first.
    let exclusive = [
        Step::Sockets,
        Step::Dup(0),
        Step::Dup(0),
        Step::Dup(0),
        Step::Add(0, IN | EXCLUSIVE),
        Step::Add(2, IN),
        Step::Add(3, IN | EXCLUSIVE),
        Step::Add(4, IN),
        Step::Write(1, 1),
        Step::Wait,
    ];
    // A oneshot watcher that was reported is not linked by changes, so it goes last when it is armed again.
    let disarmed = [
        Step::Sockets,
        Step::Sockets,
        Step::Add(0, IN | ONESHOT),
        Step::Add(2, IN),
        Step::Write(1, 1),
        Step::Wait,
        Step::ShutdownWrite(1),
        Step::Write(3, 1),
        Step::Modify(0, IN | ONESHOT),
        Step::Wait,
    ];
    for script in [&exclusive[..], &disarmed] {
        let mut both = Both::new();
        for &step in script {
            both.run(step).unwrap();
        }
    }
}

#[test]
fn f1_an_eventfd_overflows_as_the_kernels() {
    let _alone = alone();
    let mut both = Both::new();
    both.run(Step::Eventfd).unwrap();
    both.run(Step::Add(0, IN | OUT)).unwrap();
    let slot = &mut both.slots[0];
    for value in [u64::MAX, u64::MAX - 2, 2, 1, 1, 0] {
        let bytes = value.to_ne_bytes();
        let real = slot.real.write(&bytes);
        assert_eq!(both.fake.write(slot.fake, &bytes), real, "{value}");
    }
    both.run(Step::Wait).unwrap();
    both.run(Step::Read(0, 8)).unwrap();
    both.run(Step::Wait).unwrap();
}

/// Pages have 4 KiB here; where they are larger, a pipe holds more.
#[cfg(target_arch = "x86_64")]
#[test]
fn f1_pages_of_a_pipe_fill_as_the_kernels() {
    let _alone = alone();
    let (mut both, mut random) = (Both::new(), 1_u32);
    both.run(Step::Pipe).unwrap();
    both.run(Step::Add(1, OUT | EDGE)).unwrap();
    both.run(Step::Add(0, IN | EDGE)).unwrap();
    for _ in 0..3000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = (random >> 16) as usize % 9000 + 1;
        let step = if random >> 31 == 0 {
            Step::Write(1, len)
        } else {
            Step::Read(0, len)
        };
        both.run(step).unwrap();
        both.run(Step::Wait).unwrap();
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
    let limit = Some(Duration::from_mins(1));
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
