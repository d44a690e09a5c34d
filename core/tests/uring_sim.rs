//! The ring on a kernel of plain memory, which is friendly, clumsy or hostile: rules P-3, P-6, P-10 and P-12, under Miri too.

#![allow(missing_docs, unsafe_code)]

#[path = "support/buf.rs"]
mod buf;
#[path = "support/ring_driver.rs"]
mod ring_driver;
#[path = "support/ring_kernel.rs"]
mod ring_kernel;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buf::{VecBuf, vouched};
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{Handle, Tag};
use linux_event_core::proactor::{Backend, Carried, Link, Popped, Request, Target, Uring, op};
use linux_event_core::reactor::Backend as _;
use linux_event_core::sys::Kernel as _;
use linux_event_core::wakeup::Wakeup;
use ring_driver::drive;
use ring_kernel::{Manners, Sim};

type Ring = Uring<VecBuf, Sim, Rc<Wakeup<Sim>>>;

/// What a kernel decides that does everything at once and in full.
const PROMPT: u8 = 66;
/// What it decides that puts off what can be put off.
const LATER: u8 = 64;

/// Scripts of a linear congruential generator.
fn scripts(count: u64, length: usize) -> impl Iterator<Item = (u64, Vec<u8>)> {
    (0..count).map(move |seed| {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let script = (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            })
            .collect();
        (seed, script)
    })
}

fn run(manners: Manners) {
    let (count, length) = if cfg!(miri) { (12, 400) } else { (3000, 1200) };
    for (seed, script) in scripts(count, length) {
        println!("seed {seed}");
        drive(&script, manners);
    }
}

#[test]
fn p3_every_operation_ends_once_on_a_friendly_kernel() {
    run(Manners::default());
}

#[test]
fn p6_a_hostile_kernel_breaks_nothing() {
    run(Manners {
        hostile: true,
        ..Manners::default()
    });
}

#[test]
fn p10_a_kernel_that_loses_completions_is_believed() {
    run(Manners {
        loses: true,
        ..Manners::default()
    });
}

#[test]
fn p12_a_kernel_that_lies_at_set_up_is_not() {
    run(Manners {
        hostile: true,
        lies_at_setup: true,
        ..Manners::default()
    });
}

#[test]
fn p12_an_old_kernel_with_no_flags_but_the_oldest() {
    run(Manners {
        flags: Some(1 << 3 | 1 << 4),
        ..Manners::default()
    });
}

#[test]
fn p15_a_kernel_whose_file_systems_say_that_a_close_was_cancelled() {
    for breaks_backwards in [false, true] {
        run(Manners {
            closes_with_ecanceled: true,
            breaks_backwards,
            ..Manners::default()
        });
    }
}

#[test]
fn p12_an_old_kernel_that_polls_once_and_cancels_one_by_one() {
    run(Manners {
        old: true,
        ..Manners::default()
    });
}

/// A ring on a kernel that decides `first`, then for ever `then`; and the kernel.
fn scripted(manners: Manners, first: &[u8], then: u8) -> (Ring, Sim) {
    let mut script = vec![0; 3]; // registering the ring, probing, mapping
    script.extend_from_slice(first);
    script.resize(script.len() + 1000, then);
    let sim = Sim::new(&script, manners);
    let mut ring: Ring = Uring::with_kernel(sim).expect("a ring");
    ring.reserve(16).expect("room");
    (ring, sim)
}

/// Ends a ring and its kernel; returns how many buffers it had leaked.
fn end(ring: Ring, sim: Sim) -> usize {
    drop(ring);
    // SAFETY: the ring is gone, with everything that came of it.
    unsafe {
        let leaked = buf::reclaim();
        sim.end();
        leaked
    }
}

fn token(index: u32) -> Handle {
    Handle::new(index, Tag::Operation, 1)
}

/// Index and result of everything that the batch has; how many buffers came with it.
fn results(ring: &mut Ring) -> (Vec<(u32, i32)>, usize) {
    let mut seen = Vec::new();
    let mut buffers = 0;
    while let Some(popped) = ring.pop() {
        let (token, result) = match popped {
            Popped::Plain {
                token,
                result,
                buffer,
            } => {
                buffers += usize::from(buffer.is_some());
                (token, result)
            }
            Popped::Report(report) => {
                buffers += usize::from(matches!(report.carried, Carried::Buffer(_)));
                (report.token, report.result)
            }
            Popped::Ready(_) => continue,
        };
        seen.push((Handle::from_raw(token).expect("a token").index(), result));
    }
    (seen, buffers)
}

#[test]
fn p10_what_a_short_submit_cuts_off_a_chain_does_not_run() {
    const CANCELLED: i32 = -Errno::ECANCELED.raw();
    // The first call takes two submissions, both at once.
    let cut = [0, 226, PROMPT, 0, 0, PROMPT, 0, 0];
    for hard in [false, true] {
        let (mut ring, sim) = scripted(Manners::default(), &cut, PROMPT);
        let alive = Arc::new(());
        ring.make_room(5).unwrap();
        for index in 0..4 {
            let mut request: Request<VecBuf> = if index == 2 {
                // SAFETY: this kernel's numbers name nothing.
                let target = unsafe { Target::from_raw(3) };
                op::write(target, VecBuf::counted(vec![1; 9], &alive)).into()
            } else {
                op::nop().into()
            };
            request.link = match (index, hard) {
                (3, _) => Link::None,
                (_, false) => Link::Soft,
                (_, true) => Link::Hard,
            };
            ring.push(token(index), request, vouched()).unwrap();
        }
        // Not of the chain: it runs.
        ring.push(token(9), op::nop().into(), vouched()).unwrap();
        ring.wait(None, None).unwrap();
        assert_eq!(results(&mut ring), (vec![(0, 0), (1, 0)], 0));
        ring.wait(None, None).unwrap();
        let expected = vec![(2, CANCELLED), (3, CANCELLED), (9, 0)];
        assert_eq!(results(&mut ring), (expected, 1), "hard: {hard}");
        assert_eq!(Arc::strong_count(&alive), 1, "P-6");
        assert_eq!(end(ring, sim), 0);
    }
}

/// A chain of three, of which `closing` closes and another one fails or not: told of once, and its descriptor is closed once:
/// the kernel sees to that.
fn close_in_chain(manners: Manners, closing: u32, breaks: bool) {
    const FAILS: u8 = 65;
    const CANCELLED: i32 = -Errno::ECANCELED.raw();
    let whole = [0, 0, if breaks { FAILS } else { PROMPT }];
    let (mut ring, sim) = scripted(manners, &whole, PROMPT);
    let open = sim.leftovers().0;
    ring.make_room(4).unwrap();
    for index in 0..3 {
        let link = if index == 2 { Link::None } else { Link::Soft };
        if index == closing {
            let fd = sim.eventfd().unwrap();
            ring.push_close(token(index), fd, link).unwrap();
        } else {
            let mut request: Request<VecBuf> = op::nop().into();
            request.link = link;
            ring.push(token(index), request, vouched()).unwrap();
        }
    }
    ring.wait(None, None).unwrap();
    let (mut told, _) = results(&mut ring);
    told.sort_unstable();
    let says = if manners.closes_with_ecanceled {
        CANCELLED
    } else {
        0
    };
    let expected: Vec<_> = (0..3)
        .map(|index| match index {
            0 if breaks => (0, -Errno::EIO.raw()),
            _ if breaks => (index, CANCELLED),
            _ if index == closing => (index, says),
            _ => (index, 0),
        })
        .collect();
    assert_eq!(told, expected, "{manners:?}");
    assert_eq!(sim.leftovers().0, open, "closed: {manners:?}");
    assert_eq!(ring.in_flight(), 0);
    assert_eq!(end(ring, sim), 0);
}

#[test]
fn p15_a_close_in_a_chain_closes_once_whatever_it_says() {
    for closes_with_ecanceled in [false, true] {
        for breaks_backwards in [false, true] {
            let manners = Manners {
                closes_with_ecanceled,
                breaks_backwards,
                ..Manners::default()
            };
            close_in_chain(manners, 1, true);
            close_in_chain(manners, 2, true);
            for closing in 0..3 {
                close_in_chain(manners, closing, false);
            }
        }
    }
}

#[test]
fn p12_a_ring_without_what_is_needed_is_too_old() {
    let needed = [0, 1, 2, 3, 8]; // SINGLE_MMAP, NODROP, SUBMIT_STABLE, RW_CUR_POS, EXT_ARG
    for bit in needed {
        let manners = Manners {
            features: Some(!(1 << bit)),
            ..Manners::default()
        };
        let sim = Sim::new(&[], manners);
        let made: Result<Ring, Error> = Uring::with_kernel(sim);
        assert_eq!(made.map(drop), Err(Error::RingTooOld));
        assert_eq!(sim.leftovers().0, 0, "nothing is left open");
        // SAFETY: no ring was made.
        unsafe { sim.end() };
    }
}

#[test]
fn p6_an_old_kernel_is_asked_for_each_operation() {
    let manners = Manners {
        old: true,
        ..Manners::default()
    };
    let (mut ring, sim) = scripted(manners, &[], LATER);
    let alive = Arc::new(());
    for index in 0..8 {
        // SAFETY: this kernel's numbers name nothing.
        let target = unsafe { Target::from_raw(3) };
        let read = op::read(target, VecBuf::counted(vec![1; 9], &alive));
        ring.push(token(index), read.into(), vouched()).unwrap();
    }
    ring.flush().unwrap();
    assert_eq!(ring.shut_down(Duration::from_secs(1)).settled, 8);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(end(ring, sim), 0);
}

#[test]
fn p6_what_a_kernel_never_lets_go_of_is_leaked_and_counted() {
    // Cancelling finds nothing: every cancel is put off.
    let (mut ring, sim) = scripted(Manners::default(), &[], 240);
    let alive = Arc::new(());
    // SAFETY: this kernel's numbers name nothing.
    let target = unsafe { Target::from_raw(3) };
    let read = op::read(target, VecBuf::counted(vec![1; 9], &alive));
    ring.push(token(0), read.into(), vouched()).unwrap();
    ring.flush().unwrap();
    let report = ring.shut_down(Duration::from_millis(50));
    assert_eq!((report.settled, report.leaked), (0, 1));
    assert_eq!(ring.counters().leaked, 1);
    assert_eq!(Arc::strong_count(&alive), 2, "not freed");
    assert_eq!(end(ring, sim), 1);
}

#[test]
fn w1_an_old_kernel_tells_of_wakes_all_the_same() {
    let manners = Manners {
        old: true,
        ..Manners::default()
    };
    let (mut ring, sim) = scripted(manners, &[], PROMPT);
    let wakeup = Rc::new(Wakeup::with_kernel(sim));
    ring.attach(Rc::clone(&wakeup)).unwrap();
    for _ in 0..5 {
        wakeup.wake();
        let mut wakes = 0;
        for _ in 0..4 {
            ring.wait(None, None).unwrap();
            while let Some(popped) = ring.pop() {
                assert!(matches!(popped, Popped::Ready(_)));
                wakes += ring.take_wakes();
            }
        }
        assert_eq!(wakes, 1);
    }
    drop(wakeup);
    assert_eq!(end(ring, sim), 0);
}
