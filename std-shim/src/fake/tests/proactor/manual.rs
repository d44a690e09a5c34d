//! Operations in the hands of a test.

use super::*;

fn pending(proactor: &mut Proactors) -> Vec<crate::fake::PendingOp> {
    proactor.flush().unwrap();
    proactor.backend().pending()
}

#[test]
fn f1_held_operations_complete_in_any_order_with_anything_that_fits() {
    let mut proactor = proactor();
    proactor.backend_mut().hold(true);
    let (socket, peer) = sockets(&mut proactor);
    let first = submit(&mut proactor, op::recv(socket, room(4)).limit(4), 1);
    let second = submit(&mut proactor, op::send(socket, Buffer::from("hello")), 2);
    submit(&mut proactor, op::nop(), 3);
    let held = pending(&mut proactor);
    let seen: Vec<_> = held
        .iter()
        .map(|op| (op.code, op.length, op.is_held))
        .collect();
    assert_eq!(
        seen,
        [
            (Code::Recv, 4, true),
            (Code::Send, 5, true),
            (Code::Nop, 0, true)
        ]
    );
    assert_eq!(held[0].fd, Some(FakeFd::new(3)));
    assert_eq!(held[0].token, first.handle());
    let fake = proactor.backend_mut();
    fake.write(peer, b"real").unwrap();
    assert_eq!(fake.bytes_to_write(second), Some(b"hello".to_vec()));
    assert_eq!(fake.bytes_to_write(first), None);
    fake.complete(held[2], 0).unwrap();
    fake.complete(second, 5).unwrap();
    fake.complete(first, b"fake").unwrap();
    assert_eq!(fake.complete(first, b"x"), Err(CompleteError::NotPending));
    let all = completions(&mut proactor, None);
    let results: Vec<_> = all.iter().map(|one| (one.data, one.result)).collect();
    assert_eq!(results, [(3, 0), (2, 5), (1, 4)]);
    let last = all.into_iter().last().and_then(Completion::into_buffer);
    assert_eq!(last, Some(Buffer::from("fake")));
    assert_eq!(
        proactor.backend_mut().read(peer, &mut [0; 8]),
        Err(Errno::EAGAIN)
    );
}

#[test]
fn f1_what_does_not_fit_is_refused_before_anything_changes() {
    let mut proactor = proactor();
    proactor.backend_mut().hold(true);
    let (socket, _peer) = sockets(&mut proactor);
    let read = submit(
        &mut proactor,
        op::recv(socket, Buffer::from("old")).limit(2),
        1,
    );
    let write = submit(&mut proactor, op::send(socket, Buffer::from("abc")), 2);
    let accept = submit(&mut proactor, op::accept(socket), 3);
    let splice = submit(&mut proactor, op::splice(socket, socket, 9), 4);
    let before = pending(&mut proactor);
    let fake = proactor.backend_mut();
    let too_long = |asked, given| Err(CompleteError::TooLong { asked, given });
    assert_eq!(fake.complete(read, b"abc"), too_long(2, 3));
    assert_eq!(fake.complete(write, 4), too_long(3, 4));
    assert_eq!(fake.complete(splice, 10), too_long(9, 10));
    let wrong = |code| Err(CompleteError::WrongKind(code));
    assert_eq!(fake.complete(read, 1), wrong(Code::Recv));
    assert_eq!(fake.complete(write, b"abc"), wrong(Code::Send));
    assert_eq!(fake.complete(accept, 3), wrong(Code::Accept));
    assert_eq!(fake.complete(accept, 0), wrong(Code::Accept));
    let closed = FakeFd::new(99);
    assert_eq!(
        fake.complete(accept, closed),
        Err(CompleteError::Closed(closed))
    );
    assert_eq!(fake.complete_more(read, b"a"), wrong(Code::Recv));
    assert_eq!(fake.shorten(accept, 1), wrong(Code::Accept));
    assert_eq!(fake.pending(), before);
    assert_eq!(look(&mut proactor), []);
    let fake = proactor.backend_mut();
    fake.fail(read, Errno::ETIMEDOUT).unwrap();
    assert_eq!(
        buffer(&mut proactor),
        (failed(Errno::ETIMEDOUT), Buffer::from("old"))
    );
}

#[test]
fn f1_descriptors_addresses_and_answers() {
    let mut proactor = proactor();
    proactor.backend_mut().hold(true);
    let (socket, _peer) = sockets(&mut proactor);
    let accept = submit(&mut proactor, op::accept(socket), 1);
    let opens = submit(&mut proactor, op::open(socket, Buffer::from("/x\0")), 2);
    let stats = submit(&mut proactor, op::statx(socket, Buffer::from("/x\0")), 3);
    let waits = submit(&mut proactor, op::wait_pid(7), 4);
    let polls = submit(&mut proactor, op::poll(socket, PollEvents::IN), 5);
    let vectors: Vectors<Buffer> = [room(4)].into_iter().collect();
    let message = proactor
        .submit_vectored(op::recv_message(socket, vectors), 6)
        .unwrap();
    assert_eq!(pending(&mut proactor)[3].pid, Some(7));
    let from = SocketAddr::from(([10, 0, 0, 1], 99));
    let mut stat = linux_event_core::proactor::Stat::default();
    stat.size = 123;
    let fake = proactor.backend_mut();
    let (one_end, other_end) = fake.pipe().unwrap();
    fake.complete(accept, Answer::Connection(one_end, from))
        .unwrap();
    fake.complete(opens, other_end).unwrap();
    fake.complete(stats, stat).unwrap();
    fake.complete(waits, ExitStatus::Exited(1)).unwrap();
    fake.complete(polls, 1).unwrap();
    fake.complete(message, Answer::Message(b"hi".to_vec(), from))
        .unwrap();
    proactor.wait(None).unwrap();
    let mut numbers = Vec::new();
    while let Some(Event::Completion(completion)) = proactor.next() {
        numbers.push(completion.result);
        if completion.data == 2 {
            assert_eq!(proactor.take_vectors()[0], Buffer::from("/x\0"), "the path");
        }
    }
    assert_eq!(numbers, [5, 6, 0, 0, 1, 2]);
    assert_eq!(proactor.address(accept), Some(from));
    assert_eq!(proactor.address(message), Some(from));
    assert_eq!(proactor.stat(stats), Some(stat));
    assert_eq!(proactor.exit_info(waits), Some(ExitStatus::Exited(1)));
    assert_balanced(&proactor, 2);
}

#[test]
fn f1_multishot_operations_go_on_or_end() {
    let mut proactor = proactor();
    let group = proactor.provide(2, 4).unwrap();
    let (socket, _peer) = sockets(&mut proactor);
    proactor.backend_mut().hold(true);
    let recv = submit(&mut proactor, op::recv_multi(socket, group), 1);
    let accept = submit(&mut proactor, op::accept_multi(socket), 2);
    let poll = submit(&mut proactor, op::poll_multi(socket, PollEvents::IN), 3);
    pending(&mut proactor);
    let fake = proactor.backend_mut();
    let (one_end, other_end) = fake.pipe().unwrap();
    fake.complete_more(recv, b"ab").unwrap();
    let too_long = CompleteError::TooLong { asked: 4, given: 5 };
    assert_eq!(fake.complete_more(recv, b"abcde"), Err(too_long));
    fake.complete(recv, b"cd").unwrap(); // as when the completion queue has overflowed
    fake.complete_more(accept, one_end).unwrap();
    fake.complete(accept, other_end).unwrap();
    fake.complete_more(poll, 1).unwrap();
    fake.fail(poll, Errno::ECANCELED).unwrap();
    let all = completions(&mut proactor, None);
    let seen: Vec<Seen> = all
        .iter()
        .map(|one| (one.data, one.result, one.more))
        .collect();
    let expected = [
        (1, 2, true),
        (1, 2, false),
        (2, 5, true),
        (2, 6, false),
        (3, 1, true),
        (3, failed(Errno::ECANCELED), false),
    ];
    assert_eq!(seen, expected);
    let recv = submit(&mut proactor, op::recv_multi(socket, group), 4);
    pending(&mut proactor);
    let fake = proactor.backend_mut();
    assert_eq!(fake.leases_out(), 2);
    assert_eq!(fake.complete(recv, b"x"), Err(CompleteError::NoBuffer));
    fake.complete(recv, 0).unwrap();
    assert_eq!(turn(&mut proactor), [(4, 0, false)]);
    drop(all);
    assert_balanced(&proactor, 2);
}

#[test]
fn f1_held_operations_can_be_shortened_delayed_and_released() {
    let mut proactor = proactor();
    proactor.backend_mut().hold(true);
    let (socket, peer) = sockets(&mut proactor);
    let first = submit(&mut proactor, op::recv(socket, room(8)), 1);
    let second = submit(&mut proactor, op::recv(socket, room(8)), 2);
    let third = submit(&mut proactor, op::recv(socket, room(8)), 3);
    proactor.backend_mut().write(peer, b"abcdef").unwrap();
    assert_eq!(look(&mut proactor), []);
    let fake = proactor.backend_mut();
    fake.delay(first, 2 * MILLI).unwrap();
    fake.shorten(second, 2).unwrap();
    fake.delay(third, MILLI).unwrap();
    assert_eq!(turn(&mut proactor), [(2, 2, false)]);
    assert_eq!(turn(&mut proactor), [(3, 4, false)]);
    assert_eq!(proactor.backend().now() - Fake::START, MILLI);
    proactor.backend_mut().release(first).unwrap();
    proactor.backend_mut().write(peer, b"x").unwrap();
    assert_eq!(turn(&mut proactor), [(1, 1, false)]);
    assert_eq!(proactor.backend().now() - Fake::START, MILLI);
}

#[test]
fn f1_held_operations_can_be_cancelled_and_time_out() {
    let mut proactor = proactor();
    proactor.backend_mut().hold(true);
    submit(&mut proactor, op::nop().timeout(MILLI), 1);
    let op = submit(&mut proactor, op::nop(), 2);
    let canceled = failed(Errno::ECANCELED);
    assert_eq!(turn(&mut proactor), [(1, canceled, false)]);
    proactor.cancel(op);
    assert_eq!(turn(&mut proactor), [(2, canceled, false)]);
}

#[test]
fn f1_a_script_decides_about_each_operation_when_it_starts() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    proactor
        .backend_mut()
        .script(|op| match (op.code, op.length) {
            (Code::Read, 4) => Decision::Shorten(1),
            (Code::Read, _) => Decision::Delay(MILLI),
            (Code::Fsync, _) => Decision::Fail(Errno::EIO),
            (Code::Poll, _) => Decision::Hold,
            _ => Decision::Perform,
        });
    proactor.backend_mut().write(writer, b"abcdef").unwrap();
    let read = |bytes| op::read(reader, room(8)).limit(bytes);
    submit(&mut proactor, read(4), 1);
    let chain = [(read(2).link().into(), 2), (op::fsync(reader).into(), 3)];
    proactor.submit_chain(chain).unwrap();
    submit(&mut proactor, op::poll(reader, PollEvents::IN), 4);
    assert_eq!(turn(&mut proactor), [(1, 1, false)]);
    assert_eq!(
        turn(&mut proactor),
        [(2, 2, false), (3, failed(Errno::EIO), false)]
    );
    assert_eq!(proactor.backend().pending()[0].code, Code::Poll);
    proactor.backend_mut().end_script();
    submit(&mut proactor, op::fsync(reader), 5);
    assert_eq!(turn(&mut proactor), [(5, failed(Errno::EINVAL), false)]);
}

#[test]
fn f1_a_chain_goes_on_from_a_hand_made_end() {
    let mut proactor = proactor();
    proactor.backend_mut().hold(true);
    let (socket, _peer) = sockets(&mut proactor);
    let recv = |data| (op::recv(socket, room(4)).limit(4).link().into(), data);
    let [first, second, _] = proactor.submit_chain([recv(1), recv(2), recv(3)]).unwrap();
    assert_eq!(pending(&mut proactor).len(), 1);
    let fake = proactor.backend_mut();
    assert_eq!(fake.complete(second, b"x"), Err(CompleteError::NotPending));
    fake.complete(first, b"abcd").unwrap();
    assert_eq!(fake.pending()[0].token, second.handle());
    fake.fail(second, Errno::ECONNRESET).unwrap();
    let reset = failed(Errno::ECONNRESET);
    let expected = [
        (1, 4, false),
        (2, reset, false),
        (3, failed(Errno::ECANCELED), false),
    ];
    assert_eq!(turn(&mut proactor), expected);
}
