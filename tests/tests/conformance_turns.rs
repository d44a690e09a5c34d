//! what a turn is, and when running ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use linux_event::{Error, LoopError};
use linux_event_tests::both::{LoopOf, finish};
use linux_event_tests::{LONG, Log, MILLI, Machine, both, panic_quietly};

both! {
    fn r1_a_timer_that_ends_the_wait_fires_in_that_turn<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.after(MILLI, |l| l.state.push("timer")).unwrap();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, ["timer"]);
        assert_eq!(event_loop.stats().waits, 1);
        finish::<W, _>(event_loop);
    }

    fn r1_the_callers_timeout_ends_the_wait_when_it_is_sooner<W>() {
        let mut event_loop = W::looping(Log::new());
        let begin = event_loop.read_clock();
        let timer = event_loop.after(LONG, |l| l.state.push("timer")).unwrap();
        event_loop.run_once(Some(MILLI)).unwrap();
        let passed = event_loop.read_clock().since(begin);
        assert!(passed >= MILLI && passed < LONG);
        assert!(event_loop.state.is_empty());
        assert!(event_loop.cancel(timer));
        finish::<W, _>(event_loop);
    }

    fn r1_nothing_blocks_after_stop<W>() {
        let mut event_loop = W::looping(Log::new());
        let begin = event_loop.read_clock();
        let timer = event_loop.after(LONG, |_| ()).unwrap();
        event_loop.stop();
        event_loop.run_once(None).unwrap();
        event_loop.defer(LoopOf::<W, _>::stop);
        event_loop.run().unwrap();
        assert!(event_loop.read_clock().since(begin) < LONG);
        event_loop.cancel(timer);
        finish::<W, _>(event_loop);
    }

    /// perl t/09: a timer that is due and stops the loop.
    fn r1_a_due_timer_that_stops_leaves_no_wait_behind<W>() {
        let mut event_loop = W::looping(0);
        let keep = event_loop.after(LONG, |_| ()).unwrap();
        event_loop.after(Duration::ZERO, |l| { l.state += 1; l.stop(); }).unwrap();
        let begin = event_loop.read_clock();
        event_loop.run().unwrap();
        assert_eq!((event_loop.state, event_loop.stats().waits), (1, 1));
        assert!(event_loop.read_clock().since(begin) < LONG);
        event_loop.cancel(keep);
        finish::<W, _>(event_loop);
    }

    fn r2_stop_before_run_makes_that_run_return_at_once<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.after(Duration::ZERO, |l| l.state.push("timer")).unwrap();
        event_loop.stop();
        event_loop.run().unwrap();
        assert!(event_loop.state.is_empty());
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["timer"], "that run, and no other");
        finish::<W, _>(event_loop);
    }

    fn r2_running_a_loop_in_its_own_callback_is_reentrant<W>() {
        let mut event_loop = W::looping(0);
        assert!(!event_loop.is_running());
        event_loop.after(Duration::ZERO, |l| {
            assert!(l.is_running());
            assert_eq!(l.run().unwrap_err(), LoopError::Reentrant);
            assert_eq!(l.run_once(None).unwrap_err(), LoopError::Reentrant);
            assert_eq!(l.run_for(MILLI).unwrap_err(), LoopError::Reentrant);
            assert!(l.is_running());
            l.state += 1;
        }).unwrap();
        event_loop.run().unwrap();
        assert_eq!((event_loop.state, event_loop.is_running()), (1, false));
        finish::<W, _>(event_loop);
    }

    fn r2_run_for_ends_when_its_time_is_over_or_nothing_is_left<W>() {
        let mut event_loop = W::looping(0);
        let begin = event_loop.read_clock();
        event_loop.run_for(LONG).unwrap();
        assert!(event_loop.read_clock().since(begin) < LONG, "nothing is left");

        let every = event_loop.every(MILLI, |l, count| l.state += count).unwrap();
        let begin = event_loop.read_clock();
        event_loop.run_for(MILLI * 5).unwrap();
        assert!(event_loop.read_clock().since(begin) >= MILLI * 5);
        assert!(event_loop.state >= 5 - 1, "{} ticks", event_loop.state);
        event_loop.cancel(every);
        finish::<W, _>(event_loop);
    }

    fn r2_an_error_of_a_callback_comes_out_and_loses_nothing<W>() {
        let mut event_loop = W::looping(Log::new());
        let failing = |l: &mut LoopOf<W, Log>| { l.state.push("failed"); Err("no good") };
        event_loop.after(Duration::ZERO, failing).unwrap();
        event_loop.after(Duration::ZERO, |l| l.state.push("next")).unwrap();
        let Err(Error::Callback(error)) = event_loop.run() else { panic!("it failed") };
        assert_eq!(error.to_string(), "no good");
        assert_eq!(event_loop.state, ["failed"]);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["failed", "next"]);
        finish::<W, _>(event_loop);
    }

    fn r2_a_panic_of_a_timer_leaves_the_others_that_are_due<W>() {
        let mut event_loop = W::looping(Log::new());
        let panics = |_: &mut LoopOf<W, Log>, _| panic_quietly();
        let every = event_loop.every_from(event_loop.read_clock(), LONG, panics).unwrap();
        event_loop.after(Duration::ZERO, |l| l.state.push("next")).unwrap();
        W::of(&mut event_loop).pass(MILLI);
        assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
        assert!(!event_loop.contains(every), "cancelled: it panicked");
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["next"]);
        finish::<W, _>(event_loop);
    }
}

/// What only the reactor has: descriptors that are watched, and events as values.
mod of_the_reactor {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use linux_event::core::reactor::Event;
    use linux_event::{Interest, Mode};
    use linux_event_tests::{
        LONG, Log, LoopOf, MILLI, Machine, conformance, finish, note, panic_quietly, turn,
        waiting_turn,
    };

    conformance! {
        fn r1_due_timers_come_before_the_batch<W>() {
            let mut event_loop = W::looping(Log::new());
            let (reader, writer) = W::of(&mut event_loop).pipe();
            W::of(&mut event_loop).put(writer, b"x");
            let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).start().unwrap();
            event_loop.at(event_loop.read_clock(), |l| l.state.push("timer")).unwrap();
            event_loop.run_once(None).unwrap();
            assert_eq!(event_loop.state, ["timer", "read"]);
            assert!(event_loop.cancel(watcher));
            finish::<W, _>(event_loop);
        }

        fn r1_the_same_order_for_values<W>() {
            let mut reactor = W::values::<&str>();
            let (reader, writer) = W::around(&mut reactor).pipe();
            W::around(&mut reactor).put(writer, b"x");
            reactor.watch(reader, Interest::READ, "read").unwrap();
            reactor.at(reactor.read_clock(), "timer").unwrap();
            reactor.wait(None).unwrap();
            assert!(matches!(reactor.next(), Some(Event::Timer { data: "timer", .. })));
            assert!(matches!(reactor.next(), Some(Event::Ready { data: "read", .. })));
            assert_eq!(reactor.next(), None);
            assert_eq!(reactor.stats().waits, 1);
        }

        fn r1_values_left_over_are_the_next_turns_and_it_does_not_wait<W>() {
            let mut reactor = W::values::<u32>();
            let (one, other) = W::around(&mut reactor).socketpair();
            W::around(&mut reactor).put(one, b"x");
            W::around(&mut reactor).put(other, b"x");
            reactor.watch(one, Interest::READ, 1).unwrap();
            reactor.watch(other, Interest::READ, 2).unwrap();
            reactor.wait(None).unwrap();
            let Some(Event::Ready { data: first, .. }) = reactor.next() else { panic!("no event") };
            reactor.wait(None).unwrap();
            let Some(Event::Ready { data: second, .. }) = reactor.next() else { panic!("no event") };
            assert_eq!(first + second, 3, "the other one");
            assert_eq!((reactor.next(), reactor.stats().waits), (None, 1));
        }

        fn r1_values_left_over_are_kept_also_by_a_turn_with_a_timeout_and_a_timer<W>() {
            for armed in [false, true] {
                let mut reactor = W::values::<u32>();
                let (one, other) = W::around(&mut reactor).socketpair();
                W::around(&mut reactor).put(one, b"x");
                W::around(&mut reactor).put(other, b"x");
                reactor.watch_with(one, Interest::READ, Mode::EDGE, 1).unwrap();
                reactor.watch_with(other, Interest::READ, Mode::EDGE, 2).unwrap();
                if armed {
                    reactor.after(LONG, 3).unwrap();
                }
                let begin = reactor.read_clock();
                let mut heard = 0;
                for _ in 0..2 {
                    reactor.wait(Some(LONG)).unwrap();
                    let Some(Event::Ready { data, .. }) = reactor.next() else {
                        panic!("no event")
                    };
                    heard += data;
                }
                assert_eq!((heard, reactor.next()), (3, None), "each edge once");
                assert!(reactor.read_clock().since(begin) < LONG);
            }
        }

        fn r2_run_ends_when_nothing_live_is_left<W>() {
            let mut event_loop = W::looping(Log::new());
            event_loop.run().unwrap();
            assert_eq!(event_loop.stats().turns, 0, "asked before the first wait");

            let (reader, writer) = W::of(&mut event_loop).pipe();
            let watcher = event_loop.watch(&reader).on_read(|l: &mut LoopOf<W, Log>, watcher, _| {
                l.state.push("read");
                l.cancel(watcher);
            }).start().unwrap();
            event_loop.after(MILLI, move |l| W::of(l).put(writer, b"x")).unwrap();
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, ["read"]);
            assert!(!event_loop.contains(watcher));
            finish::<W, _>(event_loop);
        }

        fn r2_a_watcher_without_an_interest_does_not_keep_running<W>() {
            let mut event_loop = W::looping(Log::new());
            let (reader, _) = W::of(&mut event_loop).pipe();
            let watcher = event_loop.watch(&reader).on_read(note::<W>("read"))
                .disabled(Interest::READ).start().unwrap();
            event_loop.run().unwrap();
            event_loop.enable(watcher, Interest::READ).unwrap();
            assert!(event_loop.is_live());
            event_loop.disable(watcher, Interest::READ).unwrap();
            event_loop.run().unwrap();
            assert!(event_loop.contains(watcher));
            assert!(event_loop.cancel(watcher));
            finish::<W, _>(event_loop);
        }

        fn r2_what_is_unrefed_does_not_keep_running_and_still_fires<W>() {
            let mut event_loop = W::looping(Log::new());
            let (reader, writer) = W::of(&mut event_loop).pipe();
            W::of(&mut event_loop).put(writer, b"x");
            let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).start().unwrap();
            let timer = event_loop.after(LONG, |_| ()).unwrap();
            assert!(event_loop.unref(watcher) && event_loop.unref(timer));
            event_loop.run().unwrap();
            assert!(event_loop.state.is_empty(), "nothing live, no turn");
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, ["read"]);
            for handle in [watcher.handle(), timer.handle()] {
                assert!(event_loop.set_counted(handle, true));
                assert!(event_loop.is_live());
                assert!(event_loop.unref(handle));
                assert!(!event_loop.is_live());
                assert!(event_loop.cancel(handle));
                assert!(!event_loop.unref(handle), "stale");
            }
            finish::<W, _>(event_loop);
        }

        fn r2_stop_in_a_callback_loses_no_event_of_the_batch<W>() {
            let mut event_loop = W::looping(0);
            let files: Vec<_> = (0..4).map(|_| W::of(&mut event_loop).pipe()).collect();
            for &(reader, writer) in &files {
                W::of(&mut event_loop).put(writer, b"x");
                event_loop.watch(&reader).edge().on_read(|l: &mut LoopOf<W, i32>, watcher, _| {
                    l.state += 1;
                    l.cancel(watcher);
                    l.stop();
                }).start().unwrap();
            }
            for expected in 1..=4 {
                event_loop.run().unwrap();
                assert_eq!(event_loop.state, expected);
            }
            assert_eq!(event_loop.stats().waits, 1, "one batch, and no wait between its parts");
            finish::<W, _>(event_loop);
        }

        fn r2_stop_in_a_read_callback_keeps_the_write_part<W>() {
            let mut event_loop = W::looping(Log::new());
            let (one, other) = W::of(&mut event_loop).socketpair();
            W::of(&mut event_loop).put(other, b"x");
            let watcher = event_loop.watch(&one).edge()
                .on_read(|l: &mut LoopOf<W, Log>, _, _| { l.state.push("read"); l.stop(); })
                .on_write(note::<W>("write"))
                .start().unwrap();
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, ["read"]);
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, ["read", "write"]);
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, ["read", "write"]);
            event_loop.cancel(watcher);
            finish::<W, _>(event_loop);
        }

        fn r2_a_kept_part_of_a_cancelled_watcher_is_dropped<W>() {
            let mut event_loop = W::looping(Log::new());
            let (one, other) = W::of(&mut event_loop).socketpair();
            W::of(&mut event_loop).put(other, b"x");
            let watcher = event_loop.watch(&one)
                .on_read(|l: &mut LoopOf<W, Log>, _, _| { l.state.push("read"); l.stop(); })
                .on_write(note::<W>("write"))
                .start().unwrap();
            event_loop.run().unwrap();
            event_loop.cancel(watcher);
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, ["read"]);
            finish::<W, _>(event_loop);
        }

        /// R4 of the reference: there, an exception in a timer dropped every other that was due.
        fn r2_a_panic_cancels_its_watcher_and_nothing_else<W>() {
            let mut event_loop = W::looping(Log::new());
            let (reader, writer) = W::of(&mut event_loop).pipe();
            W::of(&mut event_loop).put(writer, b"x");
            let panicking = event_loop.watch(&reader).on_read(|l: &mut LoopOf<W, Log>, _, _| {
                l.state.push("panics");
                panic_quietly();
            }).start().unwrap();
            let (other, other_writer) = W::of(&mut event_loop).pipe();
            let standing = event_loop.watch(&other).on_read(note::<W>("other")).start().unwrap();

            assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
            assert!(!event_loop.is_running());
            assert!(!event_loop.contains(panicking) && event_loop.contains(standing));

            W::of(&mut event_loop).put(other_writer, b"x");
            waiting_turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, ["panics", "other"]);
            event_loop.cancel(standing);
            finish::<W, _>(event_loop);
        }
    }
}
