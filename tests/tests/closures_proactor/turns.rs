//! What both models have: timers, wakers, mailboxes, deferred calls, over operations (W-2).

use std::time::Duration;

use linux_event::{LoopError, Shutdown};

use crate::{World, both};

both!(
    p9_timers_run_beside_operations,
    w3_mail_and_wakes_reach_a_loop_of_operations,
    r2_turns_are_the_same,
    p6_shutdown_reports,
    g3_counters_count,
);

/// P-9: an expired timer is a success, and ends a wait with operations in flight.
fn p9_timers_run_beside_operations<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let (one, _other) = W::pair(&mut event_loop);
    let op = event_loop
        .recv(one, vec![0; 8], |event_loop, completion| {
            assert!(completion.is_cancelled());
            event_loop.state.push("cancelled");
        })
        .unwrap();
    event_loop
        .after(Duration::from_millis(1), |event_loop| {
            event_loop.state.push("first");
        })
        .unwrap();
    event_loop
        .after(Duration::from_millis(2), move |event_loop| {
            event_loop.state.push("second");
            event_loop.cancel(op);
        })
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, ["first", "second", "cancelled"]);
    Some(())
}

/// W-1, W-3: wakes and mail.
fn w3_mail_and_wakes_reach_a_loop_of_operations<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let sender = event_loop
        .mailbox(4, |event_loop, value: u64| event_loop.state += value)
        .unwrap();
    event_loop.on_wake(|event_loop, count| event_loop.state += 100 * count);
    let waker = event_loop.waker().unwrap();
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    waker.wake();
    drop((sender, waker));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 103);
    Some(())
}

/// `run_for` returns when nothing is left, running in a callback is refused, a stop before run counts.
fn r2_turns_are_the_same<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    event_loop
        .nop(|event_loop, _| {
            assert!(event_loop.is_running());
            assert!(
                event_loop
                    .run()
                    .is_err_and(|error| error == LoopError::Reentrant)
            );
            event_loop.state += 1;
        })
        .unwrap();
    event_loop.stop();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 0);
    event_loop.run_for(Duration::from_secs(30)).unwrap();
    assert_eq!(event_loop.state, 1);
    Some(())
}

/// P-6: shutting down gives a report and the state.
fn p6_shutdown_reports<W: World>() -> Option<()> {
    let mut event_loop = W::looping("state")?;
    let (one, _other) = W::pair(&mut event_loop);
    event_loop
        .recv(one, vec![0; 8], |_, _| -> () {
            unreachable!("nothing is called any more")
        })
        .unwrap();
    let (report, state) = event_loop.shutdown(Duration::from_secs(5));
    assert_eq!((report.settled, report.leaked, state), (1, 0, "state"));
    let (report, ()) = W::looping(())?.shutdown(Duration::ZERO);
    assert_eq!(report, Shutdown::default());
    Some(())
}

/// G-3: it counts.
fn g3_counters_count<W: World>() -> Option<()> {
    let mut event_loop = W::looping(())?;
    event_loop.nop(|_, _| ()).unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.stats().events, 1);
    assert!(event_loop.counters().submitted >= 1); // the ring has some of its own
    assert!(format!("{event_loop:?}").contains("Proactor"));
    Some(())
}
