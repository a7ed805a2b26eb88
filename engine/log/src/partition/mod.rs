//! One partition's log: decides what is appended, written, rolled, read and deleted; the jobs it hands out do the I/O.
//!
//! Owned by exactly one shard, which drives it:
//!
//! ```text
//! append ──> staged ──next_step──> WriteJob / RollJob ──finish_write / finish_roll──> written ──sync_job──> finish_sync ──> durable
//! ```
//!
//! **Invariants.** log start <= last stable <= high watermark <= log end (written) <= staged end, asserted in
//! [`Offsets::check`] after every change. The high watermark is the log end, but never passes an acks=all batch that is not
//! durable: what a reader has seen, a power cut does not take back. At most one job is outstanding.
//!
//! **Failure.** A full disk drops what was staged, takes its traces in the producer state back and cuts the file to the last whole
//! batch. Any other failed write, roll or sync takes the log offline for good: every later call is refused with
//! KAFKA_STORAGE_ERROR until the directory is recovered by a new start.

mod append;
mod close;
mod fill;
mod open;
mod read;
mod recover;
mod reserve;
mod retention;
mod roll;
mod runway;
mod sync;
mod write;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kringle_protocol::Uuid;
use kringle_runtime::Fs;
use smallvec::SmallVec;

use crate::config::LogConfig;
use crate::epochs::LeaderEpochs;
use crate::producers::{ProducerState, ProducerSummary};
use crate::segment::{ActiveSegment, SealedSegment, SegmentFiles};
use crate::topic_partition::TopicPartition;

pub use append::{Acks, Appended};
pub use close::CloseJob;
pub(crate) use open::PARTITION_METADATA;
pub use open::{OpenLog, Progress};
pub use read::{Slice, Upto};
pub use reserve::ReserveJob;
pub use retention::DeleteJob;
pub use roll::{RollDone, RollJob};
pub use runway::ZerosJob;
pub use sync::{SyncJob, Unflushed};
pub use write::{Progressed, Step, WriteJob};

/// Sealed segments whose files stay open per partition: a reader that follows another rarely needs more.
const OPEN_SEALED: usize = 2;

/// The offsets of a log, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) log_start: i64,
    pub(crate) last_stable: i64,
    pub(crate) high_watermark: i64,
    /// After the last written batch.
    pub(crate) log_end: i64,
    /// After the last staged batch.
    pub(crate) staged_end: i64,
    /// Everything before is on stable storage, in the log's own files or in a journal.
    pub(crate) durable: i64,
    /// Everything before is on stable storage in the log's own files.
    pub(crate) synced: i64,
}

impl Offsets {
    fn check(&self) {
        assert!(
            self.log_start <= self.last_stable
                && self.last_stable <= self.high_watermark
                && self.high_watermark <= self.log_end
                && self.log_end <= self.staged_end
                && self.synced <= self.durable
                && self.durable <= self.log_end,
            "offsets are out of order: {self:?}"
        );
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Closed by its owner.
    Closed,
    /// A write or sync failed.
    Offline,
}

/// One partition's log. `Send`, owned by exactly one shard; see the module's text for how it is driven.
pub struct PartitionLog {
    partition: TopicPartition,
    topic_id: Uuid,
    dir: PathBuf,
    fs: Fs,
    config: LogConfig,
    producer_expiry_ms: i64,
    state: State,
    sealed: VecDeque<SealedSegment>,
    active: ActiveSegment,
    /// Files of sealed segments, most recently used first.
    open_sealed: RefCell<SmallVec<[Arc<SegmentFiles>; OPEN_SEALED]>>,
    offsets: Offsets,
    epochs: LeaderEpochs,
    producers: ProducerState,
    /// Offset of the newest snapshot on disk or staged.
    last_snapshot: i64,
    staging: append::Staging,
    in_flight: write::InFlight,
    unsynced: sync::Unsynced,
    runway: runway::Runway,
    /// See [`PartitionLog::refuse_appends`].
    refuses_appends: bool,
}

impl PartitionLog {
    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The topic's id, as in `partition.metadata`.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// The partition's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// New settings, from the next append on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// First offset that can be read.
    pub fn log_start_offset(&self) -> i64 {
        self.offsets.log_start
    }

    /// Readers with isolation `read_committed` see what lies before.
    pub fn last_stable_offset(&self) -> i64 {
        self.offsets.last_stable
    }

    /// Readers see what lies before.
    pub fn high_watermark(&self) -> i64 {
        self.offsets.high_watermark
    }

    /// After the last written batch.
    pub fn log_end_offset(&self) -> i64 {
        self.offsets.log_end
    }

    /// After the last staged batch: the base offset of the next append.
    pub fn staged_end_offset(&self) -> i64 {
        self.offsets.staged_end
    }

    /// Everything before is on stable storage.
    pub fn durable_offset(&self) -> i64 {
        self.offsets.durable
    }

    /// Whether a failed write or sync has ended this log.
    pub fn is_offline(&self) -> bool {
        self.state == State::Offline
    }

    /// Bytes of batches that wait to be written or are being written: for the shard's back-pressure.
    pub fn staged_bytes(&self) -> usize {
        self.staging.bytes() + self.in_flight.bytes()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.size).sum::<u64>() + self.active.size
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.sealed.len() + 1
    }

    /// Base offset of the segment that is written.
    pub fn active_segment_base_offset(&self) -> i64 {
        self.active.base_offset
    }

    /// The producers that the log remembers, by id.
    pub fn producers(&self) -> Vec<ProducerSummary> {
        self.producers.summaries()
    }

    /// Forgets producers that were idle too long (`producer.id.expiration.ms`), except in the middle of a transaction.
    pub fn expire_producers(&mut self, now_ms: i64) {
        self.producers.expire(now_ms, self.producer_expiry_ms);
    }

    /// Sets how long idle producers are remembered.
    pub fn set_producer_expiry_ms(&mut self, expiry_ms: i64) {
        self.producer_expiry_ms = expiry_ms;
    }

    /// The partition's leader begins its term `epoch` at the log end.
    pub fn start_epoch(&mut self, epoch: i32) {
        self.epochs.assign(epoch, self.offsets.staged_end);
    }

    /// The largest known epoch up to `epoch`, and the offset where it ends; (-1, -1) for one newer than any known.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        self.epochs.end_offset_for(epoch, self.offsets.log_end)
    }

    /// The leader epoch of an offset.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.epochs.at(offset)
    }

    /// The epoch that ListOffsets names for the log start: the first one known, if it began there or before.
    pub fn epoch_of_log_start(&self) -> Option<i32> {
        self.epochs.earliest().filter(|first| first.start_offset <= self.offsets.log_start).map(|first| first.epoch)
    }

    /// The newest leader epoch.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest()
    }

    /// Moves what follows from the log end, the durable offset and the producers, and checks the order.
    fn settle_offsets(&mut self) {
        let limit = self.unsynced.first_undurable_all(self.offsets.durable).unwrap_or(i64::MAX);
        let high_watermark = self.offsets.log_end.min(limit);
        self.offsets.high_watermark = self.offsets.high_watermark.max(high_watermark);
        self.producers.high_watermark_moved(self.offsets.high_watermark);
        let unstable = self.producers.first_unstable_offset().unwrap_or(i64::MAX);
        let last_stable = self.offsets.high_watermark.min(unstable.max(self.offsets.log_start));
        self.offsets.last_stable = last_stable.max(self.offsets.log_start);
        self.offsets.check();
    }

    /// Nothing works any more; what was staged is gone.
    fn go_offline(&mut self) {
        self.state = State::Offline;
        self.staging.drop_all();
        self.in_flight = write::InFlight::Nothing;
        self.offsets.staged_end = self.offsets.log_end;
    }
}
