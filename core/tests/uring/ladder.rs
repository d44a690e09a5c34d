//! P-12: stepping down, and being told why, on a kernel that refuses.

use std::rc::Rc;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::proactor::{Backend, Options, Part, Uring, op};
use linux_event_core::reactor::Backend as _;
use linux_event_core::wakeup::Wakeup;

use crate::buf::{VecBuf, vouched};
use crate::counting::{ALWAYS, Name, Probe};
use crate::harness::token;

type Probed = Uring<VecBuf, Probe, Rc<Wakeup<Probe>>>;

fn ring(probe: &Probe) -> Result<Probed, Error> {
    Uring::with_kernel(probe.clone())
}

fn works(ring: &mut Probed) {
    ring.reserve(4).unwrap();
    ring.push(token(0, 1), op::nop().into(), vouched()).unwrap();
    ring.wait(None, None).unwrap();
    assert!(ring.pop().is_some());
}

/// How the kernel refused a part: once for each step.
fn steps_of(ring: &Probed, part: Part) -> Vec<Errno> {
    let steps = ring.capabilities().steps.iter();
    steps
        .filter(|step| step.part == part)
        .map(|step| step.errno)
        .collect()
}

#[test]
fn p12_flags_are_shed_one_at_a_time_and_told() {
    let probe = Probe::new();
    let order = [
        Part::NoIndexArray,
        Part::DeferTaskrun,
        Part::SingleIssuer,
        Part::CoopTaskrun,
        Part::SubmitAll,
    ];
    // What this kernel refuses by itself, it refuses in the same order.
    let flags_shed = |ring: &Probed| -> Vec<Part> {
        let parts = ring.capabilities().steps.iter().map(|step| step.part);
        parts.filter(|part| order.contains(part)).collect()
    };
    let least = flags_shed(&ring(&probe).unwrap()).len();
    for times in 0..=order.len() {
        probe.refuse(Name::RingSetup, Errno::EINVAL, times as u64);
        let mut ring = ring(&probe).unwrap();
        assert_eq!(
            flags_shed(&ring),
            order[..times.max(least)],
            "{}",
            ring.capabilities()
        );
        works(&mut ring);
    }
    probe.refuse(Name::RingSetup, Errno::EINVAL, ALWAYS);
    assert!(matches!(
        ring(&probe),
        Err(Error::Os {
            errno: Errno::EINVAL,
            ..
        })
    ));
    assert_eq!(probe.open().len(), 0);
}

#[test]
fn p12_what_is_forbidden_names_the_way_out() {
    let probe = Probe::new();
    for errno in [Errno::EPERM, Errno::ENOSYS, Errno::EACCES] {
        probe.refuse(Name::RingSetup, errno, ALWAYS);
        let error = ring(&probe).unwrap_err();
        assert_eq!(
            error,
            Error::NoRing {
                errno,
                by_sysctl: false
            }
        );
        assert!(error.to_string().contains("reactor"));
    }
    probe.refuse(Name::RingSetup, Errno::EPERM, ALWAYS);
    probe.refuse(Name::IsDisabled, Errno::EPERM, ALWAYS);
    let error = ring(&probe).unwrap_err();
    assert!(error.to_string().contains("kernel.io_uring_disabled"));
}

#[test]
fn p12_less_memory_makes_a_smaller_ring_and_none_an_error() {
    let probe = Probe::new();
    // Nor can memory that may come free be waited for.
    probe.refuse(Name::EpollCreate, Errno::EMFILE, ALWAYS);
    probe.refuse(Name::RingSetup, Errno::ENOMEM, 2);
    let mut made = ring(&probe).unwrap();
    assert_eq!(
        (made.capabilities().entries, made.capabilities().cq_entries),
        (32, 512)
    );
    assert_eq!(steps_of(&made, Part::Entries), [Errno::ENOMEM]);
    works(&mut made);
    probe.refuse(Name::RingSetup, Errno::ENOMEM, ALWAYS);
    let Err(Error::LockedMemory { needed, .. }) = ring(&probe) else {
        panic!("no ring can be had");
    };
    assert!(needed <= 8192);
}

#[test]
fn p12_without_the_registered_ring_and_the_probe_it_works() {
    let probe = Probe::new();
    probe.refuse(Name::RingRegister, Errno::EPERM, ALWAYS);
    let mut ring = ring(&probe).unwrap();
    assert!(!ring.capabilities().registered_ring);
    for part in [Part::RegisteredRing, Part::Probe] {
        assert_eq!(steps_of(&ring, part), [Errno::EPERM]);
    }
    works(&mut ring);
}

#[test]
fn p13_a_strict_queue_takes_no_more_operations_than_completions() {
    let options = Options {
        entries: 8,
        cq_entries: Some(16),
        strict_cq: true,
        ..Options::default()
    };
    let mut ring: Probed = Uring::with_options(Probe::new(), options).unwrap();
    assert_eq!(ring.reserve(17), Err(Error::Full { capacity: 16 }));
    assert_eq!(ring.reserve(16), Ok(()));
}

#[test]
fn p9_a_turn_is_one_call_and_a_ring_leaves_nothing_open() {
    let probe = Probe::new();
    let mut made = ring(&probe).unwrap();
    made.reserve(64).unwrap();
    let ((), counts) = probe.counted(|| {
        for round in 1..10 {
            for index in 0..20 {
                made.push(token(index, round), op::nop().into(), vouched())
                    .unwrap();
            }
            made.wait(None, None).unwrap();
            while made.pop().is_some() {}
        }
    });
    assert_eq!(counts.of(Name::RingEnter), 9);
    assert_eq!(counts.system_calls(), 9, "{counts:?}");
    assert_eq!(counts.of(Name::Monotonic), 0, "T-1");
    drop(made);
    assert_eq!(probe.open().len(), 0);
    assert_eq!(probe.counts().of(Name::Map), probe.counts().of(Name::Unmap));
}

#[test]
fn p10_a_kernel_that_takes_nothing_loses_nothing() {
    let probe = Probe::new();
    let mut made = ring(&probe).unwrap();
    made.reserve(64).unwrap();
    made.push(token(0, 1), op::nop().into(), vouched()).unwrap();
    probe.refuse(Name::RingEnter, Errno::EAGAIN, 2);
    assert_eq!(
        made.wait(None, None).unwrap_err().errno(),
        Some(Errno::EAGAIN)
    );
    assert_eq!(made.flush().unwrap_err().errno(), Some(Errno::EAGAIN));
    probe.refuse(Name::RingEnter, Errno::EINTR, 1);
    assert_eq!(
        made.wait(None, None),
        Ok(()),
        "R-1: EINTR ends a wait empty"
    );
    assert!(made.pop().is_none());
    made.wait(None, None).unwrap();
    assert!(made.pop().is_some());
}

#[test]
fn p10_lost_completions_are_fatal_and_free_nothing() {
    let probe = Probe::new();
    let alive = std::sync::Arc::new(());
    let mut made = ring(&probe).unwrap();
    made.reserve(64).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    // SAFETY: the pipe outlives the ring.
    let target = unsafe {
        linux_event_core::proactor::Target::from_raw(std::os::fd::AsRawFd::as_raw_fd(&reader))
    };
    let buffer = VecBuf::counted(vec![0; 8], &alive);
    made.push(token(0, 1), op::read(target, buffer).into(), vouched())
        .unwrap();
    probe.refuse(Name::RingEnter, Errno::EBADR, 1);
    assert_eq!(made.wait(None, None), Err(Error::CompletionsLost));
    assert_eq!(made.wait(None, None), Err(Error::CompletionsLost));
    assert_eq!(made.flush(), Err(Error::CompletionsLost));
    assert_eq!(made.cancel(token(0, 1)), Err(Error::CompletionsLost));
    let refused = made
        .push(token(1, 1), op::nop().into(), vouched())
        .unwrap_err();
    assert_eq!(refused.error, Error::CompletionsLost);
    // It was still queued, so the kernel never had it.
    assert_eq!(made.shut_down(std::time::Duration::ZERO).leaked, 0);
    drop(made);
    assert_eq!(std::sync::Arc::strong_count(&alive), 1);
}
