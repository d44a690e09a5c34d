//! How loops of operations are made, and end.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use linux_event_core::handle::File;
use linux_event_core::proactor::{self, Capabilities, Options, Shutdown};
use linux_event_core::sys::{Fd, Linux};

use super::{Core, Proactor, ProactorBackend};
use crate::buffer::Buffer;
use crate::error::Error;
use crate::event_loop::Loop;
use crate::model::{LoopBackend, private};
use crate::net::KernelSockets;
use crate::waker::Shared;

/// The kernel's completions, with a wakeup that wakers share.
pub type Uring = proactor::Uring<Buffer, Linux, Shared>;

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// Cancels everything and waits until the kernel has let go of it, `limit` at most; gives the state back (P-6). What
    /// the kernel still holds then (a zero-copy send to a peer that does not read, a hung network file system) is leaked on
    /// purpose, and counted. No callback is called any more.
    ///
    /// Dropping a loop does the same with a limit of a second, and no report.
    pub fn shutdown(self, limit: Duration) -> (Shutdown, S) {
        let Self { state, model, .. } = self;
        (model.core.shutdown(limit), state)
    }
}

impl private::Sealed for Uring {}

impl ProactorBackend for Uring {
    fn calls_of(_: &mut Core<Self>) -> &mut KernelSockets {
        KernelSockets::get()
    }

    fn with_descriptor<R>(
        core: &mut Core<Self>,
        file: File,
        call: impl FnOnce(&mut KernelSockets, &Fd) -> R,
    ) -> Option<R> {
        let socket = core.descriptor(file)?;
        Some(call(KernelSockets::get(), socket))
    }
}

impl LoopBackend for Uring {
    type Calls = KernelSockets;

    fn calls(&mut self) -> &mut KernelSockets {
        KernelSockets::get()
    }

    #[inline(always)]
    fn shared(&self) -> Option<&Shared> {
        self.wakeup()
    }
}

impl Loop<Proactor<Uring>> {
    /// A loop over io_uring: the completion model. It belongs to the calling thread.
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::Loop;
    ///
    /// let mut event_loop = Loop::proactor()?;
    /// let (reader, writer) = std::io::pipe()?;
    /// let reader = event_loop.adopt(reader)?;
    /// event_loop.read(reader, Vec::with_capacity(16), |_, completion| {
    ///     assert_eq!(completion.outcome(), Ok(5));
    ///     assert_eq!(**completion.into_buffer().unwrap(), *b"hello");
    /// })?;
    /// std::io::Write::write_all(&mut &writer, b"hello")?;
    /// event_loop.run()?; // until nothing is left to wait for
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It stays on its thread:
    ///
    /// ```compile_fail,E0277
    /// let mut event_loop = linux_event::Loop::proactor()?;
    /// std::thread::spawn(move || event_loop.run());
    /// # Ok::<(), linux_event::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NoRing`](crate::LoopError::NoRing) where io_uring is missing or forbidden, [`RingTooOld`](crate::LoopError::RingTooOld) before
    /// Linux 5.11 (5.10.162): the reactor needs neither (P-12). [`LockedMemory`](crate::LoopError::LockedMemory);
    /// [`Os`](crate::LoopError::Os) with EMFILE, ENFILE or ENOMEM.
    pub fn proactor() -> Result<Self, Error> {
        Self::proactor_with(())
    }
}

impl<S> Loop<Proactor<Uring>, S> {
    /// As [`proactor`](Loop::proactor), with a state that callbacks share.
    ///
    /// # Errors
    /// As [`proactor`](Loop::proactor).
    pub fn proactor_with(state: S) -> Result<Self, Error> {
        Self::proactor_with_options(Options::default(), state)
    }

    /// As [`proactor_with`](Loop::proactor_with), with options: how long the queues are, when they are handed over, and
    /// who polls (P-13).
    ///
    /// # Errors
    /// As [`proactor`](Loop::proactor).
    pub fn proactor_with_options(options: Options, state: S) -> Result<Self, Error> {
        let mut uring = Uring::with_options(Linux, options)?;
        uring.attach(Shared::default())?;
        Ok(Self::over(Proactor::new(uring)?, state))
    }

    /// What is in force of what the kernel could do, and what was stepped down from, with the reasons (P-12).
    pub fn capabilities(&self) -> &Capabilities {
        self.model.core.backend().capabilities()
    }

    /// Readies the loop to sit inside another, which waits until its descriptor is readable and then calls
    /// [`run_once`](Self::run_once) with a timeout of zero, and this again (G-2).
    ///
    /// # Errors
    /// [`Forked`](crate::LoopError::Forked), or what the kernel says.
    pub fn prepare(&mut self) -> Result<(), Error> {
        if self.has_kept() {
            self.model.core.prepare_now()?;
        } else {
            self.model.core.prepare()?;
        }
        Ok(())
    }
}

impl<S> AsFd for Loop<Proactor<Uring>, S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::fd::as_std(self.model.core.backend().as_fd())
    }
}
