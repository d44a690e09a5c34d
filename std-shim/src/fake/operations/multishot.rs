//! Operations that go on after a report.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::proactor::{Carried, Code, Extra};

use super::super::Fake;
use super::super::bits::{ERR, HUP, IN, RDHUP};
use super::super::owned::FakeOwned;
use super::{Operation, Phase, failure};

impl Fake {
    /// Receives into one provided buffer after the other. A kernel chooses the buffer before it looks at the socket.
    pub(super) fn perform_recv_multi(&mut self, operation: &mut Operation) -> Option<i32> {
        let Extra::Group(group) = operation.request.extra else {
            return Some(failure(Errno::EINVAL));
        };
        let file = match operation.file() {
            Ok(file) if self.machine.domain(file).is_some() => file,
            Ok(_) => return Some(failure(Errno::ENOTSOCK)),
            Err(errno) => return Some(failure(errno)),
        };
        let mut is_first = !operation.has_begun;
        operation.has_begun = true;
        loop {
            let Some(size) = self.operations.groups.next_size(group) else {
                let is_readable = self.machine.state(file) & (IN | RDHUP | HUP | ERR) != 0;
                return (is_first || is_readable).then_some(failure(Errno::ENOBUFS));
            };
            let asked = Some(operation.request.length as usize).filter(|&length| length > 0);
            let size = size.min(asked.unwrap_or(size));
            let mut bytes = vec![0; size.min(operation.limit.unwrap_or(size))];
            match self.machine.read(file, &mut bytes, None) {
                Ok(0) => return Some(0),
                Ok(count) => {
                    is_first = false;
                    let lease = self.operations.groups.fill(group, &bytes[..count]);
                    let carried = lease.map_or(Carried::Nothing, Carried::Lease);
                    self.tell_more(operation, count as i32, carried, None);
                }
                Err(Errno::EAGAIN) => return None,
                Err(errno) => return Some(failure(errno)),
            }
        }
    }

    pub(super) fn perform_accept_multi(&mut self, operation: &mut Operation) -> Option<i32> {
        loop {
            match self.perform_accept(operation) {
                Ok(number) => {
                    let made = operation.made.take();
                    let made = made.map(|number| FakeOwned::new(number, &self.returned));
                    self.tell_more(operation, number as i32, Carried::Descriptor, made);
                }
                Err(Errno::EAGAIN) => return None,
                Err(errno) => return Some(failure(errno)),
            }
        }
    }

    /// Tells of each change: `key` is what for. A file that can't be waited for is told of once, as from Linux.
    pub(super) fn perform_poll_multi(&mut self, operation: &Operation, key: u32) -> Option<i32> {
        let file = match operation.file() {
            Ok(file) => file,
            Err(errno) => return Some(failure(errno)),
        };
        let events = operation.polled();
        let ready = self.machine.state(file) & events;
        if !self.machine.is_pollable(file) {
            let ended = if ready == 0 {
                failure(Errno::EINVAL)
            } else {
                ready as i32
            };
            return Some(ended);
        }
        if ready != 0 && key & events != 0 {
            self.tell_more(operation, ready as i32, Carried::Nothing, None);
        }
        None
    }

    /// Has zero-copy sends keep their buffers after their results were told, until [`let_go`](Self::let_go): as when a peer
    /// does not acknowledge. At first none does.
    pub fn hold_notifications(&mut self, holds: bool) {
        self.operations.holds_notifications = holds;
    }

    /// How many zero-copy sends have told their results and have their buffers still.
    pub fn notifications_held(&self) -> usize {
        let running = self.operations.running.values();
        running
            .filter(|operation| operation.phase == Phase::Sent)
            .count()
    }

    /// The kernel lets go of the buffers of all zero-copy sends whose results were told: their last reports come with the
    /// next wait. Returns how many there were.
    pub fn let_go(&mut self) -> usize {
        let sent = |operation: &Operation| {
            operation.request.code() == Code::SendZeroCopy && operation.phase == Phase::Sent
        };
        let running = self.operations.running.iter();
        let held: Vec<_> = running
            .filter(|(_, operation)| sent(operation))
            .map(|(&serial, _)| serial)
            .collect();
        for &serial in &held {
            if let Some(operation) = self.operations.running.remove(&serial) {
                let result = operation.told;
                self.conclude(serial, operation, result);
            }
        }
        held.len()
    }
}
