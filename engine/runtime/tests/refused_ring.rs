//! What a person reads where the kernel refuses an io_uring. The refusal is real: a seccomp filter, as a container has it,
//! in a process of its own, since no filter can be taken off again.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use kringle_runtime::{Host, RealOptions};

/// Set in the child process.
const IN_CHILD: &str = "KRINGLE_REFUSED_RING";

/// Refuses `io_uring_setup` in this process from now on.
fn refuse_with(errno: u16) -> std::io::Result<()> {
    let load_number = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump_if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let mut filter = [
        step(load_number, 0, 0, 0),
        step(jump_if_equal, 0, 1, u32::try_from(libc::SYS_io_uring_setup).unwrap()),
        step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | u32::from(errno)),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: both calls take plain numbers and, the second, a program that lives until it returns; the kernel checks it.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// What a start says in a process whose rings are refused with `errno`.
fn said(errno: i32) -> String {
    let errno = u16::try_from(errno).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "the_child", "--nocapture"]).env(IN_CHILD, "1");
    // SAFETY: between fork and exec the closure makes two system calls and touches only its own stack.
    unsafe { child.pre_exec(move || refuse_with(errno)) };
    let output = child.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("refused: ")).map(|(_, line)| line.to_owned());
    line.unwrap_or_else(|| panic!("no refusal: {text} {}", String::from_utf8_lossy(&output.stderr)))
}

/// Not a test but what the tests start.
#[test]
fn the_child() {
    if std::env::var_os(IN_CHILD).is_some() {
        match Host::real(RealOptions::default()) {
            Ok(_) => println!("started"),
            Err(unsupported) => println!("refused: {unsupported}"),
        }
    }
}

#[test]
fn a_containers_filter_is_named_with_the_way_around_it() {
    assert!(said(libc::EPERM).contains("--security-opt seccomp=unconfined"));
}

#[test]
fn a_kernel_without_io_uring_is_named() {
    assert!(said(libc::ENOSYS).contains("CONFIG_IO_URING"));
}

#[test]
fn locked_memory_that_is_too_tight_is_named_with_its_limit() {
    let line = said(libc::ENOMEM);
    assert!(line.contains("RLIMIT_MEMLOCK is ") && line.contains("ulimit -l unlimited"), "{line}");
}

#[test]
fn a_kernel_that_does_not_know_the_flags_is_too_old() {
    assert!(said(libc::EINVAL).contains("Linux 6.1 or newer"));
}

#[test]
fn any_other_refusal_is_told_as_the_system_tells_it() {
    assert!(said(libc::EMFILE).contains("Too many open files"));
}
