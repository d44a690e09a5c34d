//! Chains (P-10).

use linux_event::{Buffer, LoopError, op};

use crate::{World, both};

both!(
    p10_a_chain_runs_in_order,
    p10_a_chain_that_is_cancelled_tells_of_every_member,
    p10_a_refused_chain_gives_everything_back,
);

/// P-10: members run one after the other, each tells of itself.
fn p10_a_chain_runs_in_order<W: World>() -> Option<()> {
    let mut event_loop = W::looping(Vec::new())?;
    let (one, other) = W::pair(&mut event_loop);
    let [_, read] = event_loop
        .submit_chain([
            event_loop.member(
                op::write(one, Buffer::from("abc")),
                |event_loop, completion| {
                    assert_eq!(completion.outcome(), Ok(3));
                    event_loop.state.push(1);
                },
            ),
            event_loop.member(
                op::recv(other, Buffer::with_capacity(8)),
                |event_loop, completion| {
                    assert_eq!(completion.outcome(), Ok(3));
                    event_loop.state.push(2);
                },
            ),
        ])
        .unwrap();
    assert!(event_loop.contains(read));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, [1, 2]);
    Some(())
}

/// P-4, P-10: cancelling a member that has not started cancels the chain; each tells of its end.
fn p10_a_chain_that_is_cancelled_tells_of_every_member<W: World>() -> Option<()> {
    let mut event_loop = W::looping(0)?;
    let (one, _other) = W::pair(&mut event_loop);
    let [_, _, last] = event_loop
        .submit_chain([
            event_loop.member(
                op::recv(one, Buffer::with_capacity(8)),
                |event_loop, completion| {
                    assert!(completion.is_cancelled());
                    event_loop.state += 1;
                },
            ),
            event_loop.member(op::nop(), |event_loop, completion| {
                assert!(completion.is_cancelled());
                event_loop.state += 1;
            }),
            event_loop.member(op::nop(), |event_loop, completion| {
                assert!(completion.is_cancelled());
                event_loop.state += 1;
            }),
        ])
        .unwrap();
    event_loop
        .run_once(Some(std::time::Duration::ZERO))
        .unwrap();
    assert!(event_loop.cancel(last));
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 3);
    Some(())
}

/// P-10: a refused chain gives every request back.
fn p10_a_refused_chain_gives_everything_back<W: World>() -> Option<()> {
    let mut event_loop = W::looping(())?;
    let (one, other) = W::pair(&mut event_loop);
    drop(event_loop.release_fd(other).unwrap());
    let refused = event_loop
        .submit_chain([
            event_loop.member(op::write(one, Buffer::from("abc")), |_, _| -> () {
                unreachable!()
            }),
            event_loop.member(op::write(other, Buffer::from("def")), |_, _| -> () {
                unreachable!()
            }),
        ])
        .unwrap_err();
    assert_eq!(refused.error, LoopError::Stale);
    let buffers = refused.requests.into_iter().map(|request| request.buffer);
    assert!(buffers.eq([Some(Buffer::from("abc")), Some(Buffer::from("def"))]));
    assert!(!event_loop.is_live());
    Some(())
}
