//! A log behaves like a list of batches, whatever is done to it in whatever order.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use common::{Bench, DAY, NOW, batch_at, close, drive, records_from, sync};
use kringle_log::{Acks, LogConfig, PartitionLog, Upto};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Append { count: i64, bytes: usize, all: bool, timestamp: i64 },
    Drive,
    Sync,
    Read { at: f64, max_bytes: usize },
    ByTime { at: f64 },
    DeleteRecords { at: f64 },
    Retention { days: i64 },
    StopAndStart,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (1..20i64, 0..300usize, any::<bool>(), 0..20i64)
            .prop_map(|(count, bytes, all, day)| Op::Append { count, bytes, all, timestamp: NOW + day * DAY }),
        4 => Just(Op::Drive),
        2 => Just(Op::Sync),
        4 => (0.0..1.1, 0..3000usize).prop_map(|(at, max_bytes)| Op::Read { at, max_bytes }),
        2 => (0.0..1.1).prop_map(|at| Op::ByTime { at }),
        1 => (0.0..1.1).prop_map(|at| Op::DeleteRecords { at }),
        1 => (0..20i64).prop_map(|days| Op::Retention { days }),
        1 => Just(Op::StopAndStart),
        1 => Just(Op::Crash),
    ]
}

/// What the log must be: the records' timestamps by offset.
#[derive(Default)]
struct Model {
    timestamps: Vec<i64>,
    /// Records that are written; the rest is staged.
    written: usize,
    durable: usize,
    log_start: usize,
    /// First offsets of acks=all batches.
    all: Vec<usize>,
}

impl Model {
    fn high_watermark(&self) -> usize {
        let undurable = self.all.iter().copied().find(|offset| *offset >= self.durable);
        self.written.min(undurable.unwrap_or(usize::MAX))
    }

    fn offset(&self, at: f64) -> i64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any number near will do")]
        let offset = (at * self.written as f64) as i64;
        offset
    }

    fn lose_staged(&mut self) {
        self.timestamps.truncate(self.written);
        self.durable = self.written;
        self.all.clear();
    }
}

fn as_offset(at: usize) -> i64 {
    i64::try_from(at).unwrap()
}

fn check(log: &PartitionLog, model: &Model) {
    assert_eq!(log.log_start_offset(), as_offset(model.log_start));
    assert_eq!(log.high_watermark(), as_offset(model.high_watermark()));
    assert_eq!(log.log_end_offset(), as_offset(model.written));
    assert_eq!(log.staged_end_offset(), as_offset(model.timestamps.len()));
}

fn read(log: &PartitionLog, model: &Model, from: i64, max_bytes: usize) {
    let (start, end) = (as_offset(model.log_start), as_offset(model.written));
    if from < start || from > end {
        assert!(log.read(from, max_bytes, Upto::HighWatermark, true).is_err());
        return;
    }
    let slice = log.read(from, max_bytes, Upto::HighWatermark, true).unwrap();
    assert!(slice.len <= max_bytes.max(slice.first_batch_len));
    assert_eq!(slice.file.is_some(), from < as_offset(model.high_watermark()));
    let seen = records_from(log, from, Upto::HighWatermark);
    let first = usize::try_from(from).unwrap();
    let expected: Vec<(i64, i64)> =
        (first..model.high_watermark()).map(|offset| (as_offset(offset), model.timestamps[offset])).collect();
    assert_eq!(seen, expected);
}

fn run(ops: Vec<Op>) {
    let mut bench = Bench::new(LogConfig {
        segment_bytes: 4000,
        segment_ms: 7 * DAY,
        index_interval_bytes: 500,
        retention_ms: 10 * DAY,
        retention_bytes: -1,
        timestamp_after_max_ms: i64::MAX,
        ..LogConfig::default()
    });
    let mut log = bench.open();
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Append { count, bytes, all, timestamp } => {
                let acks = if all { Acks::All } else { Acks::Leader };
                let batch = batch_at(timestamp, count, bytes.min(3500 / usize::try_from(count).unwrap()));
                let appended = log.append(batch, 1, acks, NOW).unwrap();
                assert_eq!(appended.base_offset, as_offset(model.timestamps.len()));
                if all {
                    model.all.push(model.timestamps.len());
                }
                model.timestamps.extend((0..count).map(|i| timestamp + i));
            }
            Op::Drive => {
                drive(&mut log);
                model.written = model.timestamps.len();
            }
            Op::Sync => {
                sync(&mut log);
                model.durable = model.written;
            }
            Op::Read { at, max_bytes } => read(&log, &model, model.offset(at), max_bytes),
            Op::ByTime { at } => {
                let timestamp = NOW + model.offset(at).rem_euclid(20) * DAY;
                let found = log.reader().find_by_timestamp(timestamp).unwrap().map(|found| found.offset);
                let expected = (model.log_start..model.written).find(|offset| model.timestamps[*offset] >= timestamp);
                assert_eq!(found, expected.map(as_offset));
            }
            Op::DeleteRecords { at } => {
                let offset = model.offset(at);
                let result = log.delete_records_before(offset);
                assert_eq!(result.is_ok(), offset <= as_offset(model.high_watermark()));
                if result.is_ok() {
                    model.log_start = model.log_start.max(usize::try_from(offset).unwrap());
                }
            }
            Op::Retention { days } => {
                let now_ms = NOW + days * DAY;
                for job in log.retention(now_ms) {
                    job.rename(&bench.fs).unwrap();
                    job.remove(&bench.fs).unwrap();
                }
                // How far it goes is `retention.rs`'s to test; here: only what is old goes.
                let start = usize::try_from(log.log_start_offset()).unwrap();
                let gone = &model.timestamps[model.log_start..start];
                assert!(gone.iter().all(|timestamp| now_ms - timestamp > 10 * DAY) && start <= model.high_watermark());
                model.log_start = start;
            }
            Op::StopAndStart => {
                drive(&mut log);
                model.written = model.timestamps.len();
                bench.log_start = Some(log.log_start_offset());
                close(log);
                model.lose_staged();
                log = bench.open();
            }
            Op::Crash => {
                bench.log_start = Some(log.log_start_offset());
                let recovery_point = log.recovery_point();
                drop(log);
                model.lose_staged();
                log = bench.recover(recovery_point);
            }
        }
        check(&log, &model);
    }
    read(&log, &model, as_offset(model.log_start), 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_log_is_a_list_of_batches(ops in prop::collection::vec(op(), 1..80)) {
        run(ops);
    }
}
