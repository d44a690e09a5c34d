//! Streams, in every world: the acceptance list of the original's Stream by number, the rules M-1 to M-6, and its defects.
#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event::LoopError;
use linux_event::codec::{Codec, Decoded, Envelope, FrameError, Line};
use linux_event::core::errno::Errno;
use linux_event::net::{Flow, Stream, StreamBuilder, StreamError, Timeout, WriteError};
use linux_event_tests::both::LoopOf;
use linux_event_tests::net::{NetWorld, finish, flood, put, settle, soon, take, take_all, until};

/// What callbacks note, in order.
#[derive(Default)]
struct Noted {
    told: Vec<String>,
    bytes: usize,
    stream: Option<Stream>,
}

type Client<W> = LoopOf<W, Noted>;

/// A stream in the making that notes everything but data, and its other side.
fn noting<W: NetWorld>(
    event_loop: &mut Client<W>,
) -> (StreamBuilder<'_, W::Model, Noted>, W::Peer) {
    let (ours, theirs) = W::pair(event_loop);
    let builder = Stream::over(event_loop, ours)
        .on_drain(|event_loop, _| event_loop.state.told.push("drain".into()))
        .on_error(|event_loop, stream, error| {
            assert!(stream.is_open(event_loop), "the close comes after it");
            event_loop.state.told.push(match error {
                StreamError::Io(errno) => format!("{errno:?}"),
                StreamError::Message(error) => format!("message: {error}"),
                StreamError::TimedOut(what) => format!("{what:?}"),
                _ => "another".into(),
            });
        })
        .on_close(|event_loop, stream| {
            assert!(!stream.is_open(event_loop), "its handle is stale");
            event_loop.state.told.push("close".into());
        });
    (builder, theirs)
}

/// A stream that notes lines.
fn lines<W: NetWorld>(event_loop: &mut Client<W>, limit: usize) -> (Stream, W::Peer) {
    let (builder, theirs) = noting::<W>(event_loop);
    let stream = builder
        .on_message(Line::new(limit), |event_loop, _, line| {
            let line = String::from_utf8_lossy(line).into_owned();
            event_loop.state.told.push(line);
        })
        .start();
    (stream.expect("room"), theirs)
}

/// A stream that counts bytes.
fn counting<W: NetWorld>(event_loop: &mut Client<W>) -> (Stream, W::Peer) {
    let (builder, theirs) = noting::<W>(event_loop);
    let stream = builder
        .on_data(|event_loop, _, bytes| event_loop.state.bytes += bytes.len())
        .start();
    (stream.expect("room"), theirs)
}

/// A stream that counts bytes and notes their end, and goes on then.
fn half_closing<W: NetWorld>(event_loop: &mut Client<W>) -> (Stream, W::Peer) {
    let (builder, theirs) = noting::<W>(event_loop);
    let stream = builder
        .on_data(|event_loop, _, bytes| event_loop.state.bytes += bytes.len())
        .on_eof(|event_loop, _| event_loop.state.told.push("eof".into()))
        .start();
    (stream.expect("room"), theirs)
}

fn told<W: NetWorld>(event_loop: &Client<W>) -> Vec<&str> {
    event_loop.state.told.iter().map(String::as_str).collect()
}

fn until_told<W: NetWorld>(event_loop: &mut Client<W>, expected: &[&str]) {
    until::<W, _>(event_loop, |event_loop| {
        told::<W>(event_loop).len() >= expected.len()
    });
    settle::<W, _>(event_loop);
    assert_eq!(told::<W>(event_loop), expected);
}

/// Closes everything and ends the test; the close is told once.
fn end<W: NetWorld>(mut event_loop: Client<W>, stream: Stream, peer: Option<W::Peer>) {
    if stream.is_open(&event_loop) {
        stream.close(&mut event_loop).expect("it is open");
    }
    if let Some(peer) = peer {
        W::hang_up(&mut event_loop, peer);
    }
    until::<W, _>(&mut event_loop, |event_loop| !stream.is_open(event_loop));
    settle::<W, _>(&mut event_loop);
    let closes = event_loop.state.told.iter().filter(|told| *told == "close");
    assert_eq!(closes.count(), 1);
    finish::<W, _>(event_loop);
}

/// A codec that panics.
struct Faulty;

impl Codec for Faulty {
    fn decode(&mut self, _: &[u8]) -> Result<Decoded, FrameError> {
        linux_event_tests::panic_quietly();
        Ok(Decoded::More { bytes_min: 1 })
    }

    fn envelope(&self, _: &[u8]) -> Result<Envelope, FrameError> {
        Ok(Envelope::EMPTY)
    }
}

/// Bytes whose order shows.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at / 7 + at) as u8).collect()
}

linux_event_tests::net! {
    fn stream_00_a_stream_that_does_nothing_opens_and_closes<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = counting::<W>(&mut event_loop);
        assert!(stream.is_open(&event_loop) && !stream.is_paused(&event_loop));
        stream.close(&mut event_loop).expect("it is open");
        until_told::<W>(&mut event_loop, &["close"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_01_what_is_written_arrives_and_close_is_told_once<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = counting::<W>(&mut event_loop);
        assert_eq!(stream.write(&mut event_loop, b"hello"), Ok(Flow::Open));
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 5), b"hello");
        stream.close(&mut event_loop).expect("it is open");
        assert!(event_loop.state.told.is_empty(), "nothing is told inside the call");
        until_told::<W>(&mut event_loop, &["close"]);
        assert!(stream.close(&mut event_loop).is_err());
        assert_eq!(stream.write(&mut event_loop, b"x"), Err(WriteError::Closed));
        assert_eq!(take_all::<W, _>(&mut event_loop, &peer), b"");
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_02_a_slow_reader_blocks_and_unblocks<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.watermarks(256, 1024).start().expect("room");
        assert!(!stream.is_blocked(&event_loop));
        let bytes = pattern(4_000_000);
        assert_eq!(stream.write(&mut event_loop, &bytes), Ok(Flow::Blocked), "it is taken");
        settle::<W, _>(&mut event_loop);
        assert!(stream.is_blocked(&event_loop) && stream.pending(&event_loop) > 1024);
        assert!(event_loop.state.told.is_empty());
        let came = take::<W, _>(&mut event_loop, &peer, bytes.len());
        assert!(came == bytes, "in order, each once");
        until_told::<W>(&mut event_loop, &["drain"]);
        assert!(!stream.is_blocked(&event_loop));
        assert_eq!(stream.pending(&event_loop), 0);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m2_defect_s1_a_low_watermark_of_nothing_drains<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.watermarks(0, 0).start().expect("room");
        assert_eq!(stream.write(&mut event_loop, b"x"), Ok(Flow::Blocked));
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 1), b"x");
        until_told::<W>(&mut event_loop, &["drain"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m2_what_would_pass_the_hard_limit_is_refused_whole<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.pending_max(10).start().expect("room");
        assert_eq!(stream.write(&mut event_loop, b"12345678"), Ok(Flow::Open));
        let refused = stream.write(&mut event_loop, b"901");
        assert_eq!(refused, Err(WriteError::Full { pending: 8, limit: 10 }));
        assert_eq!(stream.write(&mut event_loop, b"90"), Ok(Flow::Open));
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 10), b"1234567890");
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_03_close_after_drain_loses_nothing<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = counting::<W>(&mut event_loop);
        let bytes = pattern(2_000_000);
        stream.write(&mut event_loop, &bytes).expect("it is open");
        stream.close_after_drain(&mut event_loop).expect("it is open");
        assert_eq!(stream.write(&mut event_loop, b"x"), Err(WriteError::Ended));
        assert!(take_all::<W, _>(&mut event_loop, &peer) == bytes);
        until_told::<W>(&mut event_loop, &["close"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_04_lines_are_whole_whatever_the_pieces<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 100);
        put::<W, _>(&mut event_loop, &peer, b"one\ntwo\npart");
        until_told::<W>(&mut event_loop, &["one", "two"]);
        assert_eq!(stream.kept(&event_loop), 4);
        put::<W, _>(&mut event_loop, &peer, b"ial\n");
        until_told::<W>(&mut event_loop, &["one", "two", "partial"]);
        assert_eq!(stream.kept(&event_loop), 0);
        W::hang_up(&mut event_loop, peer);
        until_told::<W>(&mut event_loop, &["one", "two", "partial", "close"]);
        end::<W>(event_loop, stream, None);
    }

    fn stream_04_one_byte_at_a_time<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 100);
        for byte in b"hello\n\nworld\n" {
            put::<W, _>(&mut event_loop, &peer, &[*byte]);
            soon::<W, _>(&mut event_loop);
        }
        until_told::<W>(&mut event_loop, &["hello", "", "world"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_04_an_end_inside_a_line_is_told<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 100);
        put::<W, _>(&mut event_loop, &peer, b"one\ntw");
        W::hang_up(&mut event_loop, peer);
        let incomplete = "message: the stream has ended inside a message";
        until_told::<W>(&mut event_loop, &["one", incomplete, "close"]);
        end::<W>(event_loop, stream, None);
    }

    fn stream_04_a_last_line_without_an_end_may_be_taken<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_message(Line::new(100).take_last(), |event_loop, _, line| {
                event_loop.state.told.push(String::from_utf8_lossy(line).into_owned());
            })
            .on_eof(|event_loop, stream| {
                event_loop.state.told.push("eof".into());
                stream.end(event_loop)
            })
            .start()
            .expect("room");
        put::<W, _>(&mut event_loop, &peer, b"one\ntw");
        W::end(&mut event_loop, &peer);
        until_told::<W>(&mut event_loop, &["one", "tw", "eof", "close"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_05_a_message_beyond_the_limit_ends_the_stream<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 10);
        put::<W, _>(&mut event_loop, &peer, b"fine\nthis one has no end that is near ");
        until::<W, _>(&mut event_loop, |event_loop| !stream.is_open(event_loop));
        let told = told::<W>(&event_loop);
        assert_eq!((told[0], told[2], told.len()), ("fine", "close", 3), "{told:?}");
        assert!(told[1].starts_with("message: "), "{told:?}");
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_05_a_burst_of_complete_messages_is_no_long_message<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 10);
        put::<W, _>(&mut event_loop, &peer, &b"0123456789\n".repeat(1000));
        until::<W, _>(&mut event_loop, |event_loop| told::<W>(event_loop).len() == 1000);
        assert!(event_loop.state.told.iter().all(|line| line == "0123456789"));
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m2_100_megabytes_in_one_line_cost_the_limit_and_no_more<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 4096);
        let (piece, mut sent, mut most) = (vec![b'x'; 64 * 1024], 0, 0);
        // The stream ends long before everything is there: then nothing more is taken.
        while sent < 100_000_000 {
            match W::send(&mut event_loop, &peer, &piece) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => {}
                Err(_) => break,
            }
            soon::<W, _>(&mut event_loop);
            most = most.max(stream.kept(&event_loop));
        }
        assert!(sent < 100_000_000 && most <= 4096 + 64 * 1024, "kept {most} of {sent}");
        until::<W, _>(&mut event_loop, |event_loop| !stream.is_open(event_loop));
        assert_eq!(told::<W>(&event_loop).len(), 2);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn stream_06_messages_are_written_as_the_codec_has_them<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 10);
        assert_eq!(stream.write_message(&mut event_loop, b"hi"), Ok(Flow::Open));
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 3), b"hi\n");
        let refused = stream.write_message(&mut event_loop, b"a line\nis one line");
        assert!(matches!(refused, Err(WriteError::Message(_))));
        settle::<W, _>(&mut event_loop);
        assert_eq!(W::receive(&mut event_loop, &peer, &mut [0; 4]), Err(Errno::EAGAIN));
        end::<W>(event_loop, stream, Some(peer));
    }

    fn x1_every_line_that_comes_can_be_sent_back<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_message(Line::new(10), |event_loop, stream, line| stream.write_message(event_loop, line).map(drop))
            .start()
            .expect("room");
        put::<W, _>(&mut event_loop, &peer, b"x\r\r\n\r\nend\n");
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 9), b"x\r\r\n\nend\n");
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m1_half_close_the_end_is_told_once_and_writing_still_works<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = half_closing::<W>(&mut event_loop);
        put::<W, _>(&mut event_loop, &peer, b"last words");
        W::end(&mut event_loop, &peer);
        until_told::<W>(&mut event_loop, &["eof"]);
        assert_eq!(event_loop.state.bytes, 10);
        stream.write(&mut event_loop, b"still here").expect("it is open");
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 10), b"still here");
        stream.end(&mut event_loop).expect("it is open");
        assert_eq!(stream.write(&mut event_loop, b"x"), Err(WriteError::Ended));
        until_told::<W>(&mut event_loop, &["eof", "close"]);
        assert_eq!(take_all::<W, _>(&mut event_loop, &peer), b"");
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m1_end_sends_what_is_queued_and_reading_goes_on<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = counting::<W>(&mut event_loop);
        let bytes = pattern(1_000_000);
        stream.write(&mut event_loop, &bytes).expect("it is open");
        stream.end(&mut event_loop).expect("it is open");
        assert!(take_all::<W, _>(&mut event_loop, &peer) == bytes);
        put::<W, _>(&mut event_loop, &peer, b"thanks");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == 6);
        assert!(stream.is_open(&event_loop));
        W::end(&mut event_loop, &peer);
        until_told::<W>(&mut event_loop, &["close"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m3_defect_s3_paused_messages_come_without_new_input<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_message(Line::new(100), |event_loop, stream, line| {
                event_loop.state.told.push(String::from_utf8_lossy(line).into_owned());
                stream.pause(event_loop)
            })
            .start()
            .expect("room");
        put::<W, _>(&mut event_loop, &peer, b"one\ntwo\nthree\nfo");
        until_told::<W>(&mut event_loop, &["one"]);
        assert!(stream.is_paused(&event_loop));
        stream.resume(&mut event_loop).expect("it is open");
        assert_eq!(told::<W>(&event_loop), ["one"], "nothing is told inside the call");
        until_told::<W>(&mut event_loop, &["one", "two"]);
        put::<W, _>(&mut event_loop, &peer, b"ur\n");
        stream.resume(&mut event_loop).expect("it is open");
        until_told::<W>(&mut event_loop, &["one", "two", "three"]);
        stream.resume(&mut event_loop).expect("it is open");
        until_told::<W>(&mut event_loop, &["one", "two", "three", "four"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m3_a_paused_stream_reads_no_more_than_what_had_come<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = counting::<W>(&mut event_loop);
        settle::<W, _>(&mut event_loop); // it reads by now
        stream.pause(&mut event_loop).expect("it is open");
        settle::<W, _>(&mut event_loop);
        // A unix socket has room for some hundred kilobytes: then the writer has to wait.
        let mut sent = 0;
        while let Ok(count) = W::send(&mut event_loop, &peer, &[7; 4096]) {
            sent += count;
            assert!(sent < 10_000_000, "somebody reads");
            soon::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.state.bytes, 0);
        assert!(stream.kept(&event_loop) <= 64 * 1024);
        stream.resume(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == sent);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m3_who_takes_one_message_at_a_time_holds_no_more_than_a_read<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_message(Line::new(100), |event_loop, stream, _| {
                event_loop.state.bytes += 1;
                stream.pause(event_loop)
            })
            .start()
            .expect("room");
        // It has come before the stream's first turn, and the peer never rests.
        let lines = b"a line\n".repeat(10_000);
        let (mut sent, mut most) = (0, 0);
        for count in 1..=100 {
            while let Ok(count) = W::send(&mut event_loop, &peer, &lines[sent % 7..]) {
                sent += count;
            }
            until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == count);
            most = most.max(stream.kept(&event_loop));
            stream.resume(&mut event_loop).expect("it is open");
        }
        assert!(most <= 256 * 1024, "{most} bytes are kept");
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m3_stopping_in_a_message_loses_none<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_message(Line::new(100), |event_loop, _, line| {
                event_loop.state.told.push(String::from_utf8_lossy(line).into_owned());
                event_loop.stop();
            })
            .start()
            .expect("room");
        put::<W, _>(&mut event_loop, &peer, b"one\ntwo\nthree\n");
        for count in 1..=3 {
            event_loop.run().expect("it stops");
            assert_eq!(told::<W>(&event_loop).len(), count);
        }
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m3_what_a_callback_returns_stops_the_loop_and_loses_no_message<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_message(Line::new(100), |event_loop, _, line| {
                event_loop.state.told.push(String::from_utf8_lossy(line).into_owned());
                if line == b"one" { Err("on purpose") } else { Ok(()) }
            })
            .start()
            .expect("room");
        put::<W, _>(&mut event_loop, &peer, b"one\ntwo\n");
        let stopped = event_loop.run().unwrap_err();
        assert!(matches!(&stopped, linux_event::Error::Callback(error) if error.to_string() == "on purpose"));
        until_told::<W>(&mut event_loop, &["one", "two"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m5_closing_in_a_message_tells_no_other<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_message(Line::new(100), |event_loop, stream, line| {
                event_loop.state.told.push(String::from_utf8_lossy(line).into_owned());
                stream.write(event_loop, b"dropped")?;
                stream.close(event_loop)
            })
            .start()
            .expect("room");
        put::<W, _>(&mut event_loop, &peer, b"one\ntwo\n");
        until_told::<W>(&mut event_loop, &["one", "close"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn a_panic_of_a_message_ends_its_stream_and_nothing_else<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.on_data(|_, _, _| linux_event_tests::panic_quietly()).start().expect("room");
        let (other, there) = counting::<W>(&mut event_loop);
        put::<W, _>(&mut event_loop, &peer, b"boo");
        let run = std::panic::AssertUnwindSafe(|| event_loop.run());
        assert!(std::panic::catch_unwind(run).is_err());
        assert!(!stream.is_open(&event_loop));
        put::<W, _>(&mut event_loop, &there, b"fine");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == 4);
        W::hang_up(&mut event_loop, peer);
        end::<W>(event_loop, other, Some(there));
    }

    fn a_panic_of_a_codec_ends_its_stream_and_nothing_else<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.on_message(Faulty, |_, _, _| ()).start().expect("room");
        let (other, there) = counting::<W>(&mut event_loop);
        put::<W, _>(&mut event_loop, &peer, b"boo");
        let run = std::panic::AssertUnwindSafe(|| event_loop.run());
        assert!(std::panic::catch_unwind(run).is_err());
        assert!(!stream.is_open(&event_loop), "what had come of it is lost");
        assert_eq!(stream.write(&mut event_loop, b"x"), Err(WriteError::Closed));
        put::<W, _>(&mut event_loop, &there, b"fine");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == 4);
        W::hang_up(&mut event_loop, peer);
        end::<W>(event_loop, other, Some(there));
    }

    fn m4_a_reset_comes_after_the_bytes_before_it<W>() {
        let mut event_loop = W::looping(Noted::default());
        let listener = linux_event::net::Listener::tcp(&mut event_loop, "127.0.0.1:0")
            .start(|event_loop: &mut Client<W>, _, socket| {
                let stream = Stream::over(event_loop, socket)
                    .on_data(|event_loop, _, bytes| event_loop.state.bytes += bytes.len())
                    .on_error(|event_loop, _, error| event_loop.state.told.push(error.to_string()))
                    .on_close(|event_loop, _| event_loop.state.told.push("close".into()))
                    .start()?;
                stream.pause(event_loop)?;
                event_loop.state.stream = Some(stream);
                Ok::<(), linux_event::Error>(())
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peer = linux_event_tests::net::connect::<W, _>(&mut event_loop, &address);
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.stream.is_some());
        put::<W, _>(&mut event_loop, &peer, b"last words");
        W::reset(&mut event_loop, peer);
        let stream = event_loop.state.stream.expect("it was accepted");
        stream.resume(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| !stream.is_open(event_loop));
        assert_eq!(event_loop.state.bytes, 10);
        assert_eq!(told::<W>(&event_loop), [&Errno::ECONNRESET.to_string()[..], "close"]);
        listener.close(&mut event_loop).expect("it is open");
        end::<W>(event_loop, stream, None);
    }

    fn m4_a_reset_comes_after_the_messages_that_a_pause_holds_back<W>() {
        let mut event_loop = W::looping(Noted::default());
        let listener = linux_event::net::Listener::tcp(&mut event_loop, "127.0.0.1:0")
            .start(|event_loop: &mut Client<W>, listener, socket| {
                let stream = Stream::over(event_loop, socket)
                    .on_message(Line::new(100), |event_loop, stream, line| {
                        event_loop.state.told.push(String::from_utf8_lossy(line).into_owned());
                        stream.pause(event_loop)
                    })
                    .on_error(|event_loop, _, error| event_loop.state.told.push(error.to_string()))
                    .on_close(|event_loop, _| event_loop.state.told.push("close".into()))
                    .start()?;
                event_loop.state.stream = Some(stream);
                listener.close(event_loop)
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let peer = linux_event_tests::net::connect::<W, _>(&mut event_loop, &address);
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.stream.is_some());
        settle::<W, _>(&mut event_loop); // it reads by now
        let stream = event_loop.state.stream.expect("it was accepted");
        put::<W, _>(&mut event_loop, &peer, b"one\ntwo\nthree\n");
        W::reset(&mut event_loop, peer);
        for expected in [&["one"][..], &["one", "two"], &["one", "two", "three"]] {
            until_told::<W>(&mut event_loop, expected);
            stream.resume(&mut event_loop).expect("it is open");
        }
        let reset = Errno::ECONNRESET.to_string();
        until_told::<W>(&mut event_loop, &["one", "two", "three", &reset, "close"]);
        end::<W>(event_loop, stream, None);
    }

    fn m4_writing_to_a_peer_that_is_gone_is_an_error_and_no_signal<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.on_eof(|_, _| ()).start().expect("room");
        W::hang_up(&mut event_loop, peer);
        settle::<W, _>(&mut event_loop);
        let written = stream.write(&mut event_loop, b"hello?");
        assert_eq!(written, Ok(Flow::Open), "what comes of it is told");
        until_told::<W>(&mut event_loop, &["EPIPE", "close"]);
        end::<W>(event_loop, stream, None);
    }

    fn m4_what_the_peer_said_before_it_went_is_told_before_that_nothing_can_be_sent<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = half_closing::<W>(&mut event_loop);
        settle::<W, _>(&mut event_loop); // it reads by now
        let answer = pattern(100_000); // more than a read brings
        assert_eq!(W::send(&mut event_loop, &peer, &answer), Ok(answer.len()));
        W::hang_up(&mut event_loop, peer);
        stream.write(&mut event_loop, b"the rest of the question").expect("it is open");
        until_told::<W>(&mut event_loop, &["EPIPE", "close"]);
        assert_eq!(event_loop.state.bytes, answer.len());
        end::<W>(event_loop, stream, None);
    }

    fn m1_detach_gives_the_socket_back_with_what_had_come<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = lines::<W>(&mut event_loop, 100);
        put::<W, _>(&mut event_loop, &peer, b"one\nrest");
        until_told::<W>(&mut event_loop, &["one"]);
        stream.write(&mut event_loop, b"sent").expect("it is open");
        let given = std::rc::Rc::new(std::cell::RefCell::new(None));
        let place = std::rc::Rc::clone(&given);
        stream
            .detach(&mut event_loop, move |_, detached| *place.borrow_mut() = Some(detached))
            .expect("it is open");
        assert!(given.borrow().is_none(), "nothing is called inside the call");
        until::<W, _>(&mut event_loop, |_| given.borrow().is_some());
        assert!(!stream.is_open(&event_loop));
        let detached = given.borrow_mut().take().expect("it was given");
        assert_eq!(detached.input, b"rest");
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 4), b"sent");
        let ours = W::as_peer(&mut event_loop, detached.socket.into_inner());
        assert_eq!(W::send(&mut event_loop, &ours, b"by hand"), Ok(7));
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 7), b"by hand");
        W::hang_up(&mut event_loop, ours);
        W::hang_up(&mut event_loop, peer);
        assert_eq!(told::<W>(&event_loop), ["one"], "nothing else is told");
        finish::<W, _>(event_loop);
    }

    fn m1_an_end_before_a_detach_is_sent_and_one_after_it_is_not<W>() {
        for ends_first in [true, false] {
            let mut event_loop = W::looping(Noted::default());
            let (stream, peer) = counting::<W>(&mut event_loop);
            settle::<W, _>(&mut event_loop); // it reads by now
            let given = std::rc::Rc::new(std::cell::RefCell::new(None));
            let place = std::rc::Rc::clone(&given);
            let detached = move |_: &mut Client<W>, detached| *place.borrow_mut() = Some(detached);
            if ends_first {
                stream.end(&mut event_loop).expect("it is open");
                stream.detach(&mut event_loop, detached).expect("it is open");
            } else {
                stream.detach(&mut event_loop, detached).expect("it is open");
                stream.end(&mut event_loop).expect("it is there");
            }
            until::<W, _>(&mut event_loop, |_| given.borrow().is_some());
            let seen = W::receive(&mut event_loop, &peer, &mut [0]);
            assert_eq!(seen, if ends_first { Ok(0) } else { Err(Errno::EAGAIN) });
            given.borrow_mut().take();
            W::hang_up(&mut event_loop, peer);
            finish::<W, _>(event_loop);
        }
    }

    fn m5_an_idle_stream_times_out<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.idle_timeout(Duration::from_millis(30)).start().expect("room");
        let begin = event_loop.read_clock();
        event_loop.run().expect("it ends");
        assert_eq!(told::<W>(&event_loop), ["Idle", "close"]);
        assert!(event_loop.read_clock().since(begin) >= Duration::from_millis(30));
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m5_what_comes_puts_the_read_timeout_off_and_pausing_suspends_it<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let limit = Duration::from_millis(50);
        let stream = builder
            .on_data(|event_loop, stream, _| {
                event_loop.state.bytes += 1;
                stream.pause(event_loop)
            })
            .read_timeout(limit)
            .start()
            .expect("room");
        put::<W, _>(&mut event_loop, &peer, b"x");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == 1);
        event_loop.run_for(3 * limit).expect("turns");
        assert!(event_loop.state.told.is_empty(), "it is paused");
        stream.resume(&mut event_loop).expect("it is open");
        let begin = event_loop.read_clock();
        event_loop.run().expect("it ends");
        assert!(event_loop.read_clock().since(begin) >= limit, "a fresh one");
        assert_eq!(told::<W>(&event_loop), ["Read", "close"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m5_the_read_timeout_stands_still_while_a_throttled_stream_is_blocked<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let limit = Duration::from_millis(150);
        let stream = builder
            .on_data(|event_loop, _, bytes| event_loop.state.bytes += bytes.len())
            .watermarks(1000, 100_000)
            .throttled()
            .read_timeout(limit)
            .start()
            .expect("room");
        stream.write(&mut event_loop, &pattern(2_000_000)).expect("it is open");
        event_loop.run_for(3 * limit).expect("turns");
        assert!(event_loop.state.told.is_empty() && stream.is_blocked(&event_loop));
        put::<W, _>(&mut event_loop, &peer, b"here");
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 2_000_000).len(), 2_000_000);
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == 4);
        assert_eq!(told::<W>(&event_loop), ["drain"]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m5_what_has_come_by_the_time_that_a_busy_loop_looks_is_in_time<W>() {
        if W::IS_VIRTUAL {
            return; // time goes by in turns there
        }
        let mut event_loop = W::looping(Noted::default());
        let limit = Duration::from_millis(200);
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder
            .on_data(|event_loop, _, bytes| event_loop.state.bytes += bytes.len())
            .read_timeout(limit)
            .idle_timeout(limit)
            .start()
            .expect("room");
        settle::<W, _>(&mut event_loop); // it reads by now
        put::<W, _>(&mut event_loop, &peer, b"in time");
        std::thread::sleep(2 * limit); // a callback that takes long
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.bytes == 7);
        assert!(event_loop.state.told.is_empty());
        event_loop.run().expect("it ends");
        assert_eq!(told::<W>(&event_loop).len(), 2, "then nothing comes: a timeout and the close");
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m5_a_peer_that_stalls_runs_into_the_write_timeout<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let stream = builder.write_timeout(Duration::from_millis(50)).start().expect("room");
        event_loop.run_for(Duration::from_millis(120)).expect("turns");
        assert!(event_loop.state.told.is_empty(), "nothing is queued");
        stream.write(&mut event_loop, &pattern(4_000_000)).expect("it is open");
        event_loop.run().expect("it ends");
        assert_eq!(told::<W>(&event_loop), ["Write", "close"]);
        assert!(matches!(Timeout::Write, Timeout::Write));
        end::<W>(event_loop, stream, Some(peer));
    }

    fn m2_a_throttled_echo_keeps_the_watermark_and_one_read<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (builder, peer) = noting::<W>(&mut event_loop);
        let (low, high) = (64 * 1024, 256 * 1024);
        let stream = builder
            .watermarks(low, high)
            .throttled()
            .on_data(|event_loop, stream, bytes| {
                event_loop.state.bytes += bytes.len();
                stream.write(event_loop, bytes).map(drop)
            })
            .start()
            .expect("room");
        let bytes = pattern(8_000_000);
        let (sent, most) = flood::<W, _>(&mut event_loop, &peer, &bytes, |event_loop| {
            stream.pending(event_loop) + stream.kept(event_loop)
        });
        let read_max = 256 * 1024; // a ring may have filled some buffers by the time that it hears of it
        assert!(most > high && most <= high + read_max, "{most} bytes at most");
        let came = take::<W, _>(&mut event_loop, &peer, sent);
        assert!(came == bytes[..sent]);
        end::<W>(event_loop, stream, Some(peer));
    }

    fn r13_a_fast_sender_does_not_starve_others<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (fast, flood) = counting::<W>(&mut event_loop);
        let (builder, peer) = noting::<W>(&mut event_loop);
        let quiet = builder
            .on_message(Line::new(100), |event_loop, stream, line| stream.write_message(event_loop, line).map(drop))
            .start()
            .expect("room");
        for _ in 0..50 {
            while W::send(&mut event_loop, &flood, &[1; 8192]).is_ok() {}
            put::<W, _>(&mut event_loop, &peer, b"ping\n");
            let before = event_loop.stats().turns;
            let mut answer = [0; 8];
            let mut turns = 0;
            while W::receive(&mut event_loop, &peer, &mut answer) == Err(Errno::EAGAIN) {
                while W::send(&mut event_loop, &flood, &[1; 8192]).is_ok() {}
                soon::<W, _>(&mut event_loop);
                turns += 1;
                assert!(turns < 20, "starved since turn {before}");
            }
            assert_eq!(&answer[..5], b"ping\n");
        }
        fast.close(&mut event_loop).expect("it is open");
        W::hang_up(&mut event_loop, flood);
        until::<W, _>(&mut event_loop, |event_loop| !fast.is_open(event_loop));
        event_loop.state.told.clear();
        end::<W>(event_loop, quiet, Some(peer));
    }

    fn r13_a_peer_that_reads_as_fast_as_it_is_sent_to_does_not_starve_others<W>() {
        if W::IS_VIRTUAL {
            return; // nobody reads while a turn is under way there
        }
        let mut event_loop = W::looping(Noted::default());
        let listener = linux_event::net::Listener::tcp(&mut event_loop, "127.0.0.1:0")
            .start(|event_loop: &mut Client<W>, listener, socket| {
                event_loop.state.stream = Some(Stream::over(event_loop, socket).start()?);
                listener.close(event_loop)
            })
            .expect("a port");
        let address = listener.local_address(&mut event_loop).expect("it listens");
        let address = address.internet().expect("TCP");
        let reader = std::thread::spawn(move || {
            let mut peer = std::net::TcpStream::connect(address).expect("somebody listens");
            std::io::copy(&mut peer, &mut std::io::sink()).expect("an end")
        });
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.stream.is_some());
        let stream = event_loop.state.stream.expect("it was accepted");
        let all = 64 << 20;
        stream.write(&mut event_loop, &pattern(all)).expect("it is open");
        stream.close_after_drain(&mut event_loop).expect("it is open");
        let mut most = 0;
        while stream.is_open(&event_loop) {
            let before = stream.pending(&event_loop);
            soon::<W, _>(&mut event_loop);
            most = most.max(before - stream.pending(&event_loop));
        }
        finish::<W, _>(event_loop); // a ring closes in a turn of its own
        assert_eq!(reader.join().expect("no panic"), all as u64);
        assert!(most <= 4 << 20, "{most} bytes in a turn");
    }

    fn a_stale_handle_reaches_nobody<W>() {
        let mut event_loop = W::looping(Noted::default());
        let (stream, peer) = counting::<W>(&mut event_loop);
        stream.close(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| !stream.is_open(event_loop));
        let (other, there) = counting::<W>(&mut event_loop); // in the same slot
        assert!(stream.pause(&mut event_loop).is_err() && !other.is_paused(&event_loop));
        assert!(matches!(stream.end(&mut event_loop), Err(linux_event::Error::Loop(LoopError::Stale))));
        assert_eq!(stream.write(&mut event_loop, b"x"), Err(WriteError::Closed));
        assert!(stream.detach(&mut event_loop, |_, _| ()).is_err());
        assert!(stream.peer(&mut event_loop).is_err());
        W::hang_up(&mut event_loop, peer);
        event_loop.state.told.clear();
        end::<W>(event_loop, other, Some(there));
    }
}
