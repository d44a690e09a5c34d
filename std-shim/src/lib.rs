//! linux-event: closures over linux-event-core.

pub mod fake;
