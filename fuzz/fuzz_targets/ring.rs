//! The ring on a kernel of plain memory: the input is the program's calls, the kernel's decisions, and its manners.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../core/tests/support/buf.rs"]
mod buf;
#[path = "../../core/tests/support/ring_driver.rs"]
mod ring_driver;
#[path = "../../core/tests/support/ring_kernel.rs"]
mod ring_kernel;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, script)) = input.split_first() else {
        return;
    };
    let manners = ring_kernel::Manners {
        hostile: choice & 1 != 0,
        loses: choice & 6 == 6,
        lies_at_setup: choice & 24 == 24,
        flags: (choice & 96 == 96).then_some(1 << 3 | 1 << 4),
        features: None,
        old: choice & 128 != 0,
        closes_with_ecanceled: choice & 10 == 10,
        breaks_backwards: choice & 36 == 36,
    };
    ring_driver::drive(script, manners);
});
