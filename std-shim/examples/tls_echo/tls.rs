//! TLS as a transport, by rustls.
//!
//! **Why this shape.** rustls does no input or output of its own either: what came is given to it, what it wants to send is taken
//! from it, and that is all there is to a transport.

use std::io::{Read, Write};
use std::sync::Arc;

use linux_event::BoxError;
use linux_event::net::Transport;
use rustls::{ServerConfig, ServerConnection};

/// The server's side of a TLS connection.
pub(crate) struct Tls {
    connection: ServerConnection,
    has_ended: bool,
}

impl Tls {
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(None); // the stream's watermarks are what bounds it
        Ok(Self {
            connection,
            has_ended: false,
        })
    }

    /// What rustls wants to send.
    fn flush(&mut self, wire: &mut Vec<u8>) -> Result<(), BoxError> {
        while self.connection.wants_write() {
            self.connection.write_tls(wire)?;
        }
        Ok(())
    }
}

impl Transport for Tls {
    fn received(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        while !bytes.is_empty() && !self.has_ended {
            self.connection.read_tls(&mut bytes)?;
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    self.flush(wire)?; // an alert
                    return Err(error.into());
                }
            };
            let before = plain.len();
            plain.resize(before + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut plain[before..])?;
            self.has_ended = state.peer_has_closed();
        }
        self.flush(wire)
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), BoxError> {
        self.connection.writer().write_all(plain)?;
        self.flush(wire)
    }

    fn end(&mut self, wire: &mut Vec<u8>) -> Result<(), BoxError> {
        self.connection.send_close_notify();
        self.flush(wire)
    }

    fn wire_ended(&mut self) -> Result<(), BoxError> {
        if self.has_ended {
            return Ok(());
        }
        Err("the connection was cut off".into())
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn wants_read(&self) -> bool {
        self.connection.is_handshaking()
    }
}
