//! Provided buffers, and the leases on them (rule P-16).
//!
//! **Invariants.** *INV-PROVIDED-1*: each buffer of a group is either in its `vacant` queue or in one lease.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::rc::Rc;

use linux_event_core::error::Error;
use linux_event_core::proactor::Group;

/// The most buffers of a group, as a ring of them has.
const COUNT_MAX: u16 = 32_768;

/// A group's buffers, shared with the leases on them.
#[derive(Debug)]
struct Shared {
    vacant: RefCell<VecDeque<Vec<u8>>>,
    leases: Rc<Cell<usize>>,
}

/// A provided buffer of a [`Fake`](super::Fake), filled. Dropping it gives it back to its group, once; it can't leave its
/// thread.
#[derive(Debug)]
pub struct FakeLease {
    /// All of the buffer; empty once it was given back.
    memory: Vec<u8>,
    filled: usize,
    group: Rc<Shared>,
}

impl Deref for FakeLease {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl Drop for FakeLease {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.group.vacant.borrow_mut().push_back(memory);
        self.group.leases.set(self.group.leases.get() - 1);
    }
}

/// The groups of a proactor.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: BTreeMap<u16, Rc<Shared>>,
    /// Leases that live, of withdrawn groups too.
    leases: Rc<Cell<usize>>,
}

impl Groups {
    pub(super) fn provide(&mut self, count: u16, size: u32) -> Result<Group, Error> {
        if !count.is_power_of_two() || count > COUNT_MAX {
            let why = "a group has a power of two of buffers, 1 to 32,768";
            return Err(Error::Invalid(why));
        }
        if size == 0 {
            return Err(Error::Invalid("a provided buffer has at least a byte"));
        }
        let id = (0..u16::MAX).find(|id| !self.all.contains_key(id));
        let id = id.ok_or(Error::Full {
            capacity: usize::from(u16::MAX),
        })?;
        let buffers = (0..count).map(|_| vec![0; size as usize]);
        let shared = Shared {
            vacant: RefCell::new(buffers.collect()),
            leases: Rc::clone(&self.leases),
        };
        self.all.insert(id, Rc::new(shared));
        Ok(Group::new(id))
    }

    pub(super) fn withdraw(&mut self, group: Group) -> Result<(), Error> {
        match self.all.remove(&group.id()) {
            Some(_) => Ok(()),
            None => Err(Error::Stale),
        }
    }

    pub(super) fn contains(&self, group: Group) -> bool {
        self.all.contains_key(&group.id())
    }

    /// Bytes of the buffer that would be filled next; `None` if none is left.
    pub(super) fn next_size(&self, group: Group) -> Option<usize> {
        let shared = self.all.get(&group.id())?;
        shared.vacant.borrow().front().map(Vec::len)
    }

    /// Fills the next buffer, which has room for `bytes`.
    pub(super) fn fill(&mut self, group: Group, bytes: &[u8]) -> Option<FakeLease> {
        let shared = self.all.get(&group.id())?;
        let mut memory = shared.vacant.borrow_mut().pop_front()?;
        memory[..bytes.len()].copy_from_slice(bytes);
        shared.leases.set(shared.leases.get() + 1);
        Some(FakeLease {
            memory,
            filled: bytes.len(),
            group: Rc::clone(shared),
        })
    }

    pub(super) fn leases(&self) -> usize {
        self.leases.get()
    }
}
