//! Children that run: what becomes of each, in order.
//!
//! **What.** [`Children`] is the loop's table of them. [`launch`] starts one; [`received`], [`ended`], [`pump`] and the exit are
//! what happens to it, told by the model's pipes, by timers and by the pidfd; [`Child`] is the program's handle.
//!
//! **Invariants.** Those of the [parent](super). *INV-TABLE-1*: a callback is taken out of its command while it runs, and put
//! back if the child is still there: it may do anything to the loop.
//!
//! **Why this shape.** A child is a handful of facts (which pipes are open, whether the status is known, which timer runs), and
//! it is over when the status is known and the pipes are closed: one function, [`finish_if_over`], looks after each event.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Stdio;

use linux_event_core::errno::Errno;
use linux_event_core::handle::{ProcessWatch, TimerId};
use linux_event_core::pid::ExitStatus;
use linux_event_core::signal::Signal;
use linux_event_core::sys::{Fd, Kernel, Linux};

use super::command::{ChildCallback, Command, ExitCallback, Input, Output, refused};
use super::pipes::{CHUNK, Spawn, nonblocking};
use super::pool::{self, PoolId};
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::fd::from_std;
use crate::model::Model;
use crate::signals;

/// Bytes that are given to a child in one turn, at most: it may read as fast as it is written to.
const PUMP_MAX: usize = 16 * CHUNK;

/// Bytes that are read of an output once the grace is over, at most: what a pipe can hold, unless somebody was allowed more. A
/// grandchild may write on and on.
const REST_MAX: usize = 1 << 20;

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
    /// Standard output, as far as it was to be [collected](Output::Collect).
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

/// Starts a child. What is refused comes back, with everything as it was.
pub(super) fn launch<M: Spawn, S>(
    event_loop: &mut Loop<M, S>,
    command: Box<Command<M, S>>,
    pool: Option<PoolId>,
) -> Result<Child, (io::Error, Box<Command<M, S>>)> {
    if let Err(error) = command.check() {
        return Err((error, command));
    }
    if !event_loop.model.is_owner() {
        return Err((refused(crate::LoopError::Forked), command));
    }
    let reading = || Reading {
        pipe: None,
        collected: Vec::new(),
        is_cut: false,
    };
    let child = event_loop.children.insert(State {
        command,
        process: None,
        stdin: None,
        outputs: [reading(), reading()],
        status: None,
        timer: None,
        timed_out: false,
        starts: false,
        is_late: false,
        pool: None,
    });
    match try_launch(event_loop, child) {
        Ok(()) => {
            // From here on it counts.
            if let Some(state) = event_loop.children.get_mut(child) {
                state.pool = pool;
                if state.command.on_start.is_some() {
                    state.starts = true;
                    event_loop.defer(move |event_loop| tell_start(event_loop, child));
                }
            }
            // Its first bytes are written by the next turn, where their end can be told.
            let state = event_loop.children.get_mut(child);
            if let Some(stdin) = state.and_then(|state| state.stdin.as_mut()) {
                stdin.awaits = true;
                event_loop.defer(move |event_loop| pump(event_loop, child));
            }
            Ok(child)
        }
        Err(error) => {
            let mut state = event_loop
                .children
                .remove(child)
                .expect("nobody else knows of it");
            if let (Input::Pipe { first, .. }, Some(stdin)) =
                (&mut state.command.input, &mut state.stdin)
            {
                *first = stdin.queue.pop_front().unwrap_or_default();
            }
            release(event_loop, &mut state);
            Err((error, state.command))
        }
    }
}

/// Opens the pipes, starts the process, and has its end watched.
fn try_launch<M: Spawn, S>(event_loop: &mut Loop<M, S>, child: Child) -> io::Result<()> {
    let gone = || io::Error::other("the child is gone");
    let mut std_command = {
        let state = event_loop.children.get(child).ok_or_else(gone)?;
        state.command.build()
    };
    std_command.stdin(open_stdin(event_loop, child)?);
    std_command.stdout(open_output(event_loop, child, 0)?);
    std_command.stderr(open_output(event_loop, child, 1)?);
    let timeout = event_loop
        .children
        .get(child)
        .and_then(|state| state.command.timeout);
    if let Some(timeout) = timeout {
        let timer = event_loop
            .after(timeout, move |event_loop| time_is_up(event_loop, child))
            .map_err(refused)?;
        if let Some(state) = event_loop.children.get_mut(child) {
            state.timer = Some(timer);
        }
    }
    let mut started = std_command.spawn()?;
    drop(std_command); // and with it the child's ends of the pipes
    let pid = started.id();
    // Nobody has waited for it, so the number is its own (INV-CHILD-3).
    let watched = Linux
        .pidfd_open(pid as i32)
        .map_err(|errno| io::Error::from_raw_os_error(errno.raw()))
        .and_then(|pidfd| {
            let watch =
                event_loop.pid(pid, move |event_loop, exit| exited(event_loop, child, exit));
            Ok((pidfd, watch.map_err(refused)?))
        });
    match watched {
        Ok((pidfd, watch)) => {
            if let Some(state) = event_loop.children.get_mut(child) {
                state.process = Some(Process {
                    pid,
                    pidfd,
                    watch: Some(watch),
                    kill_on_drop: state.command.kill_on_drop,
                    parent: Linux.process_epoch(),
                });
            }
            Ok(())
        }
        Err(error) => {
            // It can't be looked after. It has just begun, and SIGKILL can't be put off: this does not wait for long. Where the
            // kernel has reaped it already, because SIGCHLD is ignored here, the number is nobody's, or another's.
            if error.raw_os_error() != Some(Errno::ESRCH.raw()) {
                let _ = started.kill();
                let _ = started.wait();
            }
            Err(error)
        }
    }
}

fn open_stdin<M: Spawn, S>(event_loop: &mut Loop<M, S>, child: Child) -> io::Result<Stdio> {
    match event_loop.children.get(child).map(|it| &it.command.input) {
        Some(Input::Inherit) => return Ok(Stdio::inherit()),
        Some(Input::Null) | None => return Ok(Stdio::null()),
        Some(Input::Pipe { .. }) => {}
    }
    let (reader, writer) = io::pipe()?;
    let writer = from_std(writer.into());
    nonblocking(&writer)?;
    let pipe = M::hold(event_loop, writer)?;
    if let Some(state) = event_loop.children.get_mut(child)
        && let Input::Pipe { first, stays_open } = &mut state.command.input
    {
        state.stdin = Some(Stdin {
            pipe,
            start: 0,
            pending: first.len(),
            queue: VecDeque::from([std::mem::take(first)]),
            closes: !*stays_open,
            awaits: false,
        });
    }
    Ok(Stdio::from(reader))
}

fn open_output<M: Spawn, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    which: usize,
) -> io::Result<Stdio> {
    let output = match event_loop.children.get(child) {
        Some(state) => state.command.outputs[which],
        None => Output::Null,
    };
    match output {
        Output::Inherit => return Ok(Stdio::inherit()),
        Output::Null => return Ok(Stdio::null()),
        Output::Drain | Output::Collect(_) => {}
    }
    let (reader, writer) = io::pipe()?;
    let mut pipe = M::hold(event_loop, from_std(reader.into()))?;
    let reading = M::read(event_loop, &mut pipe, child, which);
    match event_loop.children.get_mut(child) {
        Some(state) if reading.is_ok() => state.outputs[which].pipe = Some(pipe),
        _ => M::let_go(event_loop, pipe),
    }
    reading.map(|()| Stdio::from(writer))
}

/// Closes what a child has open, and takes back what was to happen to it.
fn release<M: Spawn, S>(event_loop: &mut Loop<M, S>, state: &mut State<M, S>) {
    if let Some(timer) = state.timer.take() {
        event_loop.cancel(timer);
    }
    for output in &mut state.outputs {
        if let Some(pipe) = output.pipe.take() {
            M::let_go(event_loop, pipe);
        }
    }
    if let Some(stdin) = state.stdin.take() {
        M::let_go(event_loop, stdin.pipe);
    }
}

/// Which of a command's callbacks.
type CallbackOf<M, S> = fn(&mut Command<M, S>) -> &mut Option<ChildCallback<M, S>>;

/// Calls one of a command's callbacks: INV-TABLE-1.
fn call<M: Model, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    which: CallbackOf<M, S>,
) -> Result<(), BoxError> {
    let state = event_loop.children.get_mut(child);
    let Some(mut callback) = state.and_then(|state| which(&mut state.command).take()) else {
        return Ok(());
    };
    let called = callback(event_loop, child);
    if let Some(state) = event_loop.children.get_mut(child) {
        *which(&mut state.command) = Some(callback);
    }
    called
}

/// Tells that a child was started, if that was not told: by a turn of its own, or before anything else is told of it.
fn tell_start<M: Model, S>(event_loop: &mut Loop<M, S>, child: Child) -> Result<(), BoxError> {
    let starts = |state: &mut State<M, S>| std::mem::take(&mut state.starts);
    if event_loop.children.get_mut(child).is_some_and(starts) {
        call(event_loop, child, |command| &mut command.on_start)
    } else {
        Ok(())
    }
}

/// Output came.
pub(super) fn received<M: Model, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    which: usize,
    bytes: &[u8],
) -> Result<(), BoxError> {
    let started = tell_start(event_loop, child);
    let told = tell_output(event_loop, child, which, bytes);
    started.and(told)
}

fn tell_output<M: Model, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    which: usize,
    bytes: &[u8],
) -> Result<(), BoxError> {
    let Some(state) = event_loop.children.get_mut(child) else {
        return Ok(());
    };
    if let Output::Collect(limit) = state.command.outputs[which] {
        let reading = &mut state.outputs[which];
        let room = limit - reading.collected.len().min(limit);
        reading.is_cut |= bytes.len() > room;
        reading
            .collected
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
    let Some(mut callback) = state.command.on_output[which].take() else {
        return Ok(());
    };
    let called = callback(event_loop, child, bytes);
    if let Some(state) = event_loop.children.get_mut(child) {
        state.command.on_output[which] = Some(callback);
    }
    called
}

/// An output is over.
pub(super) fn ended<M: Spawn, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    which: usize,
) -> Result<(), BoxError> {
    let state = event_loop.children.get_mut(child);
    if let Some(pipe) = state.and_then(|state| state.outputs[which].pipe.take()) {
        M::let_go(event_loop, pipe);
    }
    finish_if_over(event_loop, child)
}

/// The process has ended; its output may not have.
fn exited<M: Spawn, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    exit: signals::Exit,
) -> Result<(), BoxError> {
    if let Some(state) = event_loop.children.get_mut(child) {
        state.status = Some(exit.status);
    }
    let started = tell_start(event_loop, child);
    let ended = await_output(event_loop, child);
    started.and(ended)
}

/// Lets go of what an ended process has no use for, and waits for its output.
fn await_output<M: Spawn, S>(event_loop: &mut Loop<M, S>, child: Child) -> Result<(), BoxError> {
    let Some(state) = event_loop.children.get_mut(child) else {
        return Ok(());
    };
    if let Some(process) = &mut state.process {
        process.watch = None;
    }
    let (timer, stdin) = (state.timer.take(), state.stdin.take());
    let grace = state.command.output_grace;
    let awaits_output = state.outputs.iter().any(|output| output.pipe.is_some());
    if let Some(timer) = timer {
        event_loop.cancel(timer);
    }
    if let Some(stdin) = stdin {
        M::let_go(event_loop, stdin.pipe);
    }
    if awaits_output {
        let armed = event_loop.after(grace, move |event_loop| output_late(event_loop, child));
        match (armed, event_loop.children.get_mut(child)) {
            (Ok(timer), Some(state)) => {
                state.timer = Some(timer);
                return Ok(());
            }
            // There is no room for the timer: what has come by now has to do.
            _ => return output_late(event_loop, child),
        }
    }
    finish_if_over(event_loop, child)
}

/// The grace is over. What the pipes have is read; then somebody else holds them, and they are closed (INV-CHILD-2).
fn output_late<M: Spawn, S>(event_loop: &mut Loop<M, S>, child: Child) -> Result<(), BoxError> {
    if let Some(state) = event_loop.children.get_mut(child) {
        state.timer = None;
        state.is_late = true;
    }
    let mut told = Ok(());
    for which in 0..2 {
        if !M::ends_reading(event_loop, child, which) {
            told = told.and(finish_output(event_loop, child, which, &[]));
        }
    }
    told
}

/// Tells the last of an output, whatever its callback does: `bytes`, and what is left in the pipe. If that is not its end, it has
/// none, and is waited for no longer.
pub(super) fn finish_output<M: Spawn, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    which: usize,
    bytes: &[u8],
) -> Result<(), BoxError> {
    let told = catch_unwind(AssertUnwindSafe(|| {
        tell_rest(event_loop, child, which, bytes)
    }));
    if let Some(state) = event_loop.children.get_mut(child)
        && state.outputs[which].pipe.is_some()
    {
        state.outputs[which].is_cut |= !matches!(told, Ok(Ok(true)));
    }
    let ended = ended(event_loop, child, which);
    match told {
        Ok(told) => told.and(ended),
        Err(panic) => resume_unwind(panic),
    }
}

/// Tells of `bytes`, and of what is left in the pipe; whether that was all there will be.
fn tell_rest<M: Spawn, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
    which: usize,
    bytes: &[u8],
) -> Result<bool, BoxError> {
    if !bytes.is_empty() {
        received(event_loop, child, which, bytes)?;
    }
    let mut left = REST_MAX;
    while left > 0 && event_loop.children.output(child, which).is_some() {
        let mut chunk = event_loop.children.take_chunk();
        let read = M::read_now(event_loop, child, which, &mut chunk);
        let told = match read {
            Ok(count @ 1..) => received(event_loop, child, which, &chunk[..count]),
            _ => Ok(()),
        };
        event_loop.children.keep_chunk(chunk);
        told?;
        match read {
            Ok(0) => return Ok(true),
            Ok(count) => left = left.saturating_sub(count),
            Err(Errno::EINTR) => {}
            Err(_) => break, // nothing is there by now
        }
    }
    Ok(false)
}

/// Tells the exit, if the child is over.
fn finish_if_over<M: Spawn, S>(event_loop: &mut Loop<M, S>, child: Child) -> Result<(), BoxError> {
    let Some(state) = event_loop.children.get(child) else {
        return Ok(());
    };
    let is_open = state.outputs.iter().any(|output| output.pipe.is_some());
    let Some(status) = state.status.filter(|_| !is_open) else {
        return Ok(());
    };
    let Some(mut state) = event_loop.children.remove(child) else {
        return Ok(());
    };
    release(event_loop, &mut state);
    let [stdout, stderr] = &mut state.outputs;
    let exit = Exit {
        child: Some(child),
        pid: state.process.as_ref().map(|process| process.pid),
        status: status.map_err(|errno| io::Error::from_raw_os_error(errno.raw())),
        timed_out: state.timed_out,
        is_cut: stdout.is_cut | stderr.is_cut,
        stdout: std::mem::take(&mut stdout.collected),
        stderr: std::mem::take(&mut stderr.collected),
        tag: state.command.take_tag(),
    };
    let (callback, pool) = (state.command.on_exit.take(), state.pool);
    drop(state);
    // Its place is the next one's before the program hears of it, and whatever the program does then (F1).
    if let Some(pool) = pool {
        pool::child_ended(event_loop, pool);
    }
    match callback {
        Some(callback) => callback(event_loop, exit),
        None => Ok(()),
    }
}

/// Tells of a command whose turn came, and which could not be started then.
pub(super) fn not_started<M: Model, S>(
    event_loop: &mut Loop<M, S>,
    error: io::Error,
    mut command: Box<Command<M, S>>,
) {
    let Some(callback) = command.on_exit.take() else {
        return;
    };
    let exit = Exit {
        child: None,
        pid: None,
        status: Err(error),
        timed_out: false,
        stdout: Vec::new(),
        stderr: Vec::new(),
        is_cut: false,
        tag: command.take_tag(),
    };
    event_loop.children.late.push_back((callback, exit));
    event_loop.defer(|event_loop| match event_loop.children.late.pop_front() {
        Some((callback, exit)) => callback(event_loop, exit),
        None => Ok(()),
    });
}

/// The timer of the timeout is due. What has come by then is seen first: timers come before the events of their turn, and a
/// loop that was busy for long finds both.
fn time_is_up<M: Model, S>(event_loop: &mut Loop<M, S>, child: Child) {
    if let Some(state) = event_loop.children.get_mut(child) {
        state.timer = None;
        event_loop.defer(move |event_loop| timed_out(event_loop, child));
    }
}

/// The timeout is over.
fn timed_out<M: Model, S>(event_loop: &mut Loop<M, S>, child: Child) -> Result<(), BoxError> {
    let Some(state) = event_loop.children.get_mut(child) else {
        return Ok(());
    };
    if state.status.is_some() {
        return Ok(());
    }
    state.timed_out = true;
    let started = tell_start(event_loop, child);
    let Some(state) = event_loop.children.get_mut(child) else {
        return started;
    };
    let kill_after = state.command.kill_after;
    let armed = kill_after.map(|grace| {
        event_loop.after(grace, move |event_loop| {
            if let Some(state) = event_loop.children.get_mut(child) {
                state.timer = None;
                let _ = state.kill(Signal::KILL);
            }
        })
    });
    // Should the callback panic, the child ends all the same.
    let called = catch_unwind(AssertUnwindSafe(|| {
        call(event_loop, child, |command| &mut command.on_timeout)
    }));
    if let Some(state) = event_loop.children.get_mut(child) {
        match armed {
            Some(Ok(timer)) => state.timer = Some(timer),
            // There is no room for the timer: it ends now.
            Some(Err(_)) => drop(state.kill(Signal::KILL)),
            None => {}
        }
        let _ = state.kill(Signal::TERM);
    }
    match called {
        Ok(called) => started.and(called),
        Err(panic) => resume_unwind(panic),
    }
}

/// Gives a child what it has room for.
pub(super) fn pump<M: Spawn, S>(event_loop: &mut Loop<M, S>, child: Child) -> Result<(), BoxError> {
    if !event_loop.model.is_owner() {
        return Ok(()); // what is written now, the parent would write again (G-1)
    }
    let state = event_loop.children.get_mut(child);
    let Some(mut stdin) = state.and_then(|state| state.stdin.take()) else {
        return Ok(());
    };
    stdin.awaits = false;
    let had_some = stdin.pending > 0;
    let mut left = PUMP_MAX;
    let is_open = loop {
        let Some(front) = stdin.queue.front() else {
            break true;
        };
        let bytes = &front[stdin.start..];
        if bytes.is_empty() {
            stdin.queue.pop_front();
            stdin.start = 0;
            continue;
        }
        if left == 0 {
            break true;
        }
        match M::write(event_loop, &stdin.pipe, &bytes[..bytes.len().min(left)]) {
            Ok(count) => {
                stdin.start += count;
                stdin.pending -= count;
                left -= count;
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => break true,
            // The child has closed it, or is gone.
            Err(_) => break false,
        }
    };
    let is_drained = stdin.pending == 0;
    if !is_open || is_drained && stdin.closes {
        M::let_go(event_loop, stdin.pipe);
        return Ok(());
    }
    if !is_drained {
        // Without room for a watcher or operation it could never be told: that is the end of it.
        if M::await_room(event_loop, &mut stdin.pipe, child).is_err() {
            M::let_go(event_loop, stdin.pipe);
            return Ok(());
        }
        stdin.awaits = true;
    }
    if let Some(state) = event_loop.children.get_mut(child) {
        state.stdin = Some(stdin);
    }
    if had_some && is_drained {
        return call(event_loop, child, |command| &mut command.on_stdin_drained);
    }
    Ok(())
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
