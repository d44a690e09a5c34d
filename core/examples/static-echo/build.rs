//! Links without libc.

include!("../static-start/link.rs");
