//! What a program does with descriptors: open, read, write, close.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;
use linux_event_core::proactor::How;
use linux_event_core::sys::AsRawFd;

use super::{Fake, FakeFd};

/// Input and output on simulated descriptors. All are non-blocking; new ones get the lowest number that is free.
impl Fake {
    /// A pipe: the end to read and the end to write (`pipe(2)`).
    ///
    /// # Errors
    /// EMFILE.
    pub fn pipe(&mut self) -> Result<(FakeFd, FakeFd), Errno> {
        self.settle();
        let (reader, writer) = self.machine.pipe()?;
        Ok((FakeFd(reader), FakeFd(writer)))
    }

    /// Two connected stream sockets (`socketpair(2)`).
    ///
    /// # Errors
    /// EMFILE.
    pub fn socketpair(&mut self) -> Result<(FakeFd, FakeFd), Errno> {
        self.settle();
        let (one, other) = self.machine.socketpair()?;
        Ok((FakeFd(one), FakeFd(other)))
    }

    /// An eventfd that counts from zero (`eventfd(2)`).
    ///
    /// # Errors
    /// EMFILE.
    pub fn eventfd(&mut self) -> Result<FakeFd, Errno> {
        self.settle();
        self.machine.eventfd().map(FakeFd)
    }

    /// An empty regular file without a name, to read and write; it can't be polled.
    ///
    /// # Errors
    /// EMFILE.
    pub fn regular_file(&mut self) -> Result<FakeFd, Errno> {
        self.settle();
        self.machine.regular_file().map(FakeFd)
    }

    /// Reads into `buffer`; 0 is the end (`read(2)`).
    ///
    /// # Errors
    /// EAGAIN when nothing is there; ECONNRESET, once, when the peer has reset and what came before was read; EINVAL
    /// for an eventfd and fewer than 8 bytes; EBADF.
    pub fn read(&mut self, fd: impl AsRawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        if buffer.is_empty() && self.machine.domain(file).is_some() {
            return Ok(0); // no socket is asked (`net/socket.c`)
        }
        let count = self.machine.read(file, buffer, None);
        self.hear();
        count
    }

    /// Writes from `buffer`; returns how many bytes went (`write(2)`).
    ///
    /// # Errors
    /// EAGAIN when there is no room; EPIPE when nobody can read; EINVAL for an eventfd and fewer than 8 bytes; EBADF.
    pub fn write(&mut self, fd: impl AsRawFd, buffer: &[u8]) -> Result<usize, Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let count = self.machine.write(file, buffer, None);
        self.hear();
        count
    }

    /// Shuts down the writing side of a socket: the peer reads the end (`shutdown(2)`).
    ///
    /// # Errors
    /// ENOTSOCK, ENOTCONN, EBADF.
    pub fn shutdown_write(&mut self, fd: impl AsRawFd) -> Result<(), Errno> {
        self.settle();
        let file = self.machine.file(fd.as_raw_fd())?;
        let done = self.machine.shutdown(file, How::Write);
        self.hear();
        done
    }

    /// Closes a number (`close(2)`). The file goes, and its registrations with it, when no other number leads to it.
    ///
    /// # Errors
    /// EBADF.
    pub fn close(&mut self, fd: impl AsRawFd) -> Result<(), Errno> {
        self.settle();
        let done = self.machine.close(fd.as_raw_fd());
        self.hear();
        done
    }

    /// Closes a socket so that its peer sees a reset, as `SO_LINGER` with a time of zero does with TCP: the peer is
    /// ready for everything, and reads what had come before ECONNRESET. While a duplicate lives nothing happens yet.
    ///
    /// # Errors
    /// ENOTSOCK, EBADF.
    pub fn reset(&mut self, fd: impl AsRawFd) -> Result<(), Errno> {
        let file = self.machine.file(fd.as_raw_fd())?;
        self.machine.reset_on_close(file)?;
        self.close(fd)
    }

    /// Another number for the same open file (`dup(2)`).
    ///
    /// # Errors
    /// EBADF, EMFILE.
    pub fn dup(&mut self, fd: impl AsRawFd) -> Result<FakeFd, Errno> {
        self.settle();
        self.machine.dup(fd.as_raw_fd()).map(FakeFd)
    }

    /// Makes `target` lead to the open file of `fd`, closing what it led to (`dup2(2)`).
    ///
    /// # Errors
    /// EBADF if `fd` is not open or `target` is not in the range of descriptors, which begins with 3.
    pub fn dup_to(&mut self, fd: impl AsRawFd, target: impl AsRawFd) -> Result<FakeFd, Errno> {
        self.settle();
        let done = self.machine.dup_to(fd.as_raw_fd(), target.as_raw_fd());
        self.hear();
        done.map(|()| FakeFd(target.as_raw_fd()))
    }
}
