//! What a loop opens, it closes. One test in a program of its own, so that nobody else opens anything meanwhile.

use std::time::Duration;

use linux_event::{ExitStatus, Loop, Signal};
use linux_event_tests::{Log, LoopOf, MILLI, Machine, OnEpoll, World, note, run_in, turn};

/// How many descriptors this process has open.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Uses everything a loop has, and leaves some of it behind.
fn use_everything() {
    let mut event_loop = Loop::reactor_with(Log::new()).unwrap();
    let (reader, writer) = OnEpoll::of(&mut event_loop).pipe();
    OnEpoll::of(&mut event_loop).put(writer, b"x");
    event_loop
        .watch(&reader)
        .on_read(note::<OnEpoll>("read"))
        .start()
        .unwrap();
    event_loop
        .watch(&writer)
        .on_write(note::<OnEpoll>("write"))
        .start()
        .unwrap();
    event_loop
        .signal("USR1", |l: &mut LoopOf<OnEpoll, Log>, _| {
            l.state.push("signal");
        })
        .unwrap();
    OnEpoll::of(&mut event_loop).raise(Signal::USR1);
    let waker = event_loop.waker().unwrap();
    waker.wake();
    let _sender = event_loop.mailbox(4, |_, (): ()| ()).unwrap();
    for code in [1, 2] {
        let pid = OnEpoll::of(&mut event_loop).spawn();
        let process = event_loop.pid(pid, |l, _| l.stop()).unwrap();
        if code == 1 {
            OnEpoll::of(&mut event_loop).exit(pid, ExitStatus::Exited(code));
        } else {
            event_loop.cancel(process);
        }
    }
    event_loop.run().unwrap();
    let far = event_loop.after(MILLI * 100, |_| ()).unwrap(); // by timerfd
    event_loop.run_once(None).unwrap();
    event_loop.cancel(far);
    // An orphan, for a rebuild.
    let (orphan, writer) = OnEpoll::of(&mut event_loop).pipe();
    let watcher = event_loop
        .watch(&orphan)
        .on_read(note::<OnEpoll>("orphan"))
        .start()
        .unwrap();
    OnEpoll::of(&mut event_loop).dup(orphan);
    OnEpoll::of(&mut event_loop).close(orphan);
    OnEpoll::of(&mut event_loop).put(writer, b"x");
    event_loop.cancel(watcher);
    for _ in 0..3 {
        turn::<OnEpoll, _>(&mut event_loop);
    }
    assert_eq!(event_loop.stats().rebuilds, 1);
    for name in ["read", "write", "signal"] {
        assert!(event_loop.state.contains(&name), "{name}");
    }
    event_loop.run_for(Duration::ZERO).unwrap();
}

#[test]
fn r10_a_loop_closes_what_it_opened_and_nothing_else() {
    run_in::<OnEpoll>(use_everything); // what is opened once and for ever
    let before = open_descriptors();
    for _ in 0..20 {
        run_in::<OnEpoll>(use_everything);
    }
    assert_eq!(open_descriptors(), before);
}
