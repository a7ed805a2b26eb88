//! For tests of what happens where io_uring is forbidden: a filter as containers have it.

use std::io;

/// What a process gets that asks for a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This error number.
    Errno(u16),
    /// SIGSYS, at once.
    Death,
}

/// Refuses `io_uring_setup` to this thread, to those it starts and to what it executes, by seccomp. It cannot be taken back, so
/// a test does this in a process of its own.
pub fn refuse_io_uring(how: Refusal) -> io::Result<()> {
    let verdict = match how {
        Refusal::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Refusal::Death => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let small = |code: u32| u16::try_from(code).expect("codes of the filter language have 16 bits");
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: small(code), jt, jf, k };
    let setup = u32::try_from(libc::SYS_io_uring_setup).expect("numbers of system calls are small");
    let mut filter = [
        // The number of the system call is the first thing a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, setup),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, verdict),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: small(4), filter: filter.as_mut_ptr() };
    // SAFETY: both calls take plain numbers and, the second, a program of as many steps as it says, which lives until the call
    // returns; the kernel checks and copies it.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}
