//! What happens to a child, in order: output, input, the timeout, the exit.
//!
//! **Why this shape.** A child is a handful of facts (which pipes are open, whether the status is known, which timer runs), and
//! it is over when the status is known and the pipes are closed: one function, [`finish_if_over`], looks after each event.

#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use linux_event_core::errno::Errno;
use linux_event_core::signal::Signal;

use super::super::command::{ChildCallback, Command, Output};
use super::super::pipes::{CHUNK, Spawn};
use super::super::pool;
use super::{Child, Exit, State};
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::model::Model;
use crate::signals;

/// Bytes that are given to a child in one turn, at most: it may read as fast as it is written to.
const PUMP_MAX: usize = 16 * CHUNK;

/// Bytes that are read of an output once the grace is over, at most: what a pipe can hold, unless somebody was allowed more. A
/// grandchild may write on and on.
const REST_MAX: usize = 1 << 20;

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
pub(super) fn tell_start<M: Model, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
) -> Result<(), BoxError> {
    let starts = |state: &mut State<M, S>| std::mem::take(&mut state.starts);
    if event_loop.children.get_mut(child).is_some_and(starts) {
        call(event_loop, child, |command| &mut command.on_start)
    } else {
        Ok(())
    }
}

/// Output came.
pub(in super::super) fn received<M: Model, S>(
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
pub(in super::super) fn ended<M: Spawn, S>(
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
pub(super) fn exited<M: Spawn, S>(
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
pub(in super::super) fn finish_output<M: Spawn, S>(
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

/// The timer of the timeout is due. What has come by then is seen first: timers come before the events of their turn, and a
/// loop that was busy for long finds both.
pub(super) fn time_is_up<M: Model, S>(event_loop: &mut Loop<M, S>, child: Child) {
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
pub(in super::super) fn pump<M: Spawn, S>(
    event_loop: &mut Loop<M, S>,
    child: Child,
) -> Result<(), BoxError> {
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

/// Closes what a child has open, and takes back what was to happen to it.
pub(super) fn release<M: Spawn, S>(event_loop: &mut Loop<M, S>, state: &mut State<M, S>) {
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
