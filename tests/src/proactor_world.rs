//! The worlds that the proactor's conformance suite runs in: one body per rule, the ring and the fake.
//!
//! **What.** A [`World`] makes loops and proactors over one backend; [`Outside`] is what the other side does: it makes what
//! operations work on, and writes, reads and closes the other ends. [`OnRing`] is the kernel's io_uring, [`OnFake`] the
//! fake. [`proactor_conformance!`](crate::proactor_conformance!) makes a test of each body in each world.
//!
//! **Invariants.** Those of the [parent](crate). *INV-BALANCE-1*: a body ends with [`finish`]: no operation is left, nothing
//! is leaked, every buffer and lease is home, and no descriptor is open that was not before. On the ring each test has a
//! process of its own, whose descriptors are counted; the fake counts its own.
//!
//! **Why this shape.** As for the reactor: what is proved on the fake must be what a kernel does, so the lines are the same.

#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::proactor;
use linux_event::{
    Buffer, Completion, File, Loop, LoopError, Op, OpState, Proactor, ProactorBackend, Refused,
    RefusedFd, RefusedVectors, Request, VectoredRequest, Vectors,
};

#[path = "proactor_on_fake.rs"]
mod on_fake;
#[path = "proactor_on_ring.rs"]
mod on_ring;

use crate::{LONG, Machine, both};

pub use on_fake::OnFake;
pub use on_ring::descriptors;
pub use on_ring::is_there;
pub use on_ring::{OnRing, OtherSide};

/// A loop of the world `W`.
pub type LoopOf<W, S = ()> = Loop<Proactor<<W as World>::Backend>, S>;

/// A proactor of values in the world `W`.
pub type ValuesOf<W, D = u32> = proactor::Proactor<Buffer, D, 64, 64, <W as World>::Backend>;

/// A descriptor with an owner, in the terms of the world `W`.
pub type FdOf<W> = <<W as World>::Backend as proactor::Backend>::Fd;

/// What came of an operation of a loop.
pub type Done<W> = Completion<<W as World>::Backend>;

/// What callbacks heard, in order.
pub type Heard<W> = Vec<(&'static str, Done<W>)>;

/// Where bodies run: makes loops over one backend.
pub trait World: both::World<Model = Proactor<<Self as World>::Backend>> {
    /// The backend.
    type Backend: ProactorBackend<Lease: 'static, Fd: 'static> + Debug + 'static;
    /// A descriptor that the test keeps for itself: the other end of what the loop works on.
    type End: Copy + Debug + Eq + 'static;
    /// The other side.
    type Outside<'a>: Outside<End = Self::End, Fd = FdOf<Self>>;

    /// A loop whose queues have room for so many submissions and completions.
    fn with_queues<S>(entries: u32, completions: u32, state: S) -> LoopOf<Self, S>;
    /// A loop whose queue of submissions has room for `entries`.
    fn with_entries<S>(entries: u32, state: S) -> LoopOf<Self, S> {
        Self::with_queues(entries, 4096, state)
    }
    /// A proactor of values.
    fn values<D: Copy>() -> ValuesOf<Self, D>;
    /// The other side of a loop.
    fn outside<S>(event_loop: &mut LoopOf<Self, S>) -> Self::Outside<'_>;
    /// The other side of a proactor of values.
    fn around<D: Copy>(proactor: &mut ValuesOf<Self, D>) -> Self::Outside<'_>;
    /// Panics if something of a loop's is not home that only its backend can tell of.
    fn check_loop<S>(event_loop: &mut LoopOf<Self, S>);
    /// Likewise of a proactor of values.
    fn check_values<D: Copy>(proactor: &mut ValuesOf<Self, D>);
}

/// What the other side does. Everything panics that can't be done but what can fail by a rule.
pub trait Outside {
    /// A descriptor of the test's own, in non-blocking mode.
    type End: Copy + Debug + Eq + 'static;
    /// A descriptor for the loop, in blocking mode.
    type Fd;

    /// A pipe: the end to read, the end to write.
    fn pipe(&mut self) -> (Self::Fd, Self::Fd);
    /// Two connected stream sockets.
    fn socketpair(&mut self) -> (Self::Fd, Self::Fd);
    /// A socket that listens on this machine, and where.
    fn listener(&mut self) -> (Self::Fd, SocketAddr);
    /// A stream socket with an address at which nobody listens.
    fn bound(&mut self) -> (Self::Fd, SocketAddr);
    /// A socket that is connected to a listener.
    fn client(&mut self, to: SocketAddr) -> Self::Fd;
    /// A datagram socket, and where it is.
    fn datagram(&mut self) -> (Self::Fd, SocketAddr);

    /// Where in the test's folder the file of this name is.
    fn path(&mut self, name: &str) -> PathBuf;
    /// The test's folder.
    fn folder(&mut self) -> Self::Fd;
    /// Puts a file into the test's folder, and opens it to read and write.
    fn file(&mut self, name: &str, content: &[u8]) -> Self::Fd;
    /// What is in the file of this name.
    fn content(&mut self, name: &str) -> Option<Vec<u8>>;

    /// Takes the file of this name away, if there is one.
    fn remove(&mut self, name: &str);

    /// Keeps a descriptor on this side.
    fn keep(&mut self, fd: Self::Fd) -> Self::End;
    /// Writes.
    ///
    /// # Errors
    /// EAGAIN, EPIPE, ECONNRESET.
    fn write(&mut self, end: Self::End, bytes: &[u8]) -> Result<usize, Errno>;
    /// Reads.
    ///
    /// # Errors
    /// EAGAIN, ECONNRESET.
    fn read(&mut self, end: Self::End, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// Shuts down the writing side of a socket.
    fn shutdown_write(&mut self, end: Self::End);
    /// Where a socket is.
    fn address(&mut self, end: Self::End) -> SocketAddr;
    /// Closes one.
    fn close(&mut self, end: Self::End);

    /// Writes all of `bytes`, for which there must be room.
    fn put(&mut self, end: Self::End, bytes: &[u8]) {
        assert_eq!(self.write(end, bytes), Ok(bytes.len()));
    }

    /// Reads until nothing is there any more, or the end.
    fn drain(&mut self, end: Self::End) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count) = self.read(end, &mut buffer)
            && count > 0
        {
            bytes.extend_from_slice(&buffer[..count]);
        }
        bytes
    }

    /// Writes until there is no room any more; returns how much that was.
    fn stuff(&mut self, end: Self::End) -> usize {
        let mut count = 0;
        while let Ok(written) = self.write(end, &[b'.'; 4096]) {
            count += written;
        }
        count
    }

    /// Whether the other side has ended: a read finds the end, and nothing before it.
    fn is_at_end(&mut self, end: Self::End) -> bool {
        self.read(end, &mut [0; 1]) == Ok(0)
    }
}

/// A buffer with nothing in it and room for exactly `bytes`.
pub fn room(bytes: usize) -> Buffer {
    Buffer::from(Vec::with_capacity(bytes))
}

/// A callback that keeps what it hears under this name.
pub fn hear<W: World>(
    who: &'static str,
) -> impl FnMut(&mut LoopOf<W, Heard<W>>, Done<W>) + 'static {
    move |event_loop, done| event_loop.state.push((who, done))
}

/// Takes out what was heard first under this name.
pub fn take<W: World>(event_loop: &mut LoopOf<W, Heard<W>>, who: &str) -> Done<W> {
    let at = event_loop.state.iter().position(|(name, _)| *name == who);
    let at = at.unwrap_or_else(|| panic!("nothing was heard of {who}"));
    event_loop.state.remove(at).1
}

/// Who was heard of and with which result, in order; forgets it all.
pub fn results<W: World>(
    event_loop: &mut LoopOf<W, Heard<W>>,
) -> Vec<(&'static str, Result<u32, Errno>)> {
    let heard = std::mem::take(&mut event_loop.state);
    heard
        .into_iter()
        .map(|(who, done)| (who, done.outcome()))
        .collect()
}

/// As [`results`], sorted: where the order is open.
pub fn sorted<W: World>(
    event_loop: &mut LoopOf<W, Heard<W>>,
) -> Vec<(&'static str, Result<u32, Errno>)> {
    let mut results = results::<W>(event_loop);
    results.sort_by_key(|(who, _)| *who);
    results
}

/// Turns until `is_over` says so, a bound of turns at most.
pub fn turn_until<W: World, S>(
    event_loop: &mut LoopOf<W, S>,
    mut is_over: impl FnMut(&mut LoopOf<W, S>) -> bool,
) {
    for _ in 0..10_000 {
        if is_over(event_loop) {
            return;
        }
        event_loop.run_once(Some(LONG)).expect("a turn");
    }
    panic!("it does not end: {event_loop:?}");
}

/// Submits what can't be refused, and turns until it has settled.
pub fn perform<W: World, S>(
    event_loop: &mut LoopOf<W, S>,
    request: impl Into<Request<Buffer>>,
) -> Done<W> {
    let op = event_loop.start(request).expect("an operation");
    outcome::<W, S>(event_loop, op)
}

/// As [`perform`], of an operation that a kernel may lack: `None` then, and it is said.
pub fn perform_if_there_is<W: World, S>(
    event_loop: &mut LoopOf<W, S>,
    request: impl Into<Request<Buffer>>,
) -> Option<Done<W>> {
    let op = there_is(event_loop.start(request))?;
    Some(outcome::<W, S>(event_loop, op))
}

/// As [`perform`], of an operation with several buffers, which come back too.
pub fn perform_vectored<W: World, S>(
    event_loop: &mut LoopOf<W, S>,
    request: impl Into<VectoredRequest<Buffer>>,
) -> (Result<u32, Errno>, Vec<Buffer>) {
    let slot = std::rc::Rc::new(std::cell::RefCell::new(None));
    let heard = std::rc::Rc::clone(&slot);
    let submitted = event_loop.submit_vectored(request, move |event_loop, done| {
        let buffers = event_loop.take_vectors();
        *heard.borrow_mut() = Some((done.outcome(), buffers.into_iter().collect()));
    });
    submitted.expect("an operation");
    turn_until::<W, S>(event_loop, |_| slot.borrow().is_some());
    let outcome = slot.borrow_mut().take();
    outcome.expect("what came of it")
}

/// Turns until an operation that was started has settled, or has an outcome.
pub fn outcome<W: World, S>(event_loop: &mut LoopOf<W, S>, op: Op) -> Done<W> {
    let mut outcome = None;
    turn_until::<W, S>(event_loop, |event_loop| {
        outcome = event_loop.take_outcome(op);
        outcome.is_some() || event_loop.state(op) == OpState::Gone
    });
    outcome.expect("an operation that was started")
}

/// What a refusal says.
pub trait Refusal: Debug {
    /// The operation that the kernel lacks, if that is why.
    fn lacks(&self) -> Option<proactor::Code>;
}

fn lacks(error: &LoopError) -> Option<proactor::Code> {
    match error {
        LoopError::UnsupportedOperation { code } => Some(*code),
        _ => None,
    }
}

impl Refusal for Refused {
    fn lacks(&self) -> Option<proactor::Code> {
        lacks(&self.error)
    }
}

impl Refusal for RefusedVectors {
    fn lacks(&self) -> Option<proactor::Code> {
        lacks(&self.error)
    }
}

impl Refusal for linux_event::Error {
    fn lacks(&self) -> Option<proactor::Code> {
        match self {
            Self::Loop(error) => lacks(error),
            _ => None,
        }
    }
}

/// What was made or submitted; `None`, and a word about it, where the kernel lacks the operation. Any other refusal fails
/// the test.
pub fn there_is<T, E: Refusal>(made: Result<T, E>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(refused) => {
            let Some(code) = refused.lacks() else {
                panic!("refused: {refused:?}");
            };
            let (name, since) = (code.name(), code.since());
            eprintln!("the kernel lacks {name} ({since}): nothing is tested of it");
            None
        }
    }
}

/// Takes a descriptor in.
pub fn adopt<W: World, S>(event_loop: &mut LoopOf<W, S>, fd: FdOf<W>) -> File {
    match event_loop.adopt_fd(fd) {
        Ok(file) => file,
        Err(RefusedFd { error, .. }) => panic!("a descriptor was not adopted: {error}"),
    }
}

/// Two connected sockets: the loop's, and the test's.
pub fn pair<W: World, S>(event_loop: &mut LoopOf<W, S>) -> (File, W::End) {
    let (one, other) = W::outside(event_loop).socketpair();
    let end = W::outside(event_loop).keep(other);
    (adopt::<W, S>(event_loop, one), end)
}

/// Two connected sockets, both the loop's.
pub fn pair_within<W: World, S>(event_loop: &mut LoopOf<W, S>) -> (File, File) {
    let (one, other) = W::outside(event_loop).socketpair();
    (
        adopt::<W, S>(event_loop, one),
        adopt::<W, S>(event_loop, other),
    )
}

/// A pipe that the loop reads from and the test writes to.
pub fn pipe_in<W: World, S>(event_loop: &mut LoopOf<W, S>) -> (File, W::End) {
    let (reader, writer) = W::outside(event_loop).pipe();
    let end = W::outside(event_loop).keep(writer);
    (adopt::<W, S>(event_loop, reader), end)
}

/// A pipe that the loop writes to and the test reads from.
pub fn pipe_out<W: World, S>(event_loop: &mut LoopOf<W, S>) -> (File, W::End) {
    let (reader, writer) = W::outside(event_loop).pipe();
    let end = W::outside(event_loop).keep(reader);
    (adopt::<W, S>(event_loop, writer), end)
}

/// A pipe that the loop writes to and nobody reads from: a write fails with EPIPE once it runs.
///
/// With a descriptor that can't be written to it fails before it runs, and kernels before 5.18 then cancel the whole chain.
pub fn broken_pipe<W: World, S>(event_loop: &mut LoopOf<W, S>) -> File {
    let (writer, end) = pipe_out::<W, S>(event_loop);
    W::outside(event_loop).close(end);
    writer
}

/// Turns until the other side has ended, with nothing before it.
pub fn wait_for_the_end<W: World, S>(event_loop: &mut LoopOf<W, S>, end: W::End) {
    for _ in 0..10_000 {
        if W::outside(event_loop).is_at_end(end) {
            return;
        }
        event_loop.run_once(Some(crate::MILLI)).expect("a turn");
    }
    panic!("it does not end: {event_loop:?}");
}

/// A file with this content, adopted.
pub fn file<W: World, S>(event_loop: &mut LoopOf<W, S>, name: &str, content: &[u8]) -> File {
    let fd = W::outside(event_loop).file(name, content);
    adopt::<W, S>(event_loop, fd)
}

/// A listener, adopted, and where it is.
pub fn listener<W: World, S>(event_loop: &mut LoopOf<W, S>) -> (File, SocketAddr) {
    let (listener, address) = W::outside(event_loop).listener();
    (adopt::<W, S>(event_loop, listener), address)
}

/// A client of a listener, kept by the test.
pub fn client<W: World, S>(event_loop: &mut LoopOf<W, S>, to: SocketAddr) -> W::End {
    let mut outside = W::outside(event_loop);
    let client = outside.client(to);
    outside.keep(client)
}

/// A connection by TCP: the loop's end, which was accepted, and the test's.
pub fn connection<W: World, S>(event_loop: &mut LoopOf<W, S>) -> (File, W::End) {
    let (listener, address) = listener::<W, S>(event_loop);
    let end = client::<W, S>(event_loop, address);
    let accepted = perform::<W, S>(event_loop, linux_event::op::accept(listener));
    let accepted = accepted.into_descriptor().expect("a connection");
    drop(event_loop.release_fd(listener).expect("an idle listener"));
    (adopt::<W, S>(event_loop, accepted), end)
}

/// A path as operations take it, with a zero byte at its end.
pub fn path_buffer(path: &std::path::Path) -> Buffer {
    use std::os::unix::ffi::OsStrExt;
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    bytes.push(0);
    Buffer::from(bytes)
}

/// Several buffers.
pub fn vectors<const N: usize>(buffers: [Buffer; N]) -> Vectors<Buffer> {
    buffers.into_iter().collect()
}

/// Runs until nothing is left that keeps the loop running.
pub fn run<W: World, S>(event_loop: &mut LoopOf<W, S>) {
    event_loop.run().expect("a run");
}

/// Runs a turn that does not wait.
pub fn turn<W: World, S>(event_loop: &mut LoopOf<W, S>) {
    event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
}

/// Ends a test: INV-BALANCE-1.
///
/// # Panics
/// If something is not home.
pub fn finish<W: World, S: Default>(mut event_loop: LoopOf<W, S>) {
    drop(std::mem::take(&mut event_loop.state));
    assert_eq!(
        event_loop.live_op_count(),
        0,
        "operations are left: {event_loop:?}"
    );
    assert!(!event_loop.is_live(), "something is left: {event_loop:?}");
    assert_eq!(event_loop.counters().leaked, 0, "memory was leaked");
    assert_eq!(<W as both::World>::of(&mut event_loop).struck(), 0);
    W::check_loop(&mut event_loop);
    let (report, _) = event_loop.shutdown(LONG);
    assert_eq!(report.leaked, 0, "memory was leaked at the end");
}

/// Ends a test of a proactor of values: INV-BALANCE-1.
///
/// # Panics
/// If something is not home.
pub fn finish_values<W: World, D: Copy>(mut proactor: ValuesOf<W, D>) {
    assert_eq!(proactor.operations(), 0, "operations are left");
    assert_eq!(proactor.live(), 0, "something is left");
    assert_eq!(proactor.counters().leaked, 0, "memory was leaked");
    W::check_values(&mut proactor);
    assert_eq!(proactor.shutdown(LONG).leaked, 0);
}

/// Makes a test of each body in each world, in modules named for the backends.
#[macro_export]
macro_rules! proactor_conformance {
    ($($(#[$meta:meta])* fn $name:ident<$world:ident>() $body:block)*) => {
        $($(#[$meta])* fn $name<$world: $crate::proactor::World>() $body)*

        $crate::both!(@in ring, $crate::proactor::OnRing, $($name)*);
        $crate::both!(@in fake, $crate::proactor::OnFake, $($name)*);
    };
}
