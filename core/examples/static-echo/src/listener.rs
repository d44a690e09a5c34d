//! The listening socket.

#![forbid(unsafe_code)]

use core::net::{Ipv4Addr, SocketAddr};

use linux_event_core::sys::{BorrowedFd, Domain, Fd, Kernel, Linux, SocketKind, Sockets};

use crate::failure::{Failure, OrFail};

/// More than wait at once, as a rule. The kernel takes less if `net.core.somaxconn` is less.
const BACKLOG: u32 = 4096;

/// Listens on `port`, or on one that the kernel chooses: that comes too.
pub(crate) fn open(port: u16) -> (Fd, Option<u16>) {
    let socket = Linux
        .socket(Domain::V4, SocketKind::Stream)
        .map_err(Failure::Socket)
        .or_fail();
    let listener = socket.borrow();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if port != 0 {
        // Old connections of the port may linger.
        Linux
            .set_reuse_address(listener, true)
            .map_err(Failure::Socket)
            .or_fail();
    }
    Linux
        .bind(listener, address)
        .map_err(Failure::Port)
        .or_fail();
    Linux
        .listen(listener, BACKLOG)
        .map_err(Failure::Port)
        .or_fail();
    let chosen = match port {
        0 => Linux
            .local_address(listener)
            .map_err(Failure::Socket)
            .or_fail(),
        _ => None,
    };
    (socket, chosen.map(|address| address.port()))
}

/// Prints the port, if the kernel chose it; once everything is in place.
pub(crate) fn tell(port: Option<u16>) {
    const NAME: &[u8; 23] = b"listening on 127.0.0.1:";
    let Some(port) = port else {
        return;
    };
    let (mut digits, mut rest) = (*b"00000\n", port);
    for digit in digits.iter_mut().rev().skip(1) {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let shown = digits.iter().skip_while(|&&digit| digit == b'0');
    let mut line = [0; NAME.len() + 6];
    let mut length = 0;
    for (place, byte) in line.iter_mut().zip(NAME.iter().chain(shown)) {
        *place = *byte;
        length += 1;
    }
    let _ = Linux.write(BorrowedFd::STDOUT, line.get(..length).unwrap_or_default());
}
