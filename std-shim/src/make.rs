//! How loops are made.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};

use linux_event_core::clock::Instant;
use linux_event_core::reactor::{self, Backend};
use linux_event_core::sys::Linux;

use crate::error::Error;
use crate::event_loop::Loop;
use crate::model::{LoopBackend, Reactor, private};
use crate::net::KernelSockets;
use crate::waker::Shared;

/// The kernel's readiness, with a wakeup that wakers share.
pub type Epoll = reactor::Epoll<Linux, Shared>;

impl private::Sealed for Epoll {}

impl LoopBackend for Epoll {
    type Calls = KernelSockets;

    #[inline(always)]
    fn calls(&mut self) -> &mut KernelSockets {
        KernelSockets::get()
    }

    #[inline(always)]
    fn shared(&self) -> Option<&Shared> {
        self.wakeup()
    }
}

impl Loop<Reactor<Epoll>> {
    /// A loop over epoll: the reactor model. It belongs to the calling thread.
    ///
    /// # Errors
    /// [`Os`](linux_event_core::error::Error::Os) with EMFILE, ENFILE or ENOMEM;
    /// [`Denied`](linux_event_core::error::Error::Denied) or
    /// [`Unsupported`](linux_event_core::error::Error::Unsupported) in a sandbox that forbids epoll or eventfd.
    pub fn reactor() -> Result<Self, Error> {
        Self::reactor_with(())
    }
}

impl<S> Loop<Reactor<Epoll>, S> {
    /// As [`reactor`](Loop::reactor), with a state that callbacks share.
    ///
    /// # Errors
    /// As [`reactor`](Loop::reactor).
    pub fn reactor_with(state: S) -> Result<Self, Error> {
        let mut epoll = Epoll::with_kernel(Linux)?;
        epoll.attach(Shared::default())?;
        Ok(Self::over(Reactor::new(epoll), state))
    }

    /// Readies the loop to sit inside another, which waits until its descriptor (`as_fd`, which stays the same) is readable and
    /// then calls [`run_once`](Self::run_once) with a timeout of zero, and this again (G-2).
    ///
    /// # Errors
    /// [`Forked`](linux_event_core::error::Error::Forked), or what the kernel says.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.model.core.prepare()?;
        if self.has_kept() {
            self.model.core.backend_mut().arm(Some(Instant::ZERO))?;
        }
        Ok(())
    }
}

impl<S> AsFd for Loop<Reactor<Epoll>, S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::fd::as_std(self.model.core.backend().as_fd())
    }
}
