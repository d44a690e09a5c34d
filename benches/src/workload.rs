//! The table of workloads and their systems: what is measured is registered here and nowhere else.
//!
//! **What.** A [`Workload`] is a job at one or more sizes; a [`System`] is one way to do it. Setting a system up gives a
//! [`Round`], which then does the job as often as it is told.
//!
//! **Invariants.** *INV-WORKLOAD-1*: a system called one of [`Workload::floors`] is registered before those compared
//! with it. *INV-WORKLOAD-2*: a round gives as many numbers as the workload has columns, one for a workload with none.
//!
//! **Why this shape.** One table of function pointers, so that a system is one function and one line. The call through
//! `dyn` happens once a round; the loop behind it is as inlined as its author made it.

#![forbid(unsafe_code)]

use std::io;
use std::time::Instant;

use crate::active_of_many::Active;
use crate::{idle_watchers, nop, pingpong, pingpong_ops, rearm, timers};

/// The most columns that a workload has.
pub(crate) const COLUMNS_MAX: usize = 3;

/// Nanoseconds an operation, column by column.
pub(crate) type Laps = [f64; COLUMNS_MAX];

/// A system that is set up and ready to be measured.
pub(crate) trait Round {
    /// Does the job `iterations` times and says what an operation took.
    fn run(&mut self, iterations: u64) -> io::Result<Laps>;
}

/// One way to do a workload.
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// Sets it up for a size of the workload.
    pub(crate) set_up: fn(size: usize) -> io::Result<Box<dyn Round>>,
}

/// A size of a workload, and how many iterations make a round at that size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) size: usize,
    pub(crate) iterations: u64,
}

/// A job that several systems can do.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What the size counts: the name of the parameter.
    pub(crate) size_name: &'static str,
    pub(crate) cases: &'static [Case],
    /// Operations in an iteration of a size.
    pub(crate) operations: fn(size: usize) -> u64,
    /// Parts that are measured apart; none if there is one.
    pub(crate) columns: &'static [&'static str],
    /// Rounds of each system, unless the user says otherwise.
    pub(crate) rounds: usize,
    /// The systems that others are compared with, in pairs; the first also gives the ratio.
    pub(crate) floors: &'static [&'static str],
    pub(crate) systems: &'static [System],
}

/// Every workload there is.
pub(crate) static WORKLOADS: &[Workload] = &[
    pingpong::WORKLOAD,
    timers::WORKLOAD,
    rearm::WORKLOAD,
    idle_watchers::WORKLOAD,
    nop::WORKLOAD,
    pingpong_ops::WORKLOAD,
    Active::<1>::WORKLOAD,
    Active::<100>::WORKLOAD,
];

/// The workload called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name)
}

/// A round whose iteration is `operations` operations, timed as a whole. `body` runs the given number of iterations.
pub(crate) fn timed<F>(operations: u64, body: F) -> Box<dyn Round>
where
    F: FnMut(u64) -> io::Result<()> + 'static,
{
    Box::new(Timed { operations, body })
}

struct Timed<F> {
    operations: u64,
    body: F,
}

impl<F: FnMut(u64) -> io::Result<()>> Round for Timed<F> {
    fn run(&mut self, iterations: u64) -> io::Result<Laps> {
        let started = Instant::now();
        (self.body)(iterations)?;
        let nanos = started.elapsed().as_nanos() as f64;
        let mut laps = Laps::default();
        laps[0] = nanos / (iterations * self.operations) as f64;
        Ok(laps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_of_every_workload_does_its_job_at_the_smallest_size() {
        for workload in WORKLOADS {
            let case = workload.cases.iter().min_by_key(|case| case.size).unwrap();
            for system in workload.systems {
                let mut round = match (system.set_up)(case.size) {
                    Err(why) if why.kind() == io::ErrorKind::Unsupported => {
                        eprintln!("left out: {} {}: {why}", workload.name, system.name);
                        continue;
                    }
                    made => made.unwrap(),
                };
                for iterations in [1, 2] {
                    let laps = round.run(iterations).unwrap();
                    for lap in &laps[..workload.columns.len().max(1)] {
                        assert!(*lap > 0.0, "{} {}: {laps:?}", workload.name, system.name);
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_unique_and_floors_come_first() {
        for (index, workload) in WORKLOADS.iter().enumerate() {
            assert!(std::ptr::eq(
                find(workload.name).unwrap(),
                &raw const WORKLOADS[index]
            ));
            assert!(workload.columns.len() <= COLUMNS_MAX);
            for (place, floor) in workload.floors.iter().enumerate() {
                assert_eq!(workload.systems[place].name, *floor, "{}", workload.name);
            }
            for system in workload.systems {
                let same = |other: &&System| other.name == system.name;
                assert_eq!(workload.systems.iter().filter(same).count(), 1);
            }
        }
    }

    #[test]
    fn a_lap_is_the_time_of_one_operation() {
        let mut seen = 0;
        let mut round = timed(1_000_000, move |iterations| {
            seen += iterations;
            assert_eq!(seen, 5);
            Ok(())
        });
        let started = Instant::now();
        let laps = round.run(5).unwrap();
        assert!(laps[0] * 5e6 <= started.elapsed().as_nanos() as f64);
    }
}
