//! Memory that stays where it is: mapped by the kernel, or lent for ever by the program.
//!
//! **Invariants.** *INV-REGION-1*: `start` and `length` are those of a mapping that this is the one owner of, or of
//! `'static` memory that nobody else reaches.
//!
//! **Why this shape.** What a kernel writes to may outlive the loop; [`Region::leak`] is the one way to say so.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::errno::Errno;
use crate::sys::{BorrowedFd, Kernel};

/// A stretch of memory. Dropping one that was mapped unmaps it.
#[derive(Debug)]
pub(super) struct Region<K: Kernel> {
    start: NonNull<u8>,
    length: usize,
    /// `None` for memory of the program's.
    kernel: Option<K>,
}

impl<K: Kernel> Region<K> {
    /// Fresh zeroes.
    pub(super) fn anonymous(kernel: &K, length: usize) -> Result<Self, Errno> {
        let start = kernel.map_anonymous(length)?;
        Ok(Self {
            start,
            length,
            kernel: Some(kernel.clone()),
        })
    }

    /// A part of a ring, which a forked child will not have (G-1).
    pub(super) fn ring(
        kernel: &K,
        ring: BorrowedFd<'_>,
        offset: u64,
        length: usize,
    ) -> Result<Self, Errno> {
        let start = kernel.map_ring(ring, offset, length)?;
        // SAFETY: INV-REGION-1: fresh; the child is told from its parent before any of it is touched.
        unsafe { kernel.dont_fork(start, length) };
        Ok(Self {
            start,
            length,
            kernel: Some(kernel.clone()),
        })
    }

    /// Memory of the program's, never unmapped.
    ///
    /// # Safety
    /// INV-REGION-1: it is `'static`, and whoever had it has given it up.
    pub(super) unsafe fn lent(start: NonNull<u8>, length: usize) -> Self {
        Self {
            start,
            length,
            kernel: None,
        }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Gives the memory up for good: it stays mapped.
    pub(super) fn leak(self) {
        let mut this = ManuallyDrop::new(self);
        drop(this.kernel.take());
    }
}

impl<K: Kernel> Drop for Region<K> {
    fn drop(&mut self) {
        if let Some(kernel) = &self.kernel {
            // SAFETY: INV-REGION-1: the one owner ends here.
            unsafe { kernel.unmap(self.start, self.length) };
        }
    }
}
