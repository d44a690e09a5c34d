//! P-1, P-16: provided buffers and their leases, registered buffers, registered descriptors.

use std::cell::RefCell;
use std::rc::Rc;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::VECTORS_MAX;
use linux_event::{File, FixedBuffer, Group, LoopError, Op, Payload, op};
use linux_event_tests::proactor::{
    Done, Heard, LoopOf, Outside, World, adopt, client, file, finish, hear, listener, pair,
    perform, pipe_in, results, room, run, take, there_is, turn, turn_until, vectors,
    wait_for_the_end,
};
use linux_event_tests::proactor_conformance;

/// A connection with a group and a multishot receive on it, of which `who` is heard; `None` where the kernel lacks that.
fn receiving<W: World>(
    event_loop: &mut LoopOf<W, Heard<W>>,
    count: u16,
    size: u32,
    who: &'static str,
) -> Option<(File, W::End, Group, Op)> {
    let (one, end) = pair::<W, _>(event_loop);
    let group = there_is(event_loop.provide(count, size))?;
    let receiving = there_is(event_loop.recv_multi(one, group, hear::<W>(who)))?;
    Some((one, end, group, receiving))
}

/// What a completion brought, in a lease that goes back with this.
fn bytes<W: World>(done: Done<W>) -> Vec<u8> {
    let count = done.outcome().expect("bytes");
    let lease = done.into_lease().expect("a lease");
    assert_eq!(lease.len(), count as usize);
    lease.to_vec()
}

proactor_conformance! {
    fn p16_a_multishot_receive_brings_leases_and_settles_once<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let Some((one, end, group, receiving)) = receiving::<W>(&mut event_loop, 4, 64, "recv") else { return };
        for number in 0..10 {
            let text = format!("number {number}");
            W::outside(&mut event_loop).put(end, text.as_bytes());
            turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
            let done = take::<W>(&mut event_loop, "recv");
            assert!(done.more && done.op == receiving);
            assert_eq!(bytes::<W>(done), text.as_bytes());
        }
        assert_eq!((event_loop.live_op_count(), event_loop.contains(receiving)), (1, true));
        assert!(event_loop.cancel(receiving));
        run::<W, _>(&mut event_loop);
        let done = take::<W>(&mut event_loop, "recv");
        assert!(done.is_cancelled() && !done.more, "{done:?}");
        assert!(event_loop.state.is_empty());
        event_loop.withdraw(group).unwrap();
        drop(event_loop.release_fd(one).unwrap());
        finish::<W, _>(event_loop);
    }

    fn p16_a_multishot_receive_ends_with_the_stream<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let Some((_, end, group, _)) = receiving::<W>(&mut event_loop, 4, 64, "recv") else { return };
        W::outside(&mut event_loop).put(end, b"last");
        W::outside(&mut event_loop).shutdown_write(end);
        run::<W, _>(&mut event_loop);
        assert_eq!(bytes::<W>(take::<W>(&mut event_loop, "recv")), b"last");
        let done = take::<W>(&mut event_loop, "recv");
        assert_eq!((done.outcome(), done.more), (Ok(0), false), "the end of the stream");
        assert!(done.into_lease().is_none(), "nothing came, no buffer is taken");
        assert!(event_loop.state.is_empty());
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p16_what_is_more_than_a_buffer_comes_in_several<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let Some((_, end, group, receiving)) = receiving::<W>(&mut event_loop, 8, 8, "recv") else { return };
        let sent: Vec<u8> = (0..40).collect();
        W::outside(&mut event_loop).put(end, &sent);
        turn_until::<W, _>(&mut event_loop, |l| l.state.len() >= 5);
        let mut received = Vec::new();
        for _ in 0..5 {
            let part = bytes::<W>(take::<W>(&mut event_loop, "recv"));
            assert!(part.len() <= 8);
            received.extend(part);
        }
        assert_eq!(received, sent);
        event_loop.cancel(receiving);
        run::<W, _>(&mut event_loop);
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p16_a_multishot_receive_keeps_its_limit<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let Some(group) = there_is(event_loop.provide(8, 64)) else { return };
        W::outside(&mut event_loop).put(end, b"0123456789");
        let request = op::recv_multi(one, group).limit(4);
        let Some(receiving) = there_is(event_loop.submit(request, hear::<W>("recv"))) else { return };
        turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
        if event_loop.state[0].1.outcome() == Err(Errno::EINVAL) {
            eprintln!("skipped: this kernel knows no limit of a multishot receive");
            return;
        }
        turn_until::<W, _>(&mut event_loop, |l| {
            l.state.iter().map(|(_, done)| done.outcome().unwrap()).sum::<u32>() == 10
        });
        event_loop.cancel(receiving);
        run::<W, _>(&mut event_loop);
        let mut received = Vec::new();
        for (_, done) in std::mem::take(&mut event_loop.state) {
            if done.more || done.outcome().is_ok() {
                let part = bytes::<W>(done);
                assert!(part.len() <= 4, "{part:?}");
                received.extend(part);
            }
        }
        assert_eq!(received, b"0123456789");
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p16_a_group_that_runs_dry_ends_the_receive_and_nothing_is_lost<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let Some((one, end, group, _)) = receiving::<W>(&mut event_loop, 2, 8, "recv") else { return };
        let sent: Vec<u8> = (0..40).collect();
        W::outside(&mut event_loop).put(end, &sent);
        turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
        let done = event_loop.state.pop().unwrap().1;
        assert_eq!((done.outcome(), done.more), (Err(Errno::ENOBUFS), false));
        let held = std::mem::take(&mut event_loop.state);
        assert_eq!(held.len(), 2, "all are out");
        let mut received: Vec<u8> = held.into_iter().flat_map(|(_, done)| bytes::<W>(done)).collect();

        // They are back: it goes on where it stopped.
        event_loop.recv_multi(one, group, hear::<W>("recv")).unwrap();
        turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
        assert_eq!(event_loop.state.pop().unwrap().1.outcome(), Err(Errno::ENOBUFS));
        received.extend(std::mem::take(&mut event_loop.state).into_iter().flat_map(|(_, done)| bytes::<W>(done)));
        let rest = perform::<W, _>(&mut event_loop, op::recv(one, room(64))).into_buffer().unwrap();
        received.extend_from_slice(&rest);
        assert_eq!(received, sent);
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p16_one_buffer_serves_for_ever_if_it_is_given_back<W>() {
        let mut event_loop = W::looping(0);
        let (one, end) = pair::<W, _>(&mut event_loop);
        let Some(group) = there_is(event_loop.provide(1, 16)) else { return };
        let count = |l: &mut LoopOf<W, u32>, done: Done<W>| {
            if done.more {
                assert_eq!(bytes::<W>(done), l.state.to_ne_bytes());
                l.state += 1;
            }
        };
        let Some(mut receiving) = there_is(event_loop.recv_multi(one, group, count)) else { return };
        for number in 0..100_u32 {
            W::outside(&mut event_loop).put(end, &number.to_ne_bytes());
            turn_until::<W, _>(&mut event_loop, |l| l.state > number);
            // With its last buffer gone, it ends: in older kernels at once, in newer ones when more bytes come.
            turn::<W, _>(&mut event_loop);
            if event_loop.live_op_count() == 0 {
                receiving = event_loop.recv_multi(one, group, count).unwrap();
            }
        }
        event_loop.cancel(receiving);
        run::<W, _>(&mut event_loop);
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p16_leases_are_good_until_they_go_back_in_whatever_order<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let Some((_, end, group, receiving)) = receiving::<W>(&mut event_loop, 8, 16, "recv") else { return };
        // Some are never out: without any, older kernels end the receive before the next bytes come.
        let mut leases = Vec::new();
        for number in 0..4_u8 {
            W::outside(&mut event_loop).put(end, &[number; 5]);
            turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
            leases.push((number, take::<W>(&mut event_loop, "recv").into_lease().unwrap()));
        }
        for turn in 4..20_u8 {
            let at = usize::from(turn * 7) % leases.len();
            drop(leases.swap_remove(at));
            W::outside(&mut event_loop).put(end, &[turn; 5]);
            turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
            leases.push((turn, take::<W>(&mut event_loop, "recv").into_lease().unwrap()));
            for (number, lease) in &leases {
                assert_eq!(**lease, [*number; 5], "nobody else's bytes");
            }
        }
        drop(leases);
        event_loop.cancel(receiving);
        run::<W, _>(&mut event_loop);
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p16_a_group_in_use_stays_and_one_that_is_gone_is_refused<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let Some((one, end, group, receiving)) = receiving::<W>(&mut event_loop, 4, 16, "recv") else { return };
        assert!(event_loop.withdraw(group).is_err_and(|error| error == LoopError::Busy));
        W::outside(&mut event_loop).put(end, b"held");
        turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
        let lease = take::<W>(&mut event_loop, "recv").into_lease().unwrap();
        event_loop.cancel(receiving);
        run::<W, _>(&mut event_loop);
        event_loop.withdraw(group).unwrap();
        assert_eq!(*lease, *b"held", "a lease outlives its group");
        drop(lease);
        assert!(event_loop.withdraw(group).is_err_and(|error| error == LoopError::Stale));
        let refused = event_loop.recv_multi(one, group, hear::<W>("never")).unwrap_err();
        assert!(matches!(refused.error, LoopError::Invalid(_)), "{refused:?}");
        finish::<W, _>(event_loop);
    }

    fn p16_groups_are_made_ended_and_made_again<W>() {
        let mut event_loop = W::looping(());
        for size in [1, 16, 4096] {
            let Some(group) = there_is(event_loop.provide(2, size)) else { return };
            let Some(other) = there_is(event_loop.provide(2, size)) else { return };
            assert_ne!(group, other);
            event_loop.withdraw(group).unwrap();
            event_loop.withdraw(other).unwrap();
        }
        for (count, size) in [(0, 16), (3, 16), (32_769, 16), (u16::MAX, 16), (2, 0)] {
            let refused = event_loop.provide(count, size);
            assert!(matches!(refused, Err(linux_event::Error::Loop(LoopError::Invalid(_)))), "{count} of {size}");
        }
        finish::<W, _>(event_loop);
    }

    fn p16_two_receives_share_a_group<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let Some((_, end, group, first)) = receiving::<W>(&mut event_loop, 4, 16, "first") else { return };
        let (other, other_end) = pair::<W, _>(&mut event_loop);
        let second = event_loop.recv_multi(other, group, hear::<W>("second")).unwrap();
        for _ in 0..5 {
            W::outside(&mut event_loop).put(end, b"one");
            W::outside(&mut event_loop).put(other_end, b"other");
            turn_until::<W, _>(&mut event_loop, |l| l.state.len() == 2);
            assert_eq!(bytes::<W>(take::<W>(&mut event_loop, "first")), b"one");
            assert_eq!(bytes::<W>(take::<W>(&mut event_loop, "second")), b"other");
        }
        event_loop.cancel(first);
        turn_until::<W, _>(&mut event_loop, |l| !l.state.is_empty());
        assert!(event_loop.withdraw(group).is_err_and(|error| error == LoopError::Busy), "the other goes on");
        event_loop.cancel(second);
        run::<W, _>(&mut event_loop);
        event_loop.withdraw(group).unwrap();
        finish::<W, _>(event_loop);
    }

    /// A lease that is kept when its loop is gone is still good memory.
    fn p16_a_lease_outlives_its_loop<W>() {
        let kept = Rc::new(RefCell::new(None));
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let Some(group) = there_is(event_loop.provide(4, 16)) else { return };
        let to = Rc::clone(&kept);
        let receiving = event_loop.recv_multi(one, group, move |_, done| {
            if let Payload::Lease(lease) = done.payload {
                *to.borrow_mut() = Some(lease);
            }
        });
        if there_is(receiving).is_none() {
            return;
        }
        W::outside(&mut event_loop).put(end, b"kept");
        turn_until::<W, _>(&mut event_loop, |_| kept.borrow().is_some());
        drop(event_loop);
        assert_eq!(**kept.borrow().as_ref().unwrap(), *b"kept");
        kept.borrow_mut().take();
    }

    fn p1_registered_buffers_are_read_into_and_written_from<W>() {
        let mut event_loop = W::looping(());
        let file = file::<W, _>(&mut event_loop, "file", b"0123456789");
        event_loop.register_buffers(vectors([vec![b'a'; 64].into(), vec![b'b'; 64].into()])).unwrap();
        let [first, second] = [0, 1].map(FixedBuffer::new);
        let read = perform::<W, _>(&mut event_loop, op::read_fixed(file, first, 4, 6).at(2));
        assert_eq!((read.outcome(), read.into_buffer()), (Ok(6), None));
        assert_eq!(event_loop.fixed(first).unwrap()[..12], *b"aaaa234567aa");
        event_loop.fixed(second).unwrap()[10..14].copy_from_slice(b"wxyz");
        let written = perform::<W, _>(&mut event_loop, op::write_fixed(file, second, 9, 6).at(0));
        assert_eq!(written.outcome(), Ok(6));
        assert_eq!(W::outside(&mut event_loop).content("file").unwrap(), b"bwxyzb6789");
        let buffers = event_loop.unregister_buffers().unwrap();
        assert_eq!((buffers.len(), &buffers[0][..12]), (2, &b"aaaa234567aa"[..]), "they come back");
        finish::<W, _>(event_loop);
    }

    fn p16_registered_buffers_stay_while_they_are_used<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        event_loop.register_buffers(vectors([room(16), room(16)])).unwrap();
        let [first, second] = [0, 1].map(FixedBuffer::new);
        event_loop.submit(op::read_fixed(reader, first, 0, 16), hear::<W>("read")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.fixed(first).is_err_and(|error| error == LoopError::Busy));
        assert!(event_loop.fixed(second).is_ok(), "nobody uses that one");
        assert!(event_loop.unregister_buffers().is_err_and(|error| error == LoopError::Busy));
        let refused = event_loop.register_buffers(vectors([room(1)])).unwrap_err();
        assert!(matches!(refused.error, LoopError::Invalid(_)));
        assert_eq!(refused.buffers.len(), 1, "P-6");
        W::outside(&mut event_loop).put(end, b"fixed");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("read", Ok(5))]);
        assert_eq!(event_loop.fixed(first).unwrap()[..5], *b"fixed");
        assert_eq!(event_loop.unregister_buffers().unwrap().len(), 2);
        finish::<W, _>(event_loop);
    }

    fn p16_a_cancelled_use_of_a_registered_buffer_lets_it_go<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (reader, _) = pipe_in::<W, _>(&mut event_loop);
        event_loop.register_buffers(vectors([room(16)])).unwrap();
        let read = op::read_fixed(reader, FixedBuffer::new(0), 0, 16);
        let read = event_loop.submit(read, hear::<W>("read")).unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.cancel(read);
        run::<W, _>(&mut event_loop);
        assert!(take::<W>(&mut event_loop, "read").is_cancelled());
        event_loop.unregister_buffers().unwrap();
        finish::<W, _>(event_loop);
    }

    fn p1_ranges_beyond_a_registered_buffer_are_refused<W>() {
        let mut event_loop = W::looping(());
        let file = file::<W, _>(&mut event_loop, "file", b"");
        let fixed = FixedBuffer::new(0);
        let refused = |event_loop: &mut LoopOf<W>, start, length| {
            let refused = event_loop.submit(op::write_fixed(file, fixed, start, length), |_, _| ()).unwrap_err();
            assert!(matches!(refused.error, LoopError::Invalid(_)), "{refused:?}");
        };
        refused(&mut event_loop, 0, 1);
        event_loop.register_buffers(vectors([vec![0; 16].into()])).unwrap();
        // A buffer is registered with all its room, which may be more than was asked for.
        let size = event_loop.fixed(fixed).unwrap().len() as u32;
        for (start, length) in [(0, size + 1), (size, 1), (size + 1, 0), (u32::MAX, u32::MAX), (1, u32::MAX)] {
            refused(&mut event_loop, start, length);
        }
        let beyond = op::read_fixed(file, FixedBuffer::new(VECTORS_MAX as u16), 0, 1);
        assert!(event_loop.submit(beyond, |_, _| ()).is_err());
        assert!(event_loop.fixed(FixedBuffer::new(1)).is_err_and(|error| error == LoopError::Stale));
        assert_eq!(event_loop.unregister_buffers().unwrap().len(), 1);
        finish::<W, _>(event_loop);
    }

    fn p1_registered_slots_are_operated_on<W>() {
        let mut event_loop = W::looping(());
        event_loop.register_files(2).unwrap();
        let twice = event_loop.register_files(2);
        assert!(matches!(twice, Err(linux_event::Error::Loop(LoopError::Invalid(_)))));
        let (one, end) = pair::<W, _>(&mut event_loop);
        let slot = event_loop.install(one).unwrap();
        perform::<W, _>(&mut event_loop, op::send(slot, "by slot".into())).outcome().unwrap();
        assert_eq!(W::outside(&mut event_loop).drain(end), b"by slot");
        W::outside(&mut event_loop).put(end, b"back");
        let done = perform::<W, _>(&mut event_loop, op::recv(slot, room(16)));
        assert_eq!(done.into_buffer(), Some("back".into()));
        event_loop.uninstall(slot).unwrap();
        assert!(event_loop.uninstall(slot).is_err_and(|error| error == LoopError::Stale));
        let done = perform::<W, _>(&mut event_loop, op::recv(slot, room(16)));
        assert_eq!((done.outcome(), done.into_buffer()), (Err(Errno::EBADF), Some("".into())), "an empty slot");
        let beyond = event_loop.install(one).and_then(|_| event_loop.install(one)).unwrap();
        event_loop.uninstall(beyond).unwrap();
        event_loop.uninstall(slot).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p14_a_registered_slot_keeps_its_file_open<W>() {
        let mut event_loop = W::looping(());
        event_loop.register_files(2).unwrap();
        let (one, end) = pair::<W, _>(&mut event_loop);
        let slot = event_loop.install(one).unwrap();
        assert_eq!(perform::<W, _>(&mut event_loop, op::close(one)).outcome(), Ok(0));
        assert!(event_loop.install(one).is_err_and(|error| error == LoopError::Stale));
        perform::<W, _>(&mut event_loop, op::send(slot, "still".into())).outcome().unwrap();
        assert_eq!(W::outside(&mut event_loop).drain(end), b"still");
        assert!(!W::outside(&mut event_loop).is_at_end(end));
        assert_eq!(perform::<W, _>(&mut event_loop, op::close_fixed(slot)).outcome(), Ok(0));
        // That was the last of it: older kernels let go of it a little later.
        wait_for_the_end::<W, _>(&mut event_loop, end);
        finish::<W, _>(event_loop);
    }

    fn p14_what_is_in_flight_on_a_slot_goes_on_when_it_is_emptied<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        event_loop.register_files(1).unwrap();
        let (one, end) = pair::<W, _>(&mut event_loop);
        let slot = event_loop.install(one).unwrap();
        drop(event_loop.release_fd(one).unwrap());
        event_loop.recv(slot, room(16), hear::<W>("recv")).unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.uninstall(slot).unwrap();
        let (other, _) = pair::<W, _>(&mut event_loop);
        assert_eq!(event_loop.install(other).unwrap(), slot, "the slot is another's now");
        W::outside(&mut event_loop).put(end, b"for the first");
        run::<W, _>(&mut event_loop);
        assert_eq!(take::<W>(&mut event_loop, "recv").into_buffer(), Some("for the first".into()));
        event_loop.uninstall(slot).unwrap();
        finish::<W, _>(event_loop);
    }

    fn p1_slots_that_are_full_say_so<W>() {
        let mut event_loop = W::looping(());
        let (one, _) = pair::<W, _>(&mut event_loop);
        assert!(event_loop.install(one).is_err(), "there is no table");
        event_loop.register_files(2).unwrap();
        let slots = [(); 2].map(|()| event_loop.install(one).unwrap());
        assert_ne!(slots[0], slots[1]);
        let full = event_loop.install(one).unwrap_err();
        assert!(matches!(full, linux_event::Error::Loop(LoopError::Full { capacity: 2 })), "{full:?}");
        event_loop.uninstall(slots[0]).unwrap();
        assert_eq!(event_loop.install(one).unwrap(), slots[0]);
        for slot in slots {
            event_loop.uninstall(slot).unwrap();
        }
        finish::<W, _>(event_loop);
    }

    fn p1_a_listener_in_a_slot_accepts<W>() {
        let mut event_loop = W::looping(());
        event_loop.register_files(1).unwrap();
        let (listener, address) = listener::<W, _>(&mut event_loop);
        let slot = event_loop.install(listener).unwrap();
        let end = client::<W, _>(&mut event_loop, address);
        let accepted = perform::<W, _>(&mut event_loop, op::accept(slot));
        let served = adopt::<W, _>(&mut event_loop, accepted.into_descriptor().unwrap());
        perform::<W, _>(&mut event_loop, op::send(served, "x".into())).outcome().unwrap();
        assert_eq!(W::outside(&mut event_loop).drain(end), b"x");
        event_loop.uninstall(slot).unwrap();
        finish::<W, _>(event_loop);
    }
}
