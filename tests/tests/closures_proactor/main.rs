//! The loop of operations with closures, on the ring and on the fake: one body for both.
//!
//! Where io_uring is forbidden the ring's tests say so and pass.

#![forbid(unsafe_code)]

mod chains;
mod files;
mod outcomes;
mod panics;
mod queue;
mod ring;
mod turns;

use std::os::unix::net::UnixStream;

use linux_event::fake::Fake;
use linux_event::{File, Loop, Proactor, ProactorBackend, Uring};

/// A loop of the world `W`.
pub(crate) type LoopOf<W, S = ()> = Loop<Proactor<<W as World>::Backend>, S>;

/// Longer than any test takes.
pub(crate) const LONG: Option<std::time::Duration> = Some(std::time::Duration::from_secs(30));

/// What the bodies run on.
pub(crate) trait World {
    type Backend: ProactorBackend;

    /// A loop; `None` where it can't be had.
    fn looping<S>(state: S) -> Option<LoopOf<Self, S>>;

    /// Two sockets that are connected, adopted.
    fn pair<S>(event_loop: &mut LoopOf<Self, S>) -> (File, File);
}

/// The kernel's io_uring.
pub(crate) struct OnRing;

impl World for OnRing {
    type Backend = Uring;

    fn looping<S>(state: S) -> Option<LoopOf<Self, S>> {
        match Loop::proactor_with(state) {
            Ok(event_loop) => Some(event_loop),
            Err(error) => {
                eprintln!("no ring, nothing is tested: {error}");
                None
            }
        }
    }

    fn pair<S>(event_loop: &mut LoopOf<Self, S>) -> (File, File) {
        let (one, other) = UnixStream::pair().unwrap();
        (
            event_loop.adopt(one).unwrap(),
            event_loop.adopt(other).unwrap(),
        )
    }
}

/// The fake.
pub(crate) struct OnFake;

impl World for OnFake {
    type Backend = Fake;

    fn looping<S>(state: S) -> Option<LoopOf<Self, S>> {
        Some(Loop::fake_proactor_with(state))
    }

    fn pair<S>(event_loop: &mut LoopOf<Self, S>) -> (File, File) {
        let (one, other) = event_loop.fake_mut().socketpair().unwrap();
        let (one, other) = (event_loop.fake().own(one), event_loop.fake().own(other));
        (
            event_loop.adopt_fd(one).unwrap(),
            event_loop.adopt_fd(other).unwrap(),
        )
    }
}

/// Makes a test of each body in each world.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod ring {
            $(#[test] fn $name() { let _ = super::$name::<$crate::OnRing>(); })*
        }
        mod fake {
            $(#[test] fn $name() { super::$name::<$crate::OnFake>().expect("a fake can be had"); })*
        }
    };
}
pub(crate) use both;
