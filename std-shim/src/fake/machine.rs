//! The simulated machine below the interest list: descriptors, open files, processes, signals.
//!
//! **What.** [`Machine`] does what system calls on descriptors do, says what each open file is ready for, and notes
//! which files changed, for the interest list to hear.
//!
//! **Invariants.** *INV-MACHINE-1*: a file is in `files` exactly while something holds it, and `holders` is how much does:
//! numbers that lead to it, operations in flight, registered slots, the backlog of a listener; the three of the backend's
//! own are held for ever.
//!
//! **Why this shape.** Registrations belong to open files, not to numbers; keeping the two apart, as Linux does, makes
//! duplicates, reuse and orphans come out right without a line written for them. What sockets and regular files do is in
//! `network`, `datagrams` and `regular`.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use linux_event_core::errno::Errno;
use linux_event_core::sys::{Domain, RawFd};

use super::bits::{ERR, IN, OUT};
use super::datagrams::Datagram;
use super::names::Network;
use super::network::Unconnected;
use super::numbers::Numbers;
use super::objects::{Listener, Pipe, Socket};
use super::processes::Processes;
use super::regular::{FileSystem, OpenRegular};
use super::signals::Signals;

/// An open file, for ever: ids are not used again.
pub(super) type FileId = u64;

/// The backend's own files, which have no number: what wakes it, its signals, its timer.
pub(super) const WAKES: FileId = 0;
pub(super) const SIGNALS: FileId = 1;
pub(super) const TIMER: FileId = 2;
const FIRST_FILE: FileId = 3;

/// Under which they are registered.
pub(super) const NO_NUMBER: RawFd = -1;

/// Whether a file is the backend's own.
pub(super) const fn is_own(file: FileId) -> bool {
    file < FIRST_FILE
}

/// What the interest list is to hear.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    /// The file changed; for what, or 0.
    Changed(FileId, u32),
    /// A connection may be tried again. Nobody who polls the listener is told.
    Room(FileId),
    /// A process ended.
    Exited(i32),
    /// Nothing holds the file any more.
    Gone(FileId),
}

#[derive(Debug)]
pub(super) enum Object {
    /// The pipe's id is its reader's.
    PipeReader(FileId),
    PipeWriter(FileId),
    /// A connection.
    Socket(Socket),
    /// A stream socket that is neither connected nor listens.
    Unconnected(Unconnected),
    Listener(Listener),
    Datagram(Datagram),
    Counter(u64),
    Regular(OpenRegular),
    /// A directory, by its path.
    Directory(Vec<u8>),
    Process(i32),
    Signals,
    Timer {
        expired: bool,
    },
}

#[derive(Debug)]
struct OpenFile {
    object: Object,
    /// INV-MACHINE-1.
    holders: usize,
}

#[derive(Debug)]
pub(super) struct Machine {
    files: BTreeMap<FileId, OpenFile>,
    pipes: BTreeMap<FileId, Pipe>,
    pub(super) numbers: Numbers,
    next_file: FileId,
    pub(super) network: Network,
    pub(super) disk: FileSystem,
    pub(super) processes: Processes,
    pub(super) signals: Signals,
    pub(super) notices: Vec<Notice>,
}

impl Machine {
    pub(super) fn new() -> Self {
        let own = [
            (WAKES, Object::Counter(0)),
            (SIGNALS, Object::Signals),
            (TIMER, Object::Timer { expired: false }),
        ];
        let own = own.map(|(id, object)| (id, OpenFile { object, holders: 1 }));
        Self {
            files: BTreeMap::from(own),
            pipes: BTreeMap::new(),
            numbers: Numbers::new(),
            next_file: FIRST_FILE,
            network: Network::default(),
            disk: FileSystem::default(),
            processes: Processes::new(),
            signals: Signals::default(),
            notices: Vec::new(),
        }
    }

    /// The file behind a number.
    pub(super) fn file(&self, number: RawFd) -> Result<FileId, Errno> {
        self.numbers.file(number)
    }

    /// Whether a file can be polled.
    pub(super) fn is_pollable(&self, file: FileId) -> bool {
        !matches!(
            self.object(file),
            Some(Object::Regular(_) | Object::Directory(_))
        )
    }

    /// Whether `number` is the only one that leads to its file.
    pub(super) fn sole_file(&self, number: RawFd) -> Option<FileId> {
        let file = self.file(number).ok()?;
        (self.files.get(&file)?.holders == 1).then_some(file)
    }

    pub(super) fn object(&self, file: FileId) -> Option<&Object> {
        self.files.get(&file).map(|open| &open.object)
    }

    pub(super) fn files_where(&self, holds: impl Fn(&Object) -> bool) -> Vec<FileId> {
        let found = self.files.iter().filter(|(_, open)| holds(&open.object));
        found.map(|(&file, _)| file).collect()
    }

    pub(super) fn object_mut(&mut self, file: FileId) -> Option<&mut Object> {
        self.files.get_mut(&file).map(|open| &mut open.object)
    }

    /// Both ends of the pipe that `file` is an end of.
    pub(super) fn pipe_of(&self, file: FileId) -> Option<&Pipe> {
        match self.object(file)? {
            Object::PipeReader(id) | Object::PipeWriter(id) => self.pipes.get(id),
            _ => None,
        }
    }

    /// Seals the pipe that `file` writes to, if it does.
    pub(super) fn seal_pipe(&mut self, file: FileId) {
        if let Some(Object::PipeWriter(id)) = self.object(file) {
            let id = *id;
            if let Some(pipe) = self.pipes.get_mut(&id) {
                pipe.seal();
            }
        }
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What a file is ready for now: its `poll`.
    pub(super) fn state(&self, file: FileId) -> u32 {
        let Some(object) = self.object(file) else {
            return 0;
        };
        match object {
            Object::PipeReader(pipe) => self.pipes.get(pipe).map_or(0, Pipe::reader_state),
            Object::PipeWriter(pipe) => self.pipes.get(pipe).map_or(0, Pipe::writer_state),
            Object::Socket(socket) => socket.state(),
            Object::Unconnected(unconnected) => unconnected.state(),
            Object::Listener(listener) => listener.state(),
            Object::Datagram(datagram) => self.datagram_state(datagram),
            Object::Counter(count) => {
                let readable = if *count > 0 { IN } else { 0 };
                let writable = if *count < u64::MAX - 1 { OUT } else { 0 };
                let overflowed = if *count == u64::MAX { ERR } else { 0 };
                readable | writable | overflowed
            }
            // What a poll says of a file that has no say in it.
            Object::Regular(_) | Object::Directory(_) => IN | OUT,
            Object::Process(pid) => self.processes.state(*pid),
            Object::Signals => self.signals.state(),
            Object::Timer { expired } => u32::from(*expired) * IN,
        }
    }

    pub(super) fn pipe(&mut self) -> Result<(RawFd, RawFd), Errno> {
        self.numbers.check_room(2)?;
        let id = self.next_file;
        let reader = self.open(Object::PipeReader(id))?;
        let writer = self.open(Object::PipeWriter(id))?;
        let pipe = self.pipes.entry(id).or_default();
        pipe.reader = Some(id);
        pipe.writer = Some(id + 1);
        Ok((reader, writer))
    }

    pub(super) fn socketpair(&mut self) -> Result<(RawFd, RawFd), Errno> {
        self.numbers.check_room(2)?;
        let id = self.next_file;
        let one = self.open(Object::Socket(Socket::pair(id + 1)))?;
        let other = self.open(Object::Socket(Socket::pair(id)))?;
        Ok((one, other))
    }

    /// The family of a socket; `None` if it is none.
    pub(super) fn domain(&self, file: FileId) -> Option<Domain> {
        match self.object(file)? {
            Object::Socket(socket) => Some(socket.domain),
            Object::Unconnected(unconnected) => Some(unconnected.domain),
            Object::Listener(listener) => Some(listener.domain),
            Object::Datagram(datagram) => Some(datagram.domain),
            _ => None,
        }
    }

    /// Whether two files are ends of one pipe.
    pub(super) fn is_same_pipe(&self, one: FileId, other: FileId) -> bool {
        let pipe = |file| match self.object(file) {
            Some(Object::PipeReader(id) | Object::PipeWriter(id)) => Some(*id),
            _ => None,
        };
        pipe(one).is_some() && pipe(one) == pipe(other)
    }

    pub(super) fn eventfd(&mut self) -> Result<RawFd, Errno> {
        self.open(Object::Counter(0))
    }

    pub(super) fn open_process(&mut self, pid: i32) -> Result<RawFd, Errno> {
        self.processes.check_open(pid)?;
        self.open(Object::Process(pid))
    }

    /// The process behind a descriptor.
    pub(super) fn process(&self, number: RawFd) -> Result<i32, Errno> {
        match self.object(self.file(number)?) {
            Some(Object::Process(pid)) => Ok(*pid),
            _ => Err(Errno::EBADF),
        }
    }

    /// Something happened to a process: whoever watches it hears of it.
    pub(super) fn process_changed(&mut self, pid: i32) {
        let watching = self
            .files
            .iter()
            .filter(|(_, file)| matches!(file.object, Object::Process(watched) if watched == pid));
        self.notices
            .extend(watching.map(|(&file, _)| Notice::Changed(file, 0)));
        self.notices.push(Notice::Exited(pid));
    }

    pub(super) fn dup(&mut self, number: RawFd) -> Result<RawFd, Errno> {
        let file = self.file(number)?;
        self.numbers.check_room(1)?;
        self.hold(file);
        Ok(self.numbers.take_lowest(file))
    }

    /// `dup2(2)`: what `target` led to before is closed.
    pub(super) fn dup_to(&mut self, number: RawFd, target: RawFd) -> Result<(), Errno> {
        let file = self.file(number)?;
        self.numbers.check_range(target)?;
        if number != target {
            let _ = self.close(target);
            self.hold(file);
            self.numbers.take(target, file);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, number: RawFd) -> Result<(), Errno> {
        let file = self.numbers.give_back(number)?;
        self.let_go(file);
        Ok(())
    }

    /// Opens a file under the lowest number.
    pub(super) fn open(&mut self, object: Object) -> Result<RawFd, Errno> {
        self.numbers.check_room(1)?;
        let id = self.make(object);
        Ok(self.numbers.take_lowest(id))
    }

    /// Makes a file that one holder has already.
    pub(super) fn make(&mut self, object: Object) -> FileId {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, OpenFile { object, holders: 1 });
        id
    }

    /// Something more holds `file` (INV-MACHINE-1).
    pub(super) fn hold(&mut self, file: FileId) {
        if let Some(open) = self.files.get_mut(&file) {
            open.holders += 1;
        }
    }

    /// Something holds `file` no more; who is the last ends it.
    pub(super) fn let_go(&mut self, file: FileId) {
        let Some(open) = self.files.get_mut(&file) else {
            return;
        };
        open.holders -= 1;
        if open.holders == 0
            && let Some(closed) = self.files.remove(&file)
        {
            self.notices.push(Notice::Gone(file));
            self.release(file, closed.object);
        }
    }

    /// What the end of a file does to others.
    fn release(&mut self, file: FileId, object: Object) {
        match object {
            Object::PipeReader(id) | Object::PipeWriter(id) => {
                let Some(pipe) = self.pipes.get_mut(&id) else {
                    return;
                };
                let end = if file == id {
                    &mut pipe.reader
                } else {
                    &mut pipe.writer
                };
                *end = None;
                match pipe.reader.or(pipe.writer) {
                    Some(other) => self.notices.push(Notice::Changed(other, 0)),
                    None => drop(self.pipes.remove(&id)),
                }
            }
            Object::Socket(socket) => self.hang_up(file, socket),
            Object::Unconnected(_) => self.network.unbind(file),
            Object::Datagram(_) => {
                self.made_room(file); // who waits for that learns that nobody is there
                self.network.unbind(file);
            }
            Object::Listener(listener) => self.stop_listening(file, listener),
            Object::Regular(regular) => self.disk.forget(regular.inode),
            _ => {}
        }
    }

    /// Reads what is there, at the current position or, of a regular file, at `at`.
    pub(super) fn read(
        &mut self,
        file: FileId,
        buffer: &mut [u8],
        at: Option<u64>,
    ) -> Result<usize, Errno> {
        let Some(open) = self.files.get_mut(&file) else {
            return Err(Errno::EBADF);
        };
        match &mut open.object {
            Object::PipeReader(id) => {
                let pipe = self.pipes.get_mut(id).ok_or(Errno::EBADF)?;
                let (count, has_room) = pipe.read(buffer)?;
                if let Some(writer) = pipe.writer.filter(|_| has_room) {
                    self.notices.push(Notice::Changed(writer, OUT));
                }
                Ok(count)
            }
            Object::Socket(socket) => {
                let (peer, mut released) = (socket.peer, Vec::new());
                let count = socket.read(buffer, &mut released);
                self.release_charges(peer, released);
                count
            }
            Object::Counter(count) => {
                let room = buffer.first_chunk_mut().ok_or(Errno::EINVAL)?;
                if *count == 0 {
                    return Err(Errno::EAGAIN);
                }
                *room = std::mem::take(count).to_ne_bytes();
                self.notices.push(Notice::Changed(file, OUT));
                Ok(room.len())
            }
            Object::Datagram(datagram) => {
                let message = datagram.receive(false)?.bytes;
                self.made_room(file);
                let count = message.len().min(buffer.len());
                buffer[..count].copy_from_slice(&message[..count]);
                Ok(count)
            }
            Object::Regular(regular) => self.disk.read(regular, buffer, at),
            Object::Unconnected(unconnected) => unconnected.read(),
            Object::Listener(listener) => Err(listener.refuses_to_read()),
            Object::Directory(_) => Err(Errno::EISDIR),
            Object::PipeWriter(_) => Err(Errno::EBADF),
            Object::Process(_) | Object::Signals | Object::Timer { .. } => Err(Errno::EINVAL),
        }
    }

    /// Writes what there is room for, at the current position or, of a regular file, at `at`.
    pub(super) fn write(
        &mut self,
        file: FileId,
        bytes: &[u8],
        at: Option<u64>,
    ) -> Result<usize, Errno> {
        let Some(open) = self.files.get_mut(&file) else {
            return Err(Errno::EBADF);
        };
        match &mut open.object {
            Object::PipeWriter(id) => {
                if bytes.is_empty() {
                    return Ok(0);
                }
                let pipe = self.pipes.get_mut(id).ok_or(Errno::EBADF)?;
                let written = pipe.write(bytes);
                if let Some(reader) = pipe.reader {
                    // Also when nothing went in: a pipe that was ever polled tells of every attempt (fs/pipe.c).
                    self.notices.push(Notice::Changed(reader, IN));
                }
                written
            }
            Object::Socket(_) => self.send(file, bytes),
            Object::Counter(_) => {
                let value = u64::from_ne_bytes(*bytes.first_chunk().ok_or(Errno::EINVAL)?);
                self.count_up(file, value)?;
                Ok(size_of::<u64>())
            }
            Object::Datagram(_) => self.send_datagram(file, bytes, None),
            Object::Regular(regular) => self.disk.write(regular, bytes, at),
            Object::Unconnected(unconnected) => Err(unconnected.refuses_to_write()),
            Object::Listener(listener) => Err(listener.refuses_to_write()),
            Object::PipeReader(_) | Object::Directory(_) => Err(Errno::EBADF),
            Object::Process(_) | Object::Signals | Object::Timer { .. } => Err(Errno::EINVAL),
        }
    }

    /// Adds to an eventfd's count.
    pub(super) fn count_up(&mut self, file: FileId, value: u64) -> Result<(), Errno> {
        let Some(Object::Counter(count)) = self.object_mut(file) else {
            return Err(Errno::EBADF);
        };
        if value == u64::MAX {
            return Err(Errno::EINVAL);
        }
        if value >= u64::MAX - *count {
            return Err(Errno::EAGAIN);
        }
        *count += value;
        self.notices.push(Notice::Changed(file, IN));
        Ok(())
    }

    /// A signal is pending that was not, or the set has changed.
    pub(super) fn signals_changed(&mut self) {
        self.notices.push(Notice::Changed(SIGNALS, 0));
    }

    pub(super) fn set_timer_expired(&mut self, now_expired: bool) {
        if let Some(Object::Timer { expired }) = self.object_mut(TIMER) {
            *expired = now_expired;
            if now_expired {
                self.notices.push(Notice::Changed(TIMER, IN));
            }
        }
    }
}
