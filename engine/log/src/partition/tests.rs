use std::path::PathBuf;

use bytes::Bytes;
use kringle_runtime::{Host, RealOptions};

use super::*;
use crate::batch::{BatchView, batches};
use crate::builder::BatchBuilder;
use crate::compression::Compression;
use crate::validate::{Origin, ValidBatch, validate};

pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) fn real_fs() -> Fs {
    Host::real(RealOptions::default()).expect("io_uring is there").fs()
}

/// A log in a temporary directory, and a hand on what it needs.
pub(super) struct Bench {
    pub(super) fs: Fs,
    pub(super) home: tempfile::TempDir,
    pub(super) config: LogConfig,
    pub(super) clean: bool,
    pub(super) recovery_point: i64,
    pub(super) log_start: Option<i64>,
}

impl Bench {
    pub(super) fn new(config: LogConfig) -> Bench {
        let home = tempfile::tempdir().unwrap();
        Bench { fs: real_fs(), home, config, clean: true, recovery_point: 0, log_start: None }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.home.path().join("t-0")
    }

    pub(super) fn open(&self) -> PartitionLog {
        let how = OpenLog {
            partition: TopicPartition::new("t", 0),
            topic_id: Uuid::from_bytes([7; 16]),
            config: self.config.clone(),
            clean: self.clean,
            recovery_point: self.recovery_point,
            log_start_offset: self.log_start,
            high_watermark: None,
            now_ms: NOW,
            producer_expiry_ms: 86_400_000,
            progress: None,
        };
        PartitionLog::open(&self.fs, &self.dir(), how).unwrap()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.fs.list(self.dir()).unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

pub(super) fn valid(bytes: Bytes) -> ValidBatch {
    let rules = LogConfig { max_message_bytes: u32::MAX, ..LogConfig::default() }.rules(TopicPartition::new("t", 0));
    validate(&bytes, &rules, Origin::Client, NOW).unwrap()
}

/// A batch of `count` records of about `bytes` each, timestamps from `timestamp` on.
pub(super) fn batch_at(timestamp: i64, count: i64, bytes: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for i in 0..count {
        builder.append(timestamp + i, Some(b"key"), Some(&vec![b'v'; bytes]), &[]);
    }
    valid(builder.build(0, -1))
}

/// Does all steps that are due.
pub(super) fn drive(log: &mut PartitionLog) {
    loop {
        match log.next_step() {
            Step::Idle => return,
            Step::Write(job) => {
                let result = job.run_inline();
                log.finish_write(job, result).unwrap();
            }
            Step::Roll(job) => {
                let fs = log.fs().clone();
                log.finish_roll(job.run(&fs)).unwrap();
            }
        }
    }
}

pub(super) fn sync(log: &mut PartitionLog) {
    if let Some(job) = log.sync_job() {
        let result = job.files.iter().try_for_each(kringle_runtime::File::sync_data);
        log.finish_sync(job.upto, result).unwrap();
    }
}

pub(super) fn close(mut log: PartitionLog) {
    let fs = log.fs().clone();
    let end = log.log_end_offset();
    assert_eq!(log.close_job().run(&fs).unwrap(), end);
}

/// All records from an offset on: their offsets, read as a consumer reads.
pub(super) fn offsets_from(log: &PartitionLog, mut from: i64, upto: Upto) -> Vec<i64> {
    let mut seen = Vec::new();
    loop {
        let slice = log.read(from, 1, upto, true).unwrap();
        let Some(file) = slice.file else { return seen };
        let mut bytes = vec![0; slice.len];
        file.read_exact_at(&mut bytes, slice.position).unwrap();
        for batch in batches(&bytes) {
            let batch: BatchView<'_> = batch.unwrap();
            assert!(batch.crc_is_valid());
            crate::records::for_each_record(&batch, |record| {
                if record.offset >= from {
                    seen.push(record.offset);
                }
            })
            .unwrap();
            from = batch.next_offset();
        }
    }
}

#[test]
fn what_is_appended_is_read_back_after_writing_rolling_and_reopening() {
    let bench = Bench::new(LogConfig { segment_bytes: 4000, index_interval_bytes: 300, ..LogConfig::default() });
    let mut log = bench.open();
    let mut end = 0;
    for i in 0..100 {
        let appended = log.append(batch_at(NOW + i, 3, 50), 5, Acks::Leader, NOW).unwrap();
        assert_eq!((appended.base_offset, appended.last_offset), (end, end + 2));
        end += 3;
        if i % 7 == 0 {
            drive(&mut log);
        }
    }
    drive(&mut log);
    assert!(log.segments() > 3);
    assert_eq!(log.high_watermark(), 300);
    let all: Vec<i64> = (0..300).collect();
    assert_eq!(offsets_from(&log, 0, Upto::HighWatermark), all);
    assert_eq!(offsets_from(&log, 150, Upto::LogEnd), all[150..]);
    assert!(matches!(log.read(301, 1, Upto::LogEnd, true), Err(crate::ReadError::OutOfRange { .. })));
    let segments = log.segments();
    close(log);
    let log = bench.open();
    assert_eq!((log.log_end_offset(), log.segments(), log.latest_epoch()), (300, segments, Some(5)));
    assert_eq!(bench.names().iter().filter(|name| name.ends_with(".log")).count(), segments);
    assert_eq!(offsets_from(&log, 0, Upto::HighWatermark), all);
}

#[test]
fn an_acks_all_batch_is_invisible_until_it_is_durable() {
    let bench = Bench::new(LogConfig::default());
    let mut log = bench.open();
    log.append(batch_at(NOW, 2, 10), 0, Acks::Leader, NOW).unwrap();
    log.append(batch_at(NOW, 2, 10), 0, Acks::All, NOW).unwrap();
    log.append(batch_at(NOW, 2, 10), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    assert_eq!((log.log_end_offset(), log.high_watermark()), (6, 2));
    assert_eq!(offsets_from(&log, 0, Upto::HighWatermark), [0, 1]);
    sync(&mut log);
    assert_eq!((log.durable_offset(), log.high_watermark()), (6, 6));
    assert!(log.sync_job().is_none());
    log.append(batch_at(NOW, 1, 10), 0, Acks::Leader, NOW).unwrap();
    drive(&mut log);
    assert_eq!(log.high_watermark(), 7);
}
