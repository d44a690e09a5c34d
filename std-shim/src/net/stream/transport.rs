//! What may sit between a stream and its socket: encryption, as a rule.
//!
//! **What.** A [`Transport`] turns what the program sends into what goes over the wire, and back, and may have things of its own to
//! say to the other side. It knows no socket and no loop.
//!
//! **Why this shape.** A transport is bytes in, bytes out: whether the wire can be read or written is the stream's matter, in
//! either model. What it wants is in what it leaves: bytes for the wire, which the stream sends before anything else, and
//! [`wants_read`](Transport::wants_read).

#![forbid(unsafe_code)]

use crate::error::BoxError;

/// A layer between a stream and its socket: see [`StreamBuilder::transport`](super::StreamBuilder::transport).
///
/// What a method appends to `wire` is sent, in order. An error ends the stream, with
/// [`StreamError::Transport`](super::StreamError::Transport), after what is on the wire by then, as far as the kernel takes it at
/// once: an alert reaches the other side.
///
/// One that hides text from who looks over a shoulder (`examples/tls_echo` has one for TLS, by rustls):
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use linux_event::{BoxError, Loop};
/// use linux_event::net::{Stream, Transport};
///
/// struct Masked(u8);
///
/// impl Transport for Masked {
///     fn received(&mut self, bytes: &[u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> Result<(), BoxError> {
///         plain.extend(bytes.iter().map(|byte| byte ^ self.0));
///         Ok(())
///     }
///
///     fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), BoxError> {
///         wire.extend(plain.iter().map(|byte| byte ^ self.0));
///         Ok(())
///     }
/// }
///
/// let (one, other) = UnixStream::pair()?;
/// let mut event_loop = Loop::reactor_with(Vec::new())?;
/// let sender = Stream::over(&mut event_loop, one).transport(Masked(0x55)).start()?;
/// Stream::over(&mut event_loop, other)
///     .transport(Masked(0x55))
///     .on_data(|event_loop, _, bytes| event_loop.state.extend_from_slice(bytes))
///     .start()?;
/// sender.write(&mut event_loop, b"hello")?;
/// sender.end(&mut event_loop)?;
/// event_loop.run()?;
/// assert_eq!(event_loop.state, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Transport {
    /// The stream begins: what is to be sent before anything has come, as a client's greeting.
    ///
    /// # Errors
    /// The transport's own.
    fn begin(&mut self, wire: &mut Vec<u8>) -> Result<(), BoxError> {
        let _ = wire;
        Ok(())
    }

    /// Bytes have come over the wire: appends what they say to `plain`.
    ///
    /// # Errors
    /// The transport's own: what came makes no sense.
    fn received(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), BoxError>;

    /// The program sends: what goes over the wire for it is appended to `wire`, or kept until it may go.
    ///
    /// # Errors
    /// The transport's own.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), BoxError>;

    /// The program sends nothing more: what is to be said about that.
    ///
    /// # Errors
    /// The transport's own.
    fn end(&mut self, wire: &mut Vec<u8>) -> Result<(), BoxError> {
        let _ = wire;
        Ok(())
    }

    /// The other side has closed the wire.
    ///
    /// # Errors
    /// If it should have said so before: what came may be cut off.
    fn wire_ended(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Whether the other side has said that it sends nothing more. The wire may still be open.
    fn has_ended(&self) -> bool {
        false
    }

    /// Whether it needs to hear from the other side even while the program does not: until a handshake is done.
    fn wants_read(&self) -> bool {
        false
    }
}
