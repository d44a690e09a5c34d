//! descriptors closed while a duplicate lives on, whose registrations the kernel keeps and can't be asked to end
//! by number (`epoll(7)`, Questions and answers 6).

use linux_event::{Interest, LoopError};
use linux_event_tests::{
    Log, LoopOf, Machine, World, conformance, finish, note, turn, turns_cut_short,
};

/// Closes a watched, readable descriptor of which a duplicate lives on, and cancels its watcher: an orphan. Returns
/// the number, which is closed.
fn make_orphan<W: World>(event_loop: &mut LoopOf<W, Log>) -> W::File {
    let (reader, writer) = W::of(event_loop).pipe();
    let orphan = event_loop
        .watch(&reader)
        .on_read(note::<W>("orphan"))
        .start()
        .unwrap();
    W::of(event_loop).dup(reader);
    W::of(event_loop).close(reader);
    W::of(event_loop).put(writer, b"x");
    assert!(event_loop.cancel(orphan));
    reader
}

conformance! {
    fn r5_an_orphan_does_not_spin_and_is_got_rid_of_by_one_rebuild<W>() {
        let mut event_loop = W::looping(Log::new());
        make_orphan::<W>(&mut event_loop);
        let cut_short = turns_cut_short::<W, _>(&mut event_loop);
        assert!(cut_short <= 2, "{cut_short} of 20 turns");
        assert_eq!((event_loop.stats().rebuilds, event_loop.stats().stale), (1, 1));
        assert!(event_loop.state.is_empty());
        finish::<W, _>(event_loop);
    }

    fn r5_an_orphan_whose_number_is_watched_again_leaves_the_new_watcher_alone<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        let old = event_loop.watch(&reader).on_read(note::<W>("orphan")).start().unwrap();
        W::of(&mut event_loop).dup(reader);
        let (other, other_writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).reuse(reader, other);
        let new = event_loop.watch(&reader).on_read(note::<W>("new")).start().unwrap();
        assert!(!event_loop.contains(old));
        W::of(&mut event_loop).put(writer, b"x");
        let cut_short = turns_cut_short::<W, _>(&mut event_loop);
        assert!(cut_short <= 2, "{cut_short} of 20 turns");
        assert_eq!(event_loop.stats().rebuilds, 1);
        assert!(event_loop.state.is_empty());
        W::of(&mut event_loop).put(other_writer, b"x");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["new"]);
        event_loop.cancel(new);
        finish::<W, _>(event_loop);
    }

    fn r5_an_orphan_whose_number_is_another_watchers_is_not_ended_by_that_number<W>() {
        let mut event_loop = W::looping(Log::new());
        let number = make_orphan::<W>(&mut event_loop);
        let (other, writer) = W::of(&mut event_loop).pipe();
        if other != number {
            W::of(&mut event_loop).dup_to(other, number);
        }
        let new = event_loop.watch(&number).on_read(note::<W>("new")).start().unwrap();
        for _ in 0..20 {
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.stats().rebuilds, 1);
        W::of(&mut event_loop).put(writer, b"x");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["new"]);
        event_loop.cancel(new);
        finish::<W, _>(event_loop);
    }

    fn r5_an_orphan_in_a_slot_that_is_in_use_again_is_got_rid_of<W>() {
        let mut event_loop = W::looping(Log::new());
        make_orphan::<W>(&mut event_loop);
        let (other, writer) = W::of(&mut event_loop).pipe();
        let new = event_loop.watch(&other).on_read(note::<W>("other")).start().unwrap();
        let cut_short = turns_cut_short::<W, _>(&mut event_loop);
        assert!(cut_short <= 2, "{cut_short} of 20 turns");
        assert_eq!(event_loop.stats().rebuilds, 1);
        W::of(&mut event_loop).put(writer, b"x");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["other"]);
        event_loop.cancel(new);
        finish::<W, _>(event_loop);
    }

    /// The slot changes hands in every batch, so that no stale report proves an orphan by itself.
    fn r5_an_orphan_whose_slot_is_in_steady_use_is_got_rid_of_in_the_end<W>() {
        let mut event_loop = W::looping(Log::new());
        make_orphan::<W>(&mut event_loop);
        let (other, _) = W::of(&mut event_loop).pipe();
        for _ in 0..40 {
            event_loop.defer(move |l: &mut LoopOf<W, Log>| {
                let watcher = l.watch(&other).on_read(note::<W>("other")).start().unwrap();
                l.cancel(watcher);
            });
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.stats().rebuilds, 1);
        let stale = event_loop.stats().stale;
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.stats().stale, stale, "it is gone");
        finish::<W, _>(event_loop);
    }

    fn r5_a_rebuild_keeps_edges_oneshots_signals_and_wakers_working<W>() {
        let mut event_loop = W::looping(Log::new());
        let (edge, edge_writer) = W::of(&mut event_loop).pipe();
        let (once, once_writer) = W::of(&mut event_loop).pipe();
        let (spent, spent_writer) = W::of(&mut event_loop).pipe();
        let edge = event_loop.watch(&edge).edge().on_read(note::<W>("edge")).start().unwrap();
        let once = event_loop.watch(&once).oneshot().on_read(note::<W>("once")).start().unwrap();
        let spent = event_loop.watch(&spent).oneshot().on_read(note::<W>("spent")).start().unwrap();
        W::of(&mut event_loop).put(spent_writer, b"x");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["spent"]);
        let signals = event_loop.signal("USR1", |l: &mut LoopOf<W, Log>, _| l.state.push("signal")).unwrap();
        let waker = event_loop.waker().unwrap();
        event_loop.on_wake(|l, _| l.state.push("wake"));

        make_orphan::<W>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.stats().rebuilds, 1);
        assert_eq!(event_loop.state, ["spent"], "a oneshot that was spent stays spent");

        W::of(&mut event_loop).put(edge_writer, b"x");
        W::of(&mut event_loop).put(once_writer, b"x");
        W::of(&mut event_loop).raise(linux_event::Signal::USR1);
        waker.wake();
        for _ in 0..3 {
            turn::<W, _>(&mut event_loop);
        }
        event_loop.state.sort_unstable();
        assert_eq!(event_loop.state, ["edge", "once", "signal", "spent", "wake"]);
        event_loop.rearm(spent).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.len(), 6, "and can be armed again");

        drop(waker);
        for handle in [edge.handle(), once.handle(), spent.handle(), signals.handle()] {
            assert!(event_loop.cancel(handle));
        }
        finish::<W, _>(event_loop);
    }

    fn r5_a_spent_oneshot_ends_no_wait_after_a_rebuild<W>() {
        let mut event_loop = W::looping(Log::new());
        let (spent, writer) = W::of(&mut event_loop).pipe();
        let spent = event_loop.watch(&spent).oneshot().on_read(note::<W>("spent")).start().unwrap();
        W::of(&mut event_loop).put(writer, b"x");
        turn::<W, _>(&mut event_loop);
        make_orphan::<W>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.stats().rebuilds, 0, "the next turn begins with it");
        assert_eq!(turns_cut_short::<W, _>(&mut event_loop), 0);
        assert_eq!((event_loop.stats().rebuilds, event_loop.state.len()), (1, 1));
        event_loop.cancel(spent);
        finish::<W, _>(event_loop);
    }

    fn r5_a_rebuild_carries_no_number_over_that_is_another_file_by_now<W>() {
        let mut event_loop = W::looping(Log::new());
        let (gone, _) = W::of(&mut event_loop).pipe();
        let watcher = event_loop.watch(&gone).on_read(note::<W>("gone")).start().unwrap();
        let (other, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).reuse(gone, other);
        W::of(&mut event_loop).put(writer, b"x");
        make_orphan::<W>(&mut event_loop);
        for _ in 0..4 {
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.stats().rebuilds, 1);
        assert!(event_loop.state.is_empty());
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r5_a_disabled_watcher_stays_disabled_over_a_rebuild<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).on_read(note::<W>("read"))
            .disabled(Interest::READ).start().unwrap();
        make_orphan::<W>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.stats().rebuilds, 1);
        assert!(event_loop.state.is_empty());
        event_loop.enable(watcher, Interest::READ).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"]);
        assert!(event_loop.cancel(watcher));
        assert_eq!(event_loop.enable(watcher, Interest::READ).unwrap_err(), LoopError::Stale);
        finish::<W, _>(event_loop);
    }
}
