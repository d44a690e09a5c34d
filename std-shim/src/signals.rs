//! Signals and processes of a loop.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::{ProcessWatch, Subscription};
use linux_event_core::pid::ExitStatus;
use linux_event_core::signal::{Signal, SignalSet};

use crate::callbacks::{ExitCallback, Slot};
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;

/// A signal came (S-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalEvent {
    /// Which subscription hears of it.
    pub subscription: Subscription,
    /// Which signal.
    pub signal: Signal,
    /// How often, at least: the kernel merges what it can't queue (S-3).
    pub count: u32,
}

/// A process ended (C-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Which watch; its handle is stale already.
    pub process: ProcessWatch,
    /// The process.
    pub pid: i32,
    /// How it ended; `Ok(None)` where that can't be known; ECHILD where it was to be reaped and is no child.
    pub status: Result<Option<ExitStatus>, Errno>,
}

/// What names signals: a [`Signal`], a [`SignalSet`], a number, a name (`"INT"`, `"SIGINT"`, `"RTMIN+3"`), or a list
/// of any of these.
pub trait Signals {
    /// The set; `None` if a name or number is none of a signal.
    fn to_set(&self) -> Option<SignalSet>;
}

impl Signals for Signal {
    fn to_set(&self) -> Option<SignalSet> {
        Some(SignalSet::from(*self))
    }
}

impl Signals for SignalSet {
    fn to_set(&self) -> Option<SignalSet> {
        Some(*self)
    }
}

impl Signals for i32 {
    fn to_set(&self) -> Option<SignalSet> {
        Signal::from_raw(*self).map(SignalSet::from)
    }
}

impl Signals for str {
    fn to_set(&self) -> Option<SignalSet> {
        Signal::from_name(self).map(SignalSet::from)
    }
}

impl<T: Signals> Signals for [T] {
    fn to_set(&self) -> Option<SignalSet> {
        self.iter()
            .try_fold(SignalSet::EMPTY, |set, one| Some(set.union(one.to_set()?)))
    }
}

impl<T: Signals, const N: usize> Signals for [T; N] {
    fn to_set(&self) -> Option<SignalSet> {
        self[..].to_set()
    }
}

impl<T: Signals + ?Sized> Signals for &T {
    fn to_set(&self) -> Option<SignalSet> {
        T::to_set(self)
    }
}

impl<M: Model, S> Loop<M, S> {
    /// Calls `callback` for each of `signals` that comes, through signalfd (S-1): once a signal and turn, in numeric
    /// order. Several subscriptions of one signal all hear of it; each is cancelled alone (S-2).
    ///
    /// **Subscribe before you start threads.** The signals are blocked for the calling thread, and for the threads
    /// that it starts from then on. A thread that was there before does not block them: what arrives there has its
    /// default action, which for most is the end of the process (S-3). Let one loop of a thread have a signal: of two,
    /// each would hear of a part, and the first to go would unblock it for both. Children inherit the mask too: unblock it in
    /// them.
    ///
    /// ```
    /// use linux_event::{Loop, Signal};
    /// let mut event_loop = Loop::reactor()?;
    /// event_loop.signal(["INT", "SIGTERM"], |event_loop, event| {
    ///     assert!(event.signal == Signal::INT || event.signal == Signal::TERM);
    ///     event_loop.stop();
    /// })?;
    /// # Ok::<(), linux_event::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`LoopError::Invalid`] for what is no signal, for an empty set, and for KILL and STOP; [`LoopError::Full`];
    /// [`LoopError::Unsupported`] and [`LoopError::Denied`] where there is no signalfd; [`LoopError::Forked`].
    pub fn signal<R: Outcome>(
        &mut self,
        signals: impl Signals,
        mut callback: impl FnMut(&mut Self, SignalEvent) -> R + 'static,
    ) -> Result<Subscription, Error> {
        let set = signals
            .to_set()
            .ok_or(LoopError::Invalid("there is no such signal"))?;
        let subscription = self.model.signal(set)?;
        let slot = Slot::Signal {
            subscription,
            callback: Some(Box::new(move |this, event| {
                callback(this, event).into_result()
            })),
        };
        drop(self.callbacks.fill(subscription.index(), slot));
        Ok(subscription)
    }

    pub(crate) fn dispatch_signal(&mut self, event: SignalEvent) -> Result<(), BoxError> {
        let subscription = event.subscription;
        let Some(mut callback) = self.callbacks.signal(subscription).and_then(Option::take) else {
            return Ok(());
        };
        self.current = Some(subscription.handle());
        let called = callback(self, event);
        self.current = None;
        if self.model.contains(subscription.handle()) {
            if let Some(slot) = self.callbacks.signal(subscription) {
                *slot = Some(callback);
            }
        } else {
            // Cancelled before, and this was what had arrived by then.
            drop(self.callbacks.vacate(subscription.handle()));
        }
        called
    }

    /// Calls `callback` once when the child `pid` has ended, and reaps it (C-1).
    ///
    /// It goes by a pidfd, so the number can't come to mean another process. Don't wait for the child elsewhere.
    ///
    /// # Errors
    /// [`LoopError::Os`] with ESRCH if there is no such process; [`LoopError::Unsupported`] before Linux 5.3;
    /// [`LoopError::Full`]; [`LoopError::Forked`]. That it is no child shows in the event.
    #[doc(alias = "pidfd_open")]
    pub fn pid<R: Outcome>(
        &mut self,
        pid: u32,
        callback: impl FnOnce(&mut Self, Exit) -> R + 'static,
    ) -> Result<ProcessWatch, Error> {
        self.watch_process(pid, true, callback)
    }

    /// As [`pid`](Self::pid), without reaping: for processes that somebody else waits for, children or not. How one
    /// that is not a child ended is known from Linux 6.15 on.
    ///
    /// # Errors
    /// As [`pid`](Self::pid).
    pub fn pid_unreaped<R: Outcome>(
        &mut self,
        pid: u32,
        callback: impl FnOnce(&mut Self, Exit) -> R + 'static,
    ) -> Result<ProcessWatch, Error> {
        self.watch_process(pid, false, callback)
    }

    fn watch_process<R: Outcome>(
        &mut self,
        pid: u32,
        reap: bool,
        callback: impl FnOnce(&mut Self, Exit) -> R + 'static,
    ) -> Result<ProcessWatch, Error> {
        let pid = i32::try_from(pid).map_err(|_| LoopError::Invalid("there is no such pid"))?;
        let process = self.model.process(pid, reap)?;
        let callback: ExitCallback<M, S> =
            Box::new(move |this, exit| callback(this, exit).into_result());
        drop(
            self.callbacks
                .fill(process.index(), Slot::Process { process, callback }),
        );
        Ok(process)
    }

    pub(crate) fn dispatch_exit(&mut self, exit: Exit) -> Result<(), BoxError> {
        match self.callbacks.vacate(exit.process.handle()) {
            Slot::Process { callback, .. } => callback(self, exit),
            _ => Ok(()),
        }
    }
}
