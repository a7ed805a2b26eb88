//! Why a run cannot begin or go on. What merely fails within a run is counted instead, see `measure`.

use std::io;

use kringle_client::ClientError;
use kringle_protocol::ErrorCode;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// No address for the broker's name.
    #[error("--broker {broker}: {source}. Is it HOST:PORT?")]
    Resolve {
        /// What was given.
        broker: String,
        /// Why not.
        source: io::Error,
    },
    /// No connection, or no answer that can be read.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The broker refused what the run needs.
    #[error("{what}: {code} ({})", code.message())]
    Refused {
        /// What was asked.
        what: String,
        /// The answer.
        code: ErrorCode,
    },
    /// A topic did not become ready in time.
    #[error("topic {topic}: not all partitions have a leader after {seconds} s")]
    NoLeader {
        /// Which.
        topic: String,
        /// How long we waited.
        seconds: u64,
    },
    /// Options that do not fit together, or name what is not there.
    #[error("{0}")]
    Options(String),
    /// What should be read could not be produced.
    #[error("filling the topics: {0}")]
    Filling(String),
    /// This kernel has no io_uring for us.
    #[error(transparent)]
    Runtime(#[from] kringle_runtime::Unsupported),
    /// A thread of ours failed.
    #[error(transparent)]
    Panicked(#[from] kringle_runtime::Panicked),
    /// No thread could be started, or a report not be written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// The answer's code as an error of this run, unless it is none.
pub(crate) fn check(what: impl Into<String>, code: i16) -> Result<(), BenchError> {
    let code = ErrorCode::from(code);
    if code.is_error() { Err(BenchError::Refused { what: what.into(), code }) } else { Ok(()) }
}
