//! The fake as a proactor's backend, through the engine.

use std::net::SocketAddr;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::handle::{File, Handle, Op, Tag};
use linux_event_core::pid::ExitStatus;
use linux_event_core::proactor::{
    Backend as _, Code, Completion, Event, FixedBuffer, How, IoBuf, MessageFlags, Payload,
    PollEvents, Proactor, Request, Vectors, Vouched, op,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::signal::Signal;
use linux_event_core::sys::{AsRawFd, Domain, SocketKind};

use crate::Buffer;
use crate::fake::{Action, Answer, CompleteError, Decision, Fake, FakeFd, Name};

mod cancelling;
mod chains;
mod disk;
mod manual;
mod multishot;
mod network;
mod random;
mod transfer;
mod trouble;

type Proactors = Proactor<Buffer, u32, 32, 16, Fake>;

const MILLI: Duration = Duration::from_millis(1);

fn proactor() -> Proactors {
    Proactors::new(Fake::new()).unwrap()
}

/// What an end of a turn looks like: (data, result, whether more comes).
type Seen = (u32, i32, bool);

fn adopt(proactor: &mut Proactors, fd: FakeFd) -> File {
    let owned = proactor.backend().own(fd);
    proactor.adopt(owned).unwrap()
}

/// A pipe: the end to read as the proactor has it, the end to write as the fake has it.
fn pipe(proactor: &mut Proactors) -> (File, FakeFd) {
    let (reader, writer) = proactor.backend_mut().pipe().unwrap();
    (adopt(proactor, reader), writer)
}

/// Two connected sockets: one is the proactor's.
fn sockets(proactor: &mut Proactors) -> (File, FakeFd) {
    let (one, other) = proactor.backend_mut().socketpair().unwrap();
    (adopt(proactor, one), other)
}

fn room(bytes: usize) -> Buffer {
    Buffer::from(Vec::with_capacity(bytes))
}

fn submit(proactor: &mut Proactors, request: impl Into<Request<Buffer>>, data: u32) -> Op {
    proactor.submit(request, data).unwrap()
}

/// All completions of one turn.
fn completions(proactor: &mut Proactors, timeout: Option<Duration>) -> Vec<Completion<u32, Fake>> {
    proactor.wait(timeout).unwrap();
    let mut all = Vec::new();
    while let Some(event) = proactor.next() {
        if let Event::Completion(completion) = event {
            all.push(completion);
        }
    }
    all
}

/// What one turn brings.
fn turn(proactor: &mut Proactors) -> Vec<Seen> {
    let all = completions(proactor, None);
    all.iter()
        .map(|one| (one.data, one.result, one.more))
        .collect()
}

/// What a turn brings that takes no time.
fn look(proactor: &mut Proactors) -> Vec<Seen> {
    let all = completions(proactor, Some(Duration::ZERO));
    all.iter()
        .map(|one| (one.data, one.result, one.more))
        .collect()
}

/// The one completion that one turn brings.
fn one(proactor: &mut Proactors) -> Completion<u32, Fake> {
    let mut all = completions(proactor, None);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// The buffer of the one completion that one turn brings.
fn buffer(proactor: &mut Proactors) -> (i32, Buffer) {
    let completion = one(proactor);
    (completion.result, completion.into_buffer().unwrap())
}

const fn failed(errno: Errno) -> i32 {
    -errno.raw()
}

/// Nothing is left of what a test did, but so many descriptors.
fn assert_balanced(proactor: &Proactors, descriptors: usize) {
    let fake = proactor.backend();
    assert_eq!(proactor.operations(), 0);
    assert_eq!(fake.pending_operations(), 0);
    assert_eq!(fake.buffers_out(), 0);
    assert_eq!(fake.leases_out(), 0);
    assert_eq!(fake.open_descriptors(), descriptors);
}
