//! Datagram sockets, in every world: rule D-1, what goes wrong, and what is left behind.
//!
//! Both sides are sockets of one loop: what one sends the other hears, whatever is below.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use linux_event::LoopError;
use linux_event::core::errno::Errno;
use linux_event::net::{Address, Datagram, DatagramBuilder, DatagramError, SendError};
use linux_event_tests::both::{LoopOf, turn};
use linux_event_tests::libc_calls;
use linux_event_tests::net::{NetWorld, finish, settle, until};

const HERE: &str = "127.0.0.1:0";

/// A packet as it was told.
#[derive(Debug, PartialEq)]
struct Told {
    by: Datagram,
    bytes: Vec<u8>,
    from: Address,
    is_cut: bool,
}

/// What callbacks note.
#[derive(Default)]
struct Noted {
    packets: Vec<Told>,
    errors: Vec<(Datagram, DatagramError)>,
    /// Who is paused by the next packet.
    pausing: Vec<Datagram>,
}

type App<W> = LoopOf<W, Noted>;

fn app<W: NetWorld>() -> App<W> {
    W::looping(Noted::default())
}

/// Starts a socket that notes what it is told.
fn note<W: NetWorld>(builder: DatagramBuilder<'_, W::Model, Noted>) -> Datagram {
    try_note::<W>(builder).expect("a socket")
}

fn try_note<W: NetWorld>(
    builder: DatagramBuilder<'_, W::Model, Noted>,
) -> Result<Datagram, linux_event::Error> {
    builder
        .on_error(|event_loop, by, error| event_loop.state.errors.push((by, error)))
        .start(|event_loop, by, bytes, from, is_cut| {
            event_loop.state.packets.push(Told {
                by,
                bytes: bytes.to_vec(),
                from: from.clone(),
                is_cut,
            });
            for socket in std::mem::take(&mut event_loop.state.pausing) {
                socket.pause(event_loop)?;
            }
            Ok::<(), linux_event::Error>(())
        })
}

fn udp<W: NetWorld>(event_loop: &mut App<W>) -> (Datagram, Address) {
    let socket = note::<W>(Datagram::bind(event_loop, HERE));
    let address = socket.local_address(event_loop).expect("it is bound");
    (socket, address)
}

/// The bytes of what was told so far.
fn bytes<W: NetWorld>(event_loop: &App<W>) -> Vec<Vec<u8>> {
    let packets = event_loop.state.packets.iter();
    packets.map(|told| told.bytes.clone()).collect()
}

fn until_told<W: NetWorld>(event_loop: &mut App<W>, count: usize) {
    until::<W, _>(event_loop, |event_loop| {
        event_loop.state.packets.len() >= count
    });
}

fn until_error<W: NetWorld>(event_loop: &mut App<W>) -> (Datagram, DatagramError) {
    until::<W, _>(event_loop, |event_loop| !event_loop.state.errors.is_empty());
    event_loop.state.errors.remove(0)
}

/// Closes the sockets and makes sure that nothing is left.
fn end<W: NetWorld>(mut event_loop: App<W>, sockets: impl IntoIterator<Item = Datagram>) {
    for socket in sockets {
        socket.close(&mut event_loop).expect("it is open");
        assert!(!socket.is_open(&event_loop));
    }
    assert!(
        event_loop.state.errors.is_empty(),
        "{:?}",
        event_loop.state.errors
    );
    finish::<W, _>(event_loop);
}

/// A path beside the world's own.
fn second(path: &Path) -> PathBuf {
    let mut other = path.as_os_str().to_owned();
    other.push("-2");
    other.into()
}

/// A name that is in no file system, and is this process's.
fn abstract_name(what: &str) -> PathBuf {
    format!("\0linux-event-{what}-{}", std::process::id()).into()
}

/// Fills the queue of a unix socket that does not read, sees the sender wait, and lets it read.
fn fill_and_drain<W: NetWorld>(is_connected: bool) {
    const COUNT: u32 = 900; // more than any system's `net.unix.max_dgram_qlen`
    let mut event_loop = app::<W>();
    let name = abstract_name("full");
    let receiver = note::<W>(Datagram::unix(&mut event_loop, &name));
    receiver.pause(&mut event_loop).expect("it is open");
    let mut sender = Datagram::unnamed(&mut event_loop);
    if is_connected {
        sender = sender.connect(name.as_path());
    }
    let sender = note::<W>(sender);
    for nth in 0..COUNT {
        let packet = nth.to_be_bytes();
        let taken = if is_connected {
            sender.send(&mut event_loop, &packet)
        } else {
            sender.send_to(&mut event_loop, &packet, name.as_path())
        };
        taken.expect("room in the queue");
    }
    let mut before = COUNT as usize;
    until::<W, _>(&mut event_loop, |event_loop| {
        settle::<W, _>(event_loop);
        let (now, _) = sender.pending(event_loop);
        std::mem::replace(&mut before, now) == now
    });
    assert!(
        before > 0,
        "the queue of the kernel is full, and the sender waits"
    );
    let turns = event_loop.stats().turns;
    event_loop
        .run_for(Duration::from_millis(20))
        .expect("turns");
    let spent = event_loop.stats().turns - turns;
    assert!(spent < 100, "it spins: {spent} turns in 20 ms");
    receiver.resume(&mut event_loop).expect("it is open");
    let begin = std::time::Instant::now();
    while event_loop.state.packets.len() < COUNT as usize {
        assert!(begin.elapsed() < linux_event_tests::LONG, "it never came");
        event_loop
            .run_once(Some(Duration::from_millis(10)))
            .expect("a turn");
    }
    let told: Vec<_> = bytes::<W>(&event_loop);
    let sent: Vec<_> = (0..COUNT).map(|nth| nth.to_be_bytes().to_vec()).collect();
    assert_eq!(told, sent, "whole, once, in order");
    end::<W>(event_loop, [receiver, sender]);
}

linux_event_tests::net! {
    fn d1_udp_packets_come_whole_in_order_and_from_whom<W>() {
        let mut event_loop = app::<W>();
        let (server, at) = udp::<W>(&mut event_loop);
        assert_ne!(at.internet().expect("UDP").port(), 0, "the port that it got");
        let (client, from) = udp::<W>(&mut event_loop);
        let big = vec![7; 60_000];
        for packet in [&b"one"[..], b"", b"three", &big] {
            client.send_to(&mut event_loop, packet, &at).expect("room");
        }
        assert!(event_loop.state.packets.is_empty(), "nothing is told inside a call");
        assert_eq!(client.pending(&event_loop), (4, 60_008));
        until_told::<W>(&mut event_loop, 4);
        assert_eq!(bytes::<W>(&event_loop), [b"one".to_vec(), Vec::new(), b"three".to_vec(), big]);
        for told in std::mem::take(&mut event_loop.state.packets) {
            assert_eq!((told.by, told.from, told.is_cut), (server, from.clone(), false));
        }
        assert_eq!(client.pending(&event_loop), (0, 0));
        end::<W>(event_loop, [server, client]);
    }

    fn d1_who_hears_a_packet_can_answer_it<W>() {
        let mut event_loop = app::<W>();
        let echo = Datagram::bind(&mut event_loop, HERE)
            .start(|event_loop, echo, packet, peer, _| echo.send_to(event_loop, packet, peer))
            .expect("a socket");
        let at = echo.local_address(&mut event_loop).expect("it is bound");
        let client = note::<W>(Datagram::bind(&mut event_loop, HERE).connect(&at));
        client.send(&mut event_loop, b"hello").expect("room");
        until_told::<W>(&mut event_loop, 1);
        let told = event_loop.state.packets.remove(0);
        assert_eq!((told.bytes, told.from), (b"hello".to_vec(), at));
        end::<W>(event_loop, [echo, client]);
    }

    fn d1_unix_packets_come_with_the_name_of_who_sent_them<W>() {
        let mut event_loop = app::<W>();
        let path = W::socket_path();
        let server = note::<W>(Datagram::unix(&mut event_loop, &path));
        assert_eq!(server.local_address(&mut event_loop).expect("bound"), path.as_path().into());
        let beside = second(&path);
        let _ = std::fs::remove_file(&beside);
        let clients = [
            (note::<W>(Datagram::unix(&mut event_loop, &beside)), beside),
            (note::<W>(Datagram::unix(&mut event_loop, abstract_name("client"))), abstract_name("client")),
            (note::<W>(Datagram::unnamed(&mut event_loop)), PathBuf::new()),
        ];
        for (client, name) in &clients {
            client.send_to(&mut event_loop, b"to a path", path.as_path()).expect("room");
            until_told::<W>(&mut event_loop, 1);
            let told = event_loop.state.packets.remove(0);
            let from = Address::from(name.as_path());
            assert_eq!(told, Told { by: server, bytes: b"to a path".to_vec(), from: from.clone(), is_cut: false });
            if name.as_os_str().is_empty() {
                continue;
            }
            server.send_to(&mut event_loop, b"back", from).expect("room");
            until_told::<W>(&mut event_loop, 1);
            let told = event_loop.state.packets.remove(0);
            assert_eq!((told.by, told.from), (*client, path.as_path().into()));
        }
        assert!(W::exists(&mut event_loop, &path));
        server.close(&mut event_loop).expect("it is open");
        assert!(!W::exists(&mut event_loop, &path), "the path is taken away");
        end::<W>(event_loop, clients.map(|(client, _)| client));
    }

    fn d1_a_packet_that_is_cut_says_so_and_the_next_one_is_whole<W>() {
        let mut event_loop = app::<W>();
        let server = note::<W>(Datagram::bind(&mut event_loop, HERE).receive_size(4));
        let at = server.local_address(&mut event_loop).expect("it is bound");
        let (client, _) = udp::<W>(&mut event_loop);
        for packet in [&b"12345"[..], b"1234", b"123456789", b"123"] {
            client.send_to(&mut event_loop, packet, &at).expect("room");
        }
        until_told::<W>(&mut event_loop, 4);
        let told = std::mem::take(&mut event_loop.state.packets);
        let told: Vec<_> = told.iter().map(|told| (&told.bytes[..], told.is_cut)).collect();
        assert_eq!(told, [(&b"1234"[..], true), (b"1234", false), (b"1234", true), (b"123", false)]);
        end::<W>(event_loop, [server, client]);
    }

    fn d1_a_connected_socket_hears_from_its_peer_only<W>() {
        let mut event_loop = app::<W>();
        let (peer, at) = udp::<W>(&mut event_loop);
        let client = note::<W>(Datagram::bind(&mut event_loop, HERE).connect(at));
        let here = client.local_address(&mut event_loop).expect("it is bound");
        let (stranger, _) = udp::<W>(&mut event_loop);
        assert_eq!(stranger.send(&mut event_loop, b"x"), Err(SendError::Unconnected));
        stranger.send_to(&mut event_loop, b"spam", &here).expect("room");
        settle::<W, _>(&mut event_loop);
        peer.send_to(&mut event_loop, b"news", &here).expect("room");
        until_told::<W>(&mut event_loop, 1);
        settle::<W, _>(&mut event_loop);
        assert_eq!(bytes::<W>(&event_loop), [b"news"]);
        end::<W>(event_loop, [peer, client, stranger]);
    }

    fn d1_a_refused_packet_is_told_and_the_socket_goes_on<W>() {
        let mut event_loop = app::<W>();
        let (server, at) = udp::<W>(&mut event_loop);
        let client = note::<W>(Datagram::bind(&mut event_loop, HERE).connect(&at));
        server.close(&mut event_loop).expect("it is open");
        settle::<W, _>(&mut event_loop);
        client.send(&mut event_loop, b"to nobody").expect("room");
        let (by, error) = until_error::<W>(&mut event_loop);
        assert_eq!(by, client);
        assert!(matches!(error, DatagramError::Network(Errno::ECONNREFUSED)), "{error:?}");
        let server = note::<W>(Datagram::bind(&mut event_loop, at.internet().expect("UDP")));
        client.send(&mut event_loop, b"to somebody").expect("room");
        until_told::<W>(&mut event_loop, 1);
        assert_eq!(bytes::<W>(&event_loop), [b"to somebody"]);
        end::<W>(event_loop, [server, client]);
    }

    fn d1_an_earlier_packet_s_refusal_takes_no_later_packet_with_it<W>() {
        let mut event_loop = app::<W>();
        let (server, at) = udp::<W>(&mut event_loop);
        let client = note::<W>(Datagram::bind(&mut event_loop, HERE).connect(&at));
        client.pause(&mut event_loop).expect("it is open"); // so that it is sending that hears of it
        server.close(&mut event_loop).expect("it is open");
        settle::<W, _>(&mut event_loop);
        client.send(&mut event_loop, b"to nobody").expect("room");
        settle::<W, _>(&mut event_loop);
        let server = note::<W>(Datagram::bind(&mut event_loop, at.internet().expect("UDP")));
        client.send(&mut event_loop, b"to somebody").expect("room");
        until_told::<W>(&mut event_loop, 1);
        assert_eq!(bytes::<W>(&event_loop), [b"to somebody"]);
        let (_, error) = until_error::<W>(&mut event_loop);
        assert!(matches!(error, DatagramError::Network(Errno::ECONNREFUSED)), "{error:?}");
        end::<W>(event_loop, [server, client]);
    }

    fn d1_a_full_queue_takes_nothing_and_says_how_full_it_is<W>() {
        let mut event_loop = app::<W>();
        let (server, at) = udp::<W>(&mut event_loop);
        let client = note::<W>(Datagram::bind(&mut event_loop, HERE).connect(at).pending_max(2, 10));
        client.send(&mut event_loop, b"12345678").expect("room");
        assert_eq!(client.send(&mut event_loop, b"123"), Err(SendError::Full { packets: 1, bytes: 8 }));
        client.send(&mut event_loop, b"12").expect("room");
        assert_eq!(client.send(&mut event_loop, b""), Err(SendError::Full { packets: 2, bytes: 10 }));
        until_told::<W>(&mut event_loop, 2);
        client.send(&mut event_loop, b"room again").expect("room");
        until_told::<W>(&mut event_loop, 3);
        assert_eq!(bytes::<W>(&event_loop), [&b"12345678"[..], b"12", b"room again"]);
        end::<W>(event_loop, [server, client]);
    }

    fn d1_a_packet_that_is_too_long_comes_back_and_the_next_one_goes<W>() {
        let mut event_loop = app::<W>();
        let (server, at) = udp::<W>(&mut event_loop);
        let (client, _) = udp::<W>(&mut event_loop);
        let long = vec![1; 65_508];
        client.send_to(&mut event_loop, &long, &at).expect("room");
        client.send_to(&mut event_loop, b"short", &at).expect("room");
        until_told::<W>(&mut event_loop, 1);
        assert_eq!(bytes::<W>(&event_loop), [b"short"]);
        match until_error::<W>(&mut event_loop) {
            (by, DatagramError::Unsent { errno: Errno::EMSGSIZE, to: Some(to), packet }) => {
                assert!(by == client && to == at && packet == long);
            }
            other => panic!("{other:?}"),
        }
        end::<W>(event_loop, [server, client]);
    }

    fn d1_a_path_goes_with_its_loop_and_stays_when_a_forked_child_drops_it<W>() {
        if W::IS_VIRTUAL {
            return; // its paths are in the loop
        }
        let mut event_loop = Some(app::<W>());
        let path = W::socket_path();
        if let Some(event_loop) = &mut event_loop {
            note::<W>(Datagram::unix(event_loop, &path));
        }
        let child = libc_calls::in_forked_child(|| drop(event_loop.take()));
        assert!(child.success() && path.exists());
        drop(event_loop.take());
        assert!(!path.exists());
    }

    fn d1_a_unix_peer_that_is_not_there_gives_the_packet_back<W>() {
        let mut event_loop = app::<W>();
        let path = W::socket_path();
        let client = note::<W>(Datagram::unnamed(&mut event_loop));
        client.send_to(&mut event_loop, b"x", path.as_path()).expect("room");
        let (_, error) = until_error::<W>(&mut event_loop);
        let DatagramError::Unsent { errno: Errno::ENOENT, to, packet } = error else {
            panic!("{error:?}");
        };
        assert_eq!((to, packet), (Some(path.as_path().into()), b"x".to_vec()));
        let refused = try_note::<W>(Datagram::unnamed(&mut event_loop).connect(path.as_path()));
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::ENOENT));

        let server = note::<W>(Datagram::unix(&mut event_loop, &path).unlink_on_close(false));
        let connected = note::<W>(Datagram::unnamed(&mut event_loop).connect(path.as_path()));
        connected.send(&mut event_loop, b"y").expect("room");
        until_told::<W>(&mut event_loop, 1);
        server.close(&mut event_loop).expect("it is open");
        settle::<W, _>(&mut event_loop);
        connected.send(&mut event_loop, b"z").expect("room");
        let (_, error) = until_error::<W>(&mut event_loop);
        assert!(
            matches!(&error, DatagramError::Unsent { errno: Errno::ECONNREFUSED, to: None, packet } if packet == b"z"),
            "{error:?}"
        );
        // The path is there still: who takes it away first can have it.
        let refused = try_note::<W>(Datagram::unix(&mut event_loop, &path));
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::EADDRINUSE));
        let server = note::<W>(Datagram::unix(&mut event_loop, &path).unlink(true));
        client.send_to(&mut event_loop, b"again", path.as_path()).expect("room");
        until_told::<W>(&mut event_loop, 2);
        end::<W>(event_loop, [server, client, connected]);
    }

    fn d1_what_a_full_peer_has_no_room_for_waits_and_keeps_its_order<W>() {
        fill_and_drain::<W>(false);
    }

    fn d1_what_a_full_peer_has_no_room_for_waits_on_a_connected_socket_too<W>() {
        fill_and_drain::<W>(true);
    }

    fn d1_a_sender_that_waits_for_room_can_be_closed<W>() {
        let mut event_loop = app::<W>();
        let name = abstract_name("stuck");
        let receiver = note::<W>(Datagram::unix(&mut event_loop, &name));
        receiver.pause(&mut event_loop).expect("it is open");
        let sender = note::<W>(Datagram::unnamed(&mut event_loop));
        for _ in 0..900 {
            sender.send_to(&mut event_loop, b"x", name.as_path()).expect("room");
        }
        let mut before = 900;
        until::<W, _>(&mut event_loop, |event_loop| {
            settle::<W, _>(event_loop);
            let (now, _) = sender.pending(event_loop);
            std::mem::replace(&mut before, now) == now
        });
        assert!(before > 0);
        end::<W>(event_loop, [sender, receiver]);
    }

    fn d1_pausing_keeps_what_came<W>() {
        let mut event_loop = app::<W>();
        let server = Datagram::bind(&mut event_loop, HERE)
            .start(|event_loop, by, bytes, from, is_cut| {
                let told = Told { by, bytes: bytes.to_vec(), from: from.clone(), is_cut };
                event_loop.state.packets.push(told);
                by.pause(event_loop)
            })
            .expect("a socket");
        let at = server.local_address(&mut event_loop).expect("it is bound");
        let client = note::<W>(Datagram::bind(&mut event_loop, HERE).connect(at));
        settle::<W, _>(&mut event_loop); // it receives by now
        for packet in [b"1", b"2", b"3"] {
            client.send(&mut event_loop, packet).expect("room");
        }
        for count in 1..=3 {
            until_told::<W>(&mut event_loop, count);
            settle::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state.packets.len(), count);
            assert!(server.is_paused(&event_loop));
            server.resume(&mut event_loop).expect("it is open");
        }
        // What comes while the receive is being ended is not lost either.
        for nth in 4..20u8 {
            settle::<W, _>(&mut event_loop);
            client.send(&mut event_loop, &[nth]).expect("room");
            server.pause(&mut event_loop).expect("it is open");
            turn::<W, _>(&mut event_loop);
            settle::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state.packets.len() + 1, usize::from(nth));
            server.resume(&mut event_loop).expect("it is open");
            until_told::<W>(&mut event_loop, usize::from(nth));
            server.resume(&mut event_loop).expect("it is open");
        }
        let last: Vec<_> = bytes::<W>(&event_loop).split_off(3);
        assert_eq!(last, (4..20u8).map(|nth| vec![nth]).collect::<Vec<_>>());
        end::<W>(event_loop, [server, client]);
    }

    fn d1_a_packet_that_came_before_the_pause_and_is_told_after_it_is_kept<W>() {
        let mut event_loop = app::<W>();
        let sockets = [udp::<W>(&mut event_loop), udp::<W>(&mut event_loop)];
        let clients = [udp::<W>(&mut event_loop).0, udp::<W>(&mut event_loop).0];
        settle::<W, _>(&mut event_loop); // they receive by now
        event_loop.state.pausing = sockets.iter().map(|(socket, _)| *socket).collect();
        for (client, (_, at)) in clients.iter().zip(&sockets) {
            client.send_to(&mut event_loop, b"x", at).expect("room");
        }
        until_told::<W>(&mut event_loop, 1);
        settle::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.packets.len(), 1, "the other one is paused by then");
        for (socket, _) in &sockets {
            assert!(socket.is_paused(&event_loop));
            socket.resume(&mut event_loop).expect("it is open");
        }
        until_told::<W>(&mut event_loop, 2);
        let packets = std::mem::take(&mut event_loop.state.packets);
        assert_ne!(packets[0].by, packets[1].by);
        assert!(packets.iter().all(|told| told.bytes == b"x" && !told.is_cut));
        end::<W>(event_loop, sockets.map(|(socket, _)| socket).into_iter().chain(clients));
    }

    fn r13_a_turn_tells_of_so_many_packets_at_most<W>() {
        let mut event_loop = app::<W>();
        let server = note::<W>(Datagram::bind(&mut event_loop, HERE).max_packets_per_turn(3));
        let at = server.local_address(&mut event_loop).expect("it is bound");
        let (client, _) = udp::<W>(&mut event_loop);
        server.pause(&mut event_loop).expect("it is open");
        for nth in 0..10 {
            client.send_to(&mut event_loop, &[nth], &at).expect("room");
        }
        until::<W, _>(&mut event_loop, |event_loop| client.pending(event_loop) == (0, 0));
        server.resume(&mut event_loop).expect("it is open");
        let mut before = 0;
        until::<W, _>(&mut event_loop, |event_loop| {
            let now = event_loop.state.packets.len();
            assert!(now - before <= 3, "a turn told of {}", now - before);
            before = now;
            now == 10
        });
        end::<W>(event_loop, [server, client]);
    }

    fn d1_closing_after_a_drain_sends_what_waits<W>() {
        let mut event_loop = app::<W>();
        let (server, at) = udp::<W>(&mut event_loop);
        let (client, _) = udp::<W>(&mut event_loop);
        for _ in 0..100 {
            client.send_to(&mut event_loop, b"x", &at).expect("room");
        }
        client.close_after_drain(&mut event_loop).expect("it is open");
        assert_eq!(client.send_to(&mut event_loop, b"y", &at), Err(SendError::Closed));
        until_told::<W>(&mut event_loop, 100);
        assert!(client.close(&mut event_loop).is_err(), "it is gone");
        end::<W>(event_loop, [server]);
    }

    fn d1_a_stale_handle_reaches_nobody<W>() {
        let mut event_loop = app::<W>();
        let (old, at) = udp::<W>(&mut event_loop);
        old.close(&mut event_loop).expect("it is open");
        let (other, _) = udp::<W>(&mut event_loop);
        assert_eq!(old.send_to(&mut event_loop, b"x", at), Err(SendError::Closed));
        let stale = |error: linux_event::Error| matches!(error, linux_event::Error::Loop(LoopError::Stale));
        assert!(old.pause(&mut event_loop).is_err_and(stale));
        assert!(old.resume(&mut event_loop).is_err_and(stale));
        assert!(old.close(&mut event_loop).is_err_and(stale));
        assert!(old.local_address(&mut event_loop).is_err_and(stale));
        assert!(!old.is_open(&event_loop) && !old.is_paused(&event_loop) && other.is_open(&event_loop));
        end::<W>(event_loop, [other]);
    }

    fn d1_closing_in_the_callback_is_safe<W>() {
        let mut event_loop = app::<W>();
        let server = Datagram::bind(&mut event_loop, HERE)
            .start(|event_loop, by, bytes, from, is_cut| {
                let told = Told { by, bytes: bytes.to_vec(), from: from.clone(), is_cut };
                event_loop.state.packets.push(told);
                by.close(event_loop)
            })
            .expect("a socket");
        let at = server.local_address(&mut event_loop).expect("it is bound");
        let (client, _) = udp::<W>(&mut event_loop);
        for _ in 0..3 {
            client.send_to(&mut event_loop, b"x", &at).expect("room");
        }
        until_told::<W>(&mut event_loop, 1);
        settle::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.packets.len(), 1);
        end::<W>(event_loop, [client]);
    }

    fn d1_without_a_descriptor_nothing_is_left_behind<W>() {
        let mut event_loop = app::<W>();
        settle::<W, _>(&mut event_loop);
        let path = W::socket_path();
        W::limit_descriptors(&mut event_loop, Some(0));
        let refused = try_note::<W>(Datagram::bind(&mut event_loop, HERE)).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EMFILE));
        let refused = try_note::<W>(Datagram::unix(&mut event_loop, &path)).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EMFILE));
        W::limit_descriptors(&mut event_loop, None);
        assert!(!W::exists(&mut event_loop, &path));
        // What fails when it is bound already takes its path away again.
        let nobody = second(&path);
        let refused = try_note::<W>(Datagram::unix(&mut event_loop, &path).connect(nobody.as_path()));
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::ENOENT));
        assert!(!W::exists(&mut event_loop, &path));
        end::<W>(event_loop, []);
    }

    fn d1_addresses_that_are_taken_or_none_are_refused<W>() {
        let mut event_loop = app::<W>();
        let (socket, at) = udp::<W>(&mut event_loop);
        let at = at.internet().expect("UDP");
        let refused = try_note::<W>(Datagram::bind(&mut event_loop, at)).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EADDRINUSE));
        for text in ["localhost:80", "127.0.0.1", "*:x", ""] {
            let refused = try_note::<W>(Datagram::bind(&mut event_loop, text)).unwrap_err();
            assert!(matches!(refused, linux_event::Error::Loop(LoopError::Invalid(_))), "{refused}");
        }
        let any = note::<W>(Datagram::bind(&mut event_loop, "*:0"));
        let path = W::socket_path();
        W::occupy(&mut event_loop, &path);
        let refused = try_note::<W>(Datagram::unix(&mut event_loop, &path).unlink(true)).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EEXIST), "what is no socket is left");
        let _ = std::fs::remove_file(&path);
        end::<W>(event_loop, [socket, any]);
    }

    fn d1_options_are_the_kernel_s<W>() {
        let mut event_loop = app::<W>();
        if W::IS_VIRTUAL {
            return end::<W>(event_loop, []); // a port has one socket there, and there is no broadcast
        }
        let first = note::<W>(Datagram::bind(&mut event_loop, HERE).reuse_port(true));
        let at = first.local_address(&mut event_loop).expect("bound").internet().expect("UDP");
        let second = note::<W>(Datagram::bind(&mut event_loop, at).reuse_port(true));
        let third = try_note::<W>(Datagram::bind(&mut event_loop, at).reuse_address(true));
        assert_eq!(third.unwrap_err().errno(), Some(Errno::EADDRINUSE), "it does not share");
        // The broadcast address of the loopback network.
        let everybody = Address::Internet(([127, 255, 255, 255], at.port()).into());
        let (mute, _) = udp::<W>(&mut event_loop);
        mute.send_to(&mut event_loop, b"x", &everybody).expect("room");
        let (_, error) = until_error::<W>(&mut event_loop);
        assert!(matches!(error, DatagramError::Unsent { errno: Errno::EACCES, .. }), "{error:?}");
        let loud = note::<W>(Datagram::bind(&mut event_loop, HERE).broadcast(true));
        loud.send_to(&mut event_loop, b"x", &everybody).expect("room");
        until::<W, _>(&mut event_loop, |event_loop| loud.pending(event_loop) == (0, 0));
        end::<W>(event_loop, [first, second, mute, loud]);
    }

    fn d1_a_socket_that_was_made_elsewhere_is_taken_in<W>() {
        let mut event_loop = app::<W>();
        let made = W::datagram(&mut event_loop);
        let at = W::address(&mut event_loop, &made);
        let server = note::<W>(Datagram::adopt(&mut event_loop, made));
        assert_eq!(server.local_address(&mut event_loop).expect("bound"), at);
        let (client, _) = udp::<W>(&mut event_loop);
        client.send_to(&mut event_loop, b"hello", &at).expect("room");
        until_told::<W>(&mut event_loop, 1);
        assert_eq!(server.send(&mut event_loop, b"x"), Err(SendError::Unconnected));
        end::<W>(event_loop, [server, client]);
    }

    fn d1_what_a_callback_returns_stops_the_loop_and_loses_no_packet<W>() {
        let mut event_loop: LoopOf<W, Vec<usize>> = W::looping(Vec::new());
        let socket = Datagram::bind(&mut event_loop, HERE)
            .on_error(|_, _, _| Err::<(), _>("what fits into no packet"))
            .start(|event_loop: &mut LoopOf<W, Vec<usize>>, _, packet, _, _| {
                event_loop.state.push(packet.len());
                if packet == b"first" { Err("on purpose") } else { Ok(()) }
            })
            .expect("a port");
        let address = socket.local_address(&mut event_loop).expect("it is bound");
        for packet in [&vec![0; 70_000][..], b"first", b"second."] {
            socket.send_to(&mut event_loop, packet, address.clone()).expect("room");
        }
        let (mut stops, mut turns) = (0, 0);
        while event_loop.state.len() < 2 {
            stops += usize::from(event_loop.run_once(Some(Duration::from_millis(10))).is_err());
            turns += 1;
            assert!(turns < 1000, "it went deaf after {stops} stops");
        }
        assert_eq!((&event_loop.state[..], stops), (&[5, 7][..], 2));
        socket.close(&mut event_loop).expect("it is open");
        finish::<W, _>(event_loop);
    }

    fn d1_a_panic_ends_that_socket_and_nothing_else<W>() {
        let mut event_loop = app::<W>();
        let bad = Datagram::bind(&mut event_loop, HERE)
            .start(|_, _, _, _, _| -> () { panic!("on purpose") })
            .expect("a socket");
        let at = bad.local_address(&mut event_loop).expect("bound");
        let (good, here) = udp::<W>(&mut event_loop);
        good.send_to(&mut event_loop, b"x", at).expect("room");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until::<W, _>(&mut event_loop, |_| false);
        }));
        let what = panicked.expect_err("it panics");
        assert_eq!(what.downcast_ref::<&str>(), Some(&"on purpose"));
        assert!(!bad.is_open(&event_loop));
        good.send_to(&mut event_loop, b"to itself", here).expect("room");
        until_told::<W>(&mut event_loop, 1);
        end::<W>(event_loop, [good]);
    }
}
