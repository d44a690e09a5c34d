//! Descriptors that operations work on: adopted by the loop, shared by handle (P-14).

#![forbid(unsafe_code)]

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::{File, Op};
use linux_event_core::sys::RawFd;

use super::submit::boxed;
use super::{Completion, Proactor, ProactorBackend, Uring};
use crate::error::{Error, Outcome};
use crate::event_loop::Loop;
use crate::fd::{IntoOwnedFd, as_std, from_std};

/// A descriptor that was not adopted: why, and the descriptor.
#[derive(Debug)]
pub struct RefusedFd<F = OwnedFd> {
    /// Why.
    pub error: LoopError,
    /// The descriptor.
    pub fd: F,
}

impl<F> fmt::Display for RefusedFd<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<F: fmt::Debug> std::error::Error for RefusedFd<F> {}

impl<F> From<RefusedFd<F>> for Error {
    fn from(refused: RefusedFd<F>) -> Self {
        refused.error.into()
    }
}

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// Takes a descriptor of the backend's in, as accept brings one: see [`adopt`](Loop::adopt).
    ///
    /// # Errors
    /// As there.
    pub fn adopt_fd(&mut self, fd: B::Fd) -> Result<File, RefusedFd<B::Fd>> {
        let adopted = self.model.core.adopt(fd);
        adopted.map_err(|(error, fd)| RefusedFd { error, fd })
    }

    /// Gives an adopted descriptor back, in the backend's terms: see [`release`](Loop::release).
    ///
    /// # Errors
    /// As there.
    pub fn release_fd(&mut self, file: File) -> Result<B::Fd, Error> {
        Ok(self.model.core.release(file)?)
    }

    /// An adopted descriptor, in the backend's terms; `None` if the handle is stale.
    pub fn descriptor(&self, file: File) -> Option<&B::Fd> {
        self.model.core.descriptor(file)
    }

    /// The number of an adopted descriptor, for messages; `None` if the handle is stale.
    pub fn number(&self, file: File) -> Option<RawFd> {
        self.model.core.number(file)
    }

    /// How many descriptors are adopted.
    pub fn file_count(&self) -> usize {
        self.model.core.files()
    }

    /// Closes an adopted descriptor (P-15): cancels what is in flight on it, waits for those settlements, closes, and then
    /// calls `callback`. From here on `file` takes no other operation.
    ///
    /// # Errors
    /// [`LoopError::Stale`] if the file is gone or closing already; [`LoopError::Full`]; [`LoopError::Forked`].
    #[doc(alias = "IORING_OP_CLOSE")]
    pub fn close<R: Outcome>(
        &mut self,
        file: File,
        callback: impl FnMut(&mut Self, Completion<B>) -> R + 'static,
    ) -> Result<Op, Error> {
        let op = self.model.core.close(file, ())?;
        self.callbacks.ops.fill(op, boxed(callback));
        Ok(op)
    }
}

impl<S> Loop<Proactor<Uring>, S> {
    /// Takes a descriptor in, for operations to work on: a socket, a pipe, a file, anything that turns into an
    /// [`OwnedFd`]. The handle is what operations are given, as often as one likes.
    ///
    /// It stays open until [`close`](Self::close), [`release`](Self::release), or the end of the loop. It should be in
    /// **blocking mode**: the ring waits for it without blocking a thread. A read, write or accept on one that is in
    /// non-blocking mode is refused with EAGAIN where it would wait, as without a ring.
    ///
    /// ```
    /// # if linux_event::Loop::proactor().is_err() { return Ok(()); } // io_uring is forbidden here
    /// use linux_event::Loop;
    ///
    /// let mut event_loop = Loop::proactor()?;
    /// let (reader, writer) = std::io::pipe()?;
    /// let (reader, writer) = (event_loop.adopt(reader)?, event_loop.adopt(writer)?);
    /// event_loop.write(writer, "hello", |_, written| assert_eq!(written.outcome(), Ok(5)))?;
    /// event_loop.read(reader, vec![0; 16], |_, read| {
    ///     assert_eq!(**read.into_buffer().unwrap(), *b"hello");
    /// })?;
    /// event_loop.run()?;
    /// let reader = event_loop.release(reader)?; // an OwnedFd again
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The descriptor, and [`LoopError::Full`] when [`OPERATIONS_MAX`](crate::OPERATIONS_MAX) are adopted, or
    /// [`LoopError::Forked`].
    pub fn adopt(&mut self, fd: impl Into<OwnedFd>) -> Result<File, RefusedFd> {
        self.adopt_fd(from_std(fd.into()))
            .map_err(|RefusedFd { error, fd }| RefusedFd {
                error,
                fd: fd.into_owned_fd(),
            })
    }

    /// Gives an adopted descriptor back. The handle is stale from here on.
    ///
    /// # Errors
    /// [`LoopError::Busy`] while an operation on it has not settled; [`LoopError::Stale`]; [`LoopError::Forked`].
    pub fn release(&mut self, file: File) -> Result<OwnedFd, Error> {
        self.release_fd(file).map(IntoOwnedFd::into_owned_fd)
    }

    /// An adopted descriptor, to set options on it; `None` if the handle is stale.
    pub fn fd(&self, file: File) -> Option<BorrowedFd<'_>> {
        self.descriptor(file).map(|fd| as_std(fd.borrow()))
    }
}
