//! Descriptors closed behind the loop's back: before a wait, in the middle of a batch, and their numbers used again,
//! by other files and by the loop's own.

#![deny(unsafe_code)]
#![allow(clippy::zombie_processes, reason = "the reactor reaps them")]

#[path = "../src/counting.rs"]
mod counting;
#[path = "../src/system.rs"]
mod system;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use counting::{Name, Probe, Probed, probed, turn};
use linux_event_core::errno::Errno;
use linux_event_core::handle::Watcher;
use linux_event_core::reactor::{Event, Interest};
use linux_event_core::signal::Signal;
use linux_event_core::sys::{AsRawFd, Fd, Kernel, Linux, RawFd};
use linux_event_core::wakeup::Wakeup;

const POLL: Option<Duration> = Some(Duration::ZERO);
/// Beyond what goes through `epoll_pwait2`.
const FAR: Duration = Duration::from_millis(80);

/// An eventfd that is readable for ever.
fn readable() -> Fd {
    let eventfd = Linux.eventfd().unwrap();
    eventfd.write(&1u64.to_ne_bytes()).unwrap();
    eventfd
}

fn data_of(events: &[Event<u32>]) -> Vec<u32> {
    let data = |event: &Event<u32>| match *event {
        Event::Ready { data, .. } => data,
        ref other => panic!("{other:?}"),
    };
    events.iter().map(data).collect()
}

#[test]
fn r5_a_descriptor_closed_before_the_wait_is_silent_and_its_change_an_error_event() {
    if !system::alone(
        "r5_a_descriptor_closed_before_the_wait_is_silent_and_its_change_an_error_event",
    ) {
        return;
    }
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let (closed, other) = (readable(), readable());
    let watcher = reactor.watch(&closed, Interest::READ, 1).unwrap();
    reactor.watch(&other, Interest::READ, 2).unwrap();
    system::close(closed.into_raw());
    assert_eq!(data_of(&turn(&mut reactor, None).unwrap()), [2]);

    reactor.enable(watcher, Interest::WRITE).unwrap();
    let events = turn(&mut reactor, None).unwrap();
    assert_eq!(data_of(&events), [1, 2], "{events:?}");
    assert_eq!(reactor.watch_error(watcher), Some(Errno::EBADF));
    assert_eq!(data_of(&turn(&mut reactor, None).unwrap()), [2]);
    assert!(reactor.cancel(watcher));
    assert!(!reactor.cancel(watcher));
    assert_eq!(reactor.live(), 1);
}

#[test]
fn r6_a_descriptor_closed_and_cancelled_in_the_middle_of_a_batch_is_not_delivered() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let mut fds: Vec<_> = (0..10).map(|_| Some(readable())).collect();
    let watchers: Vec<_> = (0..)
        .zip(&fds)
        .map(|(data, fd)| {
            reactor
                .watch(fd.as_ref().unwrap(), Interest::READ, data)
                .unwrap()
        })
        .collect();
    reactor.wait(None).unwrap();
    let mut delivered = BTreeSet::new();
    while let Some(event) = reactor.next() {
        let data = data_of(&[event])[0] as usize;
        assert!(delivered.insert(data), "once");
        // Closes its neighbour, and sometimes says so afterwards.
        let neighbour = (data + 1) % fds.len();
        if fds[neighbour].take().is_some() {
            reactor.cancel(watchers[neighbour]);
        }
        if data == 7 {
            break;
        }
    }
    for data in &delivered {
        let neighbour = (data + 1) % fds.len();
        assert!(
            !delivered.contains(&neighbour) || neighbour < *data,
            "{delivered:?}"
        );
    }
}

#[test]
fn r6_a_number_used_again_in_the_middle_of_a_batch_reports_to_its_new_watcher_only() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fds = [readable(), readable()];
    let quiet = Linux.eventfd().unwrap();
    for (data, fd) in (1..).zip(&fds) {
        reactor.watch(fd, Interest::READ, data).unwrap();
    }
    reactor.wait(None).unwrap();
    let first = data_of(&[reactor.next().unwrap()])[0];
    let [one, two] = fds.map(Fd::into_raw);
    let (kept, reused) = if first == 1 { (one, two) } else { (two, one) };
    // The other one's file is closed by this, while its event waits in the batch.
    let _again = system::duplicate_at(quiet.as_raw_fd(), reused).unwrap();
    reactor.watch(reused, Interest::READ, 3).unwrap();
    assert_eq!(
        reactor.next(),
        None,
        "nothing for the old watcher, nor for the new"
    );
    quiet.write(&1u64.to_ne_bytes()).unwrap();
    let data: BTreeSet<_> = data_of(&turn(&mut reactor, None).unwrap())
        .into_iter()
        .collect();
    assert_eq!(data, BTreeSet::from([first, 3]));
    assert_eq!(reactor.live(), 2, "no slot is leaked");
    drop(reactor);
    // the loop has closed neither.
    system::close(kept);
}

/// Leaves a registration that outlives its watcher and has the reactor rebuild its interest list: see `refused_calls`.
fn leave_an_orphan(reactor: &mut Probed) {
    let (file, other) = (readable(), Linux.eventfd().unwrap());
    let number = file.as_raw_fd();
    std::mem::forget(system::duplicate(number).unwrap());
    reactor.watch(&file, Interest::READ, 100).unwrap();
    std::mem::forget(system::duplicate_at(other.as_raw_fd(), file.into_raw()).unwrap());
    reactor.watch(number, Interest::READ, 101).unwrap();
}

/// What a watcher whose descriptor is gone may still be asked to do.
type Meddle = fn(&mut Probed, Watcher, RawFd);

const MEDDLES: [(&str, Meddle); 4] = [
    ("cancel", |reactor, watcher, _| {
        reactor.cancel(watcher);
    }),
    ("change", |reactor, watcher, _| {
        let _ = reactor.enable(watcher, Interest::WRITE);
    }),
    ("rearm", |reactor, watcher, _| {
        let _ = reactor.rearm(watcher);
    }),
    ("rebuild", |reactor, _, _| {
        leave_an_orphan(reactor);
        turn(reactor, POLL).unwrap();
        turn(reactor, POLL).unwrap();
        assert_eq!(reactor.stats().rebuilds, 1);
    }),
];

/// A reactor with a watcher whose descriptor was closed and whose number is the next to be given out.
fn with_a_free_number(probe: &Probe) -> (Probed, Watcher, RawFd) {
    let mut reactor = probed(probe).unwrap();
    let closed = Linux.eventfd().unwrap();
    let watcher = reactor.watch(&closed, Interest::READ, 1).unwrap();
    let number = closed.into_raw();
    system::close(number);
    (reactor, watcher, number)
}

/// The number was used again, by what `name` made.
fn assert_used_again(probe: &Probe, number: RawFd, name: Name) {
    assert_eq!(probe.open().get(&number), Some(&name));
}

/// Waits until something of the reactor's own comes; the old watcher may be told of an error, not of readiness.
fn own_event(reactor: &mut Probed, name: &str) -> Event<u32> {
    loop {
        for event in turn(reactor, None).unwrap() {
            match event {
                Event::Ready {
                    watcher,
                    data: 1,
                    ready,
                } => {
                    let failed = reactor.watch_error(watcher).is_some();
                    assert!(failed, "{name}: the old watcher fired: {ready:?}");
                }
                other => return other,
            }
        }
    }
}

#[test]
fn r5_a_number_that_the_timerfd_uses_again_is_not_touched() {
    if !system::alone("r5_a_number_that_the_timerfd_uses_again_is_not_touched") {
        return;
    }
    for (name, meddle) in MEDDLES {
        let probe = Probe::new();
        let wake = readable();
        let (mut reactor, watcher, number) = with_a_free_number(&probe);
        reactor.after(FAR, 7).unwrap();
        let woken = reactor.watch(&wake, Interest::READ, 8).unwrap();
        turn(&mut reactor, None).unwrap();
        reactor.cancel(woken);
        assert_used_again(&probe, number, Name::TimerfdCreate);
        meddle(&mut reactor, watcher, number);
        let event = own_event(&mut reactor, name);
        assert!(
            matches!(event, Event::Timer { data: 7, .. }),
            "{name}: {event:?}"
        );
        // Nor can it be watched: it is the reactor's.
        assert!(reactor.watch(number, Interest::READ, 9).is_err(), "{name}");
        reactor.after(FAR, 7).unwrap();
        own_event(&mut reactor, name);
    }
}

#[test]
fn r5_a_number_that_the_signalfd_uses_again_is_not_touched() {
    if !system::alone("r5_a_number_that_the_signalfd_uses_again_is_not_touched") {
        return;
    }
    for (name, meddle) in MEDDLES {
        let probe = Probe::new();
        let (mut reactor, watcher, number) = with_a_free_number(&probe);
        reactor.signal(Signal::USR1, 7).unwrap();
        assert_used_again(&probe, number, Name::Signalfd);
        meddle(&mut reactor, watcher, number);
        system::raise(Signal::USR1.raw());
        let event = own_event(&mut reactor, name);
        assert!(
            matches!(event, Event::Signal { data: 7, .. }),
            "{name}: {event:?}"
        );
    }
}

#[test]
fn r5_a_number_that_the_wakeup_uses_again_is_not_touched() {
    if !system::alone("r5_a_number_that_the_wakeup_uses_again_is_not_touched") {
        return;
    }
    for (name, meddle) in MEDDLES {
        let probe = Probe::new();
        let (mut reactor, watcher, number) = with_a_free_number(&probe);
        let wakeup = Arc::new(Wakeup::with_kernel(probe.clone()));
        reactor.backend_mut().attach(Arc::clone(&wakeup)).unwrap();
        assert_used_again(&probe, number, Name::Eventfd);
        meddle(&mut reactor, watcher, number);
        wakeup.wake();
        assert_eq!(
            own_event(&mut reactor, name),
            Event::Wakeup { count: 1 },
            "{name}"
        );
    }
}

#[test]
fn r5_a_number_that_a_pidfd_uses_again_is_not_touched() {
    if !system::alone("r5_a_number_that_a_pidfd_uses_again_is_not_touched") {
        return;
    }
    for (name, meddle) in MEDDLES {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("cat");
        let probe = Probe::new();
        let (mut reactor, watcher, number) = with_a_free_number(&probe);
        reactor.process(child.id() as i32, true, 7).unwrap();
        assert_used_again(&probe, number, Name::PidfdOpen);
        meddle(&mut reactor, watcher, number);
        drop(child.stdin.take()); // ends it
        let event = own_event(&mut reactor, name);
        assert!(
            matches!(event, Event::Exit { data: 7, .. }),
            "{name}: {event:?}"
        );
        assert_eq!(probe.open_by(Name::PidfdOpen), 0);
    }
}

#[test]
fn r5_an_orphan_whose_number_a_pidfd_has_does_not_cost_the_exit() {
    if !system::alone("r5_an_orphan_whose_number_a_pidfd_has_does_not_cost_the_exit") {
        return;
    }
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .spawn()
        .expect("cat");
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fds = [(); 3].map(|()| readable());
    let kept = system::duplicate(fds[1].as_raw_fd()).unwrap();
    let watchers = [0, 1, 2].map(|at| reactor.watch(&fds[at], Interest::READ, 1).unwrap());
    let [first, orphan, last] = fds;
    let number = orphan.into_raw();
    system::close(number);
    // The orphan's slot stays vacant, whichever end the next occupant takes.
    for watcher in watchers {
        reactor.cancel(watcher); // the orphan can't be removed: its number is closed
    }
    reactor.process(child.id() as i32, true, 7).unwrap();
    assert_used_again(&probe, number, Name::PidfdOpen);
    assert_eq!(turn(&mut reactor, POLL).unwrap(), []);
    assert_eq!(reactor.stats().stale, 1);
    // Reported once, and then no more: a registration that went by mistake would not be mended.
    std::io::Read::read_exact(&mut std::fs::File::from(kept), &mut [0; 8]).unwrap();
    drop(child.stdin.take()); // ends it
    let event = own_event(&mut reactor, "orphan");
    assert!(matches!(event, Event::Exit { data: 7, .. }), "{event:?}");
    drop((first, last));
}

#[test]
fn r5_a_number_that_a_new_interest_list_uses_again_is_not_touched() {
    if !system::alone("r5_a_number_that_a_new_interest_list_uses_again_is_not_touched") {
        return;
    }
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let (stale, other) = (Linux.eventfd().unwrap(), readable());
    let watcher = reactor.watch(&stale, Interest::READ, 1).unwrap();
    reactor.watch(&other, Interest::READ, 8).unwrap();
    leave_an_orphan(&mut reactor);
    let number = stale.into_raw();
    system::close(number);
    turn(&mut reactor, POLL).unwrap();
    turn(&mut reactor, POLL).unwrap();
    assert_used_again(&probe, number, Name::EpollCreate);

    reactor.enable(watcher, Interest::WRITE).unwrap();
    let events = turn(&mut reactor, None).unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(reactor.watch_error(watcher).is_some());
    assert!(reactor.cancel(watcher));
    assert_eq!(data_of(&turn(&mut reactor, None).unwrap()), [8]);
}
