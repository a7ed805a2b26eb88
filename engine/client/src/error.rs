//! What can go wrong between a request and its answer.

use std::io;
use std::net::SocketAddr;

use kringle_protocol::{ApiKey, DecodeError, EncodeError};

/// Why there is no answer. An answer that carries a Kafka error code is an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody could be reached there.
    #[error("no connection to {addr}: {source}")]
    Connect {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or the broker closed it: Kafka does so for requests it does not understand, for versions it does not
    /// speak, and for failed authentication. Requests that were under way may have been carried out.
    #[error("the connection to {addr} is gone: {cause}")]
    Closed {
        /// To whom.
        addr: SocketAddr,
        /// Why.
        cause: String,
    },
    /// The request cannot be written in this version.
    #[error("request {api} version {version}: {source}")]
    Encode {
        /// Of which API.
        api: ApiKey,
        /// In which version.
        version: i16,
        /// Why.
        source: EncodeError,
    },
    /// The answer is not what the version says.
    #[error("answer to {api} version {version}: {source}")]
    Decode {
        /// Of which API.
        api: ApiKey,
        /// In which version.
        version: i16,
        /// Why.
        source: DecodeError,
    },
    /// The answer has bytes behind its end.
    #[error("answer to {api} version {version}: {bytes} bytes too many")]
    Trailing {
        /// Of which API.
        api: ApiKey,
        /// In which version.
        version: i16,
        /// How many.
        bytes: usize,
    },
    /// No version of this API is spoken on both sides.
    #[error("the broker speaks no version of {api} that is known here")]
    NoCommonVersion {
        /// Of which API.
        api: ApiKey,
    },
}
