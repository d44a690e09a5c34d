//! Which process this is, told by one word that the kernel wipes when the process forks.
//!
//! **What.** `epoch` is a number that stays the same for as long as the process lives and is another one in a
//! forked child. A loop keeps the number it was made under and compares before it touches anything shared. Rule G-1.
//!
//! **Invariants.** *INV-PROCESS-1*: the word is written only after `madvise(MADV_WIPEONFORK)` took effect on its
//! page, and `how` said so; so a child never sees its parent's word. *INV-PROCESS-2*: the page lies wholly inside
//! the detector's own bytes: wiping it wipes nothing else. *INV-PROCESS-3*: `how` leaves `UNDECIDED` once, and
//! never changes again, in children too: the kernel hands the marking down with the page.
//!
//! **Why this shape.** Asking `getpid` costs a system call for each check, the word one load. Everything here is
//! atomics and system calls: it may run in a signal handler, and in the child of a program with many threads.
//! Where the page can't be marked (before Linux 4.14, a seccomp filter, memory that is not private and anonymous),
//! the process id serves, one system call for each check.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use linux_raw_sys::general::{__NR_getpid, __NR_madvise, MADV_WIPEONFORK};

use crate::errno::Errno;
use crate::sys::vdso;

/// The largest page the machine can have: 4 KiB, or up to 64 KiB on aarch64.
const PAGE_SIZE_MAX: usize = if cfg!(target_arch = "aarch64") {
    65_536
} else {
    4096
};
const WORDS: usize = PAGE_SIZE_MAX / size_of::<AtomicU64>();

/// Advice that no kernel knows.
const ADVICE_UNKNOWN: usize = u32::MAX as usize;

/// `how`: nobody has asked yet.
const UNDECIDED: u8 = 0;
/// `how`: the page is marked, the word tells.
const BY_WORD: u8 = 1;
/// `how`: the page can't be marked, the process id tells.
const BY_PROCESS_ID: u8 = 2;
/// `how`: there will be no children, the word is [`PROMISED`].
const BY_PROMISE: u8 = 3;

/// The word of a process that never forks. No other has it: they are odd.
const PROMISED: u64 = 2;

static DETECTOR: Detector = Detector::new();

/// A number for this process: not zero, the same at each call, another one in a forked child (G-1).
///
/// A child made with `CLONE_VM` (`vfork(2)`, `posix_spawn(3)`) shares its parent's memory and its number.
/// Where the process id has to serve, a child that has its parent's id in a PID namespace of its own (1 and 1) can't
/// be told from it.
///
/// Source: `madvise(2)`, Linux 4.14.
#[inline(always)]
pub(crate) fn epoch() -> u64 {
    match DETECTOR.word().load(Ordering::Relaxed) {
        0 => DETECTOR.begin(mark),
        word => word,
    }
}

/// Whether [`epoch`] would say `known`, which it said before, here or in a parent: one comparison.
#[inline(always)]
pub(crate) fn is(known: u64) -> bool {
    DETECTOR.is(known, mark)
}

/// Spares a process that never forks the three system calls and the page of memory with which its loops tell it from its
/// children (G-1). Called before the first loop is made, or it does nothing.
///
/// ```
/// use linux_event_core::reactor::{Epoll, Reactor};
/// // SAFETY: this program never forks.
/// unsafe { linux_event_core::sys::never_forks() };
/// let reactor: Reactor<u32, 8, 8> = Reactor::new(Epoll::new()?); // one system call
/// # drop(reactor);
/// # Ok::<(), linux_event_core::error::Error>(())
/// ```
///
/// # Safety
/// A child that this process makes by `fork(2)` neither uses nor drops a loop of its parent's: it calls `execve(2)` or ends.
pub unsafe fn never_forks() {
    DETECTOR.trust();
}

/// A page that starts where one of the kernel's does.
#[cfg_attr(target_arch = "aarch64", repr(C, align(65536)))]
#[cfg_attr(not(target_arch = "aarch64"), repr(C, align(4096)))]
struct Page([AtomicU64; WORDS]);

const _: () = assert!(align_of::<Page>() == PAGE_SIZE_MAX && size_of::<Page>() == PAGE_SIZE_MAX);

/// A word in a page of its own, all zeroes at first.
#[repr(C)]
struct Detector {
    page: Page,
    how: AtomicU8,
}

impl Detector {
    // Only statics are made with this: 128 KiB on aarch64, never on a stack.
    #[allow(clippy::large_stack_arrays)]
    const fn new() -> Self {
        Self {
            page: Page([const { AtomicU64::new(0) }; WORDS]),
            how: AtomicU8::new(UNDECIDED),
        }
    }

    /// The first word of the page (INV-PROCESS-2). It is where the detector is: its address needs no arithmetic.
    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        let [word, ..] = &self.page.0;
        word
    }

    /// The same word for every process from here on.
    fn trust(&self) {
        let undecided =
            self.how
                .compare_exchange(UNDECIDED, BY_PROMISE, Ordering::AcqRel, Ordering::Acquire);
        if undecided.is_ok() {
            self.word().store(PROMISED, Ordering::Relaxed);
        }
    }

    /// Whether this is the process that `known` stands for. An epoch is not zero, so a word that was wiped or never set
    /// is not equal to it.
    #[inline(always)]
    fn is(&self, known: u64, mark: fn(&AtomicU64) -> Result<(), Errno>) -> bool {
        self.word().load(Ordering::Relaxed) == known || self.is_by_epoch(known, mark)
    }

    /// The word differs: in a child, and wherever the word can't be used.
    #[cold]
    #[inline(never)]
    fn is_by_epoch(&self, known: u64, mark: fn(&AtomicU64) -> Result<(), Errno>) -> bool {
        match self.word().load(Ordering::Relaxed) {
            0 => self.begin(mark) == known,
            word => word == known,
        }
    }

    /// The word is zero: this is the first use in this process, or the word can't be used.
    #[cold]
    #[inline(never)]
    fn begin(&self, mark: fn(&AtomicU64) -> Result<(), Errno>) -> u64 {
        match self.decide(mark) {
            BY_PROCESS_ID => return process_id() << 1 | 1,
            BY_PROMISE => return PROMISED,
            _ => {}
        }
        // The time makes it another word than that of an earlier process with this id, the id another than the
        // parent's even on a clock of coarse steps. Ids have at most 22 bits.
        let fresh = vdso::monotonic() << 23 | process_id() << 1 | 1;
        let seen = self
            .word()
            .compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        // Of threads that race, the first sets the word for all.
        seen.map_or_else(|first| first, |_| fresh)
    }

    /// How this process and its children are told apart: decided once (INV-PROCESS-3), in this order so that the
    /// page is marked before anybody may write to it (INV-PROCESS-1).
    fn decide(&self, mark: fn(&AtomicU64) -> Result<(), Errno>) -> u8 {
        let how = self.how.load(Ordering::Acquire);
        if how != UNDECIDED {
            return how;
        }
        let mine = match mark(self.word()) {
            Ok(()) => BY_WORD,
            Err(_) => BY_PROCESS_ID,
        };
        // A filter may let one thread mark and not another: whoever comes first decides for both.
        self.how
            .compare_exchange(UNDECIDED, mine, Ordering::AcqRel, Ordering::Acquire)
            .map_or_else(|first| first, |_| mine)
    }
}

/// Has the kernel wipe the page that starts with `word` in forked children.
fn mark(word: &AtomicU64) -> Result<(), Errno> {
    let advise = |advice: usize| {
        let page = core::ptr::from_ref(word).addr();
        // SAFETY: INV-PROCESS-2: the page is the detector's. Marking it changes nothing in this process.
        Errno::result(unsafe { sc::syscall3(__NR_madvise as usize, page, PAGE_SIZE_MAX, advice) })
    };
    // Emulators took every madvise for a hint, did nothing and reported success. One that accepts this is such.
    if advise(ADVICE_UNKNOWN).is_ok() {
        return Err(Errno::ENOSYS);
    }
    advise(MADV_WIPEONFORK as usize).map(drop)
}

/// `getpid(2)`: 1 to 2²² − 1.
fn process_id() -> u64 {
    // SAFETY: getpid takes no arguments and touches no memory.
    unsafe { sc::syscall0(__NR_getpid as usize) as u64 }
}

#[cfg(test)]
#[cfg(not(miri))] // Every one of these makes system calls.
mod tests {
    use super::*;

    /// Forks, runs `body` in the child and returns what it returned, 0 to 255.
    fn in_a_child(body: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs only `body`, which uses atomics and system calls, and ends without returning.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                libc::_exit(body());
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert!(libc::WIFEXITED(status), "child died: {status:#x}");
            libc::WEXITSTATUS(status)
        }
    }

    /// 0 if parent, child and grandchild each have an epoch of their own that stays.
    fn generations_differ(epoch: fn() -> u64) -> i32 {
        let parents = epoch();
        let verdict = in_a_child(|| {
            let childs = epoch();
            if childs == parents || childs == 0 {
                return 1;
            }
            let verdict = in_a_child(|| {
                let grandchilds = epoch();
                let own = ![0, parents, childs].contains(&grandchilds);
                if own && grandchilds == epoch() { 0 } else { 2 }
            });
            if childs == epoch() { verdict } else { 3 }
        });
        if parents == epoch() && parents != 0 {
            verdict
        } else {
            4
        }
    }

    #[test]
    fn g1_the_word_differs_in_a_child_and_in_its_child() {
        assert_eq!(generations_differ(epoch), 0);
        assert_eq!(DETECTOR.how.load(Ordering::Relaxed), BY_WORD);
    }

    #[test]
    fn g1_a_child_that_is_first_to_ask_has_an_epoch_of_its_own() {
        static FRESH: Detector = Detector::new();
        let epoch = || FRESH.begin(mark);
        assert_eq!(in_a_child(|| generations_differ(epoch)), 0);
        assert_eq!(FRESH.how.load(Ordering::Relaxed), UNDECIDED);
        assert_eq!(generations_differ(epoch), 0);
    }

    /// 0 if the parent is told from its child, by the parent's epoch, on both sides.
    fn is_told(detector: &'static Detector, mark: fn(&AtomicU64) -> Result<(), Errno>) -> i32 {
        let parents = detector.begin(mark);
        let childs_verdict = in_a_child(|| {
            let childs = detector.begin(mark);
            i32::from(detector.is(parents, mark)) + 2 * i32::from(!detector.is(childs, mark))
        });
        childs_verdict + 4 * i32::from(!detector.is(parents, mark))
    }

    #[test]
    fn g1_a_process_is_known_by_its_epoch_by_word_and_by_id() {
        static MARKED: Detector = Detector::new();
        static REFUSED: Detector = Detector::new();
        assert_eq!(is_told(&MARKED, mark), 0);
        assert_eq!(is_told(&REFUSED, |_| Err(Errno::EINVAL)), 0);
        assert_eq!(MARKED.how.load(Ordering::Relaxed), BY_WORD);
        assert_eq!(REFUSED.how.load(Ordering::Relaxed), BY_PROCESS_ID);
    }

    #[test]
    fn g1_the_process_id_serves_where_the_page_can_not_be_marked() {
        static REFUSED: Detector = Detector::new();
        assert_eq!(
            generations_differ(|| REFUSED.begin(|_| Err(Errno::EINVAL))),
            0
        );
        // Another thread, which may mark, does not change what was decided.
        assert_eq!(REFUSED.begin(mark), process_id() << 1 | 1);
        assert_eq!(REFUSED.word().load(Ordering::Relaxed), 0);
        assert_eq!(REFUSED.how.load(Ordering::Relaxed), BY_PROCESS_ID);
    }

    #[test]
    fn g1_a_thread_that_may_not_mark_follows_one_that_did() {
        static MIXED: Detector = Detector::new();
        // The other thread decides while this one is being refused.
        let refused_late = |_: &AtomicU64| {
            MIXED.begin(mark);
            Err(Errno::EPERM)
        };
        let word = MIXED.begin(refused_late);
        assert_eq!(word, MIXED.word().load(Ordering::Relaxed));
        assert_eq!(MIXED.how.load(Ordering::Relaxed), BY_WORD);
    }

    #[test]
    fn g1_who_never_forks_is_not_asked() {
        static TRUSTED: Detector = Detector::new();
        static DECIDED: Detector = Detector::new();
        TRUSTED.trust();
        let never = |_: &AtomicU64| -> Result<(), Errno> { unreachable!("nothing is marked") };
        let epoch = TRUSTED.begin(never);
        assert!(epoch == PROMISED && TRUSTED.is(epoch, never));
        // What was decided before stays.
        let word = DECIDED.begin(mark);
        DECIDED.trust();
        assert_eq!(DECIDED.begin(mark), word);
        assert_eq!(is_told(&DECIDED, mark), 0);
    }

    #[test]
    fn g1_threads_that_race_agree() {
        extern crate std;
        use std::sync::Barrier;
        static RACED: Detector = Detector::new();
        let start = Barrier::new(8);
        let ask = || {
            start.wait();
            RACED.begin(mark)
        };
        let epochs = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(ask));
            threads.map(|thread| thread.join().unwrap())
        });
        let word = RACED.word().load(Ordering::Relaxed);
        assert_eq!(epochs, [word; 8]);
    }

    #[test]
    fn g1_the_wiped_page_is_the_detectors_own() {
        static FRESH: Detector = Detector::new();
        let word = core::ptr::from_ref(FRESH.word()).addr();
        let how = core::ptr::from_ref(&FRESH.how).addr();
        assert!(word.is_multiple_of(PAGE_SIZE_MAX));
        assert!(how < word || how >= word + PAGE_SIZE_MAX);

        // The child keeps what lies behind the page.
        FRESH.how.store(BY_WORD, Ordering::Relaxed);
        mark(FRESH.word()).unwrap();
        FRESH.word().store(7, Ordering::Relaxed);
        let kept = || i32::from(FRESH.how.load(Ordering::Relaxed));
        assert_eq!(in_a_child(kept), i32::from(BY_WORD));
        let wiped = || i32::from(FRESH.word().load(Ordering::Relaxed) == 0);
        assert_eq!(in_a_child(wiped), 1);
    }
}
