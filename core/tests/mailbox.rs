//! The mailbox from outside, against a model and with real threads. Rule W-3.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use linux_event_core::mailbox::{Cell, Cells, MAX_CAPACITY, Mailbox, MailboxInner, MailboxView};
use proptest::prelude::*;

/// Cells of a number known at run time only.
struct Boxed<T>(Box<[Cell<T>]>);

// SAFETY: the box is private and owns its cells.
unsafe impl<T> Cells<T> for Boxed<T> {
    fn cells(&self) -> &[Cell<T>] {
        &self.0
    }
}

impl<T> Boxed<T> {
    fn of(capacity: usize) -> Self {
        Self((0..capacity).map(|_| Cell::new()).collect())
    }
}

/// Lends its cells, to have them again afterwards.
struct Lent<'a, T>(&'a mut [Cell<T>]);

// SAFETY: the reference is exclusive and private.
unsafe impl<T> Cells<T> for Lent<'_, T> {
    fn cells(&self) -> &[Cell<T>] {
        self.0
    }
}

/// Counts how often one of its kind was dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn w3_mailbox_lives_in_a_static() {
    static MAILBOX: Mailbox<String, 3> = Mailbox::new();
    MAILBOX.push("one".into()).unwrap();
    let other = thread::spawn(|| MAILBOX.push("two".into()));
    other.join().unwrap().unwrap();
    assert_eq!(MAILBOX.pop().as_deref(), Some("one"));
    assert_eq!(MAILBOX.pop().as_deref(), Some("two"));
    assert_eq!(MAILBOX.pop(), None);
}

#[test]
fn w3_mailbox_over_cells_counted_at_run_time() {
    for capacity in [1, 2, 5, 64] {
        let mailbox = Arc::new(
            MailboxInner::with_cells(Boxed::of(capacity))
                .ok()
                .expect("a fitting capacity"),
        );
        for value in 0..capacity {
            mailbox.push(value).unwrap();
        }
        assert_eq!(mailbox.push(capacity), Err(capacity));
        assert_eq!((mailbox.len(), mailbox.capacity()), (capacity, capacity));
        for value in 0..capacity {
            assert_eq!(mailbox.pop(), Some(value));
        }
        assert!(mailbox.is_empty());
    }
}

#[test]
fn w3_mailbox_refuses_no_cells_and_too_many() {
    assert!(MailboxInner::<u8, _>::with_cells(Boxed::of(0)).is_err());
    // A million cells take the interpreter minutes.
    if !cfg!(miri) {
        assert!(MailboxInner::<u8, _>::with_cells(Boxed::of(MAX_CAPACITY)).is_ok());
        let back = MailboxInner::<u8, _>::with_cells(Boxed::of(MAX_CAPACITY + 1)).unwrap_err();
        assert_eq!(back.0.len(), MAX_CAPACITY + 1);
    }
}

#[test]
fn w3_mailbox_over_cells_that_were_used_starts_afresh() {
    let mut cells = [const { Cell::new() }; 2];
    for round in 0..3 {
        let mailbox = MailboxInner::with_cells(Lent(&mut cells))
            .ok()
            .expect("a fitting capacity");
        assert_eq!(mailbox.pop(), None, "round {round}");
        for value in 0..5 {
            mailbox.push(value).unwrap();
            mailbox.push(value + 10).unwrap();
            assert_eq!(mailbox.push(9), Err(9));
            assert_eq!(mailbox.pop(), Some(value));
            assert_eq!(mailbox.pop(), Some(value + 10));
        }
        mailbox.push(77).unwrap();
        if round == 1 {
            std::mem::forget(mailbox);
        }
    }
}

#[test]
fn w3_mailbox_drops_each_value_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let dropped = || drops.load(Ordering::Relaxed);
    let mailbox: Box<MailboxView<Counted>> = Box::new(Mailbox::<Counted, 3>::new());
    for _ in 0..3 {
        assert!(mailbox.push(Counted(drops.clone())).is_ok());
    }
    assert_eq!(dropped(), 0);
    let refused = mailbox.push(Counted(drops.clone()));
    assert_eq!(dropped(), 0, "the refused value is the caller's");
    assert!(refused.is_err());
    drop(refused);
    assert_eq!(dropped(), 1);
    drop(mailbox.pop());
    assert_eq!(dropped(), 2);
    assert!(mailbox.push(Counted(drops.clone())).is_ok());
    drop(mailbox);
    assert_eq!(dropped(), 5);
}

#[test]
fn w3_mailbox_closes_descriptors_left_inside() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mailbox: Mailbox<OwnedFd, 4> = Mailbox::new();
    mailbox.push(writer.into()).unwrap();
    drop(mailbox);
    let mut rest = Vec::new();
    assert_eq!(reader.read_to_end(&mut rest).unwrap(), 0, "end of file");
}

#[test]
fn w3_mailbox_is_shared_where_its_values_may_be_sent() {
    fn shared<T: Send + Sync>() {}
    // The language's `Cell` may be sent and not shared: a mailbox of it is shared all the same.
    shared::<Mailbox<std::cell::Cell<u8>, 1>>();
    shared::<MailboxInner<OwnedFd, Boxed<OwnedFd>>>();
    shared::<Arc<MailboxView<String>>>();
}

const PRODUCERS: usize = 4;

/// Takes values until `total` were taken by all consumers; how many it took of each producer.
fn consume(
    mailbox: &MailboxView<(usize, usize)>,
    taken: &AtomicUsize,
    total: usize,
    alone: bool,
) -> [usize; PRODUCERS] {
    let mut next = [0; PRODUCERS];
    let mut counts = [0; PRODUCERS];
    while taken.load(Ordering::Relaxed) < total {
        let Some((producer, value)) = mailbox.pop() else {
            thread::yield_now();
            continue;
        };
        taken.fetch_add(1, Ordering::Relaxed);
        assert!(value >= next[producer], "order of producer {producer}");
        if alone {
            assert_eq!(value, next[producer], "gap at producer {producer}");
        }
        next[producer] = value + 1;
        counts[producer] += 1;
        assert!(mailbox.len() <= mailbox.capacity());
    }
    counts
}

/// Four producers and `consumers` consumers: nothing lost, nothing doubled, in order for each producer.
fn carries_everything(mailbox: &MailboxView<(usize, usize)>, consumers: usize) {
    let each = if cfg!(miri) { 60 } else { 100_000 };
    let taken = AtomicUsize::new(0);
    let counts = thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            scope.spawn(move || {
                for value in 0..each {
                    while let Err(back) = mailbox.push((producer, value)) {
                        assert_eq!(back, (producer, value));
                        thread::yield_now();
                    }
                }
            });
        }
        let consumers: Vec<_> = (0..consumers)
            .map(|_| scope.spawn(|| consume(mailbox, &taken, PRODUCERS * each, consumers == 1)))
            .collect();
        consumers
            .into_iter()
            .map(|consumer| consumer.join().unwrap())
            .fold([0; PRODUCERS], |sum, counts| {
                std::array::from_fn(|producer| sum[producer] + counts[producer])
            })
    });
    assert_eq!(counts, [each; PRODUCERS]);
    assert_eq!((mailbox.pop(), mailbox.len()), (None, 0));
}

#[test]
fn w3_mailbox_carries_everything_to_one_consumer() {
    carries_everything(&Mailbox::<_, 1>::new(), 1);
    carries_everything(&Mailbox::<_, 7>::new(), 1);
    carries_everything(&Mailbox::<_, 64>::new(), 1);
}

#[test]
fn w3_mailbox_carries_everything_to_several_consumers() {
    carries_everything(&Mailbox::<_, 2>::new(), 3);
    carries_everything(&Mailbox::<_, 33>::new(), 3);
}

/// `Some` is pushed, `None` pops.
fn behaves_like_a_queue(
    mailbox: &MailboxView<Box<u16>>,
    steps: &[Option<u16>],
) -> Result<(), TestCaseError> {
    let mut model = VecDeque::new();
    for &step in steps {
        if let Some(value) = step {
            match mailbox.push(Box::new(value)) {
                Ok(()) => model.push_back(value),
                Err(back) => {
                    prop_assert_eq!(*back, value);
                    prop_assert_eq!(model.len(), mailbox.capacity());
                }
            }
        } else {
            prop_assert_eq!(mailbox.pop().map(|value| *value), model.pop_front());
        }
        prop_assert!(model.len() <= mailbox.capacity());
        prop_assert_eq!(mailbox.len(), model.len());
        prop_assert_eq!(mailbox.is_empty(), model.is_empty());
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Option<u16>>> {
    let longest = if cfg!(miri) { 40 } else { 300 };
    proptest::collection::vec(proptest::option::weighted(0.55, any::<u16>()), 0..longest)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 6 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn w3_mailbox_behaves_like_a_queue(steps in steps()) {
        behaves_like_a_queue(&Mailbox::<_, 1>::new(), &steps)?;
        behaves_like_a_queue(&Mailbox::<_, 3>::new(), &steps)?;
        behaves_like_a_queue(&Mailbox::<_, 8>::new(), &steps)?;
    }
}
