//! INV-BACKEND-1: whatever a backend answers, the engine neither panics nor reports to the wrong watcher.

use core::time::Duration;
use std::cell::Cell;
use std::collections::HashMap;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::handle::{Handle, Tag, Watcher};
use linux_event_core::pid::ExitStatus;
use linux_event_core::reactor::backend::{SIGNAL, TIMER, WAKEUP};
use linux_event_core::reactor::{Backend, Event, Interest, Mode, Reactor, Report};
use linux_event_core::signal::{Signal, SignalCounts, SignalSet};
use linux_event_core::sys::{AsRawFd, RawFd};

/// Small and the same everywhere: xorshift.
struct Random(Cell<u64>);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

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

/// Answers whatever comes to its mind.
struct Liar {
    random: Random,
    /// Every token it was ever given, also those that are stale by now.
    tokens: Vec<u64>,
    left: u64,
}

/// Another number each time it is asked.
struct LyingFd(Cell<RawFd>);

impl AsRawFd for LyingFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.set(self.0.get().wrapping_add(1));
        self.0.get() % 8
    }
}

impl Liar {
    fn errno(&self) -> Result<(), Errno> {
        if self.random.one_in(4) {
            let all = [
                Errno::ENOENT,
                Errno::EEXIST,
                Errno::EBADF,
                Errno::EPERM,
                Errno::ENOMEM,
            ];
            return Err(all[self.random.below(5) as usize]);
        }
        Ok(())
    }

    fn error(&self) -> Result<(), Error> {
        self.errno()
            .map_err(|errno| Error::from_call(Call::EpollCtl, errno))
    }

    fn any_set(&self) -> SignalSet {
        SignalSet::from_bits(self.random.next() & self.random.next())
    }
}

impl Backend for Liar {
    type Process = LyingFd;

    fn now(&self) -> Instant {
        Instant::from_nanos(match self.random.below(40) {
            0 => u64::MAX,
            1 => 0,
            2 => self.random.next(),
            _ => self.random.below(100),
        })
    }

    fn is_owner(&self) -> bool {
        !self.random.one_in(200)
    }

    fn add(&mut self, _: RawFd, _: u32, token: Handle) -> Result<(), Errno> {
        self.tokens.push(token.raw());
        self.errno()
    }

    fn modify(&mut self, _: RawFd, _: u32, token: Handle) -> Result<(), Errno> {
        self.tokens.push(token.raw());
        self.errno()
    }

    fn remove(&mut self, _: RawFd) -> Result<(), Errno> {
        self.errno()
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        self.error()
    }

    fn wait(&mut self, _: Option<Instant>, _: Option<Duration>) -> Result<(), Error> {
        self.left = self.random.below(12);
        self.error()
    }

    fn next(&mut self) -> Option<Report> {
        self.left = self.left.checked_sub(1)?;
        let token = match self.random.below(16) {
            0 => WAKEUP.raw(),
            1 => SIGNAL.raw(),
            2 => TIMER.raw(),
            3 => self.random.next(),
            4 => Handle::new(
                self.random.below(10) as u32,
                Tag::Watcher,
                self.random.next(),
            )
            .raw(),
            5 => 0,
            kind if !self.tokens.is_empty() => {
                let token = self.tokens[self.random.below(self.tokens.len() as u64) as usize];
                // Now and then another tag or index on a generation that is right.
                token
                    ^ if kind == 6 {
                        self.random.below(1 << 24)
                    } else {
                        0
                    }
            }
            _ => return None,
        };
        let events = match self.random.below(4) {
            0 => 0,
            1 => self.random.next() as u32,
            _ => self.random.below(0x20) as u32,
        };
        Some(Report { token, events })
    }

    fn has_next(&self) -> bool {
        self.left > 0 || self.random.one_in(8)
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

    fn take_signals(&mut self, counts: &mut SignalCounts) -> Result<(), Error> {
        for signal in self.any_set() {
            counts.add(signal, self.random.next() as u32);
        }
        self.error()
    }

    fn open_process(&mut self, _: i32) -> Result<LyingFd, Error> {
        self.error()?;
        Ok(LyingFd(Cell::new(self.random.below(8) as RawFd)))
    }

    fn process_status(&mut self, _: &LyingFd, _: bool) -> Result<Option<ExitStatus>, Errno> {
        self.errno()?;
        match self.random.below(3) {
            0 => Err(Errno::EAGAIN),
            1 => Ok(None),
            _ => Ok(Some(ExitStatus::Exited(1))),
        }
    }
}

const W: usize = 6;
const T: usize = 4;

/// One user, as random as the backend, who knows what was registered under which handle.
fn run(seed: u64, steps: usize) {
    let liar = Liar {
        random: Random::new(seed),
        tokens: Vec::new(),
        left: 0,
    };
    let random = Random::new(seed.rotate_left(32) ^ 0x5DEE_CE66);
    let mut reactor: Reactor<u64, W, T, Liar> = Reactor::new(liar);
    let mut handles: Vec<Handle> = Vec::new();
    let mut owners: HashMap<Handle, u64> = HashMap::new();
    let mut serial = 0;
    for _ in 0..steps {
        serial += 1;
        let some = |handles: &[Handle]| match handles.len() as u64 {
            0 => Handle::new(random.below(8) as u32, Tag::Watcher, random.next()),
            len => handles[random.below(len) as usize],
        };
        let handle = some(&handles);
        let watcher = Watcher::from_handle(handle);
        let interest = Interest::from_bits_truncate(random.next() as u16);
        let mode = Mode::from_bits_truncate(random.next() as u32);
        let made = match random.below(16) {
            0 | 1 => {
                let fd = random.below(9) as RawFd - 1;
                reactor
                    .watch_with(fd, interest, mode, serial)
                    .map(Into::into)
                    .ok()
            }
            2 => {
                let delay = if random.one_in(4) {
                    u64::MAX
                } else {
                    random.below(50)
                };
                reactor
                    .after(Duration::from_nanos(delay), serial)
                    .map(Into::into)
                    .ok()
            }
            3 => {
                let first = Instant::from_nanos(random.below(9));
                let period = if random.one_in(4) {
                    u64::MAX
                } else {
                    1 + random.below(9)
                };
                reactor
                    .every_from(first, Duration::from_nanos(period), serial)
                    .map(Into::into)
                    .ok()
            }
            4 => {
                let set = SignalSet::from_bits(random.next() & random.next());
                let set = set.difference(SignalSet::EMPTY.with(Signal::KILL).with(Signal::STOP));
                reactor.signal(set, serial).map(Into::into).ok()
            }
            5 => reactor
                .process(1, random.one_in(2), serial)
                .map(Into::into)
                .ok(),
            6 | 7 => {
                reactor.cancel(handle);
                None
            }
            8 => {
                reactor.set_counted(handle, random.one_in(2));
                None
            }
            9 => {
                if let Some(watcher) = watcher {
                    let _ = match random.below(5) {
                        0 => reactor.enable(watcher, interest),
                        1 => reactor.disable(watcher, interest),
                        2 => reactor.set_interest(watcher, interest),
                        3 => reactor.set_mode(watcher, mode),
                        _ => reactor.rearm(watcher),
                    };
                    reactor.note_suppressed(watcher);
                }
                None
            }
            10 => {
                let _ = reactor.prepare();
                None
            }
            _ => {
                if random.one_in(2) {
                    let _ = reactor.wait(Some(Duration::ZERO));
                }
                for _ in 0..random.below(30) {
                    let Some(event) = reactor.next() else { break };
                    let (handle, data, tag) = match event {
                        Event::Ready {
                            watcher,
                            ready,
                            data,
                        } => {
                            assert!(!ready.is_empty(), "seed {seed}: never empty");
                            (watcher.handle(), data, Tag::Watcher)
                        }
                        Event::Timer { timer, data, .. } => (timer.handle(), data, Tag::Timer),
                        Event::Signal {
                            subscription, data, ..
                        } => (subscription.handle(), data, Tag::Signal),
                        Event::Exit { process, data, .. } => (process.handle(), data, Tag::Process),
                        _ => continue,
                    };
                    assert!(handle.is(tag), "seed {seed}: {event:?}");
                    assert_eq!(owners.get(&handle), Some(&data), "seed {seed}");
                    if random.one_in(4) {
                        reactor.cancel(handle);
                    }
                }
                None
            }
        };
        if let Some(made) = made {
            assert_eq!(owners.insert(made, serial), None, "seed {seed}");
            handles.push(made);
            if handles.len() > 12 {
                handles.remove(0);
            }
        }
        assert!(reactor.live() <= W + T, "seed {seed}");
    }
    // Whatever was believed meanwhile: when everything is cancelled, nothing is left that counts.
    for handle in owners.keys() {
        for _ in 0..4 {
            if !reactor.contains(*handle) || reactor.cancel(*handle) || !handle.is(Tag::Signal) {
                continue;
            }
            let _ = reactor.wait(Some(Duration::ZERO));
            while reactor.next().is_some() {}
        }
        for _ in 0..4 {
            if reactor.contains(*handle) {
                reactor.cancel(*handle);
            }
        }
    }
    let closing = owners.keys().filter(|handle| reactor.contains(**handle));
    assert!(
        closing.clone().all(|handle| handle.is(Tag::Signal)),
        "seed {seed}"
    );
    assert!(reactor.live() <= closing.count(), "seed {seed}");
}

#[test]
fn a_lying_backend_does_no_harm() {
    let (runs, steps) = if cfg!(miri) { (6, 150) } else { (200, 400) };
    for seed in 1_u64..=runs {
        run(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), steps);
    }
}

/// The clock of a fake, or of a backend that lies: it shows what it is told.
struct Clocked<'a> {
    now: &'a Cell<u64>,
    /// Reports the next wait finds.
    reports: Vec<Report>,
    refuses_adds: bool,
}

impl<'a> Clocked<'a> {
    fn new(now: &'a Cell<u64>) -> Self {
        Self {
            now,
            reports: Vec::new(),
            refuses_adds: false,
        }
    }
}

impl Backend for Clocked<'_> {
    type Process = RawFd;

    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.get())
    }

    fn is_owner(&self) -> bool {
        true
    }

    fn add(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        if self.refuses_adds {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    fn modify(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        Ok(())
    }

    fn remove(&mut self, _: RawFd) -> Result<(), Errno> {
        Ok(())
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn wait(&mut self, _: Option<Instant>, _: Option<Duration>) -> Result<(), Error> {
        Ok(())
    }

    fn next(&mut self) -> Option<Report> {
        self.reports.pop()
    }

    fn has_next(&self) -> bool {
        !self.reports.is_empty()
    }

    fn arm(&mut self, _: Option<Instant>) -> Result<(), Error> {
        Ok(())
    }

    fn take_wakes(&mut self) -> u64 {
        0
    }

    fn set_signals(&mut self, _: SignalSet) -> Result<(), Error> {
        Ok(())
    }

    fn take_signals(&mut self, _: &mut SignalCounts) -> Result<(), Error> {
        Ok(())
    }

    fn open_process(&mut self, _: i32) -> Result<RawFd, Error> {
        Ok(0)
    }

    fn process_status(&mut self, _: &RawFd, _: bool) -> Result<Option<ExitStatus>, Errno> {
        Ok(None)
    }
}

/// T-4, T-6: at the end of time a periodic timer is due for ever, but once a turn, and its count does not overflow.
#[test]
fn t6_a_period_at_the_end_of_time_ends_its_turn() {
    let now = Cell::new(0);
    let mut reactor: Reactor<(), 1, 2, Clocked<'_>> = Reactor::new(Clocked::new(&now));
    reactor
        .every_from(Instant::ZERO, Duration::from_nanos(1), ())
        .unwrap();
    now.set(u64::MAX);
    for turn in 0..3 {
        reactor.wait(None).unwrap();
        let Some(Event::Timer { expirations, .. }) = reactor.next() else {
            panic!("due in turn {turn}");
        };
        assert!(expirations >= 1);
        assert_eq!(reactor.next(), None, "once a turn");
    }
}

/// C-1: a process that a rebuilt interest list does not take is told of, not waited for without end.
#[test]
fn c1_a_process_that_can_not_be_carried_over_is_an_event_with_an_error() {
    let now = Cell::new(0);
    let mut reactor: Reactor<u8, 2, 2, Clocked<'_>> = Reactor::new(Clocked::new(&now));
    let process = reactor.process(7, true, 9).unwrap();
    // An orphan that nothing can be known of makes the engine start over.
    let orphan = Handle::new(1 << 19, Tag::Watcher, 1);
    reactor.backend_mut().reports = vec![Report {
        token: orphan.raw(),
        events: 1,
    }];
    reactor.wait(None).unwrap();
    assert_eq!(reactor.next(), None);
    reactor.backend_mut().refuses_adds = true;
    reactor.wait(None).unwrap();
    assert_eq!(
        reactor.next(),
        Some(Event::Exit {
            process,
            pid: 7,
            status: Err(Errno::ENOMEM),
            data: 9
        })
    );
    assert_eq!((reactor.next(), reactor.live()), (None, 0));
}
