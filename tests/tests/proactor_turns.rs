//! P-9, W-2, G-2, G-3: turns of a loop of operations. What both models share is in `conformance_turns.rs` and
//! its kin.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use linux_event::core::proactor::Event;
use linux_event::{Error, LoopError, Op, OpState, PollEvents, op};
use linux_event_tests::proactor::{
    Heard, LoopOf, Outside, finish, finish_values, hear, pair, pair_within, perform, pipe_in,
    results, room, run, there_is, turn, turn_until,
};
use linux_event_tests::{LONG, Log, MILLI, Machine, panic_quietly, proactor_conformance};

proactor_conformance! {
    fn r1_due_timers_come_before_completions<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.nop(|l: &mut LoopOf<W, Log>, _| l.state.push("nop")).unwrap();
        event_loop.at(event_loop.read_clock(), |l| l.state.push("timer")).unwrap();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, ["timer", "nop"]);
        assert_eq!(event_loop.stats().waits, 1);
        finish::<W, _>(event_loop);
    }

    fn r1_values_come_in_the_same_order<W>() {
        let mut proactor = W::values::<u32>();
        proactor.submit(op::nop(), 2).unwrap();
        proactor.at(proactor.read_clock(), 1).unwrap();
        proactor.wait(None).unwrap();
        assert!(matches!(proactor.next(), Some(Event::Timer { data: 1, .. })));
        assert!(matches!(proactor.next(), Some(Event::Completion(done)) if done.data == 2));
        assert!(proactor.next().is_none());
        finish_values::<W, _>(proactor);
    }

    fn r1_a_deadline_ends_a_wait_for_operations<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |l: &mut LoopOf<W, Log>, _| l.state.push("recv")).unwrap();
        let begin = event_loop.read_clock();
        event_loop.after(MILLI * 2, |l| l.state.push("timer")).unwrap();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, ["timer"]);
        assert!(event_loop.read_clock() >= begin + MILLI * 2);
        event_loop.run_once(Some(MILLI)).unwrap();
        assert!(event_loop.read_clock() >= begin + MILLI * 3, "the caller's timeout");
        event_loop.cancel(op);
        run::<W, _>(&mut event_loop);
        finish::<W, _>(event_loop);
    }

    fn r1_completions_left_over_are_the_next_turns_and_it_does_not_wait<W>() {
        let mut event_loop = W::looping(0);
        for _ in 0..4 {
            event_loop.nop(|l: &mut LoopOf<W, u32>, _| { l.state += 1; l.stop(); }).unwrap();
        }
        for expected in 1..=4 {
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, expected);
        }
        assert_eq!((event_loop.stats().waits, event_loop.counters().enters), (1, 1), "one batch");
        finish::<W, _>(event_loop);
    }

    fn r1_nothing_blocks_after_a_stop<W>() {
        let mut event_loop = W::looping(0);
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
        let begin = event_loop.read_clock();
        event_loop.stop();
        event_loop.run_once(None).unwrap();
        event_loop.defer(LoopOf::<W, _>::stop);
        event_loop.run().unwrap();
        assert!(event_loop.read_clock().since(begin) < LONG);
        assert!(event_loop.cancel(op));
        run::<W, _>(&mut event_loop);
        finish::<W, _>(event_loop);
    }

    fn r2_run_ends_when_nothing_live_is_left<W>() {
        let mut event_loop = W::looping(Log::new());
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.stats().turns, 0, "asked before the first wait");
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(4), |l: &mut LoopOf<W, Log>, _| l.state.push("recv")).unwrap();
        event_loop.after(MILLI, move |l| W::outside(l).put(end, b"x")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["recv"]);
        finish::<W, _>(event_loop);
    }

    fn r2_what_is_unrefed_keeps_nobody_running_and_is_told_of_all_the_same<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |l: &mut LoopOf<W, Log>, _| l.state.push("recv")).unwrap();
        assert!(event_loop.unref(op) && !event_loop.is_live());
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.stats().turns, 0);
        assert!(event_loop.set_counted(op, true) && event_loop.is_live());
        assert!(event_loop.unref(op) && event_loop.unref(op));
        event_loop.after(MILLI, |l| l.state.push("timer")).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!((&event_loop.state[..], event_loop.live_op_count()), (&["timer"][..], 1));
        W::outside(&mut event_loop).put(end, b"x");
        turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
        assert_eq!(event_loop.state, ["timer", "recv"]);
        assert!(!event_loop.unref(op) && !event_loop.set_counted(op, true), "stale");
        finish::<W, _>(event_loop);
    }

    fn r2_an_unrefed_operation_that_ends_is_counted_down_once<W>() {
        let mut event_loop = W::looping(());
        for _ in 0..3 {
            let (one, _) = pair::<W, _>(&mut event_loop);
            let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
            event_loop.unref(op);
            event_loop.cancel(op);
            turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
        }
        let nop = event_loop.nop(|_, _| ()).unwrap();
        assert!(event_loop.is_live());
        run::<W, _>(&mut event_loop);
        assert!(!event_loop.contains(nop));
        finish::<W, _>(event_loop);
    }

    fn r2_a_stop_before_a_run_ends_that_run_and_no_other<W>() {
        let mut event_loop = W::looping(0);
        event_loop.nop(|l: &mut LoopOf<W, u32>, _| l.state += 1).unwrap();
        event_loop.stop();
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, 0);
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, 1);
        finish::<W, _>(event_loop);
    }

    fn r2_running_a_loop_in_a_completion_is_reentrant<W>() {
        let mut event_loop = W::looping(0);
        event_loop.nop(|l: &mut LoopOf<W, u32>, _| {
            assert!(l.is_running());
            assert_eq!(l.run().unwrap_err(), LoopError::Reentrant);
            assert_eq!(l.run_once(None).unwrap_err(), LoopError::Reentrant);
            assert_eq!(l.run_for(MILLI).unwrap_err(), LoopError::Reentrant);
            assert_eq!(l.drain_callbacks().unwrap_err(), LoopError::Reentrant);
            l.state += 1;
        }).unwrap();
        run::<W, _>(&mut event_loop);
        assert_eq!((event_loop.state, event_loop.is_running()), (1, false));
        finish::<W, _>(event_loop);
    }

    fn r2_an_error_of_a_callback_comes_out_and_loses_nothing<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.nop(|l: &mut LoopOf<W, Log>, _| { l.state.push("fails"); Err("no good") }).unwrap();
        event_loop.nop(|l, _| l.state.push("next")).unwrap();
        let Err(Error::Callback(error)) = event_loop.run() else { panic!("it failed") };
        assert_eq!((error.to_string(), &event_loop.state[..]), ("no good".into(), &["fails"][..]));
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["fails", "next"]);
        finish::<W, _>(event_loop);
    }

    fn r2_a_panic_ends_what_was_called_and_nothing_else<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        let polling = event_loop.poll_multi(reader, PollEvents::IN, |l: &mut LoopOf<W, Log>, _| {
            l.state.push("panics");
            panic_quietly();
        });
        let Some(polling) = there_is(polling) else { return };
        let (one, other_end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(4), |l: &mut LoopOf<W, Log>, _| l.state.push("recv")).unwrap();
        W::outside(&mut event_loop).put(end, b"x");
        assert!(catch_unwind(AssertUnwindSafe(|| event_loop.run())).is_err());
        assert!(!event_loop.is_running());
        assert_eq!(event_loop.state(polling), OpState::Cancelling, "nobody would be told");
        W::outside(&mut event_loop).put(end, b"x");
        W::outside(&mut event_loop).put(other_end, b"x");
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["panics", "recv"]);
        finish::<W, _>(event_loop);
    }

    fn p9_a_turn_is_one_call_whatever_it_submits_and_fetches<W>() {
        const ROUNDS: u64 = 100;
        let mut event_loop = W::looping(0);
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        event_loop.recv(other, room(64), move |l: &mut LoopOf<W, u64>, done| {
            l.state += 1;
            if l.state < ROUNDS {
                l.again(op::recv(other, done.into_buffer().unwrap())).unwrap();
            }
        }).unwrap();
        event_loop.send(one, "ping", move |l: &mut LoopOf<W, u64>, done| {
            if l.state < ROUNDS - 1 {
                l.again(op::send(one, done.into_buffer().unwrap())).unwrap();
            }
        }).unwrap();
        for _ in 0..4 {
            event_loop.nop(|_, _| ()).unwrap();
        }
        let ticks = event_loop.every(Duration::from_nanos(1), |_, _| ()).unwrap();
        event_loop.unref(ticks);
        turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
        assert_eq!(event_loop.state, ROUNDS);
        let (stats, counters) = (event_loop.stats(), event_loop.counters());
        assert_eq!((stats.turns, stats.waits), (counters.enters, counters.enters), "timers cost none");
        event_loop.cancel(ticks);
        finish::<W, _>(event_loop);
    }

    fn p9_a_turn_without_operations_waits_in_one_call_too<W>() {
        let mut event_loop = W::looping(0);
        for _ in 0..5 {
            event_loop.after(MILLI, |l| l.state += 1).unwrap();
            event_loop.run_once(None).unwrap();
        }
        assert_eq!((event_loop.state, event_loop.counters().enters), (5, 5));
        finish::<W, _>(event_loop);
    }

    fn p9_a_flush_hands_over_at_once<W>() {
        let mut event_loop = W::looping(Heard::<W>::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.send(one, "at once", hear::<W>("send")).unwrap();
        assert_eq!(W::outside(&mut event_loop).drain(end), b"", "it is queued");
        event_loop.flush().unwrap();
        assert_eq!(W::outside(&mut event_loop).drain(end), b"at once");
        assert!(event_loop.state.is_empty(), "P-2");
        let enters = event_loop.counters().enters;
        event_loop.flush().unwrap();
        assert_eq!(event_loop.counters().enters, enters, "nothing to hand over is no call");
        run::<W, _>(&mut event_loop);
        assert_eq!(results::<W>(&mut event_loop), [("send", Ok(7))]);
        finish::<W, _>(event_loop);
    }

    /// There, an idle loop of operations span.
    fn p9_a_wait_for_operations_does_not_spin<W>() {
        let mut event_loop = W::looping(());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
        let (reader, end) = pipe_in::<W, _>(&mut event_loop);
        W::outside(&mut event_loop).put(end, b"x");
        let polling = event_loop.poll_multi(reader, PollEvents::IN, |_, _| ());
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        let cut_short = (0..20).filter(|_| {
            let begin = event_loop.read_clock();
            event_loop.run_once(Some(MILLI)).unwrap();
            event_loop.read_clock().since(begin) < MILLI
        }).count();
        assert!(cut_short <= 1, "{cut_short} of 20 turns did not wait");
        event_loop.cancel(op);
        if let Ok(polling) = polling {
            event_loop.cancel(polling);
        }
        run::<W, _>(&mut event_loop);
        finish::<W, _>(event_loop);
    }

    fn w2_a_loop_that_waits_for_operations_is_stopped_from_another_thread<W>() {
        let mut event_loop = W::looping(());
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
        for _ in 0..3 {
            let waker = event_loop.waker().unwrap();
            let thread = thread::spawn(move || waker.stop());
            if W::IS_VIRTUAL {
                thread.join().unwrap();
                run::<W, _>(&mut event_loop);
            } else {
                run::<W, _>(&mut event_loop);
                thread.join().unwrap();
            }
            assert!(event_loop.contains(op));
        }
        event_loop.cancel(op);
        event_loop.run().unwrap(); // the stop may have come when that run was over
        run::<W, _>(&mut event_loop);
        finish::<W, _>(event_loop);
    }

    fn w1_a_wake_ends_a_wait_for_operations<W>() {
        let mut event_loop = W::looping((0, None::<Op>));
        let (one, _) = pair::<W, _>(&mut event_loop);
        let op = event_loop.recv(one, room(4), |_, _| ()).unwrap();
        event_loop.state.1 = Some(op);
        event_loop.on_wake(|l: &mut LoopOf<W, (u64, Option<Op>)>, count| {
            l.state.0 += count;
            if l.state.0 == 100 {
                l.cancel(l.state.1.unwrap());
            }
        });
        let waker = event_loop.waker().unwrap();
        let thread = thread::spawn(move || (0..100).for_each(|_| waker.wake()));
        if W::IS_VIRTUAL {
            thread.join().unwrap();
            run::<W, _>(&mut event_loop);
        } else {
            run::<W, _>(&mut event_loop);
            thread.join().unwrap();
        }
        assert_eq!((event_loop.state.0, event_loop.live_op_count()), (100, 0));
        finish::<W, _>(event_loop);
    }

    fn s1_signals_come_between_operations<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(4), |l: &mut LoopOf<W, Log>, _| l.state.push("recv")).unwrap();
        let signals = event_loop.signal("USR1", |l: &mut LoopOf<W, Log>, _| l.state.push("signal")).unwrap();
        for count in 1..=3 {
            W::of(&mut event_loop).raise(linux_event::Signal::USR1);
            turn_until::<W, _>(&mut event_loop, |l| l.state.len() == count);
        }
        W::outside(&mut event_loop).put(end, b"x");
        turn_until::<W, _>(&mut event_loop, |l| l.live_op_count() == 0);
        assert_eq!(event_loop.state, ["signal", "signal", "signal", "recv"]);
        event_loop.cancel(signals);
        finish::<W, _>(event_loop);
    }

    fn c1_a_child_ends_between_operations<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, end) = pair::<W, _>(&mut event_loop);
        event_loop.recv(one, room(4), |l: &mut LoopOf<W, Log>, _| l.state.push("recv")).unwrap();
        let pid = W::of(&mut event_loop).spawn();
        event_loop.pid(pid, move |l: &mut LoopOf<W, Log>, exit| {
            assert_eq!(exit.status, Ok(Some(linux_event::ExitStatus::Exited(3))));
            l.state.push("exit");
            W::outside(l).put(end, b"x");
        }).unwrap();
        W::of(&mut event_loop).exit(pid, linux_event::ExitStatus::Exited(3));
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["exit", "recv"]);
        finish::<W, _>(event_loop);
    }

    fn g2_deferred_calls_and_operations<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.defer(|l: &mut LoopOf<W, Log>| {
            l.state.push("deferred");
            l.nop(|l: &mut LoopOf<W, Log>, _| {
                l.state.push("nop");
                l.defer(|l| l.state.push("deferred again"));
            }).unwrap();
        });
        run::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["deferred", "nop", "deferred again"]);
        finish::<W, _>(event_loop);
    }

    fn g2_draining_delivers_what_was_fetched_and_asks_for_nothing<W>() {
        let mut event_loop = W::looping(Log::new());
        for number in 0..3 {
            event_loop.nop(move |l: &mut LoopOf<W, Log>, _| {
                l.state.push(["stops", "second", "third"][number]);
                if number == 0 {
                    l.stop();
                }
            }).unwrap();
        }
        run::<W, _>(&mut event_loop);
        let enters = event_loop.counters().enters;
        assert_eq!(event_loop.drain_callbacks().unwrap(), 2);
        assert_eq!(event_loop.state, ["stops", "second", "third"]);
        assert_eq!(event_loop.drain_callbacks().unwrap(), 0);
        assert_eq!(event_loop.counters().enters, enters);
        finish::<W, _>(event_loop);
    }

    fn g3_statistics_count<W>() {
        let mut event_loop = W::looping(());
        let (one, end) = pair::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop); // takes along what a loop submits for itself
        let (stats, counters) = (event_loop.stats(), event_loop.counters());
        perform::<W, _>(&mut event_loop, op::nop()).outcome().unwrap();
        W::outside(&mut event_loop).put(end, b"x");
        perform::<W, _>(&mut event_loop, op::recv(one, room(4))).outcome().unwrap();
        event_loop.after(Duration::ZERO, |_| ()).unwrap();
        turn::<W, _>(&mut event_loop);
        let (after, counted) = (event_loop.stats(), event_loop.counters());
        assert_eq!((after.turns - stats.turns, after.waits - stats.waits), (3, 3));
        assert_eq!(after.events - stats.events, 3, "two operations, one timer");
        assert_eq!(counted.enters - counters.enters, 3);
        assert_eq!((counted.submitted - counters.submitted, counted.completions - counters.completions), (2, 2));
        assert_eq!((counted.overflows, counted.leaked, after.stale), (0, 0, 0));
        finish::<W, _>(event_loop);
    }

    fn g2_callbacks_share_the_state<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (one, other) = pair_within::<W, _>(&mut event_loop);
        event_loop.recv(other, room(16), |l: &mut LoopOf<W, Vec<u8>>, done| {
            l.state.extend_from_slice(&done.into_buffer().unwrap());
        }).unwrap();
        event_loop.after(MILLI, move |l| {
            l.state.push(b'<');
            l.send(one, "shared", |l: &mut LoopOf<W, Vec<u8>>, _| l.state.push(b'>')).unwrap();
        }).unwrap();
        run::<W, _>(&mut event_loop);
        let mut state = event_loop.state.clone();
        state.sort_unstable();
        let mut expected = b"<shared>".to_vec();
        expected.sort_unstable();
        assert_eq!((event_loop.state[0], state), (b'<', expected));
        finish::<W, _>(event_loop);
    }
}

/// A loop of operations inside a loop of readiness, by its descriptor.
mod embedded {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use linux_event::{Epoll, Loop, Reactor, Signal, op};
    use linux_event_tests::both::World as _;
    use linux_event_tests::proactor::{LoopOf, OnRing, Outside, World as _, pair, room, run};
    use linux_event_tests::{LONG, Log, MILLI, Machine};

    type Inner = LoopOf<OnRing, Log>;
    type Outer = Loop<Reactor<Epoll>, Inner>;

    /// An outer loop whose state is the inner one, which it runs when the inner one's descriptor is readable.
    fn embed(mut inner: Inner) -> Outer {
        inner.prepare().unwrap();
        let fd = inner.as_fd().try_clone_to_owned().unwrap();
        let mut outer = Loop::reactor_with(inner).unwrap();
        outer
            .watch(&fd)
            .on_read(move |outer: &mut Outer, watcher, _| {
                let _held = &fd;
                outer.state.run_once(Some(Duration::ZERO)).unwrap();
                if outer.state.is_live() {
                    outer.state.prepare().unwrap();
                } else {
                    outer.cancel(watcher);
                }
            })
            .start()
            .unwrap();
        outer
    }

    fn on_ring(name: &str, body: fn()) {
        OnRing::run(&format!("embedded::{name}"), body);
    }

    #[test]
    fn g2_operations_timers_and_deferred_calls_of_a_loop_inside_another() {
        on_ring(
            "g2_operations_timers_and_deferred_calls_of_a_loop_inside_another",
            || {
                let mut inner = OnRing::looping(Log::new());
                let (one, end) = pair::<OnRing, _>(&mut inner);
                inner
                    .recv(one, room(8), |l: &mut Inner, done| {
                        assert_eq!(done.outcome(), Ok(1));
                        l.state.push("recv");
                    })
                    .unwrap();
                inner
                    .after(MILLI, move |l| {
                        l.state.push("timer");
                        OnRing::outside(l).put(end, b"x");
                        l.defer(|l| l.state.push("deferred"));
                        l.nop(|l: &mut Inner, _| l.state.push("nop")).unwrap();
                    })
                    .unwrap();
                let mut outer = embed(inner);
                outer.run().unwrap();
                outer.state.state.sort_unstable();
                assert_eq!(outer.state.state, ["deferred", "nop", "recv", "timer"]);
            },
        );
    }

    #[test]
    fn g2_the_outer_loop_waits_as_long_as_the_inner_would() {
        on_ring("g2_the_outer_loop_waits_as_long_as_the_inner_would", || {
            let mut inner = OnRing::looping(Log::new());
            let (one, _) = pair::<OnRing, _>(&mut inner);
            let waits = inner.recv(one, room(8), |_, _| ()).unwrap();
            let begin = inner.read_clock();
            inner
                .after(MILLI * 5, move |l| {
                    l.state.push("timer");
                    l.cancel(waits);
                })
                .unwrap();
            let mut outer = embed(inner);
            outer.run().unwrap();
            assert_eq!(outer.state.state, ["timer"]);
            assert!(outer.state.read_clock() >= begin + MILLI * 5);
            assert!(outer.stats().waits <= 6, "{} waits", outer.stats().waits);
        });
    }

    #[test]
    fn g2_what_was_there_before_is_told() {
        on_ring("g2_what_was_there_before_is_told", || {
            let mut inner = OnRing::looping(Log::new());
            inner.nop(|l: &mut Inner, _| l.state.push("nop")).unwrap();
            inner.flush().unwrap();
            let mut outer = embed(inner);
            outer.run_once(Some(LONG)).unwrap();
            assert_eq!(outer.state.state, ["nop"]);
        });
    }

    #[test]
    fn g2_wakes_and_signals_of_a_loop_inside_another() {
        on_ring("g2_wakes_and_signals_of_a_loop_inside_another", || {
            let mut inner = OnRing::looping(Log::new());
            inner.on_wake(|l: &mut Inner, _| l.state.push("wake"));
            let waker = inner.waker().unwrap();
            let signal = inner
                .signal("USR1", |l: &mut Inner, event| {
                    l.state.push("signal");
                    l.cancel(event.subscription);
                })
                .unwrap();
            let mut outer = embed(inner);
            let thread = std::thread::spawn(move || {
                waker.wake();
                drop(waker);
            });
            while outer.state.state.is_empty() {
                outer.run_once(Some(LONG)).unwrap();
            }
            thread.join().unwrap();
            assert_eq!(outer.state.state, ["wake"]);
            assert!(outer.state.contains(signal));
            OnRing::of(&mut outer.state).raise(Signal::USR1);
            outer.run().unwrap();
            assert_eq!(outer.state.state, ["wake", "signal"]);
        });
    }

    #[test]
    fn g2_an_idle_loop_inside_another_costs_it_nothing() {
        on_ring("g2_an_idle_loop_inside_another_costs_it_nothing", || {
            let mut inner = OnRing::looping(Log::new());
            let (one, _) = pair::<OnRing, _>(&mut inner);
            let op = inner.recv(one, room(8), |_, _| ()).unwrap();
            let mut outer = embed(inner);
            outer.run_once(Some(MILLI)).unwrap(); // what is there may be told once
            let turns = outer.state.stats().turns;
            for _ in 0..10 {
                // What a kernel does for a ring in this thread may end a wait early; that is no event.
                outer.run_once(Some(MILLI)).unwrap();
            }
            assert_eq!(outer.state.stats().turns, turns, "it is not readable");
            outer.state.cancel(op);
            outer.state.prepare().unwrap();
            outer.run().unwrap();
            assert_eq!(outer.state.live_op_count(), 0);
        });
    }

    #[test]
    fn g2_a_loop_of_operations_inside_another_of_its_kind() {
        on_ring("g2_a_loop_of_operations_inside_another_of_its_kind", || {
            let mut inner = OnRing::looping(Log::new());
            let (one, end) = pair::<OnRing, _>(&mut inner);
            inner
                .recv(one, room(8), |l: &mut Inner, _| l.state.push("recv"))
                .unwrap();
            inner.prepare().unwrap();
            let fd = inner.as_fd().try_clone_to_owned().unwrap();
            let mut outer = OnRing::looping(inner);
            let fd = outer.adopt(fd).unwrap();
            outer
                .poll(
                    fd,
                    linux_event::PollEvents::IN,
                    move |outer: &mut LoopOf<OnRing, Inner>, done| {
                        done.outcome().unwrap();
                        outer.state.run_once(Some(Duration::ZERO)).unwrap();
                        if outer.state.is_live() {
                            outer.state.prepare().unwrap();
                            outer
                                .again(op::poll(fd, linux_event::PollEvents::IN))
                                .unwrap();
                        }
                    },
                )
                .unwrap();
            OnRing::outside(&mut outer.state).put(end, b"x");
            run::<OnRing, _>(&mut outer);
            assert_eq!(outer.state.state, ["recv"]);
        });
    }
}

/// The fake has no descriptor; it says when one would be readable.
#[test]
fn g2_a_fake_is_readable_when_it_has_something_to_tell() {
    use linux_event_tests::proactor::{OnFake, World};
    let mut proactor = OnFake::values::<u32>();
    let (reader, writer) = proactor.backend_mut().pipe().unwrap();
    let reader = proactor.backend().own(reader);
    let reader = proactor.adopt(reader).unwrap();
    proactor.submit(op::read(reader, room(4)), 1).unwrap();
    proactor.after(LONG, 2).unwrap();
    proactor.prepare().unwrap();
    assert_eq!(proactor.backend().armed(), proactor.next_deadline());
    assert!(!proactor.backend_mut().is_readable());
    assert_eq!(proactor.backend_mut().write(writer, b"x"), Ok(1));
    proactor.backend_mut().advance(MILLI);
    assert!(proactor.backend_mut().is_readable());
    proactor.wait(Some(Duration::ZERO)).unwrap();
    assert!(matches!(proactor.next(), Some(Event::Completion(done)) if done.data == 1));
    assert!(proactor.next().is_none());
    proactor.prepare().unwrap();
    assert!(!proactor.backend_mut().is_readable());
    proactor.backend_mut().advance(LONG);
    assert!(proactor.backend_mut().is_readable());
    proactor.wait(Some(Duration::ZERO)).unwrap();
    assert!(matches!(
        proactor.next(),
        Some(Event::Timer { data: 2, .. })
    ));
    proactor.backend_mut().close(writer).unwrap();
    finish_values::<OnFake, _>(proactor);
}
