//! Children that run: what becomes of each, in order.
//!
//! **What.** [`Children`] is the loop's table of them; `start` has how one begins, `life` what happens to it, told by the model's
//! pipes, by timers and by the pidfd; [`Child`] is the program's handle.
//!
//! **Invariants.** Those of the [parent](super). *INV-TABLE-1*: a callback is taken out of its command while it runs, and put
//! back if the child is still there: it may do anything to the loop.

#![forbid(unsafe_code)]

mod life;
mod start;

use std::collections::VecDeque;
use std::fmt;
use std::io;

use linux_event_core::errno::Errno;
use linux_event_core::handle::{ProcessWatch, TimerId};
use linux_event_core::pid::ExitStatus;
use linux_event_core::signal::Signal;
use linux_event_core::sys::{Fd, Kernel, Linux};

use super::command::{Command, ExitCallback};
use super::pipes::{CHUNK, Spawn};
use super::pool::PoolId;
use crate::event_loop::Loop;
use crate::model::Model;

pub(super) use life::{ended, finish_output, pump, received};
pub(super) use start::{launch, not_started};

/// A child of a loop: a handle, which is stale once its [exit](Command::on_exit) is told, and in any other loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Child {
    index: u32,
    generation: u32,
}

/// How a child ended, and what is left of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exit {
    /// Which child: the handle is stale. `None` if it was not started.
    pub child: Option<Child>,
    /// Its number, which may be another process's by now.
    pub pid: Option<u32>,
    /// How it ended; `Ok(None)` if that is not known, an error if it could not be started when its turn in a
    /// [`Pool`](super::Pool) came, or was waited for elsewhere (ECHILD).
    pub status: io::Result<Option<ExitStatus>>,
    /// Whether its [timeout](Command::timeout) was over before it ended.
    pub timed_out: bool,
    /// Standard output, as far as it was to be [collected](super::Output::Collect).
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// There was more output: more than was to be collected, or it had no end when the [grace](Command::output_grace) was over.
    pub is_cut: bool,
    /// The command's [tag](Command::tag).
    pub tag: Option<String>,
}

impl Exit {
    /// The exit code, 0 to 255; `None` if a signal ended it, or its status is not known.
    pub fn code(&self) -> Option<i32> {
        self.known()?.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<Signal> {
        self.known()?.signal()
    }

    /// Whether it exited by itself with code 0.
    pub fn success(&self) -> bool {
        self.known().is_some_and(ExitStatus::success)
    }

    fn known(&self) -> Option<ExitStatus> {
        *self.status.as_ref().ok()?
    }
}

/// Bytes that a child can't be given, and why.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StdinError {
    /// It has no pipe to read from, closed it, or has ended.
    Closed(Vec<u8>),
    /// More would wait than [`stdin_max`](Command::stdin_max).
    Full(Vec<u8>),
}

impl fmt::Display for StdinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "the child reads no more",
            Self::Full(_) => "too much waits for the child to read: write when it has drained",
        })
    }
}

impl std::error::Error for StdinError {}

/// A child's standard input.
struct Stdin<P> {
    pipe: P,
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first of the queue that were written.
    start: usize,
    pending: usize,
    /// It is closed once all is written.
    closes: bool,
    /// Somebody waits for room.
    awaits: bool,
}

/// A child's standard output or error.
struct Reading<P> {
    pipe: Option<P>,
    collected: Vec<u8>,
    is_cut: bool,
}

/// A child.
struct State<M: Model, S> {
    command: Box<Command<M, S>>,
    process: Option<Process>,
    stdin: Option<Stdin<M::Pipe>>,
    outputs: [Reading<M::Pipe>; 2],
    status: Option<Result<Option<ExitStatus>, Errno>>,
    /// Of the timeout, then of SIGKILL, then of the grace for output.
    timer: Option<TimerId>,
    timed_out: bool,
    /// That it was started is still to be told.
    starts: bool,
    /// The grace is over: what comes from now on is the last.
    is_late: bool,
    pool: Option<PoolId>,
}

/// The process behind a child.
struct Process {
    pid: u32,
    pidfd: Fd,
    /// `None` once it has ended.
    watch: Option<ProcessWatch>,
    kill_on_drop: bool,
    /// The process whose child it is.
    parent: u64,
}

impl Process {
    /// Sends a signal; false if it has ended (INV-CHILD-3). What a forked child has inherited is its parent's (G-1).
    fn kill(&self, signal: Signal) -> Result<bool, Errno> {
        if !Linux.is_process(self.parent) {
            return Err(Errno::ECHILD);
        }
        if self.watch.is_none() {
            return Ok(false);
        }
        match Linux.pidfd_send_signal(self.pidfd.borrow(), signal.raw()) {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill_on_drop {
            let _ = self.kill(Signal::KILL);
        }
    }
}

impl<M: Model, S> State<M, S> {
    fn kill(&self, signal: Signal) -> Result<bool, Errno> {
        self.process
            .as_ref()
            .map_or(Ok(false), |process| process.kill(signal))
    }
}

struct Slot<M: Model, S> {
    generation: u32,
    state: Option<State<M, S>>,
}

/// The children of a loop.
pub(crate) struct Children<M: Model, S> {
    slots: Vec<Slot<M, S>>,
    salt: u32,
    vacant: Vec<u32>,
    /// What reactors read into.
    chunk: Vec<u8>,
    /// Exits of what was never started, to be told.
    late: VecDeque<(ExitCallback<M, S>, Exit)>,
}

impl<M: Model, S> Children<M, S> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            salt: super::salt(),
            vacant: Vec::new(),
            chunk: Vec::new(),
            late: VecDeque::new(),
        }
    }

    fn insert(&mut self, state: State<M, S>) -> Child {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: self.salt,
                state: None,
            });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = Some(state);
        Child {
            index,
            generation: slot.generation,
        }
    }

    fn get(&self, child: Child) -> Option<&State<M, S>> {
        let slot = self.slots.get(child.index as usize)?;
        slot.state
            .as_ref()
            .filter(|_| slot.generation == child.generation)
    }

    fn get_mut(&mut self, child: Child) -> Option<&mut State<M, S>> {
        let slot = self.slots.get_mut(child.index as usize)?;
        slot.state
            .as_mut()
            .filter(|_| slot.generation == child.generation)
    }

    fn remove(&mut self, child: Child) -> Option<State<M, S>> {
        self.get(child)?;
        let state = self.slots[child.index as usize].state.take();
        self.vacant.push(child.index);
        state
    }

    /// The pipe that an output is read from.
    pub(super) fn output(&self, child: Child, which: usize) -> Option<&M::Pipe> {
        self.get(child)?.outputs[which].pipe.as_ref()
    }

    /// Whether what comes is the last that is waited for.
    pub(super) fn is_late(&self, child: Child) -> bool {
        self.get(child).is_some_and(|state| state.is_late)
    }

    pub(super) fn take_chunk(&mut self) -> Vec<u8> {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(CHUNK, 0);
        chunk
    }

    pub(super) fn keep_chunk(&mut self, chunk: Vec<u8>) {
        self.chunk = chunk;
    }
}

impl Child {
    /// The process's number; `None` once the exit is told.
    pub fn pid<M: Model, S>(self, event_loop: &Loop<M, S>) -> Option<u32> {
        Some(event_loop.children.get(self)?.process.as_ref()?.pid)
    }

    /// The command's [tag](Command::tag).
    pub fn tag<M: Model, S>(self, event_loop: &Loop<M, S>) -> Option<&str> {
        event_loop.children.get(self)?.command.tag_text()
    }

    /// Whether it has not ended, as far as is known.
    pub fn is_running<M: Model, S>(self, event_loop: &Loop<M, S>) -> bool {
        let state = event_loop.children.get(self);
        state.is_some_and(|state| state.status.is_none())
    }

    /// Sends it a signal, through its pidfd: never to somebody else who has its number by now. False if it has ended.
    ///
    /// # Errors
    /// EPERM, of a child that has become somebody else's; ECHILD in a forked child of the program, which inherits the loop and not
    /// its children (G-1).
    #[doc(alias = "pidfd_send_signal")]
    pub fn kill<M: Model, S>(
        self,
        event_loop: &mut Loop<M, S>,
        signal: Signal,
    ) -> Result<bool, Errno> {
        match event_loop.children.get(self) {
            Some(state) => state.kill(signal),
            None => Ok(false),
        }
    }

    /// Gives it bytes to read; they are written in the turns that follow, in order. Returns how many wait by then, those
    /// included: stop at a number of your own until [`on_stdin_drained`](Command::on_stdin_drained) is called.
    ///
    /// # Errors
    /// The bytes, if it reads no more, or too much waits already.
    pub fn write<M: Spawn, S>(
        self,
        event_loop: &mut Loop<M, S>,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<usize, StdinError> {
        let bytes = bytes.into();
        let Some(state) = event_loop.children.get_mut(self) else {
            return Err(StdinError::Closed(bytes));
        };
        let limit = state.command.stdin_max;
        let Some(stdin) = state.stdin.as_mut().filter(|stdin| !stdin.closes) else {
            return Err(StdinError::Closed(bytes));
        };
        if bytes.len() > limit - stdin.pending.min(limit) {
            return Err(StdinError::Full(bytes));
        }
        stdin.pending += bytes.len();
        if !bytes.is_empty() {
            stdin.queue.push_back(bytes);
        }
        let pending = stdin.pending;
        if !std::mem::replace(&mut stdin.awaits, true) {
            event_loop.defer(move |event_loop| pump(event_loop, self));
        }
        Ok(pending)
    }

    /// Ends what it reads, after what waits. False if that was done before, or there is nothing to end.
    pub fn close_stdin<M: Spawn, S>(self, event_loop: &mut Loop<M, S>) -> bool {
        let state = event_loop.children.get_mut(self);
        let Some(stdin) = state.and_then(|state| state.stdin.as_mut()) else {
            return false;
        };
        let was_open = !std::mem::replace(&mut stdin.closes, true);
        if !std::mem::replace(&mut stdin.awaits, true) {
            event_loop.defer(move |event_loop| pump(event_loop, self));
        }
        was_open
    }

    /// Bytes that wait for it to read.
    pub fn pending_stdin<M: Model, S>(self, event_loop: &Loop<M, S>) -> usize {
        let stdin = event_loop
            .children
            .get(self)
            .and_then(|state| state.stdin.as_ref());
        stdin.map_or(0, |stdin| stdin.pending)
    }
}
