//! The engine over the ring: timers, wakeups, signals, processes and operations in one turn.

use std::os::fd::AsRawFd;
use std::time::Duration;

use linux_event_core::proactor::{Event, Options, Proactor, Target, Uring, op};
use linux_event_core::signal::{Signal, SignalSet};
use linux_event_core::sys::Linux;

use crate::buf::VecBuf;

type Engine = Proactor<VecBuf, u32, 64, 16, Uring<VecBuf>>;

fn engine() -> Engine {
    Proactor::new(Uring::new().unwrap()).unwrap()
}

/// The next event, waiting for it.
fn next(engine: &mut Engine) -> Event<u32, Uring<VecBuf>> {
    for _ in 0..100 {
        if let Some(event) = engine.next() {
            return event;
        }
        engine.wait(Some(Duration::from_secs(5))).unwrap();
    }
    panic!("nothing came");
}

#[test]
fn p9_a_timer_gives_the_wait_its_deadline() {
    let mut engine = engine();
    let start = engine.read_clock();
    engine.after(Duration::from_millis(3), 7).unwrap();
    let Event::Timer { data: 7, .. } = next(&mut engine) else {
        panic!("no timer");
    };
    assert!(engine.read_clock().since(start) >= Duration::from_millis(3));
}

#[test]
fn s1_signals_come_again_and_again() {
    let mut engine = engine();
    let set: SignalSet = [Signal::USR1, Signal::USR2].into_iter().collect();
    engine.signal(set, 3).unwrap();
    for round in 0..10 {
        let signal = [libc::SIGUSR1, libc::SIGUSR2][round % 2];
        // SAFETY: to this thread, which has it blocked.
        unsafe { assert_eq!(libc::pthread_kill(libc::pthread_self(), signal), 0) };
        let Event::Signal {
            signal: came,
            count,
            data,
            ..
        } = next(&mut engine)
        else {
            panic!("no signal");
        };
        assert_eq!((came.raw(), count, data), (signal, 1, 3));
    }
}

#[test]
fn c1_processes_end_once() {
    let mut engine = engine();
    let mut children: Vec<_> = (0..3)
        .map(|code| {
            let mut command = std::process::Command::new("sh");
            command
                .args(["-c", &format!("exit {code}")])
                .spawn()
                .unwrap()
        })
        .collect();
    for (data, child) in children.iter().enumerate() {
        engine
            .process(child.id() as i32, true, data as u32)
            .unwrap();
    }
    let mut codes = Vec::new();
    while codes.len() < 3 {
        if let Event::Exit { status, data, .. } = next(&mut engine) {
            assert_eq!(status.unwrap().unwrap().code(), Some(data as i32));
            codes.push(data);
        }
    }
    codes.sort_unstable();
    assert_eq!(codes, [0, 1, 2]);
    for child in &mut children {
        let _ = child.wait(); // reaped already
    }
}

/// Its number is closed then; the kernel is asked to let go of what it named, also where submissions are handed over in batches.
#[test]
fn c1_a_watch_that_is_cancelled_leaves_nothing_in_the_ring() {
    for submit_batch in [0, 4] {
        let options = Options {
            submit_batch,
            ..Options::default()
        };
        let mut engine: Engine =
            Proactor::new(Uring::with_options(Linux, options).unwrap()).unwrap();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let watch = engine.process(child.id() as i32, false, 1).unwrap();
        engine.wait(Some(Duration::ZERO)).unwrap();
        assert!(engine.cancel(watch));
        engine.wait(Some(Duration::ZERO)).unwrap();
        assert!(engine.next().is_none());
        let counters = engine.counters();
        assert_eq!(
            (counters.submitted, counters.completions),
            (2, 2),
            "the poll, and its cancel"
        );
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

#[test]
fn c1_a_watch_that_is_cancelled_tells_nothing() {
    let mut engine = engine();
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let watch = engine.process(child.id() as i32, false, 1).unwrap();
    assert!(engine.cancel(watch));
    let watch = engine.process(child.id() as i32, false, 2).unwrap();
    engine.wait(Some(Duration::ZERO)).unwrap();
    assert!(engine.next().is_none());
    assert!(engine.cancel(watch));
    drop(child.stdin.take());
    child.wait().unwrap();
    engine.wait(Some(Duration::from_millis(5))).unwrap();
    assert!(engine.next().is_none());
}

#[test]
fn g2_the_descriptor_is_readable_when_there_is_something() {
    let mut engine = engine();
    let readable = |engine: &Engine, timeout: i32| {
        let mut poll = libc::pollfd {
            fd: linux_event_core::sys::AsRawFd::as_raw_fd(&engine.backend().as_fd()),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which lives until the call returns.
        unsafe { libc::poll(&raw mut poll, 1, timeout) == 1 }
    };
    engine.prepare().unwrap();
    assert!(!readable(&engine, 0));
    engine.after(Duration::from_millis(2), 1).unwrap();
    engine.prepare().unwrap();
    assert!(readable(&engine, 5000), "at the deadline");
    engine.wait(Some(Duration::ZERO)).unwrap();
    assert!(matches!(engine.next(), Some(Event::Timer { data: 1, .. })));
    while engine.next().is_some() {}
    engine.prepare().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the pipe outlives the operation.
    let target = unsafe { Target::from_raw(reader.as_raw_fd()) };
    engine
        .submit(op::read(target, VecBuf::with_capacity(8)), 2)
        .unwrap();
    engine.prepare().unwrap();
    assert!(!readable(&engine, 0));
    std::io::Write::write_all(&mut writer, b"x").unwrap();
    // It may be readable for what the ring keeps to itself: a thread of the kernel's reads, before pipes could do without.
    let event = loop {
        assert!(readable(&engine, 5000), "when something completes");
        engine.wait(Some(Duration::ZERO)).unwrap();
        if let Some(event) = engine.next() {
            break event;
        }
        engine.prepare().unwrap();
    };
    assert!(matches!(event, Event::Completion(done) if done.data == 2));
}

#[test]
fn p10_chains_of_the_engine_run_in_order() {
    let mut engine = engine();
    let (reader, writer) = std::io::pipe().unwrap();
    // SAFETY: the pipe outlives the operations.
    let (from, to) = unsafe {
        (
            Target::from_raw(reader.as_raw_fd()),
            Target::from_raw(writer.as_raw_fd()),
        )
    };
    let chain = [
        (op::write(to, VecBuf::from_slice(b"chain")).link().into(), 1),
        (op::read(from, VecBuf::with_capacity(5)).into(), 2),
    ];
    engine.submit_chain(chain).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let Event::Completion(done) = next(&mut engine) {
            assert_eq!(done.result, 5);
            seen.push(done.data);
        }
    }
    assert_eq!(seen, [1, 2]);
}
