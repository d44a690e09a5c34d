//! The engine's signals and processes.
//!
//! **Invariants.** *INV-SIGNAL-1*: the backend's set is the union of the sets of all subscriptions, closing ones
//! included; so a signal that somebody still has to hear of stays blocked.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;

use linux_raw_sys::general as linux;

use super::backend::Backend;
use super::engine::{Pending, Reactor};
use super::event::Event;
use super::flags::{Interest, Mode};
use super::storage::{Entry, Kind, State, Storage, UNREGISTERED};
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::handle::{Handle, ProcessWatch, Subscription, Tag};
use crate::pid::ExitStatus;
use crate::signal::{Signal, SignalCounts, SignalSet};
use crate::sys::AsRawFd;

/// Signals on their way to subscriptions.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Taken from the kernel, not delivered.
    counts: SignalCounts,
    /// What of it is this turn's.
    due: SignalSet,
    /// The signal being delivered, how often it came, and the slot that is next.
    current: Option<(Signal, u32, Option<u32>)>,
}

impl Delivery {
    pub(super) const fn new() -> Self {
        Self {
            counts: SignalCounts::new(),
            due: SignalSet::EMPTY,
            current: None,
        }
    }

    pub(super) fn add(&mut self, counts: &SignalCounts) {
        self.counts.merge(counts);
    }

    /// Makes what was taken due.
    pub(super) fn begin_turn(&mut self, pending: &mut Pending) {
        self.due = self.counts.set();
        if !self.due.is_empty() || self.current.is_some() {
            *pending |= Pending::SIGNALS;
        }
    }

    /// Leaves `set` to the next turn.
    pub(super) fn postpone(&mut self, set: SignalSet, pending: &mut Pending) {
        if !self.due.intersection(set).is_empty() {
            self.due = self.due.difference(set);
            *pending |= Pending::PREPARE;
        }
    }
}

impl<D, const W: usize, const T: usize, B, S> Reactor<D, W, T, B, S>
where
    D: Copy,
    B: Backend,
    S: BorrowMut<Storage<D, W, T, B::Process>>,
{
    /// Subscribes to signals, through one signalfd a loop (`signalfd(2)`, S-1).
    ///
    /// The signals are blocked **for the calling thread**; a thread that was started before does not block them, and
    /// the process dies of what arrives there. So subscribe before starting threads (S-3). Let one loop of a thread have
    /// a signal: of two, each would hear of a part, and the first to go would unblock it for both. Several subscriptions of
    /// one signal all hear of it, in the order they were made; the mask is restored when the last is cancelled (S-2).
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty set, and for KILL and STOP, which can't be taken; [`Error::Full`];
    /// [`Error::Unsupported`] or [`Error::Denied`] where signalfd is not to be had; [`Error::Forked`].
    pub fn signal(
        &mut self,
        signals: impl Into<SignalSet>,
        data: D,
    ) -> Result<Subscription, Error> {
        if !self.backend.is_owner() {
            return Err(Error::Forked);
        }
        if !B::SIGNALS {
            return Err(Error::Invalid("signals are not taken by this backend"));
        }
        let set = signals.into();
        if set.is_empty() {
            return Err(Error::Invalid("a subscription needs at least one signal"));
        }
        if !set.iter().all(Signal::can_be_caught) {
            return Err(Error::Invalid("KILL and STOP can't be caught"));
        }
        let handle = self.occupy(
            Tag::Signal,
            entry(
                Kind::Signals {
                    set,
                    closing: false,
                    turn: self.turn(),
                },
                data,
            ),
        )?;
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        storage.append_signals(handle.index());
        let union = self.signal_union(|_, _| true);
        if let Err(error) = self.backend.set_signals(union) {
            self.forget(handle);
            return Err(error);
        }
        Subscription::from_handle(handle).ok_or(Error::Stale)
    }

    /// The union of the sets of the subscriptions that `keep` keeps, by slot and by the turn they were made in.
    pub(super) fn signal_union(&self, keep: impl Fn(u32, u32) -> bool) -> SignalSet {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        let mut union = SignalSet::EMPTY;
        let mut at = storage.signals_after(None);
        while let Some(index) = at {
            if let Some((_, entry)) = storage.watchers.at(index)
                && let Kind::Signals { set, turn, .. } = entry.kind
                && keep(index, turn)
            {
                union = union.union(set);
            }
            at = storage.signals_after(Some(index));
        }
        union
    }

    /// Ends a subscription. See [`cancel`](Self::cancel) for what had arrived.
    pub(super) fn cancel_subscription(&mut self, handle: Handle) -> bool {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        let Some(Entry {
            kind:
                Kind::Signals {
                    set,
                    closing: false,
                    turn,
                },
            ..
        }) = storage.watchers.get(handle)
        else {
            return false;
        };
        let (set, turn) = (*set, *turn);
        if let Some(leaving) = self.still_to_hear(handle, set) {
            self.change(handle, |entry| {
                entry.kind = Kind::Signals {
                    set: leaving,
                    closing: true,
                    turn,
                };
            });
        } else {
            self.end_subscription(handle);
        }
        true
    }

    /// What of `set` only the subscription `handle` can hear of, if any of it has arrived. What is pending would strike
    /// as soon as it is unblocked, so it is taken now (S-3).
    fn still_to_hear(&mut self, handle: Handle, set: SignalSet) -> Option<SignalSet> {
        let leaving = set.difference(self.signal_union(|index, _| index != handle.index()));
        if leaving.is_empty() {
            return None;
        }
        let mut counts = SignalCounts::new();
        let _ = self.backend.take_signals(&mut counts);
        self.delivery.add(&counts);
        self.pending |= Pending::PREPARE;
        let arrived = leaving.intersection(self.delivery.counts.set());
        (!arrived.is_empty()).then_some(leaving)
    }

    /// Takes a subscription out, and what nobody else subscribes to out of the backend (INV-SIGNAL-1).
    fn end_subscription(&mut self, handle: Handle) {
        if let Some((_, _, next)) = &mut self.delivery.current
            && *next == Some(handle.index())
        {
            let storage: &Storage<_, W, T, _> = self.storage.borrow();
            *next = storage.signals_after(Some(handle.index()));
        }
        self.forget(handle);
        let union = self.signal_union(|_, _| true);
        // Refused only by a filter that forbids what it allowed before; the signals then stay blocked.
        let _ = self.backend.set_signals(union);
    }

    /// The next signal of this turn for the next subscription that has it.
    pub(super) fn next_signal(&mut self) -> Option<Event<D>> {
        if !self.pending.contains(Pending::SIGNALS) {
            return None;
        }
        loop {
            let storage: &Storage<_, W, T, _> = self.storage.borrow();
            let Some((signal, count, next)) = self.delivery.current.take() else {
                let Some(signal) = self.delivery.due.pop_lowest() else {
                    self.pending -= Pending::SIGNALS;
                    return None;
                };
                let (first, turn) = (storage.signals_after(None), self.turn());
                let fresh = self.signal_union(|_, made| made == turn);
                let older = self.signal_union(|_, made| made != turn);
                if fresh.contains(signal) && !older.contains(signal) {
                    // Whoever it came for has left in this turn, and has a successor.
                    self.pending |= Pending::PREPARE;
                    continue;
                }
                let count = self.delivery.counts.take(signal);
                if count > 0 {
                    self.delivery.current = Some((signal, count, first));
                }
                continue;
            };
            let Some(index) = next else {
                continue;
            };
            self.delivery.current = Some((signal, count, storage.signals_after(Some(index))));
            let Some((handle, entry)) = storage.watchers.at(index) else {
                continue;
            };
            let Kind::Signals { set, closing, turn } = entry.kind else {
                continue;
            };
            let data = entry.data;
            // A subscription made in this turn hears of what comes in later ones, so that a turn ends.
            if !set.contains(signal) || turn == self.turn() {
                continue;
            }
            if closing {
                self.heard_last(handle, set);
            }
            return Some(Event::Signal {
                subscription: Subscription::from_handle(handle)?,
                signal,
                count,
                data,
            });
        }
    }

    /// A closing subscription hears of a signal; when nothing more waits for it, it ends.
    fn heard_last(&mut self, handle: Handle, set: SignalSet) {
        if self.still_to_hear(handle, set).is_none() {
            self.end_subscription(handle);
        }
    }

    /// Watches for the end of a process, once, through a pidfd (C-1).
    ///
    /// With `reap` it must be a child, and is waited for: no zombie is left. Without, it stays as it is, and may be
    /// any process; how one that is not a child ended is known from Linux 6.15 on. Don't reap it elsewhere meanwhile.
    ///
    /// # Errors
    /// [`Error::Os`] with ESRCH if there is no such process, EINVAL if `pid` is not positive, EMFILE;
    /// [`Error::Unsupported`] before Linux 5.3; [`Error::Full`]; [`Error::Forked`].
    #[doc(alias = "pidfd_open")]
    pub fn process(&mut self, pid: i32, reap: bool, data: D) -> Result<ProcessWatch, Error> {
        if !self.backend.is_owner() {
            return Err(Error::Forked);
        }
        self.exits = Some(Self::resolve_exit);
        let pidfd = self.backend.open_process(pid)?;
        let fd = pidfd.as_raw_fd();
        self.disown(fd);
        let mut entry = entry(Kind::Process { pidfd, pid, reap }, data);
        entry.registered = linux::EPOLLIN;
        let handle = self.occupy(Tag::Process, entry)?;
        self.stats.controls += 1;
        if let Err(errno) = self.backend.add(fd, linux::EPOLLIN, handle) {
            self.forget(handle);
            return Err(Error::from_call(Call::EpollCtl, errno));
        }
        ProcessWatch::from_handle(handle).ok_or(Error::Stale)
    }

    /// A process seems to have ended, or its registration `failed`.
    fn resolve_exit(&mut self, handle: Handle, failed: Option<Errno>) -> Option<Event<D>> {
        if let Some(errno) = failed {
            return self.end_process(handle, Err(errno));
        }
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        let entry = storage.watchers.get(handle)?;
        let Kind::Process { pidfd, reap, .. } = &entry.kind else {
            return None;
        };
        let status = self.backend.process_status(pidfd, *reap);
        if status == Err(Errno::EAGAIN) {
            return None;
        }
        self.end_process(handle, status)
    }

    /// Why the registration of a process was refused; `None` if it was not, or is no process's.
    pub(super) fn failed_process(&self, handle: Handle) -> Option<Errno> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        let entry = storage.watchers.get(handle)?;
        match entry.kind {
            Kind::Process { .. } => Errno::from_raw(i32::from(entry.errno)),
            _ => None,
        }
    }

    /// Ends a process watch, and says how.
    fn end_process(
        &mut self,
        handle: Handle,
        status: Result<Option<ExitStatus>, Errno>,
    ) -> Option<Event<D>> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        let entry = storage.watchers.get(handle)?;
        let Kind::Process { pid, .. } = entry.kind else {
            return None;
        };
        let data = entry.data;
        // By number and before closing: a child that was forked meanwhile has the pidfd too, and keeps it registered.
        self.cancel_watcher(handle);
        Some(Event::Exit {
            process: ProcessWatch::from_handle(handle)?,
            pid,
            status,
            data,
        })
    }
}

/// An occupant that watches no descriptor of the user's.
fn entry<D, P>(kind: Kind<P>, data: D) -> Entry<D, P> {
    Entry {
        interest: Interest::empty(),
        state: State::empty(),
        mode: Mode::empty(),
        data,
        registered: UNREGISTERED,
        fd: -1,
        errno: 0,
        kind,
    }
}
