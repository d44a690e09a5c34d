//! An echo server without `std`, libc and allocator, linked statically, in both models.
//!
//! ```text
//! static-echo [--model reactor|proactor] [--idle SECONDS] PORT
//! ```
//!
//! It listens on 127.0.0.1 and sends back what it gets, byte for byte, until the peer has ended its side and has everything
//! back. Port 0 is one that the kernel chooses, which is printed: `listening on 127.0.0.1:PORT`. A connection on which
//! nothing moves for 60 seconds, or as many as `--idle` says, is closed. SIGINT and SIGTERM end the server with 0; whatever
//! else ends it with 1 and a sentence that says what to do.
//!
//! Everything lies in statics of fixed size: it serves 256 connections at a time, and more wait until the kernel is asked
//! for them. The ring too lies there, where the kernel takes it (Linux 6.5); where it does not the kernel maps one, and
//! that is all the memory that is ever asked for.
//!
//! The files: `arguments`; `listener` makes the socket; `reactor` and `proactor` are the server, once in each model;
//! `failure` has the sentences.
#![cfg_attr(panic = "abort", no_std, no_main)]
#![deny(unsafe_code)]

#[cfg(panic = "abort")]
mod arguments;
#[cfg(panic = "abort")]
mod failure;
#[cfg(panic = "abort")]
mod listener;
#[cfg(panic = "abort")]
mod proactor;
#[cfg(panic = "abort")]
mod program;
#[cfg(panic = "abort")]
mod reactor;

#[cfg(not(panic = "abort"))]
fn main() {}
