//! Making a ring: the best that the kernel has, one step down at a time (P-12).
//!
//! **What.** [`set_up`] asks with every flag, drops one after the other while the kernel says EINVAL, asks for less while it
//! says ENOMEM, maps the rings, and checks everything it was told before it becomes a [`Ring`].
//!
//! **Invariants.** INV-RING-1 and INV-RING-2 of `ring` are established here. *INV-SETUP-1*: memory of the program's is
//! given to the kernel only with the sizes that it was made for.
//!
//! **Why this shape.** Versions are not compared: kernels are patched, and sandboxes pretend. What is asked for and refused
//! is what counts.

use core::fmt;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::NonNull;
use core::time::Duration;

use linux_raw_sys::io_uring as linux;

use super::capabilities::{Capabilities, Options, Part};
use super::region::Region;
use super::ring::{Parts, Ring};
use crate::errno::Errno;
use crate::error::{Call, Error};
use crate::place::Zeroed;
use crate::sys::ring::{Cqe, Probe, ResourceUpdate, RingParams, Sqe};
use crate::sys::uapi::EpollEvent;
use crate::sys::{AsRawFd, Fd, Kernel};

/// What the proactor is built on: without these there is none.
const REQUIRED: u32 = linux::IORING_FEAT_SINGLE_MMAP
    | linux::IORING_FEAT_NODROP
    | linux::IORING_FEAT_SUBMIT_STABLE
    | linux::IORING_FEAT_RW_CUR_POS
    | linux::IORING_FEAT_EXT_ARG;

/// The fewest entries that are asked for.
const ENTRIES_MIN: u32 = 8;
/// The most that the kernel gives.
const ENTRIES_MAX: u32 = 32_768;
const CQ_ENTRIES_DEFAULT: u32 = 2048;
/// What is in front of the completions: 64 bytes, in older kernels up to 320.
const HEAD: usize = 320;

/// The part of a ring's memory that both queues are in.
#[repr(C, align(4096))]
struct Rings<const SQ: usize, const CQ: usize> {
    head: [u8; HEAD],
    cqes: [Cqe; CQ],
    array: [u32; SQ],
}

/// The part that the submissions are in.
#[repr(C, align(4096))]
struct Submissions<const SQ: usize>([MaybeUninit<Sqe>; SQ]);

/// Memory for a ring of `SQ` submissions and `CQ` completions, both powers of two: see
/// [`Memory::ring`](super::Memory::ring). With it a program needs no mapping at all.
///
/// ```
/// use linux_event_core::place::Place;
/// use linux_event_core::proactor::{Memory, OperationMemory, Options, RingMemory, Uring};
/// use linux_event_core::sys::Linux;
///
/// static RING: Place<RingMemory<64, 128>> = Place::new(RingMemory::new());
/// static OPERATIONS: Place<OperationMemory<64>> = Place::new(OperationMemory::new());
///
/// let memory = Memory::new()
///     .ring(RING.take().expect("taken once"))
///     .operations(OPERATIONS.take().expect("taken once"));
/// # if let Err(linux_event_core::error::Error::NoRing { .. }) = Uring::<&'static mut [u8]>::with_kernel(Linux) { return Ok(()) }
/// let ring: Uring<&'static mut [u8]> = Uring::with_memory(Linux, Options::default(), memory)?;
/// assert_eq!(ring.capabilities().entries, 64);
/// # Ok::<(), linux_event_core::error::Error>(())
/// ```
///
/// Other sizes do not compile, however the memory came about:
///
/// ```compile_fail,E0080
/// use linux_event_core::proactor::{Memory, RingMemory};
///
/// // SAFETY: zeroes are such memory (`place::Zeroed`).
/// let memory: Box<RingMemory<4097, 8192>> = unsafe { Box::new_zeroed().assume_init() };
/// let memory = Memory::new().ring(Box::leak(memory));
/// # drop(memory);
/// ```
#[repr(C)]
pub struct RingMemory<const SQ: usize, const CQ: usize> {
    rings: Rings<SQ, CQ>,
    submissions: Submissions<SQ>,
}

impl<const SQ: usize, const CQ: usize> RingMemory<SQ, CQ> {
    const FITS: () = assert!(
        SQ.is_power_of_two()
            && CQ.is_power_of_two()
            && SQ <= CQ
            && SQ <= ENTRIES_MAX as usize
            && CQ <= 2 * ENTRIES_MAX as usize,
        "SQ and CQ are powers of two, SQ is at most CQ and 32,768"
    );

    /// Memory of zeroes, for a `static` [`Place`](crate::place::Place).
    pub const fn new() -> Self {
        const { Self::FITS };
        Self {
            rings: Rings {
                head: [0; HEAD],
                cqes: [Cqe {
                    user_data: 0,
                    result: 0,
                    flags: 0,
                }; CQ],
                array: [0; SQ],
            },
            submissions: Submissions([const { MaybeUninit::zeroed() }; SQ]),
        }
    }

    pub(super) fn parts(&'static mut self) -> LentRing {
        // Zeroes of any size are such memory; a ring rounds sizes up, beyond the end of those that are odd (INV-SETUP-1).
        const { Self::FITS };
        LentRing {
            rings: NonNull::from(&mut self.rings).cast(),
            rings_length: size_of::<Rings<SQ, CQ>>(),
            submissions: NonNull::from(&mut self.submissions).cast(),
            submissions_length: size_of::<Submissions<SQ>>(),
            entries: SQ as u32,
            cq_entries: CQ as u32,
        }
    }
}

impl<const SQ: usize, const CQ: usize> Default for RingMemory<SQ, CQ> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SQ: usize, const CQ: usize> fmt::Debug for RingMemory<SQ, CQ> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").finish_non_exhaustive()
    }
}

// SAFETY: integers, and bytes that may be anything.
unsafe impl<const SQ: usize, const CQ: usize> Zeroed for RingMemory<SQ, CQ> {}
// SAFETY: bytes that nobody uses; the pointers in it are written by its one ring.
unsafe impl<const SQ: usize, const CQ: usize> Send for RingMemory<SQ, CQ> {}

/// A [`RingMemory`] that was given away.
#[derive(Debug)]
pub(super) struct LentRing {
    rings: NonNull<u8>,
    rings_length: usize,
    submissions: NonNull<u8>,
    submissions_length: usize,
    entries: u32,
    cq_entries: u32,
}

/// A ring, and what it stands on.
#[derive(Debug)]
pub(super) struct Made<K: Kernel> {
    pub(super) ring: Ring,
    pub(super) fd: Fd<K>,
    pub(super) rings: Region<K>,
    pub(super) submissions: Region<K>,
    pub(super) registered: Option<u32>,
    pub(super) capabilities: Capabilities,
}

/// What is asked for, before and after a refusal.
struct Wish {
    flags: u32,
    entries: u32,
    cq_entries: u32,
    /// How many times more a ring that would fit is waited for.
    patience: u32,
}

/// Rounds of waiting for memory: a fifth of a second in all.
const PATIENCE: u32 = 40;

impl Wish {
    fn new(options: &Options, lent: Option<&LentRing>) -> Result<Self, Error> {
        if options.entries == 0 || options.cq_entries == Some(0) {
            return Err(Error::Invalid("a ring needs entries"));
        }
        let (entries, cq_entries) = sizes(options);
        let mut flags = linux::IORING_SETUP_CQSIZE
            | linux::IORING_SETUP_CLAMP
            | linux::IORING_SETUP_SUBMIT_ALL
            | linux::IORING_SETUP_SINGLE_ISSUER
            | linux::IORING_SETUP_NO_SQARRAY;
        flags |= if options.sqpoll_idle.is_some() {
            linux::IORING_SETUP_SQPOLL
        } else {
            linux::IORING_SETUP_DEFER_TASKRUN | linux::IORING_SETUP_TASKRUN_FLAG
        };
        Ok(match lent {
            Some(lent) => Self {
                flags: flags | linux::IORING_SETUP_NO_MMAP,
                entries: lent.entries,
                cq_entries: lent.cq_entries,
                patience: PATIENCE,
            },
            None => Self {
                flags,
                entries,
                cq_entries,
                patience: PATIENCE,
            },
        })
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// What to do without next, if the kernel does not know a flag.
    fn shed(&mut self) -> Option<Part> {
        const STEPS: [(u32, u32, Part); 7] = [
            (linux::IORING_SETUP_NO_MMAP, 0, Part::OwnMemory),
            (linux::IORING_SETUP_NO_SQARRAY, 0, Part::NoIndexArray),
            (
                linux::IORING_SETUP_DEFER_TASKRUN,
                linux::IORING_SETUP_COOP_TASKRUN,
                Part::DeferTaskrun,
            ),
            (linux::IORING_SETUP_SINGLE_ISSUER, 0, Part::SingleIssuer),
            (
                linux::IORING_SETUP_COOP_TASKRUN | linux::IORING_SETUP_TASKRUN_FLAG,
                0,
                Part::CoopTaskrun,
            ),
            (linux::IORING_SETUP_SUBMIT_ALL, 0, Part::SubmitAll),
            (linux::IORING_SETUP_SQPOLL, 0, Part::SubmittingThread),
        ];
        let (flag, instead, part) = STEPS.into_iter().find(|&(flag, ..)| self.has(flag))?;
        self.flags = self.flags & !flag | instead;
        Some(part)
    }

    /// Asks for half; false if that is too little.
    fn halve(&mut self) -> bool {
        if self.has(linux::IORING_SETUP_NO_MMAP) || self.entries / 2 < ENTRIES_MIN {
            return false;
        }
        self.entries /= 2;
        self.cq_entries = (self.cq_entries / 2).max(self.entries);
        true
    }

    fn bytes(&self) -> usize {
        bytes(self.entries, self.cq_entries)
    }
}

/// How many submissions and completions are asked for, which are powers of two.
const fn sizes(options: &Options) -> (u32, u32) {
    const fn within(count: u32, least: u32, most: u32) -> u32 {
        let count = if count > most { most } else { count };
        if count < least { least } else { count }
    }
    let entries = within(options.entries, 1, ENTRIES_MAX).next_power_of_two();
    let cq_entries = match options.cq_entries {
        Some(count) => count,
        None => within(2 * entries, CQ_ENTRIES_DEFAULT, u32::MAX),
    };
    let cq_entries = within(cq_entries, entries, 2 * ENTRIES_MAX);
    (entries, cq_entries.next_power_of_two())
}

/// What a ring of these sizes takes at the most, in whole pages.
const fn bytes(entries: u32, cq_entries: u32) -> usize {
    let array = entries as usize * size_of::<u32>();
    let rings = HEAD + cq_entries as usize * size_of::<Cqe>() + array;
    rings.next_multiple_of(4096) + (entries as usize * size_of::<Sqe>()).next_multiple_of(4096)
}

impl Options {
    /// How many bytes the rings take that are made with these options, at the most and in pages of 4 KiB: so much must be
    /// allowed to be locked (`RLIMIT_MEMLOCK`) where the kernel counts it.
    ///
    /// ```
    /// use linux_event_core::proactor::Options;
    /// let small = Options { entries: 8, cq_entries: Some(16), ..Options::DEFAULT };
    /// assert_eq!(small.ring_bytes(), 2 * 4096);
    /// ```
    pub const fn ring_bytes(&self) -> usize {
        let (entries, cq_entries) = sizes(self);
        bytes(entries, cq_entries)
    }
}

/// Makes a ring. See the [module](self).
pub(super) fn set_up<K: Kernel>(
    kernel: &K,
    options: &Options,
    lent: Option<LentRing>,
) -> Result<Made<K>, Error> {
    let mut wish = Wish::new(options, lent.as_ref())?;
    let mut capabilities = Capabilities::new();
    let (fd, params) = loop {
        match try_once(kernel, &wish, options, lent.as_ref()) {
            Ok(made) => break made,
            Err(errno) => refused(kernel, &mut wish, &mut capabilities, errno)?,
        }
    };
    if params.features & REQUIRED != REQUIRED {
        return Err(Error::RingTooOld);
    }
    let own = lent.filter(|_| wish.has(linux::IORING_SETUP_NO_MMAP));
    let own_memory = own.is_some();
    let (rings, submissions) = regions(kernel, &fd, &params, own)?;
    let mut parts = parts(&params, &rings, &submissions)
        .ok_or(Error::from_call(Call::IoUringSetup, Errno::EIO))?;
    parts.has_thread = params.flags & linux::IORING_SETUP_SQPOLL != 0;
    let registered = register_ring(kernel, &fd, &mut capabilities);
    match registered {
        Some(index) => {
            parts.number = index;
            parts.enter_flags = linux::IORING_ENTER_REGISTERED_RING;
        }
        None => parts.number = fd.as_raw_fd() as u32,
    }
    probe(kernel, &fd, &mut capabilities);
    capabilities.flags = params.flags;
    capabilities.features = params.features;
    capabilities.entries = parts.entries;
    capabilities.cq_entries = parts.cq_entries;
    capabilities.bytes = rings.length() + submissions.length();
    capabilities.registered_ring = registered.is_some();
    capabilities.own_memory = own_memory;
    Ok(Made {
        // SAFETY: `parts` has checked them against the regions, which live beside the ring.
        ring: unsafe { Ring::new(parts, options.submit_batch != 0) },
        fd,
        rings,
        submissions,
        registered,
        capabilities,
    })
}

fn try_once<K: Kernel>(
    kernel: &K,
    wish: &Wish,
    options: &Options,
    lent: Option<&LentRing>,
) -> Result<(Fd<K>, RingParams), Errno> {
    let mut params = RingParams {
        flags: wish.flags,
        cq_entries: wish.cq_entries,
        ..RingParams::EMPTY
    };
    if wish.has(linux::IORING_SETUP_SQPOLL) {
        let idle = options.sqpoll_idle.unwrap_or(Duration::ZERO).as_millis();
        params.sq_thread_idle = u32::try_from(idle).unwrap_or(u32::MAX).max(1);
    }
    if let Some(lent) = lent.filter(|_| wish.has(linux::IORING_SETUP_NO_MMAP)) {
        params.cq.memory = lent.rings.as_ptr();
        params.sq.memory = lent.submissions.as_ptr();
    }
    // SAFETY: INV-SETUP-1: `entries` and `cq_entries` are those of the lent memory, which is `'static` and ours.
    let fd = unsafe { kernel.io_uring_setup(wish.entries, &mut params) }?;
    Ok((fd, params))
}

/// Changes the wish after a refusal, or says that there is no ring.
#[cold]
fn refused<K: Kernel>(
    kernel: &K,
    wish: &mut Wish,
    capabilities: &mut Capabilities,
    errno: Errno,
) -> Result<(), Error> {
    match errno {
        // Before Linux 5.11 a thread that submits took a privilege.
        Errno::EPERM | Errno::EACCES if wish.has(linux::IORING_SETUP_SQPOLL) => {
            wish.flags &= !linux::IORING_SETUP_SQPOLL;
            wish.flags |= linux::IORING_SETUP_DEFER_TASKRUN | linux::IORING_SETUP_TASKRUN_FLAG;
            capabilities.step_down(Part::SubmittingThread, errno);
            Ok(())
        }
        Errno::EPERM | Errno::EACCES | Errno::ENOSYS => Err(Error::NoRing {
            errno,
            by_sysctl: errno == Errno::EPERM && kernel.is_io_uring_disabled(),
        }),
        // Its own memory may also be what the kernel can't take: not contiguous, not to be locked.
        Errno::ENOMEM | Errno::EFAULT if wish.has(linux::IORING_SETUP_NO_MMAP) => {
            wish.flags &= !linux::IORING_SETUP_NO_MMAP;
            capabilities.step_down(Part::OwnMemory, errno);
            Ok(())
        }
        Errno::ENOMEM if may_come_free(kernel, wish) => Ok(()),
        Errno::ENOMEM => {
            if !wish.halve() {
                return Err(Error::LockedMemory {
                    needed: wish.bytes(),
                    limit: kernel.lockable_memory(),
                });
            }
            let is_told = capabilities
                .steps
                .last()
                .is_some_and(|step| step.part == Part::Entries);
            if !is_told {
                capabilities.step_down(Part::Entries, errno);
            }
            Ok(())
        }
        Errno::EINVAL => {
            let part = wish
                .shed()
                .ok_or(Error::from_call(Call::IoUringSetup, errno))?;
            capabilities.step_down(part, errno);
            Ok(())
        }
        errno => Err(Error::from_call(Call::IoUringSetup, errno)),
    }
}

/// Whether memory that was locked may have come free meanwhile: waits for it a little.
///
/// The kernel takes a ring apart some 30 ms after it was closed, and counts its memory until then. So a ring that would fit
/// into the limit, and does not, may have to wait for another one that is gone.
#[cold]
fn may_come_free<K: Kernel>(kernel: &K, wish: &mut Wish) -> bool {
    const ROUND_MS: i32 = 5;
    let fits = kernel
        .lockable_memory()
        .is_some_and(|limit| wish.bytes() as u64 <= limit);
    if !fits || wish.patience == 0 {
        return false;
    }
    wish.patience -= 1;
    // A wait for nothing. What the kernel has to do in this thread may end it early.
    kernel.epoll_create().is_ok_and(|epoll| {
        let waited = kernel.epoll_wait(epoll.borrow(), &mut [EpollEvent::EMPTY], ROUND_MS);
        matches!(waited, Ok(_) | Err(Errno::EINTR))
    })
}

/// The memory of both queues, and of the submissions.
fn regions<K: Kernel>(
    kernel: &K,
    fd: &Fd<K>,
    params: &RingParams,
    own: Option<LentRing>,
) -> Result<(Region<K>, Region<K>), Error> {
    if let Some(lent) = own {
        // SAFETY: INV-REGION-1: `'static`, and given up with the `&'static mut` that it was.
        return Ok(unsafe {
            (
                Region::lent(lent.rings, lent.rings_length),
                Region::lent(lent.submissions, lent.submissions_length),
            )
        });
    }
    let has_array = params.flags & linux::IORING_SETUP_NO_SQARRAY == 0;
    let array_end = u64::from(params.sq.array) + 4 * u64::from(params.sq_entries);
    let cqes_end = u64::from(params.cq.cqes) + 16 * u64::from(params.cq_entries);
    let rings = cqes_end.max(if has_array { array_end } else { 0 });
    let submissions = u64::from(params.sq_entries) * size_of::<Sqe>() as u64;
    let map = |offset: u32, length: u64| {
        Region::ring(kernel, fd.borrow(), u64::from(offset), length as usize)
            .map_err(|errno| Error::from_call(Call::Mmap, errno))
    };
    Ok((
        map(linux::IORING_OFF_SQ_RING, rings)?,
        map(linux::IORING_OFF_SQES, submissions)?,
    ))
}

/// Checks what the kernel said about the rings against the memory that they are in: INV-RING-1, INV-RING-2.
fn parts<K: Kernel>(
    params: &RingParams,
    rings: &Region<K>,
    submissions: &Region<K>,
) -> Option<Parts> {
    let (entries, cq_entries) = (params.sq_entries, params.cq_entries);
    let sizes_fit = entries.is_power_of_two()
        && cq_entries.is_power_of_two()
        && entries <= ENTRIES_MAX
        && cq_entries <= 2 * ENTRIES_MAX
        && entries as usize * size_of::<Sqe>() <= submissions.length();
    if !sizes_fit {
        return None;
    }
    let at = |offset: u32, bytes: usize, align: usize| {
        let offset = offset as usize;
        let fits = offset.checked_add(bytes)? <= rings.length() && offset.is_multiple_of(align);
        // SAFETY: inside the region.
        fits.then(|| unsafe { rings.start().add(offset) })
    };
    let word = |offset: u32| at(offset, 4, 4).map(NonNull::cast);
    let parts = Parts {
        sq_head: word(params.sq.head)?,
        sq_tail: word(params.sq.tail)?,
        sq_flags: word(params.sq.flags)?,
        cq_head: word(params.cq.head)?,
        cq_tail: word(params.cq.tail)?,
        sqes: submissions.start().cast(),
        cqes: at(
            params.cq.cqes,
            cq_entries as usize * size_of::<Cqe>(),
            align_of::<Cqe>(),
        )?
        .cast(),
        entries,
        cq_entries,
        number: 0,
        enter_flags: 0,
        has_thread: false,
    };
    if params.flags & linux::IORING_SETUP_NO_SQARRAY == 0 {
        let array: NonNull<u32> = at(params.sq.array, entries as usize * 4, 4)?.cast();
        for index in 0..entries {
            // SAFETY: inside the array, which was checked to be inside the region.
            unsafe { array.add(index as usize).write(index) };
        }
    }
    Some(parts)
}

/// Has the kernel know the ring by an index of this thread's, which saves it a look-up. A thread has 16.
fn register_ring<K: Kernel>(
    kernel: &K,
    fd: &Fd<K>,
    capabilities: &mut Capabilities,
) -> Option<u32> {
    let mut update = ResourceUpdate {
        offset: u32::MAX, // any
        reserved: 0,
        data: core::ptr::without_provenance(fd.as_raw_fd() as usize),
    };
    // SAFETY: one update, which lives until the call returns.
    let registered = unsafe {
        kernel.io_uring_register(
            fd.borrow(),
            linux::io_uring_register_op::IORING_REGISTER_RING_FDS as u32,
            (&raw mut update).cast(),
            1,
        )
    };
    match registered {
        Ok(1) => Some(update.offset),
        Ok(_) => {
            capabilities.step_down(Part::RegisteredRing, Errno::EINVAL);
            None
        }
        Err(errno) => {
            capabilities.step_down(Part::RegisteredRing, errno);
            None
        }
    }
}

/// Takes the index back: closing the ring does not.
pub(super) fn unregister_ring<K: Kernel>(kernel: &K, fd: &Fd<K>, index: u32) {
    let mut update = ResourceUpdate {
        offset: index,
        reserved: 0,
        data: core::ptr::null(),
    };
    // SAFETY: one update, which lives until the call returns.
    let _ = unsafe {
        kernel.io_uring_register(
            fd.borrow(),
            linux::io_uring_register_op::IORING_UNREGISTER_RING_FDS as u32,
            (&raw mut update).cast(),
            1,
        )
    };
}

/// Asks which operations there are.
fn probe<K: Kernel>(kernel: &K, fd: &Fd<K>, capabilities: &mut Capabilities) {
    let mut probe = Probe::EMPTY;
    // SAFETY: the probe lives until the call returns, and has as many entries as is said.
    let asked = unsafe {
        kernel.io_uring_register(
            fd.borrow(),
            linux::io_uring_register_op::IORING_REGISTER_PROBE as u32,
            (&raw mut probe).cast(),
            probe.ops.len() as u32,
        )
    };
    if let Err(errno) = asked {
        capabilities.step_down(Part::Probe, errno);
        return;
    }
    let known = probe.ops.iter().take(usize::from(probe.ops_len));
    let ops = known
        .filter(|op| u32::from(op.flags) & linux::IO_URING_OP_SUPPORTED != 0 && op.op < 64)
        .fold(0, |ops, op| ops | 1 << op.op);
    capabilities.learn(ops);
}

const _: () = assert!(offset_of!(RingMemory<8, 8>, submissions) % 4096 == 0);
