//! The reactor on the real kernel: numbers used again, storages used again, signals between two moments, forks.

use core::time::Duration;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::reactor::{Epoll, Event, Interest, Mode, Reactor, Storage};
use linux_event_core::signal::{Signal, SignalSet};
use linux_event_core::sys::{Fd, Kernel, Linux, MaskChange};
use linux_event_core::wakeup::Wakeup;

/// Numbers are the process's: tests that count on the lowest free one take turns.
static NUMBERS: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

const NOW: Option<Duration> = Some(Duration::ZERO);

fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// Sends a signal to the calling thread.
fn raise(signal: Signal) {
    // SAFETY: the calling thread is there.
    unsafe { libc::pthread_kill(libc::pthread_self(), signal.raw()) };
}

/// Runs `body` in a child and returns its wait status.
fn in_a_child(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes system calls and ends without returning.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::_exit(body());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        status
    }
}

/// cancelling a watcher whose descriptor was closed must not take the loop's own timerfd out.
#[test]
fn r5_a_number_that_the_loops_timer_has_now() {
    let _turn = turn();
    let status = in_a_child(|| {
        // SAFETY: no pointer. The child would wait for ever.
        unsafe { libc::alarm(3) };
        let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
        let eventfd = Linux.eventfd().unwrap();
        let old = reactor.watch(&eventfd, Interest::READ, 1).unwrap();
        drop(eventfd);
        // Beyond 50 ms a timerfd serves: it gets the number.
        reactor.after(Duration::from_millis(80), 2).unwrap();
        reactor.prepare().unwrap();
        reactor.cancel(old);
        reactor.wait(None).unwrap();
        i32::from(matches!(reactor.next(), Some(Event::Timer { .. })))
    });
    assert!(libc::WIFEXITED(status), "waits for ever: {status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 1);
}

/// R-5, S-1: the same with the signalfd.
#[test]
fn r5_a_number_that_the_signalfd_has_now() {
    let _turn = turn();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let eventfd = Linux.eventfd().unwrap();
    let old = reactor.watch(&eventfd, Interest::READ, 1).unwrap();
    drop(eventfd);
    reactor.signal(Signal::USR1, 2).unwrap();
    assert!(reactor.cancel(old));
    raise(Signal::USR1);
    reactor.wait(Some(Duration::from_millis(500))).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Signal { .. })));
}

/// R-5, C-1: the same with a pidfd.
#[test]
fn r5_a_number_that_a_pidfd_has_now() {
    let _turn = turn();
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let eventfd = Linux.eventfd().unwrap();
    let old = reactor.watch(&eventfd, Interest::READ, 1).unwrap();
    drop(eventfd);
    reactor.process(child.id() as i32, false, 2).unwrap();
    reactor.disable(old, Interest::READ).unwrap();
    reactor.wait(NOW).unwrap();
    while reactor.next().is_some() {}
    reactor.enable(old, Interest::READ).unwrap();
    reactor.wait(NOW).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Ready { data: 1, .. })));
    assert_eq!(reactor.next(), None);
    assert_eq!(reactor.watch_error(old), Some(Errno::EBADF));
    reactor.cancel(old);
    drop(child.stdin.take()); // ends it
    let event = exit(&mut reactor);
    child.wait().unwrap();
    assert!(
        matches!(event, Some(Event::Exit { data: 2, .. })),
        "{event:?}"
    );
}

/// What comes once a process has ended. A pidfd can be readable a moment before the status can be had.
fn exit(reactor: &mut Reactor<u8, 4, 4>) -> Option<Event<u8>> {
    (0..3).find_map(|_| {
        reactor.wait(Some(Duration::from_secs(30))).unwrap();
        reactor.next()
    })
}

/// an orphan's number that a pidfd has now is not ended by number.
#[test]
fn r5_an_orphans_number_that_a_pidfd_has_now() {
    let _turn = turn();
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let (reader, writer) = pipe();
    let (_quiet, other) = pipe();
    let first = reactor
        .watch(other.as_raw_fd(), Interest::empty(), 0)
        .unwrap();
    let old = reactor
        .watch_with(reader.as_raw_fd(), Interest::READ, Mode::EDGE, 1)
        .unwrap();
    let duplicate = reader.try_clone().unwrap();
    drop(reader);
    assert!(reactor.cancel(old));
    assert!(reactor.cancel(first)); // so that the process gets another slot than the orphan had
    drop(writer); // the orphan reports, once
    reactor.process(child.id() as i32, false, 2).unwrap();
    for _ in 0..2 {
        // The orphan is seen in the first of these, and got rid of before the second.
        reactor.wait(NOW).unwrap();
        assert_eq!(reactor.next(), None);
    }
    drop(child.stdin.take()); // ends it
    let event = exit(&mut reactor);
    child.wait().unwrap();
    drop(duplicate);
    assert!(
        matches!(event, Some(Event::Exit { data: 2, .. })),
        "{event:?}"
    );
}

/// what an earlier reactor left in a storage can't be reached, and does not count.
#[test]
fn r4_a_storage_that_was_used_begins_empty() {
    let _turn = turn();
    let eventfd = Linux.eventfd().unwrap();
    let mut storage: Storage<u8, 4, 4> = Storage::new();
    let mut first: Reactor<u8, 4, 4, Epoll, &mut Storage<u8, 4, 4>> =
        Reactor::with_storage(Epoll::new().unwrap(), &mut storage);
    let old = first.watch(&eventfd, Interest::READ, 1).unwrap();
    let timer = first.after(Duration::ZERO, 1).unwrap();
    first.disable(old, Interest::READ).unwrap(); // in the list of changes
    drop(first);

    let mut second: Reactor<u8, 4, 4, Epoll, &mut Storage<u8, 4, 4>> =
        Reactor::with_storage(Epoll::new().unwrap(), &mut storage);
    assert_eq!(second.live(), 0);
    assert!(!second.contains(old) && !second.contains(timer));
    assert!(!second.cancel(timer));
    assert_eq!(second.watcher_of(&eventfd), None);
    let new = second.watch(&eventfd, Interest::READ, 2).unwrap();
    assert_eq!(second.live(), 1);
    assert!(!second.cancel(old));
    eventfd.write(&1u64.to_ne_bytes()).unwrap();
    second.wait(None).unwrap();
    let Some(Event::Ready { watcher, data, .. }) = second.next() else {
        panic!("ready");
    };
    assert_eq!((watcher, data), (new, 2));
    assert_eq!(second.next(), None);
    assert!(second.cancel(new));
    assert_eq!(second.live(), 0);
}

/// S-1: a signal for a subscription that was made in the turn that fetches it is not lost.
#[test]
fn s1_a_signal_fetched_in_the_turn_of_its_subscription() {
    let _turn = turn();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let (_reader, writer) = pipe();
    reactor
        .watch(writer.as_raw_fd(), Interest::WRITE, 0)
        .unwrap();
    reactor.signal(Signal::USR1, 1).unwrap();
    raise(Signal::USR1);
    reactor.wait(None).unwrap();
    // The watcher's event and the signalfd's are in the batch; the subscription comes between the two.
    assert!(matches!(reactor.next(), Some(Event::Ready { .. })));
    reactor.signal(Signal::USR2, 2).unwrap();
    raise(Signal::USR2);
    let mut heard = Vec::new();
    for _ in 0..3 {
        while let Some(event) = reactor.next() {
            if let Event::Signal { data, .. } = event {
                heard.push(data);
            }
        }
        reactor.wait(NOW).unwrap();
    }
    assert_eq!(heard, [1, 2]);
}

/// S-3: the same, and the subscription is cancelled before the fetch: it still ends, and the mask is restored.
#[test]
fn s3_a_subscription_made_and_cancelled_in_the_turn_of_a_fetch_ends() {
    let _turn = turn();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let (_reader, writer) = pipe();
    let watcher = reactor
        .watch(writer.as_raw_fd(), Interest::WRITE, 0)
        .unwrap();
    reactor.signal(Signal::USR1, 1).unwrap();
    raise(Signal::USR1);
    reactor.wait(None).unwrap();
    assert!(matches!(reactor.next(), Some(Event::Ready { .. })));
    reactor.cancel(watcher);
    let short = reactor.signal(Signal::USR2, 2).unwrap();
    raise(Signal::USR2);
    assert!(reactor.cancel(short));
    raise(Signal::USR1);
    let mut heard = Vec::new();
    for _ in 0..3 {
        while let Some(event) = reactor.next() {
            if let Event::Signal { data, .. } = event {
                heard.push(data);
            }
        }
        reactor.wait(NOW).unwrap();
    }
    assert!(heard.contains(&2), "{heard:?}");
    assert!(!reactor.contains(short));
    let mask = Linux
        .signal_mask(MaskChange::Block, SignalSet::EMPTY)
        .unwrap();
    assert!(!mask.contains(Signal::USR2), "{mask:?}");
}

/// S-2, S-3: a closing subscription hears of what nobody else hears of, and of nothing else.
#[test]
fn s2_a_closing_subscription_does_not_hear_for_others() {
    let _turn = turn();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let both = reactor
        .signal(SignalSet::from(Signal::USR1).with(Signal::USR2), 1)
        .unwrap();
    reactor.signal(Signal::USR2, 2).unwrap();
    raise(Signal::USR1);
    assert!(reactor.cancel(both));
    raise(Signal::USR2);
    let mut heard = Vec::new();
    for _ in 0..3 {
        reactor.wait(NOW).unwrap();
        while let Some(event) = reactor.next() {
            if let Event::Signal { data, signal, .. } = event {
                heard.push((data, signal));
            }
        }
    }
    assert_eq!(heard, [(1, Signal::USR1), (2, Signal::USR2)]);
}

/// S-1: nor is one lost whose subscriber left in the turn, after another had come in its place.
#[test]
fn s1_a_successor_hears_of_what_came_for_its_predecessor() {
    let _turn = turn();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    reactor.signal(Signal::USR1, 1).unwrap();
    let old = reactor.signal(Signal::USR2, 2).unwrap();
    raise(Signal::USR1);
    raise(Signal::USR2);
    reactor.wait(NOW).unwrap();
    assert!(matches!(
        reactor.next(),
        Some(Event::Signal { data: 1, .. })
    ));
    reactor.signal(Signal::USR2, 3).unwrap();
    assert!(reactor.cancel(old));
    assert_eq!(reactor.next(), None);
    reactor.wait(NOW).unwrap();
    assert!(matches!(
        reactor.next(),
        Some(Event::Signal { data: 3, .. })
    ));
    assert_eq!(reactor.next(), None);
}

/// S-3: what arrives between the cancel and the last delivery is drained too, and does not strike.
#[test]
fn s3_what_is_pending_at_the_end_of_a_closing_subscription_does_not_strike() {
    let _turn = turn();
    let status = in_a_child(|| {
        let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
        let one = reactor.signal(Signal::USR1, 1).unwrap();
        raise(Signal::USR1);
        reactor.cancel(one);
        raise(Signal::USR1);
        let mut heard = 0;
        for _ in 0..3 {
            reactor.wait(NOW).unwrap();
            while let Some(event) = reactor.next() {
                if let Event::Signal { count, .. } = event {
                    heard += count as i32;
                }
            }
        }
        heard + i32::from(reactor.contains(one)) * 16
    });
    assert!(libc::WIFEXITED(status), "killed: {status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 2);
}

/// W-1: an eventfd that somebody filled up wakes all the same.
#[test]
fn w1_a_full_eventfd_still_wakes() {
    static WAKEUP: Wakeup = Wakeup::new();
    let _turn = turn();
    let mut epoll = Epoll::new().unwrap();
    epoll.attach(&WAKEUP).unwrap();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(epoll);
    let full = u64::MAX - 1;
    Linux
        .write(WAKEUP.open().unwrap(), &full.to_ne_bytes())
        .unwrap();
    reactor.wait(NOW).unwrap();
    assert_eq!(reactor.next(), None);
    WAKEUP.wake();
    reactor.wait(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(reactor.next(), Some(Event::Wakeup { count: 1 }));
}

/// G-1: attaching a wakeup in a child would change the parent's interest list.
#[test]
fn g1_attach_in_a_child_leaves_the_parents_wakeup() {
    static WAKEUP: Wakeup = Wakeup::new();
    static OTHER: Wakeup = Wakeup::new();
    let _turn = turn();
    let mut epoll = Epoll::new().unwrap();
    epoll.attach(&WAKEUP).unwrap();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(epoll);
    let status =
        in_a_child(|| i32::from(reactor.backend_mut().attach(&OTHER) == Err(Error::Forked)));
    assert_eq!(libc::WEXITSTATUS(status), 1);
    WAKEUP.wake();
    reactor.wait(Some(Duration::from_millis(500))).unwrap();
    assert_eq!(reactor.next(), Some(Event::Wakeup { count: 1 }));
}

/// G-1: what the parent had fetched is not delivered in the child too.
#[test]
fn g1_a_child_delivers_nothing_of_its_parents_batch() {
    let _turn = turn();
    let mut reactor: Reactor<u8, 4, 4> = Reactor::new(Epoll::new().unwrap());
    let eventfd: Fd = Linux.eventfd().unwrap();
    reactor.watch(&eventfd, Interest::WRITE, 1).unwrap();
    reactor.wait(None).unwrap();
    let status = in_a_child(|| i32::from(reactor.next().is_some()));
    assert_eq!(libc::WEXITSTATUS(status), 0);
    assert!(reactor.next().is_some());
}
