//! The worlds of the net layer: one body, four backends, and one of them as on an older kernel.
//!
//! **What.** [`NetWorld`] adds to a world of either model what the other side of a connection does: [`Peer`](NetWorld::Peer)s
//! connect, write, read, end and reset. [`net!`](crate::net!) makes a test of each body in each world.
//!
//! **Invariants.** *INV-NET-WORLD-1*: a body ends with [`finish`]: no stream, no operation and no registration is left, and no
//! descriptor is open that was not before. Over a kernel each test has a process of its own, whose descriptors are counted.
//!
//! **Why this shape.** What the other side does is done by the test, between turns: nothing races, and nothing sleeps.

#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::{Code, How};
use linux_event::core::sys::Domain;
use linux_event::fake::{Fake, FakeFd, Name};
use linux_event::net::{Address, IntoSocket, Net};
use linux_event::process::Spawn;
use linux_event::{Loop, Proactor, Reactor};

use crate::both::{self, LoopOf};
use crate::{LONG, libc_calls as libc, system};

/// Where bodies of the net layer run.
pub trait NetWorld: both::World<Model: Net> {
    /// The other side of a connection, non-blocking. Over a kernel it closes when it is dropped.
    type Peer: Debug;
    /// A socket that a stream or listener takes in.
    type Ours: IntoSocket<Self::Model> + Debug;

    /// Connects to a listener.
    ///
    /// # Errors
    /// ECONNREFUSED …
    fn try_connect<S>(event_loop: &mut LoopOf<Self, S>, to: &Address) -> Result<Self::Peer, Errno>;
    /// A connection without a listener: our end, and the other.
    fn pair<S>(event_loop: &mut LoopOf<Self, S>) -> (Self::Ours, Self::Peer);
    /// A socket that listens at a TCP port of this machine.
    fn listening<S>(event_loop: &mut LoopOf<Self, S>) -> Self::Ours;
    /// A UDP socket at a port of this machine.
    fn datagram<S>(event_loop: &mut LoopOf<Self, S>) -> Self::Ours;
    /// A socket that listens at a TCP port of this machine with a full backlog: who connects waits.
    fn stalled<S>(event_loop: &mut LoopOf<Self, S>, at: SocketAddr) -> (Self::Ours, Self::Peer);
    /// Another descriptor of the same socket.
    fn duplicate<S>(event_loop: &mut LoopOf<Self, S>, socket: &Self::Ours) -> Self::Ours;
    /// Where a socket is.
    fn address<S>(event_loop: &mut LoopOf<Self, S>, socket: &Self::Ours) -> Address;
    /// A detached socket, as the other side has them.
    fn as_peer<S>(
        event_loop: &mut LoopOf<Self, S>,
        socket: <Self::Model as linux_event::Model>::Socket,
    ) -> Self::Peer;
    /// Writes what there is room for.
    ///
    /// # Errors
    /// EAGAIN, EPIPE, ECONNRESET.
    fn send<S>(
        event_loop: &mut LoopOf<Self, S>,
        peer: &Self::Peer,
        bytes: &[u8],
    ) -> Result<usize, Errno>;
    /// Reads; 0 is the end.
    ///
    /// # Errors
    /// EAGAIN, ECONNRESET.
    fn receive<S>(
        event_loop: &mut LoopOf<Self, S>,
        peer: &Self::Peer,
        buffer: &mut [u8],
    ) -> Result<usize, Errno>;
    /// Ends its writing side.
    fn end<S>(event_loop: &mut LoopOf<Self, S>, peer: &Self::Peer);
    /// Closes.
    fn hang_up<S>(event_loop: &mut LoopOf<Self, S>, peer: Self::Peer);
    /// Closes a TCP connection with a reset.
    fn reset<S>(event_loop: &mut LoopOf<Self, S>, peer: Self::Peer);
    /// Lets so many descriptors more be opened, or as many as one likes.
    fn limit_descriptors<S>(event_loop: &mut LoopOf<Self, S>, more: Option<usize>);
    /// Has `localhost` be this machine, where it is not already.
    fn know_localhost<S>(event_loop: &mut LoopOf<Self, S>);
    /// A path for a socket, where nothing is.
    fn socket_path() -> PathBuf;
    /// Whether anything is at a path.
    fn exists<S>(event_loop: &mut LoopOf<Self, S>, path: &Path) -> bool;
    /// Puts something at a path that is no socket.
    fn occupy<S>(event_loop: &mut LoopOf<Self, S>, path: &Path);
    /// Makes sure that nothing is left: INV-NET-WORLD-1.
    fn check<S>(event_loop: &mut LoopOf<Self, S>);
    /// Runs a body as the test of this name.
    fn run_net(test: &str, body: fn());
}

/// Connects to a listener.
///
/// # Panics
/// If it is refused.
pub fn connect<W: NetWorld, S>(event_loop: &mut LoopOf<W, S>, to: &Address) -> W::Peer {
    W::try_connect(event_loop, to).expect("somebody listens")
}

/// Writes all of `bytes`, running turns while there is no room.
///
/// # Panics
/// If the peer is gone.
pub fn put<W: NetWorld, S>(event_loop: &mut LoopOf<W, S>, peer: &W::Peer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match W::send(event_loop, peer, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EAGAIN) => both::turn::<W, S>(event_loop),
            Err(errno) => panic!("nothing can be written: {errno}"),
        }
    }
}

/// Runs turns until `count` bytes have come, or the end.
///
/// # Panics
/// If the connection fails.
pub fn take<W: NetWorld, S>(
    event_loop: &mut LoopOf<W, S>,
    peer: &W::Peer,
    count: usize,
) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while bytes.len() < count {
        let room = buffer.len().min(count - bytes.len());
        match W::receive(event_loop, peer, &mut buffer[..room]) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::EAGAIN) => soon::<W, S>(event_loop),
            Err(errno) => panic!("nothing can be read: {errno}"),
        }
    }
    bytes
}

/// Reads to the end.
pub fn take_all<W: NetWorld, S>(event_loop: &mut LoopOf<W, S>, peer: &W::Peer) -> Vec<u8> {
    take::<W, S>(event_loop, peer, usize::MAX)
}

/// A turn that ends soon: at once where time is virtual.
pub fn soon<W: NetWorld, S>(event_loop: &mut LoopOf<W, S>) {
    let limit = if W::IS_VIRTUAL {
        Duration::ZERO
    } else {
        Duration::from_millis(1)
    };
    event_loop.run_once(Some(limit)).expect("a turn");
}

/// Runs turns until something holds.
///
/// # Panics
/// If it never does.
pub fn until<W: NetWorld, S>(
    event_loop: &mut LoopOf<W, S>,
    mut holds: impl FnMut(&mut LoopOf<W, S>) -> bool,
) {
    let begin = std::time::Instant::now();
    while !holds(event_loop) {
        assert!(begin.elapsed() < LONG, "it never came");
        soon::<W, S>(event_loop);
    }
}

/// Runs turns until nothing more can happen without the other side: for what must not happen.
pub fn settle<W: NetWorld, S>(event_loop: &mut LoopOf<W, S>) {
    for _ in 0..10 {
        both::turn::<W, S>(event_loop);
    }
}

/// Writes as the peer as long as there is room, and reads nothing. Returns how much that was, and the most that `kept` ever said
/// on the way.
///
/// # Panics
/// If something goes wrong, or the writer is never held back.
pub fn flood<W: NetWorld, S>(
    event_loop: &mut LoopOf<W, S>,
    peer: &W::Peer,
    bytes: &[u8],
    kept: impl Fn(&LoopOf<W, S>) -> usize,
) -> (usize, usize) {
    let (mut sent, mut most, mut stalled) = (0, 0, 0);
    while stalled < 20 && sent < bytes.len() {
        match W::send(
            event_loop,
            peer,
            &bytes[sent..bytes.len().min(sent + 100_000)],
        ) {
            Ok(count) => (sent, stalled) = (sent + count, 0),
            Err(Errno::EAGAIN) => stalled += 1,
            Err(errno) => panic!("{errno}"),
        }
        soon::<W, S>(event_loop);
        most = most.max(kept(event_loop));
    }
    assert!(sent < bytes.len(), "the writer was never held back");
    (sent, most)
}

/// Ends a test: INV-NET-WORLD-1.
pub fn finish<W: NetWorld, S>(mut event_loop: LoopOf<W, S>) {
    until::<W, S>(&mut event_loop, |event_loop| !event_loop.is_live());
    W::check(&mut event_loop);
}

macro_rules! over_a_kernel {
    ($world:ty, $is_there:expr) => {
        impl NetWorld for $world {
            type Peer = TcpStream;
            type Ours = OwnedFd;

            fn try_connect<S>(_: &mut LoopOf<Self, S>, to: &Address) -> Result<TcpStream, Errno> {
                let connected: std::io::Result<OwnedFd> = match (to.internet(), to.path()) {
                    (Some(to), _) => TcpStream::connect(to).map(OwnedFd::from),
                    (None, path) => UnixStream::connect(path.expect("a path")).map(OwnedFd::from),
                };
                let connected = connected.map_err(|error| errno_of(&error))?;
                libc::set_non_blocking(&connected);
                Ok(connected.into())
            }

            fn pair<S>(_: &mut LoopOf<Self, S>) -> (OwnedFd, TcpStream) {
                let (ours, theirs) = UnixStream::pair().expect("a pair");
                theirs.set_nonblocking(true).expect("a socket");
                (ours.into(), OwnedFd::from(theirs).into())
            }

            fn listening<S>(_: &mut LoopOf<Self, S>) -> OwnedFd {
                std::net::TcpListener::bind("127.0.0.1:0")
                    .expect("a port")
                    .into()
            }

            fn datagram<S>(_: &mut LoopOf<Self, S>) -> OwnedFd {
                std::net::UdpSocket::bind("127.0.0.1:0")
                    .expect("a port")
                    .into()
            }

            fn stalled<S>(
                event_loop: &mut LoopOf<Self, S>,
                at: SocketAddr,
            ) -> (OwnedFd, TcpStream) {
                let listener = std::net::TcpListener::bind(at).expect("a port");
                system::listen(&listener, 0).expect("a listener");
                let at = listener.local_addr().expect("a listener").into();
                let filler = connect::<Self, S>(event_loop, &at);
                (listener.into(), filler)
            }

            fn duplicate<S>(_: &mut LoopOf<Self, S>, socket: &OwnedFd) -> OwnedFd {
                socket.try_clone().expect("a number")
            }

            fn address<S>(_: &mut LoopOf<Self, S>, socket: &OwnedFd) -> Address {
                let socket = TcpStream::from(socket.try_clone().expect("a number"));
                socket.local_addr().expect("a socket").into()
            }

            fn as_peer<S>(
                _: &mut LoopOf<Self, S>,
                socket: linux_event::core::sys::Fd,
            ) -> TcpStream {
                let socket = linux_event::IntoOwnedFd::into_owned_fd(socket);
                libc::set_non_blocking(&socket);
                socket.into()
            }

            fn send<S>(
                _: &mut LoopOf<Self, S>,
                mut peer: &TcpStream,
                bytes: &[u8],
            ) -> Result<usize, Errno> {
                peer.write(bytes).map_err(|error| errno_of(&error))
            }

            fn receive<S>(
                _: &mut LoopOf<Self, S>,
                mut peer: &TcpStream,
                buffer: &mut [u8],
            ) -> Result<usize, Errno> {
                peer.read(buffer).map_err(|error| errno_of(&error))
            }

            fn end<S>(_: &mut LoopOf<Self, S>, peer: &TcpStream) {
                peer.shutdown(Shutdown::Write).expect("a connection");
            }

            fn hang_up<S>(_: &mut LoopOf<Self, S>, peer: TcpStream) {
                drop(peer);
            }

            fn reset<S>(_: &mut LoopOf<Self, S>, peer: TcpStream) {
                system::reset_on_close(&peer).expect("a socket");
                drop(peer);
            }

            fn limit_descriptors<S>(_: &mut LoopOf<Self, S>, more: Option<usize>) {
                let (_, hard) = system::descriptor_limit().expect("a limit");
                let next = || {
                    std::fs::File::open("/dev/null")
                        .expect("a number")
                        .as_raw_fd()
                };
                let limit = more.map_or(hard, |more| next() as u64 + more as u64);
                system::limit_descriptors(limit).expect("below the hard limit");
            }

            fn know_localhost<S>(_: &mut LoopOf<Self, S>) {}

            fn socket_path() -> PathBuf {
                let name = format!("linux-event-net-{}.sock", std::process::id());
                let path = std::env::temp_dir().join(name);
                let _ = std::fs::remove_file(&path);
                path
            }

            fn exists<S>(_: &mut LoopOf<Self, S>, path: &Path) -> bool {
                path.symlink_metadata().is_ok()
            }

            fn occupy<S>(_: &mut LoopOf<Self, S>, path: &Path) {
                std::fs::write(path, "precious").expect("a file");
            }

            fn check<S>(_: &mut LoopOf<Self, S>) {}

            fn run_net(test: &str, body: fn()) {
                if !system::alone(test) || !$is_there() {
                    return;
                }
                let before = crate::proactor::descriptors();
                crate::run_in::<crate::OnEpoll>(body);
                let after = crate::proactor::descriptors();
                assert_eq!(after, before, "descriptors were left open");
                assert!(!crate::libc_calls::has_children(), "a child is left");
            }
        }
    };
}

over_a_kernel!(crate::OnEpoll, || true);
over_a_kernel!(crate::proactor::OnRing, crate::proactor::is_there);

fn errno_of(error: &std::io::Error) -> Errno {
    let errno = error.raw_os_error().and_then(Errno::from_raw);
    errno.unwrap_or(Errno::EIO)
}

macro_rules! over_the_fake {
    ($world:ty, $check:expr) => {
        impl NetWorld for $world {
            type Peer = FakeFd;
            type Ours = linux_event::fake::FakeOwned;

            fn try_connect<S>(
                event_loop: &mut LoopOf<Self, S>,
                to: &Address,
            ) -> Result<FakeFd, Errno> {
                event_loop.fake_mut().client(Name::from(to))
            }

            fn pair<S>(event_loop: &mut LoopOf<Self, S>) -> (Self::Ours, FakeFd) {
                let fake = event_loop.fake_mut();
                let (ours, theirs) = fake.socketpair().expect("a pair");
                (fake.own(ours), theirs)
            }

            fn listening<S>(event_loop: &mut LoopOf<Self, S>) -> Self::Ours {
                let fake = event_loop.fake_mut();
                let here: SocketAddr = "127.0.0.1:0".parse().expect("an address");
                let listener = fake.listener(here).expect("a port");
                fake.own(listener)
            }

            fn datagram<S>(event_loop: &mut LoopOf<Self, S>) -> Self::Ours {
                let fake = event_loop.fake_mut();
                let here: SocketAddr = "127.0.0.1:0".parse().expect("an address");
                let socket = fake
                    .socket(Domain::V4, linux_event::SocketKind::Datagram)
                    .expect("a socket");
                fake.bind(socket, here).expect("a port");
                fake.own(socket)
            }

            fn stalled<S>(
                event_loop: &mut LoopOf<Self, S>,
                at: SocketAddr,
            ) -> (Self::Ours, FakeFd) {
                let fake = event_loop.fake_mut();
                let domain = Domain::of(&at);
                let socket = fake
                    .socket(domain, linux_event::SocketKind::Stream)
                    .expect("a socket");
                fake.bind(socket, at).expect("a port");
                fake.listen(socket, 0).expect("a listener");
                let at = fake
                    .local_address(socket)
                    .expect("a socket")
                    .expect("a port");
                let filler = fake.client(at).expect("room for one");
                (fake.own(socket), filler)
            }

            fn duplicate<S>(event_loop: &mut LoopOf<Self, S>, socket: &Self::Ours) -> Self::Ours {
                let fake = event_loop.fake_mut();
                let duplicate = fake.dup(socket).expect("a number");
                fake.own(duplicate)
            }

            fn address<S>(event_loop: &mut LoopOf<Self, S>, socket: &Self::Ours) -> Address {
                event_loop
                    .fake()
                    .local_name(socket)
                    .expect("a socket")
                    .into()
            }

            fn as_peer<S>(_: &mut LoopOf<Self, S>, socket: Self::Ours) -> FakeFd {
                socket.into_fd()
            }

            fn send<S>(
                event_loop: &mut LoopOf<Self, S>,
                peer: &FakeFd,
                bytes: &[u8],
            ) -> Result<usize, Errno> {
                event_loop.fake_mut().write(peer, bytes)
            }

            fn receive<S>(
                event_loop: &mut LoopOf<Self, S>,
                peer: &FakeFd,
                buffer: &mut [u8],
            ) -> Result<usize, Errno> {
                event_loop.fake_mut().read(peer, buffer)
            }

            fn end<S>(event_loop: &mut LoopOf<Self, S>, peer: &FakeFd) {
                let fake = event_loop.fake_mut();
                fake.shutdown(peer, How::Write).expect("a connection");
            }

            fn hang_up<S>(event_loop: &mut LoopOf<Self, S>, peer: FakeFd) {
                event_loop.fake_mut().close(peer).expect("it is open");
            }

            fn reset<S>(event_loop: &mut LoopOf<Self, S>, peer: FakeFd) {
                event_loop.fake_mut().reset(peer).expect("it is open");
            }

            fn limit_descriptors<S>(event_loop: &mut LoopOf<Self, S>, more: Option<usize>) {
                let fake = event_loop.fake_mut();
                let mut limit = i32::MAX;
                if let Some(more) = more {
                    let next = fake.eventfd().expect("a number");
                    fake.close(next).expect("it is open");
                    limit = linux_event::core::sys::AsRawFd::as_raw_fd(&next) + more as i32;
                }
                fake.set_descriptor_limit(limit);
            }

            fn know_localhost<S>(event_loop: &mut LoopOf<Self, S>) {
                let here = [Ipv4Addr::LOCALHOST.into()];
                let fake = event_loop.fake_mut();
                fake.set_host("localhost", &here, Duration::from_secs(1));
            }

            fn socket_path() -> PathBuf {
                "/run/net.sock".into()
            }

            fn exists<S>(event_loop: &mut LoopOf<Self, S>, path: &Path) -> bool {
                let path = path.to_str().expect("plain text");
                // What is there can't be bound to.
                let fake = event_loop.fake_mut();
                let probe = fake
                    .socket(Domain::Unix, linux_event::SocketKind::Stream)
                    .expect("a socket");
                let is_free = fake.bind(probe, path).is_ok();
                fake.close(probe).expect("it is open");
                if is_free {
                    fake.unlink(path).expect("it was bound");
                }
                !is_free || fake.file_content(path).is_some()
            }

            fn occupy<S>(event_loop: &mut LoopOf<Self, S>, path: &Path) {
                let path = path.to_str().expect("plain text");
                event_loop
                    .fake_mut()
                    .write_file(path, "precious")
                    .expect("a file");
            }

            fn check<S>(event_loop: &mut LoopOf<Self, S>) {
                $check(event_loop);
                assert_eq!(
                    event_loop.fake().open_descriptors(),
                    0,
                    "descriptors are left open"
                );
            }

            fn run_net(_: &str, body: fn()) {
                body();
            }
        }
    };
}

over_the_fake!(crate::OnFake, check_reactor);
over_the_fake!(crate::proactor::OnFake, check_proactor);
over_the_fake!(OnOlderFake, check_proactor);

/// The fake's operations as on a kernel that has neither multishot accepts nor multishot receives (M-6).
#[derive(Debug)]
pub struct OnOlderFake;

impl both::World for OnOlderFake {
    type Model = Proactor<Fake>;
    type Machine<'a> = &'a mut Fake;

    const IS_VIRTUAL: bool = true;

    fn looping<S>(state: S) -> LoopOf<Self, S> {
        let mut event_loop = Loop::fake_proactor_with(state);
        for code in [Code::RecvMulti, Code::AcceptMulti] {
            event_loop.fake_mut().set_supported(code, false);
        }
        event_loop
    }

    fn of<S>(event_loop: &mut LoopOf<Self, S>) -> &mut Fake {
        event_loop.fake_mut()
    }

    fn run(_: &str, body: fn()) {
        body();
    }
}

fn check_reactor<S>(event_loop: &mut Loop<Reactor<Fake>, S>) {
    assert_eq!(
        event_loop.fake().registrations(),
        0,
        "registrations are left"
    );
}

fn check_proactor<S>(event_loop: &mut Loop<Proactor<Fake>, S>) {
    assert_eq!(event_loop.file_count(), 0, "adopted descriptors are left");
    assert_eq!(
        event_loop.fake().pending_operations(),
        0,
        "operations are left"
    );
    assert_eq!(event_loop.fake().leases_out(), 0, "leases are left");
}

/// Makes a test of each body in each world of the net layer, in modules named for the backends.
#[macro_export]
macro_rules! net {
    ($($(#[$meta:meta])* fn $name:ident<$world:ident>() $body:block)*) => {
        $($(#[$meta])* fn $name<$world: $crate::net::NetWorld>() $body)*

        $crate::net!(@in epoll, $crate::OnEpoll, $($name)*);
        $crate::net!(@in fake, $crate::OnFake, $($name)*);
        $crate::net!(@in ring, $crate::proactor::OnRing, $($name)*);
        $crate::net!(@in fake_proactor, $crate::proactor::OnFake, $($name)*);
        $crate::net!(@in older_fake_proactor, $crate::net::OnOlderFake, $($name)*);
    };
    (@in $module:ident, $world:ty, $($name:ident)*) => {
        $crate::both!(@by <$world as $crate::net::NetWorld>::run_net, $module, $world, $($name)*);
    };
}

/// A world over a kernel: where there are processes to start, and sockets of `std`'s.
pub trait KernelWorld: NetWorld<Ours: From<OwnedFd>, Model: Spawn> {
    /// Whether sockets are accepted, written and closed by operations.
    const BY_OPERATIONS: bool;

    /// Whether streams are read by operations too (M-6).
    fn receives_by_operations<S>(event_loop: &LoopOf<Self, S>) -> bool;
}

impl KernelWorld for crate::OnEpoll {
    const BY_OPERATIONS: bool = false;

    fn receives_by_operations<S>(_: &LoopOf<Self, S>) -> bool {
        false
    }
}

impl KernelWorld for crate::proactor::OnRing {
    const BY_OPERATIONS: bool = true;

    fn receives_by_operations<S>(event_loop: &LoopOf<Self, S>) -> bool {
        event_loop.capabilities().supports(Code::RecvMulti)
    }
}

/// Makes a test of each body in each world over a kernel.
#[macro_export]
macro_rules! on_kernels {
    ($($(#[$meta:meta])* fn $name:ident<$world:ident>() $body:block)*) => {
        $($(#[$meta])* fn $name<$world: $crate::net::KernelWorld>() $body)*

        $crate::net!(@in epoll, $crate::OnEpoll, $($name)*);
        $crate::net!(@in ring, $crate::proactor::OnRing, $($name)*);
    };
}
