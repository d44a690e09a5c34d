//! Runs a ring on a [`Sim`] as a script says: every call of the contract, in any order, right or wrong.
//!
//! What must hold whatever the script and whatever the kernel: an operation is reported only while it is in flight, and ends
//! once (P-3); its buffers come back with its end (P-6); and no memory is touched that is not the ring's: Miri and the
//! sanitizers see to that.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use linux_event_core::handle::{Handle, Tag};
use linux_event_core::proactor::{
    Backend, Carried, FixedBuffer, FixedFile, Group, Lease, Link, Options, PollEvents, Popped,
    Report, Request, Target, Uring, VectoredRequest, Vectors, op,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::sys::{AsRawFd, Domain, Fd, Kernel, SocketKind};
use linux_event_core::wakeup::Wakeup;

use crate::buf::{VecBuf, vouched};
use crate::ring_kernel::{Manners, Sim};

type Ring = Uring<VecBuf, Sim, Rc<Wakeup<Sim>>>;

const OPERATIONS: u32 = 16;

struct Driver<'script> {
    ring: Ring,
    sim: Sim,
    calls: std::slice::Iter<'script, u8>,
    /// What is in flight: whether it owns buffers.
    flying: BTreeMap<u64, usize>,
    alive: Arc<()>,
    generation: u64,
    leases: Vec<Lease<Sim>>,
    held: Vec<Fd<Sim>>,
    groups: Vec<Group>,
    slots: Vec<FixedFile>,
}

/// Runs `bytes`: the first half is calls, the second the kernel's decisions.
pub(crate) fn drive(bytes: &[u8], manners: Manners) {
    let (calls, decisions) = bytes.split_at(bytes.len() / 2);
    let mut calls = calls.iter();
    let sim = Sim::new(decisions, manners);
    let setting = calls.next().copied().unwrap_or(0);
    let options = Options {
        entries: 4 << (setting % 3),
        cq_entries: Some(8 << (setting / 4 % 2)),
        submit_batch: u32::from(setting / 16 % 4),
        busy_poll: Duration::from_nanos(u64::from(setting / 64 % 2) * 5000),
        ..Options::default()
    };
    let alive = Arc::new(());
    if let Ok(ring) = Uring::with_options(sim, options) {
        let mut driver = Driver {
            ring,
            sim,
            calls,
            flying: BTreeMap::new(),
            alive: Arc::clone(&alive),
            generation: 0,
            leases: Vec::new(),
            held: Vec::new(),
            groups: Vec::new(),
            slots: Vec::new(),
        };
        let _ = driver.ring.reserve(OPERATIONS as usize);
        while driver.step() {}
        driver.end();
    } else {
        assert_eq!(sim.leftovers().0, 0, "nothing is left open");
    }
    // SAFETY: the ring is gone, with everything that came of it.
    unsafe {
        crate::buf::reclaim();
        sim.end();
    }
    assert_eq!(
        Arc::strong_count(&alive),
        1,
        "P-6: every buffer is back, or was leaked and counted"
    );
}

impl Driver<'_> {
    fn byte(&mut self) -> u8 {
        self.calls.next().copied().unwrap_or(0)
    }

    fn token(&mut self) -> Handle {
        let index = u32::from(self.byte() % 20); // some beyond the last
        self.generation += 1;
        Handle::new(index, Tag::Operation, self.generation)
    }

    fn buffer(&mut self) -> VecBuf {
        let size = usize::from(self.byte() % 32);
        let mut bytes = Vec::with_capacity(size.max(1) * 2);
        bytes.resize(size, 1);
        if size > 4 {
            bytes[size - 1] = 0;
        }
        VecBuf::counted(bytes, &self.alive)
    }

    fn vectors(&mut self) -> Vectors<VecBuf> {
        (0..self.byte() % 9).map(|_| self.buffer()).collect()
    }

    fn step(&mut self) -> bool {
        let Some(&call) = self.calls.next() else {
            return false;
        };
        match call % 32 {
            0..=9 => self.push(Link::None),
            10 => self.push(Link::Soft),
            11 => self.push(Link::Hard),
            12 | 13 => self.push_vectored(),
            14..=16 => {
                let timeout = Duration::from_nanos(u64::from(self.byte()));
                let deadline = self.ring.now() + timeout;
                let by_deadline = call % 2 == 0;
                let _ = self.ring.wait(
                    Some(deadline).filter(|_| by_deadline),
                    Some(timeout).filter(|_| !by_deadline),
                );
            }
            17..=21 => self.pop(),
            22 => {
                let nth = usize::from(self.byte());
                let token = self
                    .flying
                    .keys()
                    .nth(nth % self.flying.len().max(1))
                    .copied();
                if let Some(token) = token.and_then(Handle::from_raw) {
                    let _ = self.ring.cancel(token);
                }
            }
            23 => drop(self.ring.flush()),
            24 => {
                let entries = usize::from(self.byte() % 20);
                let _ = self.ring.make_room(entries);
            }
            25 => self.group(),
            26 => self.file(),
            27 => self.registered(),
            28 => {
                let nth = usize::from(self.byte());
                if !self.leases.is_empty() {
                    let at = nth % self.leases.len();
                    drop(self.leases.swap_remove(at));
                }
                self.held.truncate(nth % 4);
            }
            29 => self.ask(),
            30 => self.close(),
            _ => self.internal(),
        }
        true
    }

    fn request(&mut self) -> Request<VecBuf> {
        let number = i32::from(self.byte() % 8);
        // SAFETY: the numbers of this kernel name nothing.
        let target = unsafe { Target::from_raw(number) };
        let group = Group::new(u16::from(self.byte() % 3));
        let fixed = FixedBuffer::new(u16::from(self.byte() % 3));
        let address = "127.0.0.1:80".parse().expect("an address");
        match self.byte() % 24 {
            0 => op::nop().into(),
            1 => op::read(target, self.buffer()).into(),
            2 => op::write(target, self.buffer()).into(),
            3 => op::recv(target, self.buffer()).into(),
            4 => op::send(target, self.buffer()).into(),
            5 => op::send_zero_copy(target, self.buffer()).into(),
            6 => op::recv_multi(target, group).into(),
            7 => op::accept(target).into(),
            8 => op::accept_multi(target).into(),
            9 => op::connect(target, address).into(),
            10 => op::connect_unix(target, self.buffer()).into(),
            11 => op::socket(Domain::V4, SocketKind::Stream).into(),
            12 => op::bind(target, address).into(),
            13 => op::listen(target, 9).into(),
            14 => op::open(target, self.buffer()).into(),
            15 => op::statx(target, self.buffer()).into(),
            16 => op::fsync(target).into(),
            17 => op::splice(target, target, 9).into(),
            18 => op::poll(target, PollEvents::IN).into(),
            19 => op::poll_multi(target, PollEvents::IN).into(),
            20 => op::wait_pid(number).into(),
            21 => op::read_fixed(target, fixed, u32::from(self.byte()), 9).into(),
            22 => op::write_fixed(target, fixed, 0, u32::from(self.byte())).into(),
            _ => match self.slots.first() {
                Some(&slot) => op::close_fixed(slot).into(),
                None => op::read(target, self.buffer())
                    .timeout(Duration::from_nanos(9))
                    .into(),
            },
        }
    }

    fn push(&mut self, link: Link) {
        let token = self.token();
        let mut request = self.request();
        request.link = link;
        if self.byte().is_multiple_of(8) {
            request.timeout = Some(Duration::from_nanos(1));
        }
        let owns = usize::from(request.buffer.is_some());
        let fits = self.ring.check(&request);
        match self.ring.push(token, request, vouched()) {
            Ok(()) => {
                assert_eq!(fits, Ok(()), "check and push agree");
                assert!(self.flying.insert(token.raw(), owns).is_none());
            }
            Err(refused) => assert_eq!(usize::from(refused.buffer.is_some()), owns, "P-6"),
        }
    }

    fn push_vectored(&mut self) {
        let token = self.token();
        // SAFETY: as above.
        let target = unsafe { Target::from_raw(3) };
        let buffers = self.vectors();
        let count = buffers.len();
        let request: VectoredRequest<VecBuf> = match self.byte() % 4 {
            0 => op::read_vectored(target, buffers).into(),
            1 => op::write_vectored(target, buffers).into(),
            2 => op::recv_message(target, buffers).into(),
            _ => op::send_message(target, buffers)
                .to("[::1]:9".parse().expect("an address"))
                .into(),
        };
        match self.ring.push_vectored(token, request, vouched()) {
            Ok(()) => assert!(self.flying.insert(token.raw(), count).is_none()),
            Err((_, back)) => assert_eq!(back.len(), count, "P-6"),
        }
    }

    fn pop(&mut self) {
        let report = match self.ring.pop() {
            Some(Popped::Report(report)) => report,
            Some(Popped::Plain {
                token,
                result,
                buffer,
            }) => Report {
                token,
                result,
                more: false,
                carried: buffer.map_or(Carried::Nothing, Carried::Buffer),
            },
            Some(Popped::Ready(_)) | None => return,
        };
        let owned = if report.more {
            *self
                .flying
                .get(&report.token)
                .expect("it is in flight (P-3)")
        } else {
            self.flying
                .remove(&report.token)
                .expect("it is in flight (P-3)")
        };
        let back = match report.carried {
            Carried::Nothing => 0,
            Carried::Buffer(buffer) => {
                std::hint::black_box(buffer.iter().copied().max()); // all of it is initialised
                1
            }
            Carried::Vectors => self.ring.take_vectors().len(),
            Carried::Descriptor => {
                if self.byte().is_multiple_of(2) {
                    self.held.extend(self.ring.take_descriptor());
                }
                self.ring.take_vectors().len()
            }
            Carried::Lease(lease) => {
                assert!(!lease.is_empty());
                std::hint::black_box(lease.iter().copied().max());
                self.leases.push(lease);
                0
            }
        };
        assert_eq!(back, if report.more { 0 } else { owned }, "P-6");
    }

    fn group(&mut self) {
        if self.byte().is_multiple_of(2) {
            let (count, size) = (1 << (self.byte() % 4), u32::from(self.byte()));
            if let Ok(group) = self.ring.provide(count, size) {
                self.groups.push(group);
            }
        } else if let Some(group) = self.groups.pop()
            && self.ring.withdraw(group).is_err()
        {
            self.groups.push(group);
        }
    }

    fn file(&mut self) {
        match self.byte() % 3 {
            0 => {
                let count = u32::from(self.byte());
                let _ = self.ring.register_files(count);
            }
            1 => {
                if let Some(fd) = self.held.first()
                    && let Ok(slot) = self.ring.install(fd)
                {
                    self.slots.push(slot);
                }
            }
            _ => {
                if let Some(slot) = self.slots.pop() {
                    let _ = self.ring.uninstall(slot);
                }
            }
        }
    }

    fn registered(&mut self) {
        match self.byte() % 3 {
            0 => {
                let buffers = self.vectors();
                let count = buffers.len();
                if let Err((_, back)) = self.ring.register_buffers(buffers) {
                    assert_eq!(back.len(), count, "P-6");
                }
            }
            1 => drop(self.ring.unregister_buffers()),
            _ => {
                let buffer = FixedBuffer::new(u16::from(self.byte() % 10));
                if let Some(content) = self.ring.fixed(buffer) {
                    content.fill(3);
                }
            }
        }
    }

    fn ask(&mut self) {
        let index = u32::from(self.byte());
        let token = Handle::new(index, Tag::Operation, u64::from(self.byte()));
        let _ = (
            self.ring.address(token),
            self.ring.stat(token),
            self.ring.exit_info(token),
        );
        let _ = (self.ring.counters(), self.ring.capabilities());
        let more = usize::from(self.byte());
        let _ = self.ring.reserve(more);
    }

    fn close(&mut self) {
        let token = self.token();
        let Ok(fd) = self.sim.eventfd() else { return };
        let number = fd.as_raw_fd();
        let link = match self.byte() % 8 {
            0 => Link::Soft,
            1 => Link::Hard,
            _ => Link::None,
        };
        match self.ring.push_close(token, fd, link) {
            Ok(()) => assert!(self.flying.insert(token.raw(), 0).is_none()),
            Err((_, fd)) => assert_eq!(fd.as_raw_fd(), number, "P-6"),
        }
    }

    fn internal(&mut self) {
        let process = Handle::new(u32::from(self.byte()), Tag::Process, 1);
        match self.byte() % 7 {
            0 => {
                let wakeup = Rc::new(Wakeup::with_kernel(self.sim));
                wakeup.wake();
                let _ = self.ring.attach(wakeup);
            }
            1 => drop(self.ring.add(7, 1, process)),
            2 => drop(self.ring.remove_process(7, process)),
            3 => drop(self.ring.arm(Some(self.ring.now()))),
            4 => drop(
                self.ring
                    .set_signals(linux_event_core::signal::SignalSet::EMPTY),
            ),
            5 => self.ring.end_chain(),
            _ => {
                self.ring.take_wakes();
            }
        }
    }

    fn end(mut self) {
        if self.byte().is_multiple_of(8) {
            let limit = Duration::from_millis(u64::from(self.byte()));
            let report = self.ring.shut_down(limit);
            assert!(report.settled + report.leaked >= self.flying.len());
        }
        if self.byte() == 77 {
            self.sim.fork();
        }
        let Self {
            ring,
            leases,
            held,
            alive,
            ..
        } = self;
        drop(ring);
        drop((leases, held, alive));
    }
}
