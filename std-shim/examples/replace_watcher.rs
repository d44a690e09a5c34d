//! Watching a descriptor that is watched already: the new watcher takes its place, and the old handle goes inert.
//!
//! Prints:
//!
//! ```text
//! first callback: a
//! the old handle is there: false
//! enabling by it: the handle is stale: what it named is gone
//! second callback: b
//! ```
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event::{Interest, Loop};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (stream, mut peer) = UnixStream::pair()?;
    stream.set_nonblocking(true)?;
    // The stream is the state of the loop, so that both callbacks can read from it.
    let mut event_loop = Loop::reactor_with(stream.try_clone()?)?;

    let old = event_loop
        .watch(&stream)
        .on_read(|event_loop, _, _| {
            println!("first callback: {}", read_letter(&mut event_loop.state));
        })
        .start()?;
    peer.write_all(b"a")?;
    event_loop.run_once(Some(Duration::from_secs(10)))?;

    // One EPOLL_CTL_MOD in the kernel. The first callback is dropped.
    event_loop
        .watch(&stream)
        .on_read(|event_loop, watcher, _| {
            println!("second callback: {}", read_letter(&mut event_loop.state));
            event_loop.cancel(watcher);
        })
        .start()?;
    println!("the old handle is there: {}", event_loop.contains(old));
    if let Err(error) = event_loop.enable(old, Interest::READ) {
        println!("enabling by it: {error}");
    }
    peer.write_all(b"b")?;
    event_loop.run()?;
    Ok(())
}

/// The next letter, or `-` if there is none.
fn read_letter(stream: &mut UnixStream) -> char {
    let mut letter = [b'-'];
    match stream.read(&mut letter) {
        Ok(_) => char::from(letter[0]),
        Err(error) => panic!("readable, yet it can't be read: {error}"),
    }
}
