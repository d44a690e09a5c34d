//! The server: a listener and a fixed number of connections, each with a buffer of its own.
//!
//! **What.** [`Server::handle`] does what a token's event asks for.
//!
//! **Invariants.** *INV-ECHO-1*: nothing is read while something is left to write. So a peer that doesn't take its
//! bytes back is not read from, and at the end of the stream everything has been written. *INV-ECHO-2*: the listener
//! is watched only while a place is free.
//!
//! **Why this shape.** A token names a place, so an event needs no look-up; a watcher is cancelled before its place is
//! given away, so an event can't be for the one before.

use core::net::SocketAddr;
use core::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::handle::Watcher;
use linux_event_core::place::Place;
use linux_event_core::reactor::Interest;
use linux_event_core::sys::{Domain, Fd, Linux, SocketKind, Sockets};

use crate::{Failure, Loop, Token};

/// So many connections are served at a time.
pub(crate) const CONNECTIONS: usize = 8;
const BUFFER_BYTES: usize = 4096;
/// When descriptors or memory are short, accepting is tried again after so long.
const PAUSE: Duration = Duration::from_millis(100);

type Connections = [Option<Connection>; CONNECTIONS];

static PLACES: Place<Connections> = Place::new([const { None }; CONNECTIONS]);
static BUFFERS: Place<[[u8; BUFFER_BYTES]; CONNECTIONS]> =
    Place::new([[0; BUFFER_BYTES]; CONNECTIONS]);

pub(crate) struct Server {
    listener: Fd,
    listening: Watcher,
    connections: &'static mut Connections,
    buffers: &'static mut [[u8; BUFFER_BYTES]; CONNECTIONS],
    bytes: u64,
}

struct Connection {
    socket: Fd,
    watcher: Watcher,
    /// What is to be written: this part of its buffer.
    start: usize,
    end: usize,
}

impl Server {
    /// Listens on `address`; returns the address with the port that it got.
    pub(crate) fn listen(
        reactor: &mut Loop,
        address: SocketAddr,
    ) -> Result<(Self, SocketAddr), Failure> {
        let listener = Linux.socket(Domain::of(&address), SocketKind::Stream)?;
        Linux.set_reuse_address(listener.borrow(), true)?;
        Linux.bind(listener.borrow(), address)?;
        Linux.listen(listener.borrow(), 4096)?;
        let bound = Linux.local_address(listener.borrow())?.unwrap_or(address);
        let server = Self {
            listening: reactor.watch(&listener, Interest::READ, Token::Listener)?,
            listener,
            connections: PLACES.take().expect("taken once"),
            buffers: BUFFERS.take().expect("taken once"),
            bytes: 0,
        };
        Ok((server, bound))
    }

    /// Bytes echoed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Does what can be done now.
    pub(crate) fn handle(&mut self, reactor: &mut Loop, token: Token) -> Result<(), Failure> {
        match token {
            Token::Listener => self.accept(reactor),
            Token::Connection(place) => self.echo(reactor, place),
            Token::AcceptAgain => self.watch_listener(reactor),
            _ => Ok(()),
        }
    }

    /// Accepts who is waiting, into the free places.
    fn accept(&mut self, reactor: &mut Loop) -> Result<(), Failure> {
        while let Some(place) = self.connections.iter().position(Option::is_none) {
            match Linux.accept(self.listener.borrow()) {
                Ok((socket, _)) => {
                    Linux.set_no_delay(socket.borrow(), true)?;
                    let watcher =
                        reactor.watch(&socket, Interest::READ, Token::Connection(place))?;
                    self.connections[place] = Some(Connection {
                        socket,
                        watcher,
                        start: 0,
                        end: 0,
                    });
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                    // Watched on, it would be reported again and again.
                    reactor.disable(self.listening, Interest::READ)?;
                    reactor.after(PAUSE, Token::AcceptAgain)?;
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        reactor.disable(self.listening, Interest::READ)?; // INV-ECHO-2
        Ok(())
    }

    /// Watches the listener again, if there is a place (INV-ECHO-2).
    fn watch_listener(&mut self, reactor: &mut Loop) -> Result<(), Failure> {
        if self.connections.iter().any(Option::is_none) {
            reactor.enable(self.listening, Interest::READ)?;
        }
        Ok(())
    }

    /// Writes what is kept, or else reads once and writes that.
    fn echo(&mut self, reactor: &mut Loop, place: usize) -> Result<(), Failure> {
        let Some(connection) = &mut self.connections[place] else {
            return Ok(());
        };
        let buffer = &mut self.buffers[place];
        let was_writing = connection.start < connection.end;
        if !was_writing {
            match Linux.recv(connection.socket.borrow(), buffer) {
                Ok(0) => {
                    let _ = Linux.shutdown_write(connection.socket.borrow());
                    return self.close(reactor, place);
                }
                Ok(count) => (connection.start, connection.end) = (0, count),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
                Err(_) => return self.close(reactor, place),
            }
        }
        let kept = &buffer[connection.start..connection.end];
        match Linux.send(connection.socket.borrow(), kept) {
            Ok(count) => {
                connection.start += count;
                self.bytes += count as u64;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return self.close(reactor, place),
        }
        let is_writing = connection.start < connection.end;
        if was_writing != is_writing {
            let interest = if is_writing {
                Interest::WRITE
            } else {
                Interest::READ
            };
            reactor.set_interest(connection.watcher, interest)?;
        }
        Ok(())
    }

    /// Ends a connection: first its watcher, then the socket. There is a place now.
    fn close(&mut self, reactor: &mut Loop, place: usize) -> Result<(), Failure> {
        if let Some(connection) = self.connections[place].take() {
            reactor.cancel(connection.watcher);
        }
        self.watch_listener(reactor)
    }
}
