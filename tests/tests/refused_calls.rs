//! Calls that the kernel refuses, one at a time: each is a typed error that names the call, nothing is left behind,
//! and the loop goes on (R-1, R-12, S-2, T-8, C-1).

#![deny(unsafe_code)]

#[path = "../src/counting.rs"]
mod counting;
#[path = "../src/system.rs"]
mod system;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use counting::{ALWAYS, CAPACITY, Name, Probe, Probed, probed, turn};
use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::reactor::{Event, Interest, Ready};
use linux_event_core::signal::{Signal, SignalSet};
use linux_event_core::sys::{AsRawFd, Fd, Kernel, Linux, MaskChange};
use linux_event_core::wakeup::Wakeup;

const REFUSALS: [Errno; 5] = [
    Errno::ENOSYS,
    Errno::EPERM,
    Errno::EMFILE,
    Errno::ENOMEM,
    Errno::ENOSPC,
];
const POLL: Option<Duration> = Some(Duration::ZERO);
const HOUR: Duration = Duration::from_hours(1);

/// What a refused call is to become.
fn expected(call: Call, errno: Errno) -> Error {
    match errno {
        Errno::ENOSYS => Error::Unsupported { call },
        Errno::EPERM => Error::Denied { call, errno },
        errno => Error::Os { call, errno },
    }
}

fn mask() -> SignalSet {
    Linux
        .signal_mask(MaskChange::Block, SignalSet::EMPTY)
        .unwrap()
}

/// An eventfd that is readable for ever.
fn readable() -> Fd {
    let eventfd = Linux.eventfd().unwrap();
    eventfd.write(&1u64.to_ne_bytes()).unwrap();
    eventfd
}

/// Does `work` with each of the calls `refused` refused in each way, and then with nothing refused. In between, what
/// `work` returned must be the error that names `call`, and no descriptor may be left but the reactor's own.
fn refused_and_then_done<R>(
    calls: &[(Name, Call)],
    mut work: impl FnMut(&mut Probed, &Probe) -> Result<R, Error>,
) {
    for &(name, call) in calls {
        for errno in REFUSALS {
            let probe = Probe::new();
            let before = mask();
            let mut reactor = probed(&probe).unwrap();
            let own = probe.open();
            probe.refuse(name, errno, 1);
            let refused = work(&mut reactor, &probe).err();
            assert_eq!(refused, Some(expected(call, errno)), "{name:?} {errno}");
            assert_eq!(probe.open(), own, "{name:?} {errno} left a descriptor");
            assert_eq!(mask(), before, "{name:?} {errno} left the mask changed");
            assert_eq!(reactor.live(), 0, "{name:?} {errno} left a slot");
            let done = work(&mut reactor, &probe).map(drop);
            assert_eq!(done, Ok(()), "{name:?} {errno} is over");
            drop(reactor);
            assert!(probe.open().is_empty(), "{name:?} {errno}");
            assert_eq!(mask(), before, "{name:?} {errno}");
        }
    }
}

#[test]
fn refused_epoll_create_is_a_typed_error() {
    for errno in REFUSALS {
        let probe = Probe::new();
        probe.refuse(Name::EpollCreate, errno, 1);
        let refused = probed(&probe).err();
        assert_eq!(refused, Some(expected(Call::EpollCreate, errno)));
        assert!(probe.open().is_empty());
    }
}

#[test]
fn w1_a_refused_eventfd_is_a_typed_error() {
    let calls = [
        (Name::Eventfd, Call::Eventfd),
        (Name::EpollAdd, Call::EpollCtl),
    ];
    refused_and_then_done(&calls, |reactor, probe| {
        let wakeup = Arc::new(Wakeup::with_kernel(probe.clone()));
        reactor.backend_mut().attach(Arc::clone(&wakeup))?;
        wakeup.wake();
        assert_eq!(turn(reactor, None)?, [Event::Wakeup { count: 1 }]);
        Ok(())
    });
}

#[test]
fn s2_a_refused_signalfd_is_a_typed_error_and_leaves_the_mask_as_it_was() {
    let calls = [
        (Name::SignalMask, Call::Sigprocmask),
        (Name::Signalfd, Call::Signalfd),
        (Name::EpollAdd, Call::EpollCtl),
    ];
    refused_and_then_done(&calls, |reactor, _| {
        let subscription = reactor.signal(Signal::USR1, 7)?;
        system::raise(Signal::USR1.raw());
        let events = turn(reactor, None)?;
        assert!(
            matches!(events[..], [Event::Signal { subscription: of, data: 7, .. }] if of == subscription),
            "{events:?}"
        );
        Ok(())
    });
}

#[test]
fn s2_a_refused_second_subscription_leaves_the_first_in_force() {
    let before = mask();
    for errno in REFUSALS {
        let probe = Probe::new();
        let mut reactor = probed(&probe).unwrap();
        reactor.signal(Signal::USR1, 1).unwrap();
        let with_one = mask();
        probe.refuse(Name::SignalfdChange, errno, 1);
        let refused = reactor.signal(
            [Signal::USR1, Signal::USR2]
                .into_iter()
                .collect::<SignalSet>(),
            2,
        );
        assert_eq!(refused, Err(expected(Call::Signalfd, errno)));
        assert_eq!(mask(), with_one);
        system::raise(Signal::USR1.raw());
        let events = turn(&mut reactor, None).unwrap();
        assert!(
            matches!(events[..], [Event::Signal { data: 1, .. }]),
            "{events:?}"
        );
        drop(reactor);
        assert_eq!(mask(), before);
        assert!(probe.open().is_empty());
    }
}

#[test]
fn s2_what_was_blocked_before_stays_blocked_when_signalfd_is_refused() {
    let set = SignalSet::from(Signal::USR2);
    let before = Linux.signal_mask(MaskChange::Block, set).unwrap();
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    probe.refuse(Name::Signalfd, Errno::EMFILE, 1);
    assert!(reactor.signal(Signal::USR2, 0).is_err());
    assert!(mask().contains(Signal::USR2));
    drop(reactor);
    assert_eq!(mask(), before.with(Signal::USR2));
    Linux.signal_mask(MaskChange::Unblock, set).unwrap();
}

/// Turns until something comes: a pidfd can be readable a moment before the status can be had.
fn turn_with_events(reactor: &mut Probed) -> Result<Vec<Event<u32>>, Error> {
    loop {
        let events = turn(reactor, None)?;
        if !events.is_empty() {
            return Ok(events);
        }
    }
}

#[test]
fn c1_a_refused_pidfd_is_a_typed_error() {
    let calls = [
        (Name::PidfdOpen, Call::PidfdOpen),
        (Name::EpollAdd, Call::EpollCtl),
    ];
    refused_and_then_done(&calls, |reactor, _| {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("cat");
        let watched = reactor.process(child.id() as i32, false, 3);
        drop(child.stdin.take()); // ends it
        let result = watched.and_then(|_| turn_with_events(reactor));
        assert!(child.wait().expect("it was not reaped").success());
        if let Ok(events) = &result {
            assert!(
                matches!(events[..], [Event::Exit { data: 3, status: Ok(Some(status)), .. }] if status.success()),
                "{events:?}"
            );
        }
        result
    });
}

#[test]
fn c1_a_refused_wait_is_an_event_with_the_error() {
    for errno in REFUSALS {
        let probe = Probe::new();
        let mut reactor = probed(&probe).unwrap();
        let mut child = Command::new("true").spawn().expect("true");
        reactor.process(child.id() as i32, true, 4).unwrap();
        probe.refuse(Name::Waitid, errno, 1);
        let events = turn_with_events(&mut reactor).unwrap();
        assert!(
            matches!(events[..], [Event::Exit { data: 4, status: Err(why), .. }] if why == errno),
            "{events:?}"
        );
        assert_eq!(reactor.live(), 0);
        assert_eq!(probe.open_by(Name::PidfdOpen), 0);
        child.wait().expect("it was not reaped");
    }
}

#[test]
fn r11_a_refused_registration_is_an_error_and_takes_no_slot() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    for errno in REFUSALS {
        probe.refuse(Name::EpollAdd, errno, CAPACITY as u64 + 1);
        for _ in 0..=CAPACITY {
            let refused = reactor.watch(&fd, Interest::READ, 0);
            let expected = match errno {
                Errno::EPERM => Error::NotPollable,
                errno => expected(Call::EpollCtl, errno),
            };
            assert_eq!(refused, Err(expected));
        }
    }
    assert_eq!((reactor.live(), reactor.watcher_of(&fd)), (0, None));
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    assert_eq!(turn(&mut reactor, None).unwrap().len(), 1);
}

#[test]
fn errors_say_what_to_do() {
    let says = |call, errno, words: &str| {
        let message = expected(call, errno).to_string();
        assert!(message.contains(words), "{message}");
        assert!(message.contains(call.name()), "{message}");
    };
    says(Call::EpollCreate, Errno::EMFILE, "RLIMIT_NOFILE");
    says(Call::Eventfd, Errno::ENFILE, "fs.file-max");
    says(Call::EpollCtl, Errno::ENOSPC, "fs.epoll.max_user_watches");
    says(Call::PidfdOpen, Errno::ENOSYS, "Linux 5.3");
    says(Call::Signalfd, Errno::EPERM, "seccomp");
}

#[test]
fn r1_eintr_ends_a_wait_empty_and_loses_nothing() {
    const STORM: u64 = 1000;
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    reactor.watch(&fd, Interest::READ, 9).unwrap();
    probe.refuse(Name::EpollWait, Errno::EINTR, STORM);
    for _ in 0..STORM {
        assert_eq!(turn(&mut reactor, None).unwrap(), []);
    }
    assert_eq!(turn(&mut reactor, None).unwrap().len(), 1);

    // A timer that is due by then is delivered in the turn that was interrupted.
    reactor.after(Duration::ZERO, 5).unwrap();
    probe.refuse(Name::EpollWait, Errno::EINTR, 1);
    let events = turn(&mut reactor, None).unwrap();
    assert!(
        matches!(events[..], [Event::Timer { data: 5, .. }]),
        "{events:?}"
    );
    // So are interrupted waits for near and far deadlines, each counted from its own deadline.
    for delay in [2, 60].map(Duration::from_millis) {
        for name in [Name::EpollWait, Name::EpollPwait2] {
            probe.refuse(name, Errno::EINTR, STORM);
        }
        never_early(&mut reactor, &[delay]);
        probe.allow_all();
    }
}

#[test]
fn r1_a_wait_that_is_refused_is_an_error_and_the_next_one_works() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    probe.refuse(Name::EpollWait, Errno::ENOMEM, 1);
    let refused = turn(&mut reactor, None);
    assert_eq!(refused, Err(expected(Call::EpollWait, Errno::ENOMEM)));
    assert_eq!(turn(&mut reactor, None).unwrap().len(), 1);
}

/// Arms a timer for each delay and takes turns until all have fired: none early. Watchers may report meanwhile.
fn never_early(reactor: &mut Probed, delays: &[Duration]) -> u32 {
    let mut turns = 0;
    for &delay in delays {
        let due = Linux.monotonic() + delay;
        reactor.at(due, 0).unwrap();
        let fired = loop {
            turns += 1;
            let timer = turn(reactor, None)
                .unwrap()
                .into_iter()
                .find(|event| matches!(event, Event::Timer { .. }));
            if let Some(Event::Timer { deadline, .. }) = timer {
                break deadline;
            }
        };
        assert_eq!(fired, due);
        assert!(Linux.monotonic() >= due, "{delay:?} was early");
    }
    turns
}

const DELAYS: [Duration; 5] = [
    Duration::from_micros(50),
    Duration::from_micros(700),
    Duration::from_micros(1_001),
    Duration::from_micros(2_999),
    Duration::from_millis(60),
];

/// A caller's timeout of each delay, and no event to end it: not early either.
fn no_timeout_early(reactor: &mut Probed) {
    for delay in DELAYS {
        let end: Instant = Linux.monotonic() + delay;
        assert_eq!(turn(reactor, Some(delay)).unwrap(), []);
        assert!(Linux.monotonic() >= end, "{delay:?} was early");
    }
}

#[test]
fn t8_without_epoll_pwait2_the_timerfd_serves_every_deadline() {
    for errno in [Errno::ENOSYS, Errno::EPERM] {
        let probe = Probe::new();
        probe.refuse(Name::EpollPwait2, errno, ALWAYS);
        let mut reactor = probed(&probe).unwrap();
        let turns = never_early(&mut reactor, &DELAYS);
        assert_eq!(turns as usize, DELAYS.len(), "one turn a timer");
        no_timeout_early(&mut reactor);
        let counts = probe.counts();
        assert_eq!(counts.of(Name::EpollPwait2), 1, "asked once: {counts:?}");
        assert_eq!(counts.of(Name::TimerfdCreate), 1, "{counts:?}");
        drop(reactor);
        assert!(probe.open().is_empty());
    }
}

#[test]
fn t8_without_timerfds_too_the_millisecond_of_epoll_wait_serves() {
    for refused in [Name::TimerfdCreate, Name::TimerfdSettime, Name::EpollAdd] {
        for errno in REFUSALS {
            let probe = Probe::new();
            probe.refuse(Name::EpollPwait2, Errno::ENOSYS, ALWAYS);
            probe.refuse(refused, errno, ALWAYS);
            let mut reactor = probed(&probe).unwrap();
            let turns = never_early(&mut reactor, &DELAYS);
            assert_eq!(turns as usize, DELAYS.len(), "one turn a timer");
            no_timeout_early(&mut reactor);
            let left = probe.open_by(Name::TimerfdCreate);
            assert!(left <= usize::from(refused == Name::TimerfdSettime));
            drop(reactor);
            assert!(probe.open().is_empty());
        }
    }
}

#[test]
fn t8_a_refused_timerfd_leaves_far_deadlines_to_epoll_wait() {
    let probe = Probe::new();
    probe.refuse(Name::TimerfdCreate, Errno::EMFILE, ALWAYS);
    let mut reactor = probed(&probe).unwrap();
    assert_eq!(never_early(&mut reactor, &DELAYS) as usize, DELAYS.len());
    // When descriptors are to be had again, so is the timerfd.
    probe.allow_all();
    reactor.after(HOUR, 0).unwrap();
    let fd = readable();
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    turn(&mut reactor, None).unwrap();
    assert_eq!(probe.open_by(Name::TimerfdCreate), 1);
}

#[test]
fn r12_a_refused_change_is_an_error_event_in_the_same_turn() {
    for errno in [Errno::ENOMEM, Errno::EPERM] {
        let probe = Probe::new();
        let mut reactor = probed(&probe).unwrap();
        let (changed, other) = (readable(), readable());
        let watcher = reactor.watch(&changed, Interest::ERROR, 1).unwrap();
        reactor.watch(&other, Interest::READ, 2).unwrap();
        reactor.enable(watcher, Interest::READ).unwrap();
        probe.refuse(Name::EpollMod, errno, 1);
        let events = turn(&mut reactor, None).unwrap();
        assert!(
            matches!(
                events[..],
                [
                    Event::Ready {
                        ready: Ready::ERROR,
                        data: 1,
                        ..
                    },
                    Event::Ready { data: 2, .. }
                ]
            ),
            "{events:?}"
        );
        assert_eq!(reactor.watch_error(watcher), Some(errno));
        // Told once; the next change is tried, and clears the error.
        let events = turn(&mut reactor, None).unwrap();
        assert!(
            matches!(events[..], [Event::Ready { data: 2, .. }]),
            "{events:?}"
        );
        reactor.enable(watcher, Interest::READ).unwrap();
        let events = turn(&mut reactor, None).unwrap();
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(reactor.watch_error(watcher), None);
    }
}

/// A reactor with a registration that outlived its watcher and can't be removed by number: the file has a duplicate,
/// and the number is another watched file. Also what must live as long.
fn with_an_orphan(probe: &Probe) -> (Probed, Vec<std::os::fd::OwnedFd>) {
    let mut reactor = probed(probe).unwrap();
    let (file, other) = (readable(), Linux.eventfd().unwrap());
    let number = file.as_raw_fd();
    let kept = system::duplicate(number).unwrap();
    reactor.watch(&file, Interest::READ, 1).unwrap();
    let reused = system::duplicate_at(other.as_raw_fd(), file.into_raw()).unwrap();
    reactor.watch(number, Interest::READ, 2).unwrap();
    (reactor, vec![kept, reused])
}

#[test]
fn r5_an_orphan_is_got_rid_of_by_one_rebuild() {
    let probe = Probe::new();
    let (mut reactor, _kept) = with_an_orphan(&probe);
    assert_eq!(turn(&mut reactor, POLL).unwrap(), []);
    assert_eq!(turn(&mut reactor, POLL).unwrap(), []);
    assert_eq!(reactor.stats().rebuilds, 1);
    let stale = reactor.stats().stale;
    assert_eq!(turn(&mut reactor, POLL).unwrap(), []);
    assert_eq!(reactor.stats().stale, stale, "reported no more");
    assert_eq!(probe.open_by(Name::EpollCreate), 1);
}

#[test]
fn r5_an_orphan_that_can_not_be_removed_by_number_is_got_rid_of_too() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let file = readable();
    let _kept = system::duplicate(file.as_raw_fd()).unwrap();
    let watcher = reactor.watch(&file, Interest::READ, 1).unwrap();
    system::close(file.into_raw());
    reactor.cancel(watcher); // EBADF, or ENOENT if another thread has the number by now
    for _ in 0..3 {
        assert_eq!(turn(&mut reactor, POLL).unwrap(), []);
    }
    assert_eq!((reactor.stats().rebuilds, reactor.stats().stale), (1, 1));
}

#[test]
fn r5_a_rebuild_that_is_refused_is_tried_again_and_the_loop_goes_on() {
    for refused in [Name::EpollCreate, Name::EpollAdd] {
        for errno in REFUSALS {
            let probe = Probe::new();
            let (mut reactor, _kept) = with_an_orphan(&probe);
            let wakeup = Arc::new(Wakeup::with_kernel(probe.clone()));
            reactor.backend_mut().attach(Arc::clone(&wakeup)).unwrap();
            let fd = readable();
            reactor.watch(&fd, Interest::READ, 3).unwrap();
            let open = probe.open();

            // EpollAdd: that of the wakeup to the new interest list.
            probe.refuse(refused, errno, 5);
            for round in 0..5 {
                let events = turn(&mut reactor, POLL).unwrap();
                assert!(
                    matches!(events[..], [Event::Ready { data: 3, .. }]),
                    "{refused:?} {errno}, round {round}: {events:?}"
                );
                assert_eq!(probe.open(), open, "{refused:?} {errno}");
            }
            assert_eq!(reactor.stats().rebuilds, 0);
            probe.allow_all();
            turn(&mut reactor, POLL).unwrap();
            turn(&mut reactor, POLL).unwrap();
            assert_eq!(reactor.stats().rebuilds, 1);
            wakeup.wake();
            let events = turn(&mut reactor, None).unwrap();
            assert_eq!(events.len(), 2, "{events:?}");
            assert!(events.contains(&Event::Wakeup { count: 1 }));
            assert_eq!(probe.open().len(), open.len());
        }
    }
}

#[test]
fn r12_a_watcher_that_a_rebuild_could_not_carry_over_hears_of_it() {
    let probe = Probe::new();
    let (mut reactor, _kept) = with_an_orphan(&probe);
    let fd = Linux.eventfd().unwrap();
    let watcher = reactor.watch(&fd, Interest::READ, 3).unwrap();
    turn(&mut reactor, POLL).unwrap();
    // The wakeup, timerfd and signalfd are not there: these are the two watchers.
    probe.refuse(Name::EpollAdd, Errno::ENOSPC, 2);
    let events = turn(&mut reactor, None).unwrap();
    assert_eq!(reactor.stats().rebuilds, 1);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(reactor.watch_error(watcher), Some(Errno::ENOSPC));
    reactor.enable(watcher, Interest::READ).unwrap();
    fd.write(&1u64.to_ne_bytes()).unwrap();
    let events = turn(&mut reactor, None).unwrap();
    assert!(
        matches!(events[..], [Event::Ready { data: 3, .. }]),
        "{events:?}"
    );
}
