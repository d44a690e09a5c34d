//! The interest list and the ready list: what one epoll instance is.
//!
//! **What.** [`InterestList`] keeps registrations by (open file, number), is told when a file changes, and hands out
//! what is ready.
//!
//! **Invariants.** *INV-INTEREST-1*: a registration is in `ready` at most once, and exactly if its `linked` is set.
//! *INV-INTEREST-2*: `by_key` and `entries` hold the same registrations.
//!
//! **Why this shape.** Edges can't be computed from states: what matters is which changes the kernel tells of. So this
//! follows `fs/eventpoll.c` in what it observably does: a change links a registration that asks for it, a wait looks
//! again at what is linked, and what is level-triggered and still ready goes back to the tail.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use linux_event_core::errno::Errno;
use linux_event_core::reactor::Report;
use linux_event_core::sys::RawFd;

use super::bits::{EDGE, ERR, EXCLUSIVE, EXCLUSIVE_MAY, HUP, MODES, ONESHOT};
use super::machine::FileId;

type RegistrationId = u64;

#[derive(Debug)]
struct Registration {
    file: FileId,
    number: RawFd,
    events: u32,
    token: u64,
    linked: bool,
}

#[derive(Debug, Default)]
pub(super) struct InterestList {
    entries: BTreeMap<RegistrationId, Registration>,
    by_key: BTreeMap<(FileId, RawFd), RegistrationId>,
    ready: VecDeque<RegistrationId>,
    made: RegistrationId,
}

impl InterestList {
    /// `EPOLL_CTL_ADD`; `state` is what the file is ready for now.
    pub(super) fn add(
        &mut self,
        file: FileId,
        number: RawFd,
        events: u32,
        token: u64,
        state: u32,
    ) -> Result<(), Errno> {
        if events & EXCLUSIVE != 0 && events & !EXCLUSIVE_MAY != 0 {
            return Err(Errno::EINVAL);
        }
        if self.by_key.contains_key(&(file, number)) {
            return Err(Errno::EEXIST);
        }
        self.made += 1;
        let registration = Registration {
            file,
            number,
            events: events | ERR | HUP,
            token,
            linked: false,
        };
        self.by_key.insert((file, number), self.made);
        self.entries.insert(self.made, registration);
        self.link_if(self.made, state);
        Ok(())
    }

    /// `EPOLL_CTL_MOD`.
    pub(super) fn modify(
        &mut self,
        file: FileId,
        number: RawFd,
        events: u32,
        token: u64,
        state: u32,
    ) -> Result<(), Errno> {
        if events & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let id = *self.by_key.get(&(file, number)).ok_or(Errno::ENOENT)?;
        let Some(registration) = self.entries.get_mut(&id) else {
            return Err(Errno::ENOENT);
        };
        if registration.events & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        registration.events = events | ERR | HUP;
        registration.token = token;
        self.link_if(id, state);
        Ok(())
    }

    /// `EPOLL_CTL_DEL`.
    pub(super) fn remove(&mut self, file: FileId, number: RawFd) -> Result<(), Errno> {
        let id = self.by_key.remove(&(file, number)).ok_or(Errno::ENOENT)?;
        self.drop_entry(id);
        Ok(())
    }

    /// The file's last descriptor was closed.
    pub(super) fn forget_file(&mut self, file: FileId) {
        for id in self.of_file(file) {
            if let Some(registration) = self.entries.get(&id) {
                self.by_key.remove(&(file, registration.number));
            }
            self.drop_entry(id);
        }
    }

    /// The file changed. `key` is what for, 0 if that is not told.
    ///
    /// Who registered last hears first; exclusive registrations come after all others, in the order they were made.
    pub(super) fn wake(&mut self, file: FileId, key: u32) {
        let mut woken = self.of_file(file);
        woken.sort_by_key(|&id| {
            let exclusive = self
                .entries
                .get(&id)
                .is_some_and(|registration| registration.events & EXCLUSIVE != 0);
            (exclusive, if exclusive { id } else { u64::MAX - id })
        });
        for id in woken {
            let Some(registration) = self.entries.get(&id) else {
                continue;
            };
            let disarmed = registration.events & !MODES == 0;
            if !disarmed && (key == 0 || key & registration.events != 0) {
                self.link(id);
            }
        }
    }

    /// Fetches at most `max` reports; `state` tells what a file is ready for.
    pub(super) fn fetch(
        &mut self,
        max: usize,
        state: impl Fn(FileId) -> u32,
        batch: &mut VecDeque<Report>,
    ) {
        let mut again = VecDeque::new();
        while batch.len() < max {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            let Some(registration) = self.entries.get_mut(&id) else {
                continue;
            };
            registration.linked = false;
            let events = state(registration.file) & registration.events;
            if events == 0 {
                continue;
            }
            batch.push_back(Report {
                token: registration.token,
                events,
            });
            if registration.events & ONESHOT != 0 {
                registration.events &= MODES;
            } else if registration.events & EDGE == 0 {
                registration.linked = true;
                again.push_back(id);
            }
        }
        self.ready.append(&mut again);
    }

    /// Whether a wait would find something.
    pub(super) fn is_ready(&self, state: impl Fn(FileId) -> u32) -> bool {
        self.ready.iter().any(|id| {
            self.entries
                .get(id)
                .is_some_and(|registration| state(registration.file) & registration.events != 0)
        })
    }

    /// How many registrations there are of files for which `counts` holds.
    pub(super) fn count(&self, counts: impl Fn(FileId) -> bool) -> usize {
        self.by_key.keys().filter(|(file, _)| counts(*file)).count()
    }

    fn of_file(&self, file: FileId) -> Vec<RegistrationId> {
        let numbers = (file, RawFd::MIN)..=(file, RawFd::MAX);
        self.by_key.range(numbers).map(|(_, &id)| id).collect()
    }

    fn link_if(&mut self, id: RegistrationId, state: u32) {
        if self
            .entries
            .get(&id)
            .is_some_and(|registration| state & registration.events != 0)
        {
            self.link(id);
        }
    }

    fn link(&mut self, id: RegistrationId) {
        if let Some(registration) = self.entries.get_mut(&id)
            && !registration.linked
        {
            registration.linked = true;
            self.ready.push_back(id);
        }
    }

    fn drop_entry(&mut self, id: RegistrationId) {
        if self
            .entries
            .remove(&id)
            .is_some_and(|registration| registration.linked)
        {
            self.ready.retain(|&linked| linked != id);
        }
    }
}
