//! A ring with its operations numbered by the test.

use std::time::Duration;

use linux_event_core::handle::{Handle, Tag};
use linux_event_core::proactor::{
    Backend, Carried, Code, Lease, Memory, Options, Popped, Report, Request, Target, Uring,
    VectoredRequest,
};
use linux_event_core::reactor::Backend as _;
use linux_event_core::sys::{BorrowedFd, Fd, Linux};

use crate::buf::{VecBuf, vouched};

pub(crate) type Ring = Uring<VecBuf>;
pub(crate) type Told = Report<VecBuf, Lease>;

pub(crate) const OPERATIONS: usize = 64;

pub(crate) fn ring() -> Ring {
    with_options(Options::default())
}

pub(crate) fn with_options(options: Options) -> Ring {
    with_memory(options, Memory::new())
}

pub(crate) fn with_memory(options: Options, memory: Memory) -> Ring {
    let mut ring = Uring::with_memory(Linux, options, memory).expect("a ring");
    ring.reserve(OPERATIONS).expect("room");
    ring
}

/// The token of the operation in slot `index`, for the `generation`th time.
pub(crate) fn token(index: u32, generation: u64) -> Handle {
    Handle::new(index, Tag::Operation, generation)
}

/// A descriptor as a target.
pub(crate) fn on(fd: BorrowedFd<'_>) -> Target {
    use linux_event_core::sys::AsRawFd;
    // SAFETY: tests keep their descriptors open until what they submitted has settled.
    unsafe { Target::from_raw(fd.as_raw_fd()) }
}

pub(crate) fn push(ring: &mut Ring, token: Handle, request: impl Into<Request<VecBuf>>) {
    ring.push(token, request.into(), vouched()).expect("taken");
}

pub(crate) fn push_vectored(
    ring: &mut Ring,
    token: Handle,
    request: impl Into<VectoredRequest<VecBuf>>,
) {
    ring.push_vectored(token, request.into(), vouched())
        .expect("taken");
}

/// Whether the kernel has an operation; says so if it has not.
pub(crate) fn has(ring: &Ring, code: Code) -> bool {
    let has = ring.capabilities().supports(code);
    if !has {
        let (name, since) = (code.name(), code.since());
        eprintln!("the kernel lacks {name} ({since}): nothing is tested of it");
    }
    has
}

/// A report in its long form; `None` for readiness.
fn told(popped: Popped<VecBuf, Lease>) -> Option<Told> {
    match popped {
        Popped::Plain {
            token,
            result,
            buffer,
        } => Some(Report {
            token,
            result,
            more: false,
            carried: buffer.map_or(Carried::Nothing, Carried::Buffer),
        }),
        Popped::Report(report) => Some(report),
        Popped::Ready(_) => None,
    }
}

/// The next report, waiting for it; readiness is skipped.
pub(crate) fn next(ring: &mut Ring) -> Told {
    for _ in 0..100 {
        while let Some(popped) = ring.pop() {
            if let Some(report) = told(popped) {
                return report;
            }
        }
        ring.wait(None, Some(Duration::from_secs(5)))
            .expect("a wait");
    }
    panic!("nothing came");
}

/// The next report must be that of `token`.
pub(crate) fn next_of(ring: &mut Ring, token: Handle) -> Told {
    let report = next(ring);
    assert_eq!(report.token, token.raw(), "{report:?}");
    report
}

/// Whatever comes without waiting.
pub(crate) fn poll(ring: &mut Ring) -> Option<Popped<VecBuf, Lease>> {
    ring.pop().or_else(|| {
        ring.wait(None, Some(Duration::ZERO)).expect("a wait");
        ring.pop()
    })
}

pub(crate) fn buffer(report: Told) -> VecBuf {
    match report.carried {
        Carried::Buffer(buffer) => buffer,
        other => panic!("no buffer but {other:?}"),
    }
}

pub(crate) fn errno(report: &Told) -> i32 {
    assert!(report.result < 0, "{report:?}");
    -report.result
}

pub(crate) fn descriptor(ring: &mut Ring, report: &Told) -> Fd {
    assert!(matches!(report.carried, Carried::Descriptor), "{report:?}");
    ring.take_descriptor().expect("a descriptor")
}
