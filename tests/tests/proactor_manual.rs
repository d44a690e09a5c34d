//! F-1, G-1: a proactor in the hands of a test, and in a forked child. What only the fake can show.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::{Code, Event};
use linux_event::fake::{Action, Answer, CompleteError, Decision, Fake, PendingOp};
use linux_event::{
    Buffer, ExitStatus, How, Instant, Loop, LoopError, MessageFlags, Op, OpState, PollEvents,
    Signal, Target, op,
};
use linux_event_tests::proactor::{
    Heard, LoopOf, OnFake, Outside, World as _, connection, finish, hear, listener, pair, perform,
    perform_vectored, pipe_in, results, room, run, take, turn, turn_until, vectors,
};
use linux_event_tests::{LONG, MILLI};

type Manual = LoopOf<OnFake, Heard<OnFake>>;

/// A loop whose operations wait for the test.
fn manual() -> Manual {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    event_loop.fake_mut().hold(true);
    event_loop
}

fn hear_as(who: &'static str) -> impl FnMut(&mut Manual, linux_event::Completion<Fake>) {
    hear::<OnFake>(who)
}

/// The operation that waits for the test under this code.
fn pending(event_loop: &Manual, code: Code) -> PendingOp {
    let pending = event_loop.fake().pending();
    let mut of_code = pending.into_iter().filter(|pending| pending.code == code);
    of_code.next().expect("it waits")
}

#[test]
fn f1_a_test_completes_operations_in_the_order_it_likes() {
    let mut event_loop = manual();
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    for who in ["first", "second", "third"] {
        event_loop.recv(one, room(16), hear_as(who)).unwrap();
    }
    turn::<OnFake, _>(&mut event_loop);
    let waiting = event_loop.fake().pending();
    assert!(waiting.iter().all(|op| op.is_held && op.code == Code::Recv));
    for (number, text) in [(2, "c"), (0, "a"), (1, "b")] {
        let fake = event_loop.fake_mut();
        fake.complete(waiting[number], text.as_bytes()).unwrap();
        assert!(event_loop.state.is_empty(), "P-2");
    }
    run::<OnFake, _>(&mut event_loop);
    let heard: Vec<_> = event_loop
        .state
        .drain(..)
        .map(|(who, done)| (who, done.into_buffer().unwrap()))
        .collect();
    assert_eq!(
        heard,
        [
            ("third", "c".into()),
            ("first", "a".into()),
            ("second", "b".into())
        ]
    );
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_operations_fail_as_a_test_says() {
    let mut event_loop = manual();
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    event_loop.recv(one, room(16), hear_as("recv")).unwrap();
    event_loop.send(one, "lost", hear_as("send")).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    for (code, errno) in [(Code::Send, Errno::EPIPE), (Code::Recv, Errno::ECONNRESET)] {
        let op = pending(&event_loop, code);
        event_loop.fake_mut().fail(op, errno).unwrap();
        let again = event_loop.fake_mut().fail(op, errno);
        assert_eq!(again, Err(CompleteError::NotPending), "once");
    }
    run::<OnFake, _>(&mut event_loop);
    let done = take::<OnFake>(&mut event_loop, "send");
    assert_eq!(
        (done.outcome(), done.into_buffer()),
        (Err(Errno::EPIPE), Some("lost".into()))
    );
    let done = take::<OnFake>(&mut event_loop, "recv");
    assert_eq!(done.outcome(), Err(Errno::ECONNRESET));
    assert!(done.into_buffer().is_some(), "P-6");
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_operations_are_shortened_and_delayed_and_the_machine_does_the_rest() {
    let mut event_loop = manual();
    let (one, end) = pair::<OnFake, _>(&mut event_loop);
    OnFake::outside(&mut event_loop).put(end, b"0123456789");
    event_loop.recv(one, room(16), hear_as("recv")).unwrap();
    event_loop.send(one, "abcdef", hear_as("send")).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    let begin = event_loop.read_clock();
    let (recv, send) = (
        pending(&event_loop, Code::Recv),
        pending(&event_loop, Code::Send),
    );
    event_loop.fake_mut().shorten(recv, 4).unwrap();
    event_loop.fake_mut().shorten(send, 2).unwrap();
    event_loop.fake_mut().delay(send, MILLI * 5).unwrap();
    turn_until::<OnFake, _>(&mut event_loop, |l| l.state.len() == 1);
    assert_eq!(
        take::<OnFake>(&mut event_loop, "recv").into_buffer(),
        Some("0123".into())
    );
    assert_eq!(event_loop.read_clock(), begin);
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(event_loop.read_clock(), begin + MILLI * 5);
    assert_eq!(take::<OnFake>(&mut event_loop, "send").outcome(), Ok(2));
    assert_eq!(OnFake::outside(&mut event_loop).drain(end), b"ab");
    event_loop.fake_mut().hold(false);
    let rest = perform::<OnFake, _>(&mut event_loop, op::recv(one, room(16)));
    assert_eq!(rest.into_buffer(), Some("456789".into()), "nothing is lost");
    finish::<OnFake, _>(event_loop);
}

/// There, a completion that was too long failed after its operation had been forgotten.
#[test]
fn f1_more_bytes_than_asked_for_are_refused_before_anything_changes() {
    let mut event_loop = manual();
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    event_loop
        .submit(op::recv(one, room(64)).limit(4), hear_as("recv"))
        .unwrap();
    event_loop.send(one, "four", hear_as("send")).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    let (recv, send) = (
        pending(&event_loop, Code::Recv),
        pending(&event_loop, Code::Send),
    );
    let before = format!("{:?}", event_loop.fake().pending());
    let fake = event_loop.fake_mut();
    let too_long = Err(CompleteError::TooLong { asked: 4, given: 5 });
    assert_eq!(fake.complete(recv, b"12345"), too_long);
    assert_eq!(fake.complete(send, 5), too_long);
    let wrong = [
        fake.complete(recv, 3),
        fake.complete(send, b"bytes"),
        fake.complete(recv, Answer::Exit(ExitStatus::Exited(0))),
        fake.complete_more(recv, b"x"),
    ];
    for (answer, code) in wrong
        .into_iter()
        .zip([Code::Recv, Code::Send, Code::Recv, Code::Recv])
    {
        assert_eq!(answer, Err(CompleteError::WrongKind(code)));
    }
    assert_eq!(format!("{:?}", event_loop.fake().pending()), before);
    turn::<OnFake, _>(&mut event_loop);
    assert!(event_loop.state.is_empty());
    event_loop.fake_mut().complete(recv, b"1234").unwrap();
    event_loop.fake_mut().complete(send, 4).unwrap();
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(
        results::<OnFake>(&mut event_loop),
        [("recv", Ok(4)), ("send", Ok(4))]
    );
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_every_operation_can_be_completed_by_hand() {
    let mut event_loop = manual();
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    let (listener, _) = listener::<OnFake, _>(&mut event_loop);
    let (reader, _) = pipe_in::<OnFake, _>(&mut event_loop);
    let address = "192.0.2.7:4711".parse().unwrap();
    let (accepted, socket, opened) = {
        let fake = event_loop.fake_mut();
        let (accepted, socket) = fake.socketpair().unwrap();
        (accepted, socket, fake.regular_file().unwrap())
    };
    let requests: [(&str, linux_event::Request<Buffer>); 14] = [
        ("nop", op::nop().into()),
        ("read", op::read(reader, room(8)).into()),
        ("write", op::write(reader, "12345678".into()).into()),
        ("accept", op::accept(listener).into()),
        (
            "socket",
            op::socket(
                linux_event::core::sys::Domain::V4,
                linux_event::core::sys::SocketKind::Stream,
            )
            .into(),
        ),
        (
            "open",
            op::open(Target::CURRENT_DIRECTORY, "x\0".into()).into(),
        ),
        ("connect", op::connect(one, address).into()),
        ("bind", op::bind(one, address).into()),
        ("listen", op::listen(one, 7).into()),
        ("shutdown", op::shutdown(one, How::Both).into()),
        (
            "statx",
            op::statx(Target::CURRENT_DIRECTORY, "x\0".into()).into(),
        ),
        ("fsync", op::fsync(reader).into()),
        ("poll", op::poll(reader, PollEvents::IN).into()),
        ("exit", op::wait_pid(4711).into()),
    ];
    for (who, request) in requests {
        event_loop.submit(request, hear_as(who)).unwrap();
    }
    turn::<OnFake, _>(&mut event_loop);
    let connects = pending(&event_loop, Code::Connect);
    assert_eq!(
        (connects.address, pending(&event_loop, Code::WaitId).pid),
        (Some(address), Some(4711))
    );
    let stat = {
        let mut stat = linux_event::Stat::default();
        stat.size = 99;
        stat
    };
    let answers: [(Code, Answer); 14] = [
        (Code::Nop, 0.into()),
        (Code::Read, b"read".into()),
        (Code::Write, 5.into()),
        (Code::Accept, Answer::Connection(accepted, address)),
        (Code::Socket, socket.into()),
        (Code::OpenAt, opened.into()),
        (Code::Connect, 0.into()),
        (Code::Bind, 0.into()),
        (Code::Listen, 0.into()),
        (Code::Shutdown, 0.into()),
        (Code::Statx, stat.into()),
        (Code::Fsync, 0.into()),
        (Code::Poll, PollEvents::IN.bits().into()),
        (Code::WaitId, ExitStatus::Exited(3).into()),
    ];
    for (code, answer) in answers {
        let op = pending(&event_loop, code);
        event_loop.fake_mut().complete(op, answer).unwrap();
    }
    turn::<OnFake, _>(&mut event_loop);
    assert_eq!(event_loop.state.len(), 14);
    assert_eq!(
        take::<OnFake>(&mut event_loop, "read").into_buffer(),
        Some("read".into())
    );
    let written = take::<OnFake>(&mut event_loop, "write");
    assert_eq!(
        (written.outcome(), written.into_buffer()),
        (Ok(5), Some("12345678".into()))
    );
    let accept = take::<OnFake>(&mut event_loop, "accept");
    assert_eq!(event_loop.address(accept.op), Some(address));
    let exit = take::<OnFake>(&mut event_loop, "exit");
    assert_eq!(event_loop.exit_info(exit.op), Some(ExitStatus::Exited(3)));
    let statx = take::<OnFake>(&mut event_loop, "statx");
    assert_eq!(event_loop.stat(statx.op).unwrap().size, 99);
    let open = take::<OnFake>(&mut event_loop, "open");
    let socket = take::<OnFake>(&mut event_loop, "socket");
    for done in [accept, socket, open] {
        assert!(done.into_descriptor().is_some());
    }
    assert_eq!(
        take::<OnFake>(&mut event_loop, "poll").outcome(),
        Ok(PollEvents::IN.bits())
    );
    assert!(
        event_loop
            .state
            .drain(..)
            .all(|(_, done)| done.outcome() == Ok(0))
    );
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_multishot_operations_are_told_of_and_ended_by_hand() {
    let mut event_loop = manual();
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    let group = event_loop.provide(2, 8).unwrap();
    event_loop.recv_multi(one, group, hear_as("recv")).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    let recv = pending(&event_loop, Code::RecvMulti);
    let fake = event_loop.fake_mut();
    let too_long = fake.complete_more(recv, b"123456789");
    assert_eq!(too_long, Err(CompleteError::TooLong { asked: 8, given: 9 }));
    fake.complete_more(recv, b"one").unwrap();
    fake.complete_more(recv, b"two").unwrap();
    assert_eq!(
        fake.complete_more(recv, b"three"),
        Err(CompleteError::NoBuffer)
    );
    fake.fail(recv, Errno::ENOBUFS).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    for text in ["one", "two"] {
        let done = take::<OnFake>(&mut event_loop, "recv");
        assert!(done.more);
        assert_eq!(*done.into_lease().unwrap(), *text.as_bytes());
    }
    let done = take::<OnFake>(&mut event_loop, "recv");
    assert_eq!((done.outcome(), done.more), (Err(Errno::ENOBUFS), false));
    assert_eq!(event_loop.fake().leases_out(), 0);
    event_loop.withdraw(group).unwrap();
    finish::<OnFake, _>(event_loop);
}

/// The flags that a send was given reach the kernel, and `MSG_NOSIGNAL` with them (M-4).
#[test]
fn p1_flags_reach_the_kernel() {
    let mut event_loop = manual();
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    let flags = MessageFlags::MORE | MessageFlags::DONT_WAIT;
    event_loop
        .submit(op::send(one, "x".into()).flags(flags), hear_as("send"))
        .unwrap();
    event_loop
        .submit(
            op::recv(one, room(1)).flags(MessageFlags::PEEK),
            hear_as("recv"),
        )
        .unwrap();
    event_loop
        .send_zero_copy(one, "x", hear_as("zero copy"))
        .unwrap();
    event_loop
        .submit_vectored(
            op::send_message(one, vectors(["x".into()])),
            hear_as("message"),
        )
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    let flags_of =
        |event_loop: &Manual, code| MessageFlags::from_bits_retain(pending(event_loop, code).flags);
    assert_eq!(
        flags_of(&event_loop, Code::Send),
        flags | MessageFlags::NO_SIGNAL
    );
    assert_eq!(flags_of(&event_loop, Code::Recv), MessageFlags::PEEK);
    assert_eq!(
        flags_of(&event_loop, Code::SendZeroCopy),
        MessageFlags::NO_SIGNAL
    );
    assert_eq!(
        flags_of(&event_loop, Code::SendMessage),
        MessageFlags::NO_SIGNAL
    );
    event_loop.cancel_all();
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(event_loop.state.len(), 5, "a zero-copy send tells twice");
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_held_operations_are_cancelled_and_time_out_all_the_same() {
    let mut event_loop = manual();
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    let cancelled = event_loop.nop(hear_as("cancelled")).unwrap();
    event_loop
        .submit(op::recv(one, room(4)).timeout(MILLI), hear_as("timed out"))
        .unwrap();
    event_loop
        .submit_chain([
            event_loop.member(op::nop(), hear_as("chain")),
            event_loop.member(op::nop(), hear_as("chain")),
        ])
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    assert_eq!(
        event_loop.fake().pending().len(),
        3,
        "of the chain one, whose turn it is"
    );
    event_loop.cancel(cancelled);
    turn_until::<OnFake, _>(&mut event_loop, |l| l.state.len() == 2);
    assert!(take::<OnFake>(&mut event_loop, "cancelled").is_cancelled());
    assert!(take::<OnFake>(&mut event_loop, "timed out").is_cancelled());
    for _ in 0..2 {
        let nop = pending(&event_loop, Code::Nop);
        event_loop.fake_mut().complete(nop, 0).unwrap();
        turn::<OnFake, _>(&mut event_loop);
    }
    assert_eq!(results::<OnFake>(&mut event_loop), [("chain", Ok(0)); 2]);
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_a_test_decides_about_stale_handles_never() {
    let mut event_loop = manual();
    let old = event_loop.nop(hear_as("old")).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    let fake = event_loop.fake_mut();
    fake.complete(old, 0).unwrap();
    run::<OnFake, _>(&mut event_loop);
    let new = event_loop.nop(hear_as("new")).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    assert_eq!(new.index(), old.index());
    let fake = event_loop.fake_mut();
    assert_eq!(fake.complete(old, 0), Err(CompleteError::NotPending));
    assert_eq!(fake.fail(old, Errno::EIO), Err(CompleteError::NotPending));
    assert_eq!(fake.release(old), Err(CompleteError::NotPending));
    assert_eq!(fake.pending()[0].token, new.handle());
    fake.release(new).unwrap();
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(
        results::<OnFake>(&mut event_loop),
        [("old", Ok(0)), ("new", Ok(0))]
    );
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_zero_copy_sends_keep_their_buffers_until_the_test_lets_go() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (one, end) = connection::<OnFake, _>(&mut event_loop);
    event_loop.fake_mut().hold_notifications(true);
    let sending = event_loop
        .send_zero_copy(one, "held", hear::<OnFake>("send"))
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    let first = take::<OnFake>(&mut event_loop, "send");
    assert_eq!((first.outcome(), first.more), (Ok(4), true));
    assert_eq!(
        (
            event_loop.fake().buffers_out(),
            event_loop.fake().notifications_held()
        ),
        (1, 1)
    );
    assert!(event_loop.cancel(sending), "and it changes nothing");
    assert!(
        event_loop
            .release_fd(one)
            .is_err_and(|error| error == LoopError::Busy)
    );
    event_loop.run_once(Some(MILLI)).unwrap();
    assert_eq!(event_loop.state(sending), OpState::Cancelling);
    assert_eq!(event_loop.fake_mut().let_go(), 1);
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(
        take::<OnFake>(&mut event_loop, "send").into_buffer(),
        Some("held".into())
    );
    drop(event_loop.release_fd(one).unwrap());
    assert_eq!(OnFake::outside(&mut event_loop).drain(end), b"held");
    finish::<OnFake, _>(event_loop);
}

/// P-6: what the kernel does not let go of is leaked, and counted.
#[test]
fn p6_a_shutdown_counts_what_the_kernel_holds_on_to() {
    let mut event_loop = Loop::fake_proactor_with(());
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    event_loop.fake_mut().script(|_| Decision::Stubborn);
    event_loop.recv(one, room(4), |_, _| ()).unwrap();
    event_loop.nop(|_, _| ()).unwrap();
    let (report, ()) = event_loop.shutdown(MILLI);
    assert_eq!((report.settled, report.leaked), (1, 1));
}

/// P-15: a close whose turn has come ends by itself, whoever asks for its end.
#[test]
fn p15_a_close_that_runs_is_not_cancelled() {
    let mut event_loop = manual();
    let (one, end) = pair::<OnFake, _>(&mut event_loop);
    let ops = event_loop
        .submit_chain([
            event_loop.member(op::close(one), hear_as("close")),
            event_loop.member(op::nop(), hear_as("nop")),
        ])
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    assert!(event_loop.cancel(ops[0]));
    turn::<OnFake, _>(&mut event_loop);
    assert!(results::<OnFake>(&mut event_loop).is_empty());
    let close = pending(&event_loop, Code::Close);
    event_loop.fake_mut().release(close).unwrap();
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(
        results::<OnFake>(&mut event_loop),
        [("close", Ok(0)), ("nop", Err(Errno::ECANCELED))]
    );
    assert!(OnFake::outside(&mut event_loop).is_at_end(end));
    finish::<OnFake, _>(event_loop);
}

#[test]
fn t1_operations_take_virtual_time_as_a_script_says() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let mut delays = [5, 1, 3].into_iter();
    event_loop.fake_mut().script(move |_| {
        delays
            .next()
            .map_or(Decision::Perform, |delay| Decision::Delay(MILLI * delay))
    });
    for who in ["five", "one", "three"] {
        event_loop.nop(hear::<OnFake>(who)).unwrap();
    }
    let begin = event_loop.read_clock();
    run::<OnFake, _>(&mut event_loop);
    let heard = results::<OnFake>(&mut event_loop);
    assert_eq!(heard, [("one", Ok(0)), ("three", Ok(0)), ("five", Ok(0))]);
    assert_eq!(event_loop.read_clock(), begin + MILLI * 5);
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_an_hour_passes_at_once() {
    let mut event_loop = Loop::fake_proactor_with(Vec::new());
    let (one, end) = pair::<OnFake, _>(&mut event_loop);
    event_loop
        .recv(one, room(4), |l: &mut LoopOf<OnFake, Vec<Instant>>, _| {
            l.state.push(l.read_clock());
        })
        .unwrap();
    let hour = Duration::from_hours(1);
    let action = Action::Write(end, b"x".to_vec());
    event_loop.fake_mut().after(hour, action);
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(event_loop.state, [Fake::START + hour]);
    finish::<OnFake, _>(event_loop);
}

#[test]
fn f1_a_wait_that_nothing_can_end_is_an_error_and_no_hang() {
    let mut event_loop = Loop::fake_proactor_with(());
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
    assert_eq!(event_loop.run().unwrap_err().errno(), Some(Errno::EDEADLK));
    event_loop.cancel(op);
    run::<OnFake, _>(&mut event_loop);
    finish::<OnFake, _>(event_loop);
}

/// A script of a program and its surroundings, from numbers that look random; its trace.
fn random_run(seed: u64) -> Vec<String> {
    let trace = Rc::new(RefCell::new(Vec::new()));
    let note = {
        let trace = Rc::clone(&trace);
        move |line: String| trace.borrow_mut().push(line)
    };
    let mut state = seed | 1;
    let mut throw = move |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    let mut event_loop = Loop::fake_proactor_with(());
    let mut decide = seed.rotate_left(17) | 1;
    event_loop.fake_mut().script(move |_| {
        decide = decide
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        match decide >> 60 {
            0 => Decision::Fail(Errno::EIO),
            1 => Decision::Shorten(1 + (decide >> 30 & 3) as usize),
            2 => Decision::Delay(Duration::from_micros(decide >> 40 & 0xfff)),
            3 => Decision::Hold,
            4 => Decision::Stubborn,
            _ => Decision::Perform,
        }
    });
    let pairs = [(); 3].map(|()| pair::<OnFake, _>(&mut event_loop));
    let group = event_loop.provide(4, 8).unwrap();
    let mut ops: Vec<Op> = Vec::new();
    for step in 0..200 {
        let (file, end) = pairs[throw(3) as usize];
        let hear = {
            let note = note.clone();
            move |l: &mut LoopOf<OnFake>, done: linux_event::Completion<Fake>| {
                let at = l.read_clock().since(Fake::START);
                note(format!(
                    "{step} at {at:?}: {:?} {} {:?}",
                    done.outcome(),
                    done.more,
                    done.payload
                ));
            }
        };
        match throw(9) {
            0 => ops.extend(event_loop.recv(file, room(8), hear).ok()),
            1 => ops.extend(event_loop.send(file, "message", hear).ok()),
            2 => ops.extend(event_loop.recv_multi(file, group, hear).ok()),
            3 => {
                let request = op::recv(file, room(8)).timeout(Duration::from_micros(throw(5_000)));
                ops.extend(event_loop.submit(request, hear).ok());
            }
            4 => {
                let members = [
                    event_loop.member(op::recv(file, room(2)).hard_link(), hear.clone()),
                    event_loop.member(op::send(file, "x".into()), hear),
                ];
                ops.extend(event_loop.submit_chain(members).into_iter().flatten());
            }
            5 => {
                let _ = OnFake::outside(&mut event_loop).write(end, b"from outside");
            }
            6 if !ops.is_empty() => {
                let op = ops[throw(ops.len() as u64) as usize];
                note(format!("{step}: cancel {}", event_loop.cancel(op)));
            }
            7 => {
                let held: Vec<_> = event_loop.fake().pending();
                if let Some(op) = held.get(throw(8) as usize).filter(|op| op.is_held) {
                    let _ = event_loop.fake_mut().release(op);
                }
            }
            _ => event_loop
                .run_once(Some(Duration::from_micros(throw(2_000))))
                .unwrap(),
        }
    }
    event_loop.fake_mut().end_script();
    for op in event_loop.fake().pending() {
        let _ = event_loop.fake_mut().release(op);
    }
    event_loop.cancel_all();
    for (_, end) in pairs {
        Outside::close(&mut OnFake::outside(&mut event_loop), end);
    }
    run::<OnFake, _>(&mut event_loop);
    note(format!(
        "{:?} {:?}",
        event_loop.stats(),
        event_loop.counters()
    ));
    event_loop.withdraw(group).unwrap();
    finish::<OnFake, _>(event_loop);
    trace.take()
}

#[test]
fn f1_the_same_input_is_the_same_run() {
    let mut lines = 0;
    for seed in 0..50_u64 {
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let trace = random_run(seed);
        assert_eq!(trace, random_run(seed), "seed {seed:x}");
        lines += trace.len();
    }
    assert!(lines > 2_000, "{lines} lines: too quiet a test");
    assert_ne!(random_run(1), random_run(2 << 32));
}

/// Each is refused in a forked child, or does nothing.
fn everything_is_forked(event_loop: &mut Manual, file: linux_event::File, op: Op) {
    let deadline = Instant::ZERO;
    let results = [
        event_loop.run_once(Some(Duration::ZERO)),
        event_loop.run_for(MILLI),
        event_loop.run(),
        event_loop.flush(),
        event_loop.after(MILLI, |_| ()).map(drop),
        event_loop.at(deadline, |_| ()).map(drop),
        event_loop.every(MILLI, |_, _| ()).map(drop),
        event_loop.signal(Signal::USR1, |_, _| ()).map(drop),
        event_loop.pid(1, |_, _| ()).map(drop),
        event_loop.close(file, |_, _| ()).map(drop),
        event_loop.release_fd(file).map(drop),
        event_loop.provide(2, 16).map(drop),
        event_loop.withdraw(linux_event::Group::new(0)),
        event_loop.register_files(2),
        event_loop.install(file).map(drop),
        event_loop.unregister_buffers().map(drop),
        event_loop.fixed(linux_event::FixedBuffer::new(0)).map(drop),
    ];
    for (number, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap_err(), LoopError::Forked, "call {number}");
    }
    let refused = event_loop.recv(file, "back", |_, _| ()).unwrap_err();
    assert_eq!(
        (refused.error, refused.buffer),
        (LoopError::Forked, Some("back".into()))
    );
    let parts = vectors(["a".into(), "b".into()]);
    let refused = event_loop
        .submit_vectored(op::write_vectored(file, parts), |_, _| ())
        .unwrap_err();
    assert_eq!(
        (refused.error, refused.buffers.len()),
        (LoopError::Forked, 2)
    );
    let members = [event_loop.member(op::write(file, "x".into()), |_, _| ())];
    let refused = event_loop.submit_chain(members).unwrap_err();
    assert_eq!(
        (refused.error, refused.requests.len()),
        (LoopError::Forked, 1)
    );
    let refused = event_loop.register_buffers(vectors([room(4)])).unwrap_err();
    assert_eq!(
        (refused.error, refused.buffers.len()),
        (LoopError::Forked, 1)
    );
    let fd = event_loop.fake_mut().regular_file().unwrap();
    let fd = event_loop.fake().own(fd);
    let refused = event_loop.adopt_fd(fd).unwrap_err();
    assert_eq!(refused.error, LoopError::Forked);
    drop(refused);
    assert!(!event_loop.cancel(op));
    assert_eq!(
        (event_loop.cancel_on(file), event_loop.cancel_all()),
        (0, 0)
    );
}

#[test]
fn g1_in_a_forked_child_nothing_is_touched() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (one, end) = pair::<OnFake, _>(&mut event_loop);
    let op = event_loop
        .recv(one, room(8), hear::<OnFake>("recv"))
        .unwrap();
    let timer = event_loop.after(LONG, |_| ()).unwrap();
    turn::<OnFake, _>(&mut event_loop);
    event_loop.fake_mut().set_owner(false);
    everything_is_forked(&mut event_loop, one, op);
    assert!(!event_loop.cancel(timer));
    assert_eq!(event_loop.fake().touched_in_child(), &[] as &[&str]);

    event_loop.fake_mut().set_owner(true); // the parent goes on
    OnFake::outside(&mut event_loop).put(end, b"x");
    turn_until::<OnFake, _>(&mut event_loop, |l| l.live_op_count() == 0);
    assert_eq!(results::<OnFake>(&mut event_loop), [("recv", Ok(1))]);
    assert!(event_loop.cancel(timer));
    finish::<OnFake, _>(event_loop);
}

#[test]
fn g1_completions_fetched_before_the_fork_are_the_parents() {
    let mut proactor = OnFake::values::<u32>();
    proactor.submit(op::nop(), 1).unwrap();
    proactor.submit(op::nop(), 2).unwrap();
    proactor.wait(None).unwrap();
    assert!(matches!(proactor.next(), Some(Event::Completion(done)) if done.data == 1));
    proactor.backend_mut().set_owner(false);
    assert!(proactor.next().is_none());
    assert_eq!(proactor.prepare(), Err(LoopError::Forked));
    assert_eq!(proactor.backend().touched_in_child(), &[] as &[&str]);
    proactor.backend_mut().set_owner(true);
    assert!(matches!(proactor.next(), Some(Event::Completion(done)) if done.data == 2));
    linux_event_tests::proactor::finish_values::<OnFake, _>(proactor);
}

#[test]
fn g1_a_childs_shutdown_touches_nothing_and_reports_nothing() {
    let mut proactor = OnFake::values::<u32>();
    proactor.submit(op::nop(), 1).unwrap();
    proactor.backend_mut().set_owner(false);
    assert_eq!(proactor.shutdown(LONG), linux_event::Shutdown::default());
}

/// M-6 rests on it: several messages in one vectored receive, by hand.
#[test]
fn f1_messages_have_senders() {
    let mut event_loop = Loop::fake_proactor_with(());
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    event_loop.fake_mut().hold(true);
    let from = "192.0.2.1:53".parse().unwrap();
    let sender = Rc::new(RefCell::new(None));
    let told = Rc::clone(&sender);
    event_loop
        .submit_vectored(
            op::recv_message(one, vectors([room(2), room(8)])),
            move |l, done| {
                *told.borrow_mut() =
                    Some((done.outcome(), l.address(done.op), l.take_vectors().len()));
            },
        )
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    let op = event_loop.fake().pending()[0];
    let answer = Answer::Message(b"message".to_vec(), from);
    event_loop.fake_mut().complete(op, answer).unwrap();
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(*sender.borrow(), Some((Ok(7), Some(from), 2)));
    event_loop.fake_mut().hold(false);
    let (sent, _) = perform_vectored::<OnFake, _>(
        &mut event_loop,
        op::write_vectored(one, vectors(["x".into()])),
    );
    assert_eq!(sent, Ok(1));
    finish::<OnFake, _>(event_loop);
}
