//! Clients for the server: each sends, shuts down its write side, and checks what comes back.
//!
//! **What.** [`Clients::connect`] starts them all; [`Clients::handle`] takes their events until none
//! [is busy](Clients::are_busy).
//!
//! **Invariants.** *INV-CLIENTS-1*: a client has succeeded only if all of its own bytes came back, in their order, and
//! then the end of the stream.
//!
//! **Why this shape.** They share the server's loop: one thread, both sides of each connection.

use core::net::SocketAddr;

use linux_event_core::errno::Errno;
use linux_event_core::handle::Watcher;
use linux_event_core::place::Place;
use linux_event_core::reactor::{Interest, Ready};
use linux_event_core::sys::{Domain, Fd, Linux, SocketKind, Sockets};

use crate::{Failure, Loop, Token};

/// More than the server serves at a time.
pub(crate) const CLIENTS: usize = 20;
/// What each of them sends.
const BYTES_EACH: usize = 100_000;
const BUFFER_BYTES: usize = 4096;

type Places = [Option<Client>; CLIENTS];

static PLACES: Place<Places> = Place::new([const { None }; CLIENTS]);

pub(crate) struct Clients {
    places: &'static mut Places,
    busy: usize,
    errors: usize,
}

struct Client {
    socket: Fd,
    watcher: Watcher,
    sent: usize,
    received: usize,
}

/// Where a client stands.
enum Progress {
    /// It goes on.
    Busy,
    /// All is sent: there is only reading left.
    Sent,
    /// It has ended, well or not.
    Over(bool),
}

impl Clients {
    /// Connects all clients to `server`.
    pub(crate) fn connect(reactor: &mut Loop, server: SocketAddr) -> Result<Self, Failure> {
        let places = PLACES.take().expect("taken once");
        for (place, client) in places.iter_mut().enumerate() {
            let socket = Linux.socket(Domain::of(&server), SocketKind::Stream)?;
            match Linux.connect(socket.borrow(), server) {
                Ok(()) | Err(Errno::EINPROGRESS) => {} // decided when it becomes writable
                Err(errno) => return Err(errno.into()),
            }
            let interest = Interest::READ | Interest::WRITE;
            *client = Some(Client {
                watcher: reactor.watch(&socket, interest, Token::Client(place))?,
                socket,
                sent: 0,
                received: 0,
            });
        }
        Ok(Self {
            places,
            busy: CLIENTS,
            errors: 0,
        })
    }

    /// Whether any has not ended.
    pub(crate) fn are_busy(&self) -> bool {
        self.busy > 0
    }

    /// How many did not get back what they sent.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Lets a client read and write, as far as it is ready.
    pub(crate) fn handle(
        &mut self,
        reactor: &mut Loop,
        place: usize,
        ready: Ready,
    ) -> Result<(), Failure> {
        let Some(client) = &mut self.places[place] else {
            return Ok(());
        };
        let mut progress = Progress::Busy;
        if ready.contains(Ready::READ) {
            progress = client.receive(place);
        }
        if ready.contains(Ready::WRITE) && matches!(progress, Progress::Busy) {
            progress = client.send(place);
        }
        match progress {
            Progress::Busy => {}
            Progress::Sent => reactor.disable(client.watcher, Interest::WRITE)?,
            Progress::Over(well) => {
                reactor.cancel(client.watcher);
                self.places[place] = None;
                self.busy -= 1;
                self.errors += usize::from(!well);
            }
        }
        Ok(())
    }
}

impl Client {
    /// Sends as much as goes; after the last byte, shuts down the write side.
    fn send(&mut self, place: usize) -> Progress {
        let mut buffer = [0; BUFFER_BYTES];
        let count = buffer.len().min(BYTES_EACH - self.sent);
        let bytes = &mut buffer[..count];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = pattern(place, self.sent + at);
        }
        match Linux.send(self.socket.borrow(), bytes) {
            Ok(count) => self.sent += count,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return Progress::Over(false),
        }
        if self.sent < BYTES_EACH {
            return Progress::Busy;
        }
        match Linux.shutdown_write(self.socket.borrow()) {
            Ok(()) => Progress::Sent,
            Err(_) => Progress::Over(false),
        }
    }

    /// Reads once, and checks what came (INV-CLIENTS-1).
    fn receive(&mut self, place: usize) -> Progress {
        let mut buffer = [0; BUFFER_BYTES];
        let count = match Linux.recv(self.socket.borrow(), &mut buffer) {
            Ok(0) => return Progress::Over(self.received == BYTES_EACH),
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return Progress::Busy,
            Err(_) => return Progress::Over(false),
        };
        let is_own = (self.received..)
            .zip(&buffer[..count])
            .all(|(at, byte)| *byte == pattern(place, at));
        self.received += count;
        if is_own && self.received <= self.sent {
            Progress::Busy
        } else {
            Progress::Over(false)
        }
    }
}

/// The byte that a client sends at a place of its stream.
fn pattern(client: usize, at: usize) -> u8 {
    ((at + client * 7) % 65_521 % 251) as u8
}
