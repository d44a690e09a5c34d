//! Every codec on hostile bytes: the frames are the same whatever the pieces, stay within the limit, and encode to what they were
//! decoded from (but for lines, which have two ends); what is encoded decodes to the same.
#![no_main]

use std::num::NonZeroUsize;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use linux_event_core::codec::{
    Codec, DecimalLength, Decoded, Delimited, Endian, Fixed, FrameError, LengthPrefix, Line,
    Netstring, Varint, Width,
};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Which {
    Line { returns: bool },
    Delimited([u8; 4], u8),
    Fixed,
    LengthPrefix { width: u8, is_big: bool },
    Netstring,
    Varint,
    DecimalLength(u8),
}

#[derive(Arbitrary, Debug)]
struct Input {
    which: Which,
    limit: u16,
    pieces: Vec<u8>,
    stream: Vec<u8>,
}

impl Which {
    fn codec(self, limit: usize) -> Option<(Box<dyn Codec>, usize)> {
        Some(match self {
            Self::Line { returns: false } => (Box::new(Line::new(limit)), limit),
            Self::Line { returns: true } => (Box::new(Line::new(limit).send_return()), limit),
            Self::Delimited(bytes, count) => {
                let count = usize::from(count % 4) + 1;
                (Box::new(Delimited::new(&bytes[..count], limit)?), limit)
            }
            Self::Fixed => (Box::new(Fixed::new(NonZeroUsize::new(limit)?)), limit),
            Self::LengthPrefix { width, is_big } => {
                let (width, max) = match width % 3 {
                    0 => (Width::One, 255),
                    1 => (Width::Two, 65_535),
                    _ => (Width::Four, usize::MAX),
                };
                let endian = if is_big { Endian::Big } else { Endian::Little };
                let codec = LengthPrefix::new(width, endian, limit);
                (Box::new(codec), limit.min(max))
            }
            Self::Netstring => (Box::new(Netstring::new(limit)), limit),
            Self::Varint => (Box::new(Varint::new(limit)), limit),
            Self::DecimalLength(separator) => {
                let codec = DecimalLength::with_separator(limit, separator)?;
                (Box::new(codec), limit)
            }
        })
    }
}

/// What comes of a stream in pieces.
fn decode(
    codec: &mut dyn Codec,
    limit: usize,
    stream: &[u8],
    pieces: &[u8],
) -> (Vec<Vec<u8>>, usize, Option<FrameError>) {
    let (mut begin, mut end, mut messages) = (0, 0, Vec::new());
    let mut pieces = pieces.iter().cycle();
    loop {
        match codec.decode(&stream[begin..end]) {
            Ok(Decoded::Frame(frame)) => {
                assert!(frame.consumed > 0 && frame.consumed <= end - begin);
                assert!(frame.message.end <= frame.consumed && frame.message.len() <= limit);
                messages.push(stream[begin..end][frame.message].to_vec());
                begin += frame.consumed;
            }
            Ok(Decoded::More { bytes_min }) => {
                assert!(bytes_min > 0);
                if end == stream.len() {
                    return (messages, begin, codec.decode_end(&stream[begin..]).err());
                }
                let piece = pieces
                    .next()
                    .map_or(stream.len(), |&piece| usize::from(piece).max(1));
                end = (end + piece).min(stream.len());
            }
            Err(error) => return (messages, begin, Some(error)),
        }
    }
}

fuzz_target!(|input: Input| {
    let limit = usize::from(input.limit);
    let Some((mut whole, limit)) = input.which.codec(limit) else {
        return;
    };
    let Some((mut parts, _)) = input.which.codec(usize::from(input.limit)) else {
        return;
    };
    let expected = decode(&mut *whole, limit, &input.stream, &[]);
    assert_eq!(
        decode(&mut *parts, limit, &input.stream, &input.pieces),
        expected
    );
    // What was decoded can be encoded, and is the same again; of two forms only lines accept both.
    let mut again = Vec::new();
    for message in &expected.0 {
        let mut frame = vec![0; message.len() + 40];
        let count = whole.encode(message, &mut frame).expect("it was decoded");
        again.extend_from_slice(&frame[..count]);
    }
    if !matches!(input.which, Which::Line { .. }) {
        assert_eq!(again, &input.stream[..expected.1]);
    }
    let Some((mut back, _)) = input.which.codec(usize::from(input.limit)) else {
        return;
    };
    assert_eq!(
        decode(&mut *back, limit, &again, &input.pieces).0,
        expected.0
    );
});
