//! `nop`: what it costs to queue an operation, have the kernel take it, and see it completed, when it does nothing.
//!
//! **What.** An iteration queues `batch` nops, enters the kernel once, which submits and completes them all, and takes their
//! completions; an operation is one nop.
//!
//! **Invariants.** *INV-NOP-1*: one enter completes all of a batch and nothing else, each nop once, in the order in which
//! they were queued.
//!
//! **Why this shape.** A nop is over as soon as the kernel looks at it, so that the way in and out is all there is to
//! measure: at a batch of 1 mostly the system call, at 128 mostly the two queues.

#![forbid(unsafe_code)]

mod ours;

use std::io;

use crate::sys::crate_ring::CrateRing;
use crate::sys::ring::{Bare, Completion, Ring};
use crate::workload::{Case, Round, System, Workload, timed};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "nop",
    about: "nops submitted and completed, a batch an enter; ns a nop",
    size_name: "batch",
    cases: &[
        Case {
            size: 1,
            iterations: 500,
        },
        Case {
            size: 32,
            iterations: 100,
        },
        Case {
            size: 128,
            iterations: 50,
        },
    ],
    operations: |size| size as u64,
    columns: &[],
    rounds: 1_000,
    floors: &["floor"],
    systems: &[
        System {
            name: "floor",
            set_up: ring::<Bare>,
        },
        System {
            name: "proactor",
            set_up: ours::proactor,
        },
        System {
            name: "io-uring",
            set_up: ring::<CrateRing>,
        },
    ],
};

#[cold]
#[inline(never)]
fn lost() -> io::Error {
    io::Error::other("a nop was lost, or one came from nowhere")
}

/// A ring, all in one loop.
fn ring<R: Ring>(batch: usize) -> io::Result<Box<dyn Round>> {
    let mut ring = R::new()?;
    Ok(timed(batch as u64, move |iterations| {
        let batch = batch as u32;
        for _ in 0..iterations {
            for key in 0..batch {
                ring.nop(key.into());
            }
            ring.enter(batch)?;
            for key in 0..batch {
                let expected = Completion {
                    key: key.into(),
                    result: 0,
                };
                if ring.next() != Some(expected) {
                    return Err(lost());
                }
            }
            if ring.next().is_some() {
                return Err(lost());
            }
        }
        Ok(())
    }))
}
