//! Listening, connecting, datagrams.

use super::*;

fn here(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn made(completion: Completion<u32, Fake>) -> crate::fake::FakeOwned {
    completion.into_descriptor().expect("a descriptor")
}

#[test]
fn p1_a_server_and_its_client_out_of_operations() {
    let mut proactor = proactor();
    submit(&mut proactor, op::socket(Domain::V4, SocketKind::Stream), 1);
    let listener = made(one(&mut proactor));
    let listener = proactor.adopt(listener).unwrap();
    submit(&mut proactor, op::bind(listener, here(80)), 2);
    submit(&mut proactor, op::listen(listener, 8), 3);
    assert_eq!(turn(&mut proactor), [(2, 0, false), (3, 0, false)]);
    let accept = submit(&mut proactor, op::accept(listener), 4);
    submit(&mut proactor, op::socket(Domain::V4, SocketKind::Stream), 5);
    let client = made(one(&mut proactor));
    let client = proactor.adopt(client).unwrap();
    submit(&mut proactor, op::connect(client, here(80)), 6);
    let mut all = completions(&mut proactor, None);
    let results: Vec<_> = all
        .iter()
        .map(|one| (one.data, one.outcome().is_ok()))
        .collect();
    assert_eq!(results, [(6, true), (4, true)]);
    let server = made(all.remove(1));
    let peer = proactor.address(accept).expect("an address");
    assert_eq!(peer, here(32_768), "the first free port");
    let fake = proactor.backend();
    assert_eq!(fake.peer_address(&server), Ok(Some(peer)));
    assert_eq!(fake.local_address(&server), Ok(Some(here(80))));
    let server = proactor.adopt(server).unwrap();
    submit(&mut proactor, op::send(client, Buffer::from("ping")), 7);
    submit(&mut proactor, op::recv(server, room(8)), 8);
    assert_eq!(turn(&mut proactor), [(7, 4, false), (8, 4, false)]);
    assert!(
        proactor.address(accept).is_none(),
        "its slot was used again"
    );
    submit(&mut proactor, op::shutdown(client, How::Write), 9);
    submit(&mut proactor, op::recv(server, room(8)), 10);
    assert_eq!(turn(&mut proactor), [(9, 0, false), (10, 0, false)]);
    submit(&mut proactor, op::send(server, Buffer::from("bye")), 11);
    submit(&mut proactor, op::recv(client, room(8)), 12);
    assert_eq!(turn(&mut proactor), [(11, 3, false), (12, 3, false)]);
    for file in [client, server, listener] {
        proactor.close(file, 13).unwrap();
    }
    assert_eq!(turn(&mut proactor), [(13, 0, false); 3]);
    assert_balanced(&proactor, 0);
}

#[test]
fn p1_connecting_to_nobody_is_refused() {
    let mut proactor = proactor();
    let fake = proactor.backend_mut();
    let stream = fake.socket(Domain::V4, SocketKind::Stream).unwrap();
    let unix = fake.socket(Domain::Unix, SocketKind::Stream).unwrap();
    let bound = fake.socket(Domain::Unix, SocketKind::Stream).unwrap();
    fake.bind(bound, "/run/x").unwrap();
    let stream = adopt(&mut proactor, stream);
    let unix = adopt(&mut proactor, unix);
    submit(&mut proactor, op::connect(stream, here(81)), 1);
    submit(
        &mut proactor,
        op::connect(stream, "[::1]:81".parse().unwrap()),
        2,
    );
    submit(&mut proactor, op::connect_unix(unix, "/run/y".into()), 3);
    submit(&mut proactor, op::connect_unix(unix, "/run/x".into()), 4);
    submit(&mut proactor, op::recv(stream, room(1)), 5);
    submit(&mut proactor, op::shutdown(stream, How::Both), 6);
    let long = proactor.submit(op::connect_unix(unix, vec![b'x'; 108].into()), 7);
    let refused = long.unwrap_err();
    assert!(matches!(refused.error, Error::Invalid(_)) && refused.buffer.is_some());
    let errnos = [
        Errno::ECONNREFUSED,
        Errno::EAFNOSUPPORT,
        Errno::ENOENT,
        Errno::ECONNREFUSED,
        Errno::ENOTCONN,
        Errno::ENOTCONN,
    ];
    let expected: Vec<Seen> = (1..)
        .zip(errnos)
        .map(|(data, errno)| (data, failed(errno), false))
        .collect();
    assert_eq!(turn(&mut proactor), expected);
    let unix_listener = proactor.backend_mut().listener("\0abstract").unwrap();
    submit(
        &mut proactor,
        op::connect_unix(unix, "\0abstract".into()),
        8,
    );
    assert_eq!(turn(&mut proactor), [(8, 0, false)]);
    submit(
        &mut proactor,
        op::connect_unix(unix, "\0abstract".into()),
        9,
    );
    assert_eq!(turn(&mut proactor), [(9, failed(Errno::EISCONN), false)]);
    let fake = proactor.backend_mut();
    fake.close(unix_listener).unwrap();
    assert_eq!(fake.client("\0abstract"), Err(Errno::ECONNREFUSED));
    assert_eq!(fake.listener("/run/x"), Err(Errno::EADDRINUSE));
    fake.close(bound).unwrap();
    assert_eq!(
        fake.listener("/run/x"),
        Err(Errno::EADDRINUSE),
        "the path stays"
    );
    fake.unlink("/run/x").unwrap();
    fake.listener("/run/x").unwrap();
}

#[test]
fn p1_a_connection_waits_for_room_in_the_backlog() {
    let mut proactor = proactor();
    let fake = proactor.backend_mut();
    let listener = fake.socket(Domain::V4, SocketKind::Stream).unwrap();
    fake.bind(listener, here(80)).unwrap();
    fake.listen(listener, 0).unwrap();
    fake.client(here(80)).unwrap();
    assert_eq!(fake.client(here(80)), Err(Errno::EAGAIN));
    let waiting = fake.socket(Domain::V4, SocketKind::Stream).unwrap();
    let waiting = adopt(&mut proactor, waiting);
    submit(&mut proactor, op::connect(waiting, here(80)), 1);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().accept(listener).unwrap();
    assert_eq!(turn(&mut proactor), [(1, 0, false)]);
    let last = proactor
        .backend_mut()
        .socket(Domain::V4, SocketKind::Stream)
        .unwrap();
    let last = adopt(&mut proactor, last);
    submit(&mut proactor, op::connect(last, here(80)), 2);
    submit(&mut proactor, op::recv(waiting, room(1)), 3);
    assert_eq!(look(&mut proactor), []);
    proactor.backend_mut().close(listener).unwrap();
    let expected = [
        (2, failed(Errno::ECONNREFUSED), false),
        (3, failed(Errno::ECONNRESET), false),
    ];
    let mut seen = turn(&mut proactor);
    seen.sort_unstable();
    assert_eq!(seen, expected, "who was not accepted is reset");
}

#[test]
fn p1_accepts_wait_end_with_the_listener_and_run_out_of_numbers() {
    let mut proactor = proactor();
    let listener = proactor.backend_mut().listener(here(0)).unwrap();
    let address = proactor.backend().local_address(listener).unwrap().unwrap();
    assert_eq!(address.port(), 32_768);
    let file = adopt(&mut proactor, listener);
    submit(&mut proactor, op::accept(file), 1);
    assert_eq!(look(&mut proactor), []);
    let socket = proactor
        .backend_mut()
        .socket(Domain::V4, SocketKind::Stream)
        .unwrap();
    let connect = Action::Connect(socket, Name::from(address));
    proactor.backend_mut().after(MILLI, connect);
    let accepted = made(one(&mut proactor));
    assert_eq!(accepted.as_raw_fd(), 5);
    proactor.backend_mut().set_descriptor_limit(6);
    submit(&mut proactor, op::accept(file), 2);
    proactor.backend_mut().dup(listener).unwrap_err();
    let socket = proactor
        .backend_mut()
        .socket(Domain::V4, SocketKind::Stream);
    assert_eq!(socket, Err(Errno::EMFILE));
    drop(accepted);
    let socket = proactor.backend_mut().client(address).unwrap();
    assert_eq!(turn(&mut proactor), [(2, failed(Errno::EMFILE), false)]);
    proactor.backend_mut().set_descriptor_limit(99);
    submit(&mut proactor, op::accept(file), 3);
    assert!(
        made(one(&mut proactor)).as_raw_fd() > socket.as_raw_fd(),
        "it was not lost"
    );
    submit(&mut proactor, op::accept(file), 4);
    assert_eq!(look(&mut proactor), []);
    proactor
        .backend_mut()
        .shutdown(listener, How::Both)
        .unwrap();
    assert_eq!(turn(&mut proactor), [(4, failed(Errno::EINVAL), false)]);
}

#[test]
fn p5_a_connection_that_nobody_takes_is_closed() {
    let mut proactor = proactor();
    let listener = proactor.backend_mut().listener(here(80)).unwrap();
    let file = adopt(&mut proactor, listener);
    let client = proactor.backend_mut().client(here(80)).unwrap();
    let op = submit(&mut proactor, op::accept(file), 1);
    proactor.detach(op);
    assert_eq!(look(&mut proactor), []);
    assert_eq!(proactor.backend_mut().read(client, &mut [0]), Ok(0));
    assert_eq!(proactor.backend().open_descriptors(), 2);
}

#[test]
fn p1_datagrams_come_whole_with_their_senders() {
    let mut proactor = proactor();
    let fake = proactor.backend_mut();
    let server = fake.socket(Domain::V4, SocketKind::Datagram).unwrap();
    fake.bind(server, here(53)).unwrap();
    let client = fake.socket(Domain::V4, SocketKind::Datagram).unwrap();
    fake.bind(client, here(5353)).unwrap();
    let (server, peer) = (adopt(&mut proactor, server), client);
    let client = adopt(&mut proactor, client);
    let vectors = |text: &str| -> Vectors<Buffer> { [Buffer::from(text)].into_iter().collect() };
    let receive = op::recv_message(server, [room(4)].into_iter().collect());
    let receive = receive.flags(MessageFlags::TRUNCATE);
    let receive = proactor.submit_vectored(receive, 1).unwrap();
    assert_eq!(look(&mut proactor), []);
    let send = op::send_message(client, vectors("0123456789")).to(here(53));
    proactor.submit_vectored(send, 2).unwrap();
    assert_eq!(turn(&mut proactor), [(2, 10, false), (1, 10, false)]);
    assert_eq!(proactor.address(receive), Some(here(5353)));
    let send = op::send_message(client, vectors("x")).to(here(54));
    proactor.submit_vectored(send, 3).unwrap();
    submit(&mut proactor, op::send(client, Buffer::from("y")), 4);
    submit(&mut proactor, op::connect(client, here(54)), 5);
    submit(&mut proactor, op::send(client, Buffer::from("z")), 6);
    submit(&mut proactor, op::recv(client, room(1)), 7);
    submit(&mut proactor, op::send(client, vec![0; 70_000].into()), 8);
    let expected = [
        (3, 1, false),
        (4, failed(Errno::EDESTADDRREQ), false),
        (5, 0, false),
        (6, 1, false),
        (7, failed(Errno::ECONNREFUSED), false),
        (8, failed(Errno::EMSGSIZE), false),
    ];
    assert_eq!(turn(&mut proactor), expected);
    let fake = proactor.backend_mut();
    fake.send_to(peer, b"direct", here(53)).unwrap();
    let number = FakeFd::new(3);
    let (bytes, from) = fake.receive_from(number).unwrap();
    assert_eq!((&bytes[..], from), (&b"direct"[..], Some(here(5353))));
    assert_eq!(fake.receive_from(number), Err(Errno::EAGAIN));
}
