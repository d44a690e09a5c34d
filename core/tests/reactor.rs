//! The values API on the real kernel: what the engine's own corners do.

use core::time::Duration;

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
