//! What the reactor's engine asks of a ring: time, wakeups, signals, processes.
//!
//! **Invariants.** *INV-INTERNAL-1*: a poll of the loop's own is queued right before the kernel is entered, so that its number
//! is open then. *INV-INTERNAL-2*: a wakeup's poll carries its generation: one that was replaced tells nothing.
//! *INV-INTERNAL-3*: in a forked child, whoever calls, neither the rings are touched, which are not there, nor what its
//! descriptors share with the parent: a timer, a set of signals (G-1).
//!
//! **Why this shape.** A poll that goes on (`IORING_POLL_ADD_MULTI`, Linux 5.13) behaves like an edge, so the eventfd need
//! not be read; where it ends, or never goes on, it is emptied and polled again.

use core::cell::OnceCell;
use core::fmt::{self, Debug};
use core::ops::Deref;
use core::time::Duration;

use linux_raw_sys::general::{EPOLLERR, EPOLLIN};
use linux_raw_sys::io_uring as linux;

use super::{Due, Lease, Uring};
use crate::clock::Instant;
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::handle::{Handle, Tag};
use crate::pid::{self, ExitStatus};
use crate::proactor::backend as proactor;
use crate::proactor::buffer::IoBuf;
use crate::reactor::backend::{self, Backend, Report, SIGNAL, TIMER, WAKEUP};
use crate::signal::{SignalCounts, SignalSet};
use crate::signalfd::SignalSource;
use crate::sys::ring::{Cqe, Sqe};
use crate::sys::{AsRawFd, BorrowedFd, Fd, Kernel, RawFd};
use crate::wakeup::Wakeup;

/// What a completion that is none of an operation in flight tells. It is no `Popped`, which would then go through memory
/// for all the others too.
pub(super) enum Told<Buf, Lease> {
    Ready(Report),
    Report(proactor::Report<Buf, Lease>),
}

/// The loop's own descriptors, opened when they are first needed.
pub(super) struct Internal<K: Kernel, P> {
    pub(super) wakeup: Option<P>,
    /// Its eventfd.
    pub(super) wakeup_fd: RawFd,
    /// INV-INTERNAL-2.
    pub(super) generation: u64,
    /// Polls end after one report: before Linux 5.13.
    pub(super) one_shot: bool,
    pub(super) signals: SignalSource<K>,
    pub(super) timer: Option<Fd<K>>,
    /// The eventfd that the kernel writes to when there is something, once somebody has asked for it.
    pub(super) embedding: OnceCell<Fd<K>>,
    /// The word of the process that was reported last.
    pub(super) last_process: u64,
}

impl<K: Kernel, P> fmt::Debug for Internal<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Internal").finish_non_exhaustive()
    }
}

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    /// Lets `wakeup` end this loop's waits. The one attached before, if any, no longer does.
    ///
    /// # Errors
    /// If the eventfd can't be opened; [`Error::Forked`], also for a wakeup that this process's parent has opened;
    /// what the kernel says if another was attached before.
    pub fn attach(&mut self, wakeup: P) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        let fd = wakeup.for_loop()?;
        if self.internal.wakeup.is_some() {
            // The old poll must not be queued when its number is no longer ours: INV-INTERNAL-1.
            self.flush_queue()?;
            self.cancel_word(self.wakeup_word())?;
            self.internal.generation += 1;
        }
        self.internal.wakeup_fd = fd;
        self.internal.wakeup = Some(wakeup);
        self.due |= Due::WAKEUP;
        Ok(())
    }

    /// A descriptor that becomes readable when there is something to wait for, for a loop around this one (G-2): each turn
    /// begins with [`Proactor::prepare`](crate::proactor::Proactor::prepare).
    ///
    /// It is the ring's own; but one with `DEFER_TASKRUN` does not wake who polls it, and so it is an eventfd then, which the
    /// kernel writes to from the first call on.
    #[doc(alias = "IORING_REGISTER_EVENTFD")]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        if self.capabilities.flags & linux::IORING_SETUP_DEFER_TASKRUN == 0 || !self.is_owners() {
            return self.fd.borrow();
        }
        if let Some(eventfd) = self.internal.embedding.get() {
            return eventfd.borrow();
        }
        match self.register_eventfd() {
            Ok(eventfd) => {
                let eventfd = self.internal.embedding.get_or_init(|| eventfd).borrow();
                // What came before it was there told nobody.
                self.settle_embedding();
                eventfd
            }
            Err(_) => self.fd.borrow(),
        }
    }

    fn register_eventfd(&self) -> Result<Fd<K>, Errno> {
        let eventfd = self.kernel.eventfd()?;
        let mut number = eventfd.as_raw_fd();
        // SAFETY: one number, which lives until the call returns.
        unsafe {
            self.kernel.io_uring_register(
                self.fd.borrow(),
                linux::io_uring_register_op::IORING_REGISTER_EVENTFD as u32,
                (&raw mut number).cast(),
                1,
            )
        }?;
        Ok(eventfd)
    }

    /// Has the descriptor of [`as_fd`](Self::as_fd) readable exactly if there is something: after the last turn it is so
    /// anyhow. The kernel writes to it for what comes first after nothing was there.
    fn settle_embedding(&self) {
        let Some(eventfd) = self.internal.embedding.get() else {
            return;
        };
        let _ = eventfd.read(&mut [0; 8]);
        let waits = self.ring.flags() & linux::IORING_SQ_TASKRUN != 0;
        if waits || self.ring.available() > 0 {
            let _ = eventfd.write(&1u64.to_ne_bytes());
        }
    }

    /// The wakeup, if one is attached.
    pub fn wakeup(&self) -> Option<&P> {
        self.internal.wakeup.as_ref()
    }

    fn wakeup_word(&self) -> u64 {
        Handle::new(WAKEUP.index(), Tag::Internal, self.internal.generation).raw()
    }

    /// Queues the polls that are due; what finds no room stays due.
    pub(super) fn arm_polls(&mut self) {
        let polls = [
            (
                Due::WAKEUP,
                Some(self.internal.wakeup_fd),
                self.wakeup_word(),
            ),
            (Due::SIGNALS, self.internal.signals.raw_fd(), SIGNAL.raw()),
            (
                Due::TIMER,
                self.internal.timer.as_ref().map(Fd::as_raw_fd),
                TIMER.raw(),
            ),
        ];
        let multi = !self.internal.one_shot;
        for (due, fd, word) in polls {
            if self.due.contains(due)
                && fd.is_none_or(|fd| self.push_poll(fd, EPOLLIN, word, multi).is_ok())
            {
                self.due -= due;
            }
        }
    }

    /// A completion of the loop's own, or of nobody's.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_internal(
        &mut self,
        user_data: u64,
        result: i32,
        flags: u32,
    ) -> Option<Told<Buf, Lease<K>>> {
        let cqe = Cqe {
            user_data,
            result,
            flags,
        };
        let Some(handle) = Handle::from_raw(cqe.user_data) else {
            self.ignored += 1;
            return None;
        };
        if handle.is(Tag::Control) {
            const NOT_FOUND: i32 = -Errno::ENOENT.raw();
            // A worker has it, and was told; that may do nothing to it, if it is about to wait for something.
            const IS_RUNNING: i32 = -Errno::EALREADY.raw();
            // What came before the request, a pause, was refused.
            const NOT_ASKED: i32 = -Errno::ECANCELED.raw();
            if matches!(cqe.result, NOT_FOUND | IS_RUNNING | NOT_ASKED) {
                self.cancel_again(operation_of(handle), cqe.result == NOT_FOUND);
            }
            return None;
        }
        if handle.is(Tag::Internal) {
            return self.settle_poll(handle, cqe).map(Told::Ready);
        }
        if handle.is(Tag::Gate) {
            return self.settle_gate(handle, cqe.result).map(Told::Report);
        }
        if handle.is(Tag::Process) || handle.is(Tag::Watcher) {
            if cqe.result == -Errno::ECANCELED.raw() {
                return None;
            }
            self.internal.last_process = cqe.user_data;
            return Some(Told::Ready(Report {
                token: cqe.user_data,
                events: u32::try_from(cqe.result).unwrap_or(EPOLLERR),
            }));
        }
        self.ignored += 1;
        None
    }

    /// A report of one of the loop's own polls.
    fn settle_poll(&mut self, handle: Handle, cqe: Cqe) -> Option<Report> {
        let (due, token) = match handle.index() {
            0 if handle.raw() == self.wakeup_word() => (Due::WAKEUP, WAKEUP),
            1 if handle == SIGNAL => (Due::SIGNALS, SIGNAL),
            2 if handle == TIMER => (Due::TIMER, TIMER),
            _ => {
                // Of a wakeup that was replaced, as a rule.
                self.ignored += u64::from(handle.index() != 0);
                return None;
            }
        };
        if cqe.flags & linux::IORING_CQE_F_MORE == 0 {
            self.due |= due;
            if cqe.result == -Errno::EINVAL.raw() {
                self.internal.one_shot = true;
            } else if cqe.result >= 0 {
                self.empty(due);
            }
        }
        (cqe.result >= 0).then_some(Report {
            token: token.raw(),
            events: cqe.result as u32,
        })
    }

    /// Reads what would end the next poll at once. The signalfd is read by whoever takes the signals.
    fn empty(&mut self, due: Due) {
        let mut counter = [0; 8];
        if due == Due::WAKEUP {
            if let Some(eventfd) = self
                .internal
                .wakeup
                .as_ref()
                .and_then(|wakeup| wakeup.open().ok())
            {
                let _ = self.kernel.read(eventfd, &mut counter);
            }
        } else if let Some(timer) = self.internal.timer.as_ref().filter(|_| due == Due::TIMER) {
            let _ = timer.read(&mut counter);
        }
    }
}

/// Whose end a request to cancel asks for.
pub(super) fn operation_of(request: Handle) -> Handle {
    Handle::new(request.index(), Tag::Operation, request.generation())
}

impl<Buf, K, P> Backend for Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    const WATCHES: bool = false;

    type Process = Fd<K>;

    #[inline(always)]
    fn now(&self) -> Instant {
        self.kernel.monotonic()
    }

    #[inline(always)]
    fn is_owner(&self) -> bool {
        self.kernel.is_process(self.epoch)
    }

    /// Polls once: for processes, which end once.
    fn add(&mut self, fd: RawFd, events: u32, token: Handle) -> Result<(), Errno> {
        if !token.is(Tag::Process) && !token.is(Tag::Watcher) {
            return Err(Errno::EINVAL);
        }
        self.push_poll(fd, events, token.raw(), false)
            .map_err(|error| error.errno().unwrap_or(Errno::EAGAIN))
    }

    /// Not needed for what ends once.
    fn modify(&mut self, _fd: RawFd, _events: u32, _token: Handle) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// As [`modify`](Self::modify).
    fn remove(&mut self, _fd: RawFd) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Ends the poll of a process. What is queued of it is handed over, or taken back: only that has its number.
    fn remove_process(&mut self, _fd: RawFd, token: Handle) -> Result<(), Errno> {
        if !self.is_owners() {
            return Err(Errno::EAGAIN); // INV-INTERNAL-3
        }
        if self.flush_queue().is_err() {
            if self.ring.untaken() > 0 {
                return Err(Errno::EBUSY);
            }
            self.ring.for_each_queued(|sqe| {
                if sqe.user_data == token.raw() {
                    *sqe = Sqe {
                        user_data: super::CONTROL_CANCEL.raw(),
                        ..Sqe::EMPTY
                    };
                }
            });
        }
        self.cancel_word(token.raw())
            .map_err(|error| error.errno().unwrap_or(Errno::EAGAIN))
    }

    /// Nothing can be orphaned: a poll names a file, not a number.
    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, deadline: Option<Instant>, timeout: Option<Duration>) -> Result<(), Error> {
        self.wait_once(deadline, timeout)
    }

    /// Nothing: everything comes from [`pop`](crate::proactor::Backend::pop).
    #[inline(always)]
    fn next(&mut self) -> Option<backend::Report> {
        None
    }

    #[inline(always)]
    fn has_next(&self) -> bool {
        self.ring.has_next()
    }

    fn arm(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked); // INV-INTERNAL-3
        }
        if self.internal.timer.is_none() && deadline.is_some() {
            let timer = self
                .kernel
                .timerfd_create()
                .map_err(|errno| Error::from_call(Call::TimerfdCreate, errno))?;
            self.internal.timer = Some(timer);
            self.due |= Due::TIMER;
        }
        if let Some(timer) = &self.internal.timer {
            let first = deadline.filter(|&at| at < Instant::MAX);
            self.kernel
                .timerfd_settime(timer.borrow(), first, 0)
                .map_err(|errno| Error::from_call(Call::TimerfdSettime, errno))?;
        }
        // Whoever waits for the descriptor waits for completions of what is submitted.
        self.arm_polls();
        if self.due.contains(Due::MISSED) {
            self.cancel_missed();
        }
        let flushed = self.flush_queue();
        self.settle_embedding();
        flushed
    }

    fn take_wakes(&mut self) -> u64 {
        self.internal
            .wakeup
            .as_ref()
            .map_or(0, |wakeup| wakeup.take())
    }

    fn set_signals(&mut self, set: SignalSet) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked); // INV-INTERNAL-3
        }
        let due = &mut self.due;
        self.internal.signals.set(&self.kernel, set, |_| {
            *due |= Due::SIGNALS;
            Ok(())
        })
    }

    fn take_signals(&mut self, counts: &mut SignalCounts) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked); // INV-INTERNAL-3
        }
        self.internal.signals.take(&self.kernel, counts)
    }

    fn open_process(&mut self, pid: i32) -> Result<Fd<K>, Error> {
        pid::open(&self.kernel, pid)
    }

    fn process_status(&mut self, process: &Fd<K>, reap: bool) -> Result<Option<ExitStatus>, Errno> {
        let status = pid::status(&self.kernel, process, reap);
        if status == Err(Errno::EAGAIN) {
            // Reported too early: the engine waits for another report, and the poll has ended. Without another one there
            // would never be one, which is to be told (C-1).
            let word = self.internal.last_process;
            if let Err(error) = self.push_poll(process.as_raw_fd(), EPOLLIN, word, false) {
                let why = error.errno().filter(|&errno| errno != Errno::EAGAIN);
                return Err(why.unwrap_or(Errno::ENOBUFS));
            }
        }
        status
    }
}
