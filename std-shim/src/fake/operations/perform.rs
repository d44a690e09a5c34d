//! What a kernel does for each operation, but for those that move bytes and those that go on.

#![forbid(unsafe_code)]

use std::cmp::Ordering;

use linux_event_core::errno::Errno;
use linux_event_core::proactor::{Code, Extra, How, Request};
use linux_event_core::sys::{Domain, SocketKind};

use super::super::Fake;
use super::super::bits::{ERR, HUP, RDHUP};
use super::super::machine::FileId;
use super::super::names::Name;
use super::{Buffer, Operation, Place, Serial, failure};

/// `SOCK_CLOEXEC` and `SOCK_NONBLOCK`, which are no kinds of sockets.
const SOCK_KIND: u64 = 0xf;
/// `WNOWAIT`.
const WNOWAIT: u64 = 0x0100_0000;

impl Operation {
    /// What a poll tells of: these bits always, and what was asked for (`IO_POLL_UNMASK`).
    pub(super) fn polled(&self) -> u32 {
        self.request.flags | ERR | HUP | RDHUP
    }

    /// The open file that it works on.
    pub(super) fn file(&self) -> Result<FileId, Errno> {
        match self.place {
            Place::File(file) => Ok(file),
            Place::None | Place::Slot(_) | Place::Closed => Err(Errno::EBADF),
        }
    }
}

/// An outcome as a result; `None` if the operation has to wait.
pub(super) fn answer(outcome: Result<usize, Errno>) -> Option<i32> {
    match outcome {
        Ok(count) => Some(i32::try_from(count).unwrap_or(i32::MAX)),
        Err(Errno::EAGAIN) => None,
        Err(errno) => Some(failure(errno)),
    }
}

/// A path up to its zero byte.
fn path(request: &Request<Buffer>) -> &[u8] {
    let bytes = request.buffer.as_ref().map_or(&[][..], |path| &path[..]);
    let end = bytes.iter().position(|&byte| byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// Where to connect or bind to.
fn name(request: &Request<Buffer>) -> Result<Name, Errno> {
    match (&request.extra, &request.buffer) {
        (Extra::Address(address), _) => Ok(Name::Internet(*address)),
        (Extra::UnixPath, Some(path)) => Ok(Name::Path(path.to_vec())),
        _ => Err(Errno::EINVAL),
    }
}

impl Fake {
    /// Does what can be done of an operation that was woken for `key`. Its result, or `None` if it has to wait.
    pub(super) fn perform_operation(
        &mut self,
        serial: Serial,
        operation: &mut Operation,
        key: u32,
    ) -> Option<i32> {
        if let Some(errno) = operation.fails {
            return Some(failure(errno));
        }
        match operation.request.code() {
            Code::Nop => Some(0),
            Code::Read | Code::ReadVectored | Code::ReadFixed | Code::Recv | Code::RecvMessage => {
                self.perform_read(operation)
            }
            Code::Write
            | Code::WriteVectored
            | Code::WriteFixed
            | Code::Send
            | Code::SendZeroCopy
            | Code::SendMessage => {
                let done = self.perform_write(operation);
                if done.is_none()
                    && let Some(receiver) = self.full_receiver(operation)
                {
                    self.wait_for(serial, operation, receiver);
                }
                done
            }
            Code::Splice => answer(self.perform_splice(operation)),
            Code::RecvMulti => self.perform_recv_multi(operation),
            Code::AcceptMulti => self.perform_accept_multi(operation),
            Code::PollMulti => self.perform_poll_multi(operation, key),
            Code::Accept => answer(self.perform_accept(operation)),
            Code::Connect => answer(self.perform_connect(serial, operation)),
            Code::Poll => answer(self.perform_poll(operation)),
            Code::OpenAt => answer(self.perform_open(operation)),
            Code::WaitId => answer(self.perform_wait(operation)),
            _ => answer(self.perform_control(operation)),
        }
    }

    /// What neither waits nor moves bytes.
    fn perform_control(&mut self, operation: &mut Operation) -> Result<usize, Errno> {
        let request = &operation.request;
        let done = match request.code() {
            Code::Socket => return self.perform_socket(operation),
            Code::Close => self.perform_close(operation),
            Code::Statx => self.perform_stat(operation),
            Code::Bind => {
                let name = name(request)?;
                self.machine.bind(operation.file()?, &name)
            }
            Code::Listen => self.machine.listen(operation.file()?, request.length),
            Code::Shutdown => {
                let how = match request.length {
                    0 => How::Read,
                    1 => How::Write,
                    2 => How::Both,
                    _ => return Err(Errno::EINVAL),
                };
                self.machine.shutdown(operation.file()?, how)
            }
            Code::Fsync => self.machine.sync(operation.file()?),
            _ => Err(Errno::EINVAL),
        };
        done.map(|()| 0)
    }

    fn perform_socket(&mut self, operation: &mut Operation) -> Result<usize, Errno> {
        let request = &operation.request;
        let domains = [Domain::V4, Domain::V6, Domain::Unix];
        let mut domains = domains.into_iter();
        let domain = domains
            .find(|domain| domain.number() == request.flags)
            .ok_or(Errno::EAFNOSUPPORT)?;
        let kind = (request.offset & SOCK_KIND) as u32;
        let kinds = [SocketKind::Stream, SocketKind::Datagram];
        let kind = kinds
            .into_iter()
            .find(|known| known.number() == kind)
            .ok_or(Errno::EINVAL)?;
        let number = self.machine.socket(domain, kind)?;
        operation.made = Some(number);
        Ok(number as usize)
    }

    fn perform_close(&mut self, operation: &mut Operation) -> Result<(), Errno> {
        if let Some(owned) = operation.closes.take() {
            let fd = owned.into_fd();
            return self.machine.close(fd.0);
        }
        match (operation.place, operation.request.target().number()) {
            (Place::Slot(slot), _) => self.empty_slot(slot).map_err(|_| Errno::EBADF),
            (_, Some(number)) => self.machine.close(number),
            _ => Err(Errno::EBADF),
        }
    }

    pub(super) fn perform_accept(&mut self, operation: &mut Operation) -> Result<usize, Errno> {
        let (number, address) = self.machine.accept(operation.file()?)?;
        operation.made = Some(number);
        if matches!(operation.request.extra, Extra::WantAddress) {
            self.operations.answers_of(operation.token).name = address.map(Name::Internet);
        }
        Ok(number as usize)
    }

    fn perform_connect(
        &mut self,
        serial: Serial,
        operation: &mut Operation,
    ) -> Result<usize, Errno> {
        let name = name(&operation.request)?;
        let connected = self.machine.connect(operation.file()?, &name);
        if connected == Err(Errno::EAGAIN)
            && let Some(listener) = self.machine.listener_of(&name)
        {
            self.wait_for(serial, operation, listener);
        }
        connected.map(|()| 0)
    }

    fn perform_poll(&mut self, operation: &Operation) -> Result<usize, Errno> {
        let events = operation.polled();
        let file = operation.file()?;
        let ready = self.machine.state(file) & events;
        match ready {
            // What it could wait for will never be (`io_uring/poll.c`).
            0 if !self.machine.is_pollable(file) => Err(Errno::EINVAL),
            0 => Err(Errno::EAGAIN),
            ready => Ok(ready as usize),
        }
    }

    /// The directory that a path starts from.
    fn directory(operation: &Operation) -> Result<Option<FileId>, Errno> {
        let is_absolute = path(&operation.request).first() == Some(&b'/');
        match operation.place {
            Place::None => Ok(None),
            _ if is_absolute => Ok(None),
            _ => operation.file().map(Some),
        }
    }

    fn perform_open(&mut self, operation: &mut Operation) -> Result<usize, Errno> {
        let directory = Self::directory(operation)?;
        let request = &operation.request;
        self.machine.disk.now = self.now;
        let number =
            self.machine
                .open_at(directory, path(request), request.flags, request.length)?;
        operation.made = Some(number);
        Ok(number as usize)
    }

    fn perform_stat(&mut self, operation: &Operation) -> Result<(), Errno> {
        let directory = Self::directory(operation)?;
        let request = &operation.request;
        let stat = self.machine.stat(directory, path(request), request.flags)?;
        self.operations.answers_of(operation.token).stat = Some(stat);
        Ok(())
    }

    fn perform_wait(&mut self, operation: &Operation) -> Result<usize, Errno> {
        let request = &operation.request;
        let pid = request.pid().ok_or(Errno::EINVAL)?;
        let reap = request.offset & WNOWAIT == 0;
        let status = match pid.cmp(&0) {
            Ordering::Greater => self.machine.processes.wait(pid, reap)?,
            Ordering::Equal | Ordering::Less => return Err(Errno::EINVAL),
        };
        if reap {
            self.machine.process_changed(pid);
        }
        self.operations.answers_of(operation.token).exit = Some(status);
        Ok(0)
    }
}
