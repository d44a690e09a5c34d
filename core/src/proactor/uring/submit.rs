//! Taking operations: from the engine's hands into the queue.
//!
//! **Invariants.** Those of the [parent](super). Nothing is taken apart before everything that can be refused has been
//! looked at.
//!
//! **Why this shape.** The one path that matters is inlined into the caller's code, where it knows which operation it is.

use core::fmt::Debug;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr;

use linux_raw_sys::io_uring as linux;
use linux_raw_sys::io_uring::io_uring_op as op;

use super::arena::{
    ADDRESS_MAX, GATED, HAS_BUFFER, MISSED, Side, TOLD, TRUNCATES, UNIX_PATH_MAX, kind,
};
use super::sqe::{TRANSFER_MAX, link_flag, message_flags, opcode, settling, truncates, write_name};
use super::{Due, Uring, is_linked};
use crate::error::Error;
use crate::handle::{Handle, Tag};
use crate::proactor::buffer::{IoBuf, RawBuf};
use crate::proactor::operation::{
    Code, Extra, Link, Place, Refused, Request, VectoredRequest, Vectors,
};
use crate::sys::ring::{FIXED_FILE, IoVec, LINK, Message, Sqe, Timespec};
use crate::sys::{Fd, Kernel, RawFd};
use crate::wakeup::Wakeup;

/// How often a request to cancel what the kernel did not find is made again at once; after that there is a pause before each, until
/// there were as many as a byte counts.
const TRIES_AT_ONCE: u8 = 32;
/// That pause: 10 ms.
static PAUSE: Timespec = Timespec {
    seconds: 0,
    nanos: 10_000_000,
};

/// Zeroes what is not initialised: with `MSG_TRUNC` the kernel counts bytes that it did not store, of a TCP stream all of
/// them (`tcp(7)`), and they would count as filled (INV-BUF-2).
///
/// # Safety
/// The parts are the caller's, writable up to their capacity.
#[cold]
#[inline(never)]
unsafe fn clear_rest(raw: &RawBuf) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let rest = raw.start.as_ptr().add(raw.filled);
        rest.write_bytes(0, raw.capacity - raw.filled);
    }
}

#[cold]
#[inline(never)]
fn refuse<Buf>(error: Error, buffer: Option<Buf>) -> Refused<Buf> {
    Refused { error, buffer }
}

impl<Buf, K, P> Uring<Buf, K, P>
where
    Buf: IoBuf + Debug,
    K: Kernel,
    P: Deref<Target = Wakeup<K>>,
{
    /// See [`Backend::push`](super::Backend::push).
    #[inline(always)]
    pub(super) fn submit(
        &mut self,
        token: Handle,
        mut request: Request<Buf>,
    ) -> Result<(), Refused<Buf>> {
        if !self.is_owners() {
            return Err(refuse(Error::Forked, request.buffer));
        }
        let entries = 1 + u32::from(request.timeout.is_some());
        if !self.ring.has_room(entries)
            && let Err(error) = self.make_room_now(entries as usize)
        {
            return Err(refuse(error, request.buffer));
        }
        if let Err(error) = self.check_request(&request) {
            return Err(refuse(error, request.buffer));
        }
        if self.arena.vacant(token).is_none() {
            return Err(refuse(self.arena.why_not(token), request.buffer));
        }
        // From here on nothing can be refused.
        let index = token.index();
        let raw = request.buffer.take().map(IoBuf::into_raw);
        if truncates(request.code, request.flags)
            && let Some(raw) = &raw
        {
            // SAFETY: INV-BUF-1: ours, until the kernel has it.
            unsafe { clear_rest(raw) };
        }
        let sqe = self.encode(index, token.raw(), &request, raw.as_ref());
        let kind = settling(request.code, raw.is_some());
        let lent = match request.code {
            Code::RecvMulti => self.group_used(&request.extra),
            Code::ReadFixed | Code::WriteFixed => self.buffer_used(&request.extra),
            Code::Close => closed_slot(&request),
            _ => sqe.length,
        };
        let kind = match (request.code, request.target.0) {
            (Code::Close, Place::Fixed(_)) => {
                self.files.begin_close(lent);
                kind::CLOSE_SLOT
            }
            (Code::Recv, _) if truncates(request.code, request.flags) => kind::TRUNCATES,
            _ => kind,
        };
        if let Some(slot) = self.arena.vacant(token) {
            slot.token = token.raw();
            slot.kind = kind;
            slot.lent = lent;
            slot.state = 0;
            if let Some(raw) = raw {
                slot.lend(raw);
                slot.state = HAS_BUFFER;
            }
        }
        self.in_flight += 1; // INV-URING-2
        let mut looks = self.ring.push(sqe);
        if let Some(limit) = request.timeout {
            let timeout = self.encode_timeout(index, limit, request.link);
            looks = self.ring.push(timeout);
        }
        if looks && !is_linked(request.link) {
            self.flush_batch();
        }
        Ok(())
    }

    /// Flushes the queue if enough is queued (P-13). What the kernel does not take now stays queued.
    #[cold]
    #[inline(never)]
    fn flush_batch(&mut self) {
        if self.ring.queued() >= self.batch {
            let _ = self.flush_queue();
        }
    }

    fn group_used(&mut self, extra: &Extra) -> u32 {
        match *extra {
            Extra::Group(group) => {
                self.groups.begin_use(group);
                u32::from(group.id())
            }
            _ => 0,
        }
    }

    fn buffer_used(&mut self, extra: &Extra) -> u32 {
        match *extra {
            Extra::Fixed { buffer, .. } => {
                self.buffers.begin_use(buffer);
                u32::from(buffer.index())
            }
            _ => 0,
        }
    }

    /// See [`Backend::push_vectored`](super::Backend::push_vectored).
    #[allow(
        clippy::type_complexity,
        reason = "the error and what was refused, as everywhere"
    )]
    pub(super) fn submit_vectored(
        &mut self,
        token: Handle,
        vectored: VectoredRequest<Buf>,
    ) -> Result<(), (Error, Vectors<Buf>)> {
        let VectoredRequest { request, buffers } = vectored;
        if let Err(error) = self.check_vectored(token, &request, &buffers) {
            return Err((error, buffers));
        }
        let index = token.index();
        let fills = request.code.fills();
        let side = self.claim_side(index, token.raw());
        let count = buffers.len();
        // The last buffer may be a path, which is no part of the message.
        let has_path = matches!(request.extra, Extra::UnixPath);
        let moved = count.saturating_sub(usize::from(has_path));
        let mut path = None;
        let mut buffers = buffers;
        while let Some(buffer) = buffers.pop() {
            let (nth, raw) = (buffers.len(), buffer.into_raw());
            if truncates(request.code, request.flags) {
                // SAFETY: INV-BUF-1: ours, until the kernel has it.
                unsafe { clear_rest(&raw) };
            }
            let length = if nth >= moved {
                path = Some(raw);
                0
            } else if fills {
                raw.capacity
            } else {
                raw.filled
            };
            // SAFETY: INV-ARENA-3: the kernel has not got the operation yet; `nth` is below VECTORS_MAX, as buffers are at
            // most that many.
            unsafe {
                Side::vector(side, nth).write(IoVec {
                    start: raw.start.as_ptr(),
                    length,
                });
                Side::buffer(side, nth).write(MaybeUninit::new(raw));
            }
        }
        let mut room = TRANSFER_MAX;
        for nth in 0..count {
            // SAFETY: as above; it was written just now.
            unsafe {
                let vector = Side::vector(side, nth);
                (*vector).length = (*vector).length.min(room);
                room -= (*vector).length;
            }
        }
        let (fd, place_flag) = match request.target.0 {
            Place::Number(number) | Place::Resolved(number) => (number, 0),
            Place::Fixed(slot) => (slot as i32, FIXED_FILE),
            Place::None | Place::File(_) => (super::NO_FD, 0),
        };
        let mut sqe = Sqe {
            opcode: opcode(request.code),
            flags: place_flag | link_flag(request.link),
            fd,
            op_flags: request.flags,
            user_data: token.raw(),
            ..Sqe::EMPTY
        };
        if request.timeout.is_some() && request.link == Link::None {
            sqe.flags |= LINK;
        }
        // SAFETY: INV-ARENA-3, INV-SQE-1: pointers into the side, no references.
        unsafe {
            let side = side.as_ptr();
            if matches!(request.code, Code::RecvMessage | Code::SendMessage) {
                let name_length = match request.code {
                    Code::SendMessage => {
                        write_name(ptr::NonNull::new_unchecked(side), &request, path.as_ref())
                    }
                    _ if matches!(request.extra, Extra::WantAddress) => ADDRESS_MAX as u32,
                    _ => 0,
                };
                if matches!(request.code, Code::RecvMessage) {
                    (*side).address = [0; ADDRESS_MAX];
                }
                let name = if name_length == 0 {
                    ptr::null_mut()
                } else {
                    (&raw mut (*side).address).cast()
                };
                (*side).message = Message {
                    name,
                    name_length,
                    vectors: (&raw mut (*side).vectors).cast(),
                    vectors_count: moved,
                    control: ptr::null_mut(),
                    control_length: 0,
                    flags: 0,
                };
                sqe.address = (&raw mut (*side).message).cast();
                sqe.length = 1;
                sqe.op_flags = message_flags(request.flags);
                sqe.io_flags = request.extra_flags & self.capabilities.transfer_flags;
            } else {
                sqe.address = (&raw mut (*side).vectors).cast();
                sqe.length = moved as u32;
                sqe.offset = ptr::without_provenance_mut(request.offset as usize);
            }
        }
        if let Some(slot) = self.arena.vacant(token) {
            slot.token = token.raw();
            slot.kind = settling(request.code, true);
            slot.lent = (TRANSFER_MAX - room) as u32;
            slot.vectors = count as u8;
            slot.state = if truncates(request.code, request.flags) {
                TRUNCATES
            } else {
                0
            };
        }
        self.in_flight += 1; // INV-URING-2
        let mut looks = self.ring.push(sqe);
        if let Some(limit) = request.timeout {
            let timeout = self.encode_timeout(index, limit, request.link);
            looks = self.ring.push(timeout);
        }
        if looks && !is_linked(request.link) {
            self.flush_batch();
        }
        Ok(())
    }

    fn check_vectored(
        &mut self,
        token: Handle,
        request: &Request<Buf>,
        buffers: &[Buf],
    ) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        let is_vectored = matches!(
            request.code,
            Code::ReadVectored | Code::WriteVectored | Code::RecvMessage | Code::SendMessage
        );
        if !is_vectored || request.buffer.is_some() || matches!(request.target.0, Place::File(_)) {
            return Err(Error::Invalid("this is no vectored operation"));
        }
        let Some(last) = buffers.last() else {
            return Err(Error::Invalid(
                "a vectored operation needs at least one buffer",
            ));
        };
        if matches!(request.extra, Extra::UnixPath)
            && !(matches!(request.code, Code::SendMessage)
                && (1..=UNIX_PATH_MAX).contains(&last.bytes().len()))
        {
            return Err(Error::Invalid("a unix path has 1 to 107 bytes"));
        }
        let entries = 1 + usize::from(request.timeout.is_some());
        if !self.ring.has_room(entries as u32) {
            self.make_room_now(entries)?;
        }
        if self.arena.vacant(token).is_none() {
            return Err(self.arena.why_not(token));
        }
        Ok(())
    }

    /// See [`Backend::push_close`](super::Backend::push_close).
    pub(super) fn submit_close(
        &mut self,
        token: Handle,
        fd: Fd<K>,
        link: Link,
    ) -> Result<(), (Error, Fd<K>)> {
        if !self.is_owners() {
            return Err((Error::Forked, fd));
        }
        // Of a chain not even the first member begins if there is something wrong with another one.
        let in_chain = is_linked(link) || self.ring.is_chain_open();
        let entries = 1 + u32::from(in_chain);
        if !self.ring.has_room(entries)
            && let Err(error) = self.make_room_now(entries as usize)
        {
            return Err((error, fd));
        }
        let Some(slot) = self.arena.vacant(token) else {
            return Err((self.arena.why_not(token), fd));
        };
        let number = fd.into_raw();
        slot.token = token.raw();
        slot.kind = kind::CLOSE;
        slot.lent = number as u32;
        slot.state = if in_chain { GATED } else { 0 };
        self.in_flight += 1; // INV-URING-2
        if in_chain {
            self.ring.push(Sqe {
                opcode: op::IORING_OP_NOP as u8,
                flags: LINK,
                user_data: Handle::new(token.index(), Tag::Gate, token.generation()).raw(),
                ..Sqe::EMPTY
            });
        }
        self.ring.push(Sqe {
            opcode: op::IORING_OP_CLOSE as u8,
            flags: link_flag(link),
            fd: number,
            user_data: token.raw(),
            ..Sqe::EMPTY
        });
        Ok(())
    }

    /// See [`Backend::cancel`](super::Backend::cancel).
    pub(super) fn submit_cancel(&mut self, token: Handle) -> Result<(), Error> {
        if !token.is(Tag::Operation) {
            return Err(Error::Invalid("the token is no operation's"));
        }
        if let Some(slot) = self.arena.find(token.raw()) {
            slot.tries = 0;
            // It ends by itself. Cancelled while it waits for a worker, it would say what a file system can say as well.
            if kind::of(slot.kind) == kind::CLOSE {
                return if self.is_owners() {
                    Ok(())
                } else {
                    Err(Error::Forked)
                };
            }
        }
        self.cancel_word(token.raw())
    }

    /// The kernel did not cancel what it was to cancel: it did not find it, or could only tell a worker. If that is not over, and was
    /// not found, it is a member of a chain that has not started,
    /// though the one before it is over: a kernel starts it with the next call, after it has looked for it. So it is asked
    /// again (P-4). Nor does it find what a worker of its own has taken and not begun (seen on Linux 6.1, for as long as that
    /// worker gets no processor): so from some time on it is asked after a pause, as for what a worker was told to leave. What a
    /// kernel can't find for another reason, such as a read that a disk is at, is not asked for ever.
    #[cold]
    pub(super) fn cancel_again(&mut self, token: Handle, at_once: bool) {
        let Some(slot) = self.arena.find(token.raw()) else {
            return;
        };
        if slot.kind == kind::VACANT || slot.state & TOLD != 0 || slot.tries == u8::MAX {
            return;
        }
        slot.tries += 1;
        let asked = if at_once && slot.tries <= TRIES_AT_ONCE {
            self.cancel_word(token.raw())
        } else {
            self.cancel_after_pause(token.raw())
        };
        if asked.is_err()
            && let Some(slot) = self.arena.find(token.raw())
        {
            slot.state |= MISSED;
            self.due |= Due::MISSED;
        }
    }

    /// Asks for what could not be asked for again.
    #[cold]
    pub(super) fn cancel_missed(&mut self) {
        self.due -= Due::MISSED;
        for index in 0..self.arena.capacity() {
            let token = match self.arena.at(index) {
                Some(slot) if slot.state & MISSED != 0 => {
                    slot.state &= !MISSED;
                    if slot.kind == kind::VACANT {
                        continue;
                    }
                    slot.token
                }
                _ => continue,
            };
            if self.cancel_word(token).is_err() {
                if let Some(slot) = self.arena.find(token) {
                    slot.state |= MISSED;
                }
                self.due |= Due::MISSED;
                return;
            }
        }
    }

    /// Asks the kernel to cancel what has this word.
    pub(super) fn cancel_word(&mut self, word: u64) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        if !self.ring.has_room(1) {
            self.make_room_now(1)?;
        }
        self.ring.push(Sqe {
            opcode: op::IORING_OP_ASYNC_CANCEL as u8,
            fd: super::NO_FD,
            address: ptr::without_provenance_mut(word as usize),
            user_data: cancel_word_of(word),
            ..Sqe::EMPTY
        });
        Ok(())
    }

    /// Asks the kernel to cancel what has this word when [`PAUSE`] is over.
    fn cancel_after_pause(&mut self, word: u64) -> Result<(), Error> {
        if !self.ring.has_room(2) {
            self.make_room_now(2)?;
        }
        self.ring.push(Sqe {
            opcode: op::IORING_OP_TIMEOUT as u8,
            flags: link_flag(Link::Hard),
            fd: super::NO_FD,
            // The kernel reads it when it takes the submission.
            address: (&raw const PAUSE).cast_mut().cast(),
            length: 1,
            user_data: super::CONTROL_TIMEOUT.raw(),
            ..Sqe::EMPTY
        });
        self.cancel_word(word)
    }

    /// Asks for one report of readiness, or with `multi` for one after the other.
    pub(super) fn push_poll(
        &mut self,
        fd: RawFd,
        events: u32,
        word: u64,
        multi: bool,
    ) -> Result<(), Error> {
        if !self.is_owners() {
            return Err(Error::Forked);
        }
        if !self.ring.has_room(1) {
            self.make_room_now(1)?;
        }
        self.ring.push(Sqe {
            opcode: op::IORING_OP_POLL_ADD as u8,
            fd,
            length: if multi {
                linux::IORING_POLL_ADD_MULTI
            } else {
                0
            },
            op_flags: super::sqe::poll_mask(events),
            user_data: word,
            ..Sqe::EMPTY
        });
        Ok(())
    }

    /// Whether the ring is given up.
    pub(super) fn is_lost(&self) -> bool {
        self.due.contains(Due::LOST)
    }
}

/// The word of a request to cancel what has `word`: it says for whom it was made.
fn cancel_word_of(word: u64) -> u64 {
    match Handle::from_raw(word) {
        Some(handle) if handle.is(Tag::Operation) => {
            Handle::new(handle.index(), Tag::Control, handle.generation()).raw()
        }
        _ => super::CONTROL_CANCEL.raw(),
    }
}

/// The registered slot that a request closes.
#[inline(always)]
fn closed_slot<Buf>(request: &Request<Buf>) -> u32 {
    match request.target.0 {
        Place::Fixed(slot) => slot,
        _ => 0,
    }
}
