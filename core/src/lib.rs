#![no_std]
//! linux-event-core.

pub mod clock;
pub mod handle;
pub mod table;
pub mod timer;
