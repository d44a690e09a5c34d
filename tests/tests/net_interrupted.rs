//! M-4, the reference's defect S2: a read or a write that is interrupted is tried again, and ends nothing. Only a fake interrupts when
//! a test says so.

use std::cell::Cell;
use std::rc::Rc;

use linux_event::Loop;
use linux_event::core::errno::Errno;
use linux_event::core::proactor::Code;
use linux_event::fake::Decision;
use linux_event::net::Stream;

#[test]
fn m4_defect_s2_what_is_interrupted_is_tried_again() {
    let mut event_loop = Loop::fake_proactor_with((Vec::new(), Vec::new()));
    let (ours, theirs) = event_loop.fake_mut().socketpair().expect("a pair");
    let interrupted = Rc::new(Cell::new(0));
    let (count, mut left) = (Rc::clone(&interrupted), [3_u32, 3]);
    event_loop.fake_mut().script(move |pending| {
        let which = usize::from(matches!(pending.code, Code::Send | Code::SendMessage));
        let is_transfer = matches!(
            pending.code,
            Code::Send | Code::SendMessage | Code::Recv | Code::RecvMulti
        );
        if !is_transfer || left[which] == 0 {
            return Decision::Perform;
        }
        left[which] -= 1;
        count.set(count.get() + 1);
        Decision::Fail(Errno::EINTR)
    });
    let socket = event_loop.fake().own(ours);
    let stream = Stream::over(&mut event_loop, socket)
        .on_data(|l: &mut Loop<_, (Vec<u8>, Vec<&str>)>, _, bytes| {
            l.state.0.extend_from_slice(bytes);
        })
        .on_error(|l, _, _| l.state.1.push("error"))
        .on_eof(|l, stream| {
            l.state.1.push("end");
            stream.end(l)
        })
        .on_close(|l, _| l.state.1.push("close"))
        .start()
        .expect("room");
    stream.write(&mut event_loop, b"ours").expect("room");
    event_loop
        .fake_mut()
        .write(theirs, b"theirs")
        .expect("room");
    event_loop.fake_mut().shutdown_write(theirs).expect("open");
    event_loop.run().expect("a run");
    assert_eq!(event_loop.state.0, b"theirs");
    assert_eq!(event_loop.state.1, ["end", "close"]);
    let mut bytes = [0; 8];
    assert_eq!(event_loop.fake_mut().read(theirs, &mut bytes), Ok(4));
    assert_eq!(&bytes[..4], b"ours");
    assert_eq!(interrupted.get(), 6, "each was tried until it went");
}
