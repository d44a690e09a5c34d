//! Multishot: one operation that completes again and again, for accepting and for receiving.
//!
//! A multishot receive has no buffer of its own. Each time it takes one from a group that the loop provides, which comes as a
//! lease and goes back when it is dropped. So a thousand idle connections need no memory, and a message can be put together
//! from leases without copying. When all are leased the receive ends with ENOBUFS: nothing is lost, what has come is in
//! the socket. Give leases back, and receive again.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! connection 1: "hi" in 1 part
//! connection 2: no buffer left, 2 are leased
//! connection 2: "one two six" in 3 parts
//! accepted 2 connections by one operation
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use linux_event::core::proactor::Lease;
use linux_event::core::sys::Linux;
use linux_event::{BoxError, Completion, Errno, File, Group, Loop, Proactor, Uring, op};

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;

const CLIENTS: [&str; 2] = ["hi", "one two six"];

/// What callbacks share.
#[derive(Default)]
struct Server {
    accepted: usize,
}

/// A message that is being received.
#[derive(Default)]
struct Message {
    /// The parts that were copied, because the buffers were needed.
    copied: Vec<u8>,
    /// The parts after those, where the kernel has put them.
    leases: Vec<Lease<Linux>>,
    parts: usize,
}

fn main() -> Result<ExitCode, BoxError> {
    let mut event_loop = match Loop::proactor_with(Server::default()) {
        Ok(event_loop) => event_loop,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            return Ok(ExitCode::from(NO_RING));
        }
    };
    let listener = TcpListener::bind(("127.0.0.1", 0))?; // any free port
    let address = listener.local_addr()?;
    let listener = event_loop.adopt(listener)?;
    let clients = thread::spawn(move || CLIENTS.iter().try_for_each(|text| say(address, text)));

    // Two buffers of four bytes, to run out of them. Real ones: some hundreds of a few KiB.
    let group = event_loop.provide(2, 4)?;
    event_loop.accept_multi(listener, move |event_loop, accepted| {
        accept(event_loop, accepted, group)
    })?;
    event_loop.run()?;

    println!(
        "accepted {} connections by one operation",
        event_loop.state.accepted
    );
    clients.join().expect("the clients have not panicked")?;
    Ok(ExitCode::SUCCESS)
}

type Ring = Loop<Proactor<Uring>, Server>;

fn accept(event_loop: &mut Ring, accepted: Completion, group: Group) -> Result<(), BoxError> {
    if accepted.is_cancelled() {
        return Ok(()); // below
    }
    // Any other error ends the operation too: EMFILE, for one. A server waits then, and accepts again.
    accepted.outcome()?;
    let operation = accepted.op;
    let Some(fd) = accepted.into_descriptor() else {
        return Err("an accept brings a descriptor".into());
    };
    event_loop.state.accepted += 1;
    let number = event_loop.state.accepted;
    if number == CLIENTS.len() {
        event_loop.cancel(operation); // it would go on for ever
    }

    let socket = event_loop.adopt_fd(fd)?;
    let mut message = Message::default();
    event_loop.recv_multi(socket, group, move |event_loop, received| {
        receive(event_loop, received, socket, group, number, &mut message)
    })?;
    Ok(())
}

fn receive(
    event_loop: &mut Ring,
    received: Completion,
    socket: File,
    group: Group,
    number: usize,
    message: &mut Message,
) -> Result<(), BoxError> {
    match received.outcome() {
        Err(Errno::ENOBUFS) => {
            println!(
                "connection {number}: no buffer left, {} are leased",
                message.leases.len()
            );
            message.copy_leases(); // and drops them: now there are buffers again
            event_loop.again(op::recv_multi(socket, group))?;
            return Ok(());
        }
        Err(errno) => return Err(errno.into()),
        Ok(_) => {}
    }
    // It may be the last completion even so: `more` says whether the operation goes on.
    let goes_on = received.more;
    if let Some(lease) = received.into_lease() {
        message.parts += 1;
        message.leases.push(lease);
        if !goes_on {
            event_loop.again(op::recv_multi(socket, group))?;
        }
        return Ok(());
    }
    message.copy_leases();
    let text = String::from_utf8_lossy(&message.copied);
    let s = if message.parts == 1 { "" } else { "s" };
    println!("connection {number}: {text:?} in {} part{s}", message.parts);
    event_loop.close(socket, |_, closed| closed.outcome().map(drop))?;
    Ok(())
}

impl Message {
    fn copy_leases(&mut self) {
        for lease in self.leases.drain(..) {
            self.copied.extend_from_slice(&lease);
        }
    }
}

/// A client: says something, and waits until the server has heard it and closes.
fn say(server: SocketAddr, text: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
