//! What the checkpoints need to know of each log, and the last things that happen to it.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use kringle_log::{CloseJob, TopicPartition};

use super::Shard;
use super::commit::SYNCFS_FROM_FILES;
use super::partition::Partition;

/// Logs that are closed side by side.
const CLOSED_TOGETHER: usize = 64;

/// The offsets of one log that are checkpointed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offsets {
    /// Everything before it is on stable storage.
    pub(crate) recovery_point: i64,
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
}

impl Shard {
    /// The offsets of all logs of this shard.
    pub(crate) fn offsets(&self) -> Vec<(TopicPartition, Offsets)> {
        self.partitions.borrow().values().map(|partition| (partition.tp.clone(), offsets(partition))).collect()
    }

    /// Waits until what was appended to a log is written; no step or sync of it begins any more.
    pub(super) async fn end_log(self: &Rc<Self>, partition: &Rc<Partition>) -> CloseJob {
        loop {
            if let Some(job) = partition.close_job_if_idle() {
                return job;
            }
            self.queue_write(partition);
            self.rt.sleep(Duration::from_millis(1)).await;
        }
    }

    /// Writes out, flushes and closes every log. Nothing may be appended any more.
    ///
    /// # Errors
    /// The first log that cannot be closed; the stop is not a clean one then.
    pub(crate) async fn close_logs(self: &Rc<Self>) -> Result<Vec<(TopicPartition, Offsets)>, String> {
        self.end_journal().await;
        let partitions: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        let together = partitions.len() >= SYNCFS_FROM_FILES;
        let mut closed = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(CLOSED_TOGETHER) {
            for ended in join_all(some.iter().map(|partition| self.close_log(partition, together))).await {
                closed.push(ended?);
            }
        }
        if together {
            let dir = self.node.log_dir.clone();
            let synced = self.rt.blocking(move |fs| fs.sync_fs(&dir)).await;
            synced.map_err(|error| format!("{}: cannot be synced: {error}", self.node.log_dir.display()))?;
        }
        Ok(closed)
    }

    async fn close_log(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        together: bool,
    ) -> Result<(TopicPartition, Offsets), String> {
        let job = self.end_log(partition).await;
        let ended = self.rt.blocking(move |fs| if together { job.run_unsynced(fs) } else { job.run(fs) }).await;
        let recovery_point = ended.map_err(|error| format!("{}: cannot be closed: {error}", partition.tp))?;
        // One that is still under way may be told of a write that failed, and then it alone.
        while partition.syncs.under_way() > 0 {
            self.rt.sleep(Duration::from_millis(1)).await;
        }
        if partition.closed().is_some() && !partition.is_dropped() {
            return Err(format!("{}: cannot be closed: it has failed", partition.tp));
        }
        Ok((partition.tp.clone(), Offsets { recovery_point, ..offsets(partition) }))
    }
}

fn offsets(partition: &Partition) -> Offsets {
    let log = partition.log();
    Offsets {
        recovery_point: log.recovery_point(),
        high_watermark: log.high_watermark(),
        log_start: log.log_start_offset(),
    }
}
