//! Tells a program what a stream's state answers.
//!
//! **Invariants.** *INV-STREAM-DRIVE-1*: a callback that runs is not in its entry; it goes back if the entry is still there.
//! *INV-STREAM-DRIVE-2*: after anything was told, the model sees to the stream once, and if there is still something to tell, it
//! is in the queue of those who want attention (INV-NET-1). *INV-STREAM-DRIVE-3*: a time limit has passed only if it has after
//! everything was seen that had come by then: timers come before the events of their turn, and a loop that was busy for
//! long finds both.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;

use super::super::drive::Owner;
use super::super::model::Net;
use super::super::socket::Socket;
use super::super::sockets::SocketCalls;
use super::super::table::Id;
use super::state::Step;
use super::{Called, Detached, Handlers, Stream, StreamError};
use crate::event_loop::Loop;

/// Bytes that a stream receives by hand at once, at most: into one buffer that all streams of a loop share.
const READ_BYTES: usize = 64 * 1024;

impl<M: Net, S> Loop<M, S> {
    /// Sees to a stream in the queue.
    pub(crate) fn attend_stream(&mut self, id: Id) -> Called {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return Ok(());
        };
        entry.is_attended = false;
        entry.state.begin_turn();
        let was_overdue = entry.is_overdue;
        M::attend_stream(self, id)?;
        if was_overdue {
            self.look_at_the_time(id)
        } else {
            Ok(())
        }
    }

    /// Receives once, by hand, and tells of it.
    #[inline]
    pub(crate) fn read_stream(&mut self, id: Id) -> Called {
        let mut buffer = std::mem::take(&mut self.net.buffer);
        buffer.resize(READ_BYTES, 0);
        let count = self.receive(id, &mut buffer);
        let told = self.deliver(id, &buffer[..count]);
        self.net.buffer = buffer;
        told
    }

    /// Receives; what is no bytes is noted in the stream's state.
    #[inline]
    fn receive(&mut self, id: Id, buffer: &mut [u8]) -> usize {
        let now = self.model.now();
        let Some(entry) = self.net.streams.get_mut(id) else {
            return 0;
        };
        let received = self.model.with_socket(&entry.io, |calls, socket| {
            loop {
                match calls.recv(socket, buffer) {
                    Err(Errno::EINTR) => {}
                    received => return received,
                }
            }
        });
        match received {
            Some(Ok(0)) => entry.state.received_eof(now),
            Some(Ok(count)) => return count,
            Some(Err(Errno::EAGAIN)) | None => {}
            Some(Err(errno)) => entry.state.failed_to_read(StreamError::Io(errno)),
        }
        0
    }

    /// Tells of `chunk`, after what was kept, and of everything else there is; then has the model see to the stream. What panics
    /// meanwhile, a callback, a codec or a transport, is this stream's (INV-NET-2).
    pub(crate) fn deliver(&mut self, id: Id, chunk: &[u8]) -> Called {
        self.net.current = Some(Owner::Stream(id));
        let told = self.tell_stream(id, chunk);
        self.net.current = None;
        told
    }

    fn tell_stream(&mut self, id: Id, chunk: &[u8]) -> Called {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return Ok(());
        };
        let now = entry.clock(&self.model);
        let mut window = entry.state.open_window(chunk, now, &mut self.net.spares);
        // What is asked meanwhile is seen to below.
        let was_attended = std::mem::replace(&mut entry.is_attended, true);
        let mut is_detaching = false;
        let mut told = Ok(());
        while told.is_ok() && !self.is_stopping() {
            let Some(entry) = self.net.streams.get_mut(id) else {
                return told;
            };
            let Some(step) = entry.state.next(&mut window) else {
                break;
            };
            told = match step {
                Step::Message(range) => {
                    let message = window.message(range);
                    self.call_stream(
                        id,
                        |handlers| &mut handlers.bytes,
                        |callback, this, stream| callback(this, stream, message),
                    )
                }
                Step::Drained => self.call_stream(
                    id,
                    |handlers| &mut handlers.drain,
                    |callback, this, stream| callback(this, stream),
                ),
                Step::Eof if entry.has_on_eof => self.call_stream(
                    id,
                    |handlers| &mut handlers.eof,
                    |callback, this, stream| callback(this, stream),
                ),
                Step::Eof => {
                    entry.state.end(&mut self.net.spares);
                    Ok(())
                }
                Step::Failed(error) => {
                    if matches!(error, StreamError::Transport(_)) {
                        self.send_last_words(id);
                    }
                    self.call_stream(
                        id,
                        |handlers| &mut handlers.error,
                        |callback, this, stream| callback(this, stream, error),
                    )
                }
                Step::Closed => return self.close_stream(id),
                Step::Detached => {
                    is_detaching = true;
                    break;
                }
            };
        }
        let Some(entry) = self.net.streams.get_mut(id) else {
            return told;
        };
        entry.state.keep(window, &mut self.net.spares);
        entry.is_attended = was_attended;
        if is_detaching && let Some(detached) = self.detach_stream(id) {
            return detached;
        }
        M::update_stream(self, id);
        self.settle_stream(id, is_detaching);
        told
    }

    /// Sends what a transport says before it gives up, as an alert: by hand, and as far as there is room now.
    #[cold]
    fn send_last_words(&mut self, id: Id) {
        if let Some(entry) = self.net.streams.get_mut(id)
            && let words @ [_, ..] = entry.state.last_words()
        {
            // The one send that never waits, whatever mode the socket is in.
            let send = |calls: &mut M::Calls, socket: &M::Socket| {
                let _ = calls.send_to(socket, words, None);
            };
            self.model.with_socket(&entry.io, send);
        }
    }

    /// Sees to the timer, and to what is left to tell. Who waits for its socket waits for what is under way to settle.
    fn settle_stream(&mut self, id: Id, is_detaching: bool) {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return;
        };
        if entry.state.has_more() && !is_detaching {
            self.attend(Owner::Stream(id));
        } else if entry.state.has_timeouts() {
            self.arm_stream(id);
        }
    }

    /// Arms the timer for the first deadline, unless it will look early enough.
    fn arm_stream(&mut self, id: Id) {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return;
        };
        let Some((deadline, _)) = entry.state.deadline() else {
            return;
        };
        match &mut entry.timer {
            Some((_, armed)) if *armed <= deadline => {}
            Some((timer, armed)) => {
                *armed = deadline;
                let timer = *timer;
                self.model.reschedule(timer, deadline);
            }
            None => {
                // Where there is no room for a timer the stream goes without: it is closed by whoever is told.
                let timer = self.net_timer_at(Owner::Stream(id), deadline).ok();
                if let Some(entry) = self.net.streams.get_mut(id) {
                    entry.timer = timer.map(|timer| (timer, deadline));
                }
            }
        }
    }

    /// The stream's timer is due. If that is too early it is armed again; else the time is looked at when this turn's events
    /// were seen (INV-STREAM-DRIVE-3).
    pub(crate) fn stream_timer(&mut self, id: Id) {
        let now = self.model.now();
        let Some(entry) = self.net.streams.get_mut(id) else {
            return;
        };
        entry.timer = None;
        match entry.state.deadline() {
            Some((deadline, _)) if deadline <= now => {
                entry.is_overdue = true;
                self.attend(Owner::Stream(id));
            }
            _ => self.arm_stream(id),
        }
    }

    /// Ends a stream that was overdue before everything was seen that had come, and still is.
    fn look_at_the_time(&mut self, id: Id) -> Called {
        let Some(entry) = self.net.streams.get_mut(id) else {
            return Ok(());
        };
        entry.is_overdue = false;
        let now = entry.clock(&self.model);
        if entry.state.check_time(now).is_some() {
            self.arm_stream(id);
            return Ok(());
        }
        self.deliver(id, &[])
    }

    /// Calls a callback, if there is one, taken out for the call (INV-STREAM-DRIVE-1).
    fn call_stream<C>(
        &mut self,
        id: Id,
        place: fn(&mut Handlers<M, S>) -> &mut Option<C>,
        call: impl FnOnce(&mut C, &mut Self, Stream) -> Called,
    ) -> Called {
        let entry = self.net.streams.get_mut(id);
        let Some(mut callback) = entry.and_then(|entry| place(&mut entry.handlers).take()) else {
            return Ok(());
        };
        self.net.has_told = true;
        let called = call(&mut callback, self, Stream(id));
        if let Some(entry) = self.net.streams.get_mut(id) {
            place(&mut entry.handlers).get_or_insert(callback);
        }
        called
    }

    /// Closes a stream, and tells of it.
    fn close_stream(&mut self, id: Id) -> Called {
        let Some(entry) = self.net.streams.remove(id) else {
            return Ok(());
        };
        let entry = *entry;
        if let Some((timer, _)) = entry.timer {
            self.cancel(timer);
        }
        M::close_io(self, entry.io);
        self.net.has_told |= entry.handlers.close.is_some();
        match entry.handlers.close {
            // The rest of what it calls lives on until this returns: it may be what runs.
            Some(mut callback) => callback(self, Stream(id)),
            None => Ok(()),
        }
    }

    /// Ends a stream without telling.
    pub(crate) fn drop_stream(&mut self, id: Id) {
        if let Some(entry) = self.net.streams.remove(id) {
            let entry = *entry;
            if let Some((timer, _)) = entry.timer {
                self.cancel(timer);
            }
            M::close_io(self, entry.io);
        }
    }

    /// Gives the socket of a stream back, if nothing is under way on it.
    fn detach_stream(&mut self, id: Id) -> Option<Called> {
        let mut io = std::mem::take(&mut self.net.streams.get_mut(id)?.io);
        let Some(socket) = M::release_io(self, &mut io) else {
            self.net.streams.get_mut(id)?.io = io; // when what is under way has settled
            return None;
        };
        let entry = *self.net.streams.remove(id)?;
        if let Some((timer, _)) = entry.timer {
            self.cancel(timer);
        }
        let mut state = entry.state;
        let detached = Detached {
            socket: Socket(socket),
            input: state.take_input(),
        };
        Some(match entry.on_detach {
            Some(callback) => callback(self, detached),
            None => Ok(()),
        })
    }
}
