//! What tests do to their own process and to sockets that `std` has no call for: limits, signals, resets.
//!
//! **What.** Each function wraps one call of libc or a few. Test files include this one by `#[path]`.
//!
//! **Why this shape.** It is the one file of these tests where libc is called, so that the others need no `unsafe`.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test file uses its own part of this one")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Runs a test in a process of its own, where it may do to the process what it likes.
///
/// In the process of its own this returns true, and the test goes on; elsewhere it returns false when the process has
/// ended well, and the test returns. `name` is the test's.
pub(crate) fn alone(name: &str) -> bool {
    const ALONE: &str = "LINUX_EVENT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        // SAFETY: no pointer.
        unsafe { libc::alarm(patience_s()) };
        return true;
    }
    let program = std::env::current_exe().expect("the path of this program");
    let output = std::process::Command::new(program)
        .args([name, "--exact", "--test-threads=1", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("a process");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "there is no test {name}");
    eprint!("{stderr}"); // what it had to say, as less than a test wants
    false
}

/// Seconds after which a process that hangs is ended by SIGALRM: more where processors are slow, as emulated ones are.
fn patience_s() -> u32 {
    let set = std::env::var("LINUX_EVENT_TEST_PATIENCE_S");
    set.ok().and_then(|set| set.parse().ok()).unwrap_or(60)
}

/// The result of a call that is −1 on failure.
fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// How many descriptors this process may have: the soft limit and the hard one.
pub(crate) fn descriptor_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives until the call returns.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft limit of descriptors.
pub(crate) fn limit_descriptors(soft: u64) -> io::Result<()> {
    let (_, hard) = descriptor_limit()?;
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` lives until the call returns.
    done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

/// Raises the soft limit of descriptors to the hard one, and returns it.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let (_, hard) = descriptor_limit()?;
    limit_descriptors(hard)?;
    Ok(hard)
}

/// Sends `signal` to the calling thread.
pub(crate) fn raise(signal: i32) {
    // SAFETY: no pointer.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// Has `signal` call `handler`, without `SA_RESTART`: what blocks returns EINTR.
///
/// `handler` must do nothing that is not async-signal-safe.
pub(crate) fn handle_without_restart(
    signal: i32,
    handler: extern "C" fn(libc::c_int),
) -> io::Result<()> {
    // SAFETY: all zeroes are a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    // SAFETY: `action` lives until the call returns, and its handler has the type of one without `SA_SIGINFO`.
    done(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })
}

/// A timer that sends `signal` to the thread that made it, again and again, until it is dropped.
#[derive(Debug)]
pub(crate) struct SignalStorm(libc::timer_t);

impl SignalStorm {
    /// Begins.
    pub(crate) fn every(period: Duration, signal: i32) -> io::Result<Self> {
        // SAFETY: all zeroes are a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        // SAFETY: no pointer.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = std::ptr::null_mut();
        // SAFETY: `event` and `timer` live until the call returns.
        done(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;
        let storm = Self(timer);
        let period = libc::timespec {
            tv_sec: period.as_secs() as _,
            tv_nsec: libc::c_long::from(period.subsec_nanos()),
        };
        let setting = libc::itimerspec {
            it_interval: period,
            it_value: period,
        };
        // SAFETY: the timer was just made; `setting` lives until the call returns.
        done(unsafe { libc::timer_settime(storm.0, 0, &raw const setting, std::ptr::null_mut()) })?;
        Ok(storm)
    }
}

impl Drop for SignalStorm {
    fn drop(&mut self) {
        // SAFETY: the timer is this value's, and it ends here.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Has closing `socket` reset the connection, and drop what was not sent.
pub(crate) fn reset_on_close(socket: &impl AsRawFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the pointer and the length are those of `linger`, which lives until the call returns.
    done(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    })
}

/// Closes a number that somebody else believes to own: the trouble that some tests are about.
///
/// The owner must not be dropped afterwards (see `into_raw_fd`), so that no other test's descriptor is closed.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: no pointer; callers have taken the number from its owner.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

/// Another number for the file of `fd`.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointer.
    let raw = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    done(raw)?;
    // SAFETY: the number is a fresh one, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Has the number `at` be the file of `fd`, whatever it was before; the result owns it.
pub(crate) fn duplicate_at(fd: RawFd, at: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointer; callers have closed `at`, or own it and give it up.
    done(unsafe { libc::dup3(fd, at, libc::O_CLOEXEC) })?;
    // SAFETY: the number is a fresh one, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(at) })
}

/// Has a listening socket queue `backlog` connections, and one more.
pub(crate) fn listen(socket: &impl AsRawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: no pointer.
    done(unsafe { libc::listen(socket.as_raw_fd(), backlog) })
}

/// A unix stream socket that is not connected.
pub(crate) fn unix_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointer.
    let raw = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    done(raw)?;
    // SAFETY: the number is a fresh one, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Runs `body` in a forked child, which then ends, with 101 if it panicked; goes on meanwhile, and returns its number.
///
/// Only for a process that has no other thread in the midst of anything: the child allocates.
pub(crate) fn fork_and_go_on(body: impl FnOnce()) -> i32 {
    // SAFETY: the one thread that matters is this one, and glibc's allocator can be used after a fork.
    let child = unsafe { libc::fork() };
    done(child).expect("a child");
    if child == 0 {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: it ends the process, and nothing of the harness runs in it.
        unsafe { libc::_exit(if ended.is_ok() { 0 } else { 101 }) };
    }
    child
}

/// Waits for a child; its exit code.
pub(crate) fn reap(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    done(unsafe { libc::waitpid(child, &raw mut status, 0) }).expect("a child");
    assert!(libc::WIFEXITED(status), "it was killed: {status:#x}");
    libc::WEXITSTATUS(status)
}
