//! After registration, an event of a loop with closures allocates nothing and frees nothing.

#![deny(unsafe_code)]

#[path = "../src/allocations.rs"]
mod allocations;
#[path = "../src/system.rs"]
mod system;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::time::Duration;

use allocations::during;
use linux_event::{Epoll, Instant, Interest, Loop, Reactor, Signal};

#[global_allocator]
static ALLOCATOR: allocations::Counted = allocations::Counted;

const EVENTS: u64 = 10_000;

/// A loop that counts its events in its state, and stops at [`EVENTS`].
type Counter = Loop<Reactor<Epoll>, u64>;

fn counter() -> Counter {
    Loop::reactor_with(0).unwrap()
}

fn count(event_loop: &mut Counter) {
    event_loop.state += 1;
    if event_loop.state == EVENTS {
        event_loop.stop();
    }
}

/// Runs a loop with all its registrations made: [`EVENTS`] events, no allocation.
fn assert_runs_without_allocating(event_loop: &mut Counter) {
    let allocations = during(|| event_loop.run().unwrap());
    assert_eq!(event_loop.state, EVENTS);
    assert_eq!(allocations, 0);
}

/// A pipe with a byte in it.
fn pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[7]).unwrap();
    (reader, writer)
}

#[test]
fn the_allocator_counts() {
    assert_eq!(during(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

#[test]
fn read_events_allocate_nothing() {
    let mut event_loop = counter();
    let (mut reader, mut writer) = pipe();
    let watched = reader.try_clone().unwrap();
    event_loop
        .watch(&watched)
        .on_read(move |event_loop, _, _| {
            let mut byte = [0];
            reader.read_exact(&mut byte)?;
            writer.write_all(&byte)?;
            count(event_loop);
            std::io::Result::Ok(())
        })
        .start()
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn changes_of_interest_allocate_nothing() {
    let mut event_loop = counter();
    let (_reader, writer) = pipe();
    let watcher = event_loop
        .watch(&writer)
        .on_read(|_, _, _| ())
        .on_write(|event_loop, watcher, _| {
            let interest = event_loop.interest(watcher).unwrap();
            if interest.contains(Interest::READ) {
                event_loop.disable(watcher, Interest::READ).unwrap();
            } else {
                event_loop.enable(watcher, Interest::READ).unwrap();
            }
            count(event_loop);
        })
        .start()
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
    assert!(event_loop.cancel(watcher));
}

#[test]
fn edges_armed_again_allocate_nothing() {
    let mut event_loop = counter();
    let (reader, _writer) = pipe();
    event_loop
        .watch(&reader)
        .edge()
        .on_read(|event_loop, watcher, _| {
            count(event_loop);
            event_loop.rearm(watcher)
        })
        .start()
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn oneshots_enabled_again_allocate_nothing() {
    let mut event_loop = counter();
    let (reader, _writer) = pipe();
    event_loop
        .watch(&reader)
        .oneshot()
        .on_read(|event_loop, watcher, _| {
            count(event_loop);
            event_loop.enable(watcher, Interest::READ)
        })
        .start()
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn periodic_timers_allocate_nothing() {
    let mut event_loop = counter();
    // Due in every turn, whatever the machine's speed.
    event_loop
        .every(Duration::from_nanos(1), |event_loop, _| count(event_loop))
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn timers_moved_about_allocate_nothing() {
    let mut event_loop = counter();
    let far = event_loop.read_clock() + Duration::from_hours(1);
    let timers: Vec<_> = (0..100)
        .map(|_| event_loop.at(far, |_| ()).unwrap())
        .collect();
    event_loop
        .every(Duration::from_nanos(1), move |event_loop, _| {
            count(event_loop);
            let turn = event_loop.state;
            let deadline = far + Duration::from_nanos(turn);
            assert!(event_loop.reschedule(timers[turn as usize % timers.len()], deadline));
        })
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn waits_for_near_and_far_deadlines_allocate_nothing() {
    let mut event_loop = counter();
    let (reader, _writer) = pipe();
    // Periodic, so that it survives the near deadline that a slow machine reaches.
    let timer = event_loop
        .every_from(Instant::MAX, Duration::from_hours(1), |_, _| ())
        .unwrap();
    event_loop
        .watch(&reader)
        .on_read(move |event_loop, _, _| {
            count(event_loop);
            let millis = if event_loop.state.is_multiple_of(2) {
                20
            } else {
                3_600_000
            };
            let deadline = event_loop.read_clock() + Duration::from_millis(millis);
            event_loop.reschedule(timer, deadline);
        })
        .start()
        .unwrap();
    let allocations = during(|| event_loop.run().unwrap());
    assert_eq!((event_loop.state, allocations), (EVENTS, 0));
}

#[test]
fn wakes_allocate_nothing() {
    let mut event_loop = counter();
    let waker = event_loop.waker().unwrap();
    waker.wake();
    event_loop.on_wake(move |event_loop, _| {
        count(event_loop);
        waker.wake();
    });
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn wakes_from_another_thread_allocate_nothing_there() {
    let mut event_loop = counter();
    let waker = event_loop.waker().unwrap();
    let (turns, woken) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::spawn(move || {
        let mut waking = 0;
        for () in woken {
            waking += during(|| waker.wake());
        }
        waking
    });
    turns.send(()).unwrap();
    let mut turns = Some(turns);
    event_loop.on_wake(move |event_loop, _| {
        event_loop.state += 1;
        if event_loop.state == EVENTS {
            turns = None; // the thread ends, and with its waker the loop
        } else if let Some(turns) = &turns {
            turns.send(()).unwrap();
        }
    });
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, thread.join().unwrap()), (EVENTS, 0));
}

#[test]
fn signals_allocate_nothing() {
    let mut event_loop = counter();
    event_loop
        .signal(Signal::USR2, |event_loop, _| {
            count(event_loop);
            system::raise(Signal::USR2.raw());
        })
        .unwrap();
    system::raise(Signal::USR2.raw());
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn mail_allocates_nothing() {
    let mut event_loop = counter();
    let sender = std::rc::Rc::new(std::cell::OnceCell::<linux_event::Sender<u64>>::new());
    let again = std::rc::Rc::clone(&sender);
    let first = event_loop
        .mailbox(16, move |event_loop, number: u64| {
            assert_eq!(number, event_loop.state);
            count(event_loop);
            again.get().unwrap().send(event_loop.state).unwrap();
        })
        .unwrap();
    first.send(0).unwrap();
    sender.set(first).unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn a_full_mailbox_gives_values_back_without_allocating() {
    let mut event_loop = counter();
    let sender = event_loop.mailbox(4, |_, _: u64| ()).unwrap();
    let allocations = during(|| {
        for number in 0..EVENTS {
            let full = sender.send(number).is_err();
            assert_eq!(full, number >= 4);
        }
    });
    assert_eq!(allocations, 0);
}
