//! A descriptor that the kernel has closed is not closed again, whatever the file system said of it: its number may be
//! somebody else's by then. A file system of the test's own (FUSE) says what it likes. Skipped where it can't be mounted.

#![allow(missing_docs, unsafe_code)]

#[path = "support/buf.rs"]
mod buf;

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd as _, IntoRawFd};
use std::path::Path;
use std::time::Duration;

use buf::VecBuf;
use linux_event_core::errno::Errno;
use linux_event_core::error::Error;
use linux_event_core::handle::{File as Adopted, Op};
use linux_event_core::proactor::{Event, Proactor, Uring, op};
use linux_event_core::sys::{Fd, Linux};

/// Attributes of the one file, or of the directory that it is in: `struct fuse_attr`.
fn attributes(node: u64) -> Vec<u8> {
    let mode: u32 = if node == 1 { 0o40_755 } else { 0o100_644 };
    let mut bytes = vec![0; 88];
    bytes[..8].copy_from_slice(&node.to_ne_bytes());
    bytes[60..64].copy_from_slice(&mode.to_ne_bytes());
    bytes[64..68].copy_from_slice(&1u32.to_ne_bytes());
    bytes
}

/// Serves a directory with any file in it. When one is closed it takes the number that is free now, and says `errno`.
fn serve(mut device: File, errno: i32) -> Option<File> {
    let mut request = vec![0; 1 << 17];
    loop {
        let count = device.read(&mut request).ok()?;
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        assert!(count >= 40);
        let (opcode, unique, node) = (word(4), long(8), long(16));
        let mut answer = Vec::new();
        let mut error = 0;
        let mut victim = None;
        match opcode {
            26 => {
                answer.extend_from_slice(&7u32.to_ne_bytes());
                answer.extend_from_slice(&31u32.to_ne_bytes());
                answer.resize(64, 0);
                answer[20..24].copy_from_slice(&65_536u32.to_ne_bytes());
            }
            1 => {
                answer.extend_from_slice(&2u64.to_ne_bytes());
                answer.resize(40, 0);
                answer.extend_from_slice(&attributes(2));
            }
            3 => {
                answer.resize(16, 0);
                answer.extend_from_slice(&attributes(node));
            }
            14 => answer.resize(16, 0),
            25 => {
                victim = Some(File::open("/dev/null").unwrap());
                error = -errno;
            }
            2 | 42 => continue, // FORGET
            18 => {}
            _ => error = -libc::ENOSYS,
        }
        let mut reply = Vec::new();
        reply.extend_from_slice(&(16 + answer.len() as u32).to_ne_bytes());
        reply.extend_from_slice(&error.to_ne_bytes());
        reply.extend_from_slice(&unique.to_ne_bytes());
        reply.extend_from_slice(&answer);
        device.write_all(&reply).ok()?;
        if victim.is_some() {
            return victim;
        }
    }
}

fn mount(directory: &Path) -> Option<File> {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .ok()?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let text = |text: &str| CString::new(text).unwrap();
    let (kind, target, options) = (text("fuse"), text(directory.to_str()?), text(&options));
    // SAFETY: all of them end with a zero byte.
    let mounted = unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV,
            options.as_ptr().cast(),
        )
    };
    (mounted == 0).then_some(device)
}

/// How a program has a file closed.
#[derive(Clone, Copy, Debug)]
enum Way {
    Alone,
    /// As above, and it is asked to be cancelled.
    Cancelled,
    Last,
    First,
    Between,
}

/// Starts it; its operation's data is 7.
fn start(proactor: &mut Proactor<VecBuf, u32, 8, 8>, file: Adopted, way: Way) -> Op {
    let close = (op::close(file).into(), 7);
    let nop = |data| (op::nop().hard_link().into(), data);
    match way {
        Way::Alone | Way::Cancelled => proactor.close(file, 7).unwrap(),
        Way::Last => proactor.submit_chain([nop(1), close]).unwrap()[1],
        Way::First => proactor.submit_chain([close, nop(1)]).unwrap()[0],
        Way::Between => proactor.submit_chain([nop(1), close, nop(2)]).unwrap()[1],
    }
}

fn close_once(errno: Errno, way: Way) {
    let ring: Uring<VecBuf> = match Uring::new() {
        Ok(ring) => ring,
        Err(Error::NoRing { .. }) => return,
        Err(other) => panic!("{other:?}"),
    };
    let mut proactor: Proactor<VecBuf, u32, 8, 8> = Proactor::new(ring).unwrap();
    let directory = std::env::temp_dir().join(format!(
        "linux-event-fuse-{}-{}-{way:?}",
        std::process::id(),
        errno.raw()
    ));
    std::fs::create_dir(&directory).unwrap();
    let Some(device) = mount(&directory) else {
        println!("skipped: no file system can be mounted here");
        std::fs::remove_dir(&directory).unwrap();
        return;
    };
    let server = std::thread::spawn(move || serve(device, errno.raw()));
    let file = File::open(directory.join("file")).unwrap();
    let number = file.as_raw_fd();
    // SAFETY: it was an owned descriptor.
    let file = proactor
        .adopt(unsafe { Fd::from_raw(Linux, file.into_raw_fd()) })
        .unwrap();
    let op = start(&mut proactor, file, way);
    if matches!(way, Way::Cancelled) {
        proactor.flush().unwrap();
        assert!(proactor.cancel(op));
    }
    let mut result = None;
    while result.is_none() {
        proactor.wait(Some(Duration::from_secs(5))).unwrap();
        while let Some(event) = proactor.next() {
            let Event::Completion(completion) = event else {
                continue;
            };
            if completion.data == 7 {
                result = Some(completion.outcome());
            }
        }
    }
    let victim = server.join().unwrap().expect("the file was closed");
    let target = CString::new(directory.to_str().unwrap()).unwrap();
    // SAFETY: it ends with a zero byte.
    unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    std::fs::remove_dir(&directory).unwrap();
    assert_eq!(result, Some(Err(errno)));
    assert_eq!(victim.as_raw_fd(), number, "the number was free");
    // SAFETY: no pointer.
    let open = unsafe { libc::fcntl(victim.as_raw_fd(), libc::F_GETFD) } >= 0;
    if !open {
        std::mem::forget(victim);
    }
    assert!(open, "somebody else's descriptor was closed");
}

#[test]
fn p15_what_a_file_system_says_of_a_close_is_no_reason_to_close_again() {
    for errno in [
        Errno::EINVAL,
        Errno::EBADF,
        Errno::ENOMEM,
        Errno::EOPNOTSUPP,
        Errno::EIO,
        Errno::ECANCELED,
    ] {
        for way in [
            Way::Alone,
            Way::Cancelled,
            Way::Last,
            Way::First,
            Way::Between,
        ] {
            println!("{errno:?} {way:?}");
            close_once(errno, way);
        }
    }
}
