//! [`Probe`]: the kernel that is really there, with every call counted, and refused where a test says so.
//!
//! **What.** A [`Kernel`] around [`Linux`]. Clones share one log: how often each [`Name`] was called, which calls are
//! to be refused and how, and which descriptors are open. Test files include this one by `#[path]`.
//!
//! **Invariants.** *INV-PROBE-1*: each method passes its arguments to the same method of [`Linux`] unchanged, but for the
//! number of submissions, which may be less; or it returns an error and touches nothing. *INV-PROBE-2*: a number that a call of [`Linux`] gave is owned by exactly one
//! `Fd<Probe>`; closing one that is not in the list of open ones is a failure of the test.
//!
//! **Why this shape.** Refusing on the way to the real kernel shows what a sandbox, a full table or an old kernel
//! does, while everything that is not refused behaves as it does in production.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test file uses its own part of this one")]

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::reactor::{Epoll, Event, Reactor, Storage};
use linux_event_core::signal::SignalSet;
use linux_event_core::sys::ring::RingParams;
use linux_event_core::sys::uapi::EpollEvent;
use linux_event_core::sys::{
    BorrowedFd, ExitInfo, Fd, Kernel, Linux, MaskChange, RawFd, SignalRecord,
};
use linux_event_core::wakeup::Wakeup;

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        /// The calls of the seam. `epoll_ctl` counts by operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Name { $($name),* }

        impl Name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

names!(
    EpollCreate,
    EpollAdd,
    EpollMod,
    EpollDel,
    EpollWait,
    EpollPwait2,
    TimerfdCreate,
    TimerfdSettime,
    Eventfd,
    Signalfd,
    SignalfdChange,
    SignalfdRead,
    SignalMask,
    PidfdOpen,
    PidfdSendSignal,
    Waitid,
    PidfdExitStatus,
    Read,
    Write,
    Close,
    RingSetup,
    RingEnter,
    RingRegister,
    Map,
    Unmap,
    DontFork,
    LockableMemory,
    IsDisabled,
    // No system call where there is a vDSO, and so counted apart.
    Monotonic,
);

const NAMES: usize = Name::ALL.len();

/// How often a refusal holds.
pub(crate) const ALWAYS: u64 = u64::MAX;

#[derive(Debug)]
struct Log {
    counts: [AtomicU64; NAMES],
    refusals: Mutex<BTreeMap<Name, (Errno, u64)>>,
    open: Mutex<BTreeMap<RawFd, Name>>,
    clock: Mutex<Option<Instant>>,
    /// How many submissions the next `io_uring_enter` that has some passes on at most.
    short: Mutex<Option<u32>>,
}

/// A kernel that counts and refuses. See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Probe(Arc<Log>);

/// What was called between two looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts([u64; NAMES]);

impl Counts {
    /// How often `name` was called.
    pub(crate) fn of(&self, name: Name) -> u64 {
        self.0[name as usize]
    }

    /// How many system calls there were: all but the clock.
    pub(crate) fn system_calls(&self) -> u64 {
        self.0.iter().sum::<u64>() - self.of(Name::Monotonic)
    }

    /// How many `epoll_ctl` calls there were.
    pub(crate) fn controls(&self) -> u64 {
        self.of(Name::EpollAdd) + self.of(Name::EpollMod) + self.of(Name::EpollDel)
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let called = Name::ALL.iter().filter(|name| self.of(**name) > 0);
        f.debug_map()
            .entries(called.map(|name| (name, self.of(*name))))
            .finish()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Log {
            counts: [const { AtomicU64::new(0) }; NAMES],
            refusals: Mutex::default(),
            open: Mutex::default(),
            clock: Mutex::default(),
            short: Mutex::default(),
        }))
    }

    /// Everything that was called so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|index| {
            self.0.counts[index].load(Ordering::SeqCst)
        }))
    }

    /// What `work` called.
    pub(crate) fn counted<R>(&self, work: impl FnOnce() -> R) -> (R, Counts) {
        let before = self.counts();
        let result = work();
        let after = self.counts();
        let counts = Counts(std::array::from_fn(|index| {
            after.0[index] - before.0[index]
        }));
        (result, counts)
    }

    /// Refuses the next `times` calls of `name` with `errno`.
    pub(crate) fn refuse(&self, name: Name, errno: Errno, times: u64) {
        locked(&self.0.refusals).insert(name, (errno, times));
    }

    /// Refuses nothing any more.
    pub(crate) fn allow_all(&self) {
        locked(&self.0.refusals).clear();
    }

    /// Has the clock stand still at `now`; `None` lets it go on. Waits are not told.
    pub(crate) fn stop_clock(&self, now: Option<Instant>) {
        *locked(&self.0.clock) = now;
    }

    /// Has the next `io_uring_enter` that submits anything take `entries` at most, as a kernel that runs out of memory does.
    pub(crate) fn take_at_most(&self, entries: u32) {
        *locked(&self.0.short) = Some(entries);
    }

    /// The descriptors that were made and not closed, and by what.
    pub(crate) fn open(&self) -> BTreeMap<RawFd, Name> {
        locked(&self.0.open).clone()
    }

    /// How many of the open descriptors `name` made.
    pub(crate) fn open_by(&self, name: Name) -> usize {
        self.open().values().filter(|made| **made == name).count()
    }

    /// Counts a call, and refuses it if it is to be refused.
    fn enter(&self, name: Name) -> Result<(), Errno> {
        self.0.counts[name as usize].fetch_add(1, Ordering::SeqCst);
        let mut refusals = locked(&self.0.refusals);
        match refusals.get_mut(&name) {
            Some((errno, times)) if *times > 0 => {
                if *times != ALWAYS {
                    *times -= 1;
                }
                Err(*errno)
            }
            _ => Ok(()),
        }
    }

    /// A descriptor of the test's, as this kernel's.
    pub(crate) fn take_in(&self, fd: Fd<Linux>) -> Fd<Self> {
        self.own(Name::Close, fd)
    }

    fn own(&self, name: Name, fd: Fd<Linux>) -> Fd<Self> {
        let raw = fd.into_raw();
        let doubled = locked(&self.0.open).insert(raw, name);
        assert_eq!(
            doubled, None,
            "descriptor {raw} was closed behind its owner"
        );
        // SAFETY: INV-PROBE-2: `fd` owned the number and has given it up.
        unsafe { Fd::from_raw(self.clone(), raw) }
    }
}

// SAFETY: INV-PROBE-1: the results are those of `Linux`, which vouches for them.
unsafe impl Kernel for Probe {
    unsafe fn close(&self, fd: RawFd) {
        let _ = self.enter(Name::Close);
        let made = locked(&self.0.open).remove(&fd);
        assert!(
            made.is_some(),
            "descriptor {fd} is not this kernel's to close"
        );
        // SAFETY: the caller owns the number.
        unsafe { Linux.close(fd) }
    }

    fn read(&self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.enter(Name::Read)?;
        Linux.read(fd, buffer)
    }

    fn write(&self, fd: BorrowedFd<'_>, buffer: &[u8]) -> Result<usize, Errno> {
        self.enter(Name::Write)?;
        Linux.write(fd, buffer)
    }

    fn epoll_create(&self) -> Result<Fd<Self>, Errno> {
        self.enter(Name::EpollCreate)?;
        Ok(self.own(Name::EpollCreate, Linux.epoll_create()?))
    }

    fn epoll_ctl(
        &self,
        epoll: BorrowedFd<'_>,
        operation: u32,
        fd: RawFd,
        event: EpollEvent,
    ) -> Result<(), Errno> {
        // The operations' numbers, as `epoll_ctl(2)` has them.
        self.enter(match operation {
            1 => Name::EpollAdd,
            2 => Name::EpollDel,
            _ => Name::EpollMod,
        })?;
        Linux.epoll_ctl(epoll, operation, fd, event)
    }

    fn epoll_wait(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut [EpollEvent],
        timeout_ms: i32,
    ) -> Result<usize, Errno> {
        self.enter(Name::EpollWait)?;
        Linux.epoll_wait(epoll, events, timeout_ms)
    }

    fn epoll_pwait2(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut [EpollEvent],
        timeout_ns: u64,
    ) -> Result<usize, Errno> {
        self.enter(Name::EpollPwait2)?;
        Linux.epoll_pwait2(epoll, events, timeout_ns)
    }

    fn timerfd_create(&self) -> Result<Fd<Self>, Errno> {
        self.enter(Name::TimerfdCreate)?;
        Ok(self.own(Name::TimerfdCreate, Linux.timerfd_create()?))
    }

    fn timerfd_settime(
        &self,
        fd: BorrowedFd<'_>,
        first: Option<Instant>,
        interval_ns: u64,
    ) -> Result<(), Errno> {
        self.enter(Name::TimerfdSettime)?;
        Linux.timerfd_settime(fd, first, interval_ns)
    }

    fn eventfd(&self) -> Result<Fd<Self>, Errno> {
        self.enter(Name::Eventfd)?;
        Ok(self.own(Name::Eventfd, Linux.eventfd()?))
    }

    fn signalfd(&self, set: SignalSet) -> Result<Fd<Self>, Errno> {
        self.enter(Name::Signalfd)?;
        Ok(self.own(Name::Signalfd, Linux.signalfd(set)?))
    }

    fn signalfd_change(&self, fd: BorrowedFd<'_>, set: SignalSet) -> Result<(), Errno> {
        self.enter(Name::SignalfdChange)?;
        Linux.signalfd_change(fd, set)
    }

    fn signalfd_read(
        &self,
        fd: BorrowedFd<'_>,
        records: &mut [SignalRecord],
    ) -> Result<usize, Errno> {
        self.enter(Name::SignalfdRead)?;
        Linux.signalfd_read(fd, records)
    }

    fn signal_mask(&self, change: MaskChange, set: SignalSet) -> Result<SignalSet, Errno> {
        self.enter(Name::SignalMask)?;
        Linux.signal_mask(change, set)
    }

    fn pidfd_open(&self, pid: i32) -> Result<Fd<Self>, Errno> {
        self.enter(Name::PidfdOpen)?;
        Ok(self.own(Name::PidfdOpen, Linux.pidfd_open(pid)?))
    }

    fn pidfd_send_signal(&self, pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
        self.enter(Name::PidfdSendSignal)?;
        Linux.pidfd_send_signal(pidfd, signal)
    }

    fn waitid(&self, pidfd: BorrowedFd<'_>, reap: bool) -> Result<Option<ExitInfo>, Errno> {
        self.enter(Name::Waitid)?;
        Linux.waitid(pidfd, reap)
    }

    fn pidfd_exit_status(&self, pidfd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
        self.enter(Name::PidfdExitStatus)?;
        Linux.pidfd_exit_status(pidfd)
    }

    unsafe fn io_uring_setup(
        &self,
        entries: u32,
        params: &mut RingParams,
    ) -> Result<Fd<Self>, Errno> {
        self.enter(Name::RingSetup)?;
        // SAFETY: the caller vouches for the memory that `params` names.
        Ok(self.own(Name::RingSetup, unsafe {
            Linux.io_uring_setup(entries, params)
        }?))
    }

    unsafe fn io_uring_enter(
        &self,
        ring: u32,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        timeout_ns: Option<u64>,
    ) -> Result<u32, Errno> {
        self.enter(Name::RingEnter)?;
        let short = (to_submit > 0).then(|| locked(&self.0.short).take());
        match short.flatten() {
            Some(0) => return Err(Errno::EAGAIN),
            // The call ends there, as the kernel's does: it neither waits nor looks for completions.
            Some(most) if most < to_submit => {
                const GETEVENTS: u32 = 1;
                // SAFETY: the caller vouches for what is queued.
                return unsafe { Linux.io_uring_enter(ring, most, 0, flags & !GETEVENTS, None) };
            }
            _ => {}
        }
        // SAFETY: the caller vouches for what is queued.
        unsafe { Linux.io_uring_enter(ring, to_submit, min_complete, flags, timeout_ns) }
    }

    unsafe fn io_uring_register(
        &self,
        ring: BorrowedFd<'_>,
        opcode: u32,
        argument: *mut (),
        count: u32,
    ) -> Result<u32, Errno> {
        self.enter(Name::RingRegister)?;
        // SAFETY: the caller vouches for the argument.
        unsafe { Linux.io_uring_register(ring, opcode, argument, count) }
    }

    fn map_ring(
        &self,
        ring: BorrowedFd<'_>,
        offset: u64,
        length: usize,
    ) -> Result<NonNull<u8>, Errno> {
        self.enter(Name::Map)?;
        Linux.map_ring(ring, offset, length)
    }

    fn map_anonymous(&self, length: usize) -> Result<NonNull<u8>, Errno> {
        self.enter(Name::Map)?;
        Linux.map_anonymous(length)
    }

    unsafe fn unmap(&self, start: NonNull<u8>, length: usize) {
        let _ = self.enter(Name::Unmap);
        // SAFETY: the caller vouches for the mapping.
        unsafe { Linux.unmap(start, length) }
    }

    unsafe fn dont_fork(&self, start: NonNull<u8>, length: usize) {
        let _ = self.enter(Name::DontFork);
        // SAFETY: the caller vouches for the mapping.
        unsafe { Linux.dont_fork(start, length) }
    }

    fn lockable_memory(&self) -> Option<u64> {
        let _ = self.enter(Name::LockableMemory);
        Linux.lockable_memory()
    }

    fn is_io_uring_disabled(&self) -> bool {
        self.enter(Name::IsDisabled).is_err() || Linux.is_io_uring_disabled()
    }

    fn monotonic(&self) -> Instant {
        let _ = self.enter(Name::Monotonic);
        locked(&self.0.clock).unwrap_or_else(|| Linux.monotonic())
    }

    fn process_epoch(&self) -> u64 {
        Linux.process_epoch()
    }
}

/// Room in a [`Probed`] reactor, for watchers and for timers.
pub(crate) const CAPACITY: usize = 1100;

/// A reactor of the core over a [`Probe`].
pub(crate) type Probed = Reactor<
    u32,
    CAPACITY,
    CAPACITY,
    Epoll<Probe, Arc<Wakeup<Probe>>>,
    Box<Storage<u32, CAPACITY, CAPACITY, Fd<Probe>>>,
>;

/// A reactor whose kernel is `probe`.
pub(crate) fn probed(probe: &Probe) -> Result<Probed, Error> {
    let epoll = Epoll::with_kernel(probe.clone())?;
    Ok(Reactor::with_storage(epoll, Box::new(Storage::new())))
}

/// Whether this kernel has `epoll_pwait2`; says so if it has not.
pub(crate) fn has_pwait2() -> bool {
    let epoll = Linux.epoll_create().expect("an epoll instance");
    let has = Linux.epoll_pwait2(epoll.borrow(), &mut [EpollEvent::EMPTY], 0) != Err(Errno::ENOSYS);
    if !has {
        eprintln!("skipped: the kernel lacks epoll_pwait2 (Linux 5.11)");
    }
    has
}

/// Waits once, and returns the turn's events.
pub(crate) fn turn(
    reactor: &mut Probed,
    timeout: Option<Duration>,
) -> Result<Vec<Event<u32>>, Error> {
    reactor.wait(timeout)?;
    Ok(std::iter::from_fn(|| reactor.next()).collect())
}
