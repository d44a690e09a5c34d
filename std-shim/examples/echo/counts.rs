//! What a server has done.

use std::fmt;

/// What a server has done. Prints as the line that it ends with.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections accepted.
    pub(crate) connections: u64,
    /// Bytes that came, to be sent back.
    pub(crate) bytes: u64,
    /// Connections that ended other than by the peer's end of stream.
    pub(crate) resets: u64,
    /// Connections that were accepted and could not be served, or were gone by the time they were accepted.
    pub(crate) refused: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub(crate) pauses: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "served connections={} bytes={} resets={} refused={} pauses={}",
            self.connections, self.bytes, self.resets, self.refused, self.pauses
        )
    }
}
