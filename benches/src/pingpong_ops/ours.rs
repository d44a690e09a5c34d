//! The ping-pong by operations on our own proactor, used the way its documentation asks for.
//!
//! **What.** Both ends are adopted; each has a block to receive into and a block to send from, which go with the operation
//! and come back with its completion.
//!
//! **Invariants.** INV-PINGPONG-1, INV-OPS-1.

#![forbid(unsafe_code)]

use std::io;

use linux_event_core::handle::File;
use linux_event_core::proactor::{Event, Payload, op};
use linux_event_core::sys::{Linux, SocketKind, Sockets};

use crate::pingpong::{BUFFER, lost};
use crate::sys::proactor::{Boxed, Bytes, boxed, leaked, refused};
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
struct End {
    file: File,
    sends: Option<Bytes>,
}

/// Events as values.
pub(super) fn proactor(_idle: usize) -> io::Result<Box<dyn Round>> {
    let mut proactor: Boxed<Token, OPERATIONS> = boxed()?;
    let (near, far) = Linux
        .socketpair(SocketKind::Stream)
        .map_err(io::Error::other)?;
    let mut end = |fd| {
        let adopted = proactor.adopt(fd).map_err(|(error, _)| error);
        adopted.map_err(io::Error::other).map(|file| End {
            file,
            sends: Some(leaked(1)),
        })
    };
    let (mut near, mut far) = (end(near)?, end(far)?);
    let mut near_block = Some(leaked(BUFFER));
    receive(&mut proactor, far.file, leaked(BUFFER), Token::Far)?;
    proactor.flush().map_err(io::Error::other)?;
    Ok(timed(1, move |round_trips| {
        let mut left = round_trips;
        let block = near_block.take().ok_or_else(lost)?;
        receive(&mut proactor, near.file, block, Token::Near)?;
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
                            receive(&mut proactor, near.file, block, Token::Near)?;
                            send(&mut proactor, &mut near, Token::NearSent)?;
                        } else {
                            near_block = Some(block);
                        }
                    }
                    Token::Far => {
                        receive(&mut proactor, far.file, block, Token::Far)?;
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
    proactor: &mut Boxed<Token, OPERATIONS>,
    file: File,
    block: Bytes,
    token: Token,
) -> io::Result<()> {
    let submitted = proactor.submit(op::recv(file, block), token);
    submitted.map(drop).map_err(refused)
}

#[inline(always)]
fn send(proactor: &mut Boxed<Token, OPERATIONS>, end: &mut End, token: Token) -> io::Result<()> {
    let block = end.sends.take().ok_or_else(lost)?;
    let submitted = proactor.submit(op::send(end.file, block), token);
    submitted.map(drop).map_err(refused)
}
