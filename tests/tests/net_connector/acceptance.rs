//! The acceptance list of the original's Connect, its defects, and what ends a run.
#![forbid(unsafe_code)]

use linux_event_tests::{LONG, MILLI};

use super::*;

linux_event_tests::net! {
    fn connect_01_what_is_no_target_is_refused<W>() {
        let mut event_loop = client::<W>();
        for target in [
            Target::from("localhost"),
            Target::from("localhost:http"),
            Target::from("localhost:65536"),
            Target::from("::1:80:"),
            Target::from(("", 80)),
            Target::from((" ", 80)),
        ] {
            assert_eq!(target, Target::Invalid);
            let refused = Connector::to(&mut event_loop, target).start(note::<W>).unwrap_err();
            assert!(matches!(refused, linux_event::Error::Loop(LoopError::Invalid(_))), "{refused}");
        }
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty());
        end::<W>(event_loop, &[]);
    }

    fn connect_02_a_refused_port_is_one_error<W>() {
        let mut event_loop = client::<W>();
        let address = nobody::<W>(&mut event_loop);
        let connector = Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
        assert!(connector.is_pending(&event_loop));
        let refused = outcome::<W>(&mut event_loop).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::ECONNREFUSED));
        let [failure] = refused.failures() else {
            panic!("one address was tried: {refused}");
        };
        assert_eq!((&failure.address, failure.call), (&Address::from(address), "connect"));
        assert!(!connector.is_pending(&event_loop) && !connector.cancel(&mut event_loop));
        end::<W>(event_loop, &[]);
    }

    fn connect_03_who_cancels_hears_nothing<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        let at_once = Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
        assert!(at_once.cancel(&mut event_loop));
        let (stalled, filler) = W::stalled(&mut event_loop, "127.0.0.1:0".parse().unwrap());
        let there = W::address(&mut event_loop, &stalled).internet().expect("TCP");
        let later = Connector::to(&mut event_loop, there).start(note::<W>).expect("room");
        settle::<W, _>(&mut event_loop);
        assert!(later.is_pending(&event_loop));
        assert!(later.cancel(&mut event_loop) && !later.cancel(&mut event_loop));
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty());
        drop(stalled);
        W::hang_up(&mut event_loop, filler);
        end::<W>(event_loop, &[listener]);
    }

    fn connect_04_a_connection_is_made_and_nothing_is_told_inside_the_call<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        Connector::to(&mut event_loop, address).no_delay(true).start(note::<W>).expect("room");
        assert!(event_loop.state.outcomes.is_empty(), "defect C2");
        let socket = outcome::<W>(&mut event_loop).expect("somebody listens");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.accepted.len() == 1);
        assert_eq!(socket.peer(&mut event_loop).expect("it is connected"), address.into());
        drop(socket);
        end::<W>(event_loop, &[listener]);
    }

    fn connect_05_after_success_no_timeout_comes<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        Connector::to(&mut event_loop, address).timeout(LONG).start(note::<W>).expect("room");
        drop(outcome::<W>(&mut event_loop).expect("somebody listens"));
        assert_eq!(event_loop.next_deadline(), None, "the timer is gone");
        event_loop.run_for(if W::IS_VIRTUAL { 2 * LONG } else { MILLI }).expect("turns");
        assert!(event_loop.state.outcomes.is_empty());
        end::<W>(event_loop, &[listener]);
    }

    fn connect_06_a_literal_in_brackets_needs_no_resolver<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        let unasked = |question: Question| panic!("asked for {}", question.host());
        Connector::to(&mut event_loop, (" [127.0.0.1] ", address.port()))
            .resolver(unasked)
            .start(note::<W>)
            .expect("room");
        drop(outcome::<W>(&mut event_loop).expect("somebody listens"));
        end::<W>(event_loop, &[listener]);
    }

    fn connect_07_a_unix_path<W>() {
        let mut event_loop = client::<W>();
        let path = W::socket_path();
        let listener = Listener::unix(&mut event_loop, &path)
            .start(|event_loop: &mut Client<W>, _, socket| event_loop.state.accepted.push(socket))
            .expect("a path");
        Connector::unix(&mut event_loop, &path).start(note::<W>).expect("room");
        assert!(event_loop.state.outcomes.is_empty());
        drop(outcome::<W>(&mut event_loop).expect("somebody listens"));
        end::<W>(event_loop, &[listener]);
    }

    fn connect_07_a_path_that_is_not_there<W>() {
        let mut event_loop = client::<W>();
        let path = W::socket_path();
        Connector::unix(&mut event_loop, &path).start(note::<W>).expect("room");
        let refused = outcome::<W>(&mut event_loop).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::ENOENT));
        Connector::unix(&mut event_loop, "x".repeat(108)).start(note::<W>).expect("room");
        let refused = outcome::<W>(&mut event_loop).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EINVAL), "{refused}");
        end::<W>(event_loop, &[]);
    }

    fn connect_08_an_address_of_the_other_family<W>() {
        let mut event_loop = client::<W>();
        let listening = Listener::tcp(&mut event_loop, "[::1]:0")
            .start(|event_loop: &mut Client<W>, _, socket| event_loop.state.accepted.push(socket));
        let Ok(listener) = listening else {
            eprintln!("nothing is tested: no IPv6 here");
            return;
        };
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let address = address.internet().expect("TCP");
        Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
        let socket = outcome::<W>(&mut event_loop).expect("somebody listens");
        assert_eq!(socket.peer(&mut event_loop).expect("connected"), address.into());
        drop(socket);
        end::<W>(event_loop, &[listener]);
    }

    fn connect_09_500_refused_at_once<W>() {
        let mut event_loop = client::<W>();
        let address = nobody::<W>(&mut event_loop);
        for _ in 0..500 {
            Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
        }
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.outcomes.len() == 500);
        settle::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.outcomes.len(), 500);
        assert!(event_loop.state.outcomes.iter().all(Result::is_err));
        end::<W>(event_loop, &[]);
    }

    fn connect_10_a_name_that_is_not_resolved<W>() {
        let mut event_loop = client::<W>();
        let failing = |question: Question| {
            assert_eq!((question.host(), question.port()), ("no such name", 80));
            question.answer(Err(std::io::Error::other("no such name")));
        };
        Connector::to(&mut event_loop, "no such name:80").resolver(failing).start(note::<W>).expect("room");
        assert!(event_loop.state.outcomes.is_empty(), "defect C2");
        let refused = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(refused, ConnectError::Resolve(_)), "{refused}");
        Connector::to(&mut event_loop, "empty:80").resolver(to(&[])).start(note::<W>).expect("room");
        let refused = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(refused, ConnectError::NoAddress), "{refused}");
        Connector::to(&mut event_loop, "dropped:80").resolver(drop).start(note::<W>).expect("room");
        let refused = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(refused, ConnectError::Resolve(_)), "{refused}");
        end::<W>(event_loop, &[]);
    }

    fn c1_after_success_nothing_is_registered_and_a_stream_takes_over<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
        let socket = outcome::<W>(&mut event_loop).expect("somebody listens");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.accepted.len() == 1);
        let events = event_loop.stats().events;
        settle::<W, _>(&mut event_loop);
        assert_eq!(event_loop.stats().events, events, "it can be written to, which nobody asks");
        let stream = Stream::over(&mut event_loop, socket).start().expect("room");
        stream.write(&mut event_loop, b"hello").expect("it is open");
        let accepted = event_loop.state.accepted.pop().expect("a connection");
        let peer = W::as_peer(&mut event_loop, accepted.into_inner());
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 5), b"hello");
        stream.close(&mut event_loop).expect("it is open");
        W::hang_up(&mut event_loop, peer);
        end::<W>(event_loop, &[listener]);
    }

    fn c1_after_failure_the_number_can_be_used_again<W>() {
        let mut event_loop = client::<W>();
        let address = nobody::<W>(&mut event_loop);
        for _ in 0..3 {
            Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
            assert!(outcome::<W>(&mut event_loop).is_err());
            // The lowest number that is free: the one that has just failed.
            let (ours, peer) = W::pair(&mut event_loop);
            let stream = Stream::over(&mut event_loop, ours).start().expect("its number is free");
            stream.write(&mut event_loop, b"hello").expect("it is open");
            assert_eq!(take::<W, _>(&mut event_loop, &peer, 5), b"hello");
            stream.close(&mut event_loop).expect("it is open");
            W::hang_up(&mut event_loop, peer);
        }
        end::<W>(event_loop, &[]);
    }

    fn r2_run_ends_when_the_last_that_was_seen_to_is_gone<W>() {
        let mut event_loop = client::<W>();
        let (ours, peer) = W::pair(&mut event_loop);
        let stream = Stream::over(&mut event_loop, ours).start().expect("room");
        event_loop.defer(move |event_loop| stream.close(event_loop));
        event_loop.run().expect("it ends");
        let address = nobody::<W>(&mut event_loop);
        let connector = Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
        assert!(connector.cancel(&mut event_loop));
        event_loop.run().expect("it ends");
        W::hang_up(&mut event_loop, peer);
        end::<W>(event_loop, &[]);
    }

    fn c2_whatever_is_known_at_once_is_told_in_a_later_turn<W>() {
        let mut event_loop = client::<W>();
        let refused = nobody::<W>(&mut event_loop);
        let path = W::socket_path();
        let listener = Listener::unix(&mut event_loop, &path)
            .start(|event_loop: &mut Client<W>, _, socket| event_loop.state.accepted.push(socket))
            .expect("a path");
        event_loop.defer(move |event_loop| {
            Connector::unix(event_loop, &path).start(note::<W>).expect("room");
            Connector::unix(event_loop, path.with_extension("none")).start(note::<W>).expect("room");
            Connector::to(event_loop, refused).start(note::<W>).expect("room");
            Connector::to(event_loop, "none:1").resolver(to(&[])).start(note::<W>).expect("room");
            assert!(event_loop.state.outcomes.is_empty());
        });
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty(), "not in the turn of the call");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.outcomes.len() == 4);
        settle::<W, _>(&mut event_loop);
        let outcomes = std::mem::take(&mut event_loop.state.outcomes);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert_eq!(outcomes.len(), 4);
        drop(outcomes);
        end::<W>(event_loop, &[listener]);
    }

    fn a_panic_of_the_outcome_leaves_nothing_behind<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        Connector::to(&mut event_loop, address)
            .start(|_, _| linux_event_tests::panic_quietly())
            .expect("room");
        let run = std::panic::AssertUnwindSafe(|| event_loop.run());
        assert!(std::panic::catch_unwind(run).is_err());
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.accepted.len() == 1);
        end::<W>(event_loop, &[listener]);
    }
}
