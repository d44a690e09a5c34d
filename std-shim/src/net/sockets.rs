//! The socket calls that the net layer makes itself, on the kernel's sockets and on the fake's.
//!
//! **What.** [`SocketCalls`] is what a reactor does with sockets, and what either model does beside operations: make, bind, ask,
//! shut down. [`KernelSockets`] goes to the kernel, the fake is its own.
//!
//! **Why this shape.** The loops watch descriptors and perform operations; under readiness it is the program that reads and
//! writes. One trait for that is what lets the same drivers run on the fake.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::sys::{AsRawFd, Datagrams, Domain, Fd, Linux, SocketKind, Sockets, sockaddr};

use super::address::Address;
use crate::fake::{Fake, FakeOwned, Name};
use crate::fd::{IntoOwnedFd, from_std};

/// Socket calls. None blocks.
#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "each is the system call of its name"
)]
#[doc(hidden)]
pub trait SocketCalls {
    /// A descriptor, owned: dropping it closes it.
    type Socket: AsRawFd + Debug;
    /// Whether it is a kernel that is asked, and paths are real.
    const OF_KERNEL: bool;

    /// A socket, close-on-exec, in non-blocking mode or not.
    fn open(
        &mut self,
        domain: Domain,
        kind: SocketKind,
        non_blocking: bool,
    ) -> Result<Self::Socket, Errno>;
    /// Sets a socket's mode.
    fn set_non_blocking(&mut self, socket: Self::Socket, on: bool) -> Result<Self::Socket, Errno>;
    fn set_reuse_address(&mut self, socket: &Self::Socket, on: bool) -> Result<(), Errno>;
    fn set_reuse_port(&mut self, socket: &Self::Socket, on: bool) -> Result<(), Errno>;
    fn set_v6_only(&mut self, socket: &Self::Socket, on: bool) -> Result<(), Errno>;
    fn set_no_delay(&mut self, socket: &Self::Socket, on: bool) -> Result<(), Errno>;
    fn bind(&mut self, socket: &Self::Socket, address: &Address) -> Result<(), Errno>;
    fn listen(&mut self, socket: &Self::Socket, backlog: u32) -> Result<(), Errno>;
    fn is_listening(&mut self, socket: &Self::Socket) -> Result<bool, Errno>;
    /// Accepts a connection in non-blocking mode.
    fn accept(&mut self, socket: &Self::Socket) -> Result<Self::Socket, Errno>;
    /// EINPROGRESS, or EAGAIN of a unix socket whose backlog is full.
    fn connect(&mut self, socket: &Self::Socket, address: &Address) -> Result<(), Errno>;
    fn take_error(&mut self, socket: &Self::Socket) -> Result<Option<Errno>, Errno>;
    fn local_address(&mut self, socket: &Self::Socket) -> Result<Address, Errno>;
    fn peer_address(&mut self, socket: &Self::Socket) -> Result<Address, Errno>;
    fn shutdown_write(&mut self, socket: &Self::Socket) -> Result<(), Errno>;
    /// EAGAIN where nothing is there, whatever mode the socket is in.
    fn recv(&mut self, socket: &Self::Socket, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// Never SIGPIPE (M-4).
    fn send(&mut self, socket: &Self::Socket, bytes: &[u8]) -> Result<usize, Errno>;
    /// One packet, or bytes; without an address to the socket's peer. EAGAIN where there is no room, whatever mode the socket is
    /// in. Never SIGPIPE (M-4).
    fn send_to(
        &mut self,
        socket: &Self::Socket,
        packet: &[u8],
        to: Option<&Address>,
    ) -> Result<usize, Errno>;
    /// One packet: how long it was, which is more than `buffer` has if it was cut, and from whom.
    fn recv_from(
        &mut self,
        socket: &Self::Socket,
        buffer: &mut [u8],
    ) -> Result<(usize, Address), Errno>;
    fn set_broadcast(&mut self, socket: &Self::Socket, on: bool) -> Result<(), Errno>;
    /// Closes one that is in use no more.
    fn close(&mut self, socket: Self::Socket);
    /// Which socket's path it is: the same numbers as long as nobody puts another socket there. `None` if none is there.
    fn socket_at(&mut self, path: &[u8]) -> Option<SocketId>;
    /// Removes the path of a unix socket, if a socket is there; EEXIST if it is something else.
    fn unlink_socket(&mut self, path: &[u8]) -> Result<(), Errno>;
    /// What a name resolves to, and after how long, where that is known without asking anybody.
    fn known_name(&mut self, host: &str, port: u16) -> Option<(Duration, KnownName)>;
}

/// Which socket a path leads to: device and inode.
pub(crate) type SocketId = (u64, u64);

/// What a resolver says.
pub(crate) type KnownName = std::io::Result<Vec<SocketAddr>>;

/// The kernel's.
#[derive(Debug)]
#[doc(hidden)]
pub struct KernelSockets;

impl KernelSockets {
    /// The one there is: it has no size, so that nothing is allocated.
    pub(crate) fn get() -> &'static mut Self {
        Box::leak(Box::new(Self))
    }

    /// The kernel, which is about to be called.
    #[inline(always)]
    fn kernel() -> Linux {
        CALLS.set(CALLS.get().wrapping_add(1));
        Linux
    }
}

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// System calls that listeners, connectors, streams and datagram sockets have made on this thread themselves: accepts, sends and
/// receives of the reactor; streams' receives of a proactor whose kernel lacks multishot ones (M-6); in either model making,
/// binding, asking, shutting down (G-3).
///
/// What the loop calls for them is not among them: [`Loop::stats`](crate::Loop::stats) has the waits and the changes of what is
/// watched, [`Loop::counters`](crate::Loop::counters) the calls of a ring. Nor are closes of what the program drops itself, and
/// names' resolution, which has a thread of its own.
///
/// ```
/// use linux_event::Loop;
/// use linux_event::net::{Listener, socket_calls};
///
/// let mut event_loop = Loop::reactor()?;
/// let before = socket_calls();
/// Listener::tcp(&mut event_loop, "127.0.0.1:0").start(|_, _, _| {})?;
/// assert_eq!(socket_calls() - before, 4); // socket, setsockopt, bind, listen
/// # Ok::<(), linux_event::Error>(())
/// ```
pub fn socket_calls() -> u64 {
    CALLS.get()
}

/// `std`'s error of a system call.
fn errno_of(error: &std::io::Error) -> Errno {
    let errno = error.raw_os_error().and_then(Errno::from_raw);
    errno.unwrap_or(Errno::EIO)
}

fn set_mode(socket: OwnedFd, on: bool) -> Result<OwnedFd, Errno> {
    // `ioctl(FIONBIO)`, which works on every descriptor; the type is only what has the method.
    let socket = UnixStream::from(socket);
    match socket.set_nonblocking(on) {
        Ok(()) => Ok(socket.into()),
        Err(error) => Err(errno_of(&error)),
    }
}

/// The file of a unix socket with this name; `None` if it is abstract, or has no name.
fn in_file_system(path: &[u8]) -> Option<&Path> {
    let is_there = path.first().is_some_and(|&first| first != 0);
    is_there.then(|| Path::new(OsStr::from_bytes(path)))
}

impl SocketCalls for KernelSockets {
    type Socket = Fd;
    const OF_KERNEL: bool = true;

    fn open(&mut self, domain: Domain, kind: SocketKind, non_blocking: bool) -> Result<Fd, Errno> {
        let socket = Self::kernel().socket(domain, kind)?;
        if non_blocking {
            return Ok(socket);
        }
        self.set_non_blocking(socket, false)
    }

    fn set_non_blocking(&mut self, socket: Fd, on: bool) -> Result<Fd, Errno> {
        Self::kernel();
        set_mode(socket.into_owned_fd(), on).map(from_std)
    }

    fn set_reuse_address(&mut self, socket: &Fd, on: bool) -> Result<(), Errno> {
        Self::kernel().set_reuse_address(socket.borrow(), on)
    }

    fn set_reuse_port(&mut self, socket: &Fd, on: bool) -> Result<(), Errno> {
        Self::kernel().set_reuse_port(socket.borrow(), on)
    }

    fn set_v6_only(&mut self, socket: &Fd, on: bool) -> Result<(), Errno> {
        Self::kernel().set_v6_only(socket.borrow(), on)
    }

    fn set_no_delay(&mut self, socket: &Fd, on: bool) -> Result<(), Errno> {
        Self::kernel().set_no_delay(socket.borrow(), on)
    }

    fn bind(&mut self, socket: &Fd, address: &Address) -> Result<(), Errno> {
        match address {
            Address::Internet(address) => Self::kernel().bind(socket.borrow(), *address),
            Address::Unix(path) => {
                Self::kernel().bind_unix(socket.borrow(), Address::path_bytes(path))
            }
        }
    }

    fn listen(&mut self, socket: &Fd, backlog: u32) -> Result<(), Errno> {
        Self::kernel().listen(socket.borrow(), backlog)
    }

    fn is_listening(&mut self, socket: &Fd) -> Result<bool, Errno> {
        Self::kernel().is_listening(socket.borrow())
    }

    #[inline]
    fn accept(&mut self, socket: &Fd) -> Result<Fd, Errno> {
        Self::kernel()
            .accept(socket.borrow())
            .map(|(socket, _)| socket)
    }

    fn connect(&mut self, socket: &Fd, address: &Address) -> Result<(), Errno> {
        match address {
            Address::Internet(address) => Self::kernel().connect(socket.borrow(), *address),
            Address::Unix(path) => {
                Self::kernel().connect_unix(socket.borrow(), Address::path_bytes(path))
            }
        }
    }

    fn take_error(&mut self, socket: &Fd) -> Result<Option<Errno>, Errno> {
        Self::kernel().take_error(socket.borrow())
    }

    fn local_address(&mut self, socket: &Fd) -> Result<Address, Errno> {
        let mut bytes = [0; sockaddr::UNIX_SIZE_MAX];
        let len = Self::kernel().local_name(socket.borrow(), &mut bytes)?;
        Address::decode(&bytes[..len]).ok_or(Errno::EAFNOSUPPORT)
    }

    fn peer_address(&mut self, socket: &Fd) -> Result<Address, Errno> {
        let mut bytes = [0; sockaddr::UNIX_SIZE_MAX];
        let len = Self::kernel().peer_name(socket.borrow(), &mut bytes)?;
        Address::decode(&bytes[..len]).ok_or(Errno::EAFNOSUPPORT)
    }

    fn shutdown_write(&mut self, socket: &Fd) -> Result<(), Errno> {
        Self::kernel().shutdown_write(socket.borrow())
    }

    #[inline(always)]
    fn recv(&mut self, socket: &Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
        Self::kernel().recv(socket.borrow(), buffer)
    }

    #[inline(always)]
    fn send(&mut self, socket: &Fd, bytes: &[u8]) -> Result<usize, Errno> {
        Self::kernel().send(socket.borrow(), bytes)
    }

    fn send_to(
        &mut self,
        socket: &Fd,
        packet: &[u8],
        to: Option<&Address>,
    ) -> Result<usize, Errno> {
        match to {
            None => Self::kernel().send_to(socket.borrow(), packet, &[]),
            Some(Address::Internet(address)) => {
                let (name, len) = sockaddr::encode(*address);
                Self::kernel().send_to(socket.borrow(), packet, &name[..len])
            }
            Some(Address::Unix(path)) => {
                let encoded = sockaddr::encode_unix(Address::path_bytes(path));
                let (name, len) = encoded.ok_or(Errno::EINVAL)?;
                Self::kernel().send_to(socket.borrow(), packet, &name[..len])
            }
        }
    }

    fn recv_from(&mut self, socket: &Fd, buffer: &mut [u8]) -> Result<(usize, Address), Errno> {
        let mut name = [0; sockaddr::UNIX_SIZE_MAX];
        let (count, len) = Self::kernel().recv_from(socket.borrow(), buffer, &mut name)?;
        let from = Address::decode(&name[..len]);
        Ok((count, from.unwrap_or_else(|| Address::from_path_bytes(b""))))
    }

    fn set_broadcast(&mut self, socket: &Fd, on: bool) -> Result<(), Errno> {
        Self::kernel().set_broadcast(socket.borrow(), on)
    }

    fn close(&mut self, socket: Fd) {
        Self::kernel();
        drop(socket);
    }

    fn socket_at(&mut self, path: &[u8]) -> Option<SocketId> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let path = in_file_system(path)?;
        Self::kernel();
        let found = path.symlink_metadata().ok();
        let found = found.filter(|it| it.file_type().is_socket())?;
        Some((found.dev(), found.ino()))
    }

    fn unlink_socket(&mut self, path: &[u8]) -> Result<(), Errno> {
        use std::os::unix::fs::FileTypeExt;
        let Some(path) = in_file_system(path) else {
            return Ok(());
        };
        Self::kernel();
        match path.symlink_metadata() {
            Ok(found) if !found.file_type().is_socket() => Err(Errno::EEXIST),
            Ok(_) => {
                Self::kernel();
                std::fs::remove_file(path).map_err(|error| errno_of(&error))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(errno_of(&error)),
        }
    }

    fn known_name(&mut self, _: &str, _: u16) -> Option<(Duration, KnownName)> {
        None
    }
}

impl From<&Address> for Name {
    fn from(address: &Address) -> Self {
        match address {
            Address::Internet(address) => Self::Internet(*address),
            Address::Unix(path) => Self::Path(Address::path_bytes(path).to_vec()),
        }
    }
}

impl SocketCalls for Fake {
    type Socket = FakeOwned;
    const OF_KERNEL: bool = false;

    fn open(
        &mut self,
        domain: Domain,
        kind: SocketKind,
        _non_blocking: bool,
    ) -> Result<FakeOwned, Errno> {
        self.socket(domain, kind).map(|socket| self.own(socket))
    }

    fn set_non_blocking(&mut self, socket: FakeOwned, _on: bool) -> Result<FakeOwned, Errno> {
        Ok(socket) // what is done by hand never waits, an operation always does
    }

    fn set_reuse_address(&mut self, _socket: &FakeOwned, _on: bool) -> Result<(), Errno> {
        Ok(()) // nothing lingers here
    }

    fn set_reuse_port(&mut self, _socket: &FakeOwned, _on: bool) -> Result<(), Errno> {
        Err(Errno::ENOPROTOOPT) // a port has one socket here
    }

    fn set_v6_only(&mut self, _socket: &FakeOwned, on: bool) -> Result<(), Errno> {
        // IPv4 and IPv6 are two networks here.
        if on { Ok(()) } else { Err(Errno::ENOPROTOOPT) }
    }

    fn set_no_delay(&mut self, _socket: &FakeOwned, _on: bool) -> Result<(), Errno> {
        Ok(()) // every write leaves at once
    }

    fn bind(&mut self, socket: &FakeOwned, address: &Address) -> Result<(), Errno> {
        Self::bind(self, socket, address)
    }

    fn listen(&mut self, socket: &FakeOwned, backlog: u32) -> Result<(), Errno> {
        Self::listen(self, socket, backlog)
    }

    fn is_listening(&mut self, socket: &FakeOwned) -> Result<bool, Errno> {
        Self::is_listening(self, socket)
    }

    fn accept(&mut self, socket: &FakeOwned) -> Result<FakeOwned, Errno> {
        let (connection, _) = Self::accept(self, socket)?;
        Ok(self.own(connection))
    }

    fn connect(&mut self, socket: &FakeOwned, address: &Address) -> Result<(), Errno> {
        Self::connect(self, socket, address)
    }

    fn take_error(&mut self, socket: &FakeOwned) -> Result<Option<Errno>, Errno> {
        Self::take_error(self, socket)
    }

    fn local_address(&mut self, socket: &FakeOwned) -> Result<Address, Errno> {
        self.local_name(socket).map(Address::from)
    }

    fn peer_address(&mut self, socket: &FakeOwned) -> Result<Address, Errno> {
        self.peer_name(socket).map(Address::from)
    }

    fn shutdown_write(&mut self, socket: &FakeOwned) -> Result<(), Errno> {
        Self::shutdown_write(self, socket)
    }

    fn recv(&mut self, socket: &FakeOwned, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.read(socket, buffer)
    }

    fn send(&mut self, socket: &FakeOwned, bytes: &[u8]) -> Result<usize, Errno> {
        self.write(socket, bytes)
    }

    fn send_to(
        &mut self,
        socket: &FakeOwned,
        packet: &[u8],
        to: Option<&Address>,
    ) -> Result<usize, Errno> {
        match to {
            None => self.write(socket, packet),
            Some(to) => Self::send_to(self, socket, packet, to),
        }
    }

    fn recv_from(
        &mut self,
        socket: &FakeOwned,
        buffer: &mut [u8],
    ) -> Result<(usize, Address), Errno> {
        let (bytes, from) = self.receive_named(socket)?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok((bytes.len(), from.into()))
    }

    fn set_broadcast(&mut self, _socket: &FakeOwned, _on: bool) -> Result<(), Errno> {
        Ok(()) // there is nobody to broadcast to
    }

    fn close(&mut self, socket: FakeOwned) {
        drop(socket);
    }

    fn socket_at(&mut self, path: &[u8]) -> Option<SocketId> {
        Some((0, self.bind_at(path)?))
    }

    fn unlink_socket(&mut self, path: &[u8]) -> Result<(), Errno> {
        Self::unlink_socket(self, path)
    }

    fn known_name(&mut self, host: &str, port: u16) -> Option<(Duration, KnownName)> {
        Some(self.resolve_host(host, port))
    }
}

impl From<Name> for Address {
    fn from(name: Name) -> Self {
        match name {
            Name::Internet(address) => Self::Internet(address),
            Name::Path(path) => Self::from_path_bytes(&path),
        }
    }
}
