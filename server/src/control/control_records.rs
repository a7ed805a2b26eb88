//! Control records of the raft layer: who leads, who votes, where a snapshot begins and ends. Their batches have the
//! control flag, their keys are a version and a type, and unlike metadata records they stand outside any frame.

use bytes::Bytes;
use kringle_log::{BatchBuilder, Compression};
use kringle_protocol::messages::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use kringle_protocol::{DecodeError, EncodeError, Message, Reader, Writer};

const LEADER_CHANGE: i16 = 2;
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;
const KRAFT_VERSION: i16 = 5;
const KRAFT_VOTERS: i16 = 6;

/// One control record. All are written in version 0, as Kafka 4.3.1 does.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRecord {
    /// The first record of an epoch.
    LeaderChange(LeaderChangeMessage),
    /// The first record of a snapshot.
    SnapshotHeader(SnapshotHeaderRecord),
    /// The last record of a snapshot: without it the file is not whole.
    SnapshotFooter(SnapshotFooterRecord),
    /// Whether the voters are in the log.
    KRaftVersion(KRaftVersionRecord),
    /// The voters.
    Voters(VotersRecord),
    /// One that this version need not understand.
    Other(i16),
}

impl ControlRecord {
    /// Reads a record of a control batch.
    ///
    /// # Errors
    /// The bytes are no control record.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<ControlRecord, DecodeError> {
        let mut key = Reader::new(Bytes::copy_from_slice(key.unwrap_or_default()));
        let _version = key.i16()?;
        let mut value = Reader::new(Bytes::copy_from_slice(value.unwrap_or_default()));
        Ok(match key.i16()? {
            LEADER_CHANGE => ControlRecord::LeaderChange(LeaderChangeMessage::decode(&mut value, 0)?),
            SNAPSHOT_HEADER => ControlRecord::SnapshotHeader(SnapshotHeaderRecord::decode(&mut value, 0)?),
            SNAPSHOT_FOOTER => ControlRecord::SnapshotFooter(SnapshotFooterRecord::decode(&mut value, 0)?),
            KRAFT_VERSION => ControlRecord::KRaftVersion(KRaftVersionRecord::decode(&mut value, 0)?),
            KRAFT_VOTERS => ControlRecord::Voters(VotersRecord::decode(&mut value, 0)?),
            other => ControlRecord::Other(other),
        })
    }

    fn encode(&self) -> Result<(Bytes, Bytes), EncodeError> {
        let mut value = Writer::default();
        let kind = match self {
            ControlRecord::LeaderChange(record) => {
                record.encode(&mut value, 0)?;
                LEADER_CHANGE
            }
            ControlRecord::SnapshotHeader(record) => {
                record.encode(&mut value, 0)?;
                SNAPSHOT_HEADER
            }
            ControlRecord::SnapshotFooter(record) => {
                record.encode(&mut value, 0)?;
                SNAPSHOT_FOOTER
            }
            ControlRecord::KRaftVersion(record) => {
                record.encode(&mut value, 0)?;
                KRAFT_VERSION
            }
            ControlRecord::Voters(record) => {
                record.encode(&mut value, 0)?;
                KRAFT_VOTERS
            }
            ControlRecord::Other(kind) => *kind,
        };
        let mut key = Writer::default();
        key.i16(0);
        key.i16(kind);
        Ok((key.finish().0.freeze(), value.finish().0.freeze()))
    }
}

/// A control batch of these records.
///
/// # Errors
/// A string is longer than Kafka's format allows.
pub fn control_batch(
    records: &[ControlRecord],
    base_offset: i64,
    epoch: i32,
    now_ms: i64,
) -> Result<Bytes, EncodeError> {
    let mut batch = BatchBuilder::new(Compression::None).control();
    for record in records {
        let (key, value) = record.encode()?;
        batch.append(now_ms, Some(&key), Some(&value), &[]);
    }
    Ok(batch.build(base_offset, epoch))
}
