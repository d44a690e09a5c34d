//! Connecting, in every world: the acceptance list of the original's Connect by number, the rule K-1, and its defects.
#![forbid(unsafe_code)]

mod acceptance;
mod attempts;
mod names;
mod virtual_time;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use linux_event::LoopError;
use linux_event::core::errno::Errno;
use linux_event::net::{
    Address, ConnectError, Connector, Listener, Question, Socket, Stream, Target,
};
use linux_event_tests::both::{LoopOf, turn};
use linux_event_tests::net::{NetWorld, finish, settle, take, until};

/// What came of connecting.
type Outcome<W> = Result<Socket<<W as linux_event_tests::both::World>::Model>, ConnectError>;

/// What callbacks note.
struct Noted<W: NetWorld> {
    outcomes: Vec<Outcome<W>>,
    accepted: Vec<Socket<W::Model>>,
}

type Client<W> = LoopOf<W, Noted<W>>;

fn client<W: NetWorld>() -> Client<W> {
    W::looping(Noted {
        outcomes: Vec::new(),
        accepted: Vec::new(),
    })
}

/// A listener that keeps whom it accepts.
fn server<W: NetWorld>(event_loop: &mut Client<W>, at: &str) -> (Listener, SocketAddr) {
    let listener = Listener::tcp(event_loop, at)
        .start(|event_loop: &mut Client<W>, _, socket| event_loop.state.accepted.push(socket))
        .expect("a port");
    let address = listener.local_address(event_loop).expect("it listens");
    (listener, address.internet().expect("TCP"))
}

fn note<W: NetWorld>(event_loop: &mut Client<W>, outcome: Outcome<W>) {
    event_loop.state.outcomes.push(outcome);
}

/// Waits for an outcome, and sees that there is only one.
fn outcome<W: NetWorld>(event_loop: &mut Client<W>) -> Outcome<W> {
    until::<W, _>(event_loop, |event_loop| {
        !event_loop.state.outcomes.is_empty()
    });
    settle::<W, _>(event_loop);
    assert_eq!(event_loop.state.outcomes.len(), 1, "exactly one outcome");
    event_loop.state.outcomes.pop().expect("an outcome")
}

/// An address of this machine at which nobody listens.
fn nobody<W: NetWorld>(event_loop: &mut Client<W>) -> SocketAddr {
    let (listener, address) = server::<W>(event_loop, "127.0.0.1:0");
    listener.close(event_loop).expect("it is open");
    until::<W, _>(event_loop, |event_loop| !event_loop.is_live());
    address
}

/// Closes everything and ends the test.
fn end<W: NetWorld>(mut event_loop: Client<W>, listeners: &[Listener]) {
    event_loop.state.outcomes.clear();
    event_loop.state.accepted.clear();
    for listener in listeners {
        listener.close(&mut event_loop).expect("it is open");
    }
    until::<W, _>(&mut event_loop, |event_loop| {
        event_loop.state.accepted.clear();
        !event_loop.is_live()
    });
    finish::<W, _>(event_loop);
}

/// A unix listener with a full backlog that accepts nobody yet, and who fills it.
fn full<W: NetWorld>(event_loop: &mut Client<W>, path: &Path) -> (Listener, W::Peer) {
    let listener = Listener::unix(event_loop, path)
        .backlog(0)
        .start(|event_loop: &mut Client<W>, _, socket| event_loop.state.accepted.push(socket))
        .expect("a path");
    listener.pause(event_loop).expect("it is open");
    let filler = W::try_connect(event_loop, &Address::from(path)).expect("room for one");
    (listener, filler)
}

/// Resolves to these.
fn to(addresses: &[SocketAddr]) -> impl FnOnce(Question) + 'static {
    let addresses = addresses.to_vec();
    move |question| question.answer(Ok(addresses))
}
