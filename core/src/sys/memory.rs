//! Rings and mapped memory: the calls of [`Linux`](super::Linux) that io_uring needs.
//!
//! **Invariants.** Those of the [parent](super), and what each function's caller vouches for.
//!
//! **Why this shape.** They stand beside `linux` because there is more to each than its arguments.

use core::ptr::NonNull;

use linux_raw_sys::{general as linux, io_uring};

use super::linux::NANOS;
use super::raw::{call2, call3, call4, call6, fd};
use super::ring::{Timespec, WaitArgument};
use super::{AsRawFd, BorrowedFd};
use crate::errno::Errno;

/// `io_uring_enter(2)`. Without a timeout no argument is built.
///
/// # Safety
/// As [`Kernel::io_uring_enter`](super::Kernel::io_uring_enter).
#[inline(always)]
pub(super) unsafe fn enter(
    ring: u32,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    timeout_ns: Option<u64>,
) -> Result<u32, Errno> {
    let Some(nanos) = timeout_ns else {
        // SAFETY: no argument; the caller vouches for what is queued.
        return unsafe {
            call6(
                linux::__NR_io_uring_enter,
                ring as usize,
                to_submit as usize,
                min_complete as usize,
                flags as usize,
                0,
                0,
            )
        }
        .map(|count| count as u32);
    };
    let timeout = Timespec {
        seconds: (nanos / NANOS) as i64,
        nanos: (nanos % NANOS) as i64,
    };
    let argument = WaitArgument {
        signals: core::ptr::null(),
        signals_size: 0,
        min_wait_usec: 0,
        timeout: &raw const timeout,
    };
    // SAFETY: INV-SYS-1: `argument` and `timeout` live until the call returns; the caller vouches for what is queued.
    unsafe {
        call6(
            linux::__NR_io_uring_enter,
            ring as usize,
            to_submit as usize,
            min_complete as usize,
            (flags | io_uring::IORING_ENTER_EXT_ARG) as usize,
            &raw const argument as usize,
            size_of::<WaitArgument>(),
        )
    }
    .map(|count| count as u32)
}

/// What `mmap(2)` returned.
fn mapped(address: usize) -> Result<NonNull<u8>, Errno> {
    // A fresh mapping is no object that this program knows.
    NonNull::new(core::ptr::with_exposed_provenance_mut(address)).ok_or(Errno::ENOMEM)
}

/// `mmap(2)` of a part of a ring.
pub(super) fn map_ring(
    ring: BorrowedFd<'_>,
    offset: u64,
    length: usize,
) -> Result<NonNull<u8>, Errno> {
    // SAFETY: a new mapping, at a place that the kernel chooses, touches nothing that exists.
    unsafe {
        call6(
            linux::__NR_mmap,
            0,
            length,
            (linux::PROT_READ | linux::PROT_WRITE) as usize,
            (linux::MAP_SHARED | linux::MAP_POPULATE) as usize,
            fd(ring.as_raw_fd()),
            offset as usize,
        )
    }
    .and_then(mapped)
}

/// `mmap(2)` of zeroes.
pub(super) fn map_anonymous(length: usize) -> Result<NonNull<u8>, Errno> {
    // SAFETY: as above.
    unsafe {
        call6(
            linux::__NR_mmap,
            0,
            length,
            (linux::PROT_READ | linux::PROT_WRITE) as usize,
            (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_NORESERVE) as usize,
            fd(-1),
            0,
        )
    }
    .and_then(mapped)
}

/// `munmap(2)`.
///
/// # Safety
/// As [`Kernel::unmap`](super::Kernel::unmap).
pub(super) unsafe fn unmap(start: NonNull<u8>, length: usize) {
    // SAFETY: the caller vouches for the mapping.
    let _ = unsafe {
        call2(
            linux::__NR_munmap,
            start.as_ptr().expose_provenance(),
            length,
        )
    };
}

/// `madvise(MADV_DONTFORK)`.
///
/// # Safety
/// As [`Kernel::dont_fork`](super::Kernel::dont_fork).
pub(super) unsafe fn dont_fork(start: NonNull<u8>, length: usize) {
    // SAFETY: the caller vouches for the mapping. In this process nothing changes.
    let _ = unsafe {
        call3(
            linux::__NR_madvise,
            start.as_ptr().expose_provenance(),
            length,
            linux::MADV_DONTFORK as usize,
        )
    };
}

/// `prlimit(2)` of `RLIMIT_MEMLOCK`: the soft limit.
pub(super) fn lockable() -> Option<u64> {
    let mut limit = [u64::MAX; 2];
    // SAFETY: INV-SYS-1: `limit` lives until the call returns and is as large as `struct rlimit64`.
    unsafe {
        call4(
            linux::__NR_prlimit64,
            0,
            linux::RLIMIT_MEMLOCK as usize,
            0,
            limit.as_mut_ptr() as usize,
        )
    }
    .ok()?;
    Some(limit[0]).filter(|&soft| soft != u64::MAX)
}

/// Reads the sysctl `kernel.io_uring_disabled`.
pub(super) fn is_io_uring_disabled() -> bool {
    const PATH: &core::ffi::CStr = c"/proc/sys/kernel/io_uring_disabled";
    let flags = linux::O_RDONLY | linux::O_CLOEXEC;
    // SAFETY: INV-SYS-1: the path is a constant that ends with a zero.
    let opened = unsafe {
        call4(
            linux::__NR_openat,
            fd(linux::AT_FDCWD),
            PATH.as_ptr() as usize,
            flags as usize,
            0,
        )
    };
    let Ok(opened) = opened else {
        return false;
    };
    let file = super::Linux.own(opened);
    let mut digit = [0];
    file.read(&mut digit) == Ok(1) && digit != *b"0"
}
