//! P-10, P-12, P-13: full queues and tables, what a kernel lacks, options.

use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::error::Call;
use linux_event::core::proactor::{Code, Event, Options};
use linux_event::core::sys::{Domain, SocketKind};
use linux_event::fake::Fake;
use linux_event::{Error, How, Loop, LoopError, Request, op};
use linux_event_tests::both::World as _;
use linux_event_tests::proactor::{
    Heard, LoopOf, OnFake, OnRing, Outside, World, finish, finish_values, hear, pair, pair_within,
    perform, results, room, run, take, there_is, turn, turn_until, vectors,
};
use linux_event_tests::{LONG, proactor_conformance};

/// A ping-pong between two sockets of the loop's, of so many messages; and some timers beside it.
fn ping_pong<W: World>(mut event_loop: LoopOf<W, u32>, rounds: u32) {
    let (one, other) = pair_within::<W, _>(&mut event_loop);
    event_loop
        .recv(other, room(64), move |l: &mut LoopOf<W, u32>, done| {
            assert_eq!(done.outcome(), Ok(4));
            l.state += 1;
            let buffer = done.into_buffer().unwrap();
            assert_eq!(**buffer, *b"ping");
            if l.state < rounds {
                l.again(op::recv(other, buffer)).unwrap();
            }
        })
        .unwrap();
    let mut sent = 0;
    event_loop
        .send(one, "ping", move |l: &mut LoopOf<W, u32>, done| {
            assert_eq!(done.outcome(), Ok(4));
            sent += 1;
            if sent < rounds {
                l.again(op::send(one, done.into_buffer().unwrap())).unwrap();
            }
        })
        .unwrap();
    let ticks = event_loop
        .every(Duration::from_micros(100), |_, _| ())
        .unwrap();
    event_loop.unref(ticks);
    run::<W, _>(&mut event_loop);
    assert_eq!(event_loop.state, rounds);
    event_loop.cancel(ticks);
    finish::<W, _>(event_loop);
}

proactor_conformance! {
    fn p10_a_full_queue_is_flushed_and_goes_on<W>() {
        let mut event_loop = W::with_entries(4, Vec::new());
        for number in 0..100 {
            event_loop.nop(move |l: &mut LoopOf<W, Vec<u32>>, _| l.state.push(number)).unwrap();
        }
        run::<W, _>(&mut event_loop);
        assert!(event_loop.state.iter().copied().eq(0..100));
        finish::<W, _>(event_loop);
    }

    fn p10_an_overflow_of_completions_loses_nothing_and_is_counted<W>() {
        let mut event_loop = W::with_queues(4, 8, Vec::new());
        for number in 0..100 {
            event_loop.nop(move |l: &mut LoopOf<W, Vec<u32>>, _| l.state.push(number)).unwrap();
        }
        event_loop.flush().unwrap();
        run::<W, _>(&mut event_loop);
        event_loop.state.sort_unstable();
        assert!(event_loop.state.iter().copied().eq(0..100), "{:?}", event_loop.state);
        assert!(event_loop.counters().overflows >= 1);
        finish::<W, _>(event_loop);
    }

    fn p10_more_in_flight_than_the_queues_have_room_for<W>() {
        let mut event_loop = W::with_queues(2, 4, 0);
        let pairs: Vec<_> = (0..50).map(|_| pair::<W, _>(&mut event_loop)).collect();
        for &(one, _) in &pairs {
            event_loop.recv(one, room(4), |l: &mut LoopOf<W, u32>, done| {
                assert_eq!(done.outcome(), Ok(1));
                l.state += 1;
            }).unwrap();
        }
        event_loop.flush().unwrap();
        for &(_, end) in &pairs {
            W::outside(&mut event_loop).put(end, b"x");
        }
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, 50);
        finish::<W, _>(event_loop);
    }

    fn p10_the_smallest_queues_do<W>() {
        ping_pong::<W>(W::with_queues(2, 4, 0), 200);
    }

    fn p12_supported_operations_are_not_refused<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let requests: [(&str, Request<linux_event::Buffer>); 4] = [
            ("SHUTDOWN", op::shutdown(one, How::Both).into()),
            ("SOCKET", op::socket(Domain::V4, SocketKind::Stream).into()),
            ("LISTEN", op::listen(one, 1).into()),
            ("WAITID", op::wait_pid(1).into()),
        ];
        let mut count = 0;
        for (name, request) in requests {
            count += usize::from(there_is(event_loop.submit(request, hear::<W>(name))).is_some());
        }
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.len(), count);
        for (name, done) in &event_loop.state {
            // What a kernel says of an operation that it does not know; of a pair that is to listen it says the same.
            assert!(*name == "LISTEN" || done.outcome() != Err(Errno::EINVAL), "{name}");
        }
        finish::<W, _>(event_loop);
    }
}

#[test]
fn p12_what_a_kernel_lacks_is_refused_by_name_with_the_buffer() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    let lacking = [
        Code::Shutdown,
        Code::Socket,
        Code::Bind,
        Code::Listen,
        Code::WaitId,
    ];
    let lacking = lacking.into_iter().chain([
        Code::SendZeroCopy,
        Code::AcceptMulti,
        Code::PollMulti,
        Code::Recv,
    ]);
    for code in lacking {
        event_loop.fake_mut().set_supported(code, false);
        let address = "127.0.0.1:80".parse().unwrap();
        let request: Request<linux_event::Buffer> = match code {
            Code::Shutdown => op::shutdown(one, How::Both).into(),
            Code::Socket => op::socket(Domain::V4, SocketKind::Stream).into(),
            Code::Bind => op::bind(one, address).into(),
            Code::Listen => op::listen(one, 1).into(),
            Code::WaitId => op::wait_pid(1).into(),
            Code::SendZeroCopy => op::send_zero_copy(one, "back".into()).into(),
            Code::AcceptMulti => op::accept_multi(one).into(),
            Code::PollMulti => op::poll_multi(one, linux_event::PollEvents::IN).into(),
            _ => op::recv(one, "back".into()).into(),
        };
        let had_buffer = request.buffer.is_some();
        let refused = event_loop
            .submit(request, hear::<OnFake>("never"))
            .unwrap_err();
        assert_eq!(refused.error, LoopError::UnsupportedOperation { code });
        assert!(refused.to_string().contains(code.name()), "{refused}");
        assert!(refused.to_string().contains(code.since()), "{refused}");
        assert_eq!(refused.buffer.is_some(), had_buffer);
    }
    event_loop.fake_mut().set_supported(Code::Fsync, false);
    let members = [
        event_loop.member(op::nop(), hear::<OnFake>("never")),
        event_loop.member(op::fsync(one), hear::<OnFake>("never")),
    ];
    let refused = event_loop.submit_chain(members).unwrap_err();
    let code = Code::Fsync;
    assert_eq!(refused.error, LoopError::UnsupportedOperation { code });
    event_loop.fake_mut().set_supported(Code::RecvMulti, false);
    let refused = event_loop.provide(2, 16).unwrap_err();
    assert!(matches!(
        refused,
        Error::Loop(LoopError::UnsupportedOperation { .. })
    ));
    event_loop
        .fake_mut()
        .set_supported(Code::ReadVectored, false);
    let parts = vectors([room(1), room(1)]);
    let refused = event_loop
        .submit_vectored(op::read_vectored(one, parts), hear::<OnFake>("never"))
        .unwrap_err();
    assert_eq!(refused.buffers.len(), 2);
    assert_eq!(event_loop.live_op_count(), 0);
    finish::<OnFake, _>(event_loop);
}

#[test]
fn p10_lost_completions_are_fatal_and_said() {
    let mut event_loop = Loop::fake_proactor();
    event_loop.nop(|_, _| ()).unwrap();
    event_loop
        .fake_mut()
        .fail_next(Call::IoUringEnter, Errno::EBADR);
    let failed = event_loop.run().unwrap_err();
    assert!(
        matches!(failed, Error::Loop(LoopError::CompletionsLost)),
        "{failed}"
    );
}

#[test]
fn r1_an_interrupted_wait_ends_empty_and_has_handed_over() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    event_loop.nop(hear::<OnFake>("nop")).unwrap();
    event_loop.fake_mut().interrupt_next_wait();
    event_loop.run_once(Some(LONG)).unwrap();
    assert!(event_loop.state.is_empty());
    assert_eq!(event_loop.fake().queued(), 0);
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(results::<OnFake>(&mut event_loop), [("nop", Ok(0))]);
    finish::<OnFake, _>(event_loop);
}

#[test]
fn p10_a_refused_call_keeps_what_is_queued() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (one, end) = pair::<OnFake, _>(&mut event_loop);
    event_loop
        .send(one, "kept", hear::<OnFake>("send"))
        .unwrap();
    for call in 0..2 {
        event_loop
            .fake_mut()
            .fail_next(Call::IoUringEnter, Errno::ENOMEM);
        let failed = match call {
            0 => event_loop.flush(),
            _ => event_loop.run_once(None),
        };
        assert_eq!(failed.unwrap_err().errno(), Some(Errno::ENOMEM));
        assert_eq!(OnFake::outside(&mut event_loop).drain(end), b"");
    }
    run::<OnFake, _>(&mut event_loop);
    assert_eq!(OnFake::outside(&mut event_loop).drain(end), b"kept");
    assert_eq!(results::<OnFake>(&mut event_loop), [("send", Ok(4))]);
    finish::<OnFake, _>(event_loop);
}

/// P-4: the engine asks again, as often as it takes.
#[test]
fn p4_a_cancel_that_was_refused_is_made_before_the_next_wait() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (one, _) = pair::<OnFake, _>(&mut event_loop);
    let op = event_loop
        .recv(one, room(4), hear::<OnFake>("recv"))
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    for _ in 0..2 {
        let error = LoopError::Full { capacity: 0 };
        event_loop.fake_mut().refuse_next_cancel(error);
    }
    assert!(event_loop.cancel(op), "never refused");
    turn_until::<OnFake, _>(&mut event_loop, |l| l.live_op_count() == 0);
    assert!(take::<OnFake>(&mut event_loop, "recv").is_cancelled());
    finish::<OnFake, _>(event_loop);
}

/// P-15: likewise for closing.
#[test]
fn p15_a_close_that_was_refused_is_made_before_the_next_wait() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (one, end) = pair::<OnFake, _>(&mut event_loop);
    event_loop
        .recv(one, room(4), hear::<OnFake>("recv"))
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    event_loop.close(one, hear::<OnFake>("close")).unwrap();
    let error = LoopError::Full { capacity: 0 };
    event_loop.fake_mut().refuse_next(error);
    turn_until::<OnFake, _>(&mut event_loop, |l| l.live_op_count() == 0);
    let heard = results::<OnFake>(&mut event_loop);
    assert_eq!(heard, [("recv", Err(Errno::ECANCELED)), ("close", Ok(0))]);
    assert!(OnFake::outside(&mut event_loop).is_at_end(end));
    finish::<OnFake, _>(event_loop);
}

/// P-4: a request that comes too late changes nothing.
#[test]
fn p4_a_cancel_that_loses_the_race_leaves_the_result() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (one, end) = pair::<OnFake, _>(&mut event_loop);
    let op = event_loop
        .recv(one, room(4), hear::<OnFake>("recv"))
        .unwrap();
    turn::<OnFake, _>(&mut event_loop);
    event_loop.fake_mut().cancel_loses();
    assert!(event_loop.cancel(op));
    turn::<OnFake, _>(&mut event_loop);
    assert!(event_loop.contains(op), "it goes on");
    OnFake::outside(&mut event_loop).put(end, b"data");
    run::<OnFake, _>(&mut event_loop);
    let done = take::<OnFake>(&mut event_loop, "recv");
    assert_eq!(
        (done.outcome(), done.into_buffer()),
        (Ok(4), Some("data".into())),
        "P-5"
    );
    finish::<OnFake, _>(event_loop);
}

/// P-11: a descriptor that can't be had is an error, and the connection waits on.
#[test]
fn p11_an_accept_without_a_number_left_fails_and_loses_nobody() {
    let mut event_loop = Loop::fake_proactor_with(Heard::<OnFake>::new());
    let (listener, address) = linux_event_tests::proactor::listener::<OnFake, _>(&mut event_loop);
    let end = linux_event_tests::proactor::client::<OnFake, _>(&mut event_loop, address);
    event_loop.fake_mut().set_descriptor_limit(0);
    let done = perform::<OnFake, _>(&mut event_loop, op::accept(listener));
    assert_eq!(done.outcome(), Err(Errno::EMFILE));
    event_loop.fake_mut().set_descriptor_limit(1024);
    let done = perform::<OnFake, _>(&mut event_loop, op::accept(listener));
    assert!(done.into_descriptor().is_some());
    turn::<OnFake, _>(&mut event_loop);
    assert!(OnFake::outside(&mut event_loop).is_at_end(end));
    finish::<OnFake, _>(event_loop);
}

#[test]
fn p10_a_table_of_one_operation() {
    use linux_event::core::proactor::Proactor;
    let mut proactor: Proactor<linux_event::Buffer, u32, 1, 1, Fake> =
        Proactor::new(Fake::new()).unwrap();
    for data in 0..100 {
        proactor.submit(op::nop(), data).unwrap();
        assert!(proactor.submit(op::nop(), data).is_err());
        proactor.wait(None).unwrap();
        let Some(Event::Completion(done)) = proactor.next() else {
            panic!("no completion")
        };
        assert_eq!((done.data, done.outcome()), (data, Ok(0)));
    }
}

fn on_ring(name: &str, body: fn()) {
    OnRing::run(name, body);
}

#[test]
fn p12_what_is_in_force_can_be_asked() {
    on_ring("p12_what_is_in_force_can_be_asked", || {
        let event_loop = OnRing::with_queues(8, 64, ());
        let capabilities = event_loop.capabilities();
        assert_eq!((capabilities.entries, capabilities.cq_entries), (8, 64));
        assert!(capabilities.supports(Code::Nop) && capabilities.supports(Code::Read));
        let text = capabilities.to_string();
        assert!(text.contains("8 submissions"), "{text}");
        for step in &capabilities.steps {
            assert!(
                text.contains(&step.to_string()),
                "each step down is told: {text}"
            );
        }
        finish::<OnRing, _>(event_loop);
    });
}

/// P-13: options change how it goes, not what comes of it.
#[test]
fn p13_the_same_comes_of_it_with_every_option() {
    on_ring("p13_the_same_comes_of_it_with_every_option", || {
        let options: [fn(&mut Options); 7] = [
            |_| (),
            |options| options.entries = 2,
            |options| options.cq_entries = Some(4096),
            |options| options.submit_batch = 1,
            |options| options.submit_batch = 3,
            |options| options.busy_poll = Duration::from_micros(50),
            |options| options.sqpoll_idle = Some(Duration::from_millis(1)),
        ];
        for (number, change) in options.into_iter().enumerate() {
            let mut options = Options::default();
            change(&mut options);
            match Loop::proactor_with_options(options, 0) {
                Ok(event_loop) => ping_pong::<OnRing>(event_loop, 300),
                Err(error) => panic!("option {number}: {error}"),
            }
        }
    });
}

#[test]
fn p13_a_submit_batch_goes_by_itself() {
    on_ring("p13_a_submit_batch_goes_by_itself", || {
        let options = Options {
            submit_batch: 2,
            ..Options::default()
        };
        let mut event_loop = Loop::proactor_with_options(options, 0).unwrap();
        let (one, end) = pair::<OnRing, _>(&mut event_loop);
        let count = |l: &mut LoopOf<OnRing, u32>, _| l.state += 1;
        event_loop.send(one, "1", count).unwrap();
        assert_eq!(OnRing::outside(&mut event_loop).drain(end), b"");
        event_loop.send(one, "2", count).unwrap();
        assert_eq!(OnRing::outside(&mut event_loop).drain(end), b"12");
        assert_eq!(event_loop.state, 0, "P-2");
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, 2);
        finish::<OnRing, _>(event_loop);
    });
}

#[test]
fn p13_no_entries_are_refused() {
    let options = Options {
        entries: 0,
        ..Options::default()
    };
    let refused = Loop::proactor_with_options(options, ());
    assert!(refused.is_err());
}

/// The values of a proactor can be had without a loop, also of the ring.
#[test]
fn p1_values_of_the_ring() {
    on_ring("p1_values_of_the_ring", || {
        let mut proactor = OnRing::values::<&str>();
        proactor.submit(op::nop(), "data").unwrap();
        proactor.wait(None).unwrap();
        assert!(matches!(proactor.next(), Some(Event::Completion(done)) if done.data == "data"));
        assert!(proactor.next().is_none());
        finish_values::<OnRing, _>(proactor);
    });
}
