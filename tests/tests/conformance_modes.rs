//! oneshot, edge, exclusive; and that nothing spins.

use std::time::Duration;

use linux_event::{Interest, LoopError, Mode, Ready};
use linux_event_tests::{Log, LoopOf, Machine, conformance, finish, note, turn, turns_cut_short};

conformance! {
    fn r7_oneshot_fires_once_and_stays_registered<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&reader).oneshot().on_read(note::<W>("read")).start().unwrap();
        for _ in 0..3 {
            W::of(&mut event_loop).put(writer, b"x");
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.state, ["read"]);
        assert!(event_loop.contains(watcher));
        assert_eq!(event_loop.interest(watcher), Some(Interest::READ));
        assert!(event_loop.cancel(watcher));
        finish::<W, _>(event_loop);
    }

    fn r7_a_oneshot_covers_both_directions_of_one_event<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let watcher = event_loop.watch(&one).oneshot()
            .on_read(note::<W>("read")).on_write(note::<W>("write")).start().unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read", "write"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    /// perl t/10: the same mask, inside the callback; both writes are seen.
    fn r7_enabling_again_inside_its_callback_arms_also_with_an_unchanged_mask<W>() {
        let mut event_loop = W::looping(0);
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&reader).oneshot().on_read(move |l: &mut LoopOf<W, i32>, watcher, _| {
            l.state += 1;
            W::of(l).drain(reader);
            l.enable(watcher, Interest::READ).unwrap();
        }).start().unwrap();
        for expected in 1..=3 {
            W::of(&mut event_loop).put(writer, b"x");
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, expected);
        }
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r7_a_oneshot_armed_again_undrained_is_reported_again<W>() {
        let mut event_loop = W::looping(0);
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).oneshot().on_read(|l: &mut LoopOf<W, i32>, watcher, _| {
            l.state += 1;
            l.enable(watcher, Interest::READ).unwrap();
        }).start().unwrap();
        for expected in 1..=3 {
            turn::<W, _>(&mut event_loop);
            assert_eq!(event_loop.state, expected);
        }
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r7_a_oneshot_is_armed_again_from_a_timer_and_from_outside<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).oneshot().on_read(note::<W>("read")).start().unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.after(Duration::ZERO, move |l| l.enable(watcher, Interest::READ)).unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"; 2]);
        event_loop.rearm(watcher).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"; 3]);
        event_loop.disable(watcher, Interest::READ).unwrap();
        event_loop.enable(watcher, Interest::READ).unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"; 4]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r7_a_disarmed_oneshot_does_not_keep_running<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).oneshot().on_read(note::<W>("read")).start().unwrap();
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["read"]);
        event_loop.rearm(watcher).unwrap();
        assert!(event_loop.is_live());
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r7_disabling_a_disarmed_oneshot_does_not_arm_it<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let watcher = event_loop.watch(&one).oneshot()
            .on_read(note::<W>("read")).on_write(note::<W>("write")).start().unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.disable(watcher, Interest::WRITE).unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read", "write"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    /// perl t/11: edge-triggered and oneshot, drained and armed again by disable and enable: all 10,000 lines.
    fn r7_ten_thousand_lines_edge_and_oneshot<W>() {
        let mut event_loop = W::looping((0, 0));
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let text = "1\n".repeat(10_000);
        W::of(&mut event_loop).put(writer, text.as_bytes());
        W::of(&mut event_loop).close(writer);
        event_loop.watch(&reader).edge().oneshot().on_read(move |l: &mut LoopOf<W, (usize, usize)>, watcher, _| {
            let mut buffer = [0; 33];
            let count = W::of(l).read(reader, &mut buffer).unwrap();
            if count == 0 {
                l.cancel(watcher);
                return;
            }
            l.state.0 += buffer[..count].split(|&byte| byte == b'\n').count() - 1;
            l.state.1 += 1;
            l.disable(watcher, Interest::READ).unwrap();
            l.enable(watcher, Interest::READ).unwrap();
        }).start().unwrap();
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, (10_000, 20_000_usize.div_ceil(33)));
        finish::<W, _>(event_loop);
    }

    fn r7_rearm_makes_an_edge_watcher_hear_again<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).edge().on_read(note::<W>("read")).start().unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"]);
        event_loop.rearm(watcher).unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"; 2]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r8_level_reports_a_state_and_edge_a_change<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).on_read(note::<W>("level")).start().unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.state, ["level"; 3]);
        assert!(event_loop.cancel(watcher));
        let watcher = event_loop.watch(&reader).edge().on_read(note::<W>("edge")).start().unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.state[3..], ["edge"]);
        W::of(&mut event_loop).put(writer, b"x");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state[3..], ["edge"; 2], "a new write is a new edge");
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r8_the_mode_can_be_changed<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).start().unwrap();
        let heard = |event_loop: &mut LoopOf<W, Log>, mode| {
            event_loop.set_mode(watcher, mode).unwrap();
            event_loop.state.clear();
            for _ in 0..3 {
                turn::<W, _>(event_loop);
            }
            event_loop.state.len()
        };
        assert_eq!(heard(&mut event_loop, Mode::EDGE), 1);
        assert_eq!(heard(&mut event_loop, Mode::empty()), 3);
        assert_eq!(heard(&mut event_loop, Mode::ONESHOT), 1);
        assert_eq!(heard(&mut event_loop, Mode::EXCLUSIVE), 3);
        assert_eq!(heard(&mut event_loop, Mode::EDGE | Mode::ONESHOT), 1);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r8_exclusive_excludes_oneshot_read_closed_and_priority<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let controls = event_loop.stats().controls;
        let refused = [
            event_loop.watch(&reader).exclusive().oneshot().on_read(note::<W>("")).start(),
            event_loop.watch(&reader).exclusive().read_closed().on_read(note::<W>("")).start(),
            event_loop.watch(&reader).exclusive().priority().on_read(note::<W>("")).start(),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(linux_event::Error::Loop(LoopError::Invalid(_)))));
        }
        assert_eq!(event_loop.stats().controls, controls, "nothing was tried");
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).exclusive().on_read(note::<W>("read")).start().unwrap();
        assert!(event_loop.set_mode(watcher, Mode::EXCLUSIVE | Mode::ONESHOT).is_err());
        assert!(event_loop.enable(watcher, Interest::PRIORITY).is_err());
        assert_eq!(event_loop.interest(watcher), Some(Interest::READ));
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"], "the mode it had is in force");
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r8_an_exclusive_watcher_can_be_changed_and_replaced<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let watcher = event_loop.watch(&one).exclusive()
            .on_read(note::<W>("read")).on_write(note::<W>("write"))
            .disabled(Interest::WRITE).start().unwrap();
        turn::<W, _>(&mut event_loop);
        event_loop.disable(watcher, Interest::READ).unwrap();
        event_loop.enable(watcher, Interest::WRITE).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read", "write"]);
        let plain = event_loop.watch(&one).on_read(note::<W>("plain")).start().unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read", "write", "plain"]);
        assert!(!event_loop.contains(watcher));
        assert!(event_loop.cancel(plain));
        finish::<W, _>(event_loop);
    }

    /// R3 of the reference: there, it spun.
    fn r9_a_hang_up_that_nobody_takes_does_not_spin<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).priority()
            .disabled(Interest::READ).start().unwrap();
        W::of(&mut event_loop).close(writer);
        let cut_short = turns_cut_short::<W, _>(&mut event_loop);
        assert!(cut_short <= 2, "{cut_short} of 20 turns");
        assert!(event_loop.state.is_empty());
        event_loop.enable(watcher, Interest::READ).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"], "masked until the interest changes");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"; 2], "and a level again from then on");
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r9_reads_disabled_at_the_end_do_not_spin_and_enabling_tells<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).start().unwrap();
        event_loop.disable(watcher, Interest::READ).unwrap();
        W::of(&mut event_loop).close(writer);
        let cut_short = turns_cut_short::<W, _>(&mut event_loop);
        assert!(cut_short <= 2, "{cut_short} of 20 turns");
        event_loop.enable(watcher, Interest::READ).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r9_a_hang_up_without_a_reader_goes_to_the_error_callback<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&reader).on_error(|l: &mut LoopOf<W, Vec<Ready>>, _, ready| l.state.push(ready))
            .start().unwrap();
        W::of(&mut event_loop).close(writer);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, [Ready::ERROR | Ready::HANGUP]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r9_a_watcher_with_nothing_enabled_uses_no_cpu<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        let watcher = event_loop.watch(&one)
            .on_read(note::<W>("read")).on_write(note::<W>("write")).on_error(note::<W>("error"))
            .disabled(Interest::all()).start().unwrap();
        W::of(&mut event_loop).put(other, b"x");
        assert_eq!(turns_cut_short::<W, _>(&mut event_loop), 0);
        W::of(&mut event_loop).put(one, b"unread");
        W::of(&mut event_loop).close(other);
        let cut_short = turns_cut_short::<W, _>(&mut event_loop);
        assert!(cut_short <= 2, "{cut_short} of 20 turns");
        assert!(event_loop.state.is_empty());
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r9_masking_costs_one_change<W>() {
        let mut reactor = W::values::<u32>();
        let (reader, writer) = W::around(&mut reactor).pipe();
        reactor.watch(reader, Interest::PRIORITY, 1).unwrap();
        W::around(&mut reactor).close(writer);
        let controls = reactor.stats().controls;
        for _ in 0..10 {
            reactor.wait(Some(Duration::ZERO)).unwrap();
            assert_eq!(reactor.next(), None);
        }
        assert_eq!(reactor.stats().controls, controls + 1, "one EPOLL_CTL_MOD");
    }
}
