//! A TCP proxy whose bytes never come into the program: the kernel moves them from socket to pipe and from pipe to socket.
//!
//! Each direction of a connection has a pipe and one operation under way: it waits until there is something to read,
//! splices it into the pipe, splices all of that out of the pipe, and waits again. A direction that ends passes the end of
//! the stream on; the other goes on alone.
//!
//! A splice runs on a worker thread of the kernel's, and keeps it for as long as it waits. So what waits for an idle peer
//! is a poll, which keeps none.
//!
//! Without arguments it tries itself out: an echo server in a thread, clients in others, and the proxy between them.
//!
//! Prints, where io_uring may be used:
//!
//! ```text
//! each of 4 clients got its 1000000 bytes back, and then the end
//! proxied connections=4 bytes=8000000 failed=0
//! ```
//!
//! `--serve 127.0.0.1:8080 127.0.0.1:80` listens on the first address and connects to the second for everybody who comes,
//! until SIGINT or SIGTERM. It says where it listens, and in the end the second of these lines.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use linux_event::{
    BoxError, Completion, Domain, Errno, File, How, IntoOwnedFd, Loop, PollEvents, Proactor,
    SocketKind, Uring, op,
};

/// What many test harnesses read as "skipped".
const NO_RING: u8 = 77;
/// What a pipe holds, unless it was told to hold more.
const PIPE_BYTES: u32 = 64 * 1024;
/// Without descriptors or memory, accepting is tried again after so long.
const PAUSE: Duration = Duration::from_millis(100);

type Proxy = Loop<Proactor<Uring>, State>;

/// What the proxy's callbacks share.
#[derive(Default)]
struct State {
    /// The connections, by their client's socket, of which one direction has ended.
    half_closed: HashSet<File>,
    connections: u64,
    bytes: u64,
    failed: u64,
}

fn main() -> Result<ExitCode, BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let proxy = match Loop::proactor_with(State::default()) {
        Ok(proxy) => proxy,
        Err(error) => {
            println!("{error}"); // it says what forbids io_uring, and what to do
            return Ok(ExitCode::from(NO_RING));
        }
    };
    match arguments[..] {
        [] => try_out(proxy)?,
        ["--serve", listen, upstream] => serve(proxy, listen.parse()?, upstream.parse()?)?,
        _ => {
            eprintln!("usage: splice_proxy [--serve LISTEN UPSTREAM], addresses as 127.0.0.1:8080");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves until SIGINT or SIGTERM.
fn serve(mut proxy: Proxy, listen: SocketAddr, upstream: SocketAddr) -> Result<(), BoxError> {
    proxy.signal(["INT", "TERM"], |proxy, _| proxy.stop())?;
    let address = Route::begin(&mut proxy, listen, upstream)?;
    println!("listening on {address}");
    proxy.run()?;
    println!("{}", proxy.state);
    Ok(())
}

/// From where to where.
#[derive(Clone, Copy)]
struct Route {
    listener: File,
    upstream: SocketAddr,
}

impl Route {
    /// Listens; returns the address with the port that it got.
    fn begin(
        proxy: &mut Proxy,
        listen: SocketAddr,
        upstream: SocketAddr,
    ) -> Result<SocketAddr, BoxError> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let listener = proxy.adopt(listener)?;
        Self { listener, upstream }.accept(proxy)?;
        Ok(address)
    }

    /// Accepts one connection, and the next when that has come.
    fn accept(self, proxy: &mut Proxy) -> Result<(), linux_event::Error> {
        let accepting = proxy.accept(self.listener, move |proxy, accepted| {
            self.accepted(proxy, accepted)
        })?;
        proxy.unref(accepting); // alone it is no reason to run on
        Ok(())
    }

    fn accepted(self, proxy: &mut Proxy, accepted: Completion) -> Result<(), BoxError> {
        match accepted.outcome() {
            Ok(_) => {
                proxy.state.connections += 1;
                match take_in(proxy, accepted) {
                    Ok(client) => self.connect(proxy, client)?,
                    Err(_) => proxy.state.failed += 1,
                }
            }
            // It would fail again and again: wait until there are descriptors, or memory.
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                let timer = proxy.after(PAUSE, move |proxy| self.accept(proxy))?;
                proxy.unref(timer);
                return Ok(());
            }
            Err(errno @ (Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK)) => {
                return Err(errno.into());
            }
            Err(_) => {} // the connection's own trouble, which `accept(2)` passes on
        }
        self.accept(proxy)?;
        Ok(())
    }

    /// Connects to the upstream for a client that has come. What fails from here on ends one connection, not the proxy: no
    /// callback returns it.
    fn connect(self, proxy: &mut Proxy, client: File) -> Result<(), linux_event::Error> {
        let domain = Domain::of(&self.upstream);
        proxy.socket(domain, SocketKind::Stream, move |proxy, made| {
            let Ok(upstream) = take_in(proxy, made) else {
                return fail(proxy, client, None);
            };
            let connecting = proxy.connect(upstream, self.upstream, move |proxy, connected| {
                let pair = Pair { client, upstream };
                if connected.outcome().is_err() || pair.forward(proxy).is_err() {
                    fail(proxy, client, Some(upstream));
                }
            });
            if connecting.is_err() {
                fail(proxy, client, Some(upstream));
            }
        })?;
        Ok(())
    }
}

/// Adopts the socket that an operation has made.
fn take_in(proxy: &mut Proxy, made: Completion) -> Result<File, BoxError> {
    made.outcome()?;
    let fd = made.into_descriptor().ok_or("there is no socket")?;
    let stream = TcpStream::from(fd.into_owned_fd());
    stream.set_nodelay(true)?; // the pieces are passed on as they come
    Ok(proxy.adopt(stream)?)
}

/// Closes a file; false if it is closing already. What is in flight on it is cancelled first.
fn close(proxy: &mut Proxy, file: File) -> bool {
    proxy.close(file, |_, _| ()).is_ok()
}

/// Ends a connection that can't go on. Its directions, if they have begun, hear of it by what they have in flight.
fn fail(proxy: &mut Proxy, client: File, upstream: Option<File>) {
    if close(proxy, client) {
        proxy.state.failed += 1;
    }
    if let Some(upstream) = upstream {
        close(proxy, upstream);
    }
    proxy.state.half_closed.remove(&client);
}

/// A client's socket, and the one to the upstream for it.
#[derive(Clone, Copy)]
struct Pair {
    client: File,
    upstream: File,
}

impl Pair {
    /// Begins to forward in both directions.
    fn forward(self, proxy: &mut Proxy) -> Result<(), BoxError> {
        Direction::begin(proxy, self, self.client, self.upstream)?;
        Direction::begin(proxy, self, self.upstream, self.client)
    }
}

/// What a direction's operation does.
#[derive(Clone, Copy)]
enum Step {
    /// Waits until there is something to read, or the end.
    Wait,
    /// Fills the pipe, which is empty.
    Fill,
    /// Empties the pipe, of so many bytes.
    Drain(u32),
}

/// One direction of a connection: what the callback of its operations has captured.
#[derive(Clone, Copy)]
struct Direction {
    pair: Pair,
    from: File,
    to: File,
    pipe_reader: File,
    pipe_writer: File,
    step: Step,
}

impl Direction {
    fn begin(proxy: &mut Proxy, pair: Pair, from: File, to: File) -> Result<(), BoxError> {
        let (reader, writer) = io::pipe()?;
        let mut direction = Self {
            pair,
            from,
            to,
            pipe_reader: proxy.adopt(reader)?,
            pipe_writer: proxy.adopt(writer)?,
            step: Step::Wait,
        };
        let waiting = proxy.poll(from, PollEvents::IN, move |proxy, done| {
            direction.advance(proxy, &done);
        });
        if waiting.is_err() {
            direction.close_pipe(proxy);
        }
        waiting?;
        Ok(())
    }

    /// Submits the step after the one that is done, with the same callback.
    fn advance(&mut self, proxy: &mut Proxy, done: &Completion) {
        self.step = match (self.step, done.outcome()) {
            // Whether it is data, the end or an error, the splice will say.
            (Step::Wait, Ok(_)) => Step::Fill,
            (Step::Fill, Ok(0)) => return self.end(proxy),
            (Step::Fill, Ok(count)) => Step::Drain(count),
            (Step::Drain(bytes), Ok(count)) => {
                proxy.state.bytes += u64::from(count);
                // The pipe is emptied first: else a peer that does not read would have it fill up.
                match bytes - count {
                    0 => Step::Wait,
                    left => Step::Drain(left),
                }
            }
            (_, Err(_)) => return self.fail(proxy),
        };
        let next = match self.step {
            Step::Wait => proxy.again(op::poll(self.from, PollEvents::IN)),
            Step::Fill => proxy.again(op::splice(self.from, self.pipe_writer, PIPE_BYTES)),
            Step::Drain(bytes) => proxy.again(op::splice(self.pipe_reader, self.to, bytes)),
        };
        // It is refused if the other direction has failed meanwhile, and closed the sockets.
        if next.is_err() {
            self.fail(proxy);
        }
    }

    fn fail(&self, proxy: &mut Proxy) {
        self.close_pipe(proxy);
        fail(proxy, self.pair.client, Some(self.pair.upstream));
    }

    /// Nothing more comes in this direction. The second one to end closes the sockets.
    fn end(&self, proxy: &mut Proxy) {
        self.close_pipe(proxy);
        if proxy.state.half_closed.remove(&self.pair.client) {
            close(proxy, self.pair.client);
            close(proxy, self.pair.upstream);
            return;
        }
        proxy.state.half_closed.insert(self.pair.client);
        // A peer that is gone already is no matter: the other direction will hear of it.
        if proxy
            .shutdown_socket(self.to, How::Write, |_, _| ())
            .is_err()
        {
            fail(proxy, self.pair.client, Some(self.pair.upstream));
        }
    }

    fn close_pipe(&self, proxy: &mut Proxy) {
        close(proxy, self.pipe_reader);
        close(proxy, self.pipe_writer);
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            bytes,
            failed,
            ..
        } = self;
        write!(
            f,
            "proxied connections={connections} bytes={bytes} failed={failed}"
        )
    }
}

/// Runs the proxy between an echo server and its clients, until those have ended.
fn try_out(mut proxy: Proxy) -> Result<(), BoxError> {
    const CLIENTS: usize = 4;
    const BYTES: usize = 1_000_000;
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));

    let upstream = TcpListener::bind(any_port)?;
    let upstream_address = upstream.local_addr()?;
    let echoing = thread::spawn(move || echo(&upstream, CLIENTS));

    let address = Route::begin(&mut proxy, any_port, upstream_address)?;
    let waker = proxy.waker()?; // as long as it is held, the proxy runs on
    let clients = thread::spawn(move || {
        let done = thread::scope(|scope| {
            let clients = [(); CLIENTS].map(|()| scope.spawn(|| send_and_compare(address, BYTES)));
            clients
                .into_iter()
                .try_for_each(|client| client.join().expect("no panic"))
        });
        drop(waker);
        done
    });

    proxy.run()?; // until the clients have ended, and their connections are closed
    clients.join().expect("no panic")?;
    println!("each of {CLIENTS} clients got its {BYTES} bytes back, and then the end");
    println!("{}", proxy.state);
    echoing.join().expect("no panic")?;
    Ok(())
}

/// Echoes to so many clients, each in a thread.
fn echo(listener: &TcpListener, clients: usize) -> io::Result<()> {
    thread::scope(|scope| {
        for _ in 0..clients {
            let (stream, _) = listener.accept()?;
            scope.spawn(move || {
                io::copy(&mut &stream, &mut &stream)?;
                stream.shutdown(Shutdown::Write)
            });
        }
        Ok(())
    })
}

/// A client: sends, says that this was all, and compares what comes back.
fn send_and_compare(server: SocketAddr, count: usize) -> io::Result<()> {
    let stream = TcpStream::connect(server)?;
    let sent: Vec<u8> = (0..count).map(|index| (index % 251) as u8).collect();
    let mut back = Vec::new();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            (&stream).write_all(&sent)?;
            stream.shutdown(Shutdown::Write)
        });
        (&stream).read_to_end(&mut back)?;
        sending.join().expect("no panic")
    })?;
    if back == sent {
        Ok(())
    } else {
        Err(io::Error::other("that is not what was sent"))
    }
}
