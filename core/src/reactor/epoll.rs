//! [`Epoll`]: readiness from the kernel (`epoll(7)`).
//!
//! **What.** One epoll instance, its batch, and the descriptors behind timers, signals and wakeups, over any
//! [`Kernel`].
//!
//! **Invariants.** *INV-EPOLL-1*: `timer_set` is what the timerfd will expire at, `Instant::MAX` if it will not; it is
//! cleared once the expiry was seen. *INV-EPOLL-2*: a caller's number never changes or ends a registration of the backend's own: a descriptor of the
//! caller's may be closed, and its number be that of the timerfd by now. *INV-EPOLL-3*: in a forked child nothing is
//! registered, changed or removed: it would be the parent's (G-1). *INV-EPOLL-4*: the descriptor that was given out stays what it
//! is: it is an instance that holds the one in use.
//!
//! **Why this shape.** How to wait: `epoll_wait` for none and for zero timeouts; `epoll_pwait2` (Linux 5.11) for short
//! ones; beyond 50 ms an absolute timerfd, set when the deadline changes. `epoll_pwait2` is late by a thousandth of
//! the wait (2 ms after 2 s), the timerfd by 30 to 150 µs at any distance, and it needs no reading of the clock (T-8).
//! A caller's own timeout, as opposed to a timer, always goes through `epoll_pwait2`: one call, late by a thousandth.

#![forbid(unsafe_code)]

use core::cell::OnceCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::time::Duration;

use linux_raw_sys::general as linux;

use super::backend::{Backend, Report, SIGNAL, TIMER, WAKEUP};
use crate::clock::{Instant, duration_nanos};
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::handle::Handle;
use crate::pid::{self, ExitStatus};
use crate::signal::{SignalCounts, SignalSet};
use crate::signalfd::SignalSource;
use crate::sys::uapi::EpollEvent;
use crate::sys::{AsRawFd, BorrowedFd, Fd, Kernel, Linux, RawFd};
use crate::wakeup::Wakeup;

/// The most events that one wait fetches. The kernel hands out what is left in turn.
pub const BATCH: usize = 256;

/// Deadlines up to this many nanoseconds ahead go through `epoll_pwait2`.
const PWAIT2_MAX_NS: u64 = 50_000_000;
/// Nanoseconds in a millisecond.
const MILLI_NS: u64 = 1_000_000;

/// Readiness by epoll. Neither `Send` nor `Sync`: signal masks belong to a thread (S-3).
///
/// `P` is how it holds its [`Wakeup`]: `&'static` here, an `Arc` where there is one.
// In this order: what every wait touches comes first, together.
#[repr(C)]
pub struct Epoll<K = Linux, P = &'static Wakeup<K>>
where
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    epoch: u64,
    timer_set: Instant,
    instance: Fd<K>,
    len: u32,
    cursor: u32,
    has_pwait2: bool,
    kernel: K,
    timer: Option<Fd<K>>,
    signals: SignalSource<K>,
    wakeup: Option<P>,
    /// The eventfd of `wakeup`, or −1: INV-EPOLL-2.
    wakeup_fd: RawFd,
    /// What an outer loop watches, once somebody asked for it: INV-EPOLL-4. `None` if it could not be made.
    outside: OnceCell<Option<Fd<K>>>,
    stays_on_its_thread: PhantomData<*const ()>,
    events: [EpollEvent; BATCH],
}

impl Epoll {
    /// A new epoll instance.
    ///
    /// # Errors
    /// [`Error::Os`] with EMFILE, ENFILE or ENOMEM; [`Error::Denied`] in a sandbox that forbids epoll.
    pub fn new() -> Result<Self, Error> {
        Self::with_kernel(Linux)
    }
}

impl<K: Kernel, P: Deref<Target = Wakeup<K>>> Epoll<K, P> {
    /// A new epoll instance of `kernel`.
    ///
    /// # Errors
    /// As [`Epoll::new`].
    pub fn with_kernel(kernel: K) -> Result<Self, Error> {
        let epoll = kernel
            .epoll_create()
            .map_err(|errno| Error::from_call(Call::EpollCreate, errno))?;
        Ok(Self {
            instance: epoll,
            epoch: kernel.process_epoch(),
            kernel,
            len: 0,
            cursor: 0,
            has_pwait2: true,
            timer_set: Instant::MAX,
            timer: None,
            signals: SignalSource::NONE,
            wakeup: None,
            wakeup_fd: -1,
            outside: OnceCell::new(),
            stays_on_its_thread: PhantomData,
            events: [EpollEvent::EMPTY; BATCH],
        })
    }

    /// Lets `wakeup` end this loop's waits. The one attached before, if any, no longer does.
    ///
    /// # Errors
    /// If the eventfd can't be opened or watched; [`Error::Forked`], also for a wakeup that this process's parent has opened.
    pub fn attach(&mut self, wakeup: P) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        if self.wakeup.is_some() {
            let _ = self.control(linux::EPOLL_CTL_DEL, self.wakeup_fd, EpollEvent::EMPTY);
            self.wakeup_fd = -1;
            self.wakeup = None;
        }
        let eventfd = wakeup.for_loop()?;
        self.control(linux::EPOLL_CTL_ADD, eventfd, INTERNAL_WAKEUP)
            .map_err(|errno| Error::from_call(Call::EpollCtl, errno))?;
        self.wakeup_fd = eventfd;
        self.wakeup = Some(wakeup);
        Ok(())
    }

    /// The wakeup, if one is attached.
    pub fn wakeup(&self) -> Option<&P> {
        self.wakeup.as_ref()
    }

    /// A descriptor that is readable when a wait would find something: for another loop to watch (G-2). It stays the same as
    /// long as this lives; the first call makes it, and without a descriptor to be had (EMFILE) it is that of the epoll instance
    /// itself, which changes with [`Stats::rebuilds`](super::Stats::rebuilds).
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        let outside = self.outside.get_or_init(|| {
            if !self.is_owner() {
                return None; // INV-EPOLL-3
            }
            let outside = self.kernel.epoll_create().ok()?;
            self.put_inside(&outside, &self.instance).ok()?;
            Some(outside)
        });
        outside.as_ref().unwrap_or(&self.instance).borrow()
    }

    /// Has what is given out be readable whenever `instance` is.
    fn put_inside(&self, outside: &Fd<K>, instance: &Fd<K>) -> Result<(), Errno> {
        let event = EpollEvent::new(linux::EPOLLIN, 0);
        self.kernel.epoll_ctl(
            outside.borrow(),
            linux::EPOLL_CTL_ADD,
            instance.as_raw_fd(),
            event,
        )
    }

    #[inline]
    fn control(&self, operation: u32, fd: RawFd, event: EpollEvent) -> Result<(), Errno> {
        if !self.is_owner() {
            return Err(Errno::EBADF); // INV-EPOLL-3
        }
        self.kernel
            .epoll_ctl(self.instance.borrow(), operation, fd, event)
    }

    /// As [`control`](Self::control), for a number of the caller's: INV-EPOLL-2.
    #[inline]
    fn control_callers(&self, operation: u32, fd: RawFd, event: EpollEvent) -> Result<(), Errno> {
        let is = |own: &Option<Fd<K>>| own.as_ref().is_some_and(|own| own.as_raw_fd() == fd);
        if fd == self.wakeup_fd || is(&self.timer) || self.signals.raw_fd() == Some(fd) {
            return Err(Errno::EBADF);
        }
        self.control(operation, fd, event)
    }

    /// Sets the timerfd; [`Instant::MAX`] stops it.
    #[cold]
    fn set_timer(&mut self, deadline: Instant) -> Result<(), Error> {
        if self.timer_set == deadline {
            return Ok(());
        }
        if !self.is_owner() {
            return Err(Error::Forked); // INV-EPOLL-3
        }
        if self.timer.is_none() {
            let timer = self
                .kernel
                .timerfd_create()
                .map_err(|errno| Error::from_call(Call::TimerfdCreate, errno))?;
            self.control(linux::EPOLL_CTL_ADD, timer.as_raw_fd(), INTERNAL_TIMER)
                .map_err(|errno| Error::from_call(Call::EpollCtl, errno))?;
            self.timer = Some(timer);
        }
        if let Some(timer) = &self.timer {
            self.kernel
                .timerfd_settime(
                    timer.borrow(),
                    Some(deadline).filter(|&at| at < Instant::MAX),
                    0,
                )
                .map_err(|errno| Error::from_call(Call::TimerfdSettime, errno))?;
        }
        self.timer_set = deadline;
        Ok(())
    }

    /// Waits as planned. A kernel without `epoll_pwait2` is asked once.
    #[inline(always)]
    fn wait_planned(
        &mut self,
        deadline: Option<Instant>,
        timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        loop {
            let plan = self.plan(deadline, timeout);
            let epoll = self.instance.borrow();
            return match plan {
                Plan::Block => self.kernel.epoll_wait(epoll, &mut self.events, -1),
                Plan::Poll => self.kernel.epoll_wait(epoll, &mut self.events, 0),
                Plan::Sleep(nanos) => {
                    let fetched = self.kernel.epoll_pwait2(epoll, &mut self.events, nanos);
                    if let Err(Errno::ENOSYS | Errno::EPERM) = fetched {
                        self.has_pwait2 = false; // by timerfd from now on
                        continue;
                    }
                    fetched
                }
                Plan::Millis(nanos) => {
                    let millis = nanos.div_ceil(MILLI_NS).min(i32::MAX as u64) as i32;
                    self.kernel.epoll_wait(epoll, &mut self.events, millis)
                }
            };
        }
    }

    /// How to wait for `deadline` or `timeout`: whichever is sooner, and not both `None` with the timerfd stopped.
    #[inline(always)]
    fn plan(&mut self, deadline: Option<Instant>, timeout: Option<Duration>) -> Plan {
        if timeout == Some(Duration::ZERO) {
            return Plan::Poll;
        }
        let timeout = timeout.map(duration_nanos);
        let Some(deadline) = deadline else {
            return self.plan_timeout(timeout);
        };
        // The timerfd is on its way already: no clock to read, nothing to set.
        if self.timer_set == deadline && timeout.is_none() {
            return Plan::Block;
        }
        let now = self.kernel.monotonic();
        let left = duration_nanos(deadline.since(now));
        match timeout {
            _ if left == 0 => Plan::Poll,
            Some(timeout) if timeout < left => self.plan_until(now, timeout, true),
            _ => self.plan_until(now, left, left <= PWAIT2_MAX_NS),
        }
    }

    /// How to wait for a caller's timeout alone, or for ever.
    #[inline(always)]
    fn plan_timeout(&mut self, timeout: Option<u64>) -> Plan {
        if timeout.is_none() || self.has_pwait2 {
            // A timerfd set to a deadline that was cancelled since must not end this wait.
            if self.timer_set != Instant::MAX {
                let _ = self.set_timer(Instant::MAX);
            }
            return timeout.map_or(Plan::Block, Plan::Sleep);
        }
        self.plan_until(self.kernel.monotonic(), timeout.unwrap_or(u64::MAX), true)
    }

    /// How to wait until `left` nanoseconds after `now`: by `epoll_pwait2` if `by_pwait2` and there is one.
    #[inline(always)]
    fn plan_until(&mut self, now: Instant, left: u64, by_pwait2: bool) -> Plan {
        let end = now + Duration::from_nanos(left);
        if by_pwait2 && self.has_pwait2 {
            // As above; one that is set to a later time may stay.
            if self.timer_set < end {
                let _ = self.set_timer(Instant::MAX);
            }
            return Plan::Sleep(left);
        }
        match self.set_timer(end) {
            Ok(()) => Plan::Block,
            // Without timerfds there is still the millisecond of epoll_wait, rounded up: late, never early.
            Err(_) => Plan::Millis(left),
        }
    }
}

/// How to wait.
enum Plan {
    /// Not at all.
    Poll,
    /// Until something is ready; the timerfd may be what is.
    Block,
    /// At most this many nanoseconds, by `epoll_pwait2`.
    Sleep(u64),
    /// At most this many nanoseconds, by `epoll_wait`, in whole milliseconds.
    Millis(u64),
}

const INTERNAL_WAKEUP: EpollEvent = EpollEvent::new(linux::EPOLLIN | linux::EPOLLET, WAKEUP.raw());
const INTERNAL_TIMER: EpollEvent = EpollEvent::new(linux::EPOLLIN | linux::EPOLLET, TIMER.raw());
const INTERNAL_SIGNAL: EpollEvent = EpollEvent::new(linux::EPOLLIN, SIGNAL.raw());

impl<K: Kernel, P: Deref<Target = Wakeup<K>>> Backend for Epoll<K, P> {
    type Process = Fd<K>;

    #[inline(always)]
    fn now(&self) -> Instant {
        self.kernel.monotonic()
    }

    #[inline(always)]
    fn is_owner(&self) -> bool {
        self.kernel.is_process(self.epoch)
    }

    #[inline]
    fn add(&mut self, fd: RawFd, events: u32, token: Handle) -> Result<(), Errno> {
        self.control_callers(
            linux::EPOLL_CTL_ADD,
            fd,
            EpollEvent::new(events, token.raw()),
        )
    }

    #[inline]
    fn modify(&mut self, fd: RawFd, events: u32, token: Handle) -> Result<(), Errno> {
        self.control_callers(
            linux::EPOLL_CTL_MOD,
            fd,
            EpollEvent::new(events, token.raw()),
        )
    }

    #[inline]
    fn remove(&mut self, fd: RawFd) -> Result<(), Errno> {
        self.control_callers(linux::EPOLL_CTL_DEL, fd, EpollEvent::EMPTY)
    }

    #[cold]
    fn rebuild(&mut self) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked); // INV-EPOLL-3
        }
        let fresh = self
            .kernel
            .epoll_create()
            .map_err(|errno| Error::from_call(Call::EpollCreate, errno))?;
        let wakeup = self.wakeup.as_ref().and_then(|wakeup| wakeup.open().ok());
        let internal = [
            (wakeup.map(|fd| fd.as_raw_fd()), INTERNAL_WAKEUP),
            (self.timer.as_ref().map(Fd::as_raw_fd), INTERNAL_TIMER),
            (self.signals.raw_fd(), INTERNAL_SIGNAL),
        ];
        for (fd, event) in internal {
            if let Some(fd) = fd {
                self.kernel
                    .epoll_ctl(fresh.borrow(), linux::EPOLL_CTL_ADD, fd, event)
                    .map_err(|errno| Error::from_call(Call::EpollCtl, errno))?;
            }
        }
        if let Some(Some(outside)) = self.outside.get() {
            self.put_inside(outside, &fresh)
                .map_err(|errno| Error::from_call(Call::EpollCtl, errno))?;
            // Closing it is not enough: a forked child has a duplicate.
            let _ = self.kernel.epoll_ctl(
                outside.borrow(),
                linux::EPOLL_CTL_DEL,
                self.instance.as_raw_fd(),
                EpollEvent::EMPTY,
            );
        }
        self.instance = fresh;
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, deadline: Option<Instant>, timeout: Option<Duration>) -> Result<(), Error> {
        self.len = 0;
        self.cursor = 0;
        let epoll = self.instance.borrow();
        // The usual case first, on its own: no timer, no timeout, nothing to plan.
        let fetched = if deadline.is_none() && timeout.is_none() && self.timer_set == Instant::MAX {
            self.kernel.epoll_wait(epoll, &mut self.events, -1)
        } else {
            self.wait_planned(deadline, timeout)
        };
        match fetched {
            Ok(count) => {
                self.len = count as u32;
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::from_call(Call::EpollWait, errno)),
        }
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Report> {
        if self.cursor >= self.len {
            return None;
        }
        let event = self.events[self.cursor as usize % BATCH];
        self.cursor += 1;
        Some(Report {
            token: event.data(),
            events: event.events(),
        })
    }

    fn timer_expired(&mut self) {
        self.timer_set = Instant::MAX; // INV-EPOLL-1
    }

    #[inline(always)]
    fn has_next(&self) -> bool {
        self.cursor < self.len
    }

    fn arm(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.set_timer(deadline.unwrap_or(Instant::MAX))
    }

    fn take_wakes(&mut self) -> u64 {
        self.wakeup.as_ref().map_or(0, |wakeup| wakeup.take())
    }

    fn set_signals(&mut self, set: SignalSet) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked); // INV-EPOLL-3
        }
        let (kernel, epoll) = (&self.kernel, self.instance.borrow());
        self.signals.set(kernel, set, |signalfd| {
            kernel
                .epoll_ctl(epoll, linux::EPOLL_CTL_ADD, signalfd, INTERNAL_SIGNAL)
                .map_err(|errno| Error::from_call(Call::EpollCtl, errno))
        })
    }

    fn take_signals(&mut self, counts: &mut SignalCounts) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked); // INV-EPOLL-3
        }
        self.signals.take(&self.kernel, counts)
    }

    fn open_process(&mut self, pid: i32) -> Result<Fd<K>, Error> {
        pid::open(&self.kernel, pid)
    }

    fn process_status(&mut self, process: &Fd<K>, reap: bool) -> Result<Option<ExitStatus>, Errno> {
        pid::status(&self.kernel, process, reap)
    }
}

impl<K: Kernel, P: Deref<Target = Wakeup<K>>> Drop for Epoll<K, P> {
    /// Gives the thread its signal mask back. What is pending is taken first, so that it does not strike now (S-3).
    /// In a forked child it only closes (G-1).
    fn drop(&mut self) {
        if self.is_owner() {
            self.signals.restore(&self.kernel);
        }
    }
}

impl<K: Kernel, P: Deref<Target = Wakeup<K>>> fmt::Debug for Epoll<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll")
            .field("instance", &self.instance)
            .field("signals", &self.signals.signals())
            .finish_non_exhaustive()
    }
}
