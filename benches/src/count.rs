//! Counts what clocks can't resolve: user instructions and system calls an operation, exactly.
//!
//! **What.** [`instructions`] and [`system_calls`] run this program again, under `valgrind --tool=callgrind` or
//! `strace -c`, one system at a time and twice, with two numbers of iterations. The difference of the two counts, divided
//! by the difference of the two lengths, has no set-up in it.
//!
//! **Invariants.** *INV-COUNT-1*: the two runs differ in the number of iterations and in nothing else.
//!
//! **Why this shape.** An instruction count is the same on a busy machine as on an idle one, so a change of one instruction
//! can be seen, in CI too.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::process::{self, Command, Output};
use std::{env, fs};

use crate::workload::{Case, System, Workload};

/// Which systems and sizes are counted, and over how many iterations.
pub(crate) struct Choice {
    pub(crate) workload: &'static Workload,
    pub(crate) systems: Vec<String>,
    pub(crate) sizes: Vec<usize>,
    /// What the longer of the two runs does more than the shorter.
    pub(crate) iterations: u64,
}

impl Choice {
    pub(crate) fn entrants(&self) -> impl Iterator<Item = (&'static Case, &'static System)> {
        let cases = self.workload.cases.iter();
        let cases = cases.filter(|case| self.sizes.is_empty() || self.sizes.contains(&case.size));
        let systems = |case| {
            let systems = self.workload.systems.iter();
            systems
                .filter(|it| {
                    self.systems.is_empty() || self.systems.iter().any(|name| name == it.name)
                })
                .map(move |system| (case, system))
        };
        cases.flat_map(systems)
    }

    /// The arguments that make this program run one system for exactly `iterations` (INV-COUNT-1).
    pub(crate) fn arguments(&self, case: &Case, system: &System, iterations: u64) -> Vec<String> {
        let mut arguments = vec![self.workload.name.to_owned()];
        let (size, iterations) = (case.size.to_string(), iterations.to_string());
        for (option, value) in [
            ("--systems", system.name),
            ("--sizes", &size),
            ("--iterations", &iterations),
            ("--rounds", "1"),
        ] {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
        arguments.push("--no-warmup".to_owned());
        arguments
    }

    /// Operations in the iterations that the longer run has more.
    fn operations(&self, case: &Case) -> f64 {
        (self.iterations * (self.workload.operations)(case.size)) as f64
    }

    fn head(&self, case: &Case, system: &System) -> String {
        let size = format!("{}={}", self.workload.size_name, case.size);
        format!(
            "workload={} params={size} system={}",
            self.workload.name, system.name
        )
    }

    fn check(&self) -> io::Result<()> {
        if self.entrants().next().is_none() {
            return Err(io::Error::other("no such system or size"));
        }
        Ok(())
    }
}

/// Prints user instructions an operation, for each system.
pub(crate) fn instructions(choice: &Choice) -> io::Result<()> {
    choice.check()?;
    for (case, system) in choice.entrants() {
        let count = |iterations| {
            let mut command = Command::new("valgrind");
            command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
            command.arg(env::current_exe()?);
            command.args(choice.arguments(case, system, iterations));
            let output = run(command, "valgrind")?;
            collected(&String::from_utf8_lossy(&output.stderr))
                .ok_or_else(|| io::Error::other("valgrind printed no instruction count"))
        };
        let more = count(choice.iterations * 2)? as f64 - count(choice.iterations)? as f64;
        let each = more / choice.operations(case);
        println!("{} instructions={each:.1}", choice.head(case, system));
    }
    Ok(())
}

/// Prints system calls an operation, in all and by name, for each system.
pub(crate) fn system_calls(choice: &Choice) -> io::Result<()> {
    choice.check()?;
    let summary = env::temp_dir().join(format!("linux-event-bench-{}", process::id()));
    for (case, system) in choice.entrants() {
        let count = |iterations| -> io::Result<BTreeMap<String, f64>> {
            let mut command = Command::new("strace");
            command.args(["-f", "-c", "-o"]).arg(&summary);
            command.arg(env::current_exe()?);
            command.args(choice.arguments(case, system, iterations));
            run(command, "strace")?;
            let text = fs::read_to_string(&summary)?;
            fs::remove_file(&summary)?;
            Ok(summary_calls(&text))
        };
        let (short, long) = (count(choice.iterations)?, count(choice.iterations * 2)?);
        let each = per_operation(&short, &long, choice.operations(case));
        let names: Vec<_> = each
            .iter()
            .map(|(name, calls)| format!(" {name}={calls:.2}"))
            .collect();
        // The sum of none is −0.
        let sum = each.values().sum::<f64>() + 0.0;
        println!(
            "{} syscalls={sum:.2}{}",
            choice.head(case, system),
            names.concat()
        );
    }
    Ok(())
}

fn run(mut command: Command, tool: &str) -> io::Result<Output> {
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::other(format!(
            "{tool} is not installed, and this count needs it (Debian: apt install {tool})"
        )),
        _ => error,
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "{tool}: {}: {said}",
            output.status
        )));
    }
    Ok(output)
}

/// The number after callgrind's `Collected :`.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

/// Calls by name, from the table that `strace -c` writes: the fourth column, and the last.
fn summary_calls(text: &str) -> BTreeMap<String, f64> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let name = *words.last().filter(|&&name| name != "total")?;
        let calls = words.get(3)?.parse().ok()?;
        Some((name.to_owned(), calls))
    };
    text.lines().filter_map(row).collect()
}

/// What the longer run has more, an operation; names that would print as 0.00 are of the set-up and go.
fn per_operation(
    short: &BTreeMap<String, f64>,
    long: &BTreeMap<String, f64>,
    operations: f64,
) -> BTreeMap<String, f64> {
    let each = |(name, calls): (&String, &f64)| {
        let more = calls - short.get(name).unwrap_or(&0.0);
        (name.clone(), more / operations)
    };
    let each = long.iter().map(each);
    each.filter(|(_, calls)| calls.abs() >= 0.005).collect()
}

/// Iterations that make a count of `workload` long enough: `wanted` operations at its largest chosen size.
pub(crate) fn iterations_for(workload: &Workload, sizes: &[usize], wanted: u64) -> u64 {
    let chosen = |case: &&Case| sizes.is_empty() || sizes.contains(&case.size);
    let largest = workload
        .cases
        .iter()
        .filter(chosen)
        .map(|case| case.size)
        .max();
    let operations = largest.map_or(1, workload.operations);
    (wanted / operations).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_count_is_found() {
        let text = "==7== Callgrind, a call-graph\n==7== \n==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(collected(text), Some(1_234_567));
        assert_eq!(collected("nothing"), None);
    }

    const SUMMARY: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.000010           0      2005           write
 50.00    0.000010           0        12         2 openat
------ ----------- ----------- --------- --------- ----------------
100.00    0.000020           0      2017         2 total
";

    #[test]
    fn straces_table_is_read_with_and_without_errors() {
        let calls = summary_calls(SUMMARY);
        assert_eq!(calls.len(), 2);
        assert_eq!((calls["write"], calls["openat"]), (2_005.0, 12.0));
    }

    #[test]
    fn the_set_up_cancels_out() {
        let long = summary_calls(SUMMARY);
        let short = BTreeMap::from([("write".to_owned(), 1_005.0), ("openat".to_owned(), 12.0)]);
        let each = per_operation(&short, &long, 500.0);
        assert_eq!(each, BTreeMap::from([("write".to_owned(), 2.0)]));
    }
}
