//! Descriptor numbers: which are taken, and by which open file.
//!
//! **Invariants.** *INV-NUMBERS-1*: `free` holds the numbers from [`FIRST`] to below `end` that are not in `taken`.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use linux_event_core::errno::Errno;
use linux_event_core::sys::RawFd;

use super::machine::FileId;

/// The first number to be had: 0, 1 and 2 are taken from the start.
const FIRST: RawFd = 3;

#[derive(Debug)]
pub(super) struct Numbers {
    taken: BTreeMap<RawFd, FileId>,
    free: BTreeSet<RawFd>,
    end: RawFd,
    /// Numbers from here on can't be had.
    pub(super) limit: RawFd,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self {
            taken: BTreeMap::new(),
            free: BTreeSet::new(),
            end: FIRST,
            limit: RawFd::MAX,
        }
    }

    pub(super) fn file(&self, number: RawFd) -> Result<FileId, Errno> {
        self.taken.get(&number).copied().ok_or(Errno::EBADF)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.taken.keys().copied()
    }

    /// EMFILE unless `wanted` more numbers are to be had.
    pub(super) fn check_room(&self, wanted: usize) -> Result<(), Errno> {
        let holes = self.free.range(..self.limit).take(wanted).count();
        let beyond = self.limit.saturating_sub(self.end).max(0) as usize;
        if holes + beyond < wanted {
            return Err(Errno::EMFILE);
        }
        Ok(())
    }

    /// Gives `file` the lowest number that is free. The caller has checked that there is one.
    pub(super) fn take_lowest(&mut self, file: FileId) -> RawFd {
        let number = self.free.first().copied().unwrap_or(self.end);
        self.take(number, file);
        number
    }

    /// EBADF unless `number` is in the range of descriptors.
    pub(super) fn check_range(&self, number: RawFd) -> Result<(), Errno> {
        if (FIRST..self.limit).contains(&number) {
            return Ok(());
        }
        Err(Errno::EBADF)
    }

    pub(super) fn take(&mut self, number: RawFd, file: FileId) {
        self.free.extend(self.end..number);
        self.end = self.end.max(number + 1);
        self.free.remove(&number);
        self.taken.insert(number, file);
    }

    /// The file that the number led to.
    pub(super) fn give_back(&mut self, number: RawFd) -> Result<FileId, Errno> {
        let file = self.taken.remove(&number).ok_or(Errno::EBADF)?;
        self.free.insert(number);
        Ok(file)
    }
}
