//! Where to connect to.

#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

/// Where to connect to: an address, a name and a port, or text such as `localhost:80`, `127.0.0.1:80` or `[::1]:80`.
///
/// ```
/// use linux_event::net::Target;
/// assert_eq!(Target::from("127.0.0.1:80"), Target::from(([127, 0, 0, 1], 80)));
/// assert_eq!(Target::from("example.org:80"), Target::from(("example.org", 80)));
/// assert_eq!(Target::from(("[::1]", 80)), Target::from("[::1]:80"));
/// assert_eq!(Target::from("no port"), Target::Invalid);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This address.
    To(SocketAddr),
    /// A name, which is resolved off the loop, and a port.
    Name(String, u16),
    /// The text has no port, or no name.
    Invalid,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::To(address)
    }
}

impl From<([u8; 4], u16)> for Target {
    fn from(address: ([u8; 4], u16)) -> Self {
        Self::To(address.into())
    }
}

/// A name, or an IP address as text, in brackets or not.
impl From<(&str, u16)> for Target {
    fn from((host, port): (&str, u16)) -> Self {
        let host = host.trim();
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = inner.unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(ip) => Self::To(SocketAddr::new(ip, port)),
            Err(_) if host.is_empty() => Self::Invalid,
            Err(_) => Self::Name(host.to_owned(), port),
        }
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        if let Ok(address) = text.parse() {
            return Self::To(address);
        }
        match text.rsplit_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) if !host.contains(':') || host.ends_with(']') => (host, port).into(),
                _ => Self::Invalid,
            },
            None => Self::Invalid,
        }
    }
}
