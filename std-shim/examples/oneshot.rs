//! Oneshot: one report, then silence until the watcher is enabled again, however much is waiting.
//!
//! Three bytes lie ready, and each report takes one of them. Between the reports a timer arms the watcher again.
//!
//! Prints:
//!
//! ```text
//! report: took a
//! armed again
//! report: took b
//! armed again
//! report: took c
//! armed again
//! report: the end
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event::{Error, Interest, Loop};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut stream, mut peer) = UnixStream::pair()?;
    peer.write_all(b"abc")?;
    drop(peer);

    let mut event_loop = Loop::reactor()?;
    event_loop
        .watch(&stream)
        .oneshot()
        .on_read(move |event_loop, watcher, _| {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                println!("report: the end");
                event_loop.cancel(watcher);
                return Ok(());
            }
            println!("report: took {}", char::from(byte[0]));
            // Enabling needs no change of the interest. `rearm` does the same for edge-triggered watchers too.
            event_loop.after(Duration::from_millis(2), move |event_loop| {
                println!("armed again");
                event_loop.enable(watcher, Interest::READ)
            })?;
            Result::<(), io::Error>::Ok(())
        })
        .start()?;

    event_loop.run().map_err(Error::into)
}
