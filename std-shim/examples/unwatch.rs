//! Unwatching: the callback is dropped, nothing is reported any more, and the descriptor stays open and yours.
//!
//! Unwatch before you close a descriptor. A loop never closes what it was only lent.
//!
//! Prints:
//!
//! ```text
//! watched: true
//! unwatched: true, then false
//! events: 0
//! still open: "hello"
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::time::Duration;

use linux_event::Loop;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut reader, mut writer) = io::pipe()?;
    let mut event_loop = Loop::reactor()?;

    event_loop
        .watch(&reader)
        .on_read(|_, _, _| println!("never called"))
        .start()?;
    println!("watched: {}", event_loop.watcher_of(&reader).is_some());

    writer.write_all(b"hello")?; // readable from now on
    let first = event_loop.unwatch(&reader);
    println!("unwatched: {first}, then {}", event_loop.unwatch(&reader));

    event_loop.run_once(Some(Duration::ZERO))?;
    println!("events: {}", event_loop.stats().events);

    let mut bytes = [0; 5];
    reader.read_exact(&mut bytes)?;
    println!("still open: {:?}", String::from_utf8_lossy(&bytes));
    Ok(())
}
