//! Messages of one length.

#![forbid(unsafe_code)]

use core::num::NonZeroUsize;

use super::{Codec, Decoded, Envelope, FrameError, announced};

/// Messages that all have the same number of bytes, and nothing between them.
///
/// ```
/// use core::num::NonZeroUsize;
/// use linux_event_core::codec::{Codec, Decoded, Fixed};
///
/// let mut codec = Fixed::new(NonZeroUsize::new(4).unwrap());
/// assert_eq!(codec.decode(b"abc"), Ok(Decoded::More { bytes_min: 1 }));
/// assert!(matches!(codec.decode(b"abcdef"), Ok(Decoded::Frame(frame)) if frame.message == (0..4)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    length: NonZeroUsize,
}

impl Fixed {
    /// Messages of `length` bytes.
    pub const fn new(length: NonZeroUsize) -> Self {
        Self { length }
    }
}

impl Codec for Fixed {
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, FrameError> {
        announced(bytes, 0, self.length.get(), 0)
    }

    fn envelope(&self, message: &[u8]) -> Result<Envelope, FrameError> {
        if message.len() == self.length.get() {
            Ok(Envelope::EMPTY)
        } else {
            Err(FrameError::Unencodable("it does not have the one length"))
        }
    }
}
