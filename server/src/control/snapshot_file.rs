//! Files of metadata snapshots: `<end offset>-<epoch>.checkpoint` beside the metadata log, and `bootstrap.checkpoint` with
//! the first records of a directory. Batches as in a log: a header, the records, a footer. A file is written whole under
//! another name and then renamed, so that one with the right name is complete.

use std::path::Path;

use bytes::Bytes;
use kringle_log::{BatchBuilder, Compression, batches};
use kringle_protocol::EncodeError;
use kringle_protocol::messages::{KRaftVersionRecord, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_runtime::Fs;

use super::control_records::{ControlRecord, control_batch};
use super::load::{LoadError, Loader};
use super::versions;

/// The file with the first records of a directory.
pub const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// How many records Kafka puts into a batch of a snapshot.
const RECORDS_PER_BATCH: usize = 1024;

/// Which records a snapshot contains: those below the end offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The offset after its last record.
    pub end_offset: i64,
    /// The epoch of its last record.
    pub epoch: i32,
}

impl SnapshotId {
    /// The name of its file.
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset, self.epoch)
    }

    /// Reads the name of a file; `None`: it is none of a snapshot.
    pub fn parse(file_name: &str) -> Option<SnapshotId> {
        let (end_offset, epoch) = file_name.strip_suffix(".checkpoint")?.split_once('-')?;
        let is_number = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        if !(is_number(end_offset, 20) && is_number(epoch, 10)) {
            return None;
        }
        Some(SnapshotId { end_offset: end_offset.parse().ok()?, epoch: epoch.parse().ok()? })
    }
}

/// What stands in a snapshot besides the metadata.
#[derive(Clone, Debug)]
pub struct SnapshotFrame<'a> {
    /// Of all its batches.
    pub epoch: i32,
    /// When the last record that it contains was appended.
    pub last_timestamp_ms: i64,
    /// Now.
    pub now_ms: i64,
    /// `None` with voters from the configuration.
    pub voters: Option<&'a VotersRecord>,
    /// Decides on the versions of the records.
    pub metadata_version: i16,
}

/// The bytes of a snapshot.
///
/// # Errors
/// A string is longer than Kafka's format allows.
pub fn encode(
    frame: &SnapshotFrame<'_>,
    records: impl Iterator<Item = MetadataRecord>,
) -> Result<Vec<u8>, EncodeError> {
    let header = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: frame.last_timestamp_ms };
    let mut control = vec![ControlRecord::SnapshotHeader(header)];
    if let Some(voters) = frame.voters {
        control.push(ControlRecord::KRaftVersion(KRaftVersionRecord { version: 0, kraft_version: 1 }));
        control.push(ControlRecord::Voters(voters.clone()));
    }
    let mut offset = i64::try_from(control.len()).expect("at most three");
    let mut bytes = control_batch(&control, 0, frame.epoch, frame.now_ms)?.to_vec();
    let mut records = records.peekable();
    while records.peek().is_some() {
        let mut batch = BatchBuilder::new(Compression::None);
        for record in records.by_ref().take(RECORDS_PER_BATCH) {
            let version = versions::record_version(&record, frame.metadata_version);
            batch.append(frame.now_ms, None, Some(&record.encode_framed(version)?), &[]);
        }
        let count = i64::from(batch.count());
        bytes.extend_from_slice(&batch.build(offset, frame.epoch));
        offset += count;
    }
    let footer = [ControlRecord::SnapshotFooter(SnapshotFooterRecord { version: 0 })];
    bytes.extend_from_slice(&control_batch(&footer, offset, frame.epoch, frame.now_ms)?);
    Ok(bytes)
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What it says makes no sense.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It has no footer.
    #[error("it ends before its footer")]
    Cut,
}

/// Takes a whole snapshot in.
///
/// # Errors
/// See [`SnapshotError`].
pub fn read(fs: &Fs, path: &Path) -> Result<Loader, SnapshotError> {
    let bytes = Bytes::from(fs.read(path)?);
    let mut loader = Loader::new();
    for batch in batches(&bytes) {
        let batch =
            batch.map_err(|error| LoadError::Damaged { offset: loader.image.offset(), reason: error.to_string() })?;
        loader.batch(&batch)?;
    }
    if loader.footer_seen { Ok(loader) } else { Err(SnapshotError::Cut) }
}

/// The snapshots of a directory, oldest first.
///
/// # Errors
/// The directory cannot be listed.
pub fn list(fs: &Fs, dir: &Path) -> std::io::Result<Vec<SnapshotId>> {
    let mut found: Vec<_> = fs.list(dir)?.iter().filter_map(|entry| SnapshotId::parse(&entry.name)).collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_snapshot_has_its_numbers_in_full_width() {
        let id = SnapshotId { end_offset: 60, epoch: 1 };
        assert_eq!(id.file_name(), "00000000000000000060-0000000001.checkpoint");
        assert_eq!(SnapshotId::parse(&id.file_name()), Some(id));
        for other in ["bootstrap.checkpoint", "60-1.checkpoint", "00000000000000000060-0000000001.checkpoint.part"] {
            assert_eq!(SnapshotId::parse(other), None, "{other}");
        }
    }
}
