//! The engine: submitting, settling, turns.
//!
//! **What.** [`Proactor`]: operations go in by [`submit`](Proactor::submit), a turn is one [`wait`](Proactor::wait) and the
//! [`next`](Proactor::next)s after it. Chains are in `chain`, cancelling in `cancel`, adopted descriptors in `files`, registered
//! memory in `resources`. Timers, signals, wakeups and processes are the reactor's engine, which this one is built on.
//!
//! **Invariants.** *INV-PENGINE-1*: an operation occupies its slot from `submit` until its last report, which is the only
//! thing that vacates it; so it settles exactly once (P-3). *INV-PENGINE-2*: `uncounted` is the number of operations that don't
//! keep a loop running. *INV-PENGINE-3*: a file's `uses` is the number of occupied slots that name it. *INV-PENGINE-4*: `unasked` is
//! not 0 while a request to cancel or to close could not be made.
//!
//! **Why this shape.** What differs between the models is what an operation is; what does not (time, signals, wakes,
//! turns) is one piece of code. The path of a plain completion is inlined into the caller's loop; chains, files and
//! abandoned operations are in cold functions beside it.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::backend::{
    Backend, Carried, Counters, Popped, Report, Shutdown, Simulated, Stat, Vouched,
};
use super::event::{Completion, Event, Payload};
use super::operation::{
    Code, Extra, Link, Place, Refused, Request, Target, VECTORS_MAX, VectoredRequest, Vectors,
};
use super::slots::Entry;
use super::storage::{State, Storage, Tables, Tangle, exchanged, key};
use super::uring::Uring;
use crate::clock::Instant;
use crate::errno::Errno;
use crate::error::Error;
use crate::handle::{Handle, Op, ProcessWatch, Subscription, TimerId};
use crate::pid::ExitStatus;
use crate::reactor::{self, Other, Pending, Reactor, Stats};
use crate::signal::SignalSet;
use crate::sys::sockaddr;

/// A proactor: performs operations, keeps timers, takes signals, wakes and exits, and yields [`Event`]s.
///
/// `Buf` is what operations own ([`IoBuf`](super::IoBuf)), `D` what every registration carries and every event brings back.
/// `OPS` is how many operations, adopted files, and subscriptions with processes there can be, each; `T` how many timers.
/// `B` is the [`Backend`], `S` holds the [`Storage`]: the storage itself, `&'static mut` of one, or a box.
///
/// Dropping it waits for what is in flight: see [`shutdown`](Self::shutdown). It stays on the thread that made it:
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<linux_event_core::proactor::Proactor<&'static mut [u8], u32>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<linux_event_core::proactor::Proactor<&'static mut [u8], u32>>();
/// ```
pub struct Proactor<
    Buf,
    D,
    const OPS: usize = 64,
    const T: usize = 64,
    B: Backend<Buf = Buf> = Uring<Buf>,
    S = Storage<D, OPS, T, <B as reactor::Backend>::Process, <B as Backend>::Fd>,
> where
    D: Copy,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    pub(super) base: Reactor<D, OPS, T, B, Tables<S, B::Fd>>,
    /// INV-PENGINE-2.
    pub(super) uncounted: u32,
    /// INV-PENGINE-4.
    pub(super) unasked: u32,
    /// Operations in flight that use each registered buffer.
    pub(super) fixed_uses: [u32; VECTORS_MAX],
    /// The backend was shut down, or is being.
    is_over: bool,
    /// INV-PSTORE-3.
    pub(super) owner: u64,
}

/// What [`Proactor::step`] finds.
#[doc(hidden)]
#[derive(Debug)]
pub enum Step<D, B: Backend> {
    /// An operation completed for good, with one buffer or none: what nearly all do, in fewer words.
    Plain {
        /// As [`Completion::op`].
        op: Op,
        /// As [`Completion::data`].
        data: D,
        /// As [`Completion::result`].
        result: i32,
        /// The operation's buffer, if it has one.
        buffer: Option<B::Buf>,
    },
    /// An operation completed.
    Completion(Completion<D, B>),
    /// Something else: [`Proactor::next_other`] says what.
    Other(Other),
    /// The turn is over.
    End,
}

impl<Buf, D, const OPS: usize, const T: usize, B> Proactor<Buf, D, OPS, T, B>
where
    D: Copy,
    B: Backend<Buf = Buf>,
{
    /// A proactor over `backend` that holds its own storage.
    ///
    /// With large capacities use [`with_storage`](Self::with_storage): this one is built on the stack.
    ///
    /// # Errors
    /// What [`Backend::reserve`] says: there is no memory for `OPS` operations.
    pub fn new(backend: B) -> Result<Self, Error> {
        Self::with_storage(backend, Storage::new())
    }
}

impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// A proactor over `backend` whose tables are in `storage`. What an earlier proactor left in it is dropped.
    ///
    /// `S` lends the same storage each time, and lets nobody else change it; one that does not makes the proactor panic.
    ///
    /// # Errors
    /// As [`new`](Proactor::new).
    pub fn with_storage(backend: B, storage: S) -> Result<Self, Error> {
        Self::over(backend, storage).map_err(|(error, ..)| error)
    }

    /// As [`with_storage`](Self::with_storage), which gives back what it was given if it fails: to a program that ends then,
    /// and need not have the code that shuts a backend down.
    ///
    /// # Errors
    /// As [`new`](Proactor::new), with the backend and the storage.
    #[allow(
        clippy::type_complexity,
        reason = "the error and what was refused, as everywhere"
    )]
    pub fn over(mut backend: B, mut storage: S) -> Result<Self, (Error, B, S)> {
        if let Err(error) = backend.reserve(OPS) {
            return Err((error, backend, storage));
        }
        let owner = storage.borrow_mut().begin(reactor::new_salt());
        Ok(Self {
            base: Reactor::with_storage(backend, Tables::new(storage)),
            uncounted: 0,
            unasked: 0,
            fixed_uses: [0; VECTORS_MAX],
            is_over: false,
            owner,
        })
    }

    #[inline(always)]
    pub(super) fn tables(&mut self) -> &mut Storage<D, OPS, T, B::Process, B::Fd> {
        let tables = self.base.storage.storage.borrow_mut();
        if !tables.is_of(self.owner) {
            exchanged();
        }
        tables
    }

    #[inline(always)]
    pub(super) fn tables_ref(&self) -> &Storage<D, OPS, T, B::Process, B::Fd> {
        let tables = self.base.storage.storage.borrow();
        if !tables.is_of(self.owner) {
            exchanged();
        }
        tables
    }

    #[inline(always)]
    pub(super) fn is_owner(&self) -> bool {
        self.base.backend.is_owner()
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.base.backend
    }

    /// The backend, to change: of a simulated one only. Two rings exchanged would name descriptors that neither of their
    /// proactors keeps open (P-14):
    ///
    /// ```compile_fail,E0277
    /// use linux_event_core::proactor::Proactor;
    ///
    /// fn exchange(one: &mut Proactor<&'static mut [u8], u32>, other: &mut Proactor<&'static mut [u8], u32>) {
    ///     core::mem::swap(one.backend_mut(), other.backend_mut());
    /// }
    /// ```
    pub fn backend_mut(&mut self) -> &mut B
    where
        B: Simulated,
    {
        &mut self.base.backend
    }

    /// What was done so far, as the reactor counts it (G-3); operations are in [`counters`](Self::counters).
    pub fn stats(&self) -> Stats {
        self.base.stats()
    }

    /// What was done so far by the backend (G-3).
    pub fn counters(&self) -> Counters {
        self.base.backend.counters()
    }

    /// The clock as the last wait read it, if timers were armed (T-1).
    #[inline]
    pub fn now(&self) -> Instant {
        self.base.now()
    }

    /// The clock, read afresh.
    pub fn read_clock(&self) -> Instant {
        self.base.read_clock()
    }

    /// How many things keep a loop running: operations that have not settled, armed timers, signal subscriptions and
    /// processes, but for those that [`set_counted`](Self::set_counted) took out (R-2).
    pub fn live(&self) -> usize {
        self.base.live() + self.operations() - self.uncounted as usize
    }

    /// How many operations have not settled.
    pub fn operations(&self) -> usize {
        self.tables_ref().operations.len()
    }

    /// How many descriptors are adopted.
    pub fn files(&self) -> usize {
        self.tables_ref().files.len()
    }

    /// The first deadline, if a timer is armed.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.base.next_deadline()
    }

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
    /// [`Payload::Vectors`], and [`take_vectors`](Self::take_vectors) has them.
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

    /// Begins a turn: hands what is queued to the kernel, waits once, and reads the clock if timers are armed (P-9, R-1).
    ///
    /// It is one system call. The wait ends when something completed, at the first deadline, or after `timeout`; `None`
    /// sets no limit, zero does not wait.
    ///
    /// # Errors
    /// [`Error::Forked`] in a child of the process that made the proactor; [`Error::CompletionsLost`]; [`Error::Os`] if the
    /// kernel refuses.
    #[inline(always)]
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        if self.unasked > 0 {
            self.ask_again();
        }
        self.base.wait(timeout)
    }

    /// Hands what is queued to the kernel at once, without waiting: for what an operation borrows by number
    /// ([`Target::from_raw`], P-14).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    #[doc(alias = "io_uring_submit")]
    pub fn flush(&mut self) -> Result<(), Error> {
        if !self.is_owner() {
            return Err(Error::Forked);
        }
        self.base.backend.flush()
    }

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
    fn settle(&mut self, report: Report<Buf, B::Lease>) -> Option<Completion<D, B>> {
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
    fn disentangle(&mut self, handle: Handle, state: State, file: u32) -> Tangle {
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

    /// Readies the proactor to sit inside another loop: see [`Reactor::prepare`] (G-2).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn prepare(&mut self) -> Result<(), Error> {
        if self.unasked > 0 {
            self.ask_again();
        }
        self.base.prepare()?;
        self.base.backend.flush()
    }

    /// As [`prepare`](Self::prepare), for a caller with something to do at once: the descriptor is readable as soon as may
    /// be, whatever the timers say.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn prepare_now(&mut self) -> Result<(), Error> {
        self.prepare()?;
        self.base.backend.arm(Some(Instant::ZERO))
    }

    /// Cancels everything and waits until the kernel has let go of it, `limit` at most (P-6). What it still holds then (a
    /// zero-copy send to a peer that does not read, a hung network file system) is leaked on purpose, and counted.
    ///
    /// Dropping a proactor does the same with a limit of a second, and no report.
    pub fn shutdown(mut self, limit: Duration) -> Shutdown {
        self.end(limit)
    }

    /// Ends the backend, once. Until it has ended, also if a panic cuts that short, descriptors in use stay open (P-14).
    fn end(&mut self, limit: Duration) -> Shutdown {
        let mut report = Shutdown::default();
        if self.is_over {
            return report;
        }
        self.is_over = true;
        if self.is_owner() {
            report = self.base.backend.shut_down(limit);
        }
        let tables: &mut Storage<D, OPS, T, B::Process, B::Fd> =
            self.base.storage.storage.borrow_mut();
        if tables.is_of(self.owner) {
            tables.let_go(report);
        }
        report
    }
}

/// Timers, signals and processes: the reactor's, under their own names (W-2).
impl<Buf, D, const OPS: usize, const T: usize, B, S> Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// Arms a timer that is due `delay` after this call: see [`Reactor::after`] (T-2). It takes no submission (P-9).
    ///
    /// # Errors
    /// [`Error::Full`] when all `T` timers are armed; [`Error::Forked`].
    pub fn after(&mut self, delay: Duration, data: D) -> Result<TimerId, Error> {
        self.base.after(delay, data)
    }

    /// Arms a timer that is due at `deadline` (T-2).
    ///
    /// # Errors
    /// As [`after`](Self::after).
    pub fn at(&mut self, deadline: Instant, data: D) -> Result<TimerId, Error> {
        self.base.at(deadline, data)
    }

    /// Arms a timer that is due after every `period` (T-6).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a period of zero; else as [`after`](Self::after).
    pub fn every(&mut self, period: Duration, data: D) -> Result<TimerId, Error> {
        self.base.every(period, data)
    }

    /// Arms a timer that is due at `first` and after every `period` from then on (T-6).
    ///
    /// # Errors
    /// As [`every`](Self::every).
    pub fn every_from(
        &mut self,
        first: Instant,
        period: Duration,
        data: D,
    ) -> Result<TimerId, Error> {
        self.base.every_from(first, period, data)
    }

    /// Moves a timer to `deadline`; among equals it comes last. False if the handle is stale.
    pub fn reschedule(&mut self, timer: TimerId, deadline: Instant) -> bool {
        self.base.reschedule(timer, deadline)
    }

    /// When a timer is due; `None` if the handle is stale.
    pub fn deadline(&self, timer: TimerId) -> Option<Instant> {
        self.base.deadline(timer)
    }

    /// Subscribes to signals: see [`Reactor::signal`] (S-1, S-3).
    ///
    /// # Errors
    /// As there.
    pub fn signal(
        &mut self,
        signals: impl Into<SignalSet>,
        data: D,
    ) -> Result<Subscription, Error> {
        self.base.signal(signals, data)
    }

    /// Watches for the end of a process: see [`Reactor::process`] (C-1).
    ///
    /// # Errors
    /// As there.
    pub fn process(&mut self, pid: i32, reap: bool, data: D) -> Result<ProcessWatch, Error> {
        self.base.process(pid, reap, data)
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

impl<Buf, D, const OPS: usize, const T: usize, B, S> Drop for Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    /// First the operations, then the descriptors they work on: a number that is closed while a submission with it is
    /// still queued could be another file's by the time the kernel looks (P-14). In a forked child it only closes (G-1).
    fn drop(&mut self) {
        self.end(LIMIT);
        let tables: &mut Storage<D, OPS, T, B::Process, B::Fd> =
            self.base.storage.storage.borrow_mut();
        // Another's are left as they are: what is in use in them stays open (INV-PSTORE-3).
        if tables.is_of(self.owner) {
            tables.clear();
        }
    }
}

/// How long a proactor that is dropped waits for the kernel to let go of its memory (P-6).
const LIMIT: Duration = Duration::from_secs(1);

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

#[cold]
fn refused<Buf>(error: Error, buffer: Option<Buf>) -> Refused<Buf> {
    Refused { error, buffer }
}

impl<Buf, D, const OPS: usize, const T: usize, B, S> fmt::Debug for Proactor<Buf, D, OPS, T, B, S>
where
    D: Copy,
    B: Backend<Buf = Buf>,
    S: BorrowMut<Storage<D, OPS, T, B::Process, B::Fd>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proactor")
            .field("operations", &self.operations())
            .field("counters", &self.counters())
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}
