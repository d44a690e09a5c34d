//! A child's output, captured, in either model.
//!
//! `sort` is given three lines to read; what it prints comes with its exit. Then a shell talks on both of its outputs, which is
//! told as it comes. The same function serves epoll and io_uring.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! on epoll:
//! sorted: apple banana cherry
//! out: to you
//! err: to whom it may concern
//! exit code 3
//! on io_uring:
//! sorted: apple banana cherry
//! out: to you
//! err: to whom it may concern
//! exit code 3
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;

use linux_event::process::{Output, Spawn};
use linux_event::{BoxError, Loop};

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

/// It reads a line between the two, for two pipes have no order.
const SCRIPT: &str = "echo to you; read line; echo to whom it may concern >&2; exit 3";

fn capture<M: Spawn>(mut event_loop: Loop<M>) -> Result<(), BoxError> {
    event_loop
        .command("sort")
        .stdin_bytes("cherry\napple\nbanana\n")
        .stdout(Output::Collect(4096))
        .on_exit(|_, exit| {
            let lines = String::from_utf8_lossy(&exit.stdout).replace('\n', " ");
            println!("sorted: {}", lines.trim_end());
        })
        .spawn(&mut event_loop)?;
    event_loop.run()?;

    event_loop
        .command("sh")
        .args(["-c", SCRIPT])
        .stdin_pipe()
        .on_stdout(|event_loop, child, bytes| {
            print!("out: {}", String::from_utf8_lossy(bytes));
            child.write(event_loop, "go on\n").map(drop)
        })
        .on_stderr(|_, _, bytes| print!("err: {}", String::from_utf8_lossy(bytes)))
        .on_exit(|_, exit| match exit.status {
            Ok(Some(status)) => println!("{status}"),
            other => println!("{other:?}"),
        })
        .spawn(&mut event_loop)?;
    event_loop.run()?;
    Ok(())
}

fn main() -> Result<ExitCode, BoxError> {
    println!("on epoll:");
    capture(Loop::reactor()?)?;
    match Loop::proactor() {
        Ok(event_loop) => {
            println!("on io_uring:");
            capture(event_loop)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            Ok(ExitCode::from(NO_RING))
        }
    }
}
