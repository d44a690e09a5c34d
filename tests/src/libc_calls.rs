//! The system calls that tests make around a loop: the only file of this package with `unsafe` in it.
//!
//! **Invariants.** *INV-CALLS-1*: pointers passed to the kernel are to locals or slices that outlive the call. *INV-CALLS-2*:
//! a number that is closed belongs to the test that closes it, and no `OwnedFd` holds it. *INV-CALLS-3*: a forked child
//! of a process with threads makes system calls and nothing else until it ends by `_exit`.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Once;

use linux_event::core::errno::Errno;
use linux_event::core::sys::{Fd, Linux, RawFd};
use linux_event::{ExitStatus, Signal, SignalSet};

/// The call's result, or its errno.
fn checked(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| {
        let raw = std::io::Error::last_os_error().raw_os_error();
        raw.and_then(Errno::from_raw).expect("an errno")
    })
}

fn done(result: libc::c_int) -> RawFd {
    checked(result as isize).expect("a call that can't fail here") as RawFd
}

/// Raises the soft limit of descriptors to the hard one, once.
pub fn raise_descriptor_limit() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: INV-CALLS-1.
        unsafe {
            done(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit));
            limit.rlim_cur = limit.rlim_max.min(65_536);
            done(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit));
        }
    });
}

/// `pipe2`, non-blocking: the end to read, the end to write.
pub fn pipe() -> (RawFd, RawFd) {
    let mut ends = [0; 2];
    // SAFETY: INV-CALLS-1.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) });
    (ends[0], ends[1])
}

/// `socketpair` of stream sockets, non-blocking.
pub fn socketpair() -> (RawFd, RawFd) {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let mut ends = [0; 2];
    // SAFETY: INV-CALLS-1.
    done(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) });
    (ends[0], ends[1])
}

/// A descriptor of `std`'s as the core has them.
pub fn to_core(fd: OwnedFd) -> Fd {
    // SAFETY: the number is open, and its one owner has just given it up.
    unsafe { Fd::from_raw(Linux, fd.into_raw_fd()) }
}

/// `fcntl(F_SETFL)`: what would wait is EAGAIN from here on.
pub fn set_non_blocking(fd: &OwnedFd) {
    // SAFETY: it takes numbers only.
    unsafe {
        let flags = done(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL));
        done(libc::fcntl(
            fd.as_raw_fd(),
            libc::F_SETFL,
            flags | libc::O_NONBLOCK,
        ));
    }
}

/// A stream socket with a port on this machine at which nobody listens.
pub fn bound_socket() -> OwnedFd {
    // SAFETY: it takes numbers only, and the number it gives is owned by nobody else.
    let socket = unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(done(libc::socket(libc::AF_INET, kind, 0)))
    };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: INV-CALLS-1: the length is that of `address`.
    done(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    });
    socket
}

/// Has SIGPIPE do what it does by default, and not what a Rust program has it do.
pub fn have_sigpipe_end_the_process() {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Sends a byte out of band.
pub fn send_urgent(fd: RawFd, byte: u8) {
    let bytes = [byte];
    // SAFETY: INV-CALLS-1.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(checked(sent), Ok(1));
}

/// `fcntl(F_DUPFD_CLOEXEC)`: the lowest free number from `min` on.
pub fn dup_from(fd: RawFd, min: RawFd) -> RawFd {
    // SAFETY: it takes numbers only.
    done(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, min) })
}

/// `dup3`.
pub fn dup_to(fd: RawFd, target: RawFd) {
    // SAFETY: INV-CALLS-2: what `target` led to is closed.
    done(unsafe { libc::dup3(fd, target, libc::O_CLOEXEC) });
}

/// `close`.
pub fn close(fd: RawFd) {
    // SAFETY: INV-CALLS-2.
    done(unsafe { libc::close(fd) });
}

/// `write`.
///
/// # Errors
/// Its own. EPIPE comes without SIGPIPE: a Rust program ignores that.
pub fn write(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: INV-CALLS-1.
    checked(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// `read`.
///
/// # Errors
/// Its own.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: INV-CALLS-1.
    checked(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// `shutdown(SHUT_WR)`.
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: it takes numbers only.
    done(unsafe { libc::shutdown(fd, libc::SHUT_WR) });
}

fn to_sigset(set: SignalSet) -> libc::sigset_t {
    // SAFETY: a sigset of zeroes is an empty one, and `sigaddset` changes nothing but it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        for signal in set {
            libc::sigaddset(&raw mut all, signal.raw());
        }
        all
    }
}

fn from_sigset(all: &libc::sigset_t) -> SignalSet {
    (1..=64)
        .filter_map(Signal::from_raw)
        // SAFETY: INV-CALLS-1.
        .filter(|signal| unsafe { libc::sigismember(all, signal.raw()) } == 1)
        .fold(SignalSet::EMPTY, SignalSet::with)
}

/// What this thread blocks.
pub fn thread_mask() -> SignalSet {
    let mut all = to_sigset(SignalSet::EMPTY);
    // SAFETY: INV-CALLS-1.
    done(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut all) });
    from_sigset(&all)
}

/// Has this thread block `set` and nothing else.
pub fn set_mask(set: SignalSet) {
    let all = to_sigset(set);
    // SAFETY: INV-CALLS-1.
    done(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) });
}

/// Raises a signal at this thread.
pub fn raise(signal: Signal) {
    // SAFETY: it takes a number and the thread that runs this.
    done(unsafe { libc::pthread_kill(libc::pthread_self(), signal.raw()) });
}

/// Kills a process that a test has left behind, and waits for it if it is a child.
pub fn kill(pid: u32) {
    // SAFETY: they take numbers, and a null pointer that `waitpid` allows. The process lives, or is a zombie of ours.
    unsafe {
        libc::kill(pid as i32, libc::SIGKILL);
        libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
    }
}

/// Whether this process has a child, ended or not.
pub fn has_children() -> bool {
    // SAFETY: `waitid` is told to leave it be, and to write nothing.
    let found = unsafe {
        libc::waitid(
            libc::P_ALL,
            0,
            std::ptr::null_mut(),
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        )
    };
    found == 0
}

/// Waits for a child.
pub fn reap(pid: u32) -> ExitStatus {
    let mut status = 0;
    // SAFETY: INV-CALLS-1.
    done(unsafe { libc::waitpid(pid as i32, &raw mut status, 0) });
    ExitStatus::from_wait_status(status)
}

/// Waits until a child has ended, and leaves its status for who waits for it.
pub fn until_ended(pid: u32) {
    // SAFETY: INV-CALLS-1; all zeroes is one of its values.
    unsafe {
        let mut info = std::mem::zeroed();
        done(libc::waitid(
            libc::P_PID,
            pid,
            &raw mut info,
            libc::WEXITED | libc::WNOWAIT,
        ));
    }
}

/// The bit of the byte that a process reads which says that a signal is to end it.
const BY_SIGNAL: u8 = 0x80;

/// Has a process end: by a code below 128, or by a signal.
pub fn end(pipe: RawFd, status: ExitStatus) {
    let byte = match status {
        ExitStatus::Exited(code) => code as u8 & !BY_SIGNAL,
        ExitStatus::Signaled { signal, .. } => signal as u8 | BY_SIGNAL,
    };
    assert_eq!(write(pipe, &[byte]), Ok(1));
    close(pipe);
}

/// What a process does that a test started: waits for a byte and ends as it says.
///
/// # Safety
/// The caller is a forked child (INV-CALLS-3).
unsafe fn live(pipe: RawFd) -> ! {
    let mut byte = 0u8;
    // SAFETY: INV-CALLS-1 and INV-CALLS-3.
    unsafe {
        if libc::read(pipe, (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(127);
        }
        if byte & BY_SIGNAL != 0 {
            let all = to_sigset(SignalSet::EMPTY);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            libc::raise(i32::from(byte & !BY_SIGNAL));
        }
        libc::_exit(i32::from(byte));
    }
}

/// `pipe2`, blocking.
fn blocking_pipe() -> (RawFd, RawFd) {
    let mut ends = [0; 2];
    // SAFETY: INV-CALLS-1.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) });
    (ends[0], ends[1])
}

/// Starts a child that lives until [`end`]: its pid, and its pipe.
pub fn spawn() -> (u32, RawFd) {
    let (reader, writer) = blocking_pipe();
    // SAFETY: INV-CALLS-3: the child makes system calls only. It dies with the thread that started it.
    let pid = done(unsafe { libc::fork() });
    if pid == 0 {
        // SAFETY: as above.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(writer);
            live(reader);
        }
    }
    close(reader);
    (pid as u32, writer)
}

/// Starts a process whose parent, a child of this one, is gone: its pid, and its pipe.
pub fn spawn_stranger() -> (u32, RawFd) {
    let (reader, writer) = blocking_pipe();
    let (report, reported) = blocking_pipe();
    // SAFETY: INV-CALLS-3.
    let parent = done(unsafe { libc::fork() });
    if parent == 0 {
        // SAFETY: INV-CALLS-3.
        unsafe {
            libc::close(writer);
            match libc::fork() {
                0 => live(reader),
                pid => {
                    libc::write(reported, (&raw const pid).cast(), size_of::<i32>());
                    libc::_exit(0);
                }
            }
        }
    }
    let mut pid = [0; 4];
    assert_eq!(read(report, &mut pid), Ok(pid.len()));
    assert_eq!(reap(parent as u32), ExitStatus::Exited(0));
    for end in [reader, report, reported] {
        close(end);
    }
    (i32::from_ne_bytes(pid) as u32, writer)
}

/// Runs `body` in a forked child, which ends with code 0 if it returns and with 101 if it panics; its status.
///
/// Only for a process that has no other thread in the midst of anything: the child allocates.
pub fn in_forked_child(body: impl FnOnce()) -> ExitStatus {
    if let Some(child) = fork_here() {
        return reap(child);
    }
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    leave(if ended.is_ok() { 0 } else { 101 })
}

/// Forks in the midst of what is being done, which goes on in both processes: the child's pid in the parent, which
/// [reaps](reap) it, and `None` in the child, which has to end with [`leave`].
pub fn fork_here() -> Option<u32> {
    // SAFETY: the one thread that matters is this one, and glibc's allocator can be used after a fork. The child
    // leaves by `_exit`, so that nothing of the harness runs in it.
    let pid = done(unsafe { libc::fork() });
    (pid != 0).then_some(pid as u32)
}

/// Ends a forked child, and runs nothing of the harness in it.
pub fn leave(code: i32) -> ! {
    // SAFETY: it ends the process.
    unsafe { libc::_exit(code) }
}
