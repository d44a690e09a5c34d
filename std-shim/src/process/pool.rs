//! A bound on how many children run at once.
//!
//! **What.** A [`Pool`] starts what it is given while fewer than its limit run, and queues the rest, first in, first out
//! (Q-4).
//!
//! **Invariants.** *INV-POOL-1*: unless the pool was removed, `running` counts the children that were started through it and
//! whose exit was not told. *INV-POOL-2*: between calls nothing waits while there is a place.
//!
//! **Why this shape.** A place is handed on before the program hears of the exit: a callback that fails or panics holds
//! nobody up. That a pool is idle is told by a deferred call, which looks again: never inside a call of the program's.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;

use super::child::{self, Child};
use super::command::{Command, SpawnError};
use super::pipes::Spawn;
use crate::error::{BoxError, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;

type DrainCallback<M, S> = Box<dyn FnOnce(&mut Loop<M, S>) -> Result<(), BoxError>>;

/// Names a pool of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolId {
    index: u32,
    generation: u32,
}

/// Bounds how many children run at once: a handle. See the [module](super).
///
/// ```
/// use linux_event::Loop;
/// use linux_event::process::Pool;
///
/// let mut event_loop = Loop::reactor_with(0)?;
/// let pool = Pool::new(&mut event_loop, 2);
/// for _ in 0..5 {
///     let job = event_loop.command("true").on_exit(|event_loop, _| event_loop.state += 1);
///     pool.spawn(&mut event_loop, job)?;
/// }
/// assert_eq!((pool.running(&event_loop), pool.queued(&event_loop)), (2, 3));
/// pool.on_drain(&mut event_loop, |event_loop| assert_eq!(event_loop.state, 5));
/// event_loop.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool(PoolId);

/// A command that waits for its turn: a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queued {
    pool: PoolId,
    number: u64,
}

/// What became of a command that a pool took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// It runs.
    Started(Child),
    /// It waits for its turn. [`on_start`](Command::on_start) tells of it.
    Queued(Queued),
}

struct State<M: Model, S> {
    max: usize,
    running: usize,
    queue: VecDeque<(u64, Box<Command<M, S>>)>,
    next: u64,
    on_drain: Vec<DrainCallback<M, S>>,
    /// A deferred call will look whether the pool is idle.
    looks: bool,
}

struct Slot<M: Model, S> {
    generation: u32,
    state: Option<State<M, S>>,
}

/// The pools of a loop.
pub(crate) struct Pools<M: Model, S> {
    slots: Vec<Slot<M, S>>,
    salt: u32,
}

impl<M: Model, S> Pools<M, S> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            salt: super::salt(),
        }
    }

    fn get(&self, pool: PoolId) -> Option<&State<M, S>> {
        let slot = self.slots.get(pool.index as usize)?;
        slot.state
            .as_ref()
            .filter(|_| slot.generation == pool.generation)
    }

    fn get_mut(&mut self, pool: PoolId) -> Option<&mut State<M, S>> {
        let slot = self.slots.get_mut(pool.index as usize)?;
        slot.state
            .as_mut()
            .filter(|_| slot.generation == pool.generation)
    }
}

impl Pool {
    /// A pool in which at most `children_max` run: `usize::MAX` for any number, 0 for none until it is
    /// [raised](Self::set_max).
    pub fn new<M: Spawn, S>(event_loop: &mut Loop<M, S>, children_max: usize) -> Self {
        let Pools { slots, salt } = &mut event_loop.pools;
        let index = slots
            .iter()
            .position(|slot| slot.state.is_none())
            .unwrap_or_else(|| {
                slots.push(Slot {
                    generation: *salt,
                    state: None,
                });
                slots.len() - 1
            });
        let slot = &mut slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = Some(State {
            max: children_max,
            running: 0,
            queue: VecDeque::new(),
            next: 0,
            on_drain: Vec::new(),
            looks: false,
        });
        Self(PoolId {
            index: index as u32,
            generation: slot.generation,
        })
    }

    /// Starts a command, or queues it.
    ///
    /// # Errors
    /// As [`Command::spawn`], with the command; what can't be a command is refused here too, not when its turn comes. One
    /// whose program turns out to be missing then has an [exit](Command::on_exit) with the error.
    /// [`NotFound`](std::io::ErrorKind::NotFound) if the pool was [removed](Self::remove).
    pub fn spawn<M: Spawn, S>(
        self,
        event_loop: &mut Loop<M, S>,
        command: Command<M, S>,
    ) -> Result<Job, SpawnError<M, S>> {
        if let Err(error) = command.check() {
            let command = Box::new(command);
            return Err(SpawnError { error, command });
        }
        let Some(state) = event_loop.pools.get_mut(self.0) else {
            let error = std::io::Error::new(std::io::ErrorKind::NotFound, "the pool is gone");
            let command = Box::new(command);
            return Err(SpawnError { error, command });
        };
        let command = Box::new(command);
        if state.running >= state.max || !state.queue.is_empty() {
            let number = state.next;
            state.next += 1;
            state.queue.push_back((number, command));
            return Ok(Job::Queued(Queued {
                pool: self.0,
                number,
            }));
        }
        match child::launch(event_loop, command, Some(self.0)) {
            Ok(child) => {
                if let Some(state) = event_loop.pools.get_mut(self.0) {
                    state.running += 1;
                }
                Ok(Job::Started(child))
            }
            Err((error, command)) => Err(SpawnError { error, command }),
        }
    }

    /// How many run.
    pub fn running<M: Model, S>(self, event_loop: &Loop<M, S>) -> usize {
        event_loop
            .pools
            .get(self.0)
            .map_or(0, |state| state.running)
    }

    /// How many wait.
    pub fn queued<M: Model, S>(self, event_loop: &Loop<M, S>) -> usize {
        event_loop
            .pools
            .get(self.0)
            .map_or(0, |state| state.queue.len())
    }

    /// How many may run.
    pub fn max<M: Model, S>(self, event_loop: &Loop<M, S>) -> usize {
        event_loop.pools.get(self.0).map_or(0, |state| state.max)
    }

    /// Sets how many may run. Raising starts what waits; lowering leaves alone what runs.
    pub fn set_max<M: Spawn, S>(self, event_loop: &mut Loop<M, S>, children_max: usize) {
        if let Some(state) = event_loop.pools.get_mut(self.0) {
            state.max = children_max;
            start_queued(event_loop, self.0);
        }
    }

    /// Takes out of the queue what `cancels` says, and drops it untold; returns how many.
    pub fn cancel_queued<M: Spawn, S>(
        self,
        event_loop: &mut Loop<M, S>,
        mut cancels: impl FnMut(&Command<M, S>) -> bool,
    ) -> usize {
        let Some(state) = event_loop.pools.get_mut(self.0) else {
            return 0;
        };
        let before = state.queue.len();
        state.queue.retain(|(_, command)| !cancels(command));
        let cancelled = before - state.queue.len();
        look_if_idle(event_loop, self.0);
        cancelled
    }

    /// Calls `callback` once, in the first turn that begins with nothing running and nothing waiting: the next one, if that is
    /// so now.
    pub fn on_drain<M: Spawn, S, R: Outcome>(
        self,
        event_loop: &mut Loop<M, S>,
        callback: impl FnOnce(&mut Loop<M, S>) -> R + 'static,
    ) {
        if let Some(state) = event_loop.pools.get_mut(self.0) {
            state.on_drain.push(Box::new(move |event_loop| {
                callback(event_loop).into_result()
            }));
            look_if_idle(event_loop, self.0);
        }
    }

    /// Ends the pool: what waits is dropped, what runs goes on by itself, and nobody hears that it is drained. False if it was
    /// gone.
    pub fn remove<M: Spawn, S>(self, event_loop: &mut Loop<M, S>) -> bool {
        if event_loop.pools.get(self.0).is_none() {
            return false;
        }
        let state = event_loop.pools.slots[self.0.index as usize].state.take();
        state.is_some()
    }
}

impl Queued {
    /// Whether it still waits.
    pub fn is_waiting<M: Model, S>(self, event_loop: &Loop<M, S>) -> bool {
        let state = event_loop.pools.get(self.pool);
        state.is_some_and(|state| state.queue.iter().any(|(number, _)| *number == self.number))
    }

    /// Takes it out of the queue, and gives it back; `None` if its turn has come.
    pub fn cancel<M: Spawn, S>(self, event_loop: &mut Loop<M, S>) -> Option<Command<M, S>> {
        let state = event_loop.pools.get_mut(self.pool)?;
        let mut numbers = state.queue.iter().map(|(number, _)| *number);
        let at = numbers.position(|number| number == self.number)?;
        let (_, command) = state.queue.remove(at)?;
        look_if_idle(event_loop, self.pool);
        Some(*command)
    }
}

/// A child of the pool has ended: its place is the next one's.
pub(super) fn child_ended<M: Spawn, S>(event_loop: &mut Loop<M, S>, pool: PoolId) {
    if let Some(state) = event_loop.pools.get_mut(pool) {
        state.running -= 1;
        start_queued(event_loop, pool);
    }
}

/// Starts what waits, as long as there is a place: INV-POOL-2.
fn start_queued<M: Spawn, S>(event_loop: &mut Loop<M, S>, pool: PoolId) {
    while let Some(state) = event_loop.pools.get_mut(pool)
        && state.running < state.max
        && let Some((_, command)) = state.queue.pop_front()
    {
        match child::launch(event_loop, command, Some(pool)) {
            Ok(_) => {
                if let Some(state) = event_loop.pools.get_mut(pool) {
                    state.running += 1;
                }
            }
            Err((error, command)) => child::not_started(event_loop, error, command),
        }
    }
    look_if_idle(event_loop, pool);
}

/// Has a later turn look whether the pool is idle, if anybody wants to know.
fn look_if_idle<M: Spawn, S>(event_loop: &mut Loop<M, S>, pool: PoolId) {
    let Some(state) = event_loop.pools.get_mut(pool) else {
        return;
    };
    let is_idle = state.running == 0 && state.queue.is_empty();
    if !is_idle || state.on_drain.is_empty() || std::mem::replace(&mut state.looks, true) {
        return;
    }
    event_loop.defer(move |event_loop| {
        let Some(state) = event_loop.pools.get_mut(pool) else {
            return Ok(());
        };
        state.looks = false;
        if state.running > 0 || !state.queue.is_empty() || state.on_drain.is_empty() {
            return Ok(());
        }
        let callback = state.on_drain.remove(0);
        // The next one looks again, and has its turn also if this one fails.
        look_if_idle(event_loop, pool);
        callback(event_loop)
    });
}

impl<M: Model, S> fmt::Debug for State<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("max", &self.max)
            .field("running", &self.running)
            .field("queued", &self.queue.len())
            .finish_non_exhaustive()
    }
}
