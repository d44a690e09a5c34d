//! G-1 for what is built on the loops: a process that was forked neither sends, receives, accepts nor kills for its parent, whatever
//! had been asked for by then. In a program of its own, because it forks.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::net::{Datagram, Listener, Stream};
use linux_event::process::Exit;
use linux_event::{Error, ExitStatus, LoopError, Signal};
use linux_event_tests::both::LoopOf;
use linux_event_tests::libc_calls::{fork_here, in_forked_child, leave, reap};
use linux_event_tests::net::KernelWorld;
use linux_event_tests::{LONG, on_kernels};

const DONE: ExitStatus = ExitStatus::Exited(0);

/// What callbacks note.
#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    exits: Vec<Exit>,
    accepted: usize,
    /// This is the child that a callback forked.
    is_child: bool,
}

fn is_forked<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Loop(LoopError::Forked)))
}

/// Lets a forked child have a turn of the loop, which is refused, and drop it; gives the loop back.
fn inherited<M: KernelWorld>(event_loop: LoopOf<M, Seen>) -> LoopOf<M, Seen> {
    let slot = Cell::new(Some(event_loop));
    let status = in_forked_child(|| {
        let mut inherited = slot.take().expect("it is there");
        assert!(is_forked(&inherited.run()));
        assert!(is_forked(&inherited.run_once(Some(Duration::ZERO))));
        assert!(is_forked(&inherited.drain_callbacks()));
        assert!(inherited.state.bytes.is_empty(), "nothing is told here");
    });
    assert_eq!(status, DONE);
    slot.take().expect("the parent has it still")
}

/// Forks in a callback, which goes on in the child first; the parent's goes on when [that](leave_if_child) has ended.
fn fork_in_callback(seen: &mut Seen) {
    match fork_here() {
        Some(child) => assert_eq!(reap(child), DONE),
        None => seen.is_child = true,
    }
}

/// In the child that a callback forked the loop runs no more, and the child ends.
fn leave_if_child<M: KernelWorld>(event_loop: &mut LoopOf<M, Seen>) {
    if event_loop.state.is_child {
        let refused = is_forked(&event_loop.run_once(Some(Duration::ZERO)));
        leave(i32::from(!refused));
    }
}

fn until<M: KernelWorld>(event_loop: &mut LoopOf<M, Seen>, holds: impl Fn(&Seen) -> bool) {
    while !holds(&event_loop.state) {
        event_loop.run_once(Some(LONG)).expect("a turn");
        leave_if_child::<M>(event_loop);
    }
}

/// A stream that notes what comes, and its other side.
fn stream<M: KernelWorld>(event_loop: &mut LoopOf<M, Seen>) -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let stream = Stream::over(event_loop, M::Ours::from(OwnedFd::from(ours)))
        .on_data(|event_loop, _, bytes| event_loop.state.bytes.extend_from_slice(bytes))
        .start();
    (stream.expect("room"), theirs)
}

/// `cat`, which is given nothing yet.
fn cat<M: KernelWorld>(event_loop: &mut LoopOf<M, Seen>) -> linux_event::process::Child {
    let child = event_loop
        .command("/bin/cat")
        .stdin_pipe()
        .kill_on_drop(true)
        .on_stdout(|event_loop, _, bytes| event_loop.state.bytes.extend_from_slice(bytes))
        .on_exit(|event_loop, exit| event_loop.state.exits.push(exit))
        .spawn(event_loop)
        .expect("it is there");
    event_loop.run_once(Some(Duration::ZERO)).expect("a turn"); // its standard input is seen to
    child
}

on_kernels! {
    fn g1_what_was_written_before_a_fork_is_sent_once<M>() {
        let mut event_loop = M::looping(Seen::default());
        let (stream, mut theirs) = stream::<M>(&mut event_loop);
        event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
        stream.write(&mut event_loop, b"pay 100").expect("room"); // it goes with the next turn
        let mut event_loop = inherited::<M>(event_loop);
        stream.close_after_drain(&mut event_loop).expect("it is open");
        event_loop.run().expect("nothing is left");
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).expect("its end");
        assert_eq!(all, b"pay 100");
    }

    fn g1_what_a_stream_has_to_read_is_left_to_its_parent<M>() {
        let mut event_loop = M::looping(Seen::default());
        let (_, mut theirs) = stream::<M>(&mut event_loop); // it reads with the next turn
        theirs.write_all(b"hello").expect("room");
        let mut event_loop = inherited::<M>(event_loop);
        until::<M>(&mut event_loop, |seen| seen.bytes == b"hello");
    }

    fn g1_ending_a_stream_in_a_child_ends_nothing<M>() {
        let mut event_loop = M::looping(Seen::default());
        let (stream, mut theirs) = stream::<M>(&mut event_loop);
        event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
        let slot = Cell::new(Some(event_loop));
        let status = in_forked_child(|| {
            let mut inherited = slot.take().expect("it is there");
            let _ = stream.end(&mut inherited);
            assert!(is_forked(&inherited.run_once(Some(Duration::ZERO))));
        });
        assert_eq!(status, DONE);
        let mut event_loop = slot.take().expect("it is there");
        theirs.set_nonblocking(true).expect("a socket");
        let read = theirs.read(&mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "it was not shut down");
        stream.close(&mut event_loop).expect("it is open");
        event_loop.run().expect("nothing is left");
    }

    fn g1_a_callback_that_forks_has_its_answer_sent_once<M>() {
        let mut event_loop = M::looping(Seen::default());
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        Stream::over(&mut event_loop, M::Ours::from(OwnedFd::from(ours)))
            .on_data(|event_loop, stream, bytes| {
                event_loop.state.bytes.extend_from_slice(bytes);
                stream.write(event_loop, b"answer")?;
                fork_in_callback(&mut event_loop.state);
                Ok::<(), linux_event::BoxError>(())
            })
            .start()
            .expect("room");
        theirs.write_all(b"question").expect("room");
        until::<M>(&mut event_loop, |seen| !seen.bytes.is_empty());
        theirs.shutdown(Shutdown::Write).expect("connected"); // so the stream ends, too
        event_loop.run().expect("nothing is left");
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).expect("its end");
        assert_eq!(all, b"answer");
    }

    fn g1_a_callback_that_forks_leaves_the_next_connection_to_its_parent<M>() {
        let mut event_loop = M::looping(Seen::default());
        let listener = Listener::tcp(&mut event_loop, "127.0.0.1:0")
            .start(|event_loop, _, _socket| {
                event_loop.state.accepted += 1;
                if event_loop.state.accepted == 1 {
                    fork_in_callback(&mut event_loop.state);
                }
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let address = address.internet().expect("TCP");
        let clients = [(); 3].map(|()| TcpStream::connect(address).expect("it listens"));
        until::<M>(&mut event_loop, |seen| seen.accepted == 3);
        listener.close(&mut event_loop).expect("it listens");
        event_loop.run().expect("nothing is left");
        drop(clients);
    }

    fn g1_packets_are_sent_once_and_told_to_the_parent<M>() {
        let mut event_loop = M::looping(Seen::default());
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        let socket = Datagram::adopt(&mut event_loop, M::Ours::from(OwnedFd::from(ours)))
            .start(|event_loop, _, packet, _, _| event_loop.state.bytes.extend_from_slice(packet))
            .expect("room");
        socket.send(&mut event_loop, b"pay 100").expect("room");
        theirs.send(b"hello").expect("room");
        let mut event_loop = inherited::<M>(event_loop);
        until::<M>(&mut event_loop, |seen| seen.bytes == b"hello");
        let mut packet = [0; 64];
        assert_eq!(theirs.recv(&mut packet).expect("it was sent"), 7);
        theirs.set_nonblocking(true).expect("a socket");
        let more = theirs.recv(&mut packet).map_err(|error| error.kind());
        assert_eq!(more, Err(ErrorKind::WouldBlock), "it was sent once");
    }

    fn g1_q3_a_forked_child_neither_kills_nor_feeds_its_parents_children<M>() {
        let mut event_loop = M::looping(Seen::default());
        let cat = cat::<M>(&mut event_loop);
        cat.write(&mut event_loop, "once").expect("room"); // it goes with the next turn
        let slot = Cell::new(Some(event_loop));
        let status = in_forked_child(|| {
            let mut inherited = slot.take().expect("it is there");
            assert_eq!(cat.kill(&mut inherited, Signal::KILL), Err(Errno::ECHILD));
            assert!(inherited.command("/bin/true").spawn(&mut inherited).is_err());
            assert!(is_forked(&inherited.drain_callbacks()));
            drop(inherited); // which kills its own children, and has none
        });
        assert_eq!(status, DONE);
        let mut event_loop = slot.take().expect("it is there");
        cat.close_stdin(&mut event_loop);
        until::<M>(&mut event_loop, |seen| !seen.exits.is_empty());
        assert!(event_loop.state.exits[0].success(), "{:?}", event_loop.state.exits);
        assert_eq!(event_loop.state.bytes, b"once");
    }
}
