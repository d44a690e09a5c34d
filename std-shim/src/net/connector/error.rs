//! Why there is no connection.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use linux_event_core::errno::Errno;

use super::super::address::Address;

/// An address that was tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The address.
    pub address: Address,
    /// The system call that failed: `socket`, `setsockopt`, `bind` or `connect`.
    pub call: &'static str,
    /// Why: ECONNREFUSED, ENETUNREACH, ENOENT, EMFILE …
    pub errno: Errno,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            call,
            errno,
        } = self;
        match *call {
            "connect" => write!(f, "{address}: {errno}"),
            call => write!(f, "{address}: {call}: {errno}"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name was not resolved.
    Resolve(io::Error),
    /// The name has no address.
    NoAddress,
    /// Every address has failed: at least one, in the order of failing.
    Failed(Vec<Failure>),
    /// It took longer than the timeout. What had failed before, in that order; other addresses had not answered, or were not
    /// tried yet.
    TimedOut(Vec<Failure>),
}

impl ConnectError {
    /// The addresses that failed, in the order of failing.
    pub fn failures(&self) -> &[Failure] {
        match self {
            Self::Failed(failures) | Self::TimedOut(failures) => failures,
            Self::Resolve(_) | Self::NoAddress => &[],
        }
    }

    /// The kernel's errno, where it gave one: that of the last address that failed; ETIMEDOUT for the timeout.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Failed(failures) => failures.last().map(|failure| failure.errno),
            Self::TimedOut(_) => Some(Errno::ETIMEDOUT),
            Self::Resolve(error) => error.raw_os_error().and_then(Errno::from_raw),
            Self::NoAddress => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => return error.fmt(f),
            Self::NoAddress => return f.write_str("the name has no address"),
            Self::TimedOut(_) => f.write_str("connecting took too long")?,
            Self::Failed(_) => {}
        }
        let is_timeout = matches!(self, Self::TimedOut(_));
        for (index, failure) in self.failures().iter().enumerate() {
            let between = if index > 0 || is_timeout { "; " } else { "" };
            write!(f, "{between}{failure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_said_address_by_address() {
        let failure = |port: u16, call, errno| Failure {
            address: Address::Internet(([127, 0, 0, 1], port).into()),
            call,
            errno,
        };
        let failures = vec![
            failure(1, "socket", Errno::EMFILE),
            failure(2, "connect", Errno::ECONNREFUSED),
        ];
        let expected = format!(
            "127.0.0.1:1: socket: {}; 127.0.0.1:2: {}",
            Errno::EMFILE,
            Errno::ECONNREFUSED
        );
        let failed = ConnectError::Failed(failures.clone());
        assert_eq!(failed.to_string(), expected);
        assert_eq!(failed.errno(), Some(Errno::ECONNREFUSED));
        let timed_out = ConnectError::TimedOut(failures);
        let expected = format!("connecting took too long; {expected}");
        assert_eq!(timed_out.to_string(), expected);
        assert_eq!(timed_out.errno(), Some(Errno::ETIMEDOUT));
    }
}
