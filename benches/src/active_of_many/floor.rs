//! Hand-written: a ring with a receive pending on every pair, and an epoll instance with a watcher on every pair.
//!
//! **What.** [`Operations`] queues, for each byte received, the next receive and the send, and both go with the next enter.
//! [`Readiness`] is level-triggered, and makes three calls: a wait for what is ready, and `recvfrom` and `sendto` for each.
//!
//! **Invariants.** INV-ACTIVE-1, INV-ACTIVE-2; *INV-ACTIVE-3*: between `watch` and `unwatch` each pair has one receive
//! pending.
//!
//! **Why this shape.** Both wait for one event at least and take what there is, as a loop does that knows nothing of its
//! program.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use super::{Pair, Waiting, lost};
use crate::sys::ring::{ENTRIES, Pad, Ring};
use crate::sys::{Calls, Epoll, EventBuffer, RawSocket, Trigger, checked};

/// A key is the index of a pair and one of these.
const RECEIVED: u64 = 0;
const SENT: u64 = 1 << 32;
const CANCELLED: u64 = 2 << 32;

/// Operations that are queued at once while pairs are watched and unwatched.
const CHUNK: usize = ENTRIES as usize / 2;

/// A ring.
pub(super) struct Operations<R> {
    ring: R,
    pairs: Vec<Pair>,
    pads: &'static [Pad],
}

impl<R: Ring> Operations<R> {
    pub(super) fn new(pairs: Vec<Pair>) -> io::Result<Self> {
        Ok(Self {
            ring: R::new()?,
            pads: Pad::leaked(pairs.len()),
            pairs,
        })
    }

    #[inline(always)]
    fn receive(&mut self, index: usize) {
        let (fd, pad) = (self.pairs[index].receiver, &self.pads[index]);
        self.ring.recv(fd, pad, 1, RECEIVED | index as u64);
    }

    #[inline(always)]
    fn send(&mut self, index: usize) {
        let fd = self.pairs[index].sender;
        self.ring.send(fd, &[1], SENT | index as u64);
    }
}

impl<R: Ring> Waiting for Operations<R> {
    fn watch(&mut self) -> io::Result<()> {
        for index in 0..self.pairs.len() {
            self.receive(index);
            if index % CHUNK == CHUNK - 1 {
                self.ring.enter(0)?;
            }
        }
        self.ring.enter(0)
    }

    #[inline(always)]
    fn run(&mut self, bytes: u64, mut sends: u64) -> io::Result<()> {
        let (mut left, mut sending) = (bytes, 0);
        while left > 0 || sending > 0 {
            self.ring.enter(1)?;
            while let Some(completion) = self.ring.next() {
                let (what, index) = (
                    completion.key & !0xFFFF_FFFF,
                    completion.key as u32 as usize,
                );
                if completion.result != 1 {
                    return Err(lost());
                }
                if what == SENT {
                    sending -= 1;
                    continue;
                }
                left -= 1;
                self.receive(index);
                if sends > 0 {
                    sends -= 1;
                    sending += 1;
                    let next = index + 1;
                    self.send(if next == self.pairs.len() { 0 } else { next });
                }
            }
        }
        self.ring.enter(0)
    }

    /// Every receive must end as cancelled (INV-ACTIVE-2).
    fn unwatch(&mut self) -> io::Result<()> {
        let mut next = 0;
        while next < self.pairs.len() {
            let chunk = CHUNK.min(self.pairs.len() - next);
            for index in next..next + chunk {
                let index = index as u64;
                self.ring.cancel(RECEIVED | index, CANCELLED | index);
            }
            self.ring.enter(2 * chunk as u32)?;
            let mut ended = 0;
            while let Some(completion) = self.ring.next() {
                let expected = match completion.key & !0xFFFF_FFFF {
                    RECEIVED => -libc::ECANCELED,
                    CANCELLED => 0,
                    _ => return Err(lost()),
                };
                if completion.result != expected {
                    return Err(lost());
                }
                ended += 1;
            }
            if ended != 2 * chunk {
                return Err(lost());
            }
            next += chunk;
        }
        Ok(())
    }
}

/// An epoll instance, level-triggered. It exists from `watch` to `unwatch`.
pub(super) struct Readiness {
    epoll: Epoll,
    pairs: Vec<Pair>,
}

impl Readiness {
    pub(super) fn new(pairs: Vec<Pair>) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            pairs,
        })
    }
}

impl Waiting for Readiness {
    fn watch(&mut self) -> io::Result<()> {
        for (pair, key) in self.pairs.iter().zip(0..) {
            self.epoll.add(pair.receiver, Trigger::Level, key)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn run(&mut self, bytes: u64, mut sends: u64) -> io::Result<()> {
        let (mut events, mut buffer) = (EventBuffer::new(), [0; 1]);
        let mut left = bytes;
        while left > 0 {
            let count = checked(RawSocket::wait(self.epoll.as_fd(), &mut events, -1))?;
            for key in events.keys(count) {
                let index = key as usize;
                if RawSocket::read(self.pairs[index].receiver, &mut buffer) != 1 {
                    return Err(lost());
                }
                left -= 1;
                if sends > 0 {
                    sends -= 1;
                    let next = index + 1;
                    let next = if next == self.pairs.len() { 0 } else { next };
                    if RawSocket::write(self.pairs[next].sender, &[1]) != 1 {
                        return Err(lost());
                    }
                }
            }
        }
        Ok(())
    }

    fn unwatch(&mut self) -> io::Result<()> {
        let mut events = EventBuffer::new();
        if RawSocket::wait(self.epoll.as_fd(), &mut events, 0) != 0 {
            return Err(lost());
        }
        self.epoll = Epoll::new()?;
        Ok(())
    }
}
