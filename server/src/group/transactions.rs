//! Offsets that were committed in transactions which are still open, as replaying the log finds them.

use std::collections::BTreeMap;

use kringle_protocol::Uuid;

use super::offsets::{Offset, OffsetKey, OffsetStore};

/// Open transactions by producer id, with the place of each offset in the order of changes.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: BTreeMap<i64, BTreeMap<OffsetKey, (Offset, u64)>>,
}

impl Transactions {
    pub(super) fn add(&mut self, producer_id: i64, key: OffsetKey, offset: Offset, order: u64) {
        self.open.entry(producer_id).or_default().insert(key, (offset, order));
    }

    /// A tombstone is for what is pending, too.
    pub(super) fn forget(&mut self, key: &OffsetKey) {
        self.open.retain(|_, offsets| {
            offsets.remove(key);
            !offsets.is_empty()
        });
    }

    /// A transaction has ended; its offsets count if it was committed and nothing newer was.
    pub(super) fn end(&mut self, producer_id: i64, committed: bool, store: &mut OffsetStore) {
        let Some(offsets) = self.open.remove(&producer_id) else { return };
        if committed {
            for (key, (offset, order)) in offsets {
                store.set_if_older(&key, offset, order);
            }
        }
    }

    pub(super) fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        if self.open.is_empty() {
            return false;
        }
        let key = OffsetKey { group: group.into(), topic: topic.into(), partition };
        self.open.values().any(|offsets| offsets.contains_key(&key))
    }

    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = &OffsetKey> {
        self.open.values().flat_map(BTreeMap::keys).filter(move |key| *key.group == *group)
    }

    pub(super) fn of_topic(&self, topic: &str, id: Uuid) -> impl Iterator<Item = &OffsetKey> {
        let offsets = self.open.values().flatten().filter(move |(key, _)| *key.topic == *topic);
        offsets.filter(move |(_, (offset, _))| offset.topic_id.is_zero() || offset.topic_id == id).map(|(key, _)| key)
    }
}
