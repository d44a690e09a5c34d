//! Submitting from callbacks (P-8), and again with the same callback.

use std::time::Duration;

use linux_event::{Buffer, LoopError, Op, PollEvents, op};

use crate::{LONG, World, both};

both!(
    p8_a_callback_that_submits_loses_nothing,
    p8_cancelling_another_in_a_callback_loses_nothing,
    p8_operations_fetched_together,
    p8_draining_delivers_what_a_stop_left,
    p8_a_callback_that_submits_while_callbacks_are_drained,
    again_keeps_the_callback,
    again_is_refused_where_there_is_no_callback,
    again_then_detach_drops_the_callback,
    again_serves_a_connection,
);

/// P-8: what a callback submits is not lost, however the queue stands.
fn p8_a_callback_that_submits_loses_nothing<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    for number in 0..4 {
        event_loop
            .nop(move |event_loop, _| {
                event_loop.state.push(number);
                event_loop
                    .nop(move |event_loop, _| event_loop.state.push(10 + number))
                    .unwrap();
            })
            .unwrap();
    }
    event_loop.run().unwrap();
    event_loop.state.sort_unstable();
    assert_eq!(event_loop.state, [0, 1, 2, 3, 10, 11, 12, 13]);
    Some(())
}

/// P-8: cancelling one operation in the callback of another: the other's callback runs too. (The original lost it.)
fn p8_cancelling_another_in_a_callback_loses_nothing<W: World>() -> Option<()> {
    let mut event_loop = W::looping((Vec::new(), None::<Op>))?;
    let (one, _other) = W::pair(&mut event_loop);
    let waiting = event_loop
        .recv(one, vec![0; 8], |event_loop, completion| {
            assert!(completion.is_cancelled());
            event_loop.state.0.push("cancelled");
        })
        .unwrap();
    event_loop.state.1 = Some(waiting);
    event_loop
        .nop(|event_loop, _| {
            event_loop.state.0.push("first");
            let waiting = event_loop.state.1.unwrap();
            assert!(event_loop.cancel(waiting));
            assert_eq!(event_loop.state.0, ["first"], "P-2");
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state.0, ["first", "cancelled"]);
    Some(())
}

/// P-8: two that were fetched together, the first of which cancels and detaches others.
fn p8_operations_fetched_together<W: World>() -> Option<()> {
    let mut event_loop = W::looping((0, Vec::<Op>::new()))?;
    for _ in 0..3 {
        let op = event_loop
            .nop(|event_loop, completion| {
                event_loop.state.0 += 1;
                let ops = event_loop.state.1.clone();
                if event_loop.state.0 == 1 {
                    let others: Vec<_> =
                        ops.into_iter().filter(|&op| op != completion.op).collect();
                    event_loop.cancel(others[0]); // too late: it tells of its end all the same
                    assert!(event_loop.detach(others[1]));
                }
            })
            .unwrap();
        event_loop.state.1.push(op);
    }
    event_loop.run().unwrap();
    assert_eq!((event_loop.state.0, event_loop.live_op_count()), (2, 0));
    Some(())
}

/// P-8: what is stopped half-way is the next turn's, or is drained.
fn p8_draining_delivers_what_a_stop_left<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    for number in 0..3 {
        event_loop
            .nop(move |event_loop, _| {
                event_loop.state.push(number);
                if number == 0 {
                    event_loop.defer(|event_loop| event_loop.state.push(9));
                    event_loop.stop();
                }
            })
            .unwrap();
    }
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, [0]);
    assert!(event_loop.is_live());
    assert_eq!(event_loop.drain_callbacks().unwrap(), 3);
    assert_eq!(event_loop.state, [0, 9, 1, 2]);
    assert_eq!(event_loop.drain_callbacks().unwrap(), 0);
    assert!(!event_loop.is_live());
    Some(())
}

/// P-8: a callback that submits and cancels while callbacks are drained; draining does not run the loop.
fn p8_a_callback_that_submits_while_callbacks_are_drained<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let op = event_loop.start(op::nop()).unwrap();
    event_loop.run().unwrap();
    event_loop
        .on_complete(op, |event_loop, _| {
            event_loop.state.push("settled");
            event_loop
                .nop(|event_loop, _| event_loop.state.push("submitted"))
                .unwrap();
            event_loop.defer(|event_loop| event_loop.state.push("deferred"));
            let refused = event_loop.drain_callbacks();
            assert!(refused.is_err_and(|error| error == LoopError::Reentrant));
        })
        .unwrap();
    assert_eq!(event_loop.drain_callbacks().unwrap(), 1);
    assert_eq!(event_loop.state, ["settled"]);
    assert_eq!(event_loop.drain_callbacks().unwrap(), 1);
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, ["settled", "deferred", "submitted"]);
    Some(())
}

/// `again`: the callback that runs gets the next operation.
fn again_keeps_the_callback<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let mut left = 5;
    event_loop
        .nop(move |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(0));
            event_loop.state += 1;
            left -= 1;
            if left > 0 {
                let op = event_loop.again(op::nop()).unwrap();
                assert!(event_loop.contains(op));
                let refused =
                    event_loop.again(op::read(linux_event::Target::NONE, Buffer::from("x")));
                let refused = refused.unwrap_err();
                assert!(
                    matches!(refused.error, LoopError::Invalid(_)),
                    "once a call"
                );
                assert_eq!(refused.buffer, Some(Buffer::from("x")));
            }
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.live_op_count()), (5, 0));
    Some(())
}

/// `again` needs a callback to call again.
fn again_is_refused_where_there_is_no_callback<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    assert!(event_loop.again(op::nop()).is_err());
    event_loop.defer(|event_loop| assert!(event_loop.again(op::nop()).is_err()));
    event_loop
        .after(Duration::ZERO, |event_loop| {
            assert!(event_loop.again(op::nop()).is_err());
        })
        .unwrap();
    event_loop.run().unwrap();
    let (one, other) = W::pair(&mut event_loop);
    event_loop
        .poll_multi(one, PollEvents::IN, |event_loop, completion| {
            event_loop.state += 1;
            if completion.more {
                assert!(
                    event_loop.again(op::nop()).is_err(),
                    "its operation goes on"
                );
                event_loop.cancel(completion.op);
            } else if completion.is_cancelled() {
                event_loop.again(op::nop()).unwrap();
            }
        })
        .unwrap();
    event_loop.write(other, "x", |_, _| ()).unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 3);
    Some(())
}

/// `again`, then `detach` of what was submitted: the callback is dropped when it returns.
fn again_then_detach_drops_the_callback<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let dropped = std::rc::Rc::new(());
    let kept = std::rc::Rc::clone(&dropped);
    event_loop
        .nop(move |event_loop, _| {
            let _ = &kept;
            event_loop.state += 1;
            let op = event_loop.again(op::nop()).unwrap();
            assert!(
                event_loop.on_complete(op, |_, _| ()).is_err(),
                "it has a callback"
            );
            assert!(event_loop.detach(op));
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.live_op_count()), (1, 0));
    assert_eq!(std::rc::Rc::strong_count(&dropped), 1);
    Some(())
}

/// An echo for ever, with one callback and one buffer.
fn again_serves_a_connection<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, other) = W::pair(&mut event_loop);
    let mut receives = true;
    event_loop
        .recv(
            one,
            Vec::with_capacity(64),
            move |event_loop, completion| {
                let count = completion.outcome().unwrap();
                if receives && count == 0 {
                    return;
                }
                let buffer = completion.into_buffer().unwrap();
                let next = if receives {
                    op::send(one, buffer)
                } else {
                    op::recv(one, buffer)
                };
                receives = !receives;
                event_loop.again(next).unwrap();
            },
        )
        .unwrap();
    let mut sends = true;
    event_loop
        .send(other, "ping", move |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(4));
            let buffer = completion.into_buffer().unwrap();
            event_loop.state += 1;
            if event_loop.state == 100 {
                event_loop.stop();
                return;
            }
            let next = if sends {
                op::recv(other, buffer)
            } else {
                op::send(other, buffer)
            };
            sends = !sends;
            event_loop.again(next).unwrap();
        })
        .unwrap();
    event_loop.run_for(LONG?).unwrap();
    assert_eq!(event_loop.state, 100);
    Some(())
}
