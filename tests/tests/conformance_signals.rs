//! S-1 to S-3: signals. Each test raises them at its own thread, after it has subscribed.

use linux_event::{Loop, LoopError, Signal, SignalEvent, SignalSet};
use linux_event_tests::both::{LoopOf, World, finish, turn};
use linux_event_tests::{Log, Machine, OnEpoll, both, libc_calls, run_in};

type Heard = Vec<(&'static str, Signal, u32)>;

/// A callback that notes who heard what.
fn hear<W: World>(who: &'static str) -> impl FnMut(&mut LoopOf<W, Heard>, SignalEvent) + 'static {
    move |l, event| l.state.push((who, event.signal, event.count))
}

both! {
    fn s1_by_number_by_name_and_in_lists<W>() {
        let mut event_loop = W::looping(Heard::new());
        let subscriptions = [
            event_loop.signal(10, hear::<W>("number")).unwrap(),
            event_loop.signal("USR1", hear::<W>("name")).unwrap(),
            event_loop.signal("SIGUSR1", hear::<W>("long name")).unwrap(),
            event_loop.signal(["HUP", "usr1"], hear::<W>("list")).unwrap(),
            event_loop.signal(SignalSet::from(Signal::USR1), hear::<W>("set")).unwrap(),
        ];
        W::of(&mut event_loop).raise(Signal::USR1);
        event_loop.run_once(None).unwrap();
        let heard: Vec<_> = event_loop.state.iter().map(|heard| heard.0).collect();
        assert_eq!(heard, ["number", "name", "long name", "list", "set"], "in the order made");
        for subscription in subscriptions {
            assert!(event_loop.cancel(subscription) && !event_loop.cancel(subscription));
        }
        finish::<W, _>(event_loop);
    }

    fn s1_kill_stop_zero_and_nonsense_are_refused<W>() {
        let mut event_loop = W::looping(Heard::new());
        let mask = W::of(&mut event_loop).mask();
        for refused in [0, -1, 9, 19, 65] {
            let error = event_loop.signal(refused, hear::<W>("")).unwrap_err();
            assert!(matches!(error, linux_event::Error::Loop(LoopError::Invalid(_))), "{refused}");
        }
        for refused in ["KILL", "SIGSTOP", "NOSUCH", ""] {
            assert!(event_loop.signal(refused, hear::<W>("")).is_err(), "{refused}");
        }
        assert!(event_loop.signal(SignalSet::EMPTY, hear::<W>("")).is_err());
        assert!(event_loop.signal(["INT", "KILL"], hear::<W>("")).is_err(), "all or none");
        assert_eq!(W::of(&mut event_loop).mask(), mask);
        finish::<W, _>(event_loop);
    }

    fn s1_merged_with_counts_in_numeric_order<W>() {
        let mut event_loop = W::looping(Heard::new());
        let set = SignalSet::from(Signal::RTMIN).with(Signal::USR2).with(Signal::USR1);
        let subscription = event_loop.signal(set, hear::<W>("")).unwrap();
        for signal in [Signal::RTMIN, Signal::USR2, Signal::RTMIN, Signal::USR1, Signal::USR1, Signal::RTMIN] {
            W::of(&mut event_loop).raise(signal);
        }
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, [
            ("", Signal::USR1, 1), // the kernel merges what it can't queue
            ("", Signal::USR2, 1),
            ("", Signal::RTMIN, 3),
        ]);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.len(), 3, "drained");
        event_loop.cancel(subscription);
        finish::<W, _>(event_loop);
    }

    fn s1_signals_keep_coming_turn_after_turn<W>() {
        let mut event_loop = W::looping(0);
        let subscription = event_loop.signal(Signal::USR1, |l: &mut LoopOf<W, u32>, event| {
            l.state += event.count;
        }).unwrap();
        for expected in 1..=5 {
            W::of(&mut event_loop).raise(Signal::USR1);
            event_loop.run_once(None).unwrap();
            assert_eq!(event_loop.state, expected);
        }
        event_loop.cancel(subscription);
        finish::<W, _>(event_loop);
    }

    fn s2_each_subscriber_is_cancelled_alone<W>() {
        let mut event_loop = W::looping(Heard::new());
        let mask = W::of(&mut event_loop).mask();
        let one = event_loop.signal("USR1", hear::<W>("one")).unwrap();
        let other = event_loop.signal("USR1", hear::<W>("other")).unwrap();
        W::of(&mut event_loop).raise(Signal::USR1);
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.cancel(one));
        assert!(W::of(&mut event_loop).mask().contains(Signal::USR1), "somebody is left");
        W::of(&mut event_loop).raise(Signal::USR1);
        turn::<W, _>(&mut event_loop);
        let heard: Vec<_> = event_loop.state.iter().map(|heard| heard.0).collect();
        assert_eq!(heard, ["one", "other", "other"]);
        assert!(event_loop.cancel(other));
        assert_eq!(W::of(&mut event_loop).mask(), mask);
        finish::<W, _>(event_loop);
    }

    fn s2_a_callback_may_cancel_any_subscriber<W>() {
        let mut event_loop = W::looping((Log::new(), Vec::new()));
        for name in ["first", "second", "third"] {
            let subscription = event_loop.signal("USR1", move |l: &mut LoopOf<W, (Log, Vec<_>)>, event| {
                l.state.0.push(name);
                if name == "first" {
                    let [first, second, _] = l.state.1[..] else { panic!("three") };
                    assert_eq!(event.subscription, first);
                    assert!(l.cancel(first) && l.cancel(second));
                }
            }).unwrap();
            event_loop.state.1.push(subscription);
        }
        W::of(&mut event_loop).raise(Signal::USR1);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["first", "third"]);
        assert!(event_loop.cancel(event_loop.state.1[2]));
        finish::<W, _>(event_loop);
    }

    /// R6 of the reference: there, the mask only grew.
    fn s2_the_mask_is_restored_for_exactly_what_the_loop_blocked<W>() {
        let mut event_loop = W::looping(Heard::new());
        W::of(&mut event_loop).block(SignalSet::from(Signal::USR2));
        let before = W::of(&mut event_loop).mask();
        assert!(before.contains(Signal::USR2) && !before.contains(Signal::USR1));
        let all = event_loop.signal(["USR1", "USR2", "HUP"], hear::<W>("")).unwrap();
        let hup = event_loop.signal("HUP", hear::<W>("")).unwrap();
        assert_eq!(W::of(&mut event_loop).mask(), before.with(Signal::USR1).with(Signal::HUP));
        event_loop.cancel(all);
        assert_eq!(W::of(&mut event_loop).mask(), before.with(Signal::HUP));
        event_loop.cancel(hup);
        assert_eq!(W::of(&mut event_loop).mask(), before);
        finish::<W, _>(event_loop);
    }

    fn s3_what_was_pending_at_a_cancel_is_delivered_and_then_the_mask_restored<W>() {
        let mut event_loop = W::looping(Heard::new());
        let mask = W::of(&mut event_loop).mask();
        let subscription = event_loop.signal(["USR1", "USR2"], hear::<W>("")).unwrap();
        W::of(&mut event_loop).raise(Signal::USR1);
        assert!(event_loop.cancel(subscription) && !event_loop.cancel(subscription));
        assert!(W::of(&mut event_loop).mask().contains(Signal::USR1), "it would strike");
        assert!(event_loop.is_live(), "there is something still to hear of");
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, [("", Signal::USR1, 1)]);
        assert!(!event_loop.is_live());
        assert_eq!(W::of(&mut event_loop).mask(), mask);
        assert!(!event_loop.contains(subscription));
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.len(), 1);
        finish::<W, _>(event_loop);
    }

    fn s3_cancelled_in_the_callback_of_its_only_signal_nothing_is_delivered_twice<W>() {
        let mut event_loop = W::looping(Heard::new());
        let mask = W::of(&mut event_loop).mask();
        event_loop.signal("USR1", |l: &mut LoopOf<W, Heard>, event| {
            l.state.push(("", event.signal, event.count));
            assert!(l.cancel(event.subscription));
        }).unwrap();
        W::of(&mut event_loop).raise(Signal::USR1);
        event_loop.run().unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, [("", Signal::USR1, 1)]);
        assert_eq!(W::of(&mut event_loop).mask(), mask);
        finish::<W, _>(event_loop);
    }

    fn s3_subscribed_again_before_the_last_delivery_both_hear<W>() {
        let mut event_loop = W::looping(Heard::new());
        let old = event_loop.signal("USR1", hear::<W>("old")).unwrap();
        W::of(&mut event_loop).raise(Signal::USR1);
        event_loop.cancel(old);
        let new = event_loop.signal("USR1", hear::<W>("new")).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.first(), Some(&("old", Signal::USR1, 1)));
        W::of(&mut event_loop).raise(Signal::USR1);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.last(), Some(&("new", Signal::USR1, 1)));
        event_loop.cancel(new);
        finish::<W, _>(event_loop);
    }

    fn s3_a_signal_for_a_subscription_made_in_the_turn_that_fetches_it_is_not_lost<W>() {
        let mut event_loop = W::looping(Heard::new());
        event_loop.signal("USR1", hear::<W>("old")).unwrap();
        W::of(&mut event_loop).raise(Signal::USR1);
        event_loop.after(std::time::Duration::ZERO, |l: &mut LoopOf<W, Heard>| {
            l.signal("USR2", hear::<W>("new")).unwrap();
            W::of(l).raise(Signal::USR2);
        }).unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.state, [("old", Signal::USR1, 1), ("new", Signal::USR2, 1)]);
    }

    fn s3_a_turn_ends_although_every_subscriber_makes_another<W>() {
        fn again<W: World>(l: &mut LoopOf<W, u32>, _: SignalEvent) {
            l.state += 1;
            l.signal("USR1", again::<W>).unwrap();
        }
        let mut event_loop = W::looping(0);
        event_loop.signal("USR1", again::<W>).unwrap();
        for expected in [1, 3, 7] {
            W::of(&mut event_loop).raise(Signal::USR1);
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, expected);
        }
    }

    fn r2_a_signal_subscription_keeps_running_and_stop_loses_no_signal<W>() {
        let mut event_loop = W::looping(Heard::new());
        let subscription = event_loop.signal(["USR1", "USR2"], |l: &mut LoopOf<W, Heard>, event| {
            l.state.push(("", event.signal, event.count));
            l.stop();
        }).unwrap();
        assert!(event_loop.is_live());
        W::of(&mut event_loop).raise(Signal::USR2);
        W::of(&mut event_loop).raise(Signal::USR1);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, [("", Signal::USR1, 1)]);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state[1], ("", Signal::USR2, 1));
        event_loop.cancel(subscription);
        finish::<W, _>(event_loop);
    }
}

#[test]
fn s2_dropping_the_loop_restores_the_mask_and_nothing_strikes() {
    run_in::<OnEpoll>(|| {
        let mask = libc_calls::thread_mask();
        let mut event_loop = Loop::reactor().unwrap();
        event_loop.signal(["USR1", "USR2"], |_, _| ()).unwrap();
        libc_calls::raise(Signal::USR1); // would end the process
        drop(event_loop);
        assert_eq!(libc_calls::thread_mask(), mask);
    });
}

#[test]
fn s3_threads_started_after_the_subscription_block_the_signal_too() {
    run_in::<OnEpoll>(|| {
        let mut event_loop = Loop::reactor().unwrap();
        event_loop.signal("USR1", |_, _| ()).unwrap();
        let masks = std::thread::spawn(libc_calls::thread_mask);
        assert!(masks.join().unwrap().contains(Signal::USR1));
    });
}
