//! L-1 on the kernels only: sockets of `std`'s that a listener goes on with, families and addresses, and options that count before
//! a bind. The names `listen_08` and `defect_l1` to `l4` are the reference's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use linux_event::Domain;
use linux_event::core::sys::{Linux, SocketKind, Sockets};
use linux_event::net::{Address, Listener, Socket, Stream, socket_calls};
use linux_event_tests::both::LoopOf;
use linux_event_tests::net::KernelWorld;
use linux_event_tests::{LONG, on_kernels};

/// The peers of whom was accepted.
type Peers = Vec<Address>;

#[allow(clippy::needless_pass_by_value, reason = "it is what a listener calls")]
fn note<M: KernelWorld>(event_loop: &mut LoopOf<M, Peers>, _: Listener, socket: Socket<M::Model>) {
    let peer = socket.peer(event_loop).expect("it is connected");
    event_loop.state.push(peer);
}

fn until<M: KernelWorld>(event_loop: &mut LoopOf<M, Peers>, count: usize) {
    while event_loop.state.len() < count {
        event_loop.run_once(Some(LONG)).expect("a turn");
    }
}

on_kernels! {
    fn listen_08_an_adopted_unix_socket_has_its_family_and_keeps_its_path<M>() {
        let name = format!("linux-event-adopted-{}-{:?}.sock", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        let listening = UnixListener::bind(&path).expect("a path");
        let mut event_loop = M::looping(Peers::new());
        let ours = M::Ours::from(OwnedFd::from(listening));
        let listener = Listener::adopt(&mut event_loop, ours).start(note::<M>).expect("it listens");
        // Defect L4: the family is known of a socket that was wrapped too.
        let address = listener.local_address(&mut event_loop).expect("it listens");
        assert_eq!(address.path(), Some(&*path));
        let client = UnixStream::connect(&path).expect("it listens");
        until::<M>(&mut event_loop, 1);
        assert_eq!(event_loop.state[0].path().map(|path| path.as_os_str().len()), Some(0), "it has no name");
        drop(client);
        listener.close(&mut event_loop).expect("it is open");
        event_loop.run().expect("nothing is left");
        assert!(path.exists(), "it was not the listener's to take away");
        std::fs::remove_file(path).expect("removed");
    }

    fn l1_defect_l1_ipv6_alone_is_ipv6_alone<M>() {
        let mut event_loop = M::looping(Peers::new());
        let Ok(alone) = Listener::tcp(&mut event_loop, "[::]:0").v6_only(true).start(note::<M>) else {
            return; // there is no IPv6 here
        };
        let both = Listener::tcp(&mut event_loop, "[::]:0").v6_only(false).start(note::<M>).expect("a port");
        let port = |event_loop: &mut LoopOf<M, Peers>, listener: Listener| {
            let address = listener.local_address(event_loop).expect("it listens");
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.internet().expect("TCP").port()))
        };
        let (at_alone, at_both) = (port(&mut event_loop, alone), port(&mut event_loop, both));
        TcpStream::connect(at_alone).expect_err("IPv4 is not listened for");
        let client = TcpStream::connect(at_both).expect("both are");
        until::<M>(&mut event_loop, 1);
        drop(client);
    }

    fn l4_defect_l3_a_peer_is_what_its_address_says_however_long_that_is<M>() {
        // Sixteen bytes, as many as an address of IPv4: two for the family, fourteen of a name.
        let name = format!("\0{:013}", std::process::id() * 2 + u32::from(std::any::type_name::<M>().contains("OnRing")));
        let path = format!("\0linux-event-l3-{name:?}");
        let mut event_loop = M::looping(Peers::new());
        Listener::unix(&mut event_loop, &path).start(note::<M>).expect("a name");
        let client = Linux.socket(Domain::Unix, SocketKind::Stream).expect("a socket");
        Linux.bind_unix(client.borrow(), name.as_bytes()).expect("a name");
        Linux.connect_unix(client.borrow(), path.as_bytes()).expect("it listens");
        until::<M>(&mut event_loop, 1);
        let peer = event_loop.state[0].path().map(|path| path.as_os_str().as_encoded_bytes().to_vec());
        assert_eq!(peer.as_deref(), Some(name.as_bytes()));
    }

    fn l1_defect_l2_what_is_accepted_never_blocks_the_loop<M>() {
        let mut event_loop = M::looping(Peers::new());
        let listener = Listener::tcp(&mut event_loop, "127.0.0.1:0")
            .start(|event_loop, _, socket| {
                let peer = socket.peer(event_loop).expect("it is connected");
                event_loop.state.push(peer);
                // It says nothing, and nobody waits for it.
                Stream::over(event_loop, socket)
                    .on_data(|event_loop, stream, bytes| stream.write(event_loop, bytes).map(drop))
                    .start()
                    .map(drop)
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens").internet().expect("TCP");
        let silent = TcpStream::connect(address).expect("it listens");
        until::<M>(&mut event_loop, 1);
        let mut talks = TcpStream::connect(address).expect("it listens");
        until::<M>(&mut event_loop, 2);
        talks.write_all(b"hello").expect("room");
        talks.set_nonblocking(true).expect("a mode");
        let mut bytes = [0; 5];
        while talks.read_exact(&mut bytes).is_err() {
            event_loop.run_once(Some(linux_event_tests::MILLI)).expect("a turn");
        }
        assert_eq!(&bytes, b"hello");
        drop(silent);
    }

    fn g3_calls_that_the_net_layer_makes_itself_are_counted<M>() {
        let mut event_loop = M::looping(Peers::new());
        let before = socket_calls();
        let listener = Listener::tcp(&mut event_loop, "127.0.0.1:0")
            .start(|event_loop, listener, socket| {
                listener.close(event_loop)?;
                Stream::over(event_loop, socket)
                    .on_data(|event_loop, stream, bytes| stream.write(event_loop, bytes).map(drop))
                    .start()
                    .map(drop)
            })
            .expect("a port");
        // socket, setsockopt, bind, listen; what operations use is in blocking mode, which is a call more.
        assert_eq!(socket_calls() - before, 4 + u64::from(M::BY_OPERATIONS));
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let mut client = TcpStream::connect(address.internet().expect("TCP")).expect("it listens");
        client.write_all(b"hello").expect("room");
        client.shutdown(Shutdown::Write).expect("connected");
        let before = socket_calls();
        event_loop.run().expect("nothing is left");
        // The shutdown, and the listener's close; an accept, a send, the close of the connection; two receives, of which the second
        // finds the end.
        let by_hand = if M::BY_OPERATIONS { 2 } else { 5 };
        let received = if M::receives_by_operations(&event_loop) { 0 } else { 2 };
        assert_eq!(socket_calls() - before, by_hand + received);
        let mut back = String::new();
        client.read_to_string(&mut back).expect("no reset");
        assert_eq!(back, "hello");
    }
}
