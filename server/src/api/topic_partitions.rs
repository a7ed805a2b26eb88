//! DescribeTopicPartitions (key 75): topics page by page, sorted by name, with a cursor where the page ended.

use std::collections::BTreeSet;

use kringle_protocol::ErrorCode;
use kringle_protocol::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kringle_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::Context;
use super::metadata::TOPIC_OPERATIONS;
use crate::control::image::TopicImage;
use crate::names;

/// Answers from the image.
pub(crate) async fn handle(
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = context.shard.image();
    let all = request.topics.is_empty();
    if let Some(cursor) = &request.cursor {
        // The page's first topic must be among those asked for.
        let is_asked = all || request.topics.iter().any(|topic| topic.name == cursor.topic_name);
        if cursor.partition_index < 0 || !is_asked {
            return refused(request, ErrorCode::INVALID_REQUEST);
        }
    }
    // Kafka stumbles over it while it looks up permissions.
    if request.topics.iter().any(|topic| topic.name.is_empty()) {
        return refused(request, ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    let start = request.cursor.as_ref().map(|cursor| (cursor.topic_name.as_str(), cursor.partition_index));
    let mut names: BTreeSet<&str> = match all {
        true => image.topics().map(|topic| topic.name.as_str()).collect(),
        false => request.topics.iter().map(|topic| topic.name.as_str()).collect(),
    };
    if let Some((from, _)) = start {
        names.retain(|name| *name >= from);
    }
    let limit = context.shard.node.config.max_request_partition_size_limit;
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).min(limit).max(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        if left == 0 {
            response.next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let first = start.filter(|(from, _)| *from == name).map_or(0, |(_, partition)| partition);
        let (described, next) = describe(topic, first, left);
        left -= described.partitions.len();
        response.topics.push(described);
        if let Some(next) = next {
            response.next_cursor = Some(cursor(name, next));
            break;
        }
    }
    response
}

/// The request fails as a whole: every topic in it is told so.
fn refused(request: DescribeTopicPartitionsRequest, error: ErrorCode) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.into_iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: error.into(),
        is_internal: false,
        name: Some(topic.name),
        ..DescribeTopicPartitionsResponseTopic::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..DescribeTopicPartitionsResponse::default() }
}

fn cursor(topic: &str, partition_index: i32) -> Cursor {
    Cursor { topic_name: topic.to_owned(), partition_index }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match names::illegal(name) {
        Some(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.into(),
        is_internal: names::is_internal(name),
        name: Some(name.to_owned()),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

/// At most `limit` partitions from `first` on, and where to go on.
fn describe(topic: &TopicImage, first: i32, limit: usize) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let skip = usize::try_from(first).unwrap_or(0);
    let partitions = (0..).zip(&topic.partitions).skip(skip).take(limit).map(|(index, partition)| {
        DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(partition.eligible_leader_replicas.clone()),
            last_known_elr: Some(partition.last_known_elr.clone()),
            ..DescribeTopicPartitionsResponsePartition::default()
        }
    });
    let described = DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: names::is_internal(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let next = skip + described.partitions.len();
    let more = next < topic.partitions.len();
    (described, more.then(|| i32::try_from(next).expect("limited at creation")))
}
