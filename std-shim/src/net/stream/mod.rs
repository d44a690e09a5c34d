//! A connection that carries bytes, or messages.
//!
//! **What.** [`Stream`] is the handle, [`StreamBuilder`] says what to call and how it is bounded. `state` is the stream without its
//! socket, `drive` tells the program what it answers. Rule M-1.
//!
//! **Why this shape.** What a stream is told to do is noted in its state, and its model sees to it once: when its callbacks are
//! done, or before the loop waits.

#![forbid(unsafe_code)]

mod drive;
mod errors;
mod handle;
pub(crate) mod output;
pub(crate) mod state;
mod transport;

use std::fmt;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::codec::Codec;
use linux_event_core::handle::TimerId;

use super::drive::Owner;
use super::model::Net;
use super::socket::{IntoSocket, Socket, os_error};
use super::table::Id;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;
use state::{Limits, State};

pub use errors::{StreamError, Timeout, WriteError};
pub use handle::Detached;
pub use transport::Transport;

type Called = Result<(), BoxError>;
type BytesCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, Stream, &[u8]) -> Called>;
type PlainCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, Stream) -> Called>;
type ErrorCallback<M, S> = Box<dyn FnMut(&mut Loop<M, S>, Stream, StreamError) -> Called>;
type DetachCallback<M, S> = Box<dyn FnOnce(&mut Loop<M, S>, Detached<M>) -> Called>;

/// A stream of a loop: a handle, which is `Copy`. Once the stream is closed it is stale, and reaches nobody else.
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use linux_event::Loop;
/// use linux_event::net::Stream;
///
/// let (ours, theirs) = UnixStream::pair()?;
/// let mut event_loop = Loop::reactor_with(Vec::new())?;
/// let stream = Stream::over(&mut event_loop, ours)
///     .on_data(|event_loop, _, bytes| event_loop.state.extend_from_slice(bytes))
///     .start()?;
/// stream.write(&mut event_loop, b"hello")?;
/// stream.end(&mut event_loop)?; // what is written goes, then the end
///
/// std::io::Write::write_all(&mut &theirs, b"world")?;
/// theirs.shutdown(std::net::Shutdown::Write)?;
/// event_loop.run()?; // until both sides have ended
/// assert_eq!(event_loop.state, b"world");
/// assert_eq!(std::io::read_to_string(&theirs)?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(pub(crate) Id);

/// What a write says of what is queued (M-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Write on.
    Open,
    /// It was taken, and more than the high watermark is queued: write no more until `on_drain` is called.
    Blocked,
}

/// What a stream calls. `None` while it runs.
pub(crate) struct Handlers<M: Model, S> {
    bytes: Option<BytesCallback<M, S>>,
    drain: Option<PlainCallback<M, S>>,
    eof: Option<PlainCallback<M, S>>,
    error: Option<ErrorCallback<M, S>>,
    close: Option<PlainCallback<M, S>>,
}

/// A stream in its table.
pub(crate) struct StreamEntry<M: Model, S> {
    pub(crate) state: State,
    pub(crate) io: M::Io,
    handlers: Handlers<M, S>,
    has_on_eof: bool,
    /// The timer that looks at the time, and when it will.
    timer: Option<(TimerId, Instant)>,
    /// A limit has passed, as far as was known before this turn's events: INV-STREAM-DRIVE-3.
    pub(crate) is_overdue: bool,
    on_detach: Option<DetachCallback<M, S>>,
    /// It is in the queue of those who want attention.
    pub(crate) is_attended: bool,
}

impl<M: Model, S> StreamEntry<M, S> {
    /// The time, as precisely as the stream needs it.
    pub(crate) fn clock(&self, model: &M) -> Instant {
        if self.state.has_timeouts() {
            model.read_clock()
        } else {
            model.now()
        }
    }
}

/// A stream in the making: say what to call, then [`start`](Self::start). Dropping it closes the socket.
#[must_use = "nothing is read or written before `start`"]
pub struct StreamBuilder<'a, M: Net, S> {
    event_loop: &'a mut Loop<M, S>,
    socket: Result<Socket<M>, Error>,
    codec: Option<Box<dyn Codec>>,
    transport: Option<Box<dyn Transport>>,
    limits: Limits,
    handlers: Handlers<M, S>,
}

impl Stream {
    /// A stream over a socket: one that a listener accepted, or over a kernel anything that turns into an
    /// [`OwnedFd`](std::os::fd::OwnedFd) and is a connected stream socket.
    pub fn over<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        socket: impl IntoSocket<M>,
    ) -> StreamBuilder<'_, M, S> {
        let socket = socket
            .into_socket(event_loop.model.calls())
            .map(Socket)
            .map_err(|errno| os_error("ioctl", errno));
        StreamBuilder {
            event_loop,
            socket,
            codec: None,
            transport: None,
            limits: Limits::default(),
            handlers: Handlers {
                bytes: None,
                drain: None,
                eof: None,
                error: None,
                close: None,
            },
        }
    }
}

impl<M: Net, S> StreamBuilder<'_, M, S> {
    /// Calls `callback` with bytes, in the pieces that they come in.
    pub fn on_data<R: Outcome>(
        mut self,
        mut callback: impl FnMut(&mut Loop<M, S>, Stream, &[u8]) -> R + 'static,
    ) -> Self {
        self.handlers.bytes = Some(Box::new(move |event_loop, stream, bytes| {
            callback(event_loop, stream, bytes).into_result()
        }));
        self.codec = None;
        self
    }

    /// Calls `callback` with messages, each whole, as `codec` has them: one of [`codec`](crate::codec), or one's own. What is no
    /// message, too long, or cut off by the end of the stream, ends the stream with [`StreamError::Message`].
    pub fn on_message<R: Outcome>(
        mut self,
        codec: impl Codec + 'static,
        mut callback: impl FnMut(&mut Loop<M, S>, Stream, &[u8]) -> R + 'static,
    ) -> Self {
        self.handlers.bytes = Some(Box::new(move |event_loop, stream, message| {
            callback(event_loop, stream, message).into_result()
        }));
        self.codec = Some(Box::new(codec));
        self
    }

    /// Calls `callback` once no more than the low watermark is queued, after more than the high one was (M-2).
    pub fn on_drain<R: Outcome>(
        mut self,
        mut callback: impl FnMut(&mut Loop<M, S>, Stream) -> R + 'static,
    ) -> Self {
        self.handlers.drain = Some(Box::new(move |event_loop, stream| {
            callback(event_loop, stream).into_result()
        }));
        self
    }

    /// Calls `callback` once, when the peer sends nothing more; writing still works. Without it the stream then
    /// [ends](Stream::end): it sends what is queued and closes.
    pub fn on_eof<R: Outcome>(
        mut self,
        mut callback: impl FnMut(&mut Loop<M, S>, Stream) -> R + 'static,
    ) -> Self {
        self.handlers.eof = Some(Box::new(move |event_loop, stream| {
            callback(event_loop, stream).into_result()
        }));
        self
    }

    /// Calls `callback` at most once, with what ends the stream; `on_close` comes after it (M-5).
    pub fn on_error<R: Outcome>(
        mut self,
        mut callback: impl FnMut(&mut Loop<M, S>, Stream, StreamError) -> R + 'static,
    ) -> Self {
        self.handlers.error = Some(Box::new(move |event_loop, stream, error| {
            callback(event_loop, stream, error).into_result()
        }));
        self
    }

    /// Calls `callback` exactly once, when the stream is over. The handle is stale by then (M-5).
    pub fn on_close<R: Outcome>(
        mut self,
        mut callback: impl FnMut(&mut Loop<M, S>, Stream) -> R + 'static,
    ) -> Self {
        self.handlers.close = Some(Box::new(move |event_loop, stream| {
            callback(event_loop, stream).into_result()
        }));
        self
    }

    /// Puts `transport` between the stream and its socket: encryption, as a rule. What is queued is then counted in bytes of
    /// the wire.
    #[doc(alias = "TLS")]
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Some(Box::new(transport));
        self
    }

    /// Sets the watermarks in bytes: more than `high` queued is [`Flow::Blocked`], and `low` or less then drains it. At first
    /// 1 MiB and 256 KiB; `low` is at most `high`.
    pub fn watermarks(mut self, low: usize, high: usize) -> Self {
        self.limits.high = high;
        self.limits.low = low.min(high);
        self
    }

    /// Refuses writes that would have more than `bytes` queued; at first without limit.
    pub fn pending_max(mut self, bytes: usize) -> Self {
        self.limits.pending_max = bytes;
        self
    }

    /// Ends the stream when more than `bytes` of a message have come and it is not complete: 8 MiB at first. The codec's own
    /// limit is the one to set.
    pub fn message_max(mut self, bytes: usize) -> Self {
        self.limits.input_max = bytes;
        self
    }

    /// Reads nothing while more than the high watermark is queued, until it has drained: for who answers what comes. A slow
    /// reader is throttled by this, and what it costs is bounded by the watermark and one read.
    pub const fn throttled(mut self) -> Self {
        self.limits.throttled = true;
        self
    }

    /// Ends the stream when nothing came and nothing went for so long.
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = Some(limit);
        self
    }

    /// Ends the stream when nothing came for so long, while it reads.
    pub const fn read_timeout(mut self, limit: Duration) -> Self {
        self.limits.read = Some(limit);
        self
    }

    /// Ends the stream when something is queued and nothing of it went for so long.
    pub const fn write_timeout(mut self, limit: Duration) -> Self {
        self.limits.write = Some(limit);
        self
    }

    /// Begins. Nothing is called before this returns (P-2).
    ///
    /// # Errors
    /// What the kernel said to the socket's mode; [`Full`](crate::LoopError::Full); [`Forked`](crate::LoopError::Forked). The
    /// socket is closed then.
    pub fn start(self) -> Result<Stream, Error> {
        let Self {
            event_loop,
            socket,
            codec,
            transport,
            limits,
            handlers,
        } = self;
        let io = event_loop
            .model
            .take_in(socket?.0)
            .map_err(|(error, _)| error)?;
        let has_timeouts = limits.idle.is_some() || limits.read.is_some() || limits.write.is_some();
        let now = if has_timeouts {
            event_loop.model.read_clock()
        } else {
            event_loop.model.now()
        };
        let mut state = State::new(codec, limits, now);
        if let Some(transport) = transport {
            state.set_transport(transport, &mut event_loop.net.spares);
        }
        let id = event_loop.net.streams.insert(StreamEntry {
            state,
            io,
            has_on_eof: handlers.eof.is_some(),
            handlers,
            timer: None,
            is_overdue: false,
            on_detach: None,
            is_attended: false,
        });
        event_loop.attend(Owner::Stream(id));
        Ok(Stream(id))
    }
}

impl<M: Net, S> fmt::Debug for StreamBuilder<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBuilder")
            .field("socket", &self.socket)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
