//! The parser of the vDSO over hostile images: it finds a symbol or it does not; it never panics, never reads outside.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|image: &[u8]| {
    if let Some(offset) = linux_event_core::sys::vdso::fuzz_find_symbol(image) {
        assert!(offset < image.len());
    }
});
