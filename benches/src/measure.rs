//! Runs the systems of a workload in turn, round after round, and sums up what they took.
//!
//! **What.** [`measure`] sets up every chosen system at every chosen size, runs one unmeasured round of each, then as
//! many measured rounds as asked, each system once a round; [`Row`]s sum them up.
//!
//! **Invariants.** *INV-MEASURE-1*: every entrant has one sample from every round, so sample *i* of one pairs with sample
//! *i* of another. *INV-MEASURE-2*: over as many rounds as there are entrants, each has been in every place once.
//!
//! **Why this shape.** What runs just before a system leaves it its caches and predictors, and the machine's speed drifts
//! from second to second. Short rounds in rotating order spread both over all the systems alike.

#![forbid(unsafe_code)]

use std::io;

use crate::random::Random;
use crate::stats;
use crate::workload::{Case, Laps, Round, System, Workload};

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) workload: &'static Workload,
    /// Only systems of these names; all if empty.
    pub(crate) systems: Vec<String>,
    /// Only these sizes; all if empty.
    pub(crate) sizes: Vec<usize>,
    pub(crate) rounds: usize,
    /// Iterations in a round; each size's own number if `None`.
    pub(crate) iterations: Option<u64>,
    pub(crate) warm_up: bool,
}

/// A system at a size, set up, and its samples.
struct Entrant {
    system: &'static System,
    case: Case,
    round: Box<dyn Round>,
    laps: Vec<Laps>,
}

impl Entrant {
    fn run(&mut self) -> io::Result<Laps> {
        let explain = |error| io::Error::other(format!("{}: {error}", self.system.name));
        self.round.run(self.case.iterations).map_err(explain)
    }

    fn column(&self, column: usize) -> Vec<f64> {
        self.laps.iter().map(|laps| laps[column]).collect()
    }
}

/// How a system compares with a floor, in pairs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) floor: &'static str,
    /// Median of the difference to the floor in the same round, ns an operation.
    pub(crate) median_ns: f64,
    /// Where the true median of that difference lies, 95 times in 100.
    pub(crate) interval_ns: (f64, f64),
}

/// One system, at one size, in one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) params: String,
    pub(crate) system: &'static str,
    pub(crate) rounds: usize,
    pub(crate) iterations: u64,
    pub(crate) median_ns: f64,
    pub(crate) best_ns: f64,
    /// This median over that of the first floor, if it ran.
    pub(crate) ratio_to_floor: Option<f64>,
    pub(crate) comparisons: Vec<Comparison>,
    /// Median of this over the same system's smallest size in the same round, if this is a larger one.
    pub(crate) ratio_to_smallest: Option<f64>,
}

/// Runs `plan` and sums it up, size by size, system by system, column by column.
pub(crate) fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut entrants = enter(plan)?;
    if plan.warm_up {
        for entrant in &mut entrants {
            entrant.run()?;
        }
    }
    let mut rotation = Rotation::new(entrants.len());
    for _ in 0..plan.rounds {
        for &index in rotation.next_order() {
            let laps = entrants[index].run()?;
            entrants[index].laps.push(laps);
        }
    }
    let columns = 0..plan.workload.columns.len().max(1);
    let row = |entrant| columns.clone().map(move |column| (entrant, column));
    let rows = entrants.iter().flat_map(row);
    Ok(rows
        .map(|(entrant, column)| sum_up(plan.workload, &entrants, entrant, column))
        .collect())
}

fn enter(plan: &Plan) -> io::Result<Vec<Entrant>> {
    let workload = plan.workload;
    let chosen_size = |size| plan.sizes.is_empty() || plan.sizes.contains(&size);
    let chosen_name =
        |name: &str| plan.systems.is_empty() || plan.systems.iter().any(|it| it == name);
    for name in &plan.systems {
        if !workload.systems.iter().any(|system| system.name == name) {
            let known: Vec<_> = workload.systems.iter().map(|system| system.name).collect();
            let known = known.join(", ");
            return Err(io::Error::other(format!(
                "no system {name}; there are {known}"
            )));
        }
    }
    let mut entrants = Vec::new();
    for case in workload.cases.iter().filter(|case| chosen_size(case.size)) {
        for system in workload.systems.iter().filter(|it| chosen_name(it.name)) {
            entrants.push(Entrant {
                system,
                case: Case {
                    size: case.size,
                    iterations: plan.iterations.unwrap_or(case.iterations),
                },
                round: (system.set_up)(case.size)?,
                laps: Vec::with_capacity(plan.rounds),
            });
        }
    }
    if entrants.is_empty() {
        let sizes: Vec<_> = workload
            .cases
            .iter()
            .map(|case| case.size.to_string())
            .collect();
        return Err(io::Error::other(format!(
            "no such size; there are {}",
            sizes.join(", ")
        )));
    }
    Ok(entrants)
}

fn sum_up(workload: &Workload, entrants: &[Entrant], entrant: &Entrant, column: usize) -> Row {
    let samples = entrant.column(column);
    let find = |name: &str, size: usize| {
        let is_it = |other: &&Entrant| other.system.name == name && other.case.size == size;
        entrants
            .iter()
            .find(is_it)
            .map(|other| other.column(column))
    };
    let floor = |&name: &&'static str| {
        let floor = find(name, entrant.case.size)?;
        let differences = stats::differences(&samples, &floor);
        Some(Comparison {
            floor: name,
            median_ns: stats::median(&differences),
            interval_ns: stats::median_interval(&differences),
        })
    };
    let first_floor = workload.floors.first();
    let first_floor = first_floor.and_then(|name| find(name, entrant.case.size));
    let smallest = entrants.iter().map(|other| other.case.size).min();
    let smaller = smallest.filter(|&size| size < entrant.case.size);
    let smaller = smaller.and_then(|size| find(entrant.system.name, size));
    let median_ns = stats::median(&samples);
    Row {
        params: params(workload, entrant.case.size, column),
        system: entrant.system.name,
        rounds: samples.len(),
        iterations: entrant.case.iterations,
        median_ns,
        best_ns: stats::best(&samples),
        ratio_to_floor: first_floor.map(|floor| median_ns / stats::median(&floor)),
        comparisons: workload.floors.iter().filter_map(floor).collect(),
        ratio_to_smallest: smaller.map(|it| stats::median(&stats::ratios(&samples, &it))),
    }
}

/// How a size and a column are written.
pub(crate) fn params(workload: &Workload, size: usize, column: usize) -> String {
    let size_name = workload.size_name;
    match workload.columns.get(column) {
        Some(column) => format!("{size_name}={size},op={column}"),
        None => format!("{size_name}={size}"),
    }
}

/// In which order the entrants run (INV-MEASURE-2); who follows whom is drawn anew each time all places are through.
struct Rotation {
    order: Vec<usize>,
    turn: usize,
    random: Random,
}

impl Rotation {
    fn new(entrants: usize) -> Self {
        Self {
            order: (0..entrants).collect(),
            turn: 0,
            random: Random::new(0x6265_6e63),
        }
    }

    fn next_order(&mut self) -> &[usize] {
        if self.turn.is_multiple_of(self.order.len()) {
            self.random.shuffle(&mut self.order);
        } else {
            self.order.rotate_left(1);
        }
        self.turn += 1;
        &self.order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn each_entrant_is_in_each_place_once_in_a_cycle() {
        let mut rotation = Rotation::new(5);
        let mut neighbours = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let mut places = [[0; 5]; 5];
            for _ in 0..5 {
                let order = rotation.next_order();
                for (place, &entrant) in order.iter().enumerate() {
                    places[entrant][place] += 1;
                }
                neighbours.extend(order.windows(2).map(|two| (two[0], two[1])));
            }
            assert_eq!(places, [[1; 5]; 5]);
        }
        assert_eq!(
            neighbours.len(),
            20,
            "everyone follows everyone at some time"
        );
    }

    /// A round of made-up durations: its base and a noise that all share.
    struct Made(f64, Rc<Cell<f64>>, &'static str);

    impl Round for Made {
        fn run(&mut self, iterations: u64) -> io::Result<Laps> {
            assert_eq!(iterations, 10, "{}", self.2);
            Ok([self.0 + self.1.get(), 0.0, 0.0])
        }
    }

    fn same(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    fn never(_: usize) -> io::Result<Box<dyn Round>> {
        Err(io::Error::other("not set up here"))
    }

    static MADE: Workload = Workload {
        name: "made",
        about: "",
        size_name: "n",
        cases: &[],
        operations: |_| 1,
        columns: &[],
        rounds: 1,
        floors: &["floor"],
        systems: &[
            System {
                name: "floor",
                set_up: never,
            },
            System {
                name: "other",
                set_up: never,
            },
        ],
    };

    #[test]
    fn rows_compare_with_the_floor_of_their_size_in_pairs_and_with_the_smallest_size() {
        let noise = Rc::new(Cell::new(0.0));
        let mut entrants: Vec<Entrant> =
            [(0, 1, 100.0), (1, 1, 130.0), (0, 5, 200.0), (1, 5, 260.0)]
                .into_iter()
                .map(|(system, size, base)| Entrant {
                    system: &MADE.systems[system],
                    case: Case {
                        size,
                        iterations: 10,
                    },
                    round: Box::new(Made(
                        base,
                        Rc::clone(&noise),
                        "ten iterations were asked for",
                    )),
                    laps: Vec::new(),
                })
                .collect();
        for burst in [0.0, 0.0, 5_000.0] {
            noise.set(burst);
            for entrant in &mut entrants {
                let laps = entrant.run().unwrap();
                entrant.laps.push(laps);
            }
        }
        let floor = sum_up(&MADE, &entrants, &entrants[0], 0);
        assert_eq!(
            (floor.ratio_to_floor, floor.ratio_to_smallest),
            (Some(1.0), None)
        );
        let large = sum_up(&MADE, &entrants, &entrants[3], 0);
        assert_eq!(large.params, "n=5");
        assert!(same(large.ratio_to_floor.unwrap(), 1.3));
        assert!(same(large.ratio_to_smallest.unwrap(), 2.0));
        assert!(same(large.comparisons[0].median_ns, 60.0));
        assert!(same(large.median_ns, 260.0) && same(large.best_ns, 260.0));
    }

    #[test]
    fn an_unknown_system_or_size_is_refused() {
        let plan = |systems: &[&str], sizes: &[usize]| Plan {
            workload: &MADE,
            systems: systems.iter().map(ToString::to_string).collect(),
            sizes: sizes.to_vec(),
            rounds: 1,
            iterations: None,
            warm_up: false,
        };
        let refused = |plan| measure(&plan).unwrap_err().to_string();
        assert!(refused(plan(&["flor"], &[])).contains("no system flor; there are floor, other"));
        assert!(refused(plan(&[], &[77])).contains("no such size"));
    }
}
