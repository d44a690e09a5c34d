//! Operations that move bytes.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::proactor::{CURRENT, Code, Extra, IoBuf, MessageFlags};
use linux_event_core::sys::Domain;

use super::super::Fake;
use super::super::bits::{ERR, HUP, IN, RDHUP};
use super::super::machine::{FileId, Object};
use super::super::names::Name;
use super::perform::answer;
use super::{Operation, Place, failure};
use crate::buffer::Buffer;

/// `RWF_NOWAIT`.
const RWF_NOWAIT: u32 = 8;

impl Operation {
    fn is_message(&self) -> bool {
        matches!(
            self.request.code(),
            Code::Recv | Code::RecvMessage | Code::Send | Code::SendMessage | Code::SendZeroCopy
        )
    }

    fn has_flag(&self, flag: MessageFlags) -> bool {
        self.is_message() && self.request.flags & flag.bits() != 0
    }

    /// Whether it fails where it would have to wait.
    fn never_waits(&self) -> bool {
        if self.is_message() {
            self.has_flag(MessageFlags::DONT_WAIT)
        } else {
            self.request.flags & RWF_NOWAIT != 0
        }
    }

    /// Whether its bytes go out.
    pub(super) fn is_write(&self) -> bool {
        matches!(
            self.request.code(),
            Code::Write
                | Code::WriteVectored
                | Code::WriteFixed
                | Code::Send
                | Code::SendMessage
                | Code::SendZeroCopy
        )
    }

    /// The buffers whose bytes go out: the last one may be the path that they go to.
    fn written(&self) -> &[Buffer] {
        match (self.request.extra, self.vectors.split_last()) {
            (Extra::UnixPath, Some((_path, rest))) => rest,
            _ => &self.vectors,
        }
    }

    /// Where a message goes, if that is said.
    fn destination(&self) -> Option<Name> {
        match self.request.extra {
            Extra::Address(address) => Some(Name::Internet(address)),
            Extra::UnixPath => self.vectors.last().map(|path| Name::Path(path.to_vec())),
            _ => None,
        }
    }

    /// How many bytes it is to move at most; 0 of what moves none.
    pub(super) fn asked(&self) -> usize {
        let length = self.request.length as usize;
        match (self.request.code(), &self.request.buffer) {
            (Code::Read | Code::Recv, Some(buffer)) => length.min(IoBuf::capacity(buffer)),
            (Code::Write | Code::Send | Code::SendZeroCopy, Some(buffer)) => {
                length.min(buffer.len())
            }
            (Code::ReadVectored | Code::RecvMessage, _) => {
                self.vectors.iter().map(IoBuf::capacity).sum()
            }
            (Code::WriteVectored | Code::SendMessage, _) => {
                self.written().iter().map(|buffer| buffer.len()).sum()
            }
            (Code::ReadFixed | Code::WriteFixed | Code::Splice | Code::RecvMulti, _) => length,
            _ => 0,
        }
    }

    fn at(&self) -> Option<u64> {
        Some(self.request.offset).filter(|&offset| offset != CURRENT && !self.is_message())
    }

    /// How many bytes it may move now.
    fn wanted(&self) -> usize {
        self.asked().min(self.limit.unwrap_or(usize::MAX))
    }
}

impl Fake {
    /// The bytes that an operation writes.
    pub(super) fn bytes_of(&self, operation: &Operation) -> Vec<u8> {
        let length = operation.asked();
        match (&operation.request.buffer, &operation.request.extra) {
            (Some(buffer), _) => buffer[..length.min(buffer.len())].to_vec(),
            (None, Extra::Fixed { buffer, start }) => {
                let registered = self.operations.fixed.get(usize::from(buffer.index()));
                let start = *start as usize;
                registered
                    .and_then(|bytes| bytes.get(start..start + length))
                    .unwrap_or_default()
                    .to_vec()
            }
            _ => operation
                .written()
                .iter()
                .flat_map(|buffer| buffer.iter().copied())
                .collect(),
        }
    }

    /// Puts what was read where it belongs.
    pub(super) fn fill(&mut self, operation: &mut Operation, bytes: &[u8]) {
        if let Some(buffer) = &mut operation.request.buffer {
            buffer.fill(bytes);
        } else if let Extra::Fixed { buffer, start } = operation.request.extra {
            let registered = self.operations.fixed.get_mut(usize::from(buffer.index()));
            let range = start as usize..start as usize + bytes.len();
            if let Some(room) = registered.and_then(|registered| registered.get_mut(range)) {
                room.copy_from_slice(bytes);
            }
        } else {
            let mut rest = bytes;
            for buffer in &mut operation.vectors {
                let count = buffer.fill(rest);
                rest = &rest[count..];
            }
        }
    }

    pub(super) fn perform_read(&mut self, operation: &mut Operation) -> Option<i32> {
        if let Ok(file) = operation.file()
            && let Some(Object::Datagram(_)) = self.machine.object(file)
        {
            return self.perform_receive(operation, file);
        }
        let outcome = self.read_for(operation);
        match outcome {
            Err(Errno::EAGAIN) if !operation.never_waits() => None,
            Err(errno) => match self.part_of(operation) {
                Some(count) => Some(count),
                None => Some(failure(errno)),
            },
            Ok(bytes) => {
                let is_end = bytes.is_empty();
                operation.received.extend_from_slice(&bytes);
                let is_whole = operation.received.len() >= operation.wanted();
                if operation.has_flag(MessageFlags::WAIT_ALL) && !is_whole && !is_end {
                    return self.perform_read(operation);
                }
                let bytes = std::mem::take(&mut operation.received);
                self.fill(operation, &bytes);
                answer(Ok(bytes.len()))
            }
        }
    }

    /// Receives one datagram, and who sent it. What does not fit is lost; with `MSG_TRUNC` the result tells how much there was.
    fn perform_receive(&mut self, operation: &mut Operation, file: FileId) -> Option<i32> {
        let peeks = operation.has_flag(MessageFlags::PEEK);
        match self.machine.receive_datagram(file, peeks) {
            Err(Errno::EAGAIN) if !operation.never_waits() => None,
            Err(errno) => Some(failure(errno)),
            Ok(message) => {
                let count = message.bytes.len().min(operation.wanted());
                self.fill(operation, &message.bytes[..count]);
                if operation.request.code() == Code::RecvMessage {
                    self.operations.answers_of(operation.token).name = message.from;
                }
                if operation.has_flag(MessageFlags::TRUNCATE) {
                    return answer(Ok(message.bytes.len()));
                }
                answer(Ok(count))
            }
        }
    }

    /// Whether a file is one that such an operation works on. A socket has no position but the first (`net/socket.c`).
    fn check_kind(&self, operation: &Operation, file: FileId) -> Result<(), Errno> {
        let is_socket = self.machine.domain(file).is_some();
        match operation.at() {
            _ if operation.is_message() && !is_socket => Err(Errno::ENOTSOCK),
            Some(at) if at != 0 && is_socket => Err(Errno::ESPIPE),
            _ => Ok(()),
        }
    }

    fn read_for(&mut self, operation: &Operation) -> Result<Vec<u8>, Errno> {
        let file = operation.file()?;
        let wanted = operation.wanted() - operation.received.len().min(operation.wanted());
        self.check_kind(operation, file)?;
        // A read without room asks no socket at all (`net/socket.c`).
        if !operation.is_message() && wanted == 0 && self.machine.domain(file).is_some() {
            return Ok(Vec::new());
        }
        // A receive without room waits all the same, on a connection.
        let is_connection = matches!(self.machine.object(file), Some(Object::Socket(_)));
        let is_readable = self.machine.state(file) & (IN | RDHUP | HUP | ERR) != 0;
        if operation.is_message() && is_connection && wanted == 0 && !is_readable {
            return Err(Errno::EAGAIN);
        }
        if operation.has_flag(MessageFlags::PEEK) {
            return self.peek(file, wanted, None);
        }
        let mut bytes = vec![0; wanted];
        let count = self.machine.read(file, &mut bytes, operation.at())?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// What an operation that waits for all has moved when it ends too soon: it is not lost (P-5).
    pub(super) fn part_of(&mut self, operation: &mut Operation) -> Option<i32> {
        let received = std::mem::take(&mut operation.received);
        if !received.is_empty() {
            self.fill(operation, &received);
            return answer(Ok(received.len()));
        }
        match operation.sent {
            0 => None,
            sent => answer(Ok(sent)),
        }
    }

    pub(super) fn perform_write(&mut self, operation: &mut Operation) -> Option<i32> {
        let outcome = self.write_for(operation);
        match outcome {
            Err(Errno::EAGAIN) if !operation.never_waits() => None,
            Err(errno) => match self.part_of(operation) {
                Some(count) => Some(count),
                None => Some(failure(errno)),
            },
            Ok(count) => {
                let sent = operation.sent + count;
                if operation.has_flag(MessageFlags::WAIT_ALL) && sent < operation.wanted() {
                    operation.sent = sent;
                    return self.perform_write(operation);
                }
                answer(Ok(sent))
            }
        }
    }

    fn write_for(&mut self, operation: &Operation) -> Result<usize, Errno> {
        let file = operation.file()?;
        self.check_kind(operation, file)?;
        if operation.request.code() == Code::SendZeroCopy
            && self.machine.domain(file) == Some(Domain::Unix)
        {
            return Err(Errno::EOPNOTSUPP);
        }
        if let (Extra::Address(_), Some(Object::Socket(socket))) =
            (operation.request.extra, self.machine.object(file))
            && socket.domain == Domain::Unix
        {
            return Err(Errno::EISCONN);
        }
        let bytes = self.bytes_of(operation);
        let end = operation.wanted().min(bytes.len());
        self.machine.disk.now = self.now;
        if let Some(Object::Datagram(_)) = self.machine.object(file) {
            let to = operation.destination();
            return self.machine.send_datagram(file, &bytes[..end], to.as_ref());
        }
        self.machine
            .write(file, &bytes[operation.sent.min(end)..end], operation.at())
    }

    /// The socket whose queue is full, of a message that waits for it.
    pub(super) fn full_receiver(&self, operation: &Operation) -> Option<FileId> {
        let file = operation.file().ok()?;
        self.machine
            .unix_receiver(file, operation.destination().as_ref())
    }

    /// Copies what a read would move.
    fn peek(&mut self, file: FileId, bytes_max: usize, at: Option<u64>) -> Result<Vec<u8>, Errno> {
        if let Some(socket) = self.machine.socket_mut(file) {
            return socket.peek(bytes_max);
        }
        match self.machine.object(file) {
            Some(Object::PipeReader(_)) => self
                .machine
                .pipe_of(file)
                .ok_or(Errno::EBADF)?
                .peek(bytes_max),
            Some(Object::Regular(regular)) => Ok(self.machine.disk.peek(regular, bytes_max, at)),
            Some(Object::Listener(listener)) => Err(listener.refuses_to_read()),
            Some(Object::Unconnected(unconnected)) => unconnected.read().map(|_| Vec::new()),
            Some(Object::PipeWriter(_)) => Err(Errno::EBADF),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Moves bytes from one file to another without losing any: looks, writes, then takes what was written.
    pub(super) fn perform_splice(&mut self, operation: &Operation) -> Result<usize, Errno> {
        let target = operation.file()?;
        let Place::File(source) = operation.from else {
            return Err(Errno::EBADF);
        };
        let Extra::From { offset, .. } = operation.request.extra else {
            return Err(Errno::EINVAL);
        };
        if operation.asked() == 0 {
            return Ok(0); // nothing more is looked at (`io_uring/splice.c`)
        }
        let from = Some(offset).filter(|&offset| offset != CURRENT);
        let to = Some(operation.request.offset).filter(|&offset| offset != CURRENT);
        let reads = match self.machine.object(source) {
            Some(Object::Regular(regular)) => regular.can_read(),
            object => !matches!(object, Some(Object::PipeWriter(_))),
        };
        let writes = match self.machine.object(target) {
            Some(Object::Regular(regular)) => regular.can_write(),
            object => !matches!(object, Some(Object::PipeReader(_))),
        };
        if !reads || !writes {
            return Err(Errno::EBADF);
        }
        let is_pipe = |object: Option<&Object>| {
            matches!(object, Some(Object::PipeReader(_) | Object::PipeWriter(_)))
        };
        let source_is_pipe = is_pipe(self.machine.object(source));
        let target_is_pipe = is_pipe(self.machine.object(target));
        if !source_is_pipe && !target_is_pipe {
            return Err(Errno::EINVAL);
        }
        if let Some(Object::Regular(regular)) = self.machine.object(target)
            && regular.appends()
        {
            return Err(Errno::EINVAL);
        }
        if source_is_pipe && from.is_some() || target_is_pipe && to.is_some() {
            return Err(Errno::ESPIPE);
        }
        if source_is_pipe && target_is_pipe && self.machine.is_same_pipe(source, target) {
            return Err(Errno::EINVAL);
        }
        // Whether anybody reads, and then whether there is room, is asked before there is something to read; of two pipes,
        // when there is, or nobody writes any more.
        let into = self.machine.pipe_of(target);
        let (has_reader, is_full) = into.map_or((true, false), |pipe| {
            (pipe.reader.is_some(), pipe.is_full())
        });
        let bytes = match self.peek(source, operation.wanted(), from) {
            Err(Errno::EAGAIN) if source_is_pipe => return Err(Errno::EAGAIN),
            _ if !has_reader => return Err(Errno::EPIPE),
            _ if is_full => return Err(Errno::EAGAIN),
            peeked => peeked?,
        };
        if bytes.is_empty() {
            return Ok(0);
        }
        self.machine.disk.now = self.now;
        self.machine.seal_pipe(target);
        let written = self.machine.write(target, &bytes, to);
        self.machine.seal_pipe(target);
        let count = written?;
        let mut taken = vec![0; count];
        self.machine.read(source, &mut taken, from)
    }
}
