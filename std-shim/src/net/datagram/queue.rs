//! What a datagram socket has to send: a bounded queue of packets.
//!
//! **What.** [`SendQueue`] takes packets at its end and gives them out at its front, one at a time: lent to whoever sends it. What was sent is forgotten, what was not comes back to the front.
//!
//! **Invariants.** *INV-SENDS-1*: `packets` and `bytes` count what was pushed and neither sent nor failed, the lent packet too, and
//! never pass the limits. *INV-SENDS-2*: packets leave in the order in which they came; the lent one is before the others.
//!
//! **Why this shape.** A packet is whole or not there (D-1): so it is packets that are refused, and a packet has one buffer,
//! whose memory is used again.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::super::address::Address;

/// As much memory as is kept of packets that were sent: buffers, and bytes of each.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 4096;

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    /// `None`: to the peer that the socket is connected to.
    pub(crate) to: Option<Address>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct SendQueue {
    waiting: VecDeque<Packet>,
    /// INV-SENDS-1.
    packets: usize,
    bytes: usize,
    packets_max: usize,
    bytes_max: usize,
    /// Bytes of the packet that is lent.
    lent: Option<usize>,
    spares: Vec<Vec<u8>>,
}

impl SendQueue {
    pub(crate) fn new(packets_max: usize, bytes_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            packets: 0,
            bytes: 0,
            packets_max,
            bytes_max,
            lent: None,
            spares: Vec::new(),
        }
    }

    /// Packets and bytes that wait.
    pub(crate) const fn pending(&self) -> (usize, usize) {
        (self.packets, self.bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Takes a copy of a packet; false, and nothing is taken, if there is no room.
    #[must_use]
    pub(crate) fn push(&mut self, bytes: &[u8], to: Option<Address>) -> bool {
        if self.packets >= self.packets_max || self.bytes_max - self.bytes < bytes.len() {
            return false;
        }
        let mut buffer = self.spares.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        self.packets += 1;
        self.bytes += bytes.len();
        self.waiting.push_back(Packet { bytes: buffer, to });
        true
    }

    /// The next packet, lent: one at a time. It is [`finished`](Self::finish), [`restored`](Self::restore) or
    /// [failed](Self::fail).
    pub(crate) fn lend(&mut self) -> Option<Packet> {
        if self.lent.is_some() {
            return None;
        }
        let packet = self.waiting.pop_front()?;
        self.lent = Some(packet.bytes.len());
        Some(packet)
    }

    /// A lent packet was sent.
    pub(crate) fn finish(&mut self, packet: Packet) {
        let mut bytes = self.fail(packet).bytes;
        if self.spares.len() < SPARES_MAX && (1..=SPARE_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    /// A lent packet was not sent, and will not be: it is the caller's.
    pub(crate) fn fail(&mut self, packet: Packet) -> Packet {
        if let Some(lent) = self.lent.take() {
            self.packets -= 1;
            self.bytes -= lent;
        }
        packet
    }

    /// A lent packet was not sent, and is to be sent again.
    pub(crate) fn restore(&mut self, packet: Packet) {
        if self.lent.take().is_some() {
            self.waiting.push_front(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[allow(clippy::unnecessary_wraps, reason = "as a packet has it")]
    fn here(port: u16) -> Option<Address> {
        Some(Address::Internet(([127, 0, 0, 1], port).into()))
    }

    #[test]
    fn d1_a_full_queue_takes_nothing_by_packets_or_by_bytes() {
        let mut queue = SendQueue::new(2, 10);
        assert!(queue.push(b"", here(1)), "one without bytes is a packet");
        assert!(queue.push(b"0123456789", None));
        assert!(!queue.push(b"", None), "two are the most");
        let empty = queue.lend().expect("two wait");
        assert!(!queue.push(b"", None), "a lent one counts");
        queue.finish(empty);
        assert!(!queue.push(b"x", None), "ten bytes are the most");
        assert!(queue.push(b"", None));
        assert_eq!(queue.pending(), (2, 10));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Lend,
        Finish,
        Fail,
        Restore,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..40usize).prop_map(Step::Push),
            3 => Just(Step::Lend),
            2 => Just(Step::Finish),
            1 => Just(Step::Fail),
            1 => Just(Step::Restore),
        ]
    }

    proptest! {
        /// Against a plain list: nothing is lost, doubled, reordered or cut, and the limits hold.
        #[test]
        fn d1_packets_leave_whole_and_in_order_whatever_is_done(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let (packets_max, bytes_max) = (5, 100);
            let mut queue = SendQueue::new(packets_max, bytes_max);
            let mut model: VecDeque<Packet> = VecDeque::new();
            let mut lent: Option<Packet> = None;
            for (nth, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(count) => {
                        let packet = Packet { bytes: vec![nth as u8; count], to: here(nth as u16) };
                        let bytes: usize = model.iter().map(|packet| packet.bytes.len()).sum();
                        let fits = model.len() < packets_max && bytes + count <= bytes_max;
                        prop_assert_eq!(queue.push(&packet.bytes, packet.to.clone()), fits);
                        if fits {
                            model.push_back(packet);
                        }
                    }
                    Step::Lend => {
                        let next = queue.lend();
                        prop_assert_eq!(next.is_some(), lent.is_none() && !model.is_empty());
                        if next.is_some() {
                            prop_assert_eq!(next.as_ref(), model.front());
                            lent = next;
                        }
                    }
                    Step::Finish => if let Some(packet) = lent.take() {
                        queue.finish(packet);
                        model.pop_front();
                    },
                    Step::Fail => if let Some(packet) = lent.take() {
                        prop_assert_eq!(Some(queue.fail(packet)), model.pop_front());
                    },
                    Step::Restore => if let Some(packet) = lent.take() {
                        queue.restore(packet);
                    },
                }
                let bytes = model.iter().map(|packet| packet.bytes.len()).sum::<usize>();
                prop_assert_eq!(queue.pending(), (model.len(), bytes));
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }
}
