//! What the loop does for the net layer: whose turn it is, timers, panics.
//!
//! **Invariants.** *INV-NET-1*: whoever has something to tell or to ask without a new event is in `attention`, once, and INV-LOOP-4
//! counts that as kept: the next turn sees to it before it waits. *INV-NET-2*: `current` names what is being called; if the
//! callback panics it is ended, and everything else stands.
//!
//! **Why this shape.** What a program asks of a stream (write, resume, close) is noted, and done once for all of it: ten writes
//! in a callback are one send.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;

use linux_event_core::clock::Instant;
use linux_event_core::handle::TimerId;

use super::connector::ConnectorEntry;
use super::connector::resolve::{Answers, System};
use super::datagram::DatagramEntry;
use super::listener::ListenerEntry;
use super::model::Net;
use super::stream::StreamEntry;
use super::stream::output::Spares;
use super::table::{Id, Table};
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::model::Model;

/// Whose a watcher, an operation or a timer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Owner {
    /// A stream's.
    Stream(Id),
    /// A listener's.
    Listener(Id),
    /// A connector's.
    Connector(Id),
    /// An attempt of a connector's, by its number.
    Attempt(Id, u32),
    /// A datagram socket's.
    Datagram(Id),
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Recv,
    /// It waits for something to receive.
    Ready,
    Send,
    Accept,
    Connect,
    /// It waits for room to send.
    Room,
}

/// An operation of the net layer's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpTag {
    pub(crate) owner: Owner,
    pub(crate) role: Role,
}

/// Streams, listeners, and what they share.
pub(crate) struct NetTables<M: Model, S> {
    pub(crate) streams: Table<StreamEntry<M, S>>,
    pub(crate) listeners: Table<ListenerEntry<M, S>>,
    pub(crate) connectors: Table<ConnectorEntry<M, S>>,
    pub(crate) datagrams: Table<DatagramEntry<M, S>>,
    /// INV-NET-1.
    pub(crate) attention: VecDeque<Owner>,
    pub(crate) spares: Spares,
    /// What is received by hand goes here. Taken out while it is told.
    pub(crate) buffer: Vec<u8>,
    pub(crate) shared: M::NetShared,
    /// INV-NET-2.
    pub(crate) current: Option<Owner>,
    /// A callback was called since this was last set to false.
    pub(crate) has_told: bool,
    /// Where resolvers put their answers, once one was asked.
    pub(crate) answers: Option<Answers>,
    pub(crate) system: System,
}

impl<M: Model, S> NetTables<M, S> {
    pub(crate) fn new() -> Self {
        Self {
            streams: Table::new(),
            listeners: Table::new(),
            connectors: Table::new(),
            datagrams: Table::new(),
            attention: VecDeque::new(),
            spares: Spares::default(),
            buffer: Vec::new(),
            shared: M::NetShared::default(),
            current: None,
            has_told: false,
            answers: None,
            system: System::default(),
        }
    }
}

impl<M: Model, S> fmt::Debug for NetTables<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetTables")
            .field("streams", &self.streams.len())
            .field("listeners", &self.listeners.len())
            .field("connectors", &self.connectors.len())
            .field("datagrams", &self.datagrams.len())
            .finish_non_exhaustive()
    }
}

impl<M: Net, S> Loop<M, S> {
    /// Has somebody seen to before the loop waits (INV-NET-1).
    pub(crate) fn attend(&mut self, owner: Owner) {
        let net = &mut self.net;
        let is_attended = match owner {
            Owner::Stream(id) => net.streams.get_mut(id).map(|entry| &mut entry.is_attended),
            Owner::Listener(id) => net
                .listeners
                .get_mut(id)
                .map(|entry| &mut entry.is_attended),
            Owner::Connector(id) | Owner::Attempt(id, _) => net
                .connectors
                .get_mut(id)
                .map(|entry| &mut entry.is_attended),
            Owner::Datagram(id) => net
                .datagrams
                .get_mut(id)
                .map(|entry| &mut entry.is_attended),
        };
        if let Some(is_attended @ false) = is_attended {
            *is_attended = true;
            net.attention.push_back(owner);
            self.keep_attention();
        }
    }

    /// Sees to everybody who asked for it before this call (INV-NET-1).
    pub(crate) fn attend_all(&mut self) -> Result<(), BoxError> {
        for _ in 0..self.net.attention.len() {
            let Some(owner) = self.net.attention.pop_front() else {
                break;
            };
            match owner {
                Owner::Stream(id) => self.attend_stream(id)?,
                Owner::Listener(id) => self.attend_listener(id)?,
                Owner::Connector(id) | Owner::Attempt(id, _) => self.attend_connector(id)?,
                Owner::Datagram(id) => self.attend_datagram(id)?,
            }
            // G-1: a callback may have forked.
            if self.is_stopping() || !self.model.is_owner() {
                break;
            }
        }
        Ok(())
    }

    /// A timer of the net layer's is due.
    pub(crate) fn net_timer(&mut self, owner: Owner) -> Result<(), BoxError> {
        match owner {
            Owner::Stream(id) => self.stream_timer(id),
            Owner::Connector(id) => self.connector_timer(id),
            Owner::Datagram(id) => return self.datagram_timer(id),
            Owner::Listener(id) => self.listener_timer(id),
            Owner::Attempt(..) => {}
        }
        Ok(())
    }

    /// Ends what a callback of panicked, without telling it (INV-NET-2).
    pub(crate) fn abort_net(&mut self, owner: Owner) {
        match owner {
            Owner::Stream(id) => self.drop_stream(id),
            Owner::Listener(id) => self.close_listener(id),
            Owner::Connector(id) | Owner::Attempt(id, _) => drop(self.drop_connector(id)),
            Owner::Datagram(id) => self.drop_datagram(id),
        }
    }

    /// Arms a timer of the net layer's.
    pub(crate) fn net_timer_at(
        &mut self,
        owner: Owner,
        deadline: Instant,
    ) -> Result<TimerId, linux_event_core::error::Error> {
        let timer = self.model.at(deadline)?;
        self.callbacks.fill_net_timer(timer, owner);
        Ok(timer)
    }
}
