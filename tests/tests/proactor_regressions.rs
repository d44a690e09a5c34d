//! What went wrong in the system that this one is a new work of: each fault, so that it does not come back.
//!
//! P1 and P2 are the reference's own names; the others are those of the proactor that was there last.

#![allow(
    clippy::items_after_statements,
    reason = "a function stands where it is used"
)]

use linux_event::core::errno::Errno;
use linux_event::{FixedBuffer, MessageFlags, Op, PollEvents, op};
use linux_event_tests::proactor::{
    Heard, LoopOf, Outside, World, adopt, client, finish, hear, listener, pair, pair_within,
    perform, pipe_in, results, room, run, sorted, take, there_is, turn, turn_until, vectors,
};
use linux_event_tests::{LONG, MILLI, proactor_conformance};

/// A loop's operations, by which callbacks find one another.
type Ops = (Vec<&'static str>, Vec<Op>);

proactor_conformance! {
    /// P1: callbacks that were queued while the queue was drained were lost: the operation was settled, and nobody told.
    fn p8_reference_p1_what_is_settled_while_callbacks_are_drained_is_told<W>() {
        let mut event_loop = W::looping(Ops::default());
        let pairs = [(); 4].map(|()| pair::<W, _>(&mut event_loop));
        for (number, &(one, _)) in pairs.iter().enumerate() {
            let op = event_loop.recv(one, room(4), move |l: &mut LoopOf<W, Ops>, done| {
                l.state.0.push(if done.is_cancelled() { "cancelled" } else { "received" });
                if number == 0 {
                    // The second is there as well, and fetched or not; the others wait.
                    for op in l.state.1.clone() {
                        l.cancel(op);
                    }
                    l.nop(|l: &mut LoopOf<W, Ops>, _| l.state.0.push("submitted")).unwrap();
                    l.defer(|l| l.state.0.push("deferred"));
                }
            }).unwrap();
            event_loop.state.1.push(op);
        }
        turn::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(pairs[0].1, b"x");
        W::outside(&mut event_loop).put(pairs[1].1, b"x");
        run::<W, _>(&mut event_loop);
        let mut told = std::mem::take(&mut event_loop.state.0);
        told.sort_unstable();
        assert_eq!(told, ["cancelled", "cancelled", "deferred", "received", "received", "submitted"]);
        finish::<W, _>(event_loop);
    }

    /// P1 again, with a drain that is asked for: a loop that is stopped half-way.
    fn p8_reference_p1_also_when_the_queue_is_drained_by_hand<W>() {
        let mut event_loop = W::looping(Ops::default());
        for _ in 0..4 {
            let op = event_loop.nop(|l: &mut LoopOf<W, Ops>, _| {
                l.state.0.push("told");
                for op in l.state.1.clone() {
                    l.cancel(op);
                }
                if l.state.0.len() == 1 {
                    l.nop(|l: &mut LoopOf<W, Ops>, _| l.state.0.push("submitted")).unwrap();
                    l.stop();
                }
            }).unwrap();
            event_loop.state.1.push(op);
        }
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["told"]);
        event_loop.drain_callbacks().unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["told", "told", "told", "told", "submitted"]);
        finish::<W, _>(event_loop);
    }

    /// P2: buffers went by value, and what the kernel wrote to was nobody's in particular. Here they are moved in and come
    /// back; and there are registered ones.
    fn p6_reference_p2_buffers_have_an_owner_at_every_moment<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        let buffer = room(256);
        let memory = buffer.as_ptr();
        event_loop.read(reader, buffer, hear::<W>("read")).unwrap();
        turn::<W, _>(&mut event_loop);
        // The program goes on and uses memory of the same size while the kernel has that buffer.
        let others: Vec<Vec<u8>> = (0..64).map(|number| vec![number; 256]).collect();
        W::outside(&mut event_loop).put(end, b"written by the kernel");
        run::<W, _>(&mut event_loop);
        let back = take::<W>(&mut event_loop, "read").into_buffer().unwrap();
        assert_eq!((back.as_ptr(), &back[..]), (memory, &b"written by the kernel"[..]));
        assert!(others.iter().zip(0..).all(|(other, number)| other[..] == [number; 256]));

        event_loop.register_buffers(vectors([room(16)])).unwrap();
        W::outside(&mut event_loop).put(end, b"fixed");
        let read = op::read_fixed(reader, FixedBuffer::new(0), 0, 16);
        assert_eq!(perform::<W, _>(&mut event_loop, read).outcome(), Ok(5));
        assert_eq!(event_loop.unregister_buffers().unwrap()[0][..5], *b"fixed");
        finish::<W, _>(event_loop);
    }

    /// When the multishot accept was disarmed, what its old arm had accepted already was ignored: descriptors leaked,
    /// connections were lost.
    fn p5_reference_connections_of_an_accept_that_was_ended_are_served<W>() {
        let mut event_loop = W::looping((0, Vec::new()));
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let mut clients = 0;
        for round in 0..6 {
            let accepting = event_loop.accept_multi(listener, |l: &mut LoopOf<W, (u32, Vec<_>)>, done| {
                l.state.1.extend(done.into_descriptor());
            });
            let Some(accepting) = there_is(accepting) else { return };
            if round % 2 == 0 {
                turn::<W, _>(&mut event_loop); // armed; else in the same breath
            }
            let ends = [(); 3].map(|()| client::<W, _>(&mut event_loop, address));
            clients += 3;
            event_loop.cancel(accepting);
            run::<W, _>(&mut event_loop);
            let mut accepted = std::mem::take(&mut event_loop.state.1);
            while accepted.len() < 3 {
                let done = perform::<W, _>(&mut event_loop, op::accept(listener));
                accepted.push(done.into_descriptor().expect("it waits in the backlog"));
            }
            for (fd, end) in accepted.into_iter().zip(ends) {
                let served = adopt::<W, _>(&mut event_loop, fd);
                perform::<W, _>(&mut event_loop, op::send(served, "hello".into())).outcome().unwrap();
                let is_served = W::outside(&mut event_loop).drain(end) == b"hello";
                event_loop.state.0 += u32::from(is_served);
                perform::<W, _>(&mut event_loop, op::close(served)).outcome().unwrap();
                W::outside(&mut event_loop).close(end);
            }
        }
        assert_eq!(event_loop.state.0, clients);
        finish::<W, _>(event_loop);
    }

    /// Likewise for bytes: they were lost, and the provided buffer was never given back.
    fn p5_reference_bytes_of_a_receive_that_was_ended_are_delivered_and_buffers_return<W>() {
        let mut event_loop = W::looping((Vec::<u8>::new(), 0));
        let (one, end) = pair::<W, _>(&mut event_loop);
        // One buffer: if it were lost once, nothing would come any more.
        let Some(group) = there_is(event_loop.provide(1, 64)) else { return };
        let mut sent = Vec::new();
        for round in 0..40_u8 {
            let receiving = event_loop.recv_multi(one, group, |l: &mut LoopOf<W, (Vec<u8>, u32)>, done| {
                l.state.1 += u32::from(!done.more);
                if let Some(lease) = done.into_lease() {
                    l.state.0.extend_from_slice(&lease);
                }
            });
            let Some(receiving) = there_is(receiving) else { return };
            match round % 4 {
                0 => turn::<W, _>(&mut event_loop),
                1 => event_loop.flush().unwrap(),
                _ => {}
            }
            W::outside(&mut event_loop).put(end, &[round; 3]);
            sent.extend([round; 3]);
            if round % 8 > 3 {
                turn::<W, _>(&mut event_loop);
            }
            event_loop.cancel(receiving);
            run::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state.1, u32::from(round) + 1, "P-3");
        }
        while event_loop.state.0.len() < sent.len() {
            let done = perform::<W, _>(&mut event_loop, op::recv(one, room(64)));
            event_loop.state.0.extend_from_slice(&done.into_buffer().unwrap());
        }
        assert!(event_loop.state.0 == sent, "each byte once, in order");
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    /// The source was disarmed whenever nobody waited: a server paid an arm and a cancel for each message, and multishot
    /// gained nothing.
    fn p9_reference_a_multishot_receive_costs_no_submission_a_message<W>() {
        let mut event_loop = W::looping(0);
        let (one, end) = pair::<W, _>(&mut event_loop);
        let Some(group) = there_is(event_loop.provide(4, 64)) else { return };
        let receiving = event_loop.recv_multi(one, group, |l: &mut LoopOf<W, u32>, done| {
            l.state += u32::from(done.more);
        });
        let Some(receiving) = there_is(receiving) else { return };
        turn::<W, _>(&mut event_loop);
        let before = event_loop.counters();
        for count in 1..=100 {
            W::outside(&mut event_loop).put(end, b"message");
            turn_until::<W, _>(&mut event_loop, |l| l.state == count);
        }
        let after = event_loop.counters();
        assert_eq!(after.submitted, before.submitted, "armed once, for all of them");
        assert_eq!(after.completions - before.completions, 100);
        event_loop.cancel(receiving);
        run::<W, _>(&mut event_loop);
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    /// A later version made sends of writes: flags were ignored, and SIGPIPE could strike.
    fn p1_reference_flags_of_sends_are_not_ignored<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(end);
        let done = perform::<W, _>(&mut event_loop, op::send(one, "x".into()).flags(MessageFlags::MORE));
        assert_eq!(done.outcome(), Err(Errno::EPIPE), "an error, and no signal");
        finish::<W, _>(event_loop);
    }

    /// Sources of accepts were kept by number and never looked at again: a listener that was closed and another that got its
    /// number shared one.
    fn p15_reference_a_listener_with_a_number_that_was_used_before_is_another<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let mut numbers = Vec::new();
        for round in 0..4 {
            let (listener, address) = listener::<W, _>(&mut event_loop);
            numbers.push(event_loop.number(listener));
            let accepting = event_loop.accept_multi(listener, hear::<W>("accept"));
            let Some(_) = there_is(accepting) else { return };
            turn::<W, _>(&mut event_loop);
            let end = client::<W, _>(&mut event_loop, address);
            turn_until::<W, _>(&mut event_loop, |l| l.state.iter().any(|(_, done)| done.more));
            let done = take::<W>(&mut event_loop, "accept");
            let served = adopt::<W, _>(&mut event_loop, done.into_descriptor().unwrap());
            perform::<W, _>(&mut event_loop, op::send(served, "mine".into())).outcome().unwrap();
            assert_eq!(W::outside(&mut event_loop).drain(end), b"mine", "round {round}");
            event_loop.close(served, |_, _| ()).unwrap();
            event_loop.close(listener, hear::<W>("close")).unwrap();
            run::<W, _>(&mut event_loop);
            assert_eq!(results::<W>(&mut event_loop), [("accept", Err(Errno::ECANCELED)), ("close", Ok(0))]);
            W::outside(&mut event_loop).close(end);
        }
        assert!(numbers[1..].iter().all(|number| *number == numbers[1]), "the same number: {numbers:?}");
        finish::<W, _>(event_loop);
    }

    /// One stream had two waiters for receives of other lengths, which were served by different means: bytes came out of order.
    fn p1_reference_receives_of_different_lengths_get_the_bytes_in_order<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, &[b'x'; 100]);
        W::outside(&mut event_loop).put(end, b"rest");
        event_loop.recv(one, room(64), hear::<W>("a")).unwrap();
        event_loop.recv(one, room(10), hear::<W>("b")).unwrap();
        event_loop.recv(one, room(64), hear::<W>("c")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop).iter().map(|(who, _)| *who).collect::<String>(), "abc");
        finish::<W, _>(event_loop);
    }

    /// Splices could not be told from failures when there was nothing to move.
    fn p1_reference_a_splice_of_nothing_is_no_failure<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (from, source) = pipe_in::<W, _>(&mut event_loop);
        let (one, _) = pair::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(source);
        event_loop.splice(from, one, 64, hear::<W>("splice")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("splice", Ok(0))]);
        finish::<W, _>(event_loop);
    }

    /// An expired timeout came as an error (ETIME) where the ring's own word for it was passed on.
    fn p9_reference_an_expired_timer_is_a_success<W>() {
        let mut event_loop = W::looping(0);
        event_loop.after(MILLI, |l| l.state += 1).unwrap();
        event_loop.run().unwrap();
        event_loop.after(MILLI, |l| l.state += 1).unwrap();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, 2);
        finish::<W, _>(event_loop);
    }

    /// Timers of one turn came in the order of a hash.
    fn t3_reference_timers_beside_operations_come_in_order<W>() {
        let mut event_loop = W::looping(Vec::new());
        let now = event_loop.read_clock();
        for number in 0..20_u32 {
            event_loop.at(now + MILLI + MILLI / 100 * (number * 7 % 20), move |l: &mut LoopOf<W, Vec<u32>>| {
                l.state.push(number * 7 % 20);
                l.nop(|_, _| ()).unwrap();
            }).unwrap();
        }
        run::<W, _>(&mut event_loop);
        assert!(event_loop.state.iter().copied().eq(0..20), "{:?}", event_loop.state);
        finish::<W, _>(event_loop);
    }

    /// An idle loop span, and a waiting one could not be interrupted from outside.
    fn r2_reference_an_idle_loop_ends_and_a_waiting_one_waits<W>() {
        let mut event_loop = W::looping(());
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.counters().enters, 0);
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
        turn::<W, _>(&mut event_loop);
        let (begin, enters) = (event_loop.read_clock(), event_loop.counters().enters);
        event_loop.run_once(Some(MILLI * 5)).unwrap();
        assert!(event_loop.read_clock().since(begin) >= MILLI * 5);
        assert!(event_loop.counters().enters - enters <= 2);
        event_loop.cancel(op);
        run::<W, _>(&mut event_loop);
        finish::<W, _>(event_loop);
    }

    /// A number of operations that was never below zero but never right either: after cancels and expiries it has to be.
    fn p3_reference_the_count_of_live_operations_is_right<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        for (count, who) in (1..).zip(["a", "b", "c"]) {
            event_loop.recv(one, room(4), hear::<W>(who)).unwrap();
            assert_eq!(event_loop.live_op_count(), count);
        }
        let timed = event_loop.submit(op::recv(one, room(4)).timeout(MILLI), hear::<W>("d")).unwrap();
        turn_until::<W, _>(&mut event_loop, |l| !l.contains(timed));
        assert_eq!(event_loop.live_op_count(), 3);
        W::outside(&mut event_loop).put(end, b"x");
        turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 2);
        assert_eq!(event_loop.cancel_on(one), 2);
        assert_eq!(event_loop.live_op_count(), 2, "cancelling is a request");
        run::<W, _>(&mut event_loop);
        assert_eq!((event_loop.live_op_count(), event_loop.state.len()), (0, 4));
        finish::<W, _>(event_loop);
    }

    /// A waiter that was cancelled settled at once, inside the call; its callback is a later turn's here.
    fn p2_reference_cancelling_a_waiter_tells_nobody_inside_the_call<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, _) = listener::<W, _>(&mut event_loop);
        let first = event_loop.accept(listener, hear::<W>("first")).unwrap();
        event_loop.accept(listener, hear::<W>("second")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.cancel(first));
        assert!(event_loop.state.is_empty());
        turn_until::<W, _>(&mut event_loop, |l| l.state.len() == 1);
        assert!(take::<W>(&mut event_loop, "first").is_cancelled());
        event_loop.cancel_all();
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("second", Err(Errno::ECANCELED))]);
        finish::<W, _>(event_loop);
    }

    /// A stale completion of an old arm was taken for one of the new.
    fn p4_reference_a_late_completion_is_never_taken_for_a_newer_operations<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        for _ in 0..20 {
            let old = event_loop.poll_multi(reader, PollEvents::IN, hear::<W>("old"));
            let Some(old) = there_is(old) else { return };
            turn::<W, _>(&mut event_loop);
            W::outside(&mut event_loop).put(end, b"x");
            event_loop.cancel(old);
            let new = event_loop.poll(reader, PollEvents::PRIORITY, hear::<W>("new")).unwrap();
            turn_until::<W, _>(&mut event_loop, |l| !l.contains(old));
            assert!(event_loop.contains(new));
            assert!(event_loop.state.iter().all(|(who, done)| *who == "old" && done.op == old));
            event_loop.cancel(new);
            turn_until::<W, _>(&mut event_loop, |l| !l.contains(new));
            event_loop.state.clear();
        }
        finish::<W, _>(event_loop);
    }

    /// A proxy of the reference's examples: accept, connect, splice both ways through pipes; whole, in order, to the end.
    fn p1_reference_a_splicing_proxy<W>() {
        let mut event_loop = W::looping(0_u32);
        let (upstream, up_end) = pair::<W, _>(&mut event_loop);
        let (downstream, down_end) = pair::<W, _>(&mut event_loop);
        for (from, to) in [(upstream, downstream), (downstream, upstream)] {
            let (reader, writer) = W::outside(&mut event_loop).pipe();
            let (reader, writer) = (adopt::<W, _>(&mut event_loop, reader), adopt::<W, _>(&mut event_loop, writer));
            fill::<W>(&mut event_loop, from, to, reader, writer);
        }
        fn fill<W: World>(
            l: &mut LoopOf<W, u32>, from: linux_event::File, to: linux_event::File,
            reader: linux_event::File, writer: linux_event::File,
        ) {
            let mut left = None;
            l.splice(from, writer, 4096, move |l: &mut LoopOf<W, u32>, done| {
                let count = done.outcome().unwrap();
                let next = match left {
                    None if count == 0 => {
                        l.state += 1;
                        l.shutdown_socket(to, linux_event::How::Write, |_, _| ()).unwrap();
                        return;
                    }
                    None => {
                        left = Some(count);
                        op::splice(reader, to, count)
                    }
                    Some(due) if count < due => {
                        left = Some(due - count);
                        op::splice(reader, to, due - count)
                    }
                    Some(_) => {
                        left = None;
                        op::splice(from, writer, 4096)
                    }
                };
                l.again(next).unwrap();
            }).unwrap();
        }
        let request: Vec<u8> = (0..20_000_u32).map(|number| number as u8).collect();
        W::outside(&mut event_loop).put(up_end, &request);
        W::outside(&mut event_loop).shutdown_write(up_end);
        let mut received = Vec::new();
        while received.len() < request.len() {
            event_loop.run_once(Some(LONG)).unwrap();
            received.extend(W::outside(&mut event_loop).drain(down_end));
        }
        assert!(received == request);
        W::outside(&mut event_loop).put(down_end, b"response");
        W::outside(&mut event_loop).shutdown_write(down_end);
        run::<W, _>(&mut event_loop);
        assert_eq!(W::outside(&mut event_loop).drain(up_end), b"response");
        assert_eq!(event_loop.state, 2);
        finish::<W, _>(event_loop);
    }

    /// Pairs of cancel and complete in every order, as the reference's tests 46 to 57 have them for each operation.
    fn p4_reference_every_waiting_operation_is_cancelled_with_what_it_owns<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, _) = pair_within::<W, _>(&mut event_loop);
        let (reader, _) = pipe_in::<W, _>(&mut event_loop);
        let (listener, _) = listener::<W, _>(&mut event_loop);
        event_loop.read(reader, room(4), hear::<W>("read")).unwrap();
        event_loop.recv(one, room(4), hear::<W>("recv")).unwrap();
        event_loop.accept(listener, hear::<W>("accept")).unwrap();
        event_loop.poll(reader, PollEvents::IN, hear::<W>("poll")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.cancel_all(), 4);
        run::<W, _>(&mut event_loop);
        let buffers = event_loop.state.iter().filter(|(_, done)| matches!(done.payload, linux_event::Payload::Buffer(_)));
        assert_eq!(buffers.count(), 2);
        let names = ["accept", "poll", "read", "recv"];
        assert_eq!(sorted::<W>(&mut event_loop), names.map(|who| (who, Err(Errno::ECANCELED))));
        finish::<W, _>(event_loop);
    }
}

/// SIGPIPE with its default action would end the process: it never comes of sends.
#[test]
fn p1_reference_sigpipe_never_strikes() {
    use linux_event_tests::both::World as _;
    use linux_event_tests::proactor::{OnRing, connection, perform_vectored};
    OnRing::run("p1_reference_sigpipe_never_strikes", || {
        linux_event_tests::libc_calls::have_sigpipe_end_the_process();
        let mut event_loop = OnRing::looping(());
        let (one, end) = pair::<OnRing, _>(&mut event_loop);
        OnRing::outside(&mut event_loop).close(end);
        let request = op::send(one, "x".into());
        let done = perform::<OnRing, _>(&mut event_loop, request);
        assert_eq!(done.outcome(), Err(Errno::EPIPE));
        let parts = vectors(["x".into()]);
        let (outcome, _) =
            perform_vectored::<OnRing, _>(&mut event_loop, op::send_message(one, parts));
        assert_eq!(outcome, Err(Errno::EPIPE));
        let (two, _) = connection::<OnRing, _>(&mut event_loop);
        let request = op::shutdown(two, linux_event::How::Write);
        perform::<OnRing, _>(&mut event_loop, request)
            .outcome()
            .unwrap();
        let sent = event_loop.send_zero_copy(two, "x", |_, done| {
            assert!(matches!(done.outcome(), Err(Errno::EPIPE) | Ok(0)));
        });
        there_is(sent);
        run::<OnRing, _>(&mut event_loop);
        finish::<OnRing, _>(event_loop);
    });
}
