//! P-14 for registered slots: whatever is installed, emptied and submitted in whatever order, a byte that was written to a
//! slot lands in the file that was in it, or nowhere.

#![allow(missing_docs, unsafe_code)]

#[path = "support/buf.rs"]
mod buf;

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::time::Duration;

use buf::VecBuf;
use linux_event_core::error::Error;
use linux_event_core::handle::File;
use linux_event_core::proactor::{FixedFile, Options, Proactor, Uring, op};
use linux_event_core::sys::{Fd, Linux};

type Loop = Proactor<VecBuf, u32, 256, 16>;

const SLOTS: u64 = 2;
const FILES: u64 = 4;

fn owned(fd: impl Into<OwnedFd>) -> Fd {
    // SAFETY: it was an owned descriptor.
    unsafe { Fd::from_raw(Linux, fd.into().into_raw_fd()) }
}

/// Steps that a number decides, on a ring and on what is expected of it.
struct World {
    state: u64,
    proactor: Loop,
    readers: Vec<PipeReader>,
    files: Vec<File>,
    /// What the first members of chains wait for.
    gate: PipeWriter,
    waits: File,
    /// Which file is in each slot, for all that was told.
    slots: [Option<usize>; SLOTS as usize],
    /// For each byte, which file it may land in.
    meant: Vec<Option<usize>>,
}

impl World {
    fn new(seed: u64, options: Options) -> Option<Self> {
        let ring = match Uring::with_options(Linux, options) {
            Ok(ring) => ring,
            Err(Error::NoRing { .. }) => return None,
            Err(other) => panic!("{other:?}"),
        };
        let mut proactor: Loop = Proactor::new(ring).unwrap();
        proactor.register_files(SLOTS as u32).unwrap();
        let (waits, gate) = std::io::pipe().unwrap();
        let waits = proactor.adopt(owned(waits)).unwrap();
        let mut readers = Vec::new();
        let mut files = Vec::new();
        for _ in 0..FILES {
            let (reader, writer) = std::io::pipe().unwrap();
            readers.push(reader);
            files.push(proactor.adopt(owned(writer)).unwrap());
        }
        Some(Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            proactor,
            readers,
            files,
            gate,
            waits,
            slots: [None; SLOTS as usize],
            meant: Vec::new(),
        })
    }

    fn below(&mut self, limit: u64) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % limit as usize
    }

    /// A slot, and a byte that is meant for the file in it.
    fn byte(&mut self) -> (FixedFile, u8) {
        let slot = self.below(SLOTS);
        let byte = self.meant.len() as u8;
        self.meant.push(self.slots[slot]);
        (FixedFile::new(slot as u32), byte)
    }

    fn step(&mut self) {
        match self.below(9) {
            0 | 1 => {
                let file = self.below(FILES);
                if let Ok(slot) = self.proactor.install(self.files[file]) {
                    self.slots[slot.index() as usize] = Some(file);
                }
            }
            2 => {
                let slot = self.below(SLOTS);
                if self.proactor.uninstall(FixedFile::new(slot as u32)).is_ok() {
                    self.slots[slot] = None;
                }
            }
            3 => {
                let slot = FixedFile::new(self.below(SLOTS) as u32);
                let _ = self.proactor.submit(op::close_fixed(slot), 0);
            }
            4 => {
                let (slot, byte) = self.byte();
                let write = op::write(slot, VecBuf::from_slice(&[byte]));
                let _ = self.proactor.submit(write, 0);
            }
            5 => {
                let (slot, byte) = self.byte();
                let read = op::read(self.waits, VecBuf::with_capacity(1)).limit(1);
                let write = op::write(slot, VecBuf::from_slice(&[byte]));
                let chain = [(read.into(), 0), (write.into(), 0)];
                let _ = self.proactor.submit_chain(chain);
            }
            6 => {
                let (slot, byte) = self.byte();
                let (reader, mut writer) = std::io::pipe().unwrap();
                writer.write_all(&[byte]).unwrap();
                let source = self.proactor.adopt(owned(reader)).unwrap();
                let _ = self.proactor.submit(op::splice(source, slot, 1), 0);
            }
            7 => self.gate.write_all(b"x").unwrap(),
            _ => {
                self.proactor.wait(Some(Duration::ZERO)).unwrap();
                for _ in 0..self.below(4) {
                    let _ = self.proactor.next();
                }
            }
        }
    }

    fn end(self) {
        drop((self.proactor, self.gate));
        for (file, mut reader) in self.readers.into_iter().enumerate() {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            for byte in bytes {
                let meant = self.meant[usize::from(byte)];
                assert_eq!(meant, Some(file), "byte {byte}");
            }
        }
    }
}

fn run(seeds: std::ops::Range<u64>, options: Options) {
    for seed in seeds {
        let Some(mut world) = World::new(seed, options) else {
            return;
        };
        println!("seed {seed}");
        for _ in 0..120 {
            world.step();
        }
        world.end();
    }
}

#[test]
fn p14_what_is_written_to_a_slot_lands_in_what_was_in_it() {
    let options = Options {
        entries: 16,
        ..Options::default()
    };
    run(0..300, options);
}

#[test]
fn p14_what_a_thread_submits_to_a_slot_lands_in_what_was_in_it() {
    let options = Options {
        entries: 16,
        sqpoll_idle: Some(Duration::from_millis(5)),
        ..Options::default()
    };
    run(0..60, options);
}
