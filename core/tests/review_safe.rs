//! What safe code can do to a ring by way of the safe traits that it may implement, and of fields that it may set: nothing
//! that a ring submits names a descriptor that is closed, and nothing that was asked of it is lost (P-14, P-4, G-1).

#![allow(missing_docs, unsafe_code)]

#[path = "support/acting.rs"]
mod acting;
#[path = "support/buf.rs"]
mod buf;
#[path = "support/spy.rs"]
mod spy;
#[path = "support/workers.rs"]
mod workers;

use std::borrow::{Borrow, BorrowMut};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acting::{ACT, Acting};
use buf::{VecBuf, vouched};
use linux_event_core::error::Error;
use linux_event_core::handle::{Handle, Tag};
use linux_event_core::proactor::{
    Backend as _, Completion, Event, Link, Proactor, Request, Storage, Target, Uring,
    VectoredRequest, Vectors, op,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::signal::{Signal, SignalCounts, SignalSet};
use linux_event_core::sys::{BorrowedFd, Fd, Linux};
use spy::Spy;

type Backend = Uring<VecBuf>;
type Tables = Storage<u32, 8, 8>;
type Loop<S = Tables> = Proactor<VecBuf, u32, 8, 8, Backend, S>;
type Spying<S = Tables> = Proactor<VecBuf, u32, 8, 8, Spy, S>;

fn ring() -> Option<Backend> {
    match Uring::new() {
        Ok(ring) => Some(ring),
        Err(Error::NoRing { .. }) => None,
        Err(other) => panic!("{other:?}"),
    }
}

fn owned(fd: impl Into<OwnedFd>) -> Fd {
    // SAFETY: it was an owned descriptor.
    unsafe { Fd::from_raw(Linux, fd.into().into_raw_fd()) }
}

fn next<S: BorrowMut<Tables>>(proactor: &mut Loop<S>) -> Option<Completion<u32, Backend>> {
    for _ in 0..50 {
        while let Some(event) = proactor.next() {
            if let Event::Completion(completion) = event {
                return Some(completion);
            }
        }
        proactor.wait(Some(Duration::from_millis(100))).unwrap();
    }
    None
}

/// A file of somebody else's, which takes a number over once that is closed; and what is written to it.
struct Other {
    reader: std::io::PipeReader,
    writer: std::io::PipeWriter,
    taken: Option<OwnedFd>,
    /// Numbers are the process's: one test at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Other {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, writer) = std::io::pipe().unwrap();
        Self {
            reader,
            writer,
            taken: None,
            _alone: alone,
        }
    }

    fn take_over(&mut self, number: i32) {
        // SAFETY: a number that is closed is nobody's, and what it is made is owned.
        unsafe {
            if libc::fcntl(number, libc::F_GETFD) < 0 {
                assert_eq!(libc::dup2(self.writer.as_raw_fd(), number), number);
                self.taken = Some(OwnedFd::from_raw_fd(number));
            }
        }
    }

    fn written(self) -> Vec<u8> {
        let Self {
            mut reader,
            writer,
            taken,
            _alone,
        } = self;
        drop((writer, taken));
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

#[test]
fn p14_what_one_engine_resolved_is_no_target_for_another() {
    let Some(ring) = ring() else { return };
    let mut other = Other::new();
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    let spy = Spy::default();
    let told = Rc::clone(&spy.targets);
    let mut spying: Spying = Proactor::new(spy).unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    let number = writer.as_raw_fd();
    let file = spying.adopt(owned(writer)).unwrap();
    spying
        .submit(op::write(file, VecBuf::from_slice(b"x")), 0)
        .unwrap_err();
    spying.submit(op::splice(file, file, 1), 0).unwrap_err();
    let vectors = Vectors::from_iter([VecBuf::from_slice(b"x")]);
    spying
        .submit_vectored(op::write_vectored(file, vectors), 0)
        .unwrap_err();
    let targets: Vec<Target> = told.take();
    assert_eq!(targets.len(), 4);
    assert!(targets.iter().all(|target| target.number() == Some(number)));
    drop(spying.release(file).unwrap());
    other.take_over(number);
    let buffer = || VecBuf::from_slice(b"oops");
    for target in targets {
        let submitted = proactor.submit(op::write(target, buffer()), 0);
        assert_eq!(
            submitted.map_err(|refused| refused.error),
            Err(Error::Stale)
        );
        let write = op::write_vectored(target, Vectors::from_iter([buffer()]));
        let submitted = proactor.submit_vectored(write, 0);
        assert_eq!(submitted.map_err(|(error, _)| error), Err(Error::Stale));
        let submitted = proactor.submit(op::splice(target, Target::CURRENT_DIRECTORY, 1), 0);
        assert_eq!(
            submitted.map_err(|refused| refused.error),
            Err(Error::Stale)
        );
        let members = [op::nop().into(), op::write(target, buffer()).into()];
        let refused = proactor.submit_chain(members.map(|member| (member, 0)));
        assert_eq!(refused.map_err(|refused| refused.error), Err(Error::Stale));
    }
    assert_eq!(proactor.operations(), 0);
    proactor.flush().unwrap();
    drop(proactor);
    assert_eq!(other.written(), b"", "written to another file");
}

/// Tables that somebody else can exchange.
struct Shifty {
    tables: Box<Tables>,
    /// What takes their place next.
    next: Rc<RefCell<Option<Box<Tables>>>>,
}

impl Borrow<Tables> for Shifty {
    fn borrow(&self) -> &Tables {
        &self.tables
    }
}

impl BorrowMut<Tables> for Shifty {
    fn borrow_mut(&mut self) -> &mut Tables {
        if let Some(next) = self.next.take() {
            let before = std::mem::replace(&mut self.tables, next);
            LEFT.replace(Some(before));
        }
        &mut self.tables
    }
}

thread_local! {
    /// The tables that others took the place of last.
    static LEFT: RefCell<Option<Box<Tables>>> = const { RefCell::new(None) };
}

fn shifty() -> (Shifty, Rc<RefCell<Option<Box<Tables>>>>) {
    let next = Rc::default();
    let tables = Shifty {
        tables: Box::new(Tables::new()),
        next: Rc::clone(&next),
    };
    (tables, next)
}

#[test]
fn p14_tables_that_were_exchanged_close_nothing_that_a_ring_names() {
    let Some(ring) = ring() else { return };
    let mut other = Other::new();
    let (tables, exchange) = shifty();
    let mut proactor: Loop<Shifty> = Proactor::with_storage(ring, tables).unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    let number = writer.as_raw_fd();
    let file = proactor.adopt(owned(writer)).unwrap();
    let write = op::write(file, VecBuf::from_slice(b"oops"));
    let queued = proactor.submit(write, 0).unwrap();
    // The tables leave their proactor ...
    exchange.replace(Some(Box::new(Tables::new())));
    let _ = catch_unwind(AssertUnwindSafe(|| proactor.detach(queued)));
    let left = LEFT.take().expect("they left");
    // ... and come to another one, which ends.
    let (tables, exchange) = shifty();
    let mut spying: Spying<Shifty> = Proactor::with_storage(Spy::default(), tables).unwrap();
    exchange.replace(Some(left));
    let _ = catch_unwind(AssertUnwindSafe(|| spying.detach(queued)));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(spying)));
    other.take_over(number);
    let _ = proactor.flush();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(proactor)));
    assert_eq!(other.written(), b"", "written to another file");
}

/// Tables that are lent from a shelf, other ones at each borrow if it is so ordered.
struct Juggled {
    tables: Box<Tables>,
    place: usize,
    /// Places of those that are lent next.
    order: Rc<RefCell<VecDeque<usize>>>,
}

thread_local! {
    static SHELF: RefCell<[Option<Box<Tables>>; 3]> = const { RefCell::new([const { None }; 3]) };
}

impl Juggled {
    fn new(place: usize) -> Self {
        let (tables, order) = (Box::new(Tables::new()), Rc::default());
        Self {
            tables,
            place,
            order,
        }
    }
}

impl Borrow<Tables> for Juggled {
    fn borrow(&self) -> &Tables {
        &self.tables
    }
}

impl BorrowMut<Tables> for Juggled {
    fn borrow_mut(&mut self) -> &mut Tables {
        if let Some(place) = RefCell::borrow_mut(&self.order).pop_front() {
            SHELF.with_borrow_mut(|shelf| {
                let next = shelf[place].take().expect("they are on the shelf");
                let before = std::mem::replace(&mut self.tables, next);
                shelf[std::mem::replace(&mut self.place, place)] = Some(before);
            });
        }
        &mut self.tables
    }
}

#[test]
fn p14_a_use_is_taken_off_the_tables_that_the_operation_was_in() {
    let _alone = Other::new();
    let make = |place| {
        let (spy, tables) = (Spy::default(), Juggled::new(place));
        let (over, order) = (Rc::clone(&spy.over), Rc::clone(&tables.order));
        let spy = Spy {
            accepts: true,
            ..spy
        };
        let made: Spying<Juggled> = Proactor::with_storage(spy, tables).unwrap();
        (made, over, order)
    };
    SHELF.with_borrow_mut(|shelf| shelf[2] = Some(Box::new(Tables::new())));
    let (mut one, over, order) = make(0);
    let (mut other, _, other_order) = make(1);
    let write = |proactor: &mut Spying<Juggled>| {
        let (_, writer) = std::io::pipe().unwrap();
        let file = proactor.adopt(owned(writer)).unwrap();
        let write = op::write(file, VecBuf::from_slice(b"x"));
        (file, proactor.submit(write, 0).unwrap())
    };
    let (file, _) = write(&mut one);
    let (_, others) = write(&mut other);
    // The other's tables are free to be lent ...
    RefCell::borrow_mut(&other_order).push_back(2);
    assert!(catch_unwind(AssertUnwindSafe(|| other.detach(others))).is_err());
    // ... for one borrow, in which its operation ends; for the next one they are the proactor's own again.
    RefCell::borrow_mut(&order).extend([1, 0]);
    RefCell::borrow_mut(&over).push_back(others.handle());
    let noticed = catch_unwind(AssertUnwindSafe(|| one.next().is_some()));
    assert!(noticed.is_err(), "{noticed:?}");
    assert!(matches!(one.release(file), Err(Error::Busy)));
}

#[test]
fn p4_a_lone_vectored_operation_leads_to_nothing() {
    let _alone = Other::new();
    let Some(ring) = ring() else { return };
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let file = proactor.adopt(owned(reader)).unwrap();
    for link in [Link::Soft, Link::Hard] {
        let parts = Vectors::from_iter([VecBuf::with_capacity(8)]);
        let mut read: VectoredRequest<VecBuf> = op::read_vectored(file, parts).into();
        read.request.link = link;
        let read = proactor.submit_vectored(read, 7).unwrap();
        assert!(proactor.cancel(read));
        let completion = next(&mut proactor).expect("it was cancelled");
        assert!(
            completion.data == 7 && completion.is_cancelled(),
            "{completion:?}"
        );
    }
}

#[test]
fn g1_a_bare_ring_touches_nothing_in_a_forked_child() {
    let _alone = Other::new();
    let Some(mut ring) = ring() else { return };
    ring.reserve(8).unwrap();
    ring.as_fd();
    ring.arm(Some(linux_event_core::clock::Instant::MAX))
        .unwrap();
    let set = SignalSet::from(Signal::from_raw(libc::SIGUSR1).unwrap());
    ring.set_signals(set).unwrap();
    ring.push(
        Handle::new(0, Tag::Operation, 1),
        op::nop().into(),
        vouched(),
    )
    .unwrap();
    ring.add(0, 1, Handle::new(1, Tag::Process, 1)).unwrap();
    // SAFETY: the child touches the ring only, and ends without returning.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let mut counts = SignalCounts::new();
            let refused = [
                ring.arm(None) == Err(Error::Forked),
                ring.set_signals(SignalSet::EMPTY) == Err(Error::Forked),
                ring.take_signals(&mut counts) == Err(Error::Forked),
                ring.remove_process(0, Handle::new(1, Tag::Process, 1))
                    .is_err(),
                ring.wait(None, None) == Err(Error::Forked),
                ring.cancel(Handle::new(0, Tag::Operation, 1)) == Err(Error::Forked),
                ring.pop().is_none(),
            ];
            let kept = refused.iter().position(|&refused| !refused);
            libc::_exit(kept.map_or(0, |nth| nth as i32 + 1));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "{status:#x}"
        );
    }
}

thread_local! {
    /// What `fork` said: 0 in the child.
    static FORKED: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Forks, once until that is forgotten.
fn forks_once() {
    if FORKED.get().is_none() {
        // SAFETY: the child goes on with the end of a ring, and ends without returning from the test.
        FORKED.set(Some(unsafe { libc::fork() }));
    }
}

#[test]
fn g1_a_buffer_that_forks_when_it_is_dropped_ends_in_both() {
    let _alone = Other::new();
    // How many have settled, are in flight, and are queued when the ring ends.
    for places in [[1, 1, 0], [0, 2, 0], [0, 1, 1], [0, 0, 2]] {
        let Some(mut proactor) = with_acting_buffers() else {
            return;
        };
        let (mut ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = proactor
            .adopt(owned(peer))
            .map_err(|(error, _)| error)
            .unwrap();
        let read = || op::recv(file, Acting::new(VecBuf::with_capacity(1)));
        for (number, count) in places.into_iter().enumerate() {
            for _ in 0..count {
                proactor
                    .submit(read(), 0)
                    .map_err(|refused| refused.error)
                    .unwrap();
            }
            if number < 2 {
                proactor.flush().unwrap();
            }
            if number == 0 {
                ours.write_all(&[1; 1][..count]).unwrap();
                proactor.wait(Some(Duration::ZERO)).unwrap();
            }
        }
        FORKED.set(None);
        ACT.set(forks_once);
        drop(proactor);
        ACT.set(|| {});
        let child = FORKED.take().expect("a buffer was dropped");
        assert!(child >= 0);
        // SAFETY: the child does nothing else any more.
        unsafe {
            if child == 0 {
                libc::_exit(0);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!(status, 0, "{places:?}: {status:#x}");
        }
    }
}

#[test]
fn p15_a_chain_that_never_began_closes_its_file() {
    let mut other = Other::new();
    let Some(ring) = ring() else { return };
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let number = writer.as_raw_fd();
    let file = proactor.adopt(owned(writer)).unwrap();
    // What is wrong with one member ends a chain before its first one has begun (`io_uring_enter(2)`).
    let mut sync: Request<VecBuf> = op::fsync(BorrowedFd::STDERR).into();
    sync.flags = 1 << 30;
    let [closed, _] = proactor
        .submit_chain([(op::close(file).into(), 1), (sync, 2)])
        .unwrap();
    let completion = next(&mut proactor).expect("it ends");
    assert!(
        completion.op == closed && completion.is_cancelled(),
        "{completion:?}"
    );
    next(&mut proactor).expect("so does the other one");
    other.take_over(number);
    assert!(other.taken.is_some(), "the descriptor is still open");
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[test]
fn p14_a_slot_that_an_operation_empties_is_given_out_once() {
    let _alone = Other::new();
    let Some(ring) = ring() else { return };
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    proactor.register_files(4).unwrap();
    let mut pipes = Vec::new();
    let mut files = Vec::new();
    for _ in 0..3 {
        let (reader, writer) = std::io::pipe().unwrap();
        pipes.push(reader);
        files.push(proactor.adopt(owned(writer)).unwrap());
    }
    let first = proactor.install(files[0]).unwrap();
    proactor.submit(op::close_fixed(first), 0).unwrap();
    proactor.flush().unwrap();
    // It is empty, and nobody has been told.
    let uninstalled = proactor.uninstall(first);
    let second = proactor.install(files[1]).unwrap();
    let completion = next(&mut proactor).expect("it is emptied");
    assert_eq!(completion.outcome(), Ok(0));
    let third = proactor.install(files[2]).unwrap();
    assert_ne!(second, third, "uninstalled: {uninstalled:?}");
    assert_eq!(uninstalled, Err(Error::Busy));
}

#[test]
fn p14_a_slot_stays_until_the_member_that_is_next_has_it() {
    let _alone = Other::new();
    let Some(ring) = ring() else { return };
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    proactor.register_files(1).unwrap();
    let (reader, mut trigger) = std::io::pipe().unwrap();
    let (mut first_reader, first) = std::io::pipe().unwrap();
    let (second_reader, second) = std::io::pipe().unwrap();
    let reader = proactor.adopt(owned(reader)).unwrap();
    let [first, second] = [first, second].map(|writer| proactor.adopt(owned(writer)).unwrap());
    let slot = proactor.install(first).unwrap();
    let read = op::read(reader, VecBuf::with_capacity(1)).limit(1);
    let write = op::write(slot, VecBuf::from_slice(b"first"));
    proactor
        .submit_chain([(read.into(), 0), (write.into(), 1)])
        .unwrap();
    proactor.flush().unwrap();
    trigger.write_all(b"x").unwrap();
    // The member before it is over; a kernel may start it with the next call.
    assert_eq!(next(&mut proactor).expect("it has read").data, 0);
    if proactor.uninstall(slot).is_ok() {
        assert_eq!(proactor.install(second).unwrap(), slot);
    }
    assert_eq!(
        next(&mut proactor).expect("it has written").outcome(),
        Ok(5)
    );
    drop(proactor);
    let mut bytes = Vec::new();
    first_reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"first");
    drop(second_reader);
}

#[test]
fn p14_a_slot_stays_until_a_worker_has_what_is_to_be_done_with_it() {
    let _alone = Other::new();
    let Some(ring) = ring() else { return };
    let mut proactor: Loop = Proactor::new(ring).unwrap();
    workers::one_worker();
    proactor.register_files(1).unwrap();
    let [
        (busy, mut trigger),
        (mut nothing, anywhere),
        (source, mut bytes),
        (mut first_reader, first),
        (mut second_reader, second),
    ] = [(); 5].map(|()| std::io::pipe().unwrap());
    let [busy, source] = [busy, source].map(|reader| proactor.adopt(owned(reader)).unwrap());
    let [anywhere, first, second] =
        [anywhere, first, second].map(|writer| proactor.adopt(owned(writer)).unwrap());
    let slot = proactor.install(first).unwrap();
    bytes.write_all(b"first").unwrap();
    proactor.submit(op::splice(busy, anywhere, 1), 0).unwrap();
    proactor.submit(op::splice(source, slot, 5), 1).unwrap();
    proactor.flush().unwrap();
    // The kernel has taken both, and looks for the file of the second when it begins.
    if proactor.uninstall(slot).is_ok() {
        assert_eq!(proactor.install(second).unwrap(), slot);
    }
    trigger.write_all(b"x").unwrap();
    for _ in 0..2 {
        next(&mut proactor)
            .expect("it is spliced")
            .outcome()
            .unwrap();
    }
    drop(proactor);
    drop(trigger);
    let [mut into_first, mut into_second] = [(); 2].map(|()| Vec::new());
    first_reader.read_to_end(&mut into_first).unwrap();
    second_reader.read_to_end(&mut into_second).unwrap();
    nothing.read_exact(&mut [0]).unwrap();
    assert_eq!(
        (&into_first[..], &into_second[..]),
        (&b"first"[..], &b""[..])
    );
}

/// Other tables, lent for the length of one submission, would keep an operation on a slot from those who ask for it there.
#[test]
fn p14_an_operation_on_a_slot_lies_in_tables_of_its_own() {
    let Some(ring) = ring() else { return };
    SHELF.with_borrow_mut(|shelf| *shelf = [None, None, Some(Box::new(Tables::new()))]);
    let tables = Juggled::new(0);
    let order = Rc::clone(&tables.order);
    let mut one: Loop<Juggled> = Proactor::with_storage(ring, tables).unwrap();
    one.register_files(2).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let file = one.adopt(owned(reader)).unwrap();
    let slot = one.install(file).unwrap();
    RefCell::borrow_mut(&order).push_back(2);
    let submitted = catch_unwind(AssertUnwindSafe(|| one.submit(op::fsync(slot), 0)));
    assert!(submitted.is_err(), "they are another's");
    RefCell::borrow_mut(&order).push_back(0);
    assert_eq!(one.cancel_all(), 0);
    assert_eq!(one.backend().in_flight(), 0);
    one.uninstall(slot).unwrap();
}

/// Tables that are lent to another proactor for the length of one report keep their operations.
#[test]
fn p14_what_a_proactor_is_told_is_over_it_looks_for_in_its_own_tables() {
    let Some(ring) = ring() else { return };
    SHELF.with_borrow_mut(|shelf| *shelf = [None, None, Some(Box::new(Tables::new()))]);
    let tables = Juggled::new(0);
    let order = Rc::clone(&tables.order);
    let mut one: Loop<Juggled> = Proactor::with_storage(ring, tables).unwrap();
    let tables = Juggled::new(1);
    let other_order = Rc::clone(&tables.order);
    let spy = Spy {
        accepts: true,
        ..Spy::default()
    };
    let over = Rc::clone(&spy.over);
    let mut other: Spying<Juggled> = Proactor::with_storage(spy, tables).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let file = one.adopt(owned(reader)).unwrap();
    let read = one
        .submit(op::read(file, VecBuf::with_capacity(8)), 1)
        .unwrap();
    // What is one's goes onto the shelf, and from there to the other one.
    RefCell::borrow_mut(&order).push_back(2);
    assert!(catch_unwind(AssertUnwindSafe(|| one.detach(read))).is_err());
    RefCell::borrow_mut(&other_order).extend([0, 1]);
    RefCell::borrow_mut(&over).push_back(read.handle());
    let told = catch_unwind(AssertUnwindSafe(|| other.next().is_some()));
    assert!(told.is_err(), "they are another's");
    let _ = catch_unwind(AssertUnwindSafe(|| other.detach(read)));
    RefCell::borrow_mut(&order).push_back(0);
    let _ = one.cancel_all();
    assert!(one.contains(read), "it is where it was");
    assert!(matches!(one.release(file), Err(Error::Busy)));
}

/// Where the rings of this process are mapped.
fn mapped_rings() -> Vec<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let rings = maps.lines().filter(|line| line.contains("[io_uring]"));
    rings
        .map(|line| usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap())
        .collect()
}

fn with_acting_buffers() -> Option<Proactor<Acting, u32, 8, 8, Uring<Acting>>> {
    match Uring::new() {
        Ok(ring) => Some(Proactor::new(ring).unwrap()),
        Err(Error::NoRing { .. }) => None,
        Err(other) => panic!("{other:?}"),
    }
}

/// A proactor with a registered buffer.
fn with_registered() -> Option<Proactor<Acting, u32, 8, 8, Uring<Acting>>> {
    let mut proactor = with_acting_buffers()?;
    let buffer = Acting::new(VecBuf::with_capacity(64));
    let registered = proactor.register_buffers(Vectors::from_iter([buffer]));
    registered.map_err(|(error, _)| error).unwrap();
    Some(proactor)
}

#[test]
fn g1_a_registered_buffer_that_forks_when_it_is_dropped_leaves_the_childs_memory_alone() {
    let _alone = Other::new();
    let others = mapped_rings();
    let Some(proactor) = with_registered() else {
        return;
    };
    let Some(hole) = mapped_rings().into_iter().find(|at| !others.contains(at)) else {
        return; // its memory is the program's own
    };
    thread_local! { static HOLE: Cell<usize> = const { Cell::new(0) }; }
    HOLE.set(hole);
    FORKED.set(None);
    ACT.set(|| {
        // SAFETY: the child maps a page where the parent's ring is not in it, and ends without returning from the test.
        unsafe {
            let child = libc::fork();
            FORKED.set(Some(child));
            if child == 0 {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                let writable = libc::PROT_READ | libc::PROT_WRITE;
                let hole = std::ptr::without_provenance_mut(HOLE.get());
                if libc::mmap(hole, 4096, writable, flags, -1, 0) == libc::MAP_FAILED {
                    libc::_exit(2);
                }
            }
        }
    });
    drop(proactor);
    ACT.set(|| {});
    let child = FORKED.take().expect("a buffer was dropped");
    assert!(child >= 0);
    // SAFETY: the child only asks whether its page is there.
    unsafe {
        if child == 0 {
            let mut is_there = 0;
            let page = std::ptr::without_provenance_mut(hole);
            libc::_exit(i32::from(libc::mincore(page, 4096, &raw mut is_there) != 0));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!(
            status, 0,
            "1 is a page that is gone, 2 one that was taken: {status:#x}"
        );
    }
}

#[test]
fn p12_a_registered_buffer_that_panics_when_it_is_dropped_gives_the_rings_place_back() {
    let _alone = Other::new();
    // A thread has sixteen.
    for _ in 0..20 {
        let Some(proactor) = with_registered() else {
            return;
        };
        if !proactor.backend().capabilities().registered_ring {
            assert!(!has_registered_rings(), "no place is left");
            return;
        }
        ACT.set(|| panic!("as it is dropped"));
        let ended = catch_unwind(AssertUnwindSafe(|| drop(proactor)));
        ACT.set(|| {});
        assert!(ended.is_err());
    }
}

/// Whether this kernel has places for rings, as a thread that has none yet is told.
fn has_registered_rings() -> bool {
    let fresh =
        std::thread::spawn(|| ring().is_some_and(|ring| ring.capabilities().registered_ring));
    fresh.join().unwrap()
}

#[test]
fn p14_a_process_is_unwatched_in_tables_of_its_own() {
    let _alone = Other::new();
    let make = || {
        let (tables, exchange) = shifty();
        let made: Loop<Shifty> = Proactor::with_storage(ring()?, tables).unwrap();
        Some((made, exchange))
    };
    let (Some((mut one, ones)), Some((mut other, others))) = (make(), make()) else {
        return;
    };
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    other.after(Duration::from_secs(9), 0).unwrap();
    let watch = one.process(child.id() as i32, false, 7).unwrap();
    ones.replace(Some(Box::new(Tables::new())));
    assert!(catch_unwind(AssertUnwindSafe(|| one.set_counted(watch, true))).is_err());
    others.replace(LEFT.take());
    let cancelled = catch_unwind(AssertUnwindSafe(|| other.cancel(watch)));
    assert!(cancelled.is_err(), "{cancelled:?}");
    drop(child.stdin.take());
    child.wait().unwrap();
    // Neither has its own tables any more: both leave them alone.
    for ended in [one, other] {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(ended)));
    }
}
