//! Buffers that an operation owns while the kernel may touch them.
//!
//! **What.** [`IoBuf`] is memory that can be taken apart into a [`RawBuf`], lent to the kernel, and put together again:
//! `&'static mut [u8]`, a [`Block`] of a [`Pool`]; in the shim a vector. Rule P-6.
//!
//! **Invariants.** *INV-BUF-1*: a [`RawBuf`] from [`IoBuf::into_raw`] is the only way to its memory, which stays where it
//! is and is writable, until [`IoBuf::from_raw`] takes it back. *INV-BUF-2*: its first `filled` bytes are initialised, and
//! `filled` is at most `capacity`. *INV-BUF-3*: of a pool's blocks, those whose `taken` mark is set are each owned by one
//! [`Block`], and nothing else reaches their memory.
//!
//! **Why this shape.** Raw parts, not the buffer itself, wait in the backend: a `Box` or `&mut` that is moved about while
//! the kernel writes to its memory asserts that nobody else does, which is undefined behaviour. An operation that is
//! forgotten leaks its parts, and nothing is freed under the kernel's hands.

#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A buffer taken apart: see [`IoBuf`].
#[derive(Clone, Copy, Debug)]
pub struct RawBuf {
    /// Where it starts. Dangling if `capacity` is 0.
    pub start: NonNull<u8>,
    /// Bytes that are initialised and count: what a write sends, what a read has left.
    pub filled: usize,
    /// Bytes there are room for.
    pub capacity: usize,
    /// What else the type has to know to put itself together again; null if nothing.
    pub context: *const (),
}

/// Memory that an operation can own. Reads fill it from its start, writes take its filled part.
///
/// # Safety
/// An implementor vouches for INV-BUF-1 and INV-BUF-2: from `into_raw` until `from_raw`, nobody but the holder of the raw
/// parts reads, writes, frees or moves the memory, whatever else happens to the program, and every byte up to `capacity`
/// may be written. [`bytes`](Self::bytes) and [`capacity`](Self::capacity) are what `into_raw` will say: a path is looked
/// at by them, and read by the kernel up to its zero byte. No method panics or forks: an operation that is half taken would never
/// settle, and rings are not there in a child.
pub unsafe trait IoBuf: Sized + 'static {
    /// Takes the buffer apart. Forgetting the parts leaks the memory.
    fn into_raw(self) -> RawBuf;

    /// Puts it together again.
    ///
    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) of the same type and is used once; only `filled` may have changed, and
    /// INV-BUF-2 holds for it.
    unsafe fn from_raw(raw: RawBuf) -> Self;

    /// The filled part.
    fn bytes(&self) -> &[u8];

    /// Bytes there are room for.
    fn capacity(&self) -> usize;

    /// Replaces the filled part by `bytes`, as a read does; returns how many there was room for.
    fn fill(&mut self, bytes: &[u8]) -> usize;
}

// SAFETY: the reference is exclusive and `'static`, and is not kept: its memory is reached through the parts only. All of
// it is initialised.
unsafe impl IoBuf for &'static mut [u8] {
    #[inline(always)]
    fn into_raw(self) -> RawBuf {
        let capacity = self.len();
        RawBuf {
            start: NonNull::from(self).cast(),
            filled: capacity,
            capacity,
            context: core::ptr::null(),
        }
    }

    #[inline(always)]
    unsafe fn from_raw(raw: RawBuf) -> Self {
        // SAFETY: INV-BUF-1: the parts are those of a `'static` exclusive slice of `capacity` bytes.
        unsafe { core::slice::from_raw_parts_mut(raw.start.as_ptr(), raw.capacity) }
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn capacity(&self) -> usize {
        self.len()
    }

    fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.len());
        self[..count].copy_from_slice(&bytes[..count]);
        count
    }
}

/// `COUNT` blocks of `SIZE` bytes, lent one by one without allocation.
///
/// Put it into a `static` [`Place`](crate::place::Place); blocks come home when they are dropped.
///
/// ```
/// use linux_event_core::place::Place;
/// use linux_event_core::proactor::{Block, IoBuf, Pool};
///
/// static POOL: Place<Pool<256, 2>> = Place::new(Pool::new());
/// let pool: &'static Pool<256, 2> = POOL.take().expect("taken once");
/// let mut first: Block<256, 2> = pool.take().unwrap();
/// first.fill(b"hello");
/// assert_eq!(&*first, b"hello");
/// let second = pool.take().unwrap();
/// assert!(pool.take().is_none()); // all are out
/// drop(second);
/// assert_eq!(pool.available(), 1);
/// ```
pub struct Pool<const SIZE: usize, const COUNT: usize> {
    blocks: [UnsafeCell<[u8; SIZE]>; COUNT],
    /// INV-BUF-3.
    taken: [Cell<bool>; COUNT],
    /// Index + 1 of the next vacant block after each; 0 ends the chain.
    next: [Cell<u32>; COUNT],
    /// Index + 1 of the first vacant block that was taken before.
    vacant: Cell<u32>,
    /// Blocks that were ever taken: the others are untouched.
    touched: Cell<u32>,
    out: Cell<u32>,
}

impl<const SIZE: usize, const COUNT: usize> Pool<SIZE, COUNT> {
    const FITS: () = assert!(COUNT < u32::MAX as usize && SIZE > 0 && SIZE <= u32::MAX as usize);

    /// A pool with all its blocks at home: all zeroes.
    pub const fn new() -> Self {
        const { Self::FITS };
        Self {
            blocks: [const { UnsafeCell::new([0; SIZE]) }; COUNT],
            taken: [const { Cell::new(false) }; COUNT],
            next: [const { Cell::new(0) }; COUNT],
            vacant: Cell::new(0),
            touched: Cell::new(0),
            out: Cell::new(0),
        }
    }

    /// A block with nothing filled; `None` if all are out.
    pub fn take(&'static self) -> Option<Block<SIZE, COUNT>> {
        let index = if let Some(index) = self.vacant.get().checked_sub(1) {
            self.vacant.set(self.next.get(index as usize)?.get());
            index
        } else {
            let index = self.touched.get();
            if index as usize >= COUNT {
                return None;
            }
            self.touched.set(index + 1);
            index
        };
        self.taken.get(index as usize)?.set(true);
        self.out.set(self.out.get() + 1);
        Some(Block {
            pool: self,
            index,
            filled: 0,
        })
    }

    /// How many blocks are at home.
    pub fn available(&self) -> usize {
        COUNT - self.out.get() as usize
    }

    fn give_back(&self, index: u32) {
        let (taken, next) = (
            self.taken.get(index as usize),
            self.next.get(index as usize),
        );
        if let (Some(taken), Some(next)) = (taken, next) {
            let was_taken = taken.replace(false);
            debug_assert!(was_taken, "INV-BUF-3: a block has one owner");
            next.set(self.vacant.get());
            self.vacant.set(index + 1);
            self.out.set(self.out.get() - 1);
        }
    }
}

impl<const SIZE: usize, const COUNT: usize> Default for Pool<SIZE, COUNT> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SIZE: usize, const COUNT: usize> fmt::Debug for Pool<SIZE, COUNT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

/// A block of a [`Pool`]: dereferences to its filled part, goes home when it is dropped. It stays on its pool's thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<linux_event_core::proactor::Block<64, 4>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<linux_event_core::proactor::Block<64, 4>>();
/// ```
pub struct Block<const SIZE: usize, const COUNT: usize> {
    pool: &'static Pool<SIZE, COUNT>,
    index: u32,
    filled: u32,
}

impl<const SIZE: usize, const COUNT: usize> Block<SIZE, COUNT> {
    /// All of the block's memory, to write to; say how much counts with [`set_filled`](Self::set_filled).
    pub fn memory(&mut self) -> &mut [u8; SIZE] {
        // SAFETY: INV-BUF-3: this is the block's one owner, borrowed exclusively.
        unsafe { &mut *UnsafeCell::raw_get(self.cell()) }
    }

    /// Where its memory is.
    #[inline(always)]
    fn cell(&self) -> *const UnsafeCell<[u8; SIZE]> {
        // INV-BUF-3: the index is one of the pool's.
        self.pool.blocks.as_ptr().wrapping_add(self.index as usize)
    }

    /// Says how many bytes count; more than `SIZE` is `SIZE`.
    pub fn set_filled(&mut self, filled: usize) {
        self.filled = filled.min(SIZE) as u32;
    }
}

impl<const SIZE: usize, const COUNT: usize> Deref for Block<SIZE, COUNT> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: INV-BUF-3: this is the block's one owner, and it is borrowed.
        let memory = unsafe { &*UnsafeCell::raw_get(self.cell()) };
        memory.get(..self.filled as usize).unwrap_or_default()
    }
}

impl<const SIZE: usize, const COUNT: usize> DerefMut for Block<SIZE, COUNT> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let filled = self.filled as usize;
        self.memory().get_mut(..filled).unwrap_or_default()
    }
}

impl<const SIZE: usize, const COUNT: usize> Drop for Block<SIZE, COUNT> {
    fn drop(&mut self) {
        self.pool.give_back(self.index);
    }
}

impl<const SIZE: usize, const COUNT: usize> fmt::Debug for Block<SIZE, COUNT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("index", &self.index)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

// SAFETY: INV-BUF-3: the block's memory is reached by its one owner, which the parts stand for; the pool is `'static`, and
// its arrays are all initialised.
unsafe impl<const SIZE: usize, const COUNT: usize> IoBuf for Block<SIZE, COUNT> {
    #[inline]
    fn into_raw(self) -> RawBuf {
        let this = core::mem::ManuallyDrop::new(self);
        RawBuf {
            // The cell lies in a `static` or otherwise `'static` pool: not null.
            start: NonNull::new(UnsafeCell::raw_get(this.cell()).cast())
                .unwrap_or(NonNull::dangling()),
            filled: this.filled as usize,
            capacity: SIZE,
            context: core::ptr::from_ref(this.pool).cast(),
        }
    }

    #[inline]
    unsafe fn from_raw(raw: RawBuf) -> Self {
        // SAFETY: `context` is what `into_raw` made it: a `'static` pool of this type.
        let pool: &'static Pool<SIZE, COUNT> = unsafe { &*raw.context.cast() };
        let offset = raw.start.as_ptr().addr() - pool.blocks.as_ptr().addr();
        Self {
            pool,
            index: (offset / SIZE) as u32,
            filled: raw.filled as u32,
        }
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn capacity(&self) -> usize {
        SIZE
    }

    fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(SIZE);
        self.memory()[..count].copy_from_slice(&bytes[..count]);
        self.filled = count as u32;
        count
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;

    #[test]
    fn p6_a_slice_comes_back_as_it_went() {
        let memory: &'static mut [u8] = Box::leak(Box::new([7; 9]));
        let raw = memory.into_raw();
        assert_eq!((raw.filled, raw.capacity), (9, 9));
        // SAFETY: the parts are fresh and used once.
        let back = unsafe { <&'static mut [u8]>::from_raw(raw) };
        assert_eq!(back, [7; 9]);
        // SAFETY: leaked above, and nobody else has it.
        drop(unsafe { Box::from_raw(back) });
    }

    #[test]
    fn p6_blocks_go_out_once_and_come_home() {
        let memory = Box::into_raw(Box::new(Pool::new()));
        // SAFETY: fresh, and freed at the end.
        let pool: &'static Pool<8, 3> = unsafe { &*memory };
        let mut out: [_; 3] = core::array::from_fn(|_| pool.take());
        assert!(pool.take().is_none());
        for (index, block) in out.iter_mut().flatten().enumerate() {
            assert_eq!(block.fill(&[index as u8; 20]), 8);
        }
        let [first, second, third] = out.map(Option::unwrap);
        let mut raw = second.into_raw();
        drop(first);
        assert_eq!(pool.available(), 1);
        raw.filled = 3;
        // SAFETY: the parts are fresh and used once; 3 bytes are initialised.
        let second: Block<8, 3> = unsafe { IoBuf::from_raw(raw) };
        assert_eq!(&*second, [1; 3]);
        assert_eq!(&*third, [2; 8]);
        drop((second, third));
        assert_eq!(pool.available(), 3);
        let again = pool.take().unwrap();
        assert!(again.is_empty(), "a block comes with nothing filled");
        drop(again);
        // SAFETY: made above; every block is home.
        drop(unsafe { Box::from_raw(memory) });
    }
}
