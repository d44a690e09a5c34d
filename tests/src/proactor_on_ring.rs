//! The proactor's world of the kernel: io_uring.
//!
//! **Invariants.** *INV-ALONE-1*: a test runs in a process of its own, where it is the only one that opens descriptors while
//! it is at it: those it leaves are its own.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::{self, Options, Uring};
use linux_event::core::sys::{Fd, Linux};
use linux_event::{IntoOwnedFd, Loop, LoopError, Proactor, Shared};

use super::{LoopOf, Outside, ValuesOf, World};
use crate::{both, libc_calls as libc, system};

/// io_uring over the kernel.
#[derive(Debug)]
pub struct OnRing;

/// What is around a loop on a real machine. It has no state but the thread's.
#[derive(Debug)]
pub struct OtherSide;

/// What the test of this process has.
#[derive(Default)]
struct Own {
    ends: BTreeMap<RawFd, OwnedFd>,
    folder: Option<tempfile::TempDir>,
}

thread_local! {
    static OWN: RefCell<Own> = RefCell::default();
}

/// The numbers of the descriptors that this process has.
pub fn descriptors() -> Vec<String> {
    let numbers = std::fs::read_dir("/proc/self/fd").expect("this process");
    let of = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("a number").file_name();
    let mut numbers: Vec<_> = numbers
        .map(|entry| of(entry).to_string_lossy().into_owned())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Whether there is a ring to test; says so if there is none.
pub fn is_there() -> bool {
    match Loop::proactor() {
        Ok(_) => true,
        Err(error) => {
            let is_forbidden = matches!(
                error,
                linux_event::Error::Loop(LoopError::NoRing { .. } | LoopError::RingTooOld)
            );
            assert!(is_forbidden, "a ring can't be had: {error}");
            eprintln!("nothing is tested: {error}");
            false
        }
    }
}

impl both::World for OnRing {
    type Model = Proactor<linux_event::Uring>;
    type Machine<'a> = crate::Kernel;

    const IS_VIRTUAL: bool = false;

    fn looping<S>(state: S) -> both::LoopOf<Self, S> {
        Loop::proactor_with(state).expect("a ring")
    }

    fn of<S>(_: &mut both::LoopOf<Self, S>) -> crate::Kernel {
        crate::Kernel
    }

    fn run(test: &str, body: fn()) {
        if !system::alone(test) || !is_there() {
            return;
        }
        let before = descriptors();
        crate::run_in::<crate::OnEpoll>(body);
        OWN.with_borrow_mut(|own| {
            own.ends.clear();
            own.folder = None;
        });
        assert_eq!(descriptors(), before, "descriptors were left open");
    }
}

impl World for OnRing {
    type Backend = linux_event::Uring;
    type End = RawFd;
    type Outside<'a> = OtherSide;

    fn with_queues<S>(entries: u32, completions: u32, state: S) -> LoopOf<Self, S> {
        let options = Options {
            entries,
            cq_entries: Some(completions),
            ..Options::default()
        };
        Loop::proactor_with_options(options, state).expect("a ring")
    }

    fn values<D: Copy>() -> ValuesOf<Self, D> {
        let mut uring = Uring::with_kernel(Linux).expect("a ring");
        uring.attach(Shared::default()).expect("an eventfd");
        proactor::Proactor::new(uring).expect("room for 64 operations")
    }

    fn outside<S>(_: &mut LoopOf<Self, S>) -> OtherSide {
        OtherSide
    }

    fn around<D: Copy>(_: &mut ValuesOf<Self, D>) -> OtherSide {
        OtherSide
    }

    fn check_loop<S>(_: &mut LoopOf<Self, S>) {}

    fn check_values<D: Copy>(_: &mut ValuesOf<Self, D>) {}
}

fn to_core(fd: impl Into<OwnedFd>) -> Fd {
    libc::to_core(fd.into())
}

fn local_address(fd: &OwnedFd) -> SocketAddr {
    let socket = fd.try_clone().map(TcpStream::from);
    let address = socket.and_then(|socket| socket.local_addr());
    address.expect("a socket's address")
}

impl Outside for OtherSide {
    type End = RawFd;
    type Fd = Fd;

    fn pipe(&mut self) -> (Fd, Fd) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        (to_core(reader), to_core(writer))
    }

    fn socketpair(&mut self) -> (Fd, Fd) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (to_core(one), to_core(other))
    }

    fn listener(&mut self) -> (Fd, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        (to_core(listener), address)
    }

    fn bound(&mut self) -> (Fd, SocketAddr) {
        let socket = libc::bound_socket();
        let address = local_address(&socket);
        (to_core(socket), address)
    }

    fn client(&mut self, to: SocketAddr) -> Fd {
        to_core(TcpStream::connect(to).expect("a connection"))
    }

    fn datagram(&mut self) -> (Fd, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("its address");
        (to_core(socket), address)
    }

    fn path(&mut self, name: &str) -> PathBuf {
        OWN.with_borrow_mut(|own| {
            let folder = own
                .folder
                .get_or_insert_with(|| tempfile::tempdir().expect("a folder of the test's own"));
            folder.path().join(name)
        })
    }

    fn folder(&mut self) -> Fd {
        to_core(std::fs::File::open(self.path("")).expect("a folder"))
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Fd {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file");
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).open(path);
        to_core(file.expect("the file that was just written"))
    }

    fn content(&mut self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(name)).ok()
    }

    fn remove(&mut self, name: &str) {
        let _ = std::fs::remove_file(self.path(name));
    }

    fn keep(&mut self, fd: Fd) -> RawFd {
        let fd = fd.into_owned_fd();
        libc::set_non_blocking(&fd);
        let number = fd.as_raw_fd();
        OWN.with_borrow_mut(|own| own.ends.insert(number, fd));
        number
    }

    fn write(&mut self, end: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
        libc::write(end, bytes)
    }

    fn read(&mut self, end: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        libc::read(end, buffer)
    }

    fn shutdown_write(&mut self, end: RawFd) {
        libc::shutdown_write(end);
    }

    fn address(&mut self, end: RawFd) -> SocketAddr {
        OWN.with_borrow(|own| local_address(&own.ends[&end]))
    }

    fn close(&mut self, end: RawFd) {
        let owned = OWN.with_borrow_mut(|own| own.ends.remove(&end));
        assert!(owned.is_some(), "{end} is not this test's");
    }
}
