//! Registered descriptors and registered buffers.
//!
//! **Invariants.** *INV-REGISTER-1*: bit n of `taken` says that slot n was handed out and not emptied, bit n of `closing`
//! that an operation is under way that empties it, and will take the first bit away: until then nobody else does. *INV-REGISTER-2*:
//! buffers below `count` are owned here and registered; a use is counted from the submission to the last completion, and
//! their memory is lent to nobody else, nor given back, while there is one.
//!
//! **Why this shape.** Both are tables of the kernel's with an index of ours; neither is on a path that hurries.

use core::mem::MaybeUninit;

use linux_raw_sys::io_uring as linux;

use super::region::Region;
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::proactor::buffer::{IoBuf, RawBuf};
use crate::proactor::operation::{FixedBuffer, FixedFile, VECTORS_MAX, Vectors};
use crate::sys::ring::{IoVec, ResourceRegister, ResourceUpdate};
use crate::sys::{AsRawFd, BorrowedFd, Fd, Kernel, RawFd};

/// The most registered descriptors.
const FILES_MAX: u32 = 4096;
const WORDS: usize = FILES_MAX as usize / 64;

fn refused(errno: Errno) -> Error {
    Error::from_call(Call::IoUringRegister, errno)
}

fn is_set(bits: &[u64; WORDS], slot: u32) -> bool {
    let word = bits.get(slot as usize / 64);
    word.is_some_and(|word| word >> (slot % 64) & 1 != 0)
}

/// The registered descriptors.
#[derive(Debug)]
pub(super) struct Files {
    count: u32,
    /// INV-REGISTER-1.
    taken: [u64; WORDS],
    /// INV-REGISTER-1.
    closing: [u64; WORDS],
}

impl Files {
    pub(super) const NONE: Self = Self {
        count: 0,
        taken: [0; WORDS],
        closing: [0; WORDS],
    };

    /// Whether a slot is taken.
    pub(super) fn is_taken(&self, slot: u32) -> bool {
        is_set(&self.taken, slot)
    }

    /// An operation that empties a slot begins.
    pub(super) fn begin_close(&mut self, slot: u32) {
        if let Some(word) = self.closing.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// It is over, whatever came of it.
    pub(super) fn end_close(&mut self, slot: u32) {
        if let Some(word) = self.closing.get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    /// A slot was emptied by an operation.
    pub(super) fn emptied(&mut self, slot: u32) {
        if let Some(word) = self.taken.get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    /// See [`Backend::register_files`](super::Backend::register_files).
    pub(super) fn register<K: Kernel>(
        &mut self,
        kernel: &K,
        ring: BorrowedFd<'_>,
        count: u32,
    ) -> Result<(), Error> {
        if self.count > 0 {
            return Err(Error::Invalid("descriptors are registered already"));
        }
        if count == 0 || count > FILES_MAX {
            return Err(Error::Invalid("1 to 4,096 descriptors can be registered"));
        }
        let mut argument = ResourceRegister {
            count,
            flags: linux::IORING_RSRC_REGISTER_SPARSE,
            reserved: 0,
            data: core::ptr::null(),
            tags: core::ptr::null(),
        };
        // SAFETY: the argument lives until the call returns, and its size is what is said.
        let sparse = unsafe {
            kernel.io_uring_register(
                ring,
                linux::io_uring_register_op::IORING_REGISTER_FILES2 as u32,
                (&raw mut argument).cast(),
                size_of::<ResourceRegister>() as u32,
            )
        };
        match sparse {
            Ok(_) => {}
            // Before Linux 5.19: a table of nothing, as long as it is to be.
            Err(Errno::EINVAL) => Self::register_empty(kernel, ring, count)?,
            Err(errno) => return Err(refused(errno)),
        }
        self.count = count;
        Ok(())
    }

    fn register_empty<K: Kernel>(
        kernel: &K,
        ring: BorrowedFd<'_>,
        count: u32,
    ) -> Result<(), Error> {
        let region = Region::anonymous(kernel, count as usize * size_of::<RawFd>())
            .map_err(|errno| Error::from_call(Call::Mmap, errno))?;
        let numbers = region.start().cast::<RawFd>();
        for nth in 0..count as usize {
            // SAFETY: inside the fresh mapping.
            unsafe { numbers.add(nth).write(super::NO_FD) };
        }
        // SAFETY: `count` numbers, which live until the call returns.
        unsafe {
            kernel.io_uring_register(
                ring,
                linux::io_uring_register_op::IORING_REGISTER_FILES as u32,
                numbers.as_ptr().cast(),
                count,
            )
        }
        .map(drop)
        .map_err(refused)
    }

    fn update<K: Kernel>(
        kernel: &K,
        ring: BorrowedFd<'_>,
        slot: u32,
        number: RawFd,
    ) -> Result<(), Error> {
        let mut argument = ResourceUpdate {
            offset: slot,
            reserved: 0,
            data: (&raw const number).cast(),
        };
        // SAFETY: the argument and the one number live until the call returns.
        unsafe {
            kernel.io_uring_register(
                ring,
                linux::io_uring_register_op::IORING_REGISTER_FILES_UPDATE as u32,
                (&raw mut argument).cast(),
                1,
            )
        }
        .map(drop)
        .map_err(refused)
    }

    /// The slot that is filled next.
    pub(super) fn next(&self) -> Option<FixedFile> {
        let vacant = (0..self.count).find(|&slot| !self.is_taken(slot));
        vacant.map(FixedFile)
    }

    /// See [`Backend::install`](super::Backend::install).
    pub(super) fn install<K: Kernel>(
        &mut self,
        kernel: &K,
        ring: BorrowedFd<'_>,
        fd: &Fd<K>,
    ) -> Result<FixedFile, Error> {
        let Some(FixedFile(slot)) = self.next() else {
            return Err(Error::Full {
                capacity: self.count as usize,
            });
        };
        Self::update(kernel, ring, slot, fd.as_raw_fd())?;
        if let Some(word) = self.taken.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
        Ok(FixedFile(slot))
    }

    /// See [`Backend::uninstall`](super::Backend::uninstall).
    pub(super) fn uninstall<K: Kernel>(
        &mut self,
        kernel: &K,
        ring: BorrowedFd<'_>,
        slot: FixedFile,
    ) -> Result<(), Error> {
        if !self.is_taken(slot.index()) {
            return Err(Error::Stale);
        }
        if is_set(&self.closing, slot.index()) {
            return Err(Error::Busy);
        }
        Self::update(kernel, ring, slot.index(), super::NO_FD)?;
        self.emptied(slot.index());
        Ok(())
    }
}

/// The registered buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    count: usize,
    raw: [MaybeUninit<RawBuf>; VECTORS_MAX],
    uses: [u32; VECTORS_MAX],
}

impl Buffers {
    pub(super) const NONE: Self = Self {
        count: 0,
        raw: [const { MaybeUninit::uninit() }; VECTORS_MAX],
        uses: [0; VECTORS_MAX],
    };

    /// The parts of a buffer, if it is registered.
    #[inline]
    pub(super) fn get(&self, buffer: FixedBuffer) -> Option<RawBuf> {
        let index = usize::from(buffer.index());
        let raw = self.raw.get(index).filter(|_| index < self.count)?;
        // SAFETY: INV-REGISTER-2: those below `count` were written.
        Some(unsafe { raw.assume_init() })
    }

    pub(super) fn begin_use(&mut self, buffer: FixedBuffer) {
        if let Some(uses) = self.uses.get_mut(usize::from(buffer.index())) {
            *uses += 1;
        }
    }

    pub(super) fn end_use(&mut self, buffer: FixedBuffer) {
        if let Some(uses) = self.uses.get_mut(usize::from(buffer.index())) {
            *uses = uses.saturating_sub(1);
        }
    }

    /// See [`Backend::fixed`](super::Backend::fixed). `None` also while an operation uses it.
    pub(super) fn content(&mut self, buffer: FixedBuffer) -> Option<&mut [u8]> {
        let raw = self.get(buffer)?;
        if self
            .uses
            .get(usize::from(buffer.index()))
            .is_none_or(|&uses| uses > 0)
        {
            return None;
        }
        // SAFETY: INV-REGISTER-2: owned here, in use by nobody; all of it was initialised when it was registered.
        Some(unsafe { core::slice::from_raw_parts_mut(raw.start.as_ptr(), raw.capacity) })
    }

    /// See [`Backend::register_buffers`](super::Backend::register_buffers). They count as filled up to their capacity: what
    /// was not is zeroes now.
    #[allow(
        clippy::type_complexity,
        reason = "the error and what was refused, as everywhere"
    )]
    pub(super) fn register<Buf: IoBuf, K: Kernel>(
        &mut self,
        kernel: &K,
        ring: BorrowedFd<'_>,
        buffers: Vectors<Buf>,
    ) -> Result<(), (Error, Vectors<Buf>)> {
        if self.count > 0 {
            return Err((Error::Invalid("buffers are registered already"), buffers));
        }
        if buffers.is_empty() || buffers.iter().any(|buffer| buffer.capacity() == 0) {
            return Err((Error::Invalid("a registered buffer has a size"), buffers));
        }
        let mut vectors = [IoVec {
            start: core::ptr::null_mut(),
            length: 0,
        }; VECTORS_MAX];
        let count = buffers.len();
        let (mut buffers, places) = (buffers, vectors.iter_mut().zip(&mut self.raw));
        // From the last to the first.
        for (vector, place) in places.take(count).rev() {
            let Some(buffer) = buffers.pop() else { break };
            let mut raw = buffer.into_raw();
            // SAFETY: INV-BUF-1: ours, writable up to its capacity.
            unsafe {
                let rest = raw.start.as_ptr().add(raw.filled);
                rest.write_bytes(0, raw.capacity - raw.filled);
            }
            raw.filled = raw.capacity;
            *vector = IoVec {
                start: raw.start.as_ptr(),
                length: raw.capacity,
            };
            *place = MaybeUninit::new(raw);
        }
        self.count = count;
        self.uses = [0; VECTORS_MAX];
        // SAFETY: `count` vectors, which live until the call returns; their memory is ours until it is unregistered.
        let registered = unsafe {
            kernel.io_uring_register(
                ring,
                linux::io_uring_register_op::IORING_REGISTER_BUFFERS as u32,
                vectors.as_mut_ptr().cast(),
                count as u32,
            )
        };
        match registered {
            Ok(_) => Ok(()),
            Err(errno) => Err((refused(errno), self.rebuild())),
        }
    }

    /// See [`Backend::unregister_buffers`](super::Backend::unregister_buffers).
    pub(super) fn unregister<Buf: IoBuf, K: Kernel>(
        &mut self,
        kernel: &K,
        ring: BorrowedFd<'_>,
    ) -> Result<Vectors<Buf>, Error> {
        if self.count == 0 {
            return Ok(Vectors::new());
        }
        if self.uses.iter().any(|&uses| uses > 0) {
            return Err(Error::Busy);
        }
        // SAFETY: no argument.
        unsafe {
            kernel.io_uring_register(
                ring,
                linux::io_uring_register_op::IORING_UNREGISTER_BUFFERS as u32,
                core::ptr::null_mut(),
                0,
            )
        }
        .map_err(refused)?;
        Ok(self.rebuild())
    }

    /// Puts the buffers together again. The kernel has let go of them, and they were made from `Buf`s.
    fn rebuild<Buf: IoBuf>(&mut self) -> Vectors<Buf> {
        let count = core::mem::take(&mut self.count);
        let parts = self.raw.iter().take(count);
        // SAFETY: INV-REGISTER-2: those below `count` were written, from buffers of this ring's one type, and are used once:
        // the count is zero now.
        let whole = parts.map(|raw| unsafe { Buf::from_raw(raw.assume_init()) });
        whole.collect()
    }

    /// Gives the buffers up for good.
    pub(super) fn leak(&mut self) -> usize {
        core::mem::take(&mut self.count)
    }
}
