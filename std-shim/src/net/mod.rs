//! Listen, connect, stream: the same application code over readiness, over completion, and over the fake.
//!
//! **What.** [`Listener`] accepts, [`Connector`] connects, [`Stream`] carries bytes or messages, with backpressure,
//! [`Datagram`] packets. What they are is a handle: `Copy`,
//! checked, kept wherever one likes; what belongs to it is in the loop. A function that is generic over [`Net`] runs on every
//! model:
//!
//! ```
//! use linux_event::{Error, Loop};
//! use linux_event::codec::Line;
//! use linux_event::net::{Listener, Net, Stream};
//!
//! /// Sends every line back.
//! fn line_echo<M: Net, S>(event_loop: &mut Loop<M, S>, address: &str) -> Result<Listener, Error> {
//!     Listener::tcp(event_loop, address).start(|event_loop, _, socket| {
//!         Stream::over(event_loop, socket)
//!             .throttled()
//!             .on_message(Line::new(4096), |event_loop, stream, line| {
//!                 stream.write_message(event_loop, line).map(drop)
//!             })
//!             .start()
//!             .map(drop)
//!     })
//! }
//!
//! let mut event_loop = Loop::reactor()?;
//! let listener = line_echo(&mut event_loop, "127.0.0.1:0")?;
//! # let address = listener.local_address(&mut event_loop)?.internet().unwrap();
//! # let waker = event_loop.waker()?;
//! # let client = std::thread::spawn(move || {
//! #     use std::io::{Read, Write};
//! #     let mut client = std::net::TcpStream::connect(address).unwrap();
//! #     client.write_all(b"hello\nworld\n").unwrap();
//! #     client.shutdown(std::net::Shutdown::Write).unwrap();
//! #     let mut text = String::new();
//! #     client.read_to_string(&mut text).unwrap();
//! #     waker.stop();
//! #     text
//! # });
//! event_loop.run()?;
//! # assert_eq!(client.join().unwrap(), "hello\nworld\n");
//! # Ok::<(), linux_event::Error>(())
//! ```
//!
//! # What to know
//!
//! - **Nothing is called inside a call.** Writing, resuming, closing note what is wanted; what comes of it is told in the same
//!   turn or a later one, never before the call returns (P-2).
//! - **A stale handle** gives an error or `false`, and reaches nobody else.
//! - **Memory.** A stream that has nothing to send and no part of a message holds no buffer, on any kernel: what comes is received
//!   into one of 64 KiB, or over completion into 128 of 8 KiB, that all streams of a loop share. What a slow reader lets pile up
//!   is what the program writes: see [`StreamBuilder::throttled`] and [`StreamBuilder::pending_max`].
//! - **A panic** in a callback of a stream or listener, or in a stream's codec or transport, ends that one, without telling it, and
//!   nothing else.
//! - **An error** that a callback returns stops the loop, as everywhere; what accepting a connection returns goes to the
//!   listener's [`on_error`](ListenerBuilder::on_error) if it has one.

#![forbid(unsafe_code)]

mod address;
mod bind;
mod connector;
mod datagram;
mod drive;
mod listener;
mod model;
mod proactor;
mod reactor;
mod socket;
mod sockets;
mod stream;
mod table;

pub use address::Address;
pub use bind::Bind;
pub use connector::{ConnectError, Connector, ConnectorBuilder, Failure, Question, Target};
pub use datagram::{Datagram, DatagramBuilder, DatagramError, SendError};
pub use listener::{ListenError, Listener, ListenerBuilder};
pub use model::Net;
pub use socket::{IntoSocket, Socket};
pub use sockets::{KernelSockets, SocketCalls, socket_calls};
pub use stream::{
    Detached, Flow, Stream, StreamBuilder, StreamError, Timeout, Transport, WriteError,
};

pub(crate) use drive::{NetTables, OpTag, Owner};
pub(crate) use proactor::{ProactorIo, ProactorShared};
pub(crate) use reactor::ReactorIo;
