//! P-9: what a turn of operations costs in system calls, counted on the real kernel.

#![deny(unsafe_code)]

#[path = "../src/counting.rs"]
mod counting;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use counting::{Counts, Name, Probe};
use linux_event_core::errno::Errno;
use linux_event_core::proactor::{Event, Proactor, Storage, Target, Uring, op};
use linux_event_core::sys::Fd;
use linux_event_core::wakeup::Wakeup;
use linux_event_tests::libc_calls;

type Buf = &'static mut [u8];
type Ring = Uring<Buf, Probe, Arc<Wakeup<Probe>>>;
type Counted = Proactor<Buf, u32, 64, 64, Ring, Box<Storage<u32, 64, 64, Fd<Probe>, Fd<Probe>>>>;

const ROUNDS: u64 = 1000;
const HOUR: Duration = Duration::from_hours(1);

/// A proactor whose kernel is counted, after the turn that takes along what it submits for itself; `None` where io_uring is
/// forbidden.
fn counted() -> Option<(Counted, Probe, Arc<Wakeup<Probe>>)> {
    let probe = Probe::new();
    let mut uring = match Ring::with_kernel(probe.clone()) {
        Ok(uring) => uring,
        Err(error) => {
            eprintln!("no ring, nothing is tested: {error}");
            return None;
        }
    };
    let wakeup = Arc::new(Wakeup::with_kernel(probe.clone()));
    uring.attach(Arc::clone(&wakeup)).unwrap();
    let mut proactor = Counted::with_storage(uring, Box::new(Storage::new())).unwrap();
    proactor.wait(Some(Duration::ZERO)).unwrap();
    assert!(proactor.next().is_none());
    Some((proactor, probe, wakeup))
}

/// A descriptor that is open for as long as the process.
fn for_ever(fd: impl Into<OwnedFd>) -> Target {
    let fd: &'static Fd = Box::leak(Box::new(libc_calls::to_core(fd.into())));
    fd.borrow().into()
}

fn pair() -> (Target, Target) {
    let (one, other) = UnixStream::pair().unwrap();
    (for_ever(one), for_ever(other))
}

fn buffer(bytes: usize) -> Buf {
    Box::leak(vec![0; bytes].into_boxed_slice())
}

/// Turns of a ping-pong between two sockets, each of which submits what comes next; how many there were.
fn ping_pong(proactor: &mut Counted, (one, other): (Target, Target)) -> u64 {
    proactor.submit(op::recv(other, buffer(64)), 1).unwrap();
    proactor.submit(op::send(one, buffer(8)), 2).unwrap();
    let (mut received, mut turns) = (0, 0);
    while proactor.operations() > 0 {
        proactor.wait(None).unwrap();
        turns += 1;
        while let Some(event) = proactor.next() {
            let Event::Completion(done) = event else {
                continue;
            };
            assert_eq!(done.outcome(), Ok(8));
            let data = done.data;
            let buffer = done.into_buffer().unwrap();
            received += u64::from(data == 1);
            if received + u64::from(data == 2) < ROUNDS {
                if data == 1 {
                    proactor.submit(op::recv(other, buffer), 1).unwrap();
                } else {
                    proactor.submit(op::send(one, buffer), 2).unwrap();
                }
            }
        }
        if received == ROUNDS {
            proactor.cancel_all();
        }
    }
    turns
}

fn assert_one_call_a_turn(counts: Counts, turns: u64) {
    assert_eq!(counts.of(Name::RingEnter), turns, "{counts:?}");
    assert_eq!(counts.system_calls(), turns, "{counts:?}");
}

#[test]
fn p9_a_turn_that_submits_waits_and_fetches_is_one_call() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    let sockets = pair();
    let (turns, counts) = probe.counted(|| ping_pong(&mut proactor, sockets));
    assert!(turns >= ROUNDS / 2);
    assert_one_call_a_turn(counts, turns);
    assert_eq!(counts.of(Name::Monotonic), 0, "T-1: none without timers");
}

#[test]
fn p9_timers_cost_no_call() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    let sockets = pair();
    for number in 1..=30 {
        proactor.after(HOUR * number, 0).unwrap();
    }
    proactor.every(Duration::from_nanos(1), 0).unwrap();
    let (turns, counts) = probe.counted(|| ping_pong(&mut proactor, sockets));
    assert_one_call_a_turn(counts, turns);
    assert!(
        counts.of(Name::Monotonic) <= 2 * turns + 1,
        "T-1: {counts:?}"
    );
}

#[test]
fn p9_making_moving_and_cancelling_timers_costs_no_call() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    let ((), counts) = probe.counted(|| {
        for number in 1..=ROUNDS {
            let timer = proactor.after(HOUR, 0).unwrap();
            let deadline = proactor.deadline(timer).unwrap() + Duration::from_nanos(number);
            assert!(proactor.reschedule(timer, deadline));
            assert!(proactor.cancel(timer));
        }
    });
    assert_eq!(counts.system_calls(), 0, "{counts:?}");
}

#[test]
fn p9_a_turn_that_only_waits_for_a_timer_is_one_call() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    let ((), counts) = probe.counted(|| {
        for _ in 0..20 {
            proactor.after(Duration::from_micros(50), 7).unwrap();
            proactor.wait(None).unwrap();
            assert!(matches!(
                proactor.next(),
                Some(Event::Timer { data: 7, .. })
            ));
            assert!(proactor.next().is_none());
        }
    });
    assert_one_call_a_turn(counts, 20);
}

#[test]
fn p9_many_operations_in_a_turn_are_one_call() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    for _ in 0..20 {
        let (fetched, counts) = probe.counted(|| {
            for data in 0..60 {
                proactor.submit(op::nop(), data).unwrap();
            }
            proactor.wait(None).unwrap();
            std::iter::from_fn(|| proactor.next()).count()
        });
        assert_eq!(fetched, 60);
        assert_one_call_a_turn(counts, 1);
    }
}

#[test]
fn p9_events_left_over_cost_no_call() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    for data in 0..10 {
        proactor.submit(op::nop(), data).unwrap();
    }
    let ((), counts) = probe.counted(|| {
        for data in 0..10 {
            proactor.wait(None).unwrap();
            let Some(Event::Completion(done)) = proactor.next() else {
                panic!("no completion")
            };
            assert_eq!(done.data, data);
        }
    });
    assert_one_call_a_turn(counts, 1);
}

#[test]
fn p9_cancelling_is_no_call_of_its_own() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    let (one, _) = pair();
    let (settled, counts) = probe.counted(|| {
        let ops = [(); 20].map(|()| proactor.submit(op::recv(one, buffer(8)), 1).unwrap());
        proactor.wait(Some(Duration::ZERO)).unwrap();
        assert!(proactor.next().is_none());
        for op in ops {
            assert!(proactor.cancel(op));
        }
        let mut settled = 0;
        while proactor.operations() > 0 {
            proactor.wait(None).unwrap();
            while let Some(Event::Completion(done)) = proactor.next() {
                assert_eq!(done.outcome(), Err(Errno::ECANCELED));
                settled += 1;
            }
        }
        settled
    });
    assert_eq!(settled, 20);
    assert!(counts.system_calls() <= 3, "{counts:?}");
}

#[test]
fn w1_a_series_of_wakes_costs_one_write_and_ends_one_wait() {
    let Some((mut proactor, probe, wakeup)) = counted() else {
        return;
    };
    let ((), counts) = probe.counted(|| {
        for _ in 0..10 {
            for _ in 0..5 {
                wakeup.wake();
            }
            proactor.wait(None).unwrap();
            assert!(matches!(proactor.next(), Some(Event::Wakeup { count: 5 })));
            assert!(proactor.next().is_none());
        }
    });
    assert_eq!(counts.of(Name::Write), 10, "{counts:?}");
    assert_eq!(counts.of(Name::RingEnter), 10, "{counts:?}");
}

#[test]
fn p9_a_multishot_receive_needs_a_call_a_turn_and_no_submission() {
    let Some((mut proactor, probe, _wakeup)) = counted() else {
        return;
    };
    let (one, mut other) = UnixStream::pair().unwrap();
    let one = for_ever(one);
    let Ok(group) = proactor.provide(8, 64) else {
        return eprintln!("no provided buffers");
    };
    if proactor.submit(op::recv_multi(one, group), 1).is_err() {
        return eprintln!("no multishot receive");
    }
    proactor.wait(Some(Duration::ZERO)).unwrap();
    assert!(proactor.next().is_none());
    let submitted = proactor.counters().submitted;
    let ((), counts) = probe.counted(|| {
        for _ in 0..ROUNDS {
            std::io::Write::write_all(&mut other, b"message").unwrap();
            proactor.wait(None).unwrap();
            let Some(Event::Completion(done)) = proactor.next() else {
                panic!("no completion")
            };
            assert_eq!(*done.into_lease().unwrap(), *b"message");
            assert!(proactor.next().is_none());
        }
    });
    assert_one_call_a_turn(counts, ROUNDS);
    assert_eq!(proactor.counters().submitted, submitted);
}

#[test]
fn p6_everything_that_was_opened_and_mapped_is_closed_and_unmapped() {
    let Some((mut proactor, probe, wakeup)) = counted() else {
        return;
    };
    let sockets = pair();
    ping_pong(&mut proactor, sockets);
    drop((proactor, wakeup));
    assert!(probe.open().is_empty(), "{:?}", probe.open());
    let counts = probe.counts();
    assert_eq!(counts.of(Name::Map), counts.of(Name::Unmap), "{counts:?}");
}
