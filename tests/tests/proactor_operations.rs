//! P-1: what each operation does, on pipes and files and without a descriptor. Sockets are in `proactor_sockets.rs`.

use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::{ExitStatus, LoopError, PollEvents, Target, op};
use linux_event_tests::proactor::{
    Heard, Outside, adopt, file, finish, hear, path_buffer, perform, perform_if_there_is,
    perform_vectored, pipe_in, pipe_out, results, room, run, sorted, take, there_is, turn,
    turn_until, vectors,
};
use linux_event_tests::{MILLI, Machine, proactor_conformance};

/// `O_RDWR | O_CREAT`, and `O_EXCL`.
const CREATE: u32 = 2 | 0o100;
const EXCLUSIVE: u32 = 0o200;
/// `S_IFMT` and `S_IFREG`.
const KIND: u16 = 0o170_000;
const REGULAR: u16 = 0o100_000;
/// `SIGTERM`.
const TERM: i32 = 15;

proactor_conformance! {
    fn p1_nop_does_nothing_through_the_whole_machinery<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        event_loop.nop(hear::<W>("nop")).unwrap();
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "nop");
        assert_eq!((done.outcome(), done.more), (Ok(0), false));
        assert!(done.into_buffer().is_none());
        finish::<W, _>(event_loop);
    }

    fn p1_a_file_is_written_and_read_at_offsets<W>() {
        let mut event_loop = W::looping(());
        let file = file::<W, _>(&mut event_loop, "file", b"");
        let done = perform::<W, _>(&mut event_loop, op::write(file, "world".into()).at(6));
        assert_eq!(done.outcome(), Ok(5));
        assert_eq!(done.into_buffer(), Some("world".into()), "P-6: as it went");
        assert_eq!(perform::<W, _>(&mut event_loop, op::write(file, "hello ".into()).at(0)).outcome(), Ok(6));
        for (offset, expected) in [(0, "hello world"), (6, "world"), (10, "d"), (11, ""), (1 << 20, "")] {
            let done = perform::<W, _>(&mut event_loop, op::read(file, room(64)).at(offset));
            assert_eq!(done.outcome(), Ok(expected.len() as u32), "at {offset}");
            assert_eq!(done.into_buffer(), Some(expected.into()), "at {offset}");
        }
        assert_eq!(W::outside(&mut event_loop).content("file").unwrap(), b"hello world");
        finish::<W, _>(event_loop);
    }

    fn p1_without_an_offset_the_current_position_moves<W>() {
        let mut event_loop = W::looping(());
        let file = file::<W, _>(&mut event_loop, "file", b"0123456789");
        let read = |event_loop: &mut _, bytes| {
            perform::<W, _>(event_loop, op::read(file, room(bytes))).into_buffer().unwrap()
        };
        assert_eq!(**read(&mut event_loop, 4), *b"0123");
        assert_eq!(perform::<W, _>(&mut event_loop, op::write(file, "xy".into())).outcome(), Ok(2));
        assert_eq!(perform::<W, _>(&mut event_loop, op::read(file, room(1)).at(0)).outcome(), Ok(1));
        assert_eq!(**read(&mut event_loop, 100), *b"6789", "an offset moves nothing");
        assert_eq!(**read(&mut event_loop, 100), *b"", "the end");
        assert_eq!(W::outside(&mut event_loop).content("file").unwrap(), b"0123xy6789");
        finish::<W, _>(event_loop);
    }

    fn p1_a_read_takes_no_more_than_its_limit_nor_than_its_room<W>() {
        let mut event_loop = W::looping(());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"abcdefgh");
        let done = perform::<W, _>(&mut event_loop, op::read(reader, room(64)).limit(3));
        assert_eq!(done.into_buffer(), Some("abc".into()));
        let mut short = room(64);
        short.extend_from_slice(b"what was in it counts for nothing");
        let done = perform::<W, _>(&mut event_loop, op::read(reader, short).limit(2));
        assert_eq!(done.into_buffer(), Some("de".into()));
        let done = perform::<W, _>(&mut event_loop, op::read(reader, Vec::with_capacity(2).into()));
        assert_eq!(done.into_buffer(), Some("fg".into()));
        let done = perform::<W, _>(&mut event_loop, op::read(reader, room(64)));
        assert_eq!(done.into_buffer(), Some("h".into()));
        finish::<W, _>(event_loop);
    }

    fn p1_a_write_takes_no_more_than_its_limit<W>() {
        let mut event_loop = W::looping(());
        let (writer, end) = pipe_out::<W, _>(&mut event_loop);
        let done = perform::<W, _>(&mut event_loop, op::write(writer, "abcdef".into()).limit(4));
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(4), Some("abcdef".into())));
        assert_eq!(W::outside(&mut event_loop).drain(end), b"abcd");
        finish::<W, _>(event_loop);
    }

    fn p1_a_read_waits_for_what_is_to_come<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        event_loop.read(reader, room(16), hear::<W>("read")).unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert!(event_loop.state.is_empty());
        W::outside(&mut event_loop).put(end, b"late");
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "read").into_buffer(), Some("late".into()));
        finish::<W, _>(event_loop);
    }

    fn p1_a_read_finds_the_end_when_the_writer_is_gone<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        event_loop.read(reader, room(16), hear::<W>("read")).unwrap();
        turn::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(end);
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "read");
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(0), Some("".into())));
        finish::<W, _>(event_loop);
    }

    fn p1_a_write_waits_for_room<W>() {
        // As much as there is room for. More than that newer kernels write in part, and older ones as a whole or not.
        const ROOM: u32 = 64 << 10;
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, writer) = W::outside(&mut event_loop).pipe();
        let end = W::outside(&mut event_loop).keep(reader);
        let writer = adopt::<W, _>(&mut event_loop, writer);
        let first = perform::<W, _>(&mut event_loop, op::write(writer, vec![b'.'; ROOM as usize].into()));
        let count = first.outcome().unwrap();
        assert_eq!(count, ROOM);
        event_loop.write(writer, "late", hear::<W>("write")).unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert!(event_loop.state.is_empty(), "{:?}", event_loop.state);
        // A thread of the kernel's may write as soon as there is room.
        let mut drained = W::outside(&mut event_loop).drain(end);
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("write", Ok(4))]);
        drained.extend(W::outside(&mut event_loop).drain(end));
        assert_eq!(drained.len(), ROOM as usize + 4);
        assert!(drained.ends_with(b".late"));
        finish::<W, _>(event_loop);
    }

    fn p1_a_write_to_nobody_fails_and_gives_its_buffer_back<W>() {
        let mut event_loop = W::looping(());
        let (writer, end) = pipe_out::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(end);
        let done = perform::<W, _>(&mut event_loop, op::write(writer, "lost".into()));
        assert_eq!((done.outcome(), done.into_buffer()), (Err(Errno::EPIPE), Some("lost".into())));
        finish::<W, _>(event_loop);
    }

    fn p1_several_buffers_are_one_write_and_one_read<W>() {
        let mut event_loop = W::looping(());
        let file = file::<W, _>(&mut event_loop, "file", b"");
        let parts = vectors(["head ".into(), "".into(), "body".into()]);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::write_vectored(file, parts).at(2));
        assert_eq!(outcome, Ok(9));
        assert_eq!(buffers, ["head ".into(), "".into(), "body".into()]);
        assert_eq!(W::outside(&mut event_loop).content("file").unwrap(), b"\0\0head body");
        let parts = vectors([room(3), room(4), room(100), room(100)]);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::read_vectored(file, parts).at(0));
        assert_eq!(outcome, Ok(11));
        assert_eq!(buffers, [b"\0\0h"[..].into(), "ead ".into(), "body".into(), "".into()]);
        let parts = vectors([room(8)]);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::read_vectored(file, parts).at(11));
        assert_eq!((outcome, &buffers[..]), (Ok(0), &["".into()][..]), "the end");
        finish::<W, _>(event_loop);
    }

    fn p1_several_buffers_at_the_current_position<W>() {
        let mut event_loop = W::looping(());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"0123456789");
        for expected in [["01", "234"], ["56", "789"]] {
            let parts = vectors([room(2), room(3)]);
            let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::read_vectored(reader, parts));
            assert_eq!((outcome, &buffers[..]), (Ok(5), &expected.map(Into::into)[..]));
        }
        finish::<W, _>(event_loop);
    }

    fn p1_vectored_operations_fail_with_their_buffers<W>() {
        let mut event_loop = W::looping(());
        let (writer, end) = pipe_out::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(end);
        let parts = vectors(["a".into(), "b".into()]);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::write_vectored(writer, parts));
        assert_eq!((outcome, &buffers[..]), (Err(Errno::EPIPE), &["a".into(), "b".into()][..]));
        finish::<W, _>(event_loop);
    }

    fn p1_a_file_from_its_making_to_its_end_by_operations_alone<W>() {
        let mut event_loop = W::looping(());
        let path = W::outside(&mut event_loop).path("made");
        drop(W::outside(&mut event_loop).folder());
        let request = op::open(Target::CURRENT_DIRECTORY, path_buffer(&path)).flags(CREATE).mode(0o600);
        let opened = perform::<W, _>(&mut event_loop, request);
        assert!(opened.outcome().is_ok(), "{opened:?}");
        let fd = opened.into_descriptor().expect("a descriptor");
        let file = adopt::<W, _>(&mut event_loop, fd);
        assert_eq!(perform::<W, _>(&mut event_loop, op::write(file, "content".into()).at(0)).outcome(), Ok(7));
        assert_eq!(perform::<W, _>(&mut event_loop, op::fsync(file)).outcome(), Ok(0));
        assert_eq!(perform::<W, _>(&mut event_loop, op::fsync(file).data_only()).outcome(), Ok(0));

        let asked = perform::<W, _>(&mut event_loop, op::statx(Target::CURRENT_DIRECTORY, path_buffer(&path)));
        assert_eq!(asked.outcome(), Ok(0));
        let stat = event_loop.stat(asked.op).expect("the answer");
        assert_eq!((stat.size, stat.links, stat.mode & KIND), (7, 1, REGULAR));
        assert_eq!(stat.mode & 0o777, 0o600);
        assert_eq!(asked.into_buffer(), Some(path_buffer(&path)));

        assert_eq!(perform::<W, _>(&mut event_loop, op::close(file)).outcome(), Ok(0));
        assert_eq!(event_loop.file_count(), 0);
        assert_eq!(W::outside(&mut event_loop).content("made").unwrap(), b"content");
        finish::<W, _>(event_loop);
    }

    fn p1_paths_are_relative_to_a_directory<W>() {
        let mut event_loop = W::looping(());
        drop(W::outside(&mut event_loop).file("there", b"in the folder"));
        let folder = W::outside(&mut event_loop).folder();
        let folder = adopt::<W, _>(&mut event_loop, folder);
        let opened = perform::<W, _>(&mut event_loop, op::open(folder, path_buffer("there".as_ref())));
        let file = adopt::<W, _>(&mut event_loop, opened.into_descriptor().unwrap());
        let read = perform::<W, _>(&mut event_loop, op::read(file, room(64)));
        assert_eq!(read.into_buffer(), Some("in the folder".into()));
        let asked = perform::<W, _>(&mut event_loop, op::statx(folder, path_buffer("there".as_ref())));
        assert_eq!((asked.outcome(), event_loop.stat(asked.op).unwrap().size), (Ok(0), 13));
        finish::<W, _>(event_loop);
    }

    fn p1_files_that_are_not_there_or_are_there_already_fail<W>() {
        let mut event_loop = W::looping(());
        drop(W::outside(&mut event_loop).file("there", b""));
        let folder = W::outside(&mut event_loop).folder();
        let folder = adopt::<W, _>(&mut event_loop, folder);
        let (missing, there) = (path_buffer("missing".as_ref()), path_buffer("there".as_ref()));
        let done = perform::<W, _>(&mut event_loop, op::open(folder, missing.clone()));
        assert_eq!((done.outcome(), done.into_buffer()), (Err(Errno::ENOENT), Some(missing.clone())));
        let done = perform::<W, _>(&mut event_loop, op::statx(folder, missing.clone()));
        assert_eq!((done.outcome(), event_loop.stat(done.op)), (Err(Errno::ENOENT), None));
        assert_eq!(done.into_buffer(), Some(missing));
        let done = perform::<W, _>(&mut event_loop, op::open(folder, there).flags(CREATE | EXCLUSIVE));
        assert_eq!(done.outcome(), Err(Errno::EEXIST));
        finish::<W, _>(event_loop);
    }

    fn p1_a_path_without_its_zero_byte_is_refused<W>() {
        let mut event_loop = W::looping(());
        for request in [
            op::open(Target::CURRENT_DIRECTORY, "no end".into()).into(),
            linux_event::Request::from(op::statx(Target::CURRENT_DIRECTORY, "no end".into())),
        ] {
            let refused = event_loop.submit(request, |_, _| ()).unwrap_err();
            assert!(matches!(refused.error, LoopError::Invalid(_)), "{refused:?}");
            assert_eq!(refused.buffer, Some("no end".into()), "P-6");
        }
        let refused = event_loop.open("a zero byte\0within", 0, 0, |_, _| ()).unwrap_err();
        assert!(matches!(refused.error, LoopError::Invalid(_)), "{refused:?}");
        finish::<W, _>(event_loop);
    }

    fn p1_fsync_of_what_has_no_disk_fails<W>() {
        let mut event_loop = W::looping(());
        let (writer, _) = pipe_out::<W, _>(&mut event_loop);
        assert_eq!(perform::<W, _>(&mut event_loop, op::fsync(writer)).outcome(), Err(Errno::EINVAL));
        finish::<W, _>(event_loop);
    }

    /// t/67 to t/69 of the reference.
    fn p1_splice_moves_bytes_from_pipe_to_pipe<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (from, source) = pipe_in::<W, _>(&mut event_loop);
        let (to, sink) = pipe_out::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(source, b"through");
        assert_eq!(perform::<W, _>(&mut event_loop, op::splice(from, to, 4)).outcome(), Ok(4));
        assert_eq!(W::outside(&mut event_loop).drain(sink), b"thro");
        assert_eq!(perform::<W, _>(&mut event_loop, op::splice(from, to, 100)).outcome(), Ok(3));
        assert_eq!(W::outside(&mut event_loop).drain(sink), b"ugh");
        W::outside(&mut event_loop).close(source);
        assert_eq!(perform::<W, _>(&mut event_loop, op::splice(from, to, 100)).outcome(), Ok(0), "no failure");
        finish::<W, _>(event_loop);
    }

    fn p1_splice_between_a_pipe_and_a_file<W>() {
        let mut event_loop = W::looping(());
        let one = file::<W, _>(&mut event_loop, "one", b"0123456789");
        let other = file::<W, _>(&mut event_loop, "other", b"..........");
        let (reader, writer) = W::outside(&mut event_loop).pipe();
        let (reader, writer) = (adopt::<W, _>(&mut event_loop, reader), adopt::<W, _>(&mut event_loop, writer));
        let request = op::splice(one, writer, 4).from_offset(3);
        assert_eq!(perform::<W, _>(&mut event_loop, request).outcome(), Ok(4));
        let request = op::splice(reader, other, 4).to_offset(2);
        assert_eq!(perform::<W, _>(&mut event_loop, request).outcome(), Ok(4));
        assert_eq!(W::outside(&mut event_loop).content("other").unwrap(), b"..3456....");
        let done = perform::<W, _>(&mut event_loop, op::splice(one, other, 4).from_offset(0).to_offset(0));
        assert_eq!(done.outcome(), Err(Errno::EINVAL), "one has to be a pipe");
        finish::<W, _>(event_loop);
    }

    fn p1_poll_waits_until_it_is_ready<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        let (writer, _) = pipe_out::<W, _>(&mut event_loop);
        let done = perform::<W, _>(&mut event_loop, op::poll(writer, PollEvents::OUT));
        assert_eq!(done.outcome(), Ok(PollEvents::OUT.bits()), "ready already");
        event_loop.poll(reader, PollEvents::IN, hear::<W>("poll")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        W::outside(&mut event_loop).put(end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("poll", Ok(PollEvents::IN.bits()))]);
        let done = perform::<W, _>(&mut event_loop, op::poll(reader, PollEvents::IN));
        assert_eq!(done.outcome(), Ok(PollEvents::IN.bits()), "it takes nothing");
        finish::<W, _>(event_loop);
    }

    fn p1_poll_tells_of_a_hang_up_though_nobody_asks<W>() {
        let mut event_loop = W::looping(());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(end);
        let done = perform::<W, _>(&mut event_loop, op::poll(reader, PollEvents::PRIORITY));
        let ready = PollEvents::from_bits_truncate(done.outcome().unwrap());
        assert!(ready.contains(PollEvents::HANGUP), "{ready:?}");
        finish::<W, _>(event_loop);
    }

    fn p1_multishot_poll_tells_of_each_change_and_settles_once<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        let Some(poll) = there_is(event_loop.poll_multi(reader, PollEvents::IN, hear::<W>("poll"))) else { return };
        for count in 1..=3 {
            W::outside(&mut event_loop).put(end, b"x");
            turn_until::<W, _>(&mut event_loop, |l| l.state.len() == count);
        }
        assert!(event_loop.state.iter().all(|(_, done)| done.more && done.outcome() == Ok(PollEvents::IN.bits())));
        event_loop.state.clear();
        assert!(event_loop.cancel(poll));
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "poll");
        assert!(done.is_cancelled() && !done.more);
        assert!(event_loop.state.is_empty());
        finish::<W, _>(event_loop);
    }

    fn p1_a_child_is_waited_for_and_reaped<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let pid = W::of(&mut event_loop).spawn() as i32;
        let waiting = event_loop.submit(op::wait_pid(pid), hear::<W>("exit"));
        if there_is(waiting).is_none() {
            return W::of(&mut event_loop).exit(pid as u32, ExitStatus::Exited(0));
        }
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        W::of(&mut event_loop).exit(pid as u32, ExitStatus::Exited(42));
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "exit");
        assert_eq!(done.outcome(), Ok(0));
        assert_eq!(event_loop.exit_info(done.op), Some(ExitStatus::Exited(42)));
        let done = perform::<W, _>(&mut event_loop, op::wait_pid(pid));
        assert_eq!((done.outcome(), event_loop.exit_info(done.op)), (Err(Errno::ECHILD), None), "reaped");
        finish::<W, _>(event_loop);
    }

    fn p1_a_child_can_be_waited_for_and_left<W>() {
        let mut event_loop = W::looping(());
        let pid = W::of(&mut event_loop).spawn() as i32;
        let killed = ExitStatus::Signaled { signal: TERM, core_dumped: false };
        W::of(&mut event_loop).exit(pid as u32, killed);
        let Some(done) = perform_if_there_is::<W, _>(&mut event_loop, op::wait_pid(pid).unreaped()) else {
            W::of(&mut event_loop).reap(pid as u32);
            return;
        };
        assert_eq!((done.outcome(), event_loop.exit_info(done.op)), (Ok(0), Some(killed)));
        assert_eq!(W::of(&mut event_loop).reap(pid as u32), killed, "it is still there");
        finish::<W, _>(event_loop);
    }

    fn p1_timeouts_need_no_operation<W>() {
        let mut event_loop = W::looping(Vec::new());
        event_loop.after(MILLI, |l| l.state.push("after")).unwrap();
        let begin = event_loop.read_clock(); // only now: however long that took, it is due before what follows
        event_loop.at(begin + MILLI * 3, |l| l.state.push("at")).unwrap();
        let submitted = event_loop.counters().submitted;
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["after", "at"]);
        assert!(event_loop.read_clock() >= begin + MILLI * 3);
        // The wakeup's own submission, which the first wait of a ring takes along, is none of theirs.
        assert!(event_loop.counters().submitted - submitted <= 1, "P-9: no submission of their own");
        finish::<W, _>(event_loop);
    }

    fn p1_a_descriptor_of_another_kind_fails_and_nothing_is_lost<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        event_loop.write(reader, "x", hear::<W>("written to the end to read")).unwrap();
        event_loop.recv(reader, room(4), hear::<W>("received from a pipe")).unwrap();
        event_loop.accept(reader, hear::<W>("accepted from a pipe")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [
            ("accepted from a pipe", Err(Errno::ENOTSOCK)),
            ("received from a pipe", Err(Errno::ENOTSOCK)),
            ("written to the end to read", Err(Errno::EBADF)),
        ]);
        W::outside(&mut event_loop).put(end, b"still there");
        assert_eq!(perform::<W, _>(&mut event_loop, op::read(reader, room(64))).outcome(), Ok(11));
        finish::<W, _>(event_loop);
    }

    fn p1_an_operation_without_a_descriptor_where_one_is_needed_fails<W>() {
        let mut event_loop = W::looping(());
        let done = perform::<W, _>(&mut event_loop, op::read(Target::NONE, room(4)));
        assert_eq!((done.outcome(), done.into_buffer()), (Err(Errno::EBADF), Some("".into())));
        finish::<W, _>(event_loop);
    }

    fn p1_values_say_the_same<W>() {
        use linux_event::core::proactor::Event;
        let mut proactor = W::values::<u32>();
        let (reader, writer) = W::around(&mut proactor).pipe();
        let end = W::around(&mut proactor).keep(writer);
        let reader = proactor.adopt(reader).unwrap();
        let op = proactor.submit(op::read(reader, room(16)), 7).unwrap();
        proactor.wait(Some(Duration::ZERO)).unwrap();
        assert!(proactor.next().is_none());
        W::around(&mut proactor).put(end, b"hello");
        proactor.wait(Some(linux_event_tests::LONG)).unwrap();
        let Some(Event::Completion(done)) = proactor.next() else { panic!("no completion") };
        assert_eq!((done.op, done.data, done.outcome(), done.more), (op, 7, Ok(5), false));
        assert_eq!(done.into_buffer(), Some("hello".into()));
        assert!(proactor.next().is_none());
        linux_event_tests::proactor::finish_values::<W, _>(proactor);
    }
}
