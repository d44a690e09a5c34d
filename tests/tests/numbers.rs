//! R-5 where the loop itself opens what gets the number: a watched descriptor is closed without `unwatch`, and the
//! signalfd, timerfd or pidfd that the loop opens next has its number. In a program of its own, one test at a time, so
//! that the next number is known.

use std::io::PipeReader;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::Duration;

use linux_event::core::reactor::{self, Event};
use linux_event::core::sys::Linux;
use linux_event::{Epoll, ExitStatus, Interest, Loop, Reactor, Shared, Signal, Watcher};
use linux_event_tests::{
    File, LONG, Log, MILLI, Machine, OnEpoll, World, finish, libc_calls, run_in, turn,
};

type EventLoop = Loop<Reactor<Epoll>, Log>;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What is done to a watcher whose descriptor is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    Cancel,
    Rearm,
}

/// Watches a descriptor and closes it; what is opened next has its number.
fn leave_a_stale_watcher(event_loop: &mut EventLoop) -> (Watcher, i32) {
    let (reader, writer): (PipeReader, _) = std::io::pipe().unwrap();
    let number = reader.as_raw_fd();
    let watcher = event_loop
        .watch(&reader)
        .on_read(|l: &mut EventLoop, _, _| l.state.push("stale"))
        .on_error(|_: &mut EventLoop, _, _| ())
        .start()
        .unwrap();
    drop(writer);
    drop(reader);
    (watcher, number)
}

fn late(event_loop: &mut EventLoop, watcher: Watcher, how: Late) {
    match how {
        Late::Cancel => assert!(event_loop.cancel(watcher)),
        Late::Rearm => event_loop.rearm(watcher).unwrap(),
    }
    turn::<OnEpoll, _>(event_loop);
}

fn open_by_this_process(number: i32) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    link.to_string_lossy().into_owned()
}

fn each_way(test: impl Fn(&mut EventLoop, Late)) {
    let _alone = ONE_AT_A_TIME.lock();
    for how in [Late::Cancel, Late::Rearm] {
        run_in::<OnEpoll>(|| {
            let mut event_loop = Loop::reactor_with(Log::new()).unwrap();
            test(&mut event_loop, how);
            finish::<OnEpoll, _>(event_loop);
        });
    }
}

#[test]
fn r5_a_stale_watcher_can_not_touch_the_signalfd_that_has_its_number() {
    each_way(|event_loop, how| {
        let (watcher, number) = leave_a_stale_watcher(event_loop);
        let signal = event_loop.signal("USR1", |l: &mut EventLoop, _| l.state.push("signal"));
        assert!(open_by_this_process(number).contains("signalfd"));
        late(event_loop, watcher, how);
        libc_calls::raise(Signal::USR1);
        turn::<OnEpoll, _>(event_loop);
        assert_eq!(event_loop.state, ["signal"], "{how:?}");
        event_loop.cancel(watcher);
        event_loop.cancel(signal.unwrap());
    });
}

#[test]
fn r5_a_stale_watcher_can_not_touch_the_timerfd_that_has_its_number() {
    each_way(|event_loop, how| {
        let (watcher, number) = leave_a_stale_watcher(event_loop);
        event_loop.unref(watcher);
        event_loop
            .after(MILLI * 60, |l| l.state.push("timer"))
            .unwrap();
        event_loop
            .after(MILLI * 60, |l| l.state.push("timer"))
            .unwrap();
        event_loop.defer(|_| ());
        turn::<OnEpoll, _>(event_loop);
        event_loop.prepare().unwrap(); // arms the timerfd
        assert!(open_by_this_process(number).contains("timerfd"));
        late(event_loop, watcher, how);
        let begin = event_loop.read_clock();
        event_loop.run().unwrap();
        assert!(event_loop.read_clock().since(begin) < LONG);
        assert_eq!(event_loop.state, ["timer"; 2], "{how:?}");
        event_loop.cancel(watcher);
    });
}

#[test]
fn r5_a_stale_watcher_can_not_touch_the_pidfd_that_has_its_number() {
    each_way(|event_loop, how| {
        let pid = OnEpoll::of(event_loop).spawn();
        let (watcher, number) = leave_a_stale_watcher(event_loop);
        event_loop.unref(watcher);
        event_loop
            .pid(pid, |l: &mut EventLoop, exit| {
                assert_eq!(exit.status, Ok(Some(ExitStatus::Exited(5))));
                l.state.push("exit");
            })
            .unwrap();
        assert!(open_by_this_process(number).contains("pidfd"));
        late(event_loop, watcher, how);
        OnEpoll::of(event_loop).exit(pid, ExitStatus::Exited(5));
        // A pidfd may be readable a moment before the process can be waited for: then a turn is empty.
        for _ in 0..10 {
            if event_loop.state.is_empty() {
                event_loop.run_once(Some(MILLI * 500)).unwrap();
            }
        }
        assert_eq!(event_loop.state, ["exit"], "{how:?}");
        event_loop.cancel(watcher);
    });
}

#[test]
fn r5_a_stale_watcher_can_not_touch_the_eventfd_that_has_its_number() {
    let _alone = ONE_AT_A_TIME.lock();
    for how in [Late::Cancel, Late::Rearm] {
        let mut reactor: reactor::Reactor<u32, 4, 4, Epoll> =
            reactor::Reactor::new(Epoll::with_kernel(Linux).unwrap());
        let (reader, writer) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        let watcher = reactor
            .watch(File(number), Interest::READ | Interest::ERROR, 1)
            .unwrap();
        drop((reader, writer));
        let wakeup = Shared::default();
        reactor.backend_mut().attach(wakeup.clone()).unwrap();
        assert!(open_by_this_process(number).contains("eventfd"));
        match how {
            Late::Cancel => assert!(reactor.cancel(watcher)),
            Late::Rearm => reactor.rearm(watcher).unwrap(),
        }
        reactor.wait(Some(Duration::ZERO)).unwrap();
        while reactor.next().is_some() {}
        wakeup.wake();
        reactor.wait(Some(LONG)).unwrap();
        assert_eq!(reactor.next(), Some(Event::Wakeup { count: 1 }), "{how:?}");
    }
}
