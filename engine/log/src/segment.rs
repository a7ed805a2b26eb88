//! A segment: a `.log` file of batches from a base offset on, with its indexes.
//!
//! The last segment is [`ActiveSegment`], with everything open and the last batches remembered. All before it are
//! [`SealedSegment`]s: a few words in memory each; their files are opened when someone reads there ([`SegmentFiles`]).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use kringle_runtime::{File, Fs, Open};

use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::index::{IndexFile, OffsetIndex, TimeIndex};
use crate::scan::{LOOKUP_BYTES, Reach, Window};

/// Batches of the active segment whose positions are remembered: a tail fetch needs neither index nor disk.
const RECENT_BATCHES: usize = 64;

/// The files of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    OffsetIndex,
    TimeIndex,
    TxnIndex,
    Snapshot,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Log, Kind::OffsetIndex, Kind::TimeIndex, Kind::TxnIndex, Kind::Snapshot];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::OffsetIndex => "index",
            Kind::TimeIndex => "timeindex",
            Kind::TxnIndex => "txnindex",
            Kind::Snapshot => "snapshot",
        }
    }

    /// The kind and base offset in a file's name.
    pub(crate) fn parse(name: &str) -> Option<(Kind, i64)> {
        let (offset, suffix) = name.split_once('.')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        let offset: i64 = offset.parse().ok()?;
        (offset >= 0).then_some((kind, offset))
    }
}

/// `00000000000000000042.log` and its kin.
pub(crate) fn path(dir: &Path, base_offset: i64, kind: Kind) -> PathBuf {
    dir.join(format!("{base_offset:020}.{}", kind.suffix()))
}

/// The newest timestamp of a segment, and the last offset of the batch that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) timestamp: i64,
    pub(crate) offset: i64,
}

impl Newest {
    pub(crate) const NONE: Newest = Newest { timestamp: -1, offset: -1 };
}

/// The newest timestamp of a sealed segment, once somebody has asked for it. The log and all pictures of it share it, so that a look-up
/// by time goes to the disk once for each segment and not once for each segment and look-up.
pub(crate) type KnownNewest = Arc<OnceLock<Newest>>;

/// What is known, or the last entry of the time index. An error is not remembered.
pub(crate) fn newest_of(known: &KnownNewest, times: impl FnOnce() -> io::Result<TimeIndex>) -> io::Result<Newest> {
    if let Some(newest) = known.get() {
        return Ok(*newest);
    }
    let last = times()?.last()?;
    Ok(*known.get_or_init(|| last.map_or(Newest::NONE, |(timestamp, offset)| Newest { timestamp, offset })))
}

/// A segment that is written no more.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) base_offset: i64,
    pub(crate) size: u64,
    pub(crate) newest: KnownNewest,
    pub(crate) has_aborted_txns: bool,
}

/// The open files of a sealed segment.
pub(crate) struct SegmentFiles {
    pub(crate) base_offset: i64,
    pub(crate) log: File,
    pub(crate) offsets: OffsetIndex,
}

impl SegmentFiles {
    pub(crate) fn open(fs: &Fs, dir: &Path, base_offset: i64) -> io::Result<SegmentFiles> {
        let log = fs.open(path(dir, base_offset, Kind::Log), Open::Read)?;
        let index = fs.open(path(dir, base_offset, Kind::OffsetIndex), Open::Read)?;
        let len = index.len()?;
        Ok(SegmentFiles { base_offset, log, offsets: OffsetIndex::open(IndexFile::Open(index), base_offset, len) })
    }
}

/// Opens the time index of a segment, for reading.
pub(crate) fn open_time_index(fs: &Fs, dir: &Path, base_offset: i64) -> io::Result<TimeIndex> {
    let file = fs.open(path(dir, base_offset, Kind::TimeIndex), Open::Read)?;
    let len = file.len()?;
    TimeIndex::open(IndexFile::Open(file), base_offset, len)
}

/// A batch whose place is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) position: u64,
    pub(crate) size: usize,
}

/// The segment that is written.
pub(crate) struct ActiveSegment {
    pub(crate) base_offset: i64,
    pub(crate) log: File,
    /// Bytes of whole, written batches.
    pub(crate) size: u64,
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    pub(crate) newest: Newest,
    pub(crate) bytes_since_index_entry: u64,
    /// Of the first batch, for `segment.ms`.
    pub(crate) first_timestamp: Option<i64>,
    pub(crate) created_ms: i64,
    pub(crate) has_aborted_txns: bool,
    /// Up to here disk space is reserved for the log ([`crate::partition::reserve`]); `None` if no more is to be.
    pub(crate) reserved: Option<u64>,
    /// Up to here the log was synced.
    pub(crate) synced: u64,
    /// Up to here it was synced, or is in a journal or on its way there.
    pub(crate) journaled: u64,
    /// Up to here the file is written, with zeros behind `size` ([`crate::partition::runway`], [`crate::partition::fill`]); 0 if it
    /// ends with `size`.
    pub(crate) runway_end: u64,
    recent: VecDeque<Recent>,
}

/// The files of a new segment.
pub(crate) struct NewFiles {
    pub(crate) log: File,
    pub(crate) offsets: IndexFile,
    pub(crate) times: IndexFile,
    /// Bytes of disk space that were asked for at once.
    pub(crate) reserved: u64,
}

/// The index of a segment that is appended to.
pub(crate) fn index_file(fs: &Fs, dir: &Path, base_offset: i64, kind: Kind) -> IndexFile {
    IndexFile::Named(fs.clone(), path(dir, base_offset, kind))
}

impl NewFiles {
    /// Makes the files of an empty segment; leftovers of a crash are emptied.
    pub(crate) fn create(fs: &Fs, dir: &Path, base_offset: i64, preallocate: Option<u64>) -> io::Result<NewFiles> {
        let create = |kind| {
            let file = fs.open(path(dir, base_offset, kind), Open::Create)?;
            file.clear()?;
            io::Result::Ok(file)
        };
        let create_index = |kind| create(kind).map(|_| index_file(fs, dir, base_offset, kind));
        let files = NewFiles {
            log: create(Kind::Log)?,
            offsets: create_index(Kind::OffsetIndex)?,
            times: create_index(Kind::TimeIndex)?,
            reserved: preallocate.unwrap_or(0),
        };
        if let Some(bytes) = preallocate
            && let Err(e) = files.log.allocate_keep_size(0, bytes)
        {
            tracing::debug!("space for segment {base_offset} not reserved: {e}");
        }
        Ok(files)
    }
}

impl ActiveSegment {
    /// An empty segment.
    pub(crate) fn new(files: NewFiles, base_offset: i64, now_ms: i64) -> io::Result<ActiveSegment> {
        let offsets = OffsetIndex::open(files.offsets, base_offset, 0);
        let times = TimeIndex::open(files.times, base_offset, 0)?;
        Ok(ActiveSegment::with(files.log, offsets, times, base_offset, now_ms, files.reserved))
    }

    /// A segment with these files, of which nothing is known yet.
    pub(crate) fn with(
        log: File,
        offsets: OffsetIndex,
        times: TimeIndex,
        base_offset: i64,
        now_ms: i64,
        reserved: u64,
    ) -> ActiveSegment {
        ActiveSegment {
            base_offset,
            log,
            size: 0,
            offsets,
            times,
            newest: Newest::NONE,
            bytes_since_index_entry: 0,
            first_timestamp: None,
            created_ms: now_ms,
            has_aborted_txns: false,
            reserved: Some(reserved),
            synced: 0,
            journaled: 0,
            runway_end: 0,
            recent: VecDeque::new(),
        }
    }

    /// Whether space or zeros may be behind the last batch, to be given back.
    pub(crate) fn has_more_than_its_size(&self) -> bool {
        self.runway_bytes() > 0 || self.reserved.is_none_or(|reserved| reserved > self.size)
    }

    /// Bytes of zeros behind the last batch.
    pub(crate) fn runway_bytes(&self) -> u64 {
        self.runway_end.saturating_sub(self.size)
    }

    /// A batch now stands at the end of the file.
    pub(crate) fn wrote(&mut self, header: &BatchHeader, interval_bytes: u32) {
        let (position, size) = (self.size, header.size_bytes());
        self.note_for_indexes(header, position, interval_bytes);
        self.remember(header, position);
        self.size += size as u64;
    }

    /// What the indexes take of a batch: Kafka's `LogSegment.append`.
    pub(crate) fn note_for_indexes(&mut self, header: &BatchHeader, position: u64, interval_bytes: u32) {
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        if header.max_timestamp > self.newest.timestamp {
            self.newest = Newest { timestamp: header.max_timestamp, offset: header.last_offset() };
        }
        if self.bytes_since_index_entry > u64::from(interval_bytes) {
            self.offsets.append(header.last_offset(), position);
            self.times.maybe_append(self.newest.timestamp, self.newest.offset);
            self.bytes_since_index_entry = 0;
        }
        self.bytes_since_index_entry += header.size_bytes() as u64;
    }

    pub(crate) fn remember(&mut self, header: &BatchHeader, position: u64) {
        if self.recent.len() == RECENT_BATCHES {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            position,
            size: header.size_bytes(),
        });
    }

    /// The batch that holds `offset`, or the first after it, if it is among the last.
    pub(crate) fn recent(&self, offset: i64) -> Option<Recent> {
        let first = self.recent.front().filter(|first| first.base_offset <= offset || first.position == 0)?;
        debug_assert!(first.position < self.size);
        let at = self.recent.partition_point(|recent| recent.next_offset <= offset);
        self.recent.get(at).copied()
    }
}

/// Two entries of an index so far apart have hardly a batch between them.
const LARGE_BYTES: u64 = 2 * LOOKUP_BYTES as u64;

/// The first batch of a segment that ends at or after `offset`.
pub(crate) fn locate(
    log: &File,
    size: u64,
    index: &OffsetIndex,
    offset: i64,
    reach: Reach,
) -> io::Result<Option<Recent>> {
    let ((ends_at, from), next) = index.around(offset, reach)?;
    let window = |bytes| Window::new(log, size, bytes).reaching(reach);
    // Each large batch has its entry, so the next entry's is the one, and its header all that must be read.
    let large = next.filter(|next| ends_at < offset && next.saturating_sub(from) > LARGE_BYTES);
    let mut found = match large {
        Some(position) => window(HEADER_BYTES).header(position)?.map(|header| (position, header)),
        None => None,
    };
    if !found.is_some_and(|(_, header)| (header.base_offset..=header.last_offset()).contains(&offset)) {
        found = window(LOOKUP_BYTES).find(from, |header| header.last_offset() >= offset)?;
    }
    Ok(found.map(|(position, header)| Recent {
        base_offset: header.base_offset,
        next_offset: header.next_offset(),
        position,
        size: header.size_bytes(),
    }))
}
