//! OffsetDelete and DeleteGroups.

use kringle_protocol::ErrorCode;
use kringle_protocol::delete_groups_response::DeletableGroupResult;
use kringle_protocol::offset_delete_request::OffsetDeleteRequest;
use kringle_protocol::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::classic::State;
use super::offsets::{OffsetKey, Reading};
use super::{Coordinator, GroupResponse, ReplyToken, records};

impl Coordinator {
    pub(super) fn delete_offsets(&mut self, token: ReplyToken, request: OffsetDeleteRequest) {
        if let Err(code) = self.admit_offset_delete(&request.group_id) {
            let response = OffsetDeleteResponse { error_code: code.code(), ..OffsetDeleteResponse::default() };
            return self.turn.reply(token, GroupResponse::OffsetDelete(response));
        }
        let group = &*request.group_id;
        let mut topics = Vec::with_capacity(request.topics.len());
        // Looked up before anything is deleted: Kafka writes a tombstone for each mention of an offset that was there.
        let mut there = Vec::new();
        for topic in request.topics {
            let subscribed = self.groups.get(group).is_some_and(|group| group.is_subscribed_to(&topic.name));
            let code = if subscribed { ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC } else { ErrorCode::NONE };
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                let index = partition.partition_index;
                if !subscribed && self.has_offset(group, &topic.name, index) {
                    there.push((topics.len(), partitions.len()));
                }
                partitions.push(OffsetDeleteResponsePartition { partition_index: index, error_code: code.code() });
            }
            topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
        }
        for (topic, partition) in there {
            let OffsetDeleteResponseTopic { name, partitions } = &mut topics[topic];
            let partition = &mut partitions[partition];
            if let Err(code) = self.stage(group, name, partition.partition_index, None) {
                partition.error_code = code.code();
            }
        }
        let response = OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() };
        self.reply_after_writes(token, GroupResponse::OffsetDelete(response));
    }

    fn admit_offset_delete(&self, group: &str) -> Result<(), ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let group = self.groups.get(group).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        // Only of consumers the coordinator knows which topics they are at.
        if group.state != State::Empty && !group.uses_consumer_protocol() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        Ok(())
    }

    fn has_offset(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.offsets.read(group, topic, partition, Reading::Latest).is_some()
            || self.transactions.is_pending(group, topic, partition)
    }

    pub(super) fn delete_groups(&mut self, token: ReplyToken, groups: Vec<String>) {
        let mut results = Vec::with_capacity(groups.len());
        for group_id in groups {
            let code = self.delete_group(&group_id).err().unwrap_or(ErrorCode::NONE);
            results.push(DeletableGroupResult { group_id, error_code: code.code() });
        }
        self.reply_after_writes(token, GroupResponse::DeleteGroups(results));
    }

    fn delete_group(&mut self, id: &str) -> Result<(), ErrorCode> {
        let group = self.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if group.state != State::Empty {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        for key in self.offsets_of(id) {
            self.stage(&key.group, &key.topic, key.partition, None)?;
        }
        self.remove_group(id)
    }

    fn offsets_of(&self, group: &str) -> Vec<OffsetKey> {
        let mut keys: Vec<_> = self.offsets.latest_of_group(group).into_iter().map(|(key, _, _)| key).collect();
        let pending = self.transactions.of_group(group);
        let unknown: Vec<_> = pending.filter(|key| keys.binary_search(key).is_err()).cloned().collect();
        keys.extend(unknown);
        keys
    }

    /// Appends the tombstone of an empty group and takes it away.
    pub(super) fn remove_group(&mut self, id: &str) -> Result<(), ErrorCode> {
        self.turn.append(records::group_tombstone(id))?;
        if let Some(group) = self.groups.remove(id) {
            debug_assert!(group.members.is_empty(), "only empty groups are removed");
            self.turn.remove_group(group);
        }
        Ok(())
    }
}
