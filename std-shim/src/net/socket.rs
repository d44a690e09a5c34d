//! Sockets that no stream or listener has yet.

#![forbid(unsafe_code)]

use std::fmt;
use std::os::fd::OwnedFd;

use super::address::Address;
use super::model::Net;
use super::sockets::SocketCalls;
use crate::error::Error;
use crate::event_loop::Loop;
use crate::fake::{Fake, FakeOwned};
use crate::fd::{IntoOwnedFd, from_std};
use crate::model::{Model, Reactor};
use crate::proactor::Proactor;

/// A socket of the model `M`, owned: what a listener accepts. Dropping it closes it.
///
/// [`Stream::over`](super::Stream::over) takes it in. Its mode, blocking or not, is the model's.
pub struct Socket<M: Model>(pub(crate) M::Socket);

impl<M: Net> Socket<M> {
    /// Where its peer is: the family is the address's own word (L-4).
    ///
    /// # Errors
    /// ENOTCONN if the peer has gone already.
    #[doc(alias = "getpeername")]
    pub fn peer<S>(&self, event_loop: &mut Loop<M, S>) -> Result<Address, Error> {
        let peer = event_loop.model.calls().peer_address(&self.0);
        peer.map_err(|errno| os_error("getpeername", errno))
    }

    /// Where it is.
    ///
    /// # Errors
    /// ENOTSOCK if it is none.
    #[doc(alias = "getsockname")]
    pub fn local<S>(&self, event_loop: &mut Loop<M, S>) -> Result<Address, Error> {
        let local = event_loop.model.calls().local_address(&self.0);
        local.map_err(|errno| os_error("getsockname", errno))
    }

    /// Has small writes leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// EOPNOTSUPP if it is not TCP.
    #[doc(alias = "TCP_NODELAY")]
    pub fn set_no_delay<S>(&self, event_loop: &mut Loop<M, S>, on: bool) -> Result<(), Error> {
        let set = event_loop.model.calls().set_no_delay(&self.0, on);
        set.map_err(|errno| os_error("setsockopt", errno))
    }

    /// The descriptor, in the backend's terms.
    pub fn into_inner(self) -> M::Socket {
        self.0
    }
}

impl<M: Net<Socket = crate::core::sys::Fd>> Socket<M> {
    /// The descriptor, in the words of `std`.
    pub fn into_owned_fd(self) -> OwnedFd {
        self.0.into_owned_fd()
    }
}

impl<M: Model> fmt::Debug for Socket<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.0).finish()
    }
}

/// What can become a stream or a listener of the model `M`: a [`Socket`]; over a kernel anything that turns into an [`OwnedFd`];
/// over the fake its own descriptors.
pub trait IntoSocket<M: Net> {
    #[doc(hidden)]
    fn into_socket(self, calls: &mut M::Calls) -> Result<M::Socket, crate::Errno>;
}

impl<M: Net> IntoSocket<M> for Socket<M> {
    fn into_socket(self, _: &mut M::Calls) -> Result<M::Socket, crate::Errno> {
        Ok(self.0)
    }
}

impl<T: Into<OwnedFd>> IntoSocket<Reactor<crate::Epoll>> for T {
    fn into_socket(
        self,
        calls: &mut super::KernelSockets,
    ) -> Result<crate::core::sys::Fd, crate::Errno> {
        calls.set_non_blocking(from_std(self.into()), true)
    }
}

impl<T: Into<OwnedFd>> IntoSocket<Proactor<crate::Uring>> for T {
    fn into_socket(
        self,
        calls: &mut super::KernelSockets,
    ) -> Result<crate::core::sys::Fd, crate::Errno> {
        calls.set_non_blocking(from_std(self.into()), false)
    }
}

impl IntoSocket<Reactor<Fake>> for FakeOwned {
    fn into_socket(self, _: &mut Fake) -> Result<FakeOwned, crate::Errno> {
        Ok(self)
    }
}

impl IntoSocket<Proactor<Fake>> for FakeOwned {
    fn into_socket(self, _: &mut Fake) -> Result<FakeOwned, crate::Errno> {
        Ok(self)
    }
}

/// What a socket call that failed comes to.
pub(crate) fn os_error(call: &'static str, errno: crate::Errno) -> Error {
    Error::Socket { call, errno }
}
