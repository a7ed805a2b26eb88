//! SaslHandshake (key 17) and SaslAuthenticate (key 36): no listener of this broker asks who a client is, so there is
//! nothing to negotiate. Kafka tells that to a client configured for SASL, rather than to close on it.

use kringle_protocol::ErrorCode;
use kringle_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::Context;

/// Refuses: the connection was never in a state of SASL.
pub(crate) async fn handshake(_: Context, _: SaslHandshakeRequest) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::ILLEGAL_SASL_STATE.into(), ..SaslHandshakeResponse::default() }
}

/// Refuses, likewise.
pub(crate) async fn authenticate(_: Context, _: SaslAuthenticateRequest) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::ILLEGAL_SASL_STATE.into(),
        error_message: Some("SaslAuthenticate request received after successful authentication".to_owned()),
        ..SaslAuthenticateResponse::default()
    }
}
