//! Operations that go on, provided buffers, zero-copy sends.

use super::*;

const CANCELED: i32 = failed(Errno::ECANCELED);

/// The bytes that the leases of a turn hold.
fn texts(all: &[Completion<u32, Fake>]) -> Vec<(i32, bool, Vec<u8>)> {
    let text = |one: &Completion<u32, Fake>| match &one.payload {
        Payload::Lease(lease) => lease.to_vec(),
        _ => Vec::new(),
    };
    all.iter()
        .map(|one| (one.result, one.more, text(one)))
        .collect()
}

#[test]
fn p16_a_multishot_receive_goes_through_the_group_and_ends_without_one() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let group = proactor.provide(2, 4).unwrap();
    submit(&mut proactor, op::recv_multi(socket, group), 1);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().write(peer, b"abcdef").unwrap();
    let all = completions(&mut proactor, None);
    let seen = texts(&all);
    assert_eq!(
        seen,
        [(4, true, b"abcd".to_vec()), (2, true, b"ef".to_vec())]
    );
    assert_eq!(proactor.backend().leases_out(), 2);
    assert_eq!(look(&mut proactor), [], "it waits for data");
    proactor.backend_mut().write(peer, b"ghi").unwrap();
    assert_eq!(turn(&mut proactor), [(1, failed(Errno::ENOBUFS), false)]);
    submit(&mut proactor, op::recv_multi(socket, group), 2);
    assert_eq!(turn(&mut proactor), [(2, failed(Errno::ENOBUFS), false)]);
    drop(all);
    assert_eq!(proactor.backend().leases_out(), 0);
    submit(&mut proactor, op::recv_multi(socket, group).limit(2), 3);
    let all = completions(&mut proactor, None);
    assert_eq!(
        texts(&all),
        [(2, true, b"gh".to_vec()), (1, true, b"i".to_vec())]
    );
    assert_eq!(proactor.withdraw(group), Err(Error::Busy));
    drop(all);
    proactor.backend_mut().shutdown_write(peer).unwrap();
    assert_eq!(turn(&mut proactor), [(3, 0, false)], "the end");
    proactor.withdraw(group).unwrap();
    assert_eq!(proactor.withdraw(group), Err(Error::Stale));
    assert_balanced(&proactor, 2);
}

#[test]
fn p16_a_lease_outlives_its_group_and_its_loop() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let group = proactor.provide(1, 8).unwrap();
    let op = submit(&mut proactor, op::recv_multi(socket, group), 1);
    proactor.backend_mut().write(peer, b"lasting").unwrap();
    let lease = one(&mut proactor).into_lease().unwrap();
    proactor.cancel(op);
    assert_eq!(turn(&mut proactor), [(1, CANCELED, false)]);
    proactor.withdraw(group).unwrap();
    assert_eq!(proactor.backend().leases_out(), 1);
    drop(proactor);
    assert_eq!(&*lease, b"lasting");
}

#[test]
fn p16_groups_are_checked() {
    let mut proactor = proactor();
    assert!(matches!(proactor.provide(3, 8), Err(Error::Invalid(_))));
    assert!(matches!(proactor.provide(0, 8), Err(Error::Invalid(_))));
    assert!(matches!(proactor.provide(8, 0), Err(Error::Invalid(_))));
    let (socket, _peer) = sockets(&mut proactor);
    let none = linux_event_core::proactor::Group::new(3);
    let refused = proactor.submit(op::recv_multi(socket, none), 1);
    assert!(matches!(refused.unwrap_err().error, Error::Invalid(_)));
}

#[test]
fn p5_received_bytes_come_before_a_cancel_and_a_reset() {
    let mut proactor = proactor();
    let (socket, peer) = sockets(&mut proactor);
    let group = proactor.provide(4, 4).unwrap();
    submit(&mut proactor, op::recv_multi(socket, group), 1);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().write(peer, b"abcd").unwrap();
    proactor.backend_mut().reset(peer).unwrap();
    let reset = failed(Errno::ECONNRESET);
    assert_eq!(turn(&mut proactor), [(1, 4, true), (1, reset, false)]);
    assert_balanced(&proactor, 1);
}

#[test]
fn p1_a_multishot_accept_takes_every_connection() {
    let mut proactor = proactor();
    let listener = proactor.backend_mut().listener("/run/server").unwrap();
    let file = adopt(&mut proactor, listener);
    let op = submit(&mut proactor, op::accept_multi(file), 1);
    for _ in 0..2 {
        proactor.backend_mut().client("/run/server").unwrap();
    }
    let mut all = completions(&mut proactor, None);
    assert!(all.iter().all(|one| one.more));
    let second = all.pop().unwrap();
    assert_eq!(second.result, 7);
    assert_eq!(second.into_descriptor().unwrap().as_raw_fd(), 7);
    drop(all); // closes the first
    proactor.backend_mut().client("/run/server").unwrap();
    assert_eq!(turn(&mut proactor), [(1, 7, true)], "the client has 6");
    proactor.cancel(op);
    assert_eq!(turn(&mut proactor), [(1, CANCELED, false)]);
    proactor.backend_mut().client("/run/server").unwrap();
    submit(&mut proactor, op::accept(file), 2);
    assert!(one(&mut proactor).outcome().is_ok(), "nothing took it");
}

#[test]
fn p6_a_zero_copy_send_has_its_buffer_until_it_is_let_go() {
    let mut proactor = proactor();
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let fake = proactor.backend_mut();
    fake.listener(address).unwrap();
    let socket = fake.client(address).unwrap();
    let (peer, _) = fake.accept(FakeFd::new(3)).unwrap();
    let socket = adopt(&mut proactor, socket);
    let send = |text: &str| op::send_zero_copy(socket, Buffer::from(text));
    submit(&mut proactor, send("both"), 1);
    assert_eq!(turn(&mut proactor), [(1, 4, true), (1, 4, false)]);
    proactor.backend_mut().hold_notifications(true);
    let op = submit(&mut proactor, send("held"), 2);
    assert_eq!(turn(&mut proactor), [(2, 4, true)]);
    let fake = proactor.backend_mut();
    assert_eq!((fake.notifications_held(), fake.buffers_out()), (1, 1));
    assert_eq!(fake.pending(), [], "a test can't end it otherwise");
    assert_eq!(fake.fail(op, Errno::EIO), Err(CompleteError::NotPending));
    proactor.cancel(op);
    assert_eq!(look(&mut proactor), [], "nor can a cancel");
    assert_eq!(proactor.backend_mut().let_go(), 1);
    assert_eq!(buffer(&mut proactor), (4, Buffer::from("held")));
    proactor.backend_mut().hold_notifications(false);
    proactor.backend_mut().read(peer, &mut [0; 8]).unwrap();
    proactor.backend_mut().close(peer).unwrap();
    submit(
        &mut proactor,
        op::send(socket, Buffer::from("answered by a reset")),
        3,
    );
    assert_eq!(turn(&mut proactor), [(3, 19, false)]);
    submit(&mut proactor, send("lost"), 3);
    let epipe = failed(Errno::EPIPE);
    assert_eq!(turn(&mut proactor), [(3, epipe, true), (3, epipe, false)]);
    let (unix, _) = sockets(&mut proactor);
    submit(
        &mut proactor,
        op::send_zero_copy(unix, Buffer::from("x")),
        4,
    );
    let none = failed(Errno::EOPNOTSUPP);
    assert_eq!(turn(&mut proactor), [(4, none, true), (4, none, false)]);
    assert_balanced(&proactor, 4);
}
