//! The transport seam, in every world: a layer between a stream and its socket that has things of its own to say.
#![forbid(unsafe_code)]

use linux_event::BoxError;
use linux_event::codec::Line;
use linux_event::core::errno::Errno;
use linux_event::net::{Stream, Transport};
use linux_event_tests::both::LoopOf;
use linux_event_tests::net::{NetWorld, finish, flood, put, settle, take, take_all, until};

/// What both sides begin with, and what says that a side has ended.
const GREETING: &[u8] = b"HI";
const GOODBYE: u8 = 0xff;
/// What is said to who does not begin so.
const ALERT: &[u8] = b"NO";
const MASK: u8 = 0x55;

/// Masks text, greets first, keeps what is sent until it was greeted, and says goodbye.
#[derive(Default)]
struct Masked {
    greeted: Vec<u8>,
    kept: Vec<u8>,
    has_ended: bool,
}

fn masked(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| byte ^ MASK).collect()
}

impl Masked {
    fn is_greeted(&self) -> bool {
        self.greeted == GREETING
    }
}

impl Transport for Masked {
    fn begin(&mut self, wire: &mut Vec<u8>) -> Result<(), BoxError> {
        wire.extend_from_slice(GREETING);
        Ok(())
    }

    fn received(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        for &byte in bytes {
            if !self.is_greeted() {
                self.greeted.push(byte);
                if !GREETING.starts_with(&self.greeted) {
                    wire.extend_from_slice(ALERT);
                    return Err("that is no greeting".into());
                }
                if self.is_greeted() {
                    wire.append(&mut self.kept);
                }
            } else if byte == GOODBYE {
                self.has_ended = true;
            } else {
                plain.push(byte ^ MASK);
            }
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), BoxError> {
        let to = if self.is_greeted() {
            wire
        } else {
            &mut self.kept
        };
        to.extend(masked(plain));
        Ok(())
    }

    fn end(&mut self, wire: &mut Vec<u8>) -> Result<(), BoxError> {
        wire.push(GOODBYE);
        Ok(())
    }

    fn wire_ended(&mut self) -> Result<(), BoxError> {
        if self.has_ended {
            Ok(())
        } else {
            Err("cut off".into())
        }
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn wants_read(&self) -> bool {
        !self.is_greeted()
    }
}

type Client<W> = LoopOf<W, Vec<String>>;

/// A masked stream of lines that notes what it is told, and its other side.
fn lines<W: NetWorld>(event_loop: &mut Client<W>) -> (Stream, W::Peer) {
    let (ours, theirs) = W::pair(event_loop);
    let stream = Stream::over(event_loop, ours)
        .transport(Masked::default())
        .on_message(Line::new(100), |event_loop: &mut Client<W>, _, line| {
            event_loop
                .state
                .push(String::from_utf8_lossy(line).into_owned());
        })
        .on_eof(|event_loop, _| event_loop.state.push("eof".into()))
        .on_error(|event_loop, _, error| event_loop.state.push(error.to_string()))
        .on_close(|event_loop, _| event_loop.state.push("close".into()))
        .start();
    (stream.expect("room"), theirs)
}

/// Sends back what comes, as one does that is asked for signs of life.
struct Mirror;

impl Transport for Mirror {
    fn received(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        wire.extend_from_slice(bytes);
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), BoxError> {
        wire.extend_from_slice(plain);
        Ok(())
    }
}

linux_event_tests::net! {
    fn a_transport_greets_before_anything_is_sent_and_says_goodbye<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (stream, peer) = lines::<W>(&mut event_loop);
        stream.write_message(&mut event_loop, b"early").expect("it is open");
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 2), GREETING);
        settle::<W, _>(&mut event_loop);
        assert_eq!(W::receive(&mut event_loop, &peer, &mut [0]), Err(Errno::EAGAIN), "not greeted yet");

        // A greeting and more, in two pieces; the answer is what was kept.
        put::<W, _>(&mut event_loop, &peer, b"H");
        put::<W, _>(&mut event_loop, &peer, &[b"I", &masked(b"one\ntw")[..]].concat());
        assert_eq!(take::<W, _>(&mut event_loop, &peer, 6), masked(b"early\n"));
        put::<W, _>(&mut event_loop, &peer, &masked(b"o\n"));
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 2);
        assert_eq!(event_loop.state, ["one", "two"]);

        // The other side says goodbye, and the wire stays open: we may still send.
        put::<W, _>(&mut event_loop, &peer, &[GOODBYE]);
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 3);
        stream.write_message(&mut event_loop, b"last").expect("it is open");
        stream.end(&mut event_loop).expect("it is open");
        let rest = take_all::<W, _>(&mut event_loop, &peer);
        assert_eq!(rest, [&masked(b"last\n")[..], &[GOODBYE]].concat());
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 4);
        assert_eq!(event_loop.state, ["one", "two", "eof", "close"]);
        W::hang_up(&mut event_loop, peer);
        finish::<W, _>(event_loop);
    }

    fn a_transport_hears_of_the_other_side_while_the_program_does_not<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (stream, peer) = lines::<W>(&mut event_loop);
        stream.pause(&mut event_loop).expect("it is open");
        stream.write_message(&mut event_loop, b"early").expect("it is open");
        put::<W, _>(&mut event_loop, &peer, &[GREETING, &masked(b"one\n")].concat());
        let answer = take::<W, _>(&mut event_loop, &peer, 8);
        assert_eq!(answer, [GREETING, &masked(b"early\n")].concat());
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty(), "it is paused");
        stream.resume(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 1);
        stream.close(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 2);
        W::hang_up(&mut event_loop, peer);
        finish::<W, _>(event_loop);
    }

    fn what_makes_no_sense_to_a_transport_ends_the_stream<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (_, peer) = lines::<W>(&mut event_loop);
        // While the greeting is being sent there is no saying so.
        assert_eq!(take::<W, _>(&mut event_loop, &peer, GREETING.len()), GREETING);
        settle::<W, _>(&mut event_loop);
        put::<W, _>(&mut event_loop, &peer, b"GET / HTTP/1.0\r\n\r\n");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 2);
        assert_eq!(event_loop.state, ["that is no greeting", "close"]);
        let heard = take_all::<W, _>(&mut event_loop, &peer);
        assert_eq!(heard, ALERT, "and says so to the other side");
        W::hang_up(&mut event_loop, peer);
        finish::<W, _>(event_loop);
    }

    fn a_wire_that_ends_without_a_goodbye_is_an_error_after_what_came<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (_, peer) = lines::<W>(&mut event_loop);
        put::<W, _>(&mut event_loop, &peer, &[GREETING, &masked(b"one\n")].concat());
        W::end(&mut event_loop, &peer);
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 3);
        assert_eq!(event_loop.state, ["one", "cut off", "close"]);
        W::hang_up(&mut event_loop, peer);
        finish::<W, _>(event_loop);
    }

    fn a_transport_says_goodbye_once_however_the_stream_is_ended<W>() {
        for closes_first in [true, false] {
            let mut event_loop = W::looping(Vec::new());
            let (stream, peer) = lines::<W>(&mut event_loop);
            for closes in [closes_first, !closes_first] {
                if closes {
                    stream.close_after_drain(&mut event_loop).expect("it is open");
                } else {
                    stream.end(&mut event_loop).expect("it is open");
                }
            }
            let all = take_all::<W, _>(&mut event_loop, &peer);
            assert_eq!(all, [GREETING, &[GOODBYE]].concat());
            until::<W, _>(&mut event_loop, |event_loop| event_loop.state == ["close"]);
            W::hang_up(&mut event_loop, peer);
            finish::<W, _>(event_loop);
        }
    }

    fn m2_what_a_transport_answers_is_throttled_too<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (ours, peer) = W::pair(&mut event_loop);
        let high = 256 * 1024;
        let stream = Stream::over(&mut event_loop, ours)
            .transport(Mirror)
            .watermarks(high / 4, high)
            .throttled()
            .on_drain(|event_loop: &mut Client<W>, _| event_loop.state.push("drain".into()))
            .start()
            .expect("room");
        let bytes: Vec<u8> = (0..8_000_000).map(|at| (at / 7 + at) as u8).collect();
        let (sent, most) = flood::<W, _>(&mut event_loop, &peer, &bytes, |event_loop| stream.pending(event_loop));
        assert!(most > high && most <= 2 * high, "{most} bytes at most"); // and what was read by then
        assert!(take::<W, _>(&mut event_loop, &peer, sent) == bytes[..sent]);
        until::<W, _>(&mut event_loop, |event_loop| !event_loop.state.is_empty());
        stream.close(&mut event_loop).expect("it is open");
        W::hang_up(&mut event_loop, peer);
        finish::<W, _>(event_loop);
    }

    fn m4_what_came_before_a_wire_that_is_cut_off_is_told_whatever_pauses<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (stream, peer) = lines::<W>(&mut event_loop);
        put::<W, _>(&mut event_loop, &peer, GREETING);
        settle::<W, _>(&mut event_loop); // it reads by now
        put::<W, _>(&mut event_loop, &peer, &masked(b"one\ntwo\n"));
        stream.pause(&mut event_loop).expect("it is open");
        W::end(&mut event_loop, &peer);
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty(), "{:?}", event_loop.state);
        stream.resume(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 4);
        assert_eq!(event_loop.state, ["one", "two", "cut off", "close"]);
        W::hang_up(&mut event_loop, peer);
        finish::<W, _>(event_loop);
    }

    fn a_stream_with_a_transport_is_not_detached<W>() {
        let mut event_loop = W::looping(Vec::new());
        let (stream, peer) = lines::<W>(&mut event_loop);
        assert!(stream.detach(&mut event_loop, |_, _| ()).is_err());
        stream.close(&mut event_loop).expect("it is open");
        until::<W, _>(&mut event_loop, |event_loop| event_loop.state.len() == 1);
        W::hang_up(&mut event_loop, peer);
        finish::<W, _>(event_loop);
    }
}
