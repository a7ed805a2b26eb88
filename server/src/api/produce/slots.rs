//! The places of a produce answer: each partition once, in the order in which the request first names it.

use bytes::Bytes;
use kringle_log::Refused;
use kringle_protocol::ErrorCode;
use kringle_protocol::produce_view::{ProduceView, TopicRef};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::api::HASHED_FROM;

/// How a partition of the request ended without its log.
#[derive(Clone, Default)]
pub(super) struct Answered {
    pub(super) error: ErrorCode,
    pub(super) message: Option<String>,
    pub(super) record_errors: Vec<(i32, Option<String>)>,
    pub(super) log_start_offset: i64,
    /// Kafka refused it before it looked at the log.
    pub(super) of_the_request: bool,
}

impl Answered {
    pub(super) fn failed(error: ErrorCode) -> Answered {
        Answered { error, log_start_offset: -1, ..Answered::default() }
    }

    pub(super) fn refused(refused: Refused, log_start_offset: i64) -> Answered {
        let log_start_offset = if refused.tells_log_start() { log_start_offset } else { -1 };
        let message = refused.response_message().map(str::to_owned);
        Answered {
            message,
            of_the_request: refused.of_the_request,
            record_errors: refused.record_errors,
            log_start_offset,
            ..Answered::failed(refused.code)
        }
    }
}

/// A partition of the answer.
pub(super) struct Slot {
    pub(super) topic: usize,
    pub(super) partition: i32,
    /// What was decided already; it stays whatever the log says.
    pub(super) answered: Option<Box<Answered>>,
    /// The batch, of those that are awaited, whose outcome it tells.
    pub(super) batch: Option<usize>,
}

/// A partition of the request.
pub(super) struct Asked {
    pub(super) slot: usize,
    pub(super) partition: i32,
    pub(super) records: Bytes,
    /// The request has named it before.
    pub(super) again: bool,
}

/// See the module's text.
pub(super) struct Slots {
    pub(super) topics: SmallVec<[TopicRef; 1]>,
    pub(super) slots: SmallVec<[Slot; 1]>,
    pub(super) asked: SmallVec<[Asked; 1]>,
}

impl Slots {
    pub(super) fn of(view: ProduceView) -> Slots {
        let mut all = Slots { topics: SmallVec::new(), slots: SmallVec::new(), asked: SmallVec::new() };
        let mut known = (view.partitions().len() >= HASHED_FROM).then(Known::default);
        for partition in view.into_partitions() {
            let (slot, again) = all.slot(partition.topic, partition.index, known.as_mut());
            let records = partition.records.unwrap_or_default();
            all.asked.push(Asked { slot, partition: partition.index, records, again });
        }
        all
    }

    /// The place of a partition, and whether it had one before.
    fn slot(&mut self, topic: TopicRef, partition: i32, known: Option<&mut Known>) -> (usize, bool) {
        let topic = match &known {
            Some(known) => known.topics.get(&topic).copied().ok_or(topic),
            None => self.topics.iter().position(|earlier| *earlier == topic).ok_or(topic),
        };
        let topic = topic.unwrap_or_else(|new| {
            self.topics.push(new);
            self.topics.len() - 1
        });
        let found = match &known {
            Some(known) => known.slots.get(&(topic, partition)).copied(),
            None => self.slots.iter().position(|slot| (slot.topic, slot.partition) == (topic, partition)),
        };
        if let Some(slot) = found {
            return (slot, true);
        }
        let slot = self.slots.len();
        self.slots.push(Slot { topic, partition, answered: None, batch: None });
        if let Some(known) = known {
            known.topics.insert(self.topics[topic].clone(), topic);
            known.slots.insert((topic, partition), slot);
        }
        (slot, false)
    }

    pub(super) fn topic_of(&self, slot: usize) -> usize {
        self.slots[slot].topic
    }

    pub(super) fn answer(&mut self, slot: usize, answered: Answered) {
        self.slots[slot].answered = Some(Box::new(answered));
    }

    pub(super) fn answer_all(&mut self, answered: &Answered) {
        for slot in &mut self.slots {
            slot.answered = Some(Box::new(answered.clone()));
        }
    }

    /// What a partition was refused with before its log was looked at, if that is `error`.
    pub(super) fn refused_early_for(&self, error: ErrorCode) -> Option<Answered> {
        let mut answered = self.slots.iter().filter_map(|slot| slot.answered.as_deref());
        answered.find(|answered| answered.of_the_request && answered.error == error).cloned()
    }

    pub(super) fn await_batch(&mut self, slot: usize, batch: usize) {
        self.slots[slot].batch = Some(batch);
    }
}

/// What a long request has named so far.
#[derive(Default)]
struct Known {
    topics: FxHashMap<TopicRef, usize>,
    slots: FxHashMap<(usize, i32), usize>,
}
