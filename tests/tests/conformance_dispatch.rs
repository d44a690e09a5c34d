//! what of a report reaches which callback, and in which order.

use linux_event::core::errno::Errno;
use linux_event::core::reactor::Event;
use linux_event::{Interest, Ready};
use linux_event_tests::{
    Log, LoopOf, Machine, World, conformance, finish, note, turn, waiting_turn,
};

/// Has the peer of `one` send the last bytes and reset: it goes with bytes unread.
fn reset_by_peer<W: World, S>(event_loop: &mut LoopOf<W, S>, one: W::File, peer: W::File) {
    let mut around = W::of(event_loop);
    around.put(one, b"unread");
    around.put(peer, b"final");
    around.close(peer);
}

conformance! {
    fn r3_the_order_is_error_read_write<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, peer) = W::of(&mut event_loop).socketpair();
        let watcher = event_loop.watch(&one)
            .on_write(note::<W>("write")).on_read(note::<W>("read")).on_error(note::<W>("error"))
            .start().unwrap();
        reset_by_peer::<W, _>(&mut event_loop, one, peer);
        waiting_turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["error", "read", "write"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r3_values_report_the_three_at_once<W>() {
        let mut reactor = W::values::<u32>();
        let (one, peer) = W::around(&mut reactor).socketpair();
        W::around(&mut reactor).put(one, b"unread");
        W::around(&mut reactor).close(peer);
        let all = Interest::READ | Interest::WRITE | Interest::ERROR;
        reactor.watch(one, all, 7).unwrap();
        reactor.wait(None).unwrap();
        let Some(Event::Ready { ready, data: 7, .. }) = reactor.next() else { panic!("no event") };
        assert_eq!(ready, Ready::READ | Ready::WRITE | Ready::ERROR | Ready::HANGUP);
        assert_eq!(reactor.next(), None, "one event");
    }

    fn r3_a_read_callback_that_cancels_suppresses_the_write<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        event_loop.watch(&one)
            .on_read(|l: &mut LoopOf<W, Log>, watcher, _| {
                l.state.push("read");
                assert!(l.cancel(watcher));
            })
            .on_write(note::<W>("write"))
            .start().unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"]);
        finish::<W, _>(event_loop);
    }

    fn r3_a_read_callback_that_disables_write_suppresses_it<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let watcher = event_loop.watch(&one)
            .on_read(|l: &mut LoopOf<W, Log>, watcher, _| {
                l.state.push("read");
                l.disable(watcher, Interest::WRITE).unwrap();
            })
            .on_write(note::<W>("write"))
            .start().unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r3_a_read_callback_that_replaces_its_watcher_suppresses_the_rest<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        event_loop.watch(&one)
            .on_read(move |l: &mut LoopOf<W, Log>, _, _| {
                l.state.push("old read");
                l.watch(&one).on_write(note::<W>("new write")).start().unwrap();
            })
            .on_write(note::<W>("old write"))
            .start().unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["old read"], "the new one hears of the next report");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["old read", "new write"]);
        assert!(event_loop.unwatch(&one));
        finish::<W, _>(event_loop);
    }

    fn r3_an_error_callback_that_cancels_suppresses_read_and_write<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, peer) = W::of(&mut event_loop).socketpair();
        event_loop.watch(&one)
            .on_error(|l: &mut LoopOf<W, Log>, watcher, _| {
                l.state.push("error");
                l.cancel(watcher);
            })
            .on_read(note::<W>("read")).on_write(note::<W>("write"))
            .start().unwrap();
        reset_by_peer::<W, _>(&mut event_loop, one, peer);
        waiting_turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["error"]);
        finish::<W, _>(event_loop);
    }

    fn r3_an_error_without_an_error_callback_is_readable_and_writable<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        while W::of(&mut event_loop).write(writer, &[0; 4096]).is_ok() {}
        let watcher = event_loop.watch(&writer).on_write(note::<W>("write")).start().unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty(), "full, and nothing wrong");
        W::of(&mut event_loop).close(reader);
        waiting_turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["write"], "to find EPIPE");
        assert_eq!(W::of(&mut event_loop).write(writer, b"x"), Err(Errno::EPIPE));
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r3_an_error_goes_to_the_error_callback_alone_when_nothing_else_is_ready<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        while W::of(&mut event_loop).write(writer, &[0; 4096]).is_ok() {}
        let watcher = event_loop.watch(&writer)
            .on_write(note::<W>("write")).on_error(note::<W>("error")).start().unwrap();
        W::of(&mut event_loop).close(reader);
        waiting_turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["error"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r3_a_hang_up_is_readable_so_that_the_end_is_seen<W>() {
        let mut event_loop = W::looping(Log::new());
        let (reader, writer) = W::of(&mut event_loop).pipe();
        event_loop.watch(&reader).on_read(move |l: &mut LoopOf<W, Log>, watcher, ready| {
            assert!(ready.contains(Ready::READ | Ready::HANGUP));
            assert_eq!(W::of(l).read(reader, &mut [0; 8]), Ok(0));
            l.state.push("end");
            l.cancel(watcher);
        }).start().unwrap();
        W::of(&mut event_loop).close(writer);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["end"]);
        finish::<W, _>(event_loop);
    }

    /// R5 of the reference: there, an error handler kept the last bytes from being offered.
    fn r3_the_final_bytes_before_a_reset_are_read_and_then_the_reset<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, peer) = W::of(&mut event_loop).socketpair();
        event_loop.watch(&one)
            .on_error(note::<W>("error"))
            .on_read(move |l: &mut LoopOf<W, Log>, watcher, _| {
                let mut buffer = [0; 16];
                let read = W::of(l).read(one, &mut buffer);
                match read {
                    Ok(5) => l.state.push("final"),
                    Err(Errno::ECONNRESET) => {
                        l.state.push("reset");
                        l.cancel(watcher);
                    }
                    other => panic!("{other:?}"),
                }
            })
            .start().unwrap();
        reset_by_peer::<W, _>(&mut event_loop, one, peer);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, ["error", "final", "error", "reset"]);
        finish::<W, _>(event_loop);
    }

    fn r3_read_closed_is_told_when_asked_for<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        let (two, plain) = W::of(&mut event_loop).socketpair();
        let push = |l: &mut LoopOf<W, Vec<Ready>>, watcher, ready| {
            l.state.push(ready);
            l.cancel(watcher);
        };
        event_loop.watch(&one).on_read(push).read_closed().start().unwrap();
        W::of(&mut event_loop).shutdown_write(other);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, [Ready::READ | Ready::READ_CLOSED]);

        event_loop.watch(&two).on_read(push).start().unwrap();
        W::of(&mut event_loop).shutdown_write(plain);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state[1], Ready::READ, "not asked for, not told");
        finish::<W, _>(event_loop);
    }

    fn r3_nothing_is_delivered_that_was_not_asked_for<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        let watcher = event_loop.watch(&one)
            .on_read(note::<W>("read")).on_write(note::<W>("write"))
            .disabled(Interest::WRITE).start().unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        W::of(&mut event_loop).put(other, b"x");
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read"]);
        event_loop.enable(watcher, Interest::WRITE).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["read", "read", "write"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r3_a_callback_that_clears_itself_is_dropped_when_it_returns<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let held = std::rc::Rc::new(());
        let captured = std::rc::Rc::clone(&held);
        let watcher = event_loop.watch(&one)
            .on_read(move |l: &mut LoopOf<W, Log>, watcher, _| {
                l.clear_callbacks(watcher, Interest::READ).unwrap();
                assert_eq!(std::rc::Rc::strong_count(&captured), 2, "it still runs");
            }).start().unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(std::rc::Rc::strong_count(&held), 1);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }

    fn r3_callbacks_can_be_replaced_and_cleared_also_from_inside<W>() {
        let mut event_loop = W::looping(Log::new());
        let (one, other) = W::of(&mut event_loop).socketpair();
        W::of(&mut event_loop).put(other, b"x");
        let watcher = event_loop.watch(&one)
            .on_read(|l: &mut LoopOf<W, Log>, watcher, _| {
                l.state.push("first");
                l.set_on_read(watcher, note::<W>("second")).unwrap();
            }).start().unwrap();
        turn::<W, _>(&mut event_loop);
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["first", "second"]);
        assert!(event_loop.enable(watcher, Interest::WRITE).is_err(), "there is no callback for it");
        event_loop.set_on_write(watcher, note::<W>("write")).unwrap();
        event_loop.clear_callbacks(watcher, Interest::READ).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["first", "second"], "setting one does not enable it");
        event_loop.enable(watcher, Interest::WRITE).unwrap();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state, ["first", "second", "write"]);
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }
}

/// The fake has no out-of-band bytes.
mod kernel {
    use super::{Log, LoopOf, Ready, finish};
    use linux_event_tests::{OnEpoll, libc_calls, run_in};
    use std::os::fd::AsRawFd;

    #[test]
    fn r3_priority_is_told_when_asked_for() {
        run_in::<OnEpoll>(|| {
            let mut event_loop = linux_event::Loop::reactor_with(Log::new()).unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            event_loop
                .watch(&server)
                .on_read(|l: &mut LoopOf<OnEpoll, Log>, watcher, ready| {
                    if ready.contains(Ready::PRIORITY) {
                        l.state.push("priority");
                        l.cancel(watcher);
                    }
                })
                .priority()
                .start()
                .unwrap();
            libc_calls::send_urgent(client.as_raw_fd(), b'!');
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, ["priority"]);
            finish::<OnEpoll, _>(event_loop);
        });
    }
}
