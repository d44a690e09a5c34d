//! What a kernel has, as the core finds it: the engine, what is in force, each step down and why.
//!
//! **What.** [`tell`] makes a reactor and proactors, has them wait, and writes down what they did and what they say of
//! themselves, a line each, with the word `ladder` in front.
//!
//! **Why this shape.** What a loop *did* counts, so the calls of its waits are counted on their way to the kernel.
//! Numbers that differ between two builds of the same kernel, as the bytes of a ring, are left out.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::time::Duration;

use linux_event_core::error::Error;
use linux_event_core::place::Place;
use linux_event_core::proactor::{
    Capabilities, Code, Memory, OperationMemory, Options, RingMemory, Uring,
};
use linux_event_core::sys::{Kernel, Linux};

use crate::counting::{Counts, Name, Probe, Probed, probed, turn};

/// A ring whose buffers nobody fills.
type Ring = Uring<&'static mut [u8]>;

/// Tells what the kernel has.
pub(crate) fn tell(results: &mut impl Write) -> io::Result<()> {
    let mut line = |what: &str| writeln!(results, "ladder {what}");
    line(&format!("kernel: {}", version()?))?;
    line("reactor: epoll")?;
    for (what, wait) in WAITS {
        line(&format!("  {what}: {}", waited(*wait)))?;
    }
    line("proactor")?;
    for told in ring(Ring::new()) {
        line(&told)?;
    }
    line("proactor, a thread submits")?;
    let options = Options {
        sqpoll_idle: Some(Duration::from_millis(1)),
        ..Options::DEFAULT
    };
    for told in ring(Ring::with_options(Linux, options)) {
        line(&told)?;
    }
    line("proactor, in memory of its own")?;
    for told in ring(in_own_memory()) {
        line(&told)?;
    }
    Ok(())
}

/// The kernel's version: two numbers.
fn version() -> io::Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']);
    let (major, minor) = (numbers.next(), numbers.next());
    Ok(format!("{}.{}", major.unwrap_or("?"), minor.unwrap_or("?")))
}

/// Makes a reactor wait: what for.
type Wait = fn(&mut Probed) -> Result<(), Error>;

const WAITS: &[(&str, Wait)] = &[
    ("a timer, 1 ms ahead", |reactor| {
        reactor.after(Duration::from_millis(1), 0)?;
        turn(reactor, None).map(drop)
    }),
    ("a timer, 60 ms ahead", |reactor| {
        reactor.after(Duration::from_millis(60), 0)?;
        turn(reactor, None).map(drop)
    }),
    ("a timeout of 1 ms", |reactor| {
        turn(reactor, Some(Duration::from_millis(1))).map(drop)
    }),
];

/// How a reactor waited.
fn waited(wait: Wait) -> String {
    let probe = Probe::new();
    // A clock that stands still, so that no slow machine makes a deadline one that has passed.
    probe.stop_clock(Some(Linux.monotonic()));
    let done = |probe: &Probe| -> Result<Counts, Error> {
        let mut reactor = probed(probe)?;
        // What a kernel lacks is learned by the first wait that would use it.
        assert!(turn(&mut reactor, Some(Duration::from_micros(1)))?.is_empty());
        let (waited, counts) = probe.counted(|| wait(&mut reactor));
        waited.map(|()| counts)
    };
    match done(&probe) {
        Ok(counts) if counts.of(Name::EpollPwait2) > 0 => "epoll_pwait2".to_owned(),
        Ok(counts) if counts.of(Name::TimerfdSettime) > 0 => "timerfd".to_owned(),
        Ok(_) => "epoll_wait, in milliseconds".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A ring that lies in two statics.
fn in_own_memory() -> Result<Ring, Error> {
    static RING: Place<RingMemory<64, 128>> = Place::new(RingMemory::new());
    static OPERATIONS: Place<OperationMemory<64>> = Place::new(OperationMemory::new());
    let (Some(ring), Some(operations)) = (RING.take(), OPERATIONS.take()) else {
        return Err(Error::Invalid("the memory was taken already"));
    };
    let memory = Memory::new().ring(ring).operations(operations);
    Ring::with_memory(Linux, Options::DEFAULT, memory)
}

/// What a ring says of itself.
fn ring(made: Result<Ring, Error>) -> Vec<String> {
    match made {
        Ok(ring) => capabilities(ring.capabilities()),
        Err(error) => vec![format!("  none: {error}")],
    }
}

fn capabilities(capabilities: &Capabilities) -> Vec<String> {
    let mut told = vec![format!(
        "  io_uring: {} submissions, {} completions",
        capabilities.entries, capabilities.cq_entries
    )];
    // After the bytes come the flags, and after them the steps.
    let text = capabilities.to_string();
    let flags = text.split(" bytes").nth(1).unwrap_or_default();
    let flags = flags.split(';').next().unwrap_or_default();
    let flags = flags.trim_start_matches(", ");
    let flags = if flags.is_empty() { "no flag" } else { flags };
    told.push(format!("  in force: {flags}"));
    told.extend(capabilities.steps.iter().map(|step| format!("  {step}")));
    let lacking = CODES.iter().filter(|code| !capabilities.supports(**code));
    told.extend(lacking.map(|code| format!("  lacks {}: {}", code.name(), code.since())));
    told
}

/// The operations that a kernel may lack.
const CODES: &[Code] = &[
    Code::Shutdown,
    Code::PollMulti,
    Code::Socket,
    Code::AcceptMulti,
    Code::RecvMulti,
    Code::SendZeroCopy,
    Code::WaitId,
    Code::Bind,
    Code::Listen,
];
