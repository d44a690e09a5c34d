//! The worlds of the rules that hold for both models: time, signals, wakeups, processes, turns.
//!
//! **What.** [`World`] is what a body needs that asks nothing of descriptors: a loop, and the [`Machine`] around it.
//! [`both!`](crate::both!) makes four tests of it: epoll and the ring, and the fake under each model.
//!
//! **Why this shape.** One engine keeps time for both models; that it is one in truth is what running the same lines shows.

#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::time::Duration;

use linux_event::{Loop, Model};

use crate::{LONG, Machine, OnEpoll, OnFake, run_in};

/// A loop of the world `W`.
pub type LoopOf<W, S = ()> = Loop<<W as World>::Model, S>;

/// Where bodies run that hold for both models.
pub trait World: Sized + 'static {
    /// The model, over a backend.
    type Model: Model + Debug + 'static;
    /// What is around the loop.
    type Machine<'a>: Machine;

    /// Whether time passes only in waits, and other threads can't end one that is under way.
    const IS_VIRTUAL: bool;

    /// A loop with a state.
    fn looping<S>(state: S) -> LoopOf<Self, S>;
    /// What is around a loop.
    fn of<S>(event_loop: &mut LoopOf<Self, S>) -> Self::Machine<'_>;
    /// Runs a body as the test of this name.
    fn run(test: &str, body: fn());
}

impl World for OnEpoll {
    type Model = linux_event::Reactor<linux_event::Epoll>;
    type Machine<'a> = crate::Kernel;

    const IS_VIRTUAL: bool = false;

    fn looping<S>(state: S) -> LoopOf<Self, S> {
        <Self as crate::World>::looping(state)
    }

    fn of<S>(event_loop: &mut LoopOf<Self, S>) -> crate::Kernel {
        <Self as crate::World>::of(event_loop)
    }

    fn run(_: &str, body: fn()) {
        run_in::<Self>(body);
    }
}

impl World for OnFake {
    type Model = linux_event::Reactor<linux_event::fake::Fake>;
    type Machine<'a> = &'a mut linux_event::fake::Fake;

    const IS_VIRTUAL: bool = true;

    fn looping<S>(state: S) -> LoopOf<Self, S> {
        <Self as crate::World>::looping(state)
    }

    fn of<S>(event_loop: &mut LoopOf<Self, S>) -> &mut linux_event::fake::Fake {
        <Self as crate::World>::of(event_loop)
    }

    fn run(_: &str, body: fn()) {
        run_in::<Self>(body);
    }
}

/// Runs a turn that does not wait.
pub fn turn<W: World, S>(event_loop: &mut LoopOf<W, S>) {
    event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
}

/// Runs a turn that waits for as long as it takes.
pub fn waiting_turn<W: World, S>(event_loop: &mut LoopOf<W, S>) {
    event_loop.run_once(Some(LONG)).expect("a turn");
}

/// Ends a test: nothing may be left that keeps a loop running, and nothing may have struck.
///
/// # Panics
/// If something is left.
pub fn finish<W: World, S>(mut event_loop: LoopOf<W, S>) {
    assert!(!event_loop.is_live(), "something is left: {event_loop:?}");
    assert_eq!(W::of(&mut event_loop).struck(), 0, "a signal has struck");
}

/// Makes a test of each body in each world of both models, in modules named for the backends.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* fn $name:ident<$world:ident>() $body:block)*) => {
        $($(#[$meta])* fn $name<$world: $crate::both::World>() $body)*

        $crate::both!(@in epoll, $crate::OnEpoll, $($name)*);
        $crate::both!(@in fake, $crate::OnFake, $($name)*);
        $crate::both!(@in ring, $crate::proactor::OnRing, $($name)*);
        $crate::both!(@in fake_proactor, $crate::proactor::OnFake, $($name)*);
    };
    (@in $module:ident, $world:ty, $($name:ident)*) => {
        $crate::both!(@by <$world as $crate::both::World>::run, $module, $world, $($name)*);
    };
    (@by $run:expr, $module:ident, $world:ty, $($name:ident)*) => {
        mod $module {
            $(#[test]
            fn $name() {
                let path = concat!(module_path!(), "::", stringify!($name));
                let (_, test) = path.split_once("::").expect("the crate's name comes first");
                $run(test, super::$name::<$world>);
            })*
        }
    };
}
