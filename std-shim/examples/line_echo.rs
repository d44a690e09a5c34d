//! A line echo server in a dozen lines, and a client of it: the same on epoll and on io_uring.
//!
//! `-- --serve 127.0.0.1:7000` serves until SIGINT or SIGTERM (`nc 127.0.0.1 7000` is a client), a path instead of the address
//! serves on a unix socket, whose path is taken away in the end; `--model proactor` does it by io_uring.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! reactor: "hello"
//! reactor: "world"
//! proactor: "hello"
//! proactor: "world"
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use linux_event::codec::Line;
use linux_event::net::{Address, Connector, Listener, Net, Socket, Stream};
use linux_event::{BoxError, Error, Loop};

/// Accepting that pauses for want of descriptors goes on after so long.
const PAUSE: Duration = Duration::from_millis(100);
/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

/// A line echo server
#[derive(Parser)]
struct Arguments {
    /// Serve here until SIGINT or SIGTERM: an address and port, or the path of a unix socket
    #[arg(long, value_name = "WHERE")]
    serve: Option<String>,
    /// What the server runs on
    #[arg(long, value_enum, default_value = "reactor")]
    model: Model,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// Readiness, by epoll
    Reactor,
    /// Completion, by `io_uring`
    Proactor,
}

/// Sends every line of a connection back. A client that does not read is not read from either.
fn echo<M: Net, S>(
    event_loop: &mut Loop<M, S>,
    _: Listener,
    socket: Socket<M>,
) -> Result<(), Error> {
    Stream::over(event_loop, socket)
        .throttled()
        .on_message(Line::new(4096), |event_loop, stream, line| {
            stream.write_message(event_loop, line).map(drop)
        })
        .on_error(|_, _, error| eprintln!("a client: {error}"))
        .start()
        .map(drop)
}

/// Serves where it is told, until a signal.
fn serve<M: Net>(mut event_loop: Loop<M>, place: &str) -> Result<ExitCode, BoxError> {
    let listener = if place.contains('/') {
        Listener::unix(&mut event_loop, place)
            .unlink(true)
            .retry_after(PAUSE)
            .start(echo)?
    } else {
        Listener::tcp(&mut event_loop, place)
            .retry_after(PAUSE)
            .start(echo)?
    };
    println!("listening on {}", listener.local_address(&mut event_loop)?);
    event_loop.signal(["INT", "TERM"], |event_loop, _| event_loop.stop())?;
    event_loop.run()?;
    Ok(ExitCode::SUCCESS)
}

/// Talks to itself: a server, and a client that says two lines and hears them.
fn demonstrate<M: Net>(mut event_loop: Loop<M>, model: &'static str) -> Result<(), BoxError> {
    let listener = Listener::tcp(&mut event_loop, "127.0.0.1:0").start(echo)?;
    let Address::Internet(address) = listener.local_address(&mut event_loop)? else {
        return Err("TCP has internet addresses".into());
    };
    Connector::to(&mut event_loop, address).start(move |event_loop, connected| {
        let client = Stream::over(event_loop, connected?)
            .on_message(Line::new(4096), move |_, _, line| {
                println!("{model}: {:?}", String::from_utf8_lossy(line));
            })
            .on_close(move |event_loop, _| listener.close(event_loop))
            .start()?;
        client.write_message(event_loop, b"hello")?;
        client.write_message(event_loop, b"world")?;
        client.end(event_loop)?; // and hears what comes back
        Ok::<(), BoxError>(())
    })?;
    event_loop.run()?; // until nothing listens and nobody is connected
    Ok(())
}

fn main() -> Result<ExitCode, BoxError> {
    let arguments = Arguments::parse();
    match (arguments.serve, arguments.model) {
        (Some(place), Model::Reactor) => return serve(Loop::reactor()?, &place),
        (Some(place), Model::Proactor) => return serve(Loop::proactor()?, &place),
        (None, _) => {}
    }
    demonstrate(Loop::reactor()?, "reactor")?;
    match Loop::proactor() {
        Ok(event_loop) => demonstrate(event_loop, "proactor")?,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            return Ok(ExitCode::from(NO_RING));
        }
    }
    Ok(ExitCode::SUCCESS)
}
