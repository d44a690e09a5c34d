//! The contract between the proactor engine and what performs operations.
//!
//! **What.** A [`Backend`] takes requests, hands them to its kernel, and hands out what came of them. It owns the buffers
//! meanwhile. For time, signals, wakeups and processes it is a [`reactor::Backend`] too, and the
//! same engine as the reactor's drives it. [`Uring`](super::Uring) is one; the fake of the std-shim is another.
//!
//! **Invariants.** *INV-PBACKEND-1*: a backend is a safe trait. Whatever one answers, however false, the engine stays
//! memory-safe: a token it does not know is dropped with what came along. *INV-PBACKEND-2*: a buffer is the backend's from
//! [`push`](Backend::push) until the last report of its token, and memory that a kernel may still touch is never freed:
//! a backend that is dropped leaks what it can't get back.
//!
//! **Why this shape.** With the buffers in the engine's tables, a backend that lies, or a proactor that is moved, would be
//! a use after free. As it is, the engine has nothing that a kernel writes to.

#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::net::SocketAddr;
use core::ops::Deref;
use core::time::Duration;

use super::operation::{
    FixedBuffer, FixedFile, Group, Link, Refused, Request, VectoredRequest, Vectors,
};
use crate::error::Error;
use crate::handle::Handle;
use crate::pid::ExitStatus;
use crate::reactor;
use crate::sys::{AsRawFd, sockaddr};

/// What came of an operation, once.
#[derive(Debug)]
pub struct Report<Buf, Lease> {
    /// The raw [`Handle`] given to [`Backend::push`]; anything at all from a backend that is wrong.
    pub token: u64,
    /// What the kernel said: at least 0, or an errno negated.
    pub result: i32,
    /// Whether this is not the last report of the token.
    pub more: bool,
    /// What comes with it.
    pub carried: Carried<Buf, Lease>,
}

/// What comes with a report.
#[derive(Debug)]
pub enum Carried<Buf, Lease> {
    /// Nothing.
    Nothing,
    /// The operation's buffer, with its last report.
    Buffer(Buf),
    /// Several buffers, which [`Backend::take_vectors`] has until the next [`pop`](Backend::pop).
    Vectors,
    /// The result is a new descriptor, which [`Backend::take_descriptor`] has until the next [`pop`](Backend::pop).
    Descriptor,
    /// A provided buffer, filled.
    Lease(Lease),
}

/// What [`Backend::pop`] finds.
#[derive(Debug)]
pub enum Popped<Buf, Lease> {
    /// The last report of an operation that has one buffer or none, which is what nearly all are: the same as a
    /// [`Report`](Self::Report) without `more`, in fewer words.
    Plain {
        /// As [`Report::token`].
        token: u64,
        /// As [`Report::result`].
        result: i32,
        /// The operation's buffer, if it has one.
        buffer: Option<Buf>,
    },
    /// A report of an operation.
    Report(Report<Buf, Lease>),
    /// Readiness, of the wakeup, the signals or a process, for the engine below.
    Ready(reactor::Report),
}

/// What a shutdown came to (P-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Operations that settled meanwhile.
    pub settled: usize,
    /// Operations that the kernel had not let go of, whose memory is leaked on purpose.
    pub leaked: usize,
    /// Submissions that the kernel has not even taken and that can't be taken back: a thread that submits has not run. The
    /// descriptors that they name may not be closed (P-14), and are leaked too.
    pub untaken: usize,
}

/// What a file is like: the part of `struct statx` that every file system has (`statx(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// Which fields are given: `STATX_*` bits.
    pub mask: u32,
    /// Type and permissions.
    pub mode: u16,
    /// Hard links.
    pub links: u32,
    /// The owner's user id.
    pub user: u32,
    /// The owner's group id.
    pub group: u32,
    /// The inode's number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Last change of the content: seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
}

/// How many of a proactor's calls there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// `io_uring_enter` calls, waits included.
    pub enters: u64,
    /// Submissions that the kernel took.
    pub submitted: u64,
    /// Completions that the kernel posted, those of the loop's own included.
    pub completions: u64,
    /// Times that the completion queue overflowed, with nothing lost.
    pub overflows: u64,
    /// Operations whose memory was leaked on purpose.
    pub leaked: u64,
}

/// An engine's word to the backend that it drives: the descriptors that a request names stay open until it has settled
/// (P-14).
///
/// Only an engine gives it, and only to a backend of the type it was made over. So safe code can't hand what an engine has
/// resolved to another ring, which might submit the number when it is somebody else's.
pub struct Vouched<B: ?Sized>(PhantomData<fn(&B)>);

impl<B: ?Sized> Vouched<B> {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<B: Simulated> Vouched<B> {
    /// The word that a simulated backend is driven with where no engine is: its descriptors are not the process's.
    pub const fn simulated() -> Self {
        Self::new()
    }
}

impl<B: ?Sized> fmt::Debug for Vouched<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vouched")
    }
}

/// A backend whose descriptors are not the process's own: a fake, or one that refuses everything.
///
/// Its engine lets it be changed, and even exchanged for another
/// ([`Proactor::backend_mut`](super::Proactor::backend_mut)). Of a ring that may not be: what it has queued names
/// descriptors that its own engine keeps open (P-14).
pub trait Simulated: Backend {}

/// What a proactor asks of the mechanism below it. See the [module](self).
///
/// In a forked child ([`is_owner`](reactor::Backend::is_owner) is false) whatever would touch what is shared with the parent is
/// refused with [`Error::Forked`], by the backend itself, and [`pop`](Self::pop) finds nothing (G-1).
pub trait Backend: reactor::Backend {
    /// What operations own while they are under way.
    type Buf: fmt::Debug + 'static;
    /// A descriptor, owned: what accept makes and what a proactor adopts. Dropping it closes it.
    type Fd: AsRawFd + fmt::Debug;
    /// A provided buffer, filled. Dropping it gives it back (P-16).
    type Lease: Deref<Target = [u8]> + fmt::Debug;

    /// Makes room for operations whose tokens have an index below `operations`. Called once, first.
    ///
    /// # Errors
    /// If there is no memory.
    fn reserve(&mut self, operations: usize) -> Result<(), Error>;

    /// Whether [`push`](Self::push) would take `request`, were there room: so that a chain is refused before any member of it
    /// is queued (P-10). Adopted files in it are not resolved yet: the engine has looked at those.
    ///
    /// # Errors
    /// [`Error::UnsupportedOperation`]; [`Error::Invalid`] for a path without its zero byte, a range beyond a registered
    /// buffer, a group or slot that is not there.
    fn check(&self, request: &Request<Self::Buf>) -> Result<(), Error>;

    /// Queues an operation. It reaches the kernel with the next [`flush`](Self::flush) or wait.
    ///
    /// The engine has resolved adopted files to numbers, and says by `vouched` that it keeps them open. Where the queue is full it is flushed first (P-10).
    ///
    /// # Errors
    /// [`Refused`] with the buffer; nothing was queued then.
    fn push(
        &mut self,
        token: Handle,
        request: Request<Self::Buf>,
        vouched: Vouched<Self>,
    ) -> Result<(), Refused<Self::Buf>>;

    /// As [`push`](Self::push), of an operation with several buffers. The refused request comes back whole.
    ///
    /// # Errors
    /// Why, and the buffers.
    fn push_vectored(
        &mut self,
        token: Handle,
        request: VectoredRequest<Self::Buf>,
        vouched: Vouched<Self>,
    ) -> Result<(), (Error, Vectors<Self::Buf>)>;

    /// Queues the closing of a descriptor, which the kernel owns once it has taken the submission. It is closed exactly
    /// once, also when the operation is cancelled because a chain broke before it; whatever comes of the proactor it is
    /// closed, or leaked where that can't be known. If the kernel took the beginning of its chain and not the rest, its report says
    /// ECANCELED and brings the descriptor back ([`Carried::Descriptor`]): to be closed when that beginning is over, which may look
    /// for it until then.
    ///
    /// # Errors
    /// Why, and the descriptor.
    fn push_close(
        &mut self,
        token: Handle,
        fd: Self::Fd,
        link: Link,
    ) -> Result<(), (Error, Self::Fd)>;

    /// Sees to it that the next `entries` submissions are queued side by side, and go to the kernel in one call (P-10).
    /// A linked timeout takes an entry of its own, and so does what a closing in a chain may need beside itself.
    ///
    /// # Errors
    /// [`Error::Full`] if that is more than there can ever be; [`Error::Os`] if flushing fails.
    fn make_room(&mut self, entries: usize) -> Result<(), Error>;

    /// What is queued next is no member of the chain that was queued last, whole or not.
    fn end_chain(&mut self);

    /// Whether an operation in flight may not have found its file, although the kernel has taken it, and it is none of those that
    /// always may: as the beginning of a chain that was cut.
    fn finds_late(&self, token: Handle) -> bool {
        let _ = token;
        false
    }

    /// Asks the kernel to cancel the operation of `token`. Whatever comes of it, the operation reports its end itself.
    ///
    /// # Errors
    /// If there is no room, even after a flush; the engine asks again later (P-4).
    fn cancel(&mut self, token: Handle) -> Result<(), Error>;

    /// Hands what is queued to the kernel, without waiting.
    ///
    /// # Errors
    /// What the kernel says; what it did not take stays queued.
    fn flush(&mut self) -> Result<(), Error>;

    /// The next entry of the batch that the last wait found.
    fn pop(&mut self) -> Option<Popped<Self::Buf, Self::Lease>>;

    /// The descriptor of the report popped last, once. One that is not taken is closed by the next [`pop`](Self::pop).
    fn take_descriptor(&mut self) -> Option<Self::Fd>;

    /// The buffers of the report popped last, once. Those not taken are dropped by the next [`pop`](Self::pop).
    fn take_vectors(&mut self) -> Vectors<Self::Buf>;

    /// The peer's address of an accept or receive-message that settled, until its slot is used again.
    fn address(&self, token: Handle) -> Option<SocketAddr>;

    /// As [`address`](Self::address), in the kernel's form, which has the names of unix sockets too: the bytes are written to
    /// `name`; how many count, 0 of a peer without a name. `None` if none was asked for.
    fn name(&self, token: Handle, name: &mut [u8; sockaddr::UNIX_SIZE_MAX]) -> Option<usize> {
        let (bytes, len) = sockaddr::encode(self.address(token)?);
        for (to, from) in name.iter_mut().zip(bytes) {
            *to = from;
        }
        Some(len)
    }

    /// The answer of a statx that settled, until its slot is used again.
    fn stat(&self, token: Handle) -> Option<Stat>;

    /// How the child of a waitid that settled ended, until its slot is used again.
    fn exit_info(&self, token: Handle) -> Option<ExitStatus>;

    /// Makes a group of `count` provided buffers of `size` bytes: a power of two, 1 to 32,768.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::UnsupportedOperation`] before Linux 5.19; [`Error::Os`].
    fn provide(&mut self, count: u16, size: u32) -> Result<Group, Error>;

    /// Ends a group. Its memory goes when the last lease is back. The engine has seen to it that nothing in flight uses it.
    ///
    /// # Errors
    /// [`Error::Stale`] if there is none.
    fn withdraw(&mut self, group: Group) -> Result<(), Error>;

    /// Makes a table of `count` registered slots for descriptors, all empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is one; [`Error::Os`].
    fn register_files(&mut self, count: u32) -> Result<(), Error>;

    /// The slot that [`install`](Self::install) fills next; `None` if there is none, or it can't be told.
    fn next_slot(&self) -> Option<FixedFile> {
        None
    }

    /// Puts a descriptor into a vacant registered slot, which keeps the file open for itself.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Os`].
    fn install(&mut self, fd: &Self::Fd) -> Result<FixedFile, Error>;

    /// Empties a registered slot. What is in flight on it goes on.
    ///
    /// # Errors
    /// [`Error::Stale`] if it is empty; [`Error::Busy`] while an operation is under way that empties it.
    fn uninstall(&mut self, slot: FixedFile) -> Result<(), Error>;

    /// Registers buffers, which the backend owns from here on: `FixedBuffer::new(0)` and so on.
    ///
    /// # Errors
    /// Why, and the buffers.
    fn register_buffers(
        &mut self,
        buffers: Vectors<Self::Buf>,
    ) -> Result<(), (Error, Vectors<Self::Buf>)>;

    /// The content of a registered buffer. The engine has seen to it that nothing in flight uses it.
    fn fixed(&mut self, buffer: FixedBuffer) -> Option<&mut [u8]>;

    /// Unregisters the buffers and gives them back. The engine has seen to it that nothing in flight uses them.
    ///
    /// # Errors
    /// [`Error::Os`] if the kernel refuses; the buffers then stay registered.
    fn unregister_buffers(&mut self) -> Result<Vectors<Self::Buf>, Error>;

    /// Cancels everything and waits until the kernel has let go of it, `limit` at most. What is left is leaked (P-6).
    ///
    /// Nothing is pushed afterwards, and the descriptors of operations may be closed: whatever was queued has been handed
    /// to the kernel by then, or never is, but for what is [`untaken`](Shutdown::untaken). Called again, it waits no more.
    fn shut_down(&mut self, limit: Duration) -> Shutdown;

    /// What there was so far.
    fn counters(&self) -> Counters;
}
