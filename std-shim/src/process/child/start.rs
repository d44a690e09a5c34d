//! How a child begins: its pipes, the process, the pidfd; or why it does not.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::process::Stdio;

use linux_event_core::errno::Errno;
use linux_event_core::sys::{Kernel, Linux};

use super::super::command::{Command, Input, Output, refused};
use super::super::pipes::{Spawn, nonblocking};
use super::super::pool::PoolId;
use super::life::{exited, pump, release, tell_start, time_is_up};
use super::{Child, Exit, Process, Reading, State, Stdin};
use crate::event_loop::Loop;
use crate::fd::from_std;
use crate::model::Model;

/// Starts a child. What is refused comes back, with everything as it was.
pub(in super::super) fn launch<M: Spawn, S>(
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

/// Tells of a command whose turn came, and which could not be started then.
pub(in super::super) fn not_started<M: Model, S>(
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
