//! What a loop is said to take is what it takes: its size, and what it maps.

use std::fs::File;
use std::io::Read;

use linux_event_core::error::Error;
use linux_event_core::footprint::Footprint;
use linux_event_core::proactor::{Options, Proactor, Storage, Uring};
use linux_event_core::reactor::{self, Epoll, Reactor};
use linux_event_core::sys::Linux;

type Buf = &'static mut [u8];
type Tables<const OPS: usize> = Storage<u32, OPS, 16>;
type Loop<const OPS: usize> = Proactor<Buf, u32, OPS, 16, Uring<Buf>, &'static mut Tables<OPS>>;

const PAGE: usize = 4096;

/// Bytes of address space that are mapped now. It allocates nothing.
fn mapped(text: &mut [u8]) -> usize {
    let mut file = File::open("/proc/self/maps").unwrap();
    let mut length = 0;
    loop {
        match file.read(&mut text[length..]).unwrap() {
            0 => break,
            count => length += count,
        }
    }
    assert!(length < text.len(), "there is room for more");
    let lines = str::from_utf8(&text[..length]).unwrap().lines();
    lines
        .map(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let number = |digits| usize::from_str_radix(digits, 16).unwrap();
            number(end) - number(start)
        })
        .sum()
}

/// What making a proactor maps, and what it is said to.
fn rings<const OPS: usize>(options: Options, text: &mut [u8]) -> Option<(usize, Footprint)> {
    let tables = Box::leak(Box::new(Tables::<OPS>::new()));
    let before = mapped(text);
    let ring = match Uring::with_options(Linux, options) {
        Err(Error::NoRing { .. } | Error::RingTooOld) => return None, // not here
        ring => ring.unwrap(),
    };
    let capabilities = ring.capabilities().clone();
    let proactor = Loop::with_storage(ring, tables).unwrap();
    let after = mapped(text);
    drop(proactor);
    assert_eq!(mapped(text), before, "all of it is given back");
    let asked = options.entries.next_power_of_two();
    assert_eq!(capabilities.entries, asked, "no step down was needed");
    Some((after - before, Loop::<OPS>::footprint(&options)))
}

/// One test: nothing else maps memory meanwhile.
#[test]
fn what_a_loop_takes_is_what_its_footprint_says() {
    tables_are_counted_once_wherever_they_lie();
    what_is_mapped_is_counted();
}

fn what_is_mapped_is_counted() {
    let mut text = vec![0; 1 << 20];
    let options = |entries, cq_entries| Options {
        entries,
        cq_entries,
        ..Options::DEFAULT
    };
    // Once for whatever the process maps with the first.
    if rings::<64>(Options::DEFAULT, &mut text).is_none() {
        return;
    }
    let measured = [
        rings::<64>(Options::DEFAULT, &mut text),
        rings::<1000>(Options::DEFAULT, &mut text),
        rings::<3>(options(8, Some(16)), &mut text),
        rings::<200>(options(100, Some(3000)), &mut text),
        rings::<200>(options(512, None), &mut text),
    ];
    for (took, said) in measured.into_iter().flatten() {
        let said = said.rings + said.operations;
        // A page less where the kernel's queues begin earlier than they may.
        assert!(took <= said && said <= took + PAGE, "{took} {said}");
    }
}

fn tables_are_counted_once_wherever_they_lie() {
    type Inside = Reactor<u64, 100, 50>;
    type Held = Proactor<Buf, u32, 64, 16>;
    type Outside = Reactor<u64, 100, 50, Epoll, &'static mut reactor::Storage<u64, 100, 50>>;
    let (inside, outside) = (Inside::footprint(), Outside::footprint());
    assert_eq!(inside.total(), size_of::<Inside>());
    assert_eq!(inside.tables, size_of::<reactor::Storage<u64, 100, 50>>());
    assert_eq!(outside.tables, inside.tables);
    assert_eq!(outside.engine, size_of::<Outside>());
    assert_eq!((outside.rings, outside.operations), (0, 0));

    let held = Held::footprint(&Options::DEFAULT);
    assert_eq!(held.engine + held.tables, size_of::<Held>());
    let boxed = Loop::<64>::footprint(&Options::DEFAULT);
    assert_eq!(boxed.engine, size_of::<Loop<64>>());
    assert_eq!(boxed.tables, held.tables);
    assert_eq!(
        boxed.total(),
        boxed.engine + boxed.tables + boxed.rings + boxed.operations
    );
}
