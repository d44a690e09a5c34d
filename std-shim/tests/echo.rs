//! The `echo` example as its users meet it: a server in another process, and sockets.
#![forbid(unsafe_code)]

mod child;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use child::{Running, example};
use linux_event::Signal;

/// A server on a free port.
struct Server {
    running: Running,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        Self::start_as(Command::new(example("echo")).args(["--serve", "127.0.0.1:0"]))
    }

    fn start_as(command: &mut Command) -> Self {
        let mut running = Running::start(command);
        let line = running.line();
        let address = line.strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("it says where it listens, not {line:?}"));
        Self {
            address: address.parse().expect("it prints its address"),
            running,
        }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("the server listens")
    }

    /// Ends it with `signal`; returns the counts of its last line.
    fn end(self, signal: Signal) -> Line {
        self.running.signal(signal);
        let (status, printed) = self.running.finish();
        assert_eq!(status.code(), Some(0), "{signal} ends it cleanly");
        let line = printed.trim_end();
        assert!(line.starts_with("served "), "{line:?}");
        Line::parse(line)
    }

    /// The most memory that it has ever had, in KiB.
    fn memory_kib_max(&self) -> u64 {
        let path = format!("/proc/{}/status", self.running.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("KiB")
    }
}

/// A line of `name=number` pairs.
#[derive(Debug)]
struct Line(HashMap<String, String>);

impl Line {
    fn parse(line: &str) -> Self {
        let pairs = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn count(&self, name: &str) -> u64 {
        self.0[name].parse().expect("a whole number")
    }

    fn figure(&self, name: &str) -> f64 {
        self.0[name]
            .trim_end_matches("µs")
            .parse()
            .expect("a number")
    }
}

/// Bytes that repeat late and at no power of two; another `seed`, other bytes.
fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count)
        .map(|index| ((index + seed) % 65_521 % 251) as u8)
        .collect()
}

fn echoed(mut stream: &TcpStream, sent: &[u8]) {
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).expect("everything comes back");
    assert!(back == sent, "what comes back is what was sent");
}

#[test]
fn two_hundred_connections_get_every_byte_back() {
    let server = Server::start();
    let messages: Vec<Vec<u8>> = (0..200).map(|number| bytes(10_000, number * 7)).collect();
    let streams: Vec<TcpStream> = messages.iter().map(|_| server.connect()).collect();
    for _ in 0..3 {
        for (mut stream, message) in streams.iter().zip(&messages) {
            stream.write_all(message).expect("it is taken");
        }
        for (stream, message) in streams.iter().zip(&messages) {
            echoed(stream, message);
        }
    }
    // With all of them still open.
    let line = server.end(Signal::TERM);
    assert_eq!(line.count("connections"), 200);
    assert_eq!(line.count("bytes"), 6_000_000);
    assert_eq!(line.count("resets"), 0);
}

#[test]
fn a_client_that_shuts_down_its_write_side_gets_everything_back_and_then_the_end() {
    let server = Server::start();
    let sent = bytes(1_000_000, 1);
    let stream = server.connect();
    let back = thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent).expect("it is taken");
            stream.shutdown(Shutdown::Write).expect("it is connected");
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).expect("no reset");
        back
    });
    assert!(back == sent);
    let line = server.end(Signal::INT);
    assert_eq!(line.count("resets"), 0);
}

#[test]
fn a_slow_reader_is_waited_for_in_bounded_memory() {
    let server = Server::start();
    let sent = bytes(32 << 20, 2);
    let stream = server.connect();
    let memory_kib = server.memory_kib_max();

    // As much as anybody takes while nothing is read: the buffers of two sockets at each end, and one read.
    let timeout = Some(Duration::from_millis(200));
    stream.set_write_timeout(timeout).expect("a timeout");
    let mut taken = 0;
    while taken < sent.len() {
        match (&stream).write(&sent[taken..]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let grown_kib = server.memory_kib_max() - memory_kib;
    assert!(
        grown_kib < 4 << 10,
        "the server kept {grown_kib} KiB of {taken} bytes"
    );
    // A server that waits for one serves the others.
    let other = server.connect();
    (&other).write_all(b"hello").expect("it is taken");
    echoed(&other, b"hello");

    stream.set_write_timeout(None).expect("no timeout");
    thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent[taken..]).expect("it is taken");
            stream.shutdown(Shutdown::Write).expect("it is connected");
        });
        for piece in sent.chunks(1_000) {
            echoed(&stream, piece);
        }
        let end = (&stream).read(&mut [0]).expect("no reset");
        assert_eq!(end, 0, "nothing comes after the end");
    });
    let line = server.end(Signal::TERM);
    assert_eq!(line.count("bytes"), (32 << 20) + 5);
}

#[test]
fn a_reset_is_counted_and_harms_nobody_else() {
    let server = Server::start();
    let (one, other) = (server.connect(), server.connect());
    (&one).write_all(b"unread").expect("it is taken");
    one.peek(&mut [0]).expect("the echo is there");
    drop(one); // closed with bytes unread: the kernel sends a reset

    (&other).write_all(b"hello").expect("it is taken");
    echoed(&other, b"hello");
    let line = server.end(Signal::TERM);
    assert_eq!(line.count("resets"), 1);
    assert_eq!(line.count("connections"), 2);
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on_when_a_connection_closes() {
    const CLIENTS: u64 = 40;
    let echo = example("echo");
    let limited = "ulimit -n 20; exec \"$0\" --serve 127.0.0.1:0";
    let began = Instant::now();
    let server = Server::start_as(Command::new("sh").arg("-c").arg(limited).arg(echo));
    // The kernel accepts them all; the server has descriptors for a few.
    let streams: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for mut stream in &streams {
        stream.write_all(b"hello").expect("it is taken");
    }
    for stream in streams {
        echoed(&stream, b"hello"); // and closes it
    }
    let last = server.connect();
    (&last).write_all(b"hello").expect("it is taken");
    echoed(&last, b"hello");

    let line = server.end(Signal::TERM);
    // Once at first, once a close, once each time that the pause is over: 100 ms.
    let pauses_max = 1 + CLIENTS + began.elapsed().as_millis() as u64 / 100;
    assert_eq!(line.count("connections"), CLIENTS + 1);
    assert!(line.count("pauses") >= 1, "{line:?}");
    assert!(line.count("pauses") <= pauses_max, "it spins: {line:?}");
}

#[test]
fn the_load_ends_by_itself_without_errors() {
    let arguments = ["--seconds", "1", "--connections", "8"];
    let command = &mut Command::new(example("echo"));
    let (status, printed) = Running::start(command.args(arguments)).finish();
    assert!(status.success(), "{status}: {printed}");
    assert_eq!(printed.lines().count(), 1, "a line for each model");
    assert!(printed.starts_with("model=reactor connections=8 size=64 "));
    let line = Line::parse(&printed);
    assert_eq!(line.count("errors"), 0);
    assert!(line.figure("messages/s") > 0.0);
    assert!(line.figure("p50") > 0.0 && line.figure("p50") <= line.figure("p99"));
    assert!(line.figure("p99") <= line.figure("p99.9"));
    // A read and a write each, and a share of the waits.
    assert!((2.0..4.0).contains(&line.figure("syscalls/message")));
}

#[test]
fn messages_larger_than_any_buffer_come_back_whole() {
    let arguments = [
        "--seconds",
        "0.2",
        "--connections",
        "2",
        "--size",
        "3000000",
    ];
    let command = &mut Command::new(example("echo"));
    let (status, printed) = Running::start(command.args(arguments)).finish();
    assert!(status.success(), "{status}: {printed}");
    let line = Line::parse(&printed);
    assert_eq!(line.count("errors"), 0);
    assert!(line.figure("messages/s") > 0.0);
}
