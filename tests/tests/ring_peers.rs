//! Peers that reset, leave and do not read; descriptors that are closed under an operation; flags that must reach the kernel
//! (P-1, P-5, P-14, P-15, M-4).

#![deny(unsafe_code)]

#[path = "../src/calls.rs"]
mod calls;
#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::handle::File;
use linux_event_core::proactor::{Event, How, MessageFlags, PollEvents, Vectors, op};
use ring::{CANCELLED, Counted, Done, Ring, Turns, in_balance, results, there_is};

const RESET: i32 = -Errno::ECONNRESET.raw();
const BROKEN: i32 = -Errno::EPIPE.raw();

/// Two ends of a TCP connection.
fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    (one, other)
}

/// Resets the connection.
fn reset(peer: TcpStream) {
    system::reset_on_close(&peer).unwrap();
    drop(peer);
}

/// Sends until the socket takes no more.
fn fill(ring: &mut Ring, file: File) {
    loop {
        let send = op::send(file, Counted::of(vec![0; 65_536])).flags(MessageFlags::DONT_WAIT);
        ring.start(send, 0);
        let done = ring.settle().pop().unwrap();
        if done.result < 65_536 {
            if done.result == -Errno::EAGAIN.raw() {
                return;
            }
            assert!(done.result > 0, "{done:?}");
        }
    }
}

#[test]
fn p5_a_peer_that_resets_ends_everything_that_waits_for_it() {
    in_balance(
        "p5_a_peer_that_resets_ends_everything_that_waits_for_it",
        || {
            for round in 0..20 {
                let mut ring: Ring = ring::ring();
                let (ours, peer) = tcp();
                let ours = ring.take_in(ours);
                let group = there_is(ring.provide(4, 64));
                fill(&mut ring, ours);
                match round % 4 {
                    0 => drop(ring.start(op::recv(ours, Counted::with_room(8)), 1)),
                    1 => drop(ring.start(op::recv_multi(ours, group), 1)),
                    2 => drop(ring.start(op::send(ours, Counted::of([1; 8])), 1)),
                    _ => drop(ring.start(op::read(ours, Counted::with_room(8)), 1)),
                }
                let polls = PollEvents::IN | PollEvents::READ_CLOSED;
                ring.start(op::poll(ours, polls), 2);
                assert!(ring.turn_within(Duration::ZERO).is_empty());
                reset(peer);
                let mut done = ring.settle();
                done.sort_by_key(|done| done.data);
                let [first, poll] = done.try_into().expect("two");
                assert!([RESET, BROKEN].contains(&first.result), "{first:?}");
                assert!(poll.result > 0);
                let seen = PollEvents::from_bits_truncate(poll.result as u32);
                assert!(seen.contains(PollEvents::HANGUP), "{seen:?}");
                // Later ones see the end at once.
                ring.start(op::recv(ours, Counted::with_room(8)), 3);
                let late = ring.settle().pop().unwrap();
                assert!([0, RESET].contains(&late.result), "{late:?}");
                drop(late);
                ring.withdraw(group).unwrap();
            }
        },
    );
}

/// R5 of the original: what came before the reset is delivered.
#[test]
fn p5_bytes_that_came_before_the_end_are_delivered_first() {
    in_balance(
        "p5_bytes_that_came_before_the_end_are_delivered_first",
        || {
            for multishot in [false, true] {
                let mut ring: Ring = ring::ring();
                let (ours, mut peer) = tcp();
                let ours = ring.take_in(ours);
                let group = there_is(ring.provide(8, 4));
                let mut came = Vec::new();
                if multishot {
                    ring.start(op::recv_multi(ours, group), 1);
                    ring.flush().unwrap();
                }
                peer.write_all(b"the last words").unwrap();
                drop(peer);
                loop {
                    if !multishot {
                        ring.start(op::recv(ours, Counted::with_room(4)), 1);
                    }
                    let done = ring.settle();
                    let is_last = done.iter().any(|done| done.result <= 0);
                    for done in done {
                        assert!(done.result >= 0);
                        match done.payload {
                            linux_event_core::proactor::Payload::Buffer(bytes) => {
                                came.extend_from_slice(&bytes);
                            }
                            linux_event_core::proactor::Payload::Lease(bytes) => {
                                came.extend_from_slice(&bytes);
                            }
                            _ => {}
                        }
                    }
                    if is_last {
                        break;
                    }
                }
                assert_eq!(came, b"the last words");
                ring.withdraw(group).unwrap();
            }
        },
    );
}

/// A send to a peer that is gone fails and kills nobody; the original lost the flag that says so.
#[test]
fn p1_sends_to_a_closed_peer_fail_without_a_signal() {
    in_balance("p1_sends_to_a_closed_peer_fail_without_a_signal", || {
        // A program of Rust's ignores the signal; this one is to die of it.
        calls::default_action(libc::SIGPIPE);
        let mut ring: Ring = ring::ring();
        let (ours, peer) = UnixStream::pair().unwrap();
        let unix = ring.take_in(ours);
        drop(peer);
        let (ours, peer) = tcp();
        let inet = ring.take_in(ours);
        reset(peer);
        let message = || {
            let mut buffers = Vectors::new();
            assert!(buffers.push(Counted::of(b"x")).is_ok());
            buffers
        };
        for file in [unix, inet] {
            let flags = [
                MessageFlags::empty(),
                MessageFlags::MORE,
                MessageFlags::DONT_WAIT,
            ];
            for flags in flags {
                ring.start(op::send(file, Counted::of(b"x")).flags(flags), 1);
                let send = op::send_message(file, message()).flags(flags);
                ring.submit_vectored(send, 2).expect("a message");
                for done in ring.settle() {
                    assert!([BROKEN, RESET].contains(&done.result), "{done:?}");
                }
            }
        }
        ring.start(op::send_zero_copy(inet, Counted::of(b"x")), 3);
        for done in ring.settle() {
            assert!(
                [BROKEN, RESET].contains(&done.result) || done.result >= 0,
                "{done:?}"
            );
        }
    });
}

/// What a send is flagged with has to reach the kernel.
#[test]
fn p1_the_flags_of_a_send_and_a_receive_are_kept() {
    in_balance("p1_the_flags_of_a_send_and_a_receive_are_kept", || {
        let mut ring: Ring = ring::ring();
        let (ours, peer) = tcp();
        let ours = ring.take_in(ours);
        let peer = ring.take_in(peer);
        let mut one = |request: op::Message<Counted>| -> Done {
            ring.start(request, 1);
            ring.settle().pop().unwrap()
        };
        let room = || Counted::with_room(8);
        // DONT_WAIT: an error instead of waiting.
        let done = one(op::recv(ours, room()).flags(MessageFlags::DONT_WAIT));
        assert_eq!(done.result, -Errno::EAGAIN.raw());
        // PEEK: it stays.
        one(op::send(peer, Counted::of(b"abcd")));
        let done = one(op::recv(ours, room()).flags(MessageFlags::PEEK));
        assert_eq!(&*done.into_buffer().unwrap(), b"abcd");
        let done = one(op::recv(ours, room()).limit(3));
        assert_eq!(&*done.into_buffer().unwrap(), b"abc");
        let done = one(op::recv(ours, room()));
        assert_eq!(&*done.into_buffer().unwrap(), b"d");
        // OUT_OF_BAND.
        one(op::send(peer, Counted::of(b"!")).flags(MessageFlags::OUT_OF_BAND));
        let done = one(op::recv(ours, room()).flags(MessageFlags::OUT_OF_BAND));
        assert_eq!(&*done.into_buffer().unwrap(), b"!");
        // A send is cut to its limit.
        let done = one(op::send(peer, Counted::of(b"12345678")).limit(5));
        assert_eq!(done.result, 5);
        // WAIT_ALL: five are there, it waits for the rest.
        let all = op::recv(ours, room()).flags(MessageFlags::WAIT_ALL);
        let all = ring.start(all, 2);
        assert!(ring.turn_within(Duration::ZERO).is_empty());
        assert!(ring.contains(all));
        ring.start(op::send(peer, Counted::of(b"678")), 3);
        let done = ring.settle();
        let all = done.into_iter().find(|done| done.data == 2).unwrap();
        assert_eq!(&*all.into_buffer().unwrap(), b"12345678");
    });
}

/// TRUNCATE counts more than there is room for, and the buffer says what there is.
#[test]
fn p6_a_result_beyond_the_buffer_is_not_believed_to_be_in_it() {
    in_balance(
        "p6_a_result_beyond_the_buffer_is_not_believed_to_be_in_it",
        || {
            let mut ring: Ring = ring::ring();
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.connect(socket.local_addr().unwrap()).unwrap();
            let file = ring.take_in(socket);
            for poll_first in [false, true] {
                let recv = op::recv(file, Counted::with_room(4)).flags(MessageFlags::TRUNCATE);
                ring.start(if poll_first { recv.poll_first() } else { recv }, 1);
                sender.send(&[7; 1000]).unwrap();
                let done = ring.settle().pop().unwrap();
                assert_eq!(done.result, 1000);
                assert_eq!(&*done.into_buffer().unwrap(), [7; 4]);
                // And of several buffers.
                let mut buffers = Vectors::new();
                for _ in 0..2 {
                    assert!(buffers.push(Counted::with_room(3)).is_ok());
                }
                let recv = op::recv_message(file, buffers).flags(MessageFlags::TRUNCATE);
                let op = ring.submit_vectored(recv, 2).expect("a receive");
                sender.send(&[8; 1000]).unwrap();
                ring.wait(Some(ring::LONG)).unwrap();
                let event = ring.next().expect("a completion");
                let linux_event_core::proactor::Event::Completion(done) = event else {
                    panic!("{event:?}");
                };
                assert_eq!((done.op, done.result), (op, 1000));
                let buffers = ring.take_vectors();
                assert_eq!(buffers.len(), 2);
                assert!(buffers.iter().all(|buffer| **buffer == [8; 3]));
                assert_eq!(ring.address(op), Some(sender.local_addr().unwrap()));
                assert!(ring.take_vectors().is_empty(), "once");
            }
        },
    );
}

#[test]
fn p14_a_number_that_is_closed_under_a_receive_changes_nothing_for_it() {
    const NAME: &str = "p14_a_number_that_is_closed_under_a_receive_changes_nothing_for_it";
    in_balance(NAME, || {
        let mut ring: Ring = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let number = ours.into_raw_fd();
        ring.start(op::recv(calls::bare(number), Counted::with_room(8)), 1);
        ring.start(op::poll_multi(calls::bare(number), PollEvents::IN), 2);
        // From here on the kernel has the file, whatever becomes of the number.
        ring.flush().unwrap();
        system::close(number);
        let (other, mut other_peer) = UnixStream::pair().unwrap();
        assert_eq!(other.as_raw_fd(), number, "the number is used again");
        let other = ring.take_in(other);
        ring.start(op::recv(other, Counted::with_room(8)), 3);
        other_peer.write_all(b"other").unwrap();
        let done = ring.turn();
        assert_eq!(results(&done), [(3, 5)]);
        drop(done);
        peer.write_all(b"late").unwrap();
        let mut done = ring.turn();
        while !done.iter().any(|done| done.data == 1) {
            done.extend(ring.turn());
        }
        let recv = done.into_iter().find(|done| done.data == 1).unwrap();
        assert_eq!(&*recv.into_buffer().unwrap(), b"late");
        // The poll keeps the file open; it is found by the number it was submitted with.
        peer.set_nonblocking(true).unwrap();
        assert!(peer.read(&mut [0]).is_err(), "not at its end");
        assert_eq!(ring.cancel_on(other), 1);
        let done = ring.settle();
        assert_eq!(results(&done), [(2, CANCELLED)]);
        peer.set_nonblocking(false).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "now it is");
    });
}

#[test]
fn p15_a_close_ends_what_is_in_flight_and_then_the_peer_sees_the_end() {
    const NAME: &str = "p15_a_close_ends_what_is_in_flight_and_then_the_peer_sees_the_end";
    in_balance(NAME, || {
        for (flushed, writes) in [(false, false), (true, false), (true, true), (false, true)] {
            let mut ring: Ring = ring::ring();
            let group = there_is(ring.provide(2, 16));
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let file = ring.take_in(ours);
            let number = ring.number(file).unwrap();
            ring.start(op::recv(file, Counted::with_room(8)), 1);
            ring.start(op::recv_multi(file, group), 2);
            ring.start(op::poll_multi(file, PollEvents::READ_CLOSED), 3);
            if flushed {
                assert!(ring.turn_within(Duration::ZERO).is_empty());
            }
            if writes {
                peer.write_all(b"in time?").unwrap();
            }
            let close = ring.close(file, 4).unwrap();
            assert!(ring.submit(op::nop(), 5).is_ok());
            assert!(ring.submit(op::send(file, Counted::of(b"no")), 6).is_err());
            assert!(
                ring.cancel(close),
                "it has not settled; it closes all the same"
            );
            let done = ring.settle();
            let order: Vec<u32> = done.iter().map(|done| done.data).collect();
            assert_eq!(order.iter().rfind(|data| **data != 5), Some(&4));
            for done in &done {
                match done.data {
                    4 | 5 => assert_eq!(done.result, 0),
                    _ => assert!(done.more || done.result == CANCELLED || writes, "{done:?}"),
                }
            }
            drop(done);
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest)
                .or_else(|error| match error.kind() {
                    // What was not received when it closed.
                    std::io::ErrorKind::ConnectionReset if writes => Ok(0),
                    _ => Err(error),
                })
                .unwrap();
            assert!(rest.is_empty());
            assert!(!ring.contains(close) && ring.number(file).is_none());
            let fresh: OwnedFd = UnixStream::pair().unwrap().0.into();
            assert_eq!(fresh.as_raw_fd(), number, "the number is free");
            ring.withdraw(group).unwrap();
        }
    });
}

/// A zero-copy send completes twice: at once with its result, later with its buffer; it settles once.
#[test]
fn p3_a_zero_copy_send_settles_once_and_brings_its_result_and_its_buffer() {
    const NAME: &str = "p3_a_zero_copy_send_settles_once_and_brings_its_result_and_its_buffer";
    in_balance(NAME, || {
        let mut ring: Ring = ring::ring();
        let (ours, mut peer) = tcp();
        let ours = ring.take_in(ours);
        for round in 0..50 {
            let sent: Vec<u8> = (0..10_000).map(|n| (n + round) as u8).collect();
            let op = ring.start(op::send_zero_copy(ours, Counted::of(&sent)), round);
            ring.flush().unwrap();
            let mut came = vec![0; sent.len()];
            peer.read_exact(&mut came).unwrap();
            assert!(came == sent);
            let mut done = Vec::new();
            while ring.contains(op) {
                done.extend(ring.turn());
                if ring.contains(op) {
                    // Between the two it is cancelled in vain.
                    ring.cancel(op);
                    assert_eq!(ring::buffers_out(), 1);
                }
            }
            let last = done.pop().unwrap();
            assert_eq!(
                (last.result, last.more),
                (10_000, false),
                "the result is carried"
            );
            assert!(
                done.iter()
                    .all(|first| first.result == 10_000 && first.more)
            );
            assert!(done.len() <= 1);
            let buffer = last.into_buffer().expect("the buffer comes last");
            assert!(*buffer == *sent, "and nobody wrote to it");
        }
        // One that fails brings its buffer back as well, with one completion or two.
        reset(peer);
        ring.start(op::send_zero_copy(ours, Counted::of([1; 100])), 0);
        ring.settle();
        ring.start(op::send_zero_copy(ours, Counted::of([1; 100])), 1);
        let mut done = ring.settle();
        let last = done.pop().unwrap();
        assert!([RESET, BROKEN].contains(&last.result), "{last:?}");
        assert!(last.into_buffer().is_some());
        drop(done);
        // Not on a socket that can't.
        let (pipe, _writer) = std::io::pipe().unwrap();
        let pipe = ring.take_in(pipe);
        ring.start(op::send_zero_copy(pipe, Counted::of([1; 100])), 2);
        let last = ring.settle().pop().unwrap();
        assert!(last.result < 0 && last.into_buffer().is_some());
    });
}

/// Zero-copy sends that are cancelled, at every stage, while the peer reads: bytes that were said to be sent came.
#[test]
fn p4_zero_copy_sends_that_are_cancelled_give_their_buffers_back() {
    const SIZE: usize = 4 << 20;
    const NAME: &str = "p4_zero_copy_sends_that_are_cancelled_give_their_buffers_back";
    in_balance(NAME, || {
        for stage in 0..4 {
            let mut ring: Ring = ring::ring();
            let (ours, mut peer) = tcp();
            let ours = ring.take_in(ours);
            let sent: Vec<u8> = (0..SIZE).map(|n| (n >> 8) as u8).collect();
            let op = ring.start(op::send_zero_copy(ours, Counted::of(&sent)), 1);
            if stage > 0 {
                ring.flush().unwrap();
            }
            let mut done = Vec::new();
            if stage > 1 {
                done = ring::completions(ring.turn_within(Duration::ZERO));
                assert!(done.iter().all(|done| done.more), "the peer does not read");
            }
            if stage > 2 {
                let mut first = vec![0; SIZE / 4];
                peer.read_exact(&mut first).unwrap();
                assert!(first == sent[..first.len()]);
            }
            ring.cancel(op);
            let reader = std::thread::spawn(move || {
                let mut rest = Vec::new();
                peer.read_to_end(&mut rest).unwrap();
                rest
            });
            // The first completion ends the sending; the peer sees the end when the socket is shut down.
            while done.is_empty() {
                done = ring.turn();
            }
            ring.start(op::shutdown(ours, How::Write), 2);
            done.extend(ring.settle());
            let send: Vec<_> = done.into_iter().filter(|done| done.data == 1).collect();
            let result = send[0].result;
            assert!(send.iter().all(|done| done.result == result));
            let buffer = send.into_iter().last().unwrap().into_buffer();
            assert!(*buffer.expect("the buffer") == *sent);
            let rest = reader.join().unwrap();
            let came = rest.len() + if stage > 2 { SIZE / 4 } else { 0 };
            assert!(rest == sent[came - rest.len()..came]);
            let said = usize::try_from(result).unwrap_or(0);
            assert_eq!(came, said, "stage {stage}: {result}");
        }
    });
}

/// Connects that fail, are cancelled and succeed leave their socket as the kernel does.
#[test]
fn p4_a_connect_that_waits_can_be_cancelled() {
    in_balance("p4_a_connect_that_waits_can_be_cancelled", || {
        let mut ring: Ring = ring::ring();
        // Nobody listens there any more.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let socket = ring.take_in(calls::tcp_socket());
        ring.start(op::connect(socket, address), 1);
        assert_eq!(results(&ring.settle()), [(1, -Errno::ECONNREFUSED.raw())]);
        // A listener whose queue is full leaves them waiting.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        system::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for number in 0..8 {
            let socket = ring.take_in(calls::tcp_socket());
            waiting.push(ring.start(op::connect(socket, address), number));
        }
        let mut done = ring::completions(ring.turn_within(Duration::ZERO));
        assert!(done.iter().all(|done| done.result == 0));
        for connect in waiting {
            ring.cancel(connect);
        }
        done.extend(ring.settle());
        assert_eq!(done.len(), 8);
        assert!(
            done.iter()
                .all(|done| [0, CANCELLED].contains(&done.result))
        );
        assert!(
            done.iter().any(|done| done.result == CANCELLED),
            "{:?}",
            results(&done)
        );
    });
}

/// The peer's address of one accept is not that of the next in the same slot.
#[test]
fn p11_an_accepted_descriptor_is_owned_and_its_peer_is_known() {
    in_balance(
        "p11_an_accepted_descriptor_is_owned_and_its_peer_is_known",
        || {
            let mut ring: Ring<1> = ring::ring();
            for version in ["127.0.0.1:0", "[::1]:0"] {
                let Ok(listener) = TcpListener::bind(version) else {
                    eprintln!("skipped: there is no {version} here");
                    continue;
                };
                let address = listener.local_addr().unwrap();
                let file = ring.take_in(listener);
                for round in 0..20 {
                    let op = ring.start(op::accept(file), round);
                    let client = TcpStream::connect(address).unwrap();
                    let done = ring.settle().pop().unwrap();
                    assert_eq!(ring.address(op), Some(client.local_addr().unwrap()));
                    let accepted = TcpStream::from(ring::to_std(done.into_descriptor().unwrap()));
                    assert!(calls::is_close_on_exec(accepted.as_raw_fd()));
                    assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
                    system::reset_on_close(&client).unwrap();
                    let next = ring.start(op::accept(file), round);
                    assert_eq!(ring.address(op), None, "its slot is another's now");
                    ring.cancel(next);
                    ring.settle();
                    assert_eq!(ring.address(next), None, "there was no peer");
                    let last = ring.start(op::accept(file), round);
                    let client = TcpStream::connect(address).unwrap();
                    ring.settle();
                    let theirs = client.local_addr().unwrap();
                    let known = [op, next, last].map(|op| ring.address(op));
                    assert_eq!(known, [None, None, Some(theirs)], "each its own");
                    system::reset_on_close(&client).unwrap();
                }
                drop(ring.release(file).unwrap());
            }
        },
    );
}

/// A splice works on two files: the end of either ends it.
#[test]
fn p15_a_splice_ends_with_either_of_its_files() {
    in_balance("p15_a_splice_ends_with_either_of_its_files", || {
        for closes_source in [false, true] {
            for flushed in [false, true] {
                let mut ring: Ring = ring::ring();
                let (source, mut feed) = std::io::pipe().unwrap();
                let (_sink, target) = std::io::pipe().unwrap();
                let (source, target) = (ring.take_in(source), ring.take_in(target));
                ring.start(op::splice(source, target, 64), 1);
                if flushed {
                    assert!(ring.turn_within(Duration::ZERO).is_empty());
                }
                let file = if closes_source { source } else { target };
                ring.close(file, 2).unwrap();
                assert_eq!(results(&ring.settle()), [(1, CANCELLED), (2, 0)]);
                assert_eq!(closes_source, feed.write_all(b"x").is_err(), "it is closed");
                // And cancelling alone does.
                let (source, _feed) = std::io::pipe().unwrap();
                let (_sink, target) = std::io::pipe().unwrap();
                let (source, target) = (ring.take_in(source), ring.take_in(target));
                ring.start(op::splice(source, target, 64), 3);
                let file = if closes_source { source } else { target };
                assert_eq!(ring.cancel_on(file), 1);
                assert_eq!(results(&ring.settle()), [(3, CANCELLED)]);
            }
        }
    });
}

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn interrupted(_signal: i32) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// Waits that signal handlers cut short lose nothing of what was queued or has come.
#[test]
fn p9_a_signal_every_millisecond_costs_no_message_and_no_timer() {
    // Both, so that a fast machine sees enough of the one and a slow one does not take long for the other.
    const MESSAGES_MIN: u32 = 1000;
    const INTERRUPTS_MIN: u32 = 200;
    const NAME: &str = "p9_a_signal_every_millisecond_costs_no_message_and_no_timer";
    in_balance(NAME, || {
        system::handle_without_restart(libc::SIGUSR1, interrupted).unwrap();
        let mut ring: Ring = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let echo = std::thread::spawn(move || {
            let mut bytes = [0; 4];
            while peer.read_exact(&mut bytes).is_ok() {
                peer.write_all(&bytes).unwrap();
            }
        });
        let storm = system::SignalStorm::every(Duration::from_millis(1), libc::SIGUSR1).unwrap();
        let mut timers = 0;
        let mut started = 0;
        let mut number = 0;
        while number < MESSAGES_MIN || INTERRUPTS.load(Ordering::Relaxed) < INTERRUPTS_MIN {
            let bytes = number.to_ne_bytes();
            let chain = [
                (op::send(ours, Counted::of(bytes)).link().into(), 1),
                (op::recv(ours, Counted::with_room(4)).into(), 2),
            ];
            ring.submit_chain(chain).expect("a chain");
            if number % 100 == 0 {
                ring.after(Duration::from_micros(u64::from(number % 3000)), 3)
                    .unwrap();
                started += 1;
            }
            while ring.operations() > 0 {
                for event in ring.turn_within(ring::LONG) {
                    match event {
                        Event::Completion(done) if done.data == 2 => {
                            assert_eq!(&*done.into_buffer().unwrap(), bytes);
                            number += 1;
                        }
                        Event::Completion(done) => assert_eq!(done.result, 4),
                        Event::Timer { .. } => timers += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        while ring.live() > 0 {
            timers += ring.turn_within(ring::LONG).len();
        }
        // One that is interrupted for sure.
        let before = INTERRUPTS.load(Ordering::Relaxed);
        ring.start(op::recv(ours, Counted::with_room(4)), 4);
        while INTERRUPTS.load(Ordering::Relaxed) < before + 10 {
            assert!(ring.turn_within(ring::LONG).is_empty());
        }
        drop(storm);
        assert_eq!(timers, started);
        drop(ring);
        echo.join().unwrap();
    });
}

/// Buffers that have no memory go and come back as others do.
#[test]
fn p6_empty_buffers_go_and_come_back() {
    in_balance("p6_empty_buffers_go_and_come_back", || {
        let mut ring: Ring = ring::ring();
        let null = ring.take_in(std::fs::File::open("/dev/null").unwrap());
        let (ours, _peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        ring.start(op::read(null, Counted::with_room(0)), 1);
        ring.start(op::send(ours, Counted::with_room(100)), 2);
        ring.start(op::write(ours, Counted::with_room(0)), 3);
        ring.start(op::read(null, Counted::with_room(10)).limit(0), 4);
        let mut buffers = Vectors::new();
        for room in [0, 8, 0] {
            assert!(buffers.push(Counted::with_room(room)).is_ok());
        }
        ring.submit_vectored(op::read_vectored(null, buffers), 5)
            .expect("a read");
        let mut done = ring.settle();
        done.sort_by_key(|done| done.data);
        assert_eq!(results(&done), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
        for done in done.into_iter().take(4) {
            assert!(done.into_buffer().expect("a buffer").is_empty());
        }
    });
}
