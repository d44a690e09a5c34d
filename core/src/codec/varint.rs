//! Messages with their length before them, as a number of variable width.

#![forbid(unsafe_code)]

use super::{Codec, Decoded, Envelope, FrameError, announced, within};

/// Messages with their length before them in LEB128, as protocol buffers delimit them: seven bits a byte, the lowest first, and
/// the eighth says whether more follow. Of the ways to write a length only the shortest is accepted.
///
/// ```
/// use linux_event_core::codec::{Codec, Decoded, FrameError, Varint};
///
/// let mut codec = Varint::new(1000);
/// assert!(matches!(codec.decode(b"\x02hi"), Ok(Decoded::Frame(frame)) if frame.message == (1..3)));
/// assert!(matches!(codec.decode(b"\x82\x00hi"), Err(FrameError::Malformed(_)))); // 2, written longer
/// let mut out = [0; 8];
/// assert_eq!(codec.encode(b"hi", &mut out), Ok(3));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Varint {
    limit: usize,
}

impl Varint {
    /// Messages of at most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl Codec for Varint {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        let mut length = 0usize;
        // A length that is too long is seen as such by its tenth byte, whatever the limit.
        for (nth, &byte) in bytes.iter().enumerate() {
            let bits = usize::from(byte & 0x7f);
            let shift = 7 * nth as u32;
            let is_padding = bits == 0 && nth > 0 && byte < 0x80;
            if is_padding {
                return Err(FrameError::Malformed(
                    "a length is written longer than it needs",
                ));
            }
            let part = bits.checked_shl(shift).filter(|part| part >> shift == bits);
            let Some(part) = part else {
                return Err(FrameError::TooLong { limit: self.limit });
            };
            length |= part;
            within(length, self.limit)?;
            if byte < 0x80 {
                return announced(bytes, nth + 1, length, 0);
            }
        }
        Ok(Decoded::More { bytes_min: 1 })
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        within(message.len(), self.limit)?;
        let mut envelope = Envelope::EMPTY;
        let mut left = message.len();
        loop {
            let more = if left > 0x7f { 0x80 } else { 0 };
            let _ = envelope.head.push((left & 0x7f) as u8 | more);
            left >>= 7;
            if left == 0 {
                return Ok(envelope);
            }
        }
    }
}
