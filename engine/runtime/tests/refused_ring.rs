//! What a person reads where the kernel refuses an io_uring, and what runs then. The refusal is real: a seccomp filter, as a
//! container has it, in a process of its own, since no filter can be taken off again.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use bytes::Bytes;
use kringle_runtime::{Host, IoDriver, Open, RealOptions, Refusal, Rt, refuse_io_uring};

/// Set in the child process: the driver that it asks for, and the error number that it gets.
const IN_CHILD: &str = "KRINGLE_REFUSED_RING";

/// Runs `the_child` in a process that is refused rings.
fn child(driver: &str, how: Refusal) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let refusal = match how {
        Refusal::Errno(errno) => errno.to_string(),
        Refusal::Death => "death".to_owned(),
    };
    child.args(["--exact", "the_child", "--nocapture"]).env(IN_CHILD, format!("{driver} {refusal}"));
    child.output().unwrap()
}

fn errno(errno: i32) -> Refusal {
    Refusal::Errno(errno.try_into().unwrap())
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
    let Ok(asked) = std::env::var(IN_CHILD) else { return };
    let (driver, refusal) = asked.split_once(' ').unwrap();
    refuse_io_uring(refusal.parse().map_or(Refusal::Death, Refusal::Errno)).unwrap();
    let driver = match driver {
        "ring" => IoDriver::Ring,
        "syscall" => IoDriver::Syscall,
        _ => IoDriver::Auto,
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
    let output = child("syscall", Refusal::Death);
    assert!(word(&output, "works:").contains("epoll"));
    // The filter does what it should: who tries is killed.
    assert_eq!(child("auto", Refusal::Death).status.signal(), Some(libc::SIGSYS));
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
