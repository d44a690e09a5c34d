//! Descriptors with an owner.

#![forbid(unsafe_code)]

use std::rc::Rc;

use linux_event_core::sys::{AsRawFd, RawFd};

use super::processes::Returned;
use super::{Fake, FakeFd};

/// Stands for a number that is no longer owned.
const NONE: RawFd = -1;

/// A descriptor of a [`Fake`] that is closed when this is dropped: what accept makes, and what a proactor adopts.
///
/// ```
/// use linux_event::fake::Fake;
///
/// let mut fake = Fake::new();
/// let (reader, _writer) = fake.pipe()?;
/// let owned = fake.own(reader);
/// assert_eq!(fake.open_descriptors(), 2);
/// drop(owned);
/// assert_eq!(fake.open_descriptors(), 1);
/// # Ok::<(), linux_event::Errno>(())
/// ```
#[derive(Debug)]
pub struct FakeOwned {
    number: RawFd,
    returned: Returned,
}

impl FakeOwned {
    pub(super) fn new(number: RawFd, returned: &Returned) -> Self {
        let returned = Rc::clone(returned);
        Self { number, returned }
    }

    /// The descriptor as a number: good for as long as this lives.
    pub fn fd(&self) -> FakeFd {
        FakeFd(self.number)
    }

    /// Gives the number up without closing it.
    pub fn into_fd(mut self) -> FakeFd {
        FakeFd(std::mem::replace(&mut self.number, NONE))
    }
}

impl AsRawFd for FakeOwned {
    fn as_raw_fd(&self) -> RawFd {
        self.number
    }
}

impl Drop for FakeOwned {
    fn drop(&mut self) {
        if self.number != NONE {
            self.returned.borrow_mut().push(self.number);
        }
    }
}

impl Fake {
    /// Makes a number owned, so that a proactor can adopt it. As with a real descriptor, a number has one owner: closing it
    /// elsewhere too closes whatever has it by then.
    pub fn own(&self, fd: FakeFd) -> FakeOwned {
        FakeOwned::new(fd.as_raw_fd(), &self.returned)
    }
}
