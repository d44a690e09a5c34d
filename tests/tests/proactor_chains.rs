//! P-4, P-9, P-10, P-15: chains, their timeouts, and cancelling them.

use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::Code;
use linux_event::{LoopError, op};
use linux_event_tests::proactor::{
    Heard, LoopOf, Outside, World, broken_pipe, file, finish, hear, listener, pair, pair_within,
    perform, perform_vectored, pipe_in, results, room, run, sorted, take, turn, turn_until,
    vectors,
};
use linux_event_tests::{LONG, MILLI, proactor_conformance};

const CANCELLED: Result<u32, Errno> = Err(Errno::ECANCELED);

proactor_conformance! {
    fn p10_members_run_one_after_the_other<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let file = file::<W, _>(&mut event_loop, "file", b"");
        let [written, read, synced] = event_loop.submit_chain([
            event_loop.member(op::write(file, "hello".into()).at(0), hear::<W>("write")),
            event_loop.member(op::read(file, room(5)).at(0), hear::<W>("read")),
            event_loop.member(op::fsync(file), hear::<W>("fsync")),
        ]).unwrap();
        assert!([written, read, synced].into_iter().all(|op| event_loop.contains(op)));
        assert_eq!(event_loop.live_op_count(), 3);
        run::<W, _>(&mut event_loop);
        let heard: Vec<_> = event_loop.state.iter().map(|(who, done)| (*who, done.op)).collect();
        assert_eq!(heard, [("write", written), ("read", read), ("fsync", synced)]);
        let done = take::<W>(&mut event_loop, "read");
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(5), Some("hello".into())));
        finish::<W, _>(event_loop);
    }

    fn p10_a_member_waits_for_the_one_before_it<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.submit_chain([
            event_loop.member(op::recv(one, room(4)), hear::<W>("recv")),
            event_loop.member(op::send(one, "then".into()), hear::<W>("send")),
        ]).unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert!(event_loop.state.is_empty());
        assert_eq!(W::outside(&mut event_loop).drain(end), b"");
        W::outside(&mut event_loop).put(end, b"go!!");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("recv", Ok(4)), ("send", Ok(4))]);
        assert_eq!(W::outside(&mut event_loop).drain(end), b"then");
        finish::<W, _>(event_loop);
    }

    fn p10_what_follows_a_failure_is_cancelled_and_brings_its_buffer<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let broken = broken_pipe::<W, _>(&mut event_loop);
        event_loop.submit_chain([
            event_loop.member(op::nop(), hear::<W>("a: nop")),
            event_loop.member(op::write(broken, "x".into()), hear::<W>("b: fails")),
            event_loop.member(op::send(one, "never".into()), hear::<W>("c: send")),
            event_loop.member(op::recv(one, room(4)), hear::<W>("d: recv")),
        ]).unwrap();
        run::<W, _>(&mut event_loop);
        let buffers = ["b: fails", "c: send", "d: recv"].map(|who| {
            let at = event_loop.state.iter().position(|(name, _)| *name == who).unwrap();
            matches!(event_loop.state[at].1.payload, linux_event::Payload::Buffer(_))
        });
        assert_eq!(buffers, [true; 3], "P-6");
        assert_eq!(sorted::<W>(&mut event_loop), [
            ("a: nop", Ok(0)), ("b: fails", Err(Errno::EPIPE)), ("c: send", CANCELLED), ("d: recv", CANCELLED),
        ]);
        assert_eq!(W::outside(&mut event_loop).drain(end), b"");
        finish::<W, _>(event_loop);
    }

    fn p10_fewer_bytes_than_asked_for_break_a_chain<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let file = file::<W, _>(&mut event_loop, "file", b"short");
        event_loop.submit_chain([
            event_loop.member(op::read(file, room(64)).limit(64).at(0), hear::<W>("a: read")),
            event_loop.member(op::nop(), hear::<W>("b: nop")),
        ]).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [("a: read", Ok(5)), ("b: nop", CANCELLED)]);
        finish::<W, _>(event_loop);
    }

    fn p10_a_hard_link_goes_on_whatever_came_of_it<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let broken = broken_pipe::<W, _>(&mut event_loop);
        event_loop.submit_chain([
            event_loop.member(op::write(broken, "x".into()).hard_link(), hear::<W>("a: fails")),
            event_loop.member(op::nop(), hear::<W>("b: goes on")),
            event_loop.member(op::write(broken, "x".into()), hear::<W>("c: fails")),
            event_loop.member(op::nop().hard_link(), hear::<W>("d: cancelled")),
            event_loop.member(op::nop(), hear::<W>("e: cancelled")),
        ]).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [
            ("a: fails", Err(Errno::EPIPE)), ("b: goes on", Ok(0)), ("c: fails", Err(Errno::EPIPE)),
            ("d: cancelled", CANCELLED), ("e: cancelled", CANCELLED),
        ]);
        finish::<W, _>(event_loop);
    }

    fn p10_two_chains_do_not_wait_for_one_another<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.submit_chain([
            event_loop.member(op::recv(one, room(1)), hear::<W>("first")),
            event_loop.member(op::nop(), hear::<W>("first")),
        ]).unwrap();
        event_loop.submit_chain([
            event_loop.member(op::nop(), hear::<W>("second")),
            event_loop.member(op::nop(), hear::<W>("second")),
        ]).unwrap();
        turn_until::<W, _>(&mut event_loop, |l| l.state.len() == 2);
        assert_eq!(results::<W>(&mut event_loop), [("second", Ok(0)); 2]);
        W::outside(&mut event_loop).put(end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("first", Ok(1)), ("first", Ok(0))]);
        finish::<W, _>(event_loop);
    }

    /// A link of the last member would tie whatever is submitted next to it.
    fn p10_a_chain_ends_with_its_last_member_and_a_lone_link_is_none<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let broken = broken_pipe::<W, _>(&mut event_loop);
        let failing = || op::write(broken, "x".into()).link();
        event_loop.submit_chain([
            event_loop.member(op::nop(), hear::<W>("chain")),
            event_loop.member(failing(), hear::<W>("chain")),
        ]).unwrap();
        event_loop.nop(hear::<W>("alone")).unwrap();
        event_loop.submit(failing(), hear::<W>("fails")).unwrap();
        event_loop.nop(hear::<W>("alone")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [
            ("alone", Ok(0)), ("alone", Ok(0)), ("chain", Ok(0)), ("chain", Err(Errno::EPIPE)),
            ("fails", Err(Errno::EPIPE)),
        ]);
        finish::<W, _>(event_loop);
    }

    fn p10_a_refused_chain_gives_every_member_back_and_nothing_is_queued<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let (gone, _) = pair_within::<W, _>(&mut event_loop);
        drop(event_loop.release_fd(gone).unwrap());
        for at in 0..3 {
            let members = [0, 1, 2].map(|number| {
                let file = if number == at { gone } else { one };
                let text = ["zero", "one", "two"][number];
                event_loop.member(op::send(file, text.into()), hear::<W>("never"))
            });
            let refused = event_loop.submit_chain(members).unwrap_err();
            assert_eq!(refused.error, LoopError::Stale, "member {at}");
            let buffers: Vec<_> = refused.requests.into_iter().map(|request| request.buffer.unwrap()).collect();
            assert_eq!(buffers, ["zero".into(), "one".into(), "two".into()]);
        }
        assert_eq!(event_loop.live_op_count(), 0);
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        assert_eq!(W::outside(&mut event_loop).drain(end), b"");
        drop(event_loop.release_fd(one).expect("nothing is in flight on it"));
        finish::<W, _>(event_loop);
    }

    fn p10_a_member_with_a_path_without_its_end_refuses_the_chain<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let members = [
            event_loop.member(op::nop(), hear::<W>("never")),
            event_loop.member(op::open(linux_event::Target::CURRENT_DIRECTORY, "no end".into()), hear::<W>("never")),
        ];
        let refused = event_loop.submit_chain(members).unwrap_err();
        assert!(matches!(refused.error, LoopError::Invalid(_)), "{refused:?}");
        assert_eq!((refused.requests[0].code(), refused.requests[1].buffer.as_ref().unwrap().len()), (Code::Nop, 6));
        finish::<W, _>(event_loop);
    }

    fn p10_a_chain_is_whole_at_every_fill_of_the_queue<W>() {
        for fill in 0..8 {
            let mut event_loop = W::with_entries(8, Heard::<W>::new());
            let (one, end) = pair::<W, _>(&mut event_loop);
            for _ in 0..fill {
                event_loop.nop(|_, _| ()).unwrap();
            }
            event_loop.submit_chain([
                event_loop.member(op::recv(one, room(1)), hear::<W>("first")),
                event_loop.member(op::nop(), hear::<W>("second")),
                event_loop.member(op::nop(), hear::<W>("third")),
                event_loop.member(op::nop(), hear::<W>("fourth")),
            ]).unwrap();
            for _ in 0..3 {
                turn::<W, _>(&mut event_loop);
            }
            assert!(event_loop.state.is_empty(), "cut apart behind {fill}: {:?}", event_loop.state);
            W::outside(&mut event_loop).put(end, b"x");
            run::<W, _>(&mut event_loop);
            let heard = results::<W>(&mut event_loop);
            assert_eq!(heard, [("first", Ok(1)), ("second", Ok(0)), ("third", Ok(0)), ("fourth", Ok(0))]);
            finish::<W, _>(event_loop);
        }
    }

    fn p10_a_chain_longer_than_the_queue_is_refused_whole<W>() {
        let mut event_loop = W::with_entries(4, Heard::<W>::new());
        let members = [(); 5].map(|()| event_loop.member(op::nop(), hear::<W>("never")));
        let refused = event_loop.submit_chain(members).unwrap_err();
        assert!(matches!(refused.error, LoopError::Full { capacity: 4 }), "{refused:?}");
        assert_eq!(refused.requests.len(), 5);
        // A timeout takes an entry of its own.
        let members = [(); 3].map(|()| event_loop.member(op::nop().timeout(LONG), hear::<W>("never")));
        assert!(event_loop.submit_chain(members).is_err());
        let members = [(); 4].map(|()| event_loop.member(op::nop(), hear::<W>("nop")));
        event_loop.submit_chain(members).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("nop", Ok(0)); 4]);
        finish::<W, _>(event_loop);
    }

    fn p4_cancelling_a_member_that_has_not_started_cancels_from_the_running_one_on<W>() {
        for at in 0..4 {
            let mut event_loop = W::looping(Heard::<W>::new());
            let (one, end) = pair::<W, _>(&mut event_loop);
            let ops = event_loop.submit_chain([
                event_loop.member(op::nop(), hear::<W>("a: over")),
                event_loop.member(op::recv(one, room(4)), hear::<W>("b: runs")),
                event_loop.member(op::send(one, "never".into()), hear::<W>("c: waits")),
                event_loop.member(op::nop(), hear::<W>("d: waits")),
            ]).unwrap();
            turn_until::<W, _>(&mut event_loop, |l| l.state.len() == 1);
            assert_eq!(event_loop.cancel(ops[at]), at > 0, "the first is over");
            if at == 0 {
                event_loop.cancel_all();
            }
            run::<W, _>(&mut event_loop);
            let heard = sorted::<W>(&mut event_loop);
            assert_eq!(heard, [("a: over", Ok(0)), ("b: runs", CANCELLED), ("c: waits", CANCELLED), ("d: waits", CANCELLED)]);
            assert_eq!(W::outside(&mut event_loop).drain(end), b"");
            finish::<W, _>(event_loop);
        }
    }

    fn p4_a_hard_linked_chain_is_cancelled_to_its_end<W>() {
        for at in 0..4 {
            let mut event_loop = W::looping(Heard::<W>::new());
            let (one, end) = pair::<W, _>(&mut event_loop);
            let waits = || op::recv(one, room(4)).hard_link();
            let ops = event_loop.submit_chain([
                event_loop.member(waits(), hear::<W>("a")),
                event_loop.member(waits(), hear::<W>("b")),
                event_loop.member(waits(), hear::<W>("c")),
                event_loop.member(waits(), hear::<W>("d")),
            ]).unwrap();
            turn::<W, _>(&mut event_loop);
            assert!(event_loop.cancel(ops[at]));
            run::<W, _>(&mut event_loop);
            assert_eq!(sorted::<W>(&mut event_loop), ["a", "b", "c", "d"].map(|who| (who, CANCELLED)), "by member {at}");
            W::outside(&mut event_loop).put(end, b"rest");
            let rest = perform::<W, _>(&mut event_loop, op::recv(one, room(8)));
            assert_eq!(rest.outcome(), Ok(4), "none of them took it");
            finish::<W, _>(event_loop);
        }
    }

    fn p4_a_member_that_starts_after_its_cancel_is_cancelled_then<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let ops = event_loop.submit_chain([
            event_loop.member(op::recv(one, room(4)).hard_link(), hear::<W>("a")),
            event_loop.member(op::recv(one, room(4)).hard_link(), hear::<W>("b")),
            event_loop.member(op::recv(one, room(4)), hear::<W>("c")),
        ]).unwrap();
        turn::<W, _>(&mut event_loop);
        // The first completes and is cancelled, in this order: all of it comes to an end all the same.
        W::outside(&mut event_loop).put(end, b"1234");
        assert!(event_loop.cancel(ops[2]));
        run::<W, _>(&mut event_loop);
        let heard = sorted::<W>(&mut event_loop);
        assert!(heard[0] == ("a", Ok(4)) || heard[0] == ("a", CANCELLED), "{heard:?}");
        if heard[0].1.is_ok() {
            assert_eq!(heard[1..], [("b", CANCELLED), ("c", CANCELLED)]);
        }
        finish::<W, _>(event_loop);
    }

    fn p4_detached_members_settle_in_silence<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let ops = event_loop.submit_chain([
            event_loop.member(op::recv(one, room(4)), hear::<W>("never")),
            event_loop.member(op::send(one, "still sent".into()), hear::<W>("send")),
        ]).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.detach(ops[0]));
        W::outside(&mut event_loop).put(end, b"go");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("send", Ok(10))]);
        finish::<W, _>(event_loop);
    }

    fn p9_a_timeout_ends_an_operation_that_takes_longer<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let begin = event_loop.read_clock();
        let request = op::recv(one, room(4)).timeout(MILLI * 3);
        event_loop.submit(request, hear::<W>("recv")).unwrap();
        run::<W, _>(&mut event_loop);
        assert!(event_loop.read_clock() >= begin + MILLI * 3);
        let done = take::<W>(&mut event_loop, "recv");
        assert!(done.is_cancelled());
        assert!(done.into_buffer().is_some(), "P-6");
        W::outside(&mut event_loop).put(end, b"x");
        assert_eq!(perform::<W, _>(&mut event_loop, op::recv(one, room(4))).outcome(), Ok(1));
        finish::<W, _>(event_loop);
    }

    fn p9_a_timeout_that_is_not_needed_leaves_no_trace<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let begin = event_loop.read_clock();
        event_loop.submit(op::recv(one, room(4)).timeout(LONG), hear::<W>("recv")).unwrap();
        event_loop.submit(op::nop().timeout(LONG), hear::<W>("nop")).unwrap();
        turn::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [("nop", Ok(0)), ("recv", Ok(1))]);
        let late = event_loop.recv(one, room(4), hear::<W>("late")).unwrap();
        event_loop.run_once(Some(MILLI)).unwrap();
        assert!(event_loop.contains(late), "the timeout was another's");
        event_loop.cancel(late);
        run::<W, _>(&mut event_loop);
        assert!(event_loop.read_clock().since(begin) < LONG);
        finish::<W, _>(event_loop);
    }

    fn p9_a_timeout_within_a_chain_is_its_members_alone<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.submit_chain([
            event_loop.member(op::nop().timeout(LONG), hear::<W>("a")),
            event_loop.member(op::recv(one, room(4)).timeout(MILLI), hear::<W>("b")),
            event_loop.member(op::send(one, "never".into()), hear::<W>("c")),
        ]).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [("a", Ok(0)), ("b", CANCELLED), ("c", CANCELLED)]);
        event_loop.submit_chain([
            event_loop.member(op::recv(one, room(4)).timeout(MILLI).hard_link(), hear::<W>("a")),
            event_loop.member(op::send(one, "goes on".into()).timeout(LONG), hear::<W>("b")),
        ]).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [("a", CANCELLED), ("b", Ok(7))]);
        assert_eq!(W::outside(&mut event_loop).drain(end), b"goes on");
        finish::<W, _>(event_loop);
    }

    fn p9_a_vectored_operation_has_its_timeout_too<W>() {
        let mut event_loop = W::looping(());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let request = op::read_vectored(one, vectors([room(4), room(4)])).timeout(MILLI);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, request);
        assert_eq!((outcome, buffers.len()), (CANCELLED, 2));
        finish::<W, _>(event_loop);
    }

    fn p9_a_timeout_of_zero_and_a_cancel_settle_once<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let request = op::recv(one, room(4)).timeout(Duration::ZERO);
        let op = event_loop.submit(request, hear::<W>("recv")).unwrap();
        event_loop.cancel(op);
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("recv", CANCELLED)]);
        finish::<W, _>(event_loop);
    }

    fn p15_a_chain_closes_its_file_when_its_turn_comes<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.submit_chain([
            event_loop.member(op::send(one, "last words".into()), hear::<W>("send")),
            event_loop.member(op::close(one), hear::<W>("close")),
        ]).unwrap();
        let refused = event_loop.send(one, "too late", hear::<W>("never")).unwrap_err();
        assert_eq!(refused.error, LoopError::Stale, "it is closing");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("send", Ok(10)), ("close", Ok(0))]);
        assert_eq!(W::outside(&mut event_loop).drain(end), b"last words");
        assert!(W::outside(&mut event_loop).is_at_end(end));
        assert_eq!(event_loop.file_count(), 0);
        finish::<W, _>(event_loop);
    }

    fn p15_a_chain_that_breaks_closes_its_file_all_the_same<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let (reader, _) = pipe_in::<W, _>(&mut event_loop);
        event_loop.submit_chain([
            event_loop.member(op::write(reader, "fails".into()), hear::<W>("a: write")),
            event_loop.member(op::send(one, "never".into()), hear::<W>("b: send")),
            event_loop.member(op::close(one), hear::<W>("c: close")),
        ]).unwrap();
        run::<W, _>(&mut event_loop);
        let heard = sorted::<W>(&mut event_loop);
        assert_eq!(heard[..2], [("a: write", Err(Errno::EBADF)), ("b: send", CANCELLED)]);
        assert_eq!(heard[2].0, "c: close");
        assert!(W::outside(&mut event_loop).is_at_end(end), "closed");
        assert_eq!(event_loop.file_count(), 1);
        finish::<W, _>(event_loop);
    }

    fn p15_closing_in_a_chain_wants_nothing_else_in_flight<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let recv = event_loop.recv(one, room(4), hear::<W>("recv")).unwrap();
        let refused = event_loop.submit_chain([
            event_loop.member(op::nop(), hear::<W>("never")),
            event_loop.member(op::close(one), hear::<W>("never")),
        ]).unwrap_err();
        assert_eq!(refused.error, LoopError::Busy);
        event_loop.cancel(recv);
        run::<W, _>(&mut event_loop);
        let refused = event_loop.submit_chain([
            event_loop.member(op::close(one), hear::<W>("never")),
            event_loop.member(op::send(one, "after the end".into()), hear::<W>("never")),
        ]).unwrap_err();
        assert_eq!(refused.error, LoopError::Busy);
        assert_eq!(refused.requests.len(), 2);
        W::outside(&mut event_loop).put(end, b"x");
        assert_eq!(perform::<W, _>(&mut event_loop, op::recv(one, room(4))).outcome(), Ok(1), "open as it was");
        assert_eq!(results::<W>(&mut event_loop), [("recv", CANCELLED)]);
        finish::<W, _>(event_loop);
    }

    fn p10_members_make_descriptors_and_have_registered_buffers<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let file = file::<W, _>(&mut event_loop, "file", b"0123456789");
        event_loop.register_buffers(vectors([room(16)])).unwrap();
        let end = linux_event_tests::proactor::client::<W, _>(&mut event_loop, address);
        let fixed = linux_event::FixedBuffer::new(0);
        event_loop.submit_chain([
            event_loop.member(op::accept(listener), hear::<W>("accept")),
            event_loop.member(op::read_fixed(file, fixed, 0, 4).at(3), hear::<W>("read")),
        ]).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "read").outcome(), Ok(4));
        assert_eq!(event_loop.fixed(fixed).unwrap()[..4], *b"3456");
        drop(take::<W>(&mut event_loop, "accept").into_descriptor().expect("a connection"));
        turn::<W, _>(&mut event_loop);
        assert!(W::outside(&mut event_loop).is_at_end(end));
        event_loop.unregister_buffers().unwrap();
        finish::<W, _>(event_loop);
    }

    fn p8_chains_from_callbacks_of_chains<W>() {
        fn link<W: World>(l: &mut LoopOf<W, Vec<u32>>, left: u32) {
            let members = [0, 1].map(|number| {
                l.member(op::nop(), move |l: &mut LoopOf<W, Vec<u32>>, done| {
                    done.outcome().unwrap();
                    l.state.push(left * 2 + number);
                    if number == 1 && left > 0 {
                        link::<W>(l, left - 1);
                    }
                })
            });
            l.submit_chain(members).unwrap();
        }
        let mut event_loop = W::looping(Vec::new());
        link::<W>(&mut event_loop, 3);
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, [6, 7, 4, 5, 2, 3, 0, 1]);
        finish::<W, _>(event_loop);
    }
}
