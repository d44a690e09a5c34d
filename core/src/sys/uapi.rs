//! What linux-raw-sys lacks or packs awkwardly, with its layout asserted.
//!
//! **What.** Constants and structures of the kernel's interface, from `include/uapi/linux/{eventpoll,signalfd,
//! pidfd,socket}.h`.
//!
//! **Invariants.** *INV-UAPI-1*: each structure has the size and the offsets of the kernel's, checked below at
//! compile time on every architecture.
//!
//! **Why this shape.** The types of linux-raw-sys change with its versions; none of them is in this crate's public
//! interface.

#![forbid(unsafe_code)]

use core::fmt;

use linux_raw_sys::general as linux;

/// One entry of an epoll batch: `struct epoll_event`, packed on `x86_64` only.
#[derive(Clone, Copy, Default)]
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
pub struct EpollEvent {
    events: u32,
    data: u64,
}

impl EpollEvent {
    /// An entry of zeroes.
    pub const EMPTY: Self = Self { events: 0, data: 0 };

    /// An entry with the `EPOLL*` bits `events` and the word `data`.
    #[inline(always)]
    pub const fn new(events: u32, data: u64) -> Self {
        Self { events, data }
    }

    /// The `EPOLL*` bits.
    #[inline(always)]
    pub const fn events(self) -> u32 {
        self.events
    }

    /// The word given at registration.
    #[inline(always)]
    pub const fn data(self) -> u64 {
        self.data
    }
}

impl fmt::Debug for EpollEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpollEvent")
            .field("events", &format_args!("{:#x}", self.events()))
            .field("data", &format_args!("{:#x}", self.data()))
            .finish()
    }
}

const _: () = assert!(size_of::<EpollEvent>() == size_of::<linux::epoll_event>());
const _: () = assert!(
    core::mem::offset_of!(EpollEvent, data) == core::mem::offset_of!(linux::epoll_event, data)
);

/// `SFD_CLOEXEC | SFD_NONBLOCK`: signalfd's flags are the open flags.
pub(crate) const SFD_FLAGS: u32 = linux::O_CLOEXEC | linux::O_NONBLOCK;
/// `SOCK_NONBLOCK | SOCK_CLOEXEC`: likewise.
pub(crate) const SOCK_FLAGS: u32 = linux::O_NONBLOCK | linux::O_CLOEXEC;
/// `SOCK_STREAM`, the same on the three architectures served here.
pub(crate) const SOCK_STREAM: u32 = 1;
/// `SOCK_DGRAM`.
pub(crate) const SOCK_DGRAM: u32 = 2;

/// `struct pidfd_info` as of Linux 6.15: 64 bytes, of which the first field is a mask of what is asked and given.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct PidfdInfo {
    pub(crate) mask: u64,
    pub(crate) cgroup_id: u64,
    pub(crate) ids: [u32; 11],
    pub(crate) exit_code: i32,
}

/// `PIDFD_INFO_EXIT`.
pub(crate) const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)` for the 64-byte structure.
pub(crate) const PIDFD_GET_INFO: u32 = (3 << 30) | (64 << 16) | (0xFF << 8) | 0x0B;

const _: () = assert!(size_of::<PidfdInfo>() == 64);
const _: () = assert!(core::mem::offset_of!(PidfdInfo, exit_code) == 60);
const _: () = assert!(size_of::<super::SignalRecord>() == 128);
