//! What the loop does for datagram sockets in either model.
//!
//! **Invariants.** Those of the [parent](super); INV-NET-1 and INV-NET-2. *INV-DATAGRAM-DRIVE-1*: what a callback returned stops
//! the loop, not the socket: what was left undone then is the next turn's.
//!
//! **Why this shape.** The callback is taken out for its call, as everywhere: it may send, pause or close what it is called for.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;

use super::super::address::Address;
use super::super::bind::OwnPath;
use super::super::drive::Owner;
use super::super::model::Net;
use super::super::table::Id;
use super::state::{State, Wait, is_of_the_network};
use super::{Datagram, DatagramError};
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::model::Model;

pub(super) type Called = Result<(), BoxError>;
pub(super) type PacketCallback<M, S> =
    Box<dyn FnMut(&mut Loop<M, S>, Datagram, &[u8], &Address, bool) -> Called>;
pub(super) type ErrorCallback<M, S> =
    Box<dyn FnMut(&mut Loop<M, S>, Datagram, DatagramError) -> Called>;

/// A datagram socket in its table.
pub(crate) struct DatagramEntry<M: Model, S> {
    pub(crate) io: M::Io,
    pub(crate) state: State,
    pub(super) on_packet: Option<PacketCallback<M, S>>,
    pub(super) on_error: Option<ErrorCallback<M, S>>,
    /// The path to take away in the end.
    pub(super) path: Option<OwnPath>,
    pub(crate) is_attended: bool,
}

impl<M: Net, S> Loop<M, S> {
    /// Sees to a socket in the queue: tells what was kept, then sends and receives as it wants.
    pub(crate) fn attend_datagram(&mut self, id: Id) -> Called {
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        entry.is_attended = false;
        let told = self.tell_what_waits(id);
        let driven = self.drive_datagram(id);
        told.and(driven)
    }

    /// Tells what happened, and what was kept, while nothing could be told.
    fn tell_what_waits(&mut self, id: Id) -> Called {
        let fault = self.net.datagrams.get_mut(id);
        if let Some(errno) = fault.and_then(|entry| entry.state.fault.take()) {
            self.datagram_unreadable(id, errno)?;
        }
        if let Some(entry) = self.net.datagrams.get_mut(id)
            && !entry.state.is_paused
            && !entry.state.is_closing
            && let Some(kept) = entry.state.kept.take()
        {
            let told = self.tell_packet(id, &kept.bytes, &kept.peer, kept.is_cut);
            if let Some(entry) = self.net.datagrams.get_mut(id) {
                entry.state.buffer = kept.bytes;
            }
            return told;
        }
        Ok(())
    }

    /// Sends, then has the model receive as is wanted, and closes what is done.
    pub(super) fn drive_datagram(&mut self, id: Id) -> Called {
        let told = M::update_datagram(self, id);
        if told.is_err() {
            self.attend(Owner::Datagram(id)); // INV-DATAGRAM-DRIVE-1
        }
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            if entry.state.is_closing && entry.state.queue.is_empty() {
                self.drop_datagram(id);
            } else if entry.state.wait == Wait::Timer && entry.state.timer.is_none() {
                self.arm_datagram(id);
            }
        }
        told
    }

    /// Tries to send again in a while.
    fn arm_datagram(&mut self, id: Id) {
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return;
        };
        let deadline = self.model.read_clock() + entry.state.next_retry();
        let timer = self.net_timer_at(Owner::Datagram(id), deadline);
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            if let Ok(timer) = timer {
                entry.state.timer = Some(timer);
            } else {
                // No room for a timer: the next turn tries.
                entry.state.wait = Wait::No;
                self.attend(Owner::Datagram(id));
            }
        }
    }

    /// It is time to try again.
    pub(crate) fn datagram_timer(&mut self, id: Id) -> Called {
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            entry.state.timer = None;
            entry.state.wait = Wait::No;
        }
        self.drive_datagram(id)
    }

    /// Tells of a packet.
    pub(super) fn tell_packet(
        &mut self,
        id: Id,
        bytes: &[u8],
        peer: &Address,
        is_cut: bool,
    ) -> Called {
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        if entry.state.is_closing {
            return Ok(());
        }
        let Some(mut callback) = entry.on_packet.take() else {
            return Ok(());
        };
        self.net.has_told = true;
        self.net.current = Some(Owner::Datagram(id));
        let called = callback(self, Datagram(id), bytes, peer, is_cut);
        self.net.current = None;
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            entry.on_packet = Some(callback);
        }
        called
    }

    /// Tells of an error; without a callback only what pauses is told, and stops the loop.
    pub(super) fn tell_datagram_error(&mut self, id: Id, error: DatagramError) -> Called {
        let Some(entry) = self.net.datagrams.get_mut(id) else {
            return Ok(());
        };
        let Some(mut callback) = entry.on_error.take() else {
            return match error {
                DatagramError::Paused(_) => Err(error.into()),
                DatagramError::Network(_) | DatagramError::Unsent { .. } => Ok(()),
            };
        };
        self.net.has_told = true;
        self.net.current = Some(Owner::Datagram(id));
        let called = callback(self, Datagram(id), error);
        self.net.current = None;
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            entry.on_error = Some(callback);
        }
        called
    }

    /// Receiving has failed, in one way or another.
    pub(super) fn datagram_unreadable(&mut self, id: Id, errno: Errno) -> Called {
        if is_of_the_network(errno) {
            return self.tell_datagram_error(id, DatagramError::Network(errno));
        }
        if let Some(entry) = self.net.datagrams.get_mut(id) {
            entry.state.is_paused = true;
        }
        self.tell_datagram_error(id, DatagramError::Paused(errno))
    }

    /// Closes a socket at once, without telling.
    pub(crate) fn drop_datagram(&mut self, id: Id) {
        let Some(entry) = self.net.datagrams.remove(id) else {
            return;
        };
        let entry = *entry;
        if let Some(timer) = entry.state.timer {
            self.cancel(timer);
        }
        M::close_io(self, entry.io);
        if let Some(path) = entry.path {
            path.remove::<M>(self.model.calls());
        }
    }
}
