//! Real trouble on the real kernel: interrupted calls, descriptors run out, peers that reset, leave and drip, tables
//! that are full (R-1, R-2, R-3, R-10, T-8).

#![deny(unsafe_code)]
#![allow(clippy::zombie_processes, reason = "the loops reap them")]

#[path = "../src/system.rs"]
mod system;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linux_event::core::error::Call;
use linux_event::core::reactor::{self, Event};
use linux_event::{Errno, Error, Interest, Loop, LoopError, Ready, Signal};

const MILLI: Duration = Duration::from_millis(1);

static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

extern "C" fn interrupted(_signal: i32) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// What the loop of the storm has seen.
#[derive(Default)]
struct Served {
    messages: u32,
    ticks: u64,
    timers: u32,
    early: u32,
}

#[test]
fn r1_a_signal_every_millisecond_costs_no_message_and_no_timer() {
    const MESSAGES: u32 = 10_000;
    const TIMERS: u32 = 100;
    const PERIOD: Duration = Duration::from_millis(3);
    if !system::alone("r1_a_signal_every_millisecond_costs_no_message_and_no_timer") {
        return;
    }
    let signal = Signal::USR1.raw();
    system::handle_without_restart(signal, interrupted).unwrap();
    let mut event_loop = Loop::reactor_with(Served::default()).unwrap();

    let (mut reader, mut writer) = io::pipe().unwrap();
    // One message at a time, so that the loop waits for each: the other thread answers what it is asked for.
    let (mut asked, mut ask) = io::pipe().unwrap();
    let thread = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            asked.read_exact(&mut [0]).unwrap();
            writer.write_all(&number.to_ne_bytes()).unwrap();
        }
    });
    let storm = system::SignalStorm::every(MILLI, signal).unwrap();
    ask.write_all(&[0]).unwrap();
    let watched = reader.try_clone().unwrap();
    event_loop
        .watch(&watched)
        .on_read(move |event_loop: &mut Loop<_, Served>, watcher, _| {
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes)?;
            assert_eq!(u32::from_ne_bytes(bytes), event_loop.state.messages);
            event_loop.state.messages += 1;
            if event_loop.state.messages < MESSAGES {
                return ask.write_all(&[0]);
            }
            event_loop.cancel(watcher);
            Ok(())
        })
        .start()
        .unwrap();
    let mut last_due = event_loop.read_clock();
    for number in 1..=TIMERS {
        // Near ones and, beyond 50 ms, far ones; each waits through many interruptions.
        let due = event_loop.read_clock() + number * 2 * MILLI;
        last_due = last_due.max(due);
        let timer = move |event_loop: &mut Loop<_, Served>| {
            event_loop.state.timers += 1;
            event_loop.state.early += u32::from(event_loop.read_clock() < due);
        };
        event_loop.at(due, timer).unwrap();
    }
    let before = event_loop.read_clock();
    let every = event_loop
        .every(PERIOD, |event_loop, periods| {
            event_loop.state.ticks += periods;
        })
        .unwrap();
    let after = event_loop.read_clock();
    event_loop.unref(every);
    event_loop.run().unwrap();
    let end = event_loop.read_clock();
    drop(storm);

    let Served {
        messages,
        ticks,
        timers,
        early,
    } = std::mem::take(&mut event_loop.state);
    assert_eq!((messages, timers, early), (MESSAGES, TIMERS, 0));
    assert!(end >= last_due);
    let periods = |duration: Duration| (duration.as_nanos() / PERIOD.as_nanos()) as u64;
    let possible = periods(last_due.since(after))..=periods(end.since(before));
    assert!(possible.contains(&ticks), "{ticks} of {possible:?}");
    let interrupts = INTERRUPTS.load(Ordering::Relaxed);
    assert!(interrupts >= 10, "there was no storm: {interrupts}");
    thread.join().unwrap();
}

#[test]
fn r1_a_storm_does_not_end_a_run_for_early() {
    if !system::alone("r1_a_storm_does_not_end_a_run_for_early") {
        return;
    }
    let signal = Signal::USR1.raw();
    system::handle_without_restart(signal, interrupted).unwrap();
    let mut event_loop = Loop::reactor().unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    event_loop
        .watch(&reader)
        .on_read(|_, _, _| ())
        .start()
        .unwrap();
    let _storm = system::SignalStorm::every(MILLI, signal).unwrap();
    let start = event_loop.read_clock();
    event_loop.run_for(70 * MILLI).unwrap();
    assert!(event_loop.read_clock().since(start) >= 70 * MILLI);
    assert!(INTERRUPTS.load(Ordering::Relaxed) > 0);
}

/// Takes every descriptor there is to be had.
fn take_all_descriptors() -> Vec<OwnedFd> {
    let mut taken: Vec<OwnedFd> = Vec::new();
    while let Ok((reader, writer)) = io::pipe() {
        taken.extend([reader.into(), writer.into()]);
    }
    // A pipe takes two: there may be one left.
    while let Ok(one) = taken[0].try_clone() {
        taken.push(one);
    }
    taken
}

#[test]
fn emfile_is_a_typed_error_that_says_what_to_do_and_the_loop_goes_on() {
    if !system::alone("emfile_is_a_typed_error_that_says_what_to_do_and_the_loop_goes_on") {
        return;
    }
    system::limit_descriptors(64).unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
    let mut event_loop = Loop::reactor_with(0u32).unwrap();

    let taken = take_all_descriptors();
    let refused = |call, error: Error| {
        let expected = LoopError::Os {
            call,
            errno: Errno::EMFILE,
        };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
        assert!(error.to_string().contains(call.name()), "{error}");
        let kind = io::Error::from(error);
        assert_eq!(kind.raw_os_error(), Some(Errno::EMFILE.raw()));
    };
    refused(Call::EpollCreate, Loop::reactor().unwrap_err());
    refused(
        Call::Signalfd,
        event_loop.signal(Signal::USR1, |_, _| ()).unwrap_err(),
    );
    refused(
        Call::PidfdOpen,
        event_loop.pid(child.id(), |_, _| ()).unwrap_err(),
    );
    assert!(!event_loop.is_live(), "nothing is left behind");

    // What needs no descriptor of its own goes on: watching, wakes, near timers and, without a timerfd, far ones.
    let due = [2, 80].map(|millis| event_loop.read_clock() + millis * MILLI);
    for deadline in due {
        let timer = move |event_loop: &mut Loop<_, u32>| {
            assert!(event_loop.read_clock() >= deadline, "early");
            event_loop.state += 1;
        };
        event_loop.at(deadline, timer).unwrap();
    }
    let waker = event_loop.waker().unwrap();
    waker.wake();
    event_loop.on_wake(|event_loop, _| event_loop.state += 10);
    drop(waker);
    writer.write_all(&[0]).unwrap();
    event_loop
        .watch(&reader)
        .on_read(|event_loop, watcher, _| {
            event_loop.state += 100;
            event_loop.cancel(watcher);
        })
        .start()
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 112);

    // With descriptors to be had again, what was refused works.
    drop(taken);
    event_loop
        .signal(Signal::USR1, |event_loop, event| {
            event_loop.state += 1000;
            event_loop.cancel(event.subscription);
        })
        .unwrap();
    system::raise(Signal::USR1.raw());
    event_loop
        .pid(child.id(), |event_loop, exit| {
            assert_eq!(exit.status.unwrap().unwrap().signal(), Some(Signal::KILL));
            event_loop.state += 10_000;
        })
        .unwrap();
    child.kill().unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 11_112);
    Loop::reactor().unwrap();
}

/// Two ends of a TCP connection of this machine; the first is non-blocking.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// What a peer that sends its last words and resets leads to, in order.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Error(Ready),
    Bytes(Vec<u8>),
    Failed(io::ErrorKind),
}

fn seen_of_a_reset(with_error_callback: bool) -> Vec<Seen> {
    let (ours, mut theirs) = connection();
    theirs.write_all(b"last words").unwrap();
    system::reset_on_close(&theirs).unwrap();
    let mut theirs = Some(theirs);
    let mut event_loop = Loop::reactor_with(Vec::new()).unwrap();
    let mut socket = ours.try_clone().unwrap();
    let watch = event_loop.watch(&ours).on_read(
        move |event_loop: &mut Loop<_, Vec<Seen>>, watcher, ready: Ready| {
            // The words have arrived; now the reset, and it is waited for.
            drop(theirs.take());
            if !ready.contains(Ready::HANGUP) {
                return;
            }
            let mut bytes = [0; 64];
            let seen = match socket.read(&mut bytes) {
                Ok(count) => Seen::Bytes(bytes[..count].to_vec()),
                Err(error) => {
                    event_loop.cancel(watcher);
                    Seen::Failed(error.kind())
                }
            };
            event_loop.state.push(seen);
        },
    );
    let watch = if with_error_callback {
        watch.on_error(|event_loop, watcher, ready| {
            event_loop.state.push(Seen::Error(ready));
            // Once is enough; from now on an error counts as readable.
            event_loop.disable(watcher, Interest::ERROR).unwrap();
        })
    } else {
        watch
    };
    watch.start().unwrap();
    event_loop.run().unwrap();
    std::mem::take(&mut event_loop.state)
}

#[test]
fn r3_a_peer_that_resets_gives_its_last_bytes_and_then_the_error() {
    let words = Seen::Bytes(b"last words".to_vec());
    let reset = Seen::Failed(io::ErrorKind::ConnectionReset);
    assert_eq!(seen_of_a_reset(false), [words.clone(), reset.clone()]);
    let seen = seen_of_a_reset(true);
    assert!(
        matches!(&seen[..], [Seen::Error(ready), rest @ ..]
            if ready.contains(Ready::ERROR) && rest == [words, reset]),
        "{seen:?}"
    );
}

#[test]
fn r3_a_peer_that_stops_sending_is_seen_once_and_can_still_be_answered() {
    let (mut ours, mut theirs) = connection();
    theirs.write_all(b"question").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let mut event_loop = Loop::reactor_with(Vec::new()).unwrap();
    let watched = ours.try_clone().unwrap();
    event_loop
        .watch(&watched)
        .read_closed()
        .on_read(move |event_loop, watcher, ready: Ready| {
            let mut bytes = [0; 64];
            match ours.read(&mut bytes)? {
                0 => {
                    assert!(ready.contains(Ready::READ_CLOSED), "{ready:?}");
                    assert!(!ready.contains(Ready::HANGUP), "only their side is closed");
                    ours.write_all(b"answer")?;
                    event_loop.cancel(watcher);
                }
                count => event_loop.state.extend_from_slice(&bytes[..count]),
            }
            io::Result::Ok(())
        })
        .start()
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, b"question");
    drop((event_loop, watched));
    let mut answer = String::new();
    theirs.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}

#[test]
fn r3_a_peer_that_drips_costs_a_turn_a_byte_and_no_more() {
    /// What came, and how many callbacks there were for it.
    #[derive(Default)]
    struct Drips {
        bytes: Vec<u8>,
        callbacks: u64,
    }
    const BYTES: u8 = 200;
    let (mut ours, theirs) = connection();
    theirs.set_nodelay(true).unwrap();
    let mut event_loop = Loop::reactor_with(Drips::default()).unwrap();
    let watched = ours.try_clone().unwrap();
    event_loop
        .watch(&watched)
        .on_read(move |event_loop: &mut Loop<_, Drips>, watcher, _| {
            event_loop.state.callbacks += 1;
            let mut bytes = [0; 64];
            match ours.read(&mut bytes)? {
                0 => assert!(event_loop.cancel(watcher)),
                count => event_loop.state.bytes.extend_from_slice(&bytes[..count]),
            }
            io::Result::Ok(())
        })
        .start()
        .unwrap();
    let mut theirs = Some(theirs);
    let mut next = 0..BYTES;
    let drip = event_loop
        .every(MILLI, move |event_loop, _| {
            event_loop.state.callbacks += 1;
            if let (Some(byte), Some(peer)) = (next.next(), &mut theirs) {
                return peer.write_all(&[byte]);
            }
            theirs = None;
            Ok(())
        })
        .unwrap();
    event_loop.unref(drip);
    event_loop.run().unwrap();
    assert!(event_loop.state.bytes.iter().copied().eq(0..BYTES));
    let (turns, callbacks) = (event_loop.stats().turns, event_loop.state.callbacks);
    assert!(
        turns <= callbacks,
        "{turns} turns for {callbacks} callbacks: awake for nothing"
    );
}

#[test]
fn a_full_table_is_an_error_and_the_loop_goes_on() {
    let mut reactor: reactor::Reactor<u32, 4, 4> =
        reactor::Reactor::new(reactor::Epoll::new().unwrap());
    let full = Err(LoopError::Full { capacity: 4 });
    let pipes: Vec<_> = (0..5).map(|_| io::pipe().unwrap()).collect();
    let number = |at: usize| std::os::fd::AsRawFd::as_raw_fd(&pipes[at].0);
    let watchers: Vec<_> = (0..4)
        .map(|at| {
            reactor
                .watch(number(at), Interest::READ, at as u32)
                .unwrap()
        })
        .collect();
    let timers: Vec<_> = (0..4)
        .map(|at| reactor.after(Duration::ZERO, at).unwrap())
        .collect();
    for _ in 0..3 {
        assert_eq!(reactor.watch(number(4), Interest::READ, 4).map(drop), full);
        assert_eq!(reactor.signal(Signal::USR1, 4).map(drop), full);
        let own = std::process::id() as i32;
        assert_eq!(reactor.process(own, false, 4).map(drop), full);
        assert_eq!(reactor.after(MILLI, 4).map(drop), full);
        assert_eq!(reactor.every(MILLI, 4).map(drop), full);
    }
    assert_eq!(reactor.live(), 8);
    // To watch what is watched already takes no slot more.
    let again = reactor.watch(number(3), Interest::READ, 3).unwrap();
    assert!(!reactor.contains(watchers[3]));

    let mut writers: Vec<_> = pipes.iter().map(|(_, writer)| writer).collect();
    for writer in &mut writers {
        writer.write_all(&[0]).unwrap();
    }
    reactor.wait(None).unwrap();
    let events: Vec<_> = std::iter::from_fn(|| reactor.next()).collect();
    let fired = events.iter().filter_map(|event| match event {
        Event::Timer { timer, .. } => Some(*timer),
        _ => None,
    });
    assert!(fired.eq(timers), "{events:?}");
    assert_eq!(events.len(), 8, "{events:?}");

    // Room again, by firing and by cancelling.
    reactor.after(MILLI, 4).unwrap();
    assert!(reactor.cancel(again));
    reactor.watch(number(4), Interest::READ, 4).unwrap();
    assert_eq!(reactor.live(), 5);
}

#[test]
fn r4_a_replacement_that_is_refused_before_the_kernel_leaves_the_old_watcher_as_it_was() {
    let mut event_loop = Loop::reactor_with(0).unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(&[0]).unwrap();
    let watcher = event_loop
        .watch(&reader)
        .on_read(|event_loop, watcher, _| {
            event_loop.state += 1;
            event_loop.cancel(watcher);
        })
        .start()
        .unwrap();
    let contradiction = event_loop
        .watch(&reader)
        .on_read(|_, _, _| ())
        .exclusive()
        .oneshot();
    let refused = contradiction.start().unwrap_err();
    assert!(matches!(refused, Error::Loop(LoopError::Invalid(_))));
    let without_callback = event_loop.watch(&reader).priority().start().unwrap_err();
    assert!(matches!(
        without_callback,
        Error::Loop(LoopError::Invalid(_))
    ));
    assert_eq!(event_loop.watcher_of(&reader), Some(watcher));
    event_loop.run_once(None).unwrap();
    assert_eq!(
        event_loop.state, 1,
        "the old watcher still has its callback"
    );
}

#[test]
fn w3_a_panic_over_one_mailbox_loses_no_mail_of_another() {
    let mut event_loop = Loop::reactor_with(0).unwrap();
    let first = event_loop
        .mailbox(4, |_: &mut Loop<_, u32>, panics: bool| {
            assert!(!panics, "on purpose");
        })
        .unwrap();
    let second = event_loop
        .mailbox(4, |event_loop, number| event_loop.state += number)
        .unwrap();
    second.send(1).unwrap();
    first.send(true).unwrap();
    let run = std::panic::AssertUnwindSafe(|| event_loop.run_once(None));
    std::panic::catch_unwind(run).unwrap_err();
    assert!(first.send(false).is_err(), "that one went with the panic");
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(event_loop.state, 1);
    drop((first, second));
    event_loop.run().unwrap();
}

#[test]
fn w3_what_was_sent_before_the_run_is_delivered_though_every_sender_is_gone() {
    let mut event_loop = Loop::reactor_with(0).unwrap();
    let sender = event_loop
        .mailbox(4, |event_loop, number| event_loop.state += number)
        .unwrap();
    event_loop.on_wake(|event_loop, count| event_loop.state += 10 * count as u32);
    let waker = event_loop.waker().unwrap();
    (1..=3).for_each(|number| sender.send(number).unwrap());
    waker.wake();
    drop((sender, waker));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 16);
    event_loop.run().unwrap(); // nothing is left, and nothing is waited for
}
