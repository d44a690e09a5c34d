//! A vector that operations can own, and that tells whether it was dropped.

#![allow(dead_code, reason = "each test file uses its own part of this one")]

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use linux_event_core::proactor::{IoBuf, RawBuf, Uring, Vouched};
use linux_event_core::sys::Kernel;
use linux_event_core::wakeup::Wakeup;

thread_local! {
    /// The parts of this thread's buffers that are taken apart.
    static LENT: RefCell<Vec<RawBuf>> = const { RefCell::new(Vec::new()) };
}

/// Drops the buffers of this thread that were leaked on purpose; returns how many.
///
/// # Safety
/// Nobody will use their parts: neither a kernel nor whoever leaked them.
pub(crate) unsafe fn reclaim() -> usize {
    let leaked = LENT.with_borrow(Vec::clone);
    for raw in &leaked {
        // SAFETY: the caller vouches for it; at most what was filled at first counts.
        drop(unsafe { VecBuf::from_raw(*raw) });
    }
    leaked.len()
}

/// The word of a test that drives a bare ring.
pub(crate) fn vouched<Buf, K, P>() -> Vouched<Uring<Buf, K, P>>
where
    Buf: IoBuf + std::fmt::Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    // SAFETY: tests keep the descriptors that they name open until what they submitted has settled.
    unsafe { Uring::vouch() }
}

/// A vector; its capacity is what reads fill. `alive` is counted by whoever holds the other end.
#[derive(Debug)]
pub(crate) struct VecBuf {
    bytes: Vec<u8>,
    alive: Arc<()>,
}

impl VecBuf {
    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        Self::counted(bytes.to_vec(), &Arc::new(()))
    }

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self::counted(Vec::with_capacity(capacity), &Arc::new(()))
    }

    /// A buffer that `alive` counts for as long as it lives.
    pub(crate) fn counted(bytes: Vec<u8>, alive: &Arc<()>) -> Self {
        Self {
            bytes,
            alive: Arc::clone(alive),
        }
    }
}

// SAFETY: the vector's memory is heap memory that only its parts reach meanwhile; it does not move. Its spare capacity may
// be written.
unsafe impl IoBuf for VecBuf {
    fn into_raw(self) -> RawBuf {
        let Self { bytes, alive } = self;
        let mut bytes = ManuallyDrop::new(bytes);
        let raw = RawBuf {
            start: NonNull::new(bytes.as_mut_ptr()).expect("a vector's pointer is not null"),
            filled: bytes.len(),
            capacity: bytes.capacity(),
            context: Arc::into_raw(alive),
        };
        LENT.with_borrow_mut(|lent| lent.push(raw));
        raw
    }

    unsafe fn from_raw(raw: RawBuf) -> Self {
        LENT.with_borrow_mut(|lent| {
            let known = lent.iter().rposition(|other| other.start == raw.start);
            lent.swap_remove(known.expect("the parts are of a buffer that was lent (P-6)"));
        });
        // SAFETY: the parts are those of `into_raw`, used once; `filled` bytes are initialised.
        unsafe {
            Self {
                bytes: Vec::from_raw_parts(raw.start.as_ptr(), raw.filled, raw.capacity),
                alive: Arc::from_raw(raw.context),
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.bytes.capacity());
        self.bytes.clear();
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }
}

impl std::ops::Deref for VecBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
