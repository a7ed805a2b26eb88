//! OffsetCommit (8), OffsetFetch (9) and OffsetDelete (47): where consumer groups are.
//!
//! Topics that do not exist are answered here and never reach the coordinator. It stores names; versions that name topics
//! by id are resolved on the way in and back on the way out.

use futures_util::future::join_all;
use kringle_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use kringle_protocol::offset_commit_request::OffsetCommitRequestTopic;
use kringle_protocol::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kringle_protocol::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kringle_protocol::offset_fetch_request::OffsetFetchRequestGroup;
use kringle_protocol::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kringle_protocol::{ErrorCode, Uuid};

use super::Context;
use super::groups::coordinate;
use crate::group::{GroupRequest, GroupResponse, join_offset_fetch, split_offset_fetch};

/// The version of OffsetCommit and OffsetFetch from which topics are named by id.
const TOPIC_IDS_FROM_VERSION: i16 = 10;

/// Commits what can be committed.
pub(crate) async fn commit(context: Context, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut refused = Vec::new();
    let mut known = Vec::with_capacity(request.topics.len());
    for mut topic in std::mem::take(&mut request.topics) {
        match resolve(&context, &mut topic.name, &mut topic.topic_id) {
            Ok(partitions) => {
                let (good, bad): (Vec<_>, Vec<_>) = topic
                    .partitions
                    .iter()
                    .cloned()
                    .partition(|partition| (0..partitions).contains(&partition.partition_index));
                if !bad.is_empty() {
                    let bad = OffsetCommitRequestTopic { partitions: bad, ..topic.clone() };
                    add(&mut refused, refuse(bad, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
                }
                if !good.is_empty() {
                    known.push(OffsetCommitRequestTopic { partitions: good, ..topic });
                }
            }
            Err(error) => add(&mut refused, refuse(topic, error)),
        }
    }
    if known.is_empty() {
        return OffsetCommitResponse { topics: refused, ..OffsetCommitResponse::default() };
    }
    request.topics = known;
    let mut response =
        coordinate!(context, OffsetCommit, request.group_id.clone(), GroupRequest::OffsetCommit(request));
    if !refused.is_empty() {
        // What was refused here comes first, as in Kafka.
        for topic in std::mem::replace(&mut response.topics, refused) {
            add(&mut response.topics, topic);
        }
    }
    response
}

/// Adds a topic, or its partitions to those of the topic that is there already.
fn add(topics: &mut Vec<OffsetCommitResponseTopic>, topic: OffsetCommitResponseTopic) {
    match topics.iter_mut().find(|have| have.name == topic.name && have.topic_id == topic.topic_id) {
        Some(have) => have.partitions.extend(topic.partitions),
        None => topics.push(topic),
    }
}

/// Fills in the name or the id, whichever is missing; the number of partitions.
fn resolve(context: &Context, name: &mut String, id: &mut Uuid) -> Result<i32, ErrorCode> {
    let topic = if context.version >= TOPIC_IDS_FROM_VERSION {
        context.shard.topic_by_id(*id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?
    } else {
        context.shard.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?
    };
    *name = topic.name.to_string();
    *id = topic.id;
    Ok(topic.partitions)
}

fn refuse(topic: OffsetCommitRequestTopic, error: ErrorCode) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error.into(),
    });
    OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions: partitions.collect() }
}

/// What groups have committed; each group is asked of its own coordinator.
pub(crate) async fn fetch(context: Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let require_stable = request.require_stable;
    let context = &context;
    let groups = split_offset_fetch(context.version, request).into_iter();
    let fetched = join_all(groups.map(|group| fetch_group(context, group, require_stable))).await;
    join_offset_fetch(context.version, fetched)
}

async fn fetch_group(
    context: &Context,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let by_id = context.version >= TOPIC_IDS_FROM_VERSION;
    let mut unknown = Vec::new();
    if by_id && let Some(topics) = &mut group.topics {
        topics.retain_mut(|topic| match context.shard.topic_by_id(topic.topic_id) {
            Some(known) => {
                topic.name = known.name.to_string();
                true
            }
            None => {
                let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset: -1,
                    committed_leader_epoch: -1,
                    metadata: Some(String::new()),
                    error_code: ErrorCode::UNKNOWN_TOPIC_ID.into(),
                });
                unknown.push(OffsetFetchResponseTopics {
                    topic_id: topic.topic_id,
                    partitions: partitions.collect(),
                    ..OffsetFetchResponseTopics::default()
                });
                false
            }
        });
    }
    let request = GroupRequest::OffsetFetch { group: group.clone(), require_stable };
    let mut fetched = coordinate!(context, OffsetFetch, group.group_id, request);
    if by_id {
        // A topic that was deleted meanwhile has no id to be named by.
        fetched.topics.retain_mut(|topic| {
            let known = context.shard.topic(&topic.name);
            topic.topic_id = known.as_ref().map_or(Uuid::ZERO, |known| known.id);
            known.is_some()
        });
        if fetched.error_code == 0 {
            fetched.topics.extend(unknown);
        }
    }
    fetched
}

/// Forgets offsets that nobody subscribes to.
pub(crate) async fn delete(context: Context, mut request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut refused = Vec::new();
    let mut known = Vec::with_capacity(request.topics.len());
    for mut topic in std::mem::take(&mut request.topics) {
        let found = context.shard.topic(&topic.name);
        let partitions = found.as_ref().map_or(0, |topic| topic.partitions);
        let (good, bad): (Vec<_>, Vec<_>) =
            topic.partitions.drain(..).partition(|partition| (0..partitions).contains(&partition.partition_index));
        if found.is_none() || !bad.is_empty() {
            let partitions = bad.into_iter().map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into(),
            });
            let name = topic.name.clone();
            add_deleted(&mut refused, OffsetDeleteResponseTopic { name, partitions: partitions.collect() });
        }
        if !good.is_empty() {
            topic.partitions = good;
            known.push(topic);
        }
    }
    request.topics = known;
    let mut response =
        coordinate!(context, OffsetDelete, request.group_id.clone(), GroupRequest::OffsetDelete(request));
    if response.error_code == 0 && !refused.is_empty() {
        for topic in std::mem::replace(&mut response.topics, refused) {
            add_deleted(&mut response.topics, topic);
        }
    }
    response
}

/// The same as [`add`], for OffsetDelete.
fn add_deleted(topics: &mut Vec<OffsetDeleteResponseTopic>, topic: OffsetDeleteResponseTopic) {
    match topics.iter_mut().find(|have| have.name == topic.name) {
        Some(have) => have.partitions.extend(topic.partitions),
        None => topics.push(topic),
    }
}
