//! Waiting for child processes: by a pidfd, which can't come to mean another process.
//!
//! The loop reaps the child, so don't call `wait` on it. Use `pid_unreaped` for processes that somebody else reaps.
//!
//! Prints:
//!
//! ```text
//! sh exited with code 3
//! sleep was killed by signal 15
//! ```
#![forbid(unsafe_code)]

use std::process::Command;

use linux_event::core::sys::{Kernel, Linux};
use linux_event::{Exit, ExitStatus, Loop, Signal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut event_loop = Loop::reactor()?;

    let child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    event_loop.pid(child.id(), |event_loop, exit| {
        report("sh", &exit);

        let child = Command::new("sleep").arg("3600").spawn()?;
        let pidfd = Linux.pidfd_open(child.id().cast_signed())?;
        event_loop.pid(child.id(), |_, exit| report("sleep", &exit))?;
        Linux.pidfd_send_signal(pidfd.borrow(), Signal::TERM.raw())?;
        Result::<(), Box<dyn std::error::Error + Send + Sync>>::Ok(())
    })?;

    event_loop.run()?; // until no process is left to wait for
    Ok(())
}

fn report(name: &str, exit: &Exit) {
    match exit.status {
        Ok(Some(ExitStatus::Exited(code))) => println!("{name} exited with code {code}"),
        Ok(Some(ExitStatus::Signaled { signal, .. })) => {
            println!("{name} was killed by signal {signal}");
        }
        Ok(None) => println!("{name} has ended, nobody knows how"),
        Err(errno) => println!("{name} can't be waited for: {errno}"),
    }
}
