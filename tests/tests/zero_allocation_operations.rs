//! An operation that is submitted again from its callback allocates nothing and frees nothing.

#![deny(unsafe_code)]

#[path = "../src/allocations.rs"]
mod allocations;

use std::os::unix::net::UnixStream;

use allocations::during;
use linux_event::{Buffer, File, Loop, PollEvents, Proactor, Uring, op};

#[global_allocator]
static ALLOCATOR: allocations::Counted = allocations::Counted;

const EVENTS: u64 = 10_000;

type Counter = Loop<Proactor<Uring>, u64>;

/// A loop that counts in its state, and two sockets that are connected; `None` where io_uring is forbidden.
fn counter() -> Option<(Counter, File, File)> {
    let mut event_loop = match Loop::proactor_with(0) {
        Ok(event_loop) => event_loop,
        Err(error) => {
            eprintln!("no ring, nothing is tested: {error}");
            return None;
        }
    };
    let (one, other) = UnixStream::pair().unwrap();
    let one = event_loop.adopt(one).unwrap();
    let other = event_loop.adopt(other).unwrap();
    Some((event_loop, one, other))
}

/// Runs a loop that stops itself at [`EVENTS`], after a first turn that may touch what was never used.
fn assert_runs_without_allocating(event_loop: &mut Counter) {
    event_loop.run_once(None).unwrap();
    let allocations = during(|| event_loop.run().unwrap());
    assert_eq!(event_loop.state, EVENTS);
    assert_eq!(allocations, 0);
}

fn count(event_loop: &mut Counter) {
    event_loop.state += 1;
    if event_loop.state == EVENTS {
        event_loop.stop();
    }
}

#[test]
fn a_nop_again_and_again_allocates_nothing() {
    let Some((mut event_loop, _, _)) = counter() else {
        return;
    };
    let kept = Buffer::from("something to capture");
    event_loop
        .nop(move |event_loop, _| {
            assert!(!kept.is_empty());
            count(event_loop);
            event_loop.again(op::nop()).unwrap();
        })
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn an_echo_with_one_buffer_allocates_nothing() {
    let Some((mut event_loop, one, other)) = counter() else {
        return;
    };
    let mut receives = true;
    event_loop
        .recv(
            one,
            Vec::with_capacity(64),
            move |event_loop, completion| {
                let buffer = completion.into_buffer().unwrap();
                let next = if receives {
                    op::send(one, buffer)
                } else {
                    op::recv(one, buffer)
                };
                receives = !receives;
                event_loop.again(next).unwrap();
            },
        )
        .unwrap();
    let mut sends = true;
    event_loop
        .send(other, "ping", move |event_loop, completion| {
            let buffer = completion.into_buffer().unwrap();
            count(event_loop);
            let next = if sends {
                op::recv(other, buffer)
            } else {
                op::send(other, buffer)
            };
            sends = !sends;
            event_loop.again(next).unwrap();
        })
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn a_callback_that_captures_nothing_allocates_nothing() {
    fn nop(event_loop: &mut Counter) {
        event_loop
            .nop(|event_loop, _| {
                count(event_loop);
                nop(event_loop);
            })
            .unwrap();
    }
    let Some((mut event_loop, _, _)) = counter() else {
        return;
    };
    nop(&mut event_loop);
    assert_runs_without_allocating(&mut event_loop);
}

#[test]
fn a_multishot_operation_allocates_nothing() {
    let Some((mut event_loop, one, other)) = counter() else {
        return;
    };
    event_loop
        .poll_multi(one, PollEvents::IN, |event_loop, completion| {
            if completion.more {
                count(event_loop);
            }
        })
        .unwrap();
    event_loop
        .send(other, "x", move |event_loop, completion| {
            let buffer = completion.into_buffer().unwrap();
            event_loop.again(op::send(other, buffer)).unwrap();
        })
        .unwrap();
    event_loop
        .recv(one, vec![0; 64], move |event_loop, completion| {
            let buffer = completion.into_buffer().unwrap();
            event_loop.again(op::recv(one, buffer)).unwrap();
        })
        .unwrap();
    assert_runs_without_allocating(&mut event_loop);
}
