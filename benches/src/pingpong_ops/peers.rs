//! The ping-pong on runtimes that work by operations, each used the way its documentation asks for.
//!
//! **What.** [`monoio()`] and [`compio()`]: one thread, streams of their own, buffers that go with the operation and come
//! back with its result, the echo a task of its own.
//!
//! **Invariants.** INV-PINGPONG-1.
//!
//! **Why this shape.** As for tokio in `pingpong`. compio is told to defer its task work as the floor does; monoio makes its
//! ring itself.

#![forbid(unsafe_code)]

use std::io;
use std::os::unix::net::UnixStream as StdStream;

use crate::pingpong::{BUFFER, lost};
use crate::sys::ring::ENTRIES;
use crate::workload::{Round, timed};

pub(super) fn monoio(_idle: usize) -> io::Result<Box<dyn Round>> {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
    use monoio::net::UnixStream;

    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(ENTRIES)
        .build()?;
    let (mut near, mut far) = runtime.block_on(async { UnixStream::pair() })?;
    runtime.block_on(async {
        monoio::spawn(async move {
            let mut buffer = vec![0; BUFFER];
            let mut byte = vec![1];
            loop {
                let received;
                (received, buffer) = far.read(buffer).await;
                let sent;
                (sent, byte) = far.write_all(byte).await;
                if !matches!((received, sent), (Ok(1), Ok(_))) {
                    break;
                }
            }
        });
    });
    let (mut buffer, mut byte) = (vec![0; BUFFER], vec![1]);
    Ok(timed(1, move |round_trips| {
        runtime.block_on(async {
            for _ in 0..round_trips {
                let sent;
                (sent, byte) = near.write_all(std::mem::take(&mut byte)).await;
                sent?;
                let received;
                (received, buffer) = near.read(std::mem::take(&mut buffer)).await;
                one(received?)?;
            }
            Ok(())
        })
    }))
}

pub(super) fn compio(_idle: usize) -> io::Result<Box<dyn Round>> {
    use compio::BufResult;
    use compio::driver::ProactorBuilder;
    use compio::io::{AsyncRead, AsyncWriteExt};
    use compio::net::UnixStream;

    let mut proactor = ProactorBuilder::new();
    proactor
        .capacity(ENTRIES)
        .single_issuer(true)
        .defer_taskrun(true);
    let runtime = compio::runtime::RuntimeBuilder::new()
        .with_proactor(proactor)
        .build()?;
    let (near, far) = StdStream::pair()?;
    let (mut near, mut far) = runtime.enter(|| -> io::Result<_> {
        Ok((UnixStream::from_std(near)?, UnixStream::from_std(far)?))
    })?;
    let echo = runtime.spawn(async move {
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut byte = vec![1];
        loop {
            let received;
            BufResult(received, buffer) = far.read(buffer).await;
            let sent;
            BufResult(sent, byte) = far.write_all(byte).await;
            if !matches!((received, sent), (Ok(1), Ok(()))) {
                break;
            }
        }
    });
    echo.detach();
    let (mut buffer, mut byte) = (Vec::with_capacity(BUFFER), vec![1]);
    Ok(timed(1, move |round_trips| {
        runtime.block_on(async {
            for _ in 0..round_trips {
                let sent;
                BufResult(sent, byte) = near.write_all(std::mem::take(&mut byte)).await;
                sent?;
                let received;
                BufResult(received, buffer) = near.read(std::mem::take(&mut buffer)).await;
                one(received?)?;
            }
            Ok(())
        })
    }))
}

fn one(bytes: usize) -> io::Result<()> {
    if bytes == 1 { Ok(()) } else { Err(lost()) }
}
