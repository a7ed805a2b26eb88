//! What a shard does for its logs while nobody asks: retention, rolls by time, flushes by setting, forgotten producers.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::partition::Partition;

/// How often `flush.ms` and `segment.ms` are looked at, or every `log.flush.scheduler.interval.ms` if that is shorter.
const TICK: Duration = Duration::from_millis(1000);

impl Shard {
    /// Runs for the life of the shard.
    pub(super) async fn maintenance_loop(self: Rc<Self>) {
        let config = self.config();
        let tick = config.log_flush_scheduler_interval.clamp(Duration::from_millis(1), TICK);
        let mut next_retention = self.rt.now() + config.log_initial_task_delay;
        let mut next_expiry = self.rt.now() + config.producer_id_expiration_check_interval;
        loop {
            self.rt.sleep(tick).await;
            let partitions: Vec<Rc<Partition>> = self.partitions.borrow().values().cloned().collect();
            for partition in &partitions {
                self.flush_if_due(partition);
            }
            if self.rt.now() >= next_expiry {
                next_expiry = self.rt.now() + config.producer_id_expiration_check_interval;
                let now_ms = self.rt.wall_ms();
                partitions.iter().for_each(|partition| partition.log().expire_producers(now_ms));
            }
            if self.rt.now() < next_retention {
                continue;
            }
            next_retention = self.rt.now() + config.log_retention_check_interval;
            for partition in &partitions {
                self.retain(partition).await;
            }
        }
    }

    fn flush_if_due(&self, partition: &Rc<Partition>) {
        let due = {
            let mut log = partition.log();
            log.roll_if_due(self.rt.wall_ms());
            log.flush_is_due(self.rt.wall_ms())
        };
        if due {
            self.flush_soon(partition);
        }
    }

    /// Applies retention to one log now.
    pub(crate) async fn retain(self: &Rc<Self>, partition: &Rc<Partition>) {
        let now_ms = self.rt.wall_ms();
        let jobs = partition.log().retention(now_ms);
        // The active segment may have to be rolled before it can go.
        self.queue_write(partition);
        for job in jobs {
            self.metrics.segments_deleted.add(job.base_offsets().len() as u64);
            let shard = self.clone();
            let tp = partition.tp.clone();
            self.rt.spawn(async move {
                let delay = Duration::from_millis(u64::try_from(job.delay_ms).unwrap_or(0));
                let (renamed, job) = shard.rt.blocking(move |fs| (job.rename(fs), job)).await;
                if let Err(error) = renamed {
                    tracing::error!("{tp}: a segment cannot be renamed for deletion: {error}");
                    return;
                }
                shard.rt.sleep(delay).await;
                if let Err(error) = shard.rt.blocking(move |fs| job.remove(fs)).await {
                    tracing::error!("{tp}: a deleted segment cannot be removed: {error}");
                }
            });
        }
    }
}
