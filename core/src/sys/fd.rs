//! File descriptors: owned and borrowed.
//!
//! **What.** [`Fd`] owns a descriptor and closes it through the kernel that it came from; [`BorrowedFd`] is one that
//! somebody else keeps open. They are to this crate what `OwnedFd` and `BorrowedFd` are to `std`, which a
//! `no_std` crate can't name.
//!
//! **Invariants.** INV-SYS-2 of the [parent](super): one owner, one close.
//!
//! **Why this shape.** Carrying the kernel in the owner (nothing, for [`Linux`]) lets a simulated kernel take back
//! its own descriptors.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::{Kernel, Linux};
use crate::errno::Errno;

/// A file descriptor's number, as the kernel counts them.
pub type RawFd = i32;

/// What has a descriptor number. Naming a number gives no right to use it: only to ask a reactor to watch it.
pub trait AsRawFd {
    /// The number.
    fn as_raw_fd(&self) -> RawFd;
}

impl AsRawFd for RawFd {
    #[inline(always)]
    fn as_raw_fd(&self) -> RawFd {
        *self
    }
}

impl<T: AsRawFd + ?Sized> AsRawFd for &T {
    #[inline(always)]
    fn as_raw_fd(&self) -> RawFd {
        T::as_raw_fd(self)
    }
}

/// A descriptor that stays open for as long as `'fd`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct BorrowedFd<'fd> {
    raw: RawFd,
    open: PhantomData<&'fd ()>,
}

impl BorrowedFd<'static> {
    /// Standard output, which a process is started with. Whoever closes it has to see to what else uses it.
    pub const STDOUT: Self = Self {
        raw: 1,
        open: PhantomData,
    };
    /// Standard error, likewise.
    pub const STDERR: Self = Self {
        raw: 2,
        open: PhantomData,
    };
}

impl BorrowedFd<'_> {
    /// Vouches for a number.
    ///
    /// # Safety
    /// `raw` must stay open, and belong to somebody who lets the caller use it, for as long as the result lives.
    #[inline(always)]
    pub const unsafe fn borrow_raw(raw: RawFd) -> Self {
        Self {
            raw,
            open: PhantomData,
        }
    }
}

impl AsRawFd for BorrowedFd<'_> {
    #[inline(always)]
    fn as_raw_fd(&self) -> RawFd {
        self.raw
    }
}

impl fmt::Debug for BorrowedFd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BorrowedFd({})", self.raw)
    }
}

/// An owned descriptor: dropping it closes it, through the kernel that it came from.
///
/// ```
/// use linux_event_core::sys::{Kernel, Linux};
/// let eventfd = Linux.eventfd()?;
/// Linux.write(eventfd.borrow(), &1u64.to_ne_bytes())?;
/// let mut count = [0; 8];
/// assert_eq!(eventfd.read(&mut count)?, 8);
/// assert_eq!(u64::from_ne_bytes(count), 1);
/// # Ok::<(), linux_event_core::errno::Errno>(())
/// ```
pub struct Fd<K: Kernel = Linux> {
    raw: RawFd,
    kernel: K,
}

impl<K: Kernel> Fd<K> {
    /// Takes ownership of a number.
    ///
    /// # Safety
    /// `raw` must be open in `kernel` and owned by nobody else: it will be closed.
    #[inline(always)]
    pub const unsafe fn from_raw(kernel: K, raw: RawFd) -> Self {
        Self { raw, kernel }
    }

    /// Gives up ownership: the number is the caller's to close.
    #[inline]
    pub fn into_raw(self) -> RawFd {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped or used again, so the kernel value is moved out exactly once.
        drop(unsafe { core::ptr::read(&raw const this.kernel) });
        this.raw
    }

    /// The descriptor, borrowed.
    #[inline(always)]
    pub const fn borrow(&self) -> BorrowedFd<'_> {
        BorrowedFd {
            raw: self.raw,
            open: PhantomData,
        }
    }

    /// Reads into `buffer` and returns how many bytes came; 0 is the end of the file (`read(2)`).
    ///
    /// # Errors
    /// What `read(2)` says: EAGAIN when nothing is there and the descriptor is non-blocking, EINTR when a signal
    /// handler ran first, and so on.
    #[inline(always)]
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.kernel.read(self.borrow(), buffer)
    }

    /// Writes from `buffer` and returns how many bytes went (`write(2)`). A socket or pipe whose reader is gone
    /// raises SIGPIPE; [`Sockets::send`](super::Sockets::send) does not.
    ///
    /// # Errors
    /// What `write(2)` says.
    #[inline(always)]
    pub fn write(&self, buffer: &[u8]) -> Result<usize, Errno> {
        self.kernel.write(self.borrow(), buffer)
    }

    /// The kernel that the descriptor belongs to.
    #[inline]
    pub fn kernel(&self) -> &K {
        &self.kernel
    }
}

impl<K: Kernel> AsRawFd for Fd<K> {
    #[inline(always)]
    fn as_raw_fd(&self) -> RawFd {
        self.raw
    }
}

impl<K: Kernel> Drop for Fd<K> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: INV-SYS-2: this is the one owner, and it ends here.
        unsafe { self.kernel.close(self.raw) }
    }
}

impl<K: Kernel> fmt::Debug for Fd<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fd({})", self.raw)
    }
}

/// A place for a descriptor that is opened once and then shared: closed when the place is dropped. In a forked child it is the
/// parent's, and not to be had (G-1).
pub(crate) struct FdOnce<K: Kernel> {
    /// −1 until opened.
    raw: AtomicI32,
    /// Which process opens it; set before `raw` is.
    epoch: AtomicU64,
    kernel: K,
}

impl<K: Kernel> FdOnce<K> {
    pub(crate) const fn new(kernel: K) -> Self {
        Self {
            raw: AtomicI32::new(-1),
            epoch: AtomicU64::new(0),
            kernel,
        }
    }

    /// The kernel that the descriptor belongs to.
    #[inline(always)]
    pub(crate) fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The descriptor, if this process has opened it.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        let raw = self.raw.load(Ordering::SeqCst);
        if raw < 0 || !self.kernel.is_process(self.epoch.load(Ordering::Relaxed)) {
            return None;
        }
        // SAFETY: INV-SYS-2: once set, the number is owned by `self` and closed by its drop only.
        Some(unsafe { BorrowedFd::borrow_raw(raw) })
    }

    /// The descriptor, which `open` opens if nobody did before. ECHILD if a parent of this process has.
    pub(crate) fn get_or_open(
        &self,
        open: impl FnOnce(&K) -> Result<Fd<K>, Errno>,
    ) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(fd) = self.get() {
            return Ok(fd);
        }
        if self.raw.load(Ordering::SeqCst) >= 0 {
            return self.get().ok_or(Errno::ECHILD); // unless another thread was faster
        }
        // A parent may have tried, without success. Whoever else opens it now is of this process, and says the same.
        self.epoch
            .store(self.kernel.process_epoch(), Ordering::Relaxed);
        let fresh = open(&self.kernel)?;
        // Whoever comes second closes what it opened by dropping it.
        if self
            .raw
            .compare_exchange(-1, fresh.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            let _ = fresh.into_raw();
        }
        self.get().ok_or(Errno::EBADF)
    }
}

impl<K: Kernel> Drop for FdOnce<K> {
    fn drop(&mut self) {
        let raw = *self.raw.get_mut();
        if raw >= 0 {
            // SAFETY: INV-SYS-2: `self` owns the number, and it ends here.
            unsafe { self.kernel.close(raw) }
        }
    }
}
