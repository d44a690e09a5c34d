//! Random programs: what holds whatever happens.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use linux_event_core::proactor::{Group, Link};

use super::*;

/// A program and a kernel out of the same bytes.
struct Run {
    proactor: Proactors,
    bytes: std::vec::IntoIter<u8>,
    pipe: (File, FakeFd),
    socket: (File, FakeFd),
    listener: File,
    group: Group,
    /// Operations that have not settled.
    alive: BTreeMap<u32, Op>,
    submitted: u32,
    leases: Vec<crate::fake::FakeLease>,
    /// All that happened, with its time.
    trace: Vec<(u64, Seen, Vec<u8>)>,
}

fn decide(byte: u8, length: usize) -> Decision {
    match byte {
        0..16 => Decision::Fail(Errno::ECONNRESET),
        16..48 => Decision::Shorten(1 + length / 2),
        48..96 => Decision::Delay(u32::from(byte) * Duration::from_micros(100)),
        96..128 => Decision::Hold,
        128..144 => Decision::Stubborn,
        _ => Decision::Perform,
    }
}

impl Run {
    fn new(bytes: Vec<u8>, decisions: Vec<u8>) -> Self {
        let mut fake = Fake::new();
        let mut decisions = decisions.into_iter();
        fake.script(move |op| decide(decisions.next().unwrap_or(255), op.length));
        fake.set_completions(5);
        fake.set_entries(6);
        let mut proactor = Proactors::new(fake).unwrap();
        let pipe = pipe(&mut proactor);
        let socket = sockets(&mut proactor);
        let listener = proactor.backend_mut().listener("/server").unwrap();
        let listener = adopt(&mut proactor, listener);
        let group = proactor.provide(2, 8).unwrap();
        Self {
            proactor,
            bytes: bytes.into_iter(),
            pipe,
            socket,
            listener,
            group,
            alive: BTreeMap::new(),
            submitted: 0,
            leases: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes.next()
    }

    fn request(&mut self) -> Request<Buffer> {
        let kind = self.byte().unwrap_or(0);
        let (socket, reader) = (self.socket.0, self.pipe.0);
        let full = || Buffer::from(vec![kind; 1 + usize::from(kind) * 300]);
        let mut request: Request<Buffer> = match kind % 16 {
            0 => op::nop().into(),
            1 => op::read(reader, room(16)).into(),
            2 | 3 => op::recv(socket, room(16)).into(),
            4 => op::recv(socket, room(16))
                .limit(16)
                .flags(MessageFlags::WAIT_ALL)
                .into(),
            5 => op::send(socket, full()).into(),
            6 => op::send(socket, full())
                .flags(MessageFlags::WAIT_ALL)
                .into(),
            7 => op::send_zero_copy(socket, full()).into(),
            8 => op::recv_multi(socket, self.group).into(),
            9 => op::accept_multi(self.listener).into(),
            10 => op::accept(self.listener).into(),
            11 => op::poll_multi(socket, PollEvents::IN).into(),
            12 => op::poll(reader, PollEvents::IN).into(),
            13 => op::splice(reader, socket, 9).into(),
            14 => op::fsync(reader).into(),
            _ => op::socket(Domain::Unix, SocketKind::Stream).into(),
        };
        if kind & 64 != 0 {
            request.timeout = Some(u32::from(kind) * Duration::from_micros(50));
        }
        request
    }

    fn submit(&mut self) {
        let request = self.request();
        if let Ok(op) = self.proactor.submit(request, self.submitted) {
            self.alive.insert(self.submitted, op);
            self.submitted += 1;
        }
    }

    fn submit_chain(&mut self) {
        let first = self.submitted;
        let hard = self.byte().is_some_and(|byte| byte & 1 != 0);
        let members = [0, 1, 2].map(|nth| {
            let mut request = self.request();
            request.link = if hard && nth == 1 {
                Link::Hard
            } else {
                Link::Soft
            };
            (request, first + nth)
        });
        if let Ok(ops) = self.proactor.submit_chain(members) {
            self.alive.extend((first..).zip(ops));
            self.submitted += 3;
        }
    }

    fn turn(&mut self) {
        // A wait that nothing can end is an error, and no harm.
        let _ = self.proactor.wait(Some(MILLI));
        while let Some(event) = self.proactor.next() {
            let Event::Completion(completion) = event else {
                continue;
            };
            let seen = (completion.data, completion.result, completion.more);
            assert!(self.alive.contains_key(&completion.data), "settled twice");
            if !completion.more {
                self.alive.remove(&completion.data);
            }
            let bytes = match completion.payload {
                Payload::Buffer(buffer) => buffer.to_vec(),
                Payload::Lease(lease) => {
                    let bytes = lease.to_vec();
                    self.leases.push(lease);
                    bytes
                }
                _ => Vec::new(),
            };
            let at = self.proactor.backend().now().as_nanos();
            self.trace.push((at, seen, bytes));
        }
    }

    fn step(&mut self, byte: u8) {
        let peers = [self.pipe.1, self.socket.1];
        let count = self.alive.len();
        match byte % 16 {
            0..5 => self.submit(),
            5 => self.submit_chain(),
            6 | 7 => self.turn(),
            8 => {
                let op = self.alive.values().nth(usize::from(byte) % count.max(1));
                if let Some(&op) = op {
                    self.proactor.cancel(op);
                }
            }
            9 => drop(self.proactor.flush()),
            10 | 11 => {
                let peer = peers[usize::from(byte / 16 % 2)];
                let _ = self
                    .proactor
                    .backend_mut()
                    .write(peer, &vec![byte; byte.into()]);
            }
            12 => {
                let mut bytes = vec![0; 100 * usize::from(byte)];
                let _ = self.proactor.backend_mut().read(peers[1], &mut bytes);
            }
            13 => drop(self.proactor.backend_mut().client("/server")),
            14 => self.leases.clear(),
            _ => {
                let pending = self.proactor.backend().pending();
                let fake = self.proactor.backend_mut();
                if let Some(op) = pending.get(usize::from(byte / 16)) {
                    let _ = match byte / 16 % 4 {
                        0 => fake.complete(op, &b"by hand"[..]),
                        1 => fake.complete(op, 0),
                        2 => fake.release(op),
                        _ => fake.fail(op, Errno::EIO),
                    };
                }
            }
        }
    }

    fn run(mut self) -> Vec<(u64, Seen, Vec<u8>)> {
        while let Some(byte) = self.byte() {
            self.step(byte);
            let reported = self.proactor.backend().pending_operations();
            assert_eq!(reported, self.alive.len());
            assert_eq!(self.proactor.operations(), self.alive.len());
        }
        self.end();
        self.trace
    }

    /// Everything ends, and nothing is left.
    fn end(&mut self) {
        self.proactor.backend_mut().end_script();
        for _ in 0..200 {
            self.proactor.cancel_all();
            self.turn();
            let fake = self.proactor.backend_mut();
            fake.let_go();
            // What no cancel ends is ended by hand.
            for op in fake.pending() {
                let _ = fake.fail(op, Errno::EIO);
            }
            if self.alive.is_empty() {
                break;
            }
        }
        self.leases.clear();
        let fake = self.proactor.backend();
        assert_eq!(self.alive.len(), 0);
        assert_eq!(fake.pending_operations(), 0);
        assert_eq!(fake.buffers_out(), 0);
        assert_eq!(fake.leases_out(), 0);
        assert_eq!(fake.counters().leaked, 0);
        self.proactor.withdraw(self.group).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn f1_the_same_input_gives_the_same_run_and_everything_settles_once(
        bytes in vec(any::<u8>(), 0..300),
        decisions in vec(any::<u8>(), 0..100),
    ) {
        let first = Run::new(bytes.clone(), decisions.clone()).run();
        let second = Run::new(bytes, decisions).run();
        prop_assert_eq!(first, second);
    }
}
