//! What a partition remembers of its producers: Kafka's `ProducerStateManager`.
//!
//! Pure; owned by the log's one writer. Per producer id: the epoch, the last five batches (so that a batch that is sent again gets
//! its first answer), an open transaction. State moves when a batch is *staged*; [`ProducerState::undo`] takes a batch back that
//! could not be written, in reverse order. Snapshots ([`snapshot`]) keep the last batch only, as Kafka does.

pub(crate) mod snapshot;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::batch::{BatchHeader, sub_sequence};
use crate::control::EndTxnMarker;
use crate::txn_index::AbortedTxn;

/// Batches remembered per producer.
const BATCHES_KEPT: usize = 5;
/// No batch yet.
const NO_SEQUENCE: i32 = -1;
const NO_EPOCH: i16 = -1;

/// A batch that a producer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSeen {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: i64,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: i64,
}

impl BatchSeen {
    pub(crate) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn first_sequence(&self) -> i32 {
        sub_sequence(self.last_sequence, self.offset_delta)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(crate) epoch: i16,
    pub(crate) coordinator_epoch: i32,
    pub(crate) last_timestamp: i64,
    pub(crate) txn_first_offset: Option<i64>,
    /// Oldest first, at most [`BATCHES_KEPT`].
    pub(crate) batches: SmallVec<[BatchSeen; BATCHES_KEPT]>,
}

impl ProducerEntry {
    fn empty() -> ProducerEntry {
        ProducerEntry {
            epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: -1,
            txn_first_offset: None,
            batches: SmallVec::new(),
        }
    }

    fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }

    fn push(&mut self, batch: BatchSeen) {
        if self.batches.len() == BATCHES_KEPT {
            self.batches.remove(0);
        }
        self.batches.push(batch);
        self.last_timestamp = batch.timestamp;
    }

    fn is_expired(&self, now_ms: i64, expiry_ms: i64) -> bool {
        self.txn_first_offset.is_none() && now_ms.wrapping_sub(self.last_timestamp) >= expiry_ms
    }
}

/// A producer of a partition, as DescribeProducers tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSummary {
    /// Producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of its last record; -1 if it only wrote markers.
    pub last_sequence: i32,
    /// Timestamp of its last batch, Unix milliseconds.
    pub last_timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker; -1 if none did.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins; -1 if none is open.
    pub current_txn_start_offset: i64,
}

/// Why a batch does not follow from what its producer wrote before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProducerError {
    InvalidEpoch(String),
    OutOfOrder(String),
    InvalidTxnState(String),
    CoordinatorFenced(String),
}

/// How strictly a batch is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// From a client: epoch and sequence.
    All,
    /// From a coordinator of this broker: epoch only.
    Epoch,
    /// Read from the log: it is history.
    Nothing,
}

/// What a staged batch changed, to take it back.
#[derive(Debug)]
pub(crate) struct Undo {
    producer_id: i64,
    before: Option<ProducerEntry>,
    started_txn: Option<i64>,
    completed_txn: Option<i64>,
}

/// What a batch did.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) undo: Undo,
    /// A transaction that this batch aborted, for the transaction index.
    pub(crate) aborted: Option<AbortedTxn>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ProducerState {
    producers: FxHashMap<i64, ProducerEntry>,
    /// First offset of each open transaction, and whose it is.
    ongoing: BTreeMap<i64, i64>,
    /// Ended transactions whose marker is not below the high watermark yet: first offset, marker's offset.
    unreplicated: BTreeMap<i64, i64>,
    /// Everything before this offset is in here.
    end_offset: i64,
}

impl ProducerState {
    /// Nothing known of producers before `offset`.
    pub(crate) fn starting_at(offset: i64) -> ProducerState {
        ProducerState { end_offset: offset, ..ProducerState::default() }
    }

    pub(crate) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    pub(crate) fn set_end_offset(&mut self, offset: i64) {
        self.end_offset = offset;
    }

    /// The answer that this very batch got before, if it is among the producer's last five.
    pub(crate) fn duplicate_of(&self, batch: &BatchHeader) -> Option<BatchSeen> {
        let entry = self.producers.get(&batch.producer_id).filter(|entry| entry.epoch == batch.producer_epoch)?;
        let last = batch.last_sequence();
        let same = |seen: &&BatchSeen| seen.last_sequence == last && seen.first_sequence() == batch.base_sequence;
        entry.batches.iter().find(same).copied()
    }

    /// A data batch at `batch.base_offset`. Nothing changes if it is refused.
    pub(crate) fn append_data(
        &mut self,
        batch: &BatchHeader,
        check: Check,
        partition: &dyn std::fmt::Display,
    ) -> Result<Update, ProducerError> {
        let id = batch.producer_id;
        let before = self.producers.get(&id).cloned();
        let mut entry = before.clone().unwrap_or_else(ProducerEntry::empty);
        let offset = batch.base_offset;
        if check != Check::Nothing && batch.producer_epoch < entry.epoch {
            return Err(stale_epoch(id, offset, partition, batch.producer_epoch, entry.epoch));
        }
        if check == Check::All {
            check_sequence(&entry, batch, partition)?;
        }
        let in_txn = entry.txn_first_offset.is_some();
        if check != Check::Nothing && in_txn && !batch.is_transactional() {
            return Err(ProducerError::InvalidTxnState(format!(
                "Expected transactional write from producer {id} at offset {offset} in partition {partition}"
            )));
        }
        entry.set_epoch(batch.producer_epoch);
        entry.push(BatchSeen {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        let started_txn = (batch.is_transactional() && !in_txn).then_some(offset);
        if let Some(first) = started_txn {
            entry.txn_first_offset = Some(first);
            self.ongoing.insert(first, id);
        }
        self.producers.insert(id, entry);
        Ok(Update { undo: Undo { producer_id: id, before, started_txn, completed_txn: None }, aborted: None })
    }

    /// The marker that ends a transaction, at `batch.base_offset`.
    pub(crate) fn append_marker(
        &mut self,
        batch: &BatchHeader,
        marker: EndTxnMarker,
        timestamp: i64,
        check: Check,
        partition: &dyn std::fmt::Display,
    ) -> Result<Update, ProducerError> {
        let id = batch.producer_id;
        let before = self.producers.get(&id).cloned();
        let mut entry = before.clone().unwrap_or_else(ProducerEntry::empty);
        if check != Check::Nothing {
            if batch.producer_epoch < entry.epoch {
                return Err(stale_epoch(id, batch.base_offset, partition, batch.producer_epoch, entry.epoch));
            }
            if marker.coordinator_epoch < entry.coordinator_epoch {
                return Err(ProducerError::CoordinatorFenced(format!(
                    "Invalid coordinator epoch for producerId {id} at offset {} in partition {partition}: {} (zombie), {} (current)",
                    batch.base_offset, marker.coordinator_epoch, entry.coordinator_epoch
                )));
            }
        }
        let completed_txn = entry.txn_first_offset.take();
        entry.set_epoch(batch.producer_epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_timestamp = timestamp;
        self.producers.insert(id, entry);
        let mut aborted = None;
        if let Some(first) = completed_txn {
            self.ongoing.remove(&first);
            if !marker.commit {
                let last_stable_offset = self.ongoing.keys().next().copied().unwrap_or(batch.base_offset + 1);
                aborted = Some(AbortedTxn {
                    producer_id: id,
                    first_offset: first,
                    last_offset: batch.base_offset,
                    last_stable_offset,
                });
            }
            self.unreplicated.insert(first, batch.base_offset);
        }
        Ok(Update { undo: Undo { producer_id: id, before, started_txn: None, completed_txn }, aborted })
    }

    /// Takes back the last batch that was appended.
    pub(crate) fn undo(&mut self, undo: Undo) {
        if let Some(first) = undo.started_txn {
            self.ongoing.remove(&first);
        }
        if let Some(first) = undo.completed_txn {
            self.unreplicated.remove(&first);
            self.ongoing.insert(first, undo.producer_id);
        }
        match undo.before {
            Some(entry) => self.producers.insert(undo.producer_id, entry),
            None => self.producers.remove(&undo.producer_id),
        };
    }

    /// Markers below the high watermark make their transactions stable.
    pub(crate) fn high_watermark_moved(&mut self, high_watermark: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// The first offset whose fate is open: of a running transaction, or of one whose marker readers cannot see yet.
    pub(crate) fn first_unstable_offset(&self) -> Option<i64> {
        let first = |map: &BTreeMap<i64, i64>| map.keys().next().copied();
        match (first(&self.ongoing), first(&self.unreplicated)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Forgets producers that were idle for `expiry_ms`, unless they have a transaction open.
    pub(crate) fn expire(&mut self, now_ms: i64, expiry_ms: i64) {
        self.producers.retain(|_, entry| !entry.is_expired(now_ms, expiry_ms));
    }

    pub(crate) fn summaries(&self) -> Vec<ProducerSummary> {
        let mut all: Vec<ProducerSummary> = (self.producers.iter())
            .map(|(id, entry)| ProducerSummary {
                producer_id: *id,
                producer_epoch: entry.epoch,
                last_sequence: entry.last_sequence(),
                last_timestamp: entry.last_timestamp,
                coordinator_epoch: entry.coordinator_epoch,
                current_txn_start_offset: entry.txn_first_offset.unwrap_or(-1),
            })
            .collect();
        all.sort_unstable_by_key(|producer| producer.producer_id);
        all
    }

    /// Entries in the order of their ids: snapshots of equal states are equal bytes.
    fn sorted(&self) -> Vec<(i64, &ProducerEntry)> {
        let mut all: Vec<_> = self.producers.iter().map(|(id, entry)| (*id, entry)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    fn load(&mut self, id: i64, entry: ProducerEntry) {
        if let Some(first) = entry.txn_first_offset {
            self.ongoing.insert(first, id);
        }
        self.producers.insert(id, entry);
    }
}

fn stale_epoch(id: i64, offset: i64, partition: &dyn std::fmt::Display, epoch: i16, seen: i16) -> ProducerError {
    ProducerError::InvalidEpoch(format!(
        "Epoch of producer {id} at offset {offset} in {partition} is {epoch}, which is smaller than the last seen epoch {seen}"
    ))
}

fn check_sequence(
    entry: &ProducerEntry,
    batch: &BatchHeader,
    partition: &dyn std::fmt::Display,
) -> Result<(), ProducerError> {
    let (id, offset, first) = (batch.producer_id, batch.base_offset, batch.base_sequence);
    if batch.producer_epoch != entry.epoch {
        if first != 0 && entry.epoch != NO_EPOCH {
            return Err(ProducerError::OutOfOrder(format!(
                "Invalid sequence number for new epoch of producer {id} at offset {offset} in partition {partition}: {} (request epoch), {first} (seq. number), {} (current producer epoch)",
                batch.producer_epoch, entry.epoch
            )));
        }
        return Ok(());
    }
    let last = entry.last_sequence();
    let follows = i64::from(first) == i64::from(last) + 1 || (first == 0 && last == i32::MAX);
    if follows {
        return Ok(());
    }
    Err(ProducerError::OutOfOrder(format!(
        "Out of order sequence number for producer {id} at offset {offset} in partition {partition}: {first} (incoming seq. number), {last} (current end sequence number)"
    )))
}

#[cfg(test)]
mod tests;
