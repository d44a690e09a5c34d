//! `rearm`: every watcher is disabled and enabled again before the loop waits.
//!
//! **What.** A thousand idle descriptors are watched. An iteration disables them all, enables them all, and waits with
//! a timeout of zero; an operation is one watcher disabled and enabled.
//!
//! **Invariants.** *INV-REARM-1*: nothing is ready, so a wait returns no event.
//!
//! **Why this shape.** Programs with backpressure do this all the time, and nothing has changed when the wait comes: a
//! loop that remembers what the kernel was told last has nothing to tell it.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use linux_event::Loop;
use linux_event_core::reactor::{self, Interest, Reactor, Storage};
use mio::unix::SourceFd;

use crate::idle_watchers::idle;
use crate::sys::{Calls, Epoll, EventBuffer, Raw, Trigger, checked, polling_add, zeroed_box};
use crate::workload::{Case, Round, System, Workload, timed};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "rearm",
    about: "disable and enable watchers again before a wait; ns a watcher",
    size_name: "fds",
    cases: &[Case {
        size: 1_000,
        iterations: 1,
    }],
    operations: |size| size as u64,
    columns: &[],
    rounds: 200,
    floors: &["floor"],
    systems: &[
        System {
            name: "floor",
            set_up: floor,
        },
        System {
            name: "reactor",
            set_up: reactor,
        },
        System {
            name: "loop-reactor",
            set_up: loop_reactor,
        },
        System {
            name: "mio",
            set_up: mio,
        },
        System {
            name: "polling",
            set_up: polling,
        },
        #[cfg(feature = "libev")]
        System {
            name: "libev",
            set_up: libev,
        },
    ],
};

/// INV-REARM-1.
fn none(events: usize) -> io::Result<()> {
    if events == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{events} events on idle watchers"
    )))
}

/// Two `epoll_ctl` a watcher, at once.
fn floor(size: usize) -> io::Result<Box<dyn Round>> {
    let fds = idle(size)?;
    let epoll = Epoll::new()?;
    for (key, &fd) in fds.iter().enumerate() {
        epoll.add(fd, Trigger::Level, key as u64)?;
    }
    Ok(timed(size as u64, move |iterations| {
        for _ in 0..iterations {
            for reading in [false, true] {
                for (key, &fd) in fds.iter().enumerate() {
                    checked(epoll.modify(fd, reading, key as u64))?;
                }
            }
            none(checked(Raw::wait(
                epoll.as_fd(),
                &mut EventBuffer::new(),
                0,
            ))?)?;
        }
        Ok(())
    }))
}

/// Watchers that there is room for in a reactor.
const WATCHERS: usize = 1_000;
type Tables = Storage<(), WATCHERS, 16>;

/// Values: a `disable` and an `enable` a watcher, no `epoll_ctl`.
fn reactor(size: usize) -> io::Result<Box<dyn Round>> {
    let epoll = reactor::Epoll::new().map_err(io::Error::other)?;
    let mut reactor: Reactor<(), WATCHERS, 16, reactor::Epoll, Box<Tables>> =
        Reactor::with_storage(epoll, zeroed_box::<Tables>());
    let watch = |fd: &BorrowedFd<'_>| reactor.watch(fd.as_raw_fd(), Interest::READ, ());
    let watchers = idle(size)?.iter().map(watch).collect::<Result<Vec<_>, _>>();
    let watchers = watchers.map_err(io::Error::other)?;
    Ok(timed(size as u64, move |iterations| {
        for _ in 0..iterations {
            let mut turn = || {
                for &watcher in &watchers {
                    reactor.disable(watcher, Interest::READ)?;
                }
                for &watcher in &watchers {
                    reactor.enable(watcher, Interest::READ)?;
                }
                reactor.wait(Some(Duration::ZERO))
            };
            turn().map_err(io::Error::other)?;
            none(usize::from(reactor.next().is_some()))?;
        }
        Ok(())
    }))
}

/// Closures: the same through the loop.
fn loop_reactor(size: usize) -> io::Result<Box<dyn Round>> {
    let mut event_loop = Loop::reactor()?;
    let mut watchers = Vec::with_capacity(size);
    for fd in idle(size)? {
        let watch = event_loop.watch(&fd).on_read(|_, _, _| none(1));
        watchers.push(watch.start()?);
    }
    Ok(timed(size as u64, move |iterations| {
        for _ in 0..iterations {
            for &watcher in &watchers {
                event_loop.disable(watcher, Interest::READ)?;
            }
            for &watcher in &watchers {
                event_loop.enable(watcher, Interest::READ)?;
            }
            event_loop.run_once(Some(Duration::ZERO))?;
        }
        Ok(())
    }))
}

/// `reregister` twice. mio knows no empty interest; priority data, which an eventfd never has, comes nearest to it.
fn mio(size: usize) -> io::Result<Box<dyn Round>> {
    let fds = idle(size)?;
    let mut poll = mio::Poll::new()?;
    let mut events = mio::Events::with_capacity(crate::sys::BATCH);
    for (key, fd) in fds.iter().enumerate() {
        let fd = fd.as_raw_fd();
        let source = &mut SourceFd(&fd);
        poll.registry()
            .register(source, mio::Token(key), mio::Interest::READABLE)?;
    }
    Ok(timed(size as u64, move |iterations| {
        for _ in 0..iterations {
            for interest in [mio::Interest::PRIORITY, mio::Interest::READABLE] {
                for (key, fd) in fds.iter().enumerate() {
                    let fd = fd.as_raw_fd();
                    let source = &mut SourceFd(&fd);
                    poll.registry()
                        .reregister(source, mio::Token(key), interest)?;
                }
            }
            poll.poll(&mut events, Some(Duration::ZERO))?;
            none(events.iter().count())?;
        }
        Ok(())
    }))
}

/// `modify_with_mode` twice.
fn polling(size: usize) -> io::Result<Box<dyn Round>> {
    let fds = idle(size)?;
    let poller = polling::Poller::new()?;
    let mut events = polling::Events::new();
    for (key, &fd) in fds.iter().enumerate() {
        polling_add(&poller, fd, key)?;
    }
    Ok(timed(size as u64, move |iterations| {
        for _ in 0..iterations {
            for interest in [polling::Event::none, polling::Event::readable] {
                for (key, fd) in fds.iter().enumerate() {
                    poller.modify_with_mode(fd, interest(key), polling::PollMode::Level)?;
                }
            }
            events.clear();
            none(poller.wait(&mut events, Some(Duration::ZERO))?)?;
        }
        Ok(())
    }))
}

/// `ev_io_stop` and `ev_io_start`; libev compares with what the kernel knows once, before it waits.
#[cfg(feature = "libev")]
fn libev(size: usize) -> io::Result<Box<dyn Round>> {
    let mut watchers = crate::sys::libev::Watchers::new(&idle(size)?)?;
    Ok(timed(size as u64, move |iterations| {
        for _ in 0..iterations {
            (0..size).for_each(|index| watchers.stop(index));
            (0..size).for_each(|index| watchers.start(index));
            watchers.poll();
        }
        Ok(())
    }))
}
