//! AllocateProducerIds (key 67): blocks of ids that no producer ever had.

use kringle_protocol::ErrorCode;
use kringle_protocol::messages::AllocateProducerIdsResponse;
use kringle_protocol::messages::ProducerIdsRecord;
use kringle_protocol::metadata_record::MetadataRecord;

use super::{Context, Decision};

/// How many ids a broker gets at a time.
pub const BLOCK_LEN: i32 = 1000;

/// Gives the next block to a registered broker.
pub fn allocate_producer_ids(
    context: &Context<'_>,
    broker: i32,
    broker_epoch: i64,
) -> Decision<AllocateProducerIdsResponse> {
    let refused = |code: ErrorCode| Decision {
        records: Vec::new(),
        response: AllocateProducerIdsResponse { error_code: code.into(), ..Default::default() },
    };
    let Some(registered) = context.image.broker(broker) else {
        return refused(ErrorCode::BROKER_ID_NOT_REGISTERED);
    };
    if registered.broker_epoch != broker_epoch {
        return refused(ErrorCode::STALE_BROKER_EPOCH);
    }
    let start = context.image.next_producer_id();
    let Some(next) = start.checked_add(i64::from(BLOCK_LEN)) else {
        return refused(ErrorCode::UNKNOWN_SERVER_ERROR);
    };
    let record = ProducerIdsRecord { broker_id: broker, broker_epoch, next_producer_id: next };
    Decision {
        records: vec![MetadataRecord::ProducerIdsRecord(record)],
        response: AllocateProducerIdsResponse {
            producer_id_start: start,
            producer_id_len: BLOCK_LEN,
            ..Default::default()
        },
    }
}
