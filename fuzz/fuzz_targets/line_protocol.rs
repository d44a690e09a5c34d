//! A protocol of a user's, fuzzed without a kernel: the input says what the peer sends, and what becomes of each operation.
//!
//! Whatever is cut short, late, or fails: what comes back is the beginning of what went in, in capitals; all of it if nothing
//! failed and every line was short enough; and nothing is left behind.
#![no_main]

#[path = "../../std-shim/examples/line_protocol_on_fake/protocol.rs"]
mod protocol;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use linux_event::Loop;
use linux_event::fake::Decision;
use linux_event_core::errno::Errno;
use protocol::{Connection, LINE_MAX, serve};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (mut lines, script) = input;
    lines.truncate(4096);
    lines.push(b'\n');
    let fails = script.iter().any(|&byte| byte >= 224);

    // From here it is ten lines: a loop on the fake, a script that the fuzzer writes, the protocol, a run.
    let mut event_loop = Loop::fake_proactor_with(Connection::default());
    let (ours, theirs) = event_loop.fake_mut().socketpair().unwrap();
    let mut script = script.into_iter();
    event_loop.fake_mut().script(move |_| match script.next() {
        None | Some(0..=63) => Decision::Perform,
        Some(count @ 64..=159) => Decision::Shorten(usize::from(count - 63)),
        Some(delay @ 160..=223) => Decision::Delay(Duration::from_millis(u64::from(delay - 160))),
        Some(_) => Decision::Fail(Errno::ECONNRESET),
    });
    event_loop.fake_mut().write(theirs, &lines).unwrap();
    event_loop.fake_mut().shutdown_write(theirs).unwrap();
    let owned = event_loop.fake().own(ours);
    let file = event_loop.adopt_fd(owned).unwrap();
    serve(&mut event_loop, file).unwrap();
    event_loop.run().unwrap();

    let mut back = vec![0; lines.len() + 1];
    let fake = event_loop.fake_mut();
    let count = fake.read(theirs, &mut back).unwrap_or(0);
    let expected = lines.to_ascii_uppercase();
    assert!(expected.starts_with(&back[..count]), "not what was sent");
    let longest = lines.split(|&byte| byte == b'\n').map(<[u8]>::len).max();
    if !fails && longest <= Some(LINE_MAX) {
        assert_eq!(count, lines.len(), "a line was lost");
    }
    fake.close(theirs).unwrap();
    assert_eq!(
        (
            fake.pending_operations(),
            fake.buffers_out(),
            fake.open_descriptors()
        ),
        (0, 0, 0)
    );
});
