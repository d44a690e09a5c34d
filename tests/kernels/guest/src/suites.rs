//! Runs test programs and reads what they print.
//!
//! **What.** A suite is a program in `/suites` that `rustc --test` made. [`run`] runs it with one thread and returns
//! how many tests passed, which failed, and which were skipped for what the kernel lacks.
//!
//! **Invariants.** *INV-SUITES-1*: a suite that dies, hangs or prints no result counts as one failed test at least.
//!
//! **Why this shape.** A test that finds nothing to test says so in a line with `skipped:` or `nothing is tested`, and
//! passes; on the kernels at hand it is known which may do that, and any other is a fault.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

const FOLDER: &str = "/suites";

/// How long a suite may take: an emulated processor is some 20 times slower than a real one.
const PATIENCE: Duration = Duration::from_mins(8);

/// What came of a suite.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    name: String,
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
    /// Which test, and why.
    skipped: Vec<(String, String)>,
    /// What the suite printed, if something failed.
    output: String,
    seconds: u64,
}

impl Outcome {
    /// Writes it down line by line: see the crate's root.
    pub(crate) fn tell(&self, results: &mut impl Write) -> io::Result<()> {
        let Self { name, .. } = self;
        for (test, why) in &self.skipped {
            writeln!(results, "skipped {name} {test}: {why}")?;
        }
        for line in self.output.lines() {
            writeln!(results, "output {name}: {line}")?;
        }
        for test in &self.failed {
            writeln!(results, "failed {name} {test}")?;
        }
        let (passed, failed, skipped) = (self.passed, self.failed.len(), self.skipped.len());
        writeln!(
            results,
            "suite {name}: {passed} passed, {failed} failed, {skipped} skipped in {}s",
            self.seconds
        )
    }
}

/// The suites, by name.
pub(crate) fn all() -> io::Result<Vec<PathBuf>> {
    let mut programs = fs::read_dir(FOLDER)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    programs.sort_unstable();
    Ok(programs)
}

/// Runs a suite.
pub(crate) fn run(program: &Path) -> io::Result<Outcome> {
    const OUTPUT: &str = "/tmp/output";
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let begin = Instant::now();
    let output = File::create(OUTPUT)?;
    // What needs no kernel has been tested elsewhere.
    let child = Command::new(program)
        .args(["--test-threads=1", "--show-output"])
        .args(["--skip=fake::", "--skip=fake_proactor::"])
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        let mut child = child;
        let _ = ended.send(child.wait());
    });
    let status = match end.recv_timeout(PATIENCE) {
        Ok(status) => Some(status?),
        Err(_) => None,
    };
    // Whatever it left behind goes with it.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let printed = String::from_utf8_lossy(&fs::read(OUTPUT)?).into_owned();
    let mut outcome = read(&printed);
    outcome.name = name.into_owned();
    outcome.seconds = begin.elapsed().as_secs();
    let end = match status {
        Some(status) if status.success() => None,
        Some(status) => Some(the_end(status)),
        None => Some(format!("took more than {} s", PATIENCE.as_secs())),
    };
    if let Some(end) = end
        && outcome.failed.is_empty()
    {
        outcome.failed.push(format!("({end})"));
    }
    if !outcome.failed.is_empty() {
        outcome.output = printed;
    }
    Ok(outcome)
}

fn the_end(status: ExitStatus) -> String {
    format!("the suite ended with {status}")
}

/// Reads what a suite printed.
fn read(printed: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let mut has_result = false;
    // Inside which test's output, and whether in the list of those that failed.
    let (mut test, mut in_failures) = (None, false);
    for line in printed.lines() {
        if let Some(rest) = line.strip_prefix("---- ") {
            test = rest
                .strip_suffix(" ----")
                .and_then(|rest| rest.split(' ').next());
        } else if line == "failures:" {
            (test, in_failures) = (None, true);
        } else if line == "successes:" {
            (test, in_failures) = (None, false);
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            has_result = true;
            outcome.passed = counts
                .split_once(". ")
                .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
                .unwrap_or(0);
        } else if let Some(test) = test {
            if !in_failures && is_skipped(line) {
                outcome.skipped.push((test.to_owned(), line.to_owned()));
            }
        } else if in_failures && let Some(name) = line.strip_prefix("    ") {
            outcome.failed.push(name.to_owned());
        }
    }
    // A test that runs in a process of its own prints what that had printed, and its list of failures with it.
    outcome.failed.sort_unstable();
    outcome.failed.dedup();
    outcome.skipped.sort_unstable();
    outcome.skipped.dedup();
    if !has_result {
        outcome.failed.push("(no result)".to_owned());
    }
    outcome
}

fn is_skipped(line: &str) -> bool {
    line.contains("skipped:") || line.contains("nothing is tested")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "
running 4 tests
test a ... ok
test b ... FAILED
test c::d ... ok
test e ... ok

successes:

---- c::d stdout ----
skipped: there is no IPv6 here
more of it
skipped: there is no IPv6 here

successes:
    a
    c::d
    e

failures:

---- b stdout ----
thread 'b' panicked at here:
    indented
note: skipped: nothing


failures:
    b

test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn what_a_suite_prints_is_read() {
        let outcome = read(PRINTED);
        assert_eq!(outcome.passed, 3);
        assert_eq!(outcome.failed, ["b"]);
        let skipped = (
            "c::d".to_owned(),
            "skipped: there is no IPv6 here".to_owned(),
        );
        assert_eq!(outcome.skipped, [skipped]);
    }

    #[test]
    fn a_suite_that_is_cut_short_has_failed() {
        let cut = PRINTED.split("successes:").next().unwrap();
        assert_eq!(read(cut).failed, ["(no result)"]);
        assert_eq!(read("").failed, ["(no result)"]);
    }
}
