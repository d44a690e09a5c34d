//! Trouble on demand.

use super::*;

#[test]
fn p6_a_refused_operation_comes_back() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let full = Error::Full { capacity: 1 };
    proactor.backend_mut().refuse_next(full);
    let refused = proactor
        .submit(op::read(reader, Buffer::from("mine")), 1)
        .unwrap_err();
    assert_eq!(
        (refused.error, refused.buffer),
        (full, Some(Buffer::from("mine")))
    );
    proactor.backend_mut().refuse_next(full);
    let vectors: Vectors<Buffer> = [room(1)].into_iter().collect();
    let (error, vectors) = proactor
        .submit_vectored(op::read_vectored(reader, vectors), 1)
        .unwrap_err();
    assert_eq!((error, vectors.len()), (full, 1));
    assert_balanced(&proactor, 2);
}

#[test]
fn p4_a_refused_cancel_is_asked_again() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let op = submit(&mut proactor, op::read(reader, room(1)), 1);
    proactor.flush().unwrap();
    proactor
        .backend_mut()
        .refuse_next_cancel(Error::Full { capacity: 0 });
    assert!(proactor.cancel(op));
    assert_eq!(turn(&mut proactor), [(1, failed(Errno::ECANCELED), false)]);
}

#[test]
fn p12_an_older_kernel_lacks_operations() {
    let mut proactor = proactor();
    let (socket, _peer) = sockets(&mut proactor);
    let code = Code::RecvMulti;
    let group = proactor.provide(1, 1).unwrap();
    proactor.backend_mut().set_supported(code, false);
    let unsupported = Error::UnsupportedOperation { code };
    assert_eq!(proactor.provide(1, 1), Err(unsupported));
    let refused = proactor
        .submit(op::recv_multi(socket, group), 1)
        .unwrap_err();
    assert_eq!(refused.error, unsupported);
    let code = Code::Nop;
    proactor.backend_mut().set_supported(code, false);
    let chain = [(op::fsync(socket).into(), 1), (op::nop().into(), 2)];
    let refused = proactor.submit_chain(chain).unwrap_err();
    assert_eq!(refused.error, Error::UnsupportedOperation { code });
    proactor.backend_mut().set_supported(code, true);
    submit(&mut proactor, op::nop(), 3);
    assert_eq!(turn(&mut proactor), [(3, 0, false)]);
}

#[test]
fn p10_an_overflow_loses_nothing_and_is_counted() {
    let mut proactor = proactor();
    proactor.backend_mut().set_completions(2);
    for data in 0..5 {
        submit(&mut proactor, op::nop(), data);
    }
    assert_eq!(turn(&mut proactor), [(0, 0, false), (1, 0, false)]);
    assert_eq!(turn(&mut proactor), [(2, 0, false), (3, 0, false)]);
    assert_eq!(turn(&mut proactor), [(4, 0, false)]);
    assert_eq!(proactor.counters().overflows, 1, "one episode");
    for data in 0..3 {
        submit(&mut proactor, op::nop(), data);
    }
    assert_eq!(turn(&mut proactor).len(), 2);
    assert_eq!(proactor.counters().overflows, 2);
}

#[test]
fn p10_what_was_not_popped_stays() {
    let mut proactor = proactor();
    for data in 0..3 {
        submit(&mut proactor, op::nop(), data);
    }
    proactor.wait(None).unwrap();
    assert!(proactor.next().is_some());
    submit(&mut proactor, op::nop(), 3);
    assert_eq!(turn(&mut proactor).len(), 2);
    assert_eq!(turn(&mut proactor), [(3, 0, false)]);
}

#[test]
fn p9_a_refused_enter_loses_nothing() {
    let mut proactor = proactor();
    let fake = proactor.backend_mut();
    fake.fail_next(Call::IoUringEnter, Errno::ENOMEM);
    fake.fail_next(Call::IoUringEnter, Errno::EINTR);
    fake.fail_next(Call::IoUringEnter, Errno::EBADR);
    fake.interrupt_next_wait();
    submit(&mut proactor, op::nop(), 1);
    let call = Call::IoUringEnter;
    let errno = Errno::ENOMEM;
    assert_eq!(proactor.wait(None), Err(Error::Os { call, errno }));
    assert_eq!(proactor.backend().queued(), 1);
    proactor.wait(None).unwrap();
    assert_eq!(proactor.next().map(drop), None, "EINTR ends it empty");
    assert_eq!(proactor.backend().queued(), 0);
    assert_eq!(proactor.wait(None), Err(Error::CompletionsLost));
    proactor.wait(None).unwrap();
    assert_eq!(proactor.next().map(drop), None, "a signal handler too");
    assert_eq!(turn(&mut proactor), [(1, 0, false)]);
}

#[test]
fn p16_registering_can_be_refused() {
    let mut proactor = proactor();
    let call = Call::IoUringRegister;
    let errno = Errno::ENOMEM;
    let refused = Error::Os { call, errno };
    for _ in 0..3 {
        proactor.backend_mut().fail_next(call, errno);
    }
    assert_eq!(proactor.register_files(4), Err(refused));
    assert_eq!(proactor.provide(1, 1), Err(refused));
    let buffers: Vectors<Buffer> = [room(8)].into_iter().collect();
    let (error, buffers) = proactor.register_buffers(buffers).unwrap_err();
    assert_eq!((error, buffers.len()), (refused, 1));
    proactor.register_files(4).unwrap();
    assert!(matches!(proactor.register_files(4), Err(Error::Invalid(_))));
    proactor.register_buffers(buffers).unwrap();
    proactor.backend_mut().fail_next(call, errno);
    assert!(proactor.unregister_buffers().is_err());
    assert_eq!(proactor.unregister_buffers().unwrap().len(), 1);
}

#[test]
fn g1_a_child_touches_nothing() {
    let mut proactor = proactor();
    let (reader, _writer) = pipe(&mut proactor);
    let op = submit(&mut proactor, op::read(reader, room(1)), 1);
    proactor.backend_mut().set_owner(false);
    let refused = proactor
        .submit(op::read(reader, Buffer::from("b")), 2)
        .unwrap_err();
    assert_eq!(
        (refused.error, refused.buffer),
        (Error::Forked, Some(Buffer::from("b")))
    );
    assert!(!proactor.cancel(op));
    assert_eq!(proactor.cancel_all(), 0);
    assert_eq!(proactor.wait(None), Err(Error::Forked));
    assert_eq!(proactor.flush(), Err(Error::Forked));
    assert_eq!(proactor.close(reader, 3), Err(Error::Forked));
    assert_eq!(proactor.provide(1, 1), Err(Error::Forked));
    assert_eq!(proactor.register_files(1), Err(Error::Forked));
    assert!(proactor.unregister_buffers().is_err());
    assert_eq!(proactor.backend().touched_in_child(), [""; 0]);
}

#[test]
fn g2_the_ring_is_readable_while_something_waits_in_it() {
    let mut proactor = proactor();
    let (reader, writer) = pipe(&mut proactor);
    submit(&mut proactor, op::read(reader, room(1)), 1);
    proactor.prepare().unwrap();
    assert!(!proactor.backend_mut().is_readable());
    proactor.backend_mut().write(writer, b"x").unwrap();
    assert!(proactor.backend_mut().is_readable());
    assert_eq!(look(&mut proactor), [(1, 1, false)]);
    assert!(!proactor.backend_mut().is_readable());
}
