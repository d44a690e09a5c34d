//! One connection of the server on a reactor: what it reads it writes back.
//!
//! **What.** [`Connection::serve`] does what can be done now without blocking, and says what to wait for.
//!
//! **Invariants.** *INV-ECHO-1*: nothing is read while something is left to write. So what is kept is bounded by one
//! read, a peer that doesn't take its bytes back is not read from, and at the end of the stream everything has been
//! written.
//!
//! **Why this shape.** All connections read into one buffer; only one that its peer keeps waiting has bytes of its own.
//! A message allocates nothing, and an idle connection has no buffer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::counts::Counts;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More to echo.
    Read,
    /// The peer has to take its bytes back first.
    Write,
    /// Nothing: it is over.
    Close,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read and not written yet: from `written` on.
    kept: Vec<u8>,
    written: usize,
}

impl Connection {
    /// A connection over a non-blocking stream.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            kept: Vec::new(),
            written: 0,
        }
    }

    /// What it waits for now.
    pub(crate) fn waits_for(&self) -> Next {
        if self.written < self.kept.len() {
            Next::Write
        } else {
            Next::Read
        }
    }

    /// Writes what is kept, or else reads once and writes that back. One read a turn: no peer can keep the server to
    /// itself.
    pub(crate) fn serve(&mut self, buffer: &mut [u8], counts: &mut Counts) -> Next {
        if self.waits_for() == Next::Write {
            return self.write_kept(counts);
        }
        counts.syscalls += 1;
        match self.stream.read(buffer) {
            Ok(0) => {
                // Everything is written (INV-ECHO-1). The peer may still be reading.
                counts.syscalls += 1;
                let _ = self.stream.shutdown(Shutdown::Write);
                Next::Close
            }
            Ok(count) => self.write(&buffer[..count], counts),
            Err(error) if is_passing(error.kind()) => Next::Read,
            Err(_) => {
                counts.resets += 1;
                Next::Close
            }
        }
    }

    /// Writes what was just read, and keeps what does not go.
    fn write(&mut self, bytes: &[u8], counts: &mut Counts) -> Next {
        counts.syscalls += 1;
        let written = match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if is_passing(error.kind()) => 0,
            Err(_) => {
                counts.resets += 1;
                return Next::Close;
            }
        };
        counts.bytes += written as u64;
        if written == bytes.len() {
            return Next::Read;
        }
        self.kept.clear();
        self.kept.extend_from_slice(&bytes[written..]);
        self.written = 0;
        Next::Write
    }

    /// Writes of what is kept as much as goes.
    fn write_kept(&mut self, counts: &mut Counts) -> Next {
        counts.syscalls += 1;
        match self.stream.write(&self.kept[self.written..]) {
            Ok(count) => {
                self.written += count;
                counts.bytes += count as u64;
                self.waits_for()
            }
            Err(error) if is_passing(error.kind()) => Next::Write,
            Err(_) => {
                counts.resets += 1;
                Next::Close
            }
        }
    }
}

/// Whether to try again when the loop says so.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
