//! The monotonic clock, read without a system call and without libc.
//!
//! **What.** `monotonic` reads `CLOCK_MONOTONIC` through the function that the kernel maps into every process
//! (`vdso(7)`). [`clock_source`] tells how that function was found, or that there is none. Rule T-1.
//!
//! **Invariants.** *INV-VDSO-1*: `CLOCK_GETTIME` holds, at every moment, the address of a function of type
//! `ClockGettime`: first `resolve_and_call`, later the vDSO's or `by_syscall`. None of them is ever unmapped.
//! *INV-VDSO-2*: an address taken from `AT_SYSINFO_EHDR` is where the kernel mapped the vDSO; what of it `is_mapped`
//! finds there, or was there when the process began and is asked for then, stays there, read-only, until the process execs
//! or ends.
//! *INV-VDSO-3*: finding the function twice is harmless: threads that race store equally good answers.
//!
//! **Why this shape.** One load and one indirect call, without a branch that asks "found yet?": the pointer starts
//! out at the function that finds. The address comes from the auxiliary vector, for which there are three ways, none
//! of which works everywhere: handed over by `_start`, asked for by `prctl` (6.4), read from `/proc`. Where all
//! fail (no `/proc`, a seccomp filter, `vdso=0`) the system call serves, for good.

use core::mem;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use linux_raw_sys::auxvec::{AT_NULL, AT_SYSINFO_EHDR};
use linux_raw_sys::general::{
    __NR_clock_gettime, __NR_close, __NR_mincore, __NR_openat, __NR_prctl, __NR_read, AT_FDCWD,
    CLOCK_MONOTONIC, O_CLOEXEC, O_RDONLY,
};
use linux_raw_sys::prctl::PR_GET_AUXV;

use crate::errno::Errno;

mod elf;

/// What the kernel calls the function on this machine.
#[cfg(not(target_arch = "aarch64"))]
const SYMBOL: &[u8] = b"__vdso_clock_gettime";
#[cfg(target_arch = "aarch64")]
const SYMBOL: &[u8] = b"__kernel_clock_gettime";

/// The tag of the pair that ends an auxiliary vector.
const END_OF_AUXV: usize = AT_NULL as usize;
/// The tag of the pair that says where the vDSO is.
const VDSO_ADDRESS: usize = AT_SYSINFO_EHDR as usize;

/// The smallest page there is: what is surely mapped where the vDSO starts.
const PAGE_SIZE_MIN: usize = 4096;
/// Room for an auxiliary vector, in words. Kernels give some 20 to 35 pairs.
const AUXV_WORDS: usize = 128;

/// `struct __kernel_timespec`.
#[derive(Default)]
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

impl Timespec {
    #[inline(always)]
    const fn as_nanos(&self) -> u64 {
        (self.seconds as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(self.nanos as u64)
    }
}

/// `clock_gettime(2)`, as the vDSO has it.
type ClockGettime = unsafe extern "C" fn(i32, *mut Timespec) -> i32;

/// INV-VDSO-1.
static CLOCK_GETTIME: AtomicPtr<()> = AtomicPtr::new(resolve_and_call as *mut ());
/// The [`ClockSource`] of what `CLOCK_GETTIME` holds; 0 until it was looked for.
static SOURCE: AtomicU8 = AtomicU8::new(0);

/// How the monotonic clock is read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ClockSource {
    /// The vDSO, found in the auxiliary vector given to [`provide_auxv`].
    VdsoFromStart = 1,
    /// The vDSO, found by `prctl(PR_GET_AUXV)` (Linux 6.4).
    VdsoFromPrctl = 2,
    /// The vDSO, found in `/proc/self/auxv`.
    VdsoFromProc = 3,
    /// A system call for each reading: there is no vDSO, or it can't be found.
    Syscall = 4,
}

/// `CLOCK_MONOTONIC` in nanoseconds (T-1).
///
/// 0 if the clock can't be read at all, which takes a seccomp filter that forbids it.
#[inline(always)]
pub(crate) fn monotonic() -> u64 {
    let mut now = Timespec::default();
    let function = CLOCK_GETTIME.load(Ordering::Relaxed);
    // SAFETY: INV-VDSO-1 for the type; the function writes one timespec, to memory that is ours.
    unsafe {
        let function = mem::transmute::<*mut (), ClockGettime>(function);
        function(CLOCK_MONOTONIC as i32, &raw mut now);
    }
    now.as_nanos()
}

/// `CLOCK_MONOTONIC` in nanoseconds, by the system call.
pub(crate) fn by_call() -> u64 {
    let mut now = Timespec::default();
    // SAFETY: `now` is one timespec, to memory that is ours.
    unsafe { by_syscall(CLOCK_MONOTONIC as i32, &raw mut now) };
    now.as_nanos()
}

/// How the clock is read from now on, for reports.
///
/// Looks for the vDSO if nobody has yet. Source: `vdso(7)`, `getauxval(3)`.
pub fn clock_source() -> ClockSource {
    match SOURCE.load(Ordering::Relaxed) {
        1 => ClockSource::VdsoFromStart,
        2 => ClockSource::VdsoFromPrctl,
        3 => ClockSource::VdsoFromProc,
        4 => ClockSource::Syscall,
        _ => resolve(),
    }
}

/// Hands over the auxiliary vector that a program without libc finds on its stack when it starts.
///
/// `auxv` is the address of the first pair, after the null word that ends the environment. What it says is final: if
/// it names no vDSO, the system call is used. A program that does not call this pays at most four
/// system calls, once.
///
/// # Safety
///
/// `auxv` is the vector that the kernel gave this process, unchanged, ended by a pair whose first word is `AT_NULL`.
///
/// Source: `getauxval(3)`.
pub unsafe fn provide_auxv(auxv: *const usize) {
    let mut pair = auxv;
    // SAFETY: the caller vouches for pairs up to and including the one that ends them.
    let found = unsafe {
        loop {
            match *pair {
                END_OF_AUXV => break None,
                VDSO_ADDRESS => break find_function(*pair.add(1), Trust::Kernel),
                _ => pair = pair.add(2),
            }
        }
    };
    let source = match found {
        Some(_) => ClockSource::VdsoFromStart,
        None => ClockSource::Syscall,
    };
    settle(source, found.unwrap_or(by_syscall as *mut ()));
}

/// The parser by itself, for the fuzz target.
#[cfg(fuzzing)]
pub fn fuzz_find_symbol(image: &[u8]) -> Option<usize> {
    elf::extent(image)?;
    elf::find_symbol(image, SYMBOL)
}

/// What `CLOCK_GETTIME` holds at first: finds the function, then calls it.
#[cold]
unsafe extern "C" fn resolve_and_call(clock: i32, out: *mut Timespec) -> i32 {
    resolve();
    let function = CLOCK_GETTIME.load(Ordering::Relaxed);
    // SAFETY: INV-VDSO-1, and `settle` has replaced this function by another, so this does not recurse. The
    // arguments are the caller's.
    unsafe { mem::transmute::<*mut (), ClockGettime>(function)(clock, out) }
}

/// The system call in the vDSO function's shape.
unsafe extern "C" fn by_syscall(clock: i32, out: *mut Timespec) -> i32 {
    // SAFETY: clock_gettime writes one timespec to `out`, which the caller vouches for.
    unsafe { sc::syscall2(__NR_clock_gettime as usize, clock as usize, out as usize) as i32 }
}

/// Goes down the ladder and stores what it ends at (INV-VDSO-3).
#[cold]
#[inline(never)]
fn resolve() -> ClockSource {
    let (source, function) = descend(&[
        (ClockSource::VdsoFromPrctl, auxv_from_prctl),
        (ClockSource::VdsoFromProc, auxv_from_proc),
    ]);
    settle(source, function)
}

/// Fills a buffer with the auxiliary vector, or with as much of it as fits.
type Rung = fn(&mut [usize; AUXV_WORDS]) -> Result<(), Errno>;

/// The first rung that leads to the function, or the system call.
fn descend(rungs: &[(ClockSource, Rung)]) -> (ClockSource, *mut ()) {
    for &(source, rung) in rungs {
        let mut auxv = [0; AUXV_WORDS];
        if rung(&mut auxv).is_ok()
            && let Some(ehdr) = find_ehdr(&auxv)
            && let Some(function) = find_function(ehdr, Trust::Nobody)
        {
            return (source, function);
        }
    }
    (ClockSource::Syscall, by_syscall as *mut ())
}

/// Stores a function that INV-VDSO-1 allows.
fn settle(source: ClockSource, function: *mut ()) -> ClockSource {
    CLOCK_GETTIME.store(function, Ordering::Relaxed);
    SOURCE.store(source as u8, Ordering::Relaxed);
    source
}

/// The value of `AT_SYSINFO_EHDR` among the pairs before `AT_NULL`.
fn find_ehdr(auxv: &[usize; AUXV_WORDS]) -> Option<usize> {
    let (pairs, _) = auxv.as_chunks::<2>();
    pairs
        .iter()
        .take_while(|pair| pair[0] != END_OF_AUXV)
        .find(|pair| pair[0] == VDSO_ADDRESS)
        .map(|pair| pair[1])
}

/// Whether an address taken from an auxiliary vector is looked at before it is used.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    /// It is the kernel's own word, from the process's start.
    Kernel,
    /// Somebody may have unmapped what it names since.
    Nobody,
}

/// The vDSO whose header the auxiliary vector says is at `ehdr`; `None` if it can't be one.
fn image(ehdr: usize, trust: Trust) -> Option<&'static [u8]> {
    let is_mapped = |len: usize| trust == Trust::Kernel || is_mapped(ehdr, len);
    if ehdr == 0 || !ehdr.is_multiple_of(PAGE_SIZE_MIN) {
        return None;
    }
    let start = core::ptr::with_exposed_provenance::<u8>(ehdr);
    if !is_mapped(PAGE_SIZE_MIN) {
        return None;
    }
    // SAFETY: INV-VDSO-2: a page is mapped there, for good, and nobody writes to it.
    let head = unsafe { slice::from_raw_parts(start, PAGE_SIZE_MIN) };
    let len = elf::extent(head)?;
    if !is_mapped(len) {
        return None;
    }
    // SAFETY: INV-VDSO-2: the same for as much as the program headers say.
    Some(unsafe { slice::from_raw_parts(start, len) })
}

/// Whether the `len` bytes from the page boundary `at` on are mapped; at most [`elf::EXTENT_MAX`] of them.
///
/// Debuggers unmap the vDSO and hide it from `/proc/self/auxv`, but not from `prctl`.
fn is_mapped(at: usize, len: usize) -> bool {
    let mut resident = [0_u8; elf::EXTENT_MAX / PAGE_SIZE_MIN];
    let resident = resident.as_mut_ptr().expose_provenance();
    // SAFETY: the kernel writes one byte for each page of `len`, and there is room for the most that can be.
    let ret = unsafe { sc::syscall3(__NR_mincore as usize, at, len, resident) };
    // Only this error says that something is missing: a seccomp filter has others.
    Errno::result(ret) != Err(Errno::ENOMEM)
}

/// The function in the vDSO at `ehdr`.
#[cold]
#[inline(never)]
fn find_function(ehdr: usize, trust: Trust) -> Option<*mut ()> {
    let image = image(ehdr, trust)?;
    let function = image.get(elf::find_symbol(image, SYMBOL)?)?;
    Some((&raw const *function).cast_mut().cast())
}

/// `prctl(PR_GET_AUXV)`: EINVAL before Linux 6.4, EPERM or ENOSYS from a seccomp filter.
fn auxv_from_prctl(auxv: &mut [usize; AUXV_WORDS]) -> Result<(), Errno> {
    let (at, len) = (auxv.as_mut_ptr().expose_provenance(), size_of_val(auxv));
    // SAFETY: the kernel writes at most `len` bytes to `auxv`, and any bytes are good words.
    let ret = unsafe { sc::syscall5(__NR_prctl as usize, PR_GET_AUXV as usize, at, len, 0, 0) };
    Errno::result(ret).map(drop)
}

/// `/proc/self/auxv`: ENOENT without `/proc`, EACCES in a process that may not be dumped.
fn auxv_from_proc(auxv: &mut [usize; AUXV_WORDS]) -> Result<(), Errno> {
    let (path, flags) = (c"/proc/self/auxv".as_ptr(), O_RDONLY | O_CLOEXEC);
    let (at, len) = (auxv.as_mut_ptr().expose_provenance(), size_of_val(auxv));
    // SAFETY: the path is zero-terminated and only read; the kernel writes at most `len` bytes to `auxv`, and any
    // bytes are good words; the descriptor closed is the one just opened.
    let read = unsafe {
        let directory = AT_FDCWD as usize;
        let path = path.expose_provenance();
        let opened = sc::syscall4(__NR_openat as usize, directory, path, flags as usize, 0);
        let fd = Errno::result(opened)?;
        let read = sc::syscall3(__NR_read as usize, fd, at, len);
        sc::syscall1(__NR_close as usize, fd);
        read
    };
    Errno::result(read).map(drop)
}

#[cfg(test)]
#[cfg(not(miri))] // Every one of these makes system calls; what Miri can run is in `elf`.
mod tests {
    use super::*;

    fn by_raw_syscall() -> u64 {
        let now = by_call();
        assert_ne!(now, 0);
        now
    }

    fn ehdr_from(rung: Rung) -> usize {
        let mut auxv = [0; AUXV_WORDS];
        rung(&mut auxv).unwrap();
        find_ehdr(&auxv).unwrap()
    }

    fn refused(_: &mut [usize; AUXV_WORDS]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// A vector that names a page size, and the vDSO only after its end.
    fn copy_without_vdso(auxv: &mut [usize; AUXV_WORDS]) {
        let hidden = ehdr_from(auxv_from_proc);
        auxv[..6].copy_from_slice(&[6, 4096, END_OF_AUXV, 0, VDSO_ADDRESS, hidden]);
    }

    #[test]
    fn t1_a_reading_lies_between_two_system_calls() {
        let mut last = 0;
        for _ in 0..10_000 {
            let before = by_raw_syscall();
            let now = monotonic();
            let after = by_raw_syscall();
            assert!(before <= now && now <= after, "{before} {now} {after}");
            assert!(last <= now, "{last} {now}");
            last = now;
        }
    }

    #[test]
    fn t1_every_rung_leads_to_the_same_function() {
        // SAFETY: reads what the dynamic linker or libc keeps.
        let expected = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
        assert_eq!(ehdr_from(auxv_from_proc), expected);
        let mut auxv = [0; AUXV_WORDS];
        match auxv_from_prctl(&mut auxv) {
            Ok(()) => assert_eq!(find_ehdr(&auxv), Some(expected)),
            Err(error) => {
                extern crate std;
                let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
                let mut numbers = release
                    .split('.')
                    .map(|part| part.parse::<u32>().unwrap_or(0));
                let version = (numbers.next(), numbers.next());
                assert_eq!(error, Errno::EINVAL);
                assert!(
                    version < (Some(6), Some(4)),
                    "there since 6.4, this is {release}"
                );
            }
        }
        assert!(find_function(expected, Trust::Nobody).is_some());
    }

    #[test]
    fn t1_the_ladder_is_gone_down_to_the_system_call() {
        use ClockSource::{Syscall, VdsoFromPrctl, VdsoFromProc};
        let by_syscall = by_syscall as *mut ();
        let found = find_function(ehdr_from(auxv_from_proc), Trust::Nobody).unwrap();
        let proc_works = (VdsoFromProc, auxv_from_proc as Rung);
        let without_vdso = |auxv: &mut _| {
            copy_without_vdso(auxv);
            Ok(())
        };
        for first in [refused as Rung, without_vdso] {
            let prctl_fails = (VdsoFromPrctl, first);
            assert_eq!(descend(&[prctl_fails, proc_works]), (VdsoFromProc, found));
            assert_eq!(descend(&[prctl_fails]), (Syscall, by_syscall));
        }
    }

    #[test]
    fn t1_an_address_that_can_not_be_an_image_is_not_touched() {
        let found = ehdr_from(auxv_from_proc);
        let unmapped = PAGE_SIZE_MIN; // below mmap_min_addr
        for ehdr in [0, 1, found + 1, found + 64, unmapped] {
            assert!(image(ehdr, Trust::Nobody).is_none());
        }
        assert!(is_mapped(found, PAGE_SIZE_MIN));
        assert!(!is_mapped(unmapped, elf::EXTENT_MAX));
    }

    /// One test, because the pointer is one for the whole process.
    #[test]
    fn t1_the_function_is_found_by_threads_that_race_and_by_what_start_hands_over() {
        extern crate std;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let before = by_raw_syscall();
                    // As if nobody had read the clock: INV-VDSO-3.
                    CLOCK_GETTIME.store(resolve_and_call as *mut (), Ordering::Relaxed);
                    let now = monotonic();
                    assert!(before <= now && now <= by_raw_syscall());
                });
            }
        });
        let mut auxv = [0; AUXV_WORDS];
        auxv_from_proc(&mut auxv).unwrap();
        let found = find_function(find_ehdr(&auxv).unwrap(), Trust::Kernel).unwrap();
        assert_eq!(CLOCK_GETTIME.load(Ordering::Relaxed), found);

        // SAFETY: a copy of the kernel's vector, ended as it was.
        unsafe { provide_auxv(auxv.as_ptr()) };
        assert_eq!(clock_source(), ClockSource::VdsoFromStart);
        assert_eq!(CLOCK_GETTIME.load(Ordering::Relaxed), found);

        copy_without_vdso(&mut auxv);
        // SAFETY: as above, and shorter.
        unsafe { provide_auxv(auxv.as_ptr()) };
        assert_eq!(clock_source(), ClockSource::Syscall);
        let before = by_raw_syscall();
        let now = monotonic();
        assert!(before <= now && now <= by_raw_syscall());

        assert_ne!(resolve(), ClockSource::Syscall);
    }

    #[test]
    fn t1_damaged_copies_of_the_real_image_never_panic() {
        let image = image(ehdr_from(auxv_from_proc), Trust::Nobody).unwrap();
        assert!(elf::find_symbol(image, SYMBOL).is_some());
        elf::tests::damage(image, 20_000);
    }
}
