//! The ping-pong on our own loops, used the way their documentation asks for.
//!
//! **What.** [`reactor`] yields events as values, level-triggered, with the core's `read` and `write`; [`reactor_edge`] is
//! edge-triggered, with `recv` and `send`; [`loop_reactor`] calls one closure a descriptor.
//!
//! **Invariants.** INV-PINGPONG-1.
//!
//! **Why this shape.** Each makes the system calls of the floor that it is compared with: `floor`, `floor-edge` and
//! `floor-boxed`. The rest is what our layers add.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use linux_event::Loop;
use linux_event_core::errno::Errno;
use linux_event_core::reactor::{Epoll, Event, Interest, Mode, Reactor, Storage};
use linux_event_core::sys::{AsRawFd as _, BorrowedFd, Kernel, Linux, SocketKind, Sockets};

use super::{BUFFER, lost};
use crate::idle_watchers::idle;
use crate::sys::{Calls, Raw, socket_pair, zeroed_box};
use crate::workload::{Round, timed};

/// Watchers that there is room for: both ends, and the idle ones of `idle-watchers`.
const WATCHERS: usize = 10_002;
/// Timers that there is room for; none is armed.
const TIMERS: usize = 16;

type Tables = Storage<Token, WATCHERS, TIMERS>;
type BoxedReactor = Reactor<Token, WATCHERS, TIMERS, Epoll, Box<Tables>>;

type ClosureLoop = Loop<linux_event::Reactor<linux_event::Epoll>, Left>;

/// What a watcher of the reactor stands for.
#[derive(Clone, Copy, Debug)]
enum Token {
    Near,
    Far,
    Idle,
}

/// How bytes are read and written.
trait Transfer {
    const MODE: Mode;
    fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno>;
    fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno>;
}

/// Level-triggered, `read` and `write`.
struct Files;

impl Transfer for Files {
    const MODE: Mode = Mode::empty();

    #[inline(always)]
    fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        Linux.read(fd, buffer)
    }

    #[inline(always)]
    fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        Linux.write(fd, bytes)
    }
}

/// Edge-triggered, `recvfrom` and `sendto`; a short read shows that the socket is drained (epoll(7)).
struct EdgeSockets;

impl Transfer for EdgeSockets {
    const MODE: Mode = Mode::EDGE;

    #[inline(always)]
    fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        Linux.recv(fd, buffer)
    }

    #[inline(always)]
    fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        Linux.send(fd, bytes)
    }
}

/// Events as values.
pub(super) fn reactor(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    values::<Files>(idle_watchers)
}

/// Events as values, with the calls that mio makes.
pub(super) fn reactor_edge(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    values::<EdgeSockets>(idle_watchers)
}

fn values<C: Transfer + 'static>(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let (near, far) = Linux.socketpair(SocketKind::Stream).map_err(refused)?;
    let epoll = Epoll::new().map_err(io::Error::other)?;
    let mut reactor: BoxedReactor = Reactor::with_storage(epoll, zeroed_box::<Tables>());
    let mut watch = |fd, token| {
        let watched = reactor.watch_with(fd, Interest::READ, C::MODE, token);
        watched.map(drop).map_err(io::Error::other)
    };
    watch(near.as_raw_fd(), Token::Near)?;
    watch(far.as_raw_fd(), Token::Far)?;
    for fd in idle(idle_watchers)? {
        watch(fd.as_raw_fd(), Token::Idle)?;
    }
    Ok(timed(1, move |round_trips| {
        bounce::<C>(&mut reactor, near.borrow(), far.borrow(), round_trips)
    }))
}

#[inline(always)]
fn bounce<C: Transfer>(
    reactor: &mut BoxedReactor,
    near: BorrowedFd<'_>,
    far: BorrowedFd<'_>,
    round_trips: u64,
) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let mut left = round_trips;
    if C::write(near, &[1]) != Ok(1) {
        return Err(lost());
    }
    loop {
        reactor.wait(None).map_err(io::Error::other)?;
        while let Some(event) = reactor.next() {
            match event {
                Event::Ready {
                    data: Token::Near, ..
                } => {
                    if C::read(near, &mut buffer) != Ok(1) {
                        return Err(lost());
                    }
                    left -= 1;
                    if left == 0 {
                        return Ok(());
                    }
                    if C::write(near, &[1]) != Ok(1) {
                        return Err(lost());
                    }
                }
                Event::Ready {
                    data: Token::Far, ..
                } => {
                    if C::read(far, &mut buffer) != Ok(1) || C::write(far, &[1]) != Ok(1) {
                        return Err(lost());
                    }
                }
                _ => return Err(lost()),
            }
        }
    }
}

/// What the callbacks share: round trips that are left.
struct Left(u64);

/// Closures: one a descriptor, with the system calls of `floor-boxed`.
pub(super) fn loop_reactor(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let (near, far) = socket_pair()?;
    let starter = near.try_clone()?;
    let mut event_loop = Loop::reactor_with(Left(0))?;
    on_near(&mut event_loop, near)?;
    on_far(&mut event_loop, far)?;
    for fd in idle(idle_watchers)? {
        let watch = event_loop.watch(&fd);
        watch.on_read(|_, _, _| Err(lost())).start()?;
    }
    Ok(timed(1, move |round_trips| {
        event_loop.state.0 = round_trips;
        if Raw::write(starter.as_fd(), &[1]) != 1 {
            return Err(lost());
        }
        Ok(event_loop.run()?)
    }))
}

fn on_near(event_loop: &mut ClosureLoop, fd: OwnedFd) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let watch = event_loop.watch(&fd);
    let watch = watch.on_read(move |event_loop, _, _| {
        if Raw::read(fd.as_fd(), &mut buffer) != 1 {
            return Err(lost());
        }
        event_loop.state.0 -= 1;
        if event_loop.state.0 == 0 {
            event_loop.stop();
        } else if Raw::write(fd.as_fd(), &[1]) != 1 {
            return Err(lost());
        }
        Ok(())
    });
    Ok(watch.start().map(drop)?)
}

fn on_far(event_loop: &mut ClosureLoop, fd: OwnedFd) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let watch = event_loop.watch(&fd);
    let watch = watch.on_read(move |_, _, _| {
        if Raw::read(fd.as_fd(), &mut buffer) != 1 || Raw::write(fd.as_fd(), &[1]) != 1 {
            return Err(lost());
        }
        Ok(())
    });
    Ok(watch.start().map(drop)?)
}

fn refused(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw())
}
