//! A steady state of operations allocates nothing and frees nothing: as values, and as closures over the values.
//!
//! On the ring that is 0, whoever counts. The fake simulates a machine and allocates for it; so there the loop is compared
//! with the values that it is made over: closures add nothing. `zero_allocation_operations.rs` has more of the ring.

#![deny(unsafe_code)]

#[path = "../src/allocations.rs"]
mod allocations;

use std::os::unix::net::UnixStream;

use allocations::during;
use linux_event::core::proactor::{Event, Proactor, Uring};
use linux_event::core::sys::Linux;
use linux_event::fake::Fake;
use linux_event::{Buffer, Completion, File, Loop, ProactorBackend, Shared, op};
use linux_event_tests::proactor::{FdOf, OnFake, OnRing};

#[global_allocator]
static ALLOCATOR: allocations::Counted = allocations::Counted;

const ROUNDS: u64 = 2_000;
/// What comes before: slots that are used for the first time, maps that grow.
const BEFORE: u64 = 100;

type Values<B> = Proactor<Buffer, u32, 64, 64, B>;

/// Receives on one socket and sends on the other, with the same two buffers, until it was `rounds` times received.
fn values<B: ProactorBackend>(proactor: &mut Values<B>, (one, other): (File, File), rounds: u64) {
    let mut received = 0;
    while received < rounds {
        proactor.wait(None).unwrap();
        while let Some(event) = proactor.next() {
            let Event::Completion(done) = event else {
                panic!("nothing else was asked for")
            };
            assert_eq!(done.outcome(), Ok(4));
            let data = done.data;
            let buffer = done.into_buffer().unwrap();
            if data == 1 {
                received += 1;
                proactor.submit(op::recv(other, buffer), 1).unwrap();
            } else {
                proactor.submit(op::send(one, buffer), 2).unwrap();
            }
        }
    }
}

fn start_values<B: ProactorBackend>(proactor: &mut Values<B>, (one, other): (File, File)) {
    let room = Buffer::with_capacity(4);
    proactor.submit(op::recv(other, room), 1).unwrap();
    proactor.submit(op::send(one, "ping".into()), 2).unwrap();
}

/// What a loop counts, and at which count it stops.
#[derive(Default)]
struct Count {
    received: u64,
    until: u64,
}

type Closures<B> = Loop<linux_event::Proactor<B>, Count>;

/// The same as closures, each of which submits itself again.
fn start_closures<B: ProactorBackend>(event_loop: &mut Closures<B>, (one, other): (File, File)) {
    event_loop
        .recv(
            other,
            Vec::with_capacity(4),
            move |l: &mut Closures<B>, done: Completion<B>| {
                assert_eq!(done.outcome(), Ok(4));
                l.state.received += 1;
                if l.state.received == l.state.until {
                    l.stop();
                }
                l.again(op::recv(other, done.into_buffer().unwrap()))
                    .unwrap();
            },
        )
        .unwrap();
    event_loop
        .send(one, "ping", move |l: &mut Closures<B>, done| {
            assert_eq!(done.outcome(), Ok(4));
            l.again(op::send(one, done.into_buffer().unwrap())).unwrap();
        })
        .unwrap();
}

fn closures<B: ProactorBackend>(event_loop: &mut Closures<B>, rounds: u64) {
    event_loop.state.until = event_loop.state.received + rounds;
    event_loop.run().unwrap();
    assert!(event_loop.state.received >= event_loop.state.until);
}

/// A ring of values; `None` where io_uring is forbidden.
fn ring() -> Option<Values<linux_event::Uring>> {
    let mut uring = match Uring::with_kernel(Linux) {
        Ok(uring) => uring,
        Err(error) => {
            eprintln!("no ring, nothing is tested: {error}");
            return None;
        }
    };
    uring.attach(Shared::default()).unwrap();
    Some(Proactor::new(uring).unwrap())
}

fn sockets() -> (FdOf<OnRing>, FdOf<OnRing>) {
    let (one, other) = UnixStream::pair().unwrap();
    let to_core = |stream: UnixStream| linux_event_tests::libc_calls::to_core(stream.into());
    (to_core(one), to_core(other))
}

fn fake_sockets(fake: &mut Fake) -> (FdOf<OnFake>, FdOf<OnFake>) {
    let (one, other) = fake.socketpair().unwrap();
    (fake.own(one), fake.own(other))
}

#[test]
fn values_of_the_ring_allocate_nothing() {
    let Some(mut proactor) = ring() else { return };
    let (one, other) = sockets();
    let files = (proactor.adopt(one).unwrap(), proactor.adopt(other).unwrap());
    start_values(&mut proactor, files);
    values(&mut proactor, files, BEFORE);
    let allocations = during(|| values(&mut proactor, files, ROUNDS));
    assert_eq!(allocations, 0);
}

#[test]
fn closures_on_the_ring_allocate_nothing() {
    if ring().is_none() {
        return;
    }
    let mut event_loop = Loop::proactor_with(Count::default()).unwrap();
    let (one, other) = sockets();
    let files = (
        event_loop.adopt_fd(one).unwrap(),
        event_loop.adopt_fd(other).unwrap(),
    );
    start_closures(&mut event_loop, files);
    closures(&mut event_loop, BEFORE);
    let allocations = during(|| closures(&mut event_loop, ROUNDS));
    assert_eq!(allocations, 0);
}

#[test]
fn closures_on_the_fake_allocate_no_more_than_the_fake() {
    let mut fake = Fake::new();
    let (one, other) = fake_sockets(&mut fake);
    let mut proactor: Values<Fake> = Proactor::new(fake).unwrap();
    let files = (proactor.adopt(one).unwrap(), proactor.adopt(other).unwrap());
    start_values(&mut proactor, files);
    values(&mut proactor, files, BEFORE);
    let as_values = during(|| values(&mut proactor, files, ROUNDS));

    let mut event_loop = Loop::fake_proactor_with(Count::default());
    let (one, other) = fake_sockets(event_loop.fake_mut());
    let files = (
        event_loop.adopt_fd(one).unwrap(),
        event_loop.adopt_fd(other).unwrap(),
    );
    start_closures(&mut event_loop, files);
    closures(&mut event_loop, BEFORE);
    let as_closures = during(|| closures(&mut event_loop, ROUNDS));
    assert_eq!(
        as_closures, as_values,
        "INV-FAKE-1: the same calls, the same work"
    );
}

#[test]
fn leases_are_given_and_taken_back_without_allocating() {
    if ring().is_none() {
        return;
    }
    let mut event_loop = Loop::proactor_with(Count::default()).unwrap();
    let (one, other) = sockets();
    let (one, other) = (
        event_loop.adopt_fd(one).unwrap(),
        event_loop.adopt_fd(other).unwrap(),
    );
    let Ok(group) = event_loop.provide(8, 64) else {
        return eprintln!("no provided buffers");
    };
    let receiving = event_loop.recv_multi(other, group, |l, done| {
        assert!(done.more, "{:?}", done.outcome());
        let lease = done.into_lease().unwrap();
        assert!(lease.chunks(4).all(|part| part == b"ping"));
        l.state.received += lease.len() as u64 / 4;
        if l.state.received >= l.state.until {
            l.stop();
        }
    });
    if receiving.is_err() {
        return eprintln!("no multishot receive");
    }
    event_loop
        .send(one, "ping", move |l, done| {
            l.again(op::send(one, done.into_buffer().unwrap())).unwrap();
        })
        .unwrap();
    closures(&mut event_loop, BEFORE);
    let allocations = during(|| closures(&mut event_loop, ROUNDS));
    assert_eq!(allocations, 0);
}

#[test]
fn timers_wakes_and_cancels_beside_operations_allocate_nothing() {
    let Some(mut proactor) = ring() else { return };
    let (one, _other) = sockets();
    let one = proactor.adopt(one).unwrap();
    let wakeup = proactor.backend().wakeup().cloned().unwrap();
    let mut buffer = Some(Buffer::with_capacity(64));
    let mut round = |proactor: &mut Values<linux_event::Uring>| {
        let op = proactor
            .submit(op::recv(one, buffer.take().unwrap()), 1)
            .unwrap();
        let timer = proactor
            .after(std::time::Duration::from_hours(1), 2)
            .unwrap();
        wakeup.wake();
        proactor.cancel(op);
        while proactor.operations() > 0 {
            proactor.wait(None).unwrap();
            while let Some(event) = proactor.next() {
                if let Event::Completion(done) = event {
                    assert!(done.is_cancelled());
                    buffer = done.into_buffer();
                }
            }
        }
        assert!(proactor.cancel(timer));
    };
    for _ in 0..BEFORE {
        round(&mut proactor);
    }
    let allocations = during(|| (0..ROUNDS).for_each(|_| round(&mut proactor)));
    assert_eq!(allocations, 0);
}
