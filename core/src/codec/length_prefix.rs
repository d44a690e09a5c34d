//! Messages with their length before them, as a number of fixed width.

#![forbid(unsafe_code)]

use super::{Codec, Decoded, Envelope, FrameError, announced, with_head, within};

/// How many bytes a length has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One: messages of up to 255 bytes.
    One,
    /// Two: up to 65,535 bytes.
    Two,
    /// Four: up to 4 GiB.
    Four,
}

impl Width {
    const fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    const fn max(self) -> usize {
        match self {
            Self::One => u8::MAX as usize,
            Self::Two => u16::MAX as usize,
            Self::Four => u32::MAX as usize,
        }
    }
}

/// Which byte of a length comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// The most significant one: network byte order.
    Big,
    /// The least significant one.
    Little,
}

/// Messages with their length before them, in 1, 2 or 4 bytes.
///
/// ```
/// use linux_event_core::codec::{Codec, Decoded, Endian, FrameError, LengthPrefix, Width};
///
/// let mut codec = LengthPrefix::new(Width::Two, Endian::Big, 1000);
/// assert_eq!(codec.decode(b"\x00\x05hel"), Ok(Decoded::More { bytes_min: 2 }));
/// assert!(matches!(codec.decode(b"\x00\x05hello"), Ok(Decoded::Frame(frame)) if frame.message == (2..7)));
/// // What is too long is refused before it has come.
/// assert_eq!(codec.decode(b"\xff\xff"), Err(FrameError::TooLong { limit: 1000 }));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefix {
    width: Width,
    endian: Endian,
    limit: usize,
}

impl LengthPrefix {
    /// Messages of at most `limit` bytes, and no more than the width can say.
    pub const fn new(width: Width, endian: Endian, limit: usize) -> Self {
        let max = width.max();
        Self {
            width,
            endian,
            limit: if limit < max { limit } else { max },
        }
    }
}

impl Codec for LengthPrefix {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        let width = self.width.bytes();
        let Some(head) = bytes.get(..width) else {
            return Ok(Decoded::More {
                bytes_min: width - bytes.len(),
            });
        };
        let append = |length: usize, &byte: &u8| length << 8 | usize::from(byte);
        let length = match self.endian {
            Endian::Big => head.iter().fold(0, append),
            Endian::Little => head.iter().rev().fold(0, append),
        };
        within(length, self.limit)?;
        announced(bytes, width, length, 0)
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        within(message.len(), self.limit)?;
        let width = self.width.bytes();
        let length = message.len() as u32; // the limit is no more than the width can say
        Ok(match self.endian {
            Endian::Big => with_head(length.to_be_bytes().split_at(4 - width).1),
            Endian::Little => with_head(length.to_le_bytes().split_at(width).0),
        })
    }
}
