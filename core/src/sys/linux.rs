//! [`Linux`]: the seam as raw system calls.

use core::ptr::NonNull;

use linux_raw_sys::general as linux;

use super::raw::{call1, call2, call3, call4, call5, call6, fd};
use super::ring::RingParams;
use super::uapi::{EpollEvent, PIDFD_GET_INFO, PIDFD_INFO_EXIT, PidfdInfo, SFD_FLAGS};
use super::{
    AsRawFd, BorrowedFd, ExitInfo, Fd, Kernel, MaskChange, RawFd, SignalRecord, memory, process,
    vdso,
};
use crate::clock::Instant;
use crate::errno::Errno;
use crate::pid::ExitStatus;
use crate::signal::SignalSet;

/// The kernel that is really there. No size, no state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linux;

/// The kernel's signal sets are 64 bits on every architecture served here.
pub(super) const SIGSET_BYTES: usize = 8;
/// Nanoseconds in a second.
pub(super) const NANOS: u64 = 1_000_000_000;

/// `struct __kernel_timespec` of a number of nanoseconds.
#[inline(always)]
const fn timespec(nanos: u64) -> linux::__kernel_timespec {
    linux::__kernel_timespec {
        tv_sec: (nanos / NANOS) as i64,
        tv_nsec: (nanos % NANOS) as i64,
    }
}

impl Linux {
    /// `clock_gettime(2)` of `CLOCK_MONOTONIC` by the system call, some 170 ns against the 20 of
    /// [`monotonic`](Kernel::monotonic).
    ///
    /// For programs that read the clock so seldom that finding the vDSO's function would cost them more: 3 kB of code.
    ///
    /// ```
    /// use linux_event_core::sys::{Kernel, Linux};
    /// let before = Linux.monotonic();
    /// assert!(Linux.monotonic_by_call() >= before);
    /// ```
    pub fn monotonic_by_call(self) -> Instant {
        Instant::from_nanos(vdso::by_call())
    }

    /// Reaps one child that has ended, whichever it is (`waitid(2)` with `P_ALL`), without waiting: its id, and how it ended;
    /// `None` if none has.
    ///
    /// For a process that gets other people's children: process 1, and a subreaper. It calls this at every SIGCHLD until there
    /// is none, for the kernel merges signals. Children that the loop watches with `reap` are not to be reaped so.
    ///
    /// ```no_run
    /// use linux_event_core::reactor::{Epoll, Event, Reactor};
    /// use linux_event_core::signal::Signal;
    /// use linux_event_core::sys::Linux;
    ///
    /// let mut reactor: Reactor<(), 8, 8> = Reactor::new(Epoll::new()?);
    /// reactor.signal(Signal::CHLD, ())?;
    /// loop {
    ///     reactor.wait(None)?;
    ///     while let Some(event) = reactor.next() {
    ///         if let Event::Signal { .. } = event {
    ///             while let Ok(Some((pid, status))) = Linux.reap() {
    ///                 println!("{pid}: {status:?}");
    ///             }
    ///         }
    ///     }
    /// }
    /// # Ok::<(), linux_event_core::error::Error>(())
    /// ```
    ///
    /// # Errors
    /// ECHILD if there are no children at all.
    pub fn reap(self) -> Result<Option<(i32, ExitStatus)>, Errno> {
        let ended = wait_for(linux::P_ALL, 0, 0)?;
        Ok(ended.map(|(pid, info)| (pid, ExitStatus::from_info(info))))
    }

    /// Owns what a call that creates a descriptor has returned.
    #[inline]
    pub(super) fn own(self, raw: usize) -> Fd<Self> {
        // SAFETY: INV-SYS-2: callers pass the fresh result of a call that creates a descriptor.
        unsafe { Fd::from_raw(self, raw as RawFd) }
    }
}

/// `waitid(2)` without waiting, with `WEXITED` and `flags`: which child, and how it ended; `None` if none has.
fn wait_for(kind: u32, id: i32, flags: u32) -> Result<Option<(i32, ExitInfo)>, Errno> {
    /// `siginfo_t` as `waitid` fills it: `si_signo`, `si_errno`, `si_code`, padding, `si_pid`, `si_uid`, `si_status`, and
    /// the rest up to 128 bytes.
    #[repr(C, align(8))]
    struct ChildInfo([i32; 32]);
    let mut info = ChildInfo([0; 32]);
    // SAFETY: INV-SYS-1: `info` lives until the call returns and is as large as `siginfo_t`; no rusage is asked.
    unsafe {
        call5(
            linux::__NR_waitid,
            kind as usize,
            fd(id),
            &raw mut info as usize,
            (linux::WEXITED | linux::WNOHANG | flags) as usize,
            0,
        )
    }?;
    let ChildInfo([signo, _errno, code, _padding, pid, _uid, status, ..]) = info;
    // `si_signo` stays 0 while there is nothing to tell (`waitid(2)`).
    Ok((signo != 0).then_some((pid, ExitInfo { code, status })))
}

// SAFETY: every method below passes the kernel its own slice and that slice's length (INV-SYS-1), and the kernel
// returns no larger a count.
unsafe impl Kernel for Linux {
    #[inline]
    unsafe fn close(&self, raw: RawFd) {
        // SAFETY: no pointer; the caller owns the number.
        let _ = unsafe { call1(linux::__NR_close, fd(raw)) };
    }

    #[inline(always)]
    fn read(&self, from: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: INV-SYS-1: pointer and length are the buffer's; INV-SYS-3: bytes.
        unsafe {
            call3(
                linux::__NR_read,
                fd(from.as_raw_fd()),
                buffer.as_mut_ptr() as usize,
                buffer.len(),
            )
        }
    }

    #[inline(always)]
    fn write(&self, to: BorrowedFd<'_>, buffer: &[u8]) -> Result<usize, Errno> {
        // SAFETY: INV-SYS-1: pointer and length are the buffer's.
        unsafe {
            call3(
                linux::__NR_write,
                fd(to.as_raw_fd()),
                buffer.as_ptr() as usize,
                buffer.len(),
            )
        }
    }

    fn epoll_create(&self) -> Result<Fd<Self>, Errno> {
        // SAFETY: no pointer.
        unsafe { call1(linux::__NR_epoll_create1, linux::EPOLL_CLOEXEC as usize) }
            .map(|raw| self.own(raw))
    }

    #[inline]
    fn epoll_ctl(
        &self,
        epoll: BorrowedFd<'_>,
        operation: u32,
        target: RawFd,
        event: EpollEvent,
    ) -> Result<(), Errno> {
        // SAFETY: INV-SYS-1: `event` lives until the call returns.
        unsafe {
            call4(
                linux::__NR_epoll_ctl,
                fd(epoll.as_raw_fd()),
                operation as usize,
                fd(target),
                &raw const event as usize,
            )
        }
        .map(drop)
    }

    #[inline(always)]
    fn epoll_wait(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut [EpollEvent],
        timeout_ms: i32,
    ) -> Result<usize, Errno> {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: INV-SYS-1: pointer and length are the slice's; INV-SYS-3: integers.
        return unsafe {
            call4(
                linux::__NR_epoll_wait,
                fd(epoll.as_raw_fd()),
                events.as_mut_ptr() as usize,
                events.len(),
                fd(timeout_ms),
            )
        };
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: INV-SYS-1: pointer and length are the slice's, the mask is null; INV-SYS-3: integers.
        return unsafe {
            call6(
                linux::__NR_epoll_pwait,
                fd(epoll.as_raw_fd()),
                events.as_mut_ptr() as usize,
                events.len(),
                fd(timeout_ms),
                0,
                SIGSET_BYTES,
            )
        };
    }

    #[inline(always)]
    fn epoll_pwait2(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut [EpollEvent],
        timeout_ns: u64,
    ) -> Result<usize, Errno> {
        let timeout = timespec(timeout_ns);
        // SAFETY: INV-SYS-1: pointer and length are the slice's, `timeout` lives until the call returns, the mask is
        // null; INV-SYS-3: integers.
        unsafe {
            call6(
                linux::__NR_epoll_pwait2,
                fd(epoll.as_raw_fd()),
                events.as_mut_ptr() as usize,
                events.len(),
                &raw const timeout as usize,
                0,
                SIGSET_BYTES,
            )
        }
    }

    fn timerfd_create(&self) -> Result<Fd<Self>, Errno> {
        // SAFETY: no pointer.
        unsafe {
            call2(
                linux::__NR_timerfd_create,
                linux::CLOCK_MONOTONIC as usize,
                (linux::TFD_CLOEXEC | linux::TFD_NONBLOCK) as usize,
            )
        }
        .map(|raw| self.own(raw))
    }

    fn timerfd_settime(
        &self,
        timer: BorrowedFd<'_>,
        first: Option<Instant>,
        interval_ns: u64,
    ) -> Result<(), Errno> {
        // A value of zero disarms; the clock's zero is in the past, so 1 ns serves as well.
        let first_ns = first.map_or(0, |instant| instant.as_nanos().max(1));
        let setting = linux::__kernel_itimerspec {
            it_interval: timespec(interval_ns),
            it_value: timespec(first_ns),
        };
        // SAFETY: INV-SYS-1: `setting` lives until the call returns; the old setting is not asked for.
        unsafe {
            call4(
                linux::__NR_timerfd_settime,
                fd(timer.as_raw_fd()),
                linux::TFD_TIMER_ABSTIME as usize,
                &raw const setting as usize,
                0,
            )
        }
        .map(drop)
    }

    fn eventfd(&self) -> Result<Fd<Self>, Errno> {
        // SAFETY: no pointer.
        unsafe {
            call2(
                linux::__NR_eventfd2,
                0,
                (linux::EFD_CLOEXEC | linux::EFD_NONBLOCK) as usize,
            )
        }
        .map(|raw| self.own(raw))
    }

    fn signalfd(&self, set: SignalSet) -> Result<Fd<Self>, Errno> {
        let bits = set.bits();
        // SAFETY: INV-SYS-1: `bits` lives until the call returns, and is SIGSET_BYTES long.
        unsafe {
            call4(
                linux::__NR_signalfd4,
                fd(-1),
                &raw const bits as usize,
                SIGSET_BYTES,
                SFD_FLAGS as usize,
            )
        }
        .map(|raw| self.own(raw))
    }

    fn signalfd_change(&self, signalfd: BorrowedFd<'_>, set: SignalSet) -> Result<(), Errno> {
        let bits = set.bits();
        // SAFETY: INV-SYS-1: `bits` lives until the call returns, and is SIGSET_BYTES long.
        unsafe {
            call4(
                linux::__NR_signalfd4,
                fd(signalfd.as_raw_fd()),
                &raw const bits as usize,
                SIGSET_BYTES,
                SFD_FLAGS as usize,
            )
        }
        .map(drop)
    }

    fn signalfd_read(
        &self,
        signalfd: BorrowedFd<'_>,
        records: &mut [SignalRecord],
    ) -> Result<usize, Errno> {
        // SAFETY: INV-SYS-1: pointer and length are the slice's; INV-SYS-3: integers without padding.
        unsafe {
            call3(
                linux::__NR_read,
                fd(signalfd.as_raw_fd()),
                records.as_mut_ptr() as usize,
                size_of_val(records),
            )
        }
        .map(|bytes| bytes / size_of::<SignalRecord>())
    }

    fn signal_mask(&self, change: MaskChange, set: SignalSet) -> Result<SignalSet, Errno> {
        let bits = set.bits();
        let mut old = 0u64;
        // SAFETY: INV-SYS-1: `bits` and `old` live until the call returns, and are SIGSET_BYTES long.
        unsafe {
            call4(
                linux::__NR_rt_sigprocmask,
                change as usize,
                &raw const bits as usize,
                &raw mut old as usize,
                SIGSET_BYTES,
            )
        }?;
        Ok(SignalSet::from_bits(old))
    }

    fn pidfd_open(&self, pid: i32) -> Result<Fd<Self>, Errno> {
        // SAFETY: no pointer.
        unsafe { call2(linux::__NR_pidfd_open, fd(pid), 0) }.map(|raw| self.own(raw))
    }

    fn pidfd_send_signal(&self, pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
        // SAFETY: no siginfo is given.
        unsafe {
            call4(
                linux::__NR_pidfd_send_signal,
                fd(pidfd.as_raw_fd()),
                fd(signal),
                0,
                0,
            )
        }
        .map(drop)
    }

    fn waitid(&self, pidfd: BorrowedFd<'_>, reap: bool) -> Result<Option<ExitInfo>, Errno> {
        let unreaped = if reap { 0 } else { linux::WNOWAIT };
        let ended = wait_for(linux::P_PIDFD, pidfd.as_raw_fd(), unreaped)?;
        Ok(ended.map(|(_, info)| info))
    }

    fn pidfd_exit_status(&self, pidfd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
        let mut info = PidfdInfo {
            mask: PIDFD_INFO_EXIT,
            ..PidfdInfo::default()
        };
        // SAFETY: INV-SYS-1: `info` lives until the call returns; its size is part of the request's number.
        unsafe {
            call3(
                linux::__NR_ioctl,
                fd(pidfd.as_raw_fd()),
                PIDFD_GET_INFO as usize,
                &raw mut info as usize,
            )
        }?;
        Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
    }

    unsafe fn io_uring_setup(
        &self,
        entries: u32,
        params: &mut RingParams,
    ) -> Result<Fd<Self>, Errno> {
        // SAFETY: INV-SYS-1: `params` lives until the call returns; INV-SYS-3: integers, and pointers that are not followed.
        // The caller vouches for the memory it names.
        unsafe {
            call2(
                linux::__NR_io_uring_setup,
                entries as usize,
                core::ptr::from_mut(params) as usize,
            )
        }
        .map(|raw| self.own(raw))
    }

    #[inline(always)]
    unsafe fn io_uring_enter(
        &self,
        ring: u32,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        timeout_ns: Option<u64>,
    ) -> Result<u32, Errno> {
        // SAFETY: the caller vouches for what is queued.
        unsafe { memory::enter(ring, to_submit, min_complete, flags, timeout_ns) }
    }

    unsafe fn io_uring_register(
        &self,
        ring: BorrowedFd<'_>,
        opcode: u32,
        argument: *mut (),
        count: u32,
    ) -> Result<u32, Errno> {
        // SAFETY: the caller vouches for `argument` and `count`.
        unsafe {
            call4(
                linux::__NR_io_uring_register,
                fd(ring.as_raw_fd()),
                opcode as usize,
                argument as usize,
                count as usize,
            )
        }
        .map(|value| value as u32)
    }

    fn map_ring(
        &self,
        ring: BorrowedFd<'_>,
        offset: u64,
        length: usize,
    ) -> Result<NonNull<u8>, Errno> {
        memory::map_ring(ring, offset, length)
    }

    fn map_anonymous(&self, length: usize) -> Result<NonNull<u8>, Errno> {
        memory::map_anonymous(length)
    }

    unsafe fn unmap(&self, start: NonNull<u8>, length: usize) {
        // SAFETY: the caller vouches for the mapping.
        unsafe { memory::unmap(start, length) }
    }

    unsafe fn dont_fork(&self, start: NonNull<u8>, length: usize) {
        // SAFETY: the caller vouches for the mapping.
        unsafe { memory::dont_fork(start, length) }
    }

    fn lockable_memory(&self) -> Option<u64> {
        memory::lockable()
    }

    fn is_io_uring_disabled(&self) -> bool {
        memory::is_io_uring_disabled()
    }

    #[inline]
    fn monotonic(&self) -> Instant {
        Instant::from_nanos(vdso::monotonic())
    }

    #[inline(always)]
    fn process_epoch(&self) -> u64 {
        process::epoch()
    }

    #[inline(always)]
    fn is_process(&self, epoch: u64) -> bool {
        process::is(epoch)
    }
}
