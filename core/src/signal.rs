//! Signals and sets of them, as plain values.
//!
//! **What.** A [`Signal`] is a number from 1 to 64 with a name; a [`SignalSet`] is the kernel's 64-bit mask. Which
//! of them arrive, and how, is not here.
//!
//! ```
//! use linux_event_core::signal::{Signal, SignalSet};
//! let stop: SignalSet = [Signal::INT, Signal::TERM].into_iter().collect();
//! assert!(stop.contains("SIGTERM".parse().unwrap()));
//! assert!(stop.iter().eq([Signal::INT, Signal::TERM]));
//! ```
//!
//! **Invariants.** *INV-SIGNAL-1*: a signal is never 0 and never above 64. *INV-SIGNAL-2*: bit n − 1 of a set is
//! signal n, as in the kernel's `sigset_t`.
//!
//! **Why this shape.** The numbers are those of `x86_64`, aarch64 and riscv64, which agree, so a table of names does
//! for all of them. Real-time signals are counted from 34, as `kill(1)` with glibc does, because that is how people
//! name them; the kernel itself counts from 32 and C libraries keep the first ones for their threads.

#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZeroU8;
use core::str::FromStr;

/// A signal, 1 to 64. `signal(7)`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Signal(NonZeroU8);

/// Other names that people use, for numbers in the table below.
const ALIASES: [(&str, Signal); 3] = [
    ("IOT", Signal::ABRT),
    ("CLD", Signal::CHLD),
    ("POLL", Signal::IO),
];

macro_rules! named_signals {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        impl Signal {
            $($(#[$doc])* pub const $name: Self = Self(NonZeroU8::new($number).unwrap());)*
        }

        /// In numeric order, from 1 on without a gap.
        const NAMED: &[(&str, Signal)] = &[$((stringify!($name), Signal::$name),)*];
    };
}

named_signals! {
    /// The terminal hung up; daemons read their configuration again.
    HUP = 1,
    /// Interrupt from the keyboard.
    INT = 2,
    /// Quit from the keyboard.
    QUIT = 3,
    /// Illegal instruction.
    ILL = 4,
    /// Trace or breakpoint trap.
    TRAP = 5,
    /// `abort(3)`; also called IOT.
    ABRT = 6,
    /// Bad memory access.
    BUS = 7,
    /// Arithmetic error.
    FPE = 8,
    /// Ends the process; can't be caught.
    KILL = 9,
    /// For the user's purposes.
    USR1 = 10,
    /// Invalid memory reference.
    SEGV = 11,
    /// For the user's purposes.
    USR2 = 12,
    /// Write to a pipe or socket that nobody reads.
    PIPE = 13,
    /// A timer of `alarm(2)`.
    ALRM = 14,
    /// Asks the process to end.
    TERM = 15,
    /// Unused stack fault of the coprocessor.
    STKFLT = 16,
    /// A child stopped, continued or ended; also called CLD.
    CHLD = 17,
    /// Continue if stopped.
    CONT = 18,
    /// Stops the process; can't be caught.
    STOP = 19,
    /// Stop from the keyboard.
    TSTP = 20,
    /// A background process reads from the terminal.
    TTIN = 21,
    /// A background process writes to the terminal.
    TTOU = 22,
    /// Urgent data on a socket.
    URG = 23,
    /// The limit of processor time is exceeded.
    XCPU = 24,
    /// The limit of file size is exceeded.
    XFSZ = 25,
    /// A virtual timer of `setitimer(2)`.
    VTALRM = 26,
    /// A profiling timer of `setitimer(2)`.
    PROF = 27,
    /// The terminal's window changed its size.
    WINCH = 28,
    /// Input or output is possible; also called POLL.
    IO = 29,
    /// Power fails.
    PWR = 30,
    /// Bad system call, also from a seccomp filter.
    SYS = 31,
}

impl Signal {
    /// The first real-time signal that C libraries leave to programs: 34, as `kill(1)` counts.
    pub const RTMIN: Self = Self(NonZeroU8::new(34).unwrap());
    /// The last real-time signal: 64.
    pub const RTMAX: Self = Self(NonZeroU8::new(64).unwrap());

    /// The signal with the number `raw`; `None` unless it is 1 to 64.
    ///
    /// ```
    /// use linux_event_core::signal::Signal;
    /// assert_eq!(Signal::from_raw(15), Some(Signal::TERM));
    /// assert_eq!(Signal::from_raw(0), None); // `kill(2)` takes it to ask whether a process exists
    /// ```
    #[inline]
    pub const fn from_raw(raw: i32) -> Option<Self> {
        if raw < 1 || raw > Self::RTMAX.raw() {
            return None;
        }
        match NonZeroU8::new(raw as u8) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, 1 to 64.
    #[inline(always)]
    pub const fn raw(self) -> i32 {
        self.0.get() as i32
    }

    /// The name without `SIG`; `None` for 32 to 64, whose names [`Display`](fmt::Display) makes.
    ///
    /// ```
    /// use linux_event_core::signal::Signal;
    /// assert_eq!(Signal::INT.name(), Some("INT"));
    /// assert_eq!(Signal::RTMIN.name(), None);
    /// ```
    pub const fn name(self) -> Option<&'static str> {
        let index = self.0.get() as usize - 1;
        if index < NAMED.len() {
            Some(NAMED[index].0)
        } else {
            None
        }
    }

    /// The signal called `name`: with or without `SIG`, in upper or lower case, counted from either end of the
    /// real-time signals, or as a decimal number. `None` if there is none.
    ///
    /// ```
    /// use linux_event_core::signal::Signal;
    /// for name in ["INT", "SIGINT", "sigint", "2"] {
    ///     assert_eq!(Signal::from_name(name), Some(Signal::INT));
    /// }
    /// assert_eq!(Signal::from_name("RTMIN+3"), Signal::from_raw(37));
    /// assert_eq!(Signal::from_name("SIGRTMAX-1"), Signal::from_raw(63));
    /// assert_eq!(Signal::from_name("SIGNAL"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(number) = decimal(name) {
            return Self::from_raw(number);
        }
        let name = strip_prefix(name, "SIG").unwrap_or(name);
        if let Some(offset) = strip_prefix(name, "RTMIN") {
            return Self::RTMIN.real_time(1, offset);
        }
        if let Some(offset) = strip_prefix(name, "RTMAX") {
            return Self::RTMAX.real_time(-1, offset);
        }
        NAMED
            .iter()
            .chain(&ALIASES)
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|&(_, signal)| signal)
    }

    /// The real-time signal that `offset` ("", "+3", "-3") names, away from `self` in `direction`.
    fn real_time(self, direction: i32, offset: &str) -> Option<Self> {
        let sign = if direction > 0 { '+' } else { '-' };
        let distance = match offset {
            "" => 0,
            _ => decimal(offset.strip_prefix(sign)?)?,
        };
        Self::from_raw(self.raw() + direction * distance).filter(|signal| *signal >= Self::RTMIN)
    }

    /// Whether a program can have the signal delivered to it at all: not KILL and not STOP (S-1).
    ///
    /// ```
    /// use linux_event_core::signal::Signal;
    /// assert!(Signal::TERM.can_be_caught());
    /// assert!(!Signal::KILL.can_be_caught() && !Signal::STOP.can_be_caught());
    /// ```
    #[inline]
    pub const fn can_be_caught(self) -> bool {
        self.raw() != Self::KILL.raw() && self.raw() != Self::STOP.raw()
    }
}

/// The rest of `text` after `prefix`, which is upper case and may be in either there.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// One to three decimal digits and nothing else; a sign is not a number here.
fn decimal(text: &str) -> Option<i32> {
    if !(1..=3).contains(&text.len()) {
        return None;
    }
    text.bytes().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i32::from(byte - b'0'))
    })
}

impl fmt::Display for Signal {
    /// The name as `kill(1)` takes it: `INT`, `RTMIN+3`, and `32` and `33` for those two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None if *self == Self::RTMIN => f.pad("RTMIN"),
            None if *self > Self::RTMIN => write!(f, "RTMIN+{}", self.raw() - Self::RTMIN.raw()),
            None => write!(f, "{}", self.raw()),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no signal.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct UnknownSignal;

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no signal has this name or number")
    }
}

impl core::error::Error for UnknownSignal {}

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// As [`Signal::from_name`].
    fn from_str(name: &str) -> Result<Self, UnknownSignal> {
        Self::from_name(name).ok_or(UnknownSignal)
    }
}

/// A set of signals: the kernel's 64-bit mask (INV-SIGNAL-2). `sigsetops(3)`.
///
/// ```
/// use linux_event_core::signal::{Signal, SignalSet};
/// const MINE: SignalSet = SignalSet::EMPTY.with(Signal::HUP).with(Signal::USR1);
/// assert_eq!(MINE.bits(), 0b10_0000_0001);
/// assert_eq!(MINE.difference(Signal::HUP.into()), SignalSet::from(Signal::USR1));
/// ```
#[derive(Copy, Clone, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal, KILL and STOP too (which a mask may name without effect).
    pub const ALL: Self = Self(u64::MAX);

    /// No signal.
    #[inline]
    pub const fn empty() -> Self {
        Self::EMPTY
    }

    /// The set with this mask: bit n − 1 is signal n.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The mask: bit n − 1 is signal n.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    const fn bit(signal: Signal) -> u64 {
        1 << (signal.raw() - 1)
    }

    /// This set and `signal`.
    #[inline]
    #[must_use]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | Self::bit(signal))
    }

    /// Adds `signal`; whether it was not in the set before.
    #[inline]
    pub const fn insert(&mut self, signal: Signal) -> bool {
        let new = !self.contains(signal);
        self.0 |= Self::bit(signal);
        new
    }

    /// Takes `signal` out; whether it was in the set.
    #[inline]
    pub const fn remove(&mut self, signal: Signal) -> bool {
        let was_in = self.contains(signal);
        self.0 &= !Self::bit(signal);
        was_in
    }

    /// Whether `signal` is in the set.
    #[inline]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    /// Whether the set has no signal.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many signals the set has, 0 to 64.
    #[inline]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// What is in either set.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set and not in `other`.
    #[inline]
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in both sets.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Takes out the signal with the lowest number.
    #[inline]
    pub fn pop_lowest(&mut self) -> Option<Signal> {
        let lowest = self.iter().next()?;
        self.remove(lowest);
        Some(lowest)
    }

    /// The signals in numeric order.
    #[inline]
    pub const fn iter(self) -> Signals {
        Signals(self)
    }
}

/// The signals of a set in numeric order: what [`SignalSet::iter`] returns.
#[derive(Clone, Debug)]
pub struct Signals(SignalSet);

impl Iterator for Signals {
    type Item = Signal;

    #[inline]
    fn next(&mut self) -> Option<Signal> {
        let signal = Signal::from_raw(self.0.0.trailing_zeros() as i32 + 1)?;
        self.0.remove(signal);
        Some(signal)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for Signals {}
impl core::iter::FusedIterator for Signals {}

impl IntoIterator for SignalSet {
    type Item = Signal;
    type IntoIter = Signals;
    fn into_iter(self) -> Signals {
        self.iter()
    }
}

impl From<Signal> for SignalSet {
    fn from(signal: Signal) -> Self {
        Self::EMPTY.with(signal)
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> Self {
        signals.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// How often each signal came: what a signalfd held, merged (S-1).
///
/// ```
/// use linux_event_core::signal::{Signal, SignalCounts};
/// let mut counts = SignalCounts::new();
/// counts.add(Signal::TERM, 1);
/// counts.add(Signal::HUP, 2);
/// assert_eq!(counts.set().iter().next(), Some(Signal::HUP));
/// assert_eq!(counts.take(Signal::HUP), 2);
/// assert_eq!(counts.take(Signal::HUP), 0);
/// ```
#[derive(Clone, Debug)]
pub struct SignalCounts {
    /// The signals whose count is not zero.
    set: SignalSet,
    counts: [u32; 64],
}

impl SignalCounts {
    /// No signal came.
    pub const fn new() -> Self {
        Self {
            set: SignalSet::EMPTY,
            counts: [0; 64],
        }
    }

    /// Counts `signal` another `count` times; stops at `u32::MAX`.
    pub fn add(&mut self, signal: Signal, count: u32) {
        if count > 0 {
            self.set.insert(signal);
            let slot = &mut self.counts[signal.raw() as usize - 1];
            *slot = slot.saturating_add(count);
        }
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for signal in other.set {
            self.add(signal, other.counts[signal.raw() as usize - 1]);
        }
    }

    /// Takes the count of `signal`, leaving zero.
    pub fn take(&mut self, signal: Signal) -> u32 {
        self.set.remove(signal);
        core::mem::take(&mut self.counts[signal.raw() as usize - 1])
    }

    /// The signals that came.
    #[inline(always)]
    pub const fn set(&self) -> SignalSet {
        self.set
    }

    /// Whether none came.
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl Default for SignalCounts {
    fn default() -> Self {
        Self::new()
    }
}
