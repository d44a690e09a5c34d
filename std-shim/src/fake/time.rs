//! Virtual time, and what happens in it.

#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};

use super::{Action, FailedAction, Fake};

impl Fake {
    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lets time pass; what is arranged happens on the way.
    pub fn advance(&mut self, duration: Duration) {
        self.settle();
        let end = self.now + duration;
        while let Some(at) = self.next_event().filter(|&at| at <= end) {
            self.pass_to(at);
            self.act();
        }
        self.pass_to(end);
        self.is_interrupted = false; // there was no wait
    }

    /// Arranges that `action` happens at `at`: during a wait or an [`advance`](Self::advance) that passes it, or at the
    /// next of them if it is past. Of one instant, what was arranged first happens first, and all before the wait ends.
    pub fn at(&mut self, at: Instant, action: Action) {
        self.schedule.insert(at, action);
    }

    /// As [`at`](Self::at), `delay` from now.
    pub fn after(&mut self, delay: Duration, action: Action) {
        self.at(self.now + delay, action);
    }

    /// How many arranged actions have yet to happen.
    pub fn actions_left(&self) -> usize {
        self.schedule.len()
    }

    /// The actions that could not be done. A test should end with none it did not expect.
    pub fn failed_actions(&self) -> &[FailedAction] {
        &self.failed_actions
    }

    /// Until when the loop has armed the timer of its own descriptor, for a loop around it (G-2).
    pub fn armed(&self) -> Option<Instant> {
        self.armed
    }

    /// Whether the loop's own descriptor would be readable: a wait would find something (G-2).
    pub fn is_readable(&mut self) -> bool {
        self.settle();
        self.run_operations();
        let machine = &self.machine;
        self.interest.is_ready(|file| machine.state(file)) || self.operations.has_reports()
    }

    /// When something happens next: what is arranged, or what an operation waits for.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let times = [self.schedule.first(), self.operations.next_time()];
        times.into_iter().flatten().min()
    }

    /// Moves time on, never back, and expires the armed timer.
    pub(super) fn pass_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
        if self.armed.is_some_and(|armed| armed <= self.now) {
            self.armed = None;
            self.machine.set_timer_expired(true);
            self.hear();
        }
    }

    /// Does everything that is due.
    pub(super) fn act(&mut self) {
        while let Some((at, action)) = self.schedule.pop_due(self.now) {
            if let Err(errno) = self.perform(&action) {
                self.failed_actions.push(FailedAction { at, action, errno });
            }
        }
        self.run_operations();
    }

    fn perform(&mut self, action: &Action) -> Result<(), Errno> {
        match action {
            Action::Write(fd, bytes) => {
                let written = self.write(fd, bytes)?;
                if written < bytes.len() {
                    return Err(Errno::EAGAIN);
                }
            }
            Action::Read(fd, bytes_max) => drop(self.read(fd, &mut vec![0; *bytes_max])?),
            Action::ShutdownWrite(fd) => self.shutdown_write(fd)?,
            Action::Close(fd) => self.close(fd)?,
            Action::Reset(fd) => self.reset(fd)?,
            Action::Connect(fd, name) => self.connect(fd, name.clone())?,
            Action::Raise(signal) => self.raise(*signal),
            Action::Exit(pid, status) => self.exit(*pid, *status)?,
            Action::Wake => {
                self.wakeup.wake_for_user();
                self.settle();
            }
            Action::Interrupt => self.is_interrupted = true,
        }
        Ok(())
    }

    /// Passes time until there is a batch, `deadline` or `timeout`.
    pub(super) fn pass_until_ready(
        &mut self,
        deadline: Option<Instant>,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        if timeout != Some(Duration::ZERO) && self.armed != deadline {
            self.disarm();
        }
        let end = match (deadline, timeout.map(|timeout| self.now + timeout)) {
            (Some(deadline), Some(end)) => deadline.min(end),
            (Some(end), None) | (None, Some(end)) => end,
            (None, None) => Instant::MAX,
        };
        self.act();
        loop {
            let machine = &self.machine;
            self.interest
                .fetch(self.batch_max, |file| machine.state(file), &mut self.batch);
            self.operations.show();
            let interrupted = std::mem::take(&mut self.is_interrupted);
            let has_found = !self.batch.is_empty() || self.operations.has_visible();
            if has_found || interrupted || end <= self.now {
                return Ok(());
            }
            let next = self.next_event().filter(|&at| at <= end);
            let next = next.unwrap_or(end);
            if next == Instant::MAX {
                return Err(Error::from_call(self.wait_call(), Errno::EDEADLK));
            }
            self.pass_to(next);
            self.act();
        }
    }

    /// The call that waits.
    fn wait_call(&self) -> Call {
        if self.operations.is_used() {
            Call::IoUringEnter
        } else {
            Call::EpollWait
        }
    }

    fn disarm(&mut self) {
        if self.armed.take().is_some() {
            self.machine.set_timer_expired(false);
        }
    }

    /// Sets the timer of the loop's own descriptor.
    pub(super) fn set_armed(&mut self, deadline: Option<Instant>) {
        self.machine.set_timer_expired(false);
        self.armed = deadline.filter(|&deadline| deadline < Instant::MAX);
        self.pass_to(self.now);
    }
}
