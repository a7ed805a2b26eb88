//! The Kafka wire protocol: a table of messages, a generator, bounded decoders.
//!
//! `messages/` says what the messages are, `build.rs` makes the structs from it; no version of any message is coded by
//! hand. Pure: no I/O, no clock. Everything that reads takes hostile bytes: see [`Reader`].
//!
//! - [`messages`]: every message by Kafka's name; its nested structs live in the module of the message
//! - [`ApiKey`], [`api_table`]: which APIs and versions there are, and their headers
//! - [`ErrorCode`]: errors with Kafka's names and messages
//! - [`metadata_record`], [`coordinator_records`]: what Kafka keeps in its own logs
//! - [`produce_view`], [`produce_answer`]: the hottest request and its answer without an allocation
//! - [`dynamic`]: any message by name, as a tree

mod api_key;
mod codec;
pub mod coordinator_records;
pub mod dynamic;
mod error_code;
mod message;
pub mod metadata_record;
pub mod produce_answer;
pub mod produce_view;
mod reader;
mod records;
#[allow(dead_code, reason = "shared with the build script, which uses more of it")]
mod table;
mod uuid;
mod writer;

// Reached only through the re-exports below.
#[allow(clippy::all, clippy::cast_possible_truncation, unused_variables, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}

pub use api_key::{ApiInfo, ApiKey, api_table, request_header_version, response_header_version};
pub use bytes::{Bytes, BytesMut};
pub use codec::{Codec, Ctx, Nullable};
pub use error_code::ErrorCode;
pub use generated::structs::*;
pub use message::{Message, Request};
pub use reader::{DecodeError, MAX_STRING_BYTES, Reader};
pub use records::Records;
pub use uuid::{BadUuid, Uuid};
pub use writer::{Cut, Cuts, EncodeError, Writer};

/// The README's example, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
