//! What can go wrong, with what is needed to act on it.

#![forbid(unsafe_code)]

use core::fmt;

use crate::errno::Errno;
use crate::proactor::Code;

/// The system call that an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant is the call's own name")]
pub enum Call {
    EpollCreate,
    EpollCtl,
    EpollWait,
    TimerfdCreate,
    TimerfdSettime,
    Eventfd,
    Signalfd,
    Sigprocmask,
    PidfdOpen,
    Waitid,
    IoUringSetup,
    IoUringEnter,
    IoUringRegister,
    Mmap,
    Fcntl,
}

impl Call {
    /// The call's name as its manual page has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EpollCreate => "epoll_create1",
            Self::EpollCtl => "epoll_ctl",
            Self::EpollWait => "epoll_wait",
            Self::TimerfdCreate => "timerfd_create",
            Self::TimerfdSettime => "timerfd_settime",
            Self::Eventfd => "eventfd2",
            Self::Signalfd => "signalfd4",
            Self::Sigprocmask => "rt_sigprocmask",
            Self::PidfdOpen => "pidfd_open",
            Self::Waitid => "waitid",
            Self::IoUringSetup => "io_uring_setup",
            Self::IoUringEnter => "io_uring_enter",
            Self::IoUringRegister => "io_uring_register",
            Self::Mmap => "mmap",
            Self::Fcntl => "fcntl",
        }
    }

    /// The first kernel that has the call in the form used here.
    pub const fn since(self) -> &'static str {
        match self {
            Self::PidfdOpen => "Linux 5.3",
            Self::Waitid => "Linux 5.4 (P_PIDFD)",
            Self::IoUringSetup | Self::IoUringEnter | Self::IoUringRegister => {
                "Linux 5.11, or 5.10.162 and later"
            }
            _ => "Linux 2.6.27",
        }
    }
}

/// An error of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a call.
    Os {
        /// Which call.
        call: Call,
        /// Why.
        errno: Errno,
    },
    /// The kernel lacks a call, or a filter pretends that it does (ENOSYS).
    Unsupported {
        /// Which call.
        call: Call,
    },
    /// A call was forbidden (EPERM, EACCES): by a seccomp filter, as a rule.
    Denied {
        /// Which call.
        call: Call,
        /// How it was refused.
        errno: Errno,
    },
    /// The kernel lacks an operation of the proactor, or a form of it.
    UnsupportedOperation {
        /// Which.
        code: Code,
    },
    /// The proactor can't be had here: io_uring is missing or forbidden (P-12). The reactor needs none of it.
    NoRing {
        /// How the kernel refused: ENOSYS, EPERM or EACCES.
        errno: Errno,
        /// Whether the kernel has io_uring, but the sysctl `kernel.io_uring_disabled` turns it off.
        by_sysctl: bool,
    },
    /// The kernel's io_uring lacks what the proactor is built on: a feature of Linux 5.11, or 5.10.162 and later (P-12).
    RingTooOld,
    /// The ring does not fit into the memory that this user may lock (`RLIMIT_MEMLOCK`).
    LockedMemory {
        /// Bytes that the smallest acceptable ring needs, about.
        needed: usize,
        /// Bytes that the limit allows, where it can be known.
        limit: Option<u64>,
    },
    /// The kernel dropped completions (EBADR): what is in flight is lost, and its memory leaked. Make a new loop.
    CompletionsLost,
    /// It is in use by an operation that has not settled.
    Busy,
    /// Every slot of the table of watchers, of timers, of operations or of files, is taken.
    Full {
        /// How many slots the table has.
        capacity: usize,
    },
    /// The handle's watcher, timer or subscription is gone.
    Stale,
    /// The descriptor can't be polled: epoll takes no regular files and no directories.
    NotPollable,
    /// What was asked contradicts itself or a rule; the text says which.
    Invalid(&'static str),
    /// The loop is running already: it was run from inside one of its own callbacks.
    Reentrant,
    /// The loop belongs to the parent of this process (G-1). Make a new one after `fork`.
    Forked,
}

impl Error {
    /// Sorts what a call answered: absent, forbidden or refused.
    #[cold]
    pub const fn from_call(call: Call, errno: Errno) -> Self {
        match errno {
            Errno::ENOSYS => Self::Unsupported { call },
            Errno::EPERM | Errno::EACCES => Self::Denied { call, errno },
            errno => Self::Os { call, errno },
        }
    }

    /// The kernel's errno, where it gave one.
    pub const fn errno(&self) -> Option<Errno> {
        match *self {
            Self::Os { errno, .. } | Self::Denied { errno, .. } | Self::NoRing { errno, .. } => {
                Some(errno)
            }
            Self::Unsupported { .. } | Self::RingTooOld => Some(Errno::ENOSYS),
            Self::UnsupportedOperation { .. } => Some(Errno::EOPNOTSUPP),
            Self::LockedMemory { .. } => Some(Errno::ENOMEM),
            Self::CompletionsLost => Some(Errno::EBADR),
            Self::Busy => Some(Errno::EBUSY),
            Self::NotPollable => Some(Errno::EPERM),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Os { call, errno } => {
                write!(f, "{}: {errno}", call.name())?;
                f.write_str(match errno {
                    Errno::EMFILE => "; raise RLIMIT_NOFILE or close descriptors",
                    Errno::ENFILE => "; raise the sysctl fs.file-max",
                    Errno::ENOSPC => "; raise the sysctl fs.epoll.max_user_watches",
                    _ => "",
                })
            }
            Self::Unsupported { call } => write!(
                f,
                "{} is missing: it needs {}, and a sandbox that allows it",
                call.name(),
                call.since()
            ),
            Self::Denied { call, errno } => write!(
                f,
                "{} was forbidden ({errno}): a seccomp filter or security module must allow it",
                call.name()
            ),
            Self::UnsupportedOperation { code } => write!(
                f,
                "this kernel lacks the operation {}: it needs {}",
                code.name(),
                code.since()
            ),
            Self::NoRing { errno, by_sysctl } => {
                let why = match (errno, by_sysctl) {
                    (_, true) => "the sysctl kernel.io_uring_disabled forbids it",
                    (Errno::ENOSYS, _) => "the kernel lacks it, or a seccomp filter hides it",
                    _ => "a seccomp filter or security module forbids it",
                };
                write!(
                    f,
                    "io_uring can't be used ({errno}): {why}; allow it, or take the reactor, which needs only epoll"
                )
            }
            Self::RingTooOld => f.write_str(
                "this kernel's io_uring is too old: it needs Linux 5.11, or 5.10.162 and later; the reactor needs only epoll",
            ),
            Self::LockedMemory { needed, limit } => {
                write!(f, "the ring needs {needed} bytes of locked memory")?;
                if let Some(limit) = limit {
                    write!(f, ", and RLIMIT_MEMLOCK allows {limit}")?;
                }
                f.write_str(": raise the limit (ulimit -l), or ask for fewer entries")
            }
            Self::CompletionsLost => f.write_str(
                "the kernel dropped completions for want of memory: make a new loop, this one can't know what happened",
            ),
            Self::Busy => f.write_str("an operation that has not settled uses it: cancel that, or wait for it"),
            Self::Full { capacity } => write!(
                f,
                "all {capacity} slots are taken: cancel something or make the loop with more"
            ),
            Self::Stale => f.write_str("the handle is stale: what it named is gone"),
            Self::NotPollable => f.write_str(
                "this descriptor can't be polled: regular files and directories are always ready",
            ),
            Self::Invalid(why) => f.write_str(why),
            Self::Reentrant => {
                f.write_str("the loop is running already: a callback can't run its own loop")
            }
            Self::Forked => {
                f.write_str("the loop belongs to the parent process: make a new one after fork")
            }
        }
    }
}

impl core::error::Error for Error {}
