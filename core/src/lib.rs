//! The core of linux-event: a Linux event loop without `std`, without allocation and without libc.
//!
//! A walk through the layers, from the top. A user of the values API needs [`reactor`], and [`sys`] for descriptors;
//! whoever wants closures takes the crate `linux-event`, which is built on this one.
//!
//! 1. [`reactor`]: readiness. A [`Reactor`](reactor::Reactor) watches descriptors, keeps timers, takes signals, wakes
//!    and exits, and yields all of it as [`Event`](reactor::Event) values. Policy lives here, and no system call.
//! 2. [`reactor::Backend`]: the contract with what tells of readiness. [`reactor::Epoll`] is the kernel's; the crate
//!    `linux-event` has a fake with virtual time.
//! 3. [`table`], [`timer`], [`handle`], [`mailbox`]: fixed capacity, generation-checked, all zeroes when empty.
//! 4. [`clock`], [`signal`], [`wakeup`], [`pid`], [`timerfd`], [`errno`], [`error`]: what the layers speak of.
//! 5. [`sys`]: the only home of system calls. [`sys::Kernel`] is the seam, [`sys::Linux`] the kernel behind it.
//! 6. [`place`]: large tables in a `static`. [`footprint`]: how large.
//!
//! [`embedding`] is a guide to static binaries, process 1, little memory, and C.
//!
//! # A program
//!
//! ```
//! use core::time::Duration;
//! use linux_event_core::reactor::{Epoll, Event, Interest, Reactor};
//! use linux_event_core::sys::{Linux, SocketKind, Sockets};
//!
//! #[derive(Clone, Copy, Debug, PartialEq)]
//! enum Token { Peer, Timeout }
//!
//! let (ours, theirs) = Linux.socketpair(SocketKind::Stream).unwrap();
//! let mut reactor: Reactor<Token, 8, 8> = Reactor::new(Epoll::new()?);
//! reactor.watch(&ours, Interest::READ, Token::Peer)?;
//! let timeout = reactor.after(Duration::from_secs(5), Token::Timeout)?;
//!
//! Linux.send(theirs.borrow(), b"hello").unwrap();
//! reactor.wait(None)?;
//! while let Some(event) = reactor.next() {
//!     if let Event::Ready { data: Token::Peer, .. } = event {
//!         let mut bytes = [0; 16];
//!         assert_eq!(ours.read(&mut bytes), Ok(5));
//!         assert!(reactor.cancel(timeout)); // true once, false after
//!     }
//! }
//! # Ok::<(), linux_event_core::error::Error>(())
//! ```
//!
//! # What it needs
//!
//! Linux 5.4 on `x86_64`, `aarch64` or `riscv64`. Calls that are younger are used where they exist; what a kernel lacks, or a
//! sandbox forbids, is [`Error::Unsupported`](error::Error::Unsupported) or [`Error::Denied`](error::Error::Denied) with
//! the name of the call.

#![no_std]
#![deny(unsafe_code)]

pub mod clock;
pub mod codec;
pub mod embedding;
pub mod errno;
pub mod error;
pub mod footprint;
pub mod handle;
pub mod mailbox;
pub mod pid;
pub mod place;
pub mod proactor;
pub mod reactor;
pub mod signal;
mod signalfd;
pub mod sys;
pub mod table;
pub mod timer;
pub mod timerfd;
pub mod wakeup;
