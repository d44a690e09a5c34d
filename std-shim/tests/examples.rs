//! Every example prints what its doc comment says, and exits with code 0.
#![forbid(unsafe_code)]

mod child;

use std::process::Command;

use child::{Running, example};

/// The block that a doc comment announces with "Prints:".
fn expected(source: &str) -> String {
    let doc: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let mut lines = doc
        .iter()
        .skip_while(|line| **line != "Prints:")
        .skip_while(|line| **line != "```text")
        .skip(1);
    let block: Vec<&str> = lines
        .by_ref()
        .take_while(|line| **line != "```")
        .copied()
        .collect();
    assert!(!block.is_empty(), "the doc comment says what it prints");
    block.join("\n") + "\n"
}

fn prints_what_it_says(name: &str, source: &str) {
    let (status, printed) = Running::start(&mut Command::new(example(name))).finish();
    assert_eq!(printed, expected(source), "{name}");
    assert!(status.success(), "{name}: {status}");
}

macro_rules! examples {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let source = include_str!(concat!("../examples/", stringify!($name), ".rs"));
                prints_what_it_says(stringify!($name), source);
            }
        )*

        /// Those that are run above.
        const RUN: &[&str] = &[$(stringify!($name)),*];
    };
}

examples!(
    child_exit,
    edge_drain,
    mailbox,
    oneshot,
    replace_watcher,
    signals,
    timer,
    unwatch,
    waker_thread,
    watch_pipe,
);

#[test]
fn no_example_is_left_out() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for entry in std::fs::read_dir(folder).expect("there are examples") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.expect("names are plain");
        let is_echo = name == "echo"; // has a test of its own
        assert!(is_echo || RUN.contains(&name), "nobody runs {name}");
    }
}
