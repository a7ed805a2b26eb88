//! What is deleted when, and what readers of it see.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use common::{Bench, DAY, NOW, batch_at, close, drive, offsets_from, sync};
use kringle_log::{Acks, LogConfig, PartitionLog, Upto};

/// Ten segments of two batches of five records; segment `i` has timestamps around `NOW + i` days.
fn ten_segments(config: LogConfig) -> (Bench, PartitionLog, u64) {
    let one = batch_at(NOW, 5, 100).bytes.len();
    let segment_bytes = u32::try_from(2 * one).unwrap();
    let bench = Bench::new(LogConfig { segment_bytes, segment_ms: i64::MAX, ..config });
    let mut log = bench.open();
    for i in 0..20 {
        log.append(batch_at(NOW + i / 2 * DAY, 5, 100), 0, Acks::Leader, NOW).unwrap();
    }
    drive(&mut log);
    assert_eq!(log.segments(), 10);
    (bench, log, u64::from(segment_bytes))
}

fn delete(log: &mut PartitionLog, now_ms: i64) -> usize {
    let mut count = 0;
    loop {
        for job in log.retention(now_ms) {
            count += job.base_offsets().len();
            job.rename(log.fs()).unwrap();
            job.remove(log.fs()).unwrap();
        }
        drive(log);
        if !log.retention_pending(now_ms) {
            return count;
        }
    }
}

#[test]
fn old_segments_go_by_time_and_the_active_one_too() {
    let (bench, mut log, _) = ten_segments(LogConfig { retention_ms: DAY, ..LogConfig::default() });
    assert_eq!(delete(&mut log, NOW + 4 * DAY), 3);
    assert_eq!((log.log_start_offset(), log.segments()), (30, 7));
    assert_eq!(offsets_from(&log, 30).len(), 70);
    assert!(log.read(29, 1, Upto::HighWatermark, true).is_err());
    assert_eq!(delete(&mut log, NOW + 100 * DAY), 7);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segments()), (100, 100, 1));
    assert_eq!(bench.names_of(".log"), ["00000000000000000100.log"]);
    assert_eq!(delete(&mut log, NOW + 200 * DAY), 0, "an empty segment stays");
    close(log);
    let log = bench.open();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (100, 100));
}

#[test]
fn old_segments_go_by_size_while_the_log_stays_large_enough() {
    let retention_ms = -1;
    let (_bench, mut log, segment) = ten_segments(LogConfig { retention_ms, ..LogConfig::default() });
    let bytes = |segments: u64| i64::try_from(segments * segment).unwrap();
    for (retention_bytes, left) in [(bytes(10), 10), (bytes(7) + 1, 8), (bytes(7), 7), (1, 1), (0, 1)] {
        log.set_config(LogConfig { retention_bytes, ..log.config().clone() });
        delete(&mut log, NOW);
        assert_eq!(log.segments(), left, "{retention_bytes}");
    }
    assert_eq!(log.log_start_offset(), 100, "retention.bytes=0 empties the log");
}

#[test]
fn what_is_not_below_the_high_watermark_stays() {
    let (_bench, mut log, _) = ten_segments(LogConfig { retention_ms: DAY, ..LogConfig::default() });
    log.append(batch_at(NOW, 5, 100), 0, Acks::All, NOW).unwrap();
    drive(&mut log);
    assert_eq!(log.high_watermark(), 100);
    assert_eq!(delete(&mut log, NOW + 100 * DAY), 10);
    assert_eq!(log.segments(), 1);
    sync(&mut log);
    assert_eq!(delete(&mut log, NOW + 100 * DAY), 1);
}

#[test]
fn delete_records_moves_the_start_within_bounds_and_survives_a_restart() {
    let (mut bench, mut log, _) = ten_segments(LogConfig { retention_ms: -1, delete: false, ..LogConfig::default() });
    assert!(log.delete_records_before(101).is_err() && log.delete_records_before(-2).is_err());
    assert_eq!(log.delete_records_before(37).unwrap(), 37);
    assert_eq!(log.delete_records_before(12).unwrap(), 37, "it never goes back");
    assert_eq!(offsets_from(&log, 37)[0], 37);
    assert_eq!(delete(&mut log, NOW), 3, "also without cleanup.policy=delete");
    assert_eq!((log.epoch_at(40), log.epoch_of_log_start()), (Some(0), Some(0)));
    close(log);
    bench.log_start = Some(37);
    let mut log = bench.open();
    assert_eq!(log.log_start_offset(), 37);
    assert_eq!(log.delete_records_before(-1).unwrap(), 100);
}

#[test]
fn a_reader_keeps_what_is_deleted_under_it() {
    let (_bench, mut log, segment) = ten_segments(LogConfig { retention_ms: 0, ..LogConfig::default() });
    let slice = log.read(0, usize::MAX, Upto::HighWatermark, true).unwrap();
    assert_eq!(delete(&mut log, NOW + 100 * DAY), 10);
    let mut bytes = vec![0; slice.len];
    slice.file.unwrap().read_exact_at(&mut bytes, slice.position).unwrap();
    assert_eq!(bytes.len() as u64, segment);
    assert_eq!(kringle_log::batches(&bytes).filter(Result::is_ok).count(), 2);
}
