//! Which address is tried when: Happy Eyeballs (RFC 8305) without sockets.
//!
//! **What.** [`Race`] is told what addresses there are, what came of each attempt, and the time; it answers which attempt to begin,
//! when to look again, and how it ended.
//!
//! **Invariants.** *INV-RACE-1*: families alternate, the first one first, each in the order that it came in. *INV-RACE-2*: an attempt
//! begins when none is under way, when one has failed, or when the last one has had its time.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use linux_event_core::clock::Instant;

use super::super::address::Address;
use super::ConnectError;

/// The order and the pace of attempts.
#[derive(Debug)]
pub(crate) struct Race {
    waiting: VecDeque<Address>,
    under_way: usize,
    delay: Duration,
    /// When the next attempt begins, if nothing happens before.
    next_at: Option<Instant>,
    last_error: Option<ConnectError>,
}

impl Race {
    pub(crate) fn new(addresses: Vec<Address>, delay: Duration) -> Self {
        Self {
            waiting: interleave(addresses),
            under_way: 0,
            delay,
            next_at: None,
            last_error: None,
        }
    }

    /// What the name was resolved to.
    pub(crate) fn set_addresses(&mut self, addresses: Vec<Address>) {
        self.waiting = interleave(addresses);
    }

    /// The address to try now, if it is time.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Address> {
        if self.next_at.is_some_and(|at| at > now) && self.under_way > 0 {
            return None;
        }
        let address = self.waiting.pop_front()?;
        self.under_way += 1;
        self.next_at = (!self.waiting.is_empty()).then(|| now + self.delay);
        Some(address)
    }

    /// An attempt has failed: the next one begins at once.
    pub(crate) fn failed(&mut self, error: ConnectError) {
        self.under_way -= 1;
        self.last_error = Some(error);
        self.next_at = None;
    }

    /// When to look again, if nothing happens before.
    pub(crate) const fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// How it ended, if every attempt has failed: with the last one's error.
    pub(crate) fn lost(&mut self) -> Option<ConnectError> {
        if self.under_way > 0 || !self.waiting.is_empty() {
            return None;
        }
        Some(self.last_error.take().unwrap_or(ConnectError::NoAddress))
    }
}

/// INV-RACE-1.
fn interleave(addresses: Vec<Address>) -> VecDeque<Address> {
    let Some(first) = addresses.first().map(Address::domain) else {
        return VecDeque::new();
    };
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| address.domain() == first);
    let mut mixed = VecDeque::new();
    while let Some(address) = one.pop_front() {
        mixed.push_back(address);
        mixed.extend(other.pop_front());
    }
    mixed.extend(other);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_event_core::errno::Errno;
    use std::net::SocketAddr;

    const DELAY: Duration = Duration::from_millis(250);

    fn address(text: &str) -> Address {
        Address::Internet(text.parse::<SocketAddr>().expect("an address"))
    }

    fn refused(address: Address) -> ConnectError {
        ConnectError::Io {
            address,
            errno: Errno::ECONNREFUSED,
        }
    }

    #[test]
    fn k1_families_alternate_in_the_order_they_came() {
        let texts = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"];
        let mixed = interleave(texts.map(address).to_vec());
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"];
        assert_eq!(mixed, expected.map(address));
    }

    #[test]
    fn k1_the_next_begins_after_its_time_or_at_once_on_failure() {
        let addresses = ["[::1]:1", "1.1.1.1:1", "[::2]:1"].map(address);
        let mut race = Race::new(addresses.to_vec(), DELAY);
        let begin = Instant::from_nanos(5);
        assert_eq!(race.begin(begin), Some(addresses[0].clone()));
        assert_eq!(race.begin(begin), None);
        assert_eq!(race.next_at(), Some(begin + DELAY));
        assert_eq!(race.begin(begin + DELAY), Some(addresses[1].clone()));
        race.failed(refused(addresses[0].clone()));
        assert_eq!(
            race.begin(begin + DELAY),
            Some(addresses[2].clone()),
            "at once"
        );
        assert_eq!(race.next_at(), None, "nobody is left");
        race.failed(refused(addresses[2].clone()));
        assert!(race.lost().is_none(), "one is under way");
        race.failed(refused(addresses[1].clone()));
        let lost = race.lost();
        assert!(matches!(lost, Some(ConnectError::Io { address, .. }) if address == addresses[1]));
    }

    #[test]
    fn k1_nothing_to_try_is_an_outcome() {
        let mut race = Race::new(Vec::new(), DELAY);
        assert_eq!(race.begin(Instant::ZERO), None);
        assert!(matches!(race.lost(), Some(ConnectError::NoAddress)));
    }
}
