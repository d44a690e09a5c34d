//! Several addresses, and what may come of each; ends at every stage.
#![forbid(unsafe_code)]

use linux_event_tests::LONG;

use super::*;

linux_event_tests::net! {
    fn k1_a_failed_address_makes_way_for_the_next_at_once<W>() {
        let mut event_loop = client::<W>();
        let refused = nobody::<W>(&mut event_loop);
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        let refused = SocketAddr::new(refused.ip(), refused.port().wrapping_add(u16::from(refused.port() == address.port())));
        Connector::to(&mut event_loop, "two:1")
            .resolver(to(&[refused, refused, address]))
            .attempt_delay(Duration::from_secs(1_000_000))
            .timeout(Duration::from_secs(2_000_000))
            .start(note::<W>)
            .expect("room");
        let socket = outcome::<W>(&mut event_loop).expect("the last one listens");
        assert_eq!(socket.peer(&mut event_loop).expect("connected"), address.into());
        drop(socket);
        end::<W>(event_loop, &[listener]);
    }

    fn k1_an_address_of_a_family_that_does_not_answer_makes_way_for_the_other<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        // Whether there is IPv6 here or not, nobody listens.
        let [one, other] = ["[::1]:1", "[::1]:2"].map(|text| text.parse().expect("an address"));
        Connector::to(&mut event_loop, "three:1")
            .resolver(to(&[one, other, address]))
            .attempt_delay(Duration::from_secs(1_000_000))
            .timeout(Duration::from_secs(2_000_000))
            .start(note::<W>)
            .expect("room");
        let socket = outcome::<W>(&mut event_loop).expect("the other family's turn is the second");
        assert_eq!(socket.peer(&mut event_loop).expect("connected"), address.into());
        drop(socket);
        end::<W>(event_loop, &[listener]);
    }

    fn k1_without_room_for_a_timer_nothing_begins<W>() {
        let mut event_loop = client::<W>();
        let mut timers = Vec::new();
        while let Ok(timer) = event_loop.after(LONG, |_| ()) {
            timers.push(timer);
        }
        for target in [Target::from(([127, 0, 0, 1], 1)), Target::from("somewhere:1")] {
            let refused = Connector::to(&mut event_loop, target).start(note::<W>).unwrap_err();
            assert!(matches!(refused, linux_event::Error::Loop(LoopError::Full { .. })), "{refused}");
        }
        for timer in timers {
            assert!(event_loop.cancel(timer));
        }
        assert!(!event_loop.is_live());
        end::<W>(event_loop, &[]);
    }

    fn k1_an_address_that_stalls_is_overtaken_and_closed<W>() {
        let mut event_loop = client::<W>();
        let (stalled, filler) = W::stalled(&mut event_loop, "127.0.0.1:0".parse().unwrap());
        let slow = W::address(&mut event_loop, &stalled).internet().expect("TCP");
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        let delay = Duration::from_millis(40);
        let begin = event_loop.read_clock();
        Connector::to(&mut event_loop, "two:1")
            .resolver(to(&[slow, address]))
            .attempt_delay(delay)
            .start(note::<W>)
            .expect("room");
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(Some(Duration::from_secs(5))).expect("a turn");
        }
        assert!(event_loop.read_clock().since(begin) >= delay, "the first one gets its time");
        let socket = outcome::<W>(&mut event_loop).expect("the second one listens");
        assert_eq!(socket.peer(&mut event_loop).expect("connected"), address.into());
        drop(socket);
        drop(stalled);
        W::hang_up(&mut event_loop, filler);
        end::<W>(event_loop, &[listener]); // which sees that the loser is closed
    }

    fn k1_of_two_that_connect_in_a_turn_one_wins_and_the_other_is_closed<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        Connector::to(&mut event_loop, "two:1")
            .resolver(to(&[address, address]))
            .attempt_delay(Duration::ZERO)
            .start(note::<W>)
            .expect("room");
        let socket = outcome::<W>(&mut event_loop).expect("somebody listens");
        let local = socket.local(&mut event_loop).expect("connected");
        let is_there = |event_loop: &mut Client<W>| {
            let accepted = std::mem::take(&mut event_loop.state.accepted);
            let mut peers = accepted.iter().map(|accepted| accepted.peer(event_loop));
            peers.any(|peer| peer.is_ok_and(|peer| peer == local))
        };
        until::<W, _>(&mut event_loop, is_there);
        drop(socket);
        end::<W>(event_loop, &[listener]); // which sees that the other is closed
    }

    fn k1_a_hundred_addresses_that_fail_are_a_hundred_failures_in_order<W>() {
        let mut event_loop = client::<W>();
        let refused = nobody::<W>(&mut event_loop);
        let addresses: Vec<SocketAddr> = (1..=100)
            .map(|host| SocketAddr::new([127, 0, 1, host].into(), refused.port()))
            .collect();
        Connector::to(&mut event_loop, "hundred:1")
            .resolver(to(&addresses))
            .attempt_delay(Duration::from_secs(1_000_000))
            .timeout(Duration::from_secs(2_000_000))
            .start(note::<W>)
            .expect("room");
        let failed = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(failed, ConnectError::Failed(_)), "{failed}");
        let tried = failed.failures().iter().map(|failure| failure.address.clone());
        assert!(tried.eq(addresses.into_iter().map(Address::from)), "{failed}");
        assert!(failed.failures().iter().all(|failure| failure.errno == Errno::ECONNREFUSED));
        end::<W>(event_loop, &[]);
    }

    fn k1_no_more_than_sixteen_are_tried_at_a_time<W>() {
        let mut event_loop = client::<W>();
        let (stalled, filler) = W::stalled(&mut event_loop, "127.0.0.1:0".parse().unwrap());
        let slow = W::address(&mut event_loop, &stalled).internet().expect("TCP");
        // The reactor wants one for its timers.
        W::limit_descriptors(&mut event_loop, Some(16 + 4));
        Connector::to(&mut event_loop, "hundred:1")
            .resolver(to(&[slow; 100]))
            .attempt_delay(Duration::ZERO)
            .timeout(Duration::from_millis(30))
            .start(note::<W>)
            .expect("room");
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(Some(Duration::from_secs(5))).expect("a turn");
        }
        let timed_out = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(timed_out, ConnectError::TimedOut(_)), "{timed_out}");
        assert!(timed_out.failures().is_empty(), "there are descriptors enough: {timed_out}");
        W::limit_descriptors(&mut event_loop, None);
        drop(stalled);
        W::hang_up(&mut event_loop, filler);
        end::<W>(event_loop, &[]);
    }

    fn k1_without_descriptors_it_is_said_so_and_later_it_works<W>() {
        let mut event_loop = client::<W>();
        let listening = W::listening(&mut event_loop);
        let address = W::address(&mut event_loop, &listening).internet().expect("TCP");
        W::limit_descriptors(&mut event_loop, Some(0));
        Connector::to(&mut event_loop, "two:1")
            .resolver(to(&[address, address]))
            .start(note::<W>)
            .expect("room");
        let failed = outcome::<W>(&mut event_loop).unwrap_err();
        let failures = failed.failures().iter().map(|failure| (failure.call, failure.errno));
        assert!(failures.eq([("socket", Errno::EMFILE); 2]), "{failed}");
        W::limit_descriptors(&mut event_loop, None);
        Connector::to(&mut event_loop, address).start(note::<W>).expect("room");
        drop(outcome::<W>(&mut event_loop).expect("somebody listens"));
        drop(listening);
        end::<W>(event_loop, &[]);
    }

    fn k1_while_another_is_under_way_descriptors_are_waited_for<W>() {
        let mut event_loop = client::<W>();
        let (stalled, filler) = W::stalled(&mut event_loop, "127.0.0.1:0".parse().unwrap());
        let slow = W::address(&mut event_loop, &stalled).internet().expect("TCP");
        let listening = W::listening(&mut event_loop);
        let address = W::address(&mut event_loop, &listening).internet().expect("TCP");
        let delay = Duration::from_millis(20);
        // What the loop opens for itself, it has by now: a wakeup for the answer, and where the kernel wants one, a timer.
        let timer = event_loop.after(LONG, |_| ()).expect("room");
        event_loop.waker().expect("a wakeup").wake();
        event_loop.run_once(None).expect("it is woken");
        assert!(event_loop.cancel(timer));
        W::limit_descriptors(&mut event_loop, Some(1));
        Connector::to(&mut event_loop, "two:1")
            .resolver(to(&[slow, address]))
            .attempt_delay(delay)
            .start(note::<W>)
            .expect("room");
        event_loop.run_for(3 * delay).expect("turns");
        assert!(event_loop.state.outcomes.is_empty(), "it still has the first one: {:?}", event_loop.state.outcomes);
        W::limit_descriptors(&mut event_loop, None);
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(Some(Duration::from_secs(5))).expect("a turn");
        }
        let socket = outcome::<W>(&mut event_loop).expect("the second one listens");
        assert_eq!(socket.peer(&mut event_loop).expect("connected"), address.into());
        drop((socket, listening, stalled));
        W::hang_up(&mut event_loop, filler);
        end::<W>(event_loop, &[]);
    }

    fn k1_the_local_address_is_the_one_asked_for_or_it_fails<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "0.0.0.0:0");
        let to_here = SocketAddr::new([127, 0, 0, 1].into(), address.port());
        Connector::to(&mut event_loop, to_here).bind(([127, 0, 0, 2], 0)).start(note::<W>).expect("room");
        let socket = outcome::<W>(&mut event_loop).expect("somebody listens");
        let local = socket.local(&mut event_loop).expect("connected");
        assert_eq!(local.internet().expect("TCP").ip().to_string(), "127.0.0.2");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.accepted.len() == 1);
        let accepted = event_loop.state.accepted.pop().expect("a connection");
        assert_eq!(accepted.peer(&mut event_loop).expect("connected"), local);
        drop((socket, accepted));
        let other: SocketAddr = "[::1]:0".parse().expect("an address");
        Connector::to(&mut event_loop, to_here).bind(other).start(note::<W>).expect("room");
        let failed = outcome::<W>(&mut event_loop).unwrap_err();
        assert_eq!(failed.failures()[0].call, "bind", "{failed}");
        end::<W>(event_loop, &[listener]);
    }

    fn k1_a_socket_that_is_connected_to_itself_is_refused<W>() {
        let mut event_loop = client::<W>();
        let address = nobody::<W>(&mut event_loop);
        Connector::to(&mut event_loop, address).bind(address).start(note::<W>).expect("room");
        let refused = outcome::<W>(&mut event_loop).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::ECONNREFUSED), "{refused}");
        end::<W>(event_loop, &[]);
    }

    fn k1_a_unix_backlog_that_is_full_is_waited_for<W>() {
        let mut event_loop = client::<W>();
        let path = W::socket_path();
        let (listener, filler) = full::<W>(&mut event_loop, &path);
        Connector::unix(&mut event_loop, &path).start(note::<W>).expect("room");
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty());
        listener.resume(&mut event_loop).expect("it is open");
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(None).expect("a turn");
        }
        drop(outcome::<W>(&mut event_loop).expect("there is room now"));
        W::hang_up(&mut event_loop, filler);
        end::<W>(event_loop, &[listener]);
    }

    fn k1_a_unix_backlog_that_stays_full_runs_into_the_timeout_or_is_cancelled<W>() {
        let mut event_loop = client::<W>();
        let path = W::socket_path();
        let (listener, filler) = full::<W>(&mut event_loop, &path);
        let limit = Duration::from_millis(30);
        Connector::unix(&mut event_loop, &path).timeout(limit).start(note::<W>).expect("room");
        let cancelled = Connector::unix(&mut event_loop, &path).start(note::<W>).expect("room");
        settle::<W, _>(&mut event_loop);
        assert!(cancelled.cancel(&mut event_loop));
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(Some(Duration::from_secs(5))).expect("a turn");
        }
        let timed_out = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(timed_out, ConnectError::TimedOut(_)), "{timed_out}");
        W::hang_up(&mut event_loop, filler);
        end::<W>(event_loop, &[listener]);
    }

    fn k1_cancelled_at_any_stage_it_leaves_nothing<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        let mut told = 0;
        for turns in 0..12 {
            let connector = Connector::to(&mut event_loop, "somewhere:1")
                .resolver(to(&[address]))
                .start(note::<W>)
                .expect("room");
            for _ in 0..turns {
                turn::<W, _>(&mut event_loop);
            }
            let is_told = event_loop.state.outcomes.len() > told;
            assert_eq!(connector.is_pending(&event_loop), !is_told);
            assert_eq!(connector.cancel(&mut event_loop), !is_told);
            assert!(!connector.cancel(&mut event_loop));
            settle::<W, _>(&mut event_loop);
            told += usize::from(is_told);
            assert_eq!(event_loop.state.outcomes.len(), told, "cancelled after {turns} turns");
        }
        assert!((1..12).contains(&told), "some were cancelled, some were not: {told}");
        end::<W>(event_loop, &[listener]);
    }

    fn k1_a_callback_cancels_another_whose_outcome_is_due<W>() {
        let mut event_loop = client::<W>();
        let address = nobody::<W>(&mut event_loop);
        let handles = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..2 {
            let others = Rc::clone(&handles);
            let connector = Connector::to(&mut event_loop, address).start(
                move |event_loop: &mut Client<W>, outcome| {
                    event_loop.state.outcomes.push(outcome);
                    for other in others.take() {
                        let _: bool = Connector::cancel(other, event_loop);
                    }
                },
            );
            handles.borrow_mut().push(connector.expect("room"));
        }
        assert!(outcome::<W>(&mut event_loop).is_err(), "and the other says nothing");
        end::<W>(event_loop, &[]);
    }

    fn k1_a_loop_that_goes_meanwhile_lets_everything_go<W>() {
        let mut event_loop = client::<W>();
        let kept = Rc::new(RefCell::new(None));
        let place = Rc::clone(&kept);
        let (stalled, filler) = W::stalled(&mut event_loop, "127.0.0.1:0".parse().unwrap());
        let slow = W::address(&mut event_loop, &stalled).internet().expect("TCP");
        let path = W::socket_path();
        let (listener, unix_filler) = full::<W>(&mut event_loop, &path);
        let never = note::<W>;
        Connector::to(&mut event_loop, "example.org:80")
            .resolver(move |question| *place.borrow_mut() = Some(question))
            .start(never)
            .expect("room");
        Connector::to(&mut event_loop, slow).start(never).expect("room");
        Connector::unix(&mut event_loop, &path).start(never).expect("room");
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty());
        W::hang_up(&mut event_loop, filler);
        W::hang_up(&mut event_loop, unix_filler);
        listener.close(&mut event_loop).expect("it is open");
        drop((event_loop, stalled)); // the descriptors are counted when the test is over
        let question: Question = kept.borrow_mut().take().expect("it was asked");
        assert!(!question.is_wanted());
        question.answer(Ok(vec![slow]));
    }

    fn k1_what_has_connected_by_the_time_that_a_busy_loop_looks_is_in_time<W>() {
        if W::IS_VIRTUAL {
            return; // time goes by in turns there
        }
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        settle::<W, _>(&mut event_loop);
        let limit = Duration::from_millis(200);
        Connector::to(&mut event_loop, address).timeout(limit).start(note::<W>).expect("room");
        // It is seen to after the connector, which has begun by then: a callback that takes long.
        let (ours, theirs) = W::pair(&mut event_loop);
        let stream = Stream::over(&mut event_loop, ours)
            .on_close(move |_, _| std::thread::sleep(2 * limit))
            .start()
            .expect("room");
        stream.close(&mut event_loop).expect("it is open");
        let connected = outcome::<W>(&mut event_loop);
        assert!(connected.is_ok(), "{connected:?}");
        drop(connected);
        W::hang_up(&mut event_loop, theirs);
        end::<W>(event_loop, &[listener]);
    }

    fn k1_one_timeout_for_all_addresses<W>() {
        let mut event_loop = client::<W>();
        let here = "127.0.0.1:0".parse().unwrap();
        let (one, first) = W::stalled(&mut event_loop, here);
        let (two, second) = W::stalled(&mut event_loop, here);
        let addresses = [&one, &two].map(|stalled| {
            W::address(&mut event_loop, stalled).internet().expect("TCP")
        });
        let limit = Duration::from_millis(60);
        let begin = event_loop.read_clock();
        Connector::to(&mut event_loop, "two:1")
            .resolver(to(&addresses))
            .attempt_delay(Duration::from_millis(10))
            .timeout(limit)
            .start(note::<W>)
            .expect("room");
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(Some(Duration::from_secs(5))).expect("a turn");
        }
        let timed_out = outcome::<W>(&mut event_loop).unwrap_err();
        assert_eq!(timed_out.errno(), Some(Errno::ETIMEDOUT));
        assert!(event_loop.read_clock().since(begin) >= limit);
        drop((one, two));
        W::hang_up(&mut event_loop, first);
        W::hang_up(&mut event_loop, second);
        end::<W>(event_loop, &[]);
    }
}

#[test]
fn p15_a_loser_is_closed_also_where_there_is_no_room_for_the_operation() {
    type W = linux_event_tests::proactor::OnFake;
    let mut event_loop = client::<W>();
    let (stalled, filler) = W::stalled(&mut event_loop, "127.0.0.1:0".parse().unwrap());
    let slow = W::address(&mut event_loop, &stalled);
    let slow = slow.internet().expect("TCP");
    let connectors = [(); 2].map(|()| {
        let connector = Connector::to(&mut event_loop, slow).start(note::<W>);
        connector.expect("room")
    });
    settle::<W, _>(&mut event_loop);
    assert_eq!(event_loop.file_count(), 2);
    while event_loop.nop(|_, _| ()).is_ok() {}
    for connector in connectors {
        assert!(connector.cancel(&mut event_loop));
    }
    until::<W, _>(&mut event_loop, |event_loop| !event_loop.is_live());
    assert_eq!(event_loop.file_count(), 0, "the losers are closed");
    drop(stalled);
    W::hang_up(&mut event_loop, filler);
    end::<W>(event_loop, &[]);
}
