//! G-1 to G-4: what both models do always: fork (in the fake; see `fork.rs`), embedding, deferred calls, statistics.

use std::os::fd::AsFd;
use std::time::Duration;

use linux_event::core::reactor::{Event, Interest};
use linux_event::fake::Fake;
use linux_event::{Epoll, Loop, LoopError, Reactor, Signal};
use linux_event_tests::{
    File, LONG, Log, LoopOf, MILLI, Machine, OnEpoll, OnFake, World, conformance, finish, note,
    run_in, turn,
};

/// What asks nothing of descriptors.
mod of_both_models {
    use linux_event_tests::both::{LoopOf, finish};
    use linux_event_tests::{Log, both};

    both! {
        fn g2_deferred_calls_run_in_the_next_turn_in_order<W>() {
            let mut event_loop = W::looping(Log::new());
            event_loop.defer(|l: &mut LoopOf<W, Log>| {
                l.state.push("first");
                l.defer(|l| l.state.push("later"));
            });
            event_loop.defer(|l| l.state.push("second"));
            assert!(event_loop.state.is_empty() && event_loop.is_live());
            event_loop.run_once(None).unwrap();
            assert_eq!(event_loop.state, ["first", "second"]);
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, ["first", "second", "later"]);
            finish::<W, _>(event_loop);
        }

        fn g2_stop_and_errors_in_a_deferred_call_keep_the_others<W>() {
            let mut event_loop = W::looping(Log::new());
            event_loop.defer(|l: &mut LoopOf<W, Log>| { l.state.push("stops"); l.stop(); });
            event_loop.defer(|_| Err("fails"));
            event_loop.defer(|l| l.state.push("last"));
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, ["stops"]);
            assert!(event_loop.run().is_err());
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, ["stops", "last"]);
            finish::<W, _>(event_loop);
        }
    }
}

conformance! {
    fn g2_callbacks_share_the_state<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        event_loop.watch(&reader).on_read(|l: &mut LoopOf<W, Log>, watcher, _| {
            l.state.push("watcher");
            l.cancel(watcher);
        }).start().unwrap();
        event_loop.after(Duration::ZERO, move |l| { l.state.push("timer"); W::of(l).put(writer, b"x"); }).unwrap();
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["timer", "watcher"]);
        finish::<W, _>(event_loop);
    }

    fn g3_statistics_count_turns_waits_changes_and_events<W>() {
        let mut event_loop = W::looping(Log::new());
        let before = event_loop.stats();
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).on_read(note::<W>("read")).start().unwrap();
        event_loop.after(Duration::ZERO, |_| ()).unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        event_loop.cancel(watcher);
        let after = event_loop.stats();
        assert_eq!(after.turns - before.turns, 2);
        assert_eq!(after.waits - before.waits, 2);
        assert_eq!(after.events - before.events, 3);
        assert_eq!(after.controls - before.controls, 2, "added and removed");
        assert_eq!((after.stale, after.rebuilds), (0, 0));
        finish::<W, _>(event_loop);
    }
}

/// Every call that G-1 names, which must all be refused.
fn everything_is_forked<B: linux_event::LoopBackend, S>(
    event_loop: &mut Loop<Reactor<B>, S>,
    source: &impl linux_event::Source<B>,
) {
    let watcher = event_loop.watcher_of(source).unwrap();
    let results = [
        event_loop.run_once(Some(Duration::ZERO)),
        event_loop.run_for(MILLI),
        event_loop.run(),
        event_loop.after(MILLI, |_| ()).map(drop),
        event_loop.at(linux_event::Instant::ZERO, |_| ()).map(drop),
        event_loop.every(MILLI, |_, _| ()).map(drop),
        event_loop.signal(Signal::USR1, |_, _| ()).map(drop),
        event_loop.pid(1, |_, _| ()).map(drop),
        event_loop
            .watch(source)
            .on_read(|_, _, _| ())
            .start()
            .map(drop),
        event_loop.enable(watcher, Interest::READ),
        event_loop.disable(watcher, Interest::READ),
        event_loop.rearm(watcher),
    ];
    for (number, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap_err(), LoopError::Forked, "call {number}");
    }
    assert!(!event_loop.cancel(watcher) && !event_loop.unwatch(source));
}

#[test]
fn g1_in_a_forked_child_the_backend_is_not_touched() {
    let mut event_loop = Loop::fake_reactor_with(Log::new());
    let (reader, writer) = event_loop.fake_mut().pipe().unwrap();
    event_loop.fake_mut().write(writer, b"x").unwrap();
    let watcher = event_loop
        .watch(&reader)
        .on_read(note::<OnFake>("read"))
        .start()
        .unwrap();
    let timer = event_loop.after(LONG, |_| ()).unwrap();
    event_loop.fake_mut().set_owner(false);
    everything_is_forked(&mut event_loop, &reader);
    assert!(!event_loop.cancel(timer));
    assert_eq!(event_loop.fake().touched_in_child(), &[] as &[&str]);

    event_loop.fake_mut().set_owner(true); // the parent goes on
    turn::<OnFake, _>(&mut event_loop);
    assert_eq!(event_loop.state, ["read"]);
    assert!(event_loop.cancel(watcher) && event_loop.cancel(timer));
    finish::<OnFake, _>(event_loop);
}

#[test]
fn g1_values_fetched_before_the_fork_are_not_resolved_in_the_child() {
    let mut reactor = OnFake::values::<u32>();
    reactor.signal(Signal::USR1, 1).unwrap();
    reactor.after(Duration::ZERO, 2).unwrap();
    reactor.backend_mut().raise(Signal::USR1);
    reactor.wait(None).unwrap();
    reactor.backend_mut().set_owner(false);
    assert_eq!(reactor.next(), None);
    assert_eq!(reactor.backend().touched_in_child(), &[] as &[&str]);
    assert_eq!(reactor.prepare(), Err(LoopError::Forked));
    reactor.backend_mut().set_owner(true);
    reactor.wait(None).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Timer { data: 2, .. })));
}

#[test]
fn r1_eintr_ends_the_wait_empty() {
    let mut event_loop = Loop::fake_reactor_with(Log::new());
    let (reader, writer) = event_loop.fake_mut().pipe().unwrap();
    event_loop.fake_mut().write(writer, b"x").unwrap();
    let watcher = event_loop
        .watch(&reader)
        .on_read(note::<OnFake>("read"))
        .start()
        .unwrap();
    event_loop.fake_mut().interrupt_next_wait();
    event_loop.run_once(None).unwrap();
    assert!(event_loop.state.is_empty());
    event_loop.run_once(None).unwrap();
    assert_eq!(event_loop.state, ["read"]);
    event_loop.cancel(watcher);
    finish::<OnFake, _>(event_loop);
}

#[test]
fn g2_a_fake_loop_inside_another_is_readable_at_its_first_deadline() {
    let mut reactor: linux_event::core::reactor::Reactor<u32, 4, 4, Fake> =
        linux_event::core::reactor::Reactor::new(Fake::new());
    reactor.after(LONG, 7).unwrap();
    reactor.prepare().unwrap();
    assert_eq!(reactor.backend().armed(), reactor.next_deadline());
    assert!(!reactor.backend_mut().is_readable());
    reactor.backend_mut().advance(LONG);
    assert!(reactor.backend_mut().is_readable());
    reactor.wait(Some(Duration::ZERO)).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Timer { data: 7, .. })));
}

/// Notes that something can be read, once.
fn note_once(event_loop: &mut LoopOf<OnEpoll, Log>, reader: File) {
    event_loop
        .watch(&reader)
        .on_read(|l: &mut LoopOf<OnEpoll, Log>, watcher, _| {
            l.state.push("read");
            l.cancel(watcher);
        })
        .start()
        .unwrap();
}

/// An outer loop whose state is the inner one, which it runs when the inner one's descriptor is readable.
fn embed(inner: Loop<Reactor<Epoll>, Log>) -> Loop<Reactor<Epoll>, Loop<Reactor<Epoll>, Log>> {
    let mut outer = Loop::reactor_with(inner).unwrap();
    outer.state.prepare().unwrap();
    let fd = outer.state.as_fd().try_clone_to_owned().unwrap();
    outer
        .watch(&fd)
        .on_read(
            move |outer: &mut Loop<_, Loop<Reactor<Epoll>, Log>>, watcher, _| {
                let _held = &fd;
                outer.state.run_once(Some(Duration::ZERO)).unwrap();
                if outer.state.is_live() {
                    outer.state.prepare().unwrap();
                } else {
                    outer.cancel(watcher);
                }
            },
        )
        .start()
        .unwrap();
    outer
}

#[test]
fn g2_a_loop_inside_another_runs_its_watchers_timers_and_deferred_calls() {
    run_in::<OnEpoll>(|| {
        let mut inner = Loop::reactor_with(Log::new()).unwrap();
        let (reader, writer) = OnEpoll::of(&mut inner).pipe();
        note_once(&mut inner, reader);
        inner
            .after(MILLI, move |l| {
                l.state.push("timer");
                OnEpoll::of(l).put(writer, b"x");
                l.defer(|l| l.state.push("deferred"));
            })
            .unwrap();
        let mut outer = embed(inner);
        outer.run().unwrap();
        outer.state.state.sort_unstable();
        assert_eq!(outer.state.state, ["deferred", "read", "timer"]);
        finish::<OnEpoll, _>(outer);
    });
}

#[test]
fn g2_a_loop_inside_another_makes_it_wait_for_its_deadline() {
    run_in::<OnEpoll>(|| {
        let mut inner = Loop::reactor_with(Log::new()).unwrap();
        inner.after(MILLI * 3, |l| l.state.push("timer")).unwrap();
        let mut outer = embed(inner);
        outer.run().unwrap();
        assert_eq!(outer.state.state, ["timer"]);
        assert!(outer.stats().waits <= 2, "{} waits", outer.stats().waits);
        finish::<OnEpoll, _>(outer);
    });
}

/// Its interest list is another one by then, in an epoll instance that the outer loop was never told of.
#[test]
fn g2_r5_a_loop_inside_another_is_heard_after_a_duplicate_outlived_what_it_watched() {
    run_in::<OnEpoll>(|| {
        let mut inner = Loop::reactor_with(Log::new()).unwrap();
        inner.after(LONG, |_| ()).unwrap(); // it stays live
        let (orphaned, other_end) = OnEpoll::of(&mut inner).pipe();
        let watcher = inner
            .watch(&orphaned)
            .on_read(|_, _, _| ())
            .start()
            .unwrap();
        let mut outer = embed(inner);
        OnEpoll::of(&mut outer.state).dup(orphaned);
        OnEpoll::of(&mut outer.state).close(orphaned);
        outer.state.cancel(watcher);
        OnEpoll::of(&mut outer.state).put(other_end, b"x");
        outer.run_once(Some(LONG)).unwrap(); // it is told of what nobody watches, and is rid of it
        assert_eq!(outer.state.stats().rebuilds, 1);
        let turns = outer.state.stats().turns;
        outer.run_once(Some(Duration::ZERO)).unwrap();
        assert_eq!(outer.state.stats().turns, turns, "nothing more is heard");

        let (reader, writer) = OnEpoll::of(&mut outer.state).pipe();
        note_once(&mut outer.state, reader);
        outer.state.prepare().unwrap();
        OnEpoll::of(&mut outer.state).put(writer, b"x");
        outer.run_once(Some(LONG)).unwrap();
        assert_eq!(outer.state.state, ["read"]);
    });
}
