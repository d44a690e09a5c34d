//! Whose children nobody knows, process 1 reaps (C-1). A binary of its own: it takes every child of its process.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::pid::ExitStatus;
use linux_event_core::reactor::{Epoll, Event, Reactor};
use linux_event_core::signal::Signal;
use linux_event_core::sys::Linux;

#[test]
#[allow(
    clippy::zombie_processes,
    reason = "that they are reaped is what is tested"
)]
fn c1_every_child_is_reaped_whoever_it_is() {
    assert_eq!(Linux.reap(), Err(Errno::ECHILD));
    let mut reactor: Reactor<u32, 4, 4> = Reactor::new(Epoll::new().unwrap());
    // SIGCHLD goes to any thread of the process that does not block it: a look now and then helps.
    reactor.signal(Signal::CHLD, 0).unwrap();
    reactor.every(Duration::from_millis(20), 1).unwrap();
    let mut expected = HashMap::new();
    for code in [0, 7, 255] {
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("exit {code}"))
            .spawn();
        expected.insert(child.unwrap().id() as i32, ExitStatus::Exited(code));
    }
    let mut killed = Command::new("sleep").arg("100").spawn().unwrap();
    killed.kill().unwrap();
    let by_signal = ExitStatus::Signaled {
        signal: 9,
        core_dumped: false,
    };
    expected.insert(killed.id() as i32, by_signal);
    let lives = Command::new("sleep").arg("100").spawn().unwrap().id() as i32;

    let mut reaped = HashMap::new();
    while reaped.len() < expected.len() {
        reactor.wait(None).unwrap();
        while let Some(event) = reactor.next() {
            assert!(matches!(event, Event::Signal { .. } | Event::Timer { .. }));
            while let Some((pid, status)) = Linux.reap().unwrap() {
                assert!(reaped.insert(pid, status).is_none(), "{pid} twice");
            }
        }
    }
    assert_eq!(reaped, expected);
    assert_eq!(Linux.reap(), Ok(None), "one lives");

    // SAFETY: a signal to a child of this test's.
    assert_eq!(unsafe { libc::kill(lives, libc::SIGTERM) }, 0);
    let ended = loop {
        match Linux.reap().unwrap() {
            Some(ended) => break ended,
            None => reactor.wait(None).unwrap(),
        }
        while reactor.next().is_some() {}
    };
    assert_eq!(ended.0, lives);
    assert_eq!(ended.1.code(), None);
    assert_eq!(Linux.reap(), Err(Errno::ECHILD));
}
