//! The smallest program on the core: three ticks, one every 10 ms, then it exits with 0.
//!
//! Without `std`, libc and allocator, linked statically. It prints `tick` three times.
#![cfg_attr(panic = "abort", no_std, no_main)]

#[cfg(panic = "abort")]
mod program {
    use core::time::Duration;

    use linux_event_core::reactor::{Epoll, Event, Reactor};
    use linux_event_core::sys::{BorrowedFd, Kernel, Linux};
    use static_start::Arguments;

    static_start::main!(main);

    fn main(_: Arguments) -> i32 {
        match ticks() {
            Some(()) => 0,
            None => 1,
        }
    }

    fn ticks() -> Option<()> {
        let mut reactor: Reactor<(), 1, 1> = Reactor::new(Epoll::new().ok()?);
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
}

#[cfg(not(panic = "abort"))]
fn main() {}
