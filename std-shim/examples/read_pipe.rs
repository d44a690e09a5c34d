//! Reading a pipe to its end by operations: one buffer and one callback for all the reads.
//!
//! A loop of operations reads for you: it owns the buffer until the read is done, and hands it back filled. The callback
//! then submits the next read [`again`](linux_event::Loop::again), with that buffer and with itself. Nothing is allocated.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! read "hello, w"
//! read "orld"
//! end of the pipe
//! nothing left to wait for
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;

use linux_event::{BoxError, Loop, op};

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

fn main() -> Result<ExitCode, BoxError> {
    let mut event_loop = match Loop::proactor() {
        Ok(event_loop) => event_loop,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            return Ok(ExitCode::from(NO_RING));
        }
    };
    let (reader, writer) = std::io::pipe()?;
    // The loop owns them from here on, and a handle that can be copied stands for each.
    let (reader, writer) = (event_loop.adopt(reader)?, event_loop.adopt(writer)?);

    // A read fills its buffer up to the capacity: here 8 bytes.
    event_loop.read(reader, vec![0; 8], move |event_loop, read| {
        let count = read.outcome()?; // an error would stop the loop and come out of `run`
        if count == 0 {
            println!("end of the pipe");
            return Ok(());
        }
        let buffer = read.into_buffer().unwrap_or_default();
        println!("read {:?}", String::from_utf8_lossy(&buffer));
        event_loop.again(op::read(reader, buffer))?;
        Ok::<(), BoxError>(())
    })?;

    event_loop.write(writer, "hello, world", move |event_loop, written| {
        written.outcome()?;
        // Closing is an operation too. It ends the pipe.
        event_loop.close(writer, |_, closed| closed.outcome().map(drop))?;
        Ok::<(), BoxError>(())
    })?;

    event_loop.run()?; // until no operation is under way
    println!("nothing left to wait for");
    Ok(ExitCode::SUCCESS)
}
