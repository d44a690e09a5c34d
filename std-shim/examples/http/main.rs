//! An HTTP/1.1 server on either model: one application, written once.
//!
//! It answers `GET /` and `HEAD /` with a few words, keeps connections alive, takes requests that come in pieces or several at
//! a time, and bounds what a client can make it keep.
//!
//! ```text
//! cargo run --release --example http -- --serve 127.0.0.1:8080 --model proactor
//! wrk -c 100 -d 5 http://127.0.0.1:8080/
//! ```
//!
//! Without `--serve` it asks itself, once on each model:
//!
//! ```text
//! reactor: HTTP/1.1 200 OK, 20 bytes
//! proactor: HTTP/1.1 200 OK, 20 bytes
//! ```

mod connection;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use connection::Connection;
use linux_event::net::{Listener, Net, Socket, Stream};
use linux_event::{Loop, LoopError};

/// An HTTP/1.1 server on either model
#[derive(Debug, Parser)]
struct Arguments {
    /// Serve here until SIGINT or SIGTERM; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    serve: Option<SocketAddr>,
    /// What the server runs on; without it, each in turn (or the first, to serve)
    #[arg(long, value_enum)]
    model: Option<Model>,
}

/// The execution models that the server can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Model {
    /// Readiness, by epoll
    Reactor,
    /// Completion, by io_uring
    Proactor,
}

/// The exit code where io_uring may not be used: what many test harnesses read as "skipped".
const NO_RING: u8 = 77;
/// A connection that is silent for so long is closed.
const IDLE: Duration = Duration::from_mins(1);
/// Accepting that paused for want of descriptors goes on after so long.
const PAUSE: Duration = Duration::from_millis(100);

/// The application: it does not know what it runs on.
fn serve<M: Net, S>(
    event_loop: &mut Loop<M, S>,
    address: SocketAddr,
) -> Result<Listener, linux_event::Error> {
    Listener::tcp(event_loop, address)
        .retry_after(PAUSE)
        .start(|event_loop, _, socket| admit(event_loop, socket).map(drop))
}

/// Begins to serve a connection.
fn admit<M: Net, S>(
    event_loop: &mut Loop<M, S>,
    socket: Socket<M>,
) -> Result<Stream, linux_event::Error> {
    socket.set_no_delay(event_loop, true)?;
    let mut connection = Connection::default();
    Stream::over(event_loop, socket)
        .idle_timeout(IDLE)
        .throttled()
        .on_data(move |event_loop, stream, bytes| connection.received(event_loop, stream, bytes))
        .start()
}

/// Serves until a signal.
fn serve_until_a_signal<M: Net, S>(
    mut event_loop: Loop<M, S>,
    address: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    event_loop.signal(["INT", "TERM"], |event_loop, _| event_loop.stop())?;
    let listener = serve(&mut event_loop, address)?;
    println!("listening on {}", listener.local_address(&mut event_loop)?);
    event_loop.run()?;
    Ok(())
}

/// Serves one client, in this process.
fn show<M: Net, S>(name: &str, mut event_loop: Loop<M, S>) -> Result<(), Box<dyn Error>> {
    let listener = serve(&mut event_loop, ([127, 0, 0, 1], 0).into())?;
    let address = listener.local_address(&mut event_loop)?.internet();
    let address = address.ok_or("it is TCP")?;
    let waker = event_loop.waker()?;
    let client = thread::spawn(move || {
        let answer = ask(address);
        waker.stop();
        answer
    });
    event_loop.run()?;
    let answer = client.join().map_err(|_| "the client panicked")??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or("nothing");
    println!("{name}: {status}, {} bytes", body.len());
    Ok(())
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let models = match (arguments.model, arguments.serve) {
        (Some(model), _) => vec![model],
        (None, Some(_)) => vec![Model::Reactor],
        (None, None) => Model::value_variants().to_vec(),
    };
    for model in models {
        match (model, arguments.serve) {
            (Model::Reactor, Some(address)) => serve_until_a_signal(Loop::reactor()?, address)?,
            (Model::Reactor, None) => show("reactor", Loop::reactor()?)?,
            (Model::Proactor, serve) => {
                let event_loop = match Loop::proactor() {
                    Err(linux_event::Error::Loop(
                        error @ (LoopError::NoRing { .. } | LoopError::RingTooOld),
                    )) => {
                        println!("{error}");
                        return Ok(ExitCode::from(NO_RING));
                    }
                    event_loop => event_loop?,
                };
                match serve {
                    Some(address) => serve_until_a_signal(event_loop, address)?,
                    None => show("proactor", event_loop)?,
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
