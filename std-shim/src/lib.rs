//! linux-event: closures over linux-event-core.
