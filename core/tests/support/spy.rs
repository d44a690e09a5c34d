//! [`Spy`]: a backend as a user may write one, in safe code. It performs nothing, keeps what it is told, and tells what it is
//! made to.

#![allow(dead_code, reason = "each test file uses its own part of this one")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use linux_event_core::clock::Instant;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::Handle;
use linux_event_core::pid::ExitStatus;
use linux_event_core::proactor::{
    self, Counters, Extra, FixedBuffer, FixedFile, Group, Link, Popped, Refused, Request, Shutdown,
    Stat, Target, VectoredRequest, Vectors, Vouched,
};
use linux_event_core::reactor;
use linux_event_core::signal::{SignalCounts, SignalSet};
use linux_event_core::sys::{Fd, RawFd};

use crate::buf::VecBuf;

const NO: Error = Error::Invalid("a spy performs nothing");

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Spy {
    /// Every target that came, resolved.
    pub(crate) targets: Rc<RefCell<Vec<Target>>>,
    /// It takes operations, without doing anything about them.
    pub(crate) accepts: bool,
    /// Operations that it says are over.
    pub(crate) over: Rc<RefCell<VecDeque<Handle>>>,
}

impl Spy {
    fn note(&self, request: &Request<VecBuf>) {
        let mut targets = self.targets.borrow_mut();
        targets.push(request.target());
        if let Extra::From { target, .. } = request.extra {
            targets.push(target);
        }
    }
}

impl reactor::Backend for Spy {
    type Process = Fd;

    fn now(&self) -> Instant {
        Instant::ZERO
    }
    fn is_owner(&self) -> bool {
        true
    }
    fn add(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn modify(&mut self, _: RawFd, _: u32, _: Handle) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn remove(&mut self, _: RawFd) -> Result<(), Errno> {
        Ok(())
    }
    fn rebuild(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn wait(&mut self, _: Option<Instant>, _: Option<Duration>) -> Result<(), Error> {
        Ok(())
    }
    fn next(&mut self) -> Option<reactor::Report> {
        None
    }
    fn has_next(&self) -> bool {
        false
    }
    fn arm(&mut self, _: Option<Instant>) -> Result<(), Error> {
        Ok(())
    }
    fn take_wakes(&mut self) -> u64 {
        0
    }
    fn set_signals(&mut self, _: SignalSet) -> Result<(), Error> {
        Err(NO)
    }
    fn take_signals(&mut self, _: &mut SignalCounts) -> Result<(), Error> {
        Ok(())
    }
    fn open_process(&mut self, _: i32) -> Result<Fd, Error> {
        Err(NO)
    }
    fn process_status(&mut self, _: &Fd, _: bool) -> Result<Option<ExitStatus>, Errno> {
        Ok(None)
    }
}

impl proactor::Backend for Spy {
    type Buf = VecBuf;
    type Fd = Fd;
    type Lease = Vec<u8>;

    fn reserve(&mut self, _: usize) -> Result<(), Error> {
        Ok(())
    }
    fn check(&self, _: &Request<VecBuf>) -> Result<(), Error> {
        Ok(())
    }
    fn push(
        &mut self,
        _: Handle,
        request: Request<VecBuf>,
        _: Vouched<Self>,
    ) -> Result<(), Refused<VecBuf>> {
        self.note(&request);
        if self.accepts {
            return Ok(());
        }
        let buffer = request.buffer;
        Err(Refused { error: NO, buffer })
    }
    fn push_vectored(
        &mut self,
        _: Handle,
        request: VectoredRequest<VecBuf>,
        _: Vouched<Self>,
    ) -> Result<(), (Error, Vectors<VecBuf>)> {
        self.note(&request.request);
        Err((NO, request.buffers))
    }
    fn push_close(&mut self, _: Handle, fd: Fd, _: Link) -> Result<(), (Error, Fd)> {
        Err((NO, fd))
    }
    fn make_room(&mut self, _: usize) -> Result<(), Error> {
        Ok(())
    }
    fn end_chain(&mut self) {}
    fn cancel(&mut self, _: Handle) -> Result<(), Error> {
        Ok(())
    }
    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn pop(&mut self) -> Option<Popped<VecBuf, Vec<u8>>> {
        let over = self.over.borrow_mut().pop_front()?;
        Some(Popped::Plain {
            token: over.raw(),
            result: 0,
            buffer: None,
        })
    }
    fn take_descriptor(&mut self) -> Option<Fd> {
        None
    }
    fn take_vectors(&mut self) -> Vectors<VecBuf> {
        Vectors::new()
    }
    fn address(&self, _: Handle) -> Option<SocketAddr> {
        None
    }
    fn stat(&self, _: Handle) -> Option<Stat> {
        None
    }
    fn exit_info(&self, _: Handle) -> Option<ExitStatus> {
        None
    }
    fn provide(&mut self, _: u16, _: u32) -> Result<Group, Error> {
        Err(NO)
    }
    fn withdraw(&mut self, _: Group) -> Result<(), Error> {
        Err(NO)
    }
    fn register_files(&mut self, _: u32) -> Result<(), Error> {
        Err(NO)
    }
    fn install(&mut self, _: &Fd) -> Result<FixedFile, Error> {
        Err(NO)
    }
    fn uninstall(&mut self, _: FixedFile) -> Result<(), Error> {
        Err(NO)
    }
    fn register_buffers(
        &mut self,
        buffers: Vectors<VecBuf>,
    ) -> Result<(), (Error, Vectors<VecBuf>)> {
        Err((NO, buffers))
    }
    fn fixed(&mut self, _: FixedBuffer) -> Option<&mut [u8]> {
        None
    }
    fn unregister_buffers(&mut self) -> Result<Vectors<VecBuf>, Error> {
        Err(NO)
    }
    fn shut_down(&mut self, _: Duration) -> Shutdown {
        Shutdown::default()
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
}
