//! Every example prints what its doc comment says, and exits with code 0.
//!
//! Those of operations, where io_uring may not be used, print why, and exit with the code that says so.
#![forbid(unsafe_code)]

mod child;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use child::{Running, SKIPPED, example, no_ring};
use linux_event::Signal;

/// The block that a doc comment announces with a line "Prints:" or "Prints, where …:".
fn expected(source: &str) -> String {
    let doc: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let mut lines = doc
        .iter()
        .skip_while(|line| !line.starts_with("Prints"))
        .skip_while(|line| **line != "```text")
        .skip(1);
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
    child_exit,
    edge_drain,
    linked,
    mailbox,
    multishot,
    oneshot,
    operation_timer,
    read_pipe,
    read_write_file,
    replace_watcher,
    send_recv,
    signals,
    splice_proxy,
    timer,
    unwatch,
    waker_thread,
    watch_pipe,
);

#[test]
fn no_example_is_left_out() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    for entry in std::fs::read_dir(folder).expect("there are examples") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.expect("names are plain");
        let is_echo = name == "echo"; // has a test of its own
        assert!(is_echo || RUN.contains(&name), "nobody runs {name}");
    }
}

/// What `splice_proxy` is for: between a server and clients of others, until a signal.
#[test]
fn splice_proxy_serves_until_a_signal() {
    if let Some(why) = no_ring() {
        eprintln!("skipped: {why}");
        return;
    }
    let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let upstream_address = upstream.local_addr().expect("it is bound").to_string();
    let arguments = ["--serve", "127.0.0.1:0", &upstream_address];
    let mut proxy = Running::start(Command::new(example("splice_proxy")).args(arguments));
    let line = proxy.line();
    let address = line.strip_prefix("listening on ");
    let address: SocketAddr = address.expect("it says where").parse().expect("an address");
    let connect = || {
        let client = TcpStream::connect(address).expect("the proxy listens");
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
    assert_eq!(
        (&request[..], &answer[..]),
        (&b"request"[..], &b"answer"[..])
    );

    // A client that is reset takes its connection to the server with it.
    let (mut client, mut server) = connect();
    server.write_all(b"unread").expect("it is taken");
    client.peek(&mut [0]).expect("it has come");
    client.write_all(b"last").expect("it is taken");
    drop(client); // closed with bytes unread: the kernel sends a reset
    let mut last = Vec::new();
    let ended = server.read_to_end(&mut last);
    assert!(ended.is_err() || last == b"last", "{ended:?} {last:?}");

    // One that is idle is no reason to stay.
    let _idle = connect();
    proxy.signal(Signal::TERM);
    let (status, printed) = proxy.finish();
    assert_eq!(status.code(), Some(0));
    assert!(
        printed.starts_with("proxied connections=3 bytes="),
        "{printed:?}"
    );
}
