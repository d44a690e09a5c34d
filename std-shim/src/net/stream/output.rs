//! What a stream has to send: a queue of bytes in segments.
//!
//! **What.** [`Output`] takes bytes at its end and gives them out at its front, by reference or by lending a segment to an
//! operation that owns its buffer. [`Spares`] keeps the memory of segments that are empty.
//!
//! **Invariants.** *INV-OUTPUT-1*: `pending` is the number of bytes that were pushed and not sent, those of the lent segment
//! included. *INV-OUTPUT-2*: while a segment is lent nothing is taken from the front, so that bytes go in order. *INV-OUTPUT-3*:
//! an output with nothing pending holds no memory.
//!
//! **Why this shape.** What waits in one vector would be moved about at each partial send, over and over for a long queue. In
//! segments of a bounded size a byte is moved at most a few times, and what an idle stream holds is nothing.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// A segment takes no more bytes than this.
pub(crate) const SEGMENT_BYTES: usize = 256 * 1024;
/// As many empty segments are kept for use by any stream of a loop.
const SPARES_MAX: usize = 64;
/// A segment that has grown beyond this is not kept.
const SPARE_BYTES_MAX: usize = SEGMENT_BYTES;

/// The memory of segments that nobody uses, shared by the streams of a loop.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// An empty segment.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps the memory of a segment that is used no more.
    pub(crate) fn keep(&mut self, mut segment: Vec<u8>) {
        if self.0.len() < SPARES_MAX && (1..=SPARE_BYTES_MAX).contains(&segment.capacity()) {
            segment.clear();
            self.0.push(segment);
        }
    }
}

/// A queue of bytes to send.
#[derive(Debug, Default)]
pub(crate) struct Output {
    front: Vec<u8>,
    /// Bytes of the front segment that were sent.
    start: usize,
    more: VecDeque<Vec<u8>>,
    /// INV-OUTPUT-1.
    pending: usize,
    /// Bytes of the segment that is lent: INV-OUTPUT-2.
    lent: usize,
}

impl Output {
    /// Bytes that were pushed and not sent.
    pub(crate) const fn pending(&self) -> usize {
        self.pending
    }

    /// Whether a segment is lent.
    pub(crate) const fn is_lent(&self) -> bool {
        self.lent > 0
    }

    /// The segment to append to.
    fn end(&mut self, spares: &mut Spares) -> &mut Vec<u8> {
        if self.front.is_empty() && self.front.capacity() == 0 {
            self.front = spares.take();
        }
        let last = self.more.back().unwrap_or(&self.front);
        if last.len() >= SEGMENT_BYTES {
            self.more.push_back(spares.take());
        }
        self.more.back_mut().unwrap_or(&mut self.front)
    }

    /// Queues bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8], spares: &mut Spares) {
        while !bytes.is_empty() {
            let end = self.end(spares);
            let room = SEGMENT_BYTES.saturating_sub(end.len()).max(1);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            end.extend_from_slice(now);
            self.pending += now.len();
            bytes = later;
        }
    }

    /// The next bytes to send; empty if there are none, or a segment is lent.
    pub(crate) fn front(&self) -> &[u8] {
        if self.is_lent() {
            &[]
        } else {
            &self.front[self.start..]
        }
    }

    /// So many bytes of the [`front`](Self::front) were sent.
    pub(crate) fn advance(&mut self, bytes: usize, spares: &mut Spares) {
        debug_assert!(bytes <= self.front().len());
        self.start += bytes;
        self.pending -= bytes;
        if self.start == self.front.len() {
            self.start = 0;
            let next = self.more.pop_front().unwrap_or_default();
            spares.keep(std::mem::replace(&mut self.front, next));
        }
    }

    /// Lends the front segment to an operation; `None` if there is nothing to send, or one is lent already.
    pub(crate) fn lend(&mut self) -> Option<Vec<u8>> {
        if self.front().is_empty() {
            return None;
        }
        let next = self.more.pop_front().unwrap_or_default();
        let mut segment = std::mem::replace(&mut self.front, next);
        segment.drain(..std::mem::take(&mut self.start));
        self.lent = segment.len();
        Some(segment)
    }

    /// Takes a lent segment back, of which so many bytes were sent.
    pub(crate) fn restore(&mut self, mut segment: Vec<u8>, sent: usize, spares: &mut Spares) {
        debug_assert!(sent <= self.lent && segment.len() == self.lent);
        self.lent = 0;
        self.pending -= sent;
        if sent == segment.len() {
            spares.keep(segment);
            return;
        }
        segment.drain(..sent);
        let after = std::mem::replace(&mut self.front, segment);
        if after.is_empty() {
            spares.keep(after);
        } else {
            self.more.push_front(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_in_order_whatever_is_lent() {
        let (mut output, mut spares) = (Output::default(), Spares::default());
        output.push(b"hello", &mut spares);
        let lent = output.lend().expect("there is something");
        output.push(b", world", &mut spares);
        assert_eq!((output.lend(), output.front()), (None, &b""[..]));
        assert_eq!(output.pending(), 12);
        output.restore(lent, 2, &mut spares);
        assert_eq!((output.front(), output.pending()), (&b"llo"[..], 10));
        output.advance(3, &mut spares);
        assert_eq!(output.front(), b", world");
        output.advance(7, &mut spares);
        assert_eq!((output.pending(), output.front.capacity()), (0, 0)); // INV-OUTPUT-3
    }

    #[test]
    fn a_long_queue_is_in_segments() {
        let (mut output, mut spares) = (Output::default(), Spares::default());
        let bytes: Vec<u8> = (0..SEGMENT_BYTES * 3 + 5).map(|at| at as u8).collect();
        output.push(&bytes[..1], &mut spares);
        output.push(&bytes[1..], &mut spares);
        let mut sent = Vec::new();
        while output.pending() > 0 {
            let count = output.front().len().min(100_000);
            sent.extend_from_slice(&output.front()[..count]);
            output.advance(count, &mut spares);
        }
        assert!(sent == bytes);
    }
}
