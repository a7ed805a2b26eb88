//! Produce (key 0): validate where the bytes arrived, append at the end of the turn.
//!
//! The connection's shard checks form, CRC and every record while the bytes are hot, then gives each batch to
//! [`Shard::append_later`], which appends it here or has its owner do so, and tells when it is where `acks` wants it. The
//! request is read in place; bytes copied: none (slices of the frame), but for small batches that the log gathers into
//! one write. Allocations of a request with one batch: what is awaited.

mod answer;
mod slots;

use std::rc::Rc;

use bytes::Bytes;
use kringle_log::{Acks, Origin, Refused, ValidBatch, first_batch, validate};
use kringle_protocol::ErrorCode;
use kringle_protocol::produce_view::{ProduceView, TopicRef};
use smallvec::SmallVec;

use super::{Close, Request};
use crate::net::connection::Connection;
use crate::shard::Shard;
use crate::shard::appends::{Asked, Awaited};
use crate::shard::routes::Route;
use crate::shard::topics::Topic;
pub(crate) use answer::Produce;
use slots::{Answered, Slots};

/// The client id by which Kafka's own tools may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Produce versions that know zstd.
const ZSTD_FROM_VERSION: i16 = 7;

/// A batch that may be appended; `slot` is its place in the answer.
struct Part {
    slot: usize,
    route: Rc<Route>,
    batch: ValidBatch,
}

type Parts = SmallVec<[Part; 1]>;

/// Checks the request's batches and gives them to the shard, in order.
///
/// There is no timeout: Kafka's is about the followers that acks=all waits for, and a log without any answers when the
/// batch is on stable storage, however short the producer's patience.
///
/// # Errors
/// An undecodable request.
pub(crate) fn start(connection: &Rc<Connection>, request: Request) -> Result<Produce, Close> {
    let shard = &connection.shard;
    let started = shard.rt.now();
    let view = ProduceView::parse(request.body, request.version)?;
    let acks = view.acks();
    let transactional = view.transactional_id().is_some();
    let mut slots = Slots::of(view);
    let checker =
        Checker { shard, acks, version: request.version, internal_allowed: request.client_id == ADMIN_CLIENT_ID };
    let parts = match refused_as_a_whole(transactional, &slots) {
        Some(answered) => {
            slots.answer_all(&answered);
            Parts::new()
        }
        None => checker.check_all(&mut slots),
    };
    let awaited = Awaited::new(parts.len(), connection.changed());
    let durability = if acks == -1 { Acks::All } else { Acks::Leader };
    for (number, part) in parts.into_iter().enumerate() {
        slots.await_batch(part.slot, number);
        shard.append_later(&part.route, part.batch, durability, Asked { awaited: awaited.clone(), batch: number });
    }
    Ok(Produce { version: request.version, correlation_id: request.correlation_id, acks, started, slots, awaited })
}

/// What Kafka refuses a whole request for: it looks at the first batch of each partition before anything else, for
/// transactional ones, and stumbles over what is no batch.
fn refused_as_a_whole(transactional: bool, slots: &Slots) -> Option<Answered> {
    for asked in &slots.asked {
        match first_batch(&asked.records) {
            Ok(Some(batch)) if batch.is_transactional() => {
                return (!transactional).then(|| Answered::failed(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
            }
            Ok(_) => {}
            Err(refused) => {
                return Some(Answered { message: Some(refused.message), ..Answered::failed(refused.code) });
            }
        }
    }
    None
}

struct Checker<'a> {
    shard: &'a Shard,
    acks: i16,
    version: i16,
    internal_allowed: bool,
}

impl Checker<'_> {
    /// The batches that go to their logs. Of a partition that is named twice the last batch counts, as in Kafka.
    fn check_all(&self, slots: &mut Slots) -> Parts {
        let mut parts = Parts::new();
        let asked = std::mem::take(&mut slots.asked);
        let mut topic = None;
        let mut topic_slot = usize::MAX;
        for asked in &asked {
            let named = slots.topic_of(asked.slot);
            if named != topic_slot {
                topic_slot = named;
                topic = Some(self.find_topic(&slots.topics[named]));
            }
            let found = topic.as_ref().expect("looked up with the first of its partitions");
            let checked = match found {
                Ok(topic) => self.check(topic, asked.partition, &asked.records),
                Err(code) => Err(Answered::failed(*code)),
            };
            match checked {
                Err(answered) => slots.answer(asked.slot, answered),
                Ok((route, batch)) => {
                    let part = Part { slot: asked.slot, route, batch };
                    match parts.iter_mut().find(|earlier| earlier.slot == asked.slot).filter(|_| asked.again) {
                        Some(earlier) => *earlier = part,
                        None => parts.push(part),
                    }
                }
            }
        }
        if let Some(unknown_codec) = slots.refused_early_for(ErrorCode::UNKNOWN_SERVER_ERROR) {
            // In versions before zstd Kafka stumbles over it while it looks at the request, and gives up all of it.
            slots.answer_all(&unknown_codec);
            parts.clear();
        }
        parts
    }

    fn find_topic(&self, topic: &TopicRef) -> Result<Rc<Topic>, ErrorCode> {
        match topic {
            TopicRef::Id(id) => self.shard.topic_by_id(*id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
            TopicRef::Name(_) => {
                let name = topic.name().unwrap_or_default();
                self.shard.topic(&name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            }
        }
    }

    fn check(&self, topic: &Topic, partition: i32, bytes: &Bytes) -> Result<(Rc<Route>, ValidBatch), Answered> {
        if !(0..topic.partitions).contains(&partition) {
            return Err(Answered::failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        }
        self.shard.metrics.bytes_in.add(bytes.len() as u64);
        let route = self.shard.route(topic.id, partition);
        let checked = self.validate(topic, partition, bytes, route.as_deref());
        let of_the_request = matches!(&checked, Err(refused) if refused.of_the_request);
        if !of_the_request {
            self.check_the_rest(topic, bytes)?;
        }
        let log_start_offset = || route.as_ref().map_or(-1, |route| route.shared.log().log_start_offset());
        match (checked, &route) {
            (Err(refused), _) if of_the_request => Err(Answered::refused(refused, -1)),
            (_, None) => Err(Answered::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER)),
            (Err(refused), Some(_)) => Err(Answered::refused(refused, log_start_offset())),
            (Ok(batch), Some(route)) => Ok((route.clone(), batch)),
        }
    }

    fn validate(
        &self,
        topic: &Topic,
        partition: i32,
        bytes: &Bytes,
        route: Option<&Route>,
    ) -> Result<ValidBatch, Refused> {
        let mut rules = route.map_or_else(|| Rc::new(topic.rules(partition)), |route| route.rules(topic));
        if self.version < ZSTD_FROM_VERSION {
            Rc::make_mut(&mut rules).zstd_allowed = false;
        }
        validate(bytes, &rules, Origin::Client, self.shard.rt.wall_ms())
    }

    fn check_the_rest(&self, topic: &Topic, bytes: &Bytes) -> Result<(), Answered> {
        if !(-1..=1).contains(&self.acks) {
            return Err(Answered::failed(ErrorCode::INVALID_REQUIRED_ACKS));
        }
        // No coordinator of transactions: no transactional id was ever given a producer.
        if matches!(first_batch(bytes), Ok(Some(batch)) if batch.is_transactional()) {
            return Err(Answered::failed(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
        }
        if crate::names::is_internal(&topic.name) && !self.internal_allowed {
            return Err(Answered::failed(ErrorCode::INVALID_TOPIC_EXCEPTION));
        }
        Ok(())
    }
}
