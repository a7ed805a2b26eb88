//! Produce (key 0): validate where the bytes arrived, append where the partition lives.
//!
//! The connection's shard checks form, CRC and every record while the bytes are hot, then sends each owning shard one
//! message with all of the request's batches for it. The owner checks sequence and epoch, assigns offsets and stages;
//! its write loop and committer call back when a batch is where `acks` wants it. Bytes copied: none (slices of the
//! frame), but for small batches that the log gathers into one write.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use kringle_log::{Acks, Origin, Refused, TopicPartition, ValidBatch, validate};
use kringle_protocol::messages::{ProduceRequest, ProduceResponse};
use kringle_protocol::produce_request::TopicProduceData;
use kringle_protocol::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse};
use kringle_protocol::{ErrorCode, Message, Records, Uuid};
use kringle_runtime::{Answer as Future, oneshot};

use super::{Answer, Close, Request};
use crate::net::connection::{Connection, Pending};
use crate::net::response::Response;
use crate::shard::Shard;
use crate::shard::topics::Topic;

/// The client id by which Kafka's own tools may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Produce versions that know zstd.
const ZSTD_FROM_VERSION: i16 = 7;

/// A batch on its way to its owner; `slot` is its place in the answer.
struct Part {
    slot: usize,
    topic_id: Uuid,
    partition: i32,
    batch: ValidBatch,
}

/// How one partition of the request ended.
#[derive(Default)]
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

    fn refused(refused: Refused) -> Outcome {
        let message = refused.response_message().map(str::to_owned);
        Outcome { message, record_errors: refused.record_errors, ..Outcome::failed(refused.code) }
    }
}

/// Sends the request's batches to their owners, in order; the returned future is the answer.
///
/// # Errors
/// An undecodable request.
pub(crate) fn start(connection: &Rc<Connection>, mut request: Request) -> Result<Pending, Close> {
    let shard = &connection.shard;
    let started = shard.rt.now();
    let version = request.version;
    let body = ProduceRequest::decode(&mut request.body, version)?;
    let slots: usize = body.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
    let mut outcomes: Vec<Option<Outcome>> = Vec::new();
    outcomes.resize_with(slots, || None);
    let mut by_owner: Vec<Vec<Part>> = Vec::new();
    by_owner.resize_with(shard.node.shards().len(), Vec::new);
    let internal_allowed = request.client_id == ADMIN_CLIENT_ID;
    let mut slot = 0;
    for data in &body.topic_data {
        let topic = find_topic(shard, data, version);
        for partition in &data.partition_data {
            let checked = topic.as_ref().map_err(|error| Outcome::failed(*error)).and_then(|topic| {
                check(shard, topic, partition.index, &partition.records, body.acks, version, internal_allowed)
            });
            match checked {
                Err(outcome) => outcomes[slot] = Some(outcome),
                Ok((topic_id, batch)) => {
                    let owner = shard.owner_of(topic_id, partition.index);
                    by_owner[owner].push(Part { slot, topic_id, partition: partition.index, batch });
                }
            }
            slot += 1;
        }
    }
    let acks = if body.acks == -1 { Acks::All } else { Acks::Leader };
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
    let shape = Shape::of(&body);
    let timeout = (acks == Acks::All).then(|| Duration::from_millis(body.timeout_ms.max(0).unsigned_abs().into()));
    let (shard, correlation_id) = (shard.clone(), request.correlation_id);
    Ok(Box::pin(async move {
        collect(&shard, answers, timeout, &mut outcomes).await;
        shard.metrics.produce_us.record(shard.rt.now() - started);
        let failed = outcomes.iter().flatten().filter(|outcome| outcome.error != ErrorCode::NONE).count();
        shard.metrics.produce_errors.add(failed as u64);
        if body.acks == 0 {
            return if failed > 0 { Err(Close::AcksZeroFailed) } else { Ok(Answer::Nothing) };
        }
        let response = shape.response(outcomes);
        let key = kringle_protocol::ApiKey::PRODUCE;
        Ok(Answer::Response(Response::encode(key, version, correlation_id, &response, Vec::new())?))
    }))
}

fn find_topic(shard: &Shard, data: &TopicProduceData, version: i16) -> Result<Rc<Topic>, ErrorCode> {
    if version >= 13 {
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
) -> Result<(Uuid, ValidBatch), Outcome> {
    if !(0..topic.partitions).contains(&partition) {
        return Err(Outcome::failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    }
    if !(-1..=1).contains(&acks) {
        return Err(Outcome::failed(ErrorCode::INVALID_REQUIRED_ACKS));
    }
    if crate::names::is_internal(&topic.name) && !internal_allowed {
        return Err(Outcome::failed(ErrorCode::INVALID_TOPIC_EXCEPTION));
    }
    let bytes: &Bytes = match records {
        Records::Inline(bytes) => bytes,
        _ => &Bytes::new(),
    };
    shard.metrics.bytes_in.add(bytes.len() as u64);
    let mut rules = topic.log_config.rules(TopicPartition::new(topic.name.clone(), partition));
    rules.zstd_allowed = version >= ZSTD_FROM_VERSION;
    let batch = validate(bytes, &rules, Origin::Client, shard.rt.wall_ms()).map_err(Outcome::refused)?;
    Ok((topic.id, batch))
}

/// Appends on the owning shard; `answer` is called when the last of `parts` is where `acks` wants it.
fn append(shard: &Rc<Shard>, parts: Vec<Part>, acks: Acks, answer: impl FnOnce(&Shard, Outcomes) + 'static) {
    let gather = Rc::new(Gather {
        shard: Rc::downgrade(shard),
        left: Cell::new(parts.len()),
        outcomes: RefCell::new(Vec::with_capacity(parts.len())),
        answer: Cell::new(Some(answer)),
    });
    for Part { slot, topic_id, partition, batch } in parts {
        let Some(partition) = shard.partition(topic_id, partition) else {
            gather.add(slot, Outcome::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER));
            continue;
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
            gather.add(slot, Outcome::failed(error.code()));
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

/// Waits for all owners, or until the producer's own timeout; who is late then gets REQUEST_TIMED_OUT although its batch
/// may be appended, as in Kafka.
async fn collect(shard: &Shard, answers: Vec<Asked>, timeout: Option<Duration>, outcomes: &mut [Option<Outcome>]) {
    let deadline = timeout.map(|timeout| shard.rt.now() + timeout);
    for (asked, answer) in answers {
        let (answered, late) = match deadline {
            None => (answer.await, ErrorCode::NOT_LEADER_OR_FOLLOWER),
            Some(deadline) => match shard.rt.timeout(deadline.since(shard.rt.now()), answer).await {
                Some(answered) => (answered, ErrorCode::NOT_LEADER_OR_FOLLOWER),
                None => (None, ErrorCode::REQUEST_TIMED_OUT),
            },
        };
        for (slot, outcome) in answered.into_iter().flatten() {
            outcomes[slot] = Some(outcome);
        }
        for slot in asked {
            outcomes[slot].get_or_insert_with(|| Outcome::failed(late));
        }
    }
}

/// Topics and partitions in the order of the request.
struct Shape(Vec<(String, Uuid, Vec<i32>)>);

impl Shape {
    fn of(body: &ProduceRequest) -> Shape {
        let indexes = |data: &TopicProduceData| data.partition_data.iter().map(|partition| partition.index).collect();
        Shape(body.topic_data.iter().map(|data| (data.name.clone(), data.topic_id, indexes(data))).collect())
    }

    fn response(self, outcomes: Vec<Option<Outcome>>) -> ProduceResponse {
        let mut outcomes = outcomes.into_iter().flatten();
        let responses = self.0.into_iter().map(|(name, topic_id, indexes)| TopicProduceResponse {
            name,
            topic_id,
            partition_responses: indexes
                .into_iter()
                .zip(&mut outcomes)
                .map(|(index, outcome)| partition(index, outcome))
                .collect(),
        });
        ProduceResponse { responses: responses.collect(), ..ProduceResponse::default() }
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
