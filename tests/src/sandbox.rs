//! A process that may do less than others: what a container, a service manager or a shared machine does to a program.
//!
//! **What.** [`Sandbox`] names what is taken away: system calls (by a seccomp filter, which answers with an errno),
//! memory to lock, descriptors, root. [`Sandbox::enter`] takes it away from the calling thread and its process, for good;
//! call it in a test that runs in a process of its own (`system::alone`). Test files include this one by `#[path]`.
//!
//! **Invariants.** *INV-SANDBOX-1*: pointers handed to the kernel are to locals that live until the call returns.
//!
//! **Why this shape.** The real kernel refuses, on the way in, and everything after the refusal is real as well: no fake
//! of ours has a say in what EPERM looks like.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test file uses its own part of this one")]

use std::io;

/// `io_uring_setup(2)`.
pub(crate) const IO_URING_SETUP: i64 = libc::SYS_io_uring_setup;
/// `io_uring_enter(2)`.
pub(crate) const IO_URING_ENTER: i64 = libc::SYS_io_uring_enter;
/// `io_uring_register(2)`.
pub(crate) const IO_URING_REGISTER: i64 = libc::SYS_io_uring_register;

/// A call to refuse: which, how, and only with one value of its second argument if there is one.
#[derive(Clone, Copy, Debug)]
struct Denial {
    call: i64,
    errno: i32,
    argument: Option<u32>,
}

/// What is taken away. See the [module](self).
#[derive(Debug, Default)]
#[must_use = "nothing happens before it is entered"]
pub(crate) struct Sandbox {
    denials: Vec<Denial>,
    lockable: Option<u64>,
    descriptors: Option<u64>,
    unprivileged: bool,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Refuses the system call `call` with `errno`.
    pub(crate) fn deny(mut self, call: i64, errno: i32) -> Self {
        self.denials.push(Denial {
            call,
            errno,
            argument: None,
        });
        self
    }

    /// Refuses one registration: `io_uring_register(2)` with `opcode`.
    pub(crate) fn deny_registration(mut self, opcode: u32, errno: i32) -> Self {
        self.denials.push(Denial {
            call: IO_URING_REGISTER,
            errno,
            argument: Some(opcode),
        });
        self
    }

    /// Lets the process lock `bytes` of memory at most (`RLIMIT_MEMLOCK`). Root is not held to it.
    pub(crate) fn lock_at_most(mut self, bytes: u64) -> Self {
        self.lockable = Some(bytes);
        self
    }

    /// Lets the process have `count` descriptors at most (`RLIMIT_NOFILE`).
    pub(crate) fn descriptors_at_most(mut self, count: u64) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Gives root up for a user who has nothing, and of whom no other process is: the memory that a user has locked is
    /// counted over all of a user's processes. Where the process is not root's it changes nothing.
    pub(crate) fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// Takes everything away.
    pub(crate) fn enter(self) {
        if let Some(bytes) = self.lockable {
            limit(i64::from(libc::RLIMIT_MEMLOCK), bytes);
        }
        if let Some(count) = self.descriptors {
            limit(i64::from(libc::RLIMIT_NOFILE), count);
        }
        if self.unprivileged && is_root() {
            become_nobody();
        }
        if !self.denials.is_empty() {
            filter(&self.denials);
        }
    }
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    // SAFETY: no pointer.
    unsafe { libc::geteuid() == 0 }
}

/// What `prctl(2)` takes: whole words, all of which it looks at.
const NO: libc::c_ulong = 0;
const YES: libc::c_ulong = 1;

fn done(what: &str, result: libc::c_int) {
    assert_ne!(result, -1, "{what}: {}", io::Error::last_os_error());
}

fn limit(resource: i64, value: u64) {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: INV-SANDBOX-1.
    done("setrlimit", unsafe {
        libc::setrlimit(resource as _, &raw const limit)
    });
}

fn become_nobody() {
    // User ids that a container maps as a rule, and that nobody has; different ones for processes at the same time.
    let id = 20_000 + std::process::id() % 40_000;
    // SAFETY: INV-SANDBOX-1: numbers, and a list of no groups.
    unsafe {
        done("setgroups", libc::setgroups(0, std::ptr::null()));
        done("setresgid", libc::setresgid(id, id, id));
        done("setresuid", libc::setresuid(id, id, id));
        // Else `/proc/self` is root's from here on.
        done("prctl", libc::prctl(libc::PR_SET_DUMPABLE, YES, NO, NO, NO));
    }
}

const fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

/// Goes on if the loaded word is `value`, else skips `over` instructions.
const fn go_on_if(value: u32, over: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: over,
        k: value,
    }
}

const fn answer(value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// Where `struct seccomp_data` has the number of the call.
const NUMBER: u32 = 0;
/// And the lower half of the second argument.
const SECOND: u32 = if cfg!(target_endian = "little") {
    16 + 8
} else {
    16 + 8 + 4
};

/// Has the calling thread's system calls go through a filter, for good. Filters add up.
fn filter(denials: &[Denial]) {
    let mut program = Vec::new();
    for denial in denials {
        let refuse = answer(libc::SECCOMP_RET_ERRNO | denial.errno as u32);
        program.push(load(NUMBER));
        match denial.argument {
            None => program.extend([go_on_if(denial.call as u32, 1), refuse]),
            Some(argument) => program.extend([
                go_on_if(denial.call as u32, 3),
                load(SECOND),
                go_on_if(argument, 1),
                refuse,
            ]),
        }
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let mut program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let filter = &raw mut program;
    // SAFETY: INV-SANDBOX-1: the program and its instructions live until the call returns, and the kernel copies them.
    unsafe {
        done(
            "prctl",
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, YES, NO, NO, NO),
        );
        done(
            "prctl",
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, filter),
        );
    }
}
