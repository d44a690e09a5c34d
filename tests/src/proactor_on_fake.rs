//! The proactor's world of the fake.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use linux_event::core::errno::Errno;
use linux_event::core::proactor;
use linux_event::core::sys::{AsRawFd, Domain, SocketKind};
use linux_event::fake::{Fake, FakeFd, FakeOwned};
use linux_event::{Loop, Proactor};

use super::{LoopOf, Outside, ValuesOf, World};
use crate::both;

/// The fake, in virtual time.
#[derive(Debug)]
pub struct OnFake;

thread_local! {
    /// What the test of this thread keeps, of the fakes that it has made.
    static ENDS: RefCell<BTreeSet<FakeFd>> = RefCell::default();
}

/// This machine, and a port that is free.
const HERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
/// `O_RDWR`.
const READ_WRITE: u32 = 2;

impl both::World for OnFake {
    type Model = Proactor<Fake>;
    type Machine<'a> = &'a mut Fake;

    const IS_VIRTUAL: bool = true;

    fn looping<S>(state: S) -> both::LoopOf<Self, S> {
        Loop::fake_proactor_with(state)
    }

    fn of<S>(event_loop: &mut both::LoopOf<Self, S>) -> &mut Fake {
        event_loop.fake_mut()
    }

    fn run(_: &str, body: fn()) {
        ENDS.with_borrow_mut(BTreeSet::clear);
        body();
    }
}

impl World for OnFake {
    type Backend = Fake;
    type End = FakeFd;
    type Outside<'a> = &'a mut Fake;

    fn with_queues<S>(entries: u32, completions: u32, state: S) -> LoopOf<Self, S> {
        let mut event_loop = Loop::fake_proactor_with(state);
        event_loop.fake_mut().set_entries(entries as usize);
        event_loop.fake_mut().set_completions(completions as usize);
        event_loop
    }

    fn values<D: Copy>() -> ValuesOf<Self, D> {
        proactor::Proactor::new(Fake::new()).expect("room for 64 operations")
    }

    fn outside<S>(event_loop: &mut LoopOf<Self, S>) -> &mut Fake {
        event_loop.fake_mut()
    }

    fn around<D: Copy>(proactor: &mut ValuesOf<Self, D>) -> &mut Fake {
        proactor.backend_mut()
    }

    fn check_loop<S>(event_loop: &mut LoopOf<Self, S>) {
        let files = event_loop.file_count();
        check(event_loop.fake_mut(), files);
    }

    fn check_values<D: Copy>(proactor: &mut ValuesOf<Self, D>) {
        let files = proactor.files();
        check(proactor.backend_mut(), files);
    }
}

/// INV-BALANCE-1, as the fake counts.
fn check(fake: &mut Fake, files: usize) {
    assert_eq!(fake.pending_operations(), 0, "operations");
    assert_eq!(fake.buffers_out(), 0, "buffers");
    assert_eq!(fake.leases_out(), 0, "leases");
    assert_eq!(fake.failed_actions(), [], "what was arranged");
    let kept = ENDS.with_borrow(BTreeSet::len);
    assert_eq!(fake.open_descriptors(), files + kept, "descriptors");
}

fn own((one, other): (FakeFd, FakeFd), fake: &Fake) -> (FakeOwned, FakeOwned) {
    (fake.own(one), fake.own(other))
}

fn with_address(fake: &Fake, fd: FakeFd) -> (FakeOwned, SocketAddr) {
    let address = fake.local_address(fd).expect("a socket");
    (fake.own(fd), address.expect("its address"))
}

impl Outside for &mut Fake {
    type End = FakeFd;
    type Fd = FakeOwned;

    fn pipe(&mut self) -> (FakeOwned, FakeOwned) {
        own(Fake::pipe(self).expect("numbers"), self)
    }

    fn socketpair(&mut self) -> (FakeOwned, FakeOwned) {
        own(Fake::socketpair(self).expect("numbers"), self)
    }

    fn listener(&mut self) -> (FakeOwned, SocketAddr) {
        let listener = Fake::listener(self, HERE).expect("a listener");
        with_address(self, listener)
    }

    fn bound(&mut self) -> (FakeOwned, SocketAddr) {
        let socket = self.socket(Domain::V4, SocketKind::Stream);
        let socket = socket.expect("a number");
        self.bind(socket, HERE).expect("a free port");
        with_address(self, socket)
    }

    fn client(&mut self, to: SocketAddr) -> FakeOwned {
        let client = Fake::client(self, to).expect("a connection");
        self.own(client)
    }

    fn datagram(&mut self) -> (FakeOwned, SocketAddr) {
        let socket = self.socket(Domain::V4, SocketKind::Datagram);
        let socket = socket.expect("a number");
        self.bind(socket, HERE).expect("a free port");
        with_address(self, socket)
    }

    fn path(&mut self, name: &str) -> PathBuf {
        PathBuf::from("/test").join(name)
    }

    fn folder(&mut self) -> FakeOwned {
        self.make_directory("/test").expect("a folder");
        let folder = self.open("/test", 0).expect("a folder");
        self.own(folder)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> FakeOwned {
        let path = format!("/test/{name}");
        self.write_file(&path, content).expect("a file");
        let file = self.open(&path, READ_WRITE).expect("a file");
        self.own(file)
    }

    fn content(&mut self, name: &str) -> Option<Vec<u8>> {
        self.file_content(format!("/test/{name}"))
            .map(<[u8]>::to_vec)
    }

    fn remove(&mut self, name: &str) {
        let _ = self.unlink(format!("/test/{name}"));
    }

    fn keep(&mut self, fd: FakeOwned) -> FakeFd {
        let fd = fd.into_fd();
        ENDS.with_borrow_mut(|ends| ends.insert(fd));
        fd
    }

    fn write(&mut self, end: FakeFd, bytes: &[u8]) -> Result<usize, Errno> {
        Fake::write(self, end, bytes)
    }

    fn read(&mut self, end: FakeFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        Fake::read(self, end, buffer)
    }

    fn shutdown_write(&mut self, end: FakeFd) {
        Fake::shutdown_write(self, end).expect("a socket");
    }

    fn address(&mut self, end: FakeFd) -> SocketAddr {
        let address = self.local_address(end).expect("a socket");
        address.expect("its address")
    }

    fn close(&mut self, end: FakeFd) {
        let was_kept = ENDS.with_borrow_mut(|ends| ends.remove(&end));
        assert!(was_kept, "{} is not this test's", end.as_raw_fd());
        Fake::close(self, end).expect("an open number");
    }
}
