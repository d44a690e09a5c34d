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

mod count;
mod idle_watchers;
mod measure;
mod pingpong;
mod random;
mod rearm;
mod report;
mod stats;
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
