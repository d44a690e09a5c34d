//! T-1 to T-8: timers.

use std::time::Duration;

use linux_event::{Instant, LoopError};
use linux_event_tests::both::{LoopOf, World, finish, turn};
use linux_event_tests::{LONG, Log, MILLI, Machine, both};

both! {
    fn t1_after_counts_from_now_and_not_from_before_a_busy_callback<W>() {
        let mut event_loop = W::looping(None);
        event_loop.after(Duration::ZERO, |l: &mut LoopOf<W, _>| {
            W::of(l).pass(MILLI * 5);
            let now = l.read_clock();
            assert!(l.now() < now, "the cached time is of before");
            let timer = l.after(MILLI * 2, |_| ()).unwrap();
            l.state = Some((timer, now));
        }).unwrap();
        turn::<W, _>(&mut event_loop);
        let (timer, now) = event_loop.state.unwrap();
        assert!(event_loop.deadline(timer).unwrap() >= now + MILLI * 2);
        event_loop.run().unwrap();
        finish::<W, _>(event_loop);
    }

    fn t1_after_and_every_count_from_now_after_a_wait_without_timers<W>() {
        let mut event_loop = W::looping(());
        let begin = event_loop.read_clock();
        event_loop.run_once(Some(MILLI * 3)).unwrap();
        let after = event_loop.after(LONG, |_| ()).unwrap();
        let every = event_loop.every(LONG, |_, _| ()).unwrap();
        for timer in [after, every] {
            assert!(event_loop.deadline(timer).unwrap() >= begin + MILLI * 3 + LONG);
            event_loop.cancel(timer);
        }
        finish::<W, _>(event_loop);
    }

    fn t1_the_clock_is_cached_within_a_turn<W>() {
        let mut event_loop = W::looping(());
        event_loop.after(Duration::ZERO, |l: &mut LoopOf<W>| {
            let now = l.now();
            W::of(l).pass(MILLI);
            assert_eq!(l.now(), now);
            assert!(l.read_clock() >= now + MILLI);
        }).unwrap();
        event_loop.run().unwrap();
        finish::<W, _>(event_loop);
    }

    fn t2_after_at_and_every<W>() {
        let mut event_loop = W::looping(Log::new());
        let begin = event_loop.read_clock();
        event_loop.after(MILLI, |l| l.state.push("after")).unwrap();
        event_loop.at(begin + MILLI * 4, |l| l.state.push("at")).unwrap();
        let every = event_loop.every_from(begin + MILLI * 2, LONG, |l, count| {
            assert_eq!(count, 1);
            l.state.push("every");
        }).unwrap();
        event_loop.unref(every);
        event_loop.run().unwrap();
        assert!(event_loop.read_clock() >= begin + MILLI * 4);
        assert_eq!(event_loop.state, ["after", "every", "at"]);
        assert!(event_loop.cancel(every));
        finish::<W, _>(event_loop);
    }

    fn t2_the_first_tick_comes_after_one_period<W>() {
        let mut event_loop = W::looping(());
        let begin = event_loop.read_clock();
        let every = event_loop.every(MILLI, |_, _| ()).unwrap();
        assert!(event_loop.deadline(every).unwrap() >= begin + MILLI);
        assert_eq!(event_loop.every(Duration::ZERO, |_, _| ()).unwrap_err(),
            LoopError::Invalid("a period must be at least 1 ns"));
        event_loop.cancel(every);
        finish::<W, _>(event_loop);
    }

    fn t2_a_deadline_in_the_past_fires_in_the_next_turn_and_never_inline<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.at(Instant::ZERO, |l| l.state.push("past")).unwrap();
        event_loop.after(Duration::ZERO, |l| l.state.push("zero")).unwrap();
        assert!(event_loop.state.is_empty());
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, ["past", "zero"]);
        finish::<W, _>(event_loop);
    }

    fn t3_timers_fire_in_order_of_their_deadlines<W>() {
        let mut event_loop = W::looping(Log::new());
        let now = event_loop.read_clock();
        event_loop.at(now + MILLI * 3, |l| l.state.push("c")).unwrap();
        event_loop.at(now + MILLI, |l| l.state.push("a")).unwrap();
        let never = event_loop.at(now + MILLI * 2, |l| l.state.push("never")).unwrap();
        event_loop.at(now + MILLI * 2, |l| l.state.push("b")).unwrap();
        assert!(event_loop.cancel(never));
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["a", "b", "c"]);
        finish::<W, _>(event_loop);
    }

    /// R4 of the reference: there, six came as 1, 6, 5, 4, 3, 2.
    fn t3_equal_deadlines_fire_in_the_order_made<W>() {
        let mut event_loop = W::looping(Vec::new());
        let deadline = event_loop.read_clock() + MILLI;
        let timers: Vec<_> = (0..40).map(|number| {
            event_loop.at(deadline, move |l: &mut LoopOf<W, Vec<u32>>| l.state.push(number)).unwrap()
        }).collect();
        event_loop.cancel(timers[3]);
        assert!(event_loop.reschedule(timers[1], deadline), "moved, it comes last");
        event_loop.run().unwrap();
        let expected: Vec<_> = (0..40).filter(|number| ![1, 3].contains(number)).chain([1]).collect();
        assert_eq!(event_loop.state, expected);
        finish::<W, _>(event_loop);
    }

    fn t4_a_timer_made_in_a_callback_waits_for_a_later_turn<W>() {
        let mut event_loop = W::looping(Log::new());
        event_loop.after(Duration::ZERO, |l: &mut LoopOf<W, Log>| {
            l.state.push("first");
            l.after(Duration::ZERO, |l| l.state.push("zero")).unwrap();
            l.at(Instant::ZERO, |l| l.state.push("past")).unwrap();
            let moved = l.after(LONG, |l| l.state.push("moved")).unwrap();
            assert!(l.reschedule(moved, l.now()));
            W::of(l).pass(MILLI);
        }).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["first"]);
        turn::<W, _>(&mut event_loop);
        event_loop.state.sort_unstable();
        assert_eq!(event_loop.state, ["first", "moved", "past", "zero"]);
        finish::<W, _>(event_loop);
    }

    fn t4_timers_due_behind_a_new_one_still_fire_in_their_turn<W>() {
        let mut event_loop = W::looping(Log::new());
        let now = event_loop.read_clock();
        event_loop.at(now, |l: &mut LoopOf<W, Log>| {
            l.state.push("first");
            l.at(Instant::ZERO, |l| l.state.push("new")).unwrap();
        }).unwrap();
        event_loop.at(now + Duration::from_micros(1), |l| l.state.push("second")).unwrap();
        W::of(&mut event_loop).pass(MILLI);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["first", "second"]);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["first", "second", "new"]);
        finish::<W, _>(event_loop);
    }

    fn t4_a_turn_ends_although_every_timer_makes_another<W>() {
        fn again<W: World>(l: &mut LoopOf<W, u32>) {
            l.state += 1;
            l.after(Duration::ZERO, again::<W>).unwrap();
        }
        let mut event_loop = W::looping(0);
        event_loop.after(Duration::ZERO, again::<W>).unwrap();
        for expected in 1..=5 {
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, expected);
        }
    }

    fn t5_a_sibling_due_in_the_same_turn_can_be_cancelled<W>() {
        let mut event_loop = W::looping((Log::new(), None));
        event_loop.after(Duration::ZERO, |l: &mut LoopOf<W, (Log, Option<_>)>| {
            l.state.0.push("first");
            let sibling = l.state.1.take().unwrap();
            assert!(l.cancel(sibling) && !l.cancel(sibling));
        }).unwrap();
        let sibling = event_loop.after(Duration::ZERO, |l| l.state.0.push("sibling")).unwrap();
        event_loop.state.1 = Some(sibling);
        event_loop.after(Duration::ZERO, |l| l.state.0.push("third")).unwrap();
        W::of(&mut event_loop).pass(MILLI);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["first", "third"]);
        finish::<W, _>(event_loop);
    }

    fn t6_the_rate_is_fixed_and_the_timer_armed_before_its_callback<W>() {
        let mut event_loop = W::looping((None, 0));
        let first = event_loop.read_clock() + MILLI;
        let every = event_loop.every_from(first, MILLI, move |l: &mut LoopOf<W, (Option<_>, u64)>, count| {
            l.state.1 += count;
            let next = l.deadline(l.state.0.unwrap()).unwrap();
            assert!(next > l.now());
            assert_eq!(next, first + MILLI * l.state.1 as u32, "lateness does not add up");
            W::of(l).pass(MILLI / 3);
        }).unwrap();
        event_loop.state.0 = Some(every);
        while event_loop.state.1 < 8 {
            event_loop.run_once(None).unwrap();
        }
        assert!(event_loop.cancel(every));
        finish::<W, _>(event_loop);
    }

    fn t6_a_periodic_timer_can_cancel_itself<W>() {
        let mut event_loop = W::looping((None, 0));
        let every = event_loop.every(MILLI, |l: &mut LoopOf<W, (Option<_>, u64)>, _| {
            l.state.1 += 1;
            let every = l.state.0.unwrap();
            assert!(l.cancel(every) && !l.cancel(every));
        }).unwrap();
        event_loop.state.0 = Some(every);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state.1, 1);
        finish::<W, _>(event_loop);
    }

    fn t7_cancel_is_true_once<W>() {
        let mut event_loop = W::looping(Log::new());
        let timer = event_loop.after(MILLI, |l| l.state.push("never")).unwrap();
        assert!(event_loop.contains(timer));
        assert!(event_loop.cancel(timer) && !event_loop.cancel(timer));
        assert!(!event_loop.contains(timer));
        let fired = event_loop.after(Duration::ZERO, |l| l.state.push("fired")).unwrap();
        event_loop.run().unwrap();
        assert!(!event_loop.cancel(fired), "it has fired");
        assert_eq!(event_loop.state, ["fired"]);
        finish::<W, _>(event_loop);
    }

    fn t7_a_stale_handle_never_touches_a_newer_timer_in_the_same_slot<W>() {
        let mut event_loop = W::looping(Log::new());
        let old = event_loop.after(MILLI, |_| ()).unwrap();
        event_loop.cancel(old);
        let new = event_loop.after(LONG, |_| ()).unwrap();
        assert_eq!(new.index(), old.index());
        assert!(!event_loop.cancel(old));
        assert!(!event_loop.reschedule(old, Instant::ZERO));
        assert_eq!(event_loop.deadline(old), None);
        assert!(!event_loop.set_counted(old, false) && event_loop.is_live());
        assert!(event_loop.cancel(new));
        finish::<W, _>(event_loop);
    }

    fn t7_a_timers_handle_is_stale_inside_its_callback_unless_it_is_periodic<W>() {
        let mut event_loop = W::looping(Vec::new());
        let once = event_loop.after(Duration::ZERO, |l: &mut LoopOf<W, Vec<_>>| {
            let [once, every] = l.state[..] else { panic!("two timers") };
            assert!(!l.contains(once) && l.contains(every));
            l.cancel(every);
        }).unwrap();
        let every = event_loop.every(LONG, |_, _| ()).unwrap();
        event_loop.state = vec![once, every];
        event_loop.run().unwrap();
        finish::<W, _>(event_loop);
    }

    /// Up to 50 ms goes by epoll_pwait2, beyond by timerfd.
    fn t8_never_early_and_no_wake_before_the_first_deadline<W>() {
        for delay in [Duration::from_nanos(1), Duration::from_micros(50), MILLI, MILLI * 60] {
            let mut event_loop = W::looping(());
            let begin = event_loop.read_clock();
            event_loop.after(delay, |_| ()).unwrap();
            event_loop.run().unwrap();
            assert!(event_loop.read_clock() >= begin + delay, "{delay:?}");
            assert_eq!(event_loop.stats().waits, 1, "{delay:?}");
            finish::<W, _>(event_loop);
        }
    }

    fn t8_ten_thousand_timers_all_fire_in_order<W>() {
        let mut event_loop = W::looping((0, Instant::ZERO));
        let now = event_loop.read_clock();
        for number in 0..10_000_u64 {
            let deadline = now + Duration::from_nanos(number * 7_919 % 1_000_000);
            event_loop.at(deadline, move |l: &mut LoopOf<W, (u32, Instant)>| {
                assert!(l.state.1 <= deadline && deadline <= l.now());
                l.state = (l.state.0 + 1, deadline);
            }).unwrap();
        }
        event_loop.run().unwrap();
        assert_eq!(event_loop.state.0, 10_000);
        finish::<W, _>(event_loop);
    }
}

/// What only the reactor has: descriptors that are watched, and events as values.
mod of_the_reactor {
    use std::time::Duration;

    use linux_event::core::reactor::Event;
    use linux_event_tests::{LONG, Log, MILLI, Machine, conformance, finish};

    conformance! {
        fn t6_missed_periods_come_as_one_event_with_their_count<W>() {
            let mut reactor = W::values::<u32>();
            let first = reactor.read_clock() + MILLI;
            let timer = reactor.every_from(first, MILLI, 1).unwrap();
            W::around(&mut reactor).pass(Duration::from_micros(5_500));
            reactor.wait(None).unwrap();
            let Some(Event::Timer { timer: fired, deadline, expirations, .. }) = reactor.next() else {
                panic!("no event")
            };
            let periods = reactor.now().since(first).as_nanos() / MILLI.as_nanos() + 1;
            assert_eq!((fired, deadline, u128::from(expirations)), (timer, first, periods));
            assert!(expirations >= 5);
            assert_eq!(reactor.next(), None, "one event");
            assert_eq!(reactor.deadline(timer), Some(first + MILLI * expirations as u32), "on the grid");
            assert!(reactor.cancel(timer));
        }

        fn t8_the_deadline_of_a_cancelled_timer_ends_no_wait<W>() {
            let mut event_loop = W::looping(Log::new());
            let early = event_loop.after(MILLI * 55, |l| l.state.push("early")).unwrap();
            let (reader, writer) = W::of(&mut event_loop).pipe();
            W::of(&mut event_loop).put(writer, b"x");
            let watcher = event_loop.watch(&reader).edge().on_read(linux_event_tests::note::<W>("read"))
                .start().unwrap();
            event_loop.run_once(None).unwrap(); // has set the timerfd, and did not wait
            event_loop.cancel(watcher);
            event_loop.cancel(early);
            let begin = event_loop.read_clock();
            event_loop.after(MILLI * 80, |l| l.state.push("late")).unwrap();
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, ["read", "late"]);
            assert!(event_loop.read_clock() >= begin + MILLI * 80);
            assert_eq!(event_loop.stats().waits, 2);
            finish::<W, _>(event_loop);
        }

        fn t8_nor_does_it_end_a_callers_timeout<W>() {
            let mut event_loop = W::looping(());
            let early = event_loop.after(MILLI * 55, |_| ()).unwrap();
            let (reader, writer) = W::of(&mut event_loop).pipe();
            W::of(&mut event_loop).put(writer, b"x");
            let watcher = event_loop.watch(&reader).edge().on_read(|_, _, _| ()).start().unwrap();
            event_loop.run_once(None).unwrap();
            event_loop.cancel(watcher);
            event_loop.cancel(early);
            let late = event_loop.after(LONG, |_| ()).unwrap();
            let begin = event_loop.read_clock();
            event_loop.run_once(Some(MILLI * 70)).unwrap();
            assert!(event_loop.read_clock() >= begin + MILLI * 70);
            event_loop.cancel(late);
            finish::<W, _>(event_loop);
        }
    }
}
