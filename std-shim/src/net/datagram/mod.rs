//! Datagrams: UDP and unix.
//!
//! **What.** [`Datagram`] is the handle, [`DatagramBuilder`] says where the socket is and what it is told. A packet comes whole,
//! or it says that it was cut; what is sent waits in a queue with limits (D-1).
//!
//! **Invariants.** *INV-DATAGRAM-NET-1*: a packet that was received is told once, in order, or kept until receiving goes on.
//! *INV-DATAGRAM-NET-2*: a packet that was taken to be sent is sent, or told of as an error with its bytes, or dropped by
//! [`close`](Datagram::close); none overtakes another.
//!
//! **Why this shape.** A datagram may be lost on the way, never in the program. A queue of packets that refuses, where a stream
//! has watermarks, leaves it to the program which packets it can do without.

#![forbid(unsafe_code)]

mod builder;
mod drive;
mod proactor;
mod queue;
mod reactor;
mod state;

use std::fmt;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;

pub use builder::DatagramBuilder;
pub(crate) use drive::DatagramEntry;

use super::address::Address;
use super::drive::Owner;
use super::model::Net;
use super::socket::os_error;
use super::sockets::SocketCalls;
use super::table::Id;
use crate::error::Error;
use crate::event_loop::Loop;

/// A datagram socket of a loop: a handle, which is `Copy`. Once the socket is closed it is stale.
///
/// ```
/// use linux_event::Loop;
/// use linux_event::net::Datagram;
///
/// let mut event_loop = Loop::reactor_with(Vec::new())?;
/// let echo = Datagram::bind(&mut event_loop, "127.0.0.1:0")
///     .start(|event_loop, socket, packet, peer, _truncated| socket.send_to(event_loop, packet, peer))?;
/// let address = echo.local_address(&mut event_loop)?;
/// let client = Datagram::bind(&mut event_loop, "127.0.0.1:0")
///     .connect(address)
///     .start(|event_loop, _, packet, _, _| {
///         event_loop.state.extend_from_slice(packet);
///         event_loop.stop();
///     })?;
/// client.send(&mut event_loop, b"hello")?;
/// event_loop.run()?;
/// assert_eq!(event_loop.state, b"hello");
/// # Ok::<(), linux_event::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Datagram(pub(crate) Id);

/// What happened to a datagram socket. It goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum DatagramError {
    /// The network told what became of an earlier packet, which one it does not say: ECONNREFUSED where nobody has the port,
    /// EHOSTUNREACH … Only sockets that are connected hear of it (`udp(7)`).
    Network(Errno),
    /// A packet was not sent, and will not be.
    Unsent {
        /// Why: EMSGSIZE if it is too long; ENOENT or ECONNREFUSED if nobody has the path; EACCES for a broadcast address that
        /// was not [allowed](DatagramBuilder::broadcast) …
        errno: Errno,
        /// Where it was to go; `None` to the peer that the socket is connected to.
        to: Option<Address>,
        /// Its bytes.
        packet: Vec<u8>,
    },
    /// There is no memory, or no room in the loop, to receive with. Receiving is paused; [`resume`](Datagram::resume) it.
    Paused(Errno),
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(errno) => write!(f, "an earlier packet was refused: {errno}"),
            Self::Unsent { errno, packet, .. } => {
                write!(
                    f,
                    "a packet of {} bytes was not sent: {errno}",
                    packet.len()
                )
            }
            Self::Paused(errno) => write!(f, "receiving is paused: {errno}"),
        }
    }
}

impl std::error::Error for DatagramError {}

/// A packet was not taken: its bytes are the caller's, as before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The socket is closed, or about to be.
    Closed,
    /// The socket is connected to nobody, and no address was given.
    Unconnected,
    /// The queue would pass [`pending_max`](DatagramBuilder::pending_max).
    Full {
        /// Packets that wait.
        packets: usize,
        /// Their bytes.
        bytes: usize,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the socket is closed"),
            Self::Unconnected => f.write_str("the socket is connected to nobody"),
            Self::Full { packets, bytes } => {
                write!(
                    f,
                    "{packets} packets of {bytes} bytes wait to be sent, and no more may"
                )
            }
        }
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::Callback(error.into())
    }
}

impl Datagram {
    fn entry<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
    ) -> Result<&mut DatagramEntry<M, S>, Error> {
        let entry = event_loop.net.datagrams.get_mut(self.0);
        let entry = entry.filter(|entry| !entry.state.is_closing);
        Ok(entry.ok_or(LoopError::Stale)?)
    }

    fn push<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
        packet: &[u8],
        to: Option<Address>,
    ) -> Result<(), SendError> {
        let entry = event_loop.net.datagrams.get_mut(self.0);
        let entry = entry.filter(|entry| !entry.state.is_closing);
        let state = &mut entry.ok_or(SendError::Closed)?.state;
        if to.is_none() && !state.is_connected {
            return Err(SendError::Unconnected);
        }
        if !state.queue.push(packet, to) {
            let (packets, bytes) = state.queue.pending();
            return Err(SendError::Full { packets, bytes });
        }
        event_loop.attend(Owner::Datagram(self.0));
        Ok(())
    }

    /// Queues a packet to be sent to `to`: at the end of this turn, or before the loop waits. It is copied whole, or not taken
    /// at all. One packet waits for another's room: who must not be held up by a peer that does not read has a socket for each.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Full`]. What the kernel says to it later comes to
    /// [`on_error`](DatagramBuilder::on_error).
    #[doc(alias = "sendto")]
    pub fn send_to<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
        packet: &[u8],
        to: impl Into<Address>,
    ) -> Result<(), SendError> {
        self.push(event_loop, packet, Some(to.into()))
    }

    /// As [`send_to`](Self::send_to), to the peer that the socket is [connected](DatagramBuilder::connect) to.
    ///
    /// # Errors
    /// [`SendError::Unconnected`]; as [`send_to`](Self::send_to).
    pub fn send<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
        packet: &[u8],
    ) -> Result<(), SendError> {
        self.push(event_loop, packet, None)
    }

    /// Packets that wait to be sent, and their bytes; none if the socket is gone.
    pub fn pending<M: Net, S>(self, event_loop: &Loop<M, S>) -> (usize, usize) {
        let entry = event_loop.net.datagrams.get(self.0);
        entry.map_or((0, 0), |entry| entry.state.queue.pending())
    }

    /// Receives no more until [`resume`](Self::resume). What came already is kept, what comes waits in the kernel, as far as that
    /// has room.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn pause<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.entry(event_loop)?.state.is_paused = true;
        event_loop.attend(Owner::Datagram(self.0));
        Ok(())
    }

    /// Ends a [`pause`](Self::pause), the socket's own for want of memory too.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn resume<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.entry(event_loop)?.state.is_paused = false;
        event_loop.attend(Owner::Datagram(self.0));
        Ok(())
    }

    /// Whether receiving is paused; false if the socket is gone.
    pub fn is_paused<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        let entry = event_loop.net.datagrams.get(self.0);
        entry.is_some_and(|entry| entry.state.is_paused)
    }

    /// Whether it is there, and not closing.
    pub fn is_open<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        let entry = event_loop.net.datagrams.get(self.0);
        entry.is_some_and(|entry| !entry.state.is_closing)
    }

    /// Closes at once: what waits to be sent is dropped, and nothing more is told.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn close<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        if event_loop.net.datagrams.get(self.0).is_none() {
            return Err(LoopError::Stale.into());
        }
        event_loop.drop_datagram(self.0);
        Ok(())
    }

    /// Closes once everything that waits was sent, or has failed, which is told still. From now on nothing is received, and
    /// nothing more is taken.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn close_after_drain<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.entry(event_loop)?.state.is_closing = true;
        event_loop.attend(Owner::Datagram(self.0));
        Ok(())
    }

    /// Where the socket is, with the port that it got.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    #[doc(alias = "getsockname")]
    pub fn local_address<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<Address, Error> {
        let entry = event_loop.net.datagrams.get(self.0);
        let entry = entry.ok_or(LoopError::Stale)?;
        let local = event_loop
            .model
            .with_socket(&entry.io, SocketCalls::local_address);
        local
            .ok_or(LoopError::Stale)?
            .map_err(|errno| os_error("getsockname", errno))
    }
}
