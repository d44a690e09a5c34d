//! What to start, and whom to tell: a builder.
//!
//! **Invariants.** *INV-COMMAND-1*: whatever refuses a command gives it back, callbacks and all.
//!
//! **Why this shape.** A command is checked when it is made or queued, not when its turn comes (Q-4). It is kept whole while
//! its child lives: the callbacks are called from where they are.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use linux_event_core::error::Error as LoopError;

use super::child::{self, Child, Exit};
use super::pipes::Spawn;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;

pub(super) type ChunkCallback<M, S> =
    Box<dyn FnMut(&mut Loop<M, S>, Child, &[u8]) -> Result<(), BoxError>>;
pub(super) type ChildCallback<M, S> =
    Box<dyn FnMut(&mut Loop<M, S>, Child) -> Result<(), BoxError>>;
pub(super) type ExitCallback<M, S> = Box<dyn FnOnce(&mut Loop<M, S>, Exit) -> Result<(), BoxError>>;

/// How long a child that was told to end by SIGTERM has, unless the command says otherwise.
const KILL_AFTER: Duration = Duration::from_secs(1);
/// How long output is waited for after the child has ended, unless the command says otherwise.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// Bytes that wait for a child to read, at most, unless the command says otherwise.
const STDIN_MAX: usize = 64 * 1024 * 1024;

/// Where a child's standard output or standard error goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Where the program's own goes.
    #[default]
    Inherit,
    /// To `/dev/null`.
    Null,
    /// Through a pipe that the loop reads: its chunks go to the callback, if there is one, and nowhere else.
    Drain,
    /// As [`Drain`](Self::Drain); and its first bytes, at most so many, come with the [`Exit`].
    Collect(usize),
}

/// What a child reads as standard input.
#[derive(Debug, Default)]
pub(super) enum Input {
    #[default]
    Inherit,
    Null,
    /// A pipe; what goes into it first, and whether it stays open after that.
    Pipe {
        first: Vec<u8>,
        stays_open: bool,
    },
}

#[derive(Debug)]
enum EnvChange {
    Clear,
    Set(OsString, OsString),
    Remove(OsString),
}

/// A program to be started on a loop, as [`Loop::command`] makes it. See the [module](super).
pub struct Command<M: Model, S> {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<EnvChange>,
    directory: Option<PathBuf>,
    umask: Option<u32>,
    tag: Option<String>,
    pub(super) input: Input,
    pub(super) stdin_max: usize,
    /// Standard output, standard error.
    pub(super) outputs: [Output; 2],
    pub(super) on_output: [Option<ChunkCallback<M, S>>; 2],
    pub(super) on_start: Option<ChildCallback<M, S>>,
    pub(super) on_stdin_drained: Option<ChildCallback<M, S>>,
    pub(super) on_timeout: Option<ChildCallback<M, S>>,
    pub(super) on_exit: Option<ExitCallback<M, S>>,
    pub(super) timeout: Option<Duration>,
    pub(super) kill_after: Option<Duration>,
    pub(super) output_grace: Duration,
    pub(super) kill_on_drop: bool,
}

fn boxed<M: Model, S, R: Outcome>(
    mut callback: impl FnMut(&mut Loop<M, S>, Child) -> R + 'static,
) -> ChildCallback<M, S> {
    Box::new(move |event_loop, child| callback(event_loop, child).into_result())
}

impl<M: Spawn, S> Loop<M, S> {
    /// A command for this loop: `program`, looked up in `PATH` if it has no slash, without arguments. Never a shell (Q-1).
    ///
    /// ```
    /// # let mut event_loop = linux_event::Loop::reactor()?;
    /// event_loop.command("true").on_exit(|_, exit| assert_eq!(exit.code(), Some(0))).spawn(&mut event_loop)?;
    /// event_loop.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A fake has no processes to start:
    ///
    /// ```compile_fail,E0599
    /// linux_event::Loop::fake_reactor().command("true");
    /// ```
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command<M, S> {
        Command::new(program)
    }
}

impl<M: Spawn, S> Command<M, S> {
    /// As [`Loop::command`].
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            umask: None,
            tag: None,
            input: Input::Inherit,
            stdin_max: STDIN_MAX,
            outputs: [Output::Inherit; 2],
            on_output: [None, None],
            on_start: None,
            on_stdin_drained: None,
            on_timeout: None,
            on_exit: None,
            timeout: None,
            kill_after: Some(KILL_AFTER),
            output_grace: OUTPUT_GRACE,
            kill_on_drop: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// Sets a variable of the child's environment, which is the program's otherwise.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.env.push(EnvChange::Set(name, value));
        self
    }

    /// Takes a variable out of the child's environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push(EnvChange::Remove(name.as_ref().to_owned()));
        self
    }

    /// Empties the child's environment; what is [set](Self::env) from here on stays.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env.push(EnvChange::Clear);
        self
    }

    /// Starts the child in this directory. It must exist by then.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts the child with this mask for new files, 0 to 0o777 (`umask(2)`).
    #[must_use]
    pub const fn umask(mut self, mask: u32) -> Self {
        self.umask = Some(mask);
        self
    }

    /// A word to know the child by: see [`Child::tag`], [`Exit::tag`] and [`Pool::cancel_queued`](super::Pool::cancel_queued).
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Gives the child nothing to read: `/dev/null`.
    #[must_use]
    pub fn stdin_null(mut self) -> Self {
        self.input = Input::Null;
        self
    }

    /// Gives the child these bytes to read, and then the end.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        let first = bytes.into();
        let stays_open = matches!(self.input, Input::Pipe { stays_open, .. } if stays_open);
        self.input = Input::Pipe { first, stays_open };
        self
    }

    /// Gives the child a pipe to read, for [`Child::write`]. What [`stdin_bytes`](Self::stdin_bytes) has goes first.
    #[must_use]
    pub fn stdin_pipe(mut self) -> Self {
        let first = match self.input {
            Input::Pipe { first, .. } => first,
            _ => Vec::new(),
        };
        self.input = Input::Pipe {
            first,
            stays_open: true,
        };
        self
    }

    /// Refuses writes with which more than `bytes` would wait for the child to read. 64 MiB unless set.
    #[must_use]
    pub const fn stdin_max(mut self, bytes: usize) -> Self {
        self.stdin_max = bytes;
        self
    }

    /// Where standard output goes. With a [callback](Self::on_stdout), `Inherit` and `Null` keep it from being called.
    #[must_use]
    pub const fn stdout(mut self, output: Output) -> Self {
        self.outputs[0] = output;
        self
    }

    /// Where standard error goes; as [`stdout`](Self::stdout).
    #[must_use]
    pub const fn stderr(mut self, output: Output) -> Self {
        self.outputs[1] = output;
        self
    }

    fn on_output<R: Outcome>(
        mut self,
        which: usize,
        mut callback: impl FnMut(&mut Loop<M, S>, Child, &[u8]) -> R + 'static,
    ) -> Self {
        self.on_output[which] = Some(Box::new(move |event_loop, child, bytes| {
            callback(event_loop, child, bytes).into_result()
        }));
        if self.outputs[which] == Output::Inherit {
            self.outputs[which] = Output::Drain;
        }
        self
    }

    /// Calls `callback` with standard output as it comes, in chunks that may end anywhere (Q-2).
    ///
    /// If it panics, no more of that output is read; the child may come to wait for somebody who does.
    #[must_use]
    pub fn on_stdout<R: Outcome>(
        self,
        callback: impl FnMut(&mut Loop<M, S>, Child, &[u8]) -> R + 'static,
    ) -> Self {
        self.on_output(0, callback)
    }

    /// Calls `callback` with standard error as it comes; as [`on_stdout`](Self::on_stdout).
    #[must_use]
    pub fn on_stderr<R: Outcome>(
        self,
        callback: impl FnMut(&mut Loop<M, S>, Child, &[u8]) -> R + 'static,
    ) -> Self {
        self.on_output(1, callback)
    }

    /// Calls `callback` once the child runs, before anything else is told of it: for those that wait in a
    /// [`Pool`](super::Pool).
    #[must_use]
    pub fn on_start<R: Outcome>(
        mut self,
        callback: impl FnMut(&mut Loop<M, S>, Child) -> R + 'static,
    ) -> Self {
        self.on_start = Some(boxed(callback));
        self
    }

    /// Calls `callback` when the child has been given all that waited for it: the moment to [write](Child::write) more.
    #[must_use]
    pub fn on_stdin_drained<R: Outcome>(
        mut self,
        callback: impl FnMut(&mut Loop<M, S>, Child) -> R + 'static,
    ) -> Self {
        self.on_stdin_drained = Some(boxed(callback));
        self
    }

    /// Calls `callback` once, when the child has ended and its output is over (Q-2).
    #[must_use]
    pub fn on_exit<R: Outcome>(
        mut self,
        callback: impl FnOnce(&mut Loop<M, S>, Exit) -> R + 'static,
    ) -> Self {
        self.on_exit = Some(Box::new(move |event_loop, exit| {
            callback(event_loop, exit).into_result()
        }));
        self
    }

    /// Ends a child that runs longer (Q-3): [`on_timeout`](Self::on_timeout) is called, SIGTERM sent, and SIGKILL
    /// [later](Self::kill_after).
    #[must_use]
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Calls `callback` when the [timeout](Self::timeout) is over, before SIGTERM is sent.
    #[must_use]
    pub fn on_timeout<R: Outcome>(
        mut self,
        callback: impl FnMut(&mut Loop<M, S>, Child) -> R + 'static,
    ) -> Self {
        self.on_timeout = Some(boxed(callback));
        self
    }

    /// How long after the SIGTERM of a [timeout](Self::timeout) SIGKILL is sent: a second unless set; `None` for never.
    #[must_use]
    pub const fn kill_after(mut self, grace: Option<Duration>) -> Self {
        self.kill_after = grace;
        self
    }

    /// How long after the child's end its output is waited for, if somebody else, a grandchild, holds the pipe: a second
    /// unless set (Q-2).
    #[must_use]
    pub const fn output_grace(mut self, grace: Duration) -> Self {
        self.output_grace = grace;
        self
    }

    /// Sends SIGKILL when the loop is dropped while the child runs. Nobody waits for it then: it is a zombie until the program
    /// ends.
    #[must_use]
    pub const fn kill_on_drop(mut self, kills: bool) -> Self {
        self.kill_on_drop = kills;
        self
    }

    /// Starts the program. What comes of it is told in later turns.
    ///
    /// This waits until the child has begun to execute it, so that a program that is missing is told here.
    ///
    /// # Errors
    /// With the command: ENOENT and EACCES for the program or the directory, EAGAIN or ENOMEM if there can be no more processes,
    /// EMFILE; [`InvalidInput`](io::ErrorKind::InvalidInput) for what can't be a command; what the loop says.
    pub fn spawn(self, event_loop: &mut Loop<M, S>) -> Result<Child, SpawnError<M, S>> {
        child::launch(event_loop, Box::new(self), None)
            .map_err(|(error, command)| SpawnError { error, command })
    }

    /// What can be said of a command before it is started (Q-4).
    pub(super) fn check(&self) -> Result<(), io::Error> {
        let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let has_zero = |text: &OsStr| text.as_bytes().contains(&0);
        if self.program.is_empty() {
            return invalid("the program has no name");
        }
        let directory = self.directory.as_ref().map(|it| it.as_os_str());
        let words = self.args.iter().map(OsString::as_os_str);
        if words.chain([&*self.program]).chain(directory).any(has_zero) {
            return invalid("a program, argument or directory has a zero byte");
        }
        for change in &self.env {
            let (name, value) = match change {
                EnvChange::Clear => continue,
                EnvChange::Set(name, value) => (name, Some(value)),
                EnvChange::Remove(name) => (name, None),
            };
            if name.is_empty() || name.as_bytes().contains(&b'=') || has_zero(name) {
                return invalid(
                    "an environment variable's name is empty, or has a zero byte or '='",
                );
            }
            if value.is_some_and(|value| has_zero(value)) {
                return invalid("an environment variable has a zero byte");
            }
        }
        if self.umask.is_some_and(|mask| mask > 0o777) {
            return invalid("a umask is at most 0o777");
        }
        if self.timeout == Some(Duration::ZERO) {
            return invalid("a timeout is longer than zero");
        }
        Ok(())
    }

    /// The same for `std`, without its standard streams.
    pub(super) fn build(&self) -> process::Command {
        let mut command = process::Command::new(&self.program);
        command.args(&self.args);
        for change in &self.env {
            match change {
                EnvChange::Clear => command.env_clear(),
                EnvChange::Set(name, value) => command.env(name, value),
                EnvChange::Remove(name) => command.env_remove(name),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        super::exec::prepare(&mut command, self.umask);
        command
    }
}

impl<M: Model, S> Command<M, S> {
    /// The program.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The word that [`tag`](Self::tag) set.
    pub fn tag_text(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub(super) fn take_tag(&mut self) -> Option<String> {
        self.tag.take()
    }
}

impl<M: Model, S> fmt::Debug for Command<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

/// A command that was not started: why, and the command (INV-COMMAND-1).
pub struct SpawnError<M: Model, S> {
    /// Why.
    pub error: io::Error,
    /// What was to be started.
    pub command: Box<Command<M, S>>,
}

impl<M: Model, S> fmt::Debug for SpawnError<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnError")
            .field("error", &self.error)
            .field("command", &self.command)
            .finish()
    }
}

impl<M: Model, S> fmt::Display for SpawnError<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command.program.display(), self.error)
    }
}

// No `std::error::Error`: the command is not `Send`. It turns into those that are.

impl<M: Model, S> From<SpawnError<M, S>> for io::Error {
    fn from(refused: SpawnError<M, S>) -> Self {
        Self::new(refused.error.kind(), refused.to_string())
    }
}

impl<M: Model, S> From<SpawnError<M, S>> for BoxError {
    fn from(refused: SpawnError<M, S>) -> Self {
        io::Error::from(refused).into()
    }
}

impl<M: Model, S> From<SpawnError<M, S>> for Box<dyn std::error::Error> {
    fn from(refused: SpawnError<M, S>) -> Self {
        io::Error::from(refused).into()
    }
}

/// What a loop refused, as an error of the system.
pub(super) fn refused(error: impl Into<Error>) -> io::Error {
    match error.into() {
        Error::Loop(error @ LoopError::Full { .. }) => {
            io::Error::new(io::ErrorKind::OutOfMemory, error)
        }
        error => io::Error::from(error),
    }
}
