//! Errors of the kernel, by number, name and meaning.
//!
//! **What.** [`Errno`] is one error number of Linux, 1 to 4095, with an associated constant for every number that
//! the kernel's generic table names (`errno(3)`; all supported machines share it).
//!
//! **Invariants.** *INV-ERRNO-1*: the number is in 1 to 4095, so `Option<Errno>` and `Result<(), Errno>` take no
//! more room than it does. *INV-ERRNO-2*: only [`Errno::name`], [`Errno::message`] and the two formatters reach the
//! texts; a program that handles errors by number links none of them.
//!
//! **Why this shape.** A system call that fails returns a small negative number. Decoding it is one comparison on
//! the good path, and what comes out is 16 bits that can be matched, copied and sent anywhere.

#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZeroU16;

use linux_raw_sys::errno;

/// The largest error number that a system call can return.
const MAX: u16 = 4095;
/// The largest value that a system call can return and not mean an error: −4096 as the register shows it.
const LAST_GOOD: usize = usize::MAX - MAX as usize;

/// An error number of Linux.
///
/// ```
/// use linux_event_core::errno::Errno;
/// let error = Errno::result(-11_isize as usize).unwrap_err();
/// assert_eq!(error, Errno::EAGAIN);
/// assert_eq!(format!("{error:?}"), "EAGAIN");
/// assert!(format!("{error}").ends_with(" (EAGAIN, 11)"));
/// ```
///
/// Source: `errno(3)`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Errno(NonZeroU16);

impl Errno {
    /// The error with number `raw`; `None` unless it is in 1 to 4095.
    ///
    /// Numbers that have no name are accepted: a newer kernel may have given them one.
    ///
    /// ```
    /// use linux_event_core::errno::Errno;
    /// assert_eq!(Errno::from_raw(2), Some(Errno::ENOENT));
    /// assert_eq!(Errno::from_raw(0), None);
    /// assert_eq!(Errno::from_raw(-2), None);
    /// ```
    #[inline(always)]
    pub const fn from_raw(raw: i32) -> Option<Self> {
        if raw < 1 || raw > MAX as i32 {
            return None;
        }
        match NonZeroU16::new(raw as u16) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, 1 to 4095.
    #[inline(always)]
    pub const fn raw(self) -> i32 {
        self.0.get() as i32
    }

    /// Decodes what a system call left in its return register: −4095 to −1 are errors, all else is a value.
    ///
    /// # Errors
    ///
    /// The error that the register holds.
    ///
    /// ```
    /// use linux_event_core::errno::Errno;
    /// assert_eq!(Errno::result(3), Ok(3));
    /// assert_eq!(Errno::result(-9_isize as usize), Err(Errno::EBADF));
    /// assert_eq!(Errno::result(-4096_isize as usize), Ok(-4096_isize as usize)); // an address, say
    /// ```
    ///
    /// Source: `syscall(2)`.
    #[inline(always)]
    pub const fn result(ret: usize) -> Result<usize, Self> {
        if ret <= LAST_GOOD {
            return Ok(ret);
        }
        match NonZeroU16::new(ret.wrapping_neg() as u16) {
            Some(number) => Err(Self(number)),
            // Not reached: the negation of −4095 to −1 is never zero. This form needs no panic.
            None => Ok(ret),
        }
    }

    /// The constant for a number of the kernel's table.
    const fn listed(number: u32) -> Self {
        match Self::from_raw(number as i32) {
            Some(errno) => errno,
            None => panic!("an error number is 1 to 4095"),
        }
    }
}

macro_rules! errnos {
    ($($name:ident $message:literal)*) => {
        /// The kernel's table.
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $message, ".")]
                pub const $name: Self = Self::listed(errno::$name);
            )*

            /// The name, such as `"EAGAIN"`; `None` for a number without one.
            ///
            /// Where a number has two names this is the older one: `EAGAIN`, `EDEADLK`, `EOPNOTSUPP`.
            ///
            /// ```
            /// use linux_event_core::errno::Errno;
            /// assert_eq!(Errno::ENOSYS.name(), Some("ENOSYS"));
            /// ```
            #[cold]
            #[inline(never)]
            pub const fn name(self) -> Option<&'static str> {
                match self.raw() as u32 {
                    $(errno::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What the error means, in a few words: no capital, no full stop.
            ///
            /// ```
            /// use linux_event_core::errno::Errno;
            /// assert_eq!(Errno::from_raw(4000).unwrap().message(), "unknown error");
            /// ```
            #[cold]
            #[inline(never)]
            pub const fn message(self) -> &'static str {
                match self.raw() as u32 {
                    $(errno::$name => $message,)*
                    _ => "unknown error",
                }
            }

            /// Every number that has a name, once.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

errnos! {
    EPERM "not permitted to this caller"
    ENOENT "no such file, directory or entry"
    ESRCH "no such process or thread"
    EINTR "interrupted by a signal"
    EIO "the device failed to read or write"
    ENXIO "no such device, or nobody at the other end"
    E2BIG "arguments take too much room"
    ENOEXEC "not a program this kernel can run"
    EBADF "not an open file descriptor, or not open for this"
    ECHILD "no such child"
    EAGAIN "not ready now, try again"
    ENOMEM "out of memory, or of what may be locked"
    EACCES "access denied by file permissions"
    EFAULT "an address outside this process's memory"
    ENOTBLK "not a block device"
    EBUSY "in use by somebody else"
    EEXIST "exists already"
    EXDEV "on another file system"
    ENODEV "no such device, or it can't do this"
    ENOTDIR "not a directory"
    EISDIR "is a directory"
    EINVAL "an argument makes no sense here"
    ENFILE "the system has too many files open"
    EMFILE "this process has too many files open"
    ENOTTY "not a terminal, or not a request it knows"
    ETXTBSY "the program file is running or being written"
    EFBIG "the file would be too large"
    ENOSPC "no room left on the device"
    ESPIPE "has no position to seek to"
    EROFS "the file system is read-only"
    EMLINK "too many links"
    EPIPE "nobody reads the other end"
    EDOM "outside the function's domain"
    ERANGE "the result does not fit"
    EDEADLK "waiting would never end"
    ENAMETOOLONG "a name is too long"
    ENOLCK "no locks left"
    ENOSYS "this kernel has no such call, or a filter hides it"
    ENOTEMPTY "the directory is not empty"
    ELOOP "too many symbolic links, or links in a circle"
    ENOMSG "no message of that type"
    EIDRM "the object was removed"
    ECHRNG "channel number out of range"
    EL2NSYNC "level 2 is out of step"
    EL3HLT "level 3 has halted"
    EL3RST "level 3 was reset"
    ELNRNG "link number out of range"
    EUNATCH "the protocol driver is not attached"
    ENOCSI "no CSI structure left"
    EL2HLT "level 2 has halted"
    EBADE "a bad exchange"
    EBADR "a bad request descriptor"
    EXFULL "the exchange is full"
    ENOANO "no anode"
    EBADRQC "a bad request code"
    EBADSLT "a bad slot"
    EBFONT "a bad font file"
    ENOSTR "not a stream device"
    ENODATA "no data, or no such attribute"
    ETIME "the time ran out"
    ENOSR "no stream resources left"
    ENONET "the machine is on no network"
    ENOPKG "the package is not installed"
    EREMOTE "the object lives on another machine"
    ENOLINK "the link was cut"
    EADV "an advertise error"
    ESRMNT "an srmount error"
    ECOMM "sending failed"
    EPROTO "the peer broke the protocol"
    EMULTIHOP "would take more than one hop"
    EDOTDOT "an RFS error"
    EBADMSG "the message is damaged"
    EOVERFLOW "the value does not fit its type"
    ENOTUNIQ "the name is not unique on the network"
    EBADFD "the descriptor is in no state for this"
    EREMCHG "the remote address changed"
    ELIBACC "a shared library can't be reached"
    ELIBBAD "a shared library is damaged"
    ELIBSCN "the .lib section is damaged"
    ELIBMAX "too many shared libraries"
    ELIBEXEC "a shared library can't be run as a program"
    EILSEQ "not a valid sequence of bytes"
    ERESTART "the call should be started again"
    ESTRPIPE "a stream pipe error"
    EUSERS "too many users"
    ENOTSOCK "not a socket"
    EDESTADDRREQ "needs a destination address"
    EMSGSIZE "the message is too long"
    EPROTOTYPE "the protocol does not suit this type of socket"
    ENOPROTOOPT "the protocol has no such option"
    EPROTONOSUPPORT "no such protocol here"
    ESOCKTNOSUPPORT "no such type of socket here"
    EOPNOTSUPP "this object does not support that"
    EPFNOSUPPORT "no such protocol family here"
    EAFNOSUPPORT "no such address family here"
    EADDRINUSE "the address is in use"
    EADDRNOTAVAIL "the address is not one of this machine's"
    ENETDOWN "the network is down"
    ENETUNREACH "no route to the network"
    ENETRESET "the network dropped the connection"
    ECONNABORTED "the connection was given up on this side"
    ECONNRESET "the peer reset the connection"
    ENOBUFS "no buffers left"
    EISCONN "connected already"
    ENOTCONN "not connected"
    ESHUTDOWN "shut down for sending"
    ETOOMANYREFS "too many references"
    ETIMEDOUT "the peer did not answer in time"
    ECONNREFUSED "the peer refused the connection"
    EHOSTDOWN "the host is down"
    EHOSTUNREACH "no route to the host"
    EALREADY "under way already"
    EINPROGRESS "under way now"
    ESTALE "the file handle is stale"
    EUCLEAN "the structure wants cleaning"
    ENOTNAM "not a XENIX named file"
    ENAVAIL "no XENIX semaphores left"
    EISNAM "is a named file"
    EREMOTEIO "the remote device failed to read or write"
    EDQUOT "the quota is used up"
    ENOMEDIUM "no medium in the drive"
    EMEDIUMTYPE "the wrong type of medium"
    ECANCELED "cancelled"
    ENOKEY "the key is missing"
    EKEYEXPIRED "the key has expired"
    EKEYREVOKED "the key was revoked"
    EKEYREJECTED "the key was rejected"
    EOWNERDEAD "the owner died holding it"
    ENOTRECOVERABLE "the state can't be recovered"
    ERFKILL "the radio is switched off"
    EHWPOISON "the memory page is broken in hardware"
}

/// Second names.
impl Errno {
    /// [`Errno::EAGAIN`] under its BSD name.
    pub const EWOULDBLOCK: Self = Self::listed(errno::EWOULDBLOCK);
    /// [`Errno::EDEADLK`] under its System V name.
    pub const EDEADLOCK: Self = Self::listed(errno::EDEADLOCK);
    /// [`Errno::EOPNOTSUPP`] under its POSIX name; the two are one on Linux.
    pub const ENOTSUP: Self = Self::EOPNOTSUPP;
}

impl fmt::Debug for Errno {
    #[cold]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    #[cold]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name}, {})", self.message(), self.0),
            None => write!(f, "{} ({})", self.message(), self.0),
        }
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (errno, number) in [
            (Errno::EPERM, 1),
            (Errno::EAGAIN, 11),
            (Errno::EWOULDBLOCK, 11),
            (Errno::EINVAL, 22),
            (Errno::EDEADLK, 35),
            (Errno::EDEADLOCK, 35),
            (Errno::ENOSYS, 38),
            (Errno::EBADR, 53),
            (Errno::ETIME, 62),
            (Errno::EOPNOTSUPP, 95),
            (Errno::ENOTSUP, 95),
            (Errno::ECANCELED, 125),
            (Errno::EHWPOISON, 133),
        ] {
            assert_eq!(errno.raw(), number);
        }
    }

    #[test]
    fn every_number_has_one_name_and_one_message_of_its_own() {
        // The generic table is 1 to 133 without 41 and 58, whose names are second names of others.
        let numbered = (1..=133).filter(|number| ![41, 58].contains(number));
        assert!(numbered.eq(Errno::ALL.iter().map(|errno| errno.raw())));
        for (index, errno) in Errno::ALL.iter().enumerate() {
            let name = errno.name().unwrap();
            let message = errno.message();
            assert!(name.starts_with('E') && name.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!((3..60).contains(&message.len()) && !message.ends_with('.'));
            for other in &Errno::ALL[..index] {
                assert_ne!(other.name(), Some(name));
                assert_ne!(other.message(), message);
            }
        }
        for number in [41, 58, 134, 4095] {
            let errno = Errno::from_raw(number).unwrap();
            assert_eq!((errno.name(), errno.message()), (None, "unknown error"));
        }
    }

    #[test]
    fn a_return_value_is_an_error_in_its_range_only() {
        for good in [
            0,
            1,
            usize::MAX / 2,
            -4097_isize as usize,
            -4096_isize as usize,
        ] {
            assert_eq!(Errno::result(good), Ok(good));
        }
        for number in [1, 11, 4094, 4095] {
            let raw = (number as usize).wrapping_neg();
            assert_eq!(Errno::result(raw), Err(Errno::from_raw(number).unwrap()));
        }
    }

    #[test]
    fn from_raw_takes_1_to_4095() {
        for outside in [i32::MIN, -1, 0, 4096, 65_536 + 11, i32::MAX] {
            assert_eq!(Errno::from_raw(outside), None, "{outside}");
        }
        assert_eq!(Errno::from_raw(1).map(Errno::raw), Some(1));
        assert_eq!(Errno::from_raw(4095).map(Errno::raw), Some(4095));
        assert_eq!(size_of::<Option<Errno>>(), 2, "INV-ERRNO-1");
        assert_eq!(size_of::<Result<(), Errno>>(), 2, "INV-ERRNO-1");
    }

    #[test]
    fn errors_print_name_number_and_meaning() {
        assert_eq!(format!("{:?}", Errno::EWOULDBLOCK), "EAGAIN");
        assert_eq!(format!("{}", Errno::ECHILD), "no such child (ECHILD, 10)");
        let unnamed = Errno::from_raw(4000).unwrap();
        assert_eq!(format!("{unnamed:?}"), "Errno(4000)");
        assert_eq!(format!("{unnamed}"), "unknown error (4000)");
    }
}
