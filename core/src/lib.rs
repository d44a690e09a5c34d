#![no_std]
//! linux-event-core.

pub mod clock;
pub mod errno;
pub mod handle;
pub mod mailbox;
pub mod signal;
pub mod sys;
pub mod table;
