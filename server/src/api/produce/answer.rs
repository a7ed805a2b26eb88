//! A produce request whose batches are on their way, and its answer.

use std::rc::Rc;

use kringle_protocol::produce_answer::ProduceAnswer;
use kringle_protocol::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse};
use kringle_protocol::{ApiKey, ErrorCode};
use kringle_runtime::Time;

use super::slots::{Answered, Slot, Slots};
use crate::api::Close;
use crate::net::response::{FileSlices, Response};
use crate::shard::Shard;
use crate::shard::appends::{Awaited, Outcome};

/// See the module's text.
pub(crate) struct Produce {
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) acks: i16,
    pub(super) started: Time,
    pub(super) slots: Slots,
    pub(super) awaited: Rc<Awaited>,
}

impl Produce {
    /// All batches are where `acks` wants them, or never will be.
    pub(crate) fn is_complete(&self) -> bool {
        self.awaited.is_complete()
    }

    /// Adds the answer, once complete, to what goes out; none with acks=0.
    ///
    /// # Errors
    /// A failed batch of a request with acks=0: all that can be told is that the connection closes.
    pub(crate) fn answer(self, shard: &Shard, outgoing: &mut Response) -> Result<(), Close> {
        shard.metrics.produce_us.record(shard.rt.now() - self.started);
        let mut outcomes = self.awaited.take();
        let Slots { topics, mut slots, .. } = self.slots;
        let mut failed = 0;
        let mut respond = |slot: &mut Slot| {
            let outcome = slot.batch.and_then(|batch| outcomes[batch].take());
            let response = response(slot, outcome);
            failed += u64::from(response.error_code != 0);
            response
        };
        if self.acks == 0 {
            slots.iter_mut().for_each(|slot| drop(respond(slot)));
            shard.metrics.produce_errors.add(failed);
            return if failed > 0 { Err(Close::AcksZeroFailed) } else { Ok(()) };
        }
        // A request may come back to a topic.
        slots.sort_by_key(|slot| slot.topic);
        outgoing.begin(|| shard.take_answer_room());
        outgoing.add(ApiKey::PRODUCE, self.version, self.correlation_id, FileSlices::new(), |writer| {
            let mut answer = ProduceAnswer::begin(writer, self.version, topics.len())?;
            for of_topic in slots.chunk_by_mut(|one, next| one.topic == next.topic) {
                answer.topic(&topics[of_topic[0].topic], of_topic.len())?;
                for slot in of_topic {
                    answer.partition(&respond(slot))?;
                }
                answer.end_topic();
            }
            answer.end();
            Ok(())
        })?;
        shard.metrics.produce_errors.add(failed);
        Ok(())
    }
}

fn response(slot: &mut Slot, outcome: Option<Outcome>) -> PartitionProduceResponse {
    let index = slot.partition;
    let answered = match (slot.answered.take(), outcome) {
        (Some(answered), _) => *answered,
        (None, Some(Ok(at))) => {
            return PartitionProduceResponse {
                index,
                base_offset: at.base_offset,
                log_append_time_ms: at.log_append_time_ms,
                log_start_offset: at.log_start_offset,
                ..PartitionProduceResponse::default()
            };
        }
        (None, Some(Err(failed))) => {
            Answered { log_start_offset: failed.log_start_offset, ..Answered::failed(failed.code) }
        }
        (None, None) => Answered::failed(ErrorCode::UNKNOWN_SERVER_ERROR),
    };
    let record_errors = answered
        .record_errors
        .into_iter()
        .map(|(batch_index, message)| BatchIndexAndErrorMessage { batch_index, batch_index_error_message: message });
    PartitionProduceResponse {
        index,
        error_code: answered.error.into(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: answered.log_start_offset,
        record_errors: record_errors.collect(),
        error_message: answered.message,
        ..PartitionProduceResponse::default()
    }
}
