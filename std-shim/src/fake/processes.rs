//! Simulated processes, and the descriptor that names one.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use linux_event_core::errno::Errno;
use linux_event_core::pid::ExitStatus;
use linux_event_core::sys::{AsRawFd, RawFd};

use super::bits::{HUP, IN};

/// The first process id that is given out.
const FIRST_PID: i32 = 1000;

/// Numbers whose owner was dropped, to be closed by the fake when it is called next.
pub(super) type Returned = Rc<RefCell<Vec<RawFd>>>;

/// A descriptor of a simulated process: what [`Fake`](super::Fake) gives a reactor that watches one. Dropping it
/// closes it.
#[derive(Debug)]
pub struct FakeProcess {
    pub(super) number: RawFd,
    pub(super) returned: Returned,
}

impl AsRawFd for FakeProcess {
    fn as_raw_fd(&self) -> RawFd {
        self.number
    }
}

impl Drop for FakeProcess {
    fn drop(&mut self) {
        self.returned.borrow_mut().push(self.number);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    /// Ended, and nobody has waited for it.
    Zombie(ExitStatus),
    Reaped(ExitStatus),
}

#[derive(Debug)]
struct Process {
    is_child: bool,
    life: Life,
}

#[derive(Debug)]
pub(super) struct Processes {
    all: BTreeMap<i32, Process>,
    next_pid: i32,
    /// Whether a descriptor tells how a process ended that is not a child, or was reaped: Linux 6.15.
    pub(super) tells_status: bool,
}

impl Processes {
    pub(super) fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            next_pid: FIRST_PID,
            tells_status: true,
        }
    }

    pub(super) fn spawn(&mut self, is_child: bool) -> i32 {
        let pid = self.next_pid;
        self.next_pid += 1;
        let life = Life::Alive;
        self.all.insert(pid, Process { is_child, life });
        pid
    }

    /// Ends a process. Whose parent is another is reaped by that at once. Returns whether it is a child.
    pub(super) fn exit(&mut self, pid: i32, status: ExitStatus) -> Result<bool, Errno> {
        let process = self.all.get_mut(&pid).ok_or(Errno::ESRCH)?;
        if process.life != Life::Alive {
            return Err(Errno::ESRCH);
        }
        process.life = if process.is_child {
            Life::Zombie(status)
        } else {
            Life::Reaped(status)
        };
        Ok(process.is_child)
    }

    pub(super) fn check_open(&self, pid: i32) -> Result<(), Errno> {
        if pid <= 0 {
            return Err(Errno::EINVAL);
        }
        match self.all.get(&pid) {
            Some(process) if !matches!(process.life, Life::Reaped(_)) => Ok(()),
            _ => Err(Errno::ESRCH),
        }
    }

    /// What a descriptor of the process is ready for.
    pub(super) fn state(&self, pid: i32) -> u32 {
        match self.all.get(&pid).map(|process| process.life) {
            Some(Life::Alive) => 0,
            Some(Life::Zombie(_)) => IN,
            Some(Life::Reaped(_)) | None => IN | HUP,
        }
    }

    pub(super) fn status(&mut self, pid: i32, reap: bool) -> Result<Option<ExitStatus>, Errno> {
        let process = self.all.get_mut(&pid).ok_or(Errno::ESRCH)?;
        match process.life {
            Life::Alive if reap && !process.is_child => Err(Errno::ECHILD),
            Life::Alive => Err(Errno::EAGAIN),
            Life::Zombie(status) => {
                if reap {
                    process.life = Life::Reaped(status);
                }
                Ok(Some(status))
            }
            Life::Reaped(_) if reap => Err(Errno::ECHILD),
            Life::Reaped(status) => Ok(self.tells_status.then_some(status)),
        }
    }

    /// As `waitid(2)`: EAGAIN while the child lives, ECHILD if there is no such child.
    pub(super) fn wait(&mut self, pid: i32, reap: bool) -> Result<ExitStatus, Errno> {
        let process = self.all.get_mut(&pid).filter(|process| process.is_child);
        let process = process.ok_or(Errno::ECHILD)?;
        match process.life {
            Life::Alive => Err(Errno::EAGAIN),
            Life::Reaped(_) => Err(Errno::ECHILD),
            Life::Zombie(status) => {
                if reap {
                    process.life = Life::Reaped(status);
                }
                Ok(status)
            }
        }
    }

    /// How many children have ended and were not waited for.
    pub(super) fn zombies(&self) -> usize {
        self.all
            .values()
            .filter(|process| matches!(process.life, Life::Zombie(_)))
            .count()
    }
}
