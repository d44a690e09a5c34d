//! Pipes: what a parent needs for those of its children.
//!
//! **What.** Writing without SIGPIPE (rule M-4), and the mask for new files, as methods of [`Linux`].
//!
//! **Invariants.** Those of the [parent](super). *INV-PIPE-1*: a SIGPIPE that a write raised is taken back before the thread's
//! mask is restored; one that was pending before stays.
//!
//! **Why this shape.** A library must not change what SIGPIPE does in its host, and can't know it either. Linux 6.18 has a
//! flag for it; before, the signal is blocked for the length of the call, which is three calls more.

use core::mem::size_of;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use linux_raw_sys::general as linux;

use super::linux::SIGSET_BYTES;
use super::raw::{call1, call2, call4, call6, fd};
use super::{AsRawFd, BorrowedFd, Kernel, Linux, MaskChange};
use crate::errno::Errno;
use crate::signal::{Signal, SignalSet};

/// `RWF_NOSIGNAL` (Linux 6.18).
const RWF_NOSIGNAL: usize = 0x100;
/// The kernel has said that it does not know [`RWF_NOSIGNAL`]: it is not asked again.
static LACKS_FLAG: AtomicBool = AtomicBool::new(false);

impl Linux {
    /// Writes to a pipe; EPIPE of one that nobody reads any more, and never SIGPIPE.
    ///
    /// ```
    /// use linux_event_core::errno::Errno;
    /// use linux_event_core::sys::{BorrowedFd, Linux};
    /// use std::os::fd::AsRawFd;
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// drop(reader);
    /// // SAFETY: `writer` is open until the end.
    /// let pipe = unsafe { BorrowedFd::borrow_raw(writer.as_raw_fd()) };
    /// assert_eq!(Linux.write_without_sigpipe(pipe, b"x"), Err(Errno::EPIPE));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// EPIPE; EAGAIN if it would block and is [non-blocking](super::Sockets::set_non_blocking); EBADF, EINTR.
    #[doc(alias = "RWF_NOSIGNAL")]
    pub fn write_without_sigpipe(self, to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        if LACKS_FLAG.load(Ordering::Relaxed) {
            return self.write_masked(to, bytes);
        }
        let vector = linux::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len() as _,
        };
        // SAFETY: INV-SYS-1: `vector` and `bytes` outlive the call, which only reads them. An offset of −1 is the current one.
        let written = unsafe {
            call6(
                linux::__NR_pwritev2,
                fd(to.as_raw_fd()),
                &raw const vector as usize,
                1,
                usize::MAX,
                usize::MAX,
                RWF_NOSIGNAL,
            )
        };
        match written {
            Err(errno @ (Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL)) => {
                // EINVAL may be about this file alone.
                LACKS_FLAG.fetch_or(errno != Errno::EINVAL, Ordering::Relaxed);
                self.write_masked(to, bytes)
            }
            written => written,
        }
    }

    /// Writes with SIGPIPE blocked, and takes it back (INV-PIPE-1).
    #[cold]
    fn write_masked(self, to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        let pipe = SignalSet::from(Signal::PIPE);
        let was_pending = pending_signals()?.contains(Signal::PIPE);
        let before = self.signal_mask(MaskChange::Block, pipe)?;
        let written = self.write(to, bytes);
        if written == Err(Errno::EPIPE) && !was_pending {
            take_signal(pipe);
        }
        if !before.contains(Signal::PIPE) {
            self.signal_mask(MaskChange::Unblock, pipe)?;
        }
        written
    }

    /// Sets which permissions new files don't get (`umask(2)`), of the whole process; returns what it was. Async-signal-safe:
    /// a forked child may call it.
    #[doc(alias = "umask")]
    pub fn set_umask(self, mask: u32) -> u32 {
        // SAFETY: no pointer. It can't fail.
        unsafe { call1(linux::__NR_umask, mask as usize) }.unwrap_or(0) as u32
    }
}

/// What is pending for the calling thread and for its process.
fn pending_signals() -> Result<SignalSet, Errno> {
    let mut bits = 0u64;
    // SAFETY: INV-SYS-1: `bits` is SIGSET_BYTES long and lives until the call returns.
    unsafe {
        call2(
            linux::__NR_rt_sigpending,
            &raw mut bits as usize,
            SIGSET_BYTES,
        )
    }?;
    Ok(SignalSet::from_bits(bits))
}

/// Takes one pending signal of `set`, which is blocked; none if there is none.
fn take_signal(set: SignalSet) {
    const _: () = assert!(size_of::<linux::__kernel_timespec>() == 16);
    let bits = set.bits();
    let zero = [0u64; 2]; // a `struct timespec`
    // SAFETY: INV-SYS-1: both live until the call returns; no siginfo is wanted.
    let _ = unsafe {
        call4(
            linux::__NR_rt_sigtimedwait,
            &raw const bits as usize,
            ptr::null::<u8>() as usize,
            zero.as_ptr() as usize,
            SIGSET_BYTES,
        )
    };
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::sys::Sockets;
    use std::os::fd::AsRawFd as _;

    /// A pipe's writer that nobody reads.
    fn broken() -> std::io::PipeWriter {
        std::io::pipe().expect("a pipe").1
    }

    fn borrow(writer: &std::io::PipeWriter) -> BorrowedFd<'_> {
        // SAFETY: open as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(writer.as_raw_fd()) }
    }

    /// Runs `body` in a forked child where SIGPIPE kills; how that ended.
    fn where_sigpipe_kills(body: fn() -> i32) -> i32 {
        // SAFETY: the child calls async-signal-safe functions only, and ends.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                libc::_exit(body());
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            status
        }
    }

    fn quiet() -> i32 {
        let writer = broken();
        i32::from(Linux.write_without_sigpipe(borrow(&writer), b"x") != Err(Errno::EPIPE))
    }

    fn masked() -> i32 {
        let writer = broken();
        i32::from(Linux.write_masked(borrow(&writer), b"x") != Err(Errno::EPIPE))
    }

    /// One that was pending and blocked before is pending after.
    fn pending_stays() -> i32 {
        let writer = broken();
        let pipe = SignalSet::from(Signal::PIPE);
        if Linux.signal_mask(MaskChange::Block, pipe).is_err() {
            return 2;
        }
        // SAFETY: it is blocked.
        unsafe { libc::raise(libc::SIGPIPE) };
        let written = Linux.write_masked(borrow(&writer), b"x");
        let is_pending = pending_signals().is_ok_and(|set| set.contains(Signal::PIPE));
        i32::from(written != Err(Errno::EPIPE) || !is_pending)
    }

    fn loud() -> i32 {
        let writer = broken();
        let _ = Linux.write(borrow(&writer), b"x");
        0
    }

    #[test]
    #[cfg_attr(miri, ignore = "it forks")]
    fn m4_a_broken_pipe_raises_no_sigpipe() {
        assert_eq!(where_sigpipe_kills(quiet), 0);
        assert_eq!(where_sigpipe_kills(masked), 0);
        assert_eq!(where_sigpipe_kills(pending_stays), 0);
        assert_eq!(
            where_sigpipe_kills(loud),
            libc::SIGPIPE,
            "the test can fail"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "it asks the kernel")]
    fn m4_a_full_pipe_is_eagain_and_its_bytes_are_counted() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let end = borrow(&writer);
        Linux.set_non_blocking(end, true).expect("a mode");
        let page = [7; 4096];
        let mut written = 0;
        loop {
            match Linux.write_without_sigpipe(end, &page) {
                Ok(count) => written += count,
                Err(errno) => {
                    assert_eq!(errno, Errno::EAGAIN);
                    break;
                }
            }
        }
        assert!(written >= 4096);
        assert_eq!(Linux.write_masked(end, b"x"), Err(Errno::EAGAIN));
        Linux.set_non_blocking(end, false).expect("a mode");
        drop(reader);
        assert_eq!(Linux.write_without_sigpipe(end, b"x"), Err(Errno::EPIPE));
    }
}
