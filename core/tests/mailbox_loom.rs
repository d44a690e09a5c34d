//! Every interleaving of a few threads on a small mailbox. Rule W-3.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p linux-event-core --release mailbox`
#![cfg(loom)]

use linux_event_core::mailbox::Mailbox;
use loom::sync::Arc;
use loom::thread;

/// What two producers could push and one consumer then took: each accepted value once, in each one's order.
fn two_producers_one_consumer<const N: usize>(each: u32, pops: u32) {
    loom::model(move || {
        let mailbox = Arc::new(Mailbox::<Box<u32>, N>::new());
        let producers: Vec<_> = [0, 100]
            .into_iter()
            .map(|first| {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    let mut accepted = Vec::new();
                    for value in first..first + each {
                        match mailbox.push(Box::new(value)) {
                            Ok(()) => accepted.push(value),
                            Err(back) => assert_eq!(*back, value),
                        }
                    }
                    accepted
                })
            })
            .collect();
        let mut taken: Vec<u32> = (0..pops)
            .filter_map(|_| mailbox.pop().map(|value| *value))
            .collect();
        let accepted: Vec<Vec<u32>> = producers
            .into_iter()
            .map(|producer| producer.join().unwrap())
            .collect();
        assert!(!accepted.concat().is_empty(), "the first push finds room");
        assert!(accepted.concat().len() <= N + taken.len());
        taken.extend(std::iter::from_fn(|| mailbox.pop().map(|value| *value)));
        assert!(mailbox.is_empty());
        let (first, second): (Vec<u32>, Vec<u32>) =
            taken.into_iter().partition(|value| *value < 100);
        assert_eq!(vec![first, second], accepted);
    });
}

#[test]
fn w3_mailbox_of_one() {
    two_producers_one_consumer::<1>(1, 2);
}

#[test]
fn w3_mailbox_of_one_filled_again() {
    two_producers_one_consumer::<1>(2, 1);
}

#[test]
fn w3_mailbox_of_two() {
    two_producers_one_consumer::<2>(2, 2);
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
        drop(mailbox.pop());
        drop(mailbox);
        assert!(producer.join().unwrap());
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
