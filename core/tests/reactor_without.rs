//! A backend that says what it can't do is not asked for it: the engine refuses, and keeps time all the same.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::Handle;
use linux_event_core::pid::ExitStatus;
use linux_event_core::reactor::{Backend, Event, Interest, Reactor, Report};
use linux_event_core::signal::{Signal, SignalCounts, SignalSet};
use linux_event_core::sys::{AsRawFd, RawFd};

struct Nobody(Infallible);

impl AsRawFd for Nobody {
    fn as_raw_fd(&self) -> RawFd {
        match self.0 {}
    }
}

/// Time passes when it is waited for.
struct Hourglass(Cell<u64>);

impl Backend for Hourglass {
    const WATCHES: bool = false;
    const SIGNALS: bool = false;
    type Process = Nobody;

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }
    fn is_owner(&self) -> bool {
        true
    }
    fn wait(&mut self, deadline: Option<Instant>, _: Option<Duration>) -> Result<(), Error> {
        let now = deadline.expect("a timer is armed").as_nanos();
        self.0.set(now.max(self.0.get()));
        Ok(())
    }
    fn next(&mut self) -> Option<Report> {
        None
    }
    fn has_next(&self) -> bool {
        false
    }
    fn add(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        unreachable!("nothing is watched")
    }
    fn modify(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        unreachable!("nothing is watched")
    }
    fn remove(&mut self, _: RawFd) -> Result<(), Errno> {
        unreachable!("nothing is watched")
    }
    fn rebuild(&mut self) -> Result<(), Error> {
        unreachable!("nothing is watched")
    }
    fn arm(&mut self, _: Option<Instant>) -> Result<(), Error> {
        Ok(())
    }
    fn take_wakes(&mut self) -> u64 {
        unreachable!("nobody wakes it")
    }
    fn set_signals(&mut self, _: SignalSet) -> Result<(), Error> {
        unreachable!("no signal is taken")
    }
    fn take_signals(&mut self, _: &mut SignalCounts) -> Result<(), Error> {
        unreachable!("no signal is taken")
    }
    fn open_process(&mut self, _: i32) -> Result<Nobody, Error> {
        Err(Error::Invalid("there are none"))
    }
    fn process_status(&mut self, process: &Nobody, _: bool) -> Result<Option<ExitStatus>, Errno> {
        match process.0 {}
    }
}

#[test]
fn r1_a_backend_that_can_only_wait_gets_timers_and_nothing_else() {
    let mut reactor: Reactor<u32, 2, 4, Hourglass> = Reactor::new(Hourglass(Cell::new(7)));
    let watched = reactor.watch(1, Interest::READ, 1);
    assert!(matches!(watched, Err(Error::Invalid(_))), "{watched:?}");
    let subscribed = reactor.signal(Signal::INT, 2);
    assert!(
        matches!(subscribed, Err(Error::Invalid(_))),
        "{subscribed:?}"
    );
    assert!(matches!(
        reactor.process(1, false, 3),
        Err(Error::Invalid(_))
    ));
    assert_eq!(reactor.live(), 0);

    reactor.after(Duration::from_nanos(20), 4).unwrap();
    let tick = reactor.every(Duration::from_nanos(9), 5).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        reactor.wait(None).unwrap();
        while let Some(event) = reactor.next() {
            match event {
                Event::Timer { data, deadline, .. } => seen.push((data, deadline.as_nanos())),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(seen, [(5, 16), (5, 25), (4, 27), (5, 34)]);
    assert!(reactor.cancel(tick));
    assert_eq!(reactor.live(), 0);
}
