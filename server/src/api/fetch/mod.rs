//! Fetch (key 1): find file slices, wait until there is enough, send by zero copy.
//!
//! A look-up says *where* the bytes are (segment file, position, length) and needs no hop: any shard may look at any log. If
//! there is less than `min.bytes` the request registers with every partition and sleeps; an owner wakes it when a high
//! watermark moves, and it looks again. What is sent is cut to the request's limits here, in the order of the request.

pub(crate) use read::epoch_error;

mod read;
pub(crate) mod session;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kringle_log::Upto;
use kringle_protocol::fetch_response::{AbortedTransaction, EpochEndOffset, FetchableTopicResponse, PartitionData};
use kringle_protocol::messages::{FetchRequest, FetchResponse};
use kringle_protocol::{ApiKey, ErrorCode, Message, Records, Uuid};
use kringle_runtime::Notify;

use super::{Answer, Close, Request};
use crate::net::connection::Connection;
use crate::net::response::{FileSlice, Response};
use crate::shard::Shard;
use crate::shard::fetchers::FetchWait;
use read::{Found, Wanted};
use session::{Context, Decision};

/// One partition of a fetch, as the session or the request has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FetchPartition {
    /// Empty in versions that name topics by id, until resolved.
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) current_leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) max_bytes: i32,
}

/// Version from which topics are named by id.
pub(crate) const TOPIC_IDS_FROM_VERSION: i16 = 13;

/// Works on a fetch to its answer.
///
/// # Errors
/// An undecodable request.
pub(crate) async fn handle(connection: &Rc<Connection>, mut request: Request) -> Result<Answer, Close> {
    let shard = &connection.shard;
    let started = shard.rt.now();
    let version = request.version;
    let body = FetchRequest::decode(&mut request.body, version)?;
    let decision = shard.sessions.borrow_mut().begin(&body, version, shard.rt.now());
    let (response, slices) = match decision {
        Decision::Refused(error) => {
            (FetchResponse { error_code: error.into(), ..FetchResponse::default() }, Vec::new())
        }
        Decision::Go(context) => fetch(connection, &body, version, context).await,
    };
    shard.metrics.fetch_us.record(shard.rt.now() - started);
    Ok(Answer::Response(Response::encode(ApiKey::FETCH, version, request.correlation_id, &response, slices)?))
}

async fn fetch(
    connection: &Rc<Connection>,
    body: &FetchRequest,
    version: i16,
    context: Context,
) -> (FetchResponse, Vec<FileSlice>) {
    let shard = &connection.shard;
    let wanted = resolve(shard, &context.partitions, body, version);
    let max_wait = Duration::from_millis(body.max_wait_ms.max(0).unsigned_abs().into());
    let deadline = shard.rt.now() + max_wait;
    let min_bytes = usize::try_from(body.min_bytes).unwrap_or(0);
    let mut found = read::look_up(shard, &wanted, None);
    if !max_wait.is_zero() && !wanted.is_empty() && !satisfied(&found, min_bytes) {
        let wait = Arc::new(FetchWait { connection: connection.id, progressed: Notify::new() });
        loop {
            let seen = wait.progressed.version();
            found = read::look_up(shard, &wanted, Some(&wait));
            let left = deadline.since(shard.rt.now());
            if left.is_zero() || satisfied(&found, min_bytes) {
                break;
            }
            if shard.rt.timeout(left, wait.progressed.wait_after(seen)).await.is_none() {
                // Nothing came in time: answer with what there is.
                found = read::look_up(shard, &wanted, None);
                break;
            }
        }
    }
    respond(shard, body, version, context, found)
}

/// Enough to answer now: bytes, or anything the client must learn at once.
fn satisfied(found: &[Found], min_bytes: usize) -> bool {
    let mut bytes = 0;
    for partition in found {
        if partition.error != ErrorCode::NONE || partition.diverging.is_some() {
            return true;
        }
        bytes += partition.available;
    }
    bytes >= min_bytes
}

fn resolve(shard: &Shard, partitions: &[FetchPartition], body: &FetchRequest, version: i16) -> Vec<Wanted> {
    let upto = if body.isolation_level == 1 { Upto::LastStable } else { Upto::HighWatermark };
    let request_max = usize::try_from(body.max_bytes).unwrap_or(0).min(shard.node.config.fetch_max_bytes);
    let one = |partition: &FetchPartition| {
        let topic = if version >= TOPIC_IDS_FROM_VERSION {
            shard.topic_by_id(partition.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            shard.topic(&partition.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let topic = topic.and_then(|topic| match (0..topic.partitions).contains(&partition.partition) {
            true => Ok(topic.id),
            false => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        });
        Wanted {
            topic,
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            max_bytes: usize::try_from(partition.max_bytes).unwrap_or(0).min(request_max),
            upto,
        }
    };
    partitions.iter().map(one).collect()
}

fn respond(
    shard: &Shard,
    body: &FetchRequest,
    version: i16,
    context: Context,
    found: Vec<Found>,
) -> (FetchResponse, Vec<FileSlice>) {
    let mut left = usize::try_from(body.max_bytes).unwrap_or(0).min(shard.node.config.fetch_max_bytes);
    let mut slices = Vec::new();
    let mut first = true;
    let mut answered = Vec::with_capacity(found.len());
    for (partition, found) in context.partitions.iter().zip(found) {
        if found.error != ErrorCode::NONE {
            shard.metrics.fetch_errors.add(1);
        }
        let mut data = partition_data(partition, &found, version);
        if let Some(mut slice) = found.slice.filter(|slice| slice.len > 0) {
            // The first partition with anything gets one whole batch over any limit, or a consumer could be stuck.
            let limit = usize::try_from(partition.max_bytes).unwrap_or(0).min(left);
            slice.len = slice.len.min(if first { limit.max(found.first_batch_len) } else { limit });
            if slice.len > 0 {
                first = false;
                left = left.saturating_sub(slice.len);
                data.records =
                    Records::External { len: u32::try_from(slice.len).expect("below fetch.max.bytes and a batch") };
                slices.push((answered.len(), slice));
            }
        }
        answered.push((partition, data));
    }
    let (session_id, keep) = shard.sessions.borrow_mut().finish(&context, &answered);
    let mut response = FetchResponse { session_id, ..FetchResponse::default() };
    let mut kept_slices = slices.into_iter().peekable();
    let mut sent = Vec::new();
    for (index, ((partition, data), keep)) in answered.into_iter().zip(keep).enumerate() {
        let slice = kept_slices.next_if(|(at, _)| *at == index).map(|(_, slice)| slice);
        if !keep {
            continue;
        }
        sent.extend(slice);
        match response.responses.last_mut() {
            Some(last) if last.topic == partition.topic && last.topic_id == partition.topic_id => {
                last.partitions.push(data)
            }
            _ => response.responses.push(FetchableTopicResponse {
                topic: partition.topic.clone(),
                topic_id: partition.topic_id,
                partitions: vec![data],
            }),
        }
    }
    (response, sent)
}

fn partition_data(partition: &FetchPartition, found: &Found, version: i16) -> PartitionData {
    let error = match found.error {
        // Versions that cannot tell a broken disk say what makes the client look for the leader again.
        ErrorCode::KAFKA_STORAGE_ERROR if version <= 5 => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        error => error,
    };
    let aborted = |(producer_id, first_offset): &(i64, i64)| AbortedTransaction {
        producer_id: *producer_id,
        first_offset: *first_offset,
    };
    PartitionData {
        partition_index: partition.partition,
        error_code: error.into(),
        high_watermark: found.high_watermark,
        last_stable_offset: found.last_stable_offset,
        log_start_offset: found.log_start_offset,
        aborted_transactions: found.aborted.as_ref().map(|list| list.iter().map(aborted).collect()),
        diverging_epoch: found
            .diverging
            .map_or_else(EpochEndOffset::default, |(epoch, end_offset)| EpochEndOffset { epoch, end_offset }),
        records: Records::Inline(bytes::Bytes::new()),
        ..PartitionData::default()
    }
}
