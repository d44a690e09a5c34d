//! Datagram sockets in the making.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;

use linux_event_core::errno::Errno;
use linux_event_core::sys::{Domain, SocketKind};

use super::super::address::Address;
use super::super::bind::{Bind, BindOptions, Named, OwnPath, bound};
use super::super::drive::Owner;
use super::super::model::Net;
use super::super::socket::{IntoSocket, Socket, os_error};
use super::super::sockets::SocketCalls;
use super::drive::{DatagramEntry, ErrorCallback};
use super::queue::SendQueue;
use super::state::State;
use super::{Datagram, DatagramError};
use crate::error::{Error, Outcome};
use crate::event_loop::Loop;

/// Where a datagram socket is.
enum Place<M: Net> {
    Bound(Named),
    Unnamed,
    Adopted(Result<Socket<M>, Errno>),
}

#[derive(Clone, Copy, Debug)]
struct Options {
    bind: BindOptions,
    receive_size: usize,
    packets_max: usize,
    bytes_max: usize,
    per_turn: u32,
}

/// A datagram socket in the making. Nothing is bound before [`start`](Self::start).
#[must_use = "nothing is received before `start`"]
pub struct DatagramBuilder<'a, M: Net, S> {
    event_loop: &'a mut Loop<M, S>,
    place: Place<M>,
    peer: Option<Address>,
    options: Options,
    on_error: Option<ErrorCallback<M, S>>,
}

impl Datagram {
    fn builder<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        place: Place<M>,
    ) -> DatagramBuilder<'_, M, S> {
        DatagramBuilder {
            event_loop,
            place,
            peer: None,
            options: Options {
                bind: BindOptions::DEFAULT,
                receive_size: 65_535,
                packets_max: 1024,
                bytes_max: 1024 * 1024,
                per_turn: 64,
            },
            on_error: None,
        }
    }

    /// A UDP socket: see [`Bind`] for where. A client takes port 0.
    #[doc(alias = "udp")]
    pub fn bind<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        address: impl Into<Bind>,
    ) -> DatagramBuilder<'_, M, S> {
        Self::builder(event_loop, Place::Bound(Named::Internet(address.into())))
    }

    /// A unix datagram socket at a path, which is made, and taken away in the end. One that begins with a zero byte is abstract
    /// (`unix(7)`).
    pub fn unix<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        path: impl AsRef<Path>,
    ) -> DatagramBuilder<'_, M, S> {
        Self::builder(
            event_loop,
            Place::Bound(Named::Unix(path.as_ref().to_owned())),
        )
    }

    /// A unix datagram socket without a name: it sends, and nobody can answer.
    pub fn unnamed<M: Net, S>(event_loop: &mut Loop<M, S>) -> DatagramBuilder<'_, M, S> {
        Self::builder(event_loop, Place::Unnamed)
    }

    /// Goes on with a datagram socket that is there: one that was inherited, made elsewhere, or an end of a pair; connected or
    /// not. It is closed in the end; nothing is unlinked.
    pub fn adopt<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        socket: impl IntoSocket<M>,
    ) -> DatagramBuilder<'_, M, S> {
        let socket = socket.into_socket(event_loop.model.calls()).map(Socket);
        Self::builder(event_loop, Place::Adopted(socket))
    }
}

impl<M: Net, S> DatagramBuilder<'_, M, S> {
    /// Connects: packets go to this peer, and are received from no other; the network's errors are heard of.
    pub fn connect(mut self, peer: impl Into<Address>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Whether several sockets may have the port if each asks for it (`SO_REUSEADDR`), as multicast needs it; at first not: of
    /// two sockets with one port only one hears what comes.
    pub const fn reuse_address(mut self, on: bool) -> Self {
        self.options.bind.reuse_address = on;
        self
    }

    /// Whether several sockets share the address, and the kernel spreads packets among them (`SO_REUSEPORT`).
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.options.bind.reuse_port = on;
        self
    }

    /// Whether an IPv6 socket takes no IPv4 (`IPV6_V6ONLY`), set before it is bound; at first as the system has it.
    pub const fn v6_only(mut self, on: bool) -> Self {
        self.options.bind.v6_only = Some(on);
        self
    }

    /// Whether packets may go to broadcast addresses (`SO_BROADCAST`); at first not.
    pub const fn broadcast(mut self, on: bool) -> Self {
        self.options.bind.broadcast = on;
        self
    }

    /// Takes the path of a unix socket away before binding, if a socket is there; what is no socket is left, and binding fails.
    pub const fn unlink(mut self, on: bool) -> Self {
        self.options.bind.unlink = on;
        self
    }

    /// Whether the path of a unix socket is taken away in the end; at first it is.
    pub const fn unlink_on_close(mut self, on: bool) -> Self {
        self.options.bind.unlink_on_close = on;
        self
    }

    /// Bytes of a packet that are received at most: 65,535 at first, which no UDP packet passes, and at least 1. Of a longer one
    /// so many are told, and that it was cut.
    pub fn receive_size(mut self, bytes: usize) -> Self {
        self.options.receive_size = bytes.max(1);
        self
    }

    /// Packets that may wait to be sent, and their bytes: 1024 and 1 MiB at first. What would pass either is refused.
    pub const fn pending_max(mut self, packets: usize, bytes: usize) -> Self {
        self.options.packets_max = packets;
        self.options.bytes_max = bytes;
        self
    }

    /// Packets that one turn receives at most, and sends: 64 at first, and at least 1. The rest is the next turn's. A ring
    /// has one receive and one send under way, so that packets keep their order.
    pub fn max_packets_per_turn(mut self, packets: u32) -> Self {
        self.options.per_turn = packets.max(1);
        self
    }

    /// Calls `callback` with what happens to the socket. Without it the network's errors and packets that were not sent are not
    /// told, as on the way a packet may be lost; that receiving is paused stops the loop and comes out of [`run`](Loop::run).
    pub fn on_error<R: Outcome>(
        mut self,
        mut callback: impl FnMut(&mut Loop<M, S>, Datagram, DatagramError) -> R + 'static,
    ) -> Self {
        self.on_error = Some(Box::new(move |event_loop, socket, error| {
            callback(event_loop, socket, error).into_result()
        }));
        self
    }

    /// Binds, connects, and calls `on_packet` with each packet, from whom it is (of a unix socket without a name an empty path),
    /// and whether it was longer than [`receive_size`](Self::receive_size): in a later turn, never inside this call (P-2). A
    /// packet without bytes is a packet.
    ///
    /// # Errors
    /// [`Error::Socket`] with the call that failed: EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE; ENOENT, ECONNREFUSED where a unix
    /// peer is not there; of an adopted socket ENOTSOCK; [`Invalid`](crate::LoopError::Invalid) for text that is no address;
    /// [`Full`](crate::LoopError::Full); [`Forked`](crate::LoopError::Forked).
    pub fn start<R: Outcome>(
        self,
        mut on_packet: impl FnMut(&mut Loop<M, S>, Datagram, &[u8], &Address, bool) -> R + 'static,
    ) -> Result<Datagram, Error> {
        let Self {
            event_loop,
            place,
            peer,
            options,
            on_error,
        } = self;
        let calls = event_loop.model.calls();
        let (socket, path) = open::<M>(calls, place, options.bind)?;
        let queue = SendQueue::new(options.packets_max, options.bytes_max);
        let mut state = State::new(queue, options.receive_size, options.per_turn);
        let made = prepare::<M>(calls, &socket, peer.as_ref(), &mut state);
        let taken = made.and_then(|()| {
            let taken = event_loop.model.take_in(socket);
            Ok(taken.map_err(|(error, _)| error)?)
        });
        let io = match taken {
            Ok(io) => io,
            Err(error) => {
                if let Some(path) = path {
                    path.remove::<M>(event_loop.model.calls());
                }
                return Err(error);
            }
        };
        let id = event_loop.net.datagrams.insert(DatagramEntry {
            io,
            state,
            on_packet: Some(Box::new(move |event_loop, socket, packet, peer, is_cut| {
                on_packet(event_loop, socket, packet, peer, is_cut).into_result()
            })),
            on_error,
            path,
            is_attended: false,
        });
        event_loop.attend(Owner::Datagram(id));
        Ok(Datagram(id))
    }
}

impl<M: Net, S> fmt::Debug for DatagramBuilder<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramBuilder")
            .field("peer", &self.peer)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A socket, bound if it has a name, and the path to take away in the end.
fn open<M: Net>(
    calls: &mut M::Calls,
    place: Place<M>,
    options: BindOptions,
) -> Result<(M::Socket, Option<OwnPath>), Error> {
    match place {
        Place::Bound(name) => bound::<M>(calls, name, SocketKind::Datagram, options),
        Place::Unnamed => {
            let socket = calls.open(Domain::Unix, SocketKind::Datagram, M::NON_BLOCKING);
            Ok((socket.map_err(|errno| os_error("socket", errno))?, None))
        }
        Place::Adopted(socket) => {
            let socket = socket.map_err(|errno| os_error("ioctl", errno))?;
            Ok((socket.0, None))
        }
    }
}

/// Connects if it is to, and looks at what the socket is.
fn prepare<M: Net>(
    calls: &mut M::Calls,
    socket: &M::Socket,
    peer: Option<&Address>,
    state: &mut State,
) -> Result<(), Error> {
    let local = calls.local_address(socket);
    let local = local.map_err(|errno| os_error("getsockname", errno))?;
    state.is_unix = matches!(local, Address::Unix(_));
    if let Some(peer) = peer {
        let connected = calls.connect(socket, peer);
        connected.map_err(|errno| os_error("connect", errno))?;
    }
    state.is_connected = calls.peer_address(socket).is_ok();
    Ok(())
}
