//! P-6 and G-1: how a ring ends.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use linux_event_core::error::Error;
use linux_event_core::place::Place;
use linux_event_core::proactor::{
    Backend, Code, Memory, OperationMemory, Options, Proactor, Shutdown, Storage, Uring, op,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::sys::{BorrowedFd, Linux};

use crate::buf::VecBuf;
use crate::harness::*;

fn borrowed(fd: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: borrowed from its owner for that long.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

#[test]
fn p6_dropping_gives_back_what_is_in_flight_and_what_is_queued() {
    let alive = Arc::new(());
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut ring = ring();
    for index in 0..6 {
        let buffer = VecBuf::counted(Vec::with_capacity(64), &alive);
        push(
            &mut ring,
            token(index, 1),
            op::read(on(borrowed(&reader)), buffer),
        );
        if index == 3 {
            ring.flush().unwrap();
        }
    }
    let start = std::time::Instant::now();
    drop(ring);
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn p6_a_shutdown_reports_what_settled() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut ring = ring();
    for index in 0..5 {
        push(
            &mut ring,
            token(index, 1),
            op::read(on(borrowed(&reader)), VecBuf::with_capacity(1)),
        );
    }
    let report = ring.shut_down(Duration::from_secs(1));
    let mut expected = Shutdown::default();
    expected.settled = 5;
    assert_eq!(report, expected);
    assert_eq!(ring.shut_down(Duration::ZERO), Shutdown::default());
}

#[test]
fn p6_hard_chains_end_too() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut ring = ring();
    ring.make_room(3).unwrap();
    for index in 0..3 {
        let read = op::read(on(borrowed(&reader)), VecBuf::with_capacity(1));
        let read = if index < 2 { read.hard_link() } else { read };
        push(&mut ring, token(index, 1), read);
    }
    assert_eq!(ring.shut_down(Duration::from_secs(2)).settled, 3);
}

/// A ring with thousands of receives that wait, a few on each socket; the sockets, and how many there are.
fn thousands(alive: &Arc<()>, entries: u32) -> (Ring, Vec<UnixStream>, u32) {
    const SOCKETS: u32 = 50;
    const EACH: u32 = 100;
    let mut sockets = Vec::new();
    let mut ring = with_options(Options {
        entries,
        ..Options::default()
    });
    ring.reserve((SOCKETS * EACH) as usize).unwrap();
    for socket in 0..SOCKETS {
        let (ours, peer) = UnixStream::pair().unwrap();
        for nth in 0..EACH {
            let buffer = VecBuf::counted(Vec::with_capacity(1), alive);
            let receive = op::recv(on(borrowed(&ours)), buffer);
            push(&mut ring, token(socket * EACH + nth, 1), receive);
        }
        sockets.extend([ours, peer]);
    }
    ring.flush().unwrap();
    (ring, sockets, SOCKETS * EACH)
}

#[test]
fn p6_thousands_of_operations_end_in_a_few_calls() {
    const ENTRIES: u32 = 128;
    let alive = Arc::new(());
    let (mut ring, sockets, count) = thousands(&alive, ENTRIES);
    let enters = ring.counters().enters;
    let report = ring.shut_down(Duration::from_mins(1));
    let mut expected = Shutdown::default();
    expected.settled = count as usize;
    assert_eq!(report, expected);
    assert_eq!(Arc::strong_count(&alive), 1);
    // A call for each queueful of requests, one for what it brings, and a few for what comes late.
    let enters = ring.counters().enters - enters;
    assert!(enters <= 2 * u64::from(count / ENTRIES) + 16, "{enters}");
    drop(sockets);
}

#[test]
fn p6_dropping_gives_thousands_of_buffers_back() {
    let alive = Arc::new(());
    let (ring, sockets, count) = thousands(&alive, Options::default().entries);
    assert_eq!(Arc::strong_count(&alive), 1 + count as usize);
    let begin = std::time::Instant::now();
    drop(ring);
    // What a slow machine, as an emulated one is, has not ended when the second is over, is leaked.
    let is_over = begin.elapsed() >= Duration::from_secs(1);
    assert!(Arc::strong_count(&alive) == 1 || is_over);
    drop(sockets);
}

#[test]
fn p6_a_stalled_zero_copy_send_is_leaked_and_counted() {
    // A peer that does not read keeps the pages of a zero-copy send.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _server = listener.accept().unwrap();
    let alive = Arc::new(());
    let mut ring = ring();
    if !has(&ring, Code::SendZeroCopy) {
        return;
    }
    let buffer = VecBuf::counted(vec![1; 1 << 22], &alive);
    push(
        &mut ring,
        token(0, 1),
        op::send_zero_copy(on(borrowed(&client)), buffer),
    );
    let report = ring.shut_down(Duration::from_millis(50));
    assert_eq!(report.settled + report.leaked, 1);
    assert_eq!(ring.counters().leaked, report.leaked as u64);
    drop(ring);
    assert_eq!(Arc::strong_count(&alive), 1 + report.leaked);
}

#[test]
fn p6_an_accepted_descriptor_that_comes_at_the_end_is_closed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut ring = ring();
    if !has(&ring, Code::AcceptMulti) {
        return;
    }
    push(
        &mut ring,
        token(0, 1),
        op::accept_multi(on(borrowed(&listener))),
    );
    ring.flush().unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    drop(ring);
    for mut client in clients {
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        // Closed by the ring's end, or never accepted: then the listener closes it.
        let _ = client.write(b"x");
    }
}

#[test]
fn p12_twenty_rings_one_after_the_other_find_a_registered_place() {
    let registered = ring().capabilities().registered_ring;
    if !registered {
        eprintln!("skipped: the kernel lacks registered rings (Linux 5.18)");
        return;
    }
    for _ in 0..20 {
        let ring = ring();
        assert!(
            ring.capabilities().registered_ring,
            "{}",
            ring.capabilities()
        );
    }
}

#[test]
fn p12_the_best_is_in_force_here() {
    let ring = ring();
    let capabilities = ring.capabilities();
    assert!(capabilities.bytes <= 48 * 1024, "{capabilities}");
    println!("{capabilities}");
}

#[test]
fn p13_memory_of_the_programs_own() {
    use linux_event_core::place::Place;
    use linux_event_core::proactor::{Memory, OperationMemory, RingMemory};
    static RING: Place<RingMemory<16, 32>> = Place::new(RingMemory::new());
    static OPERATIONS_MEMORY: Place<OperationMemory<64>> = Place::new(OperationMemory::new());
    let memory = Memory::new()
        .ring(RING.take().unwrap())
        .operations(OPERATIONS_MEMORY.take().unwrap());
    let mut ring = with_memory(Options::default(), memory);
    println!("{}", ring.capabilities());
    assert_eq!(ring.capabilities().entries, 16);
    for index in 0..64 {
        push(&mut ring, token(index, 1), op::nop());
    }
    for _ in 0..64 {
        next(&mut ring);
    }
}

#[test]
fn g1_a_forked_child_only_closes() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut ring = ring();
    if !has(&ring, Code::RecvMulti) {
        return;
    }
    push(
        &mut ring,
        token(0, 1),
        op::read(on(borrowed(&reader)), VecBuf::with_capacity(8)),
    );
    ring.flush().unwrap();
    let group = ring.provide(2, 64).unwrap();
    // SAFETY: the child touches the ring only, and ends without returning.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let owner = ring.is_owner();
            drop(ring);
            libc::_exit(i32::from(owner));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "{status:#x}"
        );
    }
    writer.write_all(b"mine").unwrap();
    assert_eq!(&*buffer(next_of(&mut ring, token(0, 1))), b"mine");
    assert_eq!(ring.withdraw(group), Ok(()));
}

#[test]
fn p6_a_ring_without_room_for_a_proactor_comes_back() {
    type Tables = Storage<u32, OPERATIONS, 1>;
    static MEMORY: Place<OperationMemory<8>> = Place::new(OperationMemory::new());
    let memory = Memory::new().operations(MEMORY.take().unwrap());
    let ring: Ring = Uring::with_memory(Linux, Options::DEFAULT, memory).expect("a ring");
    let over = Proactor::<VecBuf, u32, OPERATIONS, 1, Ring, Tables>::over(ring, Tables::new());
    let Err((Error::Full { capacity: 8 }, mut ring, _)) = over.map(drop) else {
        panic!("there is room for 8");
    };
    // It is as good as new, for one that asks for less.
    ring.reserve(8).unwrap();
    push(&mut ring, token(7, 1), op::nop());
    ring.flush().unwrap();
    assert_eq!(ring.in_flight(), 1);
}
