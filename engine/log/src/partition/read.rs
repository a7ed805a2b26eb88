//! Reading: which bytes of which file answer a fetch. Short reads of headers only, and none at the tail.

use std::io;
use std::sync::{Arc, OnceLock};

use kringle_runtime::{File, Fs, Open};

use crate::error::ReadError;
use crate::reader::{LogReader, ReaderSegment};
use crate::scan::Reach;
use crate::segment::{ActiveSegment, Kind, Recent, SealedSegment, SegmentFiles, locate, path};
use crate::txn_index;

use super::{OPEN_SEALED, PartitionLog, State};

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// Consumers.
    HighWatermark,
    /// Consumers with isolation `read_committed`.
    LastStable,
    /// Followers.
    LogEnd,
}

/// Bytes of a segment that answer a fetch: whole batches from the one that holds the offset on, the last perhaps cut.
///
/// Holds the file open: deletion of the segment does not touch it.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// The segment's log; `None` if there is nothing to read.
    pub file: Option<File>,
    /// Where the bytes begin.
    pub position: u64,
    /// How many there are; 0 if there is nothing to read, or not a byte was allowed.
    pub len: usize,
    /// Size of the first batch, which may be larger than `len`.
    pub first_batch_len: usize,
    /// Offset of the first record of the first batch: at or before the offset that was asked for.
    pub base_offset_of_first: i64,
    /// The segment is not the last: there is more to read behind the slice, or will be.
    pub more_follows: bool,
    /// For `read_committed`: producer id and first offset of the aborted transactions within.
    pub aborted: Vec<(i64, i64)>,
}

/// A segment that is being read.
enum Reading<'a> {
    Active(&'a ActiveSegment),
    Sealed(&'a SealedSegment, Arc<SegmentFiles>),
}

impl Reading<'_> {
    fn base_offset(&self) -> i64 {
        match self {
            Reading::Active(segment) => segment.base_offset,
            Reading::Sealed(segment, _) => segment.base_offset,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Reading::Active(segment) => segment.size,
            Reading::Sealed(segment, _) => segment.size,
        }
    }

    fn log(&self) -> &File {
        match self {
            Reading::Active(segment) => &segment.log,
            Reading::Sealed(_, files) => &files.log,
        }
    }

    /// The batch that holds `offset`, or the first after it.
    fn locate(&self, offset: i64, reach: Reach) -> io::Result<Option<Recent>> {
        match self {
            Reading::Active(segment) => match segment.recent(offset) {
                Some(recent) => Ok(Some(recent)),
                None => locate(&segment.log, segment.size, &segment.offsets, offset, reach),
            },
            Reading::Sealed(segment, files) => locate(&files.log, segment.size, &files.offsets, offset, reach),
        }
    }
}

impl PartitionLog {
    fn limit(&self, upto: Upto) -> i64 {
        match upto {
            Upto::HighWatermark => self.offsets.high_watermark,
            Upto::LastStable => self.offsets.last_stable,
            Upto::LogEnd => self.offsets.log_end,
        }
    }

    /// Number of the segment that holds `offset`; `sealed.len()` is the active one.
    fn segment_of(&self, offset: i64) -> usize {
        if offset >= self.active.base_offset {
            return self.sealed.len();
        }
        self.sealed.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
    }

    /// Offset after the last that a segment can hold.
    pub(super) fn end_of_segment(&self, at: usize) -> i64 {
        match self.sealed.get(at + 1) {
            Some(next) => next.base_offset,
            None if at < self.sealed.len() => self.active.base_offset,
            None => self.offsets.log_end,
        }
    }

    fn reading(&self, at: usize) -> Result<Reading<'_>, ReadError> {
        let Some(segment) = self.sealed.get(at) else { return Ok(Reading::Active(&self.active)) };
        Ok(Reading::Sealed(segment, self.files_of(segment.base_offset)?))
    }

    /// The open files of a sealed segment.
    fn files_of(&self, base_offset: i64) -> Result<Arc<SegmentFiles>, ReadError> {
        let mut open = self.open_sealed.borrow_mut();
        if let Some(at) = open.iter().position(|files| files.base_offset == base_offset) {
            open[..=at].rotate_right(1);
            return Ok(Arc::clone(&open[0]));
        }
        let files = SegmentFiles::open(&self.fs, &self.dir, base_offset)
            .map_err(|source| self.read_failed(base_offset, source))?;
        let files = Arc::new(files);
        open.truncate(OPEN_SEALED - 1);
        open.insert(0, Arc::clone(&files));
        Ok(files)
    }

    fn read_failed(&self, base_offset: i64, source: io::Error) -> ReadError {
        ReadError::Io { path: path(&self.dir, base_offset, Kind::Log), source }
    }

    /// The bytes from the batch that holds `from` on, at most `max_bytes` of them and none at or after the limit that `upto` names.
    /// With `at_least_one` a first batch larger than `max_bytes` is given whole. Where compaction has left no batch, the next
    /// segment goes on.
    pub fn read(&self, from: i64, max_bytes: usize, upto: Upto, at_least_one: bool) -> Result<Slice, ReadError> {
        self.look_up(from, max_bytes, upto, at_least_one, Reach::Disk)
    }

    /// The same, without waiting for the disk: [`ReadError::Cold`] where it must be asked. Then let a helper ask it
    /// ([`LogReader::warm`]) and look again.
    pub fn read_cached(&self, from: i64, max_bytes: usize, upto: Upto, at_least_one: bool) -> Result<Slice, ReadError> {
        self.look_up(from, max_bytes, upto, at_least_one, Reach::Cache)
    }

    fn look_up(
        &self,
        from: i64,
        max_bytes: usize,
        upto: Upto,
        at_least_one: bool,
        reach: Reach,
    ) -> Result<Slice, ReadError> {
        if self.state != State::Open {
            return Err(ReadError::Offline);
        }
        let (start, end) = (self.offsets.log_start, self.offsets.log_end);
        if from < start || from > end {
            return Err(ReadError::OutOfRange { offset: from, start, end });
        }
        let limit = self.limit(upto);
        if from >= limit {
            return Ok(Slice::default());
        }
        for at in self.segment_of(from)..=self.sealed.len() {
            let segment = self.reading(at)?;
            let locate = |offset| {
                segment.locate(offset, reach).map_err(|source| match source.kind() {
                    io::ErrorKind::WouldBlock if reach == Reach::Cache => ReadError::Cold { offset },
                    _ => self.read_failed(segment.base_offset(), source),
                })
            };
            let Some(first) = locate(from)? else { continue };
            if first.base_offset >= limit {
                return Ok(Slice::default());
            }
            let end = if limit >= self.end_of_segment(at) {
                segment.size()
            } else {
                locate(limit)?.map_or(segment.size(), |batch| batch.position)
            };
            let allowed = if at_least_one { max_bytes.max(first.size) } else { max_bytes };
            let len = usize::try_from(end - first.position).unwrap_or(usize::MAX).min(allowed);
            let aborted =
                if upto == Upto::LastStable { self.aborted_txns(at, first.base_offset, limit)? } else { Vec::new() };
            return Ok(Slice {
                file: Some(segment.log().clone()),
                position: first.position,
                len,
                first_batch_len: first.size,
                base_offset_of_first: first.base_offset,
                more_follows: at < self.sealed.len(),
                aborted,
            });
        }
        Ok(Slice::default())
    }

    /// Aborted transactions that reach into what segment `at` holds from `from` on. Their markers may stand in later segments.
    fn aborted_txns(&self, at: usize, from: i64, limit: i64) -> Result<Vec<(i64, i64)>, ReadError> {
        let upper = self.end_of_segment(at).min(limit);
        let mut found = Vec::new();
        for at in at..=self.sealed.len() {
            let (base_offset, any) = match self.sealed.get(at) {
                Some(segment) => (segment.base_offset, segment.has_aborted_txns),
                None => (self.active.base_offset, self.active.has_aborted_txns),
            };
            if !any {
                continue;
            }
            let path = path(&self.dir, base_offset, Kind::TxnIndex);
            let txns = self.fs.open(&path, Open::Read).and_then(|file| txn_index::read(&file));
            for txn in txns.map_err(|source| ReadError::Io { path, source })? {
                if txn.last_offset >= from && txn.first_offset < upper {
                    found.push((txn.producer_id, txn.first_offset));
                }
                if txn.last_stable_offset >= upper {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// Bytes that a fetch from `from` could get, for `min.bytes`: exact in the active segment, at least the later segments before
    /// it. 0 if there is nothing, or `from` is out of range.
    pub fn available_bytes(&self, from: i64, upto: Upto) -> u64 {
        let limit = self.limit(upto);
        if self.state != State::Open || from < self.offsets.log_start || from >= limit {
            return 0;
        }
        let at = self.segment_of(from);
        if at < self.sealed.len() {
            return 1 + self.sealed.iter().skip(at + 1).map(|segment| segment.size).sum::<u64>() + self.active.size;
        }
        let position_of = |offset| {
            let batch = Reading::Active(&self.active).locate(offset, Reach::Disk).ok().flatten();
            batch.map_or(self.active.size, |batch| batch.position)
        };
        let end = if limit >= self.offsets.log_end { self.active.size } else { position_of(limit) };
        end.saturating_sub(position_of(from))
    }

    /// A picture of the log for look-ups that may block; run them under `Rt::blocking`.
    pub fn reader(&self) -> LogReader {
        let segments = (0..=self.sealed.len()).map(|at| {
            let end_offset = self.end_of_segment(at);
            match self.sealed.get(at) {
                Some(segment) => ReaderSegment {
                    base_offset: segment.base_offset,
                    end_offset,
                    size: segment.size,
                    newest: Arc::clone(&segment.newest),
                    open: None,
                },
                None => ReaderSegment {
                    base_offset: self.active.base_offset,
                    end_offset,
                    size: self.active.size,
                    newest: Arc::new(OnceLock::from(self.active.newest)),
                    open: Some((self.active.log.clone(), self.active.offsets.clone(), self.active.times.clone())),
                },
            }
        });
        LogReader::new(self.fs.clone(), self.dir.clone(), self.offsets.log_start, segments.collect())
    }

    /// The file system of the log, for those who run its jobs.
    pub fn fs(&self) -> &Fs {
        &self.fs
    }
}
