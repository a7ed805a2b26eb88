//! The runway: zeros behind the log end, on disk before batches come there.
//!
//! A file system that extends a file, or writes where nothing was written before, must put that into its journal before
//! fdatasync may return; one that overwrites has only the data to wait for, which halves a small commit
//! (docs/decisions/runway.md has the figures). So a log that is committed often, in small commits, keeps some zeros
//! ahead of its end. They cost another write of as many bytes, in the background; large commits gain nothing and get none.
//!
//! The file is then longer than the log, as with Kafka's `preallocate`. The zeros are cut off when the segment is sealed or
//! the log closed; after a crash recovery, Kafka's too, finds that zeros are no batch and cuts there.
//!
//! **Failure.** A full disk ends the runway of this segment and nothing else. Zeros that cannot be brought to the disk fail the
//! next commit, as any byte of the file would.

use std::io::{self, IoSlice};

use kringle_runtime::{File, Rt};

use crate::error::{LogError, is_disk_full};

use super::write::InFlight;
use super::{PartitionLog, State};

/// Commits of a log before it gets a runway.
const FROM_COMMITS: u32 = 8;
/// A commit of more bytes is bound by the disk's speed, which zeros would halve.
const SMALL_COMMIT_BYTES: u64 = 256 << 10;
/// Zeros of one write, made on the shard's thread, which then go to the disk: the commits beside them wait for them, so
/// more of them make its tail longer.
pub(super) static ZEROS: [u8; 128 << 10] = [0; 128 << 10];
/// How far ahead zeros are laid of a log that has written over as many: far enough that they are on the disk before batches come there.
const AHEAD_BYTES: u64 = 1 << 20;

/// How the log's commits go, and how far ahead of them zeros are laid.
#[derive(Debug, Default)]
pub(crate) struct Runway {
    small_commits: u32,
    /// Zeros laid so far.
    laid: u64,
    /// Base offset of a segment that found the disk full.
    full: Option<i64>,
}

impl Runway {
    pub(super) fn committed(&mut self, bytes: u64) {
        self.small_commits = if bytes <= SMALL_COMMIT_BYTES { self.small_commits.saturating_add(1) } else { 0 };
    }
}

/// One write of zeros behind the log end.
#[derive(Debug)]
pub struct ZerosJob {
    log: File,
    from: u64,
}

impl ZerosJob {
    /// Writes now, on this thread.
    ///
    /// # Errors
    /// The disk is full, or fails.
    pub fn run_inline(&self) -> io::Result<()> {
        self.log.write_all_at(&mut [IoSlice::new(&ZEROS)], self.from)
    }

    /// Starts bringing the zeros to the disk. Nobody waits for them: the next commit takes the journal's part along.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn start_writeback(&self, rt: &Rt) -> io::Result<()> {
        rt.sync_range(&self.log, self.from, ZEROS.len() as u64).await
    }
}

impl PartitionLog {
    /// Whether commits will soon run out of written blocks.
    pub fn wants_runway(&self) -> bool {
        self.state == State::Open
            && self.runway.small_commits >= FROM_COMMITS
            && self.runway_bytes() < self.runway_ahead()
            && !self.in_flight.is_something()
            && self.runway.full != Some(self.active.base_offset)
            && self.runway_start() < u64::from(self.config.segment_bytes)
    }

    /// Zeros that the log should have ahead: as many as it has written over.
    fn runway_ahead(&self) -> u64 {
        self.runway.laid.saturating_sub(self.runway_bytes()).clamp(ZEROS.len() as u64, AHEAD_BYTES)
    }

    /// Bytes of zeros behind the log end.
    pub fn runway_bytes(&self) -> u64 {
        self.active.runway_bytes()
    }

    fn runway_start(&self) -> u64 {
        self.active.runway_end.max(self.active.size)
    }

    /// The next zeros, the log's outstanding job until [`PartitionLog::finish_zeros`]; `None` if it wants none.
    pub fn next_zeros(&mut self) -> Option<ZerosJob> {
        if !self.wants_runway() {
            return None;
        }
        self.in_flight = InFlight::Zeros;
        Some(ZerosJob { log: self.active.log.clone(), from: self.runway_start() })
    }

    /// Takes note of what a job of [`PartitionLog::next_zeros`] did.
    pub fn finish_zeros(&mut self, job: &ZerosJob, result: io::Result<()>) -> Result<(), LogError> {
        if !matches!(self.in_flight, InFlight::Zeros) {
            return Err(self.offline_error());
        }
        self.in_flight = InFlight::Nothing;
        // If they did not fit, a part of them may be there.
        self.active.runway_end = job.from + ZEROS.len() as u64;
        self.runway.laid += ZEROS.len() as u64;
        match result {
            Ok(()) => Ok(()),
            Err(e) if is_disk_full(&e) => {
                self.runway.full = Some(self.active.base_offset);
                Ok(())
            }
            Err(source) => {
                self.go_offline();
                Err(LogError::Offline { what: "write of zeros", source })
            }
        }
    }
}
