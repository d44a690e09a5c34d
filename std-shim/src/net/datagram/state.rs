//! What a datagram socket knows of itself, in any model.
//!
//! **Invariants.** *INV-DATAGRAM-STATE-1*: while `wait` is not `No` nothing is sent.
//!
//! **Why this shape.** Plain values, so that what is wanted of the kernel can be asked without it.

#![forbid(unsafe_code)]

use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::handle::TimerId;

use super::super::address::Address;
use super::queue::{Packet, SendQueue};

/// The first wait for room that nobody reports, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_LAST: Duration = Duration::from_millis(64);

/// What sending waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// The kernel tells when there is room.
    Room,
    /// It can't be asked: a unix socket is writable whatever the queue of a peer that is not connected to, and a device's queue
    /// is nobody's. Then a timer tries again.
    Timer,
}

/// A packet that was received, and not told yet.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) peer: Address,
    pub(super) is_cut: bool,
}

/// What came of sending.
#[derive(Debug)]
pub(super) enum Sent {
    /// It is gone, or to be tried again.
    Quiet,
    /// This is to be told.
    Told(super::DatagramError),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(super) queue: SendQueue,
    pub(super) is_paused: bool,
    /// To be closed once the queue is empty.
    pub(super) is_closing: bool,
    pub(super) is_unix: bool,
    pub(super) is_connected: bool,
    /// Bytes of a packet at most.
    pub(super) receive_size: usize,
    per_turn: u32,
    /// The turn that was looked at last, and how many packets were received and sent in it.
    turn: (u64, u32, u32),
    pub(super) kept: Option<Kept>,
    /// Memory to receive into, while no operation has it.
    pub(super) buffer: Vec<u8>,
    /// Where the packet goes that is lent to an operation.
    pub(super) lent_to: Option<Address>,
    /// INV-DATAGRAM-STATE-1.
    pub(super) wait: Wait,
    pub(super) timer: Option<TimerId>,
    retry: Duration,
    /// What is wrong with the loop's hold on the socket, to be told.
    pub(super) fault: Option<Errno>,
}

impl State {
    pub(super) fn new(queue: SendQueue, receive_size: usize, per_turn: u32) -> Self {
        Self {
            queue,
            is_paused: false,
            is_closing: false,
            is_unix: false,
            is_connected: false,
            receive_size,
            per_turn,
            turn: (0, 0, 0),
            kept: None,
            buffer: Vec::new(),
            lent_to: None,
            wait: Wait::No,
            timer: None,
            retry: RETRY_FIRST,
            fault: None,
        }
    }

    /// Whether to receive more.
    pub(super) const fn wants_read(&self) -> bool {
        !self.is_paused && !self.is_closing && self.kept.is_none() && self.fault.is_none()
    }

    /// Whether this turn may receive another packet, which counts it.
    pub(super) const fn may_receive(&mut self, turn: u64) -> bool {
        self.see_turn(turn);
        self.turn.1 += 1;
        self.turn.1 <= self.per_turn
    }

    /// Whether this turn may send another packet, which counts it.
    pub(super) const fn may_send(&mut self, turn: u64) -> bool {
        self.see_turn(turn);
        self.turn.2 += 1;
        self.turn.2 <= self.per_turn
    }

    const fn see_turn(&mut self, turn: u64) {
        if self.turn.0 != turn {
            self.turn = (turn, 0, 0);
        }
    }

    /// How long to wait before sending is tried again.
    pub(super) fn next_retry(&mut self) -> Duration {
        let retry = self.retry;
        self.retry = (retry * 2).min(RETRY_LAST);
        retry
    }

    /// What came of sending the packet, which was lent.
    pub(super) fn sent(&mut self, packet: Packet, result: Result<(), Errno>) -> Sent {
        match result {
            Ok(()) => {
                self.retry = RETRY_FIRST;
                self.queue.finish(packet);
                Sent::Quiet
            }
            Err(Errno::EINTR | Errno::ECANCELED) => {
                self.queue.restore(packet);
                Sent::Quiet
            }
            Err(Errno::EAGAIN) => {
                let is_told = !self.is_unix || packet.to.is_none();
                self.wait = if is_told { Wait::Room } else { Wait::Timer };
                self.queue.restore(packet);
                Sent::Quiet
            }
            Err(Errno::ENOBUFS | Errno::ENOMEM) => {
                self.wait = Wait::Timer;
                self.queue.restore(packet);
                Sent::Quiet
            }
            // The word of an earlier packet: this one was not looked at (`udp(7)`).
            Err(errno @ Errno::ECONNREFUSED) if !self.is_unix => {
                self.queue.restore(packet);
                Sent::Told(super::DatagramError::Network(errno))
            }
            Err(errno) => {
                let Packet { bytes, to } = self.queue.fail(packet);
                Sent::Told(super::DatagramError::Unsent {
                    errno,
                    to,
                    packet: bytes,
                })
            }
        }
    }
}

/// Whether an error of receiving is the network's word of an earlier packet; else there is nothing to receive with.
pub(super) const fn is_of_the_network(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNREFUSED
            | Errno::ECONNRESET
            | Errno::EHOSTUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETUNREACH
            | Errno::ENETDOWN
            | Errno::ENOPROTOOPT
            | Errno::EPROTO
            | Errno::EMSGSIZE
            | Errno::EACCES
            | Errno::EOPNOTSUPP
            | Errno::ETIMEDOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(state: &mut State) -> Packet {
        state.queue.lend().expect("one waits")
    }

    #[test]
    fn d1_room_that_nobody_reports_is_looked_for_by_a_timer_ever_more_rarely() {
        let mut state = State::new(SendQueue::new(8, 64), 64, 8);
        state.is_unix = true;
        assert!(
            state
                .queue
                .push(b"x", Some(std::path::Path::new("/x").into()))
        );
        assert!(state.queue.push(b"y", None));
        let to_path = packet(&mut state);
        state.sent(to_path, Err(Errno::EAGAIN));
        assert_eq!(state.wait, Wait::Timer);
        assert_eq!(state.next_retry(), RETRY_FIRST);
        assert_eq!(state.next_retry(), 2 * RETRY_FIRST);
        for _ in 0..10 {
            state.next_retry();
        }
        assert_eq!(state.next_retry(), RETRY_LAST);
        let again = packet(&mut state);
        assert_eq!(again.bytes, b"x", "in order");
        state.sent(again, Ok(()));
        assert_eq!(state.next_retry(), RETRY_FIRST);
        let to_peer = packet(&mut state);
        state.sent(to_peer, Err(Errno::EAGAIN));
        assert_eq!(state.wait, Wait::Room, "of a peer the kernel tells");
    }
}
