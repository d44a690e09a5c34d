//! The first process of a kernel that is tried: makes a machine of it, runs every suite, tells, and turns it off.
//!
//! **What.** As process 1 it mounts what tests need ([`machine`]), starts itself again as the one who works, and reaps
//! what has lost its parent. The one who works writes to the second serial line what the kernel has ([`ladder`]) and
//! what came of each suite in `/suites` ([`suites`]), line by line, each with a word in front that says what it is:
//! `ladder`, `suite`, `skipped`, `failed`, `output`, and one `done` at the end. `tests/kernels/run` reads that.
//!
//! **Invariants.** *INV-GUEST-1*: `done` is written last and only when every suite has ended or was ended, so that a
//! kernel that dies on the way is a failure.
//!
//! **Why this shape.** A process 1 that dies takes the kernel along, so it does nothing that could fail in a test.
//! Suites are the test programs as they are, linked statically: what runs on an old kernel is what runs everywhere.

#![deny(unsafe_code)]

#[path = "../../../src/counting.rs"]
mod counting;
mod ladder;
mod machine;
mod suites;

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

/// Where results go: the second serial line.
const RESULTS: &str = "/dev/ttyS1";

fn main() -> ExitCode {
    if std::process::id() == 1 {
        machine::be_the_first_process();
    }
    let worked = match std::env::args().nth(1).as_deref() {
        // On the machine at hand, without a guest: what its kernel has.
        Some("ladder") => ladder::tell(&mut io::stdout()),
        Some("work") => File::options()
            .write(true)
            .open(RESULTS)
            .and_then(|mut results| work(&mut results)),
        _ => {
            eprintln!("usage: init ladder");
            return ExitCode::from(2);
        }
    };
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("init: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells what the kernel has, runs every suite, and says how many tests passed and failed.
fn work(results: &mut File) -> io::Result<()> {
    ladder::tell(results)?;
    let (mut passed, mut failed) = (0, 0);
    for program in suites::all()? {
        let outcome = suites::run(&program)?;
        outcome.tell(results)?;
        passed += outcome.passed;
        failed += outcome.failed.len();
    }
    writeln!(results, "done {passed} passed, {failed} failed")?;
    results.flush()
}
