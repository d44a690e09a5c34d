//! From a request to a submission.
//!
//! **What.** [`check`](Uring::check_request) says whether a request can be taken; `encode` writes it down, with what the
//! kernel reads by pointer in the operation's side.
//!
//! **Invariants.** *INV-SQE-1*: a submission points only to the operation's own buffers, to its side, to registered buffers
//! within their bounds, or to nothing.
//!
//! **Why this shape.** Everything is inlined and an operation's code is known where it is built, so that of the long
//! `match`es one arm is left, and of that arm a few stores.

use core::fmt::Debug;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::time::Duration;

use linux_raw_sys::general;
use linux_raw_sys::io_uring as linux;
use linux_raw_sys::io_uring::io_uring_op as op;
use linux_raw_sys::net::MSG_TRUNC;

use super::Uring;
use super::arena::{Side, UNIX_PATH_MAX, kind, write_address, write_path};
use crate::clock::duration_nanos;
use crate::error::Error;
use crate::proactor::buffer::{IoBuf, RawBuf};
use crate::proactor::operation::{Code, Extra, Link, Place, Request, Target};
use crate::sys::Kernel;
use crate::sys::ring::{BUFFER_SELECT, FIXED_FILE, HARD_LINK, LINK, Sqe, Timespec};
use crate::wakeup::Wakeup;

/// The most bytes that the kernel moves at once (`MAX_RW_COUNT`).
pub(super) const TRANSFER_MAX: usize = 0x7fff_f000;

/// Of the flags of accept, receive and send those that may be asked for. Others make a buffer's bytes pointers
/// (`IORING_SEND_VECTORIZED`), or spread one completion over several provided buffers (`IORING_RECVSEND_BUNDLE`).
pub(super) const TRANSFER_FLAGS: u16 = linux::IORING_RECVSEND_POLL_FIRST as u16;
const ACCEPT_FLAGS: u16 = (linux::IORING_ACCEPT_DONTWAIT | linux::IORING_ACCEPT_POLL_FIRST) as u16;

/// `MSG_*` that may be asked for: `MSG_ZEROCOPY` is not, as it leaves the buffer with the kernel after the completion
/// (INV-URING-1).
#[inline(always)]
pub(super) const fn message_flags(flags: u32) -> u32 {
    const MSG_ZEROCOPY: u32 = 0x400_0000;
    flags & !MSG_ZEROCOPY
}

/// `IORING_OP_*`.
#[inline(always)]
pub(super) const fn opcode(code: Code) -> u8 {
    (match code {
        Code::Nop => op::IORING_OP_NOP,
        Code::Read => op::IORING_OP_READ,
        Code::Write => op::IORING_OP_WRITE,
        Code::ReadVectored => op::IORING_OP_READV,
        Code::WriteVectored => op::IORING_OP_WRITEV,
        Code::ReadFixed => op::IORING_OP_READ_FIXED,
        Code::WriteFixed => op::IORING_OP_WRITE_FIXED,
        Code::Recv | Code::RecvMulti => op::IORING_OP_RECV,
        Code::Send => op::IORING_OP_SEND,
        Code::SendZeroCopy => op::IORING_OP_SEND_ZC,
        Code::RecvMessage => op::IORING_OP_RECVMSG,
        Code::SendMessage => op::IORING_OP_SENDMSG,
        Code::Accept | Code::AcceptMulti => op::IORING_OP_ACCEPT,
        Code::Connect => op::IORING_OP_CONNECT,
        Code::Socket => op::IORING_OP_SOCKET,
        Code::Bind => op::IORING_OP_BIND,
        Code::Listen => op::IORING_OP_LISTEN,
        Code::Shutdown => op::IORING_OP_SHUTDOWN,
        Code::Close => op::IORING_OP_CLOSE,
        Code::OpenAt => op::IORING_OP_OPENAT,
        Code::Statx => op::IORING_OP_STATX,
        Code::Fsync => op::IORING_OP_FSYNC,
        Code::Splice => op::IORING_OP_SPLICE,
        Code::Poll | Code::PollMulti => op::IORING_OP_POLL_ADD,
        Code::WaitId => op::IORING_OP_WAITID,
    }) as u8
}

/// What is to be done when an operation settles.
#[inline(always)]
pub(super) const fn settling(code: Code, has_buffer: bool) -> u8 {
    match code {
        Code::Read | Code::Recv => kind::FILLS,
        Code::ReadVectored | Code::RecvMessage => kind::FILLS_VECTORS,
        Code::WriteVectored | Code::SendMessage => kind::VECTORS,
        Code::Accept | Code::AcceptMulti | Code::Socket | Code::OpenAt => kind::DESCRIPTOR,
        Code::RecvMulti => kind::LEASE,
        Code::SendZeroCopy => kind::ZERO_COPY,
        Code::ReadFixed | Code::WriteFixed => kind::FIXED,
        _ if has_buffer => kind::BUFFER,
        _ => kind::PLAIN,
    }
}

/// Whether an operation comes with a buffer of its own.
#[inline(always)]
const fn takes_buffer(code: Code, extra: &Extra) -> bool {
    match code {
        Code::Read
        | Code::Write
        | Code::Recv
        | Code::Send
        | Code::SendZeroCopy
        | Code::OpenAt
        | Code::Statx => true,
        Code::Connect | Code::Bind => matches!(extra, Extra::UnixPath),
        _ => false,
    }
}

/// The number, and the flag that says what kind of number. A file that the engine did not resolve is none: EBADF.
#[inline(always)]
fn place(target: Target) -> (i32, u8) {
    match target.0 {
        Place::Number(number) | Place::Resolved(number) => (number, 0),
        Place::Fixed(slot) => (slot as i32, FIXED_FILE),
        Place::None | Place::File(_) => (-1, 0),
    }
}

/// An offset, where the kernel has it in a field that may hold an address.
#[inline(always)]
fn number(offset: u64) -> *mut () {
    ptr::without_provenance_mut(offset as usize)
}

#[cold]
#[inline(never)]
const fn invalid(why: &'static str) -> Error {
    Error::Invalid(why)
}

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    /// Whether a request can be taken, were there room.
    #[inline(always)]
    pub(super) fn check_request(&self, request: &Request<Buf>) -> Result<(), Error> {
        if !self.capabilities.supports(request.code) {
            return Err(Error::UnsupportedOperation { code: request.code });
        }
        match (takes_buffer(request.code, &request.extra), &request.buffer) {
            (true, Some(buffer)) => Self::check_buffer(request, buffer),
            (true, None) => Err(invalid("the operation needs a buffer")),
            (false, Some(_)) => Err(invalid("the operation takes no buffer")),
            (false, None) => self.check_extra(request),
        }
    }

    /// A request with a buffer.
    #[inline(always)]
    fn check_buffer(request: &Request<Buf>, buffer: &Buf) -> Result<(), Error> {
        match request.code {
            Code::OpenAt | Code::Statx if !buffer.bytes().contains(&0) => {
                Err(invalid("a path ends with a zero byte"))
            }
            Code::Connect | Code::Bind if !(1..=UNIX_PATH_MAX).contains(&buffer.bytes().len()) => {
                Err(invalid("a unix path has 1 to 107 bytes"))
            }
            _ => Ok(()),
        }
    }

    /// A request without.
    #[inline(always)]
    fn check_extra(&self, request: &Request<Buf>) -> Result<(), Error> {
        match (request.code, request.extra) {
            (
                Code::ReadVectored | Code::WriteVectored | Code::RecvMessage | Code::SendMessage,
                _,
            ) => Err(invalid("a vectored operation has several buffers")),
            (Code::ReadFixed | Code::WriteFixed, Extra::Fixed { buffer, start }) => {
                let end = u64::from(start) + u64::from(request.length);
                match self.buffers.get(buffer) {
                    Some(raw) if end <= raw.capacity as u64 => Ok(()),
                    Some(_) => Err(invalid("the range is beyond the registered buffer")),
                    None => Err(invalid("there is no such registered buffer")),
                }
            }
            (Code::RecvMulti, Extra::Group(group)) => {
                if self.groups.has(group) {
                    Ok(())
                } else {
                    Err(invalid("there is no such group of buffers"))
                }
            }
            (Code::Splice, Extra::From { .. })
            | (Code::Connect | Code::Bind, Extra::Address(_)) => Ok(()),
            (
                Code::ReadFixed
                | Code::WriteFixed
                | Code::RecvMulti
                | Code::Splice
                | Code::Connect
                | Code::Bind,
                _,
            ) => Err(invalid("the operation lacks what it works with")),
            // A descriptor's number, which nothing keeps open (P-14).
            (Code::WaitId, _) if request.length == general::P_PIDFD => {
                Err(invalid("a process is named by its id"))
            }
            (Code::Close, _) => match request.target.0 {
                Place::Fixed(slot) if !self.files.is_taken(slot) => {
                    Err(invalid("the registered slot is empty"))
                }
                Place::None => Err(invalid("there is nothing to close")),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Writes a request down. It was [checked](Self::check_request), its buffer is `raw`, and `index` is its slot's.
    #[inline(always)]
    pub(super) fn encode(
        &self,
        index: u32,
        user_data: u64,
        request: &Request<Buf>,
        raw: Option<&RawBuf>,
    ) -> Sqe {
        let (fd, place_flag) = place(request.target);
        let mut sqe = Sqe {
            opcode: opcode(request.code),
            flags: place_flag | link_flag(request.link),
            fd,
            user_data,
            ..Sqe::EMPTY
        };
        if request.timeout.is_some() && sqe.flags & (LINK | HARD_LINK) == 0 {
            sqe.flags |= LINK;
        }
        let start = raw.map_or(ptr::null_mut(), |raw| raw.start.as_ptr().cast());
        match request.code {
            // Vectored operations are written by `submit_vectored`.
            Code::Nop
            | Code::ReadVectored
            | Code::WriteVectored
            | Code::RecvMessage
            | Code::SendMessage => {}
            Code::Read | Code::Write => {
                sqe.offset = number(request.offset);
                sqe.address = start;
                sqe.length = length(request, raw);
                sqe.op_flags = request.flags;
            }
            Code::Recv | Code::Send | Code::SendZeroCopy => {
                sqe.address = start;
                sqe.length = length(request, raw);
                sqe.op_flags = message_flags(request.flags);
                sqe.io_flags = request.extra_flags & self.capabilities.transfer_flags;
            }
            Code::RecvMulti => {
                sqe.flags |= BUFFER_SELECT;
                sqe.io_flags = request.extra_flags & self.capabilities.transfer_flags
                    | linux::IORING_RECV_MULTISHOT as u16;
                sqe.length = request.length;
                sqe.op_flags = request.flags;
                if let Extra::Group(group) = request.extra {
                    sqe.buffer = super::buf_ring::kernel_id(group);
                }
            }
            Code::ReadFixed | Code::WriteFixed => {
                sqe.offset = number(request.offset);
                sqe.length = request.length.min(TRANSFER_MAX as u32);
                sqe.op_flags = request.flags;
                if let Extra::Fixed { buffer, start } = request.extra
                    && let Some(raw) = self.buffers.get(buffer)
                {
                    sqe.buffer = buffer.index();
                    // INV-SQE-1: the range was checked.
                    sqe.address = raw.start.as_ptr().wrapping_add(start as usize).cast();
                }
            }
            Code::Accept | Code::AcceptMulti => {
                sqe.op_flags = request.flags;
                sqe.io_flags = request.extra_flags & ACCEPT_FLAGS;
                if matches!(request.code, Code::AcceptMulti) {
                    sqe.io_flags |= linux::IORING_ACCEPT_MULTISHOT as u16;
                } else if matches!(request.extra, Extra::WantAddress) {
                    let side = self.claim_side(index, user_data);
                    // SAFETY: INV-ARENA-3; the kernel has not got the operation yet.
                    unsafe {
                        (*side.as_ptr()).address_length = super::arena::ADDRESS_MAX as u32;
                        (*side.as_ptr()).address = [0; super::arena::ADDRESS_MAX];
                        sqe.address = (&raw mut (*side.as_ptr()).address).cast();
                        sqe.offset = (&raw mut (*side.as_ptr()).address_length).cast();
                    }
                }
            }
            Code::Connect | Code::Bind => {
                let side = self.claim_side(index, user_data);
                sqe.offset = number(u64::from(write_name(side, request, raw)));
                // SAFETY: INV-ARENA-3; no reference is made.
                sqe.address = unsafe { (&raw mut (*side.as_ptr()).address).cast() };
            }
            Code::Socket => {
                sqe.fd = request.flags as i32;
                sqe.offset = number(request.offset);
                sqe.length = request.length;
            }
            Code::Listen | Code::Shutdown => sqe.length = request.length,
            Code::Close => {
                if let Place::Fixed(slot) = request.target.0 {
                    sqe.flags &= !FIXED_FILE;
                    sqe.fd = 0;
                    sqe.file_index = slot + 1;
                }
            }
            Code::OpenAt => {
                sqe.address = start;
                sqe.length = request.length;
                sqe.op_flags = request.flags;
            }
            Code::Statx => {
                let side = self.claim_side(index, user_data);
                sqe.address = start;
                sqe.length = request.length;
                sqe.op_flags = request.flags;
                // SAFETY: INV-ARENA-3; the kernel has not got the operation yet.
                unsafe {
                    (*side.as_ptr()).answers = sqe.opcode;
                    (*side.as_ptr()).answer = [0; 32];
                    sqe.offset = (&raw mut (*side.as_ptr()).answer).cast();
                }
            }
            Code::Fsync => sqe.op_flags = request.flags,
            Code::Splice => {
                sqe.offset = number(request.offset);
                sqe.length = request.length;
                sqe.op_flags = request.flags & !linux::SPLICE_F_FD_IN_FIXED;
                if let Extra::From { target, offset } = request.extra {
                    let (from, flag) = place(target);
                    sqe.address = number(offset);
                    sqe.file_index = from as u32;
                    if flag != 0 {
                        sqe.op_flags |= linux::SPLICE_F_FD_IN_FIXED;
                    }
                }
            }
            Code::Poll => sqe.op_flags = poll_mask(request.flags),
            Code::PollMulti => {
                sqe.op_flags = poll_mask(request.flags);
                sqe.length = linux::IORING_POLL_ADD_MULTI;
            }
            Code::WaitId => {
                let side = self.claim_side(index, user_data);
                sqe.fd = request.flags as i32;
                sqe.length = request.length;
                sqe.file_index = request.offset as u32;
                // SAFETY: INV-ARENA-3; the kernel has not got the operation yet.
                unsafe {
                    (*side.as_ptr()).answers = sqe.opcode;
                    (*side.as_ptr()).answer = [0; 32];
                    sqe.offset = (&raw mut (*side.as_ptr()).answer).cast();
                }
            }
        }
        sqe
    }

    /// The timeout that follows an operation: INV-SQE-1. The kernel reads the time when it takes the submission.
    #[inline(never)]
    pub(super) fn encode_timeout(&self, index: u32, limit: Duration, link: Link) -> Sqe {
        const NANOS: u64 = 1_000_000_000;
        let nanos = duration_nanos(limit);
        let side = self.arena.side(index);
        // SAFETY: INV-ARENA-3; the kernel has not got the operation yet.
        unsafe {
            (*side.as_ptr()).timeout = Timespec {
                seconds: (nanos / NANOS) as i64,
                nanos: (nanos % NANOS) as i64,
            };
            Sqe {
                opcode: op::IORING_OP_LINK_TIMEOUT as u8,
                flags: link_flag(link),
                fd: -1,
                address: (&raw mut (*side.as_ptr()).timeout).cast(),
                length: 1,
                user_data: super::CONTROL_TIMEOUT.raw(),
                ..Sqe::EMPTY
            }
        }
    }

    /// The side of a new operation, marked as its own.
    #[inline(always)]
    pub(super) fn claim_side(&self, index: u32, owner: u64) -> NonNull<Side> {
        let side = self.arena.side(index);
        // SAFETY: INV-ARENA-3: the slot was vacant, so the kernel is done with its side.
        unsafe {
            let side = side.as_ptr();
            (*side).owner = owner;
            (*side).address_length = 0;
            (*side).message.name_length = 0;
            (*side).answers = 0;
        }
        side
    }
}

/// Writes the address of connect, bind and send-message into `side`; returns its length.
pub(super) fn write_name<Buf>(
    side: NonNull<Side>,
    request: &Request<Buf>,
    raw: Option<&RawBuf>,
) -> u32 {
    // SAFETY: INV-ARENA-3: the caller has just claimed the side. INV-BUF-2: the filled part is initialised, and ours.
    unsafe {
        match (request.extra, raw) {
            (Extra::Address(address), _) => write_address(side, address),
            (Extra::UnixPath, Some(raw)) => {
                let path = core::slice::from_raw_parts(raw.start.as_ptr(), raw.filled);
                write_path(side, path);
            }
            _ => (*side.as_ptr()).address_length = 0,
        }
        (*side.as_ptr()).address_length
    }
}

/// How many bytes an operation moves.
#[inline(always)]
fn length<Buf>(request: &Request<Buf>, raw: Option<&RawBuf>) -> u32 {
    let available = raw.map_or(0, |raw| {
        if request.code.fills() {
            raw.capacity
        } else {
            raw.filled
        }
    });
    available.min(request.length as usize).min(TRANSFER_MAX) as u32
}

#[inline(always)]
pub(super) const fn link_flag(link: Link) -> u8 {
    match link {
        Link::None => 0,
        Link::Soft => LINK,
        Link::Hard => HARD_LINK,
    }
}

/// `poll32_events`, which big-endian machines would have otherwise; the machines served here are little-endian.
#[inline(always)]
pub(super) const fn poll_mask(events: u32) -> u32 {
    const _: () = assert!(cfg!(target_endian = "little"));
    events
}

/// `MSG_TRUNC`: the result may count more than there was room for.
#[inline(always)]
pub(super) const fn truncates(code: Code, flags: u32) -> bool {
    matches!(code, Code::Recv | Code::RecvMessage) && flags & MSG_TRUNC != 0
}
