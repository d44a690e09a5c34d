//! What a ring was asked to be, and what it came to be (P-12, P-13).

#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;

use linux_raw_sys::io_uring as linux;

use super::sqe::TRANSFER_FLAGS;
use crate::errno::Errno;
use crate::proactor::operation::Code;

/// What is asked of a ring (P-13).
///
/// ```
/// use core::time::Duration;
/// use linux_event_core::proactor::{Options, Uring};
/// use linux_event_core::sys::Linux;
///
/// let options = Options {
///     entries: 32,
///     busy_poll: Duration::from_micros(20),
///     ..Options::default()
/// };
/// # if let Err(linux_event_core::error::Error::NoRing { .. }) = Uring::<&'static mut [u8]>::with_kernel(Linux) { return Ok(()) }
/// let ring: Uring<&'static mut [u8]> = Uring::with_options(Linux, options)?;
/// assert_eq!(ring.capabilities().entries, 32);
/// # Ok::<(), linux_event_core::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many submissions can be queued: rounded up to a power of two, at most 32,768. A full queue is flushed.
    pub entries: u32,
    /// How many completions can wait: `None` for 2,048, or twice `entries` if that is more. Rounded up likewise. More may
    /// be in flight: what does not fit the kernel keeps, at a price.
    pub cq_entries: Option<u32>,
    /// Refuses more operations than there is room for completions.
    pub strict_cq: bool,
    /// Has a kernel thread submit, which sleeps after this long without work (`IORING_SETUP_SQPOLL`). It takes a processor.
    /// Signals that are sent to the loop's thread, and not to the process, are then not heard of: the thread has its own.
    pub sqpoll_idle: Option<Duration>,
    /// Hands submissions to the kernel when this many are queued; 0 for only when the queue is full and at the wait.
    pub submit_batch: u32,
    /// Asks again and again for this long before a wait blocks. It takes the processor, and saves the time it takes to wake.
    pub busy_poll: Duration,
}

impl Options {
    /// 128 submissions, 2,048 completions: 44 KiB, less than what every user may lock.
    pub const DEFAULT: Self = Self {
        entries: 128,
        cq_entries: None,
        strict_cq: false,
        sqpoll_idle: None,
        submit_batch: 0,
        busy_poll: Duration::ZERO,
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Something that a ring would be better with, and does without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The ring in the program's own memory (`IORING_SETUP_NO_MMAP`, Linux 6.5): it is mapped instead.
    OwnMemory,
    /// A kernel thread that submits (`IORING_SETUP_SQPOLL`).
    SubmittingThread,
    /// No array of indices (`IORING_SETUP_NO_SQARRAY`, Linux 6.6).
    NoIndexArray,
    /// Completions are made when they are asked for (`IORING_SETUP_DEFER_TASKRUN`, Linux 6.1).
    DeferTaskrun,
    /// One thread submits (`IORING_SETUP_SINGLE_ISSUER`, Linux 6.0).
    SingleIssuer,
    /// The thread is not interrupted for completions (`IORING_SETUP_COOP_TASKRUN`, Linux 5.19).
    CoopTaskrun,
    /// A submission that fails does not stop those after it (`IORING_SETUP_SUBMIT_ALL`, Linux 5.18).
    SubmitAll,
    /// As many entries as were asked for.
    Entries,
    /// The ring is known by a registered index (`IORING_REGISTER_RING_FDS`, Linux 5.18).
    RegisteredRing,
    /// The kernel says which operations it has (`IORING_REGISTER_PROBE`): all are tried instead.
    Probe,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::OwnMemory => "NO_MMAP",
            Self::SubmittingThread => "SQPOLL",
            Self::NoIndexArray => "NO_SQARRAY",
            Self::DeferTaskrun => "DEFER_TASKRUN",
            Self::SingleIssuer => "SINGLE_ISSUER",
            Self::CoopTaskrun => "COOP_TASKRUN",
            Self::SubmitAll => "SUBMIT_ALL",
            Self::Entries => "the number of entries",
            Self::RegisteredRing => "the registered ring",
            Self::Probe => "PROBE",
        }
    }
}

/// A step down, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepDown {
    /// What was given up.
    pub part: Part,
    /// How the kernel refused it.
    pub errno: Errno,
}

impl fmt::Display for StepDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "without {} ({:?})", self.part.name(), self.errno)
    }
}

/// The most steps that are remembered.
const STEPS_MAX: usize = 16;

/// What is in force (P-12).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// `IORING_SETUP_*`.
    pub flags: u32,
    /// `IORING_FEAT_*`.
    pub features: u32,
    /// Submissions that there is room for.
    pub entries: u32,
    /// Completions that there is room for.
    pub cq_entries: u32,
    /// Bytes of the rings.
    pub bytes: usize,
    /// Whether the kernel knows the ring by an index, which saves a look-up with every call.
    pub registered_ring: bool,
    /// Whether the ring lies in the program's own memory.
    pub own_memory: bool,
    /// What was given up, in order.
    pub steps: heapless::Vec<StepDown, STEPS_MAX>,
    /// Bit n: operation n is there.
    pub(super) ops: u64,
    /// Which of the flags of accept, receive and send that a request may have are known to the kernel.
    pub(super) transfer_flags: u16,
}

impl Capabilities {
    pub(super) const fn new() -> Self {
        Self {
            flags: 0,
            features: 0,
            entries: 0,
            cq_entries: 0,
            bytes: 0,
            registered_ring: false,
            own_memory: false,
            steps: heapless::Vec::new(),
            ops: u64::MAX,
            transfer_flags: TRANSFER_FLAGS,
        }
    }

    /// Which operations there are. Flags that can't be asked for are as old as some of them.
    pub(super) fn learn(&mut self, ops: u64) {
        const SOCKET: u32 = linux::io_uring_op::IORING_OP_SOCKET as u32;
        self.ops = ops;
        // `IORING_RECVSEND_POLL_FIRST` (Linux 5.19) is advice: where it is unknown it would fail what goes without.
        if !self.has(SOCKET) {
            self.transfer_flags &= !(linux::IORING_RECVSEND_POLL_FIRST as u16);
        }
    }

    pub(super) fn step_down(&mut self, part: Part, errno: Errno) {
        let _ = self.steps.push(StepDown { part, errno });
    }

    /// Whether the kernel has an operation. Forms of one that can't be asked for are told by others of the same age.
    #[inline(always)]
    pub fn supports(&self, code: Code) -> bool {
        const SOCKET: u32 = linux::io_uring_op::IORING_OP_SOCKET as u32;
        const SEND_ZC: u32 = linux::io_uring_op::IORING_OP_SEND_ZC as u32;
        match code {
            Code::AcceptMulti => self.has(SOCKET),
            Code::RecvMulti => self.has(SEND_ZC),
            Code::PollMulti => self.features & linux::IORING_FEAT_RSRC_TAGS != 0,
            Code::Shutdown
            | Code::Socket
            | Code::SendZeroCopy
            | Code::WaitId
            | Code::Bind
            | Code::Listen => self.has(u32::from(super::sqe::opcode(code))),
            // As old as what is required anyway.
            _ => true,
        }
    }

    #[inline(always)]
    fn has(&self, op: u32) -> bool {
        self.ops >> op & 1 != 0
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "io_uring: {} submissions, {} completions, {} bytes",
            self.entries, self.cq_entries, self.bytes
        )?;
        for (flag, name) in [
            (linux::IORING_SETUP_SQPOLL, "SQPOLL"),
            (linux::IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL"),
            (linux::IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN"),
            (linux::IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER"),
            (linux::IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN"),
            (linux::IORING_SETUP_NO_MMAP, "NO_MMAP"),
            (linux::IORING_SETUP_NO_SQARRAY, "NO_SQARRAY"),
        ] {
            if self.flags & flag != 0 {
                write!(f, ", {name}")?;
            }
        }
        if self.registered_ring {
            f.write_str(", registered ring")?;
        }
        for step in &self.steps {
            write!(f, "; {step}")?;
        }
        Ok(())
    }
}
