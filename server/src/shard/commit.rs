//! The committer: makes acks=all batches durable.
//!
//! Trains without a timer: while rounds of fsyncs are under way the next one fills, so a lone batch waits for nobody and many
//! share one flush. Two rounds may be under way, about different logs: while one waits for the disk the other gathers, writes
//! and answers. A few dirty files are flushed in parallel through the ring; many by one `syncfs`.
//!
//! A log that is committed often gets a runway ([`kringle_log::PartitionLog::wants_runway`]), laid here between commits.

use std::rc::Rc;

use futures_util::future::join_all;
use kringle_log::{LogError, SyncJob};

use super::Shard;
use super::partition::Partition;

/// Dirty files from which one `syncfs` is cheaper than an fdatasync each (measured: docs/decisions/commit.md).
const SYNCFS_FROM_FILES: usize = 16;
/// Rounds that may be under way at once (measured: docs/decisions/commit.md).
const TRAINS: usize = 2;

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
            let queued = if self.commits.get() < TRAINS { self.to_commit.take() } else { Vec::new() };
            if queued.is_empty() {
                self.commit_wanted.wait_after(seen).await;
                continue;
            }
            let mut jobs = Vec::with_capacity(queued.len());
            for partition in queued {
                if partition.committing.get() {
                    // It counts as queued until that is done, which puts it back.
                    continue;
                }
                partition.in_commit_queue.set(false);
                let job = partition.log().sync_job();
                if let Some(job) = job {
                    partition.committing.set(true);
                    jobs.push((partition, job));
                }
            }
            if jobs.is_empty() {
                continue;
            }
            self.commits.set(self.commits.get() + 1);
            let shard = self.clone();
            self.rt.spawn(async move {
                shard.commit(jobs).await;
                shard.commits.set(shard.commits.get() - 1);
                shard.commit_wanted.notify_all();
            });
        }
    }

    async fn commit(self: &Rc<Self>, jobs: Vec<(Rc<Partition>, SyncJob)>) {
        let files: usize = jobs.iter().map(|(_, job)| job.files()).sum();
        let started = self.rt.now();
        if files >= SYNCFS_FROM_FILES {
            let dir = self.node.log_dir.clone();
            let result = self.rt.blocking(move |fs| fs.sync_fs(&dir)).await;
            for (partition, job) in jobs {
                let result = match &result {
                    Ok(()) => Ok(()),
                    Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
                };
                self.committed(&partition, &job, result);
            }
        } else {
            let syncs = jobs.iter().map(|(partition, job)| async {
                let result = job.run(&self.rt).await;
                self.committed(partition, job, result);
                self.lay_runway(partition);
            });
            join_all(syncs).await;
        }
        self.metrics.commits.add(1);
        self.metrics.commit_us.record(self.rt.now() - started);
    }

    fn committed(self: &Rc<Self>, partition: &Rc<Partition>, job: &SyncJob, result: std::io::Result<()>) {
        partition.committing.set(false);
        let finished = partition.log().finish_sync(job, result);
        match finished {
            Ok(_) => {
                partition.progressed();
                if partition.in_commit_queue.take() {
                    self.flush_soon(partition);
                } else {
                    // Batches written while this round ran.
                    self.queue_commit(partition);
                }
            }
            Err(error) => self.log_failed(partition, &error),
        }
    }

    /// Syncs what a roll sealed. Beside the rounds: it may take seconds, and nobody waits for it.
    pub(super) fn sync_sealed(self: &Rc<Self>, partition: &Rc<Partition>) {
        let Some(job) = partition.log().sealed_sync_job() else { return };
        let (shard, partition) = (self.clone(), partition.clone());
        self.rt.spawn(async move {
            let result = job.run(&shard.rt).await;
            let finished = partition.log().finish_sync(&job, result);
            match finished {
                Ok(_) => partition.progressed(),
                Err(error) => shard.log_failed(&partition, &error),
            }
        });
    }

    /// Lays zeros ahead of a log that will need them, in short writes with the shard's other work between.
    fn lay_runway(self: &Rc<Self>, partition: &Rc<Partition>) {
        if partition.laying_runway.get() || !partition.log().wants_runway() {
            return;
        }
        partition.laying_runway.set(true);
        let (shard, partition) = (self.clone(), partition.clone());
        self.rt.spawn(async move {
            if let Err(error) = shard.lay_zeros(&partition).await {
                shard.log_failed(&partition, &error);
            }
            partition.laying_runway.set(false);
        });
    }

    async fn lay_zeros(&self, partition: &Partition) -> Result<(), LogError> {
        while partition.closed().is_none() {
            // The log's lock is not held over the write.
            let zeros = partition.log().next_zeros();
            let Some(zeros) = zeros else { break };
            let result = zeros.run_inline();
            partition.log().finish_zeros(&zeros, result)?;
            if let Err(error) = zeros.start_writeback(&self.rt).await {
                tracing::debug!("{}: zeros are not being written yet: {error}", partition.tp);
            }
        }
        Ok(())
    }
}
