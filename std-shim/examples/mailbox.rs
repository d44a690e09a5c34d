//! A mailbox: values from other threads, delivered to a callback on the loop's thread.
//!
//! The capacity is fixed, sending allocates nothing and blocks never: a full mailbox gives the value back. What
//! carries a resource (a socket, a file) is handed over in the same way.
//!
//! Prints:
//!
//! ```text
//! letter 1
//! letter 2
//! letter 3
//! the sender is gone
//! the state: 3 letters
//! ```
#![forbid(unsafe_code)]

use std::thread;

use linux_event::{Loop, SendError};

struct Letter {
    number: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut event_loop = Loop::reactor_with(0)?; // the state: how many letters came
    let sender = event_loop.mailbox(16, |event_loop, letter: Letter| {
        println!("letter {}", letter.number);
        event_loop.state += 1;
    })?;

    let thread = thread::spawn(move || {
        for number in 1..=3 {
            match sender.send(Letter { number }) {
                Ok(()) => {}
                Err(SendError::Full(letter)) => println!("no room for letter {}", letter.number),
                Err(SendError::Closed(_)) => return, // the loop is gone
            }
        }
    });

    event_loop.run()?; // until the last sender is dropped
    println!("the sender is gone");
    println!("the state: {} letters", event_loop.state);
    thread.join().expect("the thread has not panicked");
    Ok(())
}
