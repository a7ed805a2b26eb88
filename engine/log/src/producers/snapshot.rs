//! `<offset>.snapshot`: the producers of a partition as they were at an offset.
//!
//! ```text
//! version i16 = 1 | crc32c u32 of all that follows | count i32 | { producer id i64 | epoch i16 | last sequence i32
//!   | last offset i64 | offset delta i32 | timestamp i64 | coordinator epoch i32 | first offset of the open transaction i64, or -1 }
//! ```

use smallvec::smallvec;

use super::{BatchSeen, ProducerEntry, ProducerState};

const VERSION: i16 = 1;
const ENTRY_BYTES: usize = 46;
const HEADER_BYTES: usize = 10;
const CRC_AT: usize = 2;
const CRC_FROM: usize = 6;

/// Why a snapshot cannot be used; the one before it is, and the log is read from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("snapshot has unknown version {0}")]
    Version(i16),
    #[error("snapshot is cut or has bytes too many")]
    Length,
    #[error("snapshot has checksum {computed}, not {stored}")]
    Checksum { stored: u32, computed: u32 },
}

pub(crate) fn encode(state: &ProducerState) -> Vec<u8> {
    let producers = state.sorted();
    let mut out = Vec::with_capacity(HEADER_BYTES + producers.len() * ENTRY_BYTES);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; CRC_FROM - CRC_AT]);
    let count = i32::try_from(producers.len()).expect("producers of a partition fit into memory");
    out.extend_from_slice(&count.to_be_bytes());
    for (id, entry) in producers {
        let last = entry.batches.last();
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&entry.epoch.to_be_bytes());
        out.extend_from_slice(&entry.last_sequence().to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset).to_be_bytes());
        out.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&entry.txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c::crc32c(&out[CRC_FROM..]);
    out[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    out
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(SnapshotError::Length)?;
        self.0 = rest;
        Ok(*field)
    }
}

/// The state at `offset`, without the producers that have expired.
pub(crate) fn decode(bytes: &[u8], offset: i64, now_ms: i64, expiry_ms: i64) -> Result<ProducerState, SnapshotError> {
    let mut fields = Fields(bytes);
    let version = i16::from_be_bytes(fields.take()?);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let stored = u32::from_be_bytes(fields.take()?);
    let computed = crc32c::crc32c(fields.0);
    if stored != computed {
        return Err(SnapshotError::Checksum { stored, computed });
    }
    let count = i32::from_be_bytes(fields.take()?);
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES)) != Some(fields.0.len()) {
        return Err(SnapshotError::Length);
    }
    let mut state = ProducerState::starting_at(offset);
    for _ in 0..count {
        let id = i64::from_be_bytes(fields.take()?);
        let epoch = i16::from_be_bytes(fields.take()?);
        let last_sequence = i32::from_be_bytes(fields.take()?);
        let last_offset = i64::from_be_bytes(fields.take()?);
        let offset_delta = i32::from_be_bytes(fields.take()?);
        let timestamp = i64::from_be_bytes(fields.take()?);
        let coordinator_epoch = i32::from_be_bytes(fields.take()?);
        let txn_first_offset = Some(i64::from_be_bytes(fields.take()?)).filter(|offset| *offset >= 0);
        let mut entry = ProducerEntry {
            epoch,
            coordinator_epoch,
            last_timestamp: timestamp,
            txn_first_offset,
            batches: smallvec![],
        };
        if last_offset >= 0 {
            entry.batches.push(BatchSeen { last_sequence, last_offset, offset_delta, timestamp });
        }
        if !entry.is_expired(now_ms, expiry_ms) {
            state.load(id, entry);
        }
    }
    Ok(state)
}
