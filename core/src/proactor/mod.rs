//! The proactor: completion. "Read this for me and tell me when it is done."

pub mod backend;
mod buffer;
mod cancel;
mod chain;
mod engine;
mod event;
mod files;
mod operation;
mod others;
mod resources;
mod settling;
mod slots;
mod storage;
mod submission;
mod uring;

pub use backend::{Backend, Carried, Counters, Popped, Report, Shutdown, Simulated, Stat, Vouched};
pub use buffer::{Block, IoBuf, Pool, RawBuf};
pub use chain::RefusedChain;
pub use engine::{Proactor, Step};
pub use event::{Completion, Event, Payload};
pub use operation::{
    CURRENT, Code, Extra, FixedBuffer, FixedFile, Group, How, Link, MessageFlags, PollEvents,
    Refused, Request, Target, VECTORS_MAX, VectoredRequest, Vectors, op,
};
pub use storage::{Storage, Tables};
pub use uring::{
    Capabilities, Lease, Memory, OperationMemory, Options, Part, RingMemory, StepDown, Uring,
};
