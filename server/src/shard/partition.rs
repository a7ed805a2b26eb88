//! A partition that this shard leads: its log, and who waits for it.
//!
//! Producers wait for their batch to be written (acks=1) or to be below the high watermark (acks=all); fetches wait in
//! [`Fetchers`]. All changes of the log go through the shard's write and commit loops; here is only what is waited for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use kringle_log::{Acks, PartitionLog, TopicPartition};
use kringle_protocol::ErrorCode;

use super::fetchers::{FetchWait, Fetchers};

/// Called once: the batch is where its producer wanted it, or why it will never be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), ErrorCode>)>;

/// One led partition. Lives on the shard that owns it.
pub(crate) struct Partition {
    pub(crate) tp: TopicPartition,
    pub(crate) leader_epoch: Cell<i32>,
    pub(crate) log: RefCell<PartitionLog>,
    /// A write or roll of this log is in flight.
    pub(super) writing: Cell<bool>,
    pub(super) in_write_queue: Cell<bool>,
    pub(super) in_commit_queue: Cell<bool>,
    /// The topic was deleted, or the log failed: nothing more is accepted.
    closed: Cell<Option<ErrorCode>>,
    written: RefCell<VecDeque<(i64, Done)>>,
    committed: RefCell<VecDeque<(i64, Done)>>,
    fetchers: RefCell<Fetchers>,
}

impl Partition {
    pub(crate) fn new(tp: TopicPartition, log: PartitionLog) -> Partition {
        Partition {
            tp,
            leader_epoch: Cell::new(-1),
            log: RefCell::new(log),
            writing: Cell::new(false),
            in_write_queue: Cell::new(false),
            in_commit_queue: Cell::new(false),
            closed: Cell::new(None),
            written: RefCell::default(),
            committed: RefCell::default(),
            fetchers: RefCell::default(),
        }
    }

    /// This broker leads the partition in that epoch; epochs never go back.
    pub(crate) fn lead(&self, epoch: i32) {
        assert!(epoch >= self.leader_epoch.get(), "{}: leader epoch {epoch} goes back", self.tp);
        if epoch != self.leader_epoch.replace(epoch) {
            self.log.borrow_mut().start_epoch(epoch);
        }
    }

    /// A write or roll is under way or due.
    pub(super) fn is_busy(&self) -> bool {
        let log = self.log.borrow();
        self.writing.get() || log.staged_end_offset() > log.log_end_offset()
    }

    /// Why the partition takes nothing any more.
    pub(crate) fn closed(&self) -> Option<ErrorCode> {
        self.closed.get()
    }

    /// Calls `done` once everything before `offset` is written (or, with acks=all, below the high watermark).
    pub(crate) fn when(&self, acks: Acks, offset: i64, done: Done) {
        if let Some(error) = self.closed.get() {
            return done(Err(error));
        }
        let (reached, queue) = match acks {
            Acks::Leader => (self.log.borrow().log_end_offset(), &self.written),
            Acks::All => (self.log.borrow().high_watermark(), &self.committed),
        };
        if reached >= offset {
            return done(Ok(()));
        }
        queue.borrow_mut().push_back((offset, done));
    }

    /// Wakes those whose offsets are reached. Called after every finished write and commit.
    pub(super) fn progressed(&self) {
        let (written, committed) = {
            let log = self.log.borrow();
            (log.log_end_offset(), log.high_watermark())
        };
        release(&self.written, written);
        release(&self.committed, committed);
        self.fetchers.borrow_mut().wake();
    }

    /// Refuses all who wait for offsets at or after `from` (they were cut off again).
    pub(super) fn refuse_from(&self, from: i64, error: ErrorCode) {
        for queue in [&self.written, &self.committed] {
            let (keep, refused): (VecDeque<_>, VecDeque<_>) = queue.take().into_iter().partition(|(at, _)| *at <= from);
            queue.replace(keep);
            for (_, done) in refused {
                done(Err(error));
            }
        }
    }

    /// Nothing is accepted any more, whoever waits gets `error`.
    pub(crate) fn close(&self, error: ErrorCode) {
        self.closed.set(Some(error));
        self.refuse_from(i64::MIN, error);
        self.fetchers.borrow_mut().wake();
    }

    /// Wakes `wait` when the readable end of this partition moves.
    pub(crate) fn wake_on_progress(&self, wait: &Arc<FetchWait>) {
        self.fetchers.borrow_mut().add(wait);
    }
}

fn release(queue: &RefCell<VecDeque<(i64, Done)>>, reached: i64) {
    loop {
        // Taken out before it is called: it may queue again.
        let next = queue.borrow_mut().pop_front_if(|(offset, _)| *offset <= reached);
        let Some((_, done)) = next else { return };
        done(Ok(()));
    }
}
