//! Side-by-side benchmarks: our loops, hand-written floors and other people's loops, in turn, in one process.
//!
//! **What.** `linux-event-bench WORKLOAD` runs every system of a workload, round after round in changing order, pinned to
//! one CPU, and prints a line each. `instructions WORKLOAD` and `syscalls WORKLOAD` count instead of timing. The README
//! beside this package says how to read the lines and how to add a system.
//!
//! **Invariants.** *INV-MAIN-1*: a number that is printed was measured in this run.
//!
//! **Why this shape.** Two runs of one program differ by more than the things compared here; only what runs in turn on
//! one CPU can be compared.

// Durations and counts stay far below 2⁵².
#![allow(clippy::cast_precision_loss)]
#![deny(unsafe_code)]

mod active_of_many;
mod count;
mod idle_watchers;
mod measure;
mod nop;
mod pingpong;
mod pingpong_ops;
mod random;
mod rearm;
mod report;
mod stats;
#[allow(unsafe_code)]
mod sys;
mod timers;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use workload::{WORKLOADS, Workload};

#[derive(Parser)]
#[command(
    version,
    about = "linux-event beside its peers, in one process, in turn"
)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    count: Option<Count>,

    #[command(flatten)]
    timing: Timing,
}

#[derive(Subcommand)]
enum Count {
    /// Counts user instructions an operation, with valgrind's callgrind
    Instructions(Counting),
    /// Counts system calls an operation, with strace
    Syscalls(Counting),
}

fn names() -> PossibleValuesParser {
    WORKLOADS
        .iter()
        .map(|workload| workload.name)
        .collect::<Vec<_>>()
        .into()
}

#[derive(Args)]
struct Choice {
    /// Only these systems, separated by commas
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,

    /// Only these sizes of the workload, separated by commas
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,

    /// Iterations in a round; when counting, iterations that are counted
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    iterations: Option<u64>,
}

#[derive(Args)]
struct Counting {
    /// What is to be counted
    #[arg(value_parser = names())]
    workload: String,

    #[command(flatten)]
    choice: Choice,
}

#[derive(Args)]
struct Timing {
    /// What is to be measured
    #[arg(value_parser = names(), required_unless_present = "list")]
    workload: Option<String>,

    #[command(flatten)]
    choice: Choice,

    /// Measured rounds; each runs every system once
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,

    /// Leave out the unmeasured round that comes first
    #[arg(long)]
    no_warmup: bool,

    /// Which CPU to run on [default: the last one allowed]
    #[arg(long)]
    cpu: Option<usize>,

    /// Also write the results to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// List the workloads, their sizes and systems, and stop
    #[arg(long)]
    list: bool,
}

/// Operations that a count is spread over, unless the user says otherwise.
const INSTRUCTIONS_OVER: u64 = 10_000;
const SYSCALLS_OVER: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.count {
        Some(Count::Instructions(counting)) => {
            choose(counting, INSTRUCTIONS_OVER).and_then(|choice| count::instructions(&choice))
        }
        Some(Count::Syscalls(counting)) => {
            choose(counting, SYSCALLS_OVER).and_then(|choice| count::system_calls(&choice))
        }
        None if arguments.timing.list => {
            list();
            Ok(())
        }
        None => time(arguments.timing),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("linux-event-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn known(name: Option<&str>) -> io::Result<&'static Workload> {
    name.and_then(workload::find)
        .ok_or_else(|| io::Error::other("no such workload; --list shows them"))
}

fn choose(counting: Counting, over: u64) -> io::Result<count::Choice> {
    let workload = known(Some(&counting.workload))?;
    let Choice {
        systems,
        sizes,
        iterations,
    } = counting.choice;
    let iterations = iterations.unwrap_or_else(|| count::iterations_for(workload, &sizes, over));
    Ok(count::Choice {
        workload,
        systems,
        sizes,
        iterations,
    })
}

fn time(timing: Timing) -> io::Result<()> {
    let workload = known(timing.workload.as_deref())?;
    let cpu = sys::pin(timing.cpu)?;
    let rows = measure::measure(&measure::Plan {
        workload,
        systems: timing.choice.systems,
        sizes: timing.choice.sizes,
        rounds: timing
            .rounds
            .map_or(workload.rounds, |rounds| rounds as usize),
        iterations: timing.choice.iterations,
        warm_up: !timing.no_warmup,
    })?;
    for row in &rows {
        println!("{}", report::line(workload.name, row));
    }
    if let Some(path) = timing.json {
        fs::write(
            path,
            format!("{:#}\n", report::json(workload.name, Some(cpu), &rows)),
        )?;
    }
    Ok(())
}

fn list() {
    for workload in WORKLOADS {
        let sizes: Vec<_> = workload
            .cases
            .iter()
            .map(|case| case.size.to_string())
            .collect();
        let systems: Vec<_> = workload.systems.iter().map(|system| system.name).collect();
        println!("{}: {}", workload.name, workload.about);
        println!("  {}: {}", workload.size_name, sizes.join(", "));
        println!("  systems: {}", systems.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_contradict_nothing() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_workload_stands_alone_and_behind_a_count() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let timed = parse("bench pingpong --systems floor,mio --rounds 3").unwrap();
        assert_eq!(timed.timing.workload.as_deref(), Some("pingpong"));
        assert_eq!(timed.timing.choice.systems, ["floor", "mio"]);
        let counted = parse("bench syscalls rearm --iterations 7").unwrap();
        assert!(matches!(counted.count, Some(Count::Syscalls(it)) if it.workload == "rearm"));
        assert!(parse("bench --list").unwrap().timing.list);
        for wrong in ["bench", "bench nosuch", "bench pingpong --rounds 0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_count_runs_is_one_system_for_exactly_the_iterations() {
        let choice = count::Choice {
            workload: workload::find("idle-watchers").unwrap(),
            systems: vec!["mio".into()],
            sizes: vec![10],
            iterations: 5,
        };
        let (case, system) = choice.entrants().next().unwrap();
        let mut words = vec!["bench".to_owned()];
        words.extend(choice.arguments(case, system, 123));
        let timing = Arguments::try_parse_from(words).unwrap().timing;
        assert_eq!((timing.rounds, timing.no_warmup), (Some(1), true));
        assert_eq!(timing.choice.iterations, Some(123));
        assert_eq!(
            (timing.choice.systems, timing.choice.sizes),
            (vec!["mio".into()], vec![10])
        );
        assert_eq!(choice.entrants().count(), 1);
    }
}
