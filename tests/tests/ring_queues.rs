//! Queues and tables that are full: nothing is lost, nothing is cut apart, and what has no room comes back (P-10).

#![deny(unsafe_code)]

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::File;
use linux_event_core::place::Place;
use linux_event_core::proactor::{Code, PollEvents, Proactor, Request, Storage, Uring, op};
use ring::{CANCELLED, Counted, Ring, Turns, in_balance, results, small};

/// The smallest queues there are.
const ENTRIES: usize = 8;

/// A chain's first member: it fails at once.
fn failing(pipe: File) -> Request<Counted> {
    // ENOTSOCK.
    op::recv(pipe, Counted::with_room(1)).link().into()
}

fn nop() -> Request<Counted> {
    op::nop().link().into()
}

#[test]
fn p10_a_full_submission_queue_is_flushed_and_goes_on() {
    const COUNT: u32 = 1000;
    in_balance("p10_a_full_submission_queue_is_flushed_and_goes_on", || {
        let mut ring: Ring<1024> = ring::ring_over(small(8, 4096));
        for number in 0..COUNT {
            ring.start(op::nop(), number);
        }
        let done = ring.settle();
        assert!(results(&done).into_iter().eq((0..COUNT).map(|n| (n, 0))));
        let counters = ring.counters();
        assert_eq!(counters.overflows, 0);
        assert_eq!(counters.submitted, u64::from(COUNT));
        assert!(counters.enters <= u64::from(COUNT) / 8 + 2, "{counters:?}");
    });
}

#[test]
fn p10_an_overflow_of_completions_loses_nothing_and_is_counted() {
    const COUNT: u32 = 1000;
    const NAME: &str = "p10_an_overflow_of_completions_loses_nothing_and_is_counted";
    in_balance(NAME, || {
        let mut ring: Ring<1024> = ring::ring_over(small(8, 16));
        assert_eq!(ring.backend().capabilities().cq_entries, 16);
        for round in 1..=3 {
            for number in 0..COUNT {
                ring.start(op::nop(), number);
            }
            ring.flush().unwrap();
            let mut done = ring.settle();
            done.sort_by_key(|done| done.data);
            assert!(results(&done).into_iter().eq((0..COUNT).map(|n| (n, 0))));
            let counters = ring.counters();
            assert!(counters.overflows >= round, "{counters:?}");
            assert_eq!(counters.leaked, 0);
        }
        // It is over: plain turns go on.
        let episodes = ring.counters().overflows;
        for number in 0..100 {
            ring.start(op::nop(), number);
            assert_eq!(results(&ring.turn()), [(number, 0)]);
        }
        assert_eq!(ring.counters().overflows, episodes);
    });
}

#[test]
fn p10_multishot_operations_survive_an_overflow() {
    const NAME: &str = "p10_multishot_operations_survive_an_overflow";
    in_balance(NAME, || {
        let mut ring: Ring<64> = ring::ring_over(small(8, 8));
        let (listener, address) = ring::unix_listener("overflow");
        let listener = ring.take_in(listener);
        let mut accepted = 0;
        let mut accept = ring.start(op::accept_multi(listener), 1);
        ring.flush().unwrap();
        for round in 1..=10 {
            let clients: Vec<_> = (0..30)
                .map(|_| UnixStream::connect_addr(&address).unwrap())
                .collect();
            while accepted < round * 30 {
                for done in ring.turn() {
                    assert_eq!(done.op, accept);
                    let goes_on = done.more;
                    if done.result >= 0 {
                        assert!(done.into_descriptor().is_some());
                        accepted += 1;
                    } else {
                        assert_eq!(done.result, CANCELLED, "it may end where there is no room");
                    }
                    if !goes_on {
                        accept = ring.start(op::accept_multi(listener), 1);
                    }
                }
            }
            assert_eq!(accepted, round * 30);
            drop(clients);
        }
        ring.cancel(accept);
        assert_eq!(results(&ring.settle()), [(1, CANCELLED)]);
    });
}

/// Many more operations in flight than either queue is long, which then all complete at once.
#[test]
fn p10_ten_thousand_receives_over_a_small_ring_all_settle() {
    const PAIRS: usize = 100;
    const EACH: u32 = 100;
    const MANY: usize = 16_384;
    type Large = Storage<u32, MANY, 64>;
    static STORAGE: Place<Large> = Place::new(Storage::new());
    const NAME: &str = "p10_ten_thousand_receives_over_a_small_ring_all_settle";
    in_balance(NAME, || {
        let storage = STORAGE.take().expect("taken once");
        let mut ring: Proactor<Counted, u32, MANY, 64, Uring<Counted>, &'static mut Large> =
            Proactor::with_storage(small(8, 16), storage).unwrap();
        let mut peers = Vec::new();
        for pair in 0..PAIRS as u32 {
            let (ours, peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            for number in 0..EACH {
                ring.start(op::recv(ours, Counted::with_room(1)), pair * EACH + number);
            }
            peers.push(peer);
        }
        assert!(ring.turn_within(Duration::ZERO).is_empty());
        assert_eq!(ring.operations(), PAIRS * EACH as usize);
        for (pair, peer) in peers.iter_mut().enumerate() {
            peer.write_all(&[pair as u8; EACH as usize / 2]).unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut seen = vec![false; PAIRS * EACH as usize];
        let mut bytes = [0; PAIRS];
        for done in ring.settle() {
            let pair = done.data / EACH;
            assert!(!std::mem::replace(&mut seen[done.data as usize], true));
            match done.result {
                1 => {
                    bytes[pair as usize] += 1;
                    assert_eq!(&*done.into_buffer().unwrap(), [pair as u8]);
                }
                end => assert_eq!(end, 0),
            }
        }
        assert!(seen.into_iter().all(|seen| seen));
        assert_eq!(bytes, [EACH / 2; PAIRS]);
        let counters = ring.counters();
        assert!(
            counters.overflows > 0 && counters.leaked == 0,
            "{counters:?}"
        );
        eprintln!("{counters:?}");
    });
}

#[test]
fn p10_a_full_table_gives_the_operation_back() {
    in_balance("p10_a_full_table_gives_the_operation_back", || {
        let mut ring: Ring<8> = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        for number in 0..8 {
            ring.start(op::recv(ours, Counted::with_room(1)), number);
        }
        for flushed in [false, true] {
            if flushed {
                ring.flush().unwrap();
            }
            let refused = ring
                .submit(op::send(ours, Counted::of(b"back")), 8)
                .unwrap_err();
            assert_eq!(refused.error, Error::Full { capacity: 8 });
            assert_eq!(&*refused.buffer.expect("the buffer"), b"back");
            let refused = ring
                .submit_chain([(nop(), 8), (op::send(ours, Counted::of(b"too")).into(), 9)])
                .unwrap_err();
            assert_eq!(refused.error, Error::Full { capacity: 8 });
            assert_eq!(refused.requests.len(), 2);
            assert_eq!(&**refused.requests[1].buffer.as_ref().unwrap(), b"too");
            assert_eq!(
                ring.close(ours, 8).unwrap_err(),
                Error::Full { capacity: 8 }
            );
            assert_eq!(ring.operations(), 8);
        }
        peer.write_all(&[1; 8]).unwrap();
        assert_eq!(ring.settle().len(), 8);
        ring.close(ours, 8).unwrap();
        assert_eq!(results(&ring.settle()), [(8, 0)]);
        // The peer never saw the refused ones.
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut peer, &mut rest).unwrap();
        assert!(rest.is_empty());
    });
}

/// Submits `fill` nops and behind them a chain of `N` of which the first member fails; checks that all others then are
/// cancelled, as they are only if the kernel got them as one chain.
fn chain_behind<const N: usize>(fill: usize) {
    let mut ring: Ring<64> = ring::ring_over(small(ENTRIES as u32, 64));
    assert_eq!(ring.backend().capabilities().entries, ENTRIES as u32);
    let (pipe, _writer) = std::io::pipe().unwrap();
    let pipe = ring.take_in(pipe);
    for number in 0..fill {
        ring.start(op::nop(), number as u32);
    }
    let members = std::array::from_fn(|number| {
        let request = if number == 0 { failing(pipe) } else { nop() };
        (request, 100 + number as u32)
    });
    let ops = ring
        .submit_chain::<N>(members)
        .unwrap_or_else(|refused| panic!("{N} behind {fill}: {}", refused.error));
    for (number, op) in ops.iter().enumerate() {
        assert!(ring.contains(*op), "{number}");
    }
    let mut done = results(&ring.settle());
    done.sort_unstable();
    let nops = (0..fill).map(|number| (number as u32, 0));
    let first = [(100, -Errno::ENOTSOCK.raw())];
    let rest = (1..N).map(|number| (100 + number as u32, CANCELLED));
    let expected: Vec<_> = nops.chain(first).chain(rest).collect();
    assert_eq!(done, expected, "{N} behind {fill}");
}

#[test]
fn p10_a_chain_stays_a_chain_at_every_fill_level() {
    in_balance("p10_a_chain_stays_a_chain_at_every_fill_level", || {
        for fill in 0..=2 * ENTRIES {
            chain_behind::<2>(fill);
            chain_behind::<3>(fill);
            chain_behind::<5>(fill);
            chain_behind::<7>(fill);
            chain_behind::<8>(fill);
        }
    });
}

/// As above, with timeouts, each of which takes an entry of its own.
#[test]
fn p10_a_chain_with_timeouts_stays_a_chain_at_every_fill_level() {
    const HOUR: Duration = Duration::from_hours(1);
    const NAME: &str = "p10_a_chain_with_timeouts_stays_a_chain_at_every_fill_level";
    in_balance(NAME, || {
        for fill in 0..=2 * ENTRIES {
            let mut ring: Ring<64> = ring::ring_over(small(ENTRIES as u32, 64));
            let (pipe, _writer) = std::io::pipe().unwrap();
            let pipe = ring.take_in(pipe);
            for number in 0..fill {
                ring.start(op::nop(), number as u32);
            }
            let timed = || op::nop().timeout(HOUR).link().into();
            let failing = op::recv(pipe, Counted::with_room(1)).timeout(HOUR).link();
            let chain = [
                (op::nop().link().into(), 100),
                (failing.into(), 101),
                (timed(), 102),
                (op::nop().link().into(), 103),
                (timed(), 104),
            ];
            ring.submit_chain(chain).expect("8 entries");
            let mut done = results(&ring.settle());
            done.sort_unstable();
            let nops = (0..fill).map(|number| (number as u32, 0));
            let expected: Vec<_> = nops
                .chain([(100, 0), (101, -Errno::ENOTSOCK.raw())])
                .chain([(102, CANCELLED), (103, CANCELLED), (104, CANCELLED)])
                .collect();
            assert_eq!(done, expected, "behind {fill}");
        }
    });
}

#[test]
fn p10_a_chain_that_is_longer_than_the_queue_is_refused_whole() {
    const NAME: &str = "p10_a_chain_that_is_longer_than_the_queue_is_refused_whole";
    in_balance(NAME, || {
        for fill in [0, 1, ENTRIES - 1, ENTRIES] {
            let mut ring: Ring<64> = ring::ring_over(small(ENTRIES as u32, 64));
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            for number in 0..fill {
                ring.start(op::nop(), number as u32);
            }
            let long: [_; ENTRIES + 1] = std::array::from_fn(|number| {
                let bytes = Counted::of([number as u8]);
                (op::send(ours, bytes).link().into(), 100 + number as u32)
            });
            let refused = ring.submit_chain(long).unwrap_err();
            assert_eq!(refused.error, Error::Full { capacity: ENTRIES });
            assert_eq!(refused.requests.len(), ENTRIES + 1);
            for (number, request) in refused.requests.iter().enumerate() {
                assert_eq!(&**request.buffer.as_ref().unwrap(), [number as u8]);
            }
            // Five members, and a timeout each.
            let timed: [_; ENTRIES / 2 + 1] = std::array::from_fn(|number| {
                let bytes = Counted::of([number as u8]);
                let send = op::send(ours, bytes).timeout(ring::LONG).link();
                (send.into(), 100 + number as u32)
            });
            let refused = ring.submit_chain(timed).unwrap_err();
            assert_eq!(refused.error, Error::Full { capacity: ENTRIES });
            assert_eq!(refused.requests.len(), ENTRIES / 2 + 1);
            assert_eq!(ring.operations(), fill);
            assert_eq!(ring.settle().len(), fill);
            drop(ring.release(ours).unwrap());
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut peer, &mut rest).unwrap();
            assert!(rest.is_empty(), "nothing of it ran");
        }
    });
}

/// The members of a chain are where a kernel would cut them, if they went to it in two calls.
#[test]
fn p10_a_member_that_is_refused_takes_its_chain_along() {
    const NAME: &str = "p10_a_member_that_is_refused_takes_its_chain_along";
    in_balance(NAME, || {
        let mut ring: Ring<64> = ring::ring();
        let (ours, _peer) = UnixStream::pair().unwrap();
        let gone = ring.take_in(ours.try_clone().unwrap());
        let ours = ring.take_in(ours);
        drop(ring.release(gone).unwrap());
        let chain = [
            (op::send(ours, Counted::of(b"1")).link().into(), 1),
            (op::send(gone, Counted::of(b"2")).into(), 2),
        ];
        let refused = ring.submit_chain(chain).unwrap_err();
        assert_eq!(refused.error, Error::Stale);
        // A path without its zero byte; a group that is not there.
        let path = op::open(linux_event_core::proactor::Target::CURRENT_DIRECTORY, {
            Counted::of(b"no zero")
        });
        let chain = [
            (op::send(ours, Counted::of(b"1")).link().into(), 1),
            (path.into(), 2),
        ];
        let refused = ring.submit_chain(chain).unwrap_err();
        assert!(matches!(refused.error, Error::Invalid(_)), "{refused:?}");
        assert_eq!(refused.requests.len(), 2);
        if !ring::has(Code::RecvMulti) {
            return;
        }
        let absent = linux_event_core::proactor::Group::new(9);
        let chain = [
            (op::send(ours, Counted::of(b"1")).link().into(), 1),
            (op::recv_multi(ours, absent).into(), 2),
        ];
        let refused = ring.submit_chain(chain).unwrap_err();
        assert!(matches!(refused.error, Error::Invalid(_)), "{refused:?}");
        assert_eq!((ring.operations(), ring.live()), (0, 0));
        assert!(ring.turn_within(Duration::ZERO).is_empty());
        // Nothing is in flight on it.
        drop(ring.release(ours).unwrap());
    });
}

/// A cancel finds room where there is none, at once or before the next wait.
#[test]
fn p4_a_cancel_is_not_refused_for_want_of_room() {
    in_balance("p4_a_cancel_is_not_refused_for_want_of_room", || {
        let mut ring: Ring<64> = ring::ring_over(small(8, 8));
        let (ours, _peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        let recvs: Vec<_> = (0..20)
            .map(|number| ring.start(op::recv(ours, Counted::with_room(1)), number))
            .collect();
        ring.flush().unwrap();
        // The queue is full of other things whenever a cancel comes.
        for recv in recvs {
            for number in 0..8 {
                if ring.operations() < 64 {
                    ring.start(op::nop(), 100 + number);
                }
            }
            assert!(ring.cancel(recv));
        }
        let done = ring.settle();
        let mut numbers: Vec<u32> = done
            .iter()
            .filter(|done| done.data < 100)
            .map(|done| {
                assert_eq!(done.result, CANCELLED);
                done.data
            })
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..20));
    });
}

/// The submit batch goes to the kernel by itself.
#[test]
fn p13_a_submit_batch_goes_by_itself() {
    in_balance("p13_a_submit_batch_goes_by_itself", || {
        let mut ring: Ring<64> = ring::ring_over(ring::with(|options| options.submit_batch = 4));
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = ring.take_in(ours);
        for number in 0..3 {
            ring.start(op::send(ours, Counted::of([number as u8])), number);
        }
        assert_eq!(ring.counters().submitted, 0);
        ring.start(op::send(ours, Counted::of([3])), 3);
        let mut bytes = [0; 4];
        // They were sent although nobody waited.
        std::io::Read::read_exact(&mut peer, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 1, 2, 3]);
        assert_eq!(ring.settle().len(), 4);
    });
}

/// Every option there is, each under load (P-13).
#[test]
fn p13_other_options_change_no_outcome() {
    in_balance("p13_other_options_change_no_outcome", || {
        type Change = fn(&mut linux_event_core::proactor::Options);
        let changes: [Change; 5] = [
            |options| options.submit_batch = 1,
            |options| options.busy_poll = Duration::from_micros(50),
            |options| options.sqpoll_idle = Some(Duration::from_millis(1)),
            |options| options.strict_cq = true,
            |options| (options.entries, options.cq_entries) = (1, Some(1)),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut ring: Ring<64> = ring::ring_over(ring::with(change));
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            for round in 0..20 {
                for number in 0..30 {
                    ring.start(op::recv(ours, Counted::with_room(1)), number);
                }
                let poll = ring.start(op::poll(ours, PollEvents::OUT), 30);
                let chain = [(nop(), 31), (nop(), 32), (op::nop().into(), 33)];
                if ring.backend().capabilities().entries >= 3 {
                    ring.submit_chain(chain).expect("a chain");
                }
                peer.write_all(&[1; 20]).unwrap();
                ring.flush().unwrap();
                ring.cancel_on(ours);
                let done = ring.settle();
                let got = done
                    .iter()
                    .filter(|done| done.data < 30 && done.result == 1);
                let mut left = 20 - got.count();
                assert!(done.iter().any(|done| done.op == poll), "{number} {round}");
                while left > 0 {
                    ring.start(op::recv(ours, Counted::with_room(1)), 0);
                    left -= ring.settle().len();
                }
            }
            assert_eq!(ring.counters().leaked, 0, "{number}");
        }
    });
}

/// A ring whose completions have room for all operations, or none (P-13).
#[test]
fn p13_a_strict_completion_queue_refuses_a_table_that_it_has_no_room_for() {
    const NAME: &str = "p13_a_strict_completion_queue_refuses_a_table_that_it_has_no_room_for";
    in_balance(NAME, || {
        let strict = || {
            ring::with(|options| {
                (options.entries, options.cq_entries) = (8, Some(32));
                options.strict_cq = true;
            })
        };
        let fits: Ring<32> = ring::ring_over(strict());
        drop(fits);
        let refused = Proactor::<Counted, u32, 33, 64, _, Box<Storage<u32, 33, 64>>>::with_storage(
            strict(),
            Box::new(Storage::new()),
        )
        .map(drop);
        assert!(
            matches!(refused, Err(Error::Full { capacity: 32 })),
            "{refused:?}"
        );
    });
}
