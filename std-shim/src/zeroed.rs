//! Large tables in boxes of zeroes.
//!
//! **What.** [`zeroed_box`] makes a box whose value is all zeroes, without a copy of it on the stack and without
//! touching its memory: the system maps a page of it when it is first used.
//!
//! **Why this shape.** One of the files of this crate with `unsafe` in it; the invariant is the core's.

#![allow(unsafe_code)]

use linux_event_core::place::Zeroed;

/// A box of zeroes.
pub(crate) fn zeroed_box<T: Zeroed>() -> Box<T> {
    // SAFETY: `T: Zeroed` vouches that zeroes are a value of `T`.
    unsafe { Box::<T>::new_zeroed().assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_event_core::reactor::Storage;

    #[test]
    fn a_large_storage_needs_no_stack() {
        let small_stack = std::thread::Builder::new().stack_size(64 * 1024);
        let thread = small_stack.spawn(|| {
            let storage = zeroed_box::<Storage<(), 65_536, 262_144>>();
            format!("{storage:?}")
        });
        let shown = thread.expect("a thread").join().expect("no overflow");
        assert_eq!(shown, "Storage { watchers: 0, timers: 0, .. }");
    }
}
