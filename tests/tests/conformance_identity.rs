//! what a watcher is, when descriptors are replaced, closed and numbered again.

use linux_event::core::reactor::Event;
use linux_event::{Interest, LoopError};
use linux_event_tests::{Log, LoopOf, Machine, conformance, finish, note, turn};

conformance! {
    fn r4_watching_again_replaces_the_watcher_with_one_change<W>() {
        let mut reactor = W::values::<u32>();
        let (reader, writer) = W::around(&mut reactor).pipe();
        W::around(&mut reactor).put(writer, b"x");
        let old = reactor.watch(reader, Interest::READ, 1).unwrap();
        assert_eq!(reactor.stats().controls, 1);
        let new = reactor.watch(reader, Interest::READ, 2).unwrap();
        assert_eq!(reactor.stats().controls, 2, "one EPOLL_CTL_MOD");
        assert_eq!(reactor.live(), 1);
        assert_eq!(reactor.watcher_of(reader), Some(new));

        assert!(!reactor.contains(old) && !reactor.cancel(old));
        assert_eq!(reactor.enable(old, Interest::WRITE), Err(LoopError::Stale));
        assert_eq!(reactor.disable(old, Interest::READ), Err(LoopError::Stale));
        assert_eq!(reactor.rearm(old), Err(LoopError::Stale));
        assert_eq!((reactor.interest(old), reactor.data(old)), (None, None));
        assert!(!reactor.set_data(old, 9) && !reactor.set_counted(old, false));

        reactor.wait(None).unwrap();
        assert!(matches!(reactor.next(), Some(Event::Ready { watcher, data: 2, .. }) if watcher == new));
        assert_eq!(reactor.next(), None);
        assert!(reactor.cancel(new) && !reactor.cancel(new));
        assert_eq!(reactor.live(), 0);
    }

    fn r4_the_old_handle_is_inert_for_a_loop_too<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let old = event_loop.watch(&reader).on_read(note::<W>("old")).start().unwrap();
        let new = event_loop.watch(&reader).on_read(note::<W>("new")).start().unwrap();
        assert!(!event_loop.cancel(old));
        assert_eq!(event_loop.enable(old, Interest::READ).unwrap_err(), LoopError::Stale);
        assert_eq!(event_loop.set_on_read(old, note::<W>("old")).unwrap_err(), LoopError::Stale);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["new"]);
        assert_eq!(event_loop.watcher_of(&reader), Some(new));
        assert!(event_loop.unwatch(&reader) && !event_loop.unwatch(&reader));
        assert!(!event_loop.cancel(new));
        finish::<W, _>(event_loop);
    }

    fn r4_a_replaced_watchers_callbacks_are_dropped_at_once<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, _) = W::of(&mut event_loop).pipe();
        let held = std::rc::Rc::new(());
        let kept = held.clone();
        event_loop.watch(&reader).on_read(move |_, _, _| drop(kept.clone())).start().unwrap();
        event_loop.watch(&reader).on_read(note::<W>("new")).start().unwrap();
        assert_eq!(std::rc::Rc::strong_count(&held), 1);
        let kept = held.clone();
        event_loop.watch(&reader).on_read(move |_, _, _| drop(kept.clone())).start().unwrap();
        event_loop.unwatch(&reader);
        assert_eq!(std::rc::Rc::strong_count(&held), 1);
        finish::<W, _>(event_loop);
    }

    fn r4_a_replacement_that_is_refused_for_its_form_leaves_the_old_watcher_working<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let old = event_loop.watch(&reader).on_read(note::<W>("old")).start().unwrap();
        assert!(event_loop.watch(&reader).exclusive().oneshot().on_read(note::<W>("new")).start().is_err());
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["old"]);
        assert!(event_loop.cancel(old));
        finish::<W, _>(event_loop);
    }

    fn r5_a_closed_fds_watcher_never_fires_for_who_has_its_number_now<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, _) = W::of(&mut event_loop).pipe();
        let old = event_loop.watch(&reader).on_read(note::<W>("old")).start().unwrap();
        let (other, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).reuse(reader, other);
        W::of(&mut event_loop).put(writer, b"x");
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        assert!(event_loop.cancel(old));
        finish::<W, _>(event_loop);
    }

    /// R1 of the reference: there, it died of "fd already watched".
    fn r5_reused_fd_is_watched_again<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, _) = W::of(&mut event_loop).pipe();
        let old = event_loop.watch(&reader).on_read(note::<W>("old")).start().unwrap();
        let (other, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).reuse(reader, other);
        let new = event_loop.watch(&reader).on_read(note::<W>("new")).start().unwrap();
        W::of(&mut event_loop).put(writer, b"x");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["new"]);
        assert!(!event_loop.cancel(old) && event_loop.cancel(new));
        finish::<W, _>(event_loop);
    }

    fn r5_reuse_leaks_no_slot<W>() {
        let mut reactor = W::values::<u32>();
        let (reader, _) = W::around(&mut reactor).pipe();
        for round in 0..200 {
            reactor.watch(reader, Interest::READ, round).expect("64 slots are enough for one number");
            let (other, writer) = W::around(&mut reactor).pipe();
            W::around(&mut reactor).reuse(reader, other);
            reactor.wait(Some(std::time::Duration::ZERO)).unwrap();
            assert_eq!(reactor.next(), None);
            W::around(&mut reactor).close(writer);
        }
        assert_eq!(reactor.live(), 1);
    }

    fn r5_cancelling_after_the_number_went_to_another_watched_file_spares_that_one<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let old = event_loop.watch(&reader).on_read(note::<W>("old")).start().unwrap();
        let (other, _) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).reuse(reader, other);
        W::of(&mut event_loop).close(writer);
        let new = event_loop.watch(&reader).on_read(note::<W>("new")).start().unwrap();
        assert!(!event_loop.cancel(old));
        assert!(event_loop.contains(new));
        event_loop.cancel(new);
        finish::<W, _>(event_loop);
    }

    fn r6_fetched_events_of_a_cancelled_watcher_are_dropped<W>() {
        let mut event_loop = W::looping((0, Vec::new()));
        let (one, other) = W::of(&mut event_loop).socketpair();
        for file in [one, other] {
            W::of(&mut event_loop).put(file, b"x");
            let watcher = event_loop.watch(&file).on_read(|l: &mut LoopOf<W, (u32, Vec<_>)>, watcher, _| {
                l.state.0 += 1;
                for other in std::mem::take(&mut l.state.1) {
                    assert!(l.cancel(other), "{watcher:?} ends both");
                }
            }).start().unwrap();
            event_loop.state.1.push(watcher);
        }
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.0, 1, "whichever came first ended the other");
        finish::<W, _>(event_loop);
    }

    fn r6_a_fetched_event_never_reaches_who_got_the_slot_in_the_same_batch<W>() {
        let mut reactor = W::values::<u32>();
        let (one, other) = W::around(&mut reactor).socketpair();
        let (quiet, _) = W::around(&mut reactor).pipe();
        W::around(&mut reactor).put(one, b"x");
        W::around(&mut reactor).put(other, b"x");
        let watchers = [one, other].map(|file| reactor.watch(file, Interest::READ, 1).unwrap());
        reactor.wait(None).unwrap();
        let Some(Event::Ready { watcher: first, .. }) = reactor.next() else { panic!("no event") };
        let second = watchers[usize::from(first == watchers[0])];
        assert!(reactor.cancel(second));
        let heir = reactor.watch(quiet, Interest::READ, 2).unwrap();
        assert_eq!(heir.index(), second.index(), "the slot is used again");
        assert_ne!(heir, second);
        assert_eq!(reactor.next(), None);
        assert_eq!(reactor.stats().stale, 1);
        assert_eq!(reactor.stats().rebuilds, 0, "no orphan: the event was older than the cancel");
        reactor.wait(Some(std::time::Duration::ZERO)).unwrap();
        assert!(matches!(reactor.next(), Some(Event::Ready { watcher, .. }) if watcher == first));
        assert_eq!((reactor.next(), reactor.stats().rebuilds), (None, 0));
    }

    fn r6_a_fetched_event_never_reaches_who_got_the_number_in_the_same_batch<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        for (file, twin) in [(one, other), (other, one)] {
            W::of(&mut event_loop).put(file, b"x");
            event_loop.watch(&file).edge().on_read(move |l: &mut LoopOf<W, Log>, _, _| {
                l.state.push("old");
                let (quiet, _) = W::of(l).pipe();
                W::of(l).reuse(twin, quiet);
                l.watch(&twin).on_read(note::<W>("new")).start().unwrap();
            }).start().unwrap();
        }
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["old"]);
        assert!(event_loop.unwatch(&one) && event_loop.unwatch(&other));
        finish::<W, _>(event_loop);
    }

    fn r6_a_fetched_event_of_a_replaced_watcher_is_dropped_and_reported_to_the_new_one<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        for (file, twin) in [(one, other), (other, one)] {
            W::of(&mut event_loop).put(file, b"x");
            event_loop.watch(&file).edge().on_read(move |l: &mut LoopOf<W, Log>, _, _| {
                l.state.push("old");
                l.watch(&twin).edge().on_read(note::<W>("new")).start().unwrap();
            }).start().unwrap();
        }
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["old"]);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["old", "new"], "what is there is reported anew");
        assert!(event_loop.unwatch(&one) && event_loop.unwatch(&other));
        finish::<W, _>(event_loop);
    }

    fn r6_handles_of_one_loop_are_stale_in_another<W>() {
        let mut one = W::values::<u32>();
        let mut other = W::values::<u32>();
        let (mine, _) = W::around(&mut one).pipe();
        let (theirs, _) = W::around(&mut other).pipe();
        let watcher = one.watch(mine, Interest::READ, 1).unwrap();
        other.watch(theirs, Interest::READ, 1).unwrap();
        let timer = one.after(linux_event_tests::LONG, 1).unwrap();
        other.after(linux_event_tests::LONG, 1).unwrap();
        assert!(!other.cancel(watcher) && !other.cancel(timer));
        assert_eq!(other.live(), 2);
    }
}
