//! Starting: what a person reads when it works, and the one line they read when it does not.
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{TestBroker, command, still_answers};

/// Runs a broker that must not start; returns the only line it says.
fn refusal(mut command: Command) -> String {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "exactly one error line: {said}");
    errors[0].to_owned()
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn is_untouched(dir: &Path) -> bool {
    !dir.exists() || std::fs::read_dir(dir).expect("readable").next().is_none()
}

#[test]
fn an_empty_directory_is_served_at_once_in_little_memory() {
    let started = Instant::now();
    let broker = TestBroker::start();
    let took = started.elapsed();
    still_answers(&broker);
    // A debug build on a busy machine; the release figure is in docs/decisions/start-up.md.
    assert!(took.as_millis() < 2000, "{took:?}");
    assert!(broker.rss_bytes() < 48 << 20, "{} bytes", broker.rss_bytes());
    assert!(broker.stop(), "SIGTERM ends it in order");
}

#[test]
fn a_value_out_of_range_is_one_line_that_names_it_and_nothing_is_touched() {
    let home = dir();
    let line = refusal(command(home.path(), &["num.partitions=0"]));
    assert!(line.contains("num.partitions"), "{line}");
    assert!(is_untouched(home.path()));
}

#[test]
fn a_port_in_use_is_one_line() {
    let home = dir();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let setting = format!("listeners=PLAINTEXT://{}", taken.local_addr().expect("bound"));
    let line = refusal(command(home.path(), &[&setting]));
    assert!(line.contains("listeners") && line.contains(&taken.local_addr().expect("bound").to_string()), "{line}");
}

#[test]
fn a_directory_locked_by_another_broker_is_one_line() {
    let home = dir();
    let broker = TestBroker::start_on(home.path(), &[]);
    let line = refusal(command(home.path(), &[]));
    assert!(line.contains("log.dirs") && line.contains("another"), "{line}");
    still_answers(&broker);
}

#[test]
fn a_directory_of_another_node_is_one_line() {
    let home = dir();
    assert!(TestBroker::start_on(home.path(), &[]).stop());
    let line = refusal(command(home.path(), &["node.id=7"]));
    assert!(line.contains("node.id"), "{line}");
}

#[test]
fn a_directory_that_is_a_file_is_one_line() {
    let home = dir();
    let file = home.path().join("file");
    std::fs::write(&file, "").expect("written");
    let line = refusal(command(&file, &[]));
    assert!(line.contains("log.dirs"), "{line}");
}

#[test]
fn a_directory_is_opened_again_with_the_same_ids() {
    let home = dir();
    let first = TestBroker::start_on(home.path(), &[]);
    first.connect().create_topic("kept", 3);
    let before = topic_id(&first);
    assert!(first.stop());
    let second = TestBroker::start_on(home.path(), &[]);
    assert_eq!(topic_id(&second), before);
}

fn topic_id(broker: &TestBroker) -> (kringle_protocol::Uuid, usize) {
    let request = kringle_protocol::messages::MetadataRequest { topics: None, ..Default::default() };
    let response = broker.connect().call(12, &request);
    let topic = response.topics.iter().find(|topic| topic.name.as_deref() == Some("kept")).expect("it is there");
    (topic.topic_id, topic.partitions.len())
}
