//! P-6, P-14, P-15: what operations own, the descriptors they work on, and how these end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::Event;
use linux_event::{Buffer, LoopError, OpState, Payload, Shutdown, op};
use linux_event_tests::proactor::{
    Heard, LoopOf, Outside, World, adopt, client, connection, file, finish, finish_values, hear,
    listener, pair, pair_within, perform, perform_if_there_is, pipe_in, pipe_out, results, room,
    run, sorted, take, there_is, turn, turn_until, vectors,
};
use linux_event_tests::{LONG, panic_quietly, proactor_conformance};

/// Submits one of each operation that waits for the other side, which is kept quiet; says how many.
fn wait_for_everything<W: World, S>(event_loop: &mut LoopOf<W, S>, heard: &Rc<Cell<u32>>) -> usize {
    let (one, _) = pair::<W, _>(event_loop);
    let (reader, _) = pipe_in::<W, _>(event_loop);
    let (full, end) = pipe_out::<W, _>(event_loop);
    let (listener, _) = listener::<W, _>(event_loop);
    let _ = end;
    let count = |heard: &Rc<Cell<u32>>| {
        let heard = Rc::clone(heard);
        move |_: &mut LoopOf<W, S>, _| heard.set(heard.get() + 1)
    };
    let before = event_loop.live_op_count();
    event_loop.recv(one, room(64), count(heard)).unwrap();
    event_loop.read(reader, room(64), count(heard)).unwrap();
    event_loop
        .write(full, vec![b'.'; 1 << 20], count(heard))
        .unwrap();
    event_loop
        .write(full, vec![b'.'; 64], count(heard))
        .unwrap();
    event_loop.accept(listener, count(heard)).unwrap();
    let parts = vectors([room(4), room(4)]);
    event_loop
        .submit_vectored(op::read_vectored(reader, parts), count(heard))
        .unwrap();
    event_loop
        .submit_chain([
            event_loop.member(op::recv(one, room(4)).hard_link(), count(heard)),
            event_loop.member(op::recv(one, room(4)).timeout(LONG), count(heard)),
            event_loop.member(op::send(one, "never".into()), count(heard)),
        ])
        .unwrap();
    event_loop
        .poll(reader, linux_event::PollEvents::IN, count(heard))
        .unwrap();
    event_loop
        .submit(op::recv(one, room(4)).timeout(LONG), count(heard))
        .unwrap();
    if let Ok(group) = event_loop.provide(4, 64) {
        let _ = event_loop.recv_multi(one, group, count(heard));
    }
    let _ = event_loop.accept_multi(listener, count(heard));
    event_loop.live_op_count() - before
}

proactor_conformance! {
    fn p6_buffers_come_back_with_what_came_of_it<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let (reader, _) = pipe_in::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"data");
        event_loop.recv(one, room(64), hear::<W>("a: filled")).unwrap();
        event_loop.write(reader, "no", hear::<W>("b: failed")).unwrap();
        let waits = event_loop.recv(one, "was there", hear::<W>("c: cancelled")).unwrap();
        turn_until::<W, _>(&mut event_loop, |l| l.state.len() == 2);
        event_loop.cancel(waits);
        run::<W, _>(&mut event_loop);
        let mut buffers = std::mem::take(&mut event_loop.state);
        buffers.sort_by_key(|(who, _)| *who);
        let buffers: Vec<_> = buffers.into_iter().map(|(_, done)| (done.outcome(), done.into_buffer().unwrap())).collect();
        assert_eq!(buffers[0], (Ok(4), "data".into()));
        assert_eq!(buffers[1], (Err(Errno::EBADF), "no".into()));
        assert_eq!(buffers[2].0, Err(Errno::ECANCELED));
        finish::<W, _>(event_loop);
    }

    /// The memory is the same that went in: nothing is copied.
    fn p6_the_same_memory_comes_back<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let buffer = room(4096);
        let (start, capacity) = (buffer.as_ptr(), buffer.capacity());
        W::outside(&mut event_loop).put(end, b"data");
        let back = perform::<W, _>(&mut event_loop, op::recv(one, buffer)).into_buffer().unwrap();
        assert_eq!((back.as_ptr(), back.capacity(), &back[..]), (start, capacity, &b"data"[..]));
        let back = perform::<W, _>(&mut event_loop, op::send(one, back)).into_buffer().unwrap();
        assert_eq!((back.as_ptr(), back.capacity(), &back[..]), (start, capacity, &b"data"[..]));
        finish::<W, _>(event_loop);
    }

    fn p6_a_buffer_without_room_reads_nothing<W>() {
        let mut event_loop = W::looping(());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"data");
        let done = perform::<W, _>(&mut event_loop, op::read(reader, Buffer::new()));
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(0), Some(Buffer::new())));
        let done = perform::<W, _>(&mut event_loop, op::read(reader, room(64)).limit(0));
        assert_eq!(done.outcome(), Ok(0));
        assert_eq!(perform::<W, _>(&mut event_loop, op::read(reader, room(64))).outcome(), Ok(4));
        finish::<W, _>(event_loop);
    }

    fn p6_a_refused_operation_gives_its_buffer_back<W>() {
        let mut event_loop = W::looping(());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let gone = event_loop.release_fd(one).unwrap();
        let refused = event_loop.recv(one, vec![7; 16], |_, _| ()).unwrap_err();
        assert_eq!((refused.error, refused.buffer), (LoopError::Stale, Some(vec![7; 16].into())));
        let refused = event_loop.submit_vectored(op::write_vectored(one, vectors(["a".into(), "b".into()])), |_, _| ());
        let refused = refused.unwrap_err();
        assert_eq!((refused.error, &refused.buffers[..]), (LoopError::Stale, &["a".into(), "b".into()][..]));
        assert_eq!(event_loop.live_op_count(), 0);
        drop(gone);
        finish::<W, _>(event_loop);
    }

    fn p6_a_full_table_gives_the_operation_back<W>() {
        let mut proactor = W::values::<u32>();
        let (reader, writer) = W::around(&mut proactor).pipe();
        let end = W::around(&mut proactor).keep(writer);
        let reader = proactor.adopt(reader).unwrap();
        for data in 0..64 {
            proactor.submit(op::read(reader, room(1)), data).unwrap();
        }
        for _ in 0..2 {
            let refused = proactor.submit(op::read(reader, "kept".into()), 99).unwrap_err();
            assert_eq!(refused.error, LoopError::Full { capacity: 64 });
            assert_eq!(refused.buffer, Some("kept".into()));
            let parts = vectors(["kept".into(), "too".into()]);
            let (error, buffers) = proactor.submit_vectored(op::write_vectored(reader, parts), 99).unwrap_err();
            assert_eq!((error, buffers.len()), (LoopError::Full { capacity: 64 }, 2));
            let chain = [(op::nop().into(), 98), (op::write(reader, "kept".into()).into(), 99)];
            let refused = proactor.submit_chain(chain).unwrap_err();
            assert_eq!(refused.error, LoopError::Full { capacity: 64 });
            assert_eq!(refused.requests[1].buffer, Some("kept".into()));
            assert_eq!(proactor.close(reader, 99), Err(LoopError::Full { capacity: 64 }));
            proactor.wait(Some(std::time::Duration::ZERO)).unwrap();
            assert!(proactor.next().is_none());
        }
        // One settles, one has room.
        W::around(&mut proactor).put(end, b"x");
        proactor.wait(Some(LONG)).unwrap();
        let Some(Event::Completion(done)) = proactor.next() else { panic!("no completion") };
        assert_eq!(done.outcome(), Ok(1), "any of them");
        let nop = proactor.submit(op::nop(), 99).unwrap();
        assert_eq!(proactor.cancel_all(), 64);
        let mut settled = 0;
        while proactor.operations() > 0 {
            proactor.wait(Some(LONG)).unwrap();
            while let Some(event) = proactor.next() {
                let Event::Completion(done) = event else { panic!("{event:?}") };
                assert_eq!(done.op == nop, done.into_buffer().is_none());
                settled += 1;
            }
        }
        assert_eq!(settled, 64);
        finish_values::<W, _>(proactor);
    }

    fn p6_dropping_a_loop_takes_everything_back_and_calls_nobody<W>() {
        let heard = Rc::new(Cell::new(0));
        for stage in 0..3 {
            let mut event_loop = W::looping(());
            let submitted = wait_for_everything::<W, _>(&mut event_loop, &heard);
            assert!(submitted >= 10, "what every kernel has");
            match stage {
                0 => {}
                1 => event_loop.flush().unwrap(),
                _ => turn::<W, _>(&mut event_loop),
            }
            heard.set(0);
            drop(event_loop);
            assert_eq!(heard.get(), 0, "P-2");
            assert_eq!(Rc::strong_count(&heard), 1, "the callbacks are dropped");
        }
    }

    fn p6_a_shutdown_reports_and_leaks_nothing<W>() {
        let heard = Rc::new(Cell::new(0));
        let mut event_loop = W::looping("state");
        let submitted = wait_for_everything::<W, _>(&mut event_loop, &heard);
        turn::<W, _>(&mut event_loop);
        let settled = submitted - event_loop.live_op_count();
        let (report, state) = event_loop.shutdown(LONG);
        assert_eq!((report.settled, report.leaked, state), (submitted - settled, 0, "state"));
        let (report, ()) = W::looping(()).shutdown(LONG);
        assert_eq!(report, Shutdown::default());
    }

    fn p6_what_has_completed_and_was_not_fetched_is_taken_back_too<W>() {
        let mut event_loop = W::looping(0);
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let end = client::<W, _>(&mut event_loop, address);
        event_loop.accept(listener, |l: &mut LoopOf<W, u32>, _| l.state += 1).unwrap();
        event_loop.nop(|l, _| l.state += 1).unwrap();
        event_loop.flush().unwrap();
        let (report, state) = event_loop.shutdown(LONG);
        assert_eq!((report.settled, report.leaked, state), (2, 0, 0));
        let _ = end; // its other end is closed: the balance says so
    }

    fn p6_a_loop_may_move_while_operations_are_in_flight<W>() {
        let mut event_loop = Box::new(W::looping(Heard::<W>::new()));
        let (one, end) = pair::<W, _>(&mut event_loop);
        for who in ["first", "second"] {
            event_loop.recv(one, room(4), hear::<W>(who)).unwrap();
        }
        turn::<W, _>(&mut event_loop);
        let mut moved = vec![*event_loop];
        W::outside(&mut moved[0]).put(end, b"1234");
        turn_until::<W, _>(&mut moved[0], |l| l.state.len() == 1);
        let mut moved = moved.pop().unwrap();
        W::outside(&mut moved).put(end, b"5678");
        run::<W, _>(&mut moved);
        // Which of two that wait gets what comes first is open.
        let buffers: Vec<_> = std::mem::take(&mut moved.state).into_iter().map(|(_, done)| done.into_buffer().unwrap()).collect();
        assert_eq!(buffers, ["1234".into(), "5678".into()]);
        finish::<W, _>(moved);
    }

    fn p6_a_panic_loses_no_buffer<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.nop(|_: &mut LoopOf<W, Heard<W>>, _| panic_quietly()).unwrap();
        event_loop.recv(one, room(4), hear::<W>("recv")).unwrap();
        W::outside(&mut event_loop).put(end, b"data");
        assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "recv").into_buffer(), Some("data".into()));
        finish::<W, _>(event_loop);
    }

    /// A callback that panics has its completion: what that brings goes with it.
    fn p6_a_panic_closes_what_its_completion_brought<W>() {
        let mut event_loop = W::looping(());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let end = client::<W, _>(&mut event_loop, address);
        event_loop.accept(listener, |_: &mut LoopOf<W>, done| {
            let _held = done;
            panic_quietly();
        }).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
        turn::<W, _>(&mut event_loop);
        assert!(W::outside(&mut event_loop).is_at_end(end));
        finish::<W, _>(event_loop);
    }

    fn p6_forgetting_a_completion_is_the_users_leak_and_nobody_elses<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"data");
        let done = perform::<W, _>(&mut event_loop, op::recv(one, room(4)));
        let Payload::Buffer(buffer) = done.payload else { panic!("no buffer") };
        std::mem::forget(buffer);
        W::outside(&mut event_loop).put(end, b"more");
        assert_eq!(perform::<W, _>(&mut event_loop, op::recv(one, room(4))).outcome(), Ok(4));
        finish::<W, _>(event_loop);
    }

    fn p14_a_file_in_use_is_neither_given_back_nor_lost<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(4), hear::<W>("recv")).unwrap();
        assert!(event_loop.release_fd(one).is_err_and(|error| error == LoopError::Busy));
        W::outside(&mut event_loop).put(end, b"data");
        run::<W, _>(&mut event_loop);
        let fd = event_loop.release_fd(one).unwrap();
        assert!(event_loop.release_fd(one).is_err_and(|error| error == LoopError::Stale));
        assert!(event_loop.descriptor(one).is_none() && event_loop.number(one).is_none());
        assert_eq!((event_loop.cancel_on(one), event_loop.file_count()), (0, 0));
        let again = adopt::<W, _>(&mut event_loop, fd);
        assert_ne!(again, one);
        assert!(event_loop.send(one, "x", hear::<W>("stale")).is_err(), "a stale handle reaches no newer file");
        assert_eq!(results::<W>(&mut event_loop), [("recv", Ok(4))]);
        finish::<W, _>(event_loop);
    }

    fn p14_handles_of_another_loop_are_stale<W>() {
        let mut event_loop = W::looping(());
        let mut other = W::looping(());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
        assert!(other.recv(one, room(4), |_, _| ()).is_err_and(|refused| refused.error == LoopError::Stale));
        assert!(!other.cancel(op) && !other.detach(op) && !other.contains(op));
        assert_eq!(other.state(op), OpState::Gone);
        event_loop.cancel(op);
        run::<W, _>(&mut event_loop);
    }

    /// The number is looked up when the kernel takes a submission: until then it must not be another file's.
    fn p14_a_queued_write_reaches_its_own_file_and_no_other<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (writer, end) = pipe_out::<W, _>(&mut event_loop);
        let number = event_loop.number(writer);
        event_loop.write(writer, "mine", hear::<W>("a: write")).unwrap();
        event_loop.close(writer, hear::<W>("b: close")).unwrap();
        // Whatever becomes of the two: a file that is opened now is not written to.
        let other = file::<W, _>(&mut event_loop, "other", b"");
        assert_ne!(event_loop.number(other), number, "the number is still taken");
        run::<W, _>(&mut event_loop);
        let heard = sorted::<W>(&mut event_loop);
        assert!([Ok(4), Err(Errno::ECANCELED)].contains(&heard[0].1), "{heard:?}");
        assert_eq!(heard[1], ("b: close", Ok(0)));
        let expected: &[u8] = if heard[0].1.is_ok() { b"mine" } else { b"" };
        assert_eq!(W::outside(&mut event_loop).drain(end), expected);
        assert_eq!(W::outside(&mut event_loop).content("other").unwrap(), b"");
        let next = file::<W, _>(&mut event_loop, "next", b"");
        assert_eq!(event_loop.number(next), number, "and free again when it is closed");
        finish::<W, _>(event_loop);
    }

    fn p15_close_cancels_waits_and_then_closes<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(4), hear::<W>("recv")).unwrap();
        event_loop.poll(one, linux_event::PollEvents::IN, hear::<W>("poll")).unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.send(one, "queued", hear::<W>("send")).unwrap();
        let close = event_loop.close(one, hear::<W>("close")).unwrap();
        assert!(event_loop.state.is_empty(), "P-2");
        assert_eq!(event_loop.live_op_count(), 4);
        let refused = event_loop.recv(one, "back", hear::<W>("never")).unwrap_err();
        assert_eq!((refused.error, refused.buffer), (LoopError::Stale, Some("back".into())));
        assert!(event_loop.close(one, hear::<W>("never")).is_err_and(|error| error == LoopError::Stale));
        assert!(event_loop.release_fd(one).is_err_and(|error| error == LoopError::Busy));
        assert!(event_loop.cancel(close), "it closes whatever is said");
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.last().map(|(who, done)| (*who, done.outcome())), Some(("close", Ok(0))));
        let heard = sorted::<W>(&mut event_loop);
        assert_eq!((heard[1], heard[2]), (("poll", Err(Errno::ECANCELED)), ("recv", Err(Errno::ECANCELED))));
        let sent = W::outside(&mut event_loop).drain(end);
        assert_eq!(heard[3].1.is_ok(), sent == b"queued");
        assert!(W::outside(&mut event_loop).is_at_end(end));
        assert_eq!(event_loop.file_count(), 0);
        finish::<W, _>(event_loop);
    }

    fn p15_close_of_an_idle_file_closes_it<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.submit(op::close(one), hear::<W>("close")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("close", Ok(0))]);
        assert!(W::outside(&mut event_loop).is_at_end(end));
        assert!(event_loop.submit(op::close(one), hear::<W>("never")).is_err_and(|refused| refused.error == LoopError::Stale));
        finish::<W, _>(event_loop);
    }

    fn p15_close_ends_multishot_operations_and_chains<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let members = ["a: chain", "b: chain", "c: chain"].map(|who| {
            event_loop.member(op::recv(one, room(4)).hard_link(), hear::<W>(who))
        });
        event_loop.submit_chain(members).unwrap();
        let poll = event_loop.poll_multi(one, linux_event::PollEvents::IN, hear::<W>("d: poll"));
        let count = if there_is(poll).is_some() { 4 } else { 3 };
        turn::<W, _>(&mut event_loop);
        event_loop.close(one, hear::<W>("e: close")).unwrap();
        run::<W, _>(&mut event_loop);
        let heard = sorted::<W>(&mut event_loop);
        assert!(heard[..count].iter().all(|(_, result)| *result == Err(Errno::ECANCELED)), "{heard:?}");
        assert_eq!(heard[count..], [("e: close", Ok(0))]);
        assert!(W::outside(&mut event_loop).is_at_end(end));
        finish::<W, _>(event_loop);
    }

    fn p15_an_operation_on_two_files_holds_both<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (from, _) = pipe_in::<W, _>(&mut event_loop);
        let (to, sink) = pipe_out::<W, _>(&mut event_loop);
        event_loop.splice(from, to, 64, hear::<W>("splice")).unwrap();
        turn::<W, _>(&mut event_loop);
        for file in [from, to] {
            assert!(event_loop.release_fd(file).is_err_and(|error| error == LoopError::Busy));
        }
        event_loop.close(to, hear::<W>("close")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("splice", Err(Errno::ECANCELED)), ("close", Ok(0))]);
        // A worker of the kernel's may let go of the file a little after it has told.
        let began = std::time::Instant::now();
        while !W::outside(&mut event_loop).is_at_end(sink) {
            assert!(began.elapsed() < LONG, "it is closed");
            std::thread::yield_now();
        }
        drop(event_loop.release_fd(from).unwrap());
        finish::<W, _>(event_loop);
    }

    fn p15_close_in_the_callback_of_an_operation_on_it<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(4), |l: &mut LoopOf<W, Vec<&str>>, _| l.state.push("other")).unwrap();
        event_loop.recv(one, room(4), move |l: &mut LoopOf<W, Vec<&str>>, _| l.state.push("never last")).unwrap();
        event_loop.nop(move |l, _| {
            l.close(one, |l: &mut LoopOf<W, Vec<&str>>, done| {
                assert_eq!(done.outcome(), Ok(0));
                l.state.push("closed");
            }).unwrap();
            assert!(l.state.is_empty());
        }).unwrap();
        run::<W, _>(&mut event_loop);
        // In which order those end that are cancelled together is the kernel's affair.
        event_loop.state[..2].sort_unstable();
        assert_eq!(event_loop.state, ["never last", "other", "closed"]);
        assert!(W::outside(&mut event_loop).is_at_end(end));
        finish::<W, _>(event_loop);
    }

    fn p15_a_number_that_is_used_again_is_another_file<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        for round in 0..8 {
            let (one, end) = pair::<W, _>(&mut event_loop);
            event_loop.recv(one, room(8), hear::<W>("recv")).unwrap();
            if round % 2 == 0 {
                turn::<W, _>(&mut event_loop);
            }
            event_loop.close(one, hear::<W>("close")).unwrap();
            turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
            assert_eq!(results::<W>(&mut event_loop), [("recv", Err(Errno::ECANCELED)), ("close", Ok(0))]);
            W::outside(&mut event_loop).close(end);
        }
        finish::<W, _>(event_loop);
    }

    fn p6_zero_copy_sends_hold_their_buffers_until_they_are_let_go<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = connection::<W, _>(&mut event_loop);
        let sending = event_loop.send_zero_copy(one, vec![b'z'; 4096], hear::<W>("send"));
        let Some(sending) = there_is(sending) else { return };
        turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
        assert_eq!(take::<W>(&mut event_loop, "send").outcome(), Ok(4096));
        // Where the buffer is still out, asking for its end changes nothing.
        event_loop.cancel(sending);
        turn_until::<W, _>(&mut event_loop, |l| {
            W::outside(l).drain(end);
            l.live_op_count() == 0
        });
        let last = take::<W>(&mut event_loop, "send");
        assert_eq!((last.more, last.into_buffer().map(|buffer| buffer.len())), (false, Some(4096)));
        finish::<W, _>(event_loop);
    }

    fn p6_an_open_that_nobody_takes_is_closed<W>() {
        let mut event_loop = W::looping(());
        drop(W::outside(&mut event_loop).file("file", b""));
        let path = W::outside(&mut event_loop).path("file");
        event_loop.open(&path, 0, 0, |_, done| assert!(done.outcome().is_ok())).unwrap();
        let op = event_loop.start(op::open(linux_event::Target::CURRENT_DIRECTORY, linux_event_tests::proactor::path_buffer(&path))).unwrap();
        run::<W, _>(&mut event_loop);
        assert!(event_loop.detach(op), "its outcome goes, and the descriptor in it");
        finish::<W, _>(event_loop);
    }

    fn p14_within_one_loop_both_ends<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        event_loop.recv(other, room(8), hear::<W>("recv")).unwrap();
        event_loop.close(one, hear::<W>("close")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [("close", Ok(0)), ("recv", Ok(0))]);
        let made = perform_if_there_is::<W, _>(&mut event_loop, op::socket(
            linux_event::core::sys::Domain::V4, linux_event::core::sys::SocketKind::Stream));
        drop(made);
        finish::<W, _>(event_loop);
    }
}
