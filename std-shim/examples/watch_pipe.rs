//! Watching a pipe: what comes is read, and at its end the watcher is cancelled.
//!
//! With no watcher and no timer left there is nothing to wait for, and `run` returns.
//!
//! Prints:
//!
//! ```text
//! read "hello"
//! end of the pipe
//! nothing left to wait for
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::time::Duration;

use linux_event::Loop;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut reader, mut writer) = io::pipe()?;
    let mut event_loop = Loop::reactor()?;

    // The callback owns the pipe. The loop cancels the watcher before it drops the callback and the pipe with it.
    event_loop
        .watch(&reader)
        .on_read(move |event_loop, watcher, _| {
            let mut bytes = [0; 64];
            match reader.read(&mut bytes)? {
                0 => {
                    println!("end of the pipe");
                    event_loop.cancel(watcher);
                }
                count => println!("read {:?}", String::from_utf8_lossy(&bytes[..count])),
            }
            io::Result::Ok(()) // an error would stop the loop and come out of `run`
        })
        .start()?;

    event_loop.after(Duration::from_millis(1), move |_| {
        writer.write_all(b"hello") // and drops the writer, which ends the pipe
    })?;

    event_loop.run()?;
    println!("nothing left to wait for");
    Ok(())
}
