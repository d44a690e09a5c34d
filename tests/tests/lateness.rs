//! When timers fire: never early, and by the mechanism that is exact for their distance (T-8). How late they are
//! depends on the machine, so it is printed and not judged: `cargo test --test lateness -- --nocapture`.

#![deny(unsafe_code)]

#[path = "../src/counting.rs"]
mod counting;

use std::time::Duration;

use counting::{Name, Probe, has_pwait2, probed, turn};
use linux_event::{Epoll, Loop, Reactor};
use linux_event_core::reactor::{Event, Interest};
use linux_event_core::sys::{Kernel, Linux};

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);

/// From 50 µs to 200 ms, each a sixth longer than the one before.
fn distances() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(50 * MICRO), |last| Some(*last * 7 / 6))
        .take_while(|distance| *distance <= 200 * MILLI)
}

/// Prints what was late, in microseconds.
fn print_lateness(what: &str, mut late: Vec<Duration>) {
    late.sort_unstable();
    let micros = |at: usize| late[at].as_secs_f64() * 1e6;
    println!(
        "{what}: late by {:.1} µs at best, {:.1} in the median, {:.1} at worst, of {}",
        micros(0),
        micros(late.len() / 2),
        micros(late.len() - 1),
        late.len()
    );
}

#[test]
fn t8_no_timer_fires_early_and_no_wait_ends_before_one_does() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let mut late = [Vec::new(), Vec::new()];
    for distance in distances() {
        let due = Linux.monotonic() + distance;
        reactor.at(due, 1).unwrap();
        let events = turn(&mut reactor, None).unwrap();
        let now = Linux.monotonic();
        assert!(now >= due, "{distance:?} was early by {:?}", due.since(now));
        // One turn, in which it fires: the wait did not end before the deadline.
        assert!(
            matches!(events[..], [Event::Timer { deadline, expirations: 1, .. }] if deadline == due),
            "{distance:?}: {events:?}"
        );
        late[usize::from(distance > 50 * MILLI)].push(now.since(due));
    }
    let [near, far] = late;
    print_lateness("up to 50 ms", near);
    print_lateness("beyond 50 ms", far);
}

#[test]
fn t8_many_timers_at_once_fire_none_early() {
    let mut event_loop: Loop<Reactor<Epoll>, Vec<Duration>> = Loop::reactor_with(vec![]).unwrap();
    let start = event_loop.read_clock();
    let mut made = 0;
    for step in 1..=2000 {
        // Some of them a nanosecond apart.
        let due = start + 100 * MICRO * (step / 2) + Duration::from_nanos(u64::from(step) % 2);
        let timer = move |event_loop: &mut Loop<_, Vec<Duration>>| {
            let now = event_loop.read_clock();
            assert!(now >= due, "early by {:?}", due.since(now));
            event_loop.state.push(now.since(due));
        };
        event_loop.at(due, timer).unwrap();
        made += 1;
    }
    event_loop.run().unwrap();
    assert_eq!(event_loop.state.len(), made);
    print_lateness(
        "2,000 timers over 100 ms",
        std::mem::take(&mut event_loop.state),
    );
}

#[test]
fn t8_a_period_never_begins_early_and_its_grid_does_not_drift() {
    let mut event_loop: Loop<Reactor<Epoll>, u64> = Loop::reactor_with(0).unwrap();
    let period = 777 * MICRO;
    let first = event_loop.read_clock() + period;
    event_loop
        .every_from(first, period, move |event_loop, periods| {
            event_loop.state += periods;
            let due = first + period * (event_loop.state as u32 - 1);
            let now = event_loop.read_clock();
            assert!(now >= due, "early by {:?}", due.since(now));
            if event_loop.state >= 100 {
                event_loop.stop();
            }
        })
        .unwrap();
    event_loop.run().unwrap();
}

#[test]
fn r1_no_timeout_of_the_callers_ends_early() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let mut late = Vec::new();
    for distance in distances().step_by(3) {
        let end = Linux.monotonic() + distance;
        assert_eq!(turn(&mut reactor, Some(distance)).unwrap(), []);
        let now = Linux.monotonic();
        assert!(now >= end, "{distance:?} was early by {:?}", end.since(now));
        late.push(now.since(end));
    }
    print_lateness("timeouts", late);
}

#[test]
fn t8_near_deadlines_go_through_epoll_pwait2_and_far_ones_through_the_timerfd() {
    if !has_pwait2() {
        return;
    }
    let nano = Duration::from_nanos(1);
    for (distance, is_near) in [
        (nano, true),
        (50 * MICRO, true),
        (50 * MILLI, true),
        (50 * MILLI + nano, false),
        (Duration::from_secs(2), false),
        (Duration::from_hours(10), false),
    ] {
        // A clock that stands still, so that no slow machine makes a far deadline a near one. What is ready ends the
        // wait.
        let probe = Probe::new();
        probe.stop_clock(Some(Linux.monotonic()));
        let mut reactor = probed(&probe).unwrap();
        let ready = Linux.eventfd().unwrap();
        ready.write(&1u64.to_ne_bytes()).unwrap();
        reactor.watch(&ready, Interest::READ, 2).unwrap();
        reactor.after(distance, 1).unwrap();
        let (_, counts) = probe.counted(|| turn(&mut reactor, None).unwrap());
        let waits = (counts.of(Name::EpollPwait2), counts.of(Name::EpollWait));
        let set = counts.of(Name::TimerfdSettime);
        let expected = if is_near { ((1, 0), 0) } else { ((0, 1), 1) };
        assert_eq!((waits, set), expected, "{distance:?}: {counts:?}");
    }
}

#[test]
fn t8_the_timerfd_is_set_again_only_when_the_first_deadline_changes() {
    if !has_pwait2() {
        return;
    }
    let probe = Probe::new();
    probe.stop_clock(Some(Linux.monotonic()));
    let mut reactor = probed(&probe).unwrap();
    let ready = Linux.eventfd().unwrap();
    ready.write(&1u64.to_ne_bytes()).unwrap();
    reactor.watch(&ready, Interest::READ, 2).unwrap();
    let set = |reactor: &mut counting::Probed| {
        let (_, counts) = probe.counted(|| turn(reactor, None).unwrap());
        counts.of(Name::TimerfdSettime)
    };
    let hour = Duration::from_hours(1);
    let later = reactor.after(2 * hour, 1).unwrap();
    assert_eq!(set(&mut reactor), 1);
    let first = reactor.after(hour, 1).unwrap();
    assert_eq!(set(&mut reactor), 1, "an earlier one");
    assert_eq!(set(&mut reactor), 0);
    let near = reactor.after(MILLI, 1).unwrap();
    assert_eq!(set(&mut reactor), 0, "a near one needs no timerfd");
    reactor.cancel(near);
    assert_eq!(set(&mut reactor), 0, "still set to the far one");
    reactor.cancel(first);
    assert_eq!(set(&mut reactor), 1, "the later one is first");
    reactor.cancel(later);
    assert_eq!(set(&mut reactor), 1, "stopped");
    assert_eq!(set(&mut reactor), 0);
}
