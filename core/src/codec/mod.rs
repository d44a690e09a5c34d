//! Codecs: where messages begin and end in a stream of bytes.
//!
//! **What.** A [`Codec`] finds the frames in what has come of a stream, and says what goes around a message that is sent.
//! There are [`Line`], [`Delimited`], [`Fixed`], [`LengthPrefix`], [`Netstring`], [`Varint`] and [`DecimalLength`]; others are a
//! trait away. Rule X-1.
//!
//! **Invariants.** *INV-CODEC-1*: whatever the pieces in which bytes come, the frames are the same. *INV-CODEC-2*: a call
//! looks at the bytes that are new, and at no more than [`HEAD_MAX`] of those before: nothing is quadratic. *INV-CODEC-3*: a
//! frame that is larger than the limit is refused as soon as that can be known: of a length that was announced, before its
//! bytes have come. *INV-CODEC-4*: what is encoded decodes to the same; what has two encodings is accepted in the shortest one
//! only. *INV-CODEC-5*: after an error nothing more can be made of the stream: where the next frame begins is not known.
//!
//! **Why this shape.** A codec owns no memory: it looks at the caller's buffer, and remembers how far. So it serves a vector that
//! grows, an array that does not, and a provided buffer in place. Encoding gives what stands before and after, and so a message
//! can be sent from where it is.
//!
//! ```
//! use linux_event_core::codec::{Codec, Decoded, Line};
//!
//! let mut codec = Line::new(80); // bytes, without the end of the line
//! let mut input = b"hello\r\nwor".to_vec(); // what has come so far
//!
//! let Decoded::Frame(frame) = codec.decode(&input)? else { panic!() };
//! assert_eq!(&input[frame.message.clone()], b"hello");
//! input.drain(..frame.consumed);
//!
//! assert!(matches!(codec.decode(&input)?, Decoded::More { .. })); // "wor" is looked at once
//! input.extend_from_slice(b"ld\n");
//! let Decoded::Frame(frame) = codec.decode(&input)? else { panic!() };
//! assert_eq!(&input[frame.message], b"world");
//!
//! let mut out = [0; 16];
//! let count = codec.encode(b"bye", &mut out)?;
//! assert_eq!(&out[..count], b"bye\n");
//! # Ok::<(), linux_event_core::codec::FrameError>(())
//! ```

#![forbid(unsafe_code)]

mod delimited;
mod digits;
mod fixed;
mod length_prefix;
mod line;
mod netstring;
mod varint;

#[cfg(test)]
mod tests;

use core::fmt;
use core::ops::Range;

pub use delimited::{DELIMITER_MAX, Delimited};
pub use digits::DecimalLength;
pub use fixed::Fixed;
pub use length_prefix::{Endian, LengthPrefix, Width};
pub use line::Line;
pub use netstring::Netstring;
pub use varint::Varint;

/// Bytes that stand before a message, at most.
pub const HEAD_MAX: usize = 24;
/// Bytes that stand after a message, at most.
pub const TAIL_MAX: usize = 16;

/// A frame that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the message is in the bytes that were looked at.
    pub message: Range<usize>,
    /// How many of those bytes are the frame's: the next one begins after them.
    pub consumed: usize,
}

/// What a codec finds at the beginning of what has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A frame. The caller removes its bytes before it asks again.
    Frame(Frame),
    /// None that is complete.
    More {
        /// How many bytes more there are to come of it, at the least: 1 or more.
        bytes_min: usize,
    },
}

/// What stands around a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Before it.
    pub head: heapless::Vec<u8, HEAD_MAX>,
    /// After it.
    pub tail: heapless::Vec<u8, TAIL_MAX>,
}

impl Envelope {
    /// Nothing at all.
    pub const EMPTY: Self = Self {
        head: heapless::Vec::new(),
        tail: heapless::Vec::new(),
    };

    /// Bytes of a frame with a message of `message` bytes; `None` if that is no number.
    pub fn frame_len(&self, message: usize) -> Option<usize> {
        message.checked_add(self.head.len() + self.tail.len())
    }
}

/// What a stream or a message has against a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// A message is, or would be, longer than the codec allows.
    TooLong {
        /// Bytes that a message may have.
        limit: usize,
    },
    /// What came is not as the codec has it; the text says how.
    Malformed(&'static str),
    /// The stream has ended inside a frame.
    Incomplete,
    /// The message can't be carried by this codec; the text says why.
    Unencodable(&'static str),
    /// The memory to encode into is too small.
    NoRoom {
        /// Bytes that the frame needs.
        needed: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "a message has more than {limit} bytes"),
            Self::Malformed(how) => write!(f, "not as the codec has it: {how}"),
            Self::Incomplete => f.write_str("the stream has ended inside a message"),
            Self::Unencodable(why) => write!(f, "the codec can't carry the message: {why}"),
            Self::NoRoom { needed } => write!(f, "the frame needs {needed} bytes"),
        }
    }
}

impl core::error::Error for FrameError {}

/// How a stream of bytes is made of messages. See the [module](self).
///
/// One of a user's own, where a message is a byte for its length, and that many bytes in capitals:
///
/// ```
/// use linux_event_core::codec::{Codec, Decoded, Envelope, Frame, FrameError};
///
/// struct Short;
///
/// impl Codec for Short {
///     fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
///         let Some(&length) = bytes.first() else {
///             return Ok(Decoded::More { bytes_min: 1 });
///         };
///         let consumed = 1 + usize::from(length);
///         if bytes.len() < consumed {
///             return Ok(Decoded::More { bytes_min: consumed - bytes.len() });
///         }
///         Ok(Decoded::Frame(Frame { message: 1..consumed, consumed }))
///     }
///
///     fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
///         let mut envelope = Envelope::EMPTY;
///         let length = u8::try_from(message.len()).map_err(|_| FrameError::TooLong { limit: 255 })?;
///         let _ = envelope.head.push(length);
///         Ok(envelope)
///     }
/// }
/// # let mut out = [0; 4];
/// # assert_eq!((Short.encode(b"abc", &mut out), out), (Ok(4), *b"\x03abc"));
/// ```
pub trait Codec {
    /// Looks for a frame at the beginning of `bytes`: of all that has come and was not consumed. From one call that found none to
    /// the next, bytes are added at the end and nothing else; after one that found a frame, its bytes are removed.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], [`FrameError::Malformed`]; the stream is of no more use then.
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError>;

    /// What to make of `bytes`, in which [`decode`](Self::decode) found no frame, now that the stream has ended.
    ///
    /// # Errors
    /// [`FrameError::Incomplete`], unless there is nothing left or the codec has frames that end with the stream.
    fn decode_end(&mut self, bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        if bytes.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::Incomplete)
        }
    }

    /// What stands around `message` when it is sent.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], [`FrameError::Unencodable`].
    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError>;

    /// Writes the frame of `message` to the beginning of `into`; returns how many bytes it has.
    ///
    /// # Errors
    /// As [`envelope`](Self::envelope); [`FrameError::NoRoom`], with nothing written.
    fn encode(&self, message: &[u8], into: &mut [u8]) -> Result<usize, FrameError> {
        let envelope = self.envelope(message)?;
        let needed = envelope.frame_len(message.len()).unwrap_or(usize::MAX);
        let mut rest = into
            .get_mut(..needed)
            .ok_or(FrameError::NoRoom { needed })?;
        for part in [&*envelope.head, message, &*envelope.tail] {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
        Ok(needed)
    }
}

impl<C: Codec + ?Sized> Codec for &mut C {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        (**self).decode(bytes)
    }

    fn decode_end(&mut self, bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        (**self).decode_end(bytes)
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        (**self).envelope(message)
    }
}

/// The frame of a message of `length` bytes after `head` bytes and before `tail`, if it has come.
#[inline]
fn announced(bytes: &[u8], head: usize, length: usize, tail: usize) -> Result<Decoded, FrameError> {
    let Some(consumed) = head.checked_add(length).and_then(|it| it.checked_add(tail)) else {
        return Err(FrameError::TooLong {
            limit: usize::MAX - head - tail,
        });
    };
    Ok(if bytes.len() < consumed {
        Decoded::More {
            bytes_min: consumed - bytes.len(),
        }
    } else {
        Decoded::Frame(Frame {
            message: head..head + length,
            consumed,
        })
    })
}

/// Whether a message of `length` bytes is within the limit.
#[inline]
fn within(length: usize, limit: usize) -> Result<(), FrameError> {
    if length > limit {
        Err(FrameError::TooLong { limit })
    } else {
        Ok(())
    }
}

/// A head of these bytes, or as many as fit: heads have at most `HEAD_MAX`.
fn with_head(bytes: &[u8]) -> Envelope {
    let mut envelope = Envelope::EMPTY;
    let _ = envelope.head.extend_from_slice(bytes);
    envelope
}
