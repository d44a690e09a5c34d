//! Hand-written epoll loops: what a system is measured against.
//!
//! **What.** [`inline`] has everything in one function, system calls included; [`libc()`] is the same through the C
//! library; [`boxed`] has one boxed closure a descriptor, found by index; [`edge`] makes the calls that mio makes.
//!
//! **Invariants.** INV-PINGPONG-1.
//!
//! **Why this shape.** The first is the floor of a loop that gives events as values, the last that of one that calls
//! back: a call through a box, and the return after its system calls, are the price of callbacks as such. [`edge`] is
//! there because the kernel does less for it: after a level-triggered report the next wait looks at the descriptor once
//! more, and `read` and `write` pass through the file layer before they reach the socket. It does what a loop that is
//! edge-triggered and has sockets of its own must be compared with.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::{BUFFER, FAR, IDLE, NEAR, lost};
use crate::idle_watchers::idle;
use crate::sys::{Calls, Epoll, EventBuffer, Libc, Raw, RawSocket, Trigger, checked, socket_pair};
use crate::workload::{Round, timed};

struct Setup {
    epoll: Epoll,
    near: OwnedFd,
    far: OwnedFd,
}

impl Setup {
    fn new(idle_watchers: usize, trigger: Trigger) -> io::Result<Self> {
        let (near, far) = socket_pair()?;
        let epoll = Epoll::new()?;
        epoll.add(near.as_fd(), trigger, NEAR)?;
        epoll.add(far.as_fd(), trigger, FAR)?;
        for (key, fd) in (IDLE..).zip(idle(idle_watchers)?) {
            epoll.add(fd, trigger, key)?;
        }
        Ok(Self { epoll, near, far })
    }
}

/// Raw system calls, all in one loop.
pub(crate) fn inline(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let setup = Setup::new(idle_watchers, Trigger::Level)?;
    Ok(timed(1, move |round_trips| {
        bounce::<Raw>(&setup, round_trips)
    }))
}

/// The same loop, edge-triggered, with `recvfrom` and `sendto`.
pub(crate) fn edge(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let setup = Setup::new(idle_watchers, Trigger::Edge)?;
    Ok(timed(1, move |round_trips| {
        bounce::<RawSocket>(&setup, round_trips)
    }))
}

/// The same loop on the C library.
pub(super) fn libc(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let setup = Setup::new(idle_watchers, Trigger::Level)?;
    Ok(timed(1, move |round_trips| {
        bounce::<Libc>(&setup, round_trips)
    }))
}

#[inline(always)]
fn bounce<C: Calls>(setup: &Setup, round_trips: u64) -> io::Result<()> {
    let (epoll, near, far) = (setup.epoll.as_fd(), setup.near.as_fd(), setup.far.as_fd());
    let mut events = EventBuffer::new();
    let mut buffer = [0; BUFFER];
    let mut left = round_trips;
    if C::write(near, &[1]) != 1 {
        return Err(lost());
    }
    loop {
        let count = checked(C::wait(epoll, &mut events, -1))?;
        for key in events.keys(count) {
            match key {
                NEAR => {
                    if C::read(near, &mut buffer) != 1 {
                        return Err(lost());
                    }
                    left -= 1;
                    if left == 0 {
                        return Ok(());
                    }
                    if C::write(near, &[1]) != 1 {
                        return Err(lost());
                    }
                }
                FAR => {
                    if C::read(far, &mut buffer) != 1 || C::write(far, &[1]) != 1 {
                        return Err(lost());
                    }
                }
                _ => return Err(lost()),
            }
        }
    }
}

/// What the closures of [`boxed`] share with the loop.
#[derive(Default)]
struct Score {
    left: Cell<u64>,
    failed: Cell<bool>,
}

/// Raw system calls inside one boxed closure a descriptor.
pub(super) fn boxed(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let Setup { epoll, near, far } = Setup::new(idle_watchers, Trigger::Level)?;
    let score = Rc::new(Score::default());
    let starter = near.try_clone()?;
    let mut callbacks: Vec<Box<dyn FnMut()>> = vec![
        on_near(near, Rc::clone(&score)),
        on_far(far, Rc::clone(&score)),
    ];
    for _ in 0..idle_watchers {
        let score = Rc::clone(&score);
        callbacks.push(Box::new(move || score.failed.set(true)));
    }
    Ok(timed(1, move |round_trips| {
        let mut events = EventBuffer::new();
        score.left.set(round_trips);
        if Raw::write(starter.as_fd(), &[1]) != 1 {
            return Err(lost());
        }
        while score.left.get() > 0 {
            let count = checked(Raw::wait(epoll.as_fd(), &mut events, -1))?;
            for key in events.keys(count) {
                callbacks[key as usize]();
            }
            if score.failed.get() {
                return Err(lost());
            }
        }
        Ok(())
    }))
}

fn on_near(fd: OwnedFd, score: Rc<Score>) -> Box<dyn FnMut()> {
    let mut buffer = [0; BUFFER];
    Box::new(move || {
        if Raw::read(fd.as_fd(), &mut buffer) != 1 {
            return score.failed.set(true);
        }
        let left = score.left.get() - 1;
        score.left.set(left);
        if left > 0 && Raw::write(fd.as_fd(), &[1]) != 1 {
            score.failed.set(true);
        }
    })
}

fn on_far(fd: OwnedFd, score: Rc<Score>) -> Box<dyn FnMut()> {
    let mut buffer = [0; BUFFER];
    Box::new(move || {
        if Raw::read(fd.as_fd(), &mut buffer) != 1 || Raw::write(fd.as_fd(), &[1]) != 1 {
            score.failed.set(true);
        }
    })
}
