//! Streams, fuzzed without a kernel, in both models: the input says what the program does, what the peer does, and how the kernel
//! cuts and delays operations.
//!
//! Whatever happens in whatever order: what is told is the beginning of what the peer sent, what the peer gets is the beginning of
//! what was written, all of it unless the stream was closed in between or failed; the close is told once, and nothing is left.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use linux_event::codec::Line;
use linux_event::fake::{Decision, FakeFd};
use linux_event::net::{Net, Stream};
use linux_event::{Errno, Loop};

#[derive(Arbitrary, Debug)]
enum Action {
    PeerWrites(u16),
    PeerReads(u16),
    PeerEnds,
    Write(u16),
    WriteLine(u8),
    Pause,
    Resume,
    End,
    CloseAfterDrain,
    Close,
    Turn,
}

#[derive(Arbitrary, Debug)]
struct Input {
    is_framed: bool,
    is_throttled: bool,
    stops: u8,
    actions: Vec<Action>,
    script: Vec<u8>,
}

/// What is known of a run.
#[derive(Default)]
struct Seen {
    told: Vec<u8>,
    closes: usize,
    has_failed: bool,
    /// Messages until the loop is stopped in one.
    stops: u8,
}

fn told<M: Net>(event_loop: &mut Loop<M, Seen>, bytes: &[u8], end: &[u8]) {
    let seen = &mut event_loop.state;
    assert_eq!(seen.closes, 0, "nothing is told after the close");
    seen.told.extend_from_slice(bytes);
    seen.told.extend_from_slice(end);
    seen.stops = seen.stops.wrapping_sub(1);
    if seen.stops == 0 {
        event_loop.stop();
    }
}

fn start<M: Net>(
    event_loop: &mut Loop<M, Seen>,
    socket: impl linux_event::net::IntoSocket<M>,
    input: &Input,
) -> Stream {
    event_loop.state.stops = input.stops;
    let mut builder = Stream::over(event_loop, socket)
        .watermarks(1000, 4000)
        .on_error(|event_loop, _, _| event_loop.state.has_failed = true)
        .on_close(|event_loop, _| event_loop.state.closes += 1);
    if input.is_throttled {
        builder = builder.throttled();
    }
    let builder = if input.is_framed {
        builder.on_message(Line::new(2000).take_last(), |event_loop, _, line| {
            told(event_loop, line, b"\n");
        })
    } else {
        builder.on_data(|event_loop, _, bytes| told(event_loop, bytes, b""))
    };
    builder.start().expect("room")
}

/// Bytes whose order shows, with a line's end now and then.
fn pattern(from: usize, count: usize) -> Vec<u8> {
    let byte = |at: usize| {
        if at % 97 == 0 {
            b'\n'
        } else {
            b'a' + (at / 3 % 26) as u8
        }
    };
    (from..from + count).map(byte).collect()
}

macro_rules! run {
    ($event_loop:expr, $input:expr) => {{
        let (mut event_loop, input): (_, &Input) = ($event_loop, $input);
        let (ours, theirs) = event_loop.fake_mut().socketpair().unwrap();
        let ours = event_loop.fake().own(ours);
        let stream = start(&mut event_loop, ours, input);
        let (mut sent, mut written, mut got) = (Vec::new(), Vec::new(), Vec::new());
        let (mut peer_has_ended, mut is_closed_hard) = (false, false);
        let mut buffer = vec![0; 1 << 16];
        for action in &input.actions {
            match *action {
                Action::PeerWrites(count) if !peer_has_ended => {
                    let bytes = pattern(sent.len(), usize::from(count));
                    if let Ok(count) = event_loop.fake_mut().write(theirs, &bytes) {
                        sent.extend_from_slice(&bytes[..count]);
                    }
                }
                Action::PeerReads(count) => {
                    let room = &mut buffer[..usize::from(count)];
                    if let Ok(count) = event_loop.fake_mut().read(theirs, room) {
                        got.extend_from_slice(&room[..count]);
                    }
                }
                Action::PeerEnds if !peer_has_ended => {
                    peer_has_ended = true;
                    let _ = event_loop.fake_mut().shutdown_write(theirs);
                }
                Action::Write(count) => {
                    let bytes = pattern(written.len(), usize::from(count));
                    if stream.write(&mut event_loop, &bytes).is_ok() {
                        written.extend_from_slice(&bytes);
                    }
                }
                Action::WriteLine(count) => {
                    let line = vec![b'x'; usize::from(count)];
                    if stream.write_message(&mut event_loop, &line).is_ok() {
                        written.extend_from_slice(&line);
                        written.extend(input.is_framed.then_some(b'\n'));
                    }
                }
                Action::Pause => drop(stream.pause(&mut event_loop)),
                Action::Resume => drop(stream.resume(&mut event_loop)),
                Action::End => drop(stream.end(&mut event_loop)),
                Action::CloseAfterDrain => drop(stream.close_after_drain(&mut event_loop)),
                Action::Close => {
                    is_closed_hard |= stream.is_open(&event_loop);
                    drop(stream.close(&mut event_loop));
                }
                Action::Turn => event_loop.run_once(Some(Duration::ZERO)).unwrap(),
                _ => {}
            }
            check(&event_loop.state, &sent, &written, &got);
        }

        // Everybody goes: what was written arrives first.
        if stream.is_open(&event_loop) {
            let _ = stream.close_after_drain(&mut event_loop);
        }
        for _ in 0..10_000 {
            event_loop
                .run_once(Some(Duration::from_millis(100)))
                .unwrap_or(());
            match event_loop.fake_mut().read(theirs, &mut buffer) {
                Ok(0) | Err(Errno::ECONNRESET) if !stream.is_open(&event_loop) => break,
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(_) => {}
            }
        }
        check(&event_loop.state, &sent, &written, &got);
        assert_eq!(event_loop.state.closes, 1, "the close is told once");
        if !is_closed_hard && !event_loop.state.has_failed {
            assert!(
                got == written,
                "{} of {} bytes arrived",
                got.len(),
                written.len()
            );
        }
        event_loop.fake_mut().close(theirs).unwrap();
        for _ in 0..10 {
            event_loop
                .run_once(Some(Duration::from_millis(100)))
                .unwrap_or(());
        }
        assert!(!event_loop.is_live());
        left(event_loop.fake_mut(), theirs);
    }};
}

fn check(seen: &Seen, sent: &[u8], written: &[u8], got: &[u8]) {
    // The last line needs no end.
    let told = match seen.told.strip_suffix(b"\n") {
        Some(told) if seen.told.len() > sent.len() => told,
        _ => &seen.told,
    };
    assert!(sent.starts_with(told), "in order, each once");
    assert!(written.starts_with(got), "in order, each once");
    assert!(seen.closes <= 1);
}

fn left(fake: &mut linux_event::fake::Fake, _: FakeFd) {
    let left = (
        fake.pending_operations(),
        fake.buffers_out(),
        fake.leases_out(),
    );
    assert_eq!(left, (0, 0, 0));
    assert_eq!((fake.registrations(), fake.open_descriptors()), (0, 0));
}

fuzz_target!(|input: Input| {
    run!(Loop::fake_reactor_with(Seen::default()), &input);
    let mut event_loop = Loop::fake_proactor_with(Seen::default());
    let mut script = input.script.clone().into_iter();
    event_loop.fake_mut().script(move |_| match script.next() {
        None | Some(0..=99) => Decision::Perform,
        Some(count @ 100..=199) => Decision::Shorten(usize::from(count - 99)),
        Some(delay) => Decision::Delay(Duration::from_millis(u64::from(delay - 199))),
    });
    run!(event_loop, &input);
});
