//! The contract: what a proactor asks of a [`Fake`].

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::handle::Handle;
use linux_event_core::pid::ExitStatus;
use linux_event_core::proactor::{
    Backend, Code, Counters, Extra, FixedBuffer, FixedFile, Group, Link, Popped, Refused, Request,
    Shutdown, Simulated, Stat, VectoredRequest, Vectors, Vouched,
};
use linux_event_core::sys::{AsRawFd, sockaddr};

use super::super::Fake;
use super::super::names::Name;
use super::super::owned::FakeOwned;
use super::super::provided::FakeLease;
use super::queue::is_path;
use super::{Answers, Entry, Operation, Told};
use crate::buffer::Buffer;

/// What a refused `io_uring_enter` means.
pub(in crate::fake) fn enter_error(errno: Errno) -> Error {
    match errno {
        Errno::EBADR => Error::CompletionsLost,
        errno => Error::from_call(Call::IoUringEnter, errno),
    }
}

impl Fake {
    fn register_call(&mut self) -> Result<(), Error> {
        self.fail_call(Call::IoUringRegister)
            .map_err(|errno| Error::from_call(Call::IoUringRegister, errno))
    }

    /// Empties a registered slot.
    pub(super) fn empty_slot(&mut self, slot: u32) -> Result<(), Error> {
        let slots = self.operations.slots.as_mut();
        let taken = slots
            .and_then(|slots| slots.get_mut(slot as usize))
            .and_then(Option::take);
        let file = taken.ok_or(Error::Stale)?;
        self.machine.let_go(file);
        self.hear();
        Ok(())
    }

    fn answers(&self, token: Handle) -> Option<&Answers> {
        let answers = self.operations.answers.get(&token.index())?;
        (answers.token == token).then_some(answers)
    }

    /// How many operations have not been told of to the end: queued, under way, or with reports that nobody has fetched.
    pub fn pending_operations(&self) -> usize {
        let operations = &self.operations;
        let queued = operations
            .queue
            .iter()
            .filter(|entry| matches!(entry, Entry::Operation(_)))
            .count();
        let running = operations.running.values().map(Operation::members);
        let told = operations.reports.iter().filter(|told| !told.report.more);
        queued + running.sum::<usize>() + told.count()
    }

    /// How many buffers operations have that have not been told of to the end. Registered ones don't count.
    pub fn buffers_out(&self) -> usize {
        let operations = &self.operations;
        let queued = operations.queue.iter().map(|entry| match entry {
            Entry::Operation(operation) => operation.buffers(),
            Entry::Cancel(_) => 0,
        });
        let running = operations.running.values().map(Operation::buffers);
        let told = operations.reports.iter().map(Told::buffers);
        queued.chain(running).chain(told).sum()
    }

    /// How many provided buffers somebody has a lease on.
    pub fn leases_out(&self) -> usize {
        self.operations.groups.leases()
    }

    /// Ends everything that can be ended by a kernel that is asked to, until `limit` has passed.
    fn end_operations(&mut self, limit: Duration) -> Shutdown {
        self.take_queue();
        let end = self.now + limit;
        loop {
            let running: Vec<_> = self.operations.running.keys().copied().collect();
            for serial in running {
                self.cancel_running(serial);
            }
            // What a hard link had wait has started meanwhile.
            self.run_operations();
            let can_cancel = self.operations.running.values().any(Operation::can_cancel);
            if can_cancel {
                continue;
            }
            let next = self.next_event().filter(|&at| at <= end);
            match next {
                Some(at) if !self.operations.running.is_empty() => {
                    self.pass_to(at);
                    self.act();
                }
                _ => break,
            }
        }
        let leaked = std::mem::take(&mut self.operations.running);
        let mut shutdown = Shutdown::default();
        shutdown.leaked = leaked.values().map(Operation::members).sum();
        // What had completed and was not fetched is taken back as well.
        self.operations.visible = 0;
        let told = self.operations.reports.drain(..);
        shutdown.settled = told.filter(|told| !told.report.more).count();
        self.operations.counters.leaked += shutdown.leaked as u64;
        shutdown
    }
}

impl Simulated for Fake {}

impl Backend for Fake {
    type Buf = Buffer;
    type Fd = FakeOwned;
    type Lease = FakeLease;

    fn reserve(&mut self, operations: usize) -> Result<(), Error> {
        self.touch("reserve");
        self.operations.reserved = operations.max(1);
        Ok(())
    }

    fn check(&self, request: &Request<Buffer>) -> Result<(), Error> {
        self.check_request(request)
    }

    fn push(
        &mut self,
        token: Handle,
        request: Request<Buffer>,
        _: Vouched<Self>,
    ) -> Result<(), Refused<Buffer>> {
        if !self.is_owner {
            return Err(Refused {
                error: Error::Forked,
                buffer: request.buffer,
            });
        }
        self.touch("push");
        if let Err(error) = self.admit(&request, token) {
            let buffer = request.buffer;
            return Err(Refused { error, buffer });
        }
        self.enqueue(Operation::new(token, request, Vectors::new(), None));
        Ok(())
    }

    fn push_vectored(
        &mut self,
        token: Handle,
        request: VectoredRequest<Buffer>,
        _: Vouched<Self>,
    ) -> Result<(), (Error, Vectors<Buffer>)> {
        if !self.is_owner {
            return Err((Error::Forked, request.buffers));
        }
        self.touch("push_vectored");
        let VectoredRequest { request, buffers } = request;
        if matches!(request.extra, Extra::UnixPath) && !buffers.last().is_some_and(is_path) {
            return Err((Error::Invalid("a unix path has 1 to 107 bytes"), buffers));
        }
        if let Err(error) = self.admit(&request, token) {
            return Err((error, buffers));
        }
        self.enqueue(Operation::new(token, request, buffers, None));
        Ok(())
    }

    fn push_close(
        &mut self,
        token: Handle,
        fd: FakeOwned,
        link: Link,
    ) -> Result<(), (Error, FakeOwned)> {
        if !self.is_owner {
            return Err((Error::Forked, fd));
        }
        self.touch("push_close");
        let request = Request::close_nothing(link);
        if let Err(error) = self.admit(&request, token) {
            return Err((error, fd));
        }
        self.enqueue(Operation::new(token, request, Vectors::new(), Some(fd)));
        Ok(())
    }

    fn make_room(&mut self, entries: usize) -> Result<(), Error> {
        if !self.is_owner {
            return Err(Error::Forked);
        }
        self.touch("make_room");
        self.make_entries(entries)
    }

    fn end_chain(&mut self) {
        if !self.is_owner {
            return;
        }
        self.touch("end_chain");
        if let Some(Entry::Operation(operation)) = self.operations.queue.back_mut() {
            operation.request.link = Link::None;
        }
    }

    fn cancel(&mut self, token: Handle) -> Result<(), Error> {
        if !self.is_owner {
            return Err(Error::Forked);
        }
        self.touch("cancel");
        if let Some(error) = self.operations.cancel_refusals.pop_front() {
            return Err(error);
        }
        self.make_entries(1)?;
        self.operations.queue.push_back(Entry::Cancel(token));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.is_owner {
            return Err(Error::Forked);
        }
        self.touch("flush");
        self.flush_queue()
    }

    fn pop(&mut self) -> Option<Popped<Buffer, FakeLease>> {
        if !self.is_owner {
            return None;
        }
        self.operations.descriptor = None;
        self.operations.popped_vectors.clear();
        if let Some(report) = self.batch.pop_front() {
            return Some(Popped::Ready(report));
        }
        self.operations.visible = self.operations.visible.checked_sub(1)?;
        let told = self.operations.reports.pop_front()?;
        self.operations.descriptor = told.descriptor;
        self.operations.popped_vectors = told.vectors;
        Some(Popped::Report(told.report))
    }

    fn take_descriptor(&mut self) -> Option<FakeOwned> {
        self.operations.descriptor.take()
    }

    fn take_vectors(&mut self) -> Vectors<Buffer> {
        std::mem::take(&mut self.operations.popped_vectors)
    }

    fn address(&self, token: Handle) -> Option<SocketAddr> {
        match self.answers(token)?.name {
            Some(Name::Internet(address)) => Some(address),
            _ => None,
        }
    }

    fn name(&self, token: Handle, name: &mut [u8; sockaddr::UNIX_SIZE_MAX]) -> Option<usize> {
        let (bytes, len) = match &self.answers(token)?.name {
            Some(Name::Internet(address)) => {
                let (bytes, len) = sockaddr::encode(*address);
                name[..len].copy_from_slice(&bytes[..len]);
                return Some(len);
            }
            Some(Name::Path(path)) => sockaddr::encode_unix(path)?,
            None => return Some(0),
        };
        *name = bytes;
        Some(len)
    }

    fn stat(&self, token: Handle) -> Option<Stat> {
        self.answers(token)?.stat
    }

    fn exit_info(&self, token: Handle) -> Option<ExitStatus> {
        self.answers(token)?.exit
    }

    fn provide(&mut self, count: u16, size: u32) -> Result<Group, Error> {
        self.touch("provide");
        if self.operations.lacking.contains(&Code::RecvMulti) {
            let code = Code::RecvMulti;
            return Err(Error::UnsupportedOperation { code });
        }
        self.register_call()?;
        self.operations.groups.provide(count, size)
    }

    fn withdraw(&mut self, group: Group) -> Result<(), Error> {
        self.touch("withdraw");
        self.operations.groups.withdraw(group)
    }

    fn register_files(&mut self, count: u32) -> Result<(), Error> {
        self.touch("register_files");
        if self.operations.slots.is_some() {
            return Err(Error::Invalid("there are registered slots already"));
        }
        if count == 0 || count > 1 << 20 {
            return Err(Error::Invalid("1 to 1,048,576 slots can be registered"));
        }
        self.register_call()?;
        self.operations.slots = Some(vec![None; count as usize]);
        Ok(())
    }

    fn next_slot(&self) -> Option<FixedFile> {
        let slots = self.operations.slots.as_ref()?;
        let vacant = slots.iter().position(Option::is_none);
        vacant.map(|index| FixedFile::new(index as u32))
    }

    fn install(&mut self, fd: &FakeOwned) -> Result<FixedFile, Error> {
        self.touch("install");
        self.register_call()?;
        let opened = self.machine.file(fd.as_raw_fd());
        let file = opened.map_err(|errno| Error::from_call(Call::IoUringRegister, errno))?;
        let Some(slots) = &mut self.operations.slots else {
            return Err(Error::Invalid("there are no registered slots"));
        };
        let capacity = slots.len();
        let vacant = slots.iter().position(Option::is_none);
        let index = vacant.ok_or(Error::Full { capacity })?;
        slots[index] = Some(file);
        self.machine.hold(file);
        Ok(FixedFile::new(index as u32))
    }

    fn uninstall(&mut self, slot: FixedFile) -> Result<(), Error> {
        self.touch("uninstall");
        self.register_call()?;
        self.empty_slot(slot.index())
    }

    fn register_buffers(
        &mut self,
        buffers: Vectors<Buffer>,
    ) -> Result<(), (Error, Vectors<Buffer>)> {
        self.touch("register_buffers");
        if !self.operations.fixed.is_empty() {
            let why = "there are registered buffers already";
            return Err((Error::Invalid(why), buffers));
        }
        if let Err(error) = self.register_call() {
            return Err((error, buffers));
        }
        self.operations.fixed = buffers.into_iter().collect();
        for buffer in &mut self.operations.fixed {
            let capacity = buffer.capacity();
            buffer.resize(capacity, 0);
        }
        Ok(())
    }

    fn fixed(&mut self, buffer: FixedBuffer) -> Option<&mut [u8]> {
        let buffer = self.operations.fixed.get_mut(usize::from(buffer.index()))?;
        Some(&mut buffer[..])
    }

    fn unregister_buffers(&mut self) -> Result<Vectors<Buffer>, Error> {
        self.touch("unregister_buffers");
        self.register_call()?;
        let buffers = std::mem::take(&mut self.operations.fixed);
        Ok(buffers.into_iter().collect())
    }

    fn shut_down(&mut self, limit: Duration) -> Shutdown {
        self.touch("shut_down");
        self.end_operations(limit)
    }

    fn counters(&self) -> Counters {
        self.operations.counters
    }
}
