//! The pipes of children, in either model.
//!
//! **What.** [`Spawn`] is what a model must do for a child's standard streams: hold an end, read it, write to it, wait until it
//! can be written, let it go. Epoll watches and reads; io_uring has reads under way.
//!
//! **Why this shape.** Written is by hand in both models: a ring's write to a pipe that nobody reads raises SIGPIPE before
//! Linux 6.18, and who gets it is anybody's guess (M-4). That there is room is waited for, by a watcher or a poll operation.

#![forbid(unsafe_code)]

use std::io;

use linux_event_core::errno::Errno;
use linux_event_core::handle::{File, Watcher};
use linux_event_core::proactor::{PollEvents, op};
use linux_event_core::sys::{Fd, Kernel, Linux, Sockets};

use super::child::{self, Child};
use super::command::refused;
use crate::error::BoxError;
use crate::event_loop::Loop;
use crate::fd::as_std;
use crate::make::Epoll;
use crate::model::{Model, Reactor};
use crate::proactor::{Completion, Proactor, Uring};

/// Bytes that are read at once.
pub(super) const CHUNK: usize = 64 * 1024;
/// Bytes that each output of a child in the proactor has ready to be read into.
const READ_BUFFER: usize = 16 * 1024;

/// A model that can start processes: epoll's and io_uring's. The fakes' have none. Sealed: models are this crate's.
pub trait Spawn: Model + 'static {
    /// Holds the program's end of a pipe.
    #[doc(hidden)]
    fn hold<S>(event_loop: &mut Loop<Self, S>, fd: Fd) -> io::Result<Self::Pipe>;
    /// Has what comes told to [`child::received`], and the end to [`child::ended`].
    #[doc(hidden)]
    fn read<S>(
        event_loop: &mut Loop<Self, S>,
        pipe: &mut Self::Pipe,
        child: Child,
        which: usize,
    ) -> io::Result<()>;
    /// Writes what there is room for.
    #[doc(hidden)]
    fn write<S>(
        event_loop: &Loop<Self, S>,
        pipe: &Self::Pipe,
        bytes: &[u8],
    ) -> Result<usize, Errno>;
    /// Has [`child::pump`] called when there is room, or nobody reads.
    #[doc(hidden)]
    fn await_room<S>(
        event_loop: &mut Loop<Self, S>,
        pipe: &mut Self::Pipe,
        child: Child,
    ) -> io::Result<()>;
    /// Asks for the end of a read that is under way: what it brings goes to [`child::finish_output`]. False if none is.
    #[doc(hidden)]
    fn ends_reading<S>(event_loop: &mut Loop<Self, S>, child: Child, which: usize) -> bool;
    /// Reads what is there, by hand; EAGAIN if nothing is. No read is under way: [`ends_reading`](Self::ends_reading) saw to it.
    #[doc(hidden)]
    fn read_now<S>(
        event_loop: &Loop<Self, S>,
        child: Child,
        which: usize,
        buffer: &mut [u8],
    ) -> Result<usize, Errno>;
    /// Closes it, whatever is under way.
    #[doc(hidden)]
    fn let_go<S>(event_loop: &mut Loop<Self, S>, pipe: Self::Pipe);
}

/// An end of a pipe that a reactor watches.
#[derive(Debug)]
pub struct ReactorPipe {
    fd: Fd,
    watcher: Option<Watcher>,
}

impl Spawn for Reactor<Epoll> {
    fn hold<S>(_: &mut Loop<Self, S>, fd: Fd) -> io::Result<ReactorPipe> {
        nonblocking(&fd)?;
        Ok(ReactorPipe { fd, watcher: None })
    }

    fn read<S>(
        event_loop: &mut Loop<Self, S>,
        pipe: &mut ReactorPipe,
        child: Child,
        which: usize,
    ) -> io::Result<()> {
        let watcher = event_loop
            .watch(&as_std(pipe.fd.borrow()))
            .on_read(move |event_loop, _, _| read_ready(event_loop, child, which))
            .start();
        pipe.watcher = Some(watcher.map_err(refused)?);
        Ok(())
    }

    fn write<S>(_: &Loop<Self, S>, pipe: &ReactorPipe, bytes: &[u8]) -> Result<usize, Errno> {
        Linux.write_without_sigpipe(pipe.fd.borrow(), bytes)
    }

    fn await_room<S>(
        event_loop: &mut Loop<Self, S>,
        pipe: &mut ReactorPipe,
        child: Child,
    ) -> io::Result<()> {
        if let Some(watcher) = pipe.watcher {
            return event_loop.rearm(watcher).map_err(refused);
        }
        let watcher = event_loop
            .watch(&as_std(pipe.fd.borrow()))
            .on_write(move |event_loop, _, _| child::pump(event_loop, child))
            .oneshot()
            .start();
        pipe.watcher = Some(watcher.map_err(refused)?);
        Ok(())
    }

    fn ends_reading<S>(_: &mut Loop<Self, S>, _: Child, _: usize) -> bool {
        false
    }

    fn read_now<S>(
        event_loop: &Loop<Self, S>,
        child: Child,
        which: usize,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        let pipe = event_loop.children.output(child, which);
        Linux.read(pipe.ok_or(Errno::EBADF)?.fd.borrow(), buffer)
    }

    fn let_go<S>(event_loop: &mut Loop<Self, S>, pipe: ReactorPipe) {
        if let Some(watcher) = pipe.watcher {
            event_loop.cancel(watcher);
        }
    }
}

/// Reads a chunk. What is left is reported again: others have their turn before.
fn read_ready<S>(
    event_loop: &mut Loop<Reactor<Epoll>, S>,
    child: Child,
    which: usize,
) -> Result<(), BoxError> {
    let mut chunk = event_loop.children.take_chunk();
    let read = Reactor::read_now(event_loop, child, which, &mut chunk);
    let told = match read {
        Ok(0) => child::ended(event_loop, child, which),
        Ok(count) => child::received(event_loop, child, which, &chunk[..count]),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(_) => child::ended(event_loop, child, which),
    };
    event_loop.children.keep_chunk(chunk);
    told
}

impl Spawn for Proactor<Uring> {
    fn hold<S>(event_loop: &mut Loop<Self, S>, fd: Fd) -> io::Result<File> {
        event_loop
            .adopt_fd(fd)
            .map_err(|refusal| refused(refusal.error))
    }

    fn read<S>(
        event_loop: &mut Loop<Self, S>,
        pipe: &mut File,
        child: Child,
        which: usize,
    ) -> io::Result<()> {
        let file = *pipe;
        let callback = move |event_loop: &mut Loop<Self, S>, read| {
            read_done(event_loop, child, which, file, read)
        };
        let buffer = Vec::with_capacity(READ_BUFFER);
        let submitted = event_loop.submit(op::read(file, buffer.into()), callback);
        submitted
            .map(drop)
            .map_err(|refusal| refused(refusal.error))
    }

    fn write<S>(event_loop: &Loop<Self, S>, pipe: &File, bytes: &[u8]) -> Result<usize, Errno> {
        let fd = event_loop.descriptor(*pipe).ok_or(Errno::EBADF)?;
        Linux.write_without_sigpipe(fd.borrow(), bytes)
    }

    fn await_room<S>(
        event_loop: &mut Loop<Self, S>,
        pipe: &mut File,
        child: Child,
    ) -> io::Result<()> {
        let poll = op::poll(*pipe, PollEvents::OUT);
        let submitted = event_loop.submit(poll, move |event_loop, _| {
            event_loop.close_unclosed();
            child::pump(event_loop, child)
        });
        submitted
            .map(drop)
            .map_err(|refusal| refused(refusal.error))
    }

    fn ends_reading<S>(event_loop: &mut Loop<Self, S>, child: Child, which: usize) -> bool {
        // Where a worker of the kernel's performs reads (before Linux 6.5), no turn tells when the last of it will have come.
        let pipe = event_loop.children.output(child, which).copied();
        pipe.is_some_and(|pipe| event_loop.cancel_on(pipe) > 0)
    }

    fn read_now<S>(
        event_loop: &Loop<Self, S>,
        child: Child,
        which: usize,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        let pipe = event_loop.children.output(child, which);
        let fd = pipe.and_then(|&pipe| event_loop.descriptor(pipe));
        let fd = fd.ok_or(Errno::EBADF)?.borrow();
        // Operations want it otherwise: one would not wait.
        Linux.set_non_blocking(fd, true)?;
        Linux.read(fd, buffer)
    }

    fn let_go<S>(event_loop: &mut Loop<Self, S>, pipe: File) {
        event_loop.close_file(pipe);
    }
}

fn read_done<S>(
    event_loop: &mut Loop<Proactor<Uring>, S>,
    child: Child,
    which: usize,
    file: File,
    read: Completion<Uring>,
) -> Result<(), BoxError> {
    event_loop.close_unclosed();
    let outcome = read.outcome();
    let Some(buffer) = read.into_buffer() else {
        return Ok(());
    };
    if event_loop.children.output(child, which) != Some(&file) {
        return Ok(()); // let go of meanwhile
    }
    let is_late = event_loop.children.is_late(child);
    let told = match outcome {
        Ok(0) => return child::ended(event_loop, child, which),
        Ok(_) if is_late => return child::finish_output(event_loop, child, which, &buffer),
        Ok(_) => child::received(event_loop, child, which, &buffer),
        Err(Errno::EINTR | Errno::EAGAIN | Errno::ECANCELED) if is_late => {
            return child::finish_output(event_loop, child, which, &[]);
        }
        Err(Errno::EINTR | Errno::EAGAIN) => Ok(()),
        Err(_) => return child::ended(event_loop, child, which),
    };
    // It goes on reading also when its callback has failed, which stops the loop, not the child.
    if event_loop.children.output(child, which) == Some(&file)
        && event_loop.again(op::read(file, buffer)).is_err()
    {
        return told.and(child::ended(event_loop, child, which));
    }
    told
}

/// The program's end does not wait; the child's is as children expect.
pub(super) fn nonblocking(fd: &Fd) -> io::Result<()> {
    Linux
        .set_non_blocking(fd.borrow(), true)
        .map_err(|errno| io::Error::from_raw_os_error(errno.raw()))
}
