//! The ring on the kernel that is really there: rules P-1 to P-16, and what they rest on.

#![allow(missing_docs, unsafe_code)]

#[path = "../support/buf.rs"]
mod buf;
#[path = "../../../tests/src/counting.rs"]
mod counting;
mod ending;
mod harness;
mod ladder;
mod operations;
mod turns;
