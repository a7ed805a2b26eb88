//! Fetch (key 1): find file slices, wait until there is enough, send by zero copy.
//!
//! A look-up says *where* the bytes are (segment file, position, length) and needs no hop: any shard may look at any log. If
//! there is less than `min.bytes` the request registers with every partition and sleeps; an owner wakes it when a high
//! watermark moves, and it looks again. What is sent is cut to the request's limits here ([`limit`]), in the order of the
//! request.

pub(crate) use read::epoch_error;

mod read;
pub(crate) mod session;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kringle_log::Upto;
use kringle_protocol::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kringle_protocol::messages::{FetchRequest, FetchResponse};
use kringle_protocol::{ApiKey, ErrorCode, Message, Records, Uuid};
use kringle_runtime::{Notify, Time};

use super::{Close, Request};
use crate::net::connection::Connection;
use crate::net::response::{FileSlice, FileSlices, Response};
use crate::shard::Shard;
use crate::shard::fetchers::FetchWait;
use read::{Cold, Found, Wanted};
use session::{Context, Decision};

/// One partition of a fetch, as the session or the request has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FetchPartition {
    /// Empty in versions that name topics by id.
    pub(crate) topic: Rc<str>,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) current_leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) max_bytes: i32,
}

/// Version from which topics are named by id.
pub(crate) const TOPIC_IDS_FROM_VERSION: i16 = 13;

/// Version from which a follower says who it is in a struct of its own.
const REPLICA_STATE_FROM_VERSION: i16 = 15;

/// Version from which a client that asked in vain is told who leads.
const CURRENT_LEADER_FROM_VERSION: i16 = 16;

/// A fetch, once it is clear what it wants.
struct Fetch {
    started: Time,
    version: i16,
    correlation_id: i32,
    context: Context,
    wanted: Vec<Wanted>,
    min_bytes: usize,
    max_bytes: i64,
    max_wait: Duration,
}

/// How far a fetch got at once.
pub(crate) enum Started {
    Answered(Response),
    Waits(Box<Waiting>),
}

/// A fetch that waits: for the disk, or for records.
pub(crate) struct Waiting {
    fetch: Fetch,
    found: Vec<Found>,
    cold: Vec<Cold>,
}

/// Works on a fetch as far as it gets without waiting. Mostly that is to its answer: what consumers ask for is in memory.
///
/// # Errors
/// An undecodable request.
pub(crate) fn start(connection: &Connection, mut request: Request) -> Result<Started, Close> {
    let shard = &connection.shard;
    let started = shard.rt.now();
    let Request { version, correlation_id, .. } = request;
    let body = FetchRequest::decode(&mut request.body, version)?;
    let refused = |response| {
        shard.metrics.fetch_us.record(shard.rt.now() - started);
        encode(shard, version, correlation_id, &response, FileSlices::new()).map(Started::Answered)
    };
    let context = match shard.sessions.borrow_mut().begin(&body, version, started) {
        Decision::Refused(error) => {
            return refused(FetchResponse { error_code: error.into(), ..FetchResponse::default() });
        }
        Decision::Go(context) => context,
    };
    let Some(wanted) = resolve(shard, &context.partitions, &body, version) else {
        return refused(refused_as_a_whole(&body, version));
    };
    let max_bytes = i64::from(body.max_bytes).min(i64::try_from(shard.node.config.fetch_max_bytes).unwrap_or(i64::MAX));
    let min_bytes = usize::try_from(i64::from(body.min_bytes).min(max_bytes)).unwrap_or(0);
    let max_wait = Duration::from_millis(body.max_wait_ms.max(0).unsigned_abs().into());
    let fetch = Fetch { started, version, correlation_id, context, wanted, min_bytes, max_bytes, max_wait };
    let (mut found, cold) = read::look_up(shard, &fetch.wanted, None);
    if cold.is_empty() && (fetch.limit(&mut found) || max_wait.is_zero()) {
        return fetch.respond(shard, found).map(Started::Answered);
    }
    Ok(Started::Waits(Box::new(Waiting { fetch, found, cold })))
}

impl Waiting {
    /// Waits until there is enough to answer with, or time is up.
    ///
    /// # Errors
    /// An answer that cannot be encoded: a defect.
    pub(crate) async fn answer(self, connection: &Connection) -> Result<Response, Close> {
        let Waiting { fetch, mut found, cold } = self;
        let shard = &connection.shard;
        let deadline = fetch.started + fetch.max_wait;
        let look = async |wait: Option<&Arc<FetchWait>>| {
            let (mut found, cold) = read::look_up(shard, &fetch.wanted, wait);
            read::warm(shard, &fetch.wanted, &mut found, cold).await;
            let enough = fetch.limit(&mut found);
            (found, enough)
        };
        let mut enough = false;
        if !cold.is_empty() {
            read::warm(shard, &fetch.wanted, &mut found, cold).await;
            enough = fetch.limit(&mut found);
        }
        if !enough && !fetch.max_wait.is_zero() {
            let wait = Arc::new(FetchWait { connection: connection.id, progressed: Notify::new() });
            while !enough {
                let seen = wait.progressed.version();
                (found, enough) = look(Some(&wait)).await;
                let left = deadline.since(shard.rt.now());
                if enough || left.is_zero() {
                    break;
                }
                if shard.rt.timeout(left, wait.progressed.wait_after(seen)).await.is_none() {
                    // Nothing came in time: answer with what there is.
                    found = look(None).await.0;
                    break;
                }
            }
        }
        fetch.respond(shard, found)
    }
}

impl Fetch {
    /// Cuts what was found to the limits of the request; whether it is enough to answer now.
    fn limit(&self, found: &mut [Found]) -> bool {
        limit(&self.context.partitions, found, self.max_bytes, self.min_bytes)
    }

    fn respond(self, shard: &Shard, found: Vec<Found>) -> Result<Response, Close> {
        let (response, slices) = respond(shard, self.version, &self.context, found);
        shard.metrics.fetch_us.record(shard.rt.now() - self.started);
        encode(shard, self.version, self.correlation_id, &response, slices)
    }
}

fn encode(
    shard: &Shard,
    version: i16,
    correlation_id: i32,
    response: &FetchResponse,
    slices: FileSlices,
) -> Result<Response, Close> {
    let room = shard.take_answer_room();
    Ok(Response::encode(room, ApiKey::FETCH, version, correlation_id, response, slices)?)
}

/// Cuts what was found to the limits of the request, in its order; whether it is enough to answer now: bytes, or anything
/// the client must learn at once. What names no partition of this broker is no reason to hurry, unless there is nothing
/// else.
fn limit(partitions: &[FetchPartition], found: &mut [Found], max_bytes: i64, min_bytes: usize) -> bool {
    let mut left = max_bytes;
    let (mut available, mut waits_for, mut learns) = (0, 0, false);
    let mut nothing_yet = true;
    for (partition, found) in partitions.iter().zip(found) {
        if found.nowhere {
            continue;
        }
        waits_for += 1;
        if found.len > 0 {
            let allowed = i64::from(partition.max_bytes).min(left);
            match usize::try_from(allowed) {
                // Kafka's log refuses to read less than nothing.
                Err(_) => *found = Found::failed(ErrorCode::UNKNOWN_SERVER_ERROR),
                // The first partition with anything gets one whole batch over any limit, or a consumer could be stuck.
                Ok(allowed) if nothing_yet => found.len = found.len.min(allowed.max(found.first_batch_len)),
                // The others get no batch of which nothing could be used.
                Ok(allowed) if allowed < found.first_batch_len => found.len = 0,
                Ok(allowed) => found.len = found.len.min(allowed),
            }
        }
        nothing_yet &= found.len == 0;
        left = (left - i64::try_from(found.len).unwrap_or(i64::MAX)).max(0);
        available += found.available.max(found.len);
        learns |= found.error != ErrorCode::NONE || found.diverging.is_some() || found.more_follows;
    }
    learns || waits_for == 0 || available >= min_bytes
}

/// Where the bytes of each partition are to be looked for. `None` where Kafka gives up the whole request: it looks at the
/// isolation level only if there is anything to read.
fn resolve(shard: &Shard, partitions: &[FetchPartition], body: &FetchRequest, version: i16) -> Option<Vec<Wanted>> {
    let upto = match body.isolation_level {
        0 => Some(Upto::HighWatermark),
        1 => Some(Upto::LastStable),
        _ => None,
    };
    let follower = if version >= REPLICA_STATE_FROM_VERSION { body.replica_state.replica_id } else { body.replica_id };
    let find = |partition: &FetchPartition| {
        let topic = if version >= TOPIC_IDS_FROM_VERSION {
            shard.topic_by_id(partition.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            shard.topic(&partition.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        topic.and_then(|topic| match (0..topic.partitions).contains(&partition.partition) {
            true => Ok(topic.id),
            false => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        })
    };
    let mut wanted = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let topic = find(partition);
        if topic.is_ok() && upto.is_none() {
            return None;
        }
        wanted.push(Wanted {
            topic,
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            // Here, unlike elsewhere, any negative epoch is none.
            current_leader_epoch: partition.current_leader_epoch.max(-1),
            last_fetched_epoch: partition.last_fetched_epoch,
            max_bytes: usize::try_from(partition.max_bytes).unwrap_or(0).min(shard.node.config.fetch_max_bytes),
            upto: upto.unwrap_or(Upto::HighWatermark),
            from_follower: follower >= 0,
        });
    }
    Some(wanted)
}

/// Kafka's answer where it lost its way: an error for all, and, to clients that could not read that alone, for each.
fn refused_as_a_whole(body: &FetchRequest, version: i16) -> FetchResponse {
    let error = ErrorCode::UNKNOWN_SERVER_ERROR;
    let mut response =
        FetchResponse { error_code: error.into(), session_id: body.session_id, ..FetchResponse::default() };
    if version < TOPIC_IDS_FROM_VERSION {
        let partition = |partition: i32| PartitionData {
            partition_index: partition,
            error_code: error.into(),
            high_watermark: -1,
            aborted_transactions: Some(Vec::new()),
            records: Records::Inline(bytes::Bytes::new()),
            ..PartitionData::default()
        };
        let topics = body.topics.iter().map(|topic| FetchableTopicResponse {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().map(|asked| partition(asked.partition)).collect(),
            ..FetchableTopicResponse::default()
        });
        response.responses = topics.collect();
    }
    response
}

fn respond(shard: &Shard, version: i16, context: &Context, found: Vec<Found>) -> (FetchResponse, FileSlices) {
    let (session_id, told) = shard.sessions.borrow_mut().finish(context, &found);
    let mut response = FetchResponse { session_id, ..FetchResponse::default() };
    let mut slices = FileSlices::new();
    for (index, (partition, found)) in context.partitions.iter().zip(found).enumerate() {
        shard.metrics.fetch_errors.add(u64::from(found.error != ErrorCode::NONE));
        if !told.hears_of(index) {
            continue;
        }
        let mut data = partition_data(shard, partition, &found, version);
        if let Some(slice) = found.slice.filter(|_| found.len > 0) {
            let len = u32::try_from(found.len).expect("below fetch.max.bytes and a batch");
            data.records = Records::External { len };
            slices.push(FileSlice { len: found.len, ..slice });
        }
        match response.responses.last_mut() {
            Some(last) if *last.topic == *partition.topic && last.topic_id == partition.topic_id => {
                last.partitions.push(data)
            }
            _ => response.responses.push(FetchableTopicResponse {
                topic: String::from(&*partition.topic),
                topic_id: partition.topic_id,
                partitions: vec![data],
            }),
        }
    }
    (response, slices)
}

fn partition_data(shard: &Shard, partition: &FetchPartition, found: &Found, version: i16) -> PartitionData {
    let error = match found.error {
        // Versions that cannot tell a broken disk say what makes the client look for the leader again.
        ErrorCode::KAFKA_STORAGE_ERROR if version <= 5 => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        error => error,
    };
    let current_leader = match found.leader_epoch {
        Some(leader_epoch) if version >= CURRENT_LEADER_FROM_VERSION => {
            LeaderIdAndEpoch { leader_id: shard.node.node_id, leader_epoch }
        }
        _ => LeaderIdAndEpoch::default(),
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
        current_leader,
        records: Records::Inline(bytes::Bytes::new()),
        ..PartitionData::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(max_bytes: i32) -> FetchPartition {
        FetchPartition {
            topic: Rc::from("t"),
            topic_id: Uuid::ZERO,
            partition: 0,
            fetch_offset: 0,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            max_bytes,
        }
    }

    /// A partition with so many bytes to give, the first batch of which has so many.
    fn with(len: usize, first_batch_len: usize) -> Found {
        Found { len, first_batch_len, available: len, ..Found::failed(ErrorCode::NONE) }
    }

    /// What is sent of each partition under these limits, and whether it is enough.
    fn limited(partitions: &[i32], mut found: Vec<Found>, max_bytes: i64, min_bytes: usize) -> (Vec<usize>, bool) {
        let partitions: Vec<_> = partitions.iter().map(|max_bytes| asked(*max_bytes)).collect();
        let enough = limit(&partitions, &mut found, max_bytes, min_bytes);
        (found.iter().map(|found| found.len).collect(), enough)
    }

    #[test]
    fn the_first_batch_comes_whole_over_any_limit_and_only_the_first() {
        assert_eq!(limited(&[1, 1000], vec![with(900, 300), with(900, 300)], 1000, 1), (vec![300, 700], true));
        assert_eq!(limited(&[1000, 1000], vec![with(900, 300), with(900, 300)], 1, 1), (vec![300, 0], true));
        assert_eq!(limited(&[1000, 1], vec![with(0, 0), with(900, 300)], 1, 1), (vec![0, 300], true));
    }

    #[test]
    fn what_is_left_of_the_limit_is_used_only_if_a_batch_fits_in() {
        assert_eq!(limited(&[1000, 1000], vec![with(900, 300), with(900, 300)], 1199, 1), (vec![900, 0], true));
        assert_eq!(limited(&[1000, 1000], vec![with(900, 300), with(900, 300)], 1300, 1), (vec![900, 400], true));
    }

    #[test]
    fn a_negative_limit_is_an_error_where_there_is_something_to_read() {
        let (partitions, mut found) = ([asked(-1), asked(-1)], [with(0, 0), with(900, 300)]);
        assert!(limit(&partitions, &mut found, 1000, 1));
        assert_eq!(found.map(|found| found.error), [ErrorCode::NONE, ErrorCode::UNKNOWN_SERVER_ERROR]);
    }

    #[test]
    fn an_unknown_partition_does_not_hurry_a_fetch_that_also_waits_for_another() {
        let nowhere = || Found { nowhere: true, ..Found::failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) };
        assert_eq!(limited(&[1000, 1000], vec![nowhere(), with(0, 0)], 1000, 1), (vec![0, 0], false));
        assert_eq!(limited(&[1000], vec![nowhere()], 1000, 1), (vec![0], true));
        let failed = Found::failed(ErrorCode::OFFSET_OUT_OF_RANGE);
        assert_eq!(limited(&[1000, 1000], vec![failed, with(0, 0)], 1000, 1), (vec![0, 0], true));
    }

    #[test]
    fn a_slice_at_the_end_of_its_segment_does_not_wait_for_bytes_that_come_from_the_next() {
        let last = Found { more_follows: true, ..with(10, 10) };
        assert_eq!(limited(&[1000], vec![last], 1000, 500), (vec![10], true));
        assert_eq!(limited(&[1000], vec![with(10, 10)], 1000, 500), (vec![10], false));
    }
}
