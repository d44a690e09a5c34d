//! The two queues of a ring, and the call that moves them.
//!
//! **What.** [`Ring`] writes submissions, enters the kernel and reads completions. It knows no operations.
//!
//! **Invariants.** *INV-RING-1*: the pointers lie in memory that is mapped for as long as the ring lives, aligned, with room
//! for what is behind them: checked against the mappings' lengths when it is made. *INV-RING-2*: an index is masked with
//! `entries - 1` before it is used, and entries are a power of two; nothing that lies in the ring's memory is an index or a
//! mask of ours. *INV-RING-3*: submissions from `seen_head` to `tail` are queued: written, and not yet taken as far as we
//! know; they are at most `entries`. *INV-RING-4*: of the completions only those of the batch are read, `head` to
//! `batch_end`: at most as many as the queue has, so that every loop over them ends whatever the memory says. *INV-RING-5*:
//! `room` is at most `limit` less what is queued.
//!
//! **Why this shape.** The kernel's words are read once, checked, and kept. How many submissions were taken is told by
//! the queue's head, not by the call's result: they differ after a short submit. Both ends of ours are published where the
//! kernel is entered, not with every entry. One number says that nothing is to be thought of when an entry is queued.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use linux_raw_sys::io_uring as linux;
use linux_raw_sys::io_uring::io_uring_op;

use crate::errno::Errno;
use crate::sys::Kernel;
use crate::sys::ring::{Cqe, HARD_LINK, LINK, Sqe};

/// Words and arrays of a ring, found and checked by the set-up: INV-RING-1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) sq_head: NonNull<AtomicU32>,
    pub(super) sq_tail: NonNull<AtomicU32>,
    pub(super) sq_flags: NonNull<AtomicU32>,
    pub(super) cq_head: NonNull<AtomicU32>,
    pub(super) cq_tail: NonNull<AtomicU32>,
    pub(super) sqes: NonNull<Sqe>,
    pub(super) cqes: NonNull<Cqe>,
    /// A power of two.
    pub(super) entries: u32,
    /// A power of two.
    pub(super) cq_entries: u32,
    /// What [`Kernel::io_uring_enter`] knows the ring by.
    pub(super) number: u32,
    /// `IORING_ENTER_REGISTERED_RING` or nothing.
    pub(super) enter_flags: u32,
    pub(super) has_thread: bool,
}

/// The queues. See the [module](self).
#[derive(Debug)]
#[repr(C)]
pub(super) struct Ring {
    tail: u32,
    seen_head: u32,
    /// As many can be queued without a closer look; what is not more than 0 asks for one: INV-RING-5.
    room: i32,
    head: u32,
    batch_end: u32,
    /// INV-RING-2.
    mask: u32,
    cq_mask: u32,
    /// What is queued is known to be ours: no thread reads it, and the kernel never said that it took what it can't have.
    owns_queue: bool,
    /// How many submissions may be queued: all, or none once the ring is given up.
    limit: u32,
    /// What `room` begins with when nothing is queued.
    room_max: i32,
    parts: Parts,
    pub(super) enters: u64,
    pub(super) submitted: u64,
    pub(super) completions: u64,
}

/// What a short submit does to a submission of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It was taken, and what follows it was not: the kernel leaves such a beginning to a worker.
    Before,
    /// Likewise, of a chain that goes on with a timeout for what was taken last: that must end, and the chain with it.
    Expired,
    /// It was not taken, and is a nop now.
    Off,
}

impl Ring {
    /// With `looks` each entry that is queued asks for a closer look.
    ///
    /// # Safety
    /// INV-RING-1 and INV-RING-2 hold for `parts`.
    pub(super) unsafe fn new(parts: Parts, looks: bool) -> Self {
        let room_max = if looks { 0 } else { parts.entries as i32 };
        // SAFETY: INV-RING-1. A fresh ring's words are zero, but believe them only as far as they go.
        let (head, tail) = unsafe {
            (
                parts.cq_head.as_ref().load(Ordering::Relaxed),
                parts.sq_tail.as_ref().load(Ordering::Relaxed),
            )
        };
        Self {
            tail,
            seen_head: tail,
            room: room_max,
            head,
            batch_end: head,
            mask: parts.entries - 1,
            cq_mask: parts.cq_entries - 1,
            owns_queue: !parts.has_thread,
            limit: parts.entries,
            room_max,
            parts,
            enters: 0,
            submitted: 0,
            completions: 0,
        }
    }

    /// How many submissions are queued.
    #[inline(always)]
    pub(super) fn queued(&self) -> u32 {
        self.tail.wrapping_sub(self.seen_head)
    }

    /// How many of them may be read behind our back, and can't be changed any more.
    pub(super) fn untaken(&self) -> u32 {
        if self.owns_queue { 0 } else { self.queued() }
    }

    /// Whether `entries` more, at most as many as the queue has, can be queued without a closer look.
    #[inline(always)]
    pub(super) fn has_room(&self, entries: u32) -> bool {
        self.room >= entries as i32
    }

    /// Whether they can: the closer look.
    pub(super) fn has_room_left(&self, entries: u32) -> bool {
        // INV-RING-3: both are at most 32,768.
        self.queued().wrapping_add(entries) <= self.limit
    }

    /// How many submissions there can be.
    pub(super) fn entries(&self) -> u32 {
        self.parts.entries
    }

    pub(super) fn cq_entries(&self) -> u32 {
        self.parts.cq_entries
    }

    /// Lets nothing be queued any more.
    pub(super) fn give_up(&mut self) {
        (self.limit, self.room, self.room_max) = (0, 0, 0);
    }

    /// Queues a submission; returns whether that asks for a closer look. There is room: [`has_room`](Self::has_room) or
    /// [`has_room_left`](Self::has_room_left) said so.
    #[inline(always)]
    pub(super) fn push(&mut self, sqe: Sqe) -> bool {
        debug_assert!(self.queued() < self.parts.entries, "INV-RING-3");
        let tail = self.tail;
        self.tail = tail.wrapping_add(1);
        // SAFETY: INV-RING-1, INV-RING-2: inside the array. The kernel does not read an entry before the tail is
        // published; after that, only until it moves its head.
        unsafe { self.parts.sqes.add((tail & self.mask) as usize).write(sqe) };
        self.room = self.room.wrapping_sub(1);
        self.room <= 0
    }

    /// A queued submission, counted from the first.
    fn queued_at(&self, nth: u32) -> NonNull<Sqe> {
        let index = self.seen_head.wrapping_add(nth) & self.mask;
        // SAFETY: INV-RING-1, INV-RING-2: inside the array.
        unsafe { self.parts.sqes.add(index as usize) }
    }

    /// Whether the submission that was queued last, if it is queued still, leads to the next one.
    pub(super) fn is_chain_open(&self) -> bool {
        let last = self.queued_at(self.queued().wrapping_sub(1));
        // SAFETY: INV-RING-1, INV-RING-2: inside the array. It says what was written, and the kernel only reads it.
        self.queued() > 0 && unsafe { last.read() }.flags & (LINK | HARD_LINK) != 0
    }

    /// Has the submission that was queued last lead to nothing, if the kernel can't know of it yet.
    pub(super) fn end_chain(&mut self) {
        // SAFETY: INV-RING-1.
        let published = unsafe { self.parts.sq_tail.as_ref() }.load(Ordering::Relaxed);
        if published == self.tail || self.queued() == 0 {
            return; // what was handed over ends with that call
        }
        let last = self.queued_at(self.queued().wrapping_sub(1));
        // SAFETY: INV-RING-1, INV-RING-2: inside the array, and beyond the tail that the kernel knows.
        unsafe {
            let mut sqe = last.read();
            sqe.flags &= !(LINK | HARD_LINK);
            last.write(sqe);
        }
    }

    /// Changes queued submissions, if they are the program's.
    pub(super) fn for_each_queued(&mut self, mut change: impl FnMut(&mut Sqe)) {
        if !self.owns_queue {
            return;
        }
        for nth in 0..self.queued().min(self.parts.entries) {
            let entry = self.queued_at(nth);
            // SAFETY: INV-RING-1, INV-RING-3; the kernel reads submissions only inside `enter`, whose caller has this
            // ring borrowed.
            let mut sqe = unsafe { entry.read() };
            change(&mut sqe);
            // SAFETY: as above.
            unsafe { entry.write(sqe) };
        }
    }

    /// The next completion of the batch.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<Cqe> {
        let head = self.head;
        if head == self.batch_end {
            return None;
        }
        self.head = head.wrapping_add(1);
        // SAFETY: INV-RING-1, INV-RING-2: inside the array, and any bits are a completion. The tail was read with acquire
        // after the kernel wrote this entry, and the kernel does not write it again before our head is published. Read one
        // by one, the fields stay in registers.
        unsafe {
            let cqe = self.parts.cqes.add((head & self.cq_mask) as usize).as_ptr();
            Some(Cqe {
                user_data: (&raw const (*cqe).user_data).read(),
                result: (&raw const (*cqe).result).read(),
                flags: (&raw const (*cqe).flags).read(),
            })
        }
    }

    /// Whether the batch has entries left.
    #[inline(always)]
    pub(super) fn has_next(&self) -> bool {
        self.head != self.batch_end
    }

    /// How many completions are there that nobody has had.
    #[inline(always)]
    pub(super) fn available(&self) -> u32 {
        // SAFETY: INV-RING-1.
        let tail = unsafe { self.parts.cq_tail.as_ref() }.load(Ordering::Acquire);
        tail.wrapping_sub(self.head)
    }

    /// Makes a batch of what is there now: INV-RING-4.
    #[inline(always)]
    pub(super) fn take_batch(&mut self) {
        // SAFETY: INV-RING-1.
        let tail = unsafe { self.parts.cq_tail.as_ref() }.load(Ordering::Acquire);
        let count = tail.wrapping_sub(self.head).min(self.parts.cq_entries);
        let end = self.head.wrapping_add(count);
        self.completions += u64::from(end.wrapping_sub(self.batch_end));
        self.batch_end = end;
    }

    /// `IORING_SQ_*`.
    #[inline(always)]
    pub(super) fn flags(&self) -> u32 {
        // SAFETY: INV-RING-1.
        unsafe { self.parts.sq_flags.as_ref() }.load(Ordering::Relaxed)
    }

    /// Enters the kernel: submits what is queued and waits for `min_complete` completions. Whether everything was taken,
    /// [`observe`](Self::observe) says next.
    ///
    /// # Safety
    /// What the queued submissions point to is lent until their last completions.
    #[inline(always)]
    pub(super) unsafe fn enter<K: Kernel>(
        &mut self,
        kernel: &K,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        timeout_ns: Option<u64>,
    ) -> Result<u32, Errno> {
        let parts = &self.parts;
        // SAFETY: INV-RING-1.
        unsafe {
            parts.sq_tail.as_ref().store(self.tail, Ordering::Release);
            parts.cq_head.as_ref().store(self.head, Ordering::Release);
        }
        self.enters += 1;
        // SAFETY: the caller vouches for what is queued.
        unsafe {
            kernel.io_uring_enter(
                parts.number,
                to_submit,
                min_complete,
                flags | parts.enter_flags,
                timeout_ns,
            )
        }
    }

    /// Whether a thread of the kernel's submits.
    pub(super) fn has_thread(&self) -> bool {
        self.parts.has_thread
    }

    /// What the submitting thread is to be told with the call that follows.
    pub(super) fn wakes_thread(&mut self) -> u32 {
        if !self.parts.has_thread {
            return 0;
        }
        // SAFETY: INV-RING-1.
        unsafe { self.parts.sq_tail.as_ref() }.store(self.tail, Ordering::Release);
        // The thread sets the flag, then looks at the tail once more before it sleeps: store the tail, then look at the
        // flag, with nothing in between that could be swapped.
        fence(Ordering::SeqCst);
        if self.flags() & linux::IORING_SQ_NEED_WAKEUP != 0 {
            linux::IORING_ENTER_SQ_WAKEUP
        } else {
            0
        }
    }

    /// Sees how far the kernel has taken what is queued; true if it has taken all of it.
    #[inline(always)]
    pub(super) fn observe(&mut self) -> bool {
        // SAFETY: INV-RING-1.
        let head = unsafe { self.parts.sq_head.as_ref() }.load(Ordering::Acquire);
        if head != self.tail {
            self.observe_part(head);
            return false;
        }
        self.submitted += u64::from(self.queued());
        self.seen_head = head;
        self.room = self.room_max;
        true
    }

    /// As [`observe`](Self::observe), where something is left. A head that is not between the old one and the tail is not
    /// believed.
    #[cold]
    #[inline(never)]
    fn observe_part(&mut self, head: u32) {
        let taken = head.wrapping_sub(self.seen_head);
        if taken <= self.queued() {
            self.seen_head = head;
            self.submitted += u64::from(taken);
        } else {
            self.owns_queue = false;
        }
        self.room = self.room_max.saturating_sub(self.queued() as i32);
    }

    /// After a short submit: takes what is left of a chain whose beginning was taken out of the queue, by making it nops
    /// without links, and tells what came of each. The kernel has started the beginning, and would run the rest unlinked (P-10).
    #[cold]
    #[inline(never)]
    pub(super) fn cut_chain(&mut self, mut cut: impl FnMut(u64, Cut)) {
        // With a full queue nothing was taken, and its last entry lies where the one taken last was.
        if !self.owns_queue || self.queued() >= self.parts.entries {
            return;
        }
        let linked = |flags: u8| flags & (LINK | HARD_LINK) != 0;
        let before = self.queued_at(u32::MAX);
        // SAFETY: INV-RING-1, INV-RING-2: inside the array. It was taken, and still says what was written.
        let mut taken = unsafe { before.read() };
        let mut goes_on = linked(taken.flags);
        if !goes_on {
            return;
        }
        // SAFETY: as above; something is queued, or nothing would be left of it.
        let is_expired = self.queued() > 0
            && unsafe { self.queued_at(0).read() }.opcode
                == io_uring_op::IORING_OP_LINK_TIMEOUT as u8;
        // What was taken with it is there still, as nothing was queued since.
        for nth in 1..=self.parts.entries - self.queued() {
            // SAFETY: as above.
            let sqe = unsafe { self.queued_at(0u32.wrapping_sub(nth)).read() };
            if !linked(sqe.flags) {
                break;
            }
            let cut_here = if is_expired {
                Cut::Expired
            } else {
                Cut::Before
            };
            cut(sqe.user_data, cut_here);
        }
        // What is cut is cut once: should the kernel take nothing next time either, this leads to nothing any more.
        taken.flags &= !(LINK | HARD_LINK);
        // SAFETY: as above, and as it was taken nobody reads it but us.
        unsafe { before.write(taken) };
        for nth in 0..self.queued().min(self.parts.entries) {
            if !goes_on {
                return;
            }
            let entry = self.queued_at(nth);
            // SAFETY: INV-RING-1, INV-RING-3; nobody reads it outside `enter`.
            let sqe = unsafe { entry.read() };
            goes_on = linked(sqe.flags);
            // SAFETY: as above.
            unsafe {
                entry.write(Sqe {
                    user_data: sqe.user_data,
                    ..Sqe::EMPTY
                });
            }
            cut(sqe.user_data, Cut::Off);
        }
    }
}
