//! The server: a listener, and a stream for each connection, which sends back what comes.
//!
//! **What.** [`serve`] runs it until a signal, [`measure`] against the load. Both are generic over the model.
//!
//! **Invariants.** *INV-ECHO-1*: a connection whose peer does not take its bytes back is not read from; what is kept for it is
//! [`KEPT_BYTES_MAX`] and one read at most.
//!
//! **Why this shape.** Everything that epoll and io_uring do differently is the streams' business. A message allocates nothing,
//! and an idle connection has no buffer.

use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use linux_event::net::{ListenError, Listener, Net, Socket, Stream, socket_calls};
use linux_event::{BoxError, Loop};

use crate::counts::Counts;
use crate::{Measured, load};

/// More than so much waiting to be sent on a connection stops its reading, until all of it has gone.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Accepting that paused is tried again after so long, should no connection close before.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves on `address` until SIGINT or SIGTERM.
pub(crate) fn serve<M: Net>(
    mut server: Loop<M, Counts>,
    address: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    // Before there is any other thread: the mask that keeps signals for signalfd is each thread's own.
    server.signal(["INT", "TERM"], |server, _| server.stop())?;
    let listener = listen(&mut server, address)?;
    println!("listening on {}", listener.local_address(&mut server)?);

    server.run()?;

    println!("{}", server.state);
    Ok(())
}

/// Serves the load that a second thread makes, for as long as it takes. `loop_calls` tells of the system calls that the loop
/// itself makes, which each model counts in its own terms.
pub(crate) fn measure<M: Net>(
    mut server: Loop<M, Counts>,
    plan: load::Plan,
    loop_calls: impl Fn(&Loop<M, Counts>) -> u64,
) -> Result<Measured, Box<dyn Error>> {
    let listener = listen(&mut server, SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_address(&mut server)?;
    let address = address.internet().ok_or("TCP has internet addresses")?;
    // The listener alone is no reason to go on. A waker that is held is one: `run` returns when the clients' thread,
    // however it ends, has let go of it, and their connections are closed.
    listener.set_counted(&mut server, false)?;
    let waker = server.waker()?;
    let clients = thread::spawn(move || {
        let report = load::run(address, plan).map_err(|error| error.to_string());
        drop(waker);
        report
    });
    let before = loop_calls(&server) + socket_calls();

    server.run()?;

    let syscalls = loop_calls(&server) + socket_calls() - before;
    let load = clients.join().map_err(|_| "the load panicked")??;
    Ok(Measured { load, syscalls })
}

fn listen<M: Net>(
    server: &mut Loop<M, Counts>,
    address: SocketAddr,
) -> Result<Listener, linux_event::Error> {
    Listener::tcp(server, address)
        .retry_after(PAUSE)
        .on_error(|server, _, error| -> Result<(), BoxError> {
            match error {
                ListenError::Exhausted(_) => server.state.pauses += 1,
                ListenError::Callback(_) => server.state.refused += 1,
                failed => return Err(failed.into()),
            }
            Ok(())
        })
        .start(admit)
}

/// Echoes a connection that was accepted. One that there is no room for is closed again, and counted as refused.
fn admit<M: Net>(
    server: &mut Loop<M, Counts>,
    listener: Listener,
    socket: Socket<M>,
) -> Result<(), linux_event::Error> {
    socket.set_no_delay(server, true)?;
    Stream::over(server, socket)
        .throttled()
        .watermarks(0, KEPT_BYTES_MAX)
        .on_data(|server, stream, bytes| {
            server.state.bytes += bytes.len() as u64;
            stream.write(server, bytes).map(drop)
        })
        .on_error(|server, _, _| server.state.resets += 1)
        .on_close(move |server, _| resume(server, listener)) // there is a descriptor again
        .start()?;
    server.state.connections += 1;
    Ok(())
}

/// Accepts again, if accepting pauses.
fn resume<M: Net>(
    server: &mut Loop<M, Counts>,
    listener: Listener,
) -> Result<(), linux_event::Error> {
    if listener.is_paused(server) {
        listener.resume(server)?;
    }
    Ok(())
}
