//! The server on a loop of the proactor model.
//!
//! **What.** One operation accepts, and each connection has one operation under way: it receives, or it sends what it has
//! received. [`serve`] runs it until a signal, [`measure`] against the load.
//!
//! **Invariants.** *INV-ECHO-2*: a connection has exactly one operation under way, which owns its buffer, until it closes. So
//! INV-ECHO-1 holds: nothing is received while something is left to send.
//!
//! **Why this shape.** A connection is what its callback has captured: the loop hands the callback from operation to
//! operation, and the buffer with it. A message allocates nothing, and looks nothing up. A multishot receive into provided
//! buffers was tried: within 2 % of processor time a message of 64 bytes, over 1, 16 and 500 connections, but up to twice that
//! of large ones, which have to be copied out of the leases to be sent.

use std::error::Error;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use linux_event::core::sys::Fd;
use linux_event::{
    BoxError, Buffer, Completion, Errno, File, IntoOwnedFd, Loop, LoopError, Proactor, TimerId,
    Uring, op,
};

use crate::counts::Counts;
use crate::{Measured, READ_BYTES_MAX, load};

/// Accepting that paused is tried again after so long, should no connection close before.
const PAUSE: Duration = Duration::from_millis(100);

type Server = Loop<Proactor<Uring>, State>;

/// What the server's callbacks share.
#[derive(Default)]
struct State {
    /// The listener, while accepting pauses, and the timer that tries again.
    paused: Option<(File, TimerId)>,
    counts: Counts,
}

/// Serves on `address` until SIGINT or SIGTERM.
pub(crate) fn serve(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut server = Loop::proactor_with(State::default())?;
    // Before there is any other thread: the mask that keeps signals for signalfd is each thread's own.
    server.signal(["INT", "TERM"], |server, _| server.stop())?;
    let address = listen(&mut server, address)?;
    println!("listening on {address}");

    server.run()?;

    println!("{}", server.state.counts);
    Ok(())
}

/// Serves the load that a second thread makes, for as long as it takes.
pub(crate) fn measure(plan: load::Plan) -> Result<Measured, Box<dyn Error>> {
    let mut server = Loop::proactor_with(State::default())?;
    let address = listen(&mut server, SocketAddr::from(([127, 0, 0, 1], 0)))?;
    // A waker that is held keeps the loop running: `run` returns when the clients' thread, however it ends, has let go of
    // it, and their connections are closed.
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
    server.counters().enters + server.state.counts.syscalls
}

/// Listens on `address`; returns it with the port that it got.
fn listen(server: &mut Server, address: SocketAddr) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let listener = server.adopt(listener)?;
    accept(server, listener)?;
    Ok(address)
}

/// Accepts who comes, with one operation for all of them.
fn accept(server: &mut Server, listener: File) -> Result<(), linux_event::Error> {
    let each = move |server: &mut Server, accepted| accepted_one(server, listener, accepted);
    let accepting = match server.accept_multi(listener, each) {
        // Before Linux 5.19: with one operation for each.
        Err(refused) if matches!(refused.error, LoopError::UnsupportedOperation { .. }) => {
            server.accept(listener, each)?
        }
        accepting => accepting?,
    };
    // Accepting alone is no reason to go on; signals, a waker and connections are.
    server.unref(accepting);
    Ok(())
}

fn accepted_one(server: &mut Server, listener: File, accepted: Completion) -> Result<(), BoxError> {
    let goes_on = accepted.more;
    match accepted.outcome() {
        Ok(_) => {
            if let Some(fd) = accepted.into_descriptor() {
                admit(server, fd)?;
            }
        }
        Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
            return Ok(pause(server, listener)?);
        }
        // No fault of any connection's.
        Err(errno @ (Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK)) => {
            return Err(errno.into());
        }
        Err(Errno::EINTR) => {}
        // The connection's own trouble, which `accept(2)` passes on.
        Err(_) => server.state.counts.refused += 1,
    }
    if !goes_on {
        accept(server, listener)?;
    }
    Ok(())
}

/// Begins to receive from a connection that was accepted. One that there is no room for is closed again.
fn admit(server: &mut Server, fd: Fd) -> Result<(), linux_event::Error> {
    let stream = TcpStream::from(fd.into_owned_fd());
    server.state.counts.syscalls += 1;
    let adopted = stream.set_nodelay(true).ok();
    let Some(socket) = adopted.and_then(|()| server.adopt(stream).ok()) else {
        server.state.counts.syscalls += 1; // close
        server.state.counts.refused += 1;
        return Ok(());
    };
    let mut connection = Connection {
        socket,
        sending: false,
    };
    let buffer = Buffer::with_capacity(READ_BYTES_MAX);
    let received = server.recv(socket, buffer, move |server, done| {
        connection.advance(server, done)
    });
    if received.is_err() {
        server.state.counts.refused += 1;
        return close(server, socket);
    }
    server.state.counts.connections += 1;
    Ok(())
}

/// A connection: what its operations' callback has captured.
struct Connection {
    socket: File,
    /// Whether the operation under way sends (INV-ECHO-2).
    sending: bool,
}

impl Connection {
    /// Submits the operation that comes after one that is done.
    fn advance(&mut self, server: &mut Server, done: Completion) -> Result<(), linux_event::Error> {
        let outcome = done.outcome();
        let mut buffer = done.into_buffer().unwrap_or_default();
        match outcome {
            // Everything is sent (INV-ECHO-2). The peer may still be reading: it gets the end of the stream.
            Ok(0) if !self.sending => return close(server, self.socket),
            Ok(_) if !self.sending => self.sending = true,
            Ok(count) => {
                server.state.counts.bytes += u64::from(count);
                // The peer is slow: the rest has to be sent before anything else.
                buffer.drain(..count as usize);
                self.sending = !buffer.is_empty();
            }
            Err(Errno::EINTR) => {}
            Err(_) => {
                server.state.counts.resets += 1;
                return close(server, self.socket);
            }
        }
        if self.sending {
            server.again(op::send(self.socket, buffer))?;
        } else {
            server.again(op::recv(self.socket, buffer))?;
        }
        Ok(())
    }
}

/// Ends a connection.
fn close(server: &mut Server, socket: File) -> Result<(), linux_event::Error> {
    server.close(socket, |server, _| resume(server))?;
    Ok(())
}

/// Stops accepting: as long as there is no descriptor to be had, it would fail again and again.
fn pause(server: &mut Server, listener: File) -> Result<(), linux_event::Error> {
    let timer = server.after(PAUSE, resume)?;
    server.unref(timer);
    server.state.paused = Some((listener, timer));
    server.state.counts.pauses += 1;
    Ok(())
}

/// Accepts again, if accepting pauses.
fn resume(server: &mut Server) -> Result<(), linux_event::Error> {
    let Some((listener, timer)) = server.state.paused.take() else {
        return Ok(());
    };
    server.cancel(timer);
    accept(server, listener)
}
