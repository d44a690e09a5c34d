//! A child that does not end is ended.
//!
//! The shell ignores SIGTERM. When its time is over the program is told, SIGTERM is sent, and SIGKILL a little later: both
//! through a pidfd, so that they reach nobody else.
//!
//! Prints:
//!
//! ```text
//! ready
//! its time is over
//! ended by signal 9, in time: false
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event::{BoxError, Loop};

fn main() -> Result<(), BoxError> {
    let mut event_loop = Loop::reactor()?;
    event_loop
        .command("sh")
        .args([
            "-c",
            "trap '' TERM; echo ready; while :; do read line; done",
        ])
        .stdin_pipe() // stays open: it waits for a line that never comes
        .timeout(Duration::from_millis(500))
        .kill_after(Some(Duration::from_millis(100)))
        .on_stdout(|_, _, bytes| print!("{}", String::from_utf8_lossy(bytes)))
        .on_timeout(|_, _| println!("its time is over"))
        .on_exit(|_, exit| {
            let signal = exit.signal().map_or(0, linux_event::Signal::raw);
            println!("ended by signal {signal}, in time: {}", !exit.timed_out);
        })
        .spawn(&mut event_loop)?;
    event_loop.run()?;
    Ok(())
}
