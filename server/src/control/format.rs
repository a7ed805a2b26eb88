//! Formatting log directories, and reading what they say of themselves, as Kafka's StorageTool does.
//!
//! Each log directory has a `meta.properties` (version 1) with the ids of node, cluster and directory, and a
//! `bootstrap.checkpoint` with the first metadata records. A directory is formatted only while it is empty.

use std::io;
use std::path::{Path, PathBuf};

use kringle_log::{DirError, LogDir, MetaProperties};
use kringle_protocol::messages::FeatureLevelRecord;
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{EncodeError, Uuid};
use kringle_runtime::Fs;

use super::features::{LATEST_METADATA_VERSION, METADATA_VERSION};
use super::snapshot_file::{self, SnapshotFrame};

/// What may be in a directory that was not formatted yet: our lock, what `mkfs.ext4` leaves, and what a format leaves that
/// was cut off.
const NOT_CONTENT: &[&str] =
    &[".lock", "lost+found", "bootstrap.checkpoint", "bootstrap.checkpoint.tmp", "meta.properties.tmp"];

/// Why directories cannot be used. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file system refuses.
    #[error("log.dirs={dir}: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Formatting would hide data that is there.
    #[error(
        "log.dirs={dir}: has no meta.properties but is not empty ({found}). Restore the file, or name an empty directory"
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// Something that is in it.
        found: String,
    },
    /// The directory's own files.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The directory belongs to somebody else.
    #[error(
        "log.dirs={dir}: meta.properties says {name}={found}, but this broker has {expected}. Mend node.id or log.dirs"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Which id differs.
        name: &'static str,
        /// The directory's.
        found: String,
        /// This broker's.
        expected: String,
    },
    /// Two directories say they are the same one.
    #[error("log.dirs={dir}: has the directory.id of another directory: {id}. One is a copy of the other")]
    SameDirectory {
        /// The directory.
        dir: PathBuf,
        /// The id.
        id: Uuid,
    },
    /// The metadata records cannot be written: a mistake of this program.
    #[error("the bootstrap records cannot be written: {0}")]
    Encode(#[from] EncodeError),
}

/// Finds out whose the directories are, the first being that of the metadata; formats those that are new. All have a
/// directory id then.
///
/// # Errors
/// See [`FormatError`].
pub fn identify(
    fs: &Fs,
    dirs: &[LogDir],
    node_id: i32,
    cluster_id: Option<&str>,
    new_id: &mut dyn FnMut() -> Uuid,
    now_ms: i64,
) -> Result<Vec<Formatted>, FormatError> {
    let mut cluster_id = cluster_id.map(str::to_owned);
    let mut found = Vec::with_capacity(dirs.len());
    for dir in dirs {
        let meta = dir.meta()?;
        match &meta {
            Some(meta) => check_owner(dir, meta, node_id, cluster_id.get_or_insert_with(|| meta.cluster_id.clone()))?,
            None => check_empty(fs, dir.path())?,
        }
        found.push(meta);
    }
    let cluster_id = cluster_id.unwrap_or_else(|| new_id().to_string());
    let mut all: Vec<Formatted> = Vec::with_capacity(dirs.len());
    for (dir, found) in dirs.iter().zip(found) {
        let own_id = found.as_ref().and_then(|meta| meta.directory_id);
        let directory_id = own_id.unwrap_or_else(&mut *new_id);
        if all.iter().any(|other| other.directory_id == directory_id) {
            return Err(FormatError::SameDirectory { dir: dir.path().to_owned(), id: directory_id });
        }
        if own_id.is_none() {
            let meta = MetaProperties { node_id, cluster_id: cluster_id.clone(), directory_id: Some(directory_id) };
            format(fs, dir, &meta, found.is_none(), now_ms)?;
        }
        all.push(Formatted { path: dir.path().to_owned(), cluster_id: cluster_id.clone(), directory_id });
    }
    Ok(all)
}

/// A formatted directory of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// Where it is.
    pub path: PathBuf,
    /// `cluster.id`
    pub cluster_id: String,
    /// `directory.id`
    pub directory_id: Uuid,
}

fn check_owner(dir: &LogDir, meta: &MetaProperties, node_id: i32, cluster_id: &str) -> Result<(), FormatError> {
    let foreign = |name, found: String, expected: String| {
        Err(FormatError::Foreign { dir: dir.path().to_owned(), name, found, expected })
    };
    if meta.node_id != node_id {
        return foreign("node.id", meta.node_id.to_string(), node_id.to_string());
    }
    if meta.cluster_id != cluster_id {
        return foreign("cluster.id", meta.cluster_id.clone(), cluster_id.to_owned());
    }
    Ok(())
}

/// Only an empty directory is formatted: one that lost its `meta.properties` still has data.
fn check_empty(fs: &Fs, dir: &Path) -> Result<(), FormatError> {
    let entries = fs.list(dir).map_err(|source| FormatError::Io { dir: dir.to_owned(), source })?;
    match entries.into_iter().find(|entry| !NOT_CONTENT.contains(&entry.name.as_str())) {
        Some(entry) => Err(FormatError::NotEmpty { dir: dir.to_owned(), found: entry.name }),
        None => Ok(()),
    }
}

/// The bootstrap records first: `meta.properties` is what makes the directory a formatted one.
fn format(fs: &Fs, dir: &LogDir, meta: &MetaProperties, is_new: bool, now_ms: i64) -> Result<(), FormatError> {
    let io = |source| FormatError::Io { dir: dir.path().to_owned(), source };
    if is_new {
        let bytes = bootstrap_bytes(now_ms)?;
        fs.write_atomic(dir.path().join(snapshot_file::BOOTSTRAP), &bytes).map_err(io)?;
    }
    dir.write_meta(meta).map_err(io)
}

/// The records of a new directory. A feature that is not finalized has no record.
pub fn bootstrap_records() -> Vec<MetadataRecord> {
    let record = FeatureLevelRecord { name: METADATA_VERSION.to_owned(), feature_level: LATEST_METADATA_VERSION };
    vec![MetadataRecord::FeatureLevelRecord(record)]
}

fn bootstrap_bytes(now_ms: i64) -> Result<Vec<u8>, EncodeError> {
    let frame = SnapshotFrame {
        epoch: 0,
        last_timestamp_ms: 0,
        now_ms,
        voters: None,
        metadata_version: LATEST_METADATA_VERSION,
    };
    snapshot_file::encode(&frame, bootstrap_records().into_iter())
}
