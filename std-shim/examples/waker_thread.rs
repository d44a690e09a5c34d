//! A waker in another thread: it ends the loop's wait when there is a result.
//!
//! While a waker is held outside the loop, `run` goes on waiting for it; when the thread ends, so does `run`.
//!
//! Prints:
//!
//! ```text
//! woken: the sum is 5050
//! the thread is done
//! ```
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use linux_event::{Error, Loop};

fn main() -> Result<(), Error> {
    let mut event_loop = Loop::reactor()?;
    let sum = Arc::new(AtomicU64::new(0));

    let result = Arc::clone(&sum);
    event_loop.on_wake(move |_, _count| {
        // Wakes that come close together are one call with their count: look at what there is, not at how often.
        println!("woken: the sum is {}", result.load(Ordering::Acquire));
    });

    let waker = event_loop.waker()?;
    let thread = thread::spawn(move || {
        sum.store((1..=100).sum(), Ordering::Release);
        waker.wake(); // and drops the waker: there will be no other wake
    });

    event_loop.run()?;
    println!("the thread is done");
    thread.join().expect("the thread has not panicked");
    Ok(())
}
