//! Where operations are while the kernel has them: memory that does not move.
//!
//! **What.** For every operation a [`Slot`]: its token, the raw parts of its buffer, and what is to be done when it
//! settles; and a [`Side`], for those that need more: addresses, messages, vectors, answers.
//!
//! **Invariants.** *INV-ARENA-1*: `slots` and `sides` are arrays of `capacity` in memory that is this arena's alone and does
//! not move. *INV-ARENA-2*: a slot whose kind is not `VACANT` is an operation that the kernel has, or will have, and owns
//! what its parts name; a vacant one owns nothing. *INV-ARENA-3*: slots are touched by the program only, sides by the
//! kernel too while their slot is occupied: they are reached by raw pointers, never by references. *INV-ARENA-4*: zeroes are
//! a vacant slot.
//!
//! **Why this shape.** A turn of a plain operation touches one slot, 48 bytes. Sides are large and lie apart; a side that is
//! not used costs no memory.

use core::fmt;
use core::mem::MaybeUninit;
use core::net::SocketAddr;
use core::ptr::NonNull;

use super::region::Region;
use crate::error::{Call, Error};
use crate::handle::{Handle, INDEX_BITS, MAX_SLOTS, TAG_BITS, Tag};
use crate::place::Zeroed;
use crate::proactor::buffer::RawBuf;
use crate::proactor::operation::VECTORS_MAX;
use crate::sys::ring::{IoVec, Message, Timespec};
use crate::sys::{Kernel, sockaddr};

/// What is to be done when an operation settles.
pub(super) mod kind {
    /// There is none.
    pub(in super::super) const VACANT: u8 = 0;
    /// Nothing.
    pub(in super::super) const PLAIN: u8 = 1;
    /// Its buffer goes back.
    pub(in super::super) const BUFFER: u8 = 2;
    /// Its buffer goes back, filled.
    pub(in super::super) const FILLS: u8 = 3;
    /// Its buffers go back.
    pub(in super::super) const VECTORS: u8 = 4;
    /// Its buffers go back, filled.
    pub(in super::super) const FILLS_VECTORS: u8 = 5;
    /// The result is a descriptor; the buffer, if any, was a path.
    pub(in super::super) const DESCRIPTOR: u8 = 6;
    /// Provided buffers come; `lent` is the group.
    pub(in super::super) const LEASE: u8 = 7;
    /// Its buffer goes back with the notification; `lent` is the result.
    pub(in super::super) const ZERO_COPY: u8 = 8;
    /// A registered buffer is used; `lent` says which.
    pub(in super::super) const FIXED: u8 = 9;
    /// It closes the descriptor `lent`, which is ours until the kernel has done so.
    pub(in super::super) const CLOSE: u8 = 10;
    /// It empties the registered slot `lent`.
    pub(in super::super) const CLOSE_SLOT: u8 = 11;
    /// As `FILLS`, where the result may be larger than the buffer (`MSG_TRUNC`).
    pub(in super::super) const TRUNCATES: u8 = 12;
    /// Added to one of the above: its chain was cut, and it runs as a nop.
    pub(in super::super) const CUT: u8 = 0x80;
    /// Added to one of the above: its chain was cut after it, and a worker of the kernel's looks for its file when it begins.
    pub(in super::super) const LATE: u8 = 0x40;

    /// One of the above, without what was added.
    pub(in super::super) const fn of(kind: u8) -> u8 {
        kind & !(CUT | LATE)
    }
}

/// A slot's `state`: a buffer is in it.
pub(super) const HAS_BUFFER: u8 = 1;
/// A slot's `state`: its result may be larger than its buffer (`MSG_TRUNC`).
pub(super) const TRUNCATES: u8 = 2;
/// A slot's `state`: its result was told, and only its buffer is out.
pub(super) const TOLD: u8 = 4;
/// A slot's `state`: a request to cancel it has to be made again.
pub(super) const MISSED: u8 = 8;
/// A slot's `state`, of one that closes in a chain: what comes before it has not been heard of (INV-SETTLE-2).
pub(super) const GATED: u8 = 16;
/// A slot's `state`, of one that closes: what comes before it was cancelled, so that it never began.
pub(super) const NEVER_BEGAN: u8 = 32;
/// A slot's `state`, of one that closes: it was heard of itself; `filled` is its result.
pub(super) const HEARD: u8 = 64;

/// An operation.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot {
    pub(super) token: u64,
    start: *mut u8,
    pub(super) filled: usize,
    pub(super) capacity: usize,
    context: *const (),
    /// Bytes that the kernel may fill; or what its kind says.
    pub(super) lent: u32,
    pub(super) kind: u8,
    pub(super) state: u8,
    /// How many vectors.
    pub(super) vectors: u8,
    /// How often the request to cancel it was made again.
    pub(super) tries: u8,
}

const _: () = assert!(size_of::<Slot>() == 48);

impl Slot {
    /// Puts a buffer in.
    #[inline(always)]
    pub(super) fn lend(&mut self, raw: RawBuf) {
        self.start = raw.start.as_ptr();
        self.filled = raw.filled;
        self.capacity = raw.capacity;
        self.context = raw.context;
    }

    /// The buffer's parts, to be used once.
    #[inline(always)]
    pub(super) fn raw(&self) -> RawBuf {
        RawBuf {
            // SAFETY: INV-ARENA-2: a buffer was put in, and its start is not null.
            start: unsafe { NonNull::new_unchecked(self.start) },
            filled: self.filled,
            capacity: self.capacity,
            context: self.context,
        }
    }
}

/// Room for a socket address: `struct sockaddr_un` is 110 bytes.
pub(super) const ADDRESS_MAX: usize = 112;

/// What the kernel reads and writes by pointer.
#[repr(C, align(8))]
pub(super) struct Side {
    /// The token of the operation that used it last.
    pub(super) owner: u64,
    /// Whose `answer` it is: an opcode; 0 for nobody's.
    pub(super) answers: u8,
    pub(super) timeout: Timespec,
    pub(super) address_length: u32,
    pub(super) address: [u8; ADDRESS_MAX],
    pub(super) message: Message,
    pub(super) vectors: [IoVec; VECTORS_MAX],
    pub(super) buffers: [MaybeUninit<RawBuf>; VECTORS_MAX],
    /// `struct statx`, or `siginfo_t`.
    pub(super) answer: [u64; 32],
}

impl Side {
    /// Where the parts of a vectored operation's buffer are. No reference is made (INV-ARENA-3).
    ///
    /// # Safety
    /// `side` is one of an arena's; `nth` is below [`VECTORS_MAX`].
    #[inline(always)]
    pub(super) unsafe fn buffer(side: NonNull<Self>, nth: usize) -> *mut MaybeUninit<RawBuf> {
        debug_assert!(nth < VECTORS_MAX);
        // SAFETY: inside the side, which is inside the arena (INV-ARENA-1).
        unsafe {
            (&raw mut (*side.as_ptr()).buffers)
                .cast::<MaybeUninit<RawBuf>>()
                .add(nth)
        }
    }

    /// Where its vector is, likewise.
    ///
    /// # Safety
    /// As [`buffer`](Self::buffer).
    #[inline(always)]
    pub(super) unsafe fn vector(side: NonNull<Self>, nth: usize) -> *mut IoVec {
        debug_assert!(nth < VECTORS_MAX);
        // SAFETY: inside the side, which is inside the arena (INV-ARENA-1).
        unsafe { (&raw mut (*side.as_ptr()).vectors).cast::<IoVec>().add(nth) }
    }
}

/// Memory for the operations of a ring: see [`Memory::operations`](super::Memory::operations). All zeroes.
#[repr(C)]
pub struct OperationMemory<const N: usize> {
    slots: [MaybeUninit<Slot>; N],
    sides: [MaybeUninit<Side>; N],
}

impl<const N: usize> OperationMemory<N> {
    /// Memory of zeroes, for a `static` [`Place`](crate::place::Place).
    pub const fn new() -> Self {
        Self {
            slots: [const { MaybeUninit::zeroed() }; N],
            sides: [const { MaybeUninit::zeroed() }; N],
        }
    }

    /// Where it is, and for how many operations.
    pub(super) fn parts(&'static mut self) -> LentArena {
        LentArena {
            slots: NonNull::from(&mut self.slots).cast(),
            sides: NonNull::from(&mut self.sides).cast(),
            capacity: N,
        }
    }
}

impl<const N: usize> Default for OperationMemory<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for OperationMemory<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationMemory").finish_non_exhaustive()
    }
}

// SAFETY: INV-ARENA-4; all of it may be uninitialised anyway.
unsafe impl<const N: usize> Zeroed for OperationMemory<N> {}
// SAFETY: zeroes that nobody uses are plain memory; the pointers in it are written by its one ring.
unsafe impl<const N: usize> Send for OperationMemory<N> {}

/// An [`OperationMemory`] that was given away.
#[derive(Debug)]
pub(super) struct LentArena {
    slots: NonNull<Slot>,
    sides: NonNull<Side>,
    capacity: usize,
}

/// See the [module](self).
#[derive(Debug)]
#[repr(C)]
pub(super) struct Arena<K: Kernel> {
    slots: NonNull<Slot>,
    sides: NonNull<Side>,
    capacity: u32,
    lent: Option<LentArena>,
    region: Option<Region<K>>,
}

/// The index of an operation's word; of any other one a number beyond every slot.
#[inline(always)]
const fn index_of(word: u64) -> u32 {
    const OPERATION: u32 = (Tag::Operation as u32) << INDEX_BITS;
    const _: () = assert!(MAX_SLOTS == 1 << INDEX_BITS);
    // Index and tag, as one number: what is not in the tag's row is at least a row away.
    (word as u32 & ((1 << (INDEX_BITS + TAG_BITS)) - 1)).wrapping_sub(OPERATION)
}

impl<K: Kernel> Arena<K> {
    /// Room for nothing yet. `lent` is memory to use: it is zeroed, and nobody else reaches it.
    pub(super) fn new(lent: Option<LentArena>) -> Self {
        Self {
            slots: NonNull::dangling(),
            sides: NonNull::dangling(),
            capacity: 0,
            lent,
            region: None,
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Makes room for `count` operations. None is in flight.
    pub(super) fn reserve(&mut self, kernel: &K, count: usize) -> Result<(), Error> {
        if count > MAX_SLOTS {
            return Err(Error::Full {
                capacity: MAX_SLOTS,
            });
        }
        if count <= self.capacity as usize {
            return Ok(());
        }
        if let Some(lent) = &self.lent {
            if count > lent.capacity {
                return Err(Error::Full {
                    capacity: lent.capacity,
                });
            }
            self.slots = lent.slots;
            self.sides = lent.sides;
            self.capacity = lent.capacity.min(MAX_SLOTS) as u32;
            return Ok(());
        }
        let slots = (count * size_of::<Slot>()).next_multiple_of(align_of::<Side>());
        let region = Region::anonymous(kernel, slots + count * size_of::<Side>())
            .map_err(|errno| Error::from_call(Call::Mmap, errno))?;
        self.slots = region.start().cast();
        // SAFETY: inside the region, which is `slots` bytes and more long.
        self.sides = unsafe { region.start().add(slots) }.cast();
        self.capacity = count as u32; // INV-ARENA-1, INV-ARENA-4: fresh zeroes
        self.region = Some(region);
        Ok(())
    }

    /// The slot with this index, if there is one.
    #[inline(always)]
    pub(super) fn at(&mut self, index: u32) -> Option<&mut Slot> {
        if index >= self.capacity {
            return None;
        }
        // SAFETY: INV-ARENA-1, INV-ARENA-3: inside the array; the arena is borrowed exclusively, and nobody else touches
        // slots.
        Some(unsafe { self.slots.add(index as usize).as_mut() })
    }

    /// The slot of the operation in flight with this word.
    #[inline(always)]
    pub(super) fn find(&mut self, word: u64) -> Option<&mut Slot> {
        self.at(index_of(word)).filter(|slot| slot.token == word)
    }

    /// Whether the operation with this token finds its file late: [`kind::LATE`].
    pub(super) fn finds_late(&self, token: Handle) -> bool {
        let index = index_of(token.raw());
        if index >= self.capacity {
            return false;
        }
        // SAFETY: INV-ARENA-1, INV-ARENA-3: inside the array, which is borrowed.
        let slot = unsafe { self.slots.add(index as usize).as_ref() };
        slot.token == token.raw() && slot.kind & kind::LATE != 0
    }

    /// The vacant slot for a new operation. Why there is none: [`why_not`](Self::why_not).
    #[inline(always)]
    pub(super) fn vacant(&mut self, token: Handle) -> Option<&mut Slot> {
        self.at(index_of(token.raw()))
            .filter(|slot| slot.kind == kind::VACANT)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn why_not(&self, token: Handle) -> Error {
        if !token.is(Tag::Operation) {
            Error::Invalid("the token is no operation's")
        } else if token.index() < self.capacity {
            Error::Busy
        } else {
            Error::Full {
                capacity: self.capacity as usize,
            }
        }
    }

    /// The side of a slot; `index` is below the capacity.
    #[inline(always)]
    pub(super) fn side(&self, index: u32) -> NonNull<Side> {
        debug_assert!(index < self.capacity);
        // SAFETY: INV-ARENA-1: inside the array.
        unsafe { self.sides.add(index as usize) }
    }

    /// The side that the operation `token` used, if no other has since.
    pub(super) fn side_of(&self, token: Handle) -> Option<NonNull<Side>> {
        if token.index() >= self.capacity {
            return None;
        }
        let side = self.side(token.index());
        // SAFETY: INV-ARENA-1. The kernel does not touch `owner`.
        (unsafe { (*side.as_ptr()).owner } == token.raw()).then_some(side)
    }

    /// Gives the memory up for good.
    pub(super) fn leak(&mut self) {
        if let Some(region) = self.region.take() {
            region.leak();
        }
        self.capacity = 0;
    }
}

/// Writes an address and its length.
///
/// # Safety
/// INV-ARENA-3: `side` is one of an arena's, whose operation the kernel has not got yet.
pub(super) unsafe fn write_address(side: NonNull<Side>, address: SocketAddr) {
    let (bytes, length) = sockaddr::encode(address);
    // SAFETY: the caller vouches for `side`.
    unsafe {
        let side = side.as_ptr();
        (&raw mut (*side).address)
            .cast::<[u8; sockaddr::SIZE_MAX]>()
            .write(bytes);
        (*side).address_length = length as u32;
    }
}

/// Writes a unix path, at most 107 bytes, and the length of the whole address: `unix(7)`.
///
/// # Safety
/// As [`write_address`].
pub(super) unsafe fn write_path(side: NonNull<Side>, path: &[u8]) {
    const FAMILY: [u8; 2] = (linux_raw_sys::net::AF_UNIX as u16).to_ne_bytes();
    let count = path.len().min(UNIX_PATH_MAX);
    let mut bytes = [0; ADDRESS_MAX];
    bytes[..2].copy_from_slice(&FAMILY);
    bytes[2..2 + count].copy_from_slice(&path[..count]);
    // A path in the file system ends with a zero byte, which counts; an abstract name is as long as it is.
    let is_abstract = path.first() == Some(&0);
    let length = 2 + count + usize::from(!is_abstract);
    // SAFETY: the caller vouches for `side`.
    unsafe {
        let side = side.as_ptr();
        (*side).address = bytes;
        (*side).address_length = length as u32;
    }
}

/// The longest unix path, without its zero byte.
pub(super) const UNIX_PATH_MAX: usize = 107;
