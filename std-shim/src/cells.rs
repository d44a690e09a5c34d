//! The core's mailbox over cells in a box.
//!
//! **Why this shape.** The core's mailbox has its cells in an array; here their number is known at run time only. One
//! of the files of this crate with `unsafe` in it.

#![allow(unsafe_code)]

use linux_event_core::mailbox::{Cell, Cells, MailboxInner};

/// Cells in a box.
pub(crate) struct BoxedCells<T>(Box<[Cell<T>]>);

// SAFETY: the box is private, is never exchanged, and nobody else has its cells.
unsafe impl<T> Cells<T> for BoxedCells<T> {
    #[inline(always)]
    fn cells(&self) -> &[Cell<T>] {
        &self.0
    }
}

/// A mailbox whose capacity is known at run time only.
pub(crate) type BoxedMailbox<T> = MailboxInner<T, BoxedCells<T>>;

/// A mailbox of `capacity` values; `None` if that is out of range.
pub(crate) fn boxed_mailbox<T>(capacity: usize) -> Option<BoxedMailbox<T>> {
    if capacity > linux_event_core::mailbox::MAX_CAPACITY {
        return None;
    }
    let cells = (0..capacity).map(|_| Cell::new()).collect();
    MailboxInner::with_cells(BoxedCells(cells)).ok()
}
