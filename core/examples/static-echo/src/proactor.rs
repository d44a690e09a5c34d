//! The server as a proactor: it asks for what is to be done, and is told what came of it.
//!
//! **Invariants.** *INV-ECHO-4*: a connection has one operation under way, which has its buffer: so nothing is received
//! while something is left to send. *INV-ECHO-5*: a place is given away when its descriptor is closed, which is when its
//! operation has settled: so no completion is for the one before. *INV-ECHO-6*: one accept is under way while a place is
//! free, and none otherwise.

#![forbid(unsafe_code)]

use core::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::handle::{File, TimerId};
use linux_event_core::place::Place;
use linux_event_core::proactor::{
    Completion, Event, Memory, OperationMemory, Options, Proactor, Request, RingMemory, Storage,
    Uring, op,
};
use linux_event_core::sys::{Fd, Linux, Sockets};

use static_start::exit;

use crate::failure::{Failure, OrFail};
use crate::listener;
use crate::program::{ACCEPT_PAUSE, BUFFER_BYTES, CONNECTIONS, ENDS, TIMERS, Token};

/// Each connection's operation and its closing, and the accept.
const OPERATIONS: usize = 2 * CONNECTIONS + 1;

/// The ring takes two pages, so that each of its parts is one: a kernel before 6.10 takes no more.
type Ring = RingMemory<64, 128>;
type Buffer = &'static mut [u8];
type Backend = Uring<Buffer>;
type Tables = Storage<Token, OPERATIONS, TIMERS>;
type Loop = Proactor<Buffer, Token, OPERATIONS, TIMERS, Backend, &'static mut Tables>;
type Connections = [Connection; CONNECTIONS];
type Buffers = [[u8; BUFFER_BYTES]; CONNECTIONS];

// In `.bss`: no part of the binary, and no memory before they are used.
static RING: Place<Ring> = Place::new(RingMemory::new());
static OPERATION_MEMORY: Place<OperationMemory<OPERATIONS>> = Place::new(OperationMemory::new());
static TABLES: Place<Tables> = Place::new(Storage::new());
static PLACES: Place<Connections> = Place::new([const { Connection::NONE }; CONNECTIONS]);
static BUFFERS: Place<Buffers> = Place::new([[0; BUFFER_BYTES]; CONNECTIONS]);

struct Connection {
    /// `None` is a free place.
    file: Option<File>,
    idle: Option<TimerId>,
    /// Its buffer, when no operation has it; a place that was never taken has none.
    buffer: Option<Buffer>,
    /// What is to be sent: so many bytes from the buffer's start.
    filled: usize,
}

impl Connection {
    const NONE: Self = Self {
        file: None,
        idle: None,
        buffer: None,
        filled: 0,
    };
}

struct Server {
    proactor: Loop,
    listener: File,
    /// INV-ECHO-6.
    is_accepting: bool,
    connections: &'static mut Connections,
    /// Of the places that were never taken.
    buffers: core::slice::IterMut<'static, [u8; BUFFER_BYTES]>,
    idle: Duration,
}

/// Serves until SIGINT or SIGTERM; tells the port when it does.
pub(crate) fn serve(listener: Fd, idle: Duration, port: Option<u16>) -> ! {
    let (Some(ring), Some(operations), Some(tables), Some(connections), Some(buffers)) = (
        RING.take(),
        OPERATION_MEMORY.take(),
        TABLES.take(),
        PLACES.take(),
        BUFFERS.take(),
    ) else {
        exit(1) // they are taken once, here
    };
    let memory = Memory::new().ring(ring).operations(operations);
    let uring = Uring::with_memory(Linux, Options::DEFAULT, memory).or_fail();
    let mut proactor = match Proactor::over(uring, tables) {
        Ok(proactor) => proactor,
        Err((error, ..)) => Err(error).or_fail(),
    };
    proactor.signal(ENDS, Token::End).or_fail();
    // The ring waits for it.
    Linux
        .set_non_blocking(listener.borrow(), false)
        .map_err(Failure::Socket)
        .or_fail();
    let mut server = Server {
        listener: proactor
            .adopt(listener)
            .map_err(|(error, _)| error)
            .or_fail(),
        proactor,
        is_accepting: false,
        connections,
        buffers: buffers.iter_mut(),
        idle,
    };
    server.accept();
    listener::tell(port);
    loop {
        server.proactor.wait(None).or_fail();
        while let Some(event) = server.proactor.next() {
            match event {
                Event::Completion(completion) => server.complete(completion),
                Event::Timer {
                    data: Token::AcceptAgain,
                    ..
                } => {
                    server.is_accepting = false;
                    server.accept();
                }
                Event::Timer {
                    data: Token::Idle(place),
                    ..
                } => server.close(place),
                Event::Signal { .. } => exit(0),
                _ => {}
            }
        }
    }
}

impl Server {
    /// Asks for the next connection, if there is a place for it (INV-ECHO-6).
    fn accept(&mut self) {
        if !self.is_accepting && self.connections.iter().any(|place| place.file.is_none()) {
            self.proactor
                .submit(op::accept(self.listener), Token::Accept)
                .map_err(|refused| refused.error)
                .or_fail();
            self.is_accepting = true;
        }
    }

    /// Goes on with whatever an operation was for.
    fn complete(&mut self, completion: Completion<Token, Backend>) {
        let outcome = completion.outcome();
        match completion.data {
            Token::Accept => {
                self.is_accepting = false;
                if let Some(socket) = completion.into_descriptor() {
                    self.welcome(socket);
                } else if !matches!(outcome, Err(Errno::ECONNABORTED | Errno::EINTR)) {
                    // Descriptors or memory are short: asked again at once, it would be refused again and again.
                    self.proactor
                        .after(ACCEPT_PAUSE, Token::AcceptAgain)
                        .or_fail();
                    self.is_accepting = true;
                }
                self.accept();
            }
            Token::Received(place) | Token::Sent(place) => {
                let is_sent = matches!(completion.data, Token::Sent(_));
                let Some(connection) = self.connections.get_mut(usize::from(place)) else {
                    return;
                };
                connection.buffer = completion.into_buffer();
                match outcome {
                    Ok(count) if count > 0 => {
                        let count = count as usize;
                        if is_sent {
                            connection.keep_rest(count);
                        } else {
                            connection.filled = count;
                        }
                        self.go_on(place);
                    }
                    // The end of the stream, when everything was sent; an error; or the end of the connection by its timer.
                    _ => self.close(place),
                }
            }
            Token::Closed(place) => {
                if let Some(connection) = self.connections.get_mut(usize::from(place)) {
                    connection.file = None; // INV-ECHO-5
                }
                self.accept();
            }
            Token::AcceptAgain | Token::Idle(_) | Token::End => {}
        }
    }

    /// Gives a new connection a place. There is one: INV-ECHO-6.
    fn welcome(&mut self, socket: Fd) {
        let mut places = self.connections.iter_mut().enumerate();
        let Some((place, connection)) = places.find(|(_, place)| place.file.is_none()) else {
            return;
        };
        let _ = Linux.set_no_delay(socket.borrow(), true);
        if connection.buffer.is_none() {
            connection.buffer = self.buffers.next().map(<[u8; BUFFER_BYTES]>::as_mut_slice);
        }
        let place = place as u16;
        connection.filled = 0;
        connection.file = Some(
            self.proactor
                .adopt(socket)
                .map_err(|(error, _)| error)
                .or_fail(),
        );
        connection.idle = Some(self.proactor.after(self.idle, Token::Idle(place)).or_fail());
        self.go_on(place);
    }

    /// Sends what is left to send, else receives (INV-ECHO-4).
    fn go_on(&mut self, place: u16) {
        let Some(Connection {
            file: Some(file),
            idle: Some(idle),
            buffer,
            filled,
        }) = self.connections.get_mut(usize::from(place))
        else {
            return;
        };
        let Some(buffer) = buffer.take() else {
            return;
        };
        let deadline = self.proactor.now() + self.idle;
        self.proactor.reschedule(*idle, deadline);
        let (request, token): (Request<Buffer>, Token) = if *filled > 0 {
            let send = op::send(*file, buffer).limit(*filled as u32);
            (send.into(), Token::Sent(place))
        } else {
            (op::recv(*file, buffer).into(), Token::Received(place))
        };
        self.proactor
            .submit(request, token)
            .map_err(|refused| refused.error)
            .or_fail();
    }

    /// Ends a connection: what is under way on it settles first, and then the place is free (INV-ECHO-5).
    fn close(&mut self, place: u16) {
        let Some(connection) = self.connections.get_mut(usize::from(place)) else {
            return;
        };
        // Its timer is there until it is closing.
        if let (Some(file), Some(idle)) = (connection.file, connection.idle.take()) {
            self.proactor.cancel(idle);
            self.proactor.close(file, Token::Closed(place)).or_fail();
        }
    }
}

impl Connection {
    /// So many bytes were sent: the rest comes to the buffer's start.
    fn keep_rest(&mut self, sent: usize) {
        let (start, end) = (sent, self.filled);
        self.filled = end.saturating_sub(start);
        if let Some(buffer) = &mut self.buffer
            && start < end
            && end <= buffer.len()
        {
            buffer.copy_within(start..end, 0);
        }
    }
}
