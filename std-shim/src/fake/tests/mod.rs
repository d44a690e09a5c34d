//! What the fake promises beyond answering as a kernel: time, signals, processes, wakes, trouble, counts.

use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::handle::{Handle, Tag};
use linux_event_core::pid::ExitStatus;
use linux_event_core::reactor::backend::{SIGNAL, TIMER, WAKEUP};
use linux_event_core::reactor::{Backend, Event, Interest, Mode, Reactor, Ready, Report};
use linux_event_core::signal::{Signal, SignalCounts, SignalSet};
use linux_event_core::sys::AsRawFd;

use super::bits::{EDGE, ERR, HUP, IN, OUT, RDHUP};
use super::{Action, Fake, FakeFd};

mod life;
mod proactor;

type Fakes = Reactor<u32, 16, 16, Fake>;

const MILLI: Duration = Duration::from_millis(1);

fn token(index: u32) -> Handle {
    Handle::new(index, Tag::Watcher, 1)
}

fn add(fake: &mut Fake, fd: FakeFd, events: u32, index: u32) {
    fake.add(fd.as_raw_fd(), events, token(index)).unwrap();
}

/// One wait that takes no time: (token index, events), the backend's own tokens as they are.
fn poll(fake: &mut Fake) -> Vec<Report> {
    fake.wait(None, Some(Duration::ZERO)).unwrap();
    std::iter::from_fn(|| fake.next()).collect()
}

fn report(token: Handle, events: u32) -> Report {
    let token = token.raw();
    Report { token, events }
}

#[test]
fn f1_a_wait_passes_time_to_the_sooner_of_deadline_and_timeout() {
    let mut fake = Fake::new();
    let start = fake.now();
    assert_eq!(start, Fake::START);
    fake.wait(Some(start + 5 * MILLI), Some(3 * MILLI)).unwrap();
    assert_eq!(fake.now() - start, 3 * MILLI);
    fake.wait(Some(start + 5 * MILLI), Some(3 * MILLI)).unwrap();
    assert_eq!(fake.now() - start, 5 * MILLI);
    fake.wait(Some(start), None).unwrap();
    assert_eq!(fake.now() - start, 5 * MILLI, "a deadline in the past");
    fake.wait(None, Some(Duration::ZERO)).unwrap();
    assert_eq!(fake.now() - start, 5 * MILLI);
    assert_eq!(fake.counts().waits, 4);
}

#[test]
fn f1_a_wait_that_nothing_can_end_is_an_error() {
    let mut fake = Fake::new();
    let hang = Err(Error::Os {
        call: Call::EpollWait,
        errno: Errno::EDEADLK,
    });
    assert_eq!(fake.wait(None, None), hang);
    assert_eq!(fake.wait(Some(Instant::MAX), Some(Duration::MAX)), hang);
    fake.after(MILLI, Action::Read(FakeFd::new(3), 1)); // changes nothing
    assert_eq!(fake.wait(None, None), hang);
    assert_eq!(fake.now() - Fake::START, MILLI, "it was tried");
}

#[test]
fn f1_actions_happen_in_order_and_end_the_wait_when_something_is_ready() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    let (other_reader, other_writer) = fake.pipe().unwrap();
    add(&mut fake, reader, IN, 1);
    add(&mut fake, other_reader, IN, 2);
    fake.after(3 * MILLI, Action::Close(other_writer));
    fake.after(2 * MILLI, Action::Write(writer, b"ab".to_vec()));
    fake.after(MILLI, Action::Write(FakeFd::new(99), b"x".to_vec()));
    fake.after(2 * MILLI, Action::Write(other_writer, b"c".to_vec()));
    fake.wait(Some(Fake::START + 10 * MILLI), None).unwrap();
    assert_eq!(fake.now() - Fake::START, 2 * MILLI);
    assert_eq!(fake.next(), Some(report(token(1), IN)));
    assert_eq!(fake.next(), Some(report(token(2), IN)), "the same instant");
    assert_eq!(fake.actions_left(), 1);
    let failed = &fake.failed_actions()[0];
    assert_eq!(
        (failed.at - Fake::START, failed.errno),
        (MILLI, Errno::EBADF)
    );
    fake.advance(5 * MILLI);
    assert_eq!(fake.now() - Fake::START, 7 * MILLI);
    assert_eq!(fake.actions_left(), 0);
    assert_eq!(poll(&mut fake)[1], report(token(2), IN | HUP));
}

#[test]
fn f1_an_action_at_the_deadline_comes_with_it() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    fake.after(MILLI, Action::Write(writer, vec![0]));
    let mut reactor = Fakes::new(fake);
    reactor.watch(reader, Interest::READ, 1).unwrap();
    reactor.after(MILLI, 2).unwrap();
    reactor.wait(None).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Timer { data: 2, .. })));
    assert!(matches!(reactor.next(), Some(Event::Ready { data: 1, .. })));
    assert_eq!(reactor.next(), None);
}

#[test]
fn f1_an_action_in_the_past_happens_at_the_next_wait() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    add(&mut fake, reader, IN, 1);
    fake.at(Instant::ZERO, Action::Write(writer, vec![0]));
    assert_eq!(poll(&mut fake), [report(token(1), IN)]);
    assert_eq!(fake.now(), Fake::START, "time does not go back");
}

#[test]
fn f1_a_partial_write_is_a_failed_action() {
    let mut fake = Fake::new();
    let (_reader, writer) = fake.pipe().unwrap();
    fake.after(MILLI, Action::Write(writer, vec![0; 65_537]));
    fake.advance(MILLI);
    assert_eq!(fake.failed_actions()[0].errno, Errno::EAGAIN);
}

#[test]
fn f1_the_same_calls_give_the_same_run() {
    let run = || {
        let mut fake = Fake::new();
        let mut seen = Vec::new();
        let pairs: Vec<_> = (0..20).map(|_| fake.socketpair().unwrap()).collect();
        for (index, &(one, other)) in (0_u32..).zip(&pairs) {
            add(
                &mut fake,
                one,
                IN | if index % 3 == 0 { EDGE } else { 0 },
                index,
            );
            let at = Fake::START + MILLI * (index * 7 % 5);
            fake.at(at, Action::Write(other, vec![0; 9]));
        }
        while fake.actions_left() > 0 {
            fake.advance(MILLI);
            seen.push(poll(&mut fake));
        }
        seen
    };
    assert_eq!(run(), run());
}

#[test]
fn r13_a_batch_is_bounded_and_what_is_left_goes_first() {
    let mut fake = Fake::new();
    let pipes: Vec<_> = (0..3).map(|_| fake.pipe().unwrap()).collect();
    for (index, &(reader, writer)) in (0..).zip(&pipes) {
        add(&mut fake, reader, IN, index);
        fake.write(writer, b"x").unwrap();
    }
    fake.set_batch_max(2);
    let tokens = |reports: Vec<Report>| reports.iter().map(|r| r.token).collect::<Vec<_>>();
    let raw = |index| token(index).raw();
    assert_eq!(tokens(poll(&mut fake)), [raw(0), raw(1)]);
    assert_eq!(tokens(poll(&mut fake)), [raw(2), raw(0)]);
    assert_eq!(tokens(poll(&mut fake)), [raw(1), raw(2)]);
}

#[test]
fn r1_an_interrupted_wait_is_empty_and_loses_nothing() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    add(&mut fake, reader, IN, 1);
    fake.write(writer, b"x").unwrap();
    fake.interrupt_next_wait();
    fake.fail_next(Call::EpollWait, Errno::EINTR);
    assert_eq!(poll(&mut fake), []);
    assert_eq!(poll(&mut fake), []);
    assert_eq!(poll(&mut fake), [report(token(1), IN)]);
    fake.read(reader, &mut [0]).unwrap();
    fake.after(MILLI, Action::Interrupt);
    fake.wait(None, None).unwrap();
    assert!(!fake.has_next());
    assert_eq!(fake.now() - Fake::START, MILLI);
}

#[test]
fn f1_numbers_are_the_lowest_that_are_free() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    assert_eq!((reader, writer), (FakeFd::new(3), FakeFd::new(4)));
    fake.dup_to(reader, FakeFd::new(9)).unwrap();
    assert_eq!(fake.eventfd().unwrap(), FakeFd::new(5));
    fake.close(reader).unwrap();
    assert_eq!(fake.dup(writer).unwrap(), reader);
    assert_eq!(fake.open_descriptors(), 4);
    fake.set_descriptor_limit(7);
    assert_eq!(
        fake.pipe(),
        Err(Errno::EMFILE),
        "two are wanted, one is there"
    );
    assert_eq!(fake.eventfd().unwrap(), FakeFd::new(6));
    assert_eq!(fake.eventfd(), Err(Errno::EMFILE));
    assert_eq!(fake.dup(writer), Err(Errno::EMFILE));
    assert_eq!(fake.dup_to(writer, FakeFd::new(7)), Err(Errno::EBADF));
}

#[test]
fn f1_dup_to_closes_what_was_there() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    let eventfd = fake.eventfd().unwrap();
    add(&mut fake, reader, IN, 1);
    fake.dup_to(eventfd, writer).unwrap();
    assert_eq!(poll(&mut fake), [report(token(1), HUP)]);
    fake.dup_to(eventfd, eventfd).unwrap();
    assert_eq!(fake.open_descriptors(), 3);
}

#[test]
fn r5_an_orphan_reports_until_the_list_is_rebuilt() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    add(&mut fake, reader, IN, 1);
    let twin = fake.dup(reader).unwrap();
    fake.close(reader).unwrap();
    fake.write(writer, b"x").unwrap();
    assert_eq!(poll(&mut fake), [report(token(1), IN)]);
    let number = reader.as_raw_fd();
    assert_eq!(fake.remove(number), Err(Errno::EBADF));
    let reused = fake.eventfd().unwrap();
    assert_eq!(reused, reader);
    assert_eq!(fake.remove(number), Err(Errno::ENOENT));
    assert_eq!(fake.registrations(), 1);
    fake.rebuild().unwrap();
    assert_eq!((fake.registrations(), fake.counts().rebuilds), (0, 1));
    assert_eq!(poll(&mut fake), []);
    add(&mut fake, twin, IN, 2);
    fake.close(twin).unwrap();
    assert_eq!(fake.registrations(), 0, "the last descriptor ends it");
}

#[test]
fn r5_the_engine_gets_rid_of_an_orphan() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    let _twin = fake.dup(reader).unwrap();
    fake.write(writer, b"x").unwrap();
    let mut reactor = Fakes::new(fake);
    let watcher = reactor.watch(reader, Interest::READ, 1).unwrap();
    reactor.backend_mut().close(reader).unwrap();
    reactor.cancel(watcher);
    for _ in 0..3 {
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!(reactor.next(), None);
    }
    assert_eq!(reactor.backend().counts().rebuilds, 1);
    assert_eq!(reactor.backend().registrations(), 0);
}

#[test]
fn r12_changes_within_a_turn_cost_one_control_at_most() {
    let mut fake = Fake::new();
    let (one, _other) = fake.socketpair().unwrap();
    let mut reactor = Fakes::new(fake);
    let watcher = reactor.watch(one, Interest::READ, 1).unwrap();
    let controls = reactor.backend().counts().controls;
    for _ in 0..10 {
        reactor.enable(watcher, Interest::WRITE).unwrap();
        reactor.disable(watcher, Interest::WRITE).unwrap();
    }
    reactor.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(
        reactor.backend().counts().controls,
        controls,
        "nothing changed"
    );
    reactor.enable(watcher, Interest::WRITE).unwrap();
    reactor.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(reactor.backend().counts().controls, controls + 1);
}

#[test]
fn r8_edges_and_r3_resets_through_the_engine() {
    let mut fake = Fake::new();
    let (one, other) = fake.socketpair().unwrap();
    let mut reactor = Fakes::new(fake);
    let interest = Interest::READ | Interest::WRITE | Interest::ERROR;
    reactor.watch_with(one, interest, Mode::EDGE, 1).unwrap();
    reactor.wait(None).unwrap();
    assert!(matches!(
        reactor.next(),
        Some(Event::Ready {
            ready: Ready::WRITE,
            ..
        })
    ));
    reactor.backend_mut().write(other, b"abc").unwrap();
    reactor.backend_mut().reset(other).unwrap();
    reactor.wait(None).unwrap();
    let everything = Ready::READ | Ready::WRITE | Ready::ERROR | Ready::HANGUP;
    assert!(matches!(reactor.next(), Some(Event::Ready { ready, .. }) if ready == everything));
    assert_eq!(reactor.next(), None);
    let fake = reactor.backend_mut();
    let mut buffer = [0; 8];
    assert_eq!(fake.read(one, &mut buffer), Ok(3));
    assert_eq!(fake.read(one, &mut buffer), Err(Errno::ECONNRESET));
    assert_eq!(fake.read(one, &mut buffer), Ok(0));
    assert_eq!(fake.write(one, b"x"), Err(Errno::EPIPE));
}

#[test]
fn f1_a_reset_waits_for_the_last_descriptor() {
    let mut fake = Fake::new();
    let (one, other) = fake.socketpair().unwrap();
    let twin = fake.dup(other).unwrap();
    add(&mut fake, one, IN | RDHUP, 1);
    fake.reset(other).unwrap();
    assert_eq!(poll(&mut fake), []);
    fake.close(twin).unwrap();
    assert_eq!(poll(&mut fake), [report(token(1), IN | RDHUP | HUP | ERR)]);
    let (reader, _writer) = fake.pipe().unwrap();
    assert_eq!(fake.reset(reader), Err(Errno::ENOTSOCK));
}

#[test]
fn r11_regular_files_are_refused() {
    let mut fake = Fake::new();
    let file = fake.regular_file().unwrap();
    let number = file.as_raw_fd();
    assert_eq!(fake.add(number, IN, token(1)), Err(Errno::EPERM));
    assert_eq!(fake.modify(number, IN, token(1)), Err(Errno::EPERM));
    assert_eq!(fake.remove(number), Err(Errno::EPERM));
    assert_eq!(fake.counts().controls, 3, "refused ones count");
    let mut reactor = Fakes::new(fake);
    let refused = reactor.watch(file, Interest::READ, 1);
    assert_eq!(refused, Err(Error::NotPollable));
}

#[test]
fn g2_the_armed_timer_makes_the_loop_readable() {
    let mut fake = Fake::new();
    let deadline = Fake::START + MILLI;
    fake.arm(Some(deadline)).unwrap();
    assert_eq!((fake.armed(), fake.is_readable()), (Some(deadline), false));
    fake.advance(MILLI);
    assert_eq!((fake.armed(), fake.is_readable()), (None, true));
    assert_eq!(poll(&mut fake), [report(TIMER, IN)]);
    assert!(!fake.is_readable(), "once");
    fake.arm(Some(Fake::START)).unwrap();
    assert!(fake.is_readable(), "past already");
    fake.arm(None).unwrap();
    assert!(!fake.is_readable());
    fake.arm(Some(fake.now() + MILLI)).unwrap();
    fake.wait(None, Some(3 * MILLI)).unwrap();
    assert_eq!(fake.next(), None, "a wait for something else disarms it");
    fake.fail_next(Call::TimerfdSettime, Errno::ENOMEM);
    assert!(fake.arm(None).is_err());
}

#[test]
fn f1_failures_are_used_up_in_order_by_their_calls() {
    let mut fake = Fake::new();
    let eventfd = fake.eventfd().unwrap().as_raw_fd();
    fake.fail_next(Call::EpollCtl, Errno::ENOMEM);
    fake.fail_next(Call::EpollCreate, Errno::EMFILE);
    fake.fail_next(Call::EpollCtl, Errno::ENOSPC);
    fake.fail_next(Call::EpollWait, Errno::EINVAL);
    assert_eq!(fake.add(eventfd, OUT, token(1)), Err(Errno::ENOMEM));
    assert_eq!(fake.add(eventfd, OUT, token(1)), Err(Errno::ENOSPC));
    assert_eq!(fake.add(eventfd, OUT, token(1)), Ok(()));
    let errno = Errno::EMFILE;
    let call = Call::EpollCreate;
    assert_eq!(fake.rebuild(), Err(Error::Os { call, errno }));
    assert_eq!(fake.registrations(), 1, "the old list is in force");
    assert!(fake.wait(None, None).is_err());
    assert_eq!(fake.failures_left(), 0);
    assert_eq!(poll(&mut fake), [report(token(1), OUT)]);
}

#[test]
fn f1_a_pipe_holds_sixteen_pages() {
    let mut fake = Fake::new();
    let (reader, writer) = fake.pipe().unwrap();
    add(&mut fake, writer, OUT | EDGE, 1);
    assert_eq!(poll(&mut fake).len(), 1);
    assert_eq!(fake.write(writer, &vec![0; 70_000]), Ok(65_536));
    assert_eq!(fake.write(writer, &[0]), Err(Errno::EAGAIN));
    let mut page = [0; 4096];
    fake.read(reader, &mut page[..4095]).unwrap();
    assert_eq!(poll(&mut fake), [], "no page is free");
    fake.read(reader, &mut page[..1]).unwrap();
    assert_eq!(poll(&mut fake), [report(token(1), OUT)]);
    fake.read(reader, &mut page).unwrap();
    assert_eq!(poll(&mut fake), [], "no edge: there was room");
    fake.close(reader).unwrap();
    assert_eq!(poll(&mut fake), [report(token(1), OUT | ERR)]);
    assert_eq!(fake.write(writer, b"x"), Err(Errno::EPIPE));
    assert_eq!(fake.read(writer, &mut page), Err(Errno::EBADF));
}

#[test]
fn f1_a_socket_is_writable_again_below_a_quarter() {
    let mut fake = Fake::new();
    let (one, other) = fake.socketpair().unwrap();
    let piece = [0; 4096];
    let mut sent = 0;
    while fake.write(one, &piece).is_ok() {
        sent += 1;
    }
    add(&mut fake, one, OUT, 1);
    let mut read = 0;
    while poll(&mut fake).is_empty() {
        fake.read(other, &mut [0; 4096]).unwrap();
        read += 1;
    }
    // As measured on Linux 6.18: 44 pieces go in, and with 11 there is no room to speak of.
    assert_eq!((sent, sent - read), (44, 10));
}

#[test]
fn g4_the_clock_is_the_backends_own() {
    let mut reactor: Fakes = Reactor::new(Fake::new());
    assert_eq!(reactor.now(), Fake::START);
    let hour = Duration::from_hours(1);
    reactor.after(hour, 7).unwrap();
    reactor.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(reactor.next(), None);
    reactor.backend_mut().advance(hour);
    assert_eq!(reactor.read_clock(), Fake::START + hour);
    reactor.wait(Some(Duration::ZERO)).unwrap();
    assert!(matches!(
        reactor.next(),
        Some(Event::Timer { data: 7, deadline, .. }) if deadline == Fake::START + hour
    ));
}
