//! D-1: a packet costs no allocation once the sockets are warm, in either model.

#![deny(unsafe_code)]

#[path = "../src/allocations.rs"]
mod allocations;

use allocations::during;
use linux_event::Loop;
use linux_event::net::{Datagram, Net};

#[global_allocator]
static ALLOCATOR: allocations::Counted = allocations::Counted;

const PACKETS: u64 = 10_000;

/// Two UDP sockets send each other one packet for ever; the first tells nobody whom it is for, the second answers whom it
/// came from.
fn assert_packets_allocate_nothing<M: Net>(mut event_loop: Loop<M, u64>) {
    let echo = Datagram::bind(&mut event_loop, "127.0.0.1:0")
        .start(|event_loop, echo, packet, peer, _| echo.send_to(event_loop, packet, peer))
        .unwrap();
    let at = echo.local_address(&mut event_loop).unwrap();
    let client = Datagram::bind(&mut event_loop, "127.0.0.1:0")
        .connect(at)
        .start(|event_loop, client, packet, _, _| {
            assert_eq!(packet, b"what goes round comes round");
            event_loop.state += 1;
            if event_loop.state.is_multiple_of(PACKETS) {
                event_loop.stop();
            }
            client.send(event_loop, packet)
        })
        .unwrap();
    client
        .send(&mut event_loop, b"what goes round comes round")
        .unwrap();
    event_loop.run().unwrap(); // touches what was never used
    let allocations = during(|| event_loop.run().unwrap());
    assert_eq!(event_loop.state, 2 * PACKETS);
    assert_eq!(allocations, 0);
}

#[test]
fn d1_packets_allocate_nothing_on_the_reactor() {
    assert_packets_allocate_nothing(Loop::reactor_with(0).unwrap());
}

#[test]
fn d1_packets_allocate_nothing_on_the_proactor() {
    match Loop::proactor_with(0) {
        Ok(event_loop) => assert_packets_allocate_nothing(event_loop),
        Err(error) => eprintln!("no ring, nothing is tested: {error}"),
    }
}
