//! Fixed-capacity tables whose entries are named by generation-checked handles.
//!
//! **What.** [`Table<T, N>`] holds up to `N` values. Inserting gives a [`Handle`]; the handle finds the value until
//! it is removed, and never finds another. Every operation takes constant time and none allocates.
//!
//! ```
//! use linux_event_core::handle::Tag;
//! use linux_event_core::table::Table;
//!
//! // On the stack; a `static` or a zeroed box do as well, for an empty table is all zeroes.
//! let mut table: Table<&str, 4> = Table::new();
//! let first = table.insert(Tag::Watcher, "first").unwrap();
//! assert_eq!(table.get(first), Some(&"first"));
//! assert_eq!(table.remove(first), Some("first"));
//!
//! let second = table.insert(Tag::Watcher, "second").unwrap(); // the same slot again
//! assert_eq!(second.index(), first.index());
//! assert_eq!(table.get(first), None); // stale, for ever
//! ```
//!
//! **Invariants.** *INV-TABLE-1*: an empty table is all zero bytes, and a slot that was never used is never
//! written: a large capacity costs address space, not memory. *INV-TABLE-2*: an occupied
//! slot holds the one handle that finds its value; a vacant one holds none. *INV-TABLE-3*: vacant slots below
//! the high-water mark form one chain; those above it are in none.
//!
//! **Why this shape.** The methods are written once, on the unsized [`TableView`], so that tables of many
//! capacities share one copy of the code. Freed slots are used again last-in first-out, because the slot touched
//! last is the one in the cache; 40 bits of generation make that safe (2⁴⁰ reuses of one slot are 18 hours of doing
//! nothing else at 60 ns each).

#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::handle::{Handle, INDEX_BITS, MAX_SLOTS, TAG_BITS, Tag};

const GENERATION_SHIFT: u32 = INDEX_BITS + TAG_BITS;
const GENERATION_MASK: u64 = (1 << (64 - GENERATION_SHIFT)) - 1;

/// A cell that is all zeroes when it is empty, which `Option` does not promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cell<T> {
    /// Nothing here.
    Vacant = 0,
    /// A value.
    Full(T) = 1,
}

/// One slot of a table. Opaque: it is public only because a table's type names it.
#[derive(Debug)]
pub struct Slot<T>(Place<T>);

/// What is in a slot. All zeroes while it was never used (INV-TABLE-1).
#[derive(Debug)]
#[repr(u8)]
enum Place<T> {
    Vacant {
        /// Index + 1 of the next vacant slot; 0 ends the chain.
        next: u32,
        /// That of the last occupant.
        generation: u64,
    } = 0,
    Full {
        /// The occupant's own (INV-TABLE-2).
        handle: Handle,
        value: T,
    } = 1,
}

impl<T> Slot<T> {
    const EMPTY: Self = Self(Place::Vacant {
        next: 0,
        generation: 0,
    });
}

/// A refused insertion: the table is full and the value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// The common form of [`Table`] and [`TableView`].
pub struct TableInner<T, S: ?Sized> {
    /// First generation of every slot: tables with different salts refuse each other's handles.
    salt: u64,
    /// Occupied slots.
    len: u32,
    /// Slots ever used: INV-TABLE-3.
    high_water: u32,
    /// Index + 1 of the first vacant slot below the mark.
    vacant: u32,
    types: PhantomData<T>,
    slots: S,
}

/// A table of up to `N` values, `N` at most 2²⁰. See the [module](self).
pub type Table<T, const N: usize> = TableInner<T, [Slot<T>; N]>;

/// A table whose capacity the type does not name: what every [`Table`] dereferences to.
pub type TableView<T> = TableInner<T, [Slot<T>]>;

impl<T, const N: usize> Table<T, N> {
    const CAPACITY_FITS: () = assert!(N <= MAX_SLOTS, "a table has at most 2^20 slots");

    /// An empty table: all zeroes (INV-TABLE-1).
    #[inline]
    pub const fn new() -> Self {
        const { Self::CAPACITY_FITS };
        Self {
            salt: 0,
            len: 0,
            high_water: 0,
            vacant: 0,
            types: PhantomData,
            slots: [const { Slot::EMPTY }; N],
        }
    }
}

impl<T, const N: usize> Default for Table<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Deref for Table<T, N> {
    type Target = TableView<T>;
    #[inline(always)]
    fn deref(&self) -> &TableView<T> {
        self
    }
}

impl<T, const N: usize> DerefMut for Table<T, N> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut TableView<T> {
        self
    }
}

impl<T> TableView<T> {
    /// Sets the generation that slots start at, so that this table's handles are stale in others.
    ///
    /// Slots that were used already keep their generations; call it before the first insertion.
    pub fn set_salt(&mut self, salt: u64) {
        self.salt = salt & GENERATION_MASK;
    }

    /// How many values the table holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the table holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the next insertion would be refused.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == self.slots.len()
    }

    /// How many values the table can hold.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many slots were ever used: every occupied index is below it.
    #[inline]
    pub fn high_water(&self) -> usize {
        self.high_water as usize
    }

    /// Puts `value` into a vacant slot and names it. Constant time.
    ///
    /// # Errors
    /// [`Full`] with the value, when every slot is occupied.
    #[inline]
    pub fn insert(&mut self, tag: Tag, value: T) -> Result<Handle, Full<T>> {
        let (index, generation, vacant) = if self.vacant == 0 {
            (self.high_water, self.salt, 0)
        } else {
            let index = self.vacant - 1;
            match self.slots.get(index as usize) {
                Some(Slot(Place::Vacant { next, generation })) => (index, generation + 1, *next),
                _ => return Err(Full(value)),
            }
        };
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Err(Full(value));
        };
        let handle = Handle::new(index, tag, generation);
        slot.0 = Place::Full { handle, value };
        self.high_water = self.high_water.max(index + 1);
        self.vacant = vacant;
        self.len += 1;
        Ok(handle)
    }

    /// The value that `handle` names; `None` if the handle is stale or of another table.
    #[inline(always)]
    pub fn get(&self, handle: Handle) -> Option<&T> {
        match self.at(handle.index()) {
            Some((occupant, value)) if occupant == handle => Some(value),
            _ => None,
        }
    }

    /// The value whose handle has the bits `token`, with that handle: for words that come back from the kernel.
    #[inline(always)]
    pub fn find(&mut self, token: u64) -> Option<(Handle, &mut T)> {
        match self.at_mut((token as usize & (MAX_SLOTS - 1)) as u32) {
            Some((occupant, value)) if occupant.raw() == token => Some((occupant, value)),
            _ => None,
        }
    }

    /// The value that `handle` names, to change; `None` if the handle is stale or of another table.
    #[inline(always)]
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        match self.at_mut(handle.index()) {
            Some((occupant, value)) if occupant == handle => Some(value),
            _ => None,
        }
    }

    /// Takes out the value that `handle` names; from then on the handle is stale.
    #[inline]
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let index = handle.index();
        let slot = self.slots.get_mut(index as usize)?;
        match &slot.0 {
            Place::Full {
                handle: occupant, ..
            } if *occupant == handle => {}
            _ => return None,
        }
        // The generation stays: the next occupant has another.
        let vacant = Place::Vacant {
            next: self.vacant,
            generation: handle.generation(),
        };
        let Place::Full { value, .. } = core::mem::replace(&mut slot.0, vacant) else {
            return None;
        };
        self.vacant = index + 1;
        self.len -= 1;
        Some(value)
    }

    /// Whether `handle` names a value of this table.
    #[inline]
    pub fn contains(&self, handle: Handle) -> bool {
        self.get(handle).is_some()
    }

    /// The occupant of the slot `index`, whoever it is, with its handle.
    #[inline(always)]
    pub fn at(&self, index: u32) -> Option<(Handle, &T)> {
        match self.slots.get(index as usize) {
            Some(Slot(Place::Full { handle, value })) => Some((*handle, value)),
            _ => None,
        }
    }

    /// The occupant of the slot `index`, whoever it is, to change, with its handle.
    #[inline(always)]
    pub fn at_mut(&mut self, index: u32) -> Option<(Handle, &mut T)> {
        match self.slots.get_mut(index as usize) {
            Some(Slot(Place::Full { handle, value })) => Some((*handle, value)),
            _ => None,
        }
    }

    /// Every value with its handle, in slot order. Takes time in proportion to the high-water mark.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        let used = self.slots.iter().take(self.high_water as usize);
        used.filter_map(|slot| match &slot.0 {
            Place::Full { handle, value } => Some((*handle, value)),
            Place::Vacant { .. } => None,
        })
    }
}

impl<T: fmt::Debug, S: ?Sized> fmt::Debug for TableInner<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len)
            .field("high_water", &self.high_water)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    #[test]
    fn p4_a_stale_handle_never_finds_the_next_occupant() {
        let mut table: Table<u32, 1> = Table::new();
        let mut old = Vec::new();
        for value in 0..100 {
            let handle = table.insert(Tag::Timer, value).unwrap();
            assert_eq!(table.insert(Tag::Timer, 7), Err(Full(7)));
            for &stale in &old {
                assert_eq!(table.get(stale), None);
                assert_eq!(table.remove(stale), None);
            }
            assert_eq!(table.remove(handle), Some(value));
            assert_eq!(table.remove(handle), None);
            old.push(handle);
        }
    }

    #[test]
    fn handles_of_another_table_are_stale() {
        let (mut a, mut b): (Table<u8, 4>, Table<u8, 4>) = (Table::new(), Table::new());
        a.set_salt(1 << 20);
        b.set_salt(2 << 20);
        let of_a = a.insert(Tag::Timer, 1).unwrap();
        let of_b = b.insert(Tag::Timer, 2).unwrap();
        assert_eq!(a.get(of_b), None);
        assert_eq!(b.remove(of_a), None);
    }

    #[test]
    fn a_tag_is_part_of_the_name() {
        let mut table: Table<u8, 2> = Table::new();
        let handle = table.insert(Tag::Timer, 1).unwrap();
        let forged = Handle::new(handle.index(), Tag::Watcher, handle.generation());
        assert_eq!(table.get(forged), None);
    }

    #[test]
    fn generations_wrap_without_harm() {
        let mut table: Table<u8, 1> = Table::new();
        table.set_salt(GENERATION_MASK);
        let last = table.insert(Tag::Timer, 1).unwrap();
        table.remove(last).unwrap();
        let first = table.insert(Tag::Timer, 2).unwrap();
        assert_eq!(first.generation(), 0);
        assert_eq!(table.get(last), None);
        assert_eq!(table.get(first), Some(&2));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        Remove(usize),
        RemoveStale(usize),
        Change(usize, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<u16>().prop_map(Step::Insert),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => any::<usize>().prop_map(Step::RemoveStale),
            1 => (any::<usize>(), any::<u16>()).prop_map(|(at, to)| Step::Change(at, to)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec(step(), 0..if cfg!(miri) { 40 } else { 400 })) {
            let mut table: Table<u16, 16> = Table::new();
            let mut model: HashMap<Handle, u16> = HashMap::new();
            let mut live: Vec<Handle> = Vec::new();
            let mut dead: Vec<Handle> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(value) => match table.insert(Tag::Timer, value) {
                        Ok(handle) => {
                            prop_assert!(model.len() < 16);
                            prop_assert!(model.insert(handle, value).is_none());
                            live.push(handle);
                        }
                        Err(Full(back)) => {
                            prop_assert_eq!(back, value);
                            prop_assert_eq!(model.len(), 16);
                        }
                    },
                    Step::Remove(at) if !live.is_empty() => {
                        let handle = live.swap_remove(at % live.len());
                        prop_assert_eq!(table.remove(handle), model.remove(&handle));
                        dead.push(handle);
                    }
                    Step::RemoveStale(at) if !dead.is_empty() => {
                        prop_assert_eq!(table.remove(dead[at % dead.len()]), None);
                    }
                    Step::Change(at, to) if !live.is_empty() => {
                        let handle = live[at % live.len()];
                        *table.get_mut(handle).unwrap() = to;
                        model.insert(handle, to);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.high_water() <= 16);
                for (handle, value) in &model {
                    prop_assert_eq!(table.get(*handle), Some(value));
                    prop_assert_eq!(table.at(handle.index()), Some((*handle, value)));
                }
                prop_assert_eq!(table.iter().count(), model.len());
            }
        }
    }
}
