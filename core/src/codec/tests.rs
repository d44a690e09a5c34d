//! X-1: codecs against what they promise, with bytes in any pieces.

extern crate std;

use core::num::NonZeroUsize;
use std::boxed::Box;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::{
    Codec, DecimalLength, Decoded, Delimited, Endian, Fixed, FrameError, LengthPrefix, Line,
    Netstring, Varint, Width,
};

const CASES: u32 = if cfg!(miri) { 1 } else { 200 };

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A codec by number, with a limit; and how long its messages may be.
fn codec(kind: u8, limit: usize, delimiter: &[u8]) -> (Box<dyn Codec>, usize) {
    let prefix = |width, endian| Box::new(LengthPrefix::new(width, endian, limit));
    let made: Box<dyn Codec> = match kind {
        0 => Box::new(Line::new(limit)),
        1 => Box::new(Line::new(limit).send_return()),
        2 => Box::new(Delimited::new(delimiter, limit).expect("a delimiter")),
        3 => {
            let length = NonZeroUsize::new(limit.max(1)).expect("not zero");
            return (Box::new(Fixed::new(length)), limit.max(1));
        }
        4 => return (prefix(Width::One, Endian::Big), limit.min(255)),
        5 => prefix(Width::Two, Endian::Big),
        6 => prefix(Width::Two, Endian::Little),
        7 => prefix(Width::Four, Endian::Big),
        8 => prefix(Width::Four, Endian::Little),
        9 => Box::new(Netstring::new(limit)),
        10 => Box::new(Varint::new(limit)),
        11 => Box::new(DecimalLength::new(limit)),
        _ => Box::new(DecimalLength::with_separator(limit, b'\n').expect("no digit")),
    };
    (made, limit)
}

const KINDS: u8 = 13;

/// What comes of a stream: the messages, how many bytes were theirs, and what ended it.
type Outcome = (Vec<Vec<u8>>, usize, Option<FrameError>);

/// Decodes a stream that comes in pieces, and checks each answer for itself.
fn decode(codec: &mut dyn Codec, limit: usize, stream: &[u8], pieces: &[usize]) -> Outcome {
    let (mut input, mut messages, mut consumed) = (Vec::new(), Vec::new(), 0);
    let mut pieces = pieces.iter().cycle();
    let mut rest = stream;
    loop {
        match codec.decode(&input) {
            Ok(Decoded::Frame(frame)) => {
                assert!(frame.consumed > 0 && frame.consumed <= input.len());
                assert!(
                    frame.message.start <= frame.message.end && frame.message.end <= frame.consumed
                );
                assert!(frame.message.len() <= limit);
                messages.push(input[frame.message].to_vec());
                input.drain(..frame.consumed);
                consumed += frame.consumed;
            }
            Ok(Decoded::More { bytes_min }) => {
                assert!(bytes_min > 0);
                if rest.is_empty() {
                    return (messages, consumed, codec.decode_end(&input).err());
                }
                let piece = pieces.next().copied().unwrap_or(1).clamp(1, rest.len());
                input.extend_from_slice(&rest[..piece]);
                rest = &rest[piece..];
            }
            Err(error) => return (messages, consumed, Some(error)),
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..9_usize, 1..6)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn x1_what_is_encoded_comes_out_the_same_in_any_pieces(
        kind in 0..KINDS,
        limit in 1..300_usize,
        delimiter in prop::collection::vec(0..3_u8, 1..5),
        messages in prop::collection::vec(prop::collection::vec(0..4_u8, 0..40), 0..12),
        pieces in pieces(),
    ) {
        let (mut codec, limit) = codec(kind, limit, &delimiter);
        let (mut stream, mut sent) = (Vec::new(), Vec::new());
        for message in messages {
            let mut frame = [0xEE; 80];
            match codec.encode(&message, &mut frame) {
                Ok(count) => {
                    stream.extend_from_slice(&frame[..count]);
                    sent.push(message);
                }
                Err(FrameError::TooLong { limit: told }) => {
                    prop_assert!(message.len() > limit && told == limit);
                }
                Err(FrameError::Unencodable(_)) => prop_assert!(kind <= 3),
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
        let consumed = stream.len();
        prop_assert_eq!(decode(&mut *codec, limit, &stream, &pieces), (sent, consumed, None));
    }

    #[test]
    #[cfg_attr(miri, ignore = "making its streams takes minutes there, and nothing here is unsafe")]
    fn x1_any_bytes_are_the_same_frames_in_any_pieces(
        kind in 0..KINDS,
        limit in 0..40_usize,
        delimiter in prop::collection::vec(0..3_u8, 1..5),
        // Bytes that mean something to one codec or another.
        stream in prop::collection::vec(
            prop_oneof![0..4_u8, Just(b'\n'), Just(b'\r'), b'0'..=b'9', Just(b':'), Just(b','), Just(b' '), any::<u8>()],
            0..120,
        ),
        cut in pieces(),
    ) {
        let (mut whole, limit) = codec(kind, limit, &delimiter);
        let (mut parts, _) = codec(kind, limit, &delimiter);
        let expected = decode(&mut *whole, limit, &stream, &[stream.len().max(1)]);
        let found = decode(&mut *parts, limit, &stream, &cut);
        prop_assert_eq!(&found, &expected);
        // What was decoded can be encoded, and is the same again.
        let mut again = Vec::new();
        for message in &expected.0 {
            let mut frame = vec![0; message.len() + 40];
            let count = whole.encode(message, &mut frame).expect("it was decoded");
            again.extend_from_slice(&frame[..count]);
        }
        let (mut back, _) = codec(kind, limit, &delimiter);
        prop_assert_eq!(&decode(&mut *back, limit, &again, &cut).0, &expected.0);
        // What has two forms is accepted in one only: encoded again, it is what came. Lines have two ends on purpose.
        if kind > 1 {
            prop_assert_eq!(&again[..], &stream[..expected.1]);
        }
    }

    #[test]
    fn x1_a_delimiter_is_found_where_a_search_finds_it(
        delimiter in prop::collection::vec(0..2_u8, 1..7),
        stream in prop::collection::vec(0..2_u8, 0..60),
        cut in pieces(),
    ) {
        let mut codec = Delimited::new(&delimiter, usize::MAX).expect("a delimiter");
        let (found, _, _) = decode(&mut codec, usize::MAX, &stream, &cut);
        let (mut expected, mut rest) = (Vec::new(), &stream[..]);
        while let Some(at) = rest.windows(delimiter.len()).position(|window| window == delimiter) {
            expected.push(rest[..at].to_vec());
            rest = &rest[at + delimiter.len()..];
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn x1_a_line_ends_with_a_newline_and_a_return_before_it_is_no_part_of_it() {
    let mut codec = Line::new(10);
    let (lines, _, end) = decode(&mut codec, 10, b"one\ntwo\r\n\n\r\n\rx\n", &[1]);
    assert_eq!(lines, [&b"one"[..], b"two", b"", b"", b"\rx"]);
    assert_eq!(end, None);
    let (lines, _, end) = decode(&mut Line::new(10), 10, b"one\npart", &[3]);
    assert_eq!((lines.len(), end), (1, Some(FrameError::Incomplete)));
    let frame = Line::new(10)
        .take_last()
        .decode_end(b"part")
        .expect("a frame");
    assert_eq!(frame.map(|frame| frame.message), Some(0..4));
}

#[test]
fn x1_a_limit_counts_the_message_and_is_kept_at_once() {
    let too_long = Err(FrameError::TooLong { limit: 4 });
    let at = |bytes: &[u8]| Line::new(4).decode(bytes).map(drop);
    assert_eq!(
        (at(b"1234"), at(b"1234\r"), at(b"1234\r\n")),
        (Ok(()), Ok(()), Ok(()))
    );
    assert_eq!(
        (at(b"12345"), at(b"12345\n"), at(b"1234\rx")),
        (too_long, too_long, too_long)
    );
    let at = |bytes: &[u8]| {
        Delimited::new(b"--", 4)
            .expect("one")
            .decode(bytes)
            .map(drop)
    };
    assert_eq!(
        (at(b"1234"), at(b"1234-"), at(b"1234--")),
        (Ok(()), Ok(()), Ok(()))
    );
    assert_eq!(
        (at(b"12345"), at(b"1234-5"), at(b"12345--")),
        (too_long, too_long, too_long)
    );
    // An announced length is enough.
    let four = |endian| LengthPrefix::new(Width::Four, endian, 4);
    assert_eq!(four(Endian::Big).decode(&[0, 0, 0, 5]).map(drop), too_long);
    assert_eq!(
        four(Endian::Little).decode(&[5, 0, 0, 0]).map(drop),
        too_long
    );
    assert_eq!(
        four(Endian::Little).decode(&[0, 0, 0, 0x80]).map(drop),
        too_long
    );
    assert_eq!(Netstring::new(4).decode(b"5").map(drop), too_long);
    assert_eq!(DecimalLength::new(4).decode(b"11").map(drop), too_long);
    assert_eq!(Varint::new(4).decode(&[5]).map(drop), too_long);
    assert_eq!(
        Varint::new(4).decode(&[0x85]).map(drop),
        too_long,
        "before its end"
    );
    let mut digits = Netstring::new(usize::MAX);
    let large = digits.decode(b"99999999999999999999999").map(drop);
    assert_eq!(large, Err(FrameError::TooLong { limit: usize::MAX }));
    let large = Varint::new(usize::MAX).decode(&[0xff; 11]).map(drop);
    assert_eq!(large, Err(FrameError::TooLong { limit: usize::MAX }));
}

#[test]
fn x1_only_the_shortest_form_of_a_length_is_accepted() {
    let malformed =
        |decoded: Result<Decoded, FrameError>| matches!(decoded, Err(FrameError::Malformed(_)));
    for bytes in [
        &b"05:hello,"[..],
        b":",
        b"5x",
        b"-1:",
        b"5:helloX",
        b"00:,",
        b" 5:hello,",
        b"+5:hello,",
    ] {
        assert!(malformed(Netstring::new(100).decode(bytes)), "{bytes:?}");
    }
    assert!(matches!(
        Netstring::new(100).decode(b"0:,"),
        Ok(Decoded::Frame(_))
    ));
    for bytes in [&b"05 hello"[..], b" hello", b"5:hello", b"00 "] {
        assert!(
            malformed(DecimalLength::new(100).decode(bytes)),
            "{bytes:?}"
        );
    }
    for bytes in [&[0x80, 0][..], &[0x81, 0], &[0x81, 0x80, 0]] {
        assert!(malformed(Varint::new(100).decode(bytes)), "{bytes:?}");
    }
    assert!(matches!(
        Varint::new(100).decode(&[0]),
        Ok(Decoded::Frame(_))
    ));
}

#[test]
fn x1_nothing_is_looked_at_again() {
    // Of what was looked at once, a call begins behind it, or a delimiter before.
    let stream = vec![b'x'; if cfg!(miri) { 100 } else { 5000 }];
    let mut line = Line::new(usize::MAX);
    let mut delimited = Delimited::new(b"xxxxxy", usize::MAX).expect("a delimiter");
    for length in 1..=stream.len() {
        assert_eq!(
            line.decode(&stream[..length]),
            Ok(Decoded::More { bytes_min: 1 })
        );
        assert_eq!(line.scanned(), length);
        let decoded = delimited.decode(&stream[..length]);
        let bytes_min = 6 - length.min(5);
        assert_eq!(decoded, Ok(Decoded::More { bytes_min }));
        assert_eq!(delimited.scanned(), length.saturating_sub(5));
    }
}

#[test]
fn x1_how_much_is_missing_is_told_where_it_is_known() {
    let more = |bytes_min| Ok(Decoded::More { bytes_min });
    assert_eq!(
        LengthPrefix::new(Width::Four, Endian::Big, 100).decode(&[0]),
        more(3)
    );
    assert_eq!(
        LengthPrefix::new(Width::Four, Endian::Big, 100).decode(&[0, 0, 0, 9, 1]),
        more(8)
    );
    assert_eq!(Netstring::new(100).decode(b"3:a"), more(3));
    assert_eq!(DecimalLength::new(100).decode(b"3 a"), more(2));
    assert_eq!(Varint::new(100).decode(&[3]), more(3));
    let three = NonZeroUsize::new(3).expect("not zero");
    assert_eq!(Fixed::new(three).decode(b""), more(3));
}

#[test]
fn x1_encoding_writes_all_of_it_or_nothing() {
    let mut into = [7; 8];
    assert_eq!(Netstring::new(100).encode(b"hello", &mut into), Ok(8));
    assert_eq!(&into, b"5:hello,");
    let mut small = [7; 7];
    let refused = Netstring::new(100).encode(b"hello", &mut small);
    assert_eq!(
        (refused, small),
        (Err(FrameError::NoRoom { needed: 8 }), [7; 7])
    );
    assert!(Line::new(100).envelope(b"a\nb").is_err());
    assert!(
        Delimited::new(b"aa", 100)
            .expect("one")
            .envelope(b"xa")
            .is_err(),
        "xa|aa"
    );
    assert!(Delimited::new(b"", 100).is_none() && Delimited::new(&[0; 17], 100).is_none());
    assert!(DecimalLength::with_separator(100, b'7').is_none());
    for error in [
        FrameError::TooLong { limit: 3 },
        FrameError::Malformed("so"),
        FrameError::Incomplete,
        FrameError::Unencodable("so"),
        FrameError::NoRoom { needed: 3 },
    ] {
        assert!(error.to_string().len() > 5);
    }
}
