//! The program.

use core::time::Duration;

use linux_event_core::reactor::{Event, Reactor};
use linux_event_core::sys::{BorrowedFd, Kernel, Linux};
use static_start::Arguments;

use crate::sleep::Sleep;

static_start::main!(main, without_vdso);

fn main(_: Arguments) -> i32 {
    match ticks() {
        Some(()) => 0,
        None => 1,
    }
}

fn ticks() -> Option<()> {
    let mut reactor: Reactor<(), 1, 1, Sleep> = Reactor::new(Sleep::new().ok()?);
    reactor.every(Duration::from_millis(10), ()).ok()?;
    let mut left = 3;
    while left > 0 {
        reactor.wait(None).ok()?;
        while let Some(event) = reactor.next() {
            if let Event::Timer { .. } = event {
                left -= 1;
                Linux.write(BorrowedFd::STDOUT, b"tick\n").ok()?;
            }
        }
    }
    Some(())
}
