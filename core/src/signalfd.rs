//! Signals by descriptor (`signalfd(2)`), for every backend: what is subscribed to, and what was blocked for it.
//!
//! **Invariants.** *INV-SIGNALFD-1*: `blocked` holds the signals that this source blocked and that were not blocked before.
//!
//! **Why this shape.** What differs between backends is how they hear of the descriptor, and nothing else.

#![forbid(unsafe_code)]

use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::signal::{Signal, SignalCounts, SignalSet};
use crate::sys::{AsRawFd, Fd, Kernel, MaskChange, RawFd, SignalRecord};

/// The signals of a loop.
#[derive(Debug)]
pub(crate) struct SignalSource<K: Kernel> {
    fd: Option<Fd<K>>,
    set: SignalSet,
    /// INV-SIGNALFD-1.
    blocked: SignalSet,
}

impl<K: Kernel> SignalSource<K> {
    /// Nothing subscribed to, nothing opened.
    pub(crate) const NONE: Self = Self {
        fd: None,
        set: SignalSet::EMPTY,
        blocked: SignalSet::EMPTY,
    };

    /// The signalfd's number, once it is opened.
    #[inline]
    pub(crate) fn raw_fd(&self) -> Option<RawFd> {
        self.fd.as_ref().map(Fd::as_raw_fd)
    }

    /// What is subscribed to.
    pub(crate) fn signals(&self) -> SignalSet {
        self.set
    }

    /// Subscribes to exactly `set`; `opened` has a new signalfd watched.
    pub(crate) fn set(
        &mut self,
        kernel: &K,
        set: SignalSet,
        opened: impl FnOnce(RawFd) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let added = set.difference(self.set);
        let removed = self.set.difference(set);
        if !added.is_empty() {
            let old = kernel
                .signal_mask(MaskChange::Block, added)
                .map_err(|errno| Error::from_call(Call::Sigprocmask, errno))?;
            let newly_blocked = added.difference(old);
            if let Err(error) = self.change(kernel, set, opened) {
                let _ = kernel.signal_mask(MaskChange::Unblock, newly_blocked);
                return Err(error);
            }
            self.blocked = self.blocked.union(newly_blocked); // INV-SIGNALFD-1
        } else if !removed.is_empty() {
            self.change(kernel, set, opened)?;
        }
        self.set = set;
        let restored = self.blocked.intersection(removed);
        if !restored.is_empty() {
            self.blocked = self.blocked.difference(restored);
            kernel
                .signal_mask(MaskChange::Unblock, restored)
                .map_err(|errno| Error::from_call(Call::Sigprocmask, errno))?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        kernel: &K,
        set: SignalSet,
        opened: impl FnOnce(RawFd) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(fd) = &self.fd {
            return kernel
                .signalfd_change(fd.borrow(), set)
                .map_err(|errno| Error::from_call(Call::Signalfd, errno));
        }
        let fd = kernel
            .signalfd(set)
            .map_err(|errno| Error::from_call(Call::Signalfd, errno))?;
        opened(fd.as_raw_fd())?;
        self.fd = Some(fd);
        Ok(())
    }

    /// Takes every pending signal of the set and adds it to `counts`: reads until EAGAIN.
    pub(crate) fn take(&self, kernel: &K, counts: &mut SignalCounts) -> Result<(), Error> {
        let Some(fd) = &self.fd else {
            return Ok(());
        };
        let mut records = [SignalRecord::EMPTY; 16];
        loop {
            match kernel.signalfd_read(fd.borrow(), &mut records) {
                Ok(count) => {
                    for record in records.iter().take(count) {
                        if let Some(signal) = Signal::from_raw(record.number as i32) {
                            counts.add(signal, 1);
                        }
                    }
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::from_call(Call::Signalfd, errno)),
            }
        }
    }

    /// Gives the thread its signal mask back. What is pending is taken first, so that it does not strike now (S-3).
    pub(crate) fn restore(&mut self, kernel: &K) {
        if !self.blocked.is_empty() {
            let _ = self.take(kernel, &mut SignalCounts::new());
            let _ = kernel.signal_mask(MaskChange::Unblock, self.blocked);
            self.blocked = SignalSet::EMPTY;
        }
    }
}
