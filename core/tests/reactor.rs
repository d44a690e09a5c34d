//! The values API on the real kernel: what the engine's own corners do.

use core::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::reactor::{Epoll, Event, Interest, Mode, Reactor, Ready};
use linux_event_core::sys::{Linux, SocketKind, Sockets};

/// a hang-up that nobody asked for does not use a oneshot up, and does not make the loop spin.
#[test]
fn r9_a_oneshot_is_not_spent_on_what_nobody_takes() {
    let mut reactor: Reactor<(), 4, 4> = Reactor::new(Epoll::new().unwrap());
    let (ours, theirs) = Linux.socketpair(SocketKind::Stream).unwrap();
    drop(theirs);
    let watcher = reactor
        .watch_with(&ours, Interest::PRIORITY, Mode::ONESHOT, ())
        .unwrap();
    for _ in 0..4 {
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!(reactor.next(), None);
    }
    assert_eq!(reactor.live(), 1, "it still waits for what it asked for");
    let controls = reactor.stats().controls;
    reactor.wait(Some(Duration::from_micros(50))).unwrap();
    assert_eq!(reactor.next(), None, "masked, not reported again and again");
    assert_eq!(reactor.stats().controls, controls);

    reactor.enable(watcher, Interest::READ).unwrap();
    reactor.wait(None).unwrap();
    let Some(Event::Ready { ready, .. }) = reactor.next() else {
        panic!("the end can be read");
    };
    assert_eq!(ready, Ready::READ | Ready::HANGUP);
    reactor.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(reactor.next(), None, "once");
    assert_eq!(reactor.live(), 0);
}

/// a turn of which not everything was taken does not make the next one come back empty.
#[test]
fn r1_a_turn_that_was_not_drained_leaves_no_empty_one() {
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let start = reactor.read_clock();
    let soon = start + Duration::from_millis(1);
    reactor.at(soon, 1).unwrap();
    reactor.at(soon + Duration::from_millis(1), 2).unwrap();
    reactor.wait(None).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Timer { data: 1, .. })));
    // Not asked again until `None`: the next turn waits for the second timer all the same.
    reactor.wait(None).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Timer { data: 2, .. })));
    assert!(reactor.now() >= soon + Duration::from_millis(1));
}

/// timers that were due and not taken are taken by the next turn, which does not wait.
#[test]
fn r1_due_timers_that_were_left_are_the_next_turns() {
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let past = reactor.read_clock();
    for data in 0..3 {
        reactor.at(past, data).unwrap();
    }
    for expected in 0..3 {
        reactor.wait(None).unwrap();
        let Some(Event::Timer { data, .. }) = reactor.next() else {
            panic!("timer {expected} is due");
        };
        assert_eq!(data, expected);
    }
}

/// a failed registration that was told, in a turn that was not drained, leaves no empty turn either.
#[test]
fn r1_a_failure_that_was_told_leaves_no_empty_turn() {
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let (ours, theirs) = Linux.socketpair(SocketKind::Stream).unwrap();
    let watcher = reactor.watch(&ours, Interest::READ, 1).unwrap();
    drop(ours);
    reactor.enable(watcher, Interest::WRITE).unwrap();
    reactor.wait(None).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Ready { data: 1, .. })));
    assert!(reactor.watch_error(watcher).is_some());
    let deadline = reactor.read_clock() + Duration::from_millis(2);
    reactor.at(deadline, 2).unwrap();
    reactor.wait(None).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Timer { data: 2, .. })));
    drop(theirs);
}

/// M-6: of a socket that an operation would wait on, as it is in blocking mode, what is there is received and nothing waited for.
#[test]
fn m6_receiving_by_hand_never_waits() {
    let (ours, theirs) = Linux.socketpair(SocketKind::Stream).unwrap();
    Linux.set_non_blocking(ours.borrow(), false).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let waits = std::thread::spawn(move || {
        let mut bytes = [0; 4];
        tell.send(Linux.recv(ours.borrow(), &mut bytes)).unwrap();
        ours
    });
    let received = told.recv_timeout(Duration::from_secs(30));
    assert_eq!(received.expect("it waits"), Err(Errno::EAGAIN));
    let ours = waits.join().unwrap();
    Linux.send(theirs.borrow(), b"here").unwrap();
    assert_eq!(Linux.recv(ours.borrow(), &mut [0; 8]), Ok(4));
}
