//! What is said of a series of measurements: its median, its best, and how sure the median is.
//!
//! **What.** [`median`], [`best`] and [`median_interval`] over samples in any order; [`differences`] and [`ratios`] pair
//! two series round by round.
//!
//! **Invariants.** *INV-STATS-1*: samples are finite, so they can be ordered.
//!
//! **Why this shape.** On a shared machine the noise is one-sided and comes in bursts. Means are at its mercy; medians of
//! paired differences are not, since a burst that lasts hits both of a pair.

#![forbid(unsafe_code)]

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The middle sample, or the mean of the two in the middle; NaN for none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The smallest sample; infinite for none.
pub(crate) fn best(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Two samples between which the true median lies 95 times in 100, whatever the distribution.
///
/// By ranks: the number of samples below the true median is binomial. Under six samples this is their whole range,
/// which says less.
pub(crate) fn median_interval(samples: &[f64]) -> (f64, f64) {
    let sorted = sorted(samples);
    let Some(last) = sorted.len().checked_sub(1) else {
        return (f64::NAN, f64::NAN);
    };
    let count = sorted.len() as f64;
    let below = (count / 2.0 - 0.98 * count.sqrt()).floor().max(0.0) as usize;
    (sorted[below], sorted[last - below])
}

/// What each sample is over that of the same round of `others`.
pub(crate) fn differences(samples: &[f64], others: &[f64]) -> Vec<f64> {
    pairs(samples, others)
        .map(|(one, other)| one - other)
        .collect()
}

/// How many times that of the same round of `others` each sample is.
pub(crate) fn ratios(samples: &[f64], others: &[f64]) -> Vec<f64> {
    pairs(samples, others)
        .map(|(one, other)| one / other)
        .collect()
}

fn pairs<'s>(samples: &'s [f64], others: &'s [f64]) -> impl Iterator<Item = (f64, f64)> + 's {
    assert_eq!(samples.len(), others.len(), "a pair needs two samples");
    samples.iter().copied().zip(others.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn same(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn the_median_is_the_middle_in_any_order() {
        assert!(same(median(&[9.0, 1.0, 5.0]), 5.0));
        assert!(same(median(&[9.0, 1.0, 5.0, 6.0]), 5.5));
        assert!(same(median(&[4.0]), 4.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_best_is_the_smallest() {
        assert!(same(best(&[3.0, 2.0, 7.0]), 2.0));
        assert!(best(&[]).is_infinite());
    }

    #[test]
    fn a_burst_that_hits_both_of_a_pair_leaves_the_difference_alone() {
        let floor = [100.0, 900.0, 100.0, 2_000.0, 100.0];
        let ours = [130.0, 930.0, 130.0, 2_030.0, 130.0];
        assert!(same(median(&differences(&ours, &floor)), 30.0));
        assert!(same(median(&ratios(&[2.0, 6.0], &[1.0, 3.0])), 2.0));
    }

    #[test]
    fn a_difference_keeps_its_sign() {
        assert!(same(median(&differences(&[1.0], &[3.0])), -2.0));
    }

    #[test]
    #[should_panic(expected = "a pair needs two samples")]
    fn series_of_unequal_length_are_no_pairs() {
        differences(&[1.0, 2.0], &[1.0]);
    }

    #[test]
    fn the_interval_holds_the_true_median_about_95_times_in_100() {
        let mut random = Random::new(42);
        let held = (0..1_000)
            .filter(|_| {
                let samples: Vec<f64> = (0..101).map(|_| random.below(1 << 40) as f64).collect();
                let (low, high) = median_interval(&samples);
                let truth = (1u64 << 39) as f64;
                (low..=high).contains(&truth)
            })
            .count();
        assert!((930..=985).contains(&held), "{held}");
    }

    #[test]
    fn the_interval_of_few_samples_is_their_range() {
        let (low, high) = median_interval(&[5.0, 1.0, 3.0]);
        assert!(same(low, 1.0) && same(high, 5.0));
    }
}
