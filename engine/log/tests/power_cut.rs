//! Power cuts, full disks and failing disks, on the simulated disk: what was durable is there afterwards, in order and whole, and what
//! follows it is a prefix of what was written.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod common;

use std::io::{self, IoSlice};
use std::path::Path;

use common::{DAY, NOW, batch_at, batch_of_bytes, offsets_from};
use kringle_log::journal::{self, JOURNAL_HEAD_BYTES, JournalJob};
use kringle_log::{
    Acks, AppendError, LogConfig, LogError, OpenLog, PartitionLog, Progressed, Step, SyncJob, TopicPartition,
};
use kringle_protocol::Uuid;
use kringle_runtime::{DirectPool, File, Fs, sim::Sim};

const LOG_DIR: &str = "/data";
const DIR: &str = "/data/t-0";
/// What a journal may hold before its log is synced and its space used again.
const JOURNAL_BYTES: u64 = 8 << 10;

/// A small generator of numbers: the test's own choices, from the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn try_open(fs: &Fs, segment_bytes: u32, clean: bool, recovery_point: i64) -> Result<PartitionLog, LogError> {
    let config = LogConfig { segment_bytes, segment_ms: i64::MAX, index_interval_bytes: 300, ..LogConfig::default() };
    let partition = TopicPartition::new("t", 0);
    let new = OpenLog::new(partition, Uuid::from_bytes([7; 16]), config, NOW);
    PartitionLog::open(fs, Path::new(DIR), OpenLog { clean, recovery_point, producer_expiry_ms: DAY, ..new })
}

/// What an idempotent producer knows: how many records it has sent, and how many of them are durable, as it was told.
#[derive(Default)]
struct Producer {
    sent: i64,
    acknowledged: i64,
    /// Ends of its batches with acks=all that were not answered yet.
    awaited: Vec<i64>,
    /// Bytes of a record's value.
    value_bytes: usize,
    /// Of ten batches so many want acks=1.
    acks_one: u64,
    /// A sync may fail, and the next, which is begun before anybody knows, find nothing left to do.
    disk_fails: bool,
    /// Commits go by a journal, most of them.
    journals: bool,
    /// That of this life.
    journal: Option<Journal>,
    /// Records that power cuts took.
    lost: Vec<i64>,
    /// Where recovery is to begin, as the broker wrote it down last.
    checkpoint: i64,
}

/// A journal, of one life of a broker.
struct Journal {
    file: File,
    run: u64,
    at: u64,
    pool: DirectPool,
}

impl Journal {
    fn create(fs: &Fs, run: u64) -> Journal {
        let file = journal::create(fs, Path::new(LOG_DIR), 0, run, EPOCH).unwrap();
        Journal { file, run, at: JOURNAL_HEAD_BYTES, pool: DirectPool::default() }
    }

    /// Makes the job's bytes durable; before that, if there is no place for them, the log's own files.
    fn write(&mut self, log: &mut PartitionLog, job: &JournalJob) -> io::Result<()> {
        if self.at > JOURNAL_BYTES {
            if let Some(sync) = log.flush_job() {
                let result = sync.run_inline(log.fs());
                log.finish_sync(&sync, result).map_err(io::Error::other)?;
            }
            self.at = JOURNAL_HEAD_BYTES;
        }
        let record = journal::record(self.run, std::slice::from_ref(job), &self.pool, false)?;
        self.file.write_all_at(&mut [IoSlice::new(&record)], self.at)?;
        self.at += record.len() as u64;
        self.file.sync_data()
    }
}

/// The epoch of the metadata quorum.
const EPOCH: i32 = 3;

/// What is to be made durable, one way or the other, and how that went.
enum Commit {
    Sync(SyncJob, io::Result<()>),
    Journal(JournalJob, io::Result<()>),
}

impl Commit {
    fn begin(log: &mut PartitionLog, journal: Option<&mut Journal>, dice: &mut Dice) -> Option<Commit> {
        if let Some(journal) = journal
            && dice.below(8) > 0
            && log.journal_bytes().is_some()
        {
            let job = log.journal_job()?;
            let result = journal.write(log, &job);
            return Some(Commit::Journal(job, result));
        }
        let job = log.sync_job()?;
        let result = job.run_inline(log.fs());
        Some(Commit::Sync(job, result))
    }

    fn finish(self, log: &mut PartitionLog) -> Result<Progressed, LogError> {
        match self {
            Commit::Sync(job, result) => log.finish_sync(&job, result),
            Commit::Journal(job, result) => log.finish_journal(&job, result),
        }
    }
}

/// Opens what a crash left.
fn recover(fs: &Fs, segment_bytes: u32, recovery_point: i64) -> Result<PartitionLog, LogError> {
    let log_dir = Path::new(LOG_DIR);
    journal::redo(fs, log_dir, Some(EPOCH)).unwrap();
    fs.sync_fs(log_dir).unwrap();
    journal::remove(fs, log_dir).unwrap();
    try_open(fs, segment_bytes, false, recovery_point)
}

/// One life of a broker: appends, rolls and syncs at random until its `steps` are over or the disk ends it. A sync may go on
/// beside other steps.
fn live(log: &mut PartitionLog, producer: &mut Producer, dice: &mut Dice, steps: u64) {
    if producer.journals && producer.journal.is_none() {
        producer.journal = Some(Journal::create(log.fs(), dice.below(1 << 31)));
    }
    // The checkpoint is written now and then.
    let written_at = dice.below(steps);
    let mut committing: Option<Commit> = None;
    for step in 0..steps {
        if step == written_at {
            producer.checkpoint = log.recovery_point();
        }
        if let Some(zeros) = log.next_zeros()
            && let Err(e) = log.finish_zeros(&zeros, zeros.run_inline())
        {
            assert!(e.is_fatal() && log.is_offline(), "{e}");
            return;
        }
        let done = match dice.below(10) {
            0..6 => {
                let count = i32::try_from(1 + dice.below(4)).unwrap();
                let sequence = i32::try_from(producer.sent).unwrap();
                let acks = if dice.below(10) < producer.acks_one { Acks::Leader } else { Acks::All };
                // After a gap, which acks=1 may leave, an idempotent producer would have to begin anew.
                let batch = match producer.acks_one {
                    0 => batch_of_bytes(5, 0, sequence, count, producer.value_bytes),
                    _ => batch_at(NOW, i64::from(count), producer.value_bytes),
                };
                match log.append(batch, 1, acks, NOW) {
                    Ok(appended) => {
                        assert_eq!((appended.base_offset, appended.duplicate), (producer.sent, false));
                        producer.sent = appended.last_offset + 1;
                        if acks == Acks::All {
                            producer.awaited.push(producer.sent);
                        }
                        Ok(())
                    }
                    Err(AppendError::Offline) => return,
                    Err(e) => panic!("{e}"),
                }
            }
            6..9 => match log.next_step() {
                Step::Idle => Ok(()),
                Step::Write(job) => {
                    let result = job.run_inline();
                    log.finish_write(job, result).map(drop)
                }
                Step::Roll(job) => {
                    let done = job.run(log.fs());
                    log.finish_roll(done).map(drop)
                }
            },
            _ => match committing.take() {
                Some(commit) => commit.finish(log).map(drop),
                None => {
                    committing = Commit::begin(log, producer.journal.as_mut(), dice);
                    Ok(())
                }
            },
        };
        match done {
            Ok(()) => {}
            Err(LogError::DiskFull { from }) => {
                assert!(from >= producer.acknowledged);
                producer.sent = from;
                producer.awaited.retain(|end| *end <= from);
            }
            Err(e) => {
                assert!(e.is_fatal() && log.is_offline(), "{e}");
                return;
            }
        }
        producer.hears(log);
    }
}

impl Producer {
    /// Is answered what the log has made durable.
    fn hears(&mut self, log: &PartitionLog) {
        let answered = self.awaited.iter().take_while(|end| **end <= log.high_watermark()).count();
        self.acknowledged = self.awaited.drain(..answered).next_back().unwrap_or(self.acknowledged);
    }
}

fn check(log: &PartitionLog, producer: &mut Producer, seed: u64) {
    let end = log.log_end_offset();
    assert!(end >= producer.acknowledged, "seed {seed}: {} acknowledged, {end} there", producer.acknowledged);
    assert!(end <= producer.sent, "seed {seed}");
    let found = offsets_from(log, 0);
    let lost: Vec<i64> = (0..end).filter(|offset| found.binary_search(offset).is_err()).collect();
    let missed = lost.iter().find(|offset| **offset < producer.acknowledged && !producer.lost.contains(offset));
    assert_eq!(missed, None, "seed {seed}: {} acknowledged", producer.acknowledged);
    // A roll waits for the disk only if batches do, so acks=1 may leave a gap before it, as in Kafka.
    assert!(lost.is_empty() || producer.acks_one > 0 || producer.disk_fails, "seed {seed}: a gap");
    assert_eq!(found.len() + lost.len(), usize::try_from(end).unwrap(), "seed {seed}: each record once");
    producer.lost = lost;
    // The producer finds out where the log ends and goes on from there.
    (producer.sent, producer.acknowledged) = (end, end);
    producer.awaited.clear();
    producer.journal = None;
}

#[test]
fn acknowledged_records_survive_power_cuts_and_kills() {
    survive(1200, || Producer { value_bytes: 5, ..Producer::default() });
}

#[test]
fn acknowledged_records_survive_power_cuts_and_kills_beside_zeros_that_fill_blocks() {
    let producer = || Producer { value_bytes: 3000, acks_one: 7, ..Producer::default() };
    let filled = survive(300_000, producer);
    assert!(filled > 0, "no life ended beside zeros");
}

#[test]
fn acknowledged_records_survive_power_cuts_and_kills_with_a_journal() {
    survive(1200, || Producer { value_bytes: 5, journals: true, ..Producer::default() });
    survive(9000, || Producer { value_bytes: 300, acks_one: 5, journals: true, ..Producer::default() });
}

/// So many lives ended with zeros behind the log.
fn survive(segment_bytes: u32, producer: impl Fn() -> Producer) -> usize {
    let mut beside_zeros = 0;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut sim = Sim::new(seed);
        let node = sim.node("a");
        let mut fs = node.host().fs();
        let mut log = try_open(&fs, segment_bytes, true, 0).unwrap();
        let mut producer = producer();
        for _ in 0..4 {
            let steps = 20 + dice.below(120);
            live(&mut log, &mut producer, &mut dice, steps);
            let recovery_point = match dice.below(3) {
                0 => 0,
                1 => producer.checkpoint,
                _ => log.recovery_point(),
            };
            beside_zeros += usize::from(log.runway_bytes() > 0);
            drop(log);
            if dice.below(3) == 0 {
                sim.kill(&node);
            } else {
                sim.crash(&node);
            }
            fs = sim.restart(&node).fs();
            log = recover(&fs, segment_bytes, recovery_point).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            check(&log, &mut producer, seed);
        }
    }
    beside_zeros
}

#[test]
fn a_full_disk_refuses_appends_and_loses_nothing() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut sim = Sim::new(seed);
        let node = sim.node("a");
        let fs = node.host().fs();
        let mut log = try_open(&fs, 1200, true, 0).unwrap();
        let mut producer = Producer { value_bytes: 5, ..Producer::default() };
        live(&mut log, &mut producer, &mut dice, 50);
        let room = 1000 + dice.below(5000);
        sim.disk_faults(&node, |faults| faults.capacity_bytes = room);
        live(&mut log, &mut producer, &mut dice, 200);
        assert!(!log.is_offline(), "seed {seed}: a full disk is no failure");
        sim.disk_faults(&node, |faults| faults.capacity_bytes = u64::MAX);
        live(&mut log, &mut producer, &mut dice, 50);
        log.flush_blocking().unwrap();
        producer.hears(&log);
        assert_eq!(producer.acknowledged, producer.sent, "seed {seed}: with room again all goes on");
        check(&log, &mut producer, seed);
        drop(log);
        sim.crash(&node);
        let log = recover(&sim.restart(&node).fs(), 1200, 0).unwrap();
        check(&log, &mut producer, seed);
    }
}

#[test]
fn a_failing_disk_ends_the_log_and_loses_nothing_acknowledged() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut sim = Sim::new(seed);
        let node = sim.node("a");
        let mut log = try_open(&node.host().fs(), 1200, true, 0).unwrap();
        let journals = dice.below(2) == 0;
        let mut producer = Producer { value_bytes: 5, disk_fails: true, journals, ..Producer::default() };
        live(&mut log, &mut producer, &mut dice, 30);
        let until = dice.below(30);
        let at_sync = dice.below(2) == 0;
        sim.disk_faults(&node, |faults| {
            if at_sync {
                faults.syncs_until_failure = Some(until / 4);
            } else {
                faults.writes_until_failure = Some(until);
            }
        });
        live(&mut log, &mut producer, &mut dice, 300);
        assert!(log.is_offline(), "seed {seed}");
        drop(log);
        sim.crash(&node);
        sim.disk_faults(&node, |faults| *faults = Default::default());
        let log = recover(&sim.restart(&node).fs(), 1200, 0).unwrap();
        check(&log, &mut producer, seed);
    }
}
