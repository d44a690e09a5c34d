//! The operations (P-1): one function and one builder each.
//!
//! Descriptors should be in blocking mode: the ring waits for them without blocking a thread. A read, write or accept on one
//! in non-blocking mode gives EAGAIN where it would wait, as it does without a ring.

#![allow(unsafe_code)]

use super::{
    CURRENT, Code, Extra, FixedBuffer, Group, How, Link, MessageFlags, PollEvents, Request,
    SocketAddr, Target, VectoredRequest, Vectors, linux,
};
use crate::sys::{Domain, SocketKind};
use core::time::Duration;

macro_rules! builders {
    ($($(#[$meta:meta])* $name:ident { $($rest:tt)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        #[must_use = "nothing happens before it is submitted"]
        pub struct $name<Buf>(pub(crate) Request<Buf>);

        impl<Buf> $name<Buf> {
            /// Starts the next member of the chain when this one has succeeded; else the rest of the chain is cancelled
            /// (`IOSQE_IO_LINK`). A short read or write is no success, a short receive or send only with
            /// [`MessageFlags::WAIT_ALL`]. Linux lets a chain go on after an fsync, statx or shutdown that fails on an
            /// open file: look at its completion. Before Linux 5.18 a member that is refused as it is submitted, as a write
            /// to what is not open for writing, cancels the whole chain, those before it and hard links too.
            #[inline(always)]
            pub fn link(mut self) -> Self {
                self.0.link = Link::Soft;
                self
            }

            /// Starts the next member of the chain when this one is over, whatever came of it (`IOSQE_IO_HARDLINK`).
            #[inline(always)]
            pub fn hard_link(mut self) -> Self {
                self.0.link = Link::Hard;
                self
            }

            /// Cancels it if it takes longer than `limit` (`IORING_OP_LINK_TIMEOUT`): it then settles as cancelled.
            #[inline(always)]
            pub fn timeout(mut self, limit: Duration) -> Self {
                self.0.timeout = Some(limit);
                self
            }

            $($rest)*
        }

        impl<Buf> From<$name<Buf>> for Request<Buf> {
            #[inline(always)]
            fn from(built: $name<Buf>) -> Self {
                built.0
            }
        }
    )*};
}

builders! {
    /// See [`nop`].
    Nop {}
    /// See [`read`](read()) and [`write`](write()).
    Transfer {
        /// At `offset` bytes from the file's start; without it at the current position, which moves.
        #[inline(always)]
        pub fn at(mut self, offset: u64) -> Self {
            self.0.offset = offset;
            self
        }

        /// At most `bytes`.
        #[inline(always)]
        pub fn limit(mut self, bytes: u32) -> Self {
            self.0.length = bytes;
            self
        }

        /// With `RWF_*` flags (`preadv2(2)`).
        #[inline(always)]
        pub fn rw_flags(mut self, flags: u32) -> Self {
            self.0.flags = flags;
            self
        }
    }
    /// See [`recv`], [`send`] and [`send_zero_copy`].
    Message {
        /// With `flags`; those of send keep [`MessageFlags::NO_SIGNAL`].
        #[inline(always)]
        pub fn flags(mut self, flags: MessageFlags) -> Self {
            self.0.flags |= flags.bits();
            self
        }

        /// At most `bytes`.
        #[inline(always)]
        pub fn limit(mut self, bytes: u32) -> Self {
            self.0.length = bytes;
            self
        }

        /// Waits for readiness before it tries, for what will surely not be ready yet (`IORING_RECVSEND_POLL_FIRST`, Linux
        /// 5.19; before, it is tried at once).
        #[inline(always)]
        pub fn poll_first(mut self) -> Self {
            self.0.extra_flags |= 1;
            self
        }
    }
    /// See [`recv_multi`].
    RecvMulti {
        /// At most `bytes` at a time. Older kernels take no limit and answer EINVAL (6.12 does, 6.18 does not): there a group of
        /// buffers of that size is the limit.
        #[inline(always)]
        pub fn limit(mut self, bytes: u32) -> Self {
            self.0.length = bytes;
            self
        }
    }
    /// See [`accept`] and [`accept_multi`].
    Accept {
        /// The new socket is in non-blocking mode, for a reactor or other code that wants it so.
        #[inline(always)]
        pub fn non_blocking(mut self) -> Self {
            self.0.flags |= linux::O_NONBLOCK;
            self
        }
    }
    /// See [`connect`] and [`connect_unix`].
    Connect {}
    /// See [`socket`].
    Socket {
        /// In non-blocking mode.
        #[inline(always)]
        pub fn non_blocking(mut self) -> Self {
            self.0.offset |= linux::O_NONBLOCK as u64;
            self
        }
    }
    /// See [`bind`] and [`bind_unix`].
    Bind {}
    /// See [`listen`].
    Listen {}
    /// See [`shutdown`].
    Shutdown {}
    /// See [`close`] and [`close_fixed`].
    Close {}
    /// See [`open`].
    OpenAt {
        /// With `O_*` flags beside `O_CLOEXEC`, which is always set.
        #[inline(always)]
        pub fn flags(mut self, flags: u32) -> Self {
            self.0.flags |= flags;
            self
        }

        /// With this mode, should it create the file.
        #[inline(always)]
        pub fn mode(mut self, mode: u32) -> Self {
            self.0.length = mode;
            self
        }
    }
    /// See [`statx`].
    Statx {
        /// With `AT_*` flags.
        #[inline(always)]
        pub fn flags(mut self, flags: u32) -> Self {
            self.0.flags |= flags;
            self
        }
    }
    /// See [`fsync`].
    Fsync {
        /// The data only, and what is needed to find it again (`IORING_FSYNC_DATASYNC`).
        #[inline(always)]
        pub fn data_only(mut self) -> Self {
            self.0.flags |= 1;
            self
        }
    }
    /// See [`splice`].
    Splice {
        /// From `offset` of a file.
        #[inline(always)]
        pub fn from_offset(mut self, offset: u64) -> Self {
            if let Extra::From { offset: at, .. } = &mut self.0.extra {
                *at = offset;
            }
            self
        }

        /// To `offset` of a file.
        #[inline(always)]
        pub fn to_offset(mut self, offset: u64) -> Self {
            self.0.offset = offset;
            self
        }

        /// With `SPLICE_F_*` flags.
        #[inline(always)]
        pub fn flags(mut self, flags: u32) -> Self {
            self.0.flags |= flags & !(1 << 31);
            self
        }
    }
    /// See [`poll`] and [`poll_multi`].
    Poll {}
    /// See [`wait_pid`].
    WaitId {
        /// Leaves the child to be waited for again (`WNOWAIT`).
        #[inline(always)]
        pub fn unreaped(mut self) -> Self {
            self.0.offset |= linux::WNOWAIT as u64;
            self
        }
    }
}

macro_rules! vectored_builders {
    ($($(#[$meta:meta])* $name:ident { $($rest:tt)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        #[must_use = "nothing happens before it is submitted"]
        pub struct $name<Buf>(pub(crate) VectoredRequest<Buf>);

        impl<Buf> $name<Buf> {
            /// Cancels it if it takes longer than `limit`: it then settles as cancelled.
            pub fn timeout(mut self, limit: Duration) -> Self {
                self.0.request.timeout = Some(limit);
                self
            }

            $($rest)*
        }

        impl<Buf> From<$name<Buf>> for VectoredRequest<Buf> {
            fn from(built: $name<Buf>) -> Self {
                built.0
            }
        }
    )*};
}

vectored_builders! {
    /// See [`read_vectored`] and [`write_vectored`].
    TransferVectored {
        /// At `offset` bytes from the file's start; without it at the current position, which moves.
        pub fn at(mut self, offset: u64) -> Self {
            self.0.request.offset = offset;
            self
        }
    }
    /// See [`recv_message`] and [`send_message`].
    MessageVectored {
        /// With `flags`; those of send keep [`MessageFlags::NO_SIGNAL`].
        pub fn flags(mut self, flags: MessageFlags) -> Self {
            self.0.request.flags |= flags.bits();
            self
        }

        /// Send: to this address, on a socket that is not connected.
        pub fn to(mut self, address: SocketAddr) -> Self {
            self.0.request.extra = Extra::Address(address);
            self
        }

        /// Send: to the unix socket whose path, at most 107 bytes, is in the last buffer, which is no part of the message:
        /// see [`connect_unix`] for paths.
        ///
        /// ```
        /// use linux_event_core::proactor::{Vectors, op};
        /// # fn example(socket: linux_event_core::handle::File) {
        /// let mut buffers: Vectors<&'static mut [u8]> = Vectors::new();
        /// buffers.push(Box::leak(Box::new(*b"hello"))).unwrap();
        /// buffers.push(Box::leak(Box::new(*b"/run/socket"))).unwrap();
        /// let send = op::send_message(socket, buffers).to_path();
        /// # let _ = send;
        /// # }
        /// ```
        pub fn to_path(mut self) -> Self {
            self.0.request.extra = Extra::UnixPath;
            self
        }
    }
}

/// Does nothing, through the whole machinery. Result: 0.
#[doc(alias = "IORING_OP_NOP")]
#[inline(always)]
pub fn nop<Buf>() -> Nop<Buf> {
    Nop(Request::new(Code::Nop, Target::NONE))
}

#[inline(always)]
fn with_buffer<Buf>(code: Code, target: Target, buffer: Buf) -> Request<Buf> {
    let mut request = Request::new(code, target);
    request.buffer = Some(buffer);
    request.length = u32::MAX;
    request
}

/// Reads into `buffer`, from its start and up to its capacity, at the current position (`read(2)`). Result: bytes,
/// 0 at the end.
#[doc(alias = "IORING_OP_READ")]
#[inline(always)]
pub fn read<Buf>(target: impl Into<Target>, buffer: Buf) -> Transfer<Buf> {
    let mut request = with_buffer(Code::Read, target.into(), buffer);
    request.offset = CURRENT;
    Transfer(request)
}

/// Writes the filled part of `buffer`, at the current position (`write(2)`). Result: bytes. To a pipe or socket whose
/// reader is gone it raises SIGPIPE; [`send`] does not.
#[doc(alias = "IORING_OP_WRITE")]
#[inline(always)]
pub fn write<Buf>(target: impl Into<Target>, buffer: Buf) -> Transfer<Buf> {
    let mut request = with_buffer(Code::Write, target.into(), buffer);
    request.offset = CURRENT;
    Transfer(request)
}

#[inline(always)]
fn fixed<Buf>(
    code: Code,
    target: Target,
    buffer: FixedBuffer,
    start: u32,
    length: u32,
) -> Transfer<Buf> {
    let mut request = Request::new(code, target);
    request.length = length;
    request.offset = CURRENT;
    request.extra = Extra::Fixed { buffer, start };
    Transfer(request)
}

/// Reads into bytes `start..start + length` of a registered buffer. Result: bytes.
#[doc(alias = "IORING_OP_READ_FIXED")]
#[inline(always)]
pub fn read_fixed<Buf>(
    target: impl Into<Target>,
    buffer: FixedBuffer,
    start: u32,
    length: u32,
) -> Transfer<Buf> {
    fixed(Code::ReadFixed, target.into(), buffer, start, length)
}

/// Writes bytes `start..start + length` of a registered buffer. Result: bytes.
#[doc(alias = "IORING_OP_WRITE_FIXED")]
#[inline(always)]
pub fn write_fixed<Buf>(
    target: impl Into<Target>,
    buffer: FixedBuffer,
    start: u32,
    length: u32,
) -> Transfer<Buf> {
    fixed(Code::WriteFixed, target.into(), buffer, start, length)
}

fn vectored<Buf>(code: Code, target: Target, buffers: Vectors<Buf>) -> VectoredRequest<Buf> {
    let mut request = Request::new(code, target);
    request.offset = CURRENT;
    VectoredRequest { request, buffers }
}

/// Reads into several buffers, one after the other (`readv(2)`). Result: bytes.
#[doc(alias = "IORING_OP_READV")]
pub fn read_vectored<Buf>(
    target: impl Into<Target>,
    buffers: Vectors<Buf>,
) -> TransferVectored<Buf> {
    TransferVectored(vectored(Code::ReadVectored, target.into(), buffers))
}

/// Writes the filled parts of several buffers (`writev(2)`). Result: bytes.
#[doc(alias = "IORING_OP_WRITEV")]
pub fn write_vectored<Buf>(
    target: impl Into<Target>,
    buffers: Vectors<Buf>,
) -> TransferVectored<Buf> {
    TransferVectored(vectored(Code::WriteVectored, target.into(), buffers))
}

/// Receives into `buffer` (`recv(2)`). Result: bytes, 0 at the end of the stream.
#[doc(alias = "IORING_OP_RECV")]
#[inline(always)]
pub fn recv<Buf>(target: impl Into<Target>, buffer: Buf) -> Message<Buf> {
    Message(with_buffer(Code::Recv, target.into(), buffer))
}

/// Sends the filled part of `buffer` (`send(2)`), with `MSG_NOSIGNAL` always (M-4). Result: bytes.
#[doc(alias = "IORING_OP_SEND")]
#[inline(always)]
pub fn send<Buf>(target: impl Into<Target>, buffer: Buf) -> Message<Buf> {
    let mut request = with_buffer(Code::Send, target.into(), buffer);
    request.flags = MessageFlags::NO_SIGNAL.bits();
    Message(request)
}

/// Sends without copying. It completes twice: first with the result and `more`, then, when the kernel has let go of
/// the buffer, for good and with the buffer. Over loopback the kernel copies all the same.
#[doc(alias = "IORING_OP_SEND_ZC")]
#[inline(always)]
pub fn send_zero_copy<Buf>(target: impl Into<Target>, buffer: Buf) -> Message<Buf> {
    let mut request = with_buffer(Code::SendZeroCopy, target.into(), buffer);
    request.flags = MessageFlags::NO_SIGNAL.bits();
    Message(request)
}

/// Receives again and again, each time into a buffer of `group`, which comes as a lease (P-16). It ends at an error, at
/// the end of the stream, and with ENOBUFS when the group has no buffer left: submit it again when leases are back.
#[doc(alias = "IORING_RECV_MULTISHOT")]
#[inline(always)]
pub fn recv_multi<Buf>(target: impl Into<Target>, group: Group) -> RecvMulti<Buf> {
    let mut request = Request::new(Code::RecvMulti, target.into());
    request.extra = Extra::Group(group);
    RecvMulti(request)
}

/// Receives a message into several buffers, with the sender's address (`recvmsg(2)`), which
/// [`address`](super::super::Proactor::address) tells. Result: bytes.
#[doc(alias = "IORING_OP_RECVMSG")]
pub fn recv_message<Buf>(target: impl Into<Target>, buffers: Vectors<Buf>) -> MessageVectored<Buf> {
    let mut built = vectored(Code::RecvMessage, target.into(), buffers);
    built.request.extra = Extra::WantAddress;
    MessageVectored(built)
}

/// Sends a message from several buffers (`sendmsg(2)`). Result: bytes.
///
/// A datagram that finds no room waits, and may be sent without its bytes then: the kernel had
/// taken them out of the message before it looked at a unix peer's queue (seen on Linux 6.18). Ask for
/// [`MessageFlags::DONT_WAIT`] where that could be, and poll.
#[doc(alias = "IORING_OP_SENDMSG")]
pub fn send_message<Buf>(target: impl Into<Target>, buffers: Vectors<Buf>) -> MessageVectored<Buf> {
    let mut built = vectored(Code::SendMessage, target.into(), buffers);
    built.request.flags = MessageFlags::NO_SIGNAL.bits();
    MessageVectored(built)
}

/// Accepts a connection, close-on-exec (`accept4(2)`, P-11). Result: the descriptor, owned; the peer's address by
/// [`address`](super::super::Proactor::address).
#[doc(alias = "IORING_OP_ACCEPT")]
#[inline(always)]
pub fn accept<Buf>(target: impl Into<Target>) -> Accept<Buf> {
    let mut request = Request::new(Code::Accept, target.into());
    request.flags = linux::O_CLOEXEC;
    request.extra = Extra::WantAddress;
    Accept(request)
}

/// Accepts one connection after the other until it is cancelled or fails. Each comes as an owned descriptor.
#[doc(alias = "IORING_ACCEPT_MULTISHOT")]
#[inline(always)]
pub fn accept_multi<Buf>(target: impl Into<Target>) -> Accept<Buf> {
    let mut request = Request::new(Code::AcceptMulti, target.into());
    request.flags = linux::O_CLOEXEC;
    Accept(request)
}

/// Connects to `address` (`connect(2)`). Result: 0.
#[doc(alias = "IORING_OP_CONNECT")]
pub fn connect<Buf>(target: impl Into<Target>, address: SocketAddr) -> Connect<Buf> {
    let mut request = Request::new(Code::Connect, target.into());
    request.extra = Extra::Address(address);
    Connect(request)
}

/// Connects to the unix socket whose path is in `path`, at most 107 bytes; one that begins with a zero byte is abstract
/// (`unix(7)`).
pub fn connect_unix<Buf>(target: impl Into<Target>, path: Buf) -> Connect<Buf> {
    let mut request = with_buffer(Code::Connect, target.into(), path);
    request.extra = Extra::UnixPath;
    Connect(request)
}

/// Makes a socket, close-on-exec (`socket(2)`). Result: the descriptor, owned.
#[doc(alias = "IORING_OP_SOCKET")]
pub fn socket<Buf>(domain: Domain, kind: SocketKind) -> Socket<Buf> {
    let mut request = Request::new(Code::Socket, Target::NONE);
    request.flags = domain.number();
    request.offset = u64::from(kind.number() | linux::O_CLOEXEC);
    Socket(request)
}

/// Binds to `address` (`bind(2)`). Result: 0.
#[doc(alias = "IORING_OP_BIND")]
pub fn bind<Buf>(target: impl Into<Target>, address: SocketAddr) -> Bind<Buf> {
    let mut request = Request::new(Code::Bind, target.into());
    request.extra = Extra::Address(address);
    Bind(request)
}

/// Binds to the unix path in `path`: see [`connect_unix`].
pub fn bind_unix<Buf>(target: impl Into<Target>, path: Buf) -> Bind<Buf> {
    let mut request = with_buffer(Code::Bind, target.into(), path);
    request.extra = Extra::UnixPath;
    Bind(request)
}

/// Listens (`listen(2)`). Result: 0.
#[doc(alias = "IORING_OP_LISTEN")]
pub fn listen<Buf>(target: impl Into<Target>, backlog: u32) -> Listen<Buf> {
    let mut request = Request::new(Code::Listen, target.into());
    request.length = if backlog > i32::MAX as u32 {
        i32::MAX as u32
    } else {
        backlog
    };
    Listen(request)
}

/// Shuts a connection down (`shutdown(2)`). Result: 0.
#[doc(alias = "IORING_OP_SHUTDOWN")]
#[inline(always)]
pub fn shutdown<Buf>(target: impl Into<Target>, how: How) -> Shutdown<Buf> {
    let mut request = Request::new(Code::Shutdown, target.into());
    request.length = how as u32;
    Shutdown(request)
}

/// Closes an adopted file (`close(2)`). Result: 0. Alone it is [`Proactor::close`](super::super::Proactor::close), which
/// cancels what is in flight first (P-15); in a chain it comes when its turn has come, and nothing but earlier members of
/// the chain may be in flight on the file. A chain that breaks, or is cancelled, before it closes the file all the same, with
/// ECANCELED. One whose turn has come is not cancelled any more: its result is what the file system says (`close(2)`), and
/// whatever that is, the file is closed. In a chain it takes two entries of the queue. A ring's own descriptor is none to close by
/// an operation: the kernel says EBADF, and it stays open. [`release`](super::super::Proactor::release) it, and drop it.
#[doc(alias = "IORING_OP_CLOSE")]
pub fn close<Buf>(file: crate::handle::File) -> Close<Buf> {
    Close(Request::new(Code::Close, Target::from(file)))
}

/// Empties a registered slot, closing what is in it. Result: 0.
pub fn close_fixed<Buf>(slot: super::FixedFile) -> Close<Buf> {
    Close(Request::new(Code::Close, Target::from(slot)))
}

/// Closes a bare number. Result: 0. It cancels nothing: what is in flight on it keeps the file open (P-15).
///
/// # Safety
/// The caller owns `number`, and gives it up: from here on nobody uses it.
pub unsafe fn close_raw<Buf>(number: crate::sys::RawFd) -> Close<Buf> {
    Close(Request::new(
        Code::Close,
        Target(super::Place::Number(number)),
    ))
}

/// Opens the file whose path, with a zero byte at its end, is in `path`, relative to `directory`, close-on-exec
/// (`openat(2)`). Result: the descriptor, owned.
#[doc(alias = "IORING_OP_OPENAT")]
pub fn open<Buf>(directory: impl Into<Target>, path: Buf) -> OpenAt<Buf> {
    let mut request = with_buffer(Code::OpenAt, directory.into(), path);
    request.flags = linux::O_CLOEXEC;
    request.length = 0;
    OpenAt(request)
}

/// Asks about the file whose path, with a zero byte at its end, is in `path` (`statx(2)`); the answer is
/// [`Proactor::stat`](super::super::Proactor::stat). Result: 0.
#[doc(alias = "IORING_OP_STATX")]
pub fn statx<Buf>(directory: impl Into<Target>, path: Buf) -> Statx<Buf> {
    let mut request = with_buffer(Code::Statx, directory.into(), path);
    request.length = linux::STATX_BASIC_STATS | linux::STATX_BTIME;
    Statx(request)
}

/// Has a file's data on its disk (`fsync(2)`). Result: 0.
#[doc(alias = "IORING_OP_FSYNC")]
#[inline(always)]
pub fn fsync<Buf>(target: impl Into<Target>) -> Fsync<Buf> {
    Fsync(Request::new(Code::Fsync, target.into()))
}

/// Moves up to `length` bytes from one descriptor to another, one of which is a pipe (`splice(2)`). Result: bytes.
#[doc(alias = "IORING_OP_SPLICE")]
pub fn splice<Buf>(from: impl Into<Target>, to: impl Into<Target>, length: u32) -> Splice<Buf> {
    let mut request = Request::new(Code::Splice, to.into());
    request.length = length;
    request.offset = CURRENT;
    request.extra = Extra::From {
        target: from.into(),
        offset: CURRENT,
    };
    Splice(request)
}

/// Waits until a descriptor is ready, once (`poll(2)`). Result: [`PollEvents`] bits.
#[doc(alias = "IORING_OP_POLL_ADD")]
#[inline(always)]
pub fn poll<Buf>(target: impl Into<Target>, events: PollEvents) -> Poll<Buf> {
    let mut request = Request::new(Code::Poll, target.into());
    request.flags = events.bits();
    Poll(request)
}

/// Tells of each change to readiness until it is cancelled or fails. It behaves like an edge: read or write until EAGAIN.
#[doc(alias = "IORING_POLL_ADD_MULTI")]
#[inline(always)]
pub fn poll_multi<Buf>(target: impl Into<Target>, events: PollEvents) -> Poll<Buf> {
    let mut request = Request::new(Code::PollMulti, target.into());
    request.flags = events.bits();
    Poll(request)
}

/// Waits for a child to end and reaps it (`waitid(2)`, `P_PID`); how it ended is
/// [`Proactor::exit_info`](super::super::Proactor::exit_info). Result: 0.
#[doc(alias = "IORING_OP_WAITID")]
pub fn wait_pid<Buf>(pid: i32) -> WaitId<Buf> {
    let mut request = Request::new(Code::WaitId, Target::NONE);
    request.flags = pid as u32;
    request.length = linux::P_PID;
    request.offset = linux::WEXITED as u64;
    WaitId(request)
}
