//! Produce (key 0): validate where the bytes arrived, append where the partition lives.
//!
//! The connection's shard checks form, CRC and every record while the bytes are hot, then sends each owning shard one
//! message with all of the request's batches for it. The owner checks sequence and epoch, assigns offsets and stages;
//! its write loop and committer call back when a batch is where `acks` wants it. Bytes copied: none (slices of the
//! frame), but for small batches that the log gathers into one write.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use kringle_log::{Acks, AppendError, Origin, Refused, TopicPartition, ValidBatch, first_batch, validate};
use kringle_protocol::messages::{ProduceRequest, ProduceResponse};
use kringle_protocol::produce_request::TopicProduceData;
use kringle_protocol::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse};
use kringle_protocol::{ErrorCode, Message, Records, Uuid};
use kringle_runtime::{Answer as Future, oneshot};
use rustc_hash::FxHashMap;

use super::{Answer, Close, Request};
use crate::net::connection::{Connection, Pending};
use crate::net::response::Response;
use crate::shard::Shard;
use crate::shard::topics::Topic;

/// The client id by which Kafka's own tools may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Produce versions that know zstd.
const ZSTD_FROM_VERSION: i16 = 7;

/// Produce versions that name topics by id.
const TOPIC_IDS_FROM_VERSION: i16 = 13;

/// A batch on its way to its owner; `slot` is its place in the answer. What was refused goes there too: Kafka tells where
/// the log starts, which only the owner knows.
struct Part {
    slot: usize,
    topic_id: Uuid,
    partition: i32,
    checked: Result<ValidBatch, Refused>,
}

/// How one partition of the request ended.
#[derive(Clone, Default)]
struct Outcome {
    error: ErrorCode,
    message: Option<String>,
    record_errors: Vec<(i32, Option<String>)>,
    base_offset: i64,
    log_append_time_ms: i64,
    log_start_offset: i64,
}

impl Outcome {
    fn failed(error: ErrorCode) -> Outcome {
        Outcome { error, base_offset: -1, log_append_time_ms: -1, log_start_offset: -1, ..Outcome::default() }
    }

    fn refused(refused: Refused, log_start_offset: i64) -> Outcome {
        let log_start_offset = if refused.tells_log_start() { log_start_offset } else { -1 };
        let message = refused.response_message().map(str::to_owned);
        Outcome { message, record_errors: refused.record_errors, log_start_offset, ..Outcome::failed(refused.code) }
    }

    fn not_appended(error: &AppendError, log_start_offset: i64) -> Outcome {
        let log_start_offset = if error.tells_log_start() { log_start_offset } else { -1 };
        Outcome { log_start_offset, ..Outcome::failed(error.code()) }
    }
}

/// Sends the request's batches to their owners, in order; the returned future is the answer.
///
/// There is no timeout: Kafka's is about the followers that acks=all waits for, and a log without any answers when the
/// batch is on stable storage, however short the producer's patience.
///
/// # Errors
/// An undecodable request.
pub(crate) fn start(connection: &Rc<Connection>, mut request: Request) -> Result<Pending, Close> {
    let shard = &connection.shard;
    let started = shard.rt.now();
    let version = request.version;
    let body = ProduceRequest::decode(&mut request.body, version)?;
    let shape = Shape::of(&body);
    let mut outcomes: Vec<Option<Outcome>> = vec![refused_as_a_whole(&body); shape.slots.len()];
    let answers = if outcomes.first().is_some_and(Option::is_some) {
        Vec::new()
    } else {
        let internal_allowed = request.client_id == ADMIN_CLIENT_ID;
        let parts = check_all(shard, &body, version, internal_allowed, &shape, &mut outcomes);
        send_to_owners(shard, parts, if body.acks == -1 { Acks::All } else { Acks::Leader })
    };
    let (shard, correlation_id, acks) = (shard.clone(), request.correlation_id, body.acks);
    Ok(Box::pin(async move {
        collect(answers, &mut outcomes).await;
        shard.metrics.produce_us.record(shard.rt.now() - started);
        let failed = outcomes.iter().flatten().filter(|outcome| outcome.error != ErrorCode::NONE).count();
        shard.metrics.produce_errors.add(failed as u64);
        if acks == 0 {
            return if failed > 0 { Err(Close::AcksZeroFailed) } else { Ok(Answer::Nothing) };
        }
        let response = shape.response(outcomes);
        let key = kringle_protocol::ApiKey::PRODUCE;
        Ok(Answer::Response(Response::encode(key, version, correlation_id, &response, Vec::new())?))
    }))
}

/// What Kafka refuses a whole request for: it looks at the first batch of each partition before anything else, for
/// transactional ones, and stumbles over what is no batch.
fn refused_as_a_whole(body: &ProduceRequest) -> Option<Outcome> {
    for data in body.topic_data.iter().flat_map(|topic| &topic.partition_data) {
        match first_batch(data.records.inline()) {
            Ok(Some(batch)) if batch.is_transactional() => {
                let no_id = body.transactional_id.is_none();
                return no_id.then(|| Outcome::failed(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
            }
            Ok(_) => {}
            Err(refused) => {
                return Some(Outcome { message: Some(refused.message), ..Outcome::failed(refused.code) });
            }
        }
    }
    None
}

/// The batches that go to their owners. Of a partition that is named twice the last batch counts, as in Kafka.
fn check_all(
    shard: &Shard,
    body: &ProduceRequest,
    version: i16,
    internal_allowed: bool,
    shape: &Shape,
    outcomes: &mut [Option<Outcome>],
) -> Vec<Part> {
    let mut parts: Vec<Option<Part>> = Vec::new();
    parts.resize_with(outcomes.len(), || None);
    let mut slots = shape.asked.iter();
    for data in &body.topic_data {
        let topic = find_topic(shard, data, version);
        for partition in &data.partition_data {
            let slot = *slots.next().expect("the shape has each partition of the request");
            let checked = topic.as_ref().map_err(|error| Outcome::failed(*error)).and_then(|topic| {
                check(shard, topic, partition.index, &partition.records, body.acks, version, internal_allowed)
            });
            match checked {
                Err(outcome) => outcomes[slot] = Some(outcome),
                Ok((topic_id, checked)) => {
                    parts[slot] = Some(Part { slot, topic_id, partition: partition.index, checked });
                }
            }
        }
    }
    let unknown_codec = outcomes.iter().flatten().find(|outcome| outcome.error == ErrorCode::UNKNOWN_SERVER_ERROR);
    if let Some(outcome) = unknown_codec.cloned() {
        // In versions before zstd Kafka stumbles over it while it looks at the request, and gives up all of it.
        outcomes.fill(Some(outcome));
        return Vec::new();
    }
    parts.into_iter().flatten().collect()
}

fn send_to_owners(shard: &Rc<Shard>, parts: Vec<Part>, acks: Acks) -> Vec<Asked> {
    let mut by_owner: Vec<Vec<Part>> = Vec::new();
    by_owner.resize_with(shard.node.shards().len(), Vec::new);
    for part in parts {
        by_owner[shard.owner_of(part.topic_id, part.partition)].push(part);
    }
    let mut answers = Vec::new();
    for (owner, parts) in by_owner.into_iter().enumerate() {
        if parts.is_empty() {
            continue;
        }
        let (reply, answer) = oneshot();
        let asked: Vec<usize> = parts.iter().map(|part| part.slot).collect();
        let asker = shard.index();
        if owner == asker {
            append(shard, parts, acks, move |_, outcomes| reply.send(outcomes));
        } else {
            let answer = move |owner: &Shard, outcomes| owner.post(asker, move |_| reply.send(outcomes));
            shard.post(owner, move |owner| append(owner, parts, acks, answer));
        }
        answers.push((asked, answer));
    }
    answers
}

fn find_topic(shard: &Shard, data: &TopicProduceData, version: i16) -> Result<Rc<Topic>, ErrorCode> {
    if version >= TOPIC_IDS_FROM_VERSION {
        shard.topic_by_id(data.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        shard.topic(&data.name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

fn check(
    shard: &Shard,
    topic: &Topic,
    partition: i32,
    records: &Records,
    acks: i16,
    version: i16,
    internal_allowed: bool,
) -> Result<(Uuid, Result<ValidBatch, Refused>), Outcome> {
    if !(0..topic.partitions).contains(&partition) {
        return Err(Outcome::failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    }
    let bytes: &Bytes = match records {
        Records::Inline(bytes) => bytes,
        _ => &Bytes::new(),
    };
    shard.metrics.bytes_in.add(bytes.len() as u64);
    let mut rules = topic.log_config.rules(TopicPartition::new(topic.name.clone(), partition));
    rules.zstd_allowed = version >= ZSTD_FROM_VERSION;
    let checked = validate(bytes, &rules, Origin::Client, shard.rt.wall_ms());
    match checked {
        Err(refused) if refused.of_the_request => Err(Outcome::refused(refused, -1)),
        _ if !(-1..=1).contains(&acks) => Err(Outcome::failed(ErrorCode::INVALID_REQUIRED_ACKS)),
        // No coordinator of transactions: no transactional id was ever given a producer.
        _ if matches!(first_batch(bytes), Ok(Some(batch)) if batch.is_transactional()) => {
            Err(Outcome::failed(ErrorCode::INVALID_PRODUCER_ID_MAPPING))
        }
        _ if crate::names::is_internal(&topic.name) && !internal_allowed => {
            Err(Outcome::failed(ErrorCode::INVALID_TOPIC_EXCEPTION))
        }
        checked => Ok((topic.id, checked)),
    }
}

/// Appends on the owning shard; `answer` is called when the last of `parts` is where `acks` wants it.
fn append(shard: &Rc<Shard>, parts: Vec<Part>, acks: Acks, answer: impl FnOnce(&Shard, Outcomes) + 'static) {
    let gather = Rc::new(Gather {
        shard: Rc::downgrade(shard),
        left: Cell::new(parts.len()),
        outcomes: RefCell::new(Vec::with_capacity(parts.len())),
        answer: Cell::new(Some(answer)),
    });
    for Part { slot, topic_id, partition, checked } in parts {
        let Some(partition) = shard.partition(topic_id, partition) else {
            gather.add(slot, Outcome::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER));
            continue;
        };
        let batch = match checked {
            Ok(batch) => batch,
            Err(refused) => {
                let log_start_offset = partition.log().log_start_offset();
                gather.add(slot, Outcome::refused(refused, log_start_offset));
                continue;
            }
        };
        shard.metrics.batches_in.add(1);
        shard.metrics.records_in.add(u64::from(batch.header.record_count.unsigned_abs()));
        let later = gather.clone();
        let appended = shard.append(&partition, batch, acks, |appended| {
            let outcome = Outcome {
                base_offset: appended.base_offset,
                log_append_time_ms: appended.log_append_time_ms,
                log_start_offset: appended.log_start_offset,
                ..Outcome::default()
            };
            Box::new(move |result| later.add(slot, result.map_or_else(Outcome::failed, |()| outcome)))
        });
        if let Err(error) = appended {
            let log_start_offset = partition.log().log_start_offset();
            gather.add(slot, Outcome::not_appended(&error, log_start_offset));
        }
    }
}

/// Outcomes of one message's parts, answered together.
struct Gather<A> {
    /// Weak, since the shard's partitions hold this.
    shard: Weak<Shard>,
    left: Cell<usize>,
    outcomes: RefCell<Outcomes>,
    answer: Cell<Option<A>>,
}

/// What became of some parts of a request, each with the slot of its answer.
type Outcomes = Vec<(usize, Outcome)>;

impl<A: FnOnce(&Shard, Outcomes)> Gather<A> {
    fn add(&self, slot: usize, outcome: Outcome) {
        self.outcomes.borrow_mut().push((slot, outcome));
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0
            && let Some(answer) = self.answer.take()
            && let Some(shard) = self.shard.upgrade()
        {
            answer(&shard, self.outcomes.take());
        }
    }
}

type Asked = (Vec<usize>, Future<Outcomes>);

/// Waits for all owners. What is decided already stays.
async fn collect(answers: Vec<Asked>, outcomes: &mut [Option<Outcome>]) {
    for (asked, answer) in answers {
        for (slot, outcome) in answer.await.into_iter().flatten() {
            outcomes[slot].get_or_insert(outcome);
        }
        for slot in asked {
            outcomes[slot].get_or_insert_with(|| Outcome::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER));
        }
    }
}

/// The answer's topics and partitions: each once, in the order in which the request first names it.
struct Shape {
    topics: Vec<(String, Uuid)>,
    /// Topic and partition of each slot.
    slots: Vec<(usize, i32)>,
    /// The slot of each partition of the request, in its order.
    asked: Vec<usize>,
}

impl Shape {
    fn of(body: &ProduceRequest) -> Shape {
        let mut shape = Shape { topics: Vec::new(), slots: Vec::new(), asked: Vec::new() };
        let mut topics: FxHashMap<(&str, Uuid), usize> = FxHashMap::default();
        let mut slots: FxHashMap<(usize, i32), usize> = FxHashMap::default();
        for data in &body.topic_data {
            let topic = *topics.entry((data.name.as_str(), data.topic_id)).or_insert_with(|| {
                shape.topics.push((data.name.clone(), data.topic_id));
                shape.topics.len() - 1
            });
            for partition in &data.partition_data {
                let slot = *slots.entry((topic, partition.index)).or_insert_with(|| {
                    shape.slots.push((topic, partition.index));
                    shape.slots.len() - 1
                });
                shape.asked.push(slot);
            }
        }
        shape
    }

    fn response(self, outcomes: Vec<Option<Outcome>>) -> ProduceResponse {
        let topics = self.topics.into_iter().map(|(name, topic_id)| TopicProduceResponse {
            name,
            topic_id,
            ..TopicProduceResponse::default()
        });
        let mut responses: Vec<TopicProduceResponse> = topics.collect();
        for ((topic, index), outcome) in self.slots.into_iter().zip(outcomes) {
            let outcome = outcome.unwrap_or_else(|| Outcome::failed(ErrorCode::UNKNOWN_SERVER_ERROR));
            responses[topic].partition_responses.push(partition(index, outcome));
        }
        responses.retain(|topic| !topic.partition_responses.is_empty());
        ProduceResponse { responses, ..ProduceResponse::default() }
    }
}

fn partition(index: i32, outcome: Outcome) -> PartitionProduceResponse {
    let record_errors = outcome
        .record_errors
        .into_iter()
        .map(|(batch_index, message)| BatchIndexAndErrorMessage { batch_index, batch_index_error_message: message });
    PartitionProduceResponse {
        index,
        error_code: outcome.error.into(),
        base_offset: outcome.base_offset,
        log_append_time_ms: outcome.log_append_time_ms,
        log_start_offset: outcome.log_start_offset,
        record_errors: record_errors.collect(),
        error_message: outcome.message,
        ..PartitionProduceResponse::default()
    }
}
