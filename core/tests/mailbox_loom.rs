//! Every interleaving of a few threads on a small mailbox. Rule W-3.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p linux-event-core --release mailbox`
#![cfg(loom)]

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use linux_event_core::mailbox::Mailbox;
use loom::sync::Arc;
use loom::thread;

/// Pushes `values` one after the other; those that found room.
fn produce<const N: usize>(mailbox: &Mailbox<Box<u32>, N>, values: Range<u32>) -> Vec<u32> {
    values
        .filter(|&value| match mailbox.push(Box::new(value)) {
            Ok(()) => true,
            Err(back) => {
                assert_eq!(*back, value);
                false
            }
        })
        .collect()
}

/// Two producers of `each` values and a consumer that tries `pops` times: every value that found room comes out
/// once, in its producer's order. `preemptions`: how often loom takes the processor from a thread in one run, where
/// all the ways there are would take hours.
///
/// The consumer starts last: loom looks for other orders from the one it tries first, and from one in which the
/// pops find nothing it does not get to those in which they find something. The last line makes sure that it did.
fn two_producers_one_consumer<const N: usize>(each: u32, pops: u32, preemptions: usize) {
    let taken_in_between = std::sync::Arc::new(AtomicU32::new(0));
    let refused = std::sync::Arc::new(AtomicU32::new(0));
    let seen = (taken_in_between.clone(), refused.clone());
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let mailbox = Arc::new(Mailbox::<Box<u32>, N>::new());
        let producers = [0, 100].map(|first| {
            let mailbox = mailbox.clone();
            thread::spawn(move || produce(&mailbox, first..first + each))
        });
        let consumer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || -> Vec<u32> {
                (0..pops)
                    .filter_map(|_| mailbox.pop().map(|value| *value))
                    .collect()
            })
        };
        let accepted = producers.map(|producer| producer.join().unwrap());
        let mut taken = consumer.join().unwrap();
        let count = accepted.concat().len();
        assert!(count > 0, "the first push finds room");
        assert!(count <= N + taken.len());
        if count > N {
            seen.0.fetch_add(1, Ordering::Relaxed);
        }
        if count < 2 * each as usize {
            seen.1.fetch_add(1, Ordering::Relaxed);
        }
        taken.extend(std::iter::from_fn(|| mailbox.pop().map(|value| *value)));
        assert!(mailbox.is_empty());
        let (first, second): (Vec<u32>, Vec<u32>) =
            taken.into_iter().partition(|value| *value < 100);
        assert_eq!([first, second], accepted);
    });
    assert_ne!(
        taken_in_between.load(Ordering::Relaxed),
        0,
        "a cell was filled again"
    );
    assert_ne!(refused.load(Ordering::Relaxed), 0, "a full mailbox was met");
}

#[test]
fn w3_mailbox_of_one() {
    two_producers_one_consumer::<1>(1, 2, 5);
}

#[test]
fn w3_mailbox_of_one_filled_again() {
    two_producers_one_consumer::<1>(2, 2, 3);
}

#[test]
fn w3_mailbox_of_two() {
    two_producers_one_consumer::<2>(2, 2, 3);
}

#[test]
fn w3_mailbox_with_room_refuses_nobody() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::<u32, 2>::new());
        let producers: Vec<_> = [1, 2]
            .into_iter()
            .map(|value| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.push(value).unwrap())
            })
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        let mut taken = [mailbox.pop(), mailbox.pop()];
        taken.sort_unstable();
        assert_eq!(taken, [Some(1), Some(2)]);
    });
}

#[test]
fn w3_mailbox_gives_each_value_to_one_consumer() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::<Box<u32>, 2>::new());
        mailbox.push(Box::new(1)).unwrap();
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.pop().map(|value| *value))
            })
            .collect();
        mailbox.push(Box::new(2)).unwrap();
        let mut taken: Vec<u32> = consumers
            .into_iter()
            .filter_map(|consumer| consumer.join().unwrap())
            .collect();
        taken.extend(std::iter::from_fn(|| mailbox.pop().map(|value| *value)));
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn w3_mailbox_dropped_by_its_last_user_drops_what_is_inside() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::<Arc<()>, 1>::new());
        let value = Arc::new(());
        let producer = {
            let (mailbox, value) = (mailbox.clone(), value.clone());
            thread::spawn(move || mailbox.push(value).is_ok())
        };
        let consumer = thread::spawn(move || drop(mailbox.pop()));
        consumer.join().unwrap();
        assert!(producer.join().unwrap());
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
