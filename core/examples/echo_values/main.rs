//! A TCP echo server on the core: events as values, no closures, no allocation.
//!
//! Everything that it needs lies in statics of fixed size; `std` gives it `main`, its arguments and `println`, nothing
//! else. It serves 8 connections at a time; more wait until the kernel is asked for them.
//!
//! With an address it serves until SIGINT or SIGTERM (`cargo run --example echo_values 127.0.0.1:3000`). Without one
//! it serves 20 clients of its own, in the same loop, which send 100,000 bytes each, shut down their write side, and
//! check what comes back. Then it prints:
//!
//! ```text
//! clients=20 bytes=2000000 errors=0
//! ```
//!
//! The files: `server` is the server, `clients` are the clients.
#![no_std]
#![forbid(unsafe_code)]

extern crate std;

mod clients;
mod server;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::println;

use clients::{CLIENTS, Clients};
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::place::Place;
use linux_event_core::reactor::{Epoll, Event, Reactor, Storage};
use linux_event_core::signal::{Signal, SignalSet};
use server::{CONNECTIONS, Server};

/// What a registration is for. It comes back with every event of it.
#[derive(Clone, Copy, Debug)]
enum Token {
    Listener,
    /// A connection of the server's, by its place.
    Connection(usize),
    /// A client, by its place.
    Client(usize),
    /// Accepting paused, and is to be tried again.
    AcceptAgain,
    /// SIGINT or SIGTERM.
    End,
    /// The clients have had time enough.
    TooLate,
}

/// The listener, the connections, the clients and a subscription.
const WATCHERS: usize = CONNECTIONS + CLIENTS + 2;
const TIMERS: usize = 2;

type Tables = Storage<Token, WATCHERS, TIMERS>;
type Loop = Reactor<Token, WATCHERS, TIMERS, Epoll, &'static mut Tables>;

/// In `.bss`: no part of the binary, and no memory before it is used.
static TABLES: Place<Tables> = Place::new(Storage::new());

/// What ends the program early.
#[derive(Debug)]
enum Failure {
    /// The loop refused.
    Loop(#[allow(dead_code, reason = "main prints it")] Error),
    /// A call on a socket failed.
    Call(#[allow(dead_code, reason = "main prints it")] Errno),
    /// The arguments.
    Usage,
    /// The clients did not get back what they sent.
    Clients,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Loop(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Call(errno)
    }
}

fn main() -> Result<(), Failure> {
    let tables = TABLES.take().expect("taken once");
    let reactor = Reactor::with_storage(Epoll::new()?, tables);
    match std::env::args().nth(1) {
        Some(address) => serve(reactor, address.parse().map_err(|_| Failure::Usage)?),
        None => test(reactor),
    }
}

/// Serves until SIGINT or SIGTERM.
fn serve(mut reactor: Loop, address: SocketAddr) -> Result<(), Failure> {
    let ends: SignalSet = [Signal::INT, Signal::TERM].into_iter().collect();
    reactor.signal(ends, Token::End)?;
    let (mut server, address) = Server::listen(&mut reactor, address)?;
    println!("listening on {address}");
    loop {
        reactor.wait(None)?;
        while let Some(event) = reactor.next() {
            match event {
                Event::Ready { data, .. } | Event::Timer { data, .. } => {
                    server.handle(&mut reactor, data)?;
                }
                Event::Signal { signal, .. } => {
                    println!("{signal}: served {} bytes", server.bytes());
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

/// Serves the clients in `clients`, in the same loop.
fn test(mut reactor: Loop) -> Result<(), Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (mut server, address) = Server::listen(&mut reactor, any)?;
    let mut clients = Clients::connect(&mut reactor, address)?;
    reactor.after(Duration::from_secs(50), Token::TooLate)?;
    while clients.are_busy() {
        reactor.wait(None)?;
        while let Some(event) = reactor.next() {
            match event {
                Event::Ready {
                    ready,
                    data: Token::Client(place),
                    ..
                } => clients.handle(&mut reactor, place, ready)?,
                Event::Ready { data, .. } => server.handle(&mut reactor, data)?,
                Event::Timer { data, .. } => match data {
                    Token::TooLate => return Err(Failure::Clients),
                    data => server.handle(&mut reactor, data)?,
                },
                _ => {}
            }
        }
    }
    println!(
        "clients={CLIENTS} bytes={} errors={}",
        server.bytes(),
        clients.errors()
    );
    if clients.errors() == 0 {
        Ok(())
    } else {
        Err(Failure::Clients)
    }
}
