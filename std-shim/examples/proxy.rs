//! A TCP proxy with backpressure: what the slower side can't take, the faster one is not asked for.
//!
//! Each connection is connected on, and what comes from one side is written to the other. Once more than the high watermark waits
//! to be sent, the side that it comes from is paused, until it has drained: the proxy holds so much of a connection, and no
//! more. (`splice_proxy` does it without looking at a byte.)
//!
//! `-- --serve 127.0.0.1:8000 --to example.org:80` serves until SIGINT or SIGTERM.
//!
//! Without arguments a client sends 64 MiB through it to a sink that is slow at first. Prints:
//!
//! ```text
//! sent 64 MiB, received 64 MiB
//! the proxy never held more than 1 MiB and a read
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use clap::Parser;
use linux_event::net::{Address, Connector, Flow, Listener, Net, Socket, Stream, Target};
use linux_event::{BoxError, Loop};

/// A TCP proxy
#[derive(Parser)]
struct Arguments {
    /// Serve here until SIGINT or SIGTERM
    #[arg(long, value_name = "ADDR", requires = "to")]
    serve: Option<String>,
    /// Connect each client to here
    #[arg(long, value_name = "HOST:PORT", requires = "serve")]
    to: Option<String>,
}

/// More than this waiting for one side pauses the other.
const HIGH: usize = 1 << 20;
/// A read brings no more than this.
const READ_MAX: usize = 256 << 10;
/// What the demonstration sends.
const SENT: usize = 64 << 20;
/// Accepting that pauses for want of descriptors goes on after so long.
const PAUSE: Duration = Duration::from_millis(100);

/// What the proxy and the demonstration note.
#[derive(Default)]
struct Notes {
    most_held: usize,
    sent: usize,
    received: usize,
}

type Proxying<M> = Loop<M, Notes>;

/// A client has come: connects on, and joins the two.
fn proxy<M: Net>(
    event_loop: &mut Proxying<M>,
    client: Socket<M>,
    to: Target,
) -> Result<(), BoxError> {
    Connector::to(event_loop, to).start(move |event_loop, connected| {
        match connected {
            Ok(server) => join(event_loop, client, server)?,
            Err(error) => eprintln!("{error}"), // the client's socket is closed by being dropped
        }
        Ok::<(), BoxError>(())
    })?;
    Ok(())
}

/// Two streams, each of which writes what the other reads.
fn join<M: Net>(
    event_loop: &mut Proxying<M>,
    client: Socket<M>,
    server: Socket<M>,
) -> Result<(), BoxError> {
    // Each has to know the other: the second is told to the first once it is there.
    let one = half(event_loop, client)?;
    let other = half(event_loop, server)?;
    one.meet(other.stream);
    other.meet(one.stream);
    Ok(())
}

/// One side, and the cell that says who is on the other.
struct Half {
    stream: Stream,
    other: std::rc::Rc<std::cell::Cell<Option<Stream>>>,
}

impl Half {
    fn meet(&self, other: Stream) {
        self.other.set(Some(other));
    }
}

fn half<M: Net>(event_loop: &mut Proxying<M>, socket: Socket<M>) -> Result<Half, BoxError> {
    let other = std::rc::Rc::new(std::cell::Cell::new(None::<Stream>));
    let (to, drained, ended, closed) = (other.clone(), other.clone(), other.clone(), other.clone());
    let stream = Stream::over(event_loop, socket)
        .watermarks(HIGH / 4, HIGH)
        .on_data(move |event_loop, stream, bytes| {
            let Some(to) = to.get() else {
                return Ok(());
            };
            // A peer that is gone closes this side too, in its `on_close`.
            if let Ok(Flow::Blocked) = to.write(event_loop, bytes) {
                stream.pause(event_loop)?;
            }
            let held = to.pending(event_loop);
            event_loop.state.most_held = event_loop.state.most_held.max(held);
            Ok::<(), BoxError>(())
        })
        .on_drain(move |event_loop, _| match drained.get() {
            Some(from) if from.is_open(event_loop) => from.resume(event_loop),
            _ => Ok(()),
        })
        .on_eof(move |event_loop, _| match ended.get() {
            Some(to) if to.is_open(event_loop) => to.end(event_loop),
            _ => Ok(()),
        })
        .on_error(|_, _, _| ()) // a reset, as a rule: its close follows
        .on_close(move |event_loop, _| match closed.get() {
            Some(to) if to.is_open(event_loop) => to.close_after_drain(event_loop),
            _ => Ok(()),
        })
        .start()?;
    Ok(Half { stream, other })
}

fn serve(place: &str, to: &str) -> Result<(), BoxError> {
    let mut event_loop = Loop::reactor_with(Notes::default())?;
    let to = Target::from(to);
    let listener = Listener::tcp(&mut event_loop, place)
        .retry_after(PAUSE)
        .start(move |event_loop, _, client| proxy(event_loop, client, to.clone()))?;
    println!("listening on {}", listener.local_address(&mut event_loop)?);
    event_loop.signal(["INT", "TERM"], |event_loop, _| event_loop.stop())?;
    event_loop.run()?;
    Ok(())
}

/// A sink that reads nothing at first, a proxy before it, and a client that sends as fast as it can.
fn demonstrate<M: Net>(mut event_loop: Proxying<M>) -> Result<(), BoxError> {
    let sink =
        Listener::tcp(&mut event_loop, "127.0.0.1:0").start(|event_loop, listener, socket| {
            listener.close(event_loop)?;
            let stream = Stream::over(event_loop, socket)
                .on_data(|event_loop: &mut Proxying<M>, _, bytes| {
                    event_loop.state.received += bytes.len();
                })
                .on_eof(|event_loop, stream| stream.end(event_loop))
                .start()?;
            stream.pause(event_loop)?;
            event_loop.after(Duration::from_millis(200), move |event_loop| {
                stream.resume(event_loop)
            })?;
            Ok::<(), BoxError>(())
        })?;
    let Address::Internet(to) = sink.local_address(&mut event_loop)? else {
        return Err("TCP has internet addresses".into());
    };
    let front = Listener::tcp(&mut event_loop, "127.0.0.1:0").start(
        move |event_loop, listener, client| {
            listener.close(event_loop)?;
            proxy(event_loop, client, Target::from(to))
        },
    )?;
    let Address::Internet(address) = front.local_address(&mut event_loop)? else {
        return Err("TCP has internet addresses".into());
    };
    Connector::to(&mut event_loop, address).start(|event_loop, connected| {
        let client = Stream::over(event_loop, connected?)
            .on_drain(|event_loop, stream| send_on(event_loop, stream))
            .start()?;
        send_on(event_loop, client)
    })?;
    event_loop.run()?;
    let Notes {
        most_held,
        sent,
        received,
    } = event_loop.state;
    println!("sent {} MiB, received {} MiB", sent >> 20, received >> 20);
    let is_bounded = most_held <= HIGH + READ_MAX;
    println!(
        "the proxy {} more than 1 MiB and a read",
        if is_bounded { "never held" } else { "held" }
    );
    Ok(())
}

/// Sends until it is told to stop, and ends when all is sent.
fn send_on<M: Net>(event_loop: &mut Proxying<M>, stream: Stream) -> Result<(), BoxError> {
    static PIECE: [u8; 64 << 10] = [7; 64 << 10];
    while event_loop.state.sent < SENT {
        event_loop.state.sent += PIECE.len();
        if stream.write(event_loop, &PIECE)? == Flow::Blocked {
            return Ok(());
        }
    }
    stream.end(event_loop)?;
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    match (arguments.serve, arguments.to) {
        (Some(place), Some(to)) => serve(&place, &to),
        _ => demonstrate(Loop::reactor_with(Notes::default())?),
    }
}
