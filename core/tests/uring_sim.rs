//! The ring on a kernel of plain memory, which is friendly, clumsy or hostile: rules P-3, P-6, P-10 and P-12, under Miri too.

#![allow(missing_docs, unsafe_code)]

#[path = "support/buf.rs"]
mod buf;
#[path = "support/ring_driver.rs"]
mod ring_driver;
#[path = "support/ring_kernel.rs"]
mod ring_kernel;

use ring_driver::drive;
use ring_kernel::Manners;

/// Scripts of a linear congruential generator.
fn scripts(count: u64, length: usize) -> impl Iterator<Item = (u64, Vec<u8>)> {
    (0..count).map(move |seed| {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let script = (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            })
            .collect();
        (seed, script)
    })
}

fn run(manners: Manners) {
    let (count, length) = if cfg!(miri) { (12, 400) } else { (3000, 1200) };
    for (seed, script) in scripts(count, length) {
        println!("seed {seed}");
        drive(&script, manners);
    }
}

#[test]
fn p3_every_operation_ends_once_on_a_friendly_kernel() {
    run(Manners::default());
}

#[test]
fn p6_a_hostile_kernel_breaks_nothing() {
    run(Manners {
        hostile: true,
        ..Manners::default()
    });
}

#[test]
fn p10_a_kernel_that_loses_completions_is_believed() {
    run(Manners {
        loses: true,
        ..Manners::default()
    });
}

#[test]
fn p12_a_kernel_that_lies_at_set_up_is_not() {
    run(Manners {
        hostile: true,
        lies_at_setup: true,
        ..Manners::default()
    });
}

#[test]
fn p12_an_old_kernel_with_no_flags_but_the_oldest() {
    run(Manners {
        flags: Some(1 << 3 | 1 << 4),
        ..Manners::default()
    });
}
