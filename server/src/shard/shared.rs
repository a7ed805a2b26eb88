//! The side of a partition that every shard may use, so that neither a fetch nor a short append needs a hop.
//!
//! Any shard may take the log's lock for a look-up, wait for progress, and append to a log that is idle
//! (`appends`); the owner alone does what takes longer: it queues, rolls, flushes and deletes. The lock is held to find
//! or to change positions, never for a write of records, an fsync or a wait, so that two shards meet there for less than
//! a message between them costs (docs/decisions/fetch-without-a-hop.md, produce-without-a-hop.md). Under it only an index
//! takes a lock, of its own page.

use std::sync::atomic::{AtomicI16, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use kringle_log::PartitionLog;
use kringle_protocol::{ErrorCode, Uuid};
use rustc_hash::FxHashMap;

use super::fetchers::{FetchWait, Fetchers};

/// Shared by the owner and all who read; see the module's text.
pub(crate) struct SharedLog {
    leader_epoch: AtomicI32,
    /// Why the partition takes and gives nothing any more; 0 while it does.
    closed: AtomicI16,
    log: Mutex<PartitionLog>,
    fetchers: Mutex<Fetchers>,
}

impl SharedLog {
    pub(super) fn new(log: PartitionLog) -> SharedLog {
        SharedLog {
            leader_epoch: AtomicI32::new(-1),
            closed: AtomicI16::new(ErrorCode::NONE.into()),
            log: Mutex::new(log),
            fetchers: Mutex::default(),
        }
    }

    /// The log. Do not hold it across an await, nor while calling what may ask for it again.
    pub(crate) fn log(&self) -> MutexGuard<'_, PartitionLog> {
        // A panic under the lock is a broken invariant of this log; the shard it happened on is gone with it.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, unless somebody else is at it.
    pub(crate) fn try_log(&self) -> Option<MutexGuard<'_, PartitionLog>> {
        match self.log.try_lock() {
            Ok(log) => Some(log),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The epoch in which this broker leads; -1 before the first.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    pub(super) fn set_leader_epoch(&self, epoch: i32) {
        self.leader_epoch.store(epoch, Ordering::Release);
    }

    /// Why the partition takes and gives nothing any more.
    pub(crate) fn closed(&self) -> Option<ErrorCode> {
        match self.closed.load(Ordering::Acquire).into() {
            ErrorCode::NONE => None,
            error => Some(error),
        }
    }

    pub(super) fn set_closed(&self, error: ErrorCode) {
        self.closed.store(error.into(), Ordering::Release);
    }

    /// Wakes `wait` when the readable end moves. Look at the log after this, not before, or an append between is missed.
    pub(crate) fn wake_on_progress(&self, wait: &Arc<FetchWait>) {
        self.fetchers().add(wait);
    }

    /// Wakes all who wait for progress.
    pub(super) fn wake_fetchers(&self) {
        let waiting = self.fetchers().take();
        for wait in waiting {
            wait.progressed.notify_all();
        }
    }

    fn fetchers(&self) -> MutexGuard<'_, Fetchers> {
        self.fetchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The led partitions of a node, by topic id and partition. Owners enter and remove; shards keep what they looked up.
#[derive(Default)]
pub(crate) struct Registry {
    partitions: RwLock<FxHashMap<(Uuid, i32), Arc<SharedLog>>>,
}

impl Registry {
    pub(super) fn insert(&self, topic: Uuid, partition: i32, shared: Arc<SharedLog>) {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).insert((topic, partition), shared);
    }

    pub(super) fn remove(&self, topic: Uuid, partition: i32) {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).remove(&(topic, partition));
    }

    pub(super) fn get(&self, topic: Uuid, partition: i32) -> Option<Arc<SharedLog>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&(topic, partition)).cloned()
    }
}
