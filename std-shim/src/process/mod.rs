//! Processes of a loop's own: started, fed, listened to, ended in time, and counted.
//!
//! **What.** A [`Command`] says what to start and whom to tell; [`Command::spawn`] starts it and gives a [`Child`], a handle.
//! A [`Pool`] bounds how many run at once. It is the same on epoll and on io_uring; a fake has no processes to start, and
//! [`Spawn`] says so at compile time. Rules Q-1 to Q-5.
//!
//! **Invariants.** *INV-CHILD-1*: a slot of the table is a child's from before it is started until its
//! [exit](Command::on_exit) is told; its handle is stale then, and for ever, and in any other loop. *INV-CHILD-2*: the exit is told once, after the
//! status and after the output, which a grandchild that holds the pipes delays by a bound at most. *INV-CHILD-3*: signals go
//! through a pidfd that was opened before anybody could reap the child: never to a number that is somebody else's by now.
//! *INV-CHILD-4*: no callback is called inside a call of the program's.
//!
//! **Why this shape.** `std` forks and execs well, so it does; what the loop adds is everything after. The pipes of either
//! model are behind five functions, and all policy is written once, over them.
//!
//! ```
//! use linux_event::Loop;
//!
//! let mut event_loop = Loop::reactor_with(Vec::new())?;
//! event_loop
//!     .command("tr")
//!     .args(["a-z", "A-Z"])
//!     .stdin_bytes("hello")
//!     .on_stdout(|event_loop, _child, bytes| event_loop.state.extend_from_slice(bytes))
//!     .on_exit(|_, exit| assert!(exit.success()))
//!     .spawn(&mut event_loop)?;
//! event_loop.run()?; // until it has ended
//! assert_eq!(event_loop.state, b"HELLO");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A child is not ended by the end of its loop, unless [`kill_on_drop`](Command::kill_on_drop) says so. Let nobody else in the
//! program wait for all children, nor ignore SIGCHLD: what is reaped elsewhere has no status here.

use std::sync::atomic::{AtomicU32, Ordering};

mod child;
mod command;
mod exec;
mod pipes;
mod pool;

pub use child::{Child, Exit, StdinError};
pub use command::{Command, Output, SpawnError};
pub use pipes::Spawn;
pub use pool::{Job, Pool, Queued};

pub(crate) use child::Children;
pub(crate) use pipes::ReactorPipe;
pub(crate) use pool::Pools;

/// Where the generations of a loop's table begin: elsewhere in each, so that no handle reaches another loop's (INV-CHILD-1).
fn salt() -> u32 {
    static TABLES: AtomicU32 = AtomicU32::new(0);
    TABLES.fetch_add(0x9e37_79b9, Ordering::Relaxed)
}
