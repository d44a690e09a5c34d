//! Timers on a loop of operations: the same calls as on a reactor, and no operation of their own.
//!
//! The ring's wait ends at the first deadline, so that timers are submitted to nobody, and one that is due is no error.
//! What takes too long is another matter: an operation can have a limit of its own, after which it is cancelled.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! after: 5 ms, with 0 operations under way
//! every: period 1
//! every: period 2
//! every: period 3
//! a read that takes longer than 10ms: cancelled (ECANCELED, 125)
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use linux_event::{BoxError, Buffer, Loop, op};

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

fn main() -> Result<ExitCode, BoxError> {
    // The state: how many periods have passed.
    let mut event_loop = match Loop::proactor_with(0) {
        Ok(event_loop) => event_loop,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            return Ok(ExitCode::from(NO_RING));
        }
    };

    event_loop.after(Duration::from_millis(5), |event_loop| {
        let operations = event_loop.live_op_count();
        println!("after: 5 ms, with {operations} operations under way");
    })?;
    event_loop.every(Duration::from_millis(10), |event_loop, periods| {
        for _ in 0..periods {
            event_loop.state += 1;
            if event_loop.state <= 3 {
                println!("every: period {}", event_loop.state);
            }
        }
        if event_loop.state >= 3
            && let Some(timer) = event_loop.current()
        {
            event_loop.cancel(timer);
        }
    })?;
    event_loop.run()?; // until no timer is left

    // Nothing is ever written to this pipe, and its writing end stays open.
    let (reader, _writer) = std::io::pipe()?;
    let reader = event_loop.adopt(reader)?;
    let limit = Duration::from_millis(10);
    let read = op::read(reader, Buffer::with_capacity(64)).timeout(limit);
    event_loop.submit(read, move |_, read| {
        if let Err(errno) = read.outcome() {
            println!("a read that takes longer than {limit:?}: {errno}");
        }
    })?;
    event_loop.run()?;
    Ok(ExitCode::SUCCESS)
}
