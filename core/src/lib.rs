#![no_std]
//! linux-event-core.

pub mod clock;
pub mod handle;
pub mod mailbox;
pub mod signal;
pub mod table;
