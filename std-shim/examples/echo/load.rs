//! The clients: a load for an echo server.
//!
//! **What.** [`run`] connects, sends, checks what comes back, and measures, in a loop of its own on the calling thread.
//!
//! **Invariants.** *INV-LOAD-1*: each client has exactly one message under way until it ends. *INV-LOAD-2*: a message
//! counts only if every byte that came back is the one that was sent at its place.
//!
//! **Why this shape.** With one message under way a client, the time of a message is what a request and its answer
//! cost. What is sent differs from message to message and from client to client, so that another's bytes would show.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use linux_event::{Epoll, Interest, Loop, Reactor, Watcher};

/// When the time is over, messages under way get so long to come back.
const GRACE: Duration = Duration::from_secs(5);
/// Messages start at so many places of the pattern. A prime, so that each step goes through all of them.
const STARTS: usize = 251;

type Clients = Loop<Reactor<Epoll>, Load>;

/// What load to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) duration: Duration,
    pub(crate) connections: usize,
    /// Bytes in a message, at least 1.
    pub(crate) size: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Messages that came back whole.
    pub(crate) messages: u64,
    /// Clients that failed: wrong bytes, a connection that ended, a message that did not come back.
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
    pub(crate) latency_ns: Histogram<u64>,
}

/// What the callbacks share.
struct Load {
    /// By the index of their watcher.
    clients: Vec<Option<Client>>,
    messages: Messages,
    buffer: Box<[u8]>,
    /// No message is begun any more.
    ending: bool,
    report: Report,
}

/// What there is to send: stretches of one pattern.
struct Messages {
    pattern: Box<[u8]>,
    size: usize,
}

/// One connection and its message.
struct Client {
    stream: TcpStream,
    /// Where in the pattern its message starts.
    start: usize,
    sent: usize,
    received: usize,
    began: Instant,
    /// Whether WRITE is enabled.
    writing: bool,
}

/// Makes the load that `plan` says against `server`, and returns when it is over.
pub(crate) fn run(server: SocketAddr, plan: Plan) -> Result<Report, Box<dyn Error>> {
    let mut clients = Loop::reactor_with(Load {
        clients: Vec::new(),
        messages: Messages::new(plan.size),
        buffer: vec![0; 64 * 1024].into_boxed_slice(),
        ending: false,
        report: Report {
            messages: 0,
            errors: 0,
            elapsed: Duration::ZERO,
            latency_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        },
    })?;
    for number in 0..plan.connections {
        connect(&mut clients, server, number)?;
    }

    let began = Instant::now();
    clients.after(plan.duration, |clients| clients.state.ending = true)?;
    let too_late = clients.after(plan.duration + GRACE, Loop::stop)?;
    clients.unref(too_late);
    clients.run()?; // until the last client has ended

    let load = &mut clients.state;
    load.report.elapsed = began.elapsed();
    load.report.errors += load.clients.iter().flatten().count() as u64;
    Ok(load.report.clone())
}

/// Adds a client. It sends its first message when the loop runs.
fn connect(clients: &mut Clients, server: SocketAddr, number: usize) -> Result<(), Box<dyn Error>> {
    let stream = TcpStream::connect(server)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let watcher = clients
        .watch(&stream)
        .on_read(|clients, watcher, _| advance(clients, watcher, Client::receive))
        .on_write(|clients, watcher, _| advance(clients, watcher, Client::send))
        .start()?;
    let places = &mut clients.state.clients;
    if places.len() <= watcher.index() {
        places.resize_with(watcher.index() + 1, || None);
    }
    places[watcher.index()] = Some(Client {
        stream,
        start: number % STARTS,
        sent: 0,
        received: 0,
        began: Instant::now(),
        writing: true,
    });
    Ok(())
}

/// Takes a step of a client's message, and begins the next one when it is whole.
fn advance(
    clients: &mut Clients,
    watcher: Watcher,
    step: impl FnOnce(&mut Client, &Messages, &mut [u8]) -> io::Result<()>,
) -> Result<(), linux_event::Error> {
    let load = &mut clients.state;
    let Some(Some(client)) = load.clients.get_mut(watcher.index()) else {
        return Ok(());
    };
    let mut done = step(client, &load.messages, &mut load.buffer);
    let mut is_over = false;
    if done.is_ok() && client.received == load.messages.size {
        let time_ns = u64::try_from(client.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        load.report.latency_ns.saturating_record(time_ns);
        load.report.messages += 1;
        if load.ending {
            is_over = true;
        } else {
            client.next_message();
            done = client.send(&load.messages, &mut load.buffer);
        }
    }
    if let Err(error) = done {
        eprintln!("a client failed: {error}");
        load.report.errors += 1;
        is_over = true;
    }
    if is_over {
        clients.cancel(watcher);
        clients.state.clients[watcher.index()] = None;
        return Ok(());
    }
    let has_more = client.sent < load.messages.size;
    if client.writing != has_more {
        client.writing = has_more;
        return if has_more {
            clients.enable(watcher, Interest::WRITE)
        } else {
            clients.disable(watcher, Interest::WRITE)
        };
    }
    Ok(())
}

impl Client {
    /// Begins another message, at another place of the pattern.
    fn next_message(&mut self) {
        (self.sent, self.received) = (0, 0);
        self.start = (self.start + 1) % STARTS;
    }

    /// Sends of its message as much as goes.
    fn send(&mut self, messages: &Messages, _: &mut [u8]) -> io::Result<()> {
        if self.sent == 0 {
            self.began = Instant::now();
        }
        let message = messages.starting_at(self.start);
        self.sent += match self.stream.write(&message[self.sent..]) {
            Err(error) if is_passing(error.kind()) => 0,
            sent => sent?,
        };
        Ok(())
    }

    /// Reads once, and checks what came (INV-LOAD-2).
    fn receive(&mut self, messages: &Messages, buffer: &mut [u8]) -> io::Result<()> {
        let count = match self.stream.read(buffer) {
            Err(error) if is_passing(error.kind()) => return Ok(()),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            count => count?,
        };
        let sent = &messages.starting_at(self.start)[self.received..self.sent];
        if sent.get(..count) != Some(&buffer[..count]) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "that is not what was sent",
            ));
        }
        self.received += count;
        Ok(())
    }
}

impl Messages {
    fn new(size: usize) -> Self {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            // xorshift64: a period so long that no stretch is like another.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        };
        Self {
            pattern: std::iter::repeat_with(next).take(size + STARTS).collect(),
            size,
        }
    }

    fn starting_at(&self, start: usize) -> &[u8] {
        &self.pattern[start..start + self.size]
    }
}

/// Whether to try again when the loop says so.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
