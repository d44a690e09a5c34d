//! Chains and linked timeouts on the real ring: cancelling a member that has not started, timeouts in every place, closing
//! as a member (P-4, P-9, P-10, P-15).

#![deny(unsafe_code)]

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{File, Op};
use linux_event_core::proactor::{PollEvents, Request, op};
use ring::{CANCELLED, Counted, Dice, LONG, Ring, Turns, in_balance, results, there_is};

const MILLI: Duration = Duration::from_millis(1);
const NOT_A_SOCKET: i32 = -Errno::ENOTSOCK.raw();

/// A receive that waits, of one byte.
fn waits(file: File) -> op::Message<Counted> {
    op::recv(file, Counted::with_room(1))
}

fn sorted(done: &[ring::Done]) -> Vec<(u32, i32)> {
    let mut results = results(done);
    results.sort_unstable();
    results
}

#[test]
fn p4_cancelling_any_member_of_a_hard_linked_chain_ends_all_of_it() {
    const NAME: &str = "p4_cancelling_any_member_of_a_hard_linked_chain_ends_all_of_it";
    in_balance(NAME, || {
        for victim in 0..4 {
            for flushed in [false, true] {
                let mut ring: Ring<16> = ring::ring();
                let (ours, _peer) = UnixStream::pair().unwrap();
                let ours = ring.take_in(ours);
                let member = |number| (waits(ours).hard_link().into(), number);
                let chain = [member(0), member(1), member(2), member(3)];
                let ops = ring.submit_chain(chain).expect("a chain");
                if flushed {
                    assert!(ring.turn_within(Duration::ZERO).is_empty());
                }
                assert!(ring.cancel(ops[victim]));
                // Each member starts when the one before it is cancelled, and is cancelled then.
                let done = sorted(&ring.settle());
                assert!(done.into_iter().eq((0..4).map(|n| (n, CANCELLED))));
            }
        }
    });
}

#[test]
fn p4_cancelling_a_member_that_has_not_started_ends_a_soft_chain_too() {
    const NAME: &str = "p4_cancelling_a_member_that_has_not_started_ends_a_soft_chain_too";
    in_balance(NAME, || {
        for victim in 0..3 {
            for flushed in [false, true] {
                let mut ring: Ring<16> = ring::ring();
                let (ours, mut peer) = UnixStream::pair().unwrap();
                let ours = ring.take_in(ours);
                let chain = [
                    (waits(ours).link().into(), 0),
                    (op::send(ours, Counted::of(b"x")).link().into(), 1),
                    (
                        op::shutdown(ours, linux_event_core::proactor::How::Both).into(),
                        2,
                    ),
                ];
                let ops = ring.submit_chain(chain).expect("a chain");
                if flushed {
                    ring.flush().unwrap();
                }
                assert!(ring.cancel(ops[victim]));
                let done = sorted(&ring.settle());
                assert!(done.into_iter().eq((0..3).map(|n| (n, CANCELLED))));
                // No member ran.
                drop(ring);
                assert_eq!(peer.read(&mut [0]).unwrap(), 0);
            }
        }
    });
}

/// Cancelling in the midst: what is behind the running member never runs, what was before it has.
#[test]
fn p4_a_chain_is_cancelled_from_the_running_member_on() {
    in_balance("p4_a_chain_is_cancelled_from_the_running_member_on", || {
        for victim in 1..4 {
            let mut ring: Ring<16> = ring::ring();
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            let chain = [
                (op::send(ours, Counted::of(b"a")).hard_link().into(), 0),
                (waits(ours).hard_link().into(), 1),
                (waits(ours).hard_link().into(), 2),
                (waits(ours).into(), 3),
            ];
            let ops = ring.submit_chain(chain).expect("a chain");
            let first = ring.turn();
            assert_eq!(results(&first), [(0, 1)]);
            assert!(!ring.cancel(ops[0]), "it has settled");
            assert!(ring.cancel(ops[victim]));
            let done = sorted(&ring.settle());
            assert_eq!(done, [(1, CANCELLED), (2, CANCELLED), (3, CANCELLED)]);
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            assert_eq!(byte, *b"a");
        }
    });
}

/// Chains of random length, links and timeouts, of which random members are cancelled while their peers write: each member
/// settles once, and a byte that was received is delivered.
#[test]
fn p4_chains_that_are_cancelled_at_random_settle_once() {
    const ROUNDS: usize = if cfg!(debug_assertions) { 400 } else { 4000 };
    const NAME: &str = "p4_chains_that_are_cancelled_at_random_settle_once";
    in_balance(NAME, || {
        let mut dice = Dice::new(0x5eed_0011);
        let mut ring: Ring<64> = ring::ring_over(ring::small(16, 16));
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let (mut written, mut read) = (0, 0);
        for _ in 0..ROUNDS {
            let mut ops: Vec<Op> = Vec::new();
            let mut expected = 0;
            for chain in 0..=dice.throw(4) as u32 {
                let members: [(Request<Counted>, u32); 4] = std::array::from_fn(|number| {
                    let request = match dice.throw(4) {
                        0 => op::nop().hard_link().into(),
                        1 => waits(ours).link().into(),
                        2 => waits(ours).timeout(LONG).hard_link().into(),
                        _ => waits(ours).hard_link().into(),
                    };
                    (request, 10 * chain + number as u32)
                });
                ops.extend(ring.submit_chain(members).expect("a chain"));
                expected += 4;
            }
            let mut all = Vec::new();
            while all.len() < expected {
                for _ in 0..dice.throw(3) {
                    peer.write_all(&[7]).unwrap();
                    written += 1;
                }
                let victim = ops[dice.throw(ops.len())];
                assert_eq!(ring.cancel(victim), ring.contains(victim));
                all.extend(ring::completions(ring.turn_within(Duration::ZERO)));
                assert_eq!(ring.operations(), expected - all.len());
            }
            let mut numbers: Vec<u32> = all.iter().map(|done| done.data).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), expected, "each once");
            for done in all {
                let result = done.result;
                assert!(result == CANCELLED || result >= 0, "{result}");
                if let Some(buffer) = done.into_buffer()
                    && result > 0
                {
                    assert_eq!(&*buffer, [7]);
                    read += 1;
                }
            }
            // So that the socket does not fill up.
            while written - read > 100 {
                ring.start(op::recv(ours, Counted::with_room(100)), 0);
                read += ring.settle().pop().unwrap().into_buffer().unwrap().len();
            }
        }
        drop(ring.release(ours).unwrap());
        peer.set_nonblocking(true).unwrap();
        assert_eq!(
            peer.read(&mut [0; 8]).ok(),
            Some(0).filter(|_| read == written)
        );
    });
}

#[test]
fn p9_a_timeout_ends_an_operation_as_cancelled_and_is_gone_if_it_is_not_needed() {
    const NAME: &str =
        "p9_a_timeout_ends_an_operation_as_cancelled_and_is_gone_if_it_is_not_needed";
    in_balance(NAME, || {
        let mut ring: Ring<16> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        for round in 0..20 {
            ring.start(waits(ours).timeout(MILLI), round);
            assert_eq!(results(&ring.settle()), [(round, CANCELLED)]);
            // One that is over at once.
            ring.start(waits(ours).timeout(Duration::ZERO), round);
            assert_eq!(results(&ring.settle()), [(round, CANCELLED)]);
            // One that is not needed, and must not strike anybody later.
            ring.start(waits(ours).timeout(LONG), round);
            peer.write_all(&[1]).unwrap();
            assert_eq!(results(&ring.settle()), [(round, 1)]);
            // One whose operation is cancelled otherwise.
            let recv = ring.start(waits(ours).timeout(LONG), round);
            ring.flush().unwrap();
            ring.cancel(recv);
            assert_eq!(results(&ring.settle()), [(round, CANCELLED)]);
            // One whose operation fails at once.
            let (pipe, _writer) = std::io::pipe().unwrap();
            let pipe = ring.take_in(pipe);
            ring.start(waits(pipe).timeout(LONG), round);
            assert_eq!(results(&ring.settle()), [(round, NOT_A_SOCKET)]);
            drop(ring.release(pipe).unwrap());
        }
        // No wait of the loop is held up by what timeouts left.
        assert_eq!((ring.live(), ring.operations()), (0, 0));
    });
}

/// A timeout in one slot, used by one operation after the other: each has its own time.
#[test]
fn p9_a_slot_that_is_used_again_has_the_new_timeout() {
    in_balance("p9_a_slot_that_is_used_again_has_the_new_timeout", || {
        let mut ring: Ring<1> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        for round in 0..50 {
            ring.start(waits(ours).timeout(LONG), round);
            peer.write_all(&[1]).unwrap();
            assert_eq!(results(&ring.settle()), [(round, 1)]);
            ring.start(waits(ours).timeout(MILLI / 10), round);
            assert_eq!(results(&ring.settle()), [(round, CANCELLED)]);
        }
    });
}

#[test]
fn p9_a_timeout_in_a_chain_is_its_members_alone() {
    in_balance("p9_a_timeout_in_a_chain_is_its_members_alone", || {
        let mut ring: Ring<16> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let send = || op::send(ours, Counted::of(b"x"));
        // The first is over: a soft chain ends, a hard one goes on.
        let chain = [
            (waits(ours).timeout(MILLI).link().into(), 0),
            (send().into(), 1),
        ];
        ring.submit_chain(chain).expect("a chain");
        assert_eq!(sorted(&ring.settle()), [(0, CANCELLED), (1, CANCELLED)]);
        let chain = [
            (waits(ours).timeout(MILLI).hard_link().into(), 0),
            (send().timeout(LONG).hard_link().into(), 1),
            (op::nop().timeout(LONG).into(), 2),
        ];
        ring.submit_chain(chain).expect("a chain");
        assert_eq!(sorted(&ring.settle()), [(0, CANCELLED), (1, 1), (2, 0)]);
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        // In the middle: its time counts from its own start, the members after it are its chain's.
        let chain = [
            (op::nop().link().into(), 0),
            (waits(ours).timeout(MILLI).link().into(), 1),
            (send().link().into(), 2),
            (send().into(), 3),
        ];
        ring.submit_chain(chain).expect("a chain");
        let done = sorted(&ring.settle());
        assert_eq!(
            done,
            [(0, 0), (1, CANCELLED), (2, CANCELLED), (3, CANCELLED)]
        );
        // All in time.
        peer.write_all(b"y").unwrap();
        let chain = [
            (op::nop().timeout(LONG).link().into(), 0),
            (waits(ours).timeout(LONG).link().into(), 1),
            (send().timeout(LONG).link().into(), 2),
            (op::nop().timeout(LONG).into(), 3),
        ];
        ring.submit_chain(chain).expect("a chain");
        assert_eq!(sorted(&ring.settle()), [(0, 0), (1, 1), (2, 1), (3, 0)]);
        peer.read_exact(&mut byte).unwrap();
    });
}

/// A cancel races with the timeout of the same operation: it settles once.
#[test]
fn p4_a_cancel_against_a_timeout_settles_once() {
    const ROUNDS: u32 = if cfg!(debug_assertions) { 500 } else { 5000 };
    in_balance("p4_a_cancel_against_a_timeout_settles_once", || {
        let mut dice = Dice::new(0x5eed_0012);
        let mut ring: Ring<16> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        for round in 0..ROUNDS {
            let limit = Duration::from_micros(dice.throw(30) as u64);
            let recv = ring.start(waits(ours).timeout(limit), round);
            if dice.throw(2) == 0 {
                ring.flush().unwrap();
            }
            let mut wrote = false;
            if dice.throw(3) == 0 {
                peer.write_all(&[1]).unwrap();
                wrote = true;
            }
            let mut all = Vec::new();
            while dice.throw(3) > 0 && ring.operations() > 0 {
                all.extend(ring::completions(ring.turn_within(Duration::ZERO)));
            }
            ring.cancel(recv);
            all.extend(ring.settle());
            let all = results(&all);
            assert!(all == [(round, CANCELLED)] || (wrote && all == [(round, 1)]));
            if wrote && all == [(round, CANCELLED)] {
                ring.start(waits(ours), round);
                assert_eq!(results(&ring.settle()), [(round, 1)]);
            }
        }
    });
}

/// Multishot operations end by their timeout as well, and what came before is delivered.
#[test]
fn p9_a_timeout_ends_a_multishot_operation() {
    in_balance("p9_a_timeout_ends_a_multishot_operation", || {
        let mut ring: Ring<16> = ring::ring();
        let (ours, _peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let (listener, _) = ring::unix_listener("timeout");
        let listener = ring.take_in(listener);
        let group = there_is(ring.provide(4, 16));
        ring.start(op::accept_multi(listener).timeout(MILLI), 1);
        ring.start(op::recv_multi(ours, group).timeout(MILLI), 2);
        ring.start(op::poll_multi(ours, PollEvents::IN).timeout(MILLI), 3);
        ring.start(op::accept(listener).timeout(MILLI), 4);
        let done = sorted(&ring.settle());
        assert_eq!(
            done,
            [
                (1, CANCELLED),
                (2, CANCELLED),
                (3, CANCELLED),
                (4, CANCELLED)
            ]
        );
        ring.withdraw(group).unwrap();
    });
}

/// The longest time there is is long, and not over at once.
#[test]
fn p9_times_without_end_do_not_end() {
    in_balance("p9_times_without_end_do_not_end", || {
        let times = [
            Duration::MAX,
            Duration::from_secs(1 << 34),
            Duration::from_hours(1 << 20),
        ];
        for time in times {
            let mut ring: Ring<16> = ring::ring();
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            // What ends its waits is over in 5 ms; a wait that does not wait would turn thousands of times.
            for (number, timeout) in [(1, Some(time)), (2, None), (3, Some(time))] {
                // The first of them without, the others with a deadline as far away.
                let timer = (number > 1).then(|| ring.after(time, 9).unwrap());
                ring.start(waits(ours).timeout(5 * MILLI), number);
                let (mut turns, mut done) = (0, Vec::new());
                while ring.operations() > 0 {
                    ring.wait(timeout).unwrap();
                    let happened = std::iter::from_fn(|| ring.next()).collect();
                    done.extend(ring::completions(happened));
                    turns += 1;
                }
                assert_eq!(results(&done), [(number, CANCELLED)], "{time:?}");
                assert!(turns < 10, "{time:?}: {turns} turns");
                assert!(timer.is_none_or(|timer| ring.cancel(timer)));
            }
            ring.start(waits(ours).timeout(time), 4);
            assert!(ring.turn_within(Duration::ZERO).is_empty());
            peer.write_all(&[1]).unwrap();
            assert_eq!(results(&ring.settle()), [(4, 1)]);
        }
    });
}

#[test]
fn p15_a_chain_closes_its_file_whether_it_breaks_or_not() {
    in_balance(
        "p15_a_chain_closes_its_file_whether_it_breaks_or_not",
        || {
            for breaks in [false, true] {
                for cancels in [false, true] {
                    let open = ring::descriptors();
                    let mut ring: Ring<16> = ring::ring();
                    let (ours, mut peer) = UnixStream::pair().unwrap();
                    let (pipe, writer) = std::io::pipe().unwrap();
                    let ours = ring.take_in(ours);
                    let pipe = ring.take_in(pipe);
                    let first = if breaks { pipe } else { ours };
                    let chain = [
                        (op::send(first, Counted::of(b"x")).link().into(), 0),
                        (waits(ours).link().into(), 1),
                        (op::close(ours).into(), 2),
                    ];
                    let ops = ring.submit_chain(chain).expect("a chain");
                    // It is promised to the chain.
                    let refused = ring.submit(waits(ours), 9).unwrap_err();
                    assert_eq!(refused.error, Error::Stale);
                    assert!(matches!(
                        ring.release(ours),
                        Err(Error::Busy | Error::Stale)
                    ));
                    assert_eq!(ring.close(ours, 9).unwrap_err(), Error::Stale);
                    if cancels {
                        assert!(ring.cancel(ops[2]));
                    } else {
                        peer.write_all(b"y").unwrap();
                    }
                    let done = sorted(&ring.settle());
                    assert_eq!(done.len(), 3);
                    if !breaks && !cancels {
                        assert_eq!(done, [(0, 1), (1, 1), (2, 0)]);
                    }
                    // Closed, and once: a number that came free and was taken again is left alone.
                    let (other, other_writer) = std::io::pipe().unwrap();
                    let mut rest = Vec::new();
                    match peer.read_to_end(&mut rest) {
                        Ok(count) => assert!(count <= 1),
                        // What was written was not received.
                        Err(error) => assert!(breaks && !cancels, "{error}"),
                    }
                    assert_eq!(ring.files(), 1);
                    drop((ring, peer, writer));
                    std::os::fd::AsFd::as_fd(&other)
                        .try_clone_to_owned()
                        .expect("it is open");
                    drop((other, other_writer));
                    assert_eq!(ring::descriptors(), open);
                }
            }
        },
    );
}

/// A file that a chain will close can be cancelled on until then, and it is this file's operations that are.
#[test]
fn p4_what_works_on_a_file_that_a_chain_closes_can_be_cancelled_by_the_file() {
    const NAME: &str = "p4_what_works_on_a_file_that_a_chain_closes_can_be_cancelled_by_the_file";
    in_balance(NAME, || {
        for flushed in [false, true] {
            let mut ring: Ring<16> = ring::ring();
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            let (other, _other_peer) = UnixStream::pair().unwrap();
            let other = ring.take_in(other);
            ring.start(waits(other), 9);
            let chain = [(waits(ours).link().into(), 0), (op::close(ours).into(), 1)];
            ring.submit_chain(chain).expect("a chain");
            if flushed {
                assert!(ring.turn_within(Duration::ZERO).is_empty());
            }
            assert_eq!(ring.cancel_on(ours), 1);
            let mut done = Vec::new();
            while ring.operations() > 1 {
                done.extend(ring.turn());
            }
            assert_eq!(sorted(&done), [(0, CANCELLED), (1, CANCELLED)]);
            assert_eq!(peer.read(&mut [0]).unwrap(), 0, "closed all the same");
            assert_eq!((ring.cancel_on(ours), ring.cancel_on(other)), (0, 1));
            assert_eq!(results(&ring.settle()), [(9, CANCELLED)]);
        }
    });
}
