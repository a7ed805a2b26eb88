//! Segments roll; retention and DeleteRecords move the start of a log; a restart and a kill leave it where it was.
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kringle_log::{BatchBuilder, Compression, batches};
use kringle_protocol::ErrorCode;
use kringle_protocol::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kringle_protocol::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kringle_protocol::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kringle_protocol::messages::*;
use support::{Client, TestBroker, now_ms};

/// Looks for what may go as often as the broker can.
const EAGER: &[&str] = &["log.retention.check.interval.ms=1", "log.initial.task.delay.ms=0"];
/// The smallest size of a segment that a topic may ask for, and a record of which two do not fit in.
const SEGMENT_BYTES: usize = 1 << 20;
const RECORD_BYTES: usize = 600_000;
const HOUR_MS: i64 = 3_600_000;
const EARLIEST: i64 = -2;

/// A record that fills most of a segment.
fn large(timestamp_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(timestamp_ms, None, Some(&vec![b'x'; RECORD_BYTES]), &[]);
    builder.build(0, -1)
}

fn create(client: &mut Client, name: &str, configs: &[(&str, String)]) {
    let mut configs: Vec<_> = configs.iter().map(|(name, value)| (*name, value.clone())).collect();
    configs.push(("segment.bytes", SEGMENT_BYTES.to_string()));
    let configs =
        configs.into_iter().map(|(name, value)| CreatableTopicConfig { name: name.to_owned(), value: Some(value) });
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        configs: configs.collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(client.call(7, &request).topics[0].error_code, 0);
}

fn log_start(client: &mut Client, topic: &str) -> i64 {
    let asked = ListOffsetsPartition { partition_index: 0, timestamp: EARLIEST, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![asked] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let response = client.call(5, &request);
    let answer = &response.topics[0].partitions[0];
    assert_eq!(answer.error_code, 0);
    answer.offset
}

/// The base offsets of the segments on disk, without those renamed for deletion.
fn segments(dir: &Path, topic: &str) -> Vec<i64> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir.join(format!("{topic}-0"))).expect("the log's directory") {
        let name = entry.expect("readable").file_name().into_string().expect("a name");
        found.extend(name.strip_suffix(".log").map(|base| base.parse::<i64>().expect("an offset")));
    }
    found.sort_unstable();
    found
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < patience, "{what} does not come");
        std::thread::yield_now();
    }
}

/// The log begins at `start` and is readable from there to its end at `end`; before it there is nothing.
fn check(broker: &TestBroker, topic: &str, start: i64, end: i64) {
    let mut client = broker.connect();
    assert_eq!(log_start(&mut client, topic), start, "{topic}");
    assert_eq!(client.high_watermark(topic, 0), end, "{topic}");
    if start > 0 {
        let out_of_range = i16::from(ErrorCode::OFFSET_OUT_OF_RANGE);
        assert_eq!(client.fetch(topic, 0, start - 1, 0).0, out_of_range, "{topic}");
    }
    let mut at = start;
    while at < end {
        let (error, _, bytes) = client.fetch(topic, 0, at, 0);
        assert_eq!(error, 0, "{topic} at {at}");
        let first = batches(&bytes).next().expect("a batch").expect("a whole one");
        assert!(first.base_offset <= at && at <= first.last_offset(), "{topic} at {at}");
        at = batches(&bytes).last().expect("a batch").expect("a whole one").next_offset();
    }
}

/// After a restart, and after a kill, the same log start and the same records.
fn check_for_good(broker: TestBroker, home: &Path, logs: &[(&str, i64, i64)]) {
    let all = |broker: &TestBroker| logs.iter().for_each(|(topic, start, end)| check(broker, topic, *start, *end));
    all(&broker);
    assert!(broker.stop());
    let broker = TestBroker::start_on(home, EAGER);
    all(&broker);
    broker.kill();
    let broker = TestBroker::start_on(home, EAGER);
    all(&broker);
    // The first start that had nothing but the directory of a killed broker leaves one that a second finds as good.
    broker.kill();
    all(&TestBroker::start_on(home, EAGER));
}

#[test]
fn a_full_segment_rolls_and_all_of_them_are_read() {
    let home = tempfile::tempdir().expect("a directory");
    let broker = TestBroker::start_on(home.path(), EAGER);
    let mut client = broker.connect();
    create(&mut client, "rolls", &[]);
    for offset in 0..5 {
        assert_eq!(client.produce("rolls", 0, -1, large(now_ms())), (0, offset));
    }
    assert_eq!(segments(home.path(), "rolls"), [0, 1, 2, 3, 4]);
    check_for_good(broker, home.path(), &[("rolls", 0, 5)]);
}

#[test]
fn retention_by_size_keeps_the_newest_segments() {
    let home = tempfile::tempdir().expect("a directory");
    let broker = TestBroker::start_on(home.path(), EAGER);
    let mut client = broker.connect();
    create(&mut client, "sized", &[("retention.bytes", (2 * RECORD_BYTES).to_string())]);
    for offset in 0..6 {
        assert_eq!(client.produce("sized", 0, -1, large(now_ms())), (0, offset));
    }
    // A segment goes if what stays is at least as large as the limit.
    wait_until("retention by size", || segments(home.path(), "sized") == [4, 5]);
    check_for_good(broker, home.path(), &[("sized", 4, 6)]);
}

#[test]
fn retention_by_time_takes_what_is_old_and_leaves_what_is_young() {
    let home = tempfile::tempdir().expect("a directory");
    let broker = TestBroker::start_on(home.path(), EAGER);
    let mut client = broker.connect();
    let hour = [("retention.ms", HOUR_MS.to_string())];
    create(&mut client, "aged", &hour);
    create(&mut client, "old", &hour);
    for offset in 0..3 {
        assert_eq!(client.produce("aged", 0, -1, large(now_ms() - 2 * HOUR_MS)), (0, offset));
        assert_eq!(client.produce("old", 0, -1, large(now_ms() - 2 * HOUR_MS)), (0, offset));
    }
    assert_eq!(client.produce("aged", 0, -1, large(now_ms())), (0, 3));
    wait_until("retention by time", || segments(home.path(), "aged") == [3]);
    // Where all is old the active segment goes too: the log is empty, and goes on where it was.
    wait_until("retention of the active segment", || segments(home.path(), "old") == [3]);
    check_for_good(broker, home.path(), &[("aged", 3, 4), ("old", 3, 3)]);
}

#[test]
fn deleted_records_stay_deleted_and_their_segments_go() {
    let home = tempfile::tempdir().expect("a directory");
    let broker = TestBroker::start_on(home.path(), EAGER);
    let mut client = broker.connect();
    create(&mut client, "cut", &[]);
    for i in 0..3 {
        assert_eq!(client.produce("cut", 0, -1, large(now_ms())), (0, 11 * i));
        let values: Vec<&[u8]> = vec![b"small"; 10];
        assert_eq!(client.produce("cut", 0, -1, support::batch(Compression::Zstd, &values)), (0, 11 * i + 1));
    }
    // Inside a batch of the second segment.
    let asked = DeleteRecordsPartition { partition_index: 0, offset: 15 };
    let topic = DeleteRecordsTopic { name: "cut".to_owned(), partitions: vec![asked] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 };
    let response = client.call(2, &request);
    let answer = &response.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.low_watermark), (0, 15));
    assert_eq!(log_start(&mut client, "cut"), 15, "at once");
    // Nothing but the answer was waited for: the start must be on disk by then.
    broker.kill();
    let broker = TestBroker::start_on(home.path(), EAGER);
    check(&broker, "cut", 15, 33);
    wait_until("the first segment's end", || segments(home.path(), "cut") == [11, 22]);
    check_for_good(broker, home.path(), &[("cut", 15, 33)]);
}
