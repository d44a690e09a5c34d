//! The kernel's own workers, which perform what can't be done at once.

/// Has the kernel perform what it can't do at once with one worker, one thing after the other: `io_uring_register(2)`.
pub(crate) fn one_worker() {
    const IOWQ_MAX_WORKERS: u32 = 19;
    let is_ring = |number: &i32| {
        let path = std::fs::read_link(format!("/proc/self/fd/{number}"));
        path.is_ok_and(|path| path.as_os_str() == "anon_inode:[io_uring]")
    };
    for ring in (0..1024).filter(is_ring) {
        let mut most = [1u32; 2];
        // SAFETY: two numbers, which live until the call returns.
        unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                ring,
                IOWQ_MAX_WORKERS,
                most.as_mut_ptr(),
                2,
            )
        };
    }
}
