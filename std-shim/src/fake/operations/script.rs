//! Decisions about operations, made by a test or by the bytes of a fuzzer.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use linux_event_core::errno::Errno;

use super::super::Fake;
use super::{Operation, PendingOp, Phase};

/// What becomes of an operation: what a [script](Fake::script) answers when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The simulated machine performs it.
    Perform,
    /// It fails.
    Fail(Errno),
    /// It is performed, and moves so many bytes at most: no fewer than 1.
    Shorten(usize),
    /// It is performed, not before so much virtual time has passed.
    Delay(Duration),
    /// It waits for the test: see [`hold`](Fake::hold).
    Hold,
    /// It is performed, and no request to cancel it comes in time, nor does its timeout.
    Stubborn,
}

type Decide = dyn FnMut(&PendingOp) -> Decision;

#[derive(Default)]
pub(super) struct Script(Option<Box<Decide>>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.0.is_some()).finish()
    }
}

impl Fake {
    /// Has `decide` decide about each operation when it starts, in the order in which they do, members of chains included.
    ///
    /// With the bytes of a fuzzer it drives a whole program through what a kernel may do; the same bytes give the same run:
    ///
    /// ```
    /// use std::time::Duration;
    /// use linux_event::fake::{Decision, Fake};
    /// use linux_event::Errno;
    ///
    /// fn fuzzed(bytes: Vec<u8>) -> Fake {
    ///     let mut fake = Fake::new();
    ///     let mut bytes = bytes.into_iter();
    ///     fake.script(move |op| match bytes.next().unwrap_or(0) {
    ///         1 => Decision::Fail(Errno::ECONNRESET),
    ///         2 => Decision::Shorten(1 + op.length / 2),
    ///         3..32 => Decision::Delay(Duration::from_millis(op.length as u64 % 7)),
    ///         32..40 => Decision::Stubborn,
    ///         _ => Decision::Perform,
    ///     });
    ///     fake
    /// }
    /// # let _ = fuzzed(vec![1, 2, 3]);
    /// ```
    pub fn script(&mut self, decide: impl FnMut(&PendingOp) -> Decision + 'static) {
        self.operations.script = Script(Some(Box::new(decide)));
    }

    /// Ends the [script](Self::script); what it decided stays.
    pub fn end_script(&mut self) {
        self.operations.script = Script(None);
    }

    /// Has operations that start from here on wait for the test, which [completes](Self::complete), [fails](Self::fail),
    /// [shortens](Self::shorten), [delays](Self::delay) or [releases](Self::release) each, in the order it likes: see
    /// [`pending`](Self::pending). Cancelling them and their timeouts work all the same. A [script](Self::script) goes before.
    pub fn hold(&mut self, holds: bool) {
        self.operations.holds = holds;
    }

    /// Decides about an operation that starts.
    pub(super) fn decide(&mut self, operation: &mut Operation, pending: &PendingOp) {
        let decision = match &mut self.operations.script.0 {
            Some(decide) => decide(pending),
            None if self.operations.holds => Decision::Hold,
            None => Decision::Perform,
        };
        match decision {
            Decision::Perform => {}
            Decision::Fail(errno) => operation.fails = Some(errno),
            Decision::Shorten(bytes) => operation.limit = Some(bytes.max(1)),
            Decision::Delay(delay) => operation.phase = Phase::Delayed(self.now + delay),
            Decision::Hold => operation.phase = Phase::Held,
            Decision::Stubborn => operation.is_stubborn = true,
        }
    }
}
