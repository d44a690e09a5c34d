//! Ten jobs, three at a time: `cargo run --example process_pool`.
//!
//! A pool starts what it has room for and queues the rest. Two of the jobs are cancelled before their turn, one is a program
//! that does not exist. When nothing runs and nothing waits, that is told once.
//!
//! Prints a line for each job that ended, in the order in which they did; then `drained: 7 ran, 1 could not`, for two were
//! cancelled.

use linux_event::process::{Job, Output, Pool};
use linux_event::{BoxError, Loop};

#[derive(Default)]
struct Results {
    ran: usize,
    failed: usize,
}

fn main() -> Result<(), BoxError> {
    let mut event_loop = Loop::reactor_with(Results::default())?;
    let pool = Pool::new(&mut event_loop, 3);
    for number in 0..10 {
        let program = if number == 5 {
            "no-such-program"
        } else {
            "expr"
        };
        let job = event_loop
            .command(program)
            .args([&number.to_string(), "*", "2"])
            .tag(format!("job {number}"))
            .stdout(Output::Collect(64))
            .on_exit(|event_loop: &mut Loop<_, Results>, exit| {
                let tag = exit.tag.unwrap_or_default();
                match exit.status {
                    Ok(_) => {
                        event_loop.state.ran += 1;
                        let answer = String::from_utf8_lossy(&exit.stdout);
                        println!("{tag}: {}", answer.trim());
                    }
                    Err(error) => {
                        event_loop.state.failed += 1;
                        println!("{tag}: {error}");
                    }
                }
            });
        match pool.spawn(&mut event_loop, job)? {
            Job::Started(child) => println!("job {number} runs as {:?}", child.pid(&event_loop)),
            Job::Queued(_) => println!("job {number} waits"),
        }
    }
    let is_late = |tag: Option<&str>| matches!(tag, Some("job 8" | "job 9"));
    pool.cancel_queued(&mut event_loop, |command| is_late(command.tag_text()));
    pool.on_drain(&mut event_loop, |event_loop| {
        let Results { ran, failed } = event_loop.state;
        println!("drained: {ran} ran, {failed} could not");
    });
    event_loop.run()?;
    assert_eq!((event_loop.state.ran, event_loop.state.failed), (7, 1));
    Ok(())
}
