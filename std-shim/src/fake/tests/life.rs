//! Signals, wakes, processes and forks.

use super::*;

#[test]
fn w1_a_series_of_wakes_is_one_edge() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    add(&mut fake, reader, IN, 1);
    fake.wakeup().wake();
    fake.wakeup().wake();
    fake.write(writer, b"x").unwrap();
    let woken = report(WAKEUP, IN);
    assert_eq!(poll(&mut fake), [woken, report(token(1), IN)], "in order");
    fake.read(reader, &mut [0]).unwrap();
    fake.wakeup().wake();
    assert_eq!(poll(&mut fake), [], "of the same series");
    assert_eq!(fake.take_wakes(), 3);
    assert_eq!(fake.take_wakes(), 0);
    fake.after(MILLI, Action::Wake);
    fake.wait(None, None).unwrap();
    assert_eq!(fake.next(), Some(woken));
    assert_eq!(fake.take_wakes(), 1);
    fake.rebuild().unwrap();
    assert_eq!(poll(&mut fake), [woken], "the eventfd was never read");
    assert_eq!(fake.take_wakes(), 0);
}

#[test]
fn s1_signals_pend_merge_and_are_taken() {
    let mut fake = Fake::new();
    fake.raise(Signal::USR1);
    assert_eq!(fake.struck(), [Signal::USR1], "nobody subscribed");
    let set = SignalSet::EMPTY.with(Signal::USR1).with(Signal::RTMAX);
    fake.set_signals(set).unwrap();
    for _ in 0..3 {
        fake.raise(Signal::USR1);
        fake.raise(Signal::RTMAX);
    }
    let pending = report(SIGNAL, IN);
    assert_eq!(poll(&mut fake), [pending]);
    assert_eq!(poll(&mut fake), [pending], "until it is taken");
    let mut counts = SignalCounts::new();
    fake.take_signals(&mut counts).unwrap();
    assert_eq!(counts.take(Signal::USR1), 1);
    assert_eq!(counts.take(Signal::RTMAX), 3);
    assert_eq!(poll(&mut fake), []);
    fake.raise(Signal::KILL);
    assert_eq!(fake.struck().len(), 2);
}

#[test]
fn s2_what_was_blocked_before_stays_blocked() {
    let mut fake = Fake::new();
    fake.block(Signal::HUP.into());
    let both = SignalSet::EMPTY.with(Signal::HUP).with(Signal::INT);
    fake.raise(Signal::HUP);
    fake.set_signals(both).unwrap();
    assert_eq!(poll(&mut fake), [report(SIGNAL, IN)], "it was pending");
    fake.raise(Signal::INT);
    fake.set_signals(SignalSet::EMPTY).unwrap();
    assert_eq!(fake.mask(), Signal::HUP.into());
    assert_eq!(fake.pending_signals(), Signal::HUP.into());
    assert_eq!(fake.struck(), [Signal::INT], "pending when unblocked");
    assert_eq!(poll(&mut fake), []);
}

#[test]
fn s3_the_engine_lets_no_signal_strike() {
    let mut reactor = Fakes::new(Fake::new());
    let subscription = reactor.signal(Signal::TERM, 1).unwrap();
    reactor.backend_mut().raise(Signal::TERM);
    reactor.cancel(subscription);
    reactor.wait(None).unwrap();
    assert!(matches!(
        reactor.next(),
        Some(Event::Signal { count: 1, .. })
    ));
    assert_eq!(reactor.next(), None);
    assert_eq!(reactor.backend().struck(), []);
    assert_eq!(reactor.backend().mask(), SignalSet::EMPTY);
}

#[test]
fn s1_a_refused_subscription_changes_nothing() {
    for call in [Call::Sigprocmask, Call::Signalfd] {
        let mut fake = Fake::new();
        fake.fail_next(call, Errno::EMFILE);
        let refused = fake.set_signals(Signal::INT.into());
        let errno = Errno::EMFILE;
        assert_eq!(refused, Err(Error::Os { call, errno }));
        assert_eq!(fake.mask(), SignalSet::EMPTY);
        fake.set_signals(Signal::INT.into()).unwrap();
        assert_eq!(fake.mask(), Signal::INT.into());
    }
}

#[test]
fn c1_a_child_is_watched_and_reaped() {
    let mut fake = Fake::new();
    fake.set_signals(Signal::CHLD.into()).unwrap();
    let pid = fake.spawn();
    let process = fake.open_process(pid).unwrap();
    let number = process.as_raw_fd();
    fake.add(number, IN, token(1)).unwrap();
    assert_eq!(fake.process_status(&process, true), Err(Errno::EAGAIN));
    let status = ExitStatus::Exited(3);
    fake.after(MILLI, Action::Exit(pid, status));
    fake.wait(None, None).unwrap();
    assert_eq!(fake.next(), Some(report(token(1), IN)));
    assert_eq!(fake.next(), Some(report(SIGNAL, IN)), "SIGCHLD");
    assert_eq!(fake.exit(pid, status), Err(Errno::ESRCH), "once");
    assert_eq!(fake.process_status(&process, false), Ok(Some(status)));
    assert_eq!(fake.zombies(), 1);
    assert_eq!(fake.process_status(&process, true), Ok(Some(status)));
    assert_eq!(fake.zombies(), 0);
    assert_eq!(fake.process_status(&process, true), Err(Errno::ECHILD));
    assert_eq!(fake.process_status(&process, false), Ok(Some(status)));
    let gone = Err(Errno::ESRCH);
    assert_eq!(
        fake.open_process(pid)
            .map(drop)
            .map_err(|e| e.errno().unwrap()),
        gone
    );
    assert_eq!((fake.open_descriptors(), fake.registrations()), (1, 1));
    drop(process);
    assert_eq!((fake.open_descriptors(), fake.registrations()), (0, 0));
    assert_eq!(
        fake.eventfd().unwrap().as_raw_fd(),
        number,
        "the number is free"
    );
}

#[test]
fn c1_a_stranger_cannot_be_waited_for() {
    let mut fake = Fake::new();
    let pid = fake.spawn_stranger();
    let process = fake.open_process(pid).unwrap();
    assert_eq!(fake.process_status(&process, true), Err(Errno::ECHILD));
    assert_eq!(fake.process_status(&process, false), Err(Errno::EAGAIN));
    let status = ExitStatus::Signaled {
        signal: 9,
        core_dumped: false,
    };
    fake.exit(pid, status).unwrap();
    assert_eq!(fake.process_status(&process, true), Err(Errno::ECHILD));
    assert_eq!(fake.process_status(&process, false), Ok(Some(status)));
    fake.set_tells_status(false);
    assert_eq!(fake.process_status(&process, false), Ok(None));
    let refused = fake.open_process(0).map(drop).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::EINVAL));
}

#[test]
fn c1_a_child_reaped_elsewhere_is_an_event_with_an_error() {
    let mut fake = Fake::new();
    let pid = fake.spawn();
    assert_eq!(fake.reap(pid), Err(Errno::EAGAIN));
    let mut reactor = Fakes::new(fake);
    reactor.process(pid, true, 1).unwrap();
    let fake = reactor.backend_mut();
    fake.exit(pid, ExitStatus::Exited(0)).unwrap();
    assert_eq!(fake.reap(pid), Ok(ExitStatus::Exited(0)));
    reactor.wait(None).unwrap();
    let event = reactor.next();
    assert!(matches!(
        event,
        Some(Event::Exit {
            status: Err(Errno::ECHILD),
            ..
        })
    ));
    assert_eq!(reactor.backend().open_descriptors(), 0);
}

#[test]
fn g1_what_a_forked_child_touches_is_known() {
    let mut fake = Fake::new();
    let (reader, _writer) = fake.pipe().unwrap();
    let mut reactor = Fakes::new(fake);
    let watcher = reactor.watch(reader, Interest::READ, 1).unwrap();
    reactor.backend_mut().set_owner(false);
    assert_eq!(reactor.wait(None), Err(Error::Forked));
    assert_eq!(reactor.rearm(watcher), Err(Error::Forked));
    assert_eq!(reactor.backend().touched_in_child(), [] as [&str; 0]);
    let fake = reactor.backend_mut();
    assert_eq!(fake.remove(reader.as_raw_fd()), Ok(()));
    let _ = fake.wait(None, None);
    assert_eq!(fake.touched_in_child(), ["remove", "wait"]);
}
