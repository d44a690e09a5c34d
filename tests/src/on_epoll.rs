//! The world of the kernel.
//!
//! **Invariants.** *INV-NUMBERS-1*: each test's descriptors are in a range of numbers of its own, which the kernel,
//! giving out the lowest free number, does not reach for anybody else. That is what INV-WORLD-2 rests on.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::reactor;
use linux_event::core::sys::{AsRawFd, Linux, RawFd};
use linux_event::{Epoll, ExitStatus, Instant, Loop, Shared, Signal, SignalSet, Source};

use crate::libc_calls as libc;
use crate::{LoopOf, Machine, ValuesOf, World};

/// Epoll over the kernel.
#[derive(Debug)]
pub struct OnEpoll;

/// What is around a loop on a real machine. It has no state but the thread's.
#[derive(Debug)]
pub struct Kernel;

/// A descriptor's number, open or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File(pub RawFd);

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Source<Epoll> for File {
    fn number(&self) -> RawFd {
        self.0
    }
}

/// Where the first test's numbers begin: above what the harness and the loops themselves open.
const FIRST_NUMBER: RawFd = 256;
/// Numbers of one test.
const NUMBERS: RawFd = 32;

/// What the test of this thread has open.
struct Own {
    base: RawFd,
    files: BTreeSet<File>,
    /// The end to write of each process's pipe: it exits as the byte says that it reads there.
    processes: BTreeMap<u32, RawFd>,
    mask: SignalSet,
}

thread_local! {
    static OWN: RefCell<Own> = RefCell::new(Own::new());
}

impl Own {
    fn new() -> Self {
        static NEXT: AtomicI32 = AtomicI32::new(FIRST_NUMBER);
        libc::raise_descriptor_limit();
        Self {
            base: NEXT.fetch_add(NUMBERS, Ordering::Relaxed),
            files: BTreeSet::new(),
            processes: BTreeMap::new(),
            mask: libc::thread_mask(),
        }
    }

    /// Moves a descriptor into the test's range.
    fn adopt(&mut self, fd: RawFd) -> File {
        let file = File(libc::dup_from(fd, self.base));
        libc::close(fd);
        self.files.insert(file);
        file
    }
}

fn own<R>(f: impl FnOnce(&mut Own) -> R) -> R {
    OWN.with_borrow_mut(f)
}

impl World for OnEpoll {
    type Backend = Epoll;
    type File = File;
    type Machine<'a> = Kernel;

    const IS_VIRTUAL: bool = false;

    fn looping<S>(state: S) -> LoopOf<Self, S> {
        Loop::reactor_with(state).expect("epoll")
    }

    fn values<D: Copy>() -> ValuesOf<Self, D> {
        let mut epoll = Epoll::with_kernel(Linux).expect("epoll");
        epoll.attach(Shared::default()).expect("an eventfd");
        reactor::Reactor::new(epoll)
    }

    fn of<S>(_: &mut LoopOf<Self, S>) -> Kernel {
        Kernel
    }

    fn around<D: Copy>(_: &mut ValuesOf<Self, D>) -> Kernel {
        Kernel
    }

    fn tidy() {
        own(|own| {
            for file in std::mem::take(&mut own.files) {
                libc::close(file.0);
            }
            for (pid, pipe) in std::mem::take(&mut own.processes) {
                libc::close(pipe);
                libc::kill(pid);
            }
            libc::set_mask(own.mask);
        });
    }
}

impl Machine for Kernel {
    type File = File;

    fn pipe(&mut self) -> (File, File) {
        let (reader, writer) = libc::pipe();
        own(|own| (own.adopt(reader), own.adopt(writer)))
    }

    fn socketpair(&mut self) -> (File, File) {
        let (one, other) = libc::socketpair();
        own(|own| (own.adopt(one), own.adopt(other)))
    }

    fn regular_file(&mut self) -> File {
        let exe = std::fs::File::open("/proc/self/exe").expect("this program");
        own(|own| own.adopt(std::os::fd::IntoRawFd::into_raw_fd(exe)))
    }

    fn write(&mut self, file: File, bytes: &[u8]) -> Result<usize, Errno> {
        libc::write(file.0, bytes)
    }

    fn read(&mut self, file: File, buffer: &mut [u8]) -> Result<usize, Errno> {
        libc::read(file.0, buffer)
    }

    fn shutdown_write(&mut self, file: File) {
        libc::shutdown_write(file.0);
    }

    fn close(&mut self, file: File) {
        assert!(own(|own| own.files.remove(&file)), "{file:?} is not open");
        libc::close(file.0);
    }

    fn dup(&mut self, file: File) -> File {
        own(|own| {
            let fresh = File(libc::dup_from(file.0, own.base));
            own.files.insert(fresh);
            fresh
        })
    }

    fn dup_to(&mut self, file: File, target: File) {
        libc::dup_to(file.0, target.0);
        own(|own| own.files.insert(target));
    }

    fn pass(&mut self, duration: Duration) {
        let end = now() + duration;
        while now() < end {
            std::hint::spin_loop();
        }
    }

    fn raise(&mut self, signal: Signal) {
        libc::raise(signal);
    }

    fn block(&mut self, set: SignalSet) {
        libc::set_mask(libc::thread_mask().union(set));
    }

    fn mask(&mut self) -> SignalSet {
        libc::thread_mask()
    }

    fn struck(&mut self) -> usize {
        0 // the tests use signals that end the process
    }

    fn spawn(&mut self) -> u32 {
        let (pid, pipe) = libc::spawn();
        own(|own| own.processes.insert(pid, pipe));
        pid
    }

    fn spawn_stranger(&mut self) -> u32 {
        let (pid, pipe) = libc::spawn_stranger();
        own(|own| own.processes.insert(pid, pipe));
        pid
    }

    fn exit(&mut self, pid: u32, status: ExitStatus) {
        let pipe = own(|own| own.processes.remove(&pid)).expect("a process of this test");
        libc::end(pipe, status);
    }

    fn reap(&mut self, pid: u32) -> ExitStatus {
        libc::reap(pid)
    }
}

fn now() -> Instant {
    linux_event::core::sys::Kernel::monotonic(&Linux)
}
