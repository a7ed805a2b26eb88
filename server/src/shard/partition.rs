//! A partition that this shard leads: its log, and who waits for it.
//!
//! Producers wait for their batch to be written (acks=1) or to be below the high watermark (acks=all); fetches wait in
//! its [`SharedLog`]. All changes of the log go through the shard's write and commit loops; here is only what is waited for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use kringle_log::{Acks, Appended, CloseJob, PartitionLog, TopicPartition};
use kringle_protocol::ErrorCode;
use kringle_runtime::Notify;

use super::appends::{Asked, Failed, Mailed};
use super::shared::SharedLog;

/// Who is told, once, that a batch is where its producer wanted it, or why it will never be.
pub(crate) enum Done {
    /// A coordinator.
    Call(Box<dyn FnOnce(Result<(), ErrorCode>)>),
    /// A request of this shard.
    Produce(Asked, Appended),
    /// A request of another shard, which sent its batch here.
    Mailed(Mailed, Appended),
}

impl Done {
    fn tell(self, result: Result<(), ErrorCode>) {
        match self {
            Done::Call(call) => call(result),
            Done::Produce(asked, at) => asked.answer(result.map(|()| at).map_err(Failed::from)),
            Done::Mailed(mailed, at) => mailed.answer(result.map(|()| at).map_err(Failed::from)),
        }
    }
}

/// The syncs of a log that are under way. They may overlap, but end in the order in which they began: of a write that failed before a
/// sync began it may hear nothing, and must not be believed before those that did are heard.
#[derive(Default)]
pub(super) struct Syncs {
    begun: Cell<u64>,
    ended: Cell<u64>,
    /// The largest offset before which all is stable once those under way have ended.
    upto: Cell<i64>,
    /// Whoever ends has the log queued for another.
    pub(super) another_wanted: Cell<bool>,
    changed: Notify,
}

impl Syncs {
    pub(super) fn under_way(&self) -> u64 {
        self.begun.get() - self.ended.get()
    }

    /// Whether one that is under way makes all before `upto` stable.
    pub(super) fn cover(&self, upto: i64) -> bool {
        self.under_way() > 0 && self.upto.get() >= upto
    }

    /// A sync begins that makes all before `upto` stable: its turn.
    pub(super) fn begin(&self, upto: i64) -> u64 {
        let turn = self.begun.get();
        self.begun.set(turn + 1);
        self.upto.set(self.upto.get().max(upto));
        turn
    }

    /// Waits until all that began before have ended.
    pub(super) async fn turn(&self, turn: u64) {
        while self.ended.get() != turn {
            self.changed.wait_after(self.changed.version()).await;
        }
    }

    /// The one whose turn it is has ended.
    pub(super) fn end(&self) {
        self.ended.set(self.ended.get() + 1);
        self.changed.notify_all();
    }
}

/// One led partition. Lives on the shard that owns it.
pub(crate) struct Partition {
    pub(crate) tp: TopicPartition,
    pub(crate) shared: Arc<SharedLog>,
    /// A write or roll of this log is in flight.
    pub(super) writing: Cell<bool>,
    pub(super) in_write_queue: Cell<bool>,
    pub(super) in_commit_queue: Cell<bool>,
    pub(super) syncs: Syncs,
    /// The use of a slot of the journal in which it stands.
    pub(super) in_journal_slot: Cell<u64>,
    /// A stretch of its runway is being laid.
    pub(super) laying_runway: Cell<bool>,
    written: RefCell<VecDeque<(i64, Done)>>,
    committed: RefCell<VecDeque<(i64, Done)>>,
}

impl Partition {
    pub(crate) fn new(tp: TopicPartition, log: PartitionLog) -> Partition {
        Partition {
            shared: Arc::new(SharedLog::new(log)),
            tp,
            writing: Cell::new(false),
            in_write_queue: Cell::new(false),
            in_commit_queue: Cell::new(false),
            syncs: Syncs::default(),
            in_journal_slot: Cell::new(0),
            laying_runway: Cell::new(false),
            written: RefCell::default(),
            committed: RefCell::default(),
        }
    }

    /// The log; see [`SharedLog::log`].
    pub(crate) fn log(&self) -> MutexGuard<'_, PartitionLog> {
        self.shared.log()
    }

    /// The epoch in which this broker leads.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.shared.leader_epoch()
    }

    /// This broker leads the partition in that epoch; epochs never go back.
    pub(crate) fn lead(&self, epoch: i32) {
        let before = self.leader_epoch();
        assert!(epoch >= before, "{}: leader epoch {epoch} goes back", self.tp);
        if epoch != before {
            self.log().start_epoch(epoch);
            self.shared.set_leader_epoch(epoch);
        }
    }

    /// Ends the log, unless a write or roll is under way or due. Looked at and ended in one: other shards append too.
    pub(super) fn close_job_if_idle(&self) -> Option<CloseJob> {
        let mut log = self.log();
        (!self.writing.get() && !log.is_busy()).then(|| log.close_job())
    }

    /// Why the partition takes nothing any more.
    pub(crate) fn closed(&self) -> Option<ErrorCode> {
        self.shared.closed()
    }

    /// Whether its topic was deleted.
    pub(super) fn is_dropped(&self) -> bool {
        self.closed() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// Calls `done` once everything before `offset` is written (or, with acks=all, below the high watermark).
    pub(crate) fn when(&self, acks: Acks, offset: i64, done: Done) {
        if let Some(error) = self.closed() {
            return done.tell(Err(error));
        }
        let (reached, queue) = match acks {
            Acks::Leader => (self.log().log_end_offset(), &self.written),
            Acks::All => (self.log().high_watermark(), &self.committed),
        };
        if reached >= offset {
            return done.tell(Ok(()));
        }
        queue.borrow_mut().push_back((offset, done));
    }

    /// Wakes those whose offsets are reached. Called after every finished write and commit.
    pub(super) fn progressed(&self) {
        let (written, committed) = {
            let log = self.log();
            (log.log_end_offset(), log.high_watermark())
        };
        release(&self.written, written);
        release(&self.committed, committed);
        self.shared.wake_fetchers();
    }

    /// Refuses all who wait for offsets at or after `from` (they were cut off again).
    pub(super) fn refuse_from(&self, from: i64, error: ErrorCode) {
        for queue in [&self.written, &self.committed] {
            let (keep, refused): (VecDeque<_>, VecDeque<_>) = queue.take().into_iter().partition(|(at, _)| *at <= from);
            queue.replace(keep);
            for (_, done) in refused {
                done.tell(Err(error));
            }
        }
    }

    /// Nothing is accepted any more, whoever waits gets `error`.
    pub(crate) fn close(&self, error: ErrorCode) {
        self.shared.set_closed(error);
        self.refuse_from(i64::MIN, error);
        self.shared.wake_fetchers();
    }
}

fn release(queue: &RefCell<VecDeque<(i64, Done)>>, reached: i64) {
    loop {
        // Taken out before it is called: it may queue again.
        let next = queue.borrow_mut().pop_front_if(|(offset, _)| *offset <= reached);
        let Some((_, done)) = next else { return };
        done.tell(Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn syncs_that_overlap_end_in_the_order_in_which_they_began() {
        let syncs = Syncs::default();
        let (first, second) = (syncs.begin(10), syncs.begin(20));
        let mut cx = Context::from_waker(Waker::noop());
        let mut of_second = pin!(syncs.turn(second));
        assert!(of_second.as_mut().poll(&mut cx).is_pending());
        assert!(pin!(syncs.turn(first)).poll(&mut cx).is_ready());
        syncs.end();
        assert!(of_second.as_mut().poll(&mut cx).is_ready());
        assert_eq!(syncs.under_way(), 1);
    }

    #[test]
    fn what_one_under_way_makes_stable_is_not_synced_again() {
        let syncs = Syncs::default();
        assert!(!syncs.cover(10));
        syncs.begin(10);
        assert!(syncs.cover(10) && !syncs.cover(11));
        syncs.end();
        assert!(!syncs.cover(10), "it may have failed, or a segment was sealed meanwhile");
    }
}
