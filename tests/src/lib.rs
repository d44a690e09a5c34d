//! The worlds that the conformance suite runs in: one body per rule, every backend.
//!
//! **What.** A [`World`] makes loops and reactors over one backend, and a [`Machine`] does around them what a program
//! and its surroundings do: open, write, close, raise a signal, end a process, let time pass. [`OnEpoll`] is the
//! kernel, [`OnFake`] the fake. [`conformance!`] makes a test of each body in each world, so that
//! `fake::r5_reused_fd_is_watched_again` and `epoll::r5_reused_fd_is_watched_again` are the same lines.
//!
//! **Invariants.** *INV-WORLD-1*: no test sleeps, and none waits for more than the loop under test waits. *INV-WORLD-2*:
//! a number that a test closed stays closed until that test opens something, whatever tests run beside it.
//!
//! **Why this shape.** The fake owns its descriptors and the kernel owns everybody's, so what a body does goes through
//! the loop it has in its hands: `W::of(event_loop).write(…)`.

#![deny(unsafe_code)]
#![allow(
    clippy::missing_panics_doc,
    reason = "what tests are made of panics where they fail"
)]

pub mod both;
pub mod libc_calls;
#[path = "net_world.rs"]
pub mod net;
mod on_epoll;
mod on_fake;
#[path = "proactor_world.rs"]
pub mod proactor;
mod system;

use std::fmt::Debug;
use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::reactor;
use linux_event::core::sys::AsRawFd;
use linux_event::{
    ExitStatus, Loop, LoopBackend, Reactor, Ready, Signal, SignalSet, Source, Watcher,
};

pub use on_epoll::{File, Kernel, OnEpoll};
pub use on_fake::OnFake;

/// A loop of the world `W`.
pub type LoopOf<W, S = ()> = Loop<Reactor<<W as World>::Backend>, S>;

/// A reactor of values in the world `W`.
pub type ValuesOf<W, D = u32> = reactor::Reactor<D, 64, 64, <W as World>::Backend>;

/// What callbacks note, in order.
pub type Log = Vec<&'static str>;

/// Longer than any test takes: a wait that should end by itself gets this for a limit.
pub const LONG: Duration = Duration::from_secs(30);

/// A millisecond.
pub const MILLI: Duration = Duration::from_millis(1);

/// Where bodies run: makes loops over one backend.
pub trait World: Sized + 'static {
    /// The backend.
    type Backend: LoopBackend + 'static;
    /// A descriptor's number, open or not.
    type File: Source<Self::Backend> + AsRawFd + Copy + Debug + Eq + 'static;
    /// What is around the loop.
    type Machine<'a>: Machine<File = Self::File>;

    /// Whether time passes only in waits, and other threads can't end one that is under way.
    const IS_VIRTUAL: bool;

    /// A loop with a state.
    fn looping<S>(state: S) -> LoopOf<Self, S>;
    /// A reactor of values.
    fn values<D: Copy>() -> ValuesOf<Self, D>;
    /// What is around a loop.
    fn of<S>(event_loop: &mut LoopOf<Self, S>) -> Self::Machine<'_>;
    /// What is around a reactor of values.
    fn around<D: Copy>(reactor: &mut ValuesOf<Self, D>) -> Self::Machine<'_>;
    /// Called before and after each body.
    fn tidy();
}

/// What a program and its surroundings do. Everything panics that can't be done but what can fail by a rule.
pub trait Machine {
    /// A descriptor's number, open or not.
    type File: Copy;

    /// A pipe: the end to read, the end to write. Non-blocking, as all descriptors are.
    fn pipe(&mut self) -> (Self::File, Self::File);
    /// Two connected stream sockets.
    fn socketpair(&mut self) -> (Self::File, Self::File);
    /// A regular file.
    fn regular_file(&mut self) -> Self::File;
    /// Writes.
    ///
    /// # Errors
    /// EAGAIN, EPIPE, EBADF.
    fn write(&mut self, file: Self::File, bytes: &[u8]) -> Result<usize, Errno>;
    /// Reads.
    ///
    /// # Errors
    /// EAGAIN, ECONNRESET, EBADF.
    fn read(&mut self, file: Self::File, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// Shuts down the writing side of a socket.
    fn shutdown_write(&mut self, file: Self::File);
    /// Closes a number.
    fn close(&mut self, file: Self::File);
    /// Another number for the same open file.
    fn dup(&mut self, file: Self::File) -> Self::File;
    /// Closes `target` and opens it again, in one step, as another number for the open file of `file`.
    fn dup_to(&mut self, file: Self::File, target: Self::File);

    /// Lets time pass outside a wait, as a callback that is busy does.
    fn pass(&mut self, duration: Duration);

    /// Raises a signal at the thread of the test.
    fn raise(&mut self, signal: Signal);
    /// Blocks signals, as a program may have done before it made a loop.
    fn block(&mut self, set: SignalSet);
    /// What the thread blocks.
    fn mask(&mut self) -> SignalSet;
    /// What has struck in spite of the loop. Where the process would have died of it, nothing.
    fn struck(&mut self) -> usize;

    /// A child that lives until [`exit`](Self::exit).
    fn spawn(&mut self) -> u32;
    /// A process that is not a child and lives until [`exit`](Self::exit).
    fn spawn_stranger(&mut self) -> u32;
    /// Ends a process, and returns once it has ended or surely will.
    fn exit(&mut self, pid: u32, status: ExitStatus);
    /// Waits for a child behind the loop's back.
    fn reap(&mut self, pid: u32) -> ExitStatus;

    /// Writes all of `bytes`, for which there must be room.
    fn put(&mut self, file: Self::File, bytes: &[u8]) {
        assert_eq!(self.write(file, bytes), Ok(bytes.len()));
    }

    /// Reads until nothing is there any more, or the end.
    fn drain(&mut self, file: Self::File) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count) = self.read(file, &mut buffer)
            && count > 0
        {
            bytes.extend_from_slice(&buffer[..count]);
        }
        bytes
    }

    /// Closes `file` and has its number lead to the open file of `other`, whose own number is closed.
    fn reuse(&mut self, file: Self::File, other: Self::File) {
        self.dup_to(other, file);
        self.close(other);
    }
}

/// A callback that notes `what`.
pub fn note<W: World>(
    what: &'static str,
) -> impl FnMut(&mut LoopOf<W, Log>, Watcher, Ready) + 'static {
    move |event_loop, _, _| event_loop.state.push(what)
}

/// Runs a turn that does not wait.
pub fn turn<W: World, S>(event_loop: &mut LoopOf<W, S>) {
    event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
}

/// Runs a turn that waits for as long as it takes.
pub fn waiting_turn<W: World, S>(event_loop: &mut LoopOf<W, S>) {
    event_loop.run_once(Some(LONG)).expect("a turn");
}

/// Of 20 turns of at most a millisecond each, how many ended before it was over: 20 is spinning.
pub fn turns_cut_short<W: World, S>(event_loop: &mut LoopOf<W, S>) -> usize {
    (0..20)
        .filter(|_| {
            let begin = event_loop.read_clock();
            event_loop.run_once(Some(MILLI)).expect("a turn");
            event_loop.read_clock().since(begin) < MILLI
        })
        .count()
}

/// Ends a test: nothing may be left that keeps a loop running, and nothing may have struck.
///
/// # Panics
/// If something is left.
pub fn finish<W: World, S>(mut event_loop: LoopOf<W, S>) {
    assert!(!event_loop.is_live(), "something is left: {event_loop:?}");
    assert_eq!(W::of(&mut event_loop).struck(), 0, "a signal has struck");
}

/// Panics without a message on the terminal.
pub fn panic_quietly() {
    std::panic::resume_unwind(Box::new("on purpose"));
}

/// Runs a body in the world `W`.
pub fn run_in<W: World>(body: impl FnOnce()) {
    struct Tidy<W: World>(std::marker::PhantomData<W>);
    impl<W: World> Drop for Tidy<W> {
        fn drop(&mut self) {
            W::tidy();
        }
    }
    W::tidy();
    let _tidy = Tidy::<W>(std::marker::PhantomData);
    body();
}

/// Makes a test of each body in each world, in modules named for the backends.
#[macro_export]
macro_rules! conformance {
    ($($(#[$meta:meta])* fn $name:ident<$world:ident>() $body:block)*) => {
        $($(#[$meta])* fn $name<$world: $crate::World>() $body)*

        mod epoll {
            $(#[test]
            fn $name() {
                $crate::run_in::<$crate::OnEpoll>(super::$name::<$crate::OnEpoll>);
            })*
        }

        mod fake {
            $(#[test]
            fn $name() {
                $crate::run_in::<$crate::OnFake>(super::$name::<$crate::OnFake>);
            })*
        }
    };
}
