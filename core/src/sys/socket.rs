//! Sockets, as far as a loop's first program needs them.
//!
//! **What.** [`Sockets`] extends the seam by the socket calls, typed, with `core::net` addresses; [`sockaddr`] is
//! how such an address looks to the kernel.
//!
//! **Invariants.** Those of the [parent](super).
//!
//! **Why this shape.** The loops never make a socket; programs do. So these calls stand beside [`Kernel`], not in it.

use core::net::SocketAddr;

use linux_raw_sys::general as linux;
use linux_raw_sys::ioctl::FIONBIO;
use linux_raw_sys::net;

use super::raw::{call2, call3, call4, call5, call6, fd};
use super::uapi::{SOCK_DGRAM, SOCK_FLAGS, SOCK_STREAM};
use super::{AsRawFd, BorrowedFd, Fd, Kernel, Linux};
use crate::errno::Errno;

pub mod sockaddr {
    //! Socket addresses in the kernel's form (`ip(7)`, `ipv6(7)`).

    #![forbid(unsafe_code)]

    use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

    use linux_raw_sys::net::{AF_INET, AF_INET6, AF_UNIX};

    /// Room for the larger of the two forms, `struct sockaddr_in6`.
    pub const SIZE_MAX: usize = 28;

    /// Bytes that the path of a unix socket may have.
    pub const PATH_MAX: usize = 107;
    /// Room for `struct sockaddr_un`, which has a zero byte after the longest path.
    pub const UNIX_SIZE_MAX: usize = PATH_MAX + 3;

    /// The address of a unix socket in the kernel's form (`unix(7)`): the bytes and how many of them count. A path that
    /// begins with a zero byte is abstract. `None` if it is empty, longer than [`PATH_MAX`], or has a zero byte elsewhere.
    ///
    /// ```
    /// use linux_event_core::sys::sockaddr;
    /// let (bytes, len) = sockaddr::encode_unix(b"/run/x").unwrap();
    /// assert_eq!(sockaddr::decode_unix(&bytes[..len]), Some(&b"/run/x"[..]));
    /// assert_eq!(sockaddr::encode_unix(&[b'x'; 108]), None);
    /// assert_eq!(sockaddr::encode_unix(b"a\0b"), None);
    /// ```
    pub fn encode_unix(path: &[u8]) -> Option<([u8; UNIX_SIZE_MAX], usize)> {
        let is_abstract = path.first() == Some(&0);
        if path.is_empty() || path.len() > PATH_MAX || (!is_abstract && path.contains(&0)) {
            return None;
        }
        let mut bytes = [0; UNIX_SIZE_MAX];
        bytes[..2].copy_from_slice(&(AF_UNIX as u16).to_ne_bytes());
        bytes[2..2 + path.len()].copy_from_slice(path);
        Some((bytes, 2 + path.len() + usize::from(!is_abstract)))
    }

    /// The path that `bytes` holds: empty for a unix socket without a name; `None` if they hold no unix address.
    pub fn decode_unix(bytes: &[u8]) -> Option<&[u8]> {
        let family = u16::from_ne_bytes(*bytes.first_chunk()?);
        if u32::from(family) != AF_UNIX {
            return None;
        }
        let path = &bytes[2..];
        if path.first() == Some(&0) {
            return Some(path);
        }
        let end = path.iter().position(|&byte| byte == 0);
        Some(&path[..end.unwrap_or(path.len())])
    }

    /// An address in the kernel's form: the bytes and how many of them count.
    pub fn encode(address: SocketAddr) -> ([u8; SIZE_MAX], usize) {
        let mut bytes = [0; SIZE_MAX];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (bytes, 16)
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (bytes, 28)
            }
        }
    }

    /// The address that `bytes` holds; `None` if they hold no IPv4 or IPv6 address.
    ///
    /// ```
    /// use linux_event_core::sys::sockaddr;
    /// let address = "[::1]:80".parse().unwrap();
    /// let (bytes, len) = sockaddr::encode(address);
    /// assert_eq!(sockaddr::decode(&bytes[..len]), Some(address));
    /// assert_eq!(sockaddr::decode(&bytes[..7]), None);
    /// ```
    pub fn decode(bytes: &[u8]) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes(*bytes.first_chunk()?);
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        match u32::from(family) {
            AF_INET => {
                let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
                Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
            }
            AF_INET6 => {
                let flow = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
                let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
                let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
            }
            _ => None,
        }
    }
}

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
    /// `AF_UNIX`.
    Unix,
}

impl Domain {
    /// The family of an address.
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// The family's number: `AF_*`.
    pub const fn number(self) -> u32 {
        match self {
            Self::V4 => net::AF_INET,
            Self::V6 => net::AF_INET6,
            Self::Unix => net::AF_UNIX,
        }
    }

    const fn raw(self) -> usize {
        self.number() as usize
    }
}

/// Whether a socket carries a stream or packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_DGRAM`.
    Datagram,
}

impl SocketKind {
    /// The type's number: `SOCK_*`.
    pub const fn number(self) -> u32 {
        match self {
            Self::Stream => SOCK_STREAM,
            Self::Datagram => SOCK_DGRAM,
        }
    }

    const fn raw(self) -> usize {
        (SOCK_FLAGS | self.number()) as usize
    }
}

/// The socket calls. Every socket they make is non-blocking and close-on-exec.
///
/// # Safety
/// As for [`Kernel`].
pub unsafe trait Sockets: Kernel {
    /// `socket(2)`.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM, EAFNOSUPPORT where the family is not built in.
    fn socket(&self, domain: Domain, kind: SocketKind) -> Result<Fd<Self>, Errno>;

    /// `socketpair(2)` in `AF_UNIX`.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    fn socketpair(&self, kind: SocketKind) -> Result<(Fd<Self>, Fd<Self>), Errno>;

    /// `setsockopt(SO_REUSEADDR)`: a listener may bind while old connections of its port linger.
    ///
    /// # Errors
    /// ENOTSOCK.
    fn set_reuse_address(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno>;

    /// `setsockopt(TCP_NODELAY)`: small writes leave at once.
    ///
    /// # Errors
    /// ENOTSOCK, EOPNOTSUPP where the socket is not TCP.
    fn set_no_delay(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno>;

    /// `ioctl(FIONBIO)`: whether a call on the socket that would have to wait is EAGAIN. A proactor wants sockets that wait:
    /// the ring does it for them, without blocking a thread.
    ///
    /// ```
    /// use linux_event_core::errno::Errno;
    /// use linux_event_core::sys::{Linux, SocketKind, Sockets};
    /// let (ours, _theirs) = Linux.socketpair(SocketKind::Stream)?;
    /// assert_eq!(ours.read(&mut [0]), Err(Errno::EAGAIN));
    /// Linux.set_non_blocking(ours.borrow(), false)?; // a read would wait from here on
    /// Linux.set_non_blocking(ours.borrow(), true)?;
    /// assert_eq!(ours.read(&mut [0]), Err(Errno::EAGAIN));
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Errors
    /// EBADF.
    #[doc(alias = "O_NONBLOCK")]
    fn set_non_blocking(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno>;

    /// `setsockopt(SO_REUSEPORT)`: several sockets may bind to one address, among which the kernel shares what comes.
    ///
    /// # Errors
    /// ENOTSOCK.
    fn set_reuse_port(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno>;

    /// `setsockopt(IPV6_V6ONLY)`: an IPv6 socket takes no IPv4. It counts before [`bind`](Self::bind) only.
    ///
    /// # Errors
    /// EINVAL once it is bound; ENOPROTOOPT, EOPNOTSUPP where the socket is not IPv6.
    fn set_v6_only(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno>;

    /// `bind(2)`. Port 0 lets the kernel choose: ask [`local_address`](Self::local_address).
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL, EACCES for ports below 1024, EINVAL if bound already.
    fn bind(&self, socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno>;

    /// `bind(2)` of a unix socket to a path, which is made: see [`sockaddr::encode_unix`].
    ///
    /// # Errors
    /// EADDRINUSE if it exists, ENOENT, EACCES; EINVAL for a path that can't be one.
    fn bind_unix(&self, socket: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno>;

    /// `listen(2)` with room for `backlog` connections that nobody has accepted (the kernel caps it at
    /// `net.core.somaxconn`).
    ///
    /// # Errors
    /// EADDRINUSE, EOPNOTSUPP.
    fn listen(&self, socket: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno>;

    /// `accept4(2)`: the connection, and the peer's address if it has an IP address.
    ///
    /// # Errors
    /// EAGAIN when none waits, ECONNABORTED when it left meanwhile, EMFILE, ENFILE, ENOBUFS, ENOMEM.
    fn accept(&self, socket: BorrowedFd<'_>) -> Result<(Fd<Self>, Option<SocketAddr>), Errno>;

    /// `connect(2)`. EINPROGRESS is the usual answer: the socket becomes writable when it is decided, and
    /// [`take_error`](Self::take_error) tells how.
    ///
    /// # Errors
    /// EINPROGRESS, ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL …
    fn connect(&self, socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno>;

    /// `connect(2)` of a unix socket to a path. It is decided at once.
    ///
    /// # Errors
    /// EAGAIN while the backlog has no room, ECONNREFUSED, ENOENT, EACCES; EINVAL for a path that can't be one.
    fn connect_unix(&self, socket: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno>;

    /// `getsockopt(SO_ERROR)`: the error that waits on the socket, which this takes away.
    ///
    /// # Errors
    /// ENOTSOCK; the waiting error is in the `Ok`.
    fn take_error(&self, socket: BorrowedFd<'_>) -> Result<Option<Errno>, Errno>;

    /// `getsockname(2)`; `None` if it is not an IP address.
    ///
    /// # Errors
    /// ENOTSOCK.
    fn local_address(&self, socket: BorrowedFd<'_>) -> Result<Option<SocketAddr>, Errno>;

    /// `getsockname(2)`, in the kernel's form: the bytes are written to `address`; how many count.
    ///
    /// # Errors
    /// ENOTSOCK.
    fn local_name(
        &self,
        socket: BorrowedFd<'_>,
        address: &mut [u8; sockaddr::UNIX_SIZE_MAX],
    ) -> Result<usize, Errno>;

    /// `getpeername(2)`, as [`local_name`](Self::local_name).
    ///
    /// # Errors
    /// ENOTSOCK, ENOTCONN.
    fn peer_name(
        &self,
        socket: BorrowedFd<'_>,
        address: &mut [u8; sockaddr::UNIX_SIZE_MAX],
    ) -> Result<usize, Errno>;

    /// `getsockopt(SO_ACCEPTCONN)`: whether the socket listens.
    ///
    /// # Errors
    /// ENOTSOCK.
    fn is_listening(&self, socket: BorrowedFd<'_>) -> Result<bool, Errno>;

    /// `shutdown(SHUT_WR)`: the peer reads the end of the stream, reading goes on.
    ///
    /// # Errors
    /// ENOTCONN.
    fn shutdown_write(&self, socket: BorrowedFd<'_>) -> Result<(), Errno>;

    /// `send(2)` with `MSG_NOSIGNAL`: a peer that is gone is EPIPE, never SIGPIPE (rule M-4).
    ///
    /// # Errors
    /// EAGAIN when the send buffer is full, EPIPE, ECONNRESET, EINTR.
    fn send(&self, socket: BorrowedFd<'_>, buffer: &[u8]) -> Result<usize, Errno>;

    /// `recv(2)` with `MSG_DONTWAIT`, so that it never waits, whatever mode the socket is in; 0 is the end of the stream.
    ///
    /// # Errors
    /// EAGAIN when nothing is there, ECONNRESET, EINTR.
    fn recv(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno>;
}

impl Linux {
    pub(super) fn set_option(
        socket: BorrowedFd<'_>,
        level: u32,
        option: u32,
        value: u32,
    ) -> Result<(), Errno> {
        // SAFETY: INV-SYS-1: `value` lives until the call returns, and its size is given.
        unsafe {
            call5(
                linux::__NR_setsockopt,
                fd(socket.as_raw_fd()),
                level as usize,
                option as usize,
                &raw const value as usize,
                size_of::<u32>(),
            )
        }
        .map(drop)
    }

    fn integer_option(socket: BorrowedFd<'_>, option: u32) -> Result<i32, Errno> {
        let mut value = 0i32;
        let mut len = size_of::<i32>() as u32;
        // SAFETY: INV-SYS-1: `value` and `len` live until the call returns, and `len` is the size of `value`.
        unsafe {
            call5(
                linux::__NR_getsockopt,
                fd(socket.as_raw_fd()),
                net::SOL_SOCKET as usize,
                option as usize,
                &raw mut value as usize,
                &raw mut len as usize,
            )
        }?;
        Ok(value)
    }

    fn with_path(number: u32, socket: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        let (bytes, len) = sockaddr::encode_unix(path).ok_or(Errno::EINVAL)?;
        // SAFETY: INV-SYS-1: `bytes` lives until the call returns, and `len` is at most its length.
        unsafe { call3(number, fd(socket.as_raw_fd()), bytes.as_ptr() as usize, len) }.map(drop)
    }

    /// `getsockname` or `getpeername`.
    fn name(number: u32, socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
        let mut len = bytes.len() as u32;
        // SAFETY: INV-SYS-1: `bytes` and `len` live until the call returns; the kernel writes at most `len` bytes.
        unsafe {
            call3(
                number,
                fd(socket.as_raw_fd()),
                bytes.as_mut_ptr() as usize,
                &raw mut len as usize,
            )
        }?;
        Ok((len as usize).min(bytes.len()))
    }

    fn with_address(number: u32, socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno> {
        let (bytes, len) = sockaddr::encode(address);
        // SAFETY: INV-SYS-1: `bytes` lives until the call returns, and `len` is at most its length.
        unsafe { call3(number, fd(socket.as_raw_fd()), bytes.as_ptr() as usize, len) }.map(drop)
    }
}

// SAFETY: as for `Kernel`: every call gets its own slice and that slice's length (INV-SYS-1).
unsafe impl Sockets for Linux {
    fn socket(&self, domain: Domain, kind: SocketKind) -> Result<Fd<Self>, Errno> {
        // SAFETY: no pointer.
        unsafe { call3(linux::__NR_socket, domain.raw(), kind.raw(), 0) }.map(|raw| self.own(raw))
    }

    fn socketpair(&self, kind: SocketKind) -> Result<(Fd<Self>, Fd<Self>), Errno> {
        let mut pair = [0i32; 2];
        // SAFETY: INV-SYS-1: `pair` lives until the call returns; the kernel writes two integers.
        unsafe {
            call4(
                linux::__NR_socketpair,
                Domain::Unix.raw(),
                kind.raw(),
                0,
                pair.as_mut_ptr() as usize,
            )
        }?;
        Ok((self.own(pair[0] as usize), self.own(pair[1] as usize)))
    }

    fn set_reuse_address(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
        Self::set_option(socket, net::SOL_SOCKET, net::SO_REUSEADDR, u32::from(on))
    }

    fn set_no_delay(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
        Self::set_option(
            socket,
            net::IPPROTO_TCP as u32,
            net::TCP_NODELAY,
            u32::from(on),
        )
    }

    fn set_non_blocking(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
        let value = i32::from(on);
        // SAFETY: INV-SYS-1: `value` lives until the call returns; the kernel reads one integer.
        unsafe {
            call3(
                linux::__NR_ioctl,
                fd(socket.as_raw_fd()),
                FIONBIO as usize,
                &raw const value as usize,
            )
        }
        .map(drop)
    }

    fn set_reuse_port(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
        Self::set_option(socket, net::SOL_SOCKET, net::SO_REUSEPORT, u32::from(on))
    }

    fn set_v6_only(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
        let level = net::IPPROTO_IPV6 as u32;
        Self::set_option(socket, level, net::IPV6_V6ONLY, u32::from(on))
    }

    fn bind(&self, socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno> {
        Self::with_address(linux::__NR_bind, socket, address)
    }

    fn bind_unix(&self, socket: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        Self::with_path(linux::__NR_bind, socket, path)
    }

    fn listen(&self, socket: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno> {
        // SAFETY: no pointer.
        unsafe {
            call2(
                linux::__NR_listen,
                fd(socket.as_raw_fd()),
                backlog.min(i32::MAX as u32) as usize,
            )
        }
        .map(drop)
    }

    fn accept(&self, socket: BorrowedFd<'_>) -> Result<(Fd<Self>, Option<SocketAddr>), Errno> {
        let mut bytes = [0u8; sockaddr::SIZE_MAX];
        let mut len = sockaddr::SIZE_MAX as u32;
        // SAFETY: INV-SYS-1: `bytes` and `len` live until the call returns; the kernel writes at most `len` bytes.
        let raw = unsafe {
            call4(
                linux::__NR_accept4,
                fd(socket.as_raw_fd()),
                bytes.as_mut_ptr() as usize,
                &raw mut len as usize,
                SOCK_FLAGS as usize,
            )
        }?;
        let used = (len as usize).min(bytes.len());
        Ok((self.own(raw), sockaddr::decode(&bytes[..used])))
    }

    fn connect(&self, socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno> {
        Self::with_address(linux::__NR_connect, socket, address)
    }

    fn connect_unix(&self, socket: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
        Self::with_path(linux::__NR_connect, socket, path)
    }

    fn take_error(&self, socket: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        Self::integer_option(socket, net::SO_ERROR).map(Errno::from_raw)
    }

    fn local_address(&self, socket: BorrowedFd<'_>) -> Result<Option<SocketAddr>, Errno> {
        let mut bytes = [0; sockaddr::SIZE_MAX];
        let used = Self::name(linux::__NR_getsockname, socket, &mut bytes)?;
        Ok(sockaddr::decode(&bytes[..used]))
    }

    fn local_name(
        &self,
        socket: BorrowedFd<'_>,
        address: &mut [u8; sockaddr::UNIX_SIZE_MAX],
    ) -> Result<usize, Errno> {
        Self::name(linux::__NR_getsockname, socket, address)
    }

    fn peer_name(
        &self,
        socket: BorrowedFd<'_>,
        address: &mut [u8; sockaddr::UNIX_SIZE_MAX],
    ) -> Result<usize, Errno> {
        Self::name(linux::__NR_getpeername, socket, address)
    }

    fn is_listening(&self, socket: BorrowedFd<'_>) -> Result<bool, Errno> {
        Self::integer_option(socket, net::SO_ACCEPTCONN).map(|value| value != 0)
    }

    fn shutdown_write(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: no pointer.
        unsafe {
            call2(
                linux::__NR_shutdown,
                fd(socket.as_raw_fd()),
                net::SHUT_WR as usize,
            )
        }
        .map(drop)
    }

    #[inline(always)]
    fn send(&self, socket: BorrowedFd<'_>, buffer: &[u8]) -> Result<usize, Errno> {
        // SAFETY: INV-SYS-1: pointer and length are the buffer's; no address is given.
        unsafe {
            call6(
                linux::__NR_sendto,
                fd(socket.as_raw_fd()),
                buffer.as_ptr() as usize,
                buffer.len(),
                net::MSG_NOSIGNAL as usize,
                0,
                0,
            )
        }
    }

    #[inline(always)]
    fn recv(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: INV-SYS-1: pointer and length are the buffer's; no address is asked for. INV-SYS-3: bytes.
        unsafe {
            call6(
                linux::__NR_recvfrom,
                fd(socket.as_raw_fd()),
                buffer.as_mut_ptr() as usize,
                buffer.len(),
                net::MSG_DONTWAIT as usize,
                0,
                0,
            )
        }
    }
}
