//! A backend that can do nothing but wait for a time.
//!
//! **Why this shape.** The engine asks its backend for everything, and what a backend says it can't do costs no code. This one
//! waits on an epoll instance that nothing is registered in: `epoll_pwait2` takes nanoseconds.

#![forbid(unsafe_code)]

use core::convert::Infallible;
use core::time::Duration;

use linux_event_core::clock::{Instant, duration_nanos};
use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::handle::Handle;
use linux_event_core::pid::ExitStatus;
use linux_event_core::reactor::{Backend, Report};
use linux_event_core::signal::{SignalCounts, SignalSet};
use linux_event_core::sys::uapi::EpollEvent;
use linux_event_core::sys::{AsRawFd, Fd, Kernel, Linux, RawFd};

const MILLI_NS: u64 = 1_000_000;

pub(crate) struct Sleep(Fd);

/// A process that nobody has.
pub(crate) struct Nobody(Infallible);

impl AsRawFd for Nobody {
    fn as_raw_fd(&self) -> RawFd {
        match self.0 {}
    }
}

impl Sleep {
    pub(crate) fn new() -> Result<Self, Errno> {
        Linux.epoll_create().map(Self)
    }
}

impl Backend for Sleep {
    const WATCHES: bool = false;
    const SIGNALS: bool = false;

    type Process = Nobody;

    fn now(&self) -> Instant {
        Linux.monotonic_by_call()
    }

    /// This program does not fork.
    fn is_owner(&self) -> bool {
        true
    }

    fn wait(&mut self, deadline: Option<Instant>, timeout: Option<Duration>) -> Result<(), Error> {
        let left = deadline.map(|deadline| duration_nanos(deadline.since(self.now())));
        let limit = timeout.map_or(u64::MAX, duration_nanos);
        let nanos = left.unwrap_or(u64::MAX).min(limit);
        let (epoll, events) = (self.0.borrow(), &mut [EpollEvent::EMPTY]);
        let waited = match Linux.epoll_pwait2(epoll, events, nanos) {
            // Before Linux 5.11: in milliseconds, late and never early.
            Err(Errno::ENOSYS) => {
                let millis = nanos.div_ceil(MILLI_NS).min(i32::MAX as u64) as i32;
                Linux.epoll_wait(epoll, events, millis)
            }
            waited => waited,
        };
        match waited {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::from_call(Call::EpollWait, errno)),
        }
    }

    fn next(&mut self) -> Option<Report> {
        None
    }

    fn has_next(&self) -> bool {
        false
    }

    fn timer_expired(&mut self) {}

    fn add(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn modify(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn remove(&mut self, _: RawFd) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn arm(&mut self, _: Option<Instant>) -> Result<(), Error> {
        Err(Error::Unsupported {
            call: Call::TimerfdCreate,
        })
    }

    fn take_wakes(&mut self) -> u64 {
        0
    }

    fn set_signals(&mut self, _: SignalSet) -> Result<(), Error> {
        Err(Error::Unsupported {
            call: Call::Signalfd,
        })
    }

    fn take_signals(&mut self, _: &mut SignalCounts) -> Result<(), Error> {
        Ok(())
    }

    fn open_process(&mut self, _: i32) -> Result<Nobody, Error> {
        Err(Error::Unsupported {
            call: Call::PidfdOpen,
        })
    }

    fn process_status(&mut self, process: &Nobody, _: bool) -> Result<Option<ExitStatus>, Errno> {
        match process.0 {}
    }
}
