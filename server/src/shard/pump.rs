//! The write loop: what was staged in a turn is written at its end.
//!
//! A partition has at most one write in flight. All that is staged in the same turn, or while a write is in flight, goes
//! out as the next one: coalescing under load comes by itself. Short writes are plain system calls, since a buffered
//! write into the page cache is faster than a round through the ring (docs/decisions/append-path.md); long ones go
//! through the ring, and so do all that would make the shard wait.

use std::rc::Rc;

use kringle_log::{Acks, LogError, ReserveJob, RollJob, Step, ValidBatch, WriteJob};
use kringle_protocol::ErrorCode;

use super::Shard;
use super::partition::{Done, Partition};

/// Writes up to this size are made in line.
pub(super) const INLINE_WRITE_BYTES: usize = 256 * 1024;

impl Shard {
    /// Appends a coordinator's batch at the end of the turn; `done` is told once it is committed.
    ///
    /// # Errors
    /// What the log has against the batch; `done` is not told.
    pub(crate) fn append(&self, partition: &Rc<Partition>, batch: ValidBatch, done: Done) -> Result<(), ErrorCode> {
        self.stage(partition, batch, Acks::All, |_| done).map_err(|failed| failed.code)?;
        self.queue_write(partition);
        Ok(())
    }

    pub(super) fn queue_write(&self, partition: &Rc<Partition>) {
        if !partition.writing.get() && !partition.in_write_queue.replace(true) {
            self.to_write.borrow_mut().push(partition.clone());
            self.write_wanted.notify_all();
        }
    }

    /// Runs for the life of the shard. It is woken behind the tasks that staged something in this turn.
    pub(super) async fn write_loop(self: Rc<Self>) {
        loop {
            let seen = self.write_wanted.version();
            let queued = self.to_write.take();
            if queued.is_empty() {
                self.write_wanted.wait_after(seen).await;
                continue;
            }
            for partition in queued {
                partition.in_write_queue.set(false);
                self.write(&partition);
            }
        }
    }

    /// Takes the log's next steps until one has to be waited for.
    pub(super) fn write(self: &Rc<Self>, partition: &Rc<Partition>) {
        if partition.writing.get() {
            return;
        }
        loop {
            let (space, step) = {
                let mut log = partition.log();
                (log.next_space(), log.next_step())
            };
            if let Some(job) = space {
                return self.spawn_reserve(partition, job);
            }
            match step {
                Step::Idle => return,
                Step::Write(job) if job.len_bytes() <= INLINE_WRITE_BYTES => {
                    self.metrics.writes_inline.add(1);
                    let result = job.run_inline();
                    self.wrote(partition, job, result);
                }
                Step::Write(job) => {
                    self.metrics.writes_ring.add(1);
                    return self.spawn_write(partition, job);
                }
                Step::Roll(job) => return self.spawn_roll(partition, job),
            }
        }
    }

    fn spawn_write(self: &Rc<Self>, partition: &Rc<Partition>, mut job: WriteJob) {
        partition.writing.set(true);
        let (shard, partition) = (self.clone(), partition.clone());
        self.rt.spawn(async move {
            let result = job.run(&shard.rt).await;
            partition.writing.set(false);
            shard.wrote(&partition, job, result);
            shard.write(&partition);
        });
    }

    fn spawn_reserve(self: &Rc<Self>, partition: &Rc<Partition>, job: ReserveJob) {
        partition.writing.set(true);
        let (shard, partition) = (self.clone(), partition.clone());
        self.rt.spawn(async move {
            let result = job.run(&shard.rt).await;
            partition.log().finish_reserving(&job, result);
            partition.writing.set(false);
            shard.write(&partition);
        });
    }

    fn spawn_roll(self: &Rc<Self>, partition: &Rc<Partition>, job: RollJob) {
        partition.writing.set(true);
        let (shard, partition) = (self.clone(), partition.clone());
        self.rt.spawn(async move {
            let done = shard.rt.blocking(move |fs| job.run(fs)).await;
            let finished = partition.log().finish_roll(done);
            partition.writing.set(false);
            shard.metrics.segments_rolled.add(1);
            match finished {
                Ok(_) => {
                    partition.progressed();
                    shard.write(&partition);
                    shard.sync_sealed(&partition);
                }
                Err(error) => shard.log_failed(&partition, &error),
            }
        });
    }

    fn wrote(self: &Rc<Self>, partition: &Rc<Partition>, job: WriteJob, result: std::io::Result<()>) {
        self.metrics.bytes_written.add(job.len_bytes() as u64);
        let finished = partition.log().finish_write(job, result);
        match finished {
            Ok(_) => {
                partition.progressed();
                self.queue_commit(partition);
            }
            Err(error @ LogError::DiskFull { from }) => {
                tracing::error!("{}: {error}", partition.tp);
                partition.refuse_from(from, ErrorCode::KAFKA_STORAGE_ERROR);
            }
            Err(error) => self.log_failed(partition, &error),
        }
    }

    /// A write or fsync failed: Kafka's failure domain is the log directory, and there is only one, so the process ends.
    pub(super) fn log_failed(self: &Rc<Self>, partition: &Rc<Partition>, error: &LogError) {
        if partition.is_dropped() {
            // Of a sync that was under way: the directory has another name by now.
            return tracing::debug!("{}: {error}; its topic is gone", partition.tp);
        }
        partition.close(ErrorCode::KAFKA_STORAGE_ERROR);
        self.node.storage_failed(&format!("{}: {error}", partition.tp));
    }
}
