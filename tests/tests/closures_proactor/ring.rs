//! What only the ring has: descriptors of `std`, the kernel's sockets and files, embedding.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event::{
    Buffer, Domain, How, IntoOwnedFd, Loop, LoopError, Options, PollEvents, SocketKind, op,
};

use crate::{LONG, OnRing, World};

/// P-14: what is adopted is the same descriptor, before, meanwhile and after.
#[test]
fn p14_a_descriptor_is_adopted_and_given_back() {
    let Some(mut event_loop) = OnRing::looping(()) else {
        return;
    };
    let (one, mut other) = UnixStream::pair().unwrap();
    let number = one.as_raw_fd();
    let one = event_loop.adopt(one).unwrap();
    assert_eq!(event_loop.fd(one).unwrap().as_raw_fd(), number);
    assert_eq!(event_loop.number(one), Some(number));
    let back: OwnedFd = event_loop.release(one).unwrap();
    assert_eq!(back.as_raw_fd(), number);
    assert!(event_loop.fd(one).is_none());
    assert!(
        event_loop
            .release(one)
            .is_err_and(|error| error == LoopError::Stale)
    );
    drop(event_loop);
    UnixStream::from(back).write_all(b"x").unwrap();
    other.read_exact(&mut [0]).unwrap();
}

/// P-11: a connection from beginning to end, by operations only.
#[test]
fn p11_accept_brings_an_owned_descriptor() {
    let Some(mut event_loop) = OnRing::looping((Vec::new(), None)) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = event_loop.adopt(listener).unwrap();
    event_loop
        .accept(listener, |event_loop, completion| {
            event_loop.state.1 = event_loop.address(completion.op);
            let fd = completion.into_descriptor().unwrap();
            let stream = event_loop.adopt_fd(fd).unwrap();
            event_loop
                .send(stream, "hello", move |event_loop, completion| {
                    assert_eq!(completion.outcome(), Ok(5));
                    event_loop
                        .shutdown_socket(stream, How::Write, |_, completion| {
                            assert_eq!(completion.outcome(), Ok(0));
                        })
                        .unwrap();
                })
                .map(drop)
        })
        .unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let local = stream.local_addr().unwrap();
    let stream = event_loop.adopt(stream).unwrap();
    event_loop
        .recv(
            stream,
            Vec::with_capacity(3),
            move |event_loop, completion| {
                let count = completion.outcome().unwrap();
                let buffer = completion.into_buffer().unwrap();
                event_loop.state.0.extend_from_slice(&buffer);
                if count > 0 {
                    event_loop.again(op::recv(stream, buffer)).unwrap();
                }
            },
        )
        .unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, (b"hello".to_vec(), Some(local)));
}

/// P-11: each connection of a multishot accept; the descriptors turn into those of `std`.
#[test]
fn p11_accept_multi_brings_one_after_the_other() {
    let Some(mut event_loop) = OnRing::looping(Vec::new()) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = event_loop.adopt(listener).unwrap();
    let accepting = event_loop.accept_multi(listener, |event_loop, completion| {
        if completion.more {
            let stream = TcpStream::from(completion.into_descriptor().unwrap().into_owned_fd());
            event_loop.state.push(stream.peer_addr().unwrap());
        }
    });
    let accepting = match accepting {
        Ok(accepting) => accepting,
        Err(refused) => return eprintln!("no multishot accept: {refused}"),
    };
    let streams = [(); 3].map(|()| TcpStream::connect(address).unwrap());
    while event_loop.state.len() < 3 {
        event_loop.run_once(LONG).unwrap();
    }
    event_loop.cancel(accepting);
    event_loop.run().unwrap();
    assert!(
        event_loop
            .state
            .iter()
            .eq(streams.map(|stream| stream.local_addr().unwrap()).iter())
    );
}

/// P-1: sockets made and connected by operations, in a chain of callbacks.
#[test]
fn p1_socket_and_connect() {
    let Some(mut event_loop) = OnRing::looping(0) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let made = event_loop.socket(
        Domain::V4,
        SocketKind::Stream,
        move |event_loop, completion| {
            let socket = event_loop
                .adopt_fd(completion.into_descriptor().unwrap())
                .unwrap();
            event_loop.connect(socket, address, move |event_loop, completion| {
                assert_eq!(completion.outcome(), Ok(0));
                event_loop.state += 1;
                event_loop
                    .close(socket, |event_loop, _| event_loop.state += 1)
                    .map(drop)
            })?;
            Ok::<(), linux_event::Error>(())
        },
    );
    if let Err(refused) = made {
        return eprintln!("no socket operation: {refused}");
    }
    event_loop.run().unwrap();
    assert_eq!((event_loop.state, event_loop.file_count()), (2, 0));
}

/// P-1: files, at offsets.
#[test]
fn p1_files_are_read_and_written_at_offsets() {
    let Some(mut event_loop) = OnRing::looping(Vec::new()) else {
        return;
    };
    let path = std::env::temp_dir().join(format!("linux-event-files-{}", std::process::id()));
    let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;
    event_loop
        .open(&path, flags, 0o600, |event_loop, completion| {
            let file = event_loop
                .adopt_fd(completion.into_descriptor().unwrap())
                .unwrap();
            event_loop
                .write_at(file, 4, "tail", move |event_loop, completion| {
                    assert_eq!(completion.outcome(), Ok(4));
                    event_loop
                        .write_at(file, 0, "head", move |event_loop, _| {
                            event_loop
                                .fsync(file, move |event_loop, completion| {
                                    assert_eq!(completion.outcome(), Ok(0));
                                    event_loop
                                        .read_at(file, 2, vec![0; 16], |event_loop, completion| {
                                            assert_eq!(completion.outcome(), Ok(6));
                                            event_loop.state =
                                                completion.into_buffer().unwrap().into();
                                        })
                                        .map(drop)
                                })
                                .map(drop)
                        })
                        .map(drop)
                })
                .map(drop)
        })
        .unwrap();
    event_loop.run().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(event_loop.state, b"adtail");
    let refused = event_loop.open("a\0b", 0, 0, |_, _| ()).unwrap_err();
    assert!(matches!(refused.error, LoopError::Invalid(_)));
}

/// P-1: splice and poll.
#[test]
fn p1_splice_and_poll() {
    let Some(mut event_loop) = OnRing::looping(0) else {
        return;
    };
    let (from, mut into) = std::io::pipe().unwrap();
    let (mut out, to) = std::io::pipe().unwrap();
    let (from, to) = (
        event_loop.adopt(from).unwrap(),
        event_loop.adopt(to).unwrap(),
    );
    event_loop
        .poll(from, PollEvents::IN, move |event_loop, completion| {
            assert_eq!(completion.outcome(), Ok(PollEvents::IN.bits()));
            event_loop
                .splice(from, to, 64, |event_loop, completion| {
                    event_loop.state = completion.outcome().unwrap();
                })
                .map(drop)
        })
        .unwrap();
    into.write_all(b"through").unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 7);
    let mut bytes = [0; 7];
    out.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"through");
}

/// P-1: a zero-copy send completes twice, and brings its buffer the second time.
#[test]
fn p1_a_zero_copy_send_completes_twice() {
    let Some(mut event_loop) = OnRing::looping(Vec::new()) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let stream = event_loop.adopt(stream).unwrap();
    let sent = event_loop.send_zero_copy(stream, vec![7; 1000], |event_loop, completion| {
        if completion.more {
            assert_eq!(completion.outcome(), Ok(1000));
        }
        event_loop
            .state
            .push((completion.more, completion.into_buffer().is_some()));
    });
    if let Err(refused) = sent {
        return eprintln!("no zero-copy send: {refused}");
    }
    event_loop.run_once(LONG).unwrap();
    peer.read_exact(&mut [0; 1000]).unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, [(true, false), (false, true)]);
}

/// G-2: a loop of operations in a loop of watchers.
#[test]
fn g2_a_loop_of_operations_sits_in_another() {
    let Some(mut inner) = OnRing::looping(0) else {
        return;
    };
    let (one, other) = UnixStream::pair().unwrap();
    let one = inner.adopt(one).unwrap();
    inner
        .recv(one, vec![0; 8], |inner, _| inner.state += 1)
        .unwrap();
    inner
        .after(Duration::from_millis(2), |inner| inner.state += 10)
        .unwrap();
    inner.defer(|inner| inner.state += 100);
    inner.prepare().unwrap();

    let mut outer = Loop::reactor_with((inner, other)).unwrap();
    let fd = std::os::fd::AsFd::as_fd(&outer.state.0)
        .try_clone_to_owned()
        .unwrap();
    outer
        .watch(&fd)
        .on_read(|outer, watcher, _| {
            let (inner, other) = &mut outer.state;
            inner.run_once(Some(Duration::ZERO))?;
            if inner.state == 110 {
                other.write_all(b"x").unwrap();
            }
            if inner.state == 111 {
                outer.cancel(watcher);
                return Ok(());
            }
            inner.prepare()
        })
        .start()
        .unwrap();
    outer.run_for(LONG.unwrap()).unwrap();
    assert_eq!(outer.state.0.state, 111);
}

/// P-12, P-13: options, and what is in force.
#[test]
fn p13_options_are_taken() {
    if OnRing::looping(()).is_none() {
        return;
    }
    let mut options = Options::DEFAULT;
    options.entries = 4;
    options.submit_batch = 2;
    let mut event_loop = Loop::proactor_with_options(options, 0).unwrap();
    for _ in 0..100 {
        event_loop
            .nop(|event_loop, _| event_loop.state += 1)
            .unwrap();
    }
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 100);
    assert!(!format!("{:?}", event_loop.capabilities()).is_empty());
}

/// The tables are address space, not stack.
#[test]
fn a_loop_of_operations_needs_little_stack() {
    let small = std::thread::Builder::new().stack_size(128 * 1024);
    let thread = small.spawn(|| {
        if let Some(mut event_loop) = OnRing::looping(0) {
            event_loop
                .nop(|event_loop, _| event_loop.state += 1)
                .unwrap();
            event_loop.run().unwrap();
            assert_eq!(event_loop.state, 1);
        }
    });
    thread.unwrap().join().unwrap();
}

/// P-16: registered buffers and slots.
#[test]
fn p16_registered_buffers_and_slots() {
    let Some(mut event_loop) = OnRing::looping(0) else {
        return;
    };
    let (one, mut other) = UnixStream::pair().unwrap();
    let one = event_loop.adopt(one).unwrap();
    let room = Buffer::with_capacity(64);
    event_loop
        .register_buffers([room].into_iter().collect())
        .unwrap();
    event_loop.register_files(4).unwrap();
    let slot = event_loop.install(one).unwrap();
    let fixed = linux_event::FixedBuffer::new(0);
    event_loop
        .submit(
            op::read_fixed(slot, fixed, 0, 16),
            |event_loop, completion| {
                event_loop.state = completion.outcome().unwrap();
            },
        )
        .unwrap();
    assert!(
        event_loop
            .fixed(fixed)
            .is_err_and(|error| error == LoopError::Busy)
    );
    other.write_all(b"fixed").unwrap();
    event_loop.run().unwrap();
    assert_eq!(event_loop.state, 5);
    assert_eq!(event_loop.fixed(fixed).unwrap()[..5], *b"fixed");
    assert_eq!(event_loop.unregister_buffers().unwrap().len(), 1);
    event_loop.uninstall(slot).unwrap();
}
