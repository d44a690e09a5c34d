//! Netstrings.

#![forbid(unsafe_code)]

use super::digits::{self, Length};
use super::{Codec, Decoded, Envelope, FrameError, announced, within};

/// Netstrings: `5:hello,`. Lengths have no leading zero.
///
/// ```
/// use linux_event_core::codec::{Codec, Decoded, FrameError, Netstring};
///
/// let mut codec = Netstring::new(1000);
/// assert!(matches!(codec.decode(b"5:hello,"), Ok(Decoded::Frame(frame)) if frame.message == (2..7)));
/// assert!(matches!(codec.decode(b"05:hello,"), Err(FrameError::Malformed(_))));
/// assert_eq!(codec.decode(b"1001"), Err(FrameError::TooLong { limit: 1000 })); // as soon as it is seen
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Netstring {
    limit: usize,
}

impl Netstring {
    /// Messages of at most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl Codec for Netstring {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        let Length::Read(length, head) = digits::read(bytes, b':', self.limit)? else {
            return Ok(Decoded::More { bytes_min: 1 });
        };
        let decoded = announced(bytes, head, length, 1)?;
        if let Decoded::Frame(frame) = &decoded
            && bytes.get(frame.message.end) != Some(&b',')
        {
            return Err(FrameError::Malformed("a netstring ends without a comma"));
        }
        Ok(decoded)
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        within(message.len(), self.limit)?;
        let mut envelope = digits::write(message.len(), b':');
        let _ = envelope.tail.push(b',');
        Ok(envelope)
    }
}
