//! How results are written: a line each for people and scripts, JSON for tools.
//!
//! **What.** [`line()`] writes a [`Row`] as `name=value` words; [`json()`] all of them, with what they were measured on.
//!
//! **Invariants.** *INV-REPORT-1*: a value has no blank in it, so a line splits at blanks. *INV-REPORT-2*: a number that
//! there is not is `-` in a line and `null` in JSON, never a zero.
//!
//! **Why this shape.** Lines can be read, compared with `diff` and cut with `awk`, and need no tool.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::measure::Row;

/// One row as a line, without its end.
pub(crate) fn line(workload: &str, row: &Row) -> String {
    let ratio =
        |ratio: Option<f64>| ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
    let mut line = format!(
        "workload={workload} params={} system={} median_ns={:.1} best_ns={:.1} ratio_to_floor={}",
        row.params,
        row.system,
        row.median_ns,
        row.best_ns,
        ratio(row.ratio_to_floor),
    );
    for comparison in &row.comparisons {
        let floor = comparison.floor.replace('-', "_");
        let (low, high) = comparison.interval_ns;
        let median = comparison.median_ns;
        let _ = write!(
            line,
            " diff_to_{floor}_median_ns={median:.1} diff_to_{floor}_ci95_ns={low:.1}..{high:.1}"
        );
    }
    if row.ratio_to_smallest.is_some() {
        let _ = write!(line, " ratio_to_smallest={}", ratio(row.ratio_to_smallest));
    }
    line
}

/// All rows as one JSON document.
pub(crate) fn json(workload: &str, cpu: Option<usize>, rows: &[Row]) -> Value {
    json!({
        "workload": workload,
        "pinned_to_cpu": cpu,
        "kernel": first_line("/proc/sys/kernel/osrelease", ""),
        "processor": first_line("/proc/cpuinfo", "model name"),
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn row(row: &Row) -> Value {
    let comparison = |comparison: &crate::measure::Comparison| {
        json!({
            "floor": comparison.floor,
            "median_ns": comparison.median_ns,
            "ci95_ns": [comparison.interval_ns.0, comparison.interval_ns.1],
        })
    };
    json!({
        "params": row.params,
        "system": row.system,
        "rounds": row.rounds,
        "iterations": row.iterations,
        "median_ns": row.median_ns,
        "best_ns": row.best_ns,
        "ratio_to_floor": row.ratio_to_floor,
        "differences": row.comparisons.iter().map(comparison).collect::<Vec<_>>(),
        "ratio_to_smallest": row.ratio_to_smallest,
    })
}

/// The first line of a file that starts with `name`, what follows a colon in it if it has one.
fn first_line(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let value = line.split_once(':').map_or(line, |(_, value)| value);
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Comparison;

    fn example() -> Row {
        Row {
            params: "n=10,op=insert".into(),
            system: "mio",
            rounds: 3,
            iterations: 200,
            median_ns: 12.34,
            best_ns: 11.0,
            ratio_to_floor: None,
            comparisons: vec![Comparison {
                floor: "floor-boxed",
                median_ns: -2.0,
                interval_ns: (-3.0, 1.0),
            }],
            ratio_to_smallest: Some(1.1),
        }
    }

    #[test]
    fn a_line_is_words_of_name_and_value() {
        assert_eq!(
            line("timers", &example()),
            "workload=timers params=n=10,op=insert system=mio median_ns=12.3 best_ns=11.0 ratio_to_floor=- \
             diff_to_floor_boxed_median_ns=-2.0 diff_to_floor_boxed_ci95_ns=-3.0..1.0 ratio_to_smallest=1.100"
        );
    }

    #[test]
    fn json_says_the_same() {
        let document = json("timers", Some(1), &[example()]);
        assert_eq!(document["pinned_to_cpu"], 1);
        let row = &document["rows"][0];
        assert_eq!(row["median_ns"], 12.34);
        assert!(row["ratio_to_floor"].is_null());
        assert_eq!(row["differences"][0]["ci95_ns"][1], 1.0);
    }
}
