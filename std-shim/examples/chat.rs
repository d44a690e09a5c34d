//! A chat server: what one says, all the others hear.
//!
//! The first line of a client is its name. One that does not read what it is told is thrown out when 64 KiB wait for it: it holds
//! nobody else up. `-- --serve 127.0.0.1:6667` serves until SIGINT or SIGTERM; `nc 127.0.0.1 6667` is a client.
//!
//! Without arguments two clients meet. Prints what they hear:
//!
//! ```text
//! Ann hears: Bob has come
//! Bob hears: Ann: hello Bob
//! Ann hears: Bob: hello Ann
//! Bob hears: Ann has gone
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use linux_event::codec::Line;
use linux_event::net::{Address, Connector, Listener, Net, Socket, Stream};
use linux_event::{BoxError, Loop};

/// A chat server
#[derive(Parser)]
struct Arguments {
    /// Serve here until SIGINT or SIGTERM
    #[arg(long, value_name = "ADDR")]
    serve: Option<String>,
}

/// Who is there; a client without a name has not said it yet.
type Room = BTreeMap<Stream, Option<String>>;

type Chatting<M> = Loop<M, Room>;

/// The most that waits for a client to read it.
const PENDING_MAX: usize = 64 << 10;
/// Accepting that pauses for want of descriptors goes on after so long.
const PAUSE: Duration = Duration::from_millis(100);

fn enter<M: Net>(
    event_loop: &mut Chatting<M>,
    _: Listener,
    socket: Socket<M>,
) -> Result<(), BoxError> {
    let stream = Stream::over(event_loop, socket)
        .pending_max(PENDING_MAX)
        .on_message(
            Line::new(512),
            |event_loop: &mut Chatting<M>, stream, line| {
                let text = String::from_utf8_lossy(line).into_owned();
                match event_loop.state.get_mut(&stream) {
                    Some(name @ None) => {
                        let told = format!("{text} has come");
                        *name = Some(text);
                        tell(event_loop, stream, &told);
                    }
                    Some(Some(name)) => {
                        let told = format!("{name}: {text}");
                        tell(event_loop, stream, &told);
                    }
                    None => {}
                }
            },
        )
        .on_error(|_, _, _| ()) // its close follows
        .on_close(|event_loop, stream| {
            if let Some(Some(name)) = event_loop.state.remove(&stream) {
                tell(event_loop, stream, &format!("{name} has gone"));
            }
        })
        .start()?;
    event_loop.state.insert(stream, None);
    Ok(())
}

/// Tells all that have a name, but for whom it comes from.
fn tell<M: Net>(event_loop: &mut Chatting<M>, from: Stream, text: &str) {
    let others = |(stream, name): (&Stream, &Option<String>)| {
        (*stream != from && name.is_some()).then_some(*stream)
    };
    let others: Vec<Stream> = event_loop.state.iter().filter_map(others).collect();
    // By hand: a line with a name before it may be longer than those that are taken.
    let line = format!("{text}\n");
    for other in others {
        if other.write(event_loop, line.as_bytes()).is_err() {
            let _ = other.close(event_loop); // it is full, or gone already
        }
    }
}

fn serve(place: &str) -> Result<(), BoxError> {
    let mut event_loop = Loop::reactor_with(Room::new())?;
    let listener = Listener::tcp(&mut event_loop, place)
        .retry_after(PAUSE)
        .start(enter)?;
    println!("listening on {}", listener.local_address(&mut event_loop)?);
    event_loop.signal(["INT", "TERM"], |event_loop, _| event_loop.stop())?;
    event_loop.run()?;
    Ok(())
}

/// A client that says its name, and answers as it is told to.
fn client<M: Net>(
    event_loop: &mut Chatting<M>,
    address: std::net::SocketAddr,
    name: &'static str,
    hears: impl FnMut(&mut Chatting<M>, Stream, &str) -> Result<(), BoxError> + 'static,
) -> Result<(), BoxError> {
    let mut hears = hears;
    Connector::to(event_loop, address).start(move |event_loop, connected| {
        let stream = Stream::over(event_loop, connected?)
            .on_message(Line::new(1024), move |event_loop, stream, line| {
                let text = String::from_utf8_lossy(line);
                println!("{name} hears: {text}");
                hears(event_loop, stream, &text)
            })
            .start()?;
        stream.write_message(event_loop, name.as_bytes())?;
        Ok::<(), BoxError>(())
    })?;
    Ok(())
}

/// Bob comes once Ann is there, which the room says.
fn bob<M: Net>(
    event_loop: &mut Chatting<M>,
    address: std::net::SocketAddr,
    listener: Listener,
) -> Result<(), BoxError> {
    if event_loop.state.values().all(Option::is_none) {
        event_loop.defer(move |event_loop| bob(event_loop, address, listener));
        return Ok(());
    }
    client(
        event_loop,
        address,
        "Bob",
        move |event_loop, stream, text| {
            if text == "Ann has gone" {
                listener.close(event_loop)?;
                stream.end(event_loop)?;
            } else {
                stream.write_message(event_loop, b"hello Ann")?;
            }
            Ok(())
        },
    )
}

fn demonstrate<M: Net>(mut event_loop: Chatting<M>) -> Result<(), BoxError> {
    let listener = Listener::tcp(&mut event_loop, "127.0.0.1:0").start(enter)?;
    let Address::Internet(address) = listener.local_address(&mut event_loop)? else {
        return Err("TCP has internet addresses".into());
    };
    client(
        &mut event_loop,
        address,
        "Ann",
        |event_loop, stream, text| {
            if text == "Bob has come" {
                stream.write_message(event_loop, b"hello Bob")?;
            } else {
                stream.end(event_loop)?; // the server closes when both have ended
            }
            Ok(())
        },
    )?;
    bob(&mut event_loop, address, listener)?;
    event_loop.run()?;
    Ok(())
}

fn main() -> Result<(), BoxError> {
    match Arguments::parse().serve {
        Some(place) => serve(&place),
        None => demonstrate(Loop::reactor_with(Room::new())?),
    }
}
