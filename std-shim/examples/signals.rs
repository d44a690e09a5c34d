//! Signals through signalfd: they arrive as callbacks of the loop, where everything is allowed.
//!
//! **Subscribe before you start threads**: the signals are blocked for the calling thread and for those it starts from
//! then on; a thread that was there before would take them with their default action.
//!
//! Prints:
//!
//! ```text
//! USR1: reloading
//! TERM: ending
//! ```
#![forbid(unsafe_code)]

use linux_event::core::sys::{Kernel, Linux};
use linux_event::{Loop, Signal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut event_loop = Loop::reactor()?;

    event_loop.signal("USR1", |_, event| println!("{}: reloading", event.signal))?;
    event_loop.signal([Signal::INT, Signal::TERM], |event_loop, event| {
        println!("{}: ending", event.signal);
        event_loop.stop();
    })?;

    // Somebody else would do this, with kill(1). What comes in one turn is delivered in numeric order.
    send_to_self(Signal::TERM)?;
    send_to_self(Signal::USR1)?;

    event_loop.run()?;
    Ok(())
}

fn send_to_self(signal: Signal) -> Result<(), linux_event::Errno> {
    let this = Linux.pidfd_open(std::process::id().cast_signed())?;
    Linux.pidfd_send_signal(this.borrow(), signal.raw())
}
