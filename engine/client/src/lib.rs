//! A small Kafka client on the runtime, for tools, load generators, followers and simulator tests.
//!
//! A [`Connection`] belongs to one shard. Calls are pipelined: each goes out when it is made, requests of one turn leave as one
//! send, and answers come back in the order of the requests. It speaks any version of any message of `kringle-protocol`; which
//! one is the caller's choice, helped by [`Versions`]. No retries, no metadata cache, no batching: those who need them differ.
#![forbid(unsafe_code)]

mod connection;
mod error;
mod versions;

pub use connection::{Connection, MAX_RESPONSE_BYTES, Pending, PendingBytes};
pub use error::ClientError;
pub use versions::Versions;
