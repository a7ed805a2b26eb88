//! OffsetFetch, and the two forms it has: one group (up to version 7) or several.

use kringle_protocol::ErrorCode;
use kringle_protocol::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kringle_protocol::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::offsets::{Offset, Reading};
use super::{Coordinator, GroupResponse, ReplyToken};

/// From here on a request names several groups.
const SEVERAL_GROUPS_FROM: i16 = 8;
/// From here on an answer has a place for the error of its group.
const GROUP_ERROR_FROM: i16 = 2;

impl Coordinator {
    pub(super) fn fetch_offsets(&mut self, token: ReplyToken, request: &OffsetFetchRequestGroup, require_stable: bool) {
        let id = &request.group_id;
        let reading = if require_stable { Reading::Latest } else { Reading::Committed };
        let exists = match reading {
            Reading::Latest => self.groups.contains_key(&**id),
            Reading::Committed => self.committed_group(id).is_some(),
        };
        let unstable = |topic: &str, partition| require_stable && self.transactions.is_pending(id, topic, partition);
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| OffsetFetchResponseTopics {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partition_indexes
                        .iter()
                        .map(|&partition| {
                            let offset = self.offsets.read(id, &topic.name, partition, reading);
                            answer(partition, offset.filter(|_| exists), unstable(&topic.name, partition))
                        })
                        .collect(),
                })
                .collect(),
            None if exists => self
                .offsets
                .of_group(id, reading)
                .map(|(topic, offsets)| OffsetFetchResponseTopics {
                    name: (**topic).into(),
                    partitions: offsets
                        .map(|(partition, offset)| answer(partition, Some(offset), unstable(topic, partition)))
                        .collect(),
                    ..OffsetFetchResponseTopics::default()
                })
                .filter(|topic| !topic.partitions.is_empty())
                .collect(),
            None => Vec::new(),
        };
        let response = OffsetFetchResponseGroup { group_id: id.clone(), topics, error_code: 0 };
        let response = GroupResponse::OffsetFetch(response);
        match reading {
            Reading::Latest => self.reply_after_writes(token, response),
            Reading::Committed => self.turn.reply(token, response),
        }
    }
}

fn answer(partition: i32, offset: Option<&Offset>, unstable: bool) -> OffsetFetchResponsePartitions {
    let mut answer = OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: 0,
    };
    match offset {
        _ if unstable => answer.error_code = ErrorCode::UNSTABLE_OFFSET_COMMIT.code(),
        Some(offset) => {
            answer.committed_offset = offset.offset;
            answer.committed_leader_epoch = offset.leader_epoch;
            answer.metadata = Some(offset.metadata.clone());
        }
        None => {}
    }
    answer
}

/// The groups that an OffsetFetch of this version asks for.
#[must_use]
pub fn split_offset_fetch(version: i16, request: OffsetFetchRequest) -> Vec<OffsetFetchRequestGroup> {
    if version >= SEVERAL_GROUPS_FROM {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..OffsetFetchRequestTopics::default()
            })
            .collect()
    });
    vec![OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() }]
}

/// The answer in the form of this version; up to version 7 there is one group.
///
/// Version 1 has no place for the error of a group: its partitions must carry it, so an answer with an error has to name
/// the topics that were asked for.
#[must_use]
pub fn join_offset_fetch(version: i16, groups: Vec<OffsetFetchResponseGroup>) -> OffsetFetchResponse {
    if version >= SEVERAL_GROUPS_FROM {
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    let Some(group) = groups.into_iter().next() else { return OffsetFetchResponse::default() };
    let error_of =
        |code: i16| if version < GROUP_ERROR_FROM && group.error_code != 0 { group.error_code } else { code };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: error_of(partition.error_code),
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), error_code: group.error_code, ..OffsetFetchResponse::default() }
}
