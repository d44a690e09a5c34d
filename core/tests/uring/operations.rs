//! P-1: every operation, once, and P-6, P-11, P-14, P-16 with them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::proactor::{
    Backend, Carried, Code, FixedBuffer, How, Link, PollEvents, Popped, Target, Vectors, op,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::sys::{BorrowedFd, Domain, Kernel, Linux, SocketKind, Sockets};

use crate::buf::{VecBuf, vouched};
use crate::harness::*;

fn borrowed(fd: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: borrowed from its owner for that long.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

#[test]
fn p1_nops_come_back_in_order() {
    let mut ring = ring();
    for index in 0..8 {
        push(&mut ring, token(index, 1), op::nop());
    }
    for index in 0..8 {
        let report = next_of(&mut ring, token(index, 1));
        assert_eq!((report.result, report.more), (0, false));
        assert!(matches!(report.carried, Carried::Nothing));
    }
    assert_eq!(ring.counters().enters, 1, "P-9");
    assert_eq!(ring.counters().submitted, 8);
    assert_eq!(ring.counters().completions, 8);
}

#[test]
fn p1_read_and_write_at_offsets_and_at_the_position() {
    let mut ring = ring();
    let file = tempfile();
    let fd = borrowed(&file);
    let (first, second) = (token(1, 1), token(2, 1));
    push(
        &mut ring,
        first,
        op::write(on(fd), VecBuf::from_slice(b"hello world")),
    );
    let report = next_of(&mut ring, first);
    assert_eq!(report.result, 11);
    assert_eq!(
        &*buffer(report),
        b"hello world",
        "P-6: a write's buffer comes back"
    );
    push(
        &mut ring,
        second,
        op::read(on(fd), VecBuf::with_capacity(5)).at(6),
    );
    assert_eq!(&*buffer(next_of(&mut ring, second)), b"world");
    // The position is behind what was written.
    push(&mut ring, first, op::read(on(fd), VecBuf::with_capacity(5)));
    let report = next_of(&mut ring, first);
    assert_eq!((report.result, buffer(report).len()), (0, 0));
    push(
        &mut ring,
        first,
        op::read(on(fd), VecBuf::with_capacity(64)).at(0).limit(4),
    );
    assert_eq!(&*buffer(next_of(&mut ring, first)), b"hell");
}

#[test]
fn p6_a_buffer_comes_back_with_an_error() {
    let mut ring = ring();
    // SAFETY: no descriptor has this number.
    let nowhere = unsafe { Target::from_raw(1_000_000) };
    push(
        &mut ring,
        token(0, 1),
        op::read(nowhere, VecBuf::from_slice(b"as it was")),
    );
    let report = next_of(&mut ring, token(0, 1));
    assert_eq!(errno(&report), Errno::EBADF.raw());
    assert_eq!(&*buffer(report), b"as it was");
}

#[test]
fn p1_vectored() {
    let mut ring = ring();
    let file = tempfile();
    let fd = borrowed(&file);
    let parts = [b"one".as_slice(), b"two2", b"three"];
    let buffers: Vectors<_> = parts.iter().map(|part| VecBuf::from_slice(part)).collect();
    push_vectored(
        &mut ring,
        token(3, 1),
        op::write_vectored(on(fd), buffers).at(0),
    );
    let report = next_of(&mut ring, token(3, 1));
    assert_eq!(report.result, 12);
    assert!(matches!(report.carried, Carried::Vectors));
    assert_eq!(ring.take_vectors().len(), 3);
    assert_eq!(ring.take_vectors().len(), 0, "once");
    let buffers: Vectors<_> = [4, 4, 100].map(VecBuf::with_capacity).into_iter().collect();
    push_vectored(
        &mut ring,
        token(3, 2),
        op::read_vectored(on(fd), buffers).at(0),
    );
    assert_eq!(next_of(&mut ring, token(3, 2)).result, 12);
    let read = ring.take_vectors();
    assert_eq!(&*read[0], b"onet");
    assert_eq!(&*read[1], b"wo2t");
    assert_eq!(&*read[2], b"hree");
}

#[test]
fn p1_send_and_recv() {
    let mut ring = ring();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    push(
        &mut ring,
        token(0, 1),
        op::recv(on(borrowed(&ours)), VecBuf::with_capacity(16)),
    );
    push(
        &mut ring,
        token(1, 1),
        op::send(on(borrowed(&theirs)), VecBuf::from_slice(b"ping")),
    );
    let mut seen = Vec::new();
    for _ in 0..2 {
        let report = next(&mut ring);
        assert_eq!(report.result, 4);
        seen.push((report.token, buffer(report).to_vec()));
    }
    seen.sort_unstable();
    assert_eq!(seen[0], (token(0, 1).raw(), b"ping".to_vec()));
    assert_eq!(seen[1], (token(1, 1).raw(), b"ping".to_vec()));
}

#[test]
fn p3_a_zero_copy_send_reports_twice_and_gives_back_once() {
    let mut ring = ring();
    if !has(&ring, Code::SendZeroCopy) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let request = op::send_zero_copy(on(borrowed(&client)), VecBuf::from_slice(&[7; 9000]));
    push(&mut ring, token(5, 1), request);
    let first = next_of(&mut ring, token(5, 1));
    assert_eq!((first.result, first.more), (9000, true));
    assert!(matches!(first.carried, Carried::Nothing));
    server.read_exact(&mut [0; 9000]).unwrap();
    let last = next_of(&mut ring, token(5, 1));
    assert_eq!((last.result, last.more), (9000, false), "the result, again");
    assert_eq!(buffer(last).len(), 9000);
}

#[test]
fn p11_accept_connect_and_the_peers_address() {
    let mut ring = ring();
    if !has(&ring, Code::Socket) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    push(&mut ring, token(0, 1), op::accept(on(borrowed(&listener))));
    push(
        &mut ring,
        token(1, 1),
        op::socket(Domain::V4, SocketKind::Stream),
    );
    let report = next_of(&mut ring, token(1, 1));
    let client = descriptor(&mut ring, &report);
    push(
        &mut ring,
        token(1, 2),
        op::connect(on(client.borrow()), address),
    );
    let mut accepted = None;
    for _ in 0..2 {
        let report = next(&mut ring);
        if report.token == token(1, 2).raw() {
            assert_eq!(report.result, 0);
        } else {
            accepted = Some(descriptor(&mut ring, &report));
        }
    }
    let accepted = accepted.unwrap();
    let theirs = Linux.local_address(client.borrow()).unwrap();
    assert_eq!(ring.address(token(0, 1)), theirs);
    assert_eq!(
        ring.address(token(0, 2)),
        None,
        "another occupant's is not told"
    );
    let flags = std::fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        linux_event_core::sys::AsRawFd::as_raw_fd(&accepted)
    ));
    assert!(flags.unwrap().contains("02000002"), "close-on-exec");
}

#[test]
fn p5_a_descriptor_that_nobody_takes_is_closed() {
    let mut ring = ring();
    if !has(&ring, Code::Socket) {
        return;
    }
    push(
        &mut ring,
        token(0, 1),
        op::socket(Domain::V4, SocketKind::Stream),
    );
    let number = next_of(&mut ring, token(0, 1)).result;
    let is_socket = |number: i32| {
        std::fs::read_link(format!("/proc/self/fd/{number}"))
            .ok()
            .and_then(|link| link.to_str().map(str::to_owned))
            .filter(|link| link.starts_with("socket:"))
    };
    let socket = is_socket(number).unwrap();
    let _ = ring.pop();
    assert_ne!(is_socket(number), Some(socket), "the inode is gone");
}

#[test]
fn p1_accept_multi_goes_on() {
    let mut ring = ring();
    if !has(&ring, Code::AcceptMulti) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    push(
        &mut ring,
        token(0, 1),
        op::accept_multi(on(borrowed(&listener))),
    );
    for _ in 0..3 {
        let _client = TcpStream::connect(address).unwrap();
        let report = next_of(&mut ring, token(0, 1));
        assert!(report.more);
        let _accepted = descriptor(&mut ring, &report);
    }
    ring.cancel(token(0, 1)).unwrap();
    let report = next_of(&mut ring, token(0, 1));
    assert_eq!(
        (errno(&report), report.more),
        (Errno::ECANCELED.raw(), false)
    );
}

#[test]
fn p1_bind_listen_and_shut_down() {
    let mut ring = ring();
    if !has(&ring, Code::Bind) {
        return;
    }
    let socket = Linux.socket(Domain::V4, SocketKind::Stream).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    push(&mut ring, token(0, 1), op::bind(on(socket.borrow()), any));
    assert_eq!(next_of(&mut ring, token(0, 1)).result, 0);
    push(&mut ring, token(0, 2), op::listen(on(socket.borrow()), 16));
    assert_eq!(next_of(&mut ring, token(0, 2)).result, 0);
    let address = Linux.local_address(socket.borrow()).unwrap().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    push(
        &mut ring,
        token(0, 3),
        op::shutdown(on(borrowed(&client)), How::Write),
    );
    assert_eq!(next_of(&mut ring, token(0, 3)).result, 0);
    assert!(client.write(b"x").is_err());
}

#[test]
fn p1_unix_paths() {
    let mut ring = ring();
    if !has(&ring, Code::Bind) {
        return;
    }
    let name = format!("\0linux-event-{}", std::process::id());
    let socket = Linux.socket(Domain::Unix, SocketKind::Stream).unwrap();
    let request = op::bind_unix(on(socket.borrow()), VecBuf::from_slice(name.as_bytes()));
    push(&mut ring, token(0, 1), request);
    let report = next_of(&mut ring, token(0, 1));
    assert_eq!(report.result, 0);
    assert_eq!(&*buffer(report), name.as_bytes());
    push(&mut ring, token(0, 2), op::listen(on(socket.borrow()), 1));
    assert_eq!(next_of(&mut ring, token(0, 2)).result, 0);
    let client = Linux.socket(Domain::Unix, SocketKind::Stream).unwrap();
    let request = op::connect_unix(on(client.borrow()), VecBuf::from_slice(name.as_bytes()));
    push(&mut ring, token(0, 3), request);
    assert_eq!(next_of(&mut ring, token(0, 3)).result, 0);
    let path = VecBuf::from_slice(&[b'x'; 108]);
    let refused = ring.push(
        token(0, 4),
        op::connect_unix(on(client.borrow()), path).into(),
        vouched(),
    );
    let refused = refused.unwrap_err();
    assert!(matches!(refused.error, Error::Invalid(_)));
    assert_eq!(refused.buffer.unwrap().len(), 108, "P-6");
}

#[test]
fn p1_messages_with_addresses() {
    let mut ring = ring();
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let buffers = [VecBuf::from_slice(b"data"), VecBuf::from_slice(b"gram")];
    let request = op::send_message(on(borrowed(&sender)), buffers.into_iter().collect())
        .to(receiver.local_addr().unwrap());
    push_vectored(&mut ring, token(0, 1), request);
    assert_eq!(next_of(&mut ring, token(0, 1)).result, 8);
    let buffers = [VecBuf::with_capacity(3), VecBuf::with_capacity(30)];
    let request = op::recv_message(on(borrowed(&receiver)), buffers.into_iter().collect());
    push_vectored(&mut ring, token(1, 1), request);
    assert_eq!(next_of(&mut ring, token(1, 1)).result, 8);
    let received = ring.take_vectors();
    assert_eq!(
        (&*received[0], &*received[1]),
        (b"dat".as_slice(), b"agram".as_slice())
    );
    assert_eq!(
        ring.address(token(1, 1)),
        Some(sender.local_addr().unwrap())
    );
}

#[test]
fn p1_open_stat_fsync_and_close() {
    let mut ring = ring();
    let path = VecBuf::from_slice(b"/proc/self/exe\0");
    push(
        &mut ring,
        token(0, 1),
        op::open(Target::CURRENT_DIRECTORY, path),
    );
    let report = next_of(&mut ring, token(0, 1));
    let file = descriptor(&mut ring, &report);
    let paths = ring.take_vectors();
    assert_eq!(
        &*paths[0], b"/proc/self/exe\0",
        "P-6: the path comes back as well"
    );
    push(
        &mut ring,
        token(0, 2),
        op::fsync(on(file.borrow())).data_only(),
    );
    assert_eq!(next_of(&mut ring, token(0, 2)).result, 0);
    let path = VecBuf::from_slice(b"/proc/self/exe\0");
    push(
        &mut ring,
        token(0, 3),
        op::statx(Target::CURRENT_DIRECTORY, path),
    );
    let report = next_of(&mut ring, token(0, 3));
    assert_eq!(report.result, 0);
    let stat = ring.stat(token(0, 3)).unwrap();
    let known = std::fs::metadata("/proc/self/exe").unwrap();
    assert_eq!(stat.size, known.len());
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(
            (stat.inode, stat.user, u32::from(stat.mode)),
            (known.ino(), known.uid(), known.mode())
        );
        assert_eq!(stat.modified, (known.mtime(), known.mtime_nsec() as u32));
    }
    assert!(ring.exit_info(token(0, 3)).is_none());
    ring.push_close(token(0, 4), file, Link::None).unwrap();
    assert_eq!(next_of(&mut ring, token(0, 4)).result, 0);
    let path = VecBuf::from_slice(b"no zero");
    let refused = ring.push(
        token(0, 5),
        op::open(Target::CURRENT_DIRECTORY, path).into(),
        vouched(),
    );
    assert!(matches!(refused.unwrap_err().error, Error::Invalid(_)));
}

#[test]
fn p1_splice() {
    let mut ring = ring();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut file = tempfile();
    file.write_all(b"spliced").unwrap();
    let request = op::splice(on(borrowed(&file)), on(borrowed(&writer)), 7).from_offset(0);
    push(&mut ring, token(0, 1), request);
    assert_eq!(next_of(&mut ring, token(0, 1)).result, 7);
    let mut bytes = [0; 7];
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"spliced");
}

#[test]
fn p1_poll_once_and_again_and_again() {
    let mut ring = ring();
    let (reader, mut writer) = std::io::pipe().unwrap();
    push(
        &mut ring,
        token(0, 1),
        op::poll_multi(on(borrowed(&reader)), PollEvents::IN),
    );
    push(
        &mut ring,
        token(1, 1),
        op::poll(on(borrowed(&reader)), PollEvents::IN),
    );
    assert!(poll(&mut ring).is_none());
    writer.write_all(b"x").unwrap();
    let mut reports = [next(&mut ring), next(&mut ring)];
    reports.sort_by_key(|report| report.token);
    assert_eq!((reports[0].result, reports[0].more), (1, true));
    assert_eq!((reports[1].result, reports[1].more), (1, false));
    writer.write_all(b"y").unwrap();
    assert!(next_of(&mut ring, token(0, 1)).more);
}

#[test]
#[allow(clippy::zombie_processes, reason = "the ring waits for it")]
fn p1_wait_for_a_child() {
    let mut ring = ring();
    if !has(&ring, Code::WaitId) {
        return;
    }
    let child = std::process::Command::new("sh")
        .args(["-c", "exit 7"])
        .spawn()
        .unwrap();
    push(&mut ring, token(0, 1), op::wait_pid(child.id() as i32));
    assert_eq!(next_of(&mut ring, token(0, 1)).result, 0);
    assert_eq!(ring.exit_info(token(0, 1)).unwrap().code(), Some(7));
    assert!(ring.stat(token(0, 1)).is_none());
}

#[test]
fn p16_leases_come_go_home_and_outlive_the_ring() {
    let mut ring = ring();
    if !has(&ring, Code::RecvMulti) {
        return;
    }
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let group = ring.provide(4, 8).unwrap();
    push(
        &mut ring,
        token(0, 1),
        op::recv_multi(on(borrowed(&ours)), group),
    );
    let mut leases = Vec::new();
    for round in 0..12u8 {
        theirs.write_all(&[round; 5]).unwrap();
        let report = next_of(&mut ring, token(0, 1));
        assert!(report.more && report.result == 5);
        let Carried::Lease(lease) = report.carried else {
            panic!("no lease");
        };
        assert_eq!(&*lease, [round; 5]);
        leases.push(lease);
        if leases.len() > 2 {
            leases.remove(0); // goes home
        }
    }
    assert_eq!(ring.withdraw(group), Err(Error::Busy));
    // Four buffers: two are out, two more can go, then there is none.
    theirs.write_all(&[1; 8]).unwrap();
    leases.push(lease_of(next_of(&mut ring, token(0, 1))));
    theirs.write_all(&[2; 8]).unwrap();
    leases.push(lease_of(next_of(&mut ring, token(0, 1))));
    theirs.write_all(&[3; 8]).unwrap();
    let last = next_of(&mut ring, token(0, 1));
    assert_eq!((errno(&last), last.more), (Errno::ENOBUFS.raw(), false));
    let kept = leases.pop().unwrap();
    drop(leases);
    assert_eq!(ring.withdraw(group), Ok(()));
    assert_eq!(ring.withdraw(group), Err(Error::Stale));
    drop(ring);
    assert_eq!(&*kept, [2; 8], "a lease outlives its ring");
    drop(kept);
}

fn lease_of(report: Told) -> linux_event_core::proactor::Lease {
    match report.carried {
        Carried::Lease(lease) => lease,
        other => panic!("no lease but {other:?}"),
    }
}

#[test]
fn p16_the_end_of_the_stream_ends_a_recv_multi() {
    let mut ring = ring();
    if !has(&ring, Code::RecvMulti) {
        return;
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let group = ring.provide(2, 8).unwrap();
    push(
        &mut ring,
        token(0, 1),
        op::recv_multi(on(borrowed(&ours)), group),
    );
    drop(theirs);
    let report = next_of(&mut ring, token(0, 1));
    assert_eq!((report.result, report.more), (0, false));
    assert!(matches!(report.carried, Carried::Nothing));
    assert_eq!(ring.withdraw(group), Ok(()));
}

#[test]
fn p16_registered_buffers_within_their_bounds() {
    let mut ring = ring();
    let file = tempfile();
    let mut buffers = Vectors::new();
    let _ = buffers.push(VecBuf::from_slice(&[b'a'; 4096]));
    ring.register_buffers(buffers).unwrap();
    let first = FixedBuffer::new(0);
    ring.fixed(first).unwrap()[..5].copy_from_slice(b"fixed");
    let write = op::write_fixed(on(borrowed(&file)), first, 0, 8).at(0);
    push(&mut ring, token(0, 1), write);
    assert!(ring.fixed(first).is_none(), "it is in use");
    assert_eq!(ring.unregister_buffers().unwrap_err(), Error::Busy);
    assert_eq!(next_of(&mut ring, token(0, 1)).result, 8);
    let read = op::read_fixed(on(borrowed(&file)), first, 100, 8).at(0);
    push(&mut ring, token(0, 2), read);
    assert_eq!(next_of(&mut ring, token(0, 2)).result, 8);
    assert_eq!(&ring.fixed(first).unwrap()[98..110], b"aafixedaaaaa");
    for (start, length) in [(0, 4097), (4096, 1), (u32::MAX, u32::MAX)] {
        let request = op::read_fixed(on(borrowed(&file)), first, start, length);
        let refused = ring
            .push(token(0, 3), request.into(), vouched())
            .unwrap_err();
        assert!(matches!(refused.error, Error::Invalid(_)));
    }
    let back = ring.unregister_buffers().unwrap();
    assert_eq!((back.len(), back[0].len()), (1, 4096));
    assert!(ring.fixed(first).is_none());
}

#[test]
fn p14_registered_slots() {
    let mut ring = ring();
    let (reader, mut writer) = std::io::pipe().unwrap();
    ring.register_files(2).unwrap();
    let owned = dup(borrowed(&reader));
    drop(reader);
    let slot = ring.install(&owned).unwrap();
    drop(owned); // the slot keeps the file open
    writer.write_all(b"slot").unwrap();
    push(
        &mut ring,
        token(0, 1),
        op::read(slot, VecBuf::with_capacity(9)),
    );
    assert_eq!(&*buffer(next_of(&mut ring, token(0, 1))), b"slot");
    push(&mut ring, token(0, 2), op::close_fixed(slot));
    assert_eq!(next_of(&mut ring, token(0, 2)).result, 0);
    assert_eq!(ring.uninstall(slot), Err(Error::Stale));
    let refused = ring.push(token(0, 3), op::close_fixed(slot).into(), vouched());
    assert!(matches!(refused.unwrap_err().error, Error::Invalid(_)));
    let eventfd = Linux.eventfd().unwrap();
    let slots = [
        ring.install(&eventfd).unwrap(),
        ring.install(&eventfd).unwrap(),
    ];
    assert_eq!(ring.install(&eventfd), Err(Error::Full { capacity: 2 }));
    assert_eq!(ring.uninstall(slots[0]), Ok(()));
    assert_eq!(ring.install(&eventfd), Ok(slots[0]));
}

#[test]
fn p9_a_wait_ends_at_its_deadline() {
    let mut ring = ring();
    // The kernel may end a wait before its time, with nothing (EINTR): then it is for the engine to wait again.
    let mut waits = 0;
    let mut wait_until = |ring: &mut Ring, end: Instant, wait: fn(&mut Ring, Instant)| {
        loop {
            wait(ring, end);
            waits += 1;
            if ring.now() >= end {
                return;
            }
        }
    };
    let soon = ring.now() + Duration::from_millis(5);
    wait_until(&mut ring, soon, |ring, end| {
        ring.wait(None, Some(end.since(ring.now()))).unwrap();
    });
    let soon = ring.now() + Duration::from_millis(5);
    wait_until(&mut ring, soon, |ring, end| {
        ring.wait(Some(end), None).unwrap();
    });
    wait_until(&mut ring, soon, |ring, end| {
        ring.wait(Some(end), None).unwrap();
    }); // past already
    assert!(
        (3..=6).contains(&waits),
        "it comes early (T-8): {waits} waits"
    );
    assert!(ring.pop().is_none());
    assert_eq!(ring.counters().enters, waits);
}

#[test]
fn p4_a_linked_timeout_cancels() {
    let mut ring = ring();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let limit = Duration::from_millis(5);
    let read = op::read(on(borrowed(&reader)), VecBuf::with_capacity(8)).timeout(limit);
    push(&mut ring, token(0, 1), read);
    let report = next_of(&mut ring, token(0, 1));
    assert_eq!(errno(&report), Errno::ECANCELED.raw());
    assert_eq!(buffer(report).len(), 0);
    writer.write_all(b"now").unwrap();
    let read =
        op::read(on(borrowed(&reader)), VecBuf::with_capacity(8)).timeout(Duration::from_secs(50));
    push(&mut ring, token(0, 2), read);
    assert_eq!(&*buffer(next_of(&mut ring, token(0, 2))), b"now");
}

#[test]
fn p10_chains_with_timeouts_go_on_or_end() {
    let mut ring = ring();
    // It fails once it runs: of what can't even begin, kernels before 5.18 cancel the whole chain.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let limit = Duration::from_secs(50);
    let failing = || op::write(on(borrowed(&writer)), VecBuf::from_slice(b"x")).timeout(limit);
    for (hard, second) in [(false, -Errno::ECANCELED.raw()), (true, 0)] {
        ring.make_room(3).unwrap();
        let first = failing();
        let first = if hard {
            first.hard_link()
        } else {
            first.link()
        };
        push(&mut ring, token(0, 1), first);
        push(&mut ring, token(1, 1), op::nop());
        assert_eq!(next_of(&mut ring, token(0, 1)).result, -Errno::EPIPE.raw());
        assert_eq!(
            next_of(&mut ring, token(1, 1)).result,
            second,
            "hard: {hard}"
        );
    }
    ring.make_room(3).unwrap();
    push(&mut ring, token(0, 1), op::nop().timeout(limit).link());
    push(&mut ring, token(1, 1), op::nop());
    assert_eq!(next_of(&mut ring, token(0, 1)).result, 0);
    assert_eq!(next_of(&mut ring, token(1, 1)).result, 0);
}

#[test]
fn p10_a_full_queue_is_flushed() {
    let mut ring = with_options(linux_event_core::proactor::Options {
        entries: 8,
        ..Default::default()
    });
    for index in 0..40 {
        push(&mut ring, token(index, 1), op::nop());
    }
    assert_eq!(ring.make_room(9), Err(Error::Full { capacity: 8 }));
    for index in 0..40 {
        next_of(&mut ring, token(index, 1));
    }
}

#[test]
fn p10_an_overflow_loses_nothing_and_is_counted() {
    let mut ring = with_options(linux_event_core::proactor::Options {
        entries: 8,
        cq_entries: Some(8),
        ..Default::default()
    });
    for index in 0..60 {
        push(&mut ring, token(index, 1), op::nop());
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 60 {
        assert!(seen.insert(next(&mut ring).token));
    }
    assert!(ring.counters().overflows > 0);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn p13_batches_are_handed_over_by_themselves() {
    let mut ring = with_options(linux_event_core::proactor::Options {
        submit_batch: 4,
        ..Default::default()
    });
    for index in 0..10 {
        push(&mut ring, token(index, 1), op::nop());
    }
    assert_eq!(ring.counters().submitted, 8);
    for index in 0..10 {
        next_of(&mut ring, token(index, 1));
    }
}

#[test]
fn p13_a_thread_that_submits() {
    let mut ring = with_options(linux_event_core::proactor::Options {
        sqpoll_idle: Some(Duration::from_millis(1)),
        ..Default::default()
    });
    for round in 1..20 {
        for index in 0..10 {
            push(&mut ring, token(index, round), op::nop());
        }
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_millis(3)); // it sleeps, too
        }
        if round % 2 == 0 {
            ring.flush().unwrap();
        }
        for _ in 0..10 {
            next(&mut ring);
        }
    }
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn p13_busy_polling_finds_what_comes() {
    let mut ring = with_options(linux_event_core::proactor::Options {
        busy_poll: Duration::from_millis(2),
        ..Default::default()
    });
    push(&mut ring, token(0, 1), op::nop());
    next_of(&mut ring, token(0, 1));
    let start = ring.now();
    ring.wait(None, Some(Duration::from_millis(5))).unwrap();
    assert!(ring.now().since(start) >= Duration::from_millis(5));
    ring.wait(None, Some(Duration::from_millis(1))).unwrap();
    assert!(ring.now().since(start) < Duration::from_secs(4));
}

#[test]
fn p4_cancelling_is_a_request() {
    let mut ring = ring();
    let (reader, _writer) = std::io::pipe().unwrap();
    push(
        &mut ring,
        token(0, 1),
        op::read(on(borrowed(&reader)), VecBuf::with_capacity(8)),
    );
    assert!(poll(&mut ring).is_none());
    ring.cancel(token(0, 9)).unwrap(); // a stale one changes nothing
    assert!(poll(&mut ring).is_none());
    ring.cancel(token(0, 1)).unwrap();
    let report = next_of(&mut ring, token(0, 1));
    assert_eq!(errno(&report), Errno::ECANCELED.raw());
    buffer(report);
    ring.cancel(token(0, 1)).unwrap(); // settled: nothing happens
    assert!(poll(&mut ring).is_none());
}

#[test]
fn w1_a_wakeup_ends_the_wait_again_and_again() {
    static WAKEUP: linux_event_core::wakeup::Wakeup = linux_event_core::wakeup::Wakeup::new();
    let mut ring = ring();
    WAKEUP.wake();
    ring.attach(&WAKEUP).unwrap();
    for round in 0..20 {
        let waker = (round > 0).then(|| std::thread::spawn(|| WAKEUP.wake()));
        // A wait may end with nothing, and is repeated then.
        let report = loop {
            ring.wait(None, None).unwrap();
            match ring.pop() {
                Some(Popped::Ready(report)) => break report,
                None => {}
                other => panic!("{other:?} in round {round}"),
            }
        };
        if let Some(waker) = waker {
            waker.join().unwrap();
        }
        assert_eq!(
            report.token,
            linux_event_core::reactor::backend::WAKEUP.raw()
        );
        assert_eq!(ring.take_wakes(), 1);
        assert!(ring.pop().is_none());
    }
}

fn dup(fd: BorrowedFd<'_>) -> linux_event_core::sys::Fd {
    use linux_event_core::sys::AsRawFd;
    // SAFETY: a fresh descriptor.
    unsafe {
        let number = libc::dup(fd.as_raw_fd());
        assert!(number >= 0);
        linux_event_core::sys::Fd::from_raw(Linux, number)
    }
}

fn tempfile() -> std::fs::File {
    use std::os::fd::FromRawFd;
    // SAFETY: a fresh descriptor.
    unsafe {
        let number = libc::memfd_create(c"uring".as_ptr(), libc::MFD_CLOEXEC);
        assert!(number >= 0);
        std::fs::File::from_raw_fd(number)
    }
}
