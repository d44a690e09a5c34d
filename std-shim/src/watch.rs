//! Watching descriptors: what only a loop of the reactor model can do.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::Watcher;
use linux_event_core::reactor::{Interest, Mode, Ready};
use linux_event_core::sys::RawFd;

use crate::callbacks::{Part, ReadyCallback};
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::{LoopBackend, Reactor};
use crate::net::Owner;

/// What a loop over the backend `B` can watch: any [`AsFd`], and for the fake its own descriptors.
pub trait Source<B> {
    /// The descriptor's number.
    fn number(&self) -> RawFd;
}

impl<T: AsFd> Source<crate::Epoll> for T {
    fn number(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A watcher in the making: say what to call, then [`start`](Self::start).
///
/// Nothing is watched before `start`, and dropping it does nothing.
#[must_use = "nothing is watched before `start`"]
pub struct Watch<'a, B: LoopBackend, S> {
    event_loop: &'a mut Loop<Reactor<B>, S>,
    fd: RawFd,
    interest: Interest,
    mode: Mode,
    callbacks: [Option<ReadyCallback<Reactor<B>, S>>; 3],
}

impl<B: LoopBackend, S> Watch<'_, B, S> {
    fn on<R: Outcome>(
        mut self,
        part: Part,
        interest: Interest,
        callback: impl FnMut(&mut Loop<Reactor<B>, S>, Watcher, Ready) -> R + 'static,
    ) -> Self {
        self.callbacks[part as usize] = Some(boxed(callback));
        self.interest |= interest;
        self
    }

    /// Calls `callback` when reading will not block, at the end of the stream, and at a hang-up (R-3).
    ///
    /// A callback outlives the function that makes it, so it owns what it uses; what several callbacks use goes into
    /// the loop's state.
    ///
    /// ```
    /// # let mut event_loop = linux_event::Loop::reactor_with(Vec::<u8>::new())?;
    /// # let (reader, _writer) = std::io::pipe()?;
    /// event_loop.watch(&reader).on_read(|event_loop, _, _| event_loop.state.push(1)).start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// What is borrowed from the function does not compile:
    ///
    /// ```compile_fail,E0597
    /// # let mut event_loop = linux_event::Loop::reactor_with(Vec::<u8>::new())?;
    /// # let (reader, _writer) = std::io::pipe()?;
    /// let mut local = Vec::new();
    /// let borrowed = &mut local;
    /// event_loop.watch(&reader).on_read(move |_, _, _| borrowed.push(1)).start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_read<R: Outcome>(
        self,
        callback: impl FnMut(&mut Loop<Reactor<B>, S>, Watcher, Ready) -> R + 'static,
    ) -> Self {
        self.on(Part::Read, Interest::READ, callback)
    }

    /// Calls `callback` when writing will not block.
    pub fn on_write<R: Outcome>(
        self,
        callback: impl FnMut(&mut Loop<Reactor<B>, S>, Watcher, Ready) -> R + 'static,
    ) -> Self {
        self.on(Part::Write, Interest::WRITE, callback)
    }

    /// Calls `callback` at an error, before the others; without it an error counts as readable and writable (R-3).
    pub fn on_error<R: Outcome>(
        self,
        callback: impl FnMut(&mut Loop<Reactor<B>, S>, Watcher, Ready) -> R + 'static,
    ) -> Self {
        self.on(Part::Error, Interest::ERROR, callback)
    }

    /// Has the read callback called for exceptional conditions too, with [`Ready::PRIORITY`].
    pub fn priority(mut self) -> Self {
        self.interest |= Interest::PRIORITY;
        self
    }

    /// Has the read callback told when the peer shut down its writing side, with [`Ready::READ_CLOSED`].
    pub fn read_closed(mut self) -> Self {
        self.interest |= Interest::READ_CLOSED;
        self
    }

    /// Reports changes, not states (R-8): read or write until EAGAIN.
    pub fn edge(mut self) -> Self {
        self.mode |= Mode::EDGE;
        self
    }

    /// Reports once, then not again until [`Loop::enable`] or [`Loop::rearm`] (R-7).
    pub fn oneshot(mut self) -> Self {
        self.mode |= Mode::ONESHOT;
        self
    }

    /// Of several loops that watch the same file, wakes one (R-8).
    pub fn exclusive(mut self) -> Self {
        self.mode |= Mode::EXCLUSIVE;
        self
    }

    /// Leaves `interest` out for now: see [`Loop::enable`].
    pub fn disabled(mut self, interest: Interest) -> Self {
        self.interest -= interest;
        self
    }

    /// Begins to watch. A watcher that the descriptor had is replaced: its callbacks are dropped (R-4).
    ///
    /// # Errors
    /// [`LoopError::NotPollable`] for regular files and directories (R-11); [`LoopError::Invalid`] for an exclusive
    /// watcher that is oneshot or asks for `PRIORITY` or `READ_CLOSED`, and for an interest that no callback takes;
    /// [`LoopError::Full`]; [`LoopError::Os`] with EBADF, ENOSPC or ENOMEM; [`LoopError::Forked`].
    pub fn start(self) -> Result<Watcher, Error> {
        let takes_reads = self.callbacks[Part::Read as usize].is_some();
        if !takes_reads
            && self
                .interest
                .intersects(Interest::PRIORITY | Interest::READ_CLOSED)
        {
            return Err(LoopError::Invalid(NO_CALLBACK).into());
        }
        let core = &mut self.event_loop.model.core;
        let replaced = core.watcher_of(self.fd);
        let watched = core.watch_with(self.fd, self.interest, self.mode, ());
        // A watcher that was refused before the kernel was asked replaces nothing.
        let gone = replaced.filter(|&old| !core.contains(old));
        let callbacks = &mut self.event_loop.callbacks;
        // Dropped when all is in its place: they are the user's, and may panic.
        let _replaced = gone.map(|old| callbacks.vacate_watch(old));
        let watcher = watched?;
        let _left = callbacks.fill_watch(watcher, self.callbacks);
        Ok(watcher)
    }
}

const NO_CALLBACK: &str = "there is no callback for this interest: set one first";

fn boxed<B: LoopBackend, S, R: Outcome>(
    mut callback: impl FnMut(&mut Loop<Reactor<B>, S>, Watcher, Ready) -> R + 'static,
) -> ReadyCallback<Reactor<B>, S> {
    Box::new(move |event_loop, watcher, ready| callback(event_loop, watcher, ready).into_result())
}

impl<B: LoopBackend, S> Loop<Reactor<B>, S> {
    /// Watches `fd`: say what to call, then [`start`](Watch::start). The loop never owns nor closes it (R-10), and it
    /// should be non-blocking.
    pub fn watch(&mut self, fd: &(impl Source<B> + ?Sized)) -> Watch<'_, B, S> {
        Watch {
            fd: fd.number(),
            event_loop: self,
            interest: Interest::empty(),
            mode: Mode::empty(),
            callbacks: [None, None, None],
        }
    }

    /// Ends the watcher of `fd`, if it has one. Do this before closing the descriptor.
    pub fn unwatch(&mut self, fd: &(impl Source<B> + ?Sized)) -> bool {
        match self.model.core.watcher_of(fd.number()) {
            Some(watcher) => self.cancel(watcher),
            None => false,
        }
    }

    /// The watcher of `fd`, if it has one.
    pub fn watcher_of(&self, fd: &(impl Source<B> + ?Sized)) -> Option<Watcher> {
        self.model.core.watcher_of(fd.number())
    }

    /// What a watcher asks for; `None` if it is gone.
    pub fn interest(&self, watcher: Watcher) -> Option<Interest> {
        self.model.core.interest(watcher)
    }

    /// Asks for `interest` too, or again: this arms a oneshot watcher (R-7). The kernel hears of what has changed in
    /// the end, once, at the next wait (R-12).
    ///
    /// # Errors
    /// [`LoopError::Stale`]; [`LoopError::Invalid`] if there is no callback for it; [`LoopError::Forked`].
    pub fn enable(&mut self, watcher: Watcher, interest: Interest) -> Result<(), Error> {
        let slot = self.callbacks.watch(watcher).ok_or(LoopError::Stale)?;
        if !slot.takes(Ready::from(interest)) {
            return Err(LoopError::Invalid(NO_CALLBACK).into());
        }
        Ok(self.model.core.enable(watcher, interest)?)
    }

    /// Asks for `interest` no longer: its callback is not called again, not even for what was fetched already.
    ///
    /// # Errors
    /// [`LoopError::Stale`]; [`LoopError::Forked`].
    pub fn disable(&mut self, watcher: Watcher, interest: Interest) -> Result<(), Error> {
        Ok(self.model.core.disable(watcher, interest)?)
    }

    /// Has the kernel look again, whatever the mode: if the descriptor is ready, it is reported (R-7).
    ///
    /// # Errors
    /// [`LoopError::Stale`]; [`LoopError::Forked`].
    pub fn rearm(&mut self, watcher: Watcher) -> Result<(), Error> {
        Ok(self.model.core.rearm(watcher)?)
    }

    /// Changes a watcher's mode (R-8).
    ///
    /// # Errors
    /// [`LoopError::Stale`]; [`LoopError::Invalid`] for what exclusive excludes; [`LoopError::Forked`].
    pub fn set_mode(&mut self, watcher: Watcher, mode: Mode) -> Result<(), Error> {
        Ok(self.model.core.set_mode(watcher, mode)?)
    }

    /// Why the kernel refused a watcher's last change; `None` if it did not (R-12).
    pub fn watch_error(&self, watcher: Watcher) -> Option<Errno> {
        self.model.core.watch_error(watcher)
    }

    /// Replaces a watcher's read callback. It is not enabled by this.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn set_on_read<R: Outcome>(
        &mut self,
        watcher: Watcher,
        callback: impl FnMut(&mut Self, Watcher, Ready) -> R + 'static,
    ) -> Result<(), Error> {
        self.set_callback(watcher, Part::Read, Some(boxed(callback)))
    }

    /// Replaces a watcher's write callback. It is not enabled by this.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn set_on_write<R: Outcome>(
        &mut self,
        watcher: Watcher,
        callback: impl FnMut(&mut Self, Watcher, Ready) -> R + 'static,
    ) -> Result<(), Error> {
        self.set_callback(watcher, Part::Write, Some(boxed(callback)))
    }

    /// Replaces a watcher's error callback. It is not enabled by this.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn set_on_error<R: Outcome>(
        &mut self,
        watcher: Watcher,
        callback: impl FnMut(&mut Self, Watcher, Ready) -> R + 'static,
    ) -> Result<(), Error> {
        self.set_callback(watcher, Part::Error, Some(boxed(callback)))
    }

    /// Drops the callbacks of `interest` and disables it.
    ///
    /// # Errors
    /// [`LoopError::Stale`]; [`LoopError::Forked`].
    pub fn clear_callbacks(&mut self, watcher: Watcher, interest: Interest) -> Result<(), Error> {
        let asked = Ready::from(interest);
        for part in Part::ALL {
            if asked.intersects(part.ready()) {
                let all = Interest::from_bits_truncate(part.ready().bits());
                self.model.core.disable(watcher, all)?;
                self.set_callback(watcher, part, None)?;
            }
        }
        Ok(())
    }

    fn set_callback(
        &mut self,
        watcher: Watcher,
        part: Part,
        callback: Option<ReadyCallback<Reactor<B>, S>>,
    ) -> Result<(), Error> {
        match self.callbacks.watch(watcher) {
            Some(slot) => {
                slot.set(part, callback);
                Ok(())
            }
            None => Err(LoopError::Stale.into()),
        }
    }

    /// Calls error, then read, then write (R-3). Between them the watcher may have been cancelled, replaced or
    /// disabled, and the loop stopped.
    #[inline(always)]
    pub(crate) fn dispatch_ready(
        &mut self,
        watcher: Watcher,
        ready: Ready,
    ) -> Result<(), BoxError> {
        // One part alone, as nearly always, needs no second look: the engine has just looked.
        if Part::Read.ready().contains(ready)
            && let Some(callback) = self.take_callback(watcher, Part::Read)
        {
            return self.call(watcher, Part::Read, ready, callback);
        }
        self.dispatch_parts(watcher, ready)
    }

    /// Watches a descriptor for the net layer.
    pub(crate) fn watch_net(
        &mut self,
        fd: RawFd,
        interest: Interest,
        owner: Owner,
    ) -> Result<Watcher, LoopError> {
        let core = &mut self.model.core;
        let replaced = core.watcher_of(fd);
        let watched = core.watch_with(fd, interest, Mode::empty(), ());
        let gone = replaced.filter(|&old| !core.contains(old));
        let _replaced = gone.map(|old| self.callbacks.vacate_watch(old));
        let watcher = watched?;
        let _left = self.callbacks.fill_net_watch(watcher, owner);
        Ok(watcher)
    }

    /// What is reported to the net layer goes there whole.
    #[inline(never)]
    fn dispatch_parts(&mut self, watcher: Watcher, mut ready: Ready) -> Result<(), BoxError> {
        if let Some(owner) = self.callbacks.net_owner(watcher) {
            return self.net_ready(owner, ready);
        }
        for part in Part::ALL {
            let mine = ready & part.ready();
            if mine.is_empty() {
                continue;
            }
            let Some(interest) = self.model.core.interest(watcher) else {
                return Ok(());
            };
            if mine.intersects(Ready::from(interest)) {
                let hangup = ready & Ready::HANGUP;
                ready -= mine;
                let called = match self.take_callback(watcher, part) {
                    Some(callback) => self.call(watcher, part, mine | hangup, callback),
                    None => Ok(()),
                };
                let left = ready.difference(Ready::HANGUP);
                if (called.is_err() || self.is_stopping()) && !left.is_empty() {
                    self.keep_rest(watcher, ready);
                    return called;
                }
                called?;
            } else {
                ready -= mine;
                self.model.core.note_suppressed(watcher);
            }
        }
        Ok(())
    }

    /// Takes a callback out of its slot, to be called (INV-SLOT-1).
    #[inline(always)]
    fn take_callback(
        &mut self,
        watcher: Watcher,
        part: Part,
    ) -> Option<ReadyCallback<Reactor<B>, S>> {
        self.callbacks.watch(watcher)?.take(part)
    }

    /// Calls a callback that was taken out of its slot, and puts it back.
    #[inline(always)]
    fn call(
        &mut self,
        watcher: Watcher,
        part: Part,
        ready: Ready,
        mut callback: ReadyCallback<Reactor<B>, S>,
    ) -> Result<(), BoxError> {
        self.current = Some(watcher.handle());
        let called = callback(self, watcher, ready);
        self.current = None;
        if let Some(slot) = self.callbacks.watch(watcher) {
            slot.put_back(part, callback);
        }
        called
    }
}

impl<B: LoopBackend, S> std::fmt::Debug for Watch<'_, B, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("fd", &self.fd)
            .field("interest", &self.interest)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
