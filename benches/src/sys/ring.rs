//! A bare `io_uring`, written by hand: the floor of everything that works by operations.
//!
//! **What.** [`Ring`] is what the workloads ask of a ring: queue an operation, enter the kernel, take completions.
//! [`Bare`] is that and nothing else: two mappings, four indices, and one system call, inlined where it is used.
//! [`Pad`] is memory that a pending operation may write to.
//!
//! **Invariants.** *INV-RING-1*: the mappings, and every pointer into them, live as long as the [`Bare`] that made them,
//! and nobody else has them. *INV-RING-2*: the kernel reads a submission entry only within an enter, and writes a
//! completion entry only between our head and the tail that it publishes; [`Bare`] is one thread's, so no entry is
//! written and read at once. *INV-RING-3*: what an operation points to is `'static`; a pad is written by the kernel alone
//! and read by nobody. *INV-RING-4*: between two enters at most [`ENTRIES`] operations are queued. More would overwrite
//! each other, which loses operations and breaks no memory; a debug build stops.
//!
//! **Why this shape.** Nothing here is what a library could do, and that is the point: no ring that is full, no kernel that
//! lacks a feature, no operation that can be dropped. The flags are those that cost least: `SINGLE_ISSUER` and
//! `DEFER_TASKRUN` let the kernel finish operations inside the enter that waits for them, `NO_SQARRAY` drops an
//! indirection, `SUBMIT_ALL` makes an enter take all that is queued. `COOP_TASKRUN` says nothing more beside
//! `DEFER_TASKRUN`, and `TASKRUN_FLAG` would cost an atomic operation each time that work is put off, for a flag that
//! nobody looks at: every enter here asks for completions.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{cell::UnsafeCell, ptr};

use linux_raw_sys::io_uring as uapi;

use super::{checked, owned};

/// Submission entries of every ring; there are twice as many completion entries.
pub(crate) const ENTRIES: u32 = 256;
const COMPLETIONS: u32 = 2 * ENTRIES;

/// How a ring is made; peers ask for the same.
const FLAGS: u32 = uapi::IORING_SETUP_SINGLE_ISSUER
    | uapi::IORING_SETUP_DEFER_TASKRUN
    | uapi::IORING_SETUP_NO_SQARRAY
    | uapi::IORING_SETUP_SUBMIT_ALL;

/// An operation that is over: the key it was queued with, and what the kernel says of it, a count or a negative number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Completion {
    pub(crate) key: u64,
    pub(crate) result: i32,
}

/// A buffer that belongs to a pending operation, on a cache line of its own. Nobody looks at what is in it.
#[repr(align(64))]
pub(crate) struct Pad(UnsafeCell<[u8; Self::BYTES]>);

impl Pad {
    pub(crate) const BYTES: usize = 64;

    /// `count` pads that live as long as the process (INV-RING-3).
    pub(crate) fn leaked(count: usize) -> &'static [Pad] {
        let pad = || Self(UnsafeCell::new([0; Self::BYTES]));
        Box::leak((0..count).map(|_| pad()).collect())
    }

    #[inline(always)]
    pub(super) fn start(&self) -> *mut u8 {
        self.0.get().cast()
    }
}

/// Queues operations, enters the kernel, and takes completions. The workloads are written once, over this.
pub(crate) trait Ring: Sized + 'static {
    fn new() -> io::Result<Self>;

    fn nop(&mut self, key: u64);

    /// Receives at most `length` bytes into `pad`.
    fn recv(&mut self, fd: BorrowedFd<'static>, pad: &'static Pad, length: usize, key: u64);

    fn send(&mut self, fd: BorrowedFd<'static>, bytes: &'static [u8], key: u64);

    /// Ends the pending operation whose key is `target`; has a completion of its own.
    fn cancel(&mut self, target: u64, key: u64);

    /// Submits what is queued, in one system call, and waits until there are at least `wanted` completions.
    fn enter(&mut self, wanted: u32) -> io::Result<()>;

    /// The next completion that the last enter found.
    fn next(&mut self) -> Option<Completion>;
}

/// What the kernel reads; fields that share a place are called what they are used for here.
#[repr(C)]
#[derive(Default)]
struct Submission {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    operation_flags: u32,
    user_data: u64,
    buffer: u16,
    personality: u16,
    file_index: u32,
    more: [u64; 2],
}

const _: () = assert!(size_of::<Submission>() == size_of::<uapi::io_uring_sqe>());

/// What the kernel writes.
#[repr(C)]
struct Completed {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// A shared mapping of a ring's descriptor.
struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    fn new(ring: &OwnedFd, offset: u32, length: usize) -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
        );
        let (fd, offset) = (ring.as_raw_fd(), offset.into());
        // SAFETY: INV-BENCH-2; a new mapping, where the kernel wants it.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast();
        Ok(Self { start, length })
    }

    /// Where `offset` is, for a `T`.
    fn at<T>(&self, offset: u32) -> *mut T {
        assert!(offset as usize + size_of::<T>() <= self.length);
        // SAFETY: INV-RING-1, and the offset is within the mapping.
        unsafe { self.start.add(offset as usize).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: INV-RING-1: mapped in `new` with this length, and who had pointers into it goes with it.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// The hand-written ring. With `POLL_FIRST`, its receives say that nothing is there yet, which saves the kernel the look
/// before it waits: true of a receive that is queued as soon as the last one is over, and slower where it is not true.
pub(crate) struct Bare<const POLL_FIRST: bool = false> {
    /// Where the next operation goes, and the next completion comes from. The kernel sees both at the next enter.
    submit_tail: u32,
    complete_head: u32,
    /// Up to where there are completions.
    complete_tail: u32,
    /// The index by which this thread may name the ring.
    registered: u32,
    submissions: *mut Submission,
    completions: *const Completed,
    shared_submit_tail: *const AtomicU32,
    shared_complete_head: *const AtomicU32,
    shared_complete_tail: *const AtomicU32,
    fd: OwnedFd,
    _rings: Mapping,
    _entries: Mapping,
}

impl<const POLL_FIRST: bool> Bare<POLL_FIRST> {
    /// What the kernel has not been told of.
    #[inline(always)]
    fn queued(&self) -> u32 {
        // SAFETY: INV-RING-1.
        let told = unsafe { (*self.shared_submit_tail).load(Ordering::Relaxed) };
        self.submit_tail.wrapping_sub(told)
    }

    #[inline(always)]
    fn push(&mut self, submission: Submission) {
        debug_assert!(self.queued() < ENTRIES, "INV-RING-4: no room for one more");
        let index = self.submit_tail & (ENTRIES - 1);
        // SAFETY: INV-RING-1, INV-RING-2; the index is within the ENTRIES that are mapped.
        unsafe { self.submissions.add(index as usize).write(submission) };
        self.submit_tail = self.submit_tail.wrapping_add(1);
    }
}

impl<const POLL_FIRST: bool> Ring for Bare<POLL_FIRST> {
    fn new() -> io::Result<Self> {
        // SAFETY: zeroes are a value of this structure of numbers.
        let mut params: uapi::io_uring_params = unsafe { std::mem::zeroed() };
        params.flags = FLAGS;
        let (number, params_at) = (libc::SYS_io_uring_setup as usize, &raw mut params as usize);
        // SAFETY: INV-BENCH-1: the kernel reads and writes `params`.
        let fd = unsafe { sc::syscall2(number, ENTRIES as usize, params_at) } as isize;
        let fd = owned(checked(fd).map_err(explain)? as i32)?;
        assert_eq!(
            (params.sq_entries, params.cq_entries),
            (ENTRIES, COMPLETIONS)
        );
        let completions = params.cq_off.cqes as usize;
        let rings = completions + COMPLETIONS as usize * size_of::<Completed>();
        // One mapping for both since Linux 5.4, and what the flags ask for is newer.
        let rings = Mapping::new(&fd, uapi::IORING_OFF_SQ_RING, rings)?;
        let entries = ENTRIES as usize * size_of::<Submission>();
        let entries = Mapping::new(&fd, uapi::IORING_OFF_SQES, entries)?;
        let (submit, complete) = (&params.sq_off, &params.cq_off);
        Ok(Self {
            submit_tail: 0,
            complete_head: 0,
            complete_tail: 0,
            registered: register(&fd)?,
            submissions: entries.at(0),
            completions: rings.at(complete.cqes),
            shared_submit_tail: rings.at(submit.tail),
            shared_complete_head: rings.at(complete.head),
            shared_complete_tail: rings.at(complete.tail),
            fd,
            _rings: rings,
            _entries: entries,
        })
    }

    #[inline(always)]
    fn nop(&mut self, key: u64) {
        self.push(Submission {
            opcode: uapi::io_uring_op::IORING_OP_NOP as u8,
            fd: -1,
            user_data: key,
            ..Submission::default()
        });
    }

    #[inline(always)]
    fn recv(&mut self, fd: BorrowedFd<'static>, pad: &'static Pad, length: usize, key: u64) {
        assert!(length <= Pad::BYTES);
        self.push(Submission {
            opcode: uapi::io_uring_op::IORING_OP_RECV as u8,
            priority: if POLL_FIRST {
                uapi::IORING_RECVSEND_POLL_FIRST as u16
            } else {
                0
            },
            fd: fd.as_raw_fd(),
            address: pad.start() as u64,
            length: length as u32,
            user_data: key,
            ..Submission::default()
        });
    }

    #[inline(always)]
    fn send(&mut self, fd: BorrowedFd<'static>, bytes: &'static [u8], key: u64) {
        self.push(Submission {
            opcode: uapi::io_uring_op::IORING_OP_SEND as u8,
            fd: fd.as_raw_fd(),
            address: bytes.as_ptr() as u64,
            length: bytes.len() as u32,
            operation_flags: libc::MSG_NOSIGNAL as u32,
            user_data: key,
            ..Submission::default()
        });
    }

    #[inline(always)]
    fn cancel(&mut self, target: u64, key: u64) {
        self.push(Submission {
            opcode: uapi::io_uring_op::IORING_OP_ASYNC_CANCEL as u8,
            fd: -1,
            address: target,
            user_data: key,
            ..Submission::default()
        });
    }

    #[inline(always)]
    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        let queued = self.queued();
        let flags = uapi::IORING_ENTER_GETEVENTS | uapi::IORING_ENTER_REGISTERED_RING;
        // SAFETY: INV-RING-1, INV-RING-2: the entries up to the tail are written, and those up to the head are read.
        // INV-RING-3 for what they point to.
        let submitted = unsafe {
            (*self.shared_submit_tail).store(self.submit_tail, Ordering::Release);
            (*self.shared_complete_head).store(self.complete_head, Ordering::Release);
            let submitted = sc::syscall6(
                libc::SYS_io_uring_enter as usize,
                self.registered as usize,
                queued as usize,
                wanted as usize,
                flags as usize,
                0,
                0,
            );
            self.complete_tail = (*self.shared_complete_tail).load(Ordering::Acquire);
            submitted as isize
        };
        if submitted == queued as isize {
            Ok(())
        } else {
            Err(not_submitted(submitted))
        }
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Completion> {
        if self.complete_head == self.complete_tail {
            return None;
        }
        let index = self.complete_head & (COMPLETIONS - 1);
        // SAFETY: INV-RING-1, INV-RING-2: this entry is between our head and the tail.
        let completed = unsafe { &*self.completions.add(index as usize) };
        let (key, result) = (completed.user_data, completed.result);
        self.complete_head = self.complete_head.wrapping_add(1);
        Some(Completion { key, result })
    }
}

impl<const POLL_FIRST: bool> Drop for Bare<POLL_FIRST> {
    fn drop(&mut self) {
        let mut update = update(self.registered, 0);
        // What is registered keeps the ring open. From another thread this fails, and the ring stays until this one ends.
        let _ = call_register(&self.fd, UNREGISTER, &mut update);
    }
}

const REGISTER: u32 = uapi::io_uring_register_op::IORING_REGISTER_RING_FDS as u32;
const UNREGISTER: u32 = uapi::io_uring_register_op::IORING_UNREGISTER_RING_FDS as u32;

fn update(offset: u32, data: u64) -> uapi::io_uring_rsrc_update {
    uapi::io_uring_rsrc_update {
        offset,
        resv: 0,
        data,
    }
}

/// Gives the ring an index, by which the calling thread names it more cheaply than by its descriptor.
fn register(ring: &OwnedFd) -> io::Result<u32> {
    let mut update = update(u32::MAX, ring.as_raw_fd() as u64);
    call_register(ring, REGISTER, &mut update).map_err(too_many)?;
    Ok(update.offset)
}

fn call_register(
    ring: &OwnedFd,
    what: u32,
    update: &mut uapi::io_uring_rsrc_update,
) -> io::Result<()> {
    let (number, fd) = (
        libc::SYS_io_uring_register as usize,
        ring.as_raw_fd() as usize,
    );
    // SAFETY: INV-BENCH-1, INV-BENCH-2: the kernel reads and writes one `update`.
    let done = unsafe { sc::syscall4(number, fd, what as usize, &raw mut *update as usize, 1) };
    checked(done as isize).map(drop)
}

#[cold]
#[inline(never)]
pub(super) fn not_submitted(submitted: isize) -> io::Error {
    checked(submitted).err().unwrap_or_else(|| {
        io::Error::other(format!(
            "the kernel took {submitted} operations and not all that were queued"
        ))
    })
}

/// What a refusal to make a ring means. One that no program can help is [`ErrorKind::Unsupported`].
pub(super) fn explain(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EINVAL) => {
            "this io_uring does not know a flag that is asked for: Linux 6.6 has all"
        }
        Some(libc::ENOSYS | libc::EPERM) => {
            "there is no io_uring for this program (see kernel.io_uring_disabled, and seccomp)"
        }
        _ => return error,
    };
    io::Error::new(ErrorKind::Unsupported, format!("{why}: {error}"))
}

/// What a refusal to register a ring means.
pub(super) fn too_many(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::EBUSY) {
        return io::Error::other("a thread can register 16 rings; choose fewer systems or sizes");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::super::crate_ring::CrateRing;
    use super::super::leaked_pair;
    use super::*;

    /// A ring, or none where no program can have one.
    fn ring<R: Ring>() -> Option<R> {
        match R::new() {
            Err(why) if why.kind() == ErrorKind::Unsupported => {
                eprintln!("left out: {why}");
                None
            }
            made => Some(made.unwrap()),
        }
    }

    fn all<R: Ring>(ring: &mut R) -> Vec<(u64, i32)> {
        let taken = std::iter::from_fn(|| ring.next());
        taken.map(|it| (it.key, it.result)).collect()
    }

    fn a_full_ring_goes_round<R: Ring>() {
        let Some(mut ring) = ring::<R>() else { return };
        let mut key = 0;
        for queued in [ENTRIES, 1, ENTRIES - 1, 100, ENTRIES, ENTRIES] {
            let keys = key..key + u64::from(queued);
            keys.clone().for_each(|key| ring.nop(key));
            ring.enter(queued).unwrap();
            let nops = keys.map(|key| (key, 0));
            assert_eq!(all(&mut ring), nops.collect::<Vec<_>>());
            key += u64::from(queued);
        }
        ring.enter(0).unwrap();
        assert_eq!(all(&mut ring), []);
    }

    fn operations_end_as_the_kernel_says<R: Ring>() {
        let Some(mut ring) = ring::<R>() else { return };
        let (near, far) = leaked_pair().unwrap();
        let pads = Pad::leaked(2);
        ring.recv(far, &pads[0], 2, 1);
        ring.send(near, b"abc", 2);
        ring.enter(2).unwrap();
        let mut ended = all(&mut ring);
        ended.sort_unstable();
        assert_eq!(ended, [(1, 2), (2, 3)]);
        ring.recv(far, &pads[0], Pad::BYTES, 3);
        ring.recv(near, &pads[1], 1, 4);
        ring.enter(1).unwrap();
        assert_eq!(all(&mut ring), [(3, 1)]);
        ring.cancel(4, 5);
        ring.cancel(77, 6);
        ring.enter(3).unwrap();
        let mut ended = all(&mut ring);
        ended.sort_unstable();
        let expected = [(4, -libc::ECANCELED), (5, 0), (6, -libc::ENOENT)];
        assert_eq!(ended, expected);
    }

    #[test]
    fn every_ring_goes_round_in_order() {
        a_full_ring_goes_round::<Bare>();
        a_full_ring_goes_round::<CrateRing>();
    }

    #[test]
    fn every_ring_receives_sends_and_cancels() {
        operations_end_as_the_kernel_says::<Bare>();
        operations_end_as_the_kernel_says::<Bare<true>>();
        operations_end_as_the_kernel_says::<CrateRing>();
    }

    #[test]
    fn a_thread_can_have_more_rings_one_after_another_than_it_can_register() {
        for _ in 0..40 {
            let Some(mut ring) = ring::<Bare>() else {
                return;
            };
            ring.nop(0);
            ring.enter(1).unwrap();
            assert_eq!(all(&mut ring), [(0, 0)]);
        }
    }

    #[test]
    fn too_many_at_once_is_explained() {
        let mut rings = Vec::new();
        for _ in 0..17 {
            match Bare::<false>::new() {
                Ok(ring) => rings.push(ring),
                Err(why) if why.kind() == ErrorKind::Unsupported => return,
                Err(why) => return assert!(why.to_string().contains("16 rings"), "{why}"),
            }
        }
        panic!("a thread registered {} rings", rings.len());
    }
}
