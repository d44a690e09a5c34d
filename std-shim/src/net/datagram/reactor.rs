//! Datagrams over readiness.
//!
//! **What.** A socket that is readable is read packet by packet until it is empty or the turn's limit is reached. What is
//! queued is sent at once; only where the kernel has no room the loop waits for it.
//!
//! **Invariants.** Those of the [parent](super).
//!
//! **Why this shape.** Level-triggered: what one turn leaves, the next one reports. All sockets receive into the loop's one
//! buffer, from which packets are told without a copy.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::reactor::{Interest, Ready};

use super::super::drive::Owner;
use super::super::sockets::SocketCalls;
use super::super::table::Id;
use super::drive::Called;
use super::state::{Sent, Wait};
use crate::event_loop::Loop;
use crate::model::{LoopBackend, Model, Reactor};

impl<B: LoopBackend, S> Loop<Reactor<B>, S> {
    /// The watcher of a datagram socket reports.
    pub(in crate::net) fn datagram_ready(&mut self, id: Id, ready: Ready) -> Called {
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        if let Some(errno) = entry.io.refused(&self.model, ready) {
            entry.state.fault = Some(errno);
            self.attend(Owner::Datagram(id));
            return Ok(());
        }
        if ready != Ready::READ && entry.state.wait == Wait::Room {
            entry.state.wait = Wait::No;
        }
        let told = if ready == Ready::WRITE {
            Ok(())
        } else {
            self.receive_packets(id)
        };
        let driven = self.drive_datagram(id);
        told.and(driven)
    }

    fn receive_packets(&mut self, id: Id) -> Called {
        let mut buffer = std::mem::take(&mut self.net.buffer);
        let told = self.receive_into(id, &mut buffer);
        self.net.buffer = buffer;
        told
    }

    fn receive_into(&mut self, id: Id, buffer: &mut Vec<u8>) -> Called {
        let turn = self.stats().turns;
        while !self.is_stopping()
            && self.model.is_owner() // G-1: what is told may fork
            && let Some(entry) = self.net.datagrams.get_mut(id)
            && entry.state.wants_read()
            && entry.state.may_receive(turn)
            && let Some(socket) = &entry.io.socket
        {
            let size = entry.state.receive_size;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let calls = self.model.core.backend_mut().calls();
            match calls.recv_from(socket, &mut buffer[..size]) {
                Ok((count, peer)) => {
                    self.tell_packet(id, &buffer[..count.min(size)], &peer, count > size)?;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => self.datagram_unreadable(id, errno)?,
            }
        }
        Ok(())
    }

    /// Sends what there is room for, then waits for what is wanted.
    pub(in crate::net) fn drive_packets(&mut self, id: Id) -> Called {
        let turn = self.stats().turns;
        while self.model.is_owner()
            && let Some(entry) = self.net.datagrams.get_mut(id)
            && entry.state.wait == Wait::No
            && !entry.state.queue.is_empty()
            && let Some(socket) = &entry.io.socket
        {
            if !entry.state.may_send(turn) {
                self.attend(Owner::Datagram(id));
                break;
            }
            let Some(packet) = entry.state.queue.lend() else {
                break;
            };
            let calls = self.model.core.backend_mut().calls();
            let sent = calls.send_to(socket, &packet.bytes, packet.to.as_ref());
            if let Sent::Told(error) = entry.state.sent(packet, sent.map(drop)) {
                self.tell_datagram_error(id, error)?;
            }
        }
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        let mut wanted = Interest::empty();
        wanted.set(Interest::READ, entry.state.wants_read());
        wanted.set(Interest::WRITE, entry.state.wait == Wait::Room);
        if wanted == entry.io.interest {
            return Ok(());
        }
        let mut io = entry.io.parts();
        let watched = self.watch_as_wanted(&mut io, wanted, Owner::Datagram(id));
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            entry.io.set_parts(&io);
            if let Err(error) = watched {
                entry.state.fault = Some(error.errno().unwrap_or(Errno::ENOBUFS));
                self.attend(Owner::Datagram(id));
            }
        }
        Ok(())
    }
}
