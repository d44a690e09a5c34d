//! Bytes that move.

use super::*;

#[test]
fn p1_a_nop_completes_in_the_next_turn() {
    let mut proactor = proactor();
    submit(&mut proactor, op::nop(), 7);
    assert_eq!(proactor.backend().queued(), 1);
    assert_eq!(turn(&mut proactor), [(7, 0, false)]);
    assert_balanced(&proactor, 0);
    let counters = proactor.counters();
    assert_eq!(
        (counters.enters, counters.submitted, counters.completions),
        (1, 1, 1)
    );
}

#[test]
fn p2_nothing_is_reported_before_the_next_wait() {
    let mut proactor = proactor();
    submit(&mut proactor, op::nop(), 1);
    proactor.flush().unwrap();
    let op = submit(&mut proactor, op::nop(), 2);
    proactor.cancel(op);
    proactor.flush().unwrap();
    assert!(proactor.backend_mut().pop().is_none());
    assert_eq!(turn(&mut proactor), [(1, 0, false), (2, 0, false)]);
}

#[test]
fn p1_a_read_waits_for_bytes_and_for_the_end() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    submit(&mut proactor, op::read(reader, room(8)), 1);
    assert_eq!(look(&mut proactor), []);
    proactor
        .backend_mut()
        .after(MILLI, Action::Write(writer, b"hello".to_vec()));
    assert_eq!(buffer(&mut proactor), (5, Buffer::from(b"hello")));
    assert_eq!(proactor.backend().now() - Fake::START, MILLI);
    submit(&mut proactor, op::read(reader, Buffer::from(b"stale")), 2);
    proactor.backend_mut().after(MILLI, Action::Close(writer));
    assert_eq!(buffer(&mut proactor), (0, Buffer::new()));
    assert_balanced(&proactor, 1);
}

#[test]
fn f1_who_began_to_wait_last_is_served_first_as_by_a_kernel() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    for data in 1..=3 {
        submit(&mut proactor, op::read(reader, room(2)).limit(2), data);
    }
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().write(writer, b"abc").unwrap();
    let all = completions(&mut proactor, None);
    let seen: Vec<_> = all
        .into_iter()
        .map(|one| (one.data, one.into_buffer()))
        .collect();
    let first = (3, Some(Buffer::from(b"ab")));
    assert_eq!(seen, [first, (2, Some(Buffer::from(b"c")))]);
    proactor.backend_mut().write(writer, b"de").unwrap();
    assert_eq!(turn(&mut proactor), [(1, 2, false)]);
}

#[test]
fn p1_a_write_waits_for_room_and_is_short() {
    let mut proactor = proactor();
    let (reader, writer) = proactor.backend_mut().pipe().unwrap();
    let writer = adopt(&mut proactor, writer);
    submit(&mut proactor, op::write(writer, vec![7; 70_000].into()), 1);
    let (result, back) = buffer(&mut proactor);
    assert_eq!((result, back.len()), (65_536, 70_000));
    submit(&mut proactor, op::write(writer, Buffer::from(b"x")), 2);
    assert_eq!(look(&mut proactor), []);
    proactor
        .backend_mut()
        .after(MILLI, Action::Read(reader, 4096));
    assert_eq!(turn(&mut proactor), [(2, 1, false)]);
    proactor.backend_mut().close(reader).unwrap();
    submit(&mut proactor, op::write(writer, Buffer::from(b"x")), 3);
    assert_eq!(
        buffer(&mut proactor),
        (failed(Errno::EPIPE), Buffer::from(b"x"))
    );
}

#[test]
fn p1_receive_flags_are_kept() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let recv = |flags| op::recv(socket, room(8)).limit(8).flags(flags);
    submit(&mut proactor, recv(MessageFlags::DONT_WAIT), 1);
    assert_eq!(turn(&mut proactor), [(1, failed(Errno::EAGAIN), false)]);
    proactor.backend_mut().write(peer, b"abc").unwrap();
    submit(&mut proactor, recv(MessageFlags::PEEK), 2);
    assert_eq!(buffer(&mut proactor), (3, Buffer::from(b"abc")));
    submit(&mut proactor, recv(MessageFlags::WAIT_ALL), 3);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().write(peer, b"defghi").unwrap();
    assert_eq!(buffer(&mut proactor), (8, Buffer::from(b"abcdefgh")));
    submit(&mut proactor, recv(MessageFlags::WAIT_ALL), 4);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().close(peer).unwrap();
    assert_eq!(buffer(&mut proactor), (1, Buffer::from(b"i")));
}

#[test]
fn p1_a_send_that_waits_for_all_sends_all() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let much = || Buffer::from(vec![1; 300_000]);
    submit(
        &mut proactor,
        op::send(socket, much()).flags(MessageFlags::WAIT_ALL),
        1,
    );
    assert_eq!(look(&mut proactor), []);
    let mut bytes = vec![0; 300_000];
    let mut read = 0;
    while read < bytes.len() {
        read += proactor.backend_mut().read(peer, &mut bytes).unwrap();
        if read < bytes.len() {
            look(&mut proactor);
        }
    }
    assert_eq!(read, 300_000);
    assert_eq!(proactor.backend().pending_operations(), 0);
    submit(&mut proactor, op::send(socket, much()), 2);
    let (short, _) = buffer(&mut proactor);
    assert!((1..300_000).contains(&short), "{short}");
}

#[test]
fn p1_what_is_no_socket_is_refused() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    submit(&mut proactor, op::recv(reader, room(1)), 1);
    submit(&mut proactor, op::send(reader, room(1)), 2);
    submit(&mut proactor, op::accept(reader), 3);
    submit(&mut proactor, op::shutdown(reader, How::Both), 4);
    submit(&mut proactor, op::fsync(reader), 5);
    submit(&mut proactor, op::write(reader, room(1)), 6);
    submit(&mut proactor, op::listen(reader, 1), 7);
    let none = failed(Errno::ENOTSOCK);
    let expected = [
        (1, none, false),
        (2, none, false),
        (3, none, false),
        (4, none, false),
        (5, failed(Errno::EINVAL), false),
        (6, failed(Errno::EBADF), false),
        (7, none, false),
    ];
    assert_eq!(turn(&mut proactor), expected);
}

#[test]
fn p14_a_number_that_is_closed_is_found_so_when_it_is_submitted() {
    let mut fake = Fake::new();
    fake.reserve(8).unwrap();
    let (reader, writer) = fake.pipe().unwrap();
    let token = |index| Handle::new(index, Tag::Operation, 1);
    let read = |fd: FakeFd| op::read(crate::fd::target_of(fd.as_raw_fd()), room(4)).into();
    fake.push(token(0), read(reader), Vouched::simulated())
        .unwrap();
    fake.close(reader).unwrap();
    let (other, other_writer) = fake.pipe().unwrap();
    assert_eq!(other, reader, "the number is another file's");
    fake.flush().unwrap();
    fake.push(token(1), read(FakeFd::new(99)), Vouched::simulated())
        .unwrap();
    fake.flush().unwrap();
    fake.close(other).unwrap();
    assert_eq!(fake.pending().len(), 1);
    assert_eq!(fake.write(writer, b"x"), Err(Errno::EPIPE));
    // The operation holds the file: closing its number changes nothing for it.
    assert_eq!(fake.write(other_writer, b"abc"), Ok(3));
    fake.wait(None, None).unwrap();
    let mut results = Vec::new();
    while let Some(linux_event_core::proactor::Popped::Report(report)) = fake.pop() {
        results.push((report.token, report.result));
    }
    let expected = [(token(1).raw(), failed(Errno::EBADF)), (token(0).raw(), 3)];
    assert_eq!(results, expected);
    assert_eq!(
        fake.write(other_writer, b"x"),
        Err(Errno::EPIPE),
        "it let go"
    );
}

#[test]
fn p1_vectors_fill_in_order_and_write_in_order() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let vectors = |sizes: [usize; 3]| -> Vectors<Buffer> {
        sizes
            .map(|size| vec![b'a' + size as u8; size].into())
            .into_iter()
            .collect()
    };
    let write = op::write_vectored(socket, vectors([1, 2, 3]));
    proactor.submit_vectored(write, 1).unwrap();
    assert_eq!(turn(&mut proactor), [(1, 6, false)]);
    assert!(proactor.take_vectors().is_empty(), "gone with the turn");
    let mut bytes = [0; 8];
    assert_eq!(proactor.backend_mut().read(peer, &mut bytes), Ok(6));
    assert_eq!(&bytes[..6], b"bccddd");
    proactor.backend_mut().write(peer, b"0123").unwrap();
    let read = op::read_vectored(socket, vectors([1, 2, 3]));
    proactor.submit_vectored(read, 2).unwrap();
    proactor.wait(None).unwrap();
    let Some(Event::Completion(completion)) = proactor.next() else {
        unreachable!();
    };
    assert!(matches!(completion.payload, Payload::Vectors));
    let vectors = proactor.take_vectors();
    let filled: Vec<&[u8]> = vectors.iter().map(IoBuf::bytes).collect();
    let capacity = IoBuf::capacity(&vectors[0]);
    assert_eq!(filled.concat(), b"0123");
    assert_eq!(filled[0].len(), capacity.min(4));
    assert_eq!(proactor.next().map(drop), None);
    assert_balanced(&proactor, 2);
}

#[test]
fn p1_splice_moves_what_is_there_and_loses_nothing() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    let (socket, peer) = sockets(&mut proactor);
    submit(&mut proactor, op::splice(reader, socket, 100), 1);
    assert_eq!(look(&mut proactor), []);
    proactor
        .backend_mut()
        .after(MILLI, Action::Write(writer, vec![9; 50]));
    assert_eq!(turn(&mut proactor), [(1, 50, false)]);
    assert_eq!(proactor.backend_mut().read(peer, &mut [0; 100]), Ok(50));
    submit(&mut proactor, op::splice(socket, socket, 1), 2);
    submit(
        &mut proactor,
        op::splice(reader, socket, 1).from_offset(1),
        3,
    );
    let (einval, espipe) = (failed(Errno::EINVAL), failed(Errno::ESPIPE));
    assert_eq!(
        turn(&mut proactor),
        [(2, einval, false), (3, espipe, false)]
    );
    // A full target takes a part; the rest stays in the source.
    let full = proactor.backend_mut().pipe().unwrap();
    let into = adopt(&mut proactor, full.1);
    proactor
        .backend_mut()
        .write(full.1, &vec![0; 15 * 4096])
        .unwrap();
    proactor.backend_mut().write(peer, &vec![1; 6000]).unwrap();
    submit(&mut proactor, op::splice(socket, into, 6000), 4);
    assert_eq!(turn(&mut proactor), [(4, 4096, false)]);
    submit(&mut proactor, op::recv(socket, room(6000)), 5);
    assert_eq!(turn(&mut proactor), [(5, 6000 - 4096, false)]);
    proactor.backend_mut().close(writer).unwrap();
    submit(&mut proactor, op::splice(reader, socket, 1), 6);
    assert_eq!(turn(&mut proactor), [(6, 0, false)], "the end");
}

#[test]
fn p1_splice_waits_for_room_and_nothing_joins_what_it_moved() {
    let mut proactor = proactor();
    let (source, writer) = pipe(&mut proactor);
    let (reader, into) = proactor.backend_mut().pipe().unwrap();
    let target = adopt(&mut proactor, into);
    proactor.backend_mut().write(writer, b"x").unwrap();
    submit(&mut proactor, op::splice(source, target, 1), 1);
    assert_eq!(turn(&mut proactor), [(1, 1, false)]);
    let written = proactor.backend_mut().write(into, &vec![0; 70_000]);
    assert_eq!(written, Ok(15 * 4096), "a page is the spliced byte's");
    // The source has ended, which is told when there is room again.
    proactor.backend_mut().close(writer).unwrap();
    submit(&mut proactor, op::splice(source, target, 1), 2);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().read(reader, &mut [0; 1]).unwrap();
    assert_eq!(turn(&mut proactor), [(2, 0, false)]);
}

#[test]
fn p1_registered_buffers_and_slots_work_in_place() {
    let mut proactor = proactor();
    let (reader, writer) = proactor.backend_mut().pipe().unwrap();
    proactor.register_files(2).unwrap();
    let file = adopt(&mut proactor, reader);
    let slot = proactor.install(file).unwrap();
    let buffers: Vectors<Buffer> = [Buffer::from(&[0; 16])].into_iter().collect();
    proactor.register_buffers(buffers).unwrap();
    let first = FixedBuffer::new(0);
    submit(&mut proactor, op::read_fixed(slot, first, 4, 8), 1);
    assert_eq!(look(&mut proactor), []);
    assert_eq!(proactor.fixed(first).unwrap_err(), Error::Busy);
    let closed = proactor.release(file).unwrap();
    drop(closed);
    proactor.backend_mut().write(writer, b"hello").unwrap();
    assert_eq!(turn(&mut proactor), [(1, 5, false)], "the slot holds it");
    assert_eq!(proactor.fixed(first).unwrap()[..10], *b"\0\0\0\0hello\0");
    let beyond = proactor.submit(op::read_fixed(slot, first, 10, 100_000), 2);
    assert!(matches!(beyond.unwrap_err().error, Error::Invalid(_)));
    submit(&mut proactor, op::close_fixed(slot), 3);
    assert_eq!(turn(&mut proactor), [(3, 0, false)]);
    assert_eq!(
        proactor.backend_mut().write(writer, b"x"),
        Err(Errno::EPIPE)
    );
    submit(&mut proactor, op::read_fixed(slot, first, 0, 1), 4);
    assert_eq!(turn(&mut proactor), [(4, failed(Errno::EBADF), false)]);
    let empty = proactor.submit(op::close_fixed(slot), 5).unwrap_err();
    assert!(matches!(empty.error, Error::Invalid(_)));
    assert_eq!(proactor.unregister_buffers().unwrap().len(), 1);
    assert!(proactor.fixed(first).is_err());
    let (one, other) = proactor.backend_mut().pipe().unwrap();
    let (one, other) = (adopt(&mut proactor, one), adopt(&mut proactor, other));
    proactor.install(one).unwrap();
    proactor.install(other).unwrap();
    let full = proactor.install(one).unwrap_err();
    assert_eq!(full, Error::Full { capacity: 2 });
}

#[test]
fn p1_polls_tell_once_or_at_each_change() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    submit(&mut proactor, op::poll(reader, PollEvents::IN), 1);
    submit(&mut proactor, op::poll_multi(reader, PollEvents::IN), 2);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().write(writer, b"a").unwrap();
    assert_eq!(turn(&mut proactor), [(2, 1, true), (1, 1, false)]);
    assert_eq!(look(&mut proactor), [], "no change");
    proactor.backend_mut().write(writer, b"b").unwrap();
    assert_eq!(turn(&mut proactor), [(2, 1, true)]);
    proactor.backend_mut().close(writer).unwrap();
    assert_eq!(turn(&mut proactor), [(2, 0x11, true)]);
    proactor.cancel_all();
    assert_eq!(turn(&mut proactor), [(2, failed(Errno::ECANCELED), false)]);
    let file = proactor.backend_mut().regular_file().unwrap();
    let file = adopt(&mut proactor, file);
    let both = PollEvents::IN | PollEvents::OUT;
    submit(&mut proactor, op::poll_multi(file, both), 3);
    assert_eq!(
        turn(&mut proactor),
        [(3, 5, false)],
        "it can't be waited for"
    );
}

#[test]
fn p1_children_are_waited_for() {
    let mut proactor = proactor();
    let child = proactor.backend_mut().spawn();
    let stranger = proactor.backend_mut().spawn_stranger();
    submit(&mut proactor, op::wait_pid(stranger), 1);
    let look_only = submit(&mut proactor, op::wait_pid(child).unreaped(), 2);
    let reaps = submit(&mut proactor, op::wait_pid(child), 3);
    submit(&mut proactor, op::wait_pid(child), 4);
    let echild = failed(Errno::ECHILD);
    assert_eq!(turn(&mut proactor), [(1, echild, false)]);
    let status = ExitStatus::Exited(3);
    proactor
        .backend_mut()
        .after(MILLI, Action::Exit(child, status));
    let expected = [(2, 0, false), (3, 0, false), (4, echild, false)];
    assert_eq!(turn(&mut proactor), expected);
    assert_eq!(proactor.exit_info(look_only), Some(status));
    assert_eq!(proactor.exit_info(reaps), Some(status));
    assert_eq!(proactor.backend().zombies(), 0);
    submit(&mut proactor, op::nop(), 5);
    assert_eq!(turn(&mut proactor).len(), 1);
}

#[test]
fn g3_signals_wakes_and_exits_come_beside_completions() {
    let mut proactor = proactor();
    let child = proactor.backend_mut().spawn();
    proactor.signal(Signal::USR1, 1).unwrap();
    proactor.process(child, true, 2).unwrap();
    submit(&mut proactor, op::nop(), 3);
    proactor.after(MILLI, 4).unwrap();
    let fake = proactor.backend_mut();
    fake.raise(Signal::USR1);
    fake.exit(child, ExitStatus::Exited(0)).unwrap();
    fake.wakeup().wake();
    proactor.wait(None).unwrap();
    let mut kinds = Vec::new();
    while let Some(event) = proactor.next() {
        kinds.push(match event {
            Event::Completion(_) => 'c',
            Event::Timer { .. } => 't',
            Event::Signal { .. } => 's',
            Event::Wakeup { .. } => 'w',
            _ => 'x',
        });
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ['c', 's', 'w', 'x']);
    proactor.wait(None).unwrap();
    assert!(matches!(
        proactor.next(),
        Some(Event::Timer { data: 4, .. })
    ));
    assert_eq!(proactor.backend().now() - Fake::START, MILLI);
}
