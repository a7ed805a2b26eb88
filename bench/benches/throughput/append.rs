//! The log's append: a batch from a client is validated, given its offsets, and written to the segment.
//!
//! By path: inline is a `pwritev` on the shard's thread, through the ring a write through the ring with its completion awaited (on
//! ext4 a kernel worker makes it), and, for comparison, `O_DIRECT` overwrites blocks that were written before with the
//! same number of bytes, past the page cache: what an engine without the page cache would pay for the write alone.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kringle_bench::throughput::CpuOf;
use kringle_log::{Acks, LogConfig, OpenLog, Origin, PartitionLog, Rules, Step, TopicPartition, WriteJob, validate};
use kringle_protocol::Uuid;
use kringle_runtime::Fs;
use nix::fcntl::OFlag;

use crate::batches::{amount, noise, now_ms, random_batch};
use crate::ground::{Ground, Place};
use crate::meter::{Meter, rounds};
use crate::shard::Shard;

/// A log is begun anew after so many bytes: its page cache is used again, and little reaches the disk.
const LOG_BYTES: usize = 64 << 20;
/// Alignment that `O_DIRECT` asks for at most.
const BLOCK_BYTES: usize = 4096;
/// Batches by their records' bytes; the last is the largest that Kafka takes by default.
const SHAPES: [(&str, usize, usize); 4] =
    [("1 KiB", 1, 1000), ("16 KiB", 16, 1000), ("128 KiB", 128, 1000), ("1000 KiB", 1000, 1000)];

pub(crate) fn rows(meter: &mut Meter, ground: &mut Ground) {
    let shard = Shard::start(&ground.host);
    for place in ground.places() {
        for (name, records, bytes) in SHAPES {
            let batch = random_batch(records, bytes);
            let group = format!("log append, {}", place.filesystem);
            let case = format!("batch of {name}");
            inline(meter, [&group, &case], &ground.fs(), &place, &batch);
            ring(meter, [&group, &case], &ground.fs(), &place, &batch, &shard);
            direct(meter, [&group, &case], &place, batch.len());
        }
    }
}

/// A log that begins anew.
pub(crate) struct GrowingLog {
    fs: Fs,
    dir: PathBuf,
    pub(crate) log: PartitionLog,
    rules: Rules,
    now_ms: i64,
}

impl GrowingLog {
    pub(crate) fn new(fs: &Fs, dir: &Path, config: LogConfig) -> GrowingLog {
        let partition = TopicPartition::new("bench", 0);
        let rules = config.rules(partition.clone());
        let now_ms = now_ms();
        let how = OpenLog::new(partition, Uuid::METADATA_TOPIC_ID, config, now_ms);
        let log = PartitionLog::open(fs, dir, how).expect("an empty directory");
        GrowingLog { fs: fs.clone(), dir: dir.to_owned(), log, rules, now_ms }
    }

    /// Stages a batch; the write that is to be made.
    pub(crate) fn stage(&mut self, batch: &Bytes) -> WriteJob {
        let valid = validate(batch, &self.rules, Origin::Client, self.now_ms).expect("a valid batch");
        self.log.append(valid, 0, Acks::Leader, self.now_ms).expect("the log is open");
        loop {
            match self.log.next_step() {
                Step::Write(job) => return job,
                Step::Roll(job) => drop(self.log.finish_roll(job.run(&self.fs)).expect("rolled")),
                Step::Idle => unreachable!("something is staged"),
            }
        }
    }

    pub(crate) fn append_inline(&mut self, batch: &Bytes) {
        let job = self.stage(batch);
        let result = job.run_inline();
        self.log.finish_write(job, result).expect("written");
    }

    /// The directory is removed; the memory of its page cache is free for the next one.
    pub(crate) fn remove(self) {
        let GrowingLog { fs, dir, log, .. } = self;
        drop(log);
        fs.remove_dir_all(&dir).expect("the directory of a bench");
    }
}

fn begin(fs: &Fs, place: &Place) -> GrowingLog {
    GrowingLog::new(fs, &place.dir.join("append"), LogConfig::default())
}

fn batches_in_a_log(batch: &Bytes) -> u64 {
    (LOG_BYTES / batch.len()) as u64
}

fn inline(meter: &mut Meter, [group, case]: [&str; 2], fs: &Fs, place: &Place, batch: &Bytes) {
    meter.row([group, case, "written inline"], amount(batch.len()), CpuOf::Process, |iterations, watch| {
        for round in rounds(iterations, batches_in_a_log(batch)) {
            let mut log = begin(fs, place);
            watch.time(|| (0..round).for_each(|_| log.append_inline(batch)));
            log.remove();
        }
    });
}

fn ring(meter: &mut Meter, [group, case]: [&str; 2], fs: &Fs, place: &Place, batch: &Bytes, shard: &Shard) {
    meter.row([group, case, "through the ring"], amount(batch.len()), CpuOf::Process, |iterations, watch| {
        for round in rounds(iterations, batches_in_a_log(batch)) {
            let (mut log, batch, mut inner) = (begin(fs, place), batch.clone(), watch.another());
            let (log, inner) = shard.run(async move |rt| {
                inner.start();
                for _ in 0..round {
                    let mut job = log.stage(&batch);
                    let result = job.run(&rt).await;
                    log.log.finish_write(job, result).expect("written");
                }
                inner.stop();
                (log, inner)
            });
            watch.add(&inner);
            log.remove();
        }
    });
}

fn direct(meter: &mut Meter, [group, case]: [&str; 2], place: &Place, len: usize) {
    let len = len.next_multiple_of(BLOCK_BYTES);
    let path = place.dir.join("direct");
    let mut prepared = None;
    meter.row([group, case, "O_DIRECT"], amount(len), CpuOf::Process, |iterations, watch| {
        let (file, block) = prepared.get_or_insert_with(|| {
            std::fs::write(&path, noise(LOG_BYTES)).expect("written");
            let flags = OFlag::O_DIRECT.bits();
            let file = OpenOptions::new().write(true).custom_flags(flags).open(&path).expect("O_DIRECT is served");
            file.sync_all().expect("synced");
            (file, AlignedBlock::new(len))
        });
        let fit = LOG_BYTES / len;
        watch.time(|| {
            for (_, at) in (0..iterations).zip((0..fit).cycle()) {
                file.write_all_at(block.bytes(), (at * len) as u64).expect("written");
            }
        });
    });
    if prepared.is_some() {
        std::fs::remove_file(&path).expect("the file of a bench");
    }
}

/// Memory that begins at a block's boundary: a block more than is used.
struct AlignedBlock {
    memory: Vec<u8>,
    shift: usize,
    len: usize,
}

impl AlignedBlock {
    fn new(len: usize) -> AlignedBlock {
        let memory = noise(len + BLOCK_BYTES);
        let shift = memory.as_ptr().align_offset(BLOCK_BYTES);
        AlignedBlock { memory, shift, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.shift..self.shift + self.len]
    }
}
