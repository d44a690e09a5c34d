//! P-10: what a panic in the program's own storage, amid the queueing of a chain, leaves behind.

use std::borrow::{Borrow, BorrowMut};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use linux_event::core::error::Error;
use linux_event::core::proactor::{Backend, Event, PollEvents, Proactor, Storage, op};
use linux_event::core::reactor;
use linux_event::core::sys::{Kernel as _, Linux};
use linux_event::fake::Fake;
use linux_event::{Buffer, Uring};
use linux_event_tests::LONG;

type Tables<B> = Storage<u32, 8, 8, <B as reactor::Backend>::Process, <B as Backend>::Fd>;

/// Tables that can be lent so many times more; the next time is a panic, and then they can be for ever.
struct Tripping<B: Backend> {
    tables: Box<Tables<B>>,
    left: Rc<Cell<u32>>,
}

impl<B: Backend> Borrow<Tables<B>> for Tripping<B> {
    fn borrow(&self) -> &Tables<B> {
        &self.tables
    }
}

impl<B: Backend> BorrowMut<Tables<B>> for Tripping<B> {
    fn borrow_mut(&mut self) -> &mut Tables<B> {
        match self.left.get() {
            0 => {}
            1 => {
                self.left.set(0);
                panic!("tripped");
            }
            left => self.left.set(left - 1),
        }
        &mut self.tables
    }
}

/// Trips at each loan that queueing a chain takes; what is queued after it completes, though no member ever does.
fn trips<B: Backend<Buf = Buffer>>(make: impl Fn() -> (B, B::Fd)) {
    let mut trips = 0;
    loop {
        let (backend, silent) = make();
        let left = Rc::new(Cell::new(0));
        let tables = Tripping::<B> {
            tables: Box::new(Tables::<B>::new()),
            left: Rc::clone(&left),
        };
        let mut proactor: Proactor<Buffer, u32, 8, 8, B, Tripping<B>> =
            Proactor::with_storage(backend, tables).unwrap();
        let file = proactor.adopt(silent).map_err(|(error, _)| error).unwrap();
        left.set(trips + 1);
        let members = [
            (op::poll(file, PollEvents::IN).into(), 1),
            (op::poll(file, PollEvents::IN).into(), 2),
            (op::close(file).into(), 3),
        ];
        let is_queued = catch_unwind(AssertUnwindSafe(|| proactor.submit_chain(members).is_ok()));
        left.set(0);
        proactor.submit(op::nop(), 4).unwrap();
        let mut done = None;
        while done.is_none() {
            proactor.wait(Some(LONG)).unwrap();
            done = proactor.next();
            assert!(done.is_some(), "it waits for a chain, after {trips} loans");
        }
        assert!(
            matches!(done, Some(Event::Completion(done)) if done.data == 4 && done.outcome() == Ok(0))
        );
        match is_queued {
            Ok(is_queued) => {
                assert!(is_queued);
                break;
            }
            Err(_) => trips += 1,
        }
    }
    assert!(trips > 6, "each member takes some: {trips}");
}

#[test]
fn p10_a_chain_that_a_panic_cuts_short_leads_to_nothing_on_the_fake() {
    trips(|| {
        let mut fake = Fake::new();
        let (silent, _writer) = fake.pipe().unwrap();
        let silent = fake.own(silent);
        (fake, silent)
    });
}

#[test]
fn p10_a_chain_that_a_panic_cuts_short_leads_to_nothing_on_the_ring() {
    if matches!(Uring::with_kernel(Linux), Err(Error::NoRing { .. })) {
        return;
    }
    trips(|| (Uring::with_kernel(Linux).unwrap(), Linux.eventfd().unwrap()));
}
