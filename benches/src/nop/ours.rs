//! Nops on our own proactor: with a table, generations and data, as every operation has them.

#![forbid(unsafe_code)]

use std::io;

use linux_event_core::proactor::{Event, op};

use super::lost;
use crate::sys::proactor::{Boxed, boxed, refused};
use crate::workload::{Round, timed};

/// Operations that there is room for.
const OPERATIONS: usize = 256;

/// Events as values.
pub(super) fn proactor(batch: usize) -> io::Result<Box<dyn Round>> {
    let mut proactor: Boxed<u32, OPERATIONS> = boxed()?;
    Ok(timed(batch as u64, move |iterations| {
        let batch = batch as u32;
        for _ in 0..iterations {
            for key in 0..batch {
                proactor.submit(op::nop(), key).map_err(refused)?;
            }
            proactor.wait(None).map_err(io::Error::other)?;
            let mut next = 0;
            while let Some(event) = proactor.next() {
                match event {
                    Event::Completion(nop) if nop.data == next && nop.result == 0 => next += 1,
                    _ => return Err(lost()),
                }
            }
            if next != batch {
                return Err(lost());
            }
        }
        Ok(())
    }))
}
