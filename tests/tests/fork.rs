//! G-1 on the kernel: what a forked child may do with a loop of its parent's. In a program of its own, because it
//! forks; the child leaves by `_exit` and runs nothing of the harness.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use linux_event::core::proactor::Uring;
use linux_event::core::reactor::{Epoll, Event, Reactor};
use linux_event::core::sys::uapi::EpollEvent;
use linux_event::core::sys::{Kernel, Linux};
use linux_event::core::wakeup::Wakeup;
use linux_event::{ExitStatus, Interest, Loop, LoopError, Signal};
use linux_event_tests::libc_calls::in_forked_child;
use linux_event_tests::{LONG, Log, MILLI, Machine, OnEpoll, World, finish, note, run_in, turn};

const DONE: ExitStatus = ExitStatus::Exited(0);

#[test]
fn g1_every_call_in_a_forked_child_is_refused_and_dropping_spares_the_parents_loop() {
    run_in::<OnEpoll>(|| {
        let mut event_loop = Loop::reactor_with(Log::new()).unwrap();
        let (reader, writer) = OnEpoll::of(&mut event_loop).pipe();
        let watcher = event_loop
            .watch(&reader)
            .on_read(note::<OnEpoll>("read"))
            .start()
            .unwrap();
        let timer = event_loop.after(LONG, |_| ()).unwrap();
        let signal = event_loop
            .signal("USR1", |l: &mut Loop<_, Log>, _| l.state.push("signal"))
            .unwrap();
        let waker = event_loop.waker().unwrap();
        event_loop.on_wake(|l, _| l.state.push("wake"));

        let slot = Cell::new(Some(event_loop));
        let status = in_forked_child(|| {
            let mut inherited = slot.take().unwrap();
            let refused = [
                inherited.run().unwrap_err(),
                inherited.run_once(Some(Duration::ZERO)).unwrap_err(),
                inherited.run_for(MILLI).unwrap_err(),
                inherited.after(MILLI, |_| ()).unwrap_err(),
                inherited.every(MILLI, |_, _| ()).unwrap_err(),
                inherited.signal("USR2", |_, _| ()).unwrap_err(),
                inherited.pid(1, |_, _| ()).unwrap_err(),
                inherited
                    .watch(&reader)
                    .on_read(note::<OnEpoll>(""))
                    .start()
                    .unwrap_err(),
                inherited
                    .watch(&writer)
                    .on_write(note::<OnEpoll>(""))
                    .start()
                    .unwrap_err(),
                inherited.enable(watcher, Interest::READ).unwrap_err(),
                inherited.disable(watcher, Interest::READ).unwrap_err(),
                inherited.rearm(watcher).unwrap_err(),
                inherited.prepare().unwrap_err(),
            ];
            assert!(
                refused.iter().all(|error| *error == LoopError::Forked),
                "{refused:?}"
            );
            assert!(!inherited.cancel(watcher) && !inherited.cancel(timer));
            assert!(!inherited.cancel(signal) && !inherited.unwatch(&reader));
            drop(inherited);
        });
        assert_eq!(status, DONE);

        let mut event_loop = slot.take().expect("the child took a copy");
        OnEpoll::of(&mut event_loop).put(writer, b"x");
        OnEpoll::of(&mut event_loop).raise(Signal::USR1);
        waker.wake();
        turn::<OnEpoll, _>(&mut event_loop);
        event_loop.state.sort_unstable();
        assert_eq!(event_loop.state, ["read", "signal", "wake"]);
        assert!(
            event_loop.cancel(watcher) && event_loop.cancel(timer) && event_loop.cancel(signal)
        );
        drop(waker);
        finish::<OnEpoll, _>(event_loop);
    });
}

#[test]
fn g1_a_child_forked_in_a_callback_leaves_the_loop_and_makes_its_own() {
    run_in::<OnEpoll>(|| {
        let mut event_loop = Loop::reactor_with(Log::new()).unwrap();
        let (reader, writer) = OnEpoll::of(&mut event_loop).pipe();
        let other = event_loop
            .watch(&reader)
            .on_read(note::<OnEpoll>("read"))
            .start()
            .unwrap();
        event_loop
            .after(Duration::ZERO, |l: &mut Loop<_, Log>| {
                let status = in_forked_child(|| {
                    assert_eq!(l.after(MILLI, |_| ()).unwrap_err(), LoopError::Forked);
                    let mut own = Loop::reactor_with(Log::new()).unwrap();
                    own.after(MILLI, |l| l.state.push("own")).unwrap();
                    own.run().unwrap();
                    assert_eq!(own.state, ["own"]);
                });
                assert_eq!(status, DONE);
                l.state.push("forked");
            })
            .unwrap();
        OnEpoll::of(&mut event_loop).put(writer, b"x");
        turn::<OnEpoll, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["forked", "read"]);
        event_loop.cancel(other);
        finish::<OnEpoll, _>(event_loop);
    });
}

#[test]
fn g1_the_signal_mask_of_a_child_is_not_changed_by_dropping_its_copy() {
    run_in::<OnEpoll>(|| {
        let mut event_loop = Loop::reactor_with(()).unwrap();
        let signal = event_loop.signal("USR1", |_, _| ()).unwrap();
        let slot = Cell::new(Some(event_loop));
        let status = in_forked_child(|| {
            let before = linux_event_tests::libc_calls::thread_mask();
            drop(slot.take());
            assert_eq!(linux_event_tests::libc_calls::thread_mask(), before);
        });
        assert_eq!(status, DONE);
        let mut event_loop = slot.take().unwrap();
        assert!(event_loop.cancel(signal));
        finish::<OnEpoll, _>(event_loop);
    });
}

#[test]
fn g1_a_child_does_not_wake_its_parent_nor_take_its_wakeup() {
    static WAKEUP: Wakeup = Wakeup::new();
    let mut epoll = Epoll::new().unwrap();
    epoll.attach(&WAKEUP).unwrap();
    let mut reactor: Reactor<(), 4, 4> = Reactor::new(epoll);
    let status = in_forked_child(|| {
        WAKEUP.wake();
        WAKEUP.nudge();
        let refused = Epoll::new().unwrap().attach(&WAKEUP);
        assert_eq!(refused.unwrap_err(), LoopError::Forked);
        if let Ok(mut ring) = Uring::<&'static mut [u8]>::new() {
            assert_eq!(ring.attach(&WAKEUP).unwrap_err(), LoopError::Forked);
        }
    });
    assert_eq!(status, DONE);
    let pending = Linux.epoll_wait(reactor.backend().as_fd(), &mut [EpollEvent::EMPTY; 4], 0);
    assert_eq!(pending, Ok(0), "nobody woke it");
    WAKEUP.wake();
    reactor.wait(None).unwrap();
    assert_eq!(reactor.next(), Some(Event::Wakeup { count: 1 }));
}

/// So that the others can be believed.
#[test]
fn a_panic_in_the_child_is_seen() {
    let status = in_forked_child(linux_event_tests::panic_quietly);
    assert_eq!(status, ExitStatus::Exited(101));
    let held = Rc::new(());
    assert_eq!(in_forked_child(|| drop(held)), DONE);
}
