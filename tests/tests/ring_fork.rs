//! G-1 on the ring: what a forked child may do with a proactor of its parent's, and that the parent's goes on. The ring's
//! memory is not in the child at all, so that every way to it that is not barred would be a fault.

#![deny(unsafe_code)]

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event::ExitStatus;
use linux_event_core::error::Error;
use linux_event_core::proactor::{Event, FixedBuffer, PollEvents, Vectors, op};
use linux_event_core::signal::Signal;
use linux_event_tests::libc_calls::in_forked_child;
use ring::{CANCELLED, Counted, LONG, Ring, Turns, in_balance, results, there_is, to_core};

const DONE: ExitStatus = ExitStatus::Exited(0);

fn vectors(buffer: Counted) -> Vectors<Counted> {
    let mut vectors = Vectors::new();
    assert!(vectors.push(buffer).is_ok());
    vectors
}

#[test]
fn g1_every_call_in_a_forked_child_is_refused() {
    in_balance("g1_every_call_in_a_forked_child_is_refused", || {
        for flushed in [false, true] {
            let mut ring: Ring = ring::ring();
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let file = ring.take_in(ours);
            let group = there_is(ring.provide(4, 16));
            ring.register_files(4).unwrap();
            let slot = ring.install(file).unwrap();
            assert!(
                ring.register_buffers(vectors(Counted::with_room(64)))
                    .is_ok()
            );
            let recv = ring.start(op::recv(file, Counted::with_room(8)), 1);
            let poll = ring.start(op::poll_multi(file, PollEvents::OUT), 2);
            let timer = ring.after(LONG, 3).unwrap();
            let signal = ring.signal(Signal::USR1, 4).unwrap();
            if flushed {
                ring.flush().unwrap();
            }
            let cell = Cell::new(Some(ring));
            let status = in_forked_child(|| {
                let mut ring = cell.take().unwrap();
                let forked = Error::Forked;
                assert_eq!(ring.wait(Some(Duration::ZERO)), Err(forked));
                assert_eq!(ring.flush(), Err(forked));
                assert_eq!(ring.prepare(), Err(forked));
                assert!(ring.next().is_none());
                let send = op::send(file, Counted::of(b"child"));
                let refused = ring.submit(send, 5).unwrap_err();
                assert_eq!(refused.error, forked);
                assert_eq!(&*refused.buffer.unwrap(), b"child");
                let send = op::send_message(file, vectors(Counted::of(b"child")));
                let (error, back) = ring.submit_vectored(send, 5).unwrap_err();
                assert_eq!((error, back.len()), (forked, 1));
                let chain = [(op::nop().into(), 5), (op::nop().into(), 6)];
                assert_eq!(ring.submit_chain(chain).unwrap_err().error, forked);
                assert_eq!(ring.close(file, 5), Err(forked));
                assert_eq!(ring.release(file).map(drop), Err(forked));
                let (own, _peer) = UnixStream::pair().unwrap();
                let (error, own) = ring.adopt(to_core(own)).unwrap_err();
                assert_eq!(error, forked);
                drop(own);
                assert_eq!(ring.provide(2, 16), Err(forked));
                assert_eq!(ring.withdraw(group), Err(forked));
                assert_eq!(ring.register_files(1), Err(forked));
                assert_eq!(ring.install(file), Err(forked));
                assert_eq!(ring.uninstall(slot), Err(forked));
                assert_eq!(ring.fixed(FixedBuffer::new(0)).map(drop), Err(forked));
                assert_eq!(ring.unregister_buffers().map(drop), Err(forked));
                let (error, back) = ring
                    .register_buffers(vectors(Counted::with_room(8)))
                    .unwrap_err();
                assert_eq!((error, back.len()), (forked, 1));
                assert_eq!(ring.after(LONG, 5), Err(forked));
                assert_eq!(ring.every(LONG, 5), Err(forked));
                assert_eq!(ring.signal(Signal::USR2, 5), Err(forked));
                assert_eq!(ring.process(1, false, 5), Err(forked));
                assert!(!ring.cancel(recv) && !ring.cancel(timer) && !ring.cancel(signal));
                assert_eq!((ring.cancel_on(file), ring.cancel_all()), (0, 0));
                // What only looks says what it says, and does not fault.
                let _ = (
                    ring.operations(),
                    ring.live(),
                    ring.files(),
                    ring.number(file),
                );
                let _ = (ring.counters(), ring.stats(), ring.is_cancelling(recv));
                let _ = (ring.address(recv), ring.stat(recv), ring.exit_info(recv));
                let _ = (ring.take_vectors(), ring.detach(poll), ring.contains(recv));
                let _ = (format!("{ring:?}"), ring.backend().in_flight());
                let _ = ring.set_counted(recv, false);
                drop(ring);
            });
            assert_eq!(status, DONE);
            // The parent's: nothing was cancelled, nothing was sent, nothing is lost.
            let mut ring = cell.take().unwrap();
            assert_eq!(ring.operations(), 2);
            peer.write_all(b"parent").unwrap();
            system::raise(Signal::USR1.raw());
            let mut seen = Vec::new();
            while seen.len() < 3 {
                for event in ring.turn_within(LONG) {
                    seen.push(match event {
                        Event::Completion(done) => (done.data, done.result > 0),
                        Event::Signal { data, .. } => (data, true),
                        other => panic!("{other:?}"),
                    });
                }
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, [(1, true), (2, true), (4, true)]);
            assert!(ring.cancel(poll) && ring.cancel(timer) && ring.cancel(signal));
            assert_eq!(results(&ring.settle()).last(), Some(&(2, CANCELLED)));
            ring.uninstall(slot).unwrap();
            ring.withdraw(group).unwrap();
            // What is registered is shared with the kernel still.
            peer.write_all(b"fixed").unwrap();
            ring.start(op::read_fixed(file, FixedBuffer::new(0), 0, 64), 8);
            assert_eq!(results(&ring.settle()), [(8, 5)]);
            assert_eq!(&ring.fixed(FixedBuffer::new(0)).unwrap()[..5], b"fixed");
            assert_eq!(ring.unregister_buffers().unwrap().len(), 1);
            ring.start(op::send(file, Counted::of(b"after")), 9);
            assert_eq!(results(&ring.settle()), [(9, 5)]);
            let mut bytes = [0; 5];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"after");
        }
    });
}

/// Dropping the child's copy, in whatever state: its memory is not there, and the parent's operations are not its own.
#[test]
fn g1_dropping_in_the_child_touches_nothing_of_the_parents() {
    in_balance(
        "g1_dropping_in_the_child_touches_nothing_of_the_parents",
        || {
            for how in 0..4 {
                let mut ring: Ring = ring::ring();
                let (ours, mut peer) = UnixStream::pair().unwrap();
                let file = ring.take_in(ours);
                let recv = ring.start(op::recv(file, Counted::with_room(8)), 1);
                // Queued and not handed over: the child must not submit it either.
                if how < 2 {
                    ring.flush().unwrap();
                }
                ring.start(op::send(file, Counted::of(b"once")), 2);
                let cell = Cell::new(Some(ring));
                let status = in_forked_child(|| {
                    let ring = cell.take().unwrap();
                    match how {
                        0 | 2 => drop(ring),
                        _ => {
                            let report = ring.shutdown(LONG);
                            assert_eq!((report.settled, report.leaked), (0, 0));
                        }
                    }
                    // The memory that was not there is not unmapped from under whoever has it now.
                    let mut blocks: Vec<Vec<u8>> = Vec::new();
                    for number in 0..64u8 {
                        blocks.push(vec![number; 1 << 16]);
                    }
                    assert!(blocks.iter().zip(0..).all(|(block, n)| block[1 << 15] == n));
                    // And the child has a ring of its own.
                    let mut own: Ring = ring::ring();
                    own.start(op::nop(), 1);
                    assert_eq!(results(&own.settle()), [(1, 0)]);
                });
                assert_eq!(status, DONE, "{how}");
                let mut ring = cell.take().unwrap();
                assert!(ring.contains(recv));
                assert_eq!(results(&ring.turn()), [(2, 4)]);
                let mut bytes = [0; 4];
                peer.read_exact(&mut bytes).unwrap();
                assert_eq!(&bytes, b"once");
                peer.write_all(b"more").unwrap();
                assert_eq!(results(&ring.turn()), [(1, 4)]);
                ring.close(file, 3).unwrap();
                assert_eq!(results(&ring.settle()), [(3, 0)]);
                let mut rest = Vec::new();
                peer.read_to_end(&mut rest).unwrap();
                assert!(rest.is_empty(), "sent once");
            }
        },
    );
}

#[test]
fn g1_a_child_forked_in_the_midst_of_a_turn_sees_its_end() {
    in_balance(
        "g1_a_child_forked_in_the_midst_of_a_turn_sees_its_end",
        || {
            let mut ring: Ring = ring::ring();
            let (listener, address) = ring::unix_listener("fork");
            let listener = ring.take_in(listener);
            let accept = ring.start(op::accept_multi(listener), 1);
            ring.flush().unwrap();
            let clients: Vec<_> = (0..4)
                .map(|_| UnixStream::connect_addr(&address).unwrap())
                .collect();
            ring.start(op::nop(), 2);
            ring.after(Duration::ZERO, 3).unwrap();
            ring.wait(Some(LONG)).unwrap();
            let first = ring.next().expect("something is due");
            let cell = Cell::new(Some((ring, first)));
            let status = in_forked_child(|| {
                let (mut ring, first) = cell.take().unwrap();
                assert!(ring.next().is_none() && ring.next().is_none());
                assert_eq!(ring.wait(Some(LONG)), Err(Error::Forked));
                drop(first);
                drop(ring);
            });
            assert_eq!(status, DONE);
            let (mut ring, first) = cell.take().unwrap();
            let mut happened = vec![first];
            while happened.len() < 6 {
                happened.extend(std::iter::from_fn(|| ring.next()));
                happened.extend(ring.turn_within(Duration::ZERO));
            }
            let accepted = happened
                .into_iter()
                .filter_map(|event| match event {
                    Event::Completion(done) => done.into_descriptor(),
                    _ => None,
                })
                .count();
            assert_eq!(accepted, clients.len(), "none is lost, none twice");
            ring.cancel(accept);
            assert_eq!(results(&ring.settle()), [(1, CANCELLED)]);
        },
    );
}

/// A lease that the child inherits: looking at it and dropping it must neither fault nor give the parent's buffer back.
#[test]
fn g1_a_lease_in_the_child_gives_nothing_back() {
    in_balance("g1_a_lease_in_the_child_gives_nothing_back", || {
        let mut ring: Ring = ring::ring();
        let group = there_is(ring.provide(2, 16));
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let file = ring.take_in(ours);
        let recv = ring.start(op::recv_multi(file, group), 1);
        peer.write_all(b"leased").unwrap();
        let lease = ring.turn().pop().unwrap().into_lease().unwrap();
        let cell = Cell::new(Some((ring, lease)));
        let status = in_forked_child(|| {
            let (ring, lease) = cell.take().unwrap();
            // Whatever it says, it is no fault.
            assert!(lease.is_empty() || &*lease == b"leased");
            let _ = format!("{lease:?}");
            drop(lease);
            drop(ring);
        });
        assert_eq!(status, DONE);
        let (mut ring, lease) = cell.take().unwrap();
        assert_eq!(&*lease, b"leased");
        // One is left, as before.
        peer.write_all(&[1; 32]).unwrap();
        let mut done = ring.settle();
        assert_eq!(
            done.pop().unwrap().result,
            -linux_event_core::errno::Errno::ENOBUFS.raw()
        );
        assert_eq!(results(&done), [(1, 16)]);
        assert_eq!(&*lease, b"leased");
        assert!(!ring.contains(recv));
        drop((lease, done));
        ring.start(op::recv(file, Counted::with_room(64)), 3);
        assert_eq!(
            results(&ring.settle()),
            [(3, 16)],
            "what had no room before"
        );
        // What parent and kernel share is shared still: buffers go round, and their content is seen.
        for round in 0..20u8 {
            ring.start(op::recv_multi(file, group), 2);
            peer.write_all(&[round; 40]).unwrap();
            let mut came = Vec::new();
            while came.len() < 40 {
                for done in ring.turn() {
                    if !done.more {
                        assert!(done.into_lease().is_none());
                        ring.start(op::recv_multi(file, group), 2);
                    } else if let Some(lease) = done.into_lease() {
                        came.extend_from_slice(&lease);
                    }
                }
            }
            assert_eq!(came, [round; 40]);
            ring.cancel_all();
            ring.settle();
        }
        ring.withdraw(group).unwrap();
    });
}

/// The other way round: the parent ends while the child lives on with its copy, which holds the ring's descriptor open.
#[test]
fn g1_a_child_that_lives_on_does_not_keep_the_parents_operations_alive() {
    const NAME: &str = "g1_a_child_that_lives_on_does_not_keep_the_parents_operations_alive";
    in_balance(NAME, || {
        let mut ring: Ring = ring::ring();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let file = ring.take_in(ours);
        ring.start(op::recv(file, Counted::with_room(8)), 1);
        ring.flush().unwrap();
        let (mut stay, leave) = std::io::pipe().unwrap();
        let leave = Cell::new(Some(leave));
        let cell = Cell::new(Some(ring));
        let child = system::fork_and_go_on(|| {
            let ring = cell.take().unwrap();
            drop(leave.take());
            // Until the parent says so.
            let _ = stay.read(&mut [0]);
            drop(ring);
        });
        drop(cell.take());
        assert_eq!(ring::buffers_out(), 0);
        // The child has the socket too: writing still works, and nobody of the parent's takes it.
        peer.write_all(b"x").unwrap();
        drop(leave.take());
        assert_eq!(system::reap(child), 0);
        // The child is gone, the socket with it, and the byte that nobody read resets the connection.
        assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
    });
}
