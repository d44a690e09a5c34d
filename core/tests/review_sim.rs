//! What goes wrong between a ring and its kernel is told, and mistaken for nothing else: on a kernel of plain memory.

#![allow(missing_docs, unsafe_code, dead_code)]

#[path = "support/acting.rs"]
mod acting;
#[path = "support/buf.rs"]
mod buf;
#[path = "support/ring_kernel.rs"]
mod ring_kernel;

use std::rc::Rc;
use std::time::Duration;

use acting::{ACT, Acting};
use buf::{VecBuf, vouched};
use linux_event_core::error::Error;
use linux_event_core::handle::{Handle, Tag};
use linux_event_core::proactor::{
    Backend as _, Completion, Event, Options, Proactor, Request, Target, Uring, op,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::sys::Kernel as _;
use linux_event_core::wakeup::Wakeup;
use ring_kernel::{Manners, Sim};

type Ring = Uring<VecBuf, Sim, Rc<Wakeup<Sim>>>;
type Loop = Proactor<VecBuf, u32, 16, 16, Ring>;

/// What a kernel decides that does everything at once and in full.
const PROMPT: u8 = 66;
/// What it decides that puts off what can be put off.
const LATER: u8 = 64;
/// What it decides that takes one submission.
const ONE: u8 = 225;

fn scripted(manners: Manners, options: Options, first: &[u8], then: u8) -> (Ring, Sim) {
    let mut script = vec![0; 3]; // registering the ring, probing, mapping
    script.extend_from_slice(first);
    script.resize(script.len() + 1000, then);
    let sim = Sim::new(&script, manners);
    let mut ring: Ring = Uring::with_options(sim, options).expect("a ring");
    ring.reserve(16).expect("room");
    (ring, sim)
}

fn end(what: impl Sized, sim: Sim) {
    drop(what);
    // SAFETY: everything that used it is gone.
    unsafe {
        buf::reclaim();
        sim.end();
    }
}

fn next(proactor: &mut Loop) -> Option<Completion<u32, Ring>> {
    while let Some(event) = proactor.next() {
        if let Event::Completion(completion) = event {
            return Some(completion);
        }
    }
    None
}

fn read() -> Request<VecBuf> {
    // SAFETY: this kernel's numbers name nothing.
    let target = unsafe { Target::from_raw(3) };
    op::read(target, VecBuf::from_slice(&[0; 8])).into()
}

#[test]
fn p10_completions_that_are_lost_while_an_overflow_is_flushed_are_told() {
    let manners = Manners {
        loses: true,
        ..Manners::default()
    };
    let options = Options {
        entries: 8,
        cq_entries: Some(8),
        ..Options::default()
    };
    let mut first = vec![PROMPT; 26 + 8 + 4 + 2];
    first.push(LATER);
    let (mut ring, sim) = scripted(manners, options, &first, PROMPT);
    let mut index = 0;
    for count in [8, 2, 1] {
        for _ in 0..count {
            ring.push(
                Handle::new(index, Tag::Operation, 1),
                op::nop().into(),
                vouched(),
            )
            .unwrap();
            index += 1;
        }
        ring.flush().unwrap();
    }
    assert_eq!(ring.counters().overflows, 1);
    assert_eq!(ring.wait(None, None), Err(Error::CompletionsLost));
    end(ring, sim);
}

#[test]
fn p4_what_was_cut_off_a_chain_is_not_taken_for_what_has_its_slot_now() {
    let (ring, sim) = scripted(
        Manners::default(),
        Options::default(),
        &[0, ONE, LATER, LATER],
        PROMPT,
    );
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    let [head, _] = proactor
        .submit_chain([(read(), 0), (op::nop().into(), 1)])
        .unwrap();
    proactor.flush().unwrap(); // takes the head, and then what is left
    proactor.wait(Some(Duration::ZERO)).unwrap();
    let completion = next(&mut proactor).expect("what was cut off");
    assert!(
        completion.data == 1 && completion.is_cancelled(),
        "{completion:?}"
    );
    let other = proactor.submit(read(), 2).unwrap();
    assert!(proactor.cancel(head));
    assert_eq!(proactor.is_cancelling(other), Some(false));
    end(proactor, sim);
}

#[test]
fn p10_what_is_cut_off_from_its_timeout_ends() {
    let (ring, sim) = scripted(
        Manners::default(),
        Options::default(),
        &[0, ONE, LATER, LATER],
        PROMPT,
    );
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    // SAFETY: this kernel's numbers name nothing.
    let target = unsafe { Target::from_raw(3) };
    let limited = op::read(target, VecBuf::from_slice(&[0; 8])).timeout(Duration::from_secs(1));
    proactor.submit(limited, 0).unwrap();
    proactor.flush().unwrap();
    proactor.wait(Some(Duration::ZERO)).unwrap();
    let completion = next(&mut proactor).expect("it ends");
    assert!(completion.is_cancelled(), "{completion:?}");
    end(proactor, sim);
}

#[test]
fn p4_a_request_of_the_loops_own_that_finds_nothing_cancels_nothing() {
    let (mut ring, sim) = scripted(Manners::default(), Options::default(), &[], LATER);
    let token = Handle::new(0, Tag::Operation, 0);
    ring.push(token, read(), vouched()).unwrap();
    ring.flush().unwrap();
    ring.remove_process(9, Handle::new(0, Tag::Process, 0))
        .unwrap(); // none is watched by this word
    for _ in 0..3 {
        ring.wait(None, Some(Duration::ZERO)).unwrap();
        assert!(ring.pop().is_none(), "nobody asked for its end");
    }
    end(ring, sim);
}

/// Whether a read ends that is cancelled, where a kernel decides so from then on, and is willing after that.
fn ends(then: &[u8]) -> bool {
    let mut first = vec![PROMPT, LATER];
    first.extend_from_slice(then);
    let (ring, sim) = scripted(Manners::default(), Options::default(), &first, LATER);
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    let op = proactor.submit(read(), 0).unwrap();
    proactor.flush().unwrap();
    assert!(proactor.cancel(op));
    let mut ends = false;
    for _ in 0..400 {
        // A kernel that does not take everything says so.
        let _ = proactor.wait(Some(Duration::ZERO));
        ends |= next(&mut proactor).is_some();
    }
    assert_eq!(ends, !proactor.contains(op), "P-3");
    end(proactor, sim);
    ends
}

#[test]
fn p4_what_could_only_be_told_to_a_worker_is_asked_for_again() {
    /// A cancel is answered EALREADY.
    const TOLD: u8 = 248;
    for times in [1, 2, 50] {
        assert!(ends(&vec![TOLD; times]), "{times}");
    }
}

/// A loop around this one waits for what is to come of it.
#[test]
fn g2_a_request_that_could_not_be_made_again_is_made_before_the_loop_around() {
    let options = Options {
        entries: 8,
        ..Options::default()
    };
    let mut happened = 0;
    for at in 0..12 {
        // The read waits, its cancel finds nothing; once the kernel takes nothing.
        let mut first = vec![PROMPT, LATER];
        first.extend([240; 12]);
        first[2 + at] = NONE;
        let (ring, sim) = scripted(Manners::default(), options, &first, LATER);
        let mut proactor: Loop = Proactor::new(ring).unwrap();
        let op = proactor.submit(read(), 0).unwrap();
        proactor.flush().unwrap();
        assert!(proactor.cancel(op));
        let _ = proactor.wait(Some(Duration::ZERO));
        for data in 1..=8 {
            let _ = proactor.submit(read(), data);
        }
        let before = proactor.counters().submitted;
        let is_over = next(&mut proactor).is_some();
        // The queue is full, and what was to be queued could not be.
        if !is_over && (before, proactor.counters().submitted) == (2, 2) {
            proactor.prepare().unwrap();
            assert_eq!(
                proactor.counters().submitted,
                11,
                "the reads, and the cancel"
            );
            happened += 1;
        }
        end(proactor, sim);
    }
    assert!(happened > 0);
}

#[test]
fn p4_a_request_that_is_cut_off_its_pause_is_made_again() {
    /// A cancel is answered ENOENT.
    const MISSED: u8 = 240;
    for cut in 0..200 {
        let mut then = [MISSED; 200];
        then[cut] = ONE;
        assert!(ends(&then), "a cut at {cut}");
    }
}

/// What a kernel decides that takes no submission.
const NONE: u8 = 224;

/// A kernel, and a ring, with a thread that submits.
fn with_a_thread() -> (Manners, Options) {
    let manners = Manners {
        flags: Some(u32::MAX),
        ..Manners::default()
    };
    let options = Options {
        sqpoll_idle: Some(Duration::from_millis(1)),
        ..Options::default()
    };
    (manners, options)
}

#[test]
fn c1_a_pidfd_that_a_submitting_thread_has_not_looked_at_stays_open() {
    let (manners, options) = with_a_thread();
    let sim = Sim::new(&vec![NONE; 200_000], manners);
    let ring: Ring = Uring::with_options(sim, options).expect("a ring");
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    let before = sim.leftovers().0;
    let watch = proactor.process(1, false, 7).unwrap();
    assert!(proactor.cancel(watch));
    assert_eq!(sim.leftovers().0, before + 1, "its poll is queued");
    drop(proactor);
    assert_eq!(sim.leftovers().0, 1, "the ring is closed");
    end((), sim);
}

#[test]
fn p14_what_a_submitting_thread_has_not_looked_at_stays_open() {
    let (manners, options) = with_a_thread();
    for taken in [false, true] {
        let then = if taken { LATER } else { NONE };
        let sim = Sim::new(&vec![then; 20_000], manners);
        let ring: Ring = Uring::with_options(sim, options).expect("a ring");
        let mut proactor: Loop = Proactor::new(ring).unwrap();
        let used = proactor.adopt(sim.eventfd().unwrap()).unwrap();
        proactor.adopt(sim.eventfd().unwrap()).unwrap();
        let read = op::read(used, VecBuf::with_capacity(8));
        proactor.submit(read, 0).unwrap();
        let flushed = proactor.flush();
        assert_eq!(flushed.is_ok(), taken);
        let report = proactor.shutdown(Duration::ZERO);
        assert_eq!(
            (report.leaked, report.untaken > 0),
            (usize::from(!taken), !taken)
        );
        // The ring is closed, and so is what nothing names.
        assert_eq!(sim.leftovers().0, usize::from(!taken));
        end((), sim);
    }
}

#[test]
fn p10_what_is_cut_off_from_its_timeout_ends_though_the_kernel_takes_nothing_next() {
    /// EAGAIN.
    const AGAIN: u8 = 201;
    for refusal in [&[0, NONE][..], &[AGAIN]] {
        // The operation without its timeout; then nothing at all.
        let mut first = vec![0, ONE, LATER];
        first.extend_from_slice(refusal);
        let (ring, sim) = scripted(Manners::default(), Options::default(), &first, PROMPT);
        let mut proactor: Loop = Proactor::new(ring).unwrap();
        let mut request = read();
        request.timeout = Some(Duration::from_secs(1));
        proactor.submit(request, 7).unwrap();
        proactor.flush().unwrap_err();
        proactor.wait(Some(Duration::ZERO)).unwrap();
        let completion = next(&mut proactor).expect("what has no timeout");
        assert!(
            completion.data == 7 && completion.is_cancelled(),
            "{completion:?}"
        );
        end(proactor, sim);
    }
}

#[test]
fn c1_a_process_that_can_not_be_polled_again_is_told() {
    /// EAGAIN.
    const AGAIN: u8 = 201;
    let options = Options {
        entries: 8,
        ..Options::default()
    };
    let first = [
        PROMPT, PROMPT, PROMPT, PROMPT, PROMPT, PROMPT, PROMPT, AGAIN,
    ];
    let (ring, sim) = scripted(Manners::default(), options, &first, PROMPT);
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    proactor.process(1, true, 7).unwrap();
    proactor.wait(Some(Duration::ZERO)).unwrap();
    for data in 0..8 {
        proactor.submit(op::nop(), data).unwrap();
    }
    // It was reported, and lives: there is no room for another poll, nor can room be made.
    let event = proactor.next();
    assert!(
        matches!(
            event,
            Some(Event::Exit {
                data: 7,
                status: Err(_),
                ..
            })
        ),
        "{event:?}"
    );
    end(proactor, sim);
}

#[test]
fn p14_the_numbers_of_another_kernel_name_nothing_here() {
    use linux_event_core::errno::Errno;
    use linux_event_core::sys::{Kernel, Linux};
    let sim = Sim::new(&[], Manners::default());
    let foreign = sim.eventfd().unwrap();
    let number = linux_event_core::sys::AsRawFd::as_raw_fd(&foreign);
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: nothing of the process's has the number; that it should get it is what must not be.
    let taken = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), number) };
    assert_eq!(taken, -1, "a file of the process's can have it");
    assert_eq!(Linux.read(foreign.borrow(), &mut [0; 8]), Err(Errno::EBADF));
    assert_eq!(Linux.write(foreign.borrow(), &[0; 8]), Err(Errno::EBADF));
    end(foreign, sim);
}

/// Of two chains that were cut, the kernel has taken what is left of the first when the ring ends, and takes nothing more.
#[test]
fn p6_what_cut_chains_were_to_close_is_closed_or_counted() {
    /// Takes three submissions.
    const THREE: u8 = 227;
    let first = [0, ONE, LATER, 0, THREE, PROMPT, PROMPT, PROMPT];
    let (ring, sim) = scripted(Manners::default(), Options::default(), &first, NONE);
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    for data in [1, 3] {
        let file = proactor.adopt(sim.eventfd().unwrap()).unwrap();
        let close = (op::close(file).into(), data + 1);
        let chain = [(op::nop().link().into(), data), close];
        proactor.submit_chain(chain).unwrap();
    }
    for _ in 0..2 {
        proactor.wait(Some(Duration::ZERO)).unwrap();
    }
    let report = proactor.shutdown(Duration::ZERO);
    let open = sim.leftovers().0;
    // What began both is under way: neither is closed, so neither has settled.
    assert_eq!((report.settled, report.leaked, open), (0, 4, 2));
    end((), sim);
}

/// A panic cuts the end of a ring short that keeps what a cut chain was to close: the next one closes it.
#[test]
fn p6_an_end_that_a_panic_cut_short_goes_on() {
    type Panicking = Uring<Acting, Sim, Rc<Wakeup<Sim>>>;
    // The nop alone; then what is left of its chain, and a read that ends at once.
    let mut script = vec![0, 0, 0, 0, ONE, PROMPT];
    script.resize(1000, PROMPT);
    let sim = Sim::new(&script, Manners::default());
    let ring: Panicking = Uring::with_options(sim, Options::default()).unwrap();
    let mut proactor: Proactor<Acting, u32, 16, 16, Panicking> = Proactor::new(ring).unwrap();
    let file = proactor.adopt(sim.eventfd().unwrap()).unwrap();
    let close = (op::close(file).into(), 1);
    proactor
        .submit_chain([(op::nop().link().into(), 0), close])
        .unwrap();
    proactor.wait(Some(Duration::ZERO)).unwrap();
    // SAFETY: this kernel's numbers name nothing.
    let target = unsafe { Target::from_raw(3) };
    let read = op::read(target, Acting::new(VecBuf::from_slice(&[0; 8])));
    proactor.submit(read, 2).unwrap();
    ACT.set(|| panic!("as it is dropped"));
    let start = sim.monotonic();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        proactor.shutdown(Duration::from_secs(5))
    }));
    ACT.set(|| {});
    assert!(ended.is_err());
    assert!(sim.monotonic().since(start) < Duration::from_millis(500));
    assert_eq!(sim.leftovers().0, 0, "open");
    end((), sim);
}
