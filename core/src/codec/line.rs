//! Lines.

#![forbid(unsafe_code)]

use super::{Codec, Decoded, Envelope, Frame, FrameError, within};

/// Lines of text, which end with a newline, or with a carriage return and a newline; neither is part of the message.
///
/// What was received can be sent: a message that ends with a carriage return itself is sent with another and a newline after it.
///
/// ```
/// use linux_event_core::codec::{Codec, Decoded, FrameError, Line};
///
/// let mut codec = Line::new(5);
/// assert!(matches!(codec.decode(b"12345\r\n"), Ok(Decoded::Frame(frame)) if frame.message == (0..5)));
/// assert_eq!(codec.decode(b"1234567"), Err(FrameError::TooLong { limit: 5 })); // whatever comes after
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Line {
    limit: usize,
    /// Bytes in which there is no newline: INV-CODEC-2.
    scanned: usize,
    takes_last: bool,
    sends_return: bool,
}

impl Line {
    /// Lines of at most `limit` bytes, without their end. A newline is written after what is sent, and before it a carriage return
    /// if what is sent ends with one: else that would be taken for the end.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            scanned: 0,
            takes_last: false,
            sends_return: false,
        }
    }

    /// Takes what is left at the end of the stream for a line without an end.
    #[must_use]
    pub const fn take_last(mut self) -> Self {
        self.takes_last = true;
        self
    }

    /// Writes a carriage return before the newline, as HTTP, SMTP and others ask for.
    #[must_use]
    pub const fn send_return(mut self) -> Self {
        self.sends_return = true;
        self
    }

    /// Where a line of `bytes` ends, its newline left out.
    fn message_end(bytes: &[u8]) -> usize {
        bytes.len() - usize::from(bytes.last() == Some(&b'\r'))
    }
}

#[cfg(test)]
impl Line {
    pub(super) const fn scanned(&self) -> usize {
        self.scanned
    }
}

impl Codec for Line {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        // Nothing beyond the longest line and its end needs looking at.
        let most = self.limit.saturating_add(2).saturating_sub(self.scanned);
        let looked_at = fresh.get(..most).unwrap_or(fresh);
        let Some(at) = looked_at.iter().position(|&byte| byte == b'\n') else {
            self.scanned = bytes.len() - fresh.len() + looked_at.len();
            // The last byte may be the carriage return of the end.
            let line = bytes.get(..self.scanned).unwrap_or_default();
            within(Self::message_end(line), self.limit)?;
            return Ok(Decoded::More { bytes_min: 1 });
        };
        let newline = self.scanned + at;
        self.scanned = 0;
        let end = Self::message_end(bytes.get(..newline).unwrap_or_default());
        within(end, self.limit)?;
        Ok(Decoded::Frame(Frame {
            message: 0..end,
            consumed: newline + 1,
        }))
    }

    fn decode_end(&mut self, bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if !self.takes_last {
            return Err(FrameError::Incomplete);
        }
        within(bytes.len(), self.limit)?;
        self.scanned = 0;
        Ok(Some(Frame {
            message: 0..bytes.len(),
            consumed: bytes.len(),
        }))
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        within(message.len(), self.limit)?;
        if message.contains(&b'\n') {
            return Err(FrameError::Unencodable("a line has no newline in it"));
        }
        let mut envelope = Envelope::EMPTY;
        let end: &[u8] = if self.sends_return || message.last() == Some(&b'\r') {
            b"\r\n"
        } else {
            b"\n"
        };
        let _ = envelope.tail.extend_from_slice(end);
        Ok(envelope)
    }
}
