//! What makes a machine of a bare kernel: file systems, the loopback interface, somebody who reaps.
//!
//! **Why this shape.** The kernel gives a process 1 that it started from an archive nothing but that archive.

#![forbid(unsafe_code)]

use std::fs;
use std::process::Command;

use rustix::mount::{MountFlags, mount};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

/// Mounts, starts the one who works, reaps until it has ended, and turns the machine off.
pub(crate) fn be_the_first_process() -> ! {
    if let Err(error) = live() {
        eprintln!("init: {error}");
    }
    // The kernel panics if this returns, and the machine ends by that.
    let _ = reboot(RebootCommand::PowerOff);
    panic!("the machine can't be turned off");
}

fn live() -> std::io::Result<()> {
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(target)?;
        mount(kind, target, kind, MountFlags::empty(), None)?;
    }
    // `IFF_UP`: the kernel gives it 127.0.0.1 and ::1.
    fs::write("/sys/class/net/lo/flags", "0x1")?;
    let worker = Command::new("/init")
        .arg("work")
        .env_clear()
        .env("PATH", "/bin")
        .env("TMPDIR", "/tmp")
        .env("RUST_BACKTRACE", "1")
        .env("LINUX_EVENT_TEST_PATIENCE_S", "240")
        // Nobody else is on this machine.
        .env("LINUX_EVENT_TEST_SYSCTL", "1")
        .spawn()?;
    loop {
        match wait(WaitOptions::empty())? {
            Some((pid, _)) if pid.as_raw_nonzero().get() as u32 == worker.id() => return Ok(()),
            _ => {}
        }
    }
}
