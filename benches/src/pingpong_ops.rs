//! `pingpong-ops`: one byte to and fro over a pair of sockets, in one thread, by operations.
//!
//! **What.** The job of [`pingpong`], done by asking the kernel to receive and to send instead of asking when that can be
//! done. A turn queues the next receive and the answer and enters the kernel once, which sends, and finds that what it sent
//! completes the other end's receive: a round trip is two enters, two system calls. What a loop adds to them, and what
//! operations save over readiness, is what this workload shows.
//!
//! **Invariants.** INV-PINGPONG-1, and *INV-OPS-1*: between rounds the far end has one receive pending, and nothing else
//! is.
//!
//! **Why this shape.** As for [`pingpong`]: one event a turn is the worst case. Every completion is looked at, those of
//! sends too, as a loop has to that tells its user how they ended.

#![forbid(unsafe_code)]

mod ours;
#[cfg(feature = "runtimes")]
mod peers;

use std::io;
use std::os::fd::BorrowedFd;

use crate::pingpong::{self, BUFFER, FAR, NEAR, lost};
use crate::sys::crate_ring::CrateRing;
use crate::sys::leaked_pair;
use crate::sys::ring::{Bare, Pad, Ring};
use crate::workload::{Round, System, Workload, timed};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "pingpong-ops",
    about: "one byte to and fro over a socketpair, by operations, one thread; ns a round trip",
    floors: &["floor", "floor-epoll", "floor-epoll-edge"],
    systems: &[
        System {
            name: "floor",
            set_up: ring::<Bare>,
        },
        System {
            name: "floor-epoll",
            set_up: pingpong::floor::inline,
        },
        System {
            name: "floor-epoll-edge",
            set_up: pingpong::floor::edge,
        },
        System {
            name: "proactor",
            set_up: ours::proactor,
        },
        System {
            name: "proactor-adopted",
            set_up: ours::adopted,
        },
        System {
            name: "floor-poll-first",
            set_up: ring::<Bare<true>>,
        },
        System {
            name: "io-uring",
            set_up: ring::<CrateRing>,
        },
        #[cfg(feature = "runtimes")]
        System {
            name: "monoio",
            set_up: peers::monoio,
        },
        #[cfg(feature = "runtimes")]
        System {
            name: "compio",
            set_up: peers::compio,
        },
    ],
    ..pingpong::WORKLOAD
};

/// A send's key is that of its end with this bit.
const SENT: u64 = 1 << 32;
const NEAR_SENT: u64 = NEAR | SENT;
const FAR_SENT: u64 = FAR | SENT;

/// An end of the pair, and where it receives.
#[derive(Clone, Copy)]
struct End {
    fd: BorrowedFd<'static>,
    pad: &'static Pad,
    key: u64,
}

impl End {
    #[inline(always)]
    fn receive<R: Ring>(self, ring: &mut R) {
        ring.recv(self.fd, self.pad, BUFFER, self.key);
    }

    #[inline(always)]
    fn send<R: Ring>(self, ring: &mut R) {
        ring.send(self.fd, &[1], self.key | SENT);
    }
}

/// A ring, all in one loop.
fn ring<R: Ring>(_idle: usize) -> io::Result<Box<dyn Round>> {
    let mut ring = R::new()?;
    let (near, far) = leaked_pair()?;
    let end = |fd, pad, key| End { fd, pad, key };
    let pads = Pad::leaked(2);
    let (near, far) = (end(near, &pads[0], NEAR), end(far, &pads[1], FAR));
    far.receive(&mut ring);
    ring.enter(0)?;
    Ok(timed(1, move |round_trips| {
        let mut left = round_trips;
        near.receive(&mut ring);
        near.send(&mut ring);
        while left > 0 {
            ring.enter(1)?;
            while let Some(completion) = ring.next() {
                if completion.result != 1 {
                    return Err(lost());
                }
                match completion.key {
                    NEAR => {
                        left -= 1;
                        if left > 0 {
                            near.receive(&mut ring);
                            near.send(&mut ring);
                        }
                    }
                    FAR => {
                        far.receive(&mut ring);
                        far.send(&mut ring);
                    }
                    NEAR_SENT | FAR_SENT => {}
                    _ => return Err(lost()),
                }
            }
        }
        Ok(())
    }))
}
