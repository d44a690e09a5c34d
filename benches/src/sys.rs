//! System calls, raw and through libc, and the C peers: all the `unsafe` that the benchmarks need.
//!
//! **What.** [`Raw`] and [`Libc`] make the three calls of an event loop in the two ways a program can: the `syscall`
//! instruction inlined where it is used, or a call to the C library. The rest sets a benchmark up: descriptors,
//! limits, the CPU it runs on. `ring` is `io_uring` by hand, `crate_ring` a peer for it; `libev` is a peer, behind the
//! feature of the same name.
//!
//! **Invariants.** *INV-BENCH-1*: every pointer handed to the kernel comes from a live reference, and the length
//! beside it is that of what it points to. *INV-BENCH-2*: descriptors are `OwnedFd` and `BorrowedFd`, so they are open
//! while a call uses them. *INV-BENCH-3*: what libev holds a pointer to is boxed, is reached only through raw pointers,
//! and is freed after the loop that holds it.
//!
//! **Why this shape.** The floor must be what a person would write who cares for nothing but speed: returning from a
//! function after a system call costs more than 100 ns, hence `inline(always)` down to the instruction.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use linux_event_core::place::Zeroed;

pub(crate) mod crate_ring;
#[cfg(feature = "libev")]
pub(crate) mod libev;
pub(crate) mod proactor;
pub(crate) mod ring;

/// How many events one wait takes at most, in every system that lets it be chosen.
pub(crate) const BATCH: usize = 64;

/// The events of one wait.
pub(crate) struct EventBuffer([libc::epoll_event; BATCH]);

impl EventBuffer {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self([libc::epoll_event { events: 0, u64: 0 }; BATCH])
    }

    /// What the first `count` events were registered with.
    #[inline(always)]
    pub(crate) fn keys(&self, count: usize) -> impl Iterator<Item = u64> {
        self.0[..count.min(BATCH)].iter().map(|event| event.u64)
    }
}

/// The calls of an event loop. Each returns what the kernel does: a count, or a negative number on failure.
pub(crate) trait Calls {
    fn wait(epoll: BorrowedFd<'_>, events: &mut EventBuffer, timeout_ms: i32) -> isize;
    fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> isize;
    fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> isize;
}

/// The `syscall` instruction, inline.
pub(crate) struct Raw;

impl Calls for Raw {
    #[inline(always)]
    fn wait(epoll: BorrowedFd<'_>, events: &mut EventBuffer, timeout_ms: i32) -> isize {
        let events = events.0.as_mut_ptr() as usize;
        // SAFETY: INV-BENCH-1, INV-BENCH-2; the kernel writes at most BATCH events.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            let count = sc::syscall4(
                libc::SYS_epoll_wait as usize,
                epoll.as_raw_fd() as usize,
                events,
                BATCH,
                timeout_ms as usize,
            );
            #[cfg(not(target_arch = "x86_64"))]
            let count = sc::syscall6(
                libc::SYS_epoll_pwait as usize,
                epoll.as_raw_fd() as usize,
                events,
                BATCH,
                timeout_ms as usize,
                0,
                0,
            );
            count as isize
        }
    }

    #[inline(always)]
    fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> isize {
        let (number, fd) = (libc::SYS_read as usize, fd.as_raw_fd() as usize);
        // SAFETY: INV-BENCH-1, INV-BENCH-2.
        unsafe { sc::syscall3(number, fd, buffer.as_mut_ptr() as usize, buffer.len()) as isize }
    }

    #[inline(always)]
    fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> isize {
        let (number, fd) = (libc::SYS_write as usize, fd.as_raw_fd() as usize);
        // SAFETY: INV-BENCH-1, INV-BENCH-2.
        unsafe { sc::syscall3(number, fd, bytes.as_ptr() as usize, bytes.len()) as isize }
    }
}

/// As [`Raw`], with `recvfrom` and `sendto`, which the standard library's sockets use, mio's and tokio's too.
pub(crate) struct RawSocket;

impl Calls for RawSocket {
    #[inline(always)]
    fn wait(epoll: BorrowedFd<'_>, events: &mut EventBuffer, timeout_ms: i32) -> isize {
        Raw::wait(epoll, events, timeout_ms)
    }

    #[inline(always)]
    fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> isize {
        let (number, fd) = (libc::SYS_recvfrom as usize, fd.as_raw_fd() as usize);
        let (start, length) = (buffer.as_mut_ptr() as usize, buffer.len());
        // SAFETY: INV-BENCH-1, INV-BENCH-2; no address is asked for.
        unsafe { sc::syscall6(number, fd, start, length, 0, 0, 0) as isize }
    }

    #[inline(always)]
    fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> isize {
        let (number, fd) = (libc::SYS_sendto as usize, fd.as_raw_fd() as usize);
        let (start, length) = (bytes.as_ptr() as usize, bytes.len());
        let flags = libc::MSG_NOSIGNAL as usize;
        // SAFETY: INV-BENCH-1, INV-BENCH-2; no address is given.
        unsafe { sc::syscall6(number, fd, start, length, flags, 0, 0) as isize }
    }
}

/// The C library's functions.
pub(crate) struct Libc;

impl Calls for Libc {
    #[inline(always)]
    fn wait(epoll: BorrowedFd<'_>, events: &mut EventBuffer, timeout_ms: i32) -> isize {
        let events = events.0.as_mut_ptr();
        // SAFETY: INV-BENCH-1, INV-BENCH-2; the kernel writes at most BATCH events.
        let count =
            unsafe { libc::epoll_wait(epoll.as_raw_fd(), events, BATCH as i32, timeout_ms) };
        or_errno(count as isize)
    }

    #[inline(always)]
    fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> isize {
        // SAFETY: INV-BENCH-1, INV-BENCH-2.
        or_errno(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
    }

    #[inline(always)]
    fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> isize {
        // SAFETY: INV-BENCH-1, INV-BENCH-2.
        or_errno(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
    }
}

/// How a descriptor reports what stays ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trigger {
    Level,
    Edge,
}

/// An epoll instance; read interest or none is all that the floors ask of it.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    /// Registers `fd` for reading; its events carry `key`.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, trigger: Trigger, key: u64) -> io::Result<()> {
        let events = match trigger {
            Trigger::Level => libc::EPOLLIN,
            Trigger::Edge => libc::EPOLLIN | libc::EPOLLET,
        };
        let done = self.control(libc::EPOLL_CTL_ADD, fd, events as u32, key);
        checked(done).map(drop)
    }

    /// Asks for reading, level-triggered, on a registered `fd`, or for nothing; negative on failure.
    #[inline(always)]
    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, reading: bool, key: u64) -> isize {
        let events = if reading { libc::EPOLLIN as u32 } else { 0 };
        self.control(libc::EPOLL_CTL_MOD, fd, events, key)
    }

    #[inline(always)]
    fn control(&self, what: i32, fd: BorrowedFd<'_>, events: u32, key: u64) -> isize {
        let event = libc::epoll_event { events, u64: key };
        // SAFETY: INV-BENCH-1, INV-BENCH-2.
        unsafe {
            sc::syscall4(
                libc::SYS_epoll_ctl as usize,
                self.0.as_raw_fd() as usize,
                what as usize,
                fd.as_raw_fd() as usize,
                (&raw const event) as usize,
            ) as isize
        }
    }
}

impl AsFd for Epoll {
    #[inline(always)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Turns what [`Calls`] return into a count or an error.
pub(crate) fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result as i32))
}

/// What the C library returned, with the error in it as the kernel would return it.
#[inline(always)]
fn or_errno(result: isize) -> isize {
    #[cold]
    #[inline(never)]
    fn errno() -> isize {
        -(io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO) as isize)
    }
    if result < 0 { errno() } else { result }
}

/// What the C library returned by way of set-up.
fn done(result: i32) -> io::Result<()> {
    checked(or_errno(result as isize)).map(drop)
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A pair of connected, non-blocking unix stream sockets.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let mut fds = [-1; 2];
    // SAFETY: INV-BENCH-1: the kernel writes two numbers.
    done(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    Ok((owned(fds[0])?, owned(fds[1])?))
}

/// A pair that lives as long as the process, for what holds bare numbers, or holds on to a descriptor by itself.
pub(crate) fn leaked_pair() -> io::Result<(BorrowedFd<'static>, BorrowedFd<'static>)> {
    let pair: &'static (OwnedFd, OwnedFd) = Box::leak(Box::new(socket_pair()?));
    Ok((pair.0.as_fd(), pair.1.as_fd()))
}

/// An eventfd that counts zero: readable never.
pub(crate) fn idle_fd() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    owned(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })
}

/// Lifts the limit on open descriptors to at least `needed`, as far as the hard limit lets it.
pub(crate) fn allow_descriptors(needed: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: INV-BENCH-1.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(io::Error::other(format!(
            "{needed} descriptors are needed and the hard limit is {} (ulimit -Hn)",
            limit.rlim_max
        )));
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: INV-BENCH-1.
    done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

/// Confines the calling thread to one CPU: `wanted`, or the last of those it may use. Returns which.
pub(crate) fn pin(wanted: Option<usize>) -> io::Result<usize> {
    const WORD_BITS: usize = usize::BITS as usize;
    let mut mask = [0usize; 1024 / WORD_BITS];
    let size = size_of_val(&mask);
    // SAFETY: INV-BENCH-1: the mask is plain words, `size` bytes of them.
    done(unsafe { libc::sched_getaffinity(0, size, mask.as_mut_ptr().cast()) })?;
    let allowed = |cpu: usize| {
        mask.get(cpu / WORD_BITS)
            .is_some_and(|word| word >> (cpu % WORD_BITS) & 1 == 1)
    };
    let cpu = match wanted {
        Some(cpu) if allowed(cpu) => cpu,
        Some(cpu) => return Err(io::Error::other(format!("CPU {cpu} may not be used"))),
        None => (0..size * 8).rfind(|&cpu| allowed(cpu)).unwrap_or(0),
    };
    mask.fill(0);
    mask[cpu / WORD_BITS] = 1 << (cpu % WORD_BITS);
    // SAFETY: INV-BENCH-1.
    done(unsafe { libc::sched_setaffinity(0, size, mask.as_ptr().cast()) })?;
    Ok(cpu)
}

/// A box of zeroes: large tables that take memory only where they are used.
pub(crate) fn zeroed_box<T: Zeroed>() -> Box<T> {
    // SAFETY: `T: Zeroed` vouches that zeroes are a value of `T`.
    unsafe { Box::<T>::new_zeroed().assume_init() }
}

/// Registers `fd` with `poller` for reading, level-triggered.
pub(crate) fn polling_add(
    poller: &polling::Poller,
    fd: BorrowedFd<'static>,
    key: usize,
) -> io::Result<()> {
    let (interest, mode) = (polling::Event::readable(key), polling::PollMode::Level);
    // SAFETY: INV-BENCH-2: a `'static` descriptor outlives the poller.
    unsafe { poller.add_with_mode(fd.as_raw_fd(), interest, mode) }
}

/// Registers `fd` with the current tokio runtime for reading.
pub(crate) fn tokio_add(
    fd: BorrowedFd<'static>,
) -> io::Result<tokio::io::unix::AsyncFd<BorrowedFd<'static>>> {
    let interest = tokio::io::Interest::READABLE;
    // SAFETY: INV-BENCH-2: a `'static` descriptor outlives its registration.
    unsafe {
        Ok(tokio::io::unix::AsyncFd::register_with_interest(
            fd, interest,
        )?)
    }
}
