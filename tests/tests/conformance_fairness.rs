//! fairness. In a program of its own, since it takes more numbers than one test has.

use std::time::Duration;

use linux_event::core::reactor::BATCH;
use linux_event_tests::{LoopOf, Machine, conformance, finish, turn};

conformance! {
    fn r13_a_batch_is_bounded_and_nobody_starves<W>() {
        const FILES: usize = BATCH + 44;
        let mut event_loop = W::looping(vec![0; FILES]);
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watchers: Vec<_> = (0..FILES).map(|index| {
            let file = W::of(&mut event_loop).dup(reader);
            event_loop.watch(&file).on_read(move |l: &mut LoopOf<W, Vec<u32>>, _, _| l.state[index] += 1)
                .start().unwrap()
        }).collect();
        turn::<W, _>(&mut event_loop);
        assert_eq!(event_loop.state.iter().sum::<u32>(), BATCH as u32);
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.iter().all(|&heard| heard > 0), "all of {FILES} within two turns");
        assert!(event_loop.state.iter().all(|&heard| heard <= 2));
        for watcher in watchers {
            event_loop.cancel(watcher);
        }
        finish::<W, _>(event_loop);
    }

    fn r13_timers_are_not_starved_by_a_descriptor_that_is_always_ready<W>() {
        let mut event_loop = W::looping((0, 0));
        let (reader, writer) = W::of(&mut event_loop).pipe();
        W::of(&mut event_loop).put(writer, b"x");
        let watcher = event_loop.watch(&reader).on_read(|l: &mut LoopOf<W, (u32, u32)>, _, _| {
            l.state.0 += 1;
            W::of(l).pass(Duration::from_micros(100));
        }).start().unwrap();
        event_loop.after(linux_event_tests::MILLI, |l| l.state.1 += 1).unwrap();
        for _ in 0..12 {
            turn::<W, _>(&mut event_loop);
        }
        assert_eq!(event_loop.state, (12, 1));
        event_loop.cancel(watcher);
        finish::<W, _>(event_loop);
    }
}
