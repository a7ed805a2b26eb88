//! The committer: makes acks=all batches durable.
//!
//! Trains without a timer: a commit takes all that was written to its log, and a few may be under way, also of one log: while one
//! waits for the disk's flush the next writes, and what comes meanwhile gathers. So a lone batch waits for nobody and under load many share one flush.
//! Commits of all logs go by one record of the shard's journal ([`super::journal`]). What that cannot take, after a roll or while it
//! has no place, is flushed log by log, a few dirty files side by side and many by one `syncfs`.
//!
//! A log that is committed often gets a runway ([`kringle_log::PartitionLog::wants_runway`]), laid here between commits.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;

use kringle_log::{LogError, SyncJob};
use kringle_runtime::Time;

use super::Shard;
use super::journal::again;
use super::partition::Partition;

/// Dirty files from which one `syncfs` is cheaper than an fdatasync each (measured: docs/decisions/commit.md).
pub(super) const SYNCFS_FROM_FILES: usize = 16;
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
        // Those that sync their logs' own files.
        let mut to_sync = VecDeque::new();
        loop {
            let seen = self.commit_wanted.version();
            let wanted = self.to_commit.take();
            if !wanted.is_empty() {
                self.grow_journal();
            }
            to_sync.extend(self.not_by_journal());
            to_sync.extend(wanted.into_iter().filter(|partition| !self.by_journal(partition)));
            while let Some(record) = self.next_record(&mut to_sync) {
                self.rt.spawn(self.clone().commit_record(record));
            }
            let commits = self.next_commits(&mut to_sync);
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
    fn next_commits(&self, queue: &mut VecDeque<Rc<Partition>>) -> Vec<Commit> {
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
                commits.push(self.begin_sync(partition, job));
            }
        }
        commits
    }

    fn begin_sync(&self, partition: Rc<Partition>, job: SyncJob) -> Commit {
        let turn = partition.syncs.begin(job.upto());
        Commit { partition, job, turn, begun: self.rt.now() }
    }

    async fn commit(self: Rc<Self>, commit: Commit) {
        self.sync(&commit).await;
        self.count(commit.begun);
        self.lay_runway(&commit.partition);
    }

    async fn commit_all(self: Rc<Self>, commits: Vec<Commit>) {
        self.sync_all(&commits).await;
        commits.iter().for_each(|commit| self.count(commit.begun));
    }

    /// One log's commit has ended.
    pub(super) fn count(&self, begun: Time) {
        self.metrics.commits.add(1);
        self.metrics.commit_us.record(self.rt.now() - begun);
    }

    /// Brings what the logs have written to their own files, journaled or not.
    pub(super) async fn sync_logs(self: &Rc<Self>, partitions: &[Rc<Partition>]) {
        let begin = |partition: &Rc<Partition>| {
            let job = partition.log().flush_job()?;
            Some(self.begin_sync(partition.clone(), job))
        };
        if partitions.len() >= SYNCFS_FROM_FILES {
            let commits: Vec<Commit> = partitions.iter().filter_map(begin).collect();
            return self.sync_all(&commits).await;
        }
        for partition in partitions {
            if let Some(commit) = begin(partition) {
                let result = commit.job.run_in_background(&self.rt).await;
                self.synced(&commit, result).await;
            }
        }
    }

    async fn sync(self: &Rc<Self>, commit: &Commit) {
        let result = commit.job.run(&self.rt).await;
        self.synced(commit, result).await;
    }

    /// By one `syncfs`.
    async fn sync_all(self: &Rc<Self>, commits: &[Commit]) {
        let dir = self.node.log_dir.clone();
        let result = self.rt.blocking(move |fs| fs.sync_fs(&dir)).await;
        for commit in commits {
            self.synced(commit, again(&result)).await;
        }
    }

    async fn synced(self: &Rc<Self>, commit: &Commit, result: io::Result<()>) {
        let Commit { partition, job, turn, .. } = commit;
        partition.syncs.turn(*turn).await;
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
        let (shard, sync) = (self.clone(), self.begin_sync(partition.clone(), job));
        self.rt.spawn(async move { shard.sync(&sync).await });
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
