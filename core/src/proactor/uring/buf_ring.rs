//! Provided buffers: groups of them, and leases (P-16).
//!
//! **What.** A group is one mapping: the ring that the kernel takes buffers from (`io_uring_register_buf_ring(3)`, Linux
//! 5.19), the buffers, a mark for each that is out, and a header. A [`Lease`] is a buffer that came with a completion;
//! dropping it puts it back.
//!
//! **Invariants.** *INV-GROUP-1*: a buffer is in the ring, or under way, or leased; its mark is set exactly while it is
//! leased, and there is one lease of it then. *INV-GROUP-2*: the mapping lives until the group is closed *and* no lease is
//! out; a group that a kernel may still use is never unmapped. *INV-GROUP-3*: everything in the header is touched on the
//! loop's thread only, as neither ring nor lease leaves it.
//!
//! **Why this shape.** A lease may outlive its loop: what it needs to go home, or to end the group, lies with the buffers.

use core::cell::Cell;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};

use linux_raw_sys::io_uring as linux;

use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::proactor::operation::{Code, Group};
use crate::sys::ring::{BufferGroup, ProvidedBuffer};
use crate::sys::{BorrowedFd, Kernel};

/// The most groups of a ring.
const GROUPS_MAX: usize = 16;
/// What the kernel calls the first group. Linux 6.1 keeps groups with lower ids when they are unregistered, and how far it
/// had come in their rings with them: the next group of that id then lacks buffers.
const FIRST_ID: u16 = 64;

/// What the kernel calls a group.
pub(super) const fn kernel_id(group: Group) -> u16 {
    FIRST_ID + group.id() % GROUPS_MAX as u16
}

/// The most buffers of a group: what the kernel takes.
const BUFFERS_MAX: u16 = 32_768;
/// Where the tail lies in the ring: in the last two bytes of the first entry.
const TAIL_OFFSET: usize = core::mem::offset_of!(ProvidedBuffer, tail);
/// The smallest page there is.
const PAGE_SIZE_MIN: usize = 4096;
/// Buffers start at multiples of this.
const BUFFER_ALIGN: usize = 64;

/// What a group and its leases share. The kernel does not touch it.
struct Header<K: Kernel> {
    /// The mapping, which starts with the ring.
    start: NonNull<u8>,
    length: usize,
    buffers: NonNull<u8>,
    /// A byte for each buffer: INV-GROUP-1.
    marks: NonNull<Cell<bool>>,
    size: u32,
    count: u16,
    tail: Cell<u16>,
    leased: Cell<u32>,
    closed: Cell<bool>,
    /// Operations in flight that use the group.
    uses: Cell<u32>,
    kernel: K,
}

impl<K: Kernel> Header<K> {
    fn buffer(&self, id: u16) -> NonNull<u8> {
        let offset = usize::from(id) * self.stride();
        // SAFETY: `id` is below `count`: inside the mapping.
        unsafe { self.buffers.add(offset) }
    }

    fn stride(&self) -> usize {
        stride(self.size)
    }

    fn mark(&self, id: u16) -> &Cell<bool> {
        // SAFETY: `id` is below `count`; the marks are the program's (INV-GROUP-3), and zero is false.
        unsafe { self.marks.add(usize::from(id)).as_ref() }
    }

    /// Puts a buffer into the ring.
    fn give(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (self.count - 1));
        // SAFETY: inside the mapping, which starts with `count` entries. The kernel does not read an entry before the tail
        // says so. Its last two bytes are not written: in the first entry they are the tail.
        unsafe {
            let entry = self.start.cast::<ProvidedBuffer>().add(index).as_ptr();
            (&raw mut (*entry).start).write(self.buffer(id).as_ptr());
            (&raw mut (*entry).length).write(self.size);
            (&raw mut (*entry).id).write(id);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: inside the first entry, aligned.
        let shared = unsafe { self.start.add(TAIL_OFFSET).cast::<AtomicU16>().as_ref() };
        shared.store(tail, Ordering::Release);
    }
}

const fn stride(size: u32) -> usize {
    (size as usize).next_multiple_of(BUFFER_ALIGN)
}

/// Unmaps a group: INV-GROUP-2.
///
/// # Safety
/// It is closed, and no lease is out.
unsafe fn release<K: Kernel>(header: NonNull<Header<K>>) {
    // SAFETY: the caller is the last; the header is moved out before its memory goes.
    unsafe {
        let header = header.read();
        header.kernel.unmap(header.start, header.length);
    }
}

/// The groups of a ring.
pub(super) struct Groups<K: Kernel> {
    groups: [Option<NonNull<Header<K>>>; GROUPS_MAX],
}

impl<K: Kernel> Groups<K> {
    pub(super) const NONE: Self = Self {
        groups: [const { None }; GROUPS_MAX],
    };

    #[inline]
    fn header(&self, group: Group) -> Option<&Header<K>> {
        let header = (*self.groups.get(usize::from(group.id()))?)?;
        // SAFETY: INV-GROUP-2: a group in the table is not closed. INV-GROUP-3: shared references, cells.
        Some(unsafe { header.as_ref() })
    }

    /// Whether there is such a group.
    #[inline(always)]
    pub(super) fn has(&self, group: Group) -> bool {
        self.header(group).is_some()
    }

    pub(super) fn begin_use(&mut self, group: Group) {
        if let Some(header) = self.header(group) {
            header.uses.set(header.uses.get() + 1);
        }
    }

    pub(super) fn end_use(&mut self, group: Group) {
        if let Some(header) = self.header(group) {
            header.uses.set(header.uses.get().saturating_sub(1));
        }
    }

    /// See [`Backend::provide`](super::Backend::provide).
    pub(super) fn provide(
        &mut self,
        kernel: &K,
        ring: BorrowedFd<'_>,
        count: u16,
        size: u32,
    ) -> Result<Group, Error> {
        if !count.is_power_of_two() || count > BUFFERS_MAX || size == 0 || size > i32::MAX as u32 {
            return Err(Error::Invalid(
                "a group has 1 to 32,768 buffers, a power of two, of at least a byte",
            ));
        }
        let Some(id) = self.groups.iter().position(Option::is_none) else {
            return Err(Error::Full {
                capacity: GROUPS_MAX,
            });
        };
        let too_large = Error::Invalid("the group does not fit into memory");
        let entries = usize::from(count) * size_of::<ProvidedBuffer>();
        let buffers = entries.next_multiple_of(BUFFER_ALIGN);
        let buffers_length = usize::from(count)
            .checked_mul(stride(size))
            .ok_or(too_large)?;
        let marks = buffers.checked_add(buffers_length).ok_or(too_large)?;
        let header_at = (marks + usize::from(count)).next_multiple_of(align_of::<Header<K>>());
        let length = header_at + size_of::<Header<K>>();
        // A mapping starts on a page: what else a kernel of the program's holds must not ask for more.
        const { assert!(align_of::<Header<K>>() <= PAGE_SIZE_MIN) };
        let start = kernel
            .map_anonymous(length)
            .map_err(|errno| Error::from_call(Call::Mmap, errno))?;
        // SAFETY: all of it inside the fresh mapping, aligned; zeroes are marks that are not set.
        let header = unsafe {
            let header = start.add(header_at).cast::<Header<K>>();
            header.write(Header {
                start,
                length,
                buffers: start.add(buffers),
                marks: start.add(marks).cast(),
                size,
                count,
                tail: Cell::new(0),
                leased: Cell::new(0),
                closed: Cell::new(false),
                uses: Cell::new(0),
                kernel: kernel.clone(),
            });
            header
        };
        let mut argument = BufferGroup {
            ring: start.as_ptr(),
            entries: u32::from(count),
            id: kernel_id(Group::new(id as u16)),
            flags: 0,
            reserved: [0; 3],
        };
        // SAFETY: one argument, which lives until the call returns; the ring starts on a page, has `count` entries, and
        // stays until it is unregistered (INV-GROUP-2).
        let registered = unsafe {
            kernel.io_uring_register(
                ring,
                linux::io_uring_register_op::IORING_REGISTER_PBUF_RING as u32,
                (&raw mut argument).cast(),
                1,
            )
        };
        if let Err(errno) = registered {
            // SAFETY: never registered, never leased.
            unsafe { release(header) };
            return Err(match errno {
                Errno::EINVAL => Error::UnsupportedOperation {
                    code: Code::RecvMulti,
                },
                errno => Error::from_call(Call::IoUringRegister, errno),
            });
        }
        // SAFETY: it was written above.
        let shared = unsafe { header.as_ref() };
        for buffer in 0..count {
            shared.give(buffer);
        }
        self.groups[id] = Some(header);
        Ok(Group::new(id as u16))
    }

    /// See [`Backend::withdraw`](super::Backend::withdraw).
    pub(super) fn withdraw(
        &mut self,
        kernel: &K,
        ring: BorrowedFd<'_>,
        group: Group,
    ) -> Result<(), Error> {
        let Some(header) = self.header(group) else {
            return Err(Error::Stale);
        };
        if header.uses.get() > 0 {
            return Err(Error::Busy);
        }
        let mut argument = BufferGroup {
            ring: core::ptr::null_mut(),
            entries: 0,
            id: kernel_id(group),
            flags: 0,
            reserved: [0; 3],
        };
        // SAFETY: one argument, which lives until the call returns.
        unsafe {
            kernel.io_uring_register(
                ring,
                linux::io_uring_register_op::IORING_UNREGISTER_PBUF_RING as u32,
                (&raw mut argument).cast(),
                1,
            )
        }
        .map_err(|errno| Error::from_call(Call::IoUringRegister, errno))?;
        if let Some(header) = self.groups[usize::from(group.id())].take() {
            // SAFETY: INV-GROUP-2: it was in the table, and the kernel has let go of it.
            let shared = unsafe { header.as_ref() };
            shared.closed.set(true);
            if shared.leased.get() == 0 {
                // SAFETY: closed, and no lease is out.
                unsafe { release(header) };
            }
        }
        Ok(())
    }

    /// The lease of the buffer `id`, of which `length` bytes count; `None` if the kernel can't have it to give.
    pub(super) fn lease(&mut self, group: Group, id: u16, length: u32) -> Option<Lease<K>> {
        let header = (*self.groups.get(usize::from(group.id()))?)?;
        // SAFETY: as in `header`.
        let shared = unsafe { header.as_ref() };
        if id >= shared.count || shared.mark(id).replace(true) {
            return None; // INV-GROUP-1
        }
        shared.leased.set(shared.leased.get() + 1);
        Some(Lease {
            header,
            id,
            length: length.min(shared.size),
        })
    }

    /// Forgets every group, and leaves its memory where it is.
    pub(super) fn forget(&mut self) {
        self.groups = [const { None }; GROUPS_MAX];
    }

    /// Ends every group, when the ring ends: unregisters and unmaps, or with `leak` leaves everything where it is.
    pub(super) fn end(&mut self, kernel: &K, ring: BorrowedFd<'_>, leak: bool) {
        for id in 0..GROUPS_MAX {
            let group = Group::new(id as u16);
            if leak || self.withdraw(kernel, ring, group).is_err() {
                // Not closed, so that no lease ever unmaps it.
                self.groups[id] = None;
            }
        }
    }
}

impl<K: Kernel> fmt::Debug for Groups<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.groups.iter().flatten().count();
        write!(f, "{count} groups")
    }
}

/// A provided buffer with what was received in it. Dropping it gives it back, also when its loop is gone (P-16).
///
/// It can't be copied and does not leave the loop's thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<linux_event_core::proactor::Lease>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<linux_event_core::proactor::Lease>();
/// ```
pub struct Lease<K: Kernel = crate::sys::Linux> {
    header: NonNull<Header<K>>,
    id: u16,
    length: u32,
}

impl<K: Kernel> Lease<K> {
    fn shared(&self) -> &Header<K> {
        // SAFETY: INV-GROUP-2: the mapping lives while a lease is out.
        unsafe { self.header.as_ref() }
    }
}

impl<K: Kernel> Deref for Lease<K> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.shared().buffer(self.id);
        // SAFETY: INV-GROUP-1: the buffer is this lease's alone; its memory was zeroes at first, and `length` is at most its
        // size.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), self.length as usize) }
    }
}

impl<K: Kernel> Drop for Lease<K> {
    fn drop(&mut self) {
        let shared = self.shared();
        shared.mark(self.id).set(false);
        shared.leased.set(shared.leased.get() - 1);
        if !shared.closed.get() {
            // In a forked child this writes to the child's own copy.
            shared.give(self.id);
        } else if shared.leased.get() == 0 {
            // SAFETY: closed, and this was the last lease.
            unsafe { release(self.header) };
        }
    }
}

impl<K: Kernel> fmt::Debug for Lease<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
