//! Time: instants of `CLOCK_MONOTONIC` in nanoseconds, and a clock that is read once a turn.
//!
//! **What.** [`Instant`] is a point of `CLOCK_MONOTONIC`, 64 bits of nanoseconds. It stands still while the machine
//! is suspended, as that clock does (`clock_gettime(2)`). [`Clock`] remembers the last reading. Rule T-1.
//!
//! **Invariants.** *INV-CLOCK-1*: a [`Clock`] never goes back, whatever it is told.
//!
//! **Why this shape.** A reading through the vDSO costs some 20 ns; a turn with ten timers needs one, not ten. The
//! clock does not read by itself: whoever owns the time source (a kernel, a fake) ticks it.

#![forbid(unsafe_code)]

use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in `CLOCK_MONOTONIC`, in nanoseconds.
///
/// ```
/// use core::time::Duration;
/// use linux_event_core::clock::Instant;
/// let start = Instant::from_nanos(1_000);
/// assert_eq!((start + Duration::from_micros(1)).as_nanos(), 2_000);
/// assert_eq!(start.since(Instant::from_nanos(400)), Duration::from_nanos(600));
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Instant(u64);

impl Instant {
    /// The clock's zero, some time before the machine started its first process.
    pub const ZERO: Self = Self(0);
    /// The last instant there is, 584 years after zero: a deadline that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// An instant `nanos` nanoseconds after the clock's zero.
    #[inline(always)]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's zero.
    #[inline(always)]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long it is from `earlier` to `self`; zero if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` and `duration`; [`Instant::MAX`] if that is past the end.
    #[inline]
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration_nanos(duration)))
    }
}

/// A duration in whole nanoseconds; `u64::MAX` (584 years) if it is longer.
#[inline]
pub const fn duration_nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(duration.subsec_nanos() as u64)
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Saturates at [`Instant::MAX`].
    #[inline]
    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl Sub for Instant {
    type Output = Duration;
    /// Saturates at zero.
    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The last reading of a time source, and how many there were (T-1).
///
/// ```
/// use linux_event_core::clock::{Clock, Instant};
/// let mut clock = Clock::new();
/// clock.tick(Instant::from_nanos(50));
/// clock.tick(Instant::from_nanos(40)); // a source that goes back is not believed
/// assert_eq!(clock.now(), Instant::from_nanos(50));
/// assert_eq!(clock.generation(), 2);
/// ```
#[derive(Copy, Clone, Debug, Default)]
pub struct Clock {
    now: Instant,
    generation: u64,
}

impl Clock {
    /// A clock that was never ticked: it shows [`Instant::ZERO`].
    pub const fn new() -> Self {
        Self {
            now: Instant::ZERO,
            generation: 0,
        }
    }

    /// Takes a fresh reading and returns what the clock shows now.
    #[inline(always)]
    pub fn tick(&mut self, reading: Instant) -> Instant {
        if reading > self.now {
            self.now = reading;
        }
        self.generation += 1;
        self.now
    }

    /// The last reading. It is stale once a wait has returned and until the next tick.
    #[inline(always)]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How many readings there were.
    #[inline]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t1_arithmetic_saturates() {
        assert_eq!(Instant::MAX + Duration::MAX, Instant::MAX);
        assert_eq!(
            Instant::ZERO - Instant::MAX,
            Duration::ZERO,
            "never negative"
        );
        assert_eq!(duration_nanos(Duration::MAX), u64::MAX);
        assert_eq!(duration_nanos(Duration::new(1, 2)), 1_000_000_002);
    }
}
