//! The ping-pong by operations on our own proactor, used the way its documentation asks for.
//!
//! **What.** Each end has a block to receive into and a block to send from, which go with the operation and come back with
//! its completion. [`proactor`] borrows the descriptors for ever, as the floor does; [`adopted`] has the proactor own them.
//!
//! **Invariants.** INV-PINGPONG-1, INV-OPS-1.

#![forbid(unsafe_code)]

use std::io;

use linux_event_core::proactor::{Event, Payload, Target, op};
use linux_event_core::sys::{Linux, SocketKind, Sockets};

use crate::pingpong::{BUFFER, lost};
use crate::sys::leaked_pair;
use crate::sys::proactor::{Boxed, Bytes, borrowed, boxed, leaked, refused};
use crate::workload::{Round, timed};

/// Operations that there is room for.
const OPERATIONS: usize = 64;

/// What an operation stands for.
#[derive(Clone, Copy, Debug)]
enum Token {
    Near,
    Far,
    NearSent,
    FarSent,
}

/// An end's socket, and the blocks that are at home.
struct End<T> {
    target: T,
    sends: Option<Bytes>,
}

type Values = Boxed<Token, OPERATIONS>;

/// Events as values, on descriptors that are borrowed.
pub(super) fn proactor(_idle: usize) -> io::Result<Box<dyn Round>> {
    let (near, far) = leaked_pair()?;
    values(boxed()?, borrowed(near), borrowed(far))
}

/// Events as values, on descriptors that the proactor owns.
pub(super) fn adopted(_idle: usize) -> io::Result<Box<dyn Round>> {
    let mut proactor: Values = boxed()?;
    let (near, far) = Linux
        .socketpair(SocketKind::Stream)
        .map_err(io::Error::other)?;
    let mut adopt = |fd| {
        proactor
            .adopt(fd)
            .map_err(|(error, _)| io::Error::other(error))
    };
    let (near, far) = (adopt(near)?, adopt(far)?);
    values(proactor, near, far)
}

fn values<T: Into<Target> + Copy + 'static>(
    mut proactor: Values,
    near: T,
    far: T,
) -> io::Result<Box<dyn Round>> {
    let end = |target| End {
        target,
        sends: Some(leaked(1)),
    };
    let (mut near, mut far) = (end(near), end(far));
    let mut near_block = Some(leaked(BUFFER));
    receive(&mut proactor, far.target, leaked(BUFFER), Token::Far)?;
    proactor.flush().map_err(io::Error::other)?;
    Ok(timed(1, move |round_trips| {
        let mut left = round_trips;
        let block = near_block.take().ok_or_else(lost)?;
        receive(&mut proactor, near.target, block, Token::Near)?;
        send(&mut proactor, &mut near, Token::NearSent)?;
        // The round ends when everything is back but the far end's receive.
        while left > 0 || near.sends.is_none() || far.sends.is_none() {
            proactor.wait(None).map_err(io::Error::other)?;
            while let Some(event) = proactor.next() {
                let Event::Completion(completion) = event else {
                    return Err(lost());
                };
                let (1, Payload::Buffer(block)) = (completion.result, completion.payload) else {
                    return Err(lost());
                };
                match completion.data {
                    Token::Near => {
                        left -= 1;
                        if left > 0 {
                            receive(&mut proactor, near.target, block, Token::Near)?;
                            send(&mut proactor, &mut near, Token::NearSent)?;
                        } else {
                            near_block = Some(block);
                        }
                    }
                    Token::Far => {
                        receive(&mut proactor, far.target, block, Token::Far)?;
                        send(&mut proactor, &mut far, Token::FarSent)?;
                    }
                    Token::NearSent => near.sends = Some(block),
                    Token::FarSent => far.sends = Some(block),
                }
            }
        }
        Ok(())
    }))
}

#[inline(always)]
fn receive(
    proactor: &mut Values,
    target: impl Into<Target>,
    block: Bytes,
    token: Token,
) -> io::Result<()> {
    let submitted = proactor.submit(op::recv(target, block), token);
    submitted.map(drop).map_err(refused)
}

#[inline(always)]
fn send<T: Into<Target> + Copy>(
    proactor: &mut Values,
    end: &mut End<T>,
    token: Token,
) -> io::Result<()> {
    let block = end.sends.take().ok_or_else(lost)?;
    let submitted = proactor.submit(op::send(end.target, block), token);
    submitted.map(drop).map_err(refused)
}
