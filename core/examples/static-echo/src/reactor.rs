//! The server as a reactor: it is told who is ready, and calls.
//!
//! **Invariants.** *INV-ECHO-1*: nothing is received while something is left to send. So a peer that does not take its bytes
//! back is not read from, and at the end of the stream everything has been sent. *INV-ECHO-2*: the listener is watched only
//! while a place is free. *INV-ECHO-3*: a connection's watcher and timer are cancelled before its place is given away, so
//! that an event is never for the one before.

#![forbid(unsafe_code)]

use core::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::handle::{TimerId, Watcher};
use linux_event_core::place::Place;
use linux_event_core::reactor::{Epoll, Event, Interest, Reactor, Storage};
use linux_event_core::sys::{Fd, Linux, Sockets};

use static_start::exit;

use crate::failure::OrFail;
use crate::listener;
use crate::program::{ACCEPT_PAUSE, BUFFER_BYTES, CONNECTIONS, ENDS, TIMERS, Token};

/// The connections, the listener and the signals.
const WATCHERS: usize = CONNECTIONS + 2;
/// So often a connection receives and sends before others have their turn.
const ROUNDS_MAX: u32 = 16;

type Tables = Storage<Token, WATCHERS, TIMERS>;
type Loop = Reactor<Token, WATCHERS, TIMERS, Epoll, &'static mut Tables>;
type Connections = [Option<Connection>; CONNECTIONS];
type Buffers = [[u8; BUFFER_BYTES]; CONNECTIONS];

// In `.bss`: no part of the binary, and no memory before they are used.
static TABLES: Place<Tables> = Place::new(Storage::new());
static PLACES: Place<Connections> = Place::new([const { None }; CONNECTIONS]);
static BUFFERS: Place<Buffers> = Place::new([[0; BUFFER_BYTES]; CONNECTIONS]);

struct Connection {
    socket: Fd,
    watcher: Watcher,
    idle: TimerId,
    /// What is to be sent: this part of its buffer.
    start: usize,
    end: usize,
}

struct Server {
    reactor: Loop,
    listener: Fd,
    listening: Watcher,
    connections: &'static mut Connections,
    buffers: &'static mut Buffers,
    idle: Duration,
}

/// Serves until SIGINT or SIGTERM; tells the port when it does.
pub(crate) fn serve(listener: Fd, idle: Duration, port: Option<u16>) -> ! {
    let (Some(tables), Some(connections), Some(buffers)) =
        (TABLES.take(), PLACES.take(), BUFFERS.take())
    else {
        exit(1) // they are taken once, here
    };
    let mut reactor = Reactor::with_storage(Epoll::new().or_fail(), tables);
    reactor.signal(ENDS, Token::End).or_fail();
    let listening = reactor
        .watch(&listener, Interest::READ, Token::Accept)
        .or_fail();
    let mut server = Server {
        reactor,
        listener,
        listening,
        connections,
        buffers,
        idle,
    };
    listener::tell(port);
    loop {
        server.reactor.wait(None).or_fail();
        while let Some(event) = server.reactor.next() {
            let (Event::Ready { data, .. }
            | Event::Timer { data, .. }
            | Event::Signal { data, .. }) = event
            else {
                continue;
            };
            match data {
                Token::Accept => server.accept(),
                Token::AcceptAgain => server.listen(true),
                Token::Received(place) | Token::Sent(place) => server.echo(place),
                Token::Idle(place) | Token::Closed(place) => server.close(place),
                Token::End => exit(0),
            }
        }
    }
}

impl Server {
    /// Accepts who is waiting, into the free places.
    fn accept(&mut self) {
        for place in 0..CONNECTIONS {
            let Some(vacant @ None) = self.connections.get_mut(place) else {
                continue;
            };
            match Linux.accept(self.listener.borrow()) {
                Ok((socket, _)) => {
                    let token = Token::Received(place as u16);
                    let _ = Linux.set_no_delay(socket.borrow(), true);
                    *vacant = Some(Connection {
                        watcher: self.reactor.watch(&socket, Interest::READ, token).or_fail(),
                        idle: self
                            .reactor
                            .after(self.idle, Token::Idle(place as u16))
                            .or_fail(),
                        socket,
                        start: 0,
                        end: 0,
                    });
                }
                // There is nobody, or who was there has left: if somebody else is there, it is reported again.
                Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => return,
                // Watched on, it would be reported again and again.
                Err(_) => {
                    self.reactor
                        .after(ACCEPT_PAUSE, Token::AcceptAgain)
                        .or_fail();
                    return self.listen(false);
                }
            }
        }
        self.listen(false); // INV-ECHO-2
    }

    /// Watches the listener, or does not (INV-ECHO-2).
    fn listen(&mut self, on: bool) {
        let interest = if on {
            Interest::READ
        } else {
            Interest::empty()
        };
        self.reactor
            .set_interest(self.listening, interest)
            .or_fail();
    }

    /// Receives and sends, as far as a connection is ready (INV-ECHO-1).
    fn echo(&mut self, place: u16) {
        let (Some(Some(connection)), Some(buffer)) = (
            self.connections.get_mut(usize::from(place)),
            self.buffers.get_mut(usize::from(place)),
        ) else {
            return;
        };
        let socket = connection.socket.borrow();
        let mut interest = Interest::READ;
        for _ in 0..ROUNDS_MAX {
            let rest = buffer
                .get(connection.start..connection.end)
                .unwrap_or_default();
            let moved = if rest.is_empty() {
                interest = Interest::READ;
                Linux.recv(socket, buffer)
            } else {
                interest = Interest::WRITE;
                Linux.send(socket, rest)
            };
            match moved {
                Ok(0) => return self.close(place),
                Ok(count) if interest == Interest::READ => {
                    (connection.start, connection.end) = (0, count);
                }
                Ok(count) => connection.start += count,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return self.close(place),
            }
        }
        let deadline = self.reactor.now() + self.idle;
        self.reactor.reschedule(connection.idle, deadline);
        self.reactor
            .set_interest(connection.watcher, interest)
            .or_fail();
    }

    /// Ends a connection (INV-ECHO-3).
    fn close(&mut self, place: u16) {
        let place = self.connections.get_mut(usize::from(place));
        if let Some(connection) = place.and_then(Option::take) {
            self.reactor.cancel(connection.watcher);
            self.reactor.cancel(connection.idle);
        }
        self.listen(true);
    }
}
