//! Operations in the hands of a test (rule F-1).

#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::handle::Handle;
use linux_event_core::pid::ExitStatus;
use linux_event_core::proactor::{CURRENT, Carried, Code, Extra, FixedFile, Stat};
use linux_event_core::sys::AsRawFd;

use super::super::names::Name;
use super::super::owned::FakeOwned;
use super::super::{Fake, FakeFd};
use super::{Operation, Phase, Serial, failure};

/// An operation that has started and not ended: see [`Fake::pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingOp {
    /// The handle under which the proactor knows it.
    pub token: Handle,
    /// Which operation.
    pub code: Code,
    /// On which descriptor, if it is known by a number.
    pub fd: Option<FakeFd>,
    /// In which registered slot, if it is known by one.
    pub slot: Option<FixedFile>,
    /// How many bytes it may move at most; 0 of what moves none, and of a multishot receive without a limit.
    pub length: usize,
    /// Where in the file; `None` at the current position.
    pub offset: Option<u64>,
    /// Its flags, as its builder in [`op`](linux_event_core::proactor::op) made them.
    pub flags: u32,
    /// The address that it connects, binds or sends to.
    pub address: Option<SocketAddr>,
    /// The process that it waits for.
    pub pid: Option<i32>,
    /// The time it may take.
    pub timeout: Option<Duration>,
    /// Whether it waits for the test.
    pub is_held: bool,
}

impl From<PendingOp> for Handle {
    fn from(pending: PendingOp) -> Self {
        pending.token
    }
}

impl From<&PendingOp> for Handle {
    fn from(pending: &PendingOp) -> Self {
        pending.token
    }
}

impl PendingOp {
    pub(super) fn of(operation: &Operation) -> Self {
        let request = &operation.request;
        let (address, pid) = match (&request.extra, request.code()) {
            (_, Code::WaitId) => (None, request.pid()),
            (Extra::Address(address), _) => (Some(*address), None),
            _ => (None, None),
        };
        let has_offset = matches!(
            request.code(),
            Code::Read
                | Code::Write
                | Code::ReadVectored
                | Code::WriteVectored
                | Code::ReadFixed
                | Code::WriteFixed
                | Code::Splice
        );
        Self {
            token: operation.token,
            code: request.code(),
            fd: Fake::fd_of(operation),
            slot: request.target().fixed(),
            length: operation.asked(),
            offset: Some(request.offset).filter(|&offset| has_offset && offset != CURRENT),
            flags: request.flags,
            address,
            pid,
            timeout: request.timeout,
            is_held: operation.phase == Phase::Held,
        }
    }
}

/// What a test completes an operation with: see [`Fake::complete`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// A count of bytes that were written, bits of a poll, or 0.
    Count(u32),
    /// Bytes that were read.
    Bytes(Vec<u8>),
    /// A message and who sent it.
    Message(Vec<u8>, SocketAddr),
    /// A new descriptor, which is the operation's from here on.
    Descriptor(FakeFd),
    /// An accepted connection, and the peer's address.
    Connection(FakeFd, SocketAddr),
    /// What a file is like.
    Stat(Stat),
    /// How a child ended.
    Exit(ExitStatus),
}

impl From<u32> for Answer {
    fn from(count: u32) -> Self {
        Self::Count(count)
    }
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Answer {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Answer {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<FakeFd> for Answer {
    fn from(fd: FakeFd) -> Self {
        Self::Descriptor(fd)
    }
}

impl From<Stat> for Answer {
    fn from(stat: Stat) -> Self {
        Self::Stat(stat)
    }
}

impl From<ExitStatus> for Answer {
    fn from(status: ExitStatus) -> Self {
        Self::Exit(status)
    }
}

/// Why an operation was not completed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompleteError {
    /// No such operation has started and not ended. One that was submitted starts with the next flush or wait, a member of a
    /// chain when its turn has come.
    NotPending,
    /// More bytes than were asked for.
    TooLong {
        /// How many were.
        asked: usize,
        /// How many came.
        given: usize,
    },
    /// No such operation completes with that.
    WrongKind(Code),
    /// That descriptor is not open.
    Closed(FakeFd),
    /// The group has no buffer left: fail the operation with ENOBUFS.
    NoBuffer,
}

impl fmt::Display for CompleteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotPending => f.write_str("no such operation has started and not ended"),
            Self::TooLong { asked, given } => {
                write!(f, "{given} bytes where {asked} were asked for")
            }
            Self::WrongKind(code) => write!(f, "{} does not complete with that", code.name()),
            Self::Closed(fd) => write!(f, "descriptor {} is not open", fd.as_raw_fd()),
            Self::NoBuffer => f.write_str("the group has no buffer left"),
        }
    }
}

impl std::error::Error for CompleteError {}

impl Fake {
    /// The operations that have started and not ended, in the order in which they did.
    ///
    /// ```
    /// use linux_event::Buffer;
    /// use linux_event::fake::{CompleteError, Fake};
    /// use linux_event_core::proactor::{Event, Proactor, op};
    ///
    /// let mut fake = Fake::new();
    /// let (reader, _writer) = fake.pipe()?;
    /// let owned = fake.own(reader);
    /// fake.hold(true);
    /// let mut proactor: Proactor<Buffer, u32, 8, 8, Fake> = Proactor::new(fake)?;
    /// let file = proactor.adopt(owned).unwrap();
    /// proactor.submit(op::read(file, Buffer::with_capacity(4)).limit(4), 1)?;
    /// proactor.submit(op::read(file, Buffer::with_capacity(4)).limit(4), 2)?;
    /// proactor.flush()?;
    ///
    /// let fake = proactor.backend_mut();
    /// let pending = fake.pending();
    /// assert_eq!((pending[0].fd, pending[0].length), (Some(reader), 4));
    /// let refused = fake.complete(pending[1], b"too long"); // before anything changes
    /// assert_eq!(refused, Err(CompleteError::TooLong { asked: 4, given: 8 }));
    /// fake.complete(pending[1], b"abc")?; // the second before the first
    /// fake.complete(pending[0], b"")?;
    ///
    /// proactor.wait(None)?;
    /// let Some(Event::Completion(second)) = proactor.next() else { unreachable!() };
    /// assert_eq!((second.data, second.outcome()), (2, Ok(3)));
    /// assert_eq!(second.into_buffer(), Some(Buffer::from(b"abc")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pending(&self) -> Vec<PendingOp> {
        let running = self.operations.running.values();
        running
            .filter(|operation| operation.phase != Phase::Sent)
            .map(PendingOp::of)
            .collect()
    }

    /// The bytes that a pending operation is to write.
    pub fn bytes_to_write(&self, op: impl Into<Handle>) -> Option<Vec<u8>> {
        let serial = self.serial(op.into()).ok()?;
        let operation = self.operations.running.get(&serial)?;
        operation.is_write().then(|| self.bytes_of(operation))
    }

    /// Completes a pending operation, whatever the simulated machine would say; its report comes with the next wait.
    ///
    /// Reads, receives and multishot receives take bytes; writes, sends and splices a count; accept, socket and open a
    /// descriptor; a poll its bits; statx and waitid what they ask for; the others 0. A multishot operation ends with that.
    ///
    /// # Errors
    /// [`CompleteError`], before anything has changed.
    pub fn complete(
        &mut self,
        op: impl Into<Handle>,
        answer: impl Into<Answer>,
    ) -> Result<(), CompleteError> {
        let serial = self.serial(op.into())?;
        let answer = answer.into();
        self.check_answer(serial, &answer)?;
        let Some(mut operation) = self.operations.running.remove(&serial) else {
            return Err(CompleteError::NotPending);
        };
        let result = match answer {
            Answer::Bytes(bytes) | Answer::Message(bytes, _)
                if operation.request.code() == Code::RecvMulti && !bytes.is_empty() =>
            {
                // As when a kernel has no room for one more report: the last one has bytes too.
                self.end_with_lease(serial, operation, &bytes);
                return Ok(());
            }
            answer => self.take_answer(&mut operation, answer),
        };
        self.conclude(serial, operation, result);
        Ok(())
    }

    /// As [`complete`](Self::complete), of a multishot operation that goes on.
    ///
    /// # Errors
    /// As there; [`CompleteError::WrongKind`] if it is not a multishot operation.
    pub fn complete_more(
        &mut self,
        op: impl Into<Handle>,
        answer: impl Into<Answer>,
    ) -> Result<(), CompleteError> {
        let serial = self.serial(op.into())?;
        let answer = answer.into();
        self.check_answer(serial, &answer)?;
        let Some(mut operation) = self.operations.running.remove(&serial) else {
            return Err(CompleteError::NotPending);
        };
        let code = operation.request.code();
        if !code.is_multishot() || matches!(&answer, Answer::Bytes(bytes) if bytes.is_empty()) {
            self.operations.running.insert(serial, operation);
            return Err(CompleteError::WrongKind(code));
        }
        if let (Answer::Bytes(bytes), Extra::Group(group)) = (&answer, operation.request.extra) {
            let lease = self.operations.groups.fill(group, bytes);
            let carried = lease.map_or(Carried::Nothing, Carried::Lease);
            self.tell_more(&operation, bytes.len() as i32, carried, None);
        } else {
            let result = self.take_answer(&mut operation, answer);
            let made = operation.made.take();
            let made = made.map(|number| FakeOwned::new(number, &self.returned));
            let carried = match made {
                Some(_) => Carried::Descriptor,
                None => Carried::Nothing,
            };
            self.tell_more(&operation, result, carried, made);
        }
        self.operations.running.insert(serial, operation);
        Ok(())
    }

    /// Has a pending operation fail; its report comes with the next wait.
    ///
    /// # Errors
    /// [`CompleteError::NotPending`].
    pub fn fail(&mut self, op: impl Into<Handle>, errno: Errno) -> Result<(), CompleteError> {
        let serial = self.serial(op.into())?;
        let operation = self.operations.running.remove(&serial);
        let operation = operation.ok_or(CompleteError::NotPending)?;
        self.conclude(serial, operation, failure(errno));
        Ok(())
    }

    /// Has the machine perform a pending operation, which moves `bytes` at most, no fewer than 1.
    ///
    /// # Errors
    /// [`CompleteError::NotPending`]; [`CompleteError::WrongKind`] if it moves none.
    pub fn shorten(&mut self, op: impl Into<Handle>, bytes: usize) -> Result<(), CompleteError> {
        let serial = self.serial(op.into())?;
        let operation = self.operations.running.get_mut(&serial);
        let operation = operation.ok_or(CompleteError::NotPending)?;
        let code = operation.request.code();
        if operation.asked() == 0 && code != Code::RecvMulti {
            return Err(CompleteError::WrongKind(code));
        }
        operation.limit = Some(bytes.max(1));
        self.go_on(serial, Phase::Performed)
    }

    /// Has the machine perform a pending operation when so much virtual time has passed.
    ///
    /// # Errors
    /// [`CompleteError::NotPending`].
    pub fn delay(&mut self, op: impl Into<Handle>, delay: Duration) -> Result<(), CompleteError> {
        let serial = self.serial(op.into())?;
        self.go_on(serial, Phase::Delayed(self.now + delay))
    }

    /// Has the machine perform a pending operation that was held or delayed.
    ///
    /// # Errors
    /// [`CompleteError::NotPending`].
    pub fn release(&mut self, op: impl Into<Handle>) -> Result<(), CompleteError> {
        let serial = self.serial(op.into())?;
        self.go_on(serial, Phase::Performed)
    }

    fn go_on(&mut self, serial: Serial, phase: Phase) -> Result<(), CompleteError> {
        let operation = self.operations.running.get_mut(&serial);
        operation.ok_or(CompleteError::NotPending)?.phase = phase;
        match phase {
            Phase::Delayed(at) => drop(self.operations.timers.insert((at, serial))),
            _ => self.operations.wake(serial, 0),
        }
        Ok(())
    }

    /// The pending operation behind a handle.
    fn serial(&self, token: Handle) -> Result<Serial, CompleteError> {
        let serial = self.operations.by_token.get(&token).copied();
        let serial = serial.ok_or(CompleteError::NotPending)?;
        match self.operations.running.get(&serial) {
            Some(operation) if operation.phase != Phase::Sent => Ok(serial),
            _ => Err(CompleteError::NotPending),
        }
    }

    /// Whether an operation can complete so: before anything changes.
    fn check_answer(&self, serial: Serial, answer: &Answer) -> Result<(), CompleteError> {
        let operation = self.operations.running.get(&serial);
        let operation = operation.ok_or(CompleteError::NotPending)?;
        let code = operation.request.code();
        let fits = |given: usize, asked: usize| {
            if given > asked {
                return Err(CompleteError::TooLong { asked, given });
            }
            Ok(())
        };
        match (code, answer) {
            (Code::RecvMulti, Answer::Bytes(bytes)) => {
                let Extra::Group(group) = operation.request.extra else {
                    return Err(CompleteError::WrongKind(code));
                };
                let size = self.operations.groups.next_size(group);
                let size = size.ok_or(CompleteError::NoBuffer)?;
                let asked = Some(operation.asked()).filter(|&asked| asked > 0);
                fits(bytes.len(), asked.unwrap_or(size).min(size))
            }
            (Code::RecvMessage, Answer::Message(bytes, _))
            | (
                Code::Read | Code::ReadVectored | Code::ReadFixed | Code::Recv | Code::RecvMessage,
                Answer::Bytes(bytes),
            ) => fits(bytes.len(), operation.asked()),
            (Code::Splice, Answer::Count(count)) => fits(*count as usize, operation.asked()),
            (_, Answer::Count(count)) if operation.is_write() => {
                fits(*count as usize, operation.asked())
            }
            (
                Code::Accept | Code::AcceptMulti | Code::Socket | Code::OpenAt,
                Answer::Descriptor(fd),
            )
            | (Code::Accept, Answer::Connection(fd, _)) => match self.machine.file(fd.0) {
                Ok(_) => Ok(()),
                Err(_) => Err(CompleteError::Closed(*fd)),
            },
            (Code::Poll | Code::PollMulti, Answer::Count(_))
            | (Code::Statx, Answer::Stat(_))
            | (Code::WaitId, Answer::Exit(_)) => Ok(()),
            // The end, of what has one.
            (code, Answer::Count(0)) if !code.makes_descriptor() => Ok(()),
            _ => Err(CompleteError::WrongKind(code)),
        }
    }

    /// Ends a multishot receive with bytes.
    fn end_with_lease(&mut self, serial: Serial, operation: Operation, bytes: &[u8]) {
        let lease = match operation.request.extra {
            Extra::Group(group) => self.operations.groups.fill(group, bytes),
            _ => None,
        };
        self.conclude_with(serial, operation, bytes.len() as i32, lease);
    }

    /// Gives an operation what it completes with; its result.
    fn take_answer(&mut self, operation: &mut Operation, answer: Answer) -> i32 {
        let token = operation.token;
        match answer {
            Answer::Count(0) if operation.request.code().fills() => {
                self.fill(operation, &[]);
                0
            }
            Answer::Count(count) => count as i32,
            Answer::Bytes(bytes) => {
                self.fill(operation, &bytes);
                bytes.len() as i32
            }
            Answer::Message(bytes, address) => {
                self.fill(operation, &bytes);
                self.operations.answers_of(token).name = Some(Name::Internet(address));
                bytes.len() as i32
            }
            Answer::Descriptor(fd) => {
                operation.made = Some(fd.0);
                fd.0
            }
            Answer::Connection(fd, address) => {
                operation.made = Some(fd.0);
                self.operations.answers_of(token).name = Some(Name::Internet(address));
                fd.0
            }
            Answer::Stat(stat) => {
                self.operations.answers_of(token).stat = Some(stat);
                0
            }
            Answer::Exit(status) => {
                self.operations.answers_of(token).exit = Some(status);
                0
            }
        }
    }
}
