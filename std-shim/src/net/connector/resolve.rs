//! Names to addresses, off the loop.
//!
//! **What.** A [`Question`] goes to a resolver and comes back answered, from whatever thread. The resolver of the system is asked
//! by up to [`WORKERS_MAX`] threads, each of which ends when there is nothing more to ask.
//!
//! **Invariants.** *INV-RESOLVE-1*: a question has one answer, which wakes the loop; a question that is dropped is answered as
//! failed. *INV-RESOLVE-2*: an answer that comes too late reaches nobody. *INV-RESOLVE-3*: the threads block every signal: what is
//! subscribed to on the loop's thread does not strike in them (S-3).
//!
//! **Why this shape.** `getaddrinfo(3)` blocks and can't be interrupted. It knows what the system is configured to do, which no
//! resolver of our own would.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use linux_event_core::signal::SignalSet;
use linux_event_core::sys::{Kernel, Linux, MaskChange};

use super::super::table::Id;
use crate::waker::Shared;

/// Threads that ask the system's resolver at a time. More questions wait.
pub(crate) const WORKERS_MAX: usize = 4;

type Answer = io::Result<Vec<SocketAddr>>;

/// Answers that the loop has not taken yet.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    answers: Arc<Mutex<Vec<(Id, Answer)>>>,
    wakeup: Shared,
}

/// What is not poisoned by a panic: every value in it is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answers {
    pub(crate) fn new(wakeup: Shared) -> Self {
        Self {
            answers: Arc::default(),
            wakeup,
        }
    }

    pub(crate) fn take(&self) -> Vec<(Id, Answer)> {
        std::mem::take(&mut *lock(&self.answers))
    }
}

/// A name to resolve: what a resolver is asked, and answers from any thread, once.
///
/// One that is dropped is answered as failed; one that is kept is never answered, and the connector's timeout ends it.
pub struct Question {
    host: String,
    port: u16,
    id: Id,
    answers: Answers,
    is_answered: bool,
}

impl Question {
    pub(crate) const fn new(host: String, port: u16, id: Id, answers: Answers) -> Self {
        Self {
            host,
            port,
            id,
            answers,
            is_answered: false,
        }
    }

    /// The name, without brackets or blanks around it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that the addresses are to have.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Answers: with the addresses in the order of preference, or why there are none.
    pub fn answer(mut self, answer: io::Result<Vec<SocketAddr>>) {
        self.give(answer);
    }

    fn give(&mut self, answer: Answer) {
        self.is_answered = true;
        lock(&self.answers.answers).push((self.id, answer));
        self.answers.wakeup.wake();
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.is_answered {
            self.give(Err(io::Error::other("nobody has resolved the name")));
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The system's resolver, asked by threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct System(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    questions: VecDeque<Question>,
    workers: usize,
}

impl System {
    /// Asks; nothing waits for the answer here.
    pub(crate) fn ask(&self, question: Question) {
        let mut queue = lock(&self.0);
        queue.questions.push_back(question);
        if queue.workers == WORKERS_MAX {
            return;
        }
        // INV-RESOLVE-3: a thread has the mask of who makes it. Signals 32 and 33 are the C library's own.
        let all = SignalSet::from_bits(!(1 << 31 | 1 << 32));
        let before = Linux.signal_mask(MaskChange::Block, SignalSet::empty());
        let blocked = Linux.signal_mask(MaskChange::Block, all);
        let this = self.clone();
        let worker = thread::Builder::new()
            .name("resolver".into())
            .spawn(move || this.work());
        if let (Ok(before), Ok(_)) = (before, blocked) {
            let added = all.difference(before);
            let _ = Linux.signal_mask(MaskChange::Unblock, added);
        }
        match worker {
            Ok(_) => queue.workers += 1,
            // Where there are no threads to be had, those that are there go on; without any the question is dropped.
            Err(_) if queue.workers > 0 => {}
            Err(error) => {
                let question = queue.questions.pop_back();
                drop(queue);
                if let Some(question) = question {
                    question.answer(Err(error));
                }
            }
        }
    }

    fn work(&self) {
        loop {
            let mut queue = lock(&self.0);
            let Some(question) = queue.questions.pop_front() else {
                queue.workers -= 1;
                return;
            };
            drop(queue);
            let resolved = (question.host(), question.port()).to_socket_addrs();
            question.answer(resolved.map(Iterator::collect));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k1_a_question_is_answered_once_and_a_dropped_one_as_failed() {
        let answers = Answers::new(Shared::default());
        let mut table = super::super::super::table::Table::new();
        let (one, other) = (table.insert(()), table.insert(()));
        Question::new("a".into(), 1, one, answers.clone()).answer(Ok(Vec::new()));
        drop(Question::new("b".into(), 1, other, answers.clone()));
        let given = answers.take();
        assert!(
            matches!(given[..], [(first, Ok(_)), (second, Err(_))] if first == one && second == other)
        );
        assert_eq!(answers.wakeup.pending(), 2);
    }

    #[test]
    fn s3_the_threads_of_the_resolver_block_signals_and_the_caller_s_mask_stays() {
        let before = Linux.signal_mask(MaskChange::Block, SignalSet::empty());
        let answers = Answers::new(Shared::default());
        let mut table = super::super::super::table::Table::new();
        let id = table.insert(());
        System::default().ask(Question::new("127.0.0.1".into(), 7, id, answers.clone()));
        let given = loop {
            let given = answers.take();
            if !given.is_empty() {
                break given;
            }
            thread::yield_now();
        };
        let address: SocketAddr = "127.0.0.1:7".parse().unwrap();
        assert!(matches!(&given[..], [(_, Ok(found))] if *found == [address]));
        let after = Linux.signal_mask(MaskChange::Block, SignalSet::empty());
        assert_eq!(before, after);
    }
}
