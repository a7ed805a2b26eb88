//! DescribeProducers (key 61): who writes to a partition, as its log remembers.

use kringle_log::ProducerSummary;
use kringle_protocol::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kringle_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use kringle_protocol::{ErrorCode, Uuid};

use super::Context;
use crate::names;
use crate::shard::Shard;

/// Asks each partition's owner.
pub(crate) async fn handle(context: Context, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let shard = &context.shard;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let illegal = names::illegal(&topic.name);
        let known = shard.topic(&topic.name);
        // Kafka explains what is wrong with a topic, not what is wrong with a partition.
        let unknown = known.is_none().then(|| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.message().to_owned());
        let message = illegal.clone().or(unknown);
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for partition in topic.partition_indexes {
            let found = match &known {
                _ if illegal.is_some() => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
                Some(known) if (0..known.partitions).contains(&partition) => {
                    let id = known.id;
                    shard
                        .on(shard.owner_of(id, partition), move |owner| async move { at_owner(&owner, id, partition) })
                        .await
                        .unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))
                }
                _ => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            };
            partitions.push(answer(partition, found, message.clone()));
        }
        topics.push(TopicResponse { name: topic.name, partitions });
    }
    DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }
}

fn at_owner(shard: &Shard, topic: Uuid, partition: i32) -> Result<Vec<ProducerSummary>, ErrorCode> {
    let partition = shard.partition(topic, partition).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    match partition.closed() {
        Some(error) => Err(error),
        None => Ok(partition.log().producers()),
    }
}

fn answer(
    partition_index: i32,
    found: Result<Vec<ProducerSummary>, ErrorCode>,
    error_message: Option<String>,
) -> PartitionResponse {
    let error = found.as_ref().err().copied();
    let state = |producer: ProducerSummary| ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch.into(),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.current_txn_start_offset,
    };
    PartitionResponse {
        partition_index,
        error_code: error.unwrap_or(ErrorCode::NONE).into(),
        error_message,
        active_producers: found.unwrap_or_default().into_iter().map(state).collect(),
    }
}
