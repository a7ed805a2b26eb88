//! Every workload for a moment against a real broker: what it counts is what the broker holds.
#![allow(clippy::disallowed_methods, reason = "a test of programs, outside the simulated world")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use kringle::broker::{self, Broker};
use kringle::config::BrokerConfig;
use kringle_client::{Connection, Versions};
use kringle_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kringle_protocol::messages::ListOffsetsRequest;
use kringle_runtime::{Host, RealOptions, block_on};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kringle-bench");
const PARTITIONS: i32 = 3;

/// A broker in this process, on a free port and a directory of its own.
struct TestBroker {
    host: Host,
    broker: Broker,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

/// What a run printed and wrote.
struct Ran {
    output: Output,
    report: Value,
    page: String,
}

impl TestBroker {
    fn start() -> TestBroker {
        let dir = tempfile::tempdir().unwrap();
        let settings = [
            ("listeners", "PLAINTEXT://127.0.0.1:0".to_owned()),
            ("log.dirs", dir.path().join("data").display().to_string()),
            ("kringle.shards", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("offsets.topic.num.partitions", "2".to_owned()),
        ];
        let overrides: Vec<_> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = BrokerConfig::load(None, &overrides).unwrap().config;
        let host = Host::real(RealOptions::default()).unwrap();
        let mut broker = broker::start(&host, config).unwrap();
        let started = block_on(broker.started()).unwrap();
        TestBroker { host, broker, address: started.listeners[0].1, dir }
    }

    /// Runs a workload for 0.2 s and takes its reports.
    fn run(&self, words: &str) -> Ran {
        let (json, page) = (self.dir.path().join("report.json"), self.dir.path().join("report.html"));
        let mut command = Command::new(PROGRAM);
        command.args(words.split_ascii_whitespace()).args(["--broker", &self.address.to_string(), "--quiet"]);
        command.args(["--partitions", &PARTITIONS.to_string(), "--warmup", "40ms"]);
        if !words.contains("--duration") {
            command.args(["--duration", "160ms"]);
        }
        let output = command.arg("--json").arg(&json).arg("--html").arg(&page).output().unwrap();
        let report = serde_json::from_slice(&std::fs::read(&json).unwrap_or_default()).unwrap_or(Value::Null);
        Ran { output, report, page: std::fs::read_to_string(&page).unwrap_or_default() }
    }

    /// Records in a topic, by its offsets.
    fn holds(&self, topic: &str) -> i64 {
        let (address, topic) = (self.address, topic.to_owned());
        let (give, take) = mpsc::channel();
        let asking = self.host.start("ask", 9, None, move |rt| {
            Box::pin(async move {
                let connection = Connection::open(&rt, address, "test").await.unwrap();
                let version = Versions::ask(&connection).await.unwrap().best::<ListOffsetsRequest>().unwrap();
                let last =
                    |partition_index| ListOffsetsPartition { partition_index, timestamp: -1, ..Default::default() };
                let topic = ListOffsetsTopic { name: topic, partitions: (0..PARTITIONS).map(last).collect() };
                let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
                let answer = connection.call(version, &request).await.unwrap();
                give.send(answer.topics[0].partitions.iter().map(|partition| partition.offset).sum()).unwrap();
            })
        });
        asking.unwrap().join().unwrap();
        take.recv().unwrap()
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.broker.stopper().stop();
        block_on(self.broker.ended()).unwrap();
    }
}

impl Ran {
    fn succeeded(self) -> Ran {
        let (out, err) = (String::from_utf8_lossy(&self.output.stdout), String::from_utf8_lossy(&self.output.stderr));
        assert!(self.output.status.success(), "{out}\n{err}");
        assert_eq!(self.report["errors"], 0);
        self
    }

    /// Of a series of an outcome, warm-up and drain included.
    fn records(&self, outcome: usize, series: usize) -> i64 {
        self.report["outcomes"][outcome]["series"][series]["overall"]["records"].as_i64().unwrap()
    }
}

#[test]
fn every_acknowledged_record_is_in_the_broker() {
    let broker = TestBroker::start();
    let cases = [
        "--connections 2 --in-flight 3",
        "--acks 1 --threads 2 --connections 5 --compression zstd:3 --payload json --key-size 8",
        "--acks 0 --compression gzip --payload repeated",
        "--idempotent --rate 2000/s --linger 2ms --compression lz4",
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let topic = format!("produced-{index}");
        let ran = broker.run(&format!("produce --topic {topic} --size 100 {case}")).succeeded();
        let acknowledged = ran.records(0, 0);
        assert!(acknowledged > 0, "{case}");
        assert_eq!(acknowledged, broker.holds(&topic), "{case}");
    }
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let broker = TestBroker::start();
    let ran = broker.run("produce --topic paced --size 50 --rate 1000/s --connections 2 --duration 460ms").succeeded();
    let sent = ran.records(0, 0);
    assert!((499..=501).contains(&sent), "{sent}");
    let measured = ran.report["outcomes"][0]["series"][0]["latency"]["samples"].as_i64().unwrap();
    assert!((455..=465).contains(&measured), "{measured}");
}

#[test]
fn several_topics_share_the_load() {
    let broker = TestBroker::start();
    let ran = broker.run("produce --topic many --topics 2 --size 100").succeeded();
    assert_eq!(ran.records(0, 0), broker.holds("many") + broker.holds("many-1"));
    assert!(broker.holds("many-1") > 0);
}

#[test]
fn consume_reads_and_verifies_what_was_filled_in() {
    let broker = TestBroker::start();
    let ran = broker.run("consume --topic read --prefill 1MB --size 1000 --compression snappy --verify").succeeded();
    let held = broker.holds("read");
    assert!((1000..1100).contains(&held), "{held}");
    let series = &ran.report["outcomes"][0]["series"][0];
    assert!(ran.records(0, 0) > 0);
    assert_eq!(series["overall"]["payload_bytes"].as_i64().unwrap(), ran.records(0, 0) * 1000);
    assert!(series["latency"]["p50_us"].as_f64().unwrap() > 0.0);
}

#[test]
fn consumers_see_every_record_that_was_produced() {
    let broker = TestBroker::start();
    for (workload, consumers) in
        [("e2e", 1), ("e2e --rate 1000/s --threads 2 --connections 4", 1), ("fan-out -n 3 --rate 1000/s", 3)]
    {
        let topic = format!("flow-{}", workload.len());
        let ran = broker.run(&format!("{workload} --topic {topic} --size 100")).succeeded();
        let produced = ran.records(0, 0);
        assert!(produced > 0, "{workload}");
        assert_eq!(produced, broker.holds(&topic), "{workload}");
        let latency = |series: usize| &ran.report["outcomes"][0]["series"][series]["latency"];
        let samples = |series: usize| latency(series)["samples"].as_i64().unwrap();
        assert_eq!(samples(1), samples(0) * consumers, "{workload}");
        assert!(ran.records(0, 1) >= produced * consumers, "{workload}");
    }
}

#[test]
fn catch_up_measures_the_live_load_alone_and_beside_the_backlog() {
    let broker = TestBroker::start();
    let ran = broker.run("catch-up --topic live --size 500 --backlog 1MB --rate 500kB/s").succeeded();
    let (alone, beside) = (ran.records(0, 0), ran.records(1, 0));
    assert!(alone > 0 && beside > 0);
    assert!(broker.holds("live") >= 2000 + alone + beside);
    assert!(ran.records(1, 2) > 0, "nothing of the backlog was read");
}

#[test]
fn small_producers_each_have_a_connection() {
    let broker = TestBroker::start();
    let ran = broker.run("small-producers --topic small -n 40").succeeded();
    let series = &ran.report["outcomes"][0]["series"][0]["overall"];
    assert_eq!(series["records"], series["requests"], "each request has one record");
    assert_eq!(ran.records(0, 0), broker.holds("small"));
}

#[test]
fn members_join_commit_and_leave_without_errors() {
    let broker = TestBroker::start();
    let ran = broker
        .run("group-churn --topic group --groups 2 --members 2 --stay 150ms --heartbeat 10ms --duration 600ms")
        .succeeded();
    for series in ran.report["outcomes"][0]["series"].as_array().unwrap() {
        assert!(series["overall"]["requests"].as_i64().unwrap() > 0, "{}", series["name"]);
    }
}

#[test]
fn comparisons_have_an_outcome_for_each_step() {
    let broker = TestBroker::start();
    let names = |ran: &Ran| -> Vec<String> {
        let outcomes = ran.report["outcomes"].as_array().unwrap();
        outcomes.iter().map(|outcome| outcome["name"].as_str().unwrap().to_owned()).collect()
    };
    let sweep = broker.run("sweep --topic swept --steps 50 --duration 100ms").succeeded();
    assert_eq!(names(&sweep), ["peak", "50 %"]);
    let codecs = broker.run("codecs --duration 100ms --topic coded --codecs none,zstd:1 --payload json").succeeded();
    assert_eq!(names(&codecs), ["none", "zstd:1"]);
    let ratio = |index: usize| codecs.report["outcomes"][index]["compression_ratio"].as_f64().unwrap();
    assert!(ratio(0) == 1.0 && ratio(1) > 2.0, "{} {}", ratio(0), ratio(1));
    let sizes = broker.run("batch-sizes --duration 100ms --topic sized --sizes 1kB,32kB --size 100").succeeded();
    let wire = |index: usize| sizes.report["outcomes"][index]["batch_wire_bytes"].as_i64().unwrap();
    assert!(wire(0) <= 1000 && (30_000..=32_000).contains(&wire(1)), "{} {}", wire(0), wire(1));
    for ran in [sweep, codecs, sizes] {
        assert!(ran.page.matches("<svg viewBox").count() >= 4, "plots are missing");
    }
}

#[test]
fn the_page_loads_nothing_and_names_its_units() {
    let broker = TestBroker::start();
    let page = broker.run("produce --topic shown --label <b>mine</b>").succeeded().page;
    for reference in ["http", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe", "<b>mine"] {
        assert!(!page.contains(reference), "{reference}");
    }
    for wanted in
        ["<!doctype html>", "MB/s on the wire", "microseconds", "percentile", "aria-label", "prefers-color-scheme"]
    {
        assert!(page.contains(wanted), "{wanted}");
    }
}

#[test]
fn a_run_with_errors_says_so_first_and_fails() {
    let broker = TestBroker::start();
    let ran = broker.run("produce --topic narrow --topic-config max.message.bytes=1000");
    assert_eq!(ran.output.status.code(), Some(1));
    let printed = String::from_utf8(ran.output.stdout).unwrap();
    assert!(printed.starts_with("THIS RUN HAD "), "{printed}");
    assert!(printed.lines().nth(1).unwrap().contains("MESSAGE_TOO_LARGE"), "{printed}");
    assert!(ran.report["errors"].as_i64().unwrap() > 0);
    assert!(ran.page.contains("This run had "));
    assert_eq!(broker.holds("narrow"), 0);
}

/// Runs a workload, and interrupts it after a second and a half; what it printed, and its JSON.
fn interrupted(broker: &TestBroker, words: &str) -> (Output, Value) {
    let json = broker.dir.path().join("interrupted.json");
    let mut command = Command::new(PROGRAM);
    command.args(words.split_ascii_whitespace()).args(["--quiet", "--warmup", "100ms", "--size", "100"]);
    command.args(["--broker", &broker.address.to_string()]).arg("--json").arg(&json);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let pid = nix::unistd::Pid::from_raw(running.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGINT).unwrap();
    let output = running.wait_with_output().unwrap();
    (output, serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap())
}

#[test]
fn an_interrupted_run_reports_what_it_has() {
    let broker = TestBroker::start();
    for workload in ["produce", "e2e --rate 1000/s", "sweep --steps 50", "consume --prefill 1MB"] {
        let (output, report) = interrupted(&broker, &format!("{workload} --duration 60s"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(130), "{workload}: {out}{err}");
        assert!(out.starts_with("INTERRUPTED"), "{workload}: {out}");
        assert_eq!((&report["interrupted"], &report["errors"]), (&true.into(), &0.into()), "{workload}: {out}");
        assert_eq!(report["outcomes"].as_array().unwrap().len(), 1, "{workload}");
        let seconds = report["outcomes"][0]["seconds"].as_f64().unwrap();
        assert!((0.1..30.0).contains(&seconds), "{workload}: {seconds}");
        let series = &report["outcomes"][0]["series"][0];
        let (records, rate) =
            (series["measured"]["records"].as_f64().unwrap(), series["records_per_s"].as_f64().unwrap());
        assert!(
            records > 0.0 && (rate * seconds / records - 1.0).abs() < 0.01,
            "{workload}: {records} {rate} {seconds}"
        );
    }
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let broker = TestBroker::start();
    for (words, wanted) in [
        ("codecs -c zstd", "--codecs"),
        ("sweep --rate 1MB/s", "--steps"),
        ("batch-sizes --batch-bytes 1kB", "--sizes"),
        ("produce --broker-pid 4194305", "--broker-pid 4194305"),
        ("produce --metrics http://127.0.0.1:1/metrics", "--metrics"),
    ] {
        let ran = broker.run(words);
        let said = String::from_utf8_lossy(&ran.output.stderr);
        assert_eq!(ran.output.status.code(), Some(2), "{words}: {said}");
        assert!(said.contains(wanted) && said.lines().count() == 1, "{words}: {said}");
    }
    let unwritable = Command::new(PROGRAM).args(["produce", "--json", "/nowhere/x.json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unwritable.stderr).starts_with("error: /nowhere/x.json: "));
}

#[test]
fn without_a_broker_the_reason_is_one_line() {
    let ran = Command::new(PROGRAM).args(["produce", "-b", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.starts_with("error: no connection to ") && said.lines().count() == 1, "{said}");
}
