//! The engine's orphans: registrations that outlive their watchers.
//!
//! **What.** A descriptor that is closed while a duplicate lives on keeps its registration, and goes on being reported
//! to a watcher that is gone. Here such reports are told from those of a watcher that went within the batch, and the
//! registrations are ended, or left behind with the whole interest list.
//!
//! **Invariants.** *INV-ORPHAN-1*: no number that a living watcher or process has is ever removed on an orphan's account.
//! *INV-ORPHAN-2*: a rebuilt list has a living registration exactly if the old one had it under the same number, so that
//! a number which was closed and used again is not carried over.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;

use linux_raw_sys::general as linux;

use super::backend::Backend;
use super::engine::{Pending, Reactor};
use super::flags::Mode;
use super::storage::{Entry, Kind, State, Storage, UNREGISTERED};
use crate::handle::Handle;
use crate::sys::AsRawFd;

/// Registrations that the kernel keeps reporting although their watcher is gone: a descriptor was closed while a
/// duplicate of it lived on, and its number can't be used to end the registration (`epoll(7)`, Questions and answers 6).
#[derive(Debug)]
pub(super) struct Orphans {
    /// Slots whose last occupants are reported although the slots are vacant.
    vacant: heapless::Vec<u32, 8>,
    /// A rebuild is due.
    rebuild: bool,
    /// Turns in a row with a stale report that may have been an orphan's or may not.
    doubtful_turns: u8,
    /// The last of those turns.
    doubtful_turn: u32,
}

impl Orphans {
    pub(super) const NONE: Self = Self {
        vacant: heapless::Vec::new(),
        rebuild: false,
        doubtful_turns: 0,
        doubtful_turn: 0,
    };
    /// So many doubtful turns in a row are taken for an orphan.
    const DOUBT: u8 = 16;
}

impl<D, const W: usize, const T: usize, B, S> Reactor<D, W, T, B, S>
where
    D: Copy,
    B: Backend,
    S: BorrowMut<Storage<D, W, T, B::Process>>,
{
    /// A report whose watcher is gone: of the batch that was fetched before it went, or an orphan's.
    pub(super) fn note_stale(&mut self, handle: Handle) {
        self.stats.stale += 1;
        self.pending |= Pending::PREPARE;
        let (batch, turn) = (self.batch(), self.turn());
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        let Some(side) = storage.side(handle.index()) else {
            self.orphans.rebuild = true;
            return;
        };
        if side.changed != batch {
            // Its slot has not changed since before the batch: the registration outlived its watcher.
            match storage.watchers.at(handle.index()) {
                // More of them than there is room for are mended all at once.
                None => {
                    let noted = self.orphans.vacant.push(handle.index());
                    self.orphans.rebuild |= noted.is_err();
                }
                Some(_) => self.orphans.rebuild = true,
            }
            return;
        }
        // The slot changed during this batch, so this may be an event of before that. If it goes on like this turn
        // after turn, it is an orphan whose slot is in steady use.
        if self.orphans.doubtful_turn == turn {
            return;
        }
        let in_a_row = self.orphans.doubtful_turn == turn.wrapping_sub(1);
        self.orphans.doubtful_turn = turn;
        self.orphans.doubtful_turns = if in_a_row {
            self.orphans.doubtful_turns + 1
        } else {
            0
        };
        if self.orphans.doubtful_turns >= Orphans::DOUBT {
            self.orphans.doubtful_turns = 0;
            self.orphans.rebuild = true;
        }
    }

    /// Gets rid of orphans, before the wait.
    pub(super) fn mend_orphans(&mut self) {
        while let Some(index) = self.orphans.vacant.pop() {
            let storage: &Storage<_, W, T, _> = self.storage.borrow();
            let fd = storage.side(index).map(|side| side.fd);
            let removed = fd.is_some_and(|fd| {
                // Never by the number of a living watcher or process: it would be that one's registration.
                storage.find(fd).is_none() && !storage.has_process(fd) && {
                    self.stats.controls += 1;
                    self.backend.remove(fd).is_ok()
                }
            });
            self.orphans.rebuild |= !removed;
        }
        if self.orphans.rebuild {
            self.orphans.rebuild = false;
            self.rebuild();
        }
    }

    /// Moves every living registration to a new interest list.
    #[cold]
    fn rebuild(&mut self) {
        let used = {
            let storage: &Storage<_, W, T, _> = self.storage.borrow();
            storage.watchers.high_water() as u32
        };
        // A number that was closed and is another file now must not be carried over: ask the old list first.
        for index in 0..used {
            let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
            if let Some((handle, entry)) = storage.watchers.at_mut(index)
                && matches!(entry.kind, Kind::Watcher)
                && entry.registered != UNREGISTERED
                && entry.registered & Mode::EXCLUSIVE.bits() == 0
            {
                let bits = carried(entry);
                self.stats.controls += 1;
                if let Err(errno) = self.backend.modify(entry.fd, bits, handle) {
                    self.change(handle, |entry| {
                        entry.registered = UNREGISTERED;
                        entry.errno = errno.raw() as u16;
                        entry.state |= State::BROKEN;
                    });
                } else {
                    entry.registered = bits;
                }
            }
        }
        if self.backend.rebuild().is_err() {
            // No descriptor to be had: the orphan is reported again, and this is tried again.
            return;
        }
        self.stats.rebuilds += 1;
        for index in 0..used {
            let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
            let Some((handle, entry)) = storage.watchers.at_mut(index) else {
                continue;
            };
            let (fd, bits) = match &entry.kind {
                Kind::Watcher if entry.registered != UNREGISTERED => (entry.fd, entry.registered),
                Kind::Process { pidfd, .. } => (pidfd.as_raw_fd(), linux::EPOLLIN),
                _ => continue,
            };
            self.stats.controls += 1;
            if let Err(errno) = self.backend.add(fd, bits, handle) {
                self.fail(handle, errno);
            }
        }
    }
}

/// What a rebuild gives the kernel: what it has, but nothing for a oneshot that was disarmed.
fn carried<D, P>(entry: &Entry<D, P>) -> u32 {
    if entry.state.contains(State::DISARMED) {
        Mode::EDGE.bits()
    } else {
        entry.registered
    }
}
