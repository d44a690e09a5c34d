//! Processes: how one ended.
//!
//! **What.** [`ExitStatus`] is what `waitid(2)` tells. The exit of a process is watched with
//! [`Reactor::process`](crate::reactor::Reactor::process), through a pidfd (`pidfd_open(2)`, Linux 5.3), which names
//! one process for ever: a number that was used again is never mistaken for it. Rule C-1.

#![forbid(unsafe_code)]

use core::fmt;

use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::signal::Signal;
use crate::sys::{ExitInfo, Fd, Kernel};

/// `si_code`: ended by itself.
const CLD_EXITED: i32 = 1;
/// `si_code`: killed by a signal, with a core dump.
const CLD_DUMPED: i32 = 3;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// By itself, with this code (0 to 255).
    Exited(i32),
    /// By a signal.
    Signaled {
        /// Which.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

impl ExitStatus {
    /// From `si_code` and `si_status`.
    pub const fn from_info(info: ExitInfo) -> Self {
        if info.code == CLD_EXITED {
            Self::Exited(info.status)
        } else {
            Self::Signaled {
                signal: info.status,
                core_dumped: info.code == CLD_DUMPED,
            }
        }
    }

    /// From a status as `wait(2)` encodes it.
    ///
    /// ```
    /// use linux_event_core::pid::ExitStatus;
    /// assert_eq!(ExitStatus::from_wait_status(42 << 8), ExitStatus::Exited(42));
    /// assert_eq!(
    ///     ExitStatus::from_wait_status(11 | 0x80),
    ///     ExitStatus::Signaled { signal: 11, core_dumped: true }
    /// );
    /// ```
    pub const fn from_wait_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 {
            Self::Exited((status >> 8) & 0xff)
        } else {
            Self::Signaled {
                signal,
                core_dumped: status & 0x80 != 0,
            }
        }
    }

    /// The exit code; `None` if a signal ended the process.
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Signaled { .. } => None,
        }
    }

    /// The signal that ended the process; `None` if it exited by itself.
    pub const fn signal(self) -> Option<Signal> {
        match self {
            Self::Signaled { signal, .. } => Signal::from_raw(signal),
            Self::Exited(_) => None,
        }
    }

    /// Whether the process exited by itself with code 0.
    pub const fn success(self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

/// Opens a pidfd, for a backend.
pub(crate) fn open<K: Kernel>(kernel: &K, pid: i32) -> Result<Fd<K>, Error> {
    kernel
        .pidfd_open(pid)
        .map_err(|errno| Error::from_call(Call::PidfdOpen, errno))
}

/// How the process ended; `Ok(None)` if that can't be known, EAGAIN while it lives.
pub(crate) fn status<K: Kernel>(
    kernel: &K,
    process: &Fd<K>,
    reap: bool,
) -> Result<Option<ExitStatus>, Errno> {
    match kernel.waitid(process.borrow(), reap) {
        Ok(Some(info)) => Ok(Some(ExitStatus::from_info(info))),
        Ok(None) => Err(Errno::EAGAIN),
        Err(Errno::ECHILD) if !reap => {
            // Not a child. Since Linux 6.15 the pidfd itself tells; before, nobody does.
            let status = kernel.pidfd_exit_status(process.borrow());
            Ok(status.ok().flatten().map(ExitStatus::from_wait_status))
        }
        Err(errno) => Err(errno),
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled {
                signal,
                core_dumped,
            } => {
                write!(f, "signal {signal}")?;
                f.write_str(if core_dumped { " (core dumped)" } else { "" })
            }
        }
    }
}
