//! [`Loop`]: a loop that calls closures.
//!
//! **What.** A loop over one [`Model`]: it waits, takes the engine's events, and calls what was registered for them.
//!
//! **Invariants.** *INV-LOOP-1*: `running` is true exactly while a turn is under way, also after a panic. *INV-LOOP-2*:
//! `current` names what is being called; if a callback panics it is cancelled, and everything else stands.
//! *INV-LOOP-3*: nothing fetched is lost: what a stopped turn leaves is kept by the engine, and in `rest`.
//! *INV-LOOP-4*: `kept` is true while `deferred`, `rest`, `wake_due` or the net layer's attention holds anything, so that a turn
//! asks one question.
//!
//! **Why this shape.** The engine yields values; the loop adds closures and nothing else. Callbacks get the loop as
//! `&mut`, and the state that they share is a field of it: no `Rc<RefCell>`.

#![forbid(unsafe_code)]

mod kept;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::{Handle, Op, TimerId, Watcher};
use linux_event_core::reactor::{Event, Other, Ready, Stats};

use crate::callbacks::{Callbacks, Deferred, MailCallback, WakeCallback};
use crate::error::{BoxError, Error, Outcome};
use crate::model::Model;
use crate::net::NetTables;
use crate::process::{Children, Pools};
use crate::signals::{Exit, SignalEvent};
use crate::waker::{Closing, Shared, Waker};

/// An event loop over the model `M`, with a state `S` that callbacks share.
///
/// ```
/// use std::io::Read;
/// use std::time::Duration;
/// use linux_event::Loop;
///
/// let (mut reader, mut writer) = std::io::pipe()?;
/// let mut event_loop = Loop::reactor_with(Vec::new())?; // the state: what was read
///
/// event_loop.after(Duration::from_millis(1), move |_| {
///     std::io::Write::write_all(&mut writer, b"hello") // an error would come out of `run`
/// })?;
/// event_loop.watch(&reader).on_read(move |event_loop, watcher, _| {
///     let mut bytes = [0; 16];
///     let count = reader.read(&mut bytes)?;
///     event_loop.state.extend_from_slice(&bytes[..count]);
///     event_loop.cancel(watcher);
///     std::io::Result::Ok(())
/// }).start()?;
///
/// event_loop.run()?; // returns when nothing is left to wait for
/// assert_eq!(event_loop.state, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A loop over epoll stays on the thread that made it, because signal masks belong to threads (S-3). Others reach it by
/// a [`Waker`] or a [mailbox](Self::mailbox):
///
/// ```
/// let mut event_loop = linux_event::Loop::reactor()?;
/// let waker = event_loop.waker()?;
/// std::thread::spawn(move || waker.wake());
/// # Ok::<(), linux_event::Error>(())
/// ```
///
/// ```compile_fail,E0277
/// let mut event_loop = linux_event::Loop::reactor()?;
/// std::thread::spawn(move || event_loop.run());
/// # Ok::<(), linux_event::Error>(())
/// ```
pub struct Loop<M: Model, S = ()> {
    /// What callbacks share.
    pub state: S,
    /// Tells wakers when the loop goes. Not a `Drop` of the loop, which would keep its state in.
    _closing: Option<Closing>,
    pub(crate) model: M,
    pub(crate) callbacks: Callbacks<M, S>,
    pub(crate) net: NetTables<M, S>,
    deferred: VecDeque<Deferred<M, S>>,
    pub(crate) mail: Vec<Option<MailCallback<M, S>>>,
    pub(crate) on_wake: Option<WakeCallback<M, S>>,
    pub(crate) children: Children<M, S>,
    pub(crate) pools: Pools<M, S>,
    /// Whether wakers that are held outside keep the loop running (R-2).
    pub(crate) wakers_counted: bool,
    /// INV-LOOP-1.
    running: bool,
    stopping: bool,
    /// INV-LOOP-2.
    pub(crate) current: Option<Handle>,
    /// What a stopped callback left of its watcher's event: INV-LOOP-3.
    rest: Option<(Watcher, Ready)>,
    /// A wake was fetched and is not delivered: INV-LOOP-3.
    wake_due: bool,
    /// A wake is being delivered.
    waking: bool,
    /// INV-LOOP-4.
    kept: bool,
    /// The turn that began with what was due of a wake: mail and wakes that come in it are the next turn's.
    wake_turn: u64,
}

impl<M: Model, S> Loop<M, S> {
    pub(crate) fn over(model: M, state: S) -> Self {
        Self {
            state,
            _closing: model.shared().map(Shared::closing),
            model,
            callbacks: Callbacks::new(),
            net: NetTables::new(),
            deferred: VecDeque::new(),
            mail: Vec::new(),
            on_wake: None,
            children: Children::new(),
            pools: Pools::new(),
            wakers_counted: true,
            running: false,
            stopping: false,
            current: None,
            rest: None,
            wake_due: false,
            waking: false,
            kept: false,
            wake_turn: 0,
        }
    }

    /// Runs turns until [`stop`](Self::stop), or until nothing live is left: armed timers, watchers with an interest,
    /// signal subscriptions, processes, deferred calls, and wakers held outside the loop (R-2).
    ///
    /// A `stop` that came before makes it return at once. If a callback panics, what it was called for is cancelled,
    /// and the panic goes on; the loop can be run again.
    ///
    /// # Errors
    /// [`Error::Callback`] with what a callback returned; [`LoopError::Reentrant`] from inside a callback;
    /// [`LoopError::Forked`]; [`LoopError::Os`] if the kernel refuses to wait.
    pub fn run(&mut self) -> Result<(), Error> {
        self.guarded(|this| {
            if this.take_stop() {
                return Ok(());
            }
            while this.is_live() {
                if this.turn(None)? {
                    this.take_stop();
                    break;
                }
            }
            Ok(())
        })
    }

    /// Runs one turn: waits for at most `timeout` (`None`: without limit), then delivers (R-1).
    ///
    /// It does not wait when there is something to deliver already, nor after a [`stop`](Self::stop).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_once(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.guarded(|this| {
            let timeout = if this.take_stop() {
                Some(Duration::ZERO)
            } else {
                timeout
            };
            let done = this.turn(timeout);
            this.take_stop();
            done.map(drop)
        })
    }

    /// Runs turns for `duration`, or until [`run`](Self::run) would return.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Error> {
        let end = self.model.read_clock() + duration;
        self.guarded(|this| {
            while !this.take_stop() && this.is_live() {
                let left = end.since(this.model.read_clock());
                this.turn(Some(left))?;
                if left.is_zero() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Makes `run` return after the callback that is running; before a `run`, makes it return at once.
    ///
    /// Events that were fetched and not delivered are delivered by the next turn.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether a turn is under way, that is, whether this is called from inside a callback.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Whether anything is left that can call a callback (R-2).
    pub fn is_live(&self) -> bool {
        self.model.live() > 0
            || self.has_kept()
            || self
                .model
                .shared()
                .is_some_and(|shared| shared.keeps_running(self.wakers_counted))
    }

    /// The clock as the last wait read it, if timers were armed (T-1).
    pub fn now(&self) -> Instant {
        self.model.now()
    }

    /// The clock, read afresh.
    pub fn read_clock(&self) -> Instant {
        self.model.read_clock()
    }

    /// What the loop has done since it was made (G-3).
    pub fn stats(&self) -> Stats {
        self.model.stats()
    }

    /// Ends a watcher, timer, subscription or process watch: true once, false after. Its callback is dropped, and
    /// events of it that were fetched already are too (R-6, T-7).
    ///
    /// Of an operation it asks for the end: who wins the race decides, and either way the operation settles once and its
    /// callback is called, in a later turn (P-4). True for as long as it has not settled.
    /// [`detach`](Loop::detach) drops its callback.
    ///
    /// Signals are the exception: what had arrived for a subscription when the last one of its signal is cancelled is
    /// delivered once more, in the next turn, before the mask is restored (S-3).
    pub fn cancel(&mut self, handle: impl Into<Handle>) -> bool {
        let handle = handle.into();
        if !self.model.cancel(handle) {
            return false;
        }
        if Op::from_handle(handle).is_some() {
            return true; // it settles, and tells of it
        }
        if let Some(timer) = TimerId::from_handle(handle) {
            drop(self.callbacks.vacate_timer(timer));
        } else if let Some(watcher) = Watcher::from_handle(handle) {
            drop(self.callbacks.vacate_watch(watcher));
        } else if !self.model.contains(handle) {
            drop(self.callbacks.vacate(handle));
        }
        true
    }

    /// Sets whether `handle` keeps [`run`](Self::run) going; at first everything does (R-2). False if it is stale.
    #[doc(alias = "unref")]
    pub fn set_counted(&mut self, handle: impl Into<Handle>, counted: bool) -> bool {
        self.model.set_counted(handle.into(), counted)
    }

    /// Takes `handle` out of what keeps [`run`](Self::run) going. False if it is stale.
    pub fn unref(&mut self, handle: impl Into<Handle>) -> bool {
        self.set_counted(handle, false)
    }

    /// Whether `handle` names something that is still there.
    pub fn contains(&self, handle: impl Into<Handle>) -> bool {
        self.model.contains(handle.into())
    }

    /// Ends the loop and gives its state back.
    pub fn into_state(self) -> S {
        self.state
    }

    /// What is being called: a watcher, a timer, a subscription or an operation; `None` outside callbacks, and in those of deferred
    /// calls, wakes, mail and exits. A periodic timer's callback ends it with `event_loop.cancel(timer)`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use linux_event::Loop;
    ///
    /// let mut event_loop = Loop::reactor_with(0)?;
    /// event_loop.every(Duration::from_micros(100), |event_loop, _| {
    ///     event_loop.state += 1;
    ///     if event_loop.state == 3
    ///         && let Some(timer) = event_loop.current()
    ///     {
    ///         event_loop.cancel(timer);
    ///     }
    /// })?;
    /// event_loop.run()?;
    /// assert_eq!(event_loop.into_state(), 3);
    /// # Ok::<(), linux_event::Error>(())
    /// ```
    pub fn current(&self) -> Option<Handle> {
        self.current
    }

    /// The model underneath.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Runs turns under INV-LOOP-1 and INV-LOOP-2.
    fn guarded(&mut self, turns: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if self.running {
            return Err(LoopError::Reentrant.into());
        }
        if !self.model.is_owner() {
            return Err(LoopError::Forked.into());
        }
        self.running = true;
        // Whatever a callback was doing when it panicked, the tables are whole: callbacks change them by methods that
        // don't panic half-way, and what was being called is cancelled.
        let result = catch_unwind(AssertUnwindSafe(|| turns(self)));
        self.running = false;
        // It was for this run, which has ended, for whatever reason.
        self.stopping = false;
        match result {
            Ok(result) => result,
            Err(panic) => {
                if std::mem::take(&mut self.waking) {
                    self.keep_waking(); // there may be mail and wakes that the panic kept
                }
                if let Some(handle) = self.current.take() {
                    self.cancel(handle);
                }
                if let Some(owner) = self.net.current.take() {
                    M::abort_net(self, owner);
                }
                // An operation that goes on, or was submitted again, has lost its callback.
                if let Some(op) = self.callbacks.ops.end() {
                    self.model.detach(op);
                    self.cancel(op);
                    drop(self.callbacks.ops.vacate(op));
                }
                resume_unwind(panic)
            }
        }
    }

    /// Whether `stop` was called, here or by a waker, which this forgets.
    fn take_stop(&mut self) -> bool {
        let asked = self.model.shared().is_some_and(Shared::take_stop);
        std::mem::take(&mut self.stopping) | asked
    }

    /// Whether the turn is to end here.
    #[inline(always)]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// One turn; true if it was stopped.
    #[inline(always)]
    fn turn(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        if self.kept {
            self.wait_and_deliver_kept(timeout)?;
            if self.stopping {
                return Ok(true);
            }
        } else {
            self.model.wait(timeout)?;
        }
        loop {
            let Some(called) = M::deliver_next(self) else {
                return Ok(false);
            };
            if let Err(error) = called {
                return Err(Error::Callback(error));
            }
            if self.stopping {
                return Ok(true);
            }
        }
    }

    /// Events that take a second look: those that are no descriptor's, errors, hang-ups, oneshots.
    #[inline(never)]
    pub(crate) fn dispatch(&mut self, other: Other) -> Result<(), BoxError> {
        let Some(event) = self.model.next_other(other) else {
            return Ok(());
        };
        match event {
            Event::Ready { watcher, ready, .. } => M::dispatch_ready(self, watcher, ready),
            Event::Timer {
                timer, expirations, ..
            } => self.dispatch_timer(timer, expirations),
            Event::Signal {
                subscription,
                signal,
                count,
                ..
            } => self.dispatch_signal(SignalEvent {
                subscription,
                signal,
                count,
            }),
            Event::Wakeup { .. } if self.wake_turn == self.stats().turns => {
                self.keep_waking();
                Ok(())
            }
            Event::Wakeup { .. } => self.dispatch_wake(),
            Event::Exit {
                process,
                pid,
                status,
                ..
            } => self.dispatch_exit(Exit {
                process,
                pid,
                status,
            }),
            _ => Ok(()),
        }
    }

    /// A waker for other threads and for signal handlers (W-1). While one is held, the loop runs on: drop it, or see
    /// [`set_wakers_counted`](Self::set_wakers_counted).
    ///
    /// # Errors
    /// [`LoopError::Unsupported`] if the backend has no wakeup.
    pub fn waker(&mut self) -> Result<Waker, Error> {
        match self.model.shared() {
            Some(shared) => Ok(shared.waker()),
            None => Err(LoopError::Invalid("this backend has no wakeup").into()),
        }
    }

    /// Sets what is called when a [`Waker`] woke the loop, with the number of wakes since the last call.
    pub fn on_wake<R: Outcome>(&mut self, mut callback: impl FnMut(&mut Self, u64) -> R + 'static) {
        self.on_wake = Some(Box::new(move |this, count| {
            callback(this, count).into_result()
        }));
    }

    /// Sets whether wakers that are held outside keep [`run`](Self::run) going; at first they do (R-2).
    pub fn set_wakers_counted(&mut self, counted: bool) {
        self.wakers_counted = counted;
    }
}

impl<M: Model + fmt::Debug, S> fmt::Debug for Loop<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop")
            .field("model", &self.model)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
