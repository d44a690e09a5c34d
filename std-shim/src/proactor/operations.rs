//! The common operations, a method each.
//!
//! **Why this shape.** Each is [`submit`](Loop::submit) of the function of [`op`] that has its name, and takes anything that
//! turns into a [`Buffer`]. What has flags or a timeout is submitted.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::Op;
use linux_event_core::proactor::{Group, How, PollEvents, Target, op};
use linux_event_core::sys::{Domain, SocketKind};

use super::submit::Refused;
use super::{Completion, Proactor, ProactorBackend};
use crate::buffer::Buffer;
use crate::error::Outcome;
use crate::event_loop::Loop;

macro_rules! operations {
    ($($(#[$meta:meta])* $name:ident($($argument:ident: $kind:ty),*) => $request:expr;)*) => {
        impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {$(
            $(#[$meta])*
            ///
            /// # Errors
            /// As [`submit`](Self::submit).
            pub fn $name<R: Outcome>(
                &mut self,
                $($argument: $kind,)*
                callback: impl FnMut(&mut Self, Completion<B>) -> R + 'static,
            ) -> Result<Op, Refused> {
                self.submit($request, callback)
            }
        )*}
    };
}

operations! {
    /// Does nothing, through the whole machinery. Result: 0.
    nop() => op::nop();

    /// Reads into `buffer`, from its start and up to its capacity, at the current position. Result: bytes, 0 at the end;
    /// the buffer comes back with them.
    #[doc(alias = "IORING_OP_READ")]
    read(file: impl Into<Target>, buffer: impl Into<Buffer>) => op::read(file, buffer.into());

    /// Reads at `offset` bytes from the file's start: see [`read`](Self::read).
    #[doc(alias = "pread")]
    read_at(file: impl Into<Target>, offset: u64, buffer: impl Into<Buffer>) =>
        op::read(file, buffer.into()).at(offset);

    /// Writes what is in `buffer`, at the current position. Result: bytes, fewer than there were if the file takes no more;
    /// the buffer comes back. To a pipe or socket whose reader is gone it raises SIGPIPE; [`send`](Self::send) does not.
    #[doc(alias = "IORING_OP_WRITE")]
    write(file: impl Into<Target>, buffer: impl Into<Buffer>) => op::write(file, buffer.into());

    /// Writes at `offset` bytes from the file's start: see [`write`](Self::write).
    #[doc(alias = "pwrite")]
    write_at(file: impl Into<Target>, offset: u64, buffer: impl Into<Buffer>) =>
        op::write(file, buffer.into()).at(offset);

    /// Receives into `buffer`. Result: bytes, 0 at the end of the stream; the buffer comes back with them.
    #[doc(alias = "IORING_OP_RECV")]
    recv(socket: impl Into<Target>, buffer: impl Into<Buffer>) => op::recv(socket, buffer.into());

    /// Receives again and again, each time into a buffer of `group`, which comes as a lease and goes back when that is
    /// dropped (P-16). It ends at an error, at the end of the stream, and with ENOBUFS when the group has no buffer left:
    /// submit it [`again`](Self::again) when leases are back.
    #[doc(alias = "IORING_RECV_MULTISHOT")]
    recv_multi(socket: impl Into<Target>, group: Group) => op::recv_multi(socket, group);

    /// Sends what is in `buffer`; SIGPIPE never comes of it (M-4). Result: bytes, fewer than there were if the socket takes
    /// no more; the buffer comes back.
    #[doc(alias = "IORING_OP_SEND")]
    send(socket: impl Into<Target>, buffer: impl Into<Buffer>) => op::send(socket, buffer.into());

    /// Sends without copying. It completes twice: with the result and `more`, then, when the kernel has let go of the
    /// buffer, for good and with the buffer.
    #[doc(alias = "IORING_OP_SEND_ZC")]
    send_zero_copy(socket: impl Into<Target>, buffer: impl Into<Buffer>) =>
        op::send_zero_copy(socket, buffer.into());

    /// Accepts a connection. Its descriptor, close-on-exec and in blocking mode, comes as the completion's payload (P-11);
    /// [`adopt_fd`](Self::adopt_fd) takes it in. The peer's address is [`address`](Self::address).
    #[doc(alias = "IORING_OP_ACCEPT")]
    accept(listener: impl Into<Target>) => op::accept(listener);

    /// Accepts one connection after the other until it is cancelled or fails. Each comes as with [`accept`](Self::accept),
    /// without its address.
    #[doc(alias = "IORING_ACCEPT_MULTISHOT")]
    accept_multi(listener: impl Into<Target>) => op::accept_multi(listener);

    /// Connects a socket to `address`. Result: 0.
    #[doc(alias = "IORING_OP_CONNECT")]
    connect(socket: impl Into<Target>, address: SocketAddr) => op::connect(socket, address);

    /// Makes a socket, which comes as the completion's payload, as with [`accept`](Self::accept).
    #[doc(alias = "IORING_OP_SOCKET")]
    socket(domain: Domain, kind: SocketKind) => op::socket(domain, kind);

    /// Binds a socket to `address`. Result: 0.
    #[doc(alias = "IORING_OP_BIND")]
    bind(socket: impl Into<Target>, address: SocketAddr) => op::bind(socket, address);

    /// Has a socket listen. Result: 0.
    #[doc(alias = "IORING_OP_LISTEN")]
    listen(socket: impl Into<Target>, backlog: u32) => op::listen(socket, backlog);

    /// Shuts a connection down, one way or both. Result: 0.
    #[doc(alias = "IORING_OP_SHUTDOWN")]
    shutdown_socket(socket: impl Into<Target>, how: How) => op::shutdown(socket, how);

    /// Has a file's data on its disk. Result: 0.
    #[doc(alias = "IORING_OP_FSYNC")]
    fsync(file: impl Into<Target>) => op::fsync(file);

    /// Moves up to `length` bytes from one descriptor to another, one of which is a pipe. Result: bytes.
    #[doc(alias = "IORING_OP_SPLICE")]
    splice(from: impl Into<Target>, to: impl Into<Target>, length: u32) =>
        op::splice(from, to, length);

    /// Waits until a descriptor is ready, once. Result: [`PollEvents`] bits.
    #[doc(alias = "IORING_OP_POLL_ADD")]
    poll(file: impl Into<Target>, events: PollEvents) => op::poll(file, events);

    /// Tells of each change to readiness until it is cancelled or fails: read or write until EAGAIN.
    #[doc(alias = "IORING_POLL_ADD_MULTI")]
    poll_multi(file: impl Into<Target>, events: PollEvents) => op::poll_multi(file, events);
}

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// Opens the file at `path`, relative to the current directory, with `O_*` flags and, should it be created, `mode`;
    /// close-on-exec always. The descriptor comes as the completion's payload, as with [`accept`](Self::accept).
    ///
    /// # Errors
    /// [`LoopError::Invalid`] for a path with a zero byte in it; else as [`submit`](Self::submit).
    #[doc(alias = "IORING_OP_OPENAT")]
    pub fn open<R: Outcome>(
        &mut self,
        path: impl AsRef<Path>,
        flags: u32,
        mode: u32,
        callback: impl FnMut(&mut Self, Completion<B>) -> R + 'static,
    ) -> Result<Op, Refused> {
        let mut path = path.as_ref().as_os_str().as_bytes().to_vec();
        if path.contains(&0) {
            return Err(Refused {
                error: LoopError::Invalid("a path has no zero byte in it"),
                buffer: Some(path.into()),
            });
        }
        path.push(0);
        let request = op::open(Target::CURRENT_DIRECTORY, Buffer::from(path));
        self.submit(request.flags(flags).mode(mode), callback)
    }
}
