//! Cancelling against completion, on the real ring: who wins is open, that each operation settles once is not, and
//! nothing that the kernel produced is lost (P-3, P-4, P-5).

#![deny(unsafe_code)]

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{File, Op, TimerId};
use linux_event_core::proactor::{Event, Payload, PollEvents, op};
use ring::{CANCELLED, Counted, Counting, Dice, Done, Ring, Turns, in_balance, there_is, to_std};

/// Rounds of a race: enough for both to win many times.
const ROUNDS: u32 = if cfg!(debug_assertions) {
    3_000
} else {
    30_000
};

/// What a receive came to: cancelled, or with what bytes.
fn received(done: Done) -> Option<Vec<u8>> {
    let result = done.result;
    assert!(!done.more);
    let buffer = done.into_buffer().expect("a buffer comes back");
    if result == CANCELLED {
        return None;
    }
    assert_eq!(usize::try_from(result).ok(), Some(buffer.len()));
    Some(buffer.to_vec())
}

#[test]
fn p5_no_byte_is_lost_between_a_receive_and_its_cancellation() {
    const SEND: u32 = u32::MAX;
    const NAME: &str = "p5_no_byte_is_lost_between_a_receive_and_its_cancellation";
    in_balance(NAME, || {
        let mut dice = Dice::new(0x5eed_0001);
        let mut ring: Ring<8> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let theirs = ring.take_in(peer.try_clone().unwrap());
        let mut stream = Counting::default();
        let (mut won, mut lost) = (0, 0);
        for round in 0..ROUNDS {
            let mut happened = Vec::new();
            let recv = ring.start(op::recv(ours, Counted::with_room(8)), round);
            match dice.throw(4) {
                0 => ring.flush().unwrap(),
                1 => happened = ring.turn_within(Duration::ZERO),
                _ => {}
            }
            // A write and a cancel, in any order and by any way, before the next wait.
            let write_first = dice.throw(2) == 0;
            for writes in [write_first, !write_first] {
                if !writes {
                    assert_eq!(ring.cancel(recv), ring.contains(recv));
                } else if dice.throw(2) == 0 {
                    peer.write_all(&[stream.next()]).unwrap();
                } else {
                    let byte = Counted::of([stream.next()]);
                    ring.start(op::send(theirs, byte), SEND);
                }
                if dice.throw(4) == 0 {
                    ring.flush().unwrap();
                }
            }
            let mut all = ring::completions(happened);
            all.extend(ring.settle());
            for done in all {
                if done.data == SEND {
                    assert_eq!(done.result, 1);
                    continue;
                }
                assert_eq!((done.data, done.op), (round, recv));
                match received(done) {
                    Some(bytes) => {
                        stream.take(&bytes);
                        won += 1;
                    }
                    None => lost += 1,
                }
            }
            assert_eq!(won + lost, round + 1, "each settles once");
            assert!(!ring.cancel(recv) && !ring.contains(recv));
        }
        assert!(won > 0 && lost > 0, "{won} received, {lost} cancelled");
        while stream.is_behind() {
            ring.start(op::recv(ours, Counted::with_room(64)), 0);
            let done = ring.settle().pop().unwrap();
            stream.take(&received(done).unwrap());
        }
    });
}

#[test]
fn p5_no_byte_is_lost_while_another_thread_writes() {
    const NAME: &str = "p5_no_byte_is_lost_while_another_thread_writes";
    in_balance(NAME, || {
        let mut dice = Dice::new(0x5eed_0002);
        let mut ring: Ring<8> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let writer = std::thread::spawn(move || {
            let mut stream = Counting::default();
            for _ in 0..10 * ROUNDS {
                peer.write_all(&[stream.next()]).unwrap();
            }
            peer
        });
        let mut stream = Counting::default();
        stream.expect(u64::from(10 * ROUNDS));
        let (mut won, mut lost) = (0, 0);
        while stream.is_behind() {
            let recv = ring.start(op::recv(ours, Counted::with_room(4)), 1);
            if dice.throw(4) == 0 {
                ring.flush().unwrap();
            }
            let mut all = Vec::new();
            if dice.throw(2) == 0 {
                all = ring::completions(ring.turn_within(Duration::ZERO));
            }
            ring.cancel(recv);
            all.extend(ring.settle());
            assert_eq!(all.len(), 1);
            if let Some(bytes) = received(all.pop().unwrap()) {
                stream.take(&bytes);
                won += 1;
            } else {
                lost += 1;
                std::thread::yield_now();
            }
        }
        // How often each wins is the machine's affair; once there is nothing more to receive, the cancel does.
        let peer = writer.join().unwrap();
        let recv = ring.start(op::recv(ours, Counted::with_room(4)), 1);
        ring.cancel(recv);
        assert!(received(ring.settle().pop().unwrap()).is_none());
        assert!(won > 0, "{won} received, {lost} cancelled");
        drop(peer);
    });
}

/// Tells by its first byte which connection this is.
fn number_of(connection: OwnedFd) -> u32 {
    let mut number = [0; 4];
    UnixStream::from(connection)
        .read_exact(&mut number)
        .unwrap();
    u32::from_ne_bytes(number)
}

/// Connects, says its number, and leaves.
fn connect(address: &std::os::unix::net::SocketAddr, number: u32) {
    let mut client = UnixStream::connect_addr(address).unwrap();
    client.write_all(&number.to_ne_bytes()).unwrap();
}

#[test]
fn p5_a_connection_that_comes_as_its_accept_is_cancelled_is_delivered_or_waits() {
    const NAME: &str =
        "p5_a_connection_that_comes_as_its_accept_is_cancelled_is_delivered_or_waits";
    in_balance(NAME, || {
        let mut dice = Dice::new(0x5eed_0003);
        let mut ring: Ring<8> = ring::ring();
        let (listener, address) = ring::unix_listener("accept");
        let listener = ring.take_in(listener);
        // Connection n says n, and they come in their order.
        let (mut connected, mut accepted, mut cancelled) = (0, 0, 0);
        for round in 0..ROUNDS {
            let accept = ring.start(op::accept(listener), round);
            if dice.throw(2) == 0 {
                ring.flush().unwrap();
            }
            let connect_first = dice.throw(2) == 0;
            for connects in [connect_first, !connect_first] {
                if !connects {
                    ring.cancel(accept);
                } else if connected - accepted < 50 {
                    connect(&address, connected);
                    connected += 1;
                }
                if dice.throw(4) == 0 {
                    ring.flush().unwrap();
                }
            }
            for done in ring.settle() {
                assert_eq!((done.data, done.more), (round, false));
                if done.result == CANCELLED {
                    cancelled += 1;
                    assert!(done.into_descriptor().is_none());
                } else {
                    let fd = done.into_descriptor().expect("a descriptor");
                    assert_eq!(number_of(to_std(fd)), accepted);
                    accepted += 1;
                }
            }
        }
        assert!(accepted > 0 && cancelled > 0, "{accepted} {cancelled}");
        while accepted < connected {
            ring.start(op::accept(listener), 0);
            let fd = ring.settle().pop().unwrap().into_descriptor();
            assert_eq!(number_of(to_std(fd.unwrap())), accepted);
            accepted += 1;
        }
    });
}

#[test]
fn p5_what_a_multishot_accept_has_taken_is_delivered_after_its_cancellation() {
    const NAME: &str = "p5_what_a_multishot_accept_has_taken_is_delivered_after_its_cancellation";
    in_balance(NAME, || {
        let mut dice = Dice::new(0x5eed_0004);
        let mut ring: Ring<8> = ring::ring();
        let (listener, address) = ring::unix_listener("multishot");
        let listener = ring.take_in(listener);
        let (mut connected, mut accepted) = (0, 0);
        for round in 0..ROUNDS / 3 {
            let accept = ring.start(op::accept_multi(listener), round);
            if dice.throw(2) == 0 {
                ring.flush().unwrap();
            }
            for _ in 0..dice.throw(5) {
                connect(&address, connected);
                connected += 1;
            }
            if dice.throw(2) == 0 {
                ring.flush().unwrap();
            }
            assert!(ring.cancel(accept));
            let more = dice.throw(3) as u32;
            for _ in 0..more {
                connect(&address, connected);
                connected += 1;
            }
            let all = ring.settle();
            let last = all.len() - 1;
            for (index, done) in all.into_iter().enumerate() {
                assert_eq!((done.op, done.more), (accept, index < last));
                if let Some(fd) = done.into_descriptor() {
                    assert_eq!(number_of(to_std(fd)), accepted);
                    accepted += 1;
                }
            }
        }
        while accepted < connected {
            ring.start(op::accept(listener), 0);
            let fd = ring.settle().pop().unwrap().into_descriptor();
            assert_eq!(number_of(to_std(fd.unwrap())), accepted);
            accepted += 1;
        }
    });
}

#[test]
fn p5_bytes_that_a_multishot_receive_has_taken_are_delivered_after_its_cancellation() {
    const NAME: &str =
        "p5_bytes_that_a_multishot_receive_has_taken_are_delivered_after_its_cancellation";
    in_balance(NAME, || {
        let mut dice = Dice::new(0x5eed_0005);
        let mut ring: Ring<8> = ring::ring();
        let group = there_is(ring.provide(4, 16));
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let mut stream = Counting::default();
        for round in 0..ROUNDS {
            let recv = ring.start(op::recv_multi(ours, group), round);
            if dice.throw(2) == 0 {
                ring.flush().unwrap();
            }
            for _ in 0..dice.throw(3) {
                peer.write_all(&[stream.next()]).unwrap();
            }
            if dice.throw(4) == 0 {
                ring.flush().unwrap();
            }
            ring.cancel(recv);
            if dice.throw(4) == 0 {
                ring.flush().unwrap();
                peer.write_all(&[stream.next()]).unwrap();
            }
            for done in ring.settle() {
                assert_eq!(done.data, round);
                assert!(done.result > 0 || !done.more, "{done:?}");
                if done.result < 0 {
                    // At its end it finds that it was cancelled, or that four leases were out.
                    let ends = [CANCELLED, -Errno::ENOBUFS.raw()];
                    assert!(ends.contains(&done.result), "{done:?}");
                } else {
                    let count = done.result as usize;
                    let lease = done.into_lease().expect("a lease");
                    assert_eq!(lease.len(), count);
                    stream.take(&lease);
                }
            }
        }
        while stream.is_behind() {
            ring.start(op::recv(ours, Counted::with_room(64)), 0);
            let done = ring.settle().pop().unwrap();
            stream.take(&received(done).unwrap());
        }
        ring.withdraw(group).unwrap();
    });
}

#[test]
fn p5_a_multishot_accept_dies_with_its_listener_and_not_with_the_number() {
    const NAME: &str = "p5_a_multishot_accept_dies_with_its_listener_and_not_with_the_number";
    in_balance(NAME, || {
        let mut ring: Ring<8> = ring::ring();
        for round in 0..20 {
            let (first, old_address) = ring::unix_listener("old");
            let first = ring.take_in(first);
            let number = ring.number(first);
            let old = ring.start(op::accept_multi(first), 1);
            ring.flush().unwrap();
            connect(&old_address, 1);
            ring.close(first, 2).unwrap();
            // The connection that was there before is delivered or went down with its listener.
            for done in ring.settle() {
                match (done.data, done.result, done.payload) {
                    (1, _, Payload::Descriptor(fd)) => assert_eq!(number_of(to_std(fd)), 1),
                    (1, result, _) => assert_eq!(result, CANCELLED),
                    (data, result, _) => assert_eq!((data, result), (2, 0)),
                }
            }
            let (second, new_address) = ring::unix_listener("new");
            let second = ring.take_in(second);
            assert_eq!(ring.number(second), number, "the number is used again");
            let new = ring.start(op::accept_multi(second), 3);
            ring.flush().unwrap();
            connect(&new_address, 10 + round);
            assert!(UnixStream::connect_addr(&old_address).is_err());
            let fd = ring.turn().pop().expect("a connection");
            assert_eq!((fd.op, fd.more), (new, true));
            assert_eq!(number_of(to_std(fd.into_descriptor().unwrap())), 10 + round);
            assert!(!ring.cancel(old), "the old one is gone");
            ring.close(second, 4).unwrap();
            let rest = ring::results(&ring.settle());
            assert_eq!(rest, [(3, CANCELLED), (4, 0)]);
        }
    });
}

/// What the model knows of an operation under way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nop,
    /// Into which pair.
    Send(usize),
    Recv(usize),
    Poll,
}

#[derive(Debug, Default)]
struct Model {
    ops: HashMap<Op, (Kind, u32, bool)>,
    timers: HashMap<TimerId, u32>,
    sent: Vec<u64>,
    came: Vec<u64>,
    settled: u64,
    cancelled: u64,
    fired: u64,
}

impl Model {
    fn happened(&mut self, event: ring::Happened) {
        match event {
            Event::Completion(done) => self.completed(done),
            Event::Timer { timer, data, .. } => {
                assert_eq!(self.timers.remove(&timer), Some(data), "fires once");
                self.fired += 1;
            }
            other => panic!("{other:?} was not asked for"),
        }
    }

    fn completed(&mut self, done: Done) {
        let known = self.ops.remove(&done.op);
        let (kind, data, asked) = known.expect("each settles once");
        assert_eq!((done.data, done.more), (data, false));
        self.settled += 1;
        let (result, cancelled) = (done.result, done.is_cancelled());
        if cancelled {
            assert!(asked, "{kind:?} was cancelled by nobody");
            self.cancelled += 1;
        } else {
            assert!(result >= 0, "{kind:?}: {result}");
        }
        let buffer = done.into_buffer();
        assert_eq!(
            buffer.is_some(),
            matches!(kind, Kind::Send(_) | Kind::Recv(_))
        );
        if cancelled {
            return;
        }
        match kind {
            Kind::Nop => assert_eq!(result, 0),
            Kind::Poll => assert!(result > 0),
            Kind::Send(pair) => self.sent[pair] += result as u64,
            Kind::Recv(pair) => {
                assert!(buffer.unwrap().iter().all(|byte| *byte == pair as u8));
                self.came[pair] += result as u64;
            }
        }
    }
}

/// A million operations of all kinds, cancelled at random: each settles once, with what it was submitted with, and bytes
/// are neither lost nor made up.
#[test]
fn p3_a_million_operations_settle_once_each() {
    const STEPS: u32 = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    const PAIRS: usize = 4;
    in_balance("p3_a_million_operations_settle_once_each", || {
        let mut dice = Dice::new(0x5eed_0006);
        // Small queues, so that both are full now and then.
        let mut ring: Ring<256> = ring::ring_over(ring::small(32, 64));
        let pairs: Vec<(File, File)> = (0..PAIRS)
            .map(|_| {
                let (one, other) = UnixStream::pair().unwrap();
                (ring.take_in(one), ring.take_in(other))
            })
            .collect();
        let mut model = Model {
            sent: vec![0; PAIRS],
            came: vec![0; PAIRS],
            ..Model::default()
        };
        let (mut started, mut step) = (0u64, 0);
        while step < STEPS {
            let pair = dice.throw(PAIRS);
            let (to, from) = pairs[pair];
            let started_now = match dice.throw(16) {
                0..3 => Some((Kind::Nop, ring.submit(op::nop(), step))),
                3..6 => {
                    let bytes = Counted::of(vec![pair as u8; 1 + dice.throw(64)]);
                    Some((Kind::Send(pair), ring.submit(op::send(to, bytes), step)))
                }
                6..10 => {
                    let recv = op::recv(from, Counted::with_room(1 + dice.throw(64)));
                    Some((Kind::Recv(pair), ring.submit(recv, step)))
                }
                10 => {
                    let poll = op::poll(from, PollEvents::IN);
                    Some((Kind::Poll, ring.submit(poll, step)))
                }
                11 => {
                    let delay = Duration::from_micros(dice.throw(50) as u64);
                    if let Ok(timer) = ring.after(delay, step) {
                        model.timers.insert(timer, step);
                    }
                    None
                }
                12..14 => {
                    // Any of those that the model knows; a map has no order to speak of.
                    let nth = dice.throw(8);
                    if let Some((&op, entry)) = model.ops.iter_mut().nth(nth) {
                        assert!(ring.cancel(op));
                        entry.2 = true;
                    }
                    None
                }
                14 => {
                    let nth = dice.throw(4);
                    if let Some(&timer) = model.timers.keys().nth(nth) {
                        assert!(ring.cancel(timer));
                        model.timers.remove(&timer);
                    }
                    None
                }
                _ => {
                    let asked = ring.cancel_on(from);
                    let mut known = 0;
                    for (kind, _, asked) in model.ops.values_mut() {
                        if *kind == Kind::Recv(pair) {
                            *asked = true;
                            known += 1;
                        } else if *kind == Kind::Poll {
                            // On one of the pairs: which one, the model does not say.
                            *asked = true;
                        }
                    }
                    assert!(asked >= known);
                    None
                }
            };
            match started_now {
                Some((kind, Ok(op))) => {
                    assert_eq!(model.ops.insert(op, (kind, step, false)), None);
                    (started, step) = (started + 1, step + 1);
                }
                // The table is full: something has to give.
                Some((_, Err(refused))) => {
                    assert_eq!(ring.operations(), 256, "{refused}");
                    ring.cancel_on(to);
                    ring.cancel_on(from);
                    for (kind, _, asked) in model.ops.values_mut() {
                        *asked |= *kind != Kind::Nop;
                    }
                    for event in ring.turn_within(Duration::ZERO) {
                        model.happened(event);
                    }
                }
                None => step += 1,
            }
            if dice.throw(16) == 0 {
                for event in ring.turn_within(Duration::ZERO) {
                    model.happened(event);
                }
                assert_eq!(ring.operations(), model.ops.len());
            }
        }
        assert_eq!(ring.cancel_all(), model.ops.len());
        for entry in model.ops.values_mut() {
            entry.2 = true;
        }
        while ring.live() > 0 {
            for event in ring.turn_within(ring::LONG) {
                model.happened(event);
            }
        }
        assert_eq!(model.settled, started);
        assert!(model.ops.is_empty() && model.timers.is_empty());
        assert!(model.cancelled > 0 && model.fired > 0);
        // What is still between the sockets has to be there.
        for (pair, (to, from)) in pairs.into_iter().enumerate() {
            drop(ring.release(to).unwrap());
            let mut from = UnixStream::from(to_std(ring.release(from).unwrap()));
            let mut rest = Vec::new();
            from.read_to_end(&mut rest).unwrap();
            assert!(rest.iter().all(|byte| *byte == pair as u8));
            let came = model.came[pair] + rest.len() as u64;
            assert_eq!(came, model.sent[pair], "bytes of pair {pair}");
        }
        let counters = ring.counters();
        assert_eq!(counters.leaked, 0);
        eprintln!(
            "{started} operations, {} cancelled, {counters:?}",
            model.cancelled
        );
    });
}

/// P1 of the original: what is queued while completions are drained was dropped with them.
#[test]
fn p8_cancelling_and_submitting_between_two_completions_loses_nothing() {
    const NAME: &str = "p8_cancelling_and_submitting_between_two_completions_loses_nothing";
    in_balance(NAME, || {
        let mut ring: Ring<64> = ring::ring();
        let (ours, _peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let mut waiting: Vec<Op> = (0..16)
            .map(|number| ring.start(op::recv(ours, Counted::with_room(4)), 100 + number))
            .collect();
        for number in 0..16 {
            ring.start(op::nop(), number);
        }
        let mut seen = Vec::new();
        while ring.operations() > 0 {
            ring.wait(Some(ring::LONG)).unwrap();
            while let Some(event) = ring.next() {
                let Event::Completion(done) = event else {
                    panic!("{event:?}");
                };
                seen.push(done.data);
                if done.data < 16 {
                    // In the midst of the batch.
                    let victim = waiting.pop().unwrap();
                    assert!(ring.cancel(victim) && ring.cancel(victim), "asked twice");
                    assert!(ring.contains(victim), "it settles later (P-2)");
                    ring.start(op::nop(), 200 + done.data);
                }
            }
        }
        seen.sort_unstable();
        let all = (0..16).chain(100..116).chain(200..216);
        assert!(seen.into_iter().eq(all), "each came, once");
    });
}

#[test]
fn p4_a_stale_handle_never_touches_a_newer_operation_in_its_slot() {
    const NAME: &str = "p4_a_stale_handle_never_touches_a_newer_operation_in_its_slot";
    in_balance(NAME, || {
        let mut ring: Ring<1> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let mut stale = Vec::new();
        for round in 0..ROUNDS / 10 {
            let recv = ring.start(op::recv(ours, Counted::with_room(1)), round);
            for &old in &stale {
                assert!(!ring.cancel(old) && !ring.contains(old) && !ring.detach(old));
            }
            peer.write_all(&[round as u8]).unwrap();
            let done = ring.settle().pop().unwrap();
            assert_eq!((done.op, done.data), (recv, round));
            assert_eq!(received(done), Some(vec![round as u8]));
            stale.push(recv);
            if stale.len() > 8 {
                stale.remove(0);
            }
        }
    });
}

/// What one ring gave out means nothing to another.
#[test]
fn p4_the_handles_of_one_ring_are_foreign_to_another() {
    const NAME: &str = "p4_the_handles_of_one_ring_are_foreign_to_another";
    in_balance(NAME, || {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        // The same slots of each are taken by the same kinds of things.
        let mut rings: Vec<_> = (0..8)
            .map(|number| {
                let mut ring: Ring<8> = ring::ring();
                let file = ring.take_in(ours.try_clone().unwrap());
                let recv = ring.start(op::recv(file, Counted::with_room(1)), number);
                let timer = ring.after(ring::LONG, number).unwrap();
                ring.flush().unwrap();
                (ring, file, recv, timer)
            })
            .collect();
        for at in 0..rings.len() {
            let (_, file, recv, timer) = rings[at];
            for (other, (ring, ..)) in rings.iter_mut().enumerate() {
                if other == at {
                    continue;
                }
                assert!(!ring.cancel(recv) && !ring.contains(recv) && !ring.detach(recv));
                assert!(!ring.cancel(timer) && !ring.set_counted(recv, false));
                assert_eq!(ring.cancel_on(file), 0);
                assert!(ring.number(file).is_none());
                assert_eq!(ring.close(file, 0).unwrap_err(), Error::Stale);
                assert_eq!(ring.release(file).map(drop), Err(Error::Stale));
                let refused = ring.submit(op::recv(file, Counted::with_room(1)), 0);
                assert_eq!(refused.unwrap_err().error, Error::Stale);
            }
        }
        peer.write_all(&[1; 8]).unwrap();
        for (number, (mut ring, _, _, timer)) in rings.into_iter().enumerate() {
            assert_eq!(ring::results(&ring.settle()), [(number as u32, 1)]);
            assert!(ring.cancel(timer));
        }
    });
}

/// A cancel that comes with the completion in the queue already: the completion stands.
#[test]
fn p4_cancelling_what_has_completed_and_was_not_fetched_changes_nothing() {
    const NAME: &str = "p4_cancelling_what_has_completed_and_was_not_fetched_changes_nothing";
    in_balance(NAME, || {
        let mut ring: Ring<64> = ring::ring();
        for round in 0..50 {
            let nops: Vec<Op> = (0..20).map(|n| ring.start(op::nop(), n)).collect();
            ring.flush().unwrap();
            for &nop in nops.iter().skip(round % 3) {
                assert!(ring.cancel(nop), "it has not settled");
            }
            let done = ring.settle();
            assert!(done.iter().all(|done| done.result == 0));
            assert!(done.into_iter().map(|done| done.op).eq(nops));
        }
        // Nothing of the cancels is left that could strike what comes after.
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        ring.start(op::recv(ours, Counted::with_room(4)), 7);
        assert!(ring::completions(ring.turn_within(Duration::ZERO)).is_empty());
        peer.write_all(b"ok").unwrap();
        assert_eq!(received(ring.settle().pop().unwrap()), Some(b"ok".to_vec()));
    });
}

#[test]
fn p4_cancelling_everything_at_once_and_again_settles_each_once() {
    const NAME: &str = "p4_cancelling_everything_at_once_and_again_settles_each_once";
    in_balance(NAME, || {
        // Far more to cancel than either queue has room for.
        let mut ring: Ring<512> = ring::ring_over(ring::small(8, 16));
        let (ours, _peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        for round in 0..5 {
            for number in 0..500 {
                ring.start(op::recv(ours, Counted::with_room(4)), number);
            }
            if round % 2 == 0 {
                ring.flush().unwrap();
            }
            assert_eq!(ring.cancel_on(ours), 500);
            assert_eq!(ring.cancel_all(), 500);
            let done = ring.settle();
            assert!(done.iter().all(|done| done.result == CANCELLED));
            let mut numbers: Vec<u32> = done.iter().map(|done| done.data).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..500));
        }
        assert_eq!(ring.counters().leaked, 0);
    });
}

#[test]
fn p7_what_was_detached_settles_in_silence_and_gives_back_what_it_made() {
    const NAME: &str = "p7_what_was_detached_settles_in_silence_and_gives_back_what_it_made";
    in_balance(NAME, || {
        let mut ring: Ring<64> = ring::ring();
        let (listener, address) = ring::unix_listener("detached");
        let listener = ring.take_in(listener);
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let group = there_is(ring.provide(4, 16));
        for round in 0..100 {
            let open = ring::descriptors();
            let ops = [
                ring.start(op::accept(listener), 1),
                ring.start(op::accept_multi(listener), 2),
                ring.start(op::recv(ours, Counted::with_room(2)), 3),
                ring.start(op::recv_multi(ours, group), 4),
            ];
            for op in ops {
                assert!(ring.detach(op));
            }
            connect(&address, 1);
            connect(&address, 2);
            peer.write_all(b"four").unwrap();
            if round % 2 == 0 {
                assert!(ring.turn_within(Duration::ZERO).is_empty());
            }
            ring.cancel_all();
            assert!(ring.settle().is_empty());
            assert_eq!(ring::descriptors(), open, "a descriptor that nobody has");
            // What no operation took still waits.
            ring.start(op::accept_multi(listener), 5);
            ring.start(op::recv(ours, Counted::with_room(64)), 6);
            ring.turn_within(Duration::ZERO);
            ring.cancel_all();
            ring.settle();
        }
        ring.withdraw(group).unwrap();
        assert_eq!(ring::buffers_out(), 0);
    });
}
