//! DeleteRecords (key 21): raises the first offset that can be read.

use std::collections::BTreeMap;
use std::rc::Rc;

use kringle_protocol::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kringle_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use kringle_protocol::{ErrorCode, Uuid};

use super::Context;
use crate::shard::Shard;

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Asks each partition's owner, then makes the new starts durable before it answers.
pub(crate) async fn handle(context: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let shard = &context.shard;
    // Of a partition that is named twice the last entry counts.
    let mut asked: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in request.topics {
        for partition in topic.partitions {
            asked.entry(topic.name.clone()).or_default().insert(partition.partition_index, partition.offset);
        }
    }
    let mut topics = Vec::with_capacity(asked.len());
    let mut moved = false;
    for (name, asked) in asked {
        let mut partitions = Vec::with_capacity(asked.len());
        for (partition_index, offset) in asked {
            let deleted = delete(shard, &name, partition_index, offset).await;
            moved |= deleted.is_ok();
            partitions.push(DeleteRecordsPartitionResult {
                partition_index,
                low_watermark: deleted.unwrap_or(-1),
                error_code: deleted.err().unwrap_or(ErrorCode::NONE).into(),
            });
        }
        topics.push(DeleteRecordsTopicResult { name, partitions });
    }
    if moved {
        shard.node.checkpoint_now().await;
    }
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

async fn delete(shard: &Rc<Shard>, topic: &str, partition: i32, offset: i64) -> Result<i64, ErrorCode> {
    let topic = shard.topic_with(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if crate::names::is_internal(&topic.name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if topic.log_config.compact && !topic.log_config.delete {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let id = topic.id;
    shard
        .on(shard.owner_of(id, partition), move |owner| async move { at_owner(&owner, id, partition, offset) })
        .await
        .unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))
}

fn at_owner(shard: &Shard, topic: Uuid, partition: i32, offset: i64) -> Result<i64, ErrorCode> {
    let partition = shard.partition(topic, partition).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    if let Some(error) = partition.closed() {
        return Err(error);
    }
    let mut log = partition.log();
    let before = if offset == HIGH_WATERMARK { log.high_watermark() } else { offset };
    log.delete_records_before(before).map_err(|error| error.code())
}
