//! The `echo` example as its users meet it: a server in another process, and sockets.
#![forbid(unsafe_code)]

mod child;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use child::{Running, SKIPPED, example, no_ring};
use linux_event::Signal;

/// What the server runs on.
#[derive(Clone, Copy, PartialEq)]
enum Model {
    Reactor,
    Proactor,
}

impl Model {
    fn name(self) -> &'static str {
        match self {
            Self::Reactor => "reactor",
            Self::Proactor => "proactor",
        }
    }
}

/// Makes a test of each body for each model. Without io_uring the server says why there is none, and nothing else is tested.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod reactor {
            $(#[test] fn $name() { super::$name(super::Model::Reactor); })*
        }
        mod proactor {
            $(#[test] fn $name() {
                if super::has_ring() {
                    super::$name(super::Model::Proactor);
                }
            })*
        }
    };
}

both!(
    three_megabytes_go_each_way,
    two_hundred_connections_get_every_byte_back,
    a_client_that_shuts_down_its_write_side_gets_everything_back_and_then_the_end,
    a_slow_reader_is_waited_for_in_bounded_memory,
    a_reset_is_counted_and_harms_nobody_else,
    without_descriptors_accepting_pauses_and_goes_on_when_a_connection_closes,
    the_load_ends_by_itself_without_errors,
    five_hundred_connections_make_no_errors,
    messages_larger_than_any_buffer_come_back_whole,
);

/// Whether io_uring may be used.
fn has_ring() -> bool {
    let why = no_ring();
    if let Some(why) = &why {
        eprintln!("skipped: {why}");
    }
    why.is_none()
}

/// A server on a free port.
struct Server {
    running: Running,
    address: SocketAddr,
}

impl Server {
    fn start(model: Model) -> Self {
        let arguments = ["--serve", "127.0.0.1:0", "--model", model.name()];
        Self::start_as(Command::new(example("echo")).args(arguments))
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

/// Both ends at once: neither waits for the other.
fn three_megabytes_go_each_way(model: Model) {
    let server = Server::start(model);
    let stream = server.connect();
    let sent = bytes(3_000_000, 3);
    thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&sent).expect("it is taken"));
        echoed(&stream, &sent);
    });
    drop(stream);
    let line = server.end(Signal::TERM);
    assert_eq!(line.count("bytes"), 3_000_000);
    assert_eq!(line.count("resets"), 0);
}

fn two_hundred_connections_get_every_byte_back(model: Model) {
    let server = Server::start(model);
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

fn a_client_that_shuts_down_its_write_side_gets_everything_back_and_then_the_end(model: Model) {
    let server = Server::start(model);
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

fn a_slow_reader_is_waited_for_in_bounded_memory(model: Model) {
    let server = Server::start(model);
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

fn a_reset_is_counted_and_harms_nobody_else(model: Model) {
    let server = Server::start(model);
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

fn without_descriptors_accepting_pauses_and_goes_on_when_a_connection_closes(model: Model) {
    const CLIENTS: u64 = 40;
    let echo = example("echo");
    let limited = "ulimit -n 20; exec \"$0\" --serve 127.0.0.1:0 --model \"$1\"";
    let began = Instant::now();
    let mut shell = Command::new("sh");
    let server = Server::start_as(shell.arg("-c").arg(limited).arg(echo).arg(model.name()));
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

fn the_load_ends_by_itself_without_errors(model: Model) {
    let line = load(model, &["--seconds", "1", "--connections", "8"]);
    assert_eq!(line.count("connections"), 8);
    assert_eq!(line.count("size"), 64);
    assert!(line.figure("p50") > 0.0 && line.figure("p50") <= line.figure("p99"));
    assert!(line.figure("p99") <= line.figure("p99.9"));
    let syscalls = line.figure("syscalls/message");
    match model {
        // A read and a write each, and a share of the waits.
        Model::Reactor => assert!((2.0..4.0).contains(&syscalls), "{line:?}"),
        // Two waits if each finds one completion, and shares of them if they find more; what is over is of the connections.
        Model::Proactor => assert!((0.0..2.1).contains(&syscalls), "{line:?}"),
    }
}

fn five_hundred_connections_make_no_errors(model: Model) {
    load(model, &["--seconds", "1", "--connections", "500"]);
}

fn messages_larger_than_any_buffer_come_back_whole(model: Model) {
    let large = ["--connections", "2", "--size", "3000000"];
    load(model, &[&["--seconds", "0.2"], &large[..]].concat());
}

/// Runs the load against a server of one model, which must make no errors.
fn load(model: Model, arguments: &[&str]) -> Line {
    let mut command = Command::new(example("echo"));
    let (status, printed) =
        Running::start(command.args(["--model", model.name()]).args(arguments)).finish();
    assert!(status.success(), "{status}: {printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let start = format!("model={} connections=", model.name());
    assert!(printed.starts_with(&start), "{printed}");
    let line = Line::parse(&printed);
    assert_eq!(line.count("errors"), 0);
    assert!(line.figure("messages/s") > 0.0);
    line
}

#[test]
fn without_arguments_there_is_a_line_for_each_model() {
    let command = &mut Command::new(example("echo"));
    let (status, printed) = Running::start(command.args(["--seconds", "0.2"])).finish();
    assert!(status.success(), "{status}: {printed}");
    let lines: Vec<&str> = printed.lines().collect();
    let [reactor, proactor] = lines[..] else {
        panic!("{printed}");
    };
    assert!(reactor.starts_with("model=reactor connections=16 size=64 "));
    match no_ring() {
        None => assert!(proactor.starts_with("model=proactor connections=16 size=64 ")),
        Some(why) => assert_eq!(proactor, why),
    }
}

#[test]
fn without_io_uring_a_proactor_that_was_asked_for_says_why_there_is_none() {
    let Some(why) = no_ring() else { return };
    for arguments in [&["--serve", "127.0.0.1:0"][..], &["--seconds", "0.1"]] {
        let mut command = Command::new(example("echo"));
        command.args(["--model", "proactor"]).args(arguments);
        let (status, printed) = Running::start(&mut command).finish();
        assert_eq!((status.code(), printed.trim_end()), (Some(SKIPPED), &*why));
    }
}
