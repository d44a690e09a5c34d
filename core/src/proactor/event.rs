//! What a proactor yields.

#![forbid(unsafe_code)]

use super::backend::Backend;
use crate::clock::Instant;
use crate::errno::Errno;
use crate::handle::{Op, ProcessWatch, Subscription, TimerId};
use crate::pid::ExitStatus;
use crate::signal::Signal;

/// Something that happened, with the data of what was registered for it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<D, B: Backend> {
    /// An operation completed.
    Completion(Completion<D, B>),
    /// A timer is due (T-2, T-6): a success, not an error (P-9).
    Timer {
        /// Which timer. Stale already, unless it is periodic.
        timer: TimerId,
        /// When it was due.
        deadline: Instant,
        /// How many periods have passed, at least 1; always 1 if it is not periodic.
        expirations: u64,
        /// The timer's data.
        data: D,
    },
    /// A signal came (S-1).
    Signal {
        /// Which subscription.
        subscription: Subscription,
        /// Which signal.
        signal: Signal,
        /// How often, at least.
        count: u32,
        /// The subscription's data.
        data: D,
    },
    /// Somebody woke the loop (W-1).
    Wakeup {
        /// How often since the last such event.
        count: u64,
    },
    /// A process ended (C-1). Its handle is stale already.
    Exit {
        /// Which watch.
        process: ProcessWatch,
        /// The process.
        pid: i32,
        /// How it ended: see the reactor's [`Event::Exit`](crate::reactor::Event::Exit).
        status: Result<Option<ExitStatus>, Errno>,
        /// The watch's data.
        data: D,
    },
}

/// What came of an operation, once (P-3): one that is not the last has `more`.
#[derive(Debug)]
pub struct Completion<D, B: Backend> {
    /// Which operation. Stale already, unless `more`.
    pub op: Op,
    /// Its data.
    pub data: D,
    /// What the kernel said: at least 0, or an errno negated. [`outcome`](Self::outcome) reads it.
    pub result: i32,
    /// Whether the operation goes on: a multishot one that has not ended, a zero-copy send whose buffer is still out.
    pub more: bool,
    /// What it gives back.
    pub payload: Payload<B>,
}

/// What a completion gives back.
#[derive(Debug)]
pub enum Payload<B: Backend> {
    /// Nothing.
    Nothing,
    /// The operation's buffer, with its last completion, whatever came of it (P-6).
    Buffer(B::Buf),
    /// Several buffers: [`Proactor::take_vectors`](super::Proactor::take_vectors) has them until the next
    /// [`next`](super::Proactor::next).
    Vectors,
    /// A new descriptor: of accept, socket, open. Dropping it closes it.
    Descriptor(B::Fd),
    /// A provided buffer, filled: dropping it gives it back (P-16).
    Lease(B::Lease),
}

impl<D, B: Backend> Completion<D, B> {
    /// The result: a number of bytes, a set of bits, or 0, as the operation says.
    ///
    /// # Errors
    /// What the kernel refused it with; ECANCELED if it was cancelled.
    #[inline(always)]
    pub fn outcome(&self) -> Result<u32, Errno> {
        if self.result >= 0 {
            Ok(self.result as u32)
        } else {
            Err(Errno::from_raw(self.result.wrapping_neg()).unwrap_or(Errno::EIO))
        }
    }

    /// Whether it ended because it was cancelled (P-4).
    pub fn is_cancelled(&self) -> bool {
        self.result == -Errno::ECANCELED.raw()
    }

    /// The buffer, if it brings one.
    #[inline(always)]
    pub fn into_buffer(self) -> Option<B::Buf> {
        match self.payload {
            Payload::Buffer(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// The descriptor, if it brings one.
    #[inline(always)]
    pub fn into_descriptor(self) -> Option<B::Fd> {
        match self.payload {
            Payload::Descriptor(fd) => Some(fd),
            _ => None,
        }
    }

    /// The provided buffer, if it brings one.
    #[inline(always)]
    pub fn into_lease(self) -> Option<B::Lease> {
        match self.payload {
            Payload::Lease(lease) => Some(lease),
            _ => None,
        }
    }
}
