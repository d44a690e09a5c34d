//! What a turn costs in system calls, counted on the real kernel (R-1, R-4, R-7, R-9, R-12, T-1, W-1, G-3).

#![deny(unsafe_code)]

#[path = "../src/counting.rs"]
mod counting;
#[path = "../src/system.rs"]
mod system;

use std::sync::Arc;
use std::time::Duration;

use counting::{ALWAYS, Name, Probe, has_pwait2, probed, turn};
use linux_event_core::errno::Errno;
use linux_event_core::reactor::{Event, Interest, Mode, Ready};
use linux_event_core::signal::{Signal, SignalSet};
use linux_event_core::sys::{AsRawFd, Fd, Kernel, Linux, MaskChange};
use linux_event_core::wakeup::Wakeup;

const TURNS: u64 = 1000;
const HOUR: Duration = Duration::from_hours(1);
const POLL: Option<Duration> = Some(Duration::ZERO);

/// An eventfd that is readable for ever.
fn readable() -> Fd {
    let eventfd = Linux.eventfd().unwrap();
    eventfd.write(&1u64.to_ne_bytes()).unwrap();
    eventfd
}

/// A probe whose clock stands still, so that a near deadline stays near however slow the machine is.
fn stopped() -> Probe {
    let probe = Probe::new();
    probe.stop_clock(Some(Linux.monotonic()));
    probe
}

#[test]
fn r1_a_turn_without_timers_is_one_epoll_wait_and_no_clock() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fds = [(); 8].map(|()| readable());
    for fd in &fds {
        reactor.watch(fd, Interest::READ, 0).unwrap();
    }
    let (events, counts) = probe.counted(|| {
        (0..TURNS)
            .map(|_| turn(&mut reactor, None).unwrap().len())
            .sum::<usize>()
    });
    assert_eq!(events, 8 * TURNS as usize);
    assert_eq!(counts.of(Name::EpollWait), TURNS, "{counts:?}");
    assert_eq!(counts.system_calls(), TURNS, "{counts:?}");
    assert_eq!(counts.of(Name::Monotonic), 0, "T-1: none without timers");
}

#[test]
fn t1_a_near_deadline_costs_one_call_and_two_readings_a_turn() {
    if !has_pwait2() {
        return;
    }
    let probe = stopped();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    for near in 1..=50 {
        reactor.after(Duration::from_millis(near), 1).unwrap();
    }
    let ((), counts) = probe.counted(|| {
        for _ in 0..TURNS {
            assert_eq!(turn(&mut reactor, None).unwrap().len(), 1);
        }
    });
    assert_eq!(counts.of(Name::EpollPwait2), TURNS, "{counts:?}");
    assert_eq!(counts.system_calls(), TURNS, "{counts:?}");
    assert_eq!(counts.of(Name::Monotonic), 2 * TURNS, "{counts:?}");
}

#[test]
fn t1_a_far_deadline_sets_the_timerfd_once_and_is_read_after_the_wait_only() {
    let probe = stopped();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    reactor.after(HOUR, 1).unwrap();
    let (_, first) = probe.counted(|| turn(&mut reactor, None).unwrap());
    assert_eq!(first.of(Name::TimerfdCreate), 1, "{first:?}");
    assert_eq!(first.of(Name::TimerfdSettime), 1, "{first:?}");
    let ((), counts) = probe.counted(|| {
        for _ in 0..TURNS {
            assert_eq!(turn(&mut reactor, None).unwrap().len(), 1);
            // Later deadlines than the first change nothing.
            let later = reactor.after(2 * HOUR, 2).unwrap();
            reactor.cancel(later);
        }
    });
    assert_eq!(counts.of(Name::EpollWait), TURNS, "{counts:?}");
    assert_eq!(counts.system_calls(), TURNS, "{counts:?}");
    // `after` reads the clock itself; the loop once a turn, after its wait.
    assert_eq!(counts.of(Name::Monotonic), 2 * TURNS, "{counts:?}");
}

#[test]
fn t1_the_clock_is_read_once_before_a_wait_without_epoll_pwait2_too() {
    let probe = stopped();
    probe.refuse(Name::EpollPwait2, Errno::ENOSYS, ALWAYS);
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    reactor.after(HOUR, 1).unwrap();
    turn(&mut reactor, Some(HOUR / 2)).unwrap(); // finds that it is missing
    let (_, counts) = probe.counted(|| turn(&mut reactor, Some(HOUR / 3)).unwrap());
    assert_eq!(counts.of(Name::EpollPwait2), 0, "{counts:?}");
    assert!(counts.of(Name::Monotonic) <= 2, "{counts:?}");
}

#[test]
fn r1_a_callers_timeout_costs_one_call_a_turn() {
    if !has_pwait2() {
        return;
    }
    let probe = stopped();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(1), HOUR] {
        let ((), counts) = probe.counted(|| {
            for _ in 0..TURNS {
                turn(&mut reactor, Some(timeout)).unwrap();
            }
        });
        assert_eq!(counts.system_calls(), TURNS, "{timeout:?}: {counts:?}");
        assert_eq!(counts.of(Name::Monotonic), 0, "{timeout:?}: {counts:?}");
    }
}

#[test]
fn r1_what_is_left_over_is_delivered_without_a_wait() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fds = [(); 2].map(|()| readable());
    for fd in &fds {
        reactor.watch(fd, Interest::READ, 0).unwrap();
    }
    reactor.wait(None).unwrap();
    assert!(reactor.next().is_some());
    let (events, counts) = probe.counted(|| turn(&mut reactor, None).unwrap());
    assert_eq!(events.len(), 1, "the one that was left, not both again");
    assert_eq!(counts.system_calls(), 0, "{counts:?}");
}

#[test]
fn r1_a_cancelled_timer_does_not_end_a_later_wait() {
    if !has_pwait2() {
        return;
    }
    let probe = stopped();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    let watcher = reactor.watch(&fd, Interest::READ, 0).unwrap();
    let far = reactor.after(Duration::from_millis(60), 1).unwrap();
    turn(&mut reactor, None).unwrap();
    assert_eq!(probe.counts().of(Name::TimerfdSettime), 1);
    reactor.cancel(watcher);
    reactor.cancel(far);
    let timeout = Duration::from_millis(100);
    let start = Linux.monotonic();
    assert_eq!(turn(&mut reactor, Some(timeout)).unwrap(), []);
    let waited = Linux.monotonic().since(start);
    assert!(waited >= timeout, "ended after {waited:?}");
}

#[test]
fn r12_disabling_and_enabling_again_costs_no_epoll_ctl() {
    system::raise_descriptor_limit().unwrap();
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fds: Vec<_> = (0..1000).map(|_| Linux.eventfd().unwrap()).collect();
    let watchers: Vec<_> = fds
        .iter()
        .map(|fd| reactor.watch(fd, Interest::READ, 0).unwrap())
        .collect();

    let ((), counts) = probe.counted(|| {
        for &watcher in watchers.iter().cycle().take(3000) {
            reactor.disable(watcher, Interest::READ).unwrap();
            reactor.enable(watcher, Interest::READ).unwrap();
        }
        turn(&mut reactor, POLL).unwrap();
    });
    assert_eq!(counts.controls(), 0, "{counts:?}");
    assert_eq!(counts.system_calls(), 1, "{counts:?}");

    // A change that lasts costs one, however often it was taken back and made again.
    let ((), counts) = probe.counted(|| {
        for &watcher in watchers.iter().cycle().take(3000) {
            reactor.enable(watcher, Interest::WRITE).unwrap();
            reactor.disable(watcher, Interest::WRITE).unwrap();
            reactor.disable(watcher, Interest::READ).unwrap();
        }
        turn(&mut reactor, POLL).unwrap();
    });
    assert_eq!(counts.of(Name::EpollMod), 1000, "{counts:?}");
    assert_eq!(counts.controls(), 1000, "{counts:?}");
    let (_, counts) = probe.counted(|| turn(&mut reactor, POLL).unwrap());
    assert_eq!(counts.system_calls(), 1, "flushed once: {counts:?}");
}

#[test]
fn r12_a_change_is_one_mod_before_the_wait_and_none_at_once() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    let watcher = reactor.watch(&fd, Interest::READ, 0).unwrap();
    let ((), counts) = probe.counted(|| reactor.enable(watcher, Interest::WRITE).unwrap());
    assert_eq!(counts.system_calls(), 0, "{counts:?}");
    let (events, counts) = probe.counted(|| turn(&mut reactor, None).unwrap());
    assert_eq!(counts.of(Name::EpollMod), 1, "{counts:?}");
    assert_eq!(counts.system_calls(), 2, "{counts:?}");
    let both = Ready::READ | Ready::WRITE;
    assert!(
        matches!(events[..], [Event::Ready { ready, .. }] if ready == both),
        "{events:?}"
    );
}

#[test]
fn r4_watching_a_watched_descriptor_is_exactly_one_mod() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    let (old, counts) = probe.counted(|| reactor.watch(&fd, Interest::READ, 1).unwrap());
    assert_eq!((counts.of(Name::EpollAdd), counts.system_calls()), (1, 1));
    let (new, counts) = probe.counted(|| reactor.watch(&fd, Interest::READ, 2).unwrap());
    assert_eq!((counts.of(Name::EpollMod), counts.system_calls()), (1, 1));
    assert!(!reactor.contains(old));
    let events = turn(&mut reactor, None).unwrap();
    assert!(
        matches!(events[..], [Event::Ready { watcher, data: 2, .. }] if watcher == new),
        "{events:?}"
    );
}

#[test]
fn r7_a_oneshot_costs_one_mod_an_event_to_arm_again() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let fd = readable();
    let watcher = reactor
        .watch_with(&fd, Interest::READ, Mode::ONESHOT, 0)
        .unwrap();
    let ((), counts) = probe.counted(|| {
        for _ in 0..TURNS {
            assert_eq!(turn(&mut reactor, None).unwrap().len(), 1);
            reactor.enable(watcher, Interest::READ).unwrap();
        }
    });
    // The last one is for the next turn.
    assert_eq!(counts.controls(), TURNS - 1, "{counts:?}");
    assert_eq!(counts.system_calls(), 2 * TURNS - 1, "{counts:?}");
}

#[test]
fn r9_a_report_nobody_takes_is_masked_with_one_mod() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    // A pipe without a reader reports an error for as long as it is registered; this watcher takes none.
    let fd = std::os::fd::AsRawFd::as_raw_fd(&writer);
    reactor.watch(fd, Interest::PRIORITY, 0).unwrap();
    let (events, counts) = probe.counted(|| {
        (0..TURNS)
            .flat_map(|_| turn(&mut reactor, POLL).unwrap())
            .count()
    });
    assert_eq!(events, 0);
    assert_eq!(counts.controls(), 1, "{counts:?}");
    let timeout = Duration::from_millis(20);
    let start = Linux.monotonic();
    turn(&mut reactor, Some(timeout)).unwrap();
    assert!(Linux.monotonic().since(start) >= timeout, "no spin");
}

#[test]
fn w1_a_thousand_wakes_of_a_loop_that_is_awake_cost_one_write() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let wakeup = Arc::new(Wakeup::with_kernel(probe.clone()));
    reactor.backend_mut().attach(Arc::clone(&wakeup)).unwrap();
    let ((), counts) = probe.counted(|| (0..1000).for_each(|_| wakeup.wake()));
    assert_eq!(counts.of(Name::Write), 1, "{counts:?}");
    assert_eq!(counts.system_calls(), 1, "{counts:?}");
    let (events, counts) = probe.counted(|| turn(&mut reactor, None).unwrap());
    assert_eq!(events, [Event::Wakeup { count: 1000 }]);
    assert_eq!(counts.system_calls(), 1, "it is not read: {counts:?}");
    // Once taken, the next one writes again.
    let ((), counts) = probe.counted(|| wakeup.wake());
    assert_eq!(counts.of(Name::Write), 1, "{counts:?}");
    assert_eq!(
        turn(&mut reactor, None).unwrap(),
        [Event::Wakeup { count: 1 }]
    );
}

#[test]
fn s1_there_is_one_signalfd_however_many_subscriptions() {
    let mask = || Linux.signal_mask(MaskChange::Block, SignalSet::EMPTY);
    let before = mask();
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let usr1 = reactor.signal(Signal::USR1, 1).unwrap();
    let usr2 = reactor.signal(Signal::USR2, 2).unwrap();
    assert_eq!(probe.counts().of(Name::Signalfd), 1);
    assert_eq!(probe.counts().of(Name::SignalfdChange), 1);
    let (_, counts) = probe.counted(|| reactor.signal(Signal::USR1, 3).unwrap());
    assert_eq!(counts.of(Name::Signalfd), 0, "{counts:?}");
    assert_eq!(counts.of(Name::SignalMask), 0, "{counts:?}");
    system::raise(Signal::USR1.raw());
    let (events, counts) = probe.counted(|| turn(&mut reactor, None).unwrap());
    assert_eq!(events.len(), 2, "two subscribers: {events:?}");
    assert_eq!(counts.of(Name::SignalfdRead), 2, "to EAGAIN: {counts:?}");
    assert!(reactor.cancel(usr1) && reactor.cancel(usr2));
    drop(reactor);
    assert_eq!(before, mask());
    assert!(probe.open().is_empty());
}

#[test]
fn g3_controls_are_the_epoll_ctl_calls_for_watchers() {
    let probe = Probe::new();
    let mut reactor = probed(&probe).unwrap();
    let (fd, spare) = (readable(), readable());
    let watcher = reactor.watch(&fd, Interest::READ, 0).unwrap();
    reactor.enable(watcher, Interest::WRITE).unwrap();
    turn(&mut reactor, None).unwrap();
    let watcher = reactor.watch(&fd, Interest::READ, 0).unwrap();
    reactor.set_mode(watcher, Mode::EXCLUSIVE).unwrap();
    turn(&mut reactor, None).unwrap();
    reactor.watch(&fd, Interest::READ, 0).unwrap();
    assert_eq!(probe.counts().controls(), reactor.stats().controls);

    // Closed without unwatch, and its number another file: MOD says ENOENT, then ADD.
    let number = fd.into_raw();
    let reused = system::duplicate_at(spare.as_raw_fd(), number).unwrap();
    let watcher = reactor.watch(number, Interest::READ, 0).unwrap();
    assert_eq!(probe.counts().controls(), reactor.stats().controls);
    reactor.cancel(watcher);
    drop(reused);
    assert_eq!(probe.counts().controls(), reactor.stats().controls);
}
