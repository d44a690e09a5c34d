//! Streams and listeners over completion.
//!
//! **What.** A stream has one receive under way, multishot, into buffers that all streams of the loop share, and at most one
//! send, of what was queued when it began: what is queued meanwhile goes with the next, so that bytes keep their order. A
//! listener has one multishot accept. Where there are no such receives or buffers (before Linux 6.0, or where no memory may be
//! locked for them), a poll waits until a stream can be read, and then it is read by hand; without multishot accepts there is an
//! accept for each connection (M-6).
//!
//! **Invariants.** *INV-NET-PROACTOR-1*: `reading` is the receive, poll or accept that has not settled. *INV-NET-PROACTOR-2*: a lease is
//! given back before the turn goes on: so a receive that ended for want of buffers (ENOBUFS) finds some when it begins again.
//! *INV-NET-PROACTOR-3*: on a file in `unclosed`, for whose closing there was no room, an operation is under way whose end was
//! asked for: when that has settled there is.
//!
//! **Why this shape.** The kernel chooses a buffer when bytes are there: ten thousand connections that are silent hold none. A
//! receive that owns its buffer would hold it all the while, so where there is nothing to choose from none is begun: what is read
//! by hand goes into one buffer of the loop's.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{File, Op};
use linux_event_core::proactor::{Group, Payload, PollEvents, Request, op};

use super::address::Address;
use super::drive::{OpTag, Owner, Role};
use super::model::{Connecting, Net};
use super::sockets::SocketCalls;
use super::stream::StreamError;
use super::table::Id;
use crate::buffer::Buffer;
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::model::Model;
use crate::proactor::{Completion, Proactor, ProactorBackend};

/// Provided buffers of a loop, and their bytes.
const BUFFERS: u16 = 128;
const BUFFER_BYTES: u32 = 8 * 1024;

/// What the proactor keeps for a socket.
#[derive(Debug, Default)]
pub struct ProactorIo {
    /// `None` once it was let go.
    pub(super) file: Option<File>,
    /// INV-NET-PROACTOR-1.
    pub(super) reading: Option<Op>,
    /// Its end was asked for.
    pub(super) is_cancelling: bool,
    pub(super) is_sending: bool,
    is_uncounted: bool,
}

/// What the streams of a loop share.
#[derive(Debug, Default)]
pub struct ProactorShared {
    group: Buffers,
    /// The kernel has no multishot accept.
    accepts_once: bool,
    /// INV-NET-PROACTOR-3.
    unclosed: Vec<File>,
}

/// The buffers that receives fill.
#[derive(Debug, Default)]
enum Buffers {
    /// Nobody has received yet.
    #[default]
    Unmade,
    Provided(Group),
    /// The kernel has none to choose from.
    None,
}

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// An operation of the net layer's has completed.
    pub(crate) fn net_completed(
        &mut self,
        tag: OpTag,
        completion: Completion<B>,
    ) -> Result<(), BoxError> {
        self.close_unclosed();
        match (tag.owner, tag.role) {
            (Owner::Stream(id), Role::Send) => self.stream_sent(id, completion),
            (Owner::Stream(id), Role::Ready) => self.stream_ready(id, &completion),
            (Owner::Stream(id), _) => self.stream_received(id, completion),
            (Owner::Listener(id), _) => self.listener_completed(id, completion),
            (Owner::Attempt(id, index), _) => {
                if let Some(io) = self.attempt_io(id, index) {
                    io.reading = None;
                    let result = completion.outcome().map(drop);
                    self.attempt_over(id, index, result);
                }
                Ok(())
            }
            (Owner::Datagram(id), role) => self.datagram_completed(id, role, &completion),
            (Owner::Connector(_), _) => Ok(()),
        }
    }

    /// Closes what there was no room to close; an operation has settled, so that there is (INV-NET-PROACTOR-3).
    pub(crate) fn close_unclosed(&mut self) {
        for file in std::mem::take(&mut self.net.shared.unclosed) {
            self.close_file(file);
        }
    }

    /// Cancels what is under way on a file, and closes it when that has settled (P-15), room for the operation or not.
    pub(crate) fn close_file(&mut self, file: File) {
        match self.model.core.close(file, ()) {
            Ok(op) => {
                self.model.core.detach(op);
            }
            Err(Error::Full { .. }) => {
                // Dropped, what is given back is closed.
                if let Err(Error::Busy) = self.model.core.release(file).map(drop) {
                    self.model.core.cancel_on(file);
                    self.net.shared.unclosed.push(file);
                }
            }
            Err(_) => {} // it is gone, or its parent's
        }
    }

    pub(super) fn submit_net(
        &mut self,
        request: impl Into<Request<Buffer>>,
        owner: Owner,
        role: Role,
        is_uncounted: bool,
    ) -> Result<Op, crate::Refused> {
        let op = self.model.core.submit(request, ())?;
        self.callbacks.ops.fill_net(op, OpTag { owner, role });
        if is_uncounted {
            self.model.core.set_counted(op.handle(), false);
        }
        Ok(op)
    }

    fn stream_received(&mut self, id: Id, completion: Completion<B>) -> Result<(), BoxError> {
        let now = self.model.core.now();
        let Some(entry) = self.net.streams.get_mut(id) else {
            return Ok(()); // what it brings is freed, or given back
        };
        if !completion.more {
            entry.io.reading = None;
            entry.io.is_cancelling = false;
        }
        match completion.outcome() {
            Ok(0) if !completion.more => entry.state.received_eof(now),
            Ok(_) => {
                if let Payload::Lease(lease) = completion.payload {
                    return self.deliver(id, &lease);
                }
            }
            Err(Errno::ECANCELED | Errno::ENOBUFS | Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => entry.state.failed_to_read(StreamError::Io(errno)),
        }
        self.deliver(id, &[])
    }

    /// A stream can be read, or waits for it no more.
    fn stream_ready(&mut self, id: Id, completion: &Completion<B>) -> Result<(), BoxError> {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return Ok(());
        };
        entry.io.reading = None;
        entry.io.is_cancelling = false;
        match completion.outcome() {
            Ok(_) if entry.state.wants_read() => return self.read_stream(id),
            Ok(_) | Err(Errno::ECANCELED | Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => entry.state.failed_to_read(StreamError::Io(errno)),
        }
        self.deliver(id, &[])
    }

    fn stream_sent(&mut self, id: Id, completion: Completion<B>) -> Result<(), BoxError> {
        let outcome = completion.outcome();
        let segment = completion.into_buffer().unwrap_or_default().into();
        let Some(entry) = self.net.streams.get_mut(id) else {
            self.net.spares.keep(segment);
            return Ok(());
        };
        let now = entry.clock(&self.model);
        entry.io.is_sending = false;
        let sent = outcome.map_or(0, |count| (count as usize).min(segment.len()));
        entry
            .state
            .restore(segment, sent, now, &mut self.net.spares);
        match outcome {
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN | Errno::ECANCELED) => {}
            Err(errno) => entry.state.failed_to_send(StreamError::Io(errno)),
        }
        self.deliver(id, &[])
    }

    fn listener_completed(&mut self, id: Id, completion: Completion<B>) -> Result<(), BoxError> {
        if let Some(entry) = self.net.listeners.get_mut(id)
            && !completion.more
        {
            entry.io.reading = None;
            entry.io.is_cancelling = false;
        }
        let told = match completion.outcome() {
            // P-5: also after a cancel.
            Ok(_) => match completion.into_descriptor() {
                Some(socket) => self.accepted(id, socket),
                None => Ok(()),
            },
            Err(Errno::ECANCELED) => Ok(()),
            Err(errno) => self.accept_failed(id, errno),
        };
        Self::update_accepting(self, id);
        self.finish_listener(id);
        told
    }

    /// Begins to receive, or to wait until something can be.
    fn begin_recv(&mut self, id: Id, file: File) -> Result<Op, Error> {
        let owner = Owner::Stream(id);
        if matches!(self.net.shared.group, Buffers::Unmade) {
            // A kernel that is too old, or a limit on locked memory: without.
            let provided = self.model.core.provide(BUFFERS, BUFFER_BYTES);
            self.net.shared.group = provided.map_or(Buffers::None, Buffers::Provided);
        }
        if let Buffers::Provided(group) = self.net.shared.group {
            match self.submit_net(op::recv_multi(file, group), owner, Role::Recv, false) {
                Ok(op) => return Ok(op),
                Err(refused) if is_unsupported(&refused.error) => {
                    let _ = self.model.core.withdraw(group); // nothing has used it
                    self.net.shared.group = Buffers::None;
                }
                Err(refused) => return Err(refused.error),
            }
        }
        let poll = op::poll(file, PollEvents::IN);
        let op = self.submit_net(poll, owner, Role::Ready, false);
        op.map_err(|refused| refused.error)
    }

    /// Begins to accept.
    fn begin_accept(&mut self, id: Id, file: File, is_uncounted: bool) -> Result<Op, Error> {
        let owner = Owner::Listener(id);
        if !self.net.shared.accepts_once {
            match self.submit_net(op::accept_multi(file), owner, Role::Accept, is_uncounted) {
                Ok(op) => return Ok(op),
                Err(refused) if is_unsupported(&refused.error) => {
                    self.net.shared.accepts_once = true;
                }
                Err(refused) => return Err(refused.error),
            }
        }
        let op = self.submit_net(op::accept(file), owner, Role::Accept, is_uncounted);
        op.map_err(|refused| refused.error)
    }

    fn update_accepting(&mut self, id: Id) {
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return;
        };
        let wants = entry.wants_accept();
        let Some(file) = entry.io.file else {
            return;
        };
        match entry.io.reading {
            None if wants => {
                let is_uncounted = entry.io.is_uncounted;
                let begun = self.begin_accept(id, file, is_uncounted);
                if let Some(entry) = self.net.listeners.get_mut(id) {
                    match begun {
                        Ok(op) => entry.io.reading = Some(op),
                        Err(error) => {
                            entry.fault = Some(error);
                            self.attend(Owner::Listener(id));
                        }
                    }
                }
            }
            Some(op) if !wants && !entry.io.is_cancelling => {
                entry.io.is_cancelling = true;
                self.model.core.cancel(op.handle());
            }
            _ => {}
        }
    }

    fn flush_stream(&mut self, id: Id) {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return;
        };
        let Some(file) = entry.io.file else {
            return;
        };
        if !entry.io.is_sending
            && let Some(segment) = entry.state.lend()
        {
            let send = op::send(file, Buffer::from(segment));
            let submitted = self.submit_net(send, Owner::Stream(id), Role::Send, false);
            if let Some(entry) = self.net.streams.get_mut(id) {
                match submitted {
                    Ok(_) => entry.io.is_sending = true,
                    Err(refused) => {
                        let segment = refused.buffer.unwrap_or_default().into();
                        let now = entry.clock(&self.model);
                        let spares = &mut self.net.spares;
                        entry.state.restore(segment, 0, now, spares);
                        entry.state.failed(refused_io(&refused.error));
                    }
                }
            }
        }
        let Some(entry) = self.net.streams.get_mut(id) else {
            return;
        };
        if entry.state.wants_shutdown() && self.model.is_owner() {
            let shut = self
                .model
                .with_socket(&entry.io, SocketCalls::shutdown_write);
            match shut {
                // The peer is gone: what it left is still to be read.
                Some(Ok(()) | Err(Errno::ENOTCONN)) | None => entry.state.was_shut_down(),
                Some(Err(errno)) => entry.state.failed(StreamError::Io(errno)),
            }
        }
    }
}

fn refused_io(error: &Error) -> StreamError {
    StreamError::Io(error.errno().unwrap_or(Errno::ENOBUFS))
}

fn is_unsupported(error: &Error) -> bool {
    matches!(error, Error::UnsupportedOperation { .. })
}

impl<B: ProactorBackend> Net for Proactor<B> {
    type Calls = B::Calls;
    const NON_BLOCKING: bool = false;

    fn calls(&mut self) -> &mut B::Calls {
        B::calls_of(&mut self.core)
    }

    fn take_in(&mut self, socket: Self::Socket) -> Result<ProactorIo, (Error, Self::Socket)> {
        let file = self.core.adopt(socket)?;
        Ok(ProactorIo {
            file: Some(file),
            ..ProactorIo::default()
        })
    }

    fn with_socket<R>(
        &mut self,
        io: &ProactorIo,
        call: impl FnOnce(&mut B::Calls, &Self::Socket) -> R,
    ) -> Option<R> {
        B::with_descriptor(&mut self.core, io.file?, call)
    }

    fn attend_stream<S>(event_loop: &mut Loop<Self, S>, id: Id) -> Result<(), BoxError> {
        event_loop.deliver(id, &[])
    }

    fn update_stream<S>(event_loop: &mut Loop<Self, S>, id: Id) {
        event_loop.flush_stream(id);
        let Some(entry) = event_loop.net.streams.get_mut(id) else {
            return;
        };
        let wants = entry.state.wants_read();
        match (entry.io.reading, entry.io.file) {
            (None, Some(file)) if wants => {
                let begun = event_loop.begin_recv(id, file);
                if let Some(entry) = event_loop.net.streams.get_mut(id) {
                    match begun {
                        Ok(op) => entry.io.reading = Some(op),
                        Err(error) => entry.state.failed(refused_io(&error)),
                    }
                }
            }
            (Some(op), _) if !wants && !entry.io.is_cancelling => {
                entry.io.is_cancelling = true;
                event_loop.model.core.cancel(op.handle());
            }
            _ => {}
        }
    }

    fn update_listener<S>(event_loop: &mut Loop<Self, S>, id: Id) {
        event_loop.update_accepting(id);
    }

    fn update_datagram<S>(event_loop: &mut Loop<Self, S>, id: Id) -> Result<(), BoxError> {
        event_loop.drive_packets(id)
    }

    fn close_io<S>(event_loop: &mut Loop<Self, S>, io: ProactorIo) {
        if let Some(file) = io.file {
            event_loop.close_file(file);
        }
    }

    fn release_io<S>(event_loop: &mut Loop<Self, S>, io: &mut ProactorIo) -> Option<Self::Socket> {
        if let Some(op) = io.reading {
            if !io.is_cancelling {
                io.is_cancelling = true;
                event_loop.model.core.cancel(op.handle());
            }
            return None;
        }
        let file = io.file?;
        let socket = event_loop.model.core.release(file).ok()?;
        io.file = None;
        Some(socket)
    }

    fn connect_io<S>(
        event_loop: &mut Loop<Self, S>,
        io: &mut ProactorIo,
        address: &Address,
        id: Id,
        index: u32,
    ) -> Connecting {
        let Some(file) = io.file else {
            return Connecting::Over(Err(Errno::EBADF));
        };
        let owner = Owner::Attempt(id, index);
        let connect: Request<Buffer> = match address {
            Address::Internet(address) => op::connect(file, *address).into(),
            Address::Unix(path) => {
                op::connect_unix(file, Buffer::from(Address::path_bytes(path))).into()
            }
        };
        match event_loop.submit_net(connect, owner, Role::Connect, false) {
            Ok(op) => {
                io.reading = Some(op);
                Connecting::UnderWay
            }
            Err(refused) => {
                let errno = match refused.error {
                    Error::Invalid(_) => Errno::EINVAL, // a path that can't be one
                    error => error.errno().unwrap_or(Errno::ENOBUFS),
                };
                Connecting::Over(Err(errno))
            }
        }
    }

    fn set_io_counted<S>(event_loop: &mut Loop<Self, S>, io: &mut ProactorIo, counted: bool) {
        io.is_uncounted = !counted;
        if let Some(op) = io.reading {
            event_loop.model.core.set_counted(op.handle(), counted);
        }
    }
}
