//! A protocol tested without a kernel: the same code that serves connections on io_uring runs on the fake, where the test
//! says what each operation comes to, and time is virtual.
//!
//! ```text
//! in one piece: HELLO WORLD
//! byte by byte: HELLO WORLD
//! an hour late: HELLO WORLD
//! the peer resets: nothing is left behind
//! ```
//!
//! The fuzz target `line_protocol` has a fuzzer decide instead: see `fuzz/fuzz_targets/line_protocol.rs`.
#![forbid(unsafe_code)]

mod protocol;

use std::time::Duration;

use linux_event::Loop;
use linux_event::fake::{Decision, PendingOp};
use linux_event_core::errno::Errno;
use protocol::{Connection, serve};

/// Serves `lines` while `decide` says what becomes of each operation; returns what came back.
fn run(
    lines: &[u8],
    decide: impl FnMut(&PendingOp) -> Decision + 'static,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut event_loop = Loop::fake_proactor_with(Connection::default());
    let fake = event_loop.fake_mut();
    let (ours, theirs) = fake.socketpair()?;
    fake.script(decide);
    fake.write(theirs, lines)?;
    fake.shutdown_write(theirs)?;
    let owned = event_loop.fake().own(ours);
    let file = event_loop
        .adopt_fd(owned)
        .map_err(|refused| refused.error)?;
    serve(&mut event_loop, file)?;
    event_loop.run()?;

    let mut back = [0; 256];
    let fake = event_loop.fake_mut();
    // A connection that ended with bytes unread is reset: then nothing comes.
    let count = fake.read(theirs, &mut back).unwrap_or(0);
    fake.close(theirs)?;
    // Every test can end with this: no operation, no buffer, no descriptor is left.
    assert_eq!(
        (
            fake.pending_operations(),
            fake.buffers_out(),
            fake.open_descriptors()
        ),
        (0, 0, 0)
    );
    Ok(String::from_utf8_lossy(&back[..count])
        .trim_end()
        .to_owned())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hello = b"hello world\n";
    println!("in one piece: {}", run(hello, |_| Decision::Perform)?);
    println!("byte by byte: {}", run(hello, |_| Decision::Shorten(1))?);
    let hour = Duration::from_hours(1);
    println!(
        "an hour late: {}",
        run(hello, move |_| Decision::Delay(hour))?
    );
    let back = run(hello, |_| Decision::Fail(Errno::ECONNRESET))?;
    assert_eq!(back, "");
    println!("the peer resets: nothing is left behind");
    Ok(())
}
