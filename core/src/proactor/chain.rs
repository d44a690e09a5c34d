//! Chains: operations that begin one after the other (P-10).
//!
//! **Invariants.** *INV-CHAIN-1*: what is queued after a chain is no member of it, also if it could not be queued whole, or a
//! panic in the program's own storage cut that short.
//!
//! **Why this shape.** The kernel knows a chain by what lies side by side in the queue, so all that can be refused is looked at
//! before the first member is queued. Its end is a scope's, which no way out of it leaves open.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::fmt;

use super::backend::Backend;
use super::engine::Proactor;
use super::operation::{Code, Extra, Link, Place, Request, Target};
use super::storage::{State, Storage, Tangle};
use crate::error::Error;
use crate::handle::Op;

/// Refused operations of a chain: why, and all its members (P-10).
#[derive(Debug)]
pub struct RefusedChain<Buf, const N: usize> {
    /// Why.
    pub error: Error,
    /// The members, in order.
    pub requests: heapless::Vec<Request<Buf>, N>,
}

impl<Buf, const N: usize> fmt::Display for RefusedChain<Buf, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<Buf: fmt::Debug, const N: usize> core::error::Error for RefusedChain<Buf, N> {}

impl<Buf, const N: usize> From<RefusedChain<Buf, N>> for Error {
    fn from(refused: RefusedChain<Buf, N>) -> Self {
        refused.error
    }
}

impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// Queues a chain: each member starts when the one before it has succeeded in full, or, if that has a
    /// [`hard_link`](super::op::Nop::hard_link), when it is over. All of it goes to the kernel in one call (P-10).
    ///
    /// ```no_run
    /// # use linux_event_core::proactor::{Proactor, op, Uring};
    /// # use linux_event_core::sys::{Fd, BorrowedFd};
    /// # fn save(proactor: &mut Proactor<&'static mut [u8], u32>, file: Fd, page: &'static mut [u8]) -> Option<()> {
    /// let file = proactor.adopt(file).ok()?;
    /// let write = op::write(file, page).at(0).link().into();
    /// let [written, synced] = proactor.submit_chain([(write, 1), (op::fsync(file).into(), 2)]).ok()?;
    /// # let _ = (written, synced);
    /// # Some(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RefusedChain`] with every member: as [`submit`](Self::submit), and [`Error::Full`] if it is longer than the queue.
    pub fn submit_chain<const N: usize>(
        &mut self,
        members: [(Request<Buf>, D); N],
    ) -> Result<[Op; N], RefusedChain<Buf, N>> {
        if let Err(error) = self.check_chain(&members) {
            let requests = members.into_iter().map(|(request, _)| request).collect();
            return Err(RefusedChain { error, requests });
        }
        let mut requests = heapless::Vec::<Request<Buf>, N>::new();
        let mut ops = heapless::Vec::<Op, N>::new();
        let mut failed = None;
        let open = Open(self);
        for (index, (mut request, data)) in members.into_iter().enumerate() {
            if failed.is_some() {
                let _ = requests.push(request);
                continue;
            }
            request.link = match (index + 1 == N, request.link) {
                (true, _) => Link::None,
                (false, Link::None) => Link::Soft,
                (false, link) => link,
            };
            let previous = ops.last().map_or(0, |op| op.handle().index() + 1);
            let submitted = match request {
                Request {
                    code: Code::Close,
                    target: Target(Place::File(file)),
                    link,
                    ..
                } => open.0.close_in_chain(file, data, link, previous),
                request => open
                    .0
                    .submit_linked(request, data, previous)
                    .map_err(Error::from),
            };
            match submitted {
                Ok(op) => {
                    open.0.tie(previous, op);
                    let _ = ops.push(op);
                }
                Err(error) => failed = Some(error),
            }
        }
        drop(open);
        match (failed, ops.into_array::<N>()) {
            (None, Ok(ops)) => Ok(ops),
            // Everything was checked before: only a backend that is wrong comes here. What it took is cancelled.
            (failed, ops) => {
                let taken: &[Op] = match &ops {
                    Ok(ops) => ops,
                    Err(ops) => ops,
                };
                for &op in taken {
                    self.detach(op);
                    self.cancel(op);
                }
                Err(RefusedChain {
                    error: failed.unwrap_or(Error::Stale),
                    requests,
                })
            }
        }
    }

    /// Whether a chain would be taken; makes room for it.
    fn check_chain<const N: usize>(
        &mut self,
        members: &[(Request<Buf>, D); N],
    ) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        let vacant = OPS - self.operations();
        if N > vacant {
            return Err(Error::Full { capacity: OPS });
        }
        let mut entries = N;
        for (index, (request, _)) in members.iter().enumerate() {
            self.base.backend.check(request)?;
            entries += usize::from(request.timeout.is_some());
            if request.code == Code::Close
                && let Place::File(file) = request.target.0
            {
                entries += 1;
                let mut after = members.iter().skip(index + 1);
                if !self.is_idle(file) || after.any(|(after, _)| after.names(file)) {
                    return Err(Error::Busy);
                }
            }
            let from = match request.extra {
                Extra::From { target, .. } => target,
                _ => Target::NONE,
            };
            for target in [request.target, from] {
                let is_stale = match target.0 {
                    Place::File(file) => !self.is_open(file),
                    Place::Resolved(_) => true,
                    Place::None | Place::Number(_) | Place::Fixed(_) => false,
                };
                if is_stale {
                    return Err(Error::Stale);
                }
            }
        }
        self.base.backend.make_room(entries)
    }

    /// Ties a member of a chain to the one before it.
    fn tie(&mut self, previous: u32, op: Op) {
        let tables = self.tables();
        if let Some(index) = previous.checked_sub(1)
            && let Some((before, _)) = tables.operations.at(index)
            && let Some(state) = tables.operations.state_mut(before)
            && let Some(tangle) = tables.tangles.get_mut(index as usize)
        {
            if !state.contains(State::ENTANGLED) {
                *state |= State::ENTANGLED;
                *tangle = Tangle::NONE;
            }
            tangle.next = op.handle().index() + 1;
        }
    }
}

/// A chain that is being queued (INV-CHAIN-1).
struct Open<'a, Buf, D, const OPS: usize, const T: usize, B, S>(
    &'a mut Proactor<Buf, D, OPS, T, B, S>,
)
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>;

impl<Buf, D, const OPS: usize, const T: usize, B, S> Drop for Open<'_, Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    fn drop(&mut self) {
        self.0.base.backend.end_chain();
    }
}
