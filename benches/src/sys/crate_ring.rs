//! The `io-uring` crate as a [`Ring`], tuned as its documentation says.
//!
//! **What.** [`CrateRing`]: the flags of the hand-written ring, its size, its descriptor registered too, and system calls
//! without libc (the crate's feature `direct-syscall`).
//!
//! **Invariants.** INV-RING-3, with those of the module above.
//!
//! **Why this shape.** The crate remembers that a ring is registered in its `Submitter`, which borrows the ring; so the ring
//! is leaked, and the three parts of it live beside each other.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode, squeue, types};

use super::ring::{Completion, ENTRIES, Pad, Ring, explain, too_many};

/// A ring of the crate.
pub(crate) struct CrateRing {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
}

impl CrateRing {
    #[inline(always)]
    fn push(&mut self, entry: squeue::Entry, key: u64) {
        let entry = entry.user_data(key);
        // SAFETY: INV-RING-3: what the entry points to is `'static`, and written by the kernel alone.
        let pushed = unsafe { self.submissions.push(&entry) };
        assert!(pushed.is_ok(), "INV-RING-4: no room for one more");
    }
}

impl Ring for CrateRing {
    fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_no_sqarray()
            .setup_submit_all();
        let ring = builder.build(ENTRIES).map_err(explain)?;
        let (mut submitter, submissions, completions) = Box::leak(Box::new(ring)).split();
        submitter.register_ring_fd().map_err(too_many)?;
        Ok(Self {
            submitter,
            submissions,
            completions,
        })
    }

    #[inline(always)]
    fn nop(&mut self, key: u64) {
        self.push(opcode::Nop::new().build(), key);
    }

    #[inline(always)]
    fn recv(&mut self, fd: BorrowedFd<'static>, pad: &'static Pad, length: usize, key: u64) {
        assert!(length <= Pad::BYTES);
        let (fd, start) = (types::Fd(fd.as_raw_fd()), pad.start());
        self.push(opcode::Recv::new(fd, start, length as u32).build(), key);
    }

    #[inline(always)]
    fn send(&mut self, fd: BorrowedFd<'static>, bytes: &'static [u8], key: u64) {
        let fd = types::Fd(fd.as_raw_fd());
        let send = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32);
        self.push(send.flags(libc::MSG_NOSIGNAL).build(), key);
    }

    #[inline(always)]
    fn cancel(&mut self, target: u64, key: u64) {
        self.push(opcode::AsyncCancel::new(target).build(), key);
    }

    #[inline(always)]
    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        self.submissions.sync();
        let queued = self.submissions.len();
        self.completions.sync();
        let submitted = self.submitter.submit_and_wait(wanted as usize)?;
        // Only this tells the crate that there is room again.
        self.submissions.sync();
        self.completions.sync();
        if submitted == queued {
            Ok(())
        } else {
            Err(super::ring::not_submitted(submitted as isize))
        }
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        Some(Completion {
            key: entry.user_data(),
            result: entry.result(),
        })
    }
}
