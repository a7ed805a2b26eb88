//! The purgatory of one partition: fetches that wait for more records.
//!
//! A waiting fetch belongs to its connection's shard; the partition only holds a weak reference by which to wake it. One
//! connection waits at most once, so a fetch that timed out is replaced by the next one of the same connection.

use std::sync::{Arc, Weak};

use kringle_runtime::Notify;

/// Shared by a waiting fetch and the partitions it waits for.
pub(crate) struct FetchWait {
    /// The connection that waits.
    pub(crate) connection: u64,
    pub(crate) progressed: Notify,
}

/// Who is to be woken when the partition's readable end moves.
#[derive(Default)]
pub(crate) struct Fetchers {
    waiting: Vec<(u64, Weak<FetchWait>)>,
    /// Length at which dead references are swept.
    sweep_at: usize,
}

impl Fetchers {
    pub(crate) fn add(&mut self, wait: &Arc<FetchWait>) {
        let entry = (wait.connection, Arc::downgrade(wait));
        match self.waiting.iter_mut().find(|(connection, _)| *connection == wait.connection) {
            Some(old) => *old = entry,
            None => self.waiting.push(entry),
        }
        if self.waiting.len() > self.sweep_at.max(16) {
            self.waiting.retain(|(_, wait)| wait.strong_count() > 0);
            self.sweep_at = self.waiting.len() * 2;
        }
    }

    /// Takes all out, to be woken; each looks again and comes back if it is still not satisfied.
    pub(crate) fn take(&mut self) -> Vec<Arc<FetchWait>> {
        self.waiting.drain(..).filter_map(|(_, wait)| wait.upgrade()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(connection: u64) -> Arc<FetchWait> {
        Arc::new(FetchWait { connection, progressed: Notify::new() })
    }

    #[test]
    fn a_connection_that_polls_an_idle_partition_for_ever_is_kept_once() {
        let mut fetchers = Fetchers::default();
        for _ in 0..1000 {
            fetchers.add(&wait(1));
        }
        assert_eq!(fetchers.waiting.len(), 1);
    }

    #[test]
    fn connections_that_went_away_are_swept() {
        let mut fetchers = Fetchers::default();
        for connection in 0..1000 {
            fetchers.add(&wait(connection));
        }
        assert!(fetchers.waiting.len() < 64, "{}", fetchers.waiting.len());
    }

    #[test]
    fn whoever_waits_is_taken_out_once() {
        let mut fetchers = Fetchers::default();
        let waiting = wait(1);
        fetchers.add(&waiting);
        assert_eq!(fetchers.take().len(), 1);
        assert!(fetchers.take().is_empty());
    }
}
