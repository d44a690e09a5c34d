//! A fake and a real epoll instance side by side, driven by the same steps.

use super::*;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Pipe,
    Sockets,
    Eventfd,
    Regular,
    Add(usize, u32),
    Modify(usize, u32),
    Remove(usize),
    Write(usize, usize),
    Read(usize, usize),
    Fill(usize),
    Drain(usize),
    ShutdownWrite(usize),
    Dup(usize),
    Close(usize),
    Wait,
}

pub(super) enum Real {
    File(File),
    Socket(UnixStream),
    Eventfd(Fd<Linux>),
    Regular(File),
}

impl Real {
    pub(super) fn number(&self) -> RawFd {
        match self {
            Self::File(file) | Self::Regular(file) => file.as_raw_fd(),
            Self::Socket(socket) => socket.as_raw_fd(),
            Self::Eventfd(fd) => AsRawFd::as_raw_fd(fd),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => file.read(buffer).map_err(|error| errno(&error)),
            Self::Socket(socket) => socket.read(buffer).map_err(|error| errno(&error)),
            Self::Eventfd(fd) => fd.read(buffer),
            Self::Regular(_) => Ok(0),
        }
    }

    pub(super) fn write(&mut self, buffer: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => file.write(buffer).map_err(|error| errno(&error)),
            Self::Socket(socket) => socket.write(buffer).map_err(|error| errno(&error)),
            Self::Eventfd(fd) => fd.write(buffer),
            Self::Regular(_) => Ok(buffer.len()),
        }
    }
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0)).expect("an error of the kernel")
}

/// A real pipe whose ends don't block, at the two lowest numbers.
fn real_pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    let path = |number| format!("/proc/self/fd/{number}");
    let mut options = OpenOptions::new();
    options.custom_flags(O_NONBLOCK);
    let fresh_reader = options
        .clone()
        .read(true)
        .open(path(reader.as_raw_fd()))
        .unwrap();
    let fresh_writer = options.write(true).open(path(writer.as_raw_fd())).unwrap();
    let lowest = |old: OwnedFd, fresh: File| {
        let number = old.as_raw_fd();
        drop(old);
        let placed = File::from(fresh.as_fd().try_clone_to_owned().unwrap());
        assert_eq!(placed.as_raw_fd(), number, "another thread opens files");
        placed
    };
    let reader = lowest(reader.into(), fresh_reader);
    let writer = lowest(writer.into(), fresh_writer);
    (reader, writer)
}

/// An open number on both sides.
pub(super) struct Slot {
    pub(super) fake: FakeFd,
    pub(super) real: Real,
    /// Which pipe or pair it is an end of, and which end.
    group: usize,
    end: usize,
}

pub(super) struct Both {
    pub(super) fake: Fake,
    epoll: Epoll,
    pub(super) slots: Vec<Slot>,
    /// Every pair of numbers that ever went together: (fake, real).
    numbers: Vec<(RawFd, RawFd)>,
    groups: usize,
    /// The (group, writing end)s that were written until nothing more went in.
    full: BTreeSet<(usize, usize)>,
    tokens: u32,
}

impl Both {
    pub(super) fn new() -> Self {
        Self {
            fake: Fake::new(),
            epoll: Epoll::new().unwrap(),
            slots: Vec::new(),
            numbers: Vec::new(),
            groups: 0,
            full: BTreeSet::new(),
            tokens: 0,
        }
    }

    fn open(&mut self, fake: FakeFd, real: Real, end: usize) {
        self.insert(fake, real, self.groups, end);
    }

    fn insert(&mut self, fake: FakeFd, real: Real, group: usize, end: usize) {
        let pair = (fake.as_raw_fd(), real.number());
        for known in &self.numbers {
            let (same_fake, same_real) = (known.0 == pair.0, known.1 == pair.1);
            assert_eq!(
                same_fake, same_real,
                "numbers are reused alike: {known:?} {pair:?}"
            );
        }
        if !self.numbers.contains(&pair) {
            self.numbers.push(pair);
        }
        self.slots.push(Slot {
            fake,
            real,
            group,
            end,
        });
    }

    pub(super) fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Pipe | Step::Sockets | Step::Eventfd | Step::Regular => {
                if self.slots.len() < 8 {
                    self.open_some(step);
                }
            }
            Step::Add(at, events) | Step::Modify(at, events) => {
                let Some((fake, real)) = self.number(at) else {
                    return Ok(());
                };
                self.tokens += 1;
                let token = Handle::new(self.tokens, Tag::Watcher, 1);
                let done = if matches!(step, Step::Add(..)) {
                    let real = self.epoll.add(real, events, token);
                    (self.fake.add(fake, events, token), real)
                } else {
                    let real = self.epoll.modify(real, events, token);
                    (self.fake.modify(fake, events, token), real)
                };
                prop_assert_eq!(done.0, done.1);
            }
            Step::Remove(at) => {
                if let Some((fake, real)) = self.number(at) {
                    prop_assert_eq!(self.fake.remove(fake), self.epoll.remove(real));
                }
            }
            Step::Wait => self.wait()?,
            Step::Dup(at) if self.slots.len() < 8 => self.dup(at),
            Step::Close(at) => {
                if let Some(at) = self.slot(at) {
                    let slot = self.slots.remove(at);
                    self.fake.close(slot.fake).unwrap();
                    drop(slot.real);
                }
            }
            Step::ShutdownWrite(at) => {
                if let Some(at) = self.slot(at)
                    && let Real::Socket(socket) = &self.slots[at].real
                {
                    // The kernel refuses to shut down twice what has no peer; so it says ENOTCONN or nothing.
                    let _ = socket.shutdown(Shutdown::Write);
                    self.fake.shutdown_write(self.slots[at].fake).unwrap();
                }
            }
            Step::Write(at, len) => self.write(at, len)?,
            Step::Read(at, len) => self.read(at, len)?,
            Step::Fill(at) => self.fill(at)?,
            Step::Drain(at) => self.drain(at)?,
            Step::Dup(_) => {}
        }
        Ok(())
    }

    fn open_some(&mut self, step: Step) {
        self.groups += 1;
        match step {
            Step::Pipe => {
                let (reader, writer) = real_pipe();
                let (fake_reader, fake_writer) = self.fake.pipe().unwrap();
                self.open(fake_reader, Real::File(reader), 1);
                self.open(fake_writer, Real::File(writer), 0);
            }
            Step::Sockets => {
                let (one, other) = UnixStream::pair().unwrap();
                one.set_nonblocking(true).unwrap();
                other.set_nonblocking(true).unwrap();
                let (fake_one, fake_other) = self.fake.socketpair().unwrap();
                self.open(fake_one, Real::Socket(one), 0);
                self.open(fake_other, Real::Socket(other), 1);
            }
            Step::Eventfd => {
                let eventfd = Linux.eventfd().unwrap();
                let fake = self.fake.eventfd().unwrap();
                self.open(fake, Real::Eventfd(eventfd), 0);
            }
            _ => {
                let file = File::open("/proc/self/exe").unwrap();
                let fake = self.fake.regular_file().unwrap();
                self.open(fake, Real::Regular(file), 0);
            }
        }
    }

    fn dup(&mut self, at: usize) {
        let Some(at) = self.slot(at) else {
            return;
        };
        let slot = &self.slots[at];
        let real = match &slot.real {
            Real::File(file) => Real::File(file.try_clone().unwrap()),
            Real::Regular(file) => Real::Regular(file.try_clone().unwrap()),
            Real::Socket(socket) => Real::Socket(socket.try_clone().unwrap()),
            Real::Eventfd(_) => return,
        };
        let (group, end) = (slot.group, slot.end);
        let fake = self.fake.dup(slot.fake).unwrap();
        self.insert(fake, real, group, end);
    }

    pub(super) fn wait(&mut self) -> Result<(), TestCaseError> {
        self.epoll.wait(None, Some(Duration::ZERO)).unwrap();
        self.fake.wait(None, Some(Duration::ZERO)).unwrap();
        loop {
            let (fake, real) = (self.fake.next(), self.epoll.next());
            prop_assert_eq!(fake, real);
            if fake.is_none() {
                return Ok(());
            }
        }
    }

    pub(super) fn write(&mut self, at: usize, len: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        if self.full.contains(&(slot.group, slot.end)) {
            return Ok(());
        }
        let bytes = if matches!(slot.real, Real::Eventfd(_)) {
            // 8 bytes of 0xff are refused, of 0x7f fill the eventfd in three.
            vec![if len > 48 { 0x7f } else { 1 }; len.clamp(7, 8)]
        } else {
            vec![1; len]
        };
        let real = slot.real.write(&bytes);
        prop_assert_eq!(self.fake.write(slot.fake, &bytes), real);
        Ok(())
    }

    pub(super) fn read(&mut self, at: usize, len: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        let (mut fake, mut real) = (vec![0; len], vec![0; len]);
        let read = slot.real.read(&mut real);
        prop_assert_eq!(self.fake.read(slot.fake, &mut fake), read);
        prop_assert_eq!(fake, real);
        Ok(())
    }

    fn fill(&mut self, at: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        if !matches!(slot.real, Real::File(_) | Real::Socket(_))
            || !self.full.insert((slot.group, slot.end))
        {
            return Ok(());
        }
        let real = loop {
            if let Err(errno) = slot.real.write(&PIECE) {
                break errno;
            }
        };
        let fake = loop {
            if let Err(errno) = self.fake.write(slot.fake, &PIECE) {
                break errno;
            }
        };
        prop_assert_eq!(fake, real);
        Ok(())
    }

    fn drain(&mut self, at: usize) -> Result<(), TestCaseError> {
        let Some(slot) = self.slot(at).map(|at| &mut self.slots[at]) else {
            return Ok(());
        };
        let mut buffer = [0; 8192];
        let real = loop {
            let read = slot.real.read(&mut buffer);
            if !matches!(read, Ok(1..)) {
                break read;
            }
        };
        let fake = loop {
            let read = self.fake.read(slot.fake, &mut buffer);
            if !matches!(read, Ok(1..)) {
                break read;
            }
        };
        prop_assert_eq!(fake, real);
        self.full.remove(&(slot.group, 1 - slot.end));
        Ok(())
    }

    fn slot(&self, at: usize) -> Option<usize> {
        (!self.slots.is_empty()).then(|| at % self.slots.len())
    }

    /// A pair of numbers: mostly of what is open, sometimes any.
    pub(super) fn number(&self, at: usize) -> Option<(RawFd, RawFd)> {
        if at % 8 == 7 || self.slots.is_empty() {
            return (!self.numbers.is_empty()).then(|| self.numbers[at / 8 % self.numbers.len()]);
        }
        let slot = &self.slots[self.slot(at)?];
        Some((slot.fake.as_raw_fd(), slot.real.number()))
    }
}
