//! Memory and descriptors that a loop registers with its backend: provided buffers, registered buffers, registered slots.

#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "what was refused comes back as it went, off the hot path"
)]

use linux_event_core::handle::File;
use linux_event_core::proactor::{FixedBuffer, FixedFile, Group, Vectors};

use super::submit::RefusedVectors;
use super::{Proactor, ProactorBackend};
use crate::buffer::Buffer;
use crate::error::Error;
use crate::event_loop::Loop;

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// Makes a group of `count` provided buffers (a power of two, 1 to 32,768) of `size` bytes, for
    /// [`recv_multi`](Self::recv_multi). Each comes with a completion as a lease, and goes back when that is dropped (P-16).
    ///
    /// # Errors
    /// [`LoopError::Invalid`](crate::LoopError::Invalid) for a count or size that is out of range;
    /// [`LoopError::UnsupportedOperation`](crate::LoopError::UnsupportedOperation) before Linux 5.19;
    /// [`LoopError::Full`](crate::LoopError::Full); [`LoopError::Os`](crate::LoopError::Os);
    /// [`LoopError::Forked`](crate::LoopError::Forked).
    #[doc(alias = "IORING_REGISTER_PBUF_RING")]
    pub fn provide(&mut self, count: u16, size: u32) -> Result<Group, Error> {
        Ok(self.model.core.provide(count, size)?)
    }

    /// Ends a group of provided buffers. Its memory goes when the last lease is back.
    ///
    /// # Errors
    /// [`LoopError::Busy`](crate::LoopError::Busy) while an operation uses it; [`LoopError::Stale`](crate::LoopError::Stale)
    /// if there is none; [`LoopError::Forked`](crate::LoopError::Forked).
    pub fn withdraw(&mut self, group: Group) -> Result<(), Error> {
        Ok(self.model.core.withdraw(group)?)
    }

    /// Makes a table of `count` registered slots for descriptors, all empty. The kernel finds a file by its slot faster than
    /// by its number.
    ///
    /// # Errors
    /// [`LoopError::Invalid`](crate::LoopError::Invalid) if there is one already; [`LoopError::Os`](crate::LoopError::Os);
    /// [`LoopError::Forked`](crate::LoopError::Forked).
    #[doc(alias = "IORING_REGISTER_FILES")]
    pub fn register_files(&mut self, count: u32) -> Result<(), Error> {
        Ok(self.model.core.register_files(count)?)
    }

    /// Puts an adopted descriptor into a registered slot as well, which keeps the file open for itself.
    ///
    /// # Errors
    /// [`LoopError::Stale`](crate::LoopError::Stale); [`LoopError::Full`](crate::LoopError::Full) when every slot is taken;
    /// [`LoopError::Os`](crate::LoopError::Os); [`LoopError::Forked`](crate::LoopError::Forked).
    pub fn install(&mut self, file: File) -> Result<FixedFile, Error> {
        Ok(self.model.core.install(file)?)
    }

    /// Empties a registered slot. What is in flight on it goes on.
    ///
    /// # Errors
    /// [`LoopError::Stale`](crate::LoopError::Stale) if it is empty; [`LoopError::Os`](crate::LoopError::Os);
    /// [`LoopError::Forked`](crate::LoopError::Forked).
    pub fn uninstall(&mut self, slot: FixedFile) -> Result<(), Error> {
        Ok(self.model.core.uninstall(slot)?)
    }

    /// Registers buffers, which the loop owns from here on: the first is `FixedBuffer::new(0)`, and so on. The kernel keeps
    /// their pages at hand, and locks them into memory.
    ///
    /// # Errors
    /// Why, and the buffers: [`LoopError::Invalid`](crate::LoopError::Invalid) if some are registered already;
    /// [`LoopError::Os`](crate::LoopError::Os); [`LoopError::Forked`](crate::LoopError::Forked).
    #[doc(alias = "IORING_REGISTER_BUFFERS")]
    pub fn register_buffers(&mut self, buffers: Vectors<Buffer>) -> Result<(), RefusedVectors> {
        let registered = self.model.core.register_buffers(buffers);
        registered.map_err(|(error, buffers)| RefusedVectors { error, buffers })
    }

    /// The content of a registered buffer.
    ///
    /// # Errors
    /// [`LoopError::Busy`](crate::LoopError::Busy) while an operation uses it; [`LoopError::Stale`](crate::LoopError::Stale)
    /// if there is none; [`LoopError::Forked`](crate::LoopError::Forked).
    pub fn fixed(&mut self, buffer: FixedBuffer) -> Result<&mut [u8], Error> {
        Ok(self.model.core.fixed(buffer)?)
    }

    /// Unregisters the buffers and gives them back.
    ///
    /// # Errors
    /// [`LoopError::Busy`](crate::LoopError::Busy) while an operation uses one; [`LoopError::Os`](crate::LoopError::Os);
    /// [`LoopError::Forked`](crate::LoopError::Forked).
    pub fn unregister_buffers(&mut self) -> Result<Vectors<Buffer>, Error> {
        Ok(self.model.core.unregister_buffers()?)
    }
}
