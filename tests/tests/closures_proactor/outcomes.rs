//! Settling, cancelling, and outcomes that nobody was told of (P-2, P-3, P-4, P-7).

use linux_event::{Buffer, LoopError, OpState, PollEvents, op};

use crate::{LONG, World, both};

both!(
    p2_a_completion_is_never_delivered_in_the_call_that_submits,
    p6_a_read_brings_its_buffer_back,
    p4_a_cancelled_operation_tells_of_it,
    p4_cancelling_by_file_and_all,
    p7_on_complete_of_a_settled_operation_runs_in_the_next_turn,
    p7_on_complete_of_a_pending_operation,
    p7_an_outcome_is_kept_until_it_is_taken,
    p7_a_detached_operation_settles_silently,
    p7_detach_then_cancel_settles_silently,
    p3_a_multishot_operation_tells_many_times_and_settles_once,
    p7_each_completion_of_a_multishot_operation_is_kept,
    r2_operations_can_be_set_not_to_count,
);

/// P-2, P-3: in a later turn, once.
fn p2_a_completion_is_never_delivered_in_the_call_that_submits<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let op = event_loop
        .nop(|event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(0));
            assert!(!completion.more);
            assert_eq!(event_loop.current(), Some(completion.op.handle()));
            assert_eq!(event_loop.state(completion.op), OpState::Gone);
            event_loop.state += 1;
        })
        .unwrap();
    event_loop.flush().unwrap();
    assert_eq!(
        (event_loop.state, event_loop.state(op)),
        (0, OpState::Pending)
    );
    assert_eq!(event_loop.live_op_count(), 1);
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.live_op_count()), (1, 0));
    assert!(!event_loop.contains(op) && !event_loop.cancel(op) && !event_loop.detach(op));
    Some(())
}

/// P-6: the buffer comes back, filled.
fn p6_a_read_brings_its_buffer_back<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::<u8>::new())?;
    let (one, other) = W::pair(&mut event_loop);
    event_loop
        .read(one, Vec::with_capacity(16), |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(5));
            event_loop
                .state
                .extend(completion.into_buffer().unwrap().iter());
        })
        .unwrap();
    event_loop
        .write(other, "hello", |_, completion| {
            assert_eq!(completion.outcome(), Ok(5));
            assert_eq!(completion.into_buffer(), Some(Buffer::from("hello")));
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, b"hello");
    Some(())
}

/// P-3, P-4: the callback of a cancelled operation is called, once, with its buffer.
fn p4_a_cancelled_operation_tells_of_it<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, _other) = W::pair(&mut event_loop);
    let op = event_loop
        .recv(one, vec![0; 8], |event_loop, completion| {
            assert!(completion.is_cancelled());
            assert!(completion.into_buffer().is_some());
            event_loop.state += 1;
        })
        .unwrap();
    event_loop
        .run_once(Some(std::time::Duration::ZERO))
        .unwrap();
    assert!(event_loop.cancel(op));
    assert_eq!(
        (event_loop.state, event_loop.state(op)),
        (0, OpState::Cancelling)
    );
    assert!(event_loop.cancel(op), "for as long as it has not settled");
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 1);
    assert!(!event_loop.cancel(op));
    Some(())
}

/// P-4: also one that has not reached the kernel, and by file, and all.
fn p4_cancelling_by_file_and_all<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let (one, other) = W::pair(&mut event_loop);
    for (file, name) in [(one, 1), (one, 2), (other, 3)] {
        event_loop
            .recv(file, vec![0; 8], move |event_loop, completion| {
                assert!(completion.is_cancelled());
                event_loop.state.push(name);
            })
            .unwrap();
    }
    assert_eq!(event_loop.cancel_on(one), 2);
    event_loop.run_once(LONG).unwrap();
    while event_loop.state.len() < 2 {
        event_loop.run_once(LONG).unwrap();
    }
    event_loop.state.sort_unstable();
    assert_eq!(event_loop.state, [1, 2]);
    assert_eq!(event_loop.cancel_all(), 1);
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, [1, 2, 3]);
    Some(())
}

/// P-7: a callback that is set after the fact runs in the next turn, never inside the call.
fn p7_on_complete_of_a_settled_operation_runs_in_the_next_turn<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let op = event_loop.start(op::nop()).unwrap();
    event_loop.run().unwrap();
    assert_eq!(
        (event_loop.state(op), event_loop.live_op_count()),
        (OpState::Settled, 0)
    );
    event_loop
        .on_complete(op, |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(0));
            event_loop.state += 1;
        })
        .unwrap();
    assert_eq!(
        (event_loop.state, event_loop.state(op)),
        (0, OpState::Settled)
    );
    let again = event_loop.on_complete(op, |_, _| ());
    assert!(
        again.is_err_and(|error| matches!(error, linux_event::Error::Loop(LoopError::Invalid(_))))
    );
    assert!(
        event_loop.take_outcome(op).is_none(),
        "it belongs to the callback"
    );
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.state(op)), (1, OpState::Gone));
    assert!(
        event_loop
            .on_complete(op, |_, _| ())
            .is_err_and(|error| error == LoopError::Stale)
    );
    Some(())
}

/// P-7: while it is pending, it sets the callback, once.
fn p7_on_complete_of_a_pending_operation<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let op = event_loop.start(op::nop()).unwrap();
    event_loop
        .on_complete(op, |event_loop, _| event_loop.state += 1)
        .unwrap();
    assert!(event_loop.on_complete(op, |_, _| ()).is_err());
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.state(op)), (1, OpState::Gone));
    let op = event_loop.nop(|_, _| ()).unwrap();
    assert!(event_loop.on_complete(op, |_, _| ()).is_err());
    Some(())
}

/// P-7: an outcome is kept until somebody takes it.
fn p7_an_outcome_is_kept_until_it_is_taken<W: World>() -> Option<()> {
    let mut event_loop = W::looping(())?;
    let (one, other) = W::pair(&mut event_loop);
    let written = event_loop
        .start(op::write(other, Buffer::from("abc")))
        .unwrap();
    let read = event_loop
        .start(op::read(one, Buffer::with_capacity(8)))
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.take_outcome(written).unwrap().outcome(), Ok(3));
    let read = event_loop.take_outcome(read).unwrap();
    assert!(event_loop.take_outcome(read.op).is_none());
    assert_eq!(&*read.into_buffer().unwrap(), b"abc");
    Some(())
}

/// P-7: detaching drops the callback, and the operation settles in silence.
fn p7_a_detached_operation_settles_silently<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let dropped = std::rc::Rc::new(());
    let kept = std::rc::Rc::clone(&dropped);
    let op = event_loop
        .nop(move |event_loop, _| {
            let _ = &kept;
            event_loop.state += 1;
        })
        .unwrap();
    assert!(event_loop.detach(op));
    assert_eq!(std::rc::Rc::strong_count(&dropped), 1);
    assert!(event_loop.contains(op));
    event_loop.run().unwrap();
    assert!(!event_loop.contains(op) && !event_loop.detach(op));
    assert_eq!(event_loop.state, 0);
    // And one whose outcome was kept, also after somebody said whom to tell.
    for claims in [false, true] {
        let op = event_loop.start(op::nop()).unwrap();
        event_loop.run().unwrap();
        if claims {
            event_loop
                .on_complete(op, |event_loop, _| event_loop.state += 1)
                .unwrap();
        }
        assert!(event_loop.detach(op) && !event_loop.detach(op));
        event_loop.run().unwrap();
        assert_eq!((event_loop.state, event_loop.state(op)), (0, OpState::Gone));
    }
    Some(())
}

/// P-4 with P-7: cancelled, then detached, and the other way round.
fn p7_detach_then_cancel_settles_silently<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, _other) = W::pair(&mut event_loop);
    for cancels_first in [false, true] {
        let op = event_loop
            .recv(one, vec![0; 8], |event_loop, _| event_loop.state += 1)
            .unwrap();
        if cancels_first {
            assert!(event_loop.cancel(op) && event_loop.detach(op));
        } else {
            assert!(event_loop.detach(op) && event_loop.cancel(op));
        }
        event_loop.run().unwrap();
        assert_eq!((event_loop.state, event_loop.live_op_count()), (0, 0));
    }
    Some(())
}

/// P-3: a multishot operation keeps its callback until its last completion.
fn p3_a_multishot_operation_tells_many_times_and_settles_once<W: World>() -> Option<()> {
    let mut event_loop = W::looping((0, 0))?;
    let (one, other) = W::pair(&mut event_loop);
    let polling = event_loop
        .poll_multi(one, PollEvents::IN, |event_loop, completion| {
            if completion.more {
                event_loop.state.0 += 1;
            } else {
                assert!(completion.is_cancelled());
                event_loop.state.1 += 1;
            }
        })
        .unwrap();
    for count in 1..=3 {
        event_loop.write(other, "x", |_, _| ()).unwrap();
        while event_loop.state.0 < count {
            event_loop.run_once(LONG).unwrap();
        }
    }
    assert_eq!(event_loop.state.1, 0);
    assert!(event_loop.cancel(polling));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state.1, 1);
    Some(())
}

/// P-5, P-7: of a multishot operation that nobody is told of, each completion is kept, in order.
fn p7_each_completion_of_a_multishot_operation_is_kept<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let (one, other) = W::pair(&mut event_loop);
    let polling = event_loop
        .start(op::poll_multi(one, PollEvents::IN))
        .unwrap();
    for sent in 0..3 {
        event_loop.write(other, "x", |_, _| ()).unwrap();
        while event_loop.stats().events < 2 * (sent + 1) {
            event_loop.run_once(LONG).unwrap();
        }
    }
    assert_eq!(event_loop.state(polling), OpState::Pending);
    assert!(event_loop.take_outcome(polling).unwrap().more);
    event_loop
        .on_complete(polling, |event_loop, completion| {
            event_loop.state.push(completion.more);
        })
        .unwrap();
    assert_eq!(event_loop.state, []);
    assert!(event_loop.cancel(polling));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, [true, true, false]);
    assert_eq!(event_loop.state(polling), OpState::Gone);
    Some(())
}

/// an operation keeps the loop running, unless it is set not to.
fn r2_operations_can_be_set_not_to_count<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, other) = W::pair(&mut event_loop);
    let op = event_loop
        .recv(one, vec![0; 8], |event_loop, _| event_loop.state += 1)
        .unwrap();
    assert!(event_loop.is_live() && event_loop.unref(op) && !event_loop.is_live());
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.live_op_count()), (0, 1));
    event_loop.send(other, "x", |_, _| ()).unwrap();
    assert!(event_loop.set_counted(op, true));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 1);
    Some(())
}
