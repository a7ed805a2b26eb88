//! The thin load against the machine's floor: both ends of a comparison, without a broker between them.
#![allow(clippy::disallowed_methods, reason = "a test of programs, outside the simulated world")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kringle-bench");

struct Floor {
    process: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Floor {
    fn start() -> Floor {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(PROGRAM);
        command.args(["floor", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the floor starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
        let addr = line.trim_end().strip_prefix("listening on ").expect("where it listens");
        let addr = addr.parse().expect("an address");
        Floor { process, addr, _dir: dir }
    }

    fn raw(&self, words: &str) -> (bool, Option<Value>) {
        let mut words: Vec<&str> = words.split_ascii_whitespace().collect();
        let (addr, pid) = (self.addr.to_string(), self.process.id().to_string());
        words.extend(["--broker", &addr, "--topic", "t"]);
        if words[0] != "create" {
            words.extend(["--pid", &pid]);
        }
        let ran = Command::new(PROGRAM).arg("raw").args(words).stderr(Stdio::inherit()).output().expect("it runs");
        (ran.status.success(), serde_json::from_slice(&ran.stdout).ok())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it ends");
    }
}

#[test]
fn what_was_produced_is_fetched_once_and_counted() {
    let floor = Floor::start();
    assert!(floor.raw("create").0);
    let (ok, produced) = floor.raw("produce --total-mb 1 --warm 0 --conns 2 --records 3 --size 100");
    let produced = produced.expect("a line of JSON");
    assert!(ok, "{produced}");
    assert_eq!(produced["errors"], 0);
    assert!(produced["p50_us"].as_u64() > Some(0));
    assert!(produced["rss_MB"].as_f64() > Some(0.0));
    let (ok, fetched) = floor.raw("fetch --once --conns 4 --max 1000");
    let fetched = fetched.expect("a line of JSON");
    assert!(ok, "{fetched}");
    let bytes =
        |report: &Value| report["MBps"].as_f64().expect("a rate") * report["secs"].as_f64().expect("a time") * 1e6;
    // Three records of 100 bytes make a batch of 61 + 3 * 109 bytes; the first number of them with 1 MB of values is 3334.
    assert!((bytes(&produced) - 3334.0 * 300.0).abs() < 1.0, "{produced}");
    assert!((bytes(&fetched) - 3334.0 * (61.0 + 3.0 * 109.0)).abs() < 1.0, "{fetched}");
}

#[test]
fn a_stamped_batch_tells_its_age_to_the_consumer() {
    let floor = Floor::start();
    let tail = std::thread::scope(|scope| {
        // Either may begin a second after the other.
        let tail = scope.spawn(|| floor.raw("tail --secs 1.5 --warm 0 --max 65536"));
        let (ok, produced) = floor.raw("produce --secs 1.5 --warm 0 --rate 1 --stamp");
        assert!(ok, "{produced:?}");
        tail.join().expect("it ends")
    });
    let tail = tail.1.expect("a line of JSON");
    assert!(tail["end_to_end"]["batches"].as_u64() > Some(0), "{tail}");
    assert!(tail["end_to_end"]["max_us"].as_u64() < Some(60_000_000), "{tail}");
}

#[test]
fn a_broker_that_is_not_there_is_said_in_one_line() {
    // Nothing listens on port 1. A port that was just free may still be listened on, by a child that another test is starting.
    let addr = "127.0.0.1:1";
    let ran =
        Command::new(PROGRAM).args(["raw", "produce", "--topic", "t", "--broker", addr]).output().expect("it runs");
    assert!(!ran.status.success());
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.starts_with(&format!("error: {addr}: cannot connect")), "{said}");
}
