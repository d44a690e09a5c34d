//! Edge-triggered: a change is reported once, so each report is read until the kernel has no more (EAGAIN).
//!
//! Ten bytes read four at a time are three reads, and the fourth says that the socket is empty. What was left in it
//! would not be reported again.
//!
//! Prints:
//!
//! ```text
//! report 1: 10 bytes in 3 reads
//! report 2: 5 bytes in 2 reads
//! ```
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use linux_event::Loop;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut stream, mut peer) = UnixStream::pair()?;
    stream.set_nonblocking(true)?; // or the last read would block the loop
    peer.write_all(b"0123456789")?;

    let mut event_loop = Loop::reactor_with(0)?; // the state: how many reports
    event_loop
        .watch(&stream)
        .edge()
        .on_read(move |event_loop, watcher, _| {
            event_loop.state += 1;
            let (bytes, reads) = drain(&mut stream)?;
            println!(
                "report {}: {bytes} bytes in {reads} reads",
                event_loop.state
            );
            if event_loop.state == 1 {
                peer.write_all(b"again")?; // the next edge
            } else {
                event_loop.cancel(watcher);
            }
            io::Result::Ok(())
        })
        .start()?;
    event_loop.run()?;
    Ok(())
}

/// Reads until nothing is left; returns how many bytes came in how many reads.
fn drain(stream: &mut UnixStream) -> io::Result<(usize, usize)> {
    let (mut bytes, mut reads) = (0, 0);
    let mut buffer = [0; 4];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok((bytes, reads)),
            Ok(count) => (bytes, reads) = (bytes + count, reads + 1),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((bytes, reads)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
