//! Connecting: by name, address or path, with one outcome.
//!
//! **What.** [`Connector`] is the handle of what is under way, [`ConnectorBuilder`] says where to and how. `race` decides which
//! address is tried when, `resolve` turns names into addresses off the loop, and each model has its way to connect a socket.
//!
//! **Invariants.** *INV-CONNECTOR-1*: the callback is called once, with a socket or an error, in a later turn; after
//! [`cancel`](Connector::cancel) never. *INV-CONNECTOR-2*: whatever the outcome, the sockets that lost are closed, and the timer is
//! gone, before the callback is called.
//!
//! **Why this shape.** The callback takes a `Result` and is called by value: that there is one outcome is what its type says.

#![forbid(unsafe_code)]

mod race;
pub(super) mod resolve;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;
use linux_event_core::handle::TimerId;
use linux_event_core::sys::SocketKind;

use super::address::Address;
use super::drive::Owner;
use super::model::{Connecting, Net};
use super::socket::Socket;
use super::sockets::SocketCalls;
use super::table::Id;
use crate::error::{BoxError, Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;
use crate::waker::Waker;
use race::Race;
use resolve::Answers;

pub use resolve::Question;

/// How long the next address waits for the last one (RFC 8305).
const DELAY: Duration = Duration::from_millis(250);
/// How long all of it may take, if nothing else was said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// When a unix socket's full backlog is tried again.
const RETRY: Duration = Duration::from_millis(5);

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

/// Why there is no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name was not resolved.
    Resolve(io::Error),
    /// The name has no address.
    NoAddress,
    /// The last address that was tried, and what came of it.
    Io {
        /// The address.
        address: Address,
        /// Why: ECONNREFUSED, ENETUNREACH, ENOENT …
        errno: Errno,
    },
    /// It took longer than the timeout.
    TimedOut,
}

impl ConnectError {
    /// The kernel's errno, where it gave one; ETIMEDOUT for the timeout.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { errno, .. } => Some(*errno),
            Self::TimedOut => Some(Errno::ETIMEDOUT),
            Self::Resolve(error) => error.raw_os_error().and_then(Errno::from_raw),
            Self::NoAddress => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => error.fmt(f),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::Io { address, errno } => write!(f, "{address}: {errno}"),
            Self::TimedOut => f.write_str("connecting took too long"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Where to connect to: an address, a name and a port, or text such as `localhost:80`, `127.0.0.1:80` or `[::1]:80`.
///
/// ```
/// use linux_event::net::Target;
/// assert_eq!(Target::from("127.0.0.1:80"), Target::from(([127, 0, 0, 1], 80)));
/// assert_eq!(Target::from("example.org:80"), Target::from(("example.org", 80)));
/// assert_eq!(Target::from(("[::1]", 80)), Target::from("[::1]:80"));
/// assert_eq!(Target::from("no port"), Target::Invalid);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This address.
    To(SocketAddr),
    /// A name, which is resolved off the loop, and a port.
    Name(String, u16),
    /// The text has no port, or no name.
    Invalid,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::To(address)
    }
}

impl From<([u8; 4], u16)> for Target {
    fn from(address: ([u8; 4], u16)) -> Self {
        Self::To(address.into())
    }
}

/// A name, or an IP address as text, in brackets or not.
impl From<(&str, u16)> for Target {
    fn from((host, port): (&str, u16)) -> Self {
        let host = host.trim();
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = inner.unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(ip) => Self::To(SocketAddr::new(ip, port)),
            Err(_) if host.is_empty() => Self::Invalid,
            Err(_) => Self::Name(host.to_owned(), port),
        }
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        if let Ok(address) = text.parse() {
            return Self::To(address);
        }
        match text.rsplit_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) if !host.contains(':') || host.ends_with(']') => (host, port).into(),
                _ => Self::Invalid,
            },
            None => Self::Invalid,
        }
    }
}

enum Place {
    Internet(Target),
    Unix(Address),
}

/// One socket that is being connected.
struct Attempt<M: Model> {
    io: M::Io,
    address: Address,
    /// When to try again: a backlog was full.
    retry_at: Option<Instant>,
}

/// A connection in the making, in its table.
pub(crate) struct ConnectorEntry<M: Model, S> {
    callback: Option<Callback<M, S>>,
    race: Race,
    /// By the number that the model knows them by; `None` once they are over.
    attempts: Vec<Option<Attempt<M>>>,
    /// Keeps the loop running while a name is resolved.
    resolving: Option<Waker>,
    deadline: Instant,
    timer: Option<TimerId>,
    no_delay: bool,
    outcome: Option<Result<Socket<M>, ConnectError>>,
    pub(crate) is_attended: bool,
}

/// A connector in the making. Nothing happens before [`start`](Self::start).
#[must_use = "nothing is connected before `start`"]
pub struct ConnectorBuilder<'a, M: Net, S> {
    event_loop: &'a mut Loop<M, S>,
    place: Place,
    timeout: Duration,
    delay: Duration,
    no_delay: bool,
    resolve: Option<Resolve>,
}

impl Connector {
    fn builder<M: Net, S>(event_loop: &mut Loop<M, S>, place: Place) -> ConnectorBuilder<'_, M, S> {
        ConnectorBuilder {
            event_loop,
            place,
            timeout: TIMEOUT,
            delay: DELAY,
            no_delay: false,
            resolve: None,
        }
    }

    /// Connects over TCP: see [`Target`] for where to. A name's addresses are tried in turn, IPv6 and IPv4 alternating, each
    /// 250 ms after the last or at once when that failed; the first that answers wins.
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

    /// Has small writes leave at once (`TCP_NODELAY`), set before connecting. A path has no such option.
    #[doc(alias = "TCP_NODELAY")]
    pub const fn no_delay(mut self, on: bool) -> Self {
        self.no_delay = on;
        self
    }

    /// Has a name resolved by `resolve`, which answers the [`Question`] whenever it likes, and not by the system's resolver.
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
            no_delay,
            resolve,
        } = self;
        let (addresses, name) = match place {
            Place::Internet(Target::Invalid) => {
                let why = "a target is a name or an address, and a port";
                return Err(LoopError::Invalid(why).into());
            }
            Place::Internet(Target::To(address)) => (vec![address.into()], None),
            Place::Internet(Target::Name(host, port)) => (Vec::new(), Some((host, port))),
            Place::Unix(address) => (vec![address], None),
        };
        let deadline = event_loop.model.read_clock() + timeout;
        let resolving = match &name {
            Some(_) => Some(event_loop.waker()?),
            None => None,
        };
        let id = event_loop.net.connectors.insert(ConnectorEntry {
            callback: Some(Box::new(move |event_loop, outcome| {
                callback(event_loop, outcome).into_result()
            })),
            race: Race::new(addresses, delay),
            attempts: Vec::new(),
            resolving,
            deadline,
            timer: None,
            no_delay,
            outcome: None,
            is_attended: false,
        });
        match event_loop.net_timer_at(Owner::Connector(id), deadline) {
            Ok(timer) => {
                if let Some(entry) = event_loop.net.connectors.get_mut(id) {
                    entry.timer = Some(timer);
                }
            }
            Err(error) => {
                event_loop.drop_connector(id);
                return Err(error.into());
            }
        }
        match name {
            Some((host, port)) => {
                let answers = event_loop.answers()?;
                let question = Question::new(host, port, id, answers);
                match resolve {
                    Some(resolve) => resolve(question),
                    None => event_loop.net.system.ask(question),
                }
            }
            None => event_loop.attend(Owner::Connector(id)),
        }
        Ok(Connector(id))
    }
}

impl<M: Net, S> fmt::Debug for ConnectorBuilder<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorBuilder")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<M: Net, S> Loop<M, S> {
    /// Where resolvers put their answers. They are looked at whenever the loop is woken.
    fn answers(&mut self) -> Result<Answers, Error> {
        if let Some(answers) = &self.net.answers {
            return Ok(answers.clone());
        }
        let Some(shared) = self.model.shared() else {
            return Err(LoopError::Invalid("this backend has no wakeup").into());
        };
        let answers = Answers::new(shared.clone());
        self.net.answers = Some(answers.clone());
        let given = answers.clone();
        self.mail.push(Some(Box::new(move |this| {
            for (id, answer) in given.take() {
                this.resolved(id, answer);
            }
            Ok(true)
        })));
        Ok(answers)
    }

    fn resolved(&mut self, id: Id, answer: io::Result<Vec<SocketAddr>>) {
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return; // INV-RESOLVE-2
        };
        entry.resolving = None;
        match answer {
            Ok(addresses) => {
                let addresses = addresses.into_iter().map(Address::from).collect();
                entry.race.set_addresses(addresses);
            }
            Err(error) => entry.outcome = Some(Err(ConnectError::Resolve(error))),
        }
        self.attend(Owner::Connector(id));
    }

    /// Begins the attempts that it is time for; tells the outcome, if there is one.
    pub(crate) fn attend_connector(&mut self, id: Id) -> Called {
        match self.net.connectors.get_mut(id) {
            Some(entry) => entry.is_attended = false,
            None => return Ok(()),
        }
        let now = self.model.read_clock();
        self.retry_attempts(id, now);
        while let Some(entry) = self.net.connectors.get_mut(id)
            && entry.outcome.is_none()
            && entry.resolving.is_none()
            && let Some(address) = entry.race.begin(now)
        {
            self.begin_attempt(id, address);
        }
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return Ok(());
        };
        if entry.outcome.is_none()
            && entry.resolving.is_none()
            && let Some(error) = entry.race.lost()
        {
            entry.outcome = Some(Err(error));
        }
        if entry.outcome.is_none() && entry.deadline <= now {
            entry.outcome = Some(Err(ConnectError::TimedOut));
        }
        if entry.outcome.is_some() {
            return self.finish_connector(id);
        }
        self.arm_connector(id);
        Ok(())
    }

    /// A connector's timer is due.
    pub(crate) fn connector_timer(&mut self, id: Id) -> Called {
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.timer = None;
        }
        self.attend_connector(id)
    }

    /// Arms the timer for when there is something to do.
    fn arm_connector(&mut self, id: Id) {
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return;
        };
        let retries = entry
            .attempts
            .iter()
            .flatten()
            .filter_map(|attempt| attempt.retry_at);
        let next = retries
            .chain(entry.race.next_at())
            .fold(entry.deadline, Instant::min);
        if let Some(timer) = entry.timer
            && self.model.reschedule(timer, next)
        {
            return;
        }
        let timer = self.net_timer_at(Owner::Connector(id), next);
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.timer = timer.ok();
            if entry.timer.is_none() {
                // Without a timer it could wait for ever.
                entry.outcome = Some(Err(ConnectError::TimedOut));
                self.attend(Owner::Connector(id));
            }
        }
    }

    fn begin_attempt(&mut self, id: Id, address: Address) {
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return;
        };
        let (index, no_delay) = (entry.attempts.len() as u32, entry.no_delay);
        entry.attempts.push(None);
        let calls = self.model.calls();
        let opened = calls.open(address.domain(), SocketKind::Stream, M::NON_BLOCKING);
        let opened = opened.and_then(|socket| {
            if no_delay && address.internet().is_some() {
                calls.set_no_delay(&socket, true)?;
            }
            Ok(socket)
        });
        let taken = opened.and_then(|socket| {
            let taken = self.model.take_in(socket);
            taken.map_err(|(error, _)| error.errno().unwrap_or(Errno::ENOBUFS))
        });
        match taken {
            Ok(io) => {
                if let Some(entry) = self.net.connectors.get_mut(id) {
                    entry.attempts[index as usize] = Some(Attempt {
                        io,
                        address,
                        retry_at: None,
                    });
                }
                self.connect_attempt(id, index);
            }
            Err(errno) => {
                if let Some(entry) = self.net.connectors.get_mut(id) {
                    entry.race.failed(ConnectError::Io { address, errno });
                }
            }
        }
    }

    /// Connects an attempt's socket.
    fn connect_attempt(&mut self, id: Id, index: u32) {
        let Some(mut attempt) = self.take_attempt(id, index) else {
            return;
        };
        let connecting = M::connect_io(self, &mut attempt.io, &attempt.address, id, index);
        let retry = match connecting {
            Connecting::UnderWay => None,
            Connecting::Again => Some(self.model.read_clock() + RETRY),
            Connecting::Over(result) => {
                if let Some(entry) = self.net.connectors.get_mut(id) {
                    entry.attempts[index as usize] = Some(attempt);
                }
                self.attempt_over(id, index, result);
                return;
            }
        };
        attempt.retry_at = retry;
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.attempts[index as usize] = Some(attempt);
        }
    }

    /// Asks something about an attempt's socket; `None` if it is over.
    pub(crate) fn with_attempt<R>(
        &mut self,
        id: Id,
        index: u32,
        call: impl FnOnce(&mut M::Calls, &M::Socket) -> R,
    ) -> Option<R> {
        let entry = self.net.connectors.get(id)?;
        let attempt = entry.attempts.get(index as usize)?.as_ref()?;
        self.model.with_socket(&attempt.io, call)
    }

    /// An attempt's operation is over.
    pub(crate) fn attempt_io(&mut self, id: Id, index: u32) -> Option<&mut M::Io> {
        let entry = self.net.connectors.get_mut(id)?;
        let attempt = entry.attempts.get_mut(index as usize)?.as_mut()?;
        Some(&mut attempt.io)
    }

    fn take_attempt(&mut self, id: Id, index: u32) -> Option<Attempt<M>> {
        let entry = self.net.connectors.get_mut(id)?;
        entry.attempts.get_mut(index as usize)?.take()
    }

    fn retry_attempts(&mut self, id: Id, now: Instant) {
        let due = |attempt: &Option<Attempt<M>>| {
            let at = attempt.as_ref().and_then(|attempt| attempt.retry_at);
            at.is_some_and(|at| at <= now)
        };
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return;
        };
        let count = entry.attempts.len();
        for index in 0..count {
            let entry = self.net.connectors.get(id);
            if entry.is_some_and(|entry| due(&entry.attempts[index])) {
                self.connect_attempt(id, index as u32);
            }
        }
    }

    /// An attempt is decided: nothing is under way on its socket any more.
    pub(crate) fn attempt_over(&mut self, id: Id, index: u32, result: Result<(), Errno>) {
        let Some(mut attempt) = self.take_attempt(id, index) else {
            return;
        };
        let connected = result.and_then(|()| {
            let socket = M::release_io(self, &mut attempt.io);
            socket.ok_or(Errno::EBUSY)
        });
        let failed = connected.is_err();
        if failed {
            M::close_io(self, std::mem::take(&mut attempt.io));
        }
        if let Some(entry) = self.net.connectors.get_mut(id) {
            match connected {
                Ok(socket) if entry.outcome.is_none() => entry.outcome = Some(Ok(Socket(socket))),
                Ok(socket) => drop(socket),
                Err(errno) => {
                    let address = attempt.address;
                    entry.race.failed(ConnectError::Io { address, errno });
                }
            }
        }
        self.attend(Owner::Connector(id));
    }

    /// Lets everything go that the connector has (INV-CONNECTOR-2).
    fn take_connector(&mut self, id: Id) -> Option<ConnectorEntry<M, S>> {
        let mut entry = *self.net.connectors.remove(id)?;
        if let Some(timer) = entry.timer.take() {
            self.cancel(timer);
        }
        for attempt in entry.attempts.drain(..).flatten() {
            M::close_io(self, attempt.io);
        }
        Some(entry)
    }

    fn finish_connector(&mut self, id: Id) -> Called {
        let Some(mut entry) = self.take_connector(id) else {
            return Ok(());
        };
        match (entry.callback.take(), entry.outcome.take()) {
            (Some(callback), Some(outcome)) => callback(self, outcome),
            _ => Ok(()),
        }
    }

    /// Ends a connector without telling.
    pub(crate) fn drop_connector(&mut self, id: Id) -> bool {
        self.take_connector(id).is_some()
    }
}
