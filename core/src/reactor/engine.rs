//! The engine: turns and delivery.
//!
//! **What.** [`Reactor`] and its turn: [`wait`](Reactor::wait), then [`next`](Reactor::next) until it gives `None`.
//! Watchers are in `watchers`, timers in `timers`, signals and processes in `subscriptions`, what outlives its watcher in
//! `orphans`.
//!
//! **Invariants.** *INV-ENGINE-1*: a report reaches a watcher only if its token is, bit for bit, the watcher's own
//! handle. *INV-ENGINE-2*: `live` is the number of occupants for which `Entry::is_live` holds, and of armed timers that are
//! counted. *INV-ENGINE-3*: a timer
//! made or moved in a turn never has a deadline before that turn's time, so that the due ones of earlier turns come
//! first and the loop over them ends at the first that is new (T-4). *INV-ENGINE-4*: `Pending::ARMED` is set while a timer is armed.
//!
//! **Why this shape.** The path of a plain event is short and inlined into the caller's loop; everything else is in
//! cold functions beside it. A function that returns after a system call costs more than the whole path.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::backend::{self, Backend, Report};
use super::epoll::Epoll;
use super::event::{Event, Stats};
use super::flags::{Mode, Ready};
use super::storage::{State, Storage};
use super::subscriptions::Delivery;
use crate::clock::{Clock, Instant};
use crate::errno::Errno;
use crate::error::Error;
use crate::handle::{Handle, Op, ProcessWatch, Subscription, Tag, TimerId, Watcher};
use crate::signal::SignalCounts;

/// A reactor: watches descriptors, keeps timers, takes signals, wakes and exits, and yields [`Event`]s.
///
/// `D` is what every registration carries and every event brings back: a token, an enum, an index. `W` is how many
/// watchers, subscriptions and processes there can be together, `T` how many timers. `B` is the [`Backend`], `S` holds
/// the [`Storage`]: the storage itself, `&'static mut` of one, or a box.
///
/// ```
/// use core::time::Duration;
/// use linux_event_core::reactor::{Epoll, Event, Interest, Reactor};
/// use linux_event_core::sys::{Kernel, Linux};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Token { Counter, Tick }
///
/// let mut reactor: Reactor<Token, 16, 16> = Reactor::new(Epoll::new()?);
/// let eventfd = Linux.eventfd().unwrap();
/// reactor.watch(&eventfd, Interest::READ, Token::Counter)?;
/// reactor.after(Duration::from_millis(1), Token::Tick)?;
///
/// reactor.wait(None)?; // one system call
/// while let Some(event) = reactor.next() {
///     match event {
///         Event::Ready { data, .. } => assert_eq!(data, Token::Counter),
///         Event::Timer { data, .. } => assert_eq!(data, Token::Tick),
///         other => unreachable!("{other:?}"),
///     }
/// }
/// # Ok::<(), linux_event_core::error::Error>(())
/// ```
// In this order: what every turn touches lies together, in front of the backend, which begins likewise.
#[repr(C)]
pub struct Reactor<
    D,
    const W: usize = 64,
    const T: usize = 64,
    B: Backend = Epoll,
    S = Storage<D, W, T, <B as Backend>::Process>,
> {
    pub(crate) pending: Pending,
    /// INV-ENGINE-2.
    pub(super) live: u32,
    pub(crate) stats: Stats,
    pub(crate) storage: S,
    pub(crate) backend: B,
    pub(super) clock: Clock,
    pub(super) orphans: super::orphans::Orphans,
    pub(super) delivery: Delivery,
    /// What is done about processes, once one is watched: so a program that watches none does not have the code for it.
    pub(super) exits: Option<Exits<D, W, T, B, S>>,
    data: PhantomData<D>,
}

/// What is to be told of a process that ended, or, with the reason, that could not be watched.
pub(super) type Exits<D, const W: usize, const T: usize, B, S> =
    fn(&mut Reactor<D, W, T, B, S>, Handle, Option<Errno>) -> Option<Event<D>>;

bitflags::bitflags! {
    /// What is to be delivered before the batch goes on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Pending: u8 {
        const TIMERS = 1;
        const FAILURES = 2;
        const SIGNALS = 4;
        /// Not for delivery: there is something to do before the wait.
        const PREPARE = 8;
        /// Nor is this: a timer may be armed (INV-ENGINE-4).
        const ARMED = 16;
        const DELIVER = Self::TIMERS.bits() | Self::FAILURES.bits() | Self::SIGNALS.bits();
    }
}

/// What [`Reactor::step`] finds.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Step<D> {
    /// A descriptor is ready, and there is nothing else to say.
    Ready {
        /// Which watcher.
        watcher: Watcher,
        /// For what; never empty.
        ready: Ready,
        /// The watcher's data.
        data: D,
    },
    /// Something else: [`Reactor::next_other`] says what.
    Other(Other),
    /// The turn is over.
    End,
}

/// What [`Reactor::next_other`] goes on with: a report, or `None` if something is due before the batch goes on.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Other(Option<Report>);

impl Other {
    /// What is due before the batch goes on.
    pub(crate) const PENDING: Self = Self(None);

    /// A report that was not found by [`Reactor::step`].
    #[inline(always)]
    pub(crate) const fn of(report: Report) -> Self {
        Self(Some(report))
    }
}

/// A salt for the tables of a proactor.
pub(crate) fn new_salt() -> u64 {
    salt()
}

/// Every loop starts its generations elsewhere, so that the handles of one are stale in another.
static LOOPS: AtomicU64 = AtomicU64::new(1);

/// A salt no other loop of this process has, as far from the others' as 40 bits allow.
fn salt() -> u64 {
    /// 2⁶⁴ divided by the golden ratio: its multiples spread evenly.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    LOOPS.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD) >> 24
}

impl<D: Copy, const W: usize, const T: usize, B: Backend> Reactor<D, W, T, B> {
    /// A reactor over `backend` that holds its own storage.
    ///
    /// With large capacities use [`with_storage`](Self::with_storage): this one is built on the stack.
    pub fn new(backend: B) -> Self {
        Self::over(backend, Storage::new())
    }
}

impl<D, const W: usize, const T: usize, B, S> Reactor<D, W, T, B, S>
where
    D: Copy,
    B: Backend,
    S: BorrowMut<Storage<D, W, T, B::Process>>,
{
    /// A reactor over `backend` whose tables are in `storage`. What an earlier reactor left in it is dropped.
    ///
    /// ```
    /// use linux_event_core::place::Place;
    /// use linux_event_core::reactor::{Epoll, Reactor, Storage};
    ///
    /// static STORAGE: Place<Storage<u32, 4096, 4096>> = Place::new(Storage::new()); // in .bss
    /// let storage = STORAGE.take().expect("taken once");
    /// let reactor: Reactor<u32, 4096, 4096, Epoll, &'static mut Storage<u32, 4096, 4096>> =
    ///     Reactor::with_storage(Epoll::new()?, storage);
    /// # drop(reactor);
    /// # Ok::<(), linux_event_core::error::Error>(())
    /// ```
    pub fn with_storage(backend: B, mut storage: S) -> Self {
        storage.borrow_mut().clear();
        Self::over(backend, storage)
    }

    /// A reactor over `backend` whose tables are in `storage`, which is empty.
    fn over(backend: B, mut storage: S) -> Self {
        let salt = salt();
        storage.borrow_mut().watchers.set_salt(salt);
        storage.borrow_mut().timers.set_salt(salt);
        let mut clock = Clock::new();
        clock.tick(backend.now());
        Self {
            backend,
            storage,
            clock,
            pending: Pending::empty(),
            live: 0,
            orphans: super::orphans::Orphans::NONE,
            stats: Stats::default(),
            delivery: Delivery::new(),
            exits: None,
            data: PhantomData,
        }
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The backend, to change.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// What was done so far (G-3).
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The clock as it was read last: by the last wait, if timers were armed (T-1).
    #[inline]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The clock, read afresh.
    pub fn read_clock(&self) -> Instant {
        self.backend.now()
    }

    /// How many things keep a loop running: armed timers, watchers with an interest, signal subscriptions and
    /// processes, but for those that [`set_counted`](Self::set_counted) took out (R-2).
    pub fn live(&self) -> usize {
        self.live as usize
    }

    /// The first deadline, if a timer is armed.
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        storage.timers.first_deadline()
    }

    /// Begins a turn: flushes changes of interest, waits once, and reads the clock if timers are armed (R-1).
    ///
    /// The wait ends when something is ready, at the first deadline, or after `timeout`; `None` sets no limit, zero
    /// does not wait. Nor does it wait when there is something to deliver already: events of the last turn that
    /// [`next`](Self::next) was not asked for are this turn's.
    ///
    /// # Errors
    /// [`Error::Forked`] in a child of the process that made the reactor; [`Error::Os`] if the kernel refuses to wait.
    #[inline(always)]
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        if !self.backend.is_owner() {
            return Err(Error::Forked);
        }
        self.stats.turns += 1;
        // The usual case first, on its own: nothing to do before the wait, and no timer to look at after it.
        if self.pending.is_empty() && timeout.is_none() {
            if self.backend.has_next() {
                return Ok(());
            }
            self.stats.waits += 1;
            return self.backend.wait(None, None);
        }
        self.prepare_and_wait(timeout)
    }

    #[inline(always)]
    fn prepare_and_wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let timeout = if self.pending.difference(Pending::ARMED).is_empty() {
            timeout
        } else {
            self.prepare_turn(timeout)
        };
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        let deadline = storage.timers.first_deadline();
        if !self.backend.has_next() {
            self.stats.waits += 1;
            self.backend.wait(deadline, timeout)?;
        }
        match deadline {
            Some(first) => {
                if self.clock.tick(self.backend.now()) >= first {
                    self.pending |= Pending::TIMERS;
                }
            }
            None => self.pending -= Pending::ARMED,
        }
        Ok(())
    }

    /// What a turn does before its wait, when there is anything to do.
    #[cold]
    #[inline(never)]
    fn prepare_turn(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        // Which timers are due is found out again after the wait; the backend does not wait past a deadline.
        self.pending -= Pending::PREPARE | Pending::TIMERS;
        if B::SIGNALS {
            self.delivery.begin_turn(&mut self.pending);
        }
        if B::WATCHES {
            self.mend_orphans();
            self.flush();
            self.settle_failures();
        }
        if self.pending.intersects(Pending::DELIVER) {
            Some(Duration::ZERO)
        } else {
            timeout
        }
    }

    /// This turn's number (T-4).
    #[inline(always)]
    pub(super) fn turn(&self) -> u32 {
        self.stats.turns as u32
    }

    /// This batch's number: a token that died in it is no orphan.
    #[inline(always)]
    pub(super) fn batch(&self) -> u32 {
        self.stats.waits as u32
    }

    /// The next event of this turn; `None` ends the turn.
    ///
    /// Whatever a caller does between two calls (cancel, replace, disable, close) holds for the events that follow.
    #[inline(always)]
    #[allow(
        clippy::should_implement_trait,
        reason = "a turn ends, the reactor goes on: it is no iterator"
    )]
    pub fn next(&mut self) -> Option<Event<D>> {
        loop {
            match self.step() {
                Step::Ready {
                    watcher,
                    ready,
                    data,
                } => {
                    return Some(Event::Ready {
                        watcher,
                        ready,
                        data,
                    });
                }
                Step::Other(other) => {
                    if let Some(event) = self.next_other(other) {
                        return Some(event);
                    }
                }
                Step::End => return None,
            }
        }
    }

    /// [`next`](Self::next) in two halves, for layers above: this is the short one, and what it finds stays in
    /// registers. [`Step::Other`] goes on in [`next_other`](Self::next_other).
    #[doc(hidden)]
    #[inline(always)]
    pub fn step(&mut self) -> Step<D> {
        if self.pending.intersects(Pending::DELIVER) {
            return Step::Other(Other(None));
        }
        let Some(report) = self.backend.next() else {
            return Step::End;
        };
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        if let Some((handle, entry)) = storage.watchers.find(report.token) {
            // INV-ENGINE-1. Every bit reported is asked for, and nothing is to be noted: deliver it.
            let asked = Ready::from(entry.interest);
            if report.events != 0
                && report.events & !u32::from(asked.bits()) == 0
                && !entry.mode.contains(Mode::ONESHOT)
                // A child that was forked in the middle of a turn delivers nothing of its parent's batch (G-1).
                && self.backend.is_owner()
            {
                self.stats.events += 1;
                return Step::Ready {
                    // What is reported was asked for, and what asks is a watcher: the others have no interest.
                    watcher: Watcher::assume(handle),
                    ready: Ready::from_bits_retain(report.events as u16),
                    data: entry.data,
                };
            }
        }
        Step::Other(Other(Some(report)))
    }

    /// The event behind a [`Step::Other`]; `None` if there is none, and the turn goes on.
    #[doc(hidden)]
    #[cold]
    #[inline(never)]
    pub fn next_other(&mut self, other: Other) -> Option<Event<D>> {
        let event = if !self.backend.is_owner() {
            None
        } else if let Some(report) = other.0 {
            self.resolve(report)
        } else {
            self.next_pending()
        };
        if event.is_some() {
            self.stats.events += 1;
        } else if other.0.is_none() {
            // Nothing of it is left, or this is a forked child, for which nothing was meant.
            self.pending -= Pending::DELIVER;
        }
        event
    }

    /// An event that is none of the batch's: a timer, a failed registration, a signal.
    fn next_pending(&mut self) -> Option<Event<D>> {
        let timer = self.next_timer();
        if timer.is_some() {
            return timer;
        }
        if B::WATCHES
            && let Some(failure) = self.next_failure()
        {
            return Some(failure);
        }
        if B::SIGNALS { self.next_signal() } else { None }
    }

    /// A report that is not a plain one.
    fn resolve(&mut self, report: Report) -> Option<Event<D>> {
        let handle = Handle::from_raw(report.token)?;
        if handle == backend::WAKEUP {
            match self.backend.take_wakes() {
                0 => None,
                count => Some(Event::Wakeup { count }),
            }
        } else if B::SIGNALS && handle == backend::SIGNAL {
            self.fetch_signals();
            None
        } else if handle == backend::TIMER {
            self.backend.timer_expired();
            None
        } else if handle.is(Tag::Process) {
            self.exits.and_then(|exits| exits(self, handle, None))
        } else if B::WATCHES {
            self.resolve_ready(handle, report.events)
        } else {
            None
        }
    }

    /// Ends a watcher, timer, subscription or process watch: true once, false after (T-7). Its events that were
    /// fetched already are dropped (R-6). The descriptor of a watcher stays open (R-10).
    ///
    /// Signals are the exception, since nothing else would ever tell of them: what had arrived for a subscription
    /// when its last subscriber left is delivered once more, in the next turn, and then the mask is restored (S-3).
    ///
    /// In a forked child it does nothing and returns false (G-1).
    pub fn cancel(&mut self, handle: impl Into<Handle>) -> bool {
        if !self.backend.is_owner() {
            return false;
        }
        let handle = handle.into();
        if let Some(timer) = TimerId::from_handle(handle) {
            self.cancel_timer(timer)
        } else if handle.is(Tag::Signal) {
            self.cancel_subscription(handle)
        } else {
            self.cancel_watcher(handle)
        }
    }

    /// Whether what `handle` names is still there.
    pub fn contains(&self, handle: impl Into<Handle>) -> bool {
        let handle = handle.into();
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        match TimerId::from_handle(handle) {
            Some(timer) => storage.timers.deadline(timer).is_some(),
            None => storage.watchers.contains(handle),
        }
    }

    /// Sets whether `handle` keeps a loop running (R-2); at first everything does. False if the handle is stale.
    #[doc(alias = "unref")]
    pub fn set_counted(&mut self, handle: impl Into<Handle>, counted: bool) -> bool {
        let handle = handle.into();
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        if let Some(timer) = TimerId::from_handle(handle) {
            let Some(entry) = storage.timers.get_mut(timer) else {
                return false;
            };
            self.live -= u32::from(entry.counted);
            self.live += u32::from(counted);
            entry.counted = counted;
            return true;
        }
        self.change(handle, |entry| entry.state.set(State::UNCOUNTED, !counted))
            .is_some()
    }

    /// Changes an occupant and keeps the count of live ones (INV-ENGINE-2).
    pub(super) fn change<R>(
        &mut self,
        handle: Handle,
        change: impl FnOnce(&mut super::storage::Entry<D, B::Process>) -> R,
    ) -> Option<R> {
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let entry = storage.watchers.get_mut(handle)?;
        self.live -= u32::from(entry.is_live());
        let result = change(entry);
        self.live += u32::from(entry.is_live());
        Some(result)
    }

    /// Readies the reactor to sit inside another loop, which then waits on its descriptor (G-2): flushes changes of
    /// interest and sees to it that the descriptor becomes readable at the first deadline, or at once if there is
    /// something to deliver. When it is readable, run a turn with a timeout of zero, then prepare again.
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::Os`] if the kernel refuses a timer.
    pub fn prepare(&mut self) -> Result<(), Error> {
        if !self.backend.is_owner() {
            return Err(Error::Forked);
        }
        self.prepare_turn(None);
        let is_due = self.pending.intersects(Pending::DELIVER);
        let deadline = if !is_due && !self.backend.has_next() {
            self.next_deadline()
        } else {
            Some(Instant::ZERO)
        };
        self.backend.arm(deadline)
    }

    /// Takes signals from the backend and makes them this turn's.
    fn fetch_signals(&mut self) {
        // A signalfd that can't be read is reported again, and read again, next turn; what it gave before is kept.
        let mut counts = SignalCounts::new();
        let _ = self.backend.take_signals(&mut counts);
        if counts.is_empty() {
            return;
        }
        self.delivery.add(&counts);
        self.delivery.begin_turn(&mut self.pending);
        // It may have come after a subscription of this turn, which hears in the next: so does everybody else of it.
        let turn = self.turn();
        let fresh = self.signal_union(|_, made| made == turn);
        self.delivery.postpone(fresh, &mut self.pending);
    }
}

impl<D, const W: usize, const T: usize, B: Backend, S> fmt::Debug for Reactor<D, W, T, B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("live", &self.live)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

macro_rules! into_handle {
    ($($name:ident, $tag:ident;)*) => {$(
        impl From<$name> for Handle {
            /// Its tag is written once more, so that the compiler knows it: the code for other kinds is left out then.
            #[inline(always)]
            fn from(typed: $name) -> Self {
                Self::new(typed.handle().index(), Tag::$tag, typed.handle().generation())
            }
        }
    )*};
}

into_handle! {
    Watcher, Watcher;
    TimerId, Timer;
    Subscription, Signal;
    ProcessWatch, Process;
    Op, Operation;
}
