//! What a loop keeps of its callbacks: one slot for each slot of the engine's tables.
//!
//! **What.** [`WatchSlot`] belongs to a watcher, [`Slot`] to a subscription or process, [`TimerSlot`] to a timer,
//! [`OpCallbacks`] has those of operations; all are found by the handle's index. The engine decides whether a handle is stale; a slot only remembers whose it is.
//!
//! **Invariants.** *INV-SLOT-1*: a callback that runs is not in its slot. It is put back if the slot is still its
//! watcher's, still says that the part has a callback (clearing unsays it), and got no other meanwhile (replacing).
//!
//! **Why this shape.** Taking a callback out for its call is what lets it have the loop to itself, without `RefCell`
//! and without `Rc`. Moving a box out and in is four words.

#![forbid(unsafe_code)]

use linux_event_core::handle::{Handle, ProcessWatch, Subscription, TimerId, Watcher};
use linux_event_core::reactor::Ready;

use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::net::Owner;
use crate::proactor::callbacks::OpCallbacks;
use crate::signals::{Exit, SignalEvent};

type Called = Result<(), BoxError>;

pub(crate) type ReadyCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, Watcher, Ready) -> Called>;
pub(crate) type TimerCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, u64) -> Called>;
pub(crate) type SignalCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, SignalEvent) -> Called>;
pub(crate) type ExitCallback<M, S> = Box<dyn FnOnce(&mut Loop<M, S>, Exit) -> Called>;
pub(crate) type Deferred<M, S> = Box<dyn FnOnce(&mut Loop<M, S>) -> Called>;
pub(crate) type WakeCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, u64) -> Called>;
/// Hands out what a mailbox holds; false once nobody can send any more.
pub(crate) type MailCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>) -> Result<bool, BoxError>>;

/// The three things a watcher can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Error,
    Read,
    Write,
}

impl Part {
    /// In the order of R-3.
    pub(crate) const ALL: [Self; 3] = [Self::Error, Self::Read, Self::Write];

    /// What is reported to it.
    #[inline(always)]
    pub(crate) const fn ready(self) -> Ready {
        match self {
            Self::Error => Ready::ERROR,
            Self::Read => Ready::READ.union(Ready::PRIORITY).union(Ready::READ_CLOSED),
            Self::Write => Ready::WRITE,
        }
    }
}

/// A watcher's callbacks: 64 bytes, so that finding one is a shift.
pub(crate) struct WatchSlot<M: crate::Model, S> {
    /// Whose slot it is.
    watcher: Option<Watcher>,
    /// What is reported to the parts that have a callback, running or not.
    taken: Ready,
    callbacks: [Option<ReadyCallback<M, S>>; 3],
}

impl<M: crate::Model, S> WatchSlot<M, S> {
    const VACANT: Self = Self {
        watcher: None,
        taken: Ready::empty(),
        callbacks: [const { None }; 3],
    };

    fn new(watcher: Watcher, callbacks: [Option<ReadyCallback<M, S>>; 3]) -> Self {
        let parts = Part::ALL.into_iter();
        let taken = parts.filter(|&part| callbacks[part as usize].is_some());
        Self {
            watcher: Some(watcher),
            taken: taken.map(Part::ready).collect(),
            callbacks,
        }
    }

    /// Takes a callback out to call it.
    #[inline(always)]
    pub(crate) fn take(&mut self, part: Part) -> Option<ReadyCallback<M, S>> {
        self.callbacks[part as usize].take()
    }

    /// Puts a callback back that was taken, unless it was replaced or cleared meanwhile (INV-SLOT-1).
    #[inline(always)]
    pub(crate) fn put_back(&mut self, part: Part, callback: ReadyCallback<M, S>) {
        let slot = &mut self.callbacks[part as usize];
        if self.taken.intersects(part.ready()) && slot.is_none() {
            *slot = Some(callback);
        }
    }

    /// Sets or clears a callback.
    pub(crate) fn set(&mut self, part: Part, callback: Option<ReadyCallback<M, S>>) {
        self.taken.set(part.ready(), callback.is_some());
        self.callbacks[part as usize] = callback;
    }

    /// Whether there is a callback, running or not, for everything in `asked`.
    #[inline(always)]
    pub(crate) fn takes(&self, asked: Ready) -> bool {
        self.taken.contains(asked)
    }
}

/// What belongs to a slot of the engine's table of watchers that is not a watcher's.
pub(crate) enum Slot<M: crate::Model, S> {
    Vacant,
    Signal {
        subscription: Subscription,
        /// `None` while it runs: INV-SLOT-1.
        callback: Option<SignalCallback<M, S>>,
    },
    Process {
        process: ProcessWatch,
        callback: ExitCallback<M, S>,
    },
}

impl<M: crate::Model, S> Slot<M, S> {
    /// Whose slot it is.
    fn handle(&self) -> Option<Handle> {
        match self {
            Self::Vacant => None,
            Self::Signal { subscription, .. } => Some(subscription.handle()),
            Self::Process { process, .. } => Some(process.handle()),
        }
    }
}

/// What belongs to one slot of the engine's timers.
pub(crate) struct TimerSlot<M: crate::Model, S> {
    pub(crate) timer: Option<TimerId>,
    /// `None` while it runs: INV-SLOT-1.
    pub(crate) callback: Option<TimerCallback<M, S>>,
    /// It is the net layer's, and has no callback.
    pub(crate) net: Option<Owner>,
}

/// All callbacks of a loop.
pub(crate) struct Callbacks<M: crate::Model, S> {
    watches: Vec<WatchSlot<M, S>>,
    /// Of each watcher that is the net layer's and has no callback: whose it is.
    net_watches: Vec<Option<Owner>>,
    slots: Vec<Slot<M, S>>,
    timers: Vec<TimerSlot<M, S>>,
    pub(crate) ops: OpCallbacks<M, S>,
}

impl<M: crate::Model, S> Callbacks<M, S> {
    pub(crate) const fn new() -> Self {
        Self {
            watches: Vec::new(),
            net_watches: Vec::new(),
            slots: Vec::new(),
            timers: Vec::new(),
            ops: OpCallbacks::new(),
        }
    }

    /// Fills a watcher's slot, and returns what a handle that is stale by now had left there.
    pub(crate) fn fill_watch(
        &mut self,
        watcher: Watcher,
        callbacks: [Option<ReadyCallback<M, S>>; 3],
    ) -> WatchSlot<M, S> {
        if watcher.index() >= self.watches.len() {
            self.watches
                .resize_with(watcher.index() + 1, || WatchSlot::VACANT);
        }
        if let Some(owner) = self.net_watches.get_mut(watcher.index()) {
            *owner = None;
        }
        let slot = WatchSlot::new(watcher, callbacks);
        std::mem::replace(&mut self.watches[watcher.index()], slot)
    }

    /// Fills the slot of a watcher of the net layer's.
    pub(crate) fn fill_net_watch(&mut self, watcher: Watcher, owner: Owner) -> WatchSlot<M, S> {
        let left = self.fill_watch(watcher, [None, None, None]);
        if watcher.index() >= self.net_watches.len() {
            self.net_watches.resize(watcher.index() + 1, None);
        }
        self.net_watches[watcher.index()] = Some(owner);
        left
    }

    /// Whose a watcher is, if it is the net layer's.
    pub(crate) fn net_owner(&mut self, watcher: Watcher) -> Option<Owner> {
        self.watch(watcher)?;
        *self.net_watches.get(watcher.index())?
    }

    /// Fills the slot `index` of a subscription or process, and returns what a handle that is stale by now had left
    /// there.
    pub(crate) fn fill(&mut self, index: usize, slot: Slot<M, S>) -> Slot<M, S> {
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || Slot::Vacant);
        }
        std::mem::replace(&mut self.slots[index], slot)
    }

    /// The watcher's slot.
    #[inline(always)]
    pub(crate) fn watch(&mut self, watcher: Watcher) -> Option<&mut WatchSlot<M, S>> {
        self.watches
            .get_mut(watcher.index())
            .filter(|slot| slot.watcher == Some(watcher))
    }

    /// Empties a watcher's slot, and returns what was in it, to drop when nothing is borrowed.
    pub(crate) fn vacate_watch(&mut self, watcher: Watcher) -> WatchSlot<M, S> {
        match self.watch(watcher) {
            Some(slot) => std::mem::replace(slot, WatchSlot::VACANT),
            None => WatchSlot::VACANT,
        }
    }

    /// The subscription's callback.
    pub(crate) fn signal(
        &mut self,
        subscription: Subscription,
    ) -> Option<&mut Option<SignalCallback<M, S>>> {
        match self.slots.get_mut(subscription.index()) {
            Some(Slot::Signal {
                subscription: owner,
                callback,
            }) if *owner == subscription => Some(callback),
            _ => None,
        }
    }

    /// Empties the slot of a subscription or process, and returns what was in it, to drop when nothing is borrowed.
    pub(crate) fn vacate(&mut self, handle: Handle) -> Slot<M, S> {
        match self.slots.get_mut(handle.index() as usize) {
            Some(slot) if slot.handle() == Some(handle) => std::mem::replace(slot, Slot::Vacant),
            _ => Slot::Vacant,
        }
    }

    /// Fills a timer's slot.
    pub(crate) fn fill_timer(
        &mut self,
        timer: TimerId,
        callback: TimerCallback<M, S>,
    ) -> TimerSlot<M, S> {
        let slot = TimerSlot {
            timer: Some(timer),
            callback: Some(callback),
            net: None,
        };
        self.occupy_timer(timer, slot)
    }

    /// Fills the slot of a timer of the net layer's.
    pub(crate) fn fill_net_timer(&mut self, timer: TimerId, owner: Owner) -> TimerSlot<M, S> {
        let slot = TimerSlot {
            timer: Some(timer),
            callback: None,
            net: Some(owner),
        };
        self.occupy_timer(timer, slot)
    }

    fn occupy_timer(&mut self, timer: TimerId, slot: TimerSlot<M, S>) -> TimerSlot<M, S> {
        if timer.index() >= self.timers.len() {
            self.timers.resize_with(timer.index() + 1, || TimerSlot {
                timer: None,
                callback: None,
                net: None,
            });
        }
        std::mem::replace(&mut self.timers[timer.index()], slot)
    }

    /// A timer's slot.
    #[inline(always)]
    pub(crate) fn timer(&mut self, timer: TimerId) -> Option<&mut TimerSlot<M, S>> {
        self.timers
            .get_mut(timer.index())
            .filter(|slot| slot.timer == Some(timer))
    }

    /// Empties a timer's slot, and returns its callback, to drop when nothing is borrowed.
    pub(crate) fn vacate_timer(&mut self, timer: TimerId) -> Option<TimerCallback<M, S>> {
        let slot = self.timer(timer)?;
        slot.timer = None;
        slot.net = None;
        slot.callback.take()
    }
}
