//! Leader epochs of a partition: which leader wrote from which offset on (KIP-101; Kafka's `LeaderEpochFileCache`).
//!
//! Pure; the owner of the log keeps it and writes it to `leader-epoch-checkpoint` (see [`crate::checkpoint`]) at rolls, syncs of
//! metadata and close. What a crash loses of it is rebuilt from the batches. Epochs and offsets both ascend.

/// An epoch that is not known.
pub(crate) const UNDEFINED_EPOCH: i32 = -1;
/// Its end.
pub(crate) const UNDEFINED_OFFSET: i64 = -1;

/// A leader's term on this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub epoch: i32,
    /// The first offset written in it.
    pub start_offset: i64,
}

/// All known terms, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs {
    entries: Vec<EpochEntry>,
    /// Differs from what is on disk.
    dirty: bool,
}

impl LeaderEpochs {
    pub(crate) fn new(entries: impl IntoIterator<Item = EpochEntry>) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start_offset);
        }
        epochs.dirty = false;
        epochs
    }

    /// An epoch begins at an offset. Entries that contradict it give way. Negative numbers are ignored.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) {
        if epoch < 0 || start_offset < 0 {
            return;
        }
        if self.entries.last().is_some_and(|last| last.epoch == epoch && last.start_offset <= start_offset) {
            return;
        }
        while self.entries.last().is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        self.dirty = true;
    }

    pub(crate) fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub(crate) fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    pub(crate) fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// The epoch in which an offset was, or would be, written.
    pub(crate) fn at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The largest epoch up to `epoch`, and where it ends; (-1, -1) if `epoch` is -1 or newer than any known.
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> (i32, i64) {
        if epoch == UNDEFINED_EPOCH {
            return (UNDEFINED_EPOCH, UNDEFINED_OFFSET);
        }
        if self.latest() == Some(epoch) {
            return (epoch, log_end_offset);
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match self.entries.get(higher) {
            None => (UNDEFINED_EPOCH, UNDEFINED_OFFSET),
            Some(next) => {
                let floor = higher.checked_sub(1).map_or(epoch, |at| self.entries[at].epoch);
                (floor, next.start_offset)
            }
        }
    }

    /// The log was cut to end at `end_offset`.
    pub(crate) fn truncate_from_end(&mut self, end_offset: i64) {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end_offset);
        self.dirty |= keep < self.entries.len();
        self.entries.truncate(keep);
    }

    /// The log now starts at `start_offset`: the epoch it is in begins there, older ones go.
    pub(crate) fn truncate_from_start(&mut self, start_offset: i64) {
        let gone = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        if gone == 0 || (gone == 1 && self.entries[0].start_offset == start_offset) {
            return;
        }
        self.entries.drain(..gone - 1);
        self.entries[0].start_offset = start_offset;
        self.dirty = true;
    }

    pub(crate) fn clear(&mut self) {
        self.dirty |= !self.entries.is_empty();
        self.entries.clear();
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(crate) fn mark_clean(&mut self) {
        self.dirty = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::new(
            entries.iter().map(|(epoch, start_offset)| EpochEntry { epoch: *epoch, start_offset: *start_offset }),
        )
    }

    fn list(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
    }

    #[test]
    fn ends_are_those_of_the_floor_epoch() {
        let epochs = epochs(&[(2, 0), (4, 10), (7, 30)]);
        assert_eq!(epochs.end_offset_for(7, 55), (7, 55));
        assert_eq!(epochs.end_offset_for(5, 55), (4, 30));
        assert_eq!(epochs.end_offset_for(2, 55), (2, 10));
        assert_eq!(epochs.end_offset_for(1, 55), (1, 0));
        assert_eq!(epochs.end_offset_for(8, 55), (-1, -1));
        assert_eq!(epochs.end_offset_for(-1, 55), (-1, -1));
        assert_eq!(epochs.end_offset_for(-2, 55), (-2, 0), "as Kafka: only -1 stands for no epoch");
        assert_eq!((epochs.at(9), epochs.at(10), epochs.at(99)), (Some(2), Some(4), Some(7)));
    }

    #[test]
    fn a_new_epoch_removes_what_contradicts_it() {
        let mut epochs = epochs(&[(1, 0), (2, 10)]);
        epochs.assign(3, 10);
        assert_eq!(list(&epochs), [(1, 0), (3, 10)]);
        epochs.assign(3, 50);
        assert_eq!(list(&epochs), [(1, 0), (3, 10)], "a batch of the running epoch changes nothing");
        assert!(epochs.is_dirty());
    }

    #[test]
    fn cutting_the_log_cuts_the_epochs() {
        let mut epochs = epochs(&[(1, 0), (2, 10), (3, 20)]);
        epochs.truncate_from_start(15);
        assert_eq!(list(&epochs), [(2, 15), (3, 20)]);
        epochs.truncate_from_end(20);
        assert_eq!(list(&epochs), [(2, 15)]);
        epochs.truncate_from_start(15);
        assert_eq!(list(&epochs), [(2, 15)]);
    }
}
