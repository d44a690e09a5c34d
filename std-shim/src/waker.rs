//! Waking a loop, and stopping it, from other threads.
//!
//! **What.** [`Waker`] is `Send`, `Sync` and cheap to clone; it ends the loop's wait (rules W-1, W-2). While one is
//! held outside the loop, the loop runs on: it may still be woken.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use linux_event_core::wakeup::Wakeup;

/// What a loop shares with its wakers.
#[derive(Debug, Default)]
struct Common {
    wakeup: Wakeup,
    /// Wakes by the user, apart from those that mail needs.
    wakes: AtomicU64,
    /// Wakers outside the loop. Counted apart from the references, so that the last to go can say so afterwards.
    wakers: AtomicUsize,
    stop: AtomicBool,
    closed: AtomicBool,
}

/// How a backend holds the loop's wakeup.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Common>);

impl Shared {
    /// A waker, counted.
    pub(crate) fn waker(&self) -> Waker {
        self.0.wakers.fetch_add(1, Ordering::Relaxed);
        Waker(self.clone())
    }

    /// Whether there is a reason to run on: a waker that somebody holds, if those count, or a wake nobody has seen.
    ///
    /// In this order: whoever wakes and then goes has woken before it was gone.
    pub(crate) fn keeps_running(&self, wakers_count: bool) -> bool {
        (wakers_count && self.0.wakers.load(Ordering::Acquire) > 0) || self.pending() > 0
    }

    /// A wake that the user's callback hears of.
    #[inline]
    pub(crate) fn wake_for_user(&self) {
        self.0.wakes.fetch_add(1, Ordering::Release);
        self.wake();
    }

    /// How often the user woke since the last call.
    pub(crate) fn take_wakes(&self) -> u64 {
        self.0.wakes.swap(0, Ordering::AcqRel)
    }

    /// Whether a waker asked the loop to stop, which this forgets.
    pub(crate) fn take_stop(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed) && self.0.stop.swap(false, Ordering::AcqRel)
    }

    /// What tells wakers that the loop is gone, by being dropped.
    pub(crate) fn closing(&self) -> Closing {
        Closing(self.clone())
    }
}

/// Held by the loop: see [`Shared::closing`].
#[derive(Debug)]
pub(crate) struct Closing(Shared);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.0.closed.store(true, Ordering::Release);
    }
}

impl Deref for Shared {
    type Target = Wakeup;
    fn deref(&self) -> &Wakeup {
        &self.0.wakeup
    }
}

/// Wakes a loop: from any thread, and from a signal handler.
///
/// ```
/// use linux_event::Loop;
///
/// let mut event_loop = Loop::reactor()?;
/// let waker = event_loop.waker()?;
/// event_loop.on_wake(|event_loop, count| {
///     assert!(count >= 1);
///     event_loop.stop();
/// });
/// let thread = std::thread::spawn(move || waker.wake());
/// event_loop.run()?;
/// # thread.join().unwrap();
/// # Ok::<(), linux_event::Error>(())
/// ```
pub struct Waker(Shared);

impl Waker {
    /// Ends the loop's wait, or the next one if it is not waiting. Once the loop is gone it does nothing.
    #[inline]
    pub fn wake(&self) {
        self.0.wake_for_user();
    }

    /// Ends the loop's wait for a reason of the crate's own: no callback of the user's hears of it.
    pub(crate) fn wake_for_mail(&self) {
        self.0.wake();
    }

    /// Ends the loop's wait and makes its `run` return.
    pub fn stop(&self) {
        self.0.0.stop.store(true, Ordering::Release);
        self.0.wake();
    }

    /// Whether the loop is gone.
    pub fn is_closed(&self) -> bool {
        self.0.0.closed.load(Ordering::Acquire)
    }
}

impl Clone for Waker {
    fn clone(&self) -> Self {
        self.0.waker()
    }
}

impl Drop for Waker {
    /// The last one lets the loop find that nobody can wake it any more.
    fn drop(&mut self) {
        if self.0.0.wakers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.nudge();
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
