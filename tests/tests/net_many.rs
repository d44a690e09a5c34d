//! Streams in numbers: ten thousand connections on one loop, what each of them costs, and what a message allocates.
//!
//! What a connection costs is the memory that the process has more of when all are connected, were served and are silent, on
//! both sides of them together: a stream's state, its slots, and nothing else, for an idle stream holds no buffer.
#![deny(unsafe_code)]

#[path = "../src/allocations.rs"]
mod allocations;

use linux_event::codec::Line;
use linux_event::net::{Listener, Stream};
use linux_event_tests::both::LoopOf;
use linux_event_tests::libc_calls::raise_descriptor_limit;
use linux_event_tests::net::{NetWorld, connect, finish, put, take, until};

#[global_allocator]
static ALLOCATOR: allocations::Counted = allocations::Counted;

/// Connections that are wanted.
const WANTED: usize = 10_000;
/// Bytes of memory that a connection may cost, its slots in every table included.
const MEMORY_MAX: usize = 4096;

/// How many connections there can be, with both ends in this process.
fn possible() -> usize {
    raise_descriptor_limit();
    let limits = std::fs::read_to_string("/proc/self/limits").expect("this process");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    let soft = soft
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(usize::MAX);
    WANTED.min(soft.saturating_sub(200) / 2)
}

/// Bytes of memory that this process has.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this process");
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number") * 4096
}

/// A line echo server; the state counts connections that have closed.
fn serve<W: NetWorld>(event_loop: &mut LoopOf<W, usize>) -> Listener {
    let serving = Listener::tcp(event_loop, "127.0.0.1:0").start(|event_loop, _, socket| {
        Stream::over(event_loop, socket)
            .throttled()
            .on_message(Line::new(1024), |event_loop, stream, line| {
                stream.write_message(event_loop, line).map(drop)
            })
            .on_close(|event_loop: &mut LoopOf<W, usize>, _| event_loop.state += 1)
            .start()
            .map(drop)
    });
    serving.expect("a port")
}

linux_event_tests::net! {
    fn ten_thousand_connections_are_all_served_and_cost_little_memory<W>() {
        let count = if W::IS_VIRTUAL { 300 } else { possible() };
        let mut event_loop = W::looping(0);
        let listener = serve::<W>(&mut event_loop);
        let address = listener.local_address(&mut event_loop).expect("it listens");

        // What the first one costs is what the loop costs.
        let first = connect::<W, _>(&mut event_loop, &address);
        put::<W, _>(&mut event_loop, &first, b"hello\n");
        assert_eq!(take::<W, _>(&mut event_loop, &first, 6), b"hello\n");
        let before = memory();

        let mut peers = Vec::with_capacity(count);
        for index in 1..count {
            let peer = connect::<W, _>(&mut event_loop, &address);
            put::<W, _>(&mut event_loop, &peer, format!("hello {index}\n").as_bytes());
            peers.push(peer);
            if index % 100 == 0 {
                linux_event_tests::both::turn::<W, _>(&mut event_loop);
            }
        }
        for (index, peer) in peers.iter().enumerate() {
            let expected = format!("hello {}\n", index + 1);
            let answer = take::<W, _>(&mut event_loop, peer, expected.len());
            assert_eq!(answer, expected.as_bytes());
        }
        let each = memory().saturating_sub(before) / count;
        if !W::IS_VIRTUAL {
            eprintln!("{count} connections, {each} bytes each");
            assert!(each <= MEMORY_MAX, "{each} bytes a connection");
        }

        // Again, now that all are there: each is still served.
        for peer in &peers {
            put::<W, _>(&mut event_loop, peer, b"again\n");
        }
        for peer in &peers {
            assert_eq!(take::<W, _>(&mut event_loop, peer, 6), b"again\n");
        }
        for peer in peers.into_iter().chain([first]) {
            W::hang_up(&mut event_loop, peer);
        }
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state == count);
        listener.close(&mut event_loop).expect("it is open");
        finish::<W, _>(event_loop);
    }

    fn a_message_allocates_nothing<W>() {
        if W::IS_VIRTUAL {
            return; // the fake's kernel is in this process
        }
        let mut event_loop = W::looping(0);
        let listener = serve::<W>(&mut event_loop);
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peer = connect::<W, _>(&mut event_loop, &address);
        let round = |event_loop: &mut LoopOf<W, usize>| {
            put::<W, _>(event_loop, &peer, b"one\ntwo\nthr");
            put::<W, _>(event_loop, &peer, b"ee\n");
            let (mut answer, mut count) = ([0; 14], 0);
            while count < answer.len() {
                match W::receive(event_loop, &peer, &mut answer[count..]) {
                    Ok(more) => count += more,
                    Err(_) => linux_event_tests::net::soon::<W, _>(event_loop),
                }
            }
            assert_eq!(&answer, b"one\ntwo\nthree\n");
        };
        for _ in 0..200 {
            round(&mut event_loop);
        }
        let allocations = allocations::during(|| {
            for _ in 0..1000 {
                round(&mut event_loop);
            }
        });
        // What is cut in two, or held up, is the kernel's to say, and it may be so for the first time late: then there is a first
        // buffer for what came, for what is sent, or for what waits, and each may grow once.
        assert!(allocations <= 3 * 2, "{allocations}");
        W::hang_up(&mut event_loop, peer);
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state == 1);
        listener.close(&mut event_loop).expect("it is open");
        finish::<W, _>(event_loop);
    }

    fn m6_more_comes_at_once_than_there_are_buffers<W>() {
        let mut event_loop = W::looping(0);
        let (mut streams, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let (ours, theirs) = W::pair(&mut event_loop);
            let stream = Stream::over(&mut event_loop, ours)
                .on_data(|event_loop: &mut LoopOf<W, usize>, _, bytes| event_loop.state += bytes.len())
                .start();
            streams.push(stream.expect("room"));
            put::<W, _>(&mut event_loop, &theirs, &vec![7; 20_000]);
            peers.push(theirs);
        }
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state == 300 * 20_000);
        for (stream, peer) in streams.into_iter().zip(peers) {
            W::hang_up(&mut event_loop, peer);
            until::<W, _>(&mut event_loop, |event_loop| !stream.is_open(event_loop));
        }
        finish::<W, _>(event_loop);
    }
}

/// Also where there are no buffers that the kernel could choose from.
#[test]
fn m6_on_an_older_kernel_streams_that_are_silent_hold_no_buffer() {
    type World = linux_event_tests::net::OnOlderFake;
    let mut event_loop = <World as linux_event_tests::both::World>::looping(0);
    let listener = serve::<World>(&mut event_loop);
    let address = listener.local_address(&mut event_loop).expect("it listens");
    let peers = [(); 3].map(|()| connect::<World, _>(&mut event_loop, &address));
    for round in 0..3 {
        for peer in &peers {
            let line = format!("round {round}\n");
            put::<World, _>(&mut event_loop, peer, line.as_bytes());
            let answer = take::<World, _>(&mut event_loop, peer, line.len());
            assert_eq!(answer, line.as_bytes());
        }
        let fake = event_loop.fake();
        assert_eq!((fake.buffers_out(), fake.leases_out()), (0, 0));
        assert_eq!(fake.pending_operations(), 1 + peers.len());
    }
    for peer in peers {
        World::hang_up(&mut event_loop, peer);
    }
    until::<World, _>(&mut event_loop, |event_loop| event_loop.state == 3);
    listener.close(&mut event_loop).expect("it is open");
    finish::<World, _>(event_loop);
}
