//! The command line.

#![forbid(unsafe_code)]

use core::time::Duration;

use static_start::Arguments;

use crate::failure::Failure;

/// Which of the two models serves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Model {
    Reactor,
    Proactor,
}

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) model: Model,
    /// After so long without anything to do a connection is closed.
    pub(crate) idle: Duration,
    pub(crate) port: u16,
}

impl Options {
    pub(crate) fn parse(arguments: Arguments) -> Result<Self, Failure> {
        let mut options = Self {
            model: Model::Reactor,
            idle: Duration::from_mins(1),
            port: 0,
        };
        let bytes = |index| arguments.raw(index).map(core::ffi::CStr::to_bytes);
        let mut at = 1;
        loop {
            match (bytes(at), bytes(at + 1)) {
                (Some(b"--model"), Some(b"reactor")) => options.model = Model::Reactor,
                (Some(b"--model"), Some(b"proactor")) => options.model = Model::Proactor,
                (Some(b"--idle"), Some(seconds)) => {
                    let seconds = number(seconds).filter(|&seconds| seconds > 0);
                    options.idle = Duration::from_secs(seconds.ok_or(Failure::Usage)?.into());
                }
                (Some(port), None) => {
                    let port = number(port).and_then(|port| port.try_into().ok());
                    options.port = port.ok_or(Failure::Usage)?;
                    return Ok(options);
                }
                _ => return Err(Failure::Usage),
            }
            at += 2;
        }
    }
}

/// A number in decimal digits.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u32;
    for digit in digits {
        let digit = u32::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(number)
}
