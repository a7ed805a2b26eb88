//! Formatting log directories, and reading what they say of themselves, as Kafka's StorageTool does.
//!
//! Each log directory has a `meta.properties` (version 1) with the ids of node, cluster and directory, and a
//! `bootstrap.checkpoint` with the first metadata records. A directory is formatted only while it is empty. Where the
//! settings do not name the voters (`controller.quorum.voters`), the voter stands in the metadata log (kraft.version 1), as
//! `format --standalone` has it: Kafka could not open the directory with the same settings otherwise.

use std::io;
use std::path::{Path, PathBuf};

use kringle_log::{DirError, LogDir, MetaProperties};
use kringle_protocol::messages::{FeatureLevelRecord, VotersRecord};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::{EncodeError, Uuid, voters_record};
use kringle_runtime::Fs;

use super::controller::registration::Endpoint;
use super::features::{LATEST_METADATA_VERSION, METADATA_VERSION};
use super::metadata_log;
use super::snapshot_file::{self, SnapshotFrame, SnapshotId};

/// What may be in a directory that was not formatted yet: our lock, what `mkfs.ext4` leaves, and what a format leaves that
/// was cut off.
const NOT_CONTENT: &[&str] =
    &[".lock", "lost+found", "bootstrap.checkpoint", "bootstrap.checkpoint.tmp", "meta.properties.tmp"];

/// The snapshot that says who votes before there is any record.
const FIRST_SNAPSHOT: SnapshotId = SnapshotId { end_offset: 0, epoch: 0 };

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
/// directory id then. `standalone` is where this node's controller can be reached, if its directory is to say so.
///
/// # Errors
/// See [`FormatError`].
pub fn identify(
    fs: &Fs,
    dirs: &[LogDir],
    node_id: i32,
    cluster_id: Option<&str>,
    standalone: Option<&[Endpoint]>,
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
            if found.is_none() {
                write_first_records(fs, dir, now_ms)?;
                if let Some(endpoints) = standalone.filter(|_| all.is_empty()) {
                    write_voter(fs, dir, node_id, directory_id, endpoints, now_ms)?;
                }
            }
            // Last: it is what makes the directory a formatted one.
            dir.write_meta(&meta).map_err(|source| FormatError::Io { dir: dir.path().to_owned(), source })?;
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
    for entry in entries {
        if !NOT_CONTENT.contains(&entry.name.as_str()) && !is_cut_off_format(fs, dir, &entry.name)? {
            return Err(FormatError::NotEmpty { dir: dir.to_owned(), found: entry.name });
        }
    }
    Ok(())
}

/// Whether it is the metadata's directory with nothing but its voter in it.
fn is_cut_off_format(fs: &Fs, dir: &Path, name: &str) -> Result<bool, FormatError> {
    if name != metadata_log::DIRECTORY {
        return Ok(false);
    }
    let entries = fs.list(dir.join(name)).map_err(|source| FormatError::Io { dir: dir.to_owned(), source })?;
    Ok(entries.iter().all(|entry| entry.name.starts_with(&FIRST_SNAPSHOT.file_name())))
}

fn write_first_records(fs: &Fs, dir: &LogDir, now_ms: i64) -> Result<(), FormatError> {
    let bytes = snapshot_file::encode(&frame(0, now_ms, None), bootstrap_records().into_iter())?;
    let written = fs.write_atomic(dir.path().join(snapshot_file::BOOTSTRAP), &bytes);
    written.map_err(|source| FormatError::Io { dir: dir.path().to_owned(), source })
}

/// A snapshot before the first record, with nothing but the one voter in it.
fn write_voter(
    fs: &Fs,
    dir: &LogDir,
    node_id: i32,
    directory_id: Uuid,
    endpoints: &[Endpoint],
    now_ms: i64,
) -> Result<(), FormatError> {
    let endpoint = |e: &Endpoint| voters_record::Endpoint { name: e.name.clone(), host: e.host.clone(), port: e.port };
    let voter = voters_record::Voter {
        voter_id: node_id,
        voter_directory_id: directory_id,
        endpoints: endpoints.iter().map(endpoint).collect(),
        kraft_version_feature: voters_record::KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: 1,
        },
    };
    let voters = VotersRecord { version: 0, voters: vec![voter] };
    let bytes = snapshot_file::encode(&frame(now_ms, now_ms, Some(&voters)), std::iter::empty())?;
    let log = dir.path().join(metadata_log::DIRECTORY);
    let written = fs.create_dir_all(&log).and_then(|()| fs.write_atomic(log.join(FIRST_SNAPSHOT.file_name()), &bytes));
    written.map_err(|source| FormatError::Io { dir: log, source })
}

/// The records of a new directory. A feature that is not finalized has no record.
pub fn bootstrap_records() -> Vec<MetadataRecord> {
    let record = FeatureLevelRecord { name: METADATA_VERSION.to_owned(), feature_level: LATEST_METADATA_VERSION };
    vec![MetadataRecord::FeatureLevelRecord(record)]
}

fn frame(last_timestamp_ms: i64, now_ms: i64, voters: Option<&VotersRecord>) -> SnapshotFrame<'_> {
    SnapshotFrame { epoch: 0, last_timestamp_ms, now_ms, voters, metadata_version: LATEST_METADATA_VERSION }
}
