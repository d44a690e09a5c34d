//! Trouble on demand.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::proactor::Code;
use linux_event_core::sys::RawFd;

use super::Fake;

impl Fake {
    /// Has the next `call` that the loop makes refused with `errno`. Several are used up in the order they were given.
    ///
    /// [`Call::EpollCtl`] stands for adding, changing and removing, [`Call::EpollWait`] for waiting (EINTR ends it
    /// empty), [`Call::EpollCreate`] for a new interest list; [`Call::TimerfdSettime`], [`Call::Signalfd`],
    /// [`Call::Sigprocmask`], [`Call::PidfdOpen`] and [`Call::Waitid`] for what they are. Of a proactor [`Call::IoUringEnter`]
    /// stands for flushing and waiting (EINTR ends a wait at once, EBADR is
    /// [`CompletionsLost`](linux_event_core::error::Error::CompletionsLost)), and [`Call::IoUringRegister`] for registering
    /// descriptors, buffers and groups of them. The others are never made.
    ///
    /// ```
    /// use linux_event::fake::Fake;
    /// use linux_event_core::errno::Errno;
    /// use linux_event_core::error::{Call, Error};
    /// use linux_event_core::reactor::{Interest, Reactor};
    ///
    /// let mut fake = Fake::new();
    /// let (reader, _writer) = fake.pipe()?;
    /// fake.fail_next(Call::EpollCtl, Errno::ENOSPC);
    /// let mut reactor: Reactor<(), 4, 4, Fake> = Reactor::new(fake);
    /// let refused = reactor.watch(reader, Interest::READ, ()).unwrap_err();
    /// assert_eq!(refused, Error::Os { call: Call::EpollCtl, errno: Errno::ENOSPC });
    /// reactor.watch(reader, Interest::READ, ()).unwrap();
    /// # Ok::<(), Errno>(())
    /// ```
    pub fn fail_next(&mut self, call: Call, errno: Errno) {
        self.failures.push_back((call, errno));
    }

    /// How many failures nobody has run into.
    pub fn failures_left(&self) -> usize {
        self.failures.len()
    }

    /// Has a signal handler interrupt the next wait at once: it ends empty (EINTR), and what is ready is found by the
    /// one after it. Calls add up.
    pub fn interrupt_next_wait(&mut self) {
        self.interrupts_next += 1;
    }

    /// Numbers from `limit` on can't be had: EMFILE (`RLIMIT_NOFILE`). None is given out at first.
    pub fn set_descriptor_limit(&mut self, limit: RawFd) {
        self.machine.numbers.limit = limit;
    }

    /// Whether this process is the one that made the loop. False simulates being in a forked child (G-1), where
    /// nothing but closing is allowed: see [`touched_in_child`](Self::touched_in_child).
    pub fn set_owner(&mut self, is_owner: bool) {
        self.is_owner = is_owner;
    }

    /// What the loop did to its backend while it was not the [owner](Self::set_owner), in order, by the names of
    /// [`Backend`](linux_event_core::reactor::Backend)'s methods: each would have changed the parent's loop.
    pub fn touched_in_child(&self) -> &[&'static str] {
        &self.touched
    }

    /// The failure that is due for `call`, if there is one.
    pub(super) fn fail_call(&mut self, call: Call) -> Result<(), Errno> {
        let due = self
            .failures
            .iter()
            .position(|(failing, _)| *failing == call);
        match due.and_then(|index| self.failures.remove(index)) {
            Some((_, errno)) => Err(errno),
            None => Ok(()),
        }
    }

    /// Begins a call of the loop's.
    pub(super) fn touch(&mut self, method: &'static str) {
        if !self.is_owner {
            self.touched.push(method);
        }
        self.settle();
    }
}

/// Trouble with operations.
impl Fake {
    /// Has the next operation that is submitted refused with `error`. Several are used up in the order they were given.
    ///
    /// ```
    /// use linux_event::Buffer;
    /// use linux_event::LoopError as Error;
    /// use linux_event::fake::Fake;
    /// use linux_event_core::proactor::{Proactor, op};
    ///
    /// let mut proactor: Proactor<Buffer, (), 8, 8, Fake> = Proactor::new(Fake::new())?;
    /// proactor.backend_mut().refuse_next(Error::Full { capacity: 0 });
    /// let refused = proactor.submit(op::nop(), ()).unwrap_err();
    /// assert_eq!(refused.error, Error::Full { capacity: 0 });
    /// proactor.submit(op::nop(), ())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refuse_next(&mut self, error: Error) {
        self.operations.refuse(error);
    }

    /// Has the next request to cancel refused with `error`, as for want of room: the proactor asks again (P-4).
    pub fn refuse_next_cancel(&mut self, error: Error) {
        self.operations.refuse_cancel(error);
    }

    /// Has the next request to cancel that finds its operation come too late: the operation goes on, and ends as it would
    /// have. Calls add up.
    pub fn cancel_loses(&mut self) {
        self.operations.lose_cancel();
    }

    /// Has operations of this kind be unknown, as to an older kernel (P-12); without
    /// [`RecvMulti`](linux_event_core::proactor::Code::RecvMulti) there are no provided buffers either.
    pub fn set_supported(&mut self, code: Code, is_supported: bool) {
        self.operations.set_supported(code, is_supported);
    }

    /// How many entries the queue has, at least 2; 256 until it is changed. A full one is flushed (P-10).
    pub fn set_entries(&mut self, entries: usize) {
        self.operations.set_entries(entries.max(2));
    }

    /// How many reports one wait shows at most, at least 1; 4096 until it is changed. Where there are more the completion
    /// queue has overflowed: that is counted, and the others come with the next waits (P-10).
    pub fn set_completions(&mut self, reports: usize) {
        self.operations.set_completions(reports.max(1));
    }
}
