//! A timer that is a file descriptor (`timerfd_create(2)`).
//!
//! **What.** [`TimerFd`] becomes readable when its time has come. The loops keep their own timers without a
//! descriptor each; this one is for handing a timer to something that knows only descriptors.

#![forbid(unsafe_code)]

use core::time::Duration;

use crate::clock::{Instant, duration_nanos};
use crate::errno::Errno;
use crate::sys::{AsRawFd, Fd, Kernel, Linux, RawFd};

/// A timer of `CLOCK_MONOTONIC` behind a descriptor, close-on-exec and non-blocking.
///
/// ```
/// use core::time::Duration;
/// use linux_event_core::sys::{Kernel, Linux};
/// use linux_event_core::timerfd::TimerFd;
///
/// let timer = TimerFd::new()?;
/// assert_eq!(timer.read()?, 0);
/// timer.set_at(Linux.monotonic(), Duration::ZERO)?; // at once
/// assert_eq!(timer.read()?, 1);
/// # Ok::<(), linux_event_core::errno::Errno>(())
/// ```
#[derive(Debug)]
pub struct TimerFd<K: Kernel = Linux>(Fd<K>);

impl TimerFd {
    /// A timer that is not set.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Self, Errno> {
        Self::with_kernel(&Linux)
    }
}

impl<K: Kernel> TimerFd<K> {
    /// A timer of `kernel` that is not set.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn with_kernel(kernel: &K) -> Result<Self, Errno> {
        kernel.timerfd_create().map(Self)
    }

    /// Sets the timer to `deadline`, and from then on to every `period`; a period of zero is once.
    ///
    /// # Errors
    /// None that a valid descriptor gives.
    pub fn set_at(&self, deadline: Instant, period: Duration) -> Result<(), Errno> {
        self.0
            .kernel()
            .timerfd_settime(self.0.borrow(), Some(deadline), duration_nanos(period))
    }

    /// Sets the timer to `delay` from now, and from then on to every `period`; a period of zero is once.
    ///
    /// # Errors
    /// None that a valid descriptor gives.
    pub fn set_after(&self, delay: Duration, period: Duration) -> Result<(), Errno> {
        self.set_at(self.0.kernel().monotonic() + delay, period)
    }

    /// Stops the timer.
    ///
    /// # Errors
    /// None that a valid descriptor gives.
    pub fn disarm(&self) -> Result<(), Errno> {
        self.0.kernel().timerfd_settime(self.0.borrow(), None, 0)
    }

    /// How often the timer expired since it was set or last read; 0 if it did not.
    ///
    /// # Errors
    /// EINTR cannot be, for the descriptor does not block; what else `read(2)` says.
    pub fn read(&self) -> Result<u64, Errno> {
        let mut expirations = [0; 8];
        match self.0.read(&mut expirations) {
            Ok(_) => Ok(u64::from_ne_bytes(expirations)),
            Err(Errno::EAGAIN) => Ok(0),
            Err(errno) => Err(errno),
        }
    }
}

impl<K: Kernel> AsRawFd for TimerFd<K> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
