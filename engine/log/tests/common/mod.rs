//! A log in a temporary directory on the real disk, and what drives it without a broker.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use std::path::PathBuf;

use bytes::Bytes;
use kringle_log::{
    BatchBuilder, Compression, LogConfig, OpenLog, Origin, PartitionLog, Step, TopicPartition, Upto, ValidBatch,
    batches, for_each_record, validate,
};
use kringle_protocol::Uuid;
use kringle_runtime::{File, Fs, Host, Open, RealOptions};

pub const NOW: i64 = 1_700_000_000_000;
pub const DAY: i64 = 86_400_000;

pub struct Bench {
    pub fs: Fs,
    pub home: tempfile::TempDir,
    pub config: LogConfig,
    pub clean: bool,
    pub recovery_point: i64,
    pub log_start: Option<i64>,
    pub now_ms: i64,
}

impl Bench {
    pub fn new(config: LogConfig) -> Bench {
        let fs = Host::real(RealOptions::default()).expect("io_uring is there").fs();
        let home = tempfile::tempdir().unwrap();
        Bench { fs, home, config, clean: true, recovery_point: 0, log_start: None, now_ms: NOW }
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("t-0")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn try_open(&self) -> Result<PartitionLog, kringle_log::LogError> {
        let how = OpenLog {
            partition: TopicPartition::new("t", 0),
            topic_id: Uuid::from_bytes([7; 16]),
            config: self.config.clone(),
            clean: self.clean,
            recovery_point: self.recovery_point,
            log_start_offset: self.log_start,
            high_watermark: None,
            now_ms: self.now_ms,
            producer_expiry_ms: DAY,
            progress: None,
        };
        PartitionLog::open(&self.fs, &self.dir(), how)
    }

    pub fn open(&self) -> PartitionLog {
        self.try_open().unwrap()
    }

    /// Opens as after a crash.
    pub fn recover(&mut self, recovery_point: i64) -> PartitionLog {
        (self.clean, self.recovery_point) = (false, recovery_point);
        let log = self.open();
        self.clean = true;
        log
    }

    pub fn names(&self) -> Vec<String> {
        self.fs.list(self.dir()).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    pub fn names_of(&self, suffix: &str) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(suffix)).collect()
    }

    pub fn file(&self, name: &str) -> File {
        self.fs.open(self.path(name), Open::ReadWrite).unwrap()
    }

    /// How long the file of the first segment's log is.
    pub fn log_file_len(&self) -> u64 {
        self.file("00000000000000000000.log").len().unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.fs.read(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let file = self.fs.open(self.path(name), Open::Create).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(&mut [std::io::IoSlice::new(bytes)], 0).unwrap();
    }

    /// Copies all files of the directory into that of another bench.
    pub fn copy_to(&self, other: &Bench) {
        other.fs.create_dir_all(other.dir()).unwrap();
        for name in self.names() {
            other.write(&name, &self.bytes(&name));
        }
    }
}

pub fn valid_from(origin: Origin, bytes: Bytes) -> ValidBatch {
    let config = LogConfig { max_message_bytes: u32::MAX, timestamp_after_max_ms: i64::MAX, ..LogConfig::default() };
    validate(&bytes, &config.rules(TopicPartition::new("t", 0)), origin, NOW).unwrap()
}

pub fn valid(bytes: Bytes) -> ValidBatch {
    valid_from(Origin::Client, bytes)
}

/// A batch of `count` records with values of `bytes` bytes and timestamps from `timestamp` on.
pub fn batch_at(timestamp: i64, count: i64, bytes: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for i in 0..count {
        builder.append(timestamp + i, Some(b"key"), Some(&vec![b'v'; bytes]), &[]);
    }
    valid(builder.build(0, -1))
}

/// A batch of an idempotent producer.
pub fn batch_of(producer: i64, epoch: i16, sequence: i32, count: i32) -> ValidBatch {
    batch_of_bytes(producer, epoch, sequence, count, 5)
}

/// The same with values of `bytes` bytes.
pub fn batch_of_bytes(producer: i64, epoch: i16, sequence: i32, count: i32, bytes: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer, epoch, sequence);
    for _ in 0..count {
        builder.append(NOW, None, Some(&vec![b'v'; bytes]), &[]);
    }
    valid(builder.build(0, -1))
}

/// Writes until the log's only segment is sealed; how many bytes of batches it has.
pub fn seal_first(log: &mut PartitionLog, mut write: impl FnMut(&mut PartitionLog)) -> u64 {
    let mut size = 0;
    while log.segments() == 1 {
        size = log.size_bytes();
        write(log);
    }
    size
}

/// Does all steps that are due.
pub fn drive(log: &mut PartitionLog) {
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

pub fn sync(log: &mut PartitionLog) {
    if let Some(job) = log.sync_job() {
        let synced = job.run_inline(log.fs());
        log.finish_sync(&job, synced).unwrap();
    }
}

pub fn close(mut log: PartitionLog) {
    let fs = log.fs().clone();
    let end = log.log_end_offset();
    assert_eq!(log.close_job().run(&fs).unwrap(), end);
}

/// Offset and timestamp of all records from an offset on, read as a consumer reads.
pub fn records_from(log: &PartitionLog, mut from: i64, upto: Upto) -> Vec<(i64, i64)> {
    let mut seen = Vec::new();
    loop {
        let slice = log.read(from, 1, upto, true).unwrap();
        let Some(file) = slice.file else { return seen };
        assert_eq!(slice.len, slice.first_batch_len);
        let mut bytes = vec![0; slice.len];
        file.read_exact_at(&mut bytes, slice.position).unwrap();
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            assert!(batch.crc_is_valid());
            assert!(batch.base_offset == slice.base_offset_of_first && batch.last_offset() >= from);
            for_each_record(&batch, |record| {
                if record.offset >= from {
                    seen.push((record.offset, record.timestamp));
                }
            })
            .unwrap();
            from = batch.next_offset();
        }
    }
}

pub fn offsets_from(log: &PartitionLog, from: i64) -> Vec<i64> {
    records_from(log, from, Upto::HighWatermark).into_iter().map(|(offset, _)| offset).collect()
}
