//! The committer: makes acks=all batches durable.
//!
//! A train without a timer: while one round of fsyncs is under way the next one fills, so a lone batch waits for nobody
//! and many share one flush. A few dirty files are flushed in parallel through the ring; many by one `syncfs`.

use std::rc::Rc;

use futures_util::future::join_all;
use kringle_log::SyncJob;

use super::Shard;
use super::partition::Partition;

/// Dirty files from which one `syncfs` is cheaper than an fdatasync each (measured: docs/decisions/commit.md).
const SYNCFS_FROM_FILES: usize = 16;

impl Shard {
    /// Remembers the partition if it holds written batches that somebody wants durable.
    pub(super) fn queue_commit(&self, partition: &Rc<Partition>) {
        let wanted = {
            let log = partition.log();
            log.high_watermark() < log.log_end_offset()
        };
        if wanted && !partition.in_commit_queue.replace(true) {
            self.to_commit.borrow_mut().push(partition.clone());
            self.commit_wanted.notify_all();
        }
    }

    /// Flushes one partition soon, whether or not an acks=all batch asks for it (`flush.messages`, `flush.ms`).
    pub(super) fn flush_soon(&self, partition: &Rc<Partition>) {
        if !partition.in_commit_queue.replace(true) {
            self.to_commit.borrow_mut().push(partition.clone());
            self.commit_wanted.notify_all();
        }
    }

    /// Runs for the life of the shard.
    pub(super) async fn commit_loop(self: Rc<Self>) {
        loop {
            let seen = self.commit_wanted.version();
            let queued = self.to_commit.take();
            if queued.is_empty() {
                self.commit_wanted.wait_after(seen).await;
                continue;
            }
            let mut jobs = Vec::with_capacity(queued.len());
            for partition in queued {
                partition.in_commit_queue.set(false);
                let job = partition.log().sync_job();
                if let Some(job) = job {
                    jobs.push((partition, job));
                }
            }
            self.commit(jobs).await;
        }
    }

    async fn commit(self: &Rc<Self>, jobs: Vec<(Rc<Partition>, SyncJob)>) {
        let files: usize = jobs.iter().map(|(_, job)| job.files.len()).sum();
        let started = self.rt.now();
        if files >= SYNCFS_FROM_FILES {
            let dir = self.node.log_dir.clone();
            let result = self.rt.blocking(move |fs| fs.sync_fs(&dir)).await;
            for (partition, job) in jobs {
                let result = match &result {
                    Ok(()) => Ok(()),
                    Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
                };
                self.committed(&partition, job.upto, result);
            }
        } else {
            let syncs = jobs.iter().map(|(partition, job)| async {
                let mut result = Ok(());
                for file in &job.files {
                    result = result.and(self.rt.datasync(file).await);
                }
                self.committed(partition, job.upto, result);
            });
            join_all(syncs).await;
        }
        self.metrics.commits.add(1);
        self.metrics.commit_us.record(self.rt.now() - started);
    }

    fn committed(self: &Rc<Self>, partition: &Rc<Partition>, upto: i64, result: std::io::Result<()>) {
        let finished = partition.log().finish_sync(upto, result);
        match finished {
            Ok(_) => {
                partition.progressed();
                // Batches written while this round ran.
                self.queue_commit(partition);
            }
            Err(error) => self.log_failed(partition, &error),
        }
    }
}
