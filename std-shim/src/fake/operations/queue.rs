//! The queue of submissions, and how an operation starts.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use linux_event_core::error::{Call, Error};
use linux_event_core::handle::Handle;
use linux_event_core::proactor::{Code, Extra, Link, Request, Target, Vectors};
use linux_event_core::sys::AsRawFd;

use super::super::machine::FileId;
use super::super::owned::FakeOwned;
use super::super::{Fake, FakeFd};
use super::{Entry, Operation, Phase, Place, Serial};
use crate::buffer::Buffer;

impl Operation {
    pub(super) fn new(
        token: Handle,
        request: Request<Buffer>,
        vectors: Vectors<Buffer>,
        closes: Option<FakeOwned>,
    ) -> Self {
        let number = match request.code() {
            // There a process id stands where a descriptor would.
            Code::WaitId => None,
            _ => request.target().number().filter(|&number| number >= 0),
        };
        Self {
            token,
            request,
            vectors,
            number: number.or(closes.as_ref().map(AsRawFd::as_raw_fd)),
            place: Place::None,
            from: Place::None,
            closes,
            made: None,
            phase: Phase::Performed,
            limit: None,
            received: Vec::new(),
            sent: 0,
            has_begun: false,
            fails: None,
            told: 0,
            is_stubborn: false,
            expires: None,
            waits_for: None,
            rest: VecDeque::new(),
        }
    }
}

/// How many entries of the queue a request takes: a linked timeout has its own.
const fn entries_of(request: &Request<Buffer>) -> usize {
    if request.timeout.is_some() { 2 } else { 1 }
}

/// Whether a buffer has as many bytes as a unix path may have.
pub(super) fn is_path(path: &Buffer) -> bool {
    (1..=107).contains(&path.len())
}

impl Fake {
    /// Whether a request is one that could ever be taken.
    pub(super) fn check_request(&self, request: &Request<Buffer>) -> Result<(), Error> {
        let operations = &self.operations;
        if operations.lacking.contains(&request.code()) {
            let code = request.code();
            return Err(Error::UnsupportedOperation { code });
        }
        if matches!(request.code(), Code::OpenAt | Code::Statx) {
            let path = request.buffer.as_ref();
            if !path.is_some_and(|path| path.contains(&0)) {
                return Err(Error::Invalid("a path ends with a zero byte"));
            }
        }
        if let Some(slot) = request.target().fixed()
            && request.code() == Code::Close
            && self.slot(slot.index()).is_none()
        {
            return Err(Error::Invalid("the registered slot is empty"));
        }
        match request.extra {
            Extra::UnixPath
                if request.code() != Code::SendMessage
                    && !request.buffer.as_ref().is_some_and(is_path) =>
            {
                Err(Error::Invalid("a unix path has 1 to 107 bytes"))
            }
            Extra::Group(group) if !operations.groups.contains(group) => {
                Err(Error::Invalid("there is no such group of buffers"))
            }
            Extra::Fixed { buffer, start } => {
                let registered = operations.fixed.get(usize::from(buffer.index()));
                let end = start as usize + request.length as usize;
                if registered.is_some_and(|registered| end <= registered.len()) {
                    Ok(())
                } else {
                    Err(Error::Invalid(
                        "that lies beyond the end of the registered buffer",
                    ))
                }
            }
            _ => Ok(()),
        }
    }

    /// Makes room for one more submission.
    pub(super) fn admit(&mut self, request: &Request<Buffer>, token: Handle) -> Result<(), Error> {
        if let Some(error) = self.operations.refusals.pop_front() {
            return Err(error);
        }
        self.check_request(request)?;
        let capacity = self.operations.reserved;
        if token.index() as usize >= capacity {
            return Err(Error::Full { capacity });
        }
        self.make_entries(entries_of(request))
    }

    /// Flushes unless `entries` more fit into the queue.
    pub(super) fn make_entries(&mut self, entries: usize) -> Result<(), Error> {
        let capacity = self.operations.entries_max;
        if entries > capacity {
            return Err(Error::Full { capacity });
        }
        if self.queued_entries() + entries > capacity {
            self.flush_queue()?;
        }
        Ok(())
    }

    fn queued_entries(&self) -> usize {
        let of = |entry: &Entry| match entry {
            Entry::Operation(operation) => entries_of(&operation.request),
            Entry::Cancel(_) => 1,
        };
        self.operations.queue.iter().map(of).sum()
    }

    pub(super) fn enqueue(&mut self, operation: Operation) {
        self.operations.answers.remove(&operation.token.index());
        let entry = Entry::Operation(Box::new(operation));
        self.operations.queue.push_back(entry);
    }

    /// One call that hands the queue to the kernel: it is refused if a failure is due.
    pub(super) fn flush_queue(&mut self) -> Result<(), Error> {
        if self.operations.queue.is_empty() {
            return Ok(());
        }
        self.operations.counters.enters += 1;
        self.fail_call(Call::IoUringEnter)
            .map_err(super::contract::enter_error)?;
        self.take_queue();
        Ok(())
    }

    /// The kernel takes what is queued, in order. A chain that is not whole by then ends there.
    pub(in crate::fake) fn take_queue(&mut self) {
        let mut chain: Option<Operation> = None;
        while let Some(entry) = self.operations.queue.pop_front() {
            self.operations.counters.submitted += 1;
            match entry {
                Entry::Operation(operation) => {
                    let is_linked = operation.request.link != Link::None;
                    match &mut chain {
                        Some(head) => head.rest.push_back(*operation),
                        None => chain = Some(*operation),
                    }
                    if !is_linked && let Some(head) = chain.take() {
                        self.start(head);
                    }
                }
                Entry::Cancel(token) => {
                    if let Some(head) = chain.take() {
                        self.start(head);
                    }
                    self.take_cancel(token);
                }
            }
        }
        if let Some(head) = chain {
            self.start(head);
        }
    }

    /// Finds the open files that an operation works on, and holds them.
    fn resolve(&mut self, operation: &mut Operation) {
        let request = &operation.request;
        if matches!(request.code(), Code::WaitId | Code::Close) {
            operation.place = match request.target().fixed() {
                Some(slot) => Place::Slot(slot.index()),
                None => Place::None,
            };
            return;
        }
        let from = match request.extra {
            Extra::From { target, .. } => target,
            _ => Target::NONE,
        };
        operation.place = self.find(request.target());
        operation.from = self.find(from);
    }

    fn find(&mut self, target: Target) -> Place {
        let found = match (target.fixed(), target.number()) {
            (Some(slot), _) => self.slot(slot.index()),
            (None, None) => return Place::None,
            (None, Some(_)) if target == Target::CURRENT_DIRECTORY => return Place::None,
            (None, Some(number)) => self.machine.file(number).ok(),
        };
        match found {
            Some(file) => {
                self.machine.hold(file);
                Place::File(file)
            }
            None => Place::Closed,
        }
    }

    pub(super) fn slot(&self, slot: u32) -> Option<FileId> {
        let slots = self.operations.slots.as_ref()?;
        slots.get(slot as usize).copied().flatten()
    }

    /// An operation's turn has come: it is on its own, first of all, or first of what is left of its chain. Only now the
    /// kernel looks for its descriptors.
    pub(super) fn start(&mut self, mut operation: Operation) {
        self.resolve(&mut operation);
        self.operations.started += 1;
        let serial = self.operations.started;
        let pending = super::PendingOp::of(&operation);
        self.decide(&mut operation, &pending);
        let now = self.now;
        operation.expires = operation.request.timeout.map(|timeout| now + timeout);
        if let Some(at) = operation.expires {
            self.operations.timers.insert((at, serial));
        }
        if let Phase::Delayed(at) = operation.phase {
            self.operations.timers.insert((at, serial));
        }
        self.register(serial, &operation);
        self.operations.running.insert(serial, operation);
        self.attempt(serial, u32::MAX);
        self.hear();
    }

    /// Sees to it that the operation hears of what it waits for.
    fn register(&mut self, serial: Serial, operation: &Operation) {
        let operations = &mut self.operations;
        operations.by_token.insert(operation.token, serial);
        for place in [operation.place, operation.from] {
            if let Place::File(file) = place {
                let waiting = operations.by_file.entry(file).or_default();
                if !waiting.contains(&serial) {
                    waiting.push(serial);
                }
            }
        }
        if let Some(pid) = operation.request.pid() {
            operations.by_pid.entry(pid).or_default().insert(serial);
        }
    }

    /// Also wakes the operation when there is room at `listener`, which it does not hold.
    pub(super) fn wait_for(&mut self, serial: Serial, operation: &mut Operation, listener: FileId) {
        self.stop_waiting(serial, operation);
        operation.waits_for = Some(listener);
        let waiting = self.operations.by_file.entry(listener).or_default();
        waiting.push(serial);
    }

    pub(super) fn stop_waiting(&mut self, serial: Serial, operation: &mut Operation) {
        if let Some(listener) = operation.waits_for.take() {
            self.operations.unregister(serial, listener);
        }
    }

    /// A request to cancel reaches the kernel.
    fn take_cancel(&mut self, token: Handle) {
        let Some(&serial) = self.operations.by_token.get(&token) else {
            return; // ENOENT: it has settled, or has not started
        };
        if self.operations.cancels_lost > 0 {
            self.operations.cancels_lost -= 1;
            return;
        }
        self.cancel_running(serial);
    }

    /// How many submissions wait for the next flush or wait, requests to cancel included.
    pub fn queued(&self) -> usize {
        self.operations.queue.len()
    }

    /// The number behind an operation's descriptor, for messages.
    pub(super) fn fd_of(operation: &Operation) -> Option<FakeFd> {
        operation.number.map(FakeFd)
    }
}
