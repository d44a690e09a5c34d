//! The end of a ring (P-6).
//!
//! **Invariants.** *INV-SHUTDOWN-1*: what the kernel may still touch when the ring ends is leaked: the buffers of what
//! is in flight, the arena, the groups, the registered buffers; a descriptor that a cut chain was to close. *INV-SHUTDOWN-2*: a forked child closes descriptors and
//! touches nothing else (G-1).
//!
//! **Why this shape.** The kernel works on after a ring is closed: only completions tell that it has let go. Each operation
//! is asked for by its word, a queueful a call: that is one look-up each, where a request for everything would have the kernel
//! begin its search anew for each that it finds. A kernel that puts work off (`IORING_SETUP_DEFER_TASKRUN`) does in one call
//! as much of it as is waited for, and else about twenty pieces; so all that can come is waited for, for a short while. What
//! settled nothing is asked for again: members of hard chains start when the one before them is over.

use core::fmt::Debug;
use core::mem;
use core::ops::Deref;
use core::time::Duration;

use linux_raw_sys::io_uring as linux;

use super::arena::{HAS_BUFFER, Side, TOLD, kind};
use super::{Held, Uring, setup};
use crate::clock::duration_nanos;
use crate::errno::Errno;
use crate::proactor::backend::{Popped, Shutdown};
use crate::proactor::buffer::IoBuf;
use crate::proactor::operation::{VECTORS_MAX, Vectors};
use crate::reactor::Backend as _;
use crate::sys::Kernel;
use crate::sys::ring::Sqe;
use crate::wakeup::Wakeup;

/// How long dropping waits.
const DROP_LIMIT: Duration = Duration::from_secs(1);
/// How long a round waits after one that settled nothing and before everything is asked for again.
const ROUND: Duration = Duration::from_millis(10);
/// How long the first one waits, and each after one that settled something.
const SHORT_ROUND: Duration = Duration::from_millis(1);

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    /// See [`Backend::shut_down`](super::Backend::shut_down).
    #[cold]
    pub(super) fn shut_down_within(&mut self, limit: Duration) -> Shutdown {
        let mut report = Shutdown::default();
        if !self.is_owner() {
            return report;
        }
        // What was given up once is not waited for again, nor counted.
        if self.is_shut {
            report.leaked = self.in_flight as usize;
            report.untaken = self.ring.untaken() as usize;
            return report;
        }
        let end = self.kernel.monotonic() + limit;
        // Those of an end that a panic cut short are kept still.
        self.kept.get_or_insert(0);
        let Some(settled) = self.drain() else {
            return Shutdown::default();
        };
        report.settled += settled;
        // The first slot that was not asked for yet.
        let mut next = 0;
        let mut round = SHORT_ROUND;
        while self.in_flight > self.kept.unwrap_or(0) && !self.is_lost() {
            let before = next;
            next = self.cancel_from(before);
            let is_asked = next >= self.arena.capacity();
            // More is asked for at once, if the kernel takes what is asked.
            let is_asking = !is_asked && next > before;
            let now = self.kernel.monotonic();
            let left = end.since(now).min(round);
            // The requests complete too. As many as are waited for, a kernel that puts work off does at once.
            let requests = self.ring.queued();
            let expected =
                requests.saturating_add(if is_asking { requests } else { self.in_flight });
            let is_slow = is_asking && round == ROUND;
            let waits = if is_slow || left.is_zero() || self.ring.available() > 0 {
                0
            } else {
                expected.min(self.ring.cq_entries())
            };
            let timeout_ns = (waits > 0).then(|| duration_nanos(left));
            let entered = self.enter(
                self.ring.queued(),
                waits,
                linux::IORING_ENTER_GETEVENTS,
                timeout_ns,
            );
            self.ring.take_batch();
            let Some(settled) = self.drain() else {
                return Shutdown::default();
            };
            report.settled += settled;
            // A kernel that lets nobody in will tell nothing, however long it is asked.
            let is_barred = matches!(entered, Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS));
            if now >= end || is_barred {
                break;
            }
            round = if settled > 0 { SHORT_ROUND } else { ROUND };
            if settled == 0 && is_asked {
                next = 0;
            }
        }
        if self.ring.queued() > 0 && self.capabilities.flags & linux::IORING_SETUP_SQPOLL != 0 {
            // What its thread has not looked at can't be taken back: numbers in it must not outlive this (P-14).
            let _ = self.flush_queue();
            self.ring.take_batch();
            let Some(settled) = self.drain() else {
                return Shutdown::default();
            };
            report.settled += settled;
        }
        report.settled += self.take_back_queued();
        report.settled += self.close_kept();
        report.leaked = self.in_flight as usize;
        report.untaken = self.ring.untaken() as usize;
        self.leaked += u64::from(self.in_flight);
        self.is_shut = true;
        report
    }

    /// Drops everything that the batch gives back; returns how many operations settled. `None` in a child that a buffer forked
    /// when it was dropped: the rings are not there.
    fn drain(&mut self) -> Option<usize> {
        let mut settled = 0;
        while let Some(popped) = self.pop_next() {
            settled += match popped {
                Popped::Plain { .. } => 1,
                Popped::Report(report) => usize::from(!report.more),
                Popped::Ready(_) => 0,
            };
        }
        self.held = Held::empty();
        self.descriptor = None;
        self.vectors.clear();
        self.is_owners().then_some(settled)
    }

    /// Asks for the end of what is in flight, from slot `next` on, as far as the queue has room; returns the first slot that
    /// was not asked for. What closes ends by itself, and might not tell whether it did (INV-SETTLE-2).
    fn cancel_from(&mut self, mut next: u32) -> u32 {
        while next < self.arena.capacity() && self.ring.has_room_left(1) {
            if let Some(slot) = self.arena.at(next)
                && slot.kind != kind::VACANT
                && kind::of(slot.kind) != kind::CLOSE
            {
                let token = slot.token;
                if self.cancel_word(token).is_err() {
                    break;
                }
            }
            next += 1;
        }
        next
    }

    /// Closes what chains that were cut were to close, now that nothing else is in flight; returns how much that is. If something is,
    /// it may look for a number yet (INV-SHUTDOWN-1).
    fn close_kept(&mut self) -> usize {
        let kept = self.kept.take().unwrap_or(0);
        if kept == 0 || self.in_flight > kept {
            return 0;
        }
        let mut closed = 0;
        for index in 0..self.arena.capacity() {
            if let Some(slot) = self.arena.at(index)
                && kind::of(slot.kind) == kind::CLOSE
                && slot.state & TOLD != 0
            {
                slot.kind = kind::VACANT;
                let number = slot.lent as i32;
                self.in_flight -= 1;
                closed += 1;
                // SAFETY: INV-SYS-2: `push_close` took it over, and the kernel was never told of it.
                unsafe { self.kernel.close(number) };
            }
        }
        closed
    }

    /// Settles what the kernel never took: it is ours, every buffer of it. Returns how much that was.
    fn take_back_queued(&mut self) -> usize {
        let (mut words, mut closings) = (0, 0);
        let arena = &mut self.arena;
        self.ring.for_each_queued(|sqe| {
            // What is left in the queue is never submitted any more; if it were, it would do nothing.
            if let Some(slot) = arena.find(sqe.user_data)
                && slot.kind != kind::VACANT
            {
                // What was before it in its chain, and was taken, may look for its number yet.
                if kind::of(slot.kind) == kind::CLOSE && slot.kind & kind::CUT != 0 {
                    closings += u32::from(slot.state & TOLD == 0);
                    slot.state |= TOLD;
                } else {
                    slot.state |= TAKEN_BACK;
                    words += 1;
                }
            }
            *sqe = Sqe {
                user_data: super::CONTROL_CANCEL.raw(),
                ..Sqe::EMPTY
            };
        });
        *self.kept.get_or_insert(0) += closings;
        if words == 0 {
            return 0;
        }
        for index in 0..self.arena.capacity() {
            self.take_back(index);
        }
        words
    }

    fn take_back(&mut self, index: u32) {
        let side = self.arena.side(index);
        let Some(slot) = self.arena.at(index) else {
            return;
        };
        if slot.kind == kind::VACANT || slot.state & TAKEN_BACK == 0 {
            return;
        }
        let settled = kind::of(mem::replace(&mut slot.kind, kind::VACANT));
        let state = mem::replace(&mut slot.state, 0);
        let (lent, vectors) = (slot.lent, usize::from(slot.vectors).min(VECTORS_MAX));
        // SAFETY: INV-SETTLE-1, INV-ARENA-2: the slot is vacant now, and the kernel never had it.
        let buffer = (state & HAS_BUFFER != 0).then(|| unsafe { Buf::from_raw(slot.raw()) });
        self.in_flight -= 1;
        drop(buffer);
        if matches!(settled, kind::VECTORS | kind::FILLS_VECTORS) {
            for nth in 0..vectors {
                // SAFETY: likewise; its first `vectors` parts were written.
                drop(unsafe { Buf::from_raw(Side::buffer(side, nth).read().assume_init()) });
            }
        }
        if settled == kind::CLOSE {
            // SAFETY: INV-SYS-2: `push_close` took it over, and the kernel never had it.
            unsafe { self.kernel.close(lent as i32) };
        }
        self.release_use(settled, lent);
    }
}

/// A slot's `state`: it was found in the queue.
const TAKEN_BACK: u8 = 0x80;

impl<Buf, K, P> Drop for Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    fn drop(&mut self) {
        let ending = Ending(self);
        if ending.0.is_owner() && !ending.0.is_shut {
            ending.0.shut_down_within(DROP_LIMIT);
        }
    }
}

/// What is left to do when a ring ends, also when a buffer that was dropped meanwhile panicked: nothing is unmapped that the
/// kernel may touch.
struct Ending<'ring, Buf, K, P>(&'ring mut Uring<Buf, K, P>)
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>;

impl<Buf, K, P> Drop for Ending<'_, Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    fn finish(&mut self) {
        let (rings, submissions) = (self.rings.take(), self.submissions.take());
        if !self.is_owner() {
            // INV-SHUTDOWN-2: the rings are not even there; buffers are as the kernel had them in the parent.
            for region in [rings, submissions].into_iter().flatten() {
                region.leak();
            }
            self.arena.leak();
            self.buffers.leak();
            self.groups.forget();
            return;
        }
        self.internal.signals.restore(&self.kernel);
        // INV-SHUTDOWN-1.
        let leaks = self.in_flight > 0;
        self.groups.end(&self.kernel, self.fd.borrow(), leaks);
        let mut registered = Ok(Vectors::<Buf>::new());
        if leaks {
            self.buffers.leak();
            self.arena.leak();
        } else {
            registered = self.buffers.unregister(&self.kernel, self.fd.borrow());
            if registered.is_err() {
                self.buffers.leak();
            }
        }
        if let Some(index) = self.registered {
            setup::unregister_ring(&self.kernel, &self.fd, index);
        }
        drop((rings, submissions));
        // Last, as they may do anything when they are dropped: panic, or fork.
        drop(registered);
    }
}
