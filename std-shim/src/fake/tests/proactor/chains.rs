//! Chains, and the queue that they go through.

use super::*;

const CANCELED: i32 = failed(Errno::ECANCELED);

fn link(request: impl Into<Request<Buffer>>, data: u32) -> (Request<Buffer>, u32) {
    (request.into(), data)
}

#[test]
fn p10_members_start_one_after_the_other() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let members = [
        link(op::recv(socket, room(4)).limit(4).link(), 1),
        link(op::send(socket, Buffer::from("ok")).link(), 2),
        link(op::shutdown(socket, How::Write), 3),
    ];
    proactor.submit_chain(members).unwrap();
    assert_eq!(look(&mut proactor), []);
    assert_eq!(proactor.backend().pending().len(), 1);
    assert_eq!(proactor.backend().pending_operations(), 3);
    assert_eq!(proactor.backend().buffers_out(), 2);
    proactor.backend_mut().write(peer, b"abcd").unwrap();
    assert_eq!(
        turn(&mut proactor),
        [(1, 4, false), (2, 2, false), (3, 0, false)]
    );
    let mut bytes = [0; 8];
    assert_eq!(proactor.backend_mut().read(peer, &mut bytes), Ok(2));
    assert_eq!(proactor.backend_mut().read(peer, &mut bytes), Ok(0));
    assert_balanced(&proactor, 2);
}

#[test]
fn p1_what_breaks_a_soft_link() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    let (socket, peer) = sockets(&mut proactor);
    let mut pair = |first: Request<Buffer>| {
        proactor.backend_mut().write(writer, b"abc").unwrap();
        proactor.backend_mut().write(peer, b"abc").unwrap();
        proactor
            .submit_chain([(first, 1), link(op::nop(), 2)])
            .unwrap();
        let seen = turn(&mut proactor);
        assert_eq!(seen.len(), 2);
        (seen[0].1, seen[1].1)
    };
    assert_eq!(pair(op::read(reader, room(3)).limit(3).into()), (3, 0));
    assert_eq!(
        pair(op::read(reader, room(8)).limit(8).into()),
        (3, CANCELED)
    );
    // A receive is content with a part, unless it asked for all.
    assert_eq!(pair(op::recv(socket, room(99)).limit(99).into()), (9, 0));
    let not_a_socket = op::send(reader, Buffer::from("x"));
    assert_eq!(
        pair(not_a_socket.into()),
        (failed(Errno::ENOTSOCK), CANCELED)
    );
    let hard = op::recv(reader, room(1)).hard_link();
    assert_eq!(pair(hard.into()), (failed(Errno::ENOTSOCK), 0));
    proactor.backend_mut().shutdown_write(peer).unwrap();
    let all = op::recv(socket, room(99))
        .limit(99)
        .flags(MessageFlags::WAIT_ALL);
    proactor
        .submit_chain([link(all, 1), link(op::nop(), 2)])
        .unwrap();
    assert_eq!(turn(&mut proactor), [(1, 6, false), (2, CANCELED, false)]);
}

#[test]
fn p1_fsync_shutdown_and_statx_break_no_link_by_what_they_say() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let socket = proactor
        .backend_mut()
        .socket(Domain::V4, SocketKind::Stream);
    let socket = adopt(&mut proactor, socket.unwrap());
    let mut pair = |first: Request<Buffer>| {
        let members = [(first, 1), link(op::nop(), 2)];
        proactor.submit_chain(members).unwrap();
        let seen = turn(&mut proactor);
        assert!(seen[0].1 < 0);
        seen[1].1
    };
    let directory = linux_event_core::proactor::Target::CURRENT_DIRECTORY;
    assert_eq!(pair(op::fsync(reader).into()), 0);
    assert_eq!(pair(op::shutdown(socket, How::Both).into()), 0);
    assert_eq!(pair(op::shutdown(reader, How::Both).into()), CANCELED);
    assert_eq!(pair(op::statx(directory, "/no\0".into()).into()), 0);
    assert_eq!(pair(op::open(directory, "/no\0".into()).into()), CANCELED);
    proactor.backend_mut().hold(true);
    let chain = [
        link(op::fsync(reader).timeout(MILLI).link(), 1),
        link(op::nop(), 2),
    ];
    proactor.submit_chain(chain).unwrap();
    let both = [(1, CANCELED, false), (2, CANCELED, false)];
    assert_eq!(turn(&mut proactor), both, "but for a cancellation");
}

#[test]
fn p1_a_broken_chain_cancels_all_of_the_rest_hard_or_soft() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let members = [
        link(op::recv(reader, room(1)).link(), 1),
        link(op::read(reader, Buffer::from("a")).hard_link(), 2),
        link(op::write(reader, Buffer::from("b")), 3),
    ];
    proactor.submit_chain(members).unwrap();
    let all = completions(&mut proactor, None);
    let results: Vec<_> = all.iter().map(|one| one.result).collect();
    assert_eq!(results, [failed(Errno::ENOTSOCK), CANCELED, CANCELED]);
    let back: Vec<_> = all
        .into_iter()
        .filter_map(Completion::into_buffer)
        .collect();
    assert_eq!(back[1..], [Buffer::from("a"), Buffer::from("b")]);
    assert_balanced(&proactor, 2);
}

#[test]
fn p1_a_timeout_in_a_chain() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let slow = |data| link(op::read(reader, room(1)).timeout(MILLI).link(), data);
    proactor
        .submit_chain([slow(1), link(op::nop(), 2)])
        .unwrap();
    assert_eq!(
        turn(&mut proactor),
        [(1, CANCELED, false), (2, CANCELED, false)]
    );
    let hard = |data| link(op::read(reader, room(1)).timeout(MILLI).hard_link(), data);
    proactor
        .submit_chain([hard(3), hard(4), link(op::nop(), 5)])
        .unwrap();
    assert_eq!(turn(&mut proactor), [(3, CANCELED, false)]);
    assert_eq!(turn(&mut proactor), [(4, CANCELED, false), (5, 0, false)]);
    assert_eq!(proactor.backend().now() - Fake::START, 3 * MILLI);
}

#[test]
fn p4_a_member_that_has_not_started_is_cancelled_from_the_running_one_on() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let wait = |data| link(op::read(reader, room(1)).hard_link(), data);
    let [_, second, _] = proactor.submit_chain([wait(1), wait(2), wait(3)]).unwrap();
    assert_eq!(look(&mut proactor), []);
    assert!(proactor.cancel(second));
    let mut seen = Vec::new();
    while proactor.operations() > 0 {
        seen.extend(turn(&mut proactor));
    }
    let all = [1, 2, 3].map(|data| (data, CANCELED, false));
    assert_eq!(seen, all);
    assert_balanced(&proactor, 2);
}

#[test]
fn p4_the_kernel_knows_nothing_of_what_has_not_started() {
    let mut fake = Fake::new();
    fake.reserve(8).unwrap();
    let (reader, writer) = fake.pipe().unwrap();
    let token = |index| Handle::new(index, Tag::Operation, 1);
    let read = || op::read(crate::fd::target_of(reader.as_raw_fd()), room(1)).limit(1);
    fake.push(token(0), read().link().into(), Vouched::simulated())
        .unwrap();
    fake.push(token(1), read().into(), Vouched::simulated())
        .unwrap();
    fake.cancel(token(1)).unwrap();
    fake.cancel(token(7)).unwrap();
    fake.wait(None, Some(Duration::ZERO)).unwrap();
    assert!(fake.pop().is_none());
    fake.write(writer, b"ab").unwrap();
    fake.wait(None, None).unwrap();
    assert!(fake.pop().is_some() && fake.pop().is_some() && fake.pop().is_none());
}

#[test]
fn p14_a_members_number_is_looked_up_when_its_turn_has_come() {
    let mut fake = Fake::new();
    fake.reserve(8).unwrap();
    let (reader, writer) = fake.pipe().unwrap();
    let (_, sink) = fake.pipe().unwrap();
    let token = |index| Handle::new(index, Tag::Operation, 1);
    let target = |fd: FakeFd| crate::fd::target_of(fd.as_raw_fd());
    let read = op::read(target(reader), room(1)).limit(1).link();
    fake.push(token(0), read.into(), Vouched::simulated())
        .unwrap();
    let write = op::write(target(sink), Buffer::from("x"));
    fake.push(token(1), write.into(), Vouched::simulated())
        .unwrap();
    fake.flush().unwrap();
    fake.close(sink).unwrap();
    let (one, other) = fake.socketpair().unwrap();
    assert_eq!(one, sink, "the number is another file's");
    fake.write(writer, b"x").unwrap();
    fake.wait(None, None).unwrap();
    assert_eq!(fake.read(other, &mut [0; 4]), Ok(1));
}

#[test]
fn p10_a_chain_that_a_flush_cuts_runs_unlinked() {
    let mut fake = Fake::new();
    fake.reserve(8).unwrap();
    let token = |index| Handle::new(index, Tag::Operation, 1);
    let nowhere = crate::fd::target_of(99);
    fake.push(
        token(0),
        op::fsync(nowhere).link().into(),
        Vouched::simulated(),
    )
    .unwrap();
    fake.flush().unwrap();
    fake.push(token(1), op::nop().into(), Vouched::simulated())
        .unwrap();
    fake.wait(None, None).unwrap();
    let mut results = Vec::new();
    while let Some(linux_event_core::proactor::Popped::Report(report)) = fake.pop() {
        results.push(report.result);
    }
    assert_eq!(results, [failed(Errno::EBADF), 0]);
}

#[test]
fn p10_a_full_queue_is_flushed_and_a_chain_is_not_cut() {
    let mut proactor = proactor();
    proactor.backend_mut().set_entries(3);
    let (reader, _writer) = pipe(&mut proactor);
    for data in 0..4 {
        submit(&mut proactor, op::read(reader, room(1)), data);
    }
    assert_eq!(proactor.backend().pending().len(), 3);
    assert_eq!(proactor.backend().queued(), 1);
    let nop = |data| link(op::nop().link(), data);
    let members = [link(op::recv(reader, room(1)).link(), 10), nop(11), nop(12)];
    proactor.submit_chain(members).unwrap();
    assert_eq!(proactor.backend().queued(), 3, "all of it, alone");
    let enotsock = failed(Errno::ENOTSOCK);
    let expected = [
        (10, enotsock, false),
        (11, CANCELED, false),
        (12, CANCELED, false),
    ];
    assert_eq!(turn(&mut proactor), expected);
    let with_timeout = |data| link(op::nop().timeout(MILLI), data);
    let refused = proactor.submit_chain([with_timeout(1), with_timeout(2)]);
    let refused = refused.unwrap_err();
    assert_eq!(refused.error, Error::Full { capacity: 3 });
    assert_eq!(refused.requests.len(), 2);
}

#[test]
fn p15_a_close_in_a_chain_closes_whatever_comes() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    let members = [
        link(op::recv(reader, room(1)).link(), 1),
        link(op::close(reader), 2),
    ];
    proactor.submit_chain(members).unwrap();
    let enotsock = failed(Errno::ENOTSOCK);
    assert_eq!(
        turn(&mut proactor),
        [(1, enotsock, false), (2, CANCELED, false)]
    );
    assert_eq!(
        proactor.backend_mut().write(writer, b"x"),
        Err(Errno::EPIPE)
    );
    assert_balanced(&proactor, 1);
}
