//! Handles: 64 bits that name one occupant of one slot of one table.
//!
//! **What.** A [`Handle`] packs a slot index (20 bits), a tag (4 bits, the kind of thing named) and a generation
//! (40 bits). It is what a user keeps, and it is also the `epoll_event.data` and the `sqe.user_data` that the
//! kernel hands back, so that a report finds its slot with one comparison.
//!
//! **Invariants.** *INV-HANDLE-1*: a tag is never zero, so a handle is never zero and `Option<Handle>` is 64 bits.
//! *INV-HANDLE-2*: two handles of one table are equal only if they name the same occupant, for 2⁴⁰ reuses of a slot.
//!
//! **Why this shape.** One word goes through the kernel and comes back; comparing it whole with the word that the
//! slot keeps answers "same slot, same kind, same occupant" at once.

#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZeroU64;

/// Bits of a handle that hold the slot index.
pub const INDEX_BITS: u32 = 20;
/// Bits of a handle that hold the tag.
pub const TAG_BITS: u32 = 4;
/// The most slots that one table can have: 2²⁰.
pub const MAX_SLOTS: usize = 1 << INDEX_BITS;

const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const GENERATION_SHIFT: u32 = INDEX_BITS + TAG_BITS;

/// What kind of thing a handle names. Values 1 to 15.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Tag {
    /// A watched file descriptor.
    Watcher = 1,
    /// A timer.
    Timer = 2,
    /// An operation of the proactor.
    Operation = 3,
    /// A signal subscription.
    Signal = 4,
    /// A process subscription.
    Process = 5,
    /// A descriptor of the loop's own: wakeup, signalfd, timerfd.
    Internal = 6,
    /// A cancel request, or another operation of the loop's own.
    Control = 7,
    /// A descriptor that a proactor has adopted.
    File = 8,
    /// What comes before a closing in a chain, and tells whether that began.
    Gate = 9,
}

/// Names one occupant of one slot of one table.
///
/// A handle is plain data: copying it or forgetting it does nothing to what it names. Once what it names is gone,
/// it is *stale* for ever: it never reaches a newer occupant of the slot.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Handle(NonZeroU64);

impl Handle {
    /// Packs `index` (below [`MAX_SLOTS`]), `tag` and the low 40 bits of `generation`.
    #[inline(always)]
    pub const fn new(index: u32, tag: Tag, generation: u64) -> Self {
        let raw = (generation << GENERATION_SHIFT)
            | ((tag as u64) << INDEX_BITS)
            | (index as u64 & INDEX_MASK);
        // INV-HANDLE-1: a tag is at least 1.
        match NonZeroU64::new(raw) {
            Some(raw) => Self(raw),
            None => unreachable!(),
        }
    }

    /// A handle from its 64 bits, as the kernel gave them back; `None` if they are zero.
    ///
    /// Any non-zero bits are accepted: a table checks a handle before it believes it.
    #[inline(always)]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        match NonZeroU64::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The 64 bits.
    #[inline(always)]
    pub const fn raw(self) -> u64 {
        self.0.get()
    }

    /// The slot index, 0 to 2²⁰ − 1.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        (self.0.get() & INDEX_MASK) as u32
    }

    /// The tag's bits, 0 to 15.
    #[inline(always)]
    pub const fn tag_bits(self) -> u8 {
        ((self.0.get() >> INDEX_BITS) & TAG_MASK) as u8
    }

    /// Whether the tag is `tag`.
    #[inline(always)]
    pub const fn is(self, tag: Tag) -> bool {
        self.tag_bits() == tag as u8
    }

    /// The generation, 40 bits.
    #[inline(always)]
    pub const fn generation(self) -> u64 {
        self.0.get() >> GENERATION_SHIFT
    }
}

impl Op {
    /// The operation that a token names which was found in a table of operations: the tag is the one that it has, so that
    /// it need not be asked whether the token is zero.
    #[inline(always)]
    pub(crate) const fn of_token(token: u64) -> Self {
        match NonZeroU64::new(token | (Tag::Operation as u64) << INDEX_BITS) {
            Some(raw) => Self(Handle(raw)),
            None => unreachable!(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}#{:x}",
            self.tag_bits(),
            self.index(),
            self.generation()
        )
    }
}

macro_rules! typed_handle {
    ($(#[$doc:meta])* $name:ident, $tag:ident) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(Handle);

        impl $name {
            /// The handle underneath.
            #[inline(always)]
            pub const fn handle(self) -> Handle {
                self.0
            }

            /// The slot index: small, dense, and reused. Good for a side table, not for identity.
            #[inline(always)]
            pub const fn index(self) -> usize {
                self.0.index() as usize
            }

            /// Wraps a handle that is known to carry this type's tag.
            #[inline(always)]
            #[allow(dead_code, reason = "not every kind is met on a path that hot")]
            pub(crate) const fn assume(handle: Handle) -> Self {
                debug_assert!(handle.is(Tag::$tag));
                Self(handle)
            }

            /// Wraps a handle that carries this type's tag; `None` if it carries another.
            #[inline(always)]
            pub const fn from_handle(handle: Handle) -> Option<Self> {
                if handle.is(Tag::$tag) { Some(Self(handle)) } else { None }
            }
        }
    };
}

typed_handle!(
    /// A watched file descriptor of a reactor.
    Watcher, Watcher
);
typed_handle!(
    /// A timer.
    TimerId, Timer
);
typed_handle!(
    /// A signal subscription.
    Subscription, Signal
);
typed_handle!(
    /// A process whose exit is waited for.
    ProcessWatch, Process
);
typed_handle!(
    /// An operation of a proactor.
    Op, Operation
);
typed_handle!(
    /// A descriptor that a proactor has adopted.
    File, File
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_went_in() {
        for (index, generation) in [
            (0, 0),
            (1, 1),
            (MAX_SLOTS as u32 - 1, (1 << 40) - 1),
            (77, 1 << 39),
        ] {
            let handle = Handle::new(index, Tag::Timer, generation);
            assert_eq!(handle.index(), index);
            assert_eq!(handle.generation(), generation);
            assert!(handle.is(Tag::Timer) && !handle.is(Tag::Watcher));
            assert_eq!(Handle::from_raw(handle.raw()), Some(handle));
        }
        assert_eq!(Handle::from_raw(0), None);
        assert_eq!(size_of::<Option<Handle>>(), 8);
    }

    #[test]
    fn a_typed_handle_takes_its_own_tag_only() {
        let handle = Handle::new(3, Tag::Signal, 9);
        assert!(Subscription::from_handle(handle).is_some());
        assert!(TimerId::from_handle(handle).is_none());
    }
}
