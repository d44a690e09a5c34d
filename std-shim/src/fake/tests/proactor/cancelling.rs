//! Cancelling, by hand and by time.

use super::*;

const CANCELED: i32 = failed(Errno::ECANCELED);

#[test]
fn p4_a_cancelled_read_gives_its_buffer_back() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let op = submit(&mut proactor, op::read(reader, Buffer::from("kept")), 1);
    assert_eq!(look(&mut proactor), []);
    assert!(proactor.cancel(op));
    assert_eq!(buffer(&mut proactor), (CANCELED, Buffer::from("kept")));
    assert!(!proactor.cancel(op));
    assert_balanced(&proactor, 2);
}

#[test]
fn p4_who_was_first_wins_the_race() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    proactor.backend_mut().write(writer, b"ab").unwrap();
    let op = submit(&mut proactor, op::read(reader, room(1)).limit(1), 1);
    proactor.cancel(op); // is queued behind it, and finds it done
    assert_eq!(turn(&mut proactor), [(1, 1, false)]);
    let op = submit(&mut proactor, op::read(reader, room(1)).limit(1), 2);
    proactor.flush().unwrap();
    assert_eq!(turn(&mut proactor), [(2, 1, false)]);
    assert!(!proactor.cancel(op));
    let op = submit(&mut proactor, op::read(reader, room(1)), 3);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().write(writer, b"c").unwrap();
    proactor.cancel(op); // it was woken, and had no turn yet
    assert_eq!(turn(&mut proactor), [(3, CANCELED, false)]);
}

#[test]
fn p4_a_test_decides_the_race() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    let op = submit(&mut proactor, op::read(reader, room(8)), 1);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().cancel_loses();
    proactor.cancel(op);
    assert_eq!(look(&mut proactor), []);
    assert_eq!(proactor.is_cancelling(op), Some(true));
    proactor.backend_mut().write(writer, b"late").unwrap();
    assert_eq!(buffer(&mut proactor), (4, Buffer::from("late")));
    proactor.backend_mut().script(|_| Decision::Stubborn);
    let op = submit(&mut proactor, op::read(reader, room(8)).timeout(MILLI), 2);
    proactor.cancel(op);
    proactor.backend_mut().advance(5 * MILLI);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().close(writer).unwrap();
    assert_eq!(turn(&mut proactor), [(2, 0, false)]);
}

#[test]
fn p4_what_its_cancel_interrupted_is_cancelled() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let mut settle = |cancel: bool| {
        let op = submit(&mut proactor, op::read(reader, room(8)), 1);
        assert_eq!(look(&mut proactor), []);
        if cancel {
            proactor.backend_mut().cancel_loses();
            proactor.cancel(op);
            assert_eq!(look(&mut proactor), []);
        }
        proactor.backend_mut().fail(op, Errno::EINTR).unwrap();
        turn(&mut proactor)
    };
    assert_eq!(settle(true), [(1, -Errno::ECANCELED.raw(), false)]);
    assert_eq!(settle(false), [(1, -Errno::EINTR.raw(), false)]);
}

#[test]
fn p4_all_on_a_descriptor_is_cancelled() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let (other, _other_writer) = pipe(&mut proactor);
    for data in 1..=2 {
        submit(&mut proactor, op::read(reader, room(1)), data);
    }
    submit(&mut proactor, op::read(other, room(1)), 3);
    assert_eq!(proactor.cancel_on(reader), 2);
    assert_eq!(
        turn(&mut proactor),
        [(1, CANCELED, false), (2, CANCELED, false)]
    );
    proactor.cancel_all();
    assert_eq!(turn(&mut proactor), [(3, CANCELED, false)]);
}

#[test]
fn p15_closing_cancels_first() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    submit(&mut proactor, op::read(reader, room(1)), 1);
    assert_eq!(look(&mut proactor), []);
    proactor.close(reader, 2).unwrap();
    assert_eq!(turn(&mut proactor), [(1, CANCELED, false)]);
    assert_eq!(turn(&mut proactor), [(2, 0, false)]);
    assert_eq!(
        proactor.backend_mut().write(writer, b"x"),
        Err(Errno::EPIPE)
    );
    assert_balanced(&proactor, 1);
}

#[test]
fn p1_a_timeout_cancels_in_virtual_time() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    submit(&mut proactor, op::read(reader, room(1)).timeout(MILLI), 1);
    assert_eq!(turn(&mut proactor), [(1, CANCELED, false)]);
    assert_eq!(proactor.backend().now() - Fake::START, MILLI);
    // At the same instant, what is there is in time.
    submit(&mut proactor, op::read(reader, room(1)).timeout(MILLI), 2);
    proactor
        .backend_mut()
        .after(MILLI, Action::Write(writer, vec![0]));
    assert_eq!(turn(&mut proactor), [(2, 1, false)]);
    // What has completed leaves no timer behind.
    proactor.backend_mut().write(writer, b"x").unwrap();
    submit(&mut proactor, op::read(reader, room(1)).timeout(MILLI), 3);
    assert_eq!(turn(&mut proactor), [(3, 1, false)]);
    let now = proactor.backend().now();
    let hang = proactor.wait(None).unwrap_err();
    let call = Call::IoUringEnter;
    let errno = Errno::EDEADLK;
    assert_eq!(hang, Error::Os { call, errno });
    assert_eq!(proactor.backend().now(), now);
}

#[test]
fn p1_a_timeout_counts_from_the_start_and_while_nobody_waits() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    submit(
        &mut proactor,
        op::read(reader, room(1)).timeout(2 * MILLI),
        1,
    );
    proactor.backend_mut().advance(5 * MILLI); // it was not submitted yet
    assert_eq!(look(&mut proactor), []);
    proactor
        .backend_mut()
        .after(3 * MILLI, Action::Write(writer, vec![0]));
    proactor.backend_mut().advance(5 * MILLI);
    assert_eq!(turn(&mut proactor), [(1, CANCELED, false)]);
    submit(&mut proactor, op::read(reader, room(1)), 2);
    assert_eq!(turn(&mut proactor), [(2, 1, false)], "the byte is not lost");
}

#[test]
fn p5_a_receive_that_waits_for_all_hands_back_what_it_has() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let recv = op::recv(socket, room(8)).flags(MessageFlags::WAIT_ALL);
    submit(&mut proactor, recv.timeout(MILLI), 1);
    proactor.backend_mut().write(peer, b"part").unwrap();
    assert_eq!(buffer(&mut proactor), (4, Buffer::from("part")));
}

#[test]
fn p6_shutting_down_gets_everything_back_or_counts_it() {
    let mut proactor = proactor();
    let (socket, _peer) = sockets(&mut proactor);
    let hard = |data| (Request::from(op::recv(socket, room(8)).hard_link()), data);
    proactor.submit_chain([hard(1), hard(2), hard(3)]).unwrap();
    submit(&mut proactor, op::recv(socket, room(8)), 4);
    let fake = proactor.backend_mut();
    let shutdown = fake.shut_down(MILLI);
    assert_eq!((shutdown.settled, shutdown.leaked), (4, 0));
    assert_eq!(fake.counters().leaked, 0);

    let mut proactor = self::proactor();
    let (socket, peer) = sockets(&mut proactor);
    let fake = proactor.backend_mut();
    fake.script(|_| Decision::Stubborn);
    fake.after(2 * MILLI, Action::Write(peer, vec![0; 4]));
    submit(&mut proactor, op::recv(socket, room(4)).limit(4), 1);
    submit(&mut proactor, op::recv(socket, room(4)), 2);
    let shutdown = proactor.backend_mut().shut_down(5 * MILLI);
    assert_eq!((shutdown.settled, shutdown.leaked), (1, 1));
    assert_eq!(proactor.counters().leaked, 1);
    assert_eq!(proactor.backend().now() - Fake::START, 2 * MILLI);
    let report = proactor.shutdown(MILLI);
    assert_eq!((report.settled, report.leaked), (0, 0));
}
