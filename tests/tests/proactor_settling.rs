//! P-2 to P-5, P-7, P-8: when operations settle, how often, and what cancelling and detaching do to them.

use std::rc::Rc;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::Event;
use linux_event::{LoopError, MessageFlags, Op, OpState, PollEvents, op};
use linux_event_tests::proactor::{
    Heard, LoopOf, Outside, World, adopt, client, finish, finish_values, hear, listener, outcome,
    pair, pair_within, perform, pipe_in, pipe_out, results, room, run, sorted, take, there_is,
    turn, turn_until, wait_for_the_end,
};
use linux_event_tests::{LONG, MILLI, proactor_conformance};

proactor_conformance! {
    fn p2_nothing_is_delivered_in_the_call_that_submits_flushes_or_cancels<W>() {
        let mut event_loop = W::looping(0);
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        let count = |l: &mut LoopOf<W, u32>, _| l.state += 1;
        let ops = [
            event_loop.nop(count).unwrap(),
            event_loop.send(one, "x", count).unwrap(),
            event_loop.recv(other, room(4), count).unwrap(),
            event_loop.recv(other, room(4), count).unwrap(),
        ];
        event_loop.flush().unwrap(); // all but the last is over in the kernel's eyes
        assert_eq!(event_loop.state, 0);
        for op in ops {
            assert!(event_loop.cancel(op));
            assert_eq!((event_loop.state, event_loop.state(op)), (0, OpState::Cancelling));
        }
        event_loop.flush().unwrap();
        assert_eq!(event_loop.cancel_all(), 4);
        event_loop.close(one, count).unwrap();
        assert_eq!(event_loop.state, 0);
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, 5);
        finish::<W, _>(event_loop);
    }

    fn p2_nor_in_a_callback_that_does_so<W>() {
        let mut event_loop = W::looping(Vec::new());
        event_loop.nop(|l: &mut LoopOf<W, Vec<&str>>, _| {
            l.state.push("outer");
            let op = l.nop(|l, _| l.state.push("inner")).unwrap();
            l.flush().unwrap();
            l.cancel(op);
            l.flush().unwrap();
            l.state.push("outer ends");
        }).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["outer", "outer ends", "inner"]);
        finish::<W, _>(event_loop);
    }

    fn p3_each_operation_settles_once_whatever_happens_to_it<W>() {
        let mut event_loop = W::looping(vec![0_u32; 60]);
        let mut ops = Vec::new();
        let mut ends = Vec::new();
        for number in 0..60 {
            let (one, end) = pair::<W, _>(&mut event_loop);
            let op = event_loop.recv(one, room(8), move |l: &mut LoopOf<W, Vec<u32>>, done| {
                assert!(!done.more);
                assert!(done.into_buffer().is_some(), "P-6");
                l.state[number] += 1;
            }).unwrap();
            ops.push(op);
            ends.push(end);
        }
        turn::<W, _>(&mut event_loop);
        for (number, (&op, &end)) in ops.iter().zip(&ends).enumerate() {
            match number % 6 {
                0 => assert!(event_loop.cancel(op)),
                1 => W::outside(&mut event_loop).put(end, b"x"),
                2 => {
                    W::outside(&mut event_loop).put(end, b"x");
                    assert!(event_loop.cancel(op));
                }
                3 => {
                    assert!(event_loop.cancel(op));
                    W::outside(&mut event_loop).put(end, b"x");
                }
                4 => W::outside(&mut event_loop).shutdown_write(end),
                _ => assert!(event_loop.cancel(op) && event_loop.cancel(op)),
            }
        }
        run::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, [1; 60]);
        finish::<W, _>(event_loop);
    }

    fn p3_a_multishot_operation_tells_many_and_settles_once<W>() {
        let mut event_loop = W::looping((0, 0));
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        let polling = event_loop.poll_multi(reader, PollEvents::IN, |l: &mut LoopOf<W, (u32, u32)>, done| {
            if done.more { l.state.0 += 1 } else { l.state.1 += 1 }
        });
        let Some(polling) = there_is(polling) else { return };
        for count in 1..=5 {
            W::outside(&mut event_loop).put(end, b"x");
            turn_until::<W, _>(&mut event_loop, |l| l.state.0 >= count);
            assert!(event_loop.contains(polling));
        }
        event_loop.cancel(polling);
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, (5, 1));
        assert!(!event_loop.contains(polling));
        finish::<W, _>(event_loop);
    }

    fn p4_a_cancelled_operation_says_so_and_brings_its_buffer<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(8), hear::<W>("recv")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state(op), OpState::Pending);
        assert!(event_loop.cancel(op));
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "recv");
        assert!(done.is_cancelled());
        assert_eq!(done.outcome(), Err(Errno::ECANCELED));
        assert!(done.into_buffer().unwrap().is_empty());
        assert_eq!(event_loop.state(op), OpState::Gone);
        finish::<W, _>(event_loop);
    }

    fn p4_what_the_kernel_has_not_seen_is_cancelled_too<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(8), hear::<W>("recv")).unwrap();
        assert!(event_loop.cancel(op), "queued, and nothing more");
        run::<W, _>(&mut event_loop);
        assert!(take::<W>(&mut event_loop, "recv").is_cancelled());
        finish::<W, _>(event_loop);
    }

    fn p4_cancelling_what_has_settled_is_false_and_does_nothing<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let op = event_loop.nop(hear::<W>("nop")).unwrap();
        run::<W, _>(&mut event_loop);
        for _ in 0..2 {
            assert!(!event_loop.cancel(op));
        }
        turn::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("nop", Ok(0))]);
        finish::<W, _>(event_loop);
    }

    fn p4_cancelling_what_is_over_but_not_fetched_changes_nothing<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let op = event_loop.nop(hear::<W>("nop")).unwrap();
        W::outside(&mut event_loop).put(end, b"here");
        event_loop.recv(one, room(8), hear::<W>("recv")).unwrap();
        event_loop.flush().unwrap();
        assert!(event_loop.cancel(op), "nobody was told yet");
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [("nop", Ok(0)), ("recv", Ok(4))]);
        finish::<W, _>(event_loop);
    }

    fn p4_a_stale_handle_never_touches_a_newer_operation_in_its_slot<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let old = event_loop.nop(hear::<W>("old")).unwrap();
        run::<W, _>(&mut event_loop);
        let new = event_loop.recv(one, room(8), hear::<W>("new")).unwrap();
        assert_eq!(new.index(), old.index());
        turn::<W, _>(&mut event_loop);
        assert!(!event_loop.cancel(old) && !event_loop.detach(old) && !event_loop.contains(old));
        assert!(!event_loop.set_counted(old, false));
        assert!(event_loop.on_complete(old, |_, _| ()).is_err_and(|error| error == LoopError::Stale));
        assert_eq!((event_loop.state(old), event_loop.state(new)), (OpState::Gone, OpState::Pending));
        assert!(event_loop.take_outcome(old).is_none());
        W::outside(&mut event_loop).put(end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("old", Ok(0)), ("new", Ok(1))]);
        finish::<W, _>(event_loop);
    }

    /// t/65 of the reference.
    fn p4_cancelling_one_of_two_leaves_the_other<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let first = event_loop.recv(one, room(8), hear::<W>("first")).unwrap();
        event_loop.recv(one, room(8), hear::<W>("second")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.cancel(first));
        turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
        assert!(take::<W>(&mut event_loop, "first").is_cancelled());
        W::outside(&mut event_loop).put(end, b"for the second");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("second", Ok(8))]);
        finish::<W, _>(event_loop);
    }

    fn p4_cancelling_by_descriptor_ends_what_is_in_flight_on_it_and_nothing_else<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        let (from, _) = pipe_in::<W, _>(&mut event_loop);
        event_loop.recv(one, room(8), hear::<W>("a: recv")).unwrap();
        event_loop.poll(one, PollEvents::IN, hear::<W>("b: poll")).unwrap();
        event_loop.recv(one, room(8), hear::<W>("c: not yet handed over")).unwrap();
        event_loop.recv(other, room(8), hear::<W>("d: other")).unwrap();
        event_loop.read(from, room(8), hear::<W>("e: pipe")).unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.recv(one, room(8), hear::<W>("f: queued")).unwrap();
        assert_eq!(event_loop.cancel_on(one), 4);
        turn_until::<W, _>(&mut event_loop, |l| l.state.len() >= 4);
        let cancelled = ["a: recv", "b: poll", "c: not yet handed over", "f: queued"];
        assert_eq!(sorted::<W>(&mut event_loop), cancelled.map(|who| (who, Err(Errno::ECANCELED))));
        assert_eq!((event_loop.cancel_on(one), event_loop.live_op_count()), (0, 2));
        assert_eq!(event_loop.cancel_all(), 2);
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), ["d: other", "e: pipe"].map(|who| (who, Err(Errno::ECANCELED))));
        assert_eq!(event_loop.cancel_all(), 0);
        finish::<W, _>(event_loop);
    }

    fn p4_cancelling_by_registered_slot<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        event_loop.register_files(2).unwrap();
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        let slots = [one, other].map(|file| event_loop.install(file).unwrap());
        event_loop.recv(slots[0], room(8), hear::<W>("first slot")).unwrap();
        event_loop.recv(slots[1], room(8), hear::<W>("second slot")).unwrap();
        event_loop.recv(one, room(8), hear::<W>("same file by its number")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.cancel_on(slots[0]), 1, "P-15: our table decides, and goes by what it was given");
        turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
        assert_eq!(results::<W>(&mut event_loop), [("first slot", Err(Errno::ECANCELED))]);
        assert_eq!(event_loop.cancel_on(one), 1);
        assert_eq!(event_loop.cancel_on(slots[1]), 1);
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.len(), 2);
        finish::<W, _>(event_loop);
    }

    fn p4_a_cancel_is_never_refused_for_want_of_room<W>() {
        let mut event_loop = W::with_entries(2, Heard::<W>::new());
        let (one, _) = pair::<W, _>(&mut event_loop);
        for _ in 0..3 {
            let ops = [(); 7].map(|()| event_loop.recv(one, room(8), hear::<W>("recv")).unwrap());
            for op in ops {
                assert!(event_loop.cancel(op));
            }
            run::<W, _>(&mut event_loop);
            assert_eq!(results::<W>(&mut event_loop), [("recv", Err(Errno::ECANCELED)); 7]);
        }
        finish::<W, _>(event_loop);
    }

    fn p4_cancelling_from_the_operations_own_callback_is_too_late<W>() {
        let mut event_loop = W::looping(0);
        event_loop.nop(|l: &mut LoopOf<W, u32>, done| {
            assert!(!l.cancel(done.op) && !l.detach(done.op));
            l.state += 1;
        }).unwrap();
        run::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, 1);
        finish::<W, _>(event_loop);
    }

    fn p4_a_multishot_operation_cancels_itself_in_its_callback<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        let polling = event_loop.poll_multi(reader, PollEvents::IN, |l: &mut LoopOf<W, Vec<bool>>, done| {
            l.state.push(done.more);
            assert_eq!(l.cancel(done.op), done.more);
        });
        if there_is(polling).is_none() {
            return;
        }
        W::outside(&mut event_loop).put(end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, [true, false]);
        finish::<W, _>(event_loop);
    }

    /// Whoever wins the race: what was received is handed back, or is still there to receive.
    fn p5_bytes_are_not_lost_to_a_cancel<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let (mut sent, mut received) = (0_u32, Vec::new());
        for round in 0..200_u32 {
            let op = event_loop.recv(one, room(64), hear::<W>("recv")).unwrap();
            if round % 3 > 0 {
                turn::<W, _>(&mut event_loop);
            }
            let bytes = [round as u8; 3];
            let (before, after) = (round % 2 == 0, round % 2 == 1);
            if before {
                W::outside(&mut event_loop).put(end, &bytes);
            }
            assert_eq!(event_loop.cancel(op), event_loop.contains(op));
            if after {
                W::outside(&mut event_loop).put(end, &bytes);
            }
            sent += 3;
            run::<W, _>(&mut event_loop);
            let done = take::<W>(&mut event_loop, "recv");
            assert!(done.is_cancelled() || done.outcome().is_ok(), "{done:?}");
            received.extend_from_slice(&done.into_buffer().unwrap());
        }
        received.extend(W::outside(&mut event_loop).drain(end));
        while received.len() < sent as usize {
            let done = perform::<W, _>(&mut event_loop, op::recv(one, room(1024)));
            received.extend_from_slice(&done.into_buffer().unwrap());
        }
        let expected: Vec<u8> = (0..200_u32).flat_map(|round| [round as u8; 3]).collect();
        assert!(received == expected, "each byte once, in order");
        finish::<W, _>(event_loop);
    }

    /// There, connections of an accept that had been cancelled leaked, and were lost.
    fn p5_connections_are_not_lost_to_a_cancel<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let mut served = 0;
        for round in 0..20 {
            let op = event_loop.accept(listener, hear::<W>("accept")).unwrap();
            if round % 2 == 0 {
                turn::<W, _>(&mut event_loop);
            }
            let end = client::<W, _>(&mut event_loop, address);
            event_loop.cancel(op);
            run::<W, _>(&mut event_loop);
            let mut done = take::<W>(&mut event_loop, "accept");
            if done.is_cancelled() {
                done = perform::<W, _>(&mut event_loop, op::accept(listener));
            }
            let fd = done.into_descriptor().expect("handed back, or still there");
            let file = adopt::<W, _>(&mut event_loop, fd);
            perform::<W, _>(&mut event_loop, op::send(file, "served".into())).outcome().unwrap();
            served += usize::from(W::outside(&mut event_loop).drain(end) == b"served");
            perform::<W, _>(&mut event_loop, op::close(file)).outcome().unwrap();
            W::outside(&mut event_loop).close(end);
        }
        assert_eq!(served, 20);
        finish::<W, _>(event_loop);
    }

    /// Likewise with several that were accepted at once, the first of which cancels.
    fn p5_what_a_multishot_accept_has_taken_is_delivered_after_its_cancel<W>() {
        let mut event_loop = W::looping((Vec::new(), 0));
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let ends = [(); 5].map(|()| client::<W, _>(&mut event_loop, address));
        let accepting = event_loop.accept_multi(listener, |l: &mut LoopOf<W, (Vec<_>, u32)>, done| {
            l.cancel(done.op);
            l.state.1 += u32::from(!done.more);
            l.state.0.extend(done.into_descriptor());
        });
        if there_is(accepting).is_none() {
            return;
        }
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.1, 1, "P-3");
        let (mut accepted, _) = std::mem::take(&mut event_loop.state);
        while accepted.len() < ends.len() {
            let done = perform::<W, _>(&mut event_loop, op::accept(listener));
            accepted.push(done.into_descriptor().unwrap());
        }
        for (fd, end) in accepted.into_iter().zip(ends) {
            let file = adopt::<W, _>(&mut event_loop, fd);
            perform::<W, _>(&mut event_loop, op::send(file, "hi".into())).outcome().unwrap();
            assert_eq!(W::outside(&mut event_loop).drain(end), b"hi");
        }
        finish::<W, _>(event_loop);
    }

    fn p5_bytes_of_a_multishot_receive_are_delivered_after_its_cancel<W>() {
        let mut event_loop = W::looping((Vec::<u8>::new(), 0));
        let (one, end) = pair::<W, _>(&mut event_loop);
        let Some(group) = there_is(event_loop.provide(8, 4)) else { return };
        W::outside(&mut event_loop).put(end, b"abcdefghijkl");
        let receiving = event_loop.recv_multi(one, group, |l: &mut LoopOf<W, (Vec<u8>, u32)>, done| {
            l.cancel(done.op);
            l.state.1 += u32::from(!done.more);
            if let Some(lease) = done.into_lease() {
                l.state.0.extend_from_slice(&lease);
            }
        });
        if there_is(receiving).is_none() {
            return;
        }
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.1, 1, "P-3");
        let mut received = std::mem::take(&mut event_loop.state.0);
        while received.len() < 12 {
            let done = perform::<W, _>(&mut event_loop, op::recv(one, room(64)));
            received.extend_from_slice(&done.into_buffer().unwrap());
        }
        assert_eq!(received, b"abcdefghijkl");
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p7_detach_drops_the_callback_and_the_operation_settles_in_silence<W>() {
        let mut event_loop = W::looping(0);
        let (one, end) = pair::<W, _>(&mut event_loop);
        let held = Rc::new(());
        let kept = Rc::clone(&held);
        let op = event_loop.recv(one, room(8), move |l: &mut LoopOf<W, u32>, _| {
            let _ = &kept;
            l.state += 1;
        }).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.detach(op));
        assert_eq!(Rc::strong_count(&held), 1, "the callback is gone, and what it held");
        assert_eq!((event_loop.state(op), event_loop.is_live()), (OpState::Pending, true));
        W::outside(&mut event_loop).put(end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!((event_loop.state, event_loop.state(op)), (0, OpState::Gone));
        assert!(!event_loop.detach(op));
        finish::<W, _>(event_loop);
    }

    /// t/40 of the reference.
    fn p7_detached_then_cancelled_settles_in_silence<W>() {
        let mut event_loop = W::looping(0);
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(8), |l: &mut LoopOf<W, u32>, _| l.state += 1).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.detach(op) && event_loop.cancel(op));
        run::<W, _>(&mut event_loop);
        assert_eq!((event_loop.state, event_loop.live_op_count()), (0, 0));
        finish::<W, _>(event_loop);
    }

    fn p7_what_a_detached_operation_brings_is_closed_and_given_back<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let accept = event_loop.accept(listener, hear::<W>("never")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.detach(accept));
        let end = client::<W, _>(&mut event_loop, address);
        run::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        // The connection is closed, which takes older kernels a little while.
        wait_for_the_end::<W, _>(&mut event_loop, end);

        let (one, end) = pair::<W, _>(&mut event_loop);
        if let Some(group) = there_is(event_loop.provide(2, 8))
            && let Some(recv) = there_is(event_loop.recv_multi(one, group, hear::<W>("never")))
        {
            assert!(event_loop.detach(recv));
            // Two buffers are enough for any number of messages: each goes back by itself.
            for _ in 0..6 {
                W::outside(&mut event_loop).put(end, b"dropped");
                let mut looks = 0;
                let look = || op::recv(one, room(1)).flags(MessageFlags::PEEK | MessageFlags::DONT_WAIT);
                while perform::<W, _>(&mut event_loop, look()).outcome() != Err(Errno::EAGAIN) {
                    looks += 1;
                    assert!(looks < 1_000, "nobody receives");
                }
            }
            assert!(event_loop.contains(recv), "it was not starved");
            event_loop.cancel(recv);
            run::<W, _>(&mut event_loop);
            event_loop.withdraw(group).unwrap();
        }
        assert!(event_loop.state.is_empty());
        finish::<W, _>(event_loop);
    }

    /// t/41 of the reference.
    fn p7_a_callback_that_comes_late_is_called_in_the_next_turn<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let op = event_loop.start(op::nop()).unwrap();
        assert_eq!(event_loop.state(op), OpState::Pending);
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state(op), OpState::Settled);
        event_loop.on_complete(op, hear::<W>("late")).unwrap();
        assert!(event_loop.state.is_empty(), "P-2");
        let refused = event_loop.on_complete(op, hear::<W>("later"));
        assert!(refused.is_err_and(|error| matches!(error, linux_event::Error::Loop(LoopError::Invalid(_)))));
        assert!(event_loop.is_live());
        turn::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("late", Ok(0))]);
        assert_eq!(event_loop.state(op), OpState::Gone);
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty(), "once");
        finish::<W, _>(event_loop);
    }

    fn p7_a_callback_can_be_given_while_it_is_pending<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let op = event_loop.start(op::recv(one, room(8))).unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.on_complete(op, hear::<W>("recv")).unwrap();
        assert!(event_loop.on_complete(op, hear::<W>("other")).is_err());
        assert!(event_loop.take_outcome(op).is_none());
        W::outside(&mut event_loop).put(end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("recv", Ok(1))]);
        finish::<W, _>(event_loop);
    }

    fn p7_outcomes_are_kept_until_they_are_taken_or_detached<W>() {
        let mut event_loop = W::looping(());
        let (writer, _) = pipe_out::<W, _>(&mut event_loop);
        let ops = ["one", "two", "three"].map(|text| event_loop.start(op::write(writer, text.into())).unwrap());
        turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
        assert!(!event_loop.is_live(), "what is kept keeps nobody running");
        let taken = event_loop.take_outcome(ops[1]).unwrap();
        assert_eq!((taken.outcome(), taken.into_buffer()), (Ok(3), Some("two".into())));
        assert!(event_loop.take_outcome(ops[1]).is_none());
        assert!(event_loop.detach(ops[0]) && !event_loop.detach(ops[0]));
        assert_eq!(outcome::<W, _>(&mut event_loop, ops[2]).outcome(), Ok(5));
        finish::<W, _>(event_loop);
    }

    /// P1 of the reference: there, callbacks that were queued while the queue was drained were lost.
    fn p8_cancelling_another_in_a_callback_loses_neither<W>() {
        let mut event_loop = W::looping((Vec::new(), None::<Op>));
        let (one, _) = pair::<W, _>(&mut event_loop);
        let waiting = event_loop.recv(one, room(8), |l: &mut LoopOf<W, (Vec<&str>, Option<Op>)>, done| {
            assert!(done.is_cancelled());
            l.state.0.push("cancelled");
        }).unwrap();
        event_loop.state.1 = Some(waiting);
        turn::<W, _>(&mut event_loop);
        event_loop.nop(|l, _| {
            l.state.0.push("cancels");
            let waiting = l.state.1.unwrap();
            assert!(l.cancel(waiting));
        }).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["cancels", "cancelled"]);
        finish::<W, _>(event_loop);
    }

    fn p8_each_callback_of_a_batch_cancels_all_the_others<W>() {
        let mut event_loop = W::looping((0, Vec::<Op>::new()));
        for _ in 0..16 {
            let op = event_loop.nop(|l: &mut LoopOf<W, (u32, Vec<Op>)>, done| {
                l.state.0 += 1;
                for op in l.state.1.clone() {
                    assert_eq!(l.cancel(op), op != done.op && l.contains(op));
                }
            }).unwrap();
            event_loop.state.1.push(op);
        }
        run::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, 16);
        finish::<W, _>(event_loop);
    }

    fn p8_a_callback_that_submits_loses_nothing_however_full_the_queue_is<W>() {
        let mut event_loop = W::with_entries(2, Vec::new());
        for number in 0..10 {
            event_loop.nop(move |l: &mut LoopOf<W, Vec<u32>>, _| {
                l.state.push(number);
                for more in 1..=3 {
                    l.nop(move |l, _| l.state.push(number + 10 * more)).unwrap();
                }
            }).unwrap();
        }
        run::<W, _>(&mut event_loop);
        event_loop.state.sort_unstable();
        assert!(event_loop.state.iter().copied().eq(0..40), "{:?}", event_loop.state);
        finish::<W, _>(event_loop);
    }

    fn p8_an_operation_that_submits_itself_again_for_ever_starves_nobody<W>() {
        let mut event_loop = W::looping((0, false));
        event_loop.nop(|l: &mut LoopOf<W, (u32, bool)>, _| {
            l.state.0 += 1;
            if !l.state.1 {
                l.again(op::nop()).unwrap();
            }
        }).unwrap();
        event_loop.after(MILLI, |l| l.state.1 = true).unwrap();
        if W::IS_VIRTUAL {
            // Time passes only in waits that find nothing.
            event_loop.defer(|l| l.state.1 = true);
        }
        run::<W, _>(&mut event_loop);
        assert!(event_loop.state.0 >= 1);
        finish::<W, _>(event_loop);
    }

    fn p8_a_turn_ends_although_every_completion_submits_another<W>() {
        fn again<W: World>(l: &mut LoopOf<W, u32>, _: linux_event_tests::proactor::Done<W>) {
            l.state += 1;
            if l.state < 1_000 {
                l.nop(again::<W>).unwrap();
            }
        }
        let mut event_loop = W::looping(0);
        event_loop.nop(again::<W>).unwrap();
        for _ in 0..5 {
            let before = event_loop.state;
            event_loop.run_once(Some(LONG)).unwrap();
            assert!(event_loop.state <= before + 1, "what is submitted in a turn is the next one's");
        }
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, 1_000);
        finish::<W, _>(event_loop);
    }

    fn p8_values_that_are_not_fetched_are_the_next_turns<W>() {
        let mut proactor = W::values::<u32>();
        for data in 0..4 {
            proactor.submit(op::nop(), data).unwrap();
        }
        let mut heard = Vec::new();
        let mut turns = 0;
        while heard.len() < 4 {
            proactor.wait(Some(LONG)).unwrap();
            turns += 1;
            if let Some(Event::Completion(done)) = proactor.next() {
                proactor.cancel(done.op);
                heard.push(done.data);
            }
            assert!(turns < 10);
        }
        assert_eq!(heard, [0, 1, 2, 3]);
        proactor.wait(Some(std::time::Duration::ZERO)).unwrap();
        assert!(proactor.next().is_none());
        finish_values::<W, _>(proactor);
    }
}
