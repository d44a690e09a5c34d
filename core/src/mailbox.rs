//! A bounded mailbox: many threads put values in, the loop takes them out, nobody is ever blocked.
//!
//! **What.** A [`Mailbox<T, N>`] carries up to `N` values, file descriptors included, from any thread to any
//! other. [`push`](MailboxInner::push) gives the value back at once when there is no room;
//! [`pop`](MailboxInner::pop) says `None` at once when there is nothing. Neither allocates, locks or makes a
//! system call. Rule W-3.
//!
//! ```
//! use linux_event_core::mailbox::Mailbox;
//!
//! static ORDERS: Mailbox<u32, 2> = Mailbox::new();
//!
//! std::thread::spawn(|| {
//!     ORDERS.push(1).unwrap();
//!     ORDERS.push(2).unwrap();
//!     assert_eq!(ORDERS.push(3), Err(3)); // full: the value comes back
//! })
//! .join()
//! .unwrap();
//!
//! assert_eq!(ORDERS.pop(), Some(1));
//! assert_eq!(ORDERS.pop(), Some(2));
//! assert_eq!(ORDERS.pop(), None);
//! ```
//!
//! **Invariants.** *INV-MAILBOX-1*: an empty mailbox is zero in every byte that is ever read, and a cell that was
//! never used is never written. *INV-MAILBOX-2*: a position is a lap (high bits) and an index below the capacity
//! (low bits); the tail hands out each position once to one producer, the head once to one consumer (exchange of
//! one position for the next; positions repeat after 2⁶³ pushes at the least). *INV-MAILBOX-3*: a cell's stamp is
//! the lap of the position that may fill it next, or, with the lowest bit set, the lap of the value in it; only the
//! owner of that position changes it, so from winning the position until storing the stamp that owner is alone
//! with the cell's value. *INV-MAILBOX-4*: cells belong to one mailbox only (the promise of [`Cells`]).
//!
//! **Why this shape.** The stamp of each cell does what a lock would do, one cell at a time: a producer stopped
//! half-way through its push holds up the consumer at its own cell and no other producer. `heapless` has a queue
//! for one producer that is cheaper and one for many that can block; this one is for many. Popping needs no
//! exclusive reference although one consumer is the rule. To keep safe code from making a second one would take a
//! type of its own and a lifetime at every use, and save 9 of the 23 ns that a value costs.

#![allow(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, needs_drop};

use self::primitive::{AtomicU64, Ordering, UnsafeCell};

#[cfg(not(loom))]
mod primitive {
    pub(super) use core::sync::atomic::{AtomicU64, Ordering};

    /// The language's cell with the face of loom's, which watches every access.
    pub(super) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loom)]
mod primitive {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

/// Loom's types can't be made in a constant.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $name:ident() -> Self $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $vis const fn $name() -> Self $body

        #[cfg(loom)]
        $(#[$meta])*
        $vis fn $name() -> Self $body
    };
}

/// The most values that one mailbox can hold: 2²⁰.
pub const MAX_CAPACITY: usize = 1 << 20;

/// The bit of a stamp that says that the cell holds a value.
const FULL: u64 = 1;

/// Room for one value of a mailbox. Opaque: it is public so that mailboxes can be built over other storage.
pub struct Cell<T> {
    /// INV-MAILBOX-3.
    stamp: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a shared cell gives access to its value only through a mailbox, which lets one thread at a time have it
// (INV-MAILBOX-3) and moves it from thread to thread, never sharing it: `T: Send` is all that takes.
unsafe impl<T: Send> Sync for Cell<T> {}

impl<T> Cell<T> {
    const_unless_loom! {
        /// A vacant cell. One whose bytes are all zero is one too (INV-MAILBOX-1).
        #[inline]
        pub fn new() -> Self {
            Self {
                stamp: AtomicU64::new(0),
                value: UnsafeCell::new(MaybeUninit::uninit()),
            }
        }
    }

    /// # Safety
    /// The caller has won the position that may fill this cell, and `stamp` is that position's lap with [`FULL`].
    #[inline(always)]
    unsafe fn fill(&self, value: T, stamp: u64) {
        self.value.with_mut(|cell| {
            // SAFETY: the caller is alone with the value (INV-MAILBOX-3), and there is none yet to drop.
            unsafe { (*cell).write(value) };
        });
        self.stamp.store(stamp, Ordering::Release);
    }

    /// # Safety
    /// The caller has won the position whose value is in this cell, and `stamp` is the lap after that position's.
    #[inline(always)]
    unsafe fn take(&self, stamp: u64) -> T {
        // SAFETY: the caller is alone with the value (INV-MAILBOX-3), which is there, and which the stamp stored
        // next declares gone.
        let value = self
            .value
            .with_mut(|cell| unsafe { (*cell).assume_init_read() });
        self.stamp.store(stamp, Ordering::Release);
        value
    }
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").finish_non_exhaustive()
    }
}

/// Storage that a mailbox can be built over: an array, or something that owns a slice of [`Cell`]s.
///
/// # Safety
/// [`cells`](Self::cells) returns the same cells in the same order every time (they may have moved together with
/// `self`), and while `self` lives nothing reaches those cells but through a shared reference to `self`. A box
/// or a vector behind a private field keeps this promise; a reference-counted slice that others have too breaks it.
pub unsafe trait Cells<T> {
    /// The cells.
    fn cells(&self) -> &[Cell<T>];
}

// SAFETY: an array owns its cells.
unsafe impl<T, const N: usize> Cells<T> for [Cell<T>; N] {
    #[inline(always)]
    fn cells(&self) -> &[Cell<T>] {
        self
    }
}

// SAFETY: so does a slice, of which a mailbox's own last field is made.
unsafe impl<T> Cells<T> for [Cell<T>] {
    #[inline(always)]
    fn cells(&self) -> &[Cell<T>] {
        self
    }
}

/// A counter with a cache line of its own: producers write one, the consumer the other. On one line together they
/// made two threads five times slower (18 ns a value became 100); 128 bytes gained nothing over 64.
#[repr(align(64))]
struct Line(AtomicU64);

/// The two ends of the queue, as positions.
struct Ends {
    /// Where the next push goes.
    tail: Line,
    /// Where the next pop comes from.
    head: Line,
}

impl Ends {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                tail: Line(AtomicU64::new(0)),
                head: Line(AtomicU64::new(0)),
            }
        }
    }
}

/// How positions are counted at one capacity: INV-MAILBOX-2.
#[derive(Clone, Copy)]
struct Course {
    capacity: usize,
    /// One lap: the least power of two above the capacity, so that bit 0 of a lap is free for [`FULL`].
    lap: u64,
}

impl Course {
    #[inline(always)]
    const fn of(capacity: usize) -> Self {
        Self {
            capacity,
            lap: 1 << (usize::BITS - capacity.leading_zeros()),
        }
    }

    #[inline(always)]
    const fn index(self, position: u64) -> usize {
        (position & (self.lap - 1)) as usize
    }

    #[inline(always)]
    const fn lap_of(self, position: u64) -> u64 {
        position & !(self.lap - 1)
    }

    #[inline(always)]
    const fn next(self, position: u64) -> u64 {
        if self.index(position) + 1 < self.capacity {
            position + 1
        } else {
            self.lap_of(position).wrapping_add(self.lap)
        }
    }

    /// How many positions lie from `head` to `tail`, kept within 0 and the capacity.
    #[inline]
    fn distance(self, head: u64, tail: u64) -> usize {
        let laps = self.lap_of(tail).wrapping_sub(self.lap_of(head)) as i64 / self.lap as i64;
        let cells = self.index(tail) as i64 - self.index(head) as i64;
        let distance = laps
            .saturating_mul(self.capacity as i64)
            .saturating_add(cells);
        distance.clamp(0, self.capacity as i64) as usize
    }
}

/// The common form of [`Mailbox`] and [`MailboxView`], and of mailboxes over other [`Cells`].
pub struct MailboxInner<T, S: Cells<T> + ?Sized> {
    ends: Ends,
    /// A mailbox owns values of `T`, and may be shared where its cells may.
    types: PhantomData<Cell<T>>,
    cells: S,
}

/// A mailbox of up to `N` values, `N` from 1 to 2²⁰ and not only powers of two. See the [module](self).
///
/// A capacity of zero does not compile:
/// ```compile_fail,E0080
/// static NOTHING: linux_event_core::mailbox::Mailbox<u8, 0> = linux_event_core::mailbox::Mailbox::new();
/// ```
pub type Mailbox<T, const N: usize> = MailboxInner<T, [Cell<T>; N]>;

/// A mailbox whose capacity the type does not name: what a reference (or a box, or an `Arc`) to any [`Mailbox`]
/// becomes by itself where this is asked for.
///
/// ```
/// use linux_event_core::mailbox::{Mailbox, MailboxView};
/// fn greet(mailbox: &MailboxView<&str>) {
///     mailbox.push("hello").unwrap();
/// }
/// let mailbox: Mailbox<&str, 3> = Mailbox::new();
/// greet(&mailbox);
/// assert_eq!(mailbox.pop(), Some("hello"));
/// ```
pub type MailboxView<T> = MailboxInner<T, [Cell<T>]>;

impl<T, const N: usize> Mailbox<T, N> {
    const CAPACITY_FITS: () = assert!(
        N >= 1 && N <= MAX_CAPACITY,
        "a mailbox has room for 1 to 2^20 values"
    );

    /// An empty mailbox.
    #[cfg(not(loom))]
    #[inline]
    pub const fn new() -> Self {
        const { Self::CAPACITY_FITS };
        Self {
            ends: Ends::new(),
            types: PhantomData,
            cells: [const { Cell::new() }; N],
        }
    }

    /// An empty mailbox.
    #[cfg(loom)]
    pub fn new() -> Self {
        const { Self::CAPACITY_FITS };
        Self {
            ends: Ends::new(),
            types: PhantomData,
            cells: core::array::from_fn(|_| Cell::new()),
        }
    }
}

impl<T, const N: usize> Default for Mailbox<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, S: Cells<T>> MailboxInner<T, S> {
    /// An empty mailbox over `cells`, of which there are 1 to 2²⁰.
    ///
    /// What an earlier, forgotten mailbox left in them is forgotten with it.
    ///
    /// # Errors
    /// The cells come back when there are none of them or more than [`MAX_CAPACITY`].
    pub fn with_cells(cells: S) -> Result<Self, S> {
        if !(1..=MAX_CAPACITY).contains(&cells.cells().len()) {
            return Err(cells);
        }
        for cell in cells.cells() {
            // INV-MAILBOX-1: a fresh cell is read, not written.
            if cell.stamp.load(Ordering::Relaxed) != 0 {
                cell.stamp.store(0, Ordering::Relaxed);
            }
        }
        Ok(Self {
            ends: Ends::new(),
            types: PhantomData,
            cells,
        })
    }
}

impl<T, S: Cells<T> + ?Sized> MailboxInner<T, S> {
    /// Puts `value` in, behind all that this thread put in before.
    ///
    /// Lock-free: it starts over only when another push got ahead of it. It may be called in a signal handler too.
    /// A thread that wakes the loop for what it pushed must do so after each push that succeeded, not only after
    /// one that found the mailbox empty: an earlier push of another thread may still be under way, and what was
    /// pushed behind it can be taken only when that one is through, for which its own wake tells.
    ///
    /// # Errors
    /// The value comes back when the mailbox is full: when the cell that is next still holds a value, or one is
    /// just being put in or taken out there.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        push(&self.ends, self.cells.cells(), value)
    }

    /// Takes out the value that is next.
    ///
    /// `None` when there is none, and also when its push is still under way: values behind it wait for it, so that
    /// the order holds. Several threads may pop; each value goes to one of them.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        pop(&self.ends, self.cells.cells())
    }

    /// How many values are inside, counting those that are just being pushed. Other threads make it old at once.
    #[inline]
    pub fn len(&self) -> usize {
        let head = self.ends.head.0.load(Ordering::Relaxed);
        let tail = self.ends.tail.0.load(Ordering::Relaxed);
        Course::of(self.capacity()).distance(head, tail)
    }

    /// Whether [`len`](Self::len) is zero. To know whether there is something to take, call [`pop`](Self::pop).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values there is room for in all.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.cells.cells().len()
    }
}

#[inline]
fn push<T>(ends: &Ends, cells: &[Cell<T>], value: T) -> Result<(), T> {
    let course = Course::of(cells.len());
    let mut tail = ends.tail.0.load(Ordering::Relaxed);
    loop {
        let lap = course.lap_of(tail);
        // Always there (INV-MAILBOX-2); asking this way leaves no panic in the program.
        let Some(cell) = cells.get(course.index(tail)) else {
            return Err(value);
        };
        let ahead = cell.stamp.load(Ordering::Acquire).wrapping_sub(lap) as i64;
        if ahead < 0 {
            return Err(value);
        }
        if ahead > 0 {
            // Whoever set that stamp had moved the tail before: this load sees a newer one.
            tail = ends.tail.0.load(Ordering::Relaxed);
            continue;
        }
        match ends.tail.0.compare_exchange_weak(
            tail,
            course.next(tail),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => {
                // SAFETY: this position is ours (INV-MAILBOX-2), in cells that no other mailbox has
                // (INV-MAILBOX-4), and the cell was vacant in its lap (INV-MAILBOX-3).
                unsafe { cell.fill(value, lap | FULL) };
                return Ok(());
            }
            Err(newer) => tail = newer,
        }
    }
}

#[inline]
fn pop<T>(ends: &Ends, cells: &[Cell<T>]) -> Option<T> {
    let course = Course::of(cells.len());
    let mut head = ends.head.0.load(Ordering::Relaxed);
    loop {
        let lap = course.lap_of(head);
        let cell = cells.get(course.index(head))?;
        let ahead = cell.stamp.load(Ordering::Acquire).wrapping_sub(lap | FULL) as i64;
        if ahead < 0 {
            return None;
        }
        if ahead > 0 {
            head = ends.head.0.load(Ordering::Relaxed);
            continue;
        }
        match ends.head.0.compare_exchange_weak(
            head,
            course.next(head),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            // SAFETY: this position is ours (INV-MAILBOX-2), in cells that no other mailbox has (INV-MAILBOX-4), and
            // its value is in the cell (INV-MAILBOX-3).
            Ok(_) => return Some(unsafe { cell.take(lap.wrapping_add(course.lap)) }),
            Err(newer) => head = newer,
        }
    }
}

impl<T, S: Cells<T> + ?Sized> Drop for MailboxInner<T, S> {
    /// Drops what is inside, oldest first: descriptors are closed.
    fn drop(&mut self) {
        if needs_drop::<T>() {
            while self.pop().is_some() {}
        }
    }
}

impl<T, S: Cells<T> + ?Sized> fmt::Debug for MailboxInner<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
