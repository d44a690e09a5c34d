//! A buffer that acts when it is dropped.

use std::cell::Cell;

use linux_event_core::proactor::{IoBuf, RawBuf};

use crate::buf::VecBuf;

/// A buffer that does something when it is dropped for the first time.
#[derive(Debug)]
pub(crate) struct Acting(Option<VecBuf>, fn());

impl Acting {
    /// One that does nothing yet.
    pub(crate) fn new(buffer: VecBuf) -> Self {
        Self(Some(buffer), || {})
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if self.0.take().is_some() {
            self.1();
        }
    }
}

thread_local! {
    /// What buffers do that come from the kernel.
    pub(crate) static ACT: Cell<fn()> = const { Cell::new(|| {}) };
}

// SAFETY: its memory is the vector's, whose parts are lent as it says.
unsafe impl IoBuf for Acting {
    fn into_raw(mut self) -> RawBuf {
        self.0.take().expect("a buffer has bytes").into_raw()
    }
    unsafe fn from_raw(raw: RawBuf) -> Self {
        // SAFETY: the caller vouches for it.
        Self(Some(unsafe { VecBuf::from_raw(raw) }), ACT.get())
    }
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], VecBuf::bytes)
    }
    fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, VecBuf::capacity)
    }
    fn fill(&mut self, bytes: &[u8]) -> usize {
        self.0.as_mut().map_or(0, |buffer| buffer.fill(bytes))
    }
}
