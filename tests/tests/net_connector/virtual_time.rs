//! Connectors over the fake, in virtual time, against what the rules say: the same in both models, to the nanosecond.
#![forbid(unsafe_code)]

use linux_event_tests::proactor;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// How many attempts are under way at most.
const ATTEMPTS_MAX: usize = 16;

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq)]
enum There {
    Nobody,
    /// Somebody who never answers.
    Stalled,
    Listener,
}

#[derive(Clone, Debug)]
struct Case {
    /// Whether it is IPv6, and what is there, in the resolver's order.
    addresses: Vec<(bool, There)>,
    delay: Duration,
    timeout: Duration,
}

/// How it ends after how long: with the place in the resolver's order of who wins, or of those that failed.
#[derive(Debug, PartialEq)]
enum End {
    Won(usize),
    Failed(Vec<usize>),
    TimedOut(Vec<usize>),
    NoAddress,
}

impl Case {
    /// What the rules say.
    fn expected(&self) -> (Duration, End) {
        let is_v6 = |index: usize| self.addresses[index].0;
        let mut order: Vec<usize> = (0..self.addresses.len()).collect();
        order.sort_by_key(|&index| {
            let before = (0..index).filter(|&other| is_v6(other) == is_v6(index));
            (before.count(), is_v6(index) != is_v6(0))
        });
        let (mut now, mut stalled, mut failed) = (Duration::ZERO, 0, Vec::new());
        for index in order {
            if now >= self.timeout || stalled == ATTEMPTS_MAX {
                return (self.timeout, End::TimedOut(failed));
            }
            match self.addresses[index].1 {
                There::Listener => return (now, End::Won(index)),
                There::Nobody => failed.push(index),
                There::Stalled => {
                    stalled += 1;
                    now += self.delay;
                }
            }
        }
        match failed.is_empty() {
            _ if stalled > 0 => (self.timeout, End::TimedOut(failed)),
            true => (now, End::NoAddress),
            false => (now, End::Failed(failed)),
        }
    }

    /// What the connector does.
    fn run<W: NetWorld>(&self) -> (Duration, End) {
        let mut event_loop = client::<W>();
        let (mut listeners, mut stalled, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for (index, &(is_v6, there)) in self.addresses.iter().enumerate() {
            let here = if is_v6 { "[::1]:0" } else { "127.0.0.1:0" };
            let mut at: SocketAddr = here.parse().expect("an address");
            match there {
                There::Nobody => at.set_port(1 + index as u16),
                There::Listener => {
                    let (listener, address) = server::<W>(&mut event_loop, here);
                    listeners.push(listener);
                    at = address;
                }
                There::Stalled => {
                    let (socket, filler) = W::stalled(&mut event_loop, at);
                    let address = W::address(&mut event_loop, &socket);
                    at = address.internet().expect("TCP");
                    stalled.push((socket, filler));
                }
            }
            addresses.push(at);
        }
        let begin = event_loop.read_clock();
        Connector::to(&mut event_loop, "name:1")
            .resolver(to(&addresses))
            .attempt_delay(self.delay)
            .timeout(self.timeout)
            .start(note::<W>)
            .expect("room");
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(None).expect("something happens");
        }
        let after = event_loop.read_clock().since(begin);
        let place = |address: &Address| {
            let mut places = addresses.iter();
            let place = places.position(|&at| Address::from(at) == *address);
            place.expect("one of those")
        };
        let places = |error: &ConnectError| {
            let failed = error.failures().iter();
            failed.map(|failure| place(&failure.address)).collect()
        };
        let end = match outcome::<W>(&mut event_loop) {
            Ok(socket) => End::Won(place(&socket.peer(&mut event_loop).expect("connected"))),
            Err(ConnectError::NoAddress) => End::NoAddress,
            Err(error @ ConnectError::Failed(_)) => End::Failed(places(&error)),
            Err(error @ ConnectError::TimedOut(_)) => End::TimedOut(places(&error)),
            Err(error) => panic!("nothing gives {error}"),
        };
        for (socket, filler) in stalled {
            drop(socket);
            W::hang_up(&mut event_loop, filler);
        }
        super::end::<W>(event_loop, &listeners);
        (after, end)
    }
}

fn case() -> impl Strategy<Value = Case> {
    let there = prop_oneof![
        3 => Just(There::Nobody),
        6 => Just(There::Stalled),
        1 => Just(There::Listener),
    ];
    let addresses = vec((any::<bool>(), there), 0..28);
    (addresses, 1_u64..400, 1_u64..6_000).prop_map(|(addresses, delay, timeout)| Case {
        addresses,
        delay: Duration::from_millis(delay),
        timeout: Duration::from_millis(timeout),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn k1_in_both_models_it_ends_as_the_rules_say_and_when(case in case()) {
        let expected = case.expected();
        prop_assert_eq!(&case.run::<linux_event_tests::OnFake>(), &expected);
        prop_assert_eq!(&case.run::<proactor::OnFake>(), &expected);
    }
}
