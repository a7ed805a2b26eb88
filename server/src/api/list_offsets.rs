//! ListOffsets (key 2): first and last offsets, and offsets by time.
//!
//! The look-up by time may have to read cold segments, so it runs on a helper thread over a snapshot of the log.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;
use kringle_log::{FoundByTime, Upto};
use kringle_protocol::list_offsets_request::ListOffsetsPartition;
use kringle_protocol::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kringle_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use kringle_protocol::{ErrorCode, Uuid};

use super::Context;
use super::fetch::epoch_error;
use crate::shard::Shard;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The version from which the leader epoch is told.
const LEADER_EPOCH_FROM_VERSION: i16 = 4;

/// The version from which a special timestamp may be asked for.
const SPECIAL_FROM_VERSION: [(i64, i16); 4] =
    [(MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (EARLIEST_PENDING_UPLOAD, 11)];

/// Asks each partition's owner. Topics and partitions are answered once each; one that is named twice is an error.
pub(crate) async fn handle(context: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let upto = match request.isolation_level {
        0 => Ok(Upto::HighWatermark),
        1 => Ok(Upto::LastStable),
        _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
    };
    let mut topics: BTreeMap<String, BTreeMap<i32, Asked>> = BTreeMap::new();
    for topic in request.topics {
        for partition in topic.partitions {
            let partitions = topics.entry(topic.name.clone()).or_default();
            partitions
                .entry(partition.partition_index)
                .and_modify(|asked| *asked = Asked::Twice)
                .or_insert(Asked::Once(partition));
        }
    }
    let mut answered = Vec::with_capacity(topics.len());
    for (name, partitions) in topics {
        let partitions = partitions.iter().map(|(index, asked)| one(&context, &name, *index, asked, upto));
        let partitions = join_all(partitions).await;
        answered.push(ListOffsetsTopicResponse { name, partitions });
    }
    ListOffsetsResponse { topics: answered, ..ListOffsetsResponse::default() }
}

/// How a request names a partition.
enum Asked {
    Once(ListOffsetsPartition),
    Twice,
}

async fn one(
    context: &Context,
    topic: &str,
    partition_index: i32,
    asked: &Asked,
    upto: Result<Upto, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let found = match (upto, asked) {
        (Err(error), _) => Err(error),
        (Ok(_), Asked::Twice) => Err(ErrorCode::INVALID_REQUEST),
        (Ok(upto), Asked::Once(asked)) => look_up(context, topic, asked, upto).await,
    };
    let answer = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
    match found {
        Err(error) => ListOffsetsPartitionResponse { error_code: error.into(), ..answer },
        Ok(Position { offset, timestamp, leader_epoch }) => {
            let leader_epoch = if context.version >= LEADER_EPOCH_FROM_VERSION { leader_epoch } else { -1 };
            ListOffsetsPartitionResponse { offset, timestamp, leader_epoch, ..answer }
        }
    }
}

/// An offset, the time of its record (-1 for the ends of the log) and its leader epoch.
struct Position {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

const NOT_FOUND: Position = Position { offset: -1, timestamp: -1, leader_epoch: -1 };

async fn look_up(
    context: &Context,
    topic: &str,
    asked: &ListOffsetsPartition,
    upto: Upto,
) -> Result<Position, ErrorCode> {
    let timestamp = asked.timestamp;
    let too_old = SPECIAL_FROM_VERSION.iter().any(|(special, from)| *special == timestamp && context.version < *from);
    if too_old || timestamp < EARLIEST_PENDING_UPLOAD {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let shard = &context.shard;
    let id = shard.topic_with(topic, asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?.id;
    let (partition, epoch) = (asked.partition_index, asked.current_leader_epoch);
    shard
        .on(shard.owner_of(id, partition), move |owner| async move {
            at_owner(&owner, id, partition, epoch, timestamp, upto).await
        })
        .await
        .unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))
}

async fn at_owner(
    shard: &Rc<Shard>,
    topic: Uuid,
    partition: i32,
    current_leader_epoch: i32,
    timestamp: i64,
    upto: Upto,
) -> Result<Position, ErrorCode> {
    let partition = shard.partition(topic, partition).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    if let Some(error) = partition.closed().or_else(|| epoch_error(&partition.shared, current_leader_epoch)) {
        return Err(error);
    }
    let (reader, readable_end) = {
        let log = partition.log();
        let readable_end = match upto {
            Upto::LastStable => log.last_stable_offset(),
            _ => log.high_watermark(),
        };
        let end = |offset, leader_epoch: Option<i32>| Position {
            offset,
            timestamp: -1,
            leader_epoch: leader_epoch.unwrap_or(-1),
        };
        match timestamp {
            LATEST => return Ok(end(readable_end, Some(partition.leader_epoch()))),
            EARLIEST | EARLIEST_LOCAL => {
                return Ok(end(log.log_start_offset(), log.epoch_of_log_start()));
            }
            LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(end(-1, None)),
            _ => (log.reader(), readable_end),
        }
    };
    let found =
        shard
            .rt
            .blocking(move |_| {
                if timestamp == MAX_TIMESTAMP { reader.max_timestamp() } else { reader.find_by_timestamp(timestamp) }
            })
            .await
            .map_err(|error| error.code())?;
    Ok(match found {
        Some(FoundByTime { offset, timestamp, leader_epoch }) if offset < readable_end => {
            Position { offset, timestamp, leader_epoch }
        }
        _ => NOT_FOUND,
    })
}
