//! Look-ups by time: what ListOffsets asks.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use common::{Bench, NOW, batch_at, close, drive, valid};
use kringle_log::{Acks, BatchBuilder, Compression, LogConfig, PartitionLog, batches};

fn found(log: &PartitionLog, timestamp: i64) -> Option<(i64, i64)> {
    log.reader().find_by_timestamp(timestamp).unwrap().map(|found| (found.offset, found.timestamp))
}

#[test]
fn the_first_record_at_or_after_a_time_is_found_within_its_batch() {
    let config =
        LogConfig { segment_bytes: 2000, segment_ms: i64::MAX, index_interval_bytes: 200, ..LogConfig::default() };
    let bench = Bench::new(config);
    let mut log = bench.open();
    for i in 0..50 {
        log.append(batch_at(NOW + i * 100, 4, 10), 3, Acks::Leader, NOW).unwrap();
    }
    drive(&mut log);
    assert!(log.segments() > 3);
    let check = |log: &PartitionLog| {
        assert_eq!(found(log, 0), Some((0, NOW)));
        for i in [0, 1, 7, 20, 33, 49] {
            for k in 0..4 {
                assert_eq!(found(log, NOW + i * 100 + k), Some((i * 4 + k, NOW + i * 100 + k)));
            }
            let next = (i < 49).then_some(((i + 1) * 4, NOW + (i + 1) * 100));
            assert_eq!(found(log, NOW + i * 100 + 4), next);
        }
        let newest = log.reader().max_timestamp().unwrap().unwrap();
        assert_eq!((newest.offset, newest.timestamp, newest.leader_epoch), (199, NOW + 4903, 3));
    };
    check(&log);
    log.delete_records_before(22).unwrap();
    assert_eq!(found(&log, 0), Some((22, NOW + 502)), "not before the log start");
    close(log);
    check(&bench.open());
}

#[test]
fn the_disk_is_asked_once_for_the_newest_time_of_a_sealed_segment() {
    let bench = Bench::new(LogConfig { segment_bytes: 1000, segment_ms: i64::MAX, ..LogConfig::default() });
    let mut log = bench.open();
    for i in 0..50 {
        log.append(batch_at(NOW - i, 1, 100), 0, Acks::Leader, NOW).unwrap();
    }
    drive(&mut log);
    close(log);
    let log = bench.open();
    let newest = log.reader().max_timestamp().unwrap().unwrap();
    assert_eq!((newest.offset, newest.timestamp), (0, NOW));
    bench.fs.remove_file(bench.path("00000000000000000000.timeindex")).unwrap();
    assert_eq!(log.reader().max_timestamp().unwrap().unwrap(), newest, "another picture of the same log");
}

#[test]
fn times_that_go_back_still_find_the_first_record_late_enough() {
    let bench = Bench::new(LogConfig { index_interval_bytes: 0, ..LogConfig::default() });
    let mut log = bench.open();
    for timestamp in [50, 10, 70, 20, 70, 60] {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        builder.append(NOW + timestamp, None, Some(b"v"), &[]);
        log.append(valid(builder.build(0, -1)), 0, Acks::Leader, NOW).unwrap();
        drive(&mut log);
    }
    assert_eq!(found(&log, NOW + 5), Some((0, NOW + 50)));
    assert_eq!(found(&log, NOW + 51), Some((2, NOW + 70)));
    assert_eq!(found(&log, NOW + 71), None);
    let newest = log.reader().max_timestamp().unwrap().unwrap();
    assert_eq!(newest.offset, 2, "the first with the newest timestamp");
}

#[test]
fn a_log_without_records_or_timestamps_finds_nothing() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    assert_eq!(found(&log, 0), None);
    assert!(log.reader().max_timestamp().unwrap().is_none());
    log.append(batch_at(-1, 1, 1), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    assert_eq!(found(&log, 0), None);
    assert!(log.reader().max_timestamp().unwrap().is_none());
}

#[test]
fn batches_are_read_through_for_those_who_load_a_partition() {
    let bench = Bench::new(LogConfig { segment_bytes: 1000, ..LogConfig::default() });
    let mut log = bench.open();
    for _ in 0..40 {
        log.append(batch_at(NOW, 3, 20), 0, Acks::Leader, NOW).unwrap();
    }
    drive(&mut log);
    let reader = log.reader();
    for max_bytes in [0, 300, 1 << 20] {
        let (mut from, mut seen) = (4, Vec::new());
        loop {
            let bytes = reader.read_batches(from, 99, max_bytes).unwrap();
            let Some(last) = batches(&bytes).map(Result::unwrap).inspect(|batch| seen.push(batch.base_offset)).last()
            else {
                break;
            };
            from = last.next_offset();
        }
        assert_eq!(seen, (1..33).map(|i| i * 3).collect::<Vec<i64>>());
    }
}
