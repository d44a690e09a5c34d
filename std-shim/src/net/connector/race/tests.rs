//! The race against a model of its rules, in virtual time.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DELAY: Duration = Duration::from_millis(250);
const BEGIN: Instant = Instant::from_nanos(5);

fn address(text: &str) -> Address {
    Address::Internet(text.parse::<SocketAddr>().expect("an address"))
}

fn race(addresses: &[Address], deadline: Instant) -> Race {
    let mut race = Race::new(deadline, DELAY);
    race.resolved(Ok(addresses.to_vec()));
    race
}

/// Sees which attempt begins.
fn begins(race: &mut Race, now: Instant) -> (u32, Address) {
    match race.step(now) {
        Step::Begin(number, address) => (number, address),
        other => panic!("an attempt is to begin: {other:?}"),
    }
}

fn waits(race: &mut Race, now: Instant) -> Instant {
    match race.step(now) {
        Step::Wait(until) => until,
        other => panic!("it is to wait: {other:?}"),
    }
}

fn ends(race: &mut Race, now: Instant) -> Result<u32, ConnectError> {
    match race.step(now) {
        Step::Over(verdict) => verdict,
        other => panic!("it is over: {other:?}"),
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
    let deadline = BEGIN + 100 * DELAY;
    let mut race = race(&addresses, deadline);
    assert_eq!(begins(&mut race, BEGIN), (0, addresses[0].clone()));
    assert_eq!(waits(&mut race, BEGIN), BEGIN + DELAY);
    let now = BEGIN + DELAY;
    assert_eq!(begins(&mut race, now), (1, addresses[1].clone()));
    race.failed(0, "connect", Errno::ECONNREFUSED);
    assert_eq!(begins(&mut race, now), (2, addresses[2].clone()), "at once");
    assert_eq!(waits(&mut race, now), deadline, "nobody is left to begin");
    race.failed(2, "connect", Errno::ENETUNREACH);
    assert_eq!(waits(&mut race, now), deadline, "one is under way");
    race.failed(1, "setsockopt", Errno::EINVAL);
    let Err(ConnectError::Failed(failures)) = ends(&mut race, now) else {
        panic!("every attempt has failed");
    };
    let told = failures.iter().map(|failure| (failure.call, failure.errno));
    let expected = [
        ("connect", Errno::ECONNREFUSED),
        ("connect", Errno::ENETUNREACH),
        ("setsockopt", Errno::EINVAL),
    ];
    assert!(told.eq(expected));
    assert_eq!(failures[1].address, addresses[2]);
    assert_eq!(waits(&mut race, deadline), Instant::MAX, "it was told");
}

#[test]
fn k1_nothing_to_try_and_a_name_that_fails_are_verdicts() {
    let mut nothing = race(&[], BEGIN + DELAY);
    assert!(matches!(
        ends(&mut nothing, BEGIN),
        Err(ConnectError::NoAddress)
    ));
    let mut unknown = Race::new(BEGIN + DELAY, DELAY);
    assert_eq!(waits(&mut unknown, BEGIN), BEGIN + DELAY);
    unknown.resolved(Err(io::ErrorKind::NotFound.into()));
    unknown.resolved(Ok(vec![address("1.1.1.1:1")]));
    assert!(matches!(
        ends(&mut unknown, BEGIN),
        Err(ConnectError::Resolve(_))
    ));
}

#[test]
fn k1_a_connection_that_comes_after_the_verdict_does_not_win() {
    let addresses = ["1.1.1.1:1", "2.2.2.2:1"].map(address);
    let mut race = race(&addresses, BEGIN + 2 * DELAY);
    begins(&mut race, BEGIN);
    begins(&mut race, BEGIN + DELAY);
    assert!(race.connected(1));
    assert!(!race.connected(1) && !race.connected(0));
    assert!(matches!(ends(&mut race, BEGIN + 9 * DELAY), Ok(1)));
}

#[test]
fn k1_an_attempt_without_descriptors_waits_for_those_under_way() {
    let addresses = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"].map(address);
    let mut race = Race::new(BEGIN + 100 * DELAY, Duration::ZERO);
    race.resolved(Ok(addresses.to_vec()));
    begins(&mut race, BEGIN);
    assert_eq!(begins(&mut race, BEGIN), (1, addresses[1].clone()));
    race.starved(1, "socket", Errno::EMFILE, BEGIN);
    let later = BEGIN + STARVED;
    assert_eq!(waits(&mut race, BEGIN), later, "however short the delay");
    assert_eq!(begins(&mut race, later), (2, addresses[1].clone()));
    race.starved(2, "socket", Errno::EMFILE, later);
    race.failed(0, "connect", Errno::ECONNREFUSED);
    assert_eq!(begins(&mut race, later), (3, addresses[1].clone()), "now");
    race.starved(3, "socket", Errno::EMFILE, later);
    assert_eq!(begins(&mut race, later), (4, addresses[2].clone()));
    race.starved(4, "socket", Errno::ENFILE, later);
    let failed = ends(&mut race, later).unwrap_err();
    let failures = failed.failures().iter().map(|failure| failure.errno);
    let expected = [Errno::ECONNREFUSED, Errno::EMFILE, Errno::ENFILE];
    assert!(failures.eq(expected), "with none under way it has failed");
}

/// What an attempt comes to, how long after it began.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Connects(u64),
    Fails(u64),
    Hangs,
}

impl Fate {
    fn end(self, begun: u64) -> Option<u64> {
        match self {
            Self::Connects(after) | Self::Fails(after) => Some(begun + after),
            Self::Hangs => None,
        }
    }
}

/// A run in milliseconds: which families there are and what comes of each attempt, in the order of trying.
#[derive(Clone, Debug)]
struct Case {
    families: Vec<bool>,
    fates: Vec<Fate>,
    resolved_at: u64,
    delay: u64,
    deadline: u64,
}

/// What was seen: when each address was begun, and how it ended when.
#[derive(Debug, PartialEq)]
struct Seen {
    begun: Vec<(u64, Address)>,
    verdict: (u64, Told),
}

#[derive(Debug, PartialEq)]
enum Told {
    Won(u32),
    NoAddress,
    Failed(Vec<Address>),
    TimedOut(Vec<Address>),
}

impl Case {
    fn addresses(&self) -> Vec<Address> {
        let numbered = self.families.iter().enumerate();
        let texts = numbered.map(|(index, &is_v6)| {
            if is_v6 {
                format!("[::{index:x}]:1")
            } else {
                format!("10.0.0.{index}:1")
            }
        });
        texts.map(|text| address(&text)).collect()
    }

    /// What the machine does.
    fn run(&self) -> Seen {
        let at = |ms: u64| BEGIN + Duration::from_millis(ms);
        let mut race = Race::new(at(self.deadline), Duration::from_millis(self.delay));
        let (mut begun, mut open) = (Vec::new(), Vec::new());
        let (mut now, mut is_resolved) = (0, false);
        loop {
            if now >= self.resolved_at && !is_resolved {
                is_resolved = true;
                race.resolved(Ok(self.addresses()));
            }
            // What is due is reported before the race is asked.
            open.retain(|&(number, end): &(u32, Option<u64>)| {
                let is_due = end.is_some_and(|end| end <= now);
                if is_due {
                    match self.fates[number as usize] {
                        Fate::Connects(_) => drop(race.connected(number)),
                        _ => race.failed(number, "connect", Errno::ECONNREFUSED),
                    }
                }
                !is_due
            });
            match race.step(at(now)) {
                Step::Begin(number, address) => {
                    assert_eq!(number as usize, begun.len());
                    begun.push((now, address));
                    open.push((number, self.fates[number as usize].end(now)));
                    assert!(open.len() <= ATTEMPTS_MAX);
                }
                Step::Wait(until) => {
                    assert!(until > at(now), "it waits for what is past");
                    let until = until.since(BEGIN).as_millis() as u64;
                    let ends = open.iter().filter_map(|&(_, end)| end);
                    let resolved = (!is_resolved).then_some(self.resolved_at);
                    now = ends.chain(resolved).fold(until, u64::min);
                }
                Step::Over(verdict) => {
                    let failed = |failures: Vec<Failure>| {
                        let addresses = failures.into_iter().map(|failure| failure.address);
                        addresses.collect()
                    };
                    let told = match verdict {
                        Ok(number) => Told::Won(number),
                        Err(ConnectError::NoAddress) => Told::NoAddress,
                        Err(ConnectError::Failed(failures)) => Told::Failed(failed(failures)),
                        Err(ConnectError::TimedOut(failures)) => Told::TimedOut(failed(failures)),
                        Err(error) => panic!("nothing gives {error}"),
                    };
                    let verdict = (now, told);
                    return Seen { begun, verdict };
                }
            }
        }
    }

    /// What the rules say: each attempt begins at the first instant at which one of their reasons holds.
    fn model(&self) -> Seen {
        let mut order: Vec<_> = self.addresses().into_iter().enumerate().collect();
        let families = &self.families;
        order.sort_by_key(|&(index, _)| {
            let rank = families[..index].iter().filter(|&&f| f == families[index]);
            (rank.count(), families[index] != families[0])
        });
        let mut begun: Vec<u64> = Vec::new();
        let end = |begun: &[u64], index: usize| self.fates[index].end(begun[index]);
        let connects = |begun: &[u64]| {
            let indices = (0..begun.len()).filter(|&i| matches!(self.fates[i], Fate::Connects(_)));
            indices.filter_map(|i| Some((end(begun, i)?, i))).min()
        };
        while begun.len() < order.len() {
            let count = begun.len();
            let last = begun.last().copied();
            let is_time = |&now: &u64| {
                let Some(last) = last else { return true };
                let running = (0..count).filter(|&i| end(&begun, i).is_none_or(|end| end > now));
                let running = running.count();
                let has_failed = (0..count).any(|i| {
                    let is_since =
                        |end| (last < end || (last == end && i == count - 1)) && end <= now;
                    matches!(self.fates[i], Fate::Fails(_)) && end(&begun, i).is_some_and(is_since)
                });
                let has_had_its_time = now >= last + self.delay;
                running == 0 || (running < ATTEMPTS_MAX && (has_failed || has_had_its_time))
            };
            let mut instants: Vec<u64> = (0..count).filter_map(|i| end(&begun, i)).collect();
            instants.push(last.map_or(self.resolved_at, |last| last + self.delay));
            instants.sort_unstable();
            let from = last.unwrap_or(self.resolved_at);
            let Some(now) = instants.into_iter().filter(|&t| t >= from).find(is_time) else {
                break;
            };
            let is_won = connects(&begun).is_some_and(|(end, _)| end <= now);
            if now >= self.deadline || is_won {
                break;
            }
            begun.push(now);
        }
        let mut failed: Vec<_> = (0..begun.len())
            .filter(|&i| matches!(self.fates[i], Fate::Fails(_)))
            .filter_map(|i| Some((end(&begun, i)?, i)))
            .filter(|&(end, _)| end <= self.deadline)
            .collect();
        failed.sort_unstable();
        let all_failed = failed.len() == order.len();
        let last = failed.last().map_or(self.resolved_at, |&(end, _)| end);
        let failed = failed.iter().map(|&(_, i)| order[i].1.clone()).collect();
        let verdict = match connects(&begun) {
            Some((end, index)) if end <= self.deadline => (end, Told::Won(index as u32)),
            _ if !all_failed || last >= self.deadline => (self.deadline, Told::TimedOut(failed)),
            _ if order.is_empty() => (last, Told::NoAddress),
            _ => (last, Told::Failed(failed)),
        };
        let begun = begun.into_iter().zip(order.into_iter().map(|(_, a)| a));
        Seen {
            begun: begun.collect(),
            verdict,
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => (0_u64..40).prop_map(Fate::Fails),
        1 => (0_u64..200).prop_map(Fate::Connects),
        3 => Just(Fate::Hangs),
    ]
}

fn hopeless() -> impl Strategy<Value = Fate> {
    prop_oneof![(0_u64..60).prop_map(Fate::Fails), Just(Fate::Hangs)]
}

fn case() -> impl Strategy<Value = Case> {
    let fates = prop_oneof![vec(fate(), 50), vec(hopeless(), 50)];
    let families = vec(any::<bool>(), 0..50);
    (families, fates, 0_u64..30, 0_u64..20, 0_u64..300).prop_map(
        |(families, fates, resolved_at, delay, deadline)| Case {
            families,
            fates,
            resolved_at,
            delay,
            deadline,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 2000 }))]
    #[test]
    fn k1_the_race_does_what_its_rules_say(case in case()) {
        prop_assert_eq!(case.run(), case.model());
    }
}
