//! [`Sim`]: a kernel of plain memory with a ring in it, whose every decision is a byte of its script.
//!
//! **What.** It takes submissions out of the ring's memory and posts completions into it: at once, later, short, cancelled,
//! overflowing, lost. With [`Manners::hostile`] it also forges completions and scribbles over the words that are its to write.
//!
//! **Invariants.** *INV-SIM-1*: that much every kernel vouches for, also a hostile one: it touches what an operation points to
//! only until it has posted that operation's last completion, true or forged; bytes that it counts were written; a descriptor,
//! and a provided buffer, is told once; a submission that it says it has taken is never taken again. *INV-SIM-2*: a number it gave is closed once; memory it gave
//! is given back once, with its length.
//!
//! **Why this shape.** The same ring code runs on it as on Linux, under Miri and under a fuzzer too. Pointers in submissions
//! are pointers, so it follows them as Linux would.

#![allow(
    clippy::cast_ptr_alignment,
    reason = "what the program points to is aligned: that is checked by Miri"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::signal::SignalSet;
use linux_event_core::sys::ring::{
    BUFFER_SELECT, BufferGroup, Cqe, HARD_LINK, IoVec, LINK, Message, Probe, ProvidedBuffer,
    ResourceRegister, ResourceUpdate, RingParams, Sqe,
};
use linux_event_core::sys::uapi::EpollEvent;
use linux_event_core::sys::{
    AsRawFd, BorrowedFd, ExitInfo, Fd, Kernel, MaskChange, RawFd, SignalRecord,
};

const PAGE: usize = 4096;
const CQES: u32 = 64;
/// Where the words lie.
const SQ_HEAD: u32 = 0;
const SQ_TAIL: u32 = 4;
const CQ_HEAD: u32 = 8;
const CQ_TAIL: u32 = 12;
const SQ_FLAGS: u32 = 36;

const SETUP_SQPOLL: u32 = 1 << 1;
const SETUP_NO_MMAP: u32 = 1 << 14;
const ENTER_GETEVENTS: u32 = 1;
const SQ_CQ_OVERFLOW: u32 = 2;
const CQE_F_BUFFER: u32 = 1;
const CQE_F_MORE: u32 = 2;
const CQE_F_NOTIF: u32 = 8;
const FEATURES: u32 = 0x3_ffff;
const OFF_SQES: u64 = 0x1000_0000;

/// How a [`Sim`] behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// Forges and scribbles.
    pub(crate) hostile: bool,
    /// Refuses set-up flags beyond these.
    pub(crate) flags: Option<u32>,
    /// Has these features only.
    pub(crate) features: Option<u32>,
    /// Loses completions that have no room, and says so.
    pub(crate) loses: bool,
    /// Tells sizes at set-up that are wrong.
    pub(crate) lies_at_setup: bool,
    /// Polls once only, and cancels by word only: before Linux 5.13.
    pub(crate) old: bool,
    /// Says ECANCELED of each descriptor that it has closed, as the file system had it.
    pub(crate) closes_with_ecanceled: bool,
    /// Cancels the last member of a broken chain first, as Linux 6.0 to 6.2.
    pub(crate) breaks_backwards: bool,
}

#[derive(Debug)]
struct Pending {
    sqe: Sqe,
    /// A zero-copy send whose result was told.
    told: bool,
}

#[derive(Debug)]
struct Ring {
    entries: u32,
    cq_entries: u32,
    rings: NonNull<u8>,
    sqes: NonNull<Sqe>,
    rings_length: usize,
    sqes_length: usize,
    own: bool,
    sq_head: u32,
    cq_tail: u32,
    overflow: VecDeque<Cqe>,
    lost: bool,
    pending: Vec<Pending>,
    groups: BTreeMap<u16, (BufferGroup, u16)>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<u8>,
    next_fd: RawFd,
    open: BTreeMap<RawFd, &'static str>,
    memory: BTreeMap<usize, (NonNull<u8>, usize)>,
    ring: Option<Ring>,
    ring_fd: RawFd,
    registered_buffers: bool,
    now: u64,
    /// Words that a forged last completion was posted for.
    disowned: BTreeSet<u64>,
    /// The rest of a broken chain, to be told of backwards.
    broken: Vec<u64>,
}

#[derive(Debug)]
struct World {
    state: RefCell<State>,
    epoch: Cell<u64>,
}

/// A kernel of plain memory. See the [module](self).
///
/// It is a reference: what a ring leaks on purpose holds no part of it, and [`end`](Self::end) frees everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sim {
    world: &'static World,
    manners: Manners,
}

impl Sim {
    pub(crate) fn new(script: &[u8], manners: Manners) -> Self {
        let state = State {
            script: script.iter().copied().collect(),
            next_fd: 1 << 30, // no process has these
            ..State::default()
        };
        let world = Box::leak(Box::new(World {
            state: RefCell::new(state),
            epoch: Cell::new(1),
        }));
        Self { world, manners }
    }

    /// From here on this is a forked child.
    pub(crate) fn fork(&self) {
        self.world.epoch.set(2);
    }

    /// What is still open and still mapped.
    pub(crate) fn leftovers(&self) -> (usize, usize) {
        let state = self.world.state.borrow();
        (state.open.len(), state.memory.len())
    }

    fn open(&self, what: &'static str) -> Fd<Self> {
        let number = self.world.state.borrow_mut().open(what);
        // SAFETY: INV-SIM-2: the number is fresh.
        unsafe { Fd::from_raw(*self, number) }
    }

    /// Ends the kernel, and frees what a ring leaked on purpose.
    ///
    /// # Safety
    /// Everything that used this kernel is dropped, or leaked for good.
    pub(crate) unsafe fn end(self) {
        let memory = std::mem::take(&mut self.world.state.borrow_mut().memory);
        for (start, length) in memory.into_values() {
            // SAFETY: INV-SIM-2: given out and not given back, and nobody uses it any more.
            unsafe { dealloc(start.as_ptr(), layout(length)) };
        }
        // SAFETY: it was leaked in `new`, and nobody uses it any more.
        drop(unsafe { Box::from_raw(ptr::from_ref(self.world).cast_mut()) });
    }
}

fn layout(length: usize) -> Layout {
    Layout::from_size_align(length.next_multiple_of(PAGE).max(PAGE), PAGE).expect("a layout")
}

impl State {
    /// The next byte of the script; 0 when it is over.
    fn decide(&mut self) -> u8 {
        self.script.pop_front().unwrap_or(0)
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.decide(), self.decide(), self.decide(), self.decide()])
    }

    fn open(&mut self, what: &'static str) -> RawFd {
        self.next_fd += 1;
        self.open.insert(self.next_fd, what);
        self.next_fd
    }

    fn map(&mut self, length: usize) -> NonNull<u8> {
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout(length)) }).expect("memory");
        self.memory.insert(start.as_ptr().addr(), (start, length));
        start
    }

    /// Takes submissions; returns how many.
    fn consume(&mut self, to_submit: u32, manners: Manners) -> u32 {
        let Some(ring) = &self.ring else { return 0 };
        // SAFETY: the words lie in the ring's memory, aligned.
        let tail = unsafe { word_at(ring.rings, SQ_TAIL) }.load(Ordering::Acquire);
        let queued = tail
            .wrapping_sub(ring.sq_head)
            .min(to_submit)
            .min(ring.entries);
        let mut taken = 0;
        // One decision in eight cuts the submission short.
        let limit = match self.decide() {
            short @ 224.. => u32::from(short - 224),
            _ => u32::MAX,
        };
        let mut broken = false;
        while taken < queued && taken < limit {
            let Some(ring) = &mut self.ring else { break };
            let index = ring.sq_head & (ring.entries - 1);
            // SAFETY: inside the array; the program wrote it before it published the tail.
            let sqe = unsafe { ring.sqes.add(index as usize).read() };
            ring.sq_head = ring.sq_head.wrapping_add(1);
            taken += 1;
            // A chain ends with what it was cut by: within a submission only.
            broken = self.execute(sqe, broken, manners);
        }
        for word in std::mem::take(&mut self.broken) {
            self.post(word, -Errno::ECANCELED.raw(), 0);
        }
        if let Some(ring) = &self.ring {
            // SAFETY: as above.
            unsafe { word_at(ring.rings, SQ_HEAD) }.store(ring.sq_head, Ordering::Release);
        }
        taken
    }

    /// Begins an operation; whether the chain it is in is broken.
    fn execute(&mut self, sqe: Sqe, broken: bool, manners: Manners) -> bool {
        let linked = sqe.flags & (LINK | HARD_LINK) != 0;
        if self.disowned.remove(&sqe.user_data) {
            return broken && linked; // INV-SIM-1
        }
        if broken {
            self.broken.push(sqe.user_data);
            if !linked {
                if manners.breaks_backwards {
                    self.broken.reverse();
                }
                for word in std::mem::take(&mut self.broken) {
                    self.post(word, -Errno::ECANCELED.raw(), 0);
                }
            }
            return linked;
        }
        let now = self.decide();
        match sqe.opcode {
            6 if manners.old && sqe.length != 0 => self.post_last(&sqe, -Errno::EINVAL.raw()),
            14 if manners.old && sqe.op_flags != 0 => self.post_last(&sqe, -Errno::EINVAL.raw()),
            // ASYNC_CANCEL
            14 => self.cancel(&sqe),
            // LINK_TIMEOUT: it never comes to it.
            15 => self.post(sqe.user_data, -Errno::ECANCELED.raw(), 0),
            _ if now.is_multiple_of(4) => {
                if let Some(ring) = &mut self.ring {
                    ring.pending.push(Pending { sqe, told: false });
                }
            }
            _ if now % 16 == 1 => {
                self.post_last(&sqe, -Errno::EIO.raw());
                return linked && sqe.flags & HARD_LINK == 0;
            }
            _ => self.finish(Pending { sqe, told: false }, manners),
        }
        false
    }

    fn cancel(&mut self, sqe: &Sqe) {
        // From 240 on nothing is found, from 248 on it is found and can only be told.
        let mood = self.decide();
        let (mut found, mut told) = (0, 0);
        let mut nth = 0;
        while let Some(ring) = &mut self.ring
            && nth < ring.pending.len()
        {
            let other = &ring.pending[nth].sqe;
            let meant = other.user_data == sqe.address.addr() as u64;
            if !meant || mood >= 240 {
                told += u32::from(meant && mood >= 248);
                nth += 1;
                continue;
            }
            let pending = ring.pending.remove(nth);
            found += 1;
            if pending.told {
                self.post(pending.sqe.user_data, 0, CQE_F_NOTIF);
            } else {
                self.post_last(&pending.sqe, -Errno::ECANCELED.raw());
            }
        }
        let answer = match (found, told) {
            (0, 0) => -Errno::ENOENT.raw(),
            (0, _) => -Errno::EALREADY.raw(),
            _ => 0,
        };
        self.post(sqe.user_data, answer, 0);
    }

    /// Posts the last completion of an operation that comes to nothing.
    fn post_last(&mut self, sqe: &Sqe, result: i32) {
        self.post(sqe.user_data, result, 0);
    }

    /// Performs an operation, or a step of it.
    fn finish(&mut self, mut pending: Pending, manners: Manners) {
        let hostile = manners.hostile;
        let sqe = pending.sqe;
        let amount = self.decide();
        let byte = self.decide();
        let multi = match sqe.opcode {
            27 => sqe.io_flags & 2 != 0,
            13 => sqe.io_flags & 1 != 0,
            6 => sqe.length & 1 != 0,
            _ => false,
        };
        let share = |length: u32| length.min(u32::from(amount) * 3);
        let (result, mut flags) = match sqe.opcode {
            // READ, RECV
            22 | 27 if sqe.flags & BUFFER_SELECT == 0 => {
                let lies = hostile && byte > 200;
                let count = if lies { sqe.length } else { share(sqe.length) };
                // SAFETY: INV-SIM-1: the program lent `length` bytes there.
                unsafe { sqe.address.cast::<u8>().write_bytes(byte, count as usize) };
                (if lies { i32::MAX } else { count as i32 }, 0)
            }
            // RECV with provided buffers
            27 => self.provide(sqe.buffer, amount, byte),
            // READV
            1 => {
                // SAFETY: as above, for `length` vectors.
                let count = unsafe { fill(sqe.address.cast(), sqe.length as usize, amount, byte) };
                (count as i32, 0)
            }
            // RECVMSG
            10 => {
                // SAFETY: as above, for the message and what it names.
                let count = unsafe {
                    let message = sqe.address.cast::<Message>();
                    if !(*message).name.is_null() {
                        let v4 = [2, 0, 0, 80, 127, 0, 0, byte];
                        (*message)
                            .name
                            .copy_from_nonoverlapping(v4.as_ptr(), v4.len());
                        (*message).name_length = 16;
                    }
                    fill((*message).vectors, (*message).vectors_count, amount, byte)
                };
                (count as i32, 0)
            }
            // WRITE, SEND, SEND_ZC
            23 | 26 | 47 => {
                let count = share(sqe.length);
                // SAFETY: as above: it may be read.
                let sum = (0..count as usize)
                    .map(|at| u32::from(unsafe { sqe.address.cast::<u8>().add(at).read() }))
                    .sum::<u32>();
                std::hint::black_box(sum);
                (count as i32, 0)
            }
            // ACCEPT, SOCKET, OPENAT
            13 | 45 | 18 => {
                if sqe.opcode == 13 && !sqe.address.is_null() {
                    let v4 = [2, 0, 0, 80, 127, 0, 0, byte];
                    // SAFETY: as above: room for an address, and its length.
                    unsafe {
                        sqe.address
                            .cast::<u8>()
                            .copy_from_nonoverlapping(v4.as_ptr(), v4.len());
                        sqe.offset.cast::<u32>().write(16);
                    }
                }
                (self.open("made"), 0)
            }
            // STATX, WAITID
            21 | 50 => {
                let bytes = if sqe.opcode == 21 { 256 } else { 128 };
                // SAFETY: as above: room for an answer.
                unsafe { sqe.offset.cast::<u8>().write_bytes(byte, bytes) };
                (0, 0)
            }
            // CLOSE
            19 => {
                if sqe.file_index == 0 {
                    // As in `Kernel::close` below.
                    let told_twice = hostile && sqe.fd <= self.next_fd;
                    let was = self.open.remove(&sqe.fd);
                    assert!(was.is_some() || told_twice, "{} is not open", sqe.fd);
                }
                let says_so = manners.closes_with_ecanceled && sqe.file_index == 0;
                (if says_so { -Errno::ECANCELED.raw() } else { 0 }, 0)
            }
            6 => (1, 0),
            _ => (0, 0),
        };
        if sqe.opcode == 47 && amount.is_multiple_of(2) {
            self.post(sqe.user_data, result, CQE_F_MORE);
            pending.told = true;
            if let Some(ring) = &mut self.ring {
                ring.pending.push(pending);
            }
            return;
        }
        let goes_on = multi && result >= 0 && amount < 200 && !(sqe.opcode == 27 && result == 0);
        if goes_on {
            flags |= CQE_F_MORE;
            if let Some(ring) = &mut self.ring {
                ring.pending.push(pending);
            }
        }
        self.post(sqe.user_data, result, flags);
    }

    /// Fills a provided buffer; the result and the flags.
    fn provide(&mut self, id: u16, amount: u8, byte: u8) -> (i32, u32) {
        let Some((group, head)) = self.ring.as_mut().and_then(|ring| ring.groups.get_mut(&id))
        else {
            return (-Errno::ENOBUFS.raw(), 0);
        };
        // SAFETY: INV-SIM-1: the group's ring, until it is unregistered.
        let tail = unsafe {
            group
                .ring
                .add(offset_of!(ProvidedBuffer, tail))
                .cast::<AtomicU16>()
                .as_ref()
        }
        .expect("not null")
        .load(Ordering::Acquire);
        if tail == *head {
            return (-Errno::ENOBUFS.raw(), 0);
        }
        let index = usize::from(*head) & (group.entries as usize - 1);
        *head = head.wrapping_add(1);
        // SAFETY: as above: inside the ring, and the buffer is the kernel's now.
        let (buffer, count) = unsafe {
            let entry = group.ring.cast::<ProvidedBuffer>().add(index);
            let buffer = (
                (&raw const (*entry).start).read(),
                (&raw const (*entry).id).read(),
            );
            let count = (&raw const (*entry).length)
                .read()
                .min(u32::from(amount))
                .max(1);
            buffer.0.write_bytes(byte, count as usize);
            (buffer, count)
        };
        (count as i32, CQE_F_BUFFER | u32::from(buffer.1) << 16)
    }

    fn post(&mut self, user_data: u64, result: i32, flags: u32) {
        let cqe = Cqe {
            user_data,
            result,
            flags,
        };
        let Some(ring) = &mut self.ring else { return };
        if !ring.overflow.is_empty() || !ring.try_post(cqe) {
            ring.overflow.push_back(cqe);
        }
    }

    /// Hands out what had no room.
    fn flush_overflow(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        while let Some(&cqe) = ring.overflow.front()
            && ring.try_post(cqe)
        {
            ring.overflow.pop_front();
        }
    }

    /// Goes on with what is pending.
    fn progress(&mut self, manners: Manners) {
        for _ in 0..self.decide() % 4 {
            let choice = usize::from(self.decide());
            let Some(ring) = &mut self.ring else { return };
            if ring.pending.is_empty() {
                return;
            }
            let nth = choice % ring.pending.len();
            let pending = ring.pending.remove(nth);
            if pending.told {
                self.post(pending.sqe.user_data, 0, CQE_F_NOTIF);
            } else {
                self.finish(pending, manners);
            }
        }
    }

    /// What a hostile kernel does beside its work: INV-SIM-1 holds all the same.
    fn misbehave(&mut self) {
        let (choice, word) = (self.decide(), self.word());
        let Some(ring) = &mut self.ring else { return };
        let start = ring.rings;
        // SAFETY: the words lie in the ring's memory, aligned.
        let store =
            |offset, value| unsafe { word_at(start, offset) }.store(value, Ordering::Release);
        match choice % 12 {
            // From here on its completions are elsewhere; in between there is garbage.
            0 => {
                ring.cq_tail = word;
                store(CQ_TAIL, word);
            }
            1 => {
                ring.cq_tail = ring.cq_tail.wrapping_sub(word % 8);
                store(CQ_TAIL, ring.cq_tail);
            }
            2 => store(SQ_FLAGS, word),
            3 => store(CQ_HEAD, word),
            4 => {
                // SAFETY: as above.
                let tail = unsafe { word_at(start, SQ_TAIL) }.load(Ordering::Acquire);
                let ahead = ring.sq_head.wrapping_add(word % 4);
                let head = if word.is_multiple_of(2) { ahead } else { word };
                if head.wrapping_sub(ring.sq_head) <= tail.wrapping_sub(ring.sq_head) {
                    ring.sq_head = head; // taken, and never heard of again
                }
                store(SQ_HEAD, head);
            }
            5 => store(16 + 4 * (word % 8), word),
            6 | 7 => self.forge(word),
            // Of nobody's.
            8 => self.post(
                u64::from(word) << 24 | 9 << 20 | u64::from(word >> 12),
                word as i32,
                word,
            ),
            _ => {}
        }
    }

    /// Posts a completion of an operation that there may be. If it is the last, the kernel is done with the operation.
    fn forge(&mut self, word: u32) {
        const OPERATION: u64 = 3 << 20;
        let token = u64::from(word % 16) | OPERATION | u64::from(word >> 26) << 24;
        let more = word & 16 != 0;
        let Some(ring) = &mut self.ring else { return };
        if !more {
            ring.pending
                .retain(|pending| pending.sqe.user_data != token);
            for cqe in &mut ring.overflow {
                cqe.user_data = if cqe.user_data == token {
                    0
                } else {
                    cqe.user_data
                };
            }
            self.disowned.insert(token);
        }
        let flags = if more { CQE_F_MORE } else { 0 } | word & CQE_F_NOTIF;
        let errno = 1 + (word >> 8 & 0x7f) as i32;
        self.post(token, -errno, flags);
    }

    /// Overwrites every completion that the program has read already: it must not be told a second time.
    fn forget_read(&mut self) {
        let Some(ring) = &self.ring else { return };
        // SAFETY: the words and the completions lie in the ring's memory, aligned.
        unsafe {
            let head = word_at(ring.rings, CQ_HEAD).load(Ordering::Acquire);
            let unread = ring.cq_tail.wrapping_sub(head);
            for nth in 0..ring.cq_entries {
                if unread <= ring.cq_entries && nth < unread {
                    continue;
                }
                let index = head.wrapping_add(nth) & (ring.cq_entries - 1);
                let garbage = Cqe {
                    user_data: 9 << 20 | u64::from(nth),
                    result: i32::MIN,
                    flags: u32::MAX,
                };
                ring.rings
                    .add(CQES as usize)
                    .cast::<Cqe>()
                    .add(index as usize)
                    .write(garbage);
            }
        }
    }
}

impl Ring {
    fn try_post(&mut self, cqe: Cqe) -> bool {
        // SAFETY: the words and the completions lie in the ring's memory, aligned.
        unsafe {
            let head = word_at(self.rings, CQ_HEAD).load(Ordering::Acquire);
            let used = self.cq_tail.wrapping_sub(head);
            if used >= self.cq_entries {
                return false;
            }
            let index = self.cq_tail & (self.cq_entries - 1);
            self.rings
                .add(CQES as usize)
                .cast::<Cqe>()
                .add(index as usize)
                .write(cqe);
            self.cq_tail = self.cq_tail.wrapping_add(1);
            word_at(self.rings, CQ_TAIL).store(self.cq_tail, Ordering::Release);
        }
        true
    }
}

/// # Safety
/// A word lies there, for as long as the result is used.
unsafe fn word_at<'a>(rings: NonNull<u8>, offset: u32) -> &'a AtomicU32 {
    // SAFETY: the caller vouches for it.
    unsafe { rings.add(offset as usize).cast().as_ref() }
}

/// Fills vectors in order.
///
/// # Safety
/// The vectors, and what they name, are there and the kernel's.
unsafe fn fill(vectors: *const IoVec, count: usize, amount: u8, byte: u8) -> usize {
    let mut left = usize::from(amount);
    for nth in 0..count {
        // SAFETY: the caller vouches for it.
        unsafe {
            let vector = vectors.add(nth).read();
            let part = vector.length.min(left);
            vector.start.write_bytes(byte, part);
            left -= part;
        }
    }
    usize::from(amount) - left
}

// SAFETY: memory is fresh and zeroed, numbers are fresh; INV-SIM-1 and INV-SIM-2.
unsafe impl Kernel for Sim {
    unsafe fn close(&self, fd: RawFd) {
        let mut state = self.world.state.borrow_mut();
        let was = state.open.remove(&fd);
        // Memory that moves back and forth tells of a descriptor twice, and whoever believes it closes it twice.
        let told_twice = self.manners.hostile && fd <= state.next_fd;
        assert!(was.is_some() || told_twice, "{fd} is not open");
        if was == Some("ring") && self.world.epoch.get() == 1 {
            state.ring = None;
        }
    }

    fn read(&self, _: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        buffer.fill(0);
        Ok(buffer.len())
    }

    fn write(&self, _: BorrowedFd<'_>, buffer: &[u8]) -> Result<usize, Errno> {
        Ok(buffer.len())
    }

    fn epoll_create(&self) -> Result<Fd<Self>, Errno> {
        Err(Errno::ENOSYS)
    }

    fn epoll_ctl(&self, _: BorrowedFd<'_>, _: u32, _: RawFd, _: EpollEvent) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    fn epoll_wait(&self, _: BorrowedFd<'_>, _: &mut [EpollEvent], _: i32) -> Result<usize, Errno> {
        Err(Errno::ENOSYS)
    }

    fn epoll_pwait2(
        &self,
        _: BorrowedFd<'_>,
        _: &mut [EpollEvent],
        _: u64,
    ) -> Result<usize, Errno> {
        Err(Errno::ENOSYS)
    }

    fn timerfd_create(&self) -> Result<Fd<Self>, Errno> {
        Ok(self.open("timerfd"))
    }

    fn timerfd_settime(&self, _: BorrowedFd<'_>, _: Option<Instant>, _: u64) -> Result<(), Errno> {
        Ok(())
    }

    fn eventfd(&self) -> Result<Fd<Self>, Errno> {
        Ok(self.open("eventfd"))
    }

    fn signalfd(&self, _: SignalSet) -> Result<Fd<Self>, Errno> {
        Ok(self.open("signalfd"))
    }

    fn signalfd_change(&self, _: BorrowedFd<'_>, _: SignalSet) -> Result<(), Errno> {
        Ok(())
    }

    fn signalfd_read(&self, _: BorrowedFd<'_>, _: &mut [SignalRecord]) -> Result<usize, Errno> {
        Err(Errno::EAGAIN)
    }

    fn signal_mask(&self, _: MaskChange, _: SignalSet) -> Result<SignalSet, Errno> {
        Ok(SignalSet::EMPTY)
    }

    fn pidfd_open(&self, _: i32) -> Result<Fd<Self>, Errno> {
        Ok(self.open("pidfd"))
    }

    fn pidfd_send_signal(&self, _: BorrowedFd<'_>, _: i32) -> Result<(), Errno> {
        Ok(())
    }

    fn waitid(&self, _: BorrowedFd<'_>, _: bool) -> Result<Option<ExitInfo>, Errno> {
        Ok(None)
    }

    fn pidfd_exit_status(&self, _: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
        Ok(None)
    }

    unsafe fn io_uring_setup(
        &self,
        entries: u32,
        params: &mut RingParams,
    ) -> Result<Fd<Self>, Errno> {
        let known = self.manners.flags.unwrap_or(!SETUP_SQPOLL);
        if params.flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        let (entries, cq_entries) = (
            entries.next_power_of_two(),
            params.cq_entries.next_power_of_two(),
        );
        let array = CQES + 16 * cq_entries;
        let rings_length = (array + 4 * entries) as usize;
        let sqes_length = entries as usize * size_of::<Sqe>();
        let own = params.flags & SETUP_NO_MMAP != 0;
        let mut state = self.world.state.borrow_mut();
        assert!(state.ring.is_none(), "one ring at a time");
        let (rings, sqes) = if own {
            (
                NonNull::new(params.cq.memory).ok_or(Errno::EFAULT)?,
                NonNull::new(params.sq.memory).ok_or(Errno::EFAULT)?,
            )
        } else {
            // Its own: what is mapped is this.
            (state.map(rings_length), state.map(sqes_length))
        };
        params.sq_entries = entries;
        params.cq_entries = cq_entries;
        params.features = self.manners.features.unwrap_or(FEATURES);
        params.sq.head = SQ_HEAD;
        params.sq.tail = SQ_TAIL;
        params.sq.flags = SQ_FLAGS;
        params.sq.array = array;
        params.cq.head = CQ_HEAD;
        params.cq.tail = CQ_TAIL;
        params.cq.cqes = CQES;
        if self.manners.lies_at_setup {
            let word = state.word();
            match state.decide() % 8 {
                0 => params.sq_entries = word,
                1 => params.cq_entries = word,
                2 => params.cq.cqes = word,
                3 => params.sq.head = word,
                4 => params.cq.tail = word,
                5 => params.sq.array = word,
                6 => params.sq_entries = 0,
                _ => params.sq.flags = word,
            }
        }
        state.ring_fd = state.open("ring");
        state.ring = Some(Ring {
            entries,
            cq_entries,
            rings,
            sqes: sqes.cast(),
            rings_length,
            sqes_length,
            own,
            sq_head: 0,
            cq_tail: 0,
            overflow: VecDeque::new(),
            lost: false,
            pending: Vec::new(),
            groups: BTreeMap::new(),
        });
        // SAFETY: INV-SIM-2: the number is fresh.
        Ok(unsafe { Fd::from_raw(*self, state.ring_fd) })
    }

    unsafe fn io_uring_enter(
        &self,
        _ring: u32,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        timeout_ns: Option<u64>,
    ) -> Result<u32, Errno> {
        let mut state = self.world.state.borrow_mut();
        let state = &mut *state;
        state.now += 1000;
        let hostile = self.manners.hostile;
        if hostile {
            state.forget_read();
        }
        match state.decide() {
            200 => return Err(Errno::EINTR),
            201 => return Err(Errno::EAGAIN),
            202 => return Err(Errno::EBUSY),
            203 if hostile => return Err(Errno::EIO),
            _ => {}
        }
        let taken = state.consume(to_submit, self.manners);
        if taken < to_submit && taken > 0 {
            return Ok(taken);
        }
        if flags & ENTER_GETEVENTS != 0 {
            state.flush_overflow();
            state.progress(self.manners);
        }
        if hostile {
            state.misbehave();
        }
        let Some(ring) = &mut state.ring else {
            return Err(Errno::EBADF);
        };
        if self.manners.loses && ring.overflow.len() > 2 {
            ring.overflow.clear();
            ring.lost = true;
        }
        if !hostile {
            let flag = if ring.overflow.is_empty() {
                0
            } else {
                SQ_CQ_OVERFLOW
            };
            // SAFETY: the word lies in the ring's memory.
            unsafe { word_at(ring.rings, SQ_FLAGS) }.store(flag, Ordering::Release);
        }
        if std::mem::take(&mut ring.lost) {
            return Err(Errno::EBADR);
        }
        // SAFETY: the word lies in the ring's memory.
        let head = unsafe { word_at(ring.rings, CQ_HEAD) }.load(Ordering::Acquire);
        if ring.cq_tail.wrapping_sub(head) < min_complete {
            // Nothing ever blocks here: time passes instead.
            state.now += timeout_ns.unwrap_or(1_000_000).min(1 << 40);
            return Err(Errno::ETIME);
        }
        Ok(taken)
    }

    unsafe fn io_uring_register(
        &self,
        ring: BorrowedFd<'_>,
        opcode: u32,
        argument: *mut (),
        count: u32,
    ) -> Result<u32, Errno> {
        let mut state = self.world.state.borrow_mut();
        let state = &mut *state;
        assert_eq!(ring.as_raw_fd(), state.ring_fd);
        if state.decide() == 99 {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the caller vouches for the argument: it is what the opcode expects.
        unsafe {
            match opcode {
                // PROBE
                8 => {
                    let probe = argument.cast::<Probe>();
                    for (nth, op) in (*probe).ops.iter_mut().take(count as usize).enumerate() {
                        (op.op, op.flags) = (nth as u8, 1);
                    }
                    (*probe).ops_len = count.min(63) as u8;
                    Ok(0)
                }
                // RING_FDS
                20 => {
                    (*argument.cast::<ResourceUpdate>()).offset = 7;
                    Ok(1)
                }
                21 => Ok(1),
                // FILES2
                13 => {
                    assert_eq!(count as usize, size_of::<ResourceRegister>());
                    Ok(0)
                }
                // FILES
                2 => {
                    let numbers =
                        std::slice::from_raw_parts(argument.cast::<RawFd>(), count as usize);
                    assert!(numbers.iter().all(|&number| number == -1));
                    Ok(0)
                }
                // FILES_UPDATE
                6 => {
                    let update = argument.cast::<ResourceUpdate>().read();
                    let _number = update.data.cast::<RawFd>().read();
                    Ok(1)
                }
                // BUFFERS
                0 => {
                    for nth in 0..count as usize {
                        let vector = argument.cast::<IoVec>().add(nth).read();
                        vector.start.write_bytes(7, vector.length.min(3));
                    }
                    state.registered_buffers = true;
                    Ok(0)
                }
                1 => {
                    state.registered_buffers = false;
                    Ok(0)
                }
                // PBUF_RING
                22 => {
                    let group = argument.cast::<BufferGroup>().read();
                    let ring = state.ring.as_mut().ok_or(Errno::EBADF)?;
                    ring.groups.insert(group.id, (group, 0));
                    Ok(0)
                }
                23 => {
                    let group = argument.cast::<BufferGroup>().read();
                    let ring = state.ring.as_mut().ok_or(Errno::EBADF)?;
                    ring.groups
                        .remove(&group.id)
                        .map(|_| 0)
                        .ok_or(Errno::ENOENT)
                }
                _ => Err(Errno::EINVAL),
            }
        }
    }

    fn map_ring(
        &self,
        _: BorrowedFd<'_>,
        offset: u64,
        length: usize,
    ) -> Result<NonNull<u8>, Errno> {
        let state = self.world.state.borrow();
        let ring = state.ring.as_ref().ok_or(Errno::EBADF)?;
        assert!(!ring.own);
        let (start, most) = if offset == OFF_SQES {
            (ring.sqes.cast(), ring.sqes_length)
        } else {
            (ring.rings, ring.rings_length)
        };
        if length == 0 || length > most {
            return Err(Errno::EINVAL);
        }
        Ok(start)
    }

    fn map_anonymous(&self, length: usize) -> Result<NonNull<u8>, Errno> {
        let mut state = self.world.state.borrow_mut();
        if length == 0 || length > 1 << 24 || state.decide() == 98 {
            return Err(Errno::ENOMEM);
        }
        Ok(state.map(length))
    }

    unsafe fn unmap(&self, start: NonNull<u8>, length: usize) {
        let mut state = self.world.state.borrow_mut();
        let Some((start, mapped)) = state.memory.remove(&start.as_ptr().addr()) else {
            panic!("{start:?} is not mapped");
        };
        assert!(length <= mapped, "as long as it was");
        assert_eq!(self.world.epoch.get(), 1, "a forked child unmaps nothing");
        // SAFETY: INV-SIM-2: it was given out with this layout, and nobody uses it any more.
        unsafe { dealloc(start.as_ptr(), layout(mapped)) };
    }

    unsafe fn dont_fork(&self, _: NonNull<u8>, _: usize) {}

    fn lockable_memory(&self) -> Option<u64> {
        Some(65_536)
    }

    fn is_io_uring_disabled(&self) -> bool {
        false
    }

    fn monotonic(&self) -> Instant {
        let mut state = self.world.state.borrow_mut();
        state.now += 1;
        Instant::from_nanos(state.now)
    }

    fn process_epoch(&self) -> u64 {
        self.world.epoch.get()
    }
}
