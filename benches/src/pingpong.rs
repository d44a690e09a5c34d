//! `pingpong`: one byte to and fro over a pair of sockets, in one thread.
//!
//! **What.** Both ends of a unix stream pair are watched for reading; the far end echoes. A round trip is two waits, two
//! reads and two writes, six system calls; what a loop adds to them is what this workload shows.
//!
//! **Invariants.** *INV-PINGPONG-1*: one byte is under way at any time, and it is read by the end it was sent to before a
//! round ends, so that the next round finds nothing left over.
//!
//! **Why this shape.** One event a wait is the worst case for a loop: nothing is shared by the events of a batch. Every
//! system has a buffer of 64 bytes, so that a short read tells the edge-triggered ones that they have drained the socket.

#![forbid(unsafe_code)]

pub(crate) mod floor;
mod ours;
mod peers;

use std::io;

use crate::workload::{Case, System, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "pingpong",
    about: "one byte to and fro over a socketpair, one thread; ns a round trip",
    size_name: "idle",
    cases: &[Case {
        size: 0,
        iterations: 200,
    }],
    operations: |_| 1,
    columns: &[],
    rounds: 1_000,
    floors: &["floor", "floor-boxed", "floor-edge"],
    systems: &[
        System {
            name: "floor",
            set_up: floor::inline,
        },
        System {
            name: "floor-boxed",
            set_up: floor::boxed,
        },
        System {
            name: "floor-edge",
            set_up: floor::edge,
        },
        System {
            name: "floor-libc",
            set_up: floor::libc,
        },
        System {
            name: "reactor",
            set_up: ours::reactor,
        },
        System {
            name: "reactor-edge",
            set_up: ours::reactor_edge,
        },
        System {
            name: "loop-reactor",
            set_up: ours::loop_reactor,
        },
        System {
            name: "mio",
            set_up: peers::mio,
        },
        System {
            name: "polling",
            set_up: peers::polling,
        },
        System {
            name: "tokio",
            set_up: peers::tokio,
        },
        #[cfg(feature = "libev")]
        System {
            name: "libev",
            set_up: peers::libev,
        },
    ],
};

/// The key of the end that starts and counts.
pub(crate) const NEAR: u64 = 0;
/// The key of the end that echoes.
pub(crate) const FAR: u64 = 1;
/// The first key of the idle watchers.
const IDLE: u64 = 2;
/// Bytes in a buffer.
pub(crate) const BUFFER: usize = 64;

#[cold]
#[inline(never)]
pub(crate) fn lost() -> io::Error {
    io::Error::other("a byte was lost, or one came from nowhere")
}
