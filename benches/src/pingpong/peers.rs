//! The ping-pong on other people's loops, each used the way its documentation asks for.
//!
//! **What.** [`mio()`] with its own sockets, edge-triggered, a short read as the sign that a socket is drained (epoll(7));
//! [`polling()`] level-triggered; [`tokio()`] on its current-thread runtime, the echo a task of its own; `libev` with two
//! `ev_io`.
//!
//! **Invariants.** INV-PINGPONG-1.
//!
//! **Why this shape.** Each does six system calls a round trip if its loop adds none; `syscalls pingpong` shows what it adds.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use super::{BUFFER, FAR, IDLE, NEAR, lost};
use crate::idle_watchers::idle;
use crate::sys::{BATCH, Calls, Raw, leaked_pair, polling_add, tokio_add};
use crate::workload::{Round, timed};

const NEAR_TOKEN: mio::Token = mio::Token(NEAR as usize);
const FAR_TOKEN: mio::Token = mio::Token(FAR as usize);

pub(super) fn mio(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let mut poll = mio::Poll::new()?;
    let mut events = mio::Events::with_capacity(BATCH);
    let (mut near, mut far) = mio::net::UnixStream::pair()?;
    let registry = poll.registry();
    registry.register(&mut near, NEAR_TOKEN, mio::Interest::READABLE)?;
    registry.register(&mut far, FAR_TOKEN, mio::Interest::READABLE)?;
    for (key, fd) in (IDLE as usize..).zip(idle(idle_watchers)?) {
        let source = &mut mio::unix::SourceFd(&fd.as_raw_fd());
        registry.register(source, mio::Token(key), mio::Interest::READABLE)?;
    }
    Ok(timed(1, move |round_trips| {
        let mut buffer = [0; BUFFER];
        let mut left = round_trips;
        sent(near.write(&[1])?)?;
        while left > 0 {
            poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    NEAR_TOKEN => {
                        sent(near.read(&mut buffer)?)?;
                        left -= 1;
                        if left > 0 {
                            sent(near.write(&[1])?)?;
                        }
                    }
                    FAR_TOKEN => {
                        sent(far.read(&mut buffer)?)?;
                        sent(far.write(&[1])?)?;
                    }
                    _ => return Err(lost()),
                }
            }
        }
        Ok(())
    }))
}

#[inline(always)]
fn sent(bytes: usize) -> io::Result<()> {
    if bytes == 1 { Ok(()) } else { Err(lost()) }
}

pub(super) fn polling(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let poller = polling::Poller::new()?;
    let mut events = polling::Events::new();
    let (near, far) = leaked_pair()?;
    polling_add(&poller, near, NEAR as usize)?;
    polling_add(&poller, far, FAR as usize)?;
    for (key, fd) in (IDLE as usize..).zip(idle(idle_watchers)?) {
        polling_add(&poller, fd, key)?;
    }
    Ok(timed(1, move |round_trips| {
        let mut buffer = [0; BUFFER];
        let mut left = round_trips;
        sent(Raw::write(near, &[1]) as usize)?;
        while left > 0 {
            events.clear();
            poller.wait(&mut events, None)?;
            for event in events.iter() {
                match event.key as u64 {
                    NEAR => {
                        sent(Raw::read(near, &mut buffer) as usize)?;
                        left -= 1;
                        if left > 0 {
                            sent(Raw::write(near, &[1]) as usize)?;
                        }
                    }
                    FAR => {
                        sent(Raw::read(far, &mut buffer) as usize)?;
                        sent(Raw::write(far, &[1]) as usize)?;
                    }
                    _ => return Err(lost()),
                }
            }
        }
        Ok(())
    }))
}

pub(super) fn tokio(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let context = runtime.enter();
    let (mut near, mut far) = UnixStream::pair()?;
    let idle: Vec<_> = idle(idle_watchers)?
        .into_iter()
        .map(tokio_add)
        .collect::<io::Result<_>>()?;
    drop(context);
    runtime.spawn(async move {
        let mut buffer = [0; BUFFER];
        while let Ok(1) = far.read(&mut buffer).await {
            if far.write_all(&buffer[..1]).await.is_err() {
                break;
            }
        }
    });
    Ok(timed(1, move |round_trips| {
        let _ = &idle;
        runtime.block_on(async {
            let mut buffer = [0; BUFFER];
            for _ in 0..round_trips {
                near.write_all(&[1]).await?;
                sent(near.read(&mut buffer).await?)?;
            }
            Ok(())
        })
    }))
}

#[cfg(feature = "libev")]
pub(super) fn libev(idle_watchers: usize) -> io::Result<Box<dyn Round>> {
    let (near, far) = leaked_pair()?;
    let mut bounce = crate::sys::libev::PingPong::new([near, far], &idle(idle_watchers)?)?;
    Ok(timed(1, move |round_trips| bounce.run(round_trips)))
}
