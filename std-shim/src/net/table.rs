//! What a loop keeps of its streams and listeners: slots that grow, found by handles that are checked.
//!
//! **Invariants.** *INV-NET-TABLE-1*: an id names one occupant of one slot of one loop: the generation moves on when a slot is
//! vacated, and begins elsewhere in each table.
//!
//! **Why this shape.** The core's tables are as large as they are declared; here an entry has a box, which is moved out and in
//! as one word, and a table of a loop that has no streams is nothing.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// Names one occupant of one slot: index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(hidden)]
pub struct Id(u64);

impl Id {
    const fn index(self) -> usize {
        (self.0 & INDEX_MASK) as usize
    }

    /// The id of the next occupant of the same slot.
    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << INDEX_BITS))
    }
}

struct Slot<T> {
    /// Of the occupant, or of the next one.
    id: Id,
    occupant: Option<Box<T>>,
}

/// A table that grows. INV-NET-TABLE-1.
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
    salt: u64,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        /// Tables that were made, each a golden ratio of the generations on from the last.
        static TABLES: AtomicU64 = AtomicU64::new(1);
        let salt = TABLES.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            salt: salt & !INDEX_MASK,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Occupies a slot.
    pub(crate) fn insert(&mut self, occupant: T) -> Id {
        let index = self.vacant.pop().unwrap_or_else(|| {
            let index = self.slots.len();
            self.slots.push(Slot {
                id: Id(self.salt | index as u64),
                occupant: None,
            });
            index as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.occupant = Some(Box::new(occupant));
        slot.id
    }

    #[inline]
    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        let slot = self.slots.get(id.index()).filter(|slot| slot.id == id)?;
        slot.occupant.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.id == id {
            slot.occupant.as_deref_mut()
        } else {
            None
        }
    }

    /// Vacates a slot.
    pub(crate) fn remove(&mut self, id: Id) -> Option<Box<T>> {
        let slot = self
            .slots
            .get_mut(id.index())
            .filter(|slot| slot.id == id)?;
        let occupant = slot.occupant.take()?;
        slot.id = id.next();
        self.vacant.push(id.index() as u32);
        Some(occupant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_reaches_nobody() {
        let mut table = Table::new();
        let first = table.insert("one");
        let other = table.insert("two");
        assert_eq!(table.remove(first).as_deref(), Some(&"one"));
        let again = table.insert("three");
        assert_eq!((again.index(), table.len()), (first.index(), 2));
        assert_ne!(again, first);
        assert!(table.get(first).is_none() && table.remove(first).is_none());
        assert_eq!(
            (table.get(again), table.get(other)),
            (Some(&"three"), Some(&"two"))
        );
        assert_eq!(Table::<&str>::new().get(again), None, "another loop's");
    }
}
