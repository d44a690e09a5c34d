//! The simulated machine's datagram sockets (`udp(7)`, `unix(7)`).
//!
//! **Invariants.** *INV-DATAGRAM-1*: a socket's `waiting` is the number of bytes in its queue.
//!
//! **Why this shape.** A message arrives at once, whole, or not at all: what makes a datagram hard to program with is that it
//! may be cut, dropped or refused later, and that is what is simulated.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use linux_event_core::errno::Errno;
use linux_event_core::sys::{Domain, SocketKind};

use super::bits::{ERR, HUP, IN, OUT, RDHUP};
use super::machine::{FileId, Machine, Notice, Object};
use super::names::{Name, check_family, loopback};

/// The largest datagram of IPv4.
const LENGTH_MAX: usize = 65_507;
/// Bytes that wait for a reader at most: `net.core.rmem_default`. What comes then is dropped.
const RECEIVE_BUFFER: usize = 212_992;

/// The largest datagram of a unix socket: `net.core.wmem_default`, less what the kernel keeps for itself.
const UNIX_LENGTH_MAX: usize = 212_960;
/// Messages that a unix socket's queue has room for: one more than `net.unix.max_dgram_qlen`, which is 10.
const UNIX_QUEUE: usize = 11;

/// A message, and who sent it.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// `None` of a unix socket without a name.
    pub(super) from: Option<Name>,
}

#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) domain: Domain,
    pub(super) local: Option<SocketAddr>,
    is_bound: bool,
    pub(super) remote: Option<Name>,
    queue: VecDeque<Message>,
    waiting: usize,
    read_closed: bool,
    write_closed: bool,
    error: Option<Errno>,
}

impl Datagram {
    pub(super) fn new(domain: Domain) -> Self {
        Self {
            domain,
            local: None,
            is_bound: false,
            remote: None,
            queue: VecDeque::new(),
            waiting: 0,
            read_closed: false,
            write_closed: false,
            error: None,
        }
    }

    fn state(&self) -> u32 {
        let mut state = OUT;
        if !self.queue.is_empty() {
            state |= IN;
        }
        if self.read_closed {
            state |= IN | RDHUP;
        }
        if self.read_closed && self.write_closed {
            state |= HUP;
        }
        if self.error.is_some() {
            state |= ERR;
        }
        state
    }

    /// The next message, which stays if it is only looked at.
    pub(super) fn receive(&mut self, peeks: bool) -> Result<Message, Errno> {
        if let Some(errno) = self.error.take() {
            return Err(errno);
        }
        let message = if peeks {
            self.queue.front().cloned()
        } else {
            self.queue.pop_front()
        };
        match message {
            Some(message) => {
                if !peeks {
                    self.waiting -= message.bytes.len();
                }
                Ok(message)
            }
            None if self.read_closed => Ok(Message::default()),
            None => Err(Errno::EAGAIN),
        }
    }
}

impl Machine {
    fn datagram_mut(&mut self, file: FileId) -> Option<&mut Datagram> {
        match self.object_mut(file) {
            Some(Object::Datagram(datagram)) => Some(datagram),
            _ => None,
        }
    }

    pub(super) fn bind_datagram(&mut self, file: FileId, name: &Name) -> Result<(), Errno> {
        let datagram = self.datagram_mut(file).ok_or(Errno::ENOTSOCK)?;
        check_family(datagram.domain, name)?;
        if datagram.is_bound {
            return Err(Errno::EINVAL);
        }
        let local = self.network.bind(file, SocketKind::Datagram, name)?;
        if let Some(datagram) = self.datagram_mut(file) {
            datagram.local = local;
            datagram.is_bound = true;
        }
        Ok(())
    }

    /// Names the peer that messages go to and come from.
    pub(super) fn connect_datagram(&mut self, file: FileId, name: &Name) -> Result<(), Errno> {
        let datagram = self.datagram_mut(file).ok_or(Errno::ENOTSOCK)?;
        check_family(datagram.domain, name)?;
        self.autobind(file)?;
        if let Name::Path(_) = name {
            self.network.find(SocketKind::Datagram, name)?;
        }
        if let Some(datagram) = self.datagram_mut(file) {
            datagram.remote = Some(name.clone());
        }
        Ok(())
    }

    /// Gives an internet socket an address before it sends.
    fn autobind(&mut self, file: FileId) -> Result<(), Errno> {
        let any = match self.datagram_mut(file) {
            Some(datagram) if datagram.is_bound => return Ok(()),
            Some(datagram) => match datagram.domain {
                Domain::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Domain::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                Domain::Unix => return Ok(()),
            },
            None => return Err(Errno::ENOTSOCK),
        };
        self.bind_datagram(file, &Name::Internet(SocketAddr::new(any, 0)))
    }

    /// Sends one message, to `to` or to the peer that was named before.
    pub(super) fn send_datagram(
        &mut self,
        file: FileId,
        bytes: &[u8],
        to: Option<&Name>,
    ) -> Result<usize, Errno> {
        let datagram = self.datagram_mut(file).ok_or(Errno::ENOTSOCK)?;
        if let Some(errno) = datagram.error.take() {
            return Err(errno);
        }
        if datagram.write_closed {
            return Err(Errno::EPIPE);
        }
        let domain = datagram.domain;
        let unnamed = match domain {
            Domain::Unix => Errno::ENOTCONN,
            Domain::V4 | Domain::V6 => Errno::EDESTADDRREQ,
        };
        let is_connected = to.is_none();
        let to = to.cloned().or(datagram.remote.clone()).ok_or(unnamed)?;
        check_family(domain, &to)?;
        let length_max = match domain {
            Domain::Unix => UNIX_LENGTH_MAX,
            Domain::V4 | Domain::V6 => LENGTH_MAX,
        };
        if bytes.len() > length_max {
            return Err(Errno::EMSGSIZE);
        }
        self.autobind(file)?;
        let from = self.datagram_mut(file).and_then(|sender| sender.local);
        let from = match from {
            Some(from) => Some(Name::Internet(on_the_way(from, &to))),
            None => self.network.path_of(file).map(Name::Path),
        };
        let found = self.network.find(SocketKind::Datagram, &to);
        let receiver = match found {
            Ok(receiver) if self.takes_from(receiver, file, from.as_ref()) => receiver,
            // One that is connected hears from its peer only (`unix_dgram_sendmsg`).
            Ok(_) if domain == Domain::Unix => return Err(Errno::EPERM),
            Err(errno) if domain == Domain::Unix => return Err(errno),
            Ok(_) | Err(_) => {
                // The message comes back as an ICMP error, which the next call learns of.
                if is_connected && let Some(sender) = self.datagram_mut(file) {
                    sender.error = Some(Errno::ECONNREFUSED);
                    self.notices.push(Notice::Changed(file, 0));
                }
                return Ok(bytes.len());
            }
        };
        let Some(datagram) = self.datagram_mut(receiver) else {
            return Err(Errno::EPROTOTYPE);
        };
        let has_room = match domain {
            Domain::Unix => datagram.queue.len() < UNIX_QUEUE,
            Domain::V4 | Domain::V6 => datagram.waiting + bytes.len() <= RECEIVE_BUFFER,
        };
        if has_room && !datagram.read_closed {
            datagram.waiting += bytes.len();
            let bytes = bytes.to_vec();
            datagram.queue.push_back(Message { bytes, from });
            self.notices.push(Notice::Changed(receiver, IN));
        } else if domain == Domain::Unix {
            return Err(Errno::EAGAIN);
        }
        Ok(bytes.len())
    }

    /// Whether a socket hears of messages from `from`: one with a peer hears from that only.
    fn takes_from(&mut self, receiver: FileId, sender: FileId, from: Option<&Name>) -> bool {
        let Some(datagram) = self.datagram_mut(receiver) else {
            return true;
        };
        match datagram.remote.clone() {
            Some(peer @ Name::Internet(_)) => Some(&peer) == from,
            // A path is looked up when it is connected to; who has it since is another.
            Some(peer) => self.network.find(SocketKind::Datagram, &peer) == Ok(sender),
            None => true,
        }
    }

    pub(super) fn receive_datagram(&mut self, file: FileId, peeks: bool) -> Result<Message, Errno> {
        let message = self
            .datagram_mut(file)
            .ok_or(Errno::ENOTSOCK)?
            .receive(peeks)?;
        if !peeks {
            self.made_room(file);
        }
        Ok(message)
    }

    /// A datagram socket has room, or is gone: who waits for that may try again.
    pub(super) fn made_room(&mut self, file: FileId) {
        self.notices.push(Notice::Room(file));
        for sender in self.connected_to(file) {
            self.notices.push(Notice::Changed(sender, OUT));
        }
    }

    /// The unix sockets that are connected to `file`.
    fn connected_to(&self, file: FileId) -> Vec<FileId> {
        let Some(path) = self.network.path_of(file) else {
            return Vec::new();
        };
        let path = Some(Name::Path(path));
        let is_sender = |object: &Object| match object {
            Object::Datagram(datagram) => datagram.remote == path,
            _ => false,
        };
        self.files_where(is_sender)
    }

    /// Whether a socket could send: one that is connected to a unix socket can't while that one's queue is full.
    pub(super) fn datagram_state(&self, datagram: &Datagram) -> u32 {
        let state = datagram.state();
        if let Some(path @ Name::Path(_)) = &datagram.remote
            && let Ok(receiver) = self.network.find(SocketKind::Datagram, path)
            && let Some(Object::Datagram(receiver)) = self.object(receiver)
            && receiver.queue.len() >= UNIX_QUEUE
        {
            return state & !OUT;
        }
        state
    }

    /// The unix socket that messages of `file` go to.
    pub(super) fn unix_receiver(&self, file: FileId, to: Option<&Name>) -> Option<FileId> {
        let Some(Object::Datagram(datagram)) = self.object(file) else {
            return None;
        };
        let to = to.or(datagram.remote.as_ref())?;
        matches!(to, Name::Path(_))
            .then(|| self.network.find(SocketKind::Datagram, to).ok())
            .flatten()
    }

    pub(super) fn shutdown_datagram(
        &mut self,
        file: FileId,
        reading: bool,
        writing: bool,
    ) -> Result<(), Errno> {
        let datagram = self.datagram_mut(file).ok_or(Errno::ENOTSOCK)?;
        if datagram.remote.is_none() && datagram.domain != Domain::Unix {
            return Err(Errno::ENOTCONN);
        }
        datagram.read_closed |= reading;
        datagram.write_closed |= writing;
        self.notices.push(Notice::Changed(file, 0));
        Ok(())
    }
}

/// The sender's address as the receiver sees it.
fn on_the_way(mut from: SocketAddr, to: &Name) -> SocketAddr {
    if from.ip().is_unspecified() {
        from.set_ip(match to {
            Name::Internet(to) if !to.ip().is_unspecified() => to.ip(),
            Name::Internet(_) | Name::Path(_) => loopback(&from),
        });
    }
    from
}
