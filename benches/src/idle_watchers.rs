//! `idle-watchers`: what the ping-pong costs while many other descriptors are watched and nothing happens to them.
//!
//! **What.** The systems of [`pingpong`], set up with 10 and with 10,000 idle watchers; the line of the
//! larger size tells how many times the smaller one it took.
//!
//! **Invariants.** *INV-IDLE-1*: an idle descriptor is never readable, and lives as long as the process.
//!
//! **Why this shape.** All systems watch the same eventfds, so that the number of descriptors stays that of one system.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use crate::pingpong;
use crate::sys;
use crate::workload::{Case, Workload};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "idle-watchers",
    about: "pingpong with idle watchers beside it; ns a round trip",
    size_name: "idle",
    cases: &[
        Case {
            size: 10,
            iterations: 200,
        },
        Case {
            size: 10_000,
            iterations: 200,
        },
    ],
    rounds: 300,
    ..pingpong::WORKLOAD
};

/// Descriptors besides the idle ones that a run may need.
const OTHER_DESCRIPTORS: u64 = 200;

static IDLE: Mutex<Vec<BorrowedFd<'static>>> = Mutex::new(Vec::new());

/// `count` descriptors that nothing ever happens to, the same at every call (INV-IDLE-1).
pub(crate) fn idle(count: usize) -> io::Result<Vec<BorrowedFd<'static>>> {
    let mut made = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.len() < count {
        sys::allow_descriptors(count as u64 + OTHER_DESCRIPTORS)?;
    }
    while made.len() < count {
        let kept: &'static OwnedFd = Box::leak(Box::new(sys::idle_fd()?));
        made.push(kept.as_fd());
    }
    Ok(made[..count].to_vec())
}
