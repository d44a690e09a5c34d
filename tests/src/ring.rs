//! What the tests of the ring have in common: a ring with numbers for data, buffers that are counted, and the balance
//! that every test ends with.
//!
//! **What.** [`in_balance`] runs a test in a process of its own and checks afterwards that no descriptor is left and
//! every [`Counted`] buffer is home, or was meant to be lost. Test files include this one by `#[path]`, beside `system`.
//!
//! **Invariants.** *INV-COUNTED-1*: the memory of a `Counted` is a box of initialised bytes that is reached through its
//! parts only; it is never freed before the balance: after the buffer is dropped it is filled with [`DEAD`] and kept. So a
//! kernel that still writes to it leaves a trace, and the test fails.
//!
//! **Why this shape.** A kernel that writes to freed memory does it behind the back of every checker: no instrumented
//! instruction runs. Keeping the memory and looking at it afterwards sees it.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test file uses its own part of this one")]

use std::borrow::BorrowMut;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{File, Op};
use linux_event_core::proactor::{
    Code, Completion, Event, IoBuf, Options, Proactor, RawBuf, Refused, Request, Storage, Uring,
};
use linux_event_core::sys::{Fd, Linux};

/// Longer than any test takes: a wait that should end by itself gets this for a limit.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The result of what was cancelled.
pub(crate) const CANCELLED: i32 = -Errno::ECANCELED.raw();

/// What memory is filled with when its buffer is gone.
pub(crate) const DEAD: u8 = 0xDD;

thread_local! {
    static OUT: Cell<isize> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that is counted from its making to its drop.
#[derive(Debug)]
pub(crate) struct Counted {
    memory: NonNull<u8>,
    capacity: usize,
    filled: usize,
}

impl Counted {
    /// A buffer with nothing filled and room for `capacity` bytes.
    pub(crate) fn with_room(capacity: usize) -> Self {
        Self::of_box(vec![0; capacity].into_boxed_slice(), 0)
    }

    /// A buffer filled with `bytes`.
    pub(crate) fn of(bytes: impl AsRef<[u8]>) -> Self {
        let bytes: Box<[u8]> = bytes.as_ref().into();
        let filled = bytes.len();
        Self::of_box(bytes, filled)
    }

    fn of_box(bytes: Box<[u8]>, filled: usize) -> Self {
        OUT.set(OUT.get() + 1);
        let capacity = bytes.len();
        // INV-COUNTED-1: from here on reached through the pointer only.
        let memory = NonNull::from(Box::leak(bytes)).cast();
        Self {
            memory,
            capacity,
            filled,
        }
    }
}

impl Deref for Counted {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: INV-COUNTED-1: initialised, and this is its owner.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.filled) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let memory = std::ptr::slice_from_raw_parts_mut(self.memory.as_ptr(), self.capacity);
        // SAFETY: INV-COUNTED-1: the memory of a box of this length, whose one owner ends here.
        let mut memory = unsafe { Box::from_raw(memory) };
        memory.fill(DEAD);
        let _ = KEPT.try_with(|kept| kept.borrow_mut().push(memory));
        let _ = OUT.try_with(|out| out.set(out.get() - 1));
    }
}

// SAFETY: INV-COUNTED-1: the memory stays where it is until the parts are put together again, and all of it is
// initialised.
unsafe impl IoBuf for Counted {
    fn into_raw(self) -> RawBuf {
        let this = std::mem::ManuallyDrop::new(self);
        RawBuf {
            start: this.memory,
            filled: this.filled,
            capacity: this.capacity,
            context: std::ptr::null(),
        }
    }

    unsafe fn from_raw(raw: RawBuf) -> Self {
        Self {
            memory: raw.start,
            capacity: raw.capacity,
            filled: raw.filled,
        }
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity);
        // SAFETY: INV-COUNTED-1, and the count is at most the capacity; `bytes` is no part of what this owns.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.as_ptr(), count);
        }
        self.filled = count;
        count
    }
}

/// How many buffers are not home.
pub(crate) fn buffers_out() -> isize {
    OUT.get()
}

/// Looks at the memory of buffers that are gone, and frees it.
pub(crate) fn check_dead_memory() {
    for memory in KEPT.take() {
        let alive = memory.iter().position(|byte| *byte != DEAD);
        assert_eq!(alive, None, "somebody wrote to memory that was given back");
    }
}

/// How many descriptors this process has.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// As `system::alone`, where there is io_uring; elsewhere it says so, and false.
pub(crate) fn alone(name: &str) -> bool {
    if !crate::system::alone(name) {
        return false;
    }
    match Uring::<Counted>::new() {
        Err(error @ Error::NoRing { .. }) => {
            eprintln!("no ring, nothing is tested: {error}");
            false
        }
        _ => true,
    }
}

/// What unwinds a test whose kernel lacks an operation.
struct Lacks(Code);

/// Of a refusal, the error.
pub(crate) trait Refusal: std::fmt::Debug {
    fn error(&self) -> Error;
}

impl Refusal for Error {
    fn error(&self) -> Error {
        *self
    }
}

impl<R: std::fmt::Debug> Refusal for Refused<R> {
    fn error(&self) -> Error {
        self.error
    }
}

/// What was made or submitted. Where the kernel lacks the operation the test ends here, and says so; any other refusal is a
/// failure.
pub(crate) fn there_is<T, R: Refusal>(made: Result<T, R>) -> T {
    match made.map_err(|refused| (refused.error(), refused)) {
        Ok(made) => made,
        Err((Error::UnsupportedOperation { code }, _)) => resume_unwind(Box::new(Lacks(code))),
        Err((error, refused)) => panic!("{error}: {refused:?}"),
    }
}

/// Whether the kernel has an operation; says so if it has not.
pub(crate) fn has(code: Code) -> bool {
    let has = ring::<1>().backend().capabilities().supports(code);
    if !has {
        say_lacks(code);
    }
    has
}

fn say_lacks(code: Code) {
    let (name, since) = (code.name(), code.since());
    eprintln!("the kernel lacks {name} ({since}): nothing is tested of it");
}

/// Runs a test in a process of its own, and checks its balance: no descriptor left, every buffer home.
///
/// `name` is the test's.
pub(crate) fn in_balance(name: &str, test: impl FnOnce()) {
    in_balance_but_for(name, 0, test);
}

/// As [`in_balance`], of a test that means to lose `lost` buffers.
pub(crate) fn in_balance_but_for(name: &str, lost: isize, test: impl FnOnce()) {
    if !alone(name) {
        return;
    }
    let before = descriptors();
    let mut lost = lost;
    if let Err(thrown) = catch_unwind(AssertUnwindSafe(test)) {
        match thrown.downcast::<Lacks>() {
            Ok(lacks) => {
                say_lacks(lacks.0);
                lost = 0; // unwinding brings everything back
            }
            Err(other) => resume_unwind(other),
        }
    }
    check_dead_memory();
    assert_eq!(buffers_out(), lost, "buffers that are not home");
    assert_eq!(descriptors(), before, "descriptors");
}

/// A ring with numbers for data and room for `OPS` operations.
pub(crate) type Ring<const OPS: usize = 64> =
    Proactor<Counted, u32, OPS, 64, Uring<Counted>, Box<Storage<u32, OPS, 64>>>;

/// What came of an operation.
pub(crate) type Done = Completion<u32, Uring<Counted>>;

/// What happened.
pub(crate) type Happened = Event<u32, Uring<Counted>>;

/// A ring over `uring`.
pub(crate) fn ring_over<const OPS: usize>(uring: Uring<Counted>) -> Ring<OPS> {
    Proactor::with_storage(uring, Box::new(Storage::new())).expect("a proactor")
}

/// A ring as it comes.
pub(crate) fn ring<const OPS: usize>() -> Ring<OPS> {
    ring_over(Uring::new().expect("a ring"))
}

/// A ring of the kernel's with queues of these sizes.
pub(crate) fn small(entries: u32, cq_entries: u32) -> Uring<Counted> {
    with(|options| {
        options.entries = entries;
        options.cq_entries = Some(cq_entries);
    })
}

/// A ring of the kernel's with options.
pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Uring<Counted> {
    let mut options = Options::DEFAULT;
    change(&mut options);
    Uring::with_options(Linux, options).expect("a ring")
}

/// What a test submits and what it hears, whatever the proactor's storage.
pub(crate) trait Turns {
    /// Submits what can't be refused.
    fn start(&mut self, request: impl Into<Request<Counted>>, data: u32) -> Op;
    /// Waits once, `timeout` at most, and returns all that happened.
    fn turn_within(&mut self, timeout: Duration) -> Vec<Happened>;
    /// Takes in a descriptor.
    fn take_in(&mut self, fd: impl Into<OwnedFd>) -> File;
    /// How many operations have not settled.
    fn unsettled(&self) -> usize;

    /// Waits once, for as long as it takes, and returns what completed. Anything else that happens is a failure.
    fn turn(&mut self) -> Vec<Done> {
        completions(self.turn_within(LONG))
    }

    /// Turns until everything has settled; returns what completed, in order.
    fn settle(&mut self) -> Vec<Done> {
        let mut all = Vec::new();
        while self.unsettled() > 0 {
            all.extend(self.turn());
        }
        all
    }
}

/// Of what happened, what completed. Anything else is a failure.
pub(crate) fn completions(happened: Vec<Happened>) -> Vec<Done> {
    let completion = |event| match event {
        Event::Completion(completion) => completion,
        other => panic!("{other:?} was not asked for"),
    };
    happened.into_iter().map(completion).collect()
}

impl<const OPS: usize, const T: usize, S> Turns
    for Proactor<Counted, u32, OPS, T, Uring<Counted>, S>
where
    S: BorrowMut<Storage<u32, OPS, T>>,
{
    fn start(&mut self, request: impl Into<Request<Counted>>, data: u32) -> Op {
        there_is(self.submit(request, data))
    }

    fn turn_within(&mut self, timeout: Duration) -> Vec<Happened> {
        self.wait(Some(timeout)).expect("a wait");
        std::iter::from_fn(|| self.next()).collect()
    }

    fn take_in(&mut self, fd: impl Into<OwnedFd>) -> File {
        self.adopt(to_core(fd)).expect("room for a descriptor")
    }

    fn unsettled(&self) -> usize {
        self.operations()
    }
}

/// A descriptor of `std`'s as the core has them.
pub(crate) fn to_core(fd: impl Into<OwnedFd>) -> Fd {
    // SAFETY: the number is open, and its one owner has just given it up.
    unsafe { Fd::from_raw(Linux, fd.into().into_raw_fd()) }
}

/// A descriptor of the core's as `std` has them.
pub(crate) fn to_std(fd: Fd) -> OwnedFd {
    // SAFETY: likewise.
    unsafe { OwnedFd::from_raw_fd(fd.into_raw()) }
}

/// Pairs `(data, result)`, in the order in which they came.
pub(crate) fn results(done: &[Done]) -> Vec<(u32, i32)> {
    done.iter().map(|done| (done.data, done.result)).collect()
}

/// A listener at an address that nobody else has.
pub(crate) fn unix_listener(what: &str) -> (UnixListener, SocketAddr) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("linux-event-{}-{number}-{what}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    (UnixListener::bind_addr(&address).unwrap(), address)
}

/// A stream of bytes of which the n-th is n, and how far it has come.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    sent: u64,
    came: u64,
}

impl Counting {
    /// The next byte to send.
    pub(crate) fn next(&mut self) -> u8 {
        self.sent += 1;
        (self.sent - 1) as u8
    }

    /// Somebody else sends `count` bytes.
    pub(crate) fn expect(&mut self, count: u64) {
        self.sent += count;
    }

    /// Checks what came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(*byte, self.came as u8, "a byte was lost or came twice");
            self.came += 1;
        }
        assert!(self.is_behind() || self.came == self.sent, "made up");
    }

    /// Whether bytes were sent that have not come.
    pub(crate) fn is_behind(&self) -> bool {
        self.came < self.sent
    }
}

/// Numbers that look random, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Seeds: tests that throw dice print what they were seeded with.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `sides` (xorshift64*).
    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        (number as usize) % sides
    }
}
