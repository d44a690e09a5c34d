//! What a program, or the peer of one, does with sockets, besides reading and writing.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use linux_event_core::errno::Errno;
use linux_event_core::proactor::How;
use linux_event_core::sys::{AsRawFd, Domain, SocketKind};

use super::machine::Object;
use super::{Fake, FakeFd, Name};

/// As many connections as a listener keeps that was not told how many.
const BACKLOG: u32 = 4096;

/// Sockets with names, on a network that is this machine: every address is its own, and nothing is lost on the way.
impl Fake {
    /// A socket (`socket(2)`).
    ///
    /// # Errors
    /// EMFILE.
    pub fn socket(&mut self, domain: Domain, kind: SocketKind) -> Result<FakeFd, Errno> {
        self.settle();
        self.machine.socket(domain, kind).map(FakeFd)
    }

    /// A stream socket that listens at `name`, with a backlog of 4096.
    ///
    /// ```
    /// use linux_event::fake::Fake;
    ///
    /// let mut fake = Fake::new();
    /// let listener = fake.listener("[::1]:0".parse::<std::net::SocketAddr>().unwrap())?;
    /// let address = fake.local_address(listener)?.unwrap();
    /// let client = fake.client(address)?;
    /// fake.write(client, b"hello")?; // before it is accepted
    /// let (server, peer) = fake.accept(listener)?;
    /// assert_eq!(peer, fake.local_address(client)?);
    /// let mut bytes = [0; 8];
    /// assert_eq!(fake.read(server, &mut bytes), Ok(5));
    /// # Ok::<(), linux_event::Errno>(())
    /// ```
    ///
    /// # Errors
    /// EADDRINUSE; EMFILE; EINVAL for a path that is too long.
    pub fn listener(&mut self, name: impl Into<Name>) -> Result<FakeFd, Errno> {
        let name = name.into();
        let socket = self.socket(domain_of(&name), SocketKind::Stream)?;
        let bound = self.bind(socket, name);
        match bound.and_then(|()| self.listen(socket, BACKLOG)) {
            Ok(()) => Ok(socket),
            Err(errno) => {
                self.close(socket)?;
                Err(errno)
            }
        }
    }

    /// A stream socket that is connected to `name`: a client, whose other end waits to be accepted.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); EMFILE.
    pub fn client(&mut self, name: impl Into<Name>) -> Result<FakeFd, Errno> {
        let name = name.into();
        let socket = self.socket(domain_of(&name), SocketKind::Stream)?;
        match self.connect(socket, name) {
            Ok(()) => Ok(socket),
            Err(errno) => {
                self.close(socket)?;
                Err(errno)
            }
        }
    }

    /// Binds a socket (`bind(2)`).
    ///
    /// # Errors
    /// EADDRINUSE; EINVAL if it has a name already; EAFNOSUPPORT; ENOTSOCK; EBADF.
    pub fn bind(&mut self, fd: impl AsRawFd, name: impl Into<Name>) -> Result<(), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        self.machine.bind(file, &name.into())
    }

    /// Has a stream socket listen (`listen(2)`). As in Linux one connection more than `backlog` can wait.
    ///
    /// # Errors
    /// EINVAL if it is connected; EOPNOTSUPP of a datagram socket; ENOTSOCK; EBADF.
    pub fn listen(&mut self, fd: impl AsRawFd, backlog: u32) -> Result<(), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let done = self.machine.listen(file, backlog);
        self.hear();
        done
    }

    /// Connects a socket (`connect(2)`).
    ///
    /// # Errors
    /// ECONNREFUSED if nobody listens there; ENOENT for a path that does not exist; EAGAIN while the backlog has no room;
    /// EISCONN; EAFNOSUPPORT; ENOTSOCK; EBADF.
    pub fn connect(&mut self, fd: impl AsRawFd, name: impl Into<Name>) -> Result<(), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let done = self.machine.connect(file, &name.into());
        self.hear();
        done
    }

    /// Accepts a connection: its descriptor and its peer's address (`accept4(2)`).
    ///
    /// # Errors
    /// EAGAIN if none waits; EMFILE; EINVAL if it does not listen; ENOTSOCK; EBADF.
    pub fn accept(&mut self, fd: impl AsRawFd) -> Result<(FakeFd, Option<SocketAddr>), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let (number, address) = self.machine.accept(file)?;
        self.hear();
        Ok((FakeFd(number), address))
    }

    /// Shuts a socket down (`shutdown(2)`).
    ///
    /// # Errors
    /// ENOTSOCK, ENOTCONN, EBADF.
    pub fn shutdown(&mut self, fd: impl AsRawFd, how: How) -> Result<(), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let done = self.machine.shutdown(file, how);
        self.hear();
        done
    }

    /// Sends a datagram (`sendto(2)`).
    ///
    /// # Errors
    /// EMSGSIZE; ECONNREFUSED; EAFNOSUPPORT; ENOTSOCK; EBADF.
    pub fn send_to(
        &mut self,
        fd: impl AsRawFd,
        bytes: &[u8],
        name: impl Into<Name>,
    ) -> Result<usize, Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let sent = self.machine.send_datagram(file, bytes, Some(&name.into()));
        self.hear();
        sent
    }

    /// Receives a datagram, whole, and who sent it (`recvfrom(2)`).
    ///
    /// # Errors
    /// EAGAIN if none is there; ECONNREFUSED, once, when an earlier one reached nobody; ENOTSOCK; EBADF.
    pub fn receive_from(
        &mut self,
        fd: impl AsRawFd,
    ) -> Result<(Vec<u8>, Option<SocketAddr>), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let message = self.machine.receive_datagram(file, false)?;
        self.hear();
        let from = match message.from {
            Some(Name::Internet(address)) => Some(address),
            _ => None,
        };
        Ok((message.bytes, from))
    }

    /// As [`receive_from`](Self::receive_from), with the names of unix sockets too: an empty path of one that has none.
    ///
    /// # Errors
    /// As [`receive_from`](Self::receive_from).
    pub fn receive_named(&mut self, fd: impl AsRawFd) -> Result<(Vec<u8>, Name), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let message = self.machine.receive_datagram(file, false)?;
        self.hear();
        let from = message.from.unwrap_or(Name::Path(Vec::new()));
        Ok((message.bytes, from))
    }

    /// The address that a socket has; `None` if it has none, or a path (`getsockname(2)`).
    ///
    /// # Errors
    /// ENOTSOCK, EBADF.
    pub fn local_address(&self, fd: impl AsRawFd) -> Result<Option<SocketAddr>, Errno> {
        let file = self.machine.file(fd.as_raw_fd())?;
        Ok(self.machine.addresses(file)?.0)
    }

    /// The address of a socket's peer; `None` if it has none, or a path (`getpeername(2)`).
    ///
    /// # Errors
    /// ENOTSOCK, EBADF.
    pub fn peer_address(&self, fd: impl AsRawFd) -> Result<Option<SocketAddr>, Errno> {
        let file = self.machine.file(fd.as_raw_fd())?;
        Ok(self.machine.addresses(file)?.1)
    }

    /// Whether a socket listens (`SO_ACCEPTCONN`).
    ///
    /// # Errors
    /// ENOTSOCK, EBADF.
    pub fn is_listening(&self, fd: impl AsRawFd) -> Result<bool, Errno> {
        let file = self.machine.file(fd.as_raw_fd())?;
        match self.machine.object(file) {
            Some(Object::Listener(_)) => Ok(true),
            Some(Object::Socket(_) | Object::Unconnected(_) | Object::Datagram(_)) => Ok(false),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// The error that waits on a socket, which this takes away (`SO_ERROR`).
    ///
    /// # Errors
    /// ENOTSOCK, EBADF.
    pub fn take_error(&mut self, fd: impl AsRawFd) -> Result<Option<Errno>, Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        match self.machine.object_mut(file) {
            Some(Object::Socket(socket)) => Ok(socket.error.take()),
            Some(Object::Listener(_) | Object::Unconnected(_) | Object::Datagram(_)) => Ok(None),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// The name that a socket has; an empty path for a unix socket that has none (`getsockname(2)`).
    ///
    /// # Errors
    /// ENOTSOCK, EBADF.
    pub fn local_name(&self, fd: impl AsRawFd) -> Result<Name, Errno> {
        let file = self.machine.file(fd.as_raw_fd())?;
        let local = self.machine.addresses(file)?.0;
        let path = || Name::Path(self.machine.network.path_of(file).unwrap_or_default());
        Ok(local.map_or_else(path, Name::Internet))
    }

    /// The name of a socket's peer; an empty path for a unix socket that has none (`getpeername(2)`).
    ///
    /// # Errors
    /// ENOTCONN, ENOTSOCK, EBADF.
    pub fn peer_name(&self, fd: impl AsRawFd) -> Result<Name, Errno> {
        let file = self.machine.file(fd.as_raw_fd())?;
        match (self.machine.addresses(file)?.1, self.machine.object(file)) {
            (Some(remote), _) => Ok(Name::Internet(remote)),
            (None, Some(Object::Datagram(datagram))) => {
                datagram.remote.clone().ok_or(Errno::ENOTCONN)
            }
            (None, Some(Object::Socket(socket))) => Ok(Name::Path(
                self.machine
                    .network
                    .path_of(socket.peer)
                    .unwrap_or_default(),
            )),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// Which of all binds the socket's path was made by that is there.
    pub(crate) fn bind_at(&mut self, path: &[u8]) -> Option<u64> {
        self.settle();
        self.machine.network.bind_at(path)
    }

    /// Takes the path of a unix socket away, if there is one (`unlink(2)`); no error if there is nothing.
    ///
    /// # Errors
    /// EEXIST if it is not a socket that is there.
    pub fn unlink_socket(&mut self, path: impl AsRef<[u8]>) -> Result<(), Errno> {
        self.settle();
        if self.machine.network.unlink(path.as_ref()) || !self.machine.disk.exists(path.as_ref()) {
            return Ok(());
        }
        Err(Errno::EEXIST)
    }
}

fn domain_of(name: &Name) -> Domain {
    match name {
        Name::Internet(address) => Domain::of(address),
        Name::Path(_) => Domain::Unix,
    }
}
