//! Every example prints what its doc comment says, and exits with code 0.
//!
//! Those of operations, where io_uring may not be used, print why, and exit with the code that says so.
#![forbid(unsafe_code)]

mod child;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use child::{Running, SKIPPED, example, no_ring};
use linux_event::Signal;

/// The first block of text in a doc comment: what the example prints.
fn expected(source: &str) -> String {
    let doc: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let mut lines = doc.iter().skip_while(|line| **line != "```text").skip(1);
    let block: Vec<&str> = lines
        .by_ref()
        .take_while(|line| **line != "```")
        .copied()
        .collect();
    assert!(!block.is_empty(), "the doc comment says what it prints");
    block.join("\n") + "\n"
}

fn prints_what_it_says(name: &str, source: &str) {
    let (status, printed) = Running::start(&mut Command::new(example(name))).finish();
    let needs_ring = source.contains("Loop::proactor");
    let (text, code) = match no_ring() {
        Some(why) if needs_ring => (format!("{why}\n"), SKIPPED),
        _ => (expected(source), 0),
    };
    assert_eq!(printed, text, "{name}");
    assert_eq!(status.code(), Some(code), "{name}: {status}");
}

macro_rules! examples {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let source = include_str!(concat!("../examples/", stringify!($name), ".rs"));
                prints_what_it_says(stringify!($name), source);
            }
        )*

        /// Those that are run above.
        const RUN: &[&str] = &[$(stringify!($name)),*];
    };
}

examples!(
    accept_connect,
    chat,
    child_exit,
    edge_drain,
    line_echo,
    linked,
    mailbox,
    multishot,
    oneshot,
    operation_timer,
    process_capture,
    process_pool,
    process_timeout,
    proxy,
    read_pipe,
    read_write_file,
    replace_watcher,
    send_recv,
    signals,
    splice_proxy,
    timer,
    unix_server,
    unwatch,
    waker_thread,
    watch_pipe,
);

#[test]
fn line_protocol_on_fake() {
    let source = include_str!("../examples/line_protocol_on_fake/main.rs");
    prints_what_it_says("line_protocol_on_fake", source);
}

#[test]
fn http_asks_itself_on_each_model() {
    let (status, printed) = Running::start(&mut Command::new(example("http"))).finish();
    let answered = |model| format!("{model}: HTTP/1.1 200 OK, 20 bytes\n");
    let (expected, code) = match no_ring() {
        Some(why) => (answered("reactor") + &why + "\n", SKIPPED),
        None => (answered("reactor") + &answered("proactor"), 0),
    };
    assert_eq!((printed, status.code()), (expected, Some(code)));
}

#[test]
fn datagram_echo_answers_on_each_model() {
    let (status, printed) = Running::start(&mut Command::new(example("datagram_echo"))).finish();
    let all = expected(include_str!("../examples/datagram_echo.rs"));
    let (text, code) = match no_ring() {
        Some(why) => {
            let reactor: Vec<_> = all.lines().take(2).collect();
            (reactor.join("\n") + "\n" + &why + "\n", SKIPPED)
        }
        None => (all, 0),
    };
    assert_eq!((printed, status.code()), (text, Some(code)));
}

#[test]
fn no_example_is_left_out() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for entry in std::fs::read_dir(folder).expect("there are examples") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.expect("names are plain");
        let has_own_test = [
            "datagram_echo",
            "echo",
            "http",
            "line_protocol_on_fake",
            "tls_echo",
        ]
        .contains(&name);
        assert!(has_own_test || RUN.contains(&name), "nobody runs {name}");
    }
}

/// The proxy in another process, as its users have it.
struct Proxy {
    running: Running,
    address: SocketAddr,
}

impl Proxy {
    /// A proxy that may have so many descriptors; `None` where io_uring may not be used.
    fn start(upstream: &TcpListener, descriptors: u32) -> Option<Self> {
        if let Some(why) = no_ring() {
            eprintln!("skipped: {why}");
            return None;
        }
        let limited = format!("ulimit -n {descriptors}; exec \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &limited, "sh"]);
        shell.arg(example("splice_proxy"));
        shell.args(["--serve", "127.0.0.1:0"]);
        let upstream = upstream.local_addr().expect("it is bound");
        let mut running = Running::start(shell.arg(upstream.to_string()));
        let line = running.line();
        let address = line.strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("it says where it listens, not {line:?}"));
        Some(Self {
            address: address.parse().expect("it prints its address"),
            running,
        })
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("the proxy listens")
    }

    /// Ends it; returns its last line.
    fn end(self) -> String {
        self.running.signal(Signal::TERM);
        let (status, printed) = self.running.finish();
        assert_eq!(status.code(), Some(0));
        printed
    }
}

#[test]
fn splice_proxy_serves_until_a_signal() {
    let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let Some(proxy) = Proxy::start(&upstream, 100) else {
        return;
    };
    let connect = || {
        let client = proxy.connect();
        let (server, _) = upstream.accept().expect("the proxy connects");
        (client, server)
    };

    // One direction ends, the other goes on.
    let (mut client, mut server) = connect();
    client.write_all(b"request").expect("it is taken");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut request = Vec::new();
    server.read_to_end(&mut request).expect("no reset");
    server.write_all(b"answer").expect("it is taken");
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("no reset");
    assert_eq!((&*request, &*answer), (&b"request"[..], &b"answer"[..]));

    // A client that is reset takes its connection to the server with it.
    let (client, mut server) = connect();
    server.write_all(b"unread").expect("it is taken");
    client.peek(&mut [0]).expect("it has come");
    drop(client); // closed with bytes unread: the kernel sends a reset
    let _ = server.read_to_end(&mut Vec::new()); // the end or a reset, in time

    // One that is idle is no reason to stay.
    let _idle = connect();
    let printed = proxy.end();
    assert!(printed.starts_with("proxied connections=3 "), "{printed:?}");
    assert!(printed.ends_with(" failed=1\n"), "{printed:?}");
}

/// A connection takes six descriptors. One that can't have them ends, also half-way; the proxy goes on.
#[test]
fn splice_proxy_without_descriptors_goes_on() {
    const CLIENTS: usize = 40;
    let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let Some(proxy) = Proxy::start(&upstream, 32) else {
        return;
    };
    thread::spawn(move || {
        for stream in upstream.incoming().flatten() {
            thread::spawn(move || {
                let _ = io::copy(&mut &stream, &mut &stream);
            });
        }
    });
    // What comes back of what is sent: all of it, or nothing.
    let ask = || {
        let mut stream = proxy.connect();
        let _ = stream.write_all(b"hello");
        let _ = stream.shutdown(Shutdown::Write);
        let mut back = Vec::new();
        let _ = stream.read_to_end(&mut back);
        back
    };
    let served = thread::scope(|scope| {
        let clients = [(); CLIENTS].map(|()| scope.spawn(ask));
        let answers = clients.map(|client| client.join().expect("no panic"));
        answers.iter().filter(|back| *back == b"hello").count()
    });
    // What the last of them had may not be closed yet, but it will be.
    let mut refused = 0;
    while ask() != b"hello" {
        refused += 1;
    }
    let printed = proxy.end();
    let failed = format!(" failed={}\n", CLIENTS - served + refused);
    assert!(printed.ends_with(&failed), "{served}: {printed:?}");
}

/// An example that serves, in another process.
fn serving(name: &str) -> (Running, SocketAddr) {
    let mut running = Running::start(Command::new(example(name)).args(["--serve", "127.0.0.1:0"]));
    let line = running.line();
    let address = line
        .strip_prefix("listening on ")
        .and_then(|address| address.parse().ok());
    (running, address.expect("it says where it listens"))
}

/// Sends a text to it, and nothing more; returns what comes back.
fn ask(address: SocketAddr, text: &[u8]) -> String {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(text).expect("it is taken");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("no reset");
    answer
}

/// Ends it, which it is still there for.
fn end(running: Running) {
    running.signal(Signal::TERM);
    let (status, _) = running.finish();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn line_echo_is_not_ended_by_what_a_client_sends() {
    let (running, address) = serving("line_echo");
    assert_eq!(ask(address, b"\r\r\n\n\r\nx\r\r\n"), "\r\r\n\n\nx\r\r\n");
    end(running);
}

/// What one says can't have the others thrown out.
#[test]
fn chat_tells_the_others_what_is_longer_with_a_name_before_it() {
    let (running, address) = serving("chat");
    let connect = |says: String| {
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all(says.as_bytes()).expect("it is taken");
        io::BufReader::new(client)
    };
    let hear = |client: &mut io::BufReader<TcpStream>| {
        let mut line = String::new();
        io::BufRead::read_line(client, &mut line).expect("no reset");
        line
    };
    let (name, text) = ("n".repeat(300), "t".repeat(300));
    let mut ann = connect("Ann\n".into());
    // Each hears who comes after them: so that they are there is known.
    let mut bob = connect("Bob\n".into());
    assert_eq!(hear(&mut ann), "Bob has come\n");
    let _third = connect(format!("{name}\n{text}\nodd\r\r\n"));
    for client in [&mut ann, &mut bob] {
        assert_eq!(hear(client), format!("{name} has come\n"));
        assert_eq!(hear(client), format!("{name}: {text}\n"));
        assert_eq!(hear(client), format!("{name}: odd\r\n"));
    }
    end(running);
}

/// Who is before the server may see another end of such a request.
#[test]
fn http_refuses_lengths_that_can_be_read_in_two_ways() {
    let (running, address) = serving("http");
    let ask = |fields: &str| {
        let answer = ask(
            address,
            format!("GET / HTTP/1.1\r\n{fields}\r\nabcGET / HTTP/1.1\r\n\r\n").as_bytes(),
        );
        answer.matches("HTTP/1.1 200").count()
    };
    assert_eq!(ask("Content-Length: 3\r\n"), 2);
    assert_eq!(ask("Content-Length: 3\r\nContent-Length: 3\r\n"), 2);
    for fields in [
        "Content-Length: 3\r\nContent-Length: 0\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: \r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(ask(fields), 0, "{fields:?}");
    }
    end(running);
}
