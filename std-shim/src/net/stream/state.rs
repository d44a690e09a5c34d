//! A stream without its socket: what is buffered, in which order things are told, when to read, send, shut down and close.
//!
//! **What.** [`State`] is told what came of the socket (bytes, the end, an error, so many bytes sent, time) and what the program
//! wants (write, pause, end, close). It answers what to tell the program, one [`Step`] after the other, and what to ask of the
//! socket: [`wants_read`](State::wants_read), [`front`](State::front), [`wants_shutdown`](State::wants_shutdown).
//!
//! **Invariants.** *INV-STREAM-1*: bytes and messages are told in order, each once, and before the end or the error that came
//! after them (M-4). *INV-STREAM-2*: the error is told at most once, then the close, exactly once, then nothing (M-5).
//! *INV-STREAM-3*: what came and was not told yet is kept, whatever pauses (M-3). *INV-STREAM-4*: `is_blocked` from the write
//! that passes the high watermark until no more than the low one is pending, which is told once (M-2). *INV-STREAM-5*: when
//! sending fails, what the peer sent before is told first: a stream that reads goes on for as long as each turn brings something,
//! and [`UNSENT_TURNS`] turns at most.
//!
//! **Why this shape.** Nothing here asks a kernel, allocates for an event or calls anybody: the same machine runs under both
//! models and under a fuzzer, and its rules are proved without any of them.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::codec::{Codec, Decoded, Frame, FrameError};

use super::output::{Output, Spares};
use super::transport::Transport;
use super::{Flow, StreamError, Timeout, WriteError};
use crate::error::BoxError;

/// Turns that a stream whose sending has failed goes on reading, at most.
const UNSENT_TURNS: u8 = 100;

/// Why nothing more can be sent, and how long it is read on.
#[derive(Debug)]
struct Unsent {
    error: StreamError,
    turns_left: u8,
    /// Something has come since this was last looked at.
    has_come: bool,
}

/// What a stream is bounded by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// More than this pending blocks (M-2).
    pub(crate) high: usize,
    /// This or less pending drains a stream that was blocked.
    pub(crate) low: usize,
    /// A write that would have more than this pending is refused.
    pub(crate) pending_max: usize,
    /// More than this kept of a message that is not complete is an error.
    pub(crate) input_max: usize,
    /// Whether a stream that is blocked reads nothing.
    pub(crate) throttled: bool,
    pub(crate) idle: Option<Duration>,
    pub(crate) read: Option<Duration>,
    pub(crate) write: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            high: 1024 * 1024,
            low: 256 * 1024,
            pending_max: usize::MAX,
            input_max: 8 * 1024 * 1024,
            throttled: false,
            idle: None,
            read: None,
            write: None,
        }
    }
}

/// What came in and was not told yet, taken out of the state while it is told of: kept bytes, then a chunk.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    kept: Vec<u8>,
    chunk: &'a [u8],
    /// Bytes that were told of.
    at: usize,
}

impl Window<'_> {
    fn all(&self) -> &[u8] {
        if self.kept.is_empty() {
            self.chunk
        } else {
            &self.kept
        }
    }

    /// What was not told of yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.all()[self.at..]
    }

    /// A frame at the beginning of what was not told of yet is, from here on: where its message is.
    fn take(&mut self, frame: &Frame) -> Range<usize> {
        let message = frame.message.start + self.at..frame.message.end + self.at;
        self.at += frame.consumed;
        message
    }

    /// What a [`Step::Message`] names.
    pub(crate) fn message(&self, range: Range<usize>) -> &[u8] {
        &self.all()[range]
    }
}

/// What to tell the program next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A message, or bytes: see [`Window::message`].
    Message(Range<usize>),
    /// No more than the low watermark is pending, after more than the high one was.
    Drained,
    /// The peer sends nothing more.
    Eof,
    /// What ends the stream.
    Failed(StreamError),
    /// It is over, and the socket is to be closed.
    Closed,
    /// The socket is to be given back.
    Detached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadSide {
    Open,
    /// The end has come, and was not told yet.
    EofDue,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteSide {
    Open,
    /// To be shut down when everything is sent.
    Ending,
    Ended,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Not,
    /// When everything is sent.
    Drained,
    /// When everything is sent, and the socket is given back.
    Detach,
    Now,
    /// The close was told: INV-STREAM-2.
    Over,
}

/// A stream without its socket.
pub(crate) struct State {
    codec: Option<Box<dyn Codec>>,
    transport: Option<Box<dyn Transport>>,
    limits: Limits,
    /// INV-STREAM-3.
    input: Vec<u8>,
    /// Bytes at its beginning that were told of: what is told one message at a time, between pauses, is not moved each time.
    input_start: usize,
    output: Output,
    read: ReadSide,
    write: WriteSide,
    ending: Ending,
    is_paused: bool,
    /// INV-STREAM-4.
    is_blocked: bool,
    drain_due: bool,
    /// What will be told next.
    failure: Option<StreamError>,
    /// Why the end of what the peer sends is none: told in its place.
    cut: Option<StreamError>,
    /// Nothing more can be sent; what has come is still to be read: INV-STREAM-5.
    unsent: Option<Unsent>,
    /// It was told.
    has_failed: bool,
    /// There may be a message in `input`, which was not looked through to its end.
    is_unread: bool,
    last_received: Instant,
    last_sent: Instant,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("read", &self.read)
            .field("write", &self.write)
            .field("ending", &self.ending)
            .field("kept", &self.kept())
            .field("pending", &self.output.pending())
            .finish_non_exhaustive()
    }
}

impl State {
    pub(crate) fn new(codec: Option<Box<dyn Codec>>, limits: Limits, now: Instant) -> Self {
        Self {
            codec,
            transport: None,
            limits,
            input: Vec::new(),
            input_start: 0,
            output: Output::default(),
            read: ReadSide::Open,
            write: WriteSide::Open,
            ending: Ending::Not,
            is_paused: false,
            is_blocked: false,
            drain_due: false,
            failure: None,
            cut: None,
            unsent: None,
            has_failed: false,
            is_unread: false,
            last_received: now,
            last_sent: now,
        }
    }

    /// Puts a transport between the stream and its socket, which begins.
    pub(crate) fn set_transport(&mut self, transport: Box<dyn Transport>, spares: &mut Spares) {
        self.transport = Some(transport);
        self.with_transport(spares, |transport, wire| transport.begin(wire));
    }

    /// Has the transport do something, and queues what it says over the wire.
    fn ask_transport(
        &mut self,
        spares: &mut Spares,
        act: impl FnOnce(&mut dyn Transport, &mut Vec<u8>) -> Result<(), BoxError>,
    ) -> Result<(), StreamError> {
        let Some(transport) = &mut self.transport else {
            return Ok(());
        };
        let mut wire = spares.take();
        let done = act(&mut **transport, &mut wire);
        self.output.push(&wire, spares);
        spares.keep(wire);
        done.map_err(StreamError::Transport)
    }

    /// As [`ask_transport`](Self::ask_transport); what it can't do ends the stream.
    fn with_transport(
        &mut self,
        spares: &mut Spares,
        act: impl FnOnce(&mut dyn Transport, &mut Vec<u8>) -> Result<(), BoxError>,
    ) {
        if let Err(error) = self.ask_transport(spares, act) {
            self.failed(error);
        }
    }

    /// Queues bytes, through the transport if there is one.
    fn queue(&mut self, parts: &[&[u8]], spares: &mut Spares) {
        if self.transport.is_none() {
            for part in parts {
                self.output.push(part, spares);
            }
            return;
        }
        self.with_transport(spares, |transport, wire| {
            parts.iter().try_for_each(|part| transport.send(part, wire))
        });
    }

    // What the program wants.

    /// Queues bytes.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        now: Instant,
        spares: &mut Spares,
    ) -> Result<Flow, WriteError> {
        self.check_write(bytes.len())?;
        self.touch_output(now);
        self.queue(&[bytes], spares);
        Ok(self.flow())
    }

    /// Queues a message, as the codec has it.
    pub(crate) fn write_message(
        &mut self,
        message: &[u8],
        now: Instant,
        spares: &mut Spares,
    ) -> Result<Flow, WriteError> {
        self.check_write(message.len())?;
        let Some(codec) = &self.codec else {
            return self.write(message, now, spares);
        };
        let envelope = codec.envelope(message).map_err(WriteError::Message)?;
        self.check_write(envelope.frame_len(message.len()).unwrap_or(usize::MAX))?;
        self.touch_output(now);
        self.queue(&[&envelope.head, message, &envelope.tail], spares);
        Ok(self.flow())
    }

    fn check_write(&self, bytes: usize) -> Result<(), WriteError> {
        if self.is_dead() {
            return Err(WriteError::Closed);
        }
        if self.write != WriteSide::Open || self.ending != Ending::Not {
            return Err(WriteError::Ended);
        }
        let (pending, limit) = (self.output.pending(), self.limits.pending_max);
        if bytes > limit.saturating_sub(pending) {
            return Err(WriteError::Full { pending, limit });
        }
        Ok(())
    }

    /// The write timeout counts from when there is something to send.
    const fn touch_output(&mut self, now: Instant) {
        if self.output.pending() == 0 {
            self.last_sent = now;
        }
    }

    const fn flow(&mut self) -> Flow {
        if self.output.pending() > self.limits.high {
            self.is_blocked = true;
            self.drain_due = false;
        }
        if self.is_blocked {
            Flow::Blocked
        } else {
            Flow::Open
        }
    }

    pub(crate) const fn pause(&mut self) {
        self.is_paused = true;
    }

    pub(crate) const fn resume(&mut self, now: Instant) {
        if self.is_paused {
            self.is_paused = false;
            self.last_received = now; // a fresh read timeout
        }
    }

    /// Sends what is queued, then shuts the writing side down. One that closes or is given back is left as it is.
    pub(crate) fn end(&mut self, spares: &mut Spares) {
        if self.write == WriteSide::Open && self.ending == Ending::Not {
            self.with_transport(spares, |transport, wire| transport.end(wire));
            self.write = WriteSide::Ending;
        }
    }

    /// Sends what is queued, then closes. Nothing is read any more.
    pub(crate) fn close_after_drain(&mut self, spares: &mut Spares) {
        if self.ending == Ending::Not {
            if self.write == WriteSide::Open {
                self.with_transport(spares, |transport, wire| transport.end(wire));
            }
            self.ending = Ending::Drained;
        }
    }

    /// Sends what is queued, then gives the socket back. Nothing is read any more.
    pub(crate) fn detach(&mut self) -> Result<(), WriteError> {
        if self.is_dead() || self.ending != Ending::Not || self.transport.is_some() {
            return Err(WriteError::Closed);
        }
        self.ending = Ending::Detach;
        Ok(())
    }

    /// Closes, whatever is queued.
    pub(crate) fn close(&mut self) {
        if self.ending != Ending::Over {
            self.ending = Ending::Now;
        }
    }

    pub(crate) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Bytes that wait to be sent.
    pub(crate) const fn pending(&self) -> usize {
        self.output.pending()
    }

    /// Bytes that came and were not told yet.
    pub(crate) const fn kept(&self) -> usize {
        self.input.len() - self.input_start
    }

    /// What was received and not told of: for who takes the socket over.
    pub(crate) fn take_input(&mut self) -> Vec<u8> {
        self.input.drain(..std::mem::take(&mut self.input_start));
        std::mem::take(&mut self.input)
    }

    // What came of the socket.

    /// Begins to tell of `chunk`, after what was kept. The window goes back by [`keep`](Self::keep).
    pub(crate) fn open_window<'a>(
        &mut self,
        mut chunk: &'a [u8],
        now: Instant,
        spares: &mut Spares,
    ) -> Window<'a> {
        let mut kept = std::mem::take(&mut self.input);
        let mut at = std::mem::take(&mut self.input_start);
        if !chunk.is_empty() {
            self.last_received = now;
            if let Some(unsent) = &mut self.unsent {
                unsent.has_come = true;
            }
            if at > 0 {
                kept.drain(..std::mem::take(&mut at));
            }
            let before = kept.len();
            if self.transport.is_some() {
                if kept.capacity() == 0 {
                    kept = spares.take();
                }
                let bytes = std::mem::take(&mut chunk);
                self.touch_output(now);
                let received = self.ask_transport(spares, |transport, wire| {
                    transport.received(bytes, &mut kept, wire)
                });
                if let Err(error) = received {
                    self.failed_to_read(error);
                }
                self.flow(); // what it answers counts as well
                if self.transport.as_ref().is_some_and(|it| it.has_ended()) {
                    self.read = match self.read {
                        ReadSide::Open => ReadSide::EofDue,
                        other => other,
                    };
                }
            } else if !kept.is_empty() {
                kept.extend_from_slice(chunk);
            }
            self.is_unread |= !chunk.is_empty() || kept.len() > before;
        }
        Window { kept, chunk, at }
    }

    /// Keeps what was not told of.
    pub(crate) fn keep(&mut self, mut window: Window<'_>, spares: &mut Spares) {
        if self.is_dead() {
            return;
        }
        if window.bytes().is_empty() {
            self.is_unread = false;
            spares.keep(window.kept); // an idle stream holds no memory
        } else if window.kept.is_empty() {
            self.input = spares.take();
            self.input.extend_from_slice(window.bytes());
        } else {
            if window.at > window.kept.len() / 2 {
                window.kept.drain(..window.at);
                window.at = 0;
            }
            self.input = window.kept;
            self.input_start = window.at;
        }
    }

    /// The peer sends nothing more.
    pub(crate) fn received_eof(&mut self, now: Instant) {
        if self.read == ReadSide::Open {
            self.last_received = now;
            self.read = ReadSide::EofDue;
            // A reset is told to whoever asks first, here to who sent; then there is an end to read, which is none.
            self.cut = self.unsent.take().map(|unsent| unsent.error);
            if let Some(Err(error)) = self.transport.as_mut().map(|it| it.wire_ended()) {
                self.cut.get_or_insert(StreamError::Transport(error));
            }
        }
    }

    /// Nothing more can be read: told after what came before, as an end is (M-4).
    pub(crate) fn failed_to_read(&mut self, error: StreamError) {
        if self.read == ReadSide::Open && self.ending == Ending::Not {
            self.read = ReadSide::EofDue;
            self.cut = Some(error);
            self.unsent = None;
        } else {
            self.failed(error);
        }
    }

    /// The socket failed.
    pub(crate) fn failed(&mut self, error: StreamError) {
        if !self.is_dead() && self.failure.is_none() {
            self.failure = Some(error);
        }
    }

    /// Sending has failed: told at once if nothing is read, else when a turn has brought nothing more (INV-STREAM-5).
    pub(crate) fn failed_to_send(&mut self, error: StreamError) {
        if self.cut.is_some() {
            return; // that is the one to tell
        }
        if !self.wants_read() {
            self.failed(error);
        } else if self.unsent.is_none() {
            self.unsent = Some(Unsent {
                error,
                turns_left: UNSENT_TURNS,
                has_come: true,
            });
        }
    }

    /// Another turn begins.
    pub(crate) fn begin_turn(&mut self) {
        let wants_read = self.wants_read();
        let Some(unsent) = &mut self.unsent else {
            return;
        };
        if wants_read && unsent.turns_left > 0 && std::mem::take(&mut unsent.has_come) {
            unsent.turns_left -= 1;
        } else if let Some(unsent) = self.unsent.take() {
            self.failed(unsent.error);
        }
    }

    /// What to send next.
    pub(crate) fn front(&self) -> &[u8] {
        let is_cut = self.cut.is_some() || self.unsent.is_some();
        if self.is_dead() || self.failure.is_some() || is_cut {
            &[]
        } else {
            self.output.front()
        }
    }

    /// What was to be sent next, of a stream that has just failed; nothing while an operation sends.
    pub(crate) fn last_words(&self) -> &[u8] {
        if self.unsent.is_some() {
            &[]
        } else {
            self.output.front()
        }
    }

    /// So many bytes of the [`front`](Self::front) were sent.
    pub(crate) fn sent(&mut self, bytes: usize, now: Instant, spares: &mut Spares) {
        self.output.advance(bytes, spares);
        self.progressed(bytes, now);
    }

    /// Lends what to send next to an operation.
    pub(crate) fn lend(&mut self) -> Option<Vec<u8>> {
        if self.front().is_empty() {
            return None;
        }
        self.output.lend()
    }

    /// Takes back what was lent, of which so many bytes were sent.
    pub(crate) fn restore(
        &mut self,
        segment: Vec<u8>,
        sent: usize,
        now: Instant,
        spares: &mut Spares,
    ) {
        self.output.restore(segment, sent, spares);
        self.progressed(sent, now);
    }

    const fn progressed(&mut self, bytes: usize, now: Instant) {
        if bytes > 0 {
            self.last_sent = now;
        }
        if self.is_blocked && self.output.pending() <= self.limits.low {
            self.is_blocked = false;
            self.drain_due = true;
            if self.limits.throttled {
                self.last_received = now; // it reads again: a fresh read timeout
            }
        }
    }

    /// The writing side was shut down.
    pub(crate) const fn was_shut_down(&mut self) {
        self.write = WriteSide::Ended;
    }

    // What to ask of the socket.

    /// Whether to read.
    pub(crate) fn wants_read(&self) -> bool {
        self.read == ReadSide::Open
            && self.failure.is_none()
            && self.ending == Ending::Not
            && (!self.holds_back() || self.transport.as_ref().is_some_and(|it| it.wants_read()))
    }

    /// Whether what comes is not to be told for now.
    const fn holds_back(&self) -> bool {
        self.is_paused || (self.limits.throttled && self.is_blocked)
    }

    /// Whether to shut the writing side down.
    pub(crate) fn wants_shutdown(&self) -> bool {
        self.write == WriteSide::Ending && self.output.pending() == 0 && !self.is_dead()
    }

    /// Whether everything went that was to go before the socket is given back, an end that was asked for too.
    const fn can_detach(&self) -> bool {
        self.output.pending() == 0 && !matches!(self.write, WriteSide::Ending)
    }

    /// Whether it is over but for the telling.
    fn is_dead(&self) -> bool {
        self.has_failed || matches!(self.ending, Ending::Now | Ending::Over)
    }

    // What to tell.

    /// What to tell next; `None` if there is nothing to tell for now.
    pub(crate) fn next(&mut self, window: &mut Window<'_>) -> Option<Step> {
        if self.ending == Ending::Over {
            return None;
        }
        if self.is_dead() {
            self.ending = Ending::Over;
            return Some(Step::Closed);
        }
        // Who can write no more is not asked for more.
        if std::mem::take(&mut self.drain_due) && self.check_write(0).is_ok() {
            return Some(Step::Drained);
        }
        if self.ending == Ending::Not {
            if !self.holds_back()
                && let Some(step) = self.next_message(window)
            {
                return Some(step);
            }
            let is_told = !self.is_unread || window.bytes().is_empty();
            let is_due = self.read == ReadSide::EofDue && !self.holds_back();
            if self.failure.is_none() && is_due && is_told {
                self.failure = self.cut.take();
                if self.failure.is_none()
                    && let Some(step) = self.last_message(window)
                {
                    return Some(step);
                }
                if self.failure.is_none() {
                    self.read = ReadSide::Ended;
                    return Some(Step::Eof);
                }
            }
            // What came before the error first. Who holds it back hears of an error all the same that is not one of reading.
            if !is_told && !self.holds_back() {
                return None;
            }
        }
        if let Some(error) = self.failure.take() {
            self.has_failed = true;
            return Some(Step::Failed(error));
        }
        match self.ending {
            Ending::Drained if self.output.pending() == 0 => self.ending = Ending::Over,
            Ending::Detach if self.can_detach() => return Some(Step::Detached),
            Ending::Not if self.read == ReadSide::Ended && self.write == WriteSide::Ended => {
                self.ending = Ending::Over;
            }
            _ => return None,
        }
        Some(Step::Closed)
    }

    fn next_message(&mut self, window: &mut Window<'_>) -> Option<Step> {
        if !self.is_unread {
            return None;
        }
        let bytes = window.bytes();
        let Some(codec) = &mut self.codec else {
            self.is_unread = false;
            let range = window.at..window.at + bytes.len();
            window.at = range.end;
            return (!range.is_empty()).then_some(Step::Message(range));
        };
        if bytes.is_empty() {
            self.is_unread = false;
            return None;
        }
        match codec.decode(bytes) {
            Ok(Decoded::Frame(frame)) if is_in(&frame, bytes) => {
                return Some(Step::Message(window.take(&frame)));
            }
            Ok(Decoded::Frame(_)) => self.failed(StreamError::Message(NOT_THERE)),
            Ok(Decoded::More { .. }) if bytes.len() > self.limits.input_max => {
                self.failed(StreamError::Message(FrameError::TooLong {
                    limit: self.limits.input_max,
                }));
            }
            Ok(Decoded::More { .. }) => {}
            Err(error) => self.failed(StreamError::Message(error)),
        }
        self.is_unread = false;
        None
    }

    /// What the end of the stream makes of what is left: a message that needs no end of its own, or an error.
    fn last_message(&mut self, window: &mut Window<'_>) -> Option<Step> {
        let bytes = window.bytes();
        let codec = self.codec.as_mut().filter(|_| !bytes.is_empty())?;
        match codec.decode_end(bytes) {
            Ok(Some(frame)) if is_in(&frame, bytes) => {
                return Some(Step::Message(window.take(&frame)));
            }
            Ok(Some(_)) => self.failed(StreamError::Message(NOT_THERE)),
            Ok(None) => {}
            Err(error) => self.failed(StreamError::Message(error)),
        }
        None
    }

    /// Whether [`next`](Self::next) may have something to tell without new input.
    pub(crate) fn has_more(&self) -> bool {
        if self.ending == Ending::Over {
            return false;
        }
        let has_come = self.is_unread || self.read == ReadSide::EofDue;
        let can_tell = has_come && self.ending == Ending::Not && !self.holds_back();
        let both = self.read == ReadSide::Ended && self.write == WriteSide::Ended;
        self.is_dead()
            || self.drain_due
            || can_tell
            || self.failure.is_some()
            || self.unsent.is_some()
            || match self.ending {
                Ending::Drained => self.output.pending() == 0,
                Ending::Detach => self.can_detach(),
                _ => both,
            }
    }

    #[cfg(test)]
    fn has_failure(&self) -> bool {
        self.failure.is_some() || self.has_failed
    }

    #[cfg(test)]
    fn is_closing_now(&self) -> bool {
        self.is_dead()
    }

    #[cfg(test)]
    fn is_ending(&self) -> bool {
        self.ending != Ending::Not
    }

    // Time.

    /// Whether any time is limited.
    pub(crate) const fn has_timeouts(&self) -> bool {
        self.limits.idle.is_some() || self.limits.read.is_some() || self.limits.write.is_some()
    }

    /// The first deadline as things stand; it may only move back later.
    pub(crate) fn deadline(&self) -> Option<(Instant, Timeout)> {
        if self.is_dead() || self.failure.is_some() {
            return None;
        }
        let write = self.limits.write.filter(|_| self.output.pending() > 0);
        let read = self.limits.read.filter(|_| self.wants_read());
        let last = self.last_received.max(self.last_sent);
        [
            write.map(|limit| (self.last_sent + limit, Timeout::Write)),
            read.map(|limit| (self.last_received + limit, Timeout::Read)),
            self.limits.idle.map(|limit| (last + limit, Timeout::Idle)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(deadline, _)| *deadline)
    }

    /// Looks at the time; the next deadline.
    pub(crate) fn check_time(&mut self, now: Instant) -> Option<Instant> {
        let (deadline, what) = self.deadline()?;
        if deadline > now {
            return Some(deadline);
        }
        self.failed(StreamError::TimedOut(what));
        None
    }
}

/// Whether a codec's frame is in the bytes that it was shown, and takes some of them.
fn is_in(frame: &Frame, bytes: &[u8]) -> bool {
    (1..=bytes.len()).contains(&frame.consumed)
        && frame.message.start <= frame.message.end
        && frame.message.end <= bytes.len()
}

/// What is wrong with a codec of a user's that says otherwise.
const NOT_THERE: FrameError =
    FrameError::Malformed("the codec has found a frame that is not there");

#[cfg(test)]
mod tests;
