//! Who is bound to what on the simulated network.
//!
//! **Invariants.** *INV-NETWORK-1*: what is in `bound` is a file that exists, until [`Network::unbind`].

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use linux_event_core::errno::Errno;
use linux_event_core::sys::{Domain, SocketKind};

use super::machine::FileId;

/// The first port that is given to who asks for none, and the last.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// What a socket is bound to, or connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// An address; a port of 0 stands for one that is free.
    Internet(SocketAddr),
    /// The path of a unix socket, at most 107 bytes; one that begins with a zero byte is abstract (`unix(7)`).
    Path(Vec<u8>),
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        Self::Internet(address)
    }
}

/// A path.
impl From<&str> for Name {
    fn from(path: &str) -> Self {
        Self::Path(path.as_bytes().to_vec())
    }
}

/// Who is bound to what.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Sockets and their addresses; what they carry. INV-NETWORK-1.
    bound: BTreeMap<FileId, (SocketKind, SocketAddr)>,
    /// Unix sockets by their paths. A path outlives its socket, unless it is abstract.
    paths: BTreeMap<Vec<u8>, Bound>,
    /// Paths that were bound to.
    binds: u64,
}

/// A path that a unix socket was bound to.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// Which of all binds it was: as an inode's number.
    number: u64,
    /// `None` once the socket is gone.
    file: Option<FileId>,
}

impl Network {
    pub(super) fn unbind(&mut self, file: FileId) {
        self.bound.remove(&file);
        self.paths
            .retain(|path, bound| bound.file != Some(file) || path.first() != Some(&0));
        for bound in self.paths.values_mut() {
            bound.file = bound.file.filter(|it| *it != file);
        }
    }

    /// Takes a path away; false if there is none.
    pub(super) fn unlink(&mut self, path: &[u8]) -> bool {
        self.paths.remove(path).is_some()
    }

    /// Which of all binds a path was made by, if a socket's is there.
    pub(super) fn bind_at(&self, path: &[u8]) -> Option<u64> {
        self.paths.get(path).map(|bound| bound.number)
    }

    /// The path that a file is bound to.
    pub(super) fn path_of(&self, file: FileId) -> Option<Vec<u8>> {
        let mut bound = self.paths.iter();
        let found = bound.find(|(_, bound)| bound.file == Some(file));
        found.map(|(path, _)| path.clone())
    }

    fn is_taken(&self, kind: SocketKind, address: SocketAddr) -> bool {
        self.bound.values().any(|(of, bound)| {
            *of == kind
                && bound.port() == address.port()
                && bound.is_ipv4() == address.is_ipv4()
                && (bound.ip() == address.ip()
                    || bound.ip().is_unspecified()
                    || address.ip().is_unspecified())
        })
    }

    /// Gives `file` a name; its address, if that is one.
    pub(super) fn bind(
        &mut self,
        file: FileId,
        kind: SocketKind,
        name: &Name,
    ) -> Result<Option<SocketAddr>, Errno> {
        match name {
            Name::Internet(address) => self.bind_address(file, kind, *address).map(Some),
            Name::Path(path) => self.bind_path(file, path).map(|()| None),
        }
    }

    fn bind_address(
        &mut self,
        file: FileId,
        kind: SocketKind,
        mut address: SocketAddr,
    ) -> Result<SocketAddr, Errno> {
        if address.port() == 0 {
            let free = EPHEMERAL.into_iter().find(|&port| {
                address.set_port(port);
                !self.is_taken(kind, address)
            });
            address.set_port(free.ok_or(Errno::EADDRINUSE)?);
        } else if self.is_taken(kind, address) {
            return Err(Errno::EADDRINUSE);
        }
        self.bound.insert(file, (kind, address));
        Ok(address)
    }

    fn bind_path(&mut self, file: FileId, path: &[u8]) -> Result<(), Errno> {
        if path.len() > 107 || path.is_empty() {
            return Err(Errno::EINVAL);
        }
        if self.paths.contains_key(path) {
            return Err(Errno::EADDRINUSE);
        }
        self.binds += 1;
        let bound = Bound {
            number: self.binds,
            file: Some(file),
        };
        self.paths.insert(path.to_vec(), bound);
        Ok(())
    }

    /// Who is bound to where a connection or a message goes.
    pub(super) fn find(&self, kind: SocketKind, name: &Name) -> Result<FileId, Errno> {
        match name {
            Name::Path(path) if path.len() > 107 || path.is_empty() => Err(Errno::EINVAL),
            Name::Path(path) => match self.paths.get(path) {
                Some(bound) => bound.file.ok_or(Errno::ECONNREFUSED),
                None if path.first() == Some(&0) => Err(Errno::ECONNREFUSED),
                None => Err(Errno::ENOENT),
            },
            Name::Internet(to) => {
                let here = |ip: IpAddr| {
                    if ip.is_unspecified() {
                        loopback(to)
                    } else {
                        ip
                    }
                };
                let fits = |(of, bound): &(SocketKind, SocketAddr)| {
                    *of == kind
                        && bound.port() == to.port()
                        && bound.is_ipv4() == to.is_ipv4()
                        && (bound.ip() == here(to.ip()) || bound.ip().is_unspecified())
                };
                let mut found = self.bound.iter().filter(|(_, bound)| fits(bound));
                found
                    .next()
                    .map(|(&file, _)| file)
                    .ok_or(Errno::ECONNREFUSED)
            }
        }
    }
}

/// The address of the same family that stands for this machine.
pub(super) const fn loopback(address: &SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// Whether a socket of `domain` can have to do with `name`; if not, EAFNOSUPPORT, or EINVAL for want of bytes.
pub(super) fn check_family(domain: Domain, name: &Name) -> Result<(), Errno> {
    match (domain, name) {
        (Domain::Unix, Name::Path(_))
        | (Domain::V4, Name::Internet(SocketAddr::V4(_)))
        | (Domain::V6, Name::Internet(SocketAddr::V6(_))) => Ok(()),
        (Domain::V4, Name::Internet(SocketAddr::V6(_))) => Err(Errno::EAFNOSUPPORT),
        // The two bytes of the family go before the path, and an address takes 16 bytes, or 28.
        (Domain::V4, Name::Path(path)) if path.len() >= 14 => Err(Errno::EAFNOSUPPORT),
        (Domain::V6, Name::Path(path)) if path.len() >= 26 => Err(Errno::EAFNOSUPPORT),
        _ => Err(Errno::EINVAL),
    }
}
