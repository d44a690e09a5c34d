//! The arithmetic of positions, which only the inside can bring near its end.

extern crate std;
use super::*;
use std::collections::VecDeque;

/// A mailbox that has gone through all laps but the last `laps`.
fn near_the_end<const N: usize>(laps: u64) -> Mailbox<u64, N> {
    let mailbox = Mailbox::new();
    let start = Course::of(N).lap.wrapping_mul(laps).wrapping_neg();
    mailbox.ends.head.0.store(start, Ordering::Relaxed);
    mailbox.ends.tail.0.store(start, Ordering::Relaxed);
    for cell in &mailbox.cells {
        cell.stamp.store(start, Ordering::Relaxed);
    }
    mailbox
}

fn crosses_the_end<const N: usize>() {
    for ahead in 0..=N {
        let mailbox = near_the_end::<N>(3);
        let mut model = VecDeque::new();
        for value in 0..(N as u64 * 6) {
            while model.len() > ahead.saturating_sub(1) {
                assert_eq!(mailbox.pop(), model.pop_front());
            }
            mailbox.push(value).unwrap();
            model.push_back(value);
            assert_eq!(mailbox.len(), model.len());
            if model.len() == N {
                assert_eq!(mailbox.push(value), Err(value), "full at {N}");
            }
        }
        assert!(
            mailbox.ends.tail.0.load(Ordering::Relaxed) < 8 * Course::of(N).lap,
            "the positions did begin anew"
        );
        while let Some(value) = mailbox.pop() {
            assert_eq!(Some(value), model.pop_front());
        }
        assert!(model.is_empty() && mailbox.is_empty());
    }
}

#[test]
fn w3_positions_wrap_without_harm() {
    crosses_the_end::<1>();
    crosses_the_end::<2>();
    crosses_the_end::<3>();
    crosses_the_end::<4>();
    crosses_the_end::<7>();
    crosses_the_end::<8>();
}

#[test]
fn w3_positions_repeat_after_2_to_the_63_at_the_least() {
    for capacity in [1, 2, 3, 4, 5, 1000, MAX_CAPACITY - 1, MAX_CAPACITY] {
        let course = Course::of(capacity);
        assert!(course.lap as usize > capacity, "bit 0 of a lap is free");
        let laps = u128::from(u64::MAX) / u128::from(course.lap) + 1;
        assert!(laps * capacity as u128 >= 1 << 63);
        assert_eq!(course.next(capacity as u64 - 1), course.lap);
        assert_eq!(course.next(u64::MAX - course.lap + capacity as u64), 0);
    }
}

#[test]
fn w3_an_old_view_of_the_ends_is_no_length() {
    let course = Course::of(3);
    let later = course.next(course.next(course.lap));
    assert_eq!(
        course.distance(later, 1),
        0,
        "the head seems to have passed"
    );
    assert_eq!(course.distance(0, later), 3, "the tail seems too far away");
}
