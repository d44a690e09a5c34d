//! The examples of the core, run.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use linux_event_core::reactor::{Epoll, Event, Reactor};
use linux_event_core::signal::Signal;
use linux_event_core::sys::{Kernel, Linux};

/// After so long something has gone wrong.
const PATIENCE: Option<Duration> = Some(Duration::from_mins(1));

/// Where cargo puts the example `name` of this build: beside the directory of the tests.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows where it is");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(
        path.exists(),
        "{} is not there: `cargo test` builds it, and so does `cargo build --examples`",
        path.display()
    );
    path
}

/// It ends by itself: a timer of its own gives up after 50 s.
#[test]
fn echo_values_serves_its_own_clients_without_errors() {
    let output = Command::new(example("echo_values"))
        .output()
        .expect("it can be run");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert_eq!(printed, "clients=20 bytes=2000000 errors=0\n");
    assert!(output.status.success(), "{}", output.status);
}

#[test]
fn echo_values_serves_until_a_signal_ends_it() {
    let mut child = Command::new(example("echo_values"))
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("text");
    let address = line.trim().strip_prefix("listening on ");
    let mut stream = TcpStream::connect(address.expect("it says where")).expect("it listens");
    stream.set_read_timeout(PATIENCE).expect("a timeout");
    stream.write_all(b"hello").expect("it is taken");
    stream.shutdown(Shutdown::Write).expect("it is connected");
    let mut back = String::new();
    let read = stream.read_to_string(&mut back);

    let mut reactor: Reactor<(), 1, 1> = Reactor::new(Epoll::new().expect("epoll"));
    let pid = child.id().cast_signed();
    let exit = reactor.process(pid, false, ()).expect("a pidfd");
    let pidfd = Linux.pidfd_open(pid).expect("a pidfd");
    Linux
        .pidfd_send_signal(pidfd.borrow(), Signal::TERM.raw())
        .expect("it runs");
    reactor.wait(PATIENCE).expect("epoll waits");
    let event = reactor.next();
    child.kill().expect("it is not reaped");
    let status = child.wait().expect("it is a child");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");

    assert_eq!(read.expect("no reset"), 5);
    assert_eq!(back, "hello");
    assert!(matches!(event, Some(Event::Exit { process, .. }) if process == exit));
    assert_eq!(status.code(), Some(0));
    assert_eq!(rest, "TERM: served 5 bytes\n");
}
