//! The implicit heap under a [`Queue`](super::Queue): nodes in heap order, and slots that know where their node is.
//!
//! **What.** A [`Node`] is what the heap orders; a [`Slot`] is what a handle finds. The functions here move nodes and
//! keep the slots in step. They work on slices, so that queues of all capacities share them.
//!
//! **Invariants.** *INV-HEAP-1*: no node comes before its parent; the parent of the node at `i` > 0 is at
//! `(i − 1) / ARITY`. *INV-HEAP-2*: the slot that the node at `i` names has `place` `i`. Both hold between calls,
//! except at the `hole` that a call is given to fill.
//!
//! **Why this shape.** Sifting compares nodes, which lie side by side, and only *writes* to slots. Such a write does
//! not wait for memory, and it brings the slot into the cache: a timer that nears the root is warm before it is
//! popped. (With the places in an array of their own, expiring 10⁶ timers took half as long again.) A node on its
//! way down goes to the bottom first and climbs from there: it came from the bottom and mostly belongs there, so
//! comparing it at every level would be for nothing.

#![forbid(unsafe_code)]

use core::hint::select_unpredictable as select;

use crate::handle::{Handle, INDEX_BITS, MAX_SLOTS, TAG_BITS, TimerId};
use crate::table::Cell;

/// Children of a node. Measured: 4 expires faster at 10³ and inserts and cancels slower; 12 and 16 expire slower.
pub(super) const ARITY: usize = 8;

/// How many insertions can be told apart: 44 bits, two days of doing nothing else.
pub(super) const SEQUENCE_LIMIT: u64 = 1 << (64 - INDEX_BITS);

const SLOT_MASK: u64 = MAX_SLOTS as u64 - 1;
const GENERATION_SHIFT: u32 = INDEX_BITS + TAG_BITS;

/// A timer as the heap sees it: deadline, then order of insertion, and the slot.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    deadline: u64,
    /// Sequence number (44 bits), slot (20 bits).
    tie: u64,
}

impl Node {
    pub(super) const EMPTY: Self = Self::new(0, 0, 0);

    #[inline(always)]
    pub(super) const fn new(deadline: u64, sequence: u64, slot: u32) -> Self {
        debug_assert!(sequence < SEQUENCE_LIMIT && slot < MAX_SLOTS as u32);
        Self {
            deadline,
            tie: (sequence << INDEX_BITS) | slot as u64,
        }
    }

    #[inline(always)]
    pub(super) const fn deadline(self) -> u64 {
        self.deadline
    }

    #[inline(always)]
    pub(super) const fn slot(self) -> u32 {
        (self.tie & SLOT_MASK) as u32
    }

    /// The order of T-3 as one number: two instructions compare it, without a branch.
    #[inline(always)]
    const fn order(self) -> u128 {
        ((self.deadline as u128) << 64) | self.tie as u128
    }

    #[inline(always)]
    pub(super) const fn is_before(self, other: Self) -> bool {
        self.order() < other.order()
    }
}

/// What a handle finds.
#[derive(Debug)]
pub(super) struct Slot<T> {
    /// The occupant's raw handle; once vacated, its generation and tag 0, which no handle has.
    key: u64,
    /// Where the occupant's node is: INV-HEAP-2.
    place: u32,
    value: Cell<T>,
}

impl<T> Slot<T> {
    pub(super) const EMPTY: Self = Self {
        key: 0,
        place: 0,
        value: Cell::Vacant,
    };

    /// The generation that the next occupant gets, of a slot that had one before.
    #[inline(always)]
    pub(super) const fn next_generation(&self) -> u64 {
        (self.key >> GENERATION_SHIFT) + 1
    }

    #[inline(always)]
    pub(super) fn occupy(&mut self, id: TimerId, value: T) {
        self.key = id.handle().raw();
        self.value = Cell::Full(value);
    }

    #[inline(always)]
    pub(super) fn vacate(&mut self) -> Option<T> {
        self.key = self.key >> GENERATION_SHIFT << GENERATION_SHIFT;
        match core::mem::replace(&mut self.value, Cell::Vacant) {
            Cell::Full(value) => Some(value),
            Cell::Vacant => None,
        }
    }

    #[inline(always)]
    pub(super) const fn is(&self, id: TimerId) -> bool {
        self.key == id.handle().raw()
    }

    #[inline(always)]
    pub(super) fn id(&self) -> Option<TimerId> {
        Handle::from_raw(self.key).and_then(TimerId::from_handle)
    }

    #[inline(always)]
    pub(super) const fn place(&self) -> usize {
        self.place as usize
    }

    /// Whether the slot was never written.
    #[cfg(test)]
    pub(super) const fn is_untouched(&self) -> bool {
        self.key == 0 && self.place == 0 && matches!(self.value, Cell::Vacant)
    }

    #[inline(always)]
    pub(super) const fn value(&self) -> Option<&T> {
        match &self.value {
            Cell::Full(value) => Some(value),
            Cell::Vacant => None,
        }
    }

    #[inline(always)]
    pub(super) const fn value_mut(&mut self) -> Option<&mut T> {
        match &mut self.value {
            Cell::Full(value) => Some(value),
            Cell::Vacant => None,
        }
    }
}

/// Fills `hole` with `node`.
#[inline(always)]
fn put<T>(nodes: &mut [Node], slots: &mut [Slot<T>], hole: usize, node: Node) {
    if let Some(filled) = nodes.get_mut(hole) {
        *filled = node;
    }
    if let Some(slot) = slots.get_mut(node.slot() as usize) {
        slot.place = hole as u32;
    }
}

/// Fills `hole`, or one above it, with `node`. Nothing below `hole` may come before `node`.
#[inline(always)]
pub(super) fn ascend<T>(nodes: &mut [Node], slots: &mut [Slot<T>], mut hole: usize, node: Node) {
    while hole > 0 {
        let parent = (hole - 1) / ARITY;
        match nodes.get(parent) {
            Some(&above) if !above.is_before(node) => put(nodes, slots, hole, above),
            _ => break,
        }
        hole = parent;
    }
    put(nodes, slots, hole, node);
}

/// Lets the first child rise into `hole`, its own first child after it, and so on; the leaf they leave is returned.
#[inline(always)]
fn descend<T>(nodes: &mut [Node], slots: &mut [Slot<T>], mut hole: usize) -> usize {
    loop {
        let below = hole * ARITY + 1;
        let (child, node) = match nodes.get(below..) {
            None | Some([]) => return hole,
            Some(children @ [first, rest @ ..]) => match children.first_chunk() {
                Some(children) => first_of_all(children),
                None => first_of_few(*first, rest),
            },
        };
        put(nodes, slots, hole, node);
        hole = below + child;
    }
}

/// Fills `hole`, or one above or below it, with `node`.
#[inline(always)]
pub(super) fn settle<T>(nodes: &mut [Node], slots: &mut [Slot<T>], hole: usize, node: Node) {
    let leaf = descend(nodes, slots, hole);
    ascend(nodes, slots, leaf, node);
}

/// Which of a full set of children comes first. Two chains, for one would be bound by its latency.
#[inline(always)]
fn first_of_all(children: &[Node; ARITY]) -> (usize, Node) {
    const HALF: usize = ARITY / 2;
    let (mut left, mut right) = ((0, children[0]), (HALF, children[HALF]));
    for i in 1..HALF {
        left = earlier(left, (i, children[i]));
        right = earlier(right, (HALF + i, children[HALF + i]));
    }
    earlier(left, right)
}

/// Which of some children comes first: the `first` of them, or one of the `rest`.
#[inline(always)]
fn first_of_few(first: Node, rest: &[Node]) -> (usize, Node) {
    let mut earliest = (0, first);
    for (i, &node) in rest.iter().enumerate() {
        earliest = earlier(earliest, (i + 1, node));
    }
    earliest
}

/// A branch here would be guessed wrong half the time.
#[inline(always)]
fn earlier(a: (usize, Node), b: (usize, Node)) -> (usize, Node) {
    let take_b = b.1.is_before(a.1);
    let node = Node {
        deadline: select(take_b, b.1.deadline, a.1.deadline),
        tie: select(take_b, b.1.tie, a.1.tie),
    };
    (select(take_b, b.0, a.0), node)
}

/// Gives out the sequence numbers anew, from 0, in the order they have; returns the next one.
#[cold]
#[inline(never)]
pub(super) fn renumber<T>(nodes: &mut [Node], slots: &mut [Slot<T>]) -> u64 {
    // The first of all goes behind the heap that is left: once that is empty, the last comes first.
    let mut left = &mut *nodes;
    while let Some((last, heap)) = left.split_last_mut() {
        if let Some(&first) = heap.first() {
            let moved = core::mem::replace(last, first);
            settle(heap, slots, 0, moved);
        }
        left = heap;
    }
    let mut middle = &mut *nodes;
    while let [first, between @ .., last] = middle {
        core::mem::swap(first, last);
        middle = between;
    }
    // Sorted is a heap too.
    for (place, node) in nodes.iter_mut().enumerate() {
        *node = Node::new(node.deadline, place as u64, node.slot());
        if let Some(slot) = slots.get_mut(node.slot() as usize) {
            slot.place = place as u32;
        }
    }
    nodes.len() as u64
}
