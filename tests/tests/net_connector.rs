//! Connecting, in every world: the acceptance list of the original's Connect by number, the rule K-1, and its defects.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use linux_event::LoopError;
use linux_event::core::errno::Errno;
use linux_event::net::{Address, ConnectError, Connector, Listener, Question, Socket, Target};
use linux_event_tests::both::{LoopOf, turn};
use linux_event_tests::net::{NetWorld, finish, settle, until};

/// What came of connecting.
type Outcome<W> = Result<Socket<<W as linux_event_tests::both::World>::Model>, ConnectError>;

/// What callbacks note.
struct Noted<W: NetWorld> {
    outcomes: Vec<Outcome<W>>,
    accepted: Vec<Socket<W::Model>>,
}

type Client<W> = LoopOf<W, Noted<W>>;

fn client<W: NetWorld>() -> Client<W> {
    W::looping(Noted {
        outcomes: Vec::new(),
        accepted: Vec::new(),
    })
}

/// A listener that keeps whom it accepts.
fn server<W: NetWorld>(event_loop: &mut Client<W>, at: &str) -> (Listener, SocketAddr) {
    let listener = Listener::tcp(event_loop, at)
        .start(|event_loop: &mut Client<W>, _, socket| event_loop.state.accepted.push(socket))
        .expect("a port");
    let address = listener.local_address(event_loop).expect("it listens");
    (listener, address.internet().expect("TCP"))
}

fn note<W: NetWorld>(event_loop: &mut Client<W>, outcome: Outcome<W>) {
    event_loop.state.outcomes.push(outcome);
}

/// Waits for an outcome, and sees that there is only one.
fn outcome<W: NetWorld>(event_loop: &mut Client<W>) -> Outcome<W> {
    until::<W, _>(event_loop, |event_loop| {
        !event_loop.state.outcomes.is_empty()
    });
    settle::<W, _>(event_loop);
    assert_eq!(event_loop.state.outcomes.len(), 1, "exactly one outcome");
    event_loop.state.outcomes.pop().expect("an outcome")
}

/// An address of this machine at which nobody listens.
fn nobody<W: NetWorld>(event_loop: &mut Client<W>) -> SocketAddr {
    let (listener, address) = server::<W>(event_loop, "127.0.0.1:0");
    listener.close(event_loop).expect("it is open");
    until::<W, _>(event_loop, |event_loop| !event_loop.is_live());
    address
}

/// Closes everything and ends the test.
fn end<W: NetWorld>(mut event_loop: Client<W>, listeners: &[Listener]) {
    event_loop.state.outcomes.clear();
    event_loop.state.accepted.clear();
    for listener in listeners {
        listener.close(&mut event_loop).expect("it is open");
    }
    until::<W, _>(&mut event_loop, |event_loop| {
        event_loop.state.accepted.clear();
        !event_loop.is_live()
    });
    finish::<W, _>(event_loop);
}

/// Resolves to these.
fn to(addresses: &[SocketAddr]) -> impl FnOnce(Question) + 'static {
    let addresses = addresses.to_vec();
    move |question| question.answer(Ok(addresses))
}

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
        assert!(matches!(&refused, ConnectError::Io { address: tried, .. } if *tried == Address::from(address)));
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
        let limit = Duration::from_millis(100);
        Connector::to(&mut event_loop, address).timeout(limit).start(note::<W>).expect("room");
        drop(outcome::<W>(&mut event_loop).expect("somebody listens"));
        assert_eq!(event_loop.next_deadline(), None, "the timer is gone");
        event_loop.run_for(2 * limit).expect("turns");
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

    fn k1_the_system_resolves_localhost_off_the_loop<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        // Where time is virtual a wait would pass all of it before the thread has answered.
        let target = ("localhost", address.port());
        Connector::to(&mut event_loop, target).timeout(Duration::from_secs(1_000_000)).start(note::<W>).expect("room");
        let begin = std::time::Instant::now();
        while event_loop.state.outcomes.is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(30), "no answer");
            turn::<W, _>(&mut event_loop);
            std::thread::yield_now();
        }
        drop(outcome::<W>(&mut event_loop).expect("localhost is 127.0.0.1"));
        end::<W>(event_loop, &[listener]);
    }

    fn k1_a_resolver_that_never_answers_runs_into_the_timeout<W>() {
        let mut event_loop = client::<W>();
        let kept = Rc::new(RefCell::new(None));
        let place = Rc::clone(&kept);
        let limit = Duration::from_millis(50);
        Connector::to(&mut event_loop, "example.org:80")
            .timeout(limit)
            .resolver(move |question| *place.borrow_mut() = Some(question))
            .start(note::<W>)
            .expect("room");
        let begin = event_loop.read_clock();
        event_loop.run().expect("it ends");
        assert!(event_loop.read_clock().since(begin) >= limit);
        let timed_out = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(timed_out, ConnectError::TimedOut));
        let question = kept.borrow_mut().take().expect("it was asked");
        question.answer(Ok(vec![([127, 0, 0, 1], 80).into()]));
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty(), "an answer that is too late reaches nobody");
        end::<W>(event_loop, &[]);
    }

    fn k1_cancelling_while_a_name_is_resolved_lets_the_loop_end<W>() {
        let mut event_loop = client::<W>();
        let kept = Rc::new(RefCell::new(None));
        let place = Rc::clone(&kept);
        let connector = Connector::to(&mut event_loop, "example.org:80")
            .resolver(move |question| *place.borrow_mut() = Some(question))
            .start(note::<W>)
            .expect("room");
        assert!(event_loop.is_live());
        assert!(connector.cancel(&mut event_loop));
        event_loop.run().expect("nothing is left");
        drop(kept);
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty());
        end::<W>(event_loop, &[]);
    }

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

    fn k1_one_timeout_for_all_addresses<W>() {
        let mut event_loop = client::<W>();
        let here = "127.0.0.1:0".parse().unwrap();
        let (one, first) = W::stalled(&mut event_loop, here);
        let (two, second) = W::stalled(&mut event_loop, here);
        let addresses = [&one, &two].map(|stalled| {
            W::address(&mut event_loop, stalled).internet().expect("TCP")
        });
        let limit = Duration::from_millis(60);
        Connector::to(&mut event_loop, "two:1")
            .resolver(to(&addresses))
            .attempt_delay(Duration::from_millis(10))
            .timeout(limit)
            .start(note::<W>)
            .expect("room");
        let begin = event_loop.read_clock();
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
