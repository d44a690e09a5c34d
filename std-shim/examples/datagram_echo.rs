//! An echo server of packets, UDP or unix, on either model; and a client that counts what comes back.
//!
//! Shows: `Datagram::bind` and `Datagram::unix`, answering whom a packet came from, a client that is connected, a packet that is
//! cut, and how a full queue says so. One function for both models.
//!
//! Prints:
//!
//! ```text
//! reactor, UDP: 100 packets came back, 1 of them cut to 16 bytes
//! reactor, unix: 100 packets came back, 1 of them cut to 16 bytes
//! proactor, UDP: 100 packets came back, 1 of them cut to 16 bytes
//! proactor, unix: 100 packets came back, 1 of them cut to 16 bytes
//! ```
//!
//! Run: `cargo run --example datagram_echo`
#![forbid(unsafe_code)]

use std::process::ExitCode;

use linux_event::net::{Address, Bind, Datagram, DatagramBuilder, Net, SendError};
use linux_event::{Error, Loop};

const PACKETS: usize = 100;
/// Bytes that the client has room for.
const ROOM: usize = 16;

/// What the client has seen.
#[derive(Debug, Default)]
struct Seen {
    sent: usize,
    received: usize,
    cut: usize,
}

/// Sends every packet back to whom it came from.
fn echo<M: Net>(builder: DatagramBuilder<'_, M, Seen>) -> Result<Datagram, Error> {
    builder.start(|event_loop, socket, packet, peer, _is_cut| {
        match socket.send_to(event_loop, packet, peer) {
            // Who asks faster than the answers leave goes without: it is a datagram.
            Err(SendError::Full { .. }) => Ok(()),
            sent => sent,
        }
    })
}

/// Sends the next packet; the last one is longer than there is room for.
fn send_next<M: Net>(event_loop: &mut Loop<M, Seen>, client: Datagram) -> Result<(), SendError> {
    event_loop.state.sent += 1;
    let length = if event_loop.state.sent == PACKETS {
        ROOM + 1
    } else {
        ROOM
    };
    client.send(event_loop, &vec![b'x'; length])
}

/// A client of the server at `to`: each answer is followed by the next question.
fn client<M: Net>(builder: DatagramBuilder<'_, M, Seen>, to: Address) -> Result<Datagram, Error> {
    builder
        .connect(to)
        .receive_size(ROOM)
        .start(|event_loop, client, packet, _server, is_cut| {
            assert_eq!(packet.len(), ROOM);
            event_loop.state.received += 1;
            event_loop.state.cut += usize::from(is_cut);
            if event_loop.state.received == PACKETS {
                event_loop.stop();
                return Ok(());
            }
            send_next(event_loop, client)
        })
}

fn run<M: Net>(event_loop: &mut Loop<M, Seen>, model: &str) -> Result<(), Error> {
    let here = Bind::from("127.0.0.1:0");
    let server = echo(Datagram::bind(event_loop, here))?;
    let to = server.local_address(event_loop)?;
    let udp = client(Datagram::bind(event_loop, here), to)?;
    exchange(event_loop, udp, &format!("{model}, UDP"))?;
    server.close(event_loop)?;

    // Abstract names, which are in no file system: a server's, and the client's, so that it can be answered.
    let name = |whose: &str| format!("\0datagram-echo-{whose}-{}", std::process::id());
    let server = echo(Datagram::unix(event_loop, name("server")))?;
    let to = server.local_address(event_loop)?;
    let unix = client(Datagram::unix(event_loop, name("client")), to)?;
    exchange(event_loop, unix, &format!("{model}, unix"))?;
    server.close(event_loop)
}

fn exchange<M: Net>(
    event_loop: &mut Loop<M, Seen>,
    client: Datagram,
    what: &str,
) -> Result<(), Error> {
    event_loop.state = Seen::default();
    send_next(event_loop, client)?;
    event_loop.run()?;
    let Seen { received, cut, .. } = event_loop.state;
    println!("{what}: {received} packets came back, {cut} of them cut to {ROOM} bytes");
    client.close(event_loop)
}

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

fn main() -> Result<ExitCode, Error> {
    run(&mut Loop::reactor_with(Seen::default())?, "reactor")?;
    match Loop::proactor_with(Seen::default()) {
        Ok(mut event_loop) => run(&mut event_loop, "proactor")?,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring
            return Ok(ExitCode::from(NO_RING));
        }
    }
    Ok(ExitCode::SUCCESS)
}
