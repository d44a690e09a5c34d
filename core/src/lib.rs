#![no_std]
//! linux-event-core.

pub mod clock;
pub mod errno;
pub mod error;
pub mod handle;
pub mod mailbox;
pub mod pid;
pub mod place;
pub mod reactor;
pub mod signal;
pub mod sys;
pub mod table;
pub mod timer;
pub mod timerfd;
pub mod wakeup;
