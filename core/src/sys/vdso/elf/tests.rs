//! Images made by hand, so that both kinds of hash table are read whatever this machine's vDSO has.

#![forbid(unsafe_code)]

extern crate std;
use std::vec;
use std::vec::Vec;

use super::*;

const NAME: &[u8] = b"__vdso_clock_gettime";
const FUNCTION_AT: usize = 0x300;
const LEN: usize = 0x400;

const DYNAMIC_AT: usize = 0xb0;
const SYMBOLS_AT: usize = 0x110;
const STRINGS_AT: usize = 0x170;
const HASH_AT: usize = 0x1d0;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_u32s(image: &mut [u8], at: usize, values: &[u32]) {
    for (index, value) in values.iter().enumerate() {
        put(image, at + index * 4, &value.to_le_bytes());
    }
}

fn put_u64s(image: &mut [u8], at: usize, values: &[u64]) {
    for (index, value) in values.iter().enumerate() {
        put(image, at + index * 8, &value.to_le_bytes());
    }
}

/// A library linked at `base` with four symbols, the last of which is the one looked for.
fn image(base: u64, hash_kind: u64) -> Vec<u8> {
    let mut image = vec![0; LEN];
    put(&mut image, 0, &IDENT);
    put_u64s(&mut image, 32, &[64]);
    put(&mut image, 54, &[56, 0, 2, 0]);
    let address = |offset: usize| base + offset as u64;

    put_u32s(&mut image, 64, &[PT_LOAD, PF_X | 4]);
    put_u64s(&mut image, 72, &[0, base, base, LEN as u64, LEN as u64]);
    put_u32s(&mut image, 120, &[PT_DYNAMIC, 4]);
    let dynamic = [DYNAMIC_AT as u64, address(DYNAMIC_AT), 0, 0x40, 0x40];
    put_u64s(&mut image, 128, &dynamic);
    #[rustfmt::skip]
    put_u64s(&mut image, DYNAMIC_AT, &[
        hash_kind, address(HASH_AT),
        DT_STRTAB, address(STRINGS_AT),
        DT_SYMTAB, address(SYMBOLS_AT),
        DT_NULL, 0,
    ]);

    // An undefined symbol of that name, a local one and one with a longer name come before the right one.
    let strings = b"\0__vdso_clock_gettime64\0__vdso_clock_gettime\0";
    put(&mut image, STRINGS_AT, strings);
    for (index, (name, info, section, value)) in [
        (24, 0x12, 0, 0x111),
        (24, 0x02, 1, 0x222),
        (1, 0x12, 1, 0x280),
        (24, 0x12, 1, FUNCTION_AT),
    ]
    .into_iter()
    .enumerate()
    {
        let at = SYMBOLS_AT + index * SYMBOL_SIZE;
        put_u32s(&mut image, at, &[name, info | (section << 16)]);
        put_u64s(&mut image, at + 8, &[address(value)]);
    }
    if hash_kind == DT_HASH {
        put_u32s(&mut image, HASH_AT, &[1, 4, 3, 0, 1, 2, 0]);
    } else {
        // Two buckets; symbols from 1 on are hashed; one filter word; chains 1-2 and 3.
        let header = [2, 1, 1, 6, 0, 0, 1, 3];
        put_u32s(&mut image, HASH_AT, &header);
        put_u32s(&mut image, HASH_AT + 32, &[0x10, 0x21, 0x31]);
    }
    image
}

#[test]
fn t1_either_hash_table_leads_to_the_symbol() {
    for base in [0, 0xffff_ffff_ff70_0000] {
        for hash_kind in [DT_HASH, DT_GNU_HASH] {
            let image = image(base, hash_kind);
            assert_eq!(extent(&image), Some(LEN));
            assert_eq!(find_symbol(&image, NAME), Some(FUNCTION_AT));
            let longer = b"__vdso_clock_gettime64";
            assert_eq!(find_symbol(&image, longer), Some(0x280));
            assert_eq!(find_symbol(&image, b"__vdso_clock"), None, "a prefix");
            assert_eq!(find_symbol(&image, b"clock_gettime"), None, "a suffix");
        }
    }
}

#[test]
fn t1_the_last_symbol_is_counted() {
    for hash_kind in [DT_HASH, DT_GNU_HASH] {
        let image = image(0, hash_kind);
        assert_eq!(Tables::find(&image, 0).unwrap().symbol_count, 4);
    }
    let mut empty = image(0, DT_GNU_HASH);
    put_u32s(&mut empty, HASH_AT + 24, &[0, 0]);
    assert_eq!(Tables::find(&empty, 0).unwrap().symbol_count, 1);
}

#[test]
fn t1_a_function_outside_executable_memory_is_refused() {
    let symbol_value_at = SYMBOLS_AT + 3 * SYMBOL_SIZE + 8;
    for (value, found) in [(LEN - 1, Some(LEN - 1)), (LEN, None), (usize::MAX, None)] {
        let mut image = image(0, DT_HASH);
        put_u64s(&mut image, symbol_value_at, &[value as u64]);
        assert_eq!(find_symbol(&image, NAME), found);
    }
    let mut not_executable = image(0, DT_HASH);
    put_u32s(&mut not_executable, 68, &[4]);
    assert_eq!(find_symbol(&not_executable, NAME), None);
}

#[test]
fn t1_a_length_out_of_reason_is_refused() {
    let memory_len_at = 64 + 40;
    for len in [0, EXTENT_MAX as u64 + 1, u64::MAX] {
        let mut image = image(0, DT_HASH);
        put_u64s(&mut image, memory_len_at, &[len]);
        assert_eq!(extent(&image), None, "{len}");
    }
    assert_eq!(extent(&[]), None);
    assert_eq!(extent(&[0; LEN]), None);
}

/// Damages copies of `image`; every answer must be one that INV-ELF-2 allows.
pub(in crate::sys::vdso) fn damage(image: &[u8], rounds: u64) {
    let check = |damaged: &[u8]| {
        let _ = extent(damaged);
        if let Some(offset) = find_symbol(damaged, NAME) {
            assert!(offset < damaged.len());
        }
    };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut damaged = image.to_vec();
    for _ in 0..rounds {
        for _ in 0..=random(4) {
            // Headers, tables and names are at the front: that is where damage can mislead.
            let zone = [0x200, image.len().min(0x600), image.len()][random(3)];
            let value = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
            let len = [1, 1, 2, 4, 8][random(5)];
            let at = random(zone - len);
            damaged[at..at + len].fill(value);
        }
        check(&damaged);
        check(&damaged[..random(image.len())]);
        if random(4) == 0 {
            damaged.copy_from_slice(image);
        }
    }
}

#[test]
fn t1_damaged_images_never_panic() {
    let rounds = if cfg!(miri) { 30 } else { 20_000 };
    damage(&image(0, DT_HASH), rounds);
    damage(&image(0xffff_ffff_ff70_0000, DT_GNU_HASH), rounds);
}

#[test]
fn t1_every_truncation_is_survived() {
    for hash_kind in [DT_HASH, DT_GNU_HASH] {
        let image = image(0, hash_kind);
        for len in (0..LEN).step_by(if cfg!(miri) { 61 } else { 1 }) {
            let found = find_symbol(&image[..len], NAME);
            assert_eq!(found, (len > FUNCTION_AT).then_some(FUNCTION_AT), "{len}");
        }
    }
}
