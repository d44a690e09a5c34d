//! What safe code may ask of a ring, however odd, on the kernel that is there: nothing but its own memory and its own
//! descriptors comes of it (P-6, P-14).

#![allow(missing_docs, unsafe_code)]

#[path = "support/buf.rs"]
mod buf;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use buf::{VecBuf, vouched};
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{Handle, Tag};
use linux_event_core::proactor::{
    Backend as _, Code, Completion, Event, Extra, FixedBuffer, IoBuf, MessageFlags, Options,
    Proactor, RawBuf, Request, Storage, Target, Uring, Vectors, op,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::sys::{Fd, Linux};

type Backend = Uring<VecBuf>;
type Loop = Proactor<VecBuf, u32, 64, 16>;

fn new_loop() -> Option<Loop> {
    match Uring::new() {
        Ok(ring) => Some(Proactor::new(ring).expect("a proactor")),
        Err(Error::NoRing { .. }) => None,
        Err(other) => panic!("{other:?}"),
    }
}

fn has_zero_copy(proactor: &Loop) -> bool {
    let has = proactor
        .backend()
        .capabilities()
        .supports(Code::SendZeroCopy);
    if !has {
        eprintln!("the kernel lacks SEND_ZC (Linux 6.0): nothing is tested of it");
    }
    has
}

fn owned(fd: impl Into<OwnedFd>) -> Fd {
    // SAFETY: it was an owned descriptor.
    unsafe { Fd::from_raw(Linux, fd.into().into_raw_fd()) }
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn next(proactor: &mut Loop) -> Completion<u32, Backend> {
    for _ in 0..100 {
        while let Some(event) = proactor.next() {
            if let Event::Completion(completion) = event {
                return completion;
            }
        }
        proactor.wait(Some(Duration::from_secs(5))).unwrap();
    }
    panic!("nothing came");
}

/// A vector whose spare capacity holds something that no reader is to see.
fn with_a_past() -> VecBuf {
    let mut bytes = vec![0xA5; 64];
    bytes.clear();
    VecBuf::counted(bytes, &std::sync::Arc::new(()))
}

#[test]
fn p6_bytes_that_tcp_discards_are_not_taken_for_received() {
    let Some(mut proactor) = new_loop() else {
        return;
    };
    let (near, mut far) = connected();
    let near = proactor.adopt(owned(near)).unwrap();
    // `tcp(7)`: MSG_TRUNC discards what was received instead of storing it.
    far.write_all(&[7; 16]).unwrap();
    let request = op::recv(near, with_a_past()).flags(MessageFlags::TRUNCATE);
    proactor.submit(request, 0).unwrap();
    let completion = next(&mut proactor);
    assert_eq!(completion.outcome(), Ok(16));
    let buffer = completion.into_buffer().unwrap();
    assert!(!buffer.contains(&0xA5), "{buffer:?}");

    far.write_all(&[7; 16]).unwrap();
    let parts = Vectors::from_iter([with_a_past(), with_a_past()]);
    let request = op::recv_message(near, parts).flags(MessageFlags::TRUNCATE);
    proactor.submit_vectored(request, 0).unwrap();
    assert_eq!(next(&mut proactor).outcome(), Ok(16));
    for part in proactor.take_vectors() {
        assert!(!part.contains(&0xA5), "{part:?}");
    }
}

#[test]
fn p6_a_send_sends_its_buffer_and_no_other_memory() {
    const VECTORIZED: u16 = 1 << 5; // IORING_SEND_VECTORIZED, Linux 6.17
    let Some(mut proactor) = new_loop() else {
        return;
    };
    let (near, mut far) = connected();
    let near = proactor.adopt(owned(near)).unwrap();
    let secret = *b"not lent to this";
    let mut vector = Vec::new();
    vector.extend_from_slice(&(secret.as_ptr() as usize).to_ne_bytes());
    vector.extend_from_slice(&secret.len().to_ne_bytes());
    for zero_copy in [false, true] {
        if zero_copy && !has_zero_copy(&proactor) {
            break;
        }
        let buffer = VecBuf::from_slice(&vector);
        let mut request: Request<VecBuf> = if zero_copy {
            op::send_zero_copy(near, buffer).limit(1).into()
        } else {
            op::send(near, buffer).limit(1).into()
        };
        request.extra_flags = VECTORIZED;
        proactor.submit(request, 0).unwrap();
        while next(&mut proactor).more {}
        let mut received = [0; 64];
        far.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let count = far.read(&mut received).unwrap_or(0);
        assert_ne!(&received[..count], &secret, "zero copy: {zero_copy}");
    }
}

#[test]
fn p6_a_send_that_is_over_has_let_go_of_its_buffer() {
    const MSG_ZEROCOPY: u32 = 0x400_0000;
    let Some(mut proactor) = new_loop() else {
        return;
    };
    let (near, mut far) = connected();
    let on: i32 = 1;
    // SAFETY: the option is an integer.
    let set = unsafe {
        libc::setsockopt(
            near.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const on).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
    let near = proactor.adopt(owned(near)).unwrap();
    // Fill the peer's window, so that what follows stays where it is.
    let mut sent = 0;
    loop {
        let filler =
            op::send(near, VecBuf::from_slice(&vec![1; 65_536])).flags(MessageFlags::DONT_WAIT);
        proactor.submit(filler, 0).unwrap();
        match next(&mut proactor).outcome() {
            Ok(count) => sent += count as usize,
            Err(Errno::EAGAIN) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    // Room in the queue, not in the window.
    let mut drained = vec![0; 400_000];
    far.read_exact(&mut drained).unwrap();
    sent -= drained.len();
    for vectored in [false, true] {
        let buffer = VecBuf::from_slice(&[2; 4096]);
        let mut bytes;
        let count;
        if vectored {
            let flags = MessageFlags::from_bits_retain(MSG_ZEROCOPY);
            let request = op::send_message(near, Vectors::from_iter([buffer])).flags(flags);
            proactor.submit_vectored(request, 0).unwrap();
            count = next(&mut proactor).outcome().unwrap() as usize;
            bytes = proactor.take_vectors().pop().unwrap();
        } else {
            let flags = MessageFlags::from_bits_retain(MSG_ZEROCOPY);
            proactor
                .submit(op::send(near, buffer).flags(flags), 0)
                .unwrap();
            let completion = next(&mut proactor);
            count = completion.outcome().unwrap() as usize;
            bytes = completion.into_buffer().unwrap();
        }
        assert_eq!(count, 4096);
        // It is ours again.
        IoBuf::fill(&mut bytes, &[9; 4096]);
        let mut rest = vec![0; sent];
        far.read_exact(&mut rest).unwrap();
        sent = 0;
        let mut received = [0; 4096];
        far.read_exact(&mut received).unwrap();
        assert!(
            received.iter().all(|&byte| byte == 2),
            "vectored: {vectored}"
        );
    }
}

#[test]
fn p4_an_open_that_is_cancelled_says_so() {
    let Some(mut proactor) = new_loop() else {
        return;
    };
    let path = std::env::temp_dir().join(format!("linux-event-fifo-{}", std::process::id()));
    let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
    bytes.push(0);
    // SAFETY: the path ends with a zero byte.
    assert_eq!(unsafe { libc::mkfifo(bytes.as_ptr().cast(), 0o600) }, 0);
    let opened =
        op::open(Target::CURRENT_DIRECTORY, VecBuf::from_slice(&bytes)).flags(libc::O_CREAT as u32); // waits for a writer
    let op = proactor.submit(opened, 0).unwrap();
    proactor.flush().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(proactor.cancel(op));
    let completion = next(&mut proactor);
    std::fs::remove_file(&path).unwrap();
    assert!(
        completion.is_cancelled() || completion.outcome() == Err(Errno::EINTR),
        "{completion:?}"
    );
}

#[test]
fn p16_what_a_request_says_is_counted_once() {
    let Some(mut proactor) = new_loop() else {
        return;
    };
    let memory = Vectors::from_iter([VecBuf::from_slice(&[0; 8])]);
    proactor.register_buffers(memory).unwrap();
    let buffer = FixedBuffer::new(0);
    // Neither is a request that means anything; neither is to leave a mark.
    let mut lacks: Request<VecBuf> = op::read_fixed(Target::NONE, buffer, 0, 1).into();
    lacks.extra = Extra::None;
    assert!(proactor.submit(lacks, 0).is_err());
    let mut has: Request<VecBuf> = op::nop().into();
    has.extra = Extra::Fixed { buffer, start: 0 };
    proactor.submit(has, 0).unwrap();
    assert_eq!(next(&mut proactor).outcome(), Ok(0));
    assert_eq!(proactor.fixed(buffer).map(|bytes| bytes.len()), Ok(8));
    assert_eq!(proactor.unregister_buffers().unwrap().len(), 1);
}

#[test]
fn p6_a_shutdown_takes_no_longer_than_it_may() {
    let Some(mut proactor) = new_loop() else {
        return;
    };
    if !has_zero_copy(&proactor) {
        return;
    }
    // A read of a terminal or hung file would do; here a chain whose head nobody can cancel in time.
    let (near, _far) = connected();
    let near = proactor.adopt(owned(near)).unwrap();
    // A zero-copy send that the peer does not acknowledge: it has no cancelling.
    let mut in_flight = 0;
    for _ in 0..32 {
        let send = op::send_zero_copy(near, VecBuf::from_slice(&vec![1; 1 << 20]));
        proactor.submit(send, 0).unwrap();
        in_flight += 1;
    }
    proactor.flush().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    let report = proactor.shutdown(Duration::from_millis(50));
    let took = start.elapsed();
    println!("{in_flight} {report:?} {took:?}");
    assert!(took < Duration::from_millis(600), "{took:?}");
    // SAFETY: those that are leaked are never used again here: the socket is closed.
    // (They stay leaked: the kernel may have them.)
}

#[test]
fn p14_an_uninstalled_slot_is_not_given_away_while_it_is_named() {
    let Some(mut proactor) = new_loop() else {
        return;
    };
    proactor.register_files(1).unwrap();
    let (_r1, w1) = std::io::pipe().unwrap();
    let (mut r2, w2) = std::io::pipe().unwrap();
    let first = proactor.adopt(owned(w1)).unwrap();
    let second = proactor.adopt(owned(w2)).unwrap();
    let slot = proactor.install(first).unwrap();
    proactor
        .submit(op::write(slot, VecBuf::from_slice(b"for the first")), 0)
        .unwrap();
    if proactor.uninstall(slot).is_ok() {
        proactor.install(second).unwrap();
    }
    println!("{:?}", next(&mut proactor));
    drop(proactor);
    let mut wrong = Vec::new();
    r2.read_to_end(&mut wrong).unwrap();
    assert_eq!(wrong, b"", "written to another file");
}

#[test]
fn p14_a_forgotten_loop_keeps_what_it_names() {
    type Tables = Storage<u32, 8, 8>;
    type Borrowing<'a> = Proactor<VecBuf, u32, 8, 8, Backend, &'a mut Tables>;
    let options = Options {
        sqpoll_idle: Some(Duration::from_millis(10)),
        ..Options::default()
    };
    let ring = match Uring::with_options(Linux, options) {
        Ok(ring) => ring,
        Err(Error::NoRing { .. }) => return,
        Err(other) => panic!("{other:?}"),
    };
    let mut tables = Tables::new();
    let mut proactor: Borrowing<'_> = Proactor::with_storage(ring, &mut tables).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (_keeps, target) = std::io::pipe().unwrap();
    let reader = proactor.adopt(owned(reader)).unwrap();
    let number = target.as_raw_fd();
    let target = proactor.adopt(owned(target)).unwrap();
    let read: Request<VecBuf> = op::read(reader, VecBuf::with_capacity(1)).limit(1).into();
    let write = op::write(target, VecBuf::from_slice(b"oops")).into();
    proactor.submit_chain([(read, 0), (write, 1)]).unwrap();
    proactor.flush().unwrap();
    std::mem::forget(proactor);
    // The tables are borrowed no more.
    let fresh: Borrowing<'_> = Proactor::with_storage(Uring::new().unwrap(), &mut tables).unwrap();
    let path = std::env::temp_dir().join(format!("linux-event-other-{}", std::process::id()));
    let other = std::fs::File::create(&path).unwrap();
    // Until some descriptor has the number.
    let mut taken = vec![other.try_clone().unwrap()];
    while taken.last().unwrap().as_raw_fd() < number {
        taken.push(other.try_clone().unwrap());
    }
    println!("{number} {}", taken.last().unwrap().as_raw_fd());
    writer.write_all(b"x").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let wrong = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(wrong, b"", "written to another file");
    drop(fresh);
}

/// A buffer whose drop may panic.
#[derive(Debug)]
struct Bomb(Vec<u8>, bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.1 || std::thread::panicking(), "a buffer's drop");
    }
}

// SAFETY: the vector's memory is heap memory that only its parts reach meanwhile.
unsafe impl IoBuf for Bomb {
    fn into_raw(self) -> RawBuf {
        let mut this = std::mem::ManuallyDrop::new(self);
        RawBuf {
            start: std::ptr::NonNull::new(this.0.as_mut_ptr()).unwrap(),
            filled: this.0.len(),
            capacity: this.0.capacity(),
            context: std::ptr::without_provenance(usize::from(this.1)),
        }
    }

    unsafe fn from_raw(raw: RawBuf) -> Self {
        // SAFETY: the parts are those of `into_raw`, used once.
        let bytes = unsafe { Vec::from_raw_parts(raw.start.as_ptr(), raw.filled, raw.capacity) };
        Self(bytes, raw.context.addr() != 0)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.0.capacity());
        self.0.clear();
        self.0.extend_from_slice(&bytes[..count]);
        count
    }
}

/// Whether `start..start + length` is still mapped.
fn is_mapped(start: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let range = line.split(' ').next().unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(from)..number(to)).contains(&start)
    })
}

#[test]
fn p14_descriptors_outlive_what_is_queued_on_them_when_a_drop_panics() {
    let ring: Uring<Bomb> = match Uring::new() {
        Ok(ring) => ring,
        Err(Error::NoRing { .. }) => return,
        Err(other) => panic!("{other:?}"),
    };
    let mut proactor: Proactor<Bomb, u32, 8, 8> = Proactor::new(ring).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let number = writer.as_raw_fd();
    let writer = proactor.adopt(owned(writer)).unwrap();
    proactor
        .submit(op::write(writer, Bomb(b"first ".to_vec(), true)), 0)
        .unwrap();
    proactor.wait(Some(Duration::from_secs(1))).unwrap(); // it has completed, and nobody was told
    proactor
        .submit(op::write(writer, Bomb(b"second".to_vec(), false)), 1)
        .unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(proactor)));
    assert!(caught.is_err());
    // SAFETY: no pointer.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    assert!(flags >= 0, "it was closed before the second was taken");
    // SAFETY: it was leaked, and is nobody's.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "first second");
}

#[test]
fn p6_what_the_kernel_writes_to_stays_mapped_when_a_drop_panics() {
    let mut ring: Uring<Bomb> = match Uring::new() {
        Ok(ring) => ring,
        Err(Error::NoRing { .. }) => return,
        Err(other) => panic!("{other:?}"),
    };
    let before = std::fs::read_to_string("/proc/self/maps").unwrap();
    ring.reserve(40_000).unwrap();
    let after = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range_of = |line: &str| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(from), number(to))
    };
    // The arena is what is new and large; it may have grown a mapping downwards.
    let (arena, _) = after
        .lines()
        .filter(|line| line.contains("rw-p") && !before.lines().any(|old| old == *line))
        .map(range_of)
        .max_by_key(|(from, to)| to - from)
        .unwrap();
    let token = |index| Handle::new(index, Tag::Operation, 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    // SAFETY: both are open until the end.
    let (listening, written) = unsafe {
        (
            Target::from_raw(listener.as_raw_fd()),
            Target::from_raw(writer.as_raw_fd()),
        )
    };
    // It writes an address into the arena when somebody connects.
    ring.push(token(0), op::accept(listening).into(), vouched())
        .unwrap();
    ring.push(
        token(1),
        op::write(written, Bomb(b"x".to_vec(), true)).into(),
        vouched(),
    )
    .unwrap();
    ring.wait(None, Some(Duration::from_secs(1))).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(ring)));
    assert!(caught.is_err());
    assert!(is_mapped(arena), "the accept was in flight");
}

#[test]
fn p14_a_slot_is_not_given_away_while_a_member_of_a_chain_waits_for_it() {
    let Some(mut proactor) = new_loop() else {
        return;
    };
    proactor.register_files(1).unwrap();
    let (reader, mut trigger) = std::io::pipe().unwrap();
    let (_r1, w1) = std::io::pipe().unwrap();
    let (_r2, w2) = std::io::pipe().unwrap();
    let reader = proactor.adopt(owned(reader)).unwrap();
    let first = proactor.adopt(owned(w1)).unwrap();
    let second = proactor.adopt(owned(w2)).unwrap();
    let slot = proactor.install(first).unwrap();
    let read = op::read(reader, VecBuf::with_capacity(1)).limit(1).into();
    let write = op::write(slot, VecBuf::from_slice(b"for the first")).into();
    proactor.submit_chain([(read, 0), (write, 1)]).unwrap();
    proactor.flush().unwrap();
    assert_eq!(proactor.uninstall(slot), Err(Error::Busy));
    trigger.write_all(b"x").unwrap();
    assert_eq!(next(&mut proactor).outcome(), Ok(1));
    assert_eq!(next(&mut proactor).outcome(), Ok(13));
    // Emptied by an operation, with another behind it that was not taken.
    proactor.submit(op::close_fixed(slot), 2).unwrap();
    proactor.flush().unwrap();
    proactor
        .submit(op::write(slot, VecBuf::from_slice(b"late")), 3)
        .unwrap();
    while let Some(event) = proactor.next() {
        println!("{event:?}");
    }
    let _ = proactor.install(second);
    let closed = next(&mut proactor);
    let late = next(&mut proactor);
    assert_eq!((closed.data, late.data), (2, 3));
    assert_eq!(late.outcome(), Err(Errno::EBADF));
}

#[test]
fn p14_a_wait_for_a_process_takes_no_bare_number() {
    let Some(mut proactor) = new_loop() else {
        return;
    };
    let mut by_number: Request<VecBuf> = op::wait_pid(0).into();
    by_number.length = libc::P_PIDFD;
    let refused = proactor.submit(by_number, 0).unwrap_err();
    assert!(
        matches!(
            refused.error,
            Error::Invalid(_) | Error::UnsupportedOperation { .. }
        ),
        "{refused:?}"
    );
}

#[test]
fn p6_what_a_submitting_thread_did_meanwhile_is_not_leaked() {
    let options = Options {
        sqpoll_idle: Some(Duration::from_millis(1)),
        ..Options::default()
    };
    for _ in 0..20 {
        let ring: Uring<VecBuf> = match Uring::with_options(Linux, options) {
            Ok(ring) => ring,
            Err(Error::NoRing { .. }) => return,
            Err(other) => panic!("{other:?}"),
        };
        let mut proactor: Loop = Proactor::new(ring).unwrap();
        for _ in 0..8 {
            proactor.submit(op::nop(), 0).unwrap();
        }
        let report = proactor.shutdown(Duration::ZERO);
        assert_eq!((report.settled, report.leaked), (8, 0));
    }
}
