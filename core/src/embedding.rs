//! Embedding: loops in static binaries, in an initramfs, as process 1, under C, and in little memory. A guide, without code
//! of its own.
//!
//! # A static binary
//!
//! The core needs neither `std` nor libc nor an allocator. What a program needs besides is in `core/examples/static-start`:
//! `_start`, the memory functions that the compiler calls by name, a panic handler, arguments and environment, and how to
//! link. A program is then
//!
//! ```text
//! // build.rs
//! include!("../static-start/link.rs");
//!
//! // src/main.rs
//! #![no_std]
//! #![no_main]
//! static_start::main!(main);
//!
//! fn main(arguments: static_start::Arguments) -> i32 {
//!     0 // the exit code
//! }
//! ```
//!
//! and is built with `panic = "abort"` and, for its size, `opt-level = "z"`, which can be set for the one package:
//!
//! ```text
//! [profile.release.package.my-program]
//! opt-level = "z"
//! strip = true
//! ```
//!
//! The flags for the linker belong into the program's own `build.rs` and not into `RUSTFLAGS`, where they would break the
//! build scripts of dependencies. `x86_64`, `aarch64` and `riscv64` are served; for the others than the machine's own name a
//! linker, as `CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc`.
//!
//! Two programs to begin with: `static-timer`, 3 kB, whose reactor has a backend of its own that can do nothing but sleep, and
//! `static-echo`, a server in both models. Which features of an engine are linked depends on its backend: what one says it
//! can't do ([`WATCHES`](crate::reactor::Backend::WATCHES), [`SIGNALS`](crate::reactor::Backend::SIGNALS)) costs no code. Nor
//! does what a program never asks for, as the end of processes, or cancelling by a handle of another kind than it has.
//!
//! Where the end of the program is that of the process, nothing need be dropped: the kernel takes back descriptors, memory, and a
//! ring with all that is under way. A program that ends by `exit`, and takes a proactor from
//! [`Proactor::over`](crate::proactor::Proactor::over), does not link what shuts a ring down, which is 4 kB. `static-echo`
//! is 61 kB with both models; with the reactor alone it would be 29 kB, with the proactor alone 44 kB.
//!
//! Until it waits for the first time, `static-echo` makes 10 system calls as a reactor, 11 as a proactor, those of its socket
//! included. A loop by itself costs: a reactor 1, a proactor 3 with its ring in memory of the program's own; 2 for signals,
//! and 1 more in a reactor; and 3 once a process to tell it from its children, unless it says that it
//! [never forks](crate::sys::never_forks).
//!
//! # Tables in a `static`
//!
//! A loop's tables can lie in the loop, which puts them on the stack as a rule, or in a `static`, where they cost nothing in
//! the binary, and no memory until they are used. Everything that a proactor maps otherwise can lie there too:
//!
//! ```
//! use linux_event_core::error::Error;
//! use linux_event_core::place::Place;
//! use linux_event_core::proactor::{
//!     Memory, OperationMemory, Options, Proactor, RingMemory, Storage, Uring,
//! };
//! use linux_event_core::reactor::{self, Epoll, Reactor};
//! use linux_event_core::sys::Linux;
//!
//! type Watched = reactor::Storage<u32, 256, 16>;
//! static WATCHED: Place<Watched> = Place::new(Watched::new());
//! let tables = WATCHED.take().expect("taken once");
//! let reactor: Reactor<u32, 256, 16, Epoll, &'static mut Watched> =
//!     Reactor::with_storage(Epoll::new()?, tables);
//!
//! type Buf = &'static mut [u8];
//! type Tables = Storage<u32, 64, 16>;
//! static TABLES: Place<Tables> = Place::new(Tables::new());
//! static RING: Place<RingMemory<64, 128>> = Place::new(RingMemory::new());
//! static OPERATIONS: Place<OperationMemory<64>> = Place::new(OperationMemory::new());
//! let memory = Memory::new()
//!     .ring(RING.take().expect("taken once"))
//!     .operations(OPERATIONS.take().expect("taken once"));
//! let ring: Uring<Buf> = match Uring::with_memory(Linux, Options::DEFAULT, memory) {
//!     // A kernel without io_uring, or a sandbox that forbids it: the reactor is still there.
//!     Err(Error::NoRing { .. } | Error::RingTooOld) => return Ok(()),
//!     ring => ring?,
//! };
//! println!("{}", ring.capabilities()); // `own_memory` says whether the kernel took it
//! let tables = TABLES.take().expect("taken once");
//! let proactor: Proactor<Buf, u32, 64, 16, Uring<Buf>, &'static mut Tables> =
//!     Proactor::with_storage(ring, tables)?;
//! # drop((reactor, proactor));
//! # Ok::<(), Error>(())
//! ```
//!
//! A kernel before 6.5 maps the ring all the same, and one before 6.10 takes more than a page for each of its two parts only
//! by luck: 64 submissions with 128 completions are two pages, and are taken.
//!
//! # Capacities, and what they cost
//!
//! [`footprint`](crate::footprint) says at compile time what a loop takes when all of it is used. By the piece, on 64-bit
//! machines and with data of 4 bytes:
//!
//! | | Bytes each |
//! |---|---|
//! | a watcher, a subscription, a process | 80 |
//! | a timer | 64 |
//! | an operation of a proactor, with room for a file and a subscription | 160 |
//! | what an operation owns while it is under way | 896, of which a plain one touches 48 |
//! | a submission | 64 |
//! | a completion | 16 |
//! | the reactor itself | 3584, 3072 of them the batch |
//! | the proactor itself | 2648 |
//!
//! ```
//! use linux_event_core::proactor::{self, OperationMemory, Options, Proactor};
//! use linux_event_core::reactor::{self, BATCH, Reactor};
//! use linux_event_core::sys::uapi::EpollEvent;
//!
//! const fn tables<const W: usize, const T: usize>() -> usize {
//!     size_of::<reactor::Storage<u32, W, T>>()
//! }
//! const fn of_proactor<const OPS: usize>() -> usize {
//!     size_of::<proactor::Storage<u32, OPS, 1>>()
//! }
//! assert_eq!(tables::<2, 1>() - tables::<1, 1>(), 80);
//! assert_eq!(tables::<1, 2>() - tables::<1, 1>(), 64);
//! assert_eq!(of_proactor::<3>() - of_proactor::<1>(), 2 * 160);
//! assert_eq!(size_of::<OperationMemory<1>>(), 896);
//! assert!(Reactor::<u32, 1, 1>::footprint().engine <= 3584);
//! assert!(BATCH * size_of::<EpollEvent>() <= 4096);
//! type Buf = &'static mut [u8];
//! let footprint = Proactor::<Buf, u32, 64, 64>::footprint(&Options::DEFAULT);
//! assert!(footprint.engine <= 2648);
//! assert_eq!(footprint.rings, 45_056); // the default: 128 submissions, 2,048 completions
//! ```
//!
//! How to choose: a watcher for each descriptor, plus one for signals; an operation for each that is under way at a time,
//! plus one for each file that may be closing; a timer for each that may be armed. A full table is an error, [`Error::Full`],
//! that refuses what was asked for and changes nothing: a server stops accepting until something is free. The ring's own
//! sizes limit nothing: a full queue is flushed, and completions that find no room are kept by the kernel, at a price. What
//! the kernel locks for a ring counts against `RLIMIT_MEMLOCK`, 64 kB on old systems:
//! [`ring_bytes`](crate::proactor::Options::ring_bytes) says how much that is.
//!
//! Besides, each process has two pages (two of 64 kB on `aarch64`) for the word that tells it from its children, one of which
//! is touched. `static-echo`, which can serve 256 connections, has 130 kB resident as a reactor and 180 kB as a proactor
//! before they come, of which its code is a third.
//!
//! [`Error::Full`]: crate::error::Error::Full
//!
//! # An initramfs, and process 1
//!
//! A static program is all that an initramfs needs:
//!
//! ```text
//! mkdir root && cp target/release/my-program root/init
//! (cd root && echo init | cpio -o -H newc | gzip) >initramfs.gz
//! qemu-system-x86_64 -kernel vmlinuz -initrd initramfs.gz -append console=ttyS0 -nographic
//! ```
//!
//! Process 1 differs from others. It must not end: the kernel panics when it does, and so `main` does not return, and a panic
//! handler that exits is the machine's end. Signals that it does not ask for do not reach it, whatever their default, so that
//! SIGTERM is nothing to it before [`signal`](crate::reactor::Reactor::signal) subscribes to it. There is no `/proc` before it
//! mounts one; nothing here needs it, but that a refused ring can then not be told to be refused by sysctl, and that a
//! program which is not started by `static-start` looks for the vDSO there before Linux 6.4. Words of the kernel's command
//! line that it does not know are arguments, and those with a `=` the environment.
//!
//! And it gets the children that their own parents left. It has to reap them, or they stay as zombies; watch the ones that it
//! knows with [`process`](crate::reactor::Reactor::process) without `reap`, and reap everybody at SIGCHLD with
//! [`Linux::reap`](crate::sys::Linux::reap), which has an example. Signals merge, so it reaps until there is nobody left.
//!
//! # After `fork`
//!
//! A loop is its process's (rule G-1). In a forked child every call on an inherited one is [`Error::Forked`], nothing is
//! delivered, and dropping it only closes its descriptors, because a cancellation or an `epoll_ctl` would change the
//! parent's. So a child makes a loop of its own; it can take new storage, but not the parent's statics, which are taken.
//! Signals that the parent blocked for its subscriptions are blocked in the child too, also after `execve`: unblock them in
//! between. A child that does nothing but `execve` has nothing to heed, as every descriptor here is close-on-exec.
//!
//! ```
//! use linux_event_core::error::Error;
//! use linux_event_core::reactor::{Epoll, Reactor};
//!
//! let mut reactor: Reactor<u32, 8, 8> = Reactor::new(Epoll::new()?);
//! # // SAFETY: the child makes system calls and ends.
//! match unsafe { libc::fork() } {
//!     0 => {
//!         let inherited = reactor.wait(None);
//!         let own: Reactor<u32, 8, 8> = Reactor::new(Epoll::new()?);
//!         let is_so = inherited == Err(Error::Forked) && own.live() == 0;
//! #       // SAFETY: as above.
//!         unsafe { libc::_exit(i32::from(!is_so)) }
//!     }
//!     child => {
//!         reactor.process(child, true, 7)?;
//!         reactor.wait(None)?;
//! #       let Some(linux_event_core::reactor::Event::Exit { status, .. }) = reactor.next() else { panic!() };
//! #       assert_eq!(status.unwrap().unwrap().code(), Some(0));
//!     }
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! [`Error::Forked`]: crate::error::Error::Forked
//!
//! # SIGPIPE
//!
//! A write to a pipe or socket that nobody reads any more ends the process, unless SIGPIPE is ignored. Rust's `std` ignores
//! it, and so does `static-start`; a C program has to say `signal(SIGPIPE, SIG_IGN)`. [`send`](crate::sys::Sockets::send) and
//! the proactor's send never raise it, whoever calls (rule M-4); `write` does. What is ignored stays so over `execve`: give
//! children their default back.
//!
//! # From C's `main`
//!
//! A library of kind `staticlib` that depends on this crate can be called from any language. The loop lives in the function
//! that is called, or in a [`Place`](crate::place::Place); nothing has to be initialised, and the clock finds the vDSO by
//! itself. Don't let a panic cross the border: build with `panic = "abort"`. A loop stays on the thread that made it, and the
//! signals that it subscribes to are to be blocked in every other thread: subscribe before they start (rule S-3).
//!
//! ```
//! use core::ffi::c_int;
//! use core::time::Duration;
//!
//! use linux_event_core::error::Error;
//! use linux_event_core::reactor::{Epoll, Event, Interest, Reactor};
//! use linux_event_core::sys::RawFd;
//!
//! /// `int wait_readable(int fd, unsigned milliseconds);` 1 if `fd` is readable, 0 if the time is over, −errno.
//! # #[allow(unsafe_code)]
//! #[unsafe(no_mangle)]
//! pub extern "C" fn wait_readable(fd: RawFd, milliseconds: u32) -> c_int {
//!     match wait(fd, Duration::from_millis(milliseconds.into())) {
//!         Ok(is_readable) => c_int::from(is_readable),
//!         Err(error) => -error.errno().map_or(22, |errno| errno.raw()),
//!     }
//! }
//!
//! fn wait(fd: RawFd, limit: Duration) -> Result<bool, Error> {
//!     let mut reactor: Reactor<(), 1, 1> = Reactor::new(Epoll::new()?);
//!     reactor.watch(fd, Interest::READ, ())?;
//!     reactor.after(limit, ())?;
//!     reactor.wait(None)?;
//!     Ok(matches!(reactor.next(), Some(Event::Ready { .. })))
//! }
//!
//! # use linux_event_core::sys::{AsRawFd, Linux, SocketKind, Sockets};
//! let (ours, theirs) = Linux.socketpair(SocketKind::Stream).unwrap();
//! assert_eq!(wait_readable(ours.as_raw_fd(), 1), 0);
//! theirs.write(b"!").unwrap();
//! assert_eq!(wait_readable(ours.as_raw_fd(), 1000), 1);
//! assert_eq!(wait_readable(-1, 1), -9); // EBADF
//! ```
//!
//! # Where something is missing or forbidden
//!
//! Every refusal is an [`Error`](crate::error::Error) that names the call and what to do, and its `Display` is a sentence to
//! show. What a loop can do without it does without: `epoll_pwait2`, timerfds, the vDSO, registered rings, each flag of
//! io_uring. What it can't is an error where it is asked for: signals without signalfd, processes without pidfds, a proactor
//! without io_uring. A program that wants to run anywhere makes a proactor, and takes the reactor if that says
//! [`NoRing`](crate::error::Error::NoRing), [`RingTooOld`](crate::error::Error::RingTooOld) or
//! [`LockedMemory`](crate::error::Error::LockedMemory).
