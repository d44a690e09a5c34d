//! Operations: what can be asked of a proactor, in a form that every backend reads.
//!
//! **What.** The functions of [`op`] make a typed builder for each operation of rule P-1: its flags, its offset. A builder
//! becomes a [`Request`], a flat record that a backend turns into a submission.
//!
//! **Invariants.** *INV-REQUEST-1*: a number in a [`Target`] is open until the kernel has resolved it, which for a member of
//! a chain, and what it leaves to a worker, is when it starts: it comes from an adopted descriptor, a `'static` borrow, or an `unsafe` promise (rule P-14).
//! What an engine has resolved is its own backend's to use: no engine takes it for a target, as it keeps nothing open for it.
//! *INV-REQUEST-2*: what operation a request is, and on what, is fixed when it is built.
//!
//! **Why this shape.** A builder knows at compile time which operation it is, everything is inlined, and so the record is
//! never built: its fields go straight into the submission. No enum of operations is moved about.

#![allow(unsafe_code)]

pub mod op;

use core::net::SocketAddr;
use core::time::Duration;

use linux_raw_sys::general as linux;

use crate::handle::File;
use crate::sys::{AsRawFd, BorrowedFd, RawFd};

/// The most buffers that one vectored operation takes.
pub const VECTORS_MAX: usize = 8;

/// The buffers of a vectored operation.
pub type Vectors<Buf> = heapless::Vec<Buf, VECTORS_MAX>;

/// Which operation a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is documented at its builder in `op`")]
pub enum Code {
    Nop,
    Read,
    Write,
    ReadVectored,
    WriteVectored,
    ReadFixed,
    WriteFixed,
    Recv,
    RecvMulti,
    Send,
    SendZeroCopy,
    RecvMessage,
    SendMessage,
    Accept,
    AcceptMulti,
    Connect,
    Socket,
    Bind,
    Listen,
    Shutdown,
    Close,
    OpenAt,
    Statx,
    Fsync,
    Splice,
    Poll,
    PollMulti,
    WaitId,
}

impl Code {
    /// Its name, as `io_uring_enter(2)` has it, without the prefix `IORING_OP_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nop => "NOP",
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::ReadVectored => "READV",
            Self::WriteVectored => "WRITEV",
            Self::ReadFixed => "READ_FIXED",
            Self::WriteFixed => "WRITE_FIXED",
            Self::Recv => "RECV",
            Self::RecvMulti => "RECV (multishot)",
            Self::Send => "SEND",
            Self::SendZeroCopy => "SEND_ZC",
            Self::RecvMessage => "RECVMSG",
            Self::SendMessage => "SENDMSG",
            Self::Accept => "ACCEPT",
            Self::AcceptMulti => "ACCEPT (multishot)",
            Self::Connect => "CONNECT",
            Self::Socket => "SOCKET",
            Self::Bind => "BIND",
            Self::Listen => "LISTEN",
            Self::Shutdown => "SHUTDOWN",
            Self::Close => "CLOSE",
            Self::OpenAt => "OPENAT",
            Self::Statx => "STATX",
            Self::Fsync => "FSYNC",
            Self::Splice => "SPLICE",
            Self::Poll => "POLL_ADD",
            Self::PollMulti => "POLL_ADD (multishot)",
            Self::WaitId => "WAITID",
        }
    }

    /// The first kernel that has it.
    pub const fn since(self) -> &'static str {
        match self {
            Self::Shutdown => "Linux 5.11",
            Self::PollMulti => "Linux 5.13",
            Self::Socket | Self::AcceptMulti => "Linux 5.19",
            Self::RecvMulti | Self::SendZeroCopy => "Linux 6.0",
            Self::WaitId => "Linux 6.7",
            Self::Bind | Self::Listen => "Linux 6.11",
            _ => "Linux 5.7",
        }
    }

    /// Whether a result that is not an error is a new descriptor.
    #[inline(always)]
    pub const fn makes_descriptor(self) -> bool {
        matches!(
            self,
            Self::Accept | Self::AcceptMulti | Self::Socket | Self::OpenAt
        )
    }

    /// Whether it can complete many times before it settles.
    #[inline(always)]
    pub const fn is_multishot(self) -> bool {
        matches!(self, Self::RecvMulti | Self::AcceptMulti | Self::PollMulti)
    }

    /// Whether the kernel may look for its file later than when it takes the submission: what can't but block it leaves to
    /// a worker, which looks when it begins. Of what is not known to be done at once it is said too.
    #[inline(always)]
    pub(crate) const fn finds_its_file_late(self) -> bool {
        !matches!(
            self,
            Self::Nop
                | Self::Read
                | Self::Write
                | Self::ReadVectored
                | Self::WriteVectored
                | Self::ReadFixed
                | Self::WriteFixed
                | Self::Recv
                | Self::RecvMulti
                | Self::Send
                | Self::SendZeroCopy
                | Self::RecvMessage
                | Self::SendMessage
                | Self::Accept
                | Self::AcceptMulti
                | Self::Connect
                | Self::Poll
                | Self::PollMulti
        )
    }

    /// Whether its result counts bytes that were put into its buffer.
    #[inline(always)]
    pub const fn fills(self) -> bool {
        matches!(
            self,
            Self::Read | Self::ReadVectored | Self::Recv | Self::RecvMessage
        )
    }
}

/// A slot of the registered descriptors of a proactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FixedFile(pub(crate) u32);

impl FixedFile {
    /// The slot with this index: refused when it is used, if it is empty.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The slot's index.
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// A registered buffer of a proactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FixedBuffer(pub(crate) u16);

impl FixedBuffer {
    /// The buffer with this index: refused when it is used, if there is none.
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The buffer's index.
    pub const fn index(self) -> u16 {
        self.0
    }
}

/// A group of provided buffers: see [`Proactor::provide`](super::Proactor::provide).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group(pub(crate) u16);

impl Group {
    /// The group with this id: refused when it is used, if there is none.
    pub const fn new(id: u16) -> Self {
        Self(id)
    }

    /// The group's id.
    pub const fn id(self) -> u16 {
        self.0
    }
}

/// What an operation works on (P-14): an adopted [`File`], a descriptor borrowed for ever, or a registered slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(pub(super) Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    None,
    Number(RawFd),
    Fixed(u32),
    File(File),
    /// The number of an adopted descriptor: INV-REQUEST-1.
    Resolved(RawFd),
}

impl Target {
    /// None at all.
    pub const NONE: Self = Self(Place::None);
    /// The current directory: `AT_FDCWD`.
    pub const CURRENT_DIRECTORY: Self = Self(Place::Number(linux::AT_FDCWD));

    /// A bare number.
    ///
    /// # Safety
    /// `number` must stay open, and be what it is now, until the operation has settled. For one that reads, writes, receives,
    /// sends, accepts, connects or polls, without a timeout and in no chain, it is enough that the kernel has taken the submission,
    /// which [`flush`](super::Proactor::flush) has it do at once; all others it may leave to a worker, which looks for the file
    /// when it begins (since Linux 5.18).
    #[inline(always)]
    pub const unsafe fn from_raw(number: RawFd) -> Self {
        Self(Place::Number(number))
    }

    /// The descriptor's number, if it is known by one. The engine has resolved adopted files by then.
    #[inline(always)]
    pub const fn number(self) -> Option<RawFd> {
        match self.0 {
            Place::Number(number) | Place::Resolved(number) => Some(number),
            _ => None,
        }
    }

    /// The registered slot, if it is one.
    #[inline(always)]
    pub const fn fixed(self) -> Option<FixedFile> {
        match self.0 {
            Place::Fixed(slot) => Some(FixedFile(slot)),
            _ => None,
        }
    }

    /// The adopted file, if it is one.
    #[inline(always)]
    pub const fn file(self) -> Option<File> {
        match self.0 {
            Place::File(file) => Some(file),
            _ => None,
        }
    }
}

impl From<File> for Target {
    #[inline(always)]
    fn from(file: File) -> Self {
        Self(Place::File(file))
    }
}

impl From<FixedFile> for Target {
    #[inline(always)]
    fn from(slot: FixedFile) -> Self {
        Self(Place::Fixed(slot.0))
    }
}

impl From<BorrowedFd<'static>> for Target {
    #[inline(always)]
    fn from(fd: BorrowedFd<'static>) -> Self {
        Self(Place::Number(fd.as_raw_fd()))
    }
}

/// How a request is tied to the next one of its chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Not at all.
    #[default]
    None,
    /// The next one starts when this one has succeeded in full; else the rest is cancelled (`IOSQE_IO_LINK`).
    Soft,
    /// The next one starts when this one is over, whatever came of it (`IOSQE_IO_HARDLINK`).
    Hard,
}

/// What an operation is told beyond the common fields.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Extra {
    /// Nothing.
    None,
    /// An address, of connect, bind and send-message.
    Address(SocketAddr),
    /// The buffer holds the path of a unix socket; of send-message, the last one.
    UnixPath,
    /// Accept and receive-message: the peer's address is wanted.
    WantAddress,
    /// Splice: where from.
    From {
        /// The descriptor.
        target: Target,
        /// At which offset; [`CURRENT`] for pipes and at the current position.
        offset: u64,
    },
    /// Provided buffers come from here.
    Group(Group),
    /// A registered buffer, from `start` on.
    Fixed {
        /// Which.
        buffer: FixedBuffer,
        /// First byte.
        start: u32,
    },
}

/// The offset that stands for the descriptor's current position.
pub const CURRENT: u64 = u64::MAX;

/// An operation in the form that backends read. Made by the builders of [`op`].
#[derive(Debug)]
pub struct Request<Buf> {
    /// See [`code`](Self::code). Fixed, as what it works on is: a borrowed descriptor must not come to be closed.
    pub(crate) code: Code,
    pub(crate) target: Target,
    /// Its own flags: `RWF_*`, `MSG_*`, `O_*`, `POLL*`, `SPLICE_F_*` …; of socket the domain, of waitid the process id.
    pub flags: u32,
    /// Flags of accept, receive and send that have a field of their own: `IORING_RECVSEND_POLL_FIRST`, `IORING_ACCEPT_*`.
    /// Those that change what a buffer is are dropped.
    pub extra_flags: u16,
    /// How many bytes at most, [`u32::MAX`] for the whole buffer; of listen the backlog, of shutdown the direction,
    /// of openat the mode, of statx the mask, of socket the protocol, of waitid the kind of id.
    pub length: u32,
    /// Where in the file, or [`CURRENT`]; of socket the type, of waitid the options.
    pub offset: u64,
    /// The buffer, of operations with one.
    pub buffer: Option<Buf>,
    /// What else there is.
    pub extra: Extra,
    /// How it is tied to the next one.
    pub link: Link,
    /// How long it may take: a linked timeout cancels it then (`IORING_OP_LINK_TIMEOUT`).
    pub timeout: Option<Duration>,
}

impl<Buf> Request<Buf> {
    #[inline(always)]
    const fn new(code: Code, target: Target) -> Self {
        Self {
            code,
            target,
            flags: 0,
            extra_flags: 0,
            length: 0,
            offset: 0,
            buffer: None,
            extra: Extra::None,
            link: Link::None,
            timeout: None,
        }
    }

    /// Which operation it is.
    #[inline(always)]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What it works on. That of an adopted file, which a backend is told by its number, is refused by every engine.
    #[inline(always)]
    pub const fn target(&self) -> Target {
        self.target
    }

    /// The process that a waitid waits for.
    pub fn pid(&self) -> Option<i32> {
        (self.code == Code::WaitId).then_some(self.flags as i32)
    }

    /// A close without a target: for backends that keep the descriptor of [`push_close`](super::Backend::push_close)
    /// themselves.
    pub fn close_nothing(link: Link) -> Self {
        let mut request = Self::new(Code::Close, Target::NONE);
        request.link = link;
        request
    }

    /// Whether it works on `file`.
    pub(super) fn names(&self, file: File) -> bool {
        let from = match self.extra {
            Extra::From { target, .. } => target,
            _ => Target::NONE,
        };
        self.target.file() == Some(file) || from.file() == Some(file)
    }
}

/// A vectored operation: a request with several buffers, see [`Proactor::submit_vectored`](super::Proactor::submit_vectored).
#[derive(Debug)]
pub struct VectoredRequest<Buf> {
    /// The operation; its own buffer is `None`.
    pub request: Request<Buf>,
    /// Its buffers, in order; at least one.
    pub buffers: Vectors<Buf>,
}

/// A refused operation: why, and the buffer that came with it (P-6).
#[derive(Debug)]
pub struct Refused<Buf> {
    /// Why.
    pub error: crate::error::Error,
    /// What the operation owned.
    pub buffer: Option<Buf>,
}

impl<Buf> core::fmt::Display for Refused<Buf> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.error.fmt(f)
    }
}

impl<Buf: core::fmt::Debug> core::error::Error for Refused<Buf> {}

impl<Buf> From<Refused<Buf>> for crate::error::Error {
    fn from(refused: Refused<Buf>) -> Self {
        refused.error
    }
}

bitflags::bitflags! {
    /// Flags of send and receive (`send(2)`, `recv(2)`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MessageFlags: u32 {
        /// `MSG_OOB`.
        const OUT_OF_BAND = 1;
        /// `MSG_PEEK`: what is received stays.
        const PEEK = 2;
        /// `MSG_TRUNC`: a datagram's full length is the result.
        const TRUNCATE = 0x20;
        /// `MSG_DONTWAIT`: EAGAIN where it would wait.
        const DONT_WAIT = 0x40;
        /// `MSG_WAITALL`: all of it, not a part.
        const WAIT_ALL = 0x100;
        /// `MSG_NOSIGNAL`: always set by send (rule M-4).
        const NO_SIGNAL = 0x4000;
        /// `MSG_MORE`: more is to come.
        const MORE = 0x8000;
    }
}

bitflags::bitflags! {
    /// What a poll waits for (`poll(2)`). Errors, hang-ups and a peer that shut down its writing side end it always.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PollEvents: u32 {
        /// `POLLIN`.
        const IN = 1;
        /// `POLLPRI`.
        const PRIORITY = 2;
        /// `POLLOUT`.
        const OUT = 4;
        /// `POLLERR`: always reported.
        const ERROR = 8;
        /// `POLLHUP`: always reported.
        const HANGUP = 0x10;
        /// `POLLRDHUP`.
        const READ_CLOSED = 0x2000;
    }
}

/// Which half of a connection to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum How {
    /// `SHUT_RD`.
    Read = 0,
    /// `SHUT_WR`.
    Write = 1,
    /// `SHUT_RDWR`.
    Both = 2,
}
