//! The loop with closures: what callbacks do that nobody expects.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use linux_event::{Loop, Signal};
use linux_event_tests::LONG;
use linux_event_tests::libc_calls::raise;

/// S-3, R-2: `run` does not end before what had arrived for a cancelled subscription is delivered.
#[test]
fn s3_run_delivers_what_had_arrived_before_it_ends() {
    let mut event_loop = Loop::reactor_with(0).unwrap();
    let one = event_loop
        .signal(Signal::USR1, |event_loop, event| {
            event_loop.state += event.count;
        })
        .unwrap();
    raise(Signal::USR1);
    assert!(event_loop.cancel(one));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 1);
}

/// W-3: a mailbox that is made while another is being emptied.
#[test]
fn w3_a_mailbox_made_in_a_mail_callback_lives() {
    let mut event_loop = Loop::reactor_with(Vec::new()).unwrap();
    let sender = event_loop
        .mailbox(4, |event_loop: &mut Loop<_, Vec<u8>>, value: u8| {
            event_loop.state.push(value);
            let inner = event_loop
                .mailbox(4, |event_loop, value: u8| event_loop.state.push(value))
                .unwrap();
            inner.send(value + 10).unwrap();
        })
        .unwrap();
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    for _ in 0..3 {
        event_loop.run_once(Some(Duration::ZERO)).unwrap();
    }
    drop(sender);
    event_loop.run().unwrap();
    event_loop.state.sort_unstable();
    assert_eq!(event_loop.state, [1, 2, 11, 12]);
}

/// W-1, W-3: a panic in one mail callback does not keep the others' mail, nor the wakes.
#[test]
fn w3_a_panic_in_a_mail_callback_keeps_the_rest_of_the_wake() {
    let mut event_loop = Loop::reactor_with(Vec::new()).unwrap();
    let bad = event_loop
        .mailbox(4, |_, _: u8| -> () { panic!("on purpose") })
        .unwrap();
    let good = event_loop
        .mailbox(4, |event_loop: &mut Loop<_, Vec<u8>>, value: u8| {
            event_loop.state.push(value);
        })
        .unwrap();
    let waker = event_loop.waker().unwrap();
    event_loop.on_wake(|event_loop, _| event_loop.state.push(99));
    bad.send(1).unwrap();
    good.send(2).unwrap();
    waker.wake();
    drop((bad, good, waker));
    let panicked = catch_unwind(AssertUnwindSafe(|| event_loop.run()));
    assert!(panicked.is_err());
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, [2, 99]);
}

/// a `stop` ends the run it was called in, and not the next one as well.
#[test]
fn r2_a_stop_that_ended_one_run_does_not_end_the_next() {
    let mut event_loop = Loop::reactor_with(0).unwrap();
    event_loop.defer(Loop::stop);
    event_loop.run_for(Duration::ZERO).unwrap();
    event_loop.defer(|event_loop| {
        event_loop.stop();
        Err::<(), _>("on purpose")
    });
    event_loop.run().unwrap_err();
    event_loop.defer(|event_loop| event_loop.state = 1);
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 1);
}

struct Bomb(Rc<Cell<bool>>);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0.take(), "on purpose");
    }
}

/// a closure that panics when it is dropped, as it is replaced, leaves no watcher without callbacks.
#[test]
fn r9_a_panic_in_the_drop_of_a_replaced_callback_leaves_the_new_one() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"x").unwrap();
    let mut event_loop = Loop::reactor_with(0).unwrap();
    let armed = Rc::new(Cell::new(true));
    let bomb = Bomb(Rc::clone(&armed));
    event_loop
        .watch(&reader)
        .on_read(move |_, _, _| {
            let _bomb = &bomb;
        })
        .start()
        .unwrap();
    let replaced = catch_unwind(AssertUnwindSafe(|| {
        event_loop
            .watch(&reader)
            .on_read(|event_loop, watcher, _| {
                event_loop.state += 1;
                event_loop.cancel(watcher);
            })
            .start()
    }));
    assert!(replaced.is_err());
    let start = Instant::now();
    while event_loop.is_live() {
        assert!(start.elapsed() < LONG, "nobody is called");
        event_loop
            .run_once(Some(Duration::from_millis(50)))
            .unwrap();
    }
    assert_eq!(event_loop.state, 1);
    assert!(event_loop.stats().turns < 5, "no spin");
}

/// A callback may exchange the loop for another: strange, but safe, and no panic.
#[test]
fn r2_a_loop_that_is_exchanged_in_a_mail_callback() {
    let mut event_loop = Loop::reactor_with(0).unwrap();
    let other = Rc::new(RefCell::new(Some(Loop::reactor_with(7).unwrap())));
    let (first, second) = {
        let kept = Rc::clone(&other);
        let first = event_loop.mailbox(1, |_, ()| ()).unwrap();
        let second = event_loop
            .mailbox(1, move |event_loop, ()| {
                let mut kept = kept.borrow_mut();
                std::mem::swap(event_loop, kept.as_mut().unwrap());
            })
            .unwrap();
        (first, second)
    };
    second.send(()).unwrap();
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(event_loop.state, 7);
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    drop(first);
}
