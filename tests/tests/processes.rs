//! processes of a loop's own, in both models with one body. The names `fork_00` to `fork_15` and `f1` to `f5` are
//! those of the reference's acceptance list and faults.

#[path = "../src/system.rs"]
#[allow(unused, reason = "its own part of it")]
mod system;

use std::io::ErrorKind;
use std::time::Duration;

use linux_event::core::errno::Errno;
use linux_event::core::proactor::op;
use linux_event::net::Stream;
use linux_event::process::{Child, Exit, Job, Output, Pool, Queued, StdinError};
use linux_event::{Loop, Signal};
use linux_event_tests::both::{LoopOf, World as _};
use linux_event_tests::net::KernelWorld;
use linux_event_tests::proactor::{OnRing, descriptors, is_there};
use linux_event_tests::{LONG, libc_calls, on_kernels};

/// What became of a child.
#[derive(Debug, Default)]
struct Seen {
    out: Vec<u8>,
    err: Vec<u8>,
    exits: Vec<Exit>,
    notes: Vec<String>,
}

impl Seen {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn exit(&self) -> &Exit {
        assert_eq!(self.exits.len(), 1, "{self:?}");
        &self.exits[0]
    }
}

/// A shell with a script: a shell is a program like others, and nothing makes one of itself.
fn shell<M: KernelWorld>(
    event_loop: &LoopOf<M, Seen>,
    script: &str,
) -> linux_event::process::Command<M::Model, Seen> {
    event_loop
        .command("/bin/sh")
        .args(["-c", script])
        .on_stdout(|l, _, bytes| l.state.out.extend_from_slice(bytes))
        .on_stderr(|l, _, bytes| l.state.err.extend_from_slice(bytes))
        .on_exit(|l, exit| l.state.exits.push(exit))
}

/// Runs a script to its end.
fn run_shell<M: KernelWorld>(script: &str) -> Seen {
    let mut event_loop = M::looping(Seen::default());
    shell::<M>(&event_loop, script)
        .spawn(&mut event_loop)
        .expect("a child");
    event_loop.run().expect("a run");
    event_loop.into_state()
}

fn run_until<M: KernelWorld>(event_loop: &mut LoopOf<M, Seen>, done: impl Fn(&Seen) -> bool) {
    while !done(&event_loop.state) {
        event_loop.run_once(Some(LONG)).expect("a turn");
    }
}

on_kernels! {
    fn fork_00_a_command_without_anything_runs<M>() {
        let mut event_loop = M::looping(());
        event_loop.command("true").spawn(&mut event_loop).expect("a child");
        event_loop.run().expect("a run");
    }

    fn fork_01_output_error_and_code_are_told<M>() {
        let seen = run_shell::<M>("printf out; printf err >&2; exit 7");
        assert_eq!((&*seen.out, &*seen.err), (&b"out"[..], &b"err"[..]));
        let exit = seen.exit();
        assert_eq!((exit.code(), exit.signal(), exit.success()), (Some(7), None, false));
        assert!(!exit.timed_out && !exit.is_cut && exit.pid.is_some());
    }

    fn fork_02_a_child_that_executes_another_program_is_still_the_child<M>() {
        let seen = run_shell::<M>("exec /bin/sh -c 'printf x; exit 9'");
        assert_eq!((&*seen.out, seen.exit().code()), (&b"x"[..], Some(9)));
    }

    fn fork_03_what_is_drained_or_null_calls_nobody_and_blocks_nobody<M>() {
        let mut event_loop = M::looping(Seen::default());
        let script = "head -c 200000 /dev/zero >&2; head -c 200000 /dev/zero";
        event_loop
            .command("sh")
            .args(["-c", script])
            .on_stdout(|l: &mut LoopOf<M, Seen>, _, _| l.state.note("told"))
            .stdout(Output::Null)
            .stderr(Output::Drain)
            .on_exit(|l, exit| l.state.exits.push(exit))
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.exit().code(), Some(0));
        assert!(event_loop.state.notes.is_empty());
    }

    fn fork_04_a_program_that_can_not_be_started_is_told_at_once<M>() {
        let mut event_loop = M::looping(Seen::default());
        let before = descriptors();
        let named = |event_loop: &LoopOf<M, Seen>, name: &str| {
            event_loop
                .command(name)
                .stdin_bytes("kept")
                .on_stdout(|_: &mut LoopOf<M, Seen>, _, _| ())
                .on_exit(|l, exit| l.state.exits.push(exit))
                .timeout(LONG)
        };
        for (name, kind) in [
            ("/none/at/all", ErrorKind::NotFound),
            ("/etc/passwd", ErrorKind::PermissionDenied),
            ("", ErrorKind::InvalidInput),
            ("a\0b", ErrorKind::InvalidInput),
        ] {
            let refused = named(&event_loop, name).spawn(&mut event_loop).unwrap_err();
            assert_eq!(refused.error.kind(), kind, "{name:?}");
            assert_eq!(refused.command.program(), name);
            event_loop.run().expect("what ends, since nothing is left");
            assert_eq!(descriptors(), before, "{name:?}");
        }
        // What was refused is whole, and can be started where it is right.
        let there = event_loop.command("cat").current_dir("/none/at/all").stdin_bytes("kept");
        let there = there.on_stdout(|l: &mut LoopOf<M, Seen>, _, bytes| l.state.out.extend_from_slice(bytes));
        let refused = there.spawn(&mut event_loop).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::NotFound);
        refused.command.current_dir("/").spawn(&mut event_loop).expect("a child");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.out, b"kept");
    }

    fn fork_05_environment_directory_and_umask_are_the_childs<M>() {
        let folder = std::env::temp_dir().join(format!("linux-event-fork-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut event_loop = M::looping(Seen::default());
        shell::<M>(&event_loop, "printf '%s %s %s %s' \"$ONE\" \"${PATH:+path}\" \"$PWD\" \"$(umask)\"; : > made")
            .env("ONE", "1")
            .current_dir(&folder)
            .umask(0o027)
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        let text = String::from_utf8_lossy(&event_loop.state.out).into_owned();
        assert_eq!(text, format!("1 path {} 0027", folder.display()));
        let made = std::fs::metadata(folder.join("made")).expect("a file");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&made.permissions()) & 0o777, 0o640);
        std::fs::remove_dir_all(&folder).expect("removed");
        event_loop.state = Seen::default();
        event_loop
            .command("/usr/bin/env")
            .env("GONE", "x")
            .env_clear()
            .env("TWO", "2")
            .env("THREE", "3")
            .env_remove("THREE")
            .on_stdout(|l: &mut LoopOf<M, Seen>, _, bytes| l.state.out.extend_from_slice(bytes))
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.out, b"TWO=2\n");
    }

    fn fork_06_a_mebibyte_in_pieces_is_read_whole<M>() {
        let mut event_loop = M::looping(Seen::default());
        let child = shell::<M>(&event_loop, "wc -c").stdin_pipe().spawn(&mut event_loop).expect("a child");
        for piece in 0..8 {
            let pending = child.write(&mut event_loop, vec![piece; 128 * 1024]).expect("room");
            assert!(pending > 0 && pending <= 1024 * 1024);
        }
        assert!(child.close_stdin(&mut event_loop));
        assert!(!child.close_stdin(&mut event_loop), "once");
        let late = child.write(&mut event_loop, "late");
        assert_eq!(late, Err(StdinError::Closed(b"late".to_vec())));
        event_loop.run().expect("a run");
        assert_eq!(String::from_utf8_lossy(&event_loop.state.out).trim(), "1048576");
        assert_eq!(event_loop.state.exit().code(), Some(0));
    }

    fn fork_07_a_tag_is_seen_from_everywhere<M>() {
        let mut event_loop = M::looping(Seen::default());
        event_loop
            .command("echo")
            .tag("mine")
            .on_stdout(|l: &mut LoopOf<M, Seen>, child, _| {
                let tag = child.tag(l).unwrap_or_default().to_owned();
                l.state.note(tag);
            })
            .on_exit(|l, exit| l.state.note(exit.tag.unwrap_or_default()))
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.notes, ["mine", "mine"]);
    }

    fn fork_08_a_timeout_ends_a_slow_child_and_leaves_a_fast_one<M>() {
        let mut event_loop = M::looping(Seen::default());
        // It says that it is ready to be told, so that nothing depends on how fast it gets there.
        shell::<M>(&event_loop, "trap 'exit 0' TERM; while :; do sleep 0.01; done")
            .timeout(Duration::from_millis(300))
            .kill_after(None)
            .on_timeout(|l, child| {
                assert!(child.is_running(l));
                l.state.note("timeout");
            })
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.notes, ["timeout"]);
        assert!(event_loop.state.exit().timed_out);
        event_loop.state = Seen::default();
        shell::<M>(&event_loop, ":").timeout(LONG).spawn(&mut event_loop).expect("a child");
        event_loop.run().expect("a run");
        assert!(!event_loop.state.exit().timed_out);
        assert_eq!(event_loop.next_deadline(), None, "its timer is gone");
    }

    fn fork_09_a_child_that_stops_reading_holds_nobody_up<M>() {
        libc_calls::have_sigpipe_end_the_process();
        let mut event_loop = M::looping(Seen::default());
        let child = shell::<M>(&event_loop, "exec sleep 1000")
            .stdin_bytes(vec![1; 10 << 20])
            .timeout(Duration::from_millis(50))
            .spawn(&mut event_loop)
            .expect("a child");
        run_until::<M>(&mut event_loop, |seen| !seen.exits.is_empty());
        let exit = event_loop.state.exit();
        assert!(exit.timed_out);
        assert_eq!(exit.signal(), Some(Signal::TERM));
        assert_eq!(child.pending_stdin(&event_loop), 0);
        event_loop.run().expect("a run");
    }

    fn fork_10_no_more_than_the_limit_run_at_once<M>() {
        let mut event_loop = M::looping((0_usize, 0_usize, 0_usize)); // running, most, ended
        let pool = Pool::new(&mut event_loop, 2);
        let (mut started, mut queued) = (0, 0);
        for _ in 0..10 {
            let command = event_loop
                .command("true")
                .on_start(|l: &mut LoopOf<M, (usize, usize, usize)>, _| {
                    l.state.0 += 1;
                    l.state.1 = l.state.1.max(l.state.0);
                })
                .on_exit(move |l, exit| {
                    assert!(exit.success());
                    l.state.0 -= 1;
                    l.state.2 += 1;
                    assert!(pool.running(l) <= 2);
                });
            match pool.spawn(&mut event_loop, command).expect("taken") {
                Job::Started(child) => {
                    started += 1;
                    assert!(child.is_running(&event_loop));
                }
                Job::Queued(request) => {
                    queued += 1;
                    assert!(request.is_waiting(&event_loop));
                }
            }
        }
        assert_eq!((started, queued), (2, 8));
        event_loop.run().expect("a run");
        let (running, most, ended) = event_loop.state;
        assert_eq!((running, ended), (0, 10));
        assert!((1..=3).contains(&most), "a place is handed on before its exit is told");
    }

    fn fork_11_a_drain_is_told_once_after_all_or_in_the_next_turn<M>() {
        let mut event_loop = M::looping((0, 0));
        let pool = Pool::new(&mut event_loop, 3);
        pool.on_drain(&mut event_loop, |l: &mut LoopOf<M, (u32, u32)>| l.state.1 += 1);
        assert_eq!(event_loop.state.1, 0, "not in the call");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state, (0, 1));
        for _ in 0..12 {
            let command = event_loop.command("true").on_exit(|l: &mut LoopOf<M, (u32, u32)>, _| l.state.0 += 1);
            pool.spawn(&mut event_loop, command).expect("taken");
        }
        for _ in 0..2 {
            pool.on_drain(&mut event_loop, |l| {
                assert_eq!(l.state.0, 12);
                l.state.1 += 1;
            });
        }
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state, (12, 3), "each of the two once");
    }

    fn fork_12_what_waits_can_be_cancelled_by_what_it_is<M>() {
        let mut event_loop = M::looping(Seen::default());
        let pool = Pool::new(&mut event_loop, 1);
        for number in 1..=5 {
            let command = event_loop
                .command("true")
                .tag(format!("job {number}"))
                .on_exit(|l: &mut LoopOf<M, Seen>, exit| l.state.note(exit.tag.unwrap_or_default()));
            pool.spawn(&mut event_loop, command).expect("taken");
        }
        let late = ["job 3", "job 4", "job 5"];
        let is_late = |tag: Option<&str>| tag.is_some_and(|tag| late.contains(&tag));
        assert_eq!(pool.cancel_queued(&mut event_loop, |command| is_late(command.tag_text())), 3);
        pool.on_drain(&mut event_loop, |l| l.state.note("drained"));
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.notes, ["job 1", "job 2", "drained"]);
    }

    fn fork_13_numbers_of_a_pool_are_right_from_the_beginning_to_the_end<M>() {
        let mut event_loop = M::looping(());
        let pool = Pool::new(&mut event_loop, 4);
        assert_eq!((pool.max(&event_loop), pool.running(&event_loop), pool.queued(&event_loop)), (4, 0, 0));
        let command = event_loop.command("true");
        pool.spawn(&mut event_loop, command).expect("taken");
        assert_eq!(pool.running(&event_loop), 1);
        pool.on_drain(&mut event_loop, move |l| {
            assert_eq!((pool.running(l), pool.queued(l)), (0, 0));
        });
        event_loop.run().expect("a run");
        assert!(pool.remove(&mut event_loop));
        assert!(!pool.remove(&mut event_loop));
        let command = event_loop.command("true");
        let refused = pool.spawn(&mut event_loop, command).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::NotFound);
    }

    fn fork_14_a_queued_command_is_given_back_when_it_is_cancelled<M>() {
        let mut event_loop = M::looping(Seen::default());
        let pool = Pool::new(&mut event_loop, 0);
        let queue = |event_loop: &mut LoopOf<M, Seen>, tag: &str| -> Queued {
            let command = event_loop
                .command("true")
                .tag(tag)
                .on_exit(|l: &mut LoopOf<M, Seen>, exit| l.state.note(exit.tag.unwrap_or_default()));
            match pool.spawn(event_loop, command).expect("taken") {
                Job::Queued(queued) => queued,
                Job::Started(_) => panic!("none may run"),
            }
        };
        let (one, two) = (queue(&mut event_loop, "one"), queue(&mut event_loop, "two"));
        let back = one.cancel(&mut event_loop).expect("it waited");
        assert_eq!(back.tag_text(), Some("one"));
        assert!(one.cancel(&mut event_loop).is_none());
        assert!(two.is_waiting(&event_loop));
        pool.set_max(&mut event_loop, usize::MAX);
        assert!(!two.is_waiting(&event_loop));
        assert!(two.cancel(&mut event_loop).is_none(), "it runs");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.notes, ["two"]);
    }

    fn fork_15_raising_the_limit_starts_what_waits<M>() {
        let mut event_loop = M::looping((Vec::new(), false));
        let pool = Pool::new(&mut event_loop, 1);
        let jobs = [(); 3].map(|()| {
            let command = event_loop.command("cat").stdin_pipe();
            let command = command.on_start(|l: &mut LoopOf<M, (Vec<Child>, bool)>, child| l.state.0.push(child));
            pool.spawn(&mut event_loop, command).expect("taken")
        });
        assert!(matches!(jobs, [Job::Started(_), Job::Queued(_), Job::Queued(_)]));
        assert_eq!((pool.running(&event_loop), pool.queued(&event_loop)), (1, 2));
        pool.set_max(&mut event_loop, 3);
        assert_eq!((pool.running(&event_loop), pool.queued(&event_loop)), (3, 0));
        pool.set_max(&mut event_loop, 1);
        assert_eq!(pool.running(&event_loop), 3, "what runs is left alone");
        pool.on_drain(&mut event_loop, |l| l.state.1 = true);
        while event_loop.state.0.len() < 3 {
            event_loop.run_once(Some(LONG)).expect("a turn");
        }
        for child in event_loop.state.0.clone() {
            assert!(child.close_stdin(&mut event_loop));
        }
        event_loop.run().expect("a run");
        assert!(event_loop.state.1, "drained");
    }

    fn f1_a_bad_command_is_refused_when_it_is_queued_and_a_missing_program_holds_nobody_up<M>() {
        let mut event_loop = M::looping(Seen::default());
        let pool = Pool::new(&mut event_loop, 1);
        let sleeper = event_loop.command("cat").stdin_bytes("x").stdout(Output::Drain);
        pool.spawn(&mut event_loop, sleeper).expect("taken");
        let bad = event_loop.command("tr\0ue");
        assert_eq!(pool.spawn(&mut event_loop, bad).unwrap_err().error.kind(), ErrorKind::InvalidInput);
        let bad = event_loop.command("true").env("A=B", "x");
        assert_eq!(pool.spawn(&mut event_loop, bad).unwrap_err().error.kind(), ErrorKind::InvalidInput);
        for name in ["/none/at/all", "true", "/none/either", "true"] {
            let command = event_loop.command(name).on_exit(|l: &mut LoopOf<M, Seen>, exit| {
                l.state.note(match &exit.status {
                    Ok(_) => "ran".to_owned(),
                    Err(error) => format!("{:?}", error.kind()),
                });
            });
            pool.spawn(&mut event_loop, command).expect("taken");
        }
        pool.on_drain(&mut event_loop, |l| l.state.note("drained"));
        event_loop.run().expect("a run");
        let mut notes = event_loop.into_state().notes;
        assert_eq!(notes.pop().as_deref(), Some("drained"));
        notes.sort();
        assert_eq!(notes, ["NotFound", "NotFound", "ran", "ran"]);
    }

    fn f1_an_exit_that_fails_or_panics_leaves_the_queue_going<M>() {
        let mut event_loop = M::looping(0);
        let pool = Pool::new(&mut event_loop, 1);
        for number in 0..3 {
            let command = event_loop.command("true").on_exit(move |l: &mut LoopOf<M, i32>, _| {
                l.state += 1;
                match number {
                    0 => Err("on purpose"),
                    1 => std::panic::resume_unwind(Box::new(())),
                    _ => Ok(()),
                }
            });
            pool.spawn(&mut event_loop, command).expect("taken");
        }
        event_loop.run().unwrap_err();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.run()));
        assert!(panicked.is_err());
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state, 3);
        assert_eq!((pool.running(&event_loop), pool.queued(&event_loop)), (0, 0));
    }

    fn f2_taking_the_limit_away_starts_what_waits<M>() {
        let mut event_loop = M::looping(0);
        let pool = Pool::new(&mut event_loop, 1);
        for _ in 0..4 {
            let command = event_loop.command("true").on_exit(|l: &mut LoopOf<M, i32>, _| l.state += 1);
            pool.spawn(&mut event_loop, command).expect("taken");
        }
        pool.set_max(&mut event_loop, usize::MAX);
        assert_eq!(pool.queued(&event_loop), 0);
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state, 4);
    }

    fn f3_a_pool_without_a_limit_counts_and_drains_when_it_is_idle<M>() {
        let mut event_loop = M::looping((false, false));
        let pool = Pool::new(&mut event_loop, usize::MAX);
        let command = event_loop.command("true").on_exit(|l: &mut LoopOf<M, (bool, bool)>, _| l.state.0 = true);
        pool.spawn(&mut event_loop, command).expect("taken");
        assert_eq!(pool.running(&event_loop), 1);
        pool.on_drain(&mut event_loop, |l| {
            assert!(l.state.0, "it ran");
            l.state.1 = true;
        });
        event_loop.run().expect("a run");
        assert!(event_loop.state.1);
    }

    fn f4_a_umask_is_applied_when_the_one_before_is_zero<M>() {
        let before = linux_event::core::sys::Linux.set_umask(0);
        let mut event_loop = M::looping(Seen::default());
        shell::<M>(&event_loop, "umask").umask(0o077).spawn(&mut event_loop).expect("a child");
        event_loop.run().expect("a run");
        assert_eq!(String::from_utf8_lossy(&event_loop.state.out).trim(), "0077");
        assert_eq!(linux_event::core::sys::Linux.set_umask(before), 0, "the program's own stays");
    }

    fn s2_a_child_begins_with_no_signal_blocked_and_sigpipe_as_usual<M>() {
        let mut event_loop = M::looping(Seen::default());
        let kept = event_loop.signal(["USR1", "TERM", "CHLD"], |_, _| ()).expect("signals");
        shell::<M>(&event_loop, "grep -E 'SigBlk|SigIgn' /proc/self/status").spawn(&mut event_loop).expect("a child");
        run_until::<M>(&mut event_loop, |seen| !seen.exits.is_empty());
        let text = String::from_utf8_lossy(&event_loop.state.out).into_owned();
        let mask = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).expect("a line");
            u64::from_str_radix(line.split_whitespace().last().expect("a mask"), 16).expect("a mask")
        };
        assert_eq!(mask("SigBlk"), 0, "{text}");
        assert_eq!(mask("SigIgn") & (1 << 12), 0, "{text}");
        event_loop.cancel(kept);
        event_loop.run().expect("a run");
    }

    fn f5_a_signal_reaches_the_child_and_nobody_after_it<M>() {
        let mut event_loop = M::looping(Seen::default());
        let child = shell::<M>(&event_loop, "exec sleep 1000").spawn(&mut event_loop).expect("a child");
        assert!(child.pid(&event_loop).is_some());
        assert_eq!(child.kill(&mut event_loop, Signal::KILL), Ok(true));
        run_until::<M>(&mut event_loop, |seen| !seen.exits.is_empty());
        assert_eq!(event_loop.state.exit().signal(), Some(Signal::KILL));
        assert_eq!(child.kill(&mut event_loop, Signal::KILL), Ok(false), "it is gone");
        assert_eq!(child.pid(&event_loop), None);
        // Its slot is another's, which the stale handle does not reach.
        let next = shell::<M>(&event_loop, "exec cat").stdin_pipe().spawn(&mut event_loop).expect("a child");
        assert_eq!(child.kill(&mut event_loop, Signal::KILL), Ok(false));
        assert_eq!(child.write(&mut event_loop, "x"), Err(StdinError::Closed(b"x".to_vec())));
        assert!(next.is_running(&event_loop) && next.close_stdin(&mut event_loop));
        event_loop.run().expect("a run");
        assert!(event_loop.state.exits[1].success());
    }

    fn q2_the_exit_comes_after_all_output<M>() {
        let mut event_loop = M::looping(Seen::default());
        event_loop
            .command("head")
            .args(["-c", "3000000", "/dev/zero"])
            .on_stdout(|l: &mut LoopOf<M, Seen>, _, bytes| {
                assert!(l.state.exits.is_empty());
                l.state.out.extend_from_slice(bytes);
            })
            .on_exit(|l, exit| {
                assert_eq!(l.state.out.len(), 3_000_000);
                l.state.exits.push(exit);
            })
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        assert!(!event_loop.state.exit().is_cut);
    }

    fn q2_a_grandchild_that_holds_the_pipe_delays_the_exit_by_the_grace_only<M>() {
        let mut event_loop = M::looping(Seen::default());
        // It tells its number, so that the test can end it.
        shell::<M>(&event_loop, "sleep 1000 & printf '%s' $!; exit 3")
            .output_grace(Duration::from_millis(20))
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        let exit = event_loop.state.exit();
        assert_eq!((exit.code(), exit.is_cut), (Some(3), true));
        let grandchild = String::from_utf8_lossy(&event_loop.state.out).parse().expect("a number");
        libc_calls::kill(grandchild);
    }

    fn q1_what_is_collected_comes_with_the_exit_as_far_as_it_was_wanted<M>() {
        let mut event_loop = M::looping(Seen::default());
        event_loop
            .command("sh")
            .args(["-c", "printf hello; printf world >&2"])
            .stdout(Output::Collect(100))
            .stderr(Output::Collect(3))
            .on_exit(|l: &mut LoopOf<M, Seen>, exit| l.state.exits.push(exit))
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        let exit = event_loop.state.exit();
        assert_eq!((&*exit.stdout, &*exit.stderr, exit.is_cut), (&b"hello"[..], &b"wor"[..], true));
    }

    fn q1_no_standard_input_is_the_end_at_once<M>() {
        for bytes in [None, Some("")] {
            let mut event_loop = M::looping(Seen::default());
            let command = shell::<M>(&event_loop, "cat; printf done");
            let command = match bytes {
                None => command.stdin_null(),
                Some(bytes) => command.stdin_bytes(bytes),
            };
            command.spawn(&mut event_loop).expect("a child");
            event_loop.run().expect("a run");
            assert_eq!(event_loop.state.out, b"done");
        }
    }

    fn q1_bytes_go_first_and_the_pipe_stays_open<M>() {
        let mut event_loop = M::looping(Seen::default());
        shell::<M>(&event_loop, "cat")
            .stdin_bytes("one ")
            .stdin_pipe()
            .on_stdin_drained(|l, child| {
                l.state.note("drained");
                if l.state.notes.len() == 1 {
                    child.write(l, "two").expect("room");
                    child.close_stdin(l);
                }
            })
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.out, b"one two");
        assert_eq!(event_loop.state.notes, ["drained"], "an end is no drain");
    }

    fn q3_a_child_that_ignores_term_is_killed<M>() {
        let mut event_loop = M::looping(Seen::default());
        shell::<M>(&event_loop, "trap '' TERM; printf ready; while :; do sleep 0.01; done")
            .timeout(Duration::from_millis(300))
            .kill_after(Some(Duration::from_millis(10)))
            .output_grace(Duration::from_millis(200))
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        let exit = event_loop.state.exit();
        assert!(exit.timed_out);
        // On a machine that is very slow it may not have come to ignore it.
        assert!([Some(Signal::KILL), Some(Signal::TERM)].contains(&exit.signal()), "{exit:?}");
        if event_loop.state.out == b"ready" {
            assert_eq!(exit.signal(), Some(Signal::KILL));
        }
    }

    fn q3_a_timeout_whose_callback_fails_ends_the_child_all_the_same<M>() {
        for panics in [false, true] {
            let mut event_loop = M::looping(Seen::default());
            shell::<M>(&event_loop, "exec sleep 1000")
                .timeout(Duration::from_millis(5))
                .kill_after(Some(Duration::from_millis(5)))
                .on_timeout(move |_, _| {
                    if panics {
                        std::panic::resume_unwind(Box::new(()));
                    }
                    Err::<(), _>("on purpose")
                })
                .spawn(&mut event_loop)
                .expect("a child");
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.run()));
            assert_eq!(run.is_err(), panics);
            event_loop.run().expect("a run");
            assert!(event_loop.state.exit().signal().is_some());
        }
    }

    fn q5_a_child_that_closes_its_input_is_no_error<M>() {
        libc_calls::have_sigpipe_end_the_process();
        let mut event_loop = M::looping(Seen::default());
        let child = shell::<M>(&event_loop, "exec <&-; printf closed; exec sleep 1000")
            .stdin_pipe()
            .spawn(&mut event_loop)
            .expect("a child");
        run_until::<M>(&mut event_loop, |seen| seen.out == b"closed");
        child.write(&mut event_loop, vec![1; 1 << 20]).expect("room");
        while child.pending_stdin(&event_loop) > 0 {
            event_loop.run_once(Some(LONG)).expect("a turn");
        }
        let late = child.write(&mut event_loop, "x");
        assert_eq!(late, Err(StdinError::Closed(b"x".to_vec())));
        child.kill(&mut event_loop, Signal::KILL).expect("a signal");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.exits.len(), 1);
    }

    fn q5_what_waits_for_a_child_is_bounded<M>() {
        let mut event_loop = M::looping(Seen::default());
        let child = shell::<M>(&event_loop, "exec sleep 1000")
            .stdin_pipe()
            .stdin_max(1000)
            .spawn(&mut event_loop)
            .expect("a child");
        assert_eq!(child.write(&mut event_loop, vec![1; 900]), Ok(900));
        let refused = child.write(&mut event_loop, vec![2; 101]);
        assert_eq!(refused, Err(StdinError::Full(vec![2; 101])), "the bytes come back");
        assert_eq!(child.write(&mut event_loop, vec![3; 100]), Ok(1000));
        event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
        assert_eq!(child.pending_stdin(&event_loop), 0, "the pipe takes it");
        child.kill(&mut event_loop, Signal::KILL).expect("a signal");
        event_loop.run().expect("a run");
    }

    fn q1_without_descriptors_nothing_is_started_and_the_command_is_kept<M>() {
        let mut event_loop = M::looping(Seen::default());
        let before = descriptors();
        let mut command = shell::<M>(&event_loop, "cat").stdin_bytes("kept");
        let mut refusals = 0;
        // One more at a time, so that each of the descriptors that it takes is the one that is missing.
        for spare in 0..40 {
            system::limit_descriptors(before.len() as u64 - 1 + spare).expect("a limit");
            let spawned = command.spawn(&mut event_loop);
            system::limit_descriptors(1024).expect("a limit");
            match spawned {
                Ok(_) => {
                    event_loop.run().expect("a run");
                    assert_eq!(event_loop.state.out, b"kept");
                    assert!(refusals > 3);
                    return;
                }
                Err(refused) => {
                    assert_eq!(refused.error.raw_os_error(), Some(Errno::EMFILE.raw()), "{refused:?}");
                    command = *refused.command;
                    refusals += 1;
                    while event_loop.is_live() {
                        event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
                    }
                    assert_eq!(descriptors(), before, "with {spare} to spare");
                }
            }
        }
        panic!("it takes no forty descriptors");
    }

    fn q2_that_it_was_started_is_told_before_its_output<M>() {
        let mut event_loop = M::looping(Seen::default());
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        // A stream is seen to before the turn waits: the wait then finds the child's output.
        let stream = Stream::over(&mut event_loop, M::Ours::from(ours.into()))
            .on_close(|l: &mut LoopOf<M, Seen>, _| {
                let command = l
                    .command("/bin/sh")
                    .args(["-c", "printf out"])
                    .on_start(|l: &mut LoopOf<M, Seen>, _| l.state.note("start"))
                    .on_stdout(|l, _, _| l.state.note("out"))
                    .on_exit(|l, _| l.state.note("exit"));
                let child = command.spawn(l)?;
                libc_calls::until_ended(child.pid(l).expect("a number"));
                Ok::<(), std::io::Error>(())
            })
            .start()
            .expect("room");
        stream.close(&mut event_loop).expect("it is open");
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.notes, ["start", "out", "exit"]);
        drop(theirs);
    }

    fn q2_without_a_grace_all_that_the_child_wrote_is_read<M>() {
        let mut event_loop = M::looping(Seen::default());
        let child = event_loop
            .command("/bin/sh")
            .args(["-c", "head -c 60000 /dev/zero"])
            .stdout(Output::Collect(1 << 20))
            .output_grace(Duration::ZERO)
            .on_exit(|l: &mut LoopOf<M, Seen>, exit| l.state.exits.push(exit))
            .spawn(&mut event_loop)
            .expect("a child");
        libc_calls::until_ended(child.pid(&event_loop).expect("a number"));
        event_loop.run().expect("a run");
        let exit = event_loop.state.exit();
        assert_eq!((exit.stdout.len(), exit.is_cut), (60_000, false));
    }

    fn q2_without_a_grace_a_grandchild_that_writes_on_and_on_ends_nothing_and_delays_nothing<M>() {
        let mut event_loop = M::looping(Seen::default());
        event_loop
            .command("/bin/sh")
            .args(["-c", "yes & echo $! >&2"])
            .stdout(Output::Drain)
            .output_grace(Duration::ZERO)
            .on_stderr(|l: &mut LoopOf<M, Seen>, _, bytes| l.state.err.extend_from_slice(bytes))
            .on_exit(|l, exit| l.state.exits.push(exit))
            .spawn(&mut event_loop)
            .expect("a child");
        event_loop.run().expect("a run");
        assert!(event_loop.state.exit().is_cut, "it is ended by having nobody to write to");
    }

    fn q2_a_panic_over_the_last_of_the_output_delays_nothing_either<M>() {
        let mut event_loop = M::looping(Seen::default());
        let child = event_loop
            .command("/bin/sh")
            .args(["-c", "head -c 60000 /dev/zero"])
            .output_grace(Duration::ZERO)
            .on_stdout(|l: &mut LoopOf<M, Seen>, child, _| {
                if !child.is_running(l) {
                    std::panic::resume_unwind(Box::new(()));
                }
            })
            .on_exit(|l, exit| l.state.exits.push(exit))
            .spawn(&mut event_loop)
            .expect("a child");
        libc_calls::until_ended(child.pid(&event_loop).expect("a number"));
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.run()));
        if M::BY_OPERATIONS {
            assert!(run.is_err(), "a read brings a part of it, and the rest comes when the grace is over");
            event_loop.run().expect("a run");
        }
        assert_eq!(event_loop.state.exit().is_cut, run.is_err());
    }

    fn q3_who_has_ended_by_the_time_that_a_busy_loop_looks_has_not_timed_out<M>() {
        let mut event_loop = M::looping(Seen::default());
        let limit = Duration::from_millis(50);
        let child = shell::<M>(&event_loop, "exit 3")
            .timeout(limit)
            .on_timeout(|l, _| l.state.note("timeout"))
            .spawn(&mut event_loop)
            .expect("a child");
        libc_calls::until_ended(child.pid(&event_loop).expect("a number"));
        std::thread::sleep(2 * limit); // a callback that takes long
        event_loop.run().expect("a run");
        let exit = event_loop.state.exit();
        assert_eq!((exit.code(), exit.timed_out, &event_loop.state.notes[..]), (Some(3), false, &[][..]));
    }

    fn q3_a_timeout_whose_callback_panics_ends_a_child_that_is_never_to_be_killed<M>() {
        let mut event_loop = M::looping(Seen::default());
        shell::<M>(&event_loop, "exec sleep 1000")
            .timeout(Duration::from_millis(5))
            .kill_after(None)
            .on_timeout(|_, _| linux_event_tests::panic_quietly())
            .spawn(&mut event_loop)
            .expect("a child");
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.run()));
        assert!(run.is_err());
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.exit().signal(), Some(Signal::TERM));
    }

    fn g1_a_forked_child_ends_and_starts_no_child_of_its_parents<M>() {
        let mut event_loop = Some(M::looping(Seen::default()));
        let path = std::env::temp_dir().join(format!("linux-event-forked-{}", std::process::id()));
        let inherited = event_loop.as_mut().expect("a loop");
        let child = shell::<M>(inherited, "exec sleep 1000").kill_on_drop(true).spawn(inherited).expect("a child");
        let touch = inherited.command("touch").arg(&path);
        let mut touch = Some(touch);
        let forked = libc_calls::in_forked_child(|| {
            let inherited = event_loop.as_mut().expect("a loop");
            assert_eq!(child.kill(inherited, Signal::KILL), Err(Errno::ECHILD));
            assert!(touch.take().expect("a command").spawn(inherited).is_err());
            drop(event_loop.take());
        });
        assert!(forked.success(), "{forked:?}");
        assert!(!path.exists(), "nothing was started");
        let mut event_loop = event_loop.expect("the parent's");
        event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
        assert_eq!(child.kill(&mut event_loop, Signal::TERM), Ok(true));
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.exit().signal(), Some(Signal::TERM), "its own signal, and no other");
    }

    fn a_handle_reaches_nobody_in_another_loop<M>() {
        let (mut one, mut other) = (M::looping(Seen::default()), M::looping(Seen::default()));
        let child = shell::<M>(&one, "exec sleep 1000").spawn(&mut one).expect("a child");
        let there = shell::<M>(&other, "exec sleep 1000").spawn(&mut other).expect("a child");
        assert_eq!(child.kill(&mut other, Signal::KILL), Ok(false));
        assert_eq!(child.pid(&other), None);
        let (pool, _there) = (Pool::new(&mut one, 3), Pool::new(&mut other, 7));
        assert_eq!((pool.max(&one), pool.max(&other)), (3, 0));
        assert_eq!(child.kill(&mut one, Signal::KILL), Ok(true));
        assert_eq!(there.kill(&mut other, Signal::KILL), Ok(true));
        one.run().expect("a run");
        other.run().expect("a run");
    }

    fn q2_a_loop_that_is_dropped_kills_whom_it_was_told_to<M>() {
        let mut event_loop = M::looping(Seen::default());
        let child = shell::<M>(&event_loop, "exec sleep 1000")
            .kill_on_drop(true)
            .spawn(&mut event_loop)
            .expect("a child");
        let pid = child.pid(&event_loop).expect("a number");
        drop(event_loop);
        let status = libc_calls::reap(pid);
        assert_eq!(status.signal(), Some(Signal::KILL));
    }

    fn q4_a_callback_may_queue_more_and_cancel_what_waits<M>() {
        struct State {
            left: u32,
            ended: u32,
            pool: Option<Pool>,
        }
        fn job<M: KernelWorld>(event_loop: &mut LoopOf<M, State>) {
            let command = event_loop.command("true").on_exit(|l: &mut LoopOf<M, State>, _| {
                l.state.ended += 1;
                if l.state.left > 0 {
                    l.state.left -= 1;
                    job::<M>(l);
                }
            });
            let pool = event_loop.state.pool.expect("a pool");
            pool.spawn(event_loop, command).expect("taken");
        }
        let mut event_loop = M::looping(State { left: 6, ended: 0, pool: None });
        let pool = Pool::new(&mut event_loop, 2);
        event_loop.state.pool = Some(pool);
        for _ in 0..3 {
            job::<M>(&mut event_loop);
        }
        event_loop.run().expect("a run");
        assert_eq!(event_loop.state.ended, 9);
        assert_eq!(pool.running(&event_loop), 0);
    }
}

/// A pipe that a ring has no room to close by an operation is closed all the same.
#[test]
fn q1_without_room_for_an_operation_nothing_is_started_and_no_pipe_is_left_open() {
    let Ok(mut event_loop) = Loop::proactor() else {
        println!("skipped: io_uring is forbidden here");
        return;
    };
    // What has not been looked at has its place still.
    while event_loop.submit(op::nop(), |_, _| ()).is_ok() {}
    let refused = event_loop
        .command("true")
        .stdin_pipe()
        .stdout(Output::Drain)
        .spawn(&mut event_loop);
    assert_eq!(refused.unwrap_err().error.kind(), ErrorKind::OutOfMemory);
    assert_eq!(event_loop.file_count(), 0);
}

/// The table of operations is full when the child's input is to be closed: there is no room for an operation that closes it.
#[test]
fn q5_input_is_closed_although_no_operation_has_room() {
    if !system::alone("q5_input_is_closed_although_no_operation_has_room") || !is_there() {
        return;
    }
    let mut event_loop = OnRing::looping(Seen::default());
    let child = event_loop
        .command("/bin/cat")
        .stdin_pipe()
        .on_exit(|l: &mut LoopOf<OnRing, Seen>, exit| l.state.exits.push(exit))
        .spawn(&mut event_loop)
        .expect("a child");
    event_loop
        .run_once(Some(Duration::ZERO))
        .expect("its start is told");
    let files = event_loop.file_count();
    assert!(child.close_stdin(&mut event_loop));
    // They are done by the time that the input is closed, but nobody has been told yet.
    while event_loop.submit(op::nop(), |_, _| ()).is_ok() {}
    event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
    assert_eq!(event_loop.file_count(), files - 1, "it is closed");
    event_loop.run().expect("the child ends by itself");
    assert!(event_loop.state.exit().success());
}
