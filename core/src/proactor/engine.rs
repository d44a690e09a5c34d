//! The engine: what it is made of, its turns, and its end.
//!
//! **What.** [`Proactor`]: operations go in by [`submit`](Proactor::submit), in `submission`; a turn is one
//! [`wait`](Proactor::wait) and the [`next`](Proactor::next)s after it, in `settling`. Chains are in `chain`, cancelling in
//! `cancel`, adopted descriptors in `files`, registered memory in `resources`. Timers, signals, wakeups and processes are the
//! reactor's engine, which this one is built on: `others`.
//!
//! **Invariants.** *INV-PENGINE-1*: an operation occupies its slot from `submit` until its last report, which is the only
//! thing that vacates it; so it settles exactly once (P-3). *INV-PENGINE-2*: `uncounted` is the number of operations that don't
//! keep a loop running. *INV-PENGINE-3*: a file's `uses` is the number of occupied slots that name it. *INV-PENGINE-4*: `unasked` is
//! not 0 while a request to cancel or to close could not be made.
//!
//! **Why this shape.** What differs between the models is what an operation is; what does not (time, signals, wakes,
//! turns) is one piece of code.

#![forbid(unsafe_code)]

use core::borrow::BorrowMut;
use core::fmt;
use core::time::Duration;

use super::backend::{Backend, Counters, Shutdown, Simulated};
use super::event::Completion;
use super::operation::VECTORS_MAX;
use super::storage::{Storage, Tables};
use super::uring::Uring;
use crate::clock::Instant;
use crate::error::Error;
use crate::handle::Op;
use crate::reactor::{self, Other, Reactor, Stats};

/// A proactor: performs operations, keeps timers, takes signals, wakes and exits, and yields [`Event`](super::Event)s.
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
            base: Reactor::with_storage(backend, Tables::new(storage, owner)),
            uncounted: 0,
            unasked: 0,
            fixed_uses: [0; VECTORS_MAX],
            is_over: false,
        })
    }

    #[inline(always)]
    pub(super) fn tables(&mut self) -> &mut Storage<D, OPS, T, B::Process, B::Fd> {
        self.base.storage.own_mut()
    }

    #[inline(always)]
    pub(super) fn tables_ref(&self) -> &Storage<D, OPS, T, B::Process, B::Fd> {
        self.base.storage.own()
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
    /// ([`Target::from_raw`](super::Target::from_raw), P-14).
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
        if let Some(tables) = self.base.storage.try_own_mut() {
            let backend = &self.base.backend;
            tables.let_go(report, |handle| backend.finds_late(handle));
        }
        report
    }
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
        // Another's are left as they are: what is in use in them stays open (INV-PSTORE-3).
        if let Some(tables) = self.base.storage.try_own_mut() {
            tables.clear();
        }
    }
}

/// How long a proactor that is dropped waits for the kernel to let go of its memory (P-6).
const LIMIT: Duration = Duration::from_secs(1);

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
