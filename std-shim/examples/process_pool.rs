//! Six jobs, one at a time: a pool starts what it has room for and queues the rest.
//!
//! Two of the jobs are cancelled before their turn, one is a program that does not exist, which holds nobody up. When nothing runs
//! and nothing waits, that is told once.
//!
//! Prints:
//!
//! ```text
//! job 0 runs
//! job 1 waits
//! job 2 waits
//! job 3 waits
//! job 4 waits
//! job 5 waits
//! cancelled: 2
//! job 0: 0
//! job 1: 2
//! job 2: No such file or directory (os error 2)
//! job 3: 6
//! drained: 3 ran, 1 could not
//! ```
#![forbid(unsafe_code)]

use linux_event::process::{Exit, Job, Output, Pool, Spawn};
use linux_event::{BoxError, Loop};

#[derive(Default)]
struct Results {
    ran: usize,
    failed: usize,
}

fn ended<M: Spawn>(event_loop: &mut Loop<M, Results>, exit: Exit) {
    let tag = exit.tag.unwrap_or_default();
    match exit.status {
        Ok(_) => {
            event_loop.state.ran += 1;
            println!("{tag}: {}", String::from_utf8_lossy(&exit.stdout).trim());
        }
        Err(error) => {
            event_loop.state.failed += 1;
            println!("{tag}: {error}");
        }
    }
}

fn main() -> Result<(), BoxError> {
    let mut event_loop = Loop::reactor_with(Results::default())?;
    let pool = Pool::new(&mut event_loop, 1);
    for number in 0..6 {
        let program = if number == 2 {
            "no-such-program"
        } else {
            "expr"
        };
        let job = event_loop
            .command(program)
            .args([&number.to_string(), "*", "2"])
            .tag(format!("job {number}"))
            .stdout(Output::Collect(64))
            .on_exit(ended);
        match pool.spawn(&mut event_loop, job)? {
            Job::Started(_) => println!("job {number} runs"),
            Job::Queued(_) => println!("job {number} waits"),
        }
    }
    let is_late = |tag: Option<&str>| matches!(tag, Some("job 4" | "job 5"));
    let cancelled = pool.cancel_queued(&mut event_loop, |command| is_late(command.tag_text()));
    println!("cancelled: {cancelled}");
    pool.on_drain(&mut event_loop, |event_loop| {
        let Results { ran, failed } = event_loop.state;
        println!("drained: {ran} ran, {failed} could not");
    });
    event_loop.run()?;
    Ok(())
}
