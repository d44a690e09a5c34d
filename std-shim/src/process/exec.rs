//! What is done in the child, between fork and exec.
//!
//! **Why this shape.** The one place of this crate that runs in a forked child: raw system calls, and nothing else. One of
//! the few files with `unsafe` in it.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process;

use linux_event_core::signal::SignalSet;
use linux_event_core::sys::{Kernel, Linux, MaskChange};

/// Has the child begin with no signal blocked (S-2), and with `umask`, if any.
pub(super) fn prepare(command: &mut process::Command, umask: Option<u32>) {
    let in_child = move || {
        // What a loop has blocked, to take it from a signalfd, is the loop's affair.
        Linux
            .signal_mask(MaskChange::Unblock, SignalSet::from_bits(u64::MAX))
            .map_err(|errno| io::Error::from_raw_os_error(errno.raw()))?;
        if let Some(umask) = umask {
            Linux.set_umask(umask);
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called (`fork(2)`): these are raw system calls
    // that allocate nothing and take no lock.
    unsafe { command.pre_exec(in_child) };
}
