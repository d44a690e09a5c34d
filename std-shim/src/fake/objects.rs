//! What open files are made of: pipes and stream sockets, with the buffers and the states that Linux gives them.
//!
//! **What.** [`Pipe`] is both ends of a pipe (`pipe(7)`), [`Socket`] one end of a connected pair (`unix(7)`). They hold
//! bytes and say what they are ready for; who is told of a change is [`Machine`](super::machine::Machine)'s affair.
//!
//! **Invariants.** *INV-OBJECT-1*: a pipe holds at most [`PIPE_SLOTS`] slots, none of them empty or larger than a page.
//! *INV-OBJECT-2*: a socket's `sent` is the sum of the charges of the segments it sent that wait in its peer's queue.
//!
//! **Why this shape.** When a writer is told of room depends on how Linux fills pages and charges for segments. So
//! the pages and the charges are simulated, with the sizes of a machine whose pages have 4 KiB.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::net::SocketAddr;

use linux_event_core::errno::Errno;
use linux_event_core::sys::Domain;

use super::bits::{ERR, HUP, IN, OUT, RDHUP};
use super::machine::FileId;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Pages that a pipe holds.
pub(super) const PIPE_SLOTS: usize = 16;
/// What a socket may have under way, with the kernel's own needs charged: `net.core.wmem_default`.
const SEND_BUFFER: usize = 212_992;
/// What the kernel's bookkeeping takes of the head of a segment, and beside it.
const SEGMENT_INFO: usize = 320;
const SEGMENT_HEADER: usize = 256;
/// Bytes that fit in the head of a segment, and in its pages.
const SEGMENT_HEAD_MAX: usize = PAGE - SEGMENT_INFO;
const SEGMENT_PAGES_MAX: usize = 32_768;

/// Bytes with a front that was read already.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    read: usize,
    charge: usize,
    /// Of a pipe's: nothing joins it.
    is_sealed: bool,
}

impl Chunk {
    fn new(bytes: &[u8], charge: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            read: 0,
            charge,
            is_sealed: false,
        }
    }

    /// Moves bytes into `buffer`; returns how many.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let left = &self.bytes[self.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.read += count;
        count
    }

    fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }
}

/// The first bytes of a queue, at most `bytes_max`.
fn peek(queue: &VecDeque<Chunk>, bytes_max: usize) -> Vec<u8> {
    let unread = queue.iter().flat_map(|chunk| &chunk.bytes[chunk.read..]);
    unread.take(bytes_max).copied().collect()
}

#[derive(Debug, Default)]
pub(super) struct Pipe {
    slots: VecDeque<Chunk>,
    pub(super) reader: Option<FileId>,
    pub(super) writer: Option<FileId>,
}

impl Pipe {
    pub(super) fn reader_state(&self) -> u32 {
        let readable = if self.slots.is_empty() { 0 } else { IN };
        readable | if self.writer.is_none() { HUP } else { 0 }
    }

    pub(super) fn writer_state(&self) -> u32 {
        let writable = if self.is_full() { 0 } else { OUT };
        writable | if self.reader.is_none() { ERR } else { 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() == PIPE_SLOTS
    }

    /// Reads; whether the writer is to be told, since the pipe was full and a page came free.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<(usize, bool), Errno> {
        if buffer.is_empty() {
            return Ok((0, false));
        }
        let (mut count, mut has_room) = (0, false);
        while count < buffer.len() {
            let was_full = self.is_full();
            let Some(slot) = self.slots.front_mut() else {
                break;
            };
            count += slot.take(&mut buffer[count..]);
            if slot.is_empty() {
                self.slots.pop_front();
                has_room |= was_full;
            }
        }
        if count == 0 && self.writer.is_some() {
            return Err(Errno::EAGAIN);
        }
        Ok((count, has_room))
    }

    /// Copies what a read would move.
    pub(super) fn peek(&self, bytes_max: usize) -> Result<Vec<u8>, Errno> {
        let bytes = peek(&self.slots, bytes_max);
        if bytes.is_empty() && bytes_max > 0 && self.writer.is_some() {
            return Err(Errno::EAGAIN);
        }
        Ok(bytes)
    }

    /// Ends the last page: what is spliced in stays by itself, for it may be somebody else's page.
    pub(super) fn seal(&mut self) {
        if let Some(last) = self.slots.back_mut() {
            last.is_sealed = true;
        }
    }

    /// How many bytes go in: as many as there is room for.
    ///
    /// What does not fill a page first tries to join the last one, whole.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        if self.reader.is_none() {
            return Err(Errno::EPIPE);
        }
        let mut count = 0;
        let odd = bytes.len() % PAGE;
        if let Some(last) = self.slots.back_mut()
            && odd > 0
            && !last.is_sealed
            && last.bytes.len() + odd <= PAGE
        {
            last.bytes.extend_from_slice(&bytes[..odd]);
            count = odd;
        }
        while count < bytes.len() && !self.is_full() {
            let end = bytes.len().min(count + PAGE);
            self.slots.push_back(Chunk::new(&bytes[count..end], 0));
            count = end;
        }
        if count == 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(count)
    }
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) domain: Domain,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) peer: FileId,
    queue: VecDeque<Chunk>,
    sent: usize,
    pub(super) read_closed: bool,
    pub(super) write_closed: bool,
    /// `SO_ERROR`.
    pub(super) error: Option<Errno>,
    /// `SO_LINGER` with a time of zero: closing it resets the connection.
    pub(super) resets: bool,
}

impl Socket {
    /// One end of a pair without names.
    pub(super) fn pair(peer: FileId) -> Self {
        Self::new(Domain::Unix, peer, None, None)
    }

    pub(super) fn new(
        domain: Domain,
        peer: FileId,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
    ) -> Self {
        Self {
            domain,
            local,
            remote,
            peer,
            queue: VecDeque::new(),
            sent: 0,
            read_closed: false,
            write_closed: false,
            error: None,
            resets: false,
        }
    }

    pub(super) fn state(&self) -> u32 {
        let mut state = 0;
        if self.error.is_some() {
            state |= ERR;
        }
        if self.read_closed && self.write_closed {
            state |= HUP;
        }
        if self.read_closed {
            state |= RDHUP | IN;
        }
        if !self.queue.is_empty() {
            state |= IN;
        }
        if self.is_writable() {
            state |= OUT;
        }
        state
    }

    /// Whether at most a quarter of the send buffer is under way.
    pub(super) fn is_writable(&self) -> bool {
        self.sent * 4 <= SEND_BUFFER
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Reads; the charges of the segments that were read to their end go to `released`.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        released: &mut Vec<usize>,
    ) -> Result<usize, Errno> {
        if buffer.is_empty() && !self.queue.is_empty() {
            return Ok(0);
        }
        let mut count = 0;
        while count < buffer.len()
            && let Some(segment) = self.queue.front_mut()
        {
            count += segment.take(&mut buffer[count..]);
            if segment.is_empty() {
                released.push(segment.charge);
                self.queue.pop_front();
            }
        }
        if count > 0 {
            return Ok(count);
        }
        match self.error.take() {
            // Of TCP, to who wrote to a peer that was gone: whoever reads finds the end.
            Some(errno) if errno != Errno::EPIPE => Err(errno),
            _ if self.read_closed => Ok(0),
            Some(errno) => Err(errno),
            None => Err(Errno::EAGAIN),
        }
    }

    /// Copies what a read would move.
    pub(super) fn peek(&mut self, bytes_max: usize) -> Result<Vec<u8>, Errno> {
        if !self.queue.is_empty() {
            return Ok(peek(&self.queue, bytes_max));
        }
        let bytes = Vec::new();
        match self.error.take() {
            Some(errno) if errno != Errno::EPIPE => Err(errno),
            _ if self.read_closed => Ok(bytes),
            Some(errno) => Err(errno),
            None => Err(Errno::EAGAIN),
        }
    }

    /// Cuts a segment off `bytes` and charges for it; `None` if the buffer is full.
    pub(super) fn charge(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        if self.sent >= SEND_BUFFER {
            return None;
        }
        let len = bytes
            .len()
            .min(SEND_BUFFER / 2 - 64)
            .min(SEGMENT_HEAD_MAX + SEGMENT_PAGES_MAX);
        let in_pages = len.saturating_sub(SEGMENT_HEAD_MAX).next_multiple_of(PAGE);
        let head = len.saturating_sub(in_pages).next_multiple_of(64) + SEGMENT_INFO;
        let charge = SEGMENT_HEADER + head.next_power_of_two() + in_pages;
        self.sent += charge;
        Some((len, charge))
    }

    pub(super) fn receive(&mut self, bytes: &[u8], charge: usize) {
        self.queue.push_back(Chunk::new(bytes, charge));
    }

    /// The peer has read a segment to its end; whether whoever waits for room is to be told.
    pub(super) fn release(&mut self, charge: usize) -> bool {
        self.sent -= charge;
        self.is_writable()
    }

    /// Throws away what was not read; the charges.
    pub(super) fn flush(&mut self) -> Vec<usize> {
        self.queue.drain(..).map(|segment| segment.charge).collect()
    }
}

/// A stream socket that listens.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) domain: Domain,
    pub(super) local: Option<SocketAddr>,
    /// Connections that nobody has accepted, each held by this queue (INV-MACHINE-1).
    pub(super) backlog: VecDeque<FileId>,
    pub(super) backlog_max: usize,
}

impl Listener {
    pub(super) fn state(&self) -> u32 {
        if self.backlog.is_empty() { 0 } else { IN }
    }

    /// Linux takes one connection more than it was told (`sk_acceptq_is_full`).
    pub(super) fn is_full(&self) -> bool {
        self.backlog.len() > self.backlog_max
    }

    pub(super) fn refuses_to_read(&self) -> Errno {
        match self.domain {
            Domain::Unix => Errno::EINVAL,
            Domain::V4 | Domain::V6 => Errno::ENOTCONN,
        }
    }

    pub(super) fn refuses_to_write(&self) -> Errno {
        match self.domain {
            Domain::Unix => Errno::ENOTCONN,
            Domain::V4 | Domain::V6 => Errno::EPIPE,
        }
    }
}
