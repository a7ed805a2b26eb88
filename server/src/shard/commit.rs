//! The committer: makes acks=all batches durable.
//!
//! Trains without a timer: a commit takes all that was written to its log, and a few may be under way, also of one log: while one
//! waits for the disk's flush the next writes, and what comes meanwhile gathers. So a lone batch waits for nobody and under load many share one flush.
//! A few dirty files are flushed side by side; many by one `syncfs`.
//!
//! A log that is committed often gets a runway ([`kringle_log::PartitionLog::wants_runway`]), laid here between commits.

use std::future::Future;
use std::io;
use std::rc::Rc;

use kringle_log::{LogError, SyncJob};
use kringle_runtime::Time;

use super::Shard;
use super::partition::Partition;

/// Dirty files from which one `syncfs` is cheaper than an fdatasync each (measured: docs/decisions/commit.md).
const SYNCFS_FROM_FILES: usize = 16;
/// Commits that may be under way at once, of which a `syncfs` counts as half (measured: docs/decisions/commit.md)...
const COMMITS: usize = 8;
/// ...and so many of one log: while one waits for the disk's flush the next writes.
const COMMITS_OF_A_LOG: u64 = 2;

/// One that is under way.
struct Commit {
    partition: Rc<Partition>,
    job: SyncJob,
    turn: u64,
    begun: Time,
}

impl Shard {
    /// Remembers the partition if it holds written batches that somebody wants durable.
    pub(super) fn queue_commit(&self, partition: &Rc<Partition>) {
        let wanted = {
            let log = partition.log();
            log.high_watermark() < log.log_end_offset()
        };
        if wanted {
            self.flush_soon(partition);
        }
    }

    /// Flushes one partition soon, whether or not an acks=all batch asks for it (`flush.messages`, `flush.ms`).
    pub(super) fn flush_soon(&self, partition: &Rc<Partition>) {
        if !partition.in_commit_queue.replace(true) {
            self.to_commit.borrow_mut().push_back(partition.clone());
            self.commit_wanted.notify_all();
        }
    }

    /// Runs for the life of the shard.
    pub(super) async fn commit_loop(self: Rc<Self>) {
        loop {
            let seen = self.commit_wanted.version();
            let commits = self.next_commits();
            if commits.is_empty() {
                self.commit_wanted.wait_after(seen).await;
                continue;
            }
            let files: usize = commits.iter().map(|commit| commit.job.files()).sum();
            if files >= SYNCFS_FROM_FILES {
                self.spawn_commit(COMMITS / 2, self.clone().commit_all(commits));
            } else {
                commits.into_iter().for_each(|commit| self.spawn_commit(1, self.clone().commit(commit)));
            }
        }
    }

    /// Runs `work`, which counts as so many of those that may be under way at once.
    fn spawn_commit(self: &Rc<Self>, commits: usize, work: impl Future<Output = ()> + 'static) {
        self.commits.set(self.commits.get() + commits);
        let shard = self.clone();
        self.rt.spawn(async move {
            work.await;
            shard.commits.set(shard.commits.get() - commits);
            shard.commit_wanted.notify_all();
        });
    }

    /// What may begin now of that which is queued.
    fn next_commits(&self) -> Vec<Commit> {
        let mut queue = self.to_commit.borrow_mut();
        let mut room = COMMITS.saturating_sub(self.commits.get());
        if room > 0 && queue.len() >= SYNCFS_FROM_FILES {
            room = queue.len();
        }
        let mut commits = Vec::new();
        while commits.len() < room
            && let Some(partition) = queue.pop_front()
        {
            partition.in_commit_queue.set(false);
            if partition.syncs.under_way() >= COMMITS_OF_A_LOG {
                partition.syncs.another_wanted.set(true);
                continue;
            }
            let job = partition.log().sync_job();
            if let Some(job) = job.filter(|job| !partition.syncs.cover(job.upto())) {
                let turn = partition.syncs.begin(job.upto());
                commits.push(Commit { partition, job, turn, begun: self.rt.now() });
            }
        }
        commits
    }

    async fn commit(self: Rc<Self>, commit: Commit) {
        let result = commit.job.run(&self.rt).await;
        self.committed(&commit, result).await;
        self.lay_runway(&commit.partition);
    }

    /// By one `syncfs`.
    async fn commit_all(self: Rc<Self>, commits: Vec<Commit>) {
        let dir = self.node.log_dir.clone();
        let result = self.rt.blocking(move |fs| fs.sync_fs(&dir)).await;
        for commit in &commits {
            let result = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            self.committed(commit, result).await;
        }
    }

    async fn committed(self: &Rc<Self>, commit: &Commit, result: io::Result<()>) {
        let Commit { partition, job, turn, begun } = commit;
        self.synced(partition, job, *turn, result).await;
        self.metrics.commits.add(1);
        self.metrics.commit_us.record(self.rt.now() - *begun);
    }

    async fn synced(self: &Rc<Self>, partition: &Rc<Partition>, job: &SyncJob, turn: u64, result: io::Result<()>) {
        partition.syncs.turn(turn).await;
        let finished = partition.log().finish_sync(job, result);
        partition.syncs.end();
        match finished {
            Ok(_) => partition.progressed(),
            Err(error) => return self.log_failed(partition, &error),
        }
        if partition.syncs.another_wanted.take() {
            self.flush_soon(partition);
        } else {
            // Batches written meanwhile.
            self.queue_commit(partition);
        }
    }

    /// Syncs what a roll sealed. Beside the commits: it may take seconds, and nobody waits for it.
    pub(super) fn sync_sealed(self: &Rc<Self>, partition: &Rc<Partition>) {
        let Some(job) = partition.log().sealed_sync_job() else { return };
        let turn = partition.syncs.begin(job.upto());
        let (shard, partition) = (self.clone(), partition.clone());
        self.rt.spawn(async move {
            let result = job.run(&shard.rt).await;
            shard.synced(&partition, &job, turn, result).await;
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
