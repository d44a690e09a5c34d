//! Reading completions: what came of an operation, and what it gives back.
//!
//! **Invariants.** INV-URING-3 of the [parent](super). *INV-SETTLE-1*: a buffer is rebuilt from its parts once: its slot is
//! vacated, or marked as empty, by the same step. *INV-SETTLE-2*: a descriptor that was given away to be closed is closed here
//! only if its closing never began, and no result of its own says so: the kernel takes the number away first, and what it
//! answers then is what the file system said, ECANCELED too. Before a closing in a chain comes a nop, the *gate*, which
//! fails for nothing but its chain; if that was cancelled, so was what follows it.
//!
//! **Why this shape.** An operation with one buffer or none is settled here in a few instructions; everything else is in a
//! function of its own.

use core::fmt::Debug;
use core::net::SocketAddr;
use core::ops::Deref;

use linux_raw_sys::general;
use linux_raw_sys::io_uring as linux;

use super::arena::{
    ADDRESS_MAX, GATED, HAS_BUFFER, HEARD, NEVER_BEGAN, Side, Slot, TOLD, TRUNCATES, kind,
};
use super::buf_ring::Lease;
use super::internal::Told;
use super::sqe::opcode;
use super::{Held, Uring};
use crate::errno::Errno;
use crate::handle::{Handle, Tag};
use crate::pid::ExitStatus;
use crate::proactor::backend::{Carried, Popped, Report, Stat};
use crate::proactor::buffer::IoBuf;
use crate::proactor::operation::{Code, FixedBuffer, Group, VECTORS_MAX};
use crate::sys::ring::Cqe;
use crate::sys::{ExitInfo, Fd, Kernel, sockaddr};
use crate::wakeup::Wakeup;

const CANCELLED: i32 = -Errno::ECANCELED.raw();
/// Here and below are the kernel's own words (ERESTARTSYS and its kin), which reach a program where a worker of the kernel's
/// was told to stop what it did: a splice, cancelled.
const INTERNAL_ERRNO: i32 = -512;

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    /// See [`Backend::pop`](super::Backend::pop).
    #[inline(always)]
    pub(super) fn pop_next(&mut self) -> Option<Popped<Buf, Lease<K>>> {
        if !self.held.is_empty() {
            self.drop_held();
        }
        // The rings are not there in a forked child, and somebody else's memory may be (G-1).
        if !self.ring.has_next() || !self.is_owners() {
            return None;
        }
        loop {
            // Its fields go one by one wherever they go, and stay in registers.
            let cqe = self.ring.pop()?;
            let Some(slot) = self.arena.find(cqe.user_data) else {
                match self.settle_internal(cqe.user_data, cqe.result, cqe.flags) {
                    Some(Told::Ready(report)) => return Some(Popped::Ready(report)),
                    Some(Told::Report(report)) => return Some(Popped::Report(report)),
                    None => continue,
                }
            };
            let settled = slot.kind;
            if settled.wrapping_sub(kind::PLAIN) > kind::FILLS - kind::PLAIN
                || cqe.flags & linux::IORING_CQE_F_MORE != 0
            {
                match self.settle_other(cqe.user_data, cqe.result, cqe.flags) {
                    Some(report) => return Some(Popped::Report(report)),
                    None => continue,
                }
            }
            slot.kind = kind::VACANT;
            self.in_flight -= 1; // INV-URING-2, also if a buffer can't be put together again
            let mut result = cqe.result;
            let buffer = if settled == kind::PLAIN {
                None
            } else {
                let mut raw = slot.raw();
                if settled == kind::FILLS && result >= 0 {
                    let count = (result as u32).min(slot.lent);
                    raw.filled = count as usize;
                    result = count as i32;
                }
                // SAFETY: INV-SETTLE-1; INV-ARENA-2. What was filled was lent (INV-URING-3), so INV-BUF-2 holds.
                Some(unsafe { Buf::from_raw(raw) })
            };
            if result < 0 {
                result = told(result);
            }
            return Some(Popped::Plain {
                token: cqe.user_data,
                result,
                buffer,
            });
        }
    }

    /// Drops what the last report left and nobody took; in a forked child it stays, as everything does (G-1).
    #[cold]
    #[inline(never)]
    fn drop_held(&mut self) {
        if !self.is_owners() {
            return;
        }
        self.held = Held::empty();
        self.descriptor = None;
        self.vectors.clear();
    }

    /// A completion of an operation that is not settled in few words.
    #[inline(never)]
    fn settle_other(
        &mut self,
        user_data: u64,
        result: i32,
        flags: u32,
    ) -> Option<Report<Buf, Lease<K>>> {
        let cqe = Cqe {
            user_data,
            result,
            flags,
        };
        let more = cqe.flags & linux::IORING_CQE_F_MORE != 0;
        let slot = self.arena.find(cqe.user_data)?;
        if slot.kind == kind::VACANT {
            self.ignored += 1;
            return None;
        }
        let is_cut = slot.kind & kind::CUT != 0;
        let settled = kind::of(slot.kind);
        if settled == kind::CLOSE && slot.state & GATED != 0 {
            if slot.state & HEARD == 0 {
                slot.state |= HEARD;
                slot.filled = cqe.result as u32 as usize;
            }
            return None; // with its gate: kernels post them in either order
        }
        if settled == kind::CLOSE
            && is_cut
            && let Some(kept) = &mut self.kept
        {
            // At the end: with what was before it in its chain.
            *kept += u32::from(slot.state & TOLD == 0);
            slot.state |= TOLD;
            return None;
        }
        let mut result = if is_cut { CANCELLED } else { cqe.result };
        let carried = if more {
            self.carry_more(cqe, settled, is_cut)
        } else {
            self.carry_last(cqe, settled, &mut result, is_cut)
        };
        Some(Report {
            token: cqe.user_data,
            result: told(result),
            more,
            carried,
        })
    }

    /// What comes with a completion that is not the last.
    fn carry_more(&mut self, cqe: Cqe, settled: u8, is_cut: bool) -> Carried<Buf, Lease<K>> {
        match settled {
            kind::ZERO_COPY => {
                if let Some(slot) = self.arena.find(cqe.user_data) {
                    slot.lent = cqe.result as u32;
                    slot.state |= TOLD;
                }
                Carried::Nothing
            }
            kind::DESCRIPTOR if !is_cut => self.carry_descriptor(cqe.result),
            kind::LEASE => self.carry_lease(cqe),
            _ => Carried::Nothing,
        }
    }

    /// What comes with the last completion: the slot is vacated.
    fn carry_last(
        &mut self,
        cqe: Cqe,
        settled: u8,
        result: &mut i32,
        is_cut: bool,
    ) -> Carried<Buf, Lease<K>> {
        let carried = match settled {
            kind::DESCRIPTOR if !is_cut => self.carry_descriptor(*result),
            kind::LEASE => self.carry_lease(cqe),
            _ => Carried::Nothing,
        };
        let Some(slot) = self.arena.find(cqe.user_data) else {
            return carried;
        };
        slot.kind = kind::VACANT;
        self.in_flight -= 1;
        match settled {
            kind::FILLS | kind::TRUNCATES => *result = fill(slot, settled, *result),
            // A notification has no result of its own.
            kind::ZERO_COPY if cqe.flags & linux::IORING_CQE_F_NOTIF != 0 => {
                let told = slot.state & TOLD != 0;
                *result = if told { slot.lent as i32 } else { CANCELLED };
            }
            kind::VECTORS | kind::FILLS_VECTORS => {
                return self.carry_vectors(cqe.user_data, settled, result);
            }
            _ => {}
        }
        let (lent, state) = (slot.lent, slot.state);
        if slot.state & HAS_BUFFER != 0 {
            slot.state = 0;
            // SAFETY: as in `pop_next`.
            let buffer = unsafe { Buf::from_raw(slot.raw()) };
            if !matches!(carried, Carried::Descriptor) {
                return Carried::Buffer(buffer);
            }
            // A path, whose operation brings a descriptor: it can be taken like one of several.
            let _ = self.vectors.push(buffer);
            self.held |= Held::VECTORS;
        }
        self.release_use(settled, lent);
        match settled {
            // What was before it in its chain may look for this number yet (P-14).
            kind::CLOSE if is_cut => return self.carry_descriptor(lent as i32),
            kind::CLOSE if state & NEVER_BEGAN != 0 && *result == CANCELLED => {
                // SAFETY: INV-SYS-2: `push_close` took it over, and the kernel has not closed it (INV-SETTLE-2).
                unsafe { self.kernel.close(lent as i32) };
            }
            kind::CLOSE_SLOT if *result >= 0 => self.files.emptied(lent),
            _ => {}
        }
        carried
    }

    /// An operation that used registered memory, or was to empty a registered slot, is over.
    pub(super) fn release_use(&mut self, settled: u8, lent: u32) {
        match settled {
            kind::LEASE => self.groups.end_use(Group::new(lent as u16)),
            kind::FIXED => self.buffers.end_use(FixedBuffer::new(lent as u16)),
            kind::CLOSE_SLOT => self.files.end_close(lent),
            _ => {}
        }
    }

    /// Holds a new descriptor until it is taken.
    fn carry_descriptor(&mut self, result: i32) -> Carried<Buf, Lease<K>> {
        if result < 0 {
            return Carried::Nothing;
        }
        // SAFETY: INV-SYS-2: a result of accept, socket or open is a fresh descriptor that nobody else knows; one that was to be
        // closed, `push_close` took over, and the kernel was never told of it.
        self.descriptor = Some(unsafe { Fd::from_raw(self.kernel.clone(), result) });
        self.held |= Held::DESCRIPTOR;
        Carried::Descriptor
    }

    /// Makes a lease of a provided buffer, if one came.
    fn carry_lease(&mut self, cqe: Cqe) -> Carried<Buf, Lease<K>> {
        if cqe.flags & linux::IORING_CQE_F_BUFFER == 0 {
            return Carried::Nothing;
        }
        let Some(slot) = self.arena.find(cqe.user_data) else {
            return Carried::Nothing;
        };
        let group = Group::new(slot.lent as u16);
        let id = (cqe.flags >> linux::IORING_CQE_BUFFER_SHIFT) as u16;
        match self.groups.lease(group, id, cqe.result.max(0) as u32) {
            // An error or the end of the stream brings no bytes: back with it at once.
            Some(lease) if cqe.result > 0 => Carried::Lease(lease),
            Some(_) => Carried::Nothing,
            None => {
                self.ignored += 1;
                Carried::Nothing
            }
        }
    }

    /// Rebuilds the buffers of a vectored operation, which is settled.
    fn carry_vectors(
        &mut self,
        word: u64,
        settled: u8,
        result: &mut i32,
    ) -> Carried<Buf, Lease<K>> {
        let Some(index) = Handle::from_raw(word).map(Handle::index) else {
            return Carried::Nothing;
        };
        let side = self.arena.side(index);
        let Some(slot) = self.arena.at(index) else {
            return Carried::Nothing;
        };
        let fills = settled == kind::FILLS_VECTORS && *result >= 0;
        if fills && slot.state & TRUNCATES == 0 {
            *result = (*result).min(slot.lent as i32);
        }
        let mut left = (*result).max(0) as usize;
        let count = usize::from(slot.vectors).min(VECTORS_MAX);
        self.vectors.clear();
        for nth in 0..count {
            // SAFETY: INV-ARENA-2: the operation's first `count` parts were written when it was taken, and the kernel does
            // not touch them.
            let mut raw = unsafe { Side::buffer(side, nth).read().assume_init() };
            if fills {
                // SAFETY: INV-ARENA-1: the side is there, and the kernel is done with it.
                let lent = unsafe { Side::vector(side, nth).read() }.length;
                raw.filled = left.min(lent).min(raw.capacity);
                left -= raw.filled;
            }
            // SAFETY: INV-SETTLE-1: the slot is vacant, and nobody reads these parts again. INV-BUF-2: the kernel filled the
            // vectors in order, and no more than was lent.
            let _ = self.vectors.push(unsafe { Buf::from_raw(raw) });
        }
        self.held |= Held::VECTORS;
        Carried::Vectors
    }

    /// The gate of a closing is over: the closing began, or never will (INV-SETTLE-2). If it is over too, it settles now.
    #[cold]
    pub(super) fn settle_gate(
        &mut self,
        gate: Handle,
        result: i32,
    ) -> Option<Report<Buf, Lease<K>>> {
        let word = Handle::new(gate.index(), Tag::Operation, gate.generation()).raw();
        let slot = self.arena.find(word);
        let gated =
            slot.filter(|slot| kind::of(slot.kind) == kind::CLOSE && slot.state & GATED != 0);
        let Some(slot) = gated else {
            self.ignored += 1;
            return None;
        };
        slot.state &= !GATED;
        // Whatever it failed for: what follows it was cancelled.
        if result < 0 {
            slot.state |= NEVER_BEGAN;
        }
        if slot.state & HEARD == 0 {
            return None;
        }
        let result = slot.filled as i32;
        self.settle_other(word, result, 0)
    }

    /// See [`Backend::address`](super::Backend::address).
    pub(super) fn address_of(&self, token: Handle) -> Option<SocketAddr> {
        let (bytes, length) = self.name_of(token)?;
        sockaddr::decode(bytes.get(..length)?)
    }

    /// See [`Backend::name`](super::Backend::name).
    pub(super) fn name_of(&self, token: Handle) -> Option<([u8; ADDRESS_MAX], usize)> {
        let side = self.arena.side_of(token)?.as_ptr();
        // SAFETY: INV-ARENA-1; the caller asks once the operation has settled. Should the kernel still write there, these
        // are bytes that are copied whole, of which any will do.
        let (bytes, length, name_length) = unsafe {
            (
                (&raw const (*side).address).read_volatile(),
                (&raw const (*side).address_length).read_volatile(),
                (&raw const (*side).message.name_length).read_volatile(),
            )
        };
        let length = if length == 0 { name_length } else { length };
        Some((bytes, (length as usize).min(ADDRESS_MAX)))
    }

    /// See [`Backend::stat`](super::Backend::stat).
    pub(super) fn stat_of(&self, token: Handle) -> Option<Stat> {
        let answer = self.answer_of(token, opcode(Code::Statx))?;
        let bytes = |at: usize| (answer[at / 8] >> (8 * (at % 8))) as u32;
        let at = core::mem::offset_of!(general::statx, stx_mtime);
        let mask = bytes(core::mem::offset_of!(general::statx, stx_mask));
        if mask == 0 {
            return None;
        }
        Some(Stat {
            mask,
            mode: bytes(core::mem::offset_of!(general::statx, stx_mode)) as u16,
            links: bytes(core::mem::offset_of!(general::statx, stx_nlink)),
            user: bytes(core::mem::offset_of!(general::statx, stx_uid)),
            group: bytes(core::mem::offset_of!(general::statx, stx_gid)),
            inode: answer[core::mem::offset_of!(general::statx, stx_ino) / 8],
            size: answer[core::mem::offset_of!(general::statx, stx_size) / 8],
            blocks: answer[core::mem::offset_of!(general::statx, stx_blocks) / 8],
            modified: (answer[at / 8] as i64, bytes(at + 8)),
        })
    }

    /// See [`Backend::exit_info`](super::Backend::exit_info).
    pub(super) fn exit_of(&self, token: Handle) -> Option<ExitStatus> {
        let answer = self.answer_of(token, opcode(Code::WaitId))?;
        // `siginfo_t`: `si_signo`, `si_errno`, `si_code`, padding, `si_pid`, `si_uid`, `si_status`.
        let word = |nth: usize| (answer[nth / 2] >> (32 * (nth % 2))) as i32;
        (word(0) != 0).then(|| {
            ExitStatus::from_info(ExitInfo {
                code: word(2),
                status: word(6),
            })
        })
    }

    fn answer_of(&self, token: Handle, opcode: u8) -> Option<[u64; 32]> {
        let side = self.arena.side_of(token)?.as_ptr();
        // SAFETY: INV-ARENA-1; the kernel does not touch `answers`.
        if unsafe { (*side).answers } != opcode {
            return None;
        }
        // SAFETY: INV-ARENA-1; as in `address_of`.
        Some(unsafe { (&raw const (*side).answer).read_volatile() })
    }
}

/// The result that is told: none has the kernel's own words.
#[cold]
#[inline(never)]
fn told(result: i32) -> i32 {
    if result <= INTERNAL_ERRNO {
        CANCELLED
    } else {
        result
    }
}

/// Notes what a read filled; returns the result, which is no more than was lent (INV-URING-3).
fn fill(slot: &mut Slot, settled: u8, result: i32) -> i32 {
    if result < 0 {
        return result;
    }
    let count = (result as u32).min(slot.lent);
    slot.filled = count as usize;
    if settled == kind::TRUNCATES {
        result
    } else {
        count as i32
    }
}
