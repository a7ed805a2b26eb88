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
    assert!(is_untouched(home.path()));
}

#[test]
fn a_controllers_port_in_use_is_one_line() {
    let home = dir();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{port}");
    let line = refusal(command(home.path(), &[&listeners, "controller.listener.names=CONTROLLER"]));
    assert!(line.contains(&format!("CONTROLLER://127.0.0.1:{port}")) && line.contains("another port"), "{line}");
    assert!(is_untouched(home.path()));
}

#[test]
fn an_address_of_another_machine_is_one_line() {
    // 192.0.2.0/24 is set aside for documentation.
    let line = refusal(command(dir().path(), &["listeners=PLAINTEXT://192.0.2.1:0"]));
    assert!(line.contains("listeners=PLAINTEXT://192.0.2.1:0") && line.contains("address of this machine"), "{line}");
}

#[test]
fn a_directory_that_cannot_be_written_is_one_line_that_says_by_whom() {
    // Not even root may make a directory there.
    let line = refusal(command(Path::new("/sys/kringle"), &[]));
    let user = nix::unistd::geteuid();
    assert!(line.contains("log.dirs=/sys/kringle") && line.contains(&format!("uid {user}")), "{line}");
}

#[test]
fn a_directory_that_lost_its_identity_is_not_formatted_over_its_data() {
    let home = dir();
    assert!(TestBroker::start_on(home.path(), &[]).stop());
    std::fs::remove_file(home.path().join("meta.properties")).expect("it was formatted");
    let line = refusal(command(home.path(), &[]));
    assert!(line.contains("log.dirs") && line.contains("meta.properties"), "{line}");
}

#[test]
fn a_copy_of_a_voters_directory_under_another_id_is_one_line() {
    let home = dir();
    let in_log = ["listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0", "controller.listener.names=CONTROLLER"];
    assert!(TestBroker::start_on(home.path(), &in_log).stop());
    let meta = home.path().join("meta.properties");
    let text = std::fs::read_to_string(&meta).expect("it was formatted");
    let id = text.lines().find(|line| line.starts_with("directory.id=")).expect("it has one");
    std::fs::write(&meta, text.replace(id, "directory.id=AAAAAAAAAAAAAAAAAAAABQ")).expect("written");
    let line = refusal(command(home.path(), &in_log));
    assert!(line.contains("AAAAAAAAAAAAAAAAAAAABQ"), "{line}");
}

/// `setarch` of util-linux gives the program a kernel that calls itself 2.6.
#[test]
fn a_kernel_before_6_1_is_one_line_to_who_insists_on_the_ring() {
    let home = dir();
    let real = command(home.path(), &["kringle.io.driver=ring"]);
    let mut old = Command::new("setarch");
    old.arg("--uname-2.6").arg(real.get_program()).args(real.get_args());
    let line = refusal(old);
    assert!(line.contains("kernel 2.6") && line.contains("6.1"), "{line}");
    assert!(is_untouched(home.path()));
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
    assert!(line.contains("node.id=1") && line.contains('7'), "{line}");
}

#[test]
fn a_value_that_is_none_is_told_under_the_name_it_was_given_by() {
    let line = refusal(command(dir().path(), &["node.id=x"]));
    assert!(line.starts_with("error: node.id=x: "), "{line}");
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

/// The kernel frees a killed process's rings, and the ports they listen on, only after the process is gone.
#[test]
fn a_killed_broker_starts_again_at_once_on_its_port() {
    let home = dir();
    let mut broker = TestBroker::start_on(home.path(), &[]);
    let listeners = format!("listeners=PLAINTEXT://{}", broker.address);
    for _ in 0..10 {
        let clients: Vec<_> = (0..20).map(|_| broker.connect()).collect();
        still_answers(&broker);
        broker.kill();
        broker = TestBroker::start_on(home.path(), &[&listeners]);
        drop(clients);
    }
    still_answers(&broker);
}
