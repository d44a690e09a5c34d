//! Sockets with a name: where they are bound, with which options, and what is taken away in the end (L-1).
//!
//! **Invariants.** *INV-BIND-1*: a path that was made is taken away by whoever has its [`OwnPath`], once: also with the loop, and
//! not by a forked child, whose parent goes on (G-1); and only while it leads to the socket that was bound: who has taken the path
//! over keeps it.
//!
//! **Why this shape.** Listeners and datagram sockets are bound alike; what differs is what comes after.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;
use linux_event_core::sys::{Kernel, Linux, SocketKind};

use super::address::Address;
use super::model::Net;
use super::socket::os_error;
use super::sockets::{KernelSockets, SocketCalls, SocketId};
use crate::error::Error;

/// Where to be bound: an address, or text such as `127.0.0.1:80`, `[::1]:80`, or `*:80` for every address of the machine. Port 0
/// takes a free one.
///
/// ```
/// use linux_event::net::Bind;
/// assert_eq!(Bind::from("127.0.0.1:80"), Bind::from(([127, 0, 0, 1], 80)));
/// assert_eq!(Bind::from("*:80"), Bind::Any(80));
/// assert_eq!(Bind::from("localhost"), Bind::Invalid); // names are for who connects
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// This address.
    To(SocketAddr),
    /// Every IPv6 and IPv4 address of the machine, at this port; every IPv4 address where there is no IPv6.
    Any(u16),
    /// The text is no address.
    Invalid,
}

impl<A> From<(A, u16)> for Bind
where
    SocketAddr: From<(A, u16)>,
{
    fn from(address: (A, u16)) -> Self {
        Self::To(address.into())
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Self::To(address)
    }
}

impl From<&str> for Bind {
    fn from(text: &str) -> Self {
        match text.strip_prefix("*:") {
            Some(port) => port.parse().map_or(Self::Invalid, Self::Any),
            None => text.parse().map_or(Self::Invalid, Self::To),
        }
    }
}

/// What a socket is bound to.
pub(super) enum Named {
    Internet(Bind),
    Unix(PathBuf),
}

/// What is set before a bind, and done around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BindOptions {
    pub(super) reuse_address: bool,
    pub(super) reuse_port: bool,
    pub(super) v6_only: Option<bool>,
    pub(super) broadcast: bool,
    pub(super) unlink: bool,
    pub(super) unlink_on_close: bool,
}

impl BindOptions {
    /// Nothing set; a path is taken away in the end.
    pub(super) const DEFAULT: Self = Self {
        reuse_address: false,
        reuse_port: false,
        v6_only: None,
        broadcast: false,
        unlink: false,
        unlink_on_close: true,
    };
}

/// A path that was made: INV-BIND-1.
#[derive(Debug)]
pub(super) struct OwnPath {
    path: PathBuf,
    /// What was bound there; `None` if it was gone before it was looked at.
    socket: Option<SocketId>,
    /// The process that made it; `None` of a fake's, whose paths go with it.
    process: Option<u64>,
}

impl OwnPath {
    /// Takes it away.
    pub(super) fn remove<M: Net>(self, calls: &mut M::Calls) {
        if self.process.is_none() {
            self.unlink(calls);
        }
    }

    fn unlink(&self, calls: &mut impl SocketCalls) {
        let path = Address::path_bytes(&self.path);
        if self.socket.is_some() && calls.socket_at(path) == self.socket {
            let _ = calls.unlink_socket(path);
        }
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if self
            .process
            .is_some_and(|process| Linux.is_process(process))
        {
            self.unlink(&mut KernelSockets);
        }
    }
}

/// A socket that is bound, and the path to take away in the end.
pub(super) fn bound<M: Net>(
    calls: &mut M::Calls,
    name: Named,
    kind: SocketKind,
    options: BindOptions,
) -> Result<(M::Socket, Option<OwnPath>), Error> {
    let any = |ip: IpAddr, port| Address::Internet(SocketAddr::new(ip, port));
    match name {
        Named::Internet(Bind::Invalid) => Err(LoopError::Invalid(match kind {
            SocketKind::Stream => "that is no address to listen on",
            SocketKind::Datagram => "that is no address to bind to",
        })
        .into()),
        Named::Internet(Bind::To(address)) => {
            Ok((bind_at::<M>(calls, &address.into(), kind, options)?, None))
        }
        Named::Internet(Bind::Any(port)) => {
            let both = BindOptions {
                v6_only: options.v6_only.or(Some(false)),
                ..options
            };
            let (v6, v4) = (
                any(Ipv6Addr::UNSPECIFIED.into(), port),
                any(Ipv4Addr::UNSPECIFIED.into(), port),
            );
            let socket = match bind_at::<M>(calls, &v6, kind, both) {
                Err(error) if is_without_v6(&error) => bind_at::<M>(calls, &v4, kind, options)?,
                bound => bound?,
            };
            Ok((socket, None))
        }
        Named::Unix(path) => {
            if options.unlink {
                calls
                    .unlink_socket(Address::path_bytes(&path))
                    .map_err(|errno| os_error("unlink", errno))?;
            }
            let socket = bind_at::<M>(calls, &Address::Unix(path.clone()), kind, options)?;
            let own = options.unlink_on_close.then(|| OwnPath {
                socket: calls.socket_at(Address::path_bytes(&path)),
                path,
                process: M::Calls::OF_KERNEL.then(|| Linux.process_epoch()),
            });
            Ok((socket, own))
        }
    }
}

/// Whether the machine has no IPv6, or only IPv6 that takes no IPv4.
fn is_without_v6(error: &Error) -> bool {
    matches!(
        error.errno(),
        Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::ENOPROTOOPT)
    )
}

fn bind_at<M: Net>(
    calls: &mut M::Calls,
    address: &Address,
    kind: SocketKind,
    options: BindOptions,
) -> Result<M::Socket, Error> {
    let socket = calls
        .open(address.domain(), kind, M::NON_BLOCKING)
        .map_err(|errno| os_error("socket", errno))?;
    let set = |errno| os_error("setsockopt", errno);
    if let Address::Internet(internet) = address {
        if options.reuse_address {
            calls.set_reuse_address(&socket, true).map_err(set)?;
        }
        if options.reuse_port {
            calls.set_reuse_port(&socket, true).map_err(set)?;
        }
        if options.broadcast {
            calls.set_broadcast(&socket, true).map_err(set)?;
        }
        if let Some(on) = options.v6_only.filter(|_| internet.is_ipv6()) {
            calls.set_v6_only(&socket, on).map_err(set)?;
        }
    }
    calls
        .bind(&socket, address)
        .map_err(|errno| os_error("bind", errno))?;
    Ok(socket)
}
