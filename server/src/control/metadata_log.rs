//! The log `__cluster_metadata-0`. Every append is written and synced before it returns: nothing that was answered may be
//! forgotten. All calls block, which the control thread may.

use std::path::Path;

use bytes::Bytes;
use kringle_log::{
    Acks, AppendError, BatchView, LogConfig, LogError, OpenLog, Origin, PartitionLog, Refused, Rules, Step,
    TopicPartition, batches, validate,
};
use kringle_protocol::Uuid;
use kringle_runtime::Fs;

use super::load::LoadError;

/// The topic and directory of the metadata log.
pub const TOPIC: &str = "__cluster_metadata";
/// The directory of its only partition.
pub const DIRECTORY: &str = "__cluster_metadata-0";

/// How much is read at a time while loading.
const READ_BYTES: usize = 4 << 20;
/// `internal.metadata.max.batch.size.in.bytes` is 8 MiB; control batches are small.
const MAX_BATCH_BYTES: u32 = 8 << 20;

/// Why the metadata log fails.
#[derive(Debug, thiserror::Error)]
pub enum MetadataLogError {
    /// It cannot be opened, written or synced. After a failed sync nobody knows what is on the disk.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log refused to take the batch.
    #[error("cannot append: {0}")]
    Append(#[from] AppendError),
    /// The batch is none: a mistake of this program.
    #[error("cannot append: {0}")]
    Refused(#[from] Refused),
    /// What stands in it makes no sense.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot be read.
    #[error("cannot read at offset {offset}: {reason}")]
    Read {
        /// Where.
        offset: i64,
        /// Why.
        reason: String,
    },
}

/// The open metadata log.
pub struct MetadataLog {
    log: PartitionLog,
    fs: Fs,
    rules: Rules,
}

impl MetadataLogError {
    /// Whether only the room for this append was missing.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, MetadataLogError::Log(LogError::DiskFull { .. }))
    }
}

impl MetadataLog {
    /// Opens the log below a log directory, or creates an empty one. What was torn by a crash at its end is cut off.
    ///
    /// # Errors
    /// See [`MetadataLogError`].
    pub fn open(fs: &Fs, log_dir: &Path, now_ms: i64) -> Result<MetadataLog, MetadataLogError> {
        let tp = TopicPartition::new(TOPIC, 0);
        let config = LogConfig { max_message_bytes: MAX_BATCH_BYTES, retention_ms: -1, ..LogConfig::default() };
        let rules = config.rules(tp.clone());
        let how = OpenLog {
            partition: tp,
            topic_id: Uuid::METADATA_TOPIC_ID,
            config,
            clean: false,
            recovery_point: 0,
            log_start_offset: None,
            high_watermark: None,
            now_ms,
            producer_expiry_ms: i64::MAX,
            progress: None,
        };
        let log = PartitionLog::open(fs, &log_dir.join(DIRECTORY), how)?;
        Ok(MetadataLog { log, fs: fs.clone(), rules })
    }

    /// The offset of the first record that is there.
    pub fn start_offset(&self) -> i64 {
        self.log.log_start_offset()
    }

    /// The offset of the next record.
    pub fn end_offset(&self) -> i64 {
        self.log.log_end_offset()
    }

    /// The epoch of the last record.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.log.latest_epoch()
    }

    /// Gives every batch from that offset on to `each`.
    ///
    /// # Errors
    /// The log cannot be read, or `each` fails.
    pub fn for_each_batch(
        &self,
        from: i64,
        mut each: impl FnMut(&BatchView<'_>) -> Result<(), LoadError>,
    ) -> Result<(), MetadataLogError> {
        let reader = self.log.reader();
        let end = self.end_offset();
        let mut next = from;
        while next < end {
            let offset = next;
            let read = |reason: &dyn std::fmt::Display| MetadataLogError::Read { offset, reason: reason.to_string() };
            let bytes = reader.read_batches(next, end, READ_BYTES).map_err(|error| read(&error))?;
            for batch in batches(&bytes) {
                let batch = batch.map_err(|error| read(&error))?;
                if batch.header().last_offset() >= offset {
                    each(&batch)?;
                }
                next = batch.header().next_offset();
            }
            if next == offset {
                return Err(read(&"nothing is there"));
            }
        }
        Ok(())
    }

    /// A new epoch begins at the end of the log.
    pub fn start_epoch(&mut self, epoch: i32) {
        self.log.start_epoch(epoch);
    }

    /// Appends one batch and makes it durable.
    ///
    /// # Errors
    /// See [`MetadataLogError`]. A full disk took nothing in; after any other error the log must not be used any more.
    pub fn append(&mut self, batch: &Bytes, epoch: i32, now_ms: i64) -> Result<(), MetadataLogError> {
        let valid = validate(batch, &self.rules, Origin::RaftLeader, now_ms)?;
        self.log.append(valid, epoch, Acks::All, now_ms)?;
        loop {
            match self.log.next_step() {
                Step::Idle => break,
                Step::Write(job) => {
                    let written = job.run_inline();
                    self.log.finish_write(job, written)?;
                }
                Step::Roll(job) => {
                    let rolled = job.run(&self.fs);
                    self.log.finish_roll(rolled)?;
                }
            }
        }
        if let Some(job) = self.log.sync_job() {
            self.log.finish_sync(&job, job.run_inline(&self.fs))?;
        }
        Ok(())
    }

    /// Leaves the directory as after a clean stop.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn close(&mut self) -> std::io::Result<()> {
        self.log.close_job().run(&self.fs).map(drop)
    }
}
