//! Opening a partition's directory: a new one, one that was closed, or one that a crash left.
//!
//! Here is what happens to the directory as a whole: the topic id is checked or written, interrupted deletions and compactions are
//! finished or undone, and the loaded parts ([`super::recover`]) become a log. Blocking; many partitions may be opened at once on as
//! many threads.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use kringle_protocol::Uuid;
use kringle_runtime::{Fs, Open};

use crate::checkpoint::{read_epochs, read_partition_metadata, write_partition_metadata};
use crate::config::LogConfig;
use crate::epochs::LeaderEpochs;
use crate::error::LogError;
use crate::index::OffsetIndex;
use crate::segment::{Kind, KnownNewest, Newest, SealedSegment};
use crate::topic_partition::TopicPartition;

use super::append::{Staging, Tail};
use super::recover::{Loaded, Opening, end_of};
use super::roll::LEADER_EPOCHS;
use super::write::InFlight;
use super::{Offsets, PartitionLog, State};

/// File of the topic id.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";

/// How to open a log.
pub struct OpenLog<'a> {
    /// The partition.
    pub partition: TopicPartition,
    /// The topic's id; zero takes what the directory says.
    pub topic_id: Uuid,
    /// Its settings.
    pub config: LogConfig,
    /// The broker stopped cleanly (`.kafka_cleanshutdown` was there).
    pub clean: bool,
    /// From `recovery-point-offset-checkpoint`, 0 if it is not there.
    pub recovery_point: i64,
    /// From `log-start-offset-checkpoint`, if it is there.
    pub log_start_offset: Option<i64>,
    /// Where a follower's high watermark stood; `None` for the only replica, whose high watermark is the log end.
    pub high_watermark: Option<i64>,
    /// The wall clock.
    pub now_ms: i64,
    /// `producer.id.expiration.ms`
    pub producer_expiry_ms: i64,
    /// Told after each segment that was read through.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl OpenLog<'_> {
    /// Opens a new log, or one that was closed, as its only replica.
    pub fn new(partition: TopicPartition, topic_id: Uuid, config: LogConfig, now_ms: i64) -> Self {
        OpenLog {
            partition,
            topic_id,
            config,
            clean: true,
            recovery_point: 0,
            log_start_offset: None,
            high_watermark: None,
            now_ms,
            producer_expiry_ms: 86_400_000,
            progress: None,
        }
    }
}

/// How far the recovery of a log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Segments that were read through.
    pub segments_done: usize,
    /// Segments that are to be read through in all.
    pub segments: usize,
    /// Bytes of the segment that was just done.
    pub bytes: u64,
}

fn failed(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LogError {
    let path = path.into();
    move |source| LogError::Io { path, source }
}

impl PartitionLog {
    /// Opens the log in `dir`, which is made if it is not there.
    pub fn open(fs: &Fs, dir: &Path, how: OpenLog<'_>) -> Result<PartitionLog, LogError> {
        fs.create_dir_all(dir).map_err(failed(dir))?;
        let topic_id = topic_id_of(fs, dir, how.topic_id)?;
        tidy(fs, dir).map_err(failed(dir))?;
        let epochs = LeaderEpochs::new(read_epochs(fs, &dir.join(LEADER_EPOCHS))?);
        let mut opening = Opening::new(fs, dir, &how, epochs);
        opening.list().map_err(failed(dir))?;
        let loaded = opening.load().map_err(failed(dir))?;
        let Opening { epochs, log_start, snapshots, segments, .. } = opening;
        let Loaded { active, log_end, producers } = loaded;

        let sealed: VecDeque<SealedSegment> = (segments.iter())
            .filter(|(base_offset, _)| **base_offset != active.base_offset)
            .map(|(base_offset, found)| SealedSegment {
                base_offset: *base_offset,
                size: found.log.unwrap_or(0),
                newest: KnownNewest::default(),
                has_aborted_txns: found.txns,
            })
            .collect();
        let high_watermark = how.high_watermark.map_or(log_end, |mark| mark.clamp(log_start, log_end));
        let offsets = Offsets {
            log_start,
            last_stable: log_start,
            high_watermark,
            log_end,
            staged_end: log_end,
            durable: log_end,
            synced: log_end,
        };
        let tail = Tail {
            base_offset: active.base_offset,
            size: active.size,
            first_timestamp: active.first_timestamp,
            created_ms: active.created_ms,
            bytes_since_index_entry: active.bytes_since_index_entry,
            index_entries: (active.offsets.len_bytes() / OffsetIndex::ENTRY_BYTES) as u64,
        };
        let mut log = PartitionLog {
            partition: how.partition,
            topic_id,
            dir: dir.to_owned(),
            fs: fs.clone(),
            config: how.config,
            producer_expiry_ms: how.producer_expiry_ms,
            state: State::Open,
            sealed,
            active,
            open_sealed: Default::default(),
            offsets,
            epochs,
            producers,
            last_snapshot: snapshots.last().copied().unwrap_or(log_start),
            staging: Staging::new(tail),
            in_flight: InFlight::Nothing,
            unsynced: Default::default(),
            runway: Default::default(),
            refuses_appends: false,
        };
        log.settle_open(high_watermark);
        Ok(log)
    }

    fn settle_open(&mut self, high_watermark: i64) {
        self.producers.high_watermark_moved(high_watermark);
        let unstable = self.producers.first_unstable_offset().unwrap_or(i64::MAX);
        self.offsets.last_stable = high_watermark.min(unstable).max(self.offsets.log_start);
        self.offsets.check();
    }
}

/// The id in `partition.metadata`, which is written, durably, if it is not there.
fn topic_id_of(fs: &Fs, dir: &Path, expected: Uuid) -> Result<Uuid, LogError> {
    let path = dir.join(PARTITION_METADATA);
    match read_partition_metadata(fs, &path)? {
        Some(found) if expected == Uuid::ZERO || found == expected => Ok(found),
        Some(found) => Err(LogError::OtherTopic { path: dir.to_owned(), found, expected }),
        None => {
            if expected != Uuid::ZERO {
                write_partition_metadata(fs, &path, expected).map_err(failed(path))?;
            }
            Ok(expected)
        }
    }
}

/// Finishes or undoes what a crash interrupted: deletions, compactions.
fn tidy(fs: &Fs, dir: &Path) -> io::Result<()> {
    let entries = fs.list(dir)?;
    let names: Vec<&str> = entries.iter().filter(|entry| !entry.is_dir).map(|entry| entry.name.as_str()).collect();
    let swapped = |name: &str| name.strip_suffix(".swap").and_then(Kind::parse);
    let cleaned = |name: &str| name.strip_suffix(".cleaned").and_then(Kind::parse);
    // Swap files at or after a cleaned one belong to a split that did not come to its end.
    let first_cleaned =
        names.iter().filter_map(|name| cleaned(name)).map(|(_, offset)| offset).min().unwrap_or(i64::MAX);
    let mut replaced: Option<(i64, i64)> = None;
    for name in &names {
        // Snapshots of the metadata log are handled by its owner.
        let deleted = name.ends_with(".deleted") && !name.ends_with(".checkpoint.deleted");
        let unfinished = name.ends_with(".cleaned") || name.ends_with(".tmp");
        if deleted || unfinished || swapped(name).is_some_and(|(_, offset)| offset >= first_cleaned) {
            fs.remove_file(dir.join(name))?;
            continue;
        }
        if let Some((Kind::Log, base_offset)) = swapped(name) {
            let file = fs.open(dir.join(name), Open::Read)?;
            let end = end_of(&file, file.len()?, 0, base_offset, Newest::NONE)?.next_offset;
            let (from, to) = replaced.unwrap_or((base_offset, end));
            replaced = Some((from.min(base_offset), to.max(end)));
        }
    }
    let Some((from, to)) = replaced else { return Ok(()) };
    for name in &names {
        if Kind::parse(name).is_some_and(|(_, offset)| (from..to).contains(&offset)) {
            fs.remove_file(dir.join(name))?;
        }
    }
    for name in names.iter().filter(|name| swapped(name).is_some_and(|(_, offset)| offset < first_cleaned)) {
        fs.rename(dir.join(name), dir.join(name.trim_end_matches(".swap")))?;
    }
    fs.sync_dir(dir)
}
