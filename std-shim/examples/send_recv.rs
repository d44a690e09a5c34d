//! Send and receive over a pair of sockets: a request, its answer, and the end of the stream.
//!
//! Both ends are in one loop here, as if the peer were another program. A send never raises SIGPIPE, and may send a part: what
//! is left is sent again.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! server: received "ping"
//! client: received "pong"
//! client: closes its end
//! server: the end of the stream
//! ```
#![forbid(unsafe_code)]

use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use linux_event::{BoxError, Buffer, Completion, File, Loop, Proactor, Uring, op};

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

type Ring = Loop<Proactor<Uring>>;

fn main() -> Result<ExitCode, BoxError> {
    let mut event_loop = match Loop::proactor() {
        Ok(event_loop) => event_loop,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            return Ok(ExitCode::from(NO_RING));
        }
    };
    // In blocking mode, as they are: the ring waits for them, no thread is blocked.
    let (server, client) = UnixStream::pair()?;
    let (server, client) = (event_loop.adopt(server)?, event_loop.adopt(client)?);

    event_loop.recv(server, vec![0; 64], move |event_loop, received| {
        if received.outcome()? == 0 {
            println!("server: the end of the stream");
            return Ok(());
        }
        let mut buffer = received.into_buffer().unwrap_or_default();
        println!("server: received {:?}", String::from_utf8_lossy(&buffer));
        event_loop.again(op::recv(server, Buffer::with_capacity(64)))?; // for what comes next
        buffer.clear();
        buffer.extend_from_slice(b"pong");
        send_all(event_loop, server, buffer)
    })?;

    event_loop.recv(client, vec![0; 64], move |event_loop, received| {
        received.outcome()?;
        let buffer = received.into_buffer().unwrap_or_default();
        println!("client: received {:?}", String::from_utf8_lossy(&buffer));
        println!("client: closes its end");
        event_loop.close(client, |_, closed| closed.outcome().map(drop))?;
        Ok::<(), BoxError>(())
    })?;
    send_all(&mut event_loop, client, Buffer::from("ping"))?;

    event_loop.run()?; // until no operation is under way
    Ok(ExitCode::SUCCESS)
}

/// Sends all of `buffer`, however many sends it takes.
fn send_all(event_loop: &mut Ring, socket: File, buffer: Buffer) -> Result<(), BoxError> {
    event_loop.send(socket, buffer, move |event_loop, sent| {
        send_rest(event_loop, socket, sent)
    })?;
    Ok(())
}

/// Sends what a send has left of its buffer.
fn send_rest(event_loop: &mut Ring, socket: File, sent: Completion) -> Result<(), BoxError> {
    let count = sent.outcome()?;
    let mut buffer = sent.into_buffer().unwrap_or_default();
    buffer.drain(..count as usize);
    if !buffer.is_empty() {
        event_loop.again(op::send(socket, buffer))?;
    }
    Ok(())
}
