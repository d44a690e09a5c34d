//! Connecting: by name, address or path, with one outcome.
//!
//! **What.** [`Connector`] is the handle of what is under way, [`ConnectorBuilder`] says where to and how. `race` decides which
//! address is tried when, `resolve` turns names into addresses off the loop, `drive` carries out what they say on the sockets of
//! either model. Rule K-1.
//!
//! **Invariants.** *INV-CONNECTOR-1*: the callback is called once, with a socket or an error, in a later turn; after
//! [`cancel`](Connector::cancel) never. *INV-CONNECTOR-2*: whatever the outcome, before the callback is called nothing of the
//! connector is left: its timer is gone, its question is not wanted any more, no socket is watched, and those that lost are closed,
//! or, where an operation is under way on them, being closed (P-15).
//!
//! **Why this shape.** The callback takes a `Result` and is called by value: that there is one outcome is what its type says.

#![forbid(unsafe_code)]

mod drive;
mod error;
mod race;
pub(super) mod resolve;
mod target;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::TimerId;

use super::address::Address;
use super::model::Net;
use super::socket::Socket;
use super::table::Id;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;
use crate::waker::Waker;
use race::Race;

pub use error::{ConnectError, Failure};
pub use resolve::Question;
pub use target::Target;

/// How long the next address waits for the last one (RFC 8305).
const DELAY: Duration = Duration::from_millis(250);
/// How long all of it may take, if nothing else was said.
const TIMEOUT: Duration = Duration::from_secs(10);

type Called = Result<(), BoxError>;
type Callback<M, S> = Box<dyn FnOnce(&mut Loop<M, S>, Result<Socket<M>, ConnectError>) -> Called>;
type Resolve = Box<dyn FnOnce(Question)>;

/// A connection in the making: a handle, which is `Copy`. Once there is an outcome it is stale.
///
/// ```
/// use linux_event::Loop;
/// use linux_event::net::{Connector, Stream};
///
/// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let port = server.local_addr()?.port();
/// let mut event_loop = Loop::reactor()?;
/// Connector::to(&mut event_loop, ("localhost", port)).start(|event_loop, connected| {
///     let stream = Stream::over(event_loop, connected?).start()?;
///     stream.write(event_loop, b"hello")?;
///     stream.close_after_drain(event_loop)?;
///     Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// })?;
/// event_loop.run()?;
/// let (mut client, _) = server.accept()?;
/// assert_eq!(std::io::read_to_string(&mut client)?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connector(Id);

enum Place {
    Internet(Target),
    Unix(Address),
}

/// How a connection is to be made, apart from where to.
#[derive(Clone, Copy)]
struct Options {
    no_delay: bool,
    bind: Option<SocketAddr>,
}

/// A name is not resolved yet.
enum Resolving {
    /// Somebody was asked: keeps the loop running, and the question wanted.
    Asked(
        #[expect(dead_code, reason = "held")] Waker,
        #[expect(dead_code, reason = "held")] Arc<()>,
    ),
    /// The answer is known, and comes at this instant: the fake's names.
    Known(Instant, io::Result<Vec<SocketAddr>>),
}

/// A connection in the making, in its table.
pub(crate) struct ConnectorEntry<M: Model, S> {
    callback: Option<Callback<M, S>>,
    race: Race,
    /// By the number that the race knows them by; `None` once they are over.
    attempts: Vec<Option<drive::Attempt<M>>>,
    resolving: Option<Resolving>,
    options: Options,
    timer: Option<TimerId>,
    /// The attempt that won.
    won: Option<Socket<M>>,
    pub(crate) is_attended: bool,
}

/// A connector in the making. Nothing happens before [`start`](Self::start).
#[must_use = "nothing is connected before `start`"]
pub struct ConnectorBuilder<'a, M: Net, S> {
    event_loop: &'a mut Loop<M, S>,
    place: Place,
    timeout: Duration,
    delay: Duration,
    options: Options,
    resolve: Option<Resolve>,
}

impl Connector {
    fn builder<M: Net, S>(event_loop: &mut Loop<M, S>, place: Place) -> ConnectorBuilder<'_, M, S> {
        ConnectorBuilder {
            event_loop,
            place,
            timeout: TIMEOUT,
            delay: DELAY,
            options: Options {
                no_delay: false,
                bind: None,
            },
            resolve: None,
        }
    }

    /// Connects over TCP: see [`Target`] for where to. A name's addresses are tried in turn, IPv6 and IPv4 alternating, each
    /// 250 ms after the last or at once when that failed, up to sixteen at a time; the first that answers wins, and the others are
    /// closed (RFC 8305). While there are no descriptors, what is under way goes on and the next waits.
    #[doc(alias = "happy eyeballs")]
    pub fn to<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        target: impl Into<Target>,
    ) -> ConnectorBuilder<'_, M, S> {
        Self::builder(event_loop, Place::Internet(target.into()))
    }

    /// Connects to a unix socket. A path that begins with a zero byte is abstract (`unix(7)`).
    pub fn unix<M: Net, S>(
        event_loop: &mut Loop<M, S>,
        path: impl AsRef<Path>,
    ) -> ConnectorBuilder<'_, M, S> {
        Self::builder(event_loop, Place::Unix(Address::from(path.as_ref())))
    }

    /// Gives up, and never calls the callback. False if there was an outcome already.
    pub fn cancel<M: Net, S>(self, event_loop: &mut Loop<M, S>) -> bool {
        event_loop.drop_connector(self.0)
    }

    /// Whether the callback is still to be called.
    pub fn is_pending<M: Net, S>(self, event_loop: &Loop<M, S>) -> bool {
        event_loop.net.connectors.get(self.0).is_some()
    }
}

impl<M: Net, S> ConnectorBuilder<'_, M, S> {
    /// How long all of it may take, resolving included: 10 s at first.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How long the next address waits for the last one: 250 ms at first.
    pub const fn attempt_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Has small writes leave at once (`TCP_NODELAY`), set before connecting; an address at which it is refused fails. A path has
    /// no such option.
    #[doc(alias = "TCP_NODELAY")]
    pub const fn no_delay(mut self, on: bool) -> Self {
        self.options.no_delay = on;
        self
    }

    /// Connects from this local address (`bind(2)`); port 0 is any. An address of the other family fails at it; so does the
    /// second that is tried from a port. A path has no such thing.
    pub fn bind(mut self, local: impl Into<SocketAddr>) -> Self {
        self.options.bind = Some(local.into());
        self
    }

    /// Has a name resolved by `resolve`, which answers the [`Question`] whenever it likes, and not by the system's resolver
    /// (or the names of a [fake](crate::fake::Fake::set_host)). A numeric address asks nobody.
    pub fn resolver(mut self, resolve: impl FnOnce(Question) + 'static) -> Self {
        self.resolve = Some(Box::new(resolve));
        self
    }

    /// Begins. `callback` is called once, in a later turn: with a socket of the model, or with why there is none.
    ///
    /// # Errors
    /// [`LoopError::Invalid`] for a target without a name or a port; [`LoopError::Full`] when there is no room for a timer;
    /// [`LoopError::Forked`]. The callback is not called then.
    pub fn start<R: Outcome>(
        self,
        callback: impl FnOnce(&mut Loop<M, S>, Result<Socket<M>, ConnectError>) -> R + 'static,
    ) -> Result<Connector, Error> {
        let Self {
            event_loop,
            place,
            timeout,
            delay,
            options,
            resolve,
        } = self;
        let deadline = event_loop.model.read_clock() + timeout;
        let mut race = Race::new(deadline, delay);
        let name = match place {
            Place::Internet(Target::Invalid) => {
                let why = "a target is a name or an address, and a port";
                return Err(LoopError::Invalid(why).into());
            }
            Place::Internet(Target::To(address)) => {
                race.resolved(Ok(vec![address.into()]));
                None
            }
            Place::Unix(address) => {
                race.resolved(Ok(vec![address]));
                None
            }
            Place::Internet(Target::Name(host, port)) => Some((host, port)),
        };
        let id = event_loop.net.connectors.insert(ConnectorEntry {
            callback: Some(Box::new(move |event_loop, outcome| {
                callback(event_loop, outcome).into_result()
            })),
            race,
            attempts: Vec::new(),
            resolving: None,
            options,
            timer: None,
            won: None,
            is_attended: false,
        });
        let begun = event_loop.begin_connector(id, deadline, name, resolve);
        if begun.is_err() {
            event_loop.drop_connector(id);
        }
        begun.map(|()| Connector(id))
    }
}

impl<M: Net, S> fmt::Debug for ConnectorBuilder<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorBuilder")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
