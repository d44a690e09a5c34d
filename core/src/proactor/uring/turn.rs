//! Entering the kernel: submitting, waiting, and what can come of it (P-9, P-10).
//!
//! **Invariants.** Those of the [parent](super). *INV-TURN-1*: whatever the kernel answers, what it has not taken stays queued,
//! and what it has posted stays to be popped.
//!
//! **Why this shape.** A turn is one call, inlined into the caller's loop; what does not happen every turn is in cold functions.

use core::fmt::Debug;
use core::ops::Deref;
use core::time::Duration;

use linux_raw_sys::io_uring as linux;

use super::arena::{MISSED, kind};
use super::internal::operation_of;
use super::ring::Cut;
use super::{Due, Uring};
use crate::clock::{Instant, duration_nanos};
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::handle::{Handle, Tag};
use crate::proactor::buffer::IoBuf;
use crate::sys::Kernel;
use crate::wakeup::Wakeup;

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    /// Enters the kernel, and sees to what comes of it beside completions.
    #[cold]
    #[inline(never)]
    pub(super) fn enter(
        &mut self,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        timeout_ns: Option<u64>,
    ) -> Result<(), Errno> {
        let flags = flags | self.ring.wakes_thread();
        // SAFETY: INV-URING-1.
        let result = unsafe {
            self.ring
                .enter(&self.kernel, to_submit, min_complete, flags, timeout_ns)
        };
        let took_all = self.ring.observe();
        self.entered(result, took_all || to_submit == 0)
    }

    /// What came of entering the kernel beside completions.
    #[cold]
    #[inline(never)]
    fn entered(&mut self, result: Result<u32, Errno>, took_all: bool) -> Result<(), Errno> {
        let overflows = self.ring.flags() & linux::IORING_SQ_CQ_OVERFLOW != 0;
        if overflows != self.due.contains(Due::OVERFLOW) {
            self.overflow_changed(overflows);
        }
        if !took_all {
            self.submitted_short();
        }
        if result == Err(Errno::EBADR) {
            self.lose();
        }
        result.map(drop)
    }

    /// An episode of overflow begins or ends (P-10).
    fn overflow_changed(&mut self, overflows: bool) {
        self.due.set(Due::OVERFLOW, overflows);
        self.overflows += u64::from(overflows);
    }

    /// The kernel has not taken everything: what was cut off of a chain must not run by itself.
    fn submitted_short(&mut self) {
        let (arena, due) = (&mut self.arena, &mut self.due);
        self.ring.cut_chain(|word, cut| {
            let request = Handle::from_raw(word).filter(|handle| handle.is(Tag::Control));
            let token = request.map_or(word, |request| operation_of(request).raw());
            let Some(slot) = arena.find(token).filter(|slot| slot.kind != kind::VACANT) else {
                return;
            };
            match cut {
                // A request to cancel.
                Cut::Off if request.is_some() => {}
                Cut::Off => slot.kind |= kind::CUT,
                Cut::Before | Cut::Expired => slot.kind |= kind::LATE,
            }
            // What closes ends by itself (INV-SETTLE-2).
            if (request.is_some() || cut == Cut::Expired) && kind::of(slot.kind) != kind::CLOSE {
                slot.state |= MISSED;
                *due |= Due::MISSED;
            }
        });
    }

    /// Completions are lost: what is in flight can't be told from what is done (P-10).
    fn lose(&mut self) {
        self.due |= Due::LOST;
        self.ring.give_up();
    }

    /// Makes the kernel hand out what it kept for want of room, before more is submitted. It says only once what is lost.
    #[cold]
    #[inline(never)]
    fn flush_overflow(&mut self) -> Result<(), Error> {
        match self.enter(0, 0, linux::IORING_ENTER_GETEVENTS, None) {
            Err(Errno::EBADR) => Err(Error::CompletionsLost),
            _ => Ok(()),
        }
    }

    /// Hands what is queued to the kernel.
    #[cold]
    #[inline(never)]
    pub(super) fn flush_queue(&mut self) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        if self.due.contains(Due::LOST) {
            return Err(Error::CompletionsLost);
        }
        if self.due.contains(Due::OVERFLOW) {
            self.flush_overflow()?;
        }
        // Each round takes at least one, or ends.
        let mut queued = self.ring.queued();
        while queued > 0 {
            let result = self.enter(queued, 0, 0, None);
            if self.ring.has_thread() {
                return self.hand_over();
            }
            let left = self.ring.queued();
            match result {
                Err(Errno::EBADR) => return Err(Error::CompletionsLost),
                Err(Errno::EINTR) => {}
                Err(errno) if left == queued => {
                    return Err(Error::from_call(Call::IoUringEnter, errno));
                }
                Ok(()) if left == queued => {
                    return Err(Error::from_call(Call::IoUringEnter, Errno::EAGAIN));
                }
                _ => {}
            }
            queued = left;
        }
        Ok(())
    }

    /// Waits for the submitting thread to take what is queued: numbers of descriptors are the caller's again then (P-14).
    #[cold]
    #[inline(never)]
    fn hand_over(&mut self) -> Result<(), Error> {
        /// Looks at the queue before it sleeps: a thread that runs takes a microsecond for an entry.
        const SPINS: u32 = 1000;
        /// Sleeps without progress until it is given up: a tenth of a second at the least.
        const SLEEPS_MAX: u32 = 2000;
        const SLEEP_NS: u64 = 50_000;
        let mut sleeps = 0;
        while sleeps < SLEEPS_MAX {
            let left = self.ring.queued();
            for _ in 0..SPINS {
                self.ring.observe();
                if self.ring.queued() == 0 {
                    return Ok(());
                }
                core::hint::spin_loop();
            }
            // It may want to be woken, or this processor. One completion more than there are ends the sleep early.
            let more = self.ring.available().saturating_add(1);
            let flags = linux::IORING_ENTER_GETEVENTS;
            if self.enter(left, more, flags, Some(SLEEP_NS)) == Err(Errno::EBADR) {
                return Err(Error::CompletionsLost);
            }
            sleeps = if self.ring.queued() < left {
                0
            } else {
                sleeps + 1
            };
        }
        Err(Error::from_call(Call::IoUringEnter, Errno::EAGAIN))
    }

    /// Sees to it that `entries` submissions can be queued side by side.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room_now(&mut self, entries: usize) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        if self.due.contains(Due::LOST) {
            return Err(Error::CompletionsLost);
        }
        let capacity = self.ring.entries() as usize;
        if entries > capacity {
            return Err(Error::Full { capacity });
        }
        if self.ring.has_room_left(entries as u32) {
            return Ok(());
        }
        let flushed = self.flush_queue();
        if self.ring.has_room_left(entries as u32) {
            return Ok(());
        }
        flushed.and(Err(Error::Full { capacity }))
    }

    /// Waits: see [`reactor::Backend::wait`](crate::reactor::Backend::wait). One call (P-9).
    #[inline(always)]
    pub(super) fn wait_once(
        &mut self,
        deadline: Option<Instant>,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        let timeout_ns = match (deadline, timeout) {
            (None, None) => None,
            (None, Some(timeout)) => Some(duration_nanos(timeout)),
            (Some(deadline), timeout) => {
                let left = duration_nanos(deadline.since(self.kernel.monotonic()));
                Some(timeout.map_or(left, |timeout| left.min(duration_nanos(timeout))))
            }
        };
        if !self.due.is_empty() {
            return self.wait_unusually(timeout_ns);
        }
        let waits = timeout_ns != Some(0);
        // SAFETY: INV-URING-1.
        let result = unsafe {
            self.ring.enter(
                &self.kernel,
                self.ring.queued(),
                u32::from(waits),
                self.wait_flags,
                if waits { timeout_ns } else { None },
            )
        };
        let took_all = self.ring.observe();
        self.ring.take_batch();
        if let Err(errno) = result {
            return self.wait_ended(Some(errno));
        }
        if !took_all || self.ring.flags() & linux::IORING_SQ_CQ_OVERFLOW != 0 {
            return self.wait_ended(None);
        }
        Ok(())
    }

    /// A wait after which something is to be seen to.
    #[cold]
    #[inline(never)]
    fn wait_ended(&mut self, errno: Option<Errno>) -> Result<(), Error> {
        let took_all = self.ring.queued() == 0;
        let result = errno.map_or(Ok(0), Err);
        match self.entered(result, took_all) {
            Ok(()) | Err(Errno::ETIME) => Ok(()),
            Err(errno) => self.wait_failed(errno),
        }
    }

    /// A wait before which something is to be seen to.
    #[cold]
    #[inline(never)]
    fn wait_unusually(&mut self, timeout_ns: Option<u64>) -> Result<(), Error> {
        self.prepare_wait()?;
        // Completions that are there already end the wait before it begins.
        let waits = timeout_ns != Some(0) && self.ring.available() == 0;
        if waits && self.due.contains(Due::BUSY_POLL) && self.busy_poll(timeout_ns)? {
            return Ok(());
        }
        let result = self.enter(
            self.ring.queued(),
            u32::from(waits),
            self.wait_flags,
            if waits { timeout_ns } else { None },
        );
        self.ring.take_batch();
        match result {
            Ok(()) | Err(Errno::ETIME) => Ok(()),
            Err(errno) => self.wait_failed(errno),
        }
    }

    /// Why a wait ended, if not by a completion or by the time.
    fn wait_failed(&mut self, errno: Errno) -> Result<(), Error> {
        match errno {
            Errno::EINTR => Ok(()),
            Errno::EBADR => Err(Error::CompletionsLost),
            // Nothing could be taken: what is there has to be dealt with first, and the queue stays.
            Errno::EAGAIN | Errno::EBUSY if self.ring.has_next() => Ok(()),
            errno => Err(Error::from_call(Call::IoUringEnter, errno)),
        }
    }

    /// What a wait begins with, when there is anything.
    fn prepare_wait(&mut self) -> Result<(), Error> {
        if self.due.contains(Due::LOST) {
            return Err(Error::CompletionsLost);
        }
        self.arm_polls();
        if self.due.contains(Due::MISSED) {
            self.cancel_missed();
        }
        if self.due.contains(Due::OVERFLOW) {
            self.flush_overflow()?;
        }
        // Making room for a poll may have told it.
        if self.due.contains(Due::LOST) {
            return Err(Error::CompletionsLost);
        }
        Ok(())
    }

    /// Asks again and again, as long as the options say; true if there is something, or the time is over.
    #[cold]
    #[inline(never)]
    fn busy_poll(&mut self, timeout_ns: Option<u64>) -> Result<bool, Error> {
        let start = self.kernel.monotonic();
        let end = start + self.options.busy_poll;
        let limit = timeout_ns.map_or(Instant::MAX, |nanos| start + Duration::from_nanos(nanos));
        loop {
            let result = self.enter(self.ring.queued(), 0, self.wait_flags, None);
            self.ring.take_batch();
            match result {
                Err(Errno::EBADR) => return Err(Error::CompletionsLost),
                _ if self.ring.has_next() => return Ok(true),
                Err(_) => return Ok(false), // the wait that follows says why
                Ok(()) => {}
            }
            let now = self.kernel.monotonic();
            if now >= limit {
                return Ok(true);
            }
            if now >= end {
                return Ok(false);
            }
        }
    }
}
