//! Listeners, in every world: the acceptance list of the original's Listen by number, the rules L-1 to L-4, and its defects.
#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event::LoopError;
use linux_event::core::errno::Errno;
use linux_event::net::{Address, ListenError, Listener, Socket, Stream};
use linux_event_tests::both::{LoopOf, turn, waiting_turn};
use linux_event_tests::libc_calls;
use linux_event_tests::net::{NetWorld, connect, finish, put, settle, soon, take, until};

const HERE: &str = "127.0.0.1:0";

/// What callbacks note.
#[derive(Default)]
struct Noted<W: NetWorld> {
    sockets: Vec<Socket<W::Model>>,
    errors: Vec<ListenError>,
}

type Server<W> = LoopOf<W, Noted<W>>;

fn server<W: NetWorld>() -> Server<W> {
    W::looping(Noted {
        sockets: Vec::new(),
        errors: Vec::new(),
    })
}

fn keep<W: NetWorld>(event_loop: &mut Server<W>, _: Listener, socket: Socket<W::Model>) {
    event_loop.state.sockets.push(socket);
}

/// A listener that keeps whom it accepts, and where it is.
fn keeping<W: NetWorld>(event_loop: &mut Server<W>) -> (Listener, Address) {
    let listener = Listener::tcp(event_loop, HERE)
        .start(keep::<W>)
        .expect("a port");
    let address = listener.local_address(event_loop).expect("it listens");
    (listener, address)
}

fn accepted<W: NetWorld>(event_loop: &mut Server<W>) -> usize {
    event_loop.state.sockets.len()
}

/// Closes everything and ends the test.
fn end<W: NetWorld>(mut event_loop: Server<W>, listener: Listener, peers: Vec<W::Peer>) {
    event_loop.state.sockets.clear();
    for peer in peers {
        W::hang_up(&mut event_loop, peer);
    }
    if listener.is_open(&event_loop) {
        listener.close(&mut event_loop).expect("it is open");
    }
    finish::<W, _>(event_loop);
}

/// Lets so many clients come, of whom none can be accepted: there is no descriptor to be had from here on.
fn without_descriptors<W: NetWorld>(
    event_loop: &mut Server<W>,
    listener: Listener,
    clients: usize,
) -> Vec<W::Peer> {
    let address = listener.local_address(event_loop).expect("it listens");
    // A ring looks at the limit when the operation is submitted.
    listener.pause(event_loop).expect("it is open");
    let peers = (0..clients)
        .map(|_| connect::<W, _>(event_loop, &address))
        .collect();
    settle::<W, _>(event_loop);
    // What the loop opens for itself it has by then: to wait for a while, an old kernel wants a timerfd.
    soon::<W, _>(event_loop);
    W::limit_descriptors(event_loop, Some(0));
    listener.resume(event_loop).expect("it is open");
    peers
}

linux_event_tests::net! {
    fn listen_00_a_listener_that_nobody_asks_for_anything_opens_and_closes<W>() {
        let mut event_loop = server::<W>();
        let (listener, _) = keeping::<W>(&mut event_loop);
        assert!(listener.is_open(&event_loop) && !listener.is_paused(&event_loop));
        end::<W>(event_loop, listener, Vec::new());
    }

    fn listen_01_a_tcp_listener_reports_its_port_and_accepts_a_client_once<W>() {
        let mut event_loop = server::<W>();
        let (listener, address) = keeping::<W>(&mut event_loop);
        assert_ne!(address.internet().expect("TCP").port(), 0);
        let peer = connect::<W, _>(&mut event_loop, &address);
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) > 0);
        settle::<W, _>(&mut event_loop);
        assert_eq!(accepted::<W>(&mut event_loop), 1);
        let socket = event_loop.state.sockets.pop().expect("it was accepted");
        let from = socket.peer(&mut event_loop).expect("it is connected");
        assert!(from.internet().is_some_and(|from| from.is_ipv4() && from.port() != 0));
        assert_eq!(socket.local(&mut event_loop).expect("a socket"), address);
        drop(socket);
        end::<W>(event_loop, listener, vec![peer]);
    }

    fn l1_a_wildcard_listener_takes_ipv4<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, "*:0").start(keep::<W>).expect("a port");
        let any = listener.local_address(&mut event_loop).expect("it listens");
        let port = any.internet().expect("TCP").port();
        let peer = connect::<W, _>(&mut event_loop, &Address::Internet(([127, 0, 0, 1], port).into()));
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        end::<W>(event_loop, listener, vec![peer]);
    }

    fn l1_what_is_no_address_is_refused<W>() {
        let mut event_loop = server::<W>();
        for text in ["localhost:80", "127.0.0.1", "*:x", ""] {
            let refused = Listener::tcp(&mut event_loop, text).start(keep::<W>).unwrap_err();
            assert!(matches!(refused, linux_event::Error::Loop(LoopError::Invalid(_))), "{refused}");
        }
        let (listener, address) = keeping::<W>(&mut event_loop);
        let taken = address.internet().expect("TCP");
        let refused = Listener::tcp(&mut event_loop, taken).start(keep::<W>).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EADDRINUSE));
        end::<W>(event_loop, listener, Vec::new());
    }

    fn listen_02_more_clients_than_a_turn_tells_of_are_all_accepted<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .max_accept_per_turn(3)
            .start(keep::<W>)
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peers: Vec<_> = (0..10).map(|_| connect::<W, _>(&mut event_loop, &address)).collect();
        let mut before = 0;
        until::<W, _>(&mut event_loop, |event_loop| {
            let now = accepted::<W>(event_loop);
            assert!(now - before <= 3, "a turn told of {}", now - before);
            before = now;
            now == 10
        });
        end::<W>(event_loop, listener, peers);
    }

    fn l2_defect_l5_a_backlog_longer_than_the_limit_of_a_turn_is_not_stranded<W>() {
        let mut event_loop = server::<W>();
        let (listener, address) = keeping::<W>(&mut event_loop);
        let peers: Vec<_> = (0..200).map(|_| connect::<W, _>(&mut event_loop, &address)).collect();
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 200);
        end::<W>(event_loop, listener, peers);
    }

    fn l2_who_comes_faster_than_a_turn_tells_of_is_left_to_the_backlog<W>() {
        if !W::IS_VIRTUAL {
            return; // to connect to a full backlog waits there
        }
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .backlog(7)
            .max_accept_per_turn(1)
            .start(keep::<W>)
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let (mut peers, mut most) = (Vec::new(), 0);
        for _ in 0..100 {
            for _ in 0..4 {
                peers.extend(W::try_connect(&mut event_loop, &address));
            }
            turn::<W, _>(&mut event_loop);
            most = most.max(peers.len() - accepted::<W>(&mut event_loop));
        }
        assert!((7..=16).contains(&most), "{most} wait: eight in the backlog, and what was there when a ring looked");
        let all = peers.len();
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == all);
        end::<W>(event_loop, listener, peers);
    }

    fn listen_03_who_connects_while_it_is_paused_is_accepted_after_resume<W>() {
        let mut event_loop = server::<W>();
        let (listener, address) = keeping::<W>(&mut event_loop);
        assert!(!listener.is_paused(&event_loop));
        settle::<W, _>(&mut event_loop); // it accepts by now
        listener.pause(&mut event_loop).expect("it is open");
        assert!(listener.is_paused(&event_loop));
        settle::<W, _>(&mut event_loop);
        let peer = connect::<W, _>(&mut event_loop, &address);
        settle::<W, _>(&mut event_loop);
        assert_eq!(accepted::<W>(&mut event_loop), 0);
        listener.resume(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        assert!(!listener.is_paused(&event_loop));
        end::<W>(event_loop, listener, vec![peer]);
    }

    fn l4_pausing_in_the_callback_loses_nobody<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .start(|event_loop, listener, socket| {
                event_loop.state.sockets.push(socket);
                listener.pause(event_loop)
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peers: Vec<_> = (0..5).map(|_| connect::<W, _>(&mut event_loop, &address)).collect();
        for count in 1..=5 {
            until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == count);
            settle::<W, _>(&mut event_loop);
            assert_eq!(accepted::<W>(&mut event_loop), count, "it is paused");
            listener.resume(&mut event_loop).expect("it is open");
        }
        end::<W>(event_loop, listener, peers);
    }

    fn l4_closing_in_the_callback_loses_nobody_who_was_accepted<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .start(|event_loop, listener, socket| {
                event_loop.state.sockets.push(socket);
                if listener.is_open(event_loop) {
                    listener.close(event_loop)?;
                }
                assert!(listener.pause(event_loop).is_err(), "the handle is stale");
                Ok::<(), linux_event::Error>(())
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peers: Vec<_> = (0..5).map(|_| connect::<W, _>(&mut event_loop, &address)).collect();
        until::<W, _>(&mut event_loop, |event_loop| !event_loop.is_live());
        // Whoever was not accepted sees a reset or the end, whoever was is served.
        let sockets = std::mem::take(&mut event_loop.state.sockets);
        let count = sockets.len();
        assert!(count >= 1);
        for socket in sockets {
            let stream = Stream::over(&mut event_loop, socket).start().expect("room");
            stream.write(&mut event_loop, b"x").expect("it is open");
            stream.close_after_drain(&mut event_loop).expect("it is open");
        }
        let served = peers.iter().filter(|peer| {
            let mut buffer = [0];
            loop {
                match W::receive(&mut event_loop, peer, &mut buffer) {
                    Ok(count) => return count == 1,
                    Err(Errno::EAGAIN) => turn::<W, _>(&mut event_loop),
                    Err(_) => return false,
                }
            }
        });
        assert_eq!(served.count(), count);
        end::<W>(event_loop, listener, peers);
    }

    fn listen_04_an_adopted_socket_accepts_and_its_duplicate_stays_open<W>() {
        let mut event_loop = server::<W>();
        let ours = W::listening(&mut event_loop);
        let kept = W::duplicate(&mut event_loop, &ours);
        let address = W::address(&mut event_loop, &kept);
        let listener = Listener::adopt(&mut event_loop, ours).start(keep::<W>).expect("it listens");
        assert_eq!(listener.local_address(&mut event_loop).expect("it listens"), address);
        let peer = connect::<W, _>(&mut event_loop, &address);
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        listener.close(&mut event_loop).expect("it is open");
        settle::<W, _>(&mut event_loop);
        assert_eq!(W::address(&mut event_loop, &kept), address, "it is still open");
        let late = W::try_connect(&mut event_loop, &address).expect("it still listens");
        drop(kept);
        end::<W>(event_loop, listener, vec![peer, late]);
    }

    fn l1_a_socket_that_does_not_listen_is_no_listener<W>() {
        let mut event_loop = server::<W>();
        let (ours, theirs) = W::pair(&mut event_loop);
        let refused = Listener::adopt(&mut event_loop, ours).start(keep::<W>).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EINVAL));
        W::hang_up(&mut event_loop, theirs);
        finish::<W, _>(event_loop);
    }

    fn listen_05_what_accepting_returns_goes_to_on_error_and_accepting_goes_on<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .on_error(|event_loop, _, error| event_loop.state.errors.push(error))
            .start(|event_loop: &mut Server<W>, _, socket| {
                event_loop.state.sockets.push(socket);
                match event_loop.state.sockets.len() {
                    1 => Err("on purpose"),
                    _ => Ok(()),
                }
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peers = vec![
            connect::<W, _>(&mut event_loop, &address),
            connect::<W, _>(&mut event_loop, &address),
        ];
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 2);
        assert!(matches!(&event_loop.state.errors[..], [ListenError::Callback(error)] if error.to_string() == "on purpose"));
        end::<W>(event_loop, listener, peers);
    }

    fn listen_05_without_on_error_it_stops_the_loop<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .start(|_, _, _| Err::<(), _>("on purpose"))
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peer = connect::<W, _>(&mut event_loop, &address);
        let stopped = event_loop.run().unwrap_err();
        assert!(matches!(&stopped, linux_event::Error::Callback(error) if error.to_string() == "on purpose"));
        end::<W>(event_loop, listener, vec![peer]);
    }

    fn a_panic_of_accepting_ends_the_listener_and_nothing_else<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .start(|_, _, _| linux_event_tests::panic_quietly())
            .expect("a port");
        let (other, there) = keeping::<W>(&mut event_loop);
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peer = connect::<W, _>(&mut event_loop, &address);
        let run = std::panic::AssertUnwindSafe(|| event_loop.run());
        assert!(std::panic::catch_unwind(run).is_err());
        assert!(!listener.is_open(&event_loop));
        let again = connect::<W, _>(&mut event_loop, &there);
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        end::<W>(event_loop, other, vec![peer, again]);
    }

    fn listen_06_a_unix_listener_makes_its_path_and_takes_it_away<W>() {
        let mut event_loop = server::<W>();
        let path = W::socket_path();
        let listener = Listener::unix(&mut event_loop, &path).unlink(true).start(keep::<W>).expect("a path");
        assert!(W::exists(&mut event_loop, &path));
        let address = listener.local_address(&mut event_loop).expect("it listens");
        assert_eq!(address, Address::Unix(path.clone()));
        let peer = connect::<W, _>(&mut event_loop, &address);
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        let socket = event_loop.state.sockets.pop().expect("it was accepted");
        let from = socket.peer(&mut event_loop).expect("it is connected");
        assert_eq!(from, Address::Unix("".into()), "a client has no path");
        drop(socket);
        listener.close(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| !event_loop.is_live());
        assert!(!W::exists(&mut event_loop, &path));
        end::<W>(event_loop, listener, vec![peer]);
    }

    fn l1_what_is_no_socket_is_not_unlinked<W>() {
        let mut event_loop = server::<W>();
        let path = W::socket_path();
        W::occupy(&mut event_loop, &path);
        let refused = Listener::unix(&mut event_loop, &path).unlink(true).start(keep::<W>).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EEXIST));
        let refused = Listener::unix(&mut event_loop, &path).start(keep::<W>).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EADDRINUSE));
        assert!(W::exists(&mut event_loop, &path));
        finish::<W, _>(event_loop);
        let _ = std::fs::remove_file(&path);
    }

    fn l1_a_path_that_was_left_is_taken_over<W>() {
        let mut event_loop = server::<W>();
        let path = W::socket_path();
        let left = Listener::unix(&mut event_loop, &path).unlink_on_close(false).start(keep::<W>).expect("a path");
        left.close(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| !event_loop.is_live());
        assert!(W::exists(&mut event_loop, &path));
        let listener = Listener::unix(&mut event_loop, &path).unlink(true).start(keep::<W>).expect("a path");
        let peer = connect::<W, _>(&mut event_loop, &Address::Unix(path.clone()));
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        end::<W>(event_loop, listener, vec![peer]);
    }

    fn l1_a_path_that_another_has_taken_over_is_left_to_it<W>() {
        let mut event_loop = server::<W>();
        let path = W::socket_path();
        let one = Listener::unix(&mut event_loop, &path).start(keep::<W>).expect("a path");
        let other = Listener::unix(&mut event_loop, &path).unlink(true).start(keep::<W>).expect("a path");
        one.close(&mut event_loop).expect("it is open");
        settle::<W, _>(&mut event_loop);
        let peer = connect::<W, _>(&mut event_loop, &Address::Unix(path.clone()));
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        other.close(&mut event_loop).expect("it is open");
        settle::<W, _>(&mut event_loop);
        assert!(!W::exists(&mut event_loop, &path), "its own it takes away");
        end::<W>(event_loop, other, vec![peer]);
    }

    fn l1_a_path_goes_with_its_loop_and_stays_when_a_forked_child_drops_it<W>() {
        if W::IS_VIRTUAL {
            return; // its paths are in the loop
        }
        let mut event_loop = Some(server::<W>());
        let path = W::socket_path();
        if let Some(event_loop) = &mut event_loop {
            Listener::unix(event_loop, &path).start(keep::<W>).expect("a path");
        }
        let child = libc_calls::in_forked_child(|| drop(event_loop.take()));
        assert!(child.success() && path.exists());
        drop(event_loop.take());
        assert!(!path.exists());
    }

    fn listen_07_closing_twice_is_refused_and_does_nothing<W>() {
        let mut event_loop = server::<W>();
        let (listener, address) = keeping::<W>(&mut event_loop);
        assert!(listener.is_open(&event_loop));
        listener.close(&mut event_loop).expect("it is open");
        assert!(!listener.is_open(&event_loop));
        let stale = listener.close(&mut event_loop).unwrap_err();
        assert!(matches!(stale, linux_event::Error::Loop(LoopError::Stale)));
        until::<W, _>(&mut event_loop, |event_loop| !event_loop.is_live());
        assert_eq!(W::try_connect(&mut event_loop, &address).err(), Some(Errno::ECONNREFUSED));
        let (other, _) = keeping::<W>(&mut event_loop);
        assert!(listener.resume(&mut event_loop).is_err() && !listener.is_open(&event_loop));
        end::<W>(event_loop, other, Vec::new());
    }

    fn l3_without_descriptors_it_pauses_and_tells_once<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .on_error(|event_loop, listener, error| {
                assert!(listener.is_paused(event_loop), "paused before it is told");
                event_loop.state.errors.push(error);
            })
            .start(keep::<W>)
            .expect("a port");
        let peers = without_descriptors::<W>(&mut event_loop, listener, 3);
        until::<W, _>(&mut event_loop, |event_loop| !event_loop.state.errors.is_empty());
        settle::<W, _>(&mut event_loop);
        assert!(matches!(event_loop.state.errors[..], [ListenError::Exhausted(Errno::EMFILE)]));
        W::limit_descriptors(&mut event_loop, None);
        settle::<W, _>(&mut event_loop);
        let before = accepted::<W>(&mut event_loop);
        assert!(before < 3, "somebody was not accepted");
        listener.resume(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 3);
        assert_eq!(event_loop.state.errors.len(), 1);
        end::<W>(event_loop, listener, peers);
    }

    fn l3_resuming_at_once_tries_again_in_the_next_turn_when_what_was_closed_is<W>() {
        let mut event_loop = server::<W>();
        // A stream to give up for whoever comes.
        let (ours, theirs) = W::pair(&mut event_loop);
        let idle = Stream::over(&mut event_loop, ours).start().expect("room");
        let listener = Listener::tcp(&mut event_loop, HERE)
            .on_error(move |event_loop, listener, error| {
                event_loop.state.errors.push(error);
                assert!(event_loop.state.errors.len() < 100, "it spins within a turn");
                let _ = idle.close(event_loop);
                listener.resume(event_loop)
            })
            .start(keep::<W>)
            .expect("a port");
        let peers = without_descriptors::<W>(&mut event_loop, listener, 1);
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        assert!(!idle.is_open(&event_loop));
        assert!(event_loop.state.errors.len() <= 4, "{:?}", event_loop.state.errors);
        W::limit_descriptors(&mut event_loop, None);
        W::hang_up(&mut event_loop, theirs);
        end::<W>(event_loop, listener, peers);
    }

    fn l3_a_pause_for_want_of_descriptors_ends_by_itself_if_it_is_to<W>() {
        let mut event_loop = server::<W>();
        // Nobody is told: the loop goes on.
        let listener = Listener::tcp(&mut event_loop, HERE)
            .retry_after(Duration::from_millis(5))
            .start(keep::<W>)
            .expect("a port");
        let peers = without_descriptors::<W>(&mut event_loop, listener, 3);
        until::<W, _>(&mut event_loop, |event_loop| listener.is_paused(event_loop));
        assert!(event_loop.is_live(), "it goes on, and keeps the loop running meanwhile");
        let turns = event_loop.stats().turns;
        event_loop.run_for(Duration::from_millis(20)).expect("it goes on");
        let turns = event_loop.stats().turns - turns;
        assert!(turns <= 40, "it does not spin: {turns} turns");
        assert_eq!(accepted::<W>(&mut event_loop), 0);
        W::limit_descriptors(&mut event_loop, None);
        while accepted::<W>(&mut event_loop) < 3 {
            waiting_turn::<W, _>(&mut event_loop);
        }
        end::<W>(event_loop, listener, peers);
    }

    fn l3_who_pauses_a_listener_resumes_it<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .retry_after(Duration::from_millis(1))
            .on_error(|event_loop, listener, error| {
                event_loop.state.errors.push(error);
                listener.pause(event_loop) // for good, and not for a millisecond
            })
            .start(keep::<W>)
            .expect("a port");
        let peers = without_descriptors::<W>(&mut event_loop, listener, 1);
        until::<W, _>(&mut event_loop, |event_loop| !event_loop.state.errors.is_empty());
        W::limit_descriptors(&mut event_loop, None);
        settle::<W, _>(&mut event_loop);
        assert!(listener.is_paused(&event_loop));
        assert!(!event_loop.is_live(), "no timer is left");
        listener.resume(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        end::<W>(event_loop, listener, peers);
    }

    fn l3_without_descriptors_and_on_error_it_comes_out_of_run<W>() {
        let mut event_loop = server::<W>();
        let (listener, _) = keeping::<W>(&mut event_loop);
        let peers = without_descriptors::<W>(&mut event_loop, listener, 1);
        let stopped = event_loop.run().unwrap_err();
        W::limit_descriptors(&mut event_loop, None);
        assert!(stopped.to_string().contains("paused"), "{stopped}");
        assert!(listener.is_paused(&event_loop));
        end::<W>(event_loop, listener, peers);
    }

    fn r2_a_listener_that_does_not_count_keeps_nothing_running<W>() {
        let mut event_loop = server::<W>();
        let (listener, address) = keeping::<W>(&mut event_loop);
        listener.set_counted(&mut event_loop, false).expect("it is open");
        let peer = connect::<W, _>(&mut event_loop, &address);
        event_loop.run().expect("it returns");
        until::<W, _>(&mut event_loop, |event_loop| accepted::<W>(event_loop) == 1);
        assert!(!event_loop.is_live());
        end::<W>(event_loop, listener, vec![peer]);
    }

    fn a_listener_hands_its_clients_to_streams<W>() {
        let mut event_loop = server::<W>();
        let listener = Listener::tcp(&mut event_loop, HERE)
            .start(|event_loop, _, socket| {
                Stream::over(event_loop, socket)
                    .on_data(|event_loop, stream, bytes| stream.write(event_loop, bytes).map(drop))
                    .start()
                    .map(drop)
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peers: Vec<_> = (0..3).map(|_| connect::<W, _>(&mut event_loop, &address)).collect();
        for (index, peer) in peers.iter().enumerate() {
            let text = format!("hello {index}");
            put::<W, _>(&mut event_loop, peer, text.as_bytes());
            assert_eq!(take::<W, _>(&mut event_loop, peer, text.len()), text.as_bytes());
        }
        end::<W>(event_loop, listener, peers);
    }
}
