//! Chains of which a kernel takes the beginning and not the rest: it leaves such a beginning to a worker, which looks for its file
//! when it begins. Nothing that it names is closed or given to somebody else until then, and what was to end in time does (P-4,
//! P-10, P-14, P-15).

#![deny(unsafe_code)]

#[path = "../src/counting.rs"]
mod counting;
#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/system.rs"]
mod system;
#[allow(unsafe_code)]
#[path = "../../core/tests/support/workers.rs"]
mod workers;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use counting::Probe;
use linux_event_core::error::Error;
use linux_event_core::handle::File;
use linux_event_core::proactor::{Event, Proactor, Storage, Uring, op};
use linux_event_core::sys::{Fd, Linux};
use linux_event_core::wakeup::Wakeup;
use ring::{CANCELLED, Counted, LONG, in_balance, to_core};

type Backend = Uring<Counted, Probe, Arc<Wakeup<Probe>>>;
type Ring =
    Proactor<Counted, u32, 16, 16, Backend, Box<Storage<u32, 16, 16, Fd<Probe>, Fd<Probe>>>>;

struct World {
    probe: Probe,
    ring: Ring,
    /// Ends what keeps the only worker busy.
    trigger: PipeWriter,
    _nothing: PipeReader,
}

impl World {
    /// A ring whose only worker waits for a byte.
    fn new() -> Self {
        let probe = Probe::new();
        let uring = Backend::with_kernel(probe.clone()).expect("a ring");
        let ring = Ring::with_storage(uring, Box::new(Storage::new())).expect("a proactor");
        workers::one_worker();
        let (busy, trigger) = std::io::pipe().unwrap();
        let (nothing, anywhere) = std::io::pipe().unwrap();
        let mut world = Self {
            probe,
            ring,
            trigger,
            _nothing: nothing,
        };
        let [busy, anywhere] = [busy.into(), anywhere.into()].map(|fd: OwnedFd| world.adopt(fd));
        world.ring.submit(op::splice(busy, anywhere, 1), 0).unwrap();
        world.ring.flush().unwrap();
        world
    }

    fn adopt(&mut self, fd: impl Into<OwnedFd>) -> File {
        let fd: Fd<Linux> = to_core(fd);
        let fd = self.probe.take_in(fd);
        let adopted = self.ring.adopt(fd);
        adopted.map_err(|(error, _)| error).unwrap()
    }

    /// What completes in one turn: data and results.
    fn turn(&mut self, timeout: Duration) -> Vec<(u32, i32)> {
        self.ring.wait(Some(timeout)).unwrap();
        let events = std::iter::from_fn(|| self.ring.next());
        let results = events.map(|event| match event {
            Event::Completion(done) => (done.data, done.result),
            other => panic!("{other:?} was not asked for"),
        });
        results.collect()
    }

    /// Lets the worker go on, and turns until everything has settled.
    fn settle(&mut self) -> Vec<(u32, i32)> {
        self.trigger.write_all(b"x").unwrap();
        let mut all = Vec::new();
        while self.ring.operations() > 0 {
            all.extend(self.turn(LONG));
        }
        all.sort_unstable();
        all
    }
}

#[test]
fn p14_a_cut_chain_closes_its_file_when_what_it_began_has_found_it() {
    const NAME: &str = "p14_a_cut_chain_closes_its_file_when_what_it_began_has_found_it";
    in_balance(NAME, || {
        // The write alone, with the closing's gate, and behind a read that waits.
        for (taken, reads) in [(1, false), (2, false), (2, true)] {
            let mut world = World::new();
            let (mut reader, writer) = std::io::pipe().unwrap();
            let (first, mut before) = std::io::pipe().unwrap();
            let [file, first] = [writer.into(), first.into()].map(|fd: OwnedFd| world.adopt(fd));
            let number = world.ring.number(file).unwrap();
            let read = op::read(first, Counted::with_room(1)).link().into();
            let write = op::write(file, Counted::of(b"its own")).link().into();
            let close = op::close(file).into();
            if reads {
                let chain = [(read, 1), (write, 2), (close, 3)];
                world.ring.submit_chain(chain).expect("a chain");
            } else {
                let chain = [(write, 2), (close, 3)];
                world.ring.submit_chain(chain).expect("a chain");
            }
            world.probe.take_at_most(taken);
            world.ring.flush().unwrap();
            let told = world.turn(Duration::ZERO);
            assert!(told.iter().all(|told| *told == (3, CANCELLED)), "{told:?}");
            assert!(world.probe.open().contains_key(&number), "P-14: {taken}");
            // Others would get its number.
            let (mut victim, other) = std::io::pipe().unwrap();
            before.write_all(b"x").unwrap();
            let settled = world.settle();
            assert!(settled.contains(&(2, 7)), "{settled:?}");
            assert!(!world.probe.open().contains_key(&number), "P-15: {taken}");
            assert_eq!(world.ring.files(), 3, "but for those two and the splice's");
            let mut came = Vec::new();
            reader.read_to_end(&mut came).unwrap();
            assert_eq!(came, b"its own");
            drop((other, world));
            came.clear();
            victim.read_to_end(&mut came).unwrap();
            assert_eq!(came, b"", "written into another file");
        }
    });
}

/// The ring ends before the worker has looked for the number.
#[test]
fn p14_a_cut_chain_leaves_its_file_open_where_the_ring_ends_first() {
    const NAME: &str = "p14_a_cut_chain_leaves_its_file_open_where_the_ring_ends_first";
    in_balance(NAME, || {
        let mut world = World::new();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let file = world.adopt(writer);
        let write = op::write(file, Counted::of(b"its own")).link().into();
        let chain = [(write, 2), (op::close(file).into(), 3)];
        world.ring.submit_chain(chain).expect("a chain");
        world.probe.take_at_most(1);
        world.ring.flush().unwrap();
        let report = world.ring.shutdown(LONG);
        assert_eq!((report.settled, report.leaked), (3, 0));
        let mut came = Vec::new();
        reader.read_to_end(&mut came).unwrap();
        assert!(came.is_empty() || came == b"its own", "{came:?}");
    });
}

#[test]
fn p14_a_slot_that_the_beginning_of_a_cut_chain_names_stays() {
    const NAME: &str = "p14_a_slot_that_the_beginning_of_a_cut_chain_names_stays";
    in_balance(NAME, || {
        for with_timeout in [false, true] {
            let mut world = World::new();
            world.ring.register_files(1).unwrap();
            let (mut reader, writer) = std::io::pipe().unwrap();
            let file = world.adopt(writer);
            let slot = world.ring.install(file).unwrap();
            let write = op::write(slot, Counted::of(b"its own"));
            if with_timeout {
                world.ring.submit(write.timeout(LONG), 1).unwrap();
            } else {
                let chain = [(write.link().into(), 1), (op::nop().into(), 2)];
                world.ring.submit_chain(chain).expect("a chain");
            }
            world.probe.take_at_most(1);
            // It is cut by the flush in it, or was before.
            if !with_timeout {
                world.ring.flush().unwrap();
            }
            assert_eq!(world.ring.uninstall(slot), Err(Error::Busy));
            let settled = world.settle();
            assert_eq!(world.ring.uninstall(slot), Ok(()));
            drop(world);
            let mut came = Vec::new();
            reader.read_to_end(&mut came).unwrap();
            // What lost its timeout is ended.
            let is_written = settled.contains(&(1, 7));
            assert!(is_written || with_timeout, "{settled:?}");
            assert_eq!(came, if is_written { &b"its own"[..] } else { b"" });
        }
    });
}

#[test]
fn p4_what_is_cut_off_its_timeout_ends() {
    const NAME: &str = "p4_what_is_cut_off_its_timeout_ends";
    in_balance(NAME, || {
        for taken in 1..4 {
            let mut world = World::new();
            let (first, _writer) = std::io::pipe().unwrap();
            let (second, _other) = std::io::pipe().unwrap();
            let [first, second] = [first.into(), second.into()].map(|fd: OwnedFd| world.adopt(fd));
            let limited = op::read(second, Counted::with_room(8)).timeout(Duration::from_millis(1));
            let first = op::read(first, Counted::with_room(8)).hard_link();
            let [waits, limited] = world
                .ring
                .submit_chain([(first.into(), 1), (limited.into(), 2)])
                .expect("a chain");
            world.probe.take_at_most(taken);
            world.ring.flush().unwrap();
            world.trigger.write_all(b"x").unwrap();
            // Nobody writes: of what was not cut the first read waits, and the second behind it.
            if taken != 2 {
                world.ring.cancel(waits);
            }
            while world.ring.contains(limited) {
                world.turn(LONG);
            }
        }
    });
}
