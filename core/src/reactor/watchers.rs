//! The engine's watchers: registration, changes of interest, delivery of what is not plain.
//!
//! **Invariants.** Those of `engine` and `storage`.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;

use linux_raw_sys::general as linux;

use super::backend::Backend;
use super::engine::{Pending, Reactor};
use super::event::Event;
use super::flags::{Interest, Mode, Ready};
use super::storage::{Entry, Kind, State, Storage, UNREGISTERED};
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::handle::{Handle, Tag, Watcher};
use crate::sys::{AsRawFd, RawFd};
use crate::table::Full;

impl<D, const W: usize, const T: usize, B, S> Reactor<D, W, T, B, S>
where
    D: Copy,
    B: Backend,
    S: BorrowMut<Storage<D, W, T, B::Process>>,
{
    /// Watches `fd`, level-triggered, for `interest`; an empty interest registers it for later.
    ///
    /// A descriptor that is watched already gets a new watcher with one `EPOLL_CTL_MOD`, and the old handle is stale
    /// if the kernel refuses the new one, neither is left. The reactor never closes `fd`.
    ///
    /// # Errors
    /// [`Error::NotPollable`] for regular files and directories; [`Error::Full`]; [`Error::Os`] with EBADF,
    /// ENOSPC (`max_user_watches`) or ENOMEM; [`Error::Forked`].
    #[doc(alias = "EPOLL_CTL_ADD")]
    pub fn watch(
        &mut self,
        fd: impl AsRawFd,
        interest: Interest,
        data: D,
    ) -> Result<Watcher, Error> {
        self.watch_with(fd, interest, Mode::empty(), data)
    }

    /// As [`watch`](Self::watch), with a [`Mode`]: edge, oneshot, exclusive.
    ///
    /// # Errors
    /// As [`watch`](Self::watch); [`Error::Invalid`] for an exclusive watcher that is oneshot or asks for `PRIORITY` or
    /// `READ_CLOSED`.
    pub fn watch_with(
        &mut self,
        fd: impl AsRawFd,
        interest: Interest,
        mode: Mode,
        data: D,
    ) -> Result<Watcher, Error> {
        if !self.backend.is_owner() {
            return Err(Error::Forked);
        }
        if !B::WATCHES {
            return Err(Error::Invalid(
                "descriptors are not watched by this backend",
            ));
        }
        check(interest, mode)?;
        let fd = fd.as_raw_fd();
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let replaced = storage.find(fd);
        let old = replaced.and_then(|old| storage.watchers.get(old));
        let was_exclusive = old.is_some_and(|old| old.mode.contains(Mode::EXCLUSIVE));
        let was_registered = old.is_some_and(|old| old.registered != UNREGISTERED);
        if let Some(old) = replaced {
            self.forget(old);
        }
        let handle = self.occupy(
            Tag::Watcher,
            Entry {
                interest,
                state: State::empty(),
                mode,
                data,
                registered: UNREGISTERED,
                fd,
                errno: 0,
                kind: Kind::Watcher,
            },
        )?;
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        storage.enter(handle.index(), fd);
        let exclusive = was_exclusive || mode.contains(Mode::EXCLUSIVE);
        if let Err(errno) = self.register(handle, was_registered, exclusive) {
            self.forget(handle);
            return Err(match errno {
                Errno::EPERM => Error::NotPollable,
                errno => Error::from_call(Call::EpollCtl, errno),
            });
        }
        Watcher::from_handle(handle).ok_or(Error::Stale)
    }

    /// The number `fd` is a process's now: a watcher that has it was closed without being cancelled, and must not
    /// change or end what is registered under it.
    pub(super) fn disown(&mut self, fd: RawFd) {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        if let Some(closed) = storage.find(fd) {
            self.fail(closed, Errno::EBADF);
        }
    }

    /// Gives the kernel a watcher it does not have under this token.
    fn register(&mut self, handle: Handle, replaces: bool, exclusive: bool) -> Result<(), Errno> {
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let Some(entry) = storage.watchers.get_mut(handle) else {
            return Err(Errno::ENOENT);
        };
        let (fd, wanted) = (entry.fd, entry.wanted());
        let added = if replaces && !exclusive {
            self.stats.controls += 1;
            match self.backend.modify(fd, wanted, handle) {
                // The number was closed and is another file now.
                Err(Errno::ENOENT) => {
                    self.stats.controls += 1;
                    self.backend.add(fd, wanted, handle)
                }
                done => done,
            }
        } else {
            if replaces {
                // The kernel changes no exclusive registration (`epoll_ctl(2)`).
                self.stats.controls += 1;
                let _ = self.backend.remove(fd);
            }
            self.stats.controls += 1;
            match self.backend.add(fd, wanted, handle) {
                // A process has the number: whoever asks has had it closed.
                Err(Errno::EEXIST) if storage.has_process(fd) => Err(Errno::EBADF),
                // An orphan of this very file and number: take it over.
                Err(Errno::EEXIST) if !exclusive => {
                    self.stats.controls += 1;
                    self.backend.modify(fd, wanted, handle)
                }
                done => done,
            }
        };
        added?;
        if let Some(entry) = storage.watchers.get_mut(handle) {
            entry.registered = wanted;
        }
        Ok(())
    }

    /// Puts an occupant into the table.
    pub(super) fn occupy(
        &mut self,
        tag: Tag,
        entry: Entry<D, B::Process>,
    ) -> Result<Handle, Error> {
        let live = entry.is_live();
        let batch = self.batch();
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let handle = storage
            .watchers
            .insert(tag, entry)
            .map_err(|Full(_)| Error::Full { capacity: W })?;
        storage.touch(handle.index(), batch);
        self.live += u32::from(live);
        Ok(handle)
    }

    /// Takes an occupant out of the tables; the kernel is not told.
    pub(super) fn forget(&mut self, handle: Handle) -> Option<Entry<D, B::Process>> {
        let batch = self.batch();
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let entry = storage.watchers.remove(handle)?;
        self.live -= u32::from(entry.is_live());
        match entry.kind {
            Kind::Watcher => storage.leave(handle.index()),
            Kind::Signals { .. } => storage.unlink_signals(handle.index()),
            Kind::Process { .. } => {}
        }
        storage.touch(handle.index(), batch);
        Some(entry)
    }

    /// Ends a watcher or a process watch.
    pub(super) fn cancel_watcher(&mut self, handle: Handle) -> bool {
        let Some(entry) = self.forget(handle) else {
            return false;
        };
        if entry.registered != UNREGISTERED {
            // EBADF and ENOENT: it was closed before, which ended the registration too, unless a duplicate lives on.
            self.stats.controls += 1;
            if let Kind::Process { pidfd, .. } = &entry.kind {
                if self.backend.remove_process(pidfd.as_raw_fd(), handle) == Err(Errno::EBUSY) {
                    core::mem::forget(entry);
                }
            } else {
                let _ = self.backend.remove(entry.fd);
            }
        }
        true
    }

    /// What a watcher asks for; `None` if the handle is stale.
    #[inline]
    pub fn interest(&self, watcher: Watcher) -> Option<Interest> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        Some(storage.watchers.get(watcher.handle())?.interest)
    }

    /// The watcher of a descriptor number, if it has one.
    pub fn watcher_of(&self, fd: impl AsRawFd) -> Option<Watcher> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        Watcher::from_handle(storage.find(fd.as_raw_fd())?)
    }

    /// The descriptor of a watcher; `None` if the handle is stale.
    pub fn watched_fd(&self, watcher: Watcher) -> Option<RawFd> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        Some(storage.watchers.get(watcher.handle())?.fd)
    }

    /// A watcher's data; `None` if the handle is stale.
    pub fn data(&self, watcher: Watcher) -> Option<D> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        Some(storage.watchers.get(watcher.handle())?.data)
    }

    /// Gives a watcher other data. False if the handle is stale.
    pub fn set_data(&mut self, watcher: Watcher, data: D) -> bool {
        self.change(watcher.handle(), |entry| entry.data = data)
            .is_some()
    }

    /// Why the kernel refused a watcher's last change; `None` if it did not. Comes with [`Ready::ERROR`].
    pub fn watch_error(&self, watcher: Watcher) -> Option<Errno> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        Errno::from_raw(i32::from(storage.watchers.get(watcher.handle())?.errno))
    }

    /// Asks for `interest` too. A oneshot watcher is armed again by this, also with nothing new asked for.
    ///
    /// The kernel hears of it at the next wait, and only of what has changed by then.
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::Invalid`] as [`watch_with`](Self::watch_with); [`Error::Forked`].
    #[inline]
    pub fn enable(&mut self, watcher: Watcher, interest: Interest) -> Result<(), Error> {
        self.update(watcher, |entry| {
            let wanted = entry.interest | interest;
            check(wanted, entry.mode)?;
            entry.interest = wanted;
            reenable(entry);
            Ok(())
        })
    }

    /// Asks for `interest` no longer. Events of it that were fetched already are dropped.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    #[inline]
    pub fn disable(&mut self, watcher: Watcher, interest: Interest) -> Result<(), Error> {
        self.update(watcher, |entry| {
            entry.interest -= interest;
            entry.state -= State::MASKED;
            Ok(())
        })
    }

    /// Asks for `interest` and nothing else; counts as enabling.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub fn set_interest(&mut self, watcher: Watcher, interest: Interest) -> Result<(), Error> {
        self.update(watcher, |entry| {
            check(interest, entry.mode)?;
            entry.interest = interest;
            reenable(entry);
            Ok(())
        })
    }

    /// Changes a watcher's mode; counts as enabling.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub fn set_mode(&mut self, watcher: Watcher, mode: Mode) -> Result<(), Error> {
        self.update(watcher, |entry| {
            // A change to or from exclusive is DEL and ADD; the flush sees the old bits in `registered`.
            check(entry.interest, mode)?;
            entry.mode = mode;
            entry.state |= State::FORCE;
            reenable(entry);
            Ok(())
        })
    }

    /// A watcher's mode; `None` if the handle is stale.
    pub fn mode(&self, watcher: Watcher) -> Option<Mode> {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        Some(storage.watchers.get(watcher.handle())?.mode)
    }

    /// Has the kernel look again: if the descriptor is ready, it is reported, edge or oneshot or not.
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::Forked`].
    #[doc(alias = "EPOLL_CTL_MOD")]
    pub fn rearm(&mut self, watcher: Watcher) -> Result<(), Error> {
        self.update(watcher, |entry| {
            entry.state |= State::FORCE;
            reenable(entry);
            Ok(())
        })
    }

    /// Notes that a part of an event was not acted on, because the interest was disabled meanwhile: the next enable
    /// has the kernel look again, so that no edge is lost. For layers that split an event into several calls.
    #[inline]
    pub fn note_suppressed(&mut self, watcher: Watcher) {
        self.change(watcher.handle(), |entry| entry.state |= State::SUPPRESSED);
    }

    /// Changes a watcher; `change` either does so or refuses, and then has changed nothing.
    #[inline]
    fn update(
        &mut self,
        watcher: Watcher,
        change: impl FnOnce(&mut Entry<D, B::Process>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.backend.is_owner() {
            return Err(Error::Forked);
        }
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let Some(entry) = storage.watchers.get_mut(watcher.handle()) else {
            return Err(Error::Stale);
        };
        let was_live = entry.is_live_watcher();
        change(entry)?;
        self.live -= u32::from(was_live);
        self.live += u32::from(entry.is_live_watcher());
        storage.note_change(watcher.handle().index());
        self.pending |= Pending::PREPARE;
        Ok(())
    }

    /// Tells the kernel what has changed since the last flush.
    pub(super) fn flush(&mut self) {
        loop {
            let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
            let Some(index) = storage.next_change() else {
                return;
            };
            let Some((handle, entry)) = storage.watchers.at_mut(index) else {
                continue;
            };
            if !matches!(entry.kind, Kind::Watcher)
                || entry.state.intersects(State::DISARMED | State::BROKEN)
            {
                continue;
            }
            let wanted = entry.wanted();
            if entry.registered == wanted && !entry.state.contains(State::FORCE) {
                continue;
            }
            entry.state -= State::FORCE;
            let exclusive = Mode::EXCLUSIVE.bits();
            let (fd, registered) = (entry.fd, entry.registered);
            if registered == UNREGISTERED {
                if let Err(errno) = self.register(handle, false, wanted & exclusive != 0) {
                    self.fail(handle, errno);
                }
                continue;
            }
            let changed = if registered & exclusive != 0 || wanted & exclusive != 0 {
                self.stats.controls += 2;
                let removed = self.backend.remove(fd);
                removed.and_then(|()| self.backend.add(fd, wanted, handle))
            } else {
                self.stats.controls += 1;
                self.backend.modify(fd, wanted, handle)
            };
            match changed {
                Ok(()) => entry.registered = wanted,
                Err(errno) => self.fail(handle, errno),
            }
        }
    }

    /// A change failed at the flush: the watcher hears of it in this turn.
    #[cold]
    pub(super) fn fail(&mut self, handle: Handle, errno: Errno) {
        self.change(handle, |entry| {
            entry.registered = UNREGISTERED;
            entry.errno = errno.raw() as u16;
            entry.state |= State::BROKEN | State::FAILED;
        });
        self.pending |= Pending::FAILURES;
    }

    /// Forgets that failures are to be delivered when all of them were: a turn that was not drained leaves no empty
    /// one behind.
    pub(super) fn settle_failures(&mut self) {
        let storage: &Storage<_, W, T, _> = self.storage.borrow();
        if self.pending.contains(Pending::FAILURES)
            && !storage
                .watchers
                .iter()
                .any(|(_, entry)| entry.state.contains(State::FAILED))
        {
            self.pending -= Pending::FAILURES;
        }
    }

    /// The next watcher whose registration failed and that has not heard of it.
    pub(super) fn next_failure(&mut self) -> Option<Event<D>> {
        if !self.pending.contains(Pending::FAILURES) {
            return None;
        }
        loop {
            let storage: &Storage<_, W, T, _> = self.storage.borrow();
            let failed = storage
                .watchers
                .iter()
                .find(|(_, entry)| entry.state.contains(State::FAILED))
                .map(|(handle, _)| handle);
            let Some(handle) = failed else {
                self.pending -= Pending::FAILURES;
                return None;
            };
            if let Some(exits) = self.exits
                && let Some(errno) = self.failed_process(handle)
            {
                return exits(self, handle, Some(errno));
            }
            let told = self.change(handle, |entry| {
                entry.state -= State::FAILED;
                (deliverable(linux::EPOLLERR, entry.interest), entry.data)
            });
            if let (Some((ready, data)), Some(watcher)) = (told, Watcher::from_handle(handle))
                && !ready.is_empty()
            {
                return Some(Event::Ready {
                    watcher,
                    ready,
                    data,
                });
            }
        }
    }

    /// A report of a descriptor that is not plain: errors, hang-ups, oneshot, what was disabled since, what is stale.
    pub(super) fn resolve_ready(&mut self, handle: Handle, events: u32) -> Option<Event<D>> {
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let Some(entry) = storage.watchers.get_mut(handle) else {
            self.note_stale(handle);
            return None;
        };
        if entry.state.contains(State::DISARMED) || !matches!(entry.kind, Kind::Watcher) {
            return None;
        }
        let ready = deliverable(events, entry.interest);
        let data = entry.data;
        let was_live = entry.is_live();
        // What of the event nobody will act on. It matters where the kernel won't repeat it.
        let dropped = Ready::from_bits_truncate(events as u16)
            .difference(ready | Ready::HANGUP | Ready::ERROR);
        if entry.mode.intersects(Mode::EDGE | Mode::ONESHOT) && !dropped.is_empty() {
            entry.state |= State::SUPPRESSED;
        }
        let is_oneshot = entry.mode.contains(Mode::ONESHOT);
        if is_oneshot && !ready.is_empty() {
            entry.state |= State::DISARMED;
        } else if ready.is_empty()
            && !entry.state.contains(State::MASKED)
            && (is_oneshot || entry.registered & Mode::EDGE.bits() == 0)
        {
            // a level report would come again and again; a oneshot has spent itself on what nobody takes.
            entry.state |= State::MASKED;
            storage.note_change(handle.index());
            self.pending |= Pending::PREPARE;
        }
        let storage: &mut Storage<_, W, T, _> = self.storage.borrow_mut();
        let is_live = storage.watchers.get(handle).is_some_and(Entry::is_live);
        self.live -= u32::from(was_live);
        self.live += u32::from(is_live);
        let watcher = Watcher::from_handle(handle)?;
        (!ready.is_empty()).then_some(Event::Ready {
            watcher,
            ready,
            data,
        })
    }
}

/// What counts as enabling: everything that kept the watcher quiet ends.
#[inline]
fn reenable<D, P>(entry: &mut Entry<D, P>) {
    if entry.mode.contains(Mode::ONESHOT)
        || entry.state.intersects(State::SUPPRESSED | State::BROKEN)
    {
        entry.state |= State::FORCE;
    }
    entry.state -= State::MASKED | State::DISARMED | State::SUPPRESSED | State::BROKEN;
    entry.errno = 0;
}

/// Refuses what `epoll_ctl(2)` would refuse less clearly.
fn check(interest: Interest, mode: Mode) -> Result<(), Error> {
    if mode.contains(Mode::EXCLUSIVE)
        && (mode.contains(Mode::ONESHOT)
            || interest.intersects(Interest::PRIORITY | Interest::READ_CLOSED))
    {
        return Err(Error::Invalid(
            "an exclusive watcher can't be oneshot, nor ask for PRIORITY or READ_CLOSED",
        ));
    }
    Ok(())
}

/// What of a report is delivered to a watcher with `interest`.
fn deliverable(events: u32, interest: Interest) -> Ready {
    let asked = Ready::from(interest);
    let mut ready = Ready::from_bits_truncate(events as u16).difference(Ready::HANGUP);
    if events & linux::EPOLLERR != 0 && !interest.contains(Interest::ERROR) {
        ready |= Ready::READ | Ready::WRITE;
    }
    if events & linux::EPOLLHUP != 0 {
        ready |= Ready::READ;
        if !interest.contains(Interest::READ) {
            // Nobody reads, so whoever takes errors hears of the end.
            ready |= Ready::ERROR;
        }
    }
    ready &= asked;
    if events & linux::EPOLLHUP != 0 && ready.intersects(Ready::READ | Ready::ERROR) {
        ready |= Ready::HANGUP;
    }
    ready
}
