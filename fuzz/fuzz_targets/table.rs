//! `Table` against a map: whatever is inserted, removed and asked for, in whatever order, the two agree, and no stale
//! or forged handle finds anything.
#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use linux_event_core::handle::{Handle, Tag};
use linux_event_core::table::{Full, Table};

const CAPACITY: usize = 8;

#[derive(Arbitrary, Debug)]
enum Step {
    Insert(u32),
    Remove(u8),
    RemoveDead(u8),
    Forge(u64),
    Change(u8, u32),
}

#[derive(Arbitrary, Debug)]
struct Input {
    salt: u64,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let mut table: Table<u32, CAPACITY> = Table::new();
    table.set_salt(input.salt);
    let mut model: HashMap<Handle, u32> = HashMap::new();
    let mut live: Vec<Handle> = Vec::new();
    let mut dead: Vec<Handle> = Vec::new();
    for step in input.steps {
        match step {
            Step::Insert(value) => match table.insert(Tag::Watcher, value) {
                Ok(handle) => {
                    assert!(model.len() < CAPACITY);
                    assert!(model.insert(handle, value).is_none());
                    live.push(handle);
                }
                Err(Full(back)) => {
                    assert_eq!((back, model.len()), (value, CAPACITY));
                }
            },
            Step::Remove(at) if !live.is_empty() => {
                let handle = live.swap_remove(usize::from(at) % live.len());
                assert_eq!(table.remove(handle), model.remove(&handle));
                dead.push(handle);
            }
            Step::RemoveDead(at) if !dead.is_empty() => {
                let handle = dead[usize::from(at) % dead.len()];
                assert_eq!(table.remove(handle), None);
                assert_eq!(table.get(handle), None);
            }
            Step::Forge(raw) => {
                let found = table.find(raw).map(|(handle, value)| (handle, *value));
                let expected =
                    Handle::from_raw(raw).and_then(|handle| Some((handle, *model.get(&handle)?)));
                assert_eq!(found, expected);
            }
            Step::Change(at, to) if !live.is_empty() => {
                let handle = live[usize::from(at) % live.len()];
                *table.get_mut(handle).expect("it lives") = to;
                model.insert(handle, to);
            }
            _ => {}
        }
        assert_eq!(table.len(), model.len());
        assert_eq!(table.is_full(), model.len() == CAPACITY);
        for (handle, value) in &model {
            assert_eq!(table.get(*handle), Some(value));
        }
        assert_eq!(table.iter().count(), model.len());
    }
});
