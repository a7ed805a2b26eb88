//! Slow look-ups on a picture of the log: by time, and reading batches through (loading coordinators).
//!
//! `Send`; blocking; run under `Rt::blocking`. Segments deleted meanwhile count as gone.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use bytes::Bytes;
use kringle_runtime::{File, Fs};

use crate::batch::BatchView;
use crate::error::ReadError;
use crate::index::{OffsetIndex, TimeIndex};
use crate::records::{DECODED_LIMIT_BYTES, try_for_each_record};
use crate::scan::{LOOKUP_BYTES, Reach, Window};
use crate::segment::{Kind, KnownNewest, Newest, SegmentFiles, locate, newest_of, open_time_index, path};

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundByTime {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: i64,
    /// Leader epoch of its batch.
    pub leader_epoch: i32,
}

/// A segment as it was when the picture was taken.
pub(crate) struct ReaderSegment {
    pub(crate) base_offset: i64,
    pub(crate) end_offset: i64,
    pub(crate) size: u64,
    pub(crate) newest: KnownNewest,
    /// The active segment's files; others are opened when needed.
    pub(crate) open: Option<(File, OffsetIndex, TimeIndex)>,
}

/// A picture of a log; see [`crate::PartitionLog::reader`].
pub struct LogReader {
    fs: Fs,
    dir: PathBuf,
    log_start: i64,
    segments: Vec<ReaderSegment>,
}

impl LogReader {
    pub(crate) fn new(fs: Fs, dir: PathBuf, log_start: i64, segments: Vec<ReaderSegment>) -> LogReader {
        LogReader { fs, dir, log_start, segments }
    }

    fn failed(&self, segment: &ReaderSegment) -> impl Fn(io::Error) -> ReadError {
        let path = path(&self.dir, segment.base_offset, Kind::Log);
        move |source| ReadError::Io { path: path.clone(), source }
    }

    fn files(&self, segment: &ReaderSegment) -> io::Result<(File, OffsetIndex)> {
        match &segment.open {
            Some((log, offsets, _)) => Ok((log.clone(), offsets.clone())),
            None => {
                SegmentFiles::open(&self.fs, &self.dir, segment.base_offset).map(|files| (files.log, files.offsets))
            }
        }
    }

    fn times(&self, segment: &ReaderSegment) -> io::Result<TimeIndex> {
        match &segment.open {
            Some((_, _, times)) => Ok(times.clone()),
            None => open_time_index(&self.fs, &self.dir, segment.base_offset),
        }
    }

    /// The newest timestamp of a segment; `None` if it has none or is gone.
    fn newest(&self, segment: &ReaderSegment) -> Result<Option<Newest>, ReadError> {
        match newest_of(&segment.newest, || self.times(segment)) {
            Ok(newest) => Ok(Some(newest).filter(|newest| newest.timestamp >= 0)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed(segment)(e)),
        }
    }

    /// The first record, from the log start on, whose timestamp is `timestamp` or later (ListOffsets by time).
    pub fn find_by_timestamp(&self, timestamp: i64) -> Result<Option<FoundByTime>, ReadError> {
        for segment in &self.segments {
            let reaches = self.newest(segment)?.is_some_and(|newest| newest.timestamp >= timestamp);
            if !reaches || segment.end_offset <= self.log_start {
                continue;
            }
            let found = (|| {
                let (log, offsets) = self.files(segment)?;
                let (_, from) = self.times(segment)?.lookup(timestamp)?;
                let (_, position) = offsets.lookup(from.max(self.log_start))?;
                find_in(&log, segment.size, position, timestamp, self.log_start)
            })();
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(self.failed(segment)(e)),
            }
        }
        Ok(None)
    }

    /// The first record with the newest timestamp of all (ListOffsets -3).
    pub fn max_timestamp(&self) -> Result<Option<FoundByTime>, ReadError> {
        let mut newest: Option<(Newest, &ReaderSegment)> = None;
        for segment in &self.segments {
            let Some(of_segment) = self.newest(segment)? else { continue };
            if newest.is_none_or(|(newest, _)| of_segment.timestamp > newest.timestamp) {
                newest = Some((of_segment, segment));
            }
        }
        let Some((newest, segment)) = newest else { return Ok(None) };
        let found = (|| {
            let (log, offsets) = self.files(segment)?;
            let Some(batch) = locate(&log, segment.size, &offsets, newest.offset, Reach::Disk)? else {
                return Ok(None);
            };
            find_in(&log, segment.size, batch.position, newest.timestamp, self.log_start)
        })();
        match found {
            Ok(found) => Ok(found),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed(segment)(e)),
        }
    }

    /// Reads what a look-up of `offset` reads, so that the page cache has it. An error is left to the look-up.
    pub fn warm(&self, offset: i64) {
        let Some(segment) = self.segments.iter().find(|segment| segment.end_offset > offset) else { return };
        if let Ok((log, offsets)) = self.files(segment)
            && let Err(e) = locate(&log, segment.size, &offsets, offset, Reach::Disk)
        {
            tracing::debug!("offset {offset} not brought into memory: {e}");
        }
    }

    /// Whole batches from the one that holds `from` on, up to the one before `upto` and to `max_bytes`, at least one; empty when
    /// there are none. One segment at a time: go on at the offset after the last batch.
    pub fn read_batches(&self, from: i64, upto: i64, max_bytes: usize) -> Result<Bytes, ReadError> {
        for segment in self.segments.iter().filter(|segment| segment.end_offset > from) {
            let read = (|| {
                let (log, offsets) = self.files(segment)?;
                let Some(first) = locate(&log, segment.size, &offsets, from, Reach::Disk)? else { return Ok(None) };
                let mut window = Window::new(&log, segment.size, LOOKUP_BYTES);
                let (mut end, mut position) = (first.position, first.position);
                while let Some(header) = window.header(position)? {
                    position += header.size_bytes() as u64;
                    if header.base_offset >= upto
                        || (end > first.position && position - first.position > max_bytes as u64)
                    {
                        break;
                    }
                    end = position;
                }
                let mut bytes = vec![0; usize::try_from(end - first.position).map_err(io::Error::other)?];
                log.read_exact_at(&mut bytes, first.position)?;
                Ok(Some(Bytes::from(bytes)))
            })();
            match read.map_err(self.failed(segment))? {
                Some(bytes) => return Ok(bytes),
                None => continue,
            }
        }
        Ok(Bytes::new())
    }
}

/// From `position` on, the first record at or after `timestamp` and `from`.
fn find_in(log: &File, size: u64, position: u64, timestamp: i64, from: i64) -> io::Result<Option<FoundByTime>> {
    let mut window = Window::new(log, size, LOOKUP_BYTES);
    let mut position = position;
    while let Some(header) = window.header(position)? {
        if header.max_timestamp >= timestamp
            && header.last_offset() >= from
            && let Some(batch) = window.batch(position)?
            && let Some(found) = first_record(&batch, timestamp, from)?
        {
            return Ok(Some(found));
        }
        position += header.size_bytes() as u64;
    }
    Ok(None)
}

fn first_record(batch: &BatchView<'_>, timestamp: i64, from: i64) -> io::Result<Option<FoundByTime>> {
    let mut found = None;
    try_for_each_record(batch, DECODED_LIMIT_BYTES, |record| {
        if record.timestamp >= timestamp && record.offset >= from {
            found = Some(FoundByTime {
                offset: record.offset,
                timestamp: record.timestamp,
                leader_epoch: batch.leader_epoch,
            });
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })
    .map_err(io::Error::other)?;
    Ok(found)
}
