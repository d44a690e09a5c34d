//! A built example, run as a child process that can't outlive its time.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use linux_event::core::sys::{Fd, Kernel, Linux};
use linux_event::{Error, Loop, LoopError, Signal};

/// After so long a child is killed, and its test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where cargo puts the example `name` of this build: beside the directory of the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows where it is");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(
        path.exists(),
        "{} is not there: `cargo test` builds it, and so does `cargo build --examples`",
        path.display()
    );
    path
}

/// The exit code of an example that needs io_uring, where that may not be used: it has printed why, and its test is skipped.
pub(crate) const SKIPPED: i32 = 77;

/// Why io_uring may not be used here; `None` if it may.
pub(crate) fn no_ring() -> Option<String> {
    match Loop::proactor() {
        Ok(_) => None,
        Err(error @ Error::Loop(LoopError::NoRing { .. } | LoopError::RingTooOld)) => {
            Some(error.to_string())
        }
        Err(error) => panic!("io_uring is here, and a loop can't be had: {error}"),
    }
}

/// A child process with its standard output piped. It is killed when its time is over, and when this is dropped.
pub(crate) struct Running {
    child: Child,
    pidfd: Arc<Fd>,
    out: BufReader<ChildStdout>,
    /// Dropped to send the watchdog home.
    alive: Option<mpsc::Sender<()>>,
    watchdog: Option<JoinHandle<bool>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // It can't be reaped, nor its number reused, before `wait` below.
        let pidfd = Linux.pidfd_open(child.id().cast_signed());
        let pidfd = Arc::new(pidfd.expect("a pidfd of a child"));
        let (alive, gone) = mpsc::channel::<()>();
        let target = Arc::clone(&pidfd);
        let watchdog = thread::spawn(move || {
            let late = gone.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            if late {
                let _ = Linux.pidfd_send_signal(target.borrow(), Signal::KILL.raw());
            }
            late
        });
        let out = child.stdout.take().expect("it is piped");
        Self {
            child,
            pidfd,
            out: BufReader::new(out),
            alive: Some(alive),
            watchdog: Some(watchdog),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        Linux
            .pidfd_send_signal(self.pidfd.borrow(), signal.raw())
            .expect("the child is there");
    }

    /// The next line of its output, without the line's end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("output is text");
        line.truncate(line.trim_end().len());
        line
    }

    /// Its exit status, and what of its output was not read yet.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("output is text");
        let status = self.child.wait().expect("it is a child");
        drop(self.alive.take());
        let late = self.watchdog.take().map(JoinHandle::join);
        assert!(
            matches!(late, Some(Ok(false))),
            "killed after {PATIENCE:?}; it had printed:\n{rest}"
        );
        (status, rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
