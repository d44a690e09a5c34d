//! The simulated machine's sockets: names, listening, connecting, sending. Datagrams are in `datagrams`.
//!
//! **What.** The methods of [`Machine`] here do what `bind(2)`, `listen(2)`, `connect(2)`, `accept(2)`, `shutdown(2)` and the
//! closing of a socket do. One machine, all of whose addresses are its own.
//!
//! **Why this shape.** A connection is made whole, both ends of it, when it enters the backlog, as in a kernel: a client can
//! write before it was accepted, and what it wrote is not lost.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use linux_event_core::errno::Errno;
use linux_event_core::proactor::How;
use linux_event_core::sys::{Domain, RawFd, SocketKind};

use super::bits::{HUP, IN, OUT, PRI, RDHUP};
use super::datagrams::Datagram;
use super::machine::{FileId, Machine, Notice, Object};
use super::names::{Name, check_family, loopback};
use super::objects::{Listener, Socket};

/// `net.core.somaxconn`.
const BACKLOG_MAX: usize = 4096;

/// A stream socket that is neither connected nor listens.
#[derive(Debug)]
pub(super) struct Unconnected {
    pub(super) domain: Domain,
    local: Option<SocketAddr>,
    is_bound: bool,
    read_closed: bool,
}

impl Unconnected {
    pub(super) fn state(&self) -> u32 {
        let closed = if self.read_closed { IN | RDHUP } else { 0 };
        OUT | HUP | closed
    }

    pub(super) fn read(&self) -> Result<usize, Errno> {
        match self.domain {
            Domain::Unix => Err(Errno::EINVAL),
            Domain::V4 | Domain::V6 if self.read_closed => Ok(0),
            Domain::V4 | Domain::V6 => Err(Errno::ENOTCONN),
        }
    }

    pub(super) fn refuses_to_write(&self) -> Errno {
        match self.domain {
            Domain::Unix => Errno::ENOTCONN,
            Domain::V4 | Domain::V6 => Errno::EPIPE,
        }
    }
}

impl Machine {
    pub(super) fn socket(&mut self, domain: Domain, kind: SocketKind) -> Result<RawFd, Errno> {
        match kind {
            SocketKind::Stream => self.stream_socket(domain),
            SocketKind::Datagram => self.open(Object::Datagram(Datagram::new(domain))),
        }
    }

    fn stream_socket(&mut self, domain: Domain) -> Result<RawFd, Errno> {
        self.open(Object::Unconnected(Unconnected {
            domain,
            local: None,
            is_bound: false,
            read_closed: false,
        }))
    }

    pub(super) fn socket_mut(&mut self, file: FileId) -> Option<&mut Socket> {
        match self.object_mut(file) {
            Some(Object::Socket(socket)) => Some(socket),
            _ => None,
        }
    }

    pub(super) fn bind(&mut self, file: FileId, name: &Name) -> Result<(), Errno> {
        let unconnected = match self.object(file) {
            Some(Object::Unconnected(unconnected)) => unconnected,
            Some(Object::Datagram(_)) => return self.bind_datagram(file, name),
            Some(Object::Socket(_) | Object::Listener(_)) => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOTSOCK),
        };
        check_family(unconnected.domain, name)?;
        if unconnected.is_bound {
            return Err(Errno::EINVAL);
        }
        if let Name::Path(path) = name
            && path.first() != Some(&0)
            && self.disk.exists(path)
        {
            return Err(Errno::EADDRINUSE); // something else is there
        }
        let local = self.network.bind(file, SocketKind::Stream, name)?;
        if let Some(Object::Unconnected(unconnected)) = self.object_mut(file) {
            unconnected.local = local;
            unconnected.is_bound = true;
        }
        Ok(())
    }

    pub(super) fn listen(&mut self, file: FileId, backlog: u32) -> Result<(), Errno> {
        let backlog_max = (backlog as usize).min(BACKLOG_MAX);
        let (domain, mut local, is_bound) = match self.object_mut(file) {
            Some(Object::Unconnected(Unconnected {
                domain,
                local,
                is_bound,
                ..
            })) => (*domain, *local, *is_bound),
            Some(Object::Listener(listener)) => {
                listener.backlog_max = backlog_max;
                return Ok(());
            }
            Some(Object::Socket(_)) => return Err(Errno::EINVAL),
            Some(Object::Datagram(_)) => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENOTSOCK),
        };
        if !is_bound {
            let any = match domain {
                Domain::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Domain::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                Domain::Unix => return Err(Errno::EINVAL),
            };
            let any = Name::Internet(SocketAddr::new(any, 0));
            local = self.network.bind(file, SocketKind::Stream, &any)?;
        }
        let listener = Listener {
            domain,
            local,
            backlog: VecDeque::new(),
            backlog_max,
        };
        if let Some(object) = self.object_mut(file) {
            *object = Object::Listener(listener);
        }
        self.notices.push(Notice::Changed(file, 0));
        Ok(())
    }

    /// Connects; EAGAIN while the backlog has no room.
    pub(super) fn connect(&mut self, file: FileId, name: &Name) -> Result<(), Errno> {
        let (domain, local) = match self.object(file) {
            Some(Object::Unconnected(unconnected)) => (unconnected.domain, unconnected.local),
            Some(Object::Datagram(_)) => return self.connect_datagram(file, name),
            Some(Object::Socket(socket)) => {
                check_family(socket.domain, name)?;
                return Err(Errno::EISCONN);
            }
            Some(Object::Listener(listener)) if listener.domain == Domain::Unix => {
                return Err(Errno::EINVAL);
            }
            Some(Object::Listener(_)) => return Err(Errno::EISCONN),
            _ => return Err(Errno::ENOTSOCK),
        };
        check_family(domain, name)?;
        let mut name = name.clone();
        if let Name::Internet(to) = &mut name
            && to.ip().is_unspecified()
        {
            to.set_ip(loopback(to));
        }
        let target = self.network.find(SocketKind::Stream, &name)?;
        match self.object(target) {
            Some(Object::Listener(listener)) if listener.is_full() => return Err(Errno::EAGAIN),
            Some(Object::Listener(_)) => {}
            Some(Object::Datagram(_)) => return Err(Errno::EPROTOTYPE),
            _ => return Err(Errno::ECONNREFUSED),
        }
        let (local, remote) = match (name, local) {
            (Name::Path(_), _) => (None, None),
            (Name::Internet(to), Some(local)) => {
                let ip = if local.ip().is_unspecified() {
                    to.ip()
                } else {
                    local.ip()
                };
                (Some(SocketAddr::new(ip, local.port())), Some(to))
            }
            (Name::Internet(to), None) => {
                let any = Name::Internet(SocketAddr::new(to.ip(), 0));
                let local = self.network.bind(file, SocketKind::Stream, &any)?;
                (local, Some(to))
            }
        };
        let server = self.make(Object::Socket(Socket::new(domain, file, remote, local)));
        if let Some(object) = self.object_mut(file) {
            *object = Object::Socket(Socket::new(domain, server, local, remote));
        }
        if let Some(Object::Listener(listener)) = self.object_mut(target) {
            listener.backlog.push_back(server);
        }
        self.notices.push(Notice::Changed(target, IN));
        self.notices.push(Notice::Changed(file, OUT));
        Ok(())
    }

    /// The listener that a connection to `name` waits for.
    pub(super) fn listener_of(&self, name: &Name) -> Option<FileId> {
        self.network.find(SocketKind::Stream, name).ok()
    }

    /// Accepts: the number, and the peer's address.
    pub(super) fn accept(&mut self, file: FileId) -> Result<(RawFd, Option<SocketAddr>), Errno> {
        let connection = match self.object(file) {
            Some(Object::Listener(listener)) => listener.backlog.front().copied(),
            Some(Object::Unconnected(_) | Object::Socket(_)) => return Err(Errno::EINVAL),
            Some(Object::Datagram(_)) => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENOTSOCK),
        };
        let connection = connection.ok_or(Errno::EAGAIN)?;
        self.numbers.check_room(1)?;
        if let Some(Object::Listener(listener)) = self.object_mut(file) {
            listener.backlog.pop_front();
        }
        self.notices.push(Notice::Room(file));
        let remote = self.socket_mut(connection).and_then(|socket| socket.remote);
        // The backlog's hold becomes the number's.
        Ok((self.numbers.take_lowest(connection), remote))
    }

    /// `getsockname(2)` and `getpeername(2)`.
    pub(super) fn addresses(
        &self,
        file: FileId,
    ) -> Result<(Option<SocketAddr>, Option<SocketAddr>), Errno> {
        match self.object(file) {
            Some(Object::Unconnected(unconnected)) => Ok((unconnected.local, None)),
            Some(Object::Listener(listener)) => Ok((listener.local, None)),
            Some(Object::Socket(socket)) => Ok((socket.local, socket.remote)),
            Some(Object::Datagram(datagram)) => {
                let remote = match datagram.remote {
                    Some(Name::Internet(remote)) => Some(remote),
                    _ => None,
                };
                Ok((datagram.local, remote))
            }
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub(super) fn send(&mut self, file: FileId, bytes: &[u8]) -> Result<usize, Errno> {
        let Some(sender) = self.socket_mut(file) else {
            return Err(Errno::EBADF);
        };
        if sender.write_closed {
            // TCP first tells what happened to the connection.
            let error = match sender.domain {
                Domain::Unix => None,
                Domain::V4 | Domain::V6 => sender.error.take(),
            };
            return Err(error.unwrap_or(Errno::EPIPE));
        }
        let peer = sender.peer;
        if self.socket_mut(peer).is_none() {
            return Ok(self.send_to_nobody(file, bytes.len()));
        }
        let mut sent = 0;
        while sent < bytes.len() {
            let Some((len, charge)) = self
                .socket_mut(file)
                .and_then(|sender| sender.charge(&bytes[sent..]))
            else {
                break;
            };
            if let Some(receiver) = self.socket_mut(peer) {
                receiver.receive(&bytes[sent..sent + len], charge);
                self.notices.push(Notice::Changed(peer, IN | PRI));
            }
            sent += len;
        }
        if sent == 0 && !bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        Ok(sent)
    }

    /// TCP learns that its peer is gone by what it sends: the answer is a reset.
    fn send_to_nobody(&mut self, file: FileId, bytes: usize) -> usize {
        if let Some(sender) = self.socket_mut(file)
            && bytes > 0
        {
            sender.write_closed = true;
            sender.error = Some(Errno::EPIPE);
            self.notices.push(Notice::Changed(file, 0));
        }
        bytes
    }

    /// Segments that `sender` sent were read or thrown away.
    pub(super) fn release_charges(&mut self, sender: FileId, charges: Vec<usize>) {
        for charge in charges {
            if self
                .socket_mut(sender)
                .is_some_and(|sender| sender.release(charge))
            {
                self.notices.push(Notice::Changed(sender, OUT));
            }
        }
    }

    /// `shutdown(2)`.
    pub(super) fn shutdown(&mut self, file: FileId, how: How) -> Result<(), Errno> {
        let (reading, writing) = (how != How::Write, how != How::Read);
        let domain = self.domain(file);
        match self.object_mut(file) {
            Some(Object::Socket(_)) => {}
            Some(Object::Datagram(_)) => return self.shutdown_datagram(file, reading, writing),
            Some(Object::Unconnected(unconnected)) => {
                unconnected.read_closed |= reading;
                self.notices.push(Notice::Changed(file, 0));
                return match domain {
                    Some(Domain::Unix) => Ok(()),
                    _ => Err(Errno::ENOTCONN),
                };
            }
            Some(Object::Listener(_)) if reading => {
                self.listen_no_more(file);
                return Ok(());
            }
            Some(Object::Listener(_)) => return Ok(()),
            _ => return Err(Errno::ENOTSOCK),
        }
        let Some(socket) = self.socket_mut(file) else {
            return Err(Errno::ENOTSOCK);
        };
        socket.read_closed |= reading;
        socket.write_closed |= writing;
        let (peer, domain) = (socket.peer, socket.domain);
        self.notices.push(Notice::Changed(file, 0)); // its own watchers too
        if let Some(other) = self.socket_mut(peer) {
            other.read_closed |= writing;
            // A unix socket's peer is told at once that nobody reads; TCP says nothing.
            other.write_closed |= reading && domain == Domain::Unix;
            self.notices.push(Notice::Changed(peer, 0));
        }
        Ok(())
    }

    /// A listener becomes an unconnected socket again.
    fn listen_no_more(&mut self, file: FileId) {
        let Some(object) = self.object_mut(file) else {
            return;
        };
        if let Object::Listener(listener) = object {
            let backlog = std::mem::take(&mut listener.backlog);
            *object = Object::Unconnected(Unconnected {
                domain: listener.domain,
                local: listener.local,
                is_bound: true,
                read_closed: true,
            });
            self.refuse(file, backlog);
        }
    }

    /// A listener is closed.
    pub(super) fn stop_listening(&mut self, file: FileId, listener: Listener) {
        self.network.unbind(file);
        self.refuse(file, listener.backlog);
    }

    /// Ends connections that nobody has accepted: their peers see a reset.
    fn refuse(&mut self, listener: FileId, backlog: VecDeque<FileId>) {
        for connection in backlog {
            if let Some(socket) = self.socket_mut(connection) {
                socket.resets = true;
            }
            self.let_go(connection);
        }
        self.notices.push(Notice::Changed(listener, 0));
        self.notices.push(Notice::Room(listener));
    }

    /// A connection's end is closed.
    pub(super) fn hang_up(&mut self, file: FileId, mut socket: Socket) {
        self.network.unbind(file);
        let reset = socket.has_unread() || socket.resets;
        let charges = socket.flush();
        let peer = socket.peer;
        if let Some(other) = self.socket_mut(peer) {
            other.read_closed = true;
            // TCP is told that nothing more comes, not that nobody reads.
            other.write_closed |= reset || socket.domain == Domain::Unix;
            if reset {
                other.error = Some(Errno::ECONNRESET);
            }
            self.notices.push(Notice::Changed(peer, 0));
            self.release_charges(peer, charges);
        }
    }

    /// `SO_LINGER` with a time of zero.
    pub(super) fn reset_on_close(&mut self, file: FileId) -> Result<(), Errno> {
        self.socket_mut(file).ok_or(Errno::ENOTSOCK)?.resets = true;
        Ok(())
    }
}
