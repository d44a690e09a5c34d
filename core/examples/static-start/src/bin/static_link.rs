//! Links everything that the core can do, for whoever looks at what is in it: `.ci/static` does, for what panics.
//!
//! It is not meant to be run. Values that a compiler must not know go through `black_box`, so that it leaves nothing out.
#![cfg_attr(panic = "abort", no_std, no_main)]

#[cfg(panic = "abort")]
mod program {
    use core::hint::black_box as any;
    use core::net::SocketAddr;
    use core::time::Duration;

    use linux_event_core::clock::Instant;
    use linux_event_core::errno::Errno;
    use linux_event_core::error::Error;
    use linux_event_core::handle::{File, Tag};
    use linux_event_core::mailbox::Mailbox;
    use linux_event_core::place::Place;
    use linux_event_core::proactor::{
        self, Block, FixedBuffer, How, IoBuf, MessageFlags, Options, Payload, PollEvents, Pool,
        Proactor, Target, Uring, Vectors, op,
    };
    use linux_event_core::reactor::{Epoll, Interest, Mode, Reactor};
    use linux_event_core::signal::{Signal, SignalSet};
    use linux_event_core::sys::{Domain, Linux, SocketKind, Sockets, sockaddr};
    use linux_event_core::table::Table;
    use linux_event_core::timer::Queue;
    use linux_event_core::timerfd::TimerFd;
    use linux_event_core::wakeup::Wakeup;
    use static_start::Arguments;

    static_start::main!(main);

    type Buf = Block<64, 8>;
    type Ring = Proactor<Buf, u32, 32, 32>;

    static POOL: Place<Pool<64, 8>> = Place::new(Pool::new());
    static WAKEUP: Wakeup = Wakeup::new();
    static MAILBOX: Mailbox<u32, 8> = Mailbox::new();

    fn main(_: Arguments) -> i32 {
        let done = [
            reactor().is_some(),
            with_proactor().is_some(),
            tables().is_some(),
            calls().is_ok(),
        ];
        any(done).into_iter().filter(|&is_done| !is_done).count() as i32
    }

    fn some_time() -> Duration {
        Duration::from_nanos(any(3))
    }

    fn reactor() -> Option<()> {
        let mut epoll = Epoll::new().ok()?;
        epoll.attach(&WAKEUP).ok()?;
        WAKEUP.wake_by(any(3));
        WAKEUP.nudge();
        let mut reactor: Reactor<u32, 64, 64> = Reactor::new(epoll);
        let watched = reactor.watch_with(any(1), Interest::READ, Mode::EDGE, 1);
        let watcher = watched.ok()?;
        reactor.enable(watcher, Interest::WRITE).ok()?;
        reactor.disable(watcher, Interest::WRITE).ok()?;
        reactor.set_mode(watcher, Mode::ONESHOT).ok()?;
        reactor.set_interest(watcher, Interest::READ).ok()?;
        reactor.rearm(watcher).ok()?;
        reactor.note_suppressed(watcher);
        reactor.set_data(watcher, any(3));
        any((
            reactor.data(watcher),
            reactor.mode(watcher),
            reactor.interest(watcher),
        ));
        any((
            reactor.watched_fd(watcher),
            reactor.watcher_of(any(3)),
            reactor.watch_error(watcher),
        ));
        any((
            reactor.live(),
            reactor.stats(),
            reactor.now(),
            reactor.next_deadline(),
        ));
        let timer = reactor.at(Instant::from_nanos(any(3)), 1).ok()?;
        reactor.after(some_time(), 1).ok()?;
        reactor.every(some_time(), 1).ok()?;
        reactor.reschedule(timer, Instant::from_nanos(any(4)));
        any(reactor.deadline(timer));
        reactor.set_counted(timer, any(false));
        reactor.set_counted(watcher, any(false));
        let signals = [Signal::INT, Signal::from_raw(any(3))?];
        let subscription = reactor.signal(signals.into_iter().collect::<SignalSet>(), 2);
        reactor.process(any(3), any(true), 4).ok()?;
        reactor.prepare().ok()?;
        reactor.wait(any(Some(some_time()))).ok()?;
        while let Some(event) = reactor.next() {
            any(event);
        }
        any(reactor.contains(timer));
        reactor.cancel(subscription.ok()?);
        reactor.cancel(watcher);
        reactor.cancel(timer);
        Some(())
    }

    fn with_proactor() -> Option<()> {
        let pool: &'static Pool<64, 8> = POOL.take()?;
        let options = Options {
            sqpoll_idle: any(None),
            busy_poll: any(Duration::ZERO),
            submit_batch: any(3),
            strict_cq: any(false),
            ..Options::DEFAULT
        };
        let mut ring: Uring<Buf> = Uring::with_options(Linux, options).ok()?;
        ring.attach(&WAKEUP).ok()?;
        any((ring.capabilities().entries, ring.as_fd()));
        let mut ring: Ring = Proactor::new(ring).ok()?;
        let (ours, theirs) = Linux.socketpair(SocketKind::Stream).ok()?;
        let ours = ring.adopt(ours).ok()?;
        let theirs = ring.adopt(theirs).ok()?;
        transfers(&mut ring, pool, ours)?;
        sockets(&mut ring, pool, ours)?;
        files(&mut ring, pool, ours, theirs)?;
        memory(&mut ring, pool, ours)?;
        chains(&mut ring, pool, ours, theirs)?;
        ring.signal(Signal::INT, 1).ok()?;
        ring.process(any(4), any(false), 1).ok()?;
        ring.after(some_time(), 1).ok()?;
        ring.prepare().ok()?;
        ring.flush().ok()?;
        ring.wait(any(Some(some_time()))).ok()?;
        while let Some(event) = ring.next() {
            if let proactor::Event::Completion(completion) = event {
                any((ring.address(completion.op), ring.stat(completion.op)));
                any((ring.exit_info(completion.op), completion.outcome().is_ok()));
                match completion.payload {
                    Payload::Lease(lease) => any(lease.len()),
                    Payload::Vectors => any(ring.take_vectors().len()),
                    Payload::Buffer(mut buffer) => {
                        buffer.memory()[0] = any(1);
                        buffer.set_filled(any(3));
                        any(buffer.fill(any(b"bytes")) + buffer.len())
                    }
                    payload => usize::from(any(matches!(payload, Payload::Nothing))),
                };
            }
        }
        any((
            ring.live(),
            ring.counters(),
            ring.number(ours),
            ring.descriptor(ours).is_some(),
        ));
        any(ring.release(ours).is_ok());
        ring.close(theirs, 3).ok()?;
        any(ring.shutdown(some_time()));
        Some(())
    }

    fn transfers(ring: &mut Ring, pool: &'static Pool<64, 8>, file: File) -> Option<()> {
        let read = op::read(file, pool.take()?).at(any(3));
        let first = ring.submit(op::nop(), 1).ok()?;
        ring.submit(read.timeout(some_time()), 1).ok()?;
        ring.submit(op::write(file, pool.take()?), 1).ok()?;
        let recv = op::recv(file, pool.take()?);
        ring.submit(recv.flags(MessageFlags::TRUNCATE), 1).ok()?;
        ring.submit(op::send(file, pool.take()?), 1).ok()?;
        ring.submit(op::send_zero_copy(file, pool.take()?), 1)
            .ok()?;
        any((ring.contains(first), ring.is_cancelling(first)));
        ring.set_counted(first, any(false));
        ring.detach(first);
        ring.cancel(first);
        ring.cancel_on(file);
        ring.cancel_all();
        Some(())
    }

    fn sockets(ring: &mut Ring, pool: &'static Pool<64, 8>, file: File) -> Option<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], any(4)));
        ring.submit(op::accept(file), 1).ok()?;
        ring.submit(op::accept_multi(file), 1).ok()?;
        ring.submit(op::connect(file, address), 1).ok()?;
        ring.submit(op::connect_unix(file, pool.take()?), 1).ok()?;
        ring.submit(op::bind(file, address), 1).ok()?;
        ring.submit(op::bind_unix(file, pool.take()?), 1).ok()?;
        ring.submit(op::listen(file, any(3)), 1).ok()?;
        ring.submit(op::shutdown(file, How::Both), 1).ok()?;
        ring.submit(op::socket(Domain::V4, SocketKind::Stream), 1)
            .ok()?;
        ring.submit(op::poll(file, PollEvents::IN), 1).ok()?;
        ring.submit(op::poll_multi(file, PollEvents::IN), 1).ok()?;
        let mut buffers = Vectors::new();
        buffers.push(pool.take()?).ok()?;
        buffers.push(pool.take()?).ok()?;
        ring.submit_vectored(op::recv_message(file, buffers), 1)
            .ok()?;
        let buffers = ring.take_vectors();
        let message = op::send_message(file, buffers).to(address);
        ring.submit_vectored(message, 1).ok()?;
        Some(())
    }

    fn files(ring: &mut Ring, pool: &'static Pool<64, 8>, from: File, to: File) -> Option<()> {
        let directory = Target::CURRENT_DIRECTORY;
        ring.submit(op::open(directory, pool.take()?), 1).ok()?;
        ring.submit(op::statx(directory, pool.take()?), 1).ok()?;
        ring.submit(op::fsync(from), 1).ok()?;
        ring.submit(op::splice(from, to, any(3)), 1).ok()?;
        ring.submit(op::wait_pid(any(3)), 1).ok()?;
        let buffers = ring.take_vectors();
        ring.submit_vectored(op::read_vectored(from, buffers), 1)
            .ok()?;
        let buffers = ring.take_vectors();
        ring.submit_vectored(op::write_vectored(from, buffers), 1)
            .ok()?;
        Some(())
    }

    fn memory(ring: &mut Ring, pool: &'static Pool<64, 8>, file: File) -> Option<()> {
        let group = ring.provide(any(4), any(64)).ok()?;
        ring.submit(op::recv_multi(file, group), 1).ok()?;
        let mut buffers = Vectors::new();
        buffers.push(pool.take()?).ok()?;
        ring.register_buffers(buffers).ok()?;
        let buffer = FixedBuffer::new(any(0));
        ring.submit(op::read_fixed(file, buffer, any(0), any(3)), 1)
            .ok()?;
        ring.submit(op::write_fixed(file, buffer, any(0), any(3)), 1)
            .ok()?;
        any(ring.fixed(buffer).is_ok());
        any(ring.unregister_buffers().is_ok());
        any(ring.withdraw(group).is_ok());
        Some(())
    }

    fn chains(ring: &mut Ring, pool: &'static Pool<64, 8>, file: File, last: File) -> Option<()> {
        let write = op::write(file, pool.take()?).link().into();
        let members = [
            (write, 1),
            (op::fsync(file).into(), 2),
            (op::close(last).into(), 3),
        ];
        any(ring.submit_chain(members).is_ok());
        ring.register_files(any(4)).ok()?;
        let (ours, _) = Linux.socketpair(SocketKind::Stream).ok()?;
        let ours = ring.adopt(ours).ok()?;
        let slot = ring.install(ours).ok()?;
        ring.submit(op::close_fixed(slot), 1).ok()?;
        any(ring.uninstall(slot).is_ok());
        Some(())
    }

    fn tables() -> Option<()> {
        let mut queue: Queue<u32, 8> = Queue::new();
        let timer = queue.insert(Instant::from_nanos(any(3)), any(1)).ok()?;
        queue.reschedule(timer, Instant::from_nanos(any(4)));
        any((
            queue.get(timer).copied(),
            queue.deadline(timer),
            queue.get_mut(timer).is_some(),
        ));
        any(queue.pop_due(Instant::from_nanos(any(4))));
        any(queue.cancel(timer));
        let mut table: Table<u32, 8> = Table::new();
        let handle = table.insert(Tag::Timer, any(1)).ok()?;
        any((
            table.find(any(1)).is_some(),
            table.iter().count(),
            table.remove(handle),
        ));
        any((MAILBOX.push(any(3)).is_ok(), MAILBOX.pop(), MAILBOX.len()));
        any((
            Signal::from_name(any("INT")),
            SignalSet::from_bits(any(3)).iter().count(),
        ));
        Some(())
    }

    fn calls() -> Result<(), Error> {
        let failed =
            |errno: Errno| Error::from_call(any(linux_event_core::error::Call::Mmap), errno);
        let timer = TimerFd::new().map_err(failed)?;
        timer.set_after(some_time(), some_time()).map_err(failed)?;
        any(timer.read().map_err(failed)?);
        let socket = Linux
            .socket(any(Domain::V6), any(SocketKind::Datagram))
            .map_err(failed)?;
        any(Linux.accept(socket.borrow()).map_err(failed)?.1);
        any(Linux.local_address(socket.borrow()).map_err(failed)?);
        any(Linux.take_error(socket.borrow()).map_err(failed)?);
        any(sockaddr::decode(any(&[0; 28])));
        any(Linux.reap().map_err(failed)?);
        Ok(())
    }
}

#[cfg(not(panic = "abort"))]
fn main() {}
