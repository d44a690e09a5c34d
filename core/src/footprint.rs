//! How much memory a loop takes.
//!
//! **What.** [`Reactor::footprint`] and [`Proactor::footprint`] say it at compile time, from the capacities in the type and
//! the options of the ring. All of it is there from the beginning; nothing is asked for later, but for
//! [groups of provided buffers](Proactor::provide).
//!
//! **Why this shape.** It is address space first: what was never used is never written, and a page that was never touched
//! costs nothing. So the numbers are what a loop takes at the most, when every slot is in use.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::fmt::Debug;
use core::ops::Deref;

use crate::proactor::{self, IoBuf, OperationMemory, Options, Proactor, Uring};
use crate::reactor::{self, Backend, Reactor};
use crate::sys::{Fd, Kernel};
use crate::wakeup::Wakeup;

/// The smallest page there is. Where pages are larger, what is mapped is rounded up to them.
const PAGE_BYTES: usize = 4096;

/// Bytes that a loop takes, by where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The loop itself with its backend, wherever the program keeps it: on the stack, in a `static`. Tables that it holds
    /// itself are not counted here.
    pub engine: usize,
    /// Its tables: in the loop, in a `static`, in a box.
    pub tables: usize,
    /// The queues of the ring, in whole pages. They are mapped, and locked; [`RingMemory`](proactor::RingMemory) instead, if
    /// that was given, takes its own size.
    pub rings: usize,
    /// What operations own while they are under way, in whole pages. It is mapped; [`OperationMemory`] instead, if that was
    /// given, takes its own size.
    pub operations: usize,
}

impl Footprint {
    /// All of it.
    pub const fn total(self) -> usize {
        self.engine + self.tables + self.rings + self.operations
    }

    /// Of a loop of type `L` with tables of type `T`, which are held by a `S`.
    const fn of<L, T, S>() -> Self {
        let tables = size_of::<T>();
        let is_inside = size_of::<S>() >= tables;
        Self {
            engine: size_of::<L>() - if is_inside { tables } else { 0 },
            tables,
            rings: 0,
            operations: 0,
        }
    }
}

impl<D, const W: usize, const T: usize, B, S> Reactor<D, W, T, B, S>
where
    D: Copy,
    B: Backend,
    S: BorrowMut<reactor::Storage<D, W, T, B::Process>>,
{
    /// How many bytes such a reactor takes when all of it is used.
    ///
    /// ```
    /// use linux_event_core::reactor::{Epoll, Reactor, Storage};
    ///
    /// type Tables = Storage<u32, 1000, 100>;
    /// type Loop = Reactor<u32, 1000, 100, Epoll, &'static mut Tables>;
    /// const BYTES: usize = Loop::footprint().total();
    /// assert_eq!(BYTES, size_of::<Loop>() + size_of::<Tables>());
    ///
    /// // One that holds its tables itself.
    /// assert_eq!(Reactor::<u32, 8, 8>::footprint().total(), size_of::<Reactor<u32, 8, 8>>());
    /// ```
    pub const fn footprint() -> Footprint {
        Footprint::of::<Self, reactor::Storage<D, W, T, B::Process>, S>()
    }
}

impl<Buf, D, const OPS: usize, const T: usize, K, P, S>
    Proactor<Buf, D, OPS, T, Uring<Buf, K, P>, S>
where
    Buf: IoBuf + Debug,
    D: Copy,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
    S: BorrowMut<proactor::Storage<D, OPS, T, Fd<K>, Fd<K>>>,
{
    /// How many bytes such a proactor takes when all of it is used, over a ring that is made with `options`.
    ///
    /// ```
    /// use linux_event_core::proactor::{Options, Proactor, Storage, Uring};
    ///
    /// type Buf = &'static mut [u8];
    /// type Tables = Storage<u32, 256, 16>;
    /// type Loop = Proactor<Buf, u32, 256, 16, Uring<Buf>, &'static mut Tables>;
    /// const FOOTPRINT: linux_event_core::footprint::Footprint = Loop::footprint(&Options::DEFAULT);
    /// assert_eq!(FOOTPRINT.rings, 44 * 1024); // 128 submissions, 2,048 completions
    /// assert_eq!(FOOTPRINT.tables, size_of::<Tables>());
    /// ```
    pub const fn footprint(options: &Options) -> Footprint {
        Footprint {
            rings: options.ring_bytes(),
            operations: size_of::<OperationMemory<OPS>>().next_multiple_of(PAGE_BYTES),
            ..Footprint::of::<Self, proactor::Storage<D, OPS, T, Fd<K>, Fd<K>>, S>()
        }
    }
}
