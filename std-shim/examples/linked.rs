//! Chains: operations that go to the kernel together, each starting when the one before it has succeeded in full.
//!
//! Saving an entry is to write it, to have it on the disk, and to close the file, in that order and without a turn in between.
//! When a member fails, or reads or writes less than it was asked to, those after it are cancelled. Each still tells of
//! itself, once; and a close closes the file all the same, so that a chain that breaks leaks none.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! write: 6
//! fsync: 0
//! close: 0
//! open files: 0
//! read: 6 of 64 bytes, which breaks the chain
//! fsync: cancelled (ECANCELED, 125)
//! close: cancelled (ECANCELED, 125)
//! open files: 0
//! ```
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use linux_event::{BoxError, Buffer, Completion, Loop, Proactor, Uring, op};

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
    let path = std::env::temp_dir().join(format!("linux-event-linked-{}", std::process::id()));
    let done = save(&mut event_loop, &path).and_then(|()| read(&mut event_loop, &path));
    let _ = std::fs::remove_file(&path); // whatever came of it
    done?;
    Ok(ExitCode::SUCCESS)
}

type Ring = Loop<Proactor<Uring>>;

/// A chain that holds.
fn save(event_loop: &mut Ring, path: &Path) -> Result<(), BoxError> {
    let file = event_loop.adopt(File::create_new(path)?)?;
    let write = op::write(file, Buffer::from("entry\n"));
    let [_write, _fsync, _close] = event_loop.submit_chain([
        event_loop.member(write, |_, written| report("write", &written)),
        event_loop.member(op::fsync(file), |_, synced| report("fsync", &synced)),
        event_loop.member(op::close(file), |_, closed| report("close", &closed)),
    ])?;
    event_loop.run()?; // until all members have settled
    println!("open files: {}", event_loop.file_count());
    Ok(())
}

/// A chain that breaks at its first member: the file has less to read than there is room for.
fn read(event_loop: &mut Ring, path: &Path) -> Result<(), BoxError> {
    let file = event_loop.adopt(File::open(path)?)?;
    let read = op::read(file, Buffer::with_capacity(64)).limit(64);
    event_loop.submit_chain([
        event_loop.member(read, |_, read| {
            let count = read.outcome()?;
            println!("read: {count} of 64 bytes, which breaks the chain");
            Ok::<(), linux_event::Errno>(())
        }),
        event_loop.member(op::fsync(file), |_, synced| report("fsync", &synced)),
        event_loop.member(op::close(file), |_, closed| report("close", &closed)),
    ])?;
    event_loop.run()?;
    println!("open files: {}", event_loop.file_count());
    Ok(())
}

fn report(name: &str, completion: &Completion) {
    match completion.outcome() {
        Ok(result) => println!("{name}: {result}"),
        Err(errno) => println!("{name}: {errno}"),
    }
}
