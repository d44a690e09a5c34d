//! What the program does, and what both models share.

use core::time::Duration;

use linux_event_core::signal::{Signal, SignalSet};
use static_start::Arguments;

use crate::arguments::{Model, Options};
use crate::failure::OrFail;
use crate::{listener, proactor, reactor};

static_start::main!(main, never_forks);

/// So many connections are served at a time.
pub(crate) const CONNECTIONS: usize = 256;
/// A connection's buffer: a page.
pub(crate) const BUFFER_BYTES: usize = 4096;
/// Timers: one a connection, and one to accept again.
pub(crate) const TIMERS: usize = CONNECTIONS + 1;
/// When descriptors or memory are short, accepting is tried again after so long.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What ends the server.
pub(crate) const ENDS: SignalSet = SignalSet::EMPTY.with(Signal::INT).with(Signal::TERM);

/// What a registration is for. It comes back with every event of it; connections are named by their place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    /// There is somebody to accept.
    Accept,
    /// Accepting paused for want of descriptors or memory, and is to be tried again.
    AcceptAgain,
    /// Something came from a connection; in the reactor, or something can be sent.
    Received(u16),
    /// Something was sent to it.
    Sent(u16),
    /// It is closed.
    Closed(u16),
    /// Nothing has moved on it for too long.
    Idle(u16),
    /// SIGINT or SIGTERM.
    End,
}

/// It does not return: what ends the server ends the process.
fn main(arguments: Arguments) -> i32 {
    let options = Options::parse(arguments).or_fail();
    let (listener, port) = listener::open(options.port);
    match options.model {
        Model::Reactor => reactor::serve(listener, options.idle, port),
        Model::Proactor => proactor::serve(listener, options.idle, port),
    }
}
