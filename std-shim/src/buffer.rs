//! The buffer that operations own: a vector.
//!
//! **What.** [`Buffer`] is a `Vec<u8>` that can be lent to a kernel: reads fill it up to its capacity, writes send what is in
//! it. It goes into an operation by value and comes back with the completion (rule P-6).
//!
//! **Invariants.** Those of [`IoBuf`], INV-BUF-1 and INV-BUF-2 of the core's `proactor/buffer.rs`: while it is taken apart,
//! the vector's memory belongs to the parts, and its length is what they call filled.
//!
//! **Why this shape.** A type of this crate, for `IoBuf` and `Vec` are both of other crates. One of the files of this crate
//! with `unsafe` in it.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use linux_event_core::proactor::{IoBuf, RawBuf};

/// A vector of bytes that an operation can own.
///
/// It is its vector in all but name: it dereferences to one, and turns into one and back for nothing.
///
/// ```
/// use linux_event::Buffer;
///
/// let mut buffer = Buffer::from(b"hello".to_vec()); // what a write sends
/// buffer.push(b'!');
/// let bytes: Vec<u8> = buffer.into();
/// assert_eq!(bytes, b"hello!");
/// let buffer = Buffer::with_capacity(4096); // what a read fills
/// assert!(buffer.is_empty() && buffer.capacity() >= 4096);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty buffer with room for nothing. It allocates nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty buffer with room for at least `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Box<[u8]>> for Buffer {
    fn from(bytes: Box<[u8]>) -> Self {
        Self(bytes.into_vec())
    }
}

/// Copies.
impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// Copies.
impl<const N: usize> From<&[u8; N]> for Buffer {
    fn from(bytes: &[u8; N]) -> Self {
        Self(bytes.to_vec())
    }
}

/// Copies.
impl From<&str> for Buffer {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Buffer {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Buffer> for Vec<u8> {
    fn from(buffer: Buffer) -> Self {
        buffer.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

// SAFETY: INV-BUF-1: a vector owns its memory, all `capacity` bytes of it, and `into_raw` gives the vector up without
// freeing it. INV-BUF-2: its first `len` bytes are initialised, and `len` is at most `capacity`.
unsafe impl IoBuf for Buffer {
    fn into_raw(self) -> RawBuf {
        let mut vector = ManuallyDrop::new(self.0);
        // A vector's pointer is never null: it dangles where there is no memory.
        let start = NonNull::new(vector.as_mut_ptr()).unwrap_or(NonNull::dangling());
        RawBuf {
            start,
            filled: vector.len(),
            capacity: vector.capacity(),
            context: ptr::null(),
        }
    }

    unsafe fn from_raw(raw: RawBuf) -> Self {
        // SAFETY: INV-BUF-1: the parts are those of a vector of bytes from the global allocator, used once. INV-BUF-2:
        // `filled` bytes are initialised.
        Self(unsafe { Vec::from_raw_parts(raw.start.as_ptr(), raw.filled, raw.capacity) })
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.0.capacity());
        self.0.clear();
        self.0.extend_from_slice(&bytes[..count]);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a kernel does it: writes through the parts, then says how much counts.
    fn read_into(buffer: Buffer, bytes: &[u8]) -> Buffer {
        let mut raw = buffer.into_raw();
        let count = bytes.len().min(raw.capacity);
        // SAFETY: INV-BUF-1: the parts are the only way to the memory, which has room for `capacity` bytes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), raw.start.as_ptr(), count) };
        raw.filled = count;
        // SAFETY: the parts are fresh and used once; INV-BUF-2: `count` bytes were written.
        unsafe { Buffer::from_raw(raw) }
    }

    #[test]
    fn p6_a_vector_comes_back_as_it_went() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"hello");
        let (start, capacity) = (bytes.as_ptr(), bytes.capacity());
        let raw = Buffer::from(bytes).into_raw();
        assert_eq!((raw.filled, raw.capacity), (5, capacity));
        // SAFETY: the parts are fresh and used once.
        let back: Vec<u8> = unsafe { Buffer::from_raw(raw) }.into();
        assert_eq!(
            (back.as_ptr(), back.capacity(), &back[..]),
            (start, capacity, &b"hello"[..])
        );
    }

    #[test]
    fn p6_a_read_fills_memory_that_was_not_initialised() {
        let buffer = read_into(Buffer::with_capacity(16), b"0123456789");
        assert_eq!(buffer.bytes(), b"0123456789");
        let capacity = IoBuf::capacity(&buffer);
        let buffer = read_into(buffer, b"abc");
        assert_eq!(
            (buffer.bytes(), IoBuf::capacity(&buffer)),
            (&b"abc"[..], capacity)
        );
        let buffer = read_into(buffer, b"");
        assert!(buffer.is_empty());
    }

    #[test]
    fn p6_a_buffer_without_room_is_none_to_free() {
        let raw = Buffer::new().into_raw();
        assert_eq!((raw.filled, raw.capacity), (0, 0));
        // SAFETY: the parts are fresh and used once.
        let mut back = unsafe { Buffer::from_raw(raw) };
        assert_eq!((back.fill(b"x"), back.len()), (0, 0));
        back.push(1); // it still grows as a vector
        assert_eq!(back.bytes(), [1]);
        let back = read_into(Buffer::from(Box::<[u8]>::default()), b"x");
        assert!(back.is_empty());
    }

    #[test]
    fn p6_fill_never_grows() {
        let mut buffer = Buffer::from(Vec::with_capacity(4).into_boxed_slice());
        assert_eq!(buffer.fill(b"hello"), 0, "an empty box has no room");
        buffer = Buffer::from(b"four".to_vec().into_boxed_slice());
        let capacity = IoBuf::capacity(&buffer);
        assert_eq!(buffer.fill(b"hello, world"), capacity.min(12));
        assert_eq!(IoBuf::capacity(&buffer), capacity);
        assert_eq!(buffer.fill(b"hi"), 2);
        assert_eq!(buffer, Buffer::from("hi"));
        assert_eq!(Buffer::from(b"hi"), Buffer::from(String::from("hi")));
    }
}
