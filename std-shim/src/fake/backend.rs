//! The contract: what a reactor asks of a [`Fake`].

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::handle::Handle;
use linux_event_core::pid::ExitStatus;
use linux_event_core::reactor::backend::{SIGNAL, TIMER, WAKEUP};
use linux_event_core::reactor::{Backend, Report};
use linux_event_core::signal::{SignalCounts, SignalSet};
use linux_event_core::sys::RawFd;

use super::bits::{EDGE, IN};
use super::interest::InterestList;
use super::machine::{FileId, SIGNALS, TIMER as TIMER_FILE, WAKES};
use super::operations::enter_error;
use super::{Fake, FakeProcess};

impl Fake {
    /// Begins a control call; the file behind `fd`.
    fn control(&mut self, method: &'static str, fd: RawFd) -> Result<FileId, Errno> {
        self.touch(method);
        self.counts.controls += 1;
        self.fail_call(Call::EpollCtl)?;
        let file = self.machine.file(fd)?;
        if self.machine.is_pollable(file) {
            Ok(file)
        } else {
            Err(Errno::EPERM)
        }
    }

    /// As `Epoll`: one signalfd, opened when the first signal is subscribed to.
    fn change_signals(&mut self, set: SignalSet) -> Result<(), Error> {
        self.fail_call(Call::Signalfd)
            .map_err(|errno| Error::from_call(Call::Signalfd, errno))?;
        self.machine.signals.subscribed = set;
        if self.machine.signals.is_open {
            self.machine.signals_changed();
            self.hear();
        } else {
            self.machine.signals.is_open = true;
            self.register_own(SIGNALS, IN, SIGNAL.raw());
        }
        Ok(())
    }
}

impl Fake {
    /// Whether a signal handler is to interrupt this wait.
    fn is_interrupted(&mut self) -> bool {
        let is_interrupted = self.interrupts_next > 0;
        self.interrupts_next -= u32::from(is_interrupted);
        is_interrupted
    }

    /// A wait of a proactor: hands over what is queued, then waits. One that is interrupted has handed it over.
    fn enter(&mut self, deadline: Option<Instant>, timeout: Option<Duration>) -> Result<(), Error> {
        self.operations.count_enter();
        let is_interrupted = match self.fail_call(Call::IoUringEnter) {
            Ok(()) => self.is_interrupted(),
            Err(Errno::EINTR) => true,
            Err(errno) => return Err(enter_error(errno)),
        };
        self.take_queue();
        if is_interrupted {
            return Ok(());
        }
        self.pass_until_ready(deadline, timeout)
    }
}

impl Backend for Fake {
    type Process = FakeProcess;

    fn now(&self) -> Instant {
        self.now
    }

    fn is_owner(&self) -> bool {
        self.is_owner
    }

    fn add(&mut self, fd: RawFd, events: u32, token: Handle) -> Result<(), Errno> {
        let file = self.control("add", fd)?;
        let state = self.machine.state(file);
        self.interest.add(file, fd, events, token.raw(), state)
    }

    fn modify(&mut self, fd: RawFd, events: u32, token: Handle) -> Result<(), Errno> {
        let file = self.control("modify", fd)?;
        let state = self.machine.state(file);
        self.interest.modify(file, fd, events, token.raw(), state)
    }

    fn remove(&mut self, fd: RawFd) -> Result<(), Errno> {
        let file = self.control("remove", fd)?;
        self.interest.remove(file, fd)
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        self.touch("rebuild");
        self.fail_call(Call::EpollCreate)
            .map_err(|errno| Error::from_call(Call::EpollCreate, errno))?;
        self.counts.rebuilds += 1;
        self.interest = InterestList::default();
        self.register_own(WAKES, IN | EDGE, WAKEUP.raw());
        self.register_own(TIMER_FILE, IN | EDGE, TIMER.raw());
        if self.machine.signals.is_open {
            self.register_own(SIGNALS, IN, SIGNAL.raw());
        }
        Ok(())
    }

    fn wait(&mut self, deadline: Option<Instant>, timeout: Option<Duration>) -> Result<(), Error> {
        self.touch("wait");
        self.batch.clear();
        self.counts.waits += 1;
        if self.operations.is_used() {
            return self.enter(deadline, timeout);
        }
        match self.fail_call(Call::EpollWait) {
            Ok(()) if self.is_interrupted() => Ok(()),
            Ok(()) => self.pass_until_ready(deadline, timeout),
            Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::from_call(Call::EpollWait, errno)),
        }
    }

    fn next(&mut self) -> Option<Report> {
        self.batch.pop_front()
    }

    fn has_next(&self) -> bool {
        !self.batch.is_empty() || self.operations.has_visible()
    }

    fn arm(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.touch("arm");
        self.fail_call(Call::TimerfdSettime)
            .map_err(|errno| Error::from_call(Call::TimerfdSettime, errno))?;
        self.set_armed(deadline);
        Ok(())
    }

    fn take_wakes(&mut self) -> u64 {
        self.touch("take_wakes");
        self.is_woken = false;
        self.wakeup.take()
    }

    fn set_signals(&mut self, set: SignalSet) -> Result<(), Error> {
        self.touch("set_signals");
        let before = self.machine.signals.subscribed;
        let added = set.difference(before);
        let removed = before.difference(set);
        if !added.is_empty() {
            self.fail_call(Call::Sigprocmask)
                .map_err(|errno| Error::from_call(Call::Sigprocmask, errno))?;
            let signals = &mut self.machine.signals;
            let newly_blocked = added.difference(signals.mask);
            signals.mask = signals.mask.union(added);
            if let Err(error) = self.change_signals(set) {
                self.machine.signals.unblock(newly_blocked);
                return Err(error);
            }
            let signals = &mut self.machine.signals;
            signals.blocked_here = signals.blocked_here.union(newly_blocked); // INV-SIGNALS-1
        } else if !removed.is_empty() {
            self.change_signals(set)?;
        }
        let signals = &mut self.machine.signals;
        let restored = signals.blocked_here.intersection(removed);
        signals.blocked_here = signals.blocked_here.difference(restored);
        signals.unblock(restored);
        Ok(())
    }

    fn take_signals(&mut self, counts: &mut SignalCounts) -> Result<(), Error> {
        self.touch("take_signals");
        if self.machine.signals.is_open {
            self.fail_call(Call::Signalfd)
                .map_err(|errno| Error::from_call(Call::Signalfd, errno))?;
            self.machine.signals.take(counts);
        }
        Ok(())
    }

    fn open_process(&mut self, pid: i32) -> Result<FakeProcess, Error> {
        self.touch("open_process");
        let opened = match self.fail_call(Call::PidfdOpen) {
            Ok(()) => self.machine.open_process(pid),
            Err(errno) => Err(errno),
        };
        let number = opened.map_err(|errno| Error::from_call(Call::PidfdOpen, errno))?;
        let returned = Rc::clone(&self.returned);
        Ok(FakeProcess { number, returned })
    }

    fn process_status(
        &mut self,
        process: &FakeProcess,
        reap: bool,
    ) -> Result<Option<ExitStatus>, Errno> {
        self.touch("process_status");
        self.fail_call(Call::Waitid)?;
        let pid = self.machine.process(process.number)?;
        let status = self.machine.processes.status(pid, reap)?;
        if reap {
            self.machine.process_changed(pid);
            self.hear();
        }
        Ok(status)
    }
}
