//! Errors of a loop with closures.

#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::fmt;
use std::io;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;

/// What a callback's error becomes.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error of a [`Loop`](crate::Loop).
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The loop or the kernel refused: see [`linux_event_core::error::Error`], which says what to do.
    Loop(LoopError),
    /// A callback returned this, which stopped the loop.
    Callback(BoxError),
    /// The kernel refused a call of the [net](crate::net) layer.
    Socket {
        /// Which: the call's name as its manual page has it.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
}

impl Error {
    /// The kernel's errno, where it gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Loop(error) => error.errno(),
            Self::Callback(_) => None,
            Self::Socket { errno, .. } => Some(*errno),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop(error) => error.fmt(f),
            Self::Callback(error) => write!(f, "a callback failed: {error}"),
            Self::Socket { call, errno } => write!(f, "{call}: {errno}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Loop(error) => Some(error),
            Self::Callback(error) => Some(&**error),
            Self::Socket { .. } => None,
        }
    }
}

impl From<LoopError> for Error {
    fn from(error: LoopError) -> Self {
        Self::Loop(error)
    }
}

impl PartialEq<LoopError> for Error {
    fn eq(&self, other: &LoopError) -> bool {
        matches!(self, Self::Loop(error) if error == other)
    }
}

impl From<Error> for io::Error {
    /// Keeps the errno, where there is one, so that `kind()` and `raw_os_error()` tell.
    fn from(error: Error) -> Self {
        match error.errno() {
            Some(errno) => Self::from_raw_os_error(errno.raw()),
            None => Self::other(error),
        }
    }
}

/// What a callback may return: nothing, or a `Result` whose error stops the loop and comes out of
/// [`run`](crate::Loop::run).
///
/// The loop can go on: [`run`](crate::Loop::run) again. Where one connection's trouble is not the program's, as in a server,
/// deal with it in the callback (close the connection) and return `Ok`: a `?` ends them all.
pub trait Outcome {
    /// The error, boxed.
    ///
    /// # Errors
    /// The callback's own.
    fn into_result(self) -> Result<(), BoxError>;
}

impl Outcome for () {
    #[inline(always)]
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> Outcome for Result<(), E> {
    #[inline(always)]
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}
