//! What a person reads where the kernel refuses an io_uring, and what runs then. The refusal is real: a seccomp filter, as a
//! container has it, in a process of its own, since no filter can be taken off again.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};

use bytes::Bytes;
use kringle_runtime::{Host, IoDriver, Open, RealOptions, Rt};

/// Set in the child process, to the driver that it asks for.
const IN_CHILD: &str = "KRINGLE_REFUSED_RING";

/// Answers `io_uring_setup` with `verdict` in this process from now on.
fn refuse_with(verdict: u32) -> std::io::Result<()> {
    let load_number = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump_if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let mut filter = [
        step(load_number, 0, 0, 0),
        step(jump_if_equal, 0, 1, u32::try_from(libc::SYS_io_uring_setup).unwrap()),
        step(answer, 0, 0, verdict),
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

/// Runs `the_child` in a process whose `io_uring_setup` gets this verdict.
fn child(driver: &str, verdict: u32) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "the_child", "--nocapture"]).env(IN_CHILD, driver);
    // SAFETY: between fork and exec the closure makes two system calls and touches only its own stack.
    unsafe { child.pre_exec(move || refuse_with(verdict)) };
    child.output().unwrap()
}

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap()
}

/// What the child says after `word`.
fn word(output: &Output, word: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once(word)).map(|(_, line)| line.trim().to_owned());
    line.unwrap_or_else(|| panic!("no {word} {text} {}", String::from_utf8_lossy(&output.stderr)))
}

/// What a start says in a process whose rings are refused with an error.
fn said(error: i32) -> String {
    word(&child("ring", errno(error)), "refused:")
}

/// Not a test but what the tests start.
#[test]
fn the_child() {
    let driver = match std::env::var(IN_CHILD).as_deref() {
        Ok("ring") => IoDriver::Ring,
        Ok("syscall") => IoDriver::Syscall,
        Ok(_) => IoDriver::Auto,
        Err(_) => return,
    };
    match Host::real(RealOptions { driver, ..RealOptions::default() }) {
        Ok(host) => {
            println!("instead of the ring: {}", host.instead_of_ring().map(ToString::to_string).unwrap_or_default());
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            host.start("test", 0, None, |rt| Box::pin(work(rt, path))).unwrap().join().unwrap();
            println!("works: {}", host.describe());
        }
        Err(unsupported) => println!("refused: {unsupported}"),
    }
}

/// Bytes through a socket, into a file and back.
async fn work(rt: Rt, path: std::path::PathBuf) {
    let listener = rt.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = rt.connect(listener.local_addr()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.send(vec![Bytes::from_static(b"hello")]).await.unwrap();
    let chunk = server.recv().await.unwrap();
    let file = rt.fs().open(path, Open::CreateNew).unwrap();
    rt.write_at(&file, vec![Bytes::copy_from_slice(&chunk)], 0).await.unwrap();
    rt.datasync(&file).await.unwrap();
    let (read, buf) = rt.read_at(&file, 0, rt.frame_buf(100)).await;
    assert_eq!((read.unwrap(), &buf[..]), (5, &b"hello"[..]));
}

#[test]
fn where_the_ring_is_refused_everything_runs_on_system_calls_and_the_reason_is_known() {
    for (error, reason) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "CONFIG_IO_URING"), (libc::ENOMEM, "ulimit -l")] {
        let output = child("auto", errno(error));
        assert!(word(&output, "instead of the ring:").contains(reason));
        assert!(word(&output, "works:").contains("epoll"));
    }
}

#[test]
fn who_asks_for_system_calls_never_touches_io_uring() {
    let output = child("syscall", libc::SECCOMP_RET_KILL_PROCESS);
    assert!(word(&output, "works:").contains("epoll"));
    // The filter does what it should: who tries is killed.
    assert_eq!(child("auto", libc::SECCOMP_RET_KILL_PROCESS).status.signal(), Some(libc::SIGSYS));
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
