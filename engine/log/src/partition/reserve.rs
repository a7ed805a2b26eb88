//! Reserving disk space ahead of a log that grows.
//!
//! A file system that finds blocks for each append takes locks which the end of every write to the disk takes too, and keeps
//! accounts of what it has yet to find. In reserved space an append has nothing to do but to copy
//! (docs/decisions/reserved-space.md has the figures). So a segment that is no longer small keeps space behind its end: a part of
//! its size, refilled when half of it is used. The file's length stays what it is, and readers see nothing. What is left is given back
//! when the segment is sealed, the log closed, or recovered after a crash.
//!
//! **Failure.** None that matters: where the file system cannot, or where there is little space, this segment gets no more.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use kringle_runtime::{File, Fs, Rt};

use super::write::InFlight;
use super::{PartitionLog, State};

/// Smaller segments get none.
const FROM_BYTES: u64 = 1 << 20;
/// A segment has at least so many times the bytes of the space behind it: small logs stay small...
const TIMES_AS_LONG: u64 = 4;
/// ...and large ones have no more than this.
const MOST_BYTES: u64 = 64 << 20;
/// At most one part in so many of what is free: it is for all logs.
const PARTS_OF_FREE: u64 = 16;

/// How far ahead of its end a segment of `size` bytes has space.
fn ahead(size: u64) -> u64 {
    if size < FROM_BYTES { 0 } else { (size / TIMES_AS_LONG).min(MOST_BYTES) }
}

/// Space to be reserved behind the log end.
#[derive(Debug)]
pub struct ReserveJob {
    log: File,
    dir: PathBuf,
    range: Range<u64>,
}

impl ReserveJob {
    fn bytes(&self, fs: &Fs) -> io::Result<u64> {
        let (_, free) = fs.space(&self.dir)?;
        let bytes = self.range.end - self.range.start;
        if bytes > free / PARTS_OF_FREE {
            return Err(io::Error::new(io::ErrorKind::StorageFull, format!("only {free} bytes are free")));
        }
        Ok(bytes)
    }

    /// Does the work on this thread.
    ///
    /// # Errors
    /// There is too little space, or the file system cannot.
    pub fn run_inline(&self, fs: &Fs) -> io::Result<()> {
        self.log.allocate_keep_size(self.range.start, self.bytes(fs)?)
    }

    /// Does the work without holding up the shard.
    ///
    /// # Errors
    /// As above.
    pub async fn run(&self, rt: &Rt) -> io::Result<()> {
        rt.reserve(&self.log, self.range.start, self.bytes(rt.fs())?).await
    }
}

impl PartitionLog {
    /// What is to be reserved now: nothing unless the segment has less than half of what it should have, and no job is outstanding.
    fn space_wanted(&self) -> Option<Range<u64>> {
        if self.state != State::Open || self.in_flight.is_something() {
            return None;
        }
        let (size, reserved) = (self.active.size, self.active.reserved?);
        let ahead = ahead(size);
        let to = (size + ahead).min(u64::from(self.config.segment_bytes));
        let wanted = reserved.max(size)..to;
        (reserved < size + ahead / 2 && !wanted.is_empty()).then_some(wanted)
    }

    /// Whether the active segment will soon have used what is reserved.
    pub fn wants_space(&self) -> bool {
        self.space_wanted().is_some()
    }

    /// The next space to reserve, the log's outstanding job until [`PartitionLog::finish_reserving`]; `None` if it wants none.
    pub fn next_space(&mut self) -> Option<ReserveJob> {
        let range = self.space_wanted()?;
        self.in_flight = InFlight::Space;
        Some(ReserveJob { log: self.active.log.clone(), dir: self.dir.clone(), range })
    }

    /// Takes note of what a job of [`PartitionLog::next_space`] did.
    pub fn finish_reserving(&mut self, job: &ReserveJob, result: io::Result<()>) {
        if !matches!(self.in_flight, InFlight::Space) {
            return;
        }
        self.in_flight = InFlight::Nothing;
        self.active.reserved = match result {
            Ok(()) => Some(job.range.end),
            Err(e) => {
                tracing::debug!("{}: no more space is reserved for this segment: {e}", self.partition);
                None
            }
        };
    }
}
