//! Provided buffers on the real ring: a group that runs dry, leases that stay out, go back in any order, and outlive what
//! they came from (P-16).

#![deny(unsafe_code)]

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;

use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::File;
use linux_event_core::proactor::{
    Backend, Block, Code, Event, FixedBuffer, Group, Uring, Vectors, op,
};
use ring::{CANCELLED, Counted, Counting, Dice, Done, Ring, Turns, in_balance, results, there_is};

const NO_BUFFERS: i32 = -Errno::ENOBUFS.raw();

type Lease = <Uring<Counted> as Backend>::Lease;

fn pair<const OPS: usize>(ring: &mut Ring<OPS>) -> (File, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    (ring.take_in(ours), peer)
}

#[test]
fn p16_a_group_that_runs_dry_ends_the_receive_and_serves_again_when_leases_are_back() {
    const NAME: &str =
        "p16_a_group_that_runs_dry_ends_the_receive_and_serves_again_when_leases_are_back";
    in_balance(NAME, || {
        const COUNT: usize = 4;
        let mut ring: Ring<16> = ring::ring();
        let group = there_is(ring.provide(COUNT as u16, 8));
        let (ours, mut peer) = pair(&mut ring);
        let mut stream = Counting::default();
        for round in 0..200 {
            // More than this round takes, so that every receive ends for want of buffers.
            let bytes: Vec<u8> = (0..8 * (COUNT + 3)).map(|_| stream.next()).collect();
            peer.write_all(&bytes).unwrap();
            ring.start(op::recv_multi(ours, group), round);
            let mut leases: Vec<Lease> = Vec::new();
            for done in ring.settle() {
                assert_eq!(done.data, round);
                assert_eq!(done.more, done.result != NO_BUFFERS, "{done:?}");
                if done.result != NO_BUFFERS {
                    assert_eq!(done.result, 8);
                    leases.push(done.into_lease().expect("a lease"));
                }
            }
            assert_eq!(leases.len(), COUNT, "all that there are");
            for lease in &leases {
                stream.take(lease);
            }
            // With none back it fails again, and at once.
            ring.start(op::recv_multi(ours, group), round);
            assert_eq!(results(&ring.settle()), [(round, NO_BUFFERS)]);
            // Two back: two come.
            leases.truncate(COUNT - 2);
            let recv = ring.start(op::recv_multi(ours, group), round);
            let mut came = 0;
            for done in ring.settle() {
                assert_eq!(done.op, recv);
                if let Some(lease) = done.into_lease() {
                    stream.take(&lease);
                    leases.push(lease);
                    came += 1;
                }
            }
            assert_eq!(came, 2);
            // They go back in another order than they came.
            let middle = leases.remove(1);
            drop(leases);
            drop(middle);
        }
        ring.withdraw(group).unwrap();
    });
}

/// Leases are kept, and given back, in random order, by receives on several sockets: no byte of one is another's.
#[test]
fn p16_leases_in_random_order_never_share_memory() {
    const ROUNDS: u32 = if cfg!(debug_assertions) {
        5_000
    } else {
        50_000
    };
    in_balance("p16_leases_in_random_order_never_share_memory", || {
        let mut dice = Dice::new(0x5eed_0021);
        let mut ring: Ring<16> = ring::ring_over(ring::small(8, 16));
        let groups = [
            there_is(ring.provide(8, 16)),
            there_is(ring.provide(16, 32)),
        ];
        let mut sockets: Vec<_> = (0..4u8)
            .map(|number| (pair(&mut ring), groups[usize::from(number) % 2]))
            .collect();
        let mut kept: Vec<(u32, Lease)> = Vec::new();
        let (mut written, mut came) = (0u64, 0u64);
        let mut ends = 0;
        for ((ours, _), group) in &sockets {
            let number = ring.operations() as u32;
            ring.start(op::recv_multi(*ours, *group), number);
        }
        for round in 0..ROUNDS {
            let number = dice.throw(4);
            if written - came < 500 {
                let count = 1 + dice.throw(40);
                let bytes = vec![number as u8; count];
                sockets[number].0.1.write_all(&bytes).unwrap();
                written += count as u64;
            }
            for done in ring::completions(ring.turn_within(Duration::ZERO)) {
                let number = done.data;
                if !done.more {
                    assert_eq!(done.result, NO_BUFFERS);
                    let ((ours, _), group) = &sockets[number as usize];
                    ring.start(op::recv_multi(*ours, *group), number);
                    ends += 1;
                }
                if let Some(lease) = done.into_lease() {
                    came += lease.len() as u64;
                    kept.push((number, lease));
                }
            }
            while kept.len() > 10 || (!kept.is_empty() && dice.throw(3) == 0) {
                let (number, lease) = kept.swap_remove(dice.throw(kept.len()));
                assert!(lease.iter().all(|byte| u32::from(*byte) == number));
            }
            if round == ROUNDS / 2 {
                // In the midst of it, another group comes and goes.
                let third = there_is(ring.provide(2, 8));
                ring.withdraw(third).unwrap();
            }
        }
        for (number, lease) in kept.drain(..) {
            assert!(lease.iter().all(|byte| u32::from(*byte) == number));
        }
        assert!(ends > 0, "no group ran dry");
        ring.cancel_all();
        for done in ring.settle() {
            came += done.into_lease().map_or(0, |lease| lease.len() as u64);
        }
        for ((ours, _), _) in &sockets {
            drop(ring.release(*ours).unwrap());
        }
        // The other ends were written to only; what did not come went down with the sockets.
        sockets.clear();
        assert!(came <= written);
        for group in groups {
            ring.withdraw(group).unwrap();
        }
    });
}

/// Whether it is more than the end of a receive that took its group's last buffer: newer kernels end it when more bytes come.
fn is_no_early_end(done: &Done) -> bool {
    done.result != NO_BUFFERS
}

#[test]
fn p16_a_group_in_use_is_not_withdrawn_and_one_that_is_gone_is_refused() {
    const NAME: &str = "p16_a_group_in_use_is_not_withdrawn_and_one_that_is_gone_is_refused";
    in_balance(NAME, || {
        let mut ring: Ring<16> = ring::ring();
        let group = there_is(ring.provide(2, 16));
        let (ours, mut peer) = pair(&mut ring);
        let recv = ring.start(op::recv_multi(ours, group), 1);
        assert_eq!(ring.withdraw(group), Err(Error::Busy), "queued");
        ring.flush().unwrap();
        assert_eq!(ring.withdraw(group), Err(Error::Busy), "in flight");
        peer.write_all(b"one").unwrap();
        let lease = ring.turn().pop().unwrap().into_lease().expect("a lease");
        ring.cancel(recv);
        assert_eq!(
            ring.withdraw(group),
            Err(Error::Busy),
            "cancelled, not settled"
        );
        ring.settle();
        // A lease is out: the group goes, the lease stays good.
        ring.withdraw(group).unwrap();
        assert_eq!(&*lease, b"one");
        assert_eq!(ring.withdraw(group), Err(Error::Stale));
        let refused = ring.submit(op::recv_multi(ours, group), 2).unwrap_err();
        assert!(matches!(refused.error, Error::Invalid(_)), "{refused}");
        // The next one may have its id, not its memory.
        let next = there_is(ring.provide(2, 16));
        let receive = |ring: &mut Ring<16>| {
            if ring.unsettled() == 0 {
                ring.start(op::recv_multi(ours, next), 3);
            }
            ring.turn()
        };
        let mut one = |ring: &mut Ring<16>, bytes: &[u8]| {
            peer.write_all(bytes).unwrap();
            let mut done = receive(ring);
            done.retain(is_no_early_end);
            assert_eq!(done.len(), 1, "{done:?}");
            done.pop().unwrap().into_lease().expect("a lease")
        };
        let second = one(&mut ring, b"two");
        assert_eq!((&*lease, &*second), (&b"one"[..], &b"two"[..]));
        drop(lease);
        let third = one(&mut ring, b"three");
        assert_eq!((&*second, &*third), (&b"two"[..], &b"three"[..]));
        // Both of the group's are out: the one that came from the old group has not come back to this.
        peer.write_all(b"four").unwrap();
        assert_eq!(results(&receive(&mut ring)), [(3, NO_BUFFERS)]);
        drop((second, third));
        ring.withdraw(next).unwrap();
    });
}

#[test]
fn p16_sizes_that_can_not_be_are_refused() {
    in_balance("p16_sizes_that_can_not_be_are_refused", || {
        let mut ring: Ring<16> = ring::ring();
        for (count, size) in [(0, 16), (3, 16), (12, 16), (u16::MAX, 16), (4, 0)] {
            let refused = ring.provide(count, size);
            assert!(matches!(refused, Err(Error::Invalid(_))), "{count} {size}");
        }
        // The largest there can be, used to its end: its indices go round.
        let group = there_is(ring.provide(32_768, 1));
        let (ours, mut peer) = pair(&mut ring);
        let mut recv = ring.start(op::recv_multi(ours, group), 1);
        let mut stream = Counting::default();
        for _ in 0..20 {
            let bytes: Vec<u8> = (0..4000).map(|_| stream.next()).collect();
            peer.write_all(&bytes).unwrap();
            while stream.is_behind() {
                let done = ring.turn();
                // Older kernels end it, with the bytes, when there is no room for more completions.
                let has_ended = done.iter().any(|done| !done.more);
                for done in done {
                    assert_eq!(done.op, recv);
                    stream.take(&done.into_lease().unwrap());
                }
                if has_ended {
                    recv = ring.start(op::recv_multi(ours, group), 1);
                }
            }
        }
        ring.cancel(recv);
        ring.settle();
        ring.withdraw(group).unwrap();
    });
}

/// Many groups: each has an id of its own.
#[test]
fn p16_groups_come_and_go() {
    in_balance("p16_groups_come_and_go", || {
        if !ring::has(Code::RecvMulti) {
            return;
        }
        let mut ring: Ring<16> = ring::ring();
        let mut groups: Vec<Group> = Vec::new();
        let refused = loop {
            match ring.provide(1, 1) {
                Ok(group) => {
                    assert!(!groups.contains(&group));
                    groups.push(group);
                }
                Err(error) => break Some(error),
            }
            if groups.len() == 64 {
                break None;
            }
        };
        if let Some(refused) = refused {
            assert!(matches!(refused, Error::Full { .. }), "{refused}");
        }
        let (ours, mut peer) = pair(&mut ring);
        for (number, group) in groups.iter().enumerate() {
            ring.start(op::recv_multi(ours, *group), 1);
            peer.write_all(&[number as u8]).unwrap();
            // Its one buffer, and then none.
            peer.write_all(&[99]).unwrap();
            let mut done = ring.settle();
            assert_eq!(done.pop().unwrap().result, NO_BUFFERS);
            let lease = done.pop().unwrap().into_lease().unwrap();
            assert_eq!(lease[0], number as u8);
            drop(lease);
            ring.start(op::recv(ours, Counted::with_room(8)), 2);
            if done.is_empty() {
                ring.cancel_all();
            }
            ring.settle();
        }
        for group in groups {
            ring.withdraw(group).unwrap();
        }
        let group = there_is(ring.provide(1, 8));
        ring.withdraw(group).unwrap();
    });
}

/// The end of the stream, errors and cancels end a receive without a lease, and no buffer is lost on the way.
#[test]
fn p16_a_receive_that_ends_without_a_buffer_takes_none() {
    in_balance(
        "p16_a_receive_that_ends_without_a_buffer_takes_none",
        || {
            const COUNT: u16 = 2;
            let mut ring: Ring<16> = ring::ring();
            let group = there_is(ring.provide(COUNT, 16));
            for round in 0..50 {
                let (ours, peer) = pair(&mut ring);
                let recv = ring.start(op::recv_multi(ours, group), round);
                let mut pipe = None;
                match round % 3 {
                    0 => drop(peer), // the end
                    1 => {
                        ring.flush().unwrap();
                        ring.cancel(recv);
                    }
                    _ => {
                        let (reader, _writer) = std::io::pipe().unwrap();
                        let reader = ring.take_in(reader);
                        ring.cancel(recv);
                        ring.start(op::recv_multi(reader, group), round);
                        pipe = Some(reader);
                    }
                }
                for done in ring.settle() {
                    let expected = [0, CANCELLED, -Errno::ENOTSOCK.raw()];
                    assert!(expected.contains(&done.result) && !done.more, "{done:?}");
                    assert!(done.into_lease().is_none_or(|lease| lease.is_empty()));
                }
                drop(ring.release(ours).unwrap());
                if let Some(pipe) = pipe {
                    drop(ring.release(pipe).unwrap());
                }
            }
            // Both are there.
            let (ours, mut peer) = pair(&mut ring);
            let recv = ring.start(op::recv_multi(ours, group), 99);
            peer.write_all(&[5; 32]).unwrap();
            let mut done = ring.turn();
            while done.len() < 2 {
                done.extend(ring.turn());
            }
            done.retain(is_no_early_end);
            assert_eq!(results(&done), [(99, 16), (99, 16)]);
            drop(done);
            ring.cancel(recv);
            ring.settle();
            ring.withdraw(group).unwrap();
        },
    );
}

/// What a lease may do to a proactor that is gone, moved, or in the midst of a batch.
#[test]
fn p16_a_lease_is_good_wherever_it_is_dropped() {
    in_balance("p16_a_lease_is_good_wherever_it_is_dropped", || {
        let mut ring: Ring<16> = ring::ring();
        let group = there_is(ring.provide(4, 16));
        let (ours, mut peer) = pair(&mut ring);
        let recv = ring.start(op::recv_multi(ours, group), 1);
        for round in 0..100u8 {
            peer.write_all(&[round; 48]).unwrap();
            let mut count = 0;
            while count < 48 {
                ring.wait(Some(ring::LONG)).unwrap();
                // Dropped between two completions of one batch.
                while let Some(Event::Completion(done)) = ring.next() {
                    assert_eq!((done.op, done.more), (recv, true));
                    let lease = done.into_lease().unwrap();
                    assert!(lease.iter().all(|byte| *byte == round));
                    count += lease.len();
                }
            }
            assert_eq!(count, 48);
        }
        // Dropped by a panic, in a box that moves the ring.
        let mut ring = Box::new(ring);
        peer.write_all(&[1; 16]).unwrap();
        let lease = ring.turn().pop().unwrap().into_lease().unwrap();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _lease = lease;
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(caught.is_err());
        let mut ring = *ring;
        peer.write_all(&[2; 64]).unwrap();
        let mut leases = Vec::new();
        while leases.len() < 4 {
            leases.extend(ring.turn());
            leases.retain(is_no_early_end);
        }
        assert!(leases.iter().all(|done| done.more), "it came back");
        drop(leases);
        ring.cancel(recv);
        ring.settle();
        ring.withdraw(group).unwrap();
    });
}

#[test]
fn p6_registered_buffers_stay_while_they_are_used_and_come_back() {
    in_balance(
        "p6_registered_buffers_stay_while_they_are_used_and_come_back",
        || {
            let mut ring: Ring<16> = ring::ring();
            let (reader, mut writer) = std::io::pipe().unwrap();
            let reader = ring.take_in(reader);
            for round in 0..20u8 {
                let mut buffers = Vectors::new();
                for size in [64, 4096] {
                    assert!(buffers.push(Counted::of(vec![round; size])).is_ok());
                }
                ring.register_buffers(buffers).expect("buffers");
                let mut more = Vectors::new();
                assert!(more.push(Counted::with_room(8)).is_ok());
                let (refused, more) = ring.register_buffers(more).unwrap_err();
                assert!(matches!(refused, Error::Invalid(_)) && more.len() == 1);
                let first = FixedBuffer::new(0);
                ring.start(op::read_fixed(reader, first, 8, 16), 1);
                ring.flush().unwrap();
                assert!(matches!(ring.fixed(first), Err(Error::Busy)));
                assert!(matches!(ring.unregister_buffers(), Err(Error::Busy)));
                writer.write_all(&[200; 16]).unwrap();
                assert_eq!(results(&ring.settle()), [(1, 16)]);
                let content = ring.fixed(first).unwrap();
                assert!(content[8..24].iter().all(|byte| *byte == 200));
                assert!(content[..8].iter().all(|byte| *byte == round));
                // A range beyond, a buffer that is not there.
                for (buffer, start, length) in
                    [(0, 60, 5), (0, u32::MAX, 1), (0, 1, u32::MAX), (9, 0, 1)]
                {
                    let read = op::read_fixed(reader, FixedBuffer::new(buffer), start, length);
                    let refused = ring.submit(read, 2).unwrap_err();
                    assert!(matches!(refused.error, Error::Invalid(_)), "{refused}");
                }
                assert!(ring.fixed(FixedBuffer::new(9)).is_err());
                if round % 2 == 0 {
                    assert_eq!(ring.unregister_buffers().unwrap().len(), 2);
                } else {
                    // Or with one in flight: the end of the proactor brings them back.
                    ring.start(op::read_fixed(reader, first, 0, 1), 3);
                    ring.flush().unwrap();
                    let reader = ring.cancel_on(reader);
                    assert_eq!(reader, 1);
                    ring.settle();
                    drop(ring.unregister_buffers().unwrap());
                }
            }
            let mut buffers = Vectors::new();
            assert!(buffers.push(Counted::with_room(64)).is_ok());
            ring.register_buffers(buffers).expect("buffers");
            ring.start(op::read_fixed(reader, FixedBuffer::new(0), 0, 64), 4);
            ring.flush().unwrap();
            drop(ring);
            assert_eq!(ring::buffers_out(), 0);
            // Nothing is left in the pipe that a late read could have taken.
            writer.write_all(b"late").unwrap_err();
        },
    );
}

#[test]
fn p14_registered_slots_keep_their_file_for_themselves() {
    in_balance(
        "p14_registered_slots_keep_their_file_for_themselves",
        || {
            let mut ring: Ring<16> = ring::ring();
            ring.register_files(2).unwrap();
            let (ours, mut peer) = pair(&mut ring);
            let slot = ring.install(ours).unwrap();
            ring.close(ours, 1).unwrap();
            assert_eq!(results(&ring.settle()), [(1, 0)]);
            // Open for the slot, closed by its number.
            ring.start(op::send(slot, Counted::of(b"still")), 2);
            ring.settle();
            let mut bytes = [0; 5];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"still");
            let recv = ring.start(op::recv(slot, Counted::with_room(8)), 3);
            ring.flush().unwrap();
            ring.uninstall(slot).unwrap();
            assert!(ring.uninstall(slot).is_err());
            peer.write_all(b"late").unwrap();
            let done = ring.settle().pop().unwrap();
            assert_eq!(
                (done.op, done.result),
                (recv, 4),
                "what is in flight goes on"
            );
            drop(done);
            // The slot is another file's now: cancelling on it does not touch what came before.
            let (next, mut next_peer) = pair(&mut ring);
            let again = ring.install(next).unwrap();
            ring.start(op::recv(again, Counted::with_room(8)), 4);
            assert_eq!(ring.cancel_on(again), 1);
            assert_eq!(results(&ring.settle()), [(4, CANCELLED)]);
            ring.start(op::close_fixed(again), 5);
            assert_eq!(results(&ring.settle()), [(5, 0)]);
            assert!(ring.uninstall(again).is_err(), "it is empty");
            drop(ring.release(next).unwrap());
            assert_eq!(
                next_peer.read(&mut [0]).unwrap(),
                0,
                "the last number of it is gone"
            );
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        },
    );
}

/// Tells at compile time whether a type has a property: an inherent constant, where the bound holds, goes before the
/// trait's.
struct Has<T>(PhantomData<T>);

trait HasNot {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> HasNot for Has<T> {}

impl<T: Send> Has<T> {
    const SEND: bool = true;
}

impl<T: Sync> Has<T> {
    const SYNC: bool = true;
}

#[test]
fn p16_what_belongs_to_a_ring_stays_on_its_thread() {
    type Slices = Uring<&'static mut [u8]>;
    let things = [
        (Has::<Ring<8>>::SEND, Has::<Ring<8>>::SYNC),
        (Has::<Uring<Counted>>::SEND, Has::<Uring<Counted>>::SYNC),
        (Has::<Slices>::SEND, Has::<Slices>::SYNC),
        (Has::<Lease>::SEND, Has::<Lease>::SYNC),
        (Has::<Block<64, 4>>::SEND, Has::<Block<64, 4>>::SYNC),
        (Has::<ring::Done>::SEND, Has::<ring::Done>::SYNC),
    ];
    assert_eq!(things, [(false, false); 6]);
    // So that the above can be believed.
    const { assert!(Has::<u32>::SEND && Has::<u32>::SYNC) };
}

/// Completions for which there is no room may end a receive with bytes in its last one: they are delivered as well.
#[test]
fn p16_bytes_of_the_last_completion_are_delivered() {
    in_balance("p16_bytes_of_the_last_completion_are_delivered", || {
        let mut ring: Ring<16> = ring::ring_over(ring::small(8, 8));
        let group = there_is(ring.provide(64, 16));
        let (ours, peer) = UnixDatagram::pair().unwrap();
        let ours = ring.take_in(ours);
        let (mut next, mut ended_with_bytes) = (0, 0);
        for round in 0..50 {
            ring.start(op::recv_multi(ours, group), round);
            ring.flush().unwrap();
            for number in 0..40u8 {
                // As much as a socket of datagrams queues, with a completion for each.
                peer.send(&[number]).unwrap();
                if number % 10 == 9 {
                    let mut came = 0;
                    while came < 10 {
                        for done in ring.turn() {
                            let more = done.more;
                            if let Some(lease) = done.into_lease() {
                                assert_eq!(&*lease, [next % 40]);
                                next += 1;
                                came += 1;
                                ended_with_bytes += u32::from(!more);
                            }
                            if !more {
                                ring.start(op::recv_multi(ours, group), round);
                            }
                        }
                    }
                }
            }
            ring.cancel_all();
            ring.settle();
            next = 0;
        }
        assert!(ended_with_bytes > 0, "the queue was never full");
        ring.withdraw(group).unwrap();
    });
}
