//! Opening a partition's directory: a new one, one that was closed, or one that a crash left.
//!
//! What Kafka's `LogLoader` does. Clean: the indexes are looked at, the last batch is found, the producer snapshot is loaded; nothing
//! is scanned. Unclean: segments from the recovery point on are read through and cut at the first batch that is not whole, has a
//! wrong checksum or goes back in offsets; what lies after it is removed; indexes, producer state and epochs are rebuilt, and the
//! result is synced, so that it is durable before it is served. An index that is missing or cannot be right is rebuilt in any
//! case. Blocking; many partitions may be opened at once on as many threads.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use kringle_protocol::Uuid;
use kringle_runtime::{Fs, Open};

use crate::batch::{BatchHeader, BatchView};
use crate::checkpoint::{read_epochs, read_partition_metadata, write_epochs, write_partition_metadata};
use crate::config::LogConfig;
use crate::control::EndTxnMarker;
use crate::epochs::LeaderEpochs;
use crate::error::LogError;
use crate::index::{OffsetIndex, TimeIndex};
use crate::producers::{Check, ProducerState, snapshot};
use crate::scan::{LOOKUP_BYTES, SCAN_BYTES, Window};
use crate::segment::{ActiveSegment, Kind, NewFiles, Newest, SealedSegment, SegmentFiles, locate, path};
use crate::topic_partition::TopicPartition;
use crate::txn_index::{self, AbortedTxn};

use super::append::{Staging, Tail};
use super::roll::{LEADER_EPOCHS, write_snapshot};
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

/// Files of a segment found in the directory.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    log: Option<u64>,
    offsets: Option<u64>,
    times: Option<u64>,
    txns: bool,
}

struct Opening<'a> {
    fs: &'a Fs,
    dir: &'a Path,
    how: &'a OpenLog<'a>,
    segments: BTreeMap<i64, Found>,
    snapshots: BTreeSet<i64>,
    epochs: LeaderEpochs,
    log_start: i64,
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
        let mut opening = Opening {
            fs,
            dir,
            how: &how,
            segments: BTreeMap::new(),
            snapshots: BTreeSet::new(),
            epochs: LeaderEpochs::new(read_epochs(fs, &dir.join(LEADER_EPOCHS))?),
            log_start: how.log_start_offset.unwrap_or(0).max(0),
        };
        opening.list().map_err(failed(dir))?;
        let loaded = opening.load().map_err(failed(dir))?;
        let Opening { epochs, log_start, snapshots, segments, .. } = opening;
        let Loaded { active, log_end, producers } = loaded;

        let sealed: VecDeque<SealedSegment> = (segments.iter())
            .filter(|(base_offset, _)| **base_offset != active.base_offset)
            .map(|(base_offset, found)| SealedSegment {
                base_offset: *base_offset,
                size: found.log.unwrap_or(0),
                newest: Cell::new(None),
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
            let end = end_of(&file, file.len()?, 0, base_offset)?.1;
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

/// From `position` on: where the last whole batch ends, the offset after it, and its header.
fn end_of(
    log: &kringle_runtime::File,
    size: u64,
    mut position: u64,
    mut next_offset: i64,
) -> io::Result<(u64, i64, Option<BatchHeader>)> {
    let mut window = Window::new(log, size, LOOKUP_BYTES);
    let mut last = None;
    while let Some(header) = window.header(position)? {
        if header.base_offset < next_offset && last.is_some() {
            break;
        }
        position += header.size_bytes() as u64;
        next_offset = header.next_offset();
        last = Some(header);
    }
    Ok((position, next_offset, last))
}

struct Loaded {
    active: ActiveSegment,
    log_end: i64,
    producers: ProducerState,
}

/// A segment that was read through.
struct Rebuilt {
    segment: ActiveSegment,
    next_offset: i64,
    /// Bytes that were cut off.
    cut: u64,
}

impl Opening<'_> {
    fn list(&mut self) -> io::Result<()> {
        for entry in self.fs.list(self.dir)? {
            let Some((kind, base_offset)) = Kind::parse(&entry.name).filter(|_| !entry.is_dir) else { continue };
            if kind == Kind::Snapshot {
                self.snapshots.insert(base_offset);
                continue;
            }
            let found = self.segments.entry(base_offset).or_default();
            match kind {
                Kind::Log => found.log = Some(entry.len),
                Kind::OffsetIndex => found.offsets = Some(entry.len),
                Kind::TimeIndex => found.times = Some(entry.len),
                Kind::TxnIndex => found.txns = true,
                Kind::Snapshot => {}
            }
        }
        let orphans: Vec<i64> =
            (self.segments.iter()).filter(|(_, found)| found.log.is_none()).map(|(at, _)| *at).collect();
        for base_offset in orphans {
            tracing::warn!("{}: indexes of segment {base_offset} without its log are removed", self.dir.display());
            self.remove_segment(base_offset, false)?;
        }
        Ok(())
    }

    fn remove_segment(&mut self, base_offset: i64, snapshot: bool) -> io::Result<()> {
        for kind in Kind::ALL.into_iter().filter(|kind| snapshot || *kind != Kind::Snapshot) {
            match self.fs.remove_file(path(self.dir, base_offset, kind)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if snapshot {
            self.snapshots.remove(&base_offset);
        }
        self.segments.remove(&base_offset);
        Ok(())
    }

    fn load(&mut self) -> io::Result<Loaded> {
        let mut rebuilt = self.recover()?;
        let last = self.segments.last_key_value().map(|(base_offset, found)| (*base_offset, *found));
        let mut active = match last {
            Some((base_offset, found)) => {
                match rebuilt.take().filter(|rebuilt| rebuilt.segment.base_offset == base_offset) {
                    Some(rebuilt) => Some((rebuilt.segment, rebuilt.next_offset)),
                    None => Some(self.open_active(base_offset, found)?),
                }
            }
            None => None,
        };
        if let Some((_, log_end)) = active.as_ref().filter(|(_, log_end)| *log_end < self.log_start) {
            tracing::warn!(
                "{}: ends at {log_end}, before its log start {}: its segments are removed",
                self.dir.display(),
                self.log_start
            );
            for base_offset in self.segments.keys().copied().collect::<Vec<_>>() {
                self.remove_segment(base_offset, true)?;
            }
            self.epochs.clear();
            active = None;
        }
        let (active, log_end) = match active {
            Some(active) => active,
            None => self.new_active()?,
        };
        self.segments.entry(active.base_offset).or_default();
        let first = self.segments.first_key_value().map_or(self.log_start, |(first, _)| *first);
        self.log_start = self.log_start.max(first);
        self.epochs.truncate_from_end(log_end + 1);
        self.epochs.truncate_from_start(self.log_start);
        if self.epochs.is_dirty() {
            write_epochs(self.fs, &self.dir.join(LEADER_EPOCHS), self.epochs.entries())?;
            self.epochs.mark_clean();
        }
        self.drop_stray_snapshots(log_end)?;
        let producers = self.producers_at(log_end)?;
        Ok(Loaded { active, log_end, producers })
    }

    /// The empty log.
    fn new_active(&mut self) -> io::Result<(ActiveSegment, i64)> {
        let config = &self.how.config;
        let preallocate = config.preallocate.then_some(u64::from(config.segment_bytes));
        let files = NewFiles::create(self.fs, self.dir, self.log_start, preallocate)?;
        self.fs.sync_dir(self.dir)?;
        let active = ActiveSegment::new(files, self.log_start, self.how.now_ms, config.preallocate)?;
        Ok((active, self.log_start))
    }

    /// Reads through what may be damaged; the last segment, if it was among that.
    fn recover(&mut self) -> io::Result<Option<Rebuilt>> {
        let recovery_point = self.how.recovery_point;
        // The segment that holds the recovery point, and all after it.
        let from = match self.how.clean {
            true => i64::MAX,
            false => {
                self.segments.range(..=recovery_point).next_back().map_or(i64::MIN, |(base_offset, _)| *base_offset)
            }
        };
        let wanted: Vec<i64> = (self.segments.iter())
            .filter(|(base_offset, found)| **base_offset >= from || !found.indexes_look_whole())
            .map(|(base_offset, _)| *base_offset)
            .collect();
        let mut producers: Option<ProducerState> = None;
        let mut last = None;
        for (done, base_offset) in wanted.iter().enumerate() {
            let state = match producers.take().filter(|state| state.end_offset() == *base_offset) {
                Some(state) => state,
                None => self.producers_at(*base_offset)?,
            };
            let (rebuilt, state) = self.rebuild(*base_offset, state)?;
            let bytes = rebuilt.segment.size;
            if rebuilt.cut > 0 {
                tracing::warn!(
                    "{}: segment {base_offset} has {} bytes after offset {} that are no batches: cut off",
                    self.dir.display(),
                    rebuilt.cut,
                    rebuilt.next_offset
                );
            }
            let cut = rebuilt.cut > 0 && *base_offset >= from;
            producers = Some(state);
            last = Some(rebuilt);
            if let Some(progress) = self.how.progress {
                progress(Progress { segments_done: done + 1, segments: wanted.len(), bytes });
            }
            if cut {
                let after: Vec<i64> =
                    self.segments.range(base_offset + 1..).map(|(base_offset, _)| *base_offset).collect();
                for base_offset in after {
                    tracing::warn!("{}: segment {base_offset} after the cut is removed", self.dir.display());
                    self.remove_segment(base_offset, true)?;
                }
                break;
            }
        }
        Ok(last)
    }

    /// Reads a segment through from its first batch: cuts it after the last good one, rebuilds its indexes, and leaves a producer
    /// snapshot at its end. Everything is synced.
    fn rebuild(&mut self, base_offset: i64, mut state: ProducerState) -> io::Result<(Rebuilt, ProducerState)> {
        let open = |kind, how| self.fs.open(path(self.dir, base_offset, kind), how);
        let log = open(Kind::Log, Open::ReadWrite)?;
        let (offsets, times) = (open(Kind::OffsetIndex, Open::Create)?, open(Kind::TimeIndex, Open::Create)?);
        offsets.set_len(0)?;
        times.set_len(0)?;
        if self.segments.get(&base_offset).is_some_and(|found| found.txns) {
            self.fs.remove_file(path(self.dir, base_offset, Kind::TxnIndex))?;
        }
        let len = log.len()?;
        let files = NewFiles { log, offsets, times };
        let mut segment = ActiveSegment::new(files, base_offset, self.how.now_ms, self.how.config.preallocate)?;
        let log = segment.log.clone();
        let mut window = Window::new(&log, len, SCAN_BYTES);
        let mut next_offset = base_offset;
        let mut aborted = Vec::new();
        let mut position = 0;
        while let Some(batch) = window.batch(position)? {
            let fits = i32::try_from(batch.last_offset().wrapping_sub(base_offset)).is_ok();
            if batch.base_offset < next_offset || batch.last_offset_delta < 0 || !fits || !batch.crc_is_valid() {
                break;
            }
            let header = batch.header();
            if header.leader_epoch >= 0 && self.epochs.latest().is_none_or(|latest| header.leader_epoch > latest) {
                self.epochs.assign(header.leader_epoch, header.base_offset);
            }
            aborted.extend(replay(&mut state, &batch));
            segment.note_for_indexes(&header, position, self.how.config.index_interval_bytes);
            segment.remember(&header, position);
            next_offset = header.next_offset();
            position += header.size_bytes() as u64;
            segment.size = position;
        }
        let cut = len - position;
        if cut > 0 {
            segment.log.set_len(position)?;
        }
        segment.times.maybe_append(segment.newest.timestamp, segment.newest.offset);
        segment.offsets.flush()?;
        segment.times.flush()?;
        if !aborted.is_empty() {
            segment.has_aborted_txns = true;
            let file = self.fs.open(path(self.dir, base_offset, Kind::TxnIndex), Open::Create)?;
            for txn in &aborted {
                txn_index::append(&file, txn)?;
            }
            file.sync_data()?;
        }
        for file in [&segment.log, segment.offsets.file(), segment.times.file()] {
            file.sync_data()?;
        }
        state.set_end_offset(next_offset);
        if next_offset > base_offset && !self.snapshots.contains(&next_offset) {
            write_snapshot(self.fs, self.dir, next_offset, &snapshot::encode(&state))?;
            self.snapshots.insert(next_offset);
        }
        self.fs.sync_dir(self.dir)?;
        let found = self.segments.entry(base_offset).or_default();
        *found = Found {
            log: Some(position),
            offsets: Some(segment.offsets.len_bytes() as u64),
            times: Some(segment.times.len_bytes() as u64),
            txns: segment.has_aborted_txns,
        };
        Ok((Rebuilt { segment, next_offset, cut }, state))
    }

    /// The last segment after a clean stop: only what lies after its last index entry is looked at.
    fn open_active(&mut self, base_offset: i64, found: Found) -> io::Result<(ActiveSegment, i64)> {
        let open = |kind| self.fs.open(path(self.dir, base_offset, kind), Open::ReadWrite);
        let log = open(Kind::Log)?;
        let size = found.log.unwrap_or(0);
        let offsets = OffsetIndex::open(open(Kind::OffsetIndex)?, base_offset, found.offsets.unwrap_or(0));
        let times = TimeIndex::open(open(Kind::TimeIndex)?, base_offset, found.times.unwrap_or(0))?;
        let sane = offsets.looks_sane(size)? && times.looks_sane()?;
        let position = if sane { offsets.last()?.map_or(0, |(_, position)| position) } else { 0 };
        let (end, next_offset, _) = end_of(&log, size, position, base_offset)?;
        if !sane || end != size {
            tracing::warn!(
                "{}: segment {base_offset} is not as a clean stop leaves it: it is read through",
                self.dir.display()
            );
            let state = self.producers_at(base_offset)?;
            let (rebuilt, _) = self.rebuild(base_offset, state)?;
            return Ok((rebuilt.segment, rebuilt.next_offset));
        }
        let first = Window::new(&log, size, LOOKUP_BYTES).header(0)?;
        let newest = self.newest_of(&log, size, position, &times)?;
        let mut segment =
            ActiveSegment::with(log, offsets, times, base_offset, self.how.now_ms, self.how.config.preallocate);
        segment.first_timestamp = first.map(|header| header.max_timestamp);
        segment.newest = newest;
        segment.size = size;
        segment.has_aborted_txns = found.txns;
        segment.bytes_since_index_entry = size - position;
        Ok((segment, next_offset))
    }

    /// The newest timestamp: in the time index, or after its last entry.
    fn newest_of(
        &self,
        log: &kringle_runtime::File,
        size: u64,
        mut position: u64,
        times: &TimeIndex,
    ) -> io::Result<Newest> {
        let mut newest = times.last()?.map_or(Newest::NONE, |(timestamp, offset)| Newest { timestamp, offset });
        let mut window = Window::new(log, size, LOOKUP_BYTES);
        while let Some(header) = window.header(position)? {
            if header.max_timestamp > newest.timestamp {
                newest = Newest { timestamp: header.max_timestamp, offset: header.last_offset() };
            }
            position += header.size_bytes() as u64;
        }
        Ok(newest)
    }

    /// Snapshots belong to the start of a segment; the newest may also stand at the log end.
    fn drop_stray_snapshots(&mut self, log_end: i64) -> io::Result<()> {
        let last_base = self.segments.last_key_value().map_or(0, |(base_offset, _)| *base_offset);
        let newest = self.snapshots.range(..=log_end).next_back().copied();
        let stray: Vec<i64> = (self.snapshots.iter().copied())
            .filter(|at| {
                let of_segment = self.segments.contains_key(at) && *at > self.log_start;
                let at_end = Some(*at) == newest && *at >= last_base;
                *at > log_end || !(of_segment || at_end)
            })
            .collect();
        for at in stray {
            self.drop_snapshot(at)?;
        }
        Ok(())
    }

    fn drop_snapshot(&mut self, at: i64) -> io::Result<()> {
        self.snapshots.remove(&at);
        match self.fs.remove_file(path(self.dir, at, Kind::Snapshot)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// The producers as of `offset`: the newest usable snapshot at or before it, and the log after that.
    fn producers_at(&mut self, offset: i64) -> io::Result<ProducerState> {
        let mut state = None;
        while let Some(at) = self.snapshots.range(..=offset).next_back().copied() {
            let bytes = self.fs.read(path(self.dir, at, Kind::Snapshot))?;
            match snapshot::decode(&bytes, at, self.how.now_ms, self.how.producer_expiry_ms) {
                Ok(loaded) => {
                    state = Some(loaded);
                    break;
                }
                Err(e) => {
                    tracing::warn!("{}: producer snapshot {at} is not used: {e}", self.dir.display());
                    self.drop_snapshot(at)?;
                }
            }
        }
        // A directory that was closed without any snapshot has no producers to remember (Kafka's rule for old directories).
        if state.is_none() && self.how.clean {
            return Ok(ProducerState::starting_at(offset));
        }
        let mut state = state.unwrap_or_else(|| ProducerState::starting_at(self.log_start));
        let start = state.end_offset();
        for (base_offset, found) in self.segments.range(..offset) {
            let end = self.segments.range(base_offset + 1..).next().map_or(i64::MAX, |(next, _)| *next);
            if end > start {
                let size = found.log.unwrap_or(0);
                replay_segment(self.fs, self.dir, *base_offset, size, offset, &mut state)?;
            }
        }
        state.set_end_offset(offset);
        Ok(state)
    }
}

impl Found {
    /// Both indexes are there and hold whole entries.
    fn indexes_look_whole(&self) -> bool {
        let whole = |len: Option<u64>, entry: usize| len.is_some_and(|len| len % entry as u64 == 0);
        whole(self.offsets, OffsetIndex::ENTRY_BYTES) && whole(self.times, TimeIndex::ENTRY_BYTES)
    }
}

/// Reads the batches of a segment from the state's end up to `upto` into the state.
fn replay_segment(
    fs: &Fs,
    dir: &Path,
    base_offset: i64,
    size: u64,
    upto: i64,
    state: &mut ProducerState,
) -> io::Result<()> {
    let files = match SegmentFiles::open(fs, dir, base_offset) {
        Ok(files) => files,
        // The index is yet to be rebuilt; the log is read from its start.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let log = fs.open(path(dir, base_offset, Kind::Log), Open::Read)?;
            return replay_log(&log, size, 0, upto, state);
        }
        Err(e) => return Err(e),
    };
    let from = locate(&files.log, size, &files.offsets, state.end_offset())?;
    match from {
        Some(batch) => replay_log(&files.log, size, batch.position, upto, state),
        None => Ok(()),
    }
}

fn replay_log(
    log: &kringle_runtime::File,
    size: u64,
    mut position: u64,
    upto: i64,
    state: &mut ProducerState,
) -> io::Result<()> {
    let start = state.end_offset();
    let mut window = Window::new(log, size, SCAN_BYTES);
    while let Some(header) = window.header(position)? {
        if header.base_offset >= upto {
            break;
        }
        if header.has_producer_id()
            && header.base_offset >= start
            && let Some(batch) = window.batch(position)?
        {
            replay(state, &batch);
        }
        position += header.size_bytes() as u64;
    }
    Ok(())
}

/// History is taken as it is.
fn replay(state: &mut ProducerState, batch: &BatchView<'_>) -> Option<AbortedTxn> {
    if !batch.has_producer_id() {
        return None;
    }
    let header = batch.header();
    let update = if batch.is_control() {
        let (marker, timestamp) = EndTxnMarker::of(batch).ok().flatten()?;
        state.append_marker(&header, marker, timestamp, Check::Nothing, &"")
    } else {
        state.append_data(&header, Check::Nothing, &"")
    };
    update.ok().and_then(|update| update.aborted)
}
