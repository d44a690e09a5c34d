//! W-1, W-2, W-3: waking, stopping and sending from other threads.

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use linux_event::{LoopError, SendError, Waker};
use linux_event_tests::both::{LoopOf, World, finish, turn};
use linux_event_tests::{LONG, Log, both, panic_quietly};

/// Runs `work` in another thread, and the loop beside it; where time is virtual, after it.
fn beside<W: World, S>(event_loop: &mut LoopOf<W, S>, work: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(work);
    if W::IS_VIRTUAL {
        thread.join().unwrap();
        event_loop.run().unwrap();
    } else {
        event_loop.run().unwrap();
        thread.join().unwrap();
    }
}

both! {
    fn w1_wakes_come_as_one_event_with_their_count<W>() {
        let mut event_loop = W::looping(Vec::new());
        event_loop.on_wake(|l: &mut LoopOf<W, Vec<u64>>, count| l.state.push(count));
        let waker = event_loop.waker().unwrap();
        for _ in 0..3 {
            waker.wake();
        }
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, [3]);
        turn::<W, _>(&mut event_loop);
        waker.clone().wake();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, [3, 1]);
        drop(waker);
        finish::<W, _>(event_loop);
    }

    fn w1_a_wake_before_the_loop_runs_is_delivered_though_its_waker_is_gone<W>() {
        let mut event_loop = W::looping(0);
        event_loop.on_wake(|l: &mut LoopOf<W, u64>, count| l.state += count);
        let waker = event_loop.waker().unwrap();
        waker.wake();
        drop(waker);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, 1);
        finish::<W, _>(event_loop);
    }

    fn w1_of_a_thousand_wakes_from_four_threads_none_is_lost<W>() {
        let mut event_loop = W::looping(0);
        event_loop.on_wake(|l: &mut LoopOf<W, u64>, count| l.state += count);
        let waker = event_loop.waker().unwrap();
        beside::<W, _>(&mut event_loop, move || {
            let wakers: [Waker; 4] = std::array::from_fn(|_| waker.clone());
            drop(waker);
            let threads = wakers.map(|waker| thread::spawn(move || (0..250).for_each(|_| waker.wake())));
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert_eq!(event_loop.state, 1_000);
        finish::<W, _>(event_loop);
    }

    /// The loop is about to wait again when the next wake comes: each must end a wait.
    fn w1_a_wake_that_meets_the_loop_going_to_wait_is_not_lost<W>() {
        let mut event_loop = W::looping((0_u64, None, Vec::new()));
        event_loop.state.1 = Some(event_loop.waker().unwrap());
        event_loop.on_wake(|l: &mut LoopOf<W, (u64, Option<Waker>, Vec<_>)>, count| {
            l.state.0 += count;
            if l.state.0 >= 1_000 {
                l.state.1 = None;
                return;
            }
            let waker = l.state.1.as_ref().unwrap();
            if W::IS_VIRTUAL {
                waker.wake();
            } else {
                let waker = waker.clone();
                l.state.2.push(thread::spawn(move || waker.wake()));
            }
        });
        event_loop.state.1.as_ref().unwrap().wake();
        event_loop.run().unwrap();
        assert_eq!(event_loop.state.0, 1_000);
        for thread in std::mem::take(&mut event_loop.state.2) {
            thread.join().unwrap();
        }
        finish::<W, _>(event_loop);
    }

    fn w1_a_wake_in_a_turn_that_began_with_one_is_the_next_turns<W>() {
        let mut event_loop = W::looping((0, None));
        event_loop.on_wake(|l: &mut LoopOf<W, (u64, Option<Waker>)>, count| {
            l.state.0 += count;
            if let Some(waker) = l.state.1.take() {
                waker.wake();
            }
        });
        let sender = event_loop.mailbox(4, |l: &mut LoopOf<W, (u64, Option<Waker>)>, ()| l.stop()).unwrap();
        sender.send(()).unwrap();
        sender.send(()).unwrap();
        event_loop.run().unwrap(); // one is left over, which the next turn begins with
        let waker = event_loop.waker().unwrap();
        waker.wake();
        event_loop.state.1 = Some(waker);
        drop(sender);
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, 1, "mail, and stopped; then the wake");
        event_loop.run().unwrap();
        assert_eq!(event_loop.state.0, 2);
        finish::<W, _>(event_loop);
    }

    fn w1_waking_after_the_loop_is_gone_does_nothing<W>() {
        let mut event_loop = W::looping(());
        let waker = event_loop.waker().unwrap();
        assert!(!waker.is_closed());
        drop(event_loop);
        assert!(waker.is_closed());
        waker.wake();
        waker.stop();
        waker.clone().wake();
    }

    fn w2_a_loop_is_stopped_from_another_thread<W>() {
        let mut event_loop = W::looping(());
        let timer = event_loop.after(LONG, |_| ()).unwrap();
        let waker = event_loop.waker().unwrap();
        let begin = event_loop.read_clock();
        beside::<W, _>(&mut event_loop, move || waker.stop());
        assert!(event_loop.read_clock().since(begin) < LONG);
        assert!(event_loop.contains(timer));
        event_loop.cancel(timer);
        turn::<W, _>(&mut event_loop);
        finish::<W, _>(event_loop);
    }

    fn r2_wakers_keep_running_until_the_last_is_dropped<W>() {
        let mut event_loop = W::looping(());
        let waker = event_loop.waker().unwrap();
        let other = waker.clone();
        assert!(event_loop.is_live());
        drop(other);
        assert!(event_loop.is_live());
        beside::<W, _>(&mut event_loop, move || drop(waker));
        finish::<W, _>(event_loop);
    }

    fn r2_wakers_can_be_set_not_to_count<W>() {
        let mut event_loop = W::looping(0);
        event_loop.on_wake(|l: &mut LoopOf<W, u64>, count| l.state += count);
        let waker = event_loop.waker().unwrap();
        event_loop.set_wakers_counted(false);
        assert!(!event_loop.is_live());
        event_loop.run().unwrap();
        waker.wake();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, 1);
        finish::<W, _>(event_loop);
    }

    fn w3_values_arrive_in_order_and_the_last_sender_ends_the_run<W>() {
        let mut event_loop = W::looping(Vec::new());
        let sender = event_loop.mailbox(1_024, |l: &mut LoopOf<W, Vec<u32>>, number| l.state.push(number)).unwrap();
        beside::<W, _>(&mut event_loop, move || (0..1_000).for_each(|number| sender.send(number).unwrap()));
        assert!(event_loop.state.iter().copied().eq(0..1_000), "{:?}", event_loop.state);
        finish::<W, _>(event_loop);
    }

    fn w3_a_full_mailbox_gives_the_value_back_and_takes_more_later<W>() {
        let mut event_loop = W::looping(Vec::new());
        let sender = event_loop.mailbox(2, |l: &mut LoopOf<W, Vec<String>>, text: String| l.state.push(text)).unwrap();
        sender.send("a".into()).unwrap();
        sender.send("b".into()).unwrap();
        let refused = sender.send("c".into()).unwrap_err();
        assert!(matches!(&refused, SendError::Full(text) if text == "c"));
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["a", "b"]);
        sender.send(refused.into_inner()).unwrap();
        drop(sender);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["a", "b", "c"]);
        finish::<W, _>(event_loop);
    }

    fn w3_a_capacity_out_of_range_is_refused<W>() {
        let mut event_loop = W::looping(());
        for capacity in [0, (1 << 20) + 1, usize::MAX] {
            let refused = event_loop.mailbox(capacity, |_, (): ()| ()).unwrap_err();
            assert!(matches!(refused, linux_event::Error::Loop(LoopError::Invalid(_))));
        }
        finish::<W, _>(event_loop);
    }

    fn w3_stop_in_a_mail_callback_loses_nothing<W>() {
        let mut event_loop = W::looping(Vec::new());
        let sender = event_loop.mailbox(8, |l: &mut LoopOf<W, Vec<u32>>, number| {
            l.state.push(number);
            l.stop();
        }).unwrap();
        (1..=3).for_each(|number| sender.send(number).unwrap());
        drop(sender);
        for expected in 1..=3 {
            event_loop.run().unwrap();
            assert_eq!(event_loop.state.len(), expected);
        }
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, [1, 2, 3]);
        finish::<W, _>(event_loop);
    }

    fn w3_mail_sent_by_its_own_callback_waits_for_the_next_turn<W>() {
        let mut event_loop = W::looping((0, None));
        let sender = event_loop.mailbox(4, |l: &mut LoopOf<W, (u32, Option<linux_event::Sender<u32>>)>, number| {
            l.state.0 = number;
            if number < 5 {
                l.state.1.as_ref().unwrap().send(number + 1).unwrap();
            } else {
                l.state.1 = None;
            }
        }).unwrap();
        sender.send(1).unwrap();
        event_loop.state.1 = Some(sender);
        for expected in 1..=4 {
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state.0, expected);
        }
        event_loop.run().unwrap();
        assert_eq!(event_loop.state.0, 5);
        finish::<W, _>(event_loop);
    }

    fn w3_several_mailboxes_and_the_wake_callback_keep_apart<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.on_wake(|l: &mut LoopOf<W, Log>, _| l.state.push("wake"));
        let one = event_loop.mailbox(4, |l: &mut LoopOf<W, Log>, ()| l.state.push("one")).unwrap();
        let other = event_loop.mailbox(4, |l: &mut LoopOf<W, Log>, ()| l.state.push("other")).unwrap();
        other.send(()).unwrap();
        turn::<W, _>(&mut event_loop);
        one.send(()).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["other", "one"], "mail is no wake");
        drop((one, other));
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["other", "one"]);
        finish::<W, _>(event_loop);
    }

    fn r2_a_panic_in_one_mailbox_loses_nothing_of_the_others<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.on_wake(|l: &mut LoopOf<W, Log>, _| l.state.push("wake"));
        let bad = event_loop.mailbox(4, |_, ()| panic_quietly()).unwrap();
        let good = event_loop.mailbox(4, |l: &mut LoopOf<W, Log>, ()| l.state.push("mail")).unwrap();
        let waker = event_loop.waker().unwrap();
        bad.send(()).unwrap();
        good.send(()).unwrap();
        waker.wake();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.run()));
        assert!(caught.is_err());
        assert!(matches!(bad.send(()), Err(SendError::Closed(()))), "its callback is gone");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["mail", "wake"]);
        drop((bad, good, waker));
        event_loop.run().unwrap();
        finish::<W, _>(event_loop);
    }

    fn w3_descriptors_can_be_sent<W>() {
        let mut event_loop = W::looping(None);
        let sender = event_loop.mailbox(1, |l: &mut LoopOf<W, Option<OwnedFd>>, fd: OwnedFd| l.state = Some(fd)).unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        beside::<W, _>(&mut event_loop, move || sender.send(OwnedFd::from(reader)).unwrap());
        assert_eq!(event_loop.state.as_ref().unwrap().as_raw_fd(), number);
        finish::<W, _>(event_loop);
    }

    fn w3_a_sender_whose_loop_is_gone_gets_its_value_back<W>() {
        let mut event_loop = W::looping(());
        let sender = event_loop.mailbox(4, |_, _: String| ()).unwrap();
        sender.send("lost with the loop".into()).unwrap();
        drop(event_loop);
        assert!(matches!(sender.send("back".into()), Err(SendError::Closed(text)) if text == "back"));
    }
}
