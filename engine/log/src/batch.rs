//! A record batch of format 2: its header, read in place.
//!
//! Pure. A view never claims more bytes than there are: [`BatchView::parse`] checks the length field against the slice, and
//! nothing else in the header is trusted to size anything.
//!
//! ```text
//!  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc32c u32 (of 21..) | 21 attributes i16
//! 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64 | 43 producer id i64 | 51 producer epoch i16
//! 53 base sequence i32 | 57 record count i32 | 61 records
//! ```

use std::ops::Deref;

use crate::compression::Compression;

/// Bytes before the records.
pub const HEADER_BYTES: usize = 61;
/// Bytes that the length field does not count: the base offset and itself.
pub const LOG_OVERHEAD: usize = 12;
/// The first bytes, which the broker patches: base offset, length, leader epoch. They lie outside the checksum.
pub(crate) const PATCHED_BYTES: usize = 16;
/// The only format that Kafka 4 writes.
pub const MAGIC: i8 = 2;
/// A timestamp that is not there.
pub const NO_TIMESTAMP: i64 = -1;
/// Where the checksummed part begins.
pub(crate) const CRC_FROM: usize = 21;

const COMPRESSION_MASK: u8 = 0x07;
const TIMESTAMP_TYPE_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// Who sets a record's timestamp (topic config `message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer, per record.
    #[default]
    CreateTime,
    /// The broker, one for the whole batch.
    LogAppendTime,
}

/// Why bytes are not a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does: a batch cut by a fetch limit, or a torn write.
    #[error("{have} bytes are not a whole batch: {need} needed")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the header asks for, at least.
        need: usize,
    },
    /// The length field is smaller than a header.
    #[error("batch length {0} is smaller than its header")]
    TooSmall(i32),
    /// A format from before Kafka 0.11, or garbage.
    #[error("record format {0} is not served: only format 2 is")]
    Magic(i8),
}

/// The fields of a batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after the length field.
    pub length: i32,
    /// Epoch of the leader that wrote it; -1 from a client.
    pub leader_epoch: i32,
    /// CRC32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control, delete horizon.
    pub attributes: i16,
    /// Last offset minus base offset.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas add to; the delete horizon if that bit is set.
    pub base_timestamp: i64,
    /// Largest timestamp; -1 if none has one.
    pub max_timestamp: i64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1 without idempotence.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

fn bytes_at<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

impl BatchHeader {
    /// Reads a header. Only the length and the format are checked.
    pub fn parse(header: &[u8; HEADER_BYTES]) -> Result<BatchHeader, BatchError> {
        let length = i32::from_be_bytes(bytes_at(header, 8));
        let magic = i8::from_be_bytes(bytes_at(header, 16));
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        if usize::try_from(length).is_ok_and(|length| length >= HEADER_BYTES - LOG_OVERHEAD) {
            Ok(BatchHeader {
                base_offset: i64::from_be_bytes(bytes_at(header, 0)),
                length,
                leader_epoch: i32::from_be_bytes(bytes_at(header, 12)),
                crc: u32::from_be_bytes(bytes_at(header, 17)),
                attributes: i16::from_be_bytes(bytes_at(header, 21)),
                last_offset_delta: i32::from_be_bytes(bytes_at(header, 23)),
                base_timestamp: i64::from_be_bytes(bytes_at(header, 27)),
                max_timestamp: i64::from_be_bytes(bytes_at(header, 35)),
                producer_id: i64::from_be_bytes(bytes_at(header, 43)),
                producer_epoch: i16::from_be_bytes(bytes_at(header, 51)),
                base_sequence: i32::from_be_bytes(bytes_at(header, 53)),
                record_count: i32::from_be_bytes(bytes_at(header, 57)),
            })
        } else {
            Err(BatchError::TooSmall(length))
        }
    }

    /// Writes the header; the checksum is `self.crc`.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16..17].copy_from_slice(&MAGIC.to_be_bytes());
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Always 2: others do not parse.
    pub fn magic(&self) -> i8 {
        MAGIC
    }

    /// Offset of the last record, or of the last one that was there before compaction.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// Offset after the last.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Bytes of the whole batch.
    pub fn size_bytes(&self) -> usize {
        LOG_OVERHEAD + usize::try_from(self.length).unwrap_or(0)
    }

    /// The codec; `None` for the three ids that mean none.
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_id(self.compression_id())
    }

    /// The codec's id, 0..=7.
    pub fn compression_id(&self) -> u8 {
        self.attributes.to_be_bytes()[1] & COMPRESSION_MASK
    }

    /// Whose timestamps these are.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Holds a control record (transaction marker, KRaft) and no data.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The base timestamp is a delete horizon (set by compaction).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// Written by an idempotent or transactional producer.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence of the last record; wraps from 2^31 - 1 to 0. -1 without idempotence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 { -1 } else { add_sequence(self.base_sequence, self.last_offset_delta) }
    }
}

/// The attributes that a batch with these properties has.
pub(crate) fn attributes(codec: Compression, kind: TimestampType, transactional: bool, control: bool) -> i16 {
    let mut out = i16::from(codec as u8);
    if kind == TimestampType::LogAppendTime {
        out |= TIMESTAMP_TYPE_BIT;
    }
    if transactional {
        out |= TRANSACTIONAL_BIT;
    }
    if control {
        out |= CONTROL_BIT;
    }
    out
}

/// `sequence + delta`, wrapping from 2^31 - 1 to 0.
pub(crate) fn add_sequence(sequence: i32, delta: i32) -> i32 {
    match sequence.checked_add(delta) {
        Some(sum) => sum,
        None => delta - (i32::MAX - sequence) - 1,
    }
}

/// `sequence - delta`, wrapping from 0 to 2^31 - 1.
pub(crate) fn sub_sequence(sequence: i32, delta: i32) -> i32 {
    if sequence >= delta { sequence - delta } else { i32::MAX - (delta - sequence) + 1 }
}

/// A batch within some bytes: its header and exactly its bytes.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl Deref for BatchView<'_> {
    type Target = BatchHeader;

    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { have: bytes.len(), need: HEADER_BYTES });
        };
        let header = BatchHeader::parse(header)?;
        match bytes.get(..header.size_bytes()) {
            Some(bytes) => Ok(BatchView { header, bytes }),
            None => Err(BatchError::Truncated { have: bytes.len(), need: header.size_bytes() }),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, compressed as they are.
    pub fn records_bytes(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The header, as a value.
    pub fn header(&self) -> BatchHeader {
        self.header
    }

    /// The checksum of the bytes that are there.
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes[CRC_FROM..])
    }

    /// Whether the bytes are those that were written.
    pub fn crc_is_valid(&self) -> bool {
        self.computed_crc() == self.crc
    }
}

/// The batches in `bytes`, one after the other. Ends after the first error; a cut last batch is [`BatchError::Truncated`].
pub fn batches(bytes: &[u8]) -> impl Iterator<Item = Result<BatchView<'_>, BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let batch = BatchView::parse(rest);
        rest = match &batch {
            Ok(batch) => &rest[batch.size_bytes()..],
            Err(_) => &[],
        };
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_from_the_largest_int_to_zero() {
        assert_eq!(add_sequence(i32::MAX, 1), 0);
        assert_eq!(add_sequence(i32::MAX - 2, 5), 2);
        assert_eq!(sub_sequence(2, 5), i32::MAX - 2);
        assert_eq!(sub_sequence(0, 1), i32::MAX);
        assert_eq!(sub_sequence(7, 7), 0);
    }

    #[test]
    fn a_length_field_larger_than_the_bytes_is_a_truncated_batch() {
        let header = BatchHeader {
            base_offset: 0,
            length: i32::MAX,
            leader_epoch: 0,
            crc: 0,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 1,
        };
        let bytes = header.encode();
        assert!(matches!(BatchView::parse(&bytes), Err(BatchError::Truncated { have: 61, .. })));
        assert_eq!(BatchHeader::parse(&bytes), Ok(header));
        let short = BatchHeader { length: 48, ..header }.encode();
        assert_eq!(BatchView::parse(&short).unwrap_err(), BatchError::TooSmall(48));
        let negative = BatchHeader { length: -1, ..header }.encode();
        assert_eq!(BatchView::parse(&negative).unwrap_err(), BatchError::TooSmall(-1));
    }
}
