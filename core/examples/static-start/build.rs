//! Links `static-check` without libc.

include!("link.rs");
