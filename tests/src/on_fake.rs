//! The world of the fake.

#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::reactor;
use linux_event::fake::{Fake, FakeFd};
use linux_event::{ExitStatus, Loop, Signal, SignalSet};

use crate::{LoopOf, Machine, ValuesOf, World};

/// The fake, in virtual time.
#[derive(Debug)]
pub struct OnFake;

impl World for OnFake {
    type Backend = Fake;
    type File = FakeFd;
    type Machine<'a> = &'a mut Fake;

    const IS_VIRTUAL: bool = true;

    fn looping<S>(state: S) -> LoopOf<Self, S> {
        Loop::fake_reactor_with(state)
    }

    fn values<D: Copy>() -> ValuesOf<Self, D> {
        reactor::Reactor::new(Fake::new())
    }

    fn of<S>(event_loop: &mut LoopOf<Self, S>) -> &mut Fake {
        event_loop.fake_mut()
    }

    fn around<D: Copy>(reactor: &mut ValuesOf<Self, D>) -> &mut Fake {
        reactor.backend_mut()
    }

    fn tidy() {}
}

impl Machine for &mut Fake {
    type File = FakeFd;

    fn pipe(&mut self) -> (FakeFd, FakeFd) {
        Fake::pipe(self).expect("numbers")
    }

    fn socketpair(&mut self) -> (FakeFd, FakeFd) {
        Fake::socketpair(self).expect("numbers")
    }

    fn regular_file(&mut self) -> FakeFd {
        Fake::regular_file(self).expect("a number")
    }

    fn write(&mut self, file: FakeFd, bytes: &[u8]) -> Result<usize, Errno> {
        Fake::write(self, file, bytes)
    }

    fn read(&mut self, file: FakeFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        Fake::read(self, file, buffer)
    }

    fn shutdown_write(&mut self, file: FakeFd) {
        Fake::shutdown_write(self, file).expect("a socket");
    }

    fn close(&mut self, file: FakeFd) {
        Fake::close(self, file).expect("an open number");
    }

    fn dup(&mut self, file: FakeFd) -> FakeFd {
        Fake::dup(self, file).expect("a number")
    }

    fn dup_to(&mut self, file: FakeFd, target: FakeFd) {
        Fake::dup_to(self, file, target).expect("an open number");
    }

    fn pass(&mut self, duration: Duration) {
        self.advance(duration);
    }

    fn raise(&mut self, signal: Signal) {
        Fake::raise(self, signal);
    }

    fn block(&mut self, set: SignalSet) {
        Fake::block(self, set);
    }

    fn mask(&mut self) -> SignalSet {
        Fake::mask(self)
    }

    fn struck(&mut self) -> usize {
        Fake::struck(self).len()
    }

    fn spawn(&mut self) -> u32 {
        Fake::spawn(self).unsigned_abs()
    }

    fn spawn_stranger(&mut self) -> u32 {
        Fake::spawn_stranger(self).unsigned_abs()
    }

    fn exit(&mut self, pid: u32, status: ExitStatus) {
        Fake::exit(self, pid as i32, status).expect("a living process");
    }

    fn reap(&mut self, pid: u32) -> ExitStatus {
        Fake::reap(self, pid as i32).expect("a child that has ended")
    }
}
