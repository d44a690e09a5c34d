//! What goes wrong with a stream.

#![forbid(unsafe_code)]

use std::fmt;

use linux_event_core::codec::FrameError;
use linux_event_core::errno::Errno;

use crate::error::BoxError;

/// What ended a stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// The kernel refused to read or write: ECONNRESET, EPIPE, ETIMEDOUT …
    Io(Errno),
    /// What came is no message, or one that is too long.
    Message(FrameError),
    /// A time limit has passed.
    TimedOut(Timeout),
    /// What the [transport](super::Transport) said.
    Transport(BoxError),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(errno) => errno.fmt(f),
            Self::Message(error) => error.fmt(f),
            Self::TimedOut(what) => write!(f, "timed out: {what}"),
            Self::Transport(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

/// Which time limit of a stream has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// Nothing came, and nothing went.
    Idle,
    /// Nothing came.
    Read,
    /// Something is queued, and nothing of it went.
    Write,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "nothing came and nothing went",
            Self::Read => "nothing came",
            Self::Write => "the peer does not read",
        })
    }
}

/// A write was not taken: nothing of it was queued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The stream is closed, or about to be.
    Closed,
    /// Its writing side was [ended](super::Stream::end).
    Ended,
    /// More would be queued than [`pending_max`](super::StreamBuilder::pending_max) allows.
    Full {
        /// Bytes that are queued.
        pending: usize,
        /// The limit.
        limit: usize,
    },
    /// The codec can't carry the message.
    Message(FrameError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the stream is closed"),
            Self::Ended => f.write_str("the stream's writing side was ended"),
            Self::Full { pending, limit } => write!(
                f,
                "{pending} bytes wait to be sent: a write would pass the limit of {limit}"
            ),
            Self::Message(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<WriteError> for crate::Error {
    fn from(error: WriteError) -> Self {
        Self::Callback(error.into())
    }
}
