//! Loading what is in a partition's directory, and mending it: what Kafka's `LogLoader` does.
//!
//! Clean: the indexes are looked at, the last batch is found, the producer snapshot is loaded; nothing is scanned. Unclean: segments
//! from the recovery point on are read through and cut at the first batch that is not whole, has a wrong checksum or goes back in
//! offsets; what lies after it is removed; indexes, producer state and epochs are rebuilt, and the result is synced, so that it is
//! durable before it is served. An index that is missing or cannot be right is rebuilt in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use kringle_runtime::{File, Fs, Open};

use crate::batch::BatchView;
use crate::checkpoint::write_epochs;
use crate::control::EndTxnMarker;
use crate::epochs::LeaderEpochs;
use crate::index::{OffsetIndex, TimeIndex};
use crate::producers::{Check, ProducerState, snapshot};
use crate::scan::{LOOKUP_BYTES, Reach, SCAN_BYTES, Window};
use crate::segment::{ActiveSegment, Kind, NewFiles, Newest, SegmentFiles, index_file, locate, path};
use crate::txn_index::{self, AbortedTxn};

use super::open::{OpenLog, Progress};
use super::roll::{LEADER_EPOCHS, write_snapshot};

/// Files of a segment found in the directory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) log: Option<u64>,
    offsets: Option<u64>,
    times: Option<u64>,
    pub(super) txns: bool,
}

/// A directory that is being opened.
pub(super) struct Opening<'a> {
    pub(super) fs: &'a Fs,
    pub(super) dir: &'a Path,
    pub(super) how: &'a OpenLog<'a>,
    pub(super) segments: BTreeMap<i64, Found>,
    pub(super) snapshots: BTreeSet<i64>,
    pub(super) epochs: LeaderEpochs,
    pub(super) log_start: i64,
}

/// What a log is made of, beside what [`Opening`] has.
pub(super) struct Loaded {
    pub(super) active: ActiveSegment,
    pub(super) log_end: i64,
    pub(super) producers: ProducerState,
}

/// A segment that was read through.
struct Rebuilt {
    segment: ActiveSegment,
    next_offset: i64,
    /// Bytes that were cut off.
    cut: u64,
    /// They were zeros: of a runway, of a block that was filled up, or of a write that did not get to the disk.
    zeros: bool,
}

/// Whether a file has nothing but zeros from `position` on.
fn ends_in_zeros(file: &File, position: u64, len: u64) -> io::Result<bool> {
    let mut bytes = vec![0; LOOKUP_BYTES];
    let mut at = position;
    while at < len {
        let part = usize::try_from(len - at).unwrap_or(usize::MAX).min(bytes.len());
        file.read_exact_at(&mut bytes[..part], at)?;
        if bytes[..part].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += part as u64;
    }
    Ok(true)
}

impl<'a> Opening<'a> {
    pub(super) fn new(fs: &'a Fs, dir: &'a Path, how: &'a OpenLog<'a>, epochs: LeaderEpochs) -> Opening<'a> {
        let log_start = how.log_start_offset.unwrap_or(0).max(0);
        Opening { fs, dir, how, segments: BTreeMap::new(), snapshots: BTreeSet::new(), epochs, log_start }
    }

    /// Finds the files. Indexes without their log are removed.
    pub(super) fn list(&mut self) -> io::Result<()> {
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

    /// Loads, and mends if need be.
    pub(super) fn load(&mut self) -> io::Result<Loaded> {
        let (mut rebuilt, recovered) = self.recover()?;
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
        // A snapshot tells only the last batch of each producer; who read the log knows those before it too, which
        // clients that lost the answers send again.
        let producers = match recovered.filter(|state| state.end_offset() == log_end) {
            Some(state) => state,
            None => self.producers_at(log_end)?,
        };
        Ok(Loaded { active, log_end, producers })
    }

    /// The empty log.
    fn new_active(&mut self) -> io::Result<(ActiveSegment, i64)> {
        let files = NewFiles::create(self.fs, self.dir, self.log_start, self.how.config.preallocated_bytes())?;
        self.fs.sync_dir(self.dir)?;
        let active = ActiveSegment::new(files, self.log_start, self.how.now_ms)?;
        Ok((active, self.log_start))
    }

    /// Reads through what may be damaged; the last segment, if it was among that, and the producers at its end.
    fn recover(&mut self) -> io::Result<(Option<Rebuilt>, Option<ProducerState>)> {
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
            let next = self.segments.range(base_offset + 1..).next();
            // Zeros where the next segment goes on, or nothing: they were behind the log end, and no batch is lost.
            let nothing_lost = rebuilt.zeros && next.is_none_or(|(next, _)| *next == rebuilt.next_offset);
            if rebuilt.cut > 0 && !nothing_lost {
                tracing::warn!(
                    "{}: segment {base_offset} has {} bytes after offset {} that are no batches: cut off",
                    self.dir.display(),
                    rebuilt.cut,
                    rebuilt.next_offset
                );
            }
            let cut = rebuilt.cut > 0 && !nothing_lost && *base_offset >= from;
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
        Ok((last, producers))
    }

    /// Reads a segment through from its first batch: cuts it after the last good one, rebuilds its indexes, and leaves a producer
    /// snapshot at its end. Everything is synced.
    fn rebuild(&mut self, base_offset: i64, mut state: ProducerState) -> io::Result<(Rebuilt, ProducerState)> {
        let open = |kind, how| self.fs.open(path(self.dir, base_offset, kind), how);
        let log = open(Kind::Log, Open::ReadWrite)?;
        let empty_index = |kind| {
            open(kind, Open::Create)?.clear()?;
            io::Result::Ok(index_file(self.fs, self.dir, base_offset, kind))
        };
        let (offsets, times) = (empty_index(Kind::OffsetIndex)?, empty_index(Kind::TimeIndex)?);
        if self.segments.get(&base_offset).is_some_and(|found| found.txns) {
            self.fs.remove_file(path(self.dir, base_offset, Kind::TxnIndex))?;
        }
        let len = log.len()?;
        let files = NewFiles { log, offsets, times, reserved: 0 };
        let mut segment = ActiveSegment::new(files, base_offset, self.how.now_ms)?;
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
        let zeros = ends_in_zeros(&log, position, len)?;
        // Also if nothing is cut: space may be reserved behind it.
        segment.log.set_len(position)?;
        (segment.synced, segment.journaled) = (position, position);
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
        for file in [segment.log.clone(), segment.offsets.file()?, segment.times.file()?] {
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
        Ok((Rebuilt { segment, next_offset, cut, zeros }, state))
    }

    /// The last segment after a clean stop: only what lies after its last index entry is looked at.
    fn open_active(&mut self, base_offset: i64, found: Found) -> io::Result<(ActiveSegment, i64)> {
        let log = self.fs.open(path(self.dir, base_offset, Kind::Log), Open::ReadWrite)?;
        let index = |kind| index_file(self.fs, self.dir, base_offset, kind);
        let size = found.log.unwrap_or(0);
        let offsets = OffsetIndex::open(index(Kind::OffsetIndex), base_offset, found.offsets.unwrap_or(0));
        let times = TimeIndex::open(index(Kind::TimeIndex), base_offset, found.times.unwrap_or(0))?;
        let sane = offsets.looks_sane(size)? && times.looks_sane()?;
        let position = if sane { offsets.last()?.map_or(0, |(_, position)| position) } else { 0 };
        let indexed = times.last()?.map_or(Newest::NONE, |(timestamp, offset)| Newest { timestamp, offset });
        let end = end_of(&log, size, position, base_offset, indexed)?;
        if !sane || end.position != size {
            tracing::warn!(
                "{}: segment {base_offset} is not as a clean stop leaves it: it is read through",
                self.dir.display()
            );
            let state = self.producers_at(base_offset)?;
            let (rebuilt, _) = self.rebuild(base_offset, state)?;
            return Ok((rebuilt.segment, rebuilt.next_offset));
        }
        let first = Window::new(&log, size, LOOKUP_BYTES).header(0)?;
        let mut segment = ActiveSegment::with(log, offsets, times, base_offset, self.how.now_ms, 0);
        segment.first_timestamp = first.map(|header| header.max_timestamp);
        segment.newest = end.newest;
        segment.size = size;
        (segment.synced, segment.journaled) = (size, size);
        segment.has_aborted_txns = found.txns;
        segment.bytes_since_index_entry = size - position;
        Ok((segment, end.next_offset))
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
    let from = locate(&files.log, size, &files.offsets, state.end_offset(), Reach::Disk)?;
    match from {
        Some(batch) => replay_log(&files.log, size, batch.position, upto, state),
        None => Ok(()),
    }
}

fn replay_log(log: &File, size: u64, mut position: u64, upto: i64, state: &mut ProducerState) -> io::Result<()> {
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

/// The end of a log file.
pub(super) struct End {
    /// Where its last whole batch ends.
    pub(super) position: u64,
    /// The offset after that batch.
    pub(super) next_offset: i64,
    pub(super) newest: Newest,
}

/// Follows the batches from `position` on, where the one with `next_offset` or a later one is expected.
pub(super) fn end_of(log: &File, size: u64, position: u64, next_offset: i64, newest: Newest) -> io::Result<End> {
    let mut end = End { position, next_offset, newest };
    let mut window = Window::new(log, size, LOOKUP_BYTES);
    while let Some(header) = window.header(end.position)?.filter(|header| header.base_offset >= end.next_offset) {
        if header.max_timestamp > end.newest.timestamp {
            end.newest = Newest { timestamp: header.max_timestamp, offset: header.last_offset() };
        }
        end.position += header.size_bytes() as u64;
        end.next_offset = header.next_offset();
    }
    Ok(end)
}
