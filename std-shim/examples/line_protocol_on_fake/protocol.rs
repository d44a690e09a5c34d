//! A line protocol: what comes in as a line goes out in capitals. Written once, for the ring and for the fake.

use linux_event::{Completion, File, Loop, Proactor, ProactorBackend, op};

/// The longest line that is served, without its end.
pub(crate) const LINE_MAX: usize = 64;

/// A connection, which is the state of its loop.
#[derive(Default)]
pub(crate) struct Connection {
    /// What has come of a line that has not ended.
    line: Vec<u8>,
    /// What is still to be sent.
    answers: Vec<u8>,
    sending: bool,
    /// Nothing more comes in.
    ended: bool,
    /// The file is being closed.
    closed: bool,
}

type Serving<B> = Loop<Proactor<B>, Connection>;

/// Serves the peer behind `file` until it has sent all its lines, sends too long a one, or is gone.
pub(crate) fn serve<B: ProactorBackend>(
    event_loop: &mut Serving<B>,
    file: File,
) -> Result<(), linux_event::Error> {
    // The callback is used again for each read, and so is the buffer: nothing is allocated a line.
    event_loop.recv(file, vec![0; 16], move |event_loop, received| {
        on_received(event_loop, file, received)
    })?;
    Ok(())
}

fn on_received<B: ProactorBackend>(
    event_loop: &mut Serving<B>,
    file: File,
    received: Completion<B>,
) -> Result<(), linux_event::Error> {
    let count = received.outcome().unwrap_or(0) as usize;
    let Some(buffer) = received.into_buffer() else {
        return Ok(());
    };
    let connection = &mut event_loop.state;
    // What came in together with the end of the peer: nobody reads an answer to it, and the file is closing.
    if connection.closed {
        return Ok(());
    }
    for &byte in &buffer[..count.min(buffer.len())] {
        if byte != b'\n' {
            connection.line.push(byte);
            continue;
        }
        connection
            .answers
            .append(&mut connection.line.to_ascii_uppercase());
        connection.answers.push(b'\n');
        connection.line.clear();
    }
    // The end, an error, a line without end: what was answered goes out, nothing more comes in.
    connection.ended |= count == 0 || connection.line.len() > LINE_MAX;
    if !connection.ended {
        event_loop.again(op::recv(file, buffer))?;
    }
    send(event_loop, file)
}

/// Sends what there is, one send at a time, so that answers stay in order; closes after the last.
fn send<B: ProactorBackend>(
    event_loop: &mut Serving<B>,
    file: File,
) -> Result<(), linux_event::Error> {
    let connection = &mut event_loop.state;
    if connection.sending {
        return Ok(());
    }
    if connection.answers.is_empty() {
        if connection.ended && !std::mem::replace(&mut connection.closed, true) {
            event_loop.close(file, |_, _| ())?;
        }
        return Ok(());
    }
    connection.sending = true;
    let answers = std::mem::take(&mut connection.answers);
    event_loop.send(file, answers, move |event_loop, sent| {
        let connection = &mut event_loop.state;
        connection.sending = false;
        let count = sent.outcome().map(|count| count as usize);
        if let (Ok(count), Some(buffer)) = (count, sent.into_buffer()) {
            // The rest of it goes first.
            let rest = buffer[count..].iter().copied();
            connection.answers.splice(..0, rest);
        } else {
            // The peer is gone: nobody reads any answer.
            connection.ended = true;
            connection.answers.clear();
            event_loop.cancel_on(file);
        }
        send(event_loop, file)
    })?;
    Ok(())
}
