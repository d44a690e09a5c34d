//! The engine's cancelling: by operation, by descriptor, all (P-4).
//!
//! **Invariants.** INV-PENGINE-4 of `engine`. *INV-CANCEL-1*: of a chain, a member is marked cancelled only together with
//! all that follow it and have not settled; a member that starts although it is marked is cancelled when the one before it
//! settles.
//!
//! **Why this shape.** The kernel knows nothing of a chain's member that has not started: asking it says ENOENT, and the
//! member runs later. So the engine asks for the one that runs, and goes on asking from settlement to settlement.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;

use super::backend::Backend;
use super::engine::Proactor;
use super::operation::{Code, Place, Target};
use super::slots::Entry;
use super::storage::{NO_KEY, State, Storage, key_of_descriptor};
use crate::handle::{Handle, Op};

impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// Asks for the end of an operation, or ends a timer, subscription or process watch.
    ///
    /// Of an operation it is a request: who wins the race decides, and either way it settles once, in a later turn, with
    /// [`is_cancelled`](super::Completion::is_cancelled) or with what it came to. Of a chain whose turn has not come it
    /// cancels the member that runs and all after it (P-4). True for as long as the operation has not settled, false for a
    /// stale handle; of timers and the rest true once (T-7). In a forked child it does nothing and returns false.
    pub fn cancel(&mut self, handle: impl Into<Handle>) -> bool {
        let handle = handle.into();
        match Op::from_handle(handle) {
            Some(op) => self.is_owner() && self.cancel_operation(op.handle()),
            None => self.base.cancel(handle),
        }
    }

    fn cancel_operation(&mut self, handle: Handle) -> bool {
        let Some(entry) = self.tables().operations.get(handle) else {
            return false;
        };
        // The file that it waits for settles first; it closes whatever is said.
        if entry.state.contains(State::CLOSING) {
            return true;
        }
        let mut first = handle;
        let mut previous = self.tangle(handle, entry.state).previous;
        while let Some(index) = previous.checked_sub(1)
            && let Some((before, entry)) = self.tables_ref().operations.at(index)
        {
            first = before;
            previous = self.tangle(before, entry.state).previous;
        }
        let mut member = Some(first);
        while let Some(handle) = member {
            let tables = self.tables();
            let Some(state) = tables.operations.state_mut(handle) else {
                break;
            };
            *state |= State::CANCELLED;
            let state = *state;
            let next = self.tangle(handle, state).next.checked_sub(1);
            let operations = &self.tables_ref().operations;
            member = next.and_then(|index| operations.at(index).map(|(next, _)| next));
        }
        self.ask(first);
        true
    }

    /// Asks the backend to cancel what runs; if it can't be asked now, it is before the next wait.
    pub(super) fn ask(&mut self, handle: Handle) {
        if self.base.backend.cancel(handle).is_ok() {
            return;
        }
        if let Some(state) = self.tables().operations.state_mut(handle)
            && !state.contains(State::UNASKED)
        {
            *state |= State::UNASKED;
            self.unasked += 1;
        }
    }

    /// Makes the requests that could not be made.
    #[cold]
    #[inline(never)]
    pub(super) fn ask_again(&mut self) {
        if !self.is_owner() {
            return;
        }
        for index in 0..self.tables().operations.high_water() {
            let operations = &mut self.tables().operations;
            let Some((handle, _)) = operations.at(index) else {
                continue;
            };
            let Some(state) = operations.state_mut(handle) else {
                continue;
            };
            if !state.contains(State::UNASKED) {
                continue;
            }
            *state -= State::UNASKED;
            let closing = state.contains(State::CLOSING);
            self.unasked -= 1;
            if closing {
                self.close_when_idle(handle);
            } else {
                self.ask(handle);
            }
        }
    }

    /// Asks for the end of everything in flight on `target`; returns how much that is (P-4).
    ///
    /// A splice is found by where it writes to, and by where it reads from if that is an adopted file.
    pub fn cancel_on(&mut self, target: impl Into<Target>) -> usize {
        if !self.is_owner() {
            return 0;
        }
        let target = target.into();
        // A splice works on a second file, which its key does not tell; and a file that the end of a chain closes may have
        // lost its number to another one already.
        let (key, file) = match target.0 {
            Place::File(file) => match self.tables().files.get(file.handle()) {
                Some(open) if open.fd.is_some() => (open.number, file.handle().index() + 1),
                Some(_) => (NO_KEY, file.handle().index() + 1),
                None => return 0,
            },
            _ => (key_of_descriptor(target), u32::MAX),
        };
        self.cancel_where(|entry, other, second| {
            let names_it = key != NO_KEY && other == key || entry.file == file || second == file;
            names_it && !matches!(entry.code, Code::WaitId | Code::Close)
        })
    }

    /// Asks for the end of every operation; returns how many there are (P-4).
    pub fn cancel_all(&mut self) -> usize {
        if !self.is_owner() {
            return 0;
        }
        self.cancel_where(|_, _, _| true)
    }

    /// `matches` is told an operation, its key, and index + 1 of its second file.
    fn cancel_where(&mut self, matches: impl Fn(&Entry<D>, i32, u32) -> bool) -> usize {
        let mut count = 0;
        for index in 0..self.tables().operations.high_water() {
            let tables = self.tables_ref();
            let Some((handle, entry)) = tables.operations.at(index) else {
                continue;
            };
            let second = self.tangle(handle, entry.state).second;
            if matches(&entry, tables.operations.key(index), second) {
                count += 1;
                if !entry.state.contains(State::CANCELLED) {
                    self.cancel_operation(handle);
                }
            }
        }
        count
    }

    /// Lets an operation end without telling: what it brings is dropped, closed and given back (P-7). False if the handle
    /// is stale.
    pub fn detach(&mut self, op: Op) -> bool {
        match self.tables().operations.state_mut(op.handle()) {
            Some(state) => {
                *state |= State::DETACHED;
                true
            }
            None => false,
        }
    }

    /// Whether what `handle` names is still there: of an operation, whether it has not settled.
    pub fn contains(&self, handle: impl Into<Handle>) -> bool {
        let handle = handle.into();
        match Op::from_handle(handle) {
            Some(op) => self.tables_ref().operations.contains(op.handle()),
            None => self.base.contains(handle),
        }
    }

    /// Whether the end of an operation was asked for; `None` if it has settled.
    pub fn is_cancelling(&self, op: Op) -> Option<bool> {
        let entry = self.tables_ref().operations.get(op.handle())?;
        Some(entry.state.contains(State::CANCELLED))
    }

    /// Sets whether `handle` keeps a loop running; at first everything does. False if the handle is stale.
    #[doc(alias = "unref")]
    pub fn set_counted(&mut self, handle: impl Into<Handle>, counted: bool) -> bool {
        let handle = handle.into();
        let Some(op) = Op::from_handle(handle) else {
            return self.base.set_counted(handle, counted);
        };
        let Some(state) = self.tables().operations.state_mut(op.handle()) else {
            return false;
        };
        let was_counted = !state.contains(State::UNCOUNTED);
        state.set(State::UNCOUNTED, !counted);
        self.uncounted -= u32::from(!was_counted);
        self.uncounted += u32::from(!counted);
        true
    }
}
