//! Streams and listeners over readiness.
//!
//! **What.** A stream reads when it is told that it can, once a turn; before it waits for the first time it tries. It writes
//! at once, up to [`SEND_BYTES`], and waits for room only where the kernel took less or there is more. A listener accepts up to its
//! limit a turn.
//!
//! **Invariants.** *INV-NET-REACTOR-1*: `interest` is what the watcher asks for.
//!
//! **Why this shape.** Level-triggered: what one turn leaves, the next one reports, so that no backlog strands and no stream
//! starves another. All streams read into one buffer of the loop's, from which messages are told without a copy.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::Watcher;
use linux_event_core::reactor::{Interest, Ready};
use linux_event_core::sys::AsRawFd;

use super::address::Address;
use super::drive::Owner;
use super::model::{Connecting, Net};
use super::sockets::SocketCalls;
use super::stream::{StreamEntry, StreamError};
use super::table::Id;
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::model::{LoopBackend, Model, Reactor};

/// Bytes that are sent at once from a stream at most: a peer may read as fast as they are.
const SEND_BYTES: usize = 1024 * 1024;

/// What the reactor keeps for a socket.
#[derive(Debug)]
pub struct ReactorIo<Socket> {
    /// `None` once it was let go.
    pub(super) socket: Option<Socket>,
    pub(super) watcher: Option<Watcher>,
    /// INV-NET-REACTOR-1.
    pub(super) interest: Interest,
    is_uncounted: bool,
}

impl<Socket> Default for ReactorIo<Socket> {
    fn default() -> Self {
        Self {
            socket: None,
            watcher: None,
            interest: Interest::empty(),
            is_uncounted: false,
        }
    }
}

impl<B: LoopBackend, S> Loop<Reactor<B>, S> {
    /// A watcher of the net layer's reports.
    pub(crate) fn net_ready(&mut self, owner: Owner, ready: Ready) -> Result<(), BoxError> {
        match owner {
            Owner::Stream(id) => self.stream_ready(id, ready),
            Owner::Listener(id) => self.listener_ready(id),
            Owner::Attempt(id, index) => {
                self.attempt_ready(id, index);
                Ok(())
            }
            Owner::Datagram(id) => self.datagram_ready(id, ready),
            Owner::Connector(_) => Ok(()),
        }
    }

    /// A socket that connects is decided: how, it says itself.
    fn attempt_ready(&mut self, id: Id, index: u32) {
        let decided =
            self.with_attempt(id, index, |calls, socket| match calls.take_error(socket) {
                Ok(None) => Ok(()),
                Ok(Some(errno)) | Err(errno) => Err(errno),
            });
        if let Some(result) = decided {
            self.attempt_over(id, index, result);
        }
    }

    fn stream_ready(&mut self, id: Id, ready: Ready) -> Result<(), BoxError> {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return Ok(());
        };
        if let Some(errno) = entry.io.refused(&self.model, ready) {
            entry.state.failed(StreamError::Io(errno));
        } else if ready != Ready::WRITE && entry.state.wants_read() {
            return self.read_stream(id);
        }
        self.deliver(id, &[])
    }

    /// Sends until everything is sent, the kernel takes no more, or others are to have their turn.
    fn flush_stream(&mut self, id: Id) {
        if !self.model.is_owner() {
            return; // what called this has forked (G-1)
        }
        let Some(entry) = self.net.streams.get_mut(id) else {
            return;
        };
        let Some(socket) = &entry.io.socket else {
            return;
        };
        let now = entry.clock(&self.model);
        let calls = self.model.core.backend_mut().calls();
        let state = &mut entry.state;
        let mut left = SEND_BYTES;
        while !state.front().is_empty() && left > 0 {
            match calls.send(socket, state.front()) {
                Ok(count) => {
                    left = left.saturating_sub(count);
                    state.sent(count, now, &mut self.net.spares);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => state.failed_to_send(StreamError::Io(errno)),
            }
        }
        if state.wants_shutdown() {
            match calls.shutdown_write(socket) {
                // The peer is gone: what it left is still to be read.
                Ok(()) | Err(Errno::ENOTCONN) => state.was_shut_down(),
                Err(errno) => state.failed(StreamError::Io(errno)),
            }
        }
    }

    fn listener_ready(&mut self, id: Id) -> Result<(), BoxError> {
        while self.listener_wants_more(id) && self.model.is_owner() {
            let Some(entry) = self.net.listeners.get_mut(id) else {
                break;
            };
            let Some(socket) = &entry.io.socket else {
                break;
            };
            match self.model.core.backend_mut().calls().accept(socket) {
                Ok(connection) => self.accepted(id, connection)?,
                Err(Errno::EAGAIN) => break,
                Err(errno) => self.accept_failed(id, errno)?,
            }
        }
        Self::update_listener_interest(self, id);
        Ok(())
    }

    fn update_listener_interest(&mut self, id: Id) {
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return;
        };
        let wanted = if entry.wants_accept() {
            Interest::READ
        } else {
            Interest::empty()
        };
        let mut io = entry.io.parts();
        if let Err(error) = self.watch_as_wanted(&mut io, wanted, Owner::Listener(id))
            && let Some(entry) = self.net.listeners.get_mut(id)
        {
            entry.fault = Some(error);
            self.attend(Owner::Listener(id));
        }
        if let Some(entry) = self.net.listeners.get_mut(id) {
            entry.io.set_parts(&io);
        }
    }

    /// Has a socket watched for what is wanted.
    pub(super) fn watch_as_wanted(
        &mut self,
        io: &mut Parts,
        wanted: Interest,
        owner: Owner,
    ) -> Result<(), Error> {
        if wanted == io.interest {
            return Ok(());
        }
        let Some(watcher) = io.watcher else {
            let watcher = self.watch_net(io.number, wanted, owner)?;
            if io.is_uncounted {
                self.model.core.set_counted(watcher.handle(), false);
            }
            io.watcher = Some(watcher);
            io.interest = wanted;
            return Ok(());
        };
        let (more, less) = (
            wanted.difference(io.interest),
            io.interest.difference(wanted),
        );
        if !more.is_empty() {
            self.model.core.enable(watcher, more)?;
        }
        if !less.is_empty() {
            self.model.core.disable(watcher, less)?;
        }
        io.interest = wanted;
        Ok(())
    }
}

/// What [`ReactorIo`] says of its watcher.
pub(super) struct Parts {
    number: i32,
    watcher: Option<Watcher>,
    interest: Interest,
    is_uncounted: bool,
}

impl<Socket: AsRawFd> ReactorIo<Socket> {
    /// Why a change of what is watched was refused: that is reported as an error.
    #[inline]
    pub(super) fn refused<B: LoopBackend>(
        &self,
        model: &Reactor<B>,
        ready: Ready,
    ) -> Option<Errno> {
        // Rarely more than one bit.
        if ready == Ready::READ || ready == Ready::WRITE {
            return None;
        }
        model.core.watch_error(self.watcher?)
    }

    pub(super) fn parts(&self) -> Parts {
        Parts {
            number: self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            watcher: self.watcher,
            interest: self.interest,
            is_uncounted: self.is_uncounted,
        }
    }

    pub(super) const fn set_parts(&mut self, parts: &Parts) {
        self.watcher = parts.watcher;
        self.interest = parts.interest;
    }
}

impl<B: LoopBackend> Net for Reactor<B> {
    type Calls = B::Calls;
    const NON_BLOCKING: bool = true;

    #[inline(always)]
    fn calls(&mut self) -> &mut B::Calls {
        self.core.backend_mut().calls()
    }

    fn take_in(&mut self, socket: Self::Socket) -> Result<Self::Io, (Error, Self::Socket)> {
        Ok(ReactorIo {
            socket: Some(socket),
            ..ReactorIo::default()
        })
    }

    #[inline]
    fn with_socket<R>(
        &mut self,
        io: &Self::Io,
        call: impl FnOnce(&mut B::Calls, &Self::Socket) -> R,
    ) -> Option<R> {
        let socket = io.socket.as_ref()?;
        Some(call(self.core.backend_mut().calls(), socket))
    }

    fn attend_stream<S>(event_loop: &mut Loop<Self, S>, id: Id) -> Result<(), BoxError> {
        // Reads before it waits: who connects has mostly sent something by the time it is accepted; what is kept is told first. And
        // before time is up: what has come may not have been in the turn's batch.
        let reads = |entry: &StreamEntry<Self, S>| {
            let is_new = entry.io.watcher.is_none() && entry.state.kept() == 0;
            (is_new || entry.is_overdue) && entry.state.wants_read()
        };
        if event_loop.net.streams.get(id).is_some_and(reads) {
            event_loop.read_stream(id)
        } else {
            event_loop.deliver(id, &[])
        }
    }

    #[inline]
    fn update_stream<S>(event_loop: &mut Loop<Self, S>, id: Id) {
        event_loop.flush_stream(id);
        let Some(entry) = event_loop.net.streams.get_mut(id) else {
            return;
        };
        let mut wanted = Interest::empty();
        wanted.set(Interest::READ, entry.state.wants_read());
        wanted.set(Interest::WRITE, !entry.state.front().is_empty());
        if wanted == entry.io.interest {
            return;
        }
        let mut io = entry.io.parts();
        let watched = event_loop.watch_as_wanted(&mut io, wanted, Owner::Stream(id));
        if let Some(entry) = event_loop.net.streams.get_mut(id) {
            entry.io.set_parts(&io);
            if let Err(error) = watched {
                let errno = error.errno().unwrap_or(Errno::ENOBUFS);
                entry.state.failed(StreamError::Io(errno));
            }
        }
    }

    fn update_listener<S>(event_loop: &mut Loop<Self, S>, id: Id) {
        event_loop.update_listener_interest(id);
    }

    fn update_datagram<S>(event_loop: &mut Loop<Self, S>, id: Id) -> Result<(), BoxError> {
        event_loop.drive_packets(id)
    }

    fn close_io<S>(event_loop: &mut Loop<Self, S>, io: Self::Io) {
        if let Some(watcher) = io.watcher {
            event_loop.model.core.cancel(watcher.handle());
            drop(event_loop.callbacks.vacate_watch(watcher));
        }
        if let Some(socket) = io.socket {
            event_loop.model.calls().close(socket);
        }
    }

    fn release_io<S>(event_loop: &mut Loop<Self, S>, io: &mut Self::Io) -> Option<Self::Socket> {
        if let Some(watcher) = io.watcher.take() {
            event_loop.model.core.cancel(watcher.handle());
            drop(event_loop.callbacks.vacate_watch(watcher));
        }
        io.socket.take()
    }

    fn connect_io<S>(
        event_loop: &mut Loop<Self, S>,
        io: &mut Self::Io,
        address: &Address,
        id: Id,
        index: u32,
    ) -> Connecting {
        let Some(socket) = &io.socket else {
            return Connecting::Over(Err(Errno::EBADF));
        };
        match event_loop.model.calls().connect(socket, address) {
            // Interrupted, it goes on (`connect(2)`).
            Err(Errno::EINPROGRESS | Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Connecting::Again,
            result => return Connecting::Over(result),
        }
        let mut parts = io.parts();
        let owner = Owner::Attempt(id, index);
        let watched = event_loop.watch_as_wanted(&mut parts, Interest::WRITE, owner);
        io.set_parts(&parts);
        match watched {
            Ok(()) => Connecting::UnderWay,
            Err(error) => Connecting::Over(Err(error.errno().unwrap_or(Errno::ENOBUFS))),
        }
    }

    fn set_io_counted<S>(event_loop: &mut Loop<Self, S>, io: &mut Self::Io, counted: bool) {
        io.is_uncounted = !counted;
        if let Some(watcher) = io.watcher {
            event_loop.model.set_counted(watcher.handle(), counted);
        }
    }
}
