//! Waking a loop from another thread or from a signal handler.
//!
//! **What.** A [`Wakeup`] is a count and an eventfd (`eventfd(2)`). [`Wakeup::wake`] adds to the count and, if it was
//! zero, writes to the eventfd, which ends the loop's wait; the loop takes the count as one event. Rules W-1 and W-2.
//!
//! **Invariants.** *INV-WAKE-1*: whoever raises the count from zero writes, after raising it; the loop takes the
//! count after it saw the write. So a count above zero is either about to be seen or has a write under way: no wake
//! is lost. *INV-WAKE-2*: the eventfd stays open for as long as the `Wakeup` lives, whatever becomes of the loop. *INV-WAKE-3*: a
//! forked child neither writes to it nor reads it: who watches it is the parent (G-1).
//!
//! **Why this shape.** The eventfd is watched edge-triggered and never read: each write is an edge, and one system
//! call a wake is saved. Its 64-bit counter takes 5 centuries to fill at a write a nanosecond.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::sys::fd::FdOnce;
use crate::sys::{AsRawFd, BorrowedFd, Kernel, Linux, RawFd};

/// A count that ends a loop's wait. `Send` and `Sync`; waking is async-signal-safe and allocates nothing.
///
/// ```
/// use linux_event_core::reactor::{Epoll, Event, Reactor};
/// use linux_event_core::wakeup::Wakeup;
///
/// static WAKEUP: Wakeup = Wakeup::new();
///
/// let mut epoll = Epoll::new()?;
/// epoll.attach(&WAKEUP)?;
/// let mut reactor: Reactor<(), 4, 4> = Reactor::new(epoll);
/// WAKEUP.wake(); // from any thread
/// WAKEUP.wake();
/// reactor.wait(None)?;
/// assert_eq!(reactor.next(), Some(Event::Wakeup { count: 2 }));
/// # Ok::<(), linux_event_core::error::Error>(())
/// ```
pub struct Wakeup<K: Kernel = Linux> {
    count: AtomicU64,
    eventfd: FdOnce<K>,
}

impl Wakeup {
    /// A wakeup that no loop has yet. Wakes are counted, and seen once a loop takes it.
    pub const fn new() -> Self {
        Self::with_kernel(Linux)
    }
}

impl Default for Wakeup {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kernel> Wakeup<K> {
    /// A wakeup whose eventfd comes from `kernel`.
    pub const fn with_kernel(kernel: K) -> Self {
        Self {
            count: AtomicU64::new(0),
            eventfd: FdOnce::new(kernel),
        }
    }

    /// Ends the loop's wait, or the next one if it is not waiting. Does nothing once the loop is gone.
    #[inline]
    pub fn wake(&self) {
        self.wake_by(1);
    }

    /// As [`wake`](Self::wake), counting `count` at once; 0 does nothing.
    pub fn wake_by(&self, count: u32) {
        if count == 0 {
            return;
        }
        // INV-WAKE-1. Sequentially consistent, because `open` looks at the two words in the other order.
        if self.count.fetch_add(u64::from(count), Ordering::SeqCst) == 0
            && let Some(eventfd) = self.eventfd.get()
        {
            self.signal(eventfd);
        }
    }

    /// Ends the loop's wait without counting: it looks around, and yields no event for it.
    pub fn nudge(&self) {
        if let Some(eventfd) = self.eventfd.get() {
            self.signal(eventfd);
        }
    }

    /// Takes the count, leaving zero.
    #[inline]
    pub fn take(&self) -> u64 {
        self.count.swap(0, Ordering::SeqCst)
    }

    /// How many wakes nobody has taken.
    #[inline]
    pub fn pending(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The eventfd, opened if it was not. What was counted before makes it readable.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM; ECHILD in a forked child, if the parent has opened it: that one needs a wakeup of its own.
    pub fn open(&self) -> Result<BorrowedFd<'_>, Errno> {
        let eventfd = self.eventfd.get_or_open(Kernel::eventfd)?;
        if self.pending() > 0 {
            self.signal(eventfd);
        }
        Ok(eventfd)
    }

    /// The number of the eventfd, for a loop of this process to watch.
    pub(crate) fn for_loop(&self) -> Result<RawFd, Error> {
        match self.open() {
            Ok(eventfd) => Ok(eventfd.as_raw_fd()),
            Err(Errno::ECHILD) => Err(Error::Forked), // it is the parent's
            Err(errno) => Err(Error::from_call(Call::Eventfd, errno)),
        }
    }

    fn signal(&self, eventfd: BorrowedFd<'_>) {
        let kernel = self.eventfd.kernel();
        let one = 1u64.to_ne_bytes();
        // The one error that can be is EAGAIN, of a full counter. It is readable, but that is no edge: empty it.
        if kernel.write(eventfd, &one) == Err(Errno::EAGAIN) {
            let _ = kernel.read(eventfd, &mut [0; 8]);
            let _ = kernel.write(eventfd, &one);
        }
    }
}

impl<K: Kernel> core::fmt::Debug for Wakeup<K> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Wakeup")
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// The right to wake, to give away: a borrowed [`Wakeup`], with nothing but waking.
#[derive(Clone, Copy, Debug)]
pub struct Waker<'wakeup, K: Kernel = Linux>(&'wakeup Wakeup<K>);

impl<'wakeup, K: Kernel> Waker<'wakeup, K> {
    /// A waker of `wakeup`.
    pub const fn new(wakeup: &'wakeup Wakeup<K>) -> Self {
        Self(wakeup)
    }

    /// See [`Wakeup::wake`].
    pub fn wake(self) {
        self.0.wake();
    }
}
