//! A kernel that takes nothing, or not all, of what is queued, in front of the real one: nothing is lost, nothing runs that
//! should not, and what could not be asked is asked again (P-4, P-6, P-10).

#![deny(unsafe_code)]

#[path = "../src/calls.rs"]
mod calls;
#[path = "../src/counting.rs"]
mod counting;
#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use counting::{ALWAYS, Name, Probe};
use linux_event_core::errno::Errno;
use linux_event_core::proactor::{
    Completion, Event, Options, Proactor, Request, Storage, Target, Uring, Vectors, op,
};
use linux_event_core::sys::Fd;
use linux_event_core::wakeup::Wakeup;
use ring::{CANCELLED, Counted, Counting, Dice, LONG, in_balance};

type Backend = Uring<Counted, Probe, Arc<Wakeup<Probe>>>;
type Ring =
    Proactor<Counted, u32, 64, 64, Backend, Box<Storage<u32, 64, 64, Fd<Probe>, Fd<Probe>>>>;
type Done = Completion<u32, Backend>;

fn ring(probe: &Probe) -> Ring {
    let options = Options {
        entries: 8,
        cq_entries: Some(16),
        ..Options::DEFAULT
    };
    let uring = Backend::with_options(probe.clone(), options).expect("a ring");
    Ring::with_storage(uring, Box::new(Storage::new())).expect("a proactor")
}

/// The test's own end of a pair, and the other.
fn pair() -> (UnixStream, Target, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    let target = calls::bare(ours.as_raw_fd());
    (ours, target, peer)
}

/// What completes in one turn.
fn turn(ring: &mut Ring, timeout: Duration) -> Vec<Done> {
    // A kernel that takes nothing fails the wait, and what was there is to be had all the same.
    match ring.wait(Some(timeout)) {
        Ok(()) => {}
        Err(error) => assert!(
            [Some(Errno::EAGAIN), Some(Errno::EBUSY)].contains(&error.errno()),
            "{error}"
        ),
    }
    let events = std::iter::from_fn(|| ring.next());
    events
        .map(|event| match event {
            Event::Completion(done) => done,
            other => panic!("{other:?} was not asked for"),
        })
        .collect()
}

/// Turns until everything has settled: data and results, sorted.
fn settle(ring: &mut Ring) -> Vec<(u32, i32)> {
    let mut results = Vec::new();
    while ring.operations() > 0 {
        let done = turn(ring, LONG);
        results.extend(done.into_iter().map(|done| (done.data, done.result)));
    }
    results.sort_unstable();
    results
}

#[test]
fn p4_a_cancel_that_could_not_be_made_is_made_before_the_next_wait() {
    const NAME: &str = "p4_a_cancel_that_could_not_be_made_is_made_before_the_next_wait";
    in_balance(NAME, || {
        for times in [1, 2, 5] {
            let probe = Probe::new();
            let mut ring = ring(&probe);
            let (_ours, target, _peer) = pair();
            let recvs: Vec<_> = (0..4)
                .map(|number| {
                    let recv = op::recv(target, Counted::with_room(1));
                    ring.submit(recv, number).unwrap()
                })
                .collect();
            ring.flush().unwrap();
            // The queue is full, and the kernel takes nothing of it.
            for number in 0..8 {
                ring.submit(op::nop(), 100 + number).unwrap();
            }
            probe.refuse(Name::RingEnter, Errno::EAGAIN, times);
            for recv in recvs {
                assert!(ring.cancel(recv) && ring.cancel(recv));
                assert_eq!(ring.is_cancelling(recv), Some(true));
            }
            let settled = settle(&mut ring);
            let cancelled = (0..4).map(|number| (number, CANCELLED));
            assert!(
                settled
                    .into_iter()
                    .eq(cancelled.chain((100..108).map(|n| (n, 0))))
            );
        }
    });
}

/// What a full queue that can't be flushed refuses comes back, chains whole.
#[test]
fn p10_what_a_queue_that_can_not_be_flushed_refuses_comes_back() {
    const NAME: &str = "p10_what_a_queue_that_can_not_be_flushed_refuses_comes_back";
    in_balance(NAME, || {
        let probe = Probe::new();
        let mut ring = ring(&probe);
        let (_ours, target, mut peer) = pair();
        for number in 0..7 {
            ring.submit(op::nop(), number).unwrap();
        }
        probe.refuse(Name::RingEnter, Errno::EBUSY, ALWAYS);
        let send = |byte: u8| op::send(target, Counted::of([byte]));
        let chain = [
            (send(1).link().into(), 101),
            (send(2).link().into(), 102),
            (send(3).into(), 103),
        ];
        let refused = ring.submit_chain(chain).unwrap_err();
        assert_eq!(refused.error.errno(), Some(Errno::EBUSY));
        for (request, byte) in refused.requests.iter().zip(1..) {
            assert_eq!(&**request.buffer.as_ref().unwrap(), [byte]);
        }
        // There is room for one, not for its timeout.
        let refused = ring.submit(send(4).timeout(LONG), 104).unwrap_err();
        assert_eq!(&*refused.buffer.unwrap(), [4]);
        ring.submit(send(5), 105).unwrap();
        let refused = ring.submit(send(6), 106).unwrap_err();
        assert_eq!(&*refused.buffer.unwrap(), [6]);
        assert_eq!(ring.operations(), 8);
        probe.allow_all();
        assert_eq!(settle(&mut ring).len(), 8);
        peer.set_nonblocking(true).unwrap();
        let mut came = [0; 8];
        assert_eq!(peer.read(&mut came).unwrap(), 1);
        assert_eq!(came[0], 5, "nothing of what was refused was sent");
    });
}

/// A kernel that takes the beginning of a chain starts it; the rest must not run by itself, in whatever call it goes.
#[test]
fn p10_what_a_short_submission_cuts_off_a_chain_does_not_run() {
    const NAME: &str = "p10_what_a_short_submission_cuts_off_a_chain_does_not_run";
    in_balance(NAME, || {
        for hard in [false, true] {
            for before in 0..3 {
                for taken in 0..=5 {
                    cut_chain(hard, before, taken);
                }
            }
        }
    });
}

/// A chain of five sends behind `before` nops, of which the kernel takes `taken` in its first call.
fn cut_chain(hard: bool, before: u32, taken: u32) {
    let probe = Probe::new();
    let mut ring = ring(&probe);
    let (ours, target, mut peer) = pair();
    for number in 0..before {
        ring.submit(op::nop(), number).unwrap();
    }
    let members: [(Request<Counted>, u32); 5] = std::array::from_fn(|number| {
        let send = op::send(target, Counted::of([number as u8]));
        let send = if hard { send.hard_link() } else { send.link() };
        (send.into(), 100 + number as u32)
    });
    ring.submit_chain(members).expect("a chain");
    // One that is no part of it, and has to run.
    ring.submit(op::send(target, Counted::of([99])), 200)
        .unwrap();
    probe.take_at_most(before + taken);
    let settled = settle(&mut ring);
    drop((ring, ours));
    // A cut where the chain begins or ends cuts nothing.
    let runs = if taken == 0 { 5 } else { taken };
    let members = (0..5).map(|number| (100 + number, if number < runs { 1 } else { CANCELLED }));
    let nops = (0..before).map(|number| (number, 0));
    let expected: Vec<_> = nops.chain(members).chain([(200, 1)]).collect();
    assert_eq!(settled, expected, "{hard} {before} {taken}");
    let mut sent = Vec::new();
    peer.read_to_end(&mut sent).unwrap();
    sent.sort_unstable();
    let expected: Vec<u8> = (0..runs as u8).chain([99]).collect();
    assert_eq!(sent, expected, "{hard} {before} {taken}");
}

/// A short submission between an operation and its timeout.
#[test]
fn p10_a_short_submission_between_an_operation_and_its_timeout_settles_both() {
    const NAME: &str = "p10_a_short_submission_between_an_operation_and_its_timeout_settles_both";
    in_balance(NAME, || {
        for taken in 0..6 {
            let probe = Probe::new();
            let mut ring = ring(&probe);
            let (_ours, target, mut peer) = pair();
            let recv = || op::recv(target, Counted::with_room(1)).timeout(LONG).link();
            let chain = [
                (recv().into(), 0),
                (recv().into(), 1),
                (op::nop().into(), 2),
            ];
            ring.submit_chain(chain).expect("a chain");
            probe.take_at_most(taken);
            peer.write_all(&[1; 2]).unwrap();
            let settled = settle(&mut ring);
            let ended = settled.iter().filter(|(_, result)| *result == CANCELLED);
            assert_eq!(settled.len(), 3);
            // In order: what ran, and then what was cut off.
            let ended = ended.count() as u32;
            assert!(
                settled[..(3 - ended) as usize]
                    .iter()
                    .all(|(_, result)| *result >= 0)
            );
        }
    });
}

/// Everything at random: refusals, short submissions, cancels. Each operation settles once, and no byte is lost.
#[test]
fn p3_a_kernel_of_moods_changes_no_outcome() {
    const STEPS: u32 = if cfg!(debug_assertions) {
        10_000
    } else {
        100_000
    };
    in_balance("p3_a_kernel_of_moods_changes_no_outcome", || {
        let mut dice = Dice::new(0x5eed_0031);
        let probe = Probe::new();
        let mut ring = ring(&probe);
        let (_ours, target, mut peer) = pair();
        let mut stream = Counting::default();
        let mut under_way = std::collections::HashMap::new();
        let (mut started, mut settled, mut refused) = (0, 0, 0);
        for step in 0..STEPS {
            match dice.throw(12) {
                0 => probe.refuse(Name::RingEnter, Errno::EAGAIN, 1),
                1 => probe.refuse(Name::RingEnter, Errno::EBUSY, 2),
                2 => probe.refuse(Name::RingEnter, Errno::EINTR, 1),
                3 => probe.take_at_most(dice.throw(4) as u32),
                _ => {}
            }
            match dice.throw(8) {
                0 => {
                    let chain: [(Request<Counted>, u32); 3] =
                        std::array::from_fn(|_| (op::nop().hard_link().into(), step));
                    match ring.submit_chain(chain) {
                        Ok(ops) => {
                            started += 3;
                            under_way.extend(ops.map(|op| (op, step)));
                        }
                        Err(_) => refused += 1,
                    }
                }
                // One receive at a time, so that bytes come in their order.
                1..5 if !under_way.values().any(|data| *data == u32::MAX) => {
                    let recv = op::recv(target, Counted::with_room(4));
                    let recv = match dice.throw(2) {
                        0 => recv,
                        _ => recv.timeout(LONG),
                    };
                    match ring.submit(recv, u32::MAX) {
                        Ok(op) => {
                            started += 1;
                            under_way.insert(op, u32::MAX);
                        }
                        Err(back) => {
                            assert!(back.buffer.is_some());
                            refused += 1;
                        }
                    }
                }
                5 => peer.write_all(&[stream.next()]).unwrap(),
                6 => {
                    if let Some(op) = under_way.keys().nth(dice.throw(4)) {
                        assert!(ring.cancel(*op));
                    }
                }
                _ => {
                    let _ = ring.flush();
                }
            }
            if dice.throw(3) == 0 {
                for done in turn(&mut ring, Duration::ZERO) {
                    assert_eq!(under_way.remove(&done.op), Some(done.data));
                    settled += 1;
                    let result = done.result;
                    if let Some(bytes) = done.into_buffer()
                        && result > 0
                    {
                        stream.take(&bytes);
                    }
                }
            }
        }
        probe.allow_all();
        ring.cancel_all();
        while ring.operations() > 0 {
            for done in turn(&mut ring, LONG) {
                assert_eq!(under_way.remove(&done.op), Some(done.data));
                settled += 1;
                if done.result > 0 {
                    stream.take(&done.into_buffer().unwrap());
                }
            }
        }
        assert_eq!(settled, started);
        assert!(refused > 0, "the kernel was never in the mood");
        while stream.is_behind() {
            ring.submit(op::recv(target, Counted::with_room(64)), 0)
                .unwrap();
            while ring.operations() > 0 {
                for done in turn(&mut ring, LONG) {
                    stream.take(&done.into_buffer().unwrap());
                }
            }
        }
        assert_eq!(ring.counters().leaked, 0);
    });
}

/// The end of a proactor whose kernel takes nothing any more, for a while or for ever.
#[test]
fn p6_a_kernel_that_takes_nothing_at_the_end_gets_nothing() {
    const NAME: &str = "p6_a_kernel_that_takes_nothing_at_the_end_gets_nothing";
    in_balance(NAME, || {
        for errno in [Errno::EAGAIN, Errno::EBUSY, Errno::EINTR, Errno::EPERM] {
            for (times, flushed) in [(1, false), (3, true), (ALWAYS, false)] {
                if (errno, times) == (Errno::EINTR, ALWAYS) {
                    continue; // no kernel is interrupted for ever
                }
                let probe = Probe::new();
                let mut ring = ring(&probe);
                let (_ours, target, mut peer) = pair();
                for number in 0..6 {
                    let recv = op::recv(target, Counted::with_room(1));
                    ring.submit(recv, number).unwrap();
                }
                let mut buffers = Vectors::new();
                for _ in 0..3 {
                    assert!(buffers.push(Counted::with_room(1)).is_ok());
                }
                ring.submit_vectored(op::recv_message(target, buffers), 6)
                    .expect("a receive");
                // EPERM for ever is what ends the asking: then what the kernel has stays with it.
                let flushed = flushed && errno != Errno::EPERM;
                if flushed {
                    ring.flush().unwrap();
                }
                ring.submit(op::send(target, Counted::of(b"x")), 9).unwrap();
                probe.refuse(Name::RingEnter, errno, times);
                let report = ring.shutdown(Duration::from_millis(50));
                assert_eq!((report.settled, report.leaked), (8, 0), "{errno} {times}");
                assert_eq!(ring::buffers_out(), 0);
                if times == ALWAYS {
                    peer.set_nonblocking(true).unwrap();
                    assert!(peer.read(&mut [0]).is_err(), "nothing was sent");
                }
            }
        }
    });
}
