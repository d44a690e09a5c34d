//! Many watchers and many timers: each served exactly once, in order, and none that was cancelled (R-13, T-3, T-7).

#![deny(unsafe_code)]

#[path = "../src/system.rs"]
mod system;

use std::io::{PipeReader, PipeWriter, Write};
use std::time::Duration;

use linux_event::{Epoll, Interest, Loop, LoopError, Reactor, TIMERS_MAX, TimerId};

/// Descriptors that a test process needs besides those it watches.
const SPARE: u64 = 200;

/// Duplicates of the reading end of one pipe, which holds a byte: 10,000 of them, or as many as the system allows,
/// which is then said.
fn readers() -> (Vec<PipeReader>, PipeWriter) {
    const WANTED: u64 = 10_000;
    let allowed = system::raise_descriptor_limit().unwrap();
    let count = WANTED.min(allowed.saturating_sub(SPARE));
    if count < WANTED {
        eprintln!("only {count} watchers instead of {WANTED}: RLIMIT_NOFILE is {allowed}");
    }
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[1]).unwrap();
    let readers = (0..count).map(|_| reader.try_clone().unwrap()).collect();
    (readers, writer)
}

/// How often each watcher was served.
type Served = Loop<Reactor<Epoll>, Vec<u32>>;

#[test]
fn r6_ten_thousand_watchers_that_cancel_themselves_are_served_exactly_once() {
    if !system::alone("r6_ten_thousand_watchers_that_cancel_themselves_are_served_exactly_once") {
        return;
    }
    let (readers, _writer) = readers();
    let mut event_loop: Served = Loop::reactor_with(vec![0; readers.len()]).unwrap();
    for (index, reader) in readers.iter().enumerate() {
        event_loop
            .watch(reader)
            .on_read(move |event_loop: &mut Served, watcher, _| {
                event_loop.state[index] += 1;
                assert!(event_loop.cancel(watcher));
            })
            .start()
            .unwrap();
    }
    event_loop.run().unwrap();
    assert!(event_loop.state.iter().all(|&times| times == 1));
}

#[test]
fn r7_ten_thousand_oneshots_are_served_once_for_each_time_they_are_armed() {
    if !system::alone("r7_ten_thousand_oneshots_are_served_once_for_each_time_they_are_armed") {
        return;
    }
    let (readers, _writer) = readers();
    let mut event_loop: Served = Loop::reactor_with(vec![0; readers.len()]).unwrap();
    let mut watchers = Vec::new();
    for (index, reader) in readers.iter().enumerate() {
        let watch = event_loop
            .watch(reader)
            .oneshot()
            .on_read(move |event_loop: &mut Served, _, _| event_loop.state[index] += 1);
        watchers.push(watch.start().unwrap());
    }
    for round in 1..=3 {
        event_loop.run().unwrap();
        assert!(event_loop.state.iter().all(|&times| times == round));
        for &watcher in &watchers {
            event_loop.enable(watcher, Interest::READ).unwrap();
        }
    }
}

#[test]
fn r13_of_ten_thousand_ready_watchers_none_is_served_twice_before_all_were_once() {
    if !system::alone(
        "r13_of_ten_thousand_ready_watchers_none_is_served_twice_before_all_were_once",
    ) {
        return;
    }
    let (readers, _writer) = readers();
    let count = readers.len();
    // The state: who was served, in order.
    let mut event_loop: Served = Loop::reactor_with(Vec::new()).unwrap();
    for (index, reader) in (0..).zip(&readers) {
        event_loop
            .watch(reader)
            .on_read(move |event_loop: &mut Served, _, _| {
                event_loop.state.push(index);
                if event_loop.state.len() == 2 * count {
                    event_loop.stop();
                }
            })
            .start()
            .unwrap();
    }
    event_loop.run().unwrap();
    for round in event_loop.state.chunks(count) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert!(round.into_iter().eq(0..count as u32));
    }
}

/// Numbers that look random and are the same in each run.
fn scramble(number: u64) -> u64 {
    number
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9)
        >> 20
}

#[test]
fn t3_a_hundred_thousand_timers_fire_in_order_and_the_cancelled_do_not() {
    const TIMERS: u64 = 100_000;
    let mut event_loop: Loop<Reactor<Epoll>, Vec<u64>> = Loop::reactor_with(Vec::new()).unwrap();
    let start = event_loop.read_clock();
    // A hundred timers for each of a thousand deadlines, spread over 100 ms.
    let due = |number| start + Duration::from_micros(100) * (scramble(number) % 1000) as u32;
    let timers: Vec<TimerId> = (0..TIMERS)
        .map(|number| {
            let timer = move |event_loop: &mut Loop<_, Vec<u64>>| event_loop.state.push(number);
            event_loop.at(due(number), timer).unwrap()
        })
        .collect();
    // Every third is cancelled at once, and of the others every fifth by a timer before all of them.
    let is_cancelled = |number: &u64| number.is_multiple_of(3);
    let is_cancelled_later = move |number: &u64| number.is_multiple_of(5) && !is_cancelled(number);
    for number in (0..TIMERS).filter(is_cancelled) {
        assert!(event_loop.cancel(timers[number as usize]));
        assert!(!event_loop.cancel(timers[number as usize]));
    }
    event_loop
        .at(linux_event::Instant::ZERO, move |event_loop| {
            assert!(event_loop.state.is_empty(), "the first of all");
            for number in (0..TIMERS).filter(is_cancelled_later) {
                assert!(event_loop.cancel(timers[number as usize]));
            }
        })
        .unwrap();
    event_loop.run().unwrap();

    let mut expected: Vec<u64> = (0..TIMERS)
        .filter(|number| !is_cancelled(number) && !is_cancelled_later(number))
        .collect();
    expected.sort_by_key(|&number| due(number)); // stable: ties in the order they were made
    assert!(event_loop.state == expected);
    assert_eq!(event_loop.next_deadline(), None);
}

#[test]
fn every_timer_there_is_room_for_then_full_then_room_again() {
    let mut event_loop: Loop<Reactor<Epoll>, u32> = Loop::reactor_with(0).unwrap();
    let far = event_loop.read_clock() + Duration::from_hours(1);
    let timers: Vec<_> = (0..TIMERS_MAX)
        .map(|_| {
            event_loop
                .at(far, |event_loop| event_loop.state += 1)
                .unwrap()
        })
        .collect();
    let full = LoopError::Full {
        capacity: TIMERS_MAX,
    };
    for _ in 0..3 {
        assert_eq!(event_loop.at(far, |_| ()).unwrap_err(), full);
        let every = event_loop.every(Duration::from_millis(1), |_, _| ());
        assert_eq!(every.unwrap_err(), full);
    }
    for timer in timers.iter().step_by(2) {
        assert!(event_loop.cancel(*timer));
    }
    event_loop
        .after(Duration::ZERO, |event_loop| {
            event_loop.state += 10;
            event_loop.stop();
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 10);
}
