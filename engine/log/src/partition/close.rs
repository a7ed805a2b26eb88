//! Closing: what Kafka leaves behind after a clean stop.

use std::io;
use std::path::PathBuf;

use kringle_runtime::{File, Fs};

use crate::checkpoint::write_epochs;
use crate::epochs::EpochEntry;
use crate::producers::snapshot;

use super::roll::{LEADER_EPOCHS, Seal, write_snapshot};
use super::{PartitionLog, State, SyncJob};

/// Completes the indexes, writes the producer snapshot and the epochs, and syncs everything. Blocking.
pub struct CloseJob {
    dir: PathBuf,
    log_end: i64,
    seal: Seal,
    sync: Vec<File>,
    snapshot: Option<Vec<u8>>,
    epochs: Option<Vec<EpochEntry>>,
}

impl CloseJob {
    /// Does the work; the log end, which is now the recovery point.
    pub fn run(mut self, fs: &Fs) -> io::Result<i64> {
        self.write(fs)?;
        for file in self.sync.iter().chain(&self.seal.files()?) {
            file.sync_data()?;
        }
        fs.sync_dir(&self.dir)?;
        Ok(self.log_end)
    }

    /// Does the work but for the syncs: for who closes many logs and then syncs the file system ([`Fs::sync_fs`]). The log end, which is
    /// the recovery point after that.
    pub fn run_unsynced(mut self, fs: &Fs) -> io::Result<i64> {
        self.write(fs)?;
        Ok(self.log_end)
    }

    fn write(&mut self, fs: &Fs) -> io::Result<()> {
        self.seal.run()?;
        if let Some(snapshot) = &self.snapshot {
            write_snapshot(fs, &self.dir, self.log_end, snapshot)?;
        }
        if let Some(epochs) = &self.epochs {
            write_epochs(fs, &self.dir.join(LEADER_EPOCHS), epochs)?;
        }
        Ok(())
    }
}

impl PartitionLog {
    /// Closes the log: nothing is appended or read any more. Call it when no job is outstanding and nothing is staged; what is
    /// staged nevertheless is dropped.
    pub fn close_job(&mut self) -> CloseJob {
        let sync = self.flush_job().map_or_else(Vec::new, SyncJob::into_files);
        self.state = State::Closed;
        let in_flight = std::mem::replace(&mut self.in_flight, super::write::InFlight::Nothing);
        let first = match in_flight {
            super::write::InFlight::Write { batches, .. } => {
                batches.into_iter().map(super::append::Staged::Batch).collect()
            }
            super::write::InFlight::Roll(roll) => vec![super::append::Staged::Roll(roll)],
            super::write::InFlight::Nothing | super::write::InFlight::Zeros | super::write::InFlight::Space => {
                Vec::new()
            }
        };
        self.unstage_all(first);
        self.open_sealed.borrow_mut().clear();
        let log_end = self.offsets.log_end;
        CloseJob {
            dir: self.dir.clone(),
            log_end,
            seal: Seal::of(&self.active),
            sync,
            snapshot: (log_end > self.last_snapshot).then(|| snapshot::encode(&self.producers)),
            epochs: self.epochs.is_dirty().then(|| self.epochs.entries().to_vec()),
        }
    }

    /// Writes the leader epochs if they are not on disk as they are: for the control thread, beside the checkpoints. Blocking.
    pub fn write_epochs(&mut self) -> io::Result<()> {
        if self.epochs.is_dirty() {
            write_epochs(&self.fs, &self.dir.join(LEADER_EPOCHS), self.epochs.entries())?;
            self.epochs.mark_clean();
        }
        Ok(())
    }
}
