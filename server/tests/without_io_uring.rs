//! Where io_uring is forbidden, as by the seccomp filters of containers, a broker serves all the same and says so once. The refusal
//! is real: the test's own executable puts the filter on and becomes the broker.
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use kringle_log::Compression;
use kringle_runtime::{Refusal, refuse_io_uring};
use support::{TestBroker, batch, command};

/// Set for the executable that becomes the broker: the broker's command line, a word in each line.
const BECOME: &str = "KRINGLE_TEST_WITHOUT_IO_URING";

/// Not a test but what the tests start.
#[test]
fn becomes_the_broker() {
    let Ok(words) = std::env::var(BECOME) else { return };
    let mut words = words.lines();
    let errno = words.next().expect("an error number").parse().expect("a number");
    refuse_io_uring(Refusal::Errno(errno)).expect("a filter may be set");
    panic!("{}", Command::new(words.next().expect("a program")).args(words).exec());
}

/// The command line of a broker that gets `errno` instead of a ring.
fn refused(dir: &Path, errno: i32, overrides: &[&str]) -> Command {
    let broker = command(dir, overrides);
    let words: Vec<&str> =
        [broker.get_program()].into_iter().chain(broker.get_args()).map(|w| w.to_str().expect("UTF-8")).collect();
    let mut becomes = Command::new(std::env::current_exe().expect("it runs"));
    becomes.args(["--exact", "becomes_the_broker", "--nocapture"]);
    becomes.env(BECOME, format!("{errno}\n{}", words.join("\n"))).env_remove("KRINGLE_LOG");
    becomes
}

#[test]
fn a_broker_serves_without_a_ring_and_says_so_in_one_line_with_the_way_to_get_it() {
    for (errno, mend) in [(libc::EPERM, "seccomp=unconfined"), (libc::ENOSYS, "CONFIG_IO_URING")] {
        let home = tempfile::tempdir().expect("a temporary directory");
        let said = home.path().join("said");
        let mut command = refused(&home.path().join("data"), errno, &["kringle.io.driver=auto"]);
        command.stderr(std::fs::File::create(&said).expect("writable"));
        let broker = TestBroker::run(command, home.path());

        let mut client = broker.connect();
        client.create_topic("t", 1);
        let sent = batch(Compression::None, &[b"hello"]);
        assert_eq!(client.produce("t", 0, -1, sent.clone()), (0, 0));
        let (error, high_watermark, records) = client.fetch("t", 0, 0, 1000);
        assert_eq!((error, high_watermark, records.len()), (0, 1, sent.len()));
        assert!(broker.stop());

        let said = std::fs::read_to_string(said).expect("text");
        let warnings: Vec<&str> = said.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(warnings.len(), 1, "{said}");
        assert!(warnings[0].contains(mend) && warnings[0].contains("epoll"), "{said}");
    }
}

#[test]
fn a_broker_that_must_have_the_ring_refuses_to_start_in_one_line() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let dir = home.path().join("data");
    let output =
        refused(&dir, libc::EPERM, &["kringle.io.driver=ring"]).stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.starts_with("error: io_uring is forbidden") && said.contains("seccomp=unconfined"), "{said}");
    assert!(!dir.exists());
}
