//! The `EPOLL*` bits that the simulation knows.

#![forbid(unsafe_code)]

use linux_event_core::reactor::{Mode, Ready};

pub(super) const IN: u32 = Ready::READ.bits() as u32;
pub(super) const OUT: u32 = Ready::WRITE.bits() as u32;
pub(super) const PRI: u32 = Ready::PRIORITY.bits() as u32;
pub(super) const ERR: u32 = Ready::ERROR.bits() as u32;
pub(super) const HUP: u32 = Ready::HANGUP.bits() as u32;
pub(super) const RDHUP: u32 = Ready::READ_CLOSED.bits() as u32;
pub(super) const EDGE: u32 = Mode::EDGE.bits();
pub(super) const ONESHOT: u32 = Mode::ONESHOT.bits();
pub(super) const EXCLUSIVE: u32 = Mode::EXCLUSIVE.bits();

/// How to be told, as opposed to of what: all that is left of a oneshot registration once it was reported.
pub(super) const MODES: u32 = EDGE | ONESHOT | EXCLUSIVE;
/// What an exclusive registration may ask for.
pub(super) const EXCLUSIVE_MAY: u32 = IN | OUT | ERR | HUP | EDGE | EXCLUSIVE;
