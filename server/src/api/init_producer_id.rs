//! InitProducerId (key 22): ids for idempotent producers. Transactions are not yet served.

use kringle_protocol::ErrorCode;
use kringle_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::Context;

/// Hands out an id that was never handed out before.
pub(crate) async fn handle(context: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let failed = |error: ErrorCode| InitProducerIdResponse {
        error_code: error.into(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    };
    let half_set = (request.producer_id == -1) != (request.producer_epoch == -1);
    match &request.transactional_id {
        Some(id) if id.is_empty() => failed(ErrorCode::INVALID_REQUEST),
        // No transaction coordinator: FindCoordinator already says so, and nobody should come here.
        Some(_) => failed(ErrorCode::NOT_COORDINATOR),
        None if half_set => failed(ErrorCode::INVALID_REQUEST),
        None => match context.shard.node.next_producer_id().await {
            Ok(producer_id) => {
                InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }
            }
            Err(error) => failed(error),
        },
    }
}
