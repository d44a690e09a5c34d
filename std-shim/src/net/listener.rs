//! Accepting connections.
//!
//! **What.** [`Listener`] is the handle, [`ListenerBuilder`] says where and how to listen. What was accepted goes to a callback,
//! `max_accept_per_turn` a turn at most (L-2). Where and with which options is rule L-1.
//!
//! **Invariants.** *INV-LISTENER-1*: a connection that was accepted is told, in order, each once: one that comes while the listener
//! is paused waits, and one that comes while it closes is told before it is gone (L-4, P-5). *INV-LISTENER-2*: a listener that is
//! out of descriptors or memory is paused before anybody is told, and accepts no more in that turn, whoever resumes it: it does not
//! spin, and what is closed meanwhile is closed before it tries again (L-3).
//!
//! **Why this shape.** A reactor accepts when it wants to, a ring accepts ahead. One queue of what was accepted makes pausing,
//! closing and the limit of a turn the same in both.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::TimerId;
use linux_event_core::sys::SocketKind;

use super::address::Address;
use super::bind::{Bind, BindOptions, Named, OwnPath, bound};
use super::drive::Owner;
use super::model::Net;
use super::socket::{IntoSocket, Socket, os_error};
use super::sockets::SocketCalls;
use super::table::Id;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;

type Called = Result<(), BoxError>;
type AcceptCallback<M, S> =
    Box<dyn FnMut(&mut Loop<M, S>, Listener, <M as Model>::Socket) -> Called>;
type ErrorCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, Listener, ListenError) -> Called>;

/// A listener of a loop: a handle, which is `Copy`. Once the listener is closed it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener(pub(crate) Id);

/// What happened to a listener.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// EMFILE, ENFILE, ENOBUFS or ENOMEM: there is nothing to accept with. The listener is paused; [`Listener::resume`] it when
    /// something was closed, or have it [try again](ListenerBuilder::retry_after) by itself (L-3).
    Exhausted(Errno),
    /// It can't accept any more, and is closed.
    Failed(Errno),
    /// What the callback that was called with a connection returned. The listener goes on.
    Callback(BoxError),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted(errno) => write!(f, "accepting is paused: {errno}"),
            Self::Failed(errno) => write!(f, "accepting has failed: {errno}"),
            Self::Callback(error) => write!(f, "a connection was not begun: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// What a listener listens on.
enum Place<M: Net> {
    Bound(Named),
    Adopted(Result<Socket<M>, Errno>),
}

#[derive(Clone, Copy, Debug)]
struct Options {
    backlog: u32,
    bind: BindOptions,
    per_turn: u32,
    retry: Option<Duration>,
}

/// A listener in its table.
pub(crate) struct ListenerEntry<M: Model, S> {
    pub(crate) io: M::Io,
    on_accept: Option<AcceptCallback<M, S>>,
    on_error: Option<ErrorCallback<M, S>>,
    has_on_error: bool,
    /// What was accepted and not told yet: INV-LISTENER-1.
    waiting: VecDeque<M::Socket>,
    is_paused: bool,
    is_closing: bool,
    is_uncounted: bool,
    /// How long it pauses for want of descriptors, if that ends by itself.
    retry: Option<Duration>,
    /// What ends it, while it does.
    retry_timer: Option<TimerId>,
    per_turn: u32,
    /// The turn that was looked at last, and how many were told of in it.
    turn: (u64, u32),
    /// The path to take away in the end.
    path: Option<OwnPath>,
    pub(crate) fault: Option<LoopError>,
    pub(crate) is_attended: bool,
}

impl<M: Model, S> ListenerEntry<M, S> {
    /// Whether to accept more: a ring, which accepts ahead, as long as what waits is not another turn's work.
    pub(crate) fn wants_accept(&self) -> bool {
        let has_room = self.waiting.len() < self.per_turn as usize;
        !self.is_paused && !self.is_closing && self.fault.is_none() && has_room
    }
}

/// A listener in the making. Nothing is bound before [`start`](Self::start).
#[must_use = "nothing listens before `start`"]
pub struct ListenerBuilder<'a, M: Net, S> {
    event_loop: &'a mut Loop<M, S>,
    place: Place<M>,
    options: Options,
    on_error: Option<ErrorCallback<M, S>>,
}

impl Listener {
    fn builder<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        place: Place<M>,
    ) -> ListenerBuilder<'_, M, S> {
        ListenerBuilder {
            event_loop,
            place,
            options: Options {
                backlog: 4096,
                bind: BindOptions {
                    reuse_address: true,
                    ..BindOptions::DEFAULT
                },
                per_turn: 128,
                retry: None,
            },
            on_error: None,
        }
    }

    /// Listens for TCP: see [`Bind`] for where.
    #[doc(alias = "bind")]
    pub fn tcp<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        address: impl Into<Bind>,
    ) -> ListenerBuilder<'_, M, S> {
        Self::builder(event_loop, Place::Bound(Named::Internet(address.into())))
    }

    /// Listens on a unix socket, whose path is made, and taken away in the end. One that begins with a zero byte is abstract
    /// (`unix(7)`).
    pub fn unix<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        path: impl AsRef<Path>,
    ) -> ListenerBuilder<'_, M, S> {
        Self::builder(
            event_loop,
            Place::Bound(Named::Unix(path.as_ref().to_owned())),
        )
    }

    /// Goes on with a socket that listens already: one that was inherited, or made elsewhere. It is closed in the end; who wants
    /// to keep it gives a duplicate (`try_clone`). Nothing is unlinked.
    ///
    /// Blocking or not is a mode of the socket that its duplicates share: the reactor wants the one, the proactor the other. So one
    /// socket is for loops of one model.
    pub fn adopt<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        socket: impl IntoSocket<M>,
    ) -> ListenerBuilder<'_, M, S> {
        let socket = socket.into_socket(event_loop.model.calls()).map(Socket);
        Self::builder(event_loop, Place::Adopted(socket))
    }

    fn entry<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
    ) -> Result<&mut ListenerEntry<M, S>, Error> {
        let entry = event_loop.net.listeners.get_mut(self.0);
        let entry = entry.filter(|entry| !entry.is_closing);
        Ok(entry.ok_or(LoopError::Stale)?)
    }

    /// Accepts no more until [`resume`](Self::resume). Who connects meanwhile waits in the backlog.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn pause<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.set_paused(event_loop, true)
    }

    /// Ends a [`pause`](Self::pause), the listener's own for want of descriptors too.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn resume<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.set_paused(event_loop, false)
    }

    /// It is the program's word from now on: a pause that would have ended by itself does not.
    fn set_paused<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
        is_paused: bool,
    ) -> Result<(), Error> {
        let entry = self.entry(event_loop)?;
        entry.is_paused = is_paused;
        if let Some(timer) = entry.retry_timer.take() {
            event_loop.cancel(timer);
        }
        event_loop.attend(Owner::Listener(self.0));
        Ok(())
    }

    /// Closes. Who was accepted already is still told of, who was not sees a reset (L-4).
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn close<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<(), Error> {
        self.entry(event_loop)?.is_closing = true;
        event_loop.attend(Owner::Listener(self.0));
        Ok(())
    }

    /// Sets whether the listener keeps [`run`](Loop::run) going; at first it does.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn set_counted<M: Net, S>(
        self,
        event_loop: &mut Loop<M, S>,
        counted: bool,
    ) -> Result<(), Error> {
        let entry = self.entry(event_loop)?;
        entry.is_uncounted = !counted;
        let mut io = std::mem::take(&mut entry.io);
        if let Some(timer) = entry.retry_timer {
            event_loop.set_counted(timer, counted);
        }
        M::set_io_counted(event_loop, &mut io, counted);
        self.entry(event_loop)?.io = io;
        Ok(())
    }

    /// Whether it is paused; false if it is gone.
    pub fn is_paused<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        let entry = event_loop.net.listeners.get(self.0);
        entry.is_some_and(|entry| entry.is_paused)
    }

    /// Whether it is there, and not closing.
    pub fn is_open<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        let entry = event_loop.net.listeners.get(self.0);
        entry.is_some_and(|entry| !entry.is_closing)
    }

    /// Where it listens, with the port that it got.
    ///
    /// # Errors
    /// [`LoopError::Stale`].
    pub fn local_address<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> Result<Address, Error> {
        let entry = event_loop.net.listeners.get(self.0);
        let entry = entry.filter(|entry| !entry.is_closing);
        let entry = entry.ok_or(LoopError::Stale)?;
        let local = event_loop
            .model
            .with_socket(&entry.io, SocketCalls::local_address);
        local
            .ok_or(LoopError::Stale)?
            .map_err(|errno| os_error("getsockname", errno))
    }
}

impl<M: Net, S> ListenerBuilder<'_, M, S> {
    /// Connections that may wait to be accepted: 4096 at first; the kernel caps it at `net.core.somaxconn`.
    pub const fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// Whether TCP may bind while old connections of its port linger (`SO_REUSEADDR`); at first it may.
    pub const fn reuse_address(mut self, on: bool) -> Self {
        self.options.bind.reuse_address = on;
        self
    }

    /// Whether several listeners share the address, and the kernel spreads connections among them (`SO_REUSEPORT`).
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.options.bind.reuse_port = on;
        self
    }

    /// Whether an IPv6 listener takes no IPv4 (`IPV6_V6ONLY`), set before it is bound; at first as the system has it.
    pub const fn v6_only(mut self, on: bool) -> Self {
        self.options.bind.v6_only = Some(on);
        self
    }

    /// Takes the path of a unix socket away before binding, if a socket is there; what is no socket is left, and binding fails.
    pub const fn unlink(mut self, on: bool) -> Self {
        self.options.bind.unlink = on;
        self
    }

    /// Whether the path of a unix socket is taken away in the end; at first it is.
    pub const fn unlink_on_close(mut self, on: bool) -> Self {
        self.options.bind.unlink_on_close = on;
        self
    }

    /// Connections that one turn tells of at most: 128 at first, and at least 1. The rest is the next turn's (L-2).
    pub fn max_accept_per_turn(mut self, connections: u32) -> Self {
        self.options.per_turn = connections.max(1);
        self
    }

    /// Ends the pause for want of descriptors or memory after so long: who waits in the backlog is then tried again, and again after
    /// so long if it is no better (L-3). 100 ms is a good time; zero would make the loop spin, and is a millisecond. Without it only
    /// [`Listener::resume`] ends the pause.
    ///
    /// The callback of [`on_error`](Self::on_error) is called all the same; without one, the loop goes on.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.options.retry = Some(pause.max(Duration::from_millis(1)));
        self
    }

    /// Calls `callback` with what happens to the listener. Without it an error stops the loop and comes out of
    /// [`run`](Loop::run).
    pub fn on_error<R: Outcome>(
        mut self,
        mut callback: impl FnMut(&mut Loop<M, S>, Listener, ListenError) -> R + 'static,
    ) -> Self {
        self.on_error = Some(Box::new(move |event_loop, listener, error| {
            callback(event_loop, listener, error).into_result()
        }));
        self
    }

    /// Binds, listens, and calls `on_accept` with each connection: in a later turn, never inside this call (P-2).
    ///
    /// # Errors
    /// [`Error::Socket`] with the call that failed: EADDRINUSE, EADDRNOTAVAIL, EACCES; of an adopted socket EINVAL if it does
    /// not listen; [`LoopError::Invalid`] for text that is no address; [`LoopError::Full`]; [`LoopError::Forked`].
    pub fn start<R: Outcome>(
        self,
        mut on_accept: impl FnMut(&mut Loop<M, S>, Listener, Socket<M>) -> R + 'static,
    ) -> Result<Listener, Error> {
        let Self {
            event_loop,
            place,
            options,
            on_error,
        } = self;
        let (socket, path) = listen::<M>(event_loop.model.calls(), place, options)?;
        let io = event_loop
            .model
            .take_in(socket)
            .map_err(|(error, _)| error)?;
        let id = event_loop.net.listeners.insert(ListenerEntry {
            io,
            on_accept: Some(Box::new(move |event_loop, listener, socket| {
                on_accept(event_loop, listener, Socket(socket)).into_result()
            })),
            has_on_error: on_error.is_some(),
            on_error,
            waiting: VecDeque::new(),
            is_paused: false,
            is_closing: false,
            is_uncounted: false,
            retry: options.retry,
            retry_timer: None,
            per_turn: options.per_turn,
            turn: (0, 0),
            path,
            fault: None,
            is_attended: false,
        });
        event_loop.attend(Owner::Listener(id));
        Ok(Listener(id))
    }
}

impl<M: Net, S> fmt::Debug for ListenerBuilder<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A socket that listens, and the path to take away in the end.
fn listen<M: Net>(
    calls: &mut M::Calls,
    place: Place<M>,
    options: Options,
) -> Result<(M::Socket, Option<OwnPath>), Error> {
    let (socket, path) = match place {
        Place::Bound(place) => bound::<M>(calls, place, SocketKind::Stream, options.bind)?,
        Place::Adopted(socket) => {
            let socket = socket.map_err(|errno| os_error("ioctl", errno))?.0;
            return match calls.is_listening(&socket) {
                Ok(true) => Ok((socket, None)),
                Ok(false) => Err(os_error("accept", Errno::EINVAL)),
                Err(errno) => Err(os_error("getsockopt", errno)),
            };
        }
    };
    calls
        .listen(&socket, options.backlog)
        .map_err(|errno| os_error("listen", errno))?;
    Ok((socket, path))
}

impl<M: Net, S> Loop<M, S> {
    /// Sees to a listener in the queue: tells of who waits, then accepts as it wants.
    pub(crate) fn attend_listener(&mut self, id: Id) -> Called {
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return Ok(());
        };
        entry.is_attended = false;
        let fault = entry.fault.take();
        let mut told = match fault {
            Some(error) => self.accept_failed(id, error.errno().unwrap_or(Errno::ENOBUFS)),
            None => Ok(()),
        };
        while told.is_ok()
            && !self.is_stopping()
            && let Some(entry) = self.net.listeners.get_mut(id)
            && (!entry.is_paused || entry.is_closing)
            && !entry.waiting.is_empty()
        {
            if !self.listener_has_turn(id) {
                self.attend(Owner::Listener(id));
                break;
            }
            let entry = self.net.listeners.get_mut(id);
            let Some(socket) = entry.and_then(|entry| entry.waiting.pop_front()) else {
                break;
            };
            told = self.tell_accepted(id, socket);
        }
        M::update_listener(self, id);
        self.finish_listener(id);
        if let Some(entry) = self.net.listeners.get(id)
            && !entry.waiting.is_empty()
            && (!entry.is_paused || entry.is_closing)
        {
            self.attend(Owner::Listener(id));
        }
        told
    }

    /// Whether this turn may tell of another connection, which counts it.
    fn listener_has_turn(&mut self, id: Id) -> bool {
        let turn = self.stats().turns;
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return false;
        };
        if entry.turn.0 != turn {
            entry.turn = (turn, 0);
        }
        entry.turn.1 < entry.per_turn
    }

    /// Whether a reactor is to accept another connection now.
    pub(crate) fn listener_wants_more(&mut self, id: Id) -> bool {
        let entry = self.net.listeners.get(id);
        entry.is_some_and(|entry| entry.wants_accept() && entry.waiting.is_empty())
            && !self.is_stopping()
            && self.listener_has_turn(id)
    }

    /// A connection was accepted: told now, or kept until it may be.
    pub(crate) fn accepted(&mut self, id: Id, socket: M::Socket) -> Called {
        let may_tell = !self.is_stopping() && self.listener_has_turn(id);
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return Ok(());
        };
        if may_tell && entry.waiting.is_empty() && (!entry.is_paused || entry.is_closing) {
            return self.tell_accepted(id, socket);
        }
        entry.waiting.push_back(socket);
        if !entry.is_paused || entry.is_closing {
            self.attend(Owner::Listener(id));
        }
        Ok(())
    }

    fn tell_accepted(&mut self, id: Id, socket: M::Socket) -> Called {
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return Ok(());
        };
        entry.turn.1 += 1;
        let Some(mut callback) = entry.on_accept.take() else {
            return Ok(());
        };
        self.net.has_told = true;
        self.net.current = Some(Owner::Listener(id));
        let called = callback(self, Listener(id), socket);
        self.net.current = None;
        if let Some(entry) = self.net.listeners.get_mut(id) {
            entry.on_accept = Some(callback);
        }
        match called {
            Err(error) if self.has_listen_error(id) => {
                self.tell_listen_error(id, ListenError::Callback(error))
            }
            called => called,
        }
    }

    fn has_listen_error(&self, id: Id) -> bool {
        let entry = self.net.listeners.get(id);
        entry.is_some_and(|entry| entry.has_on_error)
    }

    fn tell_listen_error(&mut self, id: Id, error: ListenError) -> Called {
        let entry = self.net.listeners.get_mut(id);
        let Some(mut callback) = entry.and_then(|entry| entry.on_error.take()) else {
            return Err(error.into());
        };
        self.net.has_told = true;
        self.net.current = Some(Owner::Listener(id));
        let called = callback(self, Listener(id), error);
        self.net.current = None;
        if let Some(entry) = self.net.listeners.get_mut(id) {
            entry.on_error = Some(callback);
        }
        called
    }

    /// Accepting has failed, in one way or another.
    pub(crate) fn accept_failed(&mut self, id: Id, errno: Errno) -> Called {
        let turn = self.stats().turns;
        match errno {
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
                let Some(entry) = self.net.listeners.get_mut(id) else {
                    return Ok(());
                };
                if entry.is_closing {
                    return Ok(());
                }
                entry.is_paused = true; // INV-LISTENER-2
                entry.turn = (turn, entry.per_turn);
                if self.retry_listening(id) && !self.has_listen_error(id) {
                    return Ok(());
                }
                self.tell_listen_error(id, ListenError::Exhausted(errno))
            }
            Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK | Errno::EPERM => {
                let Some(entry) = self.net.listeners.get_mut(id) else {
                    return Ok(());
                };
                if entry.is_closing {
                    return Ok(());
                }
                entry.is_closing = true;
                self.attend(Owner::Listener(id));
                self.tell_listen_error(id, ListenError::Failed(errno))
            }
            // The connection's own trouble, which `accept(2)` passes on: ECONNABORTED, EINTR, and what TCP has learned.
            _ => {
                if let Some(entry) = self.net.listeners.get_mut(id) {
                    entry.turn.1 += 1; // a flood of them does not hold the turn up
                }
                Ok(())
            }
        }
    }

    /// Has the pause end by itself; false if it does not.
    fn retry_listening(&mut self, id: Id) -> bool {
        let Some(entry) = self.net.listeners.get(id) else {
            return false;
        };
        let Some(pause) = entry.retry else {
            return false;
        };
        if entry.retry_timer.is_some() {
            return true;
        }
        let (deadline, is_uncounted) = (self.model.read_clock() + pause, entry.is_uncounted);
        let Ok(timer) = self.net_timer_at(Owner::Listener(id), deadline) else {
            return false; // without room for a timer somebody has to be told
        };
        if is_uncounted {
            self.model.set_counted(timer.handle(), false);
        }
        if let Some(entry) = self.net.listeners.get_mut(id) {
            entry.retry_timer = Some(timer);
        }
        true
    }

    /// The pause is over.
    pub(crate) fn listener_timer(&mut self, id: Id) {
        if let Some(entry) = self.net.listeners.get_mut(id) {
            entry.retry_timer = None;
            entry.is_paused = false;
            self.attend(Owner::Listener(id));
        }
    }

    /// Lets a listener go that is closing and has told of everybody.
    pub(crate) fn finish_listener(&mut self, id: Id) {
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return;
        };
        if !entry.is_closing || !entry.waiting.is_empty() {
            return;
        }
        let mut io = std::mem::take(&mut entry.io);
        // Nothing is under way on it: nobody comes any more.
        let Some(socket) = M::release_io(self, &mut io) else {
            if let Some(entry) = self.net.listeners.get_mut(id) {
                entry.io = io;
            }
            return;
        };
        self.model.calls().close(socket);
        self.forget_listener(id);
    }

    fn forget_listener(&mut self, id: Id) {
        let Some(entry) = self.net.listeners.remove(id) else {
            return;
        };
        if let Some(timer) = entry.retry_timer {
            self.cancel(timer);
        }
        if let Some(path) = entry.path {
            path.remove::<M>(self.model.calls());
        }
    }

    /// Closes a listener at once.
    pub(crate) fn close_listener(&mut self, id: Id) {
        let Some(entry) = self.net.listeners.get_mut(id) else {
            return;
        };
        let io = std::mem::take(&mut entry.io);
        M::close_io(self, io);
        self.forget_listener(id);
    }
}
