//! A connection: requests in, answers out.
//!
//! **Invariants.** *INV-HTTP-1*: `kept` has the beginning of one request that is not complete, at most [`HEAD_MAX`] bytes; of a body
//! nothing is kept. *INV-HTTP-2*: requests are answered in order; after an answer that closes, nothing is looked at.

use linux_event::Loop;
use linux_event::net::{Net, Stream, WriteError};

/// A request's head may have so many bytes.
const HEAD_MAX: usize = 16 * 1024;
/// And so many fields.
const FIELDS_MAX: usize = 64;
const BODY: &[u8] = b"Hello from the loop\n";

/// What a connection keeps between reads.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// INV-HTTP-1.
    kept: Vec<u8>,
    /// Bytes of a request's body that are still to come, and are not looked at.
    body_left: u64,
    is_closing: bool,
}

/// A request, as far as this server cares.
struct Request {
    /// Bytes of its head.
    head: usize,
    body: u64,
    keeps_alive: bool,
    answer: &'static Answer,
    has_body: bool,
}

/// What is answered, but for the body.
struct Answer {
    status: &'static str,
    body: &'static [u8],
    /// The connection can't go on.
    closes: bool,
}

static FOUND: Answer = Answer {
    status: "200 OK",
    body: BODY,
    closes: false,
};
static NOT_FOUND: Answer = Answer {
    status: "404 Not Found",
    body: b"",
    closes: false,
};
static NOT_ALLOWED: Answer = Answer {
    status: "405 Method Not Allowed",
    body: b"",
    closes: false,
};
static BAD: Answer = Answer {
    status: "400 Bad Request",
    body: b"",
    closes: true,
};
static TOO_LARGE: Answer = Answer {
    status: "431 Request Header Fields Too Large",
    body: b"",
    closes: true,
};
static NOT_IMPLEMENTED: Answer = Answer {
    status: "501 Not Implemented",
    body: b"",
    closes: true,
};

impl Connection {
    /// Bytes have come: answers the requests that they complete.
    pub(crate) fn received<M: Net, S>(
        &mut self,
        event_loop: &mut Loop<M, S>,
        stream: Stream,
        bytes: &[u8],
    ) -> Result<(), linux_event::Error> {
        if self.kept.is_empty() {
            let used = self.answer_all(event_loop, stream, bytes)?;
            self.kept.extend_from_slice(&bytes[used..]);
        } else {
            let mut kept = std::mem::take(&mut self.kept);
            kept.extend_from_slice(bytes);
            let used = self.answer_all(event_loop, stream, &kept)?;
            kept.drain(..used);
            self.kept = kept;
        }
        Ok(())
    }

    /// Answers every whole request in `bytes`; returns how many bytes are done with.
    fn answer_all<M: Net, S>(
        &mut self,
        event_loop: &mut Loop<M, S>,
        stream: Stream,
        bytes: &[u8],
    ) -> Result<usize, linux_event::Error> {
        let mut used = 0;
        while !self.is_closing {
            let skipped = self.body_left.min((bytes.len() - used) as u64);
            self.body_left -= skipped;
            used += skipped as usize;
            if used == bytes.len() {
                break;
            }
            let request = match parse(&bytes[used..]) {
                Some(request) => request,
                None if bytes.len() - used < HEAD_MAX => break,
                None => closing(&TOO_LARGE),
            };
            used += request.head;
            self.body_left = request.body;
            self.is_closing = !request.keeps_alive;
            match answer(event_loop, stream, &request) {
                Ok(()) => {}
                // It is about to close for a reason of its own: that is told elsewhere.
                Err(WriteError::Closed) => self.is_closing = true,
                Err(error) => return Err(error.into()),
            }
            if self.is_closing {
                stream.end(event_loop)?; // and closes when the client has
                return Ok(bytes.len());
            }
        }
        Ok(if self.is_closing { bytes.len() } else { used })
    }
}

/// The request at the beginning of `bytes`; `None` if it is not complete.
fn parse(bytes: &[u8]) -> Option<Request> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let head = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => return Some(closing(&TOO_LARGE)),
        Err(_) => return Some(closing(&BAD)),
    };
    let mut body = None;
    let mut keeps_alive = parsed.version == Some(1);
    for field in parsed.headers.iter() {
        if field.name.eq_ignore_ascii_case("connection") {
            let says = |word: &[u8]| {
                let mut words = field.value.split(|&byte| byte == b',');
                words.any(|said| said.trim_ascii().eq_ignore_ascii_case(word))
            };
            keeps_alive = (keeps_alive || says(b"keep-alive")) && !says(b"close");
        } else if field.name.eq_ignore_ascii_case("content-length") {
            // Two that differ, or another form than digits, and who is before this server may see another end of the request.
            let length = digits(field.value.trim_ascii());
            if length.is_none() || body.is_some() && body != length {
                return Some(closing(&BAD));
            }
            body = length;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Some(closing(&NOT_IMPLEMENTED));
        }
    }
    let method = parsed.method.unwrap_or_default();
    let answer = match (method, parsed.path) {
        ("GET" | "HEAD", Some("/")) => &FOUND,
        ("GET" | "HEAD", _) => &NOT_FOUND,
        _ => &NOT_ALLOWED,
    };
    Some(Request {
        head,
        body: body.unwrap_or(0),
        keeps_alive,
        answer,
        has_body: method != "HEAD",
    })
}

/// A number of digits and nothing else.
fn digits(text: &[u8]) -> Option<u64> {
    let are_digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| are_digits)?
        .parse()
        .ok()
}

/// What is answered to something that is no request: nothing after it can be understood.
const fn closing(answer: &'static Answer) -> Request {
    Request {
        head: 0,
        body: 0,
        keeps_alive: false,
        answer,
        has_body: true,
    }
}

fn answer<M: Net, S>(
    event_loop: &mut Loop<M, S>,
    stream: Stream,
    request: &Request,
) -> Result<(), WriteError> {
    let Answer { status, body, .. } = request.answer;
    let connection = match (request.keeps_alive, request.answer.closes) {
        (true, false) => "keep-alive",
        _ => "close",
    };
    let length = body.len();
    let mut head = [0; 256];
    let room = head.len();
    let mut rest = &mut head[..];
    let written = std::io::Write::write_fmt(
        &mut rest,
        format_args!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n"
        ),
    );
    debug_assert!(written.is_ok(), "the head has room");
    let count = room - rest.len();
    stream.write(event_loop, &head[..count])?;
    if request.has_body {
        stream.write(event_loop, body)?;
    }
    Ok(())
}
