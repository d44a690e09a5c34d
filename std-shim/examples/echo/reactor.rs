//! The server on a loop of the reactor model.
//!
//! **What.** The listener and each connection have a watcher; the connections are in the state of the loop, each in
//! the place that its watcher's index names. [`serve`] runs it until a signal, [`measure`] against the load.
//!
//! **Invariants.** *INV-SERVER-1*: a place is occupied exactly while the watcher of its index lives.
//!
//! **Why this shape.** Watchers' indices are small and dense, so a vector is the map. The callbacks of a connection
//! capture nothing: the loop tells them which watcher it is.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use linux_event::{Epoll, Errno, Interest, Loop, Reactor, TimerId, Watcher};

use crate::connection::{Connection, Next};
use crate::counts::Counts;
use crate::{Measured, READ_BYTES_MAX, load};

/// Connections accepted in one turn at most; the listener is reported again while more are waiting.
const ACCEPTS_PER_TURN: usize = 64;
/// Accepting that paused is tried again after so long, should no connection close before.
const PAUSE: Duration = Duration::from_millis(100);

type Server = Loop<Reactor<Epoll>, State>;

/// What the server's callbacks share.
struct State {
    /// INV-SERVER-1.
    connections: Vec<Option<Connection>>,
    /// What every connection reads into.
    buffer: Box<[u8]>,
    /// The listener, while accepting pauses, and the timer that tries again.
    paused: Option<(Watcher, TimerId)>,
    counts: Counts,
}

/// Serves on `address` until SIGINT or SIGTERM.
pub(crate) fn serve(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut server = new_server()?;
    // Before there is any other thread: the mask that keeps signals for signalfd is each thread's own.
    server.signal(["INT", "TERM"], |server, _| server.stop())?;
    let (_, address) = listen(&mut server, address)?;
    println!("listening on {address}");

    server.run()?;

    println!("{}", server.state.counts);
    Ok(())
}

/// Serves the load that a second thread makes, for as long as it takes.
pub(crate) fn measure(plan: load::Plan) -> Result<Measured, Box<dyn Error>> {
    let mut server = new_server()?;
    let (listening, address) = listen(&mut server, SocketAddr::from(([127, 0, 0, 1], 0)))?;
    // The listener alone is no reason to go on. A waker that is held is one: `run` returns when the clients' thread,
    // however it ends, has let go of it, and their connections are closed.
    server.unref(listening);
    let waker = server.waker()?;
    let clients = thread::spawn(move || {
        let report = load::run(address, plan).map_err(|error| error.to_string());
        drop(waker);
        report
    });
    let before = syscalls(&server);

    server.run()?;

    let syscalls = syscalls(&server) - before;
    let load = clients.join().map_err(|_| "the load panicked")??;
    Ok(Measured { load, syscalls })
}

/// The system calls that the server's thread has made.
fn syscalls(server: &Server) -> u64 {
    let stats = server.stats();
    stats.waits + stats.controls + server.state.counts.syscalls
}

fn new_server() -> Result<Server, linux_event::Error> {
    Loop::reactor_with(State {
        connections: Vec::new(),
        buffer: vec![0; READ_BYTES_MAX].into_boxed_slice(),
        paused: None,
        counts: Counts::default(),
    })
}

/// Listens on `address`; returns the listener's watcher, and the address with the port that it got.
fn listen(
    server: &mut Server,
    address: SocketAddr,
) -> Result<(Watcher, SocketAddr), Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let watcher = server
        .watch(&listener)
        .on_read(move |server, watcher, _| accept(server, watcher, &listener))
        .start()?;
    Ok((watcher, address))
}

/// Accepts who is waiting, up to a bound.
fn accept(server: &mut Server, listening: Watcher, listener: &TcpListener) -> io::Result<()> {
    for _ in 0..ACCEPTS_PER_TURN {
        server.state.counts.syscalls += 1;
        let error = match listener.accept() {
            Ok((stream, _)) => {
                admit(server, stream);
                continue;
            }
            Err(error) => error,
        };
        match error.raw_os_error().and_then(Errno::from_raw) {
            Some(Errno::EAGAIN) => return Ok(()),
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                return pause(server, listening);
            }
            // No fault of any connection's.
            Some(Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK) => {
                return Err(error);
            }
            Some(Errno::EINTR) => {}
            // The connection's own trouble, which `accept(2)` passes on.
            _ => server.state.counts.refused += 1,
        }
    }
    Ok(())
}

/// Watches a connection that was accepted. One that can't be watched is closed again.
fn admit(server: &mut Server, stream: TcpStream) {
    server.state.counts.syscalls += 2; // the two below
    let ready = stream
        .set_nonblocking(true)
        .and_then(|()| stream.set_nodelay(true));
    let watched = ready.map_err(linux_event::BoxError::from).and_then(|()| {
        let watcher = server
            .watch(&stream)
            .on_read(|server, watcher, _| echo(server, watcher))
            .on_write(|server, watcher, _| echo(server, watcher))
            .disabled(Interest::WRITE)
            .start()?;
        Ok(watcher)
    });
    let Ok(watcher) = watched else {
        server.state.counts.syscalls += 1; // close
        server.state.counts.refused += 1;
        return;
    };
    server.state.counts.connections += 1;
    let places = &mut server.state.connections;
    if places.len() <= watcher.index() {
        places.resize_with(watcher.index() + 1, || None);
    }
    places[watcher.index()] = Some(Connection::new(stream));
}

/// Does what a connection can do now, and watches for what it waits for.
fn echo(server: &mut Server, watcher: Watcher) -> Result<(), linux_event::Error> {
    let State {
        connections,
        buffer,
        counts,
        ..
    } = &mut server.state;
    let Some(Some(connection)) = connections.get_mut(watcher.index()) else {
        return Ok(());
    };
    let before = connection.waits_for();
    let after = connection.serve(buffer, counts);
    if before == after {
        return Ok(());
    }
    match after {
        Next::Write => {
            server.disable(watcher, Interest::READ)?;
            server.enable(watcher, Interest::WRITE)
        }
        Next::Read => {
            server.disable(watcher, Interest::WRITE)?;
            server.enable(watcher, Interest::READ)
        }
        Next::Close => close(server, watcher),
    }
}

/// Ends a connection: first the watcher, then the stream.
fn close(server: &mut Server, watcher: Watcher) -> Result<(), linux_event::Error> {
    server.cancel(watcher);
    server.state.connections[watcher.index()] = None;
    server.state.counts.syscalls += 1;
    resume(server) // there is a descriptor again
}

/// Stops accepting: as long as there is no descriptor to be had, the listener would be reported again and again.
fn pause(server: &mut Server, listening: Watcher) -> io::Result<()> {
    server.disable(listening, Interest::READ)?;
    let timer = server.after(PAUSE, resume)?;
    server.state.paused = Some((listening, timer));
    server.state.counts.pauses += 1;
    Ok(())
}

/// Accepts again, if accepting pauses.
fn resume(server: &mut Server) -> Result<(), linux_event::Error> {
    let Some((listening, timer)) = server.state.paused.take() else {
        return Ok(());
    };
    server.cancel(timer);
    server.enable(listening, Interest::READ)
}
