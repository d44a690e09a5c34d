//! Building large values where they stay.
//!
//! **What.** A [`Place`] is a `static` that gives its value away once, as `&'static mut`. A loop's tables can be
//! megabytes; a value of that size that is made on the stack and moved overflows it.
//!
//! **Invariants.** *INV-PLACE-1*: the value is lent at most once, to whoever turns `taken` from false to true.
//!
//! **Why this shape.** A `static` of zeroes lies in `.bss`: it costs nothing in the binary, and no memory until it is
//! used. This is one of the few files of the crate with `unsafe` in it.

#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::proactor;
use crate::reactor::Storage;
use crate::timer::Queue;

/// A value that can be taken once, for ever. See the [module](self).
///
/// ```
/// use linux_event_core::place::Place;
/// static TABLE: Place<[u32; 1000]> = Place::new([0; 1000]);
/// let table: &'static mut [u32; 1000] = TABLE.take().unwrap();
/// table[7] = 1;
/// assert!(TABLE.take().is_none());
/// ```
pub struct Place<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: INV-PLACE-1: the value is reached by one caller only, so sharing the place is sending the value.
unsafe impl<T: Send> Sync for Place<T> {}

impl<T> Place<T> {
    /// A place with `value` in it.
    pub const fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The value, to the first who asks; `None` to everybody else.
    #[allow(clippy::mut_from_ref, reason = "INV-PLACE-1 makes it the only one")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: INV-PLACE-1: the swap was false, so nobody else has or will have this reference.
        Some(unsafe { &mut *self.value.get() })
    }
}

/// A type of which all zero bytes are a value: the empty one.
///
/// # Safety
/// An implementor vouches that memory of zeroes, of the type's size and alignment, is a valid value of it.
pub unsafe trait Zeroed {}

// SAFETY: INV-STORE-1, INV-TABLE-1, INV-TIMER-1: tables and queues are integers, arrays of integers, and slots with the
// tag first (`repr(u8)`), where 0 is a vacant one that holds integers at most: neither `D` nor `P` is there, whatever
// they are. The test below makes one of zeroes, of types that have no zero, and uses it.
unsafe impl<D, const W: usize, const T: usize, P> Zeroed for Storage<D, W, T, P> {}

// SAFETY: INV-PSTORE-1, INV-SLOTS-1: it is a reactor's storage, of which the above holds; slots of integers, of a code and
// a handle for which 0 is the first and none, and of a cell that 0 leaves vacant; a table (INV-TABLE-1); arrays of
// integers. Neither `D` nor `F` is there. The test below makes one of zeroes, of types that have no zero.
unsafe impl<D, const OPS: usize, const T: usize, P, F> Zeroed
    for proactor::Storage<D, OPS, T, P, F>
{
}

// SAFETY: INV-TIMER-1: an empty queue is all zero bytes; the test below makes one of zeroes and uses it.
unsafe impl<T, const N: usize> Zeroed for Queue<T, N> {}

impl<T> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("taken", &self.taken.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::clock::Instant;
    use std::boxed::Box;

    fn zeroed_box<T: Zeroed>() -> Box<T> {
        // SAFETY: `T: Zeroed` vouches that zeroes are a value of `T`.
        unsafe { Box::<T>::new_zeroed().assume_init() }
    }

    #[test]
    fn a_storage_of_zeroes_is_an_empty_storage() {
        use crate::reactor::{Epoll, Interest, Reactor};
        /// Neither has a zero, one is aligned to more than anything beside it.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[repr(align(256))]
        struct Odd(core::num::NonZeroU64, &'static str);
        type Tables<D> = Storage<D, 4, 4>;
        fn zeroes<D>(storage: &Tables<D>) -> bool {
            let start = core::ptr::from_ref(storage).cast::<u8>();
            // SAFETY: every byte of a box of zeroes is initialised, and nothing was written to it.
            let bytes = unsafe { core::slice::from_raw_parts(start, size_of::<Tables<D>>()) };
            bytes.iter().all(|&byte| byte == 0)
        }
        let fresh = zeroed_box::<Tables<Odd>>();
        assert!(zeroes(&fresh));
        let uninhabited = zeroed_box::<Tables<core::convert::Infallible>>();
        assert!(zeroes(&uninhabited));
        drop(uninhabited); // nothing in it is dropped
        if cfg!(miri) {
            return;
        }
        let mut reactor: Reactor<Odd, 4, 4, Epoll, Box<Tables<Odd>>> =
            Reactor::with_storage(Epoll::new().unwrap(), fresh);
        let data = Odd(core::num::NonZeroU64::MIN, "data");
        let (reader, _writer) = std::io::pipe().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
        let watcher = reactor.watch(fd, Interest::READ, data).unwrap();
        assert_eq!(reactor.data(watcher), Some(data));
        assert!(reactor.cancel(watcher) && !reactor.cancel(watcher));
    }

    #[test]
    fn a_proactors_storage_of_zeroes_is_an_empty_storage() {
        /// It has no zero, is aligned to more than anything beside it, and must not be dropped.
        #[derive(Debug)]
        #[repr(align(256))]
        struct Odd(#[allow(dead_code, reason = "for its layout")] core::num::NonZeroU64);
        impl Drop for Odd {
            fn drop(&mut self) {
                unreachable!("there is none");
            }
        }
        type Tables<D> = proactor::Storage<D, 4, 4, Odd, Odd>;
        let fresh = zeroed_box::<Tables<(Odd, &'static str)>>();
        assert_eq!(
            std::format!("{fresh:?}"),
            "Storage { operations: 0, files: 0, base: Storage { watchers: 0, timers: 0, .. }, .. }"
        );
        drop(fresh);
        drop(zeroed_box::<Tables<core::convert::Infallible>>());
    }

    #[test]
    fn a_queue_of_zeroes_is_an_empty_queue() {
        let mut queue = zeroed_box::<Queue<u32, 4>>();
        assert_eq!((queue.len(), queue.first_deadline()), (0, None));
        let at = Instant::from_nanos;
        let ids = [30, 10, 20].map(|nanos| queue.insert(at(nanos), nanos as u32).unwrap());
        assert_eq!(queue.cancel(ids[1]), Some(10));
        assert_eq!(queue.pop_due(at(25)), Some((ids[2], at(20), 20)));
        assert_eq!(queue.pop_due(at(25)), None);
    }
}
