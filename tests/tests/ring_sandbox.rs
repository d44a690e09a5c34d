//! Where io_uring is forbidden, missing, or may lock no memory: a clear error that says what to do, or less of everything,
//! and told so (P-12).

#![deny(unsafe_code)]

#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/sandbox.rs"]
mod sandbox;
#[path = "../src/system.rs"]
mod system;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linux_event_core::errno::Errno;
use linux_event_core::error::{Call, Error};
use linux_event_core::proactor::{Code, Options, Uring, op};
use linux_event_core::sys::Linux;
use ring::{Counted, Ring, Turns, in_balance, results};
use sandbox::{IO_URING_ENTER, IO_URING_REGISTER, IO_URING_SETUP, Sandbox};

type Made = Result<Uring<Counted>, Error>;

/// Whether a ring works: bytes go through it.
fn works(uring: Uring<Counted>) {
    let mut ring: Ring<8> = ring::ring_over(uring);
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let ours = ring.take_in(ours);
    for round in 0..50 {
        ring.start(op::recv(ours, Counted::with_room(4)), round);
        assert!(ring.turn_within(Duration::ZERO).is_empty());
        peer.write_all(b"four").unwrap();
        assert_eq!(results(&ring.turn()), [(round, 4)]);
        let timer = ring.after(Duration::ZERO, round).unwrap();
        let fired = ring.turn_within(ring::LONG);
        assert_eq!(fired.len(), 1);
        assert!(!ring.cancel(timer));
    }
}

/// A refusal names the reactor, and what has to be allowed.
fn is_refused(made: Made, expected: i32) {
    let error = made.map(drop).unwrap_err();
    let Error::NoRing { errno, by_sysctl } = error else {
        panic!("{error:?}");
    };
    assert_eq!((errno.raw(), by_sysctl), (expected, false));
    let text = error.to_string();
    for word in ["io_uring", "seccomp", "reactor", "epoll"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn p12_a_ring_that_is_forbidden_is_a_clear_error() {
    in_balance("p12_a_ring_that_is_forbidden_is_a_clear_error", || {
        Sandbox::new().deny(IO_URING_SETUP, libc::EPERM).enter();
        is_refused(Uring::new(), libc::EPERM);
        // With every step down that there could be, too.
        let options = Options {
            sqpoll_idle: Some(Duration::from_millis(1)),
            ..Options::DEFAULT
        };
        is_refused(Uring::with_options(Linux, options), libc::EPERM);
    });
}

#[test]
fn p12_a_ring_that_is_hidden_is_a_clear_error() {
    in_balance("p12_a_ring_that_is_hidden_is_a_clear_error", || {
        Sandbox::new()
            .deny(IO_URING_SETUP, libc::ENOSYS)
            .deny(IO_URING_ENTER, libc::ENOSYS)
            .deny(IO_URING_REGISTER, libc::ENOSYS)
            .enter();
        is_refused(Uring::new(), libc::ENOSYS);
    });
}

#[test]
fn p12_a_ring_that_can_be_made_and_not_entered_says_so_and_takes_its_buffers_back() {
    const NAME: &str =
        "p12_a_ring_that_can_be_made_and_not_entered_says_so_and_takes_its_buffers_back";
    in_balance(NAME, || {
        for errno in [libc::EPERM, libc::ENOSYS] {
            // The later filter's answer does not replace the earlier one's: take a thread for each.
            let run = move || {
                Sandbox::new().deny(IO_URING_ENTER, errno).enter();
                let uring: Made = Uring::new();
                match uring {
                    // It has been told already.
                    Err(error) => assert!(matches!(error, Error::NoRing { .. }), "{error}"),
                    Ok(uring) => {
                        let mut ring: Ring<8> = ring::ring_over(uring);
                        let (ours, _peer) = UnixStream::pair().unwrap();
                        let ours = ring.take_in(ours);
                        ring.start(op::recv(ours, Counted::with_room(4)), 1);
                        for result in [ring.wait(Some(Duration::ZERO)), ring.flush()] {
                            let error = result.unwrap_err();
                            assert!(error.to_string().contains("io_uring_enter"), "{error}");
                            match error {
                                Error::Denied {
                                    call: Call::IoUringEnter,
                                    ..
                                } => assert_eq!(errno, libc::EPERM),
                                Error::Unsupported {
                                    call: Call::IoUringEnter,
                                } => assert_eq!(errno, libc::ENOSYS),
                                other => panic!("{other:?}"),
                            }
                        }
                        ring.cancel_all();
                        let report = ring.shutdown(Duration::from_millis(20));
                        // The kernel never had it.
                        assert_eq!(report.leaked, 0);
                    }
                }
                ring::check_dead_memory();
                assert_eq!(ring::buffers_out(), 0);
            };
            std::thread::spawn(run).join().unwrap();
        }
    });
}

/// Nothing can be registered: the ring is entered by its number, nothing is known of its operations, and all works.
#[test]
fn p12_a_ring_without_registration_works_with_less() {
    in_balance("p12_a_ring_without_registration_works_with_less", || {
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
            let run = move || {
                Sandbox::new().deny(IO_URING_REGISTER, errno).enter();
                let uring: Uring<Counted> = Uring::new().expect("a ring");
                let capabilities = uring.capabilities();
                assert!(!capabilities.registered_ring);
                assert!(!capabilities.steps.is_empty(), "each step down is told");
                works(uring);
                let mut ring: Ring<8> = ring::ring();
                let refused = ring.provide(4, 16).unwrap_err();
                assert!(!refused.to_string().is_empty());
                assert!(ring.register_files(4).is_err());
                ring::check_dead_memory();
                assert_eq!(ring::buffers_out(), 0);
            };
            std::thread::spawn(run).join().unwrap();
        }
    });
}

/// The parts of registration, refused one by one: each is stepped down from by itself.
#[test]
fn p12_each_registration_can_be_forbidden_alone() {
    in_balance("p12_each_registration_can_be_forbidden_alone", || {
        // `IORING_REGISTER_PROBE`, `_RING_FDS`, `IORING_UNREGISTER_RING_FDS`, `IORING_REGISTER_PBUF_RING` and its undoing,
        // `IORING_REGISTER_SYNC_CANCEL`.
        let opcodes = [8, 20, 21, 22, 23, 24];
        for opcode in opcodes {
            let run = move || {
                Sandbox::new()
                    .deny_registration(opcode, libc::EPERM)
                    .enter();
                for _ in 0..20 {
                    works(Uring::new().expect("a ring"));
                }
                let mut ring: Ring<8> = ring::ring();
                if let Ok(group) = ring.provide(4, 16) {
                    let (ours, mut peer) = UnixStream::pair().unwrap();
                    let ours = ring.take_in(ours);
                    ring.start(op::recv_multi(ours, group), 1);
                    peer.write_all(b"leased").unwrap();
                    let lease = ring.turn().pop().unwrap().into_lease().unwrap();
                    drop(ring);
                    assert_eq!(&*lease, b"leased");
                }
                ring::check_dead_memory();
                assert_eq!(ring::buffers_out(), 0);
            };
            std::thread::spawn(run).join().unwrap();
        }
    });
}

/// How much a user may lock, and what a ring does about it.
fn with_lockable(bytes: u64, options: Options) -> Made {
    Sandbox::new().lock_at_most(bytes).unprivileged().enter();
    Uring::with_options(Linux, options)
}

#[test]
fn p12_no_lockable_memory_at_all_is_told_with_what_is_needed() {
    in_balance(
        "p12_no_lockable_memory_at_all_is_told_with_what_is_needed",
        || {
            match with_lockable(0, Options::DEFAULT) {
                Err(error) => {
                    let Error::LockedMemory { needed, limit } = error else {
                        panic!("{error:?}");
                    };
                    assert_eq!(limit, Some(0));
                    assert!((1024..1 << 20).contains(&needed), "{needed}");
                    let text = error.to_string();
                    assert!(
                        text.contains("RLIMIT_MEMLOCK") && text.contains("ulimit -l"),
                        "{text}"
                    );
                }
                // A kernel that does not count.
                Ok(uring) => works(uring),
            }
        },
    );
}

#[test]
fn p12_little_lockable_memory_gives_a_smaller_ring_that_says_so() {
    const LIMIT: u64 = 64 << 10;
    const NAME: &str = "p12_little_lockable_memory_gives_a_smaller_ring_that_says_so";
    in_balance(NAME, || {
        let options = Options {
            entries: 4096,
            ..Options::DEFAULT
        };
        let uring = with_lockable(LIMIT, options).expect("a smaller ring");
        let capabilities = uring.capabilities();
        if capabilities.entries < 4096 {
            assert!(!capabilities.steps.is_empty(), "each step down is told");
            assert!(capabilities.bytes as u64 <= LIMIT, "{capabilities:?}");
        }
        works(uring);
        // As it comes it fits.
        works(Uring::new().expect("a ring of the default size"));
    });
}

/// What one ring had locked comes free for the next, although the kernel takes its time over it.
#[test]
fn p12_rings_in_a_row_fit_into_what_one_of_them_needs() {
    const NAME: &str = "p12_rings_in_a_row_fit_into_what_one_of_them_needs";
    in_balance(NAME, || {
        let first = with_lockable(64 << 10, Options::DEFAULT).expect("a ring");
        let entries = first.capabilities().entries;
        works(first);
        for round in 0..10 {
            let next: Made = Uring::new();
            let next = next.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(next.capabilities().entries, entries, "round {round}");
            works(next);
        }
    });
}

#[test]
fn p12_no_descriptor_left_is_told_and_leaves_none_behind() {
    in_balance(
        "p12_no_descriptor_left_is_told_and_leaves_none_behind",
        || {
            Sandbox::new().descriptors_at_most(64).enter();
            let mut taken = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                taken.push(file);
            }
            let made: Made = Uring::new();
            let error = made.map(drop).unwrap_err();
            let expected = Error::Os {
                call: Call::IoUringSetup,
                errno: Errno::EMFILE,
            };
            assert_eq!(error, expected);
            assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
            // With one to be had there is a ring; what needs more of them says so, and the rest goes on.
            taken.pop();
            let mut ring: Ring<8> = ring::ring();
            ring.start(op::nop(), 1);
            assert_eq!(results(&ring.settle()), [(1, 0)]);
            let refused = ring.signal(linux_event_core::signal::Signal::USR1, 2);
            let expected = Error::Os {
                call: Call::Signalfd,
                errno: Errno::EMFILE,
            };
            assert_eq!(refused.unwrap_err(), expected);
            assert_eq!(ring.live(), 0);
            ring.start(op::nop(), 3);
            assert_eq!(results(&ring.settle()), [(3, 0)]);
            // An accept that finds no number is an error of the operation's, and of a multishot one the end.
            drop(ring);
            taken.truncate(taken.len() - 5);
            let (listener, address) = ring::unix_listener("emfile");
            let mut ring: Ring<8> = ring::ring();
            let listener = ring.take_in(listener);
            let client = UnixStream::connect_addr(&address).unwrap();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                taken.push(file);
            }
            let has_multi = ring.backend().capabilities().supports(Code::AcceptMulti);
            ring.start(op::accept(listener), 4);
            if has_multi {
                ring.start(op::accept_multi(listener), 5);
            }
            let mut done = results(&ring.settle());
            done.sort_unstable();
            let full = -Errno::EMFILE.raw();
            let expected = [(4, full), (5, full)];
            assert_eq!(done, expected[..=usize::from(has_multi)]);
            taken.pop();
            ring.start(op::accept(listener), 6);
            assert!(ring.settle().pop().unwrap().into_descriptor().is_some());
            drop((client, taken));
        },
    );
}

/// Sets the sysctl back, whatever happens.
struct Restore(String);

impl Drop for Restore {
    fn drop(&mut self) {
        std::fs::write(SYSCTL, &self.0).unwrap();
    }
}

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// What an administrator turned off is told as such. The sysctl is the machine's: where other tests run beside this one it
/// can't be touched, so this runs only where it is asked for.
#[test]
fn p12_a_ring_that_the_sysctl_forbids_is_told_as_such() {
    const NAME: &str = "p12_a_ring_that_the_sysctl_forbids_is_told_as_such";
    if std::env::var_os("LINUX_EVENT_TEST_SYSCTL").is_none() {
        eprintln!("skipped: it changes {SYSCTL} of the whole machine; set LINUX_EVENT_TEST_SYSCTL");
        return;
    }
    in_balance(NAME, || {
        let Ok(before) = std::fs::read_to_string(SYSCTL) else {
            eprintln!("skipped: there is no {SYSCTL}");
            return;
        };
        let restore = Restore(before);
        if let Err(error) = std::fs::write(SYSCTL, "2") {
            std::mem::forget(restore);
            eprintln!("skipped: {SYSCTL} can't be written: {error}");
            return;
        }
        let made: Made = Uring::new();
        drop(restore);
        let error = made.map(drop).unwrap_err();
        let expected = Error::NoRing {
            errno: Errno::EPERM,
            by_sysctl: true,
        };
        assert_eq!(error, expected);
        assert!(
            error.to_string().contains("kernel.io_uring_disabled"),
            "{error}"
        );
        works(Uring::new().expect("it was set back"));
    });
}
