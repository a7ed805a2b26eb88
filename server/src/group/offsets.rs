//! [`OffsetStore`]: committed offsets, and what is on its way to replace them.
//!
//! Each partition of a group has its committed offset and, in the order they were made, the changes whose records are not
//! committed yet. A change that fails vanishes; one that is committed makes itself and all before it past.

use std::collections::BTreeMap;
use std::sync::Arc;

use kringle_protocol::Uuid;
use kringle_protocol::offset_commit_value::OffsetCommitValue;

use super::WriteId;

/// The offset keeps no time of its own at which it expires.
pub(super) const NO_EXPIRY: i64 = -1;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) offset: i64,
    /// -1 if the client did not know it.
    pub(super) leader_epoch: i32,
    pub(super) metadata: String,
    pub(super) commit_timestamp_ms: i64,
    pub(super) expire_timestamp_ms: i64,
    /// Zero if nobody knew it.
    pub(super) topic_id: Uuid,
}

impl From<OffsetCommitValue> for Offset {
    fn from(value: OffsetCommitValue) -> Offset {
        Offset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata,
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: value.expire_timestamp,
            topic_id: value.topic_id,
        }
    }
}

/// A partition as a group sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OffsetKey {
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

#[derive(Debug, Default)]
struct Slot {
    committed: Option<Offset>,
    /// When `committed` came, counted in changes of the store.
    order: u64,
    pending: Vec<(WriteId, Option<Offset>)>,
}

impl Slot {
    fn is_vacant(&self) -> bool {
        self.committed.is_none() && self.pending.is_empty()
    }

    fn read(&self, reading: Reading) -> Option<&Offset> {
        match (reading, self.pending.last()) {
            (Reading::Latest, Some((_, change))) => change.as_ref(),
            (Reading::Latest, None) | (Reading::Committed, _) => self.committed.as_ref(),
        }
    }
}

/// Which changes a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Those whose records are committed.
    Committed,
    /// All; the answer must not leave before they are committed.
    Latest,
}

type Topics = BTreeMap<Arc<str>, BTreeMap<i32, Slot>>;

/// The offsets of all groups of a partition.
#[derive(Debug, Default)]
pub(super) struct OffsetStore {
    groups: BTreeMap<Arc<str>, Topics>,
    changes: u64,
    committed: usize,
}

impl OffsetStore {
    /// Committed offsets there are.
    pub(super) fn len(&self) -> usize {
        self.committed
    }

    /// The name of a partition, sharing its parts with those that are there.
    pub(super) fn key(&self, group: &str, topic: &str, partition: i32) -> OffsetKey {
        let known = self.groups.get_key_value(group);
        let known_topic = known.and_then(|(_, topics)| topics.get_key_value(topic));
        OffsetKey {
            group: known.map_or_else(|| group.into(), |(group, _)| group.clone()),
            topic: known_topic.map_or_else(|| topic.into(), |(topic, _)| topic.clone()),
            partition,
        }
    }

    /// Notes a change whose record is on its way.
    pub(super) fn stage(&mut self, key: &OffsetKey, write: WriteId, change: Option<Offset>) {
        self.slot(key).pending.push((write, change));
    }

    /// The record of a change is committed. Changes before it, whatever becomes of them, are past.
    pub(super) fn committed(&mut self, key: &OffsetKey, write: WriteId) {
        let slot = self.slot(key);
        let Some(at) = slot.pending.iter().rposition(|(id, _)| *id == write) else { return };
        let change = slot.pending.drain(..=at).next_back().and_then(|(_, change)| change);
        self.set(key, change);
    }

    /// The record of a change was refused.
    pub(super) fn failed(&mut self, key: &OffsetKey, write: WriteId) {
        self.slot(key).pending.retain(|(id, _)| *id != write);
        self.tidy(key);
    }

    /// Sets what is committed.
    pub(super) fn set(&mut self, key: &OffsetKey, offset: Option<Offset>) {
        self.changes += 1;
        let order = self.changes;
        let slot = self.slot(key);
        slot.order = order;
        let added = usize::from(offset.is_some());
        let former = std::mem::replace(&mut slot.committed, offset);
        self.committed = self.committed + added - usize::from(former.is_some());
        self.tidy(key);
    }

    /// As [`OffsetStore::set`], if nothing was committed since `order`.
    pub(super) fn set_if_older(&mut self, key: &OffsetKey, offset: Offset, order: u64) {
        let slot = self.slot(key);
        if slot.committed.is_none() || slot.order < order {
            self.set(key, Some(offset));
        }
    }

    /// A place in the order of changes that comes after all so far.
    pub(super) fn next_order(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    pub(super) fn has_committed(&self, key: &OffsetKey) -> bool {
        self.find(&key.group, &key.topic, key.partition).is_some_and(|slot| slot.committed.is_some())
    }

    pub(super) fn read(&self, group: &str, topic: &str, partition: i32, reading: Reading) -> Option<&Offset> {
        self.find(group, topic, partition)?.read(reading)
    }

    /// All offsets of a group, by topic.
    pub(super) fn of_group<'a>(
        &'a self,
        group: &'a str,
        reading: Reading,
    ) -> impl Iterator<Item = (&'a Arc<str>, impl Iterator<Item = (i32, &'a Offset)>)> {
        self.groups.get(group).into_iter().flatten().map(move |(topic, partitions)| {
            let read = move |(partition, slot): (&i32, &'a Slot)| slot.read(reading).map(|offset| (*partition, offset));
            (topic, partitions.iter().filter_map(read))
        })
    }

    /// The latest offsets of a group, and whether they are committed.
    pub(super) fn latest_of_group<'a>(&'a self, group: &str) -> Vec<(OffsetKey, &'a Offset, bool)> {
        let Some((group, topics)) = self.groups.get_key_value(group) else { return Vec::new() };
        let partitions = topics.iter().flat_map(|(topic, slots)| slots.iter().map(move |slot| (topic, slot)));
        let entry = |(topic, (partition, slot)): (&Arc<str>, (&i32, &'a Slot))| {
            let offset = slot.read(Reading::Latest)?;
            let key = OffsetKey { group: group.clone(), topic: topic.clone(), partition: *partition };
            Some((key, offset, slot.pending.is_empty()))
        };
        partitions.filter_map(entry).collect()
    }

    /// The latest offsets of a topic in all groups.
    pub(super) fn latest_of_topic(&self, topic: &str) -> Vec<(OffsetKey, &Offset)> {
        let mut found = Vec::new();
        for (group, topics) in &self.groups {
            let Some((topic, slots)) = topics.get_key_value(topic) else { continue };
            for (partition, slot) in slots {
                if let Some(offset) = slot.read(Reading::Latest) {
                    let key = OffsetKey { group: group.clone(), topic: topic.clone(), partition: *partition };
                    found.push((key, offset));
                }
            }
        }
        found
    }

    fn find(&self, group: &str, topic: &str, partition: i32) -> Option<&Slot> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    fn slot(&mut self, key: &OffsetKey) -> &mut Slot {
        let topics = self.groups.entry(key.group.clone()).or_default();
        topics.entry(key.topic.clone()).or_default().entry(key.partition).or_default()
    }

    /// Nothing is kept for what is nowhere.
    fn tidy(&mut self, key: &OffsetKey) {
        let Some(topics) = self.groups.get_mut(&key.group) else { return };
        let Some(slots) = topics.get_mut(&key.topic) else { return };
        if slots.get(&key.partition).is_some_and(Slot::is_vacant) {
            slots.remove(&key.partition);
            if slots.is_empty() {
                topics.remove(&key.topic);
            }
            if topics.is_empty() {
                self.groups.remove(&key.group);
            }
        }
    }
}
