extern crate std;

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::heap::{ARITY, Node, SEQUENCE_LIMIT, Slot};
use super::*;
use crate::handle::Watcher;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn drain<T, const N: usize>(queue: &mut Queue<T, N>, now: Instant) -> Vec<T> {
    core::iter::from_fn(|| queue.pop_due(now).map(|(_, _, value)| value)).collect()
}

/// The module's invariants, from the inside.
fn check<T, const N: usize>(queue: &Queue<T, N>) {
    let Counts {
        len,
        opened,
        touched,
        ..
    } = queue.counts;
    assert!(len <= opened && opened <= touched && touched as usize <= N);
    let mut seen = [false; N];
    for (place, node) in queue.nodes[..opened as usize].iter().enumerate() {
        let slot = &queue.slots[node.slot() as usize];
        assert!(node.slot() < opened, "INV-TIMER-3");
        assert!(
            !core::mem::replace(&mut seen[node.slot() as usize], true),
            "INV-TIMER-3"
        );
        let armed = place < len as usize;
        assert_eq!(slot.id().is_some(), armed);
        assert_eq!(slot.value().is_some(), armed);
        if armed {
            assert_eq!(slot.place(), place, "INV-HEAP-2");
        }
        if armed && place > 0 {
            let parent = queue.nodes[(place - 1) / ARITY];
            assert!(parent.is_before(*node), "INV-HEAP-1");
        }
    }
    for slot in &queue.slots[opened as usize..] {
        assert!(slot.id().is_none() && slot.value().is_none());
    }
    untouched(
        &queue.nodes[touched as usize..],
        &queue.slots[touched as usize..],
    );
}

/// INV-TIMER-1 for what lies above the mark.
fn untouched<T>(nodes: &[Node], slots: &[Slot<T>]) {
    assert!(nodes.iter().all(|node| *node == Node::EMPTY));
    assert!(slots.iter().all(Slot::is_untouched));
}

#[test]
fn an_empty_queue_is_all_zeroes() {
    let Queue {
        counts,
        nodes,
        slots,
    } = const { Queue::<u64, 9>::new() };
    let Counts {
        salt,
        sequence,
        len,
        opened,
        touched,
    } = counts;
    assert_eq!((salt, sequence, len, opened, touched), (0, 0, 0, 0, 0));
    assert_eq!(Node::EMPTY.deadline(), 0);
    assert_eq!(Node::EMPTY.slot(), 0);
    assert!(
        !Node::EMPTY.is_before(Node::new(0, 0, 0)) && !Node::new(0, 0, 0).is_before(Node::EMPTY)
    );
    untouched(&nodes, &slots);
}

#[test]
fn what_was_never_used_is_never_written() {
    let mut queue: Queue<u64, 64> = Queue::new();
    for round in 0..100 {
        let a = queue.insert(at(round), round).unwrap();
        let b = queue.insert(at(round / 2), round).unwrap();
        assert!(queue.reschedule(a, at(round / 3)));
        queue.cancel(a).unwrap();
        queue.cancel(b).unwrap();
    }
    assert_eq!(queue.counts.touched, 2);
    check(&queue);
}

#[test]
fn a_queue_that_ran_empty_starts_at_slot_0_again() {
    let mut queue: Queue<u32, 8> = Queue::new();
    let ids: Vec<_> = (0..8)
        .map(|i| queue.insert(at(99 + i), 0).unwrap())
        .collect();
    drain(&mut queue, Instant::MAX);
    for (index, old) in ids.into_iter().enumerate() {
        let new = queue.insert(at(1), 0).unwrap();
        assert_eq!(new.index(), index);
        assert_ne!(new, old);
        check(&queue);
    }
}

#[test]
fn t3_equal_deadlines_fire_in_order_made() {
    let mut queue: Queue<u32, 300> = Queue::new();
    for value in 0..300 {
        queue.insert(at(u64::from(value % 3)), value).unwrap();
    }
    let fired = drain(&mut queue, at(2));
    let expected: Vec<u32> = (0..3).flat_map(|d| (d..300).step_by(3)).collect();
    assert_eq!(fired, expected);
}

#[test]
fn t3_a_nanosecond_tells_deadlines_apart() {
    let mut queue: Queue<u32, 4> = Queue::new();
    let far = u64::MAX - 1;
    queue.insert(Instant::MAX, 2).unwrap();
    queue.insert(at(far), 1).unwrap();
    assert_eq!(drain(&mut queue, at(far)), [1]);
    assert_eq!(queue.first_deadline(), Some(Instant::MAX));
    assert_eq!(drain(&mut queue, Instant::MAX), [2]);
}

#[test]
fn t3_rescheduling_to_the_same_deadline_goes_to_the_end_of_the_line() {
    let mut queue: Queue<char, 4> = Queue::new();
    let a = queue.insert(at(5), 'a').unwrap();
    queue.insert(at(5), 'b').unwrap();
    assert!(queue.reschedule(a, at(5)));
    queue.insert(at(5), 'c').unwrap();
    assert_eq!(drain(&mut queue, at(5)), ['b', 'a', 'c']);
}

#[test]
fn t3_order_survives_the_end_of_the_sequence_numbers() {
    const STEPS: u64 = 60;
    for early in 0..STEPS {
        let mut queue: Queue<u64, { STEPS as usize }> = Queue::new();
        queue.counts.sequence = SEQUENCE_LIMIT - early;
        let mut ids = Vec::new();
        for value in 0..STEPS {
            ids.push(queue.insert(at(value % 2), value).unwrap());
            // Still the last of its deadline: only the numbers run out sooner.
            if value == 10 {
                assert!(queue.reschedule(ids[10], at(0)));
            }
            check(&queue);
        }
        assert!(queue.counts.sequence < 2 * STEPS, "renumbered");
        for (value, id) in (0..).zip(&ids) {
            assert_eq!(queue.get(*id), Some(&value));
            assert_eq!(queue.deadline(*id), Some(at(value % 2)));
        }
        let expected: Vec<u64> = (0..STEPS).step_by(2).chain((1..STEPS).step_by(2)).collect();
        assert_eq!(drain(&mut queue, at(1)), expected);
        if cfg!(miri) && early > 2 {
            break;
        }
    }
}

#[test]
fn t5_a_sibling_that_is_due_can_be_cancelled() {
    let mut queue: Queue<u32, 4> = Queue::new();
    queue.insert(at(1), 1).unwrap();
    let sibling = queue.insert(at(1), 2).unwrap();
    queue.insert(at(1), 3).unwrap();
    assert_eq!(queue.pop_due(at(9)).map(|due| due.2), Some(1));
    assert_eq!(queue.cancel(sibling), Some(2));
    assert_eq!(drain(&mut queue, at(9)), [3]);
}

#[test]
fn t6_a_periodic_timer_keeps_its_handle() {
    let mut queue: Queue<u32, 4> = Queue::new();
    let tick = queue.insert(at(10), 0).unwrap();
    queue.insert(at(15), 1).unwrap();
    assert_eq!(queue.peek_due(at(9)), None);
    assert_eq!(queue.peek_due(at(19)), Some((tick, at(10), &0)));
    assert!(queue.reschedule(tick, at(20)));
    assert_eq!(drain(&mut queue, at(19)), [1]);
    assert_eq!(queue.pop_due(at(20)), Some((tick, at(20), 0)));
    assert!(!queue.reschedule(tick, at(30)));
}

#[test]
fn t7_cancel_is_true_once_and_a_stale_handle_finds_nobody() {
    let mut queue: Queue<u32, 1> = Queue::new();
    let mut old = Vec::new();
    for value in 0..if cfg!(miri) { 10 } else { 100 } {
        let id = queue.insert(at(7), value).unwrap();
        assert_eq!(queue.insert(at(7), 99), Err(Full(99)));
        for &stale in &old {
            assert_eq!(queue.cancel(stale), None);
            assert_eq!(queue.get(stale), None);
            assert_eq!(queue.get_mut(stale), None);
            assert_eq!(queue.deadline(stale), None);
            assert!(!queue.reschedule(stale, at(1)));
        }
        assert_eq!(queue.deadline(id), Some(at(7)));
        if value % 2 == 0 {
            assert_eq!(queue.cancel(id), Some(value));
        } else {
            assert_eq!(queue.pop_due(at(7)), Some((id, at(7), value)));
        }
        assert_eq!(queue.cancel(id), None);
        old.push(id);
    }
}

#[test]
fn t7_handles_of_another_queue_are_stale() {
    let (mut a, mut b): (Queue<u8, 4>, Queue<u8, 4>) = (Queue::new(), Queue::new());
    a.set_salt(1 << 20);
    b.set_salt(2 << 20);
    let of_a = a.insert(at(1), 1).unwrap();
    let of_b = b.insert(at(1), 2).unwrap();
    assert_eq!(a.cancel(of_b), None);
    assert_eq!(b.get(of_a), None);
    assert!(a.cancel(of_a).is_some() && b.cancel(of_b).is_some());
}

#[test]
fn t7_an_untouched_or_missing_slot_has_no_occupant() {
    let mut queue: Queue<u8, 2> = Queue::new();
    for index in [0, 1, 2, MAX_SLOTS as u32 - 1] {
        let forged = TimerId::from_handle(Handle::new(index, Tag::Timer, 0)).unwrap();
        assert_eq!(queue.get(forged), None);
        assert_eq!(queue.cancel(forged), None);
        assert!(!queue.reschedule(forged, at(0)));
    }
    assert!(Watcher::from_handle(queue.insert(at(1), 1).unwrap().handle()).is_none());
}

#[test]
fn t7_generations_wrap_without_harm() {
    let mut queue: Queue<u8, 1> = Queue::new();
    queue.set_salt(u64::MAX);
    let last = queue.insert(at(1), 1).unwrap();
    queue.cancel(last).unwrap();
    let first = queue.insert(at(1), 2).unwrap();
    assert_eq!(
        (last.handle().generation(), first.handle().generation()),
        ((1 << 40) - 1, 0)
    );
    assert_eq!(queue.get(last), None);
    assert_eq!(queue.cancel(first), Some(2));
}

#[test]
fn t9_a_queue_of_no_timers_and_one_of_the_most() {
    let mut none: Queue<u8, 0> = Queue::default();
    assert_eq!(none.insert(at(1), 1), Err(Full(1)));
    assert_eq!(none.first_deadline(), None);
    assert_eq!(none.pop_due(Instant::MAX), None);
    assert!(none.is_empty() && none.is_full());
    // The limits of the 20-bit fields, without the memory: indices are masked, never cut.
    let last = MAX_SLOTS as u32 - 1;
    let node = Node::new(u64::MAX, SEQUENCE_LIMIT - 1, last);
    assert_eq!((node.deadline(), node.slot()), (u64::MAX, last));
    assert!(Node::new(u64::MAX, SEQUENCE_LIMIT - 2, last).is_before(node));
}

const CAPACITY: usize = 96;

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Cancel(usize),
    Reschedule(usize, u64),
    Pop(u64),
    Rearm(u64, u64),
    Change(usize),
    Stale(usize),
}

/// Few deadlines, so that ties are common, or many, so that the heap is deep.
fn step(deadlines: u64) -> impl Strategy<Value = Step> {
    let deadline = 0..deadlines;
    prop_oneof![
        8 => deadline.clone().prop_map(Step::Insert),
        2 => any::<usize>().prop_map(Step::Cancel),
        3 => (any::<usize>(), deadline.clone()).prop_map(|(which, to)| Step::Reschedule(which, to)),
        2 => deadline.clone().prop_map(Step::Pop),
        2 => (deadline.clone(), deadline).prop_map(|(now, to)| Step::Rearm(now, to)),
        1 => any::<usize>().prop_map(Step::Change),
        1 => any::<usize>().prop_map(Step::Stale),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let most = if cfg!(miri) { 60 } else { 800 };
    prop_oneof![Just(4), Just(1_000_000)]
        .prop_flat_map(move |deadlines| proptest::collection::vec(step(deadlines), 0..most))
}

/// What a queue should be: the same order, in a tree.
#[derive(Default)]
struct Model {
    order: BTreeMap<(u64, u64), TimerId>,
    live: Vec<(TimerId, (u64, u64), u64)>,
    dead: Vec<TimerId>,
    made: u64,
}

impl Model {
    fn pick(&self, which: usize) -> Option<usize> {
        which.checked_rem(self.live.len())
    }

    fn arm(&mut self, id: TimerId, deadline: u64, value: u64) {
        self.made += 1;
        assert!(self.order.insert((deadline, self.made), id).is_none());
        self.live.push((id, (deadline, self.made), value));
    }

    fn remove(&mut self, which: usize) -> (TimerId, u64, u64) {
        let (id, key, value) = self.live.swap_remove(which);
        self.order.remove(&key).unwrap();
        (id, key.0, value)
    }

    fn first_due(&self, now: u64) -> Option<usize> {
        let (key, _) = self
            .order
            .first_key_value()
            .filter(|(key, _)| key.0 <= now)?;
        self.live.iter().position(|timer| timer.1 == *key)
    }
}

fn run(queue: &mut Queue<u64, CAPACITY>, steps: Vec<Step>) {
    let mut model = Model::default();
    for (count, step) in (0..).zip(steps) {
        match step {
            Step::Insert(deadline) => match queue.insert(at(deadline), count) {
                Ok(id) => model.arm(id, deadline, count),
                Err(Full(back)) => assert_eq!((back, model.live.len()), (count, CAPACITY)),
            },
            Step::Cancel(which) => {
                if let Some(which) = model.pick(which) {
                    let (id, _, value) = model.remove(which);
                    assert_eq!(queue.cancel(id), Some(value));
                    model.dead.push(id);
                }
            }
            Step::Reschedule(which, to) => {
                if let Some(which) = model.pick(which) {
                    let (id, _, value) = model.remove(which);
                    assert!(queue.reschedule(id, at(to)));
                    model.arm(id, to, value);
                }
            }
            Step::Pop(now) => {
                let expected = model.first_due(now).map(|which| model.remove(which));
                let popped = queue.pop_due(at(now));
                assert_eq!(
                    popped,
                    expected.map(|(id, deadline, value)| (id, at(deadline), value))
                );
                model.dead.extend(popped.map(|due| due.0));
            }
            Step::Rearm(now, to) => {
                let expected = model.first_due(now).map(|which| model.remove(which));
                let peeked = queue
                    .peek_due(at(now))
                    .map(|(id, deadline, value)| (id, deadline, *value));
                assert_eq!(
                    peeked,
                    expected.map(|(id, deadline, value)| (id, at(deadline), value))
                );
                if let Some((id, _, value)) = peeked {
                    assert!(queue.reschedule(id, at(to)));
                    model.arm(id, to, value);
                }
            }
            Step::Change(which) => {
                if let Some(which) = model.pick(which) {
                    *queue.get_mut(model.live[which].0).unwrap() = count;
                    model.live[which].2 = count;
                }
            }
            Step::Stale(which) => {
                if let Some(which) = which.checked_rem(model.dead.len()) {
                    assert_eq!(queue.cancel(model.dead[which]), None);
                    assert!(!queue.reschedule(model.dead[which], at(0)));
                }
            }
        }
        agree(queue, &model);
    }
}

fn agree(queue: &Queue<u64, CAPACITY>, model: &Model) {
    check(queue);
    assert_eq!(queue.len(), model.live.len());
    assert_eq!(queue.is_empty(), model.live.is_empty());
    assert_eq!(queue.is_full(), model.live.len() == CAPACITY);
    let first = model.order.first_key_value().map(|(key, _)| at(key.0));
    assert_eq!(queue.first_deadline(), first);
    for (id, key, value) in &model.live {
        assert_eq!(queue.get(*id), Some(value));
        assert_eq!(queue.deadline(*id), Some(at(key.0)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 6 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn t3_t7_behaves_like_an_ordered_map(steps in steps()) {
        run(&mut Queue::new(), steps);
    }

    #[test]
    fn t3_behaves_like_an_ordered_map_while_it_renumbers(steps in steps(), left in 0..200_u64) {
        let mut queue = Queue::new();
        queue.counts.sequence = SEQUENCE_LIMIT - left;
        run(&mut queue, steps);
    }
}
