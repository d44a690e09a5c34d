//! [`Counted`]: the system's allocator, with each thread's allocations counted.
//!
//! **What.** A test program makes it its global allocator; [`during`] tells how often the calling thread allocated
//! while something ran. Test files include this one by `#[path]`.
//!
//! **Invariants.** *INV-ALLOC-1*: every method passes its arguments to [`System`] unchanged. Counting allocates
//! nothing: the count is a thread-local that needs neither making nor dropping.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
#[derive(Debug)]
pub(crate) struct Counted;

fn count() {
    // A thread that ends has no count any more, and nobody asks for it.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: INV-ALLOC-1: `System` keeps the contract.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // Giving back is counted too: what is taken and given back by turns is work all the same.
        count();
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// How often the calling thread allocated, grew or freed while `work` ran.
pub(crate) fn during(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}
