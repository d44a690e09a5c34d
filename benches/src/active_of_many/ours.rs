//! Our proactor, with a receive pending on every pair.
//!
//! **What.** [`Operations`] does what the floor's does, by its documentation: a block goes with each receive and each send,
//! and comes back with its completion. [`Multishot`] has one multishot receive a pair, which fills provided buffers and is
//! not queued again.
//!
//! **Invariants.** INV-ACTIVE-1, INV-ACTIVE-2, INV-ACTIVE-3.

#![forbid(unsafe_code)]

use std::io;

use linux_event_core::handle::Op;
use linux_event_core::proactor::{Event, Group, Payload, op};
use linux_event_core::sys::BorrowedFd;

use super::{Pair, Waiting, lost};
use crate::sys::proactor::{Boxed, Bytes, borrowed, boxed, leaked, refused};

/// Operations that there is room for: two a pair, of the largest size.
const OPERATIONS: usize = 18_432;

/// What an operation stands for.
#[derive(Clone, Copy, Debug)]
enum Token {
    Received(u32),
    Sent,
}

/// A pair's ends.
#[derive(Clone, Copy)]
struct Ends {
    receiver: BorrowedFd<'static>,
    sender: BorrowedFd<'static>,
}

struct Common {
    proactor: Boxed<Token, OPERATIONS>,
    ends: Vec<Ends>,
    /// Blocks to send from that are at home.
    sends: Vec<Bytes>,
}

impl Common {
    fn new(pairs: &[Pair]) -> io::Result<Self> {
        let ends = pairs.iter().map(|pair| Ends {
            receiver: borrowed(pair.receiver),
            sender: borrowed(pair.sender),
        });
        Ok(Self {
            proactor: boxed()?,
            ends: ends.collect(),
            sends: (0..pairs.len()).map(|_| leaked(1)).collect(),
        })
    }

    #[inline(always)]
    fn send_after(&mut self, index: u32) -> io::Result<()> {
        let next = index as usize + 1;
        let next = if next == self.ends.len() { 0 } else { next };
        let block = self.sends.pop().ok_or_else(lost)?;
        let send = op::send(self.ends[next].sender, block);
        let submitted = self.proactor.submit(send, Token::Sent);
        submitted.map(drop).map_err(refused)
    }
}

/// One receive after the other.
pub(super) struct Operations {
    common: Common,
    blocks: Vec<Option<Bytes>>,
}

impl Operations {
    pub(super) fn new(pairs: &[Pair]) -> io::Result<Self> {
        Ok(Self {
            common: Common::new(pairs)?,
            blocks: pairs.iter().map(|_| Some(leaked(64))).collect(),
        })
    }

    #[inline(always)]
    fn receive(&mut self, index: u32, block: Bytes) -> io::Result<()> {
        let receive = op::recv(self.common.ends[index as usize].receiver, block).limit(1);
        let token = Token::Received(index);
        let submitted = self.common.proactor.submit(receive, token);
        submitted.map(drop).map_err(refused)
    }
}

impl Waiting for Operations {
    fn watch(&mut self) -> io::Result<()> {
        for index in 0..self.blocks.len() {
            let block = self.blocks[index].take().ok_or_else(lost)?;
            self.receive(index as u32, block)?;
        }
        self.common.proactor.flush().map_err(io::Error::other)
    }

    #[inline(always)]
    fn run(&mut self, bytes: u64, mut sends: u64) -> io::Result<()> {
        let (mut left, mut sending) = (bytes, 0);
        while left > 0 || sending > 0 {
            self.common.proactor.wait(None).map_err(io::Error::other)?;
            while let Some(event) = self.common.proactor.next() {
                let Event::Completion(completion) = event else {
                    return Err(lost());
                };
                let (1, Payload::Buffer(block)) = (completion.result, completion.payload) else {
                    return Err(lost());
                };
                match completion.data {
                    Token::Sent => {
                        sending -= 1;
                        self.common.sends.push(block);
                    }
                    Token::Received(index) => {
                        left -= 1;
                        self.receive(index, block)?;
                        if sends > 0 {
                            sends -= 1;
                            sending += 1;
                            self.common.send_after(index)?;
                        }
                    }
                }
            }
        }
        self.common.proactor.flush().map_err(io::Error::other)
    }

    fn unwatch(&mut self) -> io::Result<()> {
        let proactor = &mut self.common.proactor;
        if proactor.cancel_all() != self.blocks.len() {
            return Err(lost());
        }
        while proactor.operations() > 0 {
            proactor.wait(None).map_err(io::Error::other)?;
            while let Some(event) = proactor.next() {
                match event {
                    Event::Completion(completion) if completion.is_cancelled() => {
                        let Token::Received(index) = completion.data else {
                            return Err(lost());
                        };
                        self.blocks[index as usize] = completion.into_buffer();
                    }
                    _ => return Err(lost()),
                }
            }
        }
        Ok(())
    }
}

/// One multishot receive a pair.
pub(super) struct Multishot {
    common: Common,
    group: Group,
    receives: Vec<Op>,
}

impl Multishot {
    /// Provided buffers: more than there are chains.
    const BUFFERS: u16 = 256;

    pub(super) fn new(pairs: &[Pair]) -> io::Result<Self> {
        let mut common = Common::new(pairs)?;
        let group = common.proactor.provide(Self::BUFFERS, 64);
        Ok(Self {
            common,
            group: group.map_err(io::Error::other)?,
            receives: Vec::with_capacity(pairs.len()),
        })
    }

    fn receive(&mut self, index: u32) -> io::Result<Op> {
        let receiver = self.common.ends[index as usize].receiver;
        let receive = op::recv_multi(receiver, self.group);
        let token = Token::Received(index);
        self.common.proactor.submit(receive, token).map_err(refused)
    }
}

impl Waiting for Multishot {
    fn watch(&mut self) -> io::Result<()> {
        for index in 0..self.common.ends.len() {
            let op = self.receive(index as u32)?;
            self.receives.push(op);
        }
        self.common.proactor.flush().map_err(io::Error::other)
    }

    #[inline(always)]
    fn run(&mut self, bytes: u64, mut sends: u64) -> io::Result<()> {
        let (mut left, mut sending) = (bytes, 0);
        while left > 0 || sending > 0 {
            self.common.proactor.wait(None).map_err(io::Error::other)?;
            while let Some(event) = self.common.proactor.next() {
                let Event::Completion(completion) = event else {
                    return Err(lost());
                };
                match (completion.data, completion.payload) {
                    (Token::Sent, Payload::Buffer(block)) if completion.result == 1 => {
                        sending -= 1;
                        self.common.sends.push(block);
                    }
                    (Token::Received(index), Payload::Lease(bytes)) if completion.more => {
                        // Two bytes where one chain has caught up with another.
                        for _ in 0..bytes.len() {
                            left -= 1;
                            if sends > 0 {
                                sends -= 1;
                                sending += 1;
                                self.common.send_after(index)?;
                            }
                        }
                    }
                    _ => return Err(lost()),
                }
            }
        }
        Ok(())
    }

    fn unwatch(&mut self) -> io::Result<()> {
        self.receives.clear();
        let proactor = &mut self.common.proactor;
        if proactor.cancel_all() != self.common.ends.len() {
            return Err(lost());
        }
        while proactor.operations() > 0 {
            proactor.wait(None).map_err(io::Error::other)?;
            while let Some(event) = proactor.next() {
                match event {
                    Event::Completion(completion) if completion.is_cancelled() => {}
                    _ => return Err(lost()),
                }
            }
        }
        Ok(())
    }
}
