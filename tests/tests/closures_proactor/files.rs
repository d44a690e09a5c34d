//! Adopted descriptors, what accept brings, resources (P-11, P-14, P-15, P-16).

use linux_event::{Buffer, LoopError, Vectors, op};

use crate::{World, both};

both!(
    p14_a_file_in_use_is_not_given_back,
    p15_close_cancels_what_is_in_flight_first,
    p6_vectored_operations_bring_their_buffers_back,
    p16_provided_buffers_come_as_leases,
);

/// P-14: a file is given back when nothing is in flight on it.
fn p14_a_file_in_use_is_not_given_back<W: World>() -> Option<()> {
    let mut event_loop = W::looping(())?;
    let (one, _other) = W::pair(&mut event_loop);
    assert_eq!(event_loop.file_count(), 2);
    let op = event_loop.recv(one, vec![0; 8], |_, _| ()).unwrap();
    assert!(
        event_loop
            .release_fd(one)
            .is_err_and(|error| error == LoopError::Busy)
    );
    event_loop.cancel(op);
    event_loop.run().unwrap();
    let fd = event_loop.release_fd(one).unwrap();
    assert!(event_loop.descriptor(one).is_none());
    let refused = event_loop.recv(one, vec![7; 8], |_, _| ()).unwrap_err();
    assert_eq!(
        (refused.error, refused.buffer),
        (LoopError::Stale, Some(Buffer::from(vec![7; 8])))
    );
    let one = event_loop.adopt_fd(fd).unwrap();
    assert!(event_loop.number(one).is_some());
    Some(())
}

/// P-15: closing settles what is in flight first.
fn p15_close_cancels_what_is_in_flight_first<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let (one, other) = W::pair(&mut event_loop);
    event_loop
        .recv(one, vec![0; 8], |event_loop, completion| {
            assert!(completion.is_cancelled());
            event_loop.state.push("cancelled");
        })
        .unwrap();
    event_loop
        .close(one, |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(0));
            event_loop.state.push("closed");
        })
        .unwrap();
    assert!(
        event_loop
            .close(one, |_, _| ())
            .is_err_and(|error| error == LoopError::Stale)
    );
    event_loop
        .recv(other, vec![0; 8], |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(0));
            event_loop.state.push("end of stream");
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state[0], "cancelled");
    event_loop.state.sort_unstable();
    assert_eq!(event_loop.state, ["cancelled", "closed", "end of stream"]);
    Some(())
}

/// P-6: several buffers go in and come back.
fn p6_vectored_operations_bring_their_buffers_back<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let (one, other) = W::pair(&mut event_loop);
    let parts = Vectors::from_iter([Buffer::from("head"), Buffer::from("body")]);
    event_loop
        .submit_vectored(op::write_vectored(one, parts), |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(8));
            assert_eq!(
                event_loop.take_vectors(),
                [Buffer::from("head"), Buffer::from("body")]
            );
        })
        .unwrap();
    let room = Vectors::from_iter([Buffer::with_capacity(3), Buffer::with_capacity(16)]);
    let mut turn = 0;
    event_loop
        .submit_vectored(
            op::read_vectored(other, room),
            move |event_loop, completion| {
                turn += 1;
                assert_eq!(completion.outcome(), Ok(8));
                let buffers = event_loop.take_vectors();
                event_loop.state = buffers.iter().flat_map(|buffer| buffer.to_vec()).collect();
                if turn == 1 {
                    event_loop
                        .again_vectored(op::write_vectored(one, buffers))
                        .unwrap();
                }
            },
        )
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, b"headbody");
    let refused = event_loop.submit_vectored(op::write_vectored(one, Vectors::new()), |_, _| ());
    assert!(matches!(refused.unwrap_err().error, LoopError::Invalid(_)));
    let buffers = Vectors::from_iter([Buffer::from("x")]);
    let refused = event_loop
        .again_vectored(op::write_vectored(one, buffers))
        .unwrap_err();
    assert_eq!(refused.buffers.len(), 1);
    Some(())
}

/// P-16: provided buffers come as leases.
fn p16_provided_buffers_come_as_leases<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let (one, other) = W::pair(&mut event_loop);
    let group = match event_loop.provide(4, 64) {
        Ok(group) => group,
        Err(error) => {
            eprintln!("no provided buffers: {error}");
            return Some(());
        }
    };
    let receiving = event_loop.recv_multi(one, group, |event_loop, completion| {
        if !completion.more {
            return;
        }
        let count = completion.outcome().unwrap() as usize;
        let lease = completion.into_lease().unwrap();
        assert_eq!(lease.len(), count);
        event_loop.state.extend_from_slice(&lease);
    });
    let receiving = match receiving {
        Ok(receiving) => receiving,
        Err(refused) => {
            eprintln!("no multishot receive: {refused}");
            return Some(());
        }
    };
    assert!(
        event_loop
            .withdraw(group)
            .is_err_and(|error| error == LoopError::Busy)
    );
    for count in 1..=8 {
        event_loop.send(other, "ab", |_, _| ()).unwrap();
        while event_loop.state.len() < 2 * count {
            event_loop.run_once(crate::LONG).unwrap();
        }
    }
    assert_eq!(event_loop.state, b"abababababababab");
    event_loop.cancel(receiving);
    event_loop.run().unwrap();
    event_loop.withdraw(group).unwrap();
    Some(())
}
