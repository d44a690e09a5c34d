//! What becomes of either model where something is denied: less of everything, or one sentence that says what to do (P-12).
//!
//! **What.** Each case takes something away from a process of its own and tries every facility of a reactor and of a
//! proactor there. What it finds is a row of `DENIALS.md`, and has to be what the file says; with
//! `LINUX_EVENT_UPDATE_DENIALS` set it is written there instead.
//!
//! **Why this shape.** A table that is written by hand is believed until somebody needs it.

#![deny(unsafe_code)]

#[path = "../src/counting.rs"]
mod counting;
#[path = "../src/sandbox.rs"]
mod sandbox;
#[path = "../src/system.rs"]
mod system;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use counting::{Name, Probe, has_pwait2};
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::proactor::{self, Proactor, StepDown, Uring, op};
use linux_event_core::reactor::{self, Epoll, Interest, Reactor};
use linux_event_core::signal::Signal;
use linux_event_core::sys::{Fd, Kernel, Linux};
use linux_event_core::wakeup::Wakeup;
use linux_event_tests::libc_calls;
use sandbox::Sandbox;

type Buf = &'static mut [u8];
type Ring = Uring<Buf, Probe, Arc<Wakeup<Probe>>>;
type Rings =
    Proactor<Buf, u32, 8, 8, Ring, Box<proactor::Storage<u32, 8, 8, Fd<Probe>, Fd<Probe>>>>;
type Polls = Reactor<
    u32,
    8,
    8,
    Epoll<Probe, Arc<Wakeup<Probe>>>,
    Box<reactor::Storage<u32, 8, 8, Fd<Probe>>>,
>;

const LONG: Duration = Duration::from_secs(30);
/// A deadline that `epoll_pwait2` is used for, and one that it is not.
const NEAR: Duration = Duration::from_millis(1);
const FAR: Duration = Duration::from_millis(60);

/// What is taken away.
#[derive(Clone, Copy, Debug)]
enum Denied {
    Nothing,
    Call(&'static str, i64, Errno),
    /// Bytes that a user may lock.
    Memory(u64),
    /// Descriptors that may still be opened.
    Descriptors(usize),
    /// `kernel.io_uring_disabled`, for a user who is not root where it is 1.
    Sysctl(u8),
}

/// Every case, in the table's order.
fn cases() -> Vec<Denied> {
    let calls = [
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_enter", libc::SYS_io_uring_enter),
        ("io_uring_register", libc::SYS_io_uring_register),
        ("epoll_create1", libc::SYS_epoll_create1),
        ("epoll_pwait2", libc::SYS_epoll_pwait2),
        ("timerfd_create", libc::SYS_timerfd_create),
        ("eventfd2", libc::SYS_eventfd2),
        ("signalfd4", libc::SYS_signalfd4),
        ("pidfd_open", libc::SYS_pidfd_open),
    ];
    let calls = calls.into_iter().flat_map(|(name, call)| {
        [Errno::EPERM, Errno::ENOSYS].map(|errno| Denied::Call(name, call, errno))
    });
    let mut cases = vec![Denied::Nothing];
    cases.extend(calls);
    cases.extend([
        Denied::Sysctl(1),
        Denied::Sysctl(2),
        Denied::Memory(0),
        Denied::Memory(64 << 10),
        Denied::Descriptors(0),
        Denied::Descriptors(1),
    ]);
    cases
}

impl Denied {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Call(name, _, errno) => format!("`{name}`: {errno:?}"),
            Self::Sysctl(1) => "`kernel.io_uring_disabled` = 1, not root".to_owned(),
            Self::Sysctl(value) => format!("`kernel.io_uring_disabled` = {value}"),
            Self::Memory(bytes) => format!("`RLIMIT_MEMLOCK` = {bytes}, not root"),
            Self::Descriptors(0) => "`RLIMIT_NOFILE`: no descriptor left".to_owned(),
            Self::Descriptors(left) => format!("`RLIMIT_NOFILE`: {left} descriptor left"),
        }
    }

    /// Takes it away from this process. What is returned is to be kept.
    fn enter(self) -> Vec<std::fs::File> {
        let mut taken = Vec::new();
        match self {
            Self::Nothing | Self::Sysctl(2..) => {}
            Self::Sysctl(_) => Sandbox::new().unprivileged().enter(),
            Self::Call(_, call, errno) => Sandbox::new().deny(call, errno.raw()).enter(),
            Self::Memory(bytes) => Sandbox::new().lock_at_most(bytes).unprivileged().enter(),
            Self::Descriptors(left) => {
                Sandbox::new().descriptors_at_most(64).enter();
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    taken.push(file);
                }
                taken.truncate(taken.len() - left);
            }
        }
        taken
    }
}

/// What the facilities are tried on, opened before anything is denied.
struct Around {
    ours: &'static Fd,
    peer: UnixStream,
    child: Child,
}

impl Around {
    fn new() -> Self {
        let (ours, peer) = UnixStream::pair().expect("sockets");
        let ours = Box::leak(Box::new(libc_calls::to_core(ours.into())));
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cat");
        Self { ours, peer, child }
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The child ends.
    fn end_child(&mut self) {
        drop(self.child.stdin.take());
    }

    fn write(&mut self) {
        self.peer.write_all(b"x").expect("room");
    }
}

/// Tries a facility, on a loop of its own: nothing, or why not.
type Trial = (&'static str, fn(&mut Around) -> Result<(), Error>);

/// A loop waits for an event, and it must be the one that was asked for. Turns may be empty: a ring that is gone is taken
/// apart by this thread, and interrupts it.
macro_rules! expect {
    ($loop:expr, $event:pat) => {{
        let event = loop {
            $loop.wait(Some(LONG))?;
            if let Some(event) = $loop.next() {
                break event;
            }
        };
        assert!(matches!(event, $event), "{event:?}");
        assert!($loop.next().is_none());
        Ok::<(), Error>(())
    }};
}

const REACTOR: &[Trial] = &[
    ("descriptors", |around| {
        let mut polls = polls(&Probe::new())?;
        polls.watch(around.ours, Interest::READ, 1)?;
        around.write();
        expect!(polls, reactor::Event::Ready { data: 1, .. })
    }),
    ("timers", |_| {
        let mut polls = polls(&Probe::new())?;
        for distance in [NEAR, FAR] {
            polls.after(distance, 2)?;
            expect!(polls, reactor::Event::Timer { data: 2, .. })?;
        }
        polls.wait(Some(NEAR))
    }),
    ("wakeups", |_| {
        let wakeup = Arc::new(Wakeup::with_kernel(Probe::new()));
        let mut epoll = Epoll::with_kernel(Probe::new())?;
        epoll.attach(Arc::clone(&wakeup))?;
        let mut polls = Polls::with_storage(epoll, Box::new(reactor::Storage::new()));
        wakeup.wake();
        expect!(polls, reactor::Event::Wakeup { count: 1 })
    }),
    ("signals", |_| {
        let mut polls = polls(&Probe::new())?;
        polls.signal(Signal::USR1, 3)?;
        system::raise(Signal::USR1.raw());
        expect!(polls, reactor::Event::Signal { data: 3, .. })
    }),
    ("processes", |around| {
        let mut polls = polls(&Probe::new())?;
        polls.process(around.pid(), true, 4)?;
        around.end_child();
        expect!(polls, reactor::Event::Exit { data: 4, .. })
    }),
];

const PROACTOR: &[Trial] = &[
    ("operations", |around| {
        let mut rings = rings()?;
        let room: Buf = Box::leak(vec![0; 8].into_boxed_slice());
        rings
            .submit(op::recv(around.ours.borrow(), room), 1)
            .map_err(|refused| refused.error)?;
        around.write();
        expect!(rings, proactor::Event::Completion(_))
    }),
    ("timers", |_| {
        let mut rings = rings()?;
        for distance in [NEAR, FAR] {
            rings.after(distance, 2)?;
            expect!(rings, proactor::Event::Timer { data: 2, .. })?;
        }
        rings.wait(Some(NEAR))
    }),
    ("wakeups", |_| {
        let wakeup = Arc::new(Wakeup::with_kernel(Probe::new()));
        let mut uring = Ring::with_kernel(Probe::new())?;
        uring.attach(Arc::clone(&wakeup))?;
        let mut rings = Rings::with_storage(uring, Box::new(proactor::Storage::new()))?;
        wakeup.wake();
        expect!(rings, proactor::Event::Wakeup { count: 1 })
    }),
    ("signals", |_| {
        let mut rings = rings()?;
        rings.signal(Signal::USR1, 3)?;
        system::raise(Signal::USR1.raw());
        expect!(rings, proactor::Event::Signal { data: 3, .. })
    }),
    ("processes", |around| {
        let mut rings = rings()?;
        rings.process(around.pid(), true, 4)?;
        around.end_child();
        expect!(rings, proactor::Event::Exit { data: 4, .. })
    }),
    ("registered files", |_| rings()?.register_files(4)),
];

/// Tries every facility, and says what came of it.
fn tried(trials: &[Trial], around: &mut Around) -> Vec<String> {
    let mut refused: Vec<(Error, Vec<&str>)> = Vec::new();
    for (name, trial) in trials {
        let Err(error) = trial(around) else {
            continue;
        };
        match refused.iter_mut().find(|(other, _)| *other == error) {
            Some((_, names)) => names.push(name),
            None => refused.push((error, vec![name])),
        }
    }
    let of_all = |names: &[&str]| names.len() == trials.len();
    let told = refused.iter().map(|(error, names)| match names {
        names if of_all(names) => format!("nothing works: {error}"),
        names => format!("no {}: {error}", names.join(", ")),
    });
    told.collect()
}

fn polls(probe: &Probe) -> Result<Polls, Error> {
    let epoll = Epoll::with_kernel(probe.clone())?;
    Ok(Polls::with_storage(
        epoll,
        Box::new(reactor::Storage::new()),
    ))
}

fn rings() -> Result<Rings, Error> {
    let uring = Ring::with_kernel(Probe::new())?;
    Rings::with_storage(uring, Box::new(proactor::Storage::new()))
}

/// How a reactor waits for deadlines: near ones and far ones.
fn waits() -> Result<String, Error> {
    let by = |distance: Duration| -> Result<&str, Error> {
        let probe = Probe::new();
        // A clock that stands still, so that no slow machine makes a deadline one that has passed.
        probe.stop_clock(Some(Linux.monotonic()));
        let mut polls = polls(&probe)?;
        // Learns what is missing.
        polls.wait(Some(Duration::from_micros(1)))?;
        assert!(polls.next().is_none());
        polls.after(distance, 1)?;
        let (waited, counts) = probe.counted(|| polls.wait(None));
        waited?; // until then, or until it is interrupted
        Ok(if counts.of(Name::EpollPwait2) > 0 {
            "epoll_pwait2"
        } else if counts.of(Name::TimerfdSettime) > 0 {
            "timerfd"
        } else {
            "epoll_wait, in whole milliseconds"
        })
    };
    Ok(format!(
        "near timers by {}; far timers by {}",
        by(NEAR)?,
        by(FAR)?
    ))
}

/// What a reactor does here.
fn reactor_cell(around: &mut Around) -> String {
    let told = polls(&Probe::new())
        .map(drop)
        .map(|()| tried(REACTOR, around));
    match told.and_then(|told| Ok((told, waits()?))) {
        Ok((mut told, waits)) => {
            told.insert(0, waits);
            told.join("; ")
        }
        Err(error) => format!("none: {error}"),
    }
}

fn steps() -> Result<Vec<StepDown>, Error> {
    let rings = rings()?;
    Ok(rings.backend().capabilities().steps.to_vec())
}

/// What a proactor does here, with the steps down that it did not have to take before.
fn proactor_cell(around: &mut Around, before: &[StepDown]) -> String {
    let told = rings()
        .map(drop)
        .map(|()| tried(PROACTOR, around))
        .and_then(|told| Ok((told, steps()?)));
    match told {
        Ok((told, steps)) => {
            let steps = steps.iter().filter(|step| !before.contains(step));
            let cell: Vec<String> = steps.map(ToString::to_string).chain(told).collect();
            if cell.is_empty() {
                "all of it works".to_owned()
            } else {
                cell.join("; ")
            }
        }
        Err(error) => format!("none: {error}"),
    }
}

/// Says which case this process is to try.
const CASE: &str = "LINUX_EVENT_TEST_CASE";
/// In front of the row that such a process prints.
const ROW: &str = "row: ";

/// Tries a case in this process, and prints its row.
fn try_case(denied: Denied) {
    let (mut for_reactor, mut for_proactor) = (Around::new(), Around::new());
    let before = steps().unwrap_or_default();
    let taken = denied.enter();
    let reactor = reactor_cell(&mut for_reactor);
    let proactor = proactor_cell(&mut for_proactor, &before);
    drop(taken);
    println!("\n{ROW}| {} | {reactor} | {proactor} |", denied.name());
    for mut around in [for_reactor, for_proactor] {
        around.end_child();
        let _ = around.child.wait(); // reaped already, where that works
    }
}

/// Has a process of its own try a case; its row.
fn row(case: usize) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["p12_what_is_denied", "--nocapture", "--test-threads=1"])
        .env(CASE, case.to_string())
        .output()
        .expect("a process");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let row = stdout.lines().find_map(|line| line.strip_prefix(ROW));
    row.unwrap_or_else(|| panic!("no row: {stdout}\n{stderr}"))
        .to_owned()
}

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// Sets the sysctl back, whatever happens.
struct Restore(String);

impl Drop for Restore {
    fn drop(&mut self) {
        std::fs::write(SYSCTL, &self.0).expect("it could be written before");
    }
}

/// Sets the sysctl, where this process may: it is the whole machine's.
fn set_sysctl(value: u8) -> Option<Restore> {
    std::env::var_os("LINUX_EVENT_TEST_SYSCTL")?;
    let before = std::fs::read_to_string(SYSCTL).ok()?;
    std::fs::write(SYSCTL, value.to_string()).ok()?;
    Some(Restore(before))
}

const TABLE: &str = include_str!("../DENIALS.md");
const HEAD: &str = "| Denied | Reactor | Proactor |";

/// The committed row that begins as `row` does.
fn committed(row: &str) -> &'static str {
    let name = |row: &str| row.split('|').nth(1).map(str::to_owned);
    let mut rows = TABLE.lines().skip_while(|line| *line != HEAD).skip(2);
    rows.find(|other| name(other) == name(row)).unwrap_or("")
}

/// A row without what depends on whether the kernel has `epoll_pwait2`.
fn without_near(row: &str) -> String {
    let (before, after) = row.split_once("near timers by ").unwrap_or((row, ""));
    let after = after.split_once("; ").map_or(after, |(_, after)| after);
    format!("{before}{after}")
}

#[test]
fn p12_what_is_denied_costs_what_the_table_says() {
    let cases = cases();
    if let Ok(case) = std::env::var(CASE) {
        try_case(cases[case.parse::<usize>().expect("a number")]);
        return;
    }
    if let Err(error) = rings() {
        eprintln!("no ring, nothing is tested: {error}");
        return;
    }
    let has_pwait2 = has_pwait2();
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (index, denied) in cases.into_iter().enumerate() {
        let mut sysctl = None;
        if let Denied::Sysctl(value) = denied {
            sysctl = set_sysctl(value);
            if sysctl.is_none() {
                eprintln!("{SYSCTL} is the whole machine's, and not tried");
                rows.push(committed(&format!("| {} |", denied.name())).to_owned());
                continue;
            }
        }
        let row = row(index);
        drop(sysctl);
        let expected = committed(&row);
        let is_right = if has_pwait2 {
            row == expected
        } else {
            without_near(&row) == without_near(expected)
        };
        // Not every kernel counts the memory of a ring.
        let is_right =
            is_right || matches!(denied, Denied::Memory(_)) && row.ends_with("| all of it works |");
        if !is_right {
            wrong.push(format!("observed: {row}\nexpected: {expected}"));
        }
        rows.push(row);
    }
    rows.retain(|row| !row.is_empty());
    if std::env::var_os("LINUX_EVENT_UPDATE_DENIALS").is_some() {
        let (before, _) = TABLE.split_once(HEAD).expect("a table");
        let table = format!("{before}{HEAD}\n|---|---|---|\n{}\n", rows.join("\n"));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/DENIALS.md");
        std::fs::write(path, table).expect("the table can be written");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
