//! The reactor engine on the fake against an oracle: a plain list of what was asked for.
//!
//! Checked after every step and at every event: only living watchers are reported, with their own data, for something
//! they ask for and the descriptor has; a turn that nobody disturbs reports each level-triggered
//! watcher that is ready exactly once, a oneshot one once between two enables, an edge never lost;
//! timers fire in order, never early, and all of those due (T-2 to T-7); nothing keeps or fails to keep the loop
//! running; and at the end nothing is left behind.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use linux_event::fake::{Fake, FakeFd};
use linux_event_core::clock::Instant;
use linux_event_core::handle::{TimerId, Watcher};
use linux_event_core::reactor::{Event, Interest, Mode, Reactor, Ready};

const WATCHERS: usize = 6;
const TIMERS: usize = 6;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Pipe,
    Write(u8),
    Drain(u8),
    Close(u8),
    Dup(u8),
    Watch {
        fd: u8,
        interest: u8,
        mode: u8,
    },
    Cancel(u8),
    CancelStale(u8),
    Enable(u8, u8),
    Disable(u8, u8),
    Rearm(u8),
    Unref(u8, bool),
    After(u8),
    Every(u8),
    CancelTimer(u8),
    Reschedule(u8, u8),
    Advance(u8),
    Turn,
    /// A turn of which only so many events are taken: the rest is the next one's.
    PartOfATurn(u8),
}

#[derive(Arbitrary, Debug)]
struct Input {
    steps: Vec<Step>,
    /// What callbacks do: one step after each event, in turn.
    within: Vec<Step>,
    batch: u8,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    data: u32,
    fd: FakeFd,
    interest: Interest,
    mode: Mode,
    counted: bool,
    /// Oneshot, reported and not armed again.
    spent: bool,
    /// Its descriptor was closed: it may be silent, and may be told that its registration failed.
    closed: bool,
}

struct Armed {
    data: u32,
    deadline: Instant,
    order: u64,
    period: u64,
    turn: u64,
}

struct Oracle {
    reactor: Reactor<u32, WATCHERS, TIMERS, Fake>,
    fds: Vec<FakeFd>,
    watched: BTreeMap<Watcher, Watched>,
    gone: Vec<Watcher>,
    timers: BTreeMap<TimerId, Armed>,
    made: u32,
    order: u64,
    turn: u64,
    last_fired: Option<(Instant, u64)>,
}

impl Oracle {
    fn new(batch: u8) -> Self {
        let mut fake = Fake::new();
        fake.set_batch_max(usize::from(batch % 8) + 1);
        Self {
            reactor: Reactor::new(fake),
            fds: Vec::new(),
            watched: BTreeMap::new(),
            gone: Vec::new(),
            timers: BTreeMap::new(),
            made: 0,
            order: 0,
            turn: 0,
            last_fired: None,
        }
    }

    fn fd(&self, at: u8) -> Option<FakeFd> {
        (!self.fds.is_empty()).then(|| self.fds[usize::from(at) % self.fds.len()])
    }

    fn watcher(&self, at: u8) -> Option<Watcher> {
        let len = self.watched.len();
        self.watched
            .keys()
            .copied()
            .nth(usize::from(at) % len.max(1))
    }

    fn timer(&self, at: u8) -> Option<TimerId> {
        let len = self.timers.len();
        self.timers
            .keys()
            .copied()
            .nth(usize::from(at) % len.max(1))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pipe => {
                if self.fds.len() < 12
                    && let Ok((reader, writer)) = self.reactor.backend_mut().pipe()
                {
                    self.fds.extend([reader, writer]);
                }
            }
            Step::Write(at) => {
                if let Some(fd) = self.fd(at) {
                    let _ = self.reactor.backend_mut().write(fd, b"x");
                }
            }
            Step::Drain(at) => {
                if let Some(fd) = self.fd(at) {
                    let mut buffer = [0; 64];
                    while self
                        .reactor
                        .backend_mut()
                        .read(fd, &mut buffer)
                        .is_ok_and(|count| count > 0)
                    {}
                }
            }
            Step::Close(at) => {
                if let Some(fd) = self.fd(at)
                    && self.reactor.backend_mut().close(fd).is_ok()
                {
                    self.fds.retain(|other| *other != fd);
                    for watched in self.watched.values_mut() {
                        watched.closed |= watched.fd == fd;
                    }
                }
            }
            Step::Dup(at) => {
                if self.fds.len() < 12
                    && let Some(fd) = self.fd(at)
                    && let Ok(dup) = self.reactor.backend_mut().dup(fd)
                {
                    self.fds.push(dup);
                }
            }
            Step::Watch { fd, interest, mode } => self.watch(fd, interest, mode),
            Step::Cancel(at) => {
                if let Some(watcher) = self.watcher(at) {
                    assert!(self.reactor.cancel(watcher));
                    assert!(!self.reactor.cancel(watcher));
                    self.watched.remove(&watcher);
                    self.gone.push(watcher);
                }
            }
            Step::CancelStale(at) => {
                if !self.gone.is_empty() {
                    let watcher = self.gone[usize::from(at) % self.gone.len()];
                    assert!(!self.reactor.cancel(watcher));
                    assert!(self.reactor.enable(watcher, Interest::READ).is_err());
                    assert_eq!(self.reactor.interest(watcher), None);
                }
            }
            Step::Enable(at, bits) => self.change(at, |reactor, watcher, watched| {
                watched.interest |= interest_of(bits);
                watched.spent = false;
                reactor
                    .enable(watcher, interest_of(bits))
                    .expect("it lives");
            }),
            Step::Disable(at, bits) => self.change(at, |reactor, watcher, watched| {
                watched.interest -= interest_of(bits);
                reactor
                    .disable(watcher, interest_of(bits))
                    .expect("it lives");
            }),
            Step::Rearm(at) => self.change(at, |reactor, watcher, watched| {
                watched.spent = false;
                reactor.rearm(watcher).expect("it lives");
            }),
            Step::Unref(at, counted) => self.change(at, |reactor, watcher, watched| {
                watched.counted = counted;
                assert!(reactor.set_counted(watcher, counted));
            }),
            Step::After(delay) => self.arm(delay, 0),
            Step::Every(period) => self.arm(period, u64::from(period) + 1),
            Step::CancelTimer(at) => {
                if let Some(timer) = self.timer(at) {
                    assert!(self.reactor.cancel(timer));
                    assert!(!self.reactor.cancel(timer));
                    self.timers.remove(&timer);
                }
            }
            Step::Reschedule(at, delay) => {
                if let Some(timer) = self.timer(at) {
                    let deadline = self.reactor.read_clock() + nanos(delay);
                    assert!(self.reactor.reschedule(timer, deadline));
                    self.order += 1;
                    let armed = self.timers.get_mut(&timer).expect("it lives");
                    armed.deadline = deadline.max(self.reactor.now());
                    armed.order = self.order;
                    armed.turn = self.turn;
                }
            }
            Step::Advance(by) => self.reactor.backend_mut().advance(nanos(by)),
            Step::Turn | Step::PartOfATurn(_) => {}
        }
    }

    fn change(
        &mut self,
        at: u8,
        change: impl FnOnce(&mut Reactor<u32, WATCHERS, TIMERS, Fake>, Watcher, &mut Watched),
    ) {
        if let Some(watcher) = self.watcher(at)
            && let Some(watched) = self.watched.get_mut(&watcher)
        {
            change(&mut self.reactor, watcher, watched);
        }
    }

    fn watch(&mut self, at: u8, interest: u8, mode: u8) {
        let Some(fd) = self.fd(at) else { return };
        let interest = interest_of(interest);
        let mode = match mode % 4 {
            0 | 1 => Mode::empty(),
            2 => Mode::EDGE,
            _ => Mode::ONESHOT,
        };
        self.made += 1;
        let replaced = self.reactor.watcher_of(fd);
        let expected = self
            .watched
            .iter()
            .find(|(_, watched)| watched.fd == fd)
            .map(|(watcher, _)| *watcher);
        assert_eq!(replaced, expected);
        let watched = self.reactor.watch_with(fd, interest, mode, self.made);
        if let Some(old) = replaced {
            self.watched.remove(&old);
            self.gone.push(old);
            assert!(!self.reactor.cancel(old), "R-4");
        }
        if let Ok(watcher) = watched {
            let entry = Watched {
                data: self.made,
                fd,
                interest,
                mode,
                counted: true,
                spent: false,
                closed: false,
            };
            assert!(self.watched.insert(watcher, entry).is_none());
        } else {
            assert_eq!(
                self.watched.len(),
                WATCHERS,
                "only a full table refuses an open pipe"
            );
        }
    }

    fn arm(&mut self, delay: u8, period: u64) {
        self.made += 1;
        self.order += 1;
        let deadline = self.reactor.read_clock() + nanos(delay);
        let armed = if period == 0 {
            self.reactor.after(nanos(delay), self.made)
        } else {
            self.reactor
                .every_from(deadline, Duration::from_nanos(period), self.made)
        };
        match armed {
            Ok(timer) => {
                let entry = Armed {
                    data: self.made,
                    deadline: deadline.max(self.reactor.now()),
                    order: self.order,
                    period,
                    turn: self.turn,
                };
                assert!(self.timers.insert(timer, entry).is_none());
            }
            Err(_) => assert_eq!(self.timers.len(), TIMERS),
        }
    }

    /// Runs a turn and takes at most `most` events of it; `within` supplies what callbacks do.
    fn turn(&mut self, most: usize, within: &mut dyn Iterator<Item = Step>) {
        self.turn += 1;
        self.last_fired = None;
        self.reactor
            .wait(Some(Duration::ZERO))
            .expect("the fake waits");
        let mut disturbed = false;
        let mut taken = 0;
        let mut ended = false;
        while taken < most {
            let Some(event) = self.reactor.next() else {
                ended = true;
                break;
            };
            taken += 1;
            match event {
                Event::Ready {
                    watcher,
                    ready,
                    data,
                } => self.ready(watcher, ready, data),
                Event::Timer {
                    timer,
                    deadline,
                    expirations,
                    data,
                } => self.fired(timer, deadline, expirations, data),
                other => panic!("nobody asked for {other:?}"),
            }
            if let Some(step) = within.next() {
                disturbed = true;
                self.step(step);
            }
        }
        if ended && !disturbed {
            let now = self.reactor.now();
            for armed in self.timers.values() {
                assert!(
                    armed.deadline > now || armed.turn == self.turn,
                    "a timer that is due has not fired"
                );
            }
        }
    }

    fn ready(&mut self, watcher: Watcher, ready: Ready, data: u32) {
        let watched = self
            .watched
            .get_mut(&watcher)
            .expect("R-6: only the living");
        assert_eq!(data, watched.data, "its own data");
        let asked = Ready::from(watched.interest) | Ready::HANGUP;
        assert!(!ready.is_empty() && asked.contains(ready), "R-3: {ready:?}");
        assert!(ready != Ready::HANGUP);
        // A registration that failed is told apart from what it reported before.
        assert!(
            !watched.spent || watched.closed,
            "R-7: once between two enables"
        );
        if watched.mode.contains(Mode::ONESHOT) {
            watched.spent = true;
        }
    }

    fn fired(&mut self, timer: TimerId, deadline: Instant, expirations: u64, data: u32) {
        let now = self.reactor.now();
        let armed = self
            .timers
            .get_mut(&timer)
            .expect("T-5, T-7: only the armed");
        assert_eq!((armed.data, armed.deadline), (data, deadline));
        assert!(deadline <= now, "T-8: never early");
        assert!(
            armed.turn != self.turn,
            "T-4: not in the turn it was made in"
        );
        let key = (armed.deadline, armed.order);
        assert!(self.last_fired.is_none_or(|last| last < key), "T-3");
        self.last_fired = Some(key);
        if armed.period == 0 {
            assert_eq!(expirations, 1);
            self.timers.remove(&timer);
            assert!(!self.reactor.cancel(timer));
        } else {
            let late = now.as_nanos() - deadline.as_nanos();
            assert_eq!(expirations, late / armed.period + 1, "T-6");
            self.order += 1;
            armed.order = self.order;
            armed.deadline = deadline + Duration::from_nanos(armed.period * expirations);
            assert!(armed.deadline > now);
        }
    }

    fn check(&self) {
        let live = self
            .watched
            .values()
            .filter(|one| one.counted && !one.interest.is_empty() && !one.spent && !one.closed)
            .count()
            + self.timers.len();
        let closed = self.watched.values().filter(|one| one.closed).count();
        assert!(
            (live..=live + closed).contains(&self.reactor.live()),
            "R-2: {} is not about {live}",
            self.reactor.live()
        );
        for (watcher, watched) in &self.watched {
            assert_eq!(self.reactor.interest(*watcher), Some(watched.interest));
        }
        assert_eq!(
            self.reactor.next_deadline(),
            self.timers.values().map(|armed| armed.deadline).min()
        );
    }

    /// Whether an undisturbed turn reports what it has to.
    fn check_complete(&mut self) {
        // Two turns settle what changes of interest, stale reports and masking have left.
        for _ in 0..3 {
            self.turn(usize::MAX, &mut std::iter::empty());
        }
        // In batches: each ready watcher comes within as many turns as there are watchers.
        let mut told: BTreeSet<Watcher> = BTreeSet::new();
        for _ in 0..2 * WATCHERS {
            self.turn += 1;
            self.last_fired = None;
            self.reactor.wait(Some(Duration::ZERO)).expect("it waits");
            while let Some(event) = self.reactor.next() {
                match event {
                    Event::Ready {
                        watcher,
                        ready,
                        data,
                    } => {
                        self.ready(watcher, ready, data);
                        told.insert(watcher);
                    }
                    Event::Timer {
                        timer,
                        deadline,
                        expirations,
                        data,
                    } => self.fired(timer, deadline, expirations, data),
                    other => panic!("nobody asked for {other:?}"),
                }
            }
        }
        let asked: Vec<(Watcher, FakeFd)> = self
            .watched
            .iter()
            .filter(|(_, one)| !one.closed && one.mode.is_empty())
            .filter(|(_, one)| one.interest.contains(Interest::READ))
            .map(|(watcher, one)| (*watcher, one.fd))
            .collect();
        for (watcher, fd) in asked {
            // The end of the file counts, EAGAIN and the wrong end of a pipe do not.
            if self.reactor.backend_mut().read(fd, &mut [0]).is_ok() {
                assert!(told.contains(&watcher), "a ready watcher was not told");
            }
        }
    }
}

fn interest_of(bits: u8) -> Interest {
    let mut interest = Interest::empty();
    interest.set(Interest::READ, bits & 1 != 0);
    interest.set(Interest::WRITE, bits & 2 != 0);
    interest.set(Interest::ERROR, bits & 4 != 0);
    interest
}

fn nanos(count: u8) -> Duration {
    Duration::from_nanos(u64::from(count))
}

fuzz_target!(|input: Input| {
    let mut oracle = Oracle::new(input.batch);
    let mut within = input.within.into_iter();
    for step in input.steps {
        match step {
            Step::Turn => oracle.turn(usize::MAX, &mut within),
            Step::PartOfATurn(most) => oracle.turn(usize::from(most % 4), &mut within),
            step => oracle.step(step),
        }
        oracle.check();
    }
    oracle.check_complete();
    for watcher in oracle.watched.keys() {
        assert!(oracle.reactor.cancel(*watcher));
    }
    for timer in oracle.timers.keys() {
        assert!(oracle.reactor.cancel(*timer));
    }
    assert_eq!(oracle.reactor.live(), 0);
});
