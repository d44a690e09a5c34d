//! A TCP connection from its first call to its last, by operations: socket, connect, accept, send, receive, shutdown, close.
//!
//! Shutting down the writing side says "I have no more to say, and go on listening"; the peer reads the end of the stream. Closing
//! an adopted descriptor cancels what is in flight on it, waits for that, and then closes.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! client: connected
//! server: 127.0.0.1 says "hello"
//! server: the client has no more to say
//! client: the server says "goodbye"
//! client: the server has closed
//! still adopted: 1, the listener
//! ```
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use linux_event::{
    BoxError, Buffer, Completion, Domain, File, How, Loop, Proactor, SocketKind, Uring, op,
};

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
    let listener = TcpListener::bind(("127.0.0.1", 0))?; // any free port
    let address = listener.local_addr()?;
    let listener = event_loop.adopt(listener)?;

    event_loop.accept(listener, accepted)?;
    event_loop.socket(
        Domain::of(&address),
        SocketKind::Stream,
        move |event_loop, made| connect(event_loop, made, address),
    )?;

    event_loop.run()?; // until no operation is under way
    println!("still adopted: {}, the listener", event_loop.file_count());
    Ok(ExitCode::SUCCESS)
}

/// The server's side: reads until the client has no more to say, and answers.
fn accepted(event_loop: &mut Ring, accepted: Completion) -> Result<(), BoxError> {
    accepted.outcome()?;
    let address = event_loop.address(accepted.op); // before anything else is submitted
    let peer = address.map_or("somebody".to_owned(), |address| address.ip().to_string());
    let Some(fd) = accepted.into_descriptor() else {
        return Err("an accept brings a descriptor".into());
    };
    let socket = event_loop.adopt_fd(fd)?;
    event_loop.recv(socket, vec![0; 64], move |event_loop, received| {
        if received.outcome()? > 0 {
            let buffer = received.into_buffer().unwrap_or_default();
            println!("server: {peer} says {:?}", String::from_utf8_lossy(&buffer));
            event_loop.again(op::recv(socket, buffer))?;
            return Ok(());
        }
        println!("server: the client has no more to say");
        event_loop.send(socket, "goodbye", move |event_loop, sent| {
            sent.outcome()?;
            close(event_loop, socket)
        })?;
        Ok::<(), BoxError>(())
    })?;
    Ok(())
}

/// The client's side: connects the socket that was made.
fn connect(event_loop: &mut Ring, made: Completion, address: SocketAddr) -> Result<(), BoxError> {
    made.outcome()?;
    let Some(fd) = made.into_descriptor() else {
        return Err("an operation that makes a socket brings a descriptor".into());
    };
    let socket = event_loop.adopt_fd(fd)?;
    event_loop.connect(socket, address, move |event_loop, connected| {
        connected.outcome()?; // ECONNREFUSED, ETIMEDOUT and the like
        println!("client: connected");
        // A chain: the second starts when the first has succeeded.
        let hello = op::send(socket, Buffer::from("hello"));
        event_loop.submit_chain([
            event_loop.member(hello, |_, sent| sent.outcome().map(drop)),
            event_loop.member(op::shutdown(socket, How::Write), |_, shut| {
                shut.outcome().map(drop)
            }),
        ])?;
        listen_to_server(event_loop, socket)
    })?;
    Ok(())
}

/// Reads until the server closes.
fn listen_to_server(event_loop: &mut Ring, socket: File) -> Result<(), BoxError> {
    event_loop.recv(socket, vec![0; 64], move |event_loop, received| {
        if received.outcome()? > 0 {
            let buffer = received.into_buffer().unwrap_or_default();
            println!(
                "client: the server says {:?}",
                String::from_utf8_lossy(&buffer)
            );
            event_loop.again(op::recv(socket, buffer))?;
            return Ok(());
        }
        println!("client: the server has closed");
        close(event_loop, socket)
    })?;
    Ok(())
}

fn close(event_loop: &mut Ring, socket: File) -> Result<(), BoxError> {
    event_loop.close(socket, |_, closed| closed.outcome().map(drop))?;
    Ok(())
}
