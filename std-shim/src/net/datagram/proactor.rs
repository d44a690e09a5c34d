//! Datagrams over completion.
//!
//! **What.** A socket has one receive and one send under way: packets keep their order. A receive that is over begins again with
//! the next wait, in the call that the loop makes anyway.
//!
//! **Invariants.** *INV-DATAGRAM-PROACTOR-1*: the receive's buffer has room for more than a packet may have, so that what fills
//! more than that was cut.
//!
//! **Why this shape.** The kernel could tell the length of a cut packet (`MSG_TRUNC`), but then the buffer is zeroed before each
//! receive, so that nobody takes for filled what is not; one byte more says as much. A send never waits in the ring: a kernel
//! that finds a unix peer's queue full has taken the bytes out of the message by then, and sends it again without them (seen on
//! Linux 6.18). So it is asked not to wait (`MSG_DONTWAIT`), and a poll, or a timer, waits for room.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::handle::Op;
use linux_event_core::proactor::{MessageFlags, PollEvents, VectoredRequest, Vectors, op};
use linux_event_core::sys::sockaddr;

use super::super::address::Address;
use super::super::drive::{OpTag, Owner, Role};
use super::super::table::Id;
use super::drive::{Called, DatagramEntry};
use super::queue::Packet;
use super::state::{Kept, Sent, Wait};
use crate::buffer::Buffer;
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::proactor::{Completion, Proactor, ProactorBackend};

impl<B: ProactorBackend, S> Loop<Proactor<B>, S> {
    /// An operation on a datagram socket has completed.
    pub(in crate::net) fn datagram_completed(
        &mut self,
        id: Id,
        role: Role,
        completion: &Completion<B>,
    ) -> Result<(), BoxError> {
        let told = match role {
            Role::Send => self.packet_sent(id, completion),
            Role::Room => {
                if let Some(entry) = self.net.datagrams.get_mut(id)
                    && entry.state.wait == Wait::Room
                {
                    entry.state.wait = Wait::No;
                }
                Ok(())
            }
            _ => self.packet_received(id, completion),
        };
        let driven = self.drive_datagram(id);
        told.and(driven)
    }

    fn packet_received(&mut self, id: Id, completion: &Completion<B>) -> Called {
        let mut name = [0; sockaddr::UNIX_SIZE_MAX];
        let length = self.model.core.name(completion.op, &mut name);
        let buffer = self.model.core.take_vectors().pop();
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        entry.io.reading = None;
        entry.io.is_cancelling = false;
        let bytes = Vec::from(buffer.unwrap_or_default());
        match completion.outcome() {
            Ok(_) => {}
            outcome => {
                entry.state.buffer = bytes;
                return match outcome {
                    Err(Errno::ECANCELED | Errno::EINTR | Errno::EAGAIN) | Ok(_) => Ok(()),
                    Err(errno) => self.datagram_unreadable(id, errno),
                };
            }
        }
        let peer = length.and_then(|length| Address::decode(&name[..length]));
        let peer = peer.unwrap_or_else(|| Address::from_path_bytes(b""));
        let size = entry.state.receive_size;
        let is_cut = bytes.len() > size;
        // It came before the receive was ended: kept (INV-DATAGRAM-NET-1).
        if entry.state.is_paused {
            let mut bytes = bytes;
            bytes.truncate(size);
            entry.state.kept = Some(Kept {
                bytes,
                peer,
                is_cut,
            });
            return Ok(());
        }
        let told = self.tell_packet(id, &bytes[..bytes.len().min(size)], &peer, is_cut);
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            entry.state.buffer = bytes;
        }
        told
    }

    fn packet_sent(&mut self, id: Id, completion: &Completion<B>) -> Called {
        let buffers = self.model.core.take_vectors();
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        let packet = given_back(entry, buffers);
        let sent = entry.state.sent(packet, completion.outcome().map(drop));
        if entry.state.wait == Wait::Room
            && let Some(file) = entry.io.file
        {
            let owner = Owner::Datagram(id);
            let poll = op::poll(file, PollEvents::OUT);
            if self.submit_net(poll, owner, Role::Room, false).is_err()
                && let Some(entry) = self.net.datagrams.get_mut(id)
            {
                entry.state.wait = Wait::Timer;
            }
        }
        match sent {
            Sent::Told(error) => self.tell_datagram_error(id, error),
            Sent::Quiet => Ok(()),
        }
    }

    /// Begins to send and to receive, as is wanted.
    pub(in crate::net) fn drive_packets(&mut self, id: Id) -> Called {
        self.begin_send_packet(id)?;
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        let wants = entry.state.wants_read();
        match (entry.io.reading, entry.io.file) {
            (None, Some(file)) if wants => {
                let mut buffer = std::mem::take(&mut entry.state.buffer);
                buffer.clear();
                buffer.reserve_exact(entry.state.receive_size + 1); // INV-DATAGRAM-PROACTOR-1
                let mut buffers = Vectors::new();
                let _ = buffers.push(Buffer::from(buffer));
                let recv = op::recv_message(file, buffers);
                match self.submit_message(recv.into(), id, Role::Recv) {
                    Ok(op) => {
                        if let Some(entry) = self.net.datagrams.get_mut(id) {
                            entry.io.reading = Some(op);
                        }
                    }
                    Err((error, mut buffers)) => {
                        if let Some(entry) = self.net.datagrams.get_mut(id) {
                            entry.state.buffer = buffers.pop().unwrap_or_default().into();
                            entry.state.fault = Some(error.errno().unwrap_or(Errno::ENOBUFS));
                            self.attend(Owner::Datagram(id));
                        }
                    }
                }
            }
            (Some(op), _) if !wants && !entry.io.is_cancelling => {
                entry.io.is_cancelling = true;
                self.model.core.cancel(op.handle());
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_send_packet(&mut self, id: Id) -> Called {
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        let Some(file) = entry.io.file else {
            return Ok(());
        };
        if entry.io.is_sending || entry.state.wait != Wait::No {
            return Ok(());
        }
        let Some(Packet { bytes, to }) = entry.state.queue.lend() else {
            return Ok(());
        };
        let mut buffers = Vectors::new();
        let _ = buffers.push(Buffer::from(bytes));
        if let Some(Address::Unix(path)) = &to {
            let _ = buffers.push(Buffer::from(Address::path_bytes(path)));
        }
        let send = op::send_message(file, buffers).flags(MessageFlags::DONT_WAIT);
        let send = match &to {
            Some(Address::Internet(address)) => send.to(*address),
            Some(Address::Unix(_)) => send.to_path(),
            None => send,
        };
        entry.state.lent_to = to;
        entry.io.is_sending = true;
        let Err((error, buffers)) = self.submit_message(send.into(), id, Role::Send) else {
            return Ok(());
        };
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        let packet = given_back(entry, buffers);
        let errno = match error {
            crate::LoopError::Invalid(_) => Errno::EINVAL, // a path that can't be one
            error => error.errno().unwrap_or(Errno::ENOBUFS),
        };
        let told = entry.state.sent(packet, Err(errno));
        if !entry.state.queue.is_empty() && entry.state.wait == Wait::No {
            self.attend(Owner::Datagram(id));
        }
        match told {
            Sent::Told(error) => self.tell_datagram_error(id, error),
            Sent::Quiet => Ok(()),
        }
    }

    #[allow(
        clippy::type_complexity,
        clippy::result_large_err,
        reason = "the error and what was refused, as everywhere"
    )]
    fn submit_message(
        &mut self,
        request: VectoredRequest<Buffer>,
        id: Id,
        role: Role,
    ) -> Result<Op, (crate::LoopError, Vectors<Buffer>)> {
        let op = self.model.core.submit_vectored(request, ())?;
        let owner = Owner::Datagram(id);
        self.callbacks.ops.fill_net(op, OpTag { owner, role });
        Ok(op)
    }
}

/// The packet that was lent to a send, which is over or was refused. After its bytes there may be a path.
fn given_back<B: ProactorBackend, S>(
    entry: &mut DatagramEntry<Proactor<B>, S>,
    buffers: Vectors<Buffer>,
) -> Packet {
    entry.io.is_sending = false;
    Packet {
        bytes: buffers.into_iter().next().unwrap_or_default().into(),
        to: entry.state.lent_to.take(),
    }
}
