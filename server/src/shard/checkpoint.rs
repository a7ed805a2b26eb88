//! What the checkpoints need to know of each log, and the last things that happen to it.

use std::rc::Rc;

use kringle_log::{CloseJob, TopicPartition};

use super::Shard;
use super::partition::Partition;

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
            self.rt.sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Writes out, flushes and closes every log. Nothing may be appended any more.
    ///
    /// # Errors
    /// The first log that cannot be closed; the stop is not a clean one then.
    pub(crate) async fn close_logs(self: &Rc<Self>) -> Result<Vec<(TopicPartition, Offsets)>, String> {
        self.end_journal().await;
        let partitions: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
        let mut closed = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let job = self.end_log(&partition).await;
            let ended = self.rt.blocking(move |fs| job.run(fs)).await;
            ended.map_err(|error| format!("{}: cannot be closed: {error}", partition.tp))?;
            let mut at = offsets(&partition);
            at.recovery_point = partition.log().log_end_offset();
            closed.push((partition.tp.clone(), at));
        }
        Ok(closed)
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
