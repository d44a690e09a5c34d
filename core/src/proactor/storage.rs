//! The tables of a proactor, apart from its engine.
//!
//! **What.** [`Storage`] holds the operations and adopted files of one proactor, and the tables of the engine below it:
//! timers, signals, processes. It can lie in the proactor itself, in a `static` or in a box of zeroes.
//!
//! **Invariants.** *INV-PSTORE-1*: an empty storage is all zeroes, and what was never used is never written. *INV-PSTORE-3*:
//! `owner` is the number of the proactor that the operations and files are of. It is looked at whenever the storage is borrowed,
//! and a storage of another's is neither read nor changed: an operation that came to lie in one would be found by nobody who asks
//! what a registered slot is waited for by.
//!
//! **Why this shape.** What holds a storage is any type that lends one, which is to say that it may lend another one each
//! time: then uses would be counted here and taken off there, and a descriptor closed that a ring still names (P-14). No two
//! storages have the same owner, so that one comparison tells.

#![forbid(unsafe_code)]

use core::borrow::{Borrow, BorrowMut};
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use super::backend::Shutdown;
use super::operation::{Place, Target};
use super::slots::Slots;
use crate::handle::{Handle, Op};
use crate::reactor;
use crate::sys::{Fd, RawFd};
use crate::table::Table;

bitflags::bitflags! {
    /// Where an operation stands.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct State: u8 {
        /// Its cancellation was asked for (P-4).
        const CANCELLED = 1;
        /// The backend could not take the request to cancel: it is made again before the next wait.
        const UNASKED = 2;
        /// Nobody wants to hear of it (P-7).
        const DETACHED = 4;
        /// Does not keep a loop running.
        const UNCOUNTED = 8;
        /// Closes a file, and waits until nothing is in flight on it (P-15).
        const CLOSING = 16;
        /// Has a [`Tangle`]: it works on two files, uses registered memory, or is in a chain.
        const ENTANGLED = 32;
    }
}

/// What few operations have; means something for those that are [`State::ENTANGLED`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Tangle {
    /// The group or registered buffer that it uses; of a splice index + 1 of the registered slot that it reads from, or 0.
    pub(super) resource: u16,
    /// A registered buffer's uses count it.
    pub(super) uses_buffer: bool,
    /// It is a member of a chain, and not the first: the kernel begins it some time after the one before it is over.
    pub(super) follows: bool,
    /// Index + 1 of the second file that it works on; 0 for none.
    pub(super) second: u32,
    /// Index + 1 of its neighbours in a chain; 0 for none. A predecessor that has settled is none.
    pub(super) previous: u32,
    pub(super) next: u32,
}

impl Tangle {
    /// Of an operation that depends on nobody: all zeroes.
    pub(super) const NONE: Self = Self {
        resource: 0,
        uses_buffer: false,
        follows: false,
        second: 0,
        previous: 0,
        next: 0,
    };
}

/// An adopted descriptor.
#[derive(Debug)]
pub(super) struct OpenFile<F> {
    /// Operations in flight on it, and [`CLOSING`](Self::CLOSING).
    uses: u32,
    /// The descriptor's own.
    pub(super) number: RawFd,
    /// `None` once the backend has it, to close it at the end of a chain.
    pub(super) fd: Option<F>,
    /// The operation that closes it when nothing is in flight any more.
    pub(super) closing: Option<Op>,
}

impl<F> OpenFile<F> {
    /// One whose descriptor has `number`, and is still to be put in.
    pub(super) const fn numbered(number: RawFd) -> Self {
        Self {
            uses: 0,
            number,
            fd: None,
            closing: None,
        }
    }
}

/// A descriptor whose number a submission may still name is leaked, not closed: of a proactor that was forgotten, or whose
/// end a panic cut short (P-14).
impl<F> Drop for OpenFile<F> {
    fn drop(&mut self) {
        if self.uses() > 0 {
            core::mem::forget(self.fd.take());
        }
    }
}

impl<F> OpenFile<F> {
    /// In `uses`: it takes no operation any more.
    const CLOSING: u32 = 1 << 31;

    /// Whether operations can be submitted on it.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.uses < Self::CLOSING
    }

    /// One operation more.
    #[inline(always)]
    pub(super) fn begin_use(&mut self) {
        self.uses += 1;
    }

    /// One operation less; true if that was the last one before it is closed.
    #[inline(always)]
    pub(super) fn end_use(&mut self) -> bool {
        self.uses -= 1;
        self.uses == Self::CLOSING
    }

    /// Operations in flight on it.
    pub(super) fn uses(&self) -> u32 {
        self.uses & !Self::CLOSING
    }

    /// `op` closes it; `None` takes that back.
    pub(super) fn set_closing(&mut self, op: Option<Op>) {
        self.closing = op;
        self.uses = self.uses() | if op.is_some() { Self::CLOSING } else { 0 };
    }
}

/// The number of the next proactor.
static OWNERS: AtomicU64 = AtomicU64::new(1);

/// A storage was lent that is not the proactor's: INV-PSTORE-3.
#[cold]
#[inline(never)]
pub(super) fn exchanged() -> ! {
    panic!("the storage of a proactor was exchanged behind its back")
}

/// The key of an operation without a descriptor.
pub(super) const NO_KEY: i32 = i32::MIN;
/// That of the first registered slot.
const FIXED_KEY: i32 = NO_KEY + 1;
/// How many slots have keys: more than a kernel lets register (`IORING_MAX_FIXED_FILES`).
const FIXED_KEYS: u32 = 1 << 24;

/// What cancelling by descriptor compares: the number, or a registered slot far below what numbers there are.
#[inline(always)]
pub(super) const fn key(target: Target) -> i32 {
    match target.0 {
        Place::Number(number) | Place::Resolved(number) => number,
        Place::Fixed(slot) => FIXED_KEY.wrapping_add(slot as i32),
        _ => NO_KEY,
    }
}

/// What it looks for: of what is no descriptor, nothing.
pub(super) const fn key_of_descriptor(target: Target) -> i32 {
    match target.0 {
        Place::Number(number) | Place::Resolved(number) if number < 0 => NO_KEY,
        Place::Fixed(slot) if slot >= FIXED_KEYS => NO_KEY,
        _ => key(target),
    }
}

/// Room for `OPS` operations, for as many files, for as many signal subscriptions and processes together, and for `T`
/// timers; each at most 2²⁰.
///
/// All zeroes while empty, so that a `static` one lies in `.bss`. `P` is the backend's process descriptor, `F` its
/// descriptor.
pub struct Storage<D, const OPS: usize, const T: usize, P = Fd, F = Fd> {
    pub(super) base: reactor::Storage<D, OPS, T, P>,
    pub(super) operations: Slots<D, OPS>,
    pub(super) files: Table<OpenFile<F>, OPS>,
    pub(super) tangles: [Tangle; OPS],
    /// INV-PSTORE-3; 0 is nobody.
    owner: u64,
}

impl<D, const OPS: usize, const T: usize, P, F> Storage<D, OPS, T, P, F> {
    /// An empty storage.
    pub const fn new() -> Self {
        Self {
            base: reactor::Storage::new(),
            operations: Slots::new(),
            files: Table::new(),
            tangles: [Tangle::NONE; OPS],
            owner: 0,
        }
    }

    /// Empties the storage for a proactor whose generations start at `salt`; returns its number.
    pub(super) fn begin(&mut self, salt: u64) -> u64
    where
        D: Copy,
    {
        self.clear();
        self.operations.set_salt(salt);
        self.files.set_salt(salt);
        self.owner = OWNERS.fetch_add(1, Ordering::Relaxed);
        self.owner
    }

    /// Whether it is the storage of the proactor with this number: INV-PSTORE-3.
    #[inline(always)]
    fn is_of(&self, owner: u64) -> bool {
        self.owner == owner
    }

    /// What an operation that is [`State::ENTANGLED`] has beside its entry.
    #[inline(always)]
    pub(super) fn tangle(&self, index: u32) -> Tangle {
        let tangle = self.tangles.get(index as usize);
        tangle.copied().unwrap_or(Tangle::NONE)
    }

    /// As [`tangle`](Self::tangle), to change.
    #[inline(always)]
    pub(super) fn tangle_mut(&mut self, index: u32) -> Option<&mut Tangle> {
        self.tangles.get_mut(index as usize)
    }

    /// How many bytes a storage of these capacities takes when all of it is used.
    pub const fn size_bytes() -> usize {
        size_of::<Self>()
    }

    /// The backend has ended, and names no descriptor any more; unless it leaks, for then the kernel may go on: what it may
    /// not have looked for yet stays in use. Where submissions are left that can't be taken back, everything does.
    pub(super) fn let_go(&mut self, report: Shutdown, finds_late: impl Fn(Handle) -> bool)
    where
        D: Copy,
    {
        if report.untaken > 0 {
            return;
        }
        for index in 0..self.files.high_water() as u32 {
            if let Some((_, open)) = self.files.at_mut(index) {
                open.uses = 0;
            }
        }
        if report.leaked == 0 {
            return;
        }
        for index in 0..self.operations.high_water() {
            let Some((handle, entry)) = self.operations.at(index) else {
                continue;
            };
            let tangle = if entry.state.contains(State::ENTANGLED) {
                self.tangle(index)
            } else {
                Tangle::NONE
            };
            if !tangle.follows && !entry.code.finds_its_file_late() && !finds_late(handle) {
                continue;
            }
            for file in [entry.file, tangle.second] {
                if let Some(index) = file.checked_sub(1)
                    && let Some((_, open)) = self.files.at_mut(index)
                {
                    open.begin_use();
                }
            }
        }
    }

    /// Takes out what an earlier proactor left; its files are closed, but for those in use.
    pub(super) fn clear(&mut self) {
        self.operations.clear();
        for index in 0..self.files.high_water() {
            if let Some((handle, _)) = self.files.at(index as u32) {
                self.files.remove(handle);
            }
        }
    }
}

impl<D, const OPS: usize, const T: usize, P, F> Default for Storage<D, OPS, T, P, F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D, const OPS: usize, const T: usize, P, F> fmt::Debug for Storage<D, OPS, T, P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("operations", &self.operations.len())
            .field("files", &self.files.len())
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// What holds a [`Storage`], as the engine below sees it: it reaches its own tables only.
pub struct Tables<S, F> {
    storage: S,
    /// Whose they are: INV-PSTORE-3.
    owner: u64,
    descriptors: PhantomData<F>,
}

impl<S, F> Tables<S, F> {
    pub(super) const fn new(storage: S, owner: u64) -> Self {
        Self {
            storage,
            owner,
            descriptors: PhantomData,
        }
    }

    /// The tables, if it is the proactor's own that are lent.
    #[inline(always)]
    pub(super) fn own<D, const OPS: usize, const T: usize, P>(&self) -> &Storage<D, OPS, T, P, F>
    where
        S: Borrow<Storage<D, OPS, T, P, F>>,
    {
        let tables = self.storage.borrow();
        if !tables.is_of(self.owner) {
            exchanged();
        }
        tables
    }

    /// As [`own`](Self::own), to change.
    #[inline(always)]
    pub(super) fn own_mut<D, const OPS: usize, const T: usize, P>(
        &mut self,
    ) -> &mut Storage<D, OPS, T, P, F>
    where
        S: BorrowMut<Storage<D, OPS, T, P, F>>,
    {
        match self.try_own_mut() {
            Some(tables) => tables,
            None => exchanged(),
        }
    }

    /// As [`own_mut`](Self::own_mut), at the end: another's are left as they are.
    #[inline(always)]
    pub(super) fn try_own_mut<D, const OPS: usize, const T: usize, P>(
        &mut self,
    ) -> Option<&mut Storage<D, OPS, T, P, F>>
    where
        S: BorrowMut<Storage<D, OPS, T, P, F>>,
    {
        let tables = self.storage.borrow_mut();
        tables.is_of(self.owner).then_some(tables)
    }
}

impl<S, F> fmt::Debug for Tables<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl<D, const OPS: usize, const T: usize, P, F, S> Borrow<reactor::Storage<D, OPS, T, P>>
    for Tables<S, F>
where
    S: BorrowMut<Storage<D, OPS, T, P, F>>,
{
    #[inline(always)]
    fn borrow(&self) -> &reactor::Storage<D, OPS, T, P> {
        &self.own().base
    }
}

impl<D, const OPS: usize, const T: usize, P, F, S> BorrowMut<reactor::Storage<D, OPS, T, P>>
    for Tables<S, F>
where
    S: BorrowMut<Storage<D, OPS, T, P, F>>,
{
    #[inline(always)]
    fn borrow_mut(&mut self) -> &mut reactor::Storage<D, OPS, T, P> {
        &mut self.own_mut().base
    }
}
