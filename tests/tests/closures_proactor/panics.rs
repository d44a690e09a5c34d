//! Panics, errors and stops in callbacks of operations.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use linux_event::{OpState, PollEvents, op};

use crate::{LONG, World, both};

both!(
    a_panic_goes_through_run_and_keeps_the_rest,
    a_panic_cancels_a_multishot_operation,
    a_panic_after_again_cancels_what_was_submitted,
    a_panic_while_kept_completions_are_told,
    an_error_stops_the_loop_and_loses_nothing,
    r2_a_stop_leaves_the_rest_to_the_next_turn,
);

/// A panic ends what was being called, and nothing else.
fn a_panic_goes_through_run_and_keeps_the_rest<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    for number in 0..3 {
        event_loop
            .nop(move |event_loop, _| {
                event_loop.state.push(number);
                assert!(number != 1, "on purpose");
            })
            .unwrap();
    }
    assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
    event_loop.run().unwrap();
    event_loop.state.sort_unstable();
    assert_eq!(
        (event_loop.state.clone(), event_loop.live_op_count()),
        (vec![0, 1, 2], 0)
    );
    Some(())
}

/// A multishot operation whose callback panicked is cancelled, in silence.
fn a_panic_cancels_a_multishot_operation<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, other) = W::pair(&mut event_loop);
    let polling = event_loop
        .poll_multi(one, PollEvents::IN, |event_loop, _| -> () {
            event_loop.state += 1;
            panic!("on purpose");
        })
        .unwrap();
    event_loop.write(other, "x", |_, _| ()).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        while event_loop.state == 0 {
            event_loop.run_once(LONG).unwrap();
        }
    }));
    assert!(panicked.is_err());
    assert_eq!(event_loop.state(polling), OpState::Cancelling);
    event_loop.run().unwrap(); // it settles: nothing is left
    assert_eq!((event_loop.state, event_loop.live_op_count()), (1, 0));
    Some(())
}

/// What a callback submitted again before it panicked has lost its callback: it is cancelled, in silence.
fn a_panic_after_again_cancels_what_was_submitted<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, _other) = W::pair(&mut event_loop);
    event_loop
        .nop(move |event_loop, _| -> () {
            event_loop.state += 1;
            event_loop
                .again(op::recv(one, linux_event::Buffer::with_capacity(8)))
                .unwrap();
            panic!("on purpose");
        })
        .unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
    assert_eq!(event_loop.live_op_count(), 1);
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.live_op_count()), (1, 0));
    assert!(event_loop.again(op::nop()).is_err(), "nothing runs");
    Some(())
}

/// P-7 with a panic: what else was kept of the operation goes with it.
fn a_panic_while_kept_completions_are_told<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, other) = W::pair(&mut event_loop);
    let polling = event_loop
        .start(op::poll_multi(one, PollEvents::IN))
        .unwrap();
    for sent in 0..2 {
        event_loop.write(other, "x", |_, _| ()).unwrap();
        while event_loop.stats().events < 2 * (sent + 1) {
            event_loop.run_once(LONG).unwrap();
        }
    }
    event_loop
        .on_complete(polling, |event_loop, _| -> () {
            event_loop.state += 1;
            panic!("on purpose");
        })
        .unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
    event_loop.run().unwrap();
    assert_eq!(
        (event_loop.state, event_loop.state(polling)),
        (1, OpState::Gone)
    );
    Some(())
}

/// An error stops the loop and comes out of it; the rest of the batch is the next turn's (P-8).
fn an_error_stops_the_loop_and_loses_nothing<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    for number in 0..3 {
        event_loop
            .nop(move |event_loop, _| {
                event_loop.state.push(number);
                if number == 0 {
                    Err("on purpose")
                } else {
                    Ok(())
                }
            })
            .unwrap();
    }
    let failed = event_loop.run().unwrap_err();
    assert_eq!(failed.to_string(), "a callback failed: on purpose");
    assert_eq!(event_loop.state, [0]);
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, [0, 1, 2]);
    Some(())
}

/// a stop loses nothing, also in the middle of what is told of one operation.
fn r2_a_stop_leaves_the_rest_to_the_next_turn<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
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
    event_loop
        .on_complete(polling, |event_loop, _| {
            event_loop.state += 1;
            event_loop.stop();
        })
        .unwrap();
    for turn in 1..=3 {
        event_loop.run_once(Some(Duration::ZERO)).unwrap();
        assert_eq!(event_loop.state, turn);
    }
    event_loop.cancel(polling);
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 4);
    Some(())
}
