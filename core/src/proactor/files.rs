//! The engine's adopted descriptors (P-14, P-15).
//!
//! **Invariants.** INV-PENGINE-3 of `engine`. *INV-FILES-1*: an adopted descriptor is closed, or given back, only when no
//! occupied slot of an operation names it: the kernel is done with its number by then.
//!
//! **Why this shape.** The kernel resolves a number when it begins an operation: for most when it takes the submission, for a
//! member of a chain, or what it leaves to a worker, some time later; never when it is queued. Code that queues, closes and
//! reopens would work on another file. Whoever shares a descriptor between operations needs a common owner of
//! it: that is the proactor, a handle is what is shared, and nothing is counted on the heap.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;

use super::backend::Backend;
use super::engine::Proactor;
use super::operation::{Code, Link};
use super::slots::Entry;
use super::storage::{NO_KEY, OpenFile, State, Storage, Tangle};
use crate::error::Error;
use crate::handle::{File, Handle, Op, Tag};
use crate::sys::AsRawFd;

impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// Takes a descriptor in, for operations to work on: the handle is what they are given, as often as one likes.
    ///
    /// It stays open until [`close`](Self::close), [`release`](Self::release), or the end of the proactor.
    ///
    /// # Errors
    /// [`Error::Full`] when `OPS` descriptors are adopted, or [`Error::Forked`], and the descriptor.
    pub fn adopt(&mut self, fd: B::Fd) -> Result<File, (Error, B::Fd)> {
        if !self.is_owner() {
            return Err((Error::Forked, fd));
        }
        let files = &mut self.tables().files;
        let Ok(handle) = files.insert(Tag::File, OpenFile::numbered(fd.as_raw_fd())) else {
            return Err((Error::Full { capacity: OPS }, fd));
        };
        if let Some(open) = files.get_mut(handle) {
            open.fd = Some(fd);
        }
        Ok(File::assume(handle))
    }

    /// An adopted descriptor, to set options on it; `None` if the handle is stale.
    pub fn descriptor(&self, file: File) -> Option<&B::Fd> {
        let open = self.tables_ref().files.get(file.handle())?;
        open.fd.as_ref()
    }

    /// Whether operations can be submitted on `file`.
    pub(super) fn is_open(&self, file: File) -> bool {
        let open = self.tables_ref().files.get(file.handle());
        open.is_some_and(OpenFile::is_open)
    }

    /// Gives an adopted descriptor back. The handle is stale from here on.
    ///
    /// # Errors
    /// [`Error::Busy`] while an operation on it has not settled; [`Error::Stale`]; [`Error::Forked`].
    pub fn release(&mut self, file: File) -> Result<B::Fd, Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        let files = &mut self.tables().files;
        match files.get(file.handle()) {
            None => Err(Error::Stale),
            Some(open) if open.uses() > 0 || !open.is_open() => Err(Error::Busy),
            Some(_) => {
                let removed = files.remove(file.handle());
                removed
                    .and_then(|mut open| open.fd.take())
                    .ok_or(Error::Stale)
            }
        }
    }

    /// Closes an adopted descriptor (P-15): cancels what is in flight on it, waits for those settlements, then closes. It is
    /// an operation of its own, which completes when that is done; from here on `file` takes no other.
    ///
    /// # Errors
    /// [`Error::Stale`] if the file is gone or closing already; [`Error::Full`]; [`Error::Forked`].
    pub fn close(&mut self, file: File, data: D) -> Result<Op, Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        if !self.is_open(file) {
            return Err(Error::Stale);
        }
        let (op, uses) = self.begin_close(file, data, State::CLOSING, 0)?;
        if uses > 0 {
            self.cancel_on(file);
        } else {
            self.close_file(file.handle(), op.handle());
        }
        Ok(op)
    }

    /// Occupies a slot for the operation that closes `file`, which takes no other from here on; also says how many are in
    /// flight on it.
    fn begin_close(
        &mut self,
        file: File,
        data: D,
        state: State,
        previous: u32,
    ) -> Result<(Op, u32), Error> {
        let entry = Entry {
            state: state | State::ENTANGLED,
            code: Code::Close,
            // Not counted as a use: it is what waits for them.
            file: 0,
            data,
        };
        let tables = self.tables();
        let inserted = tables.operations.insert(entry, NO_KEY);
        let handle = inserted.ok_or(Error::Full { capacity: OPS })?;
        if let Some(tangle) = tables.tangle_mut(handle.index()) {
            *tangle = Tangle {
                previous,
                follows: previous != 0,
                ..Tangle::NONE
            };
        }
        let op = Op::assume(handle);
        let Some(open) = self.tables().files.get_mut(file.handle()) else {
            self.abandon(handle);
            return Err(Error::Stale);
        };
        open.set_closing(Some(op));
        Ok((op, open.uses()))
    }

    /// Queues the closing of `file` as a member of a chain: what is in flight on it are members before this one.
    pub(super) fn close_in_chain(
        &mut self,
        file: File,
        data: D,
        link: Link,
        previous: u32,
    ) -> Result<Op, Error> {
        let (op, uses) = self.begin_close(file, data, State::empty(), previous)?;
        let open = self.tables().files.get_mut(file.handle());
        let Some(fd) = open.and_then(|open| open.fd.take()) else {
            self.abandon(op.handle());
            return Err(Error::Stale);
        };
        if let Err((error, fd)) = self.base.backend.push_close(op.handle(), fd, link) {
            self.abandon(op.handle());
            if let Some(open) = self.tables().files.get_mut(file.handle()) {
                open.fd = Some(fd);
                open.set_closing(None);
            }
            return Err(error);
        }
        if uses == 0 {
            self.tables().files.remove(file.handle());
        }
        Ok(op)
    }

    /// Whether nothing is in flight on `file`.
    pub(super) fn is_idle(&self, file: File) -> bool {
        let open = self.tables_ref().files.get(file.handle());
        open.is_some_and(|open| open.uses() == 0)
    }

    /// One operation less is in flight on the file in slot `index - 1`; 0 is none.
    pub(super) fn release_use(&mut self, index: u32) {
        if let Some(index) = index.checked_sub(1)
            && let Some((file, open)) = self.tables().files.at_mut(index)
            && open.end_use()
        {
            self.close_idle(file);
        }
    }

    /// Nothing is in flight any more on a file that is to be closed.
    #[cold]
    #[inline(never)]
    pub(super) fn close_idle(&mut self, file: Handle) {
        let files = &mut self.tables().files;
        match files.get(file).map(|open| open.closing) {
            Some(Some(closing)) => self.close_file(file, closing.handle()),
            // What was to close it is over, and brought it back.
            Some(None) => drop(files.remove(file)),
            None => {}
        }
    }

    /// If the report with a descriptor is of a closing, whose chain was cut: what it began may look for the descriptor yet, which
    /// is closed when that has settled (P-14, P-15).
    #[cold]
    #[inline(never)]
    pub(super) fn closes_later(&mut self, token: u64) -> bool {
        let found = self.tables().operations.find(token);
        let Some((op, _)) = found.filter(|(_, entry)| entry.code == Code::Close) else {
            return false;
        };
        let fd = self.base.backend.take_descriptor();
        let files = &mut self.tables().files;
        let of_it = |open: &OpenFile<B::Fd>| {
            open.fd.is_none() && open.closing.is_some_and(|closing| closing.handle() == op)
        };
        let waiting = files.iter().find(|(_, open)| of_it(open));
        if let Some((file, _)) = waiting
            && let Some(open) = files.get_mut(file)
        {
            open.fd = fd;
            open.closing = None;
        }
        // If nothing is in flight on it, it is closed by now.
        true
    }

    /// Hands an idle file to the backend to close.
    fn close_file(&mut self, file: Handle, op: Handle) {
        let tables = self.tables();
        let Some(open) = tables.files.get_mut(file) else {
            return;
        };
        let Some(fd) = open.fd.take() else {
            // The backend has it: the chain that closes it is over.
            tables.files.remove(file);
            return;
        };
        match self.base.backend.push_close(op, fd, Link::None) {
            Ok(()) => {
                let tables = self.tables();
                tables.files.remove(file);
                if let Some(state) = tables.operations.state_mut(op) {
                    *state -= State::CLOSING;
                }
            }
            // There is no room in the queue, nor could it be flushed: again before the next wait.
            Err((_, fd)) => {
                let tables = self.tables();
                if let Some(open) = tables.files.get_mut(file) {
                    open.fd = Some(fd);
                }
                if let Some(state) = tables.operations.state_mut(op)
                    && !state.contains(State::UNASKED)
                {
                    *state |= State::UNASKED;
                    self.unasked += 1;
                }
            }
        }
    }

    /// Tries again to close the file that the operation `op` closes, if nothing is in flight on it.
    pub(super) fn close_when_idle(&mut self, op: Handle) {
        let files = &self.tables().files;
        let waiting = files.iter().find(|(_, open)| {
            open.uses() == 0 && open.closing.is_some_and(|closing| closing.handle() == op)
        });
        if let Some((file, _)) = waiting {
            self.close_file(file, op);
        }
    }

    /// The number of an adopted descriptor, for messages; `None` if the handle is stale.
    pub fn number(&self, file: File) -> Option<crate::sys::RawFd> {
        self.descriptor(file).map(AsRawFd::as_raw_fd)
    }
}
