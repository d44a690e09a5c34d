//! Timers: once at an instant, once after a delay, again and again, and cancelled.
//!
//! Deadlines that are due together fire in order. `every` keeps its rate: periods that a busy loop missed come as one
//! call with their number, so this counts periods, not calls.
//!
//! Prints:
//!
//! ```text
//! at: 5 ms
//! after: 10 ms
//! every: period 1
//! every: period 2
//! every: period 3
//! cancelled: true, then false
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event::{Error, Loop};

fn main() -> Result<(), Error> {
    // What callbacks share is a field of the loop: here how many periods have passed.
    let mut event_loop = Loop::reactor_with(0)?;

    let soon = event_loop.read_clock() + Duration::from_millis(5);
    event_loop.at(soon, |_| println!("at: 5 ms"))?;
    event_loop.after(Duration::from_millis(10), |_| println!("after: 10 ms"))?;
    event_loop.every(Duration::from_millis(20), |event_loop, periods| {
        for _ in 0..periods {
            event_loop.state += 1;
            if event_loop.state <= 3 {
                println!("every: period {}", event_loop.state);
            }
        }
        if event_loop.state >= 3 {
            event_loop.stop();
        }
    })?;
    let never = event_loop.after(Duration::from_hours(1), |_| println!("never"))?;

    event_loop.run()?; // until `stop`

    let first = event_loop.cancel(never);
    println!("cancelled: {first}, then {}", event_loop.cancel(never));
    Ok(())
}
