//! Whole packets: sending and receiving with addresses.
//!
//! **What.** [`Datagrams`] extends [`Sockets`] by the calls that datagram sockets need beyond it. Addresses are
//! in the kernel's form, which [`sockaddr`] reads and writes: an internet address, or the path of a unix socket.
//!
//! **Invariants.** Those of the [parent](super).
//!
//! **Why this shape.** A packet that is longer than the buffer is cut by the kernel without a word; `MSG_TRUNC` has it tell the
//! true length, so that nobody takes a part for the whole (D-1).

use linux_raw_sys::general as linux;
use linux_raw_sys::net;

use super::raw::{call6, fd};
use super::{AsRawFd, BorrowedFd, Linux, Sockets, sockaddr};
use crate::errno::Errno;

/// The calls of datagram sockets. None blocks, whatever the socket's mode.
///
/// ```
/// use linux_event_core::sys::{Datagrams, Domain, Linux, SocketKind, Sockets, sockaddr};
///
/// let receiver = Linux.socket(Domain::V4, SocketKind::Datagram)?;
/// Linux.bind(receiver.borrow(), "127.0.0.1:0".parse().unwrap())?;
/// let to = Linux.local_address(receiver.borrow())?.unwrap();
/// let sender = Linux.socket(Domain::V4, SocketKind::Datagram)?;
/// let (name, len) = sockaddr::encode(to);
/// Linux.send_to(sender.borrow(), b"hello", &name[..len])?;
///
/// let (mut bytes, mut name) = ([0; 4], [0; sockaddr::UNIX_SIZE_MAX]);
/// let (count, len) = Linux.recv_from(receiver.borrow(), &mut bytes, &mut name)?;
/// assert_eq!((count, &bytes), (5, b"hell")); // it was longer than the buffer
/// assert_eq!(sockaddr::decode(&name[..len]), Linux.local_address(sender.borrow())?.map(|mut from| {
///     from.set_ip(to.ip());
///     from
/// }));
/// # Ok::<(), linux_event_core::errno::Errno>(())
/// ```
///
/// # Safety
/// As for [`Kernel`](super::Kernel).
pub unsafe trait Datagrams: Sockets {
    /// `sendto(2)` with `MSG_NOSIGNAL` and `MSG_DONTWAIT`: one packet, whole, to the address that `name` holds in the kernel's
    /// form; with an empty one to the peer that the socket is connected to.
    ///
    /// # Errors
    /// EAGAIN without room, here or in a unix peer's queue; ENOBUFS; EMSGSIZE; EDESTADDRREQ or ENOTCONN without a peer;
    /// ECONNREFUSED of an earlier packet, on a connected internet socket; ENOENT, ECONNREFUSED of a unix peer that is not
    /// there.
    #[doc(alias = "sendto")]
    fn send_to(&self, socket: BorrowedFd<'_>, packet: &[u8], name: &[u8]) -> Result<usize, Errno>;

    /// `recvfrom(2)` with `MSG_TRUNC` and `MSG_DONTWAIT`: the length of the next packet, which is more than `buffer` has if it
    /// was cut, and of the sender's address in the kernel's form, which is written to `name`: 0 for a unix socket without one.
    ///
    /// # Errors
    /// EAGAIN if nothing is there; ECONNREFUSED and others of an earlier packet, on a connected internet socket.
    #[doc(alias = "recvfrom")]
    fn recv_from(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
        name: &mut [u8; sockaddr::UNIX_SIZE_MAX],
    ) -> Result<(usize, usize), Errno>;

    /// `setsockopt(SO_BROADCAST)`: whether packets may go to broadcast addresses.
    ///
    /// # Errors
    /// ENOTSOCK.
    #[doc(alias = "SO_BROADCAST")]
    fn set_broadcast(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno>;
}

// SAFETY: as for `Kernel`: every call gets its own slice and that slice's length (INV-SYS-1).
unsafe impl Datagrams for Linux {
    #[inline(always)]
    fn send_to(&self, socket: BorrowedFd<'_>, packet: &[u8], name: &[u8]) -> Result<usize, Errno> {
        let address = if name.is_empty() {
            0
        } else {
            name.as_ptr() as usize
        };
        // SAFETY: INV-SYS-1: pointers and lengths are those of the packet and the name.
        unsafe {
            call6(
                linux::__NR_sendto,
                fd(socket.as_raw_fd()),
                packet.as_ptr() as usize,
                packet.len(),
                (net::MSG_NOSIGNAL | net::MSG_DONTWAIT) as usize,
                address,
                name.len(),
            )
        }
    }

    #[inline(always)]
    fn recv_from(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
        name: &mut [u8; sockaddr::UNIX_SIZE_MAX],
    ) -> Result<(usize, usize), Errno> {
        let mut len = name.len() as u32;
        // SAFETY: INV-SYS-1: pointer and length are the buffer's; `name` and `len` live until the call returns, and the kernel
        // writes at most `len` bytes. INV-SYS-3: bytes.
        let count = unsafe {
            call6(
                linux::__NR_recvfrom,
                fd(socket.as_raw_fd()),
                buffer.as_mut_ptr() as usize,
                buffer.len(),
                (net::MSG_TRUNC | net::MSG_DONTWAIT) as usize,
                name.as_mut_ptr() as usize,
                &raw mut len as usize,
            )
        }?;
        Ok((count, (len as usize).min(name.len())))
    }

    fn set_broadcast(&self, socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
        Self::set_option(socket, net::SOL_SOCKET, net::SO_BROADCAST, u32::from(on))
    }
}
