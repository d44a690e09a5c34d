//! The floor of `timers`: a bare heap of four children a node, with no more than cancelling needs.
//!
//! **What.** Deadlines and numbers in one array, and for each number its place in that array. No ties in order of making,
//! no generations, no growth: a number is in it once or not at all.
//!
//! **Invariants.** *INV-HEAP-1*: no entry is due before its parent. *INV-HEAP-2*: `places[number]` is the index of that
//! number's entry, while it has one.
//!
//! **Why this shape.** It is the least that gives exact order and cancelling; what a real queue adds to it is the price of
//! handles and of ties.

#![forbid(unsafe_code)]

use super::{SPREAD_NS, Timers};

#[derive(Clone, Copy)]
struct Entry {
    deadline: u64,
    number: u32,
}

pub(super) struct Floor {
    deadlines: Vec<u64>,
    entries: Vec<Entry>,
    places: Vec<u32>,
    fired: usize,
}

impl Floor {
    pub(super) fn new(deadlines: &[u64]) -> Self {
        Self {
            deadlines: deadlines.to_vec(),
            entries: Vec::with_capacity(deadlines.len()),
            places: vec![0; deadlines.len()],
            fired: 0,
        }
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.entries[place] = entry;
        self.places[entry.number as usize] = place as u32;
    }

    fn sift_up(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let parent = (place - 1) / 4;
            if self.entries[parent].deadline <= entry.deadline {
                break;
            }
            self.put(place, self.entries[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn sift_down(&mut self, mut place: usize, entry: Entry) {
        loop {
            let first = place * 4 + 1;
            let children = first..(first + 4).min(self.entries.len());
            let least = children.min_by_key(|&child| self.entries[child].deadline);
            match least {
                Some(child) if self.entries[child].deadline < entry.deadline => {
                    self.put(place, self.entries[child]);
                    place = child;
                }
                _ => break,
            }
        }
        self.put(place, entry);
    }

    /// Takes out the entry at `place` and closes the gap with the last one.
    fn remove(&mut self, place: usize) -> Option<u32> {
        let last = self.entries.pop()?;
        let removed = self.entries.get(place).map_or(last.number, |it| it.number);
        if place < self.entries.len() {
            if place > 0 && self.entries[(place - 1) / 4].deadline > last.deadline {
                self.sift_up(place, last);
            } else {
                self.sift_down(place, last);
            }
        }
        Some(removed)
    }
}

impl Timers for Floor {
    fn prepare(&mut self) {
        self.fired = 0;
    }

    #[inline]
    fn insert(&mut self, index: usize) {
        let entry = Entry {
            deadline: self.deadlines[index],
            number: index as u32,
        };
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, entry);
    }

    #[inline]
    fn cancel(&mut self, _at: usize, index: usize) {
        self.remove(self.places[index] as usize);
    }

    fn expire(&mut self) {
        while self
            .entries
            .first()
            .is_some_and(|it| it.deadline < SPREAD_NS)
        {
            self.remove(0);
            self.fired += 1;
        }
    }

    fn finish(&mut self) -> usize {
        self.fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_was_not_cancelled_comes_out_in_order() {
        let mut random = Random::new(3);
        for size in [1, 2, 5, 6, 100, 1_000] {
            let deadlines: Vec<u64> = (0..size).map(|_| random.below(500)).collect();
            let mut heap = Floor::new(&deadlines);
            (0..size).for_each(|index| heap.insert(index));
            let mut order: Vec<usize> = (0..size).collect();
            random.shuffle(&mut order);
            let (cancelled, kept) = order.split_at(size / 2);
            for &index in cancelled {
                heap.cancel(0, index);
            }

            let mut expected: Vec<u64> = kept.iter().map(|&index| deadlines[index]).collect();
            expected.sort_unstable();
            let mut fired = Vec::new();
            while let Some(number) = heap.remove(0) {
                assert!(kept.contains(&(number as usize)), "{number} was cancelled");
                fired.push(deadlines[number as usize]);
            }
            assert_eq!(fired, expected);
        }
    }
}
