//! One log directory: its lock, its small files, and the names in it that mean something to Kafka.
//!
//! Owned by the control thread; blocking. The lock is held as long as the [`LogDir`] lives, and is the one that Kafka takes, so
//! that the two never run on one directory.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use kringle_protocol::Uuid;
use kringle_runtime::{FileLock, Fs};

use crate::checkpoint::{CheckpointError, OffsetCheckpoint, read_offsets, write_offsets};
use crate::topic_partition::TopicPartition;

const LOCK: &str = ".lock";
const META: &str = "meta.properties";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Kafka writes a file name no longer than this.
const MAX_NAME_BYTES: usize = 255;

/// Why a log directory cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another broker runs on it.
    #[error("locked by another broker: stop that one, or give this one a directory of its own")]
    Locked,
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// `meta.properties` is not what it should be.
    #[error("{path}: {why}")]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Who a directory belongs to: `meta.properties`, version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// `node.id`
    pub node_id: i32,
    /// `cluster.id`
    pub cluster_id: String,
    /// `directory.id`; Kafka adds it to directories that lack it.
    pub directory_id: Option<Uuid>,
}

/// Which offsets a checkpoint file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Where recovery of each log begins after a crash: [`crate::PartitionLog::recovery_point`].
    RecoveryPoint,
    /// The high watermarks.
    Replication,
    /// Log starts that DeleteRecords has raised above the first segment's base.
    LogStart,
}

impl Checkpoint {
    fn file_name(self) -> &'static str {
        match self {
            Checkpoint::RecoveryPoint => "recovery-point-offset-checkpoint",
            Checkpoint::Replication => "replication-offset-checkpoint",
            Checkpoint::LogStart => "log-start-offset-checkpoint",
        }
    }
}

/// What a directory of a partition is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is the log.
    Log,
    /// `-delete`: the topic was deleted; remove it.
    Delete,
    /// `-stray`: of a topic that the metadata does not know; kept for the operator.
    Stray,
    /// `-future`: a replica being moved here from another log directory.
    Future,
}

/// A directory of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDir {
    /// Its path.
    pub path: PathBuf,
    /// The partition; the topic may be cut short in the name of a deleted one.
    pub partition: TopicPartition,
    /// What it is there for.
    pub purpose: Purpose,
}

/// What is in a log directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Directories of partitions.
    pub partitions: Vec<PartitionDir>,
    /// Other directories: Kafka does not start on a log directory that has any.
    pub unknown: Vec<String>,
}

/// A log directory, locked.
pub struct LogDir {
    fs: Fs,
    path: PathBuf,
    _lock: FileLock,
}

impl LogDir {
    /// Makes the directory if it is not there, and locks it.
    pub fn open(fs: &Fs, path: &Path) -> Result<LogDir, DirError> {
        let io = |source| DirError::Io { path: path.to_owned(), source };
        fs.create_dir_all(path).map_err(io)?;
        let lock = fs.lock(path.join(LOCK)).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => DirError::Locked,
            _ => io(source),
        })?;
        Ok(LogDir { fs: fs.clone(), path: path.to_owned(), _lock: lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a partition's log is.
    pub fn partition_path(&self, partition: &TopicPartition) -> PathBuf {
        self.path.join(partition.to_string())
    }

    /// Who the directory belongs to; `None` if it was never formatted.
    pub fn meta(&self) -> Result<Option<MetaProperties>, DirError> {
        let path = self.path.join(META);
        match self.fs.read_to_string(&path) {
            Ok(text) => parse_meta(&text).map(Some).map_err(|why| DirError::Meta { path, why }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DirError::Io { path, source }),
        }
    }

    /// Marks the directory as belonging to a node.
    pub fn write_meta(&self, meta: &MetaProperties) -> io::Result<()> {
        let mut text = String::from("#\n");
        let mut line =
            |key: &str, value: &dyn std::fmt::Display| writeln!(text, "{key}={value}").map_err(io::Error::other);
        line("cluster.id", &meta.cluster_id)?;
        if let Some(id) = meta.directory_id {
            line("directory.id", &id)?;
        }
        line("node.id", &meta.node_id)?;
        line("version", &1)?;
        self.fs.write_atomic(self.path.join(META), text.as_bytes())
    }

    /// A checkpoint; empty if the file is not there.
    pub fn read_checkpoint(&self, which: Checkpoint) -> Result<OffsetCheckpoint, CheckpointError> {
        read_offsets(&self.fs, &self.path.join(which.file_name()))
    }

    /// Replaces a checkpoint, atomically and durably.
    pub fn write_checkpoint(&self, which: Checkpoint, offsets: &OffsetCheckpoint) -> io::Result<()> {
        write_offsets(&self.fs, &self.path.join(which.file_name()), offsets)
    }

    /// The mark of a clean stop, with the broker epoch that it holds, if any. `None`: the last stop was not clean.
    pub fn clean_shutdown(&self) -> io::Result<Option<Option<i64>>> {
        match self.fs.read_to_string(self.path.join(CLEAN_SHUTDOWN)) {
            Ok(text) => Ok(Some(broker_epoch_in(&text))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(Some(None)),
            Err(e) => Err(e),
        }
    }

    /// Removes the mark, durably: from now on a stop is unclean until the mark is written again.
    pub fn remove_clean_shutdown(&self) -> io::Result<()> {
        match self.fs.remove_file(self.path.join(CLEAN_SHUTDOWN)) {
            Ok(()) => self.fs.sync_dir(&self.path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Writes the mark: the very last thing before the process ends, after all logs are closed and checkpoints written.
    pub fn write_clean_shutdown(&self, broker_epoch: i64) -> io::Result<()> {
        let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        self.fs.write_atomic(self.path.join(CLEAN_SHUTDOWN), text.as_bytes())
    }

    /// What is in the directory.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in self.fs.list(&self.path)?.into_iter().filter(|entry| entry.is_dir) {
            match parse_dir_name(&entry.name) {
                Some((partition, purpose)) => {
                    listing.partitions.push(PartitionDir { path: self.path.join(&entry.name), partition, purpose });
                }
                None => listing.unknown.push(entry.name),
            }
        }
        Ok(listing)
    }

    /// See [`rename_away`].
    pub fn rename_away(&self, partition: &TopicPartition, purpose: Purpose, unique: u128) -> io::Result<PathBuf> {
        rename_away(&self.fs, &self.path, partition, purpose, unique)
    }

    /// Removes a directory that was renamed away. Blocking, perhaps for long.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_dir_all(path)
    }
}

/// Takes a log out of the directory's topics: renames it to `<topic>-<partition>.<unique>-delete` (or `-stray`), durably. Its
/// new path, to be removed later. `unique` is random. Blocking.
pub fn rename_away(
    fs: &Fs,
    log_dir: &Path,
    partition: &TopicPartition,
    purpose: Purpose,
    unique: u128,
) -> io::Result<PathBuf> {
    let to = log_dir.join(away_name(partition, purpose, unique));
    fs.rename(log_dir.join(partition.to_string()), &to)?;
    fs.sync_dir(log_dir)?;
    Ok(to)
}

fn suffix(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Log => "",
        Purpose::Delete => "-delete",
        Purpose::Stray => "-stray",
        Purpose::Future => "-future",
    }
}

/// The name after a rename; the topic is cut so that it stays a legal file name.
fn away_name(partition: &TopicPartition, purpose: Purpose, unique: u128) -> String {
    let tail = format!("-{}.{unique:032x}{}", partition.partition, suffix(purpose));
    let keep = partition.topic.len().min(MAX_NAME_BYTES - tail.len());
    format!("{}{tail}", partition.topic.get(..keep).unwrap_or(&partition.topic))
}

fn parse_dir_name(name: &str) -> Option<(TopicPartition, Purpose)> {
    for purpose in [Purpose::Delete, Purpose::Stray, Purpose::Future] {
        let renamed = name.strip_suffix(suffix(purpose)).and_then(|rest| rest.rsplit_once('.'));
        if let Some(partition) = renamed.and_then(|(name, _)| TopicPartition::from_dir_name(name)) {
            return Some((partition, purpose));
        }
    }
    TopicPartition::from_dir_name(name).map(|partition| (partition, Purpose::Log))
}

/// Java's property files, as far as Kafka writes them: `key=value`, comments, a backslash before what it escapes.
fn parse_meta(text: &str) -> Result<MetaProperties, String> {
    let mut node_id = None;
    let mut cluster_id = None;
    let mut directory_id = None;
    let mut version = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
        let (key, value) = line.split_once(['=', ':']).ok_or_else(|| format!("malformed line {line:?}"))?;
        let value = value.trim().replace('\\', "");
        match key.trim() {
            "version" => version = Some(value),
            "node.id" | "broker.id" => {
                node_id = Some(value.parse().map_err(|_| format!("{}={value} is not a number", key.trim()))?);
            }
            "cluster.id" => cluster_id = Some(value),
            "directory.id" => {
                let id = value.parse().map_err(|_| format!("directory.id={value} is not a uuid"))?;
                directory_id = Some(id);
            }
            _ => {}
        }
    }
    match version.as_deref() {
        Some("1") => {}
        Some(other) => {
            return Err(format!("version={other} is not served: format the directory with Kafka 3.x or later"));
        }
        None => return Err("version is missing".to_owned()),
    }
    Ok(MetaProperties {
        node_id: node_id.ok_or("node.id is missing")?,
        cluster_id: cluster_id.ok_or("cluster.id is missing")?,
        directory_id,
    })
}

/// The number after `"brokerEpoch":`, if it is one.
fn broker_epoch_in(json: &str) -> Option<i64> {
    let (_, rest) = json.split_once("\"brokerEpoch\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories_tell_what_they_are_for() {
        let purpose = |name: &str| parse_dir_name(name).map(|(partition, purpose)| (partition.to_string(), purpose));
        assert_eq!(purpose("a-b.c-12"), Some(("a-b.c-12".into(), Purpose::Log)));
        let partition = TopicPartition::new("a-b.c", 3);
        for kind in [Purpose::Delete, Purpose::Stray, Purpose::Future] {
            let name = away_name(&partition, kind, 0xabc);
            assert_eq!(purpose(&name), Some(("a-b.c-3".into(), kind)), "{name}");
        }
        for name in ["lost+found", "topic", "topic-", "-1", "topic-x", "topic--1"] {
            assert!(name == "topic--1" || purpose(name).is_none(), "{name}");
        }
        let long = away_name(&TopicPartition::new("x".repeat(249), 10), Purpose::Delete, u128::MAX);
        assert_eq!(long.len(), 255);
        assert!(purpose(&long).is_some());
    }

    #[test]
    fn meta_properties_are_read_as_java_writes_them() {
        let text = "#\n#Fri Nov 21 10:00:00 UTC 2026\ncluster.id=V-jtGqzT3SxFSWjsg0Q5A\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=1\nversion=1\n";
        let meta = parse_meta(text).unwrap();
        assert_eq!((meta.node_id, meta.cluster_id.as_str()), (1, "V-jtGqzT3SxFSWjsg0Q5A"));
        assert!(meta.directory_id.is_some());
        assert_eq!(
            parse_meta("version=0\nbroker.id=1\n").unwrap_err(),
            "version=0 is not served: format the directory with Kafka 3.x or later"
        );
        assert_eq!(parse_meta("version=1\ncluster.id=x\n").unwrap_err(), "node.id is missing");
    }

    #[test]
    fn the_broker_epoch_is_found_in_the_mark_of_a_clean_stop() {
        assert_eq!(broker_epoch_in("{\"version\":0,\"brokerEpoch\":42}"), Some(42));
        assert_eq!(broker_epoch_in("{ \"brokerEpoch\" : -1 }"), Some(-1));
        assert_eq!(broker_epoch_in(""), None);
    }
}
