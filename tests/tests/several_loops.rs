//! Several loops in a process: the handles of one are foreign to the others, and one that is gone leaves nothing.

#![deny(unsafe_code)]
#![allow(clippy::zombie_processes, reason = "the loops reap them")]

#[path = "../src/system.rs"]
mod system;

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use linux_event::core::signal::SignalSet;
use linux_event::core::sys::{Kernel, Linux, MaskChange};
use linux_event::{
    Epoll, Handle, Instant, Interest, Loop, LoopError, Mode, Reactor, Sender, Signal, Waker,
};

type EventLoop = Loop<Reactor<Epoll>, u32>;

const HOUR: Duration = Duration::from_hours(1);

fn mask() -> SignalSet {
    Linux
        .signal_mask(MaskChange::Block, SignalSet::EMPTY)
        .unwrap()
}

#[test]
fn t7_the_handles_of_one_loop_are_foreign_to_another() {
    let pipes: Vec<_> = (0..20).map(|_| std::io::pipe().unwrap()).collect();
    // The same slots of each loop are taken by the same kinds of things.
    let mut loops: Vec<_> = pipes
        .iter()
        .map(|(reader, _writer)| {
            let mut event_loop: EventLoop = Loop::reactor_with(0).unwrap();
            let watcher = event_loop.watch(reader).on_read(|_, _, _| ()).start();
            let subscription = event_loop.signal(Signal::USR1, |_, _| ());
            let timer = event_loop.after(HOUR, |_| ());
            let handles = (watcher.unwrap(), subscription.unwrap(), timer.unwrap());
            (event_loop, handles)
        })
        .collect();
    let all: Vec<_> = loops.iter().map(|(_, handles)| *handles).collect();
    for (at, (event_loop, (_, _, own_timer))) in loops.iter_mut().enumerate() {
        for (_, &(watcher, subscription, timer)) in
            all.iter().enumerate().filter(|(other, _)| *other != at)
        {
            let handles: [Handle; 3] = [watcher.into(), subscription.into(), timer.into()];
            for handle in handles {
                assert!(!event_loop.contains(handle));
                assert!(!event_loop.cancel(handle));
                assert!(!event_loop.unref(handle));
            }
            let stale = LoopError::Stale;
            assert_eq!(
                event_loop.enable(watcher, Interest::READ).unwrap_err(),
                stale
            );
            assert_eq!(
                event_loop.disable(watcher, Interest::READ).unwrap_err(),
                stale
            );
            assert_eq!(event_loop.rearm(watcher).unwrap_err(), stale);
            assert_eq!(event_loop.set_mode(watcher, Mode::EDGE).unwrap_err(), stale);
            let replaced = event_loop.set_on_read(watcher, |_, _, _| ());
            assert_eq!(replaced.unwrap_err(), stale);
            assert_eq!(event_loop.interest(watcher), None);
            assert_eq!(event_loop.deadline(timer), None);
            assert!(!event_loop.reschedule(timer, Instant::ZERO));
        }
        assert!(event_loop.deadline(*own_timer).is_some());
    }
    for (mut event_loop, (watcher, subscription, timer)) in loops {
        let handles: [Handle; 3] = [watcher.into(), subscription.into(), timer.into()];
        assert_eq!(handles.map(|handle| event_loop.cancel(handle)), [true; 3]);
        assert!(!event_loop.is_live());
    }
}

/// How many descriptors this process has.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Makes a loop and uses all that takes a descriptor.
fn a_busy_life() -> (EventLoop, Waker, Sender<u32>) {
    let mut event_loop: EventLoop = Loop::reactor_with(0).unwrap();
    let waker = event_loop.waker().unwrap();
    let sender = event_loop
        .mailbox(4, |event_loop: &mut EventLoop, _| event_loop.state += 1)
        .unwrap();
    event_loop
        .signal([Signal::USR1, Signal::HUP], |event_loop, _| {
            event_loop.state += 1;
        })
        .unwrap();
    let child = Command::new("true").spawn().expect("true");
    event_loop
        .pid(child.id(), |event_loop, _| event_loop.state += 1)
        .unwrap();
    event_loop.after(HOUR, |_| ()).unwrap();
    sender.send(1).unwrap();
    system::raise(Signal::USR1.raw());
    while event_loop.state < 3 {
        event_loop.run_once(None).unwrap();
    }
    // What is pending when it goes does not strike afterwards (S-3): its action would be to end the process.
    system::raise(Signal::HUP.raw());
    (event_loop, waker, sender)
}

#[test]
fn s2_a_hundred_loops_leave_no_descriptor_and_the_mask_as_it_was() {
    if !system::alone("s2_a_hundred_loops_leave_no_descriptor_and_the_mask_as_it_was") {
        return;
    }
    let before = descriptors();
    let thread = std::thread::spawn(|| {
        let before = mask();
        for round in 0..100 {
            let (event_loop, waker, sender) = a_busy_life();
            assert!(mask().contains(Signal::USR1) && mask().contains(Signal::HUP));
            // W-1: the wakeup lives as long as its last waker, whichever goes first.
            if round % 2 == 0 {
                drop((waker, sender));
                drop(event_loop);
            } else {
                drop(event_loop);
                waker.wake();
                assert!(waker.is_closed());
                assert!(sender.send(2).is_err());
            }
            assert_eq!(mask(), before);
        }
    });
    thread.join().unwrap();
    assert_eq!(descriptors(), before);
}

#[test]
fn s2_a_loop_that_a_panic_takes_down_leaves_nothing_either() {
    if !system::alone("s2_a_loop_that_a_panic_takes_down_leaves_nothing_either") {
        return;
    }
    let before = (descriptors(), mask());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let (mut event_loop, _waker, _sender) = a_busy_life();
        event_loop.defer(|_| -> () { panic!("on purpose") });
        event_loop.run().unwrap();
    }));
    assert!(panicked.is_err());
    assert_eq!((descriptors(), mask()), before);
}

/// Tells at compile time whether a type has a property: an inherent constant, where the bound holds, goes before the
/// trait's.
struct Has<T>(PhantomData<T>);

trait HasNot {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> HasNot for Has<T> {}

impl<T: Send> Has<T> {
    const SEND: bool = true;
}

impl<T: Sync> Has<T> {
    const SYNC: bool = true;
}

#[test]
fn s3_a_loop_over_epoll_stays_on_its_thread_and_wakers_and_senders_do_not() {
    use linux_event::core::{reactor, wakeup};

    let loops = [
        Has::<EventLoop>::SEND,
        Has::<EventLoop>::SYNC,
        Has::<reactor::Reactor<u32>>::SEND,
        Has::<reactor::Reactor<u32>>::SYNC,
        Has::<reactor::Epoll>::SEND,
        Has::<reactor::Epoll>::SYNC,
    ];
    assert_eq!(loops, [false; 6]);

    let shared = [
        Has::<Waker>::SEND,
        Has::<Waker>::SYNC,
        Has::<Sender<u32>>::SEND,
        Has::<Sender<u32>>::SYNC,
        Has::<wakeup::Wakeup>::SEND,
        Has::<wakeup::Wakeup>::SYNC,
    ];
    assert_eq!(shared, [true; 6]);
    // What a sender carries must be `Send` itself.
    const { assert!(!Has::<Sender<std::rc::Rc<u32>>>::SEND) };
}
