//! The seam: what the loops ask of a kernel.

use core::ptr::NonNull;

use super::ring::RingParams;
use super::uapi::EpollEvent;
use super::{BorrowedFd, Fd, RawFd};
use crate::clock::Instant;
use crate::errno::Errno;
use crate::signal::SignalSet;

/// What [`Kernel::signal_mask`] does with its set (`sigprocmask(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MaskChange {
    /// Adds the set to the calling thread's mask.
    Block = 0,
    /// Takes the set out of the calling thread's mask.
    Unblock = 1,
}

/// One record of a signalfd: which signal. The rest of `struct signalfd_siginfo` is kept as it came.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct SignalRecord {
    /// `ssi_signo`.
    pub number: u32,
    rest: [u32; 31],
}

impl SignalRecord {
    /// A record of zeroes, for the kernel to fill.
    pub const EMPTY: Self = Self {
        number: 0,
        rest: [0; 31],
    };
}

/// How a process ended: `si_code` and `si_status` of `waitid(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitInfo {
    /// `CLD_EXITED` (1), `CLD_KILLED` (2) or `CLD_DUMPED` (3).
    pub code: i32,
    /// The exit code, or the signal's number.
    pub status: i32,
}

/// The calls that the loops make. See the [module](super).
///
/// Every descriptor that a method creates is close-on-exec, and non-blocking where reads are meant to be drained.
///
/// # Safety
/// An implementor vouches that a count which a call returns is never larger than the slice it was given, that a
/// returned [`Fd`] is owned by nobody else, that its number is a descriptor of the process or one that no process can have
/// (2³⁰ and above), for a [`BorrowedFd`] does not say whose it is, and that memory lent to a call is not touched after the call returns. Memory that
/// [`map_ring`](Kernel::map_ring) and [`map_anonymous`](Kernel::map_anonymous) return is valid for its length, starts on a
/// page, and is the caller's alone until it is unmapped; a ring's is the kernel's too, which may write there at any time. What
/// a queued submission points to is touched until its last completion is posted, and no longer.
pub unsafe trait Kernel: Clone {
    /// Closes `fd`. Errors are of no use by then and are dropped (`close(2)`).
    ///
    /// # Safety
    /// The caller must own `fd` and must not use the number again.
    unsafe fn close(&self, fd: RawFd);

    /// `read(2)`.
    ///
    /// # Errors
    /// The call's errno.
    fn read(&self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// `write(2)`.
    ///
    /// # Errors
    /// The call's errno.
    fn write(&self, fd: BorrowedFd<'_>, buffer: &[u8]) -> Result<usize, Errno>;

    /// `epoll_create1(2)`: a new, empty interest list.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    fn epoll_create(&self) -> Result<Fd<Self>, Errno>;

    /// `epoll_ctl(2)` with one of the `EPOLL_CTL_*` operations on the number `fd`.
    ///
    /// # Errors
    /// EBADF, EEXIST, ENOENT, EPERM (a file that can't be polled), ENOSPC (`max_user_watches`), ENOMEM, ELOOP, EINVAL.
    fn epoll_ctl(
        &self,
        epoll: BorrowedFd<'_>,
        operation: u32,
        fd: RawFd,
        event: EpollEvent,
    ) -> Result<(), Errno>;

    /// `epoll_wait(2)`: `timeout_ms` −1 waits for ever, 0 not at all.
    ///
    /// # Errors
    /// EINTR when a signal handler ran.
    fn epoll_wait(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut [EpollEvent],
        timeout_ms: i32,
    ) -> Result<usize, Errno>;

    /// `epoll_pwait2(2)` (Linux 5.11) with no mask: waits `timeout_ns` nanoseconds at most.
    ///
    /// # Errors
    /// EINTR when a signal handler ran; ENOSYS before 5.11.
    fn epoll_pwait2(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut [EpollEvent],
        timeout_ns: u64,
    ) -> Result<usize, Errno>;

    /// `timerfd_create(2)` on `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    fn timerfd_create(&self) -> Result<Fd<Self>, Errno>;

    /// `timerfd_settime(2)`: expire at `first`, then every `interval_ns` (0: once). `None` disarms.
    ///
    /// # Errors
    /// EINVAL if `fd` is not a timerfd.
    fn timerfd_settime(
        &self,
        fd: BorrowedFd<'_>,
        first: Option<Instant>,
        interval_ns: u64,
    ) -> Result<(), Errno>;

    /// `eventfd2(2)`, counting from zero.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    fn eventfd(&self) -> Result<Fd<Self>, Errno>;

    /// `signalfd4(2)`: a new signalfd for `set`.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    fn signalfd(&self, set: SignalSet) -> Result<Fd<Self>, Errno>;

    /// `signalfd4(2)`: `fd` accepts `set` from now on.
    ///
    /// # Errors
    /// EINVAL if `fd` is not a signalfd.
    fn signalfd_change(&self, fd: BorrowedFd<'_>, set: SignalSet) -> Result<(), Errno>;

    /// Reads records from a signalfd into `records`; returns how many came.
    ///
    /// # Errors
    /// EAGAIN when no signal is pending.
    fn signalfd_read(
        &self,
        fd: BorrowedFd<'_>,
        records: &mut [SignalRecord],
    ) -> Result<usize, Errno>;

    /// `rt_sigprocmask(2)` on the calling thread; returns the mask as it was.
    ///
    /// # Errors
    /// None that a correct caller sees.
    fn signal_mask(&self, change: MaskChange, set: SignalSet) -> Result<SignalSet, Errno>;

    /// `pidfd_open(2)` (Linux 5.3).
    ///
    /// # Errors
    /// ESRCH if there is no such process, ENOSYS before 5.3, EMFILE, ENFILE, ENOMEM.
    fn pidfd_open(&self, pid: i32) -> Result<Fd<Self>, Errno>;

    /// `pidfd_send_signal(2)` (Linux 5.1).
    ///
    /// # Errors
    /// ESRCH if the process is gone, EPERM if it may not be signalled.
    fn pidfd_send_signal(&self, pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno>;

    /// `waitid(2)` with `P_PIDFD` (Linux 5.4), `WEXITED | WNOHANG`, and `WNOWAIT` unless `reap`; `None` while the
    /// process lives.
    ///
    /// # Errors
    /// ECHILD if it is not a child of the caller, or was reaped.
    fn waitid(&self, pidfd: BorrowedFd<'_>, reap: bool) -> Result<Option<ExitInfo>, Errno>;

    /// `ioctl(PIDFD_GET_INFO)` asking for the exit status (Linux 6.15), which also works for processes that are not
    /// children. The result is a wait status as `wait(2)` encodes it; `None` if the kernel does not tell.
    ///
    /// # Errors
    /// ENOTTY or EINVAL before 6.13, ESRCH.
    fn pidfd_exit_status(&self, pidfd: BorrowedFd<'_>) -> Result<Option<i32>, Errno>;

    /// `io_uring_setup(2)`: a new ring with room for `entries` submissions. Fills `params`.
    ///
    /// # Safety
    /// With `IORING_SETUP_NO_MMAP` the memory that `params` names is large enough for what is asked for, starts on a page,
    /// and is the ring's until it is closed.
    ///
    /// # Errors
    /// ENOSYS and EPERM where there is no io_uring; EINVAL for flags the kernel lacks; ENOMEM, also for want of lockable
    /// memory; EMFILE, ENFILE.
    unsafe fn io_uring_setup(
        &self,
        entries: u32,
        params: &mut RingParams,
    ) -> Result<Fd<Self>, Errno>;

    /// `io_uring_enter(2)`: submits up to `to_submit` entries, then waits until `min_complete` completions are there, for
    /// `timeout_ns` nanoseconds at most (Linux 5.11). `ring` is a descriptor's number, or, with
    /// `IORING_ENTER_REGISTERED_RING`, a registered index.
    ///
    /// # Safety
    /// What the queued submissions point to is lent to the kernel, and stays where it is, until their last completions.
    ///
    /// # Errors
    /// EINTR when a signal handler ran, ETIME when the time was over, EAGAIN and EBUSY when nothing could be taken, EBADR
    /// when completions were lost.
    unsafe fn io_uring_enter(
        &self,
        ring: u32,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        timeout_ns: Option<u64>,
    ) -> Result<u32, Errno>;

    /// `io_uring_register(2)`.
    ///
    /// # Safety
    /// `argument` is what `opcode` expects, `count` of it; what is registered stays valid until it is unregistered.
    ///
    /// # Errors
    /// EINVAL for opcodes the kernel lacks, ENOMEM, EBUSY, ENXIO, EBADF.
    unsafe fn io_uring_register(
        &self,
        ring: BorrowedFd<'_>,
        opcode: u32,
        argument: *mut (),
        count: u32,
    ) -> Result<u32, Errno>;

    /// `mmap(2)` of `length` bytes of a ring, at one of the `IORING_OFF_*` offsets.
    ///
    /// # Errors
    /// ENOMEM, EAGAIN, EINVAL.
    fn map_ring(
        &self,
        ring: BorrowedFd<'_>,
        offset: u64,
        length: usize,
    ) -> Result<NonNull<u8>, Errno>;

    /// `mmap(2)` of `length` bytes of private zeroes, which cost nothing until they are touched.
    ///
    /// # Errors
    /// ENOMEM.
    fn map_anonymous(&self, length: usize) -> Result<NonNull<u8>, Errno>;

    /// `munmap(2)`.
    ///
    /// # Safety
    /// `start` and `length` are those of a mapping of this kernel's that nobody uses any more.
    unsafe fn unmap(&self, start: NonNull<u8>, length: usize);

    /// `madvise(MADV_DONTFORK)`: a forked child will not have this memory. That it may fail is of no matter.
    ///
    /// # Safety
    /// `start` and `length` are those of a mapping of this kernel's; a forked child does not touch it.
    unsafe fn dont_fork(&self, start: NonNull<u8>, length: usize);

    /// How many bytes may be locked into memory (`RLIMIT_MEMLOCK`); `None` if there is no limit, or none is told.
    fn lockable_memory(&self) -> Option<u64>;

    /// Whether the sysctl `kernel.io_uring_disabled` (Linux 6.6) is there and forbids something.
    fn is_io_uring_disabled(&self) -> bool;

    /// `CLOCK_MONOTONIC`, through the vDSO where there is one.
    fn monotonic(&self) -> Instant;

    /// A word that differs between a process and the children it forked (rule G-1).
    fn process_epoch(&self) -> u64;

    /// Whether [`process_epoch`](Self::process_epoch) would say `epoch`.
    #[inline(always)]
    fn is_process(&self, epoch: u64) -> bool {
        self.process_epoch() == epoch
    }
}
