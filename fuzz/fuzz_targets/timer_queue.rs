//! The timer queue against a sorted map of (deadline, insertion): same order, same ties, same handles (T-3, T-5, T-7).
#![no_main]

use std::collections::{BTreeMap, HashMap};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use linux_event_core::clock::Instant;
use linux_event_core::handle::TimerId;
use linux_event_core::table::Full;
use linux_event_core::timer::Queue;

const CAPACITY: usize = 24;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Few deadlines, so that many are equal.
    Insert(u8),
    InsertFar(u64),
    Cancel(u8),
    CancelDead(u8),
    Reschedule(u8, u8),
    Pop(u8),
}

fuzz_target!(|steps: Vec<Step>| {
    let mut queue: Queue<u64, CAPACITY> = Queue::new();
    let mut order: BTreeMap<(u64, u64), TimerId> = BTreeMap::new();
    let mut keys: HashMap<TimerId, (u64, u64)> = HashMap::new();
    let mut dead: Vec<TimerId> = Vec::new();
    let mut made = 0u64;
    for step in steps {
        match step {
            Step::Insert(_) | Step::InsertFar(_) => {
                let deadline = match step {
                    Step::Insert(at) => u64::from(at % 16),
                    Step::InsertFar(at) => at,
                    _ => unreachable!(),
                };
                match queue.insert(Instant::from_nanos(deadline), made) {
                    Ok(id) => {
                        assert!(keys.insert(id, (deadline, made)).is_none());
                        order.insert((deadline, made), id);
                    }
                    Err(Full(value)) => assert_eq!((value, order.len()), (made, CAPACITY)),
                }
                made += 1;
            }
            Step::Cancel(at) if !order.is_empty() => {
                let key = *order
                    .keys()
                    .nth(usize::from(at) % order.len())
                    .expect("one");
                let id = order.remove(&key).expect("it is there");
                keys.remove(&id);
                assert!(queue.cancel(id).is_some());
                assert!(queue.cancel(id).is_none());
                dead.push(id);
            }
            Step::CancelDead(at) if !dead.is_empty() => {
                let id = dead[usize::from(at) % dead.len()];
                assert!(queue.cancel(id).is_none());
                assert!(!queue.reschedule(id, Instant::ZERO));
                assert!(queue.deadline(id).is_none());
            }
            Step::Reschedule(at, to) if !order.is_empty() => {
                let key = *order
                    .keys()
                    .nth(usize::from(at) % order.len())
                    .expect("one");
                let id = order.remove(&key).expect("it is there");
                let to = u64::from(to % 16);
                assert!(queue.reschedule(id, Instant::from_nanos(to)));
                order.insert((to, made), id);
                keys.insert(id, (to, made));
                made += 1;
            }
            Step::Pop(now) => {
                let now = u64::from(now % 20);
                let expected = order
                    .first_key_value()
                    .filter(|((deadline, _), _)| *deadline <= now)
                    .map(|((deadline, _), id)| (*id, *deadline));
                let popped = queue
                    .pop_due(Instant::from_nanos(now))
                    .map(|(id, deadline, _)| (id, deadline.as_nanos()));
                assert_eq!(popped, expected);
                if let Some((id, _)) = popped {
                    order.remove(&keys.remove(&id).expect("it is known"));
                    dead.push(id);
                }
            }
            _ => {}
        }
        assert_eq!(queue.len(), order.len());
        assert_eq!(
            queue.first_deadline().map(Instant::as_nanos),
            order.keys().next().map(|(deadline, _)| *deadline)
        );
    }
});
