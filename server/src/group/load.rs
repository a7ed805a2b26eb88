//! Loading: the records of the log, one after the other, then life begins.

use std::sync::Arc;

use kringle_protocol::DecodeError;
use kringle_protocol::group_metadata_value::GroupMetadataValue;
use kringle_protocol::offset_commit_value::OffsetCommitValue;

use super::Coordinator;
use super::classic::{Group, State};
use super::offsets::Offset;
use super::records::{Entry, decode};

/// A record of `__consumer_offsets` that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a record of __consumer_offsets cannot be read: {0}")]
pub struct ReplayError(#[from] DecodeError);

impl Coordinator {
    /// Takes in a record of the log. Records of other kinds of groups are counted and have no effect.
    ///
    /// # Errors
    /// The record's bytes are damaged, or newer than Kafka 4.3. Nothing has changed.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        self.take_in(None, key, value)
    }

    /// As [`Coordinator::replay`], for a record of a transactional batch.
    ///
    /// # Errors
    /// As [`Coordinator::replay`].
    pub fn replay_in_transaction(
        &mut self,
        producer_id: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), ReplayError> {
        self.take_in(Some(producer_id), key, value)
    }

    /// Takes in the marker that ends a transaction.
    pub fn replay_marker(&mut self, producer_id: i64, committed: bool) {
        self.transactions.end(producer_id, committed, &mut self.offsets);
    }

    fn take_in(&mut self, producer_id: Option<i64>, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        match decode(key, value)? {
            Entry::Offset { group, topic, partition, value } => {
                self.replay_offset(producer_id, &group, &topic, partition, value);
            }
            Entry::Group { group, value } => self.replay_group(&group, value),
            Entry::Foreign => self.foreign_records += 1,
        }
        Ok(())
    }

    fn replay_offset(
        &mut self,
        producer_id: Option<i64>,
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<OffsetCommitValue>,
    ) {
        let key = self.offsets.key(group, topic, partition);
        let Some(value) = value else {
            self.transactions.forget(&key);
            return self.offsets.set(&key, None);
        };
        if !self.groups.contains_key(group) {
            let mut simple = Group::new(key.group.clone(), self.turn.next_incarnation(), 0);
            simple.visible = true;
            self.groups.insert(key.group.clone(), simple);
        }
        match producer_id {
            None => self.offsets.set(&key, Some(Offset::from(value))),
            Some(producer_id) => {
                let order = self.offsets.next_order();
                self.transactions.add(producer_id, key, Offset::from(value), order);
            }
        }
    }

    fn replay_group(&mut self, id: &str, value: Option<GroupMetadataValue>) {
        let Some(value) = value else {
            self.groups.remove(id);
            return;
        };
        let id: Arc<str> = id.into();
        let group = Group::from_record(id.clone(), self.turn.next_incarnation(), value);
        self.groups.insert(id, group);
    }

    /// Members have their whole session from now on; a group above `group.max.size` rebalances to shrink.
    pub(super) fn start_sessions(&mut self) {
        for group in self.groups.values_mut() {
            for member in group.members.values() {
                self.turn.expect_within(&group.id, &member.id, member.session_timeout_ms);
            }
            if group.members.len() > self.turn.config.max_size && group.state == State::Stable {
                self.turn.prepare_rebalance(group);
            }
        }
    }
}
