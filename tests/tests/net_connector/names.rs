//! Names, and who resolves them when.
#![forbid(unsafe_code)]

use super::*;

/// Waits until the threads of the system's resolver have ended: what they still hold is no leak.
fn until_nobody_resolves() {
    let is_resolver = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.expect("a thread").path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == "resolver") // or it has ended meanwhile
    };
    let tasks = || std::fs::read_dir("/proc/self/task").expect("threads");
    while tasks().any(is_resolver) {
        std::thread::yield_now();
    }
}

linux_event_tests::net! {
    fn k1_localhost_is_resolved_off_the_loop<W>() {
        let mut event_loop = client::<W>();
        W::know_localhost(&mut event_loop);
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        let target = ("LocalHost", address.port());
        Connector::to(&mut event_loop, target).start(note::<W>).expect("room");
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(None).expect("the answer ends the wait");
        }
        drop(outcome::<W>(&mut event_loop).expect("localhost is 127.0.0.1"));
        until_nobody_resolves();
        end::<W>(event_loop, &[listener]);
    }

    fn k1_what_the_resolver_does_not_know_is_an_outcome<W>() {
        let mut event_loop = client::<W>();
        // No name at all: nobody on a network is asked.
        Connector::to(&mut event_loop, ("a..b", 80)).start(note::<W>).expect("room");
        assert!(event_loop.state.outcomes.is_empty(), "defect C2");
        event_loop.run().expect("it ends when the outcome was told");
        let unknown = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(unknown, ConnectError::Resolve(_)), "{unknown}");
        until_nobody_resolves();
        end::<W>(event_loop, &[]);
    }

    fn k1_an_answer_from_another_thread_ends_the_wait<W>() {
        let mut event_loop = client::<W>();
        let (listener, address) = server::<W>(&mut event_loop, "127.0.0.1:0");
        let (ask, asked) = std::sync::mpsc::channel::<Question>();
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let resolver = std::thread::spawn(move || {
            let question = asked.recv().expect("it is asked");
            begun.recv().expect("it begins");
            question.answer(Ok(vec![address]));
        });
        Connector::to(&mut event_loop, "somewhere:1")
            .resolver(move |question| ask.send(question).expect("a resolver"))
            .start(note::<W>)
            .expect("room");
        turn::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty());
        begin.send(()).expect("a resolver");
        if W::IS_VIRTUAL {
            resolver.join().expect("it answers"); // a wait there takes no time
        }
        while event_loop.state.outcomes.is_empty() {
            event_loop.run_once(None).expect("the answer ends the wait");
        }
        drop(outcome::<W>(&mut event_loop).expect("somebody listens"));
        end::<W>(event_loop, &[listener]);
    }

    fn k1_a_resolver_that_never_answers_runs_into_the_timeout<W>() {
        let mut event_loop = client::<W>();
        let kept = Rc::new(RefCell::new(None));
        let place = Rc::clone(&kept);
        let limit = Duration::from_millis(50);
        let begin = event_loop.read_clock();
        Connector::to(&mut event_loop, "example.org:80")
            .timeout(limit)
            .resolver(move |question| *place.borrow_mut() = Some(question))
            .start(note::<W>)
            .expect("room");
        event_loop.run().expect("it ends");
        assert!(event_loop.read_clock().since(begin) >= limit);
        let timed_out = outcome::<W>(&mut event_loop).unwrap_err();
        assert!(matches!(timed_out, ConnectError::TimedOut(_)));
        let question = kept.borrow_mut().take().expect("it was asked");
        question.answer(Ok(vec![([127, 0, 0, 1], 80).into()]));
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty(), "an answer that is too late reaches nobody");
        end::<W>(event_loop, &[]);
    }

    fn k1_cancelling_while_a_name_is_resolved_lets_the_loop_end<W>() {
        let mut event_loop = client::<W>();
        let kept = Rc::new(RefCell::new(None));
        let place = Rc::clone(&kept);
        let connector = Connector::to(&mut event_loop, "example.org:80")
            .resolver(move |question| *place.borrow_mut() = Some(question))
            .start(note::<W>)
            .expect("room");
        assert!(event_loop.is_live());
        assert!(connector.cancel(&mut event_loop));
        event_loop.run().expect("nothing is left");
        drop(kept);
        settle::<W, _>(&mut event_loop);
        assert!(event_loop.state.outcomes.is_empty());
        end::<W>(event_loop, &[]);
    }
}
