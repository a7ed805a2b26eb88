//! Appending: checks, offsets, and a place in the line of what is to be written. No I/O.

use std::collections::VecDeque;

use crate::batch::{BatchHeader, BatchView, NO_TIMESTAMP, TimestampType};
use crate::control::EndTxnMarker;
use crate::error::AppendError;
use crate::producers::{Check, ProducerError, Undo, Update, snapshot};
use crate::txn_index::AbortedTxn;
use crate::validate::{Origin, ValidBatch};

use super::{PartitionLog, State};

/// When the append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Once it is in the page cache (acks=0 and 1).
    Leader,
    /// Once it is on stable storage (acks=all); until then no reader sees it.
    All,
}

/// What the producer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record: the append is done when the written end, or for acks=all the high watermark, is past it.
    pub last_offset: i64,
    /// The broker's timestamp, or -1. For a duplicate the timestamp of the first time, as Kafka answers.
    pub log_append_time_ms: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
    /// It was there already; nothing was appended.
    pub duplicate: bool,
}

/// A batch on its way to the file.
#[derive(Debug)]
pub(crate) struct StagedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: bytes::Bytes,
    pub(crate) staged_ms: i64,
    pub(crate) undo: Option<Box<Undo>>,
    pub(crate) aborted: Option<AbortedTxn>,
}

/// The segment ends before the next batch.
#[derive(Debug)]
pub(crate) struct StagedRoll {
    pub(crate) base_offset: i64,
    /// The producers as they were here; `None` if a snapshot at this offset exists.
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) staged_ms: i64,
    /// To take the roll back.
    snapshot_before: i64,
}

#[derive(Debug)]
pub(crate) enum Staged {
    Batch(StagedBatch),
    Roll(StagedRoll),
}

/// The line of what is to be written, and the segment as it will be then.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) line: VecDeque<Staged>,
    bytes: usize,
    tail: Tail,
}

/// What decides about a roll, including all that is staged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    pub(crate) base_offset: i64,
    pub(crate) size: u64,
    pub(crate) first_timestamp: Option<i64>,
    pub(crate) created_ms: i64,
    pub(crate) bytes_since_index_entry: u64,
    pub(crate) index_entries: u64,
}

impl Staging {
    pub(crate) fn new(tail: Tail) -> Staging {
        Staging { line: VecDeque::new(), bytes: 0, tail }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn pop(&mut self) -> Option<Staged> {
        let next = self.line.pop_front();
        if let Some(Staged::Batch(batch)) = &next {
            self.bytes -= batch.bytes.len();
        }
        next
    }

    pub(crate) fn drop_all(&mut self) {
        self.line.clear();
        self.bytes = 0;
    }

    fn push(&mut self, batch: StagedBatch, interval_bytes: u32) {
        let size = batch.bytes.len() as u64;
        self.bytes += batch.bytes.len();
        self.tail.first_timestamp.get_or_insert(batch.header.max_timestamp);
        if self.tail.bytes_since_index_entry > u64::from(interval_bytes) {
            self.tail.index_entries += 1;
            self.tail.bytes_since_index_entry = 0;
        }
        self.tail.bytes_since_index_entry += size;
        self.tail.size += size;
        self.line.push_back(Staged::Batch(batch));
    }
}

impl From<ProducerError> for AppendError {
    fn from(e: ProducerError) -> AppendError {
        match e {
            ProducerError::InvalidEpoch(text) => AppendError::InvalidProducerEpoch(text),
            ProducerError::OutOfOrder(text) => AppendError::OutOfOrderSequence(text),
            ProducerError::InvalidTxnState(text) => AppendError::InvalidTxnState(text),
            ProducerError::CoordinatorFenced(text) => AppendError::CoordinatorFenced(text),
        }
    }
}

impl PartitionLog {
    /// Gives a batch its offsets and stages it. Nothing changes if it is refused, or if it is a duplicate.
    pub fn append(
        &mut self,
        batch: ValidBatch,
        leader_epoch: i32,
        acks: Acks,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        if self.state != State::Open || self.refuses_appends {
            return Err(AppendError::Offline);
        }
        let mut header = batch.header;
        if batch.origin == Origin::Client
            && header.has_producer_id()
            && let Some(seen) = self.producers.duplicate_of(&header)
        {
            return Ok(Appended {
                base_offset: seen.first_offset(),
                last_offset: seen.last_offset,
                log_append_time_ms: seen.timestamp,
                log_start_offset: self.offsets.log_start,
                duplicate: true,
            });
        }
        let size = batch.bytes.len();
        if size > self.config.segment_bytes as usize {
            return Err(AppendError::TooLargeForSegment { size, segment_bytes: self.config.segment_bytes });
        }
        header.base_offset = self.offsets.staged_end;
        header.leader_epoch = leader_epoch;
        if self.must_roll_for(&header, now_ms) {
            self.stage_roll(now_ms);
        }
        let update = self.update_producers(&header, &batch)?;
        let (undo, aborted) = update.map_or((None, None), |update| (Some(Box::new(update.undo)), update.aborted));
        self.epochs.assign(leader_epoch, header.base_offset);
        self.offsets.staged_end = header.next_offset();
        self.producers.set_end_offset(header.next_offset());
        if acks == Acks::All {
            self.unsynced.await_durable(header.base_offset, header.next_offset());
        }
        let staged = StagedBatch { header, bytes: batch.bytes, staged_ms: now_ms, undo, aborted };
        self.staging.push(staged, self.config.index_interval_bytes);
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time_ms: batch.log_append_time_ms.unwrap_or(NO_TIMESTAMP),
            log_start_offset: self.offsets.log_start,
            duplicate: false,
        })
    }

    /// Refuses every append from now on, or no longer. A full disk took back what was staged: until those who wait for it are
    /// told, nothing else may be given its offsets.
    pub fn refuse_appends(&mut self, refuse: bool) {
        self.refuses_appends = refuse;
    }

    /// Something is staged or a job is outstanding. If not, what is appended next is all that the next job writes.
    pub fn is_busy(&self) -> bool {
        !self.staging.line.is_empty() || self.in_flight.is_something()
    }

    /// Whether the active segment ends before this batch.
    pub fn rolls_for(&self, batch: &ValidBatch, now_ms: i64) -> bool {
        self.must_roll_for(&BatchHeader { base_offset: self.offsets.staged_end, ..batch.header }, now_ms)
    }

    fn update_producers(&mut self, header: &BatchHeader, batch: &ValidBatch) -> Result<Option<Update>, AppendError> {
        if !header.has_producer_id() {
            return Ok(None);
        }
        let check = if batch.origin == Origin::Client { Check::All } else { Check::Epoch };
        if !header.is_control() {
            return Ok(Some(self.producers.append_data(header, check, &self.partition)?));
        }
        let bad = |e: &dyn std::fmt::Display| AppendError::BadControlBatch(e.to_string());
        let view = BatchView::parse(&batch.bytes).map_err(|e| bad(&e))?;
        let Some((marker, timestamp)) = EndTxnMarker::of(&view).map_err(|e| bad(&e))? else { return Ok(None) };
        Ok(Some(self.producers.append_marker(header, marker, timestamp, check, &self.partition)?))
    }

    /// Kafka's `LogSegment.shouldRoll`, for the segment as it will be.
    fn must_roll_for(&self, header: &BatchHeader, now_ms: i64) -> bool {
        let tail = &self.staging.tail;
        let size = header.size_bytes() as u64;
        let timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => header.max_timestamp,
            TimestampType::LogAppendTime => now_ms,
        };
        tail.size + size > u64::from(self.config.segment_bytes)
            || (tail.size > 0 && self.open_too_long(timestamp, now_ms))
            || tail.index_entries >= self.max_index_entries()
            || i32::try_from(header.last_offset() - tail.base_offset).is_err()
    }

    fn open_too_long(&self, timestamp: i64, now_ms: i64) -> bool {
        let tail = &self.staging.tail;
        let waited = match tail.first_timestamp {
            Some(first) if first >= 0 => timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(tail.created_ms),
        };
        waited > self.config.max_segment_ms().saturating_sub(self.jitter_ms(tail.base_offset))
    }

    /// Up to `segment.jitter.ms`, other for every partition and segment but the same when asked again.
    fn jitter_ms(&self, base_offset: i64) -> i64 {
        let most = self.config.segment_jitter_ms.min(self.config.max_segment_ms());
        if most <= 0 {
            return 0;
        }
        let seed = crc32c::crc32c(format!("{}@{base_offset}", self.partition).as_bytes());
        i64::from(seed) * 1021 % most
    }

    /// Entries at which an index counts as full: the time index, whose entries are larger, is full first.
    fn max_index_entries(&self) -> u64 {
        let bytes = u64::from(self.config.segment_index_bytes);
        (bytes / 12).saturating_sub(1).max(1)
    }

    /// Ends the segment after what is staged. Kafka does this at an append only ([`PartitionLog::append`] sees to that); here also
    /// a log that is appended to no more can be made to follow `segment.ms`.
    pub fn roll_if_due(&mut self, now_ms: i64) {
        if self.state == State::Open && self.staging.tail.size > 0 && self.open_too_long(now_ms, now_ms) {
            self.stage_roll(now_ms);
        }
    }

    /// Whether the segment after all that is staged would hold anything.
    pub(super) fn staged_segment_is_empty(&self) -> bool {
        self.staging.tail.size == 0
    }

    pub(super) fn stage_roll(&mut self, now_ms: i64) {
        let base_offset = self.offsets.staged_end;
        let snapshot_before = self.last_snapshot;
        let snapshot = (base_offset > snapshot_before).then(|| snapshot::encode(&self.producers));
        self.last_snapshot = snapshot_before.max(base_offset);
        self.staging.line.push_back(Staged::Roll(StagedRoll {
            base_offset,
            snapshot,
            staged_ms: now_ms,
            snapshot_before,
        }));
        self.staging.tail = Tail {
            base_offset,
            size: 0,
            first_timestamp: None,
            created_ms: now_ms,
            bytes_since_index_entry: 0,
            index_entries: 0,
        };
    }

    /// Takes back all that is staged, newest first, and then `first`, which was in flight.
    pub(super) fn unstage_all(&mut self, first: Vec<Staged>) {
        let staged = std::mem::take(&mut self.staging.line);
        for staged in first.into_iter().chain(staged).rev() {
            match staged {
                Staged::Batch(batch) => {
                    if let Some(undo) = batch.undo {
                        self.producers.undo(*undo);
                    }
                }
                Staged::Roll(roll) => self.last_snapshot = roll.snapshot_before,
            }
        }
        let end = self.offsets.log_end;
        self.offsets.staged_end = end;
        self.producers.set_end_offset(end);
        // An epoch that began right here stays: its leader goes on.
        self.epochs.truncate_from_end(end + 1);
        self.unsynced.forget_from(end);
        self.staging = Staging::new(self.tail_of_active());
        self.settle_offsets();
    }

    /// The active segment as it stands in the file.
    pub(super) fn tail_of_active(&self) -> Tail {
        Tail {
            base_offset: self.active.base_offset,
            size: self.active.size,
            first_timestamp: self.active.first_timestamp,
            created_ms: self.active.created_ms,
            bytes_since_index_entry: self.active.bytes_since_index_entry,
            index_entries: (self.active.offsets.len_bytes() / 8) as u64,
        }
    }
}
