//! A regular file by operations, which epoll can't wait for at all: written at an offset, and read back.
//!
//! The file is adopted by the loop, so that operations can share it, and is given back in the end. With an offset each
//! time, operations on one file don't disturb each other's position.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! wrote 11 bytes at 5
//! read "world" at 11
//! read nothing at 16: the end of the file
//! given back: a file of 16 bytes
//! ```
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use linux_event::{BoxError, Loop, op};

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

fn main() -> Result<ExitCode, BoxError> {
    let name = format!("linux-event-read-write-file-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let done = write_and_read(&path);
    let _ = std::fs::remove_file(&path); // whatever came of it
    done
}

fn write_and_read(path: &Path) -> Result<ExitCode, BoxError> {
    let mut event_loop = match Loop::proactor() {
        Ok(event_loop) => event_loop,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            return Ok(ExitCode::from(NO_RING));
        }
    };
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(path)?;
    let file = event_loop.adopt(file)?;

    event_loop.write_at(file, 5, "hello world", move |event_loop, written| {
        // Fewer bytes than there were are no error: a full disk takes a part, and says ENOSPC the next time.
        println!("wrote {} bytes at 5", written.outcome()?);
        event_loop.read_at(file, 11, vec![0; 64], move |event_loop, read| {
            if read.outcome()? == 0 {
                println!("read nothing at 16: the end of the file");
                return Ok(());
            }
            let buffer = read.into_buffer().unwrap_or_default();
            println!("read {:?} at 11", String::from_utf8_lossy(&buffer));
            event_loop.again(op::read(file, buffer).at(16))?;
            Ok::<(), BoxError>(())
        })?;
        Ok::<(), BoxError>(())
    })?;
    event_loop.run()?;

    let file = File::from(event_loop.release(file)?); // nothing is in flight on it
    println!("given back: a file of {} bytes", file.metadata()?.len());
    Ok(ExitCode::SUCCESS)
}
