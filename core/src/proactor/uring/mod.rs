//! [`Uring`]: operations by io_uring (`io_uring(7)`).
//!
//! **What.** One ring over any [`Kernel`], the memory that its operations live in while the kernel has them, and the
//! descriptors behind wakeups, signals and processes. `setup` makes it (P-12), `ring` moves it, `sqe` writes submissions,
//! `settle` reads completions, `internal` is what the reactor's engine asks for, `buf_ring` has provided buffers, `register`
//! registered ones and registered descriptors, `turn` enters the kernel (P-9, P-10), `shutdown` ends it (P-6).
//!
//! **Invariants.** *INV-URING-1*: a submission points only to memory that stays (INV-SQE-1, INV-ARENA-1, INV-BUF-1) until
//! the operation's last completion: a buffer is given back, and a slot vacated, by that completion only. *INV-URING-2*:
//! `in_flight` counts the slots that are occupied. *INV-URING-3*: what a kernel puts into a completion is checked before it
//! is believed: its word against the slot, its result against what was lent, its buffer against the group.
//!
//! **Why this shape.** The backend is a safe trait, and the kernel behind it may be any: so whatever is asked in whatever
//! order, and whatever the ring's memory says, nothing that a kernel may still write to is freed, and nothing is freed twice.
//! Forgetting a ring leaks it.

#![allow(unsafe_code)]

use core::cell::OnceCell;
use core::fmt::{self, Debug};
use core::marker::PhantomData;
use core::net::SocketAddr;
use core::ops::Deref;
use core::time::Duration;

use linux_raw_sys::io_uring as linux;

use super::backend::{Backend, Counters, Popped, Shutdown, Stat, Vouched};
use super::buffer::IoBuf;
use super::operation::{
    FixedBuffer, FixedFile, Group, Link, Refused, Request, VectoredRequest, Vectors,
};
use crate::error::Error;
use crate::handle::{Handle, Tag};
use crate::pid::ExitStatus;
use crate::signalfd::SignalSource;
use crate::sys::ring::{HARD_LINK, LINK};
use crate::sys::{Fd, Kernel, Linux, RawFd, sockaddr};
use crate::wakeup::Wakeup;

mod arena;
mod buf_ring;
mod capabilities;
mod internal;
mod region;
mod register;
mod ring;
mod settle;
mod setup;
mod shutdown;
mod sqe;
mod submit;
mod turn;

pub use arena::OperationMemory;
pub use buf_ring::Lease;
pub use capabilities::{Capabilities, Options, Part, StepDown};
pub use setup::RingMemory;

use arena::{Arena, LentArena};
use buf_ring::Groups;
use region::Region;
use register::{Buffers, Files};
use ring::Ring;
use setup::LentRing;

/// The generation of the loop's own requests: a request to cancel an operation has the operation's index and generation,
/// and must not be taken for one of these.
const CONTROL: u64 = u64::MAX;
/// The word of a cancel request.
const CONTROL_CANCEL: Handle = Handle::new(0, Tag::Control, CONTROL);
/// The word of a linked timeout.
const CONTROL_TIMEOUT: Handle = Handle::new(1, Tag::Control, CONTROL);

bitflags::bitflags! {
    /// What is to be seen to before the kernel is entered.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Due: u8 {
        /// The wakeup's poll.
        const WAKEUP = 1;
        /// The signalfd's.
        const SIGNALS = 2;
        /// The timerfd's.
        const TIMER = 4;
        /// The kernel keeps completions that had no room.
        const OVERFLOW = 8;
        /// Completions are lost: nothing goes any more.
        const LOST = 16;
        /// To ask for a while before a wait blocks.
        const BUSY_POLL = 32;
        /// Requests to cancel that could not be made again.
        const MISSED = 64;
        /// A thread submits, and may have to be woken.
        const THREAD = 128;
    }
}

bitflags::bitflags! {
    /// What the report popped last left to be taken.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Held: u8 {
        const DESCRIPTOR = 1;
        const VECTORS = 2;
    }
}

/// Memory of the program's own, for what a ring would map otherwise: see [`Uring::with_memory`].
#[derive(Debug, Default)]
pub struct Memory {
    ring: Option<LentRing>,
    operations: Option<LentArena>,
}

impl Memory {
    /// None: everything is mapped.
    pub const fn new() -> Self {
        Self {
            ring: None,
            operations: None,
        }
    }

    /// Puts the ring into `memory`, whose sizes are then the ring's (`IORING_SETUP_NO_MMAP`, Linux 6.5; before 6.10 it takes
    /// more than one page only where they happen to lie side by side). A kernel that refuses it maps a ring of these sizes,
    /// and [`Capabilities`] says so.
    #[must_use]
    pub fn ring<const SQ: usize, const CQ: usize>(
        mut self,
        memory: &'static mut RingMemory<SQ, CQ>,
    ) -> Self {
        self.ring = Some(memory.parts());
        self
    }

    /// Keeps operations in `memory`, `N` at most.
    #[must_use]
    pub fn operations<const N: usize>(mut self, memory: &'static mut OperationMemory<N>) -> Self {
        self.operations = Some(memory.parts());
        self
    }
}

/// Completion by io_uring.
///
/// `Buf` is what operations own, `P` how it holds its [`Wakeup`]: `&'static` here, an `Arc` where there is one. A
/// [`Proactor`](super::Proactor) drives it.
///
/// ```
/// use linux_event_core::proactor::{Event, Proactor, Uring, op};
///
/// # if let Err(linux_event_core::error::Error::NoRing { .. }) = Uring::<&'static mut [u8]>::new() { return Ok(()) }
/// let ring: Uring<&'static mut [u8]> = Uring::new()?;
/// println!("{}", ring.capabilities());
/// let mut proactor: Proactor<&'static mut [u8], u32> = Proactor::new(ring)?;
/// proactor.submit(op::nop(), 7)?;
/// proactor.wait(None)?; // submits, and waits: one system call
/// while let Some(event) = proactor.next() {
///     if let Event::Completion(done) = event {
///         assert_eq!((done.data, done.result), (7, 0));
///     }
/// }
/// # Ok::<(), linux_event_core::error::Error>(())
/// ```
///
/// It is neither `Send` nor `Sync`: a ring is its thread's.
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<linux_event_core::proactor::Uring<&'static mut [u8]>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<linux_event_core::proactor::Uring<&'static mut [u8]>>();
/// ```
// In this order: what every operation touches comes first, together.
#[repr(C)]
pub struct Uring<Buf, K = Linux, P = &'static Wakeup<K>>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    ring: Ring,
    due: Due,
    held: Held,
    is_shut: bool,
    /// At the end: how many closings of cut chains wait for what was before them.
    kept: Option<u32>,
    wait_flags: u32,
    /// INV-URING-2.
    in_flight: u32,
    /// Submissions that are queued before they are handed over by themselves.
    batch: u32,
    epoch: u64,
    arena: Arena<K>,
    kernel: K,
    groups: Groups<K>,
    buffers: Buffers,
    files: Files,
    descriptor: Option<Fd<K>>,
    vectors: Vectors<Buf>,
    capabilities: Capabilities,
    options: Options,
    overflows: u64,
    leaked: u64,
    ignored: u64,
    internal: internal::Internal<K, P>,
    registered: Option<u32>,
    rings: Option<Region<K>>,
    submissions: Option<Region<K>>,
    fd: Fd<K>,
    stays_on_its_thread: PhantomData<*const Buf>,
}

impl<Buf: IoBuf + Debug> Uring<Buf> {
    /// A ring with the default [`Options`].
    ///
    /// # Errors
    /// [`Error::NoRing`] where io_uring is missing or forbidden; [`Error::RingTooOld`] before Linux 5.11 (5.10.162);
    /// [`Error::LockedMemory`]; [`Error::Os`].
    #[doc(alias = "io_uring_setup")]
    pub fn new() -> Result<Self, Error> {
        Self::with_kernel(Linux)
    }
}

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    /// A ring of `kernel`.
    ///
    /// # Errors
    /// As [`Uring::new`].
    pub fn with_kernel(kernel: K) -> Result<Self, Error> {
        Self::with_options(kernel, Options::DEFAULT)
    }

    /// A ring as `options` ask for it (P-13).
    ///
    /// # Errors
    /// As [`Uring::new`]; [`Error::Invalid`] for no entries.
    pub fn with_options(kernel: K, options: Options) -> Result<Self, Error> {
        Self::with_memory(kernel, options, Memory::new())
    }

    /// A ring in memory of the program's own.
    ///
    /// # Errors
    /// As [`Uring::new`].
    #[doc(alias = "IORING_SETUP_NO_MMAP")]
    pub fn with_memory(kernel: K, options: Options, memory: Memory) -> Result<Self, Error> {
        let Memory { ring, operations } = memory;
        let made = setup::set_up(&kernel, &options, ring)?;
        let mut wait_flags = linux::IORING_ENTER_GETEVENTS;
        if made.capabilities.features & linux::IORING_FEAT_NO_IOWAIT != 0 {
            wait_flags |= linux::IORING_ENTER_NO_IOWAIT;
        }
        let mut due = Due::empty();
        due.set(Due::BUSY_POLL, !options.busy_poll.is_zero());
        due.set(Due::THREAD, made.ring.has_thread());
        Ok(Self {
            ring: made.ring,
            due,
            held: Held::empty(),
            is_shut: false,
            kept: None,
            wait_flags,
            in_flight: 0,
            batch: match options.submit_batch {
                0 => u32::MAX,
                count => count,
            },
            epoch: kernel.process_epoch(),
            arena: Arena::new(operations),
            kernel,
            groups: Groups::NONE,
            buffers: Buffers::NONE,
            files: Files::NONE,
            descriptor: None,
            vectors: Vectors::new(),
            capabilities: made.capabilities,
            options,
            overflows: 0,
            leaked: 0,
            ignored: 0,
            internal: internal::Internal {
                wakeup: None,
                wakeup_fd: -1,
                generation: 0,
                one_shot: false,
                signals: SignalSource::NONE,
                timer: None,
                embedding: OnceCell::new(),
                last_process: 0,
            },
            registered: made.registered,
            rings: Some(made.rings),
            submissions: Some(made.submissions),
            fd: made.fd,
            stays_on_its_thread: PhantomData,
        })
    }

    /// The word that a bare ring's operations are submitted with, where no engine gives it.
    ///
    /// # Safety
    /// The descriptors that the request names stay open, and what is in the registered slots that it names stays there, until
    /// it has settled or the ring is shut down (P-14). For some it is enough that a [`flush`](Backend::flush) or wait of this
    /// ring has succeeded: see [`Target::from_raw`](super::Target::from_raw).
    pub const unsafe fn vouch() -> Vouched<Self> {
        Vouched::new()
    }

    /// What is in force, and what was given up for which reason (P-12).
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether this process made the ring (G-1).
    #[inline(always)]
    fn is_owners(&self) -> bool {
        self.kernel.is_process(self.epoch)
    }

    /// How many operations the kernel has, or will have with the next flush.
    pub fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// Completions that belonged to nothing. A kernel that is right posts one for a zero-copy send that its chain's end cancelled:
    /// the notification of what was never sent.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}

impl<Buf, K, P> Backend for Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    type Buf = Buf;
    type Fd = Fd<K>;
    type Lease = Lease<K>;

    fn reserve(&mut self, operations: usize) -> Result<(), Error> {
        if self.in_flight > 0 || self.ring.queued() > 0 {
            return Err(Error::Busy);
        }
        let cq_entries = self.ring.cq_entries() as usize;
        if self.options.strict_cq && operations > cq_entries {
            return Err(Error::Full {
                capacity: cq_entries,
            });
        }
        self.arena.reserve(&self.kernel, operations)
    }

    #[inline(always)]
    fn check(&self, request: &Request<Buf>) -> Result<(), Error> {
        self.check_request(request)
    }

    #[inline(always)]
    fn push(
        &mut self,
        token: Handle,
        request: Request<Buf>,
        _: Vouched<Self>,
    ) -> Result<(), Refused<Buf>> {
        self.submit(token, request)
    }

    fn push_vectored(
        &mut self,
        token: Handle,
        request: VectoredRequest<Buf>,
        _: Vouched<Self>,
    ) -> Result<(), (Error, Vectors<Buf>)> {
        self.submit_vectored(token, request)
    }

    fn push_close(&mut self, token: Handle, fd: Fd<K>, link: Link) -> Result<(), (Error, Fd<K>)> {
        self.submit_close(token, fd, link)
    }

    fn make_room(&mut self, entries: usize) -> Result<(), Error> {
        self.make_room_now(entries)
    }

    fn end_chain(&mut self) {
        if self.is_owners() {
            self.ring.end_chain();
        }
    }

    fn finds_late(&self, token: Handle) -> bool {
        self.arena.finds_late(token)
    }

    fn cancel(&mut self, token: Handle) -> Result<(), Error> {
        self.submit_cancel(token)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.flush_queue()
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<Popped<Buf, Lease<K>>> {
        self.pop_next()
    }

    #[inline]
    fn take_descriptor(&mut self) -> Option<Fd<K>> {
        self.held -= Held::DESCRIPTOR;
        self.descriptor.take()
    }

    fn take_vectors(&mut self) -> Vectors<Buf> {
        self.held -= Held::VECTORS;
        core::mem::take(&mut self.vectors)
    }

    fn address(&self, token: Handle) -> Option<SocketAddr> {
        self.address_of(token)
    }

    fn name(&self, token: Handle, name: &mut [u8; sockaddr::UNIX_SIZE_MAX]) -> Option<usize> {
        let (bytes, length) = self.name_of(token)?;
        name.copy_from_slice(&bytes[..sockaddr::UNIX_SIZE_MAX]);
        Some(length.min(name.len()))
    }

    fn stat(&self, token: Handle) -> Option<Stat> {
        self.stat_of(token)
    }

    fn exit_info(&self, token: Handle) -> Option<ExitStatus> {
        self.exit_of(token)
    }

    fn provide(&mut self, count: u16, size: u32) -> Result<Group, Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        self.groups
            .provide(&self.kernel, self.fd.borrow(), count, size)
    }

    fn withdraw(&mut self, group: Group) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        self.groups.withdraw(&self.kernel, self.fd.borrow(), group)
    }

    fn register_files(&mut self, count: u32) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        self.files.register(&self.kernel, self.fd.borrow(), count)
    }

    fn next_slot(&self) -> Option<FixedFile> {
        self.files.next()
    }

    fn install(&mut self, fd: &Fd<K>) -> Result<FixedFile, Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        self.files.install(&self.kernel, self.fd.borrow(), fd)
    }

    fn uninstall(&mut self, slot: FixedFile) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        self.files.uninstall(&self.kernel, self.fd.borrow(), slot)
    }

    fn register_buffers(&mut self, buffers: Vectors<Buf>) -> Result<(), (Error, Vectors<Buf>)> {
        if !self.is_owners() {
            return Err((Error::Forked, buffers));
        }
        self.buffers
            .register(&self.kernel, self.fd.borrow(), buffers)
    }

    fn fixed(&mut self, buffer: FixedBuffer) -> Option<&mut [u8]> {
        self.buffers.content(buffer)
    }

    fn unregister_buffers(&mut self) -> Result<Vectors<Buf>, Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        self.buffers.unregister(&self.kernel, self.fd.borrow())
    }

    fn shut_down(&mut self, limit: Duration) -> Shutdown {
        self.shut_down_within(limit)
    }

    fn counters(&self) -> Counters {
        Counters {
            enters: self.ring.enters,
            submitted: self.ring.submitted,
            completions: self.ring.completions,
            overflows: self.overflows,
            leaked: self.leaked,
        }
    }
}

/// Whether a submission's chain goes on after it.
const fn is_linked(link: Link) -> bool {
    sqe::link_flag(link) & (LINK | HARD_LINK) != 0
}

/// A number for what is not one.
const NO_FD: RawFd = -1;

impl<Buf, K, P> fmt::Debug for Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("fd", &self.fd)
            .field("in_flight", &self.in_flight)
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}
