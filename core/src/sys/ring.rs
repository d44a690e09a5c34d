//! What io_uring reads and writes (`io_uring(7)`), with its layout asserted.
//!
//! **What.** The structures of `include/uapi/linux/io_uring.h` that the proactor uses: submissions, completions, the
//! parameters of a set-up, the arguments of registrations; and messages and vectors, which submissions point to.
//!
//! **Invariants.** INV-UAPI-1 of [`uapi`](super::uapi): each has the size and the offsets of the kernel's.
//!
//! **Why this shape.** Where the kernel has a 64-bit number that holds an address, there is a pointer here: it keeps its
//! provenance on its way through the ring, so that a kernel of plain memory can follow it, under Miri too.

#![forbid(unsafe_code)]

use core::ptr;

use linux_raw_sys::io_uring as linux;

/// A submission: `struct io_uring_sqe`, 64 bytes. The names are those of its first uses; others overlay them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Sqe {
    /// `IORING_OP_*`.
    pub opcode: u8,
    /// `IOSQE_*`.
    pub flags: u8,
    /// `ioprio`: flags of accept, receive and send.
    pub io_flags: u16,
    /// The descriptor, or the registered slot.
    pub fd: i32,
    /// `off`, or `addr2`.
    pub offset: *mut (),
    /// `addr`.
    pub address: *mut (),
    /// `len`.
    pub length: u32,
    /// `rw_flags`, `msg_flags` …
    pub op_flags: u32,
    /// What the completion brings back.
    pub user_data: u64,
    /// `buf_index`, or `buf_group`.
    pub buffer: u16,
    /// `personality`.
    pub personality: u16,
    /// `file_index`, or `splice_fd_in`.
    pub file_index: u32,
    /// `addr3`.
    pub address3: u64,
    /// Padding.
    pub reserved: u64,
}

impl Sqe {
    /// A submission of zeroes: a nop on descriptor 0.
    pub const EMPTY: Self = Self {
        opcode: 0,
        flags: 0,
        io_flags: 0,
        fd: 0,
        offset: ptr::null_mut(),
        address: ptr::null_mut(),
        length: 0,
        op_flags: 0,
        user_data: 0,
        buffer: 0,
        personality: 0,
        file_index: 0,
        address3: 0,
        reserved: 0,
    };
}

/// A completion: `struct io_uring_cqe`, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cqe {
    /// That of its submission.
    pub user_data: u64,
    /// At least 0, or an errno negated.
    pub result: i32,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
}

/// Where things are in the ring: `struct io_sqring_offsets`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SqOffsets {
    /// The kernel's end.
    pub head: u32,
    /// The program's end.
    pub tail: u32,
    /// Entries − 1.
    pub ring_mask: u32,
    /// Entries.
    pub ring_entries: u32,
    /// `IORING_SQ_*`.
    pub flags: u32,
    /// Submissions whose index was wrong.
    pub dropped: u32,
    /// The array of indices, unless `IORING_SETUP_NO_SQARRAY`.
    pub array: u32,
    /// Zero.
    pub reserved: u32,
    /// The memory for the submissions, with `IORING_SETUP_NO_MMAP`.
    pub memory: *mut u8,
}

/// Where things are in the ring: `struct io_cqring_offsets`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CqOffsets {
    /// The program's end.
    pub head: u32,
    /// The kernel's end.
    pub tail: u32,
    /// Entries − 1.
    pub ring_mask: u32,
    /// Entries.
    pub ring_entries: u32,
    /// Completions that were dropped.
    pub overflow: u32,
    /// The completions.
    pub cqes: u32,
    /// `IORING_CQ_*`.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The memory for both rings, with `IORING_SETUP_NO_MMAP`.
    pub memory: *mut u8,
}

/// What is asked and given at set-up: `struct io_uring_params`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RingParams {
    /// Submissions that there is room for.
    pub sq_entries: u32,
    /// Completions that there is room for.
    pub cq_entries: u32,
    /// `IORING_SETUP_*`.
    pub flags: u32,
    /// Where the submitting thread runs.
    pub sq_thread_cpu: u32,
    /// Milliseconds until the submitting thread sleeps.
    pub sq_thread_idle: u32,
    /// `IORING_FEAT_*`.
    pub features: u32,
    /// A ring to share workers with.
    pub wq_fd: u32,
    /// Zero.
    pub reserved: [u32; 3],
    /// The submission queue.
    pub sq: SqOffsets,
    /// The completion queue.
    pub cq: CqOffsets,
}

impl RingParams {
    /// Parameters of zeroes.
    pub const EMPTY: Self = Self {
        sq_entries: 0,
        cq_entries: 0,
        flags: 0,
        sq_thread_cpu: 0,
        sq_thread_idle: 0,
        features: 0,
        wq_fd: 0,
        reserved: [0; 3],
        sq: SqOffsets {
            head: 0,
            tail: 0,
            ring_mask: 0,
            ring_entries: 0,
            flags: 0,
            dropped: 0,
            array: 0,
            reserved: 0,
            memory: ptr::null_mut(),
        },
        cq: CqOffsets {
            head: 0,
            tail: 0,
            ring_mask: 0,
            ring_entries: 0,
            overflow: 0,
            cqes: 0,
            flags: 0,
            reserved: 0,
            memory: ptr::null_mut(),
        },
    };
}

/// One operation of a [`Probe`]: `struct io_uring_probe_op`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ProbeOp {
    /// Which.
    pub op: u8,
    /// Zero.
    pub reserved: u8,
    /// `IO_URING_OP_SUPPORTED`.
    pub flags: u16,
    /// Zero.
    pub reserved2: u32,
}

/// How many operations a [`Probe`] asks about.
pub const PROBE_OPS: usize = 64;

/// Which operations there are: `struct io_uring_probe`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Probe {
    /// The last operation that the kernel knows.
    pub last_op: u8,
    /// How many entries the kernel has filled.
    pub ops_len: u8,
    /// Zero.
    pub reserved: u16,
    /// Zero.
    pub reserved2: [u32; 3],
    /// The operations.
    pub ops: [ProbeOp; PROBE_OPS],
}

impl Probe {
    /// A question.
    pub const EMPTY: Self = Self {
        last_op: 0,
        ops_len: 0,
        reserved: 0,
        reserved2: [0; 3],
        ops: [ProbeOp {
            op: 0,
            reserved: 0,
            flags: 0,
            reserved2: 0,
        }; PROBE_OPS],
    };
}

/// Which registered slots to change, and to what: `struct io_uring_rsrc_update`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ResourceUpdate {
    /// The first slot.
    pub offset: u32,
    /// Zero.
    pub reserved: u32,
    /// The new descriptors; of a ring's own descriptor its number.
    pub data: *const (),
}

/// A table of resources: `struct io_uring_rsrc_register`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ResourceRegister {
    /// How many.
    pub count: u32,
    /// `IORING_RSRC_REGISTER_*`.
    pub flags: u32,
    /// Zero.
    pub reserved: u64,
    /// What; null for a sparse table.
    pub data: *const (),
    /// Tags; null for none.
    pub tags: *const (),
}

/// A group of provided buffers: `struct io_uring_buf_reg`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BufferGroup {
    /// The ring of [`ProvidedBuffer`]s.
    pub ring: *mut u8,
    /// How many entries it has, a power of two.
    pub entries: u32,
    /// The group's id.
    pub id: u16,
    /// `IOU_PBUF_RING_*`.
    pub flags: u16,
    /// Zero.
    pub reserved: [u64; 3],
}

/// A provided buffer: `struct io_uring_buf`. The ring's tail lies in the last two bytes of its first entry.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ProvidedBuffer {
    /// Where it starts.
    pub start: *mut u8,
    /// Its size.
    pub length: u32,
    /// Its id.
    pub id: u16,
    /// Not to be written: the ring's tail in the first entry.
    pub tail: u16,
}

/// Memory of a vectored operation: `struct iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct IoVec {
    /// Where it starts.
    pub start: *mut u8,
    /// Bytes.
    pub length: usize,
}

/// A message: `struct msghdr`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Message {
    /// The address.
    pub name: *mut u8,
    /// Bytes of it, or room for it.
    pub name_length: u32,
    /// The memory.
    pub vectors: *mut IoVec,
    /// How many vectors.
    pub vectors_count: usize,
    /// Ancillary data.
    pub control: *mut u8,
    /// Bytes of it.
    pub control_length: usize,
    /// `MSG_*`, as the kernel found them.
    pub flags: i32,
}

/// A time: `struct __kernel_timespec`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanos: i64,
}

/// How long to wait: `struct io_uring_getevents_arg`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct WaitArgument {
    /// Signals to block meanwhile; null for none.
    pub signals: *const (),
    /// Bytes of it.
    pub signals_size: u32,
    /// How long to gather completions.
    pub min_wait_usec: u32,
    /// The time.
    pub timeout: *const Timespec,
}

/// `IOSQE_FIXED_FILE`.
pub const FIXED_FILE: u8 = 1 << 0;
/// `IOSQE_IO_LINK`.
pub const LINK: u8 = 1 << 2;
/// `IOSQE_IO_HARDLINK`.
pub const HARD_LINK: u8 = 1 << 3;
/// `IOSQE_BUFFER_SELECT`.
pub const BUFFER_SELECT: u8 = 1 << 5;

macro_rules! same_layout {
    ($($ours:ident = $theirs:ident { $($field:ident = $their_field:ident),* $(,)? })*) => {$(
        const _: () = assert!(size_of::<$ours>() == size_of::<linux::$theirs>());
        const _: () = assert!(align_of::<$ours>() == align_of::<linux::$theirs>());
        $(const _: () = assert!(
            core::mem::offset_of!($ours, $field) == core::mem::offset_of!(linux::$theirs, $their_field)
        );)*
    )*};
}

same_layout! {
    Sqe = io_uring_sqe {
        opcode = opcode, flags = flags, io_flags = ioprio, fd = fd, offset = __bindgen_anon_1,
        address = __bindgen_anon_2, length = len, op_flags = __bindgen_anon_3, user_data = user_data,
        buffer = __bindgen_anon_4, personality = personality, file_index = __bindgen_anon_5,
        address3 = __bindgen_anon_6,
    }
    Cqe = io_uring_cqe { user_data = user_data, result = res, flags = flags }
    SqOffsets = io_sqring_offsets {
        head = head, tail = tail, ring_mask = ring_mask, ring_entries = ring_entries, flags = flags,
        dropped = dropped, array = array, memory = user_addr,
    }
    CqOffsets = io_cqring_offsets {
        head = head, tail = tail, ring_mask = ring_mask, ring_entries = ring_entries, overflow = overflow,
        cqes = cqes, flags = flags, memory = user_addr,
    }
    RingParams = io_uring_params {
        sq_entries = sq_entries, cq_entries = cq_entries, flags = flags, sq_thread_cpu = sq_thread_cpu,
        sq_thread_idle = sq_thread_idle, features = features, wq_fd = wq_fd, sq = sq_off, cq = cq_off,
    }
    ProbeOp = io_uring_probe_op { op = op, flags = flags }
    ResourceUpdate = io_uring_rsrc_update { offset = offset, data = data }
    ResourceRegister = io_uring_rsrc_register { count = nr, flags = flags, data = data, tags = tags }
    ProvidedBuffer = io_uring_buf { start = addr, length = len, id = bid, tail = resv }
    WaitArgument = io_uring_getevents_arg { signals = sigmask, signals_size = sigmask_sz, timeout = ts }
    Timespec = __kernel_timespec { seconds = tv_sec, nanos = tv_nsec }
}

const _: () = assert!(size_of::<Sqe>() == 64 && size_of::<Cqe>() == 16);
const _: () =
    assert!(size_of::<BufferGroup>() == 40 && core::mem::offset_of!(BufferGroup, id) == 12);
const _: () = assert!(core::mem::offset_of!(Probe, ops) == 16 && size_of::<ProbeOp>() == 8);
// `struct msghdr` and `struct iovec` of 64-bit machines.
const _: () = assert!(size_of::<Message>() == 56 && core::mem::offset_of!(Message, vectors) == 16);
const _: () = assert!(core::mem::offset_of!(Message, flags) == 48 && size_of::<IoVec>() == 16);
