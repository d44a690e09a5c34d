//! How an operation ends: its last report, the rest of its chain, cancelling, what time does to it.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::proactor::{Carried, Code, Link, MessageFlags, Report, Vectors};

use super::super::Fake;
use super::super::owned::FakeOwned;
use super::{Buffer, FakeLease, Operation, Phase, Place, Serial, Told, failure};

/// Whether a result breaks a soft link: an error, or fewer bytes than were asked for. Of send and receive a part will do,
/// unless all was asked for (`MSG_WAITALL`). Linux takes what fsync, shutdown and statx say for a success, whatever it is;
/// only if they can't begin, or are cancelled, the link breaks.
fn breaks_chain(operation: &Operation, result: i32) -> bool {
    let request = &operation.request;
    match request.code() {
        Code::Fsync | Code::Shutdown | Code::Statx if !could_not_begin(operation, result) => false,
        _ if result < 0 => true,
        Code::Recv | Code::Send | Code::SendZeroCopy | Code::RecvMessage | Code::SendMessage
            if request.flags & MessageFlags::WAIT_ALL.bits() == 0 =>
        {
            false
        }
        Code::Read
        | Code::Write
        | Code::ReadVectored
        | Code::WriteVectored
        | Code::ReadFixed
        | Code::WriteFixed
        | Code::Recv
        | Code::Send
        | Code::SendZeroCopy
        | Code::RecvMessage
        | Code::SendMessage
        | Code::Splice => (result as usize) < operation.asked(),
        _ => false,
    }
}

/// Whether an operation ended before the system call behind it.
fn could_not_begin(operation: &Operation, result: i32) -> bool {
    let is_no_socket = result == failure(Errno::ENOTSOCK);
    operation.place == Place::Closed || result == failure(Errno::ECANCELED) || is_no_socket
}

impl Fake {
    /// Ends a running operation that was taken out of `running`.
    pub(super) fn conclude(&mut self, serial: Serial, operation: Operation, result: i32) {
        self.conclude_with(serial, operation, result, None);
    }

    /// As [`conclude`](Self::conclude), with a provided buffer.
    pub(super) fn conclude_with(
        &mut self,
        serial: Serial,
        mut operation: Operation,
        result: i32,
        lease: Option<FakeLease>,
    ) {
        let rest = std::mem::take(&mut operation.rest);
        let link = operation.request.link;
        let breaks = breaks_chain(&operation, result);
        if operation.request.code() == Code::SendZeroCopy && operation.phase != Phase::Sent {
            self.tell_more(&operation, result, Carried::Nothing, None);
            self.retire(serial, &mut operation);
            operation.phase = Phase::Sent;
            operation.told = result;
            if self.operations.holds_notifications {
                self.operations.by_token.insert(operation.token, serial);
                self.operations.running.insert(serial, operation);
            } else {
                self.tell_last(operation, result, None);
            }
        } else {
            self.retire(serial, &mut operation);
            self.tell_last(operation, result, lease);
        }
        self.carry_on(rest, link, breaks);
        self.hear();
    }

    /// Starts what is next of a chain, or cancels all that is left of it.
    fn carry_on(&mut self, mut rest: VecDeque<Operation>, link: Link, breaks: bool) {
        if link == Link::Soft && breaks {
            for member in rest {
                self.tell_last(member, failure(Errno::ECANCELED), None);
            }
        } else if let Some(mut next) = rest.pop_front() {
            next.rest = rest;
            self.start(next);
        }
    }

    /// An operation waits for nothing any more.
    fn retire(&mut self, serial: Serial, operation: &mut Operation) {
        self.stop_waiting(serial, operation);
        let operations = &mut self.operations;
        operations.by_token.remove(&operation.token);
        operations.keys.remove(&serial);
        for place in [operation.place, operation.from] {
            if let Place::File(file) = place {
                operations.unregister(serial, file);
            }
        }
        if let Some(pid) = operation.request.pid()
            && let Some(waiting) = operations.by_pid.get_mut(&pid)
        {
            waiting.remove(&serial);
        }
        self.let_places_go(operation);
    }

    /// INV-FOPS-3 ends here.
    fn let_places_go(&mut self, operation: &mut Operation) {
        for place in [&mut operation.place, &mut operation.from] {
            if let Place::File(file) = std::mem::replace(place, Place::None) {
                self.machine.let_go(file);
            }
        }
    }

    /// The last report of an operation, with all it owns.
    fn tell_last(&mut self, operation: Operation, result: i32, lease: Option<FakeLease>) {
        let Operation {
            token,
            request,
            mut vectors,
            made,
            ..
        } = operation;
        let made = made.map(|number| FakeOwned::new(number, &self.returned));
        let carried = match (made.is_some(), request.buffer) {
            (true, buffer) => {
                // Of open: the path is there for whoever asks.
                vectors.extend(buffer);
                Carried::Descriptor
            }
            (false, Some(buffer)) => Carried::Buffer(buffer),
            (false, None) if vectors.is_empty() => lease.map_or(Carried::Nothing, Carried::Lease),
            (false, None) => Carried::Vectors,
        };
        self.tell(Told {
            report: Report {
                token: token.raw(),
                result,
                more: false,
                carried,
            },
            descriptor: made,
            vectors,
        });
    }

    /// A report that is not the last one.
    pub(super) fn tell_more(
        &mut self,
        operation: &Operation,
        result: i32,
        carried: Carried<Buffer, FakeLease>,
        descriptor: Option<FakeOwned>,
    ) {
        self.tell(Told {
            report: Report {
                token: operation.token.raw(),
                result,
                more: true,
                carried,
            },
            descriptor,
            vectors: Vectors::new(),
        });
    }

    fn tell(&mut self, told: Told) {
        self.operations.counters.completions += 1;
        self.operations.reports.push_back(told);
    }

    /// Ends a running operation as cancelled, unless nothing can.
    pub(super) fn cancel_running(&mut self, serial: Serial) {
        let Some(operation) = self.operations.running.get(&serial) else {
            return;
        };
        if !operation.can_cancel() {
            return;
        }
        if let Some(mut operation) = self.operations.running.remove(&serial) {
            let result = self.part_of(&mut operation);
            let result = result.unwrap_or(failure(Errno::ECANCELED));
            self.conclude(serial, operation, result);
        }
    }

    /// Does what is due: delays end, what was woken is tried, linked timeouts cancel. What is there at the very instant of a
    /// timeout has come in time.
    pub(in crate::fake) fn run_operations(&mut self) {
        self.end_delays();
        self.progress();
        while let Some(serial) = self.next_expired() {
            self.cancel_running(serial);
            self.end_delays();
            self.progress();
        }
    }

    fn end_delays(&mut self) {
        let now = self.now;
        let due = self.operations.timers.range(..=(now, Serial::MAX));
        let due: Vec<(Instant, Serial)> = due.copied().collect();
        for (at, serial) in due {
            let operation = self.operations.running.get_mut(&serial);
            let is_delay = operation.is_some_and(|operation| {
                let is_delay = operation.phase == Phase::Delayed(at);
                if is_delay {
                    operation.phase = Phase::Performed;
                }
                is_delay
            });
            if is_delay {
                self.operations.wake(serial, 0);
            }
        }
    }

    /// The next operation whose linked timeout is over.
    fn next_expired(&mut self) -> Option<Serial> {
        while let Some(&(at, serial)) = self.operations.timers.first()
            && at <= self.now
        {
            self.operations.timers.pop_first();
            let operation = self.operations.running.get_mut(&serial);
            if let Some(operation) = operation.filter(|operation| operation.expires == Some(at)) {
                operation.expires = None;
                return Some(serial);
            }
        }
        None
    }

    /// Tries everything that was woken, until nothing moves.
    fn progress(&mut self) {
        self.hear();
        while let Some((serial, key)) = self.operations.next_awake() {
            self.attempt(serial, key);
            self.hear();
        }
    }

    /// Tries an operation that was woken for `key`.
    pub(super) fn attempt(&mut self, serial: Serial, key: u32) {
        let is_performed = self
            .operations
            .running
            .get(&serial)
            .is_some_and(|operation| operation.phase == Phase::Performed);
        if !is_performed {
            return;
        }
        if let Some(mut operation) = self.operations.running.remove(&serial) {
            if let Some(result) = self.perform_operation(serial, &mut operation, key) {
                self.conclude(serial, operation, result);
            } else {
                self.operations.running.insert(serial, operation);
                self.operations.wait_again(serial);
            }
        }
    }
}
