//! Kafka's small text files: offset checkpoints, `leader-epoch-checkpoint`, `partition.metadata`.
//!
//! Checkpoints are `version\ncount\nlines`, replaced atomically. A file that is not what it should be is an error that names
//! it: Kafka stops on it too, and guessing would move offsets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use kringle_protocol::Uuid;
use kringle_runtime::Fs;

use crate::epochs::EpochEntry;
use crate::topic_partition::TopicPartition;

/// Offsets of the partitions of a log directory, as in `recovery-point-offset-checkpoint`.
pub type OffsetCheckpoint = BTreeMap<TopicPartition, i64>;

/// Why one of these files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Not in the format. Remove the file only if you know that the log is whole: it is rebuilt by a recovery.
    #[error("{path}: malformed line {line:?}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line at fault.
        line: String,
    },
}

/// The lines of a checkpoint file, or `None` if there is no such file.
fn read_lines(fs: &Fs, path: &Path) -> Result<Option<Vec<String>>, CheckpointError> {
    let text = match fs.read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Io { path: path.to_owned(), source }),
    };
    let malformed =
        |line: &str| CheckpointError::Malformed { path: path.to_owned(), line: line.chars().take(200).collect() };
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    if version.trim() != "0" {
        return Err(malformed(version));
    }
    let count = lines.next().unwrap_or_default();
    let expected: usize = count.trim().parse().map_err(|_| malformed(count))?;
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.len() == expected { Ok(Some(lines)) } else { Err(malformed(count)) }
}

fn write_lines(fs: &Fs, path: &Path, lines: impl ExactSizeIterator<Item = String>) -> io::Result<()> {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    fs.write_atomic(path, text.as_bytes())
}

/// Reads an offset checkpoint; a missing file is an empty one.
pub fn read_offsets(fs: &Fs, path: &Path) -> Result<OffsetCheckpoint, CheckpointError> {
    let mut offsets = OffsetCheckpoint::new();
    for line in read_lines(fs, path)?.unwrap_or_default() {
        let mut fields = line.split_whitespace();
        let parsed = (|| {
            let topic = fields.next()?;
            let partition = fields.next()?.parse().ok()?;
            let offset = fields.next()?.parse().ok()?;
            fields.next().is_none().then(|| (TopicPartition::new(topic, partition), offset))
        })();
        let Some((partition, offset)) = parsed else {
            return Err(CheckpointError::Malformed { path: path.to_owned(), line });
        };
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

/// Replaces an offset checkpoint.
pub fn write_offsets(fs: &Fs, path: &Path, offsets: &OffsetCheckpoint) -> io::Result<()> {
    write_lines(fs, path, offsets.iter().map(|(p, offset)| format!("{} {} {offset}", p.topic, p.partition)))
}

/// Reads a `leader-epoch-checkpoint`; a missing file is an empty one.
pub(crate) fn read_epochs(fs: &Fs, path: &Path) -> Result<Vec<EpochEntry>, CheckpointError> {
    let parse = |line: String| {
        let entry = line.split_once(' ').and_then(|(epoch, offset)| {
            Some(EpochEntry { epoch: epoch.parse().ok()?, start_offset: offset.trim().parse().ok()? })
        });
        entry.ok_or_else(|| CheckpointError::Malformed { path: path.to_owned(), line })
    };
    read_lines(fs, path)?.unwrap_or_default().into_iter().map(parse).collect()
}

pub(crate) fn write_epochs(fs: &Fs, path: &Path, entries: &[EpochEntry]) -> io::Result<()> {
    write_lines(fs, path, entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset)))
}

/// The topic id in a `partition.metadata`, or `None` if there is no such file.
pub fn read_partition_metadata(fs: &Fs, path: &Path) -> Result<Option<Uuid>, CheckpointError> {
    let text = match fs.read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Io { path: path.to_owned(), source }),
    };
    let field = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next()
    };
    let id = field("version").filter(|version| *version == "0").and_then(|_| field("topic_id")?.parse().ok());
    match id {
        Some(id) => Ok(Some(id)),
        None => {
            let line = text.lines().next().unwrap_or_default().chars().take(200).collect();
            Err(CheckpointError::Malformed { path: path.to_owned(), line })
        }
    }
}

/// Writes a `partition.metadata`, durably.
pub fn write_partition_metadata(fs: &Fs, path: &Path, topic_id: Uuid) -> io::Result<()> {
    let mut text = String::new();
    writeln!(text, "version: 0").and_then(|()| write!(text, "topic_id: {topic_id}")).map_err(io::Error::other)?;
    fs.write_atomic(path, text.as_bytes())
}
