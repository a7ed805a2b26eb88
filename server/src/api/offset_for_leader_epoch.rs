//! OffsetForLeaderEpoch (key 23): where an epoch ended, by which a client sees that a log was cut.

use kringle_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use kringle_protocol::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kringle_protocol::{ErrorCode, Uuid};

use super::Context;
use super::fetch::epoch_error;
use crate::shard::Shard;

/// Asks each partition's owner.
pub(crate) async fn handle(context: Context, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let shard = &context.shard;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = shard.topic(&topic.topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let found = match &known {
                Some(known) if (0..known.partitions).contains(&asked.partition) => {
                    let (id, partition) = (known.id, asked.partition);
                    let (current, wanted) = (asked.current_leader_epoch, asked.leader_epoch);
                    shard
                        .on(shard.owner_of(id, partition), move |owner| async move {
                            at_owner(&owner, id, partition, current, wanted)
                        })
                        .await
                        .unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))
                }
                _ => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            };
            let answer = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
            partitions.push(match found {
                Ok((leader_epoch, end_offset)) => EpochEndOffset { leader_epoch, end_offset, ..answer },
                Err(error) => EpochEndOffset { error_code: error.into(), ..answer },
            });
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }
}

fn at_owner(shard: &Shard, topic: Uuid, partition: i32, current: i32, wanted: i32) -> Result<(i32, i64), ErrorCode> {
    let partition = shard.partition(topic, partition).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    if let Some(error) = partition.closed().or_else(|| epoch_error(&partition.shared, current)) {
        return Err(error);
    }
    let log = partition.log();
    Ok(log.end_offset_for_epoch(wanted))
}
