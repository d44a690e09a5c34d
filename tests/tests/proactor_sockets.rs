//! P-1, P-5, P-11: what operations do on sockets. Multishot receives are in `proactor_registered.rs`.

use std::net::SocketAddr;

use linux_event::core::errno::Errno;
use linux_event::core::sys::{Domain, SocketKind};
use linux_event::{How, MessageFlags, op};
use linux_event_tests::proactor::{
    Heard, LoopOf, Outside, World, adopt, client, connection, file, finish, hear, listener, pair,
    pair_within, perform, perform_if_there_is, perform_vectored, results, room, run, sorted, take,
    there_is, turn, turn_until, vectors,
};
use linux_event_tests::proactor_conformance;

/// A datagram socket, adopted, and where it is.
fn datagram<W: World>(event_loop: &mut LoopOf<W>) -> (linux_event::File, SocketAddr) {
    let (socket, address) = W::outside(event_loop).datagram();
    (adopt::<W, _>(event_loop, socket), address)
}

proactor_conformance! {
    fn p1_what_is_sent_is_received<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let done = perform::<W, _>(&mut event_loop, op::send(one, "ping".into()));
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(4), Some("ping".into())));
        assert_eq!(W::outside(&mut event_loop).drain(end), b"ping");
        W::outside(&mut event_loop).put(end, b"pong!");
        let done = perform::<W, _>(&mut event_loop, op::recv(one, room(64)));
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(5), Some("pong!".into())));
        finish::<W, _>(event_loop);
    }

    fn p1_a_receive_waits_and_finds_the_end<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(64), hear::<W>("recv")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        W::outside(&mut event_loop).put(end, b"late");
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "recv").into_buffer(), Some("late".into()));
        W::outside(&mut event_loop).shutdown_write(end);
        let done = perform::<W, _>(&mut event_loop, op::recv(one, room(64)));
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(0), Some("".into())));
        assert_eq!(perform::<W, _>(&mut event_loop, op::send(one, "x".into())).outcome(), Ok(1), "half is open");
        finish::<W, _>(event_loop);
    }

    /// t/63 and t/66 of the reference.
    fn p1_two_receives_get_what_came_in_order<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"before");
        event_loop.recv(one, room(3), hear::<W>("first")).unwrap();
        event_loop.recv(one, room(3), hear::<W>("second")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "first").into_buffer(), Some("bef".into()));
        assert_eq!(take::<W>(&mut event_loop, "second").into_buffer(), Some("ore".into()));
        finish::<W, _>(event_loop);
    }

    fn p1_a_reset_is_an_error_with_the_buffer<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        assert_eq!(perform::<W, _>(&mut event_loop, op::send(one, "unread".into())).outcome(), Ok(6));
        event_loop.recv(one, room(4), hear::<W>("recv")).unwrap();
        turn::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(end);
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "recv");
        assert_eq!(done.outcome(), Err(Errno::ECONNRESET));
        assert!(done.into_buffer().is_some());
        finish::<W, _>(event_loop);
    }

    fn p1_a_send_to_nobody_fails_and_raises_nothing<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).close(end);
        let done = perform::<W, _>(&mut event_loop, op::send(one, "lost".into()));
        assert_eq!((done.outcome(), done.into_buffer()), (Err(Errno::EPIPE), Some("lost".into())));
        finish::<W, _>(event_loop);
    }

    fn p1_a_send_takes_what_there_is_room_for<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let big = vec![b'.'; 16 << 20];
        event_loop.send(one, big, hear::<W>("part")).unwrap();
        turn_until::<W, _>(&mut event_loop, |l| {
            W::outside(l).drain(end);
            !l.state.is_empty()
        });
        let done = take::<W>(&mut event_loop, "part");
        assert!((1..=16 << 20).contains(&done.outcome().unwrap()), "{done:?}");
        assert_eq!(done.into_buffer().unwrap().len(), 16 << 20, "it comes back as it went");
        finish::<W, _>(event_loop);
    }

    fn p1_flags_of_receive_are_kept<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let request = op::recv(one, room(8)).flags(MessageFlags::DONT_WAIT);
        let done = perform::<W, _>(&mut event_loop, request);
        assert_eq!(done.outcome(), Err(Errno::EAGAIN));
        W::outside(&mut event_loop).put(end, b"peek");
        let request = op::recv(one, room(8)).flags(MessageFlags::PEEK);
        assert_eq!(perform::<W, _>(&mut event_loop, request).into_buffer(), Some("peek".into()));

        let all = op::recv(one, room(8)).flags(MessageFlags::WAIT_ALL).limit(8);
        event_loop.submit(all, hear::<W>("all")).unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert!(event_loop.state.is_empty(), "half of it is not all: {:?}", event_loop.state);
        W::outside(&mut event_loop).put(end, b"-abc-");
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "all").into_buffer(), Some("peek-abc".into()));
        let done = perform::<W, _>(&mut event_loop, op::recv(one, room(8)));
        assert_eq!(done.into_buffer(), Some("-".into()));
        finish::<W, _>(event_loop);
    }

    /// There, a later version turned sends into writes: flags were lost, and SIGPIPE struck.
    fn p1_flags_of_send_are_kept<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let filled = perform::<W, _>(&mut event_loop, {
            op::send(one, vec![b'.'; 16 << 20].into()).flags(MessageFlags::DONT_WAIT)
        });
        assert!(filled.outcome().unwrap() > 0, "what there was room for");
        let done = perform::<W, _>(&mut event_loop, op::send(one, "x".into()).flags(MessageFlags::DONT_WAIT));
        assert_eq!(done.outcome(), Err(Errno::EAGAIN));
        W::outside(&mut event_loop).close(end);
        let done = perform::<W, _>(&mut event_loop, op::send(one, "x".into()).flags(MessageFlags::MORE));
        assert!(matches!(done.outcome(), Err(Errno::EPIPE | Errno::ECONNRESET)), "{done:?}");
        finish::<W, _>(event_loop);
    }

    fn p1_a_send_that_waits_for_all_sends_all<W>() {
        let mut event_loop = W::looping((Vec::new(), None));
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        let bytes: Vec<u8> = (0..1_u32 << 20).map(|number| number as u8).collect();
        let request = op::send(one, bytes.clone().into()).flags(MessageFlags::WAIT_ALL);
        event_loop.submit(request, |l: &mut LoopOf<W, (Vec<u8>, Option<_>)>, done| l.state.1 = Some(done.outcome())).unwrap();
        event_loop.recv(other, room(4096), move |l: &mut LoopOf<W, (Vec<u8>, Option<_>)>, done| {
            let buffer = done.into_buffer().unwrap();
            l.state.0.extend_from_slice(&buffer);
            if l.state.0.len() < 1 << 20 {
                l.again(op::recv(other, buffer)).unwrap();
            }
        }).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.1, Some(Ok(1 << 20)));
        assert!(event_loop.state.0 == bytes, "in order");
        finish::<W, _>(event_loop);
    }

    fn p1_messages_have_several_buffers_and_addresses<W>() {
        let mut event_loop = W::looping(());
        let (one, from) = datagram::<W>(&mut event_loop);
        let (other, to) = datagram::<W>(&mut event_loop);
        let parts = vectors(["da".into(), "".into(), "tagram".into()]);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::send_message(one, parts).to(to));
        assert_eq!((outcome, &buffers[..]), (Ok(8), &["da".into(), "".into(), "tagram".into()][..]));

        let heard = std::rc::Rc::new(std::cell::Cell::new(None));
        let told = std::rc::Rc::clone(&heard);
        let parts = vectors([room(3), room(64)]);
        event_loop.submit_vectored(op::recv_message(other, parts), move |l, done| {
            assert_eq!(done.outcome(), Ok(8));
            told.set(l.address(done.op));
            assert_eq!(l.take_vectors(), ["dat".into(), "agram".into()]);
            assert!(l.take_vectors().is_empty(), "once");
        }).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(heard.get(), Some(from));
        finish::<W, _>(event_loop);
    }

    fn p1_a_message_that_is_cut_says_how_long_it_was_if_asked<W>() {
        let mut event_loop = W::looping(());
        let (one, to) = datagram::<W>(&mut event_loop);
        for flags in [MessageFlags::empty(), MessageFlags::TRUNCATE] {
            let parts = vectors(["0123456789".into()]);
            let (sent, _) = perform_vectored::<W, _>(&mut event_loop, op::send_message(one, parts).to(to));
            assert_eq!(sent, Ok(10));
            let done = perform::<W, _>(&mut event_loop, op::recv(one, room(4)).flags(flags).limit(4));
            let expected = if flags.is_empty() { 4 } else { 10 };
            assert_eq!((done.outcome(), done.into_buffer()), (Ok(expected), Some("0123".into())), "{flags:?}");
        }
        let parts = vectors(["next".into()]);
        perform_vectored::<W, _>(&mut event_loop, op::send_message(one, parts).to(to)).0.unwrap();
        let done = perform::<W, _>(&mut event_loop, op::recv(one, room(64)));
        assert_eq!(done.into_buffer(), Some("next".into()), "what was cut off is gone");
        finish::<W, _>(event_loop);
    }

    fn p1_messages_on_a_stream_come_in_order<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let parts = vectors(["a".into(), "bc".into()]);
        let (outcome, _) = perform_vectored::<W, _>(&mut event_loop, op::send_message(one, parts));
        assert_eq!(outcome, Ok(3));
        assert_eq!(W::outside(&mut event_loop).drain(end), b"abc");
        W::outside(&mut event_loop).put(end, b"xyz");
        let parts = vectors([room(1), room(64)]);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::recv_message(one, parts));
        assert_eq!((outcome, &buffers[..]), (Ok(3), &["x".into(), "yz".into()][..]));
        W::outside(&mut event_loop).shutdown_write(end);
        let parts = vectors([room(1), room(64)]);
        let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, op::recv_message(one, parts));
        assert_eq!((outcome, &buffers[..]), (Ok(0), &["".into(), "".into()][..]));
        finish::<W, _>(event_loop);
    }

    fn p11_accept_gives_an_owned_descriptor_and_the_peers_address<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        event_loop.accept(listener, hear::<W>("accept")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        let end = client::<W, _>(&mut event_loop, address);
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "accept");
        assert!(done.outcome().is_ok() && !done.more);
        let peer = W::outside(&mut event_loop).address(end);
        assert_eq!(event_loop.address(done.op), Some(peer));
        let served = adopt::<W, _>(&mut event_loop, done.into_descriptor().unwrap());
        assert_eq!(perform::<W, _>(&mut event_loop, op::send(served, "hello".into())).outcome(), Ok(5));
        assert_eq!(W::outside(&mut event_loop).drain(end), b"hello");
        let closed = perform::<W, _>(&mut event_loop, op::close(served));
        assert_eq!(closed.outcome(), Ok(0));
        assert!(W::outside(&mut event_loop).is_at_end(end));
        finish::<W, _>(event_loop);
    }

    fn p11_a_connection_that_nobody_takes_is_closed_with_its_completion<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let end = client::<W, _>(&mut event_loop, address);
        event_loop.accept(listener, |_, done| assert!(done.outcome().is_ok())).unwrap();
        run::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert!(W::outside(&mut event_loop).is_at_end(end));
        finish::<W, _>(event_loop);
    }

    /// t/59 and t/61 of the reference: two that wait for one listener, and a connection that came in between.
    fn p1_accepts_on_one_listener_are_served_in_order<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        event_loop.accept(listener, hear::<W>("first")).unwrap();
        event_loop.accept(listener, hear::<W>("second")).unwrap();
        turn::<W, _>(&mut event_loop);
        let one = client::<W, _>(&mut event_loop, address);
        turn_until::<W, _>(&mut event_loop, |l| l.state.len() == 1);
        let other = client::<W, _>(&mut event_loop, address);
        let between = client::<W, _>(&mut event_loop, address);
        run::<W, _>(&mut event_loop);
        let mut peers = Vec::new();
        // Who of those that wait for one listener is served first is not the same in older kernels: each, and once.
        for _ in 0..2 {
            let (_, done) = event_loop.state.remove(0);
            peers.push(event_loop.address(done.op).unwrap());
        }
        let done = perform::<W, _>(&mut event_loop, op::accept(listener));
        peers.push(event_loop.address(done.op).unwrap());
        drop(done);
        let expected = [one, other, between].map(|end| W::outside(&mut event_loop).address(end));
        assert_eq!(peers, expected);
        finish::<W, _>(event_loop);
    }

    fn p1_connect_and_accept_meet<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let Some(made) = perform_if_there_is::<W, _>(&mut event_loop, op::socket(Domain::V4, SocketKind::Stream))
            else { return };
        let client = adopt::<W, _>(&mut event_loop, made.into_descriptor().unwrap());
        event_loop.accept(listener, hear::<W>("accept")).unwrap();
        event_loop.connect(client, address, hear::<W>("connect")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "connect").outcome(), Ok(0));
        let served = take::<W>(&mut event_loop, "accept").into_descriptor().unwrap();
        let served = adopt::<W, _>(&mut event_loop, served);
        event_loop.send(client, "hello", hear::<W>("send")).unwrap();
        event_loop.recv(served, room(64), hear::<W>("recv")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "recv").into_buffer(), Some("hello".into()));
        finish::<W, _>(event_loop);
    }

    fn p1_connecting_where_nobody_listens_is_refused<W>() {
        let mut event_loop = W::looping(());
        let (bound, address) = W::outside(&mut event_loop).bound();
        let Some(made) = perform_if_there_is::<W, _>(&mut event_loop, op::socket(Domain::V4, SocketKind::Stream))
            else { return };
        let client = adopt::<W, _>(&mut event_loop, made.into_descriptor().unwrap());
        let done = perform::<W, _>(&mut event_loop, op::connect(client, address));
        assert_eq!(done.outcome(), Err(Errno::ECONNREFUSED));
        drop(bound);
        finish::<W, _>(event_loop);
    }

    fn p1_a_server_and_its_client_by_operations_alone<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let stream = |l: &mut _| perform_if_there_is::<W, _>(l, op::socket(Domain::V4, SocketKind::Stream));
        let Some(made) = stream(&mut event_loop) else { return };
        let server = adopt::<W, _>(&mut event_loop, made.into_descriptor().unwrap());
        let made = stream(&mut event_loop).unwrap();
        let client = adopt::<W, _>(&mut event_loop, made.into_descriptor().unwrap());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let Some(bound) = perform_if_there_is::<W, _>(&mut event_loop, op::bind(server, any)) else { return };
        assert_eq!(bound.outcome(), Ok(0));
        let listening = perform_if_there_is::<W, _>(&mut event_loop, op::listen(server, 16)).unwrap();
        assert_eq!(listening.outcome(), Ok(0));
        let again = perform::<W, _>(&mut event_loop, op::bind(server, any));
        assert_eq!(again.outcome(), Err(Errno::EINVAL), "it is bound");

        let fd = event_loop.release_fd(server).unwrap();
        let server = W::outside(&mut event_loop).keep(fd);
        let address = W::outside(&mut event_loop).address(server);
        assert_ne!(address.port(), 0);
        let done = perform::<W, _>(&mut event_loop, op::connect(client, address));
        assert_eq!(done.outcome(), Ok(0));
        finish::<W, _>(event_loop);
    }

    fn p1_messages_go_to_unix_names_and_tell_whose_they_are<W>() {
        let mut event_loop = W::looping(());
        let socket = |l: &mut _| perform_if_there_is::<W, _>(l, op::socket(Domain::Unix, SocketKind::Datagram));
        let name = |whose| format!("\0linux-event-{whose}-{}", std::process::id());
        let mut sockets = Vec::new();
        for whose in ["one", "other", "unnamed"] {
            let Some(made) = socket(&mut event_loop) else { return };
            let socket = adopt::<W, _>(&mut event_loop, made.into_descriptor().unwrap());
            if whose != "unnamed" {
                let bound = perform_if_there_is::<W, _>(&mut event_loop, op::bind_unix(socket, name(whose).into()));
                let Some(bound) = bound else { return };
                assert_eq!(bound.outcome(), Ok(0));
            }
            sockets.push(socket);
        }
        let (one, other, unnamed) = (sockets[0], sockets[1], sockets[2]);
        for (sender, from) in [(other, name("other")), (unnamed, String::new())] {
            let parts = vectors(["mess".into(), "age".into(), name("one").into()]);
            let send = op::send_message(sender, parts).to_path();
            let (outcome, buffers) = perform_vectored::<W, _>(&mut event_loop, send);
            assert_eq!((outcome, &buffers[2]), (Ok(7), &name("one").into()), "the path comes back, and is not sent");
            let heard = std::rc::Rc::new(std::cell::RefCell::new(None));
            let told = std::rc::Rc::clone(&heard);
            event_loop.submit_vectored(op::recv_message(one, vectors([room(64)])), move |l, done| {
                assert_eq!(done.outcome(), Ok(7));
                assert_eq!(l.address(done.op), None, "that is no internet address");
                *told.borrow_mut() = l.peer(done.op);
                assert_eq!(l.take_vectors(), ["message".into()]);
            }).unwrap();
            run::<W, _>(&mut event_loop);
            let peer = heard.take().expect("it was asked for");
            assert_eq!(peer, std::path::Path::new(&from).into());
        }
        let nobody = op::send_message(other, vectors(["x".into(), name("nobody").into()])).to_path();
        assert_eq!(perform_vectored::<W, _>(&mut event_loop, nobody).0, Err(Errno::ECONNREFUSED));
        for path in [String::new(), "x".repeat(108)] {
            let send = op::send_message(other, vectors(["x".into(), path.into()])).to_path();
            let refused = event_loop.submit_vectored(send, |_, _| ()).unwrap_err();
            assert!(matches!(refused.error, linux_event::LoopError::Invalid(_)), "{:?}", refused.error);
            assert_eq!(refused.buffers.len(), 2, "what was refused comes back");
        }
        finish::<W, _>(event_loop);
    }

    fn p1_unix_sockets_have_paths<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let stream = |l: &mut _| perform_if_there_is::<W, _>(l, op::socket(Domain::Unix, SocketKind::Stream));
        let Some(made) = stream(&mut event_loop) else { return };
        let server = adopt::<W, _>(&mut event_loop, made.into_descriptor().unwrap());
        let made = stream(&mut event_loop).unwrap();
        let client = adopt::<W, _>(&mut event_loop, made.into_descriptor().unwrap());
        // Abstract: it ends with its socket. The process id keeps processes apart.
        let name = format!("\0linux-event-{}", std::process::id());
        let Some(bound) = perform_if_there_is::<W, _>(&mut event_loop, op::bind_unix(server, name.clone().into()))
            else { return };
        assert_eq!((bound.outcome(), bound.into_buffer()), (Ok(0), Some(name.clone().into())));
        let done = perform::<W, _>(&mut event_loop, op::connect_unix(client, name.clone().into()));
        assert_eq!(done.outcome(), Err(Errno::ECONNREFUSED), "it does not listen");
        assert_eq!(perform::<W, _>(&mut event_loop, op::listen(server, 16)).outcome(), Ok(0));
        let done = perform::<W, _>(&mut event_loop, op::connect_unix(client, name.clone().into()));
        assert_eq!((done.outcome(), done.into_buffer()), (Ok(0), Some(name.into())));
        let accepted = perform::<W, _>(&mut event_loop, op::accept(server));
        assert_eq!(event_loop.address(accepted.op), None, "there is no such address");
        assert!(accepted.into_descriptor().is_some());
        finish::<W, _>(event_loop);
    }

    /// t/55 and t/56 of the reference.
    fn p1_each_half_of_a_connection_is_shut_down_alone<W>() {
        for how in [How::Read, How::Write, How::Both] {
            let mut event_loop = W::looping(Heard::<W>::new());
            let (one, end) = pair::<W, _>(&mut event_loop);
            event_loop.recv(one, room(4), hear::<W>("recv")).unwrap();
            turn::<W, _>(&mut event_loop);
            let done = perform::<W, _>(&mut event_loop, op::shutdown(one, how));
            assert_eq!(done.outcome(), Ok(0), "{how:?}");
            if how == How::Write {
                assert!(event_loop.state.is_empty());
                W::outside(&mut event_loop).put(end, b"x");
            }
            run::<W, _>(&mut event_loop);
            let came = u32::from(how == How::Write);
            assert_eq!(results::<W>(&mut event_loop), [("recv", Ok(came))], "{how:?}");
            let sent = perform::<W, _>(&mut event_loop, op::send(one, "y".into())).outcome();
            match how {
                How::Read => assert_eq!(sent, Ok(1)),
                How::Write | How::Both => {
                    assert_eq!(sent, Err(Errno::EPIPE));
                    assert!(W::outside(&mut event_loop).is_at_end(end), "{how:?}");
                }
            }
            finish::<W, _>(event_loop);
        }
    }

    fn p1_what_is_not_connected_is_not_shut_down<W>() {
        let mut event_loop = W::looping(());
        let (bound, _) = W::outside(&mut event_loop).bound();
        let bound = adopt::<W, _>(&mut event_loop, bound);
        let done = perform::<W, _>(&mut event_loop, op::shutdown(bound, How::Both));
        assert_eq!(done.outcome(), Err(Errno::ENOTCONN));
        let file = file::<W, _>(&mut event_loop, "file", b"");
        let done = perform::<W, _>(&mut event_loop, op::shutdown(file, How::Both));
        assert_eq!(done.outcome(), Err(Errno::ENOTSOCK));
        finish::<W, _>(event_loop);
    }

    fn p1_multishot_accept_gives_one_connection_after_the_other<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let before = client::<W, _>(&mut event_loop, address);
        let accepting = event_loop.accept_multi(listener, hear::<W>("accept"));
        let Some(accepting) = there_is(accepting) else { return };
        turn_until::<W, _>(&mut event_loop, |l| l.state.len() == 1);
        let mut ends = vec![before];
        for count in 2..=4 {
            ends.push(client::<W, _>(&mut event_loop, address));
            turn_until::<W, _>(&mut event_loop, |l| l.state.len() == count);
        }
        assert_eq!(event_loop.live_op_count(), 1, "one operation");
        let mut served = Vec::new();
        for (_, done) in std::mem::take(&mut event_loop.state) {
            assert!(done.more && done.op == accepting && done.outcome().is_ok());
            served.push(adopt::<W, _>(&mut event_loop, done.into_descriptor().unwrap()));
        }
        for (number, &served) in served.iter().enumerate() {
            let text = format!("you are {number}");
            perform::<W, _>(&mut event_loop, op::send(served, text.clone().into())).outcome().unwrap();
            assert_eq!(W::outside(&mut event_loop).drain(ends[number]), text.as_bytes(), "in order");
        }
        assert!(event_loop.cancel(accepting));
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "accept");
        assert!(done.is_cancelled() && !done.more);
        assert!(event_loop.state.is_empty(), "P-3: settled once");
        finish::<W, _>(event_loop);
    }

    fn p1_a_zero_copy_send_completes_twice_and_brings_its_buffer_last<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = connection::<W, _>(&mut event_loop);
        let sending = event_loop.send_zero_copy(one, vec![b'z'; 20_000], hear::<W>("send"));
        if there_is(sending).is_none() {
            return;
        }
        turn_until::<W, _>(&mut event_loop, |l| {
            W::outside(l).drain(end);
            l.live_op_count() == 0
        });
        let first = take::<W>(&mut event_loop, "send");
        let sent = first.outcome().unwrap();
        assert!(sent > 0 && first.more, "{first:?}");
        assert!(first.into_buffer().is_none(), "the kernel has it");
        let last = take::<W>(&mut event_loop, "send");
        assert!(!last.more && last.outcome().is_ok(), "{last:?}");
        assert_eq!(last.into_buffer().unwrap().len(), 20_000);
        assert!(event_loop.state.is_empty());
        finish::<W, _>(event_loop);
    }

    fn p1_a_zero_copy_send_that_fails_brings_its_buffer_too<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, _) = connection::<W, _>(&mut event_loop);
        perform::<W, _>(&mut event_loop, op::shutdown(one, How::Write)).outcome().unwrap();
        let sending = event_loop.send_zero_copy(one, "lost", hear::<W>("send"));
        if there_is(sending).is_none() {
            return;
        }
        run::<W, _>(&mut event_loop);
        let done: Vec<_> = std::mem::take(&mut event_loop.state);
        assert_eq!(done[0].1.outcome(), Err(Errno::EPIPE));
        let buffers = done.into_iter().filter_map(|(_, done)| done.into_buffer());
        assert_eq!(buffers.collect::<Vec<_>>(), ["lost".into()]);
        finish::<W, _>(event_loop);
    }

    fn p1_operations_on_both_ends_of_a_pair<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        event_loop.recv(other, room(64), hear::<W>("recv")).unwrap();
        event_loop.send(one, "within one turn", hear::<W>("send")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(sorted::<W>(&mut event_loop), [("recv", Ok(15)), ("send", Ok(15))]);
        finish::<W, _>(event_loop);
    }
}

/// What only a kernel shows.
mod on_the_kernel {
    use linux_event::core::sys::{AsRawFd, Domain, SocketKind};
    use linux_event::{Target, op};
    use linux_event_tests::both::World as _;
    use linux_event_tests::proactor::{
        OnRing, client, finish, listener, path_buffer, perform, perform_if_there_is,
    };

    /// The flags of an open descriptor, as the kernel shows them.
    fn flags_of(fd: &impl AsRawFd) -> u32 {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let info = std::fs::read_to_string(path).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        u32::from_str_radix(flags.unwrap().trim(), 8).unwrap()
    }

    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    const NON_BLOCKING: u32 = 0o4_000;

    #[test]
    fn p11_every_descriptor_that_is_made_is_close_on_exec() {
        OnRing::run(
            "on_the_kernel::p11_every_descriptor_that_is_made_is_close_on_exec",
            || {
                let mut event_loop = OnRing::looping(());
                let (listener, address) = listener::<OnRing, _>(&mut event_loop);
                let mut made = Vec::new();
                let accepts = [op::accept(listener), op::accept(listener).non_blocking()];
                for (request, is_blocking) in accepts.into_iter().zip([true, false]) {
                    client::<OnRing, _>(&mut event_loop, address);
                    let done = perform::<OnRing, _>(&mut event_loop, request);
                    made.push((done.into_descriptor().unwrap(), is_blocking));
                }
                let path = path_buffer("/proc/self/exe".as_ref());
                let request = op::open(Target::CURRENT_DIRECTORY, path);
                let done = perform::<OnRing, _>(&mut event_loop, request);
                made.push((done.into_descriptor().unwrap(), true));
                let socket = || op::socket(Domain::V4, SocketKind::Stream);
                let sockets = [socket(), socket().non_blocking()];
                for (request, is_blocking) in sockets.into_iter().zip([true, false]) {
                    if let Some(done) = perform_if_there_is::<OnRing, _>(&mut event_loop, request) {
                        made.push((done.into_descriptor().unwrap(), is_blocking));
                    }
                }
                for (fd, is_blocking) in &made {
                    let flags = flags_of(fd);
                    assert_ne!(flags & CLOSE_ON_EXEC, 0, "{fd:?}");
                    assert_eq!(flags & NON_BLOCKING == 0, *is_blocking, "{fd:?}");
                }
                finish::<OnRing, _>(event_loop);
            },
        );
    }
}
