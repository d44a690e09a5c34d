//! The engine's way out: what the backend reports becomes an event, and the slot is vacant again.
//!
//! **Invariants.** INV-PENGINE-1 of `engine`: the last report of an operation is the only thing that vacates its slot.
//!
//! **Why this shape.** The path of a plain completion is inlined into the caller's loop; chains, files and abandoned operations are
//! in cold functions beside it.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::net::SocketAddr;

use super::backend::{Backend, Carried, Popped, Report, Stat};
use super::engine::{Proactor, Step};
use super::event::{Completion, Event, Payload};
use super::operation::Vectors;
use super::storage::{State, Storage, Tangle};
use crate::errno::Errno;
use crate::handle::{Handle, Op};
use crate::pid::ExitStatus;
use crate::reactor::{self, Other, Pending};
use crate::sys::sockaddr;

impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// The next event of this turn; `None` ends the turn.
    #[inline(always)]
    #[allow(
        clippy::should_implement_trait,
        reason = "a turn ends, the proactor goes on: it is no iterator"
    )]
    pub fn next(&mut self) -> Option<Event<D, B>> {
        loop {
            match self.step() {
                Step::Plain {
                    op,
                    data,
                    result,
                    buffer,
                } => {
                    return Some(Event::Completion(Completion {
                        op,
                        data,
                        result,
                        more: false,
                        payload: buffer.map_or(Payload::Nothing, Payload::Buffer),
                    }));
                }
                Step::Completion(completion) => return Some(Event::Completion(completion)),
                Step::Other(other) => {
                    if let Some(event) = self.next_other(other).and_then(from_reactor) {
                        return Some(event);
                    }
                }
                Step::End => return None,
            }
        }
    }

    /// [`next`](Self::next) in two halves, for layers above. [`Step::Other`] goes on in [`next_other`](Self::next_other).
    #[doc(hidden)]
    #[inline(always)]
    pub fn step(&mut self) -> Step<D, B> {
        if self.base.pending.intersects(Pending::DELIVER) {
            return Step::Other(Other::PENDING);
        }
        loop {
            match self.base.backend.pop() {
                Some(Popped::Plain {
                    token,
                    mut result,
                    buffer,
                }) => {
                    let Some((op, state, data)) = self.vacate(token) else {
                        self.drop_stale(buffer);
                        continue;
                    };
                    if !state.is_empty() {
                        if state.contains(State::DETACHED) {
                            drop_plain(buffer);
                            continue;
                        }
                        if state.contains(State::CANCELLED) {
                            result = of_cancelled(result);
                        }
                    }
                    self.base.stats.events += 1;
                    return Step::Plain {
                        op,
                        data,
                        result,
                        buffer,
                    };
                }
                Some(Popped::Report(report)) => {
                    if let Some(completion) = self.settle(report) {
                        return Step::Completion(completion);
                    }
                }
                Some(Popped::Ready(report)) => return Step::Other(Other::of(report)),
                None => return Step::End,
            }
        }
    }

    /// The event behind a [`Step::Other`]; `None` if there is none, and the turn goes on.
    #[doc(hidden)]
    #[inline(always)]
    pub fn next_other(&mut self, other: Other) -> Option<reactor::Event<D>> {
        self.base.next_other(other)
    }

    /// Takes an operation out of its slot, with its last report: its name, its state and its data.
    #[inline(always)]
    fn vacate(&mut self, token: u64) -> Option<(Op, State, D)> {
        // The files of the same borrow: those that the entry was in, and no others that are lent by the next one.
        let tables = self.tables();
        let (state, file, data) = tables.operations.take(token)?;
        let op = Op::of_token(token);
        if !state.is_empty() {
            self.settle_entangled(op.handle(), state, file);
        } else if let Some(index) = file.checked_sub(1)
            && let Some((file, open)) = tables.files.at_mut(index)
            && open.end_use()
        {
            self.close_idle(file);
        }
        Some((op, state, data))
    }

    /// A report of the backend, of any kind: INV-PENGINE-1.
    #[inline(never)]
    fn settle(&mut self, mut report: Report<Buf, B::Lease>) -> Option<Completion<D, B>> {
        if matches!(report.carried, Carried::Descriptor) && self.closes_later(report.token) {
            report.carried = Carried::Nothing;
        }
        let found = if report.more {
            let found = self.tables_ref().operations.find(report.token);
            found.map(|(handle, entry)| (Op::assume(handle), entry.state, entry.data))
        } else {
            self.vacate(report.token)
        };
        let Some((op, state, data)) = found else {
            self.drop_stale(None);
            self.drop_carried(report.carried);
            return None;
        };
        if state.contains(State::DETACHED) {
            self.drop_carried(report.carried);
            return None;
        }
        self.base.stats.events += 1;
        let payload = match report.carried {
            Carried::Nothing => Payload::Nothing,
            Carried::Buffer(buffer) => Payload::Buffer(buffer),
            Carried::Vectors => Payload::Vectors,
            Carried::Descriptor => self
                .base
                .backend
                .take_descriptor()
                .map_or(Payload::Nothing, Payload::Descriptor),
            Carried::Lease(lease) => Payload::Lease(lease),
        };
        Some(Completion {
            op,
            data,
            result: if state.contains(State::CANCELLED) {
                of_cancelled(report.result)
            } else {
                report.result
            },
            more: report.more,
            payload,
        })
    }

    /// What is to be done for an operation that is not like most, once it has left its slot.
    #[cold]
    #[inline(never)]
    fn settle_entangled(&mut self, handle: Handle, state: State, file: u32) {
        if state.contains(State::UNASKED) {
            self.unasked -= 1;
        }
        if state.contains(State::UNCOUNTED) {
            self.uncounted -= 1;
        }
        let tangle = self.disentangle(handle, state, file);
        let tables = self.tables();
        // One that was cut off a chain settles before the one before it, which must not take another for it later.
        if let Some(index) = tangle.previous.checked_sub(1)
            && let Some(before) = tables.tangle_mut(index)
            && before.next == handle.index() + 1
        {
            before.next = 0;
        }
        if let Some(index) = tangle.next.checked_sub(1)
            && let Some((next, entry)) = tables.operations.at(index)
        {
            if let Some(after) = tables.tangle_mut(index) {
                after.previous = 0;
            }
            // It has started, or starts now, whatever became of the one before it (P-4).
            if entry.state.contains(State::CANCELLED) {
                self.ask(next);
            }
        }
    }

    /// What others depend on of the operation in, or just gone from, a slot.
    pub(super) fn tangle(&self, handle: Handle, state: State) -> Tangle {
        if state.contains(State::ENTANGLED) {
            self.tables_ref().tangle(handle.index())
        } else {
            Tangle::NONE
        }
    }

    /// Lets go of what an operation used that is just gone from its slot; what depends on it is the caller's to see to.
    pub(super) fn disentangle(&mut self, handle: Handle, state: State, file: u32) -> Tangle {
        let tangle = self.tangle(handle, state);
        self.untangle(file, tangle);
        tangle
    }

    /// Lets go of files and registered buffers.
    fn untangle(&mut self, file: u32, tangle: Tangle) {
        self.release_use(file);
        self.release_use(tangle.second);
        if tangle.uses_buffer
            && let Some(uses) = self.fixed_uses.get_mut(usize::from(tangle.resource))
        {
            *uses -= 1;
        }
    }

    /// A report of no operation of this proactor's: only a backend that is wrong makes one.
    #[cold]
    #[inline(never)]
    fn drop_stale(&mut self, buffer: Option<Buf>) {
        self.base.stats.stale += 1;
        drop(buffer);
    }

    /// Closes, frees and gives back what nobody wants (P-7).
    #[cold]
    #[inline(never)]
    fn drop_carried(&mut self, carried: Carried<Buf, B::Lease>) {
        match carried {
            Carried::Nothing => {}
            Carried::Buffer(buffer) => drop(buffer),
            Carried::Vectors => drop(self.base.backend.take_vectors()),
            Carried::Descriptor => drop(self.base.backend.take_descriptor()),
            Carried::Lease(lease) => drop(lease),
        }
    }

    /// The buffers of the vectored operation that completed last; empty if they were taken already.
    pub fn take_vectors(&mut self) -> Vectors<Buf> {
        self.base.backend.take_vectors()
    }

    /// The peer's address, of an accept or receive-message that completed: until the next [`submit`](Self::submit).
    pub fn address(&self, op: Op) -> Option<SocketAddr> {
        self.base.backend.address(op.handle())
    }

    /// As [`address`](Self::address), in the kernel's form ([`sockaddr`]), which has the names of unix sockets too: the bytes are
    /// written to `name`; how many count, 0 of a peer without a name. `None` if the operation asked for none.
    pub fn name(&self, op: Op, name: &mut [u8; sockaddr::UNIX_SIZE_MAX]) -> Option<usize> {
        self.base.backend.name(op.handle(), name)
    }

    /// The answer of a statx that completed: until the next [`submit`](Self::submit).
    pub fn stat(&self, op: Op) -> Option<Stat> {
        self.base.backend.stat(op.handle())
    }

    /// How a child ended, of a waitid that completed: until the next [`submit`](Self::submit).
    pub fn exit_info(&self, op: Op) -> Option<ExitStatus> {
        self.base.backend.exit_info(op.handle())
    }
}

/// An event of the engine below, which has no watchers: a backend that reports one is wrong.
#[inline(always)]
fn from_reactor<D, B: Backend>(event: reactor::Event<D>) -> Option<Event<D, B>> {
    Some(match event {
        reactor::Event::Timer {
            timer,
            deadline,
            expirations,
            data,
        } => Event::Timer {
            timer,
            deadline,
            expirations,
            data,
        },
        reactor::Event::Signal {
            subscription,
            signal,
            count,
            data,
        } => Event::Signal {
            subscription,
            signal,
            count,
            data,
        },
        reactor::Event::Wakeup { count } => Event::Wakeup { count },
        reactor::Event::Exit {
            process,
            pid,
            status,
            data,
        } => Event::Exit {
            process,
            pid,
            status,
            data,
        },
        reactor::Event::Ready { .. } => return None,
    })
}

/// The result of an operation that was asked to be cancelled. One that had begun to wait in the kernel is interrupted, and
/// some (a connect, what a worker of the kernel's performs) say so: that is how they are cancelled (`io_uring_enter(2)`, P-4).
#[cold]
#[inline(never)]
fn of_cancelled(result: i32) -> i32 {
    if result == -Errno::EINTR.raw() {
        -Errno::ECANCELED.raw()
    } else {
        result
    }
}

/// Frees what nobody wants.
#[cold]
#[inline(never)]
fn drop_plain<Buf>(buffer: Option<Buf>) {
    drop(buffer);
}
