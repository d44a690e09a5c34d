//! Carries out what the race says: names are asked for, sockets opened, connected, closed, the outcome told.
//!
//! **Invariants.** *INV-ATTEMPT-1*: an attempt that the race has under way has its socket in `attempts`, at its number; one that is
//! over has none there.
//!
//! **Why this shape.** One body for both models: what differs is how a socket is connected and let go, and [`Net`] says that.

#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error as LoopError;
use linux_event_core::sys::SocketKind;

use super::super::address::Address;
use super::super::drive::Owner;
use super::super::model::{Connecting, Net};
use super::super::socket::Socket;
use super::super::sockets::SocketCalls;
use super::super::table::Id;
use super::error::ConnectError;
use super::race::Step;
use super::resolve::{Answers, Question};
use super::{Called, ConnectorEntry, Options, Resolve, Resolving};
use crate::error::Error;
use crate::event_loop::Loop;
use crate::model::Model;

/// When a unix socket's full backlog is tried again, which nothing reports (`unix(7)`).
const RETRY: Duration = Duration::from_millis(5);

/// One socket that is being connected.
pub(super) struct Attempt<M: Model> {
    io: M::Io,
    address: Address,
    /// When to try again: a backlog was full.
    retry_at: Option<Instant>,
}

impl<M: Net, S> Loop<M, S> {
    /// Arms the timer, and asks for the name if there is one.
    pub(super) fn begin_connector(
        &mut self,
        id: Id,
        deadline: Instant,
        name: Option<(String, u16)>,
        resolve: Option<Resolve>,
    ) -> Result<(), Error> {
        let timer = self.net_timer_at(Owner::Connector(id), deadline)?;
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.timer = Some(timer);
        }
        let Some((host, port)) = name else {
            self.attend(Owner::Connector(id));
            return Ok(());
        };
        if resolve.is_none()
            && let Some((after, answer)) = self.model.calls().known_name(&host, port)
        {
            let at = self.model.read_clock() + after;
            if let Some(entry) = self.net.connectors.get_mut(id) {
                entry.resolving = Some(Resolving::Known(at, answer));
            }
            self.attend(Owner::Connector(id));
            return Ok(());
        }
        let (answers, waker) = (self.answers()?, self.waker()?);
        let wanted = Arc::new(());
        let question = Question::new(host, port, id, &answers, Arc::downgrade(&wanted));
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.resolving = Some(Resolving::Asked(waker, wanted));
        }
        match resolve {
            Some(resolve) => resolve(question),
            None => self.net.system.ask(question),
        }
        Ok(())
    }

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

    /// A name is resolved, or can't be.
    fn resolved(&mut self, id: Id, answer: io::Result<Vec<SocketAddr>>) {
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return; // INV-RESOLVE-2
        };
        entry.resolving = None;
        let addresses =
            answer.map(|addresses| addresses.into_iter().map(Address::from).collect::<Vec<_>>());
        entry.race.resolved(addresses);
        self.attend(Owner::Connector(id));
    }

    /// Does what it is time for.
    pub(crate) fn attend_connector(&mut self, id: Id) -> Called {
        let now = self.model.read_clock();
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return Ok(());
        };
        if matches!(&entry.resolving, Some(Resolving::Known(at, _)) if *at <= now)
            && let Some(Resolving::Known(_, answer)) = entry.resolving.take()
        {
            self.resolved(id, answer);
        }
        if let Some(entry) = self.net.connectors.get_mut(id) {
            // What is noted from here on is seen to here.
            entry.is_attended = true;
        }
        self.retry_attempts(id, now);
        loop {
            let Some(entry) = self.net.connectors.get_mut(id) else {
                return Ok(());
            };
            match entry.race.step(now) {
                Step::Begin(number, address) => self.begin_attempt(id, number, address),
                Step::Wait(until) => {
                    entry.is_attended = false;
                    self.arm_connector(id, until);
                    return Ok(());
                }
                Step::Over(verdict) => return self.finish_connector(id, verdict),
            }
        }
    }

    /// A connector's timer is due. What has come by then is seen first: timers come before the events of their turn, and a
    /// loop that was busy for long finds both.
    pub(crate) fn connector_timer(&mut self, id: Id) {
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.timer = None;
        }
        self.attend(Owner::Connector(id));
    }

    /// Arms the timer for when there is something to do.
    fn arm_connector(&mut self, id: Id, until: Instant) {
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return;
        };
        let attempts = entry.attempts.iter().flatten();
        let retries = attempts.filter_map(|attempt| attempt.retry_at);
        let known = match &entry.resolving {
            Some(Resolving::Known(at, _)) => Some(*at),
            _ => None,
        };
        let next = retries.chain(known).fold(until, Instant::min);
        if let Some(timer) = entry.timer
            && self.model.reschedule(timer, next)
        {
            return;
        }
        let timer = self.net_timer_at(Owner::Connector(id), next);
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.timer = timer.ok();
            if entry.timer.is_none() {
                // Every timer of the loop is taken: without one it could wait for ever.
                entry.race.expire();
                self.attend(Owner::Connector(id));
            }
        }
    }

    fn begin_attempt(&mut self, id: Id, number: u32, address: Address) {
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return;
        };
        entry.attempts.push(None);
        let options = entry.options;
        match self.open_attempt(&address, options) {
            Ok(io) => {
                let attempt = Attempt {
                    io,
                    address,
                    retry_at: None,
                };
                self.connect_attempt(id, number, attempt);
            }
            Err((call, errno)) => {
                let now = self.model.read_clock();
                if let Some(entry) = self.net.connectors.get_mut(id) {
                    match errno {
                        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
                            entry.race.starved(number, call, errno, now);
                        }
                        _ => entry.race.failed(number, call, errno),
                    }
                }
            }
        }
    }

    /// A socket to connect, with its options set; or which call was refused.
    fn open_attempt(
        &mut self,
        address: &Address,
        options: Options,
    ) -> Result<M::Io, (&'static str, Errno)> {
        let calls = self.model.calls();
        let opened = calls.open(address.domain(), SocketKind::Stream, M::NON_BLOCKING);
        let socket = opened.map_err(|errno| ("socket", errno))?;
        if address.internet().is_some() {
            if options.no_delay {
                let set = calls.set_no_delay(&socket, true);
                set.map_err(|errno| ("setsockopt", errno))?;
            }
            if let Some(local) = options.bind {
                let bound = calls.bind(&socket, &local.into());
                bound.map_err(|errno| ("bind", errno))?;
            }
        }
        let taken = self.model.take_in(socket);
        taken.map_err(|(error, _)| ("socket", error.errno().unwrap_or(Errno::ENOBUFS)))
    }

    /// Connects an attempt's socket.
    fn connect_attempt(&mut self, id: Id, number: u32, mut attempt: Attempt<M>) {
        let Attempt { io, address, .. } = &mut attempt;
        let (retry_at, decided) = match M::connect_io(self, io, address, id, number) {
            Connecting::UnderWay => (None, None),
            Connecting::Again => (Some(self.model.read_clock() + RETRY), None),
            Connecting::Over(result) => (None, Some(result)),
        };
        attempt.retry_at = retry_at;
        if let Some(entry) = self.net.connectors.get_mut(id) {
            entry.attempts[number as usize] = Some(attempt);
        }
        if let Some(result) = decided {
            self.attempt_over(id, number, result);
        }
    }

    /// Tries again where a backlog was full.
    fn retry_attempts(&mut self, id: Id, now: Instant) {
        let attempts = |entry: &ConnectorEntry<M, S>| entry.attempts.len() as u32;
        for number in 0..self.net.connectors.get(id).map_or(0, attempts) {
            let Some(entry) = self.net.connectors.get_mut(id) else {
                return;
            };
            let place = &mut entry.attempts[number as usize];
            let is_due = |attempt: &mut Attempt<M>| attempt.retry_at.is_some_and(|at| at <= now);
            if let Some(attempt) = place.take_if(is_due) {
                self.connect_attempt(id, number, attempt);
            }
        }
    }

    /// Asks something about an attempt's socket; `None` if it is over.
    pub(crate) fn with_attempt<R>(
        &mut self,
        id: Id,
        number: u32,
        call: impl FnOnce(&mut M::Calls, &M::Socket) -> R,
    ) -> Option<R> {
        let entry = self.net.connectors.get(id)?;
        let attempt = entry.attempts.get(number as usize)?.as_ref()?;
        self.model.with_socket(&attempt.io, call)
    }

    /// What the model keeps for an attempt's socket; `None` if it is over.
    pub(crate) fn attempt_io(&mut self, id: Id, number: u32) -> Option<&mut M::Io> {
        let entry = self.net.connectors.get_mut(id)?;
        let attempt = entry.attempts.get_mut(number as usize)?.as_mut()?;
        Some(&mut attempt.io)
    }

    /// An attempt is decided: nothing is under way on its socket any more.
    pub(crate) fn attempt_over(&mut self, id: Id, number: u32, result: Result<(), Errno>) {
        let result = result.and_then(|()| self.check_attempt(id, number));
        let Some(entry) = self.net.connectors.get_mut(id) else {
            return;
        };
        let place = entry.attempts.get_mut(number as usize);
        let Some(mut attempt) = place.and_then(Option::take) else {
            return;
        };
        let socket = result.and_then(|()| {
            let socket = M::release_io(self, &mut attempt.io);
            socket.ok_or(Errno::EBUSY)
        });
        if socket.is_err() {
            M::close_io(self, attempt.io);
        }
        if let Some(entry) = self.net.connectors.get_mut(id) {
            match socket {
                Ok(socket) if entry.race.connected(number) => entry.won = Some(Socket(socket)),
                Ok(socket) => drop(socket),
                Err(errno) => entry.race.failed(number, "connect", errno),
            }
        }
        self.attend(Owner::Connector(id));
    }

    /// ECONNREFUSED if a socket is connected to itself: so it goes where nobody listens at a port that the kernel gives to who
    /// connects (`tcp(7)`: simultaneous open).
    fn check_attempt(&mut self, id: Id, number: u32) -> Result<(), Errno> {
        let entry = self.net.connectors.get(id);
        let attempt = entry.and_then(|entry| entry.attempts.get(number as usize)?.as_ref());
        let Some(Address::Internet(to)) = attempt.map(|attempt| attempt.address.clone()) else {
            return Ok(());
        };
        let here = self.with_attempt(id, number, SocketCalls::local_address);
        match here {
            Some(Ok(Address::Internet(here))) if here == to => Err(Errno::ECONNREFUSED),
            _ => Ok(()),
        }
    }

    /// Lets everything go that the connector has (INV-CONNECTOR-2).
    fn take_connector(&mut self, id: Id) -> Option<ConnectorEntry<M, S>> {
        let mut entry = *self.net.connectors.remove(id)?;
        if let Some(timer) = entry.timer.take() {
            self.cancel(timer);
        }
        entry.resolving = None;
        for attempt in entry.attempts.drain(..).flatten() {
            M::close_io(self, attempt.io);
        }
        Some(entry)
    }

    /// Tells the outcome.
    fn finish_connector(&mut self, id: Id, verdict: Result<u32, ConnectError>) -> Called {
        let Some(mut entry) = self.take_connector(id) else {
            return Ok(());
        };
        // Who has won has left its socket.
        let won = entry.won.take();
        let outcome = verdict.and_then(|_| won.ok_or(ConnectError::NoAddress));
        match entry.callback.take() {
            Some(callback) => {
                self.net.has_told = true;
                callback(self, outcome)
            }
            None => Ok(()),
        }
    }

    /// Ends a connector without telling.
    pub(crate) fn drop_connector(&mut self, id: Id) -> bool {
        self.take_connector(id).is_some()
    }
}
