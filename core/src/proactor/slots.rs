//! The operations under way: a table that costs each of them a dozen instructions in, and a dozen out.
//!
//! **What.** [`Slots`] gives out handles and finds what they name, as [`Table`](crate::table::Table) does, for one kind of
//! occupant: small, and copied out whole.
//!
//! **Invariants.** *INV-SLOTS-1*: an empty table is all zeroes, and a slot that was never used is never written.
//! *INV-SLOTS-2*: a slot's token is its occupant's, or the one that its next occupant gets, which nobody has; only its data
//! says whether there is one. *INV-SLOTS-3*: vacant slots form one chain that ends beyond the last slot, by their `link`:
//! how much farther the next one is than the one after this. So those that were never used follow each other by themselves.
//! *INV-SLOTS-4*: the key of a slot is that of its occupant's descriptor; that of a vacant one means nothing.
//!
//! **Why this shape.** Every operation passes through here twice, and the ring's own arena besides; the general table, which
//! moves its values and tells empty from full by an enum, costs four times as much. Cancelling by descriptor looks through
//! the keys, which are dense: 10,000 operations are 40 kB, a microsecond. A list through the slots would cost every operation.

#![forbid(unsafe_code)]

use super::operation::Code;
use super::storage::{NO_KEY, State};
use crate::handle::{Handle, INDEX_BITS, MAX_SLOTS, TAG_BITS, Tag};
use crate::table::Cell;

/// An operation under way: what each one has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<D> {
    pub(super) state: State,
    pub(super) code: Code,
    /// Index + 1 of the file that it works on; 0 for none.
    pub(super) file: u32,
    pub(super) data: D,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Slot<D> {
    /// INV-SLOTS-2; 0 if the slot was never used.
    token: u64,
    /// Occupied: the entry's `file`. Vacant: INV-SLOTS-3.
    link: u32,
    state: State,
    code: Code,
    data: Cell<D>,
}

/// What tells a token from that of the slot's next occupant.
const GENERATION: u64 = 1 << (INDEX_BITS + TAG_BITS);

impl<D> Slot<D> {
    const EMPTY: Self = Self {
        token: 0,
        link: 0,
        state: State::empty(),
        code: Code::Nop,
        data: Cell::Vacant,
    };

    #[inline(always)]
    fn is(&self, token: u64) -> bool {
        self.token == token && matches!(self.data, Cell::Full(_))
    }

    /// Vacates the slot at `index`, in front of the slot `vacant`.
    #[inline(always)]
    fn vacate(&mut self, index: u32, vacant: u32) {
        // The low bits stay, and with them the tag: so it is not zero.
        self.token = self.token.wrapping_add(GENERATION);
        self.data = Cell::Vacant;
        self.link = vacant.wrapping_sub(index).wrapping_sub(1);
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Slots<D, const N: usize> {
    /// First generation of every slot.
    salt: u64,
    len: u32,
    high_water: u32,
    /// The first vacant slot; `N` or more if there is none.
    vacant: u32,
    places: [Slot<D>; N],
    /// INV-SLOTS-4.
    keys: [i32; N],
}

/// The index of a token.
#[inline(always)]
const fn index_of(token: u64) -> usize {
    token as usize & (MAX_SLOTS - 1)
}

impl<D: Copy, const N: usize> Slots<D, N> {
    /// The slot with this index, whoever occupies it.
    #[inline(always)]
    pub(super) fn at(&self, index: u32) -> Option<(Handle, Entry<D>)> {
        entry(self.places.get(index as usize)?)
    }

    /// What a handle names.
    #[inline(always)]
    pub(super) fn get(&self, handle: Handle) -> Option<Entry<D>> {
        self.find(handle.raw()).map(|(_, entry)| entry)
    }

    /// What a word from the backend names, with its handle.
    #[inline(always)]
    pub(super) fn find(&self, token: u64) -> Option<(Handle, Entry<D>)> {
        let slot = self.places.get(index_of(token))?;
        if slot.token == token {
            entry(slot)
        } else {
            None
        }
    }

    /// Takes out what a word from the backend names: its state, its file and its data.
    #[inline(always)]
    pub(super) fn take(&mut self, token: u64) -> Option<(State, u32, D)> {
        let index = index_of(token);
        let slot = self.places.get_mut(index)?;
        if slot.token != token {
            return None;
        }
        let Cell::Full(data) = slot.data else {
            return None;
        };
        let (state, file) = (slot.state, slot.link);
        slot.vacate(index as u32, self.vacant);
        self.vacant = index as u32;
        self.len -= 1;
        Some((state, file, data))
    }

    /// Puts an operation in, with its key, and names it; `None` if every slot is occupied.
    #[inline(always)]
    pub(super) fn insert(&mut self, entry: Entry<D>, key: i32) -> Option<Handle> {
        let index = self.vacant;
        let slot = self.places.get_mut(index as usize)?;
        let handle = match Handle::from_raw(slot.token) {
            Some(handle) => handle,
            None => first(index, self.salt, &mut slot.token, &mut self.high_water),
        };
        self.vacant = index.wrapping_add(1).wrapping_add(slot.link);
        self.len += 1;
        slot.link = entry.file;
        slot.state = entry.state;
        slot.code = entry.code;
        slot.data = Cell::Full(entry.data);
        if let Some(place) = self.keys.get_mut(index as usize) {
            *place = key;
        }
        Some(handle)
    }
}

/// Names the first occupant of a slot. Slots are first used in their order.
#[cold]
#[inline(never)]
fn first(index: u32, salt: u64, token: &mut u64, high_water: &mut u32) -> Handle {
    let handle = Handle::new(index, Tag::Operation, salt);
    *token = handle.raw();
    *high_water = index + 1;
    handle
}

/// What an occupied slot holds.
#[inline(always)]
fn entry<D: Copy>(slot: &Slot<D>) -> Option<(Handle, Entry<D>)> {
    let (Some(handle), Cell::Full(data)) = (Handle::from_raw(slot.token), slot.data) else {
        return None;
    };
    Some((
        handle,
        Entry {
            state: slot.state,
            code: slot.code,
            file: slot.link,
            data,
        },
    ))
}

impl<D, const N: usize> Slots<D, N> {
    const FITS: () = assert!(N <= MAX_SLOTS, "a proactor has at most 2^20 operations");

    pub(super) const fn new() -> Self {
        const { Self::FITS };
        Self {
            salt: 0,
            len: 0,
            high_water: 0,
            vacant: 0,
            places: [const { Slot::EMPTY }; N],
            keys: [0; N],
        }
    }

    /// Sets the generation that slots start at. Those used before keep theirs.
    pub(super) fn set_salt(&mut self, salt: u64) {
        self.salt = salt;
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Every occupied index is below it.
    pub(super) fn high_water(&self) -> u32 {
        self.high_water
    }

    /// What cancelling by descriptor looks for (INV-SLOTS-4).
    pub(super) fn key(&self, index: u32) -> i32 {
        self.keys.get(index as usize).copied().unwrap_or(NO_KEY)
    }

    /// An operation's state, to change.
    pub(super) fn state_mut(&mut self, handle: Handle) -> Option<&mut State> {
        let slot = self.places.get_mut(handle.index() as usize)?;
        slot.is(handle.raw()).then_some(&mut slot.state)
    }

    pub(super) fn contains(&self, handle: Handle) -> bool {
        let slot = self.places.get(handle.index() as usize);
        slot.is_some_and(|slot| slot.is(handle.raw()))
    }

    /// Vacates every slot.
    pub(super) fn clear(&mut self) {
        let used = self.places.iter_mut().take(self.high_water as usize);
        for (index, slot) in (0..).zip(used) {
            if matches!(slot.data, Cell::Full(_)) {
                slot.vacate(index, self.vacant);
                self.vacant = index;
            }
        }
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    fn with(data: u16) -> Entry<u16> {
        Entry {
            state: State::empty(),
            code: Code::Fsync,
            file: u32::from(data) + 7,
            data,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn p3_behaves_like_a_map(steps in proptest::collection::vec((0..4u8, any::<u16>()), 0..if cfg!(miri) { 40 } else { 400 })) {
            let mut slots: Slots<u16, 16> = Slots::new();
            slots.set_salt(0xFF_FFFF_FFFE); // wraps soon
            let mut model: HashMap<Handle, u16> = HashMap::new();
            let (mut live, mut dead) = (Vec::new(), Vec::<Handle>::new());
            for (kind, value) in steps {
                match kind {
                    0 | 1 => {
                        let inserted = slots.insert(with(value), i32::from(value));
                        prop_assert_eq!(inserted.is_some(), model.len() < 16);
                        if let Some(handle) = inserted {
                            prop_assert!(handle.is(Tag::Operation));
                            prop_assert!(model.insert(handle, value).is_none());
                            live.push(handle);
                        }
                    }
                    2 if !live.is_empty() => {
                        let handle = live.swap_remove(usize::from(value) % live.len());
                        let (_, file, data) = slots.take(handle.raw()).unwrap();
                        prop_assert_eq!(Some(data), model.remove(&handle));
                        prop_assert_eq!(file, u32::from(data) + 7);
                        dead.push(handle);
                    }
                    3 if !dead.is_empty() => {
                        let handle = dead[usize::from(value) % dead.len()];
                        prop_assert!(slots.take(handle.raw()).is_none() && slots.get(handle).is_none());
                        prop_assert!(slots.find(handle.raw()).is_none() && !slots.contains(handle));
                        prop_assert!(slots.state_mut(handle).is_none());
                    }
                    _ => {}
                }
                prop_assert_eq!(slots.len(), model.len());
                for (&handle, &data) in &model {
                    prop_assert_eq!(slots.get(handle).map(|entry| entry.data), Some(data));
                    prop_assert_eq!(slots.at(handle.index()).map(|(found, _)| found), Some(handle));
                    prop_assert_eq!(slots.key(handle.index()), i32::from(data));
                    prop_assert!(handle.index() < slots.high_water());
                }
            }
            slots.clear();
            prop_assert_eq!((slots.len(), (0..16).filter(|&index| slots.at(index).is_some()).count()), (0, 0));
            for handle in live {
                prop_assert!(!slots.contains(handle));
            }
        }
    }
}
