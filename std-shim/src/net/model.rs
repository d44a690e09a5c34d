//! What a model does for the net layer.
//!
//! **Why this shape.** Streams and listeners are written once; what differs is how a socket is taken in, how it is read, and how
//! it is let go. One sealed trait carries that, with the state that a model keeps for a socket as a type of its own.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;

use super::address::Address;
use super::sockets::SocketCalls;
use super::table::Id;
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::model::Model;

/// A model that streams and listeners run on: every one. Sealed, as [`Model`] is.
///
/// Application code is generic over it: see the [module](super).
pub trait Net: Model + 'static {
    /// The socket calls of the backend.
    #[doc(hidden)]
    type Calls: SocketCalls<Socket = Self::Socket>;
    /// The mode that its sockets are in.
    #[doc(hidden)]
    const NON_BLOCKING: bool;

    #[doc(hidden)]
    fn calls(&mut self) -> &mut Self::Calls;
    /// Takes a socket in.
    #[doc(hidden)]
    fn take_in(&mut self, socket: Self::Socket) -> Result<Self::Io, (Error, Self::Socket)>;
    /// Asks something about a socket that was taken in; `None` if it was let go.
    #[doc(hidden)]
    fn with_socket<R>(
        &mut self,
        io: &Self::Io,
        call: impl FnOnce(&mut Self::Calls, &Self::Socket) -> R,
    ) -> Option<R>;
    /// Sees to a stream that has not begun, or has something to tell without a new event.
    #[doc(hidden)]
    fn attend_stream<S>(event_loop: &mut Loop<Self, S>, id: Id) -> Result<(), BoxError>;
    /// Sends, reads, shuts down as a stream's state wants.
    #[doc(hidden)]
    fn update_stream<S>(event_loop: &mut Loop<Self, S>, id: Id);
    /// Accepts as a listener wants.
    #[doc(hidden)]
    fn update_listener<S>(event_loop: &mut Loop<Self, S>, id: Id);
    /// Sends and receives as a datagram socket wants.
    #[doc(hidden)]
    fn update_datagram<S>(event_loop: &mut Loop<Self, S>, id: Id) -> Result<(), BoxError>;
    /// Ends what is under way on a socket, and closes it.
    #[doc(hidden)]
    fn close_io<S>(event_loop: &mut Loop<Self, S>, io: Self::Io);
    /// Gives a socket back that nothing is under way on; `None`, and the end of what is asked for, if something is.
    #[doc(hidden)]
    fn release_io<S>(event_loop: &mut Loop<Self, S>, io: &mut Self::Io) -> Option<Self::Socket>;
    /// Connects a socket for the attempt with this number.
    #[doc(hidden)]
    fn connect_io<S>(
        event_loop: &mut Loop<Self, S>,
        io: &mut Self::Io,
        address: &Address,
        id: Id,
        index: u32,
    ) -> Connecting;
    /// Whether the socket keeps the loop running.
    #[doc(hidden)]
    fn set_io_counted<S>(event_loop: &mut Loop<Self, S>, io: &mut Self::Io, counted: bool);
}

/// What comes of connecting.
#[doc(hidden)]
#[derive(Debug)]
pub enum Connecting {
    /// It will be told.
    UnderWay,
    /// A unix socket's backlog is full: it is to be tried again.
    Again,
    /// It is decided.
    Over(Result<(), Errno>),
}
