//! Messages with a mark after each.

#![forbid(unsafe_code)]

use super::{Codec, Decoded, Envelope, Frame, FrameError, TAIL_MAX, within};

/// Bytes of a delimiter, at most.
pub const DELIMITER_MAX: usize = TAIL_MAX;

/// Messages that each end with a delimiter, which is not part of them, and is not found inside them.
///
/// ```
/// use linux_event_core::codec::{Codec, Decoded, Delimited};
///
/// let mut codec = Delimited::new(b"--", 1000).unwrap();
/// assert!(matches!(codec.decode(b"a-b--c"), Ok(Decoded::Frame(frame)) if frame.message == (0..3)));
/// assert_eq!(codec.decode(b"c"), Ok(Decoded::More { bytes_min: 2 }));
/// assert_eq!(codec.decode(b"c-"), Ok(Decoded::More { bytes_min: 1 }));
/// assert!(codec.envelope(b"a--b").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Delimited {
    delimiter: heapless::Vec<u8, DELIMITER_MAX>,
    limit: usize,
    /// No delimiter begins before it: INV-CODEC-2.
    scanned: usize,
}

impl Delimited {
    /// Messages of at most `limit` bytes with `delimiter` after each; `None` if that is empty, or has more than
    /// [`DELIMITER_MAX`] bytes.
    pub fn new(delimiter: &[u8], limit: usize) -> Option<Self> {
        if delimiter.is_empty() {
            return None;
        }
        Some(Self {
            delimiter: heapless::Vec::from_slice(delimiter).ok()?,
            limit,
            scanned: 0,
        })
    }

    /// Where the first delimiter begins that begins at `from` or after it.
    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let fresh = bytes.get(from..)?;
        let mut windows = fresh.windows(self.delimiter.len());
        windows
            .position(|window| window == &*self.delimiter)
            .map(|at| from + at)
    }

    /// How many bytes of the delimiter are missing, if `bytes` ends with its beginning and it is the message's.
    fn missing(&self, bytes: &[u8]) -> usize {
        let longest = self.delimiter.len() - 1;
        let begun = (1..=longest.min(bytes.len()))
            .rev()
            .find(|&count| bytes.ends_with(self.delimiter.get(..count).unwrap_or_default()));
        self.delimiter.len() - begun.unwrap_or(0)
    }
}

#[cfg(test)]
impl Delimited {
    pub(super) const fn scanned(&self) -> usize {
        self.scanned
    }
}

impl Codec for Delimited {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        let length = self.delimiter.len();
        // Nothing beyond the longest message and its delimiter needs looking at.
        let most = self.limit.saturating_add(length);
        let looked_at = bytes.get(..most).unwrap_or(bytes);
        if let Some(end) = self.find(looked_at, self.scanned) {
            self.scanned = 0;
            return Ok(Decoded::Frame(Frame {
                message: 0..end,
                consumed: end + length,
            }));
        }
        if bytes.len() >= most {
            return Err(FrameError::TooLong { limit: self.limit });
        }
        self.scanned = (bytes.len() + 1).saturating_sub(length).max(self.scanned);
        let bytes_min = self.missing(bytes);
        // The delimiter must begin by the limit: what is there already may rule that out.
        within(bytes.len() + bytes_min - length, self.limit)?;
        Ok(Decoded::More { bytes_min })
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        within(message.len(), self.limit)?;
        if self.find(message, 0).is_some() {
            return Err(FrameError::Unencodable("it has the delimiter in it"));
        }
        // Nor may one begin in the message and end in the delimiter that follows.
        let overlap = self.delimiter.len() - 1;
        let last = message
            .get(message.len().saturating_sub(overlap)..)
            .unwrap_or_default();
        let mut seam = heapless::Vec::<u8, { 2 * DELIMITER_MAX }>::new();
        let _ = seam.extend_from_slice(last);
        let _ = seam.extend_from_slice(&self.delimiter);
        if self.find(&seam, 0) != Some(last.len()) {
            return Err(FrameError::Unencodable(
                "its end and the delimiter would be read as the delimiter",
            ));
        }
        Ok(Envelope {
            tail: self.delimiter.clone(),
            ..Envelope::EMPTY
        })
    }
}
