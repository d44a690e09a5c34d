//! Lengths in decimal digits.

#![forbid(unsafe_code)]

use super::{Codec, Decoded, Envelope, FrameError, HEAD_MAX, announced, within};

/// A length that is written at the beginning of what has come.
pub(super) enum Length {
    /// Its digits and the byte after them have come: the length, and how many bytes those are.
    Read(usize, usize),
    /// They have not.
    More,
}

/// Reads a length in its shortest form, and `separator` after it. At most `limit`.
pub(super) fn read(bytes: &[u8], separator: u8, limit: usize) -> Result<Length, FrameError> {
    let mut length = 0usize;
    for (nth, &byte) in bytes.iter().enumerate() {
        if byte == separator {
            return match nth {
                0 => Err(FrameError::Malformed("a length has no digit")),
                _ => Ok(Length::Read(length, nth + 1)),
            };
        }
        if !byte.is_ascii_digit() {
            return Err(FrameError::Malformed(
                "a length has something else than digits",
            ));
        }
        if nth > 0 && length == 0 {
            return Err(FrameError::Malformed("a length begins with a zero"));
        }
        let digit = usize::from(byte - b'0');
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(digit))
            .ok_or(FrameError::TooLong { limit })?;
        within(length, limit)?;
    }
    Ok(Length::More)
}

/// Writes a length and `separator` before a message.
pub(super) fn write(length: usize, separator: u8) -> Envelope {
    let mut digits = heapless::Vec::<u8, HEAD_MAX>::new();
    let _ = digits.push(separator);
    let mut left = length;
    loop {
        let _ = digits.push(b'0' + (left % 10) as u8);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    digits.reverse();
    Envelope {
        head: digits,
        ..Envelope::EMPTY
    }
}

/// Messages with their length before them in decimal digits, and a byte between the two: the octet counting of RFC 6587, as syslog
/// has it over TCP. Lengths have no leading zero.
///
/// ```
/// use linux_event_core::codec::{Codec, DecimalLength, Decoded};
///
/// let mut codec = DecimalLength::new(1000);
/// assert!(matches!(codec.decode(b"5 hello3 b"), Ok(Decoded::Frame(frame)) if frame.message == (2..7)));
/// assert_eq!(codec.decode(b"3 b"), Ok(Decoded::More { bytes_min: 2 }));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DecimalLength {
    separator: u8,
    limit: usize,
}

impl DecimalLength {
    /// Messages of at most `limit` bytes, with a space after the length.
    pub const fn new(limit: usize) -> Self {
        Self {
            separator: b' ',
            limit,
        }
    }

    /// The same with another byte after the length; `None` if that is a digit.
    pub const fn with_separator(limit: usize, separator: u8) -> Option<Self> {
        if separator.is_ascii_digit() {
            None
        } else {
            Some(Self { separator, limit })
        }
    }
}

impl Codec for DecimalLength {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        match read(bytes, self.separator, self.limit)? {
            Length::Read(length, head) => announced(bytes, head, length, 0),
            Length::More => Ok(Decoded::More { bytes_min: 1 }),
        }
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        within(message.len(), self.limit)?;
        Ok(write(message.len(), self.separator))
    }
}
