//! The engine's way in: an operation gets a slot, its files are found, and the backend takes it.
//!
//! **Invariants.** INV-PENGINE-1 and INV-PENGINE-3 of `engine`. *INV-SUBMISSION-1*: what is refused leaves nothing behind: its slot
//! is vacant, its files have one use less, its buffer is the caller's.
//!
//! **Why this shape.** An operation that depends on nothing but a file passes in one borrow of the tables, inlined into the caller's
//! code, where it is known which operation it is; what needs more is entangled by a cold function beside it.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;

use super::backend::{Backend, Vouched};
use super::engine::Proactor;
use super::operation::{
    Code, Extra, Link, Place, Refused, Request, Target, VectoredRequest, Vectors,
};
use super::slots::Entry;
use super::storage::{State, Storage, Tangle, exchanged, key};
use crate::error::Error;
use crate::handle::{Handle, Op};

impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// Queues an operation (P-1). It goes to the kernel with the next [`wait`](Self::wait) or [`flush`](Self::flush), and
    /// completes in a later turn, never inside this call (P-2).
    ///
    /// Its buffer is the operation's until its last completion brings it back; a refused one comes back at once (P-6).
    ///
    /// # Errors
    /// [`Refused`] with the buffer, and [`Error::Full`] when `OPS` operations are under way; [`Error::Stale`] for a file
    /// that is gone or closing; [`Error::UnsupportedOperation`]; [`Error::Invalid`]; [`Error::Forked`]; what the kernel says
    /// if the queue was full and could not be flushed.
    #[inline(always)]
    pub fn submit(
        &mut self,
        request: impl Into<Request<Buf>>,
        data: D,
    ) -> Result<Op, Refused<Buf>> {
        let mut request: Request<Buf> = request.into();
        // A link leads to the next member of a chain: a lone operation has none.
        request.link = Link::None;
        if request.code == Code::Close
            && let Place::File(file) = request.target.0
        {
            return self.close(file, data).map_err(|error| refused(error, None));
        }
        self.submit_linked(request, data, 0)
    }

    #[inline(always)]
    pub(super) fn submit_linked(
        &mut self,
        mut request: Request<Buf>,
        data: D,
        previous: u32,
    ) -> Result<Op, Refused<Buf>> {
        let handle = match self.enter(&mut request, data, previous) {
            Ok(handle) => handle,
            Err(error) => return Err(refused(error, request.buffer)),
        };
        match self.base.backend.push(handle, request, Vouched::new()) {
            Ok(()) => Ok(Op::assume(handle)),
            Err(refused) => {
                self.abandon(handle);
                Err(refused)
            }
        }
    }

    /// Resolves a request's files and occupies a slot for it.
    #[inline(always)]
    fn enter(
        &mut self,
        request: &mut Request<Buf>,
        data: D,
        previous: u32,
    ) -> Result<Handle, Error> {
        let handle = self.occupy(request, data)?;
        match request.extra {
            Extra::None | Extra::WantAddress | Extra::Address(_) | Extra::UnixPath
                if previous == 0 => {}
            ref mut extra => self.entangle(handle, extra, previous)?,
        }
        Ok(handle)
    }

    /// Occupies a slot, for an operation that depends on nothing but a file; in one borrow of the tables.
    #[inline(always)]
    fn occupy(&mut self, request: &mut Request<Buf>, data: D) -> Result<Handle, Error> {
        let tables = self.tables();
        let mut entry = Entry {
            state: State::empty(),
            code: request.code,
            file: 0,
            data,
        };
        match request.target.0 {
            Place::File(file) => {
                let open = tables.files.get_mut(file.handle());
                let Some(open) = open.filter(|open| open.is_open()) else {
                    return Err(Error::Stale);
                };
                open.begin_use();
                request.target = Target(Place::Resolved(open.number));
                entry.file = file.handle().index() + 1;
            }
            // Some other engine's, or this one's of an operation that is over (INV-REQUEST-1).
            Place::Resolved(_) => return Err(Error::Stale),
            Place::None | Place::Number(_) | Place::Fixed(_) => {}
        }
        match tables.operations.insert(entry, key(request.target)) {
            Some(handle) => Ok(handle),
            None => Err(self.is_full(entry.file)),
        }
    }

    #[cold]
    #[inline(never)]
    fn is_full(&mut self, file: u32) -> Error {
        self.release_use(file);
        Error::Full { capacity: OPS }
    }

    /// Notes what an operation needs beyond its target (a second file, a group, a registered buffer) and which one it
    /// follows. If it can't have that it leaves its slot.
    #[cold]
    #[inline(never)]
    fn entangle(&mut self, handle: Handle, extra: &mut Extra, previous: u32) -> Result<(), Error> {
        let mut tangle = Tangle {
            previous,
            follows: previous != 0,
            ..Tangle::NONE
        };
        match extra {
            Extra::From { target, .. } => {
                if let Place::Fixed(slot) = target.0 {
                    // A slot beyond is none.
                    tangle.resource = u16::try_from(slot).unwrap_or(u16::MAX).wrapping_add(1);
                }
                if let Place::File(file) = target.0 {
                    let files = &mut self.tables().files;
                    let open = files.get_mut(file.handle());
                    let Some(open) = open.filter(|open| open.is_open()) else {
                        self.abandon(handle);
                        return Err(Error::Stale);
                    };
                    open.begin_use();
                    *target = Target(Place::Resolved(open.number));
                    tangle.second = file.handle().index() + 1;
                } else if let Place::Resolved(_) = target.0 {
                    self.abandon(handle);
                    return Err(Error::Stale);
                }
            }
            Extra::Group(group) => tangle.resource = group.0,
            Extra::Fixed { buffer, .. } => {
                tangle.resource = buffer.0;
                if let Some(uses) = self.fixed_uses.get_mut(usize::from(buffer.0)) {
                    *uses += 1;
                    tangle.uses_buffer = true;
                }
            }
            _ => {}
        }
        let tables = self.tables();
        if let (Some(state), Some(place)) = (
            tables.operations.state_mut(handle),
            tables.tangles.get_mut(handle.index() as usize),
        ) {
            *state |= State::ENTANGLED;
            *place = tangle;
            Ok(())
        } else {
            // It went into other tables than these.
            exchanged();
        }
    }

    /// Takes back what [`enter`](Self::enter) did for an operation that the backend refused.
    #[cold]
    #[inline(never)]
    pub(super) fn abandon(&mut self, handle: Handle) {
        if let Some((state, file, _)) = self.tables().operations.take(handle.raw()) {
            self.disentangle(handle, state, file);
        }
    }

    /// Queues an operation with several buffers: see [`submit`](Self::submit). Its last completion says
    /// [`Payload::Vectors`](super::Payload::Vectors), and [`take_vectors`](Self::take_vectors) has them.
    ///
    /// # Errors
    /// Why, and the buffers: as [`submit`](Self::submit), and [`Error::Invalid`] without a buffer.
    #[allow(
        clippy::type_complexity,
        reason = "the error and what was refused, as everywhere"
    )]
    pub fn submit_vectored(
        &mut self,
        request: impl Into<VectoredRequest<Buf>>,
        data: D,
    ) -> Result<Op, (Error, Vectors<Buf>)> {
        let mut request: VectoredRequest<Buf> = request.into();
        // As in `submit`: what is queued next is no member of a chain, be it a request to cancel this.
        request.request.link = Link::None;
        if request.buffers.is_empty() {
            let error = Error::Invalid("a vectored operation needs at least one buffer");
            return Err((error, request.buffers));
        }
        let handle = match self.enter(&mut request.request, data, 0) {
            Ok(handle) => handle,
            Err(error) => return Err((error, request.buffers)),
        };
        match self
            .base
            .backend
            .push_vectored(handle, request, Vouched::new())
        {
            Ok(()) => Ok(Op::assume(handle)),
            Err(refused) => {
                self.abandon(handle);
                Err(refused)
            }
        }
    }
}

#[cold]
fn refused<Buf>(error: Error, buffer: Option<Buf>) -> Refused<Buf> {
    Refused { error, buffer }
}
