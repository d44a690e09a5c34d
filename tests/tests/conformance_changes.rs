//! whose the descriptors are, what can't be watched, and what changes cost.

use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::reactor::Event;
use linux_event::{Interest, LoopError, Mode, Ready};
use linux_event_tests::{Log, LoopOf, Machine, conformance, finish, note, turn};

conformance! {
    /// R2 of the reference: there, the loop held what it watched open.
    fn r10_the_loop_neither_holds_nor_closes_what_it_watches<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).start().unwrap();
        event_loop.cancel(watcher);
        W::of(&mut event_loop).put(writer, b"x");
        assert_eq!(W::of(&mut event_loop).drain(reader), b"x", "open after a cancel");

        let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).start().unwrap();
        W::of(&mut event_loop).close(reader);
        assert_eq!(W::of(&mut event_loop).write(writer, b"x"), Err(Errno::EPIPE), "nobody holds it");
        assert!(event_loop.cancel(watcher));
        finish::<W, _>(event_loop);
    }

    fn r11_a_regular_file_is_refused_clearly<W>() {
        let mut reactor = W::values::<u32>();
        let file = W::around(&mut reactor).regular_file();
        for _ in 0..100 {
            assert_eq!(reactor.watch(file, Interest::READ, 1), Err(LoopError::NotPollable));
        }
        assert_eq!((reactor.live(), reactor.watcher_of(file)), (0, None), "no slot is lost");
        let (reader, _) = W::around(&mut reactor).pipe();
        assert!(reactor.watch(reader, Interest::READ, 1).is_ok());
    }

    fn r11_a_closed_number_is_refused<W>() {
        let mut reactor = W::values::<u32>();
        let (reader, _) = W::around(&mut reactor).pipe();
        W::around(&mut reactor).close(reader);
        let refused = reactor.watch(reader, Interest::READ, 1).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EBADF));
        assert_eq!(reactor.live(), 0);
    }

    fn r11_a_full_table_says_how_large_it_is<W>() {
        let mut reactor = W::values::<u32>();
        let (reader, _) = W::around(&mut reactor).pipe();
        for signal in 0..64 {
            reactor.signal(linux_event::Signal::USR1, signal).unwrap();
        }
        assert_eq!(reactor.watch(reader, Interest::READ, 1), Err(LoopError::Full { capacity: 64 }));
        assert_eq!(reactor.signal(linux_event::Signal::USR1, 1), Err(LoopError::Full { capacity: 64 }));
        for timer in 0..64 {
            reactor.after(Duration::ZERO, timer).unwrap();
        }
        assert_eq!(reactor.after(Duration::ZERO, 1), Err(LoopError::Full { capacity: 64 }));
    }

    fn r12_disabling_and_enabling_within_a_turn_costs_nothing<W>() {
        let mut reactor = W::values::<u32>();
        let (reader, writer) = W::around(&mut reactor).pipe();
        let watcher = reactor.watch(reader, Interest::READ, 1).unwrap();
        let controls = reactor.stats().controls;
        for _ in 0..10 {
            reactor.disable(watcher, Interest::READ).unwrap();
            reactor.enable(watcher, Interest::READ).unwrap();
        }
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!((reactor.next(), reactor.stats().controls), (None, controls));
        W::around(&mut reactor).put(writer, b"x");
        reactor.wait(None).unwrap();
        assert!(matches!(reactor.next(), Some(Event::Ready { data: 1, .. })));
    }

    fn r12_many_changes_within_a_turn_cost_one<W>() {
        let mut reactor = W::values::<u32>();
        let (one, _) = W::around(&mut reactor).socketpair();
        let watcher = reactor.watch(one, Interest::READ, 1).unwrap();
        let controls = reactor.stats().controls;
        for _ in 0..10 {
            reactor.enable(watcher, Interest::WRITE).unwrap();
            reactor.disable(watcher, Interest::READ).unwrap();
            reactor.disable(watcher, Interest::WRITE).unwrap();
            reactor.enable(watcher, Interest::READ | Interest::WRITE).unwrap();
        }
        assert_eq!(reactor.stats().controls, controls, "nothing before the wait");
        reactor.wait(None).unwrap();
        assert_eq!(reactor.stats().controls, controls + 1);
        assert!(matches!(reactor.next(), Some(Event::Ready { ready: Ready::WRITE, .. })));
        reactor.set_interest(watcher, Interest::READ).unwrap();
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!((reactor.next(), reactor.stats().controls), (None, controls + 2));
    }

    fn r12_an_unchanged_turn_changes_nothing<W>() {
        let mut reactor = W::values::<u32>();
        let (reader, writer) = W::around(&mut reactor).pipe();
        W::around(&mut reactor).put(writer, b"x");
        reactor.watch(reader, Interest::READ, 1).unwrap();
        for _ in 0..10 {
            reactor.wait(None).unwrap();
            assert!(reactor.next().is_some());
            assert_eq!(reactor.next(), None);
        }
        assert_eq!((reactor.stats().controls, reactor.stats().waits), (1, 10));
    }

    fn r12_an_edge_fetched_and_suppressed_is_delivered_when_enabled_again<W>() {
        let mut event_loop = W::looping((Log::new(), Vec::new()));
        let (one, other) = W::of(&mut event_loop).socketpair();
        for file in [one, other] {
            W::of(&mut event_loop).put(file, b"x");
            let watcher = event_loop.watch(&file).edge()
                .on_read(|l: &mut LoopOf<W, (Log, Vec<_>)>, watcher, _| {
                    l.state.0.push("read");
                    for other in std::mem::take(&mut l.state.1) {
                        if other != watcher {
                            l.disable(other, Interest::READ).unwrap();
                            l.after(Duration::ZERO, move |l| l.enable(other, Interest::READ)).unwrap();
                        }
                    }
                }).start().unwrap();
            event_loop.state.1.push(watcher);
        }
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["read"], "the other was disabled before its delivery");
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["read"; 2], "there was no new edge");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, ["read"; 2]);
        event_loop.unwatch(&one);
        event_loop.unwatch(&other);
        finish::<W, _>(event_loop);
    }

    fn r12_the_suppressed_part_of_an_edge_is_delivered_when_enabled_again<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let watcher = event_loop.watch(&one).edge()
            .on_read(|l: &mut LoopOf<W, Log>, watcher, _| {
                l.state.push("read");
                l.disable(watcher, Interest::WRITE).unwrap();
            })
            .on_write(note::<W>("write")).start().unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"]);
        event_loop.set_on_read(watcher, note::<W>("read")).unwrap();
        event_loop.enable(watcher, Interest::WRITE).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read", "read", "write"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r12_a_suppressed_edge_disabled_and_enabled_in_one_turn_is_not_lost<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let watcher = event_loop.watch(&one).edge()
            .on_error(|_, _, _| ())
            .on_read(|l: &mut LoopOf<W, Log>, watcher, _| {
                l.state.push("read");
                l.disable(watcher, Interest::WRITE).unwrap();
                l.defer(move |l: &mut LoopOf<W, Log>| l.clear_callbacks(watcher, Interest::READ));
                l.defer(move |l: &mut LoopOf<W, Log>| l.enable(watcher, Interest::WRITE));
            })
            .on_write(note::<W>("write")).start().unwrap();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.state, ["read", "write"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r12_an_edge_suppressed_and_enabled_again_before_the_flush_is_delivered<W>() {
        let mut reactor = W::values::<u32>();
        let (one, other) = W::around(&mut reactor).socketpair();
        let mut watchers = Vec::new();
        for file in [one, other] {
            W::around(&mut reactor).put(file, b"x");
            watchers.push(reactor.watch_with(file, Interest::READ, Mode::EDGE, 1).unwrap());
        }
        reactor.wait(None).unwrap();
        let Some(Event::Ready { watcher: first, .. }) = reactor.next() else { panic!("no event") };
        let second = watchers[usize::from(first == watchers[0])];
        reactor.disable(second, Interest::READ).unwrap();
        assert_eq!(reactor.next(), None, "its edge was fetched, and dropped");
        let controls = reactor.stats().controls;
        reactor.enable(second, Interest::READ).unwrap();
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert!(matches!(reactor.next(), Some(Event::Ready { watcher, .. }) if watcher == second));
        assert_eq!((reactor.next(), reactor.stats().controls), (None, controls + 1));
    }

    fn r12_a_suppressed_oneshot_is_delivered_when_enabled_again<W>() {
        let mut reactor = W::values::<u32>();
        let (one, other) = W::around(&mut reactor).socketpair();
        let mut watchers = Vec::new();
        for file in [one, other] {
            W::around(&mut reactor).put(file, b"x");
            watchers.push(reactor.watch_with(file, Interest::READ, Mode::ONESHOT, 1).unwrap());
        }
        reactor.wait(None).unwrap();
        let Some(Event::Ready { watcher: first, .. }) = reactor.next() else { panic!("no event") };
        let second = watchers[usize::from(first == watchers[0])];
        reactor.disable(second, Interest::READ).unwrap();
        assert_eq!(reactor.next(), None);
        reactor.enable(second, Interest::READ).unwrap();
        reactor.wait(Some(Duration::ZERO)).unwrap();
        assert!(matches!(reactor.next(), Some(Event::Ready { watcher, .. }) if watcher == second));
        assert_eq!(reactor.next(), None);
    }

    fn r12_a_change_that_fails_at_the_flush_is_an_error_event_of_the_same_turn<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, _) = W::of(&mut event_loop).socketpair();
        let watcher = event_loop.watch(&one)
            .on_read(note::<W>("read")).on_write(note::<W>("write"))
            .on_error(|l: &mut LoopOf<W, Log>, watcher, ready| {
                assert!(ready.contains(Ready::ERROR));
                assert_eq!(l.watch_error(watcher), Some(Errno::EBADF));
                l.state.push("error");
            })
            .disabled(Interest::WRITE).start().unwrap();
        assert_eq!(event_loop.watch_error(watcher), None);
        W::of(&mut event_loop).close(one);
        event_loop.enable(watcher, Interest::WRITE).unwrap();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, ["error"], "and it did not wait");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["error"], "told once");
        assert!(event_loop.contains(watcher) && event_loop.cancel(watcher));
        finish::<W, _>(event_loop);
    }

    fn r12_a_failed_change_without_an_error_callback_calls_read_and_write<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, _) = W::of(&mut event_loop).socketpair();
        let watcher = event_loop.watch(&one)
            .on_read(note::<W>("read")).on_write(note::<W>("write"))
            .disabled(Interest::WRITE).start().unwrap();
        W::of(&mut event_loop).close(one);
        event_loop.enable(watcher, Interest::WRITE).unwrap();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.state, ["read", "write"]);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["read", "write"], "what is broken does not keep running");
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r12_a_broken_watcher_works_again_once_enabled_on_a_number_that_is_open_again<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, _) = W::of(&mut event_loop).pipe();
        let (other, writer) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&reader).edge().on_read(note::<W>("read")).start().unwrap();
        W::of(&mut event_loop).close(reader);
        event_loop.rearm(watcher).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"], "the failure");
        W::of(&mut event_loop).dup_to(other, reader);
        W::of(&mut event_loop).put(writer, b"x");
        event_loop.enable(watcher, Interest::READ).unwrap();
        assert_eq!(event_loop.watch_error(watcher), None);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"; 2]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }
}
