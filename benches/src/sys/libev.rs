//! libev, through the few functions and layouts that the benchmarks use (libev 4, the layout of a default build).
//!
//! **What.** [`Timers`], [`Watchers`] and [`PingPong`]: safe shells around `ev_timer` and `ev_io`.
//!
//! **Invariants.** INV-BENCH-3, with those of the module above: what libev holds a pointer to is boxed, is reached only
//! through raw pointers, and is freed after the loop that holds it.
//!
//! **Why this shape.** A C library called as a C program would call it; bindings would add a build step for ten names.

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::{Calls, Raw};

const EVBACKEND_EPOLL: c_uint = 4;
const EVRUN_NOWAIT: c_int = 1;
const EVBREAK_ALL: c_int = 2;
const EV_READ: c_int = 1;
const EV_IOFDSET: c_int = 0x80;

#[repr(C)]
struct Loop {
    opaque: [u8; 0],
}

#[repr(C)]
struct Watcher {
    active: c_int,
    pending: c_int,
    priority: c_int,
    data: *mut c_void,
    callback: extern "C" fn(*mut Loop, *mut Watcher, c_int),
}

#[repr(C)]
struct Timer {
    watcher: Watcher,
    at: f64,
    repeat: f64,
}

#[repr(C)]
struct Io {
    watcher: Watcher,
    next: *mut c_void,
    fd: c_int,
    events: c_int,
}

#[link(name = "ev")]
unsafe extern "C" {
    fn ev_loop_new(flags: c_uint) -> *mut Loop;
    fn ev_loop_destroy(raw: *mut Loop);
    fn ev_run(raw: *mut Loop, flags: c_int) -> c_int;
    fn ev_break(raw: *mut Loop, how: c_int);
    fn ev_timer_start(raw: *mut Loop, timer: *mut Timer);
    fn ev_timer_stop(raw: *mut Loop, timer: *mut Timer);
    fn ev_io_start(raw: *mut Loop, io: *mut Io);
    fn ev_io_stop(raw: *mut Loop, io: *mut Io);
}

/// A loop, its watchers, and the state their callbacks share.
struct Owner<W, S> {
    raw: *mut Loop,
    watchers: *mut [W],
    state: *mut S,
}

impl<W, S> Owner<W, S> {
    fn new(state: S, make: impl FnOnce(*mut c_void) -> Vec<W>) -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let raw = unsafe { ev_loop_new(EVBACKEND_EPOLL) };
        if raw.is_null() {
            return Err(io::Error::other("libev makes no loop"));
        }
        let state = Box::into_raw(Box::new(state));
        let watchers = Box::into_raw(make(state.cast()).into_boxed_slice());
        Ok(Self {
            raw,
            watchers,
            state,
        })
    }

    #[inline(always)]
    fn watcher(&self, index: usize) -> *mut W {
        assert!(index < self.watchers.len());
        // SAFETY: INV-BENCH-3, and the index is within the slice.
        unsafe { self.watchers.cast::<W>().add(index) }
    }

    fn run(&self, flags: c_int) {
        // SAFETY: INV-BENCH-3: the loop is live, and so is all that it points to.
        unsafe { ev_run(self.raw, flags) };
    }
}

impl<W, S> Drop for Owner<W, S> {
    fn drop(&mut self) {
        // SAFETY: INV-BENCH-3: the loop goes first; the boxes came from `Box::into_raw` in `new`.
        unsafe {
            ev_loop_destroy(self.raw);
            drop(Box::from_raw(self.watchers));
            drop(Box::from_raw(self.state));
        }
    }
}

fn watcher(data: *mut c_void, callback: extern "C" fn(*mut Loop, *mut Watcher, c_int)) -> Watcher {
    Watcher {
        active: 0,
        pending: 0,
        priority: 0,
        data,
        callback,
    }
}

fn io_watcher(fd: BorrowedFd<'static>, watcher: Watcher) -> Io {
    Io {
        watcher,
        next: ptr::null_mut(),
        fd: fd.as_raw_fd(),
        events: EV_READ | EV_IOFDSET,
    }
}

extern "C" fn count(_: *mut Loop, watcher: *mut Watcher, _: c_int) {
    // SAFETY: INV-BENCH-3: `data` is the owner's counter.
    unsafe { *(*watcher).data.cast::<u64>() += 1 };
}

/// `ev_timer`s, and how many of them have fired.
pub(crate) struct Timers(Owner<Timer, u64>);

impl Timers {
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let timer = |data| Timer {
            watcher: watcher(data, count),
            at: 0.0,
            repeat: 0.0,
        };
        Owner::new(0, |data| (0..size).map(|_| timer(data)).collect()).map(Self)
    }

    /// Starts timer `index`, due in `after_s` seconds; negative is due already.
    #[inline(always)]
    pub(crate) fn start(&mut self, index: usize, after_s: f64) {
        let timer = self.0.watcher(index);
        // SAFETY: INV-BENCH-3.
        unsafe {
            (*timer).at = after_s;
            ev_timer_start(self.0.raw, timer);
        }
    }

    #[inline(always)]
    pub(crate) fn stop(&mut self, index: usize) {
        // SAFETY: INV-BENCH-3.
        unsafe { ev_timer_stop(self.0.raw, self.0.watcher(index)) };
    }

    /// Fires all that are due.
    pub(crate) fn expire(&mut self) {
        self.0.run(EVRUN_NOWAIT);
    }

    /// How many have fired since this was asked last.
    pub(crate) fn take_fired(&mut self) -> u64 {
        // SAFETY: INV-BENCH-3; the loop is not running.
        unsafe { std::mem::take(&mut *self.0.state) }
    }
}

/// `ev_io`s that nothing ever happens to.
pub(crate) struct Watchers(Owner<Io, u64>);

impl Watchers {
    pub(crate) fn new(fds: &[BorrowedFd<'static>]) -> io::Result<Self> {
        let owner = Owner::new(0, |data| {
            let io = |&fd| io_watcher(fd, watcher(data, count));
            fds.iter().map(io).collect()
        })?;
        let mut this = Self(owner);
        (0..fds.len()).for_each(|index| this.start(index));
        this.poll();
        Ok(this)
    }

    #[inline(always)]
    pub(crate) fn start(&mut self, index: usize) {
        // SAFETY: INV-BENCH-3.
        unsafe { ev_io_start(self.0.raw, self.0.watcher(index)) };
    }

    #[inline(always)]
    pub(crate) fn stop(&mut self, index: usize) {
        // SAFETY: INV-BENCH-3.
        unsafe { ev_io_stop(self.0.raw, self.0.watcher(index)) };
    }

    /// One turn that does not wait.
    #[inline(always)]
    pub(crate) fn poll(&mut self) {
        self.0.run(EVRUN_NOWAIT);
    }
}

struct Bounce {
    left: u64,
    failed: bool,
}

/// A byte that goes to and fro: watcher 0 is the near end, watcher 1 the far one, the rest idle.
pub(crate) struct PingPong {
    owner: Owner<Io, Bounce>,
    near: BorrowedFd<'static>,
}

extern "C" fn near(raw: *mut Loop, watcher: *mut Watcher, _: c_int) {
    // SAFETY: INV-BENCH-3: the watcher is an `Io`, its data the owner's `Bounce`, its descriptor `'static`.
    unsafe {
        let bounce = (*watcher).data.cast::<Bounce>();
        let fd = BorrowedFd::borrow_raw((*watcher.cast::<Io>()).fd);
        (*bounce).failed |= Raw::read(fd, &mut [0; 64]) != 1;
        (*bounce).left -= 1;
        if (*bounce).left == 0 || (*bounce).failed {
            ev_break(raw, EVBREAK_ALL);
        } else {
            (*bounce).failed = Raw::write(fd, &[1]) != 1;
        }
    }
}

extern "C" fn far(_: *mut Loop, watcher: *mut Watcher, _: c_int) {
    // SAFETY: INV-BENCH-3, as in `near`.
    unsafe {
        let bounce = (*watcher).data.cast::<Bounce>();
        let fd = BorrowedFd::borrow_raw((*watcher.cast::<Io>()).fd);
        (*bounce).failed |= Raw::read(fd, &mut [0; 64]) != 1 || Raw::write(fd, &[1]) != 1;
    }
}

impl PingPong {
    pub(crate) fn new(
        ends: [BorrowedFd<'static>; 2],
        idle: &[BorrowedFd<'static>],
    ) -> io::Result<Self> {
        let bounce = Bounce {
            left: 0,
            failed: false,
        };
        let owner = Owner::new(bounce, |data| {
            let mut ios = vec![
                io_watcher(ends[0], watcher(data, near)),
                io_watcher(ends[1], watcher(data, far)),
            ];
            ios.extend(idle.iter().map(|&fd| io_watcher(fd, watcher(data, far))));
            ios
        })?;
        for index in 0..owner.watchers.len() {
            // SAFETY: INV-BENCH-3.
            unsafe { ev_io_start(owner.raw, owner.watcher(index)) };
        }
        owner.run(EVRUN_NOWAIT);
        let near = ends[0];
        Ok(Self { owner, near })
    }

    pub(crate) fn run(&mut self, round_trips: u64) -> io::Result<()> {
        // SAFETY: INV-BENCH-3; the loop is not running.
        unsafe { (*self.owner.state).left = round_trips };
        let sent = Raw::write(self.near, &[1]);
        self.owner.run(0);
        // SAFETY: INV-BENCH-3; the loop is not running.
        let failed = unsafe { (*self.owner.state).failed };
        if failed || sent != 1 {
            return Err(io::Error::other("a byte was lost"));
        }
        Ok(())
    }
}
