//! Rolling: the active segment is sealed, the next one made.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use kringle_runtime::{File, Fs, Open};

use crate::checkpoint::write_epochs;
use crate::epochs::EpochEntry;
use crate::error::LogError;
use crate::index::{OffsetIndex, TimeIndex};
use crate::segment::{ActiveSegment, Kind, NewFiles, SealedSegment, path};

use super::append::{Staged, StagedRoll};
use super::sync::Sealed;
use super::write::InFlight;
use super::{PartitionLog, Progressed};

/// Completes the indexes of the active segment and makes the files of the next. Blocking.
///
/// If acks=all batches wait in the active segment, its log is synced before the next one exists: a power cut must not leave a
/// later batch of a producer without the one before. They wait for a sync anyway. Otherwise nothing is synced here, neither the log nor
/// the names of the new files ([`PartitionLog::sync_job`] does that), so that acks=1 does not pause; then a power cut may leave a gap, as in
/// Kafka, or bring zeros behind the sealed segment back, which recovery knows for what they are. What is acknowledged as durable later is
/// behind a sync.
pub struct RollJob {
    dir: PathBuf,
    base_offset: i64,
    seal: Box<Seal>,
    snapshot: Option<Vec<u8>>,
    epochs: Option<Vec<EpochEntry>>,
    preallocate: Option<u64>,
    sync_first: bool,
}

impl std::fmt::Debug for RollJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RollJob")
            .field("dir", &self.dir)
            .field("base_offset", &self.base_offset)
            .finish_non_exhaustive()
    }
}

/// The files of the new segment.
pub struct RollDone {
    files: NewFiles,
    /// Those of the sealed segment, to be synced.
    sealed: Vec<File>,
}

/// What a segment needs when nothing more is written to it.
pub(super) struct Seal {
    log: File,
    size: u64,
    offsets: OffsetIndex,
    times: TimeIndex,
    newest: crate::segment::Newest,
    trim: bool,
}

impl Seal {
    pub(super) fn of(active: &ActiveSegment) -> Seal {
        Seal {
            log: active.log.clone(),
            size: active.size,
            offsets: active.offsets.clone(),
            times: active.times.clone(),
            newest: active.newest,
            trim: active.has_more_than_its_size(),
        }
    }

    /// Completes and writes the indexes, and gives reserved space and the runway back.
    pub(super) fn run(&mut self) -> io::Result<()> {
        if self.newest.timestamp >= 0 {
            self.times.maybe_append(self.newest.timestamp, self.newest.offset);
        }
        self.offsets.flush()?;
        self.times.flush()?;
        if self.trim {
            self.log.set_len(self.size)?;
        }
        Ok(())
    }

    /// What must be synced for the segment to be stable.
    pub(super) fn files(&self) -> io::Result<Vec<File>> {
        Ok(vec![self.log.clone(), self.offsets.file()?, self.times.file()?])
    }
}

/// Writes a producer snapshot. Not synced: its checksum tells whether it can be used, and the log can be read instead.
pub(super) fn write_snapshot(fs: &Fs, dir: &std::path::Path, offset: i64, bytes: &[u8]) -> io::Result<()> {
    let file = fs.open(path(dir, offset, Kind::Snapshot), Open::Create)?;
    file.clear()?;
    file.write_all_at(&mut [IoSlice::new(bytes)], 0)
}

impl RollJob {
    /// Does the work, on a thread that may block.
    pub fn run(mut self, fs: &Fs) -> io::Result<RollDone> {
        self.seal.run()?;
        if self.sync_first {
            self.seal.log.sync_data()?;
        }
        if let Some(snapshot) = &self.snapshot {
            write_snapshot(fs, &self.dir, self.base_offset, snapshot)?;
        }
        if let Some(epochs) = &self.epochs {
            write_epochs(fs, &self.dir.join(LEADER_EPOCHS), epochs)?;
        }
        let files = NewFiles::create(fs, &self.dir, self.base_offset, self.preallocate)?;
        Ok(RollDone { files, sealed: self.seal.files()? })
    }
}

/// The file of the leader epochs.
pub(crate) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

impl PartitionLog {
    pub(super) fn roll_job(&mut self, roll: &StagedRoll) -> RollJob {
        let epochs = self.epochs.is_dirty().then(|| self.epochs.entries().to_vec());
        self.epochs.mark_clean();
        RollJob {
            dir: self.dir.clone(),
            base_offset: roll.base_offset,
            seal: Box::new(Seal::of(&self.active)),
            snapshot: roll.snapshot.clone(),
            epochs,
            preallocate: self.config.preallocated_bytes(),
            sync_first: self
                .unsynced
                .first_undurable_all(self.offsets.durable)
                .is_some_and(|first| first < roll.base_offset),
        }
    }

    /// Takes note of what a roll job did. Afterwards [`PartitionLog::sync_job`] has the sealed segment's files, and
    /// [`PartitionLog::retention_pending`] may ask for another look.
    pub fn finish_roll(&mut self, done: io::Result<RollDone>) -> Result<Progressed, LogError> {
        let InFlight::Roll(roll) = std::mem::replace(&mut self.in_flight, InFlight::Nothing) else {
            return Err(self.offline_error());
        };
        let made = done.and_then(|RollDone { files, sealed }| {
            Ok((ActiveSegment::new(files, roll.base_offset, roll.staged_ms)?, sealed))
        });
        let (active, sealed) = match made {
            Ok(made) => made,
            Err(e) => return Err(self.write_failed("roll", e, vec![Staged::Roll(roll)])),
        };
        let old = std::mem::replace(&mut self.active, active);
        let end_offset = roll.base_offset;
        self.unsynced.sealed(Sealed { base_offset: old.base_offset, end_offset, files: sealed });
        self.unsynced.names = Some(self.active.base_offset);
        self.sealed.push_back(SealedSegment {
            base_offset: old.base_offset,
            size: old.size,
            newest: Arc::new(OnceLock::from(old.newest)),
            has_aborted_txns: old.has_aborted_txns,
        });
        Ok(self.progressed())
    }
}
