//! What a loop keeps of its operations: one slot for each slot of the engine's table, and outcomes nobody has taken.
//!
//! **What.** An operation's slot has its callback, or says that its outcome is to be kept until somebody asks.
//!
//! **Invariants.** *INV-OP-SLOT-1*: as INV-SLOT-1 of `callbacks`: a callback that runs is in no slot. It goes back to the slot
//! of its `heir`: its own operation, if that goes on, or the one that it submitted again. *INV-OP-SLOT-2*: a slot is
//! vacant once its operation has settled, before the callback is called: the engine may have given its index away.
//! A vacant slot has no callback. *INV-OP-SLOT-3*: outcomes of one operation are told in the order in which they came: while some are kept, the next is too.
//!
//! **Why this shape.** A callback that outlives its operation is what lets a connection read for ever with one box.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use linux_event_core::handle::Op;

use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::model::Model;
use crate::net::OpTag;

pub(crate) type OpCallback<M, S> =
    Box<dyn FnMut(&mut Loop<M, S>, <M as Model>::Completion) -> Result<(), BoxError>>;

/// An operation's slot.
pub(crate) struct OpSlot<M: Model, S> {
    /// Whose slot it is.
    op: Option<Op>,
    /// Its outcome is kept: nobody has said yet whom to tell.
    keeps: bool,
    /// `None` while it runs: INV-OP-SLOT-1.
    callback: Option<OpCallback<M, S>>,
    /// It is the net layer's, and has no callback.
    net: Option<OpTag>,
}

impl<M: Model, S> OpSlot<M, S> {
    const VACANT: Self = Self {
        op: None,
        keeps: false,
        callback: None,
        net: None,
    };
}

/// What has come of an operation and was told to nobody.
struct Kept<M: Model, S> {
    completions: VecDeque<M::Completion>,
    /// Somebody has said whom to tell, which the next turn does.
    is_claimed: bool,
    /// `None` while it runs: INV-OP-SLOT-1.
    callback: Option<OpCallback<M, S>>,
}

/// The callbacks of all operations, and outcomes.
pub(crate) struct OpCallbacks<M: Model, S> {
    slots: Vec<OpSlot<M, S>>,
    kept: BTreeMap<Op, Kept<M, S>>,
    /// Completions that were ever kept.
    kept_total: u64,
    /// Where the callback that runs goes when it returns: INV-OP-SLOT-1.
    heir: Option<Op>,
    /// A callback runs whose operation has settled, and nothing was submitted again with it.
    can_repeat: bool,
}

impl<M: Model, S> OpCallbacks<M, S> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            kept: BTreeMap::new(),
            kept_total: 0,
            heir: None,
            can_repeat: false,
        }
    }

    /// How many completions were ever kept.
    pub(crate) const fn kept_total(&self) -> u64 {
        self.kept_total
    }

    /// Fills an operation's slot with its callback.
    #[inline]
    pub(crate) fn fill(&mut self, op: Op, callback: OpCallback<M, S>) {
        let slot = self.occupy(op);
        slot.keeps = false;
        slot.callback = Some(callback);
    }

    /// Fills the slot of an operation of the net layer's.
    #[inline]
    pub(crate) fn fill_net(&mut self, op: Op, tag: OpTag) {
        let slot = self.occupy(op);
        slot.keeps = false;
        slot.net = Some(tag);
    }

    /// Whose an operation is, if it is the net layer's; for the last time, unless there is `more`.
    #[inline]
    pub(crate) fn take_net(&mut self, op: Op, more: bool) -> Option<OpTag> {
        let slot = self.slot(op)?;
        let tag = slot.net?;
        if !more {
            *slot = OpSlot::VACANT;
        }
        Some(tag)
    }

    /// Fills the slot of an operation whose outcome is to be kept.
    pub(crate) fn fill_keeping(&mut self, op: Op) {
        self.occupy(op).keeps = true;
    }

    /// Fills the slot of an operation that gets the callback that runs.
    #[inline(always)]
    pub(crate) fn fill_with_running(&mut self, op: Op) {
        self.heir = Some(op);
        self.can_repeat = false;
        self.occupy(op).keeps = false;
    }

    /// A vacant slot, which has no callback (INV-OP-SLOT-2), for its next operation.
    #[inline(always)]
    fn occupy(&mut self, op: Op) -> &mut OpSlot<M, S> {
        if op.index() >= self.slots.len() {
            self.grow(op.index());
        }
        let slot = &mut self.slots[op.index()];
        debug_assert!(slot.op.is_none() && slot.callback.is_none() && slot.net.is_none());
        slot.op = Some(op);
        slot
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, index: usize) {
        self.slots.resize_with(index + 1, || OpSlot::VACANT);
    }

    #[inline(always)]
    fn slot(&mut self, op: Op) -> Option<&mut OpSlot<M, S>> {
        self.slots
            .get_mut(op.index())
            .filter(|slot| slot.op == Some(op))
    }

    /// Takes an operation's callback out to call it; for the last time, unless there is `more` (INV-OP-SLOT-2).
    #[inline(always)]
    pub(crate) fn take(&mut self, op: Op, more: bool) -> Option<OpCallback<M, S>> {
        let slot = self.slot(op)?;
        let callback = slot.callback.take()?;
        if !more {
            slot.op = None;
        }
        Some(callback)
    }

    /// A callback is about to run, for an operation that goes on if there is `more`.
    #[inline(always)]
    pub(crate) fn begin(&mut self, op: Op, more: bool) {
        self.heir = more.then_some(op);
        self.can_repeat = !more;
    }

    /// Whether an operation can be submitted with the callback that runs.
    #[inline(always)]
    pub(crate) const fn can_repeat(&self) -> bool {
        self.can_repeat
    }

    /// A callback has run, or panicked: where it goes, if anywhere.
    #[inline(always)]
    pub(crate) fn end(&mut self) -> Option<Op> {
        self.can_repeat = false;
        self.heir.take()
    }

    /// Puts a callback that has run into the slot of its heir; it comes back if that has been detached meanwhile.
    #[inline(always)]
    pub(crate) fn put_back(
        &mut self,
        heir: Op,
        callback: OpCallback<M, S>,
    ) -> Option<OpCallback<M, S>> {
        match self.slot(heir) {
            Some(slot) if !slot.keeps && slot.callback.is_none() => {
                slot.callback = Some(callback);
                None
            }
            _ => self.put_back_to_kept(heir, callback),
        }
    }

    /// More was kept of the operation that the callback was called for.
    #[cold]
    fn put_back_to_kept(
        &mut self,
        heir: Op,
        callback: OpCallback<M, S>,
    ) -> Option<OpCallback<M, S>> {
        match self.kept.get_mut(&heir) {
            Some(kept) if kept.is_claimed && kept.callback.is_none() => {
                kept.callback = Some(callback);
                None
            }
            _ => Some(callback),
        }
    }

    /// Keeps a completion that nobody is to be told of yet; it comes back if nobody ever is.
    #[cold]
    #[inline(never)]
    pub(crate) fn keep(
        &mut self,
        op: Op,
        more: bool,
        completion: M::Completion,
    ) -> Option<M::Completion> {
        let Some(slot) = self.slot(op).filter(|slot| slot.keeps) else {
            return Some(completion);
        };
        if !more {
            slot.op = None;
        }
        self.kept_total += 1;
        let kept = self.kept.entry(op).or_insert_with(|| Kept {
            completions: VecDeque::new(),
            is_claimed: false,
            callback: None,
        });
        kept.completions.push_back(completion);
        None
    }

    /// Whether something is kept of an operation.
    pub(crate) fn has_kept(&self, op: Op) -> bool {
        self.kept.contains_key(&op)
    }

    /// The first completion kept of an operation, unless a callback is to have it.
    pub(crate) fn take_outcome(&mut self, op: Op) -> Option<M::Completion> {
        let kept = self.kept.get_mut(&op).filter(|kept| !kept.is_claimed)?;
        let first = kept.completions.pop_front();
        if kept.completions.is_empty() {
            self.kept.remove(&op);
        }
        first
    }

    /// Says whom to tell of an operation of which nobody was told. If completions of it are kept, the next turn has to
    /// [tell](Self::take_kept) of them.
    pub(crate) fn claim(&mut self, op: Op, callback: OpCallback<M, S>) -> Claim {
        if let Some(kept) = self.kept.get_mut(&op) {
            if kept.is_claimed {
                return Claim::Refused;
            }
            kept.is_claimed = true;
            kept.callback = Some(callback);
            return Claim::Settled;
        }
        match self.slot(op) {
            Some(slot) if slot.keeps => {
                slot.keeps = false;
                slot.callback = Some(callback);
                Claim::Pending
            }
            Some(_) => Claim::Refused,
            None => Claim::Stale,
        }
    }

    /// The next completion kept of an operation, and the callback to tell of it.
    pub(crate) fn take_kept(&mut self, op: Op) -> Option<(OpCallback<M, S>, M::Completion)> {
        let kept = self.kept.get_mut(&op)?;
        let callback = kept.callback.take()?;
        let first = kept.completions.pop_front();
        if kept.completions.is_empty() {
            self.kept.remove(&op);
            // INV-OP-SLOT-3: the next one finds the callback in the slot.
            if let Some(slot) = self.slot(op) {
                slot.keeps = false;
            }
        }
        first.map(|first| (callback, first))
    }

    /// Empties an operation's slot and forgets its outcome; what was there comes back, to drop when nothing is borrowed.
    pub(crate) fn vacate(&mut self, op: Op) -> Vacated<M, S> {
        let slot = match self.slot(op) {
            Some(slot) => std::mem::replace(slot, OpSlot::VACANT),
            None => OpSlot::VACANT,
        };
        Vacated {
            _slot: slot,
            kept: self.kept.remove(&op),
        }
    }
}

/// What was kept for an operation.
pub(crate) struct Vacated<M: Model, S> {
    _slot: OpSlot<M, S>,
    kept: Option<Kept<M, S>>,
}

impl<M: Model, S> Vacated<M, S> {
    /// Whether it had an outcome.
    pub(crate) const fn had_outcome(&self) -> bool {
        self.kept.is_some()
    }
}

/// What [`OpCallbacks::claim`] finds.
pub(crate) enum Claim {
    /// The callback waits in the slot.
    Pending,
    /// The callback is to be called in the next turn.
    Settled,
    /// Somebody is told already.
    Refused,
    /// There is no such operation, or it has settled and was told of.
    Stale,
}
