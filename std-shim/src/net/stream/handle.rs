//! What a program does with a stream.

#![forbid(unsafe_code)]

use std::fmt;

use linux_event_core::error::Error as LoopError;

use super::super::address::Address;
use super::super::drive::Owner;
use super::super::model::Net;
use super::super::socket::{Socket, os_error};
use super::super::sockets::SocketCalls;
use super::output::Spares;
use super::{Flow, Stream, StreamEntry, WriteError};
use crate::error::{Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;

/// What [`Stream::detach`] gives back.
pub struct Detached<M: Model> {
    /// The socket, as it was: nothing was shut down, unless by [`Stream::end`] before.
    pub socket: Socket<M>,
    /// What had been received and was not told of.
    pub input: Vec<u8>,
}

impl<M: Model> fmt::Debug for Detached<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached")
            .field("socket", &self.socket)
            .field("input", &self.input.len())
            .finish()
    }
}

impl Stream {
    /// The stream, to have something noted; its model sees to it before the loop waits.
    fn note<M: Net, S, R>(
        self,
        event_loop: &mut Loop<M, S>,
        note: impl FnOnce(&mut StreamEntry<M, S>, &mut Spares) -> R,
    ) -> Result<R, Error> {
        let net = &mut event_loop.net;
        let entry = net.streams.get_mut(self.0).ok_or(LoopError::Stale)?;
        let noted = note(entry, &mut net.spares);
        event_loop.attend(Owner::Stream(self.0));
        Ok(noted)
    }

    /// Queues bytes to be sent: at the end of this stream's callback, or before the loop waits. All of them are taken, or none.
    ///
    /// # Errors
    /// [`WriteError::Closed`] if the stream is gone or failing; [`WriteError::Ended`]; [`WriteError::Full`].
    pub fn write<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
        bytes: &[u8],
    ) -> Result<Flow, WriteError> {
        let net = &mut event_loop.net;
        let entry = net.streams.get_mut(self.0).ok_or(WriteError::Closed)?;
        let now = entry.clock(&event_loop.model);
        let flow = entry.state.write(bytes, now, &mut net.spares)?;
        event_loop.attend(Owner::Stream(self.0));
        Ok(flow)
    }

    /// Queues a message to be sent, as the codec has it; of a stream without one, bytes. See [`write`](Self::write).
    ///
    /// # Errors
    /// As [`write`](Self::write); [`WriteError::Message`] if the codec can't carry it.
    pub fn write_message<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
        message: &[u8],
    ) -> Result<Flow, WriteError> {
        let net = &mut event_loop.net;
        let entry = net.streams.get_mut(self.0).ok_or(WriteError::Closed)?;
        let now = entry.clock(&event_loop.model);
        let flow = entry.state.write_message(message, now, &mut net.spares)?;
        event_loop.attend(Owner::Stream(self.0));
        Ok(flow)
    }

    /// Tells nothing more of what comes, and reads no more, until [`resume`](Self::resume). What has come already is kept (M-3).
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn pause<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.note(event_loop, |entry, _| entry.state.pause())
    }

    /// Ends a [`pause`](Self::pause): what was kept is told first, without new input.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn resume<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        let entry = event_loop
            .net
            .streams
            .get_mut(self.0)
            .ok_or(LoopError::Stale)?;
        let now = entry.clock(&event_loop.model);
        entry.state.resume(now);
        event_loop.attend(Owner::Stream(self.0));
        Ok(())
    }

    /// Sends what is queued, then tells the peer that nothing more comes. Reading goes on; when the peer has ended too, the
    /// stream closes.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    #[doc(alias = "shutdown")]
    pub fn end<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.note(event_loop, |entry, spares| entry.state.end(spares))
    }

    /// Sends what is queued, then closes. Nothing is read any more: a peer that has sent something which was not read sees a
    /// reset, as TCP has it, and may lose what it has not read yet; [`end`](Self::end) waits for the peer.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn close_after_drain<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.note(event_loop, |entry, spares| {
            entry.state.close_after_drain(spares);
        })
    }

    /// Closes, whatever is queued; `on_close` is called in a later turn, or when the callback that runs has returned.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn close<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.note(event_loop, |entry, _| entry.state.close())
    }

    /// Sends what is queued, then gives the socket back, open, to `callback`, with what had been received and was not told of.
    /// Nothing else is called any more, unless sending fails: then it is closed as always.
    ///
    /// # Errors
    /// [`LoopError::Stale`], also of a stream that is closing already, or has a transport.
    pub fn detach<M: Net, S, R: Outcome>(
        self,
        event_loop: &mut Loop<M, S>,
        callback: impl FnOnce(&mut Loop<M, S>, Detached<M>) -> R + 'static,
    ) -> Result<(), Error> {
        let entry = event_loop
            .net
            .streams
            .get_mut(self.0)
            .ok_or(LoopError::Stale)?;
        entry.state.detach().map_err(|_| LoopError::Stale)?;
        entry.on_detach = Some(Box::new(move |event_loop, detached| {
            callback(event_loop, detached).into_result()
        }));
        event_loop.attend(Owner::Stream(self.0));
        Ok(())
    }

    /// Whether the stream is there: it is not once it is closed.
    pub fn is_open<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        event_loop.net.streams.get(self.0).is_some()
    }

    /// Whether more than the high watermark is queued, and it has not drained since; false if the stream is gone.
    pub fn is_blocked<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        let entry = event_loop.net.streams.get(self.0);
        entry.is_some_and(|entry| entry.state.is_blocked())
    }

    /// Whether it is [paused](Self::pause); false if the stream is gone.
    pub fn is_paused<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        let entry = event_loop.net.streams.get(self.0);
        entry.is_some_and(|entry| entry.state.is_paused())
    }

    /// Bytes that wait to be sent; 0 if the stream is gone.
    pub fn pending<M: Net, S>(self, event_loop: &Loop<M, S>) -> usize {
        let entry = event_loop.net.streams.get(self.0);
        entry.map_or(0, |entry| entry.state.pending())
    }

    /// Bytes that came and were not told of: of a message that is not complete, or while it is paused; 0 if the stream is gone.
    pub fn kept<M: Net, S>(self, event_loop: &Loop<M, S>) -> usize {
        let entry = event_loop.net.streams.get(self.0);
        entry.map_or(0, |entry| entry.state.kept())
    }

    /// Where its peer is.
    ///
    /// # Errors
    /// [`LoopError::Stale`]; ENOTCONN if the peer has gone already.
    pub fn peer<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<Address, Error> {
        let entry = event_loop.net.streams.get(self.0).ok_or(LoopError::Stale)?;
        let peer = event_loop
            .model
            .with_socket(&entry.io, SocketCalls::peer_address);
        peer.ok_or(LoopError::Stale)?
            .map_err(|errno| os_error("getpeername", errno))
    }
}
