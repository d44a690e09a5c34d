//! Addresses of sockets.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_event_core::sys::{Domain, sockaddr};

/// Where a socket is, or its peer: an internet address, or the path of a unix socket.
///
/// ```
/// use linux_event::net::Address;
///
/// let address = Address::from("127.0.0.1:80".parse::<std::net::SocketAddr>()?);
/// assert_eq!(address.to_string(), "127.0.0.1:80");
/// assert_eq!(Address::from(std::path::Path::new("/run/x.sock")).to_string(), "/run/x.sock");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// IPv4 or IPv6.
    Internet(SocketAddr),
    /// The path of a unix socket; empty for one without a name, which is what clients have. One that begins with a zero
    /// byte is abstract (`unix(7)`).
    Unix(PathBuf),
}

impl Address {
    /// The internet address, if it is one.
    pub const fn internet(&self) -> Option<SocketAddr> {
        match self {
            Self::Internet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Internet(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    pub(crate) const fn domain(&self) -> Domain {
        match self {
            Self::Internet(address) => Domain::of(address),
            Self::Unix(_) => Domain::Unix,
        }
    }

    /// The path's bytes, as `unix(7)` has them.
    pub(crate) fn path_bytes(path: &Path) -> &[u8] {
        path.as_os_str().as_bytes()
    }

    /// An address in the kernel's form; the family says which (L-4), never the length.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match sockaddr::decode(bytes) {
            Some(address) => Some(Self::Internet(address)),
            None => sockaddr::decode_unix(bytes).map(Self::from_path_bytes),
        }
    }

    pub(crate) fn from_path_bytes(path: &[u8]) -> Self {
        Self::Unix(PathBuf::from(OsStr::from_bytes(path)))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Internet(address)
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(f),
            Self::Unix(path) if path.as_os_str().is_empty() => f.write_str("(unnamed)"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct sockaddr_un` with a path.
    fn unix(path: &[u8]) -> Vec<u8> {
        let (bytes, len) = sockaddr::encode_unix(path).expect("a path");
        bytes[..len].to_vec()
    }

    #[test]
    fn l4_the_family_is_the_address_s_own_word_whatever_its_length() {
        let sixteen = unix(b"/tmp/sixteen.");
        assert_eq!(sixteen.len(), 16, "as long as an IPv4 address");
        assert_eq!(
            Address::decode(&sixteen),
            Some(Address::Unix("/tmp/sixteen.".into()))
        );
        let unnamed = Address::decode(&sixteen[..2]);
        assert_eq!(unnamed, Some(Address::Unix(PathBuf::new())));
        let (bytes, len) = sockaddr::encode("10.0.0.1:80".parse().unwrap());
        let internet = Address::decode(&bytes[..len]).unwrap();
        assert_eq!(internet.internet(), Some("10.0.0.1:80".parse().unwrap()));
        assert_eq!(Address::decode(&[9, 9, 9]), None);
    }
}
