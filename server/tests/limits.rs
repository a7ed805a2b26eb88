//! The limits of connections, frames and memory, and what the admin listener says about them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kringle_log::Compression;
use kringle_protocol::messages::*;
use support::{Client, TestBroker, batch, produce_request, raw_request, still_answers};

const ADMIN: &str = "kringle.admin.listener=127.0.0.1:0";

/// Tries until it is true, for a while.
#[allow(clippy::disallowed_methods, reason = "tests use the system's clock")]
fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::yield_now();
    }
}

fn ask_something(client: &mut Client) {
    assert_eq!(client.call(1, &MetadataRequest { topics: Some(Vec::new()), ..Default::default() }).controller_id, 1);
}

#[test]
fn above_max_connections_who_comes_waits_until_another_goes() {
    let broker = TestBroker::start_with(&["max.connections=2"]);
    let (mut first, mut second) = (broker.connect(), broker.connect());
    ask_something(&mut first);
    ask_something(&mut second);
    let mut third = broker.connect();
    let frame = third.frame(0, &ApiVersionsRequest::default());
    third.send(&frame);
    for _ in 0..100 {
        ask_something(&mut first);
    }
    assert!(third.has_heard_nothing(), "a third is served");
    drop(second);
    assert!(third.receive().is_some(), "there is room now");
}

#[test]
fn above_max_connections_per_ip_who_comes_is_closed() {
    let broker = TestBroker::start_with(&["max.connections.per.ip=2", ADMIN]);
    let (mut first, mut second) = (broker.connect(), broker.connect());
    ask_something(&mut first);
    ask_something(&mut second);
    let mut third = broker.connect();
    assert!(third.is_closed());
    assert_eq!(broker.metric("kringle_connections_refused_total"), [1.0]);
    ask_something(&mut first);
    drop(second);
    eventually("another is served", || {
        let mut client = broker.connect();
        let frame = client.frame(0, &ApiVersionsRequest::default());
        client.send(&frame);
        client.receive().is_some()
    });
}

#[test]
fn a_connection_without_a_request_is_closed_and_one_that_waits_for_an_answer_is_not() {
    let broker = TestBroker::start_with(&["connections.max.idle.ms=300", "num.partitions=1"]);
    let mut busy = broker.connect();
    busy.create_topic("t", 1);
    let mut idle = broker.connect();
    ask_something(&mut idle);
    // Two and a half times as long as a connection may be idle: had it been closed, there would be no answer.
    let (error, _, records) = busy.fetch("t", 0, 0, 750);
    assert_eq!((error, records.len()), (0, 0));
    assert!(idle.is_closed());
}

#[test]
fn a_frame_of_the_greatest_length_is_read_and_a_longer_one_closes_the_connection() {
    let broker = TestBroker::start_with(&["socket.request.max.bytes=1000", ADMIN]);
    // ApiVersions v0 has no body: what follows is not looked at.
    let header = raw_request(18, 0, &[]).len() - 4;
    let mut client = broker.connect();
    client.send(&raw_request(18, 0, &vec![0; 1000 - header]));
    assert!(client.receive().is_some(), "1000 bytes are not too many");
    client.send(&raw_request(18, 0, &vec![0; 1001 - header]));
    assert!(client.is_closed(), "1001 bytes are");
    still_answers(&broker);
    let closed: f64 = broker.metric("kringle_connections_closed_for_bad_input_total").iter().sum();
    assert_eq!(closed, 1.0);
}

#[test]
fn over_the_memory_budget_readers_wait_and_everyone_is_answered() {
    const BUDGET: usize = 16 << 20;
    const SHARDS: usize = 2;
    const CLIENTS: i32 = 8;
    let settings = [&format!("kringle.memory.budget.bytes={BUDGET}"), "message.max.bytes=6000000", ADMIN];
    let broker = TestBroker::start_with(&settings);
    broker.connect().create_topic("t", CLIENTS);
    let records = batch(Compression::None, &[&vec![7; 5_000_000]]);
    let go = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for partition in 0..CLIENTS {
            let (broker, records, go) = (&broker, records.clone(), &go);
            scope.spawn(move || produce_in_two_parts(broker, partition, records, go));
        }
        let waits = || broker.metric("kringle_request_memory_waits_total");
        eventually("a reader of each shard waits", || waits().iter().all(|count| *count >= 1.0));
        // Nobody has sent a whole request yet: all this memory is half-read frames.
        for held in broker.metric("kringle_request_memory_bytes") {
            let most = BUDGET / SHARDS + records.len() + 1000;
            assert!(held > 5_000_000.0 && held <= f64::from(u32::try_from(most).expect("small")), "{held} of {most}");
        }
        still_answers(&broker);
        go.store(true, Ordering::Relaxed);
    });
    eventually("all memory is given back", || {
        broker.metric("kringle_request_memory_bytes").iter().all(|held| *held == 0.0)
    });
}

/// All but the last byte, then, when it is time, that one. The broker reads only as far as it has memory.
fn produce_in_two_parts(broker: &TestBroker, partition: i32, records: Bytes, go: &AtomicBool) {
    let mut client = broker.connect();
    let frame = client.frame(9, &produce_request("t", partition, -1, records));
    let (most, last) = frame.split_at(frame.len() - 1);
    client.send(most);
    eventually("it is time", || go.load(Ordering::Relaxed));
    client.send(last);
    let answer = client.receive().expect("an answer");
    let response = client.decode::<ProduceRequest>(9, answer);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[test]
fn health_says_that_all_shards_answer() {
    let broker = TestBroker::start_with(&[ADMIN]);
    let answer = broker.http("/health");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok: 2 shards answer\n"), "{answer}");
    assert!(broker.http("/nothing").starts_with("HTTP/1.1 404 "));
}

#[test]
fn metrics_are_prometheus_text() {
    let broker = TestBroker::start_with(&[ADMIN]);
    let mut client = broker.connect();
    client.create_topic("t", 1);
    client.produce("t", 0, -1, batch(Compression::None, &[b"one", b"two"]));
    client.fetch("t", 0, 0, 100);
    let answer = broker.http("/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    let families = parse(body);
    let total = |name: &str| -> f64 { families[name].samples.values().sum() };
    assert_eq!((total("kringle_records_in_total"), total("kringle_batches_in_total")), (2.0, 1.0));
    assert_eq!(families["kringle_produce_us"].kind, "histogram");
    let produced = families["kringle_produce_us"].samples.iter().filter(|(name, _)| name.contains("_count{"));
    assert_eq!(produced.map(|(_, value)| *value).sum::<f64>(), 1.0);
}

/// One metric of the text.
#[derive(Default)]
struct Family {
    kind: String,
    /// By name and labels.
    samples: BTreeMap<String, f64>,
}

/// Reads the text format as strictly as Prometheus does: each metric once and in one piece, its kind before its samples,
/// counters that end in `_total`, histograms whose buckets grow and end with the count.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut described = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, meaning) = rest.split_once(' ').expect("a meaning");
            assert!(!meaning.trim().is_empty() && described.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(["counter", "gauge", "histogram"].contains(&kind) && described.contains(name), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = name.to_owned();
            let family = Family { kind: kind.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let name = sample.split('{').next().expect("a name");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
            let family = families.get_mut(&current).expect("a sample follows its type");
            let suffix = name.strip_prefix(&current).expect("a sample is of the metric before it");
            let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            let number: f64 = value.parse().expect("a number");
            assert!(family.samples.insert(sample.to_owned(), number).is_none(), "twice: {line}");
        }
    }
    for (name, family) in families.iter().filter(|(_, family)| family.kind == "histogram") {
        let counts = family.samples.iter().filter(|(sample, _)| sample.starts_with(&format!("{name}_count{{")));
        for (sample, count) in counts {
            let shard = sample.trim_start_matches(&format!("{name}_count{{")).trim_end_matches('}');
            check_buckets(text, &format!("{name}_bucket{{{shard},le=\""), *count);
        }
    }
    families
}

fn check_buckets(text: &str, prefix: &str, count: f64) {
    let buckets = text.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once("\"} "));
    let buckets: Vec<(f64, f64)> =
        buckets.map(|(bound, count)| (bound.parse().expect("a bound"), count.parse().expect("a count"))).collect();
    assert!(buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1), "{prefix}: {buckets:?}");
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{prefix}");
}

/// Sizes around every threshold of the reader, several times over, in an order that mixes them.
fn sizes_of_frames() -> Vec<usize> {
    let edges =
        [1, 100, 4095, 4096, 4097, 5000, 16_500, 65_535, 65_536, 65_537, 131_068, 131_072, 131_077, 262_144, 300_000];
    (0..edges.len() * 8).map(|n| edges[n * 7 % edges.len()] + n % 5).collect()
}

fn pipeline(mut client: Client, pieces: usize) {
    let sizes = sizes_of_frames();
    let sent: Vec<u8> = sizes.iter().flat_map(|size| raw_request(18, 0, &vec![0; *size])).collect();
    let mut sender = client.clone_sender();
    let writing = std::thread::spawn(move || {
        for (at, piece) in sent.chunks(pieces).enumerate() {
            sender.send(piece);
            if at.is_multiple_of(3) {
                std::thread::yield_now();
            }
        }
    });
    for (number, size) in sizes.iter().enumerate() {
        assert!(client.receive().is_some(), "frame {number} of {size} bytes is answered");
    }
    writing.join().expect("written");
    assert!(client.has_heard_nothing(), "each frame is answered once");
}

#[test]
fn pipelined_frames_of_any_size_cut_anywhere_are_each_answered() {
    let broker = TestBroker::start();
    for pieces in [777, 4096, 50_000, 131_072, 1_000_003] {
        pipeline(broker.connect(), pieces);
    }
}

#[test]
fn connections_that_pipeline_over_the_memory_budget_wait_for_each_other_and_not_for_themselves() {
    let broker = TestBroker::start_with(&["kringle.memory.budget.bytes=16777216", "kringle.shards=1", ADMIN]);
    let sizes = [5000, 5000, 60_000, 60_000, 60_000];
    let sent: Vec<u8> = sizes.iter().flat_map(|size| raw_request(18, 0, &vec![0; *size])).collect();
    let (begun, rest) = sent.split_at(sent.len() - 70_000);
    let go = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..200 {
            let mut client = broker.connect();
            let go = &go;
            scope.spawn(move || {
                client.send(begun);
                eventually("it is time", || go.load(Ordering::Relaxed));
                client.send(rest);
                for size in sizes {
                    assert!(client.receive().is_some(), "a frame of {size} bytes is answered");
                }
            });
        }
        eventually("somebody waits for memory", || {
            broker.metric("kringle_request_memory_waits_total").iter().sum::<f64>() > 0.0
        });
        go.store(true, Ordering::Relaxed);
    });
}
