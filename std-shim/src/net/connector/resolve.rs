//! Names to addresses, off the loop.
//!
//! **What.** A [`Question`] goes to a resolver and comes back answered, from whatever thread. The resolver of the system is asked
//! by up to [`WORKERS_MAX`] threads, each of which ends when there is nothing more to ask.
//!
//! **Invariants.** *INV-RESOLVE-1*: a question has one answer, which wakes the loop; a question that is dropped is answered as
//! failed. *INV-RESOLVE-2*: an answer that comes too late reaches nobody, and a question that nobody wants an answer to any more
//! (its connector is over, its loop gone) is asked of nobody. *INV-RESOLVE-3*: the threads block every signal: what is subscribed to
//! on the loop's thread does not strike in them (S-3). *INV-RESOLVE-4*: nobody waits for a thread: not the loop, not its drop, not
//! the end of the process; and one that hangs holds nothing of a loop that is gone.
//!
//! **Why this shape.** `getaddrinfo(3)` blocks and can't be interrupted. It knows what the system is configured to do, which no
//! resolver of our own would. So it is given a thread to block, and left alone with it. Upper and lower case are the same in names
//! (RFC 4343), but not to musl's `getaddrinfo`, which looks for a name in `/etc/hosts` byte by byte: it is asked in lower case.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use linux_event_core::signal::SignalSet;
use linux_event_core::sys::{Kernel, Linux, MaskChange};

use super::super::table::Id;
use crate::waker::Shared;

/// Threads of a loop that ask the system's resolver at a time. More questions wait: as many as there are connectors.
pub(crate) const WORKERS_MAX: usize = 4;

type Answer = io::Result<Vec<SocketAddr>>;

/// Answers that the loop has not taken yet. The loop holds them; questions only know where they are.
#[derive(Clone, Debug)]
pub(crate) struct Answers(Arc<Inbox>);

#[derive(Debug)]
struct Inbox {
    given: Mutex<Vec<(Id, Answer)>>,
    wakeup: Shared,
}

/// What is not poisoned by a panic: every value in it is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answers {
    pub(crate) fn new(wakeup: Shared) -> Self {
        let given = Mutex::default();
        Self(Arc::new(Inbox { given, wakeup }))
    }

    pub(crate) fn take(&self) -> Vec<(Id, Answer)> {
        std::mem::take(&mut *lock(&self.0.given))
    }
}

/// A name to resolve: what a resolver is asked, and answers from any thread, once.
///
/// One that is dropped is answered as failed; one that is kept is never answered, and the connector's timeout ends it.
pub struct Question {
    host: String,
    port: u16,
    id: Id,
    answers: Weak<Inbox>,
    /// The connector holds the other end: INV-RESOLVE-2.
    wanted: Weak<()>,
    is_answered: bool,
}

impl Question {
    pub(crate) fn new(
        host: String,
        port: u16,
        id: Id,
        answers: &Answers,
        wanted: Weak<()>,
    ) -> Self {
        Self {
            host,
            port,
            id,
            answers: Arc::downgrade(&answers.0),
            wanted,
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

    /// Whether anybody still waits for the answer: false once the connector is cancelled or timed out, or the loop is gone.
    pub fn is_wanted(&self) -> bool {
        self.wanted.strong_count() > 0
    }

    /// Answers: with the addresses in the order of preference, or why there are none.
    pub fn answer(mut self, answer: io::Result<Vec<SocketAddr>>) {
        self.give(answer);
    }

    fn give(&mut self, answer: Answer) {
        self.is_answered = true;
        if self.is_wanted()
            && let Some(inbox) = self.answers.upgrade()
        {
            lock(&inbox.given).push((self.id, answer));
            inbox.wakeup.wake();
        }
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
        if queue.workers == WORKERS_MAX {
            // While every thread hangs, the queue is no longer than there are connectors.
            queue.questions.retain(Question::is_wanted);
            queue.questions.push_back(question);
            return;
        }
        queue.questions.push_back(question);
        let this = self.clone();
        let builder = thread::Builder::new().name("resolver".into());
        match with_signals_blocked(|| builder.spawn(move || this.work())) {
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
            if question.is_wanted() {
                let host = question.host().to_ascii_lowercase();
                let resolved = (host.as_str(), question.port()).to_socket_addrs();
                question.answer(resolved.map(Iterator::collect));
            }
        }
    }
}

/// INV-RESOLVE-3: a thread has the mask of who makes it.
fn with_signals_blocked<R>(make: impl FnOnce() -> R) -> R {
    // Signals 32 and 33 are the C library's own.
    let all = SignalSet::from_bits(!(1 << 31 | 1 << 32));
    let before = Linux.signal_mask(MaskChange::Block, all);
    let made = make();
    if let Ok(before) = before {
        let _ = Linux.signal_mask(MaskChange::Unblock, all.difference(before));
    }
    made
}

#[cfg(test)]
mod tests {
    use super::super::super::table::Table;
    use super::*;

    /// A question, and what keeps it wanted.
    fn question(host: &str, answers: &Answers) -> (Question, Arc<()>) {
        let wanted = Arc::new(());
        let id = Table::new().insert(());
        let weak = Arc::downgrade(&wanted);
        let question = Question::new(host.into(), 7, id, answers, weak);
        (question, wanted)
    }

    fn wait(answers: &Answers) -> Vec<(Id, Answer)> {
        loop {
            let given = answers.take();
            if !given.is_empty() {
                return given;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn k1_a_question_is_answered_once_and_a_dropped_one_as_failed() {
        let answers = Answers::new(Shared::default());
        let (one, _wanted) = question("a", &answers);
        let (other, _wanted_too) = question("b", &answers);
        let ids = (one.id, other.id);
        one.answer(Ok(Vec::new()));
        drop(other);
        let given = answers.take();
        assert!(
            matches!(given[..], [(one, Ok(_)), (other, Err(_))] if (one, other) == ids),
            "{given:?}"
        );
        assert_eq!(answers.0.wakeup.pending(), 2);
    }

    #[test]
    fn k1_an_answer_that_nobody_wants_wakes_nobody() {
        let answers = Answers::new(Shared::default());
        let (one, wanted) = question("a", &answers);
        let (other, wanted_too) = question("b", &answers);
        assert!(one.is_wanted() && other.is_wanted());
        drop((wanted, wanted_too));
        assert!(!one.is_wanted());
        one.answer(Ok(Vec::new()));
        drop(other);
        assert!(answers.take().is_empty());
        assert_eq!(answers.0.wakeup.pending(), 0);
    }

    #[test]
    fn k1_a_question_that_outlives_the_loop_holds_nothing_of_it() {
        let answers = Answers::new(Shared::default());
        let (question, _wanted) = question("a", &answers);
        let inbox = Arc::downgrade(&answers.0);
        drop(answers);
        assert!(inbox.upgrade().is_none());
        question.answer(Ok(Vec::new()));
    }

    #[test]
    fn k1_while_every_thread_hangs_what_is_not_wanted_leaves_the_queue() {
        let answers = Answers::new(Shared::default());
        let system = System::default();
        lock(&system.0).workers = WORKERS_MAX; // none of which ever comes back
        let (first, wanted) = question("a", &answers);
        system.ask(first);
        for _ in 0..1_000 {
            let (question, _dropped) = question("b", &answers);
            system.ask(question);
        }
        let queue = lock(&system.0);
        let hosts = queue.questions.iter().map(Question::host);
        assert!(hosts.eq(["a", "b"]), "the wanted one and the last");
        assert_eq!(answers.0.wakeup.pending(), 0);
        drop(wanted);
    }

    #[test]
    fn s3_the_threads_of_the_resolver_block_signals_and_the_caller_s_mask_stays() {
        let mask = || Linux.signal_mask(MaskChange::Block, SignalSet::empty());
        let before = mask();
        let answers = Answers::new(Shared::default());
        let (question, _wanted) = question("127.0.0.1", &answers);
        System::default().ask(question);
        let given = wait(&answers);
        let address: SocketAddr = "127.0.0.1:7".parse().unwrap();
        assert!(matches!(&given[..], [(_, Ok(found))] if *found == [address]));
        assert_eq!(before, mask());
        // What a thread of the resolver has blocked, a thread that it would make has blocked too.
        let all = with_signals_blocked(|| thread::spawn(mask).join().unwrap());
        assert!(all.unwrap().contains(linux_event_core::signal::Signal::INT));
        assert_eq!(before, mask());
    }
}
