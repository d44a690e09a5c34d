//! Values from other threads: a mailbox that a loop empties.
//!
//! **What.** [`Loop::mailbox`] gives a [`Sender`] for other threads; what they send arrives in a callback on the
//! loop's thread (W-3). The capacity is fixed: a full mailbox gives the value back, and a sender never blocks.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use linux_event_core::error::Error as LoopError;

use crate::callbacks::MailCallback;
use crate::cells::{BoxedMailbox, boxed_mailbox};
use crate::error::{Error, Outcome};
use crate::event_loop::Loop;
use crate::model::Model;
use crate::waker::Waker;

/// A value was not taken, and comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<T> {
    /// The mailbox is full: the loop is behind.
    Full(T),
    /// The loop is gone.
    Closed(T),
}

impl<T> SendError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the mailbox is full",
            Self::Closed(_) => "the loop is gone",
        })
    }
}

impl<T> std::error::Error for SendError<T> {}

/// What senders and the loop share.
struct Common<T> {
    mailbox: BoxedMailbox<T>,
    senders: AtomicUsize,
    /// The loop no longer takes anything out.
    closed: AtomicBool,
}

/// The loop's end. When it is dropped, with the loop or in a panic, senders hear of it.
struct Inbox<T>(Arc<Common<T>>);

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        while self.0.mailbox.pop().is_some() {}
    }
}

/// Sends values to a loop, from any thread. While one is held, the loop runs on.
pub struct Sender<T> {
    common: Arc<Common<T>>,
    waker: Waker,
}

impl<T> Sender<T> {
    /// Sends `value`, and wakes the loop. Allocates nothing, blocks never.
    ///
    /// What was sent when the loop ends without delivering it is dropped.
    ///
    /// # Errors
    /// The value, if the mailbox is full or the loop is gone.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.common.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed(value));
        }
        self.common.mailbox.push(value).map_err(SendError::Full)?;
        self.waker.wake_for_mail();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.common.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            common: Arc::clone(&self.common),
            waker: self.waker.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    /// After the last one the loop looks, and lets go of the mailbox.
    fn drop(&mut self) {
        if self.common.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake_for_mail();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("mailbox", &self.common.mailbox)
            .finish_non_exhaustive()
    }
}

impl<M: Model, S> Loop<M, S> {
    /// Makes a mailbox of `capacity` values (1 to 2²⁰), and calls `callback` with each value that is sent to it, in
    /// the order of each sender (W-3). A turn delivers at most as many as there were when it began.
    ///
    /// ```
    /// use linux_event::Loop;
    /// let mut event_loop = Loop::reactor_with(0)?;
    /// let sender = event_loop.mailbox(16, |event_loop, number: u32| event_loop.state += number)?;
    /// let thread = std::thread::spawn(move || (1..=4).try_for_each(|number| sender.send(number)));
    /// event_loop.run()?; // until the sender is dropped
    /// assert_eq!(event_loop.state, 10);
    /// # thread.join().unwrap().unwrap();
    /// # Ok::<(), linux_event::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`LoopError::Invalid`] for a capacity that is out of range, and on a backend without wakeups.
    pub fn mailbox<T: Send + 'static, R: Outcome>(
        &mut self,
        capacity: usize,
        mut callback: impl FnMut(&mut Self, T) -> R + 'static,
    ) -> Result<Sender<T>, Error> {
        let waker = self.waker()?;
        let mailbox = boxed_mailbox(capacity)
            .ok_or(LoopError::Invalid("a mailbox holds 1 to 2^20 values"))?;
        let common = Arc::new(Common {
            mailbox,
            senders: AtomicUsize::new(1),
            closed: AtomicBool::new(false),
        });
        let inbox = Inbox(Arc::clone(&common));
        let entry: MailCallback<M, S> = Box::new(move |this| {
            let Common {
                mailbox, senders, ..
            } = &*inbox.0;
            // Asked before looking: what the last sender sent before it went is still delivered.
            let is_open = senders.load(Ordering::Acquire) > 0;
            for _ in 0..mailbox.len() {
                let Some(value) = mailbox.pop() else {
                    break;
                };
                callback(this, value).into_result()?;
                if this.is_stopping() {
                    break;
                }
            }
            if !mailbox.is_empty() {
                this.keep_waking();
            }
            Ok(is_open || !mailbox.is_empty())
        });
        match self.mail.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(entry),
            None => self.mail.push(Some(entry)),
        }
        Ok(Sender { common, waker })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w3_mail_of_a_sender_that_is_gone_before_run_is_delivered() {
        let mut event_loop = Loop::reactor_with(Vec::new()).unwrap();
        let sender = event_loop
            .mailbox(2, |event_loop, value: u8| event_loop.state.push(value))
            .unwrap();
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(sender.send(3), Err(SendError::Full(3)));
        drop(sender);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, [1, 2]);
        assert!(!event_loop.is_live());
    }

    #[test]
    fn w1_a_wake_before_run_is_delivered_and_ends_it() {
        let mut event_loop = Loop::reactor_with(0).unwrap();
        event_loop.on_wake(|event_loop, count| event_loop.state += count);
        let waker = event_loop.waker().unwrap();
        waker.wake();
        waker.wake();
        drop(waker);
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, 2);
    }

    #[test]
    fn r2_a_stop_while_mail_is_handed_out_leaves_the_rest_to_the_next_turn() {
        let mut event_loop = Loop::reactor_with(Vec::new()).unwrap();
        let stopping = event_loop.mailbox(2, |event_loop, value: u8| {
            event_loop.state.push(value);
            event_loop.stop();
        });
        let other = event_loop.mailbox(2, |event_loop, value: u8| event_loop.state.push(value));
        stopping.unwrap().send(1).unwrap();
        other.unwrap().send(2).unwrap();
        event_loop.run().unwrap();
        assert_eq!(event_loop.state, [1]);
        event_loop
            .run_once(Some(std::time::Duration::ZERO))
            .unwrap(); // no wake comes with it
        assert_eq!(event_loop.state, [1, 2]);
    }

    #[test]
    fn w3_a_loop_that_is_gone_gives_the_value_back() {
        let mut event_loop = Loop::reactor().unwrap();
        let sender = event_loop.mailbox(2, |_, _: u8| ()).unwrap();
        drop(event_loop);
        assert_eq!(sender.send(7), Err(SendError::Closed(7)));
    }
}
