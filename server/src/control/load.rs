//! From the bytes of batches to the image: what snapshots, the bootstrap file and the log have in common. Pure.
//!
//! Records between BeginTransaction and EndTransaction become visible together at its end, or never. Anything that does
//! not add up ends the load: metadata is not guessed.

use std::ops::ControlFlow;

use bytes::Bytes;
use kringle_log::{BatchView, try_for_each_record};
use kringle_protocol::DecodeError;
use kringle_protocol::messages::VotersRecord;
use kringle_protocol::metadata_record::MetadataRecord;

use super::control_records::ControlRecord;
use super::image::{Image, ImageDelta};
use super::replay::ReplayError;

/// The most that a batch may decode to; Kafka writes batches of at most 8 MiB.
const BATCH_LIMIT_BYTES: u64 = 256 << 20;

/// Why batches cannot be taken into the image.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are damaged.
    #[error("the batch at offset {offset} is damaged: {reason}")]
    Damaged {
        /// Its base offset.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes are damaged, or a later Kafka wrote them.
    #[error("the record at offset {offset} cannot be read: {source}")]
    Undecodable {
        /// Its offset.
        offset: i64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The record does not fit to those before it.
    #[error("the record at offset {offset} cannot be applied: {source}")]
    Contradiction {
        /// Its offset.
        offset: i64,
        /// What it contradicts.
        source: ReplayError,
    },
    /// Begin and end markers do not pair.
    #[error("the record at offset {offset} begins or ends a metadata transaction where none can")]
    Unpaired {
        /// Its offset.
        offset: i64,
    },
}

/// Takes batches in, in the order of the log.
#[derive(Debug, Default)]
pub struct Loader {
    /// The image so far. Its offset is that of the last record, a transaction that is still open included.
    pub image: Image,
    /// What changed since it was taken last.
    pub delta: ImageDelta,
    /// The last voters met.
    pub voters: Option<VotersRecord>,
    /// Whether the footer of a snapshot was met.
    pub footer_seen: bool,
    /// The time of the last log record that the snapshot contains.
    pub snapshot_timestamp_ms: Option<i64>,
    /// Whether a record other than of control was met.
    pub any_record: bool,
    /// The records of the open transaction.
    open: Option<Vec<(i64, MetadataRecord)>>,
}

impl Loader {
    /// Before the first record.
    pub fn new() -> Loader {
        Loader { image: Image::empty(), ..Loader::default() }
    }

    /// Whether a transaction was begun and not ended.
    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Takes in one batch of the log.
    ///
    /// # Errors
    /// See [`LoadError`]; the loader is of no use then.
    pub fn log_batch(&mut self, batch: &BatchView<'_>) -> Result<(), LoadError> {
        self.batch(batch)?;
        let header = batch.header();
        self.image.offset = header.last_offset();
        self.image.epoch = header.leader_epoch;
        self.image.timestamp_ms = self.image.timestamp_ms.max(header.max_timestamp);
        Ok(())
    }

    /// Takes in one batch whose offsets mean nothing: of a snapshot, or of the bootstrap file.
    ///
    /// # Errors
    /// See [`LoadError`]; the loader is of no use then.
    pub fn batch(&mut self, batch: &BatchView<'_>) -> Result<(), LoadError> {
        let header = batch.header();
        let damaged = |reason: &dyn std::fmt::Display| LoadError::Damaged {
            offset: header.base_offset,
            reason: reason.to_string(),
        };
        if !batch.crc_is_valid() {
            return Err(damaged(&"its checksum is wrong"));
        }
        let mut outcome = Ok(());
        let walked = try_for_each_record(batch, BATCH_LIMIT_BYTES, |record| {
            outcome = if header.is_control() {
                self.control(record.offset, record.key, record.value)
            } else {
                self.framed(record.offset, record.value)
            };
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        walked.map_err(|error| damaged(&error))?;
        outcome
    }

    fn control(&mut self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), LoadError> {
        let record = ControlRecord::decode(key, value).map_err(|source| LoadError::Undecodable { offset, source })?;
        match record {
            ControlRecord::SnapshotHeader(header) => {
                self.snapshot_timestamp_ms = Some(header.last_contained_log_timestamp);
            }
            ControlRecord::SnapshotFooter(_) => self.footer_seen = true,
            ControlRecord::KRaftVersion(record) => self.image.kraft_version = record.kraft_version,
            ControlRecord::Voters(record) => self.voters = Some(record),
            ControlRecord::LeaderChange(_) | ControlRecord::Other(_) => {}
        }
        Ok(())
    }

    fn framed(&mut self, offset: i64, value: Option<&[u8]>) -> Result<(), LoadError> {
        let value = Bytes::copy_from_slice(value.unwrap_or_default());
        let (record, _) =
            MetadataRecord::decode_framed(value).map_err(|source| LoadError::Undecodable { offset, source })?;
        self.record(offset, record)
    }

    /// Takes in one record.
    ///
    /// # Errors
    /// See [`LoadError`]; the loader is of no use then.
    pub fn record(&mut self, offset: i64, record: MetadataRecord) -> Result<(), LoadError> {
        self.any_record = true;
        match (&record, &mut self.open) {
            (MetadataRecord::BeginTransactionRecord(_), open @ None) => *open = Some(Vec::new()),
            (MetadataRecord::AbortTransactionRecord(_), open @ Some(_)) => *open = None,
            (MetadataRecord::EndTransactionRecord(_), open @ Some(_)) => {
                for (offset, record) in open.take().into_iter().flatten() {
                    self.apply(offset, &record)?;
                }
            }
            (
                MetadataRecord::BeginTransactionRecord(_)
                | MetadataRecord::EndTransactionRecord(_)
                | MetadataRecord::AbortTransactionRecord(_),
                _,
            ) => return Err(LoadError::Unpaired { offset }),
            (_, Some(open)) => open.push((offset, record)),
            (_, None) => self.apply(offset, &record)?,
        }
        Ok(())
    }

    fn apply(&mut self, offset: i64, record: &MetadataRecord) -> Result<(), LoadError> {
        self.image.apply(record, &mut self.delta).map_err(|source| LoadError::Contradiction { offset, source })
    }
}

#[cfg(test)]
mod tests {
    use kringle_protocol::messages::{
        AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, TopicRecord,
    };

    use super::*;

    fn begin() -> MetadataRecord {
        MetadataRecord::BeginTransactionRecord(BeginTransactionRecord::default())
    }

    fn end() -> MetadataRecord {
        MetadataRecord::EndTransactionRecord(EndTransactionRecord::default())
    }

    fn abort() -> MetadataRecord {
        MetadataRecord::AbortTransactionRecord(AbortTransactionRecord::default())
    }

    fn topic(name: &str) -> MetadataRecord {
        let id = kringle_protocol::Uuid::from_bytes([name.as_bytes()[0]; 16]);
        MetadataRecord::TopicRecord(TopicRecord { name: name.to_owned(), topic_id: id })
    }

    fn load(records: Vec<MetadataRecord>) -> Result<Loader, LoadError> {
        let mut loader = Loader::new();
        for (offset, record) in (0..).zip(records) {
            loader.record(offset, record)?;
        }
        Ok(loader)
    }

    fn names(loader: &Loader) -> Vec<&str> {
        loader.image.topics().map(|topic| topic.name.as_str()).collect()
    }

    #[test]
    fn a_transaction_is_seen_at_its_end_or_never() {
        let open = load(vec![topic("a"), begin(), topic("b")]).expect("fits");
        assert_eq!((names(&open), open.in_transaction()), (vec!["a"], true));
        let ended = load(vec![topic("a"), begin(), topic("b"), end(), topic("c")]).expect("fits");
        assert_eq!((names(&ended), ended.in_transaction()), (vec!["a", "b", "c"], false));
        let aborted = load(vec![topic("a"), begin(), topic("b"), abort(), topic("c")]).expect("fits");
        assert_eq!(names(&aborted), ["a", "c"]);
    }

    #[test]
    fn markers_without_their_partner_are_refused() {
        for records in [vec![end()], vec![abort()], vec![begin(), begin()], vec![begin(), end(), end()]] {
            assert!(matches!(load(records), Err(LoadError::Unpaired { .. })));
        }
    }
}
