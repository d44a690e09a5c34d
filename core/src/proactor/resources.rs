//! The engine's registered memory and descriptors: provided buffers, registered buffers, registered slots.
//!
//! **Invariants.** *INV-RESOURCE-1*: memory that was registered goes back to its owner only when no operation that could
//! use it is in flight (P-16).

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;

use super::backend::Backend;
use super::engine::Proactor;
use super::operation::{Code, FixedBuffer, FixedFile, Group, Target, Vectors};
use super::storage::{NO_KEY, Storage, key_of_descriptor};
use crate::error::Error;
use crate::handle::File;

impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// Makes a group of `count` provided buffers (a power of two, 1 to 32,768) of `size` bytes, for
    /// [`recv_multi`](super::op::recv_multi) (P-16).
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::UnsupportedOperation`] before Linux 5.19; [`Error::Full`]; [`Error::Os`];
    /// [`Error::Forked`].
    #[doc(alias = "IORING_REGISTER_PBUF_RING")]
    pub fn provide(&mut self, count: u16, size: u32) -> Result<Group, Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        self.base.backend.provide(count, size)
    }

    /// Ends a group of provided buffers. Its memory goes when the last lease is back.
    ///
    /// # Errors
    /// [`Error::Busy`] while an operation uses it; [`Error::Stale`] if there is none; [`Error::Forked`].
    pub fn withdraw(&mut self, group: Group) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        let tables = self.tables_ref();
        let is_used = |index: u32| {
            let occupant = tables.operations.at(index);
            occupant.is_some_and(|(_, entry)| entry.code == Code::RecvMulti)
                && tables.tangle(index).resource == group.id()
        };
        if (0..tables.operations.high_water()).any(is_used) {
            return Err(Error::Busy);
        }
        self.base.backend.withdraw(group)
    }

    /// Makes a table of `count` registered slots for descriptors, all empty. The kernel finds a file by its slot faster than
    /// by its number, and a slot can't be closed behind an operation's back.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is one already; [`Error::Os`]; [`Error::Forked`].
    #[doc(alias = "IORING_REGISTER_FILES")]
    pub fn register_files(&mut self, count: u32) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        self.base.backend.register_files(count)
    }

    /// Puts an adopted descriptor into a registered slot as well. The slot keeps the file open for itself, also when `file`
    /// is closed.
    ///
    /// # Errors
    /// [`Error::Stale`]; [`Error::Full`] when every slot is taken; [`Error::Busy`] while an operation as
    /// [`uninstall`](Self::uninstall) says names the one that is next; [`Error::Os`]; [`Error::Forked`].
    pub fn install(&mut self, file: File) -> Result<FixedFile, Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        self.descriptor(file).ok_or(Error::Stale)?;
        // What names the slot by now and was not taken is about what an operation emptied it of.
        self.base.backend.flush()?;
        // Before it is filled: the kernel may begin what waits for it at any time.
        if let Some(next) = self.base.backend.next_slot()
            && self.is_waited_for(next)
        {
            return Err(Error::Busy);
        }
        let open = self.base.storage.own().files.get(file.handle());
        let fd = open.and_then(|open| open.fd.as_ref());
        self.base.backend.install(fd.ok_or(Error::Stale)?)
    }

    /// Whether an operation names a registered slot that may not have found its file there: it looks for it when it begins
    /// (P-14). Or it empties the slot, and would take it from whom it is given next.
    fn is_waited_for(&self, slot: FixedFile) -> bool {
        let tables = self.tables_ref();
        let key = key_of_descriptor(Target::from(slot));
        (0..tables.operations.high_water()).any(|index| {
            let Some((handle, entry)) = tables.operations.at(index) else {
                return false;
            };
            let tangle = self.tangle(handle, entry.state);
            let reads_it = entry.code == Code::Splice
                && u32::from(tangle.resource) == slot.index().wrapping_add(1);
            (tangle.follows
                || entry.code.finds_its_file_late()
                || self.base.backend.finds_late(handle))
                && (reads_it || key != NO_KEY && tables.operations.key(index) == key)
        })
    }

    /// Empties a registered slot, which can be given out again. What is in flight on it goes on.
    ///
    /// # Errors
    /// [`Error::Busy`] while an operation on it has not settled that is a member of a chain, though not its first, or a
    /// splice, fsync, shutdown, bind, listen or [`close_fixed`](super::op::close_fixed): when the kernel looks for their
    /// file is not told. [`Error::Stale`] if it is empty; [`Error::Os`]; [`Error::Forked`].
    pub fn uninstall(&mut self, slot: FixedFile) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        if self.is_waited_for(slot) {
            return Err(Error::Busy);
        }
        // For everything else the kernel finds the file when it takes the submission; unless it cuts a chain.
        self.base.backend.flush()?;
        if self.is_waited_for(slot) {
            return Err(Error::Busy);
        }
        self.base.backend.uninstall(slot)
    }

    /// Registers buffers, which the proactor owns from here on: the first is `FixedBuffer::new(0)`, and so on. The kernel
    /// then keeps their pages at hand, and locks them into memory.
    ///
    /// # Errors
    /// Why, and the buffers: [`Error::Invalid`] if some are registered already; [`Error::Os`]; [`Error::Forked`].
    #[doc(alias = "IORING_REGISTER_BUFFERS")]
    #[allow(
        clippy::type_complexity,
        reason = "the error and what was refused, as everywhere"
    )]
    pub fn register_buffers(&mut self, buffers: Vectors<Buf>) -> Result<(), (Error, Vectors<Buf>)> {
        if !self.is_owner() {
            return Err((Error::Forked, buffers));
        }
        self.base.backend.register_buffers(buffers)
    }

    /// The content of a registered buffer.
    ///
    /// # Errors
    /// [`Error::Busy`] while an operation uses it; [`Error::Stale`] if there is none; [`Error::Forked`].
    pub fn fixed(&mut self, buffer: FixedBuffer) -> Result<&mut [u8], Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        match self.fixed_uses.get(usize::from(buffer.index())) {
            Some(0) => self.base.backend.fixed(buffer).ok_or(Error::Stale),
            Some(_) => Err(Error::Busy),
            None => Err(Error::Stale),
        }
    }

    /// Unregisters the buffers and gives them back.
    ///
    /// # Errors
    /// [`Error::Busy`] while an operation uses one; [`Error::Os`]; [`Error::Forked`].
    pub fn unregister_buffers(&mut self) -> Result<Vectors<Buf>, Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        if self.fixed_uses.iter().any(|&uses| uses > 0) {
            return Err(Error::Busy);
        }
        self.base.backend.unregister_buffers()
    }
}
