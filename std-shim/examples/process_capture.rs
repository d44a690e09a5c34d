//! A child's output, captured, in either model: `cargo run --example process_capture`.
//!
//! `sort` is given three lines to read; what it prints comes with its exit. Then a shell talks on both of its outputs, which is
//! told as it comes. The same function serves epoll and io_uring.
//!
//! Prints, for each model: `sorted: apple banana cherry`, `out: to you`, `err: to whom it may concern`, `exit code 3`.

use linux_event::process::{Output, Spawn};
use linux_event::{BoxError, Loop};

fn capture<M: Spawn>(mut event_loop: Loop<M>) -> Result<(), BoxError> {
    event_loop
        .command("sort")
        .stdin_bytes("cherry\napple\nbanana\n")
        .stdout(Output::Collect(4096))
        .on_exit(|_, exit| {
            let lines = String::from_utf8_lossy(&exit.stdout).replace('\n', " ");
            println!("sorted: {lines}");
        })
        .spawn(&mut event_loop)?;
    event_loop.run()?;

    event_loop
        .command("sh")
        .args(["-c", "echo to you; echo to whom it may concern >&2; exit 3"])
        .on_stdout(|_, _, bytes| print!("out: {}", String::from_utf8_lossy(bytes)))
        .on_stderr(|_, _, bytes| print!("err: {}", String::from_utf8_lossy(bytes)))
        .on_exit(|_, exit| match exit.status {
            Ok(Some(status)) => println!("{status}"),
            other => println!("{other:?}"),
        })
        .spawn(&mut event_loop)?;
    event_loop.run()?;
    Ok(())
}

fn main() -> Result<(), BoxError> {
    println!("on epoll:");
    capture(Loop::reactor()?)?;
    match Loop::proactor() {
        Ok(event_loop) => {
            println!("on io_uring:");
            capture(event_loop)?;
        }
        Err(error) => println!("no io_uring: {error}"),
    }
    Ok(())
}
