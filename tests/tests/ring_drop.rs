//! The end of a proactor with everything in flight: dropped, shut down, forgotten. Nothing that the kernel may write to is
//! freed, nothing that can be had back is lost, and no number is used after its end (P-6, P-14).

#![deny(unsafe_code)]

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/sandbox.rs"]
mod sandbox;
#[path = "../src/system.rs"]
mod system;

use std::fs::File as StdFile;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::File;
use linux_event_core::proactor::{Code, PollEvents, Uring, Vectors, op};
use linux_event_core::sys::AsRawFd as _;
use ring::{Counted, Ring, Turns, in_balance, results, small, there_is};

/// What a dropped proactor has to be done within, and a good deal more: it waits for a second at most.
const BOUND: Duration = Duration::from_secs(20);

/// The other ends of what [`submit_everything`] waits on.
struct World {
    peer: UnixStream,
    last_peer: UnixStream,
    pipe: std::io::PipeWriter,
    full: std::io::PipeReader,
    child: Child,
    waiting: UnixStream,
    listener: File,
}

/// A pipe that takes no more.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![0; 65_536]).unwrap();
    (reader, writer)
}

/// A listener whose queue is full: who connects now waits. The name to connect to, and who is in the queue.
fn full_listener() -> (UnixListener, Counted, UnixStream) {
    let (listener, address) = ring::unix_listener("full");
    system::listen(&listener, 0).unwrap(); // there is room for one
    let mut name = vec![0];
    name.extend(address.as_abstract_name().unwrap());
    let waiting = UnixStream::connect_addr(&address).unwrap();
    (listener, Counted::of(name), waiting)
}

/// A receive that waits.
fn waits(file: File) -> op::Message<Counted> {
    op::recv(file, Counted::with_room(8))
}

/// Has one of everything in flight that can wait; nothing of it can end by itself.
fn submit_everything(ring: &mut Ring<64>) -> World {
    const HOUR: Duration = Duration::from_hours(1);
    let (ours, peer) = UnixStream::pair().unwrap();
    let ours = ring.take_in(ours);
    let (pipe_end, pipe) = std::io::pipe().unwrap();
    let pipe_end = ring.take_in(pipe_end);
    let (full, full_end) = full_pipe();
    let full_end = ring.take_in(full_end);
    let (listener, _) = ring::unix_listener("everything");
    let listener = ring.take_in(listener);
    let (busy, busy_name, waiting) = full_listener();
    ring.take_in(busy);
    let client = ring.take_in(system::unix_socket().unwrap());
    // It ends when this process does, at the latest, and holds none of its ends.
    let child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cat");
    let kernel = ring.backend().capabilities().clone();

    ring.start(op::read(pipe_end, Counted::with_room(64)), 1);
    ring.start(op::write(full_end, Counted::of([1; 8192])), 2);
    ring.start(op::recv(ours, Counted::with_room(64)), 3);
    ring.start(op::recv(ours, Counted::with_room(64)).timeout(HOUR), 4);
    ring.start(op::accept(listener), 5);
    if kernel.supports(Code::AcceptMulti) {
        ring.start(op::accept_multi(listener), 6);
    }
    if kernel.supports(Code::RecvMulti) {
        let group = ring.provide(4, 64).unwrap();
        ring.start(op::recv_multi(ours, group), 7);
    }
    ring.start(op::poll(ours, PollEvents::IN), 8);
    ring.start(op::poll_multi(pipe_end, PollEvents::IN), 9);
    ring.start(op::connect_unix(client, busy_name).timeout(HOUR), 10);
    if kernel.supports(Code::WaitId) {
        ring.start(op::wait_pid(child.id() as i32), 11);
    }
    ring.start(op::splice(pipe_end, full_end, 64), 12);
    let mut buffers = Vectors::new();
    for _ in 0..3 {
        assert!(buffers.push(Counted::with_room(16)).is_ok());
    }
    ring.submit_vectored(op::recv_message(ours, buffers), 13)
        .expect("a receive");
    // Chains: of each only the first member runs.
    ring.submit_chain([
        (op::recv(ours, Counted::with_room(8)).hard_link().into(), 14),
        (op::recv(ours, Counted::with_room(8)).hard_link().into(), 15),
        (op::read(pipe_end, Counted::with_room(8)).into(), 16),
    ])
    .expect("a chain");
    ring.submit_chain([
        (
            op::recv(ours, Counted::with_room(8))
                .timeout(HOUR)
                .link()
                .into(),
            17,
        ),
        (op::send(ours, Counted::of(b"no")).timeout(HOUR).into(), 18),
    ])
    .expect("a chain");
    // One that ends with closing its file.
    let (last, last_peer) = UnixStream::pair().unwrap();
    let last = ring.take_in(last);
    ring.submit_chain([
        (waits(last).link().into(), 19),
        (op::close(last).into(), 20),
    ])
    .expect("a chain");
    ring.after(HOUR, 21).unwrap();
    World {
        peer,
        last_peer,
        pipe,
        full,
        child,
        waiting,
        listener,
    }
}

/// How many operations [`submit_everything`] submits: what the kernel lacks is not among them.
fn everything(ring: &Ring<64>) -> usize {
    let kernel = ring.backend().capabilities();
    let lacking = [Code::AcceptMulti, Code::RecvMulti, Code::WaitId];
    20 - lacking
        .iter()
        .filter(|code| !kernel.supports(**code))
        .count()
}

impl World {
    /// Whether what was left behind did nothing: nobody wrote.
    fn check_and_leave(mut self) {
        for peer in [&mut self.peer, &mut self.last_peer] {
            assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the end, and no byte");
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        drop((self.pipe, self.full, self.waiting));
    }
}

/// How far the operations are when the end comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Queued,
    Flushed,
    Turned,
    Cancelling,
}

const STAGES: [Stage; 4] = [
    Stage::Queued,
    Stage::Flushed,
    Stage::Turned,
    Stage::Cancelling,
];

fn bring_to(ring: &mut Ring<64>, stage: Stage) {
    match stage {
        Stage::Queued => {}
        Stage::Flushed => ring.flush().unwrap(),
        Stage::Turned | Stage::Cancelling => {
            let happened = ring.turn_within(Duration::ZERO);
            assert!(happened.is_empty(), "{happened:?}");
            if stage == Stage::Cancelling {
                assert_eq!(ring.cancel_all(), everything(ring));
            }
        }
    }
}

#[test]
fn p6_a_proactor_that_is_dropped_takes_everything_back() {
    in_balance(
        "p6_a_proactor_that_is_dropped_takes_everything_back",
        || {
            for stage in STAGES {
                let mut ring: Ring<64> = ring::ring();
                let world = submit_everything(&mut ring);
                assert_eq!(ring.operations(), everything(&ring));
                bring_to(&mut ring, stage);
                let start = Instant::now();
                drop(ring);
                assert!(start.elapsed() < BOUND, "{stage:?}");
                assert_eq!(ring::buffers_out(), 0, "{stage:?}");
                ring::check_dead_memory();
                world.check_and_leave();
            }
        },
    );
}

#[test]
fn p6_small_queues_and_threads_that_submit_are_no_excuse() {
    const NAME: &str = "p6_small_queues_and_threads_that_submit_are_no_excuse";
    in_balance(NAME, || {
        for stage in STAGES {
            for uring in [small(8, 8), with_thread()] {
                let mut ring: Ring<64> = ring::ring_over(uring);
                let world = submit_everything(&mut ring);
                bring_to(&mut ring, stage);
                drop(ring);
                assert_eq!(ring::buffers_out(), 0, "{stage:?}");
                world.check_and_leave();
            }
        }
    });
}

/// A ring whose submissions are taken by a thread of the kernel's.
fn with_thread() -> Uring<Counted> {
    ring::with(|options| options.sqpoll_idle = Some(Duration::from_millis(1)))
}

/// A ring that a thread leaves behind ends with the thread.
#[test]
fn p6_a_ring_that_ends_with_its_thread_takes_everything_back() {
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Ring<64>>> = const { std::cell::RefCell::new(None) };
    }
    const NAME: &str = "p6_a_ring_that_ends_with_its_thread_takes_everything_back";
    in_balance(NAME, || {
        for stage in STAGES {
            let thread = std::thread::spawn(move || {
                let mut ring: Ring<64> = ring::ring();
                let world = submit_everything(&mut ring);
                bring_to(&mut ring, stage);
                KEPT.set(Some(ring));
                world
            });
            thread.join().unwrap().check_and_leave();
        }
    });
}

/// Unwinding through a loop is an end like any other.
#[test]
fn p6_a_panic_takes_everything_back() {
    in_balance("p6_a_panic_takes_everything_back", || {
        for stage in STAGES {
            let world = std::cell::Cell::new(None);
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut ring: Ring<64> = ring::ring();
                world.set(Some(submit_everything(&mut ring)));
                bring_to(&mut ring, stage);
                ring.start(op::nop(), 99);
                ring.wait(Some(ring::LONG)).unwrap();
                let _event = ring.next();
                std::panic::resume_unwind(Box::new("on purpose"));
            }));
            assert!(caught.is_err());
            assert_eq!(ring::buffers_out(), 0, "{stage:?}");
            world.take().unwrap().check_and_leave();
        }
    });
}

#[test]
fn p6_a_shutdown_reports_what_settled() {
    in_balance("p6_a_shutdown_reports_what_settled", || {
        for stage in STAGES {
            let mut ring: Ring<64> = ring::ring();
            let world = submit_everything(&mut ring);
            bring_to(&mut ring, stage);
            let submitted = everything(&ring);
            let report = ring.shutdown(BOUND);
            assert_eq!((report.settled, report.leaked), (submitted, 0), "{stage:?}");
            assert_eq!(ring::buffers_out(), 0, "{stage:?}");
            world.check_and_leave();
        }
    });
}

#[test]
fn p6_what_has_completed_and_was_not_fetched_is_taken_back_too() {
    const NAME: &str = "p6_what_has_completed_and_was_not_fetched_is_taken_back_too";
    in_balance(NAME, || {
        for fetched in [0, 1, 2, 9] {
            let mut ring: Ring<64> = ring::ring();
            let mut world = submit_everything(&mut ring);
            ring.flush().unwrap();
            let address = {
                let listener = ring.descriptor(world.listener).unwrap();
                let listener = system::duplicate(listener.as_raw_fd()).unwrap();
                UnixListener::from(listener).local_addr().unwrap()
            };
            let clients: Vec<_> = (0..4)
                .map(|_| UnixStream::connect_addr(&address).unwrap())
                .collect();
            world.peer.write_all(&[7; 4]).unwrap();
            world.pipe.write_all(&[7; 4]).unwrap();
            ring.wait(Some(ring::LONG)).unwrap();
            // Some of the batch is fetched and kept, a lease perhaps; the rest is not.
            let kept: Vec<_> = (0..fetched).filter_map(|_| ring.next()).collect();
            drop(ring);
            drop(kept);
            assert_eq!(ring::buffers_out(), 0, "{fetched}");
            drop(clients);
            world.peer.shutdown(std::net::Shutdown::Both).unwrap();
            world.child.kill().unwrap();
            world.child.wait().unwrap();
        }
    });
}

/// A proactor that is forgotten frees nothing, and what the kernel then writes hits nobody.
#[test]
fn p6_a_proactor_that_is_forgotten_frees_nothing() {
    // Those of everything that have a buffer: 1 to 4, 10, three of 13, 14 to 19.
    const LOST: isize = 4 + 1 + 3 + 6;
    const NAME: &str = "p6_a_proactor_that_is_forgotten_frees_nothing";
    if !ring::alone(NAME) {
        return;
    }
    for stage in STAGES {
        let before = ring::buffers_out();
        let mut ring: Ring<64> = ring::ring();
        let mut world = submit_everything(&mut ring);
        bring_to(&mut ring, stage);
        std::mem::forget(ring);
        assert_eq!(ring::buffers_out() - before, LOST, "{stage:?}");
        // Now what everything waited for comes true.
        world.peer.write_all(&[1; 256]).unwrap();
        world.pipe.write_all(&[2; 256]).unwrap();
        let mut bytes = [0; 4096];
        world.full.read_exact(&mut bytes).unwrap();
        world.child.kill().unwrap();
        world.child.wait().unwrap();
        drop(world);
    }
    // Others go on in the same thread.
    let mut ring: Ring<64> = ring::ring();
    ring.start(op::nop(), 1);
    assert_eq!(ring::results(&ring.settle()), [(1, 0)]);
}

/// What a number leads to now is no business of an operation that was queued for what it led to before.
#[test]
fn p14_a_queued_write_never_reaches_the_next_owner_of_its_number() {
    const NAME: &str = "p14_a_queued_write_never_reaches_the_next_owner_of_its_number";
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        Drop,
        Shutdown,
        Close,
        CancelAndRelease,
    }
    in_balance(NAME, || {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| StdFile::create(folder.path().join(name)).unwrap();
        let ends = [End::Drop, End::Shutdown, End::Close, End::CancelAndRelease];
        for (end, has_thread) in ends.into_iter().flat_map(|end| [(end, false), (end, true)]) {
            let first = open("first");
            let number = first.as_raw_fd();
            let uring = if has_thread {
                with_thread()
            } else {
                small(8, 16)
            };
            let mut ring: Ring<8> = ring::ring_over(uring);
            let first = ring.take_in(first);
            for piece in 0..4 {
                ring.start(op::write(first, Counted::of(b"for the first")), piece);
            }
            match end {
                End::Drop => drop(ring),
                End::Shutdown => assert_eq!(ring.shutdown(BOUND).leaked, 0),
                End::Close => {
                    ring.close(first, 9).unwrap();
                    assert!(matches!(
                        ring.release(first),
                        Err(Error::Stale | Error::Busy)
                    ));
                    ring.settle();
                    drop(ring);
                }
                End::CancelAndRelease => {
                    assert!(matches!(ring.release(first), Err(Error::Busy)));
                    ring.cancel_on(first);
                    assert!(matches!(ring.release(first), Err(Error::Busy)));
                    ring.settle();
                    drop(ring.release(first).unwrap());
                    drop(ring);
                }
            }
            let second = open("second");
            assert_eq!(
                second.as_raw_fd(),
                number,
                "{end:?}: the number is used again"
            );
            // Whatever there is left of the ring has its chance.
            let mut other: Ring<8> = ring::ring();
            other.start(op::nop(), 1);
            other.settle();
            assert_eq!(second.metadata().unwrap().len(), 0, "{end:?}");
        }
    });
}

/// As above, where the kernel can't be entered any more: what is queued never is handed over, then.
#[test]
fn p14_a_write_that_could_not_be_handed_over_is_never_made() {
    const NAME: &str = "p14_a_write_that_could_not_be_handed_over_is_never_made";
    in_balance(NAME, || {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| StdFile::create(folder.path().join(name)).unwrap();
        let first = open("first");
        let number = first.as_raw_fd();
        let mut ring: Ring<16> = ring::ring_over(small(8, 16));
        let first = ring.take_in(first);
        sandbox::Sandbox::new()
            .deny(sandbox::IO_URING_ENTER, libc::EPERM)
            .enter();
        // A closing that is queued does not leak what it was to close.
        let closed = ring.take_in(open("closed"));
        ring.close(closed, 99).unwrap();
        for piece in 0..7 {
            ring.start(op::write(first, Counted::of(b"for the first")), piece);
        }
        // The queue is full and can't be flushed: the next one comes back.
        let refused = ring
            .submit(op::write(first, Counted::of(b"the ninth")), 8)
            .unwrap_err();
        assert!(
            refused.error.to_string().contains("io_uring_enter"),
            "{refused}"
        );
        assert_eq!(&*refused.buffer.expect("the buffer"), b"the ninth");
        for refused in [ring.flush(), ring.wait(Some(ring::LONG)), ring.prepare()] {
            assert_eq!(
                refused.unwrap_err().errno().map(Errno::raw),
                Some(libc::EPERM)
            );
        }
        assert_eq!(ring.operations(), 8);
        let start = Instant::now();
        drop(ring);
        assert!(start.elapsed() < BOUND);
        let second = open("second");
        assert_eq!(second.as_raw_fd(), number);
        assert_eq!(second.metadata().unwrap().len(), 0);
        let first = StdFile::open(folder.path().join("first")).unwrap();
        assert_eq!(first.metadata().unwrap().len(), 0);
    });
}

/// A thread has 16 places for registered rings; a ring that is gone has to give its own back.
#[test]
fn p12_a_hundred_proactors_in_a_row_each_have_the_best_that_there_is() {
    const NAME: &str = "p12_a_hundred_proactors_in_a_row_each_have_the_best_that_there_is";
    in_balance(NAME, || {
        let mut first = None;
        for round in 0..100 {
            let mut ring: Ring<8> = ring::ring_over(small(8, 16));
            let capabilities = ring.backend().capabilities().clone();
            let in_force = (capabilities.flags, capabilities.registered_ring);
            assert_eq!(*first.get_or_insert(in_force), in_force, "round {round}");
            ring.start(op::nop(), round);
            assert_eq!(ring::results(&ring.settle()), [(round, 0)]);
        }
    });
}

#[test]
fn p12_more_rings_at_once_than_a_thread_has_places_for() {
    const NAME: &str = "p12_more_rings_at_once_than_a_thread_has_places_for";
    in_balance(NAME, || {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        // Whether its byte has come, beside each.
        let mut rings: Vec<(Ring<8>, bool)> = (0..40)
            .map(|_| (ring::ring_over(small(8, 16)), false))
            .collect();
        let registered = |ring: &Ring<8>| ring.backend().capabilities().registered_ring;
        assert!(
            !rings.iter().all(|(ring, _)| registered(ring)),
            "a thread has 16 places"
        );
        let knows_rings = registered(&rings[0].0);
        for (ring, _) in &mut rings {
            let ours = ring.take_in(ours.try_clone().unwrap());
            ring.start(op::recv(ours, Counted::with_room(1)), 1);
            assert!(ring.turn_within(Duration::ZERO).is_empty());
        }
        peer.write_all(&[7; 40]).unwrap();
        // From the middle outwards, some dropped with their byte not fetched, so that places come free in any order.
        while !rings.is_empty() {
            let (mut ring, came) = rings.swap_remove(rings.len() / 2);
            if !came && !rings.len().is_multiple_of(3) {
                assert_eq!(results(&ring.settle()), [(1, 1)]);
            }
            for (ring, came) in &mut rings {
                let nop = ring.start(op::nop(), 2);
                while ring.contains(nop) {
                    *came |= ring.turn().iter().any(|done| done.data == 1);
                }
            }
        }
        drop(ours);
        let mut ring: Ring<8> = ring::ring();
        assert_eq!(registered(&ring), knows_rings, "places came free");
        ring.start(op::nop(), 1);
        ring.settle();
    });
}

/// The peer does not read: what the kernel holds of a zero-copy send stays out, for as long as it takes.
#[test]
fn p6_a_zero_copy_send_to_a_peer_that_does_not_read_is_leaked_and_not_freed() {
    const SIZE: usize = 16 << 20;
    const NAME: &str = "p6_a_zero_copy_send_to_a_peer_that_does_not_read_is_leaked_and_not_freed";
    if !ring::alone(NAME) || !ring::has(Code::SendZeroCopy) {
        return;
    }
    let before = ring::descriptors();
    for drops in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut ring: Ring<8> = ring::ring();
        let file = ring.take_in(ours);
        let pattern: Vec<u8> = (0..SIZE).map(|n| ((n * 31) >> 7) as u8).collect();
        ring.start(op::send_zero_copy(file, Counted::of(&pattern)), 1);
        ring.flush().unwrap();
        // As much as there is room for is sent; what of it the peer has not read stays with the kernel.
        for done in ring::completions(ring.turn_within(Duration::ZERO)) {
            assert!(done.more, "nothing is left to wait for: {done:?}");
        }
        let out = ring::buffers_out();
        assert!(out >= 1);
        let start = Instant::now();
        let leaked = if drops {
            drop(ring);
            ring::buffers_out() == out
        } else {
            let report = ring.shutdown(Duration::from_millis(50));
            assert_eq!(report.settled + report.leaked, 1);
            report.leaked == 1
        };
        assert!(start.elapsed() < BOUND);
        assert_eq!(leaked, ring::buffers_out() == out, "freed or leaked");
        eprintln!("leaked: {leaked}");
        // What the peer gets is what was sent, however much of it that is.
        let mut came = Vec::new();
        peer.read_to_end(&mut came).unwrap();
        assert!(!came.is_empty() && came.len() <= SIZE);
        assert!(came == pattern[..came.len()], "the memory was used again");
    }
    ring::check_dead_memory();
    assert_eq!(ring::descriptors(), before);
}

/// A shutdown has a limit: dropping the proactor afterwards does not wait for what it has given up once more.
#[test]
fn p6_a_shutdown_keeps_to_its_limit() {
    /// What dropping waits for at most: what a second wait would take in full.
    const DROP: Duration = Duration::from_secs(1);
    const NAME: &str = "p6_a_shutdown_keeps_to_its_limit";
    if !ring::alone(NAME) || !ring::has(Code::SendZeroCopy) {
        return;
    }
    let once = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        let mut ring: Ring<8> = ring::ring();
        let file = ring.take_in(ours);
        ring.start(op::send_zero_copy(file, Counted::of(vec![1; 16 << 20])), 1);
        ring.turn_within(Duration::ZERO);
        let start = Instant::now();
        let report = ring.shutdown(Duration::ZERO);
        assert_eq!(report.settled + report.leaked, 1);
        start.elapsed()
    };
    // A machine that is busy may take its time once, but not always.
    assert!((0..3).any(|_| once() < DROP));
}

#[test]
fn p16_leases_outlive_the_proactor() {
    in_balance("p16_leases_outlive_the_proactor", || {
        for withdraws in [false, true] {
            let mut ring: Ring<8> = ring::ring();
            let group = there_is(ring.provide(8, 32));
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            let recv = ring.start(op::recv_multi(ours, group), 1);
            let mut leases = Vec::new();
            for number in 0..5u8 {
                peer.write_all(&[number; 32]).unwrap();
                for done in ring.turn() {
                    leases.push(done.into_lease().expect("a lease"));
                }
            }
            ring.cancel(recv);
            ring.settle();
            drop(leases.remove(1));
            if withdraws {
                ring.withdraw(group).unwrap();
                drop(leases.remove(1));
                assert!(matches!(ring.withdraw(group), Err(Error::Stale)));
            }
            drop(ring);
            // Another ring may have the memory of the one that is gone.
            let mut other: Ring<8> = ring::ring();
            let other_group = other.provide(8, 32).unwrap();
            for lease in &leases {
                assert_eq!(lease.len(), 32);
                assert!(lease.iter().all(|byte| *byte == lease[0]));
            }
            let numbers: Vec<u8> = leases.iter().map(|lease| lease[0]).collect();
            let expected: &[u8] = if withdraws { &[0, 3, 4] } else { &[0, 2, 3, 4] };
            assert_eq!(numbers, expected);
            drop(leases);
            other.withdraw(other_group).unwrap();
        }
    });
}

/// Descriptors that a dropped proactor had adopted are closed, whatever was in flight on them.
#[test]
fn p15_the_peers_of_a_dropped_proactor_see_the_end() {
    in_balance("p15_the_peers_of_a_dropped_proactor_see_the_end", || {
        let mut ring: Ring<64> = ring::ring();
        let mut peers = Vec::new();
        for number in 0..20 {
            let (ours, peer) = UnixStream::pair().unwrap();
            let ours = ring.take_in(ours);
            peers.push(peer);
            match number % 4 {
                0 => drop(ring.start(op::recv(ours, Counted::with_room(8)), number)),
                1 => drop(ring.start(op::poll_multi(ours, PollEvents::IN), number)),
                2 => drop(ring.close(ours, number).unwrap()),
                _ => {
                    ring.start(op::recv(ours, Counted::with_room(8)), number);
                    ring.flush().unwrap();
                    ring.close(ours, number).unwrap();
                }
            }
        }
        drop(ring);
        for mut peer in peers {
            assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the end");
        }
    });
}
