//! The monotonic deadline queue: timers in exact nanosecond order, found by handle.
//!
//! **What.** [`Queue<T, N>`] holds up to `N` timers, each a deadline and a value. They come out in the order of
//! (deadline, insertion), rule T-3; any of them can be cancelled or moved at any time by its [`TimerId`], and is gone
//! from the queue at once. Nothing allocates.
//!
//! ```
//! use linux_event_core::clock::Instant;
//! use linux_event_core::timer::Queue;
//!
//! // On the stack; a `static` or a zeroed box do as well, for an empty queue is all zeroes.
//! let mut queue: Queue<&str, 4> = Queue::new();
//! let at = Instant::from_nanos;
//! queue.insert(at(200), "second").unwrap();
//! queue.insert(at(200), "third").unwrap();
//! let never = queue.insert(at(150), "never").unwrap();
//! queue.insert(at(100), "first").unwrap();
//!
//! assert_eq!(queue.cancel(never), Some("never"));
//! assert_eq!(queue.cancel(never), None); // stale, for ever
//! assert_eq!(queue.first_deadline(), Some(at(100)));
//! let mut fired = Vec::new();
//! while let Some((_id, _deadline, value)) = queue.pop_due(at(200)) {
//!     fired.push(value);
//! }
//! assert_eq!(fired, ["first", "second", "third"]);
//! ```
//!
//! **Invariants.** *INV-TIMER-1*: an empty queue is all zero bytes, and neither node nor slot at `touched` or above
//! was ever written: a large capacity costs address space, not memory. *INV-TIMER-2*: `nodes[..len]` is a heap of the
//! armed timers (INV-HEAP-1 and 2). *INV-TIMER-3*: `nodes[len..opened]` name the vacant slots below `opened`, each
//! once; every slot from `opened` on is vacant. `len <= opened <= touched <= N`.
//!
//! **Why this shape.** A wheel would insert and cancel faster; a heap has exact order, no turn that pays for moving a
//! whole wheel slot down, log n at worst, and was measured to expire faster; its cost stays near flat (T-9). Vacant slots are named in the unused
//! part of the node array, where the next insertion writes anyway; a chain through the slots would cost it a cache
//! miss. A queue that runs empty starts at slot 0 again, so that the next burst walks through memory in order.
//! Sequence numbers have 44 bits; when they run out, after two days of nothing but insertions, the queue renumbers
//! its timers.

#![forbid(unsafe_code)]

mod heap;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::clock::Instant;
use crate::handle::{Handle, MAX_SLOTS, Tag, TimerId};
use crate::table::Full;
use heap::{Node, SEQUENCE_LIMIT, Slot};

/// What a queue knows besides its timers.
#[derive(Debug)]
struct Counts {
    /// First generation of every slot: queues with different salts refuse each other's handles.
    salt: u64,
    /// The next insertion's sequence number.
    sequence: u64,
    /// Armed timers.
    len: u32,
    /// Slots given out since the queue last ran empty: INV-TIMER-3.
    opened: u32,
    /// Slots ever used: INV-TIMER-1.
    touched: u32,
}

/// A queue of up to `N` timers with values of type `T`, `N` at most 2²⁰. See the [module](self).
///
/// A timer takes 16 bytes, and a slot of 12 bytes and `T` with its discriminant.
pub struct Queue<T, const N: usize> {
    counts: Counts,
    nodes: [Node; N],
    slots: [Slot<T>; N],
}

/// A queue whose capacity is not in its type: the code is shared between capacities.
struct View<'a, T> {
    counts: &'a mut Counts,
    nodes: &'a mut [Node],
    slots: &'a mut [Slot<T>],
}

impl<T, const N: usize> Queue<T, N> {
    const CAPACITY_FITS: () = assert!(N <= MAX_SLOTS, "a timer queue has at most 2^20 slots");

    /// An empty queue: all zeroes (INV-TIMER-1).
    #[inline]
    pub const fn new() -> Self {
        const { Self::CAPACITY_FITS };
        Self {
            counts: Counts {
                salt: 0,
                sequence: 0,
                len: 0,
                opened: 0,
                touched: 0,
            },
            nodes: [Node::EMPTY; N],
            slots: [const { Slot::EMPTY }; N],
        }
    }

    #[inline(always)]
    fn view(&mut self) -> View<'_, T> {
        View {
            counts: &mut self.counts,
            nodes: &mut self.nodes,
            slots: &mut self.slots,
        }
    }

    /// Sets the generation that slots start at (its low 40 bits), so that this queue's handles are stale in others.
    ///
    /// Slots that were used already keep their generations; call it before the first insertion.
    pub fn set_salt(&mut self, salt: u64) {
        self.counts.salt = salt;
    }

    /// How many timers are armed.
    #[inline]
    pub fn len(&self) -> usize {
        self.counts.len as usize
    }

    /// Whether no timer is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.counts.len == 0
    }

    /// Whether the next insertion would be refused.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == N
    }

    /// How many timers the queue can hold.
    #[inline]
    pub fn capacity(&self) -> usize {
        N
    }

    /// Arms a timer and names it. A deadline in the past is due at once.
    ///
    /// On average constant time; at worst, if it is the first of all, log₈ n steps.
    ///
    /// # Errors
    /// [`Full`] with the value, when `N` timers are armed.
    ///
    /// ```
    /// use linux_event_core::{clock::Instant, table::Full, timer::Queue};
    /// let mut queue: Queue<char, 1> = Queue::new();
    /// let id = queue.insert(Instant::from_nanos(5), 'a').unwrap();
    /// assert_eq!(queue.insert(Instant::from_nanos(6), 'b'), Err(Full('b')));
    /// assert_eq!(queue.get(id), Some(&'a'));
    /// ```
    #[inline(always)]
    pub fn insert(&mut self, deadline: Instant, value: T) -> Result<TimerId, Full<T>> {
        self.view().insert(deadline, value)
    }

    /// Disarms a timer and gives its value back; `None` if `id` is stale (T-7).
    ///
    /// ```
    /// use linux_event_core::{clock::Instant, timer::Queue};
    /// let mut queue: Queue<char, 8> = Queue::new();
    /// let old = queue.insert(Instant::from_nanos(5), 'a').unwrap();
    /// assert_eq!(queue.cancel(old), Some('a'));
    /// let new = queue.insert(Instant::from_nanos(5), 'b').unwrap(); // the same slot again
    /// assert_eq!(old.index(), new.index());
    /// assert_eq!(queue.cancel(old), None);
    /// assert_eq!(queue.get(new), Some(&'b'));
    /// ```
    #[inline]
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.view().cancel(id)
    }

    /// Moves a timer to another deadline; `false` if `id` is stale. The handle stays good.
    ///
    /// Among equal deadlines the timer comes last, as if it were newly inserted (T-3). With
    /// [`peek_due`](Self::peek_due) it makes a periodic timer:
    ///
    /// ```
    /// use core::time::Duration;
    /// use linux_event_core::{clock::Instant, timer::Queue};
    /// let mut queue: Queue<Duration, 8> = Queue::new(); // the value is the period
    /// let tick = queue.insert(Instant::from_nanos(10), Duration::from_nanos(10)).unwrap();
    ///
    /// let now = Instant::from_nanos(10);
    /// while let Some((id, deadline, &period)) = queue.peek_due(now) {
    ///     assert!(queue.reschedule(id, deadline + period));
    /// }
    /// assert_eq!(queue.deadline(tick), Some(Instant::from_nanos(20)));
    /// ```
    #[inline(always)]
    pub fn reschedule(&mut self, id: TimerId, deadline: Instant) -> bool {
        self.view().reschedule(id, deadline)
    }

    /// When a timer is due; `None` if `id` is stale.
    #[inline]
    pub fn deadline(&self, id: TimerId) -> Option<Instant> {
        let slot = self.slots.get(id.index()).filter(|slot| slot.is(id))?;
        let node = self.nodes.get(slot.place())?;
        Some(Instant::from_nanos(node.deadline()))
    }

    /// A timer's value; `None` if `id` is stale.
    #[inline(always)]
    pub fn get(&self, id: TimerId) -> Option<&T> {
        self.slots
            .get(id.index())
            .filter(|slot| slot.is(id))?
            .value()
    }

    /// A timer's value, to change; `None` if `id` is stale.
    #[inline(always)]
    pub fn get_mut(&mut self, id: TimerId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.is(id) { slot.value_mut() } else { None }
    }

    #[inline(always)]
    fn first(&self) -> Option<Node> {
        if self.is_empty() {
            return None;
        }
        self.nodes.first().copied()
    }

    #[inline(always)]
    fn first_due(&self, now: Instant) -> Option<Node> {
        self.first()
            .filter(|node| node.deadline() <= now.as_nanos())
    }

    /// The earliest deadline; `None` if no timer is armed. Constant time, one load.
    #[inline(always)]
    pub fn first_deadline(&self) -> Option<Instant> {
        Some(Instant::from_nanos(self.first()?.deadline()))
    }

    /// The earliest timer, if it is due at `now`: its handle, deadline and value. It stays armed.
    #[inline]
    pub fn peek_due(&self, now: Instant) -> Option<(TimerId, Instant, &T)> {
        let first = self.first_due(now)?;
        let slot = self.slots.get(first.slot() as usize)?;
        Some((
            slot.id()?,
            Instant::from_nanos(first.deadline()),
            slot.value()?,
        ))
    }

    /// Takes out the earliest timer, if it is due at `now`: its handle, stale from here on, its deadline and its value.
    ///
    /// ```
    /// use linux_event_core::{clock::Instant, timer::Queue};
    /// let mut queue: Queue<char, 8> = Queue::new();
    /// let at = Instant::from_nanos;
    /// let id = queue.insert(at(5), 'a').unwrap();
    /// assert_eq!(queue.pop_due(at(4)), None); // never early
    /// assert_eq!(queue.pop_due(at(9)), Some((id, at(5), 'a')));
    /// assert_eq!(queue.get(id), None);
    /// ```
    #[inline]
    pub fn pop_due(&mut self, now: Instant) -> Option<(TimerId, Instant, T)> {
        let first = self.first_due(now)?;
        let id = self.slots.get(first.slot() as usize)?.id()?;
        let value = self.view().take(0, first.slot())?;
        Some((id, Instant::from_nanos(first.deadline()), value))
    }
}

impl<T> View<'_, T> {
    #[inline]
    fn insert(mut self, deadline: Instant, value: T) -> Result<TimerId, Full<T>> {
        let place = self.counts.len as usize;
        let Some(spare) = self.nodes.get(place) else {
            return Err(Full(value));
        };
        let is_opened = self.counts.len < self.counts.opened;
        let index = if is_opened {
            spare.slot()
        } else {
            self.counts.opened
        };
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Err(Full(value));
        };
        let generation = if index < self.counts.touched {
            slot.next_generation()
        } else {
            // Not even read: reading would map a page of zeroes, and writing then fault again.
            self.counts.touched += 1;
            self.counts.salt
        };
        self.counts.opened += u32::from(!is_opened);
        let id = TimerId::assume(Handle::new(index, Tag::Timer, generation));
        slot.occupy(id, value);
        let node = Node::new(deadline.as_nanos(), self.next_sequence(), index);
        self.counts.len += 1;
        heap::ascend(self.nodes, self.slots, place, node);
        Ok(id)
    }

    #[inline]
    fn cancel(self, id: TimerId) -> Option<T> {
        let slot = self.slots.get(id.index()).filter(|slot| slot.is(id))?;
        let place = slot.place();
        self.take(place, id.handle().index())
    }

    #[inline]
    fn reschedule(mut self, id: TimerId, deadline: Instant) -> bool {
        if !self.slots.get(id.index()).is_some_and(|slot| slot.is(id)) {
            return false;
        }
        // Before the place is looked up: renumbering moves nodes.
        let sequence = self.next_sequence();
        let Some(place) = self.slots.get(id.index()).map(Slot::place) else {
            return false;
        };
        let node = Node::new(deadline.as_nanos(), sequence, id.handle().index());
        let armed = self.nodes.get_mut(..self.counts.len as usize);
        let armed = armed.unwrap_or_default();
        if armed.get(place).is_some_and(|armed| node.is_before(*armed)) {
            heap::ascend(armed, self.slots, place, node);
        } else {
            heap::settle(armed, self.slots, place, node);
        }
        true
    }

    /// Takes the timer in slot `index`, whose node is at `place`, out of the heap and the slot.
    ///
    /// Inlined, and the slot comes last: as a call of its own it made cancelling 10⁶ timers half as slow again.
    #[inline(always)]
    fn take(self, place: usize, index: u32) -> Option<T> {
        let last_place = (self.counts.len as usize).checked_sub(1)?;
        // The last node fills the gap, and its place keeps the vacant slot: INV-TIMER-3.
        let gap = Node::new(0, 0, index);
        let last = core::mem::replace(self.nodes.get_mut(last_place)?, gap);
        self.counts.len -= 1;
        if last_place == 0 {
            self.counts.opened = 0;
        }
        if place != last_place {
            let left = self.nodes.get_mut(..last_place)?;
            heap::settle(left, self.slots, place, last);
        }
        self.slots.get_mut(index as usize)?.vacate()
    }

    #[inline(always)]
    fn next_sequence(&mut self) -> u64 {
        if self.counts.sequence == SEQUENCE_LIMIT {
            let armed = self.nodes.get_mut(..self.counts.len as usize);
            self.counts.sequence = heap::renumber(armed.unwrap_or_default(), self.slots);
        }
        let sequence = self.counts.sequence;
        self.counts.sequence += 1;
        sequence
    }
}

impl<T, const N: usize> Default for Queue<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> fmt::Debug for Queue<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("first_deadline", &self.first_deadline())
            .finish_non_exhaustive()
    }
}
