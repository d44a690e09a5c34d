//! C-1: the end of processes.

use linux_event::core::errno::Errno;
use linux_event::{Exit, ExitStatus, Loop, LoopError};
use linux_event_tests::both::{LoopOf, finish, turn};
use linux_event_tests::{Machine, OnFake, both};

type Exits = Vec<Exit>;

/// SIGTERM and SIGABRT.
const TERM: i32 = 15;
const ABRT: i32 = 6;

fn by(signal: i32) -> ExitStatus {
    ExitStatus::Signaled {
        signal,
        core_dumped: false,
    }
}

both! {
    fn c1_exit_codes_come_once_and_the_child_is_reaped<W>() {
        for code in [0, 1, 42] {
            let mut event_loop = W::looping(Exits::new());
            let pid = W::of(&mut event_loop).spawn();
            let process = event_loop.pid(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
            turn::<W, _>(&mut event_loop);
            assert!(event_loop.state.is_empty() && event_loop.is_live());
            W::of(&mut event_loop).exit(pid, ExitStatus::Exited(code));
            event_loop.run().unwrap();
            let [exit] = event_loop.state[..] else { panic!("{:?}", event_loop.state) };
            assert_eq!((exit.process, exit.pid), (process, pid as i32));
            assert_eq!(exit.status, Ok(Some(ExitStatus::Exited(code))));
            assert!(!event_loop.contains(process) && !event_loop.cancel(process));
            let gone = event_loop.pid(pid, |_, _| ()).unwrap_err();
            assert_eq!(gone.errno(), Some(Errno::ESRCH), "no zombie is left");
            finish::<W, _>(event_loop);
        }
    }

    fn c1_a_signal_is_told_as_such<W>() {
        let mut event_loop = W::looping(Exits::new());
        let pid = W::of(&mut event_loop).spawn();
        event_loop.pid(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        W::of(&mut event_loop).exit(pid, by(TERM));
        event_loop.run().unwrap();
        let status = event_loop.state[0].status.unwrap().unwrap();
        assert_eq!(status, by(TERM));
        assert_eq!((status.code(), status.success()), (None, false));
        finish::<W, _>(event_loop);
    }

    /// Whether a core is dumped is up to the machine: what counts is that both ways of waiting agree.
    fn c1_the_core_flag_is_that_of_waitpid<W>() {
        let mut event_loop = W::looping(Exits::new());
        let pid = W::of(&mut event_loop).spawn();
        event_loop.pid_unreaped(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        W::of(&mut event_loop).exit(pid, ExitStatus::Signaled { signal: ABRT, core_dumped: true });
        event_loop.run().unwrap();
        let waited = W::of(&mut event_loop).reap(pid);
        assert_eq!(event_loop.state[0].status, Ok(Some(waited)));
        assert_eq!(waited.signal().map(linux_event::Signal::raw), Some(ABRT));
        finish::<W, _>(event_loop);
    }

    fn c1_without_reaping_the_child_stays_for_others<W>() {
        let mut event_loop = W::looping(Exits::new());
        let pid = W::of(&mut event_loop).spawn();
        event_loop.pid_unreaped(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        event_loop.pid_unreaped(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        W::of(&mut event_loop).exit(pid, ExitStatus::Exited(7));
        event_loop.run().unwrap();
        let heard: Vec<_> = event_loop.state.iter().map(|exit| exit.status).collect();
        assert_eq!(heard, [Ok(Some(ExitStatus::Exited(7))); 2], "both hear");
        assert_eq!(W::of(&mut event_loop).reap(pid), ExitStatus::Exited(7));
        finish::<W, _>(event_loop);
    }

    fn c1_a_process_that_is_no_child_is_watched_without_reaping<W>() {
        let mut event_loop = W::looping(Exits::new());
        let pid = W::of(&mut event_loop).spawn_stranger();
        event_loop.pid_unreaped(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        W::of(&mut event_loop).exit(pid, ExitStatus::Exited(9));
        event_loop.run().unwrap();
        let status = event_loop.state[0].status;
        assert!([Ok(None), Ok(Some(ExitStatus::Exited(9)))].contains(&status), "{status:?}");
        finish::<W, _>(event_loop);
    }

    fn c1_failure_to_wait_is_an_event_with_an_error<W>() {
        let mut event_loop = W::looping(Exits::new());
        let pid = W::of(&mut event_loop).spawn_stranger();
        event_loop.pid(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        W::of(&mut event_loop).exit(pid, ExitStatus::Exited(0));
        event_loop.run().unwrap();
        assert_eq!(event_loop.state[0].status, Err(Errno::ECHILD));
        finish::<W, _>(event_loop);
    }

    fn c1_a_child_that_was_waited_for_elsewhere_is_an_event_with_an_error<W>() {
        let mut event_loop = W::looping(Exits::new());
        let pid = W::of(&mut event_loop).spawn();
        event_loop.pid(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        W::of(&mut event_loop).exit(pid, ExitStatus::Exited(3));
        assert_eq!(W::of(&mut event_loop).reap(pid), ExitStatus::Exited(3));
        event_loop.run().unwrap();
        assert_eq!(event_loop.state[0].status, Err(Errno::ECHILD));
        finish::<W, _>(event_loop);
    }

    fn c1_a_cancelled_watch_does_not_reap<W>() {
        let mut event_loop = W::looping(Exits::new());
        let pid = W::of(&mut event_loop).spawn();
        let process = event_loop.pid(pid, |l: &mut LoopOf<W, Exits>, exit| l.state.push(exit)).unwrap();
        assert!(event_loop.cancel(process) && !event_loop.cancel(process));
        W::of(&mut event_loop).exit(pid, ExitStatus::Exited(4));
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.is_empty());
        assert_eq!(W::of(&mut event_loop).reap(pid), ExitStatus::Exited(4));
        finish::<W, _>(event_loop);
    }

    fn c1_pids_that_are_none_are_refused<W>() {
        let mut event_loop = W::looping(Exits::new());
        let refused = event_loop.pid(0, |_, _| ()).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EINVAL));
        let refused = event_loop.pid(u32::MAX, |_, _| ()).unwrap_err();
        assert!(matches!(refused, linux_event::Error::Loop(LoopError::Invalid(_))));
        finish::<W, _>(event_loop);
    }

    fn c1_one_callback_may_cancel_another_childs_watch<W>() {
        let mut event_loop = W::looping((Exits::new(), Vec::new()));
        let pids = [(); 2].map(|()| W::of(&mut event_loop).spawn());
        for pid in pids {
            let process = event_loop.pid_unreaped(pid, |l: &mut LoopOf<W, (Exits, Vec<_>)>, exit| {
                l.state.0.push(exit);
                for other in std::mem::take(&mut l.state.1) {
                    assert_eq!(l.cancel(other), other != exit.process);
                }
            }).unwrap();
            event_loop.state.1.push(process);
            W::of(&mut event_loop).exit(pid, ExitStatus::Exited(0));
        }
        event_loop.run().unwrap();
        assert_eq!(event_loop.state.0.len(), 1);
        for pid in pids {
            assert_eq!(W::of(&mut event_loop).reap(pid), ExitStatus::Exited(0));
        }
        finish::<W, _>(event_loop);
    }
}

/// On the kernel it is in `numbers.rs`.
#[test]
fn r5_a_stale_watcher_can_not_touch_the_process_that_has_its_number() {
    for cancelled in [true, false] {
        let mut event_loop = Loop::fake_reactor_with(Exits::new());
        let pid = event_loop.fake_mut().spawn();
        let (reader, _) = event_loop.fake_mut().pipe().unwrap();
        let watcher = event_loop
            .watch(&reader)
            .on_read(|_, _, _| ())
            .start()
            .unwrap();
        event_loop.fake_mut().close(reader).unwrap();
        event_loop
            .pid(pid.unsigned_abs(), |l, exit| l.state.push(exit))
            .unwrap();
        if cancelled {
            assert!(event_loop.cancel(watcher));
        } else {
            event_loop.rearm(watcher).unwrap();
        }
        turn::<OnFake, _>(&mut event_loop);
        event_loop
            .fake_mut()
            .exit(pid, ExitStatus::Exited(5))
            .unwrap();
        turn::<OnFake, _>(&mut event_loop);
        let [exit] = event_loop.state[..] else {
            panic!("{:?}", event_loop.state)
        };
        assert_eq!(exit.status, Ok(Some(ExitStatus::Exited(5))));
        assert_eq!(event_loop.cancel(watcher), !cancelled);
        finish::<OnFake, _>(event_loop);
    }
}
